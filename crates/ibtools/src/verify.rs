//! The verb `verify`: whether backups are sound, without restoring them, and whether the tree they were
//! made of is as they have it.

mod against;

use std::collections::HashSet;
use std::fmt::Display;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use incremental_backups_tools::store::ArchiveName;
use incremental_backups_tools::{
    Archive, Restorable, SnapshotId, Verified, VerifiedStore, verify_archives,
};
use indicatif::{HumanBytes, HumanCount};
use serde_json::Value;

use crate::Answer;
use crate::args::VerifyArgs;
use crate::console::{Console, in_words, number_of, shown};
use crate::files::{Input, Kind};
use crate::json::{Object, object, put_bytes, put_file, put_path};
use crate::places;
use crate::protect;
use crate::source::{names_store, open_store_anew};

/// How many lost paths a line of text names; JSON has them all.
const NAMED: usize = 8;

/// `ibtools verify`
pub(crate) fn run(args: &VerifyArgs, console: &mut Console) -> Result<Answer> {
    if let Some(by) = &args.by {
        return places::verify(&args.sources, by, args.heal, console);
    }
    let healed = if args.heal { protect::heal(&args.sources, console)? } else { Vec::new() };
    let (mut document, sound) = match args.sources.as_slice() {
        [path] if names_store(path) => store(path, console)?,
        _ if args.against.is_some() => {
            bail!("--against compares a directory with a store, and none is given")
        }
        paths => {
            // What is healed need be none of ours, or a volume that is no archive by itself.
            let is_ours = |(number, path): &(usize, &PathBuf)| {
                let is_proved = healed.get(*number).is_some_and(|healed| healed.is_proved);
                let ours = |input: Input<'_>| match input.kind() {
                    Ok(Kind::Archive) if is_proved => input.into_archive().is_ok(),
                    kind => kind.is_ok(),
                };
                !args.heal || Input::open(path).is_ok_and(ours)
            };
            let ours = paths.iter().enumerate().filter(is_ours);
            let ours: Vec<PathBuf> = ours.map(|(_, path)| path.clone()).collect();
            files(&ours, console)?
        }
    };
    let sound = sound && healed.iter().all(|healed| healed.is_sound);
    if args.heal {
        document.insert("healed".into(), protect::json(&healed));
    }
    let mut answer = if sound { Answer::Yes } else { Answer::No };
    if let ([store], Some(dir)) = (args.sources.as_slice(), &args.against) {
        let (compared, same) = against::run(store, dir, args.repair, console)?;
        document.insert("against".into(), compared.into());
        answer = if same { answer } else { Answer::No };
    }
    document.insert("sound".into(), sound.into());
    document.insert("seconds".into(), console.seconds().into());
    console.document(document)?;
    Ok(answer)
}

/// Verifies a store. Says what was found; whether nothing is wrong.
fn store(path: &Path, console: &mut Console) -> Result<(Object, bool)> {
    let (store, snapshots) = open_store_anew(path)?;
    let bytes = snapshots.archives().iter().map(|stored| stored.size).sum();
    let found = {
        let ticker = console.ticker("verifying", Some(bytes));
        let found = store.verify(Some(ticker.progress().as_ref()));
        found.with_context(|| format!("cannot verify the store {}", shown(path)))?
    };
    let VerifiedStore { archives, snapshots, skipped, indexes, missing, faults, .. } = &found;
    for fault in faults {
        console.line(fault)?;
    }
    for (stored, verified) in archives {
        problems(&stored.name, verified, console)?;
    }
    for (name, error) in indexes {
        let error = in_words(error);
        console.line(format_args!("{name}: {error}; the next backup makes it again"))?;
    }
    for (name, found) in &found.parity.found {
        console.line(format_args!("{name}: {}", protect::words(found)))?;
    }
    for snapshot in missing {
        console.line(format_args!(
            "{snapshot}: there is an index and no archive: that is lost, or no backup was ever finished"
        ))?;
    }
    for (snapshot, past) in skipped {
        let past = names(past).join(", ");
        console.line(format_args!("{snapshot} does not need {past}: another chain leads there"))?;
    }
    for (snapshot, restorable) in snapshots {
        lost(snapshot, restorable, console)?;
    }
    let leading = archives.iter().filter(|(stored, _)| !stored.name.checkpoint);
    let whole_ones: HashSet<SnapshotId> = leading.map(|(stored, _)| stored.name.to).collect();
    let is_checkpoint = |snapshot: &SnapshotId| !whole_ones.contains(snapshot);
    if let Some((last, _)) = snapshots.last().filter(|(last, _)| is_checkpoint(last)) {
        console.line(format_args!(
            "{last} is a checkpoint: the first backup has not come to its end. Back up again, and it goes on"
        ))?;
    }
    let whole = snapshots.iter().filter(|(_, restorable)| *restorable == Restorable::Whole).count();
    let (whole, total) = (HumanCount(whole as u64), number_of(snapshots.len(), "snapshot"));
    let count = number_of(archives.len(), "archive");
    let (named, bytes) = (shown(path), HumanBytes(bytes));
    let took = console.took();
    match found.unread {
        false => console.line(format_args!(
            "{named}: {count}, {bytes}: {whole} of {total} whole, in {took}"
        ))?,
        true => console.line(format_args!(
            "{named}: {bytes}, compared with the hashes in its log, in {took}. What is in them can be verified where the \
             identity is, with --identity"
        ))?,
    }
    let archives = archives
        .iter()
        .map(|(stored, found)| verified("archive", stored.name.to_string().as_bytes(), found));
    let snapshots = snapshots.iter().map(|(snapshot, restorable)| {
        let mut object = object([
            ("snapshot", snapshot.to_string().into()),
            ("checkpoint", is_checkpoint(snapshot).into()),
        ]);
        put_restorable(&mut object, restorable);
        if let Some((_, past)) = skipped.iter().find(|(skipping, _)| skipping == snapshot) {
            object.insert("skipped".into(), names(past).into());
        }
        Value::from(object)
    });
    let indexes = indexes.iter().map(|(name, error)| {
        Value::from(object([
            ("snapshot", name.of.to_string().into()),
            ("file", name.to_string().into()),
            ("problem", in_words(error).into()),
        ]))
    });
    let missing = missing.iter().map(|snapshot| Value::from(snapshot.to_string()));
    let mut document = object([
        ("archives", archives.collect()),
        ("snapshots", snapshots.collect()),
        ("indexes", indexes.collect()),
        ("missing", missing.collect()),
        ("faults", faults.iter().map(|fault| Value::from(fault.as_str())).collect()),
        ("read", (!found.unread).into()),
        ("parities", found.parity.parities.into()),
        ("parity", protect::found_json(&found.parity.found)),
    ]);
    put_file(&mut document, "store", path);
    Ok((document, found.is_sound()))
}

fn names(archives: &[ArchiveName]) -> Vec<String> {
    archives.iter().map(|name| name.to_string()).collect()
}

/// Verifies archives, each of which starts where the one before it ends, and indexes.
fn files(paths: &[PathBuf], console: &mut Console) -> Result<(Object, bool)> {
    let (mut names, mut archives, mut found) = (Vec::new(), Vec::new(), Vec::new());
    for path in paths {
        let input = Input::open(path)?;
        match input.kind()? {
            Kind::Diff => bail!("{} is a diff: it names contents and has none", shown(path)),
            Kind::Index => {
                let checked = input.into_index().and_then(|it| Ok(it.check_signatures()?));
                let problem = checked.err();
                found.push((path, Verified::new(problem.into_iter().collect(), None)));
            }
            Kind::Archive => match input.into_archive() {
                Err(error) => found.push((path, Verified::new(vec![error.into()], None))),
                Ok(archive) => {
                    names.push(path);
                    archives.push(archive);
                }
            },
        }
    }
    let checked = {
        let bytes = archives.iter().map(Archive::size).sum();
        let ticker = console.ticker("verifying", Some(bytes));
        verify_archives(&archives, Some(ticker.progress().as_ref()))?
    };
    found.extend(names.into_iter().zip(checked));
    for (path, verified) in &found {
        problems(&shown(path), verified, console)?;
        verified.result.iter().try_for_each(|result| lost(&shown(path), result, console))?;
    }
    let sound = found.iter().all(|(_, verified)| verified.problems.is_empty());
    let list =
        found.iter().map(|(path, found)| verified("file", path.as_os_str().as_bytes(), found));
    if sound {
        let (count, files) = (found.len(), if found.len() == 1 { "file" } else { "files" });
        console.line(format_args!("{count} {files} sound"))?;
    }
    Ok((object([("files", list.collect())]), sound))
}

fn problems(name: &dyn Display, verified: &Verified, console: &mut Console) -> Result<()> {
    let name = format!("{name}: ");
    verified.problems.iter().try_for_each(|error| {
        let words = in_words(error);
        // Most errors of an archive name it.
        console.line(format_args!("{name}{}", words.strip_prefix(&name).unwrap_or(&words)))
    })
}

/// Says what of a snapshot cannot be restored, if anything cannot.
fn lost(name: &dyn Display, restorable: &Restorable, console: &mut Console) -> Result<()> {
    match restorable {
        Restorable::Whole => Ok(()),
        Restorable::Nothing => console.line(format_args!("{name} cannot be restored")),
        Restorable::Without(paths) => {
            let some: Vec<String> = paths.iter().take(NAMED).map(|path| path.to_string()).collect();
            let more = match paths.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {} more", HumanCount(more as u64)),
            };
            console.line(format_args!("{name} can be restored without {}{more}", some.join(", ")))
        }
    }
}

fn put_restorable(object: &mut Object, restorable: &Restorable) {
    let (word, lost) = match restorable {
        Restorable::Whole => ("whole", None),
        Restorable::Without(paths) => ("partly", Some(paths)),
        Restorable::Nothing => ("nothing", None),
    };
    object.insert("restorable".into(), word.into());
    if let Some(paths) = lost {
        let paths = paths.iter().map(|path| {
            let mut object = Object::new();
            put_path(&mut object, "path", path);
            Value::from(object)
        });
        object.insert("lost".into(), paths.collect());
    }
}

/// What was found of an archive or index, in JSON.
fn verified(key: &str, name: &[u8], verified: &Verified) -> Value {
    let problems = verified.problems.iter().map(|error| Value::from(in_words(error)));
    let mut object = object([("problems", problems.collect())]);
    put_bytes(&mut object, key, name);
    if let Some(restorable) = &verified.result {
        put_restorable(&mut object, restorable);
    }
    object.into()
}
