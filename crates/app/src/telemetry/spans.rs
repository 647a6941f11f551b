//! A photo's way as a trace of OpenTelemetry: one trace for each photo, from its being found to its draft.
//!
//! The ids follow from the photo, so that each of several processes that work on one photo, one after the other, adds to the same
//! trace without having heard of the others.
//! <https://github.com/open-telemetry/opentelemetry-proto/blob/v1.7.0/opentelemetry/proto/trace/v1/trace.proto>

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use skin_assist_core::{
    domain::{DocumentId, FirmId, Stage},
    time::Timestamp,
};

use super::attribute;
use crate::driver::{Outcome, Stepped, SteppedPhoto};

/// `SPAN_KIND_INTERNAL`.
const INTERNAL: u8 = 1;
/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

/// The ids of what belongs to a photo: so many bytes that follow from these texts.
fn id<const BYTES: usize>(of: &str, firm: &FirmId, document: &DocumentId) -> String {
    let mut digest = Sha256::new();
    for part in [of, firm.as_str(), document.as_str()] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    hex::encode(&digest.finalize()[..BYTES])
}

/// What a step of the pipeline adds to the traces of its photos; nothing where nothing was done.
pub(super) fn of_step(stepped: &Stepped) -> Vec<Value> {
    let Some(lead) = stepped.photos.first() else {
        return Vec::new();
    };
    if stepped.outcome == Outcome::PutBack {
        return Vec::new();
    }
    let mut spans = vec![step(stepped, lead)];
    if stepped.stage == Stage::DownloadPhoto && stepped.outcome == Outcome::Done {
        spans.extend(found(stepped, lead));
    }
    if is_final(stepped) {
        spans.extend(stepped.photos.iter().map(|photo| whole(stepped, photo)));
    }
    spans
}

/// Whether nothing comes after it by itself.
fn is_final(stepped: &Stepped) -> bool {
    match stepped.outcome {
        Outcome::DeadLetter => true,
        Outcome::Delivered | Outcome::Withheld | Outcome::Uncertain => stepped.stage == Stage::WriteBack,
        Outcome::Done | Outcome::Waiting | Outcome::PutBack | Outcome::LeaseLost | Outcome::StateUnavailable => false,
    }
}

/// The step itself.
fn step(stepped: &Stepped, photo: &SteppedPhoto) -> Value {
    let name = stepped.stage.to_string();
    let at = format!("{name} {}", stepped.began_at.as_millis());
    span(stepped, photo, &name, &at, stepped.began_at, stepped.ended_at)
}

/// From the photo's filing, by the EHR's clock, until it was found. None where the EHR does not tell, or its clock is ahead.
fn found(stepped: &Stepped, photo: &SteppedPhoto) -> Option<Value> {
    let filed_at = photo.filed_at.filter(|filed| *filed <= photo.detected_at)?;
    let mut found = span(stepped, photo, "find", "find", filed_at, photo.detected_at);
    found["status"] = json!({});
    Some(found)
}

/// The photo's whole way.
fn whole(stepped: &Stepped, photo: &SteppedPhoto) -> Value {
    let begin = photo.filed_at.unwrap_or(photo.detected_at).min(photo.detected_at);
    let mut whole = span(stepped, photo, "photo", "photo", begin, stepped.ended_at);
    if let Some(fields) = whole.as_object_mut() {
        fields.remove("parentSpanId");
    }
    whole
}

/// A span of a photo's trace, below its whole way.
fn span(stepped: &Stepped, photo: &SteppedPhoto, name: &str, within: &str, from: Timestamp, until: Timestamp) -> Value {
    let (firm, document) = (&stepped.firm, &photo.document);
    let mut attributes = vec![
        attribute("skin_assist.firm", firm.as_str()),
        attribute("skin_assist.document", document.as_str()),
        attribute("skin_assist.outcome", stepped.outcome.as_str()),
    ];
    let reason = stepped.reason.as_ref();
    attributes.extend(reason.map(|reason| attribute("skin_assist.reason", reason.code())));
    let failed = matches!(
        stepped.outcome,
        Outcome::Uncertain | Outcome::Waiting | Outcome::DeadLetter | Outcome::StateUnavailable
    );
    json!({
        "traceId": id::<16>("trace", firm, document),
        "spanId": id::<8>(within, firm, document),
        "parentSpanId": id::<8>("photo", firm, document),
        "name": name,
        "kind": INTERNAL,
        "startTimeUnixNano": super::nanos(from),
        "endTimeUnixNano": super::nanos(until.max(from)),
        "attributes": attributes,
        "status": if failed { json!({"code": ERROR, "message": reason.map_or("", |reason| reason.code())}) } else { json!({}) },
    })
}

#[cfg(test)]
mod tests {
    use skin_assist_core::domain::Reason;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn stepped(stage: Stage, outcome: Outcome) -> Stepped {
        let photo = |document: &str, filed_at| SteppedPhoto {
            document: DocumentId::new(document),
            filed_at,
            detected_at: at(2_000),
        };
        Stepped {
            firm: FirmId::new("oak"),
            photos: vec![photo("file|1", Some(at(500))), photo("file|2", None)],
            stage,
            outcome,
            reason: None,
            began_at: at(3_000),
            ended_at: at(3_400),
        }
    }

    fn text<'a>(span: &'a Value, field: &str) -> &'a str {
        span[field].as_str().unwrap_or_default()
    }

    #[test]
    fn what_is_done_about_a_photo_is_one_trace_whoever_did_it() {
        let mut spans = of_step(&stepped(Stage::DownloadPhoto, Outcome::Done));
        spans.extend(of_step(&stepped(Stage::Infer, Outcome::Done)));
        spans.extend(of_step(&stepped(Stage::WriteBack, Outcome::Delivered)));
        let names: Vec<_> = spans.iter().map(|span| text(span, "name")).collect();
        assert_eq!(
            names,
            ["download-photo", "find", "infer", "write-back", "photo", "photo"]
        );
        let trace = text(&spans[0], "traceId");
        assert_eq!(trace.len(), 32);
        assert!(spans[..5].iter().all(|span| text(span, "traceId") == trace));
        assert_ne!(text(&spans[5], "traceId"), trace, "the other photo of the assessment");
        let root = text(&spans[4], "spanId");
        assert_eq!(root.len(), 16);
        assert!(spans[..4].iter().all(|span| text(span, "parentSpanId") == root));
        assert!(spans[4].get("parentSpanId").is_none());
        let ids: std::collections::BTreeSet<_> = spans.iter().map(|span| text(span, "spanId")).collect();
        assert_eq!(ids.len(), spans.len());
        let times = |span: &Value| {
            [
                text(span, "startTimeUnixNano").to_owned(),
                text(span, "endTimeUnixNano").to_owned(),
            ]
        };
        assert_eq!(times(&spans[1]), ["500000000", "2000000000"]);
        assert_eq!(times(&spans[4]), ["500000000", "3400000000"]);
        assert_eq!(times(&spans[5]), ["2000000000", "3400000000"]);
    }

    #[test]
    fn what_was_put_back_is_not_told_and_what_failed_says_why() {
        assert!(of_step(&stepped(Stage::Infer, Outcome::PutBack)).is_empty());
        let waiting = Stepped {
            reason: Some(Reason::new("ehr.unavailable", "later")),
            ..stepped(Stage::WriteBack, Outcome::Waiting)
        };
        let [span] = &*of_step(&waiting) else {
            panic!("one step, and no end")
        };
        assert_eq!(span["status"], json!({"code": 2, "message": "ehr.unavailable"}));
        assert_eq!(
            of_step(&stepped(Stage::DownloadPhoto, Outcome::DeadLetter)).len(),
            3,
            "the end of both"
        );
    }
}
