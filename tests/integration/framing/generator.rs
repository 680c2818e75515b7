//! Streams of pipelined requests with mutated framing, from a seed.

use super::{FULL, HIDDEN, OWN, ending};
use crate::support::random::Random;

/// Header lines about lengths; `#` stands for the true one.
pub const LENGTHS: [&str; 30] = [
    "Content-Length: +#",
    "Content-Length: #, #",
    "Content-Length: #,1",
    "Content-Length: 0x#",
    "Content-Length: -#",
    "Content-Length: #.0",
    "Content-Length: # 1",
    "Content-Length: \u{b}#",
    "Content-Length: \"#\"",
    "Content-Length: #\u{c}",
    "Content-Length: 1#",
    "Content-Length:",
    "Content-Length:  \t#\t ",
    "Content-Length: 000000#",
    "Content-Length: 18446744073709551616",
    "Content-Length: 18446744073709551615",
    "Content-Length: 1844674407370955161#",
    "Content-Length: 0\r\nContent-Length: #",
    "Content-Length: #\r\nContent-Length: 0",
    "Content-Length: #\r\nContent-Length: #",
    "Content-Length: #\r\nContent-Length: 0#",
    "Content-Length: #\r\n , 0",
    "Content-Length : #",
    " Content-Length: #",
    "Content_Length: #",
    "Content-Length\u{0}: #",
    "Content-Length: #\nX: 1",
    "Content-Length: #\rX: 1",
    "content-LENGTH: #",
    "X: 1\r\n Content-Length: #",
];

pub const CODINGS: [&str; 34] = [
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: Chunked",
    "transfer-encoding:chunked ",
    "Transfer-Encoding:\tchunked",
    "Transfer-Encoding: \u{b}chunked",
    "Transfer-Encoding: chunked\u{0}",
    "Transfer-Encoding : chunked",
    " Transfer-Encoding: chunked",
    "Transfer_Encoding: chunked",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunkedx",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: ,chunked,",
    "Transfer-Encoding:",
    "Transfer-Encoding:\r\n chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\nX: 1",
    "Transfer-Encoding: chunked\rX: 1",
    "X: 1\nTransfer-Encoding: chunked",
    "X: 1\rTransfer-Encoding: chunked",
    "X: 1\r\n Transfer-Encoding: chunked",
    "Content-Length: #\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: #",
    "Content-Length: 4\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: 0",
    "Transfer-Encoding: chunked\r\nConnection: Transfer-Encoding",
];

const SIZES: [&str; 12] = [
    "#",
    "#",
    "0#",
    "0000000000000000000000#",
    "#;a",
    "#;a=\"b\"",
    "# ",
    "#;\n",
    "0x#",
    "+#",
    "#_",
    "1000000000000000#",
];

const TRAILERS: [&str; 6] = [
    "",
    "X-A: 1\r\n",
    "Content-Length: 5\r\n",
    "Cookie: sessionid=1\r\n",
    "Transfer-Encoding: chunked\r\nX_A: 1\r\n",
    "X-A\r\n",
];

const METHODS: [&str; 10] =
    ["GET", "POST", "PUT", "DELETE", "OPTIONS", "get", "P*ST", "GET\t", "M-SEARCH", "QUERY"];

const VERSIONS: [&str; 8] = [
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/1.2",
    "HTTP/2.0",
    "HTTP/01.1",
];

/// Put into a stream at random places.
const BYTES: [&str; 22] = [
    "\r",
    "\n",
    "\r\n",
    "\r\n\r\n",
    "\0",
    "\t",
    " ",
    "\u{b}",
    ":",
    ",",
    ";",
    "_",
    "+",
    "-",
    "0",
    "1",
    "9",
    "\u{7f}",
    "\r\n ",
    "\u{e4}",
    "HTTP/1.1",
    "0\r\n\r\n",
];

/// A stream, with the end that closes its connection.
pub fn stream(rng: &mut Random) -> Vec<u8> {
    let mut stream = String::new();
    for number in 0..=rng.below(4) {
        stream += &request(rng, number);
    }
    if rng.percent(30) {
        mutate(rng, &mut stream);
    }
    (stream + &ending()).into_bytes()
}

fn request(rng: &mut Random, number: usize) -> String {
    let place = if rng.percent(20) { FULL } else { OWN };
    let host = if rng.percent(5) { "http://b" } else { "" };
    let odd = rng.percent(10);
    let method = if odd { rng.pick(&METHODS) } else { "POST" };
    let version = if odd { rng.pick(&VERSIONS) } else { "HTTP/1.1" };
    let mut content = HIDDEN.repeat(rng.below(3));
    if rng.percent(30) {
        content = format!("0\r\n\r\n{content}");
    }
    let chunked = chunked(rng, &content);
    let (body, plain, oddities) = if rng.percent(50) {
        (content, "Content-Length: #", &LENGTHS[..])
    } else {
        (chunked, "Transfer-Encoding: chunked", &CODINGS[..])
    };
    let line = if rng.percent(60) {
        plain
    } else if rng.percent(10) {
        // A body that nothing announces is a request, or nonsense.
        "X: 1"
    } else {
        rng.pick(oddities)
    };
    let framing = line.replace('#', &body.len().to_string());
    let other = ["", "X-A: b\r\n", "Expect: 100-continue\r\n", "Connection: keep-alive\r\n"];
    let (before, behind) = (rng.pick(&other), rng.pick(&other));
    format!(
        "{method} {host}{place}{number} {version}\r\nHost: a\r\n{before}{framing}\r\n{behind}\r\n{body}"
    )
}

fn chunked(rng: &mut Random, content: &str) -> String {
    let mut body = String::new();
    let mut rest = content;
    let odd = rng.percent(30);
    while !rest.is_empty() {
        let (chunk, behind) = rest.split_at(1 + rng.below(rest.len()));
        let size = if odd { rng.pick(&SIZES) } else { "#" };
        body += &size.replace('#', &format!("{:x}", chunk.len()));
        body += "\r\n";
        body += chunk;
        body += "\r\n";
        rest = behind;
    }
    let trailers = if odd { rng.pick(&TRAILERS) } else { "" };
    body + "0\r\n" + trailers + "\r\n"
}

fn mutate(rng: &mut Random, stream: &mut String) {
    for _ in 0..=rng.below(3) {
        let mut place = rng.below(stream.len());
        while !stream.is_char_boundary(place) {
            place -= 1;
        }
        if rng.percent(50) {
            stream.insert_str(place, rng.pick(&BYTES));
        } else {
            stream.remove(place);
        }
    }
}
