//! The requests that are sent: written once, and filled in with a key and an address without allocating.

use crate::wire::{KEY_LENGTH, Key};

/// `X-Forwarded-For` has octets of three digits only, so that a request keeps its length.
const OCTETS: u32 = 156;
/// So many different addresses can be told of.
pub const MAX_FORWARDED: u32 = OCTETS * OCTETS * OCTETS;
const ADDRESS: &str = "11.100.100.100";

/// The headers that are sent, as clap reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Headers {
    /// Host, User-Agent and Accept
    Few,
    /// What Chromium sends with a click, three other cookies included
    Browser,
}

/// What a request is made of.
pub struct Ask<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub host: &'a str,
    pub headers: Headers,
    /// Length of the body in bytes; without one, no length is told.
    pub body: Option<u64>,
    pub session: bool,
    pub forwarded: bool,
    /// Asks the other side to close the connection afterwards.
    pub close: bool,
}

/// The head of a request, and where it is to be filled in.
pub struct Message {
    head: Vec<u8>,
    key: Option<usize>,
    address: Option<usize>,
}

impl Message {
    pub fn new(ask: &Ask<'_>) -> Self {
        let Ask { method, path, host, .. } = ask;
        let connection = if ask.close { "close" } else { "keep-alive" };
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: {connection}\r\n");
        let mut cookies = String::new();
        head += &match ask.headers {
            Headers::Few => "User-Agent: load\r\nAccept: */*\r\n".to_owned(),
            Headers::Browser => {
                cookies += "csrftoken=nPz4XJq0UuVbTnYcDoM6Rk8aLhG2sEwi; \
                            _ga=GA1.1.1384027513.1763900000; \
                            _ga_7PXZB4KMQD=GS2.1.s1763900000$o3$g1$t1763900042$j18$l0$h0; ";
                format!(
                    "sec-ch-ua: \"Chromium\";v=\"142\", \"Not_A Brand\";v=\"99\"\r\nsec-ch-ua-mobile: ?0\r\n\
                     sec-ch-ua-platform: \"Linux\"\r\nUpgrade-Insecure-Requests: 1\r\n\
                     User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
                     Chrome/142.0.0.0 Safari/537.36\r\n\
                     Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,\
                     image/apng,*/*;q=0.8\r\n\
                     Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\n\
                     Sec-Fetch-Dest: document\r\nReferer: http://{host}/\r\n\
                     Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9\r\n"
                )
            }
        };
        let mut key = None;
        if ask.session {
            head += &format!("Cookie: {cookies}sessionid=");
            key = Some(head.len());
            head.extend(['-'; KEY_LENGTH]);
            head += "\r\n";
        } else if let Some(cookies) = cookies.strip_suffix("; ") {
            head += &format!("Cookie: {cookies}\r\n");
        }
        let mut address = None;
        if ask.forwarded {
            head += "X-Forwarded-For: ";
            address = Some(head.len());
            head += &format!("{ADDRESS}\r\n");
        }
        if let Some(length) = ask.body {
            head += &format!(
                "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n"
            );
        }
        head += "\r\n";
        Self { head: head.into_bytes(), key, address }
    }

    /// Writes the head with this key, and this number of an address, as far as it has any.
    pub fn write(&self, key: Option<&Key>, address: u32, into: &mut Vec<u8>) {
        into.clear();
        into.extend_from_slice(&self.head);
        if let (Some(at), Some(key)) = (self.key, key) {
            into[at..at + KEY_LENGTH].copy_from_slice(key);
        }
        if let Some(at) = self.address {
            let octets = [address / OCTETS / OCTETS, address / OCTETS, address];
            for (place, octet) in octets.into_iter().enumerate() {
                let octet = 100 + octet % OCTETS;
                let digits = [octet / 100, octet / 10 % 10, octet % 10];
                let at = at + 3 + 4 * place;
                into[at..at + 3].copy_from_slice(&digits.map(|digit| b'0' + digit as u8));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::Ipv4Addr;

    use super::*;
    use crate::wire::{self, Shown};

    const ASK: Ask<'_> = Ask {
        method: "GET",
        path: "/page?a=b",
        host: "localhost",
        headers: Headers::Browser,
        body: None,
        session: true,
        forwarded: true,
        close: false,
    };

    #[test]
    fn addresses_are_distinct_and_valid() {
        let message = Message::new(&ASK);
        let mut head = Vec::new();
        let mut seen = HashSet::new();
        for number in (0..MAX_FORWARDED).step_by(997).chain([MAX_FORWARDED - 1]) {
            message.write(None, number, &mut head);
            let text = String::from_utf8(head.clone()).expect("ASCII");
            let address = text.split("X-Forwarded-For: ").nth(1).expect("the header");
            let address = address.split("\r\n").next().expect("its end");
            assert!(address.parse::<Ipv4Addr>().is_ok(), "{address}");
            assert!(seen.insert(address.to_owned()), "{address} twice");
        }
    }

    #[test]
    fn the_key_is_where_the_cookie_is_read() {
        for headers in [Headers::Few, Headers::Browser] {
            let message = Message::new(&Ask { headers, ..ASK });
            let mut head = Vec::new();
            message.write(Some(&[b'k'; KEY_LENGTH]), 0, &mut head);
            let (request, length) = wire::request(&head).expect("readable").expect("whole");
            assert_eq!(length, head.len());
            assert_eq!(request.path, "/page");
            assert_eq!(request.session, Shown::Key([b'k'; KEY_LENGTH]), "{headers:?}");
            let anonymous = Message::new(&Ask { headers, session: false, ..ASK });
            anonymous.write(None, 0, &mut head);
            let (request, _) = wire::request(&head).expect("readable").expect("whole");
            assert_eq!(request.session, Shown::No, "{headers:?}");
        }
    }
}
