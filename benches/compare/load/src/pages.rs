//! The pages of the upstream, rendered once a second and not for each request.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::store::Use;
use crate::wire::Key;

/// Size of `/big`.
pub const BIG: u64 = 100 << 20;
/// SESSION_COOKIE_AGE, in seconds.
const LIFETIME: u64 = 1_209_600;

/// A kind of page: where it is, what it does to the session, and what it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    Small,
    Medium,
    Upload,
    Big,
    Logout,
    Login,
    LoginForm,
    Cart,
    /// As [`Page::Small`].
    Other,
}

impl Page {
    pub const ALL: [Self; 9] = [
        Self::Small,
        Self::Medium,
        Self::Upload,
        Self::Big,
        Self::Logout,
        Self::Login,
        Self::LoginForm,
        Self::Cart,
        Self::Other,
    ];

    pub fn of(method: &str, path: &str) -> Self {
        match (path, method) {
            ("/small", _) => Self::Small,
            ("/page", _) => Self::Medium,
            ("/upload", _) => Self::Upload,
            ("/big", _) => Self::Big,
            ("/logout/", _) => Self::Logout,
            ("/login/", "POST") => Self::Login,
            ("/login/", _) => Self::LoginForm,
            ("/cart/", _) => Self::Cart,
            (_, _) => Self::Other,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Small => "/small",
            Self::Medium => "/page",
            Self::Upload => "/upload",
            Self::Big => "/big",
            Self::Logout => "/logout/",
            Self::Login => "POST /login/",
            Self::LoginForm => "/login/",
            Self::Cart => "/cart/",
            Self::Other => "other",
        }
    }

    pub fn session(self) -> Use {
        match self {
            Self::Small
            | Self::Medium
            | Self::Upload
            | Self::Big
            | Self::LoginForm
            | Self::Other => Use::Read,
            Self::Logout => Use::Logout,
            Self::Login => Use::Login,
            Self::Cart => Use::Write,
        }
    }

    /// Length of the body in bytes; that of [`Page::Big`] is not kept.
    fn length(self) -> u64 {
        match self {
            Self::Small | Self::Cart | Self::LoginForm | Self::Other => 1 << 10,
            Self::Medium => 10 << 10,
            Self::Upload => 3,
            Self::Big => BIG,
            Self::Logout => 512,
            Self::Login => 0,
        }
    }

    fn head(self, date: &str) -> String {
        let status = match self {
            Self::Login => "302 Found\r\nLocation: /cart/",
            Self::Small
            | Self::Medium
            | Self::Upload
            | Self::Big
            | Self::Logout
            | Self::LoginForm
            | Self::Cart
            | Self::Other => "200 OK",
        };
        let more = match self {
            Self::Medium => {
                "X-Frame-Options: SAMEORIGIN\r\nX-Content-Type-Options: nosniff\r\nContent-Language: en-us\r\n\
                 Last-Modified: Mon, 02-Nov-2026 08:00:00 GMT\r\nETag: \"0f5b1c6f0d1e4b7a8c9d\"\r\n\
                 Cache-Control: private, max-age=0\r\nX-Request-Time: 0.012\r\n"
            }
            Self::Small
            | Self::Upload
            | Self::Big
            | Self::Logout
            | Self::Login
            | Self::LoginForm
            | Self::Cart
            | Self::Other => "",
        };
        let length = self.length();
        format!(
            "HTTP/1.1 {status}\r\nDate: {date}\r\nServer: upstream\r\nContent-Type: text/html; charset=utf-8\r\n\
             Content-Length: {length}\r\n{more}\r\n"
        )
    }
}

/// What is sent for a page without a session cookie.
struct Rendered {
    bytes: Vec<u8>,
    /// Where the head ends, its empty line included.
    head: usize,
}

/// All pages, as of one second.
pub struct Pages {
    second: u64,
    rendered: Vec<Rendered>,
    /// Between the key and the end of the head.
    attributes: String,
}

impl Pages {
    pub fn new() -> Self {
        let mut pages = Self { second: u64::MAX, rendered: Vec::new(), attributes: String::new() };
        pages.refresh();
        pages
    }

    /// Renders them again where the second is another.
    pub fn refresh(&mut self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if now == self.second {
            return;
        }
        self.second = now;
        let date = date(now, " ");
        let render = |page: Page| {
            let mut bytes = page.head(&date).into_bytes();
            let head = bytes.len();
            let kept = if page == Page::Big { 0 } else { page.length() };
            bytes.extend((0..kept).map(|at| b"<p>Lorem ipsum dolor sit amet.\n"[at as usize % 31]));
            Rendered { bytes, head }
        };
        self.rendered = Page::ALL.map(render).into();
        self.attributes = format!(
            "; expires={}; httponly; Max-Age={LIFETIME}; Path=/\r\nVary: Cookie\r\n\r\n",
            self::date(now + LIFETIME, "-")
        );
    }

    fn rendered(&self, page: Page) -> &Rendered {
        &self.rendered[page as usize]
    }

    /// Head and body of an answer without a session cookie; of [`Page::Big`] the head.
    pub fn plain(&self, page: Page, head_only: bool) -> &[u8] {
        let rendered = self.rendered(page);
        if head_only { &rendered.bytes[..rendered.head] } else { &rendered.bytes }
    }

    /// The same with a session cookie, as Django sets it.
    pub fn with_session(&self, page: Page, head_only: bool, key: &Key, into: &mut Vec<u8>) {
        let rendered = self.rendered(page);
        into.clear();
        into.extend_from_slice(&rendered.bytes[..rendered.head - 2]);
        into.extend_from_slice(b"Set-Cookie: sessionid=");
        into.extend_from_slice(key);
        into.extend_from_slice(self.attributes.as_bytes());
        if !head_only {
            into.extend_from_slice(&rendered.bytes[rendered.head..]);
        }
    }
}

/// `Sun, 06 Dec 2026 21:11:01 GMT`, or as cookies of that time have it, with dashes.
fn date(seconds: u64, dash: &str) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    let weekday = DAYS[(days % 7) as usize];
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let (mut year, mut day) = (1970, days);
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    let month = MONTHS[month];
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!(
        "{weekday}, {:02}{dash}{month}{dash}{year} {hour:02}:{minute:02}:{second:02} GMT",
        day + 1
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0, " "), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(date(951_782_400, " "), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(date(1_796_591_461, "-"), "Sun, 06-Dec-2026 21:11:01 GMT");
    }

    #[test]
    fn every_page_stands_at_its_place() {
        for (place, page) in Page::ALL.into_iter().enumerate() {
            assert_eq!(page as usize, place, "{page:?}");
        }
    }
}
