//! What visitors do: every case in which an unpatched Django, a patched one and Floodwall might
//! part.

/// A Django with its settings, and what visitors do there.
pub struct Site {
    pub name: &'static str,
    /// For `tests/django/serve --option`.
    pub options: &'static [&'static str],
    /// `SESSION_COOKIE_NAME`, which Floodwall is told too.
    pub cookie: &'static str,
    pub scenarios: &'static [Scenario],
}

/// One request that is compared, after others that are not.
pub struct Scenario {
    pub name: &'static str,
    /// What leads there.
    pub before: &'static [Step],
    pub request: Step,
    /// Keys of Floodwall's `[session]`, and further tables.
    pub settings: &'static str,
}

/// What a visitor does.
#[derive(Clone, Copy)]
pub enum Step {
    Get(&'static str),
    /// A form, with a CSRF token.
    Post(&'static str, &'static [(&'static str, &'static str)]),
    /// Reads the login page and fills it in. (1.4 wants back the cookie that its page sets.)
    LogIn,
    /// The same as an administrator, whom the admin lets in.
    LogInAsAdmin,
    /// Logs in and out, and then has the cookie of the ended session again: from a second tab, a
    /// cached page, or a deletion that missed.
    KeepDead,
    /// The record of the visitor's session goes: `clearsessions`, or a cache that evicts.
    LoseRecord,
    /// Makes up a session key, another one each time.
    MakeUp,
}

use Step::{Get, KeepDead, LogIn, LogInAsAdmin, LoseRecord, MakeUp, Post};

const LOGOUT: Step = Get("/accounts/logout/");
const FREE: Step = Get("/");
const READ: Step = Get("/read/");
const WRITE: Step = Get("/write/");
const LOGIN_PAGE: Step = Get("/accounts/login/");
const LOGIN: Step = Post("/accounts/login/", &USER);
pub const USER: [(&str, &str); 2] = [("username", "user0"), ("password", "secret")];
pub const ADMIN: [(&str, &str); 2] = [("username", "admin"), ("password", "secret")];

const fn at(name: &'static str, before: &'static [Step], request: Step) -> Scenario {
    Scenario { name, before, request, settings: "" }
}

impl Scenario {
    const fn with(self, settings: &'static str) -> Self {
        Self { settings, ..self }
    }
}

/// As a ledger that has seen a whole lifetime behaves.
const WARM: &str = "unknown = 'drop'";

/// Lets requests with `?bytes=` recycle as others do.
const BYTES_RECYCLE: &str =
    "[[rule]]\nname = 'logout'\nlast_segment = 'logout'\naction = 'recycle'\nquery = ['bytes']";

/// What the README advises for such a site.
const WRITES_AFTER_LOGOUT: &str =
    "after_logout = 'relay'\n[[rule]]\nname = 'logout'\nlast_segment = 'logout'\neffect = 'flush'";

pub const SITES: [Site; 5] = [
    Site {
        name: "default settings",
        options: &[],
        cookie: "sessionid",
        scenarios: &[
            at("session-free page, no cookie", &[], FREE),
            at("session-free page, own session", &[WRITE], FREE),
            at("read-only page, no cookie", &[], READ),
            at("read-only page, own session", &[WRITE], READ),
            at("read-only page, logged in", &[LogIn], READ),
            at("writing page, no cookie", &[], WRITE),
            at("writing page, own session", &[WRITE], WRITE),
            at("writing page, logged in", &[LogIn], WRITE),
            at("page that is not there, no cookie", &[], Get("/nowhere/")),
            at("logout, no cookie", &[], LOGOUT),
            at("logout, own anonymous session", &[WRITE], LOGOUT),
            at("logout, logged in", &[LogIn], LOGOUT),
            at("logout by POST, no cookie", &[], Post("/accounts/logout/", &[])),
            at("logout by POST, logged in", &[LogIn], Post("/accounts/logout/", &[])),
            at("logout to ?next=, no cookie", &[], Get("/accounts/logout/?next=/read/")),
            at("logout to ?next=, logged in", &[LogIn], Get("/accounts/logout/?next=/read/")),
            at("logout by redirect, no cookie", &[], Get("/redirect/logout/")),
            at("logout by redirect, logged in", &[LogIn], Get("/redirect/logout/")),
            at("logout by template, no cookie", &[], Get("/template/logout/")),
            at("logout by template, logged in", &[LogIn], Get("/template/logout/")),
            at("logout of the admin, no cookie", &[], Get("/admin/logout/")),
            at("logout of the admin, logged in", &[LogInAsAdmin], Get("/admin/logout/")),
            at("logout that asks first, no cookie", &[], Get("/confirm/logout/")),
            at("logout that asks first, logged in", &[LogIn], Get("/confirm/logout/")),
            at("logout that asks first, confirmed", &[LogIn], Post("/confirm/logout/", &[])),
            at("login page, no cookie", &[], LOGIN_PAGE),
            at("login, no session before", &[LOGIN_PAGE], LOGIN),
            at("login, anonymous session before", &[WRITE, LOGIN_PAGE], LOGIN),
            at(
                "login, wrong password",
                &[LOGIN_PAGE],
                Post("/accounts/login/", &[("username", "user0"), ("password", "guess")]),
            ),
            at("login, logged in before", &[LogIn], LOGIN),
            at("dead cookie, session-free page", &[KeepDead], FREE),
            at("dead cookie, read-only page", &[KeepDead], READ),
            at("dead cookie, writing page", &[KeepDead], WRITE),
            at("dead cookie, logout", &[KeepDead], LOGOUT),
            at("dead cookie, login", &[KeepDead, LOGIN_PAGE], LOGIN),
            at("record lost, session-free page", &[LogIn, LoseRecord], FREE),
            at("record lost, read-only page", &[LogIn, LoseRecord], READ),
            at("record lost, writing page", &[LogIn, LoseRecord], WRITE),
            at("record lost, logout", &[LogIn, LoseRecord], LOGOUT),
            at("made-up cookie, session-free page, cold", &[MakeUp], FREE),
            at("made-up cookie, read-only page, cold", &[MakeUp], READ),
            at("made-up cookie, writing page, cold", &[MakeUp], WRITE),
            at("made-up cookie, logout, cold", &[MakeUp], LOGOUT),
            at("made-up cookie, logout, cold, path proved", &[LOGOUT, MakeUp], LOGOUT),
            at("made-up cookie, login, cold", &[MakeUp, LOGIN_PAGE], LOGIN),
            at("made-up cookie, session-free page, warm", &[MakeUp], FREE).with(WARM),
            at("made-up cookie, read-only page, warm", &[MakeUp], READ).with(WARM),
            at("made-up cookie, writing page, warm", &[MakeUp], WRITE).with(WARM),
            at("made-up cookie, logout, warm", &[MakeUp], LOGOUT).with(WARM),
            at("made-up cookie, login, warm", &[MakeUp, LOGIN_PAGE], LOGIN).with(WARM),
            at("made-up cookie, adopted by clear(), cold", &[MakeUp], Get("/adopt/")),
            at("made-up cookie, adopted by clear(), warm", &[MakeUp], Get("/adopt/")).with(WARM),
            at("message, no cookie", &[], Get("/messages/add/")),
            at("message shown, no session", &[Get("/messages/add/")], Get("/messages/")),
            at("long message, no cookie", &[], Get("/messages/add/?bytes=3000")),
            at("long message shown", &[Get("/messages/add/?bytes=3000")], Get("/messages/")),
            at("message, logged in", &[LogIn], Get("/messages/add/")),
            at("message after logout, no cookie", &[], Get("/messages/logout/")),
            at("message after logout, logged in", &[LogIn], Get("/messages/logout/")),
            at(
                "message kept in the session after logout, no cookie",
                &[],
                Get("/messages/logout/?bytes=3000"),
            )
            .with(BYTES_RECYCLE),
            at(
                "message kept in the session after logout, logged in",
                &[LogIn],
                Get("/messages/logout/?bytes=3000"),
            ),
            at(
                "message kept in the session after logout, no cookie; others were deleted",
                &[LogIn, LOGOUT],
                Get("/messages/logout/?bytes=3000"),
            )
            .with(BYTES_RECYCLE),
            at(
                "message kept in the session after logout, logged in; others were deleted",
                &[LogIn, LOGOUT, LogIn],
                Get("/messages/logout/?bytes=3000"),
            ),
            at(
                "message kept in the session after logout, no cookie; \"gate\" and \"relay\"",
                &[],
                Get("/messages/logout/?bytes=3000"),
            )
            .with(WRITES_AFTER_LOGOUT),
            at(
                "message kept in the session after logout, logged in; \"gate\" and \"relay\"",
                &[LogIn],
                Get("/messages/logout/?bytes=3000"),
            )
            .with(WRITES_AFTER_LOGOUT),
            at("language, no cookie", &[], Post("/i18n/setlang/", &[("language", "de")])),
            at(
                "logout, language chosen before",
                &[Post("/i18n/setlang/", &[("language", "de")]), LogIn],
                LOGOUT,
            ),
            at(
                "logout, language chosen before; others were deleted",
                &[LogIn, LOGOUT, Post("/i18n/setlang/", &[("language", "de")]), LogIn],
                LOGOUT,
            ),
            at(
                "logout, language chosen before; \"relay\"",
                &[Post("/i18n/setlang/", &[("language", "de")]), LogIn],
                LOGOUT,
            )
            .with("after_logout = 'relay'"),
            at("cart at a logout's path, no cookie", &[], Get("/cart/logout/")),
            at("cart at a logout's path, own session", &[WRITE], Get("/cart/logout/")),
            at("500, no cookie", &[], Get("/error/")),
            at("500, logged in", &[LogIn], Get("/error/")),
            at("500 after flush, no cookie", &[], Get("/error/logout/")),
            at("500 after flush, logged in", &[LogIn], Get("/error/logout/")),
            at("500 after flush, made-up cookie, cold", &[MakeUp], Get("/error/logout/")),
            at("500 after flush, made-up cookie, warm", &[MakeUp], Get("/error/logout/"))
                .with(WARM),
        ],
    },
    Site {
        name: "SESSION_SAVE_EVERY_REQUEST",
        options: &["SESSION_SAVE_EVERY_REQUEST=true"],
        cookie: "sessionid",
        scenarios: &[
            at("session-free page, no cookie", &[], FREE),
            at("session-free page, own session", &[WRITE], FREE),
            at("page that is not there, no cookie", &[], Get("/nowhere/")),
            at("read-only page, no cookie", &[], READ),
            at("read-only page, logged in", &[LogIn], READ),
            at("writing page, no cookie", &[], WRITE),
            at("login, no session before", &[], LogIn),
            at("logout, no cookie", &[], LOGOUT),
            at("logout, logged in", &[LogIn], LOGOUT),
            at("dead cookie, session-free page", &[KeepDead], FREE),
            at("dead cookie, read-only page", &[KeepDead], READ),
            at("made-up cookie, session-free page, cold", &[MakeUp], FREE),
            at("made-up cookie, session-free page, warm", &[MakeUp], FREE).with(WARM),
            at("made-up cookie, read-only page, cold", &[MakeUp], READ),
            at("made-up cookie, read-only page, warm", &[MakeUp], READ).with(WARM),
        ],
    },
    Site {
        name: "cookie with a domain, a path and Secure",
        options: &[
            "SESSION_COOKIE_DOMAIN=.site.example",
            "SESSION_COOKIE_PATH=/accounts",
            "SESSION_COOKIE_SECURE=true",
        ],
        cookie: "sessionid",
        scenarios: &[
            at("login, no session before", &[], LogIn),
            at("logout, no cookie", &[], LOGOUT),
            at("logout, logged in", &[LogIn], LOGOUT),
            at("dead cookie, logout", &[KeepDead], LOGOUT),
        ],
    },
    Site {
        name: "cookie of another name",
        options: &["SESSION_COOKIE_NAME=sid"],
        cookie: "sid",
        scenarios: &[
            at("writing page, no cookie", &[], WRITE),
            at("login, no session before", &[], LogIn),
            at("logout, no cookie", &[], LOGOUT),
            at("logout, logged in", &[LogIn], LOGOUT),
            at("dead cookie, read-only page", &[KeepDead], READ),
            at("made-up cookie, logout, warm", &[MakeUp], LOGOUT).with(WARM),
        ],
    },
    Site {
        name: "cookie until the browser is closed",
        options: &["SESSION_EXPIRE_AT_BROWSER_CLOSE=true"],
        cookie: "sessionid",
        scenarios: &[
            at("writing page, no cookie", &[], WRITE),
            at("writing page, own session", &[WRITE], WRITE),
            at("login, no session before", &[], LogIn),
            at("logout, no cookie", &[], LOGOUT),
            at("logout, logged in", &[LogIn], LOGOUT),
            at("dead cookie, read-only page", &[KeepDead], READ),
        ],
    },
];
