//! What a client reads of the answers that it gets (RFC 9112, 6.3): whoever writes them may order
//! their lines, and cut their chunks, as he likes.

use http::Method;

use crate::service::DATE;

/// An answer, or an informational one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// 0 where its head was cut.
    pub status: u16,
    /// Its lines, sorted; none of what the server says itself.
    pub head: Vec<String>,
    /// Whether the server says it itself.
    pub refuses: bool,
    /// Whether it says that it is the last. hyper leaves that out where it finds out too late, and
    /// says the contrary beside it.
    pub closes: bool,
    pub body: Vec<u8>,
    pub trailers: Vec<String>,
    /// Whether its end has come, other than with the connection's.
    pub whole: bool,
}

impl Reply {
    /// Whether it is the same, or only says beside that it is the last.
    pub fn is_as_good_as(&self, other: &Self) -> bool {
        // Where hyper refuses the next request it does not send what its client has not taken yet.
        let cut = self.whole && !other.whole;
        let same = self.refuses == other.refuses && self.head == other.head;
        let cut = cut && (other.status == 0 || same && self.body.starts_with(&other.body));
        cut || *self == Self { closes: self.closes, ..other.clone() } && self.closes >= other.closes
    }
}

/// Reads them in their order, as those to requests with these methods. They can be nothing else.
pub fn read(mut bytes: &[u8], methods: &[&Method]) -> Result<Vec<Reply>, String> {
    let (mut replies, mut methods) = (Vec::new(), methods.iter());
    while !bytes.is_empty() {
        let (mut reply, behind) = head(bytes)?;
        bytes = behind;
        if reply.status == 0 {
            // Nothing more came.
        } else if reply.status == 100 {
            reply.whole = true;
        } else if reply.status == 101 {
            reply.whole = true;
            replies.push(reply);
            return if bytes.is_empty() { Ok(replies) } else { Err("behind HTTP".to_owned()) };
        } else {
            let bodiless =
                methods.next() == Some(&&Method::HEAD) || matches!(reply.status, 204 | 304);
            reply.whole = bodiless;
            if !bodiless {
                bytes = body(&mut reply, bytes)?;
            }
        }
        let date = reply.head.iter().find_map(|line| line.strip_prefix("date: "));
        if date != Some(DATE) && reply.status >= 400 {
            // hyper says it in the version of the request before.
            reply.head.clear();
            reply.refuses = true;
        }
        let last = !reply.whole;
        replies.push(reply);
        if last && !bytes.is_empty() {
            return Err("behind what is not whole".to_owned());
        }
    }
    Ok(replies)
}

fn head(bytes: &[u8]) -> Result<(Reply, &[u8]), String> {
    let said = || format!("no head: {}", bytes.escape_ascii());
    let mut reply = Reply::default();
    let Some(length) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else {
        // It is cut.
        reply.body = bytes.to_vec();
        return if bytes.len() < 300 { Ok((reply, &[])) } else { Err(said()) };
    };
    let lines = str::from_utf8(&bytes[..length]).map_err(|_| said())?.split("\r\n");
    let mut head: Vec<String> = lines.map(str::to_owned).collect();
    let status = head[0].strip_prefix("HTTP/1.").and_then(|line| line.get(2..5));
    let status = status.and_then(|status| status.parse().ok()).ok_or_else(said)?;
    let closes = |line: &String| line.starts_with("connection: close");
    reply.closes = head.iter().any(closes);
    head.retain(|line| !closes(line));
    // So hyper says beside another protocol that follows.
    head.iter_mut().filter(|line| *line == "connection: upgrade, close").for_each(|line| {
        line.truncate("connection: upgrade".len());
    });
    head.sort();
    (reply.status, reply.head) = (status, head);
    Ok((reply, &bytes[length + 4..]))
}

fn body<'a>(reply: &mut Reply, mut bytes: &'a [u8]) -> Result<&'a [u8], String> {
    let value = |name: &str| {
        let mut values = reply.head.iter().filter_map(|line| line.strip_prefix(name));
        let value = values.next();
        if values.next().is_some() { Err(format!("{name} twice")) } else { Ok(value) }
    };
    match (value("transfer-encoding: ")?, value("content-length: ")?) {
        (None, None) => {
            reply.body.extend_from_slice(bytes);
            Ok(&[])
        }
        (None, Some(length)) => {
            let length: usize = length.parse().map_err(|_| format!("no length: {length}"))?;
            let (body, behind) = bytes.split_at(length.min(bytes.len()));
            reply.body.extend_from_slice(body);
            reply.whole = body.len() == length;
            Ok(behind)
        }
        (Some("chunked"), None) => loop {
            let Some((line, behind)) = line(bytes) else { return Ok(&[]) };
            let size = usize::from_str_radix(line, 16).map_err(|_| format!("no size: {line}"))?;
            bytes = behind;
            if size == 0 {
                return trailers(reply, bytes);
            }
            let (data, behind) = bytes.split_at(size.min(bytes.len()));
            reply.body.extend_from_slice(data);
            match behind.split_at_checked(2) {
                Some((b"\r\n", behind)) => bytes = behind,
                Some(_) => return Err("no end of a chunk".to_owned()),
                None => return Ok(&[]),
            }
        },
        other => Err(format!("framed as {other:?}")),
    }
}

fn trailers<'a>(reply: &mut Reply, mut bytes: &'a [u8]) -> Result<&'a [u8], String> {
    while let Some((line, behind)) = line(bytes) {
        bytes = behind;
        if line.is_empty() {
            reply.trailers.sort();
            reply.whole = true;
            return Ok(bytes);
        }
        reply.trailers.push(line.to_owned());
    }
    Ok(&[])
}

fn line(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let length = bytes.windows(2).position(|end| end == b"\r\n")?;
    Some((str::from_utf8(&bytes[..length]).ok()?, &bytes[length + 2..]))
}
