//! What is sealed, also in a file of an earlier edition.

use skin_assist_core::ports::{InferenceRecords, Operations};

use super::*;

/// Nothing that came from the EHR can be read by whoever has the state's key alone.
#[test]
fn what_comes_from_an_ehr_is_not_in_the_file_in_the_clear() {
    let place = Place::new();
    let store = place.open();
    fill(&store, "elm");
    is_readable(&store, "elm");
    drop(store);
    let texts = texts(&raw(&place.state(), 7));
    let readable = |word: &str| texts.iter().find(|(.., text)| text.contains(word));
    for word in of_the_ehr("elm") {
        assert_eq!(readable(&word), None, "{word} can be read");
    }
    assert!(readable("mode silent").is_some(), "what operators do stays readable");
}

/// Without the firm's name on it: two firms may know one patient, and nobody sees that.
#[test]
fn the_same_value_of_two_firms_is_sealed_differently() {
    let place = Place::new();
    let store = place.open();
    for name in ["elm", "oak"] {
        fill(&store, name);
        let seen = Encounter {
            id: EncounterId::new("same"),
            patient: PatientId::new("same"),
            practitioner: None,
            status: EncounterStatus::Open,
            last_updated: Some(at(1)),
        };
        let firm = FirmId::new(name);
        block_on(store.record_encounters(&firm, Some(Cursor(at(0))), Cursor(at(1)), &[seen], at(1))).unwrap();
    }
    drop(store);
    let raw = raw(&place.state(), 7);
    let count = |column: &str| -> i64 {
        let sql = format!("SELECT count(DISTINCT {column}) FROM encounter_watch");
        raw.query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!((count("patient"), count("encounter")), (4, 4));
}

const EDITIONS: [&str; 4] = [
    include_str!("../../migrations/0001_state.sql"),
    include_str!("../../migrations/0002_polling.sql"),
    include_str!("../../migrations/0003_language.sql"),
    include_str!("../../migrations/0004_assessments.sql"),
];

/// A file as the program of the fourth edition left it, with something of a firm in each table, and the audit trail of another that was
/// removed.
fn of_the_fourth_edition(path: &Path) {
    let earlier = raw(path, 7);
    earlier.execute_batch("PRAGMA journal_mode = wal;").unwrap();
    for edition in EDITIONS {
        earlier.execute_batch(edition).unwrap();
    }
    let digest = "0".repeat(64);
    earlier
        .execute_batch(&format!(
            "PRAGMA application_id = {application}; PRAGMA user_version = 4;
             INSERT INTO firms (firm, url_prefix, status, mode, categories, connected_at, photos_since) VALUES
                 ('elm', 'elm', 'active', 'silent', '{{}}', {now}, 0);
             INSERT INTO watch_lists (firm, fence) VALUES ('elm', 0);
             INSERT INTO credentials (firm, client_id, client_secret, key_id, token, refresh_token, issued_at, expires_at, fence)
                 VALUES ('elm', 'plain-client', 'plain-secret', 'plain-kid', 'plain-token', 'plain-refresh', {now}, {now}, 0);
             INSERT INTO encounter_watch (firm, encounter, patient, practitioner, status, first_seen_at, expires_at, fence)
                 VALUES ('elm', 'plain-encounter', 'plain-patient', 'plain-practitioner', 'open', {now}, {now} + 86400000, 3);
             INSERT INTO document_watch (firm, document, step, available_at, fence, encounter, patient, category, route, assessment,
                     detected_at, photo_digest, photo_bytes, downloaded_at) VALUES
                 ('elm', 'plain-document', 'infer', {now}, 7, 'plain-encounter', 'plain-patient', 'c', 'solitary', 'plain-x',
                  {now}, '{digest}', 5, {now}),
                 ('elm', 'plain-dead', 'dead', NULL, 8, 'plain-encounter', 'plain-patient', 'c', 'solitary', 'plain-y', {now},
                  NULL, NULL, NULL);
             INSERT INTO dead_letters (firm, kind, subject, step, stage, reason_code, reason_hint, attempts, at) VALUES
                 ('elm', 'document', 'plain-dead', 'download', 'download-photo', 'photo.empty', 'upload again', 1, {now});
             INSERT INTO findings (firm, result_key, recorded_at, findings) VALUES ('elm', 'plain-key', {now}, 'plain-findings');
             INSERT INTO assist_results (firm, assessment, delivery, delivery_at, reference, fence, result_key, assessed_at,
                     top_finding, subject, photos, versions, findings, note) VALUES
                 ('elm', 'plain-z', 'delivered', {now}, 'Composition/plain', 1, 'plain-key', {now}, 'plain-finding',
                  '{{\"id\": \"plain-z\", \"firm\": \"elm\", \"encounter\": \"plain-encounter\", \"patient\": \"plain-patient\",
                     \"practitioner\": null, \"category\": \"c\", \"route\": \"widespread\", \"documents\": [\"plain-done\"]}}',
                  '[{{\"document\": \"plain-done\", \"digest\": \"{digest}\", \"attached_at\": null, \"detected_at\": \"{today}\",
                     \"downloaded_at\": \"{today}\"}}]',
                  '{{\"models\": [], \"synthesis\": \"s\", \"pipeline\": \"p\"}}',
                  '{{\"route\": \"widespread\", \"image\": {{\"width\": 1, \"height\": 1, \"format\": \"jpeg\",
                     \"quality\": {{\"sharpness\": 1.0, \"brightness\": 0.5}}}}, \"regions\": [], \"ranked\": [],
                     \"abstention\": null, \"models\": []}}',
                  '{{\"title\": \"plain-title\", \"sections\": [], \"instructions\": [], \"regions\": []}}');
             INSERT INTO audit (at, firm, actor, action, subject) VALUES
                 ({now}, 'elm', 'download', 'photo-read', 'plain-document'),
                 ({now}, 'gone', 'download', 'photo-read', 'plain-gone'),
                 ({now}, 'gone', 'operator', 'firm-changed', 'removed');",
            application = 0x536b_4173,
            now = at(0).as_millis(),
            today = at(0),
        ))
        .unwrap();
}

#[test]
fn a_file_of_the_fourth_edition_is_sealed_and_reads_as_before() {
    let place = Place::new();
    of_the_fourth_edition(&place.state());
    let store = place.open();
    let firm = FirmId::new("elm");
    let credential = block_on(store.credential(&firm)).unwrap().unwrap();
    assert_eq!(
        (
            credential.client_id.as_str(),
            credential.client_secret.expose(),
            credential.key_id.as_deref()
        ),
        ("plain-client", "plain-secret", Some("plain-kid"))
    );
    assert_eq!(credential.token.unwrap().secret.expose(), "plain-token");
    assert_eq!(credential.refresh_token.unwrap().expose(), "plain-refresh");
    let watched = &block_on(store.watch_list(&firm, at(0))).unwrap()[0];
    assert_eq!(
        (watched.watch.encounter.id.as_str(), watched.photos),
        ("plain-encounter", 2)
    );
    let practitioner = watched.watch.encounter.practitioner.as_ref().unwrap();
    assert_eq!(practitioner.as_str(), "plain-practitioner");
    let lease = block_on(store.acquire_documents(DocumentStep::Infer, at(0), LEASE, 9))
        .unwrap()
        .remove(0);
    assert_eq!(lease.item().document.as_str(), "plain-document");
    assert!(lease.item().photo.is_some());
    // What is joined in SQL still fits.
    let letter = &block_on(store.dead_letters()).unwrap()[0];
    block_on(store.replay(letter.id, at(1))).unwrap();
    let again = block_on(store.acquire_documents(DocumentStep::Download, at(1), LEASE, 9)).unwrap();
    assert_eq!(again[0].item().document.as_str(), "plain-dead");
    let result = &block_on(store.firm_results(&firm)).unwrap()[0];
    assert_eq!(result.note.expose().title, "plain-title");
    assert!(
        block_on(store.earlier_draft(&firm, &result.assessment.id))
            .unwrap()
            .is_some()
    );
    let records = block_on(store.records()).unwrap();
    let subjects: Vec<&str> = records.iter().map(|record| record.subject.as_str()).collect();
    assert_eq!(
        subjects,
        ["plain-document", "plain-gone", "removed", "3 entries of before"]
    );
    drop(store);

    let raw = raw(&place.state(), 7);
    for (table, column, _, text) in texts(&raw) {
        assert!(!text.contains("plain-"), "{table}.{column} has {text}");
    }
    assert!(
        raw.execute_batch("UPDATE audit SET actor = 'x'").is_err(),
        "append-only as before"
    );
    is_the_latest(&place);
}

fn is_the_latest(place: &Place) {
    let store = place.open();
    assert_eq!(firms(&store), ["elm"]);
    fill(&store, "oak");
    is_readable(&store, "oak");
}

/// A backup from before there were firm keys holds a firm in the clear; when it is opened after the firm was shredded, the firm goes.
#[test]
fn a_firm_that_was_shredded_does_not_come_back_from_a_file_of_the_fourth_edition() {
    let place = Place::new();
    of_the_fourth_edition(&place.state());
    let earlier = place.path("earlier.db");
    fs::copy(place.state(), &earlier).unwrap();
    let store = place.open();
    store.shred_firm(&FirmId::new("elm"), "operator", at(9)).unwrap();
    drop(store);
    let restored = SqliteStore::open_with(&earlier, &place.firm_keys(), &key(7)).unwrap();
    assert_eq!(firms(&restored), [""; 0]);
    drop(restored);
    // Nothing is left of it but the records that there was something, of what is not to be read.
    let restored = SqliteStore::open_with(&earlier, &place.firm_keys(), &key(7)).unwrap();
    let subjects: Vec<String> = block_on(restored.records())
        .unwrap()
        .into_iter()
        .map(|record| record.subject)
        .collect();
    assert_eq!(subjects, ["[shredded]", "plain-gone", "removed", "3 entries of before"]);
    drop(restored);
    let raw = raw(&earlier, 7);
    assert!(
        texts(&raw)
            .iter()
            .all(|(table, _, firm, _)| table == "audit" || firm.as_deref() != Some("elm"))
    );
}
