//! `skin-assist silent-report`: what the models said, beside what clinicians coded later.
//!
//! From stored results and a file of coded diagnoses alone, so that the same two give the same bytes. What is compared is the
//! classifier's ranking; ids go in, counts come out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
    process::ExitCode,
};

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use skin_assist_core::{
    domain::{AgeBand, AssistResult, Bands, DocumentId, EncounterId, Findings, FirmId, Label, Sex},
    ports::{AuditAction, AuditRecord, StateStore},
    synthesis::{Judged, Knowledge},
};

use super::{by_operator, known_firm, print_json, state_failed};
use crate::{
    cli::SilentReportArguments,
    config::Config,
    failure::{Failure, Hinted as _, WithHint as _},
    wiring,
};

/// A coded diagnosis of a visit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Diagnosis {
    system: System,
    code: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum System {
    SnomedCt,
    Icd10Cm,
}

impl Diagnosis {
    /// ICD-10-CM codes agree by their category, the first three characters: how fine a code is chosen differs from one
    /// clinician to another.
    fn is_of(&self, label: &Label) -> bool {
        let category = |code: &str| code.get(..3).map(str::to_ascii_uppercase);
        match self.system {
            System::SnomedCt => label.snomed_ct == self.code,
            System::Icd10Cm => {
                let icd = label.icd_10_cm.as_deref().and_then(category);
                icd.is_some() && icd == category(&self.code)
            }
        }
    }
}

/// The coded diagnoses of visits, and the groups that the practice puts them into.
#[derive(Debug, Default, PartialEq, Eq)]
struct Coded {
    diagnoses: BTreeMap<EncounterId, BTreeSet<Diagnosis>>,
    groups: BTreeMap<EncounterId, BTreeSet<String>>,
}

/// Reads `encounter,system,code` with an optional fourth column `group`; the first line names the columns.
fn read(text: &str) -> Result<Coded, String> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let (_, heading) = lines.next().ok_or("it is empty")?;
    let has_group = match heading.trim() {
        "encounter,system,code" => false,
        "encounter,system,code,group" => true,
        _ => {
            return Err(
                "its first line is neither `encounter,system,code` nor `encounter,system,code,group`".to_owned(),
            );
        }
    };
    let mut coded = Coded::default();
    for (place, line) in lines {
        let wrong = |what: &str| format!("line {}: {what}", place + 1);
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        if fields.len() != 3 + usize::from(has_group) {
            return Err(wrong("it has another number of columns than the first line"));
        }
        let encounter: EncounterId = fields[0].parse().map_err(|_| wrong("the encounter is no id"))?;
        let system = match fields[1] {
            "snomed-ct" => System::SnomedCt,
            "icd-10-cm" => System::Icd10Cm,
            _ => return Err(wrong("the system is neither snomed-ct nor icd-10-cm")),
        };
        let diagnosis = Diagnosis {
            system,
            code: fields[2].to_owned(),
        };
        coded.diagnoses.entry(encounter.clone()).or_default().insert(diagnosis);
        if has_group && !fields[3].is_empty() {
            coded.groups.entry(encounter).or_default().insert(fields[3].to_owned());
        }
    }
    Ok(coded)
}

/// How the results of a group compare.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
struct Counts {
    /// Results of visits with a coded diagnosis.
    compared: u64,
    /// Of these, where the models declined to say anything.
    abstained: u64,
    /// Of those compared, where the first condition is a coded one.
    top_1: u64,
    /// Where one of the first three is.
    top_3: u64,
    /// Where a condition was coded that must not be missed.
    must_not_miss: u64,
    /// Of these, where it was named.
    must_not_miss_named: u64,
    /// Where none of the coded diagnoses is of a class of the models: they could not have been right.
    out_of_scope: u64,
}

impl Counts {
    fn add(&mut self, result: &AssistResult, diagnoses: &BTreeSet<Diagnosis>, knowledge: &Knowledge) {
        let of_photos = by_photo(result);
        // What drafts are composed of.
        let judged = Judged::of(&of_photos);
        let is_coded = |label: &Label| diagnoses.iter().any(|diagnosis| diagnosis.is_of(label));
        let is_right = |first: usize| {
            judged
                .classes
                .iter()
                .take(first)
                .any(|class| is_coded(&class.class.label))
        };
        self.compared += 1;
        self.abstained += u64::from(judged.classes.is_empty());
        self.top_1 += u64::from(is_right(1));
        self.top_3 += u64::from(is_right(3));
        // Whether or not the models decline: what they know of.
        let known = of_photos.iter().flat_map(|(_, findings)| &findings.ranked);
        let mut coded = known
            .map(|class| &class.label)
            .filter(|label| is_coded(label))
            .peekable();
        self.out_of_scope += u64::from(coded.peek().is_none());
        if coded.any(|label| knowledge.must_not_be_missed(label)) {
            self.must_not_miss += 1;
            let mut dangerous = judged.classes.iter().filter(|class| is_coded(&class.class.label));
            let named = dangerous.any(|class| class.has_to_be_named(knowledge));
            self.must_not_miss_named += u64::from(named);
        }
    }
}

/// What the models saw, photo by photo.
fn by_photo(result: &AssistResult) -> Vec<(DocumentId, &Findings)> {
    let photos = result.photo_findings.expose();
    if photos.is_empty() {
        let documents = result.assessment.documents.iter().take(1);
        documents
            .map(|document| (document.clone(), result.findings.expose()))
            .collect()
    } else {
        photos
            .iter()
            .map(|photo| (photo.document.clone(), &photo.findings))
            .collect()
    }
}

/// The report.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    firm: String,
    /// SHA-256 of the file of diagnoses.
    diagnoses_sha256: String,
    /// All results of the practice.
    results: u64,
    /// The versions of models that made those compared.
    models: BTreeSet<String>,
    /// By group: `all`, route, age band, sex, and the groups of the file.
    groups: BTreeMap<String, Counts>,
    /// By measure, the group where it is lowest.
    lowest: BTreeMap<&'static str, Lowest>,
    language: LanguageSum,
}

/// The group where a measure is lowest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Lowest {
    group: String,
    of: u64,
    all: u64,
}

/// What language models took part with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
struct LanguageSum {
    assessments: u64,
    answers_taken: u64,
    input_tokens: u64,
    output_tokens: u64,
    cost_micros: u64,
}

/// The group of all.
const ALL: &str = "all";

fn compare(firm: &str, results: &[AssistResult], text: &str, knowledge: &Knowledge) -> Result<Report, String> {
    let coded = read(text)?;
    let mut report = Report {
        firm: firm.to_owned(),
        diagnoses_sha256: hex::encode(Sha256::digest(text.as_bytes())),
        results: results.len() as u64,
        models: BTreeSet::new(),
        groups: BTreeMap::from([(ALL.to_owned(), Counts::default())]),
        lowest: BTreeMap::new(),
        language: LanguageSum::default(),
    };
    for result in results {
        if let Some(used) = &result.versions.language {
            let sum = &mut report.language;
            sum.assessments += 1;
            sum.answers_taken += u64::from(used.fallback.is_none());
            sum.input_tokens += used.input_tokens;
            sum.output_tokens += used.output_tokens;
            sum.cost_micros += used.cost_micros;
        }
        let encounter = &result.assessment.encounter;
        let Some(diagnoses) = coded.diagnoses.get(encounter) else {
            continue;
        };
        report
            .models
            .extend(result.versions.models.iter().map(ToString::to_string));
        let groups = coded.groups.get(encounter).into_iter().flatten();
        let groups = groups.map(|group| format!("group {group}"));
        for group in bands(result).into_iter().chain(groups).chain([ALL.to_owned()]) {
            report
                .groups
                .entry(group)
                .or_default()
                .add(result, diagnoses, knowledge);
        }
    }
    report.lowest = MEASURES
        .iter()
        .filter_map(|measure| Some((measure.name, measure.lowest(&report.groups)?)))
        .collect();
    Ok(report)
}

/// The groups that the result itself tells.
fn bands(result: &AssistResult) -> [String; 3] {
    let Bands { age, sex } = result.note.expose().bands;
    [
        format!("route {}", result.assessment.route),
        format!("age {}", age.map_or("not known", AgeBand::display)),
        format!("sex {}", sex.map_or("not known", Sex::display)),
    ]
}

/// Something that is better when it is higher.
struct Measure {
    name: &'static str,
    share: fn(&Counts) -> (u64, u64),
}

const MEASURES: [Measure; 3] = [
    Measure {
        name: "must-not-miss named",
        share: |counts| (counts.must_not_miss_named, counts.must_not_miss),
    },
    Measure {
        name: "top 1",
        share: |counts| (counts.top_1, counts.compared),
    },
    Measure {
        name: "top 3",
        share: |counts| (counts.top_3, counts.compared),
    },
];

impl Measure {
    /// The group where it is lowest; of equals the one with more results, and then the first by name. None where there is
    /// nothing to measure.
    fn lowest(&self, groups: &BTreeMap<String, Counts>) -> Option<Lowest> {
        let measured = groups
            .iter()
            .filter(|(group, _)| *group != ALL)
            .filter_map(|(group, counts)| {
                let (of, all) = (self.share)(counts);
                (all > 0).then(|| Lowest {
                    group: group.clone(),
                    of,
                    all,
                })
            });
        // As whole numbers: of/all against of/all without rounding.
        measured.min_by(|a, b| {
            let (left, right) = (
                u128::from(a.of) * u128::from(b.all),
                u128::from(b.of) * u128::from(a.all),
            );
            left.cmp(&right)
                .then(b.all.cmp(&a.all))
                .then_with(|| a.group.cmp(&b.group))
        })
    }
}

fn share(of: u64, all: u64) -> String {
    if all == 0 {
        "-".to_owned()
    } else {
        format!("{of}/{all} ({:.1} %)", 100.0 * of as f64 / all as f64)
    }
}

/// The report as a page of text.
pub(crate) fn page(report: &Report) -> String {
    let mut page = format!(
        "# Silent trial of {}\n\n{} results; diagnoses by the file with SHA-256 {}.\nModels: {}.\n\n",
        report.firm,
        report.results,
        report.diagnoses_sha256,
        if report.models.is_empty() {
            "none compared".to_owned()
        } else {
            report.models.iter().cloned().collect::<Vec<_>>().join(", ")
        }
    );
    page += "| group | compared | top 1 | top 3 | must-not-miss named | abstained | out of scope |\n";
    page += "| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n";
    // `age` sorts before `all`, which stands first.
    let (all, others): (Vec<_>, Vec<_>) = report.groups.iter().partition(|(group, _)| *group == ALL);
    for (group, counts) in all.into_iter().chain(others) {
        _ = writeln!(
            page,
            "| {group} | {} | {} | {} | {} | {} | {} |",
            counts.compared,
            share(counts.top_1, counts.compared),
            share(counts.top_3, counts.compared),
            share(counts.must_not_miss_named, counts.must_not_miss),
            counts.abstained,
            counts.out_of_scope
        );
    }
    if !report.lowest.is_empty() {
        page += "\nLowest, whatever the size of the group: ";
        let named = report.lowest.iter();
        let named = named.map(|(measure, lowest)| {
            let Lowest { group, of, all } = lowest;
            format!("{measure} in {group}, {}", share(*of, *all))
        });
        page += &named.collect::<Vec<_>>().join("; ");
        page += ".\n";
    }
    let language = &report.language;
    _ = writeln!(
        page,
        "\nLanguage model: asked about {} results, {} answers taken, {} tokens in, {} out, cost {}.{:06}.",
        language.assessments,
        language.answers_taken,
        language.input_tokens,
        language.output_tokens,
        language.cost_micros / 1_000_000,
        language.cost_micros % 1_000_000
    );
    page
}

/// What a report is made for, as the audit trail has it: of all results.
pub(crate) const READ_FOR: &str = "all, for a report";

/// The report of a practice's results beside coded diagnoses. That they are read is recorded before.
pub(crate) async fn report(
    state: &dyn StateStore,
    firm: &FirmId,
    diagnoses: &str,
    entry: &AuditRecord,
) -> Result<Report, Failure> {
    state.record(entry).await.map_err(state_failed)?;
    let results = state.firm_results(firm).await.map_err(state_failed)?;
    let compared = compare(firm.as_str(), &results, diagnoses, &wiring::knowledge()?);
    compared.map_err(|problem| {
        Failure::new(format!("the diagnoses cannot be read: {problem}")).with_hint("docs/silent-trial.md has the form")
    })
}

/// Prints the report.
pub(crate) async fn silent_report(config: &Config, arguments: SilentReportArguments) -> Result<ExitCode, Failure> {
    let state = wiring::state(config).await?;
    let firm = known_firm(&*state, &arguments.firm).await?.id;
    let text = diagnoses(&arguments.diagnoses)?;
    let record = by_operator(&firm, AuditAction::ResultRead, READ_FOR);
    let report = report(&*state, &firm, &text, &record).await?;
    if arguments.json {
        print_json(&report)?;
    } else {
        super::print(&page(&report));
    }
    Ok(ExitCode::SUCCESS)
}

fn diagnoses(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path)
        .failed(|| format!("the diagnoses cannot be read from {}", path.display()))
        .hint("docs/silent-trial.md has the form")
}

#[cfg(test)]
mod tests;
