//! What was given up is put back in the console, after it was shown what that would do.

use skin_assist::config::read_state_key;
use skin_assist_core::{
    domain::{DocumentStep, Stage},
    ports::{DocumentQueue as _, Operations as _},
};
use skin_assist_simulator::{EncounterSpec, FirmSpec, PhotoSpec};

use super::{bounds::find_photos, *};

const REASON: Reason = Reason::new("photo.refused", "the photo has to be another one");

/// The page of the queues, and what its forms are sent with.
async fn queues(address: SocketAddr, session: &str) -> (String, String) {
    let (_, _, page) = ask(address, "/queues", session.to_owned().leak()).await;
    let form = page.split("name=\"form\" value=\"").nth(1).unwrap();
    let form = form.split('"').next().unwrap().to_owned();
    (page, form)
}

/// The state, with two photos that were given up.
async fn with_photos_given_up(folder: &std::path::Path) -> Arc<SqliteStore> {
    let (state, firm) = with_a_practice(folder).await;
    find_photos(&state, &firm.id, 2).await;
    let (now, lease_for) = (SystemClock.now(), Duration::from_secs(30));
    let leases = state
        .acquire_documents(DocumentStep::Download, now, lease_for, 2)
        .await
        .unwrap();
    for lease in leases {
        state
            .bury_document(lease, Stage::DownloadPhoto, &REASON, now)
            .await
            .unwrap();
    }
    state
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_is_put_back_after_a_look_at_what_that_does() {
    let folder = tempfile::tempdir().unwrap();
    let state = with_photos_given_up(folder.path()).await;
    let letters = state.dead_letters().await.unwrap();
    assert_eq!(letters.len(), 2);
    let (_serving, address) = served(&state, Arc::new(SystemClock), |_| {}).await;
    let session = sign_in(address, "operate").await;
    let (page, form) = queues(address, &session).await;
    assert!(
        page.contains("Given up (2)") && page.contains("photo.refused"),
        "{page}"
    );
    let replay = async |fields: &str| {
        let sent = format!("form={form}&{fields}");
        send(address, "/dead-letters/replay", &session, &sent).await
    };
    let (status, _, page) = replay("letter=all&dry=yes").await;
    assert_eq!(
        (status, page.contains("2 items would be put back")),
        (200, true),
        "{page}"
    );
    assert_eq!(state.dead_letters().await.unwrap(), letters, "it was only shown");
    let (status, head, _) = replay(&format!("letter={}", letters[0].id)).await;
    assert_eq!(status, 303);
    assert!(head.contains("location: /queues#dead-letters"), "{head}");
    assert_eq!(state.dead_letters().await.unwrap(), letters[1..]);
    assert_eq!(
        replay(&format!("letter={}", letters[0].id)).await.0,
        404,
        "it is put back"
    );
    assert_eq!(replay("letter=all").await.0, 303);
    assert!(state.dead_letters().await.unwrap().is_empty());
    let due = state.queued(10).await.unwrap();
    assert_eq!(due.len(), 2, "{due:?}");
    let records = state.records().await.unwrap();
    let replayed = records.iter().filter(|record| record.action == AuditAction::Replayed);
    assert!(
        replayed
            .clone()
            .all(|record| record.actor == "console operator Ada Roe")
    );
    assert_eq!(replayed.count(), 2);
}

/// What a practice's engine leaves behind: two drafts that may or may not be in the chart, as the list has them, and one whose photo was
/// retracted.
fn with_uncertain_drafts_and_a_retraction(
    installation: &Installation,
    ehr: &PracticeEhr,
    served: &Served,
) -> Vec<String> {
    let engine = installation.start();
    let visit = ehr
        .open_encounter(SystemClock.now(), "elm", EncounterSpec::default())
        .unwrap();
    let attach = |seed| {
        let photo = PhotoSpec::synthetic("PHOTO-LESION", seed, None);
        ehr.attach_photo(SystemClock.now(), "elm", &visit, photo).unwrap()
    };
    let wait_for = |list: &str, count: usize| {
        for _ in 0..600 {
            let listed = installation.json(&[list, "list", "--json"]);
            let listed = listed.as_array().unwrap();
            if listed.len() == count {
                let assessments = listed.iter().map(|entry| entry["assessment"].as_str().unwrap());
                return assessments.map(str::to_owned).collect::<Vec<_>>();
            }
            served.sleep(Duration::from_millis(100));
        }
        panic!("{list}: there are not {count}");
    };
    ehr.set_faults(|faults| faults.drop_composition_replies = 2);
    attach(1);
    attach(2);
    let uncertain = wait_for("uncertain", 2);
    let third = attach(3);
    while ehr.report().compositions < 3 {
        served.sleep(Duration::from_millis(100));
    }
    ehr.retract_document(SystemClock.now(), "elm", &third).unwrap();
    wait_for("retractions", 1);
    assert_eq!(engine.terminate(), Some(0));
    uncertain
}

#[test]
fn what_is_uncertain_or_retracted_is_settled_by_an_operator() {
    let ehr = PracticeEhr::new(Options::default());
    let practice = Served::start(ehr.clone());
    ehr.add_firm(FirmSpec::new("elm")).unwrap();
    let installation = Installation::connected(&ehr);
    let uncertain = with_uncertain_drafts_and_a_retraction(&installation, &ehr, &practice);
    let key = read_state_key(&installation.path("state.key")).unwrap();
    let (file, firm_keys) = (
        installation.path("skin-assist.sqlite"),
        installation.path("state.key.firm-keys"),
    );
    let state = Arc::new(SqliteStore::open_with(&file, &firm_keys, &key).unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (_serving, address) = served(&state, Arc::new(SystemClock), |_| {}).await;
        let session = sign_in(address, "operate").await;
        let (page, form) = queues(address, &session).await;
        assert!(
            page.contains("Uncertain drafts (2)") && page.contains("Drafts whose photo was retracted (1)"),
            "{page}"
        );
        let post = async |path: &str, fields: String| {
            let (status, head, _) = send(address, path, &session, &format!("form={form}&{fields}")).await;
            (status, head.contains("location: /queues#"))
        };
        let found = |assessment: &str, found: &str| format!("firm=elm&assessment={assessment}&found={found}");

        let (delivered, gone) = (&uncertain[0], &uncertain[1]);
        assert_eq!(
            post("/uncertain/resolve", found(delivered, "delivered")).await,
            (422, false),
            "under which name?"
        );
        assert_eq!(
            post("/uncertain/resolve", found(delivered, "perhaps")).await,
            (422, false)
        );
        assert_eq!(state.uncertain().await.unwrap().len(), 2, "nothing was changed");
        let seen = found(delivered, "delivered") + "&reference=Composition/4711/_history/2";
        assert_eq!(post("/uncertain/resolve", seen).await, (303, true));
        assert_eq!(post("/uncertain/resolve", found(gone, "discard")).await, (303, true));
        assert_eq!(state.uncertain().await.unwrap(), []);
        assert_eq!(
            post("/uncertain/resolve", found(gone, "discard")).await.0,
            422,
            "it is settled"
        );

        let retracted = state.retracted_drafts().await.unwrap();
        let noted = format!("firm=elm&assessment={}", retracted[0].assessment);
        assert_eq!(post("/retractions/acknowledge", noted.clone()).await, (303, true));
        assert_eq!(state.retracted_drafts().await.unwrap(), []);
        assert_eq!(post("/retractions/acknowledge", noted).await.0, 422, "it is noted");
    });
    drop(runtime);
    drop(state);
    // What an operator saw stands in the chart's name, without the version.
    let photos = installation.json(&["photos", "--firm", "elm", "--json"]);
    assert!(photos.to_string().contains("\"Composition/4711\""), "{photos}");
    let trail = installation.succeed(&["audit", "export"]);
    let by = |action: &str| {
        let entries = trail.lines().filter(|line| line.contains(action));
        entries.filter(|line| line.contains("console operator Ada Roe")).count()
    };
    assert_eq!(
        (by("\"uncertain-resolved\""), by("\"retraction-acknowledged\"")),
        (2, 1)
    );
}
