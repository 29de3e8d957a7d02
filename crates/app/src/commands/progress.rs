//! Shows the progress of long work: a bar on a terminal, else a line for each tenth.

use std::io::{IsTerminal as _, Write as _};

use indicatif::{ProgressBar, ProgressStyle};

/// Shows progress on the standard error stream. Progress is a courtesy: the work goes on when nobody can read it.
pub(super) struct ProgressOutput {
    /// What is counted.
    unit: &'static str,
    bar: Option<ProgressBar>,
    tenths: u64,
}

impl ProgressOutput {
    pub(super) fn new(unit: &'static str) -> Self {
        Self { unit, bar: None, tenths: 0 }
    }

    /// Begins a step, and ends the one before.
    pub(super) fn begin(&mut self, step: &str) {
        self.end();
        let _ = writeln!(std::io::stderr(), "{step}");
    }

    /// Ends a step.
    pub(super) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.tenths = 0;
    }

    /// Shows how much of the step is done.
    pub(super) fn show(&mut self, done: u64, total: u64) {
        let mut stderr = std::io::stderr();
        if stderr.is_terminal() {
            let bar = self.bar.get_or_insert_with(|| {
                let style = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} {eta}");
                ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            });
            bar.set_position(done);
            return;
        }
        let tenths = (done * 10).checked_div(total).unwrap_or(10);
        if tenths > self.tenths {
            self.tenths = tenths;
            let _ = writeln!(stderr, "{done} of {total} {}", self.unit);
        }
    }
}
