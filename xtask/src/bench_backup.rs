//! `bench backup`: the whole flow on a real tree, beside tar with pigz and restic in the same run.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::edits;
use crate::process::{installed, output, size};
use crate::table::{Row, Step, build, print, run};

const TREE: &str = "/usr/src/linux-source-6.1.tar.xz";

/// Runs the benchmark and prints its table.
pub(crate) fn run_all(args: &[&str]) -> Result<()> {
    let (tree, runs) = match args {
        [] => (TREE, 3),
        [tree] if !tree.starts_with("--") => (*tree, 3),
        ["--runs", runs] => (TREE, runs.parse()?),
        [tree, "--runs", runs] => (*tree, runs.parse()?),
        _ => bail!("usage: cargo xtask bench backup [TREE.tar.xz] [--runs N]"),
    };
    for program in ["tar", "pigz", "restic", "diff", "find"] {
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

/// Everything once: before the change, the change, after it, restores, comparison.
fn once(work: &Path, tree: &Path, program: &Path, rows: &mut Vec<Row>) -> Result<()> {
    if work.exists() {
        fs::remove_dir_all(work)?;
    }
    let source = work.join("source");
    fs::create_dir_all(&source)?;
    output(&format!("tar -xf {} -C {} --strip-components=1", tree.display(), source.display()))?;
    let (ib, dir) = (format!("{} --quiet", program.display()), work.display());
    let restic = format!("RESTIC_PASSWORD=x restic --quiet --repo {dir}/restic");
    output(&format!("{restic} init"))?;
    let at = |name: &str| Some(work.join(name));
    let step = |work, tool, command: String, stored| Step { work, tool, command, stored };

    run(
        rows,
        &[
            step(
                "index",
                "ibtools",
                format!("{ib} index {dir}/source -o {dir}/0.index"),
                at("0.index"),
            ),
            step(
                "full",
                "ibtools",
                format!("{ib} diff {dir}/source -o {dir}/0.tgz --index {dir}/0.index"),
                at("0.tgz"),
            ),
            step(
                "full",
                "ibtools, zstd",
                format!("{ib} diff {dir}/source -o {dir}/0.tar.zst"),
                at("0.tar.zst"),
            ),
            step(
                "full",
                "tar -g, pigz -6",
                format!("tar -C {dir}/source -g {dir}/tar.snar -cf - . | pigz -6 > {dir}/tar0.tgz"),
                at("tar0.tgz"),
            ),
            step("full", "restic", format!("cd {dir}/source && {restic} backup ."), at("restic")),
            step(
                "no change",
                "ibtools index --since",
                format!("{ib} index {dir}/source --since {dir}/0.index -o {dir}/same.index"),
                None,
            ),
            step(
                "no change",
                "ibtools compare",
                format!("{ib} compare {dir}/source {dir}/0.index"),
                None,
            ),
            step("no change", "restic", format!("cd {dir}/source && {restic} backup ."), None),
        ],
    )?;
    let before = size(&work.join("restic"))?;
    let edits = edits::edit(&source)?;
    eprintln!("changed: {edits:?}");
    run(
        rows,
        &[
            step(
                "incremental",
                "ibtools",
                format!(
                    "{ib} diff {dir}/source --base {dir}/0.index -o {dir}/1.tgz --index {dir}/1.index"
                ),
                at("1.tgz"),
            ),
            step(
                "incremental",
                "tar -g, pigz -6",
                format!("tar -C {dir}/source -g {dir}/tar.snar -cf - . | pigz -6 > {dir}/tar1.tgz"),
                at("tar1.tgz"),
            ),
            step("incremental", "restic", format!("cd {dir}/source && {restic} backup ."), None),
        ],
    )?;
    let grown = size(&work.join("restic"))? - before;
    if let Some(row) = rows.iter_mut().find(|row| (row.work, row.tool) == ("incremental", "restic"))
    {
        row.stored = Some(grown);
    }
    run(
        rows,
        &[
            step(
                "restore both",
                "ibtools",
                format!("{ib} apply {dir}/back-ib {dir}/0.tgz {dir}/1.tgz"),
                None,
            ),
            step(
                "restore both",
                "tar, pigz",
                format!(
                    "mkdir {dir}/back-tar && for n in 0 1; do pigz -dc {dir}/tar$n.tgz | tar -C {dir}/back-tar -g /dev/null -xf -; done && sync -f {dir}"
                ),
                None,
            ),
            step(
                "restore both",
                "restic",
                format!("{restic} restore latest --target {dir}/back-restic && sync -f {dir}"),
                None,
            ),
        ],
    )?;
    same(&source, &work.join("back-ib"))
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
