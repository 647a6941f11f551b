//! Search results, a page at a time.
//!
//! As the vendor does it: `total` is the count on this page, and a full page links to the next one, which may turn out to
//! be empty. With the header `Content-flag: Pagination_optimization_disabled` the total is true and the last page has no
//! `next`.

use serde_json::{Value, json};

use super::parameters::{Page, Parameters};

/// The part of `matches` that is on this page.
pub(crate) fn on_page<Match: Copy>(matches: &[Match], page: Page) -> Vec<Match> {
    let skip = page.count.saturating_mul(page.number - 1);
    matches.iter().copied().skip(skip).take(page.count).collect()
}

/// The searchset for one page. `url` is the search's address without its query.
pub(crate) fn searchset(
    url: &str,
    parameters: &Parameters,
    page: Page,
    all_matches: usize,
    exact_totals: bool,
    entries: Vec<(String, Value)>,
) -> Value {
    let full = entries.len() == page.count;
    let more = if exact_totals {
        page.count.saturating_mul(page.number) < all_matches
    } else {
        full
    };
    let total = if exact_totals { all_matches } else { entries.len() };
    let mut links = vec![json!({
        "relation": "self",
        "url": page_url(url, parameters, page.number),
    })];
    if more {
        links.push(json!({
            "relation": "next",
            "url": page_url(url, parameters, page.number + 1),
        }));
    }
    let mut bundle = json!({
        "resourceType": "Bundle",
        "type": "searchset",
        "total": total,
        "link": links,
    });
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

fn page_url(url: &str, parameters: &Parameters, page: usize) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in &parameters.pairs {
        if name != "page" {
            query.append_pair(name, value);
        }
    }
    query.append_pair("page", &page.to_string());
    format!("{url}?{}", query.finish())
}
