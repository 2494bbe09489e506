//! The native half of the Python package `incremental_backups_tools`: the facade's verbs for Python. It has no logic of
//! backups: what Python needs of that is in the crates.
//!
//! The Python half, beside this, has the names, defaults and documentation that users see. What passes between the two
//! are text, numbers, bytes, lists and dictionaries. A path is text as Python's `os.fsdecode` makes it.

mod archive;
mod convert;
mod errors;
mod keys;
mod reports;
mod repository;
mod rsync;
mod stream;
mod tree;
mod trees;
mod work;

use pyo3::prelude::*;

/// See `_native.pyi`.
#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::archive::Archive;
    #[pymodule_export]
    use crate::keys::{forget, grant, known, machine, new_identity, rotate, trust};
    #[pymodule_export]
    use crate::repository::Repository;
    #[pymodule_export]
    use crate::rsync::{delta, digest, patch, signature};
    #[pymodule_export]
    use crate::tree::{Diff, Dir, Index};
    #[pymodule_export]
    use crate::trees::Tree;
    #[pymodule_export]
    use crate::work::Cancel;
}
