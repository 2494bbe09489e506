//! The verb `restore`: a full backup, or single paths of it, into a directory of their own.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use incremental_backups_tools::{Applied, ApplyOptions, DiffData, Error, RelPath, apply_diff_with};
use indicatif::HumanBytes;
use serde_json::Value;

use crate::Answer;
use crate::args::RestoreArgs;
use crate::changes::Totals;
use crate::console::{Console, shown};
use crate::files;
use crate::json::{object, put_file};

/// `ibtools restore`
pub(crate) fn run(args: &RestoreArgs, console: &mut Console) -> Result<Answer> {
    let data = open(args)?;
    let made = make_dir(&args.dest)?;
    let applied = apply(args, &data, console);
    if made && applied.is_err() {
        drop(fs::remove_dir(&args.dest));
    }
    let applied = applied.with_context(|| {
        format!("cannot restore {} into {}", shown(&args.archive), shown(&args.dest))
    })?;
    let paths = args.path.iter().map(|path| Value::from(shown(path).to_string()));
    let mut document = object([
        ("result", data.diff().result().to_string().into()),
        ("created", applied.created.into()),
        ("unchanged", applied.unchanged.into()),
        ("bytes", applied.bytes.into()),
        ("paths", paths.collect()),
    ]);
    put_file(&mut document, "archive", &args.archive);
    put_file(&mut document, "directory", &args.dest);
    console.document(document)?;
    let (totals, bytes) = (Totals::of(data.diff()), HumanBytes(applied.bytes));
    console.line(format_args!("{}: {totals}; {bytes} written", shown(&args.dest)))?;
    Ok(Answer::Yes)
}

/// The archive, or as much of it as is asked for.
fn open(args: &RestoreArgs) -> Result<DiffData> {
    let archive = files::archive(&args.archive)?;
    if !archive.is_full() {
        bail!("{} is no full backup: use `ibtools apply`", shown(&args.archive));
    }
    if args.path.is_empty() {
        return Ok(archive.load()?);
    }
    let path = |path: &Path| {
        let bytes = path.as_os_str().as_bytes();
        let bytes = bytes.strip_suffix(b"/").unwrap_or(bytes);
        RelPath::new(bytes).with_context(|| format!("{} is no path in a backup", shown(path)))
    };
    let paths: Vec<RelPath> = args.path.iter().map(|at| path(at)).collect::<Result<_>>()?;
    Ok(archive.select(&paths)?)
}

/// Makes the directory if it is not there. Whether it was not.
fn make_dir(dir: &Path) -> Result<bool> {
    match fs::create_dir(dir) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => {
            Err(error).with_context(|| format!("cannot create the directory {}", shown(dir)))
        }
    }
}

fn apply(args: &RestoreArgs, data: &DiffData, console: &Console) -> Result<Applied, Error> {
    let ticker = console.ticker("restoring", Some(Totals::of(data.diff()).content()));
    let options = ApplyOptions {
        privileged: args.privileged,
        progress: Some(Arc::clone(ticker.progress())),
        ..ApplyOptions::default()
    };
    apply_diff_with(&args.dest, data.diff(), data, &options)
}
