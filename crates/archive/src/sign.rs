//! The signatures that an archive leaves out: those of the files it stores whole. Knows nothing of
//! what signatures are for.

use diffindex::DiffIndex;
use dirindex::stored::StoredSignature;
use rayon::prelude::*;
use rsync_core::{Signature, SignatureOptions};

use crate::layout::Stored;
use crate::read::is_whole;
use crate::{DiffData, Error};

/// How many contents one reader takes: they lie side by side, mostly in the same members.
const RUN: usize = 64;

impl DiffData {
    /// The diff, with the signatures of the files that are stored whole, made from their contents.
    ///
    /// Applied to the old index it gives the new one as a scan would have made it, so that a chain's
    /// newest index can be had from its archives alone. Reads every file that is stored whole.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`], also for a content that has not the diff's digest, and
    /// [`Error::Sign`] for options that no signature can have.
    pub fn signed_diff(&self, options: &SignatureOptions) -> Result<DiffIndex, Error> {
        let runs: Vec<Vec<(usize, StoredSignature)>> = self
            .contents
            .par_chunks(RUN)
            .map(|run| self.sign(run, options))
            .collect::<Result<_, Error>>()?;
        let mut diff = self.diff.clone();
        for (number, signature) in runs.into_iter().flatten() {
            diff.sign(number, signature).map_err(Error::Encode)?;
        }
        Ok(diff)
    }

    fn sign(
        &self,
        run: &[Stored],
        options: &SignatureOptions,
    ) -> Result<Vec<(usize, StoredSignature)>, Error> {
        let mut reader = self.reader();
        let mut signatures = Vec::new();
        for stored in run {
            let Some(change) = self.change(stored).filter(|change| is_whole(change)) else {
                continue;
            };
            let body = reader.open(change)?;
            let signature = Signature::of_reader(body, Some(stored.len), options)
                .map_err(|source| Error::Sign { path: change.path.clone(), source })?;
            if let Some(digest) = signature.digest() {
                self.check_digest(stored, change, digest)?;
            }
            signatures.push((stored.change, StoredSignature::new(signature)));
        }
        Ok(signatures)
    }
}
