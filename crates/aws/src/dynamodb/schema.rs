//! The tables, as data: what the deployment template declares, what the tests create, and what the code reads and writes.
//!
//! # Keys
//! Every table has the same key: [`PART`] (partition) and [`ITEM`] (sort), both text. The firm is part of every key:
//! alone in one of the two, or, where a row is of no firm (quotas, pollers, what all firms taught), replaced by a word.
//! Keys hold ids and nothing else, and those from an EHR sealed with the firm's key (`sealed`). A firm's rows lie in one partition, but for what is read of all firms together (the
//! firms themselves, the leases on their watch lists, dead letters): there the partition is a word and the firm the sort
//! key.
//!
//! # Indexes
//! An index proposes, the conditional write on the table decides. All are sparse: a row that waits for nobody lacks the
//! attribute. Indexes are read with eventual consistency, which costs a late look and nothing else.
//!
//! # Why these tables
//! Permissions are given by table. A function that polls encounters reads `EncounterWatch` and `Firms` and has no access
//! to the photos, the results, or the credentials' table beyond the token it calls with.

/// The partition key of every table.
pub const PART: &str = "part";

/// The sort key of every table.
pub const ITEM: &str = "item";

/// The number attribute after which a row may be deleted: seconds since the Unix epoch. Expired rows are filtered on
/// read, since they are deleted days later or never.
pub const DELETE_AT: &str = "delete_at";

/// The partition key of the `due` indexes: which queue a row waits in.
pub const QUEUE: &str = "queue";

/// The sort key of the `due` indexes: when the row may be acquired, in milliseconds since the Unix epoch.
pub const DUE_AT: &str = "due_at";

/// Until when a row of a `due` index is leased, in milliseconds since the Unix epoch. Apart from [`DUE_AT`], so that a lease does not move the row
/// in the index: that would cost two writes there, and this costs one.
pub const LOCKED_UNTIL: &str = "locked_until";

/// When a photo was found, in milliseconds since the Unix epoch.
pub const DETECTED_AT: &str = "detected_at";

/// When a photo was filed, in milliseconds since the Unix epoch.
pub const ATTACHED_AT: &str = "attached_at";

/// Whose further photos a photo is or was gathered with: firm, visit, category and route, as JSON.
pub const VISIT: &str = "visit";

/// Why an operator has to look at a result.
pub const ATTENTION: &str = "attention";

/// A type of key attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// `S`.
    Text,
    /// `N`.
    Number,
}

/// A key attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Its name.
    pub attribute: &'static str,
    /// Its type.
    pub kind: KeyType,
}

const fn text(attribute: &'static str) -> Key {
    Key {
        attribute,
        kind: KeyType::Text,
    }
}

const fn number(attribute: &'static str) -> Key {
    Key {
        attribute,
        kind: KeyType::Number,
    }
}

/// A global secondary index. It holds the table's key and `includes`, and nothing else of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Index {
    /// Its name.
    pub name: &'static str,
    /// The partition key.
    pub part: Key,
    /// The sort key.
    pub sort: Key,
    /// Attributes that it holds besides: `KEYS_ONLY` when there are none, `INCLUDE` otherwise.
    pub includes: &'static [&'static str],
}

/// A table. Its full name is the deployment's prefix and `name`, joined by nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Its name after the prefix.
    pub name: &'static str,
    /// Its indexes.
    pub indexes: &'static [Index],
    /// Whether rows expire by [`DELETE_AT`].
    pub expires: bool,
    /// Whether changes are streamed (`KEYS_ONLY`: no patient data leaves the table).
    pub stream: bool,
    /// Whether it can be put back as it was at a point in time. What is to be destroyed cannot.
    pub recoverable: bool,
}

impl Table {
    const fn plain(name: &'static str) -> Self {
        Self {
            name,
            indexes: &[],
            expires: false,
            stream: false,
            recoverable: true,
        }
    }
}

/// What waits, by queue, longest due first.
const DUE: Index = Index {
    name: "due",
    part: text(QUEUE),
    sort: number(DUE_AT),
    includes: &[LOCKED_UNTIL],
};

/// Firms and their settings (`part` = `firms`), the URL prefixes they occupy (`url-prefixes`), and how often a firm of
/// each name was connected (`generations`).
pub const FIRMS: Table = Table::plain("Firms");

/// The firms' proofs and tokens: `part` is the firm, `item` is `credential`.
pub const CREDENTIALS: Table = Table::plain("Credentials");

/// What polling knows of a firm: its encounters (`item` = `encounter#` and the id), their cursor, looks, and what was learned
/// of it. And of all firms: the leases on their watch lists with the documents' cursors and the latest looks (`part` =
/// `watch-lists`, `item` = the firm), the pollers at work (`pollers`), and what all of them taught (`learned`).
pub const ENCOUNTER_WATCH: Table = Table {
    expires: true,
    ..Table::plain("EncounterWatch")
};

/// Photos on their way: `part` is the firm, `item` the document. Every row is a photo: an insertion in the stream is one
/// that was found.
pub const DOCUMENT_WATCH: Table = Table {
    indexes: &[
        DUE,
        // The firm's photos by when they were found, for operators.
        Index {
            name: "detected",
            part: text(PART),
            sort: number(DETECTED_AT),
            includes: &[ATTACHED_AT],
        },
        // Photos that may be judged together. Those that are assessed by themselves are not in it, and cost nothing.
        Index {
            name: "visit",
            part: text(VISIT),
            sort: text(ITEM),
            includes: &[],
        },
    ],
    stream: true,
    ..Table::plain("DocumentWatch")
};

/// Results and findings: `part` is the firm. `item` is [`RESULT_PREFIX`] and the assessment for how a draft stands, and
/// `note#` or `visit#` with further digits for what it says (by its visit, drafts of further photos find it), and `findings#` for findings
/// that were paid for, which expire.
pub const ASSIST_RESULTS: Table = Table {
    indexes: &[
        DUE,
        // Results that an operator has to look at.
        Index {
            name: "attention",
            part: text(ATTENTION),
            sort: text(ITEM),
            includes: &[],
        },
    ],
    expires: true,
    stream: true,
    ..Table::plain("AssistResults")
};

/// How the items of [`ASSIST_RESULTS`] begin whose insertion means a result that may have to be written back: the filter of
/// the stream.
pub const RESULT_PREFIX: &str = "result#";

/// Quotas: `part` is the quota's name, `item` is `bucket`.
pub const CALL_GRANTS: Table = Table::plain("CallGrants");

/// The audit trail: `part` is the firm, `item` a number that only grows. An entry is written by `PutItem` alone, only where there
/// is nothing, and deleted after its time. And up to where each chain was removed (`part` = `(bases)`, `item` = the firm).
pub const AUDIT: Table = Table::plain("Audit");

/// What was given up: `part` = `letters`, `item` = the number and the firm. And the number that was given last (`numbers`).
pub const DEAD_LETTERS: Table = Table::plain("DeadLetters");

/// The keys of firms, wrapped: one row, `part` and `item` = `ring`. Apart from what is sealed with them, and never recoverable: a key
/// that was destroyed is gone.
pub const FIRM_KEYS: Table = Table {
    recoverable: false,
    ..Table::plain("FirmKeys")
};

/// All tables. Each is billed by request and encrypted with the deployment's own key.
pub const TABLES: &[Table] = &[
    FIRMS,
    CREDENTIALS,
    ENCOUNTER_WATCH,
    DOCUMENT_WATCH,
    ASSIST_RESULTS,
    CALL_GRANTS,
    AUDIT,
    DEAD_LETTERS,
    FIRM_KEYS,
];

/// The key of every table.
pub const TABLE_KEY: [Key; 2] = [text(PART), text(ITEM)];
