//! Trees to work on, and what there is to see of one. Knows nothing of how it is changed.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::process::output;

/// Everything about each path but the root, in words.
pub(super) type Snapshot = BTreeMap<PathBuf, String>;

/// The directory inside a tree that belongs to an apply.
pub(super) const STAGE: &str = ".ibtools-apply";

/// Looks at the tree below `root`, whose own stage is left out.
pub(super) fn snapshot(root: &Path) -> Result<Snapshot> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![root.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            if path == root.join(STAGE) {
                continue;
            }
            let meta = fs::symlink_metadata(&path)?;
            let kind = meta.file_type();
            let content = if kind.is_dir() {
                dirs.push(path.clone());
                String::new()
            } else if kind.is_symlink() {
                fs::read_link(&path)?.display().to_string()
            } else if kind.is_file() {
                let bytes = fs::read(&path)?;
                let mut hasher = DefaultHasher::new();
                hasher.write(&bytes);
                format!("{} bytes {:x}", bytes.len(), hasher.finish())
            } else {
                format!("fifo: {}", kind.is_fifo())
            };
            let times = (meta.mtime(), meta.mtime_nsec());
            let owner = (meta.uid(), meta.gid());
            let seen =
                format!("{:o} {owner:?} {times:?} {:?} {content}", meta.mode(), xattrs(&path));
            found.insert(path.strip_prefix(root)?.to_path_buf(), (meta.ino(), seen));
        }
    }
    let mut first: HashMap<u64, PathBuf> = HashMap::new();
    Ok(found
        .into_iter()
        .map(|(path, (inode, seen))| {
            let same = first.entry(inode).or_insert_with(|| path.clone());
            (path, format!("{seen} = {}", same.display()))
        })
        .collect())
}

fn xattrs(path: &Path) -> BTreeMap<String, String> {
    let mut names = vec![0; 4096];
    let len = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let names = names.get(..len).unwrap_or_default();
    let value = |name: &str| {
        let mut value = vec![0; 4096];
        let len = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap_or(0);
        value.get(..len).unwrap_or_default().escape_ascii().to_string()
    };
    let names = names.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .map(|name| (name.clone(), value(&name)))
        .collect()
}

/// The first path at which two trees differ, and how.
pub(super) fn difference(found: &Snapshot, expected: &Snapshot) -> String {
    let mut paths: Vec<_> = found.keys().chain(expected.keys()).collect();
    paths.sort();
    match paths.into_iter().find(|path| found.get(*path) != expected.get(*path)) {
        None => "none".into(),
        Some(path) => format!(
            "{}: {:.100?}, not {:.100?}",
            path.display(),
            found.get(path),
            expected.get(path)
        ),
    }
}

/// Makes `dir` a tree with something of everything.
pub(super) fn old(dir: &Path) -> Result<()> {
    shell(
        dir,
        "mkdir -p gone/deep kept/inner dir-to-file/a dir-to-link empty-goes moved-dir closed gone/whole whole/in
         for n in $(seq 20); do echo $n > gone/whole/$n; echo $n > whole/in/$n; done; ln whole/in/3 whole-link
         seq 1 3000 > edited; seq 1 500 > moved; seq 500 900 > base; seq 1 200 > moved-dir/file
         seq 1 400 > swapped-1; seq 400 800 > swapped-2
         echo gone > gone/deep/file; echo gone > gone/file
         echo old > kept/inner/edited; echo stays > kept/stays
         echo file > file-to-dir; echo a > dir-to-file/a/b; echo a > dir-to-link/a
         ln -s nowhere link-to-file; ln -s nowhere link-changes; ln -s nowhere link-to-dir
         mkfifo fifo-to-file; echo f > file-to-fifo; echo f > file-to-link
         echo mode > mode; echo time > time; echo attr > attr
         setfattr -n user.goes -v 1 attr; setfattr -n user.changes -v 1 attr
         echo twin > twin; ln twin twin-2; ln twin twin-3; echo lone > lone
         truncate -s 600K sparse; echo middle | dd of=sparse bs=1 seek=300000 conv=notrunc status=none
         chmod 555 closed; touch -d 2001-02-03 kept kept/inner time",
    )
}

/// Turns [`old`] into another tree.
pub(super) fn change(dir: &Path) -> Result<()> {
    shell(
        dir,
        "mkdir -p new/dir; mv gone/whole new/dir/whole; mv whole whole-there; ln -s whole-there whole
         rm -r gone empty-goes; mv moved moved-away; mv moved-dir moved-there
         (seq 1 1500; echo edit; seq 1500 3000) > edited; (cat base; echo more) > made-of-base
         mv swapped-1 s; mv swapped-2 swapped-1; mv s swapped-2
         echo new > kept/inner/edited; echo new > kept/inner/created; touch -d 2001-02-03 kept kept/inner
         rm file-to-dir; mkdir -p file-to-dir/a/b; echo b > file-to-dir/a/b/c
         rm -r dir-to-file dir-to-link; echo file > dir-to-file; ln -s edited dir-to-link
         rm link-to-file link-to-dir; echo file > link-to-file; mkdir link-to-dir; echo x > link-to-dir/x
         ln -sfn elsewhere link-changes
         rm fifo-to-file file-to-fifo file-to-link; echo f > fifo-to-file; mkfifo file-to-fifo
         ln -s fifo-to-file file-to-link
         chmod 600 mode; touch -d 1999-01-01 time
         setfattr -x user.goes attr; setfattr -n user.changes -v 2 attr; setfattr -n user.comes -v 1 attr
         rm twin-3; echo parted > twin-3; echo twins > twin; ln lone lone-2
         mkdir -p new/dir/deep; seq 1 2000 > new/dir/deep/file; touch new/empty
         truncate -s 900K new/sparse; echo end >> new/sparse
         echo in > closed/in 2>/dev/null || (chmod 755 closed; echo in > closed/in; chmod 555 closed)
         truncate -s 800K sparse; echo late | dd of=sparse bs=1 seek=700000 conv=notrunc status=none",
    )
}

/// Replaces `to` by a copy of `from` in every respect.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    output(&format!(
        "rm -rf '{to}' && cp -a --sparse=always '{from}' '{to}'",
        from = from.display(),
        to = to.display()
    ))?;
    Ok(())
}

fn shell(dir: &Path, script: &str) -> Result<()> {
    fs::create_dir_all(dir)?;
    output(&format!("set -e; cd '{}'; {script}", dir.display()))?;
    Ok(())
}
