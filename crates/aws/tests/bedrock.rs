//! Bedrock's Converse operation by the SDK, against an emulator that passes what it is asked on to an OpenAI-compatible endpoint:
//! a stand-in of this test, which sees what came through and answers.

// Helpers of tests, which clippy does not take for tests.
#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use serde_json::{Value, json};
use skin_assist_aws::{bedrock::BedrockChat, connection::Connection};
use skin_assist_core::{
    phi::Phi,
    ports::{ChatModel as _, LanguageError, Prompt},
};
use skin_assist_testkit::servers::Server;

const MODEL: &str = "anthropic.claude-test-v1:0";
const TIMEOUT: Duration = Duration::from_secs(20);

fn prompt() -> Prompt {
    Prompt {
        system: "task".to_owned(),
        user: Phi::new("data".to_owned()),
        schema: json!({ "type": "object", "properties": { "ranked": { "type": "array", "maxItems": 5 } } }),
        most_output_tokens: 900,
    }
}

/// Answers one request with `reply`, and tells what it was asked.
fn stand_in(reply: &Value) -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (sender, asked) = channel();
    let reply = reply.to_string();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream);
        let (mut line, mut length) = (String::new(), 0);
        while reader.read_line(&mut line).unwrap() > 2 {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        sender.send(serde_json::from_slice(&body).unwrap()).unwrap();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length:";
        write!(reader.get_mut(), "{head} {}\r\n\r\n{reply}", reply.len()).unwrap();
    });
    (url, asked)
}

#[tokio::test]
async fn the_answer_is_what_the_model_gives_the_tool() {
    let answer = json!({ "ranked": [{ "code": "1", "weight": 0.5 }], "comment": null });
    let call = json!({ "id": "1", "type": "function", "function": { "name": "differential", "arguments": answer.to_string() } });
    let (url, asked) = stand_in(&json!({
        "choices": [{ "message": { "role": "assistant", "content": null, "tool_calls": [call] } }],
        "usage": { "prompt_tokens": 1200, "completion_tokens": 80 },
    }));
    let server = Server::ministack_with(&[("MINISTACK_BEDROCK_PROXY_URL", &url)]);
    let chat = BedrockChat::new(&Connection::to_emulator(server.endpoint()), MODEL, TIMEOUT);
    let completion = chat.complete(&prompt()).await.unwrap();
    let given: Value = serde_json::from_str(completion.text.expose()).unwrap();
    assert_eq!(given, answer);
    assert_eq!((completion.input_tokens, completion.output_tokens), (1200, 80));

    let asked = asked.recv().unwrap();
    assert_eq!(
        asked["messages"],
        json!([{ "role": "system", "content": "task" }, { "role": "user", "content": "data" }])
    );
    assert_eq!(asked["temperature"], json!(0.0));
    assert_eq!(asked["max_tokens"], json!(900));
    assert_eq!(asked["tools"][0]["function"]["parameters"], prompt().schema);
    assert_eq!(
        asked["tool_choice"]["function"]["name"], "differential",
        "the tool is forced"
    );
}

#[tokio::test]
async fn words_instead_of_the_tool_are_heard_and_a_wrong_model_is_refused() {
    // Without an endpoint behind it the emulator answers in words of its own.
    let server = Server::ministack();
    let connection = Connection::to_emulator(server.endpoint());
    let completion = BedrockChat::new(&connection, MODEL, TIMEOUT)
        .complete(&prompt())
        .await
        .unwrap();
    assert!(completion.text.expose().contains("ministack mock"));
    assert!(completion.input_tokens > 0 && completion.output_tokens > 0);

    let wrong = BedrockChat::new(&connection, "arn:aws:bedrock:us-east-1:1:nonsense/x", TIMEOUT);
    let error = wrong.complete(&prompt()).await.unwrap_err();
    assert_eq!(
        error,
        LanguageError::Refused {
            what: "it does not take the request"
        }
    );
}

#[tokio::test]
async fn who_does_not_answer_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let chat = BedrockChat::new(&Connection::to_emulator(&endpoint), MODEL, Duration::from_millis(300));
    let error = chat.complete(&prompt()).await.unwrap_err();
    assert_eq!(
        error,
        LanguageError::Unavailable {
            what: "it took too long"
        }
    );
}
