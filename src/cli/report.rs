//! `floodwall report`.

use std::fs;
use std::path::{Path, PathBuf};

use floodwall::history::read::{ReadError, Reader};
use floodwall::proxy::clock::Clock;
use floodwall::report::model::Ask;
use floodwall::report::{Report, html, json, text};
use floodwall::telemetry::escape::visible;

use super::Trouble;
use super::line::{ReportFormat, Reported};
use super::when::When;

/// What a history says of a span.
pub fn report(asked: &Reported) -> Result<String, Trouble> {
    let now = Clock::start().unix_ms() / 1_000;
    let (from, until) = span(asked, now)?;
    let path = file(asked)?;
    let reader = Reader::open(&path).map_err(|error| unreadable(&path, &error))?;
    let failed = |error| unreadable(&path, &ReadError::Sql(error));
    if let Some(site) = &asked.site {
        known(site, &reader.sites().map_err(failed)?)?;
    }
    let ask = Ask { from, until, now, site: asked.site.clone() };
    let report = Report::read(&reader, &ask).map_err(failed)?;
    let said = match asked.format {
        ReportFormat::Text => text::text(&report),
        ReportFormat::Json => format!("{:#}\n", json::json(&report)),
        ReportFormat::Html => html::html(&report),
    };
    match &asked.output {
        None => Ok(said),
        Some(output) => {
            fs::write(output, said).map_err(|error| {
                let output = output.display();
                Trouble::Failed(format!(
                    "floodwall: {output} cannot be written: {error}\n  = give --output a path in a \
                     folder that is there and may be written to"
                ))
            })?;
            Ok(format!("{}\n", output.display()))
        }
    }
}

/// The span that is meant, in seconds since 1970.
fn span(asked: &Reported, now: u64) -> Result<(u64, u64), Trouble> {
    let until = asked.until.map_or(now, |until: When| until.last(now));
    let from = asked.since.first(now);
    if from >= until {
        let what = match asked.until {
            Some(_) => "--since is not before --until",
            None => "--since is not in the past",
        };
        let help = "times are UTC; --since takes 24h, 7d, today, yesterday, 2026-11-23 and \
                    2026-11-23T09:05Z";
        return Err(Trouble::Misconfigured(format!("floodwall: {what}\n  = {help}")));
    }
    // What this second has brought is a part of it: a minute may begin with it.
    Ok((from, if until == now { now + 1 } else { until }))
}

/// Where the history is.
fn file(asked: &Reported) -> Result<PathBuf, Trouble> {
    if let Some(file) = &asked.file {
        return Ok(file.clone());
    }
    let config = asked.config()?.unwrap_or_default();
    config.history().file.clone().ok_or_else(|| {
        Trouble::Misconfigured(
            "floodwall: the configuration keeps no history\n  = give `history.file` a path and \
             restart, or name a history with --file"
                .to_owned(),
        )
    })
}

fn known(site: &str, sites: &[String]) -> Result<(), Trouble> {
    if sites.iter().any(|known| known == site) {
        return Ok(());
    }
    let remedy = match sites {
        [] => "it has none yet".to_owned(),
        sites => {
            let sites: Vec<String> = sites.iter().map(visible).collect();
            format!("it has {}", sites.join(", "))
        }
    };
    Err(Trouble::Misconfigured(format!(
        "floodwall: --site {site:?} is not in the history\n  = {remedy}"
    )))
}

fn unreadable(path: &Path, error: &ReadError) -> Trouble {
    let (path, remedy) = (path.display(), error.remedy());
    Trouble::Failed(format!("floodwall: the history {path} cannot be read: {error}\n  = {remedy}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        asked: Reported,
    }

    /// The minutes of a report are those that begin before its end.
    #[test]
    fn what_happens_in_the_second_of_a_report_is_in_it() {
        for (line, last) in [
            (&["report"][..], 600),
            (&["report", "--until", "now"], 600),
            (&["report", "--until", "0s"], 600),
            (&["report", "--until", "1m"], 540 - 1),
            (&["report", "--until", "1970-01-01T00:10:00Z", "--since", "5m"], 600),
        ] {
            let asked = Line::try_parse_from(line).expect("it is a line").asked;
            let (_, until) = span(&asked, 600).unwrap_or_else(|_| panic!("{line:?}"));
            assert_eq!(until - 1, last, "{line:?}");
        }
    }
}
