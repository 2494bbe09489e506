//! The digest of a whole content, BLAKE3, and its text form. Must not know blocks or deltas.

use crate::error::During;
use crate::file_bytes::Input;
use crate::progress::advance;
use crate::{Progress, Result, parallel};
use std::io::Read;
use std::{fmt, str::FromStr};

/// Data of this many bytes or more is hashed by several threads.
const PARALLEL_FROM: usize = 256 << 10;
/// How many bytes are hashed before they are counted and their pages are released. A power of two, so that BLAKE3 keeps its
/// speed.
const STEP: usize = 8 << 20;
/// Bytes of a stream that are held at a time.
const BATCH_LEN: u64 = 4 << 20;

/// The BLAKE3 hash of a whole content: what `b3sum` prints.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `data`. Large data is hashed by several threads.
    #[must_use]
    pub fn of(data: &[u8]) -> Digest {
        let mut hasher = blake3::Hasher::new();
        update(&mut hasher, data);
        Digest(hasher.finalize().into())
    }

    /// The digest of a stream, and its length. Holds a few MiB of it, and counts its bytes in `progress`.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), [`Error::Cancelled`](crate::Error::Cancelled).
    pub fn of_reader(mut input: impl Read, progress: Option<&Progress>) -> Result<(Digest, u64)> {
        let mut hasher = blake3::Hasher::new();
        let (mut buffer, mut len) = (Vec::new(), 0);
        loop {
            buffer.clear();
            input.by_ref().take(BATCH_LEN).read_to_end(&mut buffer).during("read the data")?;
            if buffer.is_empty() {
                return Ok((Digest(hasher.finalize().into()), len));
            }
            advance(progress, buffer.len())?;
            update(&mut hasher, &buffer);
            len += buffer.len() as u64;
        }
    }

    pub(crate) fn of_input(input: Input<'_>, progress: Option<&Progress>) -> Result<Digest> {
        let mut hasher = blake3::Hasher::new();
        let mut at = 0;
        for step in input.bytes.chunks(STEP) {
            advance(progress, step.len())?;
            update(&mut hasher, step);
            input.release(at..at + step.len());
            at += step.len();
        }
        Ok(Digest(hasher.finalize().into()))
    }
}

fn update(hasher: &mut blake3::Hasher, data: &[u8]) {
    if data.len() < PARALLEL_FROM {
        hasher.update(data);
    } else {
        parallel::hash(hasher, data);
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let text =
            digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect::<String>();
        f.pad(&text)
    }
}

/// As [`Display`](fmt::Display), with `0x` before it when asked for.
impl fmt::LowerHex for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad_integral(true, "0x", &self.to_string())
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Its text in formats for people, else a byte string: that is read at once, where an array is read byte by byte.
#[cfg(feature = "serde")]
impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(
        &self,
        serializer: S,
    ) -> std::result::Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => serializer.collect_str(self),
            false => serializer.serialize_bytes(&self.0),
        }
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> std::result::Result<Digest, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            return text.parse().map_err(serde::de::Error::custom);
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// Takes the 32 bytes of a digest.
#[cfg(feature = "serde")]
struct Bytes;

#[cfg(feature = "serde")]
impl serde::de::Visitor<'_> for Bytes {
    type Value = Digest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("32 bytes")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> std::result::Result<Digest, E> {
        let digest = bytes.try_into().map(Digest);
        digest.map_err(|_| E::invalid_length(bytes.len(), &self))
    }
}

/// The text is not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 hexadecimal digits")]
pub struct ParseDigestError;

impl FromStr for Digest {
    type Err = ParseDigestError;
    fn from_str(text: &str) -> std::result::Result<Digest, ParseDigestError> {
        blake3::Hash::from_hex(text).map(|hash| Digest(hash.into())).map_err(|_| ParseDigestError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: the text form is that of `b3sum`, and only 64 hexadecimal digits are parsed.
    #[test]
    fn text_form() {
        let digest = Digest::of(b"");
        let text = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        assert_eq!(
            (format!("{digest:x}"), format!("{digest:#x}")),
            (text.into(), format!("0x{text}"))
        );
        assert_eq!("af13".parse::<Digest>(), Err(ParseDigestError));
        assert_eq!("zz".repeat(32).parse::<Digest>(), Err(ParseDigestError));
    }
}
