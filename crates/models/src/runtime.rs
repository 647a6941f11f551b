//! Runtimes: what executes an ONNX file.
//!
//! Two in process, behind one small trait: `rten`, pure Rust and always there, and ONNX Runtime, several times faster on
//! some networks, when its shared library is on the machine. A missing or unfit library is an error with a hint, never
//! a panic. Sessions run on one thread: a pool of them beats one session on all cores (measured; see the vision notes in
//! the documentation), and a tensor's values do not depend on the number of cores.
//!
//! A model behind a network is a third implementation of [`Model`] and [`Session`], elsewhere: this crate knows no network.

mod onnx_runtime;
mod rten_runtime;
mod structure;
mod weights;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use skin_assist_core::ports::VisionError;

/// Numbers with a shape, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// The size of each dimension.
    pub shape: Vec<usize>,
    /// The values; as many as the product of the shape.
    pub data: Vec<f32>,
}

/// A model, ready to be given to several threads.
pub trait Model: Send + Sync {
    /// A session of its own for a thread.
    fn session(&self) -> Result<Box<dyn Session>, Error>;
}

/// A model in the hands of one thread. Runs on one core.
pub trait Session: Send {
    /// From the model's one input to its outputs, in the order in which they were named. The same input gives the same
    /// outputs.
    fn run_all(&mut self, input: &Tensor) -> Result<Vec<Tensor>, Error>;

    /// The first output.
    fn run(&mut self, input: &Tensor) -> Result<Tensor, Error> {
        self.run_all(input)?.into_iter().next().ok_or(Error::NoOutput)
    }
}

/// Names of a model's input and output, as its manifest states them.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// The input.
    pub input: &'a str,
    /// The output.
    pub output: &'a str,
}

/// Which runtime is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RuntimeChoice {
    /// ONNX Runtime where its library is found in the usual places and fits, else rten.
    #[default]
    Auto,
    /// rten.
    Rten,
    /// ONNX Runtime, from this library.
    OnnxRuntime(PathBuf),
}

/// A runtime that is ready to load models.
#[derive(Clone)]
pub struct Runtime {
    engine: Engine,
    note: Option<String>,
}

#[derive(Clone)]
enum Engine {
    Rten,
    OnnxRuntime(onnx_runtime::Library),
}

/// What runs, for logs and for `doctor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// `rten` or `onnxruntime`.
    pub name: &'static str,
    /// Its version.
    pub version: String,
    /// The shared library, where there is one.
    pub library: Option<PathBuf>,
    /// Why the choice fell on it, where that is worth telling.
    pub note: Option<String>,
}

impl fmt::Display for Description {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.name, self.version)?;
        if let Some(library) = &self.library {
            write!(formatter, " ({})", library.display())?;
        }
        if let Some(note) = &self.note {
            write!(formatter, "; {note}")?;
        }
        Ok(())
    }
}

/// A runtime did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no file at the library's path.
    #[error("there is no ONNX Runtime library at {}", path.display())]
    LibraryMissing {
        /// The path.
        path: PathBuf,
    },
    /// The file is not a fitting ONNX Runtime library.
    #[error("{} cannot be used as ONNX Runtime library: {problem}", path.display())]
    LibraryUnfit {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Another library is in use already; a process can have one.
    #[error("the ONNX Runtime library {} is in use already; {} cannot be loaded beside it", loaded.display(), wanted.display())]
    LibraryInUse {
        /// The one in use.
        loaded: PathBuf,
        /// The one asked for.
        wanted: PathBuf,
    },
    /// The bytes are not a model that this runtime can execute.
    #[error("{runtime} cannot load the model: {problem}")]
    Load {
        /// Which runtime.
        runtime: &'static str,
        /// What it said.
        problem: String,
    },
    /// The model has no such input or output.
    #[error("the model has no {kind} named {name}; it has {found}")]
    Name {
        /// `input` or `output`.
        kind: &'static str,
        /// The name asked for.
        name: String,
        /// The names there are.
        found: String,
    },
    /// The model takes more than the one input.
    #[error("the model has {count} inputs; one is supported")]
    Inputs {
        /// How many it has.
        count: usize,
    },
    /// No output was asked for.
    #[error("the model was loaded without an output")]
    NoOutput,
    /// The execution failed.
    #[error("{runtime} cannot execute the model: {problem}")]
    Run {
        /// Which runtime.
        runtime: &'static str,
        /// What it said.
        problem: String,
    },
    /// The model runs elsewhere, and there is no answer. What that means for the photo is said there.
    #[error("the model runs elsewhere, and there is no answer")]
    Elsewhere(#[from] VisionError),
}

impl Error {
    /// What a person can do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::LibraryMissing { .. } => {
                "give the path of libonnxruntime.so, or leave it out: the built-in runtime needs nothing"
            }
            Self::LibraryUnfit { .. } => {
                "ONNX Runtime 1.24 or newer is needed, built for this machine; the built-in runtime needs nothing"
            }
            Self::LibraryInUse { .. } => "use one ONNX Runtime library in a process",
            Self::Load { .. } => "the file must be an ONNX model with operators that the runtime knows",
            Self::NoOutput => "name an output in the pack's manifest",
            Self::Name { .. } => "correct the name in the pack's manifest",
            Self::Inputs { .. } => "export the model with the image as its only input",
            Self::Run { .. } => {
                "check that the input size in the pack's manifest is the one the model was exported with"
            }
            Self::Elsewhere(_) => "check the address of the server, and the names of its models",
        }
    }
}

impl Runtime {
    /// Opens the runtime that was chosen. `Auto` never fails.
    pub fn open(choice: &RuntimeChoice) -> Result<Self, Error> {
        match choice {
            RuntimeChoice::Rten => Ok(Self {
                engine: Engine::Rten,
                note: None,
            }),
            RuntimeChoice::OnnxRuntime(path) => Ok(Self {
                engine: Engine::OnnxRuntime(onnx_runtime::Library::open(path)?),
                note: None,
            }),
            RuntimeChoice::Auto => Ok(Self::automatic(&usual_places())),
        }
    }

    /// ONNX Runtime from the first of these places that has it, else rten.
    fn automatic(places: &[PathBuf]) -> Self {
        let Some(path) = places.iter().find(|path| path.is_file()) else {
            return Self {
                engine: Engine::Rten,
                note: Some("no ONNX Runtime library found".to_owned()),
            };
        };
        match onnx_runtime::Library::open(path) {
            Ok(library) => Self {
                engine: Engine::OnnxRuntime(library),
                note: None,
            },
            Err(error) => {
                tracing::warn!(%error, "ONNX Runtime cannot be used, rten runs instead");
                Self {
                    engine: Engine::Rten,
                    note: Some(error.to_string()),
                }
            }
        }
    }

    const fn name(&self) -> &'static str {
        match self.engine {
            Engine::Rten => rten_runtime::NAME,
            Engine::OnnxRuntime(_) => onnx_runtime::NAME,
        }
    }

    /// What runs.
    pub fn describe(&self) -> Description {
        let note = self.note.clone();
        match &self.engine {
            Engine::Rten => Description {
                name: self.name(),
                version: rten_runtime::VERSION.to_owned(),
                library: None,
                note,
            },
            Engine::OnnxRuntime(library) => Description {
                name: self.name(),
                version: library.version(),
                library: Some(library.path().to_owned()),
                note,
            },
        }
    }

    /// Loads a model from the bytes of an ONNX file. Only the given names need to exist; the model has one input.
    pub fn load(&self, onnx: &[u8], names: Names<'_>) -> Result<Box<dyn Model>, Error> {
        self.load_with_outputs(Bytes::copy_from_slice(onnx), names.input, &[names.output])
    }

    /// As [`Self::load`], of a model with several outputs. The bytes are let go as soon as the runtime does not need them.
    pub fn load_with_outputs(&self, onnx: Bytes, input: &str, outputs: &[&str]) -> Result<Box<dyn Model>, Error> {
        structure::check(&onnx).map_err(|problem| Error::Load {
            runtime: self.name(),
            problem: problem.to_owned(),
        })?;
        match &self.engine {
            Engine::Rten => rten_runtime::load(&onnx, input, outputs),
            Engine::OnnxRuntime(library) => library.load(onnx, input, outputs),
        }
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe().fmt(formatter)
    }
}

/// What a choice comes to on this machine, for `doctor`.
pub fn describe(choice: &RuntimeChoice) -> Result<Description, Error> {
    Runtime::open(choice).map(|runtime| runtime.describe())
}

/// Where packages put the library: beside the program, then the system's folders.
fn usual_places() -> Vec<PathBuf> {
    let name = format!(
        "{}onnxruntime{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    );
    let beside = std::env::current_exe()
        .ok()
        .and_then(|program| program.parent().map(Path::to_owned));
    let system = [
        "/usr/local/lib",
        "/usr/lib",
        "/usr/lib64",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/opt/homebrew/lib",
    ];
    beside
        .into_iter()
        .chain(system.map(PathBuf::from))
        .map(|folder| folder.join(&name))
        .collect()
}

/// The text of a panic, for an error.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it stopped unexpectedly".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn automatic_choice_without_a_library_is_rten() {
        let runtime = Runtime::automatic(&[PathBuf::from("nowhere/libonnxruntime.so")]);
        assert_eq!(runtime.describe().name, "rten");
    }

    #[test]
    fn automatic_choice_with_a_broken_library_is_rten_and_says_why() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("libonnxruntime.so");
        std::fs::write(&path, b"not a library").expect("a file");
        let description = Runtime::automatic(&[path]).describe();
        assert_eq!(description.name, "rten");
        assert!(description.note.is_some_and(|note| note.contains("cannot be used")));
    }

    #[test]
    fn a_missing_library_is_an_error_with_a_hint() {
        let error =
            Runtime::open(&RuntimeChoice::OnnxRuntime("nowhere/libonnxruntime.so".into())).expect_err("missing");
        assert!(matches!(error, Error::LibraryMissing { .. }), "{error}");
        assert!(!error.hint().is_empty());
    }
}
