//! The client: the EHR's ports over a transport, by a profile.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, header};
use skin_assist_core::{
    domain::{AccessToken, DocumentCategory, DocumentSummary, Encounter, Firm, PatientFacts, PatientId},
    phi::Phi,
    ports::{ChartReader, DocumentQuery, EhrError, EncounterQuery, FirmSettings, Page, PageLink, PatientContext},
    time::Timestamp,
};
use url::Url;

use crate::{
    connection::{ConnectionError, EhrConnection},
    profile::{DocumentSearch, Granularity},
    reply::{self, Reply},
    transport::Transport,
    urls::ServiceRoot,
    view::{self, DocumentEntry, View},
};

/// A day-granular `_lastUpdated` is asked this many days earlier: the day's time zone is not known, and neither is
/// whether `gt` leaves the named day out as a whole. The day after the named one begins, wherever on earth, at the
/// latest 12 hours before the UTC day of the instant that was asked for.
const DAYS_BACK: i32 = -2;

/// The EHR's ports, for all firms of one EHR.
///
/// It implements [`ChartReader`], [`skin_assist_core::ports::PhotoSource`], [`PatientContext`],
/// [`skin_assist_core::ports::DraftWriter`], [`FirmSettings`] and [`skin_assist_core::ports::TokenEndpoint`]; hand each
/// stage the port that it may have. Holds no state: clones are cheap and tokens are the caller's.
#[derive(Clone)]
pub struct EhrClient {
    pub(crate) connection: Arc<EhrConnection>,
    pub(crate) api: Arc<dyn Transport>,
    pub(crate) photos: Arc<dyn Transport>,
}

impl fmt::Debug for EhrClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EhrClient")
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}

impl EhrClient {
    /// A client. `api` carries what goes to the EHR and its token endpoint, `photos` what goes to photo hosts; over HTTP
    /// these are [`crate::ReqwestTransport::for_api`] and [`crate::ReqwestTransport::for_photos`].
    ///
    /// # Errors
    /// [`ConnectionError`] for URLs that nothing may be sent to, and a missing API key.
    pub fn new(
        connection: EhrConnection,
        api: Arc<dyn Transport>,
        photos: Arc<dyn Transport>,
    ) -> Result<Self, ConnectionError> {
        connection.check()?;
        Ok(Self {
            connection: Arc::new(connection),
            api,
            photos,
        })
    }

    /// What it is connected to.
    pub fn connection(&self) -> &EhrConnection {
        &self.connection
    }

    /// A request with everything that the EHR wants on each, but no body yet.
    pub(crate) fn request(
        &self,
        method: Method,
        url: &Url,
        token: &AccessToken,
        further: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<Request<Bytes>, EhrError> {
        let rules = &self.connection.profile.request;
        let unsendable = |_| EhrError::Malformed {
            what: "a header or URL cannot be sent",
        };
        let secret = |text: String| {
            HeaderValue::try_from(text).map_err(unsendable).map(|mut value| {
                value.set_sensitive(true);
                value
            })
        };
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = url.as_str().parse().map_err(|_| EhrError::Malformed {
            what: "a header or URL cannot be sent",
        })?;
        let headers = request.headers_mut();
        for (name, value) in &rules.headers {
            let name = HeaderName::try_from(name.as_str()).map_err(|_| EhrError::Malformed {
                what: "a header or URL cannot be sent",
            })?;
            headers.insert(name, HeaderValue::from_str(value).map_err(unsendable)?);
        }
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_str(&rules.media_type).map_err(unsendable)?,
        );
        if let Some(name) = &rules.api_key_header {
            let name = HeaderName::try_from(name.as_str()).map_err(|_| EhrError::Malformed {
                what: "a header or URL cannot be sent",
            })?;
            headers.insert(name, secret(self.connection.api_key.expose().to_owned())?);
        }
        headers.insert(
            header::AUTHORIZATION,
            secret(format!("Bearer {}", token.secret.expose()))?,
        );
        for (name, value) in further {
            headers.insert(name.clone(), value.clone());
        }
        Ok(request)
    }

    /// One GET for one resource or one page.
    pub(crate) async fn get(
        &self,
        firm: &Firm,
        token: &AccessToken,
        resource: &'static str,
        url: &Url,
    ) -> Result<Reply, EhrError> {
        let request = self.request(Method::GET, url, token, &[], Bytes::new())?;
        let (status, outcome) = match self.api.send(request, self.connection.limits.reply_bytes).await {
            Ok(response) => (Some(response.status()), reply::read(&response)),
            Err(error) => match reply::status_of(error).filter(|status| !status.is_success()) {
                Some(status) => (Some(status), Err(reply::failure(status, &http::HeaderMap::new()))),
                None => (None, Err(reply::lost(error))),
            },
        };
        let status = status.map(|status| status.as_u16());
        match &outcome {
            Ok(_) => tracing::debug!(event = "ehr.read", firm = %firm.id, resource, status),
            Err(error) => tracing::warn!(event = "ehr.read-failed", firm = %firm.id, resource, status, %error),
        }
        outcome
    }

    /// One page of a search.
    async fn page<T>(
        &self,
        firm: &Firm,
        token: &AccessToken,
        resource: &'static str,
        service: &ServiceRoot,
        url: &Url,
        read: impl Fn(View<'_>) -> Option<T> + Send,
    ) -> Result<Page<T>, EhrError> {
        let reply = self.get(firm, token, resource, url).await?;
        let page = read_page(View::of(&reply.body), reply.server_time, resource, service, url, read);
        match &page {
            Ok(page) if page.unreadable > 0 => {
                tracing::warn!(event = "ehr.entries-unreadable", firm = %firm.id, resource, count = page.unreadable);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(event = "ehr.page-refused", firm = %firm.id, resource, %error),
        }
        page
    }

    /// The URL of a page that a link names. Links were checked when they were read, and are again: a link of one firm must
    /// not be followed with the token of another.
    fn linked(service: &ServiceRoot, resource: &str, link: &PageLink) -> Result<Url, EhrError> {
        service.next_page(&service.collection(resource), link.expose())
    }
}

/// Reads a page of a searchset Bundle.
fn read_page<T>(
    bundle: View<'_>,
    server_time: Option<Timestamp>,
    resource: &str,
    service: &ServiceRoot,
    url: &Url,
    read: impl Fn(View<'_>) -> Option<T>,
) -> Result<Page<T>, EhrError> {
    if !bundle.get("resourceType").is("Bundle") {
        return Err(EhrError::Malformed {
            what: "it is not a Bundle",
        });
    }
    let mut page = Page {
        items: Vec::new(),
        next: None,
        server_time,
        unreadable: 0,
    };
    for entry in bundle.each("entry") {
        let found = entry.get("resource");
        if found.get("resourceType").is("OperationOutcome") {
            // A search may be answered in part and say so: what is missing is not known, so the page is not believed.
            if let Some(error) = reply::outcome_error(found) {
                return Err(error);
            }
            continue;
        }
        if entry.get("search").get("mode").is("include") {
            continue;
        }
        match Some(found)
            .filter(|found| found.get("resourceType").is(resource))
            .and_then(&read)
        {
            Some(item) => page.items.push(item),
            None => page.unreadable += 1,
        }
    }
    // Totals are page-local on some servers, and some link from the last page to an empty one, and on and on.
    if !page.items.is_empty() || page.unreadable > 0 {
        let next = bundle.each("link").find(|link| link.get("relation").is("next"));
        if let Some(link) = next.and_then(|link| link.text("url")) {
            page.next = Some(Phi::new(service.next_page(url, &link)?.into()));
        }
    }
    Ok(page)
}

#[async_trait]
impl ChartReader for EhrClient {
    async fn encounters(
        &self,
        firm: &Firm,
        token: &AccessToken,
        query: &EncounterQuery,
        page: Option<&PageLink>,
    ) -> Result<Page<Encounter>, EhrError> {
        let service = self.connection.service(firm)?;
        let rules = &self.connection.profile.encounters;
        let url = if let Some(link) = page {
            Self::linked(&service, "Encounter", link)?
        } else {
            let since = match rules.last_updated.granularity {
                Granularity::Day => query.changed_since.date_plus_days(DAYS_BACK),
                Granularity::Instant => query.changed_since.to_string(),
            };
            let since = format!("{}{since}", rules.last_updated.prefix.as_str());
            service.search(
                "Encounter",
                &[("_lastUpdated", &since), ("_count", &rules.page_size.to_string())],
            )
        };
        self.page(firm, token, "Encounter", &service, &url, |resource| {
            view::encounter(resource, rules)
        })
        .await
    }

    async fn documents(
        &self,
        firm: &Firm,
        token: &AccessToken,
        query: &DocumentQuery,
        page: Option<&PageLink>,
    ) -> Result<Page<DocumentSummary>, EhrError> {
        let service = self.connection.service(firm)?;
        let rules = &self.connection.profile.documents;
        let url = match (page, rules.search) {
            (Some(link), _) => Self::linked(&service, "DocumentReference", link)?,
            (None, DocumentSearch::PatientAndEncounter) => service.search(
                "DocumentReference",
                &[
                    ("patient", query.patient.as_str()),
                    ("encounter", query.encounter.as_str()),
                    ("_count", &rules.page_size.to_string()),
                ],
            ),
        };
        let read = |resource: View<'_>| match view::document(resource, query, rules) {
            DocumentEntry::Document(document) => Some(document),
            DocumentEntry::NotAskedFor => {
                // Searching by these parameters does not work here: better no photo than another patient's.
                tracing::warn!(event = "ehr.entry-not-asked-for", firm = %firm.id, resource = "DocumentReference");
                None
            }
            DocumentEntry::Unreadable => None,
        };
        self.page(firm, token, "DocumentReference", &service, &url, read).await
    }
}

#[async_trait]
impl PatientContext for EhrClient {
    async fn patient_facts(
        &self,
        firm: &Firm,
        token: &AccessToken,
        patient: &PatientId,
    ) -> Result<Phi<PatientFacts>, EhrError> {
        let url = self.connection.service(firm)?.instance("Patient", patient.as_str())?;
        let reply = self.get(firm, token, "Patient", &url).await?;
        let resource = expected(&reply, "Patient", patient.as_str())?;
        Ok(Phi::new(view::patient_facts(resource, reply.server_time)))
    }
}

#[async_trait]
impl FirmSettings for EhrClient {
    async fn categories(&self, firm: &Firm, token: &AccessToken) -> Result<Vec<DocumentCategory>, EhrError> {
        let url = self
            .connection
            .service(firm)?
            .instance("ValueSet", &self.connection.profile.categories.value_set)?;
        let reply = self.get(firm, token, "ValueSet", &url).await?;
        let resource = View::of(&reply.body);
        if !resource.get("resourceType").is("ValueSet") {
            return Err(EhrError::Malformed {
                what: "it is not the kind of resource that was asked for",
            });
        }
        Ok(view::categories(resource))
    }
}

/// The resource of a reply, if it is the one that was asked for: a cache or gateway that mixes up its answers must not
/// put one patient's photo or age under another's name.
pub(crate) fn expected<'a>(reply: &'a Reply, resource: &str, id: &str) -> Result<View<'a>, EhrError> {
    let view = View::of(&reply.body);
    if !view.get("resourceType").is(resource) {
        return Err(EhrError::Malformed {
            what: "it is not the kind of resource that was asked for",
        });
    }
    if view.text("id").is_some_and(|found| found != id) {
        return Err(EhrError::Malformed {
            what: "it is not the resource that was asked for",
        });
    }
    Ok(view)
}
