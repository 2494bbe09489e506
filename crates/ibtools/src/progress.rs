//! How far the work is, on standard error: a line on a terminal, lines for a log, or JSON. Must not know what is done.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use incremental_backups_tools::{Progress, Stage, Total, dirindex};
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};

use crate::args::Shown;
use crate::console::{complain, time};
use crate::json::{self, object, put_bytes};

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Nothing,
    /// A line that is drawn anew.
    Line,
    /// A line now and then.
    Log,
    /// The same as JSON, each second.
    Json,
}

impl Style {
    /// What `asked` means here; on its own only for who looks at a terminal, and is `silent` about nothing.
    pub(crate) fn of(asked: Shown, silent: bool) -> Style {
        match (asked, io::stderr().is_terminal()) {
            (Shown::Json, _) => Style::Json,
            (Shown::Text, false) => Style::Log,
            (Shown::Text, true) => Style::Line,
            (Shown::Auto, true) if !silent => Style::Line,
            (Shown::Auto | Shown::None, _) => Style::Nothing,
        }
    }

    fn tick(self) -> Duration {
        match self {
            Style::Nothing | Style::Line => Duration::from_millis(100),
            Style::Log => Duration::from_secs(10),
            Style::Json => Duration::from_secs(1),
        }
    }
}

/// Shows how far the work is until it is dropped.
pub(crate) struct Ticker {
    progress: Arc<Progress>,
    thread: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Ticker {
    /// Shows work that begins as `doing`, with `total` bytes to come if that is known.
    pub(crate) fn new(style: Style, doing: &'static str, total: Option<u64>) -> Ticker {
        let progress = Arc::new(Progress::default());
        progress.begin(doing, total.map(Total::Bytes));
        let watcher = || {
            let (stop, stopped) = mpsc::channel();
            let watched = Arc::clone(&progress);
            let watch = move || {
                // A message wider than the terminal is cut.
                let template = ProgressStyle::with_template("{spinner} {wide_msg}");
                let template = template.unwrap_or_else(|_| ProgressStyle::default_spinner());
                let bar =
                    (style == Style::Line).then(|| ProgressBar::new_spinner().with_style(template));
                let mut clock = Clock::new();
                while stopped.recv_timeout(style.tick()) == Err(RecvTimeoutError::Timeout) {
                    let now = clock.read(&watched);
                    match &bar {
                        Some(bar) => {
                            bar.set_message(now.text());
                            bar.tick();
                        }
                        None if style == Style::Json => say(&now.json()),
                        None => complain(&now.text()),
                    }
                }
                if let Some(bar) = bar {
                    bar.finish_and_clear();
                }
                if style == Style::Json {
                    say(&clock.read(&watched).json());
                }
            };
            // Where no thread is to be had the work goes on unseen.
            Some((stop, std::thread::Builder::new().spawn(watch).ok()?))
        };
        let thread = if style == Style::Nothing { None } else { watcher() };
        Ticker { progress, thread }
    }

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

/// A line of JSON on standard error. If that is closed, nobody listens.
fn say(document: &json::Object) {
    if let Ok(mut line) = json::text(&document.clone().into()) {
        line.push('\n');
        drop(io::stderr().lock().write_all(line.as_bytes()));
    }
}

/// Measures how long what is being done goes on.
struct Clock {
    began: Instant,
    doing: &'static str,
    since: Instant,
    /// How many bytes were counted before.
    before: u64,
}

impl Clock {
    fn new() -> Clock {
        let now = Instant::now();
        Clock { began: now, doing: "", since: now, before: 0 }
    }

    fn read(&mut self, progress: &Progress) -> Reading {
        let stage = progress.stage();
        if stage.doing != self.doing {
            (self.doing, self.since) = (stage.doing, Instant::now());
            self.before = progress.bytes().saturating_sub(stage.bytes);
        }
        // It may have several parts.
        let bytes = progress.bytes().saturating_sub(self.before);
        let (total, elapsed) = (self.began.elapsed(), self.since.elapsed());
        Reading { stage, bytes, current: progress.in_hand(), total, elapsed }
    }
}

/// How far the work is at a moment.
struct Reading {
    stage: Stage,
    /// How many bytes were counted since it is what it is now.
    bytes: u64,
    current: Vec<u8>,
    /// Since the work began.
    total: Duration,
    /// Since it is what it is now.
    elapsed: Duration,
}

/// What comes of the first moments says little of the rest.
const SETTLED: Duration = Duration::from_secs(2);

impl Reading {
    /// Never 100 before the end, which is the end of this display.
    fn percent(&self) -> Option<u32> {
        self.stage.fraction().map(|fraction| ((fraction * 100.0) as u32).min(99))
    }

    /// Bytes in a second.
    fn rate(&self) -> Option<u64> {
        let seconds = self.elapsed.as_secs_f64();
        (self.elapsed >= SETTLED && self.bytes > 0).then(|| (self.bytes as f64 / seconds) as u64)
    }

    fn left(&self) -> Option<Duration> {
        let done = self.stage.fraction().filter(|done| *done > 0.01 && *done < 1.0)?;
        let left = self.elapsed.as_secs_f64() * (1.0 - done) / done;
        (self.elapsed >= SETTLED).then(|| Duration::from_secs_f64(left))
    }

    /// What matters most comes first, since a narrow terminal cuts the rest.
    fn text(&self) -> String {
        let Stage { doing, bytes, items, total, .. } = self.stage;
        let percent = self.percent().map(|percent| format!(" {percent} %")).unwrap_or_default();
        let mut parts = vec![format!("{doing}{percent}")];
        parts.extend(self.left().map(|left| format!("{} left", whole(left))));
        parts.extend(self.rate().map(|rate| format!("{}/s", HumanBytes(rate))));
        match total {
            Some(Total::Bytes(total)) if bytes <= total => {
                parts.push(format!("{} of {}", HumanBytes(bytes), HumanBytes(total)));
            }
            Some(Total::Items(total)) if items <= total => {
                parts.push(format!("{} of {} entries", HumanCount(items), HumanCount(total)));
            }
            _ if items > 0 => {
                parts.push(format!("{} entries, {}", HumanCount(items), HumanBytes(bytes)))
            }
            _ => parts.push(HumanBytes(bytes).to_string()),
        }
        let mut text = parts.join(", ");
        if !self.current.is_empty() {
            text.push_str(": ");
            text.push_str(&dirindex::escape(&self.current));
        }
        text
    }

    fn json(&self) -> json::Object {
        let tenths = |duration: Duration| (duration.as_secs_f64() * 10.0).round() / 10.0;
        let (total_bytes, total_items) = match self.stage.total {
            Some(Total::Bytes(total)) => (Some(total), None),
            Some(Total::Items(total)) => (None, Some(total)),
            _ => (None, None),
        };
        let mut line = object([
            ("progress", self.stage.doing.into()),
            ("percent", self.percent().into()),
            ("bytes", self.stage.bytes.into()),
            ("total_bytes", total_bytes.into()),
            ("entries", self.stage.items.into()),
            ("total_entries", total_items.into()),
            ("bytes_per_second", self.rate().into()),
            ("seconds", tenths(self.total).into()),
            ("seconds_left", self.left().map(|left| left.as_secs()).into()),
        ]);
        put_bytes(&mut line, "current", &self.current);
        line
    }
}

/// A time that is guessed, to the second.
fn whole(left: Duration) -> String {
    match left.as_secs() {
        secs @ 0..=59 => format!("{secs} s"),
        secs => time(Duration::from_secs(secs)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(progress: &Progress, secs: u64) -> Reading {
        let elapsed = Duration::from_secs(secs);
        let (stage, current) = (progress.stage(), progress.in_hand());
        Reading { bytes: stage.bytes, stage, current, total: elapsed, elapsed }
    }

    #[test]
    fn how_far_the_work_is() {
        let progress = Progress::default();
        progress.begin("reading", None);
        assert_eq!(reading(&progress, 0).text(), "reading, 0 B");
        progress.begin("packing", Some(Total::Bytes(4 << 20)));
        progress.add_bytes(3 << 20);
        assert_eq!(reading(&progress, 1).text(), "packing 75 %, 3.00 MiB of 4.00 MiB");
        let settled = "packing 75 %, 1 s left, 1.00 MiB/s, 3.00 MiB of 4.00 MiB";
        assert_eq!(reading(&progress, 3).text(), settled);
        progress.set_in_hand(b"dir/\x1b[2Jfile");
        assert!(reading(&progress, 3).text().ends_with(": dir/\\0033[2Jfile"));
    }

    /// Promise: no total that was guessed too low makes more than 100 % of the work, and nothing is done before it is.
    #[test]
    fn never_more_than_there_is() {
        let progress = Progress::default();
        progress.begin("scanning", Some(Total::Items(2)));
        for _ in 0..5 {
            progress.add_item();
            assert!(reading(&progress, 9).percent().is_some_and(|percent| percent <= 99));
        }
        assert!(reading(&progress, 9).text().starts_with("scanning 99 %, "));
        progress.begin("nothing", Some(Total::Bytes(0)));
        assert_eq!(reading(&progress, 9).percent(), Some(99));
        assert_eq!(reading(&progress, 9).left(), None);
        // A part goes on where the one before it ended.
        progress.begin_part("verifying", Some(Total::Bytes(10)), 5, 5, 20);
        assert_eq!(reading(&progress, 9).percent(), Some(25));
        progress.add_bytes(20);
        assert_eq!(reading(&progress, 9).percent(), Some(50));
    }
}
