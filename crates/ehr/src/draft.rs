//! Posting drafts: the one call that cannot be taken back, so that what each outcome means is decided with care.

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use skin_assist_core::{
    domain::{AccessToken, Draft, DraftReference, EncounterId, EncounterStatus, Firm},
    phi::Phi,
    ports::{DraftAbilities, DraftError, DraftSearch, DraftWriter, EarlierInChart, EhrError, WrittenDraft},
};
use skin_assist_transport::{NotOnTrial, TransportError};

use crate::{
    client::{EhrClient, expected},
    compose::{self, IDENTIFIER_SYSTEM},
    profile::{DraftSearchRule, DraftTarget},
    reply,
    urls::reference_id,
    view::{self, View},
};

#[async_trait]
impl DraftWriter for EhrClient {
    async fn post(&self, firm: &Firm, token: &AccessToken, draft: &Draft) -> Result<DraftReference, DraftError> {
        let Some(resource) = self.resource() else {
            return Err(DraftError::NotTaken(EhrError::DraftsNotHeld));
        };
        let request = self
            .post_request(firm, token, draft, resource)
            .map_err(DraftError::NotTaken)?;
        let versioned = self.connection.profile.draft.updates();
        self.write_draft(firm, draft, request, |response| taken(response, resource, versioned))
            .await
    }

    async fn find(&self, firm: &Firm, token: &AccessToken, draft: &Draft) -> Result<DraftSearch, EhrError> {
        let rules = &self.connection.profile.draft;
        let Some(resource) = self.resource().filter(|_| rules.search == DraftSearchRule::Identifier) else {
            return Ok(DraftSearch::Unsupported);
        };
        let code = draft.reference_code.as_str();
        let url = self
            .connection
            .service(firm)?
            .search(resource, &[("identifier", &identifier(draft))]);
        let reply = self.get(firm, token, resource, &url).await?;
        let bundle = View::of(&reply.body);
        if !bundle.get("resourceType").is("Bundle") {
            return Err(EhrError::Malformed {
                what: "it is not a Bundle",
            });
        }
        // A server may ignore the parameter and list everything: only what carries the identifier counts, and when
        // others came along instead, absence is not proved.
        let mut others = false;
        for entry in bundle.each("entry").map(|entry| entry.get("resource")) {
            if entry.get("resourceType").is("OperationOutcome")
                && let Some(error) = reply::outcome_error(entry)
            {
                return Err(error);
            }
            if !entry.get("resourceType").is(resource) {
                continue;
            }
            let carries = |identifier: View<'_>| {
                identifier.text("system").as_deref() == Some(IDENTIFIER_SYSTEM)
                    && identifier.text("value").as_deref() == Some(code)
            };
            match entry.text("id") {
                Some(id) if entry.each("identifier").any(carries) => {
                    return Ok(DraftSearch::Found(DraftReference(format!("{resource}/{id}"))));
                }
                _ => others = true,
            }
        }
        if others || bundle.each("link").any(|link| link.get("relation").is("next")) {
            return Err(EhrError::Malformed {
                what: "the search for a draft brought others",
            });
        }
        Ok(DraftSearch::Absent)
    }

    async fn look_at_earlier(
        &self,
        firm: &Firm,
        token: &AccessToken,
        earlier: &DraftReference,
        draft: &Draft,
    ) -> Result<EarlierInChart, EhrError> {
        let id = composition_id(earlier)?;
        let url = self.connection.service(firm)?.instance(COMPOSITION, id)?;
        let reply = match self.get(firm, token, COMPOSITION, &url).await {
            Err(EhrError::NotFound { .. }) => return Ok(EarlierInChart::Gone),
            reply => reply?,
        };
        let resource = expected(&reply, COMPOSITION, id)?;
        let version = resource.get("meta").text("versionId");
        if compose::has(&reply.body, draft.reference_code.as_str()) {
            // Without a version: nobody knows whether it is the one that was written, so that nothing more is added to it.
            return Ok(EarlierInChart::HasIt(DraftReference(earlier.resource().to_owned())));
        }
        let untouched = version
            .as_deref()
            .is_some_and(|version| earlier.version() == Some(version))
            && resource.get("status").is(self.connection.profile.draft.status.as_str());
        if !untouched {
            return Ok(EarlierInChart::Changed);
        }
        Ok(EarlierInChart::AsWritten(WrittenDraft {
            reference: earlier.clone(),
            resource: Phi::new(reply.body.to_string()),
        }))
    }

    async fn update(
        &self,
        firm: &Firm,
        token: &AccessToken,
        earlier: &WrittenDraft,
        draft: &Draft,
    ) -> Result<DraftReference, DraftError> {
        let request = self
            .update_request(firm, token, earlier, draft)
            .map_err(DraftError::NotTaken)?;
        self.write_draft(firm, draft, request, |response| {
            updated_in(response, &earlier.reference)
        })
        .await
    }

    fn abilities(&self) -> DraftAbilities {
        self.connection.profile.draft.abilities()
    }

    async fn is_visit_over(&self, firm: &Firm, token: &AccessToken, encounter: &EncounterId) -> Result<bool, EhrError> {
        let url = self
            .connection
            .service(firm)?
            .instance("Encounter", encounter.as_str())?;
        let reply = self.get(firm, token, "Encounter", &url).await?;
        let resource = expected(&reply, "Encounter", encounter.as_str())?;
        let status = view::status(resource);
        Ok(matches!(status, EncounterStatus::Finished | EncounterStatus::Cancelled))
    }
}

/// The identifier as a search token.
fn identifier(draft: &Draft) -> String {
    format!("{IDENTIFIER_SYSTEM}|{}", draft.reference_code)
}

/// The type of resource that is updated.
const COMPOSITION: &str = "Composition";

/// The id of a draft that may be added to.
fn composition_id(reference: &DraftReference) -> Result<&str, EhrError> {
    let id = reference.resource().strip_prefix(COMPOSITION);
    id.and_then(|id| id.strip_prefix('/')).ok_or(EhrError::Malformed {
        what: "the earlier draft is not a Composition",
    })
}

impl EhrClient {
    /// Sends a request that writes, and tells in the log what came of it.
    async fn write_draft(
        &self,
        firm: &Firm,
        draft: &Draft,
        request: http::Request<Bytes>,
        read: impl FnOnce(&Response<Bytes>) -> Result<DraftReference, DraftError> + Send,
    ) -> Result<DraftReference, DraftError> {
        let (status, outcome) = match self.api.send(request, self.connection.limits.reply_bytes).await {
            Ok(response) => (Some(response.status()), read(&response)),
            Err(error) => (reply::status_of(error), Err(not_answered(error))),
        };
        let status = status.map(|status| status.as_u16());
        let code = &draft.reference_code;
        match &outcome {
            Ok(reference) => tracing::info!(event = "draft.taken", firm = %firm.id, %code, %reference, status),
            Err(DraftError::NotTaken(error)) => {
                tracing::warn!(event = "draft.not-taken", firm = %firm.id, %code, status, %error);
            }
            Err(DraftError::Unknown(error)) => {
                tracing::warn!(event = "draft.unknown", firm = %firm.id, %code, status, %error);
            }
        }
        outcome
    }

    /// The earlier draft with this one added, to be taken only while it is in the version that was read.
    fn update_request(
        &self,
        firm: &Firm,
        token: &AccessToken,
        earlier: &WrittenDraft,
        draft: &Draft,
    ) -> Result<http::Request<Bytes>, EhrError> {
        let profile = &self.connection.profile;
        let service = self.connection.service(firm)?;
        let version = earlier.reference.version().ok_or(EhrError::Malformed {
            what: "the version of the earlier draft is not known",
        })?;
        let value = |text: &str| {
            HeaderValue::from_str(text).map_err(|_| EhrError::Malformed {
                what: "a header or URL cannot be sent",
            })
        };
        let headers = [
            (header::CONTENT_TYPE, value(&profile.request.media_type)?),
            (header::IF_MATCH, value(&format!("W/\"{version}\""))?),
        ];
        let body = compose::updated(earlier.resource.expose(), draft, &profile.draft, service.as_str())?;
        let url = service.instance(COMPOSITION, composition_id(&earlier.reference)?)?;
        self.request(firm, Method::PUT, &url, token, &headers, body.into())
    }

    /// The type of resource that a draft becomes; none where the EHR holds no drafts.
    fn resource(&self) -> Option<&'static str> {
        match self.connection.profile.draft.target {
            DraftTarget::Composition => Some("Composition"),
            DraftTarget::DocumentReference => Some("DocumentReference"),
            DraftTarget::None => None,
        }
    }

    fn post_request(
        &self,
        firm: &Firm,
        token: &AccessToken,
        draft: &Draft,
        resource: &str,
    ) -> Result<http::Request<Bytes>, EhrError> {
        let unsendable = |_| EhrError::Malformed {
            what: "a header or URL cannot be sent",
        };
        let profile = &self.connection.profile;
        let service = self.connection.service(firm)?;
        let body = compose::body(draft, &profile.draft, service.as_str())?;
        let mut further: Vec<(HeaderName, HeaderValue)> = vec![(
            header::CONTENT_TYPE,
            HeaderValue::from_str(&profile.request.media_type).map_err(unsendable)?,
        )];
        if profile.draft.conditional_create {
            let mut condition = url::form_urlencoded::Serializer::new(String::new());
            condition.append_pair("identifier", &identifier(draft));
            let value = HeaderValue::try_from(condition.finish()).map_err(unsendable)?;
            further.push((HeaderName::from_static("if-none-exist"), value));
        }
        let url = service.collection(resource);
        let mut request = self.request(firm, Method::POST, &url, token, &further, body.into())?;
        request.extensions_mut().insert(NotOnTrial);
        Ok(request)
    }
}

/// What a reply says about the draft.
fn taken(response: &Response<Bytes>, resource: &str, versioned: bool) -> Result<DraftReference, DraftError> {
    if !response.status().is_success() {
        return Err(refused(response.status(), response.headers()));
    }
    let location = [header::LOCATION, header::CONTENT_LOCATION].iter().find_map(|name| {
        let location = response.headers().get(name)?.to_str().ok()?;
        // A bare id names no type; a Location is a URL and always does.
        location
            .contains('/')
            .then(|| reference_id(location, resource))
            .flatten()
    });
    let id = match location {
        Some(id) => Ok(id),
        None => reply::json(response.body()).and_then(|body| {
            let view = View::of(&body);
            let own = view.get("resourceType").is(resource);
            let id = view
                .text("id")
                .filter(|id| own && !id.is_empty())
                .map(std::borrow::Cow::into_owned);
            id.ok_or(EhrError::Malformed {
                what: "a success that names nothing that was created",
            })
        }),
    };
    let reference = id.map(|id| DraftReference(format!("{resource}/{id}")));
    let reference = reference.map_err(DraftError::Unknown)?;
    let version = written_version(response).filter(|_| versioned);
    Ok(version.map_or_else(|| reference.clone(), |version| reference.in_version(&version)))
}

/// The version that a reply says was written: by its `ETag` (FHIR R4, http, 3.1.0.1.3), its `Location`, or the resource in it. None
/// where they say nothing, or do not say the same.
fn written_version(response: &Response<Bytes>) -> Option<String> {
    let header = |name| response.headers().get(name)?.to_str().ok();
    let tag = header(header::ETAG).map(|tag| tag.trim_start_matches("W/").trim_matches('"').to_owned());
    let places = [header::LOCATION, header::CONTENT_LOCATION].into_iter();
    let located = places
        .filter_map(header)
        .find_map(|place| DraftReference(place.to_owned()).version().map(str::to_owned));
    let body = reply::json(response.body()).ok();
    let stated = body.and_then(|body| Some(View::of(&body).get("meta").text("versionId")?.into_owned()));
    let mut told = [tag, located, stated].into_iter().flatten();
    let version = told.next()?;
    // What is not an id is no version that could be asked for again.
    let is_id = |text: &str| {
        let known = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.');
        (1..=64).contains(&text.len()) && text.chars().all(known)
    };
    (is_id(&version) && told.all(|other| other == version)).then_some(version)
}

/// What a reply says about a draft that was to be added to this one.
fn updated_in(response: &Response<Bytes>, earlier: &DraftReference) -> Result<DraftReference, DraftError> {
    match response.status() {
        StatusCode::OK | StatusCode::NO_CONTENT => {
            let reference = DraftReference(earlier.resource().to_owned());
            let version = written_version(response);
            Ok(version.map_or_else(|| reference.clone(), |version| reference.in_version(&version)))
        }
        // It is not there any more in the version that was read: nothing was added.
        status
        @ (StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED | StatusCode::NOT_FOUND | StatusCode::GONE) => {
            let status = status.as_u16();
            Err(DraftError::NotTaken(EhrError::Changed { status }))
        }
        // Another success does not say that it was changed.
        status => Err(refused(status, response.headers())),
    }
}

/// No whole reply.
fn not_answered(error: TransportError) -> DraftError {
    if let Some(status) = reply::status_of(error)
        && !status.is_success()
    {
        return refused(status, &HeaderMap::new());
    }
    match error {
        TransportError::NotSent { .. } | TransportError::AddressRefused => DraftError::NotTaken(reply::lost(error)),
        TransportError::Unknown { .. } | TransportError::TooLarge { .. } => DraftError::Unknown(reply::lost(error)),
    }
}

/// What a status that is not a success says about the draft. A 4xx is a refusal, with three exceptions: 408 and 499 are
/// what gateways write when they stopped waiting, and 412 is how a conditional create says that several match. A 307 or 308 asks for the same request elsewhere, so it was not
/// taken; after the other redirects it may have been.
fn refused(status: StatusCode, headers: &HeaderMap) -> DraftError {
    let error = reply::failure(status, headers);
    match status.as_u16() {
        408 | 412 | 499 => DraftError::Unknown(error),
        400..500 | 307 | 308 => DraftError::NotTaken(error),
        _ => DraftError::Unknown(error),
    }
}
