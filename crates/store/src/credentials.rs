//! OAuth2 credentials and tokens, and the lease under which one process at a time refreshes.

use std::{convert::identity, time::Duration};

use async_trait::async_trait;
use rusqlite::params;
use skin_assist_core::{
    domain::{AccessToken, Credential, CredentialState, FirmId, IssuedToken, Reason, Stage},
    lease::{Fence, Lease},
    phi::Secret,
    ports::{AuditAction, Credentials, StateError},
    time::Timestamp,
};

use crate::{
    Outcome, SqliteStore, audit,
    codec::{Columns, Millis},
    execute, fenced, first, number,
    sealed::{CREDENTIAL, Row},
};

const TABLE: &str = "credentials";

fn read_credential(row: &Row<'_>) -> Outcome<Credential> {
    let columns = Columns { table: TABLE, row };
    let token = match columns.optional_text("token", Secret::new)? {
        Some(secret) => Some(AccessToken {
            secret,
            issued_at: columns.time("issued_at")?,
            expires_at: columns.time("expires_at")?,
        }),
        None => None,
    };
    let state = match columns.optional_reason("refused_code", "refused_hint")? {
        Some(reason) => CredentialState::Refused {
            reason,
            retry_at: columns.time("retry_at")?,
        },
        None => CredentialState::Usable,
    };
    Ok(Credential {
        firm: columns.text("firm", FirmId::new)?,
        client_id: columns.text("client_id", identity)?,
        client_secret: columns.text("client_secret", Secret::new)?,
        key_id: columns.optional_text("key_id", identity)?,
        token,
        refresh_token: columns.optional_text("refresh_token", Secret::new)?,
        state,
    })
}

#[async_trait]
impl Credentials for SqliteStore {
    async fn credential(&self, firm: &FirmId) -> Outcome<Option<Credential>> {
        self.read(|state| {
            first(
                state,
                "SELECT * FROM credentials WHERE firm = ?1",
                [firm.as_str()],
                read_credential,
            )
        })
    }

    async fn acquire_refresh(
        &self,
        firm: &FirmId,
        now: Timestamp,
        lease_for: Duration,
    ) -> Outcome<Option<Lease<Credential>>> {
        let locked_until = now + lease_for;
        self.write(|state| {
            let lease = first(
                state,
                "UPDATE credentials SET fence = fence + 1, attempt = attempt + 1, available_at = ?3
                 WHERE firm = ?1 AND available_at <= ?2 RETURNING *",
                params![firm.as_str(), Millis(now), Millis(locked_until)],
                |row| {
                    let columns = Columns { table: TABLE, row };
                    let fence = Fence(columns.count("fence")?);
                    Ok(Lease::granted(
                        read_credential(row)?,
                        fence,
                        locked_until,
                        columns.count("attempt")?,
                    ))
                },
            )?;
            if lease.is_none()
                && number(
                    state,
                    "SELECT count(*) FROM credentials WHERE firm = ?1",
                    [firm.as_str()],
                )? == 0
            {
                return Err(StateError::NotFound { what: "firm" });
            }
            Ok(lease)
        })
    }

    async fn record_token(&self, lease: Lease<Credential>, token: &IssuedToken) -> Outcome<()> {
        self.write(|state| {
            let seal = state.sealer(&lease.item().firm);
            fenced(execute(
                state,
                "UPDATE credentials SET token = ?3, issued_at = ?4, expires_at = ?5, refresh_token = ?6,
                     refused_code = NULL, refused_hint = NULL, retry_at = NULL, attempt = 0, available_at = 0
                 WHERE firm = ?1 AND fence = ?2",
                params![
                    lease.item().firm.as_str(),
                    lease.fence().0 as i64,
                    seal.seal(CREDENTIAL, token.access.secret.expose()),
                    Millis(token.access.issued_at),
                    Millis(token.access.expires_at),
                    seal.optional(CREDENTIAL, token.refresh_token.as_ref().map(Secret::expose))
                ],
            )?)?;
            let credential = lease.item();
            let entry = (
                &credential.firm,
                AuditAction::TokenObtained,
                credential.client_id.as_str(),
            );
            audit::append_of(state, Stage::RefreshCredentials, entry, token.access.issued_at)
        })
    }

    async fn record_refusal(&self, lease: Lease<Credential>, reason: &Reason, retry_at: Timestamp) -> Outcome<()> {
        self.write(|state| {
            fenced(execute(
                state,
                "UPDATE credentials SET token = NULL, issued_at = NULL, expires_at = NULL, refresh_token = NULL,
                     refused_code = ?3, refused_hint = ?4, retry_at = ?5, available_at = 0
                 WHERE firm = ?1 AND fence = ?2",
                params![
                    lease.item().firm.as_str(),
                    lease.fence().0 as i64,
                    reason.code(),
                    reason.hint(),
                    Millis(retry_at)
                ],
            )?)
        })
    }

    async fn release_refresh(&self, lease: Lease<Credential>, now: Timestamp) -> Outcome<()> {
        self.write(|state| {
            fenced(execute(
                state,
                "UPDATE credentials SET available_at = ?3, attempt = max(attempt - 1, 0)
                 WHERE firm = ?1 AND fence = ?2",
                params![lease.item().firm.as_str(), lease.fence().0 as i64, Millis(now)],
            )?)
        })
    }
}
