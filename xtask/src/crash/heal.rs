//! Damaged archives and indexes beside their parity: within the share each is mended byte for byte, beyond it nothing is.
//! In memory, on the files of a real store.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use incremental_backups_tools::container::ReadAt;
use incremental_backups_tools::parity::{Check, Error, Parity};

use crate::process::output;

/// Sizes of the stored file, and how many cases there are of each.
const CASES: [(usize, usize); 4] =
    [(8_000, 40_000), (60_000, 40_000), (300_000, 30_000), (2_000_000, 5_000)];
/// What is done to a file.
#[derive(Debug, Clone, Copy)]
enum Damage {
    /// One byte of the shard with this number.
    Shard(usize),
    /// So many bytes from one on.
    Burst,
    /// Single bits, one in a shard.
    Flips,
    Head,
    Tail,
    /// A burst, and the head of the parity is lost.
    ParityHead,
    /// Single bits in one shard more than can be mended.
    Beyond,
}

/// Runs the sweep; the number of bad ends.
pub(super) fn run(program: &Path) -> Result<usize> {
    println!("# archives and indexes beside their parity");
    let mut random = Rng::with_seed(23);
    let (mut all, mut bad) = (0, 0);
    for (len, cases) in CASES {
        let home = std::env::temp_dir().join(format!("ibtools-heal-{}", std::process::id()));
        let made = store(program, &home, len, &mut random);
        drop(fs::remove_dir_all(&home));
        let files = made?;
        let cases = cases / files.len();
        for (name, file, parity) in &files {
            let wrong = sweep(file, parity, cases, &mut random)?;
            println!("{name}, {} bytes: {cases} cases, {wrong} bad", file.len());
            (all, bad) = (all + cases, bad + wrong);
        }
    }
    println!("total: {all} cases, {bad} bad");
    Ok(bad)
}

type Protected = (String, Vec<u8>, Vec<u8>);

/// The archive and the index of a backup of a file with `len` random bytes, with their parities of 5%.
fn store(program: &Path, home: &Path, len: usize, random: &mut Rng) -> Result<Vec<Protected>> {
    fs::create_dir_all(home.join("tree"))?;
    let mut content = vec![0; len];
    random.fill(&mut content);
    fs::write(home.join("tree/file"), content)?;
    let (program, home_shown) = (program.display(), home.display());
    output(&format!("cd '{home_shown}' && '{program}' backup --init --parity 5% tree store"))?;
    let mut files = Vec::new();
    for entry in fs::read_dir(home.join("store"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(protected) = name.strip_suffix(".parity") {
            let file = fs::read(path.with_file_name(protected))?;
            files.push((protected.to_owned(), file, fs::read(&path)?));
        }
    }
    ensure!(files.len() == 2, "an archive and an index have a parity each");
    Ok(files)
}

fn sweep(file: &Vec<u8>, parity: &[u8], cases: usize, random: &mut Rng) -> Result<usize> {
    let opened = Parity::open(parity.to_vec())?;
    // The head, by `docs/format.md`.
    let block_len = parity.get(12..16).context("no parity")?.try_into()?;
    let block_len = u32::from_le_bytes(block_len) as usize;
    let recovery = opened.recovery();
    // A shard's length is a power of two.
    let shards = opened.check(&[Some(file)], None)?.shards();
    let shard_len = file.len().div_ceil(shards).next_power_of_two();
    ensure!(shards == file.len().div_ceil(shard_len) && shards > 1, "{shards} shards");
    let mut bad = 0;
    for case in 0..cases {
        let damage = match case.checked_sub(shards) {
            None => Damage::Shard(case),
            Some(later) => [
                Damage::Burst,
                Damage::Flips,
                Damage::Head,
                Damage::Tail,
                Damage::ParityHead,
                Damage::Beyond,
            ][later % 6],
        };
        // Where nothing of a file is left, nothing says whose parity it is.
        let most = recovery.min(shards - 1);
        let (mut damaged, mut beside) = (file.clone(), parity.to_vec());
        let mut flip = |damaged: &mut Vec<u8>, count| {
            for shard in random.choose_multiple(0..shards, count) {
                let last = file.len().min((shard + 1) * shard_len);
                damaged[random.usize(shard * shard_len..last)] ^= 1 << random.u8(..8);
            }
        };
        match damage {
            Damage::Shard(number) => damaged[number * shard_len] ^= 1,
            Damage::Flips => flip(&mut damaged, most),
            Damage::Beyond if recovery < shards => flip(&mut damaged, recovery + 1),
            Damage::Beyond => continue,
            Damage::Burst | Damage::ParityHead => {
                // It may begin in the middle of a shard.
                let len = ((most - 1) * shard_len + 1).min(file.len());
                let from = random.usize(..=file.len() - len);
                random.fill(&mut damaged[from..from + len]);
                if matches!(damage, Damage::ParityHead) {
                    beside[..random.usize(1..=block_len)].fill(0);
                }
            }
            Damage::Head => random.fill(&mut damaged[..random_len(most * shard_len, file, case)]),
            // The last shard may be shorter than the others.
            Damage::Tail => {
                let most = (most - 1) * shard_len + 1;
                damaged.truncate(file.len() - random_len(most, file, case));
            }
        }
        let mended = mend(&damaged, beside);
        let is_right = match (damage, &mended) {
            (Damage::Beyond, Err(error)) => {
                matches!(error.downcast_ref(), Some(Error::Beyond { .. }))
            }
            (Damage::Beyond, Ok(_)) => false,
            (_, mended) => mended.as_ref().is_ok_and(|mended| mended == file),
        };
        if !is_right {
            bad += 1;
            println!("BAD {damage:?}: {:?}", mended.map_err(|error| error.to_string()));
        }
    }
    Ok(bad)
}

/// A length of 1 to `most`, another one for each case.
fn random_len(most: usize, file: &[u8], case: usize) -> usize {
    (case * 37 % most + 1).min(file.len() - 1)
}

#[allow(clippy::ptr_arg, reason = "a vector can be read at any place, a slice cannot")]
fn mend(damaged: &Vec<u8>, parity: Vec<u8>) -> Result<Vec<u8>> {
    let parity = Parity::open(parity)?;
    let files: [Option<&dyn ReadAt>; 1] = [Some(damaged)];
    let check: Check = parity.check(&files, None)?;
    let mended = parity.mend(&files, &check, None)?;
    let mut right = Vec::new();
    mended.write(0, files[0], &mut right, None).context("write what is mended")?;
    Ok(right)
}
