//! `floodwall probe`.

use std::fs::OpenOptions;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use floodwall::config::Upstream;
use floodwall::probe::MOST_REQUESTS;
use floodwall::probe::ask::{self, Asker, Target};
use floodwall::probe::conclude::{Conclusion, Verdict};
use floodwall::probe::configuration;
use floodwall::probe::plan::{Plan, Wishes};
use floodwall::probe::report::Report;
use floodwall::probe::seen::Sight;
use http::header::HOST;

use super::Trouble;
use super::line::{Probe, Site};

/// What a probe of the site has found, as it is to be printed.
pub fn probe(asked: &Probe) -> Result<(String, Verdict), Trouble> {
    if let Some(path) = asked.write.as_deref().filter(|path| path.exists()) {
        let what = "is there already: name another, or remove it first";
        return Err(Trouble::Misconfigured(format!("floodwall: {}: {what}", path.display())));
    }
    let (target, wishes) = (target(asked), wishes(asked));
    let addresses = ask::resolve(&target).map_err(failed)?;
    if !asked.yes {
        confirm(&target, &wishes, &addresses)?;
    }
    let origins = target.origins.clone();
    let asker = Asker::new(target, addresses).map_err(failed)?;
    let exchanges = asker.converse(&wishes).map_err(failed)?;
    let sight = Sight::new(&exchanges, wishes.cookie.as_deref());
    let plan = Plan { wishes: &wishes, sight: &sight, origins: &origins };
    let conclusion = Conclusion::of(&plan);
    let Site { tls, authority, .. } = asked.site.clone();
    let upstream = if tls { Upstream::Tls(authority) } else { Upstream::Tcp(authority) };
    let configuration = configuration::written(&plan, &conclusion, &upstream, asked.ca.as_deref());
    let mut written = None;
    if let Some(path) = asked.write.as_deref().filter(|_| conclusion.verdict != Verdict::Failed) {
        write(path, &configuration)?;
        written = Some(path.display().to_string());
    }
    let report = Report {
        plan: &plan,
        conclusion: &conclusion,
        addresses: asker.addresses(),
        configuration: &configuration,
        written,
    };
    let text = match asked.json {
        true => format!("{}\n", report.json()),
        false => report.text(),
    };
    Ok((text, conclusion.verdict))
}

fn target(asked: &Probe) -> Target {
    let Site { tls, authority, .. } = &asked.site;
    let mut origins = vec![origin(*tls, &authority.to_string())];
    let hosts = asked.headers.iter().filter(|(name, _)| *name == HOST);
    origins.extend(hosts.filter_map(|(_, host)| Some(origin(*tls, host.to_str().ok()?))));
    Target {
        origins,
        host: authority.host().to_owned(),
        port: authority.port(),
        tls: *tls,
        headers: asked.headers.clone(),
        ca: asked.ca.clone(),
        timeout: Duration::from_secs(u64::from(asked.timeout)),
    }
}

/// As a browser writes it: without the port that goes without saying.
fn origin(tls: bool, authority: &str) -> String {
    let (scheme, standard) = if tls { ("https", ":443") } else { ("http", ":80") };
    let authority = authority.to_ascii_lowercase();
    format!("{scheme}://{}", authority.strip_suffix(standard).unwrap_or(&authority))
}

fn wishes(asked: &Probe) -> Wishes {
    Wishes {
        root: asked.site.root.clone(),
        pages: asked.pages.clone(),
        logouts: asked.logouts.clone(),
        logins: asked.logins.clone(),
        cookie: asked.cookie.clone(),
    }
}

/// Has the operator say that the site is the right one.
fn confirm(target: &Target, wishes: &Wishes, addresses: &[SocketAddr]) -> Result<(), Trouble> {
    /// More than anybody types.
    const LONGEST: u64 = 256;
    if !io::stdin().is_terminal() {
        let what = "floodwall: nobody is there to be asked whether this is the right site\n  = \
                    write --yes, if it is yours";
        return Err(Trouble::Misconfigured(what.to_owned()));
    }
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let mut out = io::stderr();
    let said = write!(
        out,
        "{}{}, at {}, will be sent {MOST_REQUESTS} requests at most.\n\
         Each of them may leave one session record in its store.\n\
         Is it yours, and shall it be asked? Type yes: ",
        target.origins.first().map_or("", String::as_str),
        wishes.root,
        addresses.join(" or ")
    );
    let mut answer = String::new();
    let heard = said
        .and_then(|()| out.flush())
        .and_then(|()| io::stdin().lock().take(LONGEST).read_line(&mut answer));
    match heard.is_ok() && answer.trim() == "yes" {
        true => Ok(()),
        false => Err(Trouble::Failed("floodwall: nothing was sent".to_owned())),
    }
}

fn write(path: &Path, text: &str) -> Result<(), Trouble> {
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| {
        Trouble::Failed(format!("floodwall: {}: cannot be written: {error}", path.display()))
    })
}

fn failed(error: ask::Error) -> Trouble {
    Trouble::Failed(format!("floodwall: {error}"))
}
