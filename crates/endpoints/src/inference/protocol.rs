//! Messages of the Open Inference Protocol v2 with its binary tensor extension, read and written.
//!
//! A message is a JSON object, and behind it the data of those tensors that have `binary_data_size`, in the order of the
//! object; `Inference-Header-Content-Length` says where the object ends. Numbers are little-endian and row-major; each
//! element of a `BYTES` tensor has its length in front, in four bytes
//! (<https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol/binary-tensor-data-extension>).
//! Tensors are held in that layout however they came; in JSON the data of a `BYTES` tensor are texts.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::{BufMut as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The header that says how long the JSON object is, where something follows it.
pub const HEADER_LENGTH: &str = "inference-header-content-length";

/// Elements of variable length, such as files and texts.
pub const BYTES: &str = "BYTES";
/// Numbers of four bytes.
pub const FP32: &str = "FP32";

/// The content of the `BYTES` elements of a message in JSON, for servers that read it (mlserver, KServe).
const BASE64: &str = "base64";

/// A tensor of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its type: [`BYTES`], [`FP32`] or another.
    pub datatype: String,
    /// The size of each dimension.
    pub shape: Vec<usize>,
    /// Its data in the layout of the binary extension.
    pub data: Bytes,
}

/// What else a message says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envelope {
    /// The caller's name for the request.
    pub id: Option<String>,
    /// For requests: the outputs that are wanted, and whether each as binary data; empty for all.
    pub wanted: Vec<(String, Option<bool>)>,
    /// For requests: whether outputs are wanted as binary data that say nothing themselves.
    pub binary_output: bool,
}

/// A message that is none, in words that can be sent back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

impl Tensor {
    /// One file or text.
    pub fn single(name: &str, content: &[u8]) -> Self {
        let mut data = BytesMut::with_capacity(4 + content.len());
        put_element(&mut data, content);
        Self {
            name: name.to_owned(),
            datatype: BYTES.to_owned(),
            shape: vec![1],
            data: data.freeze(),
        }
    }

    /// Numbers; as many as the product of `shape`.
    pub fn floats(name: &str, shape: &[usize], values: &[f32]) -> Self {
        let mut data = BytesMut::with_capacity(4 * values.len());
        for value in values {
            data.put_f32_le(*value);
        }
        Self {
            name: name.to_owned(),
            datatype: FP32.to_owned(),
            shape: shape.to_vec(),
            data: data.freeze(),
        }
    }

    /// The content of a `BYTES` tensor of one element.
    pub fn to_single(&self) -> Result<Bytes, Malformed> {
        if self.datatype != BYTES || !self.shape.iter().all(|size| *size == 1) {
            return Err(Malformed("the tensor is not one element of the type BYTES"));
        }
        let length = self.data.first_chunk::<4>().map(|length| u32::from_le_bytes(*length));
        match length {
            Some(length) if self.data.len() - 4 == length as usize => Ok(self.data.slice(4..)),
            _ => Err(Malformed("the length in front of the element is not the element's")),
        }
    }

    /// The numbers of an `FP32` tensor.
    pub fn to_floats(&self) -> Result<Vec<f32>, Malformed> {
        let elements = self
            .shape
            .iter()
            .try_fold(1_usize, |product, size| product.checked_mul(*size));
        let (values, rest) = self.data.as_chunks::<4>();
        if self.datatype != FP32 || elements != Some(values.len()) || !rest.is_empty() {
            return Err(Malformed(
                "the tensor is not of the type FP32, or has not as many numbers as its shape",
            ));
        }
        Ok(values.iter().map(|value| f32::from_le_bytes(*value)).collect())
    }
}

fn put_element(data: &mut BytesMut, content: &[u8]) {
    // The extension has no room for more than 4 GiB, and neither has any limit of ours.
    data.put_u32_le(u32::try_from(content.len()).unwrap_or(u32::MAX));
    data.put_slice(content);
}

#[derive(Debug, Deserialize)]
struct WireTensor {
    name: String,
    #[serde(default)]
    datatype: String,
    #[serde(default)]
    shape: Vec<usize>,
    #[serde(default)]
    parameters: Map<String, Value>,
    #[serde(default)]
    data: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct WireMessage {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    parameters: Map<String, Value>,
    #[serde(default)]
    inputs: Vec<WireTensor>,
    #[serde(default)]
    outputs: Vec<WireTensor>,
}

/// Reads a request: its inputs, and what it wants.
pub fn read_request(header_length: Option<&str>, body: &Bytes) -> Result<(Envelope, Vec<Tensor>), Malformed> {
    let (message, binary) = split(header_length, body)?;
    let wanted = message.outputs.into_iter().map(|output| {
        let binary = output.parameters.get("binary_data").and_then(Value::as_bool);
        (output.name, binary)
    });
    let envelope = Envelope {
        id: message.id,
        wanted: wanted.collect(),
        binary_output: message.parameters.get("binary_data_output").and_then(Value::as_bool) == Some(true),
    };
    Ok((envelope, tensors(message.inputs, binary)?))
}

/// Reads a response: its outputs.
pub fn read_response(header_length: Option<&str>, body: &Bytes) -> Result<Vec<Tensor>, Malformed> {
    let (message, binary) = split(header_length, body)?;
    tensors(message.outputs, binary)
}

fn split(header_length: Option<&str>, body: &Bytes) -> Result<(WireMessage, Bytes), Malformed> {
    let length = match header_length {
        None => body.len(),
        Some(text) => text
            .trim()
            .parse()
            .ok()
            .filter(|length| *length <= body.len())
            .ok_or(Malformed(
                "Inference-Header-Content-Length is not the length of a part of the body",
            ))?,
    };
    // The decoder's own words would quote the message.
    let message = serde_json::from_slice(&body[..length])
        .map_err(|_| Malformed("the body does not begin with a JSON object of the protocol"))?;
    Ok((message, body.slice(length..)))
}

fn tensors(described: Vec<WireTensor>, mut binary: Bytes) -> Result<Vec<Tensor>, Malformed> {
    let mut tensors = Vec::with_capacity(described.len());
    for tensor in described {
        let data = match (tensor.parameters.get("binary_data_size"), &tensor.data) {
            (Some(size), None) => {
                let size = size.as_u64().and_then(|size| usize::try_from(size).ok());
                let size = size.filter(|size| *size <= binary.len()).ok_or(Malformed(
                    "binary_data_size is more than there is behind the JSON object",
                ))?;
                binary.split_to(size)
            }
            (None, Some(values)) => {
                let is_base64 = tensor.parameters.get("content_type").and_then(Value::as_str) == Some(BASE64);
                from_json(&tensor.datatype, values, is_base64)?
            }
            _ => return Err(Malformed("a tensor has neither data nor binary_data_size, or both")),
        };
        tensors.push(Tensor {
            name: tensor.name,
            datatype: tensor.datatype,
            shape: tensor.shape,
            data,
        });
    }
    if binary.is_empty() {
        Ok(tensors)
    } else {
        Err(Malformed("there is more behind the JSON object than its tensors have"))
    }
}

/// Flat or nested lists, as the protocol allows.
fn from_json(datatype: &str, values: &Value, is_base64: bool) -> Result<Bytes, Malformed> {
    let mut data = BytesMut::new();
    put_json(&mut data, datatype, values, is_base64)?;
    Ok(data.freeze())
}

fn put_json(data: &mut BytesMut, datatype: &str, value: &Value, is_base64: bool) -> Result<(), Malformed> {
    match (value, datatype) {
        (Value::Array(values), _) => values
            .iter()
            .try_for_each(|value| put_json(data, datatype, value, is_base64)),
        (Value::String(text), BYTES) if is_base64 => {
            let content = BASE64_STANDARD.decode(text);
            put_element(data, &content.map_err(|_| Malformed("a tensor's data are not base64"))?);
            Ok(())
        }
        (Value::String(text), BYTES) => {
            put_element(data, text.as_bytes());
            Ok(())
        }
        (Value::Number(number), FP32) => {
            data.put_f32_le(number.as_f64().unwrap_or(f64::NAN) as f32);
            Ok(())
        }
        _ => Err(Malformed(
            "a tensor's data are not of its type, or of one that is not understood in JSON",
        )),
    }
}

#[derive(Debug, Serialize)]
struct Described<'a> {
    name: &'a str,
    datatype: &'a str,
    shape: &'a [usize],
    parameters: Value,
}

/// A request with its inputs as binary data, which wants the outputs of these names as binary data; and the length of its
/// JSON object.
pub fn write_request(inputs: &[Tensor], wanted: &[&str]) -> (Bytes, usize) {
    let outputs: Vec<Value> = wanted
        .iter()
        .map(|name| json!({ "name": name, "parameters": { "binary_data": true } }))
        .collect();
    let mut message = Map::new();
    message.insert("inputs".to_owned(), described(inputs));
    message.insert("outputs".to_owned(), outputs.into());
    with_data(message, inputs)
}

/// A response with one output that is a text: as binary data, and then the JSON object's length; or within the JSON.
/// `message` has the model's name and version.
pub fn write_text_response(
    mut message: Map<String, Value>,
    output: &str,
    text: &str,
    binary: bool,
) -> (Bytes, Option<usize>) {
    if binary {
        let tensor = [Tensor::single(output, text.as_bytes())];
        message.insert("outputs".to_owned(), described(&tensor));
        let (body, length) = with_data(message, &tensor);
        return (body, Some(length));
    }
    let tensor = json!([{ "name": output, "datatype": BYTES, "shape": [1], "data": [text] }]);
    message.insert("outputs".to_owned(), tensor);
    (Value::Object(message).to_string().into(), None)
}

fn described(tensors: &[Tensor]) -> Value {
    let described = tensors.iter().map(|tensor| {
        json!(Described {
            name: &tensor.name,
            datatype: &tensor.datatype,
            shape: &tensor.shape,
            parameters: json!({ "binary_data_size": tensor.data.len() }),
        })
    });
    described.collect()
}

fn with_data(message: Map<String, Value>, tensors: &[Tensor]) -> (Bytes, usize) {
    let header = Value::Object(message).to_string();
    let length: usize = tensors.iter().map(|tensor| tensor.data.len()).sum();
    let mut body = BytesMut::with_capacity(header.len() + length);
    body.put_slice(header.as_bytes());
    for tensor in tensors {
        body.put_slice(&tensor.data);
    }
    (body.freeze(), header.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let inputs = [
            Tensor::single("photo", b"\xff\xd8\x00"),
            Tensor::floats("numbers", &[1, 2], &[1.5, -2.0]),
        ];
        let (body, length) = write_request(&inputs, &["findings"]);
        let (envelope, read) = read_request(Some(&length.to_string()), &body).unwrap();
        assert_eq!(read, inputs);
        assert_eq!(envelope.wanted, [("findings".to_owned(), Some(true))]);
        assert_eq!(read[0].to_single().unwrap(), &b"\xff\xd8\x00"[..]);
        assert_eq!(read[1].to_floats().unwrap(), [1.5, -2.0]);
        assert!(read[0].to_floats().is_err() && read[1].to_single().is_err());
    }

    /// The example of the specification, byte for byte: a BYTES tensor of two elements would be `01000000 61 ...`.
    #[test]
    fn the_layout_is_that_of_the_specification() {
        let (body, length) = write_request(&[Tensor::single("a", b"xy")], &[]);
        assert_eq!(&body[length..], [2, 0, 0, 0, b'x', b'y']);
        let (body, length) = write_request(&[Tensor::floats("a", &[1], &[1.0])], &[]);
        assert_eq!(&body[length..], [0, 0, 0x80, 0x3f]);
    }

    #[test]
    fn data_in_json_are_the_same_as_binary_data() {
        let read = |json: &str| read_request(None, &Bytes::from(json.to_owned())).map(|(_, tensors)| tensors);
        let text = r#"{"inputs": [{"name": "a", "shape": [1], "datatype": "BYTES", "data": ["xy"]}]}"#;
        assert_eq!(read(text).unwrap(), [Tensor::single("a", b"xy")]);
        let base64 = r#"{"inputs": [{"name": "a", "shape": [1], "datatype": "BYTES", "data": ["/9g="],
            "parameters": {"content_type": "base64"}}]}"#;
        assert_eq!(read(base64).unwrap(), [Tensor::single("a", b"\xff\xd8")]);
        let nested = r#"{"inputs": [{"name": "a", "shape": [2, 1], "datatype": "FP32", "data": [[1], [2.5]]}]}"#;
        assert_eq!(read(nested).unwrap(), [Tensor::floats("a", &[2, 1], &[1.0, 2.5])]);
    }

    #[test]
    fn a_response_is_read_in_both_forms() {
        for binary in [false, true] {
            let (body, length) = write_text_response(Map::new(), "findings", "{\"a\": 1}", binary);
            assert_eq!(length.is_some(), binary);
            let length = length.map(|length| length.to_string());
            let read = read_response(length.as_deref(), &body).unwrap();
            assert_eq!(read[0].to_single().unwrap(), &b"{\"a\": 1}"[..]);
        }
    }

    #[test]
    fn what_is_no_message_is_refused_in_our_own_words() {
        let tensor =
            |rest: &str| format!(r#"{{"inputs": [{{"name": "Doe", "shape": [1], "datatype": "BYTES"{rest}}}]}}"#);
        let cases = [
            (None, "Doe".to_owned(), "does not begin"),
            (Some("9999"), tensor(""), "not the length"),
            (Some("-1"), tensor(""), "not the length"),
            (None, tensor(""), "neither"),
            (None, tensor(r#", "data": [1]"#), "not of its type"),
            (
                None,
                tensor(r#", "data": [], "parameters": {"binary_data_size": 0}"#),
                "or both",
            ),
            (
                None,
                tensor(r#", "parameters": {"binary_data_size": 5}"#),
                "more than there is",
            ),
            (
                None,
                tensor(r#", "parameters": {"binary_data_size": -5}"#),
                "more than there is",
            ),
            (
                None,
                tensor(r#", "data": ["%"], "parameters": {"content_type": "base64"}"#),
                "not base64",
            ),
        ];
        for (length, body, problem) in cases {
            let error = read_request(length, &Bytes::from(body.clone())).unwrap_err();
            assert!(error.0.contains(problem), "{body}: {error}");
            assert!(!error.0.contains("Doe"));
        }
        let more = tensor(r#", "data": ["x"]"#);
        let length = more.len().to_string();
        let error = read_request(Some(&length), &Bytes::from(more + "rest")).unwrap_err();
        assert!(error.0.contains("there is more"));
        for data in [&[][..], &[9, 0, 0, 0, 1], &[255, 255, 255, 255]] {
            let tensor = Tensor {
                data: Bytes::copy_from_slice(data),
                ..Tensor::single("a", b"")
            };
            assert!(tensor.to_single().is_err());
        }
        let many = Tensor {
            shape: vec![usize::MAX, 2],
            ..Tensor::floats("a", &[1], &[1.0])
        };
        assert!(many.to_floats().is_err());
    }
}
