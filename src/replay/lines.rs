//! Lines of foreign logs as the worlds want them: in batches, with everything that does not depend on
//! what a world remembers worked out once.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;

use ipnet::IpNet;
use memchr::memchr;

use super::Setting;
use super::fields::{self, Fields, Unread};
use super::input::LONGEST_LINE;
use super::scan;
use crate::guard::client::Client;
use crate::guard::policy::Terms;

/// How a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The Common Log Format and its kin.
    Text,
    Json,
    /// JSON by Floodwall, with what it takes to decide again as it was decided.
    Own,
}

impl Format {
    pub const ALL: [Self; 3] = [Self::Text, Self::Json, Self::Own];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Own => "floodwall",
        }
    }

    /// What the first lines are written in: of this many lines the most must agree.
    pub fn detect(start: &[u8]) -> Option<Self> {
        const LOOKED_AT: usize = 100;
        let mut found = [0_u32; Self::ALL.len()];
        for line in start.split(|byte| *byte == b'\n').take(LOOKED_AT) {
            if line.starts_with(b"{") {
                let own = memchr::memmem::find(line, b"\"replay\":{\"run\":").is_some();
                let json = own || fields::of_json(line).is_ok();
                found[Self::Own as usize] += u32::from(own);
                found[Self::Json as usize] += u32::from(json && !own);
            } else {
                found[Self::Text as usize] += u32::from(fields::of_text(line).is_ok());
            }
        }
        // Requests that Floodwall rejects have nothing to replay: those that have say whose log it is.
        if found[Self::Own as usize] > 0 {
            return Some(Self::Own);
        }
        let (format, lines) = Self::ALL.into_iter().zip(found).max_by_key(|(_, lines)| *lines)?;
        (lines > 0).then_some(format)
    }

    /// When the first line that can be read was written.
    pub fn first_time(self, start: &[u8]) -> Option<u64> {
        let lines = start.split(|byte| *byte == b'\n');
        lines.filter_map(|line| self.read(line).ok()?.unix_ms).next()
    }

    /// What a line says.
    pub fn read(self, line: &[u8]) -> Result<Fields<'_>, Unread> {
        match self {
            Self::Text => fields::of_text(line),
            Self::Json | Self::Own => fields::of_json(line),
        }
    }
}

/// A part of a batch's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    from: u32,
    to: u32,
}

/// A request of a log.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    pub unix_ms: u64,
    pub client: Client,
    pub terms: Terms,
    /// Client and agent, hashed with a key that nobody knows.
    pub visitor: u64,
    pub method: Span,
    pub target: Span,
    pub agent: Span,
    pub status: u16,
    pub authorization: bool,
    /// A picture, a style, a script.
    pub asset: bool,
}

/// Some lines, with their text.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    pub lines: Vec<Line>,
}

impl Batch {
    pub fn text(&self, span: Span) -> &[u8] {
        self.bytes.get(span.from as usize..span.to as usize).unwrap_or_default()
    }

    /// Methods and targets are made of UTF-8 when they are taken.
    pub fn str(&self, span: Span) -> &str {
        std::str::from_utf8(self.text(span)).unwrap_or_default()
    }
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub lines: u64,
    /// Of these a request could be made.
    pub requests: u64,
    pub unread: [u64; Unread::ALL.len()],
    /// The first that could not be read, and why.
    pub examples: Vec<(u64, Unread)>,
    /// There was no request, or none that is not rejected as it came.
    pub requestless: u64,
    /// Of another site.
    pub elsewhere: u64,
    /// By addresses that trusted proxies told.
    pub forwarded: u64,
    pub assets: u64,
    pub first_ms: Option<u64>,
    pub last_ms: u64,
}

impl Counts {
    const EXAMPLES: usize = 5;

    /// A line is a request, of this time.
    pub fn takes(&mut self, unix_ms: u64) {
        self.requests += 1;
        self.first_ms.get_or_insert(unix_ms);
        self.last_ms = self.last_ms.max(unix_ms);
    }

    /// A line could not be read.
    pub fn is_unread(&mut self, why: Unread) {
        self.unread[why as usize] += 1;
        if self.examples.len() < Self::EXAMPLES {
            self.examples.push((self.lines, why));
        }
    }
}

/// Makes batches of blocks.
pub struct Reader<'a> {
    setting: &'a Setting,
    format: Format,
    hasher: RandomState,
    pub clients: Distinct,
    pub counts: Counts,
}

impl<'a> Reader<'a> {
    pub fn new(setting: &'a Setting) -> Self {
        let hasher = RandomState::new();
        let (clients, counts) = (Distinct::default(), Counts::default());
        Self { setting, format: Format::Text, hasher, clients, counts }
    }

    /// What follows is written so.
    pub fn reads(&mut self, format: Format) {
        self.format = format;
    }

    /// Counts lines that were too long to be read.
    pub fn too_long(&mut self, number: u64) {
        for _ in 0..number {
            self.counts.lines += 1;
            self.counts.is_unread(Unread::Long);
        }
    }

    /// All requests of a block.
    pub fn batch(&mut self, block: Vec<u8>) -> Batch {
        let mut spill = Spill { base: block.len(), bytes: Vec::new() };
        let mut lines = Vec::with_capacity(block.len() / 128);
        let mut rest = &block[..];
        while !rest.is_empty() {
            let end = memchr(b'\n', rest).unwrap_or(rest.len());
            let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
            rest = rest.get(end + 1..).unwrap_or_default();
            if line.is_empty() {
                continue;
            }
            self.counts.lines += 1;
            if line.len() > LONGEST_LINE {
                self.counts.is_unread(Unread::Long);
                continue;
            }
            match self.format.read(line) {
                Ok(fields) => lines.extend(self.line(&fields, &block, &mut spill)),
                Err(why) => self.counts.is_unread(why),
            }
        }
        let mut bytes = block;
        bytes.extend_from_slice(&spill.bytes);
        Batch { bytes, lines }
    }

    fn line(&mut self, fields: &Fields<'_>, block: &[u8], spill: &mut Spill) -> Option<Line> {
        let (Some(unix_ms), Some(peer)) = (fields.unix_ms, fields.client) else { return None };
        if !self.setting.is_for(fields.host) {
            self.counts.elsewhere += 1;
            return None;
        }
        let target = spill.target(fields, block);
        let Some(target) = target.filter(|_| !fields.method.is_empty()) else {
            self.counts.requestless += 1;
            return None;
        };
        let address = match fields.forwarded {
            Some(list) => client_of(peer, list, &self.setting.trusted),
            None => peer,
        };
        self.counts.forwarded += u64::from(address != peer);
        let policy = &self.setting.policy.client;
        let client = Client::fold(address, policy);
        let hash = self.hasher.hash_one((client, fields.agent));
        self.clients.add(self.hasher.hash_one(client));
        let counts = &mut self.counts;
        counts.takes(unix_ms);
        let asset = is_asset(spill.get(target, block));
        counts.assets += u64::from(asset);
        Some(Line {
            unix_ms,
            client,
            terms: policy.terms(address),
            visitor: hash,
            method: spill.span(fields.method, block),
            target,
            agent: spill.span(fields.agent, block),
            status: fields.status,
            authorization: fields.authorization,
            asset,
        })
    }
}

/// What stands in a batch behind its block: texts that are not as they were written.
struct Spill {
    base: usize,
    bytes: Vec<u8>,
}

impl Spill {
    fn span(&mut self, part: &[u8], block: &[u8]) -> Span {
        if part.is_empty() {
            return Span { from: 0, to: 0 };
        }
        // It is a part of the block, or else it begins behind its end or ends before its beginning.
        let from = (part.as_ptr() as usize).wrapping_sub(block.as_ptr() as usize);
        let to = from.wrapping_add(part.len());
        match (u32::try_from(from), u32::try_from(to)) {
            (Ok(start), Ok(end)) if from < to && to <= block.len() => Span { from: start, to: end },
            _ => self.put(part),
        }
    }

    fn put(&mut self, text: &[u8]) -> Span {
        let from = self.base + self.bytes.len();
        self.bytes.extend_from_slice(text);
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Span { from: place(from), to: place(from + text.len()) }
    }

    fn get<'a>(&'a self, span: Span, block: &'a [u8]) -> &'a [u8] {
        let (from, to) = (span.from as usize, span.to as usize);
        let found = match from.checked_sub(self.base) {
            Some(behind) => self.bytes.get(behind..to - self.base),
            None => block.get(from..to),
        };
        found.unwrap_or_default()
    }

    /// Path and query, in UTF-8; `None` where the proxy would reject it, or has nothing to decide.
    fn target(&mut self, fields: &Fields<'_>, block: &[u8]) -> Option<Span> {
        let written = fields.target;
        let escaped = memchr(b'\\', written).is_some();
        let absolute = !matches!(written.first(), Some(b'/'));
        let query = fields.query.map(|query| query.strip_prefix(b"?").unwrap_or(query));
        let query = query.filter(|query| !query.is_empty() && memchr(b'?', written).is_none());
        if !escaped && !absolute && query.is_none() && std::str::from_utf8(written).is_ok() {
            return Some(self.span(written, block));
        }
        let mut plain = Vec::with_capacity(written.len());
        scan::unescape(written, &mut plain);
        if let Some(query) = query {
            plain.push(b'?');
            scan::unescape(query, &mut plain);
        }
        let text = String::from_utf8_lossy(&plain);
        let path = match text.split_once("://") {
            Some((_, rest)) if absolute => &rest[rest.find('/')?..],
            _ => &*text,
        };
        (path.starts_with('/') || path == "*").then(|| self.put(path.as_bytes()))
    }
}

/// The client behind proxies: the last address of the list that is not trusted, as the proxy reads
/// `X-Forwarded-For`.
fn client_of(peer: IpAddr, list: &[u8], trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| {
        let address = address.to_canonical();
        trusted.iter().any(|net| net.contains(&address))
    };
    let mut client = peer;
    for entry in list.rsplit(|byte| *byte == b',') {
        if !is_trusted(client) {
            break;
        }
        let Some(address) = fields::address(entry.trim_ascii()) else { break };
        client = address;
    }
    client
}

/// Whether a path ends as those of pictures, styles, scripts and fonts do.
fn is_asset(target: &[u8]) -> bool {
    const ENDS: [&[u8]; 17] = [
        b"css", b"js", b"mjs", b"map", b"png", b"jpg", b"jpeg", b"gif", b"svg", b"ico", b"webp",
        b"avif", b"woff", b"woff2", b"ttf", b"mp4", b"webm",
    ];
    let path = &target[..memchr(b'?', target).unwrap_or(target.len())];
    let tail = &path[path.len().saturating_sub(6)..];
    let Some(dot) = memchr::memrchr(b'.', tail) else { return false };
    ENDS.iter().any(|end| tail[dot + 1..].eq_ignore_ascii_case(end))
}

/// How many different ones there were, to some two in a hundred, in 4 KiB: Flajolet, Fusy, Gandouet,
/// Meunier: HyperLogLog (2007), with hashes of a key that nobody knows.
pub struct Distinct(Box<[u8; 1 << Self::BITS]>);

impl Default for Distinct {
    fn default() -> Self {
        Self(Box::new([0; 1 << Self::BITS]))
    }
}

impl Distinct {
    const BITS: u32 = 12;

    pub fn add(&mut self, hash: u64) {
        let place = &mut self.0[(hash >> (64 - Self::BITS)) as usize];
        // At most 53.
        let rank = ((hash << Self::BITS) | 1 << (Self::BITS - 1)).leading_zeros() as u8 + 1;
        *place = (*place).max(rank);
    }

    pub fn count(&self) -> u64 {
        let places = self.0.len() as f64;
        let sum: f64 = self.0.iter().map(|rank| 0.5_f64.powi(i32::from(*rank))).sum();
        let estimate = 0.7213 / (1.0 + 1.079 / places) * places * places / sum;
        let empty = self.0.iter().filter(|rank| **rank == 0).count() as f64;
        // Small numbers are counted by the places that are empty.
        let counted = if estimate <= 2.5 * places && empty > 0.0 {
            places * (places / empty).ln()
        } else {
            estimate
        };
        counted.round() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_clients_is_told_to_some_hundredths() {
        let hasher = RandomState::new();
        for number in [0_u64, 1, 50, 1_000, 20_000, 200_000] {
            let mut distinct = Distinct::default();
            for _ in 0..2 {
                (0..number).for_each(|one| distinct.add(hasher.hash_one(one)));
            }
            let error = distinct.count().abs_diff(number);
            assert!(error <= number / 12 + 1, "{} for {number}", distinct.count());
        }
    }

    #[test]
    fn clients_are_those_that_trusted_proxies_name() {
        let trusted = ["10.0.0.0/8".parse().expect("a network")];
        let client = |peer: &str, list: &str| {
            let peer = peer.parse().expect("an address");
            client_of(peer, list.as_bytes(), &trusted).to_string()
        };
        assert_eq!(client("10.0.0.1", "198.51.100.9, 203.0.113.7, 10.0.0.2"), "203.0.113.7");
        assert_eq!(client("10.0.0.1", "203.0.113.7, junk, 10.0.0.2"), "10.0.0.2");
        assert_eq!(client("192.0.2.1", "203.0.113.7"), "192.0.2.1");
        assert_eq!(client("10.0.0.1", "10.0.0.3"), "10.0.0.3");
    }

    #[test]
    fn assets_are_told_by_their_ends() {
        for (target, asset) in [
            ("/a.css?v=1.html", true),
            ("/A.PNG", true),
            ("/f.woff2", true),
            ("/a.html", false),
            ("/css", false),
            ("/", false),
            ("/a?b=.css", false),
            ("/logout/.jsx", false),
        ] {
            assert_eq!(is_asset(target.as_bytes()), asset, "{target}");
        }
    }
}
