//! A model of Django's session framework: what unpatched releases do to their store, as read in
//! their source (`contrib/sessions/backends/{base,db}.py`, `middleware.py`) and measured.

use std::collections::{BTreeMap, BTreeSet};

use super::super::moment::Moment;
use super::super::path::decode;
use super::support::{LIFETIME, key, text};

/// The last vulnerable releases: the first of each pair also creates on loading a missing key
/// (CVE-2015-5143), the second only flushes into a new record (CVE-2015-5963).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    V1_4_20,
    V1_4_21,
    V1_7_8,
    V1_7_9,
    V1_8_2,
    V1_8_3,
}

impl Release {
    pub const ALL: [Self; 6] =
        [Self::V1_4_20, Self::V1_4_21, Self::V1_7_8, Self::V1_7_9, Self::V1_8_2, Self::V1_8_3];

    /// Whether loading a key without a record creates another.
    pub fn creates_on_load(self) -> bool {
        matches!(self, Self::V1_4_20 | Self::V1_7_8 | Self::V1_8_2)
    }

    pub fn is_1_4(self) -> bool {
        matches!(self, Self::V1_4_20 | Self::V1_4_21)
    }

    pub fn is_1_8(self) -> bool {
        matches!(self, Self::V1_8_2 | Self::V1_8_3)
    }
}

/// What a session holds, as far as it matters whose it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Data {
    /// Who is logged in.
    pub user: Option<u32>,
    /// Who put something of their own into it.
    pub marks: BTreeSet<u32>,
    test_cookie: bool,
}

impl Data {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A site: its release, its settings and its store.
pub struct Django {
    pub release: Release,
    /// `SESSION_SAVE_EVERY_REQUEST`.
    pub saves_every_request: bool,
    /// Whether `/flip/`, which only reads, writes by now.
    pub flipped: bool,
    pub store: BTreeMap<String, (Data, Moment)>,
    issued: u64,
}

/// An answer: its status, and the session cookie's value (empty: a deletion) where it sets one.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub set: Option<String>,
}

/// `request.session`.
struct Session {
    key: Option<String>,
    cache: Option<Data>,
    modified: bool,
}

impl Django {
    pub fn new(release: Release, saves_every_request: bool) -> Self {
        let flipped = false;
        Self { release, saves_every_request, flipped, store: BTreeMap::new(), issued: 1 << 32 }
    }

    pub fn rows(&self) -> usize {
        self.store.len()
    }

    /// Whose login a cookie stands for.
    pub fn user(&self, cookie: Option<&str>) -> Option<u32> {
        self.store.get(cookie?).and_then(|(data, _)| data.user)
    }

    /// Serves one request of `who`.
    pub fn serve(
        &mut self,
        who: u32,
        method: &str,
        target: &str,
        cookie: Option<&str>,
        now: Moment,
    ) -> Answer {
        let cookie = cookie.filter(|value| !value.is_empty());
        let mut session = Session { key: cookie.map(String::from), cache: None, modified: false };
        let status = self.view(who, method, target, &mut session, now);
        self.middleware(status, cookie.is_some(), session, now)
    }

    fn view(
        &mut self,
        who: u32,
        method: &str,
        target: &str,
        session: &mut Session,
        now: Moment,
    ) -> u16 {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        // What the spellings have in common was measured; the guard's tests of paths hold it.
        let path = String::from_utf8_lossy(&decode(path)).into_owned();
        match &*path {
            "/static/" => 200,
            "/flip/" if self.flipped => {
                self.load(session, now).marks.insert(who);
                session.modified = true;
                200
            }
            "/read/" | "/flip/" => {
                self.load(session, now);
                200
            }
            "/broken/" => {
                self.load(session, now);
                500
            }
            "/cart/" | "/cart/logout/" => {
                self.load(session, now).marks.insert(who);
                session.modified = true;
                200
            }
            "/clear/" => {
                session.cache = Some(Data::default());
                session.modified = true;
                200
            }
            "/cycle/" => {
                self.load(session, now);
                self.cycle(session, now);
                200
            }
            "/login/" => self.login(who, method, query, session, now),
            "/confirm/logout/" => {
                self.load(session, now);
                200
            }
            "/logout/" | "/en/logout/" if method == "DELETE" => 405,
            // The pattern behind `/any/` lacks its `^`: one view at as many paths as are made up.
            path if matches!(path, "/logout/" | "/en/logout/") || path.starts_with("/any/") => {
                // `request.user` is looked at first.
                self.load(session, now);
                self.flush(session, now);
                if query.starts_with("next=http://[") { 500 } else { 302 }
            }
            _ => 404,
        }
    }

    fn login(
        &mut self,
        who: u32,
        method: &str,
        query: &str,
        session: &mut Session,
        now: Moment,
    ) -> u16 {
        let with_test_cookie = self.release.is_1_4();
        let data = self.load(session, now);
        if method != "POST" {
            if with_test_cookie {
                data.test_cookie = true;
                session.modified = true;
            }
            return 200;
        }
        if query != "right" || with_test_cookie && !data.test_cookie {
            return 200;
        }
        match data.user {
            Some(user) if user != who => self.flush(session, now),
            Some(_) => {}
            None => self.cycle(session, now),
        }
        let data = self.load(session, now);
        data.user = Some(who);
        data.test_cookie = false;
        session.modified = true;
        302
    }

    fn middleware(
        &mut self,
        status: u16,
        carried: bool,
        mut session: Session,
        now: Moment,
    ) -> Answer {
        let empty = session.key.is_none() && session.cache.as_ref().is_none_or(Data::is_empty);
        if self.release.is_1_8() && carried && empty {
            return Answer { status, set: Some(String::new()) };
        }
        let saves = (session.modified || self.saves_every_request)
            && (self.release.is_1_4() || status != 500);
        if saves {
            self.save(&mut session, false, now);
        }
        let set = saves.then(|| session.key.unwrap_or_else(|| String::from("None")));
        Answer { status, set }
    }

    fn load<'s>(&mut self, session: &'s mut Session, now: Moment) -> &'s mut Data {
        if session.cache.is_none() {
            let found = session.key.as_ref().and_then(|key| self.store.get(key));
            match found.filter(|(_, expires)| *expires > now) {
                Some((data, _)) => session.cache = Some(data.clone()),
                None if session.key.is_none() => session.cache = Some(Data::default()),
                None if self.release.creates_on_load() => self.create(session, now),
                None => {
                    session.key = None;
                    session.cache = Some(Data::default());
                }
            }
        }
        session.cache.get_or_insert_default()
    }

    fn new_key(&mut self) -> String {
        self.issued += 1;
        text(&key(self.issued))
    }

    /// Saves at once under a new key; all releases but 1.8.3 forget what the session held.
    fn create(&mut self, session: &mut Session, now: Moment) {
        session.key = Some(self.new_key());
        self.save(session, true, now);
        session.modified = true;
        if self.release != Release::V1_8_3 {
            session.cache = Some(Data::default());
        }
    }

    /// An upsert: it brings back what another request has deleted. The key is taken before the
    /// session is loaded, which may give it another one.
    fn save(&mut self, session: &mut Session, must_create: bool, now: Moment) {
        if session.key.is_none() {
            session.key = Some(self.new_key());
        }
        let key = session.key.clone().expect("just made");
        if must_create && session.cache.is_none() {
            session.cache = Some(Data::default());
        }
        let data = self.load(session, now).clone();
        self.store.insert(key, (data, now.after(LIFETIME)));
    }

    fn flush(&mut self, session: &mut Session, now: Moment) {
        session.cache = Some(Data::default());
        session.modified = true;
        if let Some(key) = &session.key {
            self.store.remove(key);
        }
        if self.release.is_1_8() {
            session.key = None;
        } else {
            self.create(session, now);
        }
    }

    fn cycle(&mut self, session: &mut Session, now: Moment) {
        let data = session.cache.clone();
        let old = session.key.clone();
        self.create(session, now);
        session.cache = data;
        if let Some(old) = old {
            self.store.remove(&old);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::support::START;
    use super::*;

    /// Rows that 20 requests add: the table of what was measured on the releases themselves.
    fn added(release: Release, target: &str, cookie: impl Fn(usize) -> Option<String>) -> i64 {
        let mut django = Django::new(release, false);
        for number in 0..20 {
            let cookie = cookie(number);
            let _ = django.serve(1, "GET", target, cookie.as_deref(), START);
        }
        i64::try_from(django.rows()).expect("small")
    }

    #[test]
    fn the_model_adds_what_was_measured() {
        let none = |_| None;
        let made_up = |number: usize| Some(text(&key(number as u64)));
        let constant = |_| Some(text(&key(7)));
        for release in Release::ALL {
            let old = i64::from(release.creates_on_load()) * 20;
            let not_1_8 = i64::from(!release.is_1_8()) * 20;
            assert_eq!(added(release, "/logout/", none), 20, "{release:?}");
            assert_eq!(added(release, "/logout/", made_up), not_1_8, "{release:?}");
            assert_eq!(added(release, "/logout/", constant), not_1_8, "{release:?}");
            assert_eq!(added(release, "/read/", none), 0, "{release:?}");
            assert_eq!(added(release, "/read/", made_up), old, "{release:?}");
            assert_eq!(added(release, "/static/", made_up), 0, "{release:?}");
            let test_cookie = i64::from(release.is_1_4()) * 20;
            assert_eq!(added(release, "/login/", none), test_cookie, "{release:?}");
            assert_eq!(added(release, "/cart/", none), 20, "{release:?}");
            assert_eq!(added(release, "/cart/", made_up), 20, "{release:?}");
            assert_eq!(added(release, "/logout/?next=http://[", none), not_1_8, "{release:?}");
            assert_eq!(added(release, "/clear/", made_up), 20, "{release:?}");
        }
    }

    #[test]
    fn recycled_logouts_add_nothing_but_on_1_7_when_they_fail() {
        for release in Release::ALL {
            for (target, expected) in [("/logout/", 1), ("/logout/?next=http://[", 20)] {
                let mut django = Django::new(release, false);
                let mut cookie = Some(text(&key(1)));
                for _ in 0..20 {
                    let answer = django.serve(1, "GET", target, cookie.as_deref(), START);
                    cookie = answer.set.filter(|set| !set.is_empty()).or(cookie);
                }
                let lost = matches!(release, Release::V1_7_8 | Release::V1_7_9);
                let expected = if lost { expected } else { 1 };
                let expected = if release.is_1_8() { 0 } else { expected };
                assert_eq!(django.rows(), expected, "{release:?} {target}");
            }
        }
    }
}
