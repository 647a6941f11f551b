//! Writes synthetic pictures for training and for looking at.
//!
//! `cargo run --release -p skin-assist-simulator --example pictures -- --route solitary --count 100 --out DIR`
//! writes `DIR/pictures.bin`, the pixels of all pictures one after the other (8-bit RGB), and `DIR/pictures.jsonl`, one
//! line per picture: seed, condition, width, height, boxes, and the offset of its pixels in the first file.
//!
//! Options: `--route solitary|widespread`, `--count N`, `--first-seed S`, `--width W`, `--height H`, `--out DIR`,
//! `--healthy SHARE` (share of pictures of healthy skin, default 0), `--shapes` (vary the aspect ratio; `--width` and
//! `--height` give the longest and the shortest side), `--crops MARGIN` (instead of whole pictures, a square around
//! each lesion, enlarged by this factor), `--jpeg` (write viewable JPEG files instead of raw pixels).

#![allow(clippy::print_stderr)]

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use skin_assist_simulator::picture::{Box2, Condition, Picture, PictureParameters, render};

struct Options {
    conditions: &'static [Condition],
    count: u64,
    first_seed: u64,
    width: u32,
    height: u32,
    out: PathBuf,
    healthy: f32,
    shapes: bool,
    crops: Option<f32>,
    jpeg: bool,
}

fn main() -> ExitCode {
    let result = options(std::env::args().skip(1)).and_then(|options| {
        write(&options).map_err(|error| format!("cannot write to {}: {error}", options.out.display()))
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        conditions: Condition::SOLITARY,
        count: 20,
        first_seed: 0,
        width: 640,
        height: 480,
        out: PathBuf::new(),
        healthy: 0.0,
        shapes: false,
        crops: None,
        jpeg: false,
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--route" => {
                options.conditions = match value()?.as_str() {
                    "solitary" => Condition::SOLITARY,
                    "widespread" => Condition::WIDESPREAD,
                    other => return Err(format!("unknown route {other}")),
                }
            }
            "--count" => options.count = number(&value()?)?,
            "--first-seed" => options.first_seed = number(&value()?)?,
            "--width" => options.width = number(&value()?)?,
            "--height" => options.height = number(&value()?)?,
            "--out" => options.out = PathBuf::from(value()?),
            "--healthy" => options.healthy = number(&value()?)?,
            "--crops" => options.crops = Some(number(&value()?)?),
            "--shapes" => options.shapes = true,
            "--jpeg" => options.jpeg = true,
            other => return Err(format!("unknown option {other}")),
        }
    }
    if options.out.as_os_str().is_empty() {
        return Err("--out is missing".to_owned());
    }
    Ok(options)
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}

/// The condition and the size of a picture, spread evenly over consecutive seeds.
fn parameters(options: &Options, seed: u64) -> PictureParameters {
    let kinds = options.conditions.len() as u64;
    // A golden-ratio sequence decides about health without disturbing the order of the conditions.
    let place = (seed / kinds) as f64 * 0.618_033_988_749_895 + (seed % kinds) as f64 * 0.414_213_562_373_095;
    let healthy = ((place - place.floor()) as f32) < options.healthy;
    let condition = (!healthy).then(|| options.conditions[(seed % kinds) as usize]);
    let (mut width, mut height) = (options.width, options.height);
    if options.shapes {
        let short = options.height as f32;
        let ratio = [4.0 / 3.0, 4.0 / 3.0, 3.0 / 2.0, 16.0 / 9.0, 1.0][(seed / kinds % 5) as usize];
        width = ((short * ratio) as u32).min(options.width);
        if seed / kinds / 5 % 2 == 1 {
            (width, height) = (height, width);
        }
    }
    PictureParameters::new(seed, condition, width, height)
}

/// A square around a box, enlarged by a factor, cut at the picture's edge.
fn square(found: Box2, factor: f32, width: u32, height: u32) -> Box2 {
    let (width, height) = (width as f32, height as f32);
    let side = (found.width * width).max(found.height * height) * factor;
    let (x, y) = (
        (found.x + found.width / 2.0) * width,
        (found.y + found.height / 2.0) * height,
    );
    let (left, right) = ((x - side / 2.0).max(0.0), (x + side / 2.0).min(width));
    let (top, bottom) = ((y - side / 2.0).max(0.0), (y + side / 2.0).min(height));
    Box2 {
        x: left / width,
        y: top / height,
        width: (right - left) / width,
        height: (bottom - top) / height,
    }
}

fn write(options: &Options) -> io::Result<()> {
    fs::create_dir_all(&options.out)?;
    let mut labels = BufWriter::new(File::create(options.out.join("pictures.jsonl"))?);
    let mut pixels = if options.jpeg {
        None
    } else {
        Some(BufWriter::new(File::create(options.out.join("pictures.bin"))?))
    };
    let mut offset = 0;
    for seed in options.first_seed..options.first_seed + options.count {
        let whole = parameters(options, seed);
        let mut parts = vec![whole.clone()];
        if let Some(factor) = options.crops {
            let regions = whole
                .lesions()
                .into_iter()
                .map(|found| square(found, factor, whole.width, whole.height));
            parts = regions
                .map(|region| PictureParameters {
                    region: Some(region),
                    ..whole.clone()
                })
                .collect();
        }
        for (part, parameters) in parts.iter().enumerate() {
            let picture = render(parameters);
            let boxes: Vec<_> = picture
                .lesions
                .iter()
                .map(|found| [found.x, found.y, found.width, found.height])
                .collect();
            let line = json!({
                "seed": seed,
                "condition": picture.condition.map(Condition::id),
                "width": picture.width,
                "height": picture.height,
                // The lesion that a crop was made for comes first.
                "part": part,
                "boxes": boxes,
                "offset": offset,
            });
            writeln!(labels, "{line}")?;
            offset += picture.rgb.len();
            match &mut pixels {
                Some(pixels) => pixels.write_all(&picture.rgb)?,
                None => write_jpeg(options, seed, part, &picture)?,
            }
        }
    }
    if let Some(mut pixels) = pixels {
        pixels.flush()?;
    }
    labels.flush()
}

fn write_jpeg(options: &Options, seed: u64, part: usize, picture: &Picture) -> io::Result<()> {
    let name = picture.condition.map_or("healthy", Condition::id);
    fs::write(
        options.out.join(format!("{seed:06}-{part}-{name}.jpg")),
        picture.to_jpeg(88, 1),
    )
}
