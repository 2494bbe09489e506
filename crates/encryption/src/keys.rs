//! [`Secret`] and [`Public`]: the keys of a store and of its clients. Knows nothing of stores, nor of whom a user names.

use std::fmt;
use std::str::FromStr;

use age::secrecy::ExposeSecret;
use age::x25519;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A secret from which two keys come: one opens what was encrypted for it, and one signs. It is written as an identity of age, so that
/// `age -d -i` takes it. The seed of the Ed25519 key (RFC 8032) is derived from these letters by BLAKE3.
#[derive(Clone)]
pub struct Secret {
    identity: x25519::Identity,
    signing: SigningKey,
}

/// What the seed of a signing key is derived for.
const SEED: &str = "backup-encryption 2026-11-29 seed of the key that signs";

impl Secret {
    /// A new one, from the system's random numbers.
    #[must_use]
    pub fn generate() -> Secret {
        Secret::of(x25519::Identity::generate())
    }

    fn of(identity: x25519::Identity) -> Secret {
        let seed = blake3::derive_key(SEED, identity.to_string().expose_secret().as_bytes());
        Secret { identity, signing: SigningKey::from_bytes(&seed) }
    }

    /// What others may know of it.
    #[must_use]
    pub fn public(&self) -> Public {
        Public { recipient: self.identity.to_public(), verifying: self.signing.verifying_key() }
    }

    /// The line that a file keeps it as. Whoever reads it has the secret.
    pub(crate) fn line(&self) -> String {
        self.identity.to_string().expose_secret().to_owned()
    }

    pub(crate) fn identity(&self) -> &x25519::Identity {
        &self.identity
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Signed {
        Signed(self.signing.sign(message))
    }
}

/// Says whose secret it is, not the secret.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Secret").field(&self.public()).finish()
    }
}

/// Takes the line of an identity file of age.
impl FromStr for Secret {
    type Err = InvalidKey;

    fn from_str(line: &str) -> Result<Secret, InvalidKey> {
        line.trim().parse().map(Secret::of).map_err(|_| InvalidKey)
    }
}

/// The two public keys of a [`Secret`]: for whom is encrypted, and by what signatures are checked. As text, an `age1…`
/// recipient, a `/`, and 64 digits: the Ed25519 key.
#[derive(Clone, PartialEq, Eq)]
pub struct Public {
    recipient: x25519::Recipient,
    verifying: VerifyingKey,
}

impl Public {
    pub(crate) fn recipient(&self) -> &x25519::Recipient {
        &self.recipient
    }

    /// Whether this key signed the message.
    pub(crate) fn has_signed(&self, message: &[u8], signed: &Signed) -> bool {
        self.verifying.verify_strict(message, &signed.0).is_ok()
    }

    /// 64 digits that say which one it is.
    #[must_use]
    pub fn id(&self) -> String {
        hex(self.verifying.as_bytes())
    }
}

/// No key, or not one that is written so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is no key of ibtools: that is `age1…`, `/`, and 64 digits, as `ibtools key show` prints it"
)]
pub struct InvalidKey;

impl fmt::Display for Public {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.recipient, self.id())
    }
}

impl fmt::Debug for Public {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Public {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Public, InvalidKey> {
        let (recipient, verifying) = text.trim().split_once('/').ok_or(InvalidKey)?;
        let recipient = recipient.parse().map_err(|_| InvalidKey)?;
        let bytes = unhex(verifying).ok_or(InvalidKey)?;
        let verifying = VerifyingKey::from_bytes(&bytes).map_err(|_| InvalidKey)?;
        Ok(Public { recipient, verifying })
    }
}

/// A signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signed(Signature);

/// What is written as text in JSON.
macro_rules! as_text {
    ($type:ty, $write:expr, $read:expr) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let text: String = $write(self);
                serializer.serialize_str(&text)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                let text = String::deserialize(deserializer)?;
                let read: Option<$type> = $read(&text);
                read.ok_or_else(|| de::Error::custom(concat!("no ", stringify!($type))))
            }
        }
    };
}

as_text!(Public, |key: &Public| key.to_string(), |text: &String| text.parse().ok());
as_text!(Signed, |signed: &Signed| hex(&signed.0.to_bytes()), |text: &String| {
    unhex(text).map(|bytes| Signed(Signature::from_bytes(&bytes)))
});
as_text!(Hash, |hash: &Hash| hex(&hash.0), |text: &String| unhex(text).map(Hash));

/// A BLAKE3 hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Hash(pub(crate) [u8; 32]);

impl Hash {
    pub(crate) fn of(bytes: &[u8]) -> Hash {
        Hash(*blake3::hash(bytes).as_bytes())
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of just so many digits, in lower case.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = [pair.first()?, pair.get(1)?].map(|digit| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        });
        *byte = high? << 4 | low?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// Keys come back from their text, and the same secret always has the same two keys.
    #[test]
    fn keys_come_back() {
        let secret = Secret::generate();
        let again: Secret = secret.line().parse().unwrap();
        assert_eq!(again.public(), secret.public());
        let text = secret.public().to_string();
        assert_eq!(text.parse::<Public>().unwrap(), secret.public());
        for other in [text.to_uppercase(), text.replace('/', ""), text[..text.len() - 1].into()] {
            assert!(other.parse::<Public>().is_err(), "{other}");
        }
        assert!(!format!("{secret:?}").contains("SECRET"));
    }

    #[test]
    fn a_signature_is_of_one_message_by_one_key() {
        let (one, other) = (Secret::generate(), Secret::generate());
        let signed = one.sign(b"message");
        assert!(one.public().has_signed(b"message", &signed));
        assert!(!one.public().has_signed(b"massage", &signed));
        assert!(!other.public().has_signed(b"message", &signed));
        let text = serde_json::to_string(&signed).unwrap();
        assert_eq!(serde_json::from_str::<Signed>(&text).unwrap(), signed);
    }

    /// The key that signs is derived in one way for ever.
    #[test]
    fn the_seed_is_derived_so() {
        let line = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
        let secret: Secret = line.parse().unwrap();
        assert_eq!(
            secret.public().id(),
            "d9f1406ad45395c586ab11de4f219c59dcf3bf0cdd6aab5d1462053a51a6e2b0"
        );
    }
}
