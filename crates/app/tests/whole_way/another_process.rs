//! Two processes on one state: what one records of a practice that the other has just taken over, the other looks at.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use skin_assist_core::{
    domain::{Cursor, Encounter, EncounterId, EncounterStatus, FirmId, PatientId, PractitionerId},
    ports::ProposingStore,
    time::{Clock as _, VirtualClock},
};
use skin_assist_simulator::{EncounterSpec, PhotoSpec};
use skin_assist_transport::{Transport, TransportError};

use crate::support::World;

const MINUTE: Duration = Duration::from_secs(60);
const FIRM: &str = "derm";

/// While the first search for encounters is under way, a process whose own had begun before records what it found, and moves the cursor.
struct Overtaken {
    inner: Arc<dyn Transport>,
    clock: VirtualClock,
    state: Arc<dyn ProposingStore>,
    found: Encounter,
    happened: Arc<AtomicBool>,
}

#[async_trait]
impl Transport for Overtaken {
    async fn send(&self, request: Request<Bytes>, limit_bytes: usize) -> Result<Response<Bytes>, TransportError> {
        if request.uri().path().ends_with("/Encounter") && !self.happened.swap(true, Ordering::SeqCst) {
            let (firm, now) = (FirmId::new(FIRM), self.clock.now());
            let cursor = self.state.cursor(&firm).await.unwrap();
            let found = std::slice::from_ref(&self.found);
            let recorded = self.state.record_encounters(&firm, cursor, Cursor(now), found, now);
            recorded.await.unwrap();
        }
        self.inner.send(request, limit_bytes).await
    }
}

#[test]
fn what_another_process_recorded_longer_ago_than_polls_overlap_is_looked_at() {
    let mut world = World::empty(1);
    world.open_firm(FIRM);
    world.run_for(MINUTE);
    let opened_at = world.clock_now();
    let spec = EncounterSpec {
        patient: Some("30001".to_owned()),
        practitioner: Some("201".to_owned()),
        ..EncounterSpec::default()
    };
    let visit = world.ehr.open_encounter(opened_at, FIRM, spec).unwrap();
    let photo = PhotoSpec::synthetic("PHOTO-LESION", 1, None);
    world.ehr.attach_photo(opened_at, FIRM, &visit, photo).unwrap();
    world.clock.run(world.clock.sleep_until(opened_at + 10 * MINUTE));
    let happened = Arc::new(AtomicBool::new(false));
    let (state, was) = (Arc::clone(&world.state), Arc::clone(&happened));
    let found = Encounter {
        id: EncounterId::new(visit),
        patient: PatientId::new("30001"),
        practitioner: Some(PractitionerId::new("201")),
        status: EncounterStatus::Open,
        last_updated: Some(opened_at),
    };
    world.network = Box::new(move |inner, clock| {
        Arc::new(Overtaken {
            inner,
            clock: clock.clone(),
            state: Arc::clone(&state),
            found: found.clone(),
            happened: Arc::clone(&was),
        })
    });
    world.run_for(20 * MINUTE);
    assert!(happened.load(Ordering::SeqCst), "nothing was recorded meanwhile");
    assert_eq!(world.assert_delivered_once(0).expected().count(), 1);
}
