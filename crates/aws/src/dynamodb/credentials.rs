//! OAuth2 credentials and tokens, and the lease under which one process at a time refreshes.

use std::time::Duration;

use async_trait::async_trait;
use skin_assist_core::{
    domain::{AccessToken, Credential, CredentialState, FirmId, IssuedToken, NewCredential, Reason, Stage},
    lease::{Fence, Lease},
    phi::Secret,
    ports::{AuditAction, Credentials, StateError},
    time::Timestamp,
};

use super::{
    DynamoStore, Outcome, Written,
    audit::entry_of,
    codec::{Attributes, REASON_CODE, REASON_HINT, Row, number, text, time},
    schema::CREDENTIALS,
    write::{Key, Write},
};

const TABLE: &str = CREDENTIALS.name;

/// When the next refresh may be acquired: while one is under way, the end of its lease.
const FREE_AT: &str = "free_at";

pub(super) fn key(firm: &FirmId) -> Key {
    Key::new(firm.as_str(), "credential")
}

/// What a new firm proves itself with.
pub(super) fn new(firm: &FirmId, credential: &NewCredential, fence: u64) -> Write {
    proof(Write::put(&CREDENTIALS, key(firm)), credential)
        .set("fence", number(fence))
        .set("attempt", number(0))
        .set(FREE_AT, number(0))
}

/// Another proof. The fence grows: what a refresh under way learns about the old credential is not about this one.
pub(super) fn replaced(firm: &FirmId, credential: &NewCredential) -> Write {
    let write = Write::update(&CREDENTIALS, key(firm)).when_there().raise_fence();
    without_refusal(without_token(proof(write, credential)))
        .set("attempt", number(0))
        .set(FREE_AT, number(0))
}

fn proof(write: Write, credential: &NewCredential) -> Write {
    write
        .set("client_id", text(&credential.client_id))
        .set("client_secret", text(credential.client_secret.expose()))
        .set_or_remove("key_id", credential.key_id.as_ref().map(text))
}

fn without_token(write: Write) -> Write {
    ["token", "issued_at", "expires_at", "refresh_token"]
        .into_iter()
        .fold(write, Write::remove)
}

fn without_refusal(write: Write) -> Write {
    [REASON_CODE, REASON_HINT, "retry_at"]
        .into_iter()
        .fold(write, Write::remove)
}

fn read_credential(row: &Row) -> Outcome<Credential> {
    let attributes = Attributes { table: TABLE, row };
    let token = match attributes.optional_named("token", Secret::new)? {
        Some(secret) => Some(AccessToken {
            secret,
            issued_at: attributes.time("issued_at")?,
            expires_at: attributes.time("expires_at")?,
        }),
        None => None,
    };
    let state = match attributes.optional_reason()? {
        Some(reason) => CredentialState::Refused {
            reason,
            retry_at: attributes.time("retry_at")?,
        },
        None => CredentialState::Usable,
    };
    Ok(Credential {
        firm: attributes.named("part", FirmId::new)?,
        client_id: attributes.text("client_id")?.to_owned(),
        client_secret: attributes.named("client_secret", Secret::new)?,
        key_id: attributes.optional_text("key_id")?.map(str::to_owned),
        token,
        refresh_token: attributes.optional_named("refresh_token", Secret::new)?,
        state,
    })
}

impl DynamoStore {
    /// Ends a refresh under its lease.
    async fn end_refresh(&self, lease: &Lease<Credential>, outcome: impl FnOnce(Write) -> Write + Send) -> Outcome<()> {
        let write = Write::update(&CREDENTIALS, key(&lease.item().firm)).fenced(lease.fence());
        match self.write(outcome(write)).await? {
            Written::Done(_) => Ok(()),
            Written::Refused(_) => Err(StateError::LeaseLost),
        }
    }
}

#[async_trait]
impl Credentials for DynamoStore {
    async fn credential(&self, firm: &FirmId) -> Outcome<Option<Credential>> {
        self.get(&CREDENTIALS, &key(firm))
            .await?
            .as_ref()
            .map(read_credential)
            .transpose()
    }

    async fn acquire_refresh(
        &self,
        firm: &FirmId,
        now: Timestamp,
        lease_for: Duration,
    ) -> Outcome<Option<Lease<Credential>>> {
        let locked_until = now + lease_for;
        let write = Write::update(&CREDENTIALS, key(firm))
            .when("#free_at <= :now")
            .value("now", time(now))
            .raise_fence()
            .set_by("#attempt = #attempt + :one")
            .set(FREE_AT, time(locked_until));
        match self.change(write).await? {
            Written::Done(row) => {
                let attributes = Attributes {
                    table: TABLE,
                    row: &row,
                };
                Ok(Some(Lease::granted(
                    read_credential(&row)?,
                    Fence(attributes.number("fence")?),
                    locked_until,
                    attributes.number("attempt")?,
                )))
            }
            Written::Refused(Some(_)) => Ok(None),
            Written::Refused(None) => Err(StateError::NotFound { what: "firm" }),
        }
    }

    async fn record_token(&self, lease: Lease<Credential>, token: &IssuedToken) -> Outcome<()> {
        let credential = lease.item();
        let record = entry_of(
            Stage::RefreshCredentials,
            &credential.firm,
            AuditAction::TokenObtained,
            &credential.client_id,
            token.access.issued_at,
        );
        self.with_entry(record)
            .end_refresh(&lease, |write| {
                without_refusal(write)
                    .set("token", text(token.access.secret.expose()))
                    .set("issued_at", time(token.access.issued_at))
                    .set("expires_at", time(token.access.expires_at))
                    .set_or_remove(
                        "refresh_token",
                        token.refresh_token.as_ref().map(|token| text(token.expose())),
                    )
                    .set("attempt", number(0))
                    .set(FREE_AT, number(0))
            })
            .await
    }

    async fn record_refusal(&self, lease: Lease<Credential>, reason: &Reason, retry_at: Timestamp) -> Outcome<()> {
        self.end_refresh(&lease, |write| {
            without_token(write)
                .set(REASON_CODE, text(reason.code()))
                .set(REASON_HINT, text(reason.hint()))
                .set("retry_at", time(retry_at))
                .set(FREE_AT, number(0))
        })
        .await
    }

    async fn release_refresh(&self, lease: Lease<Credential>, now: Timestamp) -> Outcome<()> {
        let attempt = lease.attempt().saturating_sub(1);
        self.end_refresh(&lease, |write| {
            write.set("attempt", number(attempt)).set(FREE_AT, time(now))
        })
        .await
    }
}
