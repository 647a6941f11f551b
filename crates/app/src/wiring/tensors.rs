//! Packs whose models run on a server of tensors: photos are decoded, reduced and judged here, the arithmetic is done there.

use std::sync::Arc;

use skin_assist_endpoints::inference::tensors::{Numbers, TensorModel, TensorServer};
use skin_assist_models::{
    PackVision,
    pack::{LoadedPack, ModelFile, ModelInput, Pack},
    runtime::{Error, Model, Session, Tensor},
};
use tokio::runtime::Handle;

use super::{packs, vision_options};
use crate::{
    config::Config,
    failure::{Failure, Hinted as _},
};

/// A model of the server. The threads that look at photos wait for it; its requests are made by the program's own runtime.
#[derive(Clone)]
struct RemoteModel {
    server: Arc<TensorServer>,
    model: TensorModel,
    handle: Handle,
}

impl RemoteModel {
    fn boxed(&self) -> Box<dyn Model> {
        Box::new(self.clone())
    }
}

impl Model for RemoteModel {
    fn session(&self) -> Result<Box<dyn Session>, Error> {
        Ok(Box::new(self.clone()))
    }
}

impl Session for RemoteModel {
    /// Servers of tensors are asked for one output: a pack whose model has several gets an answer of the wrong form.
    fn run_all(&mut self, input: &Tensor) -> Result<Vec<Tensor>, Error> {
        let numbers = Numbers {
            shape: input.shape.clone(),
            values: input.data.clone(),
        };
        let answer = self.handle.block_on(self.server.infer(&self.model, &numbers))?;
        Ok(vec![Tensor {
            shape: answer.shape,
            data: answer.values,
        }])
    }
}

/// The packs of the configuration with their models on `server`, each tried once.
pub(super) async fn vision(config: &Config, server: TensorServer) -> Result<PackVision, Failure> {
    let server = Arc::new(server);
    let mut loaded = Vec::new();
    for pack in packs(config)? {
        let manifest = pack.manifest();
        let detector = match &manifest.detector {
            Some(detector) => Some(model(&server, &pack, "detector", &detector.file, &detector.input, None).await?),
            None => None,
        };
        let classifier = &manifest.classifier;
        let classes = Some(classifier.labels.len());
        let classifier = model(
            &server,
            &pack,
            "classifier",
            &classifier.file,
            &classifier.input,
            classes,
        )
        .await?;
        let detector = detector.map(|detector| detector.boxed());
        loaded.push(LoadedPack::new(manifest.clone(), detector, classifier.boxed()));
    }
    PackVision::with_loaded(loaded, vision_options(config)).map_err(|error| {
        let hint = error.hint();
        Failure::new("the vision models cannot be put to work")
            .because(error)
            .with_hint(hint)
    })
}

/// A model of the server, tried: it answers with `[1, classes]`, or, as a detector, with three dimensions.
async fn model(
    server: &Arc<TensorServer>,
    pack: &Pack,
    task: &str,
    file: &ModelFile,
    input: &ModelInput,
    classes: Option<usize>,
) -> Result<RemoteModel, Failure> {
    let model = TensorModel {
        name: format!("{}-{task}", pack.manifest().id),
        input: input.name.clone(),
        output: file.output.clone(),
    };
    let (width, height) = (input.width as usize, input.height as usize);
    let trial = Numbers {
        shape: vec![1, 3, height, width],
        values: vec![0.0; 3 * width * height],
    };
    let name = &model.name;
    let answer = server.infer(&model, &trial).await;
    let answer = answer
        .failed(|| format!("the model {name} of models.tensor_url does not answer as it should"))
        .map_err(|failure| {
            failure.with_hint(format!(
                "the server has to have a model {name}, with the pack's ONNX file"
            ))
        })?;
    let fits = match classes {
        Some(classes) => answer.shape == [1, classes],
        None => matches!(*answer.shape, [1, rows, boxes] if rows > 4 && boxes > 0),
    };
    if !fits {
        return Err(Failure::new(format!(
            "the model {name} of models.tensor_url answers with another shape than the pack's manifest means"
        ))
        .with_hint("give the server the ONNX file of this very pack"));
    }
    Ok(RemoteModel {
        server: Arc::clone(server),
        model,
        handle: Handle::current(),
    })
}
