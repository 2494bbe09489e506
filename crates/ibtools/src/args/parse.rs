//! From the words that were typed to [`Args`], with what the environment and a profile say where something is left out; and
//! what is said of words that cannot be understood: one line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, FromArgMatches};
use incremental_backups_tools::stores::Address;

use super::help::{command, meant};
use super::profile::{Hooks, Profile};
use super::store::LeftOut;
use super::{Args, DEFAULT_STORE, Verb};
use crate::console::shown;

/// Why there are no [`Args`].
#[derive(Debug)]
pub(crate) enum Unparsed {
    /// Help or the version was asked for, and is to be printed.
    Help(clap::Error),
    /// What is wrong, in one line.
    Wrong(String),
}

/// What `typed` says, of which the first word is the program; and what is to be run around a backup.
pub(crate) fn parse(typed: &[OsString]) -> Result<(Args, Hooks), Unparsed> {
    let early = early(typed);
    let command = command();
    let profile = early.as_ref().and_then(|early| early.get_one::<PathBuf>("profile"));
    let profile = profile.map(|name| Profile::read(name, &command)).transpose();
    let profile = profile.map_err(Unparsed::Wrong)?;
    let command = match &profile {
        Some(profile) => profile.applied(command),
        None => command,
    };
    let given = early.as_ref().and_then(|early| early.get_one::<PathBuf>(DEFAULT_STORE).cloned());
    let source = early.as_ref().and_then(|early| early.value_source(DEFAULT_STORE));
    let is_typed = source == Some(ValueSource::CommandLine);
    let Profile { store, sources, hooks, .. } = profile.unwrap_or_default();
    // A profile goes before the environment: who names one means its store.
    let store = if is_typed { given } else { store.or(given) };
    let left_out = LeftOut { store, is_typed, sources };
    let args = understood(typed, command, &left_out);
    let mut args = args.map_err(|error| changes_meant(typed).unwrap_or(error))?;
    let settled = match &mut args.verb {
        Verb::Backup(args) => args.settle(&left_out),
        Verb::Restore(args) => args.settle(&left_out),
        _ => Ok(()),
    };
    settled.map_err(Unparsed::Wrong)?;
    Ok((args, hooks))
}

/// What is said of `diff STORE …`: elsewhere a verb of that name compares two snapshots.
fn changes_meant(typed: &[OsString]) -> Option<Unparsed> {
    let [_, verb, store, ..] = typed else { return None };
    let store = Path::new(store);
    let elsewhere = !matches!(Address::parse(store), Ok(Address::Local(_)));
    let is_store = *verb == "diff"
        && (elsewhere || incremental_backups_tools::Repository::open(store).is_ok());
    is_store.then(|| {
        let store = shown(store);
        Unparsed::Wrong(format!(
            "`diff` packs what has changed in a directory, and {store} is a store: `ibtools changes {store} A B` lists \
             what changed from one snapshot to another"
        ))
    })
}

/// What `typed` says of the options that decide how the rest is understood. It need not be right otherwise.
fn early(typed: &[OsString]) -> Option<ArgMatches> {
    let lenient = each_verb(command(), |arg, _| arg.required(false)).ignore_errors(true);
    let matches = lenient.try_get_matches_from(typed).ok()?;
    let of_verb = matches.subcommand().map(|(_, verb)| verb.clone());
    Some(of_verb.unwrap_or(matches))
}

/// What `typed` says, with `store` where STORE is left out. The last word is STORE where that comes last, if there are enough
/// words. Else the first word is STORE, if a store or a file is there. STORE must be left out if `--store` is typed.
fn understood(typed: &[OsString], command: Command, left_out: &LeftOut) -> Result<Args, Unparsed> {
    let Some(store) = &left_out.store else {
        return args(command.try_get_matches_from(typed));
    };
    let without = each_verb(command.clone(), |arg, is_store| match is_store {
        true => arg
            .long("store-left-out")
            .hide(true)
            .required(false)
            .default_value(store.clone().into_os_string()),
        false => arg,
    });
    let without = || args(without.try_get_matches_from(typed));
    if left_out.is_typed {
        return without();
    }
    let whole = command.clone().try_get_matches_from(typed);
    match &whole {
        Ok(matches) if has_store(&command, matches) => args(whole),
        _ => without().or_else(|error| match error {
            Unparsed::Help(_) => Err(error),
            Unparsed::Wrong(_) => args(whole),
        }),
    }
}

/// Whether the verb has a STORE, and the word in its place is meant so.
fn has_store(command: &Command, matches: &ArgMatches) -> bool {
    let Some((verb, matches)) = matches.subcommand() else { return true };
    let verb = command.find_subcommand(verb);
    let positionals = || verb.into_iter().flat_map(Command::get_positionals);
    let Some(place) = positionals().position(is_store) else { return true };
    if place + 1 == positionals().count() {
        return true;
    }
    let id = positionals().nth(place).map(|arg| arg.get_id().as_str()).unwrap_or_default();
    let mut words = matches.get_raw(id).into_iter().flatten();
    words.next().is_some_and(|first| {
        let first = Path::new(first);
        let elsewhere = !matches!(Address::parse(first), Ok(Address::Local(_)));
        elsewhere
            || first.is_file()
            || incremental_backups_tools::Repository::open_to_read(first).is_ok()
    })
}

/// Whether an argument is the STORE of its verb.
fn is_store(arg: &Arg) -> bool {
    let name = arg.get_value_names().and_then(|names| names.first());
    let name = name.map_or_else(|| arg.get_id().as_str().to_uppercase(), ToString::to_string);
    arg.is_positional() && name.split('|').any(|name| name == "STORE")
}

/// `command` with what `change` makes of each argument of each verb; it gets to know which is the STORE.
fn each_verb(mut command: Command, change: impl Fn(Arg, bool) -> Arg) -> Command {
    let verbs: Vec<String> =
        command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    for verb in verbs {
        command = command.mut_subcommand(verb, |verb| {
            verb.mut_args(|arg| {
                let is_store = is_store(&arg);
                change(arg, is_store)
            })
        });
    }
    command
}

fn args(matches: Result<ArgMatches, clap::Error>) -> Result<Args, Unparsed> {
    Args::from_arg_matches(&matches.map_err(unparsed)?).map_err(unparsed)
}

fn unparsed(error: clap::Error) -> Unparsed {
    use ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    match error.kind() {
        DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand => {
            Unparsed::Help(error)
        }
        ErrorKind::InvalidSubcommand => Unparsed::Wrong(no_such_verb(&error)),
        _ => Unparsed::Wrong(super::in_one_line(&error)),
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
