//! rten: pure Rust, built in.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use rten::{NodeId, RunOptions, ThreadPool, ValueView};
use rten_tensor::Layout;

use super::{Error, Model, Session, Tensor, panic_text};

/// The version in the workspace's manifest.
pub(super) const VERSION: &str = "0.27";
pub(super) const NAME: &str = "rten";

struct RtenModel {
    model: Arc<rten::Model>,
    input: NodeId,
    outputs: Vec<NodeId>,
}

struct RtenSession {
    model: Arc<rten::Model>,
    input: NodeId,
    outputs: Vec<NodeId>,
    pool: Arc<ThreadPool>,
}

pub(super) fn load(onnx: &[u8], input: &str, outputs: &[&str]) -> Result<Box<dyn Model>, Error> {
    let failed = |problem: String| Error::Load { runtime: NAME, problem };
    let model = catch_unwind(AssertUnwindSafe(|| {
        let mut options = rten::ModelOptions::with_all_ops();
        options.prepack_weights(true);
        options.load(onnx.to_vec())
    }))
    .map_err(|panic| failed(panic_text(&*panic)))?
    .map_err(|error| failed(error.to_string()))?;
    if model.input_ids().len() != 1 {
        return Err(Error::Inputs {
            count: model.input_ids().len(),
        });
    }
    let input = find(&model, "input", input, model.input_ids())?;
    let outputs = outputs
        .iter()
        .map(|output| find(&model, "output", output, model.output_ids()));
    let outputs = outputs.collect::<Result<_, _>>()?;
    Ok(Box::new(RtenModel {
        model: Arc::new(model),
        input,
        outputs,
    }))
}

/// The node of that name among the given.
fn find(model: &rten::Model, kind: &'static str, name: &str, nodes: &[NodeId]) -> Result<NodeId, Error> {
    let name_of = |node: &NodeId| model.node_info(*node).and_then(|info| info.name().map(str::to_owned));
    nodes
        .iter()
        .copied()
        .find(|node| name_of(node).as_deref() == Some(name))
        .ok_or_else(|| Error::Name {
            kind,
            name: name.to_owned(),
            found: nodes.iter().filter_map(name_of).collect::<Vec<_>>().join(", "),
        })
}

impl Model for RtenModel {
    fn session(&self) -> Result<Box<dyn Session>, Error> {
        Ok(Box::new(RtenSession {
            model: Arc::clone(&self.model),
            input: self.input,
            outputs: self.outputs.clone(),
            pool: Arc::new(ThreadPool::with_num_threads(1)),
        }))
    }
}

impl Session for RtenSession {
    fn run_all(&mut self, input: &Tensor) -> Result<Vec<Tensor>, Error> {
        let failed = |problem: String| Error::Run { runtime: NAME, problem };
        let view = ValueView::from_shape(&input.shape, &input.data).map_err(|error| failed(error.to_string()))?;
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(&self.pool)));
        let outputs = catch_unwind(AssertUnwindSafe(|| {
            self.model
                .run(vec![(self.input, view.into())], &self.outputs, Some(options))
        }))
        .map_err(|panic| failed(panic_text(&*panic)))?
        .map_err(|error| failed(error.to_string()))?;
        let tensor = |output: rten::Value| {
            let output = output
                .into_tensor::<f32>()
                .ok_or_else(|| failed("an output is not a tensor of 32-bit floating-point numbers".to_owned()))?;
            Ok(Tensor {
                shape: output.shape().to_vec(),
                data: output.into_data(),
            })
        };
        outputs.into_iter().map(tensor).collect()
    }
}
