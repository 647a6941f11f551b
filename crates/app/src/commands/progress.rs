//! Bars on standard error, where somebody looks at it: nothing is drawn where it is no terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar of so many things, with how fast they are done and how long it takes yet.
pub(crate) fn counted(things: &str, all: u64) -> ProgressBar {
    let bar = styled(
        ProgressBar::new(all),
        "[{bar:30}] {pos}/{len} {msg}, {per_sec}, {eta} left",
    );
    bar.with_message(things.to_owned())
}

/// A bar of 100 parts.
pub(crate) fn share(name: &str) -> ProgressBar {
    styled(ProgressBar::new(100), "{msg:<11} [{bar:30}] {percent:>3} %").with_message(name.to_owned())
}

/// Something that does not tell how far it is: that it goes on, and since when.
pub(crate) fn waiting(what: &str) -> ProgressBar {
    let bar = styled(ProgressBar::no_length(), "{spinner} {msg} ({elapsed})").with_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    // A template that is wrong leaves the library's own style.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style.progress_chars("##."))
}
