//! What of the store is passed on as it is, with the disk and the crashes of the process that asks.

use std::collections::BTreeMap;

use async_trait::async_trait;
use skin_assist_core::{
    domain::{
        AssessmentId, AssistResult, CategoryCode, CategoryUse, DeadLetter, DocumentId, Firm, FirmId, FirmStatus,
        IntendedUseRecord, Journey, Mode, NewCredential,
    },
    polling::Learned,
    ports::{
        Audit, AuditChain, AuditPage, AuditRecord, AuditTrail, FirmAdministration, Firms, Kept, LanguageSpending,
        LanguageSpent, Operations, Overview, PhotosOfHour, PollingMemory, Queued, Removed, Retention, RetentionLimits,
        RetractedDraft, StateError, StateStore, Subscriptions, UncertainResolution,
    },
    time::Timestamp,
};

use crate::state::ProcessStore;

type Outcome<T> = Result<T, StateError>;

/// Methods that are passed on: `reads` go on when the disk is full.
macro_rules! passed_on {
    ($port:ident: $($mode:ident $method:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl $port for ProcessStore {
            $(async fn $method(&self, $($argument: $kind),*) -> Outcome<$answer> {
                let work = self.inner.$method($($argument),*);
                self.call(stringify!($method), stringify!($mode) == "writes", work).await
            })*
        }
    };
}

passed_on! { Firms:
    reads firms() -> Vec<Firm>;
    reads firm(firm: &FirmId) -> Option<Firm>;
}

passed_on! { FirmAdministration:
    writes add_firm(firm: &Firm, credential: &NewCredential) -> ();
    writes set_firm_status(firm: &FirmId, status: FirmStatus) -> ();
    writes set_categories(firm: &FirmId, categories: &BTreeMap<CategoryCode, CategoryUse>) -> ();
    writes set_mode(firm: &FirmId, mode: Mode, record: Option<&IntendedUseRecord>) -> ();
    writes replace_credential(firm: &FirmId, credential: &NewCredential) -> ();
    writes remove_firm(firm: &FirmId) -> ();
}

passed_on! { PollingMemory:
    reads learned(firms: &[FirmId]) -> Learned;
    writes add_learned(gained: &Learned, now: Timestamp) -> ();
}

passed_on! { LanguageSpending:
    reads language_spent(firm: &FirmId, at: Timestamp) -> LanguageSpent;
    writes add_language_spent(firm: &FirmId, at: Timestamp, spent: &LanguageSpent) -> ();
}

passed_on! { Audit:
    writes record(record: &AuditRecord) -> ();
    reads records() -> Vec<AuditRecord>;
}

passed_on! { Operations:
    reads overview(now: Timestamp) -> Vec<Overview>;
    reads firm_overview(firm: &FirmId, now: Timestamp) -> Option<Overview>;
    reads journeys(firm: Option<&FirmId>, since: Timestamp, limit: usize) -> Vec<Journey>;
    reads journey(firm: &FirmId, document: &DocumentId) -> Option<Journey>;
    reads photos_by_hour(since: Timestamp) -> Vec<PhotosOfHour>;
    reads queued(limit: usize) -> Vec<Queued>;
    reads result(firm: &FirmId, assessment: &AssessmentId) -> Option<AssistResult>;
    reads dead_letters() -> Vec<DeadLetter>;
    writes replay(dead_letter: i64, now: Timestamp) -> ();
    reads firm_results(firm: &FirmId) -> Vec<AssistResult>;
    reads uncertain() -> Vec<AssistResult>;
    writes resolve(firm: &FirmId, assessment: &AssessmentId, resolution: &UncertainResolution, now: Timestamp) -> ();
    reads retracted_drafts() -> Vec<RetractedDraft>;
    writes acknowledge_retraction(firm: &FirmId, assessment: &AssessmentId, now: Timestamp) -> ();
    writes sweep_expired(now: Timestamp) -> u64;
}

passed_on! { Retention:
    writes remove_expired(limits: &RetentionLimits, now: Timestamp) -> Removed;
    reads kept() -> Vec<Kept>;
}

#[async_trait]
impl AuditTrail for ProcessStore {
    async fn audit_chains(&self) -> Outcome<Vec<AuditChain>> {
        self.call("audit_chains", false, self.inner.audit_chains()).await
    }

    async fn audit_entries(&self, firm: &FirmId, from: u64, limit: usize) -> Outcome<AuditPage> {
        let work = self.inner.audit_entries(firm, from, limit);
        self.call("audit_entries", false, work).await
    }

    /// For operators, who are not part of what is simulated.
    fn audited(&self, record: AuditRecord) -> Box<dyn StateStore + '_> {
        self.inner.audited(record)
    }
}

/// Nobody subscribes here.
impl Subscriptions for ProcessStore {}
