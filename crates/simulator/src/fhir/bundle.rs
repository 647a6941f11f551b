//! Search results, a page at a time.
//!
//! As the first vendor does it: `total` is the count on this page, and a full page links to the next one, which may turn
//! out to be empty. With the header `Content-flag: Pagination_optimization_disabled` the total is true and the last page
//! has no `next`. Other dialects and quirks change that; so they do where a `next` link leads.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use serde_json::{Value, json};
use skin_assist_core::time::Timestamp;

use crate::{
    dialect::{PageLinks, Totals},
    quirks::NextLink,
    reply::Refusal,
    state::State,
};

use super::parameters::{CURSOR, Page, Parameters, SESSION, Sort};

/// The part of `matches` that is on this page.
pub(crate) fn on_page<Match: Copy>(matches: &[Match], page: Page) -> Vec<Match> {
    let skip = page.count.saturating_mul(page.number - 1);
    matches.iter().copied().skip(skip).take(page.count).collect()
}

/// A page of results, apart from its entries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listing<'search> {
    pub(crate) now: Timestamp,
    pub(crate) firm: &'search str,
    pub(crate) resource: &'search str,
    pub(crate) parameters: &'search Parameters,
    /// The page that was asked for.
    pub(crate) page: Page,
    /// On all pages.
    pub(crate) matches: usize,
    pub(crate) exact_totals: bool,
}

/// What a match is put in order by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SortKeys<'record> {
    pub(crate) id: &'record str,
    pub(crate) last_updated: Timestamp,
    pub(crate) date: Timestamp,
}

impl State {
    /// Puts matches in the order that was asked for or that a quirk makes. Where neither does, the order stays. Matches
    /// with the same time are in an order that means nothing and never changes.
    pub(crate) fn put_in_order<'record, Match>(
        &self,
        matches: &mut [Match],
        sort: Option<Sort>,
        keys: impl Fn(&Match) -> SortKeys<'record>,
    ) {
        let latest_first = Sort {
            by_date: false,
            descending: true,
        };
        let Some(sort) = sort.or(self.quirks.newest_first.then_some(latest_first)) else {
            return;
        };
        matches.sort_by_cached_key(|record| {
            let keys = keys(record);
            let time = if sort.by_date { keys.date } else { keys.last_updated };
            let time = if sort.descending {
                -time.as_millis()
            } else {
                time.as_millis()
            };
            (time, self.derive(&["order among equals", keys.id]))
        });
    }

    /// The page that is shown for the one that was asked for.
    pub(crate) fn page_shown(&self, page: Page, matches: usize) -> Page {
        if self.quirks.next_link != NextLink::NeverEnding {
            return page;
        }
        let pages = matches.div_ceil(page.count).max(1);
        Page {
            number: (page.number - 1) % pages + 1,
            ..page
        }
    }

    /// Refuses a `next` link that is too old.
    pub(crate) fn check_session(&self, now: Timestamp, parameters: &Parameters) -> Result<(), Refusal> {
        let Some(session) = self.quirks.paging_session else {
            return Ok(());
        };
        let made = parameters.all(SESSION).next().map(str::parse);
        let is_over = match made {
            None => false,
            Some(Ok(made)) => now.since(Timestamp::from_millis(made)) > session.lifetime,
            Some(Err(_)) => true,
        };
        if is_over {
            return Err(Refusal {
                status: session.status,
                ..Refusal::bad("the session of this search has expired (4113)")
            });
        }
        Ok(())
    }

    /// The searchset for one page.
    pub(crate) fn searchset(&self, listing: &Listing, entries: Vec<(String, Value)>) -> Value {
        let Page { count, number } = listing.page;
        let dialect = &self.options.dialect;
        let totals = if listing.exact_totals {
            Totals::True
        } else {
            self.quirks.totals.unwrap_or(dialect.totals)
        };
        let past_the_end = self.quirks.links_past_the_end.unwrap_or(dialect.links_past_the_end);
        let more = if listing.exact_totals || !past_the_end {
            count.saturating_mul(number) < listing.matches
        } else {
            entries.len() == count
        };
        let next = match self.quirks.next_link {
            NextLink::Cyclic if !more => Some(1),
            NextLink::NeverEnding => Some(number + 1),
            _ => more.then_some(number + 1),
        };
        let own = format!("{}/{}", self.fhir_base(listing.firm), listing.resource);
        let mut links = vec![json!({
            "relation": "self",
            "url": page_url(&own, listing.parameters, number, None),
        })];
        if let Some(next) = next {
            let elsewhere = match self.quirks.next_link {
                NextLink::OtherHost => own.replacen(&self.options.endpoints.api, NextLink::ELSEWHERE, 1),
                NextLink::OtherFirm => {
                    let mut firms = self.firms.iter().map(|firm| firm.spec.prefix.as_str());
                    let other = firms.find(|firm| *firm != listing.firm).unwrap_or("another");
                    format!("{}/{}", self.fhir_base(other), listing.resource)
                }
                _ => own,
            };
            let session = self.quirks.paging_session.map(|_| listing.now);
            let url = page_url(&elsewhere, listing.parameters, next, session);
            links.push(json!({
                "relation": "next",
                "url": self.packed(&url, listing.resource),
            }));
        }
        let mut bundle = json!({
            "resourceType": "Bundle",
            "type": "searchset",
            "link": links,
        });
        match totals {
            Totals::PageLocal => bundle["total"] = json!(entries.len()),
            Totals::True => bundle["total"] = json!(listing.matches),
            Totals::Absent => {}
        }
        if !entries.is_empty() {
            bundle["entry"] = entries
                .into_iter()
                .map(|(full_url, resource)| {
                    json!({
                        "fullUrl": full_url,
                        "resource": resource,
                        "search": { "mode": "match" },
                    })
                })
                .collect();
        }
        bundle
    }
}

impl State {
    /// The link as the dialect has it: as it is, or as a cursor.
    fn packed(&self, url: &str, resource: &str) -> String {
        let form = self.options.dialect.page_links;
        let Some((address, query)) = url.split_once('?').filter(|_| form != PageLinks::Parameters) else {
            return url.to_owned();
        };
        let cursor = URL_SAFE_NO_PAD.encode(format!("{resource}?{query}"));
        let service = address.strip_suffix(resource).unwrap_or(address).trim_end_matches('/');
        match form {
            PageLinks::RootCursor => format!("{service}?{CURSOR}={cursor}"),
            _ => format!("{address}?{CURSOR}={cursor}"),
        }
    }
}

fn page_url(url: &str, parameters: &Parameters, page: usize, session: Option<Timestamp>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in &parameters.pairs {
        if name != "page" && name != SESSION {
            query.append_pair(name, value);
        }
    }
    query.append_pair("page", &page.to_string());
    if let Some(session) = session {
        query.append_pair(SESSION, &session.as_millis().to_string());
    }
    format!("{url}?{}", query.finish())
}

/// A batch's reply; each entry has its status, and a resource or an `OperationOutcome`.
pub(crate) fn batch_response(entries: Vec<(StatusCode, Value)>) -> Value {
    let entries: Vec<Value> = entries
        .into_iter()
        .map(|(status, resource)| {
            let line = status.to_string();
            if status.is_success() {
                json!({ "resource": resource, "response": { "status": line } })
            } else {
                json!({ "response": { "status": line, "outcome": resource } })
            }
        })
        .collect();
    json!({ "resourceType": "Bundle", "type": "batch-response", "entry": entries })
}
