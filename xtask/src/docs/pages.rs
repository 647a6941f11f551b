//! Reading the documents: their code blocks with what is said about running them, and the commands in their prose.
//!
//! A code block is fenced and names its language; one of `sh` is for a shell and is run, unless a comment right before it says why not:
//!
//! - `<!-- not run: REASON -->`: what it needs that a test does not have.
//! - `<!-- runs until: TEXT -->`: a server. It stays in the background until the page ends; the page goes on when it has printed TEXT.
//! - `<!-- prints: TEXT -->`: and what it prints has TEXT in it. May stand more than once.
//! - `<!-- ends with: CODE -->`: the exit code, where it is not 0.

use std::{fs, path::Path};

use crate::process::root;

/// What a comment before a block says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mark {
    NotRun(String),
    RunsUntil(String),
    Prints(String),
    EndsWith(i32),
}

/// A code block.
#[derive(Debug)]
pub(crate) struct Block {
    /// The line of its fence.
    pub(crate) line: usize,
    pub(crate) language: String,
    pub(crate) text: String,
    pub(crate) marks: Vec<Mark>,
}

/// A document, read.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) name: String,
    pub(crate) blocks: Vec<Block>,
    /// Code in the prose, with its line.
    pub(crate) spans: Vec<(usize, String)>,
}

/// What a fence may say.
const LANGUAGES: &[&str] = &["csv", "json", "python", "sh", "text", "toml", "yaml"];

/// Reads a document. Errors are about its form.
pub(crate) fn read(name: &Path) -> Result<Page, String> {
    let text = fs::read_to_string(root().join(name)).map_err(|error| format!("{}: {error}", name.display()))?;
    parse(&name.display().to_string(), &text)
}

fn parse(name: &str, text: &str) -> Result<Page, String> {
    let mut page = Page {
        name: name.to_owned(),
        blocks: Vec::new(),
        spans: Vec::new(),
    };
    let (mut marks, mut open): (Vec<Mark>, Option<Block>) = (Vec::new(), None);
    // Whether an indented line would be code: after an empty one, and not in a list.
    let (mut after_blank, mut in_list) = (true, false);
    for (number, line) in text.lines().enumerate() {
        let number = number + 1;
        let problem = |what: &str| Err(format!("{name}:{number}: {what}"));
        if let Some(mut block) = open.take() {
            if line.trim_start().starts_with("```") {
                page.blocks.push(block);
            } else {
                block.text += line;
                block.text.push('\n');
                open = Some(block);
            }
            continue;
        }
        if let Some(language) = line.trim_start().strip_prefix("```") {
            if !LANGUAGES.contains(&language) {
                return problem(&format!(
                    "a code block names its language, one of {}",
                    LANGUAGES.join(", ")
                ));
            }
            open = Some(Block {
                line: number,
                language: language.to_owned(),
                text: String::new(),
                marks: std::mem::take(&mut marks),
            });
            continue;
        }
        if let Some(comment) = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->")) {
            match mark(comment) {
                Some(Ok(mark)) => marks.push(mark),
                Some(Err(why)) => return problem(&why),
                None => {}
            }
            continue;
        }
        if !line.trim().is_empty() && !marks.is_empty() {
            return problem("what is said about a code block stands right before it");
        }
        if line.starts_with("    ") && after_blank && !in_list && !line.trim().is_empty() {
            return problem("an indented code block: fence it, and name its language");
        }
        after_blank = line.trim().is_empty();
        if !after_blank {
            let item = line.trim_start();
            let numbered = item
                .split_once(". ")
                .is_some_and(|(number, _)| number.parse::<u32>().is_ok());
            in_list =
                item.starts_with("- ") || item.starts_with("* ") || numbered || (in_list && line.starts_with(' '));
        }
        // Code is at the odd places.
        let spans = line.split('`').skip(1).step_by(2);
        page.spans.extend(spans.map(|span| (number, span.to_owned())));
    }
    match open {
        Some(block) => Err(format!("{name}:{}: the code block does not end", block.line)),
        None if !marks.is_empty() => Err(format!(
            "{name}: something is said about a code block that does not follow"
        )),
        None => Ok(page),
    }
}

/// What a comment says about the block after it; none when it is another comment.
fn mark(comment: &str) -> Option<Result<Mark, String>> {
    let (word, said) = comment.split_once(": ").unwrap_or((comment.trim_end_matches(':'), ""));
    let said = said.trim().to_owned();
    let mark = match word {
        "not run" => Mark::NotRun(said.clone()),
        "runs until" => Mark::RunsUntil(said.clone()),
        "prints" => Mark::Prints(said.clone()),
        "ends with" => match said.parse() {
            Ok(code) => Mark::EndsWith(code),
            Err(_) => return Some(Err("an exit code is a number".to_owned())),
        },
        _ => return None,
    };
    Some(if said.is_empty() {
        Err(format!("`{word}` says nothing"))
    } else {
        Ok(mark)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_with_what_is_said_about_them() {
        let text = "# A `b c`\n\n<!-- another -->\n<!-- not run: no EHR -->\n```sh\none\n\ntwo\n```\n\n- a\n\n    still the list\n\n```toml\na = 1\n```\n";
        let page = parse("a.md", text).unwrap();
        assert_eq!(page.spans, [(1, "b c".to_owned())]);
        assert_eq!(page.blocks.len(), 2);
        assert_eq!((page.blocks[0].line, page.blocks[0].text.as_str()), (5, "one\n\ntwo\n"));
        assert_eq!(page.blocks[0].marks, [Mark::NotRun("no EHR".to_owned())]);
        assert_eq!(page.blocks[1].language, "toml");
        assert!(page.blocks[1].marks.is_empty());
    }

    #[test]
    fn what_could_escape_is_refused() {
        for text in [
            "```\nls\n```\n",
            "```bash\nls\n```\n",
            "Say:\n\n    ls\n",
            "```sh\nls\n",
            "<!-- not run: why -->\nprose\n",
            "<!-- not run: why -->\n",
            "<!-- not run: -->\n```sh\nls\n```\n",
            "<!-- ends with: one -->\n```sh\nls\n```\n",
        ] {
            assert!(parse("a.md", text).is_err(), "{text}");
        }
    }
}
