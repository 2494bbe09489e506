//! Setting metadata so that nobody gets more for a moment than the end allows, and telling what a file system
//! does not take. Knows neither diffs nor what order paths come in.

use std::io;

use dirindex::{Meta, Time};
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::error::words;
use crate::observe::{mode, mtime};
use crate::system::{Handle, System};
use crate::tree::Policy;
use crate::unkept::{Part, Refused};

/// The access control list of a file or directory.
const ACL: &[u8] = b"system.posix_acl_access";

/// Sets what `policy` says of `meta`, and removes other attributes, unless `new` says that there are none. Gives
/// what could not be set.
///
/// While owner or attributes change, only the owner may do anything. The owner comes first: it clears setuid bits and
/// capabilities. An access control list is the last attribute, since it gives rights. Then come mode and time.
///
/// What replaces rights that cannot be given never gives more: see [`narrowed`].
pub(crate) fn set(
    sys: &dyn System,
    of: Handle<'_>,
    meta: &Meta,
    new: bool,
    policy: Policy,
) -> io::Result<Vec<Refused>> {
    let before = sys.stat(&of)?;
    let is_link = FileType::from_raw_mode(before.st_mode) == FileType::Symlink;
    let mut refused: Vec<Refused> = Vec::new();
    let mut wanted = meta.xattrs.to_vec();
    wanted.retain(|xattr| policy.keeps(xattr));
    let mut have = if new { Vec::new() } else { sys.xattrs(of)? };
    have.retain(|xattr| policy.keeps(xattr));
    let changes_owner = policy.privileged && owner(&before) != (meta.uid, meta.gid);
    let mut bits = policy.mode(meta.mode);
    let changes = changes_owner || have != wanted;
    if changes && !is_link {
        let closed = match FileType::from_raw_mode(before.st_mode) {
            FileType::Directory => 0o700,
            _ => 0o600,
        };
        if mode(&before) != closed {
            // Where modes are fixed, that is found below.
            _ = taken(sys.set_mode(of, closed))?;
        }
    }
    if changes_owner {
        let error = taken(sys.set_owner(of, meta.uid, meta.gid))?;
        let now = owner(&sys.stat(&of)?);
        if now != (meta.uid, meta.gid) {
            let detail = error.unwrap_or_else(|| format!("it stays {}:{}", now.0, now.1));
            refused.push((Part::Owner, detail));
            // They would be of somebody else.
            bits &= 0o1777;
        }
    }
    if changes {
        let is_wanted = |name: &[u8]| wanted.iter().any(|wanted| wanted.name == name);
        for xattr in have.iter().filter(|xattr| !is_wanted(&xattr.name)) {
            if let Some(detail) = attribute_taken(sys.remove_xattr(of, &xattr.name))? {
                if xattr.name == ACL {
                    // They are the mask of the list then.
                    bits &= !0o070;
                }
                refused.push((Part::Attribute(xattr.name.clone()), detail));
            }
        }
        wanted.sort_by_key(|xattr| xattr.name == ACL);
        for xattr in &wanted {
            if let Some(detail) = attribute_taken(sys.set_xattr(of, xattr))? {
                if xattr.name == ACL {
                    bits = narrowed(bits, &xattr.value);
                }
                refused.push((Part::Attribute(xattr.name.clone()), detail));
            }
        }
    }
    let mut error = None;
    if !is_link && (changes || mode(&before) != bits) {
        error = taken(sys.set_mode(of, bits))?;
    }
    let late = taken(sys.set_mtime(of, meta.mtime))?;
    let after = sys.stat(&of)?;
    if !is_link && mode(&after) != policy.mode(meta.mode) {
        let found = format!("{:04o} instead of {:04o}", mode(&after), policy.mode(meta.mode));
        refused.push((Part::Mode, error.map_or(found.clone(), |why| format!("{found}: {why}"))));
    }
    if mtime(&after) != meta.mtime {
        let found = format!("{} instead of {}", seconds(mtime(&after)), seconds(meta.mtime));
        refused.push((Part::Time, late.map_or(found.clone(), |why| format!("{found}: {why}"))));
    }
    Ok(refused)
}

/// All metadata of what is held.
pub(crate) fn of(sys: &dyn System, of: Handle<'_>) -> io::Result<Meta> {
    let stat = sys.stat(&of)?;
    let ((uid, gid), xattrs) = (owner(&stat), sys.xattrs(of)?.into());
    Ok(Meta { mode: mode(&stat), uid, gid, mtime: mtime(&stat), xattrs })
}

fn owner(stat: &Stat) -> (u32, u32) {
    (stat.st_uid, stat.st_gid)
}

/// Seconds since 1970, UTC.
fn seconds(time: Time) -> String {
    match time.nanos {
        0 => time.secs.to_string(),
        nanos => format!("{}.{nanos:09}", time.secs),
    }
}

/// An error by which a file system says that it does not hold such a thing, or that this process may not set it, in
/// words. Any other is an error.
fn taken(done: io::Result<()>) -> io::Result<Option<String>> {
    refused_by(done, &[])
}

/// [`taken`], of an attribute: many file systems have little room for those of one file.
fn attribute_taken(done: io::Result<()>) -> io::Result<Option<String>> {
    let full =
        [Errno::NOSPC, Errno::DQUOT, Errno::TOOBIG, Errno::FBIG, Errno::RANGE, Errno::NODATA];
    refused_by(done, &full)
}

fn refused_by(done: io::Result<()>, also: &[Errno]) -> io::Result<Option<String>> {
    let Err(error) = done else { return Ok(None) };
    const ALWAYS: [Errno; 6] =
        [Errno::NOTSUP, Errno::NOSYS, Errno::PERM, Errno::ACCESS, Errno::INVAL, Errno::OVERFLOW];
    match Errno::from_io_error(&error) {
        Some(errno) if ALWAYS.contains(&errno) || also.contains(&errno) => Ok(Some(words(&error))),
        _ => Err(error),
    }
}

/// The mode for a file whose access control list cannot be set: nobody may do more by it than by the list. The
/// group's bits of such a file are the most that the list gives to anybody but owner and others; what the group has
/// is in the list. And whom the list names, and gives less than the group or the others have, would be one of these.
fn narrowed(mode: u32, acl: &[u8]) -> u32 {
    let Some((version, entries)) = acl.split_first_chunk() else { return mode & !0o077 };
    if u32::from_le_bytes(*version) != 2 || entries.len() % 8 != 0 {
        return mode & !0o077;
    }
    const USER: u16 = 2;
    const GROUP_OBJ: u16 = 4;
    const GROUP: u16 = 8;
    const MASK: u16 = 16;
    let entries = || {
        entries.chunks_exact(8).filter_map(|entry| match entry {
            [tag, tag_high, bits, bits_high, ..] => Some((
                u16::from_le_bytes([*tag, *tag_high]),
                u32::from(u16::from_le_bytes([*bits, *bits_high])) & 7,
            )),
            _ => None,
        })
    };
    let all = |wanted: &[u16]| {
        let of = entries().filter(|(tag, _)| wanted.contains(tag));
        of.fold(7, |all, (_, bits)| all & bits)
    };
    let mask = all(&[MASK]);
    let named = |tags: &[u16]| match entries().any(|(tag, _)| tags.contains(&tag)) {
        true => all(tags) & mask,
        false => 7,
    };
    let group = all(&[GROUP_OBJ]) & mask & named(&[USER]);
    let others = named(&[USER, GROUP]);
    mode & (0o7700 | group << 3 | others)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list of entries of tag and bits.
    fn acl(entries: &[(u16, u16)]) -> Vec<u8> {
        let entry = |&(tag, bits): &(u16, u16)| {
            [&tag.to_le_bytes()[..], &bits.to_le_bytes(), &[0; 4]].concat()
        };
        [2u32.to_le_bytes().to_vec(), entries.iter().flat_map(entry).collect()].concat()
    }

    #[test]
    fn without_its_list_a_file_is_no_more_open() {
        // user::rw-, user:7:rw-, group::---, mask::rw-, other::--- is 0660.
        let list = acl(&[(1, 6), (2, 6), (4, 0), (16, 6), (32, 0)]);
        assert_eq!(narrowed(0o660, &list), 0o600);
        // user:7:--- shuts one out of what others have.
        let list = acl(&[(1, 6), (2, 0), (4, 4), (16, 4), (32, 4)]);
        assert_eq!(narrowed(0o644, &list), 0o600);
        // group:7:r-- beside r-- for all takes nothing away.
        let list = acl(&[(1, 6), (4, 4), (8, 4), (16, 4), (32, 4)]);
        assert_eq!(narrowed(0o644, &list), 0o644);
        // A group without rights among others that have some.
        let list = acl(&[(1, 7), (4, 5), (8, 0), (16, 5), (32, 5)]);
        assert_eq!(narrowed(0o4755, &list), 0o4750);
        // What is no list at all.
        assert_eq!(narrowed(0o755, b"?"), 0o700);
        assert_eq!(narrowed(0o755, &[3, 0, 0, 0]), 0o700);
    }
}
