//! A reader of HTTP/1.1 requests that shares nothing with the proxy, nor with what that is built
//! on: RFC 9112 to the letter. Tests judge by it what reached the application, and what a client
//! has sent.

/// By which rules a request is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// What the proxy may send: one spelling of everything, one framing, nothing of one connection.
    Sent,
    /// What a client may send: all that RFC 9112 lets a server understand, and nothing besides.
    Received,
}

/// Why there is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It has not ended yet.
    Partial,
    Malformed(&'static str),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub target: String,
    /// Names in lower case, in the order in which they came.
    pub headers: Vec<(String, String)>,
    /// Without its framing.
    pub body: Vec<u8>,
    /// Nothing behind it is a request.
    pub last: bool,
    /// Its transfer codings are none but `chunked`: the others cannot be sent on.
    pub plain: bool,
}

impl Request {
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    fn tokens<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.values(name).flat_map(|value| value.split(',')).map(ows).filter(|t| !t.is_empty())
    }
}

/// The first request in `bytes`, and how many of them it is.
pub fn read(bytes: &[u8], rules: Rules) -> Result<(Request, usize), Stop> {
    let mut reader = Reader { bytes, at: 0, rules };
    let mut request = reader.head()?;
    match reader.framing(&mut request)? {
        Framing::Length(length) => {
            let length = usize::try_from(length).map_err(|_| Stop::Malformed("a huge length"))?;
            request.body = reader.take(length)?.to_vec();
        }
        Framing::Chunked => request.body = reader.chunked()?,
    }
    Ok((request, reader.at))
}

enum Framing {
    Length(u64),
    Chunked,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    rules: Rules,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Stop> {
        let end = self.at.checked_add(length).ok_or(Stop::Malformed("a huge length"))?;
        let taken = self.bytes.get(self.at..end).ok_or(Stop::Partial)?;
        self.at = end;
        Ok(taken)
    }

    /// A line without its end. Of those who receive, RFC 9112, 2.2 lets a bare LF end it.
    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or(Stop::Partial)?;
        self.at += length + 1;
        match (rest[..length].strip_suffix(b"\r"), self.rules) {
            (Some(line), _) => Ok(line),
            (None, Rules::Received) => Ok(&rest[..length]),
            (None, Rules::Sent) => Err(Stop::Malformed("a bare LF")),
        }
    }

    fn head(&mut self) -> Result<Request, Stop> {
        let mut line = self.line()?;
        while line.is_empty() && self.rules == Rules::Received {
            line = self.line()?;
        }
        let line = text(line)?;
        let mut parts = line.split(' ');
        let (method, target, version) =
            match (parts.next(), parts.next(), parts.next(), parts.next()) {
                (Some(method), Some(target), Some(version), None) => (method, target, version),
                _ => return Err(Stop::Malformed("a request line of other than three parts")),
            };
        if !is_token(method) {
            return Err(Stop::Malformed("a method that is no token"));
        }
        if target.is_empty() || target.contains('\t') {
            return Err(Stop::Malformed("a target with white space"));
        }
        let version_1_1 = version == "HTTP/1.1";
        if !version_1_1 && (self.rules == Rules::Sent || version != "HTTP/1.0") {
            return Err(Stop::Malformed("another version"));
        }
        let origin = target.starts_with('/') && !target.contains('#');
        if self.rules == Rules::Sent && !origin && (target, method) != ("*", "OPTIONS") {
            return Err(Stop::Malformed("a target in another form"));
        }
        let headers = self.headers()?;
        let mut request = Request {
            method: method.to_owned(),
            target: target.to_owned(),
            headers,
            body: Vec::new(),
            last: false,
            plain: true,
        };
        let says =
            |token: &str| request.tokens("connection").any(|t| t.eq_ignore_ascii_case(token));
        request.last = says("close") || !(version_1_1 || says("keep-alive"));
        if !version_1_1 && request.values("transfer-encoding").next().is_some() {
            return Err(Stop::Malformed("a transfer coding in HTTP/1.0"));
        }
        if self.rules == Rules::Sent {
            check_sent(&request)?;
        }
        Ok(request)
    }

    /// Header or trailer lines, up to and with the empty one.
    fn headers(&mut self) -> Result<Vec<(String, String)>, Stop> {
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(headers);
            }
            let (name, value) = text(line)?
                .split_once(':')
                .ok_or(Stop::Malformed("a header line without colon"))?;
            if !is_token(name) {
                return Err(Stop::Malformed("a name that is no token"));
            }
            headers.push((name.to_ascii_lowercase(), ows(value).to_owned()));
        }
    }

    /// RFC 9112, 6.3.
    fn framing(&self, request: &mut Request) -> Result<Framing, Stop> {
        let lengths: Vec<&str> = request.values("content-length").collect();
        let codings: Vec<&str> = request.tokens("transfer-encoding").collect();
        if request.values("transfer-encoding").next().is_some() {
            if !codings.last().is_some_and(|last| last.eq_ignore_ascii_case("chunked")) {
                return Err(Stop::Malformed("a transfer coding whose end cannot be found"));
            }
            let (plain, both) = (codings.len() == 1, !lengths.is_empty());
            if self.rules == Rules::Sent && (!plain || both) {
                return Err(Stop::Malformed("two framings"));
            }
            // It overrides the length, and then the connection must end.
            request.last |= both;
            request.plain = plain;
            return Ok(Framing::Chunked);
        }
        if lengths.len() > 1 && self.rules == Rules::Sent {
            return Err(Stop::Malformed("two lengths"));
        }
        let mut length = None;
        for text in lengths {
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(Stop::Malformed("a length that is none"));
            }
            let said: u64 = text.parse().map_err(|_| Stop::Malformed("a huge length"))?;
            if self.rules == Rules::Sent
                && (said.to_string() != text || i64::try_from(said).is_err())
            {
                return Err(Stop::Malformed("a length that some read otherwise"));
            }
            if length.is_some_and(|length| length != said) {
                return Err(Stop::Malformed("lengths that differ"));
            }
            length = Some(said);
        }
        Ok(Framing::Length(length.unwrap_or(0)))
    }

    fn chunked(&mut self) -> Result<Vec<u8>, Stop> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            // What is in an extension is nobody's business, as long as all agree where it ends.
            let size = match line.iter().position(|byte| *byte == b';') {
                None => text(line)?,
                Some(_) if self.rules == Rules::Sent || line.contains(&b'\r') => {
                    return Err(Stop::Malformed("a chunk extension"));
                }
                Some(end) => text(&line[..end])?,
            };
            let size = match self.rules {
                Rules::Sent => size,
                Rules::Received => size.trim_end_matches([' ', '\t']),
            };
            if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(Stop::Malformed("a chunk size that is none"));
            }
            let size = usize::from_str_radix(size, 16)
                .map_err(|_| Stop::Malformed("a chunk size that does not fit"))?;
            if size == 0 {
                break;
            }
            body.extend_from_slice(self.take(size)?);
            if self.take(2)? != b"\r\n" {
                return Err(Stop::Malformed("a chunk that is longer than it says"));
            }
        }
        let trailers = self.headers()?;
        let forbidden = ["content-length", "transfer-encoding", "host", "cookie", "authorization"];
        let is_bad = |name: &str| {
            forbidden.contains(&name) || name.starts_with("x-forwarded-") || name.contains('_')
        };
        if self.rules == Rules::Sent && trailers.iter().any(|(name, _)| is_bad(name)) {
            return Err(Stop::Malformed("a trailer that must be a header"));
        }
        Ok(body)
    }
}

/// What else a proxy must have seen to.
fn check_sent(request: &Request) -> Result<(), Stop> {
    let number = |name: &str| request.values(name).count();
    if number("host") != 1 {
        return Err(Stop::Malformed("other than one Host"));
    }
    if number("cookie") > 1 || number("x-forwarded-for") != 1 {
        return Err(Stop::Malformed("several lines of what must be one"));
    }
    if request.headers.iter().any(|(name, _)| name.contains('_')) {
        return Err(Stop::Malformed("a name that WSGI takes for another"));
    }
    let hop = ["expect", "upgrade", "keep-alive", "proxy-connection", "proxy-authorization"];
    if hop.into_iter().any(|name| number(name) > 0) {
        return Err(Stop::Malformed("a header of the client's own connection"));
    }
    if request.tokens("connection").any(|token| token != "te") {
        return Err(Stop::Malformed("an option of the client's own connection"));
    }
    Ok(())
}

/// A line holds no control bytes but tabs. Bytes above ASCII are shown as they can be.
fn text(line: &[u8]) -> Result<&str, Stop> {
    if line.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f) {
        return Err(Stop::Malformed("a control byte"));
    }
    std::str::from_utf8(line)
        .map_err(|_| Stop::Malformed("not UTF-8, which these tests never send"))
}

fn ows(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

fn is_token(text: &str) -> bool {
    let mark = |byte| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || mark(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(head: &str, rest: &str) -> Result<(Request, usize), Stop> {
        let common = "Host: a\r\nX-Forwarded-For: 127.0.0.1\r\n";
        read(format!("{head}\r\n{common}{rest}").as_bytes(), Rules::Sent)
    }

    #[test]
    fn what_is_well_formed_is_read_to_its_end() {
        let line = "POST /a HTTP/1.1";
        assert_eq!(sent(line, "Content-Length: 2\r\n\r\nhi").unwrap().0.body, b"hi");
        let chunked =
            "Transfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\nX-A: 1\r\n\r\nGET";
        let (request, length) = sent(line, chunked).unwrap();
        assert_eq!(request.body, b"hi");
        assert_eq!(length, line.len() + 39 + chunked.len() - 3);
        assert_eq!(sent(line, "Content-Length: 3\r\n\r\nhi"), Err(Stop::Partial));
    }

    #[test]
    fn what_is_not_is_refused() {
        for (line, rest) in [
            ("GET /a HTTP/1.0", "\r\n"),
            ("GET a HTTP/1.1", "\r\n"),
            ("GET /a b HTTP/1.1", "\r\n"),
            ("GET /a HTTP/1.1", "A: 1\n\r\n"),
            ("GET /a HTTP/1.1", "A : 1\r\n\r\n"),
            ("GET /a HTTP/1.1", " A: 1\r\n\r\n"),
            ("GET /a HTTP/1.1", "A: 1\r2\r\n\r\n"),
            ("GET /a HTTP/1.1", "A_B: 1\r\n\r\n"),
            ("GET /a HTTP/1.1", "Host: b\r\n\r\n"),
            ("GET /a HTTP/1.1", "Content-Length: +2\r\n\r\nhi"),
            ("GET /a HTTP/1.1", "Content-Length: 02\r\n\r\nhi"),
            ("GET /a HTTP/1.1", "Content-Length: 9223372036854775808\r\n\r\nhi"),
            ("GET /a HTTP/1.1", "Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi"),
            ("GET /a HTTP/1.1", "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            ("GET /a HTTP/1.1", "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
            ("GET /a HTTP/1.1", "Transfer-Encoding: chunked\r\n\r\n0;a\r\n\r\n"),
            ("GET /a HTTP/1.1", "Transfer-Encoding: chunked\r\n\r\n0 \r\n\r\n"),
            ("GET /a HTTP/1.1", "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n"),
            ("GET /a HTTP/1.1", "Transfer-Encoding: chunked\r\n\r\n0\r\nCookie: a=1\r\n\r\n"),
        ] {
            let read = sent(line, rest);
            assert!(matches!(read, Err(Stop::Malformed(_))), "{line:?} {rest:?}: {read:?}");
        }
    }
}
