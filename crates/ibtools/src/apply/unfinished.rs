//! `apply --status` and `apply --abort`: what an interrupted apply left.

use std::path::Path;

use anyhow::Result;
use incremental_backups_tools::{Aborted, ApplyStatus, abort as abort_apply, apply_status};

use crate::Answer;
use crate::console::Console;
use crate::json::{object, put_file};

/// Says what an earlier apply left; yes, if nothing.
pub(super) fn status(dir: &Path, console: &mut Console) -> Result<Answer> {
    let status = apply_status(dir)?;
    let (word, text) = match status {
        ApplyStatus::Clean => ("clean", "no apply is unfinished here"),
        ApplyStatus::Running => ("running", "an apply is at work here"),
        ApplyStatus::Staged => (
            "staged",
            "an apply was interrupted before it changed anything: --abort clears away what it left, \
             and so does the next apply",
        ),
        ApplyStatus::Unfinished { .. } => (
            "unfinished",
            "an apply was interrupted while it changed the tree: apply its archive again to finish it, or \
             use --abort to undo it",
        ),
        ApplyStatus::RollingBack { .. } => (
            "rolling back",
            "undoing an apply was interrupted: --abort goes on with that, and so does the next apply",
        ),
        _ => ("unknown", "an apply is unfinished here"),
    };
    let mut document = object([("status", word.into())]);
    put_file(&mut document, "directory", dir);
    console.line(text)?;
    if let ApplyStatus::Unfinished { base, result } = status {
        document.insert("base".into(), base.to_string().into());
        let to = result.map(|result| result.to_string());
        document.insert("result".into(), to.clone().into());
        console.line(format_args!("from {base}"))?;
        let to = to.unwrap_or_else(|| "the new tree, less what was skipped".into());
        console.line(format_args!("to   {to}"))?;
    }
    console.document(document)?;
    Ok(if status == ApplyStatus::Clean { Answer::Yes } else { Answer::No })
}

/// Undoes what an earlier apply left unfinished.
pub(super) fn abort(dir: &Path, console: &mut Console) -> Result<Answer> {
    let (word, text) = match abort_apply(dir)? {
        Aborted::Nothing => ("nothing", "no apply is unfinished here"),
        Aborted::Cleared => {
            ("cleared", "what an interrupted apply left is gone; it had changed nothing")
        }
        _ => ("rolled back", "an interrupted apply is undone; the tree is as it was before it"),
    };
    let mut document = object([("aborted", word.into())]);
    put_file(&mut document, "directory", dir);
    console.document(document)?;
    console.line(text)?;
    Ok(Answer::Yes)
}
