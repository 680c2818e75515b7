//! `floodwall replay`.

use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use floodwall::config::{Config, Overrides, Site, nearest};
use floodwall::replay::assume::Assume;
use floodwall::replay::lines::Format;
use floodwall::replay::report::Report;
use floodwall::replay::{self, Progress, Setting};
use floodwall::telemetry::escape::visible;

use super::Trouble;
use super::line::Replay;

/// What would have become of the requests in these logs.
pub fn replay(asked: &Replay) -> Result<String, Trouble> {
    let config = Config::load(&asked.config, Overrides::default());
    let config = config.map_err(|error| Trouble::Misconfigured(error.to_string()))?;
    let site = site(&config, asked.site.as_deref())?;
    let mut setting = Setting::new(&config, site);
    let format = asked.format.as_deref();
    setting.format = Format::ALL.into_iter().find(|known| Some(known.word()) == format);
    let assume = Assume::ALL.into_iter().find(|known| known.word() == asked.assume);
    setting.assume = assume.unwrap_or(setting.assume);
    setting.list = asked.list.into();
    let mut terminal = Terminal::begin();
    let report = replay::replay(&setting, &asked.logs, &mut |progress| terminal.tell(progress));
    terminal.end();
    let report = report.map_err(|error| Trouble::Failed(format!("floodwall: {error}")))?;
    readable(&report)?;
    Ok(if asked.json { format!("{}\n", report.json()) } else { report.text() })
}

/// A report of no line at all would look like one of a quiet day.
fn readable(report: &Report) -> Result<(), Trouble> {
    let (logs, counts) = (&report.read.logs, &report.read.counts);
    let unread: u64 = counts.unread.iter().sum();
    if unread == 0 || unread < counts.lines {
        return Ok(());
    }
    let names = logs.iter().map(|(name, format)| format!("{} ({})", visible(name), format.word()));
    let names = names.collect::<Vec<_>>().join(", ");
    Err(Trouble::Failed(format!(
        "floodwall: {names}: none of {unread} lines could be read\n  = name access logs; where the \
         format in brackets is not theirs, write --format"
    )))
}

/// The site that is meant.
fn site<'a>(config: &'a Config, name: Option<&str>) -> Result<&'a Site, Trouble> {
    let sites = config.sites();
    let names = || sites.iter().map(Site::name);
    let (what, remedy) = match (name, sites) {
        (None, [only]) => return Ok(only),
        (None, _) => {
            let names = names().collect::<Vec<_>>().join(", ");
            ("there are several sites".to_owned(), format!("write --site NAME with one of {names}"))
        }
        (Some(name), _) => match sites.iter().find(|site| site.name() == name) {
            Some(site) => return Ok(site),
            None => (
                format!("there is no site {name:?}"),
                match nearest(name, names()) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("its sites are {}", names().collect::<Vec<_>>().join(", ")),
                },
            ),
        },
    };
    Err(Trouble::Misconfigured(format!("floodwall: {what}\n  = {remedy}")))
}

/// The line on a terminal that says how far it has come.
struct Terminal {
    begun: Option<Instant>,
    written: bool,
}

impl Terminal {
    #[allow(clippy::disallowed_methods, reason = "how fast it is, is of the real clock")]
    fn begin() -> Self {
        Self { begun: io::stderr().is_terminal().then(Instant::now), written: false }
    }

    fn tell(&mut self, progress: Progress) {
        let Some(begun) = self.begun else { return };
        let Progress { bytes, of, lines } = progress;
        let rate = lines as f64 / begun.elapsed().as_secs_f64().max(0.001);
        let part = of.filter(|of| *of > 0).map(|of| bytes.min(of) * 100 / of);
        let part = part.map_or(String::new(), |part| format!("{part:3} %  "));
        let mut out = io::stderr().lock();
        // There is nobody else to tell.
        let _ = write!(out, "\r{part}{lines} lines, {rate:.0} a second\x1b[K");
        let _ = out.flush();
        self.written = true;
    }

    fn end(&self) {
        if self.written {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
