//! The command line as it is typed, and its help. Knows nothing of what the verbs do with it.

mod blocks;
mod generated;
mod help;
mod key;
mod look;
mod mount;
mod parse;
mod profile;
mod serve;
mod store;
mod tree;
mod values;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

pub(crate) use self::blocks::*;
pub(crate) use self::generated::*;
pub(crate) use self::help::command;
pub(crate) use self::key::*;
pub(crate) use self::look::*;
pub(crate) use self::mount::*;
pub(crate) use self::parse::{Unparsed, parse};
pub(crate) use self::profile::Hooks;
pub(crate) use self::serve::*;
pub(crate) use self::store::*;
pub(crate) use self::tree::*;

const STATUS: &str = "\
`ibtools VERB --help` has examples of each.

Exit status: 0 done, 1 the answer is no (compare: something differs; find: nothing matches; verify: damage; apply --status: an apply is \
unfinished; --verify, --strict: something is amiss; --skip-obstacles, --skip-damaged: something was skipped), 2 failure.";

/// What the option `--store` is called here: the verbs have a `store` of their own.
const DEFAULT_STORE: &str = "default_store";
const GLOBAL: &str = "Options of every command";

const PATTERNS: &str = "\
Patterns are those of .gitignore: `*.o` at any depth, `/build` at the top, `cache/` for directories alone, \
`!keep.o` to take back. They begin at DIR, also those of --exclude-from.";

/// Incremental backups: index a directory, pack what changed into one archive, apply it elsewhere
#[derive(Debug, Parser)]
#[command(name = "ibtools", version, after_help = STATUS, max_term_width = help::MAX_WIDTH)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What every verb takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// Print one JSON document instead of text
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) json: bool,
    /// Print nothing but warnings and errors
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    pub(crate) quiet: bool,
    /// The store, where a verb takes STORE and it is left out
    #[arg(global = true, help_heading = GLOBAL, value_name = "STORE")]
    #[arg(long = "store", id = DEFAULT_STORE, env = "IBTOOLS_STORE", hide_env_values = true)]
    pub(crate) default_store: Option<PathBuf>,
    /// Take what is left out from this profile: a name, of ~/.config/ibtools/NAME.toml, or the path of a file
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "PROFILE")]
    #[arg(env = "IBTOOLS_PROFILE", hide_env_values = true)]
    pub(crate) profile: Option<PathBuf>,
    /// Show how far the work is, on standard error: as text, as lines of JSON, not at all, or as text on a terminal alone
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "HOW", value_enum, default_value = "auto")]
    #[arg(env = "IBTOOLS_PROGRESS", hide_env_values = true)]
    pub(crate) progress: Shown,
    /// Use this many threads [default: one for each processor]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "N")]
    #[arg(env = "IBTOOLS_THREADS", hide_env_values = true)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Open encrypted stores with this identity: a file of age or of SSH, or the word passphrase (may be given several times)
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "FILE")]
    #[arg(env = "IBTOOLS_IDENTITY", hide_env_values = true)]
    pub(crate) identity: Vec<PathBuf>,
    /// Send no more bytes a second to a store elsewhere, on the average, such as 500K or 2M
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "RATE", value_parser = values::rate)]
    pub(crate) limit_upload: Option<u64>,
    /// Fetch no more bytes a second from a store elsewhere, on the average
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "RATE", value_parser = values::rate)]
    pub(crate) limit_download: Option<u64>,
}

/// How progress is shown. (The variants have no help of their own: with it, clap writes all options in its long form.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shown {
    Auto,
    Text,
    Json,
    None,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a directory a store of backups
    Init(InitArgs),
    /// Make keys for encrypted stores, and say who may read and write these
    Key(KeyArgs),
    /// Add a snapshot of a directory to a store: all of it, or what has changed
    #[command(after_help = PATTERNS, override_usage = store::BACKUP_USAGE)]
    Backup(BackupArgs),
    /// Bring back a snapshot, or single paths of it, out of a store or archives
    #[command(override_usage = store::RESTORE_USAGE)]
    Restore(RestoreArgs),
    /// List the snapshots in a store
    Snapshots(SnapshotsArgs),
    /// List what is in a directory of a snapshot
    Ls(LsArgs),
    /// Find a name in all snapshots of a store: from when to when it was there, and each version
    Find(FindArgs),
    /// Tell what became of a file from snapshot to snapshot
    Log(LogArgs),
    /// Print a file of a snapshot
    Cat(CatArgs),
    /// Write a directory of a snapshot to standard output, as tar
    Dump(DumpArgs),
    /// Tell how much is in a store, and what each snapshot added
    Stats(StatsArgs),
    /// List what changed from one snapshot of a store to another
    Changes(ChangesArgs),
    /// Show the snapshots of a store as directories, read-only, until Ctrl-C (Linux)
    Mount(MountArgs),
    /// Let others put files into a store by SFTP, on standard input and output: what `sshd` runs for their key
    Serve(ServeArgs),
    /// Check every byte of a store, of archives or of indexes, without restoring anything
    Verify(VerifyArgs),
    /// Put parity beside archives, indexes or any files, by which damage is mended
    Protect(ProtectArgs),
    /// Remove snapshots from a store by rule, squashing what the others depend on
    Prune(PruneArgs),
    /// Remove single snapshots from a store, squashing what the others depend on
    Forget(ForgetArgs),
    /// Take stock of a directory: names, contents, modes, owners, times
    #[command(after_help = PATTERNS)]
    Index(IndexArgs),
    /// Back up a directory: everything, or what has changed since an index
    #[command(after_help = PATTERNS)]
    Diff(DiffArgs),
    /// Bring a directory to the snapshot that archives lead to
    Apply(ApplyArgs),
    /// Make one archive of several that follow one another, without the directory
    Squash(SquashArgs),
    /// Write the signature of a file, which is all that `delta` needs of it
    Signature(SignatureArgs),
    /// Write what turns the file of a signature into another file
    Delta(DeltaArgs),
    /// Make the new file from the old one and a delta
    Patch(PatchArgs),
    /// List what is in an index, an archive, a diff or a store
    Show(ShowArgs),
    /// Tell what has changed in a directory since an index was made
    #[command(after_help = PATTERNS)]
    Compare(CompareArgs),
    /// Print the completions of a shell
    Completions(CompletionsArgs),
    /// Write manual pages, one for each verb
    Man(ManArgs),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }
}
