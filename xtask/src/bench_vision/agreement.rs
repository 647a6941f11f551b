//! `cargo xtask bench vision agreement`: our findings against Python's, on 1,000 generated photos of each route, with the
//! reference packs.
//!
//! Python decodes by Pillow, in two ways: at the size that ours decodes at, as the fast Python pipelines do, so that both see
//! the same photo; and in full, which is how the packs were trained. Compared are the most probable class, its margin before
//! the second where the two disagree, and the greatest difference of a probability. Where only one finds a lesion, the margin
//! is that of the detector's best score, in Python, from its threshold.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    thread,
};

use serde_json::Value;

use super::{Setting, json, prepared_setting, put_part, quantile, setting};
use crate::process::{cargo, output, program, root, run as run_command};

const PHOTOS: &str = "target/bench/agreement";
const COUNT: usize = 1000;
/// Photos in one call: a command line has an end.
const AT_ONCE: usize = 250;

/// How Python decodes: its name there, and what the table says.
const DECODINGS: [(&str, &str); 2] = [("same", "at the same size"), ("exact", "in full")];

/// With a prepared folder it only prints.
pub(super) fn run(prepared: Option<&Path>) -> Result<(), String> {
    let setting = prepared.map_or_else(|| setting(0.0), |folder| prepared_setting(folder, 0.0))?;
    let models = prepared.map_or_else(reference_packs, |_| setting.pipelines.with_file_name("models"));
    let mut table = String::from(
        "| route | Python decodes | photos | the same class first, or both find nothing | of the others, greatest margin | lesion found by one only | \
         greatest margin from the threshold | probabilities apart, median | 99 % | most |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for route in ["widespread", "solitary"] {
        let photos = match prepared {
            None => photos(route)?,
            Some(_) => jpegs(&setting.pipelines.with_file_name("agreement").join(route))?,
        };
        println!("==> {route}, {} photos", photos.len());
        let (setting, models) = (&setting, &models);
        let ours = in_parts(&photos, |some| findings(&mut our_command(setting, route, some)))?;
        for (pipeline, decodes) in DECODINGS {
            let theirs = in_parts(&photos, |some| {
                findings(&mut their_command(setting, models, route, pipeline, some))
            })?;
            let compared = compare(&ours, &theirs)?;
            for (photo, one, other) in &compared.others {
                println!("{photo}, Python decodes {decodes}: {one:?} and {other:?}");
            }
            table += &line(route, decodes, compared, threshold(models, route)?);
        }
    }
    println!("{table}");
    if prepared.is_some() {
        return Ok(());
    }
    put_part("agreement", &table)
}

/// What comes of all photos, some at a time and as many at once as that makes.
fn in_parts(
    photos: &[PathBuf],
    of: impl Fn(&[PathBuf]) -> Result<Findings, String> + Sync,
) -> Result<Findings, String> {
    let done: Vec<_> = thread::scope(|scope| {
        let parts: Vec<_> = photos.chunks(AT_ONCE).map(|some| scope.spawn(|| of(some))).collect();
        parts.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    let mut all = Findings::new();
    for part in done {
        all.extend(part.map_err(|_| "a comparison broke off")??);
    }
    Ok(all)
}

/// A row of the table.
fn line(route: &str, decodes: &str, compared: Compared, threshold: f64) -> String {
    let photos = compared.same + compared.others.len() + compared.one_sided.len();
    let greatest = |margins: &mut dyn Iterator<Item = f64>| {
        let greatest = margins.fold(None, |most: Option<f64>, margin| {
            Some(most.map_or(margin, |most| most.max(margin)))
        });
        greatest.map_or("-".to_owned(), |most| format!("{most:.1e}"))
    };
    let mut others = compared.others.iter();
    let margins = greatest(&mut others.by_ref().map(|(_, one, other)| margin(one).max(margin(other))));
    let scores = greatest(&mut compared.one_sided.iter().map(|score| (score - threshold).abs()));
    let mut apart = compared.apart;
    let [median, high, most] = [0.5, 0.99, 1.0].map(|part| quantile(&mut apart, part));
    format!(
        "| {route} | {decodes} | {photos} | {} ({:.2} %) | {margins} | {} | {scores} | {median:.1e} | {high:.1e} | {most:.1e} |\n",
        compared.same,
        100.0 * compared.same as f64 / photos.max(1) as f64,
        compared.one_sided.len(),
    )
}

/// The detector's threshold; 0 where there is none.
fn threshold(models: &Path, route: &str) -> Result<f64, String> {
    let path = models.join(format!("reference-{route}/pack.toml"));
    let manifest = fs::read_to_string(&path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let value = manifest
        .lines()
        .find_map(|line| line.strip_prefix("score_threshold = "));
    value.map_or(Ok(0.0), |value| {
        value
            .parse()
            .map_err(|error| format!("{} has no threshold: {error}", path.display()))
    })
}

/// Photos as charts have them, rendered once.
fn photos(route: &str) -> Result<Vec<PathBuf>, String> {
    let folder = root().join(PHOTOS).join(route);
    if !folder.join("done").is_file() {
        println!("==> photos for the comparison ({route})");
        let mut render = cargo(&format!(
            "run --release --quiet --locked --package skin-assist-simulator --example pictures -- \
             --jpeg --route {route} --count {COUNT} --first-seed 9000000 --width 1600 --height 1200 --out"
        ));
        run_command(render.arg(&folder))?;
        fs::write(folder.join("done"), "").map_err(|error| format!("{PHOTOS} cannot be written: {error}"))?;
    }
    jpegs(&folder)
}

fn jpegs(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{} cannot be read: {error}", folder.display()))?;
    let files = entries.flatten().map(|entry| entry.path());
    let mut photos: Vec<_> = files
        .filter(|file| file.extension().is_some_and(|extension| extension == "jpg"))
        .collect();
    photos.sort();
    Ok(photos)
}

fn our_command(setting: &Setting, route: &str, photos: &[PathBuf]) -> std::process::Command {
    let mut command = program(&setting.example.to_string_lossy());
    command.args(["--findings", route, "--runtime"]).arg(&setting.library);
    command.args(photos);
    command
}

fn their_command(
    setting: &Setting,
    models: &Path,
    route: &str,
    pipeline: &str,
    photos: &[PathBuf],
) -> std::process::Command {
    let mut command = program(&setting.python.to_string_lossy());
    command
        .arg(&setting.pipelines)
        .args(["--findings", "--pipeline", pipeline, "--packs"]);
    command.arg(models).args(["--route", &format!("reference-{route}")]);
    command.args(photos);
    command
}

fn reference_packs() -> PathBuf {
    root().join("models")
}

/// What came of a photo.
#[derive(Debug, Clone, Default)]
struct Found {
    /// None where no lesion was found.
    probabilities: Option<Vec<f64>>,
    /// Of the detector's best box, where it is told.
    score: Option<f64>,
}

/// By photo.
fn findings(command: &mut std::process::Command) -> Result<Findings, String> {
    let printed = output(command)?;
    let read = |line: &str| {
        let line = json(line)?;
        let photo = line["photo"].as_str().ok_or("a photo without a name")?.to_owned();
        let numbers = |values: &Vec<Value>| values.iter().map(Value::as_f64).collect::<Option<Vec<_>>>();
        let probabilities = line["probabilities"].as_array().and_then(numbers);
        let score = line["score"].as_f64();
        Ok((photo, Found { probabilities, score }))
    };
    printed.lines().map(read).collect()
}

/// How two findings of each photo compare.
struct Compared {
    same: usize,
    /// Photo and both probabilities, where another class comes first.
    others: Vec<(String, Vec<f64>, Vec<f64>)>,
    /// Scores of Python's best boxes where only one of the two found a lesion.
    one_sided: Vec<f64>,
    /// The greatest difference of a probability, by photo.
    apart: Vec<f64>,
}

type Findings = HashMap<String, Found>;

fn compare(ours: &Findings, theirs: &Findings) -> Result<Compared, String> {
    let mut compared = Compared {
        same: 0,
        others: Vec::new(),
        one_sided: Vec::new(),
        apart: Vec::new(),
    };
    for (photo, one) in ours {
        let other = theirs.get(photo).ok_or_else(|| format!("Python saw no {photo}"))?;
        match (&one.probabilities, &other.probabilities) {
            (Some(one), Some(other)) => {
                let apart = one.iter().zip(other).map(|(one, other)| (one - other).abs());
                compared.apart.push(apart.fold(0.0, f64::max));
                if first(one) == first(other) {
                    compared.same += 1;
                } else {
                    compared.others.push((photo.clone(), one.clone(), other.clone()));
                }
            }
            (None, None) => compared.same += 1,
            _ => compared.one_sided.push(other.score.unwrap_or(f64::NAN)),
        }
    }
    Ok(compared)
}

/// The place of the greatest.
fn first(values: &[f64]) -> Option<usize> {
    (0..values.len()).max_by(|one, other| values[*one].total_cmp(&values[*other]))
}

/// By how much the greatest is greater than the second.
fn margin(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(|one, other| other.total_cmp(one));
    match *sorted {
        [first, second, ..] => first - second,
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_compared_by_their_first_class() {
        let of = |values: &[(&str, Option<[f64; 2]>)]| -> Findings {
            let entry = |(name, values): &(&str, Option<[f64; 2]>)| {
                let probabilities = values.map(|values| values.to_vec());
                let score = Some(0.31);
                ((*name).to_owned(), Found { probabilities, score })
            };
            values.iter().map(entry).collect()
        };
        let ours = of(&[
            ("a", Some([0.9, 0.1])),
            ("b", Some([0.51, 0.49])),
            ("c", None),
            ("d", None),
        ]);
        let theirs = of(&[
            ("a", Some([0.8, 0.2])),
            ("b", Some([0.45, 0.55])),
            ("c", None),
            ("d", Some([1.0, 0.0])),
        ]);
        let compared = compare(&ours, &theirs).unwrap();
        assert_eq!(
            (compared.same, compared.others.len(), compared.one_sided.len()),
            (2, 1, 1)
        );
        let line = line("solitary", "in full", compare(&ours, &theirs).unwrap(), 0.3);
        let expected = "| solitary | in full | 4 | 2 (50.00 %) | 1.0e-1 | 1 | 1.0e-2 | 1.0e-1 | 1.0e-1 | 1.0e-1 |\n";
        assert_eq!(line, expected);
        assert!((compared.apart.iter().copied().fold(0.0, f64::max) - 0.1).abs() < 1e-9);
        assert!((margin(&compared.others[0].2) - 0.1).abs() < 1e-9);
        assert!(compare(&ours, &Findings::new()).is_err());
    }

    #[test]
    fn the_reference_packs_are_where_python_looks_for_them() {
        assert_eq!(threshold(&reference_packs(), "solitary"), Ok(0.3));
        for route in ["widespread", "solitary"] {
            assert!(
                Path::new(&reference_packs())
                    .join(format!("reference-{route}/pack.toml"))
                    .is_file()
            );
        }
    }
}
