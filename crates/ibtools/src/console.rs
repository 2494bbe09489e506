//! What a person or a script gets to see: text or JSON on standard output; warnings, errors and
//! how far the work is on standard error. Knows nothing of what is said.

use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, Read, StdoutLock, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use incremental_backups_tools::dirindex;
use indicatif::HumanCount;
use serde_json::Value;

use crate::args::Global;
use crate::json::{self, Object};
use crate::progress::{Style, Ticker};

/// Where the verbs say what they have to say.
pub(crate) struct Console {
    json: bool,
    quiet: bool,
    out: BufWriter<StdoutLock<'static>>,
    style: Style,
    began: Instant,
    /// Whoever read standard output has gone (`ibtools show … | head`).
    unread: bool,
}

impl Console {
    pub(crate) fn new(global: &Global) -> Console {
        let out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
        let Global { json, quiet, progress, .. } = *global;
        let style = Style::of(progress, json || quiet);
        Console { json, quiet, style, out, began: Instant::now(), unread: false }
    }

    /// How long the verb has been at work, in seconds with one decimal.
    pub(crate) fn seconds(&self) -> f64 {
        (self.began.elapsed().as_secs_f64() * 10.0).round() / 10.0
    }

    /// The same in words.
    pub(crate) fn took(&self) -> String {
        time(self.began.elapsed())
    }

    /// Whether the answer is to be a JSON document.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// Prints a line of text, unless JSON was asked for, or silence.
    pub(crate) fn line(&mut self, text: impl Display) -> Result<()> {
        if self.json || self.quiet { Ok(()) } else { self.print(text) }
    }

    /// Prints the one document that JSON output consists of.
    pub(crate) fn document(&mut self, document: impl Into<Value>) -> Result<()> {
        if !self.json {
            return Ok(());
        }
        let text = json::text(&document.into()).context("cannot write the document")?;
        self.print(text)
    }

    /// Prints a document with one more field, a list that may be long: each of its rows is made when it is printed. Where one cannot be
    /// made, what was printed is no document.
    pub(crate) fn document_with_rows(
        &mut self,
        document: Object,
        name: &str,
        rows: impl Iterator<Item = Result<Value>>,
    ) -> Result<()> {
        if !self.json {
            return Ok(());
        }
        let mut failed = None;
        let write = |out: &mut dyn Write| {
            write!(out, "{{{}:[", json::text(&name.into())?)?;
            let mut comma = "";
            for row in rows {
                let Ok(row) = row.map_err(|error| failed = Some(error)) else { return Ok(()) };
                write!(out, "{comma}{}", json::text(&row)?)?;
                comma = ",";
            }
            let rest = json::text(&document.into())?;
            match rest.strip_prefix('{') {
                None | Some("}") => writeln!(out, "]}}"),
                Some(rest) => writeln!(out, "],{rest}"),
            }
        };
        let printed = if self.unread { Ok(()) } else { write(&mut self.out) };
        self.unless_unread(printed)?;
        failed.map_or(Ok(()), Err)
    }

    fn print(&mut self, text: impl Display) -> Result<()> {
        let printed = if self.unread { Ok(()) } else { writeln!(self.out, "{text}") };
        self.unless_unread(printed)
    }

    /// Prints all that comes out of `content`, whatever was asked for.
    pub(crate) fn copy(&mut self, content: &mut dyn Read) -> Result<()> {
        let mut buffer = vec![0; 256 << 10];
        while !self.unread {
            let read = content.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            let written = self.out.write_all(buffer.get(..read).unwrap_or_default());
            self.unless_unread(written)?;
        }
        Ok(())
    }

    fn unless_unread(&mut self, done: io::Result<()>) -> Result<()> {
        match done {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.unread = true,
            other => other.context("cannot write to standard output")?,
        }
        Ok(())
    }

    /// Hands over what was printed so far.
    pub(crate) fn flush(&mut self) -> Result<()> {
        let flushed = if self.unread { Ok(()) } else { self.out.flush() };
        self.unless_unread(flushed)
    }

    /// Hands over everything printed.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.flush()
    }

    /// Says on standard error what the verb could not do as it should.
    pub(crate) fn warn(&self, text: impl Display) {
        complain(&format!("warning: {text}"));
    }

    /// Shows, until the ticker is dropped, how far the work is that begins as `doing`. `total` is the number of bytes to
    /// come, if it is known.
    pub(crate) fn ticker(&self, doing: &'static str, total: Option<u64>) -> Ticker {
        Ticker::new(self.style, doing, total)
    }
}

/// Reports a failure in one line: every cause, joined. Says nothing when the reader of standard
/// output has gone, who does not want to know.
pub(crate) fn report(error: &anyhow::Error) {
    let gone = |cause: &io::Error| cause.kind() == ErrorKind::BrokenPipe;
    if error.chain().any(|cause| cause.downcast_ref().is_some_and(gone)) {
        return;
    }
    complain(&in_words(error.as_ref()));
}

/// An error with its causes, in one line.
pub(crate) fn in_words(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(wording).collect::<Vec<_>>().join(": ")
}

/// A cause in words: the system's without its number, and without the names of temporary files.
fn wording(cause: &(dyn std::error::Error + 'static)) -> String {
    let text = cause.to_string();
    match text.split_once(" (os error ") {
        Some((words, _)) if cause.is::<io::Error>() => words.to_owned(),
        _ => text,
    }
}

/// One line on standard error, whatever the text has in it. If that is closed, nobody listens.
pub(crate) fn complain(text: &str) {
    let mut line = String::from("ibtools: ");
    for c in text.chars() {
        if dirindex::is_hidden(c) { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line.push('\n');
    drop(io::stderr().lock().write_all(line.as_bytes()));
}

/// A path as it was typed, fit for a terminal.
pub(crate) fn shown(path: impl AsRef<Path>) -> String {
    dirindex::escape(path.as_ref().as_os_str().as_bytes())
}

/// `1 snapshot`, `2 snapshots`
pub(crate) fn number_of(count: usize, what: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{} {what}{ending}", HumanCount(count as u64))
}

/// `0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`
pub(crate) fn time(duration: Duration) -> String {
    let secs = duration.as_secs();
    match (secs / 3600, secs / 60 % 60, secs % 60) {
        (0, 0, 0..=9) => format!("{:.1} s", duration.as_secs_f64()),
        (0, 0, secs) => format!("{secs} s"),
        (0, mins, secs) => format!("{mins} min {secs} s"),
        (hours, mins, _) => format!("{hours} h {mins} min"),
    }
}

/// Whether an argument means standard input or output.
pub(crate) fn is_dash(path: &Path) -> bool {
    path.as_os_str() == OsStr::new("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_lose_their_numbers() {
        let error = io::Error::from_raw_os_error(2);
        assert_eq!(wording(&error), "No such file or directory");
        let named = tempfile::tempfile_in("/proc/self/none").unwrap_err();
        assert_eq!(wording(&named), "No such file or directory");
        assert_eq!(wording(&io::Error::other("no luck (yet)")), "no luck (yet)");
    }
}
