//! The tar stream's framing: headers, padding, the end. Knows no compression and none of the
//! members' meaning.

use tar::{EntryType, Header};

/// Headers and bodies fill whole blocks of this many bytes.
pub(crate) const BLOCK: u64 = 512;
/// A header's length.
pub(crate) const HEADER_LEN: usize = 512;
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

/// The bytes that a member of `size` takes up: header, body and padding. `None` when no stream
/// could be that long.
pub(crate) fn footprint(size: u64) -> Option<u64> {
    size.checked_next_multiple_of(BLOCK)?.checked_add(HEADER_LEN as u64)
}

/// What tells `found` from the header that must be there, in words; `None` if nothing does.
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
            format!("the tar member in its place is named \"{found}\"")
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
    fn footprints() {
        for (size, whole) in [(0, 512), (1, 1024), (512, 1024), (513, 1536)] {
            assert_eq!(footprint(size), Some(whole));
            assert_eq!(512 + size + padding(size).len() as u64, whole);
        }
        assert_eq!(footprint(u64::MAX), None);
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
