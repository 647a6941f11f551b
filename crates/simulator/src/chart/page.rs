//! The two pages: all visits, and one visit.

use std::{fmt::Write as _, time::Duration};

use bytes::Bytes;
use http::{Response, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

use crate::{
    calendar,
    fhir::{BODY_SECTION, NOTES_SECTION, note_text, section_markups, section_texts},
    reply,
    report::Placement,
    specification::{EncounterStatus, ExpectedRoute, PhotoContent},
    state::{Document, DraftImage, Encounter, Firm, Patient, State, StoredDraft},
};

use super::text::{escape, narrative, plain_text};

const MARK: &str = r#"<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" aria-hidden="true"><path d="M4 8V5.5A1.5 1.5 0 0 1 5.5 4H8M16 4h2.5A1.5 1.5 0 0 1 20 5.5V8M20 16v2.5a1.5 1.5 0 0 1-1.5 1.5H16M8 20H5.5A1.5 1.5 0 0 1 4 18.5V16"/><circle cx="12" cy="12" r="3.5"/></svg>"#;

fn document(status: StatusCode, title: &str, main: &str) -> Response<Bytes> {
    // The script compares this to see whether there is news.
    let state = hex::encode(Sha256::digest(main.as_bytes()));
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title><link rel=\"stylesheet\" href=\"/chart/style.css\">\
         <script src=\"/chart/refresh.js\" defer></script>\
         <noscript><meta http-equiv=\"refresh\" content=\"10\"></noscript></head>\
         <body><div class=\"bar\"><a class=\"brand\" href=\"/chart\">{MARK}Practice EHR</a>\
         <span class=\"note\">Simulated charts: made-up patients, generated pictures</span></div>\
         <main data-state=\"{state}\">{main}</main></body></html>\n",
        title = escape(title),
    );
    reply::html(status, page)
}

/// A page that says what is wrong.
pub(super) fn problem(status: StatusCode, message: &str) -> Response<Bytes> {
    let main = format!(
        "<h1>{}</h1><p>{}</p><p><a class=\"chip live\" href=\"/chart\">All visits</a></p>",
        escape(status.canonical_reason().unwrap_or("Problem")),
        escape(message)
    );
    document(status, "Practice EHR", &main)
}

fn encode(segment: &str) -> String {
    utf8_percent_encode(segment, NON_ALPHANUMERIC).to_string()
}

/// "6.2 s", "3 min 4 s".
fn spell(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else if seconds < 3_600.0 {
        format!("{} min {} s", duration.as_secs() / 60, duration.as_secs() % 60)
    } else {
        format!("{} h {} min", duration.as_secs() / 3_600, duration.as_secs() / 60 % 60)
    }
}

fn wanted(document: &Document) -> bool {
    document.is_photo && document.route != ExpectedRoute::Ignored && !is_withdrawn(document)
}

fn is_withdrawn(document: &Document) -> bool {
    document.retracted_at.is_some() || document.superseded.is_some() || document.removed_at.is_some()
}

/// From attaching the photo to its first draft.
fn time_to_draft(firm: &Firm, document: &Document) -> Option<Duration> {
    let (first, _) = firm.drafts_for(&document.id).next()?;
    Some(first.posted_at.since(document.attached_at))
}

fn status_chip(status: EncounterStatus) -> String {
    let (class, words) = match status {
        EncounterStatus::InProgress => ("live", "in progress"),
        EncounterStatus::OnLeave => ("wait", "on leave"),
        EncounterStatus::Cancelled => ("bad", "cancelled"),
        EncounterStatus::EnteredInError => ("bad", "entered in error"),
        other => ("plain", other.code()),
    };
    format!("<span class=\"chip {class}\">{words}</span>")
}

fn name(patient: Option<&Patient>) -> String {
    patient.map_or_else(
        || "Unknown patient".to_owned(),
        |patient| format!("{}, {}", escape(patient.family), escape(patient.given)),
    )
}

/// The visits that have not vanished.
fn on_the_chart(firm: &Firm) -> impl Iterator<Item = &Encounter> {
    firm.encounters.all().iter().filter(|visit| visit.removed_at.is_none())
}

/// All practices and their visits, the latest first.
pub(super) fn index(state: &State) -> Response<Bytes> {
    let mut main = String::from("<h1>Today's visits</h1>");
    main.push_str(&tiles(state));
    if state.firms.is_empty() {
        main.push_str("<p class=\"panel empty\">No practice is open.</p>");
    }
    for firm in &state.firms {
        // Writing to a string cannot fail.
        let _ = write!(
            main,
            "<section class=\"firm\"><header><h2>{}</h2><span class=\"quiet small\">{} visits</span>\
             </header><ul class=\"visits\">",
            escape(&firm.spec.name),
            on_the_chart(firm).count()
        );
        let mut visits: Vec<&Encounter> = on_the_chart(firm).collect();
        visits.sort_by_key(|visit| std::cmp::Reverse(visit.opened_at));
        for visit in &visits {
            main.push_str(&visit_line(firm, visit));
        }
        if visits.is_empty() {
            main.push_str("<li class=\"empty\">Nobody has come in yet.</li>");
        }
        main.push_str("</ul></section>");
    }
    document(StatusCode::OK, "Visits - Practice EHR", &main)
}

fn tiles(state: &State) -> String {
    let photos = || {
        state
            .firms
            .iter()
            .flat_map(|firm| firm.documents.all().iter().map(move |document| (firm, document)))
            .filter(|(_, document)| wanted(document))
    };
    let mut times: Vec<Duration> = photos()
        .filter_map(|(firm, document)| time_to_draft(firm, document))
        .collect();
    times.sort_unstable();
    let asked = photos().count();
    let median = times
        .get(times.len() / 2)
        .map_or_else(|| "-".to_owned(), |median| spell(*median));
    let drafts: usize = state.firms.iter().map(|firm| firm.drafts.len()).sum();
    let tile = |value: &str, words: &str| format!("<div class=\"tile\"><b>{value}</b><span>{words}</span></div>");
    [
        "<div class=\"tiles\">".to_owned(),
        tile(&asked.to_string(), "photos to look at"),
        tile(&drafts.to_string(), "AI drafts in the charts"),
        tile(&(asked - times.len()).to_string(), "waiting"),
        tile(&median, "median, photo to draft"),
        tile(&state.counters.refused_429.to_string(), "calls over the quota"),
        "</div>".to_owned(),
    ]
    .concat()
}

fn visit_line(firm: &Firm, visit: &Encounter) -> String {
    let documents = documents_of(firm, visit);
    let photos = documents.iter().filter(|document| document.is_photo).count();
    let asked = documents.iter().filter(|document| wanted(document)).count();
    let times: Vec<Duration> = documents
        .iter()
        .filter(|document| wanted(document))
        .filter_map(|document| time_to_draft(firm, document))
        .collect();
    let mut marks = String::new();
    if photos > 0 {
        let plural = if photos == 1 { "" } else { "s" };
        let _ = write!(marks, "<span class=\"chip plain\">{photos} photo{plural}</span>");
    }
    if let Some(slowest) = times.iter().max() {
        let plural = if times.len() == 1 { "" } else { "s" };
        let _ = write!(
            marks,
            "<span class=\"chip ai\">{} AI draft{plural} &middot; {}</span>",
            times.len(),
            spell(*slowest)
        );
    }
    if asked > times.len() {
        let _ = write!(
            marks,
            "<span class=\"chip wait\">{} waiting</span>",
            asked - times.len()
        );
    }
    format!(
        "<li><a href=\"/chart/{}/{}\"><span class=\"quiet number\">{}</span>\
         <span class=\"who\">{}</span><span class=\"quiet clinician\">{}</span>\
         <span>{}</span><span class=\"marks\">{marks}</span></a></li>",
        encode(&firm.spec.prefix),
        encode(&visit.id),
        calendar::time_of_day(visit.opened_at),
        name(firm.patients.get(&visit.patient)),
        clinician(firm, visit),
        status_chip(visit.status),
    )
}

fn clinician(firm: &Firm, visit: &Encounter) -> String {
    let name = firm.practitioner_name(&visit.practitioner);
    name.map_or_else(String::new, |name| format!("Dr. {}", escape(&name)))
}

fn documents_of<'firm>(firm: &'firm Firm, visit: &Encounter) -> Vec<&'firm Document> {
    firm.documents_by_patient
        .get(&visit.patient)
        .into_iter()
        .flatten()
        .filter_map(|index| firm.documents.at(*index))
        .filter(|document| document.encounter == visit.id)
        .collect()
}

/// One visit: the photos with what was found on them, and the drafts beside them.
pub(super) fn visit(state: &State, firm: &str, visit: &str, truth: bool) -> Option<Response<Bytes>> {
    let firm = state.firm(firm)?;
    let visit = firm.encounters.get(visit).filter(|visit| visit.removed_at.is_none())?;
    let patient = firm.patients.get(&visit.patient);
    let mut main = format!(
        "<a class=\"back\" href=\"/chart\">&larr; {}</a>",
        escape(&firm.spec.name)
    );
    main.push_str(&heading(firm, visit, patient));
    let documents = documents_of(firm, visit);
    let (photos, files): (Vec<&Document>, Vec<&Document>) =
        documents.into_iter().partition(|document| document.is_photo);
    if photos.is_empty() {
        main.push_str("<p class=\"panel empty\">No photo has been taken at this visit.</p>");
    }
    for photo in photos {
        main.push_str(&case(firm, photo, truth));
    }
    let unnamed = firm.drafts.iter().filter(|composition| {
        composition.encounter.as_deref() == Some(visit.id.as_str()) && composition.images.is_empty()
    });
    for composition in unnamed {
        let _ = write!(
            main,
            "<article class=\"panel\">{}</article>",
            draft(None, composition, false)
        );
    }
    if !files.is_empty() {
        main.push_str("<section class=\"panel\"><h2>Other documents</h2><ul class=\"files\">");
        for file in files {
            let _ = write!(
                main,
                "<li><span>{}</span><span class=\"quiet small\">{} &middot; {} &middot; {}</span></li>",
                escape(&file.description),
                escape(firm.category_display(&file.category)),
                escape(&file.media_type),
                calendar::time_of_day(file.attached_at)
            );
        }
        main.push_str("</ul></section>");
    }
    Some(document(
        StatusCode::OK,
        &format!("Visit {} - {}", visit.id, firm.spec.name),
        &main,
    ))
}

fn heading(firm: &Firm, visit: &Encounter, patient: Option<&Patient>) -> String {
    let facts = patient.map_or_else(String::new, |patient| {
        format!(
            "<span><b>{}</b></span><span>born <b>{}</b></span><span>record <b class=\"number\">{}</b></span>",
            escape(patient.gender),
            escape(&patient.birth_date),
            escape(&patient.id)
        )
    });
    format!(
        "<div class=\"patient\"><div><h1>{}</h1><div class=\"facts\">{facts}</div></div>\
         <div class=\"facts\"><span>{} <b class=\"number\">{}</b></span><span>{}</span>{}</div></div>",
        name(patient),
        calendar::long_date(visit.opened_at),
        calendar::time_of_day(visit.opened_at),
        clinician(firm, visit),
        status_chip(visit.status)
    )
}

/// A photo and, beside it, its drafts.
fn case(firm: &Firm, photo: &Document, truth: bool) -> String {
    let drafts: Vec<(&StoredDraft, &DraftImage)> = firm.drafts_for(&photo.id).collect();
    let mut notes = String::new();
    for (number, (composition, _)) in drafts.iter().enumerate() {
        notes.push_str(&draft(Some(photo), composition, number > 0));
    }
    if drafts.is_empty() {
        notes.push_str(if wanted(photo) {
            "<div class=\"nothing\"><span class=\"dots\"><i></i><i></i><i></i></span>\
             No draft yet</div>"
        } else if is_withdrawn(photo) {
            "<div class=\"nothing\">This photo was withdrawn.</div>"
        } else {
            "<div class=\"nothing\">This practice does not ask for drafts on this kind of photo.</div>"
        });
    }
    format!(
        "<article class=\"case\">{}<div>{notes}</div></article>",
        figure(firm, photo, drafts.first().map(|(_, image)| *image), truth)
    )
}

fn figure(firm: &Firm, photo: &Document, image: Option<&DraftImage>, truth: bool) -> String {
    let size = match photo.content {
        PhotoContent::Synthetic { width, height, .. } => Some((width, height)),
        PhotoContent::Bytes(_) => None,
    };
    let (width, height) = size.unwrap_or((1_000, 1_000));
    let attributes = size.map_or_else(String::new, |(width, height)| {
        format!(" width=\"{width}\" height=\"{height}\"")
    });
    let mut rectangles = String::new();
    for region in image.map_or(&[][..], |image| image.regions.as_slice()) {
        for class in ["halo", "region"] {
            let _ = write!(
                rectangles,
                "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"{:.1}\"/>",
                region.x * f64::from(width),
                region.y * f64::from(height),
                region.width * f64::from(width),
                region.height * f64::from(height),
                f64::from(width.min(height)) * 0.008,
            );
        }
    }
    let regions = image.map_or(0, |image| image.regions.len());
    let mut caption = format!(
        "<b>{}</b><span class=\"chip plain\">{}</span><span>attached <span class=\"number\">{}</span></span>",
        escape(&photo.description),
        escape(firm.category_display(&photo.category)),
        calendar::time_of_day(photo.attached_at)
    );
    if regions > 0 {
        let plural = if regions == 1 { "" } else { "s" };
        let _ = write!(caption, "<span>{regions} region{plural} marked</span>");
    }
    if truth {
        let shown = photo
            .condition()
            .map_or("nothing known", |condition| condition.display());
        let _ = write!(caption, "<span class=\"chip wait\">truth: {}</span>", escape(shown));
    }
    format!(
        "<figure class=\"photo\"><div class=\"frame\"><img src=\"/chart/photo/{}/{}\"{attributes} \
         alt=\"{}\"><svg viewBox=\"0 0 {width} {height}\" preserveAspectRatio=\"none\" \
         aria-hidden=\"true\">{rectangles}</svg></div><figcaption>{caption}</figcaption></figure>",
        encode(&firm.spec.prefix),
        encode(&photo.id),
        escape(&photo.description),
    )
}

/// Parts of a draft that was added to, one below the other.
fn apart(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join("<hr>")
}

fn draft(photo: Option<&Document>, composition: &StoredDraft, again: bool) -> String {
    let resource = &composition.resource;
    let text = |key: &str| resource[key].as_str().unwrap_or_default();
    let place = match composition.placement {
        Placement::VisitNote => "Additional Visit Notes",
        Placement::ChartNote => "Chart Note",
    };
    let texts = apart(section_texts(resource, BODY_SECTION).map(plain_text));
    let markups = apart(section_markups(resource, BODY_SECTION).map(narrative));
    let body = match note_text(resource) {
        Some((true, markup)) => narrative(&markup),
        Some((false, text)) => plain_text(&text),
        // Where no plain text came along, the markup is all there is to read.
        None if texts.is_empty() => markups.clone(),
        None => texts.clone(),
    };
    let photo_id = photo.map_or("none", |photo| photo.id.as_str());
    let is_labelled_ai = resource
        .pointer("/meta/security")
        .and_then(serde_json::Value::as_array)
        .is_some_and(|labels| labels.iter().any(|label| label["code"] == "AIAST"));
    let label = if is_labelled_ai {
        "<span class=\"chip ai\" title=\"labelled AIAST: AI asserted\">AI draft</span>"
    } else {
        "<span class=\"chip bad\" title=\"the draft does not say that AI wrote it\">no AI label</span>"
    };
    let mut html = format!(
        "<section class=\"draft\"><header>{label}\
         <span class=\"chip plain\">{}</span><span class=\"chip plain\">{place}</span>",
        escape(text("status"))
    );
    if again {
        html.push_str("<span class=\"chip bad\">posted again</span>");
    }
    if let Some(photo) = photo {
        let _ = write!(
            html,
            "<span class=\"took\" title=\"from attaching the photo to the draft\">{}</span>",
            spell(composition.posted_at.since(photo.attached_at))
        );
    }
    let _ = write!(
        html,
        "</header><h3>{}</h3><div class=\"text\">{}</div>",
        escape(text("title")),
        body
    );
    if !markups.is_empty() && !texts.is_empty() {
        let _ = write!(
            html,
            "<details id=\"markup-{id}-{photo}\"><summary>As formatted by the sender</summary>\
             <div class=\"text\">{}</div></details>",
            markups,
            id = escape(&composition.id),
            photo = escape(photo_id),
        );
    }
    let mut notes = apart(section_texts(resource, NOTES_SECTION).map(plain_text));
    if notes.is_empty() {
        notes = apart(section_markups(resource, NOTES_SECTION).map(narrative));
    }
    if !notes.is_empty() {
        let _ = write!(
            html,
            "<details id=\"notes-{id}-{photo}\"><summary>Notes for the transcriptionist</summary>\
             <div class=\"text\">{}</div></details>",
            notes,
            id = escape(&composition.id),
            photo = escape(photo_id),
        );
    }
    let _ = write!(
        html,
        "<footer>{} <code>{}</code> posted <span class=\"number\">{}</span></footer></section>",
        composition.target.name(),
        escape(&composition.id),
        calendar::time_of_day(composition.posted_at)
    );
    html
}
