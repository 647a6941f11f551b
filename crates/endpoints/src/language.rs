//! Language models behind an OpenAI-compatible endpoint: `POST {base}/chat/completions` with structured output, as vLLM, Ollama,
//! the server of llama.cpp and Azure have it.
//!
//! # What always holds
//! One request for each call and no retry; temperature 0; the answer's schema goes with the request as strictly as the endpoint
//! can. Sent to https, or to this very machine where that is allowed. The key is in a header and nowhere else.
//!
//! # When it fails
//! Errors are fixed words: what was sent is about a patient, and what came back may quote it.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use skin_assist_core::{
    phi::{Phi, Secret},
    ports::{ChatModel, Completion, LanguageError, Prompt},
};
use skin_assist_transport::{Transport, is_loopback_host};
use url::Url;

/// A reply is a few kilobytes long; more is none.
const MOST_REPLY_BYTES: usize = 256 * 1024;

/// The answer's schema has a name in the request.
const SCHEMA_NAME: &str = "differential";

/// Which endpoint, and what proves us to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatEndpoint {
    /// What stands before `/chat/completions`, such as `https://models.example/v1`. A query is kept (Azure's `api-version`).
    pub base_url: Url,
    /// The model, as the endpoint calls it.
    pub model: String,
    /// The key; none for endpoints of one's own that want none.
    pub api_key: Option<Secret>,
    /// The header that the key goes into as it is (Azure: `api-key`); none for `Authorization: Bearer`.
    pub api_key_header: Option<HeaderName>,
    /// Whether plain http to this very machine is allowed.
    pub allow_loopback_http: bool,
}

/// Nothing may be sent to this endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChatEndpointError {
    /// Neither https nor this machine.
    #[error("the URL of the language model is neither https nor, where that is allowed, http to this machine")]
    UrlNotAllowed,
    /// It carries a user's name or a password.
    #[error("the URL of the language model carries a password")]
    UrlWithPassword,
    /// The key cannot be a header's value.
    #[error("the API key of the language model cannot be sent in a header")]
    KeyUnsendable,
}

/// A [`ChatModel`] behind an OpenAI-compatible endpoint.
pub struct OpenAiChat {
    url: Url,
    model: String,
    key: Option<(HeaderName, HeaderValue)>,
    transport: Arc<dyn Transport>,
}

impl fmt::Debug for OpenAiChat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("OpenAiChat")
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Reply {
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
}

#[derive(Deserialize, Default)]
struct Usage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

impl OpenAiChat {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// [`ChatEndpointError`] for what nothing may be sent to.
    pub fn new(endpoint: ChatEndpoint, transport: Arc<dyn Transport>) -> Result<Self, ChatEndpointError> {
        let mut url = endpoint.base_url;
        let allowed = match url.scheme() {
            "https" => true,
            "http" => endpoint.allow_loopback_http && is_loopback_host(&url),
            _ => false,
        };
        if !allowed {
            return Err(ChatEndpointError::UrlNotAllowed);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ChatEndpointError::UrlWithPassword);
        }
        let path = format!("{}/chat/completions", url.path().trim_end_matches('/'));
        url.set_path(&path);
        let key = endpoint.api_key.map(|key| {
            let (name, text) = match endpoint.api_key_header {
                Some(name) => (name, key.expose().to_owned()),
                None => (header::AUTHORIZATION, format!("Bearer {}", key.expose())),
            };
            let mut value = HeaderValue::try_from(text).map_err(|_| ChatEndpointError::KeyUnsendable)?;
            value.set_sensitive(true);
            Ok((name, value))
        });
        Ok(Self {
            url,
            model: endpoint.model,
            key: key.transpose()?,
            transport,
        })
    }

    fn request(&self, prompt: &Prompt) -> Result<Request<Bytes>, LanguageError> {
        let body = json!({
            "model": self.model,
            "messages": [
                { "role": "system", "content": prompt.system },
                { "role": "user", "content": prompt.user.expose() },
            ],
            "temperature": 0,
            "max_tokens": prompt.most_output_tokens,
            "stream": false,
            "response_format": {
                "type": "json_schema",
                "json_schema": { "name": SCHEMA_NAME, "strict": true, "schema": prompt.schema },
            },
        });
        let mut request = Request::new(Bytes::from(body.to_string()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.as_str().parse().map_err(|_| LanguageError::Refused {
            what: "its URL cannot be sent to",
        })?;
        let headers = request.headers_mut();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json.clone());
        headers.insert(header::ACCEPT, json);
        if let Some((name, value)) = &self.key {
            headers.insert(name.clone(), value.clone());
        }
        Ok(request)
    }
}

fn meaning(status: StatusCode) -> LanguageError {
    match status.as_u16() {
        401 | 403 => LanguageError::Refused {
            what: "it does not take the API key",
        },
        404 => LanguageError::Refused {
            what: "it has no such model or path (404)",
        },
        408 | 429 => LanguageError::Unavailable {
            what: "it is busy or over its own quota",
        },
        500..600 => LanguageError::Unavailable { what: "it fails (5xx)" },
        _ => LanguageError::Refused {
            what: "it does not take the request",
        },
    }
}

#[async_trait]
impl ChatModel for OpenAiChat {
    async fn complete(&self, prompt: &Prompt) -> Result<Completion, LanguageError> {
        let sent = self.transport.send(self.request(prompt)?, MOST_REPLY_BYTES).await;
        let reply = sent.map_err(|_| LanguageError::Unavailable {
            what: "it cannot be reached, or its reply was lost or too large",
        })?;
        if !reply.status().is_success() {
            return Err(meaning(reply.status()));
        }
        let unreadable = LanguageError::Unavailable {
            what: "its reply is no chat completion",
        };
        // The decoder's own words would quote the reply.
        let reply: Reply = serde_json::from_slice(reply.body()).map_err(|_| unreadable.clone())?;
        let usage = reply.usage.unwrap_or_default();
        let choice = reply.choices.into_iter().next().ok_or(unreadable)?;
        Ok(Completion {
            // A refusal has no content: an answer that passes no rule.
            text: Phi::new(choice.message.content.unwrap_or_default()),
            input_tokens: usage.prompt_tokens,
            output_tokens: usage.completion_tokens,
        })
    }

    fn model(&self) -> &str {
        &self.model
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::executor::block_on;
    use http::Response;
    use serde_json::Value;
    use skin_assist_transport::TransportError;

    use super::*;

    /// Gives one answer, and keeps what was sent.
    struct Script {
        answer: Result<(u16, String), TransportError>,
        sent: Mutex<Vec<Request<Bytes>>>,
    }

    #[async_trait]
    impl Transport for Script {
        async fn send(&self, request: Request<Bytes>, limit_bytes: usize) -> Result<Response<Bytes>, TransportError> {
            assert_eq!(limit_bytes, MOST_REPLY_BYTES);
            self.sent.lock().unwrap().push(request);
            let (status, body) = self.answer.clone()?;
            let mut response = Response::new(Bytes::from(body));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            Ok(response)
        }
    }

    fn script(answer: Result<(u16, String), TransportError>) -> Arc<Script> {
        Arc::new(Script {
            answer,
            sent: Mutex::default(),
        })
    }

    fn endpoint(base_url: &str) -> ChatEndpoint {
        ChatEndpoint {
            base_url: Url::parse(base_url).unwrap(),
            model: "model-7".to_owned(),
            api_key: Some(Secret::new("k3y".to_owned())),
            api_key_header: None,
            allow_loopback_http: false,
        }
    }

    fn prompt() -> Prompt {
        Prompt {
            system: "task".to_owned(),
            user: Phi::new("data about canary".to_owned()),
            schema: json!({ "type": "object" }),
            most_output_tokens: 900,
        }
    }

    fn complete(answer: Result<(u16, String), TransportError>) -> Result<Completion, LanguageError> {
        let chat = OpenAiChat::new(endpoint("https://models.example/v1"), script(answer)).unwrap();
        block_on(chat.complete(&prompt()))
    }

    #[test]
    fn the_request_is_the_protocols() {
        let reply = json!({ "choices": [{ "message": { "role": "assistant", "content": "{}" } }],
            "usage": { "prompt_tokens": 1200, "completion_tokens": 80, "total_tokens": 1280 } });
        let script = script(Ok((200, reply.to_string())));
        let chat = OpenAiChat::new(
            endpoint("https://models.example/v1/?api-version=2026-01-01"),
            script.clone(),
        )
        .unwrap();
        let completion = block_on(chat.complete(&prompt())).unwrap();
        assert_eq!((completion.input_tokens, completion.output_tokens), (1200, 80));
        assert_eq!(completion.text.expose(), "{}");

        let sent = script.sent.lock().unwrap().pop().unwrap();
        assert_eq!(sent.method(), Method::POST);
        assert_eq!(
            sent.uri(),
            "https://models.example/v1/chat/completions?api-version=2026-01-01"
        );
        assert_eq!(sent.headers()["authorization"], "Bearer k3y");
        assert!(sent.headers()["authorization"].is_sensitive());
        let body: Value = serde_json::from_slice(sent.body()).unwrap();
        let expected = json!({
            "model": "model-7",
            "messages": [{ "role": "system", "content": "task" }, { "role": "user", "content": "data about canary" }],
            "temperature": 0,
            "max_tokens": 900,
            "stream": false,
            "response_format": { "type": "json_schema",
                "json_schema": { "name": "differential", "strict": true, "schema": { "type": "object" } } },
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn the_key_may_have_a_header_of_its_own() {
        let script = script(Ok((500, String::new())));
        let azure = ChatEndpoint {
            api_key_header: Some(HeaderName::from_static("api-key")),
            ..endpoint("https://models.example/v1")
        };
        block_on(OpenAiChat::new(azure, script.clone()).unwrap().complete(&prompt())).unwrap_err();
        let sent = script.sent.lock().unwrap().pop().unwrap();
        assert_eq!(sent.headers()["api-key"], "k3y");
        assert!(!sent.headers().contains_key("authorization"));
    }

    #[test]
    fn only_https_and_this_machine_are_sent_to() {
        let new = |url: &str, allow_loopback_http: bool| {
            let endpoint = ChatEndpoint {
                allow_loopback_http,
                ..endpoint(url)
            };
            OpenAiChat::new(endpoint, script(Ok((200, String::new())))).map(drop)
        };
        assert_eq!(new("https://models.example/v1", false), Ok(()));
        assert_eq!(new("http://127.0.0.1:8000/v1", true), Ok(()));
        for (url, allowed) in [
            ("http://127.0.0.1:8000/v1", false),
            ("http://models.example/v1", true),
            ("http://10.0.0.7/v1", true),
            ("ftp://models.example/v1", true),
        ] {
            assert_eq!(new(url, allowed), Err(ChatEndpointError::UrlNotAllowed), "{url}");
        }
        let with_password = new("https://user:secret@models.example/v1", false);
        assert_eq!(with_password, Err(ChatEndpointError::UrlWithPassword));
    }

    #[test]
    fn what_may_go_well_later_is_told_from_what_will_not() {
        let quoted = r#"{"error": {"message": "cannot parse: data about canary"}}"#;
        for (status, refused) in [
            (400, true),
            (401, true),
            (403, true),
            (404, true),
            (422, true),
            (301, true),
        ] {
            let error = complete(Ok((status, quoted.to_owned()))).unwrap_err();
            assert_eq!(matches!(error, LanguageError::Refused { .. }), refused, "{status}");
        }
        let lost = TransportError::Unknown {
            what: "it took too long",
            status: None,
        };
        for answer in [
            Ok((429, quoted.to_owned())),
            Ok((503, quoted.to_owned())),
            Ok((200, quoted.to_owned())),
            Ok((200, r#"{"choices": []}"#.to_owned())),
            Err(lost),
        ] {
            let error = complete(answer).unwrap_err();
            assert!(matches!(error, LanguageError::Unavailable { .. }), "{error:?}");
            assert!(!format!("{error} {error:?}").contains("canary"));
        }
    }

    #[test]
    fn a_refusal_is_an_answer_without_words() {
        let reply = json!({ "choices": [{ "message": { "content": null, "refusal": "no" } }] });
        let completion = complete(Ok((200, reply.to_string()))).unwrap();
        assert_eq!((completion.text.expose().as_str(), completion.input_tokens), ("", 0));
    }
}
