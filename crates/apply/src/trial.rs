//! [`Trial`]: what a file system makes of metadata, found by setting it on things of our own in the stage. Nothing of
//! the tree is touched.

use std::io;
use std::path::Path;
use std::sync::Arc;

use dirindex::{Meta, Node};
use rustix::fs::{FileType, OFlags};

use crate::error::Result;
use crate::meta;
use crate::observe;
use crate::stage_dir::Stage;
use crate::system::{Handle, Linux, System};
use crate::target::Target;
use crate::tree::{self, Grip, Policy};
use crate::unkept::Refused;

/// For each kind with the metadata that it has in the tree at `path` and that is wanted: whether it has what setting that
/// would give. That is tried on things of our own, where it is not seen at once; what cannot be tried is another.
#[must_use]
pub fn alike(path: &Path, privileged: bool, pairs: &[(&Node, &Meta, &Meta)]) -> Vec<bool> {
    let policy = Policy { privileged };
    let seen = pairs.iter().map(|(node, found, wanted)| policy.gives(node, found, wanted));
    let mut same: Vec<bool> = seen.collect();
    if same.contains(&false) {
        // It is no failure of anything when this fails: then they differ.
        drop(try_alike(path, policy, pairs, &mut same));
    }
    same
}

fn try_alike(
    path: &Path,
    policy: Policy,
    pairs: &[(&Node, &Meta, &Meta)],
    same: &mut [bool],
) -> Result<()> {
    let target = Target::open(Arc::new(Linux), path)?.lock()?;
    if target.stage()?.is_some() {
        return Ok(());
    }
    let before = target.sys().stat(&target).map_err(|error| target.error("look at", error))?;
    let stage = target.make_stage()?;
    let mut trial = Trial::new(&stage, policy);
    for ((node, found, wanted), same) in pairs.iter().zip(same) {
        *same |= trial.set(node, wanted).is_ok_and(|(given, _)| policy.gives(node, found, &given));
    }
    drop(trial);
    target.remove_stage(&stage)?;
    // Nothing has changed here.
    let reset = target.sys().set_mtime(Handle::opened(&target), observe::mtime(&before));
    reset.map_err(|error| target.error("set the time of", error))
}

/// What was made to be tried on, one of a kind.
pub(crate) struct Trial<'a> {
    stage: &'a Stage,
    policy: Policy,
    made: Vec<(Kind, Grip)>,
}

/// Kinds that a file system may treat each in its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Dir,
    Link,
    /// A fifo, or a device, for which a fifo has to do.
    Other,
}

impl<'a> Trial<'a> {
    pub(crate) fn new(stage: &'a Stage, policy: Policy) -> Trial<'a> {
        Trial { stage, policy, made: Vec::new() }
    }

    /// Sets `meta` on something of the kind of `node`. Gives the metadata that it has then, and what was not taken.
    pub(crate) fn set(&mut self, node: &Node, meta: &Meta) -> io::Result<(Meta, Vec<Refused>)> {
        let (sys, policy) = (self.stage.sys(), self.policy);
        let fd = self.of_kind(node)?;
        let of = fd.handle();
        let refused = meta::set(sys, of, meta, false, policy)?;
        Ok((meta::of(sys, of)?, refused))
    }

    fn of_kind(&mut self, node: &Node) -> io::Result<&Grip> {
        let (kind, name): (_, &[u8]) = match node {
            Node::File { .. } | Node::HardLink { .. } => (Kind::File, b"try.file"),
            Node::Dir => (Kind::Dir, b"try.dir"),
            Node::Symlink { .. } => (Kind::Link, b"try.link"),
            Node::Fifo | Node::CharDevice { .. } | Node::BlockDevice { .. } => {
                (Kind::Other, b"try.fifo")
            }
        };
        let at = match self.made.iter().position(|(made, _)| *made == kind) {
            Some(at) => at,
            None => {
                let fd = make(self.stage, kind, name)?;
                self.made.push((kind, fd));
                self.made.len() - 1
            }
        };
        let (_, fd) = self.made.get(at).ok_or(io::ErrorKind::NotFound)?;
        Ok(fd)
    }
}

fn make(stage: &Stage, kind: Kind, name: &[u8]) -> io::Result<Grip> {
    let sys: &dyn System = stage.sys();
    match kind {
        Kind::File => return Ok(Grip::opened(tree::create_file(sys, stage, name)?.into())),
        Kind::Dir => {
            sys.make_dir(stage, name)?;
            return Ok(Grip::opened(sys.open(stage, name, OFlags::RDONLY | OFlags::DIRECTORY)?));
        }
        Kind::Link => sys.make_symlink(stage, name, b"nowhere")?,
        Kind::Other => sys.make_node(stage, name, FileType::Fifo, (0, 0))?,
    }
    tree::hold(sys, stage, name)
}
