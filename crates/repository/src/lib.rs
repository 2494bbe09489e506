//! Backups of a tree in a store: back up, restore, verify, prune, repair. It alone knows the names in a store; it must not
//! know how a tree is changed, nor how an archive is laid out.
//!
//! [`backup`](fn@backup) keeps the states of a tree in a [`Store`], such as a directory; [`restore`](fn@restore) brings back
//! any of them, or some paths, writing only what differs; [`verify_store`] finds every damage without restoring;
//! [`prune`](fn@prune) keeps some states, and [`repair`](fn@repair) takes back what has rotten in the tree. `docs/chains.md`
//! has the whole story.
//!
//! ```
//! use dirindex::Dir;
//! use repository::{
//!     BackupOptions, DirStore, Known, RestoreOptions, backup, restore, store, verify_store,
//! };
//! # use std::fs;
//! # let temporary = tempfile::tempdir()?;
//! # let at = |name: &str| temporary.path().join(name);
//! # fs::create_dir(at("mydir"))?;
//! # fs::write(at("mydir/file"), "old")?;
//! # fs::create_dir(at("back"))?;
//! let (dir, store) = (Dir::new(at("mydir"))?, DirStore::create(at("store"))?);
//! let first = backup(&dir, &store, &BackupOptions::default())?;
//! fs::write(at("mydir/file"), "new")?;
//! let second = backup(&dir, &store, &BackupOptions::default())?;
//! assert!(verify_store(&store, None)?.is_sound());
//!
//! // Where several ways lead to a point, one without damaged archives is taken.
//! let (points, mut passed) = (store::points(&store)?, Vec::new());
//! let options = RestoreOptions::default();
//! store::by_any_way(&store, &points, second.point, &mut passed, |archives| {
//!     restore(archives, at("back"), &options)
//! })?;
//! assert!(passed.is_empty());
//! assert_eq!(fs::read(at("back/file"))?, b"new");
//!
//! // A copy of a state that is known becomes another, both ways.
//! let known = Known::roots(vec![second.index.root()]);
//! let options = RestoreOptions { known, ..RestoreOptions::default() };
//! store::by_any_way(&store, &points, first.point, &mut passed, |archives| {
//!     restore(archives, at("back"), &options)
//! })?;
//! assert_eq!(fs::read(at("back/file"))?, b"old");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod backup;
mod error;
mod pack;
mod prune;
mod repair;
mod restore;
pub mod store;
mod verify;

pub use backup::{BackupOptions, BackupReport, Made, Unusable, backup};
pub use error::{Error, Result};
pub use pack::pack;
pub use prune::{PruneOptions, PruneReport, Squashed, prune};
pub use repair::{Repaired, repair};
pub use restore::{Known, RestoreOptions, plan_restore, restore};
pub use store::{DirStore, Keep, Point, Points, Store};
pub use verify::{Restorable, Verified, VerifiedStore, verify_archives, verify_store};
