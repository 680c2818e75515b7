use super::*;

fn text_of(line: &str) -> Result<Fields<'_>, Unread> {
    of_text(line.as_bytes())
}

const BASE: &str = "203.0.113.7 - - [31/Dec/2026:23:59:59 +0000] \"GET /a/?b=1 HTTP/1.1\" 200 17";

fn base() -> Fields<'static> {
    Fields {
        unix_ms: Some(1_798_761_599_000),
        client: Some(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7))),
        method: b"GET",
        target: b"/a/?b=1",
        status: 200,
        ..Fields::default()
    }
}

#[test]
fn common_and_combined_are_read_with_whatever_stands_around_them() {
    assert_eq!(text_of(BASE), Ok(base()));
    let combined = Fields { agent: b"Mozilla/5.0 (X)", ..base() };
    let line = format!("{BASE} \"http://e/\" \"Mozilla/5.0 (X)\"");
    assert_eq!(text_of(&line), Ok(combined));
    assert_eq!(text_of(&format!("{line} 0.123 0.120 .")), Ok(combined));
    let forwarded = Fields { forwarded: Some(b"198.51.100.1, 10.0.0.1"), ..combined };
    assert_eq!(text_of(&format!("{line} \"198.51.100.1, 10.0.0.1\"")), Ok(forwarded));
    assert_eq!(text_of(&format!("{line} \"-\" \"gzip\"")), Ok(combined));
    let host = Fields { host: Some(b"shop.example.org:443"), ..combined };
    assert_eq!(text_of(&format!("shop.example.org:443 {line}")), Ok(host));
    let user = line.replace("- - [", "- o [br]ien [");
    assert_eq!(text_of(&user), Ok(Fields { authorization: true, ..combined }));
}

#[test]
fn ipv6_clients_are_read() {
    for (client, address) in [
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:203.0.113.7", "::ffff:203.0.113.7"),
    ] {
        let line = BASE.replace("203.0.113.7", client);
        let found = text_of(&line).expect("a line").client;
        assert_eq!(found, Some(address.parse().expect("an address")));
    }
    for wrong in ["1.2.3", "1.2.3.4.5", "256.1.1.1", "1..2.3", "1.2.3.4:80", "host", ":", "1.2.3."]
    {
        assert_eq!(address(wrong.as_bytes()), None, "{wrong}");
    }
}

#[test]
fn escaped_quotes_end_no_text_and_no_request_is_none() {
    let line = |request: &str| {
        format!("203.0.113.7 - - [31/Dec/2026:23:59:59 +0000] \"{request}\" 400 0 \"-\" \"a\\\"b\"")
    };
    for (request, method, target) in [
        ("GET /\\x22x\\\" HTTP/1.1", "GET", "/\\x22x\\\""),
        ("GET /a b HTTP/1.0", "GET", "/a b"),
        ("GET /", "GET", "/"),
        ("-", "", ""),
        ("", "", ""),
        ("\\x16\\x03\\x01\\x02 x", "", ""),
        ("quit", "", ""),
    ] {
        let line = line(request);
        let fields = text_of(&line).expect("a line");
        assert_eq!((fields.method, fields.target), (method.as_bytes(), target.as_bytes()));
        assert_eq!(fields.agent, b"a\\\"b");
    }
}

#[test]
fn a_damaged_line_says_what_is_wrong_with_it() {
    for length in 0..BASE.len() {
        match text_of(&BASE[..length]) {
            // A status or size that was cut is one all the same.
            Ok(fields) => assert!(length > BASE.len() - 6 && fields.method == b"GET", "{length}"),
            Err(Unread::Shape | Unread::Client | Unread::Status | Unread::Time | Unread::Long) => {}
        }
    }
    for (from, to, why) in [
        ("203.0.113.7", "host.example", Unread::Client),
        ("31/Dec", "31/Dez", Unread::Time),
        ("\" 200", "\" 2x0", Unread::Status),
        ("[31", "31", Unread::Shape),
        ("HTTP/1.1\"", "HTTP/1.1", Unread::Shape),
    ] {
        assert_eq!(text_of(&BASE.replace(from, to)), Err(why), "{to}");
    }
}

#[test]
fn json_of_the_usual_servers_is_read() {
    let agent = Fields { agent: b"curl/8", host: Some(b"e"), ..base() };
    for line in [
        // nginx, `log_format json escape=json`.
        r#"{"time_local":"31/Dec/2026:23:59:59 +0000","remote_addr":"203.0.113.7","remote_user":"","request":"GET /a/?b=1 HTTP/1.1","status":"200","body_bytes_sent":"17","request_time":"0.01","http_referrer":"","http_user_agent":"curl/8","http_host":"e"}"#,
        r#"{"msec":"1798761599.000","remote_addr":"203.0.113.7","request_method":"GET","uri":"/a/","request_uri":"/a/?b=1","status": 200,"http_user_agent":"curl/8","host":"e"}"#,
        // Apache.
        r#"{ "time":"[31/Dec/2026:23:59:59 +0000]", "remoteIP":"203.0.113.7", "host":"e", "request":"/a/?b=1", "method":"GET", "status":"200", "userAgent":"curl/8", "referer":"-" }"#,
        // Caddy.
        r#"{"level":"info","ts":1798761599.0,"request":{"remote_ip":"203.0.113.7","remote_port":"1","proto":"HTTP/2.0","method":"GET","host":"e","uri":"/a/?b=1","headers":{"User-Agent":["x"]}},"user_agent":"curl/8","status":200,"resp_headers":{"Server":["Caddy"]}}"#,
        // Traefik.
        r#"{"ClientHost":"203.0.113.7","DownstreamStatus":200,"RequestHost":"e","RequestMethod":"GET","RequestPath":"/a/?b=1","request_User-Agent":"curl/8","time":"2026-12-31T23:59:59Z"}"#,
    ] {
        assert_eq!(of_json(line.as_bytes()), Ok(agent), "{line}");
    }
    let apart = r#"{"time":1798761599,"ip":"203.0.113.7","verb":"GET","path":"/a/","query":"?b=1","code":200}"#;
    let fields = of_json(apart.as_bytes()).expect("a line");
    assert_eq!((fields.target, fields.query), (&b"/a/"[..], Some(&b"?b=1"[..])));
}

#[test]
fn json_that_says_too_little_says_what_is_missing() {
    for (line, why) in [
        (r#"{"time":1,"status":200}"#, Unread::Client),
        (r#"{"ip":"203.0.113.7","status":200}"#, Unread::Time),
        (r#"{"ip":"203.0.113.7","time":1}"#, Unread::Status),
        (r#"{"ip":"203.0.113.7","time":1,"status":200"#, Unread::Shape),
        ("null", Unread::Shape),
    ] {
        assert_eq!(of_json(line.as_bytes()), Err(why), "{line}");
    }
}
