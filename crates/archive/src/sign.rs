//! The signatures that an archive leaves out: those of the files it stores whole. Knows nothing of
//! what signatures are for.

use diffindex::{Change, DiffIndex};
use dirindex::StoredSignature;
use rayon::prelude::*;
use rsync_core::{Signature, SignatureOptions};

use crate::diff_data::{Composition, is_whole};
use crate::{DiffData, Error};

/// How many contents one reader takes: they lie side by side, mostly in the same frames.
const RUN: usize = 64;

impl DiffData {
    /// The diff, with the signatures of the files that are stored whole, made from their contents where
    /// it has none.
    ///
    /// Applied to the old index it gives the new one as a scan would have made it, so that a chain's
    /// newest index can be had from its archives alone: [squashed](DiffData::squash), signed, applied to
    /// nothing. Reads every file that is stored whole and has no signature.
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
        run: &[Composition],
        options: &SignatureOptions,
    ) -> Result<Vec<(usize, StoredSignature)>, Error> {
        let mut reader = self.reader();
        let mut signatures = Vec::new();
        let unsigned = |change: &&Change| {
            is_whole(change) && change.new.as_ref().is_some_and(|new| new.signature.is_none())
        };
        for composition in run {
            let Some(change) = self.change(composition).filter(unsigned) else { continue };
            let body = reader.open(change)?;
            let len = body.remaining();
            let signature = Signature::of_reader(body, Some(len), options, None)
                .map_err(|source| Error::Sign { path: change.path.clone(), source })?;
            if let Some(digest) = signature.digest() {
                self.check_digest(change, digest)?;
            }
            signatures.push((composition.change, StoredSignature::new(signature)));
        }
        Ok(signatures)
    }
}
