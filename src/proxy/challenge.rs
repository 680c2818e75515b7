//! Challenges on the wire: a cookie, a redirection to the same URL, and what comes back of both.
//!
//! Neither the cookie nor the marker in the URL ever reaches the application. The marker is there
//! for those who keep no cookies: who follows the redirection without the cookie is refused, not
//! sent round again; and whoever returns the cookie to a GET is sent to the URL without the marker,
//! so that a page is shown under its own address. The answer to a POST is not, so the marker is taken
//! out of `Referer` as well.

use http::header::{
    COOKIE, Entry, HeaderMap, HeaderValue, LOCATION, REFERER, SET_COOKIE, TRANSFER_ENCODING,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Response, StatusCode, Uri};
use http_body::Body;

use super::body::{self, DownstreamBody};
use super::fields::Fields;
use super::replies::{self, Accepts};
use super::shield::Shield;
use super::upload::Upload;
use crate::guard::challenge::{Challenged, MARKER, Sent};
use crate::guard::client::Client;
use crate::guard::cookie::pieces;

/// What a request has to do with challenges.
#[derive(Debug)]
pub struct Visit {
    challenged: Challenged,
    client: Client,
    /// How and where to its client can be sent back, the marker taken out.
    back: Option<(StatusCode, PathAndQuery)>,
    marked: bool,
    secure: bool,
}

impl Visit {
    /// Takes cookies and marker out of a request that came by `https` or not, with these `fields`.
    pub fn take(
        shield: &Shield,
        parts: &mut Parts,
        fields: Fields,
        body: &Upload,
        client: Client,
        target_bytes: usize,
        https: bool,
    ) -> Self {
        let guard = &shield.guard;
        if !guard.challenges() {
            let challenged = Challenged::UNABLE;
            return Self { challenged, client, back: None, marked: false, secure: false };
        }
        let cookies = if fields.has(Fields::COOKIE) {
            take_cookies(&mut parts.headers, &guard.policy().challenge_cookie.name)
        } else {
            Vec::new()
        };
        let marker = take_marker(&mut parts.uri);
        if fields.has(Fields::REFERER) {
            clean_referer(&mut parts.headers);
        }
        let back = back(parts, body, target_bytes);
        let challenged = if cookies.is_empty() && marker.is_none() {
            Challenged::No { replayable: back.is_some() }
        } else {
            let cookies = cookies.iter().map(Vec::as_slice);
            let marker = marker.as_deref().map(str::as_bytes);
            let unix = shield.clock.unix(shield.clock.now());
            guard.challenged(client, cookies, marker, back.is_some(), unix)
        };
        Self { challenged, client, back, marked: marker.is_some(), secure: https }
    }

    /// Whom it comes from.
    pub fn client(&self) -> Client {
        self.client
    }

    /// What the guard must know of it.
    pub fn challenged(&self) -> Challenged {
        self.challenged
    }

    /// The way back to the URL without the marker, for who has returned the cookie. Only where
    /// that asks for nothing but another GET: what was sent with content is forwarded right away.
    pub fn home(&self, accepts: &Accepts) -> Option<Response<DownstreamBody>> {
        let (status, target) = self.back.as_ref()?;
        let passed = matches!(self.challenged, Challenged::Passed(_));
        (passed && self.marked && *status == StatusCode::SEE_OTHER)
            .then(|| redirection(*status, target.as_str(), accepts))
    }

    /// The challenge.
    pub fn challenge(&self, shield: &Shield, accepts: &Accepts) -> Response<DownstreamBody> {
        let Some((status, target)) = &self.back else {
            return replies::status(StatusCode::TOO_MANY_REQUESTS, accepts);
        };
        let guard = &shield.guard;
        let sent = guard.challenge(self.client, shield.clock.unix(shield.clock.now()));
        let policy = &guard.policy().challenge_cookie;
        let (path, marker) = (target.path(), &sent.marker);
        let location = match target.query().filter(|query| !query.is_empty()) {
            Some(query) => format!("{path}?{query}&{MARKER}={marker}"),
            None => format!("{path}?{MARKER}={marker}"),
        };
        let mut reply = redirection(*status, &location, accepts);
        let (name, value, age) = (&policy.name, &sent.cookie, policy.max_age.as_secs());
        let secure = if self.secure { "; Secure" } else { "" };
        // Without `SameSite`: browsers then send a cookie that is new even with a POST that comes
        // from another site, as that of a single sign-on does; with `Lax` it would be refused.
        let cookie = format!("{name}={value}; Path=/; Max-Age={age}; HttpOnly{secure}");
        // The name was checked with the configuration, the rest is ours.
        if let Ok(cookie) = HeaderValue::try_from(cookie) {
            reply.headers_mut().insert(SET_COOKIE, cookie);
        }
        reply
    }
}

fn redirection(status: StatusCode, target: &str, accepts: &Accepts) -> Response<DownstreamBody> {
    let mut reply = replies::status(status, accepts);
    // It was a request's target, with a marker of our own.
    if let Ok(target) = HeaderValue::from_str(target) {
        reply.headers_mut().insert(LOCATION, target);
    }
    reply
}

/// How a client can be sent back: by 303 with GET and HEAD, by 307 with a POST whose content it
/// still has when the refusal arrives. Nothing else is sent a second time by every browser. A
/// target that begins with two slashes would lead to another host, and one that is longer than
/// `target_bytes` once it is marked would be refused.
fn back(parts: &Parts, body: &Upload, target_bytes: usize) -> Option<(StatusCode, PathAndQuery)> {
    let bare = body.is_end_stream();
    let whole = || !parts.headers.contains_key(TRANSFER_ENCODING) && body::discardable(body);
    let status = match parts.method {
        Method::GET | Method::HEAD if bare => StatusCode::SEE_OTHER,
        Method::POST if bare || whole() => StatusCode::TEMPORARY_REDIRECT,
        _ => return None,
    };
    let target = parts.uri.path_and_query()?;
    let mut start = target.as_str().bytes();
    let here = start.next() == Some(b'/') && !matches!(start.next(), Some(b'/' | b'\\'));
    let marked = target.as_str().len() + "&=".len() + MARKER.len() + Sent::MARKER_BYTES;
    (here && marked <= target_bytes).then(|| (status, target.clone()))
}

/// Takes every cookie of this name out of a request's lines; their values.
fn take_cookies(headers: &mut HeaderMap, name: &str) -> Vec<Vec<u8>> {
    let named = |piece: &[u8]| {
        let rest = piece.trim_ascii_start().strip_prefix(name.as_bytes())?.trim_ascii_start();
        rest.strip_prefix(b"=").map(|value| value.trim_ascii().to_vec())
    };
    let carries = |line: &HeaderValue| pieces(line.as_bytes()).any(|piece| named(piece).is_some());
    if !headers.get_all(COOKIE).iter().any(carries) {
        return Vec::new();
    }
    let lines: Vec<HeaderValue> = headers.get_all(COOKIE).iter().cloned().collect();
    headers.remove(COOKIE);
    let mut taken = Vec::new();
    for line in lines {
        let mut kept: Vec<&[u8]> = Vec::new();
        for piece in pieces(line.as_bytes()) {
            match named(piece) {
                Some(value) => taken.push(value),
                None => kept.push(piece),
            }
        }
        let kept = kept.join(&b';');
        // Pieces of a header value make one again.
        if let Ok(mut line) = HeaderValue::from_bytes(kept.trim_ascii())
            && !line.is_empty()
        {
            line.set_sensitive(true);
            headers.append(COOKIE, line);
        }
    }
    taken
}

/// Takes the marker out of a target; the first, if there are several.
fn take_marker(uri: &mut Uri) -> Option<String> {
    let (marker, kept) = unmark(uri.query()?)?;
    let (marker, target) = (marker.to_owned(), with_query(uri.path(), &kept));
    // Parts of a target make one again; if not, nothing of it is sent on.
    let mut parts = std::mem::take(uri).into_parts();
    parts.path_and_query = PathAndQuery::try_from(target).ok();
    *uri = Uri::from_parts(parts).unwrap_or_default();
    Some(marker)
}

/// Takes the marker out of what a request says of the page that it comes from.
fn clean_referer(headers: &mut HeaderMap) {
    // An entry would make room for one more first.
    if !headers.get_all(REFERER).iter().any(|line| line.as_bytes().contains(&b'?')) {
        return;
    }
    let Entry::Occupied(mut lines) = headers.entry(REFERER) else { return };
    for line in lines.iter_mut() {
        let unmarked = || {
            let (page, query) = line.to_str().ok()?.split_once('?')?;
            HeaderValue::try_from(with_query(page, &unmark(query)?.1)).ok()
        };
        if let Some(unmarked) = unmarked() {
            *line = unmarked;
        }
    }
}

/// The first marker in a query, and what is left without any.
fn unmark(query: &str) -> Option<(&str, String)> {
    fn value(parameter: &str) -> Option<&str> {
        parameter.strip_prefix(MARKER)?.strip_prefix('=')
    }
    let marker = query.split('&').find_map(value)?;
    let kept: Vec<&str> = query.split('&').filter(|parameter| value(parameter).is_none()).collect();
    Some((marker, kept.join("&")))
}

fn with_query(path: &str, query: &str) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(lines: &[&'static str]) -> (Vec<String>, Vec<String>) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_static(line));
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("ASCII");
        let values = take_cookies(&mut headers, "fw").iter().map(|value| text(value)).collect();
        (values, headers.get_all(COOKIE).iter().map(|line| text(line.as_bytes())).collect())
    }

    #[test]
    fn the_cookie_is_taken_wherever_it_stands_and_nothing_else() {
        let cases: [(&[&str], &[&str], &[&str]); 9] = [
            (&[], &[], &[]),
            (&["a=1; b=2"], &[], &["a=1; b=2"]),
            (&["fw=x"], &["x"], &[]),
            (&["fw=x; a=1"], &["x"], &["a=1"]),
            (&["a=1; fw=x; b=2"], &["x"], &["a=1; b=2"]),
            (&["a=1;fw = x ;b=2"], &["x"], &["a=1;b=2"]),
            (&["a=1; fw=x", "fw=y", "b=2"], &["x", "y"], &["a=1", "b=2"]),
            (&["fwa=1; afw=2; FW=3; fw"], &[], &["fwa=1; afw=2; FW=3; fw"]),
            (&["a=\"1; fw=x\""], &["x\""], &["a=\"1"]),
        ];
        for (lines, values, kept) in cases {
            let (found, left) = taken(lines);
            assert_eq!(found, values, "{lines:?}");
            assert_eq!(left, kept, "{lines:?}");
        }
    }

    #[test]
    fn the_marker_is_taken_and_the_rest_of_the_query_stays() {
        let cases = [
            ("/a/", None, "/a/"),
            ("/a/?b=1", None, "/a/?b=1"),
            ("/a/?__floodwall=m", Some("m"), "/a/"),
            ("/a/?b=1&__floodwall=m", Some("m"), "/a/?b=1"),
            ("/a/?__floodwall=m&b=%2F&&c", Some("m"), "/a/?b=%2F&&c"),
            ("/a/?__floodwall=m&__floodwall=n", Some("m"), "/a/"),
            ("/a/?__floodwallx=m", None, "/a/?__floodwallx=m"),
        ];
        for (target, marker, left) in cases {
            let mut uri: Uri = target.parse().expect("a target");
            assert_eq!(take_marker(&mut uri).as_deref(), marker, "{target}");
            assert_eq!(uri.to_string(), left);
        }
    }
}
