//! Which fields of a message concern its connection, or what is decided on: found in one pass, for
//! most messages have few of them, and looking for each takes longer than looking at all.

use http::header::HeaderMap;

/// Some of the fields that a message may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fields(u8);

impl Fields {
    const NONE: Self = Self(0);
    pub(super) const CONNECTION: Self = Self(1);
    pub(super) const TE: Self = Self(1 << 1);
    pub(super) const TRANSFER_ENCODING: Self = Self(1 << 2);
    pub(super) const CONTENT_LENGTH: Self = Self(1 << 3);
    pub(super) const EXPECT: Self = Self(1 << 4);
    /// CVE-2016-5385: CGI hands it on as `HTTP_PROXY`.
    pub(super) const PROXY: Self = Self(1 << 5);
    /// Hop-by-hop ones that have no bit of their own.
    pub(super) const HOP_BY_HOP: Self = Self(1 << 6);
    /// Names with an underscore, of which WSGI makes the same as of those with a hyphen.
    pub(super) const UNDERSCORED: Self = Self(1 << 7);

    /// Those that are there.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        headers.keys().fold(Self::NONE, |all, name| Self(all.0 | Self::named(name.as_str()).0))
    }

    /// What a name, in lower case, stands for.
    fn named(name: &str) -> Self {
        // Most begin otherwise, and need not be compared with all of these.
        let Some(b'c' | b'e' | b'k' | b'p' | b't' | b'u') = name.as_bytes().first() else {
            return Self::underscored(name);
        };
        match name {
            "connection" => Self::CONNECTION,
            "te" => Self::TE,
            "transfer-encoding" => Self::TRANSFER_ENCODING,
            "content-length" => Self::CONTENT_LENGTH,
            "expect" => Self::EXPECT,
            "proxy" => Self::PROXY,
            "upgrade"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization" => Self::HOP_BY_HOP,
            _ => Self::underscored(name),
        }
    }

    fn underscored(name: &str) -> Self {
        const UNDERSCORES: u64 = u64::from_ne_bytes([b'_'; 8]);
        let (eights, rest) = name.as_bytes().as_chunks::<8>();
        let found = eights.iter().any(|eight| has_zero(u64::from_ne_bytes(*eight) ^ UNDERSCORES))
            || rest.contains(&b'_');
        if found { Self::UNDERSCORED } else { Self::NONE }
    }

    /// Whether any of `these` is there.
    pub(super) const fn has(self, these: Self) -> bool {
        self.0 & these.0 != 0
    }
}

/// Whether one of eight bytes is zero.
const fn has_zero(eight: u64) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    eight.wrapping_sub(ONES) & !eight & (ONES << 7) != 0
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderName, HeaderValue};

    use super::*;
    use crate::proxy::headers::{HOP_BY_HOP, HOP_BY_HOP_NAMES};

    fn of(name: &str) -> Fields {
        let mut headers = HeaderMap::new();
        headers.insert("accept", HeaderValue::from_static("*/*"));
        let name: HeaderName = name.parse().expect("a name");
        headers.insert(name, HeaderValue::from_static("x"));
        Fields::of(&headers)
    }

    #[test]
    fn what_is_hop_by_hop_is_found_by_every_name() {
        let names = HOP_BY_HOP.iter().map(HeaderName::as_str).chain(HOP_BY_HOP_NAMES);
        let all = [Fields::CONNECTION, Fields::TE, Fields::TRANSFER_ENCODING, Fields::HOP_BY_HOP];
        for name in names {
            assert!(all.into_iter().any(|fields| of(name).has(fields)), "{name}");
            assert!(all.into_iter().any(|fields| of(&name.to_uppercase()).has(fields)), "{name}");
        }
    }

    #[test]
    fn names_stand_for_what_they_say_and_nothing_else() {
        let cases = [
            ("expect", Fields::EXPECT),
            ("Proxy", Fields::PROXY),
            ("content-length", Fields::CONTENT_LENGTH),
            ("x_forwarded_for", Fields::UNDERSCORED),
            ("x-forwarded-for", Fields::NONE),
            ("host", Fields::NONE),
            ("trailer", Fields::NONE),
        ];
        for (name, fields) in cases {
            assert_eq!(of(name), fields, "{name}");
        }
        assert_eq!(Fields::of(&HeaderMap::new()), Fields::NONE);
    }

    /// In every place, among any others.
    #[test]
    fn an_underscore_is_found_wherever_it_stands() {
        for first in ["a", "x", "c"] {
            for other in ["a", "^", "`", "~", "!"] {
                for length in 1..20 {
                    let mut name = first.to_owned() + &other.repeat(length);
                    assert_eq!(of(&name), Fields::NONE, "{name}");
                    for place in 1..=length {
                        name.replace_range(place..=place, "_");
                        assert_eq!(of(&name), Fields::UNDERSCORED, "{name}");
                        name.replace_range(place..=place, other);
                    }
                }
            }
        }
    }
}
