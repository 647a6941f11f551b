//! Pages: how large they are, what a link to the next one is worth, where they end.

use std::cmp::Ordering;

use skin_assist_core::ports::{EhrError, StateError};

use super::{
    asking::{Asker, Found, Got},
    codes,
    report::{Code, Notes, Verdict, nothing},
};
use crate::profile::{NextPage, Profile};

/// Tried where the profile's page size is refused.
const SMALLER: [u32; 7] = [200, 100, 50, 20, 10, 5, 1];

/// Where the link of a page leads.
pub(super) enum Onward {
    /// There is none.
    Nowhere,
    /// Where the token must not go.
    Elsewhere(&'static str),
    /// To nothing.
    Empty,
    /// To what was there before.
    Same,
    /// To other records.
    Other,
    /// It is refused.
    Refused(u16),
    NoAnswer(&'static str),
}

/// Which search pages are of.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) resource: &'static str,
    pub(super) code: Code,
    pub(super) key: &'static str,
    pub(super) size: u32,
    pub(super) set: fn(&mut Profile, u32),
}

impl Asker<'_> {
    /// Follows the link to the next page, unless it leads where the token must not go.
    pub(super) async fn onward(&mut self, page: &Found) -> Result<Onward, StateError> {
        let Some(link) = &page.next else {
            return Ok(Onward::Nowhere);
        };
        let next = match self.service.next_page(&page.url, link) {
            Ok(next) => next,
            Err(EhrError::Malformed {
                what: "the next page is the same page again",
            }) => return Ok(Onward::Same),
            Err(EhrError::Malformed { what }) => return Ok(Onward::Elsewhere(what)),
            Err(_) => return Ok(Onward::Elsewhere("the link cannot be followed")),
        };
        Ok(match self.follow(page.resource, next).await? {
            Got::It(found) if found.is_empty() => Onward::Empty,
            Got::It(found) if found.ids() == page.ids() => Onward::Same,
            Got::It(_) => Onward::Other,
            Got::Refused(status) => Onward::Refused(status),
            Got::NoAnswer(why) => Onward::NoAnswer(why),
        })
    }

    /// The first page of a search at the profile's size, or at the largest that is taken.
    pub(super) async fn largest_page(
        &mut self,
        notes: &mut Notes,
        kind: Kind,
        scope: &[(&str, &str)],
    ) -> Result<Got<Found>, StateError> {
        let size = kind.size;
        self.take_at_most(kind.resource, size);
        let asked = self.sized(kind.resource, scope, size).await?;
        let page = match asked {
            Got::Refused(status @ (400 | 413 | 422)) => {
                for smaller in SMALLER.into_iter().filter(|smaller| *smaller < size) {
                    if let Got::It(page) = self.sized(kind.resource, scope, smaller).await? {
                        self.take_at_most(kind.resource, smaller);
                        let seen = format!("_count={size} is refused ({status}), {smaller} is taken");
                        notes.find(kind.code, Verdict::Differs, seen, self.take_evidence());
                        let ehr = format!("refuses pages of {size} ({status}) and takes {smaller}");
                        notes.differ(kind.code, kind.key, size.to_string(), ehr, |profile| {
                            (kind.set)(profile, smaller);
                        });
                        return Ok(Got::It(page));
                    }
                }
                return Ok(Got::Refused(status));
            }
            Got::It(page) => page,
            other => return Ok(other),
        };
        let came = page.len();
        let (verdict, seen) = match came.cmp(&(size as usize)) {
            Ordering::Greater => (
                Verdict::Notice,
                format!("{came} came where {size} were asked for: _count is ignored"),
            ),
            Ordering::Equal => (Verdict::Well, format!("a page of {size} came")),
            Ordering::Less => match self.onward(&page).await? {
                Onward::Other | Onward::Elsewhere(_) if came > 0 => {
                    let most = u32::try_from(came).unwrap_or(size);
                    let ehr = format!("gives {came} at most");
                    notes.differ(kind.code, kind.key, size.to_string(), ehr, |profile| {
                        (kind.set)(profile, most);
                    });
                    let seen = format!("{came} came where {size} were asked for, and there are more");
                    (Verdict::Differs, seen)
                }
                onward => {
                    if matches!(onward, Onward::Same) {
                        self.note_circle(notes);
                    }
                    let seen =
                        format!("_count={size} is taken; there are only {came} yet, so a full page was not seen");
                    (Verdict::NotKnown, seen)
                }
            },
        };
        notes.find(kind.code, verdict, seen, self.take_evidence());
        Ok(Got::It(page))
    }

    /// Once: the search that comes next does the same.
    fn note_circle(&mut self, notes: &mut Notes) {
        if std::mem::replace(&mut self.goes_in_a_circle, true) || notes.profile().paging.next != NextPage::Link {
            return;
        }
        let evidence = self.evidence.clone();
        let wrong = "links from the last page to what was there before";
        notes.find(
            codes::PAGING_END,
            Verdict::Differs,
            format!("the EHR {wrong}"),
            evidence,
        );
        notes.differ(codes::PAGING_END, "paging.next", "link", wrong, nothing);
    }

    async fn sized(
        &mut self,
        resource: &'static str,
        scope: &[(&str, &str)],
        size: u32,
    ) -> Result<Got<Found>, StateError> {
        let size = size.to_string();
        let mut parameters = scope.to_vec();
        parameters.push(("_count", &size));
        self.search(resource, &parameters).await
    }
}

/// What the first page of a search showed, to be paged through.
#[derive(Clone, Copy)]
pub(super) struct Sample<'a> {
    pub(super) scope: &'a [(&'a str, &'a str)],
    pub(super) page: &'a Found,
}

/// Pages of one, and the last page. `sample` has at least two records, where there is one.
pub(super) async fn probe(
    asker: &mut Asker<'_>,
    notes: &mut Notes,
    sample: Option<Sample<'_>>,
    whole: Option<Sample<'_>>,
) -> Result<(), StateError> {
    let by_link = notes.profile().paging.next == NextPage::Link;
    let mut broken = false;
    if let Some(sample) = sample {
        broken = pages_of_one(asker, notes, &sample, by_link).await?;
    } else {
        let seen = "not known: there are no two encounters or documents yet";
        notes.find(codes::PAGING_NEXT, Verdict::NotKnown, seen, Vec::new());
        notes.find(codes::PAGING_TOTAL, Verdict::NotKnown, seen, Vec::new());
    }
    if asker.goes_in_a_circle && by_link {
        return Ok(());
    }
    if let Some(whole) = whole {
        the_end(asker, notes, &whole, by_link && !broken).await?;
    } else {
        let seen = "not known: no search was seen whole on one page";
        notes.find(codes::PAGING_END, Verdict::NotKnown, seen, Vec::new());
    }
    Ok(())
}

/// Whether links cannot be followed.
async fn pages_of_one(
    asker: &mut Asker<'_>,
    notes: &mut Notes,
    sample: &Sample<'_>,
    by_link: bool,
) -> Result<bool, StateError> {
    let resource = sample.page.resource;
    let mut parameters = sample.scope.to_vec();
    parameters.push(("_count", "1"));
    let page = match asker.search(resource, &parameters).await? {
        Got::It(page) => page,
        Got::Refused(status) => {
            let seen = format!("not known: a page of one is refused ({status})");
            notes.find(codes::PAGING_NEXT, Verdict::NotKnown, seen, asker.take_evidence());
            return Ok(false);
        }
        Got::NoAnswer(why) => {
            let seen = format!("not known: {why}");
            notes.find(codes::PAGING_NEXT, Verdict::NotKnown, seen, asker.take_evidence());
            return Ok(false);
        }
    };
    let (verdict, seen) = match page.len() {
        1 => (
            Verdict::Well,
            "_count is honoured: one came where one was asked for".to_owned(),
        ),
        0 => (Verdict::NotKnown, "not known: a page of one was empty".to_owned()),
        many => {
            let seen = format!("_count is ignored: {many} came where one was asked for");
            (Verdict::Notice, seen)
        }
    };
    notes.find(codes::PAGING_COUNT, verdict, seen, Vec::new());
    total(asker, notes, &page, sample.page.len());
    if let (false, Some(parameter)) = (by_link, notes.profile().paging.parameter.clone()) {
        return by_number(asker, notes, &parameters, &page, &parameter).await;
    }
    if page.len() > 1 && page.next.is_none() {
        let seen = "not known: all came on one page";
        notes.find(codes::PAGING_NEXT, Verdict::NotKnown, seen, asker.take_evidence());
        return Ok(false);
    }
    let kind = link_kind(&page);
    let wrong = match asker.onward(&page).await? {
        Onward::Other => None,
        Onward::Nowhere => Some("gives no link to the next page although there are more".to_owned()),
        Onward::Elsewhere(what) => Some(format!(
            "links to where the token must not go, and the link is refused: {what}"
        )),
        Onward::Same => Some("links to the same page again".to_owned()),
        Onward::Empty => Some("links to an empty page although there are more".to_owned()),
        Onward::Refused(status) => Some(format!("refuses its own link ({status})")),
        Onward::NoAnswer(why) => {
            let seen = format!("not known: {why}");
            notes.find(codes::PAGING_NEXT, Verdict::NotKnown, seen, asker.take_evidence());
            return Ok(false);
        }
    };
    match &wrong {
        None => notes.find(codes::PAGING_NEXT, Verdict::Well, kind, asker.take_evidence()),
        Some(wrong) => {
            let seen = format!("the EHR {wrong}");
            notes.find(codes::PAGING_NEXT, Verdict::Differs, seen, asker.take_evidence());
            notes.differ(codes::PAGING_NEXT, "paging.next", "link", wrong, nothing);
        }
    }
    Ok(wrong.is_some())
}

/// Pages by number. Whether they do not work.
async fn by_number(
    asker: &mut Asker<'_>,
    notes: &mut Notes,
    parameters: &[(&str, &str)],
    first: &Found,
    parameter: &str,
) -> Result<bool, StateError> {
    let mut parameters = parameters.to_vec();
    parameters.push((parameter, "2"));
    let wrong = match asker.search(first.resource, &parameters).await? {
        Got::It(second) if second.ids() == first.ids() => Some("ignores it and gives the first page again".to_owned()),
        Got::It(_) => None,
        Got::Refused(status) => Some(format!("refuses it ({status})")),
        Got::NoAnswer(why) => {
            let seen = format!("not known: {why}");
            notes.find(codes::PAGING_NEXT, Verdict::NotKnown, seen, asker.take_evidence());
            return Ok(false);
        }
    };
    match &wrong {
        None => {
            let seen = format!("pages are counted by {parameter}");
            notes.find(codes::PAGING_NEXT, Verdict::Well, seen, asker.take_evidence());
        }
        Some(wrong) => {
            let seen = format!("the EHR does not count pages by {parameter}: it {wrong}");
            notes.find(codes::PAGING_NEXT, Verdict::Differs, seen, asker.take_evidence());
            let links = first.next.is_some();
            let profile = format!("number, by {parameter}");
            notes.differ(codes::PAGING_NEXT, "paging.next", profile, wrong, |profile| {
                if links {
                    profile.paging.next = NextPage::Link;
                    profile.paging.parameter = None;
                }
            });
        }
    }
    Ok(wrong.is_some())
}

/// What a page of one, with more to come, says about the total.
fn total(asker: &mut Asker<'_>, notes: &mut Notes, page: &Found, seen_before: usize) {
    let on_page = page.len() as u64;
    let seen = match page.total {
        None => "Bundle.total is absent".to_owned(),
        Some(total) if total == on_page && seen_before > page.len() => {
            "Bundle.total is the count on the page, not of all matches".to_owned()
        }
        Some(total) if total >= seen_before as u64 => "Bundle.total counts all matches".to_owned(),
        Some(_) => "Bundle.total is neither the count on the page nor that of all matches".to_owned(),
    };
    notes.find(codes::PAGING_TOTAL, Verdict::Well, seen, asker.evidence.clone());
}

/// The form of a link, without its values.
fn link_kind(page: &Found) -> String {
    let Some(next) = page.next.as_ref().and_then(|link| page.url.join(link).ok()) else {
        return "there is no link to a next page".to_owned();
    };
    let own: Vec<_> = page.url.query_pairs().map(|(name, _)| name.into_owned()).collect();
    let plain = |name: &str| name.len() <= 30 && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    let mut further: Vec<_> = next
        .query_pairs()
        .map(|(name, _)| name.into_owned())
        .filter(|name| !own.contains(name) && plain(name))
        .collect();
    further.dedup();
    let place = if next.path() == page.url.path() {
        "to the same search"
    } else {
        "to another path of the service"
    };
    if further.is_empty() {
        format!("a link leads {place}")
    } else {
        format!("a link leads {place}, with the parameter {}", further.join(", "))
    }
}

/// What a full page shows that is the last one.
async fn the_end(
    asker: &mut Asker<'_>,
    notes: &mut Notes,
    whole: &Sample<'_>,
    follows_links: bool,
) -> Result<(), StateError> {
    let resource = whole.page.resource;
    let size = whole.page.len().to_string();
    let mut parameters = whole.scope.to_vec();
    parameters.push(("_count", &size));
    let last = match asker.search(resource, &parameters).await? {
        Got::It(page) if page.len() == whole.page.len() => page,
        _ => {
            let seen = "not known: the last page could not be asked for alone";
            notes.find(codes::PAGING_END, Verdict::NotKnown, seen, asker.take_evidence());
            return Ok(());
        }
    };
    let (seen, wrong) = match asker.onward(&last).await? {
        Onward::Nowhere => ("the last page has no link", None),
        Onward::Empty => ("a full last page links on to an empty one", None),
        Onward::Same => {
            asker.note_circle(notes);
            return Ok(());
        }
        Onward::Other => ("not known: more came meanwhile", None),
        Onward::Elsewhere(_) => ("the last page links elsewhere", None),
        Onward::Refused(_) | Onward::NoAnswer(_) => (
            "the last page has a link that is not answered",
            Some("links from the last page to one that it does not give"),
        ),
    };
    let verdict = match wrong {
        Some(wrong) if follows_links => {
            notes.differ(codes::PAGING_END, "paging.next", "link", wrong, nothing);
            Verdict::Differs
        }
        _ => Verdict::Well,
    };
    notes.find(codes::PAGING_END, verdict, seen, asker.take_evidence());
    Ok(())
}
