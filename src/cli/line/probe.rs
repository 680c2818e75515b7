//! What `floodwall probe` is told.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use floodwall::config::{Authority, Upstream};
use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue};

use super::target;

/// A site to be probed.
#[derive(Args, Debug)]
pub struct Probe {
    /// Its front page: http[s]://HOST[:PORT][/PATH]; other paths are looked for below it
    #[arg(value_name = "URL", value_parser = site)]
    pub site: Site,

    /// Do not ask back
    #[arg(long)]
    pub yes: bool,

    /// Where its users log out; repeat it for more
    #[arg(long = "logout", value_name = "PATH", value_parser = page)]
    pub logouts: Vec<String>,

    /// Where its users log in; repeat it for more
    #[arg(long = "login", value_name = "PATH", value_parser = page)]
    pub logins: Vec<String>,

    /// A page that shows who is logged in; repeat it for more
    #[arg(long = "page", value_name = "PATH", value_parser = page)]
    pub pages: Vec<String>,

    /// SESSION_COOKIE_NAME [default: sessionid, or what is seen]
    #[arg(long, value_name = "NAME", value_parser = cookie)]
    pub cookie: Option<String>,

    /// Sent with each request, as in 'Host: www.example.org'; repeat it for more
    #[arg(long = "header", value_name = "HEADER", value_parser = header)]
    pub headers: Vec<(HeaderName, HeaderValue)>,

    /// Trust the authorities of this PEM file, and no others [default: the system's]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub ca: Option<PathBuf>,

    /// How long one request may take; all together take six times as long at most
    #[arg(long, value_name = "SECONDS", default_value = "10",
          value_parser = clap::value_parser!(u8).range(1..=60))]
    pub timeout: u8,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,

    /// Write the configuration into this file, which must not be there
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub write: Option<PathBuf>,
}

/// What a URL says.
#[derive(Clone, Debug)]
pub struct Site {
    pub tls: bool,
    pub authority: Authority,
    /// Begins and ends with a slash.
    pub root: String,
}

/// A URL of a front page, without a query.
fn site(text: &str) -> Result<Site, String> {
    if text.starts_with("unix:") {
        return Err("a Unix socket has no URL; write \"http://HOST:PORT/\"".to_owned());
    }
    let authority = text.find("://").map_or(0, |scheme| scheme + 3);
    let end = text[authority..].find('/').map_or(text.len(), |slash| authority + slash);
    let (origin, path) = text.split_at(end);
    let (tls, authority) = match origin.parse()? {
        Upstream::Tcp(authority) => (false, authority),
        Upstream::Tls(authority) => (true, authority),
        Upstream::Unix(_) => return Err("no URL".to_owned()),
    };
    let root = if path.is_empty() { "/".to_owned() } else { page(path)? };
    let slash = if root.ends_with('/') { "" } else { "/" };
    Ok(Site { tls, authority, root: format!("{root}{slash}") })
}

/// A path without a query.
fn page(text: &str) -> Result<String, String> {
    let path = target(text)?;
    match path.contains(['?', '#']) || path.starts_with("//") || path.len() > 1024 {
        true => Err("write a path alone, as in /accounts/logout/".to_owned()),
        false => Ok(path),
    }
}

/// A cookie's name (RFC 6265, section 4.1.1).
fn cookie(text: &str) -> Result<String, String> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match !text.is_empty() && text.len() <= 64 && text.bytes().all(token) {
        true => Ok(text.to_owned()),
        false => Err("a name alone, as in sessionid; no value".to_owned()),
    }
}

/// A header that does not get in the way of the probe's own.
fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    const OWN: [HeaderName; 5] = [COOKIE, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, EXPECT];
    let form = || "write it as in 'Host: www.example.org'".to_owned();
    let (name, value) = text.split_once(':').ok_or_else(form)?;
    let name = HeaderName::try_from(name.trim()).map_err(|_| form())?;
    let value = HeaderValue::try_from(value.trim()).map_err(|_| form())?;
    match OWN.contains(&name) {
        true => Err("the probe sets this one itself".to_owned()),
        false => Ok((name, value)),
    }
}
