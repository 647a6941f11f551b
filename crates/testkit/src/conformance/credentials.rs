//! Credentials: one refresh at a time, and what it brings.

use futures::FutureExt;
use skin_assist_core::{
    domain::{AccessToken, CredentialState, IssuedToken, NewCredential},
    phi::Secret,
    ports::StateError,
};

use super::{
    Bench,
    fixtures::{LEASE, REASON, add_firm, at, firm, firm_id, issued, secret},
};

fn token(text: &str) -> AccessToken {
    issued(text, 3600).access
}

fn with_refresh_token(text: &str) -> IssuedToken {
    IssuedToken {
        refresh_token: Some(Secret::new(format!("{text}-refresh"))),
        ..issued(text, 3600)
    }
}

pub(super) async fn one_refreshes_at_a_time(bench: Bench) {
    let store = bench.store().await;
    let firm = add_firm(&store, "a").await;
    let lease = store.acquire_refresh(&firm, at(0), LEASE).await.unwrap().unwrap();
    assert_eq!((lease.attempt(), lease.locked_until()), (1, at(30)));
    assert_eq!(lease.item().client_secret, Secret::new("a-secret".into()));
    assert!(store.acquire_refresh(&firm, at(29), LEASE).await.unwrap().is_none());
    store.record_token(lease, &issued("first", 3600)).await.unwrap();
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
    store.record_token(lease, &issued("first", 3600)).await.unwrap();
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
    store.record_token(lease, &issued("second", 3600)).await.unwrap();
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
    store.replace_credential(&firm, &secret("new")).await.unwrap();
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

/// The refresh token is kept beside the token, under a lease and without, and each token says which one there is.
pub(super) async fn a_refresh_token_is_kept_with_its_token(bench: Bench) {
    let handles = bench.0.fresh().await;
    let (store, other) = (&handles[0], &handles[handles.len() - 1]);
    let firm = add_firm(store, "a").await;
    let lease = store.acquire_refresh(&firm, at(0), LEASE).await.unwrap().unwrap();
    assert_eq!(lease.item().refresh_token, None);
    store.record_token(lease, &with_refresh_token("first")).await.unwrap();
    let kept = Some(Secret::new("first-refresh".into()));
    assert_eq!(other.credential(&firm).await.unwrap().unwrap().refresh_token, kept);
    let lease = other.acquire_refresh(&firm, at(1), LEASE).await.unwrap().unwrap();
    assert_eq!(lease.item().refresh_token, kept);
    other.release_refresh(lease, at(1)).await.unwrap();
    assert_eq!(store.credential(&firm).await.unwrap().unwrap().refresh_token, kept);

    let lease = store.acquire_refresh(&firm, at(2), LEASE).await.unwrap().unwrap();
    store.record_token(lease, &issued("second", 3600)).await.unwrap();
    assert_eq!(store.credential(&firm).await.unwrap().unwrap().refresh_token, None);
}

/// Neither a refused credential nor a new one goes on with what the old one brought.
pub(super) async fn a_refresh_token_goes_with_its_credential(bench: Bench) {
    let store = bench.store().await;
    for id in ["refused", "replaced", "kept"] {
        let firm = add_firm(&store, id).await;
        let lease = store.acquire_refresh(&firm, at(0), LEASE).await.unwrap().unwrap();
        store.record_token(lease, &with_refresh_token(id)).await.unwrap();
    }
    let refused = firm_id("refused");
    let lease = store.acquire_refresh(&refused, at(0), LEASE).await.unwrap().unwrap();
    store.record_refusal(lease, &REASON, at(600)).await.unwrap();
    store
        .replace_credential(&firm_id("replaced"), &secret("new"))
        .await
        .unwrap();
    for (id, expected) in [
        ("refused", None),
        ("replaced", None),
        ("kept", Some(Secret::new("kept-refresh".into()))),
    ] {
        let credential = store.credential(&firm_id(id)).await.unwrap().unwrap();
        assert_eq!(credential.refresh_token, expected, "{id}");
    }
}

/// A private key has a name, which comes and goes with it.
pub(super) async fn a_key_id_belongs_to_its_credential(bench: Bench) {
    let store = bench.store().await;
    let key = NewCredential {
        key_id: Some("key-1".into()),
        ..secret("a")
    };
    store.add_firm(&firm("a"), &key).await.unwrap();
    let b = add_firm(&store, "b").await;
    let key_id = async |id: &str| store.credential(&firm_id(id)).await.unwrap().unwrap().key_id;
    assert_eq!((key_id("a").await, key_id("b").await), (Some("key-1".into()), None));
    let lease = store
        .acquire_refresh(&firm_id("a"), at(0), LEASE)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(lease.item().key_id.as_deref(), Some("key-1"));
    store.replace_credential(&b, &key).await.unwrap();
    store.replace_credential(&firm_id("a"), &secret("a")).await.unwrap();
    assert_eq!((key_id("a").await, key_id("b").await), (None, Some("key-1".into())));
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
