//! Which files programs are writing to now, as far as `/proc` shows. Must not know trees or indexes.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// The inode numbers of files that some process has mapped so that its stores go to the file. Of any file system: a
/// number that is another file's too says only that one cannot be sure of that.
///
/// Only the processes that this one may look into are known: all of them to root, else those of the same user.
pub fn mapped_for_writing() -> HashSet<u64> {
    let maps = processes().filter_map(|process| fs::read(process.join("maps")).ok());
    let mut inodes = HashSet::new();
    for maps in maps {
        inodes.extend(maps.split(|&byte| byte == b'\n').filter_map(inode_of_map));
    }
    inodes
}

/// The inode numbers of files that some process has open for writing. The same is to be said of them.
#[must_use]
pub fn open_for_writing() -> HashSet<u64> {
    let mut inodes = HashSet::new();
    for process in processes() {
        let Ok(files) = fs::read_dir(process.join("fdinfo")) else { continue };
        for file in files.flatten() {
            if fs::read(file.path()).is_ok_and(|info| is_for_writing(&info)) {
                let open = process.join("fd").join(file.file_name());
                inodes.extend(fs::metadata(open).ok().map(|metadata| metadata.ino()));
            }
        }
    }
    inodes
}

fn processes() -> impl Iterator<Item = PathBuf> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_number = |name: &[u8]| name.iter().all(u8::is_ascii_digit);
    all.filter(move |entry| is_number(entry.file_name().as_encoded_bytes()))
        .map(|entry| entry.path())
}

/// `7f12a000-7f12c000 rw-s 00000000 08:01 1234   /path` is a shared map that can be written to, of inode 1234.
fn inode_of_map(line: &[u8]) -> Option<u64> {
    let mut fields = line.split(|&byte| byte == b' ').filter(|field| !field.is_empty());
    let is_written = |flags: &&[u8]| flags.get(1) == Some(&b'w') && flags.get(3) == Some(&b's');
    fields.nth(1).filter(is_written)?;
    let inode = str::from_utf8(fields.nth(2)?).ok()?.parse().ok()?;
    (inode != 0).then_some(inode)
}

/// Whether a file of `/proc/PID/fdinfo` has `flags:` in octal whose last two bits are those of writing.
fn is_for_writing(info: &[u8]) -> bool {
    let flags = info.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"flags:"));
    let last = flags.and_then(|flags| flags.trim_ascii().last());
    last.is_some_and(|digit| [1, 2].contains(&(digit & 3)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn maps_and_open_files_are_seen() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let inode = file.as_file().metadata().unwrap().ino();
        assert!(open_for_writing().contains(&inode));
        assert!(!mapped_for_writing().contains(&inode));
        let path = file.into_temp_path();
        let reader = File::open(&path).unwrap();
        assert!(!open_for_writing().contains(&inode));
        drop(reader);
    }

    #[test]
    fn only_shared_maps_that_are_written_to_count() {
        let line = |flags| format!("7f12a000-7f12c000 {flags} 00000000 08:01 1234   /a b");
        assert_eq!(inode_of_map(line("rw-s").as_bytes()), Some(1234));
        for flags in ["r--s", "rw-p", "r-xp"] {
            assert_eq!(inode_of_map(line(flags).as_bytes()), None, "{flags}");
        }
        assert_eq!(inode_of_map(b"7f12a000-7f12c000 rw-s 00000000 00:00 0 "), None);
        assert!(is_for_writing(b"pos:\t0\nflags:\t0100002\nmnt_id:\t1\n"));
        assert!(is_for_writing(b"flags:\t02101"));
        assert!(!is_for_writing(b"pos:\t0\nflags:\t02100000\n"));
    }
}
