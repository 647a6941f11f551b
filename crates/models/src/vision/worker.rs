//! One worker: a photo in, findings out.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use futures::channel::oneshot;
use skin_assist_core::{
    domain::{Abstention, ClassProbability, Findings, ImageFacts, PhotoBytes, Region, Route},
    ports::VisionError,
};

use super::{VisionSetupError, classify, detect};
use crate::{
    pack::{ClassifierManifest, LoadedPack},
    photo::{self, OpenPhoto},
    preprocess::{self, Reducer, SmallImage},
    runtime::{Session, Tensor},
};

/// A photo to look at, and where the findings go.
pub(super) struct Job {
    pub(super) route: Route,
    pub(super) photo: PhotoBytes,
    pub(super) reply: oneshot::Sender<Result<Findings, VisionError>>,
}

/// The sessions of one thread, and its buffers.
pub(super) struct Worker {
    packs: Vec<PackSessions>,
    reducer: Reducer,
    limits: photo::Limits,
}

struct PackSessions {
    pack: Arc<LoadedPack>,
    detector: Option<Box<dyn Session>>,
    classifier: Box<dyn Session>,
}

impl Worker {
    pub(super) fn new(packs: &[Arc<LoadedPack>], limits: photo::Limits) -> Result<Self, VisionSetupError> {
        let sessions = |pack: &Arc<LoadedPack>| {
            let failed = |source| VisionSetupError::Session {
                pack: pack.manifest().id.clone(),
                source,
            };
            Ok(PackSessions {
                detector: pack
                    .detector()
                    .map(|model| model.session().map_err(failed))
                    .transpose()?,
                classifier: pack.classifier().session().map_err(failed)?,
                pack: Arc::clone(pack),
            })
        };
        let packs = packs.iter().map(sessions).collect::<Result<_, VisionSetupError>>()?;
        Ok(Self {
            packs,
            reducer: Reducer::default(),
            limits,
        })
    }

    /// Looks at the photo and replies; whatever happens, the worker can take the next.
    pub(super) fn serve(&mut self, job: Job) {
        if job.reply.is_canceled() {
            return;
        }
        let findings =
            catch_unwind(AssertUnwindSafe(|| self.look(job.route, &job.photo))).unwrap_or(Err(VisionError::Model {
                what: "it stopped unexpectedly",
            }));
        if let Err(error) = &findings {
            tracing::debug!(route = %job.route, %error, "no findings");
        }
        // The caller may have gone: nobody misses the findings then.
        let _ = job.reply.send(findings);
    }

    fn look(&mut self, route: Route, bytes: &PhotoBytes) -> Result<Findings, VisionError> {
        let sessions = self
            .packs
            .iter_mut()
            .find(|sessions| sessions.pack.manifest().route == route)
            .ok_or(VisionError::Unavailable {
                what: "no model pack serves this route",
            })?;
        let photo = photo::open(bytes.expose(), self.limits)?;
        sessions.look(&photo, &mut self.reducer)
    }
}

impl PackSessions {
    fn look(&mut self, photo: &OpenPhoto, reducer: &mut Reducer) -> Result<Findings, VisionError> {
        let pack = Arc::clone(&self.pack);
        let manifest = pack.manifest();
        let input = manifest
            .detector
            .as_ref()
            .map_or(&manifest.classifier.input, |detector| &detector.input);
        let small = reducer.whole_of(photo, input.width, input.height)?;
        let mut findings = blank(&pack, photo, &small);
        if !manifest.quality.admit(findings.image.quality) {
            findings.abstention = Some(Abstention::PoorImage);
            return Ok(findings);
        }
        match (&manifest.detector, &mut self.detector) {
            (Some(detector), Some(session)) => {
                let answer = run(&mut **session, &preprocess::tensor(&small, input))?;
                let detections = detect::yolov8(&answer, detector).map_err(no_answer)?;
                let (width, height) = photo.upright_size();
                for detection in detections {
                    let Some(square) = preprocess::square_around(&detection.raw, detector.crop_margin, width, height)
                    else {
                        continue;
                    };
                    let input = &manifest.classifier.input;
                    let crop = reducer.part_of(photo, square, input.width, input.height)?;
                    let classes = judge(&mut *self.classifier, &crop, &manifest.classifier)?;
                    findings.regions.push(Region {
                        area: detection.area,
                        score: detection.score,
                        classes,
                    });
                }
                match findings.regions.first() {
                    Some(region) => findings.ranked.clone_from(&region.classes),
                    None => findings.abstention = Some(Abstention::NoLesionFound),
                }
            }
            _ => findings.ranked = judge(&mut *self.classifier, &small, &manifest.classifier)?,
        }
        let threshold = manifest.classifier.abstain_below;
        if findings.ranked.first().is_some_and(|top| top.probability < threshold) {
            findings.abstention = Some(Abstention::Undecided);
        }
        Ok(findings)
    }
}

/// What is known before a model has run.
fn blank(pack: &LoadedPack, photo: &OpenPhoto, small: &SmallImage) -> Findings {
    let (width, height) = photo.upright_size();
    Findings {
        route: pack.manifest().route,
        image: ImageFacts {
            width,
            height,
            format: photo.format().as_str().to_owned(),
            quality: photo::measure(small),
        },
        regions: Vec::new(),
        ranked: Vec::new(),
        abstention: None,
        models: vec![pack.version()],
    }
}

fn judge(
    session: &mut dyn Session,
    image: &SmallImage,
    manifest: &ClassifierManifest,
) -> Result<Vec<ClassProbability>, VisionError> {
    let answer = run(session, &preprocess::tensor(image, &manifest.input))?;
    classify::ranked(&answer, manifest).map_err(no_answer)
}

fn run(session: &mut dyn Session, input: &Tensor) -> Result<Tensor, VisionError> {
    session.run(input).map_err(|error| {
        tracing::error!(%error, "a model did not run");
        VisionError::Model {
            what: "the runtime reports an error",
        }
    })
}

const fn no_answer(what: &'static str) -> VisionError {
    VisionError::Model { what }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use skin_assist_core::ports::VisionModel;

    use super::*;
    use crate::{
        PackVision, VisionOptions,
        pack::Pack,
        runtime::{Error, Model},
    };

    /// A model that panics while the first photos are looked at, then answers with too many numbers.
    struct Unreliable;

    struct UnreliableSession(u32);

    impl Model for Unreliable {
        fn session(&self) -> Result<Box<dyn Session>, Error> {
            Ok(Box::new(UnreliableSession(0)))
        }
    }

    impl Session for UnreliableSession {
        fn run(&mut self, _input: &Tensor) -> Result<Tensor, Error> {
            self.0 += 1;
            assert!(self.0 > 2, "on purpose");
            Ok(Tensor {
                shape: vec![1, 1000],
                data: vec![0.0; 1000],
            })
        }
    }

    #[test]
    fn a_panic_costs_the_photo_and_not_the_worker() {
        let manifest = Pack::reference(Route::Widespread).expect("a pack").manifest().clone();
        let pack = LoadedPack::new(manifest, None, Box::new(Unreliable));
        let options = VisionOptions {
            workers: std::num::NonZeroUsize::MIN,
            ..VisionOptions::default()
        };
        let vision = PackVision::with_loaded(vec![pack], options).expect("a worker");
        let photo = include_bytes!("../../tests/fixtures/upright.png");
        let photo = PhotoBytes::new(bytes::Bytes::from_static(photo));
        let look = || match block_on(vision.look(Route::Widespread, &photo)) {
            Err(VisionError::Model { what }) => what,
            other => panic!("{other:?}"),
        };
        assert_eq!([look(), look()], ["it stopped unexpectedly"; 2]);
        assert!(look().contains("another shape"));
    }
}
