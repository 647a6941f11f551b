//! The book's table of contents, `docs/SUMMARY.md`: every page is in it, once, and it names no page that is not there.

use std::{collections::BTreeMap, path::Path, process::Command, time::Duration};

use crate::{
    house,
    process::{root, succeeds},
    steps::Steps,
};

/// The table, as mdBook reads it.
const SUMMARY: &str = "docs/SUMMARY.md";

/// Checks it.
pub(crate) fn check() -> Result<(), String> {
    let summary =
        std::fs::read_to_string(root().join(SUMMARY)).map_err(|error| format!("{SUMMARY} cannot be read: {error}"))?;
    let files = house::files()?;
    let pages = files.iter().filter_map(|file| page(file)).collect::<Vec<_>>();
    let problems = problems(&summary, &pages);
    if problems.is_empty() {
        println!("{} pages are in the book", pages.len());
        Ok(())
    } else {
        Err(problems.join("\n"))
    }
}

/// The book as a website, where mdBook is installed.
pub(crate) fn website(steps: &mut Steps) {
    let mdbook = || Command::new("mdbook");
    if succeeds(mdbook().arg("--version"), Duration::from_secs(20)) {
        steps.step("the book as a website", || {
            let built = mdbook().arg("build").current_dir(root()).output();
            let built = built.map_err(|error| error.to_string())?;
            let said = String::from_utf8_lossy(&built.stderr);
            let complains = said.lines().any(|line| line.contains("WARN") || line.contains("ERROR"));
            if built.status.success() && !complains {
                Ok(())
            } else {
                Err(said.into_owned())
            }
        });
    } else {
        steps.not_run("the book as a website (mdBook is not installed: `cargo install mdbook --locked`)");
    }
}

/// A file's path below `docs`, if it is a page of the book.
fn page(file: &Path) -> Option<&str> {
    let is_page = file.extension().is_some_and(|extension| extension == "md");
    let page = file.strip_prefix("docs").ok()?.to_str()?;
    (is_page && page != "SUMMARY.md").then_some(page)
}

fn problems(summary: &str, pages: &[&str]) -> Vec<String> {
    let mut named: BTreeMap<&str, usize> = BTreeMap::new();
    let mut problems = Vec::new();
    for (number, line) in summary.lines().enumerate() {
        for (target, _) in line.split("](").skip(1).filter_map(|rest| rest.split_once(')')) {
            *named.entry(target).or_default() += 1;
            if !pages.contains(&target) {
                problems.push(format!("{SUMMARY}:{}: there is no page {target}", number + 1));
            }
        }
    }
    for page in pages {
        match named.get(page) {
            Some(1) => {}
            None => problems.push(format!("{SUMMARY}: docs/{page} is missing")),
            Some(times) => problems.push(format!("{SUMMARY}: docs/{page} is in it {times} times")),
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_is_in_the_book_once() {
        let pages = ["a.md", "adr/b.md"];
        let found = |summary: &str| problems(summary, &pages).len();
        assert_eq!(found("# Summary\n- [A](a.md)\n  - [B](adr/b.md)\n"), 0);
        assert_eq!(found("- [A](a.md)\n"), 1);
        assert_eq!(found("- [A](a.md)\n- [B](adr/b.md)\n- [C](c.md)\n"), 1);
        assert_eq!(found("- [A](a.md)\n- [B](adr/b.md)\n- [A](a.md)\n"), 1);
        assert_eq!(page(Path::new("docs/SUMMARY.md")), None);
        assert_eq!(page(Path::new("README.md")), None);
    }
}
