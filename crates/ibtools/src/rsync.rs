//! The verbs of rdiff: `signature`, `delta` and `patch` of single files. Knows the names of files
//! and what to say of them; the work is rsync-core's.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use incremental_backups_tools::rsync_core::{self, DeltaStats, FileBytes, Patched};
use incremental_backups_tools::{Progress, Signature, SignatureOptions};
use indicatif::{HumanBytes, HumanCount};

use crate::Answer;
use crate::args::{DeltaArgs, Hash, PatchArgs, SignatureArgs};
use crate::console::{Console, is_dash, shown};
use crate::files::Opened;
use crate::json::{object, put_file};
use crate::output::Output;

/// `ibtools signature`
pub(crate) fn signature(args: &SignatureArgs, console: &mut Console) -> Result<Answer> {
    let output = Output::of(&args.sig)?;
    output.check(&[&args.old], console)?;
    let signature = signature_of(&args.old, &options(args), console)
        .with_context(|| format!("cannot make the signature of {}", shown(&args.old)))?;
    output
        .write(|out| Ok(signature.write_to(out)?))
        .with_context(|| format!("cannot write the signature to {}", shown(&args.sig)))?;
    let shape = signature.shape();
    let mut document = object([
        ("size", signature.file_len().into()),
        ("blake3", signature.digest().map(|digest| digest.to_string()).into()),
        ("block_size", shape.block_len.into()),
        ("blocks", signature.block_count().into()),
        ("hash", shape.sums.to_string().into()),
        ("hash_bytes", shape.strong_len.into()),
    ]);
    put_file(&mut document, "signature", &args.sig);
    console.document(document)?;
    say(console, &output, || {
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
    match Opened::open(path)? {
        Opened::Whole(file) => {
            let bytes = FileBytes::open(&file)?;
            let ticker = console.ticker("reading", Some(bytes.len() as u64));
            let signature = bytes.signature(options, Some(ticker.progress()))?;
            bytes.check()?;
            Ok(signature)
        }
        other => {
            let ticker = console.ticker("reading", None);
            Ok(Signature::of_reader(other.stream(), None, options, Some(ticker.progress()))?)
        }
    }
}

/// `ibtools delta`
pub(crate) fn delta(args: &DeltaArgs, console: &mut Console) -> Result<Answer> {
    let output = Output::of(&args.delta)?;
    output.check(&[&args.sig, &args.new], console)?;
    if is_dash(&args.sig) && is_dash(&args.new) {
        bail!("SIG and NEW cannot both be standard input");
    }
    let signature = Opened::open(&args.sig)
        .and_then(|sig| Ok(Signature::read_from(sig.stream())?))
        .with_context(|| format!("cannot read the signature {}", shown(&args.sig)))?;
    if signature.digest().is_none() && !args.unchecked {
        bail!(
            "{} is a signature of rdiff's, which has no check: if it is damaged, the delta is wrong. `patch` \
             finds that out by the delta's seal (`rdiff patch` does not): give --unchecked to go on, or make \
             the signature with `ibtools signature`",
            shown(&args.sig)
        );
    }
    let stats = write_delta(&signature, args, &output, console).with_context(|| {
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
    say(console, &output, || {
        let (new, literal) = (HumanBytes(stats.new_len), HumanBytes(stats.literal));
        format!("{literal} of {new} are new, BLAKE3 {}", stats.new_digest)
    })
}

fn write_delta(
    signature: &Signature,
    args: &DeltaArgs,
    output: &Output,
    console: &mut Console,
) -> Result<DeltaStats> {
    let file = match Opened::open(&args.new)? {
        Opened::Whole(file) => file,
        other => {
            let (new, ticker) = (other.stream(), console.ticker("comparing", None));
            return output.write(|out| {
                Ok(rsync_core::delta_sealed(signature, new, out, Some(ticker.progress()))?)
            });
        }
    };
    let bytes = FileBytes::open(&file)?;
    let ticker = console.ticker("comparing", Some(bytes.len() as u64));
    let delta = bytes.delta(signature, Some(ticker.progress()))?;
    drop(ticker);
    let ticker = console.ticker("writing", Some(delta.encoded_len()));
    output.write(|out| {
        bytes.write_sealed(&delta, out, Some(ticker.progress()))?;
        bytes.check()?;
        Ok(delta.stats())
    })
}

/// `ibtools patch`
pub(crate) fn patch(args: &PatchArgs, console: &mut Console) -> Result<Answer> {
    let output = Output::of(&args.new)?;
    output.check(&[&args.old, &args.delta], console)?;
    if is_dash(&args.old) {
        bail!("OLD cannot be standard input: a delta jumps about in it");
    }
    let patched = write_patched(args, &output, console).with_context(|| {
        let (old, delta, new) = (shown(&args.old), shown(&args.delta), shown(&args.new));
        format!("cannot make {new} from {old} and {delta}")
    })?;
    let blake3 = patched.digest.to_string();
    let mut document = object([("size", patched.len.into()), ("blake3", blake3.into())]);
    put_file(&mut document, "new", &args.new);
    console.document(document)?;
    say(console, &output, || format!("{}, BLAKE3 {}", HumanBytes(patched.len), patched.digest))
}

/// Makes the new file, which is put in its place only once it was found to be right. What goes into a pipe cannot be taken back:
/// so it is made twice, the first time to see that.
fn write_patched(args: &PatchArgs, output: &Output, console: &Console) -> Result<Patched> {
    let old = Opened::open(&args.old)?.seekable(&args.old)?;
    let delta = Opened::open(&args.delta)?;
    if !output.is_stream() {
        let ticker = console.ticker("writing", None);
        let delta = delta.stream();
        return output.write(|out| make(&old, delta, out, args, ticker.progress()));
    }
    let mut delta = delta.seekable(&args.delta)?;
    {
        let ticker = console.ticker("checking", None);
        make(&old, BufReader::new(&delta), io::sink(), args, ticker.progress())?;
    }
    delta.rewind().context("cannot read the delta again")?;
    let ticker = console.ticker("writing", None);
    output.write(|out| make(&old, BufReader::new(&delta), out, args, ticker.progress()))
}

fn make(
    old: &File,
    delta: impl Read,
    out: impl Write,
    args: &PatchArgs,
    progress: &Progress,
) -> Result<Patched> {
    let (patched, seal) = rsync_core::patch_sealed(old, delta, out, u64::MAX, Some(progress))?;
    if seal.is_none() && !args.unchecked {
        bail!(
            "the delta has no seal, as one of rdiff's has none: whether it is whole, and made for this old file, \
             cannot be told. Give --unchecked to apply it all the same"
        );
    }
    Ok(patched)
}

/// Says what was written to `output`, unless that is where it would be said.
fn say(console: &mut Console, output: &Output, text: impl Fn() -> String) -> Result<Answer> {
    if !output.is_standard_output() {
        console.line(format_args!("{}: {}", shown(output.name()), text()))?;
    }
    Ok(Answer::Yes)
}
