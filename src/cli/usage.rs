//! A wrong command line: what is wrong with it, and what to do about it.

use std::fmt;

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::{Command, CommandFactory};
use floodwall::config::nearest;

use super::line::CommandLine;

/// A wrong command line.
#[derive(Debug, PartialEq, Eq)]
pub struct Usage {
    what: String,
    /// What to do about it.
    help: String,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "floodwall: {}\n  = {}", self.what, self.help)
    }
}

impl Usage {
    /// What clap found, in our words.
    pub fn of(error: &Error) -> Self {
        let root = CommandLine::command();
        // Where it found it, the usage line tells: clap keeps the command to itself.
        let word = std::env::args_os().nth(1).unwrap_or_default();
        let command = word.to_str().and_then(|word| root.find_subcommand(word));
        let name = command.map_or(String::new(), |command| format!(" {}", command.get_name()));
        let help = format!("floodwall{name} --help says what there is");
        let of = |kind| context(error, kind);
        match error.kind() {
            ErrorKind::MissingSubcommand => usage("no command", &help),
            ErrorKind::InvalidSubcommand => {
                let word = of(ContextKind::InvalidSubcommand);
                let words: Vec<&str> = root.get_subcommands().map(Command::get_name).collect();
                unknown("command", &word, &words, &help)
            }
            ErrorKind::UnknownArgument => {
                let word = of(ContextKind::InvalidArg);
                unknown_argument(&word, &root, command, &help)
            }
            ErrorKind::ArgumentConflict
                if of(ContextKind::InvalidArg) == of(ContextKind::PriorArg) =>
            {
                let argument = of(ContextKind::InvalidArg);
                let what = format!("{} is given twice", flag(&argument));
                usage(&what, "leave one of them out")
            }
            ErrorKind::InvalidValue | ErrorKind::ValueValidation => invalid_value(error, &help),
            ErrorKind::MissingRequiredArgument => missing(error, command, &help),
            // The rest are kinds that our commands do not bring about; clap says them well enough.
            _ => {
                let said = error.render().to_string();
                let said = said.lines().next().unwrap_or_default();
                usage(said.strip_prefix("error: ").unwrap_or(said), &help)
            }
        }
    }
}

fn unknown_argument(word: &str, root: &Command, command: Option<&Command>, help: &str) -> Usage {
    let Some(command) = command else {
        let known =
            root.get_subcommands().find(|command| longs(command).contains(&word.to_owned()));
        return match known {
            Some(command) if word != "--help" => {
                let name = command.get_name();
                let help = format!("write the command first: floodwall {name} {word} ...");
                usage(&format!("no command before {word}"), &help)
            }
            _ => unknown("flag", word, &["--help", "--version"], help),
        };
    };
    if word.starts_with('-') {
        let all = longs(command);
        return unknown("flag", word, &all.iter().map(String::as_str).collect::<Vec<_>>(), help);
    }
    let help = match longs(command).iter().any(|flag| flag == "--config") {
        true => "a configuration is named by --config FILE",
        false => help,
    };
    usage(&format!("{word:?} belongs to no flag"), help)
}

fn invalid_value(error: &Error, help: &str) -> Usage {
    let argument = context(error, ContextKind::InvalidArg);
    let (argument, value) = (flag(&argument), context(error, ContextKind::InvalidValue));
    if let Some(ContextValue::Strings(words)) = error.get(ContextKind::ValidValue)
        && !words.is_empty()
    {
        let what = format!("{argument} {value:?} is not one of its words");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        return match nearest(&value, words.iter().copied()) {
            Some(near) => usage(&what, &format!("did you mean {near}?")),
            None => usage(&what, &format!("write one of {}", words.join(", "))),
        };
    }
    if value.is_empty() {
        return usage(&format!("{argument}: missing argument"), help);
    }
    let why = std::error::Error::source(error).map(ToString::to_string);
    usage(&format!("{argument} {value:?}"), why.as_deref().unwrap_or(help))
}

fn missing(error: &Error, command: Option<&Command>, help: &str) -> Usage {
    let what = context(error, ContextKind::InvalidArg);
    let sources =
        command.is_some_and(|command| command.get_groups().any(|group| group.get_id() == "source"));
    if sources {
        let help = "write --config FILE, or --upstream URL to have all defaults in force";
        return usage("neither --config nor --upstream is given", help);
    }
    usage(&format!("{} is missing", flag(&what)), help)
}

/// What clap says of an error, in so many words.
fn context(error: &Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    }
}

/// `--config` of `--config <FILE>`, `PATH` of `<PATH>`.
fn flag(argument: &str) -> &str {
    let flag = argument.split([' ', '=']).next().unwrap_or(argument);
    flag.trim_matches(['<', '>', '[', ']'])
}

/// The flags of a command.
fn longs(command: &Command) -> Vec<String> {
    let own = command.get_arguments().filter_map(|argument| argument.get_long());
    own.chain(["help"]).map(|long| format!("--{long}")).collect()
}

fn unknown(kind: &str, word: &str, all: &[&str], help: &str) -> Usage {
    let what = format!("unknown {kind} {word:?}");
    match nearest(word, all.iter().copied()) {
        Some(near) if word.chars().count() > 2 => usage(&what, &format!("did you mean {near}?")),
        _ => usage(&what, help),
    }
}

fn usage(what: &str, help: &str) -> Usage {
    Usage { what: what.to_owned(), help: help.to_owned() }
}
