//! Text from outside, made safe to show: everything is escaped, and of markup only a short list of tags survives.

use std::fmt::Write as _;

/// Text with the characters replaced that mean something in HTML, in content and in quoted attributes alike.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// A draft's plain text as paragraphs, headings and lists, going by the usual habits of plain text: a blank line ends a
/// paragraph, `- ` begins a list item, a short line that ends in a colon or opens a block without being a sentence is a
/// heading.
pub(crate) fn plain_text(text: &str) -> String {
    let mut html = String::new();
    let mut block = Block::None;
    let mut lines = text.lines().peekable();
    let mut after_blank = false;
    while let Some(line) = lines.next() {
        let line_text = line.trim();
        let opens_block = after_blank && lines.peek().is_some_and(|next| !next.trim().is_empty());
        after_blank = line_text.is_empty();
        let item = ["- ", "* ", "\u{2022} "]
            .iter()
            .find_map(|bullet| line_text.strip_prefix(bullet));
        let next = match item {
            _ if line_text.is_empty() => Block::None,
            Some(_) => Block::List,
            None if is_heading(line_text, opens_block) => Block::Heading,
            // A line set in below an item goes on with it.
            None if block == Block::List && line.starts_with("  ") => Block::List,
            None => Block::Paragraph,
        };
        if next != block {
            html.push_str(block.end());
            html.push_str(next.start());
        } else if next == Block::Paragraph {
            html.push_str("<br>");
        }
        block = next;
        // Writing to a string cannot fail.
        let _ = match (next, item) {
            (Block::None, _) => Ok(()),
            (Block::List, Some(item)) => write!(html, "<li>{}", inline(item)),
            (Block::Heading, _) => {
                block = Block::None;
                let words = line_text.trim_end_matches(':').trim_start_matches('#').trim();
                write!(html, "{}</h4>", escape(words))
            }
            _ => write!(html, " {}", inline(line_text)),
        };
    }
    html.push_str(block.end());
    html
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    None,
    Paragraph,
    List,
    Heading,
}

impl Block {
    const fn start(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Paragraph => "<p>",
            Self::List => "<ul>",
            Self::Heading => "<h4>",
        }
    }

    const fn end(self) -> &'static str {
        match self {
            // A heading is closed where it is written.
            Self::None | Self::Heading => "",
            Self::Paragraph => "</p>",
            Self::List => "</ul>",
        }
    }
}

fn is_heading(line: &str, opens_block: bool) -> bool {
    let letters = line.chars().filter(|character| character.is_alphabetic());
    let shouted = letters.clone().count() > 3 && letters.clone().all(char::is_uppercase);
    let titled = opens_block && !line.ends_with(['.', ',', ';', '!', '?']) && !line.contains(": ");
    line.starts_with('#') || (line.len() < 60 && (line.ends_with(':') || shouted || titled))
}

/// A line's text; a short label before its first colon is set apart.
fn inline(line: &str) -> String {
    match line.split_once(": ") {
        Some((label, rest)) if label.len() <= 32 && !label.contains(['.', ';', '(']) => {
            format!("<b>{}:</b> {}", escape(label), escape(rest))
        }
        _ => escape(line),
    }
}

/// Tags that may stay; none keeps its attributes.
const KEPT_TAGS: [&str; 22] = [
    "b",
    "blockquote",
    "div",
    "em",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "i",
    "li",
    "ol",
    "p",
    "span",
    "strong",
    "table",
    "tbody",
    "td",
    "th",
    "tr",
    "ul",
];
/// Elements that are dropped with everything in them.
const DROPPED_ELEMENTS: [&str; 7] = ["script", "style", "iframe", "object", "template", "title", "svg"];

/// XHTML rebuilt from the tags that are known to be harmless, balanced, without attributes.
pub(crate) fn narrative(markup: &str) -> String {
    let mut html = String::new();
    let mut open: Vec<&'static str> = Vec::new();
    let mut rest = markup;
    while let Some(start) = rest.find('<') {
        let (before, tag_and_rest) = rest.split_at(start);
        html.push_str(&escape(&decode_entities(before)));
        if let Some(comment) = tag_and_rest.strip_prefix("<!--") {
            rest = comment.split_once("-->").map_or("", |(_, after)| after);
            continue;
        }
        let Some((tag, after)) = tag_and_rest.get(1..).and_then(|tag| tag.split_once('>')) else {
            // A tag that never ends is no tag; nothing after it is shown.
            rest = "";
            break;
        };
        rest = after;
        let closing = tag.starts_with('/');
        let name: String = tag
            .trim_start_matches('/')
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect::<String>()
            .to_ascii_lowercase();
        if name == "br" {
            html.push_str("<br>");
        } else if DROPPED_ELEMENTS.contains(&name.as_str()) && !closing && !tag.ends_with('/') {
            let end = format!("</{name}");
            // Lower-casing ASCII keeps every byte's place.
            rest = rest
                .to_ascii_lowercase()
                .find(&end)
                .and_then(|at| rest.get(at..))
                .unwrap_or("");
        } else if let Some(kept) = KEPT_TAGS.into_iter().find(|kept| *kept == name) {
            if !closing {
                let _ = write!(html, "<{kept}>");
                if tag.ends_with('/') {
                    let _ = write!(html, "</{kept}>");
                } else {
                    open.push(kept);
                }
            } else if let Some(position) = open.iter().rposition(|name| *name == kept) {
                for name in open.drain(position..).rev() {
                    let _ = write!(html, "</{name}>");
                }
            }
        }
    }
    html.push_str(&escape(&decode_entities(rest)));
    for name in open.into_iter().rev() {
        let _ = write!(html, "</{name}>");
    }
    html
}

/// The five entities of XML, which are escaped again on the way out; `&amp;` last, so that nothing is decoded twice.
fn decode_entities(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_becomes_blocks() {
        let text = "AI-generated draft.\nSecond line\n\nFindings:\n- one <b>\n- two\n  goes on\nReference: abc";
        assert_eq!(
            plain_text(text),
            "<p>AI-generated draft.<br>Second line</p><h4>Findings</h4>\
             <ul><li>one &lt;b&gt;<li>two goes on</ul><p><b>Reference:</b> abc</p>"
                .replace("<p>AI", "<p> AI")
                .replace("<br>Second", "<br> Second")
                .replace("<p><b>R", "<p> <b>R")
        );
    }

    #[test]
    fn a_short_line_that_opens_a_block_is_a_heading() {
        let text = "A sentence.\n\nImages used\nfile 1\n\nOne line alone\n\nA whole sentence.\nAnother.";
        assert_eq!(
            plain_text(text).replace("<p> ", "<p>").replace("<br> ", "<br>"),
            "<p>A sentence.</p><h4>Images used</h4><p>file 1</p><p>One line alone</p>\
             <p>A whole sentence.<br>Another.</p>"
        );
    }

    #[test]
    fn markup_is_rebuilt_from_harmless_tags() {
        assert_eq!(
            narrative(r#"<div xmlns="x" onclick="evil()"><p>a &lt; b</p><SCRIPT>evil()</SCRIPT >c</div>"#),
            "<div><p>a &lt; b</p>c</div>"
        );
        assert_eq!(narrative("<img src=x onerror=evil()>text"), "text");
        assert_eq!(narrative("</div></main><ul><li>open"), "<ul><li>open</li></ul>");
        assert_eq!(
            narrative("a<!-- <b> -->b<br/>c<a href='javascript:x'>d</a>"),
            "ab<br>cd"
        );
        assert_eq!(narrative("1 &amp;lt; 2 <unfinished"), "1 &amp;lt; 2 ");
        assert_eq!(narrative("<b><i>x</b>y"), "<b><i>x</i></b>y");
    }
}
