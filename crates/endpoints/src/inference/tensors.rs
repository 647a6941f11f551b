//! Models of servers that know nothing of photos: a tensor of numbers there, a tensor back. Triton, KServe, mlserver and others
//! speak this part of the Open Inference Protocol v2.
//!
//! Tensors go as binary data where the server says that it reads them (`binary_tensor_data` in its metadata), else as
//! numbers in the JSON, which is several times as long.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use skin_assist_core::{ports::VisionError, wire};
use skin_assist_transport::Transport;
use url::Url;

use super::{
    Error, not_answered,
    protocol::{self, FP32, HEADER_LENGTH, Tensor},
};

/// What an answer may have at most: the numbers of a detector at 640 pixels in JSON are 10 MB.
const MOST_ANSWER_BYTES: usize = 64 << 20;

/// Numbers with a shape, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbers {
    /// The size of each dimension.
    pub shape: Vec<usize>,
    /// The values; as many as the product of the shape.
    pub values: Vec<f32>,
}

/// A model of the server, by its name, and the names of its input and output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorModel {
    /// The model's name.
    pub name: String,
    /// Its input's.
    pub input: String,
    /// Its output's.
    pub output: String,
}

/// A server of tensors.
pub struct TensorServer {
    transport: Arc<dyn Transport>,
    base: Url,
    reads_binary: bool,
}

impl std::fmt::Debug for TensorServer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("TensorServer")
            .field("reads_binary", &self.reads_binary)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    extensions: Vec<String>,
}

impl TensorServer {
    /// Asks the server at `base` how it reads tensors.
    pub async fn connect(transport: Arc<dyn Transport>, base: Url) -> Result<Self, Error> {
        super::check_address(&base)?;
        let mut server = Self {
            transport,
            base,
            reads_binary: false,
        };
        let request = server
            .request(Method::GET, &["v2"], Bytes::new())
            .ok_or(Error::Address)?;
        let reply = server.transport.send(request, 1 << 20).await;
        let reply = reply.map_err(Error::Unreachable)?;
        let status = reply.status().as_u16();
        let metadata: Metadata = serde_json::from_slice(reply.body()).map_err(|_| Error::Answer {
            status,
            what: "its answer is not of the protocol",
        })?;
        server.reads_binary = metadata
            .extensions
            .iter()
            .any(|extension| ["binary_tensor_data", "binary_data"].contains(&extension.as_str()));
        Ok(server)
    }

    /// The model's answer to these numbers.
    pub async fn infer(&self, model: &TensorModel, numbers: &Numbers) -> Result<Numbers, VisionError> {
        let (body, length) = if self.reads_binary {
            let input = Tensor::floats(&model.input, &numbers.shape, &numbers.values);
            let (body, length) = protocol::write_request(&[input], &[&model.output]);
            (body, Some(length))
        } else {
            let input = json!({
                "name": model.input, "shape": numbers.shape, "datatype": FP32, "data": numbers.values,
            });
            let message = json!({ "inputs": [input], "outputs": [{ "name": model.output }] });
            (Bytes::from(message.to_string()), None)
        };
        let path = ["v2", "models", &model.name, "infer"];
        let request = self.request(Method::POST, &path, body);
        let mut request = request.ok_or(VisionError::EndpointMissing {
            what: "its name makes no address",
        })?;
        let content_type = match length {
            Some(length) => {
                request.headers_mut().insert(HEADER_LENGTH, length.into());
                "application/octet-stream"
            }
            None => "application/json",
        };
        let content_type = header::HeaderValue::from_static(content_type);
        request.headers_mut().insert(header::CONTENT_TYPE, content_type);
        let reply = self.transport.send(request, MOST_ANSWER_BYTES).await;
        read(&model.output, &reply.map_err(|error| not_answered(&error))?)
    }

    fn request(&self, method: Method, path: &[&str], body: Bytes) -> Option<Request<Bytes>> {
        super::request(&self.base, method, path, body)
    }
}

fn read(output: &str, reply: &Response<Bytes>) -> Result<Numbers, VisionError> {
    let text = |name: &str| reply.headers().get(name).and_then(|value| value.to_str().ok());
    if reply.status() != StatusCode::OK {
        let retry_after_s = text(header::RETRY_AFTER.as_str()).and_then(|text| text.trim().parse().ok());
        return Err(wire::understood(reply.status().as_u16(), reply.body(), retry_after_s));
    }
    let no_answer = |_| VisionError::Model {
        what: "its answer is not of the protocol",
    };
    let outputs = protocol::read_response(text(HEADER_LENGTH), reply.body()).map_err(no_answer)?;
    let found = outputs.into_iter().find(|found| found.name == output);
    let found = found.ok_or(VisionError::Model {
        what: "its answer lacks the output",
    })?;
    let values = found.to_floats().map_err(no_answer)?;
    Ok(Numbers {
        shape: found.shape,
        values,
    })
}
