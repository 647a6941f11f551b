//! How fast photos go through the models: JSON lines `{name, value, unit}` on standard output.
//!
//! `cargo run --release -p skin-assist-models --example vision_bench -- [--packs DIR] [--runtime auto|rten|LIBRARY]
//! [--seconds S] PHOTO...`
//!
//! With `--compared ROUTE --workers N` it does what `models/bench/pipelines.py` does, and prints the same: `ready`, then
//! photos, seconds and latencies of one route; with `--parts ROUTE` the times of decoding alone, the models alone and the
//! whole, photo by photo; with `--findings ROUTE` the probabilities and the first box of each photo; with `--floor ROUTE` it
//! opens the runtime and the pack's sessions, runs them for `S` seconds on zeros, and sees no photo.
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
    path::{Path, PathBuf},
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
    runtime::{Runtime, RuntimeChoice, Tensor},
};

struct Options {
    packs: Option<PathBuf>,
    runtime: RuntimeChoice,
    seconds: f64,
    photos: Vec<PhotoBytes>,
    paths: Vec<PathBuf>,
    workers: NonZeroUsize,
    only: Option<(Mode, Route)>,
}

/// What is done for one route only.
#[derive(Clone, Copy)]
enum Mode {
    Compared,
    Parts,
    Findings,
    Floor,
}

fn main() -> ExitCode {
    match options(std::env::args().skip(1)).and_then(|mut options| bench(&mut options)) {
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
        paths: Vec::new(),
        workers: NonZeroUsize::MIN,
        only: None,
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--packs" => options.packs = Some(value()?.into()),
            "--seconds" => options.seconds = value()?.parse()?,
            "--workers" => options.workers = value()?.parse()?,
            "--compared" => options.only = Some((Mode::Compared, route(&value()?)?)),
            "--parts" => options.only = Some((Mode::Parts, route(&value()?)?)),
            "--findings" => options.only = Some((Mode::Findings, route(&value()?)?)),
            "--floor" => options.only = Some((Mode::Floor, route(&value()?)?)),
            "--runtime" => {
                options.runtime = match value()?.as_str() {
                    "auto" => RuntimeChoice::Auto,
                    "rten" => RuntimeChoice::Rten,
                    library => RuntimeChoice::OnnxRuntime(library.into()),
                }
            }
            path => options.paths.push(path.into()),
        }
    }
    if options.paths.is_empty() && !matches!(options.only, Some((Mode::Floor, _))) {
        return Err("give photos".into());
    }
    Ok(options)
}

fn route(name: &str) -> Result<Route, String> {
    let named = Route::ALL.into_iter().find(|route| route.as_str() == name);
    named.ok_or_else(|| format!("there is no route {name}"))
}

fn read(path: &Path) -> Result<PhotoBytes, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(PhotoBytes::new(Bytes::from(bytes)))
}

fn bench(options: &mut Options) -> Result<(), Box<dyn Error>> {
    let runtime = Runtime::open(&options.runtime)?;
    if let Some((mode, route)) = options.only {
        let packs = packs(options)?;
        let pack = packs
            .into_iter()
            .find(|pack| pack.route() == route)
            .ok_or("no pack for the route")?;
        return match mode {
            Mode::Compared => compared(&runtime, pack, options),
            Mode::Parts => parts(&runtime, &pack, options),
            Mode::Findings => findings(&runtime, &pack, options),
            Mode::Floor => floor(&runtime, &pack, options),
        };
    }
    print("runtime", runtime.describe().to_string(), "");
    options.photos = options.paths.iter().map(|path| read(path)).collect::<Result<_, _>>()?;
    let packs = packs(options)?;
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

fn packs(options: &Options) -> Result<Vec<Pack>, Box<dyn Error>> {
    Ok(match &options.packs {
        Some(folder) => pack::find(folder)?
            .iter()
            .map(|folder| Pack::from_directory(folder))
            .collect::<Result<Vec<_>, _>>()?,
        None => Route::ALL
            .into_iter()
            .map(Pack::reference)
            .collect::<Result<Vec<_>, _>>()?,
    })
}

fn vision(runtime: &Runtime, pack: &Pack, workers: NonZeroUsize) -> Result<PackVision, Box<dyn Error>> {
    let vision_options = VisionOptions {
        workers,
        ..VisionOptions::default()
    };
    Ok(PackVision::new(runtime, std::slice::from_ref(pack), vision_options)?)
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

/// One caller for each worker, each with the next photo when it has the findings of the last.
fn compared(runtime: &Runtime, pack: Pack, options: &Options) -> Result<(), Box<dyn Error>> {
    let vision = vision(runtime, &pack, options.workers)?;
    let route = pack.route();
    // As in the product, nobody keeps a pack once it is loaded.
    drop(pack);
    for path in options.paths.iter().take(2) {
        block_on(vision.look(route, &read(path)?))?;
    }
    println!("ready");
    let begun = Instant::now();
    let latencies = block_on(futures::future::join_all((0..options.workers.get()).map(
        async |first| {
            let mut latencies = Vec::new();
            for path in options.paths.iter().cycle().skip(first) {
                let at = Instant::now();
                vision.look(route, &read(path)?).await?;
                latencies.push(milliseconds(at));
                if begun.elapsed().as_secs_f64() >= options.seconds {
                    break;
                }
            }
            Ok::<_, Box<dyn Error>>(latencies)
        },
    )));
    let latencies: Vec<f64> = latencies.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
    let seconds = begun.elapsed().as_secs_f64();
    let photos = latencies.len();
    println!(
        "{}",
        json!({ "photos": photos, "seconds": seconds, "latencies_ms": latencies })
    );
    Ok(())
}

/// The sessions alone, on zeros.
fn floor(runtime: &Runtime, pack: &Pack, options: &Options) -> Result<(), Box<dyn Error>> {
    let loaded = pack.load(runtime)?;
    let manifest = loaded.manifest();
    let detector = manifest.detector.as_ref();
    let models = detector.map(|detector| &detector.input).zip(loaded.detector());
    let mut sessions = Vec::new();
    for (input, model) in models
        .into_iter()
        .chain([(&manifest.classifier.input, loaded.classifier())])
    {
        let shape = vec![1, 3, input.height as usize, input.width as usize];
        let data = vec![0.0; shape.iter().product()];
        sessions.push((model.session()?, Tensor { shape, data }));
    }
    println!("ready");
    let begun = Instant::now();
    let mut latencies = Vec::new();
    while begun.elapsed().as_secs_f64() < options.seconds {
        let at = Instant::now();
        for (session, input) in &mut sessions {
            session.run_all(input)?;
        }
        latencies.push(milliseconds(at));
    }
    println!(
        "{}",
        json!({ "photos": latencies.len(), "seconds": begun.elapsed().as_secs_f64(), "latencies_ms": latencies })
    );
    Ok(())
}

/// Decoding to the small image (and the crop), the models' execution, and the whole, in turn for each photo.
fn parts(runtime: &Runtime, pack: &Pack, options: &Options) -> Result<(), Box<dyn Error>> {
    let vision = vision(runtime, pack, NonZeroUsize::MIN)?;
    let loaded = pack.load(runtime)?;
    let manifest = loaded.manifest();
    let classifier = &manifest.classifier.input;
    let first = manifest
        .detector
        .as_ref()
        .map_or(classifier, |detector| &detector.input);
    let mut detecting = loaded
        .detector()
        .map(skin_assist_models::runtime::Model::session)
        .transpose()?;
    let mut judging = loaded.classifier().session()?;
    let mut reducer = Reducer::default();
    let (mut decode, mut model, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    let begun = Instant::now();
    for path in options.paths.iter().cycle() {
        let bytes = read(path)?;
        let at = Instant::now();
        let findings = block_on(vision.look(pack.route(), &bytes))?;
        whole.push(milliseconds(at));
        let at = Instant::now();
        let photo = photo::open(bytes.expose(), Limits::default())?;
        let small = reducer.whole_of(&photo, first.width, first.height)?;
        let mut crop = None;
        if let (Some(detector), Some(region)) = (&manifest.detector, findings.regions.first()) {
            let (width, height) = photo.upright_size();
            let square = square_around(&region.area, detector.crop_margin, width, height).ok_or("no crop")?;
            crop = Some(reducer.part_of(&photo, square, classifier.width, classifier.height)?);
        }
        decode.push(milliseconds(at));
        let small = tensor(&small, first);
        let crop = crop.map(|crop| tensor(&crop, classifier));
        let at = Instant::now();
        if let Some(session) = &mut detecting {
            session.run(&small)?;
        }
        judging.run(crop.as_ref().unwrap_or(&small))?;
        model.push(milliseconds(at));
        if begun.elapsed().as_secs_f64() >= options.seconds && whole.len() >= options.paths.len() {
            break;
        }
    }
    println!(
        "{}",
        json!({ "decode_ms": decode, "model_ms": model, "whole_ms": whole })
    );
    Ok(())
}

fn findings(runtime: &Runtime, pack: &Pack, options: &Options) -> Result<(), Box<dyn Error>> {
    let vision = vision(runtime, pack, options.workers)?;
    for path in &options.paths {
        let findings = block_on(vision.look(pack.route(), &read(path)?))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // In the order of the labels, as the network gives them.
        let labels = pack.manifest().classifier.labels.iter();
        let probability = |label: &skin_assist_core::domain::Label| {
            let ranked = findings.ranked.iter().find(|class| class.label.id == label.id);
            ranked.map(|class| class.probability)
        };
        let probabilities: Option<Vec<f32>> = labels.map(probability).collect();
        let area = findings.regions.first().map(|region| region.area);
        println!(
            "{}",
            json!({ "photo": name, "probabilities": probabilities, "area": area })
        );
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
            detect::boxes(&detecting.run_all(&whole)?, detector, None)?;
            Ok(())
        })?;
        let found = detect::boxes(&detecting.run_all(&whole)?, detector, None)?;
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
