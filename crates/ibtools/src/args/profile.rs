//! A profile: a TOML file with what is the same each time. Its settings are the defaults of options, which the command line
//! overrides. Must not know what the options do.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command, error::ErrorKind};
use incremental_backups_tools::stores::Address;
use serde::Deserialize;
use toml::Spanned;

use crate::console::shown;

/// The settings of a profile that are no options.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    store: Option<Spanned<PathBuf>>,
    #[serde(default)]
    sources: Vec<Spanned<PathBuf>>,
    #[serde(default)]
    hooks: Hooks,
    #[serde(default)]
    backup: Settings,
    #[serde(default)]
    prune: Settings,
    #[serde(default)]
    restore: Settings,
    #[serde(default)]
    verify: Settings,
}

/// Options of a verb, by their names without `--`.
type Settings = BTreeMap<String, Spanned<Setting>>;

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected true, false, a number, a text, or a list of these")]
enum Setting {
    Flag(bool),
    Number(i64),
    Ratio(f64),
    Text(String),
    List(Vec<Setting>),
}

/// Commands that a shell runs around a backup.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hooks {
    /// Before it. If it fails there is no backup.
    pub(crate) before: Option<String>,
    /// After one that was made.
    pub(crate) after: Option<String>,
    /// After a failure, also of another hook.
    pub(crate) failed: Option<String>,
}

/// A profile, all of whose settings are options of `ibtools`.
#[derive(Default)]
pub(super) struct Profile {
    pub(super) store: Option<PathBuf>,
    pub(super) sources: Vec<PathBuf>,
    pub(super) hooks: Hooks,
    /// Of each verb, the id of an option and its values.
    defaults: Vec<(&'static str, String, Vec<OsString>)>,
}

impl Profile {
    /// Reads the profile that is called `name`, for the options of `command`.
    ///
    /// # Errors
    /// In one line: which file, where, and what is allowed there.
    pub(super) fn read(name: &Path, command: &Command) -> Result<Profile, String> {
        let file = file_of(name)?;
        let failed = |why: &dyn std::fmt::Display| {
            format!("cannot read the profile {}: {why}", shown(&file))
        };
        let text = std::fs::read_to_string(&file)
            .map_err(|error| failed(&crate::console::in_words(&error)))?;
        let at = |start: usize| {
            let line = text.get(..start).unwrap_or_default().matches('\n').count() + 1;
            format!("{}, line {line}", shown(&file))
        };
        let parsed: Text = toml::from_str(&text).map_err(|error| {
            let place = error.span().map_or_else(|| shown(&file), |span| at(span.start));
            format!("{place}: {}", error.message().replace('\n', " "))
        })?;
        let path = |path: Spanned<PathBuf>| {
            let start = path.span().start;
            absolute(path.into_inner()).map_err(|error| format!("{}: {error}", at(start)))
        };
        // Other than a directory, a place on another machine is one wherever it is written.
        let store = |store: Spanned<PathBuf>| match Address::parse(store.get_ref()) {
            Ok(Address::Local(_)) => path(store),
            Ok(_) => Ok(store.into_inner()),
            Err(error) => Err(format!("{}: {error}", at(store.span().start))),
        };
        let mut defaults = Vec::new();
        let Text { backup, prune, restore, verify, .. } = &parsed;
        for (verb, settings) in
            [("backup", backup), ("prune", prune), ("restore", restore), ("verify", verify)]
        {
            let Some(options) = command.find_subcommand(verb) else { continue };
            for (name, setting) in settings {
                let checked = values(options, name, setting.get_ref()).and_then(|(id, values)| {
                    check(command, verb, name, &values).map(|()| (id, values))
                });
                let (id, values) =
                    checked.map_err(|error| format!("{}: {error}", at(setting.span().start)))?;
                defaults.push((verb, id, values));
            }
        }
        Ok(Profile {
            store: parsed.store.map(store).transpose()?,
            sources: parsed.sources.into_iter().map(path).collect::<Result<_, _>>()?,
            hooks: parsed.hooks,
            defaults,
        })
    }

    /// `command`, with these defaults.
    pub(super) fn applied(&self, mut command: Command) -> Command {
        for (verb, id, values) in &self.defaults {
            command = command.mut_subcommand(verb, |verb| {
                verb.mut_arg(id, |arg| arg.required(false).default_values(values))
            });
        }
        command
    }
}

/// `NAME` is a file in the user's directory of settings; what has a slash or ends in `.toml` is a path.
fn file_of(name: &Path) -> Result<PathBuf, String> {
    if name.components().count() > 1
        || name.is_absolute()
        || name.extension().is_some_and(|it| it == "toml")
    {
        return Ok(name.to_path_buf());
    }
    let set = |variable: &str| {
        std::env::var_os(variable).map(PathBuf::from).filter(|dir| dir.is_absolute())
    };
    let settings = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")));
    let settings = settings.ok_or("a profile is looked for in XDG_CONFIG_HOME or HOME, and neither is set: give the path of its file")?;
    let mut file = settings.join("ibtools").join(name).into_os_string();
    file.push(".toml");
    Ok(file.into())
}

/// Which directory a job starts in is nobody's choice, so that a path must not depend on it.
fn absolute(path: PathBuf) -> Result<PathBuf, String> {
    match (path.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(below), Some(home)) => Ok(Path::new(&home).join(below)),
        _ if path.is_absolute() => Ok(path),
        _ => Err(format!("{} is no absolute path, and does not begin with ~/", shown(&path))),
    }
}

/// The id of the option `name` of a verb, and the values that `setting` gives it.
fn values(
    verb: &Command,
    name: &str,
    setting: &Setting,
) -> Result<(String, Vec<OsString>), String> {
    let options = || verb.get_arguments().filter(|arg| !arg.is_global_set());
    let Some(option) = options().find(|arg| arg.get_long() == Some(name)) else {
        let names = options().filter_map(Arg::get_long).filter(|name| *name != "help");
        let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
        let names = names.join(", ");
        return Err(format!(
            "`{}` has no option `{name}`, expected one of {names}",
            verb.get_name()
        ));
    };
    let id = option.get_id().to_string();
    let many = matches!(option.get_action(), ArgAction::Append);
    let values = match (option.get_action().takes_values(), setting) {
        (false, Setting::Flag(flag)) => vec![flag.to_string()],
        (false, _) => return Err(format!("`{name}` is true or false")),
        (true, Setting::Flag(_)) => {
            return Err(format!("`{name}` is a value, neither true nor false"));
        }
        (true, Setting::List(list)) if many => list.iter().map(text).collect::<Result<_, _>>()?,
        (true, Setting::List(_)) => return Err(format!("`{name}` is one value and no list")),
        (true, one) => vec![text(one)?],
    };
    Ok((id, values.into_iter().map(OsString::from).collect()))
}

fn text(setting: &Setting) -> Result<String, String> {
    match setting {
        Setting::Number(number) => Ok(number.to_string()),
        Setting::Ratio(number) => Ok(number.to_string()),
        Setting::Text(text) => Ok(text.clone()),
        Setting::Flag(_) | Setting::List(_) => Err("a list has texts and numbers".to_owned()),
    }
}

/// Whether the option `name` takes `values`, as if they were typed.
fn check(command: &Command, verb: &str, name: &str, values: &[OsString]) -> Result<(), String> {
    for value in values {
        let flag = value == "true" || value == "false";
        let mut typed = OsString::from(format!("--{name}"));
        let takes = command.find_subcommand(verb).and_then(|verb| {
            verb.get_arguments()
                .find(|arg| arg.get_long() == Some(name))
                .map(|arg| arg.get_action().takes_values())
        });
        if takes == Some(true) || !flag {
            typed.push("=");
            typed.push(value);
        }
        let words = ["ibtools".into(), verb.into(), typed];
        match command.clone().try_get_matches_from(words) {
            Err(error) if error.kind() != ErrorKind::MissingRequiredArgument => {
                return Err(super::in_one_line(&error));
            }
            _ => {}
        }
    }
    Ok(())
}
