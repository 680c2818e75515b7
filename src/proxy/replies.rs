//! The proxy's own replies: refusals, errors, and what `answer` rules say.
//!
//! Small, never stored, in the form that the client asks for. They tell the client what to do,
//! and nothing of what is behind or inside the proxy.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION,
    RETRY_AFTER,
};
use http::{Response, StatusCode};

use super::body::DownstreamBody;
use super::headers::{Fault, emptied, more_lines};
use crate::guard::route::Answer;

/// What a client accepts. Cheap to take from every request; read only if a reply is written.
#[derive(Clone, Debug, Default)]
pub struct Accepts {
    line: Option<HeaderValue>,
    /// Clients send one line.
    more: Vec<HeaderValue>,
}

/// The form of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Text,
    Html,
    Json,
}

impl Form {
    pub const ALL: [Self; 3] = [Self::Text, Self::Html, Self::Json];

    /// Its media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Html => "text/html; charset=utf-8",
            Self::Json => "application/json",
        }
    }

    /// The same as a header has it.
    const fn content_type(self) -> HeaderValue {
        match self {
            Self::Text => const { HeaderValue::from_static(Self::Text.media_type()) },
            Self::Html => const { HeaderValue::from_static(Self::Html.media_type()) },
            Self::Json => const { HeaderValue::from_static(Self::Json.media_type()) },
        }
    }

    const fn kind(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::Text => (b"text", b"plain"),
            Self::Html => (b"text", b"html"),
            Self::Json => (b"application", b"json"),
        }
    }

    /// How specifically a media range covers it; 0: not at all.
    fn covered_by(self, kind: &[u8], subtype: &[u8]) -> u8 {
        let (own_kind, own_subtype) = self.kind();
        match (kind, subtype) {
            (b"*", b"*") => 1,
            (kind, _) if !kind.eq_ignore_ascii_case(own_kind) => 0,
            (_, b"*") => 2,
            (_, subtype) if subtype.eq_ignore_ascii_case(own_subtype) => 3,
            _ => 0,
        }
    }
}

impl Accepts {
    /// Notes what a request accepts.
    pub fn of(headers: &HeaderMap) -> Self {
        Self { line: headers.get(ACCEPT).cloned(), more: more_lines(headers, &ACCEPT) }
    }

    /// The form that the client likes best (RFC 9110, 12.5.1). Text where it does not say, or
    /// accepts none of them: a reply in another form is better than none. Where several are liked
    /// equally, one that is named goes before one that only a `*` covers.
    pub fn form(&self) -> Form {
        match (&self.line, &*self.more) {
            (None, []) => return Form::Text,
            // What programs say: floods, too.
            (Some(line), []) if line == "*/*" => return Form::Text,
            (None | Some(_), _) => {}
        }
        let mut best = (Form::Text, Liking::default());
        for (form, liking) in Form::ALL.into_iter().zip(self.likings()) {
            if liking.quality > 0 && liking > best.1 {
                best = (form, liking);
            }
        }
        best.0
    }

    /// The qualities of the most specific ranges that cover the forms.
    fn likings(&self) -> [Liking; Form::ALL.len()] {
        let mut likings = [Liking::default(); Form::ALL.len()];
        let lines = self.line.iter().chain(&self.more).map(HeaderValue::as_bytes);
        let lines = lines.filter(|line| line.is_ascii());
        for range in lines.flat_map(|line| line.split(|byte| *byte == b',')) {
            let Some((kind, rest)) = once(range.trim_ascii(), b'/') else { continue };
            let (subtype, parameters) = once(rest, b';').unwrap_or((rest, b""));
            let subtype = subtype.trim_ascii();
            let covered = Form::ALL.map(|form| form.covered_by(kind, subtype));
            if covered.iter().all(|specific| *specific == 0) {
                continue;
            }
            let mut parts = parameters.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let quality = parts.find_map(quality).unwrap_or(1000);
            for (liking, specific) in likings.iter_mut().zip(covered) {
                if specific > liking.specific {
                    *liking = Liking { quality, specific };
                }
            }
        }
        likings
    }
}

/// Ordered by how well a form is liked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Liking {
    /// Thousandths.
    quality: u16,
    specific: u8,
}

/// `q=0.8` in thousandths; nonsense is 0.
fn quality(parameter: &[u8]) -> Option<u16> {
    let (name, value) = once(parameter, b'=')?;
    if !name.trim_ascii().eq_ignore_ascii_case(b"q") {
        return None;
    }
    let value = value.trim_ascii();
    let (whole, fraction) = once(value, b'.').unwrap_or((value, b""));
    let digits = fraction.len() <= 3 && fraction.iter().all(u8::is_ascii_digit);
    let thousandths = || {
        let digits = fraction.iter().chain(b"000").take(3);
        digits.fold(0, |sum, digit| sum * 10 + u16::from(*digit - b'0'))
    };
    Some(match whole {
        b"1" => 1000,
        b"0" if digits => thousandths(),
        _ => 0,
    })
}

/// What stands before and behind the first such byte.
fn once(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|other| *other == byte)?;
    Some((&text[..at], &text[at + 1..]))
}

/// 429: refused for now (RFC 6585, 4). `Retry-After` in whole seconds, rounded up, at least one.
/// The headers are put into the map of the request, which is not needed any more: a flood gets one
/// each.
pub fn refused(
    retry_after: Duration,
    accepts: &Accepts,
    spare: HeaderMap,
) -> Response<DownstreamBody> {
    let seconds = retry_after.as_secs().saturating_add((retry_after.subsec_nanos() > 0).into());
    let mut reply = shown(StatusCode::TOO_MANY_REQUESTS, accepts.form(), spare);
    reply.headers_mut().append(RETRY_AFTER, number(seconds.clamp(1, 31_536_000)));
    reply
}

/// A number as a header has it. Small ones are there already.
fn number(number: u64) -> HeaderValue {
    const DIGITS: &str = "0123456789";
    match usize::try_from(number) {
        Ok(digit) if digit < DIGITS.len() => HeaderValue::from_static(&DIGITS[digit..=digit]),
        Ok(_) | Err(_) => HeaderValue::from(number),
    }
}

/// A status with its short page.
pub fn status(status: StatusCode, accepts: &Accepts) -> Response<DownstreamBody> {
    let mut reply = shown(status, accepts.form(), HeaderMap::new());
    if status == StatusCode::METHOD_NOT_ALLOWED {
        // RFC 9110, 15.5.6 wants the header; which methods the target has only its site knows.
        reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, OPTIONS"));
    }
    reply
}

/// What is wrong with a request, where a status alone does not tell what to do.
pub fn fault(fault: Fault, accepts: &Accepts) -> Response<DownstreamBody> {
    if fault != Fault::NotTls {
        return status(fault.status(), accepts);
    }
    let text = "Bad request. This port speaks HTTPS: write https:// in front of the address.\n";
    let mut reply = bare(fault.status(), text, HeaderMap::new());
    reply.headers_mut().append(CONTENT_TYPE, Form::Text.content_type());
    closing(reply)
}

/// 308: the same, with the same method, is elsewhere (RFC 9110, 15.4.9).
pub fn moved(location: HeaderValue, accepts: &Accepts) -> Response<DownstreamBody> {
    let mut reply = status(StatusCode::PERMANENT_REDIRECT, accepts);
    reply.headers_mut().insert(LOCATION, location);
    reply
}

/// Has the client try again in a moment.
pub fn soon(mut reply: Response<DownstreamBody>) -> Response<DownstreamBody> {
    reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    reply
}

/// What an `answer` rule says.
pub fn answer(answer: &Answer, accepts: &Accepts) -> Response<DownstreamBody> {
    let code = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::NOT_FOUND);
    let mut reply = match code {
        StatusCode::NO_CONTENT => bare(code, Bytes::new(), HeaderMap::new()),
        _ => status(code, accepts),
    };
    // The configuration takes visible ASCII only, which a header value always can hold.
    if let Some(Ok(location)) = answer.location.as_deref().map(HeaderValue::from_str) {
        reply.headers_mut().insert(LOCATION, location);
    }
    reply
}

/// Makes the client's connection end after this reply.
pub fn closing(mut reply: Response<DownstreamBody>) -> Response<DownstreamBody> {
    close(reply.headers_mut());
    reply
}

/// The same, of any response.
pub fn close(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
}

fn shown(status: StatusCode, form: Form, spare: HeaderMap) -> Response<DownstreamBody> {
    let mut reply = bare(status, page(status, form), spare);
    reply.headers_mut().append(CONTENT_TYPE, form.content_type());
    reply
}

fn bare(status: StatusCode, page: impl Into<Bytes>, spare: HeaderMap) -> Response<DownstreamBody> {
    let mut reply = Response::new(DownstreamBody::own(page));
    *reply.status_mut() = status;
    *reply.headers_mut() = emptied(spare);
    reply.headers_mut().append(CACHE_CONTROL, const { HeaderValue::from_static("no-store") });
    reply
}

/// What a flood gets is there already.
fn page(status: StatusCode, form: Form) -> Bytes {
    if status != StatusCode::TOO_MANY_REQUESTS {
        return made(status, form).into();
    }
    Bytes::from_static(match form {
        Form::Text => b"Too many requests. Please wait a moment, then try again.\n",
        Form::Json => b"{\"status\":429,\"error\":\"Too many requests\"}\n",
        Form::Html => b"\
            <!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Too many requests</title>\
            <h1>Too many requests</h1><p>Please wait a moment, then try again.</p></html>\n",
    })
}

/// Title and sentence come from [`words`] alone: nothing in a page needs escaping.
fn made(status: StatusCode, form: Form) -> String {
    let (title, sentence) = words(status);
    // Joined: formatting takes five times as long.
    match form {
        Form::Text => [title, ". ", sentence, "\n"].concat(),
        Form::Json => ["{\"status\":", status.as_str(), ",\"error\":\"", title, "\"}\n"].concat(),
        Form::Html => [
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>",
            title,
            "</title><h1>",
            title,
            "</h1><p>",
            sentence,
            "</p></html>\n",
        ]
        .concat(),
    }
}

fn words(status: StatusCode) -> (&'static str, &'static str) {
    match status {
        StatusCode::OK => ("OK", "There is nothing else to see here."),
        StatusCode::FOUND
        | StatusCode::SEE_OTHER
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => ("Moved", "What you want is elsewhere."),
        StatusCode::BAD_REQUEST => ("Bad request", "The request could not be understood."),
        StatusCode::FORBIDDEN => ("Forbidden", "This is not open to you."),
        StatusCode::NOT_FOUND => ("Not found", "There is nothing here."),
        StatusCode::METHOD_NOT_ALLOWED => {
            ("Method not allowed", "This cannot be done with this method.")
        }
        StatusCode::REQUEST_TIMEOUT => ("Request timeout", "The request took too long to arrive."),
        StatusCode::PAYLOAD_TOO_LARGE => ("Content too large", "The request was too large."),
        StatusCode::URI_TOO_LONG => ("URI too long", "The address that was asked for is too long."),
        StatusCode::GONE => ("Gone", "There is nothing here any more."),
        StatusCode::TOO_MANY_REQUESTS => {
            ("Too many requests", "Please wait a moment, then try again.")
        }
        StatusCode::INTERNAL_SERVER_ERROR => {
            ("Internal error", "Something went wrong on our side.")
        }
        StatusCode::NOT_IMPLEMENTED => {
            ("Not implemented", "The request used something that is not supported.")
        }
        StatusCode::BAD_GATEWAY => ("Bad gateway", "The site is not available at the moment."),
        StatusCode::SERVICE_UNAVAILABLE => {
            ("Service unavailable", "The site is busy. Please try again in a moment.")
        }
        StatusCode::GATEWAY_TIMEOUT => ("Gateway timeout", "The site did not answer in time."),
        other => (other.canonical_reason().unwrap_or("Error"), "The request was not carried out."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(lines: &[&'static str]) -> Form {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT, HeaderValue::from_static(line));
        }
        Accepts::of(&headers).form()
    }

    #[test]
    fn a_reply_comes_in_the_form_that_the_client_likes_best() {
        assert_eq!(form(&[]), Form::Text);
        assert_eq!(form(&["*/*"]), Form::Text);
        assert_eq!(form(&["text/html,application/xhtml+xml,*/*;q=0.8"]), Form::Html);
        assert_eq!(form(&["application/json, text/plain, */*"]), Form::Text);
        assert_eq!(form(&["application/json"]), Form::Json);
        assert_eq!(form(&["text/html;q=0.5, application/json;q=0.9"]), Form::Json);
        assert_eq!(form(&["text/html;q=0.5", "Application/JSON;Q=0.9"]), Form::Json);
        assert_eq!(form(&["text/*;q=0.3, text/html;q=0.7, */*;q=0.5"]), Form::Html);
        assert_eq!(form(&["*/*, text/plain;q=0"]), Form::Html);
        assert_eq!(form(&["image/png"]), Form::Text);
        assert_eq!(form(&["text/html;q=junk, */*;q=0.1"]), Form::Text);
        assert_eq!(form(&["text/html;q=0.05, application/json;q=0.049"]), Form::Html);
        assert_eq!(form(&["text/html;q=0.1234, application/json;q=0.001"]), Form::Json);
        assert_eq!(form(&["text/html;level=1;Q = 0, text/html;q=1, */*;q=0.1"]), Form::Text);
    }

    #[test]
    fn retry_after_is_rounded_up_and_at_least_a_second() {
        for (wait, seconds) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (59_500, "60")] {
            let reply = refused(Duration::from_millis(wait), &Accepts::default(), HeaderMap::new());
            assert_eq!(reply.headers()[RETRY_AFTER], seconds);
            assert_eq!(reply.headers()[CACHE_CONTROL], "no-store");
        }
    }

    #[test]
    fn the_pages_that_are_there_already_are_what_would_be_made() {
        let status = StatusCode::TOO_MANY_REQUESTS;
        for form in Form::ALL {
            assert_eq!(page(status, form), made(status, form), "{form:?}");
        }
    }

    #[test]
    fn nothing_of_a_request_is_in_its_refusal() {
        for lines in [0, 1, 20, 200] {
            let mut spare = HeaderMap::new();
            for line in 0..lines {
                let name = http::HeaderName::try_from(format!("x-{line}")).expect("a name");
                spare.append(name, HeaderValue::from_static("secret"));
                spare.append(CONTENT_TYPE, HeaderValue::from_static("secret"));
            }
            let reply = refused(Duration::ZERO, &Accepts::default(), spare);
            let told =
                reply.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
            let expected: [(&str, &[u8]); 3] = [
                ("cache-control", b"no-store"),
                ("content-type", b"text/plain; charset=utf-8"),
                ("retry-after", b"1"),
            ];
            assert!(told.eq(expected), "{:?}", reply.headers());
        }
    }

    #[test]
    fn an_answer_redirects_where_it_was_told_to() {
        let rule = Answer { status: 303, location: Some("/".to_owned()) };
        let reply = answer(&rule, &Accepts::default());
        assert_eq!(reply.status(), 303);
        assert_eq!(reply.headers()[LOCATION], "/");
    }
}
