//! The commands that the sweeps interrupt, the directories they run in, and what may be found there
//! afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use incremental_backups_tools::DirIndex;

use super::stores::States;
use super::trace::Run;
use super::tree::{self, STAGE, Snapshot, difference, snapshot};

/// A command, what it starts from and what it leads to.
pub(super) struct Job {
    pub(super) name: &'static str,
    pub(super) run: Run,
    /// What the directory it runs in starts as.
    pub(super) start: PathBuf,
    /// What has to be run there first.
    pub(super) first: Option<Run>,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    /// Brings the tree `tree` from one of these states to the last.
    Apply(Vec<Snapshot>),
    /// Writes these files; the first cannot be new unless those after it are.
    Write(BTreeMap<PathBuf, Vec<u8>>),
    /// Changes the store `store`.
    Store(States),
}

/// How a run ended, which says what may be left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// A killed process may leave the temporary file it was writing.
    Killed,
    /// Nothing that was not there before.
    Failed,
    /// A scan that could not read everything, and said so: whole files that say so too.
    Warned,
}

/// The jobs, prepared below `home`.
pub(super) fn prepare(program: &Path, home: &Path) -> Result<Vec<Job>> {
    fs::create_dir_all(home)?;
    let at = |name: &str| home.join(name);
    let (old, mid, new) = (at("old"), at("mid"), at("new"));
    tree::old(&old)?;
    tree::copy(&old, &mid)?;
    tree::change(&mid)?;
    // A second increment, back to where it came from in part.
    tree::copy(&mid, &new)?;
    fs::remove_dir_all(new.join("new"))?;
    fs::write(new.join("new"), "a file now")?;
    fs::rename(new.join("whole-there"), new.join("whole-again"))?;
    fs::remove_file(new.join("edited"))?;
    fs::copy(old.join("edited"), new.join("edited"))?;
    let run = |args: &[&str]| Run {
        program: program.to_path_buf(),
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
    };
    let done = |args: &[&str]| {
        let (status, errors) = run(args).plain(home)?;
        ensure!(status.success(), "{args:?}: {errors}");
        anyhow::Ok(())
    };
    done(&["index", "old", "-o", "old.index"])?;
    done(&["diff", "old", "-o", "full.tgz"])?;
    done(&["diff", "mid", "--base", "old.index", "-o", "1.tgz", "--index", "mid.index"])?;
    done(&["diff", "new", "--base", "mid.index", "-o", "2.tgz", "--index", "new.index"])?;
    fs::copy(old.join("edited"), at("old.bytes"))?;
    fs::copy(mid.join("edited"), at("new.bytes"))?;
    done(&["signature", "old.bytes", "bytes.sig"])?;
    done(&["delta", "bytes.sig", "new.bytes", "bytes.delta"])?;

    let shot = |name: &str| snapshot(&at(name));
    let path = |name: &str| at(name).display().to_string();
    let (a, b, c) = (path("full.tgz"), path("1.tgz"), path("2.tgz"));
    let empty = at("empty");
    fs::create_dir_all(empty.join("tree"))?;
    let with_tree = |name: &str, from: &Path| {
        let start = at(name);
        fs::create_dir_all(&start)?;
        tree::copy(from, &start.join("tree"))?;
        anyhow::Ok(start)
    };
    let apply = |name, start, archives: &[&String], states| {
        let mut args = vec!["apply", "tree", "--privileged"];
        args.extend(archives.iter().map(|archive| archive.as_str()));
        Job { name, run: run(&args), start, first: None, kind: Kind::Apply(states) }
    };
    let mut jobs = vec![
        apply("apply", with_tree("start-1", &old)?, &[&b], vec![shot("old")?, shot("mid")?]),
        apply("apply full", empty.clone(), &[&a], vec![Snapshot::new(), shot("old")?]),
        apply("apply full and more", empty, &[&a, &b], vec![Snapshot::new(), shot("mid")?]),
        apply(
            "apply two",
            with_tree("start-2", &old)?,
            &[&b, &c],
            vec![shot("old")?, shot("mid")?, shot("new")?],
        ),
    ];
    // Outputs replace older ones of the same names.
    let writers: [(&'static str, &[&str], &[&str]); 6] = [
        ("index", &["index", &path("mid"), "-o", "i", "--since", &path("old.index")], &["i"]),
        (
            "diff",
            &["diff", &path("mid"), "--base", &path("old.index"), "-o", "a.tgz", "--index", "i"],
            &["i", "a.tgz"],
        ),
        ("signature", &["signature", &path("old.bytes"), "s"], &["s"]),
        ("delta", &["delta", &path("bytes.sig"), &path("new.bytes"), "d"], &["d"]),
        ("patch", &["patch", &path("old.bytes"), &path("bytes.delta"), "p"], &["p"]),
        ("squash", &["squash", &a, &b, &c, "-o", "q.tgz"], &["q.tgz"]),
    ];
    for (name, args, outputs) in writers {
        let start = at(&format!("start-{name}"));
        let scratch = at(&format!("made-{name}"));
        fs::create_dir_all(&start)?;
        for output in outputs {
            fs::write(start.join(output), "older")?;
        }
        tree::copy(&start, &scratch)?;
        let (status, errors) = run(args).plain(&scratch)?;
        ensure!(status.success(), "{name}: {errors}");
        let made = outputs
            .iter()
            .map(|output| Ok((PathBuf::from(output), fs::read(scratch.join(output))?)));
        let kind = Kind::Write(made.collect::<Result<_>>()?);
        jobs.push(Job { name, run: run(args), start, first: None, kind });
    }
    Ok(jobs)
}

impl Job {
    /// Makes `dir` what the command starts from.
    pub(super) fn reset(&self, dir: &Path) -> Result<()> {
        tree::copy(&self.start, dir)?;
        let Some(first) = &self.first else { return Ok(()) };
        let (status, errors) = first.plain(dir)?;
        ensure!(status.success(), "{:?}: {errors}", first.args);
        Ok(())
    }

    /// Whether it makes the calls of another job once more.
    pub(super) fn is_repeat(&self) -> bool {
        matches!(
            self.name,
            "apply full" | "apply full and more" | "apply two" | "backup first" | "backup again"
        )
    }

    /// Whether the command changes a tree.
    pub(super) fn is_apply(&self) -> bool {
        matches!(self.kind, Kind::Apply(_))
    }

    /// What is wrong with what the command left in `dir`, if anything is, when it wrote `errors`.
    pub(super) fn judge_left(&self, dir: &Path, end: End, errors: &str) -> Result<()> {
        match &self.kind {
            Kind::Apply(states) => {
                let (tree, stage) = (dir.join("tree"), dir.join("tree").join(STAGE));
                if stage.join("journal").exists() {
                    // What one call's failing stops is undone by the same process.
                    ensure!(end == End::Killed, "stuck with a journal");
                    let look = Run {
                        program: self.run.program.clone(),
                        args: ["index", "tree", "-o", "../i"].map(String::from).into(),
                    };
                    let (status, _) = look.plain(dir)?;
                    ensure!(!status.success(), "half a tree was indexed");
                    return Ok(());
                }
                let found = snapshot(&tree)?;
                let unkept = unkept(errors);
                let is = |state: &Snapshot| {
                    differ_in_metadata(&found, state).is_some_and(|files| files <= unkept)
                };
                let Some(state) = states.iter().position(is) else {
                    let first = states.first().map(|state| difference(&found, state));
                    bail!("touched without a journal: {first:?}");
                };
                let done = state > 0;
                ensure!(end == End::Killed || done || !stage.exists(), "litter");
            }
            Kind::Store(states) => states.judge(dir, Some(end))?,
            Kind::Write(outputs) => {
                let mut all_new = true;
                for (name, bytes) in outputs {
                    let mut found = fs::read(dir.join(name))?;
                    if is_same_index(&found, bytes) {
                        found.clone_from(bytes);
                    }
                    if end == End::Warned && found != *bytes && found != b"older" {
                        let (status, errors) = self.show(name).plain(dir)?;
                        ensure!(status.success(), "{} is damaged: {errors}", name.display());
                        continue;
                    }
                    ensure!(found == *bytes || found == b"older", "{} is neither", name.display());
                    // The archive comes before the index in the alphabet and on the disk.
                    ensure!(all_new || found != *bytes, "{} is too early", name.display());
                    all_new &= found == *bytes;
                }
                if end != End::Killed {
                    self.judge_names(dir, outputs)?;
                }
            }
        }
        Ok(())
    }

    fn show(&self, file: &Path) -> Run {
        let args = ["show".into(), file.display().to_string(), "--summary".into()];
        Run { program: self.run.program.clone(), args: args.into() }
    }

    fn judge_names(&self, dir: &Path, outputs: &BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
        let names: std::io::Result<BTreeSet<PathBuf>> =
            fs::read_dir(dir)?.map(|entry| Ok(PathBuf::from(entry?.file_name()))).collect();
        let names = names?;
        ensure!(names.iter().all(|name| outputs.contains_key(name)), "stray files: {names:?}");
        Ok(())
    }

    /// Runs the command, which wrote `errors` before, once more and without faults; what is wrong with what it ends in.
    pub(super) fn judge_again(&self, dir: &Path, errors: &str) -> Result<()> {
        // A diff that the tree is past is not looked at again.
        let unkept = if self.name == "apply two" { unkept(errors) } else { 0 };
        let (status, errors) = self.run.plain(dir)?;
        // A store is made once.
        let is_made = errors.contains("there is a store at ");
        ensure!(status.success() || is_made, "not to be finished: {errors}");
        match &self.kind {
            Kind::Apply(states) => {
                let Some(last) = states.last() else { return Ok(()) };
                let found = snapshot(&dir.join("tree"))?;
                let differing = differ_in_metadata(&found, last);
                let fits = differing.is_some_and(|files| files <= unkept);
                ensure!(fits, "another tree: {}", difference(&found, last));
                ensure!(!dir.join("tree").join(STAGE).exists(), "the stage is still there");
            }
            Kind::Store(states) => states.judge(dir, None)?,
            Kind::Write(outputs) => {
                for (name, bytes) in outputs {
                    let found = fs::read(dir.join(name))?;
                    let fits = found == *bytes || is_same_index(&found, bytes);
                    ensure!(fits, "{} is another", name.display());
                }
            }
        }
        Ok(())
    }
}

/// Of how many paths an apply says that not all metadata was taken.
fn unkept(errors: &str) -> usize {
    let of = |line: &str| {
        let (_, counted) = line.split_once(" cannot hold the ")?;
        let (_, count) = counted.split_once("s of ")?;
        count.split_once(" paths, as of ")?.0.replace(',', "").parse().ok()
    };
    let lines = errors
        .lines()
        .filter(|line| line.contains(" is not restored: ") || line.contains(" cannot hold the "));
    lines.map(|line| of(line).unwrap_or(1)).sum()
}

/// In how many files two trees differ, each counted once by whatever names, if it is in nothing but metadata.
fn differ_in_metadata(one: &Snapshot, other: &Snapshot) -> Option<usize> {
    let content = |seen: &str| seen.rsplit_once("} ").map(|(_, content)| content.to_owned());
    let pairs = || one.values().zip(other.values());
    let same =
        one.keys().eq(other.keys()) && pairs().all(|(one, other)| content(one) == content(other));
    let differing = pairs().filter(|(one, other)| one != other);
    let files = differing.filter_map(|(one, _)| one.rsplit_once(" = ").map(|(_, first)| first));
    same.then(|| files.collect::<BTreeSet<&str>>().len())
}

/// Whether both are indexes of one tree. An index also says which files were read soon after their last change, and that
/// depends on when it is made.
fn is_same_index(one: &[u8], other: &[u8]) -> bool {
    let id = |bytes: &[u8]| DirIndex::from_bytes(bytes.to_vec()).ok().map(|index| index.tree_id());
    one != other && id(one).is_some_and(|one| id(other) == Some(one))
}
