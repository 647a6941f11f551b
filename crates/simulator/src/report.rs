//! What really happened, as the EHR saw it.

use serde::Serialize;
use skin_assist_core::time::Timestamp;

use crate::{quota::Calls, specification::ExpectedRoute};

/// Everything a test or the demonstration wants to know about the client's behaviour.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Every photo, in the order of the firms and of attaching. Ignored ones are included, with their route.
    pub photos: Vec<PhotoReport>,
    /// Documents that are no pictures.
    pub other_documents: Vec<DocumentReport>,
    /// Drafts that name no photo of their firm.
    pub unmatched_drafts: Vec<UnmatchedDraft>,
    /// Drafts stored, in all: Compositions and clinical notes.
    pub compositions: u64,
    /// Calls on the API that were not answered 429.
    pub calls: Calls,
    /// Calls of the token endpoint.
    pub token_calls: u64,
    /// Requests to the photo host, refused ones included.
    pub photo_requests: u64,
    /// Calls answered 429.
    pub refused_429: u64,
    /// The most calls, refused ones included, that one API key made in any 60 s.
    pub max_calls_in_window: u64,
}

/// A photo and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct PhotoReport {
    /// The firm's URL prefix.
    pub firm: String,
    /// The DocumentReference's id.
    pub document: String,
    /// The Encounter's id.
    pub encounter: String,
    /// The category's code.
    pub category: String,
    /// What a client was to do with it.
    pub route: ExpectedRoute,
    /// What the picture shows, by id; absent for clear skin and for bytes that a test brought.
    pub condition: Option<String>,
    /// When it was attached.
    pub attached_at: Timestamp,
    /// When it was entered in error.
    pub retracted_at: Option<Timestamp>,
    /// The DocumentReference's id of the photo that took its place.
    pub replaced_by: Option<String>,
    /// When it vanished from the chart with its encounter.
    pub removed_at: Option<Timestamp>,
    /// When a search reply first contained it.
    pub first_listed_at: Option<Timestamp>,
    /// When its DocumentReference was first read.
    pub read_at: Option<Timestamp>,
    /// When its bytes were first handed out.
    pub photo_downloaded_at: Option<Timestamp>,
    /// The drafts that name it.
    pub drafts: Vec<DraftReport>,
}

/// A document that is no picture.
#[derive(Debug, Clone, Serialize)]
pub struct DocumentReport {
    /// The firm's URL prefix.
    pub firm: String,
    /// The DocumentReference's id.
    pub document: String,
    /// The category's code.
    pub category: String,
    /// What `type.text` says.
    pub media_type: String,
    /// When its DocumentReference was first read; a careful client never does.
    pub read_at: Option<Timestamp>,
}

/// A draft in the chart.
#[derive(Debug, Clone, Serialize)]
pub struct DraftReport {
    /// `Composition/{id}` or `DocumentReference/{id}`, the id as it is.
    pub reference: String,
    /// When it was posted.
    pub posted_at: Timestamp,
    /// The value of the client's identifier.
    pub identifier: Option<String>,
    /// Where the EHR put it.
    pub placement: Placement,
    /// The regions that the draft states for this photo.
    pub regions: Vec<Region>,
    /// The photos that its Provenance names as sources; none where it brings no Provenance.
    pub provenance: Option<Vec<String>>,
}

/// A draft that names no photo of its firm.
#[derive(Debug, Clone, Serialize)]
pub struct UnmatchedDraft {
    /// The firm's URL prefix.
    pub firm: String,
    /// `Composition/{id}` or `DocumentReference/{id}`, the id as it is.
    pub reference: String,
    /// When it was posted.
    pub posted_at: Timestamp,
    /// The value of the client's identifier.
    pub identifier: Option<String>,
}

/// Where the EHR puts an inbound transcription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Placement {
    /// The visit's Additional Visit Notes.
    VisitNote,
    /// A Chart Note of its own: the encounter was over, or none was named.
    ChartNote,
}

/// A part of an upright picture; all four numbers are shares of its width and height, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Region {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

impl PhotoReport {
    /// Whether it was retracted, replaced or removed: a draft is no longer asked for.
    pub const fn is_withdrawn(&self) -> bool {
        self.retracted_at.is_some() || self.replaced_by.is_some() || self.removed_at.is_some()
    }
}

impl Report {
    /// The photos that ask for a draft.
    pub fn expected(&self) -> impl Iterator<Item = &PhotoReport> {
        self.photos.iter().filter(|photo| photo.route != ExpectedRoute::Ignored)
    }

    /// The photos that ask for a draft, were not withdrawn, and have none.
    pub fn missing(&self) -> impl Iterator<Item = &PhotoReport> {
        self.expected()
            .filter(|photo| photo.drafts.is_empty() && !photo.is_withdrawn())
    }

    /// How many drafts there are beyond the first of each photo.
    pub fn duplicates(&self) -> usize {
        self.photos
            .iter()
            .map(|photo| photo.drafts.len().saturating_sub(1))
            .sum()
    }
}
