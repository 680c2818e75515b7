//! What was asked, what came back, and what that says of sessions.
//!
//! Owns the evidence. Whatever a site sends is bounded before it gets here and made fit for a
//! terminal before it leaves the report; a session key never leaves it whole.

use crate::config::Config;
use crate::guard::key::SessionKey;
use crate::guard::policy::{KeyShape, SessionPolicy};
use crate::guard::set_cookie::{Dress, Evidence, SetSession};

/// `SESSION_COOKIE_NAME`, unless the site is seen to have another.
const STANDARD_NAME: &str = "sessionid";

/// Which part of a site a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A page that anybody reads.
    Page,
    /// Where users log out.
    Logout,
    /// Where users log in.
    Login,
    /// Django's admin; on 1.4 each of its pages shows a login form.
    Admin,
    /// The logout of the admin: it reads the session of an anonymous visitor and sends him away,
    /// on every release.
    AdminLogout,
}

/// How something is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    /// With a self-made pair of CSRF tokens, and nothing else in it.
    Post,
}

impl Method {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// The session cookie that a question brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    Nothing,
    /// One that nobody has issued.
    MadeUp(SessionKey),
    /// One that the site has issued to the probe, and not yet ended.
    Live(SessionKey),
}

impl Carried {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Nothing => "no cookie",
            Self::MadeUp(_) => "made-up cookie",
            Self::Live(_) => "its own cookie",
        }
    }

    pub const fn key(self) -> Option<SessionKey> {
        match self {
            Self::Nothing => None,
            Self::MadeUp(key) | Self::Live(key) => Some(key),
        }
    }
}

/// One request of the probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub part: Part,
    pub method: Method,
    /// Visible ASCII, beginning with a slash.
    pub path: String,
    pub carried: Carried,
}

/// What the head of an answer says, and whether its page has a form in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub location: Option<String>,
    /// The values of its `Set-Cookie` lines.
    pub set_cookies: Vec<Vec<u8>>,
    /// `Vary` has `Cookie` in it: Django says so where a view has looked at the session, or has
    /// used a CSRF token.
    pub varies: bool,
    /// What `Cache-Control` is, where it is short.
    pub cache_control: String,
    /// A form that is posted stands in its page, or a CSRF token was used for it.
    pub form: bool,
    /// It comes out of a cache.
    pub cached: bool,
    /// Who stands between the site and us, by a header that only he adds.
    pub between: Option<&'static str>,
}

/// What became of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Answered(Answer),
    /// No answer came that is HTTP. `sent`: the request may have reached the site all the same.
    Silence {
        why: String,
        sent: bool,
    },
}

/// A question and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    pub question: Question,
    pub outcome: Outcome,
}

impl Exchange {
    pub fn answer(&self) -> Option<&Answer> {
        match &self.outcome {
            Outcome::Answered(answer) => Some(answer),
            Outcome::Silence { .. } => None,
        }
    }

    /// The status below 400 of an answer that the application has given to what was asked.
    pub fn good(&self) -> bool {
        self.answer().is_some_and(|answer| (200..400).contains(&answer.status))
    }
}

/// What an answer says of the session, against what the question brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// No session cookie.
    Nothing,
    /// That of the question again.
    Same,
    /// Another key than the question brought, or one where it brought none.
    Other(SessionKey),
    /// The cookie is deleted.
    Deleted,
    /// A value of the `signed_cookies` backend: nothing is stored.
    Signed,
    /// A value that is no session key of Django's.
    Foreign,
}

/// All exchanges so far, read with what they say of the session cookie's name.
pub struct Sight<'a> {
    exchanges: &'a [Exchange],
    policy: SessionPolicy,
    /// The name was given, or a cookie of this name was seen.
    sure: bool,
}

impl<'a> Sight<'a> {
    /// `cookie` is the name of the session cookie, where the operator gives it.
    pub fn new(exchanges: &'a [Exchange], cookie: Option<&str>) -> Self {
        let standard = Config::default();
        let mut policy = standard.sites()[0].policy().session.clone();
        policy.key_shape = KeyShape::Alnum32;
        policy.cookie = cookie.unwrap_or(STANDARD_NAME).to_owned();
        let mut sight = Self { exchanges, policy, sure: cookie.is_some() };
        if !sight.sure {
            let set = |exchange| sight.told(exchange) != Told::Nothing;
            if exchanges.iter().any(set) {
                sight.sure = true;
            } else if let Some(name) = sight.lookalike() {
                sight.policy.cookie = name;
                sight.sure = true;
            }
        }
        sight
    }

    pub fn exchanges(&self) -> &'a [Exchange] {
        self.exchanges
    }

    /// The name of the session cookie.
    pub fn cookie(&self) -> &str {
        &self.policy.cookie
    }

    /// Whether that is more than the standard name.
    pub fn sure_of_cookie(&self) -> bool {
        self.sure
    }

    fn evidence(&self, answer: &Answer) -> Evidence {
        let lines = answer.set_cookies.iter().map(Vec::as_slice);
        Evidence::read(answer.status, lines, &self.policy)
    }

    /// A cookie that looks like a session's, of an answer that depends on cookies: what other
    /// frameworks set does not say so.
    fn lookalike(&self) -> Option<String> {
        let answers = self.exchanges.iter().filter_map(Exchange::answer);
        let names = answers.filter(|answer| answer.varies);
        names.filter_map(|answer| self.evidence(answer).lookalike).find(|name| is_name(name))
    }

    /// What an exchange says of the session; silence says nothing.
    pub fn told(&self, exchange: &Exchange) -> Told {
        let Some(answer) = exchange.answer() else { return Told::Nothing };
        match self.evidence(answer).session {
            SetSession::Nothing => Told::Nothing,
            SetSession::Deletion => Told::Deleted,
            SetSession::Key { key, .. } if exchange.question.carried.key() == Some(key) => {
                Told::Same
            }
            SetSession::Key { key, .. } => Told::Other(key),
            SetSession::Signed { .. } => Told::Signed,
            SetSession::OtherShape => Told::Foreign,
        }
    }

    /// How the site dresses its session cookie, and for how long it is set; of the last that it set.
    pub fn dress(&self) -> Option<(Dress, Option<std::time::Duration>)> {
        let answers = self.exchanges.iter().rev().filter_map(Exchange::answer);
        let read = answers.map(|answer| self.evidence(answer));
        read.filter_map(|evidence| match evidence.session {
            SetSession::Key { max_age, .. } => evidence.dress.map(|dress| (dress, max_age)),
            _ => None,
        })
        .next()
    }

    /// The first key that the site has made.
    pub fn first_key(&self) -> Option<SessionKey> {
        self.exchanges.iter().find_map(|exchange| match self.told(exchange) {
            Told::Other(key) => Some(key),
            _ => None,
        })
    }

    /// The keys that the probe holds and that are alive, the oldest first.
    pub fn live(&self) -> Vec<SessionKey> {
        let mut live: Vec<SessionKey> = Vec::new();
        for exchange in self.exchanges {
            let carried = exchange.question.carried;
            let told = self.told(exchange);
            if let (Carried::Live(key), Told::Other(_) | Told::Deleted) = (carried, told) {
                live.retain(|held| *held != key);
            }
            match (carried, told) {
                (_, Told::Other(key)) | (Carried::MadeUp(key), Told::Same) => live.push(key),
                _ => {}
            }
        }
        live
    }

    /// Whether an answer has been where Floodwall adds a deletion: a Django's deletion comes without
    /// `Vary`, or with a longer `Cache-Control` than this.
    pub fn shielded(&self, exchange: &Exchange) -> bool {
        exchange.answer().is_some_and(|answer| {
            answer.varies
                && answer.cache_control.eq_ignore_ascii_case("private")
                && self.told(exchange) == Told::Deleted
        })
    }

    /// Whether Floodwall stands in front of the site.
    pub fn is_shielded(&self) -> bool {
        self.exchanges.iter().any(|exchange| self.shielded(exchange))
    }

    /// Exchanges about a path and a method.
    pub fn about<'b>(
        &'b self,
        path: &'b str,
        method: Method,
    ) -> impl Iterator<Item = &'a Exchange> + 'b {
        let fits = move |exchange: &&Exchange| {
            exchange.question.path == path && exchange.question.method == method
        };
        self.exchanges.iter().filter(fits)
    }
}

/// A name that `session.cookie` takes and that can be written down: visible, short, a token.
fn is_name(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(token)
}
