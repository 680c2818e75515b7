//! Which question comes next, decided from all that was seen before.
//!
//! The order keeps what is left behind small: the first session that a site gives away is used for
//! all questions that any live session answers, and in the end it is sent to the logout, which on
//! most releases ends it. Pure: what is random is an argument.

use super::MOST_REQUESTS;
use super::seen::{Carried, Exchange, Method, Part, Question, Sight, Told};
use crate::guard::key::SessionKey;

/// Where a Django's logout usually is, below the site's root; the admin's is no use, because it
/// sends anonymous visitors away.
const LOGOUTS: [&str; 5] =
    ["accounts/logout/", "logout/", "accounts/signout/", "user/logout/", "auth/logout/"];
const LOGINS: [&str; 2] = ["accounts/login/", "login/"];
const ADMIN: &str = "admin/";
const ADMIN_LOGOUT: &str = "admin/logout/";
/// Reading pages that get a made-up cookie, besides those that the operator names.
const READ_PAGES: usize = 3;

/// What the operator has said of the site.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// The path that standard paths are below; begins and ends with a slash.
    pub root: String,
    /// Paths of pages that anybody reads.
    pub pages: Vec<String>,
    /// Paths of logouts; where none is given they are looked for.
    pub logouts: Vec<String>,
    /// Paths of logins; the same.
    pub logins: Vec<String>,
    /// The session cookie's name.
    pub cookie: Option<String>,
}

/// A path where users log out, and how it wants to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logout {
    pub path: String,
    pub method: Method,
}

/// All that the next question is decided from.
pub struct Plan<'a> {
    pub wishes: &'a Wishes,
    pub sight: &'a Sight<'a>,
    /// The site as URLs have it, without a path: `http://example.org`. The first is how it is asked.
    pub origins: &'a [String],
}

impl Plan<'_> {
    /// The next question, if there is one; `made_up` is a key that nobody has issued.
    pub fn next(&self, made_up: SessionKey) -> Option<Question> {
        let seen = self.sight.exchanges();
        if seen.len() >= MOST_REQUESTS || self.hopeless() {
            return None;
        }
        let looking = || {
            self.front()
                .or_else(|| self.logout_search())
                .or_else(|| self.logouts(made_up))
                .or_else(|| self.pages())
                .or_else(|| self.readers(made_up))
        };
        if self.is_full() { None } else { looking() }.or_else(|| self.ending())
    }

    /// Whether the requests that are left are needed for ending the sessions that were begun.
    pub fn is_full(&self) -> bool {
        self.sight.exchanges().len() + self.sight.live().len() + 2 > MOST_REQUESTS
    }

    /// Whether further questions have no sense: nobody is there, all is elsewhere, we are refused.
    fn hopeless(&self) -> bool {
        let seen = self.sight.exchanges();
        let silent = |exchange: &Exchange| exchange.answer().is_none();
        let refused =
            |exchange: &Exchange| exchange.answer().is_some_and(|answer| answer.status == 429);
        seen.first().is_some_and(silent)
            || seen.iter().filter(|exchange| silent(exchange)).count() >= 2
            || seen.last().is_some_and(refused)
            || self.elsewhere().is_some()
    }

    /// Where the front page sends to, if that is another site.
    pub fn elsewhere(&self) -> Option<String> {
        let answer = self.sight.exchanges().first()?.answer()?;
        let location = answer.location.as_deref()?;
        let moved = (300..400).contains(&answer.status) && self.local(location).is_none();
        moved.then(|| location.to_owned())
    }

    /// The path of a `Location` that stays on this site; without its query.
    fn local(&self, location: &str) -> Option<String> {
        let mut rests = self.origins.iter().filter_map(|origin| location.strip_prefix(&**origin));
        let path = match rests.find(|rest| rest.is_empty() || rest.starts_with('/')) {
            Some("") => "/",
            Some(path) => path,
            None if location.starts_with('/') && !location.starts_with("//") => location,
            None => return None,
        };
        let path = path.split(['?', '#']).next().unwrap_or(path);
        let plain = path.len() <= 1024 && path.bytes().all(|byte| (b'!'..=b'~').contains(&byte));
        plain.then(|| path.to_owned())
    }

    fn asked(&self, part: Part, path: &str) -> bool {
        let same = |asked: &Exchange| asked.question.part == part && asked.question.path == path;
        self.sight.exchanges().iter().any(same)
    }

    /// A question that any live session answers as well as none: with one it costs no record.
    fn plainly(&self, part: Part, path: &str) -> Question {
        let carried = self.sight.live().last().map_or(Carried::Nothing, |key| Carried::Live(*key));
        Question { part, method: Method::Get, path: path.to_owned(), carried }
    }

    /// The front page, and where it sends to on this site.
    fn front(&self) -> Option<Question> {
        let seen = self.sight.exchanges();
        let Some(first) = seen.first() else {
            return Some(self.plainly(Part::Page, &self.wishes.root));
        };
        let location = first.answer()?.location.as_deref()?;
        let path = self.local(location)?;
        let follow = path != self.wishes.root && !is_login(&path);
        (follow && !self.asked(Part::Page, &path)).then(|| self.plainly(Part::Page, &path))
    }

    fn below(&self, paths: &[&str]) -> Vec<String> {
        paths.iter().map(|path| format!("{}{path}", self.wishes.root)).collect()
    }

    /// Where a logout may be; behind each path the one that it sends to, where only what is in
    /// front of its name differs (a language).
    fn logout_paths(&self) -> Vec<String> {
        let given = !self.wishes.logouts.is_empty();
        let paths = if given { self.wishes.logouts.clone() } else { self.below(&LOGOUTS) };
        let mut all = Vec::new();
        for path in paths {
            let moved = self.sight.about(&path, Method::Get).find_map(|exchange| {
                let quiet = self.sight.told(exchange) == Told::Nothing;
                let path = self.local(exchange.answer()?.location.as_deref()?)?;
                (quiet && last(&path) == last(&exchange.question.path)).then_some(path)
            });
            all.push(path);
            all.extend(moved);
        }
        all.dedup();
        all
    }

    fn logout_search(&self) -> Option<Question> {
        let given = !self.wishes.logouts.is_empty();
        for path in self.logout_paths() {
            if !self.asked(Part::Logout, &path) {
                return Some(self.plainly(Part::Logout, &path));
            }
            if !given && self.logout_at(&path).is_some() {
                return None;
            }
        }
        None
    }

    /// The logouts that were found.
    pub fn found(&self) -> Vec<Logout> {
        self.logout_paths().iter().filter_map(|path| self.logout_at(path)).collect()
    }

    /// Whether something answers at this path that has to do with sessions, and how it is asked.
    fn logout_at(&self, path: &str) -> Option<Logout> {
        let about = |exchange: &&Exchange| exchange.question.part == Part::Logout;
        let exchange = self.sight.about(path, Method::Get).find(about)?;
        let answer = exchange.answer()?;
        let told = self.sight.told(exchange);
        let path = path.to_owned();
        let sessions = matches!(told, Told::Other(_) | Told::Deleted);
        // It asks whether the user means it, or takes nothing but a POST.
        if answer.status == 405 || (exchange.good() && answer.form && !sessions) {
            return Some(Logout { path, method: Method::Post });
        }
        let asks_for_login = answer.location.as_deref().is_some_and(|location| {
            location.contains("next=") && self.local(location).as_deref().is_some_and(is_login)
        });
        let fits = answer.status < 600
            && (answer.status >= 500 || exchange.good())
            && (sessions || told == Told::Same || answer.varies)
            && !asks_for_login;
        fits.then_some(Logout { path, method: Method::Get })
    }

    /// What each logout does without a session, and with one that nobody has issued.
    fn logouts(&self, made_up: SessionKey) -> Option<Question> {
        for Logout { path, method } in self.found() {
            for carried in [Carried::Nothing, Carried::MadeUp(made_up)] {
                let asked = |exchange: &Exchange| {
                    std::mem::discriminant(&exchange.question.carried)
                        == std::mem::discriminant(&carried)
                };
                if !self.sight.about(&path, method).any(asked) {
                    return Some(Question { part: Part::Logout, method, path, carried });
                }
            }
        }
        None
    }

    /// What login, admin and the operator's pages do with a session.
    fn pages(&self) -> Option<Question> {
        let wishes = &self.wishes.pages;
        if let Some(path) = wishes.iter().find(|path| !self.asked(Part::Page, path)) {
            return Some(self.plainly(Part::Page, path));
        }
        let given = !self.wishes.logins.is_empty();
        for path in self.login_paths() {
            let mut about = self.sight.about(&path, Method::Get);
            let there = about.find(|exchange| exchange.question.part == Part::Login);
            match there {
                None => return Some(self.plainly(Part::Login, &path)),
                Some(exchange) if !given && exchange.good() => break,
                Some(_) => {}
            }
        }
        let admin = format!("{}{ADMIN}", self.wishes.root);
        if !self.asked(Part::Admin, &admin) {
            return Some(self.plainly(Part::Admin, &admin));
        }
        let logout = format!("{}{ADMIN_LOGOUT}", self.wishes.root);
        let writes = self.sight.about(&admin, Method::Get).any(|exchange| {
            exchange.good()
                && !matches!(exchange.question.carried, Carried::MadeUp(_))
                && matches!(self.sight.told(exchange), Told::Same | Told::Other(_))
        });
        (writes && !self.asked(Part::AdminLogout, &logout))
            .then(|| self.plainly(Part::AdminLogout, &logout))
    }

    fn login_paths(&self) -> Vec<String> {
        if !self.wishes.logins.is_empty() {
            return self.wishes.logins.clone();
        }
        let beside = self.found().into_iter().next().map(|logout| {
            let path = logout.path.trim_end_matches('/');
            let folder = path.rfind('/').map_or("/", |slash| &path[..=slash]);
            format!("{folder}login/")
        });
        let mut all: Vec<String> = beside.into_iter().collect();
        for path in self.below(&LOGINS) {
            if !all.contains(&path) {
                all.push(path);
            }
        }
        all.truncate(LOGINS.len());
        all
    }

    /// What pages that only read the session do with one that nobody has issued.
    fn readers(&self, made_up: SessionKey) -> Option<Question> {
        let mut pages: Vec<&Exchange> =
            self.sight.exchanges().iter().filter(|exchange| self.may_read(exchange)).collect();
        pages.sort_by_key(|exchange| !reads(exchange));
        let tried = |page: &Exchange| {
            let mut about = self.sight.about(&page.question.path, Method::Get);
            about.find(|exchange| matches!(exchange.question.carried, Carried::MadeUp(_)))
        };
        let told = |page: &&Exchange| {
            tried(page).is_some_and(|exchange| self.sight.told(exchange) != Told::Nothing)
        };
        let others = pages.iter().filter(|page| tried(page).is_some()).count();
        let enough = pages.iter().any(told) || others >= READ_PAGES;
        let wished = |page: &&&Exchange| self.wishes.pages.contains(&page.question.path);
        let page = pages
            .iter()
            .filter(|page| tried(page).is_none())
            .find(|page| !enough || wished(page))?;
        let Question { part, path, .. } = page.question.clone();
        let carried = Carried::MadeUp(made_up);
        Some(Question { part, method: Method::Get, path, carried })
    }

    /// Whether a page has answered without writing to the session.
    fn may_read(&self, exchange: &Exchange) -> bool {
        exchange.question.part != Part::Logout
            && !matches!(exchange.question.carried, Carried::MadeUp(_))
            && exchange.good()
            && self.sight.told(exchange) == Told::Nothing
    }

    /// Ends what was begun; and by that shows what a logout does with a session.
    fn ending(&self) -> Option<Question> {
        let key = *self.sight.live().first()?;
        for Logout { path, method } in self.found() {
            let last = self
                .sight
                .about(&path, method)
                .filter(|exchange| matches!(exchange.question.carried, Carried::Live(_)))
                .last();
            // Where it put another in its place, or did nothing, it will do so again.
            if last.is_none_or(|exchange| self.sight.told(exchange) == Told::Deleted) {
                let carried = Carried::Live(key);
                return Some(Question { part: Part::Logout, method, path, carried });
            }
        }
        None
    }
}

/// Whether an answer says that the session was looked at: it depends on cookies, and that is not
/// for the sake of a CSRF token.
pub fn reads(exchange: &Exchange) -> bool {
    exchange.answer().is_some_and(|answer| answer.varies && !answer.form)
}

/// The last segment of a path.
fn last(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
}

fn is_login(path: &str) -> bool {
    let name = last(path).to_ascii_lowercase();
    ["login", "log-in", "log_in", "signin", "sign-in", "logon"].contains(&name.as_str())
}
