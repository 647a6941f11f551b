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
/// For a file of more than this, address space for so much is taken.
const SMALL_FILE_BYTES: usize = 1 << 20;
const RESERVED_BYTES: usize = 33 << 20;

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

/// A pack whose files are there and have the right hashes. They are read again, and checked again, when they are used:
/// models are large.
#[derive(Debug, Clone)]
pub struct Pack {
    manifest: Manifest,
    source: Source,
}

/// Where a pack's files are.
#[derive(Debug, Clone)]
enum Source {
    Folder(PathBuf),
    Embedded(&'static [(&'static str, &'static [u8])]),
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
    /// Reads a pack from its folder, and every file once to compare its hash.
    pub fn from_directory(folder: &Path) -> Result<Self, Error> {
        let pack = Self::open(folder)?;
        pack.check_files()?;
        Ok(pack)
    }

    /// Reads a pack's manifest alone. Its files are compared with their hashes when they are used, as ever.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let shown = folder.display().to_string();
        let unreadable = |source| Error::ManifestUnreadable {
            pack: shown.clone(),
            source,
        };
        let text = read(&folder.join(MANIFEST), MAX_MANIFEST_BYTES).map_err(unreadable)?;
        let text = String::from_utf8(text)
            .map_err(|error| unreadable(io::Error::new(io::ErrorKind::InvalidData, error.utf8_error())))?;
        Ok(Self {
            manifest: Manifest::parse(&shown, &text)?,
            source: Source::Folder(folder.to_owned()),
        })
    }

    /// Takes a pack that is part of the program.
    pub fn from_embedded(pack: &EmbeddedPack) -> Result<Self, Error> {
        let pack = Self {
            manifest: Manifest::parse("(built in)", pack.manifest)?,
            source: Source::Embedded(pack.files),
        };
        pack.check_files()?;
        Ok(pack)
    }

    fn check_files(&self) -> Result<(), Error> {
        let manifest = &self.manifest;
        let models = manifest.detector.iter().map(|detector| &detector.file);
        let models = models.chain([&manifest.classifier.file]);
        let models = models.chain(manifest.gate.iter().map(|gate| &gate.file));
        let files = models.map(|model| (&model.name, &model.sha256));
        for (name, sha256) in files.chain(manifest.golden.iter().map(|golden| (&golden.name, &golden.sha256))) {
            self.has_hash(name, sha256, self.source.digest(name))?;
        }
        Ok(())
    }

    fn has_hash(&self, name: &str, expected: &str, found: io::Result<String>) -> Result<(), Error> {
        let found = found.map_err(|source| self.unreadable(name, source))?;
        if found == expected {
            return Ok(());
        }
        Err(Error::Hash {
            pack: self.manifest.id.clone(),
            file: name.to_owned(),
            expected: expected.to_owned(),
            found,
        })
    }

    fn unreadable(&self, name: &str, source: io::Error) -> Error {
        Error::FileUnreadable {
            pack: self.manifest.id.clone(),
            file: name.to_owned(),
            source,
        }
    }

    /// The bytes of a file, of which it was made sure that they are the ones that the manifest means.
    fn file(&self, name: &str, sha256: &str) -> Result<Bytes, Error> {
        let bytes = self.source.read(name).map_err(|source| self.unreadable(name, source))?;
        self.has_hash(name, sha256, Ok(hex::encode(Sha256::digest(&bytes))))?;
        Ok(bytes)
    }

    /// The photo with known findings, where there is one.
    pub fn golden(&self) -> Result<Option<Bytes>, Error> {
        let golden = self.manifest.golden.as_ref();
        golden.map(|golden| self.file(&golden.name, &golden.sha256)).transpose()
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
        let detector = self.manifest.detector.as_ref();
        let detector = detector
            .map(|manifest| self.load_detector(runtime, manifest))
            .transpose()?;
        let judge = |file: &ModelFile, input: &ModelInput, classes: usize| {
            self.load_model(runtime, file, input, &[&file.output], |answers| {
                matches!(answers, [answer] if answer.shape == [1, classes])
                    .then_some(())
                    .ok_or_else(|| format!("[1, {classes}], one number a label"))
            })
        };
        let gate = self.manifest.gate.as_ref();
        let gate = gate
            .map(|gate| judge(&gate.file, &gate.input, gate.kinds.len()))
            .transpose()?;
        let classifier = &self.manifest.classifier;
        let classifier = judge(&classifier.file, &classifier.input, classifier.labels.len())?;
        Ok(LoadedPack {
            manifest: self.manifest.clone(),
            detector,
            classifier,
            gate,
        })
    }

    fn load_detector(&self, runtime: &Runtime, manifest: &DetectorManifest) -> Result<Box<dyn Model>, Error> {
        let (file, input) = (&manifest.file, &manifest.input);
        match &manifest.head {
            DetectorHead::Yolov8 => self.load_model(runtime, file, input, &[&file.output], |answers| {
                matches!(answers, [answer] if matches!(*answer.shape, [1, rows, boxes] if rows > 4 && boxes > 0))
                    .then_some(())
                    .ok_or_else(|| "[1, 4 + classes, boxes]".to_owned())
            }),
            DetectorHead::Detr { logits, .. } => {
                self.load_model(runtime, file, input, &[&file.output, logits], |answers| {
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
        fits: impl Fn(&[Tensor]) -> Result<(), String>,
    ) -> Result<Box<dyn Model>, Error> {
        let failed = |source| Error::Model {
            pack: self.manifest.id.clone(),
            file: file.name.clone(),
            source,
        };
        let onnx = self.file(&file.name, &file.sha256)?;
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

impl Source {
    fn read(&self, name: &str) -> io::Result<Bytes> {
        match self {
            Self::Folder(folder) => read(&folder.join(name), MAX_MODEL_BYTES).map(Bytes::from),
            Self::Embedded(files) => {
                let found = files.iter().find(|(file, _)| *file == name);
                found
                    .map(|(_, bytes)| Bytes::from_static(bytes))
                    .ok_or_else(|| io::ErrorKind::NotFound.into())
            }
        }
    }

    /// The SHA-256 of a file, in hexadecimal digits. Holds a small part of it at a time.
    fn digest(&self, name: &str) -> io::Result<String> {
        let mut digest = Sha256::new();
        match self {
            Self::Folder(folder) => {
                let mut file = File::open(folder.join(name))?.take(MAX_MODEL_BYTES + 1);
                if io::copy(&mut file, &mut digest)? > MAX_MODEL_BYTES {
                    return Err(too_large(MAX_MODEL_BYTES));
                }
            }
            Self::Embedded(_) => digest.update(self.read(name)?),
        }
        Ok(hex::encode(digest.finalize()))
    }
}

fn too_large(limit: u64) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {limit} bytes"))
}

fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    let length = usize::try_from(file.metadata()?.len().min(limit)).map_or(0, |length| length + 1);
    // Not step by step: a vector that grows so takes up to twice the file. And no less than this for a model: glibc keeps
    // up to twice the size of the largest block that it has mapped and got back, unless that was larger than 32 MB. What
    // is not touched takes no memory.
    bytes.reserve_exact(if length > SMALL_FILE_BYTES {
        length.max(RESERVED_BYTES)
    } else {
        length
    });
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(too_large(limit));
    }
    Ok(bytes)
}
