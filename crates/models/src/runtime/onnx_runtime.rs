//! ONNX Runtime, from its shared library.
//!
//! The library and its environment belong to the process and stay until it ends: both are opened once. Nothing of `ort`
//! may be called before the library is open, since `ort` would panic.
//!
//! Memory: a model of some megabytes is split into a private folder of temporary files ([`super::weights`]), from which
//! sessions are opened, so that neither the file's bytes nor a second copy of the weights stay in memory. Memory patterns
//! are off: with them a session holds the memory of its first run and that of the planned ones. Both were measured
//! (`docs/benchmarks/vision.md`).

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use ort::{
    environment::Environment,
    logging::LogLevel,
    session::{Session as OrtSession, builder::GraphOptimizationLevel},
    value::TensorRef,
};

use super::{
    Error, Model, Session, Tensor, panic_text,
    weights::{self, Split},
};

pub(super) const NAME: &str = "onnxruntime";

/// The library in use by this process.
static IN_USE: Mutex<Option<Library>> = Mutex::new(None);

/// An open library.
#[derive(Clone)]
pub(super) struct Library {
    environment: Environment,
    path: PathBuf,
}

impl Library {
    /// Opens the library at `path`, or finds it open.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let path = path
            .canonicalize()
            .map_err(|_| Error::LibraryMissing { path: path.to_owned() })?;
        if !path.is_file() {
            return Err(Error::LibraryMissing { path });
        }
        let mut in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = &*in_use {
            return if library.path == path {
                Ok(library.clone())
            } else {
                Err(Error::LibraryInUse {
                    loaded: library.path.clone(),
                    wanted: path,
                })
            };
        }
        let environment = catch_unwind(AssertUnwindSafe(|| {
            let builder = ort::init_from(&path).map_err(|error| error.to_string())?;
            let environment = builder
                .with_name("skin-assist")
                .with_telemetry(false)
                .with_logger(Arc::new(log))
                .build()
                .map_err(|error| error.to_string())?;
            environment.set_log_level(LogLevel::Warning);
            Ok(environment)
        }))
        .unwrap_or_else(|panic| Err(panic_text(&*panic)))
        .map_err(|problem| Error::LibraryUnfit {
            path: path.clone(),
            problem,
        })?;
        Ok(in_use.insert(Self { environment, path }).clone())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The version, where it shows: in the branch that the library was built from (`rel-1.24.0`) or in the file's name
    /// (`libonnxruntime.so.1.24.0`); else the commit. The library's own function for it cannot be reached from here.
    pub(super) fn version(&self) -> String {
        let information = ort::info();
        let part = |key: &str| {
            information
                .split_once(key)
                .and_then(|(_, rest)| rest.split([',', ' ']).next())
        };
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        part("git-branch=rel-")
            .or_else(|| name.split_once(".so.").map(|(_, version)| version))
            .map(str::to_owned)
            .or_else(|| part("git-commit-id=").map(|commit| format!("1.24 or newer, commit {commit}")))
            .unwrap_or_else(|| "1.24 or newer".to_owned())
    }

    pub(super) fn load(&self, onnx: Bytes, input: &str, outputs: &[&str]) -> Result<Box<dyn Model>, Error> {
        let model = Shared {
            environment: self.environment.clone(),
            source: Source::new(onnx),
            input: input.to_owned(),
            outputs: outputs.iter().map(|output| (*output).to_owned()).collect(),
            spare: Mutex::new(None),
        };
        let session = model.open()?;
        if session.inputs().len() != 1 {
            return Err(Error::Inputs {
                count: session.inputs().len(),
            });
        }
        check_name(
            "input",
            &model.input,
            session.inputs().iter().map(ort::value::Outlet::name),
        )?;
        for output in &model.outputs {
            check_name("output", output, session.outputs().iter().map(ort::value::Outlet::name))?;
        }
        model.keep(session);
        Ok(Box::new(OrtModel(Arc::new(model))))
    }
}

fn check_name<'a>(kind: &'static str, name: &str, found: impl Iterator<Item = &'a str>) -> Result<(), Error> {
    let found: Vec<&str> = found.collect();
    if found.contains(&name) {
        return Ok(());
    }
    Err(Error::Name {
        kind,
        name: name.to_owned(),
        found: found.join(", "),
    })
}

/// What ONNX Runtime has to say goes where everything else goes.
fn log(level: LogLevel, category: &str, _id: &str, _location: &str, message: &str) {
    match level {
        LogLevel::Fatal | LogLevel::Error => tracing::error!(category, "onnxruntime: {message}"),
        LogLevel::Warning => tracing::warn!(category, "onnxruntime: {message}"),
        LogLevel::Info | LogLevel::Verbose => tracing::trace!(category, "onnxruntime: {message}"),
    }
}

struct OrtModel(Arc<Shared>);

/// Where sessions are opened from.
enum Source {
    /// The bytes of an ONNX file.
    Memory(Bytes),
    /// Temporary files, which go with the value.
    Files(Split),
}

impl Source {
    /// Files where that saves memory and can be done; else the bytes.
    fn new(onnx: Bytes) -> Self {
        match weights::split(&onnx) {
            Ok(Some(split)) => Self::Files(split),
            Ok(None) => Self::Memory(onnx),
            Err(error) => {
                tracing::warn!(%error, "no temporary files for a model's weights; they stay in memory twice");
                Self::Memory(onnx)
            }
        }
    }
}

/// What the sessions of a model have in common.
struct Shared {
    environment: Environment,
    source: Source,
    input: String,
    outputs: Vec<String>,
    /// A session that nobody uses: opening one takes time, and memory several times that of the model.
    spare: Mutex<Option<OrtSession>>,
}

struct OneSession {
    /// Until it is given back.
    session: Option<OrtSession>,
    shared: Arc<Shared>,
}

impl Shared {
    fn keep(&self, session: OrtSession) {
        *self.spare.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
    }

    fn open(&self) -> Result<OrtSession, Error> {
        let open = || -> ort::Result<OrtSession> {
            let mut builder = OrtSession::builder(&self.environment)?
                .with_optimization_level(GraphOptimizationLevel::All)?
                .with_memory_pattern(false)?
                .with_intra_threads(1)?
                .with_inter_threads(1)?;
            match &self.source {
                Source::Memory(onnx) => builder.commit_from_memory(onnx),
                Source::Files(split) => builder.commit_from_file(split.graph()),
            }
        };
        let failed = |problem: String| Error::Load { runtime: NAME, problem };
        catch_unwind(AssertUnwindSafe(open))
            .map_err(|panic| failed(panic_text(&*panic)))?
            .map_err(|error| failed(error.to_string()))
    }
}

impl Model for OrtModel {
    fn session(&self) -> Result<Box<dyn Session>, Error> {
        let spare = self.0.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(Box::new(OneSession {
            session: Some(spare.map_or_else(|| self.0.open(), Ok)?),
            shared: Arc::clone(&self.0),
        }))
    }
}

impl Drop for OneSession {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.shared.keep(session);
        }
    }
}

impl OneSession {
    fn execute(&mut self, input: &Tensor) -> ort::Result<Vec<Tensor>> {
        let tensor = TensorRef::from_array_view((input.shape.clone(), &*input.data))?;
        let Self { session, shared } = self;
        let session = session
            .as_mut()
            .ok_or_else(|| ort::Error::new("the session was given back"))?;
        let computed = session.run(ort::inputs![shared.input.as_str() => tensor])?;
        let tensor = |name: &String| {
            let output = computed
                .get(name)
                .ok_or_else(|| ort::Error::new("an output is missing"))?;
            let (shape, data) = output.try_extract_tensor::<f32>()?;
            // A dimension of a computed tensor is never negative.
            let shape = shape.iter().map(|size| usize::try_from(*size).unwrap_or(0)).collect();
            Ok(Tensor {
                shape,
                data: data.to_vec(),
            })
        };
        shared.outputs.iter().map(tensor).collect()
    }
}

impl Session for OneSession {
    fn run_all(&mut self, input: &Tensor) -> Result<Vec<Tensor>, Error> {
        let failed = |problem: String| Error::Run { runtime: NAME, problem };
        catch_unwind(AssertUnwindSafe(|| self.execute(input)))
            .map_err(|panic| failed(panic_text(&*panic)))?
            .map_err(|error| failed(error.to_string()))
    }
}
