//! Which format a scraper reads, by its `Accept` and `Accept-Encoding` (RFC 9110, 12.5).

use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING, HeaderName};

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admin) enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4, which everybody reads.
    Text,
}

impl Format {
    pub(in crate::admin) const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// The one that is liked better. Who asks for neither gets what everybody reads: to be refused
    /// helps nobody.
    pub(in crate::admin) fn asked(headers: &HeaderMap) -> Self {
        let (mut open, mut text) = (0, 0);
        for member in members(headers, ACCEPT) {
            let version = |one: &str| member.parameter("version").is_none_or(|said| said == one);
            if member.is("application/openmetrics-text") && version("1.0.0") {
                open = open.max(member.liking);
            } else if ["text/plain", "text/*", "*/*"].iter().any(|kind| member.is(kind))
                && version("0.0.4")
            {
                text = text.max(member.liking);
            }
        }
        if open > 0 && open >= text { Self::OpenMetrics } else { Self::Text }
    }
}

/// Whether it may be packed.
pub(in crate::admin) fn takes_gzip(headers: &HeaderMap) -> bool {
    let (mut named, mut any) = (None, 0);
    for member in members(headers, ACCEPT_ENCODING) {
        if member.is("gzip") || member.is("x-gzip") {
            named = Some(member.liking);
        } else if member.is("*") {
            any = member.liking;
        }
    }
    named.unwrap_or(any) > 0
}

/// A member of a list, with what is said of it.
struct Member<'a> {
    parts: std::str::Split<'a, char>,
    name: &'a str,
    /// Thousandths; 1,000 where nothing is said.
    liking: u32,
}

impl Member<'_> {
    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        parameter(self.parts.clone(), name)
    }
}

/// A list over all lines of a header; what is no text says nothing.
fn members(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = Member<'_>> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(|member| {
        let mut parts = member.split(';');
        let name = parts.next().unwrap_or_default().trim();
        let liking = parameter(parts.clone(), "q").map_or(1_000, thousandths);
        Member { parts, name, liking }
    })
}

fn parameter<'a>(mut parts: std::str::Split<'a, char>, name: &str) -> Option<&'a str> {
    parts.find_map(|part| {
        let (key, value) = part.split_once('=')?;
        let value = value.trim().trim_matches('"');
        key.trim().eq_ignore_ascii_case(name).then_some(value)
    })
}

/// A weight (RFC 9110, 12.4.2); what is none counts as nothing.
fn thousandths(text: &str) -> u32 {
    let weight: f64 = text.parse().unwrap_or(0.0);
    // Between 0 and 1,000, which fits; what is no number becomes 0.
    (weight.clamp(0.0, 1.0) * 1_000.0) as u32
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn with(name: HeaderName, lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(&name, HeaderValue::from_str(line).expect("a value"));
        }
        headers
    }

    #[test]
    fn scrapers_get_what_they_like_best() {
        let asked = |lines: &[&str]| Format::asked(&with(ACCEPT, lines));
        // Prometheus 2.42, the same with native histograms, 3.0, and 2.4.
        for open in [
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;\
             q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
             encoding=delimited,application/openmetrics-text;version=1.0.0;q=0.8,\
             application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,\
             */*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "Application/OpenMetrics-Text",
            "application/openmetrics-text; version=\"1.0.0\"; q=0.5, text/plain; q=0.5",
        ] {
            assert_eq!(asked(&[open]), Format::OpenMetrics, "{open}");
        }
        for text in [
            "text/plain;version=0.0.4;q=1,*/*;q=0.1",
            "*/*",
            "text/html",
            "",
            "application/openmetrics-text;version=0.0.1;q=0.75,text/plain;q=0.5",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.4,text/*;q=0.5",
            "application/openmetrics-text;q=nonsense",
        ] {
            assert_eq!(asked(&[text]), Format::Text, "{text}");
        }
        assert_eq!(asked(&[]), Format::Text);
        let lines = ["text/plain;q=0.1", "application/openmetrics-text"];
        assert_eq!(asked(&lines), Format::OpenMetrics);
    }

    #[test]
    fn it_is_packed_for_whoever_unpacks() {
        let takes = |line| takes_gzip(&with(ACCEPT_ENCODING, &[line]));
        for yes in ["gzip", "deflate, GZIP;q=0.2", "*", "x-gzip", "br;q=1, *;q=0.1"] {
            assert!(takes(yes), "{yes}");
        }
        for no in ["", "identity", "gzip;q=0", "gzip;q=0.000, *", "*;q=0", "gzipped"] {
            assert!(!takes(no), "{no}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
