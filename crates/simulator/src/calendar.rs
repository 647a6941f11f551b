//! The practice's calendar: days for people are US Eastern, days for searches are where the dialect says.
//!
//! The offset is fixed at five hours behind UTC, all year. The real EHR observes daylight saving time; a day whose edge
//! is an hour off in summer changes nothing that a client may rely on, and a fixed offset keeps tests simple.

use jiff::{civil::Date, tz::Offset};
use skin_assist_core::time::Timestamp;

const EASTERN: Offset = Offset::constant(-5);

fn civil(at: Timestamp) -> jiff::civil::DateTime {
    let instant = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or(jiff::Timestamp::MAX);
    EASTERN.to_datetime(instant)
}

/// The calendar day of an instant, this many minutes ahead of UTC.
pub(crate) fn day(at: Timestamp, offset_minutes: i32) -> Date {
    let instant = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or(jiff::Timestamp::MAX);
    let offset = Offset::from_seconds(offset_minutes.saturating_mul(60)).unwrap_or(Offset::UTC);
    offset.to_datetime(instant).date()
}

/// As HTTP writes dates: whole seconds, GMT.
pub(crate) fn http_date(at: Timestamp) -> String {
    let instant = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or(jiff::Timestamp::MAX);
    instant.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Reads `yyyy-mm-dd` and nothing else.
pub(crate) fn parse_day(text: &str) -> Option<Date> {
    let well_formed = text.len() == 10 && text.as_bytes().get(4) == Some(&b'-');
    if well_formed { text.parse().ok() } else { None }
}

/// Eastern wall-clock time of day, for people.
pub(crate) fn time_of_day(at: Timestamp) -> String {
    civil(at).strftime("%H:%M:%S").to_string()
}

/// Eastern date, for people.
pub(crate) fn long_date(at: Timestamp) -> String {
    civil(at).strftime("%B %-d, %Y").to_string()
}

/// `yyyymmddThhmmssZ`, as `X-Amz-Date` is written.
pub(crate) fn amazon_date(at: Timestamp) -> String {
    let instant = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or(jiff::Timestamp::MAX);
    instant.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// Reads what [`amazon_date`] wrote, to the second.
pub(crate) fn parse_amazon_date(text: &str) -> Option<Timestamp> {
    let moment = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    let instant = Offset::UTC.to_timestamp(moment).ok()?;
    Some(Timestamp::from_millis(instant.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_turn_at_midnight_eastern() {
        let before = Timestamp::parse_rfc3339("2026-01-06T04:59:59.999Z").unwrap();
        let after = Timestamp::parse_rfc3339("2026-01-06T05:00:00Z").unwrap();
        assert_eq!(day(before, -300).to_string(), "2026-01-05");
        assert_eq!(day(after, -300).to_string(), "2026-01-06");
        assert_eq!(day(before, 0).to_string(), "2026-01-06");
        assert_eq!(time_of_day(after), "00:00:00");
    }

    #[test]
    fn amazon_dates_round_trip_to_the_second() {
        let at = Timestamp::parse_rfc3339("2026-01-06T04:59:59.999Z").unwrap();
        assert_eq!(amazon_date(at), "20260106T045959Z");
        assert_eq!(
            parse_amazon_date("20260106T045959Z"),
            Some(Timestamp::from_millis(at.as_millis() - 999))
        );
        assert_eq!(parse_amazon_date("2026-01-06"), None);
    }

    #[test]
    fn http_dates_are_in_whole_seconds() {
        let at = Timestamp::parse_rfc3339("2026-01-06T04:59:59.999Z").unwrap();
        assert_eq!(http_date(at), "Tue, 06 Jan 2026 04:59:59 GMT");
    }

    #[test]
    fn only_plain_days_are_days() {
        assert!(parse_day("2026-01-06").is_some());
        assert!(parse_day("20260106").is_none());
        assert!(parse_day("2026-01-06T00:00:00Z").is_none());
        assert!(parse_day("2026-02-30").is_none());
    }
}
