//! What a reply's headers say of time.

use std::time::Duration;

use http::{HeaderMap, header};

/// The longest wait that is taken from a server's word.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// The server's clock, from `Date`: milliseconds since the Unix epoch.
pub fn date_millis(headers: &HeaderMap) -> Option<i64> {
    http_date(headers.get(header::DATE)?.to_str().ok()?)
}

/// `Retry-After`, at most an hour: seconds, or a date, which is relative to the same server's clock and to no other.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = text.parse::<f64>() {
        Duration::try_from_secs_f64(seconds.clamp(0.0, LONGEST_RETRY_AFTER.as_secs_f64())).ok()?
    } else {
        let millis = http_date(text)?.saturating_sub(date_millis(headers)?);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

/// An HTTP date in its one current form, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7).
fn http_date(text: &str) -> Option<i64> {
    static PARSER: jiff::fmt::rfc2822::DateTimeParser = jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true);
    PARSER.parse_timestamp(text).ok().map(jiff::Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn retry_after_in_both_forms() {
        let now = (header::DATE, "Mon, 05 Jan 2026 10:00:00 GMT");
        for (value, expected) in [
            ("30", Some(30)),
            (" 0 ", Some(0)),
            ("-5", Some(0)),
            ("999999999", Some(3600)),
            ("Mon, 05 Jan 2026 10:00:45 GMT", Some(45)),
            ("Mon, 05 Jan 2026 09:00:00 GMT", Some(0)),
            ("Tue, 05 Jan 2027 10:00:45 GMT", Some(3600)),
            ("soon", None),
            ("NaN", None),
        ] {
            let headers = headers(&[now.clone(), (header::RETRY_AFTER, value)]);
            assert_eq!(retry_after(&headers), expected.map(Duration::from_secs), "{value}");
        }
        let without_date = headers(&[(header::RETRY_AFTER, "Mon, 05 Jan 2026 10:00:45 GMT")]);
        assert_eq!(retry_after(&without_date), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
