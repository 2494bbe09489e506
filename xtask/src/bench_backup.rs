//! `bench backup`: the whole flow on a real tree, beside the peers that are installed, in the same run.
//! Before each step that is measured the disk is synced and the tree read: no tool pays for the dirty pages of
//! another, or finds less of the tree in memory.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::edits;
use crate::process::{installed, output, size};
use crate::table::{Row, Step, Stored, build, print, run};

const TREE: &str = "/usr/src/linux-source-6.1.tar.xz";
/// How many files are renamed, and about how long the one is that is restored by itself.
const RENAMED: usize = 10_000;
const ONE_FILE: u64 = 10_000;
/// How many times a full backup is made in turn by the tools that ours are held against.
const IN_TURN: usize = 5;

/// Runs the benchmark and prints its table.
pub(crate) fn run_all(args: &[&str]) -> Result<()> {
    let (tree, runs) = match args {
        [] => (TREE, 3),
        [tree] if !tree.starts_with("--") => (*tree, 3),
        ["--runs", runs] => (TREE, runs.parse()?),
        [tree, "--runs", runs] => (*tree, runs.parse()?),
        _ => bail!("usage: cargo xtask bench backup [TREE.tar.xz] [--runs N]"),
    };
    for program in ["tar", "pigz", "diff", "find"] {
        if !installed(program) {
            bail!("{program} is not installed; the benchmark compares with it");
        }
    }
    let work = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench-backup");
    let program = build()?;
    let mut rows: Vec<Row> = Vec::new();
    for run in 1..=runs {
        eprintln!("run {run} of {runs}");
        once(&work, Path::new(tree), &program, &mut rows)
            .with_context(|| format!("run {run} in {}", work.display()))?;
    }
    fs::remove_dir_all(&work)?;
    print(&rows);
    Ok(())
}

/// What one tool does, as shell commands, in a directory that has `source`. What it keeps
/// goes below its own name.
struct Tool {
    name: &'static str,
    init: String,
    full: String,
    incremental: String,
    /// Both backups into `back-NAME`, which is not there.
    restore: String,
    /// One file of the full backup into `one-NAME`, which is there and empty.
    one: String,
}

/// The tools that are installed; `one` is the path of the file that is restored by itself.
fn tools(ibtools: &str, one: &str) -> Vec<Tool> {
    let restic = "RESTIC_PASSWORD=x restic --quiet --repo restic/r";
    let borg = "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes BORG_RELOCATED_REPO_ACCESS_IS_OK=yes \
                BORG_BASE_DIR=$PWD/borg-cache borg";
    let duplicity = "duplicity --verbosity 1 --no-encryption --archive-dir $PWD/duplicity-cache";
    let at = "file://$PWD/duplicity/r";
    let all = vec![
        Tool {
            name: "ibtools",
            init: String::new(),
            full: format!("{ibtools} diff source -o ibtools/0.tgz --index index"),
            incremental: format!(
                "{ibtools} diff source --base index -o ibtools/1.tgz --index index.1"
            ),
            restore: format!("{ibtools} apply back-ibtools ibtools/0.tgz ibtools/1.tgz"),
            one: format!("{ibtools} restore ibtools/0.tgz one-ibtools --path {one}"),
        },
        Tool {
            name: "tar",
            init: String::new(),
            full: "tar -C source -g tar.snar -cf - . | pigz -6 > tar/0.tgz".into(),
            incremental: "tar -C source -g tar.snar -cf - . | pigz -6 > tar/1.tgz".into(),
            restore: "mkdir back-tar && for n in 0 1; do pigz -dc tar/$n.tgz | \
                      tar -C back-tar -g /dev/null -xf -; done && sync -f ."
                .into(),
            one: format!("pigz -dc tar/0.tgz | tar -C one-tar -xf - ./{one}"),
        },
        Tool {
            name: "restic",
            init: format!("{restic} init"),
            full: format!("cd source && {} backup .", restic.replace("restic/r", "../restic/r")),
            incremental: format!(
                "cd source && {} backup .",
                restic.replace("restic/r", "../restic/r")
            ),
            restore: format!("{restic} restore latest --target back-restic && sync -f ."),
            one: format!("{restic} restore latest --target one-restic --include /{one}"),
        },
        Tool {
            name: "borg",
            init: format!("{borg} init -e none borg/r"),
            full: format!("r=$PWD/borg/r; w=$PWD; cd source; PWD=$w; {borg} create -C lz4 $r::0 ."),
            incremental: format!(
                "r=$PWD/borg/r; w=$PWD; cd source; PWD=$w; {borg} create -C lz4 $r::1 ."
            ),
            restore: format!(
                "mkdir back-borg; r=$PWD/borg/r; w=$PWD; cd back-borg; PWD=$w; {borg} extract $r::1 && sync -f ."
            ),
            one: format!("r=$PWD/borg/r; w=$PWD; cd one-borg; PWD=$w; {borg} extract $r::0 {one}"),
        },
        Tool {
            name: "dar",
            init: String::new(),
            full: "dar -Q -q -w -zzstd:1 -R source -c dar/0".into(),
            incremental: "dar -Q -q -w -zzstd:1 -R source -A dar/0 -c dar/1".into(),
            restore: "mkdir back-dar && for n in 0 1; do dar -Q -q -w -R back-dar -x dar/$n; done \
                      && sync -f ."
                .into(),
            one: format!("dar -Q -q -w -R one-dar -x dar/0 -g {one}"),
        },
        Tool {
            name: "duplicity",
            init: String::new(),
            full: format!("{duplicity} full source {at}"),
            incremental: format!("{duplicity} incremental source {at}"),
            restore: format!("{duplicity} restore {at} back-duplicity && sync -f ."),
            one: format!("{duplicity} restore --file-to-restore {one} {at} one-duplicity/file"),
        },
    ];
    let there = |tool: &Tool| tool.name == "ibtools" || installed(tool.name);
    let (there, missing): (Vec<Tool>, Vec<Tool>) = all.into_iter().partition(there);
    missing.iter().for_each(|tool| eprintln!("SKIPPED: {} is not installed", tool.name));
    there
}

/// Everything once: before the change, the change, after it, restores, comparison.
fn once(work: &Path, tree: &Path, program: &Path, rows: &mut Vec<Row>) -> Result<()> {
    if work.exists() {
        fs::remove_dir_all(work)?;
    }
    let source = work.join("source");
    fs::create_dir_all(&source)?;
    output(&format!("tar -xf {} -C {} --strip-components=1", tree.display(), source.display()))?;
    let ib = format!("{} --quiet", program.display());
    let one = edits::file_of_about(&source, ONE_FILE)?;
    let tools = tools(&ib, &one.display().to_string());
    for Tool { name, init, .. } in &tools {
        fs::create_dir_all(work.join(name))?;
        fs::create_dir_all(work.join(format!("one-{name}")))?;
        if !init.is_empty() {
            output(&format!("cd {} && {init}", work.display()))?;
        }
    }
    let steps = |kind: &'static str, command: fn(&Tool) -> &str, keeps: bool| {
        let step = move |tool: &Tool| {
            let stored = if keeps { Stored::Growth(work.join(tool.name)) } else { Stored::Nothing };
            step(work, kind, tool.name, command(tool), stored)
        };
        tools.iter().map(step).collect::<Vec<Step>>()
    };
    let own = |kind, tool, command: String, stored: Option<&str>| {
        let stored = stored.map_or(Stored::Nothing, |name| Stored::File(work.join(name)));
        step(work, kind, tool, &command, stored)
    };

    run(rows, &[own("index", "ibtools", format!("{ib} index source -o index"), Some("index"))])?;
    run(rows, &steps("full", |tool| &tool.full, true))?;
    let zstd = format!("{ib} diff source -o full.tar.zst");
    run(rows, &[own("full", "ibtools, zstd", zstd, Some("full.tar.zst"))])?;
    for number in 1..=IN_TURN {
        run(rows, &again(work, &ib, number)?)?;
    }
    run(rows, &steps("one file", |tool| &tool.one, false))?;
    let since = format!("{ib} index source --since index -o same.index");
    let compare = format!("{ib} compare source index");
    run(rows, &[own("no change", "ibtools index --since", since, None)])?;
    run(rows, &[own("no change", "ibtools compare", compare, None)])?;

    eprintln!("changed: {:?}", edits::edit(&source)?);
    run(rows, &steps("incremental", |tool| &tool.incremental, true))?;
    run(rows, &steps("restore both", |tool| &tool.restore, false))?;
    same(&source, &work.join("back-ibtools"))?;

    let moved = work.join("moved");
    let files = edits::rename(&source, &moved, RENAMED)?;
    eprintln!("renamed: {files} files");
    let create = format!("{ib} diff moved -o created.tgz");
    run(rows, &[own("delete + create", "ibtools", create, Some("created.tgz"))])?;
    let renamed = format!("{ib} diff source --base index.1 --index index.2 -o renamed.tgz");
    run(rows, &[own("rename", "ibtools", renamed, Some("renamed.tgz"))])?;
    edits::rename_each(&source)?;
    let each = format!("{ib} diff source --base index.2 -o each.tgz");
    run(rows, &[own("rename each", "ibtools", each, Some("each.tgz"))])?;
    let archives = ["renamed.tgz", "each.tgz", "created.tgz"].map(|name| size(&work.join(name)));
    let [renamed, each, created] = archives;
    let (renamed, each, created) = (renamed?, each?, created?);
    eprintln!("{files} files: moved {renamed} bytes, renamed each {each}, created {created}");
    Ok(())
}

/// A full backup once more by those tools that ours are held against, for times that are medians.
fn again(work: &Path, ib: &str, number: usize) -> Result<Vec<Step>> {
    let mut commands = vec![
        ("ibtools", format!("{ib} diff source -o again.tgz")),
        ("tar", "tar -C source -cf - . | pigz -6 > again.tar.gz".to_owned()),
        ("ibtools, zstd", format!("{ib} diff source -o again.tar.zst")),
    ];
    if installed("restic") {
        let restic = format!("RESTIC_PASSWORD=x restic --quiet --repo ../again-{number}");
        output(&format!("cd {}/source && {restic} init", work.display()))?;
        commands.push(("restic", format!("cd source && {restic} backup .")));
    }
    let step =
        |(tool, command): (_, String)| step(work, "full, in turn", tool, &command, Stored::Nothing);
    Ok(commands.into_iter().map(step).collect())
}

fn step(
    work: &Path,
    kind: &'static str,
    tool: &'static str,
    command: &str,
    stored: Stored,
) -> Step {
    let command = format!("cd {} && {command}", work.display());
    let warm = Some(work.join("source"));
    Step { work: kind, tool, command, stored, warm }
}

/// That both trees have the same names, kinds, contents, modes, owners, times and links.
fn same(a: &Path, b: &Path) -> Result<()> {
    output(&format!("diff -r --no-dereference {} {}", a.display(), b.display()))?;
    let list = |root: &Path| {
        // The root directory itself is the caller's.
        let format = "%P %y %#m %U %G %T@ %l %n\\n";
        output(&format!(
            "cd {} && find . -mindepth 1 -printf '{format}' | LC_ALL=C sort",
            root.display()
        ))
    };
    if list(a)? != list(b)? {
        bail!("{} and {} differ in metadata", a.display(), b.display());
    }
    eprintln!("restored tree equals the source");
    Ok(())
}
