//! The functions of the deployment on AWS: from an event to a turn of the driver, and back.
//!
//! Nothing here knows a vendor's library: events are JSON, state and EHR are ports. So the very functions that are deployed
//! run under virtual time in the tests, on a state in memory.
//!
//! # What goes in and out
//! Ids, counts and seconds. No answer and no error holds patient data, and no error quotes what others said.
//!
//! # When it fails
//! With a [`FunctionError`], whose name is stable: the state machine and alarms match it. An event proposes an item; what
//! becomes of a proposal that fails is said where records are answered.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use skin_assist_core::{
    domain::{AssessmentId, DocumentId, FirmId},
    ports::{Class, Proposals, RetentionLimits, StateError},
    time::Timestamp,
};

use crate::{
    driver::{Engine, Handled, Item, Shard, SweepMemory},
    retention,
};

/// How long a function of the pipeline waits for an item whose step before is about to end.
const PATIENCE: Duration = Duration::from_secs(3);

/// How many items of each step are proposed in a cycle at most.
const MOST_PROPOSED: usize = 100;

/// How many items one invocation is given.
const BATCH: usize = 10;

/// How many items of an event are worked on at the same time.
const AT_ONCE: usize = 4;

/// How many sweeps the state machine makes in a cycle.
pub const SWEEPS_OF_A_CYCLE: u32 = 3;

/// Time that a function keeps free at its end.
const MARGIN: Duration = Duration::from_secs(2);

/// A function, by the name of its handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FunctionName {
    /// Says which firms are active, in shards.
    DiscoverFirms,
    /// Renews the tokens of a shard.
    RefreshCredentials,
    /// Polls the encounters of a shard.
    PollEncounters,
    /// A sweep over documents.
    PollDocuments,
    /// Downloads photos.
    DownloadPhoto,
    /// Has the models look at photos.
    Infer,
    /// Writes drafts.
    WriteBack,
    /// Proposes again what is due.
    ProposeDue,
    /// Removes what is past its time.
    RemoveExpired,
}

impl FunctionName {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::DiscoverFirms,
        Self::RefreshCredentials,
        Self::PollEncounters,
        Self::PollDocuments,
        Self::DownloadPhoto,
        Self::Infer,
        Self::WriteBack,
        Self::ProposeDue,
        Self::RemoveExpired,
    ];

    /// Whether it calls the EHR, and so needs the vendor's API key.
    pub const fn calls_the_ehr(self) -> bool {
        !matches!(self, Self::DiscoverFirms | Self::ProposeDue | Self::RemoveExpired)
    }

    /// Whether it reads what is sealed with the keys of practices.
    pub const fn opens_what_is_sealed(self) -> bool {
        !matches!(self, Self::DiscoverFirms)
    }

    /// The name of its handler.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DiscoverFirms => "discover-firms",
            Self::RefreshCredentials => "refresh-credentials",
            Self::PollEncounters => "poll-encounters",
            Self::PollDocuments => "poll-documents",
            Self::DownloadPhoto => "download-photo",
            Self::Infer => "infer",
            Self::WriteBack => "write-back",
            Self::ProposeDue => "propose-due",
            Self::RemoveExpired => "remove-expired",
        }
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for FunctionName {
    type Err = FunctionError;

    fn from_str(text: &str) -> Result<Self, FunctionError> {
        Self::ALL
            .into_iter()
            .find(|function| function.as_str() == text)
            .ok_or(FunctionError::FunctionUnknown)
    }
}

/// Why a function failed. [`FunctionError::name`] is what a state machine matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum FunctionError {
    /// No function has this handler's name.
    #[error("no function has this handler's name: template and binary are of different releases")]
    FunctionUnknown,
    /// The configuration is not whole or not right. The log says what is wrong with it.
    #[error("the configuration cannot be used: see the log")]
    ConfigurationInvalid,
    /// The event is not of the form that the function takes.
    #[error("the event is not of the form that this function takes")]
    InputMalformed,
    /// The tables cannot be reached, or are busy.
    #[error("the state store is not available")]
    StateUnavailable,
    /// A row cannot be read.
    #[error("a row of the state store cannot be read")]
    StateCorrupt,
    /// An item is under a lease: the event has to come again.
    #[error("an item is under a lease: to be proposed again")]
    ItemBusy,
}

impl FunctionError {
    /// Its stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FunctionUnknown => "FunctionUnknown",
            Self::ConfigurationInvalid => "ConfigurationInvalid",
            Self::InputMalformed => "InputMalformed",
            Self::StateUnavailable => "StateUnavailable",
            Self::StateCorrupt => "StateCorrupt",
            Self::ItemBusy => "ItemBusy",
        }
    }
}

impl From<StateError> for FunctionError {
    fn from(error: StateError) -> Self {
        tracing::error!(event = "function.state-failed", error = %error, cause = ?std::error::Error::source(&error));
        match error.class() {
            Class::Permanent => Self::StateCorrupt,
            _ => Self::StateUnavailable,
        }
    }
}

/// How the store's keys look in events.
#[derive(Clone, Copy)]
pub struct EventKeys {
    /// The attribute of a stream record's key that holds the firm.
    pub firm: &'static str,
    /// The attribute that holds the item.
    pub item: &'static str,
    /// How the items of results begin.
    pub result_prefix: &'static str,
    /// The key of a photo's object, which tells nothing to who does not know the photo.
    pub photo: fn(&FirmId, &DocumentId) -> String,
}

/// The functions on one engine.
pub struct Functions {
    /// The engine.
    pub engine: Engine,
    /// Items by name, in the engine's state.
    pub proposals: Arc<dyn Proposals>,
    /// How events name items.
    pub keys: EventKeys,
    /// How many firms a shard has.
    pub shard_size: usize,
    /// How long a sweep begins new calls.
    pub sweep_for: Duration,
    /// What is remembered from one sweep to the next.
    pub memory: SweepMemory,
    /// For how long what is finished is kept.
    pub retention: RetentionLimits,
}

#[derive(Deserialize)]
struct Firms {
    firms: Vec<FirmId>,
}

#[derive(Deserialize)]
struct Sweep {
    firms: Vec<FirmId>,
    /// How long after its beginning the next one begins.
    #[serde(default)]
    sweep_every_seconds: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProposedItem {
    firm: FirmId,
    document: Option<DocumentId>,
    assessment: Option<AssessmentId>,
}

impl Functions {
    /// Runs a function on an event. It is cut off at `deadline`, and begins nothing shortly before.
    pub async fn invoke(
        &self,
        function: FunctionName,
        event: &Value,
        deadline: Timestamp,
    ) -> Result<Value, FunctionError> {
        let until = deadline - MARGIN;
        match function {
            FunctionName::DiscoverFirms => {
                let shards = self.engine.shards(self.shard_size).await?;
                Ok(json!({ "shards": shards }))
            }
            FunctionName::RefreshCredentials => {
                let Firms { firms } = read(event)?;
                answer(&self.engine.refresh_credentials(&firms).await?)
            }
            FunctionName::PollEncounters => {
                let shard: Shard = read(event)?;
                let every = Duration::from_secs(shard.encounters_every_s);
                answer(&self.engine.poll_encounters(&shard.firms, every, until).await?)
            }
            FunctionName::PollDocuments => {
                let Sweep {
                    firms,
                    sweep_every_seconds,
                } = read(event)?;
                let began = self.engine.clock.now();
                let until = until.min(began + self.sweep_for);
                let next_cycle = began + Duration::from_secs(sweep_every_seconds) * SWEEPS_OF_A_CYCLE;
                let swept = self.engine.sweep(&firms, until, next_cycle, &self.memory).await?;
                // Sweeps begin at even times, however long one had something to do.
                let took = self.engine.clock.now().since(began).as_secs();
                let pause_seconds = sweep_every_seconds.saturating_sub(took).max(1);
                // The other sweeps of the cycle would find nothing either.
                let idle = swept.idle_until.is_some_and(|idle_until| idle_until >= next_cycle);
                Ok(json!({ "firms": swept.firms, "pause_seconds": pause_seconds, "idle": idle }))
            }
            FunctionName::DownloadPhoto | FunctionName::Infer | FunctionName::WriteBack => {
                self.pipeline(function, event).await
            }
            FunctionName::ProposeDue => self.propose_due().await,
            FunctionName::RemoveExpired => {
                // What is left then goes with the next one.
                let Engine { state, clock, .. } = &self.engine;
                let removed = retention::remove_expired(&**state, &**clock, &self.retention, Some(until)).await?;
                answer(&removed)
            }
        }
    }

    /// Items named by a cycle, by records of a stream, or by objects of the bucket.
    async fn pipeline(&self, function: FunctionName, event: &Value) -> Result<Value, FunctionError> {
        if let Some(records) = event["Records"].as_array() {
            return self.records(function, records).await;
        }
        let items: Vec<ProposedItem> = read(&event["items"])?;
        let items = items
            .into_iter()
            .map(|item| proposed(function, item).ok_or(FunctionError::InputMalformed))
            .collect::<Result<Vec<_>, _>>()?;
        let mut worked = 0;
        for outcome in self.handle_all(items.into_iter().map(|item| Ok(Some(item)))).await {
            // One that somebody else has is proposed again in the next cycle, as long as it is due.
            worked += usize::from(outcome? == Handled::Worked);
        }
        Ok(json!({ "worked": worked }))
    }

    /// Records of a stream are answered one by one: what failed, was under a lease or could not be understood comes again, and
    /// ends with the dead letters of the mapping after bounded attempts. For objects of the bucket there is only one answer
    /// for all, as they come one at a time.
    async fn records(&self, function: FunctionName, records: &[Value]) -> Result<Value, FunctionError> {
        let mut items = Vec::with_capacity(records.len());
        for record in records {
            items.push(match function {
                FunctionName::Infer => self.stored_photo(record).await?,
                _ => self.item(function, record).await,
            });
        }
        let numbers: Vec<Option<&str>> = records
            .iter()
            .map(|record| record["dynamodb"]["SequenceNumber"].as_str())
            .collect();
        let outcomes = self.handle_all(items.into_iter()).await;
        let mut failures = Vec::new();
        for (outcome, number) in outcomes.into_iter().zip(numbers) {
            let error = match outcome {
                Ok(Handled::Busy) => FunctionError::ItemBusy,
                Ok(_) => continue,
                Err(error) => error,
            };
            tracing::warn!(event = "record.returned", error = error.name());
            match number {
                Some(number) => failures.push(json!({ "itemIdentifier": number })),
                None => return Err(error),
            }
        }
        Ok(json!({ "batchItemFailures": failures }))
    }

    /// Outcomes in the order of the items.
    async fn handle_all(
        &self,
        items: impl Iterator<Item = Result<Option<Item>, FunctionError>>,
    ) -> Vec<Result<Handled, FunctionError>> {
        let patience = self.engine.clock.now() + PATIENCE;
        let handled = stream::iter(items).map(|item| async move {
            let Some(item) = item? else { return Ok(Handled::Settled) };
            Ok(self.engine.handle(&*self.proposals, &item, patience).await?)
        });
        handled.buffered(AT_ONCE).collect().await
    }

    /// The item that a record names; none of a practice that was shredded.
    async fn item(&self, function: FunctionName, record: &Value) -> Result<Option<Item>, FunctionError> {
        let stored = self.stream_key(record).and_then(|(firm, item)| match function {
            FunctionName::DownloadPhoto => Some((firm, item)),
            FunctionName::WriteBack => Some((firm, item.strip_prefix(self.keys.result_prefix)?)),
            _ => None,
        });
        let Some((firm, stored)) = stored else {
            tracing::error!(event = "record.malformed", %function);
            return Err(FunctionError::InputMalformed);
        };
        let id = self.proposals.id_of(&firm, stored).await?;
        Ok(id.map(|id| match function {
            FunctionName::WriteBack => Item::WriteBack(firm, AssessmentId::new(id)),
            _ => Item::Download(firm, DocumentId::new(id)),
        }))
    }

    /// The photo whose object was stored, among those that wait; none where it waits no more. The key of an object does not tell.
    async fn stored_photo(&self, record: &Value) -> Result<Result<Option<Item>, FunctionError>, FunctionError> {
        let Some(key) = record["s3"]["object"]["key"].as_str() else {
            tracing::error!(event = "record.malformed", function = %FunctionName::Infer);
            return Ok(Err(FunctionError::InputMalformed));
        };
        let photo = self
            .engine
            .waiting_photo(&*self.proposals, |firm, document| {
                (self.keys.photo)(firm, document) == key
            })
            .await?;
        Ok(Ok(photo.map(|(firm, document)| Item::Infer(firm, document))))
    }

    fn stream_key<'a>(&self, record: &'a Value) -> Option<(FirmId, &'a str)> {
        let key = |attribute: &str| record["dynamodb"]["Keys"][attribute]["S"].as_str();
        Some((key(self.keys.firm)?.parse().ok()?, key(self.keys.item)?))
    }

    async fn propose_due(&self) -> Result<Value, FunctionError> {
        let (items, oldest) = self.engine.due(&*self.proposals, MOST_PROPOSED).await?;
        let mut by_step: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        let due = items.len();
        for item in items {
            let (step, item) = match item {
                Item::Download(firm, document) => ("download-photo", json!({ "firm": firm, "document": document })),
                Item::Infer(firm, document) => ("infer", json!({ "firm": firm, "document": document })),
                Item::WriteBack(firm, assessment) => ("write-back", json!({ "firm": firm, "assessment": assessment })),
            };
            by_step.entry(step).or_default().push(item);
        }
        let batches: Vec<Value> = by_step
            .into_iter()
            .flat_map(|(step, items)| {
                let batches: Vec<Value> = items
                    .chunks(BATCH)
                    .map(|items| json!({ "step": step, "items": items }))
                    .collect();
                batches
            })
            .collect();
        let now = self.engine.clock.now();
        let oldest_s = oldest.map_or(0, |oldest| now.since(oldest).as_secs());
        tracing::info!(event = "due.proposed", due, oldest_s);
        Ok(json!({ "batches": batches, "due": due, "oldest_s": oldest_s }))
    }
}

fn proposed(function: FunctionName, item: ProposedItem) -> Option<Item> {
    let ProposedItem {
        firm,
        document,
        assessment,
    } = item;
    Some(match function {
        FunctionName::DownloadPhoto => Item::Download(firm, document?),
        FunctionName::Infer => Item::Infer(firm, document?),
        FunctionName::WriteBack => Item::WriteBack(firm, assessment?),
        _ => return None,
    })
}

fn read<T: DeserializeOwned>(event: &Value) -> Result<T, FunctionError> {
    T::deserialize(event).map_err(|_| {
        // What is wrong with it is not said: the decoder would quote it.
        tracing::error!(event = "event.malformed");
        FunctionError::InputMalformed
    })
}

fn answer(counts: &impl serde::Serialize) -> Result<Value, FunctionError> {
    serde_json::to_value(counts).map_err(|_| FunctionError::InputMalformed)
}
