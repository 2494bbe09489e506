//! What is typed for the rsync blocks: `signature`, `delta`, `patch`.

use std::path::PathBuf;

use clap::ValueEnum;

use super::values::size;

#[derive(Debug, clap::Args)]
pub(crate) struct SignatureArgs {
    /// Block length in bytes, with K or M for 1024 or 1048576 [default: by the file's length]
    #[arg(short, long, value_name = "SIZE", value_parser = size)]
    pub(crate) block_size: Option<u32>,
    /// The hash of a block; those of rdiff write signatures that rdiff reads
    #[arg(long, value_enum, default_value = "blake3")]
    pub(crate) hash: Hash,
    /// The file, or - for standard input
    pub(crate) old: PathBuf,
    /// Where to write its signature, or - for standard output
    pub(crate) sig: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Hash {
    /// BLAKE3, 10 bytes of it, bound to the file
    Blake3,
    /// SHA-256, all 32 bytes
    Sha256,
    /// rdiff's default, BLAKE2b
    RdiffBlake2,
    /// rdiff's old hash, MD4: broken, for old programs only
    RdiffMd4,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DeltaArgs {
    /// A signature made by `ibtools signature` or rdiff, or - for standard input
    pub(crate) sig: PathBuf,
    /// Take a signature of rdiff's, which has no check of its own
    #[arg(long)]
    pub(crate) unchecked: bool,
    /// The new file, or - for standard input
    pub(crate) new: PathBuf,
    /// Where to write the delta, which rdiff reads too, or - for standard output
    pub(crate) delta: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PatchArgs {
    /// The old file
    pub(crate) old: PathBuf,
    /// Take a delta of rdiff's, which has no check of its own
    #[arg(long)]
    pub(crate) unchecked: bool,
    /// A delta made by `ibtools delta` or rdiff, or - for standard input
    pub(crate) delta: PathBuf,
    /// Where to write the new file, or - for standard output
    pub(crate) new: PathBuf,
}
