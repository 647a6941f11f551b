//! The template as it is shipped, as JSON: `!Ref x` is `{"Ref": "x"}`, `!Sub x` is `{"Fn::Sub": "x"}`, and so on.

use std::{fs, path::PathBuf};

use serde_json::{Map, Value, json};
use serde_yaml_ng::Value as Yaml;

/// A file of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

pub(crate) fn text(path: &str) -> String {
    let path = repository(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()))
}

/// The template.
pub(crate) fn template() -> Value {
    plain(serde_yaml_ng::from_str(&text("deploy/aws/template.yaml")).expect("the template is YAML"))
}

/// The state machine.
pub(crate) fn state_machine() -> Value {
    serde_json::from_str(&text("deploy/aws/state-machine.asl.json")).expect("the state machine is JSON")
}

fn plain(yaml: Yaml) -> Value {
    match yaml {
        Yaml::Null => Value::Null,
        Yaml::Bool(value) => json!(value),
        Yaml::Number(value) => value
            .as_i64()
            .map_or_else(|| json!(value.as_f64()), |integer| json!(integer)),
        Yaml::String(value) => json!(value),
        Yaml::Sequence(items) => items.into_iter().map(plain).collect(),
        Yaml::Mapping(entries) => entries
            .into_iter()
            .map(|(key, value)| (key.as_str().expect("a key is a text").to_owned(), plain(value)))
            .collect::<Map<_, _>>()
            .into(),
        Yaml::Tagged(tagged) => {
            let name = tagged.tag.to_string();
            let value = plain(tagged.value);
            match name.trim_start_matches('!') {
                "Ref" => json!({ "Ref": value }),
                "Condition" => json!({ "Condition": value }),
                "GetAtt" => {
                    let text = value.as_str().expect("GetAtt names an attribute");
                    let (resource, attribute) = text.split_once('.').expect("GetAtt names an attribute");
                    json!({ "Fn::GetAtt": [resource, attribute] })
                }
                function => json!({ format!("Fn::{function}"): value }),
            }
        }
    }
}

/// The resources of a type, by logical name.
pub(crate) fn of_type<'a>(template: &'a Value, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let resources = template["Resources"].as_object().expect("a template has resources");
    resources
        .iter()
        .filter(move |(_, resource)| resource["Type"] == kind)
        .map(|(name, resource)| (name.as_str(), resource))
}

/// A value in the short form: `!GetAtt X.Arn`, `!Ref X`, `!Sub ...`, or the text itself.
pub(crate) fn short(value: &Value) -> String {
    if let Some(text) = value.as_str() {
        return text.to_owned();
    }
    if let Some(name) = value["Ref"].as_str() {
        return format!("!Ref {name}");
    }
    if let Some(text) = value["Fn::Sub"].as_str() {
        return format!("!Sub {text}");
    }
    match &value["Fn::GetAtt"] {
        Value::Array(parts) => {
            let parts: Vec<_> = parts.iter().filter_map(Value::as_str).collect();
            format!("!GetAtt {}", parts.join("."))
        }
        _ => value.to_string(),
    }
}

/// One text or a list of them.
pub(crate) fn list(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items.clone(),
        Value::Null => Vec::new(),
        single => vec![single.clone()],
    }
}
