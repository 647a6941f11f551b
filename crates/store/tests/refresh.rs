//! One refresh at a time, whoever asks: the stage on a state file that several processes share.

// In a test, a panic is the report.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
    time::Duration,
};

use async_trait::async_trait;
use futures::{executor::block_on, future::join_all};
use skin_assist_core::{
    domain::{AccessToken, Credential, Firm, FirmId, FirmStatus, IssuedToken, Mode, NewCredential},
    phi::Secret,
    ports::{Credentials, EhrError, FirmAdministration, TokenEndpoint},
    stages::{RefreshCredentials, TokenState},
    time::{Clock, Timestamp, VirtualClock},
};
use skin_assist_store::{SqliteStore, StateKey};
use tempfile::TempDir;

const START: Timestamp = Timestamp::from_millis(1_767_600_000_000);

/// Counts what it is asked, takes two seconds for each answer, and refuses one firm.
struct Endpoint {
    clock: VirtualClock,
    asked: Mutex<HashMap<FirmId, u32>>,
    refused: Option<FirmId>,
}

impl Endpoint {
    fn new(clock: &VirtualClock, refused: Option<FirmId>) -> Self {
        Self {
            clock: clock.clone(),
            asked: Mutex::default(),
            refused,
        }
    }

    fn asked(&self, firm: &Firm) -> u32 {
        self.asked.lock().unwrap().get(&firm.id).copied().unwrap_or_default()
    }
}

#[async_trait]
impl TokenEndpoint for Endpoint {
    async fn request_token(&self, firm: &Firm, _: &Credential, now: Timestamp) -> Result<IssuedToken, EhrError> {
        let number = {
            let mut asked = self.asked.lock().unwrap();
            let number = asked.entry(firm.id.clone()).or_default();
            *number += 1;
            *number
        };
        self.clock.sleep_until(now + Duration::from_secs(2)).await;
        if self.refused.as_ref() == Some(&firm.id) {
            return Err(EhrError::CredentialRefused { status: 400 });
        }
        Ok(IssuedToken {
            access: AccessToken {
                secret: Secret::new(format!("{} {number}", firm.id)),
                issued_at: now,
                expires_at: now + Duration::from_secs(900),
            },
            refresh_token: Some(Secret::new(format!("refresh {number}"))),
        })
    }
}

/// Two stores on one file, as two processes have them, and two firms.
struct World {
    stores: [SqliteStore; 2],
    firms: [Firm; 2],
    clock: VirtualClock,
    folder: TempDir,
}

fn open(folder: &TempDir) -> SqliteStore {
    SqliteStore::open(&folder.path().join("state.db"), &StateKey::from_bytes([7; 32])).unwrap()
}

fn world() -> World {
    let folder = TempDir::new().unwrap();
    let stores = [open(&folder), open(&folder)];
    let firms = ["a", "b"].map(|id| Firm {
        id: FirmId::new(id),
        url_prefix: id.into(),
        status: FirmStatus::Active,
        mode: Mode::Silent,
        intended_use: None,
        categories: BTreeMap::new(),
        api_key: None,
        connected_at: START,
        photos_since: START,
    });
    for firm in &firms {
        let credential = NewCredential::secret("client", Secret::new("secret".into()));
        block_on(stores[0].add_firm(firm, &credential)).unwrap();
    }
    World {
        stores,
        firms,
        clock: VirtualClock::new(START),
        folder,
    }
}

impl World {
    async fn state(&self, process: usize, endpoint: &Endpoint, firm: &Firm) -> TokenState {
        let stage = RefreshCredentials {
            credentials: &self.stores[process],
            endpoint,
            clock: &self.clock,
        };
        stage.run(firm, None).await.unwrap()
    }

    /// A worker that waits for its token, as the driver does.
    async fn token(&self, process: usize, endpoint: &Endpoint, firm: &Firm) -> AccessToken {
        loop {
            match self.state(process, endpoint, firm).await {
                TokenState::Ready(token) => return token,
                TokenState::Elsewhere(again) => self.clock.sleep_until(again).await,
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn eight_workers_of_two_processes_ask_once() {
    let world = world();
    let endpoint = Endpoint::new(&world.clock, None);
    let firm = &world.firms[0];
    for round in 1..=3 {
        let workers = (0..8).map(|worker| world.token(worker % 2, &endpoint, firm));
        let tokens = world.clock.run(join_all(workers));
        assert_eq!(endpoint.asked(firm), round, "one request for each token");
        for token in &tokens {
            assert_eq!(token.secret, Secret::new(format!("a {round}")));
        }
        world
            .clock
            .run(world.clock.sleep_until(world.clock.now() + Duration::from_secs(1000)));
    }
}

#[test]
fn a_refusal_stops_its_firm_alone_and_is_asked_again_after_a_quarter_of_an_hour() {
    let world = world();
    let [refused, served] = &world.firms;
    let endpoint = Endpoint::new(&world.clock, Some(refused.id.clone()));
    let work = async {
        // Ten minutes, a look each second by both processes.
        for _ in 0..600 {
            for process in 0..2 {
                let state = world.state(process, &endpoint, refused).await;
                assert!(
                    matches!(state, TokenState::Refused { .. } | TokenState::Elsewhere(_)),
                    "{state:?}"
                );
                world.token(process, &endpoint, served).await;
            }
            world
                .clock
                .sleep_until(world.clock.now() + Duration::from_secs(1))
                .await;
        }
        assert_eq!((endpoint.asked(refused), endpoint.asked(served)), (1, 1));
        world
            .clock
            .sleep_until(world.clock.now() + Duration::from_secs(300))
            .await;
        world.state(0, &endpoint, refused).await;
        world.state(1, &endpoint, refused).await;
        assert_eq!(endpoint.asked(refused), 2);
    };
    world.clock.run(work);
}

#[test]
fn a_refresh_token_survives_a_restart() {
    let world = world();
    let endpoint = Endpoint::new(&world.clock, None);
    let firm = &world.firms[0];
    world.clock.run(world.token(0, &endpoint, firm));
    let World { folder, stores, .. } = &world;
    let reopened = open(folder);
    for store in stores.iter().chain([&reopened]) {
        let credential = block_on(store.credential(&firm.id)).unwrap().unwrap();
        assert_eq!(credential.refresh_token, Some(Secret::new("refresh 1".into())));
    }
}
