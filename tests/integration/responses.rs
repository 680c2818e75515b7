//! Responses of the application, byte by byte: where they end, and what is none (RFC 9112).
//!
//! The application is played by the test, and both clients that HTTP can be spoken by with it are
//! asked. Where they differ, Floodwall's own is the stricter one, and the case says so.

mod cases;
mod large;
mod trouble;

use std::thread;

use floodwall::proxy::settings::UpstreamClient;

use crate::raw::{Application, Proxy, Wire, has, values};

/// What becomes of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// All of it is relayed; whether its connection carries another request.
    Whole(u16, &'static str, Kept),
    /// It has the beginning of one, and is broken off.
    Cut,
    /// 502.
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Yes,
    No,
}

/// What the application does behind its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Stays,
    Ends,
}

/// A response to a request with this method, and what becomes of it.
struct Case<'a> {
    method: &'static str,
    answer: &'a str,
    then: Then,
    own: Found,
    /// The same, unless own is stricter.
    hyper: Found,
}

impl<'a> Case<'a> {
    const fn get(answer: &'a str, then: Then, found: Found) -> Self {
        Self { method: "GET", answer, then, own: found, hyper: found }
    }

    const fn head(answer: &'a str, found: Found) -> Self {
        Self { method: "HEAD", answer, then: Then::Stays, own: found, hyper: found }
    }

    /// hyper's finds something else than ours.
    const fn but_hyper(mut self, hyper: Found) -> Self {
        self.hyper = hyper;
        self
    }

    fn check(&self, client: UpstreamClient) {
        let wanted = match client {
            UpstreamClient::Own => self.own,
            UpstreamClient::Hyper => self.hyper,
        };
        let found = self.found(client);
        let (begins, length) = (self.answer.get(..400).unwrap_or(self.answer), self.answer.len());
        let case = format!("{} {begins:?}, {length} bytes, {:?}", self.method, self.then);
        assert_eq!(found, wanted, "{client:?}: {case}");
    }

    fn found(&self, client: UpstreamClient) -> Found {
        let application = Application::tcp();
        let proxy = Proxy::speaking(&application, client);
        let mut asking = proxy.connect();
        let close = "HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        asking.send(format!("{} /first {close}", self.method));
        let mut wire = application.accept();
        wire.head();
        wire.say(self.answer.as_bytes());
        if self.then == Then::Ends {
            wire.finish();
        }
        let got = asking.rest();
        let Some((status, body)) = whole(&got, self.method) else { return Found::Cut };
        if status == 502 {
            return Found::Refused;
        }
        let mut second = proxy.connect();
        second.send(format!("GET /second {close}"));
        let kept = if is_used_again(&application, &wire) { Kept::Yes } else { Kept::No };
        // Only what a case wants can be compared with it.
        let wanted = [self.own, self.hyper].into_iter().find_map(|found| match found {
            Found::Whole(_, wanted, _) if wanted == body => Some(wanted),
            Found::Whole(..) | Found::Cut | Found::Refused => None,
        });
        Found::Whole(
            status,
            wanted.unwrap_or_else(|| {
                panic!("{client:?}: another body, of {} bytes: {body:?}", got.len())
            }),
            kept,
        )
    }
}

/// Whether the next request comes on this connection, and not on a new one.
fn is_used_again(application: &Application, wire: &Wire) -> bool {
    loop {
        if application.accept_more().is_some() {
            return false;
        }
        if wire.has_more() {
            return true;
        }
        thread::yield_now();
    }
}

/// Status and body of a response that is whole.
fn whole<'a>(got: &'a str, method: &str) -> Option<(u16, String)> {
    let (head, rest): (&'a str, &'a str) = got.split_once("\r\n\r\n")?;
    let head = format!("{head}\r\n\r\n");
    let status = head.get(9..12)?.parse().ok()?;
    if method == "HEAD" || [204, 304].contains(&status) {
        assert_eq!(rest, "", "a body where there is none");
        return Some((status, String::new()));
    }
    if has(&head, "transfer-encoding") {
        return Some((status, unchunked(rest)?));
    }
    let length: usize = values(&head, "content-length").first()?.parse().ok()?;
    (rest.len() == length).then(|| (status, rest.to_owned()))
}

fn unchunked(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, behind) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return behind.ends_with("\r\n").then_some(body);
        }
        body.push_str(behind.get(..size)?);
        rest = behind.get(size..)?.strip_prefix("\r\n")?;
    }
}
