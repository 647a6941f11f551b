//! The audit trail of a store that breaks a rule.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::executor::block_on;
use skin_assist_core::{
    domain::FirmId,
    ports::{
        Audit, AuditChain, AuditPage, AuditRecord, AuditTrail, Kept, Removed, Retention, RetentionLimits, StateStore,
    },
    time::Timestamp,
};

use super::{MutatedStore, Mutation, Outcome};

#[async_trait]
impl Audit for MutatedStore {
    async fn record(&self, record: &AuditRecord) -> Outcome<()> {
        self.store.record(record).await
    }

    async fn records(&self) -> Outcome<Vec<AuditRecord>> {
        self.store.records().await
    }
}

#[async_trait]
impl AuditTrail for MutatedStore {
    async fn audit_chains(&self) -> Outcome<Vec<AuditChain>> {
        self.store.audit_chains().await
    }

    async fn audit_entries(&self, firm: &FirmId, from: u64, limit: usize) -> Outcome<AuditPage> {
        self.store.audit_entries(firm, from, limit).await
    }

    fn audited(&self, record: AuditRecord) -> Box<dyn StateStore + '_> {
        let apart = || {
            Box::new(Self {
                store: Arc::clone(&self.store),
                mutation: self.mutation,
                fences: Arc::clone(&self.fences),
            })
        };
        match self.mutation {
            Mutation::ChangesUnaudited => apart(),
            Mutation::EntriesApart => {
                block_on(self.store.record(&record)).unwrap();
                apart()
            }
            _ => self.store.audited(record),
        }
    }
}

#[async_trait]
impl Retention for MutatedStore {
    async fn remove_expired(&self, limits: &RetentionLimits, now: Timestamp) -> Outcome<Removed> {
        match self.mutation {
            Mutation::ExpiredKept => Ok(Removed::default()),
            Mutation::AllExpired => {
                self.store
                    .remove_expired(limits, now + Duration::from_secs(864_000))
                    .await
            }
            _ => self.store.remove_expired(limits, now).await,
        }
    }

    async fn kept(&self) -> Outcome<Vec<Kept>> {
        self.store.kept().await
    }
}
