//! What would become of a request that somebody describes, over the control socket or on the command
//! line.
//!
//! The same path as a real one's: cleaned, its site found, its cookies read; then the guard is asked
//! what it would do, and nothing is done.

use std::net::IpAddr;

use http::header::{COOKIE, HOST, HeaderValue};
use http::{Method, Request, Version};
use serde_json::{Value, json};

use super::challenge::Visit;
use super::clock::Clock;
use super::exchange::{asked, cookies};
use super::fields::Fields;
use super::headers;
use super::replies::Accepts;
use super::settings::DownstreamLimits;
use super::site::Site;
use super::sites::{Lost, Sites};
use super::upload::Upload;
use crate::guard::client::Client;
use crate::guard::explain::{Explanation, Fate};
use crate::guard::path;
use crate::guard::policy::Terms;

/// What would become of the request in `question`: an object with `method`, `path`, `host`,
/// `cookies` and `address`. Some lines for people, and the same for programs.
///
/// # Errors
/// It is no request, or one that no site takes; what is wrong with it.
pub fn explain(
    sites: &Sites,
    limits: &DownstreamLimits,
    clock: Clock,
    question: &Value,
) -> Result<(String, Value), String> {
    let text = |key: &str| question.get(key).and_then(Value::as_str);
    let method = text("method").unwrap_or("GET");
    let address = text("address").unwrap_or("127.0.0.1");
    let address: IpAddr = address.parse().map_err(|_| format!("{address:?} is no address"))?;
    let mut parts = request(method, text("path").unwrap_or("/"), question)?;
    let fields = Fields::of(&parts.headers);
    headers::clean_request(&mut parts, fields, &Upload::none(clock), limits)
        .map_err(|fault| format!("refused with {}: {fault}", fault.status()))?;

    let host = parts.headers.get(HOST).map(HeaderValue::as_bytes);
    let site = sites.find(host, parts.uri.path()).map_err(|lost| {
        let what = match lost {
            Lost::Host => "refused with 421: no site has its host; give one with --host",
            Lost::Path => "refused with 404: no site of its host has its path",
        };
        what.to_owned()
    })?;
    let guard = &site.shield.guard;
    let policy = guard.policy();
    let client = Client::fold(address, &policy.client);
    let body = Upload::none(clock);
    let target_bytes = limits.target_bytes;
    let visit = Visit::take(&site.shield, &mut parts, fields, &body, client, target_bytes, false);
    if visit.home(&Accepts::default()).is_some() {
        let fate = "challenged: it has met its challenge, and is sent to the URL without the mark";
        let text = format!("site      {}\nclient    {client}\nfate      {fate}", site.name);
        return Ok((text, json!({ "site": site.name, "fate": "challenged" })));
    }
    let cookies = cookies(&parts.headers, fields, policy);
    let decoded = path::decode(parts.uri.path());
    let terms = policy.client.terms(address);
    let request = asked(&parts, fields, &body, &visit, terms, &decoded, &cookies);
    let explanation = guard.explain(&request, clock.now());
    let text = format!("site      {}\nclient    {client}\n{explanation}", site.name);
    let json = object(site, client, &explanation, &text);
    Ok((text, json))
}

fn object(site: &Site, client: Client, explanation: &Explanation, text: &str) -> Value {
    let Explanation { standing, session, rule, action, observes, class, terms, budget, left, fate } =
        explanation;
    let (verdict, why) = match fate {
        Fate::Forwarded { .. } => ("forwarded", None),
        Fate::Refused { why, .. } => ("refused", Some(why.word())),
        Fate::Challenged { why } => ("challenged", Some(why.word())),
        Fate::Answered(_) => ("answered", None),
        Fate::Waits(_) => ("waits", None),
    };
    let left = left.iter().map(|cell| {
        json!({
            "of": cell.of.to_string(),
            "left": cell.left,
            "held": cell.held,
            "burst": cell.burst,
            "period_ms": cell.period.as_secs_f64() * 1e3,
        })
    });
    json!({
        "site": site.name,
        "client": client.to_string(),
        "standing": standing.word(),
        "session": session.words(),
        "rule": rule,
        "action": action.word(),
        "observed": observes,
        "class": class.map(|class| class.to_string()),
        "exempt": *terms == Terms::Exempt,
        "budget": budget,
        "left": left.collect::<Vec<_>>(),
        "fate": verdict,
        "why": why,
        "lines": text.lines().collect::<Vec<_>>(),
    })
}

/// The request as a client would send it.
fn request(method: &str, target: &str, question: &Value) -> Result<http::request::Parts, String> {
    let method = Method::from_bytes(method.as_bytes())
        .map_err(|_| format!("{method:?} is no method; write GET, POST, ..."))?;
    let request = Request::builder().method(method).uri(target).body(());
    let request = request
        .map_err(|_| format!("{target:?} is no path; write it as in /accounts/logout/?next=/"))?;
    let mut parts = request.into_parts().0;
    let mut version = parts.version;
    let mut put = |name, value: &str| -> Result<(), String> {
        let value = HeaderValue::from_str(value)
            .map_err(|_| format!("{value:?} cannot stand in a header"))?;
        parts.headers.append(name, value);
        Ok(())
    };
    match question.get("host").and_then(Value::as_str) {
        Some(host) => put(HOST, host)?,
        // Without it only HTTP/1.0 is spoken.
        None => version = Version::HTTP_10,
    }
    let cookies = question.get("cookies").and_then(Value::as_array);
    for cookie in cookies.into_iter().flatten().filter_map(Value::as_str) {
        put(COOKIE, cookie)?;
    }
    parts.version = version;
    Ok(parts)
}
