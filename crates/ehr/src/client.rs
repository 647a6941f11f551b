//! The client: the EHR's ports over a transport, by a profile.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, header, response::Parts as Head};
use serde_json::json;
use skin_assist_core::{
    circuit::RestingHost,
    domain::{AccessToken, DocumentCategory, DocumentSummary, Encounter, Firm},
    phi::Phi,
    ports::{
        CallKind, ChartReader, DocumentQuery, DocumentSearches, EhrError, EncounterQuery, FirmSettings, Page, PageLink,
        Visit,
    },
    synthesis::Knowledge,
    time::{Clock, Timestamp},
};
use skin_assist_transport::Transport;
use url::Url;

use crate::{
    circuit::{self, Breaker, GuardedTransport},
    connection::{ConnectionError, EhrConnection},
    context::ContextMemory,
    profile::{ChangeSearch, DocumentRules, DocumentSearch, Granularity, NextPage, PagingRules},
    reply::{self, Reply},
    token::TokenMemory,
    urls::ServiceRoot,
    view::{self, Entry, View},
};

/// A day-granular `_lastUpdated` is asked this many days earlier: the day's time zone is not known, and neither is
/// whether `gt` leaves the named day out as a whole. The day after the named one begins, wherever on earth, at the
/// latest 12 hours before the UTC day of the instant that was asked for.
const DAYS_BACK: i32 = -2;

/// The EHR's ports, for all firms of one EHR.
///
/// It implements [`ChartReader`], [`skin_assist_core::ports::PhotoSource`], [`skin_assist_core::ports::PatientContext`],
/// [`skin_assist_core::ports::DraftWriter`], [`FirmSettings`] and [`skin_assist_core::ports::TokenEndpoint`]; hand each
/// stage the port that it may have. Clones are cheap and tokens are the caller's; what is kept in memory is where token
/// endpoints were found and how their clocks differ.
#[derive(Clone)]
pub struct EhrClient {
    pub(crate) connection: Arc<EhrConnection>,
    pub(crate) api: Arc<dyn Transport>,
    pub(crate) photos: Arc<dyn Transport>,
    pub(crate) token_memory: Arc<TokenMemory>,
    pub(crate) context: Arc<ContextMemory>,
    /// Where there are circuits: they are in front of `api`.
    breaker: Option<Breaker>,
    /// Which facts of a chart bear on a differential; none only if the shipped file were broken, which a test excludes.
    pub(crate) knowledge: Arc<Option<Knowledge>>,
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
    /// these are [`skin_assist_transport::ReqwestTransport::for_api`] and [`skin_assist_transport::ReqwestTransport::for_photos`].
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
            token_memory: Arc::default(),
            context: Arc::default(),
            breaker: None,
            knowledge: Arc::new(Knowledge::shipped().ok()),
        })
    }

    /// The same client, which leaves a host of the EHR or of its token endpoint alone for a while when it fails again and again
    /// ([`skin_assist_core::circuit`]). For a run, whose calls are many; not for a person who asks once.
    #[must_use]
    pub fn with_circuits(mut self, clock: Arc<dyn Clock>) -> Self {
        let breaker = Breaker::new(clock);
        self.api = Arc::new(GuardedTransport {
            inner: self.api,
            breaker: breaker.clone(),
        });
        self.breaker = Some(breaker);
        self
    }

    /// What it is connected to.
    pub fn connection(&self) -> &EhrConnection {
        &self.connection
    }

    /// A request with everything that the EHR wants on each, but no body yet.
    pub(crate) fn request(
        &self,
        firm: &Firm,
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
            headers.insert(name, secret(self.connection.api_key(firm)?.expose().to_owned())?);
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
        let request = self.request(firm, Method::GET, url, token, &[], Bytes::new())?;
        self.exchange(firm, resource, request).await
    }

    /// One request that changes nothing.
    async fn exchange(&self, firm: &Firm, resource: &'static str, request: Request<Bytes>) -> Result<Reply, EhrError> {
        let (head, outcome) = self.exchange_with_head(request).await;
        let status = head.map(|head| head.status.as_u16());
        match &outcome {
            Ok(_) => tracing::debug!(event = "ehr.read", firm = %firm.id, resource, status),
            Err(error) => tracing::warn!(event = "ehr.read-failed", firm = %firm.id, resource, status, %error),
        }
        outcome
    }

    /// As `exchange`, with what stands before the body, and without a line in the log: for whoever expects refusals.
    pub(crate) async fn exchange_with_head(&self, request: Request<Bytes>) -> (Option<Head>, Result<Reply, EhrError>) {
        match self.api.send(request, self.connection.limits.reply_bytes).await {
            Ok(response) => {
                let outcome = reply::read(&response);
                let (head, _) = response.into_parts();
                (Some(head), outcome)
            }
            Err(error) => match reply::status_of(error).filter(|status| !status.is_success()) {
                Some(status) => {
                    let (mut head, ()) = http::Response::new(()).into_parts();
                    head.status = status;
                    (Some(head), Err(reply::failure(status, &http::HeaderMap::new())))
                }
                None => (None, Err(reply::lost(error))),
            },
        }
    }

    /// A search whose answer is to be read.
    fn search<'a>(
        &'a self,
        firm: &'a Firm,
        resource: &'static str,
        service: &'a ServiceRoot,
        url: &'a Url,
    ) -> Search<'a> {
        Search {
            visits: &[],
            resource,
            service,
            url,
            paging: &self.connection.profile.paging,
            firm,
        }
    }

    /// One page of a search.
    async fn page<T>(
        &self,
        token: &AccessToken,
        search: Search<'_>,
        read: impl Fn(View<'_>) -> Entry<T> + Send,
    ) -> Result<Page<T>, EhrError> {
        let (firm, resource) = (search.firm, search.resource);
        let reply = self.get(firm, token, resource, search.url).await?;
        let page = search.page(View::of(&reply.body), reply.server_time, read);
        if let Err(error) = &page {
            tracing::warn!(event = "ehr.page-refused", firm = %firm.id, resource, %error);
        }
        page
    }

    /// The documents of several visits by one batch Bundle of searches, one for each visit. A search that failed or has
    /// further pages leaves its visit unanswered.
    async fn batch(
        &self,
        firm: &Firm,
        token: &AccessToken,
        service: &ServiceRoot,
        visits: &[Visit],
    ) -> Result<Page<DocumentSummary>, EhrError> {
        let rules = &self.connection.profile.documents;
        let searches: Vec<Url> = visits
            .iter()
            .map(|visit| document_search(service, rules, visit))
            .collect();
        let entries: Vec<_> = searches
            .iter()
            .map(|url| json!({ "request": { "method": "GET", "url": service.relative(url) } }))
            .collect();
        let bundle = json!({ "resourceType": "Bundle", "type": "batch", "entry": entries });
        let media_type = HeaderValue::from_str(&self.connection.profile.request.media_type);
        let further = [(
            header::CONTENT_TYPE,
            media_type.map_err(|_| EhrError::Malformed {
                what: "a header or URL cannot be sent",
            })?,
        )];
        let request = self.request(
            firm,
            Method::POST,
            &service.root(),
            token,
            &further,
            bundle.to_string().into(),
        )?;
        let reply = self.exchange(firm, "DocumentReference", request).await?;
        let bundle = View::of(&reply.body);
        let answers: Vec<_> = bundle.each("entry").collect();
        if !bundle.get("resourceType").is("Bundle") || answers.len() != visits.len() {
            return Err(EhrError::Malformed {
                what: "it does not answer the searches of the batch",
            });
        }
        let mut together = Page {
            items: Vec::new(),
            next: None,
            server_time: reply.server_time,
            unreadable: 0,
            unanswered: Vec::new(),
        };
        for ((visit, url), answer) in visits.iter().zip(&searches).zip(answers) {
            let query = DocumentQuery::Visit(visit.clone());
            let search = self.search(firm, "DocumentReference", service, url);
            let went_well = answer
                .get("response")
                .text("status")
                .is_some_and(|status| status.starts_with('2'));
            let page = search.page(answer.get("resource"), None, |entry| {
                view::document(entry, &query, rules)
            });
            match page {
                Ok(page)
                    if went_well
                        && page.next.is_none()
                        && page.items.iter().all(|found| !found.encounters.is_empty()) =>
                {
                    together.items.extend(page.items);
                    together.unreadable += page.unreadable;
                }
                _ => together.unanswered.push(visit.encounter.clone()),
            }
        }
        Ok(together)
    }

    /// The URL of a page that a link names. Links were checked when they were read, and are again: a link of one firm must
    /// not be followed with the token of another.
    fn linked(service: &ServiceRoot, resource: &str, link: &PageLink) -> Result<Url, EhrError> {
        service.next_page(&service.collection(resource), link.expose())
    }
}

/// The search for the documents of one visit.
fn document_search(service: &ServiceRoot, rules: &DocumentRules, visit: &Visit) -> Url {
    let mut parameters = match rules.search {
        DocumentSearch::PatientAndEncounter => vec![
            ("patient", visit.patient.as_str()),
            ("encounter", visit.encounter.as_str()),
        ],
        DocumentSearch::Patient => vec![("patient", visit.patient.as_str())],
        DocumentSearch::Encounter => vec![("encounter", visit.encounter.as_str())],
    };
    let page_size = rules.page_size.to_string();
    parameters.extend(rules.sort.as_deref().map(|sort| ("_sort", sort)));
    parameters.push(("_count", &page_size));
    service.search("DocumentReference", &parameters)
}

/// The search for the documents of several visits by an OR-list. A comma inside an id is escaped (FHIR R4, search, 3.1.1.4.3).
fn list_search(service: &ServiceRoot, rules: &DocumentRules, visits: &[Visit]) -> Url {
    let ids: Vec<String> = visits
        .iter()
        .map(|visit| visit.encounter.as_str().replace('\\', "\\\\").replace(',', "\\,"))
        .collect();
    let (list, page_size) = (ids.join(","), rules.page_size.to_string());
    let mut parameters = vec![("encounter", list.as_str())];
    parameters.extend(rules.sort.as_deref().map(|sort| ("_sort", sort)));
    parameters.push(("_count", &page_size));
    service.search("DocumentReference", &parameters)
}

/// The search for what changed since then.
fn change_search(
    service: &ServiceRoot,
    resource: &str,
    search: ChangeSearch,
    since: Timestamp,
    sort: Option<&str>,
    page_size: u32,
) -> Url {
    let since = match search.granularity {
        Granularity::Day => since.date_plus_days(DAYS_BACK),
        Granularity::Instant => since.to_string(),
    };
    let since = format!("{}{since}", search.prefix.as_str());
    let page_size = page_size.to_string();
    let mut parameters = vec![(search.parameter.as_str(), since.as_str())];
    parameters.extend(sort.map(|sort| ("_sort", sort)));
    parameters.push(("_count", &page_size));
    service.search(resource, &parameters)
}

/// A search whose answer is to be read.
struct Search<'a> {
    /// The visits that were asked for together, if any.
    visits: &'a [Visit],
    resource: &'static str,
    service: &'a ServiceRoot,
    url: &'a Url,
    paging: &'a PagingRules,
    firm: &'a Firm,
}

impl Search<'_> {
    /// Reads a page of a searchset Bundle.
    fn page<T>(
        &self,
        bundle: View<'_>,
        server_time: Option<Timestamp>,
        read: impl Fn(View<'_>) -> Entry<T>,
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
            unanswered: Vec::new(),
        };
        let (firm, resource, mut is_empty) = (&self.firm.id, self.resource, true);
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
            is_empty = false;
            let what = if found.get("resourceType").is(resource) {
                read(found)
            } else {
                Entry::Unreadable
            };
            match what {
                Entry::Item(item) => page.items.push(item),
                Entry::PassedOver => {}
                Entry::OfSomeVisit => {
                    page.unanswered = self.visits.iter().map(|visit| visit.encounter.clone()).collect();
                }
                Entry::NotAskedFor => {
                    // Searching by these parameters does not work here: better no photo than another patient's.
                    tracing::warn!(event = "ehr.entry-not-asked-for", %firm, resource);
                    page.unreadable += 1;
                }
                Entry::Unreadable => page.unreadable += 1,
            }
        }
        if page.unreadable > 0 {
            tracing::warn!(event = "ehr.entries-unreadable", %firm, resource, count = page.unreadable);
        }
        // Totals are page-local on some servers, and some link from the last page to an empty one, and on and on.
        if !is_empty {
            page.next = self.next(bundle)?.map(|next| Phi::new(next.into()));
        }
        Ok(page)
    }

    fn next(&self, bundle: View<'_>) -> Result<Option<Url>, EhrError> {
        if let (NextPage::Number, Some(parameter)) = (self.paging.next, &self.paging.parameter) {
            return Ok(Some(next_number(self.url, parameter)));
        }
        let next = bundle.each("link").find(|link| link.get("relation").is("next"));
        let link = next.and_then(|link| link.text("url"));
        link.map(|link| self.service.next_page(self.url, &link)).transpose()
    }
}

/// The same search with the next number in `parameter`.
fn next_number(url: &Url, parameter: &str) -> Url {
    let (mut number, mut others) = (1_u32, Vec::new());
    for (name, value) in url.query_pairs() {
        if name == parameter {
            number = value.parse().unwrap_or(1);
        } else {
            others.push((name.into_owned(), value.into_owned()));
        }
    }
    let mut next = url.clone();
    let mut pairs = next.query_pairs_mut();
    pairs.clear().extend_pairs(others);
    pairs.append_pair(parameter, &number.saturating_add(1).to_string());
    drop(pairs);
    next
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
        let url = match page {
            Some(link) => Self::linked(&service, "Encounter", link)?,
            None => change_search(
                &service,
                "Encounter",
                rules.changed,
                query.changed_since,
                rules.sort.as_deref(),
                rules.page_size,
            ),
        };
        let read = |resource: View<'_>| view::encounter(resource, rules).map_or(Entry::Unreadable, Entry::Item);
        self.page(token, self.search(firm, "Encounter", &service, &url), read)
            .await
    }

    fn document_searches(&self) -> DocumentSearches {
        let rules = &self.connection.profile.documents;
        DocumentSearches {
            visits_in_one_call: rules.encounters_in_list.max(rules.searches_in_batch).max(1),
            changed_since: rules.changed.is_some(),
        }
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
        let unsupported = EhrError::Malformed {
            what: "this EHR has no such search for documents",
        };
        let url = match (page, query) {
            (Some(link), _) => Self::linked(&service, "DocumentReference", link)?,
            (None, DocumentQuery::Visit(visit)) => document_search(&service, rules, visit),
            (None, DocumentQuery::Visits(visits)) if rules.encounters_in_list >= rules.searches_in_batch.max(2) => {
                list_search(&service, rules, visits)
            }
            (None, DocumentQuery::Visits(visits)) if rules.searches_in_batch > 0 => {
                return self.batch(firm, token, &service, visits).await;
            }
            (None, DocumentQuery::Visits(_)) => return Err(unsupported),
            (None, DocumentQuery::ChangedSince(since)) => {
                let search = rules.changed.ok_or(unsupported)?;
                let sort = rules.sort.as_deref();
                change_search(&service, "DocumentReference", search, *since, sort, rules.page_size)
            }
        };
        let read = |resource: View<'_>| view::document(resource, query, rules);
        let mut search = self.search(firm, "DocumentReference", &service, &url);
        if let DocumentQuery::Visits(visits) = query {
            search.visits = visits;
        }
        self.page(token, search, read).await
    }

    fn rests_until(&self, firm: &Firm, kind: CallKind, now: Timestamp) -> Option<Timestamp> {
        let breaker = self.breaker.as_ref()?;
        let host = circuit::name(&self.connection.service(firm).ok()?.root())?;
        breaker.circuits.rests_until(&host, kind != CallKind::Draft, now)
    }

    fn resting_hosts(&self, now: Timestamp) -> Vec<RestingHost> {
        self.breaker
            .as_ref()
            .map_or_else(Vec::new, |breaker| breaker.circuits.resting(now))
    }
}

#[async_trait]
impl FirmSettings for EhrClient {
    async fn categories(&self, firm: &Firm, token: &AccessToken) -> Result<Option<Vec<DocumentCategory>>, EhrError> {
        let Some(value_set) = &self.connection.profile.categories.value_set else {
            return Ok(None);
        };
        let url = self.connection.service(firm)?.instance("ValueSet", value_set)?;
        let reply = self.get(firm, token, "ValueSet", &url).await?;
        let resource = View::of(&reply.body);
        if !resource.get("resourceType").is("ValueSet") {
            return Err(EhrError::Malformed {
                what: "it is not the kind of resource that was asked for",
            });
        }
        Ok(Some(view::categories(resource)))
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
