//! `skin-assist models drift`, and the same for the console: how what the models say, and the photos that they are shown, change over
//! weeks. From results that are kept, in figures of weeks; nobody has to know what was right.

use std::{collections::BTreeMap, process::ExitCode};

use serde::Serialize;
use skin_assist_core::{
    domain::{AssistResult, Findings, FirmId, Route},
    ports::{AuditAction, AuditRecord, StateError, StateStore},
    time::Timestamp,
};
use skin_assist_evaluation::stability::{Baseline, Stability, Verdict};

use super::{by_operator, known_firm, print_json, state_failed, table::table};
use crate::{cli::DriftArguments, config::Config, failure::Failure, wiring};

const WEEK_MS: i64 = 7 * 24 * 3_600_000;
/// Weeks are counted from a Monday, 1970-01-05.
const MONDAY_MS: i64 = 4 * 24 * 3_600_000;
/// The first weeks with results of a model: what later ones are compared with.
pub(crate) const BASELINE_WEEKS: usize = 4;

/// The latest weeks, which people are shown.
const SHOWN_WEEKS: usize = 26;

/// What recorded entries say of why all results of a practice were read.
pub(crate) const READ_FOR: &str = "all, for figures of weeks";

/// What is looked at over weeks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Measure {
    /// The probability of the most probable class.
    TopProbability,
    Sharpness,
    Brightness,
    Clipped,
    Skin,
}

impl Measure {
    const ALL: [Self; 5] = [
        Self::TopProbability,
        Self::Sharpness,
        Self::Brightness,
        Self::Clipped,
        Self::Skin,
    ];

    /// For people.
    pub(crate) const fn display(self) -> &'static str {
        match self {
            Self::TopProbability => "Probability of the first class",
            Self::Sharpness => "Sharpness of photos",
            Self::Brightness => "Brightness of photos",
            Self::Clipped => "Share that is black or white",
            Self::Skin => "Share with colours of skin",
        }
    }

    fn of(self, findings: &Findings) -> Option<f32> {
        let quality = &findings.image.quality;
        match self {
            Self::TopProbability => findings.ranked.first().map(|class| class.probability),
            Self::Sharpness => Some(quality.sharpness),
            Self::Brightness => Some(quality.brightness),
            Self::Clipped => quality.clipped,
            Self::Skin => quality.skin,
        }
    }
}

/// A measure in a week.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct WeekOfMeasure {
    /// Its Monday, UTC.
    pub(crate) from: String,
    /// How many photos it was measured of.
    pub(crate) photos: usize,
    /// A tenth of the values is at most this.
    pub(crate) p10: f64,
    pub(crate) median: f64,
    /// A tenth is at least this.
    pub(crate) p90: f64,
    /// Whether it is one of the first weeks, which later ones are compared with.
    pub(crate) is_baseline: bool,
    /// Against the first weeks; none in those themselves, and where their values are all equal.
    pub(crate) stability: Option<Stability>,
}

/// A measure over weeks, earliest first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct MeasureOverWeeks {
    pub(crate) measure: Measure,
    pub(crate) weeks: Vec<WeekOfMeasure>,
}

/// Results of a week.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct WeekOfResults {
    /// Its Monday, UTC.
    pub(crate) from: String,
    pub(crate) results: u64,
    /// Where the models said nothing.
    pub(crate) without_a_finding: u64,
    /// Where something speaks against relying on them.
    pub(crate) with_concerns: u64,
}

/// What one version of a model said, over weeks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ModelOverWeeks {
    pub(crate) route: Route,
    /// Pack and version.
    pub(crate) model: String,
    pub(crate) weeks: Vec<WeekOfResults>,
    pub(crate) measures: Vec<MeasureOverWeeks>,
}

/// A practice's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Drift {
    pub(crate) practice: FirmId,
    pub(crate) models: Vec<ModelOverWeeks>,
}

/// What is kept of a week before it is counted.
#[derive(Default)]
struct Week {
    results: WeekOfResults,
    values: BTreeMap<Measure, Vec<f64>>,
}

/// What of the photos of a result was seen: each by itself where there are several.
fn seen(result: &AssistResult) -> Vec<&Findings> {
    let each = result.photo_findings.expose();
    if each.is_empty() {
        vec![result.findings.expose()]
    } else {
        each.iter().map(|photo| &photo.findings).collect()
    }
}

fn monday(number: i64) -> String {
    Timestamp::from_millis(number.saturating_mul(WEEK_MS).saturating_add(MONDAY_MS)).date_plus_days(0)
}

/// Figures of weeks, of all results of a practice.
pub(crate) fn over_weeks(practice: &FirmId, results: &[AssistResult]) -> Drift {
    let mut models: BTreeMap<(Route, String), BTreeMap<i64, Week>> = BTreeMap::new();
    for result in results {
        let number = (result.assessed_at.as_millis() - MONDAY_MS).div_euclid(WEEK_MS);
        let findings = result.findings.expose();
        let versions: Vec<String> = findings.models.iter().map(ToString::to_string).collect();
        let model = (result.assessment.route, versions.join(", "));
        let week = models.entry(model).or_default().entry(number).or_default();
        week.results.results += 1;
        week.results.without_a_finding += u64::from(findings.abstention.is_some());
        week.results.with_concerns += u64::from(!findings.concerns.is_empty());
        for photo in seen(result) {
            for measure in Measure::ALL {
                let value = measure.of(photo).filter(|value| value.is_finite()).map(f64::from);
                if let Some(value) = value {
                    week.values.entry(measure).or_default().push(value);
                }
            }
        }
    }
    let models = models.into_iter().map(|((route, model), weeks)| ModelOverWeeks {
        route,
        model,
        measures: Measure::ALL
            .into_iter()
            .map(|measure| measured(measure, &weeks))
            .filter(|measured| !measured.weeks.is_empty())
            .collect(),
        weeks: weeks
            .into_iter()
            .map(|(number, week)| WeekOfResults {
                from: monday(number),
                ..week.results
            })
            .collect(),
    });
    Drift {
        practice: practice.clone(),
        models: models.collect(),
    }
}

fn measured(measure: Measure, weeks: &BTreeMap<i64, Week>) -> MeasureOverWeeks {
    let values: Vec<(i64, &Vec<f64>)> = weeks
        .iter()
        .filter_map(|(number, week)| Some((*number, week.values.get(&measure)?)))
        .collect();
    let first: Vec<f64> = values
        .iter()
        .take(BASELINE_WEEKS)
        .flat_map(|(_, values)| (*values).clone())
        .collect();
    let baseline = Baseline::of(&first);
    let weeks = values.into_iter().enumerate().map(|(place, (number, values))| {
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        // By nearest rank: each is a value that was measured. There is at least one.
        let rank = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100) - 1];
        let is_baseline = place < BASELINE_WEEKS;
        let later = baseline.as_ref().filter(|_| !is_baseline);
        WeekOfMeasure {
            is_baseline,
            from: monday(number),
            photos: sorted.len(),
            p10: rank(10),
            median: rank(50),
            p90: rank(90),
            stability: later.and_then(|baseline| baseline.compared_with(values)),
        }
    });
    MeasureOverWeeks {
        measure,
        weeks: weeks.collect(),
    }
}

impl WeekOfMeasure {
    /// What its index says.
    pub(crate) fn word(&self) -> &'static str {
        match self.stability.map(|stability| stability.verdict) {
            Some(Verdict::Stable) => "stable",
            Some(Verdict::Some) => "some change",
            Some(Verdict::Much) => "much change",
            Some(Verdict::TooFew) => "too few to say",
            None if self.is_baseline => "compared with",
            None => "-",
        }
    }
}

/// The weeks that are shown to people.
pub(crate) fn latest<T>(weeks: &[T]) -> &[T] {
    &weeks[weeks.len().saturating_sub(SHOWN_WEEKS)..]
}

/// Reads all results of a practice, which is recorded first.
pub(crate) async fn read(state: &dyn StateStore, firm: &FirmId, entry: &AuditRecord) -> Result<Drift, StateError> {
    state.record(entry).await?;
    let results = state.firm_results(firm).await?;
    Ok(over_weeks(firm, &results))
}

/// Prints it.
pub(crate) async fn drift(config: &Config, arguments: DriftArguments) -> Result<ExitCode, Failure> {
    let state = wiring::state(config).await?;
    let firm = known_firm(&*state, &arguments.firm).await?.id;
    let entry = by_operator(&firm, AuditAction::ResultRead, READ_FOR);
    let drift = read(&*state, &firm, &entry).await.map_err(state_failed)?;
    if arguments.json {
        print_json(&drift)?;
        return Ok(ExitCode::SUCCESS);
    }
    if drift.models.is_empty() {
        say!("No result yet.");
    }
    for model in &drift.models {
        say!("{}, {}", model.route, model.model);
        let rows: Vec<_> = model.measures.iter().flat_map(rows).collect();
        let heading = [
            "MEASURE",
            "WEEK FROM",
            "PHOTOS",
            "P10",
            "MEDIAN",
            "P90",
            "PSI",
            "BY CHANCE",
            "SAYS",
        ];
        super::print(&table(heading, &rows));
    }
    Ok(ExitCode::SUCCESS)
}

fn rows(measured: &MeasureOverWeeks) -> Vec<[String; 9]> {
    let row = |week: &WeekOfMeasure| {
        let shown = |value: fn(&Stability) -> f64| {
            week.stability
                .as_ref()
                .map_or_else(|| "-".to_owned(), |stability| format!("{:.2}", value(stability)))
        };
        [
            measured.measure.display().to_owned(),
            week.from.clone(),
            week.photos.to_string(),
            format!("{:.2}", week.p10),
            format!("{:.2}", week.median),
            format!("{:.2}", week.p90),
            shown(|stability| stability.index),
            shown(|stability| stability.by_chance),
            week.word().to_owned(),
        ]
    };
    latest(&measured.weeks).iter().map(row).collect()
}
