//! The command line as it is typed, and its help. Knows nothing of what the verbs do with it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  A full backup of photos/, and an index to start the next one from:
    ibtools diff photos -o full.tgz --index photos.index

  What has changed since, without writing anything:
    ibtools compare photos photos.index

  An incremental backup, which needs the old index but not the old files:
    ibtools diff photos --base photos.index -o monday.tgz --index photos.index

  Everything back, into a new directory:
    ibtools apply restored full.tgz monday.tgz

  One directory back, out of a full backup however large:
    ibtools restore full.tgz restored --path 2024/june

Exit status: 0 done, 1 the answer is no (compare: something differs; verify: damage; apply --status:
an apply is unfinished; --verify, --strict: something is amiss; --skip-obstacles: something was
skipped), 2 failure.";

const GLOBAL: &str = "Options of every command";
const WHAT: &str = "What to leave out";

const PATTERNS: &str = "\
Patterns are those of .gitignore: `*.o` at any depth, `/build` at the top, `cache/` for directories
alone, `!keep.o` to take back. They begin at DIR, also those of --exclude-from. .git/, .hg/ and
.svn/ are left out unless taken back: --exclude '!.git/'";

/// Incremental backups: index a directory, pack what changed into one archive, apply it elsewhere
#[derive(Debug, Parser)]
#[command(name = "ibtools", version, after_help = EXAMPLES, max_term_width = 100)]
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
    /// Use this many threads [default: one for each processor]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Write the signature of a file, which is all that `delta` needs of it
    Signature(SignatureArgs),
    /// Write what turns the file of a signature into another file
    Delta(DeltaArgs),
    /// Make the new file from the old one and a delta
    Patch(PatchArgs),
    /// Take stock of a directory: names, contents, modes, owners, times
    #[command(after_help = PATTERNS)]
    Index(IndexArgs),
    /// Back up a directory: everything, or what has changed since an index
    #[command(after_help = PATTERNS)]
    Diff(DiffArgs),
    /// Make a directory a store of backups
    Init(InitArgs),
    /// Add a snapshot of a directory to a store: all of it, or what has changed
    #[command(after_help = PATTERNS)]
    Backup(BackupArgs),
    /// List the snapshots in a store
    Snapshots(SnapshotsArgs),
    /// List what is in a directory of a snapshot
    Ls(LsArgs),
    /// Print a file of a snapshot
    Cat(CatArgs),
    /// List what changed from one snapshot of a store to another
    Changes(ChangesArgs),
    /// Bring a directory to the snapshot that archives lead to
    Apply(ApplyArgs),
    /// Bring back a snapshot, or single paths of it, out of a store or archives
    Restore(RestoreArgs),
    /// Make one archive of several that follow one another, without the directory
    Squash(SquashArgs),
    /// Check every byte of a store, of archives or of indexes, without restoring anything
    Verify(VerifyArgs),
    /// Remove snapshots from a store by rule, squashing what the others depend on
    Prune(PruneArgs),
    /// List what is in an index, an archive, a diff or a store
    Show(ShowArgs),
    /// Tell what has changed in a directory since an index was made
    #[command(after_help = PATTERNS)]
    Compare(CompareArgs),
    /// Print the completions of a shell
    #[command(after_help = COMPLETIONS)]
    Completions(CompletionsArgs),
    /// Write manual pages, one for each verb
    #[command(after_help = MAN)]
    Man(ManArgs),
}

const COMPLETIONS: &str = "\
Examples:
  bash:  ibtools completions bash > ~/.local/share/bash-completion/completions/ibtools
  zsh:   ibtools completions zsh > ~/.zfunc/_ibtools        (with ~/.zfunc in fpath)
  fish:  ibtools completions fish > ~/.config/fish/completions/ibtools.fish";

const MAN: &str = "\
Example:
  ibtools man ~/.local/share/man/man1 && man ibtools-backup";

#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// For which shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Where to; it is made if it is not there
    pub(crate) dir: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SignatureArgs {
    /// Block length in bytes, with K or M for 1024 or 1048576 [default: by the file's length]
    #[arg(short, long, value_name = "SIZE", value_parser = size)]
    pub(crate) block_size: Option<u32>,
    /// The hash of a block; those of rdiff write signatures that rdiff reads
    #[arg(long, value_enum, default_value = "blake3")]
    pub(crate) hash: Hash,
    /// The file, or - for standard input
    pub(crate) old: PathBuf,
    /// Where to write its signature, or - for standard output
    pub(crate) sig: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Hash {
    /// BLAKE3, 16 bytes of it
    Blake3,
    /// SHA-256, all 32 bytes
    Sha256,
    /// rdiff's default, BLAKE2b
    RdiffBlake2,
    /// rdiff's old hash, MD4: broken, for old programs only
    RdiffMd4,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DeltaArgs {
    /// A signature made by `ibtools signature` or rdiff, or - for standard input
    pub(crate) sig: PathBuf,
    /// Take a signature of rdiff's, which has no check of its own
    #[arg(long)]
    pub(crate) unchecked: bool,
    /// The new file, or - for standard input
    pub(crate) new: PathBuf,
    /// Where to write the delta, which rdiff reads too, or - for standard output
    pub(crate) delta: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PatchArgs {
    /// The old file
    pub(crate) old: PathBuf,
    /// Take a delta of rdiff's, which has no check of its own
    #[arg(long)]
    pub(crate) unchecked: bool,
    /// A delta made by `ibtools delta` or rdiff, or - for standard input
    pub(crate) delta: PathBuf,
    /// Where to write the new file, or - for standard output
    pub(crate) new: PathBuf,
}

/// A directory, what of it counts and how it is read.
#[derive(Debug, clap::Args)]
pub(crate) struct Tree {
    /// The directory
    pub(crate) dir: PathBuf,
    /// Leave out what matches this pattern (may be given several times)
    #[arg(long, value_name = "PATTERN", help_heading = WHAT)]
    pub(crate) exclude: Vec<OsString>,
    /// Leave out what matches a pattern in this file, one a line (may be given several times)
    #[arg(long, value_name = "FILE", help_heading = WHAT)]
    pub(crate) exclude_from: Vec<PathBuf>,
    /// The name of files in the directory that list patterns to leave out, such as .gitignore (may
    /// be given several times: the last decides)
    #[arg(long, value_name = "NAME", default_value = ".exclude", help_heading = WHAT)]
    pub(crate) exclude_file: Vec<String>,
    /// Fail if such a file, or a line of one, cannot be used, instead of a warning
    #[arg(long, help_heading = WHAT)]
    pub(crate) strict_excludes: bool,
    /// Leave out what is in directories marked as caches by a CACHEDIR.TAG
    #[arg(long, help_heading = WHAT)]
    pub(crate) exclude_caches: bool,
    /// Leave out files of over SIZE bytes (K, M or G for 1024 and its powers)
    #[arg(long, value_name = "SIZE", value_parser = large_size, help_heading = WHAT)]
    pub(crate) exclude_larger_than: Option<u64>,
    /// Leave out what is on other file systems than the directory
    #[arg(short = 'x', long, help_heading = WHAT)]
    pub(crate) one_file_system: bool,
    /// Read large files instead of mapping them into memory
    #[arg(long)]
    pub(crate) no_map: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct IndexArgs {
    #[command(flatten)]
    pub(crate) tree: Tree,
    /// Where to write the index
    #[arg(short, long, value_name = "INDEX")]
    pub(crate) output: PathBuf,
    /// An earlier index of the directory: files that look unchanged since are not read again
    #[arg(long, value_name = "OLD_INDEX")]
    pub(crate) since: Option<PathBuf>,
    /// Read them all the same, and tell which have other content though they look unchanged
    #[arg(long, requires = "since")]
    pub(crate) verify: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    pub(crate) tree: Tree,
    /// The index of the last backup; without it, everything is backed up
    #[arg(long, value_name = "OLD_INDEX")]
    pub(crate) base: Option<PathBuf>,
    /// Where to write the archive (.tgz, or .tar.zst for zstd), or - for standard output
    #[arg(short, long, value_name = "ARCHIVE")]
    pub(crate) output: PathBuf,
    /// Compress with zstd, whatever the archive is called
    #[arg(long)]
    pub(crate) zstd: bool,
    /// Cut the archive into volumes of at most this many bytes (with K, M or G): NAME.001.tgz and so on
    #[arg(long, value_name = "SIZE", value_parser = large_size)]
    pub(crate) volume_size: Option<u64>,
    /// Where to write the index that the next backup starts from; may be OLD_INDEX
    #[arg(long, value_name = "NEW_INDEX")]
    pub(crate) index: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct InitArgs {
    /// The directory: made if it does not exist, or empty, or with nothing but archives of a store in it
    pub(crate) store: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    #[command(flatten)]
    pub(crate) tree: Tree,
    /// The store that the backups are kept in, made by `ibtools init`
    pub(crate) store: PathBuf,
    /// Make the store if there is none
    #[arg(long)]
    pub(crate) init: bool,
    /// A name for the directory, by which the store knows it when it has moved, or is on another machine
    #[arg(long = "as", value_name = "NAME", value_parser = name)]
    pub(crate) name: Option<String>,
    /// Make a full backup, even if nothing has changed
    #[arg(long)]
    pub(crate) full: bool,
    /// Make a full backup when N increments follow the last one
    #[arg(long, value_name = "N")]
    pub(crate) full_after: Option<usize>,
    /// Make a full backup when the increments together are X times as large as the last one
    #[arg(long, value_name = "X", value_parser = ratio)]
    pub(crate) full_ratio: Option<f64>,
    /// Compress with zstd instead of gzip
    #[arg(long)]
    pub(crate) zstd: bool,
    /// Exit with 1 if a file could not be read, or changed whenever it was read
    #[arg(long)]
    pub(crate) strict: bool,
    /// Back up even if over nine in ten entries of the last backup are gone, as when a disk is not mounted
    #[arg(long)]
    pub(crate) allow_emptied: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ApplyArgs {
    /// The directory; made if it does not exist and the first archive is a full backup
    pub(crate) dir: PathBuf,
    /// The archives, in the order they were made (of one in volumes the last volume); - is standard
    /// input, applied as it comes if it is the only one
    #[arg(required_unless_present_any = ["status", "abort"], value_name = "ARCHIVE")]
    pub(crate) archives: Vec<PathBuf>,
    /// Bring back owners, setuid bits and devices too: as root, from backups that you trust
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Begin even if the new files, at their full length, do not fit: some may have holes
    #[arg(long)]
    pub(crate) ignore_space: bool,
    /// Change nothing if not all modes, times, owners and attributes can be restored there; else what
    /// cannot is a warning
    #[arg(long)]
    pub(crate) strict: bool,
    /// Do all that can be done: what is in the way stays as it was and is named; exit with 1 then
    #[arg(long)]
    pub(crate) skip_obstacles: bool,
    /// Say whether an apply in the directory was interrupted, and where
    #[arg(long, conflicts_with_all = ["archives", "abort", "dry_run"])]
    pub(crate) status: bool,
    /// Undo an apply that was interrupted: the tree is what it was before
    #[arg(long, conflicts_with_all = ["archives", "dry_run"])]
    pub(crate) abort: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// A store, or archives in the order they were made, the first a full backup; - is standard input
    #[arg(required = true, value_name = "STORE|ARCHIVE")]
    pub(crate) sources: Vec<PathBuf>,
    /// The directory to bring it back into; made if it does not exist. Of what is there, only what
    /// differs is written
    #[arg(required = true)]
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
    /// Bring back owners, setuid bits and devices too: as root, from backups that you trust
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Begin even if the new files, at their full length, do not fit: some may have holes
    #[arg(long)]
    pub(crate) ignore_space: bool,
    /// Change nothing if not all modes, times, owners and attributes can be restored there; else what
    /// cannot is a warning
    #[arg(long)]
    pub(crate) strict: bool,
    /// Do all that can be done: what is in the way stays as it was and is named; exit with 1 then
    #[arg(long)]
    pub(crate) skip_obstacles: bool,
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

/// What to keep; the newest snapshot always is.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(crate) struct KeepArgs {
    /// Keep the last N snapshots
    #[arg(long, value_name = "N", default_value_t, hide_default_value = true)]
    pub(crate) keep_last: usize,
    /// Keep the last snapshot of each of the last N days that have one, in UTC
    #[arg(long, value_name = "N", default_value_t, hide_default_value = true)]
    pub(crate) keep_daily: usize,
    /// The same of weeks, from Monday
    #[arg(long, value_name = "N", default_value_t, hide_default_value = true)]
    pub(crate) keep_weekly: usize,
    /// The same of months
    #[arg(long, value_name = "N", default_value_t, hide_default_value = true)]
    pub(crate) keep_monthly: usize,
    /// The same of years
    #[arg(long, value_name = "N", default_value_t, hide_default_value = true)]
    pub(crate) keep_yearly: usize,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// An index, an archive, a diff, or a store, whose snapshots are listed
    #[arg(value_name = "INDEX|ARCHIVE|DIFF|STORE")]
    pub(crate) file: PathBuf,
    /// Only totals, no list
    #[arg(long)]
    pub(crate) summary: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SnapshotsArgs {
    /// The store
    pub(crate) store: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LsArgs {
    /// A store, or a full backup
    #[arg(value_name = "STORE|ARCHIVE")]
    pub(crate) source: PathBuf,
    /// A directory or file of the snapshot [default: the top directory]
    pub(crate) path: Option<PathBuf>,
    /// The last snapshot until this time, or the one with this id [default: the last]
    #[arg(long, value_name = "TIME|ID")]
    pub(crate) at: Option<String>,
    /// List all that is below, too
    #[arg(short, long)]
    pub(crate) recursive: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CatArgs {
    /// A store, or a full backup
    #[arg(value_name = "STORE|ARCHIVE")]
    pub(crate) source: PathBuf,
    /// A file of the snapshot
    pub(crate) path: PathBuf,
    /// The last snapshot until this time, or the one with this id [default: the last]
    #[arg(long, value_name = "TIME|ID")]
    pub(crate) at: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ChangesArgs {
    /// The store
    pub(crate) store: PathBuf,
    /// The last snapshot until this time, or the one with this id
    #[arg(value_name = "TIME|ID")]
    pub(crate) from: String,
    /// A later or earlier one [default: the last]
    #[arg(value_name = "TIME|ID")]
    pub(crate) to: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CompareArgs {
    #[command(flatten)]
    pub(crate) tree: Tree,
    /// The index to compare it with
    pub(crate) index: PathBuf,
    /// Read everything, and tell which files have other content though they look unchanged
    #[arg(long)]
    pub(crate) verify: bool,
}

/// A number of bytes below 4 GiB.
fn size(text: &str) -> Result<u32, String> {
    large_size(text).and_then(|size| size.try_into().map_err(|_| "too large".to_owned()))
}

/// A number of bytes, with K, M or G after it for larger units.
fn large_size(text: &str) -> Result<u64, String> {
    let units = [(['K', 'k'], 1u64 << 10), (['M', 'm'], 1 << 20), (['G', 'g'], 1 << 30)];
    let with_unit = |(letters, unit)| Some((text.strip_suffix(letters)?, unit));
    let (number, unit) = units.into_iter().find_map(with_unit).unwrap_or((text, 1));
    let number: u64 = number.parse().map_err(|_| "not a number of bytes".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "too large".to_owned())
}

/// A name that a line has room for.
fn name(text: &str) -> Result<String, String> {
    match text.is_empty() || text.len() > 255 {
        true => Err("a name has 1 to 255 bytes".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// A number over 0.
fn ratio(text: &str) -> Result<f64, String> {
    let ratio: Option<f64> = text.parse().ok();
    ratio.filter(|ratio| *ratio > 0.0).ok_or_else(|| "not a number over 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn sizes() {
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("4K"), Ok(4096));
        assert_eq!(size("2m"), Ok(2 << 20));
        assert_eq!(large_size("5G"), Ok(5 << 30));
        for bad in ["", "K", "-1", "4KK", "4097M", "4G", "1.5K"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
