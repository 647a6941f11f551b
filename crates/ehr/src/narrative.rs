//! The text of a draft, once as plain lines and once as the XHTML of a FHIR Narrative.
//!
//! FHIR allows a narrative only some elements and wants its own namespace on the div; EHRs differ in what they do with
//! the rest, so only `p`, `b` and `br` are used, and everything that comes from outside is escaped.

/// A paragraph of a section's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Block {
    /// A heading: a line of its own, preceded by an empty one.
    Heading(String),
    /// A paragraph; its line breaks are kept.
    Paragraph(String),
}

impl Block {
    pub(crate) fn heading(text: &str) -> Self {
        Self::Heading(clean(text))
    }

    pub(crate) fn paragraph(text: &str) -> Self {
        Self::Paragraph(clean(text))
    }

    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Heading(text) | Self::Paragraph(text) => text,
        }
    }
}

/// Without what FHIR's `string` and XML do not allow (control characters, non-characters), and without the marks that
/// change the direction of text, which could make a draft read as it is not written.
fn clean(text: &str) -> String {
    let kept = text.replace("\r\n", "\n").replace('\r', "\n");
    let allowed = |c: char| match c {
        '\n' | '\t' => true,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}' => false,
        _ => !c.is_control(),
    };
    kept.chars()
        .filter(|c| allowed(*c))
        .collect::<String>()
        .trim()
        .to_owned()
}

/// Plain lines.
pub(crate) fn plain(blocks: &[Block]) -> String {
    let mut text = String::new();
    for block in blocks.iter().filter(|block| !block.text().is_empty()) {
        if !text.is_empty() {
            text.push_str(if matches!(block, Block::Heading(_)) {
                "\n\n"
            } else {
                "\n"
            });
        }
        text.push_str(block.text());
    }
    text
}

/// `Narrative.div`.
pub(crate) fn xhtml(blocks: &[Block]) -> String {
    let mut div = String::from("<div xmlns=\"http://www.w3.org/1999/xhtml\">");
    push_blocks(&mut div, blocks);
    div.push_str("</div>");
    div
}

/// A whole XHTML page.
pub(crate) fn page(title: &str, blocks: &[Block]) -> String {
    let mut page = String::from("<html xmlns=\"http://www.w3.org/1999/xhtml\"><head><title>");
    push_escaped(&mut page, title);
    page.push_str("</title></head><body>");
    push_blocks(&mut page, blocks);
    page.push_str("</body></html>");
    page
}

fn push_blocks(markup: &mut String, blocks: &[Block]) {
    for block in blocks.iter().filter(|block| !block.text().is_empty()) {
        let (open, close) = match block {
            Block::Heading(_) => ("<p><b>", "</b></p>"),
            Block::Paragraph(_) => ("<p>", "</p>"),
        };
        markup.push_str(open);
        push_escaped(markup, block.text());
        markup.push_str(close);
    }
}

fn push_escaped(markup: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => markup.push_str("&amp;"),
            '<' => markup.push_str("&lt;"),
            '>' => markup.push_str("&gt;"),
            '"' => markup.push_str("&quot;"),
            '\'' => markup.push_str("&#39;"),
            '\n' => markup.push_str("<br/>"),
            c => markup.push(c),
        }
    }
}

/// A check that common validators leave out: the div is well-formed XML, carries the namespace, has only elements that
/// FHIR allows (R4, Narrative), no attributes but the namespace, and some text.
#[cfg(test)]
pub(crate) fn check(div: &str) -> Result<(), String> {
    const ALLOWED: [&str; 5] = ["div", "p", "b", "br", "i"];
    let rest = div
        .strip_prefix("<div xmlns=\"http://www.w3.org/1999/xhtml\">")
        .ok_or("no div with the namespace")?;
    let mut open = vec!["div"];
    let mut rest = rest;
    let mut has_text = false;
    while !open.is_empty() {
        let (text, markup) = rest.split_once('<').ok_or("an element is not closed")?;
        check_text(text)?;
        has_text |= !text.trim().is_empty();
        let (tag, after) = markup.split_once('>').ok_or("a tag is not closed")?;
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name) {
                return Err(format!("</{name}> closes nothing"));
            }
        } else {
            let name = tag.strip_suffix('/').unwrap_or(tag);
            if !ALLOWED.contains(&name) {
                return Err(format!("<{tag}> is not allowed"));
            }
            if name == tag {
                open.push(name);
            }
        }
    }
    match (rest, has_text) {
        ("", true) => Ok(()),
        ("", false) => Err("there is no text (txt-2)".into()),
        _ => Err("there is something after the div".into()),
    }
}

#[cfg(test)]
fn check_text(text: &str) -> Result<(), String> {
    const ENTITIES: [&str; 5] = ["amp;", "lt;", "gt;", "quot;", "#39;"];
    if text.contains('>') || text.chars().any(|c| c.is_control() && c != '\t' && c != '\n') {
        return Err(format!("{text:?} has a character that has to be escaped or left out"));
    }
    let unknown = |after: &str| !ENTITIES.iter().any(|entity| after.starts_with(entity));
    match text.split('&').skip(1).find(|after| unknown(after)) {
        Some(after) => Err(format!("&{after} is no entity of XML")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_text() {
        let text = "<script>alert('x')</script> & \"more\" ]]> &nbsp;\u{0}\u{8}\u{202e}\r\nnext\u{ffff}";
        let blocks = [
            Block::heading("a < b"),
            Block::paragraph(text),
            Block::paragraph("\u{7}"),
        ];
        let div = xhtml(&blocks);
        check(&div).unwrap();
        assert_eq!(
            div,
            "<div xmlns=\"http://www.w3.org/1999/xhtml\"><p><b>a &lt; b</b></p><p>&lt;script&gt;alert(&#39;x&#39;)\
             &lt;/script&gt; &amp; &quot;more&quot; ]]&gt; &amp;nbsp;<br/>next</p></div>"
        );
        assert_eq!(
            plain(&blocks),
            "a < b\n<script>alert('x')</script> & \"more\" ]]> &nbsp;\nnext"
        );
    }

    #[test]
    fn the_check_finds_what_is_wrong() {
        let div = |inner: &str| format!("<div xmlns=\"http://www.w3.org/1999/xhtml\">{inner}</div>");
        check(&div("<p>a<br/>b</p>")).unwrap();
        for wrong in [
            "<div><p>a</p></div>".to_owned(),
            div(""),
            div("<p></p>"),
            div("<p>a"),
            div("a</p>"),
            div("<p>a<br></p>"),
            div("<script>a</script>"),
            div("<p onclick=\"x\">a</p>"),
            div("<img src=\"x\"/>a"),
            div("a &nbsp; b"),
            div("a & b"),
            div("a \u{8} b"),
            format!("{}x", div("a")),
        ] {
            assert!(check(&wrong).is_err(), "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_makes_a_narrative(heading in ".*", paragraph in "(?s).*") {
            let blocks = [Block::heading(&heading), Block::paragraph(&paragraph), Block::paragraph("end")];
            let outcome = check(&xhtml(&blocks));
            proptest::prop_assert_eq!(outcome, Ok(()));
        }
    }
}
