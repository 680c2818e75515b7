//! Headers that concern one connection only, and request targets: made plain before anything is
//! decided on them, so that the application reads what the guard has read.

use std::fmt;

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use http::{Method, StatusCode, Version};
use http_body::Body;

use super::failure::Unrelayable;
use super::fields::Fields;
use super::leg::head::SPARE_LINES;
use super::settings::DownstreamLimits;
use super::translate;

/// RFC 9110, 7.6.1, and what came before it. `Trailer` stays: it is end-to-end, and only the
/// trailers that it names are sent.
pub(super) const HOP_BY_HOP: [HeaderName; 6] =
    [CONNECTION, TE, TRANSFER_ENCODING, UPGRADE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION];

/// Hop-by-hop names for which the `http` crate has no constant.
pub(super) const HOP_BY_HOP_NAMES: [&str; 2] = ["keep-alive", "proxy-connection"];

/// What `Connection` may not take away (RFC 9110, 7.6.1: a sender must not list fields that are
/// meant for all recipients). Otherwise a client that sits behind a trusted proxy could take from
/// us, or from the application, what that proxy has set.
const PROTECTED: [&str; 14] = [
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "forwarded",
    "host",
    "location",
    "set-cookie",
    "trailer",
    "vary",
    "x-real-ip",
];

/// Why a request is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `CONNECT` asks for a tunnel.
    Tunnel,
    /// It asks for a tunnel of a protocol that may not be had, or does so incompletely (RFC 8441).
    Protocol,
    /// A target that is neither origin-form, nor absolute-form with `http` or `https`, nor `*`
    /// with `OPTIONS` (RFC 9112, 3.2).
    Target,
    /// HTTP/1.1 without `Host`, with several, or with one that cannot be one (RFC 9112, 3.2).
    Host,
    /// A transfer coding other than `chunked` (RFC 9112, 6.1).
    TransferCoding,
    /// A length of 2^63 bytes or more, which wraps in the parsers of some applications.
    Length,
    /// A target that is longer than allowed.
    TargetBytes,
    /// A body that is to be longer than allowed.
    BodyBytes,
    /// More header lines than allowed.
    Headers,
    /// A field that HTTP/2 forbids (RFC 9113, 8.2.1).
    Field,
    /// A host that no site has (RFC 9110, 15.5.20).
    UnknownHost,
    /// A path that no site of its host has.
    UnknownPath,
    /// Plain HTTP where TLS is spoken.
    NotTls,
}

impl Fault {
    pub const ALL: [Self; 13] = [
        Self::Tunnel,
        Self::Protocol,
        Self::Target,
        Self::Host,
        Self::TransferCoding,
        Self::Length,
        Self::TargetBytes,
        Self::BodyBytes,
        Self::Headers,
        Self::Field,
        Self::UnknownHost,
        Self::UnknownPath,
        Self::NotTls,
    ];

    /// The status of the reply to it.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Tunnel => StatusCode::METHOD_NOT_ALLOWED,
            Self::Target | Self::Host | Self::Field | Self::NotTls => StatusCode::BAD_REQUEST,
            Self::TransferCoding | Self::Protocol => StatusCode::NOT_IMPLEMENTED,
            Self::TargetBytes => StatusCode::URI_TOO_LONG,
            Self::Headers => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Length | Self::BodyBytes => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnknownHost => StatusCode::MISDIRECTED_REQUEST,
            Self::UnknownPath => StatusCode::NOT_FOUND,
        }
    }

    /// The word for it in logs and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tunnel => "tunnel",
            Self::Protocol => "protocol",
            Self::Target => "target",
            Self::Host => "host",
            Self::TransferCoding => "transfer-coding",
            Self::Length => "length",
            Self::TargetBytes => "target-bytes",
            Self::BodyBytes => "body-bytes",
            Self::Headers => "headers",
            Self::Field => "field",
            Self::UnknownHost => "unknown-host",
            Self::UnknownPath => "unknown-path",
            Self::NotTls => "not-tls",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tunnel => "a tunnel was asked for",
            Self::Protocol => "a tunnel of a protocol that may not be had was asked for",
            Self::Target => "the target of a request is none",
            Self::Host => "the host of a request is none",
            Self::TransferCoding => "a request has a transfer coding that is not supported",
            Self::Length => "the length of a request's body is none",
            Self::TargetBytes => "the target of a request is longer than allowed",
            Self::BodyBytes => "the body of a request is larger than allowed",
            Self::Headers => "a request has more header lines than allowed",
            Self::Field => "a header field of a request is none",
            Self::UnknownHost => "no site has the host of a request",
            Self::UnknownPath => "no site has the path of a request",
            Self::NotTls => "plain HTTP came where TLS is spoken",
        })
    }
}

/// Makes a request plain: its target in origin-form, one `Host`, no hop-by-hop headers, no
/// `Expect` (100 is sent when the body is first asked for, which is after admission),
/// no names that WSGI cannot tell apart, and one framing, that of `body`.
///
/// An HTTP/1.0 request that has no `Host` has none after it either. `fields` are those that came.
/// Its `Host`, where it has one then.
pub fn clean_request(
    parts: &mut Parts,
    fields: Fields,
    body: &impl Body,
    limits: &DownstreamLimits,
) -> Result<Option<HeaderValue>, Fault> {
    if parts.method == Method::CONNECT {
        return Err(Fault::Tunnel);
    }
    if parts.version == Version::HTTP_2 {
        translate::to_http1(parts, limits.headers)?;
    }
    if target_length(&parts.uri) > limits.target_bytes {
        return Err(Fault::TargetBytes);
    }
    // The lower bound is what `Content-Length` says, whatever the client then sends.
    if body.size_hint().lower() > limits.body_bytes {
        return Err(Fault::BodyBytes);
    }
    let headers = &mut parts.headers;
    if fields.has(Fields::TRANSFER_ENCODING) && !only_chunked(headers) {
        return Err(Fault::TransferCoding);
    }
    if fields.has(Fields::CONTENT_LENGTH) {
        plain_length(headers)?;
    }
    let mut named = checked_host(headers, parts.version)?;
    if let Some((uri, host)) = origin_form(&parts.uri, &parts.method)? {
        parts.uri = uri;
        headers.insert(HOST, host.clone());
        named = Some(host);
    }
    let trailers = fields.has(Fields::TE)
        && tokens(headers, &TE).any(|token| token.eq_ignore_ascii_case(b"trailers"));
    remove_hop_by_hop(headers, fields);
    if fields.has(Fields::EXPECT) {
        headers.remove(EXPECT);
    }
    if fields.has(Fields::PROXY) {
        headers.remove("proxy");
    }
    if fields.has(Fields::UNDERSCORED) {
        remove_underscored(headers);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    if !body.is_end_stream() && body.size_hint().exact().is_none() {
        // Of a GET or HEAD whose framing is not written down the body would be dropped.
        headers.remove(CONTENT_LENGTH);
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    parts.extensions.clear();
    Ok(named)
}

/// Removes from a response what concerned our connection to the application only, and leaves at
/// most one length.
pub fn clean_response(headers: &mut HeaderMap) -> Result<(), Unrelayable> {
    let fields = Fields::of(headers);
    if fields.has(Fields::TRANSFER_ENCODING) {
        if !only_chunked(headers) {
            return Err(Unrelayable::TransferCoding);
        }
        // RFC 9112, 6.3: it overrides the length. hyper has read the body so, and keeps both.
        headers.remove(CONTENT_LENGTH);
    }
    if fields.has(Fields::CONTENT_LENGTH) {
        one_length(headers);
    }
    remove_hop_by_hop(headers, fields);
    Ok(())
}

/// Removes the trailers that must not be merged with, or mistaken for, headers that were decided
/// on (RFC 9110, 6.5.1).
pub fn clean_trailers(trailers: &mut HeaderMap) {
    let fields = Fields::of(trailers);
    remove_hop_by_hop(trailers, fields);
    remove_underscored(trailers);
    let doomed: Vec<_> = trailers.keys().filter(|name| is_protected(name)).cloned().collect();
    for name in doomed {
        trailers.remove(name);
    }
}

/// The values of a list header, over all its lines.
pub fn tokens<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    headers.get_all(name).iter().flat_map(tokens_of)
}

/// Those of one line.
fn tokens_of(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let tokens = line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    tokens.filter(|token| !token.is_empty())
}

/// The map of a request, empty, for the reply to it; another where it has had very many lines: who
/// keeps it would keep them.
pub fn emptied(mut headers: HeaderMap) -> HeaderMap {
    headers.clear();
    if headers.capacity() > SPARE_LINES { HeaderMap::new() } else { headers }
}

/// The values of a header behind that of its first line: seldom there are any.
pub fn more_lines(headers: &HeaderMap, name: &HeaderName) -> Vec<HeaderValue> {
    // Where every name stands once there need not be looked for this one.
    if headers.keys_len() == headers.len() {
        return Vec::new();
    }
    headers.get_all(name).iter().skip(1).cloned().collect()
}

/// Whether the transfer coding is `chunked` and nothing else: what is within another coding we could
/// not frame for the other side.
fn only_chunked(headers: &HeaderMap) -> bool {
    let mut codings = tokens(headers, &TRANSFER_ENCODING);
    codings.next().is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"))
        && codings.next().is_none()
}

/// Writes the length without zeros in front: C reads those as octal in places. It was
/// seen to that there is one, all digits.
fn plain_length(headers: &mut HeaderMap) -> Result<(), Fault> {
    let Some(said) = headers.get(CONTENT_LENGTH) else { return Ok(()) };
    let length: i64 = said.to_str().ok().and_then(|said| said.parse().ok()).ok_or(Fault::Length)?;
    if said.len() > 1 && said.as_bytes().starts_with(b"0") {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(())
}

fn checked_host(headers: &HeaderMap, version: Version) -> Result<Option<HeaderValue>, Fault> {
    let mut lines = headers.get_all(HOST).iter();
    match (lines.next(), lines.next()) {
        (None, _) if version == Version::HTTP_11 => Err(Fault::Host),
        (Some(host), None) if !is_host(host.as_bytes()) => Err(Fault::Host),
        (Some(_), Some(_)) => Err(Fault::Host),
        (host, _) => Ok(host.cloned()),
    }
}

/// Whether this is a host, with a port or without (RFC 3986, 3.2.2 and 3.2.3): no user, no path, no
/// spaces, and nothing but digits behind the colon, where some would read another host.
pub(super) fn is_host(host: &[u8]) -> bool {
    let (name, port, kind) = match host.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
            (&rest[..end], &rest[end + 1..], IN_ADDRESS)
        }
        None => {
            let end = host.iter().position(|byte| *byte == b':').unwrap_or(host.len());
            (&host[..end], &host[end..], IN_NAME)
        }
    };
    let port = match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    port && name.iter().all(|byte| HOST_BYTES[usize::from(*byte)] & kind != 0)
}

const IN_NAME: u8 = 1;
const IN_ADDRESS: u8 = 1 << 1;

/// Where in hosts each byte may stand: looked up, for each byte of each host is asked for.
const HOST_BYTES: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        if (byte as u8).is_ascii_alphanumeric() {
            table[byte] = IN_NAME | IN_ADDRESS;
        }
        byte += 1;
    }
    table = with(table, b"-._~!$&'()*+,;=%", IN_NAME);
    with(table, b".:", IN_ADDRESS)
};

const fn with(mut table: [u8; 256], mut bytes: &[u8], kind: u8) -> [u8; 256] {
    while let [byte, rest @ ..] = bytes {
        table[*byte as usize] |= kind;
        bytes = rest;
    }
    table
}

/// The length of a target as it came, but for a fragment, which it must not have.
fn target_length(uri: &Uri) -> usize {
    let scheme = uri.scheme_str().map_or(0, |scheme| scheme.len() + "://".len());
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    scheme + authority + uri.path_and_query().map_or(0, |path| path.as_str().len())
}

/// The origin-form of an absolute-form target, and the `Host` that it stands for (RFC 9112,
/// 3.2.2: whatever `Host` says); `None` if it is in origin-form already.
fn origin_form(uri: &Uri, method: &Method) -> Result<Option<(Uri, HeaderValue)>, Fault> {
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        let asterisk = uri.path() == "*" && method == Method::OPTIONS;
        let origin = uri.authority().is_none() && uri.path().starts_with('/');
        return if asterisk || origin { Ok(None) } else { Err(Fault::Target) };
    };
    let host = authority.as_str();
    if !["http", "https"].contains(&scheme) || host.is_empty() {
        return Err(Fault::Target);
    }
    if !is_host(host.as_bytes()) {
        return Err(Fault::Target);
    }
    let path = match uri.path_and_query() {
        Some(path) if path.as_str().starts_with('/') => path.clone(),
        Some(path) => {
            PathAndQuery::try_from(format!("/{}", path.as_str())).map_err(|_| Fault::Target)?
        }
        None => PathAndQuery::from_static("/"),
    };
    let host = HeaderValue::from_str(host).map_err(|_| Fault::Target)?;
    Ok(Some((Uri::from(path), host)))
}

/// `fields` are those that were there.
fn remove_hop_by_hop(headers: &mut HeaderMap, fields: Fields) {
    if fields.has(Fields::CONNECTION) {
        let more = more_lines(headers, &CONNECTION);
        let first = headers.remove(CONNECTION);
        first.iter().chain(&more).for_each(|line| remove_listed(headers, line));
    }
    if fields.has(Fields::TE) {
        headers.remove(TE);
    }
    if fields.has(Fields::TRANSFER_ENCODING) {
        headers.remove(TRANSFER_ENCODING);
    }
    if fields.has(Fields::UPGRADE) {
        headers.remove(UPGRADE);
    }
    if fields.has(Fields::HOP_BY_HOP) {
        for name in HOP_BY_HOP {
            headers.remove(name);
        }
        for name in HOP_BY_HOP_NAMES {
            headers.remove(name);
        }
    }
}

/// Removes what a line of `Connection` names.
fn remove_listed(headers: &mut HeaderMap, line: &HeaderValue) {
    // The usual ones name no header, or one that goes anyway.
    let usual = |token: &[u8]| {
        ["close", "keep-alive", "upgrade", "te"]
            .iter()
            .any(|usual| token.eq_ignore_ascii_case(usual.as_bytes()))
    };
    if usual(line.as_bytes()) {
        return;
    }
    for token in tokens_of(line).filter(|token| !usual(token)) {
        if let Ok(name) = HeaderName::from_bytes(token)
            && !is_protected(&name)
        {
            headers.remove(name);
        }
    }
}

fn is_protected(name: &HeaderName) -> bool {
    PROTECTED.contains(&name.as_str()) || name.as_str().starts_with("x-forwarded-")
}

/// WSGI makes `X_Forwarded_For` and `X-Forwarded-For` the same variable.
fn remove_underscored(headers: &mut HeaderMap) {
    let doomed: Vec<_> =
        headers.keys().filter(|name| name.as_str().contains('_')).cloned().collect();
    for name in doomed {
        headers.remove(name);
    }
}

/// `Content-Length: 5, 5`, or several such lines (RFC 9112, 6.3): hyper's client has checked that
/// they agree.
fn one_length(headers: &mut HeaderMap) {
    let single = |length: &HeaderValue| !length.as_bytes().contains(&b',');
    if headers.keys_len() == headers.len() && headers.get(CONTENT_LENGTH).is_none_or(single) {
        return;
    }
    let agreed = {
        let mut lengths = tokens(headers, &CONTENT_LENGTH);
        let (first, second) = (lengths.next(), lengths.next());
        second.and(first).and_then(|length| HeaderValue::from_bytes(length).ok())
    };
    if let Some(length) = agreed {
        headers.insert(CONTENT_LENGTH, length);
    }
}
