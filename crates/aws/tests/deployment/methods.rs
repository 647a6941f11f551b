//! What the DynamoDB store does to its tables, method by method: what the functions that call them have to be allowed.

/// A table, or `Table/index`, and actions on it.
pub(crate) type Access = (&'static str, &'static [&'static str]);

/// What the DynamoDB store does for a method. What the tables' rows of a transaction need is asked for one by one, as IAM does.
pub(crate) const METHODS: &[(&str, &str, &[Access])] = &[
    ("Firms", "firms", &[("Firms", &["Query"])]),
    ("Firms", "firm", &[("Firms", &["GetItem"])]),
    ("Credentials", "credential", &[("Credentials", &["GetItem"])]),
    ("Credentials", "acquire_refresh", &[("Credentials", &["UpdateItem"])]),
    (
        "Credentials",
        "record_token",
        &[("Credentials", &["UpdateItem"]), TELLING],
    ),
    ("Credentials", "record_refusal", &[("Credentials", &["UpdateItem"])]),
    ("Credentials", "release_refresh", &[("Credentials", &["UpdateItem"])]),
    ("EncounterWatches", "cursor", &[("EncounterWatch", &["GetItem"])]),
    (
        "EncounterWatches",
        "record_encounters",
        &[
            ("EncounterWatch", &["BatchGetItem", "GetItem", "Query", "UpdateItem"]),
            ("Firms", &["ConditionCheckItem", "GetItem"]),
        ],
    ),
    (
        "EncounterWatches",
        "watch_list",
        &[("EncounterWatch", &["BatchGetItem", "GetItem", "Query"])],
    ),
    (
        "EncounterWatches",
        "watches_of",
        &[("EncounterWatch", &["BatchGetItem", "GetItem", "Query"])],
    ),
    (
        "EncounterWatches",
        "acquire_encounters",
        &[("EncounterWatch", &["GetItem", "Query", "UpdateItem"])],
    ),
    ("EncounterWatches", "record_documents", ARRIVALS),
    (
        "EncounterWatches",
        "release_encounter",
        &[("EncounterWatch", &["UpdateItem"])],
    ),
    (
        "WatchLists",
        "acquire_watch_lists",
        &[("EncounterWatch", &["Query", "UpdateItem"])],
    ),
    (
        "WatchLists",
        "acquire_watch_lists_of",
        &[("EncounterWatch", &["UpdateItem"])],
    ),
    (
        "WatchLists",
        "give_watch_list_back",
        &[("EncounterWatch", &["UpdateItem"])],
    ),
    ("WatchLists", "record_looks", ARRIVALS),
    ("WatchLists", "documents_cursor", &[("EncounterWatch", &["GetItem"])]),
    ("WatchLists", "record_changes", ARRIVALS),
    ("PollingMemory", "learned", &[("EncounterWatch", &["BatchGetItem"])]),
    (
        "PollingMemory",
        "add_learned",
        &[("EncounterWatch", &["BatchGetItem", "UpdateItem"])],
    ),
    (
        "Proposals",
        "acquire_document",
        &[("DocumentWatch", &["GetItem", "UpdateItem"]), ("Firms", &["GetItem"])],
    ),
    (
        "Proposals",
        "acquire_result",
        &[
            ("AssistResults", &["BatchGetItem", "GetItem", "Query", "UpdateItem"]),
            ("Firms", &["GetItem"]),
        ],
    ),
    (
        "Proposals",
        "due_documents",
        &[("DocumentWatch/due", &["Query"]), ("Firms", &["BatchGetItem"])],
    ),
    (
        "Proposals",
        "due_results",
        &[("AssistResults/due", &["Query"]), ("Firms", &["BatchGetItem"])],
    ),
    ("DocumentQueue", "record_photo", &[("DocumentWatch", &["UpdateItem"])]),
    (
        "DocumentQueue",
        "record_photo_lost",
        &[("DocumentWatch", &["BatchGetItem", "GetItem", "UpdateItem"])],
    ),
    (
        "DocumentQueue",
        "siblings",
        &[
            ("DocumentWatch", &["BatchGetItem"]),
            ("DocumentWatch/visit", &["Query"]),
        ],
    ),
    (
        "DocumentQueue",
        "close_assessment",
        &[("DocumentWatch", &["UpdateItem"])],
    ),
    ("DocumentQueue", "retry_document", &[("DocumentWatch", &["UpdateItem"])]),
    (
        "DocumentQueue",
        "release_document",
        &[("DocumentWatch", &["UpdateItem"])],
    ),
    (
        "DocumentQueue",
        "bury_document",
        &[
            ("DocumentWatch", &["BatchGetItem", "GetItem", "UpdateItem"]),
            ("DeadLetters", &["PutItem", "UpdateItem"]),
        ],
    ),
    ("InferenceRecords", "findings", &[("AssistResults", &["Query"])]),
    (
        "InferenceRecords",
        "count_look",
        &[("DocumentWatch", &["ConditionCheckItem", "GetItem", "UpdateItem"])],
    ),
    ("InferenceRecords", "earlier_draft", &[("AssistResults", &["GetItem"])]),
    (
        "InferenceRecords",
        "draft_before",
        &[("AssistResults", &["GetItem", "Query"])],
    ),
    (
        "InferenceRecords",
        "record_findings",
        &[
            ("AssistResults", &["PutItem"]),
            ("DocumentWatch", &["ConditionCheckItem", "GetItem"]),
        ],
    ),
    (
        "InferenceRecords",
        "record_result",
        &[
            TELLING,
            ("AssistResults", &["PutItem"]),
            ("DocumentWatch", &["UpdateItem"]),
            ("Firms", &["GetItem"]),
        ],
    ),
    ("LanguageSpending", "language_spent", &[("AssistResults", &["GetItem"])]),
    (
        "LanguageSpending",
        "add_language_spent",
        &[("AssistResults", &["UpdateItem"]), ("Firms", &["GetItem"])],
    ),
    (
        "Deliveries",
        "record_intent",
        &[("AssistResults", &["UpdateItem"]), ("Firms", &["GetItem"]), ANEW],
    ),
    (
        "Deliveries",
        "record_update_intent",
        &[("AssistResults", &["UpdateItem"]), ("Firms", &["GetItem"]), ANEW],
    ),
    ("Deliveries", "delivery_of", &[("AssistResults", &["GetItem"])]),
    ("Deliveries", "record_delivered", JOURNAL),
    ("Deliveries", "record_uncertain", JOURNAL),
    ("Deliveries", "record_withheld", &[("AssistResults", &["UpdateItem"])]),
    (
        "Deliveries",
        "retry_delivery",
        &[("AssistResults", &["UpdateItem"]), ANEW],
    ),
    ("Deliveries", "retry_search", &[("AssistResults", &["UpdateItem"])]),
    ("Deliveries", "release_delivery", &[("AssistResults", &["UpdateItem"])]),
    (
        "Deliveries",
        "bury_delivery",
        &[
            ("AssistResults", &["UpdateItem"]),
            ("DeadLetters", &["PutItem", "UpdateItem"]),
            ANEW,
        ],
    ),
    ("CallGrants", "take", &[("CallGrants", &["GetItem", "UpdateItem"])]),
    ("CallGrants", "hold", &[("CallGrants", &["GetItem", "UpdateItem"])]),
    ("CallGrants", "slow_down", &[("CallGrants", &["GetItem", "UpdateItem"])]),
    ("Audit", "record", &[TELLING]),
    (
        "Retention",
        "remove_expired",
        &[
            (
                "AssistResults",
                &["BatchGetItem", "BatchWriteItem", "DeleteItem", "Query"],
            ),
            ("Audit", &["BatchWriteItem", "GetItem", "PutItem", "Query"]),
            ("DocumentWatch", &["BatchGetItem", "Query", "UpdateItem"]),
            ("Firms", &["Query"]),
        ],
    ),
];

/// An entry of the audit trail.
const TELLING: Access = ("Audit", &["PutItem", "Query"]);

/// What became of a post, and the entry.
const JOURNAL: &[Access] = &[("AssistResults", &["UpdateItem"]), TELLING];

/// Where one of several photos was retracted during the post and the draft is not in the chart, the others are judged anew.
const ANEW: Access = ("DocumentWatch", &["BatchGetItem", "UpdateItem"]);

/// Recording what looks showed: photos, cancelled drafts and their letters, under the condition that the firm is served.
const ARRIVALS: &[Access] = &[
    (
        "EncounterWatch",
        &["BatchGetItem", "ConditionCheckItem", "GetItem", "UpdateItem"],
    ),
    ("DocumentWatch", &["BatchGetItem", "PutItem", "UpdateItem"]),
    ("AssistResults", &["BatchGetItem", "UpdateItem"]),
    ("DeadLetters", &["DeleteItem"]),
    ("Firms", &["ConditionCheckItem", "GetItem"]),
    TELLING,
];
