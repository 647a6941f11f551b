//! Models that see what they are told to see, at once or after a while.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use skin_assist_core::{
    domain::{
        ClassProbability, Findings, ImageFacts, Label, ModelVersion, NormalisedBox, PhotoBytes, Quality, Region, Route,
    },
    ports::{PhotoRefusal, VisionError, VisionModel},
    time::Clock,
};

/// A [`VisionModel`] without a model: every JPEG shows a melanocytic nevus (solitary) or psoriasis (widespread), and
/// what is no JPEG is refused. Takes a stated time, by its clock, and counts the looks: what inferences would cost.
#[derive(Clone)]
pub struct ScriptedVision {
    clock: Arc<dyn Clock>,
    takes: Duration,
    looks: Arc<AtomicU64>,
    /// The version that looks, where it is another than the one that is known.
    answers_as: Option<String>,
}

impl ScriptedVision {
    /// Each look takes `takes`.
    pub fn new(clock: Arc<dyn Clock>, takes: Duration) -> Self {
        Self {
            clock,
            takes,
            looks: Arc::default(),
            answers_as: None,
        }
    }

    /// The same models, whose findings name another version than [`VisionModel::versions`] does: they were replaced since.
    #[must_use]
    pub fn answering_as(self, version: &str) -> Self {
        Self {
            answers_as: Some(version.to_owned()),
            ..self
        }
    }

    /// The same models, taking `takes` from now on.
    #[must_use]
    pub fn taking(self, takes: Duration) -> Self {
        Self { takes, ..self }
    }

    /// How many looks were begun.
    pub fn looks(&self) -> u64 {
        self.looks.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl VisionModel for ScriptedVision {
    async fn look(&self, route: Route, photo: &PhotoBytes) -> Result<Findings, VisionError> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        if !self.takes.is_zero() {
            self.clock.sleep_until(self.clock.now() + self.takes).await;
        }
        if !photo.expose().starts_with(&[0xff, 0xd8]) {
            return Err(PhotoRefusal::UnsupportedFormat.into());
        }
        let (id, display, snomed_ct) = match route {
            Route::Solitary => ("melanocytic-nevus", "Melanocytic nevus", "400096001"),
            Route::Widespread => ("psoriasis", "Psoriasis", "9014002"),
        };
        let label = Label {
            id: id.to_owned(),
            display: display.to_owned(),
            snomed_ct: snomed_ct.to_owned(),
            icd_10_cm: None,
            must_not_miss: false,
        };
        let ranked = vec![ClassProbability {
            label,
            probability: 0.9,
        }];
        let area = NormalisedBox {
            x: 0.4,
            y: 0.4,
            width: 0.2,
            height: 0.2,
        };
        let regions = match route {
            Route::Solitary => vec![Region {
                area,
                score: 0.9,
                classes: ranked.clone(),
            }],
            Route::Widespread => Vec::new(),
        };
        let quality = Quality {
            sharpness: 50.0,
            brightness: 0.5,
            ..Quality::default()
        };
        let image = ImageFacts {
            width: 480,
            height: 360,
            format: "jpeg".to_owned(),
            quality,
        };
        let mut models = self.versions(route);
        for model in &mut models {
            if let Some(version) = &self.answers_as {
                model.version.clone_from(version);
            }
        }
        Ok(Findings {
            route,
            image,
            regions,
            ranked,
            abstention: None,
            abstain_below: 0.0,
            concerns: Vec::new(),
            further_conditions: Vec::new(),
            models,
        })
    }

    fn versions(&self, route: Route) -> Vec<ModelVersion> {
        vec![ModelVersion {
            pack: format!("scripted-{route}"),
            version: "1".to_owned(),
        }]
    }
}
