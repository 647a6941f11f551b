//! Practices from which fewer photos come than their own past predicts: the kind of failure that no error tells.
//!
//! Photos of a practice are taken as a Poisson process whose rate is what the same hours of the same weekday had in the weeks
//! before. What would be seen less often than once in a thousand such windows is told. A busy practice is told of within hours; one with
//! a few photos a day cannot be told from chance before a day or a week have passed.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::Serialize;
use skin_assist_core::{
    domain::FirmId,
    ports::{Overview, PhotosOfHour, StateError, StateStore},
    time::Timestamp,
};

const HOUR_MS: i64 = 3_600_000;
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How many weeks back.
const WEEKS: u32 = 4;
/// So many whole hours are looked at together, the shortest first: half a clinic day, a day, a week.
const WINDOWS_HOURS: [i64; 3] = [4, 24, 7 * 24];
/// How unlikely it has to be.
const RARE: f64 = 0.001;

/// How far back counts are needed.
const REACH: Duration = Duration::from_secs(WEEK.as_secs() * (WEEKS as u64 + 1) + 24 * 60 * 60);

/// A practice that is quieter than it should be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Silence {
    pub(crate) firm: FirmId,
    /// Photos found in the last whole hours.
    pub(crate) photos: u64,
    /// How many hours.
    pub(crate) hours: i64,
    /// How many there usually are.
    pub(crate) usual: f64,
}

impl fmt::Display for Silence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            photos, hours, usual, ..
        } = self;
        write!(
            formatter,
            "is quieter than it should be: {photos} photos in the last {hours} hours, where {usual:.0} are usual"
        )
    }
}

/// Which of the practices that are served are quieter than they should be. Whole hours are looked at: within one the answer is the same.
/// Five weeks of photos are counted for it.
///
/// # Errors
/// The state cannot be read.
pub(crate) async fn quieter_than_usual(
    state: &dyn StateStore,
    firms: &[Overview],
    now: Timestamp,
) -> Result<Vec<Silence>, StateError> {
    let served = firms.iter().filter(|overview| overview.firm.is_served());
    let served: Vec<_> = served
        .map(|overview| (overview.firm.id.clone(), overview.firm.connected_at))
        .collect();
    Ok(silences(&served, &state.photos_by_hour(now - REACH).await?, now))
}

/// The probability of at most `seen` where `mean` are expected (Poisson).
fn at_most(seen: u64, mean: f64) -> f64 {
    let mut term = (-mean).exp();
    let mut sum = term;
    for number in 1..=seen {
        term *= mean / number as f64;
        sum += term;
    }
    sum
}

/// Those of `firms` (each with when it was connected) that are quieter than they should be at `now`.
fn silences(firms: &[(FirmId, Timestamp)], counts: &[PhotosOfHour], now: Timestamp) -> Vec<Silence> {
    let mut by_firm: BTreeMap<&FirmId, BTreeMap<i64, u64>> = BTreeMap::new();
    for one in counts {
        by_firm
            .entry(&one.firm)
            .or_default()
            .insert(one.hour.as_millis().div_euclid(HOUR_MS), one.photos);
    }
    let end = now.as_millis().div_euclid(HOUR_MS);
    let week = WEEK.as_millis() as i64 / HOUR_MS;
    let mut silences = Vec::new();
    for (firm, connected_at) in firms {
        let Some(hours) = by_firm.get(firm) else { continue };
        let silent = WINDOWS_HOURS.into_iter().find_map(|length| {
            let window = |weeks_ago: i64| -> u64 {
                let end = end - weeks_ago * week;
                hours.range(end - length..end).map(|(_, photos)| photos).sum()
            };
            let known = (1..=i64::from(WEEKS))
                .filter(|weeks_ago| (end - weeks_ago * week - length) * HOUR_MS >= connected_at.as_millis());
            let known: Vec<u64> = known.map(window).collect();
            let usual = known.iter().sum::<u64>() as f64 / known.len().max(1) as f64;
            let photos = window(0);
            (at_most(photos, usual) < RARE).then(|| Silence {
                firm: firm.clone(),
                photos,
                hours: length,
                usual,
            })
        });
        silences.extend(silent);
    }
    silences
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 472_222 * HOUR_MS;

    fn hour(number: i64) -> Timestamp {
        Timestamp::from_millis(START + number * HOUR_MS)
    }

    fn week_of(firm: &str, week: i64, photos: u64) -> Vec<PhotosOfHour> {
        let one = |number| PhotosOfHour {
            firm: FirmId::new(firm),
            hour: hour(week * 168 + number),
            photos,
        };
        (0..8).map(one).collect()
    }

    #[test]
    fn who_sends_less_than_its_past_predicts_is_told() {
        let mut counts: Vec<PhotosOfHour> = (0..2).flat_map(|week| week_of("busy", week, 3)).collect();
        counts.extend((0..3).flat_map(|week| week_of("steady", week, 3)));
        counts.extend((0..2).flat_map(|week| week_of("small", week, 1)));
        let firms = ["busy", "steady", "small", "none"].map(|firm| (FirmId::new(firm), hour(-1)));
        let told = silences(&firms, &counts, hour(2 * 168 + 6) + Duration::from_secs(1800));
        let expected = Silence {
            firm: FirmId::new("busy"),
            photos: 0,
            hours: 4,
            usual: 12.0,
        };
        assert_eq!(
            told,
            [expected],
            "four photos fewer than usual may be chance, twelve are not"
        );
        let night = silences(&firms, &counts, hour(2 * 168 + 20));
        let night: Vec<_> = night.iter().map(|told| (told.firm.as_str(), told.hours)).collect();
        assert_eq!(
            night,
            [("busy", 24), ("small", 24)],
            "a whole day of nothing is no chance"
        );
        let before = silences(&firms, &counts, hour(2 * 168 - 5));
        assert_eq!(before, [], "when nothing is usual, nothing is missing");
        let connected_lately = firms.map(|(firm, _)| (firm, hour(168 + 3)));
        assert_eq!(
            silences(&connected_lately, &counts, hour(2 * 168 + 6)),
            [],
            "it has no past"
        );
    }

    #[test]
    fn the_probability_is_that_of_poisson() {
        assert!((at_most(0, 3.0) - 0.049_787).abs() < 1e-6);
        assert!((at_most(2, 3.0) - 0.423_190).abs() < 1e-6);
    }
}
