//! How far a stage is: bars on a terminal, lines in a log, silence in tests. Always stderr; stdout is for data.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::error::printable;

/// Where progress goes.
pub trait Progress: Send + Sync {
    /// A piece of work of `total` units begins.
    fn begin(&self, what: &str, total: u64) -> Box<dyn Meter>;
    /// One line worth keeping.
    fn say(&self, line: &str);
}

/// Progress of one piece of work; it ends when dropped.
pub trait Meter: Send + Sync {
    /// `n` more units are done.
    fn advance(&self, n: u64);
    /// A short remark beside the count, such as the loss.
    fn note(&self, text: &str);
}

/// Bars when stderr is a terminal, lines otherwise.
pub fn for_stderr() -> Box<dyn Progress> {
    if std::io::stderr().is_terminal() { Box::new(Bars) } else { Box::new(Lines) }
}

/// No progress at all.
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _what: &str, _total: u64) -> Box<dyn Meter> {
        Box::new(Silent)
    }
    fn say(&self, _line: &str) {}
}

impl Meter for Silent {
    fn advance(&self, _n: u64) {}
    fn note(&self, _text: &str) {}
}

struct Bars;

impl Progress for Bars {
    fn begin(&self, what: &str, total: u64) -> Box<dyn Meter> {
        let style = ProgressStyle::with_template("{prefix:>10} [{bar:30}] {pos}/{len} {per_sec} left {eta} {msg}")
            .expect("a constant template")
            .progress_chars("=> ");
        let bar = ProgressBar::new(total).with_style(style).with_prefix(what.to_string());
        bar.enable_steady_tick(Duration::from_millis(200));
        Box::new(bar)
    }
    fn say(&self, line: &str) {
        write_line(line);
    }
}

impl Meter for ProgressBar {
    fn advance(&self, n: u64) {
        self.inc(n);
    }
    fn note(&self, text: &str) {
        self.set_message(printable(text));
    }
}

/// A log that is read later wants few lines: one every ten seconds at most, and one at the end.
const LINE_EVERY: Duration = Duration::from_secs(10);

struct Lines;

struct LineMeter {
    what: String,
    total: u64,
    begun: Instant,
    state: Mutex<LineState>,
}

struct LineState {
    done: u64,
    note: String,
    last_line: Instant,
}

impl Progress for Lines {
    fn begin(&self, what: &str, total: u64) -> Box<dyn Meter> {
        let now = Instant::now();
        let state = Mutex::new(LineState { done: 0, note: String::new(), last_line: now });
        Box::new(LineMeter { what: what.into(), total, begun: now, state })
    }
    fn say(&self, line: &str) {
        write_line(line);
    }
}

impl LineMeter {
    fn line(&self, state: &LineState) {
        let seconds = self.begun.elapsed().as_secs_f64();
        let rate = state.done as f64 / seconds.max(1e-9);
        let left = (self.total.saturating_sub(state.done)) as f64 / rate.max(1e-9);
        let (what, done, total, note) = (&self.what, state.done, self.total, &state.note);
        write_line(&format!("{what}: {done}/{total}, {rate:.1}/s, {seconds:.0} s, {left:.0} s left {note}"));
    }
}

impl Meter for LineMeter {
    fn advance(&self, n: u64) {
        let mut state = self.state.lock().expect("no panic while progress is written");
        state.done += n;
        if state.last_line.elapsed() >= LINE_EVERY {
            state.last_line = Instant::now();
            self.line(&state);
        }
    }
    fn note(&self, text: &str) {
        self.state.lock().expect("no panic while progress is written").note = text.to_string();
    }
}

fn write_line(line: &str) {
    // Progress that cannot be written must not end the work: a closed stderr is ignored.
    let _ = writeln!(std::io::stderr().lock(), "{}", printable(line.trim_end()));
}
