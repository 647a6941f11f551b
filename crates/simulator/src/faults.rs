//! What goes wrong, on purpose. Plain data that a test sets while the EHR runs.

use std::{collections::BTreeMap, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use http::StatusCode;

use crate::quota::CallKind;

/// Faults in force. The default is none.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Everything answers 503.
    pub outage: bool,
    /// This many accepted drafts are stored and their reply is lost.
    pub drop_composition_replies: u32,
    /// Calls refused before they are processed; the first entry for a kind that has some left is used.
    pub failures: Vec<FailNext>,
    /// How long calls of a kind take.
    pub delays: BTreeMap<CallKind, Duration>,
}

/// The next calls of a kind fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailNext {
    /// Which calls.
    pub kind: CallKind,
    /// With what status, such as 429 or 500.
    pub status: StatusCode,
    /// How many are left.
    pub remaining: u32,
}

impl Faults {
    /// The status to fail this call with, if it is to fail.
    pub(crate) fn take_failure(&mut self, kind: CallKind) -> Option<StatusCode> {
        if self.outage {
            return Some(StatusCode::SERVICE_UNAVAILABLE);
        }
        let failure = self
            .failures
            .iter_mut()
            .find(|failure| failure.kind == kind && failure.remaining > 0)?;
        failure.remaining -= 1;
        Some(failure.status)
    }

    /// Whether the reply to the draft just stored is to be lost.
    pub(crate) fn take_dropped_reply(&mut self) -> bool {
        let drop = self.drop_composition_replies > 0;
        self.drop_composition_replies = self.drop_composition_replies.saturating_sub(1);
        drop
    }
}

/// What is wrong with a photo's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PhotoFault {
    /// Only the first half arrives.
    Truncated,
    /// HTML, under an image's media type.
    NotAnImage,
    /// A header that claims 65,500 x 65,500 pixels.
    HugeDimensions,
    /// The picture, followed by padding up to this many bytes.
    Oversize {
        /// Bytes in all.
        bytes: usize,
    },
    /// The object store has lost it: 404.
    Missing,
}

impl PhotoFault {
    /// What the file looks like with this fault; nothing when it is gone.
    pub(crate) fn apply(&self, bytes: &Bytes) -> Option<Bytes> {
        match self {
            Self::Truncated => Some(bytes.slice(..bytes.len() / 2)),
            Self::NotAnImage => Some(Bytes::from_static(
                b"<!doctype html><title>Not a picture</title><p>This file is not an image.",
            )),
            Self::HugeDimensions => Some(claim_huge_dimensions(bytes)),
            Self::Oversize { bytes: length } => {
                let mut padded = BytesMut::from(bytes.as_ref());
                padded.put_bytes(0, length.saturating_sub(bytes.len()));
                Some(padded.freeze())
            }
            Self::Missing => None,
        }
    }
}

/// Rewrites the height and width in a JPEG's first start-of-frame segment (ITU-T T.81, B.2.2); other files stay as they
/// are.
fn claim_huge_dimensions(bytes: &Bytes) -> Bytes {
    const HUGE: [u8; 2] = 65_500_u16.to_be_bytes();
    let mut patched = BytesMut::from(bytes.as_ref());
    let mut at = 2;
    while at + 9 <= patched.len() && patched[at] == 0xFF {
        let marker = patched[at + 1];
        let start_of_frame = matches!(marker, 0xC0..=0xCF) && !matches!(marker, 0xC4 | 0xC8 | 0xCC);
        if start_of_frame {
            patched[at + 5..at + 7].copy_from_slice(&HUGE);
            patched[at + 7..at + 9].copy_from_slice(&HUGE);
            break;
        }
        at += 2 + usize::from(u16::from_be_bytes([patched[at + 2], patched[at + 3]]));
    }
    patched.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_header_is_patched_and_nothing_else() {
        let jpeg = Bytes::from_static(&[
            0xFF, 0xD8, 0xFF, 0xE0, 0, 4, 1, 2, 0xFF, 0xC0, 0, 11, 8, 0, 16, 0, 32, 1, 1, 0x11, 0,
        ]);
        let bomb = PhotoFault::HugeDimensions.apply(&jpeg).unwrap();
        assert_eq!(&bomb[13..17], &[0xFF, 0xDC, 0xFF, 0xDC]);
        assert_eq!(&bomb[..13], &jpeg[..13]);
        assert_eq!(&bomb[17..], &jpeg[17..]);
    }

    #[test]
    fn failures_are_used_up() {
        let mut faults = Faults {
            failures: vec![FailNext {
                kind: CallKind::Read,
                status: StatusCode::BAD_GATEWAY,
                remaining: 1,
            }],
            ..Faults::default()
        };
        assert_eq!(faults.take_failure(CallKind::Draft), None);
        assert_eq!(faults.take_failure(CallKind::Read), Some(StatusCode::BAD_GATEWAY));
        assert_eq!(faults.take_failure(CallKind::Read), None);
    }
}
