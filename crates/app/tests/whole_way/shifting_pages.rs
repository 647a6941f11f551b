//! Pages that shift while a practice that was not polled for long is caught up on. Results come in the order of their last changes; a record of
//! the first page changes, goes to the end, and those behind it move up: what was the first one of the second page is on none.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use skin_assist_core::time::{Clock as _, Timestamp};
use skin_assist_simulator::{DocumentSpec, EncounterSpec, PhotoSpec};
use skin_assist_transport::{Transport, TransportError};

use crate::support::{Setting, World};

const MINUTE: Duration = Duration::from_secs(60);
const FIRM: &str = "derm";

type Change = Box<dyn FnOnce(Timestamp) + Send>;

/// After the first reply to a search of this type something changes, once.
struct Shifting {
    inner: Arc<dyn Transport>,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    search: &'static str,
    change: Arc<Mutex<Option<Change>>>,
}

#[async_trait]
impl Transport for Shifting {
    async fn send(&self, request: Request<Bytes>, limit_bytes: usize) -> Result<Response<Bytes>, TransportError> {
        let is_search = request.uri().path().ends_with(self.search);
        let reply = self.inner.send(request, limit_bytes).await;
        if is_search && let Some(change) = self.change.lock().unwrap().take() {
            change((self.now)());
        }
        reply
    }
}

/// A practice in which a letter and then, each minute for ten minutes, a photo is filed, each in a visit of its own, and nobody polls; what
/// is to change in the middle of the first search after that; and the first visit and its letter.
fn behind(setting: Setting, search: &'static str) -> (World, Arc<Mutex<Option<Change>>>, [String; 2]) {
    let mut world = World::empty_with(1, setting);
    let change: Arc<Mutex<Option<Change>>> = Arc::default();
    let armed = Arc::clone(&change);
    world.network = Box::new(move |inner, clock| {
        let clock = clock.clone();
        Arc::new(Shifting {
            inner,
            now: Box::new(move || clock.now()),
            search,
            change: Arc::clone(&armed),
        })
    });
    world.open_firm(FIRM);
    world.run_for(MINUTE);
    let open = |world: &World| {
        let visit = world
            .ehr
            .open_encounter(world.clock_now(), FIRM, EncounterSpec::default());
        visit.unwrap()
    };
    let first = open(&world);
    let letter = DocumentSpec::pdf("PHOTO-LESION", "letter");
    let letter = world
        .ehr
        .attach_document(world.clock_now(), FIRM, &first, letter)
        .unwrap();
    for seed in 0..10 {
        world.clock.run(world.clock.sleep_until(world.clock_now() + MINUTE));
        let visit = open(&world);
        let photo = PhotoSpec::synthetic("PHOTO-LESION", seed, None);
        world.ehr.attach_photo(world.clock_now(), FIRM, &visit, photo).unwrap();
    }
    (world, change, [first, letter])
}

#[test]
fn no_visit_is_missed_between_two_pages() {
    let mut setting = Setting::of("fhir-r4");
    setting.profile.encounters.page_size = 3;
    let (world, change, [first, _]) = behind(setting, "/Encounter");
    let ehr = world.ehr.clone();
    *change.lock().unwrap() = Some(Box::new(move |now| ehr.touch_encounter(now, FIRM, &first).unwrap()));
    world.run_for(20 * MINUTE);
    assert!(change.lock().unwrap().is_none(), "nothing shifted");
    let report = world.assert_delivered_once(0);
    assert_eq!(report.expected().count(), 10);
}

/// The practice EHR is asked for all documents that changed.
#[test]
fn no_photo_is_missed_between_two_pages() {
    let mut setting = Setting::of("fhir-r4");
    setting.profile.documents.page_size = 3;
    let parameters = &mut setting.dialect.documents.search.parameters;
    parameters.retain(|parameter| !["patient", "encounter"].contains(parameter));
    let (world, change, [_, letter]) = behind(setting, "/DocumentReference");
    let ehr = world.ehr.clone();
    *change.lock().unwrap() = Some(Box::new(move |now| ehr.retract_document(now, FIRM, &letter).unwrap()));
    world.run_for(20 * MINUTE);
    assert!(change.lock().unwrap().is_none(), "nothing shifted");
    let report = world.assert_delivered_once(0);
    assert_eq!(report.expected().count(), 10);
}
