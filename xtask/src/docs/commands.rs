//! The commands that the documents name: those of cargo are looked up in the sources here, those of the program are put before its own
//! command line by [`super::check_commands`].

use std::{collections::BTreeSet, fs, path::Path};

use crate::{house, process::root};

/// A command in a document.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// `docs/page.md:12`.
    pub(crate) at: String,
    pub(crate) words: Vec<String>,
    /// In prose, where what has to follow may be left out.
    pub(crate) partial: bool,
}

/// Splits a shell's text into its simple commands, each without what it redirects and what is assigned for it.
pub(crate) fn split(text: &str) -> Vec<Vec<String>> {
    let mut commands: Vec<Vec<String>> = vec![Vec::new()];
    let (mut word, mut quote): (Option<String>, Option<char>) = (None, None);
    let mut redirected = false;
    let mut characters = text.chars().peekable();
    let end = |word: &mut Option<String>, commands: &mut Vec<Vec<String>>, redirected: &mut bool| {
        if let Some(word) = word.take()
            && !std::mem::take(redirected)
            && let Some(command) = commands.last_mut()
        {
            command.push(word);
        }
    };
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (None, '\'' | '"') => {
                word.get_or_insert_default();
                quote = Some(character);
            }
            (None, '\\') => match characters.next() {
                Some('\n') | None => {}
                Some(next) => word.get_or_insert_default().push(next),
            },
            // What another command prints is one word, whatever it is.
            (None, '$') if characters.peek() == Some(&'(') => {
                let mut depth = 0;
                for next in characters.by_ref() {
                    depth += i32::from(next == '(') - i32::from(next == ')');
                    if depth == 0 {
                        break;
                    }
                }
                word.get_or_insert_default().push_str("$()");
            }
            (None, '#') if word.is_none() => while characters.next_if(|next| *next != '\n').is_some() {},
            (None, '>' | '<') => {
                // The number in front of it is no argument.
                if word.as_deref().is_some_and(|word| word.parse::<u8>().is_ok()) {
                    word = None;
                }
                end(&mut word, &mut commands, &mut redirected);
                while characters.next_if(|next| matches!(next, '>' | '<' | '&')).is_some() {}
                redirected = true;
            }
            (None, '\n' | ';' | '|' | '&') => {
                end(&mut word, &mut commands, &mut redirected);
                commands.push(Vec::new());
            }
            (None, ' ' | '\t') => end(&mut word, &mut commands, &mut redirected),
            _ => word.get_or_insert_default().push(character),
        }
    }
    end(&mut word, &mut commands, &mut redirected);
    commands
        .into_iter()
        .map(without_preface)
        .filter(|command| !command.is_empty())
        .collect()
}

/// Without keywords of the shell, assignments and programs that run another one.
fn without_preface(mut command: Vec<String>) -> Vec<String> {
    let is_preface = |word: &String| {
        matches!(
            word.as_str(),
            "!" | "while" | "until" | "do" | "if" | "then" | "sudo" | "(" | ")" | "{" | "}"
        ) || word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty()
                && name
                    .chars()
                    .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        })
    };
    while command.first().is_some_and(is_preface) {
        command.remove(0);
    }
    command
}

/// What is wrong with a command of cargo.
pub(crate) fn problem(said: &Said, sources: &Sources) -> Option<String> {
    let words: Vec<&str> = said.words.iter().map(String::as_str).collect();
    let found = match words.as_slice() {
        ["cargo", "xtask", rest @ ..] => sources.xtask(rest),
        ["cargo", "nextest", "run", rest @ ..] => sources.tests(rest),
        ["cargo", "run" | "build" | "test" | "clippy", rest @ ..] => sources.targets(rest),
        ["cargo", "install", "--path", path, ..] | ["cargo", "install", "--locked", "--path", path, ..] => {
            (!root().join(path).join("Cargo.toml").is_file()).then(|| format!("there is no crate in {path}"))
        }
        _ => None,
    };
    found.map(|what| format!("{}: `{}`: {what}", said.at, said.words.join(" ")))
}

/// What the commands are looked up in.
pub(crate) struct Sources {
    /// Name of each package, with its folder.
    packages: Vec<(String, String)>,
    /// Path of each test, `folder/of/the/package` and `file::name`.
    tests: Vec<(String, String)>,
    /// The help of `cargo xtask`.
    help: &'static str,
}

impl Sources {
    /// Reads them.
    pub(crate) fn read(help: &'static str) -> Result<Self, String> {
        let (mut packages, mut tests) = (Vec::new(), Vec::new());
        for file in house::files()? {
            let Some(name) = file.to_str() else { continue };
            let text = || fs::read_to_string(root().join(&file)).unwrap_or_default();
            if let Some(folder) = name.strip_suffix("/Cargo.toml") {
                let text = text();
                let package = text.lines().find_map(|line| line.strip_prefix("name = "));
                packages.extend(package.map(|package| (package.trim_matches('"').to_owned(), folder.to_owned())));
            } else if let Some(path) = name.strip_suffix(".rs") {
                let path = path.replace('/', "::");
                tests.extend(names_of_tests(&text()).map(|test| (name.to_owned(), format!("{path}::{test}"))));
            }
        }
        Ok(Self { packages, tests, help })
    }

    /// Of `cargo xtask`: the command is one of the help, and so is each option.
    fn xtask(&self, words: &[&str]) -> Option<String> {
        // The program itself.
        let [command, arguments @ ..] = words else { return None };
        let mut about = String::new();
        let mut is_about_it = false;
        for line in self.help.lines() {
            if let Some(begin) = line.strip_prefix("  ").filter(|begin| !begin.starts_with(' ')) {
                is_about_it = begin.split_whitespace().next() == Some(command);
            }
            if is_about_it {
                about += line;
                about.push('\n');
            }
        }
        if about.is_empty() {
            return Some("there is no such command".to_owned());
        }
        let known: BTreeSet<&str> = about
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .filter(|word| word.starts_with("--"))
            .collect();
        let unknown = arguments
            .iter()
            .find(|word| word.starts_with("--") && !known.contains(*word));
        unknown.map(|word| format!("its help does not know {word}"))
    }

    /// Of `cargo nextest run`: packages, files and names select a test.
    fn tests(&self, words: &[&str]) -> Option<String> {
        let (mut folders, mut file, mut wanted) = (Vec::new(), None, Vec::new());
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "-p" | "--package" => match self.folder(words.next()?) {
                    Ok(folder) => folders.push(format!("{folder}/")),
                    Err(problem) => return Some(problem),
                },
                "--test" => file = words.next(),
                "--features" => _ = words.next(),
                "-E" => wanted.extend(filters(words.next()?)),
                "--workspace" | "--locked" => {}
                name if name.starts_with('-') => return Some(format!("{name} is not looked up here")),
                name => wanted.push(("test", name.to_owned())),
            }
        }
        let there = self.tests.iter().filter(|(path, _)| {
            let in_package = folders.is_empty() || folders.iter().any(|folder| path.starts_with(folder.as_str()));
            in_package && file.is_none_or(|file| is_of_binary(path, file))
        });
        let there: Vec<_> = there.collect();
        if there.is_empty() {
            return Some("there is no such file of tests".to_owned());
        }
        let missing = wanted.iter().find(|(kind, name)| {
            !there.iter().any(|(path, test)| match *kind {
                "binary" => is_of_binary(path, name),
                _ => test.contains(name.as_str()),
            })
        });
        missing.map(|(kind, name)| format!("it selects no {kind} by `{name}`"))
    }

    /// Of `cargo run` and its like: package, example, program.
    fn targets(&self, words: &[&str]) -> Option<String> {
        let mut folder = "crates/app".to_owned();
        for pair in words.windows(2) {
            match pair {
                ["-p" | "--package", package] => match self.folder(package) {
                    Ok(found) => found.clone_into(&mut folder),
                    Err(problem) => return Some(problem),
                },
                ["--example", example] if !root().join(&folder).join(format!("examples/{example}.rs")).is_file() => {
                    return Some(format!("{folder} has no example {example}"));
                }
                _ => {}
            }
        }
        None
    }

    fn folder(&self, package: &str) -> Result<&str, String> {
        let found = self.packages.iter().find(|(name, _)| name == package);
        found.map_or_else(
            || Err(format!("there is no package {package}")),
            |(_, folder)| Ok(folder.as_str()),
        )
    }
}

/// Whether a source is of the tests' binary: `tests/NAME.rs`, `tests/NAME/…`.
fn is_of_binary(path: &str, name: &str) -> bool {
    path.contains(&format!("/tests/{name}.rs")) || path.contains(&format!("/tests/{name}/"))
}

/// `test(a)` and `binary(b)` of a filter expression.
fn filters(expression: &str) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for kind in ["test", "binary"] {
        let begin = format!("{kind}(");
        let names = expression.split(&begin).skip(1).filter_map(|rest| rest.split_once(')'));
        found.extend(names.map(|(name, _)| (kind, name.to_owned())));
    }
    found
}

/// The functions after a line `#[test]`, `#[tokio::test]` and their like.
fn names_of_tests(text: &str) -> impl Iterator<Item = &str> {
    let mut is_test = false;
    text.lines().map(str::trim).filter_map(move |line| {
        if line.starts_with("#[test]") || (line.starts_with("#[") && line.contains("::test")) {
            is_test = true;
            return None;
        }
        let name = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn "))?;
        std::mem::take(&mut is_test).then(|| name.split(['(', '<']).next().unwrap_or_default())
    })
}

/// The commands of a page: those in blocks of the shell, and those in its prose that begin with one of these programs.
pub(crate) fn of_page(page: &super::pages::Page) -> Vec<Said> {
    let mut said = Vec::new();
    for block in page.blocks.iter().filter(|block| block.language == "sh") {
        said.extend(split(&block.text).into_iter().map(|words| Said {
            at: format!("{}:{}", page.name, block.line),
            words,
            partial: false,
        }));
    }
    for (line, span) in &page.spans {
        said.extend(split(span).into_iter().map(|words| Said {
            at: format!("{}:{line}", page.name),
            words,
            partial: true,
        }));
    }
    said.retain(|said| matches!(said.words[0].as_str(), "skin-assist" | "cargo") && said.words.len() > 1);
    said
}

/// A command of the program as its command line may take it: placeholders are filled in, `[…]` and `…` are left out. `None` for what is
/// left out means that it is not whole.
pub(crate) fn filled_in(said: &Said) -> (Vec<String>, bool) {
    let mut partial = said.partial;
    let mut words = Vec::new();
    for word in &said.words {
        if matches!(word.as_str(), "…" | "...") {
            partial = true;
            continue;
        }
        let word = word.trim_matches(['[', ']']);
        let is_placeholder = word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        words.push(if is_placeholder {
            "1".to_owned()
        } else {
            word.to_owned()
        });
    }
    (words, partial)
}

/// Whether the file is one whose commands are checked: not what tells of the past.
pub(crate) fn is_checked(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "md")
        && file != Path::new("CHANGELOG.md")
        && !file.starts_with("docs/adr")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Said {
        Said {
            at: "a.md:1".to_owned(),
            words: split(text).remove(0),
            partial: false,
        }
    }

    #[test]
    fn a_shells_text_is_split_into_commands() {
        let text = "A=1 skin-assist 'two words' \\\n  --last \"x y\" > out 2>err # why\ncd a && until b | c; do sleep 1; done\nd $(e f)-g <h i";
        let expected: [&[&str]; 7] = [
            &["skin-assist", "two words", "--last", "x y"],
            &["cd", "a"],
            &["b"],
            &["c"],
            &["sleep", "1"],
            &["done"],
            &["d", "$()-g", "i"],
        ];
        assert_eq!(split(text), expected);
    }

    #[test]
    fn commands_of_cargo_are_looked_up() {
        let sources = Sources {
            packages: vec![("skin-assist".to_owned(), "crates/app".to_owned())],
            tests: vec![(
                "crates/app/tests/keys.rs".to_owned(),
                "crates::app::tests::keys::a_key_is_changed".to_owned(),
            )],
            help: "  fuzz [TARGET] [--seconds N]\n           Build.\n  bench polling [--quick]\n",
        };
        for good in [
            "cargo xtask fuzz jpeg --seconds 9",
            "cargo xtask bench polling --quick",
            "cargo nextest run -p skin-assist --test keys",
            "cargo nextest run -p skin-assist key_is",
            "cargo nextest run -p skin-assist -E 'test(key_is) + binary(keys)'",
            "cargo deny check",
        ] {
            assert_eq!(problem(&said(good), &sources), None);
        }
        for bad in [
            "cargo xtask fuzzy",
            "cargo xtask fuzz --quick",
            "cargo nextest run -p skin-assists",
            "cargo nextest run -p skin-assist --test key",
            "cargo nextest run -p skin-assist a_lock",
            "cargo nextest run -p skin-assist -E 'test(key_is) + binary(locks)'",
            "cargo run -p skin-assist --example nothing",
            "cargo install --path crates/nothing",
        ] {
            assert!(problem(&said(bad), &sources).is_some(), "{bad}");
        }
    }

    #[test]
    fn placeholders_are_filled_in() {
        let (words, partial) = filled_in(&said("skin-assist restore FILE [--replace] ..."));
        assert_eq!(
            (words.join(" "), partial),
            ("skin-assist restore 1 --replace".to_owned(), true)
        );
    }

    #[test]
    fn tests_are_found_in_sources() {
        let text = "#[test]\nfn a() {\n}\nfn b() {}\n#[tokio::test(flavor = \"x\")]\n// Why.\nasync fn c() {}\n";
        assert_eq!(names_of_tests(text).collect::<Vec<_>>(), ["a", "c"]);
    }
}
