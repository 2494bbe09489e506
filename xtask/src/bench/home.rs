//! A tree as in a home directory, and how it changes: photos, mail, a database, repositories, node modules. Knows nothing of who backs
//! it up.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use fastrand::Rng;

use super::corpora::{SEED, cache, noise, text};
use crate::process::{installed, output};

/// Two directories of modules, most of them the same, if npm is here.
pub(super) fn node_modules() -> Option<PathBuf> {
    let home = cache().ok()?.join("node");
    if !home.exists() {
        if !installed("npm") {
            eprintln!("skipped: node_modules in `home`: npm is not installed");
            return None;
        }
        eprintln!("fetching node modules");
        let command = "rm -rf new && mkdir -p new/one new/two && \
                       for each in one two; do (cd new/$each && npm init -y && npm install --ignore-scripts express@4.21.2 lodash@4.17.21 \
                       $(test $each = one || echo chalk@4.1.2 webpack@5.97.1)) || exit 1; done && mv new node";
        let fetched =
            output(&format!("cd '{}' && ({command}) > /dev/null", home.parent()?.display()));
        if let Err(error) = fetched {
            eprintln!("skipped: node_modules in `home`: {error:#}");
            return None;
        }
    }
    Some(home)
}

/// Two thirds photos; of the rest half mail, then a database and repositories.
pub(super) fn make(tree: &Path, len: usize, modules: Option<&Path>) -> Result<()> {
    let mut rng = Rng::with_seed(SEED);
    photos(tree, &mut rng, "2024", len * 2 / 3)?;
    fs::create_dir_all(tree.join("mail"))?;
    fs::write(tree.join("mail/inbox.mbox"), mails(&mut rng, len / 6))?;
    sqlite(
        tree,
        &format!(
            "create table t (id integer primary key, name text, body text); {}",
            rows(&mut rng, len / 12)
        ),
    )?;
    for name in ["one", "two"] {
        let dir = tree.join("src").join(name);
        fs::create_dir_all(&dir)?;
        git(&dir, "init -q .")?;
        for commit in 0..5 {
            for file in 0..40 {
                if commit == 0 || rng.u8(..5) == 0 {
                    let lines = text(&mut rng, len / 5000);
                    fs::write(dir.join(format!("file{file}.txt")), lines)?;
                }
            }
            git(&dir, "add .")?;
            git(&dir, &format!("commit -q -m {commit}"))?;
        }
    }
    if let Some(modules) = modules {
        output(&format!("cp -a '{}/.' '{}/src'", modules.display(), tree.display()))?;
    }
    Ok(())
}

pub(super) fn change(tree: &Path, step: usize) -> Result<()> {
    let mut rng = Rng::with_seed(SEED + step as u64);
    photos(tree, &mut rng, "2025", 8 << 20)?;
    fs::rename(tree.join("photos/2024"), tree.join("photos/the year 2024"))?;
    let mails = mails(&mut rng, 200_000);
    File::options().append(true).open(tree.join("mail/inbox.mbox"))?.write_all(&mails)?;
    let ids: Vec<String> = (0..200).map(|_| rng.u32(1..5000).to_string()).collect();
    sqlite(
        tree,
        &format!(
            "update t set name = 'changed' where id in ({}); {}",
            ids.join(","),
            rows(&mut rng, 100_000)
        ),
    )?;
    let dir = tree.join("src/one");
    fs::write(dir.join("file3.txt"), text(&mut rng, 30_000))?;
    git(&dir, "add .")?;
    git(&dir, "commit -q -m more")?;
    output(&format!(
        "cd '{}/src' && if test -d one/node_modules/express; then echo '// changed' >> one/node_modules/express/index.js; fi",
        tree.display()
    ))?;
    Ok(())
}

/// Files of one to four megabytes that do not compress.
fn photos(tree: &Path, rng: &mut Rng, year: &str, mut len: usize) -> Result<()> {
    let dir = tree.join("photos").join(year);
    fs::create_dir_all(&dir)?;
    while len > 0 {
        let size = rng.usize(1 << 20..4 << 20).min(len);
        let name = format!("img_{:08x}.jpg", rng.u32(..));
        fs::write(dir.join(name), noise(rng, size))?;
        len -= size;
    }
    Ok(())
}

fn mails(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut box_ = Vec::with_capacity(len);
    while box_.len() < len {
        let number = rng.u32(..);
        let head = format!(
            "From a{number}@example.org\nMessage-Id: <{number}@example.org>\nSubject: {number}\n\n"
        );
        let body = rng.usize(500..8000);
        box_.extend(head.into_bytes());
        box_.extend(text(rng, body));
        box_.extend(b"\n\n");
    }
    box_
}

fn rows(rng: &mut Rng, len: usize) -> String {
    let mut sql = String::from("begin;");
    while sql.len() < len {
        let body = rng.usize(20..400);
        let body = String::from_utf8_lossy(&text(rng, body)).into_owned();
        // Writing to a string does not fail.
        let _ = write!(sql, "insert into t (name, body) values ('{:08x}', '{body}');", rng.u32(..));
    }
    sql + "commit;"
}

/// By Python's own sqlite, which nearly every system has.
fn sqlite(tree: &Path, sql: &str) -> Result<()> {
    let script = tree.join("script.sql");
    fs::write(&script, sql)?;
    let python = "import sqlite3, sys; c = sqlite3.connect(\"notes.sqlite\"); c.executescript(open(\"script.sql\").read()); c.close()";
    output(&format!("cd '{}' && python3 -c '{python}'", tree.display()))?;
    fs::remove_file(script)?;
    Ok(())
}

fn git(dir: &Path, what: &str) -> Result<()> {
    output(&format!(
        "cd '{}' && GIT_AUTHOR_DATE='2025-01-01T00:00:00Z' GIT_COMMITTER_DATE='2025-01-01T00:00:00Z' \
         git -c user.name=n -c user.email=e@example.org -c gc.auto=0 {what}",
        dir.display()
    ))?;
    Ok(())
}
