//! Protocols that requests could be hidden in.

/// What a name begins with that stands for HTTP, or for TLS, which has HTTP in it: the tokens of
/// RFC 9110 (`HTTP`), RFC 2817 (`TLS`), RFC 7540 (`h2c`) and their kin.
const OF_REQUESTS: [&str; 6] = ["http", "h2", "h3", "tls", "ssl", "spdy"];

/// Whether a protocol (a name as in `Upgrade`, in any case, with or without a version) carries
/// requests. A tunnel of it would take them past every rule.
pub fn carries_requests(name: &str) -> bool {
    OF_REQUESTS
        .iter()
        .any(|known| name.get(..known.len()).is_some_and(|start| start.eq_ignore_ascii_case(known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_and_tls_carry_requests_in_any_spelling() {
        for name in ["h2c", "H2C", "h2c-14", "h2", "HTTP/2.0", "http", "TLS/1.2", "tls", "h3-29"] {
            assert!(carries_requests(name), "{name}");
        }
        for name in ["websocket", "IRC/6.9", "t140", "h", "", "ht", "ünicode"] {
            assert!(!carries_requests(name), "{name}");
        }
    }
}
