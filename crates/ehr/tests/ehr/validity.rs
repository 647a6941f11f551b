//! What FHIR asks of a resource and validators do not check: that a narrative is the XHTML that FHIR allows (txt-1,
//! txt-2), and how contained resources, extensions and empty values stand. Applied to every golden draft. What
//! validators do check, `cargo xtask test` has them check.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use roxmltree::{Document, Node};
use serde_json::{Map, Value, json};
use skin_assist_ehr::LABEL;

use crate::golden::{self, HOSTILE, Standing};

const XHTML: &str = "http://www.w3.org/1999/xhtml";
const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// FHIR R4, Narrative, txt-1.
const ELEMENTS: &str = "a abbr acronym b big blockquote br caption cite code col colgroup dd dfn div dl dt em h1 h2 h3 \
    h4 h5 h6 hr i img li ol p pre q samp small span strong sub sup table tbody td tfoot th thead tr tt ul var";

/// FHIR R4, Narrative, txt-1.
const ATTRIBUTES: &str = "abbr accesskey align alt axis bgcolor border cellhalign cellpadding cellspacing cellvalign \
    char charoff charset cite class colspan compact coords dir frame headers height href hreflang hspace id lang \
    longdesc name nowrap rel rev rowspan rules scope shape span src start style summary tabindex title type valign \
    value vspace width";

/// What drafts make use of: all that every EHR shows alike.
const OURS: [&str; 4] = ["div", "p", "b", "br"];

fn is_of(list: &str, name: &str) -> bool {
    list.split_whitespace().any(|known| known == name)
}

/// Whether this is a `Narrative.div` as FHIR allows it.
fn check_narrative(div: &str) -> Result<(), String> {
    // A document type is refused by the parser, and so is every entity that XML does not know.
    let document = Document::parse(div).map_err(|error| format!("it is not well-formed: {error}"))?;
    if !div.starts_with("<div") || !div.ends_with("</div>") {
        return Err("there is something beside the div".into());
    }
    let root = document.root_element();
    if root.tag_name().name() != "div" {
        return Err("the root is not a div".into());
    }
    for node in document.descendants() {
        if node.is_pi() || node.is_comment() {
            return Err("it has a processing instruction or a comment".into());
        }
        if node.is_element() {
            check_element(node)?;
        }
    }
    let is_image = |node: Node<'_, '_>| node.has_tag_name("img") && node.has_attribute("src");
    let has_text = |node: Node<'_, '_>| node.is_text() && node.text().is_some_and(|text| !text.trim().is_empty());
    if document.descendants().any(|node| has_text(node) || is_image(node)) {
        Ok(())
    } else {
        Err("it has no content (txt-2)".into())
    }
}

fn check_element(node: Node<'_, '_>) -> Result<(), String> {
    let name = node.tag_name().name();
    if node.tag_name().namespace() != Some(XHTML) {
        return Err(format!("<{name}> is not in the namespace of XHTML"));
    }
    if !is_of(ELEMENTS, name) {
        return Err(format!("<{name}> is not allowed (txt-1)"));
    }
    for attribute in node.attributes() {
        let allowed = match attribute.namespace() {
            None => is_of(ATTRIBUTES, attribute.name()),
            Some(namespace) => namespace == XML && attribute.name() == "lang",
        };
        if !allowed {
            return Err(format!("{} of <{name}> is not allowed (txt-1)", attribute.name()));
        }
        let value = attribute.value().trim().to_ascii_lowercase();
        if matches!(attribute.name(), "href" | "src") && value.starts_with("javascript:") {
            return Err(format!("<{name}> has a script"));
        }
    }
    Ok(())
}

/// Everything that is wrong with a resource.
fn problems(resource: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(resource, "", &mut found);
    contained(resource, &mut found);
    let kind = resource["resourceType"].as_str().unwrap_or_default();
    if kind.is_empty() {
        found.push("it has no type".into());
    }
    if kind == "Composition" && resource.get("attester").is_some() {
        found.push("somebody attests what nobody has reviewed".into());
    }
    found
}

fn walk(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Null => found.push(format!("{path} is null")),
        Value::Array(items) => {
            if items.is_empty() {
                found.push(format!("{path} is an empty list"));
            }
            for (place, item) in items.iter().enumerate() {
                walk(item, &format!("{path}[{place}]"), found);
            }
        }
        Value::Object(fields) => {
            if fields.is_empty() {
                found.push(format!("{path} is an empty object"));
            }
            narrative_in(fields, path, found);
            for (name, field) in fields {
                if matches!(name.as_str(), "extension" | "modifierExtension") {
                    extensions(field, path, found);
                }
                walk(field, &format!("{path}.{name}"), found);
            }
        }
        Value::String(text) => {
            if text.trim().is_empty() {
                found.push(format!("{path} is an empty text"));
            }
            if text.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r')) {
                found.push(format!("{path} has a control character"));
            }
        }
        Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A Narrative is known by its div.
fn narrative_in(fields: &Map<String, Value>, path: &str, found: &mut Vec<String>) {
    let Some(div) = fields.get("div") else { return };
    match div.as_str().map(check_narrative) {
        Some(Ok(())) => {}
        Some(Err(problem)) => found.push(format!("{path}.div: {problem}")),
        None => found.push(format!("{path}.div is not a text")),
    }
}

/// ext-1: either parts or a value; and one value at most.
fn extensions(list: &Value, path: &str, found: &mut Vec<String>) {
    for extension in list.as_array().into_iter().flatten().filter_map(Value::as_object) {
        let values = extension.keys().filter(|name| name.starts_with("value")).count();
        if values + usize::from(extension.contains_key("extension")) != 1 {
            found.push(format!(
                "an extension of {path} has not either parts or a value (ext-1)"
            ));
        }
    }
}

/// dom-2 to dom-5: what is contained is referred to, contains nothing itself and has neither version nor labels; and
/// what is referred to inside is there.
fn contained(resource: &Value, found: &mut Vec<String>) {
    let mut named = Vec::new();
    // Those that refer to what they are in.
    let mut around = Vec::new();
    for inner in resource["contained"].as_array().into_iter().flatten() {
        match inner["id"].as_str() {
            Some(id) => named.push(format!("#{id}")),
            None => found.push("a contained resource has no id".into()),
        }
        if refers_to_container(inner) {
            around.push(named.len().saturating_sub(1));
        }
        let meta = &inner["meta"];
        if [inner, meta].iter().any(|value| {
            ["contained", "versionId", "lastUpdated", "security"]
                .iter()
                .any(|name| value.get(name).is_some())
        }) {
            found.push("a contained resource has what it must not have (dom-2, dom-4, dom-5)".into());
        }
    }
    let mut referred = Vec::new();
    references(resource, &mut referred);
    let inner: Vec<_> = referred.iter().filter(|reference| reference.starts_with('#')).collect();
    for (place, name) in named.iter().enumerate() {
        if !inner.contains(&name) && !around.contains(&place) {
            found.push(format!(
                "{name} is contained, and neither refers anything to it nor it to what it is in (dom-3)"
            ));
        }
    }
    for reference in inner {
        if *reference != "#" && !named.contains(reference) {
            found.push(format!("{reference} is referred to and not contained"));
        }
    }
}

fn refers_to_container(inner: &Value) -> bool {
    let mut referred = Vec::new();
    references(inner, &mut referred);
    referred.iter().any(|reference| reference == "#")
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Object(fields) => {
            found.extend(fields.get("reference").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|field| references(field, found));
        }
        _ => {}
    }
}

#[test]
fn every_golden_draft_keeps_to_what_validators_do_not_check() {
    let drafts = golden::drafts();
    for golden in &drafts {
        assert_eq!(problems(&golden.resource), [""; 0], "{}", golden.name);
    }
    for standing in [Standing::Valid, Standing::WithoutAuthor, Standing::WithoutSectionText] {
        assert!(drafts.iter().any(|golden| golden.standing == standing), "{standing:?}");
    }
}

/// The text of a node and all that is in it.
fn text_of(node: Node<'_, '_>) -> String {
    let texts = node.descendants().filter(Node::is_text);
    texts.filter_map(|inner| inner.text()).collect()
}

#[test]
fn every_narrative_has_only_what_every_ehr_shows_and_says_what_the_plain_text_says() {
    let mut seen = 0;
    for golden in golden::drafts() {
        for section in golden.resource["section"].as_array().into_iter().flatten() {
            let Some(div) = section["text"]["div"].as_str() else {
                continue;
            };
            let document = Document::parse(div).unwrap();
            for node in document.descendants().filter(Node::is_element) {
                assert!(OURS.contains(&node.tag_name().name()), "{}: {div}", golden.name);
                assert_eq!(node.attributes().count(), 0, "{}: {div}", golden.name);
            }
            let Some(plain) = section["code"]["text"].as_str() else {
                continue;
            };
            seen += 1;
            let shown = text_of(document.root());
            // Line breaks are elements in the one and characters in the other.
            assert_eq!(shown, plain.replace('\n', ""), "{}", golden.name);
            let direction = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            assert!(!shown.contains(direction), "{}", golden.name);
        }
    }
    assert!(seen > 0);
}

#[test]
fn every_note_is_one_document_of_its_type_and_says_who_wrote_it() {
    let mut seen = (0, 0);
    for golden in golden::drafts() {
        for content in golden.resource["content"].as_array().into_iter().flatten() {
            let data = content["attachment"]["data"].as_str().unwrap();
            let text = String::from_utf8(STANDARD.decode(data).unwrap()).unwrap();
            assert!(text.contains(LABEL), "{}", golden.name);
            if content["attachment"]["contentType"] == "application/xhtml+xml" {
                seen.0 += 1;
                let document = Document::parse(&text).unwrap();
                let root = document.root_element();
                assert_eq!(root.tag_name().name(), "html", "{}", golden.name);
                for node in root.descendants().filter(Node::is_element) {
                    let name = node.tag_name().name();
                    assert_eq!(node.tag_name().namespace(), Some(XHTML), "{}", golden.name);
                    assert!(
                        OURS.contains(&name) || is_of("html head title body", name),
                        "{}",
                        golden.name
                    );
                }
            } else {
                seen.1 += 1;
                assert!(
                    !text.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n')),
                    "{}",
                    golden.name
                );
            }
        }
    }
    assert!(seen.0 > 0 && seen.1 > 0, "{seen:?}");
}

#[test]
fn hostile_text_is_in_the_narrative_as_text() {
    let hostile = golden::drafts()
        .into_iter()
        .find(|golden| golden.name.contains(".both.hostile"))
        .unwrap();
    let div = hostile.resource["section"][0]["text"]["div"].as_str().unwrap();
    let document = Document::parse(div).unwrap();
    let paragraphs: Vec<String> = document
        .descendants()
        .filter(|node| node.has_tag_name((XHTML, "p")))
        .map(text_of)
        .collect();
    // Those in which nothing has to be left out.
    for text in [HOSTILE[0], HOSTILE[1], HOSTILE[2], HOSTILE[3], HOSTILE[8]] {
        assert!(paragraphs.iter().any(|paragraph| paragraph == text), "{text}");
    }
}

#[test]
fn a_narrative_that_fhir_does_not_allow_is_refused() {
    let div = |inner: &str| format!("<div xmlns=\"{XHTML}\">{inner}</div>");
    for right in [
        "<p>a<br/>b</p>",
        "<p title=\"t\" xml:lang=\"en\">a</p>",
        "<img src=\"a.png\"/>",
        "]]&gt; &#39;",
        "\u{1f9f4}",
    ] {
        assert_eq!(check_narrative(&div(right)), Ok(()), "{right}");
    }
    for wrong in [
        div(""),
        div(" \n "),
        div("<p></p>"),
        div("<p>a"),
        div("<p>a<br></p>"),
        div("<b><p>a</b></p>"),
        div("a & b"),
        div("a &nbsp; b"),
        div("a &copy; b"),
        div("a ]]> b"),
        div("a \u{8} b"),
        div("a &#8; b"),
        div("a \u{ffff} b"),
        div("<script>a</script>"),
        div("<form>a</form>"),
        div("<iframe src=\"x\">a</iframe>"),
        div("<P>a</P>"),
        div("<p onclick=\"x\">a</p>"),
        div("<p id=\"a\" id=\"b\">a</p>"),
        div("<p xmlns=\"urn:other\">a</p>"),
        div("<x:p xmlns:x=\"urn:other\">a</x:p>"),
        div("<a href=\" JavaScript:x\">a</a>"),
        div("<!-- a -->a"),
        div("<?a b?>a"),
        "<div><p>a</p></div>".to_owned(),
        format!("<p xmlns=\"{XHTML}\">a</p>"),
        format!("{}x", div("a")),
        format!(" {}", div("a")),
        format!("{}{}", div("a"), div("b")),
        format!("<?xml version=\"1.0\"?>{}", div("a")),
        format!("<!DOCTYPE div [<!ENTITY b \"c\">]>{}", div("&b;")),
        String::new(),
    ] {
        assert!(check_narrative(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_resource_that_breaks_an_unchecked_rule_is_refused() {
    let device = json!({ "resourceType": "Device", "id": "a" });
    let right = json!({ "resourceType": "Composition", "contained": [device], "author": [{ "reference": "#a" }],
        "extension": [{ "url": "u", "valueString": "x" }] });
    assert_eq!(problems(&right), [""; 0]);
    let mut provenance = right.clone();
    provenance["contained"] = json!([device, { "resourceType": "Provenance", "id": "b",
        "target": [{ "reference": "#" }], "agent": [{ "who": { "reference": "#a" } }] }]);
    assert_eq!(problems(&provenance), [""; 0]);
    let with = |name: &str, value: Value| {
        let mut changed = right.clone();
        changed[name] = value;
        changed
    };
    for wrong in [
        with("title", json!("")),
        with("title", json!("a\u{0}")),
        with("title", json!(null)),
        with("section", json!([])),
        with("section", json!([{}])),
        with("attester", json!([{ "mode": "personal" }])),
        with("author", json!([{ "reference": "Device/a" }])),
        with("author", json!([{ "reference": "#a" }, { "reference": "#b" }])),
        with("contained", json!([{ "resourceType": "Device" }])),
        with(
            "contained",
            json!([device, { "resourceType": "Provenance", "id": "b", "agent": [{ "who": { "reference": "#a" } }] }]),
        ),
        with(
            "contained",
            json!([device, { "resourceType": "Provenance", "id": "b", "target": [{ "reference": "#" }],
                "agent": [{ "who": { "reference": "#c" } }] }]),
        ),
        with(
            "contained",
            json!([{ "resourceType": "Device", "id": "a", "meta": { "security": [{ "code": "x" }] } }]),
        ),
        with("extension", json!([{ "url": "u" }])),
        with(
            "extension",
            json!([{ "url": "u", "valueString": "x", "valueDecimal": 1 }]),
        ),
        with("text", json!({ "status": "generated", "div": "<p>a</p>" })),
        with("text", json!({ "status": "generated", "div": 1 })),
    ] {
        assert!(!problems(&wrong).is_empty(), "{wrong}");
    }
}
