//! The verbs of rdiff: `signature`, `delta` and `patch` of single files. Knows the names of files
//! and what to say of them; the work is rsync-core's.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};
use incremental_backups_tools::rsync_core::{self, DeltaStats, FileBytes, StrongHash};
use incremental_backups_tools::{Signature, SignatureOptions};
use indicatif::{HumanBytes, HumanCount};

use crate::Answer;
use crate::args::{DeltaArgs, Hash, PatchArgs, SignatureArgs};
use crate::console::{Console, is_dash, shown};
use crate::files::{self, Counted};
use crate::json::{object, put_file};

/// `ibtools signature`
pub(crate) fn signature(args: &SignatureArgs, console: &mut Console) -> Result<Answer> {
    files::check_output(&args.sig, &[&args.old], console)?;
    let signature = signature_of(&args.old, &options(args), console)
        .with_context(|| format!("cannot make the signature of {}", shown(&args.old)))?;
    files::write(&args.sig, console, |out| Ok(signature.write_to(out)?))
        .with_context(|| format!("cannot write the signature to {}", shown(&args.sig)))?;
    let shape = signature.shape();
    let strong = match shape.strong {
        StrongHash::Blake3 => "blake3",
        StrongHash::Sha256 => "sha256",
        StrongHash::Blake2b => "blake2b",
        StrongHash::Md4 => "md4",
    };
    let mut document = object([
        ("size", signature.file_len().into()),
        ("blake3", signature.digest().map(|digest| digest.to_string()).into()),
        ("block_size", shape.block_len.into()),
        ("blocks", signature.block_count().into()),
        ("hash", strong.into()),
        ("hash_bytes", shape.strong_len.into()),
    ]);
    put_file(&mut document, "signature", &args.sig);
    console.document(document)?;
    say(console, &args.sig, || {
        let (blocks, len) = (HumanCount(signature.block_count() as u64), shape.block_len);
        format!("{blocks} blocks of {len} bytes, of {}", HumanBytes(signature.file_len()))
    })
}

fn options(args: &SignatureArgs) -> SignatureOptions {
    let options = match args.hash {
        Hash::Blake3 => SignatureOptions::default(),
        Hash::Sha256 => SignatureOptions::pyrsync(),
        Hash::RdiffBlake2 => SignatureOptions::rdiff_blake2(),
        Hash::RdiffMd4 => SignatureOptions::rdiff_md4(),
    };
    SignatureOptions { block_len: args.block_size, ..options }
}

fn signature_of(path: &Path, options: &SignatureOptions, console: &Console) -> Result<Signature> {
    match regular(path)? {
        Some(file) => {
            let bytes = FileBytes::open(&file)?;
            let ticker = console.ticker("reading", Some(bytes.len() as u64));
            let signature = bytes.signature(options, Some(ticker.progress()))?;
            bytes.check()?;
            Ok(signature)
        }
        None => Ok(Signature::of_reader(stream(path)?, None, options)?),
    }
}

/// `ibtools delta`
pub(crate) fn delta(args: &DeltaArgs, console: &mut Console) -> Result<Answer> {
    files::check_output(&args.delta, &[&args.sig, &args.new], console)?;
    if is_dash(&args.sig) && is_dash(&args.new) {
        bail!("SIG and NEW cannot both be standard input");
    }
    let signature = stream(&args.sig)
        .and_then(|sig| Ok(Signature::read_from(sig)?))
        .with_context(|| format!("cannot read the signature {}", shown(&args.sig)))?;
    let stats = write_delta(&signature, args, console).with_context(|| {
        format!("cannot write the delta of {} to {}", shown(&args.new), shown(&args.delta))
    })?;
    let mut document = object([
        ("size", stats.new_len.into()),
        ("blake3", stats.new_digest.to_string().into()),
        ("copied", stats.copied.into()),
        ("literal", stats.literal.into()),
        ("commands", stats.commands.into()),
    ]);
    put_file(&mut document, "delta", &args.delta);
    console.document(document)?;
    say(console, &args.delta, || {
        let (new, literal) = (HumanBytes(stats.new_len), HumanBytes(stats.literal));
        format!("{literal} of {new} are new, BLAKE3 {}", stats.new_digest)
    })
}

fn write_delta(
    signature: &Signature,
    args: &DeltaArgs,
    console: &mut Console,
) -> Result<DeltaStats> {
    let Some(file) = regular(&args.new)? else {
        let new = stream(&args.new)?;
        return files::write(&args.delta, console, |out| {
            Ok(rsync_core::delta(signature, new, out)?)
        });
    };
    let bytes = FileBytes::open(&file)?;
    let ticker = console.ticker("comparing", Some(bytes.len() as u64));
    let delta = bytes.delta(signature, Some(ticker.progress()))?;
    drop(ticker);
    files::write(&args.delta, console, |out| {
        bytes.write_delta(&delta, out)?;
        bytes.check()?;
        Ok(delta.stats())
    })
}

/// `ibtools patch`
pub(crate) fn patch(args: &PatchArgs, console: &mut Console) -> Result<Answer> {
    files::check_output(&args.new, &[&args.old, &args.delta], console)?;
    if is_dash(&args.old) {
        bail!("OLD cannot be standard input: a delta jumps about in it");
    }
    let old = files::open(&args.old)?;
    let delta = stream(&args.delta)?;
    let ticker = console.ticker("writing", None);
    let patched = files::write(&args.new, console, |out| {
        let out = Counted { out, progress: ticker.progress() };
        Ok(rsync_core::patch(old, delta, out, u64::MAX)?)
    })
    .with_context(|| {
        let (old, delta, new) = (shown(&args.old), shown(&args.delta), shown(&args.new));
        format!("cannot make {new} from {old} and {delta}")
    })?;
    drop(ticker);
    let blake3 = patched.digest.to_string();
    let mut document = object([("size", patched.len.into()), ("blake3", blake3.into())]);
    put_file(&mut document, "new", &args.new);
    console.document(document)?;
    say(console, &args.new, || format!("{}, BLAKE3 {}", HumanBytes(patched.len), patched.digest))
}

/// Says what was written to `output`, unless that is where it would be said.
fn say(console: &mut Console, output: &Path, text: impl Fn() -> String) -> Result<Answer> {
    if !is_dash(output) {
        console.line(format_args!("{}: {}", shown(output), text()))?;
    }
    Ok(Answer::Yes)
}

/// Opens `path` if it is a regular file, which can be mapped and noticed to change.
fn regular(path: &Path) -> Result<Option<File>> {
    if is_dash(path) {
        return Ok(None);
    }
    let file = files::open(path)?;
    let metadata = file.metadata().with_context(|| format!("cannot stat {}", shown(path)))?;
    Ok(metadata.is_file().then_some(file))
}

/// Opens `path`, or standard input, to be read from front to back.
fn stream(path: &Path) -> Result<Box<dyn Read>> {
    if is_dash(path) {
        return Ok(Box::new(io::stdin().lock()));
    }
    Ok(Box::new(BufReader::with_capacity(256 << 10, files::open(path)?)))
}
