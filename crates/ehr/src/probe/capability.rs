//! What the EHR says about itself, and what of it the calls contradict.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde_json::Value;
use skin_assist_core::ports::StateError;

use super::{
    asking::{Asker, Effect, Got},
    codes,
    documents::Documents,
    encounters::Encounters,
    report::{Notes, Verdict, nothing},
};
use crate::{profile::DraftTarget, view::View};

/// The resources that matter here.
const RESOURCES: [&str; 5] = ["Encounter", "DocumentReference", "Composition", "Patient", "Binary"];

/// A CapabilityStatement, as far as it matters.
#[derive(Debug, Default)]
pub(super) struct Statement {
    resources: BTreeMap<&'static str, Claims>,
    batch: bool,
}

#[derive(Debug, Default)]
struct Claims {
    interactions: BTreeSet<String>,
    parameters: BTreeSet<String>,
    conditional_create: Option<bool>,
}

/// Asks for it. None where it does not come; `Err` inside: the EHR is not there at all.
pub(super) async fn probe(
    asker: &mut Asker<'_>,
    notes: &mut Notes,
) -> Result<Result<Option<Statement>, &'static str>, StateError> {
    let url = asker.service.collection("metadata");
    let got = asker.get(&url, "metadata".to_owned()).await?;
    let nobody_there = asker.latency().is_none();
    let (seen, verdict, statement) = match got {
        Got::NoAnswer(why) if nobody_there => return Ok(Err(why)),
        Got::NoAnswer(why) => (format!("not known: {why}"), Verdict::NotKnown, None),
        Got::Refused(status) => (format!("there is none ({status})"), Verdict::Notice, None),
        Got::It(body) if View::of(&body).get("resourceType").is("CapabilityStatement") => {
            let statement = read(&body);
            (described(&body, &statement), Verdict::Well, Some(statement))
        }
        Got::It(_) => ("what came is no CapabilityStatement".to_owned(), Verdict::Notice, None),
    };
    notes.find(codes::STATEMENT, verdict, seen, asker.take_evidence());
    Ok(Ok(statement))
}

fn read(body: &Value) -> Statement {
    let mut statement = Statement::default();
    for rest in View::of(body).each("rest") {
        statement.batch |= rest
            .each("interaction")
            .any(|interaction| interaction.get("code").is("batch"));
        for resource in rest.each("resource") {
            let Some(name) = RESOURCES.into_iter().find(|name| resource.get("type").is(name)) else {
                continue;
            };
            let claims = statement.resources.entry(name).or_default();
            let words = |key, field| {
                resource
                    .each(key)
                    .filter_map(move |item| item.text(field).filter(|text| is_word(text)))
                    .map(std::borrow::Cow::into_owned)
            };
            claims.interactions.extend(words("interaction", "code"));
            claims.parameters.extend(words("searchParam", "name"));
            if let Some(Value::Bool(claimed)) = resource.value("conditionalCreate") {
                claims.conditional_create = Some(*claimed);
            }
        }
    }
    statement
}

/// A name of FHIR's, and nothing that somebody typed in its place.
fn is_word(text: &str) -> bool {
    (1..=40).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_:".contains(c))
}

fn described(body: &Value, statement: &Statement) -> String {
    let view = View::of(body);
    let short = |text: Option<std::borrow::Cow<'_, str>>| {
        let text = text.unwrap_or_default();
        text.chars()
            .filter(|c| c.is_ascii_graphic() || *c == ' ')
            .take(60)
            .collect::<String>()
    };
    let version = short(view.text("fhirVersion"));
    let software = [
        short(view.get("software").text("name")),
        short(view.get("software").text("version")),
    ];
    let mut text = format!("FHIR {version}, {}", software.join(" ").trim());
    for name in RESOURCES {
        let Some(claims) = statement.resources.get(name) else {
            _ = write!(text, "; {name}: not listed");
            continue;
        };
        let join = |words: &BTreeSet<String>| words.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        _ = write!(text, "; {name}: {}", join(&claims.interactions));
        if !claims.parameters.is_empty() {
            _ = write!(text, " (by {})", join(&claims.parameters));
        }
        if claims.conditional_create == Some(true) {
            text.push_str(", conditional create");
        }
    }
    if statement.batch {
        text.push_str("; batch");
    }
    text
}

/// What the calls showed of one search.
struct Tried<'a> {
    resource: &'static str,
    parameter: &'static str,
    effect: Option<&'a Effect>,
}

/// Compares what is said with what was seen, and, where nothing can be tried without writing, with the profile.
pub(super) fn conclude(
    notes: &mut Notes,
    statement: &Statement,
    encounters: &Encounters,
    documents: &Documents,
    draft: Option<(&'static str, &Effect)>,
) {
    let search = |resource, parameter, effect| Tried {
        resource,
        parameter,
        effect,
    };
    let mut tried = vec![
        search("Encounter", "_lastUpdated", encounters.by_change.as_ref()),
        search("Encounter", "date", encounters.by_date.as_ref()),
        search("DocumentReference", "patient", documents.by_patient.as_ref()),
        search("DocumentReference", "encounter", documents.by_encounter.as_ref()),
        search("DocumentReference", "_lastUpdated", documents.by_change.as_ref()),
    ];
    tried.extend(draft.map(|(resource, effect)| search(resource, "identifier", Some(effect))));
    let mut lies = Vec::new();
    for Tried {
        resource,
        parameter,
        effect,
    } in tried
    {
        let (Some(claims), Some(effect)) = (statement.resources.get(resource), effect) else {
            continue;
        };
        // Refused for what was left out, not for what was asked.
        let lacks_scope = documents.needs_scope && resource == "DocumentReference";
        let lacks_scope = lacks_scope && !matches!(parameter, "patient" | "encounter");
        match (claims.parameters.contains(parameter), effect) {
            (true, Effect::Refused(_)) if lacks_scope => {}
            (true, effect) if effect.fails() => {
                lies.push(format!(
                    "it lists {resource} by {parameter}, and the EHR {}",
                    effect.says()
                ));
            }
            (false, Effect::Filters) => lies.push(format!("it does not list {resource} by {parameter}, which works")),
            _ => {}
        }
    }
    match (statement.batch, &documents.batch) {
        (true, Some(effect)) if effect.fails() => lies.push(format!("it lists batch, and the EHR {}", effect.says())),
        (false, Some(Effect::Filters)) => lies.push("it does not list batch, which works".to_owned()),
        _ => {}
    }
    let (verdict, seen) = if lies.is_empty() {
        (Verdict::Well, "no call contradicts it".to_owned())
    } else {
        (Verdict::Notice, lies.join("; "))
    };
    notes.find(codes::CONTRADICTED, verdict, seen, Vec::new());
    drafts(notes, statement);
}

/// Writing is not tried, so the EHR's word is all there is.
fn drafts(notes: &mut Notes, statement: &Statement) {
    let rules = notes.profile().draft.clone();
    let resource = match rules.target {
        DraftTarget::Composition => "Composition",
        DraftTarget::DocumentReference => "DocumentReference",
        DraftTarget::None => return,
    };
    let claims = statement.resources.get(resource);
    let creates = claims.is_some_and(|claims| claims.interactions.contains("create"));
    let lists_any = statement
        .resources
        .values()
        .any(|claims| !claims.interactions.is_empty());
    let code = codes::DRAFT_TARGET;
    if creates || !lists_any {
        let seen = if creates {
            format!("the EHR says that a {resource} can be created; that was not tried")
        } else {
            "not known: the EHR does not say what can be created, and that was not tried".to_owned()
        };
        let verdict = if creates { Verdict::Well } else { Verdict::NotKnown };
        notes.find(code, verdict, seen, Vec::new());
    } else {
        let seen = format!("the EHR does not say that a {resource} can be created; that was not tried");
        notes.find(code, Verdict::Differs, seen, Vec::new());
        let ehr = "does not say that it can be created";
        notes.differ(code, "draft.target", resource, ehr, nothing);
    }
    let code = codes::CONDITIONAL_CREATE;
    let claimed = claims.and_then(|claims| claims.conditional_create);
    let (verdict, seen) = match (rules.conditional_create, claimed) {
        (true, Some(false)) => {
            let ehr = "says that it has none";
            notes.differ(code, "draft.conditional_create", "conditional create", ehr, |profile| {
                profile.draft.conditional_create = false;
            });
            (Verdict::Differs, "the EHR says that it has no conditional create")
        }
        (false, Some(true)) => (
            Verdict::Offered,
            "the EHR says that it has conditional create; that was not tried",
        ),
        (_, Some(true)) => (
            Verdict::Well,
            "the EHR says that it has conditional create; that was not tried",
        ),
        (_, Some(false)) => (Verdict::Well, "the EHR says that it has no conditional create"),
        (_, None) => (
            Verdict::NotKnown,
            "not known: the EHR does not say, and that was not tried",
        ),
    };
    notes.find(code, verdict, seen, Vec::new());
}
