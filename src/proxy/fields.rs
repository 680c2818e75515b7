//! Which fields of a message concern its connection, or what is decided on: found in one pass, for
//! most messages have few of them, and looking for each takes longer than looking at all.

use http::header::{self, HeaderMap, HeaderName};

use super::forwarded::is_claim;

/// Some of the fields that a message may have. Those that are not among the ones that came need not
/// be looked for later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields(u16);

impl Fields {
    const NONE: Self = Self(0);
    pub(super) const CONNECTION: Self = Self(1);
    pub(super) const TE: Self = Self(1 << 1);
    pub(super) const TRANSFER_ENCODING: Self = Self(1 << 2);
    pub(super) const CONTENT_LENGTH: Self = Self(1 << 3);
    pub(super) const EXPECT: Self = Self(1 << 4);
    /// CVE-2016-5385: CGI hands it on as `HTTP_PROXY`.
    pub(super) const PROXY: Self = Self(1 << 5);
    pub(super) const UPGRADE: Self = Self(1 << 6);
    /// Hop-by-hop ones that have no bit of their own.
    pub(super) const HOP_BY_HOP: Self = Self(1 << 7);
    /// Names with an underscore, of which WSGI makes the same as of those with a hyphen.
    pub(super) const UNDERSCORED: Self = Self(1 << 8);
    pub(super) const AUTHORIZATION: Self = Self(1 << 9);
    pub(super) const COOKIE: Self = Self(1 << 10);
    pub(super) const REFERER: Self = Self(1 << 11);
    /// What proxies say of a client.
    pub(super) const CLAIM: Self = Self(1 << 12);

    /// Those that are there.
    pub fn of(headers: &HeaderMap) -> Self {
        headers.keys().fold(Self::NONE, |all, name| Self(all.0 | Self::named(name).0))
    }

    /// What a name stands for. The usual ones are told without a look at their text.
    fn named(name: &HeaderName) -> Self {
        match *name {
            header::CONNECTION => Self::CONNECTION,
            header::TE => Self::TE,
            header::TRANSFER_ENCODING => Self::TRANSFER_ENCODING,
            header::CONTENT_LENGTH => Self::CONTENT_LENGTH,
            header::EXPECT => Self::EXPECT,
            header::UPGRADE => Self::UPGRADE,
            header::PROXY_AUTHENTICATE | header::PROXY_AUTHORIZATION => Self::HOP_BY_HOP,
            header::AUTHORIZATION => Self::AUTHORIZATION,
            header::COOKIE => Self::COOKIE,
            header::REFERER => Self::REFERER,
            header::ACCEPT
            | header::ACCEPT_ENCODING
            | header::ACCEPT_LANGUAGE
            | header::CACHE_CONTROL
            | header::CONTENT_ENCODING
            | header::CONTENT_LANGUAGE
            | header::CONTENT_TYPE
            | header::DATE
            | header::ETAG
            | header::EXPIRES
            | header::HOST
            | header::IF_MODIFIED_SINCE
            | header::IF_NONE_MATCH
            | header::LAST_MODIFIED
            | header::LOCATION
            | header::ORIGIN
            | header::SERVER
            | header::SET_COOKIE
            | header::UPGRADE_INSECURE_REQUESTS
            | header::USER_AGENT
            | header::VARY
            | header::X_FRAME_OPTIONS => Self::NONE,
            _ => Self::written(name.as_str()),
        }
    }

    /// What a name, in lower case, stands for by its text.
    fn written(name: &str) -> Self {
        match name {
            "proxy" => Self::PROXY,
            "keep-alive" | "proxy-connection" => Self::HOP_BY_HOP,
            _ if is_claim(name) => Self(Self::CLAIM.0 | Self::underscored(name).0),
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
    use http::header::HeaderValue;

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
        let all = [
            Fields::CONNECTION,
            Fields::TE,
            Fields::TRANSFER_ENCODING,
            Fields::UPGRADE,
            Fields::HOP_BY_HOP,
        ];
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
            ("Authorization", Fields::AUTHORIZATION),
            ("cookie", Fields::COOKIE),
            ("referer", Fields::REFERER),
            ("x_forwarded_for", Fields::UNDERSCORED),
            ("x-forwarded-for", Fields::CLAIM),
            ("X-Forwarded-a_b", Fields(Fields::CLAIM.0 | Fields::UNDERSCORED.0)),
            ("forwarded", Fields::CLAIM),
            ("x-real-ip", Fields::CLAIM),
            ("host", Fields::NONE),
            ("user-agent", Fields::NONE),
            ("trailer", Fields::NONE),
            ("set-cookie", Fields::NONE),
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
