//! What DynamoDB's own limits and failures ask for: more rows than a transaction takes, a removal that was interrupted, rows
//! that are large, a service that is not there.

// Helpers of tests, which clippy does not take for tests.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use aws_sdk_dynamodb::types::AttributeValue;
use skin_assist_aws::{
    connection::Connection,
    dynamodb::{DynamoStore, FirmKeys, schema::TABLES},
};
use skin_assist_core::{
    audit::AuditEntry,
    domain::{
        Assessment, CategoryCode, CategoryUse, Cursor, DocumentId, DocumentStep, DocumentWatch, Encounter, EncounterId,
        EncounterStatus, Firm, FirmId, FirmStatus, Mode, NewCredential, PatientId, Route,
    },
    phi::Secret,
    ports::{
        Audit as _, AuditAction, AuditRecord, AuditTrail as _, Credentials as _, DocumentQueue as _,
        EncounterWatches as _, FirmAdministration as _, Firms as _, Look, Operations as _, RecordedEncounters,
        StateError, StateStore, WatchLists as _,
    },
    time::Timestamp,
};
use skin_assist_testkit::servers::Server;

const LEASE: Duration = Duration::from_secs(30);

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_767_600_000_000) + Duration::from_secs(seconds)
}

/// A store on a state of its own.
async fn store(server: &Server) -> DynamoStore {
    let store = DynamoStore::new(
        &Connection::to_emulator(server.endpoint()),
        "limits-",
        FirmKeys::for_emulator(),
    );
    store.create_tables().await.unwrap();
    store
}

async fn add_firm(store: &DynamoStore, id: &str) -> FirmId {
    let firm = Firm {
        id: FirmId::new(id),
        url_prefix: id.trim_start_matches('a').to_owned(),
        status: FirmStatus::Active,
        mode: Mode::Draft,
        intended_use: None,
        categories: BTreeMap::from([(CategoryCode::new("clinical-photo"), CategoryUse::Solitary)]),
        api_key: None,
        connected_at: at(0),
        photos_since: at(0),
    };
    let credential = NewCredential::secret("client", Secret::new("secret".to_owned()));
    store.add_firm(&firm, &credential).await.unwrap();
    firm.id
}

fn encounter(number: usize, version: u64) -> Encounter {
    Encounter {
        id: EncounterId::new(format!("e{number:03}")),
        patient: PatientId::new("p"),
        practitioner: None,
        status: EncounterStatus::Open,
        last_updated: Some(at(version)),
    }
}

fn document(firm: &FirmId, encounter: &EncounterId, number: usize) -> DocumentWatch {
    let document = DocumentId::new(format!("d{number:03}"));
    DocumentWatch {
        firm: firm.clone(),
        assessment: Assessment::identity(firm, encounter, [&document]),
        document,
        encounter: encounter.clone(),
        patient: PatientId::new("p"),
        practitioner: None,
        category: CategoryCode::new("clinical-photo"),
        route: Route::Solitary,
        attached_at: Some(at(number as u64)),
        detected_at: at(1000),
        gathers_until: None,
        closed: None,
        photo: None,
    }
}

#[tokio::test]
async fn what_one_answer_shows_may_be_more_than_a_transaction_takes() {
    let server = Server::dynoxide();
    let store = store(&server).await;
    let firm = add_firm(&store, "a").await;
    let seen: Vec<Encounter> = (0..250).map(|number| encounter(number, 1)).collect();
    let recorded = store
        .record_encounters(&firm, None, Cursor(at(1)), &seen, at(2))
        .await
        .unwrap();
    assert_eq!(recorded, RecordedEncounters { new: 250, changed: 0 });
    assert_eq!(store.cursor(&firm).await.unwrap(), Some(Cursor(at(1))));
    assert_eq!(store.watch_list(&firm, at(2)).await.unwrap().len(), 250);

    // Each encounter looked at; 240 photos, those of one encounter in several transactions.
    let lease = store.acquire_watch_lists(at(2), LEASE, 10).await.unwrap().remove(0);
    let mut looks: Vec<Look> = seen
        .iter()
        .map(|encounter| Look {
            encounter: encounter.id.clone(),
            at: at(3),
            found: Vec::new(),
            retracted: Vec::new(),
        })
        .collect();
    for number in 0..240 {
        let of = if number < 150 { 0 } else { number };
        let watch = document(&firm, &seen[of].id, number);
        looks[of].found.push(watch);
    }
    let recorded = store.record_looks(&lease, &looks, at(3)).await.unwrap();
    assert_eq!(recorded.new.iter().collect::<BTreeSet<_>>().len(), 240);
    assert_eq!(recorded.new.len(), 240, "none twice");
    let list = store.watch_list(&firm, at(3)).await.unwrap();
    assert!(list.iter().all(|watched| watched.watch.looked_at == Some(at(3))));
    assert_eq!((list[0].photos, list[0].latest_photo_at), (150, Some(at(149))));
    assert_eq!(list.iter().map(|watched| watched.photos).sum::<u32>(), 240);
    let again = store.record_looks(&lease, &looks, at(4)).await.unwrap();
    assert!(again.new.is_empty(), "they are known now");

    // And all retracted at once, while some are leased.
    let leased = store
        .acquire_documents(DocumentStep::Download, at(1000), LEASE, 120)
        .await
        .unwrap();
    assert_eq!(leased.len(), 120, "more than a page of the index");
    for look in &mut looks {
        look.retracted = std::mem::take(&mut look.found)
            .into_iter()
            .map(|watch| watch.document)
            .collect();
    }
    store.record_looks(&lease, &looks, at(1001)).await.unwrap();
    for lease in leased {
        let outcome = store.retry_document(lease, at(1002)).await;
        assert!(matches!(outcome, Err(StateError::LeaseLost)), "{outcome:?}");
    }
    let left = store
        .acquire_documents(DocumentStep::Download, at(9000), LEASE, 500)
        .await
        .unwrap();
    assert!(left.is_empty());

    // A zombie writes no part of it.
    let next = store.acquire_watch_lists(at(2000), LEASE, 10).await.unwrap().remove(0);
    let found: Vec<DocumentWatch> = (300..500).map(|number| document(&firm, &seen[0].id, number)).collect();
    looks[0].found = found;
    let outcome = store.record_looks(&lease, &looks, at(2001)).await;
    assert!(matches!(outcome, Err(StateError::LeaseLost)), "{outcome:?}");
    assert_eq!(store.journeys(None, Timestamp::ALWAYS, 1000).await.unwrap().len(), 240);
    drop(next);
}

/// A process keeps what it read of a firm's encounters. What others recorded since it sees all the same: encounters, photos,
/// looks; few changes or many; and another firm of the same name.
#[tokio::test]
async fn a_process_sees_what_another_recorded() {
    let server = Server::dynoxide();
    let one = store(&server).await;
    let other = DynamoStore::new(
        &Connection::to_emulator(server.endpoint()),
        "limits-",
        FirmKeys::for_emulator(),
    );
    let firm = add_firm(&one, "a").await;
    let mut cursor = None;
    let mut record = async |store: &DynamoStore, seen: &[Encounter], next: u64| {
        let recorded = store
            .record_encounters(&firm, cursor, Cursor(at(next)), seen, at(next))
            .await
            .unwrap();
        cursor = Some(Cursor(at(next)));
        recorded
    };
    record(&one, &[encounter(0, 1), encounter(1, 1)], 1).await;
    let list = async |store: &DynamoStore| store.watch_list(&firm, at(1)).await.unwrap();
    assert_eq!(list(&one).await, list(&other).await);

    // A change, seen by a process that did not record it; and a version that this one has not seen is news to it no more.
    let mut finished = encounter(0, 2);
    finished.status = EncounterStatus::Finished;
    record(&other, std::slice::from_ref(&finished), 2).await;
    assert_eq!(list(&one).await[0].watch.encounter, finished);
    let again = record(&one, std::slice::from_ref(&finished), 3).await;
    assert_eq!(again, RecordedEncounters::default());

    // A photo and looks, more of them than the lease's row keeps.
    let lease = other.acquire_watch_lists(at(3), LEASE, 1).await.unwrap().remove(0);
    let look = |number: usize, found| Look {
        encounter: encounter(number, 1).id,
        at: at(4),
        found,
        retracted: Vec::new(),
    };
    let photo = document(&firm, &encounter(1, 1).id, 7);
    other
        .record_looks(&lease, &[look(1, vec![photo])], at(4))
        .await
        .unwrap();
    let seen: Vec<Encounter> = (2..60).map(|number| encounter(number, 5)).collect();
    record(&other, &seen, 5).await;
    let looks: Vec<Look> = (2..60).map(|number| look(number, Vec::new())).collect();
    for looks in looks.chunks(10) {
        other.record_looks(&lease, looks, at(6)).await.unwrap();
    }
    let known = list(&one).await;
    assert_eq!(known.len(), 60, "more changes than the cursor's row names");
    assert_eq!((known[1].photos, known[1].latest_photo_at), (1, Some(at(7))));
    assert_eq!(known[1].watch.looked_at, Some(at(4)));
    assert_eq!(known, list(&other).await);

    other.remove_firm(&firm).await.unwrap();
    add_firm(&other, "a").await;
    assert!(list(&one).await.is_empty());
    other
        .record_encounters(&firm, None, Cursor(at(1)), &[encounter(9, 1)], at(1))
        .await
        .unwrap();
    let ids: Vec<String> = list(&one)
        .await
        .iter()
        .map(|known| known.watch.encounter.id.to_string())
        .collect();
    assert_eq!(ids, ["e009"]);
}

/// The firm is out of sight, and its rows were not all deleted when the process ended.
#[tokio::test]
async fn an_interrupted_removal_is_finished_by_whoever_comes_next() {
    let server = Server::dynoxide();
    let store = store(&server).await;
    let raw = aws_sdk_dynamodb::Client::new(Connection::to_emulator(server.endpoint()).sdk());
    for again in [false, true] {
        let firm = add_firm(&store, "a").await;
        let seen = [encounter(1, 1)];
        store
            .record_encounters(&firm, None, Cursor(at(1)), &seen, at(2))
            .await
            .unwrap();
        let lease = store.acquire_watch_lists(at(2), LEASE, 1).await.unwrap().remove(0);
        let look = Look {
            encounter: seen[0].id.clone(),
            at: at(3),
            found: vec![document(&firm, &seen[0].id, 1)],
            retracted: Vec::new(),
        };
        store.record_looks(&lease, &[look], at(3)).await.unwrap();
        // The first transaction of a removal, by hand.
        for (table, part, item) in [
            ("Firms", "firms", "a"),
            ("Firms", "url-prefixes", "/"),
            ("Credentials", "a", "credential"),
            ("EncounterWatch", "watch-lists", "a"),
            ("EncounterWatch", "a", "cursor"),
            ("EncounterWatch", "a", "learned"),
        ] {
            let row = raw
                .delete_item()
                .table_name(format!("limits-{table}"))
                .key("part", AttributeValue::S(part.to_owned()))
                .key("item", AttributeValue::S(item.to_owned()))
                .return_values(aws_sdk_dynamodb::types::ReturnValue::AllOld)
                .send()
                .await
                .unwrap();
            assert!(row.attributes.is_some(), "{part} {item}");
        }
        raw.update_item()
            .table_name("limits-Firms")
            .key("part", AttributeValue::S("generations".to_owned()))
            .key("item", AttributeValue::S("a".to_owned()))
            .update_expression("SET removing = :yes")
            .expression_attribute_values(":yes", AttributeValue::Bool(true))
            .send()
            .await
            .unwrap();
        assert_eq!(store.firms().await.unwrap(), []);
        let waiting = store
            .acquire_documents(DocumentStep::Download, at(10), LEASE, 10)
            .await
            .unwrap();
        assert!(waiting.is_empty(), "nothing of it is worked on");
        if again {
            add_firm(&store, "a").await;
        } else {
            store.remove_firm(&firm).await.unwrap();
        }
        let left = raw.scan().table_name("limits-DocumentWatch").send().await.unwrap();
        assert_eq!(left.count(), 0);
        let twice = store.watch_list(&firm, at(2)).await.unwrap();
        assert!(twice.is_empty());
    }
}

/// Every row of every table.
async fn rows(raw: &aws_sdk_dynamodb::Client) -> Vec<(String, HashMap<String, AttributeValue>)> {
    let mut rows = Vec::new();
    for table in TABLES.iter().map(|table| format!("limits-{}", table.name)) {
        let scanned = raw.scan().table_name(&table).send().await.unwrap();
        rows.extend(scanned.items().iter().map(|row| (table.clone(), row.clone())));
    }
    rows
}

/// All that point-in-time recovery can bring back, which is not the table of the keys.
#[tokio::test]
async fn what_is_put_back_of_a_shredded_firm_is_not_read_by_anybody() {
    let server = Server::dynoxide();
    let store = store(&server).await;
    let raw = aws_sdk_dynamodb::Client::new(Connection::to_emulator(server.endpoint()).sdk());
    let kept = add_firm(&store, "kept").await;
    let shredded = add_firm(&store, "shredded").await;
    for firm in [&kept, &shredded] {
        let seen = [encounter(1, 1)];
        let recorded = store.record_encounters(firm, None, Cursor(at(1)), &seen, at(2));
        recorded.await.unwrap();
        let record = AuditRecord {
            at: at(2),
            firm: firm.clone(),
            actor: "infer".to_owned(),
            action: AuditAction::PhotoRead,
            subject: "d001".to_owned(),
        };
        store.record(&record).await.unwrap();
    }
    let before = rows(&raw).await;
    store.shred_firm(&shredded, "operator", at(3)).await.unwrap();
    for (table, row) in before.into_iter().filter(|(table, _)| table != "limits-FirmKeys") {
        let put_back = raw.put_item().table_name(table).set_item(Some(row));
        put_back.send().await.unwrap();
    }
    let connection = Connection::to_emulator(server.endpoint());
    for store in [
        store,
        DynamoStore::new(&connection, "limits-", FirmKeys::for_emulator()),
    ] {
        for (firm, is_readable) in [(&kept, true), (&shredded, false)] {
            let watched = store.watch_list(firm, at(2)).await.unwrap();
            assert_eq!(watched.len(), usize::from(is_readable), "{firm}");
            let credential = store.credential(firm).await.unwrap();
            assert_eq!(credential.is_some(), is_readable, "{firm}");
            let entries = store.audit_entries(firm, 0, 10).await.unwrap().entries;
            assert_eq!(entries[0].said() == "d001", is_readable, "{firm}");
            // Who destroyed the key is in the trail from before that on.
            let told: Vec<&str> = entries[1..].iter().map(AuditEntry::said).collect();
            let shredded = ["shredding begun", "shredded"];
            assert_eq!(told, if is_readable { &[][..] } else { &shredded[..] }, "{firm}");
        }
    }
    // Nor is the firm connected again while other processes may still have the old key.
    let store = DynamoStore::new(&connection, "limits-", FirmKeys::for_emulator());
    store.remove_firm(&shredded).await.unwrap();
    let again = store.shred_firm(&shredded, "operator", at(4)).await;
    assert!(matches!(again, Err(StateError::NotFound { .. })), "{again:?}");
    let firm = store.firm(&kept).await.unwrap().unwrap();
    let again = Firm { id: shredded, ..firm };
    let credential = NewCredential::secret("client", Secret::new("secret".to_owned()));
    let outcome = store.add_firm(&again, &credential).await;
    let Err(StateError::Unavailable(cause)) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(
        cause.to_string().contains("shredded less than ten minutes ago"),
        "{cause}"
    );
}

#[tokio::test]
async fn what_is_not_there_is_transient_and_says_so_without_quoting() {
    let nowhere = DynamoStore::new(
        &Connection::to_emulator("http://127.0.0.1:9"),
        "x-",
        FirmKeys::for_emulator(),
    );
    let server = Server::dynoxide();
    let without_tables = DynamoStore::new(
        &Connection::to_emulator(server.endpoint()),
        "x-",
        FirmKeys::for_emulator(),
    );
    for (store, expected) in [
        (nowhere, "cannot be reached"),
        (without_tables, "ResourceNotFoundException"),
    ] {
        let store: Arc<dyn StateStore> = Arc::new(store);
        let firm = FirmId::new("derma-of-roe");
        let outcomes = [
            store.firm(&firm).await.map(drop),
            store.cursor(&firm).await.map(drop),
            store.set_firm_status(&firm, FirmStatus::Paused).await,
            store.acquire_refresh(&firm, at(0), LEASE).await.map(drop),
            store.records().await.map(drop),
        ];
        for outcome in outcomes {
            let Err(StateError::Unavailable(cause)) = outcome else {
                panic!("{outcome:?}");
            };
            assert!(cause.to_string().contains(expected), "{cause}");
            assert!(!format!("{cause:?}").contains("roe"), "{cause:?}");
        }
    }
}
