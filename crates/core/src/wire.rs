//! What one process tells another about a photo: findings, or why there are none.
//!
//! A model server writes it and its clients read it, whatever protocol carries it. An error crosses with its reason's
//! code, so that it means the same on both sides: what was permanent there is permanent here, what was transient is
//! transient. Nothing that came over the wire is quoted: texts on this side are of this side.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    domain::{ClassProbability, Findings, Label, ModelVersion, NormalisedBox, Route, is_icd_10_cm, is_snomed_ct},
    ports::{PhotoRefusal, VisionError},
};

/// The most bytes that findings may have: a hundred regions of a hundred classes each, written at length.
pub const MOST_FINDINGS_BYTES: usize = 4 << 20;

/// The most conditions that a pack's allow-list has.
pub const MOST_FURTHER: usize = 64;

/// The most characters of a label's words.
pub const MOST_DISPLAY: usize = 120;

/// What a caller says beside a photo where a protocol has no model names: `route=solitary`.
pub const ROUTE: &str = "route=";

/// Asks for a [`Description`] instead of findings.
pub const DESCRIBE: &str = "describe";

/// For longer than this nobody is kept waiting, whatever a server asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// How far off a number may be that went through text.
const TOLERANCE: f32 = 1e-3;

/// A model server's error: a text for people, as the Open Inference Protocol has it, and the code that machines read.
#[derive(Debug, Serialize, Deserialize)]
struct ErrorBody {
    error: String,
    #[serde(default)]
    code: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after_s: Option<u64>,
}

/// An error as it is sent: an HTTP status and a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentError {
    /// The HTTP status.
    pub status: u16,
    /// JSON.
    pub body: String,
    /// Seconds for `Retry-After`.
    pub retry_after_s: Option<u64>,
}

/// An error of the models, to be sent.
pub fn sent(error: &VisionError) -> SentError {
    let status = match error {
        VisionError::Photo(PhotoRefusal::TooManyBytes) => 413,
        VisionError::Photo(_) => 422,
        VisionError::Model { .. } => 500,
        VisionError::EndpointMissing { .. } => 404,
        VisionError::EndpointDenied { .. } => 403,
        VisionError::Unavailable { .. } | VisionError::Busy { .. } => 503,
    };
    let retry_after_s = match error {
        VisionError::Busy { retry_after } => retry_after.map(|wait| wait.as_secs().max(1)),
        _ => None,
    };
    error_body(status, &error.to_string(), error.reason().code(), retry_after_s)
}

/// A request that is not one of the protocol's: the caller's mistake, and no matter of a photo. `what` is in our words.
pub fn refused(status: u16, what: &str) -> SentError {
    error_body(status, what, "request.refused", None)
}

fn error_body(status: u16, error: &str, code: &str, retry_after_s: Option<u64>) -> SentError {
    let body = serde_json::json!({ "error": error, "code": code, "retry_after_s": retry_after_s });
    SentError {
        status,
        body: body.to_string(),
        retry_after_s,
    }
}

/// What a status that is no success means, and a body where there is one. A body that has no code of ours is another server's:
/// then the status decides, and nothing is taken for permanent, since whose fault it was is not known.
pub fn understood(status: u16, body: &[u8], retry_after_s: Option<u64>) -> VisionError {
    let body: Option<ErrorBody> = serde_json::from_slice(body).ok();
    let code = body.as_ref().map_or("", |body| body.code.as_str());
    let retry_after = retry_after_s
        .or(body.as_ref().and_then(|body| body.retry_after_s))
        .map(|seconds| Duration::from_secs(seconds).min(LONGEST_WAIT));
    if let Some(refusal) = PhotoRefusal::ALL
        .into_iter()
        .find(|refusal| refusal.reason().code() == code)
    {
        return refusal.into();
    }
    let named = [
        VisionError::Model {
            what: "the model server says so",
        },
        VisionError::Unavailable {
            what: "the model server says so",
        },
        VisionError::Busy { retry_after },
        VisionError::EndpointMissing {
            what: "the model server has no model of this route",
        },
        VisionError::EndpointDenied {
            what: "the model server says so",
        },
    ];
    if let Some(error) = named.into_iter().find(|error| error.reason().code() == code) {
        return error;
    }
    match status {
        401 | 403 => VisionError::EndpointDenied {
            what: "the model server does not take our credentials",
        },
        404 => VisionError::EndpointMissing {
            what: "the model server has no such model",
        },
        429 => VisionError::Busy { retry_after },
        503 if retry_after.is_some() => VisionError::Busy { retry_after },
        400..=499 => VisionError::Unavailable {
            what: "the model server does not understand the request",
        },
        _ => VisionError::Unavailable {
            what: "the model server fails",
        },
    }
}

/// Findings as they are sent: JSON.
pub fn sent_findings(findings: &Findings) -> Result<Vec<u8>, VisionError> {
    serde_json::to_vec(findings).map_err(|_| VisionError::Model {
        what: "its findings cannot be written",
    })
}

/// Findings that came over the wire, if they can be what models of `route` saw.
pub fn findings(route: Route, bytes: &[u8]) -> Result<Findings, VisionError> {
    let refused = |what| Err(VisionError::Model { what });
    if bytes.len() > MOST_FINDINGS_BYTES {
        return refused("its findings are larger than allowed");
    }
    let Ok(findings) = serde_json::from_slice::<Findings>(bytes) else {
        return refused("its findings cannot be read");
    };
    if findings.route != route {
        return refused("its findings are of another route");
    }
    if findings.models.is_empty() {
        return refused("its findings name no model");
    }
    if findings.image.width == 0 || findings.image.height == 0 {
        return refused("its findings are of an image without pixels");
    }
    if findings.further_conditions.len() > MOST_FURTHER {
        return refused("its findings allow more conditions than a pack can");
    }
    if !findings.further_conditions.iter().all(is_further_condition) {
        return refused("its findings allow a condition that no pack can");
    }
    let quality = findings.image.quality;
    let sound = quality.sharpness.is_finite()
        && is_fraction(findings.abstain_below)
        && is_fraction(quality.brightness)
        && are_probabilities(&findings.ranked)
        && findings
            .regions
            .iter()
            .all(|region| is_fraction(region.score) && is_inside(&region.area) && are_probabilities(&region.classes));
    if sound {
        Ok(findings)
    } else {
        refused("its findings have numbers that cannot be")
    }
}

/// By the rules of a manifest: coded, with words that fit into a draft, and not of those that must not be missed, since no model
/// judges it.
fn is_further_condition(label: &Label) -> bool {
    !label.must_not_miss
        && is_snomed_ct(&label.snomed_ct)
        && label.icd_10_cm.as_deref().is_none_or(is_icd_10_cm)
        && is_display(&label.display)
}

/// Whether words are such as a label can have in a draft: a line, and a short one.
pub fn is_display(words: &str) -> bool {
    !words.trim().is_empty() && words.chars().count() <= MOST_DISPLAY && !words.chars().any(char::is_control)
}

fn is_fraction(value: f32) -> bool {
    (-TOLERANCE..=1.0 + TOLERANCE).contains(&value)
}

fn is_inside(area: &NormalisedBox) -> bool {
    let sides = [area.x, area.y, area.x + area.width, area.y + area.height];
    sides.into_iter().all(is_fraction) && area.width >= 0.0 && area.height >= 0.0
}

/// Most probable first, no sum above one.
fn are_probabilities(classes: &[ClassProbability]) -> bool {
    let sum: f32 = classes.iter().map(|class| class.probability).sum();
    classes.iter().all(|class| is_fraction(class.probability))
        && classes.is_sorted_by(|one, next| one.probability >= next.probability)
        && sum <= 1.0 + 10.0 * TOLERANCE
}

/// The models behind a server, as one says who is asked for a description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// One entry for each route that is served.
    pub models: Vec<DescribedModel>,
}

/// A model of a [`Description`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribedModel {
    /// Which photos it looks at.
    pub route: Route,
    /// The pack's id: the model's name in protocols that have names.
    pub pack: String,
    /// The pack's version.
    pub version: String,
}

impl Description {
    /// The models of a route.
    pub fn of(&self, route: Route) -> Vec<ModelVersion> {
        let models = self.models.iter().filter(|model| model.route == route);
        models
            .map(|model| ModelVersion {
                pack: model.pack.clone(),
                version: model.version.clone(),
            })
            .collect()
    }
}

/// The models of each route as far as they are known: what a server said of itself, and what its answers have named since.
#[derive(Debug, Default)]
pub struct KnownModels(Mutex<Vec<(Route, Vec<ModelVersion>)>>);

impl KnownModels {
    fn known(&self) -> MutexGuard<'_, Vec<(Route, Vec<ModelVersion>)>> {
        // Nothing that can panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The models of a route; none when the route is not served.
    pub fn of(&self, route: Route) -> Vec<ModelVersion> {
        let known = self.known();
        let found = known.iter().find(|(of, _)| *of == route);
        found.map(|(_, models)| models.clone()).unwrap_or_default()
    }

    /// Takes note of the models of a route. Whether they were others before.
    pub fn note(&self, route: Route, models: &[ModelVersion]) -> bool {
        let mut known = self.known();
        if let Some((_, before)) = known.iter_mut().find(|(of, _)| *of == route) {
            let changed = before != models;
            if changed {
                *before = models.to_vec();
            }
            return changed;
        }
        known.push((route, models.to_vec()));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{ImageFacts, Label, Quality, Region},
        ports::Class,
    };

    fn seen() -> Findings {
        let class = |id: &str, probability| ClassProbability {
            label: Label {
                id: id.to_owned(),
                display: id.to_owned(),
                snomed_ct: "400096001".to_owned(),
                icd_10_cm: None,
                must_not_miss: false,
            },
            probability,
        };
        let ranked = vec![class("nevus", 0.75), class("melanoma", 0.25)];
        Findings {
            route: Route::Solitary,
            image: ImageFacts {
                width: 4000,
                height: 3000,
                format: "jpeg".to_owned(),
                quality: Quality {
                    sharpness: 50.0,
                    brightness: 0.5,
                    ..Quality::default()
                },
            },
            regions: vec![Region {
                area: NormalisedBox {
                    x: 0.1,
                    y: 0.2,
                    width: 0.3,
                    height: 0.4,
                },
                score: 0.8,
                classes: ranked.clone(),
            }],
            ranked,
            abstention: None,
            abstain_below: 0.0,
            concerns: Vec::new(),
            further_conditions: vec![Label {
                id: "carcinoma".to_owned(),
                display: "Squamous cell carcinoma".to_owned(),
                snomed_ct: "254651007".to_owned(),
                icd_10_cm: Some("C44.92".to_owned()),
                must_not_miss: false,
            }],
            models: vec![ModelVersion {
                pack: "pack".to_owned(),
                version: "1".to_owned(),
            }],
        }
    }

    #[test]
    fn an_error_means_the_same_on_the_other_side() {
        let second = Duration::from_secs(2);
        let mut errors: Vec<VisionError> = PhotoRefusal::ALL.into_iter().map(VisionError::Photo).collect();
        errors.push(VisionError::Model { what: "a" });
        errors.push(VisionError::Unavailable { what: "b" });
        errors.push(VisionError::Busy {
            retry_after: Some(second),
        });
        errors.push(VisionError::Busy { retry_after: None });
        errors.push(VisionError::EndpointMissing { what: "c" });
        errors.push(VisionError::EndpointDenied { what: "d" });
        for error in errors {
            let SentError { status, body, .. } = sent(&error);
            let there = understood(status, body.as_bytes(), None);
            assert_eq!(there.reason(), error.reason());
            assert_eq!(there.class(), error.class(), "{error}");
            // Whose fault it is can be told by the status alone.
            let is_of_the_photo = matches!(error, VisionError::Photo(_));
            assert_eq!((413..=422).contains(&status), is_of_the_photo, "{error} {status}");
        }
    }

    #[test]
    fn what_others_answer_is_never_taken_for_final() {
        for status in [400, 401, 403, 404, 409, 413, 422, 429, 500, 502, 503, 504] {
            for body in [
                "",
                "not JSON",
                r#"{"error": "Patient Doe"}"#,
                r#"{"error": "x", "code": "no.such"}"#,
            ] {
                let error = understood(status, body.as_bytes(), None);
                assert!(matches!(error.class(), Class::Transient(_)), "{status} {body}");
                assert!(!error.to_string().contains("Doe"));
            }
        }
        let wait = |seconds| understood(503, b"", seconds).class();
        assert_eq!(wait(Some(7)), Class::Transient(Some(Duration::from_secs(7))));
        assert_eq!(wait(Some(1_000_000)), Class::Transient(Some(LONGEST_WAIT)));
    }

    #[test]
    fn findings_arrive_as_they_were_sent() {
        let seen = seen();
        assert_eq!(findings(Route::Solitary, &sent_findings(&seen).unwrap()).unwrap(), seen);
    }

    #[test]
    fn findings_that_cannot_be_are_refused() {
        type Spoil = fn(&mut Findings);
        let spoils: [(&str, Spoil); 15] = [
            ("another route", |findings| findings.route = Route::Widespread),
            ("no model", |findings| findings.models.clear()),
            ("without pixels", |findings| findings.image.width = 0),
            ("numbers", |findings| findings.ranked[0].probability = 1.5),
            ("numbers", |findings| findings.ranked[1].probability = -0.5),
            ("numbers", |findings| findings.ranked.reverse()),
            ("numbers", |findings| findings.ranked[1].probability = 0.7),
            ("numbers", |findings| findings.regions[0].area.width = 7.0),
            ("numbers", |findings| findings.regions[0].score = 2.0),
            ("numbers", |findings| findings.abstain_below = 2.0),
            ("no pack", |findings| {
                findings.further_conditions[0].must_not_miss = true;
            }),
            ("no pack", |findings| {
                findings.further_conditions[0].snomed_ct = "400096002".into();
            }),
            ("no pack", |findings| {
                findings.further_conditions[0].icd_10_cm = Some("see below".into());
            }),
            ("no pack", |findings| {
                findings.further_conditions[0].display = "a\nb".into();
            }),
            ("no pack", |findings| {
                findings.further_conditions[0].display = "a".repeat(121);
            }),
        ];
        for (problem, spoil) in spoils {
            let mut spoilt = seen();
            spoil(&mut spoilt);
            let error = findings(Route::Solitary, &sent_findings(&spoilt).unwrap()).unwrap_err();
            assert!(error.to_string().contains(problem), "{error}");
            assert_eq!(error.class(), Class::Permanent);
        }
        let error = findings(Route::Solitary, b"{").unwrap_err();
        assert!(error.to_string().contains("cannot be read"), "{error}");
        let long = vec![b' '; MOST_FINDINGS_BYTES + 1];
        let error = findings(Route::Solitary, &long).unwrap_err();
        assert!(error.to_string().contains("larger"), "{error}");
    }

    #[test]
    fn what_answers_name_replaces_what_was_known() {
        let known = KnownModels::default();
        let model = |version: &str| {
            vec![ModelVersion {
                pack: "pack".to_owned(),
                version: version.to_owned(),
            }]
        };
        assert!(!known.note(Route::Solitary, &model("1")));
        assert!(!known.note(Route::Solitary, &model("1")));
        assert!(known.note(Route::Solitary, &model("2")));
        assert_eq!(known.of(Route::Solitary), model("2"));
        assert_eq!(known.of(Route::Widespread), []);
    }
}
