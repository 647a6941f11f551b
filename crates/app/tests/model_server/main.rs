//! The vision stage as a model server, over real HTTP: what its clients promise, and what it does when it is asked for more
//! than it has.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

#[path = "../support/process.rs"]
mod process;

mod program;
mod protocol;
#[cfg(feature = "aws")]
mod sage_maker;
mod support;
mod tensors;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use skin_assist::clock::SystemClock;
use skin_assist_core::{
    domain::{ModelVersion, Route},
    phi::Phi,
    ports::{Class, VisionModel as _},
};
use skin_assist_endpoints::inference::{Error, OpenInferenceVision};
use skin_assist_testkit::{scripted::ScriptedVision, vision};

use support::{Gated, Served, packs, transport};

#[tokio::test(flavor = "multi_thread")]
async fn packs_in_process_keep_what_every_vision_model_promises() {
    vision::check(&*packs(), &*packs()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_server_keeps_what_every_vision_model_promises() {
    let packs = packs();
    let served = Served::start(packs.clone(), 4).await;
    vision::check(&served.client().await, &*packs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_no_slot_is_told_when_to_come_again_and_health_stays() {
    let gated = Gated::default();
    let served = Served::start(Arc::new(gated.clone()), 2).await;
    let client = Arc::new(served.client().await);
    let photo = vision::photo(Route::Solitary, 1);
    let look = || {
        let (client, photo) = (client.clone(), photo.clone());
        tokio::spawn(async move { client.look(Route::Solitary, &photo).await })
    };
    let held = [look(), look()];
    gated.until_begun(2).await;

    let error = client.look(Route::Solitary, &photo).await.unwrap_err();
    assert_eq!(error.reason().code(), "model.busy");
    assert_eq!(error.class(), Class::Transient(Some(Duration::from_secs(1))));
    // Also who is still sending when the answer is clear.
    let large = Phi::new(Bytes::from(vec![0; 20_000_000]));
    let error = client.look(Route::Solitary, &large).await.unwrap_err();
    assert_eq!(error.reason().code(), "model.busy");
    assert_eq!(served.get("/ping").await.status(), 200);
    assert_eq!(served.get("/v2/health/ready").await.status(), 200);
    let metrics = served.text("/metrics").await;
    assert!(metrics.contains("skin_assist_slots_used 2"), "{metrics}");
    assert!(metrics.contains("skin_assist_turned_away_total 2"), "{metrics}");

    gated.open();
    for look in held {
        assert!(look.await.unwrap().is_ok());
    }
    assert!(
        client.look(Route::Solitary, &photo).await.is_ok(),
        "there is room again"
    );
    assert_eq!(gated.begun(), 3, "nobody else got as far as the models");
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_stop_it_answers_what_was_begun() {
    let gated = Gated::default();
    let served = Served::start(Arc::new(gated.clone()), 2).await;
    let client = Arc::new(served.client().await);
    let photo = vision::photo(Route::Solitary, 1);
    let look = {
        let (client, photo) = (client.clone(), photo.clone());
        tokio::spawn(async move { client.look(Route::Solitary, &photo).await })
    };
    gated.until_begun(1).await;
    let server = served.server;
    let stopping = tokio::spawn(server.shutdown(Duration::from_secs(30)));
    // Whoever comes now finds the door closed, as soon as the stop is under way.
    let closed = async {
        loop {
            let error = client.look(Route::Solitary, &photo).await;
            if error
                .as_ref()
                .is_err_and(|error| error.reason().code() == "model.unavailable")
            {
                break;
            }
            assert_eq!(error.unwrap_err().reason().code(), "model.busy");
        }
    };
    gated.open_after(closed).await;
    assert!(look.await.unwrap().is_ok(), "what was begun is answered");
    assert!(stopping.await.unwrap(), "and then it ends by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_ever() {
    let gated = Gated::default();
    let served = Served::start(Arc::new(gated.clone()), 2).await;
    let client = served.client().await;
    let look = tokio::spawn(async move { client.look(Route::Solitary, &vision::photo(Route::Solitary, 1)).await });
    gated.until_begun(1).await;
    assert!(!served.server.shutdown(Duration::from_millis(50)).await);
    look.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_took_anothers_place_is_found_and_named() {
    let gated = Gated::default();
    gated.open();
    let served = Served::start(Arc::new(gated.clone()), 2).await;
    let client = served.client().await;
    let photo = vision::photo(Route::Solitary, 1);
    let model = |pack: &str, version: &str| ModelVersion {
        pack: pack.to_owned(),
        version: version.to_owned(),
    };
    assert_eq!(client.versions(Route::Solitary), [model("pack", "1")]);
    // Another version of the same pack: the answer names it, and it is known from then on.
    gated.is_now(model("pack", "2"));
    let findings = client.look(Route::Solitary, &photo).await.unwrap();
    assert_eq!(findings.models, [model("pack", "2")]);
    assert_eq!(client.versions(Route::Solitary), [model("pack", "2")]);
    // Another pack: one attempt does not find it, the next one does.
    gated.is_now(model("other", "1"));
    let error = client.look(Route::Solitary, &photo).await.unwrap_err();
    assert!(matches!(error.class(), Class::Transient(_)), "{error}");
    assert_eq!(client.versions(Route::Solitary), [model("other", "1")]);
    assert!(client.look(Route::Solitary, &photo).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_none_is_an_error_with_a_hint() {
    let scripted = ScriptedVision::new(Arc::new(SystemClock), Duration::ZERO);
    let served = Served::start(Arc::new(scripted), 1).await;
    let connect = |url: String| OpenInferenceVision::connect(transport(), url.parse().unwrap());
    let elsewhere = connect(format!("{}/elsewhere", served.url())).await.unwrap_err();
    assert!(matches!(elsewhere, Error::Answer { status: 404, .. }), "{elsewhere:?}");
    let address = served.url();
    assert!(served.server.shutdown(Duration::from_secs(5)).await);
    let gone = connect(address).await.unwrap_err();
    assert!(matches!(gone, Error::Unreachable(_)), "{gone:?}");
    // Over a network photos go encrypted or not at all.
    let plain = connect("http://models.example.com".to_owned()).await.unwrap_err();
    assert!(plain.hint().contains("plain http"), "{plain:?}");
}
