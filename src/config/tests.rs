mod mistakes;
mod sites;

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;
use toml::de::{DeTable, DeValue};

use super::read::read;
use super::*;
use crate::guard::policy::{Budget, Challenge, KeyShape, Mode, Quota};
use crate::guard::route::{Action, Answer, Effect, PathPattern, Rule, StandingWord};

const REFERENCE: &str = include_str!("../../config/floodwall.toml");
const DJANGO: &str = include_str!("../../config/django.toml");

fn parse(text: &str) -> Result<Config, Mistakes> {
    Config::parse("f.toml", text.as_bytes(), Overrides::default())
}

#[track_caller]
fn good(text: &str) -> Config {
    parse(text).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

#[track_caller]
fn bad(text: &str) -> Mistakes {
    match parse(text) {
        Ok(_) => panic!("accepted {text:?}"),
        Err(mistakes) => mistakes,
    }
}

/// A configuration as text that shows every field, for comparisons.
fn shown(config: &Config) -> String {
    format!("{config:#?}")
}

/// The reference with its examples uncommented: from each `# [[rule]]` or `# [[network]]` to the
/// next line that is blank but for its `#`, or is no comment.
fn uncommented() -> String {
    let mut text = String::new();
    let mut inside = false;
    for line in REFERENCE.lines() {
        inside = line.starts_with("# [[") || (inside && line.len() > 1 && line.starts_with('#'));
        text.push_str(if inside { line.trim_start_matches('#') } else { line });
        text.push('\n');
    }
    text
}

#[test]
fn the_summary_says_where_the_refusal_sample_goes() {
    let said = |keys: &str| {
        let text = format!("[refusal_sample]\n{keys}");
        good(&text).summary().to_string()
    };
    let into = said("file = '/var/log/floodwall/refused.log'\n");
    let line = "  refused   at most 10 lines a second into /var/log/floodwall/refused.log\n";
    assert!(into.contains(line), "{into}");
    assert!(said("per_second = 0\n").contains("  refused   no sample is written\n"));
    assert!(!said("").contains("  refused"));
}

/// Every key of a table and of the tables below it, as `table.key`; of lists, the members' keys.
fn keys(table: &DeTable<'_>, prefix: &str, into: &mut BTreeSet<String>) {
    for (key, value) in table {
        let full = format!("{prefix}{}", key.get_ref());
        match value.get_ref() {
            DeValue::Table(table) => keys(table, &format!("{full}."), into),
            DeValue::Array(list) => {
                let tables = list.iter().filter_map(|member| member.get_ref().as_table());
                tables.for_each(|table| keys(table, &format!("{full}."), into));
            }
            _ => {}
        }
        into.insert(full);
    }
}

#[test]
fn an_empty_file_and_the_reference_say_the_defaults() {
    assert_eq!(shown(&good("")), shown(&Config::default()));
    assert_eq!(shown(&good(REFERENCE)), shown(&Config::default()));
    assert_eq!(shown(&good(&format!("\u{feff}{REFERENCE}"))), shown(&Config::default()));
    assert_eq!(shown(&good(&REFERENCE.replace('\n', "\r\n"))), shown(&Config::default()));
}

#[test]
fn the_reference_names_every_key_and_no_other() {
    let text = uncommented();
    let (_, _, faults) = read(text.as_bytes(), Overrides::default());
    let table = DeTable::parse(&text).unwrap();
    let mut written = BTreeSet::new();
    keys(table.get_ref(), "", &mut written);
    // Names, not keys.
    for name in ["budget.anonymous", "budget.login", "budget.admin", "budget.logout"] {
        assert!(written.remove(name), "{name} is not in the reference");
    }
    let mut known = faults.known_keys();
    // Stands at one of the budgets; for the others the site's default holds.
    for name in ["anonymous", "admin", "logout"] {
        assert!(known.remove(&format!("budget.{name}.challenge")));
    }
    // What a site inherits need not stand there again.
    let top = known.clone();
    known.retain(|key| {
        let inherited = key.strip_prefix("site.").is_some_and(|key| top.contains(key));
        !inherited || written.contains(key)
    });
    assert_eq!(written, known);
}

#[test]
fn the_examples_of_the_reference_are_good_rules() {
    let config = good(&uncommented());
    let rule =
        |name: &str| config.sites[0].policy.rules.iter().find(|rule| rule.name == name).unwrap();
    let names: Vec<_> =
        config.sites[0].policy.rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "cart",
            "goodbye",
            "no-logout",
            "api",
            "logout",
            "login",
            "admin-post",
            "admin",
            "setlang"
        ]
    );
    assert_eq!(rule("cart").paths, [PathPattern::Exact("/cart/add/".into())]);
    assert_eq!(rule("cart").methods, ["GET", "POST"]);
    assert_eq!(rule("cart").standings, [StandingWord::None, StandingWord::Unknown]);
    assert_eq!(rule("cart").mode, Some(Mode::Observe));
    assert_eq!(rule("cart").challenge, Some(Challenge::Cookie));
    let [network] = &config.sites[0].policy.client.networks[..] else { panic!("one network") };
    assert_eq!(config.sites[0].policy.budgets[network.budget].name, "admin");
    assert_eq!(rule("goodbye").action, Action::Recycle);
    assert_eq!(rule("goodbye").effect, Effect::Flush);
    assert_eq!(rule("goodbye").query, ["next"]);
    let home = Answer { status: 302, location: Some("/".into()) };
    assert_eq!(rule("no-logout").action, Action::Answer(home));
    assert_eq!(rule("api").action, Action::Forward);
}

/// What the reference calls "the default" in an example changes nothing when it is left out.
#[test]
fn the_defaults_that_the_examples_state_are_the_defaults() {
    let full = uncommented();
    for default in [
        "action = \"gate\"",
        "budget = \"anonymous\"",
        "query = [\"next\"]",
        "answer = { status = 302, location = \"/\" }",
        "effect = \"write\"",
    ] {
        let without: String = full
            .lines()
            .filter(|l| !l.trim().starts_with(default))
            .map(|l| format!("{l}\n"))
            .collect();
        assert!(without.len() < full.len(), "{default} is not in the reference");
        assert_eq!(shown(&good(&without)), shown(&good(&full)), "{default}");
    }
}

/// A proxy in front that sends a request on a connection that is just being closed answers a POST
/// with 502: nginx and load balancers keep theirs for a minute, and are to close them first.
#[test]
fn idle_connections_are_kept_for_longer_than_proxies_in_front_keep_them() {
    let limits = Config::default().downstream_limits;
    assert!(limits.idle_timeout > Duration::from_secs(60) + limits.header_timeout);
}

#[test]
fn the_short_start_is_short_and_good() {
    good(DJANGO);
    let lines = DJANGO.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    assert!(lines.count() <= 10);
}

/// Each key of the reference, with another value than its default.
pub(crate) const OTHERS: &[(&str, &str)] = &[
    ("control", "\"/run/floodwall.control\""),
    ("listen", "[\"0.0.0.0:80\", \"[::]:80\", \"unix:/run/floodwall/http.sock\"]"),
    ("unix_mode", "\"0666\""),
    ("upstream", "\"unix:/run/site/app.sock\""),
    ("upstream_client", "\"hyper\""),
    ("state", "\"\""),
    ("mode", "\"observe\""),
    ("profile", "\"django-1.4\""),
    ("profile_rules", "false"),
    ("trusted_proxies", "\"10.0.0.0/8\""),
    ("proxy_protocol.accept", "\"required\"\nlisten = \"unix:/s\""),
    ("upstream_proxy_protocol.send", "\"v1\""),
    ("proxy_protocol.from", "\"10.0.0.5\""),
    ("exempt", "[\"10.0.0.0/8\", \"::1\"]"),
    ("challenge", "\"cookie\""),
    ("challenge_cookie.name", "\"fw\""),
    ("challenge_cookie.max_age", "\"30d\""),
    ("challenge_cookie.budget.burst", "11"),
    ("challenge_cookie.budget.rate", "\"11/min\""),
    ("challenge_cookie.ceiling", "1000"),
    ("cores", "2"),
    ("drain_timeout", "\"0s\""),
    ("session.cookie", "\"sid\""),
    ("session.lifetime", "\"400d\""),
    ("session.unknown", "\"drop\""),
    ("session.after_logout", "\"relay\""),
    ("session.cookie_path", "\"/app\""),
    ("session.cookie_domain", "\".example.org\""),
    ("session.cookie_secure", "true"),
    ("session.capacity", "0x0003e8"),
    ("session.in_flight_per_key", "1"),
    ("session.in_flight_anonymous", "1"),
    ("session.key_wait", "\"30s\""),
    ("recycle.spares", "1024"),
    ("recycle.slot_wait", "\"0s\""),
    ("recycle.spacing", "0"),
    ("recycle.gate_for", "\"1h\""),
    ("learned.capacity", "256"),
    ("learned.clean_answers", "255"),
    ("learned.quiet", "\"1d\""),
    ("learned.passes", "0"),
    ("client.ipv4_prefix", "24"),
    ("client.ipv6_prefix", "56"),
    ("client.ipv6_tiers", "[{ prefix = 63, factor = 65_536 }]"),
    ("client.capacity", "100_000_000"),
    ("budget.anonymous.client.rate", "\"1/d\""),
    ("budget.anonymous.client.burst", "61"),
    ("budget.login.site.rate", "\"6/s\""),
    ("budget.admin.site.burst", "30"),
    ("budget.login.challenge", "\"none\""),
    ("upstream_limits.connect_timeout", "\"10ms\""),
    ("upstream_limits.response_timeout", "\"1h\""),
    ("upstream_limits.idle_timeout", "\"100ms\""),
    ("upstream_limits.idle_connections", "0"),
    ("upstream_limits.connections", "1"),
    ("upstream_limits.queue", "0"),
    ("upstream_limits.queue_timeout", "\"10ms\""),
    ("balance.method", "\"least-connections\""),
    ("balance.slow_start", "\"0s\""),
    ("balance.eject_after", "0"),
    ("balance.eject_for", "\"1h\""),
    ("health.path", "\"/healthz/?full\""),
    ("health.host", "\"www.example.org\""),
    ("health.interval", "\"100ms\""),
    ("health.timeout", "\"10ms\""),
    ("health.healthy", "1"),
    ("health.unhealthy", "100"),
    ("downstream_limits.header_timeout", "\"5m\""),
    ("downstream_limits.idle_timeout", "\"1h\""),
    ("downstream_limits.body_timeout", "\"100ms\""),
    ("downstream_limits.send_timeout", "\"1h\""),
    ("downstream_limits.body_rate", "0"),
    ("downstream_limits.refusal_pause", "\"1s\""),
    ("downstream_limits.target_bytes", "\"60KiB\""),
    ("downstream_limits.body_bytes", "\"1024GiB\""),
    ("downstream_limits.connections", "1_000_000"),
    ("downstream_limits.connections_per_client", "16"),
    ("http2.enabled", "false"),
    ("http2.streams", "1024"),
    ("http2.header_list_bytes", "'1MiB'"),
    ("http2.resets", "16"),
    ("downstream_limits.head_bytes", "8192"),
    ("downstream_limits.headers", "16"),
    ("upstream_tls.ca", "'ca.pem'"),
    ("upstream_tls.server_name", "'app'"),
    ("upstream_tls.verify", "false"),
    ("upstream_tls.certificate", "'c'\nupstream_tls.key = 'k'"),
    ("upstream_tls.key", "'k'\nupstream_tls.certificate = 'c'"),
    ("tls.listen", "'0.0.0.0:443'\ntls.certificates = [{ certificate = 'c', key = 'k' }]"),
    (
        "tls.redirect",
        "'0.0.0.0:80'\ntls.listen = '0.0.0.0:443'\ntls.certificates = [{ certificate = 'c', key = 'k' }]",
    ),
    ("tls.redirect_port", "443"),
    ("tls.certificates", "[{ certificate = 'c', key = 'k' }]"),
    ("tls.min_version", "\"1.3\""),
    ("upgrades.protocols", "[\"*\"]"),
    ("upgrades.idle_timeout", "\"1d\""),
    ("upgrades.tunnels", "1"),
    ("upgrades.tunnels_per_client", "1_000_000"),
    ("alerts.webhook", "\"https://hooks.example.org/a?b\""),
    ("alerts.webhook_secret_file", "'/etc/floodwall/secret'\nalerts.webhook = 'http://a/'"),
    ("alerts.webhook_ca", "'/etc/floodwall/ca.pem'\nalerts.webhook = 'https://a/'"),
    ("alerts.syslog", "\"udp://[::1]\""),
    ("alerts.journald", "\"/run/systemd/journal/socket\""),
    ("alerts.queue", "1"),
    ("alerts.timeout", "\"1m\""),
    ("alerts.retry_for", "\"0s\""),
    ("refusal_sample.per_client", "\"1d\""),
    ("refusal_sample.per_second", "0"),
    ("refusal_sample.file", "\"/var/log/floodwall/refused.log\""),
    ("refusal_sample.challenged", "true"),
    ("access_log.format", "\"json\"\naccess_log.file = \"-\""),
    ("access_log.file", "\"-\"\naccess_log.format = \"off\""),
    ("admin.listen", "[\"127.0.0.1:9180\", \"unix:/run/floodwall/admin.sock\"]"),
    ("admin.token_file", "\"/etc/floodwall/admin.token\""),
    ("history.file", "\"/var/lib/floodwall/history\""),
    ("history.keep", "\"365d\""),
    ("log.format", "\"json\""),
    ("log.level", "\"debug\""),
    ("log.flood_interval", "\"1d\""),
    ("log.flood_quiet", "\"1s\""),
    ("log.flood_events", "1"),
];

#[test]
fn every_key_has_an_effect() {
    for (key, value) in OTHERS.iter().copied().chain([("save.interval", "\"1h\"")]) {
        let config = good(&format!("{key} = {value}"));
        assert!(shown(&config) != shown(&Config::default()), "{key} changes nothing");
    }
    let tested: BTreeSet<&str> =
        OTHERS.iter().map(|&(key, _)| key).chain(["save.interval"]).collect();
    let (_, _, faults) = read(b"", Overrides::default());
    for key in faults.known_keys() {
        let table =
            ["session", "recycle", "client", "learned", "budget", "upstream_limits"].into_iter();
        let more = [
            "challenge_cookie",
            "challenge_cookie.budget",
            "proxy_protocol",
            "upstream_proxy_protocol",
            "downstream_limits",
            "upgrades",
            "http2",
            "log",
            "tls",
            "upstream_tls",
            "access_log",
            "alerts",
            "refusal_sample",
            "admin",
            "history",
            "save",
            "balance",
            "health",
            "rule",
            "network",
            "site",
        ];
        let mut table = table.chain(more);
        assert!(tested.contains(&*key) || table.any(|table| table == key), "{key} is untested");
    }
}

#[test]
fn values_are_read_as_they_are_written() {
    let config = good(
        "upstream = 'http://[::1]/'\nlisten = '[::1]:0'\ncores = 3\n\
         trusted_proxies = ['::ffff:10.1.2.3', '::ffff:10.0.0.0/104', '2001:db8::/32']\n\
         session.key_wait = '250ms'\nprofile = 'django-1.4'\n\
         [budget.cart]\nclient = { rate = '7/min', burst = 1 }\nsite = { rate = '1/h', burst = 9 }\n\
         [[rule]]\nname = 'x'\nglob = '/{a,b}/**'\nbudget = 'cart'\neffect = 'rotate'",
    );
    assert_eq!(config.sites()[0].servers()[0].to_string(), "http://[::1]:80");
    assert_eq!(config.listen(), ["[::1]:0".parse().unwrap()]);
    assert_eq!(config.cores(), NonZeroUsize::new(3));
    let trusted: Vec<_> = config.trusted_proxies().iter().map(ToString::to_string).collect();
    assert_eq!(trusted, ["10.1.2.3/32", "10.0.0.0/8", "2001:db8::/32"]);
    assert_eq!(config.sites()[0].policy().session.key_wait, Duration::from_millis(250));
    assert_eq!(config.sites()[0].policy().session.key_shape, KeyShape::Hex32);
    let cart = &config.sites()[0].policy().budgets[4];
    assert_eq!(cart.name, "cart");
    // Rounded up: 60 s / 7 = 8.571428571428… s, and never more is granted than is written.
    assert_eq!(cart.client.period(), Duration::from_nanos(8_571_428_572));
    let one = NonZeroU32::new(9).unwrap();
    assert_eq!(Some(cart.site), Quota::new(one, Duration::from_secs(3_600)));
    assert_eq!(config.sites()[0].policy().rules[0].budget, 4);
    assert_eq!(config.sites()[0].policy().rules[0].effect, Effect::Rotate);
}

#[test]
fn an_operators_rule_replaces_the_profiles_of_that_name() {
    let config = good("[[rule]]\nname = 'logout'\npath = '/bye'\naction = 'answer'");
    let named: Vec<&Rule> =
        config.sites[0].policy.rules.iter().filter(|r| r.name == "logout").collect();
    assert_eq!(named.len(), 1);
    assert_eq!(named[0].paths, [PathPattern::Exact("/bye".into())]);
    assert_eq!(config.sites[0].policy.rules.len(), 5);
    assert!(good("profile_rules = false").sites[0].policy.rules.is_empty());
}

#[test]
fn the_profile_tells_logouts_and_logins_from_admin_pages() {
    let config = Config::default();
    let rules = &config.sites[0].policy.rules;
    let first = |method: &str, path: &str| {
        let last = path.trim_end_matches('/').rsplit('/').next().unwrap();
        let hits = |pattern: &PathPattern| match pattern {
            PathPattern::LastSegment(names) => names.iter().any(|name| name == last),
            PathPattern::Prefix(prefix) => path.starts_with(prefix),
            PathPattern::Exact(_) | PathPattern::Glob(_) => unreachable!(),
        };
        let takes =
            |rule: &&Rule| rule.methods.is_empty() || rule.methods.contains(&method.to_owned());
        let rule = rules.iter().filter(takes).find(|rule| rule.paths.iter().any(hits)).unwrap();
        let budget = config.sites[0].policy.budgets[rule.budget].name.as_str();
        (rule.name.as_str(), rule.action.word(), rule.effect, budget)
    };
    assert_eq!(first("GET", "/admin/logout/"), ("logout", "recycle", Effect::Flush, "logout"));
    assert_eq!(first("GET", "/accounts/sign-out"), ("logout", "recycle", Effect::Flush, "logout"));
    assert_eq!(first("GET", "/admin/login/"), ("login", "gate", Effect::Rotate, "login"));
    // A page that is only read waits for no other; one of 1.4 takes the login form.
    assert_eq!(first("GET", "/admin/auth/user/"), ("admin", "gate", Effect::Write, "admin"));
    assert_eq!(first("POST", "/admin/"), ("admin-post", "gate", Effect::Rotate, "admin"));
    assert_eq!(first("GET", "/i18n/setlang/"), ("setlang", "gate", Effect::Write, "anonymous"));
    assert_eq!(rules[0].query, ["next"]);
    assert_eq!(config.sites[0].policy.budgets[Budget::ANONYMOUS].name, "anonymous");
}

#[test]
fn flags_win_over_the_file() {
    let overrides = || Overrides {
        listen: vec!["127.0.0.1:1".parse().unwrap(), "127.0.0.1:1".parse().unwrap()],
        upstream: Some("http://app:2".parse().unwrap()),
        state: Some(None),
    };
    // The file alone would forward to itself.
    let file = b"listen = '0.0.0.0:8000'\nstate = 'x'";
    let config = Config::parse("f.toml", file, overrides()).unwrap();
    assert_eq!(config.listen(), ["127.0.0.1:1".parse().unwrap()]);
    assert_eq!(config.sites()[0].servers()[0].to_string(), "http://app:2");
    assert_eq!(config.sites()[0].state(), None);
    assert!(Config::parse("f.toml", file, Overrides::default()).is_err());
    let circle = Overrides { upstream: Some("http://localhost:1".parse().unwrap()), ..overrides() };
    assert!(matches!(Config::without_file(circle), Err(Error::Circle { .. })));
    let state = Config::without_file(Overrides::default()).unwrap();
    assert_eq!(state.sites()[0].state(), Some(Path::new("floodwall.state")));
}

#[test]
fn what_is_not_utf8_is_told_with_its_place() {
    let bytes = b"mode = 'observe'\nstate = '\xff\xfe'\n[log]\nlevel = 'loud'";
    let mistakes = Config::parse("f.toml", bytes, Overrides::default()).unwrap_err();
    assert_eq!(mistakes.places(), [(2, 10), (2, 11), (4, 9)]);
    assert!(mistakes.to_string().contains("not UTF-8: the byte 0xff"));
}

#[test]
fn the_nearest_word_is_near() {
    let all = ["login", "logout", "anonymous"];
    assert_eq!(nearest("Log-in", all), Some("login"));
    assert_eq!(nearest("logot", all), Some("logout"));
    assert_eq!(nearest("anon", all), None);
    assert_eq!(nearest(&"x".repeat(1 << 20), all), None);
}

#[test]
fn hostile_files_are_refused_and_nothing_else() {
    let deep = |open: &str, n: usize| open.repeat(n);
    let rule = "[[rule]]\nname = 'y'\nglob = ";
    for text in [
        format!("a = {}", deep("[", 200_000)),
        format!("a = {}", deep("{a=", 200_000)),
        format!("{}a = 1", deep("a.", 200_000)),
        format!("[{}a]\nb = 1", deep("a.", 200_000)),
        deep("[[rule]]\n", 100_000),
        deep("=", 500_000),
        format!("listen = '{}'", deep("\u{202e}", 100_000)),
        deep("\0", 100_000),
        "\u{feff}\u{feff}".to_owned(),
        format!("[session]\nlifetime = '{}d'", deep("9", 500_000)),
        format!("{rule}'/{}'", deep("{", 100_000)),
    ] {
        let said = bad(&text).to_string();
        assert!(said.chars().all(|c| c == '\n' || !c.is_control()));
        assert!(said.len() < 100_000);
    }
}

/// Bytes that are likely to mean something.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        prop::sample::select(vec![
            "[[rule]]\n",
            "[session]\n",
            "name = 'x'\n",
            "\"",
            "'''",
            "{",
            "}",
            "[",
            "]",
            "=",
            ".",
            "\n",
            "\r",
            "\0",
            "é",
            "\u{202e}",
            "\t",
            "lifetime",
            "9999999999999999999999",
            "-",
            "glob = ['/**', \n",
            "budget.x.client = {",
            "answer = {",
            "listen = ",
            "1e999",
            "#",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ]
}

/// Whatever the bytes are: an answer, no panic, and nothing in it that a terminal would obey.
fn hold(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Err(mistakes) = Config::parse("f.toml", bytes, Overrides::default()) {
        let said = mistakes.to_string();
        prop_assert!(mistakes.count() > 0);
        prop_assert!(mistakes.places().is_sorted());
        prop_assert!(said.chars().all(|c| c == '\n' || !c.is_control()), "{said:?}");
    }
    Ok(())
}

proptest! {
    #[test]
    fn random_files_never_panic(parts in prop::collection::vec(fragment(), 0..30)) {
        hold(&parts.concat())?;
    }

    #[test]
    fn a_damaged_reference_never_panics(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..30_usize, fragment()), 1..6)
    ) {
        let mut bytes = uncommented().into_bytes();
        for (at, length, insert) in cuts {
            let at = at.index(bytes.len());
            let end = (at + length).min(bytes.len() - 1).max(at);
            bytes.splice(at..end, insert);
        }
        hold(&bytes)?;
    }

    #[test]
    fn what_is_written_is_read_back(millis in 0..86_400_000_000_u64) {
        let duration = Duration::from_millis(millis);
        prop_assert_eq!(quantity::duration(&Written(duration).to_string()), Ok(duration));
    }

    /// A rate grants `n` in its unit, and not one more.
    #[test]
    fn a_rate_never_grants_more_than_is_written(n in 1..1_000_000_u32) {
        let period = quantity::rate(&format!("{n}/s")).unwrap();
        prop_assert!(period * n >= Duration::from_secs(1));
        prop_assert!((period - Duration::from_nanos(1)) * n < Duration::from_secs(1));
    }
}
