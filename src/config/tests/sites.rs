//! `[[site]]`: what is inherited, what is a site's own, and what cannot be.

use super::*;
use crate::guard::policy::Policy;

const TWO: &str = r#"
upstream = "http://app:1"
state = "/var/s"
[session]
lifetime = "7d"
[budget.shop]
client = { rate = "1/min", burst = 1 }
site = { rate = "1/min", burst = 1 }
[[rule]]
name = "cart"
path = "/cart/"
budget = "shop"
[[site]]
name = "shop"
hosts = ["Shop.example.org.", "*.shop.example.org"]
paths = "/shop/"
upstream = "http://app:2"
session = { cookie = "shop" }
profile = "django-1.4"
[site.budget.shop]
client = { burst = 2 }
site = { burst = 2 }
[[site.rule]]
name = "checkout"
path = "/checkout/"
[[site.rule]]
name = "logout"
path = "/bye/"
action = "recycle"
[[site]]
name = "rest"
state = "/var/other"
"#;

#[test]
fn a_site_inherits_what_it_does_not_say() {
    let config = good(TWO);
    let [shop, rest] = config.sites() else { panic!("{:?}", config.sites().len()) };
    assert_eq!((shop.name(), rest.name()), ("shop", "rest"));
    let hosts: Vec<String> = shop.hosts().iter().map(ToString::to_string).collect();
    assert_eq!(hosts, ["shop.example.org", "*.shop.example.org"]);
    assert_eq!((shop.paths(), rest.paths().len()), (&["/shop/".to_owned()][..], 0));
    assert_eq!(shop.servers()[0].to_string(), "http://app:2");
    assert_eq!(rest.servers()[0].to_string(), "http://app:1");
    assert_eq!(shop.state(), Some(Path::new("/var/s-shop")));
    assert_eq!(rest.state(), Some(Path::new("/var/other")));
    let (own, other) = (shop.policy(), rest.policy());
    assert_eq!((&*own.session.cookie, &*other.session.cookie), ("shop", "sessionid"));
    assert_eq!(own.session.lifetime, other.session.lifetime);
    assert_eq!(own.session.key_shape, KeyShape::Hex32);
    let names = |policy: &Policy| -> Vec<String> {
        policy.rules.iter().map(|rule| rule.name.clone()).collect()
    };
    let common = ["login", "admin-post", "admin", "setlang"];
    assert_eq!(names(own), [&["checkout", "logout", "cart"][..], &common].concat());
    assert_eq!(names(other), [&["cart", "logout"][..], &common].concat());
    let burst = |policy: &Policy| policy.budgets[policy.rules[0].budget].client.burst().get();
    assert_eq!(burst(other), 1);
    assert_eq!(own.budgets[own.rules[2].budget].client.burst().get(), 2);
}

#[test]
fn flags_hold_for_every_site() {
    let overrides = Overrides { state: Some(None), ..Overrides::default() };
    let config = Config::parse("f.toml", TWO.as_bytes(), overrides).unwrap();
    assert!(config.sites().iter().all(|site| site.state().is_none()));
}

#[test]
fn what_sites_cannot_be() {
    for (text, told) in [
        ("[[site]]\nhosts = ['a']", "no `name`"),
        ("[[site]]\nname = 'a b'", "not a name"),
        ("[[site]]\nname = 'a'\n[[site]]\nname = 'a'\nhosts = 'b'", "two sites are named"),
        ("[[site]]\nname = 'a'\n[[site]]\nname = 'b'", "has these hosts and paths already"),
        ("[[site]]\nname = 'a'\nhosts = ['x', 'X.']", "named twice"),
        ("[[site]]\nname = 'a'\nhosts = '*'", "leave `hosts` out"),
        ("[[site]]\nname = 'a'\nhosts = 'http://x'", "not a host"),
        ("[[site]]\nname = 'a'\nhosts = 'x:80'", "not a host"),
        ("[[site]]\nname = 'a'\nhosts = 'bücher.example'", "xn--"),
        ("[[site]]\nname = 'a'\npaths = 'shop'", "not what a decoded path begins with"),
        ("[[site]]\nname = 'a'\nlisten = '1.1.1.1:1'", "unknown key"),
        ("[[site]]\nname = 'a'\nupstream = 'http://127.0.0.1:8080'", "itself listens"),
        (
            "[[site]]\nname = 'a'\nstate='s'\n[[site]]\nname='b'\nhosts='x'\nstate='s'",
            "two sites have",
        ),
        ("[site]\nname = 'a'", "[[site]]"),
        ("site = []", "no site at all"),
        (
            "[[site]]\nname='a'\n[site.budget.x]\nclient={rate='1/s',burst=1}\nsite={rate='1/s',burst=1}",
            "no rule has the budget",
        ),
    ] {
        let mistakes = bad(text).to_string();
        assert!(mistakes.contains(told), "{text}: {mistakes}");
    }
}
