//! The audit trail as chains that show whether they were touched.
//!
//! # What holds
//! - There is a chain for each firm, and one for the installation ([`INSTALLATION`]). An entry has a number, one more than the one
//!   before, and holds the hash of the one before. Its own hash is SHA-256 over all its fields, in an encoding whose edition the hash
//!   begins with.
//! - So a changed entry does not fit its hash, one that was rewritten with a hash that fits is not what its successor follows, and one
//!   that was taken out of the middle or moved leaves a gap or stands out of order.
//! - What no chain can show by itself is a missing end. An *anchor* can: the head of a chain (number and hash), kept elsewhere.
//! - Whoever can write the state can write a whole new chain; an anchor that they cannot reach shows that, too.
//!
//! # What is in it
//! Ids, codes and words, no patient data. Entries outlive their firm: what is left of it then are opaque ids.
//!
//! All of this is pure: stores append and read, [`ChainVerifier`] is told the entries one after the other.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{domain::FirmId, ports::AuditRecord, time::Timestamp};

/// The chain of what concerns the installation as a whole. No firm may have this name.
pub const INSTALLATION: &str = "(installation)";

/// The edition of the encoding that new hashes are of.
const ENCODING: &str = "1";

/// The hash that stands before the first entry of a chain.
const BEGINNING: &str = "1:0000000000000000000000000000000000000000000000000000000000000000";

/// Where the pages of a chain begin.
pub const BEGINNING_NUMBER: u64 = 0;

/// The action of an entry that says that earlier ones were removed after their time; its subject is [`removal`] of the last one.
pub const TRAIL_SHORTENED: &str = "trail-shortened";

/// The name of the installation's chain.
pub fn installation() -> FirmId {
    FirmId::new(INSTALLATION)
}

/// An entry as it is stored. Texts as they are read, so that one that was damaged is still an entry that can be named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Whose chain.
    pub firm: FirmId,
    /// Its place in the chain; the first is 1.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// Who: a stage, or an operator's command.
    pub actor: String,
    /// What was done, as its word.
    pub action: String,
    /// To what, as it is stored: sealed with the firm's key where a store does so.
    pub subject: String,
    /// What the subject says, where it is sealed and the key is there. Not part of the chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<String>,
    /// The hash of the entry before.
    pub previous: String,
    /// The hash of this one.
    pub hash: String,
}

/// An entry by number and hash: where a chain ends now, where it was when an anchor was taken, or up to where it was removed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditHead {
    /// Whose chain.
    pub firm: FirmId,
    /// The number of the entry; 0 before the first.
    pub number: u64,
    /// Its hash.
    pub hash: String,
}

impl AuditHead {
    /// Before the first entry of a chain.
    pub fn beginning(firm: FirmId) -> Self {
        Self {
            firm,
            number: 0,
            hash: BEGINNING.to_owned(),
        }
    }
}

/// What the subject of an entry says that removed all up to `last`.
pub fn removal(last: &AuditHead) -> String {
    format!("up to {} {}", last.number, last.hash)
}

impl AuditEntry {
    /// The entry that `record` becomes after the one at `head`, in the chain of the head.
    pub fn after(head: &AuditHead, record: &AuditRecord) -> Self {
        let mut entry = Self {
            firm: head.firm.clone(),
            number: head.number + 1,
            at: record.at,
            actor: record.actor.clone(),
            action: record.action.as_str().to_owned(),
            subject: record.subject.clone(),
            opened: None,
            previous: head.hash.clone(),
            hash: String::new(),
        };
        entry.hash = entry.digest();
        entry
    }

    /// To what, in clear where that can be had.
    pub fn said(&self) -> &str {
        self.opened.as_deref().unwrap_or(&self.subject)
    }

    /// It as the head of its chain.
    pub fn head(&self) -> AuditHead {
        AuditHead {
            firm: self.firm.clone(),
            number: self.number,
            hash: self.hash.clone(),
        }
    }

    /// The hash that its contents have. Edition 1: a tag, then each field with its length before it, numbers and lengths as 64 bits
    /// with the highest byte first. No two entries have the same encoding.
    fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        let mut field = |bytes: &[u8]| {
            hasher.update((bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        };
        field(b"skin-assist audit 1");
        field(self.firm.as_str().as_bytes());
        field(&self.number.to_be_bytes());
        field(&self.at.as_millis().to_be_bytes());
        field(self.actor.as_bytes());
        field(self.action.as_bytes());
        field(self.subject.as_bytes());
        field(self.previous.as_bytes());
        format!("{ENCODING}:{}", hex::encode(hasher.finalize()))
    }
}

/// What is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum AuditFault {
    /// An entry's contents do not fit its hash: it was changed.
    Changed {
        /// Which.
        number: u64,
    },
    /// An entry does not follow from the one before it as that stands: the one before was rewritten.
    Unlinked {
        /// The one that does not follow.
        number: u64,
    },
    /// Entries are not there.
    Missing {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// An entry stands after a later one.
    OutOfOrder {
        /// Which.
        number: u64,
    },
    /// The chain ends before an anchor.
    CutOff {
        /// Where it ends.
        number: u64,
        /// Where it ended when the anchor was taken.
        anchored: u64,
    },
    /// An entry is not the one that an anchor names.
    NotAsAnchored {
        /// Which.
        number: u64,
    },
    /// Earlier entries were removed, and no entry says so.
    RemovedUnsaid {
        /// The last that was removed.
        up_to: u64,
    },
}

impl fmt::Display for AuditFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { number } => write!(formatter, "entry {number} was changed: its hash does not fit"),
            Self::Unlinked { number } => write!(
                formatter,
                "entry {number} does not follow from entry {}: that one was rewritten",
                number.saturating_sub(1)
            ),
            Self::Missing { from, to } if from == to => write!(formatter, "entry {from} is missing"),
            Self::Missing { from, to } => write!(formatter, "entries {from} to {to} are missing"),
            Self::OutOfOrder { number } => write!(formatter, "entry {number} stands out of order"),
            Self::CutOff { number, anchored } => write!(
                formatter,
                "the chain ends with entry {number}, and had {anchored} when the anchor was taken"
            ),
            Self::NotAsAnchored { number } => write!(formatter, "entry {number} is not the one that the anchor names"),
            Self::RemovedUnsaid { up_to } => write!(
                formatter,
                "entries up to {up_to} were removed, and no entry says that their time had come"
            ),
        }
    }
}

/// How a chain stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainReport {
    /// Whose.
    pub firm: FirmId,
    /// How many entries were read.
    pub entries: u64,
    /// The last of those that were removed after their time; 0 for none.
    pub removed: u64,
    /// Where it ends.
    pub head: AuditHead,
    /// What is wrong with it, in the order of the entries.
    pub faults: Vec<AuditFault>,
}

/// Checks one chain, entry by entry.
#[derive(Debug)]
pub struct ChainVerifier {
    base: AuditHead,
    last: AuditHead,
    anchors: BTreeMap<u64, Vec<String>>,
    removal_said: bool,
    entries: u64,
    gaps: Vec<(u64, u64)>,
    faults: Vec<AuditFault>,
}

impl ChainVerifier {
    /// A chain whose entries up to `base` were removed after their time ([`AuditHead::beginning`] where none was), beside all anchors
    /// that there are of it.
    pub fn new<'a>(base: AuditHead, anchors: impl IntoIterator<Item = &'a AuditHead>) -> Self {
        let mut by_number: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for anchor in anchors.into_iter().filter(|anchor| anchor.firm == base.firm) {
            by_number.entry(anchor.number).or_default().push(anchor.hash.clone());
        }
        Self {
            last: base.clone(),
            removal_said: base.number == 0,
            base,
            anchors: by_number,
            entries: 0,
            gaps: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// The next entry, in the order in which the store has them.
    pub fn entry(&mut self, entry: &AuditEntry) {
        self.entries += 1;
        let number = entry.number;
        if entry.hash != entry.digest() {
            self.faults.push(AuditFault::Changed { number });
        }
        let expected = self.last.number + 1;
        if number < expected {
            self.faults.push(AuditFault::OutOfOrder { number });
            self.fill(number);
        } else {
            if number > expected {
                self.gaps.push((expected, number - 1));
            } else if entry.previous != self.last.hash {
                self.faults.push(AuditFault::Unlinked { number });
            }
            self.last = entry.head();
        }
        if let Some(anchored) = self.anchors.get(&number)
            && anchored.iter().any(|hash| *hash != entry.hash)
        {
            self.faults.push(AuditFault::NotAsAnchored { number });
        }
        self.removal_said |= entry.action == TRAIL_SHORTENED && entry.subject == removal(&self.base);
    }

    /// What stood out of order is not missing.
    fn fill(&mut self, number: u64) {
        let Some(place) = self.gaps.iter().position(|(from, to)| (*from..=*to).contains(&number)) else {
            return;
        };
        let (from, to) = self.gaps.remove(place);
        self.gaps.extend(
            [(from, number - 1), (number + 1, to)]
                .iter()
                .filter(|(from, to)| from <= to),
        );
    }

    /// All entries were told.
    pub fn end(mut self) -> ChainReport {
        for (from, to) in &self.gaps {
            self.faults.push(AuditFault::Missing { from: *from, to: *to });
        }
        if !self.removal_said {
            self.faults.push(AuditFault::RemovedUnsaid {
                up_to: self.base.number,
            });
        }
        let number = self.last.number;
        if let Some((anchored, _)) = self.anchors.range(number + 1..).next_back() {
            self.faults.push(AuditFault::CutOff {
                number,
                anchored: *anchored,
            });
        }
        // An anchor of where entries were removed up to has to be of what was there.
        if let Some(hashes) = self.anchors.get(&self.base.number)
            && self.base.number > 0
            && hashes.iter().any(|hash| *hash != self.base.hash)
        {
            self.faults.push(AuditFault::NotAsAnchored {
                number: self.base.number,
            });
        }
        ChainReport {
            firm: self.base.firm,
            entries: self.entries,
            removed: self.base.number,
            head: self.last,
            faults: self.faults,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::AuditAction;

    fn record(number: i64) -> AuditRecord {
        AuditRecord {
            at: Timestamp::from_millis(1_767_600_000_000 + number),
            firm: FirmId::new("elm"),
            actor: "infer".to_owned(),
            action: AuditAction::Inferred,
            subject: format!("d{number}"),
        }
    }

    fn chain(length: i64) -> Vec<AuditEntry> {
        let mut head = AuditHead::beginning(FirmId::new("elm"));
        let entries = (1..=length).map(|number| {
            let entry = AuditEntry::after(&head, &record(number));
            head = entry.head();
            entry
        });
        entries.collect()
    }

    fn faults(entries: &[AuditEntry], anchors: &[AuditHead]) -> Vec<AuditFault> {
        let base = AuditHead::beginning(FirmId::new("elm"));
        let mut verifier = ChainVerifier::new(base, anchors);
        for entry in entries {
            verifier.entry(entry);
        }
        verifier.end().faults
    }

    /// Pinned: what was written by one version has to be verified by all later ones.
    #[test]
    fn the_first_edition_of_the_encoding_does_not_change() {
        let entry = &chain(1)[0];
        assert_eq!(entry.previous, BEGINNING);
        assert_eq!(
            entry.hash,
            "1:b0247d8f18077a8c4f498c05e5524bb6ebefc81d11354627bfc8a235741c9c4f"
        );
    }

    #[test]
    fn an_untouched_chain_has_no_fault() {
        let entries = chain(5);
        assert_eq!(faults(&entries, &[entries[2].head(), entries[4].head()]), []);
        assert_eq!(faults(&[], &[]), []);
    }

    /// Each field by itself, as somebody would change it who does not know of the hash.
    #[test]
    fn a_change_of_any_field_is_found_and_named() {
        let changes: [fn(&mut AuditEntry); 6] = [
            |entry| entry.firm = FirmId::new("oak"),
            |entry| entry.at = Timestamp::from_millis(0),
            |entry| entry.actor = "operator".to_owned(),
            |entry| entry.action = "draft-written".to_owned(),
            |entry| entry.subject = "d9".to_owned(),
            |entry| entry.hash.replace_range(2..3, "x"),
        ];
        for change in changes {
            for place in 0..3 {
                let mut entries = chain(3);
                change(&mut entries[place]);
                let number = place as u64 + 1;
                let found = faults(&entries, &[]);
                assert!(found.contains(&AuditFault::Changed { number }), "{found:?}");
            }
        }
        // Two fields that together read the same.
        let mut entries = chain(1);
        (entries[0].actor, entries[0].subject) = ("inferd".to_owned(), "1".to_owned());
        assert_eq!(faults(&entries, &[]), [AuditFault::Changed { number: 1 }]);
    }

    #[test]
    fn an_entry_that_was_rewritten_with_its_hash_is_found_by_its_successor() {
        let mut entries = chain(4);
        entries[1].subject = "d9".to_owned();
        entries[1].hash = entries[1].digest();
        assert_eq!(faults(&entries, &[]), [AuditFault::Unlinked { number: 3 }]);
    }

    #[test]
    fn what_is_missing_or_moved_is_found_and_named() {
        let mut entries = chain(6);
        entries.drain(2..4);
        assert_eq!(faults(&entries, &[]), [AuditFault::Missing { from: 3, to: 4 }]);
        let mut entries = chain(6);
        entries.remove(0);
        assert_eq!(faults(&entries, &[]), [AuditFault::Missing { from: 1, to: 1 }]);
        let mut entries = chain(6);
        entries.swap(1, 2);
        assert_eq!(faults(&entries, &[]), [AuditFault::OutOfOrder { number: 2 }]);
        // With their numbers exchanged, both are other than they were.
        let mut entries = chain(6);
        entries.swap(1, 2);
        (entries[1].number, entries[2].number) = (2, 3);
        let found = faults(&entries, &[]);
        assert!(found.contains(&AuditFault::Changed { number: 2 }), "{found:?}");
        assert!(found.contains(&AuditFault::Changed { number: 3 }), "{found:?}");
    }

    #[test]
    fn a_cut_end_is_found_by_an_anchor_alone() {
        let entries = chain(6);
        let anchors = [entries[3].head(), entries[5].head()];
        assert_eq!(faults(&entries[..5], &[]), [], "no chain shows it by itself");
        let cut = AuditFault::CutOff { number: 5, anchored: 6 };
        assert_eq!(faults(&entries[..5], &anchors), [cut]);
        let all = AuditFault::CutOff { number: 0, anchored: 6 };
        assert_eq!(faults(&[], &anchors), [all]);
        // Cut, and written on: the same length, and another history.
        let mut forged = entries[..4].to_vec();
        for number in [8, 9] {
            let entry = AuditEntry::after(&forged[forged.len() - 1].head(), &record(number));
            forged.push(entry);
        }
        assert_eq!(faults(&forged, &[]), []);
        assert_eq!(faults(&forged, &anchors), [AuditFault::NotAsAnchored { number: 6 }]);
    }

    #[test]
    fn what_was_removed_after_its_time_is_said_by_an_entry() {
        let mut entries = chain(4);
        let base = entries[1].head();
        let said = |entries: &[AuditEntry], base: &AuditHead, anchors: &[AuditHead]| {
            let mut verifier = ChainVerifier::new(base.clone(), anchors);
            for entry in entries {
                verifier.entry(entry);
            }
            verifier.end().faults
        };
        let unsaid = AuditFault::RemovedUnsaid { up_to: 2 };
        assert_eq!(said(&entries[2..], &base, &[]), [unsaid]);
        let saying = AuditRecord {
            action: AuditAction::TrailShortened,
            subject: removal(&base),
            ..record(5)
        };
        entries.push(AuditEntry::after(&entries[3].head(), &saying));
        assert_eq!(said(&entries[2..], &base, &[entries[0].head(), base.clone()]), []);
        let forged = AuditHead {
            hash: BEGINNING.to_owned(),
            ..base.clone()
        };
        let found = said(&entries[2..], &base, &[forged]);
        assert_eq!(found, [AuditFault::NotAsAnchored { number: 2 }]);
        assert_eq!(
            said(&entries[3..], &base, &[]),
            [AuditFault::Missing { from: 3, to: 3 }]
        );
    }
}
