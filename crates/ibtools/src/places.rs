//! One parity over several places, of which any one may be lost as a whole: `protect --across -o`, and `verify --by`. A place is a
//! directory, whose archives are meant, or a file. Knows their order, not where they were when the parity was made.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use incremental_backups_tools::ReadAt;
use incremental_backups_tools::dirindex::PooledFile;
use incremental_backups_tools::parity::{self, Parity, Redundancy};
use incremental_backups_tools::store::StoredName;
use indicatif::HumanBytes;
use serde_json::Value;

use crate::Answer;
use crate::console::{Console, number_of, shown};
use crate::json::{object, put_file};
use crate::protect::put;

/// A file of a place.
struct Part {
    path: PathBuf,
    /// What the parity calls it: the number of its place, and its name there.
    name: String,
}

/// Makes one parity over all files of `places`, as large as the largest of these.
pub(crate) fn protect(places: &[PathBuf], output: &Path, console: &mut Console) -> Result<Answer> {
    ensure!(places.len() > 1, "--across with -o is over two places or more, and one is given");
    let (mut parts, mut most_bytes, mut most_files) = (Vec::new(), 0, 0);
    for (number, place) in (1..).zip(places) {
        let here = files_of(place).with_context(|| format!("cannot protect {}", shown(place)))?;
        ensure!(!here.is_empty(), "there is no archive in {}", shown(place));
        let (mut bytes, files) = (0, here.len());
        for (path, name) in here {
            let opened = PooledFile::open(&path).and_then(|file| Ok((file.size()?, file)));
            let (len, file) = opened.with_context(|| format!("cannot open {}", shown(&path)))?;
            bytes += len;
            parts.push((format!("{number}/{name}"), file));
        }
        (most_bytes, most_files) = (bytes.max(most_bytes), files.max(most_files));
    }
    let files: Vec<parity::File<'_>> =
        parts.iter().map(|(name, source)| parity::File { name, source }).collect();
    let lost = Redundancy::Files { count: most_files, bytes: most_bytes };
    let ticker = console.ticker("protecting", size_of(parts.iter().map(|(_, file)| file)));
    let done = put(output, |out| Ok(parity::protect(&files, lost, out, Some(ticker.progress()))?));
    drop(ticker);
    let done = done.with_context(|| format!("cannot write {}", shown(output)))?;
    let (bytes, of) = (HumanBytes(done.parity_bytes), HumanBytes(done.bytes));
    let (files, places) = (number_of(files.len(), "file"), number_of(places.len(), "place"));
    console.line(format_args!("{} ({bytes}, of {of}): {files} in {places}", shown(output)))?;
    let mut document =
        object([("bytes", done.bytes.into()), ("parity_bytes", done.parity_bytes.into())]);
    put_file(&mut document, "parity", output);
    console.document(document)?;
    Ok(Answer::Yes)
}

/// The files that are meant by a place, each with its name there, in order.
fn files_of(place: &Path) -> Result<Vec<(PathBuf, String)>> {
    let name_of = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    if !place.is_dir() {
        let name = name_of(place).context("its name is not text")?;
        return Ok(vec![(place.to_path_buf(), name)]);
    }
    let mut files = Vec::new();
    for entry in place.read_dir()? {
        let path = entry?.path();
        let archive = name_of(&path).filter(|name| {
            matches!(StoredName::parse(name), Some(StoredName::Archive(_))) && path.is_file()
        });
        files.extend(archive.map(|name| (path, name)));
    }
    files.sort();
    Ok(files)
}

/// Compares the files of `places`, which are in the order in which the parity at `by` was made, with it. Mends them if it is to.
pub(crate) fn verify(
    places: &[PathBuf],
    by: &Path,
    heal: bool,
    console: &mut Console,
) -> Result<Answer> {
    let failed = || format!("cannot use the parity {}", shown(by));
    let parity = PooledFile::open(by).with_context(failed)?;
    let parity = Parity::open(parity).with_context(failed)?;
    let named = parity.members().iter().map(|member| part(&member.name, places));
    let parts = named.collect::<Result<Vec<Part>>>().with_context(failed)?;
    let paths: HashSet<&Path> = parts.iter().map(|part| part.path.as_path()).collect();
    if paths.len() < parts.len()
        && let Some(place) = places.iter().find(|place| paths.contains(place.as_path()))
    {
        return Err(anyhow!("{} is a file, and was a directory", shown(place)))
            .with_context(failed);
    }
    let mut sources = Vec::new();
    for Part { path, .. } in &parts {
        sources.push(match PooledFile::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            opened => Some(opened.with_context(|| format!("cannot open {}", shown(path)))?),
        });
    }
    let files: Vec<Option<&dyn ReadAt>> =
        sources.iter().map(|file| file.as_ref().map(|file| file as &dyn ReadAt)).collect();
    let ticker = console.ticker("checking", size_of(sources.iter().flatten()));
    let progress = Some(&**ticker.progress());
    let check = parity.check(&files, progress).with_context(failed)?;
    let damaged = (0..files.len()).filter(|&number| !check.is_file_sound(number));
    let damaged: Vec<usize> = damaged.collect();
    // Before anything is written: an error if it cannot be.
    let mended = match heal && !damaged.is_empty() {
        true => Some(parity.mend(&files, &check, progress).with_context(failed)?),
        false => None,
    };
    let mut found = Vec::new();
    for number in damaged {
        let (Some(Part { path, name }), Some(&file)) = (parts.get(number), files.get(number))
        else {
            continue;
        };
        if let Some(mended) = &mended {
            make_dir(path)?;
            let written = put(path, |out| Ok(mended.write(number, file, out, progress)?));
            written.with_context(|| format!("cannot mend {}", shown(path)))?;
        }
        let says = match (file.is_some(), heal, check.is_mendable()) {
            (true, true, _) => "mended",
            (false, true, _) => "it was lost, and is made again",
            (true, false, true) => "damaged, and the parity can mend it: with --heal",
            (false, false, true) => "lost, and the parity can make it again: with --heal",
            (_, false, false) => "damaged or lost, with more than the parity can mend",
        };
        console.line(format_args!("{}: {says}", shown(path)))?;
        found.push(Value::from(object([("file", name.as_str().into()), ("detail", says.into())])));
    }
    let is_sound = (heal || check.are_files_sound()) && check.is_parity_sound();
    if !check.is_parity_sound() {
        console.line(format_args!(
            "{}: it is damaged itself: make it again with `ibtools protect --across`",
            shown(by)
        ))?;
    }
    console.line(format_args!("{} compared", number_of(files.len(), "file")))?;
    console.document(object([("sound", is_sound.into()), ("found", found.into())]))?;
    Ok(if is_sound { Answer::Yes } else { Answer::No })
}

/// How many bytes they have together, if that is known.
fn size_of<'a>(mut files: impl Iterator<Item = &'a PooledFile>) -> Option<u64> {
    files.try_fold(0u64, |bytes, file| Some(bytes.saturating_add(file.size().ok()?)))
}

/// Makes the directory of a place that is gone as a whole, for its owner alone. What that lies in has to be there: a disk may
/// not be mounted.
fn make_dir(path: &Path) -> Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty() && !dir.exists());
    let Some(dir) = dir else { return Ok(()) };
    DirBuilder::new()
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("cannot make the directory {}", shown(dir)))
}

/// Where the file is that a parity calls `name`. What it says is not believed: it is a name in one of these places.
fn part(name: &str, places: &[PathBuf]) -> Result<Part> {
    let known = name.split_once('/').and_then(|(number, file)| {
        let place = places.get(number.parse::<usize>().ok()?.checked_sub(1)?)?;
        let mut parts = Path::new(file).components();
        let is_name = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
        is_name.then_some((place, file)).filter(|_| !file.contains('/'))
    });
    let Some((place, file)) = known else {
        bail!(
            "it is over the file {name:?}, which is in none of these places: name all of them, in the order in which it was made"
        )
    };
    let archive = matches!(StoredName::parse(file), Some(StoredName::Archive(_)));
    // One that is gone was a file if it is called as that was.
    let was_dir = archive && !place.exists() && place.file_name() != Some(OsStr::new(file));
    match (place.is_dir() || was_dir, archive) {
        (true, false) => bail!("{} is a directory, and was the file {file:?}", shown(place)),
        (true, true) => Ok(Part { path: place.join(file), name: name.to_owned() }),
        (false, _) => Ok(Part { path: place.clone(), name: name.to_owned() }),
    }
}
