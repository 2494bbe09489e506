//! `bench scan`: scanning trees, beside the least it can cost and beside our peers, in the same run; then of trees that grow, and of
//! trees that are hard.

use std::fs::{self, File};

use anyhow::{Context, Result};

use super::corpora::source_tree;
use super::tools::version;
use super::{Bench, Common, Step, Stored};
use crate::process::{installed, output};

const FIRST: &str = "first index";
const AGAIN: &str = "nothing changed";
const OURS: &str = "ibtools index";
const BARE: &str = "walk, read, BLAKE3, no more";

/// Runs the benchmark.
pub(crate) fn run(bench: &mut Bench, common: &Common) -> Result<()> {
    // The number of entries that the growing trees have.
    let sizes = common.sizes(&[10_000, 100_000]);
    bench.fresh()?;
    source(bench, common).context("the source tree")?;
    growing(bench, &sizes).context("the growing trees")?;
    hard(bench).context("the hard trees")
}

/// A command: its work, its tool, the command itself, in which `xtask` is this program, and the file that it keeps.
pub(super) type Row<'a> = (&'a str, &'a str, &'a str, &'a str);

/// Measures commands.
pub(super) fn steps(bench: &mut Bench, corpus: &str, steps: &[Row<'_>]) -> Result<()> {
    let xtask = std::env::current_exe()?.display().to_string();
    for (work, tool, command, kept) in steps {
        let program = tool.split([' ', ',']).next().unwrap_or_default();
        if ["b3sum", "restic", "dar"].contains(&program) && !installed(program) {
            continue;
        }
        let kept = (!kept.is_empty()).then(|| bench.work.join(kept));
        let stored = kept.as_deref().map_or(Stored::Nothing, Stored::All);
        let step = Step { corpus, work, tool, asked: command };
        let command = command.replace("xtask", &format!("'{xtask}' bench"));
        bench.step(&step, &command, &[], &stored)?;
    }
    Ok(())
}

fn source(bench: &mut Bench, common: &Common) -> Result<()> {
    let tree = source_tree(common.tree.as_deref())?;
    let work = bench.work.display().to_string();
    output(&format!("cp -a '{}' '{work}/source'", tree.display()))?;
    let prepared = [
        ("find", "true", "find --version"),
        ("b3sum", "true", "b3sum --version"),
        ("tar", "tar -C source -g snar.0 -cf /dev/null .", "tar --version"),
        ("restic", "restic -q init && cd source && restic -q backup .", "restic version"),
        (
            "dar",
            "dar -Q -q -c dar0 -R source",
            "dar --version | sed -n 's/.*\\(dar version [0-9.]*\\).*/\\1/p'",
        ),
    ];
    let restic = format!(
        "export RESTIC_PASSWORD=x RESTIC_REPOSITORY='{work}/restic' RESTIC_CACHE_DIR='{work}/cache'"
    );
    for (tool, prepare, said) in prepared {
        match installed(tool) {
            true => {
                output(&format!("cd '{work}' && {restic}; {prepare}"))?;
                bench.report.tools.insert(tool.into(), version(said));
            }
            false => eprintln!("skipped: {tool} is not installed; try `cargo xtask peers`"),
        }
    }
    let with_restic = format!("{restic}; cd source && restic -q backup .");
    // The first run of all fills the cache.
    output(&format!("cd '{work}' && ibtools -q index source -o 0.index"))?;
    for number in 1..=common.runs {
        eprintln!("source: run {number} of {}", common.runs);
        steps(
            bench,
            "source",
            &[
                (FIRST, BARE, "xtask bare source", ""),
                (FIRST, "b3sum, find", "find source -type f -print0 | xargs -0 b3sum", ""),
                (FIRST, OURS, "ibtools -q index source -o 0.index", "0.index"),
                (
                    AGAIN,
                    "find -printf",
                    "find source -printf '%p %y %m %U %G %s %T@ %C@ %i\\n'",
                    "",
                ),
                (AGAIN, "tar -g", "tar -C source -g snar.0 -cf /dev/null .", ""),
                (AGAIN, "restic", &with_restic, ""),
                (AGAIN, "dar", "dar -Q -q -w -c dar1 -A dar0 -R source", ""),
                (
                    AGAIN,
                    "ibtools index --since",
                    "ibtools -q index source --since 0.index -o same.index",
                    "",
                ),
                (AGAIN, "ibtools compare", "ibtools -q compare source 0.index", ""),
            ],
        )?;
    }
    let xtask = std::env::current_exe()?;
    eprintln!(
        "the index, bytes an entry:\n{}",
        output(&format!("'{}' bench parts '{work}/0.index'", xtask.display()))?
    );
    output(&format!("cd '{work}' && rm -rf source restic cache dar*"))?;
    Ok(())
}

/// Trees of more and more small files, a thousand to a directory.
fn growing(bench: &mut Bench, sizes: &[usize]) -> Result<()> {
    for &files in sizes {
        let corpus = format!("{files} files of 100 bytes");
        eprintln!("{corpus}");
        let tree = bench.work.join("grown");
        for number in 0..files {
            let inside = tree.join(format!("dir{:04}", number / 1000));
            if number % 1000 == 0 {
                fs::create_dir_all(&inside)?;
            }
            fs::write(inside.join(format!("file{number:07}.txt")), format!("{number:<100}"))?;
        }
        steps(
            bench,
            &corpus,
            &[
                (AGAIN, "find -printf", "find grown -printf '%p %s %T@ %C@ %i\\n'", ""),
                (FIRST, BARE, "xtask bare grown", ""),
                (FIRST, OURS, "ibtools -q index grown -o a.index", "a.index"),
                (
                    AGAIN,
                    "ibtools index --since",
                    "ibtools -q index grown --since a.index -o b.index",
                    "",
                ),
                (AGAIN, "ibtools compare", "ibtools -q compare grown a.index", ""),
                ("open the index", "ibtools", "xtask open a.index", ""),
                ("open two, compare", "ibtools", "xtask open a.index b.index", ""),
            ],
        )?;
        output(&format!("rm -rf '{}'", tree.display()))?;
    }
    Ok(())
}

/// Trees that are all width, all depth, or all holes.
fn hard(bench: &mut Bench) -> Result<()> {
    let work = bench.work.clone();
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
    File::create(work.join("sparse/file"))?.set_len(10 << 30)?;
    for (corpus, tree) in [
        ("100,000 names of 255 bytes in one directory", "wide"),
        ("5,000 levels", "deep"),
        ("one file of 10 GiB, all of it a hole", "sparse"),
    ] {
        let command = format!("ulimit -n 64 && ibtools -q index {tree} -o hard.index");
        steps(bench, corpus, &[(FIRST, OURS, &command, "hard.index")])?;
    }
    Ok(())
}
