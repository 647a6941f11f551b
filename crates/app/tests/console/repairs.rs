//! What was given up is put back in the console, after it was shown what that would do.

use skin_assist_core::{
    domain::{DocumentStep, Stage},
    ports::{DocumentQueue as _, Operations as _},
};

use super::{bounds::find_photos, *};

const REASON: Reason = Reason::new("photo.refused", "the photo has to be another one");

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
    let (_, _, page) = ask(address, "/queues", session.clone().leak()).await;
    assert!(
        page.contains("Given up (2)") && page.contains("photo.refused"),
        "{page}"
    );
    let form = page.split("name=\"form\" value=\"").nth(1).unwrap();
    let form = form.split('"').next().unwrap().to_owned();
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
