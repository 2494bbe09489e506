//! [`Mounted`]: a directory in memory to mount something in.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::process::output;

/// A mount point, and a directory around it. Both go with this.
pub(super) struct Mounted {
    pub(super) home: PathBuf,
    pub(super) at: PathBuf,
}

impl Mounted {
    /// Nothing is mounted yet.
    pub(super) fn new(name: &str) -> Result<Mounted> {
        let home = Path::new("/dev/shm").join(format!("xtask-{name}-{}", std::process::id()));
        let at = home.join("mnt");
        fs::create_dir_all(&at)?;
        Ok(Mounted { home, at })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(output(&format!("umount '{}'", self.at.display())));
        drop(fs::remove_dir_all(&self.home));
    }
}
