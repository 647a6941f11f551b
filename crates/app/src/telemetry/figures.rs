//! The metrics of `/metrics` as OpenTelemetry has them: one source, two forms.
//!
//! What is read is what `prometheus-client` writes, OpenMetrics text 1.0; a family becomes a metric of its name, without the suffixes
//! that only the text needs.
//! <https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/>

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::attribute;

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`: counted since the start.
const CUMULATIVE: u8 = 2;

/// A family of samples.
#[derive(Debug, Default)]
struct Family<'a> {
    kind: &'a str,
    help: &'a str,
    unit: &'a str,
    samples: Vec<Sample<'a>>,
}

#[derive(Debug)]
struct Sample<'a> {
    /// What its name has behind the family's: `_total`, `_bucket`, ...
    suffix: &'a str,
    labels: Vec<(&'a str, String)>,
    value: f64,
}

/// The metrics of an OpenMetrics text, of a process that began at `began` and whose figures are of `now`, both in nanoseconds since the Unix
/// epoch. None where it is no such text.
pub(super) fn metrics(text: &str, began: &str, now: &str) -> Option<Vec<Value>> {
    let mut families: Vec<(&str, Family<'_>)> = Vec::new();
    for line in text.lines() {
        if let Some(meta) = line.strip_prefix("# ") {
            let mut words = meta.splitn(3, ' ');
            let (word, name, rest) = (words.next()?, words.next(), words.next().unwrap_or_default());
            let Some(name) = name else { continue };
            if families.last().is_none_or(|(last, _)| *last != name) {
                families.push((name, Family::default()));
            }
            let (_, family) = families.last_mut()?;
            match word {
                "TYPE" => family.kind = rest,
                "HELP" => family.help = rest,
                "UNIT" => family.unit = rest,
                _ => {}
            }
            continue;
        }
        let (name, family) = families.last_mut()?;
        family.samples.push(sample(line.strip_prefix(*name)?)?);
    }
    let families = families.into_iter().filter(|(_, family)| !family.samples.is_empty());
    Some(families.map(|(name, family)| family.metric(name, began, now)).collect())
}

/// What follows the family's name: a suffix, labels, the value.
fn sample(text: &str) -> Option<Sample<'_>> {
    let (name, value) = text.rsplit_once(' ')?;
    let (suffix, mut rest) = match name.split_once('{') {
        Some((suffix, labels)) => (suffix, labels.strip_suffix('}')?),
        None => (name, ""),
    };
    let mut labels = Vec::new();
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"")?;
        let (value, after) = quoted(after)?;
        labels.push((label, value));
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    Some(Sample {
        suffix,
        labels,
        value: value.parse().ok()?,
    })
}

/// A label's value up to its closing quote, and what follows that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

impl Family<'_> {
    fn metric(&self, name: &str, began: &str, now: &str) -> Value {
        let unit = if self.unit == "seconds" {
            "s"
        } else if self.unit == "bytes" {
            "By"
        } else {
            self.unit
        };
        let mut metric = json!({"name": name, "description": self.help, "unit": unit});
        let point = |sample: &Sample<'_>| json!({"attributes": attributes(&sample.labels), "timeUnixNano": now, "asDouble": sample.value});
        let (data, value) = match self.kind {
            "counter" => {
                let points = self.samples.iter().map(|sample| {
                    let mut point = point(sample);
                    point["startTimeUnixNano"] = json!(began);
                    point
                });
                let points: Vec<_> = points.collect();
                (
                    "sum",
                    json!({"dataPoints": points, "aggregationTemporality": CUMULATIVE, "isMonotonic": true}),
                )
            }
            "histogram" => {
                let points = self.histograms(began, now);
                (
                    "histogram",
                    json!({"dataPoints": points, "aggregationTemporality": CUMULATIVE}),
                )
            }
            // A gauge, and what says something by its labels alone.
            _ => (
                "gauge",
                json!({"dataPoints": self.samples.iter().map(point).collect::<Vec<_>>()}),
            ),
        };
        metric[data] = value;
        metric
    }

    /// A point for each set of labels. The text counts what is up to each bound; here what is between two is counted.
    fn histograms(&self, began: &str, now: &str) -> Vec<Value> {
        #[derive(Default)]
        struct Histogram {
            sum: f64,
            count: u64,
            bounds: Vec<f64>,
            up_to: Vec<u64>,
        }
        let mut by_labels: BTreeMap<Vec<(&str, &str)>, Histogram> = BTreeMap::new();
        for sample in &self.samples {
            let mut labels: Vec<_> = sample
                .labels
                .iter()
                .map(|(label, value)| (*label, value.as_str()))
                .collect();
            let bound = labels
                .iter()
                .position(|(label, _)| *label == "le")
                .map(|at| labels.remove(at).1);
            let histogram = by_labels.entry(labels).or_default();
            match (sample.suffix, bound) {
                ("_sum", _) => histogram.sum = sample.value,
                ("_count", _) => histogram.count = sample.value as u64,
                (_, Some(bound)) => {
                    histogram.up_to.push(sample.value as u64);
                    histogram
                        .bounds
                        .extend(bound.parse::<f64>().ok().filter(|bound| bound.is_finite()));
                }
                _ => {}
            }
        }
        let points = by_labels.into_iter().map(|(labels, histogram)| {
            let below = std::iter::once(&0).chain(&histogram.up_to);
            let counts = histogram
                .up_to
                .iter()
                .zip(below)
                .map(|(up_to, below)| (up_to - below.min(up_to)).to_string());
            let labels: Vec<_> = labels
                .into_iter()
                .map(|(label, value)| (label, value.to_owned()))
                .collect();
            json!({
                "attributes": attributes(&labels),
                "startTimeUnixNano": began,
                "timeUnixNano": now,
                "count": histogram.count.to_string(),
                "sum": histogram.sum,
                "bucketCounts": counts.collect::<Vec<_>>(),
                "explicitBounds": histogram.bounds,
            })
        });
        points.collect()
    }
}

fn attributes(labels: &[(&str, String)]) -> Vec<Value> {
    labels.iter().map(|(label, value)| attribute(label, value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_family_becomes_a_metric() {
        let text = r#"# HELP oak_steps Steps.
# TYPE oak_steps counter
oak_steps_total{stage="infer",outcome="a \"b\\c\""} 3
oak_steps_total{stage="find",outcome=""} 0
# HELP oak_wait_seconds Waits.
# TYPE oak_wait_seconds histogram
# UNIT oak_wait_seconds seconds
oak_wait_seconds_sum{from="filed"} 7.5
oak_wait_seconds_count{from="filed"} 5
oak_wait_seconds_bucket{le="1.0",from="filed"} 2
oak_wait_seconds_bucket{le="2.5",from="filed"} 4
oak_wait_seconds_bucket{le="+Inf",from="filed"} 5
# HELP oak_pollers Who polls.
# TYPE oak_pollers gauge
oak_pollers 2
# HELP oak_empty Nothing yet.
# TYPE oak_empty gauge
# EOF
"#;
        let metrics = metrics(text, "10", "20").expect("a text");
        let names: Vec<_> = metrics.iter().map(|metric| metric["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["oak_steps", "oak_wait_seconds", "oak_pollers"]);
        let sum = &metrics[0]["sum"];
        assert_eq!(
            (&sum["isMonotonic"], &sum["aggregationTemporality"]),
            (&json!(true), &json!(2))
        );
        assert_eq!(
            sum["dataPoints"][0],
            json!({
                "attributes": [
                    {"key": "stage", "value": {"stringValue": "infer"}},
                    {"key": "outcome", "value": {"stringValue": "a \"b\\c\""}},
                ],
                "startTimeUnixNano": "10", "timeUnixNano": "20", "asDouble": 3.0,
            })
        );
        assert_eq!(metrics[1]["unit"], "s");
        assert_eq!(
            metrics[1]["histogram"]["dataPoints"],
            json!([{
                "attributes": [{"key": "from", "value": {"stringValue": "filed"}}],
                "startTimeUnixNano": "10", "timeUnixNano": "20",
                "count": "5", "sum": 7.5, "bucketCounts": ["2", "2", "1"], "explicitBounds": [1.0, 2.5],
            }])
        );
        assert_eq!(metrics[2]["gauge"]["dataPoints"][0]["asDouble"], 2.0);
        assert!(super::metrics("oak 1", "1", "2").is_none(), "a sample of no family");
    }
}
