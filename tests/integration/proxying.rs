//! What goes through, and in what form.

use crate::raw::{Application, Proxy, has, values};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_connection_carries_request_after_request_on_both_sides() {
    let application = Application::tcp();
    let proxy = Proxy::before(&application);
    let mut client = proxy.connect();
    let mut wire = None;
    for number in 0..3 {
        client.send(format!("GET /{number}?q HTTP/1.1\r\nHost: site.example\r\n\r\n"));
        let wire = wire.get_or_insert_with(|| application.accept());
        let head = wire.head();
        assert!(head.starts_with(&format!("GET /{number}?q HTTP/1.1\r\n")), "{head}");
        assert_eq!(values(&head, "host"), ["site.example"]);
        assert_eq!(values(&head, "x-forwarded-for"), ["127.0.0.1"]);
        wire.send(OK);
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(!has(&head, "connection"), "{head}");
        assert_eq!(client.exactly(2), b"ok");
    }
    assert!(application.is_left_alone());
}
