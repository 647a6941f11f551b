//! Vision models behind SageMaker endpoints: photo bytes there, findings back.
//!
//! An endpoint's container is `skin-assist serve-models`, or one that does as docs/remote-models.md says. Each route has its
//! endpoint; one endpoint may serve both.
//!
//! # Invariants
//! - A photo is sent once for each look: an inference is paid for, and trying again is the stage's business. So the SDK
//!   tries nothing again here.
//! - The models are known before the first look: each endpoint is asked to describe itself. Findings say themselves which
//!   models looked.
//!
//! # When it fails
//! What the container answers means what its code says ([`skin_assist_core::wire`]); what SageMaker answers is transient, with
//! a reason of its own where somebody has to see to it. Neither is quoted.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use aws_sdk_sagemakerruntime::{
    Client,
    error::{ProvideErrorMetadata as _, SdkError},
    operation::invoke_endpoint::InvokeEndpointError,
    primitives::Blob,
};
use aws_smithy_types::{retry::RetryConfig, timeout::TimeoutConfig};
use skin_assist_core::{
    domain::{Findings, ModelVersion, PhotoBytes, Route},
    ports::{PhotoRefusal, VisionError, VisionModel},
    wire::{self, Description, KnownModels},
};

use crate::connection::Connection;

/// What an endpoint takes at most: SageMaker's limit for real-time inference.
const MOST_BYTES: usize = 25 * 1024 * 1024;
/// SageMaker itself ends an invocation after 60 seconds.
const INVOCATION: Duration = Duration::from_secs(65);

/// The endpoints cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One cannot be asked which models it has.
    #[error("the SageMaker endpoint {endpoint} cannot be asked for its models")]
    Asked {
        /// Its name.
        endpoint: String,
        #[source]
        /// Why.
        source: VisionError,
    },
    /// It says something else.
    #[error("the SageMaker endpoint {endpoint} does not describe its models")]
    NotDescribed {
        /// Its name.
        endpoint: String,
    },
    /// It has no model of the route that it is configured for.
    #[error("the SageMaker endpoint {endpoint} has no model for {route} photos")]
    NoModel {
        /// Its name.
        endpoint: String,
        /// The route.
        route: Route,
    },
}

impl Error {
    /// What a person can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Asked { source, .. } => format!("{} ({})", source.reason().hint(), source.reason()),
            Self::NotDescribed { .. } => {
                "its container has to be `skin-assist serve-models`, or one that does as docs/remote-models.md says"
                    .to_owned()
            }
            Self::NoModel { .. } => "check models.sagemaker_solitary and models.sagemaker_widespread".to_owned(),
        }
    }
}

/// Vision by SageMaker endpoints.
#[derive(Debug)]
pub struct SageMakerVision {
    client: Client,
    endpoints: BTreeMap<Route, String>,
    known: KnownModels,
}

impl SageMakerVision {
    /// Asks the endpoint of each route for its models.
    pub async fn connect(connection: &Connection, endpoints: BTreeMap<Route, String>) -> Result<Self, Error> {
        let config = aws_sdk_sagemakerruntime::config::Builder::from(&connection.config)
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(INVOCATION).build())
            .build();
        let vision = Self {
            client: Client::from_conf(config),
            endpoints,
            known: KnownModels::default(),
        };
        for (route, endpoint) in &vision.endpoints {
            let endpoint = endpoint.clone();
            let answer = vision
                .invoke(&endpoint, "application/json", wire::DESCRIBE.to_owned(), b"{}")
                .await;
            let answer = match answer {
                Ok(answer) => answer,
                Err(source) => return Err(Error::Asked { endpoint, source }),
            };
            let Ok(description) = serde_json::from_slice::<Description>(&answer) else {
                return Err(Error::NotDescribed { endpoint });
            };
            let models = description.of(*route);
            if models.is_empty() {
                return Err(Error::NoModel {
                    endpoint,
                    route: *route,
                });
            }
            vision.known.note(*route, &models);
        }
        Ok(vision)
    }

    async fn invoke(
        &self,
        endpoint: &str,
        content_type: &str,
        attributes: String,
        body: &[u8],
    ) -> Result<Vec<u8>, VisionError> {
        let sent = self
            .client
            .invoke_endpoint()
            .endpoint_name(endpoint)
            .content_type(content_type)
            .accept("application/json")
            .custom_attributes(attributes)
            .body(Blob::new(body))
            .send()
            .await;
        match sent {
            Ok(answer) => Ok(answer.body.map(Blob::into_inner).unwrap_or_default()),
            Err(error) => Err(meaning(&error)),
        }
    }
}

/// What an error of the SDK means. Never passed on: it holds the response.
fn meaning<R>(error: &SdkError<InvokeEndpointError, R>) -> VisionError {
    let SdkError::ServiceError(answer) = error else {
        let what = match error {
            SdkError::TimeoutError(_) => "SageMaker took too long",
            SdkError::DispatchFailure(_) => "no connection to SageMaker, or no credentials",
            SdkError::ConstructionFailure(_) => "the request to SageMaker cannot be made",
            _ => "SageMaker's answer cannot be read",
        };
        return VisionError::Unavailable { what };
    };
    match answer.err() {
        InvokeEndpointError::ModelError(error) => {
            let status = error
                .original_status_code()
                .and_then(|status| u16::try_from(status).ok());
            let body = error.original_message().unwrap_or_default();
            return wire::understood(status.unwrap_or(500), body.as_bytes(), None);
        }
        InvokeEndpointError::ModelNotReadyException(_) => {
            return VisionError::Unavailable {
                what: "the endpoint's model is not ready yet",
            };
        }
        // SageMaker has no error of its own for that.
        InvokeEndpointError::ValidationError(error)
            if error.message().is_some_and(|message| message.contains("not found")) =>
        {
            return VisionError::EndpointMissing {
                what: "SageMaker has no endpoint of this name in this region and account",
            };
        }
        _ => {}
    }
    match answer.err().code() {
        Some("ThrottlingException" | "Throttling" | "TooManyRequestsException" | "RequestLimitExceeded") => {
            VisionError::Busy { retry_after: None }
        }
        Some("AccessDeniedException" | "AccessDenied") => VisionError::EndpointDenied {
            what: "the role may not invoke it",
        },
        Some("ValidationError" | "ValidationException") => VisionError::Unavailable {
            what: "SageMaker refuses the request",
        },
        _ => VisionError::Unavailable {
            what: "SageMaker fails",
        },
    }
}

#[async_trait]
impl VisionModel for SageMakerVision {
    async fn look(&self, route: Route, photo: &PhotoBytes) -> Result<Findings, VisionError> {
        let endpoint = self.endpoints.get(&route).ok_or(VisionError::EndpointMissing {
            what: "none is configured for this route",
        })?;
        if photo.expose().len() > MOST_BYTES {
            return Err(PhotoRefusal::TooManyBytes.into());
        }
        let attributes = format!("{}{route}", wire::ROUTE);
        let answer = self
            .invoke(endpoint, "application/octet-stream", attributes, photo.expose())
            .await?;
        let findings = wire::findings(route, &answer)?;
        self.known.note(route, &findings.models);
        Ok(findings)
    }

    fn versions(&self, route: Route) -> Vec<ModelVersion> {
        self.known.of(route)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use aws_smithy_runtime_api::client::{
        http::{HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector, http_client_fn},
        orchestrator::{HttpRequest, HttpResponse},
        runtime_components::RuntimeComponents,
    };
    use aws_smithy_types::body::SdkBody;
    use bytes::Bytes;
    use skin_assist_core::{
        domain::{ImageFacts, Quality},
        phi::Phi,
        ports::Class,
    };

    use super::*;

    /// What was sent: path, custom attributes, body.
    type Sent = (String, String, Vec<u8>);

    /// Answers in the order of its list, and keeps what it was sent.
    /// Status, error type, body.
    type Answer = (u16, &'static str, String);

    #[derive(Debug, Clone, Default)]
    struct Script {
        answers: Arc<Mutex<Vec<Answer>>>,
        sent: Arc<Mutex<Vec<Sent>>>,
    }

    impl HttpConnector for Script {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            let attributes = request.headers().get("x-amzn-sagemaker-custom-attributes");
            let body = request.body().bytes().unwrap_or_default().to_vec();
            self.sent.lock().unwrap().push((
                request.uri().split('?').next().unwrap_or_default().to_owned(),
                attributes.unwrap_or_default().to_owned(),
                body,
            ));
            let (status, code, body) = self.answers.lock().unwrap().remove(0);
            let mut response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
            if !code.is_empty() {
                response.headers_mut().insert("x-amzn-errortype", code);
            }
            HttpConnectorFuture::ready(Ok(response))
        }
    }

    impl Script {
        fn answering(&self, status: u16, code: &'static str, body: &str) {
            self.answers.lock().unwrap().push((status, code, body.to_owned()));
        }

        fn connection(&self) -> Connection {
            let connector = SharedHttpConnector::new(self.clone());
            let client = http_client_fn(move |_: &HttpConnectorSettings, _: &RuntimeComponents| connector.clone());
            // The connection's own settings would try twice: the adapter must not.
            let retries = RetryConfig::standard().with_max_attempts(2);
            Connection {
                config: crate::connection::emulator("http://127.0.0.1:1", client, retries),
            }
        }

        async fn connected(&self) -> SageMakerVision {
            self.answering(200, "", DESCRIPTION);
            SageMakerVision::connect(&self.connection(), only_solitary())
                .await
                .unwrap()
        }
    }

    const DESCRIPTION: &str = r#"{"models": [{"route": "solitary", "pack": "lesions", "version": "1"}]}"#;

    fn only_solitary() -> BTreeMap<Route, String> {
        BTreeMap::from([(Route::Solitary, "lesions-a".to_owned())])
    }

    fn photo() -> PhotoBytes {
        Phi::new(Bytes::from_static(b"\xff\xd8 a photo"))
    }

    fn seen(version: &str) -> Findings {
        Findings {
            route: Route::Solitary,
            image: ImageFacts {
                width: 40,
                height: 30,
                format: "jpeg".to_owned(),
                quality: Quality {
                    sharpness: 1.0,
                    brightness: 0.5,
                    ..Quality::default()
                },
            },
            regions: Vec::new(),
            ranked: Vec::new(),
            abstention: None,
            abstain_below: 0.0,
            concerns: Vec::new(),
            further_conditions: Vec::new(),
            models: vec![ModelVersion {
                pack: "lesions".to_owned(),
                version: version.to_owned(),
            }],
        }
    }

    #[tokio::test]
    async fn a_photo_goes_to_its_routes_endpoint_and_findings_come_back() {
        let script = Script::default();
        let vision = script.connected().await;
        assert_eq!(vision.versions(Route::Solitary), seen("1").models);
        script.answering(200, "", &serde_json::to_string(&seen("2")).unwrap());
        assert_eq!(vision.look(Route::Solitary, &photo()).await.unwrap(), seen("2"));
        assert_eq!(
            vision.versions(Route::Solitary),
            seen("2").models,
            "the endpoint has another by now"
        );
        let sent = script.sent.lock().unwrap().clone();
        assert_eq!(sent[0].1, "describe");
        let (path, attributes, body) = &sent[1];
        assert!(path.ends_with("/endpoints/lesions-a/invocations"), "{path}");
        assert_eq!(attributes, "route=solitary");
        assert_eq!(body, photo().expose());
    }

    #[tokio::test]
    async fn each_error_has_its_meaning_and_is_sent_once() {
        let script = Script::default();
        let vision = script.connected().await;
        let of_the_model = |status: u16, error: &VisionError| {
            let body = serde_json::json!({
                "Message": "Received client error from primary. Patient Doe.", "OriginalStatusCode": status,
                "OriginalMessage": wire::sent(error).body,
            });
            (424, "ModelError", body.to_string())
        };
        let message = |text: &str| serde_json::json!({ "Message": text }).to_string();
        let busy = VisionError::Busy {
            retry_after: Some(Duration::from_secs(2)),
        };
        let cases = [
            (of_the_model(422, &PhotoRefusal::Broken.into()), "photo.broken"),
            (
                of_the_model(500, &VisionError::Model { what: "" }),
                "model.no-usable-answer",
            ),
            (of_the_model(503, &busy), "model.busy"),
            ((424, "ModelError", message("Patient Doe")), "model.unavailable"),
            ((400, "ThrottlingException", message("Rate exceeded")), "model.busy"),
            ((429, "ModelNotReadyException", message("Doe")), "model.unavailable"),
            (
                (
                    400,
                    "ValidationError",
                    message("Endpoint lesions-a of account 1 not found."),
                ),
                "model.endpoint-missing",
            ),
            ((400, "ValidationError", message("Doe")), "model.unavailable"),
            (
                (403, "AccessDeniedException", message("not authorized")),
                "model.endpoint-denied",
            ),
            ((503, "ServiceUnavailable", message("Doe")), "model.unavailable"),
            (
                (530, "InternalDependencyException", message("Doe")),
                "model.unavailable",
            ),
            ((200, "", "no JSON about Doe".to_owned()), "model.no-usable-answer"),
        ];
        for ((status, code, body), reason) in cases {
            script.answering(status, code, &body);
            let before = script.sent.lock().unwrap().len();
            let error = vision.look(Route::Solitary, &photo()).await.unwrap_err();
            assert_eq!(error.reason().code(), reason, "{status} {code}");
            let is_final = matches!(error.class(), Class::Permanent);
            assert_eq!(is_final, ["photo.broken", "model.no-usable-answer"].contains(&reason));
            assert!(!format!("{error:?} {error}").contains("Doe"));
            assert_eq!(script.sent.lock().unwrap().len(), before + 1, "{code}");
        }
    }

    #[tokio::test]
    async fn what_would_be_refused_is_not_sent() {
        let script = Script::default();
        let vision = script.connected().await;
        let large = Phi::new(Bytes::from(vec![0; MOST_BYTES + 1]));
        let error = vision.look(Route::Solitary, &large).await.unwrap_err();
        assert_eq!(error.reason().code(), "photo.too-many-bytes");
        let error = vision.look(Route::Widespread, &photo()).await.unwrap_err();
        assert_eq!(error.reason().code(), "model.endpoint-missing");
        assert_eq!(script.sent.lock().unwrap().len(), 1, "the description alone");
    }

    #[tokio::test]
    async fn endpoints_that_cannot_be_used_are_named_at_once() {
        let script = Script::default();
        let cases = [
            (
                400,
                "ValidationError",
                r#"{"Message": "Endpoint x not found."}"#,
                "model.endpoint-missing",
            ),
            (200, "", "{}", "docs/remote-models.md"),
            (
                200,
                "",
                r#"{"models": [{"route": "widespread", "pack": "rash", "version": "1"}]}"#,
                "models.sagemaker_",
            ),
        ];
        for (status, code, body, hint) in cases {
            script.answering(status, code, body);
            let error = SageMakerVision::connect(&script.connection(), only_solitary())
                .await
                .unwrap_err();
            assert!(error.to_string().contains("lesions-a"), "{error}");
            assert!(error.hint().contains(hint), "{}", error.hint());
        }
    }
}
