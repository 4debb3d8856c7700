//! A progress bar on stderr, if that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The bar of one command.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar for so many files; invisible when stderr is no terminal or there is little to do.
    pub(crate) fn new(total: usize) -> Self {
        let target = if total < 2 { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(total as u64), target);
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed}").expect("a valid template");
        bar.set_style(style);
        Self(bar)
    }

    /// So many are finished.
    pub(crate) fn finished(&self, count: usize) {
        self.0.set_position(count as u64);
    }

    /// Prints without tearing the bar.
    pub(crate) fn print(&self, print: impl FnOnce()) {
        self.0.suspend(print);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
