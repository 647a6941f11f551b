//! Results on their way into the chart, and the journal of the one write that cannot be taken back.
//!
//! How a draft stands is one small row, which is written often; what it says is in rows of their own ([`super::inference`]).

use std::time::Duration;

use async_trait::async_trait;
use skin_assist_core::{
    domain::{AssessmentId, AssistResult, Delivery, DraftReference, FirmId, Reason, Stage},
    lease::Lease,
    ports::{AuditAction, Deliveries, StateError},
    time::Timestamp,
};

use super::{
    DynamoStore, Outcome, Refusal, Transacted, Written,
    audit::entry_of,
    codec::{Attributes, REASON_CODE, REASON_HINT, Row, number, text, time},
    due::{due_again, uncounted, wait_in, wait_no_more},
    error::contended,
    operations::Letter,
    schema::{ASSIST_RESULTS, ATTENTION, RESULT_PREFIX},
    write::{Key, Write},
};

const TABLE: &str = ASSIST_RESULTS.name;

/// The queue of results that wait for write-back.
pub(super) const QUEUE_NAME: &str = "write-back";

pub(super) fn key(firm: &FirmId, assessment: &AssessmentId) -> Key {
    Key::new(firm.as_str(), format!("{RESULT_PREFIX}{assessment}"))
}

fn key_of(result: &AssistResult) -> Key {
    key(&result.assessment.firm, &result.assessment.id)
}

/// How a draft stands, as far as others than its writer have to know.
pub(super) struct State<'row> {
    /// The word for it; `cancelled` is a result whose photo was retracted before delivery.
    pub(super) delivery: &'row str,
    /// When a photo of it turned out to be retracted although its draft was posted or may have been.
    pub(super) retracted_at: Option<Timestamp>,
    acknowledged: bool,
    has_letter: bool,
}

impl<'row> State<'row> {
    pub(super) fn read(attributes: &Attributes<'row>) -> Outcome<Self> {
        Ok(Self {
            delivery: attributes.text("delivery")?,
            retracted_at: attributes.optional_time("retracted_at")?,
            acknowledged: attributes.optional_time("acknowledged_at")?.is_some(),
            has_letter: has_letter(attributes)?,
        })
    }

    /// Whether an operator has to take note of a retraction: of drafts in the chart, or perhaps there. One whose post turned
    /// out not to have been taken is cancelled and alarms nobody.
    pub(super) fn alarms(&self) -> bool {
        let posted = matches!(self.delivery, "intended" | "uncertain" | "delivered");
        posted && self.retracted_at.is_some() && !self.acknowledged
    }

    /// Whether nobody has to do anything about it any more, program or operator.
    pub(super) fn is_over(&self) -> bool {
        match self.delivery {
            "delivered" | "withheld" | "cancelled" => !self.alarms(),
            "buried" => !self.has_letter,
            _ => false,
        }
    }
}

/// Whether there is a dead letter. A result that was given up has one; without one it was discarded by an operator.
pub(super) fn has_letter(attributes: &Attributes<'_>) -> Outcome<bool> {
    Ok(attributes.optional_number::<i64>("letter")?.is_some())
}

/// Why an operator has to look at a result: the partitions of the index `attention`.
pub(super) const UNCERTAIN: &str = "uncertain";
pub(super) const RETRACTED: &str = "retracted";
pub(super) const UNCERTAIN_AND_RETRACTED: &str = "uncertain-and-retracted";

/// The same, for how a draft stands.
pub(super) fn attention(delivery: &str, alarms: bool) -> Option<&'static str> {
    match (delivery, alarms) {
        ("uncertain", false) => Some(UNCERTAIN),
        ("uncertain", true) => Some(UNCERTAIN_AND_RETRACTED),
        ("intended" | "delivered", true) => Some(RETRACTED),
        _ => None,
    }
}

/// A reason, or that there is none.
fn because(write: Write, reason: Option<&Reason>) -> Write {
    write
        .set_or_remove(REASON_CODE, reason.map(|reason| text(reason.code())))
        .set_or_remove(REASON_HINT, reason.map(|reason| text(reason.hint())))
}

/// Writes a delivery down, without what it says about waiting.
fn stands(write: Write, delivery: &str, at: Option<Timestamp>) -> Write {
    write
        .set("delivery", text(delivery))
        .set_or_remove("delivery_at", at.map(time))
}

/// A new result's delivery.
pub(super) fn new(write: Write, delivery: &Delivery, due_at: Timestamp) -> Write {
    match delivery {
        Delivery::Pending => wait_in(stands(write, "pending", None), QUEUE_NAME, due_at),
        Delivery::Intended { at, updates } => {
            let write = wait_in(stands(write, "intended", Some(*at)), QUEUE_NAME, due_at);
            write.set_or_remove("reference", updates.as_ref().map(|updates| text(&updates.0)))
        }
        Delivery::Delivered { reference, at } => {
            stands(write, "delivered", Some(*at)).set("reference", text(&reference.0))
        }
        Delivery::Uncertain { reason, at } => {
            because(stands(write, "uncertain", Some(*at)), Some(reason)).set(ATTENTION, text(UNCERTAIN))
        }
        Delivery::Withheld { reason, at } => because(stands(write, "withheld", Some(*at)), Some(reason)),
        Delivery::Buried { at } | Delivery::Discarded { at } => stands(write, "buried", Some(*at)),
    }
}

/// How a draft stands.
pub(super) fn read_delivery(row: &Row) -> Outcome<Delivery> {
    let attributes = Attributes { table: TABLE, row };
    let at = || attributes.time("delivery_at");
    Ok(match attributes.text("delivery")? {
        "pending" => Delivery::Pending,
        "intended" => Delivery::Intended {
            at: at()?,
            updates: attributes.optional_named("reference", DraftReference)?,
        },
        "delivered" => Delivery::Delivered {
            reference: attributes.named("reference", DraftReference)?,
            at: at()?,
        },
        "uncertain" => Delivery::Uncertain {
            reason: attributes.reason()?,
            at: at()?,
        },
        "withheld" => Delivery::Withheld {
            reason: attributes.reason()?,
            at: at()?,
        },
        "buried" if has_letter(&attributes)? => Delivery::Buried { at: at()? },
        "buried" => Delivery::Discarded { at: at()? },
        _ => return Err(attributes.damaged("delivery")),
    })
}

fn under(lease: &Lease<AssistResult>) -> Write {
    Write::update(&ASSIST_RESULTS, key_of(lease.item())).fenced(lease.fence())
}

/// Only where its photo has, or has not, been retracted since it was posted.
fn where_retracted(write: Write, retracted: bool) -> Write {
    write.when(if retracted {
        "attribute_exists(#retracted_at)"
    } else {
        "attribute_not_exists(#retracted_at)"
    })
}

impl DynamoStore {
    /// Writes under a lease on a result what depends on whether its photo was retracted meanwhile: first as if not.
    /// Whether it was. Where it `cancels` one of several photos then, the others are judged anew.
    async fn write_result(
        &self,
        lease: &Lease<AssistResult>,
        cancels: Option<Timestamp>,
        outcome: impl Fn(Write, bool) -> Vec<Write> + Send + Sync,
    ) -> Outcome<bool> {
        for retracted in [false, true] {
            let mut writes = outcome(where_retracted(under(lease), retracted), retracted);
            let assessment = &lease.item().assessment;
            if let Some(now) = cancels.filter(|_| retracted && assessment.documents.len() > 1) {
                writes.extend(self.opens(assessment, now).await?);
            }
            match self.transact(&writes).await? {
                Transacted::Done => return Ok(retracted),
                Transacted::Refused(refusals) => {
                    let Some(Some(Refusal(Some(row)))) = refusals.into_iter().next() else {
                        return Err(StateError::LeaseLost);
                    };
                    let attributes = Attributes {
                        table: TABLE,
                        row: &row,
                    };
                    if attributes.number::<u64>("fence")? != lease.fence().0 {
                        return Err(StateError::LeaseLost);
                    }
                }
            }
        }
        Err(contended())
    }

    /// Records the intent to post, or to change the version `updates` of an earlier draft.
    async fn intend(
        &self,
        lease: &Lease<AssistResult>,
        updates: Option<&DraftReference>,
        unsettled: Option<&Reason>,
        now: Timestamp,
    ) -> Outcome<()> {
        // Who changes the mode after this was read ends the lease, before they are told that it is changed.
        let firm = self.served(&lease.item().assessment.firm).await?;
        if firm.is_some_and(|firm| !firm.takes_drafts) {
            return Err(StateError::DraftsNotPermitted);
        }
        // Who wants to post knows that the EHR does not have the draft, unless an earlier post is unsettled: one whose photo
        // was retracted meanwhile is cancelled now, and the lease with it.
        let retracted = self
            .write_result(lease, unsettled.is_none().then_some(now), |write, retracted| {
                let write = match (retracted, unsettled) {
                    (false, _) => because(stands(write, "intended", Some(now)), None)
                        .set_or_remove("reference", updates.map(|updates| text(&updates.0))),
                    (true, None) => because(stands(wait_no_more(write).raise_fence(), "cancelled", Some(now)), None)
                        .remove(ATTENTION),
                    (true, Some(reason)) => {
                        let write = stands(wait_no_more(write).raise_fence(), "uncertain", Some(now));
                        because(write, Some(reason)).set_or_remove(ATTENTION, attention("uncertain", true).map(text))
                    }
                };
                vec![write]
            })
            .await?;
        if retracted { Err(StateError::LeaseLost) } else { Ok(()) }
    }

    /// Ends a lease on a result in `delivery`, which waits for nobody.
    async fn end_delivery(
        &self,
        lease: &Lease<AssistResult>,
        delivery: &'static str,
        reference: Option<&DraftReference>,
        reason: Option<&Reason>,
        now: Timestamp,
    ) -> Outcome<()> {
        let action = match delivery {
            "delivered" => Some(AuditAction::DraftWritten),
            "uncertain" => Some(AuditAction::DraftUncertain),
            _ => None,
        };
        let assessment = &lease.item().assessment;
        let record =
            action.map(|action| entry_of(Stage::WriteBack, &assessment.firm, action, assessment.id.as_str(), now));
        let telling = record.map(|record| self.with_entry(record));
        let store = telling.as_ref().unwrap_or(self);
        let ended = store.write_result(lease, None, |write, retracted| {
            let write = because(stands(wait_no_more(write), delivery, Some(now)), reason);
            vec![
                write
                    .set_or_remove("reference", reference.map(|reference| text(&reference.0)))
                    .set_or_remove(ATTENTION, attention(delivery, retracted).map(text)),
            ]
        });
        ended.await.map(drop)
    }

    /// Ends a lease so that it is due again, whatever became of its photo.
    async fn end_for_now(&self, write: Write) -> Outcome<()> {
        match self.write(write).await? {
            Written::Done(_) => Ok(()),
            Written::Refused(_) => Err(StateError::LeaseLost),
        }
    }
}

#[async_trait]
impl Deliveries for DynamoStore {
    async fn acquire_results(
        &self,
        now: Timestamp,
        lease_for: Duration,
        limit: usize,
    ) -> Outcome<Vec<Lease<AssistResult>>> {
        let granted = self
            .acquire_due(&ASSIST_RESULTS, QUEUE_NAME, now, lease_for, limit)
            .await?;
        let results = self.results(granted.iter().map(|granted| &granted.row)).await?;
        Ok(granted
            .iter()
            .zip(results)
            .map(|(granted, result)| granted.lease(result))
            .collect())
    }

    async fn record_intent(
        &self,
        lease: &Lease<AssistResult>,
        unsettled: Option<&Reason>,
        now: Timestamp,
    ) -> Outcome<()> {
        self.intend(lease, None, unsettled, now).await
    }

    async fn record_update_intent(
        &self,
        lease: &Lease<AssistResult>,
        updates: &DraftReference,
        now: Timestamp,
    ) -> Outcome<()> {
        self.intend(lease, Some(updates), None, now).await
    }

    async fn delivery_of(&self, firm: &FirmId, assessment: &AssessmentId) -> Outcome<Option<Delivery>> {
        let Some(row) = self.get(&ASSIST_RESULTS, &key(firm, assessment)).await? else {
            return Ok(None);
        };
        let attributes = Attributes {
            table: TABLE,
            row: &row,
        };
        let state = State::read(&attributes)?;
        if state.delivery == "cancelled" || state.retracted_at.is_some() {
            return Ok(None);
        }
        read_delivery(&row).map(Some)
    }

    async fn record_delivered(
        &self,
        lease: Lease<AssistResult>,
        reference: &DraftReference,
        now: Timestamp,
    ) -> Outcome<()> {
        self.end_delivery(&lease, "delivered", Some(reference), None, now).await
    }

    async fn record_uncertain(&self, lease: Lease<AssistResult>, reason: &Reason, now: Timestamp) -> Outcome<()> {
        self.end_delivery(&lease, "uncertain", None, Some(reason), now).await
    }

    async fn record_withheld(&self, lease: Lease<AssistResult>, reason: &Reason, now: Timestamp) -> Outcome<()> {
        self.end_delivery(&lease, "withheld", None, Some(reason), now).await
    }

    async fn retry_delivery(&self, lease: Lease<AssistResult>, retry_at: Timestamp) -> Outcome<()> {
        let retried = self.write_result(&lease, Some(retry_at), |write, retracted| {
            let write = if retracted {
                stands(wait_no_more(write), "cancelled", None).remove(ATTENTION)
            } else {
                wait_in(stands(write, "pending", None), QUEUE_NAME, retry_at).remove("reference")
            };
            vec![write]
        });
        retried.await.map(drop)
    }

    async fn retry_search(&self, lease: Lease<AssistResult>, retry_at: Timestamp) -> Outcome<()> {
        let key = key_of(lease.item());
        self.end_for_now(due_again(&ASSIST_RESULTS, key, &lease, QUEUE_NAME, retry_at))
            .await
    }

    async fn release_delivery(&self, lease: Lease<AssistResult>, due_at: Timestamp) -> Outcome<()> {
        let write = due_again(&ASSIST_RESULTS, key_of(lease.item()), &lease, QUEUE_NAME, due_at);
        self.end_for_now(uncounted(write, &lease)).await
    }

    async fn bury_delivery(&self, lease: Lease<AssistResult>, reason: &Reason, now: Timestamp) -> Outcome<()> {
        let assessment = &lease.item().assessment;
        let letter = Letter {
            number: self.next_letter().await?,
            firm: &assessment.firm,
            kind: "result",
            subject: assessment.id.as_str(),
            step: None,
            stage: Stage::WriteBack,
            reason,
            attempts: lease.attempt(),
            at: now,
        };
        let letter_write = letter.write();
        let buried = self.write_result(&lease, Some(now), |write, retracted| {
            let write = wait_no_more(write);
            // A draft whose photo was retracted meanwhile is not worth a letter: it is cancelled.
            if retracted {
                return vec![stands(write, "cancelled", Some(now)).remove(ATTENTION)];
            }
            let buried = stands(write, "buried", Some(now)).set("letter", number(letter.number));
            vec![buried, letter_write.clone()]
        });
        buried.await.map(drop)
    }
}

/// A result whose photo was retracted before it was delivered.
pub(super) fn cancelled(write: Write, now: Timestamp) -> Write {
    stands(wait_no_more(write).raise_fence(), "cancelled", Some(now)).remove("letter")
}
