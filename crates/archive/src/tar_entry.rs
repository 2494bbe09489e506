//! [`TarEntry`]: a file in the tar stream, its headers and padding; and the stream's end. Must not know compression, nor
//! what the entries mean.

use std::ops::Range;

use tar::{EntryType, Header};

use crate::frames::FRAME_LEN;

/// Headers and bodies fill whole blocks of this many bytes.
pub(crate) const BLOCK: u64 = 512;
/// A header's length.
pub(crate) const HEADER_LEN: usize = 512;
/// The length of each part but the last of a body that is cut into parts: with its header it fills a
/// frame.
pub(crate) const PART_LEN: u64 = (FRAME_LEN - HEADER_LEN) as u64;
/// Two blocks of zeros close a tar stream.
pub(crate) const END_LEN: usize = 1024;

const ZEROS: [u8; END_LEN] = [0; END_LEN];

/// The header of a regular file: everything that could differ from one machine or run to the next
/// (mode, owner, time) is fixed. Sizes of 8 GiB and more are written in base 256, as GNU tar does.
///
/// `name` is ASCII of at most 100 bytes; a longer one would be cut.
pub(crate) fn header(name: &str, size: u64) -> [u8; HEADER_LEN] {
    let mut header = Header::new_ustar();
    for (to, from) in header.as_old_mut().name.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_entry_type(EntryType::Regular);
    header.set_cksum();
    *header.as_bytes()
}

/// The zeros that fill up the last block of a body of `size` bytes.
pub(crate) fn padding(size: u64) -> &'static [u8] {
    let len = (BLOCK - size % BLOCK) % BLOCK;
    ZEROS.get(..len as usize).unwrap_or_default()
}

/// The zeros that close the stream.
pub(crate) fn end() -> &'static [u8] {
    &ZEROS
}

/// How bodies are framed: in an archive in one file each is a tar entry, whatever its length. In an archive
/// of volumes one that is long is cut into parts, each a tar entry that with its header fills a compressed
/// frame, so that a volume can begin with any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Framing {
    /// The length of each part but the last.
    part_len: u64,
}

impl Framing {
    /// One tar entry for each.
    pub(crate) const WHOLE: Framing = Framing { part_len: u64::MAX };
    /// One for each part.
    pub(crate) const PARTS: Framing = Framing { part_len: PART_LEN };

    /// That of an archive whose head gives this length of a volume.
    pub(crate) fn of(volume_len: u64) -> Framing {
        if volume_len == 0 { Framing::WHOLE } else { Framing::PARTS }
    }

    /// The body of `len` bytes whose first header is at `at` in the stream. `None` when no stream could be
    /// that long.
    pub(crate) fn body(self, at: u64, len: u64) -> Option<TarEntry> {
        let headers = len.div_ceil(self.part_len).max(1).checked_mul(HEADER_LEN as u64)?;
        let end = len.checked_next_multiple_of(BLOCK)?.checked_add(headers)?.checked_add(at)?;
        Some(TarEntry { at, len, end, part_len: self.part_len })
    }
}

/// A body in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TarEntry {
    /// Where in the stream its first header begins.
    pub(crate) at: u64,
    /// Its length.
    pub(crate) len: u64,
    /// Where in the stream its padding ends.
    pub(crate) end: u64,
    part_len: u64,
}

impl TarEntry {
    /// Where in the stream its byte `offset` is.
    pub(crate) fn place(&self, offset: u64) -> u64 {
        // Whoever asks for a byte beyond the body reads nothing there.
        let headers = (offset / self.part_len + 1).saturating_mul(HEADER_LEN as u64);
        self.at.saturating_add(offset).saturating_add(headers)
    }

    /// The part of the stream that who reads these bytes has to have, the first header too if they are
    /// the first.
    pub(crate) fn span(&self, bytes: Range<u64>) -> Range<u64> {
        let start = if bytes.start == 0 { self.at } else { self.place(bytes.start) };
        let end = bytes.end.checked_sub(1).map(|last| self.place(last).saturating_add(1));
        start..end.unwrap_or(self.at + HEADER_LEN as u64)
    }

    /// Whether a header precedes byte `offset`.
    pub(crate) fn begins_part(&self, offset: u64) -> bool {
        offset.is_multiple_of(self.part_len)
    }

    /// How many bytes from `offset` on follow without a header between them.
    pub(crate) fn run_at(&self, offset: u64) -> u64 {
        (self.part_len - offset % self.part_len).min(self.len.saturating_sub(offset))
    }

    /// The name and the size in the header before byte `offset`, which begins a part, of a body called
    /// `name`.
    pub(crate) fn header(&self, name: &str, offset: u64) -> (String, u64) {
        let name = match self.len > self.part_len {
            true => part_name(name, offset / self.part_len + 1),
            false => name.to_owned(),
        };
        (name, self.run_at(offset))
    }
}

/// What part `number`, counted from 1, of a body called `name` is called.
pub(crate) fn part_name(name: &str, number: u64) -> String {
    format!("{name}.{number:08}")
}

/// The size that the header `found` declares, whatever else is wrong with it.
pub(crate) fn declared_size(found: &[u8; HEADER_LEN]) -> Option<u64> {
    Header::from_byte_slice(found).entry_size().ok()
}

/// How `found` differs from the header that must be there, in words; `None` if it does not.
pub(crate) fn difference(found: &[u8], name: &str, size: u64) -> Option<String> {
    let wanted = header(name, size);
    if found == wanted {
        return None;
    }
    let Some(bytes) = found.first_chunk::<HEADER_LEN>() else {
        return Some("its tar header is cut short".to_owned());
    };
    let header = Header::from_byte_slice(bytes);
    let mut computed = header.clone();
    computed.set_cksum();
    let problem = match () {
        () if bytes.iter().all(|&byte| byte == 0) => "the tar stream ends before it".to_owned(),
        () if computed.cksum().ok() != header.cksum().ok() => {
            "its tar header does not match its checksum".to_owned()
        }
        () if header.path_bytes() != name.as_bytes() => {
            let found = dirindex::escape(&header.path_bytes());
            format!("the tar entry in its place is named \"{found}\"")
        }
        () if header.entry_type() != EntryType::Regular => {
            format!("its tar header is of type {:?}", char::from(header.entry_type().as_byte()))
        }
        () if header.entry_size().ok() != Some(size) => match header.entry_size() {
            Ok(found) => format!("its tar header says {found} bytes, not {size}"),
            Err(_) => "its tar header's size cannot be read".to_owned(),
        },
        () if header.link_name_bytes().is_some() => "its tar header names a link".to_owned(),
        () => "its tar header is not one that this program writes".to_owned(),
    };
    Some(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_what_the_format_says() {
        let bytes = header("PATHS", 1234);
        assert_eq!(&bytes[..6], b"PATHS\0");
        assert_eq!(&bytes[100..108], b"0000644\0");
        assert_eq!(&bytes[108..124], b"0000000\x000000000\0");
        assert_eq!(&bytes[124..148], b"00000002322\x0000000000000\0");
        assert_eq!(&bytes[156..157], b"0");
        assert_eq!(&bytes[257..265], b"ustar\x0000");
        let mut sum = bytes;
        sum[148..156].fill(b' ');
        let sum: u32 = sum.iter().map(|&byte| u32::from(byte)).sum();
        assert_eq!(&bytes[148..156], format!("{sum:07o}\0").as_bytes());
    }

    #[test]
    fn sizes_over_8_gib_are_kept() {
        for size in [0, 1, (8 << 30) - 1, 8 << 30, (8 << 30) + 1, 20 << 30, u64::MAX] {
            let bytes = header("created/x", size);
            assert_eq!(Header::from_byte_slice(&bytes).entry_size().unwrap(), size, "{size}");
            assert_eq!(difference(&bytes, "created/x", size), None);
        }
        assert_eq!(&header("x", (8 << 30) - 1)[124..136], b"77777777777\0");
        assert_eq!(header("x", 8 << 30)[124..136], [0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
    }

    #[test]
    fn bodies() {
        for (len, whole) in [(0, 512), (1, 1024), (512, 1024), (513, 1536)] {
            for framing in [Framing::WHOLE, Framing::PARTS] {
                let body = framing.body(7, len).unwrap();
                assert_eq!((body.end, body.place(0)), (7 + whole, 519));
                assert_eq!(512 + len + padding(len).len() as u64, whole);
                assert_eq!(body.header("x", 0), ("x".to_owned(), len));
            }
        }
        for framing in [Framing::WHOLE, Framing::PARTS] {
            assert_eq!(framing.body(0, u64::MAX), None);
            assert_eq!(framing.body(u64::MAX - 1000, 600), None);
        }
    }

    #[test]
    fn parts() {
        const PART: u64 = (1 << 20) - 512;
        for parts in 1..4u64 {
            for len in [parts * PART - 1, parts * PART, parts * PART + 1] {
                let body = Framing::PARTS.body(512, len).unwrap();
                // The stream, a header or byte after the other.
                let (mut at, mut offset) = (512, 0);
                while offset < len {
                    assert!(body.begins_part(offset));
                    let (name, size) = body.header("x", offset);
                    let number = offset / PART + 1;
                    assert_eq!(
                        name,
                        if len > PART { format!("x.{number:08}") } else { "x".into() }
                    );
                    assert_eq!(size, PART.min(len - offset));
                    assert_eq!(at, 512 + offset / PART * (1 << 20));
                    at += 512;
                    for to in [0, 1, size / 2, size - 1] {
                        assert_eq!(body.place(offset + to), at + to);
                        assert_eq!(body.run_at(offset + to), size - to);
                        assert_eq!(body.begins_part(offset + to), to == 0);
                    }
                    at += size.next_multiple_of(512);
                    offset += size;
                }
                assert_eq!(body.end, at);
                assert_eq!(body.span(0..len), 512..body.place(len - 1) + 1);
                assert_eq!(Framing::WHOLE.body(512, len).unwrap().place(len), 1024 + len);
            }
        }
    }

    #[test]
    fn each_kind_of_other_header_is_told_apart() {
        let change = |at: usize, to: &[u8]| {
            let mut bytes = header("TABLE", 5);
            bytes[at..at + to.len()].copy_from_slice(to);
            let mut header = Header::from_byte_slice(&bytes).clone();
            header.set_cksum();
            difference(header.as_bytes(), "TABLE", 5).unwrap_or_default()
        };
        assert!(change(0, b"../x\x1b\0").contains("named \"../x\\0033\""));
        assert!(change(156, b"2").contains("type '2'"));
        assert!(change(156, b"L").contains("type 'L'"));
        // An old way to say the same, and not ours.
        assert!(change(156, b"\0").contains("not one that this program writes"));
        assert!(change(124, b"00000000006").contains("says 6 bytes, not 5"));
        assert!(change(124, b"zzzzz").contains("size cannot be read"));
        assert!(change(157, b"/etc").contains("names a link"));
        for at in [100, 108, 116, 136, 257, 263, 265, 297, 329, 337, 500, 511] {
            assert!(change(at, b"1").contains("not one that this program writes"), "{at}");
        }
        assert!(difference(&[0; 512], "TABLE", 5).unwrap().contains("ends before"));
        assert!(difference(b"", "TABLE", 5).unwrap().contains("cut short"));
        let mut damaged = header("TABLE", 5);
        damaged[3] ^= 1;
        assert!(difference(&damaged, "TABLE", 5).unwrap().contains("checksum"));
    }
}
