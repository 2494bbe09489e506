//! `bench tree`: scanning trees, beside the least it can cost and beside our peers, in the same
//! run; then of trees that grow, and of trees that are hard.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::process::{installed, output};
use crate::table::{Row, Step, Stored, build, median_wall, print, run};

const TREE: &str = "/usr/src/linux-source-6.1.tar.xz";

/// Runs the benchmark and prints its tables.
pub(crate) fn run_all(args: &[&str]) -> Result<()> {
    let (tree, runs) = match args {
        [] => (TREE, 5),
        [tree] if !tree.starts_with("--") => (*tree, 5),
        ["--runs", runs] => (TREE, runs.parse()?),
        [tree, "--runs", runs] => (*tree, runs.parse()?),
        _ => bail!("usage: cargo xtask bench tree [TREE.tar.xz] [--runs N]"),
    };
    let work = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench-tree");
    if work.exists() {
        output(&format!("rm -rf {}", work.display()))?;
    }
    let program = build()?;
    source_tree(&work, Path::new(tree), &program, runs).context("the source tree")?;
    growing(&work, &program).context("the growing trees")?;
    hard(&work, &program).context("the hard trees")?;
    output(&format!("rm -rf {}", work.display()))?;
    Ok(())
}

/// The programs of `tools` that are installed; says which are not.
fn present<'a>(tools: &[&'a str]) -> Vec<&'a str> {
    let missing = |tool: &&str| {
        let there = installed(tool);
        if !there {
            eprintln!("SKIPPED: {tool} is not installed");
        }
        there
    };
    tools.iter().copied().filter(missing).collect()
}

fn source_tree(work: &Path, tree: &Path, program: &Path, runs: u32) -> Result<()> {
    let source = work.join("source");
    fs::create_dir_all(&source)?;
    output(&format!("tar -xf {} -C {} --strip-components=1", tree.display(), source.display()))?;
    let peers = present(&["b3sum", "find", "tar", "restic", "dar"]);
    let has = |tool: &str| peers.contains(&tool);
    let (ib, dir) = (format!("{} --quiet", program.display()), work.display());
    let xtask = std::env::current_exe()?;
    let restic = format!("RESTIC_PASSWORD=x restic --quiet --repo {dir}/restic");
    if has("restic") {
        output(&format!("{restic} init && cd {dir}/source && {restic} backup ."))?;
    }
    if has("tar") {
        output(&format!("tar -C {dir}/source -g {dir}/snar.0 -cf /dev/null ."))?;
    }
    if has("dar") {
        output(&format!("dar -Q -q -c {dir}/dar0 -R {dir}/source"))?;
    }
    let bare = format!("{} bare {dir}/source", xtask.display());
    let index = format!("{ib} index {dir}/source -o {dir}/0.index");
    let steps: [(&str, &str, &str, String); 9] = [
        (FIRST, BARE, "", bare),
        (FIRST, "b3sum", "b3sum", format!("find {dir}/source -type f -print0 | xargs -0 b3sum")),
        (FIRST, OURS, "", index),
        (
            AGAIN,
            "find -printf",
            "find",
            format!("find {dir}/source -printf '%p %y %m %U %G %s %T@ %C@ %i\\n'"),
        ),
        (
            AGAIN,
            "tar -g",
            "tar",
            format!(
                "cp {dir}/snar.0 {dir}/snar && tar -C {dir}/source -g {dir}/snar -cf /dev/null ."
            ),
        ),
        (AGAIN, "restic", "restic", format!("cd {dir}/source && {restic} backup .")),
        (
            AGAIN,
            "dar",
            "dar",
            format!("rm -f {dir}/dar1.* && dar -Q -q -c {dir}/dar1 -A {dir}/dar0 -R {dir}/source"),
        ),
        (
            AGAIN,
            OURS,
            "",
            format!("{ib} index {dir}/source --since {dir}/0.index -o {dir}/same.index"),
        ),
        (AGAIN, "ibtools compare", "", format!("{ib} compare {dir}/source {dir}/0.index")),
    ];
    let mut rows: Vec<Row> = Vec::new();
    // The first run of all fills the cache.
    output(&steps[0].3)?;
    for number in 1..=runs {
        eprintln!("run {number} of {runs}");
        for (work, tool, needs, command) in &steps {
            if needs.is_empty() || has(needs) {
                run(
                    &mut rows,
                    &[Step { work, tool, command: command.clone(), ..Step::default() }],
                )?;
            }
        }
    }
    println!("## A source tree\n");
    print(&rows);
    println!();
    ratios(&rows);
    println!("\nThe index, bytes an entry:\n");
    println!("{}", output(&format!("{} parts {dir}/0.index", xtask.display()))?);
    output(&format!("rm -rf {dir}/source {dir}/restic {dir}/dar*"))?;
    Ok(())
}

const FIRST: &str = "first index";
const AGAIN: &str = "nothing changed";
const OURS: &str = "ibtools index";
const BARE: &str = "walk, read, BLAKE3, no more";

/// What each tool takes as a multiple of ours, for each kind of work.
fn ratios(rows: &[Row]) {
    for row in rows.iter().filter(|row| row.tool != OURS) {
        let ours = rows.iter().find(|ours| ours.work == row.work && ours.tool == OURS);
        if let Some(ours) = ours {
            let ratio = median_wall(row) / median_wall(ours);
            println!("- {}: {} takes {ratio:.2}× the time of {OURS}", row.work, row.tool);
        }
    }
}

/// Trees of 10⁴, 10⁵ and 10⁶ small files, a thousand to a directory.
fn growing(work: &Path, program: &Path) -> Result<()> {
    let (ib, dir) = (format!("{} --quiet", program.display()), work.display());
    let xtask = std::env::current_exe()?;
    println!("## As the tree grows: files of 100 bytes, once each\n");
    let mut rows: Vec<Row> = Vec::new();
    for (files, name) in [(10_000, "10⁴ files"), (100_000, "10⁵ files"), (1_000_000, "10⁶ files")]
    {
        let tree = work.join("grown");
        for number in 0..files {
            let inside = tree.join(format!("dir{:04}", number / 1000));
            if number % 1000 == 0 {
                fs::create_dir_all(&inside)?;
            }
            let content = format!("{number:<100}");
            fs::write(inside.join(format!("file{number:07}.txt")), content)?;
        }
        let step = |tool, command| Step { work: name, tool, command, ..Step::default() };
        let steps = [
            step("find -printf", format!("find {dir}/grown -printf '%p %s %T@ %C@ %i\\n'")),
            step(BARE, format!("{} bare {dir}/grown", xtask.display())),
            Step {
                stored: Stored::File(work.join("a.index")),
                ..step(OURS, format!("{ib} index {dir}/grown -o {dir}/a.index"))
            },
            step(
                "ibtools index --since",
                format!("{ib} index {dir}/grown --since {dir}/a.index -o {dir}/b.index"),
            ),
            step("ibtools compare", format!("{ib} compare {dir}/grown {dir}/a.index")),
            step("open the index", format!("{} open {dir}/a.index", xtask.display())),
            step(
                "open two, compare",
                format!("{} open {dir}/a.index {dir}/b.index", xtask.display()),
            ),
        ];
        run(&mut rows, &steps)?;
        output(&format!("rm -rf {dir}/grown"))?;
    }
    print(&rows);
    println!();
    Ok(())
}

/// Trees that are all width, all depth, or all holes.
fn hard(work: &Path, program: &Path) -> Result<()> {
    let (ib, dir) = (format!("{} --quiet", program.display()), work.display());
    println!("## Hard trees, with 64 descriptors\n");
    let wide = work.join("wide");
    fs::create_dir_all(&wide)?;
    for number in 0..100_000 {
        fs::write(wide.join(format!("{number:0>255}")), "x")?;
    }
    // No path names what is so deep; one can go there.
    let here = std::env::current_dir()?;
    fs::create_dir(work.join("deep"))?;
    std::env::set_current_dir(work.join("deep"))?;
    for _ in 0..5000 {
        fs::create_dir("d")?;
        std::env::set_current_dir("d")?;
    }
    std::env::set_current_dir(here)?;
    fs::create_dir(work.join("sparse"))?;
    File::create(work.join("sparse/file"))?.set_len(100 << 30)?;
    let step = |name, tree: &str| Step {
        work: name,
        tool: OURS,
        command: format!("ulimit -n 64 && {ib} index {dir}/{tree} -o {dir}/{tree}.index"),
        stored: Stored::File(work.join(format!("{tree}.index"))),
        warm: None,
    };
    let mut rows = Vec::new();
    run(
        &mut rows,
        &[
            step("100,000 names of 255 bytes in one directory", "wide"),
            step("5,000 levels", "deep"),
            step("one file of 100 GiB, all of it a hole", "sparse"),
        ],
    )?;
    print(&rows);
    Ok(())
}
