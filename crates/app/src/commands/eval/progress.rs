//! A bar on standard error, where somebody looks at it.

use std::io::{IsTerminal as _, Write as _};

use skin_assist_core::time::{Clock as _, Timestamp};

use crate::clock::SystemClock;

const WIDTH: usize = 30;
/// The bar is drawn anew at most so often, in milliseconds.
const PAUSE_MS: u64 = 100;

/// How far it is.
pub(super) struct Progress {
    all: usize,
    /// Done by an earlier run.
    before: usize,
    done: usize,
    began: Timestamp,
    drawn: Timestamp,
    is_shown: bool,
}

impl Progress {
    /// `open` photos are to come, `before` were done earlier.
    pub(super) fn begin(open: usize, before: usize) -> Self {
        let now = SystemClock.now();
        let progress = Self {
            all: open + before,
            before,
            done: 0,
            began: now,
            drawn: now,
            is_shown: std::io::stderr().is_terminal(),
        };
        progress.draw();
        progress
    }

    /// One more.
    pub(super) fn step(&mut self) {
        self.done += 1;
        let now = SystemClock.now();
        if now.since(self.drawn).as_millis() >= u128::from(PAUSE_MS) || self.before + self.done == self.all {
            self.drawn = now;
            self.draw();
        }
    }

    /// The bar is left as it is.
    pub(super) fn end(self) {
        if self.is_shown {
            _ = writeln!(std::io::stderr());
        }
    }

    fn draw(&self) {
        if !self.is_shown {
            return;
        }
        let count = self.before + self.done;
        let filled = (WIDTH * count).checked_div(self.all).unwrap_or(WIDTH);
        let seconds = SystemClock.now().since(self.began).as_secs_f64();
        let rate = self.done as f64 / seconds.max(0.001);
        let left = (self.all - count) as f64 / rate.max(0.001);
        let pace = if self.done > 0 {
            format!("  {rate:.1} photos/s, {left:.0} s left   ")
        } else {
            String::new()
        };
        // Nobody misses a bar that cannot be drawn.
        _ = write!(
            std::io::stderr(),
            "\r[{}{}] {count}/{}{pace}",
            "#".repeat(filled),
            ".".repeat(WIDTH - filled),
            self.all
        );
    }
}
