//! A load test of `serve-models`: so many clients at once, over real HTTP, with photos of 12 megapixels; throughput, latency,
//! and how many were told to come again.
//!
//! Prints JSON lines `{"name", "value", "unit"}`, as the benchmarks do:
//! `cargo run --release -p skin-assist --example model_server_load -- 8 100` for 8 clients and 100 photos of each route.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark prints, uses a stopwatch, and may end"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use skin_assist::{
    clock::SystemClock,
    config::Config,
    model_server::{Server, ServerOptions},
    wiring,
};
use skin_assist_core::{
    domain::{PhotoBytes, Route},
    phi::Phi,
    ports::{VisionError, VisionModel as _},
};
use skin_assist_endpoints::inference::OpenInferenceVision;
use skin_assist_simulator::picture::{Condition, PictureParameters, render};
use skin_assist_transport::{HttpOptions, ReqwestTransport};

/// Different photos of each route.
const PHOTOS: u64 = 4;

fn report(name: &str, value: f64, unit: &str) {
    println!("{}", serde_json::json!({ "name": name, "value": value, "unit": unit }));
}

fn photos(route: Route) -> Vec<PhotoBytes> {
    let condition = match route {
        Route::Solitary => Condition::MelanocyticNevus,
        Route::Widespread => Condition::Psoriasis,
    };
    let photo = |seed| {
        let picture = render(&PictureParameters::new(seed, Some(condition), 4000, 3000));
        Phi::new(Bytes::from(picture.to_jpeg(88, 6)))
    };
    (0..PHOTOS).map(photo).collect()
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>().unwrap());
    let clients = arguments.next().unwrap_or(8);
    let each = arguments.next().unwrap_or(100);
    let slots = 4 * std::thread::available_parallelism().unwrap().get();
    let vision = wiring::vision(&Config::defaults().unwrap()).unwrap();
    let options = ServerOptions {
        listen: ([127, 0, 0, 1], 0).into(),
        slots,
        photo_bytes: 30_000_000,
    };
    let server = Server::start(vision, Arc::new(SystemClock), options).await.unwrap();
    let options = HttpOptions {
        allow_loopback_http: true,
        ..HttpOptions::default()
    };
    let transport = Arc::new(ReqwestTransport::for_api(&options).unwrap());
    let url = format!("http://{}", server.address()).parse().unwrap();
    let client = Arc::new(OpenInferenceVision::connect(transport, url).await.unwrap());
    for route in Route::ALL {
        let photos = Arc::new(photos(route));
        let (begun, turned_away) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let began = Instant::now();
        let one_client = || {
            let (client, photos) = (Arc::clone(&client), Arc::clone(&photos));
            let (begun, turned_away) = (Arc::clone(&begun), Arc::clone(&turned_away));
            tokio::spawn(async move {
                let mut took = Vec::new();
                loop {
                    let number = begun.fetch_add(1, Ordering::Relaxed);
                    if number >= each {
                        return took;
                    }
                    let since = Instant::now();
                    while let Err(error) = client.look(route, &photos[number % photos.len()]).await {
                        assert!(matches!(error, VisionError::Busy { .. }), "{error}");
                        turned_away.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    took.push(since.elapsed());
                }
            })
        };
        let tasks: Vec<_> = (0..clients).map(|_| one_client()).collect();
        let mut took = Vec::new();
        for task in tasks {
            took.extend(task.await.unwrap());
        }
        let seconds = began.elapsed().as_secs_f64();
        took.sort();
        let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        report(
            &format!("{route}, {clients} clients: throughput"),
            took.len() as f64 / seconds,
            "photos/s",
        );
        report(&format!("{route}, {clients} clients: median"), at(0.5), "ms");
        report(&format!("{route}, {clients} clients: 99th percentile"), at(0.99), "ms");
        let turned_away = turned_away.load(Ordering::Relaxed) as f64;
        report(
            &format!("{route}, {clients} clients: told to come again"),
            turned_away,
            "times",
        );
    }
    assert!(server.shutdown(Duration::from_secs(10)).await);
}
