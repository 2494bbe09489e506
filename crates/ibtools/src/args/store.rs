//! What is typed for the verbs that keep a store, or work on archives.

use std::path::PathBuf;

use super::tree::{How, Scan};
use incremental_backups_tools::store::Within;

use super::values::{count, large_size, name, percent, ratio, tag};

#[derive(Debug, clap::Args)]
pub(crate) struct InitArgs {
    /// The directory: made if it does not exist, or empty, or with nothing but archives of a store in it
    pub(crate) store: PathBuf,
    /// Encrypt the store for this public key (age1… or ssh-ed25519 …), those in a file, or a passphrase: any one of them opens it.
    /// This machine can write to it then, and not read it (may be given several times)
    #[arg(long, value_name = "KEY|FILE|passphrase")]
    pub(crate) recipient: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    /// The directory, and the store, made by `ibtools init`. Several directories, and files, are backed up by their
    /// absolute paths: the top of the snapshot is /
    #[arg(value_name = "DIR... STORE")]
    words: Vec<PathBuf>,
    /// What is backed up.
    #[arg(skip)]
    pub(crate) sources: Vec<PathBuf>,
    #[arg(skip)]
    pub(crate) store: PathBuf,
    #[command(flatten)]
    pub(crate) scan: Scan,
    /// Back up standard input, as a file of this name, instead of a directory
    #[arg(long, value_name = "NAME", conflicts_with = "files_from")]
    pub(crate) stdin_name: Option<String>,
    /// Make the store if there is none
    #[arg(long)]
    pub(crate) init: bool,
    /// A name for the directory, by which the store knows it when it has moved, or is on another machine
    #[arg(long = "as", value_name = "NAME", value_parser = name)]
    pub(crate) name: Option<String>,
    /// Mark the snapshot with a word that it can be found and kept by (may be given several times)
    #[arg(long, value_name = "TAG", value_parser = tag)]
    pub(crate) tag: Vec<String>,
    /// Make a full backup, even if nothing has changed
    #[arg(long)]
    pub(crate) full: bool,
    /// Make a full backup when N increments follow the last one
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) full_after: Option<usize>,
    /// Make a full backup when the increments together are X times as large as the last one
    #[arg(long, value_name = "X", value_parser = ratio)]
    pub(crate) full_ratio: Option<f64>,
    /// After so many bytes of contents, have a first backup put what it has as a checkpoint, from which the next one goes on if this
    /// one is interrupted [default: 4G, and a sixteenth of what is there if that is more]
    #[arg(long, value_name = "SIZE", value_parser = large_size)]
    pub(crate) checkpoint: Option<u64>,
    /// Compress with zstd instead of gzip
    #[arg(long)]
    pub(crate) zstd: bool,
    /// Leave a file that changes while it is stored as the last backup has it; exit with 1 if there is
    /// one, or one that could not be read
    #[arg(long)]
    pub(crate) strict: bool,
    /// Have N percent of each archive and index be made again when it is damaged: parity beside it. The store remembers it
    #[arg(long, value_name = "N", value_parser = percent)]
    pub(crate) parity: Option<u32>,
    /// Back up even if over nine in ten entries of the last backup are gone, as when a disk is not mounted
    #[arg(long)]
    pub(crate) allow_emptied: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// A store, or archives in the order they were made, the first a full backup (- is standard input); and the
    /// directory to bring it back into, made if it does not exist. Of what is there, only what differs is written
    #[arg(value_name = "STORE... DEST")]
    words: Vec<PathBuf>,
    /// What is brought back.
    #[arg(skip)]
    pub(crate) sources: Vec<PathBuf>,
    #[arg(skip)]
    pub(crate) dest: PathBuf,
    /// The last snapshot until this time, such as 2026-11-22 or 2026-11-22T16:18, or the one with this id
    /// [default: the last]
    #[arg(long, value_name = "TIME|ID")]
    pub(crate) at: Option<String>,
    /// Bring back this path, with all that is below it, and nothing else (may be given several times)
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Vec<PathBuf>,
    /// Replace what stands where something else is to be restored
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Replace it, and remove what the backup does not have
    #[arg(long)]
    pub(crate) delete: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) how: How,
}

#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// A store, archives in the order they were made, or indexes
    #[arg(required = true, value_name = "STORE|ARCHIVE|INDEX")]
    pub(crate) sources: Vec<PathBuf>,
    /// Also compare the last snapshot in the store with this directory, reading all of it, and tell which
    /// files are corrupt there
    #[arg(long, value_name = "DIR")]
    pub(crate) against: Option<PathBuf>,
    /// Take back from the store what is corrupt in the directory
    #[arg(long, requires = "against")]
    pub(crate) repair: bool,
    /// First mend what is damaged by its parity, if it has one (see `protect`)
    #[arg(long)]
    pub(crate) heal: bool,
    /// Compare places with the parity that `protect --across -o` made over them, in the same order. With --heal a lost one is made
    /// again: name an empty directory for it
    #[arg(long, value_name = "PARITY", conflicts_with = "against")]
    pub(crate) by: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ProtectArgs {
    /// A store, or files of any kind
    #[arg(required = true, value_name = "STORE|FILE")]
    pub(crate) sources: Vec<PathBuf>,
    /// How many percent of each file can be made again [default: what the store remembers, or 5]
    #[arg(long, value_name = "N", value_parser = percent, conflicts_with = "across")]
    pub(crate) parity: Option<u32>,
    /// Of a store: one parity over the archives of the newest snapshot, so that any one of them can be lost. With -o: one over
    /// several places, such as stores, so that any one place can be lost
    #[arg(long)]
    pub(crate) across: bool,
    /// Where to write the parity over several places: to another place than these
    #[arg(short, long, value_name = "PARITY", requires = "across")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SquashArgs {
    /// Archives in the order they were made (of one in volumes the last volume), or a store
    #[arg(required = true, value_name = "STORE|ARCHIVE")]
    pub(crate) sources: Vec<PathBuf>,
    /// Of a store: a full backup of the snapshot at this time or with this id [default: the last]
    #[arg(long, value_name = "TIME|ID")]
    pub(crate) at: Option<String>,
    /// The index of the tree that the first archive starts from, if that is no full backup: needed when
    /// one of them moves a directory with all that is below it
    #[arg(long, value_name = "INDEX")]
    pub(crate) base: Option<PathBuf>,
    /// Where to write the archive (.tgz, or .tar.zst for zstd) that does what all of them do, or - for
    /// standard output
    #[arg(short, long, value_name = "ARCHIVE")]
    pub(crate) output: PathBuf,
    /// Compress with zstd, whatever the archive is called
    #[arg(long)]
    pub(crate) zstd: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PruneArgs {
    /// The store
    pub(crate) store: PathBuf,
    #[command(flatten)]
    pub(crate) keep: KeepArgs,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Count days, weeks, months and years though the clock was wrong for some snapshots, or is now
    #[arg(long)]
    pub(crate) ignore_clock: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ForgetArgs {
    /// The store
    pub(crate) store: PathBuf,
    /// The id of a snapshot, or its beginning, as `ibtools snapshots` lists it
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// What to keep; the newest snapshot always is.
#[derive(Debug, clap::Args)]
pub(crate) struct KeepArgs {
    /// Keep the last N snapshots
    #[arg(long, value_name = "N", default_value_t, hide_default_value = true)]
    #[arg(value_parser = count)]
    pub(crate) keep_last: usize,
    /// Keep all that are no older than this before the newest, such as 30d or 1y6m (y, m, w, d and h)
    #[arg(long, value_name = "TIME")]
    pub(crate) keep_within: Option<Within>,
    /// Keep those with this tag (may be given several times)
    #[arg(long, value_name = "TAG", value_parser = tag)]
    pub(crate) keep_tag: Vec<String>,
    /// Keep the last snapshot of each of the last N hours that have one, in UTC
    #[arg(long, value_name = "N", default_value_t, hide_default_value = true)]
    #[arg(value_parser = count)]
    pub(crate) keep_hourly: usize,
    /// The same of days
    #[arg(long, value_name = "N", default_value_t, hide_default_value = true)]
    #[arg(value_parser = count)]
    pub(crate) keep_daily: usize,
    /// The same of weeks, from Monday
    #[arg(long, value_name = "N", default_value_t, hide_default_value = true)]
    #[arg(value_parser = count)]
    pub(crate) keep_weekly: usize,
    /// The same of months
    #[arg(long, value_name = "N", default_value_t, hide_default_value = true)]
    #[arg(value_parser = count)]
    pub(crate) keep_monthly: usize,
    /// The same of years
    #[arg(long, value_name = "N", default_value_t, hide_default_value = true)]
    #[arg(value_parser = count)]
    pub(crate) keep_yearly: usize,
}

/// The store where none is among the words.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    pub(super) store: Option<PathBuf>,
    /// It is on the command line, as `--store`: no word is a store.
    pub(super) is_typed: bool,
    /// What a backup is of.
    pub(super) sources: Vec<PathBuf>,
}

impl BackupArgs {
    /// The last word is STORE, unless it is given elsewhere and there are no two words.
    pub(super) fn settle(&mut self, left_out: &LeftOut) -> Result<(), String> {
        let (mut words, of_stdin) = (self.words.clone(), self.stdin_name.is_some());
        let enough = if of_stdin { 1 } else { 2 };
        let is_word = !left_out.is_typed && (words.len() >= enough || left_out.store.is_none());
        let store = if is_word { words.pop() } else { left_out.store.clone() };
        if words.is_empty() && !of_stdin {
            words.clone_from(&left_out.sources);
        }
        if of_stdin && !words.is_empty() {
            return Err("with --stdin-name, standard input is backed up and no directory: give a STORE alone".into());
        }
        match (store, words.is_empty() && !of_stdin) {
            (Some(_), true) if is_word => {
                Err(format!("DIR or STORE is missing. Usage: {BACKUP_USAGE}"))
            }
            (None, _) | (_, true) => {
                Err(format!("there is nothing to back up. Usage: {BACKUP_USAGE}"))
            }
            (Some(store), false) => {
                (self.sources, self.store) = (words, store);
                Ok(())
            }
        }
    }
}

impl RestoreArgs {
    /// The last word is DEST. Without other words the store is the one given elsewhere.
    pub(super) fn settle(&mut self, left_out: &LeftOut) -> Result<(), String> {
        let mut words = self.words.clone();
        let missing = |what| format!("{what} is missing. Usage: {RESTORE_USAGE}");
        let dest = words.pop().ok_or_else(|| missing("DEST"))?;
        if left_out.is_typed && !words.is_empty() {
            return Err("the store is given twice, with --store and before DEST".into());
        }
        if words.is_empty() {
            words.push(left_out.store.clone().ok_or_else(|| missing("STORE or DEST"))?);
        }
        (self.sources, self.dest) = (words, dest);
        Ok(())
    }
}

pub(super) const BACKUP_USAGE: &str = "ibtools backup [OPTIONS] <DIR>... <STORE>";
pub(super) const RESTORE_USAGE: &str = "ibtools restore [OPTIONS] <STORE|ARCHIVE>... <DEST>";
