//! The keys of firms: one row in a table of its own, which no backup has, wrapped under a key that is not in DynamoDB at all.
//!
//! # Invariants
//! - A key is in the table before a row is sealed with it, and has left the table before the firm's rows are deleted.
//! - Keys are added and destroyed by operators' commands alone; functions read them.
//! - A process uses what it read for [`REMEMBERED_FOR`]. A firm is connected again only when all have forgotten its old key
//!   ([`FORGOTTEN_AFTER`]): nobody seals with a destroyed key what others are to read.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_sdk_dynamodb::types::ReturnValue;
use sha2::{Digest as _, Sha256};
use skin_assist_core::{
    domain::FirmId,
    phi::Secret,
    ports::{Audit as _, AuditAction, AuditRecord, FirmAdministration as _, Firms as _, StateError},
    time::{Clock, Timestamp, VirtualClock},
};
use skin_assist_vault::{DataKey, KeyRing, RingError, WrappingKey};

use super::{
    DynamoStore, Outcome, TRIES, Written,
    codec::{Attributes, number, text},
    error::{contended, unavailable},
    lock,
    schema::FIRM_KEYS,
    write::{Key, Write},
};

/// For how long keys that were read are used without looking again.
const REMEMBERED_FOR: Duration = Duration::from_secs(5 * 60);

/// When no process has a key any more that was destroyed.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10 * 60);

fn key() -> Key {
    Key::new("ring", "ring")
}

/// The keys of firms cannot be used.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the keys of practices cannot be used")]
    Ring(#[source] RingError),
    #[error(
        "this practice was shredded less than ten minutes ago, which other processes may not know yet: connect it later"
    )]
    JustDestroyed,
}

impl From<RingError> for Trouble {
    fn from(error: RingError) -> Self {
        Self::Ring(error)
    }
}

struct Held {
    ring: KeyRing,
    read_at: Timestamp,
}

/// The keys of all firms of a deployment, as this process knows them.
pub struct FirmKeys {
    wrapping: WrappingKey,
    clock: Arc<dyn Clock>,
    held: Mutex<Option<Held>>,
}

impl fmt::Debug for FirmKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("FirmKeys")
    }
}

impl FirmKeys {
    /// Keys that are wrapped under what is derived from `secret`, which has at least 32 random bytes, in whatever form.
    pub fn new(secret: &Secret, clock: Arc<dyn Clock>) -> Arc<Self> {
        let secret: [u8; 32] = Sha256::digest(secret.expose().as_bytes()).into();
        Arc::new(Self {
            wrapping: WrappingKey::derive(&secret),
            clock,
            held: Mutex::default(),
        })
    }

    /// Keys that are wrapped under what everybody knows, and remembered for ever: for emulators.
    pub fn for_emulator() -> Arc<Self> {
        let clock = VirtualClock::new(Timestamp::from_millis(0));
        Self::new(&Secret::new("of an emulator".to_owned()), Arc::new(clock))
    }

    /// The firm's key as it was last read, where that was not too long ago. That there is none is not remembered: one is added with each
    /// connection.
    fn known(&self, firm: &str) -> Option<Arc<DataKey>> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = held.as_ref()?;
        let is_fresh = self.clock.now().since(held.read_at) < REMEMBERED_FOR;
        held.ring.key(firm).filter(|_| is_fresh).cloned()
    }

    pub(super) fn hold(&self, ring: KeyRing, read_at: Timestamp) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(Held { ring, read_at });
    }
}

impl DynamoStore {
    /// The ring as it is in the table now, and how often it was changed.
    async fn ring(&self) -> Outcome<(KeyRing, Option<u64>)> {
        let Some(row) = self.stored(&FIRM_KEYS, &key()).await? else {
            let ring = KeyRing::new().map_err(|error| unavailable(Trouble::from(error)))?;
            return Ok((ring, None));
        };
        let attributes = Attributes {
            table: FIRM_KEYS.name,
            row: &row,
        };
        let ring = KeyRing::read(attributes.text("ring")?, &self.keys.wrapping);
        let ring = ring.map_err(|error| unavailable(Trouble::from(error)))?;
        Ok((ring, Some(attributes.number("version")?)))
    }

    /// The firm's key; none where the firm was never connected, or was shredded.
    pub(super) async fn data_key(&self, firm: &str) -> Outcome<Option<Arc<DataKey>>> {
        if let Some(known) = self.keys.known(firm) {
            return Ok(Some(known));
        }
        let asked_at = self.keys.clock.now();
        let (ring, _) = self.ring().await?;
        let key = ring.key(firm).cloned();
        self.keys.hold(ring, asked_at);
        Ok(key)
    }

    /// Changes the ring, unless `change` says that there is nothing to change.
    async fn change_ring(&self, change: impl Fn(&mut KeyRing) -> Result<bool, Trouble> + Send + Sync) -> Outcome<bool> {
        for _ in 0..TRIES {
            let asked_at = self.keys.clock.now();
            let (mut ring, version) = self.ring().await?;
            if !change(&mut ring).map_err(unavailable)? {
                self.keys.hold(ring, asked_at);
                return Ok(false);
            }
            let written = ring.write(&[&self.keys.wrapping]);
            let written = written.map_err(|error| unavailable(Trouble::from(error)))?;
            let write = Write::update(&FIRM_KEYS, key())
                .when_is("version", version.map(number))
                .set("version", number(version.unwrap_or(0) + 1))
                .set("ring", text(written));
            // By itself: what the next write puts into the audit trail is about the firm.
            if let Written::Done(_) = self.write_alone(write, ReturnValue::None).await? {
                self.keys.hold(ring, asked_at);
                return Ok(true);
            }
        }
        Err(contended())
    }

    /// Makes a key for a firm that has none.
    pub(super) async fn add_data_key(&self, firm: &FirmId) -> Outcome<()> {
        let now = self.keys.clock.now();
        let added = self.change_ring(|ring| {
            let destroyed = ring.destroyed().iter().filter(|key| key.firm == firm.as_str());
            let last = destroyed.map(|key| Timestamp::from_millis(key.at_ms)).max();
            if ring.key(firm.as_str()).is_none() && last.is_some_and(|last| last + FORGOTTEN_AFTER > now) {
                return Err(Trouble::JustDestroyed);
            }
            Ok(ring.add(firm.as_str())?)
        });
        added.await.map(drop)
    }

    /// What an audit record of the firm is sealed with: also of one that was never connected; none of one that was shredded.
    pub(super) async fn audit_key(&self, firm: &FirmId) -> Outcome<Option<Arc<DataKey>>> {
        if let Some(key) = self.data_key(firm.as_str()).await? {
            return Ok(Some(key));
        }
        let was_destroyed = |ring: &KeyRing| ring.destroyed().iter().any(|key| key.firm == firm.as_str());
        let added = self.change_ring(|ring| Ok(!was_destroyed(ring) && ring.add(firm.as_str())?));
        added.await?;
        self.data_key(firm.as_str()).await
    }

    /// Destroys the firm's key, so that nobody can read what was sealed with it from now on, wherever it is kept; then removes the firm, if
    /// that was not done before.
    ///
    /// The audit trail says that `actor` began with it before the key is destroyed, which nothing takes back, and that it is done in the
    /// transaction that takes the firm out of sight; where that was done before, at the end.
    ///
    /// # Errors
    /// [`StateError::NotFound`] when there is neither a key nor a firm, [`StateError::Unavailable`].
    pub async fn shred_firm(&self, firm: &FirmId, actor: &str, now: Timestamp) -> Result<(), StateError> {
        let entry = |subject: &str| AuditRecord {
            at: now,
            firm: firm.clone(),
            actor: actor.to_owned(),
            action: AuditAction::FirmChanged,
            subject: subject.to_owned(),
        };
        let has_a_key = self.ring().await?.0.key(firm.as_str()).is_some();
        let (_, is_being_removed) = self.generation(firm).await?;
        if !has_a_key && !is_being_removed && self.firm(firm).await?.is_none() {
            return Err(StateError::NotFound { what: "firm" });
        }
        self.record(&entry("shredding begun")).await?;
        let had_a_key = self
            .change_ring(|ring| Ok(ring.destroy(firm.as_str(), now.as_millis())))
            .await?;
        let telling = self.with_entry(entry("shredded"));
        match telling.remove_firm(firm).await {
            Err(StateError::NotFound { .. }) if had_a_key => {}
            outcome => outcome?,
        }
        let untold = lock(&telling.beside).take();
        match untold {
            Some(entry) => self.record(&entry).await,
            None => Ok(()),
        }
    }
}
