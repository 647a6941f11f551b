//! Search parameters, read strictly.

use bytes::Bytes;
use http::Request;
use jiff::civil::Date;
use skin_assist_core::time::Timestamp;

use crate::{calendar, reply::Refusal, specification::EncounterSearchGranularity};

/// The parameters of a search, in the order in which they were sent.
#[derive(Debug, Clone)]
pub(crate) struct Parameters {
    pub(crate) pairs: Vec<(String, String)>,
}

impl Parameters {
    pub(crate) fn of(request: &Request<Bytes>) -> Self {
        let query = request.uri().query().unwrap_or_default();
        Self {
            pairs: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        }
    }

    /// Refuses every parameter that is not documented.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Refusal> {
        match self.pairs.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => Err(Refusal::bad(format!("unknown search parameter {name:?}"))),
            None => Ok(()),
        }
    }

    /// Every value of a parameter.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pairs
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that may be given once and not be empty; OR-lists are not taken.
    pub(crate) fn one(&self, name: &str) -> Result<Option<&str>, Refusal> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() {
            return Err(Refusal::bad(format!("{name} may be given once")));
        }
        match first {
            Some("") => Err(Refusal::bad(format!("{name} is empty"))),
            Some(value) if value.contains(',') => Err(Refusal::bad(format!("{name} takes one value, no list"))),
            value => Ok(value),
        }
    }

    /// `_count` and `page`.
    pub(crate) fn page(&self, max_count: usize) -> Result<Page, Refusal> {
        let number = |name: &str, default: usize, max: usize| {
            self.one(name)?.map_or(Ok(default), |text| {
                text.parse()
                    .ok()
                    .filter(|number| (1..=max).contains(number))
                    .ok_or_else(|| Refusal::bad(format!("{name} is to be from 1 to {max}")))
            })
        };
        Ok(Page {
            count: number("_count", max_count, max_count)?,
            number: number("page", 1, 1_000_000)?,
        })
    }

    /// Every condition of a date parameter.
    pub(crate) fn dates(
        &self,
        name: &str,
        granularity: EncounterSearchGranularity,
    ) -> Result<Vec<DateCondition>, Refusal> {
        self.all(name)
            .map(|text| {
                DateCondition::parse(text, granularity).ok_or_else(|| {
                    Refusal::bad(format!(
                        "{name}={text}: a prefix gt, eq or le and a date yyyy-mm-dd are supported"
                    ))
                })
            })
            .collect()
    }
}

/// Which part of the matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) count: usize,
    /// From 1.
    pub(crate) number: usize,
}

/// One condition on a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DateCondition {
    comparison: Comparison,
    value: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    After,
    At,
    UpTo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    Day(Date),
    Instant(Timestamp),
}

impl DateCondition {
    fn parse(text: &str, granularity: EncounterSearchGranularity) -> Option<Self> {
        let prefixes = [
            ("gt", Comparison::After),
            ("eq", Comparison::At),
            ("le", Comparison::UpTo),
        ];
        let (comparison, rest) = prefixes
            .into_iter()
            .find_map(|(prefix, comparison)| Some((comparison, text.strip_prefix(prefix)?)))
            .unwrap_or((Comparison::At, text));
        let value = match (calendar::parse_day(rest), granularity) {
            (Some(day), _) => Value::Day(day),
            (None, EncounterSearchGranularity::Day) => return None,
            (None, EncounterSearchGranularity::Instant) => Value::Instant(Timestamp::parse_rfc3339(rest).ok()?),
        };
        Some(Self { comparison, value })
    }

    /// Whether this time meets the condition. A day is met as a whole: `gt` means after its end.
    pub(crate) fn holds(self, at: Timestamp) -> bool {
        let ordering = match self.value {
            Value::Day(day) => calendar::day(at).cmp(&day),
            Value::Instant(instant) => at.cmp(&instant),
        };
        match self.comparison {
            Comparison::After => ordering.is_gt(),
            Comparison::At => ordering.is_eq(),
            Comparison::UpTo => ordering.is_le(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(query: &str) -> Parameters {
        Parameters::of(&Request::get(format!("/?{query}")).body(Bytes::new()).unwrap())
    }

    #[test]
    fn days_are_compared_as_wholes() {
        let late_on_the_fifth = Timestamp::parse_rfc3339("2026-01-06T04:00:00Z").unwrap();
        let holds = |text: &str| {
            DateCondition::parse(text, EncounterSearchGranularity::Day)
                .unwrap()
                .holds(late_on_the_fifth)
        };
        assert!(holds("gt2026-01-04"));
        assert!(!holds("gt2026-01-05"));
        assert!(holds("eq2026-01-05"));
        assert!(holds("2026-01-05"));
        assert!(holds("le2026-01-05"));
        assert!(!holds("le2026-01-04"));
    }

    #[test]
    fn instants_are_an_option() {
        let text = "gt2026-01-06T04:00:00.000Z";
        let parse = |granularity| DateCondition::parse(text, granularity);
        assert_eq!(parse(EncounterSearchGranularity::Day), None);
        let condition = parse(EncounterSearchGranularity::Instant).unwrap();
        let at = Timestamp::parse_rfc3339("2026-01-06T04:00:00Z").unwrap();
        assert!(!condition.holds(at));
        assert!(condition.holds(Timestamp::from_millis(at.as_millis() + 1)));
    }

    #[test]
    fn undocumented_values_are_refused() {
        assert!(parameters("_sort=date").only(&["_count"]).is_err());
        assert!(parameters("patient=").one("patient").is_err());
        assert!(parameters("patient=1&patient=2").one("patient").is_err());
        assert!(parameters("category=a,b").one("category").is_err());
        assert!(parameters("_count=51").page(50).is_err());
        assert!(parameters("_count=0").page(50).is_err());
        assert!(parameters("page=0").page(50).is_err());
        assert!(
            parameters("date=ge2026-01-01")
                .dates("date", EncounterSearchGranularity::Day)
                .is_err()
        );
        assert_eq!(
            parameters("_count=7&page=3").page(50).unwrap(),
            Page { count: 7, number: 3 }
        );
    }
}
