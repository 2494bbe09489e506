//! [`Run`]: a file of the log, as `docs/format.md` has it. Must not know what entries say, nor who may say it.

use serde::{Deserialize, Serialize};

use crate::keys::{Hash, Public, Secret, Signed};

/// The format that files of the log have.
const FORMAT: u32 = 1;

/// Where in the log something is: after so many entries, of which the last has this running hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct At {
    pub(crate) entries: u64,
    pub(crate) hash: Hash,
}

impl At {
    pub(crate) fn then(self, line: &str) -> At {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.hash.0).update(line.as_bytes());
        At { entries: self.entries + 1, hash: Hash(*hasher.finalize().as_bytes()) }
    }
}

/// Why something is no log of a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Invalid {
    #[error("it is no file of a log of format {FORMAT}")]
    Format,
    #[error("entry {0} is none that this program knows")]
    Entry(u64),
    #[error(
        "entry {0} changes what is there already, or who may write, and is not signed by the owner of the store"
    )]
    Unsigned(u64),
    #[error("it does not follow the file before it: the log was forked, or put together of two")]
    Apart,
    #[error("its signature is by none who may write to the store, or of something else")]
    Signature,
}

/// A file of the log: a run of entries, up to the last.
pub(crate) struct Run {
    number: u64,
    after: u64,
    pub(crate) from: At,
    pub(crate) lines: Vec<String>,
    pub(crate) to: At,
    pub(crate) by: Public,
    signed: Signed,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    log: u32,
    file: u64,
    /// The file that has the entries before these; 0: there are none.
    after: u64,
    from: At,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tail {
    to: At,
    by: Public,
    signature: Signed,
}

impl Run {
    /// After which file the run begins that the file `number` has: the number without its lowest bit that is set. So a log of
    /// n files is read by as many files as n has bits, and each entry is written as often at most.
    pub(crate) fn begins(number: u64) -> u64 {
        number & number.wrapping_sub(1)
    }

    /// Its number.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The number of the file that has the entries before it, which is lower. 0: it has the first.
    pub(crate) fn after(&self) -> u64 {
        self.after
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Run, Invalid> {
        let text = std::str::from_utf8(bytes).map_err(|_| Invalid::Format)?;
        let mut lines: Vec<&str> = text.lines().collect();
        let tail = lines.pop().and_then(|line| serde_json::from_str(line).ok());
        let Tail { to, by, signature } = tail.ok_or(Invalid::Format)?;
        let (head, lines) = lines.split_first().ok_or(Invalid::Format)?;
        let Head { log, file, after, from } =
            serde_json::from_str(head).map_err(|_| Invalid::Format)?;
        let lines = lines.iter().map(|&line| line.to_owned()).collect();
        match log == FORMAT && after < file {
            true => Ok(Run { number: file, after, from, lines, to, by, signed: signature }),
            false => Err(Invalid::Format),
        }
    }

    /// The run that the file `number` is to have: `lines` up to `to`, after what another file has.
    pub(crate) fn signed(
        number: u64,
        (after, from): (u64, At),
        lines: Vec<String>,
        to: At,
        signer: &Secret,
    ) -> Run {
        let signed = signer.sign(&message(number, to));
        Run { number, after, from, lines, to, by: signer.public(), signed }
    }

    /// Whether it is signed by who it says.
    pub(crate) fn is_signed(&self) -> bool {
        self.by.has_signed(&message(self.number, self.to), &self.signed)
    }

    /// The bytes of the file.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, Invalid> {
        let Run { number: file, after, from, to, .. } = *self;
        let mut text = line(&Head { log: FORMAT, file, after, from })?;
        for entry in &self.lines {
            text.push_str(entry);
            text.push('\n');
        }
        let tail = Tail { to, by: self.by.clone(), signature: self.signed.clone() };
        text.push_str(&line(&tail)?);
        Ok(text.into_bytes())
    }
}

/// What is signed of a file of the log.
fn message(number: u64, to: At) -> Vec<u8> {
    let At { entries, hash } = to;
    [&b"ibtools log\n"[..], &number.to_le_bytes(), &entries.to_le_bytes(), &hash.0].concat()
}

fn line(value: &impl Serialize) -> Result<String, Invalid> {
    serde_json::to_string(value).map(|line| line + "\n").map_err(|_| Invalid::Format)
}
