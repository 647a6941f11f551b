//! An ONNX file in two parts: the graph, and the weights in a file beside it.
//!
//! ONNX Runtime reads a file's weights into memory, copies them for its own use and rearranges them once more; what lies
//! beside the graph ("external data" of the format) it maps into memory and lets go again. The two files are private
//! copies in a folder that nobody else can open: a file of somebody's that is overwritten while it is mapped brings a
//! process down.

use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    path::PathBuf,
};

use tempfile::TempDir;

use super::structure::{Field, next_field};

/// Smaller models stay as they are.
const WORTH_BYTES: usize = 4 << 20;
/// Smaller tensors stay in the graph: a shape or an axis has to be known while it is read.
const TENSOR_BYTES: usize = 4 << 10;
/// Tensors begin at multiples of this: of cache lines, and of every type's size.
const ALIGNMENT: u64 = 64;

const GRAPH_FILE: &str = "graph.onnx";
const WEIGHTS_FILE: &str = "weights";

/// Field numbers of `onnx.proto`.
const MODEL_GRAPH: u64 = 7;
const GRAPH_INITIALIZER: u64 = 5;
const TENSOR_RAW_DATA: u64 = 9;
const TENSOR_EXTERNAL_DATA: u64 = 13;
const TENSOR_DATA_LOCATION: u64 = 14;

/// The two files; gone when dropped.
pub(super) struct Split(TempDir);

impl Split {
    /// The file to open a session from.
    pub(super) fn graph(&self) -> PathBuf {
        self.0.path().join(GRAPH_FILE)
    }
}

/// Splits a model whose structure was checked; none when it is too small to be worth it.
pub(super) fn split(onnx: &[u8]) -> io::Result<Option<Split>> {
    if onnx.len() < WORTH_BYTES {
        return Ok(None);
    }
    let mut private = tempfile::Builder::new();
    private.prefix("skin-assist-model-");
    // A folder is made as open as the process's mask allows, unless it is told not to.
    #[cfg(unix)]
    private.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    let folder = private.tempdir()?;
    let mut weights = Weights {
        file: BufWriter::new(File::create_new(folder.path().join(WEIGHTS_FILE))?),
        length: 0,
    };
    let graph = weights.model(onnx)?;
    weights.file.flush()?;
    std::fs::write(folder.path().join(GRAPH_FILE), graph)?;
    Ok(Some(Split(folder)))
}

/// The file of weights while it is written.
struct Weights {
    file: BufWriter<File>,
    length: u64,
}

impl Weights {
    /// The model without its weights.
    fn model(&mut self, model: &[u8]) -> io::Result<Vec<u8>> {
        self.rewritten(model, MODEL_GRAPH, |weights, graph| {
            weights.rewritten(graph, GRAPH_INITIALIZER, Self::tensor)
        })
    }

    /// A message in which each field of one number is replaced.
    fn rewritten(
        &mut self,
        mut message: &[u8],
        number: u64,
        replace: impl Fn(&mut Self, &[u8]) -> io::Result<Vec<u8>>,
    ) -> io::Result<Vec<u8>> {
        let mut result = Vec::new();
        while !message.is_empty() {
            let field = take(&mut message)?;
            if field.number == number && field.is_sized {
                put(&mut result, number, &replace(self, field.content)?);
            } else {
                result.extend_from_slice(field.whole);
            }
        }
        Ok(result)
    }

    /// A tensor that says where its bytes are; as it was when it is small or its bytes are elsewhere already.
    fn tensor(&mut self, tensor: &[u8]) -> io::Result<Vec<u8>> {
        let mut rest = tensor;
        let (mut kept, mut data) = (Vec::new(), Vec::new());
        while !rest.is_empty() {
            let field = take(&mut rest)?;
            match field.number {
                TENSOR_RAW_DATA => data.push(field.content),
                TENSOR_EXTERNAL_DATA | TENSOR_DATA_LOCATION => return Ok(tensor.to_vec()),
                _ => kept.extend_from_slice(field.whole),
            }
        }
        let [data] = *data else {
            return Ok(tensor.to_vec());
        };
        if data.len() < TENSOR_BYTES {
            return Ok(tensor.to_vec());
        }
        let padding = self.length.next_multiple_of(ALIGNMENT) - self.length;
        self.file.write_all(&[0; ALIGNMENT as usize][..padding as usize])?;
        self.file.write_all(data)?;
        let offset = self.length + padding;
        self.length = offset + data.len() as u64;
        for (key, value) in [
            ("location", WEIGHTS_FILE.to_owned()),
            ("offset", offset.to_string()),
            ("length", data.len().to_string()),
        ] {
            let mut entry = Vec::new();
            put(&mut entry, 1, key.as_bytes());
            put(&mut entry, 2, value.as_bytes());
            put(&mut kept, TENSOR_EXTERNAL_DATA, &entry);
        }
        // EXTERNAL.
        kept.extend_from_slice(&[(TENSOR_DATA_LOCATION << 3) as u8, 1]);
        Ok(kept)
    }
}

fn take<'a>(rest: &mut &'a [u8]) -> io::Result<Field<'a>> {
    next_field(rest).map_err(|problem| io::Error::new(io::ErrorKind::InvalidData, problem))
}

/// Adds a field that has a length.
fn put(message: &mut Vec<u8>, number: u64, content: &[u8]) {
    for mut value in [number << 3 | 2, content.len() as u64] {
        while value >= 0x80 {
            message.push(value as u8 | 0x80);
            value >>= 7;
        }
        message.push(value as u8);
    }
    message.extend_from_slice(content);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model with a graph with two tensors, of the given bytes.
    fn model(large: &[u8], small: &[u8]) -> Vec<u8> {
        let mut graph = Vec::new();
        for (name, bytes) in [("large", large), ("small", small)] {
            let mut tensor = Vec::new();
            put(&mut tensor, 8, name.as_bytes());
            put(&mut tensor, TENSOR_RAW_DATA, bytes);
            put(&mut graph, GRAPH_INITIALIZER, &tensor);
        }
        put(&mut graph, 2, b"graph");
        let mut model = vec![0x08, 0x08];
        put(&mut model, MODEL_GRAPH, &graph);
        model
    }

    #[test]
    fn large_weights_go_into_the_file_beside_the_graph() {
        let large: Vec<u8> = (0..WORTH_BYTES).map(|index| (index % 251) as u8).collect();
        let split = split(&model(&large, &[7; 100])).expect("files").expect("worth it");
        let folder = split.graph().parent().expect("a folder").to_owned();
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(&folder.metadata().expect("a folder").permissions());
            assert_eq!(mode & 0o777, 0o700, "nobody else can open it");
        }
        assert!(std::fs::read(folder.join(WEIGHTS_FILE)).expect("weights") == large);
        let graph = std::fs::read(split.graph()).expect("a graph");
        assert!(graph.len() < 300, "{}", graph.len());
        for part in [&[7; 100][..], b"large", b"small", b"location", b"4194304"] {
            assert!(graph.windows(part.len()).any(|window| window == part), "{part:?}");
        }
        drop(split);
        assert!(!folder.exists());
    }

    #[test]
    fn small_models_stay_as_they_are() {
        assert!(split(&model(&[1; 5000], &[2; 10])).expect("nothing to do").is_none());
    }
}
