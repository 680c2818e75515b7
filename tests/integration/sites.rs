//! Several sites in one process: which of them a request reaches, however its host is spelt.

use std::fs;
use std::net::TcpStream;

use crate::raw::Wire;
use crate::support::attack::bounded;
use crate::support::floodwall::Floodwall;
use crate::support::folder::Folder;
use crate::support::recorder::{Recorder, Seen};

/// Two hosts, a path of one of them, and no default.
struct Sites {
    floodwall: Floodwall,
    /// By the name of its site.
    applications: [(&'static str, Recorder); 3],
    _folder: Folder,
}

impl Sites {
    fn start() -> Self {
        let folder = Folder::new("sites");
        let applications = ["shop", "blog", "feeds"].map(|name| (name, Recorder::echo()));
        let [shop, blog, feeds] = applications.each_ref().map(|(_, one)| one.upstream());
        let configuration = format!(
            "listen = '127.0.0.1:0'\nstate = ''\n\
             [[site]]\nname = 'shop'\nhosts = ['shop.example']\nupstream = '{shop}'\n\
             [[site]]\nname = 'blog'\nhosts = ['blog.example', '*.blog.example']\n\
             upstream = '{blog}'\npaths = ['/']\n\
             [[site]]\nname = 'feeds'\nhosts = ['blog.example']\npaths = ['/feeds/']\n\
             upstream = '{feeds}'\n"
        );
        let floodwall = Floodwall::start_by_file(&folder, &configuration);
        Self { floodwall, applications, _folder: folder }
    }

    /// The status of the answer, and the site that gave it.
    fn ask(&self, request: &str) -> (String, Option<&'static str>) {
        let before: Vec<usize> =
            self.applications.iter().map(|(_, one)| one.seen().len()).collect();
        let mut client =
            Wire::tcp(TcpStream::connect(self.floodwall.address()).expect("it listens"));
        client.send(request);
        let status = client.head().split(' ').nth(1).expect("a status").to_owned();
        let mut reached = self.applications.iter().zip(before);
        let site = reached.find(|((_, one), before)| one.seen().len() > *before);
        (status, site.map(|((name, _), _)| *name))
    }
}

#[test]
fn a_site_is_found_by_its_host_then_by_its_path() {
    let sites = Sites::start();
    for (host, path, expected) in [
        ("shop.example", "/", Ok("shop")),
        ("SHOP.Example:8080", "/feeds/", Ok("shop")),
        ("shop.example.", "/", Ok("shop")),
        ("blog.example", "/feed", Ok("blog")),
        ("blog.example", "/feeds/all", Ok("feeds")),
        ("blog.example", "/%66eeds/all", Ok("feeds")),
        ("www.blog.example:80", "/feeds/", Ok("blog")),
        ("a.b.blog.example", "/", Ok("blog")),
        ("blog.example.evil.example", "/", Err("421")),
        ("evilblog.example", "/", Err("421")),
        ("127.0.0.1", "/", Err("421")),
    ] {
        let (status, site) = sites.ask(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let expected = match expected {
            Ok(site) => ("200", Some(site)),
            Err(status) => (status, None),
        };
        assert_eq!((status.as_str(), site), expected, "{host}{path}");
    }
    assert_eq!(sites.ask("GET / HTTP/1.0\r\n\r\n"), ("421".to_owned(), None), "no default");
}

#[test]
fn a_path_that_no_site_of_the_host_has_gets_404_and_a_nameless_request_the_default() {
    let (all, part) = (Recorder::echo(), Recorder::echo());
    let folder = Folder::new("sites");
    let site = |name: &str, more: &str, application: &Recorder| {
        format!("[[site]]\nname = '{name}'\n{more}\nupstream = '{}'\n", application.upstream())
    };
    let part_only = site("part", "hosts = ['a.example']\npaths = ['/app/']", &part);
    for (default, elsewhere, nameless) in [(false, "404", "421"), (true, "200", "200")] {
        let default = if default { site("all", "", &all) } else { String::new() };
        let configuration = format!("listen = '127.0.0.1:0'\nstate = ''\n{part_only}{default}");
        let floodwall = Floodwall::start_by_file(&folder, &configuration);
        let status = |request: &str| {
            let mut client =
                Wire::tcp(TcpStream::connect(floodwall.address()).expect("it listens"));
            client.send(request);
            client.head().split(' ').nth(1).expect("a status").to_owned()
        };
        assert_eq!(status("GET /app/ HTTP/1.1\r\nHost: a.example\r\n\r\n"), "200");
        assert_eq!(status("GET /application HTTP/1.1\r\nHost: a.example\r\n\r\n"), elsewhere);
        assert_eq!(status("GET /app/../x HTTP/1.1\r\nHost: a.example\r\n\r\n"), "200");
        assert_eq!(status("GET / HTTP/1.0\r\n\r\n"), nameless);
    }
    let asked = |one: &Recorder| one.seen().len();
    assert_eq!((asked(&part), asked(&all)), (4, 2));
}

/// However a host is spelt: the application that is reached is the one whose host it is, and gets
/// it as the only one. Otherwise one site's requests would go by another's rules and budgets.
#[test]
fn no_spelling_of_a_host_reaches_another_site() {
    let sites = Sites::start();
    let heads = [
        "GET http://blog.example/ HTTP/1.1\r\nHost: shop.example",
        "GET http://shop.example/feeds/ HTTP/1.1\r\nHost: blog.example",
        "GET http://user@blog.example/ HTTP/1.1\r\nHost: shop.example",
        "GET http://shop.example:80@blog.example/ HTTP/1.1\r\nHost: shop.example",
        "GET http:///x HTTP/1.1\r\nHost: shop.example",
        "GET //blog.example/x HTTP/1.1\r\nHost: shop.example",
        "GET / HTTP/1.1\r\nHost: shop.example\r\nHost: blog.example",
        "GET / HTTP/1.1\r\nHost: shop.example, blog.example",
        "GET / HTTP/1.1\r\nHost: shop.example blog.example",
        "GET / HTTP/1.1\r\nHost: shop.example@blog.example",
        "GET / HTTP/1.1\r\nHost: shop.example:80@blog.example",
        "GET / HTTP/1.1\r\nHost: shop.example:blog.example",
        "GET / HTTP/1.1\r\nHost: shop.example:80:blog.example",
        "GET / HTTP/1.1\r\nHost: shop.example/blog.example",
        "GET / HTTP/1.1\r\nHost: shop.example#blog.example",
        "GET / HTTP/1.1\r\nHost: shop.example?blog.example",
        "GET / HTTP/1.1\r\nHost: shop.example\\blog.example",
        "GET / HTTP/1.1\r\nHost: shop.example..",
        "GET / HTTP/1.1\r\nHost: shop%2eexample",
        "GET / HTTP/1.1\r\nHost: [shop.example]",
        "GET / HTTP/1.1\r\nHost: [::1]shop.example",
        "GET / HTTP/1.1\r\nHost: shop.example:[x].blog.example",
        "GET / HTTP/1.1\r\nHost:",
        "GET / HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-Host: blog.example",
        "GET / HTTP/1.1\r\nHost: blog.example\r\nX-Forwarded-Host: shop.example\r\n\
         Forwarded: host=shop.example\r\nX-Host: shop.example\r\nX-Original-Host: shop.example",
        "GET / HTTP/1.1\r\nHost : shop.example\r\nHost: blog.example",
        "GET / HTTP/1.1\r\nHost: blog.example\r\n Host: shop.example",
        "GET / HTTP/1.1\r\nHost: blog.example\r\nX_Forwarded_Host: shop.example",
        "GET / HTTP/1.1\r\nHost: blog.example\r\nConnection: host",
        "GET / HTTP/1.0\r\nX-Forwarded-Host: shop.example",
    ];
    let mut reached = 0;
    for head in heads {
        let (status, site) = sites.ask(&format!("{head}\r\n\r\n"));
        assert!(["200", "400", "421"].contains(&status.as_str()), "{status} of {head}");
        assert_eq!(site.is_some(), status == "200", "{head}");
        reached += u64::from(site.is_some());
    }
    assert!(reached >= 5, "{reached} are good requests");
    let mut strays = 0;
    for (name, application) in &sites.applications {
        for seen in application.seen() {
            let Seen::Request(request) = seen else { panic!("{seen:?}") };
            let hosts: Vec<&str> = request.values("host").collect();
            let [host] = &*hosts else { panic!("{request:?}") };
            let own = match *name {
                "shop" => "shop.example",
                _ => "blog.example",
            };
            let port = host.strip_prefix(own).map(|rest| rest.strip_prefix(':').unwrap_or(rest));
            let is_own = port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
            let forwarded: Vec<&str> = request.values("x-forwarded-host").collect();
            strays += u64::from(!is_own || forwarded != [*host] || *name == "feeds");
        }
    }
    bounded("30 spellings of a host", "requests that reached another site", 0, strays);
}

/// The folder of the first site's state is gone: what the second remembers is saved all the same.
#[test]
fn a_state_that_cannot_be_saved_costs_no_other_sites() {
    let folder = Folder::new("sites-saved");
    let application = Recorder::echo();
    let states = ["shop", "blog"].map(|name| folder.path().join(name));
    states.iter().for_each(|state| fs::create_dir(state).expect("a folder"));
    let [shop, blog] = states.each_ref().map(|state| state.join("state").display().to_string());
    let configuration = format!(
        "listen = '127.0.0.1:0'\nstate = ''\nupstream = '{}'\n\
         [[site]]\nname = 'shop'\nhosts = ['shop.example']\nstate = '{shop}'\n\
         [[site]]\nname = 'blog'\nstate = '{blog}'\n",
        application.upstream()
    );
    let floodwall = Floodwall::start_by_file(&folder, &configuration);
    fs::remove_dir_all(&states[0]).expect("it goes");
    assert_eq!(floodwall.stop().code(), Some(1));
    let log = fs::read_to_string(folder.path().join("log")).expect("a log");
    assert!(log.contains("\"message\":\"the state is saved\",\"site\":\"blog\""), "{log}");
}
