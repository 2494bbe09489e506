//! `fast_rsync_peer signature BLOCK_LEN OLD SIG | delta SIG NEW DELTA | patch OLD DELTA NEW`, on mapped files.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};

use fast_rsync::{Signature, SignatureOptions, apply, diff};
use memmap2::Mmap;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match *args.as_slice() {
        ["signature", block_len, old, sig] => {
            let options = SignatureOptions { block_size: block_len.parse()?, crypto_hash_size: 16 };
            let signature = Signature::calculate(&map(old)?, options);
            std::fs::write(sig, signature.serialized())?;
        }
        ["delta", sig, new, delta] => {
            let signature = Signature::deserialize(std::fs::read(sig)?)?;
            let mut out = BufWriter::new(File::create(delta)?);
            diff(&signature.index(), &map(new)?, &mut out)?;
            out.flush()?;
        }
        ["patch", old, delta, new] => {
            let mut out = BufWriter::new(File::create(new)?);
            apply(&map(old)?, &map(delta)?, &mut out)?;
            out.flush()?;
        }
        _ => return Err("see the first line of the source".into()),
    }
    Ok(())
}

fn map(path: &str) -> std::io::Result<Mmap> {
    // SAFETY: the benchmark writes its inputs before and changes them no more.
    unsafe { Mmap::map(&File::open(path)?) }
}
