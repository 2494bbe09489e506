//! What is said of metadata that a directory's file system did not take.

use std::path::Path;

use incremental_backups_tools::{Losses, Unkept, dirindex::escape};
use indicatif::HumanCount;
use serde_json::Value;

use crate::console::{Console, shown};
use crate::json::{Object, object, put_bytes, put_path};

/// Attributes named in warnings; JSON has more.
const ATTRIBUTES_SHOWN: usize = 8;

/// Warns of it: of each attribute, up to a number; of owners, modes and times once, since where one is lost
/// most are.
pub(crate) fn warn(unkept: &Unkept, dir: &Path, console: &Console) {
    let dir = shown(dir);
    let attributes = &unkept.attributes;
    for loss in attributes.named.iter().take(ATTRIBUTES_SHOWN) {
        let (name, path, detail) = (escape(&loss.attribute), &loss.path, &loss.detail);
        console.warn(format_args!("attribute {name} of {path} is not restored: {detail}"));
    }
    match attributes.count.saturating_sub(ATTRIBUTES_SHOWN as u64) {
        0 => {}
        more => console.warn(format_args!("{} more attributes are not restored", HumanCount(more))),
    }
    for (losses, what) in
        [(&unkept.owners, "owner"), (&unkept.modes, "mode"), (&unkept.times, "time")]
    {
        let Some(first) = losses.named.first() else { continue };
        let (path, detail) = (&first.path, &first.detail);
        console.warn(match losses.count {
            1 => format!("{dir} cannot hold the {what} of {path}: {detail}"),
            n => format!(
                "{dir} cannot hold the {what}s of {} paths, as of {path}: {detail}",
                HumanCount(n)
            ),
        });
    }
}

/// All of it for a JSON document.
pub(crate) fn document(unkept: &Unkept) -> Value {
    object([
        ("attributes", losses(&unkept.attributes)),
        ("owners", losses(&unkept.owners)),
        ("modes", losses(&unkept.modes)),
        ("times", losses(&unkept.times)),
    ])
    .into()
}

fn losses(losses: &Losses) -> Value {
    let named = losses.named.iter().map(|loss| {
        let mut named = Object::new();
        put_path(&mut named, "path", &loss.path);
        if !loss.attribute.is_empty() {
            put_bytes(&mut named, "attribute", &loss.attribute);
        }
        named.insert("detail".into(), loss.detail.clone().into());
        Value::from(named)
    });
    object([("count", losses.count.into()), ("named", named.collect())]).into()
}
