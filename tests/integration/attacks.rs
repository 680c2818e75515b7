//! Attacks and mishaps with an application that the test plays: what goes over the wire, byte for
//! byte.

use floodwall::proxy::settings::Address;

use crate::raw::{Application, Wire, values};
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::inside::Inside;
use crate::support::load::Target;

const KEYS: [&str; 3] = [
    "11111111111111111111111111111111",
    "22222222222222222222222222222222",
    "33333333333333333333333333333333",
];

fn before(application: &Application, configuration: &str) -> Inside {
    let Address::Tcp { host, port } = &application.address else { panic!("it listens on TCP") };
    Inside::start(&format!("http://{host}:{port}"), configuration)
}

fn connect(target: Target) -> Wire {
    Wire::tcp(std::net::TcpStream::connect(target.address()).expect("it listens"))
}

/// One request through Floodwall, and what the application got of it.
fn exchange(
    client: &mut Wire,
    wire: &mut Wire,
    request: &str,
    answers: &[&str],
) -> (String, String) {
    client.send(request);
    let mut got = String::new();
    for answer in answers {
        got = wire.head();
        wire.send(answer);
    }
    (got, client.head())
}

#[test]
fn observing_changes_no_cookie_in_either_direction() {
    let application = Application::tcp();
    let floodwall = before(&application, "mode = 'observe'\n[session]\nunknown = 'drop'\n");
    let mut client = connect(floodwall.target());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut wire = application.accept();
    wire.head();
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    client.head();
    let known = format!("sessionid={}", KEYS[0]);
    let cookies: [&[&str]; 8] = [
        &[],
        &[&known],
        &[&known, "a=1; foo bar", "sessionid=x"],
        &["sessionid=; ;; path=/;\t\"x=1 2"],
        &["n=\u{e4}; sessionid=\"\\061\""],
        &[&known, &known],
        &["sessionid=a:b:c"],
        &[""],
    ];
    let answers = [
        format!("Set-Cookie: a=1; Path=/\r\nSet-Cookie: {known}; HttpOnly\r\nSet-Cookie:  b=2\r\n"),
        format!("Set-Cookie: sessionid={}; Path=/x; Max-Age=0\r\nVary: Accept\r\n", KEYS[1]),
        "Set-Cookie: sessionid=\"\"; Max-Age=0\r\nCache-Control: public, max-age=9\r\n".to_owned(),
        String::new(),
    ];
    for path in ["/accounts/logout/", "/accounts/login/", "/admin/", "/x/"] {
        for (number, lines) in cookies.iter().enumerate() {
            for (status, answer) in [200, 302, 404, 500].iter().zip(&answers) {
                let sent: String = lines.iter().map(|line| format!("Cookie: {line}\r\n")).collect();
                let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{sent}\r\n");
                let said = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n{answer}\r\n");
                let (got, heard) = exchange(&mut client, &mut wire, &request, &[&said]);
                let lines: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
                assert_eq!(values(&got, "cookie"), lines, "{path} {number}");
                for name in ["set-cookie", "vary", "cache-control"] {
                    assert_eq!(values(&heard, name), values(&said, name), "{path} {number}");
                }
                assert!(heard.starts_with(&format!("HTTP/1.1 {status} ")), "{heard}");
            }
        }
    }
    floodwall.await_rest();
}

/// A path is proved, and its spare used: what the client gets of the session cookie is nothing, of
/// all others everything, in their order; and no spare is ever told or taken from a client.
#[test]
fn a_spare_stays_inside_and_other_cookies_keep_their_order() {
    let application = Application::tcp();
    let floodwall = before(&application, "[session]\nunknown = 'drop'\n");
    let target = floodwall.target();
    let set = |key: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: a=1\r\nSet-Cookie: sessionid={key}; \
             Domain=.site.example; Path=/app; Secure\r\nSet-Cookie: c=3; Path=/\r\n\
             Set-Cookie: sessionid2=x\r\n\r\n"
        )
    };
    let logout = "GET /logout/ HTTP/1.1\r\nHost: a\r\nCookie: z=9\r\n\r\n";
    let mut client = connect(target);
    client.send(logout);
    let mut wire = application.accept();
    assert_eq!(values(&wire.head(), "cookie"), ["z=9"]);
    wire.send(set(KEYS[0]));
    let proof = format!("z=9; sessionid={}", KEYS[0]);
    assert_eq!(values(&wire.head(), "cookie"), [proof.as_str()]);
    wire.send(set(KEYS[1]));
    assert_eq!(values(&client.head(), "set-cookie"), ["a=1", "c=3; Path=/", "sessionid2=x"]);

    // Presented by a client, the spare is taken out, and the deletion is dressed as the
    // application dresses its cookie.
    let stolen = format!("GET /x/ HTTP/1.1\r\nHost: a\r\nCookie: sessionid={}\r\n\r\n", KEYS[1]);
    let plain = "HTTP/1.1 304 Not Modified\r\nCache-Control: public, max-age=60\r\n\r\n";
    let (got, heard) = exchange(&mut client, &mut wire, &stolen, &[plain]);
    assert!(values(&got, "cookie").is_empty(), "{got}");
    let deletion = values(&heard, "set-cookie");
    assert_eq!(deletion.len(), 1, "{heard}");
    for part in ["sessionid=; ", "Path=/app", "Domain=site.example", "Secure", "Max-Age=0"] {
        assert!(deletion[0].contains(part), "{heard}");
    }
    assert_eq!(values(&heard, "vary"), ["Cookie"]);
    assert_eq!(values(&heard, "cache-control"), ["private"]);

    // The next logout gets the spare, and its client nothing.
    let (got, heard) = exchange(&mut client, &mut wire, logout, &[&set(KEYS[2])]);
    assert_eq!(values(&got, "cookie"), [format!("z=9; sessionid={}", KEYS[1])]);
    assert_eq!(values(&heard, "set-cookie"), ["a=1", "c=3; Path=/", "sessionid2=x"]);
    floodwall.await_rest();
    assert_eq!(floodwall.spares(), 1);
}

/// An upload that never ends keeps a stop waiting; a second signal does not wait, and still saves
/// the state.
#[test]
fn a_second_signal_ends_at_once_and_saves_the_state() {
    let application = Application::tcp();
    let Address::Tcp { host, port } = &application.address else { panic!("it listens on TCP") };
    let folder = Folder::new("signals");
    let mut floodwall = Floodwall::start(&folder, &format!("http://{host}:{port}"), "");
    let mut client = connect(floodwall.target());
    client.send("POST /x/ HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n");
    application.accept().head();
    floodwall.signal("-TERM");
    floodwall.await_said("draining");
    assert!(floodwall.stop().success());
    let files = std::fs::read_dir(folder.path()).expect("the folder is there");
    let names = files.map(|file| file.expect("a file").file_name().into_string().expect("text"));
    assert!(!names.into_iter().any(|name| name.contains("journal")), "the last snapshot is there");
}
