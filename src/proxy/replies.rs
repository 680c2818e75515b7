//! The proxy's own replies: refusals, errors, and what `answer` rules say.
//!
//! Small, never stored, in the form that the client asks for. They tell the client what to do,
//! and nothing of what is behind or inside the proxy.

use std::time::Duration;

use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION,
    RETRY_AFTER,
};
use http::{Response, StatusCode};

use super::body::DownstreamBody;
use super::headers::Fault;
use crate::guard::route::Answer;

/// What a client accepts. Cheap to take from every request; read only if a reply is written.
#[derive(Clone, Debug, Default)]
pub struct Accepts(Vec<HeaderValue>);

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

    const fn kind(self) -> (&'static str, &'static str) {
        match self {
            Self::Text => ("text", "plain"),
            Self::Html => ("text", "html"),
            Self::Json => ("application", "json"),
        }
    }
}

impl Accepts {
    /// Notes what a request accepts.
    pub fn of(headers: &HeaderMap) -> Self {
        Self(headers.get_all(ACCEPT).iter().cloned().collect())
    }

    /// The form that the client likes best (RFC 9110, 12.5.1). Text where it does not say, or
    /// accepts none of them: a reply in another form is better than none. Where several are liked
    /// equally, one that is named goes before one that only a `*` covers.
    pub fn form(&self) -> Form {
        let mut best = (Form::Text, Liking::default());
        for form in Form::ALL {
            let liking = self.liking(form);
            if liking.quality > 0 && liking > best.1 {
                best = (form, liking);
            }
        }
        best.0
    }

    /// The quality of the most specific range that covers a form.
    fn liking(&self, form: Form) -> Liking {
        let ranges = self.0.iter().filter_map(|line| line.to_str().ok());
        let mut found = Liking::default();
        for range in ranges.flat_map(|line| line.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let Some((kind, subtype)) = parts.next().and_then(|range| range.split_once('/')) else {
                continue;
            };
            let specific = match (kind, subtype) {
                ("*", "*") => 1,
                (kind, "*") if kind.eq_ignore_ascii_case(form.kind().0) => 2,
                (kind, subtype)
                    if kind.eq_ignore_ascii_case(form.kind().0)
                        && subtype.eq_ignore_ascii_case(form.kind().1) =>
                {
                    3
                }
                _ => continue,
            };
            if specific > found.specific {
                found = Liking { quality: parts.find_map(quality).unwrap_or(1000), specific };
            }
        }
        found
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
fn quality(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let (whole, fraction) = value.trim().split_once('.').unwrap_or((value.trim(), ""));
    let digits = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    Some(match whole {
        "1" => 1000,
        "0" if digits => format!("{fraction:0<3}").parse().unwrap_or(0),
        _ => 0,
    })
}

/// 429: refused for now (RFC 6585, 4). `Retry-After` in whole seconds, rounded up, at least one.
pub fn refused(retry_after: Duration, accepts: &Accepts) -> Response<DownstreamBody> {
    let seconds = retry_after.as_nanos().div_ceil(1_000_000_000).clamp(1, 31_536_000);
    let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
    let mut reply = status(StatusCode::TOO_MANY_REQUESTS, accepts);
    reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    reply
}

/// A status with its short page.
pub fn status(status: StatusCode, accepts: &Accepts) -> Response<DownstreamBody> {
    let form = accepts.form();
    let mut reply = bare(status, page(status, form));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
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
    let mut reply = bare(fault.status(), text.to_owned());
    let text = HeaderValue::from_static(Form::Text.media_type());
    reply.headers_mut().insert(CONTENT_TYPE, text);
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
        StatusCode::NO_CONTENT => bare(code, String::new()),
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

fn bare(status: StatusCode, page: String) -> Response<DownstreamBody> {
    let mut reply = Response::new(DownstreamBody::own(page));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// Title and sentence come from [`words`] alone: nothing in a page needs escaping.
fn page(status: StatusCode, form: Form) -> String {
    let (title, sentence) = words(status);
    match form {
        Form::Text => format!("{title}. {sentence}\n"),
        Form::Json => {
            format!("{{\"status\":{},\"error\":\"{title}\"}}\n", status.as_u16())
        }
        Form::Html => format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
             <h1>{title}</h1><p>{sentence}</p></html>\n"
        ),
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
        Accepts(lines.iter().map(|line| HeaderValue::from_static(line)).collect()).form()
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
    }

    #[test]
    fn retry_after_is_rounded_up_and_at_least_a_second() {
        for (wait, seconds) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (59_500, "60")] {
            let reply = refused(Duration::from_millis(wait), &Accepts::default());
            assert_eq!(reply.headers()[RETRY_AFTER], seconds);
            assert_eq!(reply.headers()[CACHE_CONTROL], "no-store");
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
