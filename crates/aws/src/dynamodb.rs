//! The state of all firms in DynamoDB: [`DynamoStore`] implements every state port of [`skin_assist_core::ports`] except
//! [`Photos`](skin_assist_core::ports::Photos), which are in S3.
//!
//! # Invariants
//! - A port method is one conditional write, or one transaction. Where it has to write more rows than a transaction takes
//!   (100), or rows of which a first part can stand for itself, it writes in an order that can be repeated: what was found
//!   first, under the same condition, and what says that it was recorded (cursor, look, lease) last. So it does with rows that nobody looks
//!   for until another names them (what a result says), and with those that are the same whoever writes them (findings).
//! - An index proposes, the conditional write decides. Reads that a write depends on are strongly consistent.
//! - The firm is part of every key ([`schema`]).
//! - Fences only grow, even across the deletion of a row: a row begins with the firm's generation (how often a firm of that
//!   name was connected) and the time in its fence, so that no later row of the same name can have a fence that an
//!   earlier one had.
//! - What an error says never quotes a row.
//!
//! # When it fails
//! A method that returned an error changed nothing, but for the case that DynamoDB did it and the answer was lost. Then
//! trying again finds it done (what is conditional on a fence or a cursor is refused as lost, quietly; what is put twice is
//! the same twice), and a lease that nobody was told of expires.
//!
//! # What it costs
//! A write is paid for by the size of its row, begun by the kilobyte, twice in a transaction, and once more for each
//! index that it moves the row in. So what changes often is small and lies apart from what is large (`result#` and `note#`), what
//! is only looked at is not written (an encounter seen again), and a look at any number of encounters under a leased
//! watch list is one write. A read is paid for by four kilobytes begun: what did not change since this process read it is not
//! read again (`watching`).

mod arrivals;
mod assessments;
mod audit;
mod codec;
mod credentials;
mod deliveries;
mod documents;
mod due;
mod encounters;
mod error;
mod firm_keys;
mod firms;
mod grants;
mod inference;
mod looks;
mod memory;
mod operations;
mod proposals;
mod retention;
pub mod schema;
mod sealed;
mod setup;
mod spending;
mod watch_lists;
mod watching;
mod write;

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_sdk_dynamodb::{
    Client,
    operation::{
        delete_item::DeleteItemError, put_item::PutItemError, transact_write_items::TransactWriteItemsError,
        update_item::UpdateItemError,
    },
    types::{
        AttributeValue, DeleteRequest, KeysAndAttributes, ReturnValue, ReturnValuesOnConditionCheckFailure,
        WriteRequest,
    },
};
use aws_smithy_async::rt::sleep::AsyncSleep as _;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use skin_assist_core::{
    audit::AuditHead,
    domain::{FirmId, Mode, is_served},
    ports::{AuditRecord, StateError},
};

use crate::connection::Connection;
use codec::{Attributes, Row};
use error::{contended, meaning, unavailable};
use schema::{FIRMS, Table};
use write::{Expressions, Key, Kind, Used, Write, some};

pub use firm_keys::FirmKeys;
pub use sealed::is_sealed;
pub use setup::SetupError;

type Outcome<T> = Result<T, StateError>;

/// How often a write is tried that others were faster with: each failure means that one of them got on.
const TRIES: usize = 50;

/// How often a request is sent again whose rows others were just writing, or of which DynamoDB did a part.
const CONFLICTS: u32 = 8;

/// How long the first of these waits at most; the next ones twice as long each: 1.3 s in all.
const PAUSE: Duration = Duration::from_millis(10);

/// How many requests one method has under way at most.
const AT_ONCE: usize = 16;

/// Rows of one transaction.
const MOST_IN_A_TRANSACTION: usize = 100;

/// The state of all firms, in the tables of one deployment. Shared by reference between tasks and threads.
pub struct DynamoStore {
    client: Client,
    prefix: String,
    keys: Arc<FirmKeys>,
    /// Quotas as they were when this process last took a call from them.
    quotas: Mutex<HashMap<String, grants::Known>>,
    /// What this process has booked of quotas, under a number of its own.
    ahead: Mutex<HashMap<String, grants::Ahead>>,
    holder: u64,
    /// Where the chains of the audit trail ended when this process last wrote into them.
    audited: Arc<Mutex<HashMap<FirmId, AuditHead>>>,
    /// What the next write puts into the audit trail beside its own.
    beside: Mutex<Option<AuditRecord>>,
    /// Looks as they were when this process last read them.
    moved_looks: Mutex<HashMap<FirmId, looks::MovedLooks>>,
    /// Encounters as they were when this process last read them.
    watching: Mutex<HashMap<FirmId, Arc<watching::Watching>>>,
}

impl std::fmt::Debug for DynamoStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("DynamoStore")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that can panic runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What became of a conditional write.
enum Written {
    /// Done; the row as it is now, where it was asked for.
    Done(Row),
    /// The condition did not hold: the row as it is, if there is one.
    Refused(Option<Row>),
}

/// What became of a transaction.
enum Transacted {
    Done,
    /// Nothing was written: for each write, whether its condition did not hold.
    Refused(Vec<Option<Refusal>>),
}

/// A condition did not hold: the row as it is, if there is one.
struct Refusal(Option<Row>);

/// What is asked of a table or an index.
struct Ask {
    table: &'static Table,
    index: Option<&'static str>,
    key: &'static str,
    filter: Option<&'static str>,
    /// Attributes that are wanted, `None` for all.
    wanted: Option<&'static str>,
    values: Row,
    latest_first: bool,
    page: Option<usize>,
    /// Whether rows may be as they were a moment ago: for half of what it costs. Of indexes they are in any case.
    eventually: bool,
}

impl Ask {
    /// The rows of a partition, in the order of their items.
    fn part(table: &'static Table, part: &str) -> Self {
        Self {
            table,
            index: None,
            key: "#part = :part",
            filter: None,
            wanted: None,
            values: HashMap::from([("part".to_owned(), codec::text(part))]),
            latest_first: false,
            page: None,
            eventually: false,
        }
    }

    /// Those of them whose item begins with this.
    fn beginning(table: &'static Table, part: &str, beginning: &str) -> Self {
        Self {
            key: "#part = :part AND begins_with(#item, :beginning)",
            ..Self::part(table, part)
        }
        .value("beginning", codec::text(beginning))
    }

    fn value(mut self, name: &str, value: AttributeValue) -> Self {
        self.values.insert(name.to_owned(), value);
        self
    }
}

/// What became of one request to write a row, whichever of the three it was: none when a transaction was just writing the row.
macro_rules! written {
    ($sent:expr, $error:ident, |$done:pat_param| $row:expr) => {
        match $sent {
            Ok($done) => Ok(Some(Written::Done($row))),
            Err(error) => match error.as_service_error() {
                Some($error::ConditionalCheckFailedException(refused)) => {
                    Ok(Some(Written::Refused(refused.item.clone())))
                }
                Some(answer) if answer.meta().code() == Some("TransactionConflictException") => Ok(None),
                _ => Err(meaning(&error)),
            },
        }
    };
}

/// A firm as workers have to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Served {
    generation: u64,
    paused: bool,
    /// Whether drafts may be written into its charts.
    takes_drafts: bool,
}

impl DynamoStore {
    /// The state in the tables whose names begin with `prefix`. Nothing is sent yet.
    pub fn new(connection: &Connection, prefix: impl Into<String>, keys: Arc<FirmKeys>) -> Self {
        Self {
            client: Client::new(&connection.config),
            prefix: prefix.into(),
            keys,
            quotas: Mutex::default(),
            ahead: Mutex::default(),
            holder: RandomState::new().hash_one(()),
            audited: Arc::default(),
            beside: Mutex::default(),
            moved_looks: Mutex::default(),
            watching: Mutex::default(),
        }
    }

    /// The same state, by a handle whose next write puts the entry into the audit trail, too.
    fn with_entry(&self, record: AuditRecord) -> Self {
        Self {
            client: self.client.clone(),
            prefix: self.prefix.clone(),
            keys: Arc::clone(&self.keys),
            quotas: Mutex::default(),
            ahead: Mutex::default(),
            holder: self.holder,
            audited: Arc::clone(&self.audited),
            beside: Mutex::new(Some(record)),
            moved_looks: Mutex::default(),
            watching: Mutex::default(),
        }
    }

    fn name(&self, table: &Table) -> String {
        format!("{}{}", self.prefix, table.name)
    }

    /// Writes one row.
    async fn write(&self, write: Write) -> Outcome<Written> {
        self.write_and_give(write, ReturnValue::None).await
    }

    /// Writes one row, and gives it as it is then.
    async fn change(&self, write: Write) -> Outcome<Written> {
        self.write_and_give(write, ReturnValue::AllNew).await
    }

    async fn write_and_give(&self, write: Write, give: ReturnValue) -> Outcome<Written> {
        if lock(&self.beside).is_some() {
            let key = write.key.clone();
            let table = write.table;
            return Ok(match self.transact(&[write]).await? {
                Transacted::Done if give == ReturnValue::None => Written::Done(Row::new()),
                Transacted::Done => Written::Done(self.get(table, &key).await?.unwrap_or_default()),
                Transacted::Refused(mut refusals) => {
                    Written::Refused(refusals.swap_remove(0).and_then(|refusal| refusal.0))
                }
            });
        }
        self.write_alone(write, give).await
    }

    /// The same, whatever the next write puts into the audit trail.
    async fn write_alone(&self, write: Write, give: ReturnValue) -> Outcome<Written> {
        for turn in 0..CONFLICTS {
            if let Some(written) = self.attempt(&write, &give).await? {
                return Ok(written);
            }
            self.pause(turn).await;
        }
        Err(contended())
    }

    /// Lets the others finish, for a time of chance: those who conflicted once shall not do so again. Not where nothing can wait,
    /// because nothing conflicts there ([`Connection`] in place).
    async fn pause(&self, turn: u32) {
        let mut chance = [0_u8; 1];
        let most = PAUSE * 2_u32.pow(turn);
        if let Some(sleep) = self.client.config().sleep_impl() {
            // Without chance they wait for as long as each other, which is no worse than not to wait.
            _ = getrandom::fill(&mut chance);
            sleep.sleep(most * u32::from(chance[0]) / 256).await;
        }
    }

    /// One attempt; none when a transaction was just writing the row.
    async fn attempt(&self, write: &Write, give: &ReturnValue) -> Outcome<Option<Written>> {
        let table = write.table;
        let Some(write) = self.seal_write(write).await? else {
            return Ok(Some(Written::Refused(None)));
        };
        Ok(match self.attempt_sealed(&write, give).await? {
            Some(Written::Done(row)) => Some(Written::Done(self.open_row(table, row).await?.unwrap_or_default())),
            Some(Written::Refused(row)) => Some(Written::Refused(self.open_if_any(table, row).await?)),
            None => None,
        })
    }

    async fn attempt_sealed(&self, write: &Write, give: &ReturnValue) -> Outcome<Option<Written>> {
        let Expressions {
            change,
            condition,
            names,
            values,
        } = write.expressions();
        let (names, values) = (some(names), some(values));
        let table = self.name(write.table);
        let old = ReturnValuesOnConditionCheckFailure::AllOld;
        match write.kind {
            Kind::Update => {
                let sent = self
                    .client
                    .update_item()
                    .table_name(table)
                    .set_key(Some(write.key.row()))
                    .set_update_expression(change)
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .return_values(give.clone())
                    .return_values_on_condition_check_failure(old)
                    .send()
                    .await;
                written!(sent, UpdateItemError, |done| done.attributes.unwrap_or_default())
            }
            Kind::Put => {
                let sent = self
                    .client
                    .put_item()
                    .table_name(table)
                    .set_item(Some(write.row()))
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .return_values_on_condition_check_failure(old)
                    .send()
                    .await;
                written!(sent, PutItemError, |_| Row::new())
            }
            Kind::Delete => {
                let sent = self
                    .client
                    .delete_item()
                    .table_name(table)
                    .set_key(Some(write.key.row()))
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .return_values_on_condition_check_failure(old)
                    .send()
                    .await;
                written!(sent, DeleteItemError, |_| Row::new())
            }
            // A check stands for itself only as a transaction of one.
            Kind::Check => Ok(Some(match self.transact_sealed(std::slice::from_ref(write)).await? {
                Transacted::Done => Written::Done(Row::new()),
                Transacted::Refused(mut refusals) => {
                    Written::Refused(refusals.swap_remove(0).and_then(|refusal| refusal.0))
                }
            })),
        }
    }

    /// Writes all rows or none, with the entry that has to go beside.
    async fn transact(&self, writes: &[Write]) -> Outcome<Transacted> {
        let Some(record) = lock(&self.beside).take() else {
            return self.transact_plain(writes).await;
        };
        let transacted = self.transact_with(writes, std::slice::from_ref(&record)).await;
        if !matches!(transacted, Ok(Transacted::Done)) {
            *lock(&self.beside) = Some(record);
        }
        transacted
    }

    /// Writes all rows or none. A single one is no transaction, which would cost double.
    async fn transact_plain(&self, writes: &[Write]) -> Outcome<Transacted> {
        match writes {
            [] => Ok(Transacted::Done),
            [write] if write.kind != Kind::Check => {
                Ok(match self.write_alone(write.clone(), ReturnValue::None).await? {
                    Written::Done(_) => Transacted::Done,
                    Written::Refused(row) => Transacted::Refused(vec![Some(Refusal(row))]),
                })
            }
            writes => self.transact_all(writes).await,
        }
    }

    async fn transact_all(&self, writes: &[Write]) -> Outcome<Transacted> {
        let mut sealed = Vec::with_capacity(writes.len());
        for write in writes {
            sealed.push(self.seal_write(write).await?);
        }
        if sealed.iter().any(Option::is_none) {
            let refusal = |write: &Option<Write>| write.is_none().then_some(Refusal(None));
            return Ok(Transacted::Refused(sealed.iter().map(refusal).collect()));
        }
        let sealed: Vec<Write> = sealed.into_iter().flatten().collect();
        let mut transacted = self.transact_sealed(&sealed).await?;
        if let Transacted::Refused(refusals) = &mut transacted {
            for (refusal, write) in refusals.iter_mut().zip(writes) {
                if let Some(Refusal(row)) = refusal {
                    *row = self.open_if_any(write.table, row.take()).await?;
                }
            }
        }
        Ok(transacted)
    }

    async fn transact_sealed(&self, writes: &[Write]) -> Outcome<Transacted> {
        let items = writes
            .iter()
            .map(|write| write.in_transaction(self.name(write.table)))
            .collect::<Result<Vec<_>, _>>()
            .map_err(unavailable)?;
        for turn in 0..CONFLICTS {
            let sent = self
                .client
                .transact_write_items()
                .set_transact_items(Some(items.clone()))
                .send()
                .await;
            let Err(error) = sent else {
                return Ok(Transacted::Done);
            };
            let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) = error.as_service_error() else {
                return Err(meaning(&error));
            };
            let reasons = canceled.cancellation_reasons();
            let failed = |code: &str| reasons.iter().any(|reason| reason.code() == Some(code));
            if failed("ConditionalCheckFailed") {
                let refusal = |reason: &aws_sdk_dynamodb::types::CancellationReason| {
                    (reason.code() == Some("ConditionalCheckFailed"))
                        .then(|| Refusal(reason.item.clone().filter(|row| !row.is_empty())))
                };
                return Ok(Transacted::Refused(reasons.iter().map(refusal).collect()));
            }
            if !failed("TransactionConflict") {
                let code = reasons
                    .iter()
                    .filter_map(|reason| reason.code())
                    .find(|code| *code != "None");
                return Err(unavailable(error::Failure::Answered {
                    code: code.unwrap_or("TransactionCanceledException").to_owned(),
                }));
            }
            self.pause(turn).await;
        }
        Err(contended())
    }

    /// A row, as it is now.
    async fn get(&self, table: &'static Table, key: &Key) -> Outcome<Option<Row>> {
        let Some(key) = self.seal_key(table, key).await? else {
            return Ok(None);
        };
        let row = self.stored(table, &key).await?;
        self.open_if_any(table, row).await
    }

    /// A row as it is stored.
    async fn stored(&self, table: &'static Table, key: &Key) -> Outcome<Option<Row>> {
        let sent = self
            .client
            .get_item()
            .table_name(self.name(table))
            .set_key(Some(key.row()))
            .consistent_read(true)
            .send()
            .await;
        Ok(sent.map_err(|error| meaning(&error))?.item)
    }

    /// Those of the rows that exist, as they are now.
    async fn get_all(&self, table: &'static Table, keys: Vec<Key>) -> Outcome<HashMap<Key, Row>> {
        let mut distinct = keys;
        let mut seen = std::collections::HashSet::new();
        distinct.retain(|key| seen.insert(key.clone()));
        let batches: Vec<Vec<Key>> = distinct.chunks(100).map(<[Key]>::to_vec).collect();
        let found: Vec<Vec<Row>> = stream::iter(batches)
            .map(|batch| self.get_batch(table, batch))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(found
            .into_iter()
            .flatten()
            .filter_map(|row| Some((Key::of(&row)?, row)))
            .collect())
    }

    async fn get_batch(&self, table: &'static Table, keys: Vec<Key>) -> Outcome<Vec<Row>> {
        let name = self.name(table);
        let mut rows = Vec::new();
        let mut wanted = Vec::with_capacity(keys.len());
        for key in &keys {
            wanted.extend(self.seal_key(table, key).await?.map(|key| key.row()));
        }
        if wanted.is_empty() {
            return Ok(rows);
        }
        for turn in 0..CONFLICTS {
            let asked = KeysAndAttributes::builder()
                .set_keys(Some(wanted))
                .consistent_read(true)
                .build()
                .map_err(unavailable)?;
            let sent = self.client.batch_get_item().request_items(&name, asked).send().await;
            let answer = sent.map_err(|error| meaning(&error))?;
            rows.extend(answer.responses.unwrap_or_default().remove(&name).unwrap_or_default());
            wanted = match answer.unprocessed_keys.unwrap_or_default().remove(&name) {
                Some(left) if !left.keys().is_empty() => left.keys,
                _ => return self.open_rows(table, rows).await,
            };
            self.pause(turn).await;
        }
        Err(contended())
    }

    /// A page of what is asked for, and where the next one begins.
    async fn page(&self, ask: &Ask, from: Option<Row>) -> Outcome<(Vec<Row>, Option<Row>)> {
        let (rows, next) = self.stored_page(ask, from).await?;
        Ok((self.open_rows(ask.table, rows).await?, next))
    }

    /// The same as it is stored, whether or not anybody can read it.
    async fn stored_page(&self, ask: &Ask, from: Option<Row>) -> Outcome<(Vec<Row>, Option<Row>)> {
        let used = Used::of(&[Some(ask.key), ask.filter, ask.wanted], &HashMap::new(), &ask.values);
        let sent = self
            .client
            .query()
            .table_name(self.name(ask.table))
            .set_index_name(ask.index.map(str::to_owned))
            .key_condition_expression(ask.key)
            .set_filter_expression(ask.filter.map(str::to_owned))
            .set_projection_expression(ask.wanted.map(str::to_owned))
            .set_expression_attribute_names(some(used.names))
            .set_expression_attribute_values(some(used.values))
            .scan_index_forward(!ask.latest_first)
            .consistent_read(ask.index.is_none() && !ask.eventually)
            .set_limit(ask.page.map(|page| i32::try_from(page).unwrap_or(i32::MAX)))
            .set_exclusive_start_key(from)
            .send()
            .await;
        let answer = sent.map_err(|error| meaning(&error))?;
        let next = answer.last_evaluated_key.filter(|key| !key.is_empty());
        Ok((answer.items.unwrap_or_default(), next))
    }

    /// All of what is asked for.
    async fn all(&self, ask: Ask) -> Outcome<Vec<Row>> {
        let (mut rows, mut next) = self.page(&ask, None).await?;
        while next.is_some() {
            let (more, after) = self.page(&ask, next).await?;
            rows.extend(more);
            next = after;
        }
        Ok(rows)
    }

    /// The keys of all of what is asked for, as they are stored.
    async fn stored_keys(&self, ask: Ask) -> Outcome<Vec<Key>> {
        let ask = Ask {
            wanted: Some("#part, #item"),
            ..ask
        };
        let (rows, mut next) = self.stored_page(&ask, None).await?;
        let mut keys: Vec<Key> = rows.iter().filter_map(Key::of).collect();
        while next.is_some() {
            let (rows, after) = self.stored_page(&ask, next).await?;
            keys.extend(rows.iter().filter_map(Key::of));
            next = after;
        }
        Ok(keys)
    }

    /// All rows of a table, in no order: for operators, and small tables.
    async fn whole_table(&self, table: &'static Table) -> Outcome<Vec<Row>> {
        let mut rows = Vec::new();
        let mut from = None;
        loop {
            let sent = self
                .client
                .scan()
                .table_name(self.name(table))
                .consistent_read(true)
                .set_exclusive_start_key(from)
                .send()
                .await;
            let answer = sent.map_err(|error| meaning(&error))?;
            rows.extend(answer.items.unwrap_or_default());
            from = answer.last_evaluated_key.filter(|key| !key.is_empty());
            if from.is_none() {
                return self.open_rows(table, rows).await;
            }
        }
    }

    /// Deletes rows by their keys as they are stored, whatever they hold.
    async fn delete_all(&self, table: &'static Table, keys: Vec<Key>) -> Outcome<()> {
        let batches: Vec<Vec<Key>> = keys.chunks(25).map(<[Key]>::to_vec).collect();
        stream::iter(batches)
            .map(|batch| self.delete_batch(table, batch))
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
        Ok(())
    }

    async fn delete_batch(&self, table: &'static Table, keys: Vec<Key>) -> Outcome<()> {
        let name = self.name(table);
        let delete = |key: &Key| {
            let request = DeleteRequest::builder().set_key(Some(key.row())).build()?;
            Ok(WriteRequest::builder().delete_request(request).build())
        };
        let mut requests = keys
            .iter()
            .map(delete)
            .collect::<Result<Vec<_>, aws_sdk_dynamodb::error::BuildError>>()
            .map_err(unavailable)?;
        for turn in 0..CONFLICTS {
            let sent = self
                .client
                .batch_write_item()
                .request_items(&name, requests)
                .send()
                .await;
            let answer = sent.map_err(|error| meaning(&error))?;
            requests = answer
                .unprocessed_items
                .unwrap_or_default()
                .remove(&name)
                .unwrap_or_default();
            if requests.is_empty() {
                return Ok(());
            }
            self.pause(turn).await;
        }
        Err(contended())
    }

    /// The firm as workers have to know it, now.
    async fn served(&self, firm: &FirmId) -> Outcome<Option<Served>> {
        let row = self.get(&FIRMS, &firms::key(firm)).await?;
        row.as_ref().map(served).transpose()
    }

    /// The same. [`StateError::NotFound`] when there is no such firm.
    async fn must_serve(&self, firm: &FirmId) -> Outcome<Served> {
        self.served(firm).await?.ok_or(StateError::NotFound { what: "firm" })
    }
}

fn served(row: &Row) -> Outcome<Served> {
    let attributes = Attributes { table: FIRMS.name, row };
    let mode = attributes.word("mode")?;
    let is_served = is_served(attributes.word("status")?, mode);
    Ok(Served {
        generation: attributes.number("generation")?,
        paused: !is_served,
        takes_drafts: is_served && mode == Mode::Draft,
    })
}

/// Events are not kept here: a subscription is refused.
impl skin_assist_core::ports::Subscriptions for DynamoStore {}

#[cfg(test)]
mod tests;
