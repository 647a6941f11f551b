//! Running the documents' code blocks as a reader would: page by page, one block after the other, in a folder of the page's own where the
//! program is on the path. What one block exports the next one has.

use std::{
    fs::{self, File},
    os::unix::{fs::symlink, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::pages::{Block, Mark, Page};
use crate::{
    pinned::empty,
    process::{program, root},
};

/// A block that takes longer is stopped, and has failed.
const PATIENCE: Duration = Duration::from_secs(300);

/// How often it is looked whether a block has ended, or a server printed what it was to print.
const LOOK: Duration = Duration::from_millis(50);

/// Folders of the sources that a reader has at hand.
const AT_HAND: &[&str] = &["models", "deploy"];

/// What came of a page.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) run: usize,
    pub(crate) not_run: usize,
    pub(crate) problems: Vec<String>,
}

/// Runs the blocks of a page. `programs` is the folder that has the program. After a block that fails the rest of the page is left out.
pub(crate) fn page(page: &Page, programs: &Path) -> Result<Outcome, String> {
    let blocks: Vec<&Block> = page.blocks.iter().filter(|block| block.language == "sh").collect();
    let mut outcome = Outcome::default();
    let is_run = |block: &&Block| !block.marks.iter().any(|mark| matches!(mark, Mark::NotRun(_)));
    let to_run: Vec<&Block> = blocks.iter().copied().filter(is_run).collect();
    outcome.not_run = blocks.len() - to_run.len();
    if to_run.is_empty() {
        return Ok(outcome);
    }
    let home = root()
        .join("target/docs")
        .join(page.name.replace('/', "-").trim_end_matches(".md"));
    let folder = home.join("folder");
    // With what an earlier reader exported and left.
    empty(&home)?;
    empty(&folder)?;
    for name in AT_HAND {
        symlink(root().join(name), folder.join(name)).map_err(|error| format!("{name} cannot be linked: {error}"))?;
    }
    let mut reader = Reader {
        home,
        folder,
        programs: programs.to_owned(),
        servers: Vec::new(),
    };
    for block in to_run {
        if let Err(problem) = reader.block(block) {
            outcome
                .problems
                .push(format!("{}:{}: {problem}", page.name, block.line));
            break;
        }
        outcome.run += 1;
    }
    Ok(outcome)
}

/// Who reads a page and types what it says.
struct Reader {
    /// What is kept about the page.
    home: PathBuf,
    /// Where the reader is.
    folder: PathBuf,
    programs: PathBuf,
    servers: Vec<Child>,
}

impl Reader {
    fn block(&mut self, block: &Block) -> Result<(), String> {
        let printed = self.home.join(format!("printed-{}", block.line));
        let mut child = self.start(&block.text, &printed)?;
        let until = block.marks.iter().find_map(|mark| match mark {
            Mark::RunsUntil(text) => Some(text),
            _ => None,
        });
        let began = Instant::now();
        let text = || {
            fs::read(&printed)
                .map(|text| String::from_utf8_lossy(&text).into_owned())
                .unwrap_or_default()
        };
        let code = loop {
            if let Ok(Some(status)) = child.try_wait() {
                break status.code();
            }
            if until.is_some_and(|until| text().contains(until.as_str())) {
                self.servers.push(child);
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                stop(&mut child);
                return Err(format!("it has not ended after {} s\n{}", PATIENCE.as_secs(), text()));
            }
            thread::sleep(LOOK);
        };
        if let Some(until) = until {
            return Err(format!("it ended, and never printed `{until}`\n{}", text()));
        }
        let expected = block.marks.iter().find_map(|mark| match mark {
            Mark::EndsWith(code) => Some(*code),
            _ => None,
        });
        let expected = expected.unwrap_or(0);
        if code != Some(expected) {
            return Err(format!("exit code {code:?} instead of {expected}\n{}", text()));
        }
        for mark in &block.marks {
            if let Mark::Prints(wanted) = mark
                && !text().contains(wanted.as_str())
            {
                return Err(format!("it does not print `{wanted}`\n{}", text()));
            }
        }
        Ok(())
    }

    /// Starts a block in a process group of its own.
    fn start(&self, text: &str, printed: &Path) -> Result<Child, String> {
        let open = |error| format!("{} cannot be written: {error}", printed.display());
        let output = File::create(printed).map_err(open)?;
        let errors = output.try_clone().map_err(open)?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(self.programs.clone()).chain(std::env::split_paths(&path));
        let path = std::env::join_paths(path).map_err(|error| format!("PATH: {error}"))?;
        let script = format!(
            "set -euo pipefail\nif [ -f \"$HOME/exported\" ]; then . \"$HOME/exported\"; fi\n\
             trap 'export -p > \"$HOME/exported\"' EXIT\n{text}"
        );
        let mut command = Command::new("bash");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SKIN_ASSIST_") {
                command.env_remove(name);
            }
        }
        command
            .args(["-c", &script])
            .current_dir(&self.folder)
            .env("PATH", path)
            .env("HOME", &self.home)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(|error| format!("bash cannot be started: {error}"))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        for server in &mut self.servers {
            stop(server);
        }
    }
}

/// Ends a block with all that it started: as a service manager would, and after ten seconds for good.
fn stop(child: &mut Child) {
    let group = format!("-{}", child.id());
    let signal = |name: &str| {
        // It may have ended by itself meanwhile.
        _ = program("kill")
            .args([name, "--", &group])
            .stderr(Stdio::null())
            .status();
    };
    signal("-TERM");
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(10) && matches!(child.try_wait(), Ok(None)) {
        thread::sleep(LOOK);
    }
    signal("-KILL");
    _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, blocks: &[(&str, &[Mark])]) -> Outcome {
        let block = |(line, (text, marks)): (usize, &(&str, &[Mark]))| Block {
            line,
            language: "sh".to_owned(),
            text: (*text).to_owned(),
            marks: marks.to_vec(),
        };
        let blocks = blocks.iter().enumerate().map(block).collect();
        let of = Page {
            name: name.to_owned(),
            blocks,
            spans: Vec::new(),
        };
        page(&of, Path::new("/bin")).unwrap()
    }

    #[test]
    fn blocks_are_run_one_after_the_other_as_one_reader_would() {
        let outcome = run(
            "test-of-blocks.md",
            &[
                ("export SAID=yes\necho here > file", &[]),
                ("echo never; exit 9", &[Mark::NotRun("why".to_owned())]),
                (
                    "echo \"$SAID $(cat file)\"; exit 3",
                    &[Mark::Prints("yes here".to_owned()), Mark::EndsWith(3)],
                ),
                ("echo ready; sleep 100", &[Mark::RunsUntil("ready".to_owned())]),
                ("ls models >/dev/null", &[]),
            ],
        );
        assert_eq!(outcome.problems, Vec::<String>::new());
        assert_eq!((outcome.run, outcome.not_run), (4, 1));
    }

    #[test]
    fn a_block_that_does_not_do_what_it_says_fails() {
        let bad: [(&str, &[Mark]); 5] = [
            ("false", &[]),
            ("false | true", &[]),
            ("echo a", &[Mark::Prints("b".to_owned())]),
            ("echo a", &[Mark::RunsUntil("b".to_owned())]),
            ("true", &[Mark::EndsWith(1)]),
        ];
        for block in bad {
            let outcome = run("test-of-failing-blocks.md", &[block, ("true", &[])]);
            assert_eq!((outcome.run, outcome.problems.len()), (0, 1), "{block:?}");
        }
    }
}
