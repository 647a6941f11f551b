//! What the template says about each resource, as far as an emulator would not notice if it did not.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use skin_assist_aws::dynamodb::schema::{self, DELETE_AT, KeyType, TABLE_KEY, TABLES, Table};

use crate::template::{list, of_type, short, state_machine, template, text};

fn key() -> Value {
    json!({ "Fn::GetAtt": ["Key", "Arn"] })
}

const fn letter(kind: KeyType) -> &'static str {
    match kind {
        KeyType::Text => "S",
        KeyType::Number => "N",
    }
}

fn key_schema(keys: [schema::Key; 2]) -> Value {
    json!([
        { "AttributeName": keys[0].attribute, "KeyType": "HASH" },
        { "AttributeName": keys[1].attribute, "KeyType": "RANGE" },
    ])
}

/// The properties that the template has to give a table.
fn expected(table: &Table) -> BTreeMap<&'static str, Value> {
    let keys = table.indexes.iter().flat_map(|index| [index.part, index.sort]);
    let attributes: BTreeMap<&str, &str> = TABLE_KEY
        .into_iter()
        .chain(keys)
        .map(|key| (key.attribute, letter(key.kind)))
        .collect();
    let indexes: Vec<Value> = table
        .indexes
        .iter()
        .map(|index| {
            let projection = if index.includes.is_empty() {
                json!({ "ProjectionType": "KEYS_ONLY" })
            } else {
                json!({ "ProjectionType": "INCLUDE", "NonKeyAttributes": index.includes })
            };
            json!({
                "IndexName": index.name, "KeySchema": key_schema([index.part, index.sort]), "Projection": projection,
            })
        })
        .collect();
    let mut expected = BTreeMap::from([
        (
            "TableName",
            json!({ "Fn::Sub": format!("${{AWS::StackName}}-{}", table.name) }),
        ),
        ("BillingMode", json!("PAY_PER_REQUEST")),
        ("DeletionProtectionEnabled", json!(true)),
        ("KeySchema", key_schema(TABLE_KEY)),
        ("AttributeDefinitions", json!(attributes)),
        (
            "PointInTimeRecoverySpecification",
            json!({ "PointInTimeRecoveryEnabled": table.recoverable }),
        ),
        (
            "SSESpecification",
            json!({ "SSEEnabled": true, "SSEType": "KMS", "KMSMasterKeyId": key() }),
        ),
    ]);
    if !indexes.is_empty() {
        expected.insert("GlobalSecondaryIndexes", indexes.into());
    }
    if table.stream {
        expected.insert("StreamSpecification", json!({ "StreamViewType": "KEYS_ONLY" }));
    }
    if table.expires {
        expected.insert(
            "TimeToLiveSpecification",
            json!({ "AttributeName": DELETE_AT, "Enabled": true }),
        );
    }
    expected
}

#[test]
fn the_tables_are_those_of_the_store() {
    let template = template();
    let mut declared = BTreeSet::new();
    for (name, resource) in of_type(&template, "AWS::DynamoDB::Table") {
        let table = TABLES.iter().find(|table| format!("{}Table", table.name) == name);
        let table = table.unwrap_or_else(|| panic!("{name} is no table of the store"));
        declared.insert(table.name);
        let mut properties = resource["Properties"].clone();
        // In any order.
        let attributes: BTreeMap<String, Value> = list(&properties["AttributeDefinitions"])
            .iter()
            .map(|attribute| (short(&attribute["AttributeName"]), attribute["AttributeType"].clone()))
            .collect();
        properties["AttributeDefinitions"] = json!(attributes);
        assert_eq!(properties, json!(expected(table)), "{name}");
        assert_eq!(resource["UpdateReplacePolicy"], "Retain", "{name}");
        assert_eq!(resource["DeletionPolicy"], "RetainExceptOnCreate", "{name}");
    }
    let known: BTreeSet<&str> = TABLES.iter().map(|table| table.name).collect();
    assert_eq!(declared, known);
}

#[test]
fn photos_are_encrypted_private_and_gone_within_a_day() {
    let template = template();
    let bucket = &template["Resources"]["PhotoBucket"]["Properties"];
    let rule = &bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"][0];
    assert_eq!(rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"], "aws:kms");
    assert_eq!(rule["ServerSideEncryptionByDefault"]["KMSMasterKeyID"], key());
    for block in [
        "BlockPublicAcls",
        "BlockPublicPolicy",
        "IgnorePublicAcls",
        "RestrictPublicBuckets",
    ] {
        assert_eq!(bucket["PublicAccessBlockConfiguration"][block], true, "{block}");
    }
    let lifecycle = &bucket["LifecycleConfiguration"]["Rules"][0];
    assert_eq!(
        (&lifecycle["Status"], &lifecycle["ExpirationInDays"]),
        (&json!("Enabled"), &json!(1))
    );
    assert!(lifecycle["Prefix"].is_null(), "it is about all photos");
    assert!(bucket["VersioningConfiguration"].is_null(), "a version would keep them");
    let statements = list(&template["Resources"]["PhotoBucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]);
    let tls = &statements[0];
    assert_eq!(
        (&tls["Effect"], &tls["Principal"], &tls["Action"]),
        (&json!("Deny"), &json!("*"), &json!("s3:*"))
    );
    assert_eq!(tls["Condition"], json!({ "Bool": { "aws:SecureTransport": "false" } }));
}

#[test]
fn everything_that_holds_something_is_under_the_own_key() {
    let template = template();
    let attributes = [
        ("AWS::SQS::Queue", "KmsMasterKeyId"),
        ("AWS::SNS::Topic", "KmsMasterKeyId"),
        ("AWS::Logs::LogGroup", "KmsKeyId"),
        ("AWS::SecretsManager::Secret", "KmsKeyId"),
        ("AWS::Scheduler::Schedule", "KmsKeyArn"),
    ];
    for (kind, attribute) in attributes {
        let mut found = 0;
        for (name, resource) in of_type(&template, kind) {
            assert_eq!(resource["Properties"][attribute], key(), "{name}");
            found += 1;
        }
        assert!(found > 0, "no {kind}");
    }
    assert_eq!(template["Globals"]["Function"]["KmsKeyArn"], key());
    let own = &template["Resources"]["Key"];
    assert_eq!(own["Properties"]["EnableKeyRotation"], true);
    assert_eq!(own["UpdateReplacePolicy"], "Retain");
    for (name, group) in of_type(&template, "AWS::Logs::LogGroup") {
        assert_eq!(
            short(&group["Properties"]["RetentionInDays"]),
            "!Ref LogRetentionDays",
            "{name}"
        );
    }
}

#[test]
fn each_function_has_its_own_role_and_log_and_a_bound() {
    let template = template();
    let mut roles = BTreeSet::new();
    for (name, function) in of_type(&template, "AWS::Serverless::Function") {
        let properties = &function["Properties"];
        assert!(roles.insert(short(&properties["Role"])), "{name} shares its role");
        assert!(
            properties["ReservedConcurrentExecutions"]["Ref"].is_string(),
            "{name} has no bound"
        );
        let group = short(&properties["LoggingConfig"]["LogGroup"]);
        assert_eq!(format!("!Ref {}LogGroup", name.trim_end_matches("Function")), group);
        let handler = properties["Handler"].as_str().unwrap();
        let named = format!("${{AWS::StackName}}-{handler}");
        assert_eq!(properties["FunctionName"], json!({ "Fn::Sub": named }), "{name}");
    }
    assert_eq!(roles.len(), 9);
}

#[test]
fn what_is_called_asynchronously_ends_with_dead_letters() {
    let template = template();
    for (name, function) in of_type(&template, "AWS::Serverless::Function") {
        let properties = &function["Properties"];
        let Some(events) = properties["Events"].as_object() else {
            continue;
        };
        let letters = format!("!GetAtt {}DeadLetters.Arn", name.trim_end_matches("Function"));
        assert_eq!(short(&properties["DeadLetterQueue"]["TargetArn"]), letters, "{name}");
        for event in events.values().filter(|event| event["Type"] == "DynamoDB") {
            let mapping = &event["Properties"];
            assert_eq!(
                short(&mapping["DestinationConfig"]["OnFailure"]["Destination"]),
                letters,
                "{name}"
            );
            assert_eq!(
                mapping["FunctionResponseTypes"],
                json!(["ReportBatchItemFailures"]),
                "{name}"
            );
            assert_eq!(mapping["BisectBatchOnFunctionError"], true, "{name}");
            let tries = mapping["MaximumRetryAttempts"].as_u64();
            assert!(
                tries.is_some_and(|tries| tries < 10),
                "{name}: a record that fails for ever stops its shard"
            );
        }
    }
    for (schedule, letters) in [
        ("Schedule", "!GetAtt CycleDeadLetters.Arn"),
        ("RemoveExpiredSchedule", "!GetAtt RemoveExpiredDeadLetters.Arn"),
    ] {
        let target = &template["Resources"][schedule]["Properties"]["Target"];
        assert_eq!(short(&target["DeadLetterConfig"]["Arn"]), letters);
    }
    let called = &template["Resources"]["RemoveExpiredFunction"]["Properties"];
    assert_eq!(
        short(&called["DeadLetterQueue"]["TargetArn"]),
        "!GetAtt RemoveExpiredDeadLetters.Arn"
    );
}

#[test]
fn what_is_past_its_time_is_removed_once_a_day() {
    let template = template();
    let resources = &template["Resources"];
    let schedule = &resources["RemoveExpiredSchedule"]["Properties"];
    assert_eq!(schedule["ScheduleExpression"], "cron(30 9 * * ? *)");
    assert_eq!(short(&schedule["Target"]["Arn"]), "!GetAtt RemoveExpiredFunction.Arn");
    // Its scheduler may call it, and nothing else.
    let policy = &resources["RemoveExpiredSchedulePolicy"]["Properties"]["PolicyDocument"]["Statement"];
    let granted: Vec<String> = list(policy)
        .iter()
        .flat_map(|statement| {
            let (actions, resources) = (list(&statement["Action"]), list(&statement["Resource"]));
            actions.into_iter().flat_map(move |action| {
                let on = resources.clone().into_iter();
                on.map(move |resource| format!("{} {}", short(&action), short(&resource)))
            })
        })
        .collect();
    let expected = [
        "lambda:InvokeFunction !GetAtt RemoveExpiredFunction.Arn",
        "sqs:SendMessage !GetAtt RemoveExpiredDeadLetters.Arn",
        "kms:Decrypt !GetAtt Key.Arn",
        "kms:GenerateDataKey !GetAtt Key.Arn",
    ];
    assert_eq!(granted, expected);
    // As long as the template says, which begins with what the program says.
    for (variable, parameter, usual) in [
        ("SKIN_ASSIST_RETENTION__RESULTS_DAYS", "ResultsDays", 365),
        ("SKIN_ASSIST_RETENTION__AUDIT_DAYS", "AuditDays", 2190),
    ] {
        let given = &template["Globals"]["Function"]["Environment"]["Variables"][variable];
        assert_eq!(given, &json!({ "Ref": parameter }));
        assert_eq!(template["Parameters"][parameter]["Default"], usual);
        let key = variable.rsplit("__").next().unwrap().to_lowercase();
        let defaults = text("crates/app/src/config/default.toml");
        assert!(defaults.contains(&format!("\n{key} = {usual}\n")), "{key}");
    }
}

#[test]
fn the_streams_filter_what_begins_a_step() {
    let template = template();
    let pattern = |function: &str, event: &str| -> Value {
        let events = &template["Resources"][function]["Properties"]["Events"];
        let filters = &events[event]["Properties"]["FilterCriteria"]["Filters"];
        serde_json::from_str(filters[0]["Pattern"].as_str().unwrap()).unwrap()
    };
    assert_eq!(
        pattern("DownloadPhotoFunction", "PhotoFound"),
        json!({ "eventName": ["INSERT"] })
    );
    assert_eq!(
        pattern("WriteBackFunction", "ResultRecorded"),
        json!({
            "eventName": ["INSERT"],
            "dynamodb": { "Keys": { schema::ITEM: { "S": [{ "prefix": schema::RESULT_PREFIX }] } } },
        })
    );
}

/// All states, in whatever depth.
fn states(machine: &Value) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for (name, state) in machine["States"].as_object().into_iter().flatten() {
        all.push((name.clone(), state.clone()));
        for branch in list(&state["Branches"]) {
            all.extend(states(&branch));
        }
        all.extend(states(&state["ItemProcessor"]));
    }
    all
}

#[test]
fn the_state_machine_names_what_the_template_gives() {
    let source = text("deploy/aws/state-machine.asl.json");
    let named: BTreeSet<&str> = source
        .split("${")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once('}')?.0))
        .collect();
    let template = template();
    let machine = &template["Resources"]["StateMachine"]["Properties"];
    let given: BTreeSet<&str> = machine["DefinitionSubstitutions"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(named, given);
    assert_eq!(machine["Type"], "EXPRESS");
    assert_eq!(machine["Logging"]["IncludeExecutionData"], false);
}

#[test]
fn the_state_machine_matches_errors_that_exist() {
    // Where the functions' errors have their names.
    let names = text("crates/app/src/functions.rs");
    let mut matched = BTreeSet::new();
    for (_, state) in states(&state_machine()) {
        for rule in list(&state["Retry"]).iter().chain(&list(&state["Catch"])) {
            matched.extend(list(&rule["ErrorEquals"]).iter().map(short));
        }
    }
    let own: Vec<&String> = matched
        .iter()
        .filter(|name| !name.starts_with("States.") && !name.starts_with("Lambda."))
        .collect();
    assert!(own.len() >= 3, "{own:?}");
    for name in own {
        assert!(
            names.contains(&format!("=> \"{name}\"")),
            "no function fails with {name}"
        );
    }
}

#[test]
fn a_cycle_ends_before_the_next_begins() {
    let template = template();
    let machine = state_machine();
    assert_eq!(machine["TimeoutSeconds"], 58);
    let most = |parameter: &str| template["Parameters"][parameter]["MaxValue"].as_u64().unwrap();
    let usual = |parameter: &str| template["Parameters"][parameter]["Default"].as_u64().unwrap();
    assert!(usual("SweepEverySeconds") * 2 + usual("SweepSeconds") < 58 - 5);
    assert!(most("SweepEverySeconds") * 2 + most("SweepSeconds") < 58);
    assert!(usual("SweepSeconds") <= usual("SweepEverySeconds"));
    let sweeps = states(&machine)
        .iter()
        .filter(|(_, state)| state["Resource"] == "${PollDocumentsFunctionArn}")
        .count();
    assert_eq!(sweeps, 3);
}

#[test]
fn the_alarms_match_events_that_are_logged() {
    let template = template();
    let logging = text("docs/logging.md");
    let mut metrics = BTreeSet::new();
    for (name, filter) in of_type(&template, "AWS::Logs::MetricFilter") {
        let pattern = filter["Properties"]["FilterPattern"].as_str().unwrap();
        let event = pattern.split('"').nth(1).unwrap();
        assert!(
            logging.contains(&format!("| `{event}` |")),
            "{name}: {event} is not logged"
        );
        metrics.insert(short(&filter["Properties"]["MetricTransformations"][0]["MetricName"]));
    }
    for metric in metrics {
        let watched = of_type(&template, "AWS::CloudWatch::Alarm")
            .any(|(_, alarm)| short(&alarm["Properties"]["MetricName"]) == metric);
        assert!(watched, "nobody is told of {metric}");
    }
    for (name, alarm) in of_type(&template, "AWS::CloudWatch::Alarm") {
        assert_eq!(
            short(&alarm["Properties"]["AlarmActions"][0]),
            "!Ref AlarmTopic",
            "{name}"
        );
    }
}

#[test]
fn the_functions_are_configured_by_keys_that_exist() {
    let defaults = text("crates/app/src/config/default.toml");
    let mut known = BTreeSet::new();
    let mut section = "";
    for line in defaults.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            known.insert(format!("SKIN_ASSIST_{section}__{key}").to_uppercase());
        }
    }
    let template = template();
    let given = &template["Globals"]["Function"]["Environment"]["Variables"];
    for name in given.as_object().unwrap().keys() {
        assert!(known.contains(name), "{name}");
    }
}

#[test]
fn every_parameter_is_described() {
    let template = template();
    for (name, parameter) in template["Parameters"].as_object().unwrap() {
        let described = parameter["Description"].as_str().is_some_and(|text| text.len() > 20);
        assert!(described, "{name}");
    }
}
