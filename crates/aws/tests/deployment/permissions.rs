//! The permissions that each function has to have: those of the ports that its stage holds, as far as the stage calls them,
//! and what Lambda itself needs in its name. Compared with the template's policies, action by action.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use skin_assist_aws::dynamodb::{
    is_sealed,
    schema::{FIRM_KEYS, TABLES, Table},
};

use crate::{
    methods::METHODS,
    stages::{self, Use},
    template::{list, of_type, short, template},
};

/// A function of the deployment.
struct Function {
    /// The name of its handler.
    name: &'static str,
    /// The stages that it runs. Whoever calls the EHR may renew its token.
    stages: &'static [&'static str],
    /// What the driver does around them.
    around: &'static [(&'static str, &'static str)],
    /// Which table's stream calls it.
    stream: Option<&'static str>,
    /// Whether it is called asynchronously, and has dead letters.
    dead_letters: bool,
}

const FUNCTIONS: &[Function] = &[
    Function {
        name: "discover-firms",
        stages: &["DiscoverFirms"],
        around: &[],
        stream: None,
        dead_letters: false,
    },
    Function {
        name: "refresh-credentials",
        stages: &["RefreshCredentials"],
        around: &[("Firms", "firm")],
        stream: None,
        dead_letters: false,
    },
    Function {
        name: "poll-encounters",
        stages: &["PollEncounters", "RefreshCredentials"],
        around: &[("Firms", "firm")],
        stream: None,
        dead_letters: false,
    },
    Function {
        name: "poll-documents",
        // The policy may find an encounter poll worth its call, too.
        stages: &["PollDocuments", "PollEncounters", "RefreshCredentials"],
        around: &[
            ("Firms", "firm"),
            ("EncounterWatches", "cursor"),
            ("EncounterWatches", "watch_list"),
            ("WatchLists", "acquire_watch_lists_of"),
            ("WatchLists", "give_watch_list_back"),
            ("PollingMemory", "learned"),
            ("PollingMemory", "add_learned"),
        ],
        stream: None,
        dead_letters: false,
    },
    Function {
        name: "download-photo",
        stages: &["DownloadPhoto", "RefreshCredentials"],
        around: &[
            ("Firms", "firm"),
            ("Proposals", "acquire_document"),
            ("DocumentQueue", "release_document"),
        ],
        stream: Some("DocumentWatch"),
        dead_letters: true,
    },
    Function {
        name: "infer",
        stages: &["Infer", "RefreshCredentials"],
        around: &[
            ("Firms", "firm"),
            ("Proposals", "acquire_document"),
            // The key of a stored object does not tell whose photo it is.
            ("Proposals", "due_documents"),
            ("DocumentQueue", "release_document"),
        ],
        stream: None,
        dead_letters: true,
    },
    Function {
        name: "write-back",
        stages: &["WriteBack", "RefreshCredentials"],
        around: &[
            ("Firms", "firm"),
            ("Proposals", "acquire_result"),
            ("Deliveries", "release_delivery"),
        ],
        stream: Some("AssistResults"),
        dead_letters: true,
    },
    Function {
        name: "propose-due",
        stages: &[],
        around: &[("Proposals", "due_documents"), ("Proposals", "due_results")],
        stream: None,
        dead_letters: false,
    },
    Function {
        name: "remove-expired",
        stages: &[],
        around: &[("Retention", "remove_expired")],
        stream: None,
        dead_letters: true,
    },
];

/// Ports that are no state of ours: what they need beside the network.
const EHR: &[&str] = &[
    "ChartReader",
    "PhotoSource",
    "PatientContext",
    "DraftWriter",
    "TokenEndpoint",
];

/// The one language model, where there is one.
const LANGUAGE_MODEL: &str = "arn:${AWS::Partition}:bedrock:${AWS::Region}::foundation-model/${LanguageModelId}";

/// Ports that need nothing of AWS that is not asked for elsewhere: the EHR, and the language model, which has a policy of its own.
const WITHOUT: &[&str] = &["TokenSource", "Clock", "LanguageModel"];

/// The endpoints that the deployment is told of, whichever they are: one for each route.
const ENDPOINTS: &[&str] = &["SolitaryEndpoint", "WidespreadEndpoint"];

/// The secret with the vendor's API key, whose name ends with six characters of Secrets Manager's choice; and what proves us to
/// practices, where that is kept there.
const SECRETS: [&str; 2] = ["ehr-api-key-??????", "practices/*"];

/// What the keys of practices are wrapped under: for all that read what is sealed with them.
const FIRM_KEYS_SECRET: &str = "firm-keys-??????";

/// One statement of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Statement {
    sid: String,
    actions: BTreeSet<String>,
    resources: BTreeSet<String>,
    /// Through which services a key may be used.
    via: BTreeSet<String>,
}

/// An action on a resource, and through which services.
type Permission = (String, String, BTreeSet<String>);

fn logical(name: &str) -> String {
    let word = |word: &str| word[..1].to_uppercase() + &word[1..];
    name.split('-').map(word).collect()
}

fn set(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn uses_of(function: &Function) -> (BTreeSet<Use>, BTreeSet<String>) {
    let (mut uses, mut held) = (BTreeSet::new(), BTreeSet::new());
    for stage in function.stages {
        let (more, ports) = stages::stage(stage);
        uses.extend(more);
        held.extend(ports);
    }
    let declared = stages::ports();
    for (port, method) in function.around {
        assert!(
            declared.get(*port).is_some_and(|methods| methods.contains(*method)),
            "{}: there is no {port}::{method}",
            function.name
        );
        uses.insert(((*port).to_owned(), (*method).to_owned()));
    }
    (uses, held)
}

/// What a function's policy has to say.
fn expected(function: &Function) -> Vec<Statement> {
    let name = logical(function.name);
    let statement = |sid: &str, actions: BTreeSet<String>, resource: String| Statement {
        sid: sid.to_owned(),
        actions,
        resources: BTreeSet::from([resource]),
        via: BTreeSet::new(),
    };
    let (uses, held) = uses_of(function);
    let mut tables: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let (mut objects, mut puts) = (BTreeSet::new(), false);
    let mut looks = false;
    for (port, method) in &uses {
        if port == "VisionModel" {
            // Which models there are is asked of the endpoints in the same way.
            looks = true;
            continue;
        }
        if port == "Photos" {
            puts |= method == "put";
            objects.insert(match method.as_str() {
                "put" => "s3:PutObject".to_owned(),
                "get" => "s3:GetObject".to_owned(),
                "delete" => "s3:DeleteObject".to_owned(),
                other => panic!("what does Photos::{other} need?"),
            });
            continue;
        }
        if EHR.contains(&port.as_str()) || WITHOUT.contains(&port.as_str()) {
            continue;
        }
        let known = METHODS.iter().find(|(of, name, _)| of == port && name == method);
        let (.., accesses) = known.unwrap_or_else(|| panic!("what does {port}::{method} need?"));
        for (table, actions) in *accesses {
            let of_table = tables.entry(table).or_default();
            of_table.extend(actions.iter().map(|action| format!("dynamodb:{action}")));
        }
    }
    let is_of = |known: &Table| tables.keys().any(|table| table.split('/').next() == Some(known.name));
    let opens = TABLES.iter().any(|known| is_sealed(known) && is_of(known));
    if opens {
        tables.insert(FIRM_KEYS.name, set(&["dynamodb:GetItem"]));
    }
    let mut statements = vec![statement(
        "Logs",
        set(&["logs:CreateLogStream", "logs:PutLogEvents"]),
        format!("!GetAtt {name}LogGroup.Arn"),
    )];
    let mut via = set(&["dynamodb"]);
    for (table, actions) in tables {
        statements.push(match table.split_once('/') {
            None => statement(table, actions, format!("!GetAtt {table}Table.Arn")),
            Some((table, index)) => statement(
                &format!("{table}{}", logical(index)),
                actions,
                format!("!Sub ${{{table}Table.Arn}}/index/{index}"),
            ),
        });
    }
    if !objects.is_empty() {
        via.insert("s3".to_owned());
        // By its name: the bucket's notification names the function, so that the function cannot name the bucket.
        let bucket = "!Sub arn:${AWS::Partition}:s3:::${AWS::StackName}-photos-${AWS::AccountId}-${AWS::Region}";
        if objects.contains("s3:GetObject") {
            // Who may not list is told that an object is forbidden which is not there any more.
            statements.push(statement("PhotoNames", set(&["s3:ListBucket"]), bucket.to_owned()));
        }
        statements.push(statement("Photos", objects, format!("{bucket}/*")));
    }
    if looks {
        let endpoint = |name: &&str| {
            format!("!Sub arn:${{AWS::Partition}}:sagemaker:${{AWS::Region}}:${{AWS::AccountId}}:endpoint/${{{name}}}")
        };
        statements.push(Statement {
            resources: ENDPOINTS.iter().map(endpoint).collect(),
            ..statement("Models", set(&["sagemaker:InvokeEndpoint"]), String::new())
        });
    }
    let calls_the_ehr = held.iter().any(|port| EHR.contains(&port.as_str()));
    let secrets = calls_the_ehr.then_some(SECRETS).into_iter().flatten();
    let secrets: Vec<&str> = secrets.chain(opens.then_some(FIRM_KEYS_SECRET)).collect();
    if !secrets.is_empty() {
        via.insert("secretsmanager".to_owned());
        let secret = |name: &&str| {
            format!(
                "!Sub arn:${{AWS::Partition}}:secretsmanager:${{AWS::Region}}:${{AWS::AccountId}}:secret:${{AWS::StackName}}/{name}"
            )
        };
        statements.push(Statement {
            resources: secrets.iter().map(secret).collect(),
            ..statement("Secrets", set(&["secretsmanager:GetSecretValue"]), String::new())
        });
    }
    if held.contains("LanguageModel") {
        statements.push(statement(
            "LanguageModel",
            set(&["bedrock:InvokeModel"]),
            format!("!Sub {LANGUAGE_MODEL}"),
        ));
    }
    if let Some(table) = function.stream {
        statements.push(statement(
            "Stream",
            set(&[
                "dynamodb:DescribeStream",
                "dynamodb:GetRecords",
                "dynamodb:GetShardIterator",
            ]),
            format!("!GetAtt {table}Table.StreamArn"),
        ));
        statements.push(statement(
            "Streams",
            set(&["dynamodb:ListStreams"]),
            format!("!Sub ${{{table}Table.Arn}}/stream/*"),
        ));
    }
    let mut key = set(&["kms:Decrypt"]);
    if function.dead_letters {
        via.insert("sqs".to_owned());
        statements.push(statement(
            "GiveUp",
            set(&["sqs:SendMessage"]),
            format!("!GetAtt {name}DeadLetters.Arn"),
        ));
    }
    if function.dead_letters || puts {
        key.insert("kms:GenerateDataKey".to_owned());
    }
    statements.push(Statement {
        via,
        ..statement("Key", key, "!GetAtt Key.Arn".to_owned())
    });
    statements
}

fn permissions(statements: &[Statement]) -> BTreeSet<Permission> {
    let mut permissions = BTreeSet::new();
    for statement in statements {
        for action in &statement.actions {
            for resource in &statement.resources {
                permissions.insert((action.clone(), resource.clone(), statement.via.clone()));
            }
        }
    }
    permissions
}

/// What the template's roles may do, by function: all policies of the role, managed and inline.
fn granted(template: &Value) -> BTreeMap<String, BTreeSet<Permission>> {
    let mut granted = BTreeMap::new();
    for (_, function) in of_type(template, "AWS::Serverless::Function") {
        let properties = &function["Properties"];
        assert!(
            properties["Policies"].is_null(),
            "SAM would add a role of its own making"
        );
        let name = properties["Handler"].as_str().expect("a function has a handler");
        let role = short(&properties["Role"]);
        let role = role.strip_prefix("!GetAtt ").and_then(|role| role.strip_suffix(".Arn"));
        let role = &template["Resources"][role.expect("a role of the template")]["Properties"];
        let managed = list(&role["ManagedPolicyArns"]).into_iter().map(|policy| {
            // One that is there under a condition counts as there.
            let policy = policy["Fn::If"].get(1).unwrap_or(&policy);
            let policy = policy["Ref"].as_str().expect("no policy of Amazon's").to_owned();
            template["Resources"][&policy]["Properties"]["PolicyDocument"].clone()
        });
        let inline = list(&role["Policies"])
            .into_iter()
            .map(|policy| policy["PolicyDocument"].clone());
        let statements: Vec<Statement> = managed
            .chain(inline)
            .flat_map(|document| list(&document["Statement"]))
            .map(|statement| read(&statement))
            .collect();
        granted.insert(name.to_owned(), permissions(&statements));
    }
    granted
}

fn read(statement: &Value) -> Statement {
    assert_eq!(statement["Effect"], "Allow");
    assert!(statement["NotAction"].is_null() && statement["NotResource"].is_null());
    let texts = |value: &Value| list(value).iter().map(short).collect();
    let mut via = BTreeSet::new();
    if let Some(condition) = statement["Condition"].as_object() {
        assert_eq!(condition.len(), 1, "{condition:?}");
        let equals = condition["StringEquals"]
            .as_object()
            .expect("StringEquals is what is used");
        assert_eq!(equals.len(), 1);
        for service in list(&equals["kms:ViaService"]) {
            let service = short(&service);
            let name = service
                .strip_prefix("!Sub ")
                .and_then(|name| name.strip_suffix(".${AWS::Region}.${AWS::URLSuffix}"));
            via.insert(name.expect("a service of this region").to_owned());
        }
    }
    Statement {
        sid: short(&statement["Sid"]),
        actions: texts(&statement["Action"]),
        resources: texts(&statement["Resource"]),
        via,
    }
}

/// How the template's policies differ from what the stages need.
fn differences(template: &Value) -> Vec<String> {
    let granted = granted(template);
    let mut differences = Vec::new();
    for function in FUNCTIONS {
        let expected = permissions(&expected(function));
        let Some(granted) = granted.get(function.name) else {
            differences.push(format!("{}: is not in the template", function.name));
            continue;
        };
        for (action, resource, via) in granted.difference(&expected) {
            differences.push(format!("{}: must not {action} on {resource} {via:?}", function.name));
        }
        for (action, resource, via) in expected.difference(granted) {
            differences.push(format!("{}: has to {action} on {resource} {via:?}", function.name));
        }
    }
    let known: BTreeSet<&str> = FUNCTIONS.iter().map(|function| function.name).collect();
    let others = granted.keys().filter(|name| !known.contains(name.as_str()));
    differences.extend(others.map(|name| format!("{name}: what may it do?")));
    differences
}

#[test]
fn every_policy_is_what_its_stage_needs() {
    // For whoever changes a stage: what the template has to say.
    let policies: serde_json::Map<String, Value> = FUNCTIONS
        .iter()
        .map(|function| {
            let statements = expected(function).into_iter().map(|statement| {
                let mut written = json!({
                    "sid": statement.sid, "actions": statement.actions, "resources": statement.resources,
                });
                if !statement.via.is_empty() {
                    written["via"] = json!(statement.via);
                }
                written
            });
            (function.name.to_owned(), statements.collect())
        })
        .collect();
    let path = crate::template::repository("target/aws-permissions.json");
    // Only a help: without it the differences below are the same.
    _ = std::fs::write(path, serde_json::to_string_pretty(&policies).unwrap());
    let differences = differences(&template());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// The policy document of a function, to be changed.
fn statements_of<'a>(template: &'a mut Value, function: &str) -> &'a mut Vec<Value> {
    let policy = format!("{}Policy", logical(function));
    template["Resources"][policy]["Properties"]["PolicyDocument"]["Statement"]
        .as_array_mut()
        .expect("a policy has statements")
}

#[test]
fn a_policy_widened_by_one_action_is_noticed() {
    for function in FUNCTIONS {
        for place in 0..statements_of(&mut template(), function.name).len() {
            let mut widened = template();
            let statement = &mut statements_of(&mut widened, function.name)[place];
            let resources = list(&statement["Resource"]).len();
            statement["Action"].as_array_mut().unwrap().push(json!("dynamodb:Scan"));
            assert_eq!(differences(&widened).len(), resources, "{} {place}", function.name);
        }
    }
    let mut widened = template();
    statements_of(&mut widened, "poll-encounters").push(json!({
        "Effect": "Allow", "Action": "dynamodb:GetItem", "Resource": { "Fn::GetAtt": ["AssistResultsTable", "Arn"] },
    }));
    let noticed = differences(&widened);
    assert_eq!(noticed.len(), 1);
    assert!(
        noticed[0].starts_with("poll-encounters: must not dynamodb:GetItem"),
        "{noticed:?}"
    );
}

#[test]
fn a_policy_narrowed_by_one_action_is_noticed() {
    let mut tried = 0;
    for function in FUNCTIONS {
        let whole = statements_of(&mut template(), function.name).clone();
        for (place, statement) in whole.iter().enumerate() {
            for action in 0..list(&statement["Action"]).len() {
                let mut narrowed = template();
                let changed = &mut statements_of(&mut narrowed, function.name)[place];
                let resources = list(&changed["Resource"]).len();
                let removed = changed["Action"].as_array_mut().unwrap().remove(action);
                let noticed = differences(&narrowed);
                assert_eq!(noticed.len(), resources, "{} {removed}", function.name);
                assert!(noticed[0].contains("has to"), "{noticed:?}");
                tried += 1;
            }
        }
    }
    assert!(tried > 100, "{tried} actions");
}

#[test]
fn the_models_function_may_ask_the_one_language_model_and_only_where_there_is_one() {
    let whole = template();
    let policy = &whole["Resources"]["InferLanguagePolicy"];
    assert_eq!(policy["Condition"], "HasLanguageModel");
    let attached = &whole["Resources"]["InferRole"]["Properties"]["ManagedPolicyArns"][1]["Fn::If"];
    assert_eq!(attached[0], "HasLanguageModel");
    assert_eq!(attached[2]["Ref"], "AWS::NoValue");
    for (field, value) in [
        ("Resource", json!(["*"])),
        (
            "Resource",
            json!([{ "Fn::Sub": "arn:${AWS::Partition}:bedrock:${AWS::Region}::foundation-model/*" }]),
        ),
        (
            "Action",
            json!(["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"]),
        ),
        ("Action", json!(["bedrock:*"])),
    ] {
        let mut changed = template();
        changed["Resources"]["InferLanguagePolicy"]["Properties"]["PolicyDocument"]["Statement"][0][field] = value;
        assert!(!differences(&changed).is_empty(), "{field}");
    }
    let others = FUNCTIONS.iter().filter(|function| function.name != "infer");
    for function in others {
        let granted = &granted(&whole)[function.name];
        assert!(
            granted.iter().all(|(action, ..)| !action.starts_with("bedrock:")),
            "{}",
            function.name
        );
    }
}

#[test]
fn the_models_are_these_endpoints_and_no_others() {
    for resource in [
        json!("*"),
        json!({ "Fn::Sub": "arn:${AWS::Partition}:sagemaker:*:*:endpoint/*" }),
    ] {
        let mut widened = template();
        let statements = statements_of(&mut widened, "infer");
        let models = statements.iter_mut().find(|statement| statement["Sid"] == "Models");
        models.expect("it invokes endpoints")["Resource"] = json!([resource]);
        // Both endpoints are missing, and one is too many.
        assert_eq!(differences(&widened).len(), 3);
    }
    // What the function is told is what it may invoke.
    let variables = template()["Resources"]["InferFunction"]["Properties"]["Environment"]["Variables"].clone();
    for (variable, parameter) in [
        ("SKIN_ASSIST_MODELS__SAGEMAKER_SOLITARY", ENDPOINTS[0]),
        ("SKIN_ASSIST_MODELS__SAGEMAKER_WIDESPREAD", ENDPOINTS[1]),
    ] {
        assert_eq!(variables[variable], json!({ "Ref": parameter }));
    }
}

#[test]
fn a_key_that_may_be_used_otherwise_is_noticed() {
    let mut widened = template();
    let key = statements_of(&mut widened, "download-photo")
        .iter_mut()
        .find(|statement| statement["Sid"] == "Key")
        .expect("it uses the key");
    key.as_object_mut().unwrap().remove("Condition");
    assert!(!differences(&widened).is_empty());
}

#[test]
fn the_encounter_poller_has_no_access_to_results_or_photos() {
    let granted = granted(&template());
    for (action, resource, _) in &granted["poll-encounters"] {
        assert!(!resource.contains("AssistResults"), "{action} on {resource}");
        assert!(!resource.contains("DocumentWatch"), "{action} on {resource}");
        assert!(!action.starts_with("s3:"), "{action} on {resource}");
        assert_ne!(resource, "*", "{action}");
    }
    // And nobody but the writer and the models reads what a result says.
    let reads = [
        "dynamodb:GetItem",
        "dynamodb:Query",
        "dynamodb:BatchGetItem",
        "dynamodb:Scan",
    ];
    for function in ["discover-firms", "refresh-credentials", "download-photo", "propose-due"] {
        for (action, resource, _) in &granted[function] {
            let is_read = reads.contains(&action.as_str()) && resource == "!GetAtt AssistResultsTable.Arn";
            assert!(!is_read, "{function}: {action}");
        }
    }
}

#[test]
fn the_state_machine_may_call_what_it_names_and_nothing_else() {
    let template = template();
    let machine = &template["Resources"]["StateMachine"]["Properties"];
    let named: BTreeSet<String> = machine["DefinitionSubstitutions"]
        .as_object()
        .unwrap()
        .values()
        .map(short)
        .filter(|value| value.starts_with("!GetAtt"))
        .collect();
    let policy = &template["Resources"]["StateMachinePolicy"]["Properties"]["PolicyDocument"]["Statement"];
    let invoke = list(policy)
        .into_iter()
        .find(|statement| list(&statement["Action"]) == [json!("lambda:InvokeFunction")])
        .expect("it invokes functions");
    let allowed: BTreeSet<String> = list(&invoke["Resource"]).iter().map(short).collect();
    assert_eq!(allowed, named);
    for statement in list(policy) {
        let others = list(&statement["Action"]);
        let logs = others
            .iter()
            .all(|action| action.as_str().unwrap().starts_with("logs:"));
        assert!(logs || statement == invoke, "{statement}");
    }
}
