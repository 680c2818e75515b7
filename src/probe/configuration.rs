//! The TOML that fits a site, as far as a probe has seen it.
//!
//! What is written is read back by the configuration's own parser; what of the site's own does not
//! pass it is left out.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use super::conclude::{Character, Conclusion, is_hex};
use super::plan::{Logout, Plan};
use super::seen::{Part, Told};
use crate::config::{Config, Overrides, Profile, Upstream, Written};
use crate::guard::path::decode;
use crate::guard::policy::Policy;
use crate::guard::route::{Action, Effect, Rule, StandingWord};

/// The bounds of `session.lifetime`.
const LIFETIME: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(400 * 86_400);

/// A configuration for the site behind `upstream`, whose certificate `ca` has signed.
pub fn written(
    plan: &Plan<'_>,
    conclusion: &Conclusion,
    upstream: &Upstream,
    ca: Option<&Path>,
) -> String {
    let base = base(upstream, ca);
    let whole = format!("{base}{}{}", of_site(plan, conclusion), rules(plan, conclusion));
    match Config::parse("probe", whole.as_bytes(), Overrides::default()) {
        Ok(_) => whole,
        Err(_) => base,
    }
}

fn base(upstream: &Upstream, ca: Option<&Path>) -> String {
    // Floodwall cannot listen where its application does.
    let taken = match upstream {
        Upstream::Tcp(authority) | Upstream::Tls(authority) => authority.port() == 8080,
        Upstream::Unix(_) => false,
    };
    let port = if taken { 8081 } else { 8080 };
    let mut text = format!(
        "# Written by `floodwall probe`; config/floodwall.toml has every key with its default.\n\
         listen = \"0.0.0.0:{port}\"\n\
         upstream = {}  # better the application itself: nothing else may reach it\n\
         state = \"/var/lib/floodwall/floodwall.state\"\n\
         challenge = \"cookie\"  # browsers pass where a flooder has used up the budget\n\
         trusted_proxies = []  # the load balancer in front, if there is one: [\"10.0.0.5\"]\n",
        quoted(&upstream.to_string())
    );
    if let Some(ca) = ca.and_then(Path::to_str).filter(|ca| is_plain(ca)) {
        text = format!("{text}upstream_tls = {{ ca = {} }}\n", quoted(ca));
    }
    text
}

/// The session cookie as the site sets it.
fn of_site(plan: &Plan<'_>, conclusion: &Conclusion) -> String {
    let sight = plan.sight;
    let profile = match sight.first_key() {
        Some(key) if is_hex(&key) => Profile::Django14,
        _ => Profile::Django,
    };
    let mut text = format!("profile = {}\n\n[session]\n", quoted(profile.word()));
    let mut line = |key: &str, value: &str, says: &str| {
        let _ = writeln!(text, "{key} = {value}{says}");
    };
    let seen = if sight.sure_of_cookie() { "" } else { "  # not seen: SESSION_COOKIE_NAME" };
    line("cookie", &quoted(sight.cookie()), seen);
    let dressed = sight.dress();
    match dressed.as_ref().and_then(|(_, age)| *age).filter(|age| LIFETIME.contains(age)) {
        Some(age) => line("lifetime", &quoted(&Written(age).to_string()), ""),
        None => line("lifetime", "\"14d\"", "  # not seen: SESSION_COOKIE_AGE"),
    }
    if let Some((dress, _)) = dressed {
        if is_plain(&dress.path) {
            line("cookie_path", &quoted(&dress.path), "");
        }
        if let Some(domain) = dress.domain.filter(|domain| is_plain(domain)) {
            line("cookie_domain", &quoted(&domain), "");
        }
        if dress.secure {
            line("cookie_secure", "true", "");
        }
    }
    let after = |(_, character): &(Logout, Character)| *character == Character::WritesAfter;
    if conclusion.logouts.iter().any(after) {
        line("after_logout", "\"relay\"", "  # the site writes to the session after a logout");
    }
    text
}

/// Rules for what those of the profile do not cover, or cover otherwise.
fn rules(plan: &Plan<'_>, conclusion: &Conclusion) -> String {
    let standard = Config::default();
    let policy = standard.sites()[0].policy();
    let mut text = String::new();
    let mut number = 0;
    let mut rule = |why: &str, path: &str, keys: &str| {
        number += 1;
        let _ = write!(text, "\n[[rule]]  # {why}\nname = \"probe-{number}\"\n{path}\n{keys}");
    };
    for (logout, character) in &conclusion.logouts {
        let path = format!("path = {}", quoted(&String::from_utf8_lossy(&decode(&logout.path))));
        let covering = covering(policy, &logout.path);
        match character {
            Character::Creates { .. } | Character::Patched
                if covering.is_none_or(|rule| rule.action != Action::Recycle) =>
            {
                let keys = "action = \"recycle\"\nbudget = \"logout\"\n";
                rule("a logout that its name does not tell", &path, keys);
            }
            Character::WritesAfter => {
                let keys = "action = \"gate\"\neffect = \"flush\"\nbudget = \"logout\"\n";
                rule("it writes to the session after the logout: no spares", &path, keys);
            }
            Character::Writes if covering.is_some() => {
                rule("no logout, whatever its name says", &path, "action = \"gate\"\n");
            }
            Character::Creates { .. }
            | Character::Patched
            | Character::Writes
            | Character::Unclear(_) => {}
        }
    }
    let mut told = Vec::new();
    for exchange in plan.sight.exchanges() {
        let (path, part) = (&exchange.question.path, exchange.question.part);
        if !exchange.good() || told.contains(&path) {
            continue;
        }
        let login = covering(policy, path).is_some_and(|rule| rule.effect == Effect::Rotate);
        if part == Part::Login && !login && plan.wishes.logins.contains(path) {
            told.push(path);
            let path = format!("path = {}", quoted(&String::from_utf8_lossy(&decode(path))));
            let keys = "action = \"gate\"\neffect = \"rotate\"\nbudget = \"login\"\n";
            rule("a login that its name does not tell", &path, keys);
        }
        if part == Part::Admin && covering(policy, path).is_none() {
            told.push(path);
            let prefix = format!("prefix = {}", quoted(path));
            let post = format!("{prefix}\nmethod = \"POST\"");
            let why = "the admin is not at /admin/";
            rule(why, &post, "action = \"gate\"\neffect = \"rotate\"\nbudget = \"admin\"\n");
            rule(why, &prefix, "action = \"gate\"\nbudget = \"admin\"\n");
        }
    }
    let crowded = conclusion.writers.iter().any(|index| {
        let exchange = &plan.sight.exchanges()[*index];
        exchange.question.part == Part::Page && plan.sight.told(exchange) != Told::Nothing
    });
    if crowded {
        let _ = write!(text, "{}", budget(policy));
    }
    text
}

/// The budget that newcomers draw upon, spelt out.
fn budget(policy: &Policy) -> String {
    let budget = &policy.budgets[crate::guard::policy::Budget::ANONYMOUS];
    let quota = |quota: crate::guard::policy::Quota| {
        let hourly = 3_600_000 / quota.period().as_millis().max(1);
        format!("{{ rate = \"{hourly}/h\", burst = {} }}", quota.burst())
    };
    format!(
        "\n[budget.anonymous]  # pages begin a session for each newcomer: the site's must be more \
         than come honestly\nclient = {}\nsite = {}\n",
        quota(budget.client),
        quota(budget.site)
    )
}

/// The rule of the profile that an anonymous GET of this path falls under.
fn covering<'a>(policy: &'a Policy, path: &str) -> Option<&'a Rule> {
    let path = decode(path);
    policy.rules.iter().find(|rule| rule.matches(&path, "GET", StandingWord::None))
}

/// Visible ASCII, which a line of TOML can hold.
fn is_plain(text: &str) -> bool {
    text.len() <= 1024 && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// A basic string of TOML (1.0, "String").
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            char if char.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(char));
            }
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}
