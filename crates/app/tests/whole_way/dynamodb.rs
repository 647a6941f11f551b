//! The same whole way with the state in DynamoDB: what holds on one file holds there.

use std::{sync::Arc, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use skin_assist::driver::stop_signal;
use skin_assist_aws::{
    connection::Connection,
    dynamodb::{DynamoStore, FirmKeys},
};
use skin_assist_core::{polling::PolicyName, time::Clock as _};
use skin_assist_simulator::CallKind;
use skin_assist_testkit::servers::Server;

use super::{
    CLINIC,
    support::{Setting, World},
};

/// A store on the state of this name, as a process of its own would have it.
fn store(server: &Server, state: &str) -> Arc<DynamoStore> {
    let connection = Connection::in_place_to_emulator(server.endpoint());
    Arc::new(DynamoStore::new(
        &connection,
        format!("{state}-"),
        FirmKeys::for_emulator(),
    ))
}

/// A world with a clinic of an hour, on a new state.
fn world(server: &Server, state: &str, seed: u64, firms: usize) -> World {
    let store = store(server, state);
    futures::executor::block_on(store.create_tables()).unwrap();
    World::on(store, seed, firms, Setting::modmed())
}

#[test]
fn every_photo_gets_exactly_one_draft() {
    let server = Server::dynoxide();
    for policy in [PolicyName::Adaptive, PolicyName::RoundRobin, PolicyName::Reference] {
        let mut world = world(&server, &policy.to_string(), 1, 2);
        world.policy = policy;
        world.run_for(CLINIC);
        let report = world.assert_delivered_once(0);
        assert!(
            report.expected().count() >= 10,
            "a clinic with too few photos proves nothing"
        );
        assert_eq!(report.refused_429, 0);
        assert_eq!(
            world.vision.looks(),
            report.expected().count() as u64,
            "an inference was paid twice"
        );
    }
}

#[test]
fn two_engines_with_stores_of_their_own_share_the_work() {
    let server = Server::dynoxide();
    let world = world(&server, "shared", 13, 2);
    world.clock.run(async {
        let (first, mut second) = (world.engine(), world.engine());
        second.state = store(&server, "shared");
        let (stopper, stop) = stop_signal();
        let until = world.clock_now() + CLINIC;
        let stopping = async {
            world.clock.sleep_until(until).await;
            stopper.stop();
        };
        futures::join!(first.run(stop.clone()), second.run(stop), stopping);
    });
    let report = world.assert_delivered_once(0);
    assert_eq!(
        world.vision.looks(),
        report.expected().count() as u64,
        "an inference was paid twice"
    );
    assert_eq!(report.refused_429, 0, "the two share one quota");
}

#[test]
fn crashes_anywhere_lose_nothing_and_double_nothing() {
    let server = Server::dynoxide();
    let (mut crashes, mut uncertain) = (0, 0);
    for seed in 0..3 {
        let world = world(&server, &format!("crash-{seed}"), seed, 2);
        // Posts that take long give a crash the chance to fall between a post and its acknowledgement.
        world
            .ehr
            .set_faults(|faults| _ = faults.delays.insert(CallKind::Draft, Duration::from_secs(20)));
        let mut random = StdRng::seed_from_u64(seed);
        let mut left = 12;
        while left > 0 && world.crash_after(random.random_range(5..4000), CLINIC) {
            left -= 1;
            crashes += 1;
        }
        world.run_for(CLINIC);
        world.assert_delivered_once(12);
        uncertain += world.clock.run(world.state.uncertain()).unwrap().len();
    }
    assert!(crashes >= 30, "only {crashes} crashes");
    assert!(uncertain > 0, "no crash fell into a post");
}
