//! Profiles: how a framework names, issues and deletes sessions, with its default rules.

use crate::guard::policy::{Budget, KeyShape};
use crate::guard::route::{Action, Effect, PathPattern, Rule};

/// A framework, and the releases of it that issue the same session keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Django, any release.
    Django,
    /// Django 1.4 alone: a key with a letter behind `f` cannot be one of its own.
    Django14,
}

/// The budgets that the defaults have, as indices into `Policy::budgets`.
pub(super) mod budget {
    pub(crate) const LOGIN: usize = 1;
    pub(crate) const ADMIN: usize = 2;
    pub(crate) const LOGOUT: usize = 3;
}

const LOGOUT: [&str; 11] = [
    "logout",
    "log-out",
    "log_out",
    "logoff",
    "log-off",
    "signout",
    "sign-out",
    "sign_out",
    "signoff",
    "sign-off",
    "logout_then_login",
];

const LOGIN: [&str; 8] =
    ["login", "log-in", "log_in", "logon", "log-on", "signin", "sign-in", "sign_in"];

impl Profile {
    pub const ALL: [Self; 2] = [Self::Django, Self::Django14];

    /// The word for it in TOML and in logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Django => "django",
            Self::Django14 => "django-1.4",
        }
    }

    /// Which strings can be a session key of it.
    pub const fn key_shape(self) -> KeyShape {
        match self {
            Self::Django => KeyShape::Alnum32,
            Self::Django14 => KeyShape::Hex32,
        }
    }

    /// Its rules, in their order: `/admin/logout/` is a logout and `/admin/login/` a login
    /// before either is an admin page.
    pub(super) fn rules(self) -> Vec<Rule> {
        match self {
            Self::Django | Self::Django14 => django(),
        }
    }
}

fn django() -> Vec<Rule> {
    let segments = |names: &[&str]| {
        PathPattern::LastSegment(names.iter().map(|&name| name.to_owned()).collect())
    };
    let admin = || PathPattern::Prefix("/admin/".to_owned());
    vec![
        Rule {
            action: Action::Recycle,
            effect: Effect::Flush,
            query: vec!["next".to_owned()],
            ..gate("logout", segments(&LOGOUT), budget::LOGOUT)
        },
        Rule { effect: Effect::Rotate, ..gate("login", segments(&LOGIN), budget::LOGIN) },
        Rule {
            // On 1.4 every admin page shows the login form, and takes its POST. Pages that are only
            // read need not wait for each other.
            methods: vec!["POST".to_owned()],
            effect: Effect::Rotate,
            ..gate("admin-post", admin(), budget::ADMIN)
        },
        gate("admin", admin(), budget::ADMIN),
        // django.views.i18n.set_language keeps the language in the session.
        gate("setlang", segments(&["setlang"]), Budget::ANONYMOUS),
    ]
}

fn gate(name: &str, path: PathPattern, budget: usize) -> Rule {
    Rule {
        name: name.to_owned(),
        paths: vec![path],
        methods: Vec::new(),
        standings: Vec::new(),
        action: Action::Gate,
        budget,
        mode: None,
        challenge: None,
        effect: Effect::Write,
        query: Vec::new(),
    }
}
