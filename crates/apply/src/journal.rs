//! The journal: what an apply is doing, so that another process can finish it. It is the diff, the
//! plan and the options; everything else lies in the stage. Written before the first change to the
//! tree proper, and in one step.

use std::fs::File;
use std::io::{self, BufWriter};
use std::os::fd::AsFd;

use container::SectionError;
use container::{Section, Sections, Writer, cut, encode_all};
use diffindex::{LazyDiff, StoredDiff};
use rsync_core::{Digest, FileBytes};
use serde::{Deserialize, Serialize};

use crate::changes::Changes;
use crate::dirs::open_file;
use crate::error::{Error, Result};
use crate::plan::{Before, Plan, Step, Units};
use crate::stage_dir::{FORWARD, JOURNAL, Stage};
use crate::target::Target;
use crate::tree;

/// The diff lies beside the journal, which has its digest.
const DIFF: &str = "diff";
/// The journal before it counts.
const DRAFT: &str = "journal.tmp";

const FILE_KIND: [u8; 4] = *b"JRNL";
const HEAD: u32 = 1;
const STEPS: u32 = 2;
const BEFORE: u32 = 3;
const PLACED: u32 = 4;
/// The most rows of a section.
const ROWS: usize = 1 << 16;

#[derive(Serialize, Deserialize)]
struct Head {
    privileged: bool,
    sync: bool,
    diff: Digest,
    /// The inodes of the root and of the stage: what no archive and no copy brings.
    root: u64,
    stage: u64,
}

/// What a journal says.
pub(crate) struct Journal {
    pub(crate) changes: Changes,
    pub(crate) plan: Plan,
    pub(crate) privileged: bool,
    pub(crate) sync: bool,
}

/// Writes the journal beside what it speaks of, and waits until all of that is on the disk. It does
/// not count yet.
pub(crate) fn draft(
    target: &Target,
    stage: &Stage,
    changes: &Changes,
    plan: &Plan,
    (privileged, sync): (bool, bool),
) -> Result<()> {
    let error = |error| target.error("write the journal in", error);
    let file = tree::create_file(stage.sys(), stage, DIFF.as_bytes()).map_err(error)?;
    let out = DiffFile { stage, file, len: 0, hasher: blake3::Hasher::new() };
    let mut out = BufWriter::with_capacity(1 << 20, out);
    changes.write_to(&mut out).map_err(|error| unusable(target, error))?;
    let out = out.into_inner().map_err(|failed| error(failed.into_error()))?;
    let (root, home) = inodes(target, stage)?;
    let diff = Digest(*out.hasher.finalize().as_bytes());
    let head = Head { privileged, sync, diff, root, stage: home };
    let journal = encode(&head, plan).map_err(|error| unusable(target, error))?;
    write(stage, DRAFT, &journal).map_err(error)?;
    write(stage, FORWARD, b"").map_err(error)?;
    // One call for all that is staged and for what was just written: as safe as one for each file
    // and directory, and not 80,000 times the wait. The journal may get its name only then: nothing
    // else would keep that from being on the disk before what it speaks of.
    match sync {
        true => stage.sys().sync_all(stage).map_err(|error| target.error("sync", error)),
        false => Ok(()),
    }
}

/// Commits: from here on the apply ends in the new tree, or is rolled back.
pub(crate) fn commit(target: &Target, stage: &Stage, sync: bool) -> Result<()> {
    let commit = || {
        let sys = stage.sys();
        sys.rename(stage, DRAFT.as_bytes(), stage, JOURNAL.as_bytes(), true)?;
        if sync { sys.sync(stage) } else { Ok(()) }
    };
    commit().map_err(|error| target.error("write the journal in", error))
}

/// Turns the apply: from here on every run rolls back. This must be on the disk before anything that rolling back
/// does, and after everything that it undoes.
pub(crate) fn turn(target: &Target, stage: &Stage, sync: bool) -> Result<()> {
    let turn = || {
        if stage.goes_forward()? {
            stage.sys().remove_file(stage, FORWARD.as_bytes())?;
        }
        if sync { stage.sys().sync_all(stage) } else { Ok(()) }
    };
    turn().map_err(|error| target.error("roll back the apply in", error))
}

/// The file of the diff while it is written.
struct DiffFile<'a> {
    stage: &'a Stage,
    file: File,
    len: u64,
    hasher: blake3::Hasher,
}

impl io::Write for DiffFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stage.sys().write(&self.file, bytes, self.len)?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(stage: &Stage, name: &str, bytes: &[u8]) -> io::Result<()> {
    let file = tree::create_file(stage.sys(), stage, name.as_bytes())?;
    stage.sys().write(&file, bytes, 0)
}

fn encode(head: &Head, plan: &Plan) -> Result<Vec<u8>, SectionError> {
    let mut writer = Writer::new(Vec::new(), FILE_KIND)?;
    writer.section(&Section::encode(HEAD, head)?)?;
    let steps: Vec<u8> = plan.steps.iter().map(|&step| step as u8).collect();
    for steps in steps.chunks(1 << 20) {
        writer.section(&Section::pack(STEPS, steps.to_vec())?)?;
    }
    let before: Vec<&[Before]> = cut(&plan.before, ROWS, before_len).collect();
    let placed = cut(&plan.placed, ROWS, |row| 16 + row.path.as_bytes().len());
    let sections = encode_all(BEFORE, &before)?;
    for section in sections.iter().chain(&encode_all(PLACED, &placed.collect::<Vec<_>>())?) {
        writer.section(section)?;
    }
    writer.finish()
}

/// About how many bytes a row is encoded in.
fn before_len(row: &Before) -> usize {
    let xattrs = row.meta.xattrs.iter().map(|(name, value)| name.len() + value.len());
    64 + row.path.as_bytes().len() + xattrs.sum::<usize>()
}

/// Reads the journal in `stage`, which has one.
pub(crate) fn read(target: &Target, stage: &Stage) -> Result<Journal> {
    let unusable = |problem: &str| unusable(target, problem);
    let sections = |source: SectionError| self::unusable(target, source);
    let file = ours(target, stage, JOURNAL)?;
    let journal = Sections::open(file, FILE_KIND).map_err(sections)?;
    let head = journal.of_kind(HEAD).next().ok_or_else(|| unusable("it has no head"))?;
    let head: Head = journal.decode(head).map_err(sections)?;
    let lasting = stage.sys().has_lasting_inodes(stage);
    let lasting = lasting.map_err(|error| target.error("look at", error))?;
    let same = (head.root, head.stage) == inodes(target, stage)?;
    if lasting && !same {
        return Err(unusable(
            "it was written in another directory, of which this is a copy: move .ibtools-apply away, and \
             compare the tree with its index",
        ));
    }
    let mut steps = Vec::new();
    for number in journal.of_kind(STEPS) {
        for &step in journal.raw(number).map_err(sections)?.iter() {
            steps.push(step_of(step).ok_or_else(|| unusable("it has an unknown step"))?);
        }
    }
    let before = journal.decode_all(BEFORE).map_err(sections)?;
    let placed = journal.decode_all(PLACED).map_err(sections)?;
    let file = ours(target, stage, DIFF)?;
    let digest = FileBytes::open(&file).and_then(|bytes| bytes.digest(None));
    let digest =
        digest.map_err(|error| target.error("read the journal in", io::Error::other(error)))?;
    if digest != head.diff {
        return Err(unusable("the diff beside it is not the one it was written for"));
    }
    let diff = StoredDiff::from_source(file).map_err(|error| self::unusable(target, error))?;
    let changes = Changes::of(&LazyDiff::from(&diff))?;
    if changes.len() != steps.len() {
        return Err(unusable("it does not fit its diff"));
    }
    let units = Units::of(&changes, &steps)?;
    let plan = Plan { steps, units, before, placed, has_inodes: same };
    Ok(Journal { changes, plan, privileged: head.privileged, sync: head.sync })
}

/// The error of a journal that cannot be made or used.
pub(crate) fn unusable(
    target: &Target,
    problem: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::Journal { root: target.path.clone(), source: problem.into() }
}

fn inodes(target: &Target, stage: &Stage) -> Result<(u64, u64)> {
    let inode = |dir: &dyn AsFd| stage.sys().stat(dir).map(|stat| stat.st_ino);
    let both = inode(target).and_then(|root| Ok((root, inode(stage)?)));
    both.map_err(|error| target.error("look at", error))
}

/// Opens a file of the stage, which nobody but us may have put there.
fn ours(target: &Target, stage: &Stage, name: &str) -> Result<File> {
    let error = |error| target.error("read the journal in", error);
    let file = open_file(stage.sys(), stage, name.as_bytes()).map_err(error)?;
    let stat = stage.sys().stat(&file).map_err(error)?;
    if stat.st_uid != stage.owner {
        return Err(unusable(target, "it belongs to somebody else"));
    }
    Ok(file)
}

fn step_of(step: u8) -> Option<Step> {
    let steps = [Step::Done, Step::Meta, Step::Remove, Step::Place, Step::Inside];
    steps.into_iter().find(|&known| known as u8 == step)
}
