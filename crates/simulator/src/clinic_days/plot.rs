//! A picture of outcomes: how soon live photos were found, and what was called for that over the day.
//!
//! One SVG that needs nothing else: no script, no style sheet, no font of its own. Everything is drawn on white, so that
//! it reads the same in a dark viewer. Names are escaped. Nothing here can fail; an outcome without photos has no line in
//! the upper panel.

use std::fmt::{self, Write as _};

use super::outcome::Outcome;

const WIDTH: f64 = 960.0;
/// Left and right ends of both panels.
const LEFT: f64 = 76.0;
const RIGHT: f64 = 936.0;
/// A panel without its labels.
const PANEL_HEIGHT: f64 = 300.0;
/// From the bottom of a panel to the top of the next: labels of the axis, and a heading.
const BETWEEN: f64 = 92.0;
const LEGEND_TOP: f64 = 66.0;
const LEGEND_LINE: f64 = 21.0;

const INK: &str = "#1f2328";
const FAINT: &str = "#6a737d";
const GRID: &str = "#e4e7eb";
/// Okabe and Ito's colours, which most people can tell apart, in an order that does so early.
const COLOURS: [&str; 7] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5c5c5c",
];

const DAY: f64 = 86_400.0;
/// The axis of delays begins here, in seconds.
const SOONEST: f64 = 0.1;
/// Labelled delays, in seconds.
const DELAYS: [(f64, &str); 8] = [
    (0.1, "0.1 s"),
    (1.0, "1 s"),
    (10.0, "10 s"),
    (60.0, "1 min"),
    (600.0, "10 min"),
    (3600.0, "1 h"),
    (6.0 * 3600.0, "6 h"),
    (DAY, "1 day"),
];
/// A day begins at this hour, Eastern.
const DAY_BEGINS: usize = 7;
const QUARTER_MINUTES: f64 = 15.0;

/// Draws outcomes. The upper panel has the share of live photos that were found within a time after they were filed, with
/// a time axis from 0.1 s to a day; a mark stands at the mean, and a dashed line where the lower bound of the weighted mean
/// is. The lower panel has the calls a minute over the day from 07:00 to 07:00 Eastern, by quarter of an hour, and the
/// budget. Photos that were not found count in the share: such a line ends below 100 %.
pub fn plot(title: &str, outcomes: &[Outcome]) -> String {
    let names = names(outcomes);
    let bounds = distinct(outcomes.iter().filter_map(|outcome| outcome.lower_bound_s));
    let budgets = distinct(outcomes.iter().map(|outcome| f64::from(outcome.budget_per_minute)));
    let lines = outcomes.len() + bounds.len() + 1;
    let upper = LEGEND_TOP + LEGEND_LINE * lines as f64 + 48.0;
    let lower = upper + PANEL_HEIGHT + BETWEEN;
    let height = lower + PANEL_HEIGHT + 64.0;
    let mut canvas = Canvas::new(height, title);
    canvas.legend(outcomes, &names, &bounds, &budgets);
    canvas.delays(upper, outcomes, &bounds);
    canvas.calls(lower, outcomes, &budgets);
    canvas.finish()
}

/// What the lines are called: the policy, and what else tells the outcomes apart.
fn names(outcomes: &[Outcome]) -> Vec<String> {
    let differ = |what: fn(&Outcome) -> String| outcomes.windows(2).any(|pair| what(&pair[0]) != what(&pair[1]));
    let parts: [fn(&Outcome) -> String; 4] = [
        |outcome| format!("{} practices", outcome.firms),
        |outcome| format!("{} calls/min", outcome.budget_per_minute),
        |outcome| format!("hint {}", outcome.hint),
        |outcome| outcome.search.clone(),
    ];
    let telling: Vec<_> = parts.into_iter().filter(|part| differ(*part)).collect();
    let name = |outcome: &Outcome| {
        let mut name = outcome.policy.clone();
        for part in &telling {
            name.push_str(", ");
            name.push_str(&part(outcome));
        }
        name
    };
    outcomes.iter().map(name).collect()
}

/// Finite values, each once, in order.
fn distinct(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    values
}

/// A time as people say it, or a dash.
fn duration(seconds: f64) -> String {
    match seconds {
        seconds if !seconds.is_finite() => "-".to_owned(),
        seconds if seconds < 9.95 => format!("{seconds:.2} s"),
        seconds if seconds < 99.95 => format!("{seconds:.1} s"),
        seconds if seconds < 7200.0 => format!("{:.1} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3600.0),
    }
}

/// A number with its thousands set apart.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The least of 1, 2, 2.5 and 5 times a power of ten that divides `most` into six steps or fewer.
fn nice_step(most: f64) -> f64 {
    let power = 10_f64.powf((most / 6.0).log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
    let step = steps
        .into_iter()
        .find(|step| step * power * 6.0 >= most)
        .unwrap_or(10.0);
    step * power
}

/// Where a delay is on its axis.
fn delay_x(seconds: f64) -> f64 {
    let share = (seconds.clamp(SOONEST, DAY) / SOONEST).ln() / (DAY / SOONEST).ln();
    LEFT + share * (RIGHT - LEFT)
}

fn colour(number: usize) -> &'static str {
    COLOURS[number % COLOURS.len()]
}

/// Where there are more lines than colours, the others are dashed.
fn dashes(number: usize) -> &'static str {
    if number < COLOURS.len() {
        ""
    } else {
        r#" stroke-dasharray="7 3""#
    }
}

#[derive(Clone, Copy)]
enum Anchor {
    Start,
    Middle,
    End,
}

impl fmt::Display for Anchor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        })
    }
}

/// The SVG so far. Writing to a string does not fail.
struct Canvas {
    svg: String,
}

impl Canvas {
    fn new(height: f64, title: &str) -> Self {
        let mut canvas = Self { svg: String::new() };
        _ = writeln!(
            canvas.svg,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" font-family="Helvetica, Arial, sans-serif" font-size="13" fill="{INK}">"#
        );
        _ = writeln!(canvas.svg, "<title>{}</title>", Escaped(title));
        _ = writeln!(
            canvas.svg,
            r##"<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>"##
        );
        canvas.text(
            24.0,
            34.0,
            Anchor::Start,
            r#" font-size="18" font-weight="bold""#,
            title,
        );
        canvas
    }

    fn finish(mut self) -> String {
        self.svg.push_str("</svg>\n");
        self.svg
    }

    fn text(&mut self, x: f64, y: f64, anchor: Anchor, style: &str, text: &str) {
        let text = Escaped(text);
        _ = writeln!(
            self.svg,
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}"{style}>{text}</text>"#
        );
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, style: &str) {
        _ = writeln!(
            self.svg,
            r#"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" stroke="{colour}"{style}/>"#,
            from.0, from.1, to.0, to.1
        );
    }

    fn path(&mut self, points: &[(f64, f64)], number: usize, width: f64) {
        if points.is_empty() {
            return;
        }
        let (colour, dashes) = (colour(number), dashes(number));
        self.svg.push_str(r#"<path d=""#);
        for (place, (x, y)) in points.iter().enumerate() {
            let command = if place == 0 { 'M' } else { 'L' };
            _ = write!(self.svg, "{command}{x:.1} {y:.1}");
        }
        _ = writeln!(
            self.svg,
            r#"" fill="none" stroke="{colour}" stroke-width="{width:.1}" stroke-linejoin="round"{dashes}/>"#
        );
    }

    /// One line for each outcome in columns, then what the dashed lines mean.
    fn legend(&mut self, outcomes: &[Outcome], names: &[String], bounds: &[f64], budgets: &[f64]) {
        const LIVE: f64 = 480.0;
        const WEIGHTED: f64 = 620.0;
        const WITHIN: f64 = 780.0;
        let mut y = LEGEND_TOP;
        let faint = format!(r#" fill="{FAINT}" font-size="12""#);
        for (x, text) in [
            (LIVE, "mean delay, live"),
            (WEIGHTED, "weighted mean"),
            (WITHIN, "found in progress"),
            (RIGHT, "calls in the day"),
        ] {
            self.text(x, y, Anchor::End, &faint, text);
        }
        for (number, (outcome, name)) in outcomes.iter().zip(names).enumerate() {
            y += LEGEND_LINE;
            let style = format!(r#" stroke-width="3"{}"#, dashes(number));
            self.line((24.0, y - 4.0), (58.0, y - 4.0), colour(number), &style);
            self.text(LEFT - 8.0, y, Anchor::Start, "", name);
            let columns = [
                (LIVE, duration(outcome.live.mean_s)),
                (WEIGHTED, duration(outcome.weighted_mean_s)),
                (WITHIN, format!("{:.1} %", outcome.detected_in_progress * 100.0)),
                (
                    RIGHT,
                    grouped(
                        outcome
                            .calls_over_day
                            .iter()
                            .flatten()
                            .map(|count| f64::from(*count))
                            .sum(),
                    ),
                ),
            ];
            for (x, text) in columns {
                self.text(x, y, Anchor::End, "", &text);
            }
        }
        for bound in bounds {
            y += LEGEND_LINE;
            self.line((24.0, y - 4.0), (58.0, y - 4.0), INK, BOUND_STYLE);
            self.text(
                LEFT - 8.0,
                y,
                Anchor::Start,
                "",
                "lower bound of the weighted mean, hint 0",
            );
            self.text(WEIGHTED, y, Anchor::End, "", &duration(*bound));
        }
        y += LEGEND_LINE;
        let budgets: Vec<String> = budgets.iter().map(|budget| grouped(*budget)).collect();
        self.line((24.0, y - 4.0), (58.0, y - 4.0), INK, BUDGET_STYLE);
        self.text(
            LEFT - 8.0,
            y,
            Anchor::Start,
            "",
            &format!("budget: {} calls a minute", budgets.join(" and ")),
        );
    }

    /// The frame of a panel: heading, horizontal grid with labels, and what the vertical axis is.
    fn frame(&mut self, top: f64, heading: &str, ticks: &[(f64, String)], axis: &str) {
        let bottom = top + PANEL_HEIGHT;
        self.text(LEFT, top - 14.0, Anchor::Start, r#" font-weight="bold""#, heading);
        for (share, label) in ticks {
            let y = bottom - share * PANEL_HEIGHT;
            self.line((LEFT, y), (RIGHT, y), GRID, "");
            self.text(LEFT - 8.0, y + 4.5, Anchor::End, "", label);
        }
        let (x, y) = (20.0, top + PANEL_HEIGHT / 2.0);
        let turned = format!(r#" fill="{FAINT}" transform="rotate(-90 {x} {y})""#);
        self.text(x, y, Anchor::Middle, &turned, axis);
    }

    /// A labelled place on the horizontal axis, and the end of the panel.
    fn tick(&mut self, x: f64, bottom: f64, label: &str) {
        self.line((x, bottom - PANEL_HEIGHT), (x, bottom), GRID, "");
        self.line((x, bottom), (x, bottom + 5.0), INK, "");
        self.text(x, bottom + 20.0, Anchor::Middle, "", label);
    }

    fn base(&mut self, bottom: f64, axis: &str) {
        self.line((LEFT, bottom), (RIGHT, bottom), INK, "");
        let faint = format!(r#" fill="{FAINT}""#);
        self.text(f64::midpoint(LEFT, RIGHT), bottom + 40.0, Anchor::Middle, &faint, axis);
    }

    fn delays(&mut self, top: f64, outcomes: &[Outcome], bounds: &[f64]) {
        let bottom = top + PANEL_HEIGHT;
        let ticks: Vec<_> = (0..=5)
            .map(|fifth| (f64::from(fifth) / 5.0, format!("{} %", fifth * 20)))
            .collect();
        self.frame(
            top,
            "How soon photos of visits in progress were found",
            &ticks,
            "share found",
        );
        for (delay, label) in DELAYS {
            self.tick(delay_x(delay), bottom, label);
        }
        self.base(
            bottom,
            "time since the photo was filed (logarithmic); the dot is the mean",
        );
        for bound in bounds {
            let x = delay_x(*bound);
            self.line((x, top), (x, bottom), INK, BOUND_STYLE);
        }
        for (number, outcome) in outcomes.iter().enumerate() {
            let mut delays = outcome.live_delays.clone();
            delays.retain(|delay| delay.is_finite());
            delays.sort_by(f64::total_cmp);
            if delays.is_empty() {
                continue;
            }
            // A delay of a day stands for one that was not found.
            let y = |seconds: f64| {
                let found = delays.partition_point(|delay| *delay <= seconds && *delay < DAY);
                bottom - found as f64 / delays.len() as f64 * PANEL_HEIGHT
            };
            let steps = (RIGHT - LEFT) as u32;
            let points: Vec<_> = (0..=steps)
                .map(|step| {
                    let share = f64::from(step) / f64::from(steps);
                    let seconds = SOONEST * (DAY / SOONEST).powf(share);
                    (LEFT + share * (RIGHT - LEFT), y(seconds))
                })
                .collect();
            self.path(&points, number, 2.0);
            let mean = outcome.live.mean_s;
            if mean.is_finite() {
                _ = writeln!(
                    self.svg,
                    r##"<circle cx="{:.1}" cy="{:.1}" r="5" fill="{}" stroke="#ffffff" stroke-width="1.5"/>"##,
                    delay_x(mean),
                    y(mean),
                    colour(number)
                );
            }
        }
    }

    fn calls(&mut self, top: f64, outcomes: &[Outcome], budgets: &[f64]) {
        let bottom = top + PANEL_HEIGHT;
        let a_minute = |counts: &[u32; 4]| counts.iter().map(|count| f64::from(*count)).sum::<f64>() / QUARTER_MINUTES;
        let called = outcomes
            .iter()
            .flat_map(|outcome| &outcome.calls_over_day)
            .map(a_minute);
        let most = called.chain(budgets.iter().copied()).fold(1.0, f64::max);
        let step = nice_step(most);
        let steps = (most * 1.02 / step).ceil();
        let ticks: Vec<_> = (0..=steps as u32)
            .map(|number| {
                let value = f64::from(number) * step;
                let label = if step < 1.0 {
                    format!("{value:.1}")
                } else {
                    grouped(value)
                };
                (f64::from(number) / steps, label)
            })
            .collect();
        self.frame(top, "Calls of all kinds over the day", &ticks, "calls a minute");
        for hours in (0..=24).step_by(3) {
            let x = LEFT + f64::from(hours as u32) / 24.0 * (RIGHT - LEFT);
            self.tick(x, bottom, &format!("{:02}:00", (DAY_BEGINS + hours) % 24));
        }
        self.base(bottom, "time of day 1, US Eastern; means of a quarter of an hour");
        let y = |value: f64| bottom - value / (steps * step) * PANEL_HEIGHT;
        for budget in budgets {
            self.line((LEFT, y(*budget)), (RIGHT, y(*budget)), INK, BUDGET_STYLE);
        }
        // The first on top, the others wider: where they coincide all of them are seen.
        for (number, outcome) in outcomes.iter().enumerate().rev() {
            let quarters = outcome.calls_over_day.len() as f64;
            let x = |quarter: f64| LEFT + quarter / quarters * (RIGHT - LEFT);
            let points: Vec<_> = outcome
                .calls_over_day
                .iter()
                .enumerate()
                .flat_map(|(quarter, counts)| {
                    let (quarter, y) = (quarter as f64, y(a_minute(counts)));
                    [(x(quarter), y), (x(quarter + 1.0), y)]
                })
                .collect();
            self.path(&points, number, 1.8 + 1.1 * number.min(2) as f64);
        }
    }
}

const BOUND_STYLE: &str = r#" stroke-width="1.5" stroke-dasharray="6 4""#;
const BUDGET_STYLE: &str = r#" stroke-width="1.5" stroke-dasharray="2 3""#;

/// Text as XML has it.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => formatter.write_str("&amp;")?,
                '<' => formatter.write_str("&lt;")?,
                '>' => formatter.write_str("&gt;")?,
                letter if letter.is_control() => formatter.write_char(' ')?,
                letter => formatter.write_char(letter)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::outcome::{CallCounts, Ledger, LiveDelay},
        *,
    };

    fn outcome(policy: &str, hint: f64, delays: &[f64]) -> Outcome {
        Outcome {
            policy: policy.to_owned(),
            search: "patient".to_owned(),
            firms: 10,
            budget_per_minute: 250,
            hint,
            live: LiveDelay {
                mean_s: delays.iter().sum::<f64>() / delays.len() as f64,
                p50_s: 1.0,
                p90_s: 10.0,
                p99_s: 100.0,
            },
            weighted_mean_s: 12.3,
            lower_bound_s: Some(12.0),
            missed: 0,
            detected_in_progress: 0.98,
            calls: CallCounts {
                encounter: 4_000,
                document: 100_000,
                read: 1_234,
                draft: 1_234,
            },
            calls_per_document: 85.0,
            over_quota: 0,
            worst_over_median_firm: 1.2,
            wall_s: 1.0,
            live_delays: delays.to_vec(),
            calls_over_day: vec![[10, 3000, 20, 20]; 96],
            firm_delays: Vec::new(),
            weighted: Vec::new(),
            learned: skin_assist_core::polling::Learned::default(),
            photos: Vec::new(),
            ledger: Ledger::default(),
        }
    }

    fn texts(svg: &str) -> Vec<String> {
        let document = roxmltree::Document::parse(svg).unwrap();
        let root = document.root_element();
        assert_eq!(root.tag_name().namespace(), Some("http://www.w3.org/2000/svg"));
        document
            .descendants()
            .filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "text")))
            .filter_map(|node| node.text())
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn it_is_xml_and_names_every_policy() {
        let outcomes = [
            outcome("adaptive", 0.0, &[0.5, 12.0, 40.0]),
            outcome("round-robin", 0.0, &[200.0, 3.0, 86_400.0]),
        ];
        let svg = plot("Ten practices & <one> key", &outcomes);
        let texts = texts(&svg);
        for text in [
            "Ten practices & <one> key",
            "adaptive",
            "round-robin",
            "292,800",
            "12.0 s",
            "17.5 s",
        ] {
            assert!(texts.iter().any(|found| found == text), "{text} is not in {texts:?}");
        }
        for number in ["NaN", "inf"] {
            assert!(!svg.contains(number));
        }
    }

    #[test]
    fn what_tells_outcomes_apart_is_in_their_names() {
        let texts = texts(&plot(
            "Hints",
            &[outcome("adaptive", 0.0, &[1.0]), outcome("adaptive", 0.5, &[1.0])],
        ));
        assert!(texts.iter().any(|text| text == "adaptive, hint 0.5"));
    }

    #[test]
    fn odd_outcomes_are_drawn_without_odd_numbers() {
        let mut nothing = outcome("adaptive", 0.0, &[]);
        nothing.calls_over_day = Vec::new();
        nothing.live.mean_s = f64::NAN;
        nothing.weighted_mean_s = f64::INFINITY;
        nothing.lower_bound_s = None;
        for outcomes in [vec![nothing.clone()], vec![nothing; 20], Vec::new()] {
            let svg = plot("Nothing", &outcomes);
            texts(&svg);
            for number in ["NaN", "inf"] {
                assert!(!svg.contains(number));
            }
        }
    }

    #[test]
    fn ticks_are_at_round_numbers() {
        for (most, step) in [
            (1000.0, 200.0),
            (250.0, 50.0),
            (100.0, 20.0),
            (6.0, 1.0),
            (1.0, 0.2),
            (3100.0, 1000.0),
        ] {
            let found = nice_step(most);
            assert!((found / step - 1.0).abs() < 1e-9, "{found} for {most}");
        }
    }
}
