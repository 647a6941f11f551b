//! `cargo xtask bench vision agreement`: our findings against Python's, on 1,000 generated photos of each route, with the
//! reference packs.
//!
//! Python decodes each photo in full, by Pillow, which is how the packs were trained. Compared are the most probable
//! class, its margin before the second where the two disagree, and the greatest difference of a probability.

use std::{
    collections::HashMap,
    fmt::Write as _,
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

/// With a prepared folder it only prints.
pub(super) fn run(prepared: Option<&Path>) -> Result<(), String> {
    let setting = prepared.map_or_else(|| setting(0.0), |folder| prepared_setting(folder, 0.0))?;
    let models = prepared.map_or_else(reference_packs, |_| setting.pipelines.with_file_name("models"));
    let mut table = String::from(
        "| route | photos | the same class first | of the others, greatest margin | lesion found by one only | probabilities apart, median | 99 % | most |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for route in ["widespread", "solitary"] {
        let photos = match prepared {
            None => photos(route)?,
            Some(_) => jpegs(&setting.pipelines.with_file_name("agreement").join(route))?,
        };
        let (mut ours, mut theirs) = (HashMap::new(), HashMap::new());
        println!("==> {route}, {} photos", photos.len());
        let (setting, models) = (&setting, &models);
        let both = |some| -> Result<_, String> {
            let ours = findings(&mut our_command(setting, route, some))?;
            Ok((ours, findings(&mut their_command(setting, models, route, some))?))
        };
        let done: Vec<_> = thread::scope(|scope| {
            let parts: Vec<_> = photos
                .chunks(AT_ONCE)
                .map(|some| scope.spawn(move || both(some)))
                .collect();
            parts.into_iter().map(thread::ScopedJoinHandle::join).collect()
        });
        for part in done {
            let (one, other) = part.map_err(|_| "a comparison broke off")??;
            ours.extend(one);
            theirs.extend(other);
        }
        let compared = compare(&ours, &theirs)?;
        for (photo, one, other) in &compared.others {
            println!("{photo}: {one:?} and {other:?}");
        }
        let margins = compared
            .others
            .iter()
            .map(|(_, one, other)| margin(one).max(margin(other)));
        let mut apart = compared.apart;
        let at = |apart: &mut Vec<f64>, part| quantile(apart, part);
        _ = writeln!(
            table,
            "| {route} | {} | {} ({:.2} %) | {} | {} | {:.1e} | {:.1e} | {:.1e} |",
            photos.len(),
            compared.same,
            100.0 * compared.same as f64 / photos.len().max(1) as f64,
            margins
                .fold(None, |most: Option<f64>, margin| Some(
                    most.map_or(margin, |most| most.max(margin))
                ))
                .map_or("-".to_owned(), |most| format!("{most:.1e}")),
            compared.one_sided,
            at(&mut apart, 0.5),
            at(&mut apart, 0.99),
            at(&mut apart, 1.0),
        );
    }
    println!("{table}");
    if prepared.is_some() {
        return Ok(());
    }
    put_part("agreement", &table)
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

fn their_command(setting: &Setting, models: &Path, route: &str, photos: &[PathBuf]) -> std::process::Command {
    let mut command = program(&setting.python.to_string_lossy());
    command
        .arg(&setting.pipelines)
        .args(["--findings", "--pipeline", "exact", "--packs"]);
    command.arg(models).args(["--route", &format!("reference-{route}")]);
    command.args(photos);
    command
}

fn reference_packs() -> PathBuf {
    root().join("models")
}

/// Probabilities by photo; none where no lesion was found.
fn findings(command: &mut std::process::Command) -> Result<HashMap<String, Option<Vec<f64>>>, String> {
    let printed = output(command)?;
    let read = |line: &str| {
        let line = json(line)?;
        let photo = line["photo"].as_str().ok_or("a photo without a name")?.to_owned();
        let numbers = |values: &Vec<Value>| values.iter().map(Value::as_f64).collect::<Option<Vec<_>>>();
        Ok((photo, line["probabilities"].as_array().and_then(numbers)))
    };
    printed.lines().map(read).collect()
}

/// How two findings of each photo compare.
struct Compared {
    same: usize,
    /// Photo and both probabilities, where another class comes first.
    others: Vec<(String, Vec<f64>, Vec<f64>)>,
    one_sided: usize,
    /// The greatest difference of a probability, by photo.
    apart: Vec<f64>,
}

type Findings = HashMap<String, Option<Vec<f64>>>;

fn compare(ours: &Findings, theirs: &Findings) -> Result<Compared, String> {
    let mut compared = Compared {
        same: 0,
        others: Vec::new(),
        one_sided: 0,
        apart: Vec::new(),
    };
    for (photo, one) in ours {
        let other = theirs.get(photo).ok_or_else(|| format!("Python saw no {photo}"))?;
        match (one, other) {
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
            _ => compared.one_sided += 1,
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
            let entry =
                |(name, values): &(&str, Option<[f64; 2]>)| ((*name).to_owned(), values.map(|values| values.to_vec()));
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
        assert_eq!((compared.same, compared.others.len(), compared.one_sided), (2, 1, 1));
        assert!((compared.apart.iter().copied().fold(0.0, f64::max) - 0.1).abs() < 1e-9);
        assert!((margin(&compared.others[0].2) - 0.1).abs() < 1e-9);
        assert!(compare(&ours, &Findings::new()).is_err());
    }

    #[test]
    fn the_reference_packs_are_where_python_looks_for_them() {
        for route in ["widespread", "solitary"] {
            assert!(
                Path::new(&reference_packs())
                    .join(format!("reference-{route}/pack.toml"))
                    .is_file()
            );
        }
    }
}
