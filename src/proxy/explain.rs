//! What would become of a request that somebody describes, over the control socket or on the command
//! line.
//!
//! The same path as a real one's: cleaned, its site found, its cookies read; then the guard is asked
//! what it would do, and nothing is done.

use std::net::IpAddr;

use http::header::{COOKIE, HOST, HeaderValue};
use http::{Method, Request, Version};
use http_body_util::Empty;
use serde_json::{Value, json};

use super::challenge;
use super::clock::Clock;
use super::headers;
use super::settings::DownstreamLimits;
use super::sites::{Lost, Sites};
use crate::guard::challenge::Challenged;
use crate::guard::client::Client;
use crate::guard::cookie::Cookies;
use crate::guard::exchange as guarded;
use crate::guard::path;

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
    headers::clean_request(&mut parts, &Empty::<&[u8]>::new(), limits)
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
    let challenged = if guard.challenges() {
        let name = &policy.challenge_cookie.name;
        let cookies = challenge::take_cookies(&mut parts.headers, name);
        let cookies = cookies.iter().map(Vec::as_slice);
        guard.challenged(client, cookies, None, true, clock.unix(clock.now()))
    } else {
        Challenged::UNABLE
    };
    let lines = parts.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let cookies = Cookies::read(lines, &policy.session.cookie, policy.session.key_shape);
    let explanation = guard.explain(
        &guarded::Request {
            client,
            terms: policy.client.terms(address),
            challenged,
            method,
            path: &path::decode(parts.uri.path()),
            query: parts.uri.query(),
            body: false,
            authorization: false,
            cookies: &cookies,
        },
        clock.now(),
    );
    let text = format!("site      {}\nclient    {client}\n{explanation}", site.name);
    let lines: Vec<&str> = text.lines().collect();
    let json = json!({
        "site": site.name,
        "client": client.to_string(),
        "standing": explanation.standing.word(),
        "rule": explanation.rule,
        "action": explanation.action.word(),
        "budget": explanation.budget,
        "lines": lines,
    });
    Ok((text, json))
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
