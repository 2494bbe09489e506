//! Names, sizes and the like in JSON, the same in every verb's document. Knows no verb.
//!
//! A name that is not UTF-8 cannot be a JSON string: beside `"path"`, which then has replacement
//! characters, stands `"path_bytes"` with the bytes in hexadecimal.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use incremental_backups_tools::dirindex::is_hidden;
use incremental_backups_tools::{Content, Entry, Meta, Node, Problem, ProblemKind, RelPath};
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use serde_json::{Map, Value, json};

/// A JSON object under construction.
pub(crate) type Object = Map<String, Value>;

/// An object of these fields.
pub(crate) fn object<const N: usize>(fields: [(&str, Value); N]) -> Object {
    fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Puts a name into `object` as `key`, and as `key_bytes` too where it is not UTF-8.
pub(crate) fn put_bytes(object: &mut Object, key: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if std::str::from_utf8(bytes).is_err() {
        object.insert(format!("{key}_bytes"), hex(bytes).into());
    }
    object.insert(key.to_owned(), text.into());
}

/// Puts a list of names into `object` as `key`, and that of the bytes of all as `key_bytes` too where one is not UTF-8.
pub(crate) fn put_names<'a>(object: &mut Object, key: &str, names: impl Iterator<Item = &'a [u8]>) {
    let names: Vec<&[u8]> = names.collect();
    if names.iter().any(|name| std::str::from_utf8(name).is_err()) {
        object.insert(format!("{key}_bytes"), names.iter().map(|name| hex(name)).collect());
    }
    object.insert(key.to_owned(), names.into_iter().map(String::from_utf8_lossy).collect());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// [`put_bytes`] for a path below a root.
pub(crate) fn put_path(object: &mut Object, key: &str, path: &RelPath) {
    put_bytes(object, key, path.as_bytes());
}

/// [`put_bytes`] for a path as it was typed.
pub(crate) fn put_file(object: &mut Object, key: &str, path: &Path) {
    put_bytes(object, key, path.as_os_str().as_bytes());
}

/// One entry of an index.
pub(crate) fn entry(entry: &Entry) -> Value {
    let mut object = Object::new();
    put_path(&mut object, "path", &entry.path);
    put_node(&mut object, &entry.node);
    put_meta(&mut object, &entry.meta);
    object.into()
}

/// Puts the kind of a node into `object`, and what that kind has: size and digest, or target.
pub(crate) fn put_node(object: &mut Object, node: &Node) {
    object.insert("kind".into(), node.kind().into());
    match node {
        Node::File { len, digest } => {
            object.insert("size".into(), (*len).into());
            object.insert("blake3".into(), digest.to_string().into());
        }
        Node::Symlink { target } => put_bytes(object, "target", target),
        Node::HardLink { to } => put_path(object, "target", to),
        Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } => {
            object.insert("major".into(), (*major).into());
            object.insert("minor".into(), (*minor).into());
        }
        Node::Dir | Node::Fifo => {}
    }
}

/// Puts mode, owner and time into `object`, and the names of extended attributes if there are any.
pub(crate) fn put_meta(object: &mut Object, meta: &Meta) {
    object.insert("mode".into(), format!("{:04o}", meta.mode).into());
    object.insert("uid".into(), meta.uid.into());
    object.insert("gid".into(), meta.gid.into());
    object.insert("mtime".into(), json!({"secs": meta.mtime.secs, "nanos": meta.mtime.nanos}));
    if !meta.xattrs.is_empty() {
        put_names(object, "xattrs", meta.xattrs.iter().map(|(name, _)| name));
    }
}

/// Puts into `object` where a content comes from.
pub(crate) fn put_content(object: &mut Object, content: &Content) {
    let (word, from) = match content {
        Content::Keep => return,
        Content::Whole => ("whole", None),
        Content::Delta { base, .. } => ("delta", Some(("base", base))),
        Content::Copy { base } => ("copy", Some(("base", base))),
        Content::Same { path } => ("same", Some(("same_as", path))),
        Content::Tree { base, .. } => ("tree", Some(("base", base))),
    };
    object.insert("content".into(), word.into());
    if let Some((key, path)) = from {
        put_path(object, key, path);
    }
    if let Content::Tree { entries, .. } = content {
        object.insert("entries".into(), (*entries).into());
    }
}

/// What a scan could not take in as it should.
pub(crate) fn problems(problems: &[Problem]) -> Value {
    let problem = |problem: &Problem| {
        let kind = match problem.kind {
            ProblemKind::Unstable => "unstable",
            ProblemKind::Unsupported => "unsupported",
            ProblemKind::BitRot => "corrupt",
            ProblemKind::Exclude => "exclude",
            ProblemKind::Attributes => "attributes",
            ProblemKind::Changing => "changing",
            _ => "unreadable",
        };
        let mut object = object([("kind", kind.into()), ("detail", problem.detail.clone().into())]);
        put_path(&mut object, "path", &problem.path);
        if !problem.ranges.is_empty() {
            let ranges = problem.ranges.iter().map(|&(from, to)| json!([from, to]));
            object.insert("ranges".into(), ranges.collect());
        }
        Value::from(object)
    };
    problems.iter().map(problem).collect()
}

/// The document as one line of text, in which everything that a terminal would act on or not show is escaped.
pub(crate) fn text(document: &Value) -> serde_json::Result<String> {
    let mut bytes = Vec::new();
    document.serialize(&mut Serializer::with_formatter(&mut bytes, Shown))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// JSON without a blank, and without a hidden character.
struct Shown;

impl Formatter for Shown {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        for c in fragment.chars() {
            match is_hidden(c) {
                // JSON counts in units of 16 bits.
                true => c
                    .encode_utf16(&mut [0; 2])
                    .iter()
                    .try_for_each(|unit| write!(writer, "\\u{unit:04x}"))?,
                false => writer.write_all(c.encode_utf8(&mut [0; 4]).as_bytes())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_json_steers_a_terminal_and_none_says_another_name() {
        let names = [
            "a\u{1b}[2J\n\t",
            "c1\u{9b}31m\u{7f}",
            "\u{202e}gpj",
            "l\u{2028}s",
            "\u{e0041}",
            "é語",
            "\\u202e",
        ];
        let document = json!(names);
        let shown = text(&document).unwrap();
        assert!(!shown.chars().any(is_hidden), "{shown}");
        assert!(
            shown.contains("\\u202egpj")
                && shown.contains("\\udb40\\udc41")
                && shown.contains("é語"),
            "{shown}"
        );
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), document);
    }

    #[test]
    fn lists_of_names_lose_none() {
        let mut object = Object::new();
        put_names(&mut object, "xattrs", [b"user.a".as_slice(), b"\xff"].into_iter());
        put_names(&mut object, "paths", [b"a".as_slice()].into_iter());
        let wanted = json!({
            "xattrs": ["user.a", "\u{fffd}"], "xattrs_bytes": ["757365722e61", "ff"], "paths": ["a"]
        });
        assert_eq!(Value::from(object), wanted);
    }

    #[test]
    fn no_name_is_lost() {
        let mut object = Object::new();
        put_bytes(&mut object, "path", b"a\n\x1b");
        put_bytes(&mut object, "from", b"a\xff");
        assert_eq!(
            Value::from(object),
            json!({"path": "a\n\u{1b}", "from": "a\u{fffd}", "from_bytes": "61ff"})
        );
    }
}
