//! [`Xattrs`]: the extended attributes of an entry, in few bytes. Must not know how they are read from a file.

use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Error as _, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Extended attributes, sorted by name, each name once. Few entries have any, and of those that have
/// none there may be millions: it is one word. Those of an entry are kept in one piece, so that many small ones
/// take little more than their bytes; a clone shares them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[allow(clippy::redundant_allocation, reason = "a word less where there are none")]
pub struct Xattrs(Option<Arc<Box<[u8]>>>);

impl Xattrs {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// How many bytes they take.
    pub(crate) fn packed_len(&self) -> usize {
        self.0.as_ref().map_or(0, |packed| packed.len())
    }

    /// The name and the value of each.
    #[must_use]
    pub fn iter(&self) -> XattrIter<'_> {
        XattrIter(self.0.as_ref().map_or(&[], |packed| packed))
    }

    /// Each by itself.
    #[must_use]
    pub fn to_vec(&self) -> Vec<Xattr> {
        let own = |(name, value): (&[u8], &[u8])| Xattr { name: name.into(), value: value.into() };
        self.iter().map(own).collect()
    }

    /// Names and values one after the other, each behind its length: in one byte, or in those after a byte 255.
    fn pack(packed: &mut Vec<u8>, part: &[u8]) {
        match u8::try_from(part.len()) {
            Ok(len) if len < u8::MAX => packed.push(len),
            _ => {
                packed.push(u8::MAX);
                packed.extend(part.len().to_le_bytes());
            }
        }
        packed.extend_from_slice(part);
    }

    fn packed(packed: Vec<u8>) -> Xattrs {
        Xattrs((!packed.is_empty()).then(|| Arc::new(packed.into_boxed_slice())))
    }
}

/// The name and the value of each of some [`Xattrs`].
#[derive(Debug, Clone)]
pub struct XattrIter<'a>(&'a [u8]);

impl<'a> XattrIter<'a> {
    /// The next name or value.
    fn part(&mut self) -> Option<&'a [u8]> {
        let (&short, mut after) = self.0.split_first()?;
        let mut len = usize::from(short);
        if short == u8::MAX {
            let (long, parts) = after.split_first_chunk()?;
            (len, after) = (usize::from_le_bytes(*long), parts);
        }
        let (part, after) = after.split_at_checked(len)?;
        self.0 = after;
        Some(part)
    }
}

impl<'a> Iterator for XattrIter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.part()?, self.part()?))
    }
}

impl<'a> IntoIterator for &'a Xattrs {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = XattrIter<'a>;

    fn into_iter(self) -> XattrIter<'a> {
        self.iter()
    }
}

impl From<Vec<Xattr>> for Xattrs {
    fn from(xattrs: Vec<Xattr>) -> Xattrs {
        let mut packed = Vec::new();
        let parts = xattrs.iter().flat_map(|xattr| [&xattr.name, &xattr.value]);
        parts.for_each(|part| Xattrs::pack(&mut packed, part));
        Xattrs::packed(packed)
    }
}

impl Serialize for Xattrs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// [`Xattr`], borrowed.
        #[derive(Serialize)]
        struct Row<'a>(
            #[serde(with = "crate::bytes")] &'a [u8],
            #[serde(with = "crate::bytes")] &'a [u8],
        );

        let mut list = serializer.serialize_seq(Some(self.len()))?;
        self.iter().try_for_each(|(name, value)| list.serialize_element(&Row(name, value)))?;
        list.end()
    }
}

impl<'de> Deserialize<'de> for Xattrs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Xattrs, D::Error> {
        let mut packed = Vec::new();
        deserializer.deserialize_seq(PackList(&mut packed))?;
        Ok(Xattrs::packed(packed))
    }
}

/// Packs attributes as they are read: of small ones there may be millions, and none needs memory of its own meanwhile.
struct PackList<'p>(&'p mut Vec<u8>);
/// One attribute.
struct PackPair<'p>(&'p mut Vec<u8>);
/// A name or a value.
struct PackPart<'p>(&'p mut Vec<u8>);

impl<'de> Visitor<'de> for PackList<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of extended attributes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(PackPair(self.0))?.is_some() {}
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for PackPair<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_tuple(2, self)
    }
}

impl<'de> Visitor<'de> for PackPair<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name and a value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<(), A::Error> {
        for number in 0..2 {
            let part = pair.next_element_seed(PackPart(self.0))?;
            part.ok_or_else(|| A::Error::invalid_length(number, &"a name and a value"))?;
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for PackPart<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl<'de> Visitor<'de> for PackPart<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<(), E> {
        Xattrs::pack(self.0, bytes);
        Ok(())
    }
}

/// One extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Xattr {
    /// With its namespace: `user.comment`.
    #[serde(with = "crate::bytes")]
    pub name: Vec<u8>,
    /// Any bytes.
    #[serde(with = "crate::bytes")]
    pub value: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use container::codec;

    fn xattr(name: usize, value: usize) -> Xattr {
        Xattr { name: vec![1; name], value: vec![2; value] }
    }

    #[test]
    fn attributes_of_any_length_come_back() {
        for lens in [&[][..], &[(1, 0)], &[(254, 255), (255, 254), (256, 65536), (0, 0), (3, 70)]] {
            let list: Vec<Xattr> = lens.iter().map(|&(name, value)| xattr(name, value)).collect();
            let xattrs = Xattrs::from(list.clone());
            assert_eq!((xattrs.to_vec(), xattrs.is_empty()), (list.clone(), list.is_empty()));
            let (mut bytes, mut plain) = (Vec::new(), Vec::new());
            codec::encode_into(&xattrs, &mut bytes).unwrap();
            codec::encode_into(&list, &mut plain).unwrap();
            assert!(bytes == plain, "another encoding than that of a list");
            assert_eq!(codec::decode::<Xattrs>(&bytes), Ok(xattrs));
        }
    }
}
