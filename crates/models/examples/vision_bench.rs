//! How fast photos go through the models: JSON lines `{name, value, unit}` on standard output.
//!
//! `cargo run --release -p skin-assist-models --example vision_bench -- [--packs DIR] [--runtime auto|rten|LIBRARY]
//! [--seconds S] PHOTO...`
//!
//! Without `--packs` the reference packs are used. Times of the steps are medians on one thread; throughput is measured
//! with 1 and 2 workers for `S` seconds each (default 3), as many callers at once as keep the queue full.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints its numbers"
)]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures by the clock")]

use std::{
    error::Error,
    num::NonZeroUsize,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{StreamExt, executor::block_on, stream::FuturesUnordered};
use serde_json::json;
use skin_assist_core::{
    domain::{PhotoBytes, Route},
    ports::VisionModel,
};
use skin_assist_models::{
    PackVision, VisionOptions, detect,
    pack::{self, LoadedPack, Pack},
    photo::{self, Limits},
    preprocess::{Reducer, square_around, tensor},
    runtime::{Runtime, RuntimeChoice},
};

struct Options {
    packs: Option<PathBuf>,
    runtime: RuntimeChoice,
    seconds: f64,
    photos: Vec<PhotoBytes>,
}

fn main() -> ExitCode {
    match options(std::env::args().skip(1)).and_then(|options| bench(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, Box<dyn Error>> {
    let mut options = Options {
        packs: None,
        runtime: RuntimeChoice::Auto,
        seconds: 3.0,
        photos: Vec::new(),
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--packs" => options.packs = Some(value()?.into()),
            "--seconds" => options.seconds = value()?.parse()?,
            "--runtime" => {
                options.runtime = match value()?.as_str() {
                    "auto" => RuntimeChoice::Auto,
                    "rten" => RuntimeChoice::Rten,
                    library => RuntimeChoice::OnnxRuntime(library.into()),
                }
            }
            path => {
                let bytes = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
                options.photos.push(PhotoBytes::new(Bytes::from(bytes)));
            }
        }
    }
    if options.photos.is_empty() {
        return Err("give photos".into());
    }
    Ok(options)
}

fn bench(options: &Options) -> Result<(), Box<dyn Error>> {
    let runtime = Runtime::open(&options.runtime)?;
    print("runtime", runtime.describe().to_string(), "");
    let packs = match &options.packs {
        Some(folder) => pack::find(folder)?
            .iter()
            .map(|folder| Pack::from_directory(folder))
            .collect::<Result<Vec<_>, _>>()?,
        None => Route::ALL
            .into_iter()
            .map(Pack::reference)
            .collect::<Result<Vec<_>, _>>()?,
    };
    decoding(options)?;
    for pack in &packs {
        steps(&pack.load(&runtime)?, options)?;
    }
    for workers in [NonZeroUsize::MIN, NonZeroUsize::MIN.saturating_add(1)] {
        for pack in &packs {
            throughput(&runtime, pack, workers, options)?;
        }
    }
    Ok(())
}

fn print(name: &str, value: impl serde::Serialize, unit: &str) {
    println!("{}", json!({ "name": name, "value": value, "unit": unit }));
}

/// Prints the median of the times that `measure` took, in milliseconds.
fn median(name: &str, mut measure: impl FnMut() -> Result<(), Box<dyn Error>>) -> Result<(), Box<dyn Error>> {
    let mut times = Vec::new();
    let begun = Instant::now();
    while times.len() < 5 || (begun.elapsed() < Duration::from_millis(500) && times.len() < 200) {
        let start = Instant::now();
        measure()?;
        times.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    print(name, (times[times.len() / 2] * 1000.0).round() / 1000.0, "ms");
    Ok(())
}

fn decoding(options: &Options) -> Result<(), Box<dyn Error>> {
    let pixels = options
        .photos
        .iter()
        .map(|bytes| photo::decode(bytes.expose(), Limits::default()));
    let pixels = pixels.collect::<Result<Vec<_>, _>>()?;
    let megapixels = pixels
        .iter()
        .map(|photo| photo.pixels().len() as f64 / 3e6)
        .sum::<f64>()
        / pixels.len() as f64;
    print("photo_megapixels", (megapixels * 100.0).round() / 100.0, "megapixels");
    let mut next = 0;
    median("decode", || {
        next += 1;
        photo::decode(options.photos[next % options.photos.len()].expose(), Limits::default())?;
        Ok(())
    })
}

/// The steps after decoding, each on its own.
fn steps(pack: &LoadedPack, options: &Options) -> Result<(), Box<dyn Error>> {
    let manifest = pack.manifest();
    let route = manifest.route;
    let photo = photo::decode(options.photos[0].expose(), Limits::default())?;
    let mut reducer = Reducer::default();
    let classifier = &manifest.classifier;
    let mut session = pack.classifier().session()?;
    let first = manifest
        .detector
        .as_ref()
        .map_or(&classifier.input, |detector| &detector.input);
    median(&format!("{route}_preprocess"), || {
        tensor(&reducer.whole(&photo, first.width, first.height), first);
        Ok(())
    })?;
    let whole = tensor(&reducer.whole(&photo, first.width, first.height), first);
    if let (Some(detector), Some(model)) = (&manifest.detector, pack.detector()) {
        let mut detecting = model.session()?;
        median(&format!("{route}_detector"), || {
            detect::yolov8(&detecting.run(&whole)?, detector)?;
            Ok(())
        })?;
        let found = detect::yolov8(&detecting.run(&whole)?, detector)?;
        print(&format!("{route}_detections"), found.len(), "boxes");
        let (width, height) = photo.upright_size();
        let area = found.first().map_or(
            skin_assist_core::domain::NormalisedBox {
                x: 0.4,
                y: 0.4,
                width: 0.2,
                height: 0.2,
            },
            |detection| detection.raw,
        );
        let square = square_around(&area, detector.crop_margin, width, height).ok_or("no crop")?;
        let input = &classifier.input;
        median(&format!("{route}_crop"), || {
            tensor(&reducer.part(&photo, square, input.width, input.height), input);
            Ok(())
        })?;
        let crop = tensor(&reducer.part(&photo, square, input.width, input.height), input);
        return median(&format!("{route}_classifier"), || Ok(session.run(&crop).map(drop)?));
    }
    median(&format!("{route}_classifier"), || Ok(session.run(&whole).map(drop)?))
}

fn throughput(runtime: &Runtime, pack: &Pack, workers: NonZeroUsize, options: &Options) -> Result<(), Box<dyn Error>> {
    let route = pack.route();
    let vision_options = VisionOptions {
        workers,
        ..VisionOptions::default()
    };
    let vision = PackVision::new(runtime, std::slice::from_ref(pack), vision_options)?;
    let mut photos = options.photos.iter().cycle();
    let mut seen = 0_u32;
    let begun = Instant::now();
    let elapsed = block_on(async {
        let mut looking = FuturesUnordered::new();
        loop {
            while looking.len() < workers.get() * 2
                && let Some(photo) = photos.next()
            {
                looking.push(vision.look(route, photo));
            }
            if let Some(findings) = looking.next().await {
                findings?;
                seen += 1;
            }
            let elapsed = begun.elapsed().as_secs_f64();
            if elapsed >= options.seconds {
                return Ok::<f64, Box<dyn Error>>(elapsed);
            }
        }
    })?;
    let rate = (f64::from(seen) / elapsed * 100.0).round() / 100.0;
    print(&format!("{route}_throughput_{workers}_workers"), rate, "photos/s");
    Ok(())
}
