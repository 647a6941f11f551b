//! Language models on Amazon Bedrock, by the Converse operation.
//!
//! # What always holds
//! One request for each call (but for a connection that turns out dead), at temperature 0. The answer is the input of the one
//! tool that the model is made to use, whose schema is the answer's.
//!
//! # When it fails
//! Errors are fixed words: what was sent is about a patient, and what came back may quote it.

use std::{collections::HashMap, time::Duration};

use async_trait::async_trait;
use aws_sdk_bedrockruntime::{
    Client,
    config::{Builder, timeout::TimeoutConfig},
    error::{ProvideErrorMetadata, SdkError},
    types::{
        ContentBlock, ConversationRole, InferenceConfiguration, Message, SpecificToolChoice, SystemContentBlock,
        TokenUsage, Tool, ToolChoice, ToolConfiguration, ToolInputSchema, ToolSpecification,
    },
};
use aws_smithy_types::{Document, Number};
use serde_json::Value;
use skin_assist_core::{
    phi::Phi,
    ports::{ChatModel, Completion, LanguageError, Prompt},
};

use crate::connection::Connection;

/// The tool that stands for the answer.
const TOOL: &str = "differential";

/// A [`ChatModel`] on Bedrock.
#[derive(Debug, Clone)]
pub struct BedrockChat {
    client: Client,
    model: String,
}

impl BedrockChat {
    /// Asks `model`: the id of a foundation model or an inference profile, or its ARN. Each call ends after `timeout`. Nothing is
    /// sent yet.
    pub fn new(connection: &Connection, model: impl Into<String>, timeout: Duration) -> Self {
        let timeouts = TimeoutConfig::builder().operation_timeout(timeout).build();
        let config = Builder::from(&connection.config).timeout_config(timeouts).build();
        Self {
            client: Client::from_conf(config),
            model: model.into(),
        }
    }
}

fn unbuildable<E>(_: E) -> LanguageError {
    LanguageError::Refused {
        what: "the request cannot be made",
    }
}

/// JSON as the SDK has it.
fn document(value: &Value) -> Document {
    match value {
        Value::Null => Document::Null,
        Value::Bool(value) => Document::Bool(*value),
        Value::Number(number) => Document::Number(match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => Number::PosInt(number),
            (None, Some(number)) => Number::NegInt(number),
            (None, None) => Number::Float(number.as_f64().unwrap_or_default()),
        }),
        Value::String(text) => Document::String(text.clone()),
        Value::Array(items) => Document::Array(items.iter().map(document).collect()),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), document(value)));
            Document::Object(fields.collect::<HashMap<_, _>>())
        }
    }
}

/// And back.
fn json(document: &Document) -> Value {
    match document {
        Document::Null => Value::Null,
        Document::Bool(value) => Value::Bool(*value),
        Document::Number(Number::PosInt(number)) => Value::from(*number),
        Document::Number(Number::NegInt(number)) => Value::from(*number),
        Document::Number(Number::Float(number)) => Value::from(*number),
        Document::String(text) => Value::from(text.as_str()),
        Document::Array(items) => items.iter().map(json).collect(),
        Document::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), json(value))).collect(),
    }
}

fn meaning<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> LanguageError {
    let SdkError::ServiceError(answer) = error else {
        return LanguageError::Unavailable {
            what: match error {
                SdkError::TimeoutError(_) => "it took too long",
                SdkError::DispatchFailure(_) => "no connection, or no credentials",
                _ => "its reply cannot be read",
            },
        };
    };
    match answer.err().code().unwrap_or_default() {
        "AccessDeniedException" => LanguageError::Refused {
            what: "we may not use the model",
        },
        "ResourceNotFoundException" => LanguageError::Refused {
            what: "there is no such model",
        },
        "ValidationException" => LanguageError::Refused {
            what: "it does not take the request",
        },
        "ThrottlingException" | "ServiceQuotaExceededException" => LanguageError::Unavailable {
            what: "it is busy or over its own quota",
        },
        _ => LanguageError::Unavailable { what: "it fails" },
    }
}

#[async_trait]
impl ChatModel for BedrockChat {
    async fn complete(&self, prompt: &Prompt) -> Result<Completion, LanguageError> {
        let user = Message::builder()
            .role(ConversationRole::User)
            .content(ContentBlock::Text(prompt.user.expose().clone()))
            .build()
            .map_err(unbuildable)?;
        let tool = ToolSpecification::builder()
            .name(TOOL)
            .description("Takes the answer.")
            .input_schema(ToolInputSchema::Json(document(&prompt.schema)))
            .build()
            .map_err(unbuildable)?;
        let choice = SpecificToolChoice::builder().name(TOOL).build().map_err(unbuildable)?;
        let tools = ToolConfiguration::builder()
            .tools(Tool::ToolSpec(tool))
            .tool_choice(ToolChoice::Tool(choice))
            .build()
            .map_err(unbuildable)?;
        let inference = InferenceConfiguration::builder()
            .temperature(0.0)
            .max_tokens(i32::try_from(prompt.most_output_tokens).unwrap_or(i32::MAX))
            .build();
        let sent = self
            .client
            .converse()
            .model_id(&self.model)
            .system(SystemContentBlock::Text(prompt.system.clone()))
            .messages(user)
            .inference_config(inference)
            .tool_config(tools)
            .send()
            .await;
        let reply = sent.map_err(|error| meaning(&error))?;
        let usage = reply.usage();
        let tokens = |count: Option<i32>| count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
        let message = reply.output().and_then(|output| output.as_message().ok());
        let blocks = message.map(Message::content).unwrap_or_default();
        let used = blocks.iter().find_map(|block| block.as_tool_use().ok());
        // A model that answers in words instead is heard, and passes no rule.
        let text = used.map_or_else(
            || {
                blocks
                    .iter()
                    .filter_map(|block| block.as_text().ok())
                    .cloned()
                    .collect()
            },
            |tool| json(tool.input()).to_string(),
        );
        Ok(Completion {
            text: Phi::new(text),
            input_tokens: tokens(usage.map(TokenUsage::input_tokens)),
            output_tokens: tokens(usage.map(TokenUsage::output_tokens)),
        })
    }

    fn model(&self) -> &str {
        &self.model
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_survives_the_sdks_own_form() {
        let value = serde_json::json!({ "a": [1, -2, 0.5, "x", true, null], "b": { "c": {} } });
        assert_eq!(json(&document(&value)), value);
    }
}
