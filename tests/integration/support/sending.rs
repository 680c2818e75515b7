//! Single requests, written out as an attacker writes them, and many of them at once.

use std::io;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use super::django::{Django, Release};
use super::load::Target;
use super::load::http::{Connection, Request, Response};

/// Sends a head (`\n` stands for the end of a line) and a body as they are.
pub fn send(target: Target, head: &str, body: &str) -> Response {
    send_from(Ipv4Addr::LOCALHOST, target, head, body)
}

/// The same from another address of this machine, which is another client.
pub fn send_from(source: Ipv4Addr, target: Target, head: &str, body: &str) -> Response {
    send_on(&mut Connection::new(target, source), target, head, body)
}

/// The same on a connection that may be kept.
pub fn send_on(connection: &mut Connection, target: Target, head: &str, body: &str) -> Response {
    try_on(connection, target, head, body).expect("an answer")
}

/// The same, where the answer may break off.
pub fn try_on(
    connection: &mut Connection,
    target: Target,
    head: &str,
    body: &str,
) -> io::Result<Response> {
    let bytes = raw(target, head, body);
    let deadline = Instant::now() + Duration::from_secs(30);
    let request = Request { bytes, head: head.starts_with("HEAD ") };
    connection.exchange(&request, deadline)
}

/// A request as it goes over the wire.
pub fn raw(target: Target, head: &str, body: &str) -> Vec<u8> {
    let (line, headers) = head.split_once('\n').unwrap_or((head, ""));
    let mut wire = format!("{line} HTTP/1.1\r\nHost: {target}\r\n");
    for header in headers.lines() {
        wire.extend([header, "\r\n"]);
    }
    wire.extend(["\r\n", body]);
    wire.into_bytes()
}

/// A form with a CSRF pair that the client made itself, and these cookies besides.
pub fn post(target: Target, path: &str, cookies: &str, fields: &str) -> Response {
    let (head, body) = form(path, cookies, fields);
    send(target, &head, &body)
}

/// Head and body of such a form.
pub fn form(path: &str, cookies: &str, fields: &str) -> (String, String) {
    let body = format!("csrfmiddlewaretoken=abc&{fields}");
    let head = format!(
        "POST {path}\nCookie: csrftoken=abc; {cookies}\nContent-Length: {}\n\
         Content-Type: application/x-www-form-urlencoded",
        body.len()
    );
    (head, body)
}

/// The session key that an answer sets.
pub fn key(response: &Response) -> Option<&str> {
    let line = response.header("set-cookie").find_map(|line| line.strip_prefix("sessionid="))?;
    line.split(';').next().filter(|value| value.len() == 32)
}

/// What an answer says.
pub fn text(response: &Response) -> String {
    String::from_utf8_lossy(&response.body).into_owned()
}

/// Does the same so many times at once.
pub fn at_once<T: Send>(times: usize, act: impl Fn(usize) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let act = &act;
        let threads: Vec<_> = (0..times).map(|number| scope.spawn(move || act(number))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}

/// Of each default budget this much for a client, and none of it back within a test.
pub fn budgets(burst: u64) -> String {
    let budget = |name| {
        format!(
            "[budget.{name}]\nclient = {{ rate = '1/d', burst = {burst} }}\n\
             site = {{ rate = '1/d', burst = 300 }}\n"
        )
    };
    ["anonymous", "login", "admin", "logout"].map(budget).concat()
}

/// Those of the releases that can run here, each by itself, with threads enough for a race.
pub fn on_each(releases: impl IntoIterator<Item = Release>, test: impl Fn(Release, &Django)) {
    on_each_with(releases, &[], test);
}

/// The same with more options of `tests/django/serve`.
pub fn on_each_with(
    releases: impl IntoIterator<Item = Release>,
    options: &[&str],
    test: impl Fn(Release, &Django),
) {
    for release in releases.into_iter().filter(|release| release.available()) {
        println!("Django {release}");
        let options = [&["--threads", "16"], options].concat();
        test(release, &Django::start_with(release, &options));
    }
}
