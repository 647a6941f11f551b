//! Whether bytes can be an ONNX model at all, before a runtime sees them.
//!
//! A parser that believes a length field may seek backwards for ever or allocate what nobody has: rten's (0.27) does
//! both. So the protobuf structure is walked first, along the messages of `onnx.proto` that a runtime reads: every
//! length must fit in what contains it. The walk allocates nothing and takes time in proportion to the number of
//! fields.

/// Messages of `onnx.proto` (field numbers from onnx/onnx on GitHub, IR version 10).
#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    SparseTensor,
    ValueInfo,
    Type,
    TypeTensor,
    TypeSequence,
    Shape,
    Function,
    /// A message of numbers and strings only.
    Leaf,
}

impl Message {
    /// The message in a field; none for strings, bytes and packed numbers.
    const fn field(self, number: u64) -> Option<Self> {
        Some(match (self, number) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Model, 25) => Self::Function,
            (Self::Model, 8 | 14)
            | (Self::Graph, 14 | 16)
            | (Self::Node | Self::ValueInfo, 9)
            | (Self::Tensor, 13)
            | (Self::Shape, 1)
            | (Self::Function, 9 | 14) => Self::Leaf,
            (Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::SparseTensor, 1 | 2) => Self::Tensor,
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Self::SparseTensor,
            (Self::Graph, 11..=13) | (Self::Function, 12) => Self::ValueInfo,
            (Self::Node, 5) | (Self::Function, 11) => Self::Attribute,
            (Self::ValueInfo, 2) | (Self::Attribute, 14 | 15) | (Self::TypeSequence, 1) => Self::Type,
            (Self::Type, 1 | 8) => Self::TypeTensor,
            (Self::Type, 4 | 9) => Self::TypeSequence,
            (Self::TypeTensor, 2) => Self::Shape,
            _ => return None,
        })
    }
}

/// Graphs in attributes of nodes of graphs: more than this is no network.
const MAX_DEPTH: u32 = 40;

/// Checks that `bytes` are a whole protobuf message with a graph.
pub(super) fn check(bytes: &[u8]) -> Result<(), &'static str> {
    let mut has_graph = false;
    walk(bytes, Message::Model, 0, &mut has_graph)?;
    if has_graph {
        Ok(())
    } else {
        Err("it is not an ONNX model: it has no graph")
    }
}

const DAMAGED: &str = "it is not a whole ONNX model: its structure is damaged";

fn walk(mut rest: &[u8], message: Message, depth: u32, has_graph: &mut bool) -> Result<(), &'static str> {
    if depth > MAX_DEPTH {
        return Err(DAMAGED);
    }
    while !rest.is_empty() {
        let field = next_field(&mut rest)?;
        if field.is_sized
            && let Some(inner) = message.field(field.number)
        {
            *has_graph |= matches!((message, inner), (Message::Model, Message::Graph));
            walk(field.content, inner, depth + 1, has_graph)?;
        }
    }
    Ok(())
}

/// A field of a protobuf message.
pub(super) struct Field<'a> {
    pub(super) number: u64,
    /// It has a length: a message, a text, bytes or packed numbers.
    pub(super) is_sized: bool,
    /// Without tag and length; of a number in base 128 its bytes.
    pub(super) content: &'a [u8],
    /// With tag and length.
    pub(super) whole: &'a [u8],
}

/// Takes the next field off `rest`.
pub(super) fn next_field<'a>(rest: &mut &'a [u8]) -> Result<Field<'a>, &'static str> {
    let begin = *rest;
    let tag = varint(rest)?;
    let (number, wire_type) = (tag >> 3, tag & 7);
    let content = if wire_type == 0 {
        let before = *rest;
        varint(rest)?;
        &before[..before.len() - rest.len()]
    } else {
        let length = match wire_type {
            1 => 8,
            2 => varint(rest)?,
            5 => 4,
            _ => return Err(DAMAGED),
        };
        let length = usize::try_from(length).map_err(|_| DAMAGED)?;
        let (content, behind) = rest.split_at_checked(length).ok_or(DAMAGED)?;
        *rest = behind;
        content
    };
    Ok(Field {
        number,
        is_sized: wire_type == 2,
        content,
        whole: &begin[..begin.len() - rest.len()],
    })
}

/// A number in base 128, least significant digits first, at most ten bytes.
fn varint(rest: &mut &[u8]) -> Result<u64, &'static str> {
    let mut value = 0_u64;
    for (index, byte) in rest.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            *rest = &rest[index + 1..];
            return Ok(value);
        }
    }
    Err(DAMAGED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_pass() {
        for model in [
            &include_bytes!("../../tests/fixtures/classifier.onnx")[..],
            include_bytes!("../../tests/fixtures/detector.onnx"),
            include_bytes!("../../../../models/reference-solitary/detector.onnx"),
        ] {
            assert_eq!(check(model), Ok(()));
        }
    }

    #[test]
    fn what_is_no_model_does_not_pass() {
        // A length of 2^64 - 1, which would mean one byte back to a parser that believes it.
        let endless = [&[0x3A][..], &[0xFF; 9], &[0x01]].concat();
        // A tensor in a graph that claims 2^60 bytes.
        let huge = [
            0x3A, 11, 0x2A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0x00,
        ];
        for bytes in [&b""[..], b"no model", &[0xFF; 1000], &endless, &huge, &[0x08, 0x08]] {
            assert!(check(bytes).is_err(), "{bytes:?}");
        }
        let mut nested = Vec::new();
        for _ in 0..60 {
            // Graph, node, attribute, graph and so on: too deep.
            for tag in [0x32, 0x2A, 0x0A] {
                let length = nested.len();
                let mut outer = vec![tag, (length & 0x7F) as u8 | 0x80, (length >> 7) as u8];
                outer.append(&mut nested);
                nested = outer;
            }
        }
        let length = nested.len();
        let mut model = vec![0x3A, (length & 0x7F) as u8 | 0x80, (length >> 7) as u8];
        model.append(&mut nested);
        assert!(check(&model).is_err());
    }
}
