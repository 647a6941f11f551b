//! Firms and what an operator does with them.
//!
//! Pausing, or switching off, is one transaction over the firm and its watch list, after which leases on results end that no write
//! has begun of. What waits of such a firm is moved out of its queue by whoever comes across it ([`super::due`]), and back when the firm is
//! served again.
//!
//! Removing a firm takes longer than a transaction: one takes the firm out of sight, so that nothing new is written about it, and
//! marks its name; then its rows are deleted, and the mark last. Whoever removes or connects a firm of that name
//! finishes what was interrupted.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::ReturnValue;
use skin_assist_core::{
    domain::{CategoryCode, CategoryUse, Firm, FirmId, FirmStatus, IntendedUseRecord, Mode, NewCredential, is_served},
    ports::{FirmAdministration, Firms, StateError},
    time::Timestamp,
};

use super::{
    Ask, DynamoStore, Outcome, TRIES, Transacted, Written,
    codec::{Attributes, Row, flag, number, text, time, to_json, to_word},
    credentials, deliveries, encounters,
    error::contended,
    memory,
    schema::{ASSIST_RESULTS, CREDENTIALS, DOCUMENT_WATCH, ENCOUNTER_WATCH, FIRMS, RESULT_PREFIX, Table},
    watch_lists,
    write::{Key, Write},
};

const PART: &str = "firms";

/// Where a firm is.
pub(super) fn key(firm: &FirmId) -> Key {
    Key::new(PART, firm.as_str())
}

/// Unique: two firms on one chart would each write a draft into it. Some EHRs have none, and a key is never empty.
fn prefix_key(prefix: &str) -> Key {
    Key::new("url-prefixes", format!("/{prefix}"))
}

/// What outlives the firm: how often one of that name was connected, and whether one is being removed.
fn generation_key(firm: &FirmId) -> Key {
    Key::new("generations", firm.as_str())
}

/// The fence that a new row begins with: above all that an earlier row of its name can have had. Such a row was of an earlier
/// generation of the firm, or had been leased less than once a millisecond.
pub(super) fn first_fence(generation: u64, now: Timestamp) -> u64 {
    const BITS_OF_TIME: u32 = 43;
    let millis = u64::try_from(now.as_millis()).unwrap_or(0).min((1 << BITS_OF_TIME) - 1);
    (generation << BITS_OF_TIME) + millis
}

fn read_firm(row: &Row) -> Outcome<Firm> {
    let attributes = Attributes { table: FIRMS.name, row };
    Ok(Firm {
        id: attributes.named("item", FirmId::new)?,
        url_prefix: attributes.text("url_prefix")?.to_owned(),
        status: attributes.word("status")?,
        mode: attributes.word("mode")?,
        intended_use: attributes.optional_json("intended_use")?,
        categories: attributes.json("categories")?,
        api_key: attributes.optional_text("api_key")?.map(str::to_owned),
        connected_at: attributes.time("connected_at")?,
        photos_since: attributes.time("photos_since")?,
    })
}

fn new_firm(firm: &Firm, generation: u64) -> Outcome<Write> {
    let intended_use = firm.intended_use.as_ref().map(to_json).transpose()?;
    Ok(Write::put(&FIRMS, key(&firm.id))
        .set("url_prefix", text(&firm.url_prefix))
        .set("status", text(to_word(&firm.status)?))
        .set("mode", text(to_word(&firm.mode)?))
        .set_or_remove("intended_use", intended_use.map(text))
        .set("categories", text(to_json(&firm.categories)?))
        .set_or_remove("api_key", firm.api_key.as_ref().map(text))
        .set("connected_at", time(firm.connected_at))
        .set("photos_since", time(firm.photos_since))
        .set("generation", number(generation)))
}

/// Whether a write found what it is about.
fn found(written: &Written) -> Outcome<()> {
    match written {
        Written::Done(_) => Ok(()),
        Written::Refused(_) => Err(StateError::NotFound { what: "firm" }),
    }
}

impl DynamoStore {
    /// How often a firm of this name was connected, and whether the last one is being removed.
    pub(super) async fn generation(&self, firm: &FirmId) -> Outcome<(Option<u64>, bool)> {
        let row = self.get(&FIRMS, &generation_key(firm)).await?;
        let Some(row) = row else {
            return Ok((None, false));
        };
        let attributes = Attributes {
            table: FIRMS.name,
            row: &row,
        };
        Ok((Some(attributes.number("generation")?), attributes.flag("removing")?))
    }

    /// Deletes the rows of a firm that is out of sight, those first whose being there allows others to be written.
    async fn purge(&self, firm: &FirmId) -> Outcome<()> {
        for table in [&ENCOUNTER_WATCH, &DOCUMENT_WATCH, &ASSIST_RESULTS] {
            let keys = self.stored_keys(Ask::part(table, firm.as_str())).await?;
            self.delete_all(table, keys).await?;
        }
        self.delete_letters_of(firm).await?;
        let done = Write::update(&FIRMS, generation_key(firm))
            .when_there()
            .remove("removing");
        self.write_alone(done, ReturnValue::None).await.map(drop)
    }

    /// The firm. [`StateError::NotFound`] when there is none.
    async fn must_know(&self, firm: &FirmId) -> Outcome<Firm> {
        self.firm(firm).await?.ok_or(StateError::NotFound { what: "firm" })
    }

    /// Makes a change of a firm's row and of whether its watch list is parked.
    async fn set_standing(&self, firm: &FirmId, change: Write, parked: bool) -> Outcome<Transacted> {
        let parked = Write::update(&ENCOUNTER_WATCH, watch_lists::lease_key(firm))
            .when_there()
            .set("parked", flag(parked));
        self.transact(&[change, parked]).await
    }

    /// Ends leases on results of which no write has begun, after a change that forbids drafts: whoever read before it that they are
    /// permitted can record no intent any more.
    async fn end_leases_on_results(&self, firm: &FirmId) -> Outcome<()> {
        let results = Ask::beginning(&ASSIST_RESULTS, firm.as_str(), RESULT_PREFIX);
        let waiting = self
            .all(
                Ask {
                    filter: Some("attribute_exists(#due_at) AND #delivery = :pending"),
                    wanted: Some("#part, #item"),
                    ..results
                }
                .value("pending", text("pending")),
            )
            .await?;
        for key in waiting.iter().filter_map(Key::of) {
            let ended = Write::update(&ASSIST_RESULTS, key)
                .when("#delivery = :pending")
                .value("pending", text("pending"))
                .raise_fence();
            self.write(ended).await?;
        }
        Ok(())
    }

    /// Puts what waits of a firm that is served again back into its queues. Also where it was served before: whoever resumed it
    /// may have been interrupted here.
    async fn unpark_all(&self, firm: &FirmId) -> Outcome<()> {
        let documents = Ask::part(&DOCUMENT_WATCH, firm.as_str());
        self.unpark(&DOCUMENT_WATCH, documents, |row| row.text("step").map(str::to_owned))
            .await?;
        let results = Ask::beginning(&ASSIST_RESULTS, firm.as_str(), RESULT_PREFIX);
        self.unpark(&ASSIST_RESULTS, results, |_| Ok(deliveries::QUEUE_NAME.to_owned()))
            .await
    }

    /// Puts rows of the firm that were moved out of their queue back into it.
    async fn unpark(
        &self,
        table: &'static Table,
        rows: Ask,
        queue: impl Fn(&Attributes<'_>) -> Outcome<String> + Send + Sync,
    ) -> Outcome<()> {
        let parked = self
            .all(Ask {
                filter: Some("attribute_exists(#due_at) AND attribute_not_exists(#queue)"),
                ..rows
            })
            .await?;
        for row in &parked {
            let attributes = Attributes { table: table.name, row };
            let queue = queue(&attributes)?;
            let Some(key) = Key::of(row) else { continue };
            // It may have been leased, moved on or cancelled since: then it is where it belongs.
            let back = Write::update(table, key)
                .when("attribute_exists(#due_at) AND attribute_not_exists(#queue) AND #fence = :fence")
                .value("fence", number(attributes.number::<u64>("fence")?))
                .set("queue", text(queue));
            self.write(back).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Firms for DynamoStore {
    async fn firms(&self) -> Outcome<Vec<Firm>> {
        self.all(Ask::part(&FIRMS, PART)).await?.iter().map(read_firm).collect()
    }

    async fn firm(&self, firm: &FirmId) -> Outcome<Option<Firm>> {
        self.get(&FIRMS, &key(firm)).await?.as_ref().map(read_firm).transpose()
    }
}

#[async_trait]
impl FirmAdministration for DynamoStore {
    async fn add_firm(&self, firm: &Firm, credential: &NewCredential) -> Outcome<()> {
        self.add_data_key(&firm.id).await?;
        for _ in 0..TRIES {
            let (last, removing) = self.generation(&firm.id).await?;
            if removing {
                self.purge(&firm.id).await?;
            }
            let generation = last.map_or(0, |last| last + 1);
            let fence = first_fence(generation, Timestamp::from_millis(0));
            let writes = [
                new_firm(firm, generation)?,
                Write::put(&FIRMS, prefix_key(&firm.url_prefix)).set("firm", text(firm.id.as_str())),
                Write::update(&FIRMS, generation_key(&firm.id))
                    .when_is("generation", last.map(number))
                    .when("attribute_not_exists(#removing)")
                    .set("generation", number(generation)),
                credentials::new(&firm.id, credential, fence),
                watch_lists::new_lease(firm, fence),
                memory::new(&firm.id),
            ];
            match self.transact(&writes).await? {
                Transacted::Done => return Ok(()),
                Transacted::Refused(refusals) if refusals[..2].iter().any(Option::is_some) => {
                    return Err(StateError::Exists {
                        what: "firm, or one with this URL prefix,",
                    });
                }
                // Another of this name came or went meanwhile.
                Transacted::Refused(_) => {}
            }
        }
        Err(contended())
    }

    async fn set_firm_status(&self, firm: &FirmId, status: FirmStatus) -> Outcome<()> {
        for _ in 0..TRIES {
            let change = Write::update(&FIRMS, key(firm))
                .when_there()
                .set("status", text(to_word(&status)?));
            if status == FirmStatus::Paused {
                return match self.set_standing(firm, change, true).await? {
                    Transacted::Done => self.end_leases_on_results(firm).await,
                    Transacted::Refused(_) => Err(StateError::NotFound { what: "firm" }),
                };
            }
            let mode = self.must_know(firm).await?.mode;
            let served = is_served(status, mode);
            let change = change.when_is("mode", Some(text(to_word(&mode)?)));
            if let Transacted::Done = self.set_standing(firm, change, !served).await? {
                return if served { self.unpark_all(firm).await } else { Ok(()) };
            }
        }
        Err(contended())
    }

    async fn set_categories(&self, firm: &FirmId, categories: &BTreeMap<CategoryCode, CategoryUse>) -> Outcome<()> {
        let write = Write::update(&FIRMS, key(firm))
            .when_there()
            .set("categories", text(to_json(categories)?));
        found(&self.write(write).await?)
    }

    async fn set_mode(&self, firm: &FirmId, mode: Mode, record: Option<&IntendedUseRecord>) -> Outcome<()> {
        let record = record.map(to_json).transpose()?;
        for _ in 0..TRIES {
            let known = self.must_know(firm).await?;
            let served = is_served(known.status, mode);
            let change = Write::update(&FIRMS, key(firm))
                .when_is("status", Some(text(to_word(&known.status)?)))
                .set("mode", text(to_word(&mode)?))
                .set_or_remove("intended_use", record.clone().map(text));
            if let Transacted::Done = self.set_standing(firm, change, !served).await? {
                if mode != Mode::Draft {
                    self.end_leases_on_results(firm).await?;
                }
                return if served { self.unpark_all(firm).await } else { Ok(()) };
            }
        }
        Err(contended())
    }

    async fn replace_credential(&self, firm: &FirmId, credential: &NewCredential) -> Outcome<()> {
        found(&self.write(credentials::replaced(firm, credential)).await?)
    }

    async fn remove_firm(&self, firm: &FirmId) -> Outcome<()> {
        for _ in 0..TRIES {
            let Some(known) = self.firm(firm).await? else {
                let (_, removing) = self.generation(firm).await?;
                return if removing {
                    self.purge(firm).await
                } else {
                    Err(StateError::NotFound { what: "firm" })
                };
            };
            let writes = [
                Write::delete(&FIRMS, key(firm)).when_there(),
                Write::delete(&FIRMS, prefix_key(&known.url_prefix)),
                Write::update(&FIRMS, generation_key(firm)).set("removing", flag(true)),
                Write::delete(&CREDENTIALS, credentials::key(firm)),
                Write::delete(&ENCOUNTER_WATCH, watch_lists::lease_key(firm)),
                Write::delete(&ENCOUNTER_WATCH, encounters::cursor_key(firm)),
                Write::delete(&ENCOUNTER_WATCH, memory::key(firm)),
            ];
            if let Transacted::Done = self.transact(&writes).await? {
                return self.purge(firm).await;
            }
        }
        Err(contended())
    }
}
