//! Search parameters, read strictly.

use std::collections::BTreeSet;

use jiff::civil::Date;
use skin_assist_core::time::Timestamp;

use crate::{
    calendar,
    dialect::{DatePrefix, EncounterSearchGranularity, SearchRules},
    reply::Refusal,
};

/// The parameter by which a `next` link says when it was made.
pub(crate) const SESSION: &str = "_session";

/// The parameter that stands for a whole search and a page of it.
pub(crate) const CURSOR: &str = "_cursor";

/// The parameters of a search, in the order in which they were sent.
#[derive(Debug, Clone)]
pub(crate) struct Parameters {
    pub(crate) pairs: Vec<(String, String)>,
}

impl Parameters {
    /// From a query, without its question mark.
    pub(crate) fn of(query: &str) -> Self {
        Self {
            pairs: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        }
    }

    /// Refuses every parameter that is not documented.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Refusal> {
        let is_known = |name: &str| name == SESSION || known.contains(&name);
        match self.pairs.iter().find(|(name, _)| !is_known(name)) {
            Some((name, _)) => Err(Refusal::bad(format!("unknown search parameter {name:?}"))),
            None => Ok(()),
        }
    }

    /// What is left when these are overlooked.
    pub(crate) fn without(&self, ignored: &BTreeSet<&'static str>) -> Self {
        let kept = self.pairs.iter().filter(|(name, _)| !ignored.contains(name.as_str()));
        Self {
            pairs: kept.cloned().collect(),
        }
    }

    /// Every value of a parameter.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pairs
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    fn once(&self, name: &str) -> Result<Option<&str>, Refusal> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() {
            return Err(Refusal::bad(format!("{name} may be given once")));
        }
        match first {
            Some("") => Err(Refusal::bad(format!("{name} is empty"))),
            value => Ok(value),
        }
    }

    /// The value of a parameter that may be given once and not be empty; OR-lists are not taken.
    pub(crate) fn one(&self, name: &str) -> Result<Option<&str>, Refusal> {
        match self.once(name)? {
            Some(value) if value.contains(',') => Err(Refusal::bad(format!("{name} takes one value, no list"))),
            value => Ok(value),
        }
    }

    /// The values of a parameter that may be given once; several where it is one of `lists`.
    fn split(&self, name: &str, lists: &[&str]) -> Result<Option<Vec<&str>>, Refusal> {
        if !lists.contains(&name) {
            return Ok(self.one(name)?.map(|value| vec![value]));
        }
        let Some(list) = self.once(name)? else {
            return Ok(None);
        };
        let values = split_unescaped(list, ',');
        if values.contains(&"") {
            return Err(Refusal::bad(format!("{name} has an empty value")));
        }
        Ok(Some(values))
    }

    /// The values of a parameter, any of which may match.
    pub(crate) fn any(&self, name: &str, lists: &[&str]) -> Result<Option<Vec<String>>, Refusal> {
        let values = self.split(name, lists)?;
        Ok(values.map(|values| values.into_iter().map(unescaped).collect()))
    }

    /// The tokens of a parameter, any of which may match.
    pub(crate) fn tokens(&self, name: &str, lists: &[&str]) -> Result<Option<Vec<Token>>, Refusal> {
        let values = self.split(name, lists)?;
        Ok(values.map(|values| values.into_iter().map(Token::parse).collect()))
    }

    /// `_count` and `page`.
    pub(crate) fn page(&self, rules: &SearchRules) -> Result<Page, Refusal> {
        let number = |name: &str, default: usize, max: usize, clamps: bool| {
            self.one(name)?.map_or(Ok(default), |text| {
                text.parse()
                    .ok()
                    .map(|number: usize| if clamps { number.min(max) } else { number })
                    .filter(|number| (1..=max).contains(number))
                    .ok_or_else(|| Refusal::bad(format!("{name} is to be from 1 to {max}")))
            })
        };
        Ok(Page {
            count: number("_count", rules.default_count, rules.max_count, rules.clamps_count)?,
            number: number("page", 1, 1_000_000, false)?,
        })
    }

    /// Every condition of a date parameter.
    pub(crate) fn dates(
        &self,
        name: &str,
        rules: &SearchRules,
        calendar: Calendar,
    ) -> Result<Vec<DateCondition>, Refusal> {
        self.all(name)
            .map(|text| {
                DateCondition::parse(text, rules, calendar).ok_or_else(|| {
                    let prefixes: Vec<&str> = rules.prefixes.iter().map(|prefix| prefix.code()).collect();
                    Refusal::bad(format!(
                        "{name}={text}: the prefixes {} and a date{} are supported",
                        prefixes.join(", "),
                        match rules.granularity {
                            EncounterSearchGranularity::Day => " yyyy-mm-dd",
                            EncounterSearchGranularity::Instant => " or an instant",
                        }
                    ))
                })
            })
            .collect()
    }

    /// `_sort`, by one key.
    pub(crate) fn sort(&self) -> Result<Option<Sort>, Refusal> {
        let Some(text) = self.one("_sort")? else {
            return Ok(None);
        };
        let (descending, key) = text.strip_prefix('-').map_or((false, text), |key| (true, key));
        let by_date = match key {
            "_lastUpdated" => false,
            "date" => true,
            _ => {
                return Err(Refusal::bad(format!(
                    "_sort={text}: _lastUpdated and date are supported"
                )));
            }
        };
        Ok(Some(Sort { by_date, descending }))
    }
}

/// The parts of a text between separators that no backslash precedes.
fn split_unescaped(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, character) in text.char_indices() {
        if character == separator && !escaped {
            parts.push(text.get(start..at).unwrap_or_default());
            start = at + character.len_utf8();
        }
        escaped = character == '\\' && !escaped;
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

/// A value without the backslashes of FHIR's escaping.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, characters.peek()) {
            ('\\', Some('|' | ',' | '$' | '\\')) => plain.extend(characters.next()),
            _ => plain.push(character),
        }
    }
    plain
}

/// `code` or `system|code`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    system: Option<String>,
    code: String,
}

impl Token {
    fn parse(text: &str) -> Self {
        match split_unescaped(text, '|').as_slice() {
            // What comes after a second bar belongs to the code: ids have bars in them.
            [system, _, ..] => Self {
                system: Some(unescaped(system)),
                code: unescaped(text.get(system.len() + 1..).unwrap_or_default()),
            },
            _ => Self {
                system: None,
                code: unescaped(text),
            },
        }
    }

    pub(crate) fn matches(&self, system: &str, code: &str) -> bool {
        self.code == code && self.system.as_ref().is_none_or(|stated| stated == system)
    }
}

/// In what order results are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sort {
    /// By the record's date, otherwise by `lastUpdated`.
    pub(crate) by_date: bool,
    pub(crate) descending: bool,
}

/// Which part of the matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) count: usize,
    /// From 1.
    pub(crate) number: usize,
}

/// How the EHR compares dates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Calendar {
    /// How far the practice's day is ahead of UTC.
    pub(crate) day_offset_minutes: i32,
    /// Whether instants are cut to their day.
    pub(crate) days_only: bool,
}

/// One condition on a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DateCondition {
    comparison: DatePrefix,
    value: Value,
    calendar: Calendar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    Day(Date),
    Instant(Timestamp),
}

impl DateCondition {
    fn parse(text: &str, rules: &SearchRules, calendar: Calendar) -> Option<Self> {
        let (comparison, rest) = rules
            .prefixes
            .iter()
            .find_map(|prefix| Some((*prefix, text.strip_prefix(prefix.code())?)))
            .unwrap_or((DatePrefix::Equal, text));
        let value = match (calendar::parse_day(rest), rules.granularity) {
            (Some(day), _) => Value::Day(day),
            (None, EncounterSearchGranularity::Day) => return None,
            (None, EncounterSearchGranularity::Instant) => {
                let instant = Timestamp::parse_rfc3339(rest).ok()?;
                if calendar.days_only {
                    Value::Day(calendar::day(instant, calendar.day_offset_minutes))
                } else {
                    Value::Instant(instant)
                }
            }
        };
        Some(Self {
            comparison,
            value,
            calendar,
        })
    }

    /// Whether this time meets the condition. A day is met as a whole: `gt` means after its end.
    pub(crate) fn holds(self, at: Timestamp) -> bool {
        let ordering = match self.value {
            Value::Day(day) => calendar::day(at, self.calendar.day_offset_minutes).cmp(&day),
            Value::Instant(instant) => at.cmp(&instant),
        };
        match self.comparison {
            DatePrefix::Equal => ordering.is_eq(),
            DatePrefix::Greater => ordering.is_gt(),
            DatePrefix::GreaterOrEqual => ordering.is_ge(),
            DatePrefix::Less => ordering.is_lt(),
            DatePrefix::LessOrEqual => ordering.is_le(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Dialect;

    const EASTERN: Calendar = Calendar {
        day_offset_minutes: -300,
        days_only: false,
    };

    fn modmed() -> SearchRules {
        Dialect::modmed_ema().encounters
    }

    #[test]
    fn days_are_compared_as_wholes() {
        let late_on_the_fifth = Timestamp::parse_rfc3339("2026-01-06T04:00:00Z").unwrap();
        let holds = |text: &str| {
            DateCondition::parse(text, &modmed(), EASTERN)
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
        assert_eq!(DateCondition::parse(text, &modmed(), EASTERN), None);
        let fine = Dialect::fhir_r4().encounters;
        let condition = DateCondition::parse(text, &fine, EASTERN).unwrap();
        let at = Timestamp::parse_rfc3339("2026-01-06T04:00:00Z").unwrap();
        let a_little_later = Timestamp::from_millis(at.as_millis() + 1);
        assert!(!condition.holds(at));
        assert!(condition.holds(a_little_later));
        let days_only = Calendar {
            days_only: true,
            ..EASTERN
        };
        let coarse = DateCondition::parse(text, &fine, days_only).unwrap();
        assert!(!coarse.holds(a_little_later), "the day is not over");
    }

    #[test]
    fn undocumented_values_are_refused() {
        let parameters = Parameters::of;
        let page = |query: &str| parameters(query).page(&modmed());
        assert!(parameters("_sort=date").only(&["_count"]).is_err());
        assert!(parameters("patient=").one("patient").is_err());
        assert!(parameters("patient=1&patient=2").one("patient").is_err());
        assert!(parameters("category=a,b").one("category").is_err());
        assert!(parameters("_sort=-status").sort().is_err());
        assert!(page("_count=51").is_err());
        assert!(page("_count=0").is_err());
        assert!(page("page=0").is_err());
        assert!(
            parameters("date=ge2026-01-01")
                .dates("date", &modmed(), EASTERN)
                .is_err()
        );
        assert_eq!(page("_count=7&page=3").unwrap(), Page { count: 7, number: 3 });
        let clamped = parameters("_count=1000").page(&Dialect::fhir_r4().encounters);
        assert_eq!(clamped.unwrap().count, 200);
    }

    #[test]
    fn lists_and_tokens_may_be_escaped() {
        let list = Parameters::of("encounter=1,Encounter/2,a%5C,b");
        assert_eq!(
            list.any("encounter", &["encounter"]).unwrap().unwrap(),
            ["1", "Encounter/2", "a,b"]
        );
        let tokens = Parameters::of("identifier=sys%7Cone,sys%7Cfile%7C2,three,a%5C%7Cb");
        let tokens = tokens.tokens("identifier", &["identifier"]).unwrap().unwrap();
        assert!(tokens[0].matches("sys", "one") && !tokens[0].matches("other", "one"));
        assert!(tokens[1].matches("sys", "file|2"));
        assert!(tokens[2].matches("any", "three"));
        assert!(tokens[3].matches("any", "a|b"));
    }
}
