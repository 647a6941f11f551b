//! Pictures of numbers, as SVG: each says in words what it shows.

use std::fmt::Write as _;

use maud::{Markup, PreEscaped, html};
use skin_assist_core::{domain::NormalisedBox, time::Timestamp};
use skin_assist_evaluation::stability::Verdict;

use crate::commands::drift::{MeasureOverWeeks, latest};

/// Bars of one number for each hour, the last one being the present.
pub(super) fn hours(title: &str, unit: &str, counts: &[u64], now: Timestamp) -> Markup {
    const WIDTH: f64 = 720.0;
    const HEIGHT: f64 = 120.0;
    let most = counts.iter().copied().max().unwrap_or_default().max(1);
    let step = WIDTH / counts.len().max(1) as f64;
    let total: u64 = counts.iter().sum();
    let mut bars = String::new();
    for (place, count) in counts.iter().enumerate() {
        let height = *count as f64 / most as f64 * HEIGHT;
        let (x, y) = (place as f64 * step + 1.0, HEIGHT + 16.0 - height);
        _ = write!(
            bars,
            r#"<rect class="bar" x="{x:.1}" y="{y:.1}" width="{:.1}" height="{height:.1}"/>"#,
            step - 2.0
        );
        let hours_ago = counts.len() - 1 - place;
        if hours_ago.is_multiple_of(6) {
            let at = clock(Timestamp::from_millis(now.as_millis() - hours_ago as i64 * 3_600_000));
            let (anchor, x) = if hours_ago == 0 {
                ("end", WIDTH)
            } else {
                ("middle", x + step / 2.0)
            };
            _ = write!(
                bars,
                r#"<text x="{x:.1}" y="{}" text-anchor="{anchor}">{}</text>"#,
                HEIGHT + 32.0,
                &at[..5]
            );
        }
    }
    let label = format!(
        "{title}: {total} {unit} in {} hours, at most {most} in one",
        counts.len()
    );
    html! {
        figure {
            svg viewBox="0 0 720 156" role="img" aria-label=(label) {
                line class="axis" x1="0" x2="720" y1="136" y2="136" {}
                text x="0" y="12" { (most) }
                (PreEscaped(bars))
            }
            figcaption class="faint" { (title) ": " (total) " " (unit) ", hours in UTC" }
        }
    }
}

/// One photo in the picture of a day.
pub(super) struct PhotoOfDay {
    pub(super) filed: Option<Timestamp>,
    pub(super) found: Timestamp,
    pub(super) drafted: Option<Timestamp>,
    pub(super) is_lost: bool,
}

/// A day of a practice: visits under watch, looks at them, photos and drafts, over time.
pub(super) fn day(
    visits: &[(Timestamp, Timestamp)],
    looks: &[Timestamp],
    photos: &[PhotoOfDay],
    from: Timestamp,
    to: Timestamp,
) -> Markup {
    const LEFT: f64 = 70.0;
    const WIDTH: f64 = 650.0;
    /// Lines of visits that are drawn; the others are in the label.
    const MOST_VISITS: usize = 40;
    let span = (to.as_millis() - from.as_millis()).max(1) as f64;
    let x = |at: Timestamp| LEFT + ((at.as_millis() - from.as_millis()) as f64 / span).clamp(0.0, 1.0) * WIDTH;
    let drawn = &visits[..visits.len().min(MOST_VISITS)];
    let mut shapes = String::new();
    let mut y = 8.0;
    for (seen, ends) in drawn {
        let (left, right) = (x(*seen), x(*ends).max(x(*seen) + 1.0));
        _ = write!(
            shapes,
            r#"<rect class="span" x="{left:.1}" y="{y:.1}" width="{:.1}" height="3"/>"#,
            right - left
        );
        y += 4.0;
    }
    let lanes = [y + 14.0, y + 34.0, y + 54.0];
    for look in looks {
        _ = write!(
            shapes,
            r#"<circle class="dot" cx="{:.1}" cy="{:.1}" r="1.5"/>"#,
            x(*look),
            lanes[0] - 4.0
        );
    }
    for photo in photos {
        let class = if photo.is_lost { "lost" } else { "bar" };
        let filed = photo.filed.unwrap_or(photo.found);
        let (left, right) = (x(filed), x(photo.found));
        _ = write!(
            shapes,
            r#"<rect class="{class}" x="{left:.1}" y="{:.1}" width="{:.1}" height="10"/>"#,
            lanes[1] - 9.0,
            (right - left).max(2.0)
        );
        if let Some(drafted) = photo.drafted {
            _ = write!(
                shapes,
                r#"<circle class="draft" cx="{:.1}" cy="{:.1}" r="4"/>"#,
                x(drafted),
                lanes[2] - 4.0
            );
        }
    }
    let bottom = lanes[2] + 10.0;
    for quarter in 0..=4 {
        let at = Timestamp::from_millis(from.as_millis() + (span as i64) * quarter / 4);
        let anchor = match quarter {
            0 => "start",
            4 => "end",
            _ => "middle",
        };
        _ = write!(
            shapes,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="{anchor}">{}</text>"#,
            x(at),
            bottom + 16.0,
            &clock(at)[..5]
        );
    }
    let drafted = photos.iter().filter(|photo| photo.drafted.is_some()).count();
    let label = format!(
        "{} visits under watch, {} photos found, {drafted} drafts written",
        visits.len(),
        photos.len()
    );
    html! {
        figure {
            svg viewBox=(format!("0 0 720 {:.0}", bottom + 22.0)) role="img" aria-label=(label) {
                text x="0" y="16" { "visits" }
                text x="0" y=(lanes[0]) { "last looks" }
                text x="0" y=(lanes[1]) { "photos" }
                text x="0" y=(lanes[2]) { "drafts" }
                line class="axis" x1="70" x2="720" y1=(bottom) y2=(bottom) {}
                (PreEscaped(shapes))
            }
            figcaption class="faint" {
                (label) ". A photo's bar reaches from when it was filed to when it was found. Times in UTC."
                @if visits.len() > drawn.len() { " The first " (drawn.len()) " visits are drawn." }
            }
        }
    }
}

/// A measure over weeks: how its values are spread, and under each week the index.
pub(super) fn weeks(measured: &MeasureOverWeeks) -> Markup {
    const LEFT: f64 = 60.0;
    const WIDTH: f64 = 660.0;
    const HEIGHT: f64 = 100.0;
    const TOP: f64 = 8.0;
    let weeks = latest(&measured.weeks);
    let lowest = weeks.iter().map(|week| week.p10).fold(f64::INFINITY, f64::min);
    let highest = weeks.iter().map(|week| week.p90).fold(f64::NEG_INFINITY, f64::max);
    let range = if highest > lowest { highest - lowest } else { 1.0 };
    let y = |value: f64| TOP + (highest - value) / range * HEIGHT;
    let step = (WIDTH / weeks.len().max(1) as f64).min(60.0);
    let mut shapes = String::new();
    for (place, week) in weeks.iter().enumerate() {
        let class = match week.stability.map(|stability| stability.verdict) {
            Some(Verdict::Much) => "lost",
            Some(Verdict::Some) => "some",
            Some(Verdict::Stable | Verdict::TooFew) => "bar",
            None => "span",
        };
        let (left, middle) = (LEFT + place as f64 * step, LEFT + (place as f64 + 0.5) * step);
        let (top, bottom) = (y(week.p90), y(week.p10));
        _ = write!(
            shapes,
            r#"<rect class="{class}" x="{:.1}" y="{top:.1}" width="{:.1}" height="{:.1}"/><rect class="median" x="{:.1}" y="{:.1}" width="{:.1}" height="2"/>"#,
            left + 2.0,
            step - 4.0,
            (bottom - top).max(1.0),
            left + 2.0,
            y(week.median) - 1.0,
            step - 4.0
        );
        if let Some(stability) = week.stability {
            _ = write!(
                shapes,
                r#"<text x="{middle:.1}" y="124" text-anchor="middle">{:.2}</text>"#,
                stability.index
            );
        }
        // Where they are close, the day of each second one.
        if step > 36.0 || place.is_multiple_of(2) {
            _ = write!(
                shapes,
                r#"<text x="{middle:.1}" y="140" text-anchor="middle">{}</text>"#,
                week.from.get(5..).unwrap_or_default()
            );
        }
    }
    let photos: usize = weeks.iter().map(|week| week.photos).sum();
    let changed = weeks.iter().filter(|week| {
        week.stability
            .is_some_and(|stability| matches!(stability.verdict, Verdict::Some | Verdict::Much))
    });
    let changed: Vec<&str> = changed.map(|week| week.from.as_str()).collect();
    let changed = if changed.is_empty() {
        "no week with a change".to_owned()
    } else {
        format!("changed in the weeks from {}", changed.join(", "))
    };
    let title = measured.measure.display();
    let label = format!("{title}: {} weeks, {photos} photos, {changed}", weeks.len());
    html! {
        figure {
            svg viewBox="0 0 720 146" role="img" aria-label=(label) {
                line class="axis" x1="60" x2="720" y1="110" y2="110" {}
                text x="0" y="18" { (format!("{highest:.2}")) }
                text x="0" y="108" { (format!("{lowest:.2}")) }
                text x="0" y="124" { "PSI" }
                (PreEscaped(shapes))
            }
            figcaption class="faint" { (title) " by week, " (changed) }
        }
    }
}

/// Where the models saw something, on a frame of the photo's shape: the photo itself is not kept.
pub(super) fn areas(width: u32, height: u32, areas: &[(NormalisedBox, String)]) -> Markup {
    const SIDE: f64 = 360.0;
    let scale = SIDE / f64::from(width.max(height).max(1));
    let (wide, high) = (f64::from(width) * scale, f64::from(height) * scale);
    let mut shapes = String::new();
    for (number, (area, _)) in areas.iter().enumerate() {
        let (left, top) = (f64::from(area.x) * wide, f64::from(area.y) * high);
        _ = write!(
            shapes,
            r#"<rect class="box" x="{left:.1}" y="{top:.1}" width="{:.1}" height="{:.1}"/><text x="{:.1}" y="{:.1}">{}</text>"#,
            f64::from(area.width) * wide,
            f64::from(area.height) * high,
            left + 4.0,
            top + 14.0,
            number + 1
        );
    }
    let label = format!("{} areas on a photo of {width} by {height} pixels", areas.len());
    html! {
        svg viewBox=(format!("0 0 {wide:.0} {high:.0}")) width=(format!("{wide:.0}")) role="img" aria-label=(label) {
            rect class="frame" width=(format!("{wide:.1}")) height=(format!("{high:.1}")) {}
            (PreEscaped(shapes))
        }
        ol { @for (_, said) in areas { li { (said) } } }
    }
}

/// The time of day in UTC, `HH:MM:SS`.
pub(super) fn clock(at: Timestamp) -> String {
    let seconds = at.as_millis().div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
