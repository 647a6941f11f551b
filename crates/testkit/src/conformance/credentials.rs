//! Credentials: one refresh at a time, and what it brings.

use futures::FutureExt;
use skin_assist_core::{
    domain::{AccessToken, CredentialState},
    phi::Secret,
    ports::StateError,
};

use super::{
    Bench,
    fixtures::{LEASE, REASON, add_firm, at, firm_id},
};

fn token(text: &str) -> AccessToken {
    AccessToken {
        secret: Secret::new(text.into()),
        issued_at: at(0),
        expires_at: at(3600),
    }
}

pub(super) async fn one_refreshes_at_a_time(bench: Bench) {
    let store = bench.store().await;
    let firm = add_firm(&store, "a").await;
    let lease = store.acquire_refresh(&firm, at(0), LEASE).await.unwrap().unwrap();
    assert_eq!((lease.attempt(), lease.locked_until()), (1, at(30)));
    assert_eq!(lease.item().client_secret, Secret::new("a-secret".into()));
    assert!(store.acquire_refresh(&firm, at(29), LEASE).await.unwrap().is_none());
    store.record_token(lease, &token("first")).await.unwrap();
    let credential = store.credential(&firm).await.unwrap().unwrap();
    assert_eq!(
        (credential.token, credential.state),
        (Some(token("first")), CredentialState::Usable)
    );

    let lease = store.acquire_refresh(&firm, at(29), LEASE).await.unwrap().unwrap();
    assert_eq!(
        (lease.attempt(), &lease.item().token),
        (1, &Some(token("first"))),
        "a token is progress"
    );
    store.release_refresh(lease, at(29)).await.unwrap();
    let lease = store.acquire_refresh(&firm, at(29), LEASE).await.unwrap().unwrap();
    assert_eq!(lease.attempt(), 1, "a release does not count");
}

pub(super) async fn a_refusal_drops_the_token(bench: Bench) {
    let store = bench.store().await;
    let firm = add_firm(&store, "a").await;
    let lease = store.acquire_refresh(&firm, at(0), LEASE).await.unwrap().unwrap();
    store.record_token(lease, &token("first")).await.unwrap();
    let lease = store.acquire_refresh(&firm, at(0), LEASE).await.unwrap().unwrap();
    store.record_refusal(lease, &REASON, at(600)).await.unwrap();
    let credential = store.credential(&firm).await.unwrap().unwrap();
    assert_eq!(credential.token, None);
    assert_eq!(
        credential.state,
        CredentialState::Refused {
            reason: REASON,
            retry_at: at(600)
        }
    );
    assert_eq!(store.overview(at(0)).await.unwrap()[0].credential_refused, Some(REASON));

    // When to ask again is the caller's to respect; a token clears the refusal.
    let lease = store.acquire_refresh(&firm, at(1), LEASE).await.unwrap().unwrap();
    store.record_token(lease, &token("second")).await.unwrap();
    let credential = store.credential(&firm).await.unwrap().unwrap();
    assert_eq!(
        (credential.token, credential.state),
        (Some(token("second")), CredentialState::Usable)
    );
    assert_eq!(store.overview(at(0)).await.unwrap()[0].credential_refused, None);
}

pub(super) async fn a_refresh_lease_expires(bench: Bench) {
    let store = bench.store().await;
    let firm = add_firm(&store, "a").await;
    let first = store.acquire_refresh(&firm, at(0), LEASE).await.unwrap().unwrap();
    let second = store.acquire_refresh(&firm, at(30), LEASE).await.unwrap().unwrap();
    assert!(second.fence() > first.fence());
    assert_eq!(second.attempt(), 2);
}

/// What a refresh under way learns about the old credential is not about the new one.
pub(super) async fn a_new_credential_voids_the_refresh_under_way(bench: Bench) {
    let store = bench.store().await;
    let firm = add_firm(&store, "a").await;
    let lease = store.acquire_refresh(&firm, at(0), LEASE).await.unwrap().unwrap();
    store.record_refusal(lease, &REASON, at(600)).await.unwrap();
    let lease = store.acquire_refresh(&firm, at(0), LEASE).await.unwrap().unwrap();
    store
        .replace_credential(&firm, "new-client", &Secret::new("new-secret".into()))
        .await
        .unwrap();
    let outcome = store.record_refusal(lease, &REASON, at(600)).await;
    assert!(matches!(outcome, Err(StateError::LeaseLost)), "{outcome:?}");
    let credential = store.credential(&firm).await.unwrap().unwrap();
    assert_eq!(credential.client_id, "new-client");
    assert_eq!(credential.client_secret, Secret::new("new-secret".into()));
    assert_eq!((credential.token, credential.state), (None, CredentialState::Usable));
    assert!(
        store.acquire_refresh(&firm, at(1), LEASE).await.unwrap().is_some(),
        "the new one can be asked for at once"
    );
}

pub(super) async fn concurrent_refreshes_get_one_lease(bench: Bench) {
    let handles = bench.0.fresh().await;
    add_firm(&handles[0], "a").await;
    let leases = bench
        .race(&handles, 8, |store| {
            async move {
                store
                    .acquire_refresh(&firm_id("a"), at(0), LEASE)
                    .await
                    .unwrap()
                    .is_some()
            }
            .boxed()
        })
        .await;
    assert_eq!(leases.iter().filter(|granted| **granted).count(), 1);
}
