//! A practice that is switched off, made silent or paused while its drafts are under way: from when that is recorded no write begins,
//! whatever a worker knew of the practice when it took the result; what was being sent is finished and recorded.

use std::time::Duration;

use skin_assist::driver::stop_signal;
use skin_assist_core::{
    domain::{AssistResult, Delivery, FirmId, FirmStatus, Mode},
    time::Clock as _,
};
use skin_assist_ehr::FinishedVisitRule;
use skin_assist_simulator::CallKind;

use crate::{
    MINUTE, file_photos,
    support::{Setting, World},
};

const FIRM: &str = "elm";
const PHOTOS: u64 = 4;
const MOMENT: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Switch {
    Off,
    Silent,
    Pause,
}

/// A practice whose EHR is asked before each draft whether the visit is over.
fn world() -> World {
    let mut setting = Setting::of("fhir-r4");
    setting.profile.draft.finished_visit = FinishedVisitRule::PostWithoutVisit;
    let world = World::empty_with(71, setting);
    world.open_firm(FIRM);
    file_photos(&world, PHOTOS);
    world
}

async fn switch(world: &World, switch: Switch, on: bool) {
    let firm = FirmId::new(FIRM);
    let done = match switch {
        Switch::Pause if on => world.state.set_firm_status(&firm, FirmStatus::Active).await,
        Switch::Pause => world.state.set_firm_status(&firm, FirmStatus::Paused).await,
        _ if on => world.state.set_mode(&firm, Mode::Draft, None).await,
        Switch::Off => world.state.set_mode(&firm, Mode::Off, None).await,
        Switch::Silent => world.state.set_mode(&firm, Mode::Silent, None).await,
    };
    done.unwrap();
}

async fn results(world: &World) -> Vec<AssistResult> {
    world.state.firm_results(&FirmId::new(FIRM)).await.unwrap()
}

/// Runs an engine until `is_time`, switches the practice, and goes on for two minutes.
fn switched_when(world: &World, to: Switch, is_time: impl AsyncFn() -> bool) {
    world.clock.run(async {
        let engine = world.engine();
        let (stopper, stop) = stop_signal();
        let end = world.clock_now() + 5 * MINUTE;
        let switching = async {
            while !is_time().await {
                assert!(world.clock_now() < end, "it does not come to that");
                world.clock.sleep_until(world.clock_now() + MOMENT).await;
            }
            switch(world, to, false).await;
            world.clock.sleep_until(world.clock_now() + 2 * MINUTE).await;
            stopper.stop();
        };
        futures::join!(engine.run(stop), switching);
    });
}

/// Every draft was taken up for writing, and none has begun: each writer asks a slow EHR whether the visit is over.
#[test]
fn what_is_taken_up_and_not_begun_is_not_written() {
    for to in [Switch::Off, Switch::Silent, Switch::Pause] {
        let world = world();
        world
            .ehr
            .set_faults(|faults| _ = faults.delays.insert(CallKind::Context, Duration::from_secs(8)));
        let asked = async || {
            let taken_up = results(&world).await.len() as u64 == PHOTOS;
            if taken_up {
                // The question is under way.
                world
                    .clock
                    .sleep_until(world.clock_now() + Duration::from_secs(3))
                    .await;
            }
            taken_up
        };
        switched_when(&world, to, asked);
        let report = world.report();
        assert_eq!(
            (report.calls.draft, report.compositions),
            (0, 0),
            "{to:?}: a write began after it"
        );
        let kept_back = |result: &AssistResult| matches!(result.delivery, Delivery::Withheld { .. });
        let kept = world
            .clock
            .run(results(&world))
            .iter()
            .filter(|result| kept_back(result))
            .count() as u64;
        assert_eq!(kept, if to == Switch::Silent { PHOTOS } else { 0 }, "{to:?}");

        world.clock.run(switch(&world, to, true));
        world.run_for(5 * MINUTE);
        let expected = if to == Switch::Silent { 0 } else { PHOTOS };
        assert_eq!(world.report().compositions, expected, "{to:?}");
        if to != Switch::Silent {
            world.assert_delivered_once(0);
        }
    }
}

/// The post is with the EHR, which takes its time: it is the draft of a practice that permitted it, and is recorded as delivered.
#[test]
fn what_is_being_sent_is_finished_and_recorded() {
    for to in [Switch::Off, Switch::Silent, Switch::Pause] {
        let mut world = world();
        world.writers = 2;
        world
            .ehr
            .set_faults(|faults| _ = faults.delays.insert(CallKind::Draft, Duration::from_secs(8)));
        let begun = |result: &AssistResult| matches!(result.delivery, Delivery::Intended { .. });
        switched_when(&world, to, async || {
            results(&world).await.iter().filter(|result| begun(result)).count() == 2
        });
        let report = world.report();
        assert_eq!((report.calls.draft, report.compositions), (2, 2), "{to:?}");
        let delivered = |result: &&AssistResult| matches!(result.delivery, Delivery::Delivered { .. });
        let known = world.clock.run(results(&world)).iter().filter(delivered).count();
        assert_eq!(known, 2, "{to:?}: what was begun is recorded");
        if to != Switch::Silent {
            world.clock.run(switch(&world, to, true));
            world.run_for(5 * MINUTE);
            world.assert_delivered_once(0);
        }
    }
}
