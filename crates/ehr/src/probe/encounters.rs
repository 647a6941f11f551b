//! What searches for encounters really do.

use std::collections::BTreeSet;

use skin_assist_core::{
    ports::{StateError, Visit},
    time::Timestamp,
};

use super::{
    asking::{Asker, Effect, Found, Got},
    changes::{Change, Instant, Order, granularity},
    codes,
    pages::Kind,
    report::{Code, Notes, Verdict, nothing},
    shapes::Stamp,
};
use crate::{
    profile::{ChangeParameter, ChangeSearch, FinishedVisitRule, Granularity, Profile, SearchPrefix},
    view,
};

/// What later sections need to know.
#[derive(Debug, Default)]
pub(super) struct Encounters {
    /// A first page without any condition.
    pub(super) page: Option<Found>,
    /// Visits to look for documents of, the latest first.
    pub(super) visits: Vec<Visit>,
    pub(super) by_change: Option<Effect>,
    pub(super) by_date: Option<Effect>,
    /// Even a search without any condition is refused, as it is where nothing is at this address.
    pub(super) refused: Option<u16>,
    /// Not even that was answered.
    pub(super) no_answer: Option<&'static str>,
}

pub(super) async fn probe(asker: &mut Asker<'_>, notes: &mut Notes, is_fhir: bool) -> Result<Encounters, StateError> {
    let mut known = Encounters::default();
    let kind = Kind {
        resource: "Encounter",
        code: codes::ENCOUNTER_PAGE_SIZE,
        key: "encounters.page_size",
        size: notes.profile().encounters.page_size,
        set: |profile, size| profile.encounters.page_size = size,
    };
    match asker.largest_page(notes, kind, &[]).await? {
        Got::It(page) => {
            let seen = match page.len() {
                0 => "not known: no encounter yet".to_owned(),
                some => format!("encounters are listed; {some} on the first page"),
            };
            let verdict = if page.is_empty() {
                Verdict::NotKnown
            } else {
                Verdict::Well
            };
            notes.find(codes::ENCOUNTERS, verdict, seen, asker.take_evidence());
            known.page = Some(page);
        }
        Got::Refused(status) => {
            known.refused = Some(status);
            let seen = format!("a search without a condition is refused ({status})");
            notes.find(codes::ENCOUNTERS, Verdict::Notice, seen, asker.take_evidence());
            if status == 404 && !is_fhir {
                return Ok(known);
            }
        }
        Got::NoAnswer(why) => {
            known.no_answer = Some(why);
            let seen = format!("not known: {why}");
            notes.find(codes::ENCOUNTERS, Verdict::NotKnown, seen, asker.take_evidence());
            return Ok(known);
        }
    }
    let recent = changes(asker, notes, &mut known).await?;
    sort(asker, notes).await?;
    stamps(asker, notes, "Encounter", codes::ENCOUNTER_STAMP);
    let pages = [known.page.as_ref(), recent.as_ref()];
    known.visits = visits(notes.profile(), &pages);
    participants(notes, &pages);
    if notes.profile().draft.finished_visit != FinishedVisitRule::Post {
        read(asker, notes, &known.visits).await?;
    }
    Ok(known)
}

/// By change and by date. Gives what changed recently.
async fn changes(
    asker: &mut Asker<'_>,
    notes: &mut Notes,
    known: &mut Encounters,
) -> Result<Option<Found>, StateError> {
    let rules = notes.profile().encounters.changed;
    let by_change = asker
        .change("Encounter", ChangeParameter::LastUpdated, rules.prefix)
        .await?;
    let change_evidence = asker.take_evidence();
    let used = rules.parameter;
    let needs_date = used == ChangeParameter::Date || by_change.working(rules.prefix).is_none();
    let by_date = if needs_date {
        Some(asker.change("Encounter", ChangeParameter::Date, rules.prefix).await?)
    } else {
        None
    };
    let date_evidence = asker.take_evidence();
    for (code, parameter, change, evidence) in [
        (
            codes::ENCOUNTER_CHANGED,
            ChangeParameter::LastUpdated,
            Some(&by_change),
            change_evidence,
        ),
        (
            codes::ENCOUNTER_DATE,
            ChangeParameter::Date,
            by_date.as_ref(),
            date_evidence,
        ),
    ] {
        let Some(change) = change else { continue };
        let (verdict, seen) = summary(change, parameter, rules, (used == parameter).then_some(rules.prefix));
        notes.find(code, verdict, seen, evidence);
        prefixes(notes, codes::ENCOUNTER_PREFIX, parameter, change);
    }
    let own = match used {
        ChangeParameter::LastUpdated => &by_change,
        ChangeParameter::Date => by_date.as_ref().unwrap_or(&by_change),
    };
    let instead = match used {
        ChangeParameter::LastUpdated => by_date.as_ref().and_then(|change| {
            let prefix = change.working(rules.prefix)?;
            Some((ChangeParameter::Date, prefix, Granularity::Day))
        }),
        ChangeParameter::Date => by_change.working(rules.prefix).map(|prefix| {
            let fine = match by_change.instant {
                Instant::Compared => Granularity::Instant,
                _ => Granularity::Day,
            };
            (ChangeParameter::LastUpdated, prefix, fine)
        }),
    };
    let keys = Keys {
        code: codes::ENCOUNTER_CHANGED,
        granularity_code: codes::ENCOUNTER_GRANULARITY,
        parameter: "encounters.changed.parameter",
        prefix: "encounters.changed.prefix",
        granularity: "encounters.changed.granularity",
        changed: |profile| Some(&mut profile.encounters.changed),
    };
    compare(notes, &keys, rules, own, |profile| {
        if let Some((parameter, prefix, granularity)) = instead {
            profile.encounters.changed = ChangeSearch {
                parameter,
                granularity,
                prefix,
            };
        }
    });
    known.by_change = Some(overall(&by_change));
    known.by_date = by_date.as_ref().map(overall);
    Ok(by_change.recent.or(by_date.and_then(|change| change.recent)))
}

/// The best that a prefix does.
pub(super) fn overall(change: &Change) -> Effect {
    if change.gt.works() || change.ge.works() {
        return Effect::Filters;
    }
    match (&change.gt, &change.ge) {
        (Effect::NotKnown(why), _) | (_, Effect::NotKnown(why)) => Effect::NotKnown(why),
        (first, _) => first.clone(),
    }
}

/// What a change search comes to, for people. `needed` is the prefix that the profile uses.
pub(super) fn summary(
    change: &Change,
    parameter: ChangeParameter,
    rules: ChangeSearch,
    needed: Option<SearchPrefix>,
) -> (Verdict, String) {
    let name = parameter.as_str();
    let effect = needed.map_or_else(|| overall(change), |prefix| change.with(prefix).clone());
    let verdict = match (&effect, needed) {
        (Effect::NotKnown(_), _) => Verdict::NotKnown,
        (Effect::Filters, Some(_)) => Verdict::Well,
        (Effect::Filters, None) => Verdict::Offered,
        (_, Some(_)) => Verdict::Differs,
        (_, None) => Verdict::Well,
    };
    let with = needed.map_or_else(String::new, |prefix| format!(" with {}", prefix.as_str()));
    let mut seen = match &effect {
        Effect::NotKnown(_) => format!("by {name}{with}: {}", effect.says()),
        _ => format!("by {name}{with}: the EHR {}", effect.says()),
    };
    if parameter == ChangeParameter::LastUpdated && change.working(rules.prefix).is_some() {
        seen.push_str(match change.instant {
            Instant::Compared => "; instants are compared",
            Instant::CutToDay => "; instants are taken and cut to their day",
            Instant::Refused(_) => "; instants are refused, days are taken",
            Instant::NotKnown(_) => "; whether instants are compared is not known",
        });
    }
    (verdict, seen)
}

/// The prefixes, one by one.
pub(super) fn prefixes(notes: &mut Notes, code: Code, parameter: ChangeParameter, change: &Change) {
    let line = format!(
        "{}: gt {}; ge {}",
        parameter.as_str(),
        change.gt.says(),
        change.ge.says()
    );
    let unknown = [&change.gt, &change.ge]
        .iter()
        .all(|effect| matches!(effect, Effect::NotKnown(_)));
    let verdict = if unknown { Verdict::NotKnown } else { Verdict::Well };
    notes.find(code, verdict, line, Vec::new());
}

/// The names of a change search's keys.
pub(super) struct Keys {
    pub(super) code: Code,
    pub(super) granularity_code: Code,
    pub(super) parameter: &'static str,
    pub(super) prefix: &'static str,
    pub(super) granularity: &'static str,
    pub(super) changed: fn(&mut Profile) -> Option<&mut ChangeSearch>,
}

/// Compares a change search that the profile relies on with what it does. `instead` is what to change where no prefix
/// works.
pub(super) fn compare(
    notes: &mut Notes,
    keys: &Keys,
    rules: ChangeSearch,
    change: &Change,
    instead: impl FnOnce(&mut Profile),
) {
    let effect = change.with(rules.prefix);
    let working = change.working(rules.prefix);
    match (effect.fails(), working) {
        (true, Some(prefix)) => {
            let ehr = format!("{} and takes {}", effect.says(), prefix.as_str());
            notes.differ(keys.code, keys.prefix, rules.prefix.as_str(), ehr, |profile| {
                if let Some(changed) = (keys.changed)(profile) {
                    changed.prefix = prefix;
                }
            });
        }
        (true, None) => {
            let profile = rules.parameter.as_str();
            notes.differ(keys.code, keys.parameter, profile, effect.says(), instead);
            return;
        }
        (false, _) => {}
    }
    if rules.parameter != ChangeParameter::LastUpdated || working.is_none() {
        return;
    }
    let fine = granularity(rules.granularity);
    let (verdict, seen) = match (rules.granularity, change.instant) {
        (_, Instant::NotKnown(why)) => (Verdict::NotKnown, format!("not known: {why}")),
        (Granularity::Instant, Instant::Compared) => (Verdict::Well, "instants are compared".to_owned()),
        (Granularity::Day, Instant::Compared) => (
            Verdict::Offered,
            "instants are compared; the profile asks by day".to_owned(),
        ),
        (Granularity::Day, _) => (Verdict::Well, "days are compared".to_owned()),
        (Granularity::Instant, Instant::CutToDay) => {
            (Verdict::Differs, "instants are taken and cut to their day".to_owned())
        }
        (Granularity::Instant, Instant::Refused(status)) => {
            (Verdict::Differs, format!("instants are refused ({status})"))
        }
    };
    if verdict == Verdict::Differs {
        let ehr = match change.instant {
            Instant::Refused(status) => format!("refuses instants ({status}) and takes days"),
            _ => "takes instants and compares their days".to_owned(),
        };
        notes.differ(keys.granularity_code, keys.granularity, fine, ehr, |profile| {
            if let Some(changed) = (keys.changed)(profile) {
                changed.granularity = Granularity::Day;
            }
        });
    }
    notes.find(keys.granularity_code, verdict, seen, Vec::new());
}

async fn sort(asker: &mut Asker<'_>, notes: &mut Notes) -> Result<(), StateError> {
    let own = notes.profile().encounters.sort.clone();
    let order = asker
        .order("Encounter", &[], own.as_deref().unwrap_or("_lastUpdated"))
        .await?;
    sorted(
        notes,
        codes::ENCOUNTER_SORT,
        "encounters.sort",
        own,
        &order,
        asker.take_evidence(),
        |profile| {
            profile.encounters.sort = None;
        },
    );
    Ok(())
}

/// Compares an order with what the profile has of it.
pub(super) fn sorted(
    notes: &mut Notes,
    code: Code,
    key: &'static str,
    own: Option<String>,
    order: &Order,
    evidence: Vec<String>,
    without: impl FnOnce(&mut Profile),
) {
    let says = match order {
        Order::Sorts => "puts results in the order of _sort".to_owned(),
        Order::Ignored => "ignores _sort".to_owned(),
        Order::Refused(status) => format!("refuses _sort ({status})"),
        Order::NotKnown(why) => format!("not known: {why}"),
    };
    let verdict = match (order, own) {
        (Order::NotKnown(_), _) => Verdict::NotKnown,
        (Order::Sorts, None) => Verdict::Offered,
        (Order::Sorts, Some(_)) | (_, None) => Verdict::Well,
        (_, Some(own)) => {
            notes.differ(code, key, own, &says, without);
            Verdict::Differs
        }
    };
    let seen = if verdict == Verdict::NotKnown {
        says
    } else {
        format!("the EHR {says}")
    };
    notes.find(code, verdict, seen, evidence);
}

/// How records say when they changed. No key depends on it: without it, a visit counts from when it was first seen.
pub(super) fn stamps(asker: &Asker<'_>, notes: &mut Notes, resource: &'static str, code: Code) {
    let stamps = asker.shapes.stamps(resource);
    let name = |stamp: Stamp| match stamp {
        Stamp::Instant => "to the instant",
        Stamp::Day => "by day",
        Stamp::Missing => "not at all",
    };
    let (verdict, seen) = match &stamps[..] {
        [] => {
            let what = if resource == "Encounter" {
                "encounter"
            } else {
                "document"
            };
            (Verdict::NotKnown, format!("not known: no {what} yet"))
        }
        [(Stamp::Instant, _)] => (
            Verdict::Well,
            "results carry meta.lastUpdated to the instant".to_owned(),
        ),
        [(stamp, _)] => (
            Verdict::Notice,
            format!("results carry meta.lastUpdated {}", name(*stamp)),
        ),
        several => {
            let parts = several.iter().map(|(stamp, count)| format!("{count} {}", name(*stamp)));
            let seen = format!(
                "results carry meta.lastUpdated differently: {}",
                parts.collect::<Vec<_>>().join(", ")
            );
            (Verdict::Notice, seen)
        }
    };
    notes.find(code, verdict, seen, Vec::new());
}

/// The visits of these pages, the latest first, each patient once.
fn visits(profile: &Profile, pages: &[Option<&Found>]) -> Vec<Visit> {
    let read = |page: &Found| {
        let rules = &profile.encounters;
        page.records()
            .filter_map(|record| view::encounter(record, rules))
            .collect::<Vec<_>>()
    };
    let mut encounters: Vec<_> = pages.iter().flatten().flat_map(|page| read(page)).collect();
    let never = Timestamp::from_millis(i64::MIN);
    encounters.sort_by_key(|encounter| std::cmp::Reverse(encounter.last_updated.unwrap_or(never)));
    let mut patients = BTreeSet::new();
    encounters.retain(|encounter| patients.insert(encounter.patient.clone()));
    let visit = |encounter: skin_assist_core::domain::Encounter| Visit {
        patient: encounter.patient,
        encounter: encounter.id,
    };
    encounters.into_iter().map(visit).collect()
}

/// Whether visits name who treats by the codes that the profile has.
fn participants(notes: &mut Notes, pages: &[Option<&Found>]) {
    let treating = notes.profile().encounters.treating_participant.clone();
    let (mut named, mut with_any, mut unreadable, mut all) = (0_usize, 0_usize, 0_usize, 0_usize);
    let mut codes_seen = BTreeSet::new();
    for record in pages.iter().flatten().flat_map(|page| page.records()) {
        all += 1;
        let Some(encounter) = view::encounter(record, &notes.profile().encounters) else {
            unreadable += 1;
            continue;
        };
        named += usize::from(encounter.practitioner.is_some());
        let codes: Vec<_> = record
            .each("participant")
            .flat_map(|participant| participant.codes("type").collect::<Vec<_>>())
            .collect();
        with_any += usize::from(!codes.is_empty());
        // Codes, and nothing that somebody typed in their place.
        let is_code =
            |code: &str| code.len() <= 10 && code.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
        codes_seen.extend(
            codes
                .into_iter()
                .filter(|code| is_code(code))
                .map(std::borrow::Cow::into_owned),
        );
    }
    let codes_seen = codes_seen.into_iter().take(8).collect::<Vec<_>>();
    let evidence = vec![format!(
        "{all} entries read, {unreadable} of them without an id or a patient; {with_any} with participants by code, {named} with a treating practitioner"
    )];
    let (verdict, seen) = if all == unreadable {
        (Verdict::NotKnown, "not known: no encounter yet".to_owned())
    } else if named > 0 {
        (
            Verdict::Well,
            format!("visits name the treating practitioner as {}", treating.join(" or ")),
        )
    } else if with_any == 0 {
        (Verdict::Notice, "visits name no participant by code".to_owned())
    } else {
        let seen = format!(
            "no visit names a practitioner as {}; seen: {}",
            treating.join(" or "),
            codes_seen.join(", ")
        );
        (Verdict::Differs, seen)
    };
    if verdict == Verdict::Differs {
        let ehr = format!("names practitioners as {}", codes_seen.join(", "));
        notes.differ(
            codes::PARTICIPANTS,
            "encounters.treating_participant",
            treating.join(", "),
            ehr,
            nothing,
        );
    }
    notes.find(codes::PARTICIPANTS, verdict, seen, evidence);
}

/// One visit by its id, which is asked before each draft where finished visits are treated differently.
async fn read(asker: &mut Asker<'_>, notes: &mut Notes, visits: &[Visit]) -> Result<(), StateError> {
    let Some(visit) = visits.first() else {
        notes.find(
            codes::ENCOUNTER_READ,
            Verdict::NotKnown,
            "not known: no encounter yet",
            Vec::new(),
        );
        return Ok(());
    };
    let Ok(url) = asker.service.instance("Encounter", visit.encounter.as_str()) else {
        return Ok(());
    };
    let got = asker.get(&url, "Encounter/known".to_owned()).await?;
    let (verdict, seen) = match got {
        Got::It(_) => (Verdict::Well, "one encounter can be read".to_owned()),
        Got::NoAnswer(why) => (Verdict::NotKnown, format!("not known: {why}")),
        Got::Refused(status) => {
            let ehr = format!("refuses to give one encounter ({status})");
            let key = "draft.finished_visit";
            notes.differ(codes::ENCOUNTER_READ, key, "to look at the visit first", ehr, nothing);
            (Verdict::Differs, format!("one encounter cannot be read ({status})"))
        }
    };
    notes.find(codes::ENCOUNTER_READ, verdict, seen, asker.take_evidence());
    Ok(())
}
