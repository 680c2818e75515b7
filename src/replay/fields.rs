//! What a line of a foreign access log says, read in place.
//!
//! Two readers: of lines as the Common Log Format has them, with whatever servers put in front of it
//! (the virtual host) and behind it (referer, agent, forwarded addresses, times); and of JSON objects,
//! with the names that nginx, Apache, Caddy, Traefik, HAProxy and logstash give the members.

use std::net::{IpAddr, Ipv4Addr};

use memchr::memchr;

use super::scan::{self, Damaged, Scan, Value};
use super::stamp;

/// A line, as far as it says something that matters. Texts are as they were written, with escapes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    /// Milliseconds since 1970.
    pub unix_ms: Option<u64>,
    pub client: Option<IpAddr>,
    /// `X-Forwarded-For`.
    pub forwarded: Option<&'a [u8]>,
    pub method: &'a [u8],
    /// With its query.
    pub target: &'a [u8],
    /// Where a log has it apart.
    pub query: Option<&'a [u8]>,
    pub host: Option<&'a [u8]>,
    pub agent: &'a [u8],
    pub status: u16,
    /// The request came with credentials of HTTP.
    pub authorization: bool,
}

/// Why a line says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unread {
    /// It is not of the log's format, or was cut.
    Shape,
    /// Its client is no address.
    Client,
    Time,
    Status,
    /// Longer than any line may be.
    Long,
}

impl Unread {
    pub const ALL: [Self; 5] = [Self::Shape, Self::Client, Self::Time, Self::Status, Self::Long];

    /// What is wrong.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Shape => "not of this format, or cut",
            Self::Client => "the client is no address (HostnameLookups Off logs addresses)",
            Self::Time => "no time that can be read",
            Self::Status => "no status",
            Self::Long => "longer than 64 KiB",
        }
    }
}

impl From<Damaged> for Unread {
    fn from(_: Damaged) -> Self {
        Self::Shape
    }
}

/// A line of the Common Log Format and its kin.
pub fn of_text(line: &[u8]) -> Result<Fields<'_>, Unread> {
    let (first, rest) = token(line).ok_or(Unread::Shape)?;
    let (client, host, rest) = match address(first) {
        Some(client) => (client, None, rest),
        None => {
            let (second, behind) = token(rest).ok_or(Unread::Shape)?;
            (address(second).ok_or(Unread::Client)?, Some(first), behind)
        }
    };
    let open = bracket(rest).ok_or(Unread::Shape)?;
    let user = rest[..open].trim_ascii_end();
    let rest = &rest[open + 1..];
    let close = memchr(b']', rest).ok_or(Unread::Shape)?;
    let unix_ms = stamp::read(&rest[..close]).ok_or(Unread::Time)?;
    let (request, rest) = text(&rest[close + 1..]).ok_or(Unread::Shape)?;
    let (status, rest) = token(rest.trim_ascii_start()).unwrap_or((rest.trim_ascii(), b""));
    let status = scan::number(status).and_then(|status| u16::try_from(status).ok());
    let (method, target) = request_line(request);
    let mut fields = Fields {
        unix_ms: Some(unix_ms),
        client: Some(client),
        method,
        target,
        host,
        status: status.ok_or(Unread::Status)?,
        authorization: !user.ends_with(b"-"),
        ..Fields::default()
    };
    // Referer, agent, and whatever follows: of that, what can be a list of addresses.
    let mut rest = rest;
    for place in 0.. {
        let Some((value, behind)) = text(rest) else { break };
        match place {
            0 => {}
            1 => fields.agent = value,
            _ if fields.forwarded.is_none() && is_list(value) => fields.forwarded = Some(value),
            _ => {}
        }
        rest = behind;
    }
    Ok(fields)
}

/// A JSON object.
pub fn of_json(line: &[u8]) -> Result<Fields<'_>, Unread> {
    let mut fields = Fields::default();
    let mut request = None;
    let mut seen = Seen { fields: &mut fields, request: &mut request, status: None, depth: 0 };
    Scan::new(line).object(&mut seen, &mut member)?;
    let status = seen.status;
    if let Some(request) = request {
        let (method, target) = request_line(request);
        if fields.method.is_empty() {
            fields.method = method;
        }
        if fields.target.is_empty() {
            // Some call the path alone so.
            fields.target = if target.is_empty() { request } else { target };
        }
    }
    if fields.client.is_none() {
        return Err(Unread::Client);
    }
    if fields.unix_ms.is_none() {
        return Err(Unread::Time);
    }
    fields.status = status.ok_or(Unread::Status)?;
    Ok(fields)
}

struct Seen<'a, 'b> {
    fields: &'b mut Fields<'a>,
    request: &'b mut Option<&'a [u8]>,
    status: Option<u16>,
    depth: u8,
}

/// Objects within objects are read as if their members stood in the outermost one: Caddy has one for
/// the request. Not deeper than this.
const DEPTH: u8 = 3;

fn member<'a>(
    seen: &mut Seen<'a, '_>,
    scan: &mut Scan<'a>,
    name: &'a [u8],
    value: Value<'a>,
) -> Result<(), Damaged> {
    if value == Value::Nested {
        if seen.depth >= DEPTH || !scan.opens_object() || name == b"replay" {
            return scan.skip();
        }
        seen.depth += 1;
        scan.object(seen, &mut member)?;
        seen.depth -= 1;
        return Ok(());
    }
    let Some(said) = value.bytes() else { return Ok(()) };
    let fields = &mut *seen.fields;
    match name {
        b"time" | b"time_local" | b"time_iso8601" | b"timestamp" | b"@timestamp" | b"ts"
        | b"msec" | b"date" | b"datetime" | b"time_unix" | b"StartUTC" | b"StartLocal" => {
            fields.unix_ms = fields.unix_ms.or_else(|| stamp::read(said));
        }
        b"client" | b"remote_addr" | b"remote_ip" | b"remoteIP" | b"remoteAddr"
        | b"remote_host" | b"clientip" | b"clientIP" | b"client_ip" | b"clientAddr"
        | b"client_addr" | b"ip" | b"remote" | b"ClientHost" | b"c-ip" => {
            fields.client = fields.client.or_else(|| address(said));
        }
        b"http_x_forwarded_for"
        | b"x_forwarded_for"
        | b"forwarded_for"
        | b"xff"
        | b"X-Forwarded-For"
        | b"x-forwarded-for" => fields.forwarded = Some(said),
        b"method" | b"request_method" | b"requestMethod" | b"verb" | b"RequestMethod" => {
            fields.method = said;
        }
        // `$uri` beside `$request_uri` is without its query.
        b"request_uri" => fields.target = said,
        b"uri" | b"url" | b"path" | b"request_path" | b"requestPath" | b"RequestPath"
        | b"target"
            if fields.target.is_empty() =>
        {
            fields.target = said;
        }
        b"args" | b"query" | b"query_string" | b"queryString" => fields.query = Some(said),
        b"request" | b"request_line" | b"requestLine" => *seen.request = Some(said),
        b"status" | b"status_code" | b"statusCode" | b"response" | b"response_code" | b"code"
        | b"DownstreamStatus" => {
            let status = scan::number(said).and_then(|status| u16::try_from(status).ok());
            seen.status = seen.status.or(status);
        }
        b"user_agent"
        | b"http_user_agent"
        | b"userAgent"
        | b"useragent"
        | b"agent"
        | b"User-Agent"
        | b"User-agent"
        | b"user-agent"
        | b"request_User-Agent" => {
            fields.agent = said;
        }
        b"host" | b"http_host" | b"vhost" | b"server_name" | b"virtual_host" | b"RequestHost" => {
            fields.host = fields.host.or(Some(said));
        }
        b"remote_user" | b"remoteUser" | b"user" | b"auth" | b"ClientUsername" => {
            fields.authorization |= !matches!(said, b"" | b"-");
        }
        _ => {}
    }
    Ok(())
}

/// What stands before the next space, and what behind it.
fn token(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr(b' ', bytes)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// The bracket before a time: a user may have one in the name.
fn bracket(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr(b'[', bytes.get(at..)?)?;
        let starts = at == 0 || bytes[at - 1] == b' ';
        if starts && bytes.get(at + 3).is_some_and(|byte| matches!(byte, b'/' | b'0'..=b'9')) {
            return Some(at);
        }
        at += 1;
    }
}

/// The next text in quotes, and what stands behind it.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = memchr(b'"', bytes)? + 1;
    let length = scan::quoted(&bytes[start..])?;
    Some((&bytes[start..start + length], &bytes[start + length + 1..]))
}

/// Method and target; nothing where there was no request that could be read.
pub fn request_line(line: &[u8]) -> (&[u8], &[u8]) {
    let Some((method, rest)) = token(line) else { return (b"", b"") };
    if method.is_empty()
        || !method.iter().all(|byte| byte.is_ascii_alphabetic() || b"-_".contains(byte))
    {
        return (b"", b"");
    }
    let target = match memchr::memrchr(b' ', rest) {
        Some(at) if rest[at + 1..].starts_with(b"HTTP/") => &rest[..at],
        _ => rest,
    };
    (method, target)
}

/// An address, in brackets or not, with a zone or not; not with a port.
pub fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Some(v4) = dotted(bytes) {
        return Some(IpAddr::V4(v4));
    }
    let bytes = bytes.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).unwrap_or(bytes);
    if !bytes.contains(&b':') || bytes.len() > 64 {
        return None;
    }
    let zone = memchr(b'%', bytes).unwrap_or(bytes.len());
    std::str::from_utf8(&bytes[..zone]).ok()?.parse().ok()
}

/// `203.0.113.7`, quickly.
fn dotted(bytes: &[u8]) -> Option<Ipv4Addr> {
    if !(7..=15).contains(&bytes.len()) {
        return None;
    }
    let (mut octets, mut place, mut number, mut length) = ([0_u8; 4], 0, 0_u16, 0);
    for byte in bytes {
        match byte {
            b'0'..=b'9' if length < 3 => {
                number = number * 10 + u16::from(byte - b'0');
                length += 1;
            }
            b'.' if length > 0 && place < 3 => {
                octets[place] = u8::try_from(number).ok()?;
                (place, number, length) = (place + 1, 0, 0);
            }
            _ => return None,
        }
    }
    if place < 3 || length == 0 {
        return None;
    }
    octets[3] = u8::try_from(number).ok()?;
    Some(octets.into())
}

/// Whether all of it can be addresses, divided by commas.
fn is_list(bytes: &[u8]) -> bool {
    let mut entries = bytes.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    entries.all(|entry| address(entry).is_some())
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
