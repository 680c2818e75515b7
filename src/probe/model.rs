//! A model of a site whose store can be counted: what the releases do with the session, as measured.

use std::collections::BTreeSet;

use super::seen::{Answer, Method, Question};

/// What a view does with the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// It does not look at it.
    Plain,
    Reads,
    Writes,
    /// It ends it.
    Flushes,
    /// It ends it, and leaves a message in the one behind.
    FlushesAndWrites,
    /// It shows a form, and ends the session when that is posted.
    Confirms,
    /// It takes the key that it is given (`clear()`).
    Adopts,
    /// It ends it and fails.
    Fails,
    WantsPost,
    /// It sends there.
    Sends(&'static str),
    /// It sends who is not logged in there, having looked.
    Asks(&'static str),
    Refuses,
}

/// The differences between the releases.
#[derive(Clone, Copy, Debug)]
pub struct Release {
    /// `load()` creates where the key is unknown (CVE-2015-5143).
    pub load_creates: bool,
    /// `flush()` creates (CVE-2015-5964).
    pub flush_creates: bool,
    /// An empty session is saved for who had none (CVE-2015-5963).
    pub saves_empty: bool,
    /// The cookie of an empty session is deleted.
    pub deletes: bool,
    /// Keys are of hexadecimal digits, and the login page leaves a test cookie.
    pub old: bool,
}

pub const R1_4_20: Release = Release { load_creates: true, ..R1_4_21 };
pub const R1_4_21: Release = Release { old: true, ..R1_7_9 };
pub const R1_4_22: Release = Release { old: true, ..R1_8_4 };
pub const R1_7_8: Release = Release { load_creates: true, ..R1_7_9 };
pub const R1_7_9: Release = Release {
    load_creates: false,
    flush_creates: true,
    saves_empty: true,
    deletes: false,
    old: false,
};
pub const R1_8_2: Release = Release { load_creates: true, ..R1_8_3 };
pub const R1_8_3: Release = Release { flush_creates: false, deletes: true, ..R1_7_9 };
pub const R1_8_4: Release = Release { saves_empty: false, ..R1_8_3 };

pub struct Site {
    pub release: Release,
    pub cookie: &'static str,
    pub views: Vec<(&'static str, View)>,
    /// `SESSION_SAVE_EVERY_REQUEST`
    pub saves_all: bool,
    /// Added to each session cookie.
    pub attributes: &'static str,
    pub store: BTreeSet<Vec<u8>>,
    pub issued: u32,
}

impl Site {
    pub fn new(release: Release) -> Self {
        let login = if release.old { View::Writes } else { View::Plain };
        let admin = if release.old { View::Writes } else { View::Asks("/admin/login/?next=/") };
        Self {
            release,
            cookie: "sessionid",
            views: vec![
                ("/", View::Plain),
                ("/accounts/login/", login),
                ("/accounts/logout/", View::Flushes),
                ("/admin/", admin),
                ("/admin/logout/", View::Asks("/admin/")),
            ],
            saves_all: false,
            attributes: "; HttpOnly; Max-Age=1209600; Path=/",
            store: BTreeSet::new(),
            issued: 0,
        }
    }

    pub fn with(mut self, path: &'static str, view: View) -> Self {
        self.views.retain(|(known, _)| *known != path);
        self.views.push((path, view));
        self
    }

    pub fn without(mut self, path: &'static str) -> Self {
        self.views.retain(|(known, _)| *known != path);
        self
    }

    fn create(&mut self) -> Vec<u8> {
        self.issued += 1;
        let last = if self.release.old { 'a' } else { 'z' };
        let key = format!("{:031}{last}", self.issued).into_bytes();
        self.store.insert(key.clone());
        key
    }

    pub fn answer(&mut self, question: &Question) -> Answer {
        let release = self.release;
        let brought = question.carried.key().map(|key| key.as_bytes().to_vec());
        let view = self.views.iter().find(|(path, _)| *path == question.path);
        let view = view.map(|(_, view)| *view);
        let mut answer = Answer { status: 200, ..Answer::default() };
        let mut key = brought.clone();
        let (mut accessed, mut modified, mut full) = (false, self.saves_all, false);
        let mut failed = false;
        // `load()`
        let load = |site: &mut Self, key: &mut Option<Vec<u8>>, modified: &mut bool| {
            if key.as_ref().is_some_and(|key| !site.store.contains(key)) {
                *key = release.load_creates.then(|| site.create());
                *modified |= release.load_creates;
            }
        };
        let post = question.method == Method::Post;
        let flushes = match view {
            Some(View::Flushes | View::FlushesAndWrites | View::Fails) => true,
            Some(View::Confirms | View::WantsPost) => post,
            _ => false,
        };
        match view {
            None => answer.status = 404,
            Some(View::Refuses) => {
                answer.status = 429;
                return answer;
            }
            Some(View::Sends(location)) => {
                answer.status = 302;
                answer.location = Some(location.to_owned());
                return answer;
            }
            Some(View::WantsPost) if !post => answer.status = 405,
            Some(View::Confirms) if !post => answer.form = true,
            Some(View::Asks(location)) => {
                (accessed, answer.status) = (true, 302);
                answer.location = Some(location.to_owned());
                load(self, &mut key, &mut modified);
            }
            Some(View::Reads) => {
                accessed = true;
                load(self, &mut key, &mut modified);
            }
            Some(View::Writes) => {
                load(self, &mut key, &mut modified);
                (accessed, modified, full) = (true, true, true);
                answer.form = release.old;
            }
            Some(View::Adopts) => (accessed, modified, full) = (true, true, true),
            Some(_) => {}
        }
        if flushes {
            load(self, &mut key, &mut modified);
            if let Some(key) = key.take() {
                self.store.remove(&key);
            }
            if release.flush_creates {
                key = Some(self.create());
            }
            (accessed, modified) = (true, true);
            full = view == Some(View::FlushesAndWrites);
            failed = view == Some(View::Fails);
        }
        answer.varies = accessed || answer.form;
        if failed {
            answer.status = 500;
            return answer;
        }
        let loaded = accessed || flushes;
        let empty = key.is_none() && !full;
        let cookie = |value: &[u8], rest: &str| {
            [self.cookie.as_bytes(), b"=", value, rest.as_bytes()].concat()
        };
        if release.deletes && brought.is_some() && empty && loaded {
            answer.set_cookies.push(cookie(b"", "; Max-Age=0; Path=/"));
            answer.varies = answer.form;
        } else if modified && (!empty || release.saves_empty) {
            let rest = self.attributes;
            let key = key.unwrap_or_else(|| self.create());
            self.store.insert(key.clone());
            answer.set_cookies.push([self.cookie.as_bytes(), b"=", &key, rest.as_bytes()].concat());
        }
        answer
    }
}
