//! As much of a browser as a user of the rig's site needs: cookies, forms and redirects.
//!
//! Cookies follow RFC 6265 in name, path, domain, replacement and deletion. `Secure` is not
//! looked at: on 127.0.0.1 browsers send such cookies without TLS too.

use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::Target;
use super::http::{Connection, Request, Response};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_REDIRECTS: usize = 5;

pub struct Browser {
    host: String,
    connection: Connection,
    cookies: Vec<Cookie>,
}

/// A cookie as a browser files it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    pub name: String,
    pub value: String,
    pub path: String,
    /// `None`: sent to the host that set it only.
    pub domain: Option<String>,
}

/// The page that a request ended at, with the way there.
pub struct Page {
    /// Each request's method and path with the status it got, the last one's last.
    pub hops: Vec<(String, u16)>,
    pub response: Response,
}

impl Page {
    pub fn status(&self) -> u16 {
        self.response.status
    }

    /// What the page says, short enough for a transcript: its title, or else its first line.
    pub fn gist(&self) -> String {
        let body = String::from_utf8_lossy(&self.response.body);
        let title = body.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
        let gist =
            title.map_or_else(|| body.lines().next().unwrap_or_default(), |(title, _)| title);
        gist.trim().chars().take(80).collect()
    }
}

impl Browser {
    pub fn new(target: Target, source: Ipv4Addr) -> Self {
        Self::with_host(target, source, target.to_string())
    }

    /// A browser that knows the site by a name, for cookies with a domain.
    pub fn with_host(target: Target, source: Ipv4Addr, host: String) -> Self {
        Self { host, connection: Connection::new(target, source), cookies: Vec::new() }
    }

    /// The cookie of that name that a page at `/` would see.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.filed(name, "/").map(|cookie| cookie.value.as_str())
    }

    /// The cookie of that name that a request to this path would carry.
    pub fn filed(&self, name: &str, path: &str) -> Option<&Cookie> {
        self.cookies.iter().find(|cookie| cookie.name == name && cookie.is_for(path))
    }

    /// Files a cookie that no answer has set, in place of the one like it.
    pub fn file(&mut self, cookie: Cookie) {
        self.cookies.retain(|known| !known.is_replaced_by(&cookie));
        self.cookies.push(cookie);
    }

    /// One request, with this form if there is one: the answer as it came, a redirect or not.
    pub fn once(&mut self, path: &str, form: Option<&[(&str, &str)]>) -> io::Result<Response> {
        match form {
            None => self.request("GET", path, None),
            Some(fields) => self.request("POST", path, Some(&self.form(fields))),
        }
    }

    pub fn get(&mut self, path: &str) -> io::Result<Page> {
        self.open("GET", path, None)
    }

    /// Sends a form, with the CSRF token that the site has given in its cookie.
    pub fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> io::Result<Page> {
        self.open("POST", path, Some(self.form(fields)))
    }

    fn form(&self, fields: &[(&str, &str)]) -> String {
        let token = self.cookie("csrftoken").unwrap_or_default();
        let mut form = format!("csrfmiddlewaretoken={token}");
        for (name, value) in fields {
            form.extend(["&", name, "=", value]);
        }
        form
    }

    fn open(&mut self, method: &str, path: &str, form: Option<String>) -> io::Result<Page> {
        let mut hops = Vec::new();
        let (mut method, mut path, mut form) = (method, path.to_owned(), form);
        loop {
            let response = self.request(method, &path, form.as_deref())?;
            hops.push((format!("{method} {path}"), response.status));
            let location = response.header("location").next().map(str::to_owned);
            match location {
                Some(location) if matches!(response.status, 301..=303 | 307) => {
                    if hops.len() > MAX_REDIRECTS {
                        return Err(io::Error::other("too many redirects"));
                    }
                    path = self.own_path(&location)?;
                    // RFC 9110, 15.4.8: the same method, with the same content.
                    if response.status != 307 {
                        (method, form) = ("GET", None);
                    }
                }
                _ => return Ok(Page { hops, response }),
            }
        }
    }

    /// Django before 1.9 makes every Location absolute, of the Host that it was sent.
    fn own_path(&self, location: &str) -> io::Result<String> {
        let path = match location.strip_prefix("http://") {
            Some(rest) => rest.strip_prefix(self.host.as_str()),
            None => Some(location),
        };
        path.filter(|p| p.starts_with('/'))
            .map(str::to_owned)
            .ok_or_else(|| io::Error::other(format!("sent elsewhere: {location}")))
    }

    fn request(&mut self, method: &str, path: &str, form: Option<&str>) -> io::Result<Response> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.host);
        head.push_str("User-Agent: Mozilla/5.0 (honest user)\r\nAccept: text/html,*/*;q=0.8\r\n");
        let cookies: Vec<_> =
            self.cookies.iter().filter(|c| c.is_for(path)).map(Cookie::pair).collect();
        if !cookies.is_empty() {
            head.extend(["Cookie: ", &cookies.join("; "), "\r\n"]);
        }
        if let Some(form) = form {
            head.push_str("Content-Type: application/x-www-form-urlencoded\r\n");
            head.push_str(&format!("Content-Length: {}\r\n", form.len()));
        }
        head.push_str("\r\n");
        head.push_str(form.unwrap_or_default());
        let request = Request { bytes: head.into_bytes(), head: method == "HEAD" };
        let response = self.connection.exchange(&request, Instant::now() + REQUEST_TIMEOUT)?;
        for line in response.header("set-cookie") {
            self.keep(line, path);
        }
        Ok(response)
    }

    fn keep(&mut self, line: &str, request_path: &str) {
        let mut parts = line.split(';').map(str::trim);
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
            return;
        };
        let default_path = request_path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let mut cookie = Cookie {
            name: name.trim().to_owned(),
            value: value.trim().to_owned(),
            path: if default_path.is_empty() { "/" } else { default_path }.to_owned(),
            domain: None,
        };
        let mut expired = false;
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            match name.to_ascii_lowercase().as_str() {
                "path" if value.starts_with('/') => cookie.path = value.to_owned(),
                "domain" => {
                    cookie.domain = Some(value.trim_start_matches('.').to_ascii_lowercase())
                }
                // Django sends it with every `expires`, and it takes precedence.
                "max-age" => expired = value.parse::<i64>().is_ok_and(|seconds| seconds <= 0),
                _ => {}
            }
        }
        let host = self.host.split(':').next().unwrap_or_default().to_ascii_lowercase();
        let ours = |d: &String| {
            host == *d || host.strip_suffix(d.as_str()).is_some_and(|h| h.ends_with('.'))
        };
        if !cookie.domain.as_ref().is_none_or(ours) {
            return;
        }
        if expired {
            self.cookies.retain(|known| !known.is_replaced_by(&cookie));
        } else {
            self.file(cookie);
        }
    }
}

impl Cookie {
    fn pair(&self) -> String {
        format!("{}={}", self.name, self.value)
    }

    fn is_for(&self, path: &str) -> bool {
        path.strip_prefix(self.path.as_str()).is_some_and(|rest| {
            rest.is_empty() || rest.starts_with('/') || self.path.ends_with('/')
        })
    }

    fn is_replaced_by(&self, other: &Self) -> bool {
        (&self.name, &self.path, &self.domain) == (&other.name, &other.path, &other.domain)
    }
}
