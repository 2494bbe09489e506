//! From the words that were typed to [`Args`], and what is said of words that cannot be understood: one line.

use std::ffi::OsString;

use clap::FromArgMatches;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::Args;
use super::help::{command, meant};

/// Why there are no [`Args`].
pub(crate) enum Unparsed {
    /// Help or the version was asked for, and is to be printed.
    Help(clap::Error),
    /// What is wrong, in one line.
    Wrong(String),
}

/// What `typed` says, of which the first word is the program.
pub(crate) fn parse(typed: Vec<OsString>) -> Result<Args, Unparsed> {
    let matches = command().try_get_matches_from(typed).map_err(unparsed)?;
    Args::from_arg_matches(&matches).map_err(unparsed)
}

fn unparsed(error: clap::Error) -> Unparsed {
    use ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    match error.kind() {
        DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand => {
            Unparsed::Help(error)
        }
        ErrorKind::InvalidSubcommand => Unparsed::Wrong(no_such_verb(&error)),
        _ => Unparsed::Wrong(in_one_line(&error)),
    }
}

fn no_such_verb(error: &clap::Error) -> String {
    let typed = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(typed)) => typed.as_str(),
        _ => "",
    };
    let advice = match (meant(&command(), typed), error.get(ContextKind::SuggestedSubcommand)) {
        (Some((verb, does)), _) => format!("`{verb}` {does}"),
        (None, Some(ContextValue::Strings(near))) if !near.is_empty() => {
            format!("did you mean `{}`?", near.join("` or `"))
        }
        _ => "`ibtools --help` lists the verbs".to_owned(),
    };
    format!("there is no verb `{typed}`; {advice}")
}

/// What clap says in several lines and paragraphs.
fn in_one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.trim_start_matches("error: ");
    let text = text.split("\n\nFor more information").next().unwrap_or(text);
    let parts = text.split("\n\n").map(|part| {
        let words: Vec<&str> = part.split_whitespace().collect();
        words.join(" ").replace("tip: ", "")
    });
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(". ")
}
