//! The marker of an encrypted store: what it says more than that of another, and how it looks to who does not know of encryption.

use std::io::{self, ErrorKind};

use repository::store::{MARKER, Store};

use crate::keyring;

/// The lines of the format: that of an encrypted store, which others must not take for one of theirs, and that of others.
const FORMAT: &str = "format = 2";
const PLAIN_FORMAT: &str = "format = 1";
const ENCRYPTION: &str = "encryption = age";
const STORE: &str = "store = ";

/// What the marker of `store` says of encryption.
pub(crate) enum Marked {
    /// There is none.
    Missing,
    /// The store is not encrypted.
    Plain,
    /// It is, and the owner that made it has this id.
    Encrypted(String),
}

pub(crate) fn read(store: &dyn Store) -> io::Result<Marked> {
    let Some(text) = keyring::read(store, MARKER)? else { return Ok(Marked::Missing) };
    let text = String::from_utf8_lossy(&text);
    if !text.lines().any(|line| line.trim() == ENCRYPTION) {
        return Ok(Marked::Plain);
    }
    let id = text.lines().find_map(|line| line.trim().strip_prefix(STORE));
    let id = id.filter(|_| text.lines().any(|line| line.trim() == FORMAT));
    let id = id.ok_or_else(|| {
        let text = format!("{MARKER} is damaged: it says `{ENCRYPTION}`, and not the rest");
        io::Error::new(ErrorKind::InvalidData, text)
    })?;
    Ok(Marked::Encrypted(id.to_owned()))
}

/// The marker as one that knows nothing of encryption.
pub(crate) fn to_plain(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().filter(|line| {
        let line = line.trim();
        line != ENCRYPTION && !line.starts_with(STORE)
    });
    let lines = lines.map(|line| if line.trim() == FORMAT { PLAIN_FORMAT } else { line });
    lines.flat_map(|line| [line, "\n"]).collect::<String>().into_bytes()
}

/// The marker of the encrypted store `id` that says all that the plain one says.
pub(crate) fn to_encrypted(text: &[u8], id: &str) -> Vec<u8> {
    let mut lines = String::from_utf8_lossy(&to_plain(text)).replace(PLAIN_FORMAT, FORMAT);
    lines.push_str(&format!("{ENCRYPTION}\n{STORE}{id}\n"));
    lines.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_has_two_faces() {
        let plain = b"# words\nformat = 1\nparity = 5\n";
        let encrypted = to_encrypted(plain, "0123");
        let text = String::from_utf8_lossy(&encrypted);
        assert_eq!(text, "# words\nformat = 2\nparity = 5\nencryption = age\nstore = 0123\n");
        assert_eq!(to_plain(&encrypted), plain);
        assert_eq!(to_encrypted(&encrypted, "0123"), encrypted);
    }
}
