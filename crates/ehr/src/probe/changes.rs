//! "What changed since then": which parameter, prefix and granularity of a search really filter.

use skin_assist_core::{ports::StateError, time::Timestamp};

use super::asking::{Asker, Effect, Found, Got};
use crate::profile::{ChangeParameter, Granularity, SearchPrefix};

/// A day after everything.
const FUTURE: &str = "2100-01-01";

/// How far back a search looks first: what is recent more often has photos, and is less to search.
const DAYS_BACK: i32 = -30;

/// In which an instant is looked for.
const LATEST_DAYS: [i32; 3] = [-1, -2, -5];

/// A day before everything.
const LONG_AGO: &str = "1990-01-01";

/// What a change search does.
#[derive(Debug, Clone)]
pub(super) struct Change {
    /// With the prefix `gt`.
    pub(super) gt: Effect,
    /// With the prefix `ge`.
    pub(super) ge: Effect,
    /// What an instant does; only asked where a prefix works.
    pub(super) instant: Instant,
    /// What changed recently.
    pub(super) recent: Option<Found>,
}

/// What an instant does where a day does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Instant {
    /// It is compared as an instant.
    Compared,
    /// It is taken, and cut to its day.
    CutToDay,
    /// It is refused.
    Refused(u16),
    /// Nobody can tell.
    NotKnown(&'static str),
}

impl Change {
    pub(super) fn with(&self, prefix: SearchPrefix) -> &Effect {
        match prefix {
            SearchPrefix::Gt => &self.gt,
            SearchPrefix::Ge => &self.ge,
        }
    }

    /// The prefix that works, the preferred one if it does.
    pub(super) fn working(&self, preferred: SearchPrefix) -> Option<SearchPrefix> {
        [preferred, SearchPrefix::Ge, SearchPrefix::Gt]
            .into_iter()
            .find(|prefix| self.with(*prefix).works())
    }
}

impl Asker<'_> {
    /// Tries a change search, with days and, for `_lastUpdated`, with instants.
    pub(super) async fn change(
        &mut self,
        resource: &'static str,
        parameter: ChangeParameter,
        preferred: SearchPrefix,
    ) -> Result<Change, StateError> {
        let mut change = Change {
            gt: Effect::NotKnown("it was not tried"),
            ge: Effect::NotKnown("it was not tried"),
            instant: Instant::NotKnown("no prefix works"),
            recent: None,
        };
        let mut since = self.day(DAYS_BACK);
        let few = self.a_few(resource);
        let other = match preferred {
            SearchPrefix::Gt => SearchPrefix::Ge,
            SearchPrefix::Ge => SearchPrefix::Gt,
        };
        for prefix in [preferred, other] {
            let name = parameter.as_str();
            let value = |day: &str| format!("{}{day}", prefix.as_str());
            let none = [(name, value(FUTURE)), ("_count", few.clone())];
            let none = none.each_ref().map(|(name, value)| (*name, value.as_str()));
            let (some, count) = (value(&since), few.as_str());
            let (mut effect, mut found) = self
                .effect(resource, &[(name, &some), ("_count", count)], &none)
                .await?;
            if matches!(effect, Effect::NotKnown(_)) && found.as_ref().is_some_and(Found::is_empty) && since != LONG_AGO
            {
                LONG_AGO.clone_into(&mut since);
                let some = value(LONG_AGO);
                if let Got::It(older) = self.search(resource, &[(name, &some), ("_count", count)]).await? {
                    if !older.is_empty() {
                        effect = Effect::Filters;
                    }
                    found = Some(older);
                }
            }
            change.recent = change.recent.filter(|found| !found.is_empty()).or(found);
            match prefix {
                SearchPrefix::Gt => change.gt = effect,
                SearchPrefix::Ge => change.ge = effect,
            }
        }
        if parameter == ChangeParameter::LastUpdated
            && let Some(prefix) = change.working(preferred)
        {
            change.instant = self.instant(resource, prefix, &since).await?;
        }
        Ok(change)
    }

    /// Tells an instant that is compared from one that is cut to its day, by the latest change that was seen.
    async fn instant(
        &mut self,
        resource: &'static str,
        prefix: SearchPrefix,
        since: &str,
    ) -> Result<Instant, StateError> {
        let (name, few) = (ChangeParameter::LastUpdated.as_str(), self.a_few(resource));
        // From the last days on: where the latest record is of the latest day, nothing later confuses what comes.
        let days = LATEST_DAYS.map(|days| self.day(days));
        let mut seen = None;
        for since in days.iter().map(String::as_str).chain([since]) {
            let value = format!("{}{since}T00:00:00.000Z", prefix.as_str());
            match self.search(resource, &[(name, &value), ("_count", &few)]).await? {
                Got::It(found) if found.is_empty() => {}
                Got::It(found) => {
                    seen = Some(found);
                    break;
                }
                Got::Refused(status) => return Ok(Instant::Refused(status)),
                Got::NoAnswer(why) => return Ok(Instant::NotKnown(why)),
            }
        }
        let Some(seen) = seen else {
            return Ok(Instant::NotKnown("an instant finds nothing where a day does"));
        };
        let Some(latest) = times(&seen).max() else {
            return Ok(Instant::NotKnown("no result says when it changed to the instant"));
        };
        // A second away, lest it matter how times are rounded. `gt` is asked a little before, `ge` a little after: where
        // days are compared, the first misses the record of that very day and the second brings it.
        let aside = match prefix {
            SearchPrefix::Gt => Timestamp::from_millis(latest.as_millis() - 1000),
            SearchPrefix::Ge => Timestamp::from_millis(latest.as_millis() + 1000),
        };
        let value = format!("{}{aside}", prefix.as_str());
        let near = match self.search(resource, &[(name, &value), ("_count", &few)]).await? {
            Got::It(found) => found,
            Got::Refused(status) => return Ok(Instant::Refused(status)),
            Got::NoAnswer(why) => return Ok(Instant::NotKnown(why)),
        };
        Ok(match prefix {
            SearchPrefix::Ge if times(&near).any(|time| time < aside) => Instant::CutToDay,
            SearchPrefix::Ge => Instant::Compared,
            SearchPrefix::Gt if times(&near).any(|time| time.date_plus_days(0) == latest.date_plus_days(0)) => {
                Instant::Compared
            }
            SearchPrefix::Gt if near.next.is_none() => Instant::CutToDay,
            SearchPrefix::Gt => Instant::NotKnown("too many changed since"),
        })
    }
}

fn times(found: &Found) -> impl Iterator<Item = Timestamp> {
    found
        .records()
        .filter_map(|record| record.get("meta").instant("lastUpdated"))
}

/// As a profile writes it.
pub(super) const fn granularity(granularity: Granularity) -> &'static str {
    match granularity {
        Granularity::Day => "day",
        Granularity::Instant => "instant",
    }
}

/// How a search puts its results in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    Sorts,
    Ignored,
    Refused(u16),
    NotKnown(&'static str),
}

impl Asker<'_> {
    /// Asks in ascending and in descending order: the two have to differ.
    pub(super) async fn order(
        &mut self,
        resource: &'static str,
        scope: &[(&str, &str)],
        key: &str,
    ) -> Result<Order, StateError> {
        let descending = match key.strip_prefix('-') {
            Some(ascending) => ascending.to_owned(),
            None => format!("-{key}"),
        };
        let (few, mut lists) = (self.a_few(resource), Vec::new());
        for key in [key, &descending] {
            let mut parameters = scope.to_vec();
            parameters.extend([("_sort", key), ("_count", &few)]);
            match self.search(resource, &parameters).await? {
                Got::It(found) => lists.push(found),
                Got::Refused(status) => return Ok(Order::Refused(status)),
                Got::NoAnswer(why) => return Ok(Order::NotKnown(why)),
            }
        }
        let [up, down] = &lists[..] else {
            return Ok(Order::NotKnown("it was not tried"));
        };
        if up.ids() != down.ids() {
            return Ok(Order::Sorts);
        }
        let mut times: Vec<_> = times(up).collect();
        times.dedup();
        Ok(if times.len() >= 2 {
            Order::Ignored
        } else {
            Order::NotKnown("there are no two with different times yet")
        })
    }
}
