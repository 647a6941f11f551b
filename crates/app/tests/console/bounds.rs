//! What pages read: the latest, no more than they say, and not at every event.

use skin_assist_core::{
    audit::installation,
    domain::{Assessment, CategoryCode, DocumentId, DocumentWatch, Route},
    ports::AuditRecord,
};

use super::{sessions::SetClock, *};

const OPERATOR: &str = "Authorization: Bearer operate\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_search_of_the_audit_trail_begins_at_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let (state, firm) = with_a_practice(folder.path()).await;
    let record = |firm: &FirmId, subject: String| AuditRecord {
        at: SystemClock.now(),
        firm: firm.clone(),
        actor: "a stage".to_owned(),
        action: AuditAction::PhotoRead,
        subject,
    };
    for number in 1..=2_300 {
        state
            .record(&record(&firm.id, format!("photo-{number}.")))
            .await
            .unwrap();
        // Another chain between, so that a number is no place in the file; and in places more of it.
        let others = if number % 500 == 0 {
            60
        } else {
            usize::from(number % 10 == 0)
        };
        for _ in 0..others {
            state
                .record(&record(&installation(), "another".to_owned()))
                .await
                .unwrap();
        }
    }
    let (_serving, address) = served(&state, Arc::new(SystemClock), |options| options.bounds.entries = 2_000).await;
    let search = async |text: &str| {
        let path = format!("/trust/entries?practice=elm&text={text}").leak();
        let (status, _, page) = ask(address, path, OPERATOR).await;
        assert_eq!(status, 200);
        assert!(!page.contains("data-live"), "it is searched at each event");
        let shown = page
            .split("<td class=\"text\">photo-")
            .skip(1)
            .filter_map(|rest| rest.split('.').next());
        let shown: Vec<u32> = shown.filter_map(|number| number.parse().ok()).collect();
        (shown, page.contains("Those before number 301 were not looked at"))
    };
    assert_eq!(search("").await, ((2_101..=2_300).rev().collect(), false), "the latest");
    assert_eq!(search("photo-700.").await, (vec![700], true));
    assert_eq!(search("photo-301.").await, (vec![301], true));
    assert_eq!(
        search("photo-300.").await,
        (vec![], true),
        "it is too far back, and said so"
    );
    // Of two reaches, in the order of the chain.
    assert_eq!(
        search("00.").await.0,
        (4..=23).rev().map(|hundreds| hundreds * 100).collect::<Vec<_>>()
    );
    let (_, _, page) = ask(address, "/trust/entries?practice=nobody", OPERATOR).await;
    assert!(page.contains("No entry."), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_counted_every_ten_minutes_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let (state, _) = with_a_practice(folder.path()).await;
    let clock = SetClock::new();
    let (_serving, address) = served(&state, clock.clone(), |_| {}).await;
    let entries = async || {
        let (_, _, page) = ask(address, "/trust", "").await;
        assert!(!page.contains("data-live"), "it is counted at each event");
        let row = page.split("<td>audit trail</td>").nth(1).unwrap();
        let number = row.split("class=\"number\">").nth(1).unwrap();
        number.split('<').next().unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(entries().await, 0);
    sign_in(address, "operate").await;
    for _ in 0..9 {
        clock.go_on(1);
        assert_eq!(entries().await, 0, "whoever looks has whole tables counted");
    }
    clock.go_on(1);
    assert_eq!(entries().await, 1);
}

/// Photos of one visit.
pub(crate) async fn find_photos(state: &SqliteStore, firm: &FirmId, number: usize) {
    let (now, visit) = (SystemClock.now(), EncounterId::new("visit"));
    let encounter = Encounter {
        id: visit.clone(),
        patient: PatientId::new("patient"),
        practitioner: None,
        status: EncounterStatus::Open,
        last_updated: Some(now),
    };
    state
        .record_encounters(firm, None, Cursor(now), &[encounter], now)
        .await
        .unwrap();
    let lease_for = Duration::from_secs(30);
    let mut leases = state
        .acquire_encounters(firm, std::slice::from_ref(&visit), now, lease_for)
        .await
        .unwrap();
    let photo = |place| {
        let document = DocumentId::new(format!("photo-{place}"));
        DocumentWatch {
            firm: firm.clone(),
            assessment: Assessment::identity(firm, &visit, [&document]),
            patient: PatientId::new("patient"),
            document,
            encounter: visit.clone(),
            practitioner: None,
            category: CategoryCode::new("PHOTO"),
            route: Route::Solitary,
            attached_at: None,
            detected_at: now,
            gathers_until: None,
            closed: None,
            photo: None,
        }
    };
    let found: Vec<_> = (0..number).map(photo).collect();
    state
        .record_documents(leases.remove(0), &found, &[], now)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_of_a_part_of_the_day_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let (state, firm) = with_a_practice(folder.path()).await;
    find_photos(&state, &firm.id, 3).await;
    for (most, is_said) in [(2, true), (3, false)] {
        let (_serving, address) = served(&state, Arc::new(SystemClock), |options| options.bounds.photos = most).await;
        let (_, _, page) = ask(address, "/", "").await;
        let said = [
            format!("<dd>{most} <small>and more</small>"),
            format!("<small>of the latest {most} photos</small>"),
            format!("Draft p50 and p95 are of the latest {most} photos"),
            format!("These are of the latest {most} photos"),
        ];
        for said in said {
            assert_eq!(page.contains(&said), is_said, "{said}, at most {most}: {page}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_polls_something_needs_somebody() {
    let folder = tempfile::tempdir().unwrap();
    let (state, _) = with_a_practice(folder.path()).await;
    let (_serving, address) = served(&state, Arc::new(SystemClock), |_| {}).await;
    let (_, _, page) = ask(address, "/", "").await;
    assert!(page.contains("Nobody polls"), "{page}");
    assert!(!page.contains("Nothing needs you"), "{page}");
}
