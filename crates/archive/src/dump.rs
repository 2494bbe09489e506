//! A snapshot as a plain tar stream, for other programs: ustar headers, and pax records for what does not fit into one.

use std::io::{Read, Write};

use dirindex::{EntryRef, Meta, Node, RelPath};
use rsync_core::Progress;
use tar::{EntryType, Header};

use crate::diff_data::unread;
use crate::writer::check_cancelled;
use crate::{Error, Snapshot, SnapshotReader};

const BUFFER_LEN: usize = 256 << 10;
const BLOCK_LEN: u64 = 512;
/// Names and targets of more bytes than this are pax records.
const NAME_LEN: usize = 100;
/// Owners and times above these are pax records: a header has so many octal digits.
const MAX_OWNER: u32 = 0o7_777_777;
const MAX_TIME: i64 = 0o77_777_777_777;

impl Snapshot {
    /// Writes all of it to `out` as a tar stream that any tar unpacks: what a restore brings back, with owners, times to the
    /// nanosecond and extended attributes (as `SCHILY.xattr`, which GNU tar takes with `--xattrs`). Paths are those in the
    /// snapshot, also of a [selected](Snapshot::select) part.
    ///
    /// Contents are written as they are read. Who must not write what is damaged [verifies](Snapshot::verify) it first.
    ///
    /// # Errors
    /// [`Error::Write`] when `out` fails; [`Error::Damaged`], [`Error::Io`], [`Error::Cancelled`].
    pub fn write_tar(&self, mut out: impl Write, progress: Option<&Progress>) -> Result<(), Error> {
        let mut reader = self.reader();
        for entry in self.entries() {
            let entry = entry?;
            let entry = entry.entry();
            let (header, records) = head(entry);
            if !records.is_empty() {
                let mut pax = header_of(EntryType::XHeader, records.len() as u64);
                put(&mut pax.as_old_mut().name, b"././@PaxHeader");
                pax.set_mode(0o644);
                write(&mut out, &mut pax)?;
                write_padded(&mut out, &records)?;
            }
            write(&mut out, &mut { header })?;
            if !entry.node.is_empty() {
                self.write_content(&mut reader, entry.path, &mut out, progress)?;
            }
        }
        out.write_all(&[0; 2 * BLOCK_LEN as usize]).map_err(Error::Write)?;
        out.flush().map_err(Error::Write)
    }

    fn write_content(
        &self,
        reader: &mut SnapshotReader<'_>,
        path: &RelPath,
        out: &mut impl Write,
        progress: Option<&Progress>,
    ) -> Result<(), Error> {
        let (mut content, mut buffer) = (reader.open(path)?, vec![0; BUFFER_LEN]);
        let len = content.remaining();
        while content.remaining() > 0 {
            let read = content.read(&mut buffer).map_err(|it| unread(it, self.archives()))?;
            let piece = buffer.get(..read).unwrap_or_default();
            out.write_all(piece).map_err(Error::Write)?;
            if let Some(progress) = progress {
                progress.add_bytes(read as u64);
            }
            check_cancelled(progress)?;
        }
        pad(out, len)
    }
}

/// The header of `entry`, and the pax records that go before it.
fn head(entry: EntryRef<'_>) -> (Header, Vec<u8>) {
    let EntryRef { path, node, meta } = entry;
    let kind = match node {
        Node::Dir => EntryType::Directory,
        Node::File { .. } => EntryType::Regular,
        Node::Symlink { .. } => EntryType::Symlink,
        Node::HardLink { .. } => EntryType::Link,
        Node::Fifo => EntryType::Fifo,
        Node::CharDevice { .. } => EntryType::Char,
        Node::BlockDevice { .. } => EntryType::Block,
    };
    let (mut header, mut records) = (header_of(kind, node.len()), Vec::new());
    let mut name = path.as_bytes().to_vec();
    if *node == Node::Dir {
        name.push(b'/');
    }
    put(&mut header.as_old_mut().name, &name);
    if name.len() > NAME_LEN {
        record(&mut records, b"path", &name);
    }
    let target = match node {
        Node::Symlink { target } => target.as_slice(),
        Node::HardLink { to } => to.as_bytes(),
        _ => b"",
    };
    put(&mut header.as_old_mut().linkname, target);
    if target.len() > NAME_LEN {
        record(&mut records, b"linkpath", target);
    }
    if let (Node::CharDevice { major, minor } | Node::BlockDevice { major, minor }, Some(ustar)) =
        (node, header.as_ustar_mut())
    {
        ustar.set_device_major(*major);
        ustar.set_device_minor(*minor);
    }
    // A length that no octal number there has is another number, which old programs do not read.
    if node.len() > MAX_TIME as u64 {
        record(&mut records, b"size", node.len().to_string().as_bytes());
    }
    put_meta(&mut header, &mut records, meta);
    (header, records)
}

fn put_meta(header: &mut Header, records: &mut Vec<u8>, meta: &Meta) {
    let Meta { mode, uid, gid, mtime, xattrs } = meta;
    header.set_mode(*mode);
    header.set_uid((*uid).min(MAX_OWNER).into());
    header.set_gid((*gid).min(MAX_OWNER).into());
    for (key, id) in [(b"uid", uid), (b"gid", gid)] {
        if *id > MAX_OWNER {
            record(records, key, id.to_string().as_bytes());
        }
    }
    header.set_mtime(mtime.secs.clamp(0, MAX_TIME).unsigned_abs());
    if mtime.nanos > 0 || !(0..=MAX_TIME).contains(&mtime.secs) {
        // Nanoseconds count forwards, and the digits after a minus backwards.
        let time = match (mtime.secs, mtime.nanos) {
            (secs @ ..0, 1..) => format!("-{}.{:09}", -(secs + 1), 1_000_000_000 - mtime.nanos),
            (secs, nanos) => format!("{secs}.{nanos:09}"),
        };
        record(records, b"mtime", time.as_bytes());
    }
    for (name, value) in xattrs.iter() {
        let mut key = b"SCHILY.xattr.".to_vec();
        // The key ends at the first equals sign.
        for &byte in name {
            match byte {
                b'=' => key.extend_from_slice(b"%3D"),
                b'%' => key.extend_from_slice(b"%25"),
                byte => key.push(byte),
            }
        }
        record(records, &key, value);
    }
}

fn header_of(kind: EntryType, len: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(len);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// Puts as much of `bytes` into a field as there is room for.
fn put(field: &mut [u8], bytes: &[u8]) {
    let len = bytes.len().min(field.len());
    for (to, from) in field.iter_mut().zip(bytes.iter().take(len)) {
        *to = *from;
    }
}

/// Adds a record: its own length in digits, a blank, the key, `=`, the value, a line break.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while rest + len.to_string().len() > len {
        len += 1;
    }
    records.extend_from_slice(format!("{len} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn write(out: &mut impl Write, header: &mut Header) -> Result<(), Error> {
    header.set_cksum();
    out.write_all(header.as_bytes()).map_err(Error::Write)
}

fn write_padded(out: &mut impl Write, bytes: &[u8]) -> Result<(), Error> {
    out.write_all(bytes).map_err(Error::Write)?;
    pad(out, bytes.len() as u64)
}

/// Fills up the block that a body of `len` bytes ends in.
fn pad(out: &mut impl Write, len: u64) -> Result<(), Error> {
    let rest = (BLOCK_LEN - len % BLOCK_LEN) % BLOCK_LEN;
    out.write_all(&vec![0; rest as usize]).map_err(Error::Write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        for len in 0..1200 {
            let mut records = Vec::new();
            record(&mut records, b"key", &vec![b'x'; len]);
            let digits = records.iter().position(|byte| *byte == b' ').unwrap();
            let said: usize = std::str::from_utf8(&records[..digits]).unwrap().parse().unwrap();
            assert_eq!(said, records.len());
        }
    }
}
