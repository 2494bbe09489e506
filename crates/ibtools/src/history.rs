//! The verbs `log` and `find`: what became of paths, over all snapshots of a store.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use incremental_backups_tools::stores::AnyStore;
use incremental_backups_tools::{
    Came, Content, History, Node, RelPath, Repository, Skipped, SnapshotId, Version, Went, dirindex,
};
use indicatif::HumanBytes;
use serde_json::Value;

use crate::Answer;
use crate::args::{FindArgs, LogArgs};
use crate::console::{Console, in_words, number_of, shown};
use crate::json::{Object, object, put_bytes, put_content, put_file, put_meta, put_node, put_path};
use crate::paths::{inside_of, missing};
use crate::pattern::Pattern;
use crate::show::date;
use crate::source::{Source, open_to_read};

/// `ibtools log`
pub(crate) fn log(args: &LogArgs, console: &mut Console) -> Result<Answer> {
    let store = open_to_read(&args.store)?;
    let newest = Source::open(std::slice::from_ref(&args.store), None)?;
    let Some(path) = inside_of(&newest, &args.path)? else {
        bail!("{} is the top directory: name a file or directory in it", shown(&args.path));
    };
    let failed = || format!("cannot read {}", shown(&args.store));
    let history = store.history_of(&path).with_context(failed)?;
    warn(&history, console);
    if history.versions.is_empty() {
        return Err(missing(&path, &newest, console).context(format!("no snapshot has {path}")));
    }
    let events = events(&history.versions);
    let mut document = document(&args.store, &history);
    put_path(&mut document, "path", &path);
    document.insert("events".into(), events.iter().map(Event::json).collect());
    console.document(document)?;
    events.iter().try_for_each(|event| console.line(event))?;
    Ok(Answer::Yes)
}

/// `ibtools find`
pub(crate) fn find(args: &FindArgs, console: &mut Console) -> Result<Answer> {
    let store = open_to_read(&args.store)?;
    let pattern = pattern(args, &store)?;
    let failed = || format!("cannot read {}", shown(&args.store));
    let history = store.history(|path| pattern.matches(path)).with_context(failed)?;
    warn(&history, console);
    let mut found: BTreeMap<&RelPath, Vec<&Version>> = BTreeMap::new();
    for version in &history.versions {
        found.entry(&version.path).or_default().push(version);
    }
    let mut document = document(&args.store, &history);
    put_bytes(&mut document, "pattern", args.pattern.as_encoded_bytes());
    let matches = found.iter().map(|(path, versions)| {
        let versions = versions.iter().map(|version| json(version));
        let mut object = object([("versions", versions.collect())]);
        put_path(&mut object, "path", path);
        Ok(Value::from(object))
    });
    console.document_with_rows(document, "matches", matches)?;
    for (path, versions) in &found {
        console.line(format_args!("{}{}", path, slash(versions.last().map(|it| &it.node))))?;
        versions.iter().try_for_each(|version| console.line(line(version)))?;
    }
    let (paths, snapshots) = (found.len(), history.snapshots.len());
    let count = (number_of(paths, "path"), number_of(snapshots, "snapshot"));
    console.line(format_args!("{} in {}", count.0, count.1))?;
    Ok(if found.is_empty() { Answer::No } else { Answer::Yes })
}

fn pattern(args: &FindArgs, store: &Repository<AnyStore>) -> Result<Pattern> {
    let is_absolute = Path::new(&args.pattern).is_absolute();
    let newest = if is_absolute { store.snapshots()?.restorable().next_back() } else { None };
    let origin = newest.map(|newest| store.origin(newest)).transpose()?.flatten();
    Pattern::new(&args.pattern, origin.as_ref())
}

/// Says which snapshots were not looked at, and why.
fn warn(history: &History, console: &Console) {
    for Skipped { archive, error, .. } in &history.skipped {
        console.warn(format_args!("{archive}: {}", in_words(error)));
    }
    if let (Some(first), Some(last)) = (history.unreachable.first(), history.unreachable.last()) {
        let count = number_of(history.unreachable.len(), "snapshot");
        let which =
            if first == last { first.to_string() } else { format!("from {first} to {last}") };
        console.warn(format_args!(
            "{count} not looked at, {which}: archives on the chain to them are missing or damaged"
        ));
    }
}

/// What the documents of both verbs begin with.
fn document(store: &Path, history: &History) -> Object {
    let ids = |ids: &[SnapshotId]| ids.iter().map(ToString::to_string).collect::<Value>();
    let mut document = object([
        ("snapshots", history.snapshots.len().into()),
        ("unreachable", ids(&history.unreachable)),
    ]);
    put_file(&mut document, "store", store);
    document
}

/// One thing that happened to a path.
struct Event<'a> {
    snapshot: SnapshotId,
    /// The letter of a line, and the word in JSON, as `show` has them.
    what: (char, &'static str),
    /// Where it stood before, or was copied from.
    from: Option<&'a RelPath>,
    path: &'a RelPath,
    /// What came.
    version: Option<&'a Version>,
    /// Where it went.
    to: Option<&'a RelPath>,
    node: &'a Node,
}

/// What happened, from versions that lead to one another.
fn events(versions: &[Version]) -> Vec<Event<'_>> {
    let mut events = Vec::new();
    for (number, version) in versions.iter().enumerate() {
        let before = number.checked_sub(1).and_then(|before| versions.get(before));
        let (what, from) = match &version.came {
            Came::Created => (('A', "created"), None),
            Came::Moved { from } => (('R', "moved"), Some(from)),
            Came::Copied { from } => (('C', "copied"), Some(from)),
            _ => (change(before, version), None),
        };
        let Version { first: snapshot, path, node, .. } = version;
        let (snapshot, version) = (*snapshot, Some(version));
        events.push(Event { snapshot, what, from, path, version, to: None, node });
        let (gone, went) = match versions.get(number).and_then(|it| it.went.as_ref()) {
            Some((gone, went)) => (*gone, went),
            None => continue,
        };
        let (what, to) = match went {
            Went::Deleted => (('D', "deleted"), None),
            Went::Excluded => (('X', "excluded"), None),
            // The version that follows says so itself.
            Went::Moved { .. } if number + 1 < versions.len() => continue,
            Went::Moved { to } => (('R', "moved"), Some(to)),
            _ => continue,
        };
        events.push(Event { snapshot: gone, what, from: None, path, version: None, to, node });
    }
    events
}

/// In which way a version differs from the one before it.
fn change(before: Option<&Version>, version: &Version) -> (char, &'static str) {
    match before {
        Some(before) if (&before.node, before.len) == (&version.node, version.len) => {
            ('m', "metadata")
        }
        Some(before) if !before.node.same_kind(&version.node) => ('T', "type_changed"),
        _ => ('M', "updated"),
    }
}

impl Event<'_> {
    fn json(&self) -> Value {
        let mut object = object([
            ("snapshot", self.snapshot.to_string().into()),
            ("change", self.what.1.into()),
        ]);
        put_path(&mut object, "path", self.path);
        if let Some(from) = self.from {
            put_path(&mut object, "from", from);
        }
        if let Some(to) = self.to {
            put_path(&mut object, "to", to);
        }
        if let Some(version) = self.version {
            put_standing(&mut object, version);
        }
        object.into()
    }
}

/// `ID  M path (4.10 KiB, as a delta), 2026-11-21 18:31:07`
impl std::fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let slash = slash(Some(self.node));
        write!(f, "{}  {} ", self.snapshot, self.what.0)?;
        if let Some(from) = self.from {
            write!(f, "{from}{slash} -> ")?;
        }
        write!(f, "{}{slash}", self.path)?;
        if let Some(to) = self.to {
            write!(f, " -> {to}{slash}")?;
        }
        let Some(version) = self.version else { return Ok(()) };
        if let Some(len) = version.len {
            let how = match version.content {
                Content::Delta { .. } => ", as a delta",
                _ => "",
            };
            write!(f, " ({}{how})", HumanBytes(len))?;
        }
        write!(f, "{}, {}", target(&version.node), date(version.meta.mtime.secs))
    }
}

fn slash(node: Option<&Node>) -> &'static str {
    if node == Some(&Node::Dir) { "/" } else { "" }
}

/// What a link leads to.
fn target(node: &Node) -> String {
    match node {
        Node::Symlink { target } => format!(" -> {}", dirindex::escape(target)),
        Node::HardLink { to } => format!(" = {to}"),
        _ => String::new(),
    }
}

/// `  FIRST to LAST  SIZE  TIME`, and where it came from or went.
fn line(version: &Version) -> String {
    let Version { node, meta, len, first, last, came, went, .. } = version;
    let size = len.map(|len| HumanBytes(len).to_string()).unwrap_or_else(|| node.kind().to_owned());
    let came = match came {
        Came::Moved { .. } | Came::Copied { .. } => format!("  {came}"),
        _ => String::new(),
    };
    let went = match went {
        Some((_, went @ Went::Moved { .. })) => format!("  {went}"),
        Some((_, Went::Excluded)) => "  then excluded".to_owned(),
        _ => String::new(),
    };
    let time = date(meta.mtime.secs);
    format!("  {first} to {last}  {size:>10}  {time}{}{came}{went}", target(node))
}

fn json(version: &Version) -> Value {
    let mut object = object([
        ("first", version.first.to_string().into()),
        ("last", version.last.to_string().into()),
    ]);
    let came = match &version.came {
        Came::Created => "created",
        Came::Moved { from } => {
            put_path(&mut object, "from", from);
            "moved"
        }
        Came::Copied { from } => {
            put_path(&mut object, "from", from);
            "copied"
        }
        _ => "changed",
    };
    object.insert("came".into(), came.into());
    if let Some((snapshot, went)) = &version.went {
        let went = match went {
            Went::Deleted => "deleted",
            Went::Excluded => "excluded",
            Went::Moved { to } => {
                put_path(&mut object, "to", to);
                "moved"
            }
            _ => "changed",
        };
        object.insert("went".into(), went.into());
        object.insert("gone_in".into(), snapshot.to_string().into());
    }
    put_standing(&mut object, version);
    object.into()
}

fn put_standing(object: &mut Object, version: &Version) {
    put_node(object, &version.node);
    if let Some(len) = version.len {
        object.insert("size".into(), len.into());
    }
    put_meta(object, &version.meta);
    put_content(object, &version.content);
}
