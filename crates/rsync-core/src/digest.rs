//! The digest of a whole content, BLAKE3, and its text form. Must not know blocks or deltas.

use crate::file_bytes::Input;
use crate::parallel;
use std::{fmt, str::FromStr};

/// Data of this many bytes or more is hashed by several threads.
const PARALLEL_FROM: usize = 256 << 10;
/// How many bytes are hashed before their pages are released. A power of two, so that BLAKE3 keeps its speed.
const RELEASE_STEP: usize = 32 << 20;

/// The BLAKE3 hash of a whole content: what `b3sum` prints.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `data`. Large data is hashed by several threads.
    #[must_use]
    pub fn of(data: &[u8]) -> Digest {
        Digest::of_input(Input::from(data))
    }

    pub(crate) fn of_input(input: Input<'_>) -> Digest {
        let mut hasher = blake3::Hasher::new();
        if input.bytes.len() < PARALLEL_FROM {
            hasher.update(input.bytes);
        } else {
            let mut at = 0;
            for step in input.bytes.chunks(RELEASE_STEP) {
                parallel::hash(&mut hasher, step);
                input.release(at..at + step.len());
                at += step.len();
            }
        }
        Digest(hasher.finalize().into())
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

/// The text is not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 hexadecimal digits")]
pub struct ParseDigestError;

impl FromStr for Digest {
    type Err = ParseDigestError;
    fn from_str(text: &str) -> Result<Digest, ParseDigestError> {
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
