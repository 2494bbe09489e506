//! What is said of paths that were skipped, since something was in the way.

use incremental_backups_tools::{Applied, Unapplied};
use indicatif::HumanCount;
use serde_json::Value;

use crate::Answer;
use crate::console::Console;
use crate::json::{Object, put_path};

/// Paths named in warnings; JSON has all.
const SHOWN: usize = 32;

/// Warns of what was skipped: no, if anything was.
pub(crate) fn answer(applied: &Applied, console: &Console) -> Answer {
    let skipped = &applied.unapplied;
    for Unapplied { path, why, .. } in skipped.iter().take(SHOWN) {
        console.warn(format_args!("{path} is skipped: {why}"));
    }
    match skipped.len().saturating_sub(SHOWN) as u64 {
        0 => {}
        more => console.warn(format_args!("{} more paths are skipped", HumanCount(more))),
    }
    if skipped.is_empty() { Answer::Yes } else { Answer::No }
}

/// All of it for a JSON document.
pub(crate) fn document(skipped: &[Unapplied]) -> Value {
    let row = |it: &Unapplied| {
        let mut row = Object::new();
        put_path(&mut row, "path", &it.path);
        row.insert("why".into(), it.why.clone().into());
        Value::from(row)
    };
    skipped.iter().map(row).collect()
}
