//! `skin-assist eval`: the models on a collection whose truth is known.
//!
//! What the models made of each photo is written into a results file as it comes, one JSON object a line, so that an
//! evaluation that was ended goes on where it was. A line counts only for the same models and a file of the same length.

mod collection;

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use skin_assist_core::{
    domain::{ModelVersion, Route},
    phi::Phi,
    ports::{PhotoRefusal, VisionError, VisionModel},
};
use skin_assist_evaluation::{
    dataset::Photo,
    evaluation::{Evaluation, Outcome, evaluate},
    html::{self, interval, number, percent},
};
use skin_assist_models::pack::Pack;

use super::{print_json, progress};
use crate::{
    cli::EvalArguments,
    config::Config,
    failure::{Failure, Hinted as _, WithHint as _},
    wiring,
};
use collection::Collection;

/// One line of the results file.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    image: String,
    bytes: u64,
    models: Vec<ModelVersion>,
    outcome: Outcome,
}

/// Evaluates the models on a collection.
pub(crate) async fn eval(mut config: Config, arguments: EvalArguments) -> Result<ExitCode, Failure> {
    if let Some(folder) = &arguments.models {
        let folder = std::path::absolute(folder).failed(|| format!("{} is no folder", folder.display()))?;
        config.models.directory = folder.display().to_string();
    }
    let packs = wiring::packs(&config)?;
    let pack = chosen(&packs, arguments.route.map(Route::from))?;
    let route = pack.route();
    let renamed = arguments.label.iter().cloned().collect::<BTreeMap<_, _>>();
    let collection = Collection::open(&arguments.dataset, arguments.table.as_deref(), &renamed)?;
    let vision = wiring::vision(&config)?;
    let models = vision.versions(route);

    let results = arguments.results.clone();
    let results = results.unwrap_or_else(|| arguments.dataset.join(format!("skin-assist-eval-{route}.jsonl")));
    let mut seen = known(&results, &models)?;
    let open = collection.photos.iter().filter(|(photo, _, bytes)| {
        let known = seen.get(&photo.image);
        known.is_none_or(|(of, _)| of != bytes)
    });
    let open: Vec<_> = open.collect();
    let mut file = ResultsFile::open(&results)?;
    let progress = progress::counted("photos", collection.photos.len() as u64);
    // Those of an earlier run.
    progress.set_position((collection.photos.len() - open.len()) as u64);
    progress.reset_eta();
    let most_bytes = config.photos.max_megabytes as u64 * 1_000_000;
    let looks = open.into_iter().map(|(photo, path, bytes)| {
        let vision = &*vision;
        async move { (photo, *bytes, look(vision, route, path, *bytes, most_bytes).await) }
    });
    // While one photo is looked at, the next one is read.
    let at_once = 2 * wiring::vision_workers(&config).get();
    let mut looks = stream::iter(looks).buffer_unordered(at_once);
    while let Some((photo, bytes, outcome)) = looks.next().await {
        let outcome = outcome?;
        file.add(&Line {
            image: photo.image.clone(),
            bytes,
            models: models.clone(),
            outcome: outcome.clone(),
        })?;
        seen.insert(photo.image.clone(), (bytes, outcome));
        progress.inc(1);
    }
    drop(looks);
    progress.abandon();

    let photos = collection.photos.into_iter().map(|(photo, ..)| photo);
    let seen: Vec<(Photo, Outcome)> = photos
        .filter_map(|photo| {
            let (_, outcome) = seen.get(&photo.image)?.clone();
            Some((photo, outcome))
        })
        .collect();
    let labels = &pack.manifest().classifier.labels;
    let names = models.iter().map(ToString::to_string).collect();
    let evaluation = evaluate(route, names, labels, &seen, arguments.seed);
    if let Some(path) = &arguments.report {
        let title = arguments.dataset.file_name().unwrap_or_default().to_string_lossy();
        std::fs::write(path, html::report(&title, &evaluation))
            .failed(|| format!("the report cannot be written to {}", path.display()))?;
    }
    if arguments.json {
        print_json(&evaluation)?;
    } else {
        print(&evaluation, collection.without_file);
    }
    Ok(ExitCode::SUCCESS)
}

fn chosen(packs: &[Pack], route: Option<Route>) -> Result<&Pack, Failure> {
    let mut fitting = packs
        .iter()
        .filter(|pack| route.is_none_or(|route| pack.route() == route));
    match (fitting.next(), fitting.next()) {
        (Some(pack), None) => Ok(pack),
        (None, _) => Err(Failure::new("there is no model pack for this route").with_hint("check --models and --route")),
        (Some(_), Some(_)) => Err(Failure::new("there are several model packs")
            .with_hint("say which with --route: `solitary` for photos of single lesions, `widespread` for rashes")),
    }
}

async fn look(
    vision: &dyn VisionModel,
    route: Route,
    path: &Path,
    bytes: u64,
    most_bytes: u64,
) -> Result<Outcome, Failure> {
    if bytes > most_bytes {
        return Ok(Outcome::Refused(PhotoRefusal::TooManyBytes.reason().code().to_owned()));
    }
    let photo = std::fs::read(path).failed(|| format!("the photo {} cannot be read", path.display()))?;
    match vision.look(route, &Phi::new(Bytes::from(photo))).await {
        Ok(findings) => Ok(Outcome::of(&findings)),
        Err(error @ (VisionError::Photo(_) | VisionError::Model { .. })) => {
            Ok(Outcome::Refused(error.reason().code().to_owned()))
        }
        // Not the photo's fault: an evaluation with holes would be a wrong one.
        Err(error) => Err(Failure::new("the models cannot look")
            .with_hint(error.reason().hint().to_owned())
            .because(error)),
    }
}

/// What earlier runs of the same models have seen, by image. Lines that cannot be read were cut off: they are seen again.
fn known(path: &Path, models: &[ModelVersion]) -> Result<HashMap<String, (u64, Outcome)>, Failure> {
    let mut known = HashMap::new();
    if !path.exists() {
        return Ok(known);
    }
    let failed = || format!("the results file {} cannot be read", path.display());
    for line in BufReader::new(File::open(path).failed(failed)?).lines() {
        let line = line.failed(failed)?;
        if let Ok(line) = serde_json::from_str::<Line>(&line)
            && line.models == models
        {
            known.insert(line.image, (line.bytes, line.outcome));
        }
    }
    Ok(known)
}

/// The results file, written line by line.
struct ResultsFile {
    path: PathBuf,
    file: File,
}

impl ResultsFile {
    fn open(path: &Path) -> Result<Self, Failure> {
        let is_cut_off = std::fs::read(path).is_ok_and(|text| text.last().is_some_and(|last| *last != b'\n'));
        let file = File::options().create(true).append(true).open(path);
        let mut file = Self {
            path: path.to_owned(),
            file: file
                .failed(|| format!("the results file {} cannot be written", path.display()))
                .hint("name another one with --results")?,
        };
        if is_cut_off {
            file.write("\n")?;
        }
        Ok(file)
    }

    fn add(&mut self, line: &Line) -> Result<(), Failure> {
        let text = serde_json::to_string(line).failed(|| "a result cannot be written as JSON".to_owned())?;
        self.write(&format!("{text}\n"))
    }

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        let written = self.file.write_all(text.as_bytes());
        written.failed(|| format!("the results file {} cannot be written", self.path.display()))
    }
}

fn print(evaluation: &Evaluation, without_file: usize) {
    let all = &evaluation.all;
    say!(
        "{} on {} photos, route {}",
        evaluation.models.join(", "),
        all.photos,
        evaluation.route
    );
    say!("  no answer          {}", all.unanswered);
    say!("  abstained          {}", all.abstained);
    say!("  top 1              {}", interval(all.top_1));
    say!("  top 3              {}", percent(all.top_3));
    say!("  balanced accuracy  {}", interval(all.balanced_accuracy));
    say!("  must-not-miss      {}", percent(all.must_not_miss_sensitivity));
    say!("  mean AUROC         {}", number(all.mean_auroc));
    say!("  calibration error  {}", number(all.calibration_error));
    if let Some(detector) = &evaluation.detector {
        say!(
            "  lesions            {} on {} photos: AP50 {}, mAP {}, recall {}",
            detector.lesions,
            detector.photos,
            number(detector.average_precision_50),
            number(detector.mean_average_precision),
            percent(detector.recall_50)
        );
    }
    say!("By condition: photos, sensitivity, specificity, AUROC");
    for class in &evaluation.classes {
        say!(
            "  {:<28} {:>6}  {:<28} {:<28} {}",
            class.label,
            class.photos,
            interval(class.sensitivity),
            interval(class.specificity),
            number(class.auroc)
        );
    }
    if !evaluation.groups.is_empty() {
        say!("By group: photos, top 1, balanced accuracy");
    }
    for group in &evaluation.groups {
        say!(
            "  {:<28} {:>6}  {:<28} {}",
            format!("{} {}", group.attribute.as_str(), group.value),
            group.figures.photos,
            interval(group.figures.top_1),
            interval(group.figures.balanced_accuracy)
        );
    }
    match &evaluation.worst_group {
        Some(worst) => say!(
            "Served worst: {} {}, balanced accuracy {}, {} below all photos.",
            worst.attribute.as_str(),
            worst.value,
            percent(Some(worst.balanced_accuracy)),
            percent(Some(worst.below_all))
        ),
        None => say!("No group of patients can be compared."),
    }
    for (label, count) in &evaluation.unknown_conditions {
        say!("Left out: {count} photos of {label}, which the models do not know (--label {label}=NAME renames it).");
    }
    for (code, count) in &evaluation.refused {
        say!("Refused: {count} photos, {code}.");
    }
    if without_file > 0 {
        say!("Left out: {without_file} rows of the table whose photo is not there.");
    }
}
