//! What a backup is of: a directory; several trees, by their absolute paths; or standard input. Must not know of stores.

use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};
use incremental_backups_tools::{Dir, DirOptions, Origin, RelPath, dirindex};
use tempfile::TempDir;

use crate::args::BackupArgs;
use crate::console::shown;
use crate::paths;
use crate::scan;

/// What is backed up.
pub(crate) struct Sources {
    /// The tree that is scanned.
    pub(crate) dir: Dir,
    /// Whose tree it is.
    pub(crate) origin: Origin,
    /// What messages call it.
    pub(crate) shown: String,
    /// What holds standard input, until it is in the store.
    _spooled: Option<TempDir>,
}

impl Sources {
    /// What `args` name.
    pub(crate) fn open(args: &BackupArgs) -> Result<Sources> {
        let rules = scan::rules(&args.scan)?;
        match (&args.stdin_name, args.sources.as_slice()) {
            (Some(name), _) => of_stdin(name, args),
            // What cannot be looked at is taken for a directory: opening it says why it cannot be read.
            (None, [dir]) if !is_other_than_a_directory(dir) => {
                let opened = Dir::with_options(dir, &rules)?;
                scan::warn_of_missing(&opened, &rules.only);
                named(opened, shown(dir), args)
            }
            (None, several) => {
                if !rules.only.is_empty() {
                    bail!("--files-from lists paths in one directory: give that one alone");
                }
                let only = several
                    .iter()
                    .map(|path| by_absolute_path(path))
                    .collect::<Result<Option<Vec<_>>>>()?;
                let dir = Dir::with_options(
                    "/",
                    &DirOptions { only: only.unwrap_or_default(), ..rules },
                )?;
                let all: Vec<String> = several.iter().map(shown).collect();
                named(dir, all.join(", "), args)
            }
        }
    }
}

/// Whether `path` is known to be there, and to be no directory.
fn is_other_than_a_directory(path: &Path) -> bool {
    path.metadata().is_ok_and(|there| !there.is_dir())
}

fn named(dir: Dir, shown: String, args: &BackupArgs) -> Result<Sources> {
    let origin = Origin::of(&dir, args.name.as_deref());
    let origin = origin.with_context(|| format!("cannot read {shown}"))?;
    Ok(Sources { dir, origin, shown, _spooled: None })
}

/// Where `path` is, from the top of the file system. The directories that lead there may be links, and a snapshot has no
/// path through a link. `None` for the top itself.
fn by_absolute_path(path: &Path) -> Result<Option<RelPath>> {
    let failed = || format!("cannot find {}", shown(path));
    let is_link = path.symlink_metadata().with_context(failed)?.is_symlink();
    let absolute = match (is_link, path.parent(), path.file_name()) {
        (true, Some(parent), Some(name)) => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            parent.canonicalize().with_context(failed)?.join(name)
        }
        _ => path.canonicalize().with_context(failed)?,
    };
    paths::inside(&absolute, None)
}

/// Standard input, as the file `name`. Its digest has to be known before it is stored, so that it is spooled first.
fn of_stdin(name: &str, args: &BackupArgs) -> Result<Sources> {
    let path = RelPath::new(name)
        .with_context(|| format!("--stdin-name {}: no name of a file", shown(name)))?;
    let failed = || "cannot spool standard input into a temporary file";
    let spooled = tempfile::tempdir().with_context(failed)?;
    let file = spooled.path().join(path.as_path());
    std::fs::create_dir_all(file.parent().unwrap_or(spooled.path())).with_context(failed)?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&file)
        .with_context(failed)?;
    let len = io::copy(&mut io::stdin().lock().by_ref(), &mut file).with_context(failed)?;
    if len == 0 && !args.allow_emptied {
        bail!(
            "standard input is empty, as when the program before the pipe failed: --allow-emptied backs that up all the same"
        );
    }
    let dir = Dir::with_options(spooled.path(), &DirOptions::everything())?;
    let mut sources = named(dir, "standard input".into(), args)?;
    sources.origin.path = format!("stdin:{}", dirindex::escape(name.as_bytes()));
    sources._spooled = Some(spooled);
    Ok(sources)
}
