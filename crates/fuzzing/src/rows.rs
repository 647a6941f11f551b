//! A state file with rows that nobody wrote: every column with any value, and every port that reads it.
//!
//! An input is damages with the byte 0xFF between them. A damage's first line names a column (`firms.categories`, or whatever:
//! any line comes to some column); then a byte says what is put there (`i` an integer, `n` nothing, `b` bytes, `r` a number,
//! anything else a text, which need not be UTF-8), and the rest is it. What the schema itself refuses is passed over.

use std::{
    collections::BTreeMap,
    fmt,
    path::Path,
    sync::{LazyLock, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::executor::block_on;
use rusqlite::Connection;
use skin_assist_core::{
    domain::{
        AccessToken, AssessedPhoto, Assessment, AssistResult, Bands, CategoryCode, CategoryUse, ClassProbability,
        Cursor, Delivery, DocumentId, DocumentStep, DocumentWatch, DraftNote, Encounter, EncounterId, EncounterStatus,
        Findings, Firm, FirmId, FirmStatus, ImageFacts, IntendedUseRecord, IssuedToken, Label, LanguageUse, Mode,
        ModelVersion, NewCredential, NormalisedBox, NoteSection, PatientId, PhotoBytes, PhotoDigest, PollerFigures,
        PollerId, PractitionerId, Quality, Reason, Region, ResultKey, Route, Stage, StoredPhoto, Versions,
    },
    phi::{Phi, Secret},
    polling::{Count, Learned},
    ports::{
        Audit as _, AuditAction, AuditRecord, CallGrants as _, CallKind, Changes, Credentials as _, Deliveries as _,
        DocumentQueue as _, EncounterWatches as _, FirmAdministration as _, Firms as _, InferenceRecords as _,
        LanguageSpending as _, Operations as _, PollingMemory as _, Proposals as _, Proposed, QuotaKey, StateError,
        WatchLists as _,
    },
    time::Timestamp,
};
use skin_assist_store::{SqliteStore, StateKey};

const KEY: [u8; 32] = [7; 32];
const LEASE: Duration = Duration::from_secs(30);

fn reason() -> Reason {
    Reason::recorded("test.reason".to_owned(), "this is a test".to_owned())
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_767_600_000_000) + Duration::from_secs(seconds)
}

/// A state file that is damaged and put right again: through the store, and past it.
struct State {
    store: SqliteStore,
    past: Connection,
    tables: Vec<String>,
    columns: Vec<(String, String)>,
}

static STATE: LazyLock<Mutex<State>> = LazyLock::new(|| Mutex::new(State::new().expect("a state can be made")));

type Made<T> = Result<T, Box<dyn std::error::Error>>;

impl State {
    fn new() -> Made<Self> {
        // In memory where that is a folder: each input is several transactions, and each of them is on disk when it is over.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() {
            tempfile::tempdir_in(memory)?
        } else {
            tempfile::tempdir()?
        };
        let path = folder.path().join("state.sqlite");
        let store = SqliteStore::open(&path, &StateKey::from_bytes(KEY))?;
        block_on(fill(&store))?;
        let past = Connection::open(&path)?;
        past.execute_batch(&format!(
            "PRAGMA key = \"x'{}'\"; PRAGMA temp_store = MEMORY; PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF;",
            "07".repeat(32)
        ))?;
        // What keeps rows from being changed would keep them from being damaged.
        for trigger in names(&past, "SELECT name FROM sqlite_schema WHERE type = 'trigger'")? {
            past.execute_batch(&format!("DROP TRIGGER \"{trigger}\""))?;
        }
        let tables = names(
            &past,
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name",
        )?;
        let mut columns = Vec::new();
        for table in &tables {
            past.execute_batch(&format!(
                "CREATE TEMP TABLE \"{table}_kept\" AS SELECT * FROM main.\"{table}\""
            ))?;
            for column in names(&past, &format!("SELECT name FROM pragma_table_info('{table}')"))? {
                columns.push((table.clone(), column));
            }
        }
        // Whoever ends a fuzzing process ends it at once: nothing would remove the folder later.
        drop(folder);
        Ok(Self {
            store,
            past,
            tables,
            columns,
        })
    }

    /// Puts a value into a column of every row that takes it.
    fn damage(&self, damage: &[u8]) {
        let end = damage.iter().position(|byte| *byte == b'\n').unwrap_or(damage.len());
        let (place, value) = damage.split_at(end);
        let named = |(table, column): &&(String, String)| format!("{table}.{column}").as_bytes() == place;
        let any = place.iter().fold(0_usize, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(usize::from(*byte))
        });
        let known = self.columns.iter().find(named);
        let (table, column) = known.unwrap_or(&self.columns[any % self.columns.len()]);
        let update = |value: &str| format!("UPDATE OR IGNORE main.\"{table}\" SET \"{column}\" = {value}");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        // The schema may refuse it: then there is less damage.
        _ = match value.get(1..).unwrap_or_default() {
            [] => Ok(0),
            [b'n', ..] => self.past.execute(&update("NULL"), []),
            [b'i', rest @ ..] => {
                let number = text(rest).parse::<i64>().unwrap_or(i64::MAX);
                self.past.execute(&update("?1"), [number])
            }
            [b'r', rest @ ..] => {
                let number = text(rest).parse::<f64>().unwrap_or(f64::MAX);
                self.past.execute(&update("?1"), [number])
            }
            [b'b', rest @ ..] => self.past.execute(&update("?1"), [rest]),
            [_, rest @ ..] => self.past.execute(&update("CAST(?1 AS TEXT)"), [rest]),
        };
    }

    /// Puts everything right again.
    fn mend(&self) {
        let put_back = |table: &String| {
            format!("DELETE FROM main.\"{table}\"; INSERT INTO main.\"{table}\" SELECT * FROM temp.\"{table}_kept\";")
        };
        let all: String = self.tables.iter().map(put_back).collect();
        let statements = format!("BEGIN IMMEDIATE; {all} COMMIT;");
        self.past
            .execute_batch(&statements)
            .expect("the rows were there before");
    }
}

fn names(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}

/// Rows with any values. Each reader gives a row, passes it over, or says that it is damaged.
pub fn any_row(input: &[u8]) {
    let state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    for damage in input.split(|byte| *byte == 0xFF).take(8) {
        state.damage(damage);
    }
    block_on(read_all(&state.store));
    state.mend();
}

/// Looks at what came. What is damaged is said without quoting it.
fn seen<T: fmt::Debug>(outcome: Result<T, StateError>) -> Option<T> {
    match outcome {
        Ok(value) => {
            // What shows itself must be able to, whatever is in it.
            let _ = format!("{value:?}");
            Some(value)
        }
        Err(error) => {
            assert!(error.to_string().len() < 400, "an error quotes a row");
            None
        }
    }
}

async fn read_all(store: &SqliteStore) {
    let (firm, now) = (FirmId::new("a"), at(1000));
    let encounters = [EncounterId::new("e")];
    for firm in seen(store.firms().await).unwrap_or_default() {
        seen(store.documents_cursor(&firm).await);
        let _ = (firm.is_served(), firm.route(&CategoryCode::new("clinical-photo")));
    }
    seen(store.firm(&firm).await);
    if let Some(Some(credential)) = seen(store.credential(&firm).await)
        && let Some(token) = credential.token
    {
        let _ = token.is_due(now);
    }
    seen(store.acquire_refresh(&firm, now, LEASE).await);
    seen(store.cursor(&firm).await);
    seen(store.watch_list(&firm, at(0)).await);
    seen(store.watches_of(&firm, &encounters).await);
    seen(store.acquire_encounters(&firm, &encounters, now, LEASE).await);
    seen(store.pollers(now).await);
    seen(
        store
            .attend(&PollerId("q".to_owned()), &PollerFigures::default(), now, now + LEASE)
            .await,
    );
    seen(store.acquire_watch_lists(now, LEASE, 10).await);
    if let Some(learned) = seen(store.learned(std::slice::from_ref(&firm)).await) {
        seen(store.add_learned(&learned, now).await);
    }
    for step in [DocumentStep::Download, DocumentStep::Infer] {
        seen(store.due_documents(step, now, 10).await);
        for lease in seen(store.acquire_documents(step, now, LEASE, 10).await).unwrap_or_default() {
            seen(store.siblings(lease.item()).await);
        }
    }
    let document = DocumentId::new("waiting");
    if let Some(Proposed::Leased(lease)) = seen(
        store
            .acquire_document(&firm, &document, DocumentStep::Download, at(5000), LEASE)
            .await,
    ) {
        seen(store.count_look(&lease, &document).await);
    }
    seen(store.findings(&firm, &key("d")).await);
    for result in seen(store.firm_results(&firm).await).unwrap_or_default() {
        seen(store.earlier_draft(&firm, &result.assessment.id).await);
        seen(
            store
                .acquire_result(&firm, &result.assessment.id, at(5000), LEASE)
                .await,
        );
        let _ = (
            result.assessment.reference_code(),
            result.assessment.earlier_reference_code(),
        );
    }
    seen(store.due_results(now, 10).await);
    seen(store.acquire_results(now, LEASE, 10).await);
    seen(store.quotas().await);
    seen(store.take(&quota(), CallKind::Read, now).await);
    seen(store.records().await);
    seen(store.overview(now).await);
    seen(store.journeys(None, Timestamp::ALWAYS, 10).await);
    for letter in seen(store.dead_letters().await).unwrap_or_default() {
        seen(store.replay(letter.id, now).await);
    }
    seen(store.uncertain().await);
    seen(store.retracted_drafts().await);
    seen(store.language_spent(&firm, at(0)).await);
    seen(store.sweep_expired(now).await);
}

fn quota() -> QuotaKey {
    QuotaKey {
        name: "key".to_owned(),
        calls: 1000,
        window: Duration::from_secs(60),
    }
}

fn photo() -> StoredPhoto {
    let bytes = PhotoBytes::new(Bytes::from_static(b"a photo"));
    StoredPhoto {
        digest: PhotoDigest::of(&bytes),
        bytes: 7,
        downloaded_at: at(20),
    }
}

fn key(document: &str) -> ResultKey {
    let assessment = Assessment::identity(&FirmId::new("a"), &EncounterId::new("e"), [&DocumentId::new(document)]);
    ResultKey::new(&assessment, [&photo().digest], &findings().models)
}

fn findings() -> Findings {
    let label = |display: &str, snomed_ct: &str| Label {
        id: display.to_owned(),
        display: display.to_owned(),
        snomed_ct: snomed_ct.to_owned(),
        icd_10_cm: Some("D22.9".to_owned()),
        must_not_miss: false,
    };
    let classes = vec![ClassProbability {
        label: label("Melanocytic nevus", "400096001"),
        probability: 0.75,
    }];
    Findings {
        route: Route::Solitary,
        image: ImageFacts {
            width: 4032,
            height: 3024,
            format: "jpeg".to_owned(),
            quality: Quality::default(),
        },
        regions: vec![Region {
            area: NormalisedBox {
                x: 0.1,
                y: 0.2,
                width: 0.3,
                height: 0.4,
            },
            score: 0.9,
            classes: classes.clone(),
        }],
        ranked: classes,
        abstention: None,
        abstain_below: 0.0,
        concerns: Vec::new(),
        further_conditions: vec![label("Squamous cell carcinoma", "254651007")],
        models: vec![ModelVersion {
            pack: "pack".to_owned(),
            version: "1".to_owned(),
        }],
    }
}

fn watch(id: &str) -> DocumentWatch {
    let (firm, encounter, document) = (FirmId::new("a"), EncounterId::new("e"), DocumentId::new(id));
    DocumentWatch {
        assessment: Assessment::identity(&firm, &encounter, [&document]),
        firm,
        patient: PatientId::new("p"),
        document,
        encounter,
        practitioner: Some(PractitionerId::new("practitioner")),
        category: CategoryCode::new("clinical-photo"),
        route: Route::Solitary,
        attached_at: Some(at(5)),
        detected_at: at(10),
        gathers_until: None,
        closed: None,
        photo: None,
    }
}

fn result(watch: &DocumentWatch) -> AssistResult {
    let language = LanguageUse {
        model: "any-model".to_owned(),
        prompt: "rank".to_owned(),
        prompt_sha256: "00".repeat(32),
        calls: 2,
        input_tokens: 1000,
        output_tokens: 100,
        cost_micros: 4500,
        fallback: Some(reason()),
    };
    AssistResult {
        assessment: Assessment::of(watch),
        key: key(watch.document.as_str()),
        photos: vec![AssessedPhoto {
            document: watch.document.clone(),
            digest: photo().digest,
            attached_at: watch.attached_at,
            detected_at: watch.detected_at,
            downloaded_at: at(20),
            not_assessed: None,
        }],
        findings: Phi::new(findings()),
        photo_findings: Phi::new(Vec::new()),
        note: Phi::new(DraftNote {
            title: "Skin photo".to_owned(),
            sections: vec![NoteSection {
                heading: "Findings".to_owned(),
                paragraphs: vec!["A nevus.".to_owned()],
            }],
            instructions: vec!["Read it".to_owned()],
            regions: Vec::new(),
            bands: Bands::default(),
        }),
        versions: Versions {
            models: findings().models,
            synthesis: "composer".to_owned(),
            pipeline: "0".to_owned(),
            language: Some(language),
        },
        assessed_at: at(30),
        delivery: Delivery::Pending,
    }
}

/// Records that these documents were found.
async fn look(store: &SqliteStore, found: Vec<DocumentWatch>, now: Timestamp) -> Result<(), StateError> {
    let encounters = [EncounterId::new("e")];
    let mut leases = store
        .acquire_encounters(&FirmId::new("a"), &encounters, now, LEASE)
        .await?;
    store
        .record_documents(leases.remove(0), &found, &[], now)
        .await
        .map(drop)
}

/// A firm with something in each table and each state, at 100 seconds.
async fn fill(store: &SqliteStore) -> Result<(), StateError> {
    let id = FirmId::new("a");
    let firm = Firm {
        id: id.clone(),
        url_prefix: "a".to_owned(),
        status: FirmStatus::Active,
        mode: Mode::Draft,
        intended_use: Some(IntendedUseRecord {
            recorded_by: "somebody".to_owned(),
            recorded_at: at(0),
            document_sha256: "00".repeat(32),
        }),
        categories: BTreeMap::from([(CategoryCode::new("clinical-photo"), CategoryUse::Solitary)]),
        api_key: Some("key".to_owned()),
        connected_at: at(0),
        photos_since: at(0),
    };
    let credential = NewCredential::secret("client", Secret::new("secret".to_owned()));
    store.add_firm(&firm, &credential).await?;
    let lease = store.acquire_refresh(&id, at(0), LEASE).await?.expect("it is free");
    let access = AccessToken {
        secret: Secret::new("token".to_owned()),
        issued_at: at(0),
        expires_at: at(600),
    };
    let refresh_token = Some(Secret::new("refresh".to_owned()));
    store
        .record_token(lease, &IssuedToken { access, refresh_token })
        .await?;
    let encounter = Encounter {
        id: EncounterId::new("e"),
        patient: PatientId::new("p"),
        practitioner: Some(PractitionerId::new("practitioner")),
        status: EncounterStatus::Open,
        last_updated: Some(at(5)),
    };
    store
        .record_encounters(&id, None, Cursor(at(5)), &[encounter], at(5))
        .await?;
    let figures = PollerFigures {
        at: Some(at(5)),
        firms: 1,
        encounters: 1,
        prices: BTreeMap::from([("key".to_owned(), 0.5)]),
        ..PollerFigures::default()
    };
    store
        .attend(&PollerId("p".to_owned()), &figures, at(5), at(100_000))
        .await?;
    let lists = store.acquire_watch_lists(at(6), LEASE, 10).await?;
    let changes = Changes {
        looks: Vec::new(),
        retracted: Vec::new(),
        as_of: at(6),
        from: None,
        categories: firm.categories.clone(),
        next: Cursor(at(6)),
    };
    store.record_changes(&lists[0], &changes, at(6)).await?;
    store.release_watch_lists(lists, at(6)).await?;
    let count = Count {
        events: 1.0,
        exposure: 10.0,
    };
    let learned = Learned {
        shared: BTreeMap::from([("table".to_owned(), vec![count])]),
        firms: BTreeMap::from([(id.clone(), BTreeMap::from([("count".to_owned(), count)]))]),
    };
    store.add_learned(&learned, at(6)).await?;

    // Photos that end in each way: two results, one of them uncertain, one given up, one at the models, one found.
    let found = ["delivered", "uncertain", "buried", "d"].map(watch);
    look(store, found.to_vec(), at(10)).await?;
    for lease in store
        .acquire_documents(DocumentStep::Download, at(11), LEASE, 10)
        .await?
    {
        if lease.item().document.as_str() == "buried" {
            store
                .bury_document(lease, Stage::DownloadPhoto, &reason(), at(20))
                .await?;
        } else {
            store.record_photo(lease, &photo()).await?;
        }
    }
    for lease in store.acquire_documents(DocumentStep::Infer, at(21), LEASE, 10).await? {
        let document = lease.item().document.clone();
        if document.as_str() == "d" {
            store
                .record_findings(&lease, &key("d"), &Phi::new(findings()), at(30))
                .await?;
            store.release_document(lease, at(30)).await?;
        } else {
            let result = result(lease.item());
            store.record_result(lease, &result).await?;
        }
    }
    for lease in store.acquire_results(at(31), LEASE, 10).await? {
        if lease.item().photos[0].document.as_str() == "uncertain" {
            store.record_intent(&lease, None, at(32)).await?;
            store.record_uncertain(lease, &reason(), at(33)).await?;
        } else {
            store.release_delivery(lease, at(40)).await?;
        }
    }
    look(store, vec![watch("waiting")], at(50)).await?;
    store.take(&quota(), CallKind::Read, at(60)).await?;
    let spent = result(&watch("d"))
        .versions
        .language
        .as_ref()
        .map(Into::into)
        .unwrap_or_default();
    store.add_language_spent(&id, at(60), &spent).await?;
    let record = AuditRecord {
        at: at(60),
        firm: id,
        actor: "somebody".to_owned(),
        action: AuditAction::FirmChanged,
        subject: "a".to_owned(),
    };
    store.record(&record).await
}
