//! What is backed up: trees, and how each changes from one backup to the next. Made of what the registries have and of seeded
//! numbers, so that everybody gets the same ones. Knows nothing of who backs them up.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use fastrand::Rng;
use flate2::write::GzEncoder;

use super::{Common, days, edits, home};
use crate::process::{output, target_dir};

pub(crate) const NAMES: [&str; 8] =
    ["source", "part", "home", "image", "logs", "versions", "small", "year"];

type Make = Box<dyn Fn(&Path) -> Result<()>>;
type Change = Box<dyn Fn(&Path, usize) -> Result<()>>;

pub(crate) struct Corpus {
    pub(crate) name: String,
    pub(crate) about: String,
    /// How often it changes, and whether `--steps` may say otherwise.
    pub(crate) steps: usize,
    pub(crate) open_end: bool,
    pub(crate) make: Make,
    /// Brings it to this step, the first of which is 1.
    pub(crate) change: Change,
}

/// What of a kernel tree makes one that a year of backups by everybody takes a quarter of an hour for.
const PARTS: [&str; 3] = ["fs", "net", "kernel"];
/// The first day of the year: 2025-01-01, seconds since 1970.
const FIRST: u64 = 1_735_689_600;
const DAY: u64 = 86_400;
pub(super) const SEED: u64 = 7;
/// Versions of one package of PyPI, one after the other.
const PACKAGE: &str = "Django";
const SERIES: &str = "4.2";
const VERSIONS: usize = 20;

/// The corpus of this name, or several where more sizes than one are asked for.
pub(crate) fn named(name: &str, common: &Common) -> Result<Vec<Corpus>> {
    let edit = |tree: &Path, _: usize| edits::edit(tree).map(drop);
    let corpus = |name: &str, about: String, steps, make: Make, change: Change| Corpus {
        name: name.into(),
        about,
        steps,
        open_end: matches!(name, "year" | "versions" | "logs"),
        make,
        change,
    };
    let size = |default| common.size.first().copied().unwrap_or(default);
    let megabytes = |default| size(default) << 20;
    Ok(vec![match name {
        "source" => {
            let tree = source_tree(common.tree.as_deref())?;
            let about = format!(
                "{}: then 1% of the files edited by a line, 0.5% each deleted, created, renamed",
                named_tree(&tree)
            );
            corpus(name, about, 1, copy(tree, &[]), Box::new(edit))
        }
        "part" => {
            let tree = source_tree(common.tree.as_deref())?;
            let about = format!("{}: then changed as `source` is", named_parts(&tree));
            corpus(name, about, 1, copy(tree, &PARTS), Box::new(edit))
        }
        "year" => {
            let tree = source_tree(common.tree.as_deref())?;
            let about = format!(
                "{}; then a day's edits a step: lines, moves, names replaced",
                named_parts(&tree)
            );
            let change = |tree: &Path, step: usize| {
                let day = step as u64;
                days::day(tree, SEED, day, FIRST + day * DAY).map(drop)
            };
            corpus(name, about, 365, copy(tree, &PARTS), Box::new(change))
        }
        "versions" => {
            let home = versions()?;
            let about = format!(
                "{PACKAGE} {SERIES}.1 to {SERIES}.{VERSIONS} as PyPI has them, one after the other"
            );
            let first = home.join("1");
            let change = move |tree: &Path, step: usize| {
                let next = home.join((step + 1).to_string());
                // All files are new ones, as after an update by a package manager.
                output(&format!(
                    "rm -rf '{0}' && cp -a '{1}' '{0}'",
                    tree.display(),
                    next.display()
                ))
                .map(drop)
            };
            corpus(name, about, VERSIONS - 1, copy(first, &[]), Box::new(change))
        }
        "home" => {
            let len = megabytes(300);
            let modules = home::node_modules();
            let about = format!(
                "{} MiB as in a home directory: photos, sqlite, mail, git repositories{}; then some of each change, and photos move",
                len >> 20,
                if modules.is_some() { ", node_modules twice" } else { "" }
            );
            let make = move |tree: &Path| home::make(tree, len, modules.as_deref());
            corpus(name, about, 1, Box::new(make), Box::new(home::change))
        }
        "image" => {
            let len = megabytes(1024);
            let about = format!(
                "one disk image of {} MiB, a third each text, noise and zeros; then 1% of its 4 KiB blocks change",
                len >> 20
            );
            corpus(name, about, 1, Box::new(move |tree| image(tree, len)), Box::new(image_changes))
        }
        "logs" => {
            let len = megabytes(20);
            let about = format!(
                "logs of {} MiB a day, the older ones compressed and renamed each day; the newest grows",
                len >> 20
            );
            let make = move |tree: &Path| (0..8).try_for_each(|day| rotate(tree, len, day));
            let change = move |tree: &Path, step: usize| rotate(tree, len, 8 + step);
            corpus(name, about, 7, Box::new(make), Box::new(change))
        }
        "small" => {
            let sizes = if common.size.is_empty() { vec![20_000] } else { common.size.clone() };
            let one = |files: usize| {
                let about =
                    format!("{files} files of 100 to 1,000 bytes; then changed as `source` is");
                let mut one = corpus(
                    name,
                    about,
                    1,
                    Box::new(move |tree| small(tree, files)),
                    Box::new(edit),
                );
                one.name = format!("small {files}");
                one
            };
            return Ok(sizes.into_iter().map(one).collect());
        }
        _ => bail!("there is no corpus {name:?}"),
    }])
}

fn named_tree(tree: &Path) -> String {
    // What is fetched is in a directory that is called as the package's version.
    tree.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The parts of a tree that [`copy`] takes, or the tree where it has none.
fn named_parts(tree: &Path) -> String {
    match PARTS.iter().any(|part| tree.join(part).is_dir()) {
        true => format!("fs, net and kernel of {}", named_tree(tree)),
        false => format!("{} alone", named_tree(tree)),
    }
}

/// Copies a tree, or those of these parts that it has.
fn copy(tree: PathBuf, parts: &'static [&'static str]) -> Make {
    Box::new(move |source| {
        let there: Vec<&&str> = parts.iter().filter(|part| tree.join(part).is_dir()).collect();
        for part in &there {
            output(&format!("cp -a '{}' '{}'", tree.join(part).display(), source.display()))?;
        }
        if there.is_empty() {
            output(&format!("cp -a '{}/.' '{}'", tree.display(), source.display()))?;
        }
        Ok(())
    })
}

/// Where what was fetched stays.
pub(super) fn cache() -> Result<PathBuf> {
    let cache = target_dir()?.join("bench-cache");
    fs::create_dir_all(&cache)?;
    Ok(cache)
}

/// `tree`, or the newest source of the kernel that this Debian has.
pub(crate) fn source_tree(tree: Option<&Path>) -> Result<PathBuf> {
    if let Some(tree) = tree {
        return tree.canonicalize().with_context(|| tree.display().to_string());
    }
    let package = output(
        "apt-cache depends linux-source 2>/dev/null | sed -n 's/.*Depends: \\(linux-source-.*\\)/\\1/p' | head -n 1",
    )?;
    let package = package.trim();
    if package.is_empty() {
        bail!("no linux-source is known to apt-get: run `apt-get update`, or give --tree DIR");
    }
    let tree = cache()?.join(package);
    if !tree.exists() {
        eprintln!("fetching {package}");
        let command = "rm -rf new && mkdir new && cd new && apt-get -q download PACKAGE && dpkg-deb -x *.deb . && \
                       tar -xf usr/src/*.tar.xz && mv PACKAGE .. && cd .. && rm -r new";
        output(&format!("cd '{}' && {}", cache()?.display(), command.replace("PACKAGE", package)))
            .context("apt-get has no source tree: give --tree DIR")?;
    }
    Ok(tree)
}

/// A directory with a directory for each version, from 1 on.
fn versions() -> Result<PathBuf> {
    let home = cache()?.join(PACKAGE);
    for number in 1..=VERSIONS {
        let dir = home.join(number.to_string());
        if !dir.exists() {
            eprintln!("fetching {PACKAGE} {SERIES}.{number}");
            let new = home.join("new");
            output(&format!(
                "rm -rf '{0}' && python3 -m pip -q install --no-deps --no-compile --target '{0}' {PACKAGE}=={SERIES}.{number} && mv '{0}' '{1}'",
                new.display(), dir.display()
            ))
            .context("pip fetches the versions")?;
        }
    }
    Ok(home)
}

/// Text of words that come as often as words do.
pub(crate) fn text(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut text = String::with_capacity(len + 20);
    while text.len() < len {
        let word = (rng.f64().powi(3) * 5000.0) as u64;
        let mut letters = Rng::with_seed(word);
        (0..letters.usize(2..9)).for_each(|_| text.push(letters.lowercase()));
        text.push(if rng.u8(..12) == 0 { '\n' } else { ' ' });
    }
    text.truncate(len);
    text.into_bytes()
}

pub(super) fn noise(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rng.fill(&mut bytes);
    bytes
}

fn image(tree: &Path, len: usize) -> Result<()> {
    let mut rng = Rng::with_seed(SEED);
    let mut file = File::create(tree.join("disk.img"))?;
    let mut written = 0;
    while written < len {
        // An extent of a file system.
        let size = (rng.usize(1..256) * 4096).min(len - written);
        let extent = match rng.u8(..3) {
            0 => text(&mut rng, size),
            1 => noise(&mut rng, size),
            _ => vec![0; size],
        };
        file.write_all(&extent)?;
        written += size;
    }
    Ok(())
}

fn image_changes(tree: &Path, step: usize) -> Result<()> {
    use std::os::unix::fs::FileExt;
    let mut rng = Rng::with_seed(SEED + step as u64);
    let file = File::options().write(true).open(tree.join("disk.img"))?;
    let blocks = file.metadata()?.len() / 4096;
    for block in rng.clone().choose_multiple(0..blocks, (blocks / 100) as usize) {
        let at = rng.usize(..4000);
        let change = text(&mut rng, 96);
        file.write_all_at(&change, block * 4096 + at as u64)?;
    }
    Ok(())
}

/// As logrotate does: each log gets the next number, from the second on compressed; eight are kept. Then a day is written.
fn rotate(tree: &Path, len: usize, day: usize) -> Result<()> {
    let mut rng = Rng::with_seed(SEED + 1000 * day as u64);
    for (name, share) in [("syslog", 6), ("access.log", 10)] {
        let path = |end: &str| tree.join(format!("{name}{end}"));
        for number in (2..8).rev() {
            let from = path(&format!(".{number}.gz"));
            if from.exists() {
                fs::rename(from, path(&format!(".{}.gz", number + 1)))?;
            }
        }
        if path(".1").exists() {
            let mut out =
                GzEncoder::new(File::create(path(".2.gz"))?, flate2::Compression::default());
            out.write_all(&fs::read(path(".1"))?)?;
            out.finish()?;
        }
        if path("").exists() {
            fs::rename(path(""), path(".1"))?;
        }
        let mut lines = String::new();
        let mut second = 0;
        while lines.len() < len * share / 16 {
            second += rng.u32(..3);
            let (pid, what) = (rng.u16(..), rng.f64().powi(3) * 400.0);
            let said = Rng::with_seed(what as u64).u64(..);
            let address = Rng::with_seed(rng.u64(..3000)).u32(..).to_be_bytes();
            let _ = writeln!(
                lines,
                "day {day:03} {:02}:{:02}:{:02} host service[{pid}]: {address:?} GET /path/{said:x} took {} ms",
                second / 3600,
                second / 60 % 60,
                second % 60,
                rng.u16(..2000)
            );
        }
        fs::write(path(""), lines)?;
    }
    Ok(())
}

/// A thousand to a directory.
fn small(tree: &Path, files: usize) -> Result<()> {
    let mut rng = Rng::with_seed(SEED);
    let pool = text(&mut rng, 1 << 20);
    for number in 0..files {
        let dir = tree.join(format!("a/b/dir{:04}", number / 1000));
        if number % 1000 == 0 {
            fs::create_dir_all(&dir)?;
        }
        let (at, len) = (rng.usize(..pool.len() - 1000), rng.usize(100..1000));
        let content = [format!("{number}\n").as_bytes(), &pool[at..at + len]].concat();
        fs::write(dir.join(format!("file{number:07}.txt")), content)?;
    }
    Ok(())
}
