//! The contents that several files of an index have. Must not know what is made of that.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use dirindex::{Error, LazyIndex, RelPath};
use rsync_core::Digest;

use crate::between::content_of;

/// For each content that several files have: the first of them in path order. Holds 3 bytes for each file beside these.
pub(crate) fn firsts(index: &LazyIndex) -> Result<HashMap<Digest, RelPath>, Error> {
    let mut seen = Seen::new(index.len());
    // The first file, and whether there is another one. Few are here that have no other one.
    let mut files: HashMap<Digest, Option<(RelPath, bool)>> = HashMap::new();
    index.for_each_chunk(|records| {
        for digest in records.iter().filter_map(|record| content_of(&record.entry)) {
            if seen.has(&digest) {
                files.insert(digest, None);
            }
            seen.add(&digest);
        }
        Ok(())
    })?;
    drop(seen);
    index.for_each_chunk(|records| {
        for entry in records.iter().map(|record| &record.entry) {
            let Some(digest) = content_of(entry) else { continue };
            let Entry::Occupied(mut file) = files.entry(digest) else { continue };
            match file.get_mut() {
                Some((_, has_other)) => *has_other = true,
                none => *none = Some((entry.path.clone(), false)),
            }
        }
        Ok(())
    })?;
    let firsts = files.into_iter().filter_map(|(digest, file)| Some((digest, file?)));
    Ok(firsts.filter(|(_, (_, has_other))| *has_other).map(|(it, (path, _))| (it, path)).collect())
}

/// Digests that were added, and some others: a Bloom filter with two bits for each digest, of sixteen. Some two in a thousand digests
/// seem to be there that are not. See B. H. Bloom, "Space/Time Trade-offs in Hash Coding with Allowable Errors", 1970.
struct Seen(Vec<u64>);

/// The bits for each digest.
const BITS: usize = 16;

impl Seen {
    fn new(digests: usize) -> Seen {
        Seen(vec![0; (digests.saturating_mul(BITS) / 64).next_power_of_two()])
    }

    /// The words that a digest has bits in, and these bits.
    fn places(&self, digest: &Digest) -> [(usize, u64); 2] {
        let words = self.0.len();
        // They are as good as random.
        let halves = digest.0.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
        let mut halves = halves.map(|half| ((half >> 6) as usize % words, 1 << (half & 63)));
        std::array::from_fn(|_| halves.next().unwrap_or_default())
    }

    fn has(&self, digest: &Digest) -> bool {
        let has = |(word, bit): (usize, u64)| self.0.get(word).is_some_and(|it| it & bit != 0);
        self.places(digest).into_iter().all(has)
    }

    fn add(&mut self, digest: &Digest) {
        for (word, bit) in self.places(digest) {
            if let Some(word) = self.0.get_mut(word) {
                *word |= bit;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_there_and_few_others() {
        let digest = |number: u32| Digest::of(&number.to_le_bytes());
        let mut seen = Seen::new(10_000);
        (0..10_000).for_each(|number| seen.add(&digest(number)));
        assert!((0..10_000).all(|number| seen.has(&digest(number))));
        let others = (10_000..110_000).filter(|number| seen.has(&digest(*number))).count();
        assert!(others < 2_500, "{others}");
    }
}
