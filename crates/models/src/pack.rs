//! Model packs: a folder with `pack.toml`, the ONNX files that it names, and a model card.
//!
//! A pack is taken whole or not at all: the manifest is understood to the last key, every file has the SHA-256 that the
//! manifest states, every model loads and answers a trial run in the shape that the manifest promises. Whatever is wrong
//! is said with the pack, the field or file, and a hint.

mod manifest;
mod reference;

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use skin_assist_core::domain::{ModelVersion, Route};

pub use manifest::{
    Activation, ClassifierHead, ClassifierManifest, ColourOrder, DetectorHead, DetectorManifest, GateManifest, Golden,
    Manifest, ModelFile, ModelInput, OutOfDistribution, Population, QualityLimits, Resize, Score, WithoutLesion,
};

use crate::runtime::{self, Model, Runtime, Tensor};

/// The manifest's name in a pack's folder.
pub const MANIFEST: &str = "pack.toml";
/// A manifest is a page of text; more is a mistake.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;
/// ONNX files are limited to 2 GiB by their own format.
const MAX_MODEL_BYTES: u64 = 2 << 30;

/// A pack that does not do, and why.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The manifest cannot be read.
    #[error("the model pack {pack} has no readable {MANIFEST}")]
    ManifestUnreadable {
        /// The pack's folder.
        pack: String,
        #[source]
        /// What the system said.
        source: io::Error,
    },
    /// The manifest is not TOML, or has a key that does not belong there, or lacks one.
    #[error("the manifest of the model pack {pack} cannot be understood: {problem}")]
    ManifestSyntax {
        /// The pack's folder or id.
        pack: String,
        /// What the parser says, with line and key.
        problem: String,
    },
    /// A field of the manifest has a value that does not do.
    #[error("the manifest of the model pack {pack}: {field} {problem}")]
    Field {
        /// The pack's folder or id.
        pack: String,
        /// The field, as `model[0].input.width`.
        field: String,
        /// What is wrong with it.
        problem: String,
        /// What would be right.
        hint: &'static str,
    },
    /// A file that the manifest names cannot be read.
    #[error("the model pack {pack} has no readable {file}")]
    FileUnreadable {
        /// The pack's id.
        pack: String,
        /// The file.
        file: String,
        #[source]
        /// What the system said.
        source: io::Error,
    },
    /// A file is not the one that the manifest was written for.
    #[error("the model pack {pack}: {file} has SHA-256 {found}, the manifest says {expected}")]
    Hash {
        /// The pack's id.
        pack: String,
        /// The file.
        file: String,
        /// What the manifest states.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// The runtime cannot load or execute a model.
    #[error("the model pack {pack}: {file} does not run")]
    Model {
        /// The pack's id.
        pack: String,
        /// The file.
        file: String,
        #[source]
        /// What the runtime said.
        source: runtime::Error,
    },
    /// A model's answer has another shape than the manifest promises.
    #[error("the model pack {pack}: {file} answers with shape {found:?}, the manifest means {expected}")]
    Shape {
        /// The pack's id.
        pack: String,
        /// The file.
        file: String,
        /// The shape that fits the manifest, in words.
        expected: String,
        /// The shape of the trial run's answer.
        found: Vec<usize>,
    },
}

impl Error {
    /// What a person can do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::ManifestUnreadable { .. } => "give the folder that holds pack.toml",
            Self::ManifestSyntax { .. } => "the format of the manifest is described in docs/model-packs.md",
            Self::Field { hint, .. } => hint,
            Self::FileUnreadable { .. } => "put the file beside pack.toml and make it readable",
            Self::Hash { .. } => {
                "the file was changed or damaged after the manifest was written: copy the pack again from its source"
            }
            Self::Model { source, .. } => source.hint(),
            Self::Shape { .. } => "correct layout, labels or input size in the manifest, or export the model again",
        }
    }
}

/// A pack with the bytes of its models, all hashes right.
#[derive(Debug, Clone)]
pub struct Pack {
    manifest: Manifest,
    detector: Option<Bytes>,
    classifier: Bytes,
    gate: Option<Bytes>,
    golden: Option<Bytes>,
}

/// A pack that is part of the program.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddedPack {
    /// The text of `pack.toml`.
    pub manifest: &'static str,
    /// The other files by name.
    pub files: &'static [(&'static str, &'static [u8])],
}

impl Pack {
    /// Reads a pack from its folder.
    pub fn from_directory(folder: &Path) -> Result<Self, Error> {
        let shown = folder.display().to_string();
        let unreadable = |source| Error::ManifestUnreadable {
            pack: shown.clone(),
            source,
        };
        let text = read(&folder.join(MANIFEST), MAX_MANIFEST_BYTES).map_err(unreadable)?;
        let text = String::from_utf8(text)
            .map_err(|error| unreadable(io::Error::new(io::ErrorKind::InvalidData, error.utf8_error())))?;
        Self::assemble(&shown, &text, |file| {
            read(&folder.join(file), MAX_MODEL_BYTES).map(Bytes::from)
        })
    }

    /// Takes a pack that is part of the program.
    pub fn from_embedded(pack: &EmbeddedPack) -> Result<Self, Error> {
        Self::assemble("(built in)", pack.manifest, |file| {
            let found = pack.files.iter().find(|(name, _)| *name == file);
            found
                .map(|(_, bytes)| Bytes::from_static(bytes))
                .ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }

    fn assemble(shown: &str, text: &str, get: impl Fn(&str) -> io::Result<Bytes>) -> Result<Self, Error> {
        let manifest = Manifest::parse(shown, text)?;
        let file = |name: &str, sha256: &str| {
            let bytes = get(name).map_err(|source| Error::FileUnreadable {
                pack: manifest.id.clone(),
                file: name.to_owned(),
                source,
            })?;
            let found = hex::encode(Sha256::digest(&bytes));
            if found != sha256 {
                return Err(Error::Hash {
                    pack: manifest.id.clone(),
                    file: name.to_owned(),
                    expected: sha256.to_owned(),
                    found,
                });
            }
            Ok(bytes)
        };
        let model = |model: &ModelFile| file(&model.name, &model.sha256);
        let detector = manifest.detector.as_ref();
        let detector = detector.map(|detector| model(&detector.file)).transpose()?;
        let classifier = model(&manifest.classifier.file)?;
        let gate = manifest.gate.as_ref().map(|gate| model(&gate.file)).transpose()?;
        let golden = manifest.golden.as_ref();
        let golden = golden.map(|golden| file(&golden.name, &golden.sha256)).transpose()?;
        Ok(Self {
            manifest,
            detector,
            classifier,
            gate,
            golden,
        })
    }

    /// The photo with known findings.
    pub const fn golden(&self) -> Option<&Bytes> {
        self.golden.as_ref()
    }

    /// What the pack says about itself.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The route it serves.
    pub const fn route(&self) -> Route {
        self.manifest.route
    }

    /// What goes on each finding.
    pub fn version(&self) -> ModelVersion {
        ModelVersion {
            pack: self.manifest.id.clone(),
            version: self.manifest.version.clone(),
        }
    }

    /// Loads the models and makes a trial run of each.
    pub fn load(&self, runtime: &Runtime) -> Result<LoadedPack, Error> {
        let detector = match (&self.manifest.detector, &self.detector) {
            (Some(manifest), Some(bytes)) => Some(self.load_detector(runtime, manifest, bytes)?),
            _ => None,
        };
        let judge = |file: &ModelFile, input: &ModelInput, bytes: &Bytes, classes: usize| {
            self.load_model(runtime, file, input, &[&file.output], bytes, |answers| {
                matches!(answers, [answer] if answer.shape == [1, classes])
                    .then_some(())
                    .ok_or_else(|| format!("[1, {classes}], one number a label"))
            })
        };
        let classifier = &self.manifest.classifier;
        let gate = match (&self.manifest.gate, &self.gate) {
            (Some(gate), Some(bytes)) => Some(judge(&gate.file, &gate.input, bytes, gate.kinds.len())?),
            _ => None,
        };
        let classifier = judge(
            &classifier.file,
            &classifier.input,
            &self.classifier,
            classifier.labels.len(),
        )?;
        Ok(LoadedPack {
            manifest: self.manifest.clone(),
            detector,
            classifier,
            gate,
        })
    }

    fn load_detector(
        &self,
        runtime: &Runtime,
        manifest: &DetectorManifest,
        bytes: &Bytes,
    ) -> Result<Box<dyn Model>, Error> {
        let (file, input) = (&manifest.file, &manifest.input);
        match &manifest.head {
            DetectorHead::Yolov8 => self.load_model(runtime, file, input, &[&file.output], bytes, |answers| {
                matches!(answers, [answer] if matches!(*answer.shape, [1, rows, boxes] if rows > 4 && boxes > 0))
                    .then_some(())
                    .ok_or_else(|| "[1, 4 + classes, boxes]".to_owned())
            }),
            DetectorHead::Detr { logits, .. } => {
                self.load_model(runtime, file, input, &[&file.output, logits], bytes, |answers| {
                    matches!(answers, [boxes, logits]
                        if matches!((&*boxes.shape, &*logits.shape), ([1, boxes, 4], [1, same, _]) if boxes == same))
                    .then_some(())
                    .ok_or_else(|| "[1, boxes, 4], and as many rows of logits".to_owned())
                })
            }
        }
    }

    fn load_model(
        &self,
        runtime: &Runtime,
        file: &ModelFile,
        input: &ModelInput,
        outputs: &[&str],
        onnx: &Bytes,
        fits: impl Fn(&[Tensor]) -> Result<(), String>,
    ) -> Result<Box<dyn Model>, Error> {
        let failed = |source| Error::Model {
            pack: self.manifest.id.clone(),
            file: file.name.clone(),
            source,
        };
        let model = runtime.load_with_outputs(onnx, &input.name, outputs).map_err(failed)?;
        let (width, height) = (input.width as usize, input.height as usize);
        let trial = Tensor {
            shape: vec![1, 3, height, width],
            data: vec![0.0; 3 * width * height],
        };
        let answers = model
            .session()
            .and_then(|mut session| session.run_all(&trial))
            .map_err(failed)?;
        fits(&answers).map_err(|expected| Error::Shape {
            pack: self.manifest.id.clone(),
            file: file.name.clone(),
            expected,
            found: answers.first().map(|answer| answer.shape.clone()).unwrap_or_default(),
        })?;
        Ok(model)
    }
}

/// A pack whose models run.
pub struct LoadedPack {
    manifest: Manifest,
    detector: Option<Box<dyn Model>>,
    classifier: Box<dyn Model>,
    gate: Option<Box<dyn Model>>,
}

impl LoadedPack {
    /// A pack whose models are already there, wherever they run. The manifest's route decides whether a detector is
    /// needed; without one the classifier judges the whole image.
    pub fn new(manifest: Manifest, detector: Option<Box<dyn Model>>, classifier: Box<dyn Model>) -> Self {
        Self {
            manifest,
            detector,
            classifier,
            gate: None,
        }
    }

    /// What the pack says about itself.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What goes on each finding.
    pub fn version(&self) -> ModelVersion {
        ModelVersion {
            pack: self.manifest.id.clone(),
            version: self.manifest.version.clone(),
        }
    }

    /// The detector, on the solitary route.
    pub fn detector(&self) -> Option<&dyn Model> {
        self.detector.as_deref()
    }

    /// What decides whether an image is one for the pack.
    pub fn gate(&self) -> Option<&dyn Model> {
        self.gate.as_deref()
    }

    /// The classifier.
    pub fn classifier(&self) -> &dyn Model {
        &*self.classifier
    }
}

impl std::fmt::Debug for LoadedPack {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("LoadedPack")
            .field("manifest", &self.manifest)
            .finish_non_exhaustive()
    }
}

/// The folders under `folder` that hold a pack, and `folder` itself if it does; sorted by name.
pub fn find(folder: &Path) -> io::Result<Vec<PathBuf>> {
    if folder.join(MANIFEST).is_file() {
        return Ok(vec![folder.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.join(MANIFEST).is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("more than {limit} bytes"),
        ));
    }
    Ok(bytes)
}
