//! What only this store can be asked: its query plans, its fence floor, its damage and its full disk.

use std::{collections::BTreeMap, error::Error, time::Duration};

use futures::executor::block_on;
use rusqlite::{Connection, params_from_iter, types::Null};
use skin_assist_core::{
    audit::{AuditFault, AuditHead, ChainVerifier},
    domain::{
        AssessmentId, CategoryCode, Cursor, DocumentId, DocumentStep, DocumentWatch, Encounter, EncounterId,
        EncounterStatus, Firm, FirmId, FirmStatus, Mode, NewCredential, POLL_REACH, PatientId, PollerFigures, PollerId,
        RECONCILED_FOR, Reason, Route, WATCH_LIFE,
    },
    phi::Secret,
    polling::{Count, Learned},
    ports::{
        Audit, AuditAction, AuditRecord, AuditTrail, Credentials, DocumentQueue, EncounterWatches, FirmAdministration,
        Firms, Operations, PollingMemory, Retention, RetentionLimits, StateError, WatchLists,
    },
    time::Timestamp,
};

use crate::{
    SqliteStore, deliveries, documents, encounters, migrations, operations, retention,
    sealed::{PATIENT, State},
    watch_lists,
};

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_767_600_000_000) + Duration::from_secs(seconds)
}

fn store() -> SqliteStore {
    let store = SqliteStore::open_in_memory().unwrap();
    let firm = Firm {
        id: FirmId::new("a"),
        url_prefix: "a".into(),
        status: FirmStatus::Active,
        mode: Mode::Silent,
        intended_use: None,
        categories: BTreeMap::new(),
        api_key: None,
        connected_at: at(0),
        photos_since: at(0),
    };
    block_on(store.add_firm(&firm, &NewCredential::secret("client", Secret::new("secret".into())))).unwrap();
    store
}

fn watch(store: &SqliteStore, id: &str, expected: Option<Timestamp>, now: Timestamp) {
    let seen = Encounter {
        id: EncounterId::new(id),
        patient: PatientId::new("p"),
        practitioner: None,
        status: EncounterStatus::Open,
        last_updated: Some(now),
    };
    let (firm, seen) = (FirmId::new("a"), [seen]);
    let poll = store.record_encounters(&firm, expected.map(Cursor), Cursor(now), &seen, now);
    block_on(poll).unwrap();
}

fn with_a_document() -> SqliteStore {
    let store = store();
    watch(&store, "e", None, at(0));
    let firm = FirmId::new("a");
    let found = DocumentWatch {
        firm: firm.clone(),
        document: DocumentId::new("d"),
        encounter: EncounterId::new("e"),
        patient: PatientId::new("p"),
        practitioner: None,
        category: CategoryCode::new("c"),
        route: Route::Solitary,
        assessment: AssessmentId::new("x"),
        attached_at: None,
        detected_at: at(0),
        gathers_until: None,
        closed: None,
        photo: None,
    };
    let ids = [EncounterId::new("e")];
    let mut leases = block_on(store.acquire_encounters(&firm, &ids, at(0), Duration::from_secs(30))).unwrap();
    block_on(store.record_documents(leases.remove(0), &[found], &[], at(0))).unwrap();
    store
}

/// The steps of a statement's plan.
fn plan(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let parameters = vec![Null; statement.parameter_count()];
    statement
        .query_map(params_from_iter(parameters), |row| row.get::<_, String>("detail"))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

/// Acquiring is one look at the head of one index: nothing is scanned, nothing is sorted.
#[test]
fn statements_on_the_way_of_a_photo_search_one_index() {
    let store = store();
    let connection = store.connection();
    for (sql, search) in [
        (
            documents::ACQUIRE,
            "SEARCH document_watch USING COVERING INDEX document_due (step=? AND available_at>? AND available_at<?)",
        ),
        (
            deliveries::ACQUIRE,
            "SEARCH assist_results USING COVERING INDEX result_due (available_at>? AND available_at<?)",
        ),
        (
            encounters::ACQUIRE,
            "SEARCH encounter_watch USING INDEX sqlite_autoindex_encounter_watch_1 (firm=? AND encounter=?)",
        ),
        (
            watch_lists::ACQUIRE,
            "SEARCH watch_lists USING COVERING INDEX watch_list_due (available_at<?)",
        ),
        (
            encounters::WATCH_LIST,
            "SEARCH d USING COVERING INDEX document_encounter (firm=? AND encounter=?) LEFT-JOIN",
        ),
        (
            operations::DETECTIONS,
            "SEARCH document_watch USING INDEX document_detected (detected_at>?)",
        ),
        (
            operations::UNCERTAIN,
            "SCAN assist_results USING INDEX result_uncertain",
        ),
        (
            operations::JOURNEYS,
            "SEARCH d USING INDEX document_detected (detected_at>?)",
        ),
        (
            operations::JOURNEY,
            "SEARCH d USING INDEX sqlite_autoindex_document_watch_1 (firm=? AND document=?)",
        ),
        (
            operations::DETECTIONS_OF_FIRM,
            "SEARCH document_watch USING COVERING INDEX document_encounter (firm=?)",
        ),
        (
            operations::QUEUED_DOCUMENTS,
            "SEARCH document_watch USING INDEX document_due (step=? AND available_at>?)",
        ),
        (
            operations::QUEUED_RESULTS,
            "SEARCH assist_results USING INDEX result_due (available_at>?)",
        ),
    ] {
        let steps = plan(&connection, sql);
        assert!(steps.iter().any(|step| step == search), "{sql}\n{steps:#?}");
        // Of scans, only those of an index in its order (with a limit, or of a partial index), and of the caller's list.
        for step in &steps {
            let scans = step.starts_with("SCAN") && step != search && !step.starts_with("SCAN json_each");
            assert!(!scans && !step.contains("TEMP B-TREE"), "{sql}\n{steps:#?}");
        }
    }
}

/// Of one firm, photos are looked for among its own. They are sorted, which those of all firms need not be.
#[test]
fn a_firm_s_photos_are_not_looked_for_among_all() {
    let steps = plan(&store().connection(), operations::JOURNEYS_OF_FIRM);
    let search = "SEARCH d USING INDEX document_encounter (firm=?)";
    assert!(steps.iter().any(|step| step == search), "{steps:#?}");
}

/// A paused firm's photos are not in the index that acquiring reads: a long queue of them costs the others nothing.
#[test]
fn a_paused_firm_is_out_of_the_index() {
    let store = with_a_document();
    let due = |store: &SqliteStore| -> i64 {
        let sql = "SELECT count(*) FROM document_watch INDEXED BY document_due
                   WHERE parked = 0 AND available_at IS NOT NULL AND step = 'download'";
        store.connection().query_row(sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(due(&store), 1);
    block_on(store.set_firm_status(&FirmId::new("a"), FirmStatus::Paused)).unwrap();
    assert_eq!(due(&store), 0);
}

/// A swept watch may be watched anew; a worker that slept through both changes nothing.
#[test]
fn fences_grow_across_a_sweep() {
    let store = store();
    let (firm, ids, lease_for) = (FirmId::new("a"), [EncounterId::new("e")], Duration::from_secs(30));
    watch(&store, "e", None, at(0));
    let lost = block_on(store.acquire_encounters(&firm, &ids, at(0), lease_for))
        .unwrap()
        .remove(0);
    let later = at(0) + 6 * WATCH_LIFE;
    watch(&store, "other", Some(at(0)), later);
    assert_eq!(block_on(store.sweep_expired(later)).unwrap(), 1);
    watch(&store, "e", Some(later), later);
    let live = block_on(store.acquire_encounters(&firm, &ids, later, lease_for))
        .unwrap()
        .remove(0);
    assert!(live.fence() > lost.fence());
    let outcome = block_on(store.record_documents(lost, &[], &[], later));
    assert!(matches!(outcome, Err(StateError::LeaseLost)), "{outcome:?}");
    block_on(store.release_encounter(live, later)).unwrap();
}

/// For as long as it can be looked at, and no longer; and pollers for a day.
#[test]
fn a_sweep_deletes_what_nobody_can_ask_for() {
    let store = store();
    watch(&store, "e", None, at(0));
    let poller = PollerId("one".into());
    block_on(store.attend(&poller, &PollerFigures::default(), at(0), at(30))).unwrap();
    watch(&store, "other", Some(at(0)), at(0) + 9 * WATCH_LIFE);
    for (now, swept) in [
        (at(29) + WATCH_LIFE, 0),
        (at(30) + WATCH_LIFE, 1),
        (at(0) + 5 * WATCH_LIFE - Duration::from_millis(1), 0),
        (at(0) + 5 * WATCH_LIFE, 1),
    ] {
        assert_eq!(block_on(store.sweep_expired(now)).unwrap(), swept, "at {now}");
    }
}

/// Of a practice that nobody polls the cursor stands still: its visits go by time, and those of others stay until it has moved. When the
/// practice is polled again, what is shown of before is watched once more, and its photo is known.
#[test]
fn a_sweep_counts_time_alone_where_nobody_polls() {
    let (firm, lease_for) = (FirmId::new("a"), Duration::from_secs(30));
    let by_time = at(0) + WATCH_LIFE + RECONCILED_FOR + POLL_REACH;
    for standing in ["served", "paused", "off", "refused"] {
        let store = with_a_document();
        match standing {
            "paused" => block_on(store.set_firm_status(&firm, FirmStatus::Paused)).unwrap(),
            "off" => block_on(store.set_mode(&firm, Mode::Off, None)).unwrap(),
            "refused" => {
                let lease = block_on(store.acquire_refresh(&firm, at(0), lease_for)).unwrap();
                let reason = Reason::new("test.reason", "this is a test");
                block_on(store.record_refusal(lease.unwrap(), &reason, at(60))).unwrap();
            }
            _ => {}
        }
        let left = |now| {
            block_on(store.sweep_expired(now)).unwrap();
            let kept = block_on(store.kept()).unwrap();
            kept.iter().find(|kept| kept.what == "encounters").unwrap().number
        };
        assert_eq!(left(by_time - Duration::from_millis(1)), 1, "{standing}");
        assert_eq!(left(by_time), u64::from(standing == "served"), "{standing}");
        if standing != "served" {
            block_on(store.set_firm_status(&firm, FirmStatus::Active)).unwrap();
            block_on(store.set_mode(&firm, Mode::Silent, None)).unwrap();
            let step = DocumentStep::Download;
            let before = block_on(store.acquire_documents(step, by_time, lease_for, 9)).unwrap();
            let known = before[0].item().clone();
            watch(&store, "e", Some(at(0)), by_time);
            let ids = [EncounterId::new("e")];
            let mut leases = block_on(store.acquire_encounters(&firm, &ids, by_time, lease_for)).unwrap();
            let recorded = block_on(store.record_documents(leases.remove(0), &[known], &[], by_time)).unwrap();
            assert_eq!(recorded.new, [], "{standing}: no second draft");
        }
    }
}

#[test]
fn what_was_discarded_is_found_by_firm_and_state() {
    let steps = plan(&store().connection(), retention::OLD_DISCARDED);
    let search = "SEARCH assist_results USING INDEX result_delivery (firm=? AND delivery=?)";
    assert!(steps.iter().any(|step| step == search), "{steps:#?}");
}

/// JSON has no word for what is not a number: one would spoil what all others have learned, or hide the other pollers.
#[test]
fn what_is_not_a_number_is_not_kept() {
    let store = store();
    let count = |events: f64| Count { events, exposure: 1.0 };
    let of = |events: f64| Learned {
        shared: BTreeMap::from([("table".into(), vec![count(1.0), count(events)])]),
        firms: BTreeMap::from([(FirmId::new("a"), BTreeMap::from([("count".into(), count(events))]))]),
    };
    for events in [1.0, f64::NAN, f64::INFINITY] {
        block_on(store.add_learned(&of(events), at(0))).unwrap();
    }
    let learned = block_on(store.learned(&[FirmId::new("a")])).unwrap();
    let added = Count {
        events: 3.0,
        exposure: 3.0,
    };
    assert_eq!(learned.shared["table"], [added, count(1.0)]);
    assert_eq!(learned.firms[&FirmId::new("a")]["count"], count(1.0));

    let mut figures = PollerFigures {
        prices: BTreeMap::from([("key".into(), 0.25), ("without bounds".into(), f64::INFINITY)]),
        ..PollerFigures::default()
    };
    block_on(store.attend(&PollerId("one".into()), &figures, at(0), at(30))).unwrap();
    figures.prices.remove("without bounds");
    assert_eq!(block_on(store.pollers(at(0))).unwrap()[0].1, figures);
}

/// Errors are logged, and rows hold what patients said.
#[test]
fn a_damaged_row_is_an_error_that_does_not_quote_it() {
    let store = store();
    let damage = "UPDATE firms SET categories = '{\"Jane Roe\": \"Jane Roe\"}', mode = 'Jane Roe'";
    store.connection().execute_batch(damage).unwrap();
    let error = block_on(store.firms()).unwrap_err();
    assert!(matches!(error, StateError::Corrupt { table: "firms", .. }), "{error:?}");
    let source = error.source().unwrap();
    assert!(!format!("{error} {error:?} {source} {source:?}").contains("Jane"));
}

#[test]
fn a_full_disk_is_unavailable_and_changes_nothing() {
    let store = with_a_document();
    let pages: i64 = store
        .connection()
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .unwrap();
    store
        .connection()
        .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
        .unwrap();
    let categories = (0..5000).map(|number| {
        (
            CategoryCode::new(format!("category-{number}")),
            skin_assist_core::domain::CategoryUse::Ignored,
        )
    });
    let outcome = block_on(store.set_categories(&FirmId::new("a"), &categories.collect()));
    assert!(matches!(outcome, Err(StateError::Unavailable(_))), "{outcome:?}");
    assert!(
        block_on(store.firm(&FirmId::new("a")))
            .unwrap()
            .unwrap()
            .categories
            .is_empty()
    );
    let leases = store.acquire_documents(DocumentStep::Download, at(0), Duration::from_secs(30), 1);
    assert_eq!(block_on(leases).unwrap().len(), 1, "what needs no room still works");
}

#[test]
fn the_audit_trail_cannot_be_changed() {
    let store = store();
    for number in 0..3 {
        record(&store, number);
    }
    let connection = store.connection();
    let row = "firm, number, at, actor, action, subject, previous, hash";
    for refused in [
        "UPDATE audit SET actor = 'x'".to_owned(),
        "DELETE FROM audit".to_owned(),
        "DELETE FROM audit WHERE number = 3".to_owned(),
        // In the place of another, beyond the end, and over another that goes without a trigger.
        format!("INSERT INTO audit ({row}) VALUES ('a', 2, 0, 'x', 'x', 'x', 'x', 'x')"),
        format!("INSERT INTO audit ({row}) VALUES ('a', 5, 0, 'x', 'x', 'x', 'x', 'x')"),
        format!("INSERT OR REPLACE INTO audit ({row}) VALUES ('a', 2, 0, 'x', 'x', 'x', 'x', 'x')"),
        format!(
            "INSERT OR REPLACE INTO audit (id, {row}) SELECT id, 'a', 4, 0, 'x', 'x', 'x', 'x', 'x' FROM audit LIMIT 1"
        ),
        // As if entries had been removed after their time.
        "INSERT INTO audit_bases VALUES ('a', 2, 'x')".to_owned(),
    ] {
        assert!(connection.execute_batch(&refused).is_err(), "{refused}");
    }
    drop(connection);
    assert_eq!(faults(&store, &[]), []);
}

fn record(store: &SqliteStore, number: u64) {
    let record = AuditRecord {
        at: at(number),
        firm: FirmId::new("a"),
        actor: "infer".into(),
        action: AuditAction::Inferred,
        subject: number.to_string(),
    };
    block_on(store.record(&record)).unwrap();
}

/// What a check of the firm's chain finds.
fn faults(store: &SqliteStore, anchors: &[AuditHead]) -> Vec<AuditFault> {
    let firm = FirmId::new("a");
    let chains = block_on(store.audit_chains()).unwrap();
    let base = chains
        .into_iter()
        .find(|chain| chain.base.firm == firm)
        .map_or_else(|| AuditHead::beginning(firm.clone()), |chain| chain.base);
    let mut verifier = ChainVerifier::new(base, anchors);
    for entry in block_on(store.audit_entries(&firm, 0, 100)).unwrap().entries {
        verifier.entry(&entry);
    }
    verifier.end().faults
}

/// By somebody with the key, who takes the triggers away: the chain tells, and names what was touched.
#[test]
fn whoever_touches_the_trail_all_the_same_is_found() {
    let head = |store: &SqliteStore| block_on(store.audit_chains()).unwrap()[0].head.clone();
    let touched = |sql: &str| {
        let store = store();
        for number in 0..6 {
            record(&store, number);
        }
        let anchor = head(&store);
        let connection = store.connection();
        let triggers: Vec<String> = connection
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(triggers.len(), 6);
        for trigger in triggers {
            connection.execute_batch(&format!("DROP TRIGGER {trigger}")).unwrap();
        }
        connection.execute_batch(sql).unwrap();
        drop(connection);
        (faults(&store, &[]), faults(&store, &[anchor]))
    };
    let missing = |from, to| AuditFault::Missing { from, to };
    for (sql, found) in [
        (
            "UPDATE audit SET subject = '9' WHERE number = 3",
            AuditFault::Changed { number: 3 },
        ),
        (
            "UPDATE audit SET at = at + 1 WHERE number = 6",
            AuditFault::Changed { number: 6 },
        ),
        (
            "UPDATE audit SET action = 'no such word' WHERE number = 1",
            AuditFault::Changed { number: 1 },
        ),
        (
            "UPDATE audit SET previous = hash WHERE number = 2",
            AuditFault::Changed { number: 2 },
        ),
        ("UPDATE audit SET firm = 'b' WHERE number = 2", missing(2, 2)),
        ("DELETE FROM audit WHERE number IN (3, 4)", missing(3, 4)),
        ("DELETE FROM audit WHERE number = 1", missing(1, 1)),
        (
            "UPDATE audit SET id = 100 WHERE number = 2; UPDATE audit SET id = 2 WHERE number = 3;
             UPDATE audit SET id = 3 WHERE number = 2",
            AuditFault::OutOfOrder { number: 2 },
        ),
        (
            "UPDATE audit SET number = 100 WHERE number = 2; UPDATE audit SET number = 2 WHERE number = 3;
             UPDATE audit SET number = 3 WHERE number = 100",
            AuditFault::Changed { number: 3 },
        ),
        (
            "INSERT INTO audit_bases SELECT firm, number, hash FROM audit WHERE number = 2;
             DELETE FROM audit WHERE number <= 2",
            AuditFault::RemovedUnsaid { up_to: 2 },
        ),
    ] {
        let (alone, anchored) = touched(sql);
        assert!(alone.contains(&found), "{sql}: {alone:?}");
        assert!(anchored.contains(&found), "{sql}: {anchored:?}");
    }
    let (alone, anchored) = touched("DELETE FROM audit WHERE number > 4");
    assert_eq!(alone, [], "no chain shows by itself that its end is missing");
    assert_eq!(anchored, [AuditFault::CutOff { number: 4, anchored: 6 }]);
    let (_, anchored) = touched("DELETE FROM audit");
    assert_eq!(anchored, [AuditFault::CutOff { number: 0, anchored: 6 }]);
}

/// A result and what its photo's row says of the patient go; that the photo was assessed stays known.
#[test]
fn old_results_go_and_their_photos_are_not_assessed_anew() {
    let store = with_a_document();
    let life = Duration::from_secs(86_400);
    let limits = RetentionLimits {
        results: Some(life),
        audit: None,
    };
    let firm = FirmId::new("a");
    for (delivery, goes) in [
        ("uncertain", false),
        ("pending", false),
        // Without a letter: it was discarded, perhaps by the version before.
        ("buried", true),
        ("delivered", true),
    ] {
        let waits = if delivery == "pending" { "0" } else { "NULL" };
        store
            .connection()
            .execute_batch(&format!(
                "DELETE FROM assist_results;
                 UPDATE document_watch SET step = 'done', available_at = NULL, practitioner = 'Dr. Roe';
                 INSERT INTO assist_results (firm, assessment, delivery, delivery_at, reference, available_at, fence, result_key,
                         assessed_at, subject, photos, versions, findings, note)
                     VALUES ('a', (SELECT assessment FROM document_watch), '{delivery}', 0, 'Composition/1', {waits}, 70, 'k', {}, '{{}}', '[]', '{{}}', '{{}}', 'Jane Roe')",
                at(0).as_millis()
            ))
            .unwrap();
        let almost = at(0) + life - Duration::from_millis(1);
        assert_eq!(block_on(store.remove_expired(&limits, almost)).unwrap().results, 0);
        let removed = block_on(store.remove_expired(&limits, at(0) + life)).unwrap();
        assert_eq!(removed.results, u64::from(goes), "{delivery}");
    }
    let of = |sql: &str| -> String { store.connection().query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(of("SELECT count(*) || '' FROM assist_results"), "0");
    let row =
        "SELECT document || step || patient || coalesce(practitioner, '') || encounter || category FROM document_watch";
    let blank = {
        let connection = store.connection();
        let seal = State::new(&connection, &store.vault).sealer(&firm);
        let (document, patient) = (seal.document(&DocumentId::new("d")), seal.seal(PATIENT, ""));
        format!("{document}done{patient}{}", seal.encounter(&EncounterId::new("")))
    };
    assert_eq!(of(row), blank);
    assert!(block_on(store.journeys(None, Timestamp::ALWAYS, 9)).unwrap().is_empty());
    assert_eq!(block_on(store.firm_results(&firm)).unwrap(), []);
    let records = block_on(store.records()).unwrap();
    assert_eq!(records.last().unwrap().action, AuditAction::ResultsRemoved);
    assert!(records.last().unwrap().subject.starts_with("1 assessed until "));
    // Shown by the EHR once more: it is known.
    let again = {
        watch(&store, "late", Some(at(0)), at(1));
        let ids = [EncounterId::new("late")];
        let mut leases = block_on(store.acquire_encounters(&firm, &ids, at(1), Duration::from_secs(30))).unwrap();
        let found = DocumentWatch {
            firm: firm.clone(),
            document: DocumentId::new("d"),
            encounter: EncounterId::new("late"),
            patient: PatientId::new("p"),
            practitioner: None,
            category: CategoryCode::new("c"),
            route: Route::Solitary,
            assessment: AssessmentId::new("y"),
            attached_at: None,
            detected_at: at(1),
            gathers_until: None,
            closed: None,
            photo: None,
        };
        block_on(store.record_documents(leases.remove(0), &[found], &[], at(1))).unwrap()
    };
    assert_eq!(again.new, []);
    assert!(
        block_on(store.kept())
            .unwrap()
            .iter()
            .any(|kept| kept.what == "results" && kept.number == 0)
    );
}

#[test]
fn a_new_state_has_the_latest_edition_and_sound_references() {
    let store = with_a_document();
    let connection = store.connection();
    let edition = migrations::edition(&connection).unwrap();
    assert!(edition.ours && edition.version == migrations::LATEST);
    let synchronous: i64 = connection
        .pragma_query_value(None, "synchronous", |row| row.get(0))
        .unwrap();
    assert_eq!(synchronous, 2, "FULL: what has returned is on disk");
    let wrong = connection.query_row("PRAGMA foreign_key_check", [], |_| Ok(()));
    assert!(matches!(wrong, Err(rusqlite::Error::QueryReturnedNoRows)));
}
