//! What is damaged is mended byte for byte within the share, and said beyond it.

#![allow(clippy::unwrap_used, clippy::ptr_arg, clippy::panic, reason = "a test")]

use std::io;
use std::sync::{Arc, Mutex};

use container::ReadAt;
use parity::{Error, File, Healed, Healing, Parity, Progress, Redundancy, protect};
use proptest::prelude::*;

fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

fn protected(file: &Vec<u8>, percent: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let redundancy = Redundancy::percent(percent).unwrap();
    let done = protect(&[File::alone(file)], redundancy, &mut out, None).unwrap();
    assert_eq!((done.bytes, done.parity_bytes), (file.len() as u64, out.len() as u64));
    out
}

/// What comes of a damaged file and its parity.
fn mended(damaged: &Vec<u8>, parity: &[u8]) -> Result<Vec<u8>, Error> {
    let parity = Parity::open(parity.to_vec())?;
    let files: [Option<&dyn ReadAt>; 1] = [Some(damaged)];
    let check = parity.check(&files, None)?;
    let mended = parity.mend(&files, &check, None)?;
    let mut right = Vec::new();
    mended.write(0, files[0], &mut right, None)?;
    Ok(right)
}

/// Lengths around those at which something changes.
fn lengths() -> impl Strategy<Value = usize> {
    prop_oneof![0..3usize, 2040..2060usize, 4090..4100usize, 1..300_000usize]
}

/// Promise: whatever reads or writes files counts their bytes once, and stops when it is asked to.
#[test]
fn progress_counts_and_cancels() {
    // Of the second more than is held at once is read twice.
    for len in [200_000, 40 << 20] {
        let file = bytes(len, 1);
        let parity = Parity::open(protected(&file, 5)).unwrap();
        let mut damaged = file.clone();
        damaged[1000..2000].fill(0);
        let files: [Option<&dyn ReadAt>; 1] = [Some(&damaged)];
        let check = parity.check(&files, None).unwrap();
        let mended = parity.mend(&files, &check, None).unwrap();
        type Work<'a> = Box<dyn Fn(&Progress) -> Result<(), Error> + 'a>;
        let share = Redundancy::percent(5).unwrap();
        let works: [(Work<'_>, usize); 4] = [
            (
                Box::new(|to| {
                    protect(&[File::alone(&file)], share, &mut io::sink(), Some(to)).map(drop)
                }),
                len,
            ),
            (Box::new(|to| parity.check(&files, Some(to)).map(drop)), len),
            (Box::new(|to| parity.mend(&files, &check, Some(to)).map(drop)), 0),
            (Box::new(|to| mended.write(0, files[0], &mut io::sink(), Some(to))), len),
        ];
        for (number, (work, counted)) in works.into_iter().enumerate() {
            let progress = Progress::new();
            work(&progress).unwrap();
            assert_eq!(progress.bytes(), counted as u64, "{number}");
            progress.cancel();
            assert!(matches!(work(&progress), Err(Error::Cancelled(_))), "{number}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, rng_seed: prop::test_runner::RngSeed::Fixed(23), ..ProptestConfig::default() })]

    /// Promise: a burst as long as the share is mended, wherever it begins.
    #[test]
    fn a_burst_as_long_as_the_share_is_mended(len in lengths(), percent in 1..=100u32, at: prop::sample::Index, seed: u64) {
        let file = bytes(len, seed);
        let parity = protected(&file, percent);
        let burst = (len as u64 * u64::from(percent) / 100) as usize;
        let from = at.index(len - burst + 1);
        let mut damaged = file.clone();
        damaged[from..from + burst].iter_mut().for_each(|byte| *byte = !*byte);
        // Where nothing of a file is left, nothing shows whose parity it is.
        match mended(&damaged, &parity) {
            Err(Error::Other) => prop_assert!(percent > 50 || len < 2 * 2048),
            other => prop_assert_eq!(other.unwrap(), file),
        }
    }

    /// Promise: of as many shards as the parity has, any may be lost, of the parity too; one more is an error.
    #[test]
    fn as_many_shards_as_the_parity_has_may_be_lost(len in 60_000..200_000usize, percent in 1..=30u32, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let file = bytes(len, seed);
        let mut parity = protected(&file, percent);
        let opened = Parity::open(parity.clone()).unwrap();
        let recovery = opened.recovery();
        let shards = len.div_ceil(2048);
        let block = (parity.len() - 12 - recovery * 2048) / 2;
        let lost_parity = random.usize(..=recovery.min(shards - 1));
        for number in random.choose_multiple(0..recovery, lost_parity) {
            parity[block + number * 2048 + random.usize(..2048)] ^= 1 << random.u8(..8);
        }
        let mut damaged = file.clone();
        let mut lost = random.choose_multiple(0..shards, (recovery - lost_parity).min(shards - 1) + 1);
        let one_too_many = lost.pop().unwrap();
        for number in lost {
            let at = (number * 2048 + random.usize(..2048)).min(len - 1);
            damaged[at] ^= 1 << random.u8(..8);
        }
        prop_assert_eq!(mended(&damaged, &parity).unwrap(), file);
        if recovery - lost_parity < shards - 1 {
            damaged[one_too_many * 2048] ^= 0x10;
            assert!(matches!(mended(&damaged, &parity), Err(Error::Beyond { .. })));
        }
    }

    /// Promise: a file that is too short or too long is cut or filled to what it was.
    #[test]
    fn a_lost_end_and_a_grown_end_are_mended(len in 50_000..200_000usize, cut in 0..2500usize, more in 0..9000usize, seed: u64) {
        let file = bytes(len, seed);
        let parity = protected(&file, 5);
        let mut damaged = file[..len - cut].to_vec();
        prop_assert_eq!(&mended(&damaged, &parity).unwrap(), &file);
        damaged.extend(bytes(more, !seed));
        prop_assert_eq!(&mended(&damaged, &parity).unwrap(), &file);
        let grown = [&file[..], &bytes(more, 1)[..]].concat();
        prop_assert_eq!(mended(&grown, &parity).unwrap(), file);
    }

    /// Promise: one end of a parity file is enough.
    #[test]
    fn a_parity_without_one_end_mends(cut in 1..5000usize, seed: u64, head: bool) {
        let file = bytes(100_000, seed);
        let whole = protected(&file, 10);
        let mut parity = whole.clone();
        if head {
            parity[..cut].fill(0);
        } else {
            parity.truncate(whole.len() - cut);
        }
        let opened = Parity::open(parity.clone()).unwrap();
        let check = opened.check(&[Some(&file)], None).unwrap();
        prop_assert!(check.are_files_sound() && !check.is_parity_sound());
        let mut damaged = file.clone();
        damaged[50_000..54_000].fill(0);
        prop_assert_eq!(mended(&damaged, &parity).unwrap(), file);
    }

    /// Promise: hostile bytes are an error, or mend nothing wrongly; they never panic and take no memory for what is not there.
    #[test]
    fn a_bent_parity_is_an_error_or_mends_rightly(seed: u64, flips in 1..6usize, sealed: bool) {
        let mut random = fastrand::Rng::with_seed(seed);
        let file = bytes(20_000, 7);
        let mut parity = protected(&file, 20);
        let block = u32::from_le_bytes(parity[12..16].try_into().unwrap()) as usize;
        for _ in 0..flips {
            let at = if sealed { random.usize(8..block - 32) } else { random.usize(..parity.len()) };
            parity[at] = random.u8(..);
        }
        if sealed {
            // Numbers under a right digest.
            let digest = blake3::hash(&parity[..block - 32]);
            parity[block - 32..block].copy_from_slice(digest.as_bytes());
            parity.truncate(block + 9000);
        }
        let mut damaged = file.clone();
        damaged[3000] ^= 1;
        if let Ok(right) = mended(&damaged, &parity) {
            prop_assert!(sealed || right == file);
        }
    }
}

/// Promise: numbers that no parity has are refused before anything is read or held for them.
#[test]
fn hostile_numbers_are_refused() {
    let file = bytes(20_000, 1);
    let parity = protected(&file, 20);
    let block = u32::from_le_bytes(parity[12..16].try_into().unwrap()) as usize;
    // Block length, files, shards, recovery shards, groups, shard length, a file's length.
    for (at, value) in [
        (12, u64::MAX),
        (16, 1 << 31),
        (20, 40_000),
        (24, 60_000),
        (28, 0),
        (28, 2),
        (28, 1 << 30),
        (32, 63),
        (32, 1 << 50),
        (32, 0),
        (40, u64::MAX),
    ] {
        let mut bent = parity[..block].to_vec();
        let width = if at >= 32 { 8 } else { 4 };
        bent[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        let digest = blake3::hash(&bent[..block - 32]);
        bent[block - 32..].copy_from_slice(digest.as_bytes());
        assert!(matches!(Parity::open(bent), Err(Error::Unreadable { .. })), "{at} {value}");
    }
    let mut later = parity;
    later[8] = 2;
    assert!(matches!(Parity::open(later[..block].to_vec()), Err(Error::Version { version: 2 })));
}

/// Promise: the parity of another file is said, and nothing is mended by it.
#[test]
fn the_parity_of_another_file_is_said() {
    let parity = protected(&bytes(100_000, 1), 50);
    assert!(matches!(mended(&bytes(100_000, 2), &parity), Err(Error::Other)));
    assert!(matches!(mended(&Vec::new(), &parity), Err(Error::Other)));
}

/// Promise: one parity over several files makes any one of them again, whole.
#[test]
fn a_lost_file_of_several_is_made_again() {
    let files: Vec<Vec<u8>> =
        [150_000, 40_000, 0, 149_999, 5].map(|len| bytes(len, len as u64)).into();
    let names = ["full", "a", "empty", "b", "tiny"];
    let members: Vec<File<'_>> =
        files.iter().zip(names).map(|(source, name)| File { name, source }).collect();
    let mut out = Vec::new();
    let done = protect(&members, Redundancy::LargestFile, &mut out, None).unwrap();
    assert!(done.parity_bytes < 150_000 + 2 * 2048 + 12_000, "{done:?}");
    for lost in 0..files.len() {
        let parity = Parity::open(out.clone()).unwrap();
        let left = |number: usize| (number != lost).then_some(&files[number] as &dyn ReadAt);
        let left: Vec<Option<&dyn ReadAt>> = (0..files.len()).map(left).collect();
        let check = parity.check(&left, None).unwrap();
        assert!(!check.is_file_sound(lost) && check.is_mendable());
        let mended = parity.mend(&left, &check, None).unwrap();
        let mut right = Vec::new();
        mended.write(lost, None, &mut right, None).unwrap();
        assert_eq!(right, files[lost], "{}", names[lost]);
        assert_eq!(parity.members()[lost].name, names[lost]);
    }
}

/// Promise: a file mends itself in memory when its reader says that it is wrong, once, and says so.
#[test]
fn a_file_heals_in_memory() {
    let file = bytes(100_000, 3);
    let parity = protected(&file, 5);
    let mut damaged = file.clone();
    damaged[70_000] ^= 4;
    damaged.truncate(99_000);
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = {
        let told = Arc::clone(&told);
        move |healed: &Healed| told.lock().unwrap().push(format!("{healed:?}"))
    };
    let beside = parity.clone();
    let healing = Healing::new(damaged, opens(beside), tell);
    assert_eq!(healing.size().unwrap(), 99_000);
    assert!(healing.heal() && healing.heal());
    assert_eq!(healing.size().unwrap(), 100_000);
    let mut whole = vec![0; 100_000];
    healing.fill_at(&mut whole, 0).unwrap();
    assert_eq!(whole, file);
    assert_eq!(*told.lock().unwrap(), ["Mended { shards: 2 }"]);

    // With a sound file, and beyond the share, nothing changes.
    let nothing = |_: &Healed| panic!("nothing to tell");
    assert!(!Healing::new(file.clone(), opens(parity.clone()), nothing).heal());
    let none = || Err(io::ErrorKind::NotFound.into());
    assert!(!Healing::new(file[..50_000].to_vec(), none, nothing).heal());
    let healing = Healing::new(file[..50_000].to_vec(), opens(parity), |healed| {
        assert!(matches!(healed, Healed::Not(Error::Beyond { .. })), "{healed:?}");
    });
    assert!(!healing.heal());
}

/// Opens a parity that is in memory.
fn opens(parity: Vec<u8>) -> impl Fn() -> io::Result<Box<dyn ReadAt>> {
    move || Ok(Box::new(parity.clone()))
}

/// Promise: a file of one shard is made again when it is lost. When it has other bytes, nothing shows whether they are damage or
/// somebody's: it stays.
#[test]
fn a_file_of_one_shard_is_made_again_and_never_overwritten() {
    for len in [1, 63, 64] {
        let file = bytes(len, 8);
        let beside = protected(&file, 5);
        let parity = Parity::open(beside.clone()).unwrap();
        let made = parity.mend(&[None], &parity.check(&[None], None).unwrap(), None).unwrap();
        let mut right = Vec::new();
        made.write(0, None, &mut right, None).unwrap();
        assert_eq!(right, file);
        let mut damaged = file.clone();
        damaged[0] ^= 1;
        assert!(matches!(mended(&damaged, &beside), Err(Error::Other)), "{len}");
    }
    // From two on, the other one shows it.
    let file = bytes(65, 8);
    let mut damaged = file.clone();
    damaged[0] ^= 1;
    assert_eq!(mended(&damaged, &protected(&file, 5)).unwrap(), file);
}

/// Promise: the same files give the same parity, whatever the number of threads, and its cost is bounded.
#[test]
fn a_parity_is_the_same_for_any_number_of_threads_and_costs_its_share() {
    let file = bytes(40 << 20, 4);
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| protected(&file, 5))
    };
    let one = on(1);
    assert!(one == on(3));
    assert!(one.len() as f64 <= file.len() as f64 * 0.055, "{}", one.len());
}
