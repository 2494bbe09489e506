//! `bench blocks`: what signature and delta weigh together at each block length, over pairs of old and new files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rsync_core::{Delta, Signature, SignatureOptions};

/// Prints a table for each pair: files, or directories whose files of the same path are compared.
pub(crate) fn run(paths: &[PathBuf]) -> Result<()> {
    if !paths.len().is_multiple_of(2) {
        bail!("OLD and NEW come in pairs");
    }
    for pair in paths.chunks(2) {
        let (old, new) = (&pair[0], &pair[1]);
        table(old, new).with_context(|| format!("{} and {}", old.display(), new.display()))?;
    }
    Ok(())
}

fn table(old: &Path, new: &Path) -> Result<()> {
    let mut pairs = Vec::new();
    changed(old, new, &mut pairs)?;
    let bytes = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
    let total: u64 = pairs.iter().map(|(_, new)| bytes(new)).sum();
    println!(
        "\n{} → {}: {} files that differ, {total} bytes\n",
        old.display(),
        new.display(),
        pairs.len()
    );
    println!(
        "| block length | signature | delta | delta, zstd -3 | signature + compressed delta |"
    );
    println!("|---|---|---|---|---|");
    for block_len in std::iter::successors(Some(1024), |len| Some(2 * len)).take(7) {
        let options = SignatureOptions { block_len: Some(block_len), ..Default::default() };
        let [mut signatures, mut deltas, mut compressed] = [0; 3];
        for (old, new) in &pairs {
            let signature = Signature::of_slice(&fs::read(old)?, &options, None)?;
            let new = fs::read(new)?;
            let delta = Delta::compute(&signature, &new, None)?;
            let mut out = zstd::Encoder::new(Counted(0), 3)?;
            delta.write_to(&new, &mut out, None)?;
            signatures += signature.packed().len() as u64;
            deltas += delta.encoded_len();
            compressed += out.finish()?.0;
        }
        let sum = signatures + compressed;
        println!("| {block_len} | {signatures} | {deltas} | {compressed} | {sum} |");
    }
    Ok(())
}

/// Pairs of files with one name and different contents.
fn changed(old: &Path, new: &Path, pairs: &mut Vec<(PathBuf, PathBuf)>) -> Result<()> {
    let kind = |path: &Path| fs::symlink_metadata(path).map(|meta| meta.file_type());
    let (Ok(old_kind), Ok(new_kind)) = (kind(old), kind(new)) else { return Ok(()) };
    if old_kind.is_dir() && new_kind.is_dir() {
        for entry in fs::read_dir(new)? {
            let name = entry?.file_name();
            changed(&old.join(&name), &new.join(&name), pairs)?;
        }
    } else if old_kind.is_file() && new_kind.is_file() && fs::read(old)? != fs::read(new)? {
        pairs.push((old.into(), new.into()));
    }
    Ok(())
}

/// Counts what is written to it.
struct Counted(u64);

impl std::io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
