//! What searches for documents really do, and what one document says about its photo.

use serde_json::json;
use skin_assist_core::{
    domain::{EncounterId, PatientId},
    ports::{StateError, Visit},
};
use url::Url;

use super::{
    asking::{Asker, Effect, Found, Got, NOBODY, NOBODY_ELSE},
    changes::Order,
    codes,
    encounters::{Keys, compare, overall, prefixes, sorted, stamps, summary},
    pages::Kind,
    report::{Code, Notes, Verdict, nothing},
};
use crate::{
    photo_hosts::{HostPattern, is_allowed},
    profile::{ChangeParameter, DocumentSearch, Profile, SearchPrefix},
    urls::reference_id,
    view::{self, Attachment, View},
};

/// At most so many patients are asked for documents.
const MOST_PATIENTS: usize = 5;

/// What was not to be had: there is nothing to look for.
const NO_DOCUMENT: &str = "no document yet";

/// What later sections need to know.
#[derive(Debug, Default)]
pub(super) struct Documents {
    pub(super) sample: Option<Sample>,
    /// Whether a search has to name a patient or a visit.
    pub(super) needs_scope: bool,
    pub(super) by_patient: Option<Effect>,
    pub(super) by_encounter: Option<Effect>,
    pub(super) by_change: Option<Effect>,
    pub(super) batch: Option<Effect>,
    pub(super) read: Option<bool>,
}

/// A visit with documents, and a page of them.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) visit: Visit,
    pub(super) page: Found,
    /// Whether they are all of the patient's, found by `patient`.
    pub(super) of_patient: bool,
}

pub(super) async fn probe(asker: &mut Asker<'_>, notes: &mut Notes, visits: &[Visit]) -> Result<Documents, StateError> {
    let mut known = Documents::default();
    let of_all = without_condition(asker, notes).await?;
    known.needs_scope = of_all.is_none();
    known.sample = sample(asker, notes, visits, of_all.as_ref()).await?;
    scopes(asker, notes, &mut known).await?;
    changes(asker, notes, &mut known).await?;
    sort(asker, notes, of_all.is_some(), known.sample.as_ref()).await?;
    stamps(asker, notes, "DocumentReference", codes::DOCUMENT_STAMP);
    entries(notes, known.sample.as_ref());
    batch(asker, notes, &mut known).await?;
    read(asker, notes, &mut known).await?;
    Ok(known)
}

/// Everything of the practice.
async fn without_condition(asker: &mut Asker<'_>, notes: &mut Notes) -> Result<Option<Found>, StateError> {
    let got = asker.search("DocumentReference", &[("_count", "1")]).await?;
    let (verdict, seen, found) = match got {
        Got::It(found) => (
            Verdict::Well,
            "a search without a condition is taken".to_owned(),
            Some(found),
        ),
        Got::Refused(status) => {
            let seen = format!("a search without a condition is refused ({status})");
            (Verdict::Well, seen, None)
        }
        Got::NoAnswer(why) => (Verdict::NotKnown, format!("not known: {why}"), None),
    };
    notes.find(codes::DOCUMENTS, verdict, seen, asker.take_evidence());
    Ok(found)
}

/// Finds a visit with documents: among the latest visits, or among all documents.
async fn sample(
    asker: &mut Asker<'_>,
    notes: &mut Notes,
    visits: &[Visit],
    of_all: Option<&Found>,
) -> Result<Option<Sample>, StateError> {
    let kind = Kind {
        resource: "DocumentReference",
        code: codes::DOCUMENT_PAGE_SIZE,
        key: "documents.page_size",
        size: notes.profile().documents.page_size,
        set: |profile, size| profile.documents.page_size = size,
    };
    let of_all = of_all.and_then(|found| found.records().find_map(visit_of));
    let mut tried = 0;
    for visit in of_all.iter().chain(visits).take(MOST_PATIENTS) {
        tried += 1;
        let patient = visit.patient.as_str();
        let parameters = [("patient", patient), ("_count", "1")];
        match asker.search("DocumentReference", &parameters).await? {
            Got::It(found) if found.is_empty() => {}
            // The page that comes has all that is needed, once it is known that there is something on it.
            Got::It(one) => {
                asker.take_evidence();
                let sized = asker.largest_page(notes, kind, &[("patient", patient)]).await?;
                let page = match sized {
                    Got::It(page) if !page.is_empty() => page,
                    _ => one,
                };
                let Some(visit) = page.records().find_map(visit_of) else {
                    break;
                };
                return Ok(Some(Sample {
                    visit,
                    page,
                    of_patient: true,
                }));
            }
            // Not by patient: then by visit.
            Got::Refused(_) => {
                let parameters = [("encounter", visit.encounter.as_str()), ("_count", "10")];
                if let Got::It(page) = asker.search("DocumentReference", &parameters).await?
                    && !page.is_empty()
                {
                    return Ok(Some(Sample {
                        visit: visit.clone(),
                        page,
                        of_patient: false,
                    }));
                }
            }
            Got::NoAnswer(_) => break,
        }
    }
    let seen = if tried == 0 {
        "not known: no encounter yet".to_owned()
    } else {
        format!("not known: {NO_DOCUMENT} ({tried} patients were asked for)")
    };
    notes.find(kind.code, Verdict::NotKnown, seen, asker.take_evidence());
    Ok(None)
}

/// The visit that a document names.
fn visit_of(document: View<'_>) -> Option<Visit> {
    let encounters = document.get("context").each("encounter");
    let mut encounters = encounters.filter_map(|encounter| reference_id(&encounter.text("reference")?, "Encounter"));
    Some(Visit {
        patient: reference_id(&document.get("subject").text("reference")?, "Patient")?
            .parse::<PatientId>()
            .ok()?,
        encounter: encounters.next()?.parse::<EncounterId>().ok()?,
    })
}

/// By patient, by visit, by several visits.
async fn scopes(asker: &mut Asker<'_>, notes: &mut Notes, known: &mut Documents) -> Result<(), StateError> {
    let rules = notes.profile().documents.clone();
    let Some(sample) = &known.sample else {
        for code in [
            codes::DOCUMENT_BY_PATIENT,
            codes::DOCUMENT_BY_BOTH,
            codes::DOCUMENT_BY_ENCOUNTER,
            codes::DOCUMENT_LIST,
        ] {
            notes.find(code, Verdict::NotKnown, format!("not known: {NO_DOCUMENT}"), Vec::new());
        }
        return Ok(());
    };
    let (patient, encounter) = (sample.visit.patient.as_str(), sample.visit.encounter.as_str());
    let resource = "DocumentReference";
    let few = asker.a_few(resource);
    let count = ("_count", few.as_str());
    let (by_patient, _) = asker
        .effect(resource, &[("patient", patient), count], &[("patient", NOBODY), count])
        .await?;
    let used = rules.search;
    note(
        asker,
        notes,
        codes::DOCUMENT_BY_PATIENT,
        "by patient",
        &by_patient,
        used == DocumentSearch::Patient,
    );
    let (by_both, _) = asker
        .effect(
            resource,
            &[("patient", patient), ("encounter", encounter), count],
            &[("patient", patient), ("encounter", NOBODY), count],
        )
        .await?;
    let uses_both = used == DocumentSearch::PatientAndEncounter;
    note(
        asker,
        notes,
        codes::DOCUMENT_BY_BOTH,
        "by patient and encounter",
        &by_both,
        uses_both,
    );
    let (by_encounter, _) = asker
        .effect(
            resource,
            &[("encounter", encounter), count],
            &[("encounter", NOBODY), count],
        )
        .await?;
    let uses_encounter = used == DocumentSearch::Encounter;
    note(
        asker,
        notes,
        codes::DOCUMENT_BY_ENCOUNTER,
        "by encounter",
        &by_encounter,
        uses_encounter,
    );
    // The one that exists comes last, so that a server that takes the first alone is found out.
    let (some, none) = (format!("{NOBODY},{encounter}"), format!("{NOBODY},{NOBODY_ELSE}"));
    let (mut list, found) = asker
        .effect(resource, &[("encounter", &some), count], &[("encounter", &none), count])
        .await?;
    if found.as_ref().is_some_and(Found::is_empty) && by_encounter.works() {
        // The visit alone has documents, so a list that brings none is not read as a list.
        list = Effect::Ignored;
    }
    let uses_list = rules.encounters_in_list > 0;
    let (verdict, seen) = match &list {
        Effect::Ignored if by_encounter.works() => (
            if uses_list { Verdict::Differs } else { Verdict::Well },
            "by a list of encounters: the EHR does not read it as a list".to_owned(),
        ),
        effect => described("by a list of encounters", effect, uses_list),
    };
    notes.find(codes::DOCUMENT_LIST, verdict, seen, asker.take_evidence());
    if uses_list && list.fails() {
        let profile = format!("lists of {}", rules.encounters_in_list);
        let ehr = match &list {
            Effect::Ignored if by_encounter.works() => "does not read it as a list".to_owned(),
            effect => effect.says(),
        };
        notes.differ(
            codes::DOCUMENT_LIST,
            "documents.encounters_in_list",
            profile,
            ehr,
            |profile| {
                profile.documents.encounters_in_list = 0;
            },
        );
    }
    let (own, code, name) = match used {
        DocumentSearch::Patient => (&by_patient, codes::DOCUMENT_BY_PATIENT, "patient"),
        DocumentSearch::PatientAndEncounter => (&by_both, codes::DOCUMENT_BY_BOTH, "patient-and-encounter"),
        DocumentSearch::Encounter => (&by_encounter, codes::DOCUMENT_BY_ENCOUNTER, "encounter"),
    };
    if own.fails() {
        let others = [
            (&by_both, DocumentSearch::PatientAndEncounter),
            (&by_encounter, DocumentSearch::Encounter),
            (&by_patient, DocumentSearch::Patient),
        ];
        let other = others.into_iter().find(|(effect, _)| effect.works());
        notes.differ(code, "documents.search", name, own.says(), |profile| {
            if let Some((_, search)) = other {
                profile.documents.search = search;
            }
        });
    }
    // What `encounter` does, with the patient where it needs one.
    known.by_encounter = Some(if by_encounter.works() { by_encounter } else { by_both });
    known.by_patient = Some(by_patient);
    Ok(())
}

fn note(asker: &mut Asker<'_>, notes: &mut Notes, code: Code, what: &str, effect: &Effect, is_used: bool) {
    let (verdict, seen) = described(what, effect, is_used);
    notes.find(code, verdict, seen, asker.take_evidence());
}

fn described(what: &str, effect: &Effect, is_used: bool) -> (Verdict, String) {
    match effect {
        Effect::NotKnown(_) => (Verdict::NotKnown, format!("{what}: {}", effect.says())),
        Effect::Filters if is_used => (Verdict::Well, format!("{what}: the EHR {}", effect.says())),
        Effect::Filters => (Verdict::Offered, format!("{what}: the EHR {}", effect.says())),
        _ if is_used => (Verdict::Differs, format!("{what}: the EHR {}", effect.says())),
        _ => (Verdict::Well, format!("{what}: the EHR {}", effect.says())),
    }
}

/// What changed in the whole practice.
async fn changes(asker: &mut Asker<'_>, notes: &mut Notes, known: &mut Documents) -> Result<(), StateError> {
    let own = notes.profile().documents.changed;
    let preferred = own.map_or(SearchPrefix::Ge, |rules| rules.prefix);
    let parameter = ChangeParameter::LastUpdated;
    let change = asker.change("DocumentReference", parameter, preferred).await?;
    let rules = own.unwrap_or(crate::profile::ChangeSearch {
        parameter,
        granularity: crate::profile::Granularity::Day,
        prefix: preferred,
    });
    let (verdict, seen) = summary(&change, parameter, rules, own.map(|rules| rules.prefix));
    notes.find(
        codes::DOCUMENT_CHANGED,
        verdict,
        format!("in the whole practice, {seen}"),
        asker.take_evidence(),
    );
    prefixes(notes, codes::DOCUMENT_PREFIX, parameter, &change);
    if let Some(rules) = own {
        let keys = Keys {
            code: codes::DOCUMENT_CHANGED,
            granularity_code: codes::DOCUMENT_GRANULARITY,
            parameter: "documents.changed",
            prefix: "documents.changed.prefix",
            granularity: "documents.changed.granularity",
            changed: |profile| profile.documents.changed.as_mut(),
        };
        compare(notes, &keys, rules, &change, |profile| profile.documents.changed = None);
    }
    known.by_change = Some(overall(&change));
    Ok(())
}

async fn sort(
    asker: &mut Asker<'_>,
    notes: &mut Notes,
    of_all: bool,
    sample: Option<&Sample>,
) -> Result<(), StateError> {
    let own = notes.profile().documents.sort.clone();
    let key = own.clone().unwrap_or_else(|| "_lastUpdated".to_owned());
    let order = match sample {
        None => Order::NotKnown(NO_DOCUMENT),
        Some(_) if of_all => asker.order("DocumentReference", &[], &key).await?,
        Some(sample) => {
            let scope = [("patient", sample.visit.patient.as_str())];
            asker.order("DocumentReference", &scope, &key).await?
        }
    };
    sorted(
        notes,
        codes::DOCUMENT_SORT,
        "documents.sort",
        own,
        &order,
        asker.take_evidence(),
        |profile| {
            profile.documents.sort = None;
        },
    );
    Ok(())
}

/// Whether entries of a search say where the bytes are, and of what kind they are.
fn entries(notes: &mut Notes, sample: Option<&Sample>) {
    let rules = notes.profile().documents.clone();
    let Some(sample) = sample else {
        let seen = format!("not known: {NO_DOCUMENT}");
        notes.find(codes::DOCUMENT_CONTENT, Verdict::NotKnown, &seen, Vec::new());
        notes.find(codes::DOCUMENT_TYPE_TEXT, Verdict::NotKnown, &seen, Vec::new());
        return;
    };
    let all = sample.page.len();
    let with_content = sample
        .page
        .records()
        .filter(|record| record.each("content").next().is_some())
        .count();
    let is_media_type = |record: &View<'_>| {
        record
            .get("type")
            .text("text")
            .is_some_and(|text| view::media_type(&text).is_some())
    };
    let with_type = sample.page.records().filter(is_media_type).count();
    let evidence = vec![format!(
        "{with_content} of {all} entries with content, {with_type} with a media type in type.text"
    )];
    let code = codes::DOCUMENT_CONTENT;
    let (verdict, seen) = match (rules.entries_carry_attachment, with_content > 0) {
        (true, true) => (Verdict::Well, "entries of a search carry content"),
        (false, true) => (Verdict::Offered, "entries of a search carry content"),
        (false, false) => (Verdict::Well, "entries of a search carry no content"),
        (true, false) => {
            let key = "documents.entries_carry_attachment";
            notes.differ(
                code,
                key,
                "entries carry content",
                "leaves it out",
                |profile: &mut Profile| {
                    profile.documents.entries_carry_attachment = false;
                },
            );
            (Verdict::Differs, "entries of a search carry no content")
        }
    };
    notes.find(code, verdict, seen, evidence.clone());
    let code = codes::DOCUMENT_TYPE_TEXT;
    let (verdict, seen) = match (rules.media_type_in_type_text, with_type > 0) {
        (true, true) => (Verdict::Well, "type.text is a media type"),
        (false, true) => (Verdict::Offered, "type.text is a media type"),
        (false, false) => (Verdict::Well, "type.text is no media type"),
        (true, false) => {
            let key = "documents.media_type_in_type_text";
            notes.differ(
                code,
                key,
                "type.text is a media type",
                "has none there",
                |profile: &mut Profile| {
                    profile.documents.media_type_in_type_text = false;
                },
            );
            (Verdict::Differs, "type.text is no media type")
        }
    };
    notes.find(code, verdict, seen, evidence);
}

/// Two searches in one Bundle.
async fn batch(asker: &mut Asker<'_>, notes: &mut Notes, known: &mut Documents) -> Result<(), StateError> {
    let searches = [("Encounter", "_count=1"), ("Encounter", "_count=2")];
    let search = |url: String| json!({ "request": { "method": "GET", "url": url } });
    let entries: Vec<_> = match &known.sample {
        Some(sample) => [sample.visit.encounter.as_str(), NOBODY]
            .into_iter()
            .map(|encounter| {
                let parameters = [("patient", sample.visit.patient.as_str()), ("encounter", encounter)];
                let url = asker.service.search("DocumentReference", &parameters);
                search(asker.service.relative(&url))
            })
            .collect(),
        None => searches
            .iter()
            .map(|(resource, query)| search(format!("{resource}?{query}")))
            .collect(),
    };
    let bundle = json!({ "resourceType": "Bundle", "type": "batch", "entry": entries });
    let what = "a batch of two searches".to_owned();
    let effect = match asker.batch(&bundle, what).await? {
        Got::It(body) => {
            let answer = View::of(&body);
            let answered = answer.each("entry").filter(|entry| {
                let response = entry.get("response");
                response.text("status").is_some_and(|status| status.starts_with('2'))
                    && entry.get("resource").get("resourceType").is("Bundle")
            });
            if answered.count() == 2 {
                Effect::Filters
            } else {
                Effect::NotKnown("it was taken, and not every search in it was answered")
            }
        }
        Got::Refused(status) => Effect::Refused(status),
        Got::NoAnswer(why) => Effect::NotKnown(why),
    };
    let most = notes.profile().documents.searches_in_batch;
    let (verdict, seen) = match &effect {
        Effect::Filters if most > 0 => (Verdict::Well, "batches of searches are answered".to_owned()),
        Effect::Filters => (Verdict::Offered, "batches of searches are answered".to_owned()),
        Effect::NotKnown(_) => (Verdict::NotKnown, effect.says()),
        _ => {
            let verdict = if most > 0 { Verdict::Differs } else { Verdict::Well };
            (verdict, format!("batches: the EHR {}", effect.says()))
        }
    };
    notes.find(codes::DOCUMENT_BATCH, verdict, seen, asker.take_evidence());
    if most > 0 && effect.fails() {
        let profile = format!("batches of {most}");
        notes.differ(
            codes::DOCUMENT_BATCH,
            "documents.searches_in_batch",
            profile,
            effect.says(),
            |profile| {
                profile.documents.searches_in_batch = 0;
            },
        );
    }
    known.batch = Some(effect);
    Ok(())
}

/// One document: where its photo is. The photo is left there.
async fn read(asker: &mut Asker<'_>, notes: &mut Notes, known: &mut Documents) -> Result<(), StateError> {
    let code = codes::PHOTO_LOCATION;
    let id = known.sample.as_ref().and_then(|sample| {
        // A picture if there is one: other documents may be elsewhere.
        let is_picture = |record: &View<'_>| {
            let in_type = record.get("type").text("text").and_then(|text| view::media_type(&text));
            let mut in_content = record.each("content").map(|content| content.get("attachment"));
            let named = in_content.find_map(|attachment| view::media_type(&attachment.text("contentType")?));
            named
                .or(in_type)
                .is_some_and(|media_type| media_type.starts_with("image/"))
        };
        let found = sample
            .page
            .records()
            .find(is_picture)
            .or_else(|| sample.page.records().next());
        Some(found?.text("id")?.into_owned())
    });
    let Some(url) = id.and_then(|id| asker.service.instance("DocumentReference", &id).ok()) else {
        notes.find(code, Verdict::NotKnown, format!("not known: {NO_DOCUMENT}"), Vec::new());
        return Ok(());
    };
    let body = match asker.get(&url, "DocumentReference/known".to_owned()).await? {
        Got::It(body) => body,
        Got::Refused(status) => {
            known.read = Some(false);
            let seen = format!("one document cannot be read ({status}), so no photo can be found");
            notes.find(code, Verdict::Notice, seen, asker.take_evidence());
            return Ok(());
        }
        Got::NoAnswer(why) => {
            notes.find(
                code,
                Verdict::NotKnown,
                format!("not known: {why}"),
                asker.take_evidence(),
            );
            return Ok(());
        }
    };
    known.read = Some(true);
    let evidence = asker.take_evidence();
    let link = match view::attachment(View::of(&body)) {
        None => {
            notes.find(code, Verdict::Notice, "the document has no attachment", evidence);
            return Ok(());
        }
        Some(Attachment::Data(_)) => {
            notes.find(code, Verdict::Well, "the bytes are in the document itself", evidence);
            return Ok(());
        }
        Some(Attachment::Url { url, .. }) => url.into_owned(),
    };
    if asker.service.binary_id(&link).is_some() {
        let form = if Url::parse(&link).is_ok() {
            "an absolute"
        } else {
            "a relative"
        };
        let seen = format!("a Binary of the same service, by {form} URL");
        notes.find(code, Verdict::Well, seen, evidence);
        return Ok(());
    }
    let Ok(link) = Url::parse(&link) else {
        notes.find(code, Verdict::Notice, "a URL that leads nowhere", evidence);
        return Ok(());
    };
    let signed = if link.query().is_some() {
        "a URL with a query (pre-signed)"
    } else {
        "a URL without a query"
    };
    let host = host_of(&link);
    notes.find(code, Verdict::Well, format!("{signed}, on {host}"), evidence);
    host_allowed(asker, notes, &link, &host);
    Ok(())
}

/// The host as a profile would name it.
fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or("no host");
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn host_allowed(asker: &Asker<'_>, notes: &mut Notes, url: &Url, host: &str) {
    let connection = &asker.client.connection;
    let loopback = connection.allow_loopback_http;
    let hosts = connection.profile.photos.hosts.iter().chain(&connection.photo_hosts);
    let code = codes::PHOTO_HOST;
    if is_allowed(url, hosts, loopback) {
        notes.find(code, Verdict::Well, format!("{host} is allowed"), Vec::new());
        return;
    }
    let pattern = HostPattern::parse(host)
        .ok()
        .filter(|pattern| is_allowed(url, [pattern], loopback));
    let why = if pattern.is_some() {
        "it is not in the list"
    } else {
        "its scheme or address never is"
    };
    notes.find(
        code,
        Verdict::Differs,
        format!("{host} is not allowed: {why}"),
        Vec::new(),
    );
    let ehr = format!("keeps photos on {host}");
    match pattern {
        Some(pattern) => notes.differ(code, "photos.hosts", "no such host", ehr, |profile| {
            profile.photos.hosts.push(pattern);
        }),
        None => notes.differ(code, "photos.hosts", "no such host", ehr, nothing),
    }
}
