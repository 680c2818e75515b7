use std::sync::Arc;

use super::*;
use crate::config::{Config, Overrides};
use crate::proxy::clock::Clock;
use crate::proxy::seats::Seats;
use crate::proxy::start;
use crate::proxy::upstream::Upstream;

fn site(name: &str) -> Arc<Site> {
    let config = Config::without_file(Overrides { state: Some(None), ..Overrides::default() });
    let config = config.expect("the defaults are good");
    let clock = Clock::start();
    let shield = start::shield(&config, &config.sites()[0], 1, clock).expect("nothing is read");
    let (shield, settings) = (Arc::new(shield), start::site_settings(&config.sites()[0]));
    let (seats, told) = (Arc::new(Seats::new(1, 1)), start::told(&shield));
    let upstream = Upstream::new(&settings, 1, clock, seats, told, None, None);
    Arc::new(Site::new(name, shield, settings, Arc::new(upstream)))
}

/// Sites by name, hosts and paths.
fn sites(all: &[(&str, &[&str], &[&str])]) -> Sites {
    let made = all.iter().map(|(name, hosts, paths)| {
        let hosts = hosts.iter().map(|host| match host.strip_prefix("*.") {
            Some(host) => Host::Below(host.to_owned()),
            None => Host::Exact((*host).to_owned()),
        });
        let paths = paths.iter().map(|path| (*path).to_owned());
        (Place { hosts: hosts.collect(), paths: paths.collect() }, site(name))
    });
    Sites::new(made.collect())
}

#[track_caller]
fn found(sites: &Sites, host: &str, path: &str) -> String {
    match sites.find((!host.is_empty()).then_some(host.as_bytes()), path) {
        Ok(site) => site.name.clone(),
        Err(lost) => format!("{lost:?}"),
    }
}

#[test]
fn the_closest_host_then_the_longest_path_decides() {
    let sites = sites(&[
        ("rest", &[], &[]),
        ("shop", &["shop.example.org"], &[]),
        ("cart", &["shop.example.org"], &["/cart/"]),
        ("deep", &["shop.example.org"], &["/cart/deep"]),
        ("below", &["*.example.org"], &[]),
        ("lower", &["*.a.example.org"], &[]),
        ("six", &["[::1]"], &[]),
    ]);
    for (host, path, name) in [
        ("shop.example.org", "/", "shop"),
        ("SHOP.Example.org.:8080", "/x", "shop"),
        ("shop.example.org", "/cart/add", "cart"),
        ("shop.example.org", "/%63art/add", "cart"),
        ("shop.example.org", "/cart", "shop"),
        ("shop.example.org", "/cart/deep", "deep"),
        ("shop.example.org", "/cart/deep/er", "deep"),
        ("shop.example.org", "/cart/deeper", "cart"),
        ("www.example.org", "/", "below"),
        ("x.y.example.org", "/", "below"),
        ("x.a.example.org", "/", "lower"),
        ("a.example.org", "/", "below"),
        ("example.org", "/", "rest"),
        ("[::1]:80", "/", "six"),
        ("", "/", "rest"),
        ("evil.example", "/", "rest"),
    ] {
        assert_eq!(found(&sites, host, path), name, "{host}{path}");
    }
}

#[test]
fn without_a_site_for_the_rest_others_are_refused() {
    let sites = sites(&[("shop", &["shop.example.org"], &["/shop/"])]);
    assert_eq!(found(&sites, "shop.example.org", "/shop/"), "shop");
    assert_eq!(found(&sites, "shop.example.org", "/"), "Path");
    assert_eq!(found(&sites, "evil.example", "/shop/"), "Host");
    assert_eq!(found(&sites, "", "/shop/"), "Host");
}

#[test]
fn a_site_with_more_paths_than_its_own_goes_on_to_the_next_that_matches() {
    let sites = sites(&[
        ("cart", &["shop.example.org"], &["/cart/"]),
        ("below", &["*.example.org"], &["/static/"]),
        ("rest", &[], &[]),
    ]);
    assert_eq!(found(&sites, "shop.example.org", "/static/x"), "below");
    assert_eq!(found(&sites, "shop.example.org", "/other"), "rest");
}

/// Sixty kilobytes of labels made a core look up nearly a gigabyte, for one request.
#[test]
fn a_host_of_many_labels_costs_no_more_than_a_name_can() {
    let host = "a.".repeat(30_000) + "example.org";
    let looked_up: usize = names_above(&host).map(str::len).sum();
    assert!((1..=LONGEST_NAME * LONGEST_NAME).contains(&looked_up), "{looked_up} bytes");
    let sites = sites(&[("below", &["*.example.org"], &[])]);
    assert_eq!(found(&sites, &host, "/"), "below");
}
