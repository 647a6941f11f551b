//! What is told of each step of the pipeline, for who measures.

use skin_assist_core::{
    domain::{DocumentId, FirmId, Reason, Stage},
    stages::StepEnd,
    time::Timestamp,
};

use super::pipeline::Work;

/// A step of the pipeline was taken, however it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stepped {
    /// Whose photos.
    pub firm: FirmId,
    /// The photo, or all of the assessment, the one that leads it first.
    pub photos: Vec<SteppedPhoto>,
    /// Which step.
    pub stage: Stage,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it ended so, where that needs a reason.
    pub reason: Option<Reason>,
    /// When it began, by our clock.
    pub began_at: Timestamp,
    /// When it ended, by our clock.
    pub ended_at: Timestamp,
}

/// A photo of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SteppedPhoto {
    /// Which.
    pub document: DocumentId,
    /// When it was filed, by the EHR's clock.
    pub filed_at: Option<Timestamp>,
    /// When it was found, by our clock.
    pub detected_at: Timestamp,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The item is one step further.
    Done,
    /// The draft is in the chart.
    Delivered,
    /// The result is kept back.
    Withheld,
    /// Nobody knows whether the draft is in the chart.
    Uncertain,
    /// It is tried again.
    Waiting,
    /// It was given up.
    DeadLetter,
    /// It was put back: further photos are waited for, its bytes are gone, its firm is off or not served, or it is not its turn.
    PutBack,
    /// Somebody else has it now.
    LeaseLost,
    /// The state could not be used.
    StateUnavailable,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Done,
        Self::Delivered,
        Self::Withheld,
        Self::Uncertain,
        Self::Waiting,
        Self::DeadLetter,
        Self::PutBack,
        Self::LeaseLost,
        Self::StateUnavailable,
    ];

    /// The word used in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Delivered => "delivered",
            Self::Withheld => "withheld",
            Self::Uncertain => "uncertain",
            Self::Waiting => "waiting",
            Self::DeadLetter => "dead-letter",
            Self::PutBack => "put-back",
            Self::LeaseLost => "lease-lost",
            Self::StateUnavailable => "state-unavailable",
        }
    }

    /// How a step ended, and why.
    fn of(end: Option<&StepEnd>) -> (Self, Option<Reason>) {
        match end {
            None | Some(StepEnd::Gathering(_) | StepEnd::BytesLost | StepEnd::Released) => (Self::PutBack, None),
            Some(StepEnd::Done) => (Self::Done, None),
            Some(StepEnd::Delivered) => (Self::Delivered, None),
            Some(StepEnd::LeaseLost) => (Self::LeaseLost, None),
            Some(StepEnd::Withheld(reason)) => (Self::Withheld, Some(reason.clone())),
            Some(StepEnd::Uncertain(reason)) => (Self::Uncertain, Some(reason.clone())),
            Some(StepEnd::Waiting { reason, .. }) => (Self::Waiting, Some(reason.clone())),
            Some(StepEnd::Buried(reason)) => (Self::DeadLetter, Some(reason.clone())),
        }
    }
}

impl Stepped {
    /// A step that begins now, with `work` in hand. [`Stepped::ended`] says how it ended.
    pub(super) fn began(work: &Work, stage: Stage, now: Timestamp) -> Self {
        let photos = match work {
            Work::Document(lease) => vec![SteppedPhoto {
                document: lease.item().document.clone(),
                filed_at: lease.item().attached_at,
                detected_at: lease.item().detected_at,
            }],
            Work::Result(lease) => {
                let photos = lease.item().photos.iter();
                let stepped = photos.map(|photo| SteppedPhoto {
                    document: photo.document.clone(),
                    filed_at: photo.attached_at,
                    detected_at: photo.detected_at,
                });
                stepped.collect()
            }
        };
        Self {
            firm: work.firm().clone(),
            photos,
            stage,
            outcome: Outcome::StateUnavailable,
            reason: None,
            began_at: now,
            ended_at: now,
        }
    }

    /// How it ended: `None` when it was put back before its stage ran.
    pub(super) fn ended(mut self, end: Option<&StepEnd>, now: Timestamp) -> Self {
        (self.outcome, self.reason) = Outcome::of(end);
        self.ended_at = now;
        self
    }
}
