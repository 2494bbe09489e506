//! What a person or a script gets to see: text or JSON on standard output; warnings, errors and
//! progress on standard error. Knows nothing of what is said.

use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Read, StdoutLock, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use incremental_backups_tools::{Progress, dirindex};
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::args::Global;
use crate::json;

/// Where the verbs say what they have to say.
pub(crate) struct Console {
    json: bool,
    quiet: bool,
    out: BufWriter<StdoutLock<'static>>,
    began: Instant,
    /// Whoever read standard output has gone (`ibtools show … | head`).
    unread: bool,
}

impl Console {
    pub(crate) fn new(global: &Global) -> Console {
        let out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
        Console {
            json: global.json,
            quiet: global.quiet,
            out,
            began: Instant::now(),
            unread: false,
        }
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

    /// Shows on a terminal, until the ticker is dropped, how far `progress` is. `total` is the
    /// number of bytes to come, if it is known.
    pub(crate) fn ticker(&self, doing: &'static str, total: Option<u64>) -> Ticker {
        let progress = Arc::new(Progress::default());
        let shown = !self.json && !self.quiet && io::stderr().is_terminal();
        let watcher = || {
            let (stop, stopped) = mpsc::channel();
            let watched = Arc::clone(&progress);
            let watch = move || {
                // A message wider than the terminal is cut.
                let style = ProgressStyle::with_template("{spinner} {wide_msg}");
                let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
                let bar = ProgressBar::new_spinner().with_style(style);
                while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                    bar.set_message(status(doing, &watched, total));
                    bar.tick();
                }
                bar.finish_and_clear();
            };
            // Where no thread is to be had the work goes on unseen.
            Some((stop, std::thread::Builder::new().spawn(watch).ok()?))
        };
        let thread = if shown { watcher() } else { None };
        Ticker { progress, thread }
    }
}

const TICK: Duration = Duration::from_millis(100);

fn status(doing: &str, progress: &Progress, total: Option<u64>) -> String {
    let mut text = doing.to_owned();
    if progress.items() > 0 {
        text.push_str(&format!(", {} entries", HumanCount(progress.items())));
    }
    text.push_str(&format!(", {}", HumanBytes(progress.bytes())));
    if let Some(total) = total.filter(|&total| total > 0) {
        let percent = u128::from(progress.bytes()) * 100 / u128::from(total);
        text.push_str(&format!(" of {} ({} %)", HumanBytes(total), percent.min(100)));
    }
    let in_hand = progress.in_hand();
    if !in_hand.is_empty() {
        text.push_str(": ");
        text.push_str(&dirindex::escape(&in_hand));
    }
    text
}

/// A line on the terminal that says how far the work is; gone when dropped.
pub(crate) struct Ticker {
    progress: Arc<Progress>,
    thread: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Ticker {
    /// The counters that are shown.
    pub(crate) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            // A panic in it has been reported by itself, and only the display is lost.
            drop(thread.join());
        }
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

/// Whether an argument stands for standard input or output.
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

    #[test]
    fn how_far_the_work_is() {
        let progress = Progress::default();
        assert_eq!(status("reading", &progress, None), "reading, 0 B");
        progress.add_bytes(3 << 20);
        assert_eq!(
            status("reading", &progress, Some(4 << 20)),
            "reading, 3.00 MiB of 4.00 MiB (75 %)"
        );
        progress.set_in_hand(b"dir/\x1b[2Jfile");
        assert_eq!(status("reading", &progress, Some(0)), "reading, 3.00 MiB: dir/\\0033[2Jfile");
    }
}
