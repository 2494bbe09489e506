//! `cargo xtask portable`: the tests of the crates that are for any system, run as programs of Windows, under wine, and as 32-bit
//! ones. Knows how such programs are made on Debian, and nothing of what the tests are.
//!
//! The standard library for these systems is built from its source, which has to be of the compiler's version. That is a
//! nightly feature of cargo, so that `RUSTC_BOOTSTRAP` asks for it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{installed, output};

const DEBIAN: &str = "http://deb.debian.org/debian";
/// The newest compilers of Debian are here.
const SUITE: &str = "trixie-backports";

const WINDOWS: &str = "x86_64-pc-windows-gnu";
const BITS_32: &str = "i686-unknown-linux-gnu";

/// The crates, and the features that they have on any system.
const CRATES: [(&str, &[&str]); 4] = [
    ("rsync-core", &["--all-features"]),
    ("backup-container", &[]),
    ("dirindex", &["--no-default-features"]),
    ("diffindex", &["--no-default-features"]),
];

/// wine 8 has no such library, which the standard library takes random numbers from.
const PRNG: &str = "#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T len) { return SystemFunction036(data, (ULONG)len); }
";

/// Runs all tests on both systems. `source` is the directory of the compiler's source that has `library` in it.
pub(crate) fn run(source: Option<&str>) -> Result<()> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or("target".into(), PathBuf::from);
    let home = std::path::absolute(target)?.join("portable");
    std::fs::create_dir_all(&home)?;
    let library = match source {
        Some(source) => PathBuf::from(source).join("library"),
        None => fetched(&home)?.join("library"),
    };
    if !library.join("Cargo.lock").exists() {
        bail!("{} is not the source of the standard library", library.display());
    }
    let needed = [
        ("x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64"),
        (wine(), "wine64"),
        ("xz", "xz-utils"),
    ];
    for (program, package) in needed {
        if !installed(program) {
            bail!("{program} is missing: apt-get install {package} gcc-multilib");
        }
    }
    std::fs::write(home.join("prng.c"), PRNG)?;
    output(&format!(
        "cd {} && x86_64-w64-mingw32-gcc -shared -o bcryptprimitives.dll prng.c -ladvapi32",
        home.display()
    ))?;
    for system in [WINDOWS, BITS_32] {
        for (name, features) in CRATES {
            println!("# {name} for {system}");
            test(name, features, system, &home, &library)?;
        }
    }
    Ok(())
}

fn test(name: &str, features: &[&str], system: &str, home: &Path, library: &Path) -> Result<()> {
    let status = Command::new("cargo")
        .args(["test", "--quiet", "-Z", "build-std=std,panic_unwind,test", "--target", system])
        .args(["--lib", "--tests", "-p", name])
        .args(features)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("__CARGO_TESTS_ONLY_SRC_ROOT", library)
        .env("CARGO_TARGET_DIR", home)
        .env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER", wine())
        .env("WINEPREFIX", home.join("wine"))
        .env("WINEPATH", format!("Z:{}", home.display()))
        .env("WINEDEBUG", "-all")
        .status()
        .context("cannot run cargo")?;
    match status.success() {
        true => Ok(()),
        false => bail!("the tests of {name} fail for {system}"),
    }
}

/// Debian's `wine` is a script that looks for 32-bit programs first.
fn wine() -> &'static str {
    let direct = "/usr/lib/wine/wine64";
    if Path::new(direct).exists() { direct } else { "wine" }
}

/// The source of this compiler's standard library, from Debian's package `rust-src`.
fn fetched(home: &Path) -> Result<PathBuf> {
    let version = output("rustc --version")?;
    let version = version.split_whitespace().nth(1).context("rustc gives no version")?.to_owned();
    let source = home.join(format!("src/usr/src/rustc-{version}"));
    if source.exists() {
        return Ok(source);
    }
    let list = format!("{DEBIAN}/dists/{SUITE}/main/binary-all/Packages.xz");
    let found = output(&format!(
        "curl -fsS {list} | xz -dc | grep -o 'pool/main/r/rustc/rust-src_{version}+.*_all.deb' | tail -n 1"
    ))?;
    if found.trim().is_empty() {
        bail!(
            "Debian's {SUITE} has no rust-src {version}: give the source of the compiler as RUST_SRC"
        );
    }
    let home = home.display();
    output(&format!(
        "cd {home} && curl -fsS -o rust-src.deb {DEBIAN}/{} && dpkg-deb -x rust-src.deb src && rm rust-src.deb",
        found.trim()
    ))?;
    Ok(source)
}
