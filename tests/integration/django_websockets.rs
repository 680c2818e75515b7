//! WebSocket beside a genuine Django site, which has none.

use std::fs;
use std::net::Ipv4Addr;

use crate::support::django::{Django, Release};
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::inside::await_that;
use crate::support::load::browser::Browser;
use crate::support::websockets::Program;

/// As an operator has it: the old Django has no WebSockets, another server has them.
#[test]
fn a_site_of_its_own_has_the_sockets_beside_a_genuine_django() {
    if !Release::V1_7_9.available() {
        return;
    }
    let django = Django::start(Release::V1_7_9);
    let (server, address) = Program::server();
    let folder = Folder::new("websockets");
    let configuration = format!(
        "[access_log]\nformat = 'json'\nfile = '{}'\n\
         [[site]]\nname = 'pages'\n\
         [[site]]\nname = 'live'\npaths = ['/ws/']\nupstream = 'http://{address}'\n\
         [site.session]\nunknown = 'forward'\n\
         [[site.rule]]\nname = 'live'\nprefix = '/ws/'\naction = 'forward'\n",
        folder.path().join("access").display()
    );
    let floodwall = Floodwall::start(&folder, &django.upstream(), &configuration);
    let mut browser = Browser::new(floodwall.target(), Ipv4Addr::LOCALHOST);
    assert_eq!(browser.get("/accounts/login/").unwrap().status(), 200);
    let key = "0123456789abcdef0123456789abcdef";
    let cookie = format!("sessionid={key}");
    let (mut client, shaken) = Program::client(floodwall.address(), "/ws/news", Some(&cookie));
    assert_eq!(shaken["status"], 101);
    assert_eq!(server.said()["cookies"][0], cookie.as_str(), "the session goes along");
    assert_eq!(client.ask("volley 10")["whole"], 10);

    // A reload leaves it alone, though it replaces the sites.
    floodwall.configure(&configuration.replace("'live'", "'sockets'"));
    assert_eq!(floodwall.tell(&["reload"]), (true, "the configuration is in force\n".into()));
    assert_eq!(client.ask("echo on")["echo"], "on");
    // A flood of logouts does not hold it up, nor does it the flood.
    assert_eq!(browser.get("/accounts/logout/").unwrap().status(), 200);
    assert_eq!(client.ask("close 1000")["code"], 1000);

    // Its line is written when it has ended, with what went to the client.
    let line = || {
        let log = fs::read_to_string(folder.path().join("access")).unwrap_or_default();
        log.lines().find(|line| line.contains("/ws/news")).map(str::to_owned)
    };
    await_that("the access log tells of it", || line().is_some());
    let told: serde_json::Value = serde_json::from_str(&line().unwrap()).unwrap();
    assert_eq!((&told["verdict"], &told["status"]), (&"tunnelled".into(), &101.into()), "{told}");
    assert!(told["bytes"].as_u64().unwrap() > 10, "{told}");

    // What is open when it is told to stop is given the drain timeout, then cut.
    floodwall.configure(&format!("drain_timeout = '1s'\n{configuration}"));
    assert!(floodwall.tell(&["reload"]).0);
    let (mut client, _) = Program::client(floodwall.address(), "/ws/last", None);
    assert_eq!(client.ask("echo first")["echo"], "first");
    floodwall.signal("-TERM");
    assert_eq!(client.ask("echo last")["echo"], "last");
    assert_eq!(client.ask("end")["code"], 1006);
    let log = folder.path().join("log");
    assert!(floodwall.stop().success());
    let said = fs::read_to_string(log).unwrap();
    assert!(said.contains("\"exchanges_cut\":1"), "{said}");
}
