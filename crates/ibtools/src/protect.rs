//! The verb `protect`, and what heals by its work: `verify --heal`, and files that are mended in memory while they are read.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use incremental_backups_tools::dirindex::{NewFile, PooledFile};
use incremental_backups_tools::parity::{self, Healed, Healing, Parity, Redundancy};
use incremental_backups_tools::store::{Store, StoredName};
use incremental_backups_tools::{Archive, ParityFound, ReadAt, Repository, archive};
use indicatif::HumanBytes;
use serde_json::Value;

use crate::Answer;
use crate::args::ProtectArgs;
use crate::console::{self, Console, in_words, number_of, shown};
use crate::json::{object, put_file};
use crate::places;
use crate::source::{names_store, open_dir};

/// `ibtools protect`
pub(crate) fn run(args: &ProtectArgs, console: &mut Console) -> Result<Answer> {
    if let Some(output) = &args.output {
        return places::protect(&args.sources, output, console);
    }
    match args.sources.as_slice() {
        [store] if names_store(store) => protect_store(store, args, console),
        _ if args.across => bail!(
            "--across is of a store; for several places say with -o where to write the parity"
        ),
        files => protect_files(files, args.parity.unwrap_or(Redundancy::DEFAULT_PERCENT), console),
    }
}

fn protect_store(path: &Path, args: &ProtectArgs, console: &mut Console) -> Result<Answer> {
    let store = open_dir(path)?;
    let ticker = console.ticker("protecting", None);
    let progress = Some(&**ticker.progress());
    let done = match args.across {
        true => store.protect_across(progress),
        false => store.protect(args.parity, progress),
    };
    drop(ticker);
    let report = done.with_context(|| format!("cannot protect {}", shown(path)))?;
    for (name, error) in &report.damaged {
        let error = in_words(error);
        console.line(format_args!(
            "{name}: {error}; it is not protected: mend it with `ibtools verify --heal`, or make a new full backup"
        ))?;
    }
    for made in &report.made {
        let (bytes, of) = (HumanBytes(made.parity_bytes), HumanBytes(made.bytes));
        console.line(format_args!("{} ({bytes}, of {of})", made.name))?;
    }
    if let Some(percent) = report.percent {
        let (made, kept) = (number_of(report.made.len(), "parity file"), report.kept);
        console.line(format_args!(
            "{}: {percent}% of each file can be mended: {made} made, {kept} there before",
            shown(path)
        ))?;
    }
    let made = report.made.iter().map(|made| {
        Value::from(object([
            ("parity", made.name.to_string().into()),
            ("bytes", made.bytes.into()),
            ("parity_bytes", made.parity_bytes.into()),
        ]))
    });
    let damaged = report.damaged.iter().map(|(name, error)| {
        Value::from(object([
            ("file", name.to_string().into()),
            ("problem", in_words(error).into()),
        ]))
    });
    let mut document = object([
        ("percent", report.percent.into()),
        ("made", made.collect()),
        ("kept", report.kept.into()),
        ("damaged", damaged.collect()),
    ]);
    put_file(&mut document, "store", path);
    console.document(document)?;
    Ok(if report.damaged.is_empty() { Answer::Yes } else { Answer::No })
}

fn protect_files(files: &[PathBuf], percent: u32, console: &mut Console) -> Result<Answer> {
    let mut made = Vec::new();
    for path in files {
        let failed = || format!("cannot protect {}", shown(path));
        ensure!(!path.is_dir(), "{} is a directory: name its files, or a store", shown(path));
        let file = PooledFile::open(path).with_context(failed)?;
        let place = beside(path);
        let ticker = console.ticker("protecting", file.size().ok());
        let done = put(&place, |out| {
            let (files, share) = ([parity::File::alone(&file)], Redundancy::percent(percent)?);
            Ok(parity::protect(&files, share, out, Some(ticker.progress()))?)
        })
        .with_context(failed)?;
        let (bytes, of) = (HumanBytes(done.parity_bytes), HumanBytes(done.bytes));
        console.line(format_args!("{} ({bytes}, of {of})", shown(&place)))?;
        let mut object =
            object([("bytes", done.bytes.into()), ("parity_bytes", done.parity_bytes.into())]);
        put_file(&mut object, "parity", &place);
        made.push(Value::from(object));
    }
    console.document(object([("percent", percent.into()), ("made", made.into())]))?;
    Ok(Answer::Yes)
}

/// Where the parity of a file is.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".parity");
    name.into()
}

/// Puts what `write` writes in the place of `place`, when it is whole. It takes after what it replaces.
pub(crate) fn put<T>(place: &Path, write: impl FnOnce(&mut NewFile) -> Result<T>) -> Result<T> {
    let mut file = NewFile::beside(place)?;
    let written = write(&mut file)?;
    file.put()?;
    Ok(written)
}

/// A store that warns of what is found damaged while it is read.
pub(crate) fn witnessed<S: Store>(store: Repository<S>) -> Repository<S> {
    store.witnessed_by(warn)
}

fn warn(name: &str, healed: &Healed) {
    let text = match healed {
        Healed::Mended { shards } => format!(
            "{name} is damaged: {} mended in memory; `ibtools verify --heal` mends it for good",
            number_of(*shards, "shard")
        ),
        other => format!("{name} is damaged, and its parity does not mend it: {other}"),
    };
    console::complain(&format!("warning: {text}"));
}

/// Opens an archive of which each file heals in memory if there is a parity beside it.
pub(crate) fn open_archive(path: &Path) -> Result<Archive, archive::Error> {
    Archive::open_by(path, |path| {
        let (parity, name) = (beside(path), shown(path).to_string());
        let parity = move || Ok(Box::new(PooledFile::open(&parity)?) as Box<dyn ReadAt>);
        let healing = Healing::new(PooledFile::open(path)?, parity, move |it| warn(&name, it));
        Ok(Box::new(healing))
    })
}

/// What became of a file that was to be healed.
pub(crate) struct Outcome {
    name: String,
    says: String,
    pub(crate) is_sound: bool,
    /// Whether its parity shows that it is as it was.
    pub(crate) is_proved: bool,
}

/// Mends the files of a store, or single files, by their parity, and says so.
pub(crate) fn heal(sources: &[PathBuf], console: &mut Console) -> Result<Vec<Outcome>> {
    let outcomes = match sources {
        [store] if names_store(store) => {
            let ticker = console.ticker("checking", None);
            let healed = open_dir(store)?.heal(Some(ticker.progress()));
            let healed = healed.with_context(|| format!("cannot heal {}", shown(store)))?;
            let outcome = |(name, found): &(StoredName, ParityFound)| Outcome {
                name: name.to_string(),
                says: words(found),
                // What is not mended, the verifying after this says.
                is_sound: true,
                is_proved: false,
            };
            healed.found.iter().map(outcome).collect()
        }
        files => {
            let healed = files.iter().map(|path| heal_file(path, console));
            healed.collect::<Result<Vec<Outcome>>>()?
        }
    };
    for outcome in &outcomes {
        console.line(format_args!("{}: {}", outcome.name, outcome.says))?;
    }
    Ok(outcomes)
}

fn heal_file(path: &Path, console: &Console) -> Result<Outcome> {
    let place = beside(path);
    let outcome = |says: String, is_sound| {
        let name = shown(path).to_string();
        Outcome { name, says, is_sound, is_proved: is_sound }
    };
    let source = match PooledFile::open(&place) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let sound = outcome("it has no parity".to_owned(), true);
            return Ok(Outcome { is_proved: false, ..sound });
        }
        opened => opened.with_context(|| format!("cannot open {}", shown(&place)))?,
    };
    let failed = || format!("cannot heal {} by {}", shown(path), shown(&place));
    let parity = Parity::open(source).with_context(failed)?;
    let file = match PooledFile::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        opened => Some(opened.with_context(failed)?),
    };
    let files = [file.as_ref().map(|file| file as &dyn ReadAt)];
    let ticker = console.ticker("checking", file.as_ref().and_then(|file| file.size().ok()));
    let progress = Some(&**ticker.progress());
    let check = parity.check(&files, progress).with_context(failed)?;
    if check.is_sound() {
        return Ok(outcome("sound, and so is its parity".to_owned(), true));
    }
    let mut says = Vec::new();
    if !check.are_files_sound() {
        let mended = match parity.mend(&files, &check, progress) {
            Ok(mended) => mended,
            Err(error @ parity::Error::Cancelled(_)) => return Err(error).with_context(failed),
            Err(error) => return Ok(outcome(error.to_string(), false)),
        };
        let damaged = files.first().copied().flatten();
        put(path, |out| Ok(mended.write(0, damaged, out, progress)?)).with_context(failed)?;
        says.push(format!("mended, {}", number_of(mended.shards(), "shard")));
    }
    if !check.is_parity_sound() {
        let file = PooledFile::open(path).with_context(failed)?;
        let share = Redundancy::Share(parity.percent());
        let files = [parity::File::alone(&file)];
        let made = put(&place, |out| Ok(parity::protect(&files, share, out, progress)?));
        made.with_context(failed)?;
        says.push("its parity was damaged and is made anew".to_owned());
    }
    Ok(outcome(says.join("; "), true))
}

/// What was found of a file by its parity, in words.
pub(crate) fn words(found: &ParityFound) -> String {
    match found {
        ParityFound::Damaged { mended: false, .. }
        | ParityFound::Lost { mended: false }
        | ParityFound::ParityDamaged { mended: false } => {
            format!("{found}: `ibtools verify --heal` does")
        }
        ParityFound::Unreadable(error) => {
            format!("{}; `ibtools protect` makes a new one", in_words(error))
        }
        _ => found.to_string(),
    }
}

/// The same in JSON.
pub(crate) fn found_json(found: &[(StoredName, ParityFound)]) -> Value {
    let found = found.iter().map(|(name, found)| {
        Value::from(object([("file", name.to_string().into()), ("detail", words(found).into())]))
    });
    found.collect()
}

/// What became of healed files, in JSON.
pub(crate) fn json(outcomes: &[Outcome]) -> Value {
    let outcome = |outcome: &Outcome| {
        Value::from(object([
            ("file", outcome.name.clone().into()),
            ("detail", outcome.says.clone().into()),
        ]))
    };
    outcomes.iter().map(outcome).collect()
}
