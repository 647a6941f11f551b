//! `cargo xtask aws-cost`: what a deployment costs for a firm and month, from what was counted and a dated table of prices.
//!
//! The example `aws_cost` runs the deployment's functions on a simulated clinic day with the state in an emulator, and counts
//! for an hour of the clinic and an hour of the night: invocations and how long they last, units of capacity as the
//! emulator says that DynamoDB takes them, photos. A month is so many hours of each kind.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use serde_json::Value;

use crate::{
    dynoxide,
    process::{cargo, output, root},
};

const REPORT: &str = "docs/benchmarks/aws-cost.md";
const PRICES: &str = "deploy/aws/prices.json";
const TEMPLATE: &str = "deploy/aws/template.yaml";

/// Hours of a month with clinic, and without: 22 days of 11 hours, since practices lie in several time zones.
const BUSY_HOURS: f64 = 242.0;
const NIGHT_HOURS: f64 = 730.0 - BUSY_HOURS;

const CALLS_PER_MINUTE: u32 = 1000;

/// How long a request to DynamoDB takes: the simulated clock does not count it. They are taken to follow one another.
const REQUEST_SECONDS: f64 = 0.005;

/// Memory with which a function has one whole processor, in MB (AWS Lambda Developer Guide, "Configure Lambda function memory").
const MEMORY_OF_A_PROCESSOR: f64 = 1769.0;

/// What a function's own lines and the platform's take in a log, for an invocation: assumed.
const LOG_BYTES: f64 = 600.0;

/// Numbers of practices that are run, and how many minutes of each kind of hour are counted.
const RUNS: [(u32, u32); 3] = [(1, 60), (10, 60), (100, 10)];

/// The number of practices for which the counts are extrapolated.
const MOST_FIRMS: f64 = 1000.0;

/// What a call to the EHR sends out of AWS, in bytes: assumed.
const BYTES_OF_A_CALL: f64 = 2000.0;

/// Requests to the key for a photo and its draft: assumed. Tables and the bucket keep what they got for minutes.
const KEY_REQUESTS_OF_A_PHOTO: f64 = 12.0;

/// Where what was counted is kept, by the number of practices.
const COUNTED: &str = "target/bench/aws-cost";

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counting {
    /// Everything, and the report is written.
    All,
    /// One practice, and nothing is written.
    One,
    /// Nothing: the report is written from what was counted before.
    Nothing,
}

/// Runs and writes the report.
pub(crate) fn run(counting: Counting) -> Result<(), String> {
    let prices = Prices::read()?;
    let template = fs::read_to_string(root().join(TEMPLATE)).map_err(|error| format!("{TEMPLATE}: {error}"))?;
    let memory = memory_of_functions(&template)?;
    let [shard, price, sweep] =
        ["ShardSize", "PollingLeastPrice", "SweepSeconds"].map(|name| parameter_default(&template, name));
    let (shard, price, sweep) = (shard?, price?, sweep?);
    let mut bills = Vec::new();
    for (firms, minutes) in if counting == Counting::One {
        &RUNS[..1]
    } else {
        &RUNS[..]
    } {
        let kept = root().join(COUNTED).join(format!("{firms}.json"));
        println!("==> {firms} practices on {CALLS_PER_MINUTE} calls a minute, {shard} in a shard, {minutes} minutes");
        let printed = if counting == Counting::Nothing {
            fs::read_to_string(&kept).map_err(|error| format!("{} cannot be read: {error}", kept.display()))?
        } else {
            count([f64::from(*firms), shard, price, sweep, f64::from(*minutes)], &kept)?
        };
        let counted: Value =
            serde_json::from_str(&printed).map_err(|error| format!("aws_cost printed no JSON: {error}"))?;
        let bill = Bill::of(&counted, f64::from(*firms), f64::from(*minutes), &prices, &memory)?;
        println!("{}", bill.lines());
        bills.push(bill);
    }
    if counting != Counting::One {
        let text = report(&bills, &prices, &template, [shard, price, sweep])?;
        fs::write(root().join(REPORT), text).map_err(|error| format!("{REPORT} cannot be written: {error}"))?;
        println!("written to {REPORT}");
    }
    Ok(())
}

/// Runs the example, and keeps what it counted.
fn count([firms, shard, price, sweep, minutes]: [f64; 5], kept: &Path) -> Result<String, String> {
    let mut command = cargo("run --quiet --locked --package skin-assist --features servers --example aws_cost --");
    command.env(dynoxide::VARIABLE, dynoxide::find_or_install()?);
    let numbers = [firms, f64::from(CALLS_PER_MINUTE), shard, price, sweep, minutes];
    command.args(numbers.map(|number| number.to_string()));
    let printed = output(&mut command)?;
    let folder = kept.parent().map_or(Ok(()), fs::create_dir_all);
    folder
        .and_then(|()| fs::write(kept, &printed))
        .map_err(|error| format!("{} cannot be written: {error}", kept.display()))?;
    Ok(printed)
}

struct Prices(Value);

impl Prices {
    fn read() -> Result<Self, String> {
        let text = fs::read_to_string(root().join(PRICES)).map_err(|error| format!("{PRICES}: {error}"))?;
        serde_json::from_str(&text)
            .map(Self)
            .map_err(|error| format!("{PRICES} is not JSON: {error}"))
    }

    fn of(&self, what: &str) -> Result<f64, String> {
        self.0[what]
            .as_f64()
            .ok_or_else(|| format!("{PRICES} has no price `{what}`"))
    }

    fn text(&self, what: &str) -> &str {
        self.0[what].as_str().unwrap_or_default()
    }
}

/// Memory in MB by handler.
fn memory_of_functions(template: &str) -> Result<BTreeMap<String, f64>, String> {
    let mut memory = BTreeMap::new();
    let mut handler = None;
    for line in template.lines() {
        if let Some(name) = line.trim().strip_prefix("Handler: ") {
            handler = Some(name.to_owned());
        } else if let Some(size) = line.trim().strip_prefix("MemorySize: ") {
            let handler = handler
                .take()
                .ok_or("the template has a MemorySize before its Handler")?;
            let size = size.parse().map_err(|_| format!("MemorySize {size} is not a number"))?;
            memory.insert(handler, size);
        }
    }
    Ok(memory)
}

/// The default of a parameter of the template.
fn parameter_default(template: &str, name: &str) -> Result<f64, String> {
    let begin = format!("\n  {name}:\n");
    let block = template.split_once(&begin).map_or("", |(_, rest)| rest);
    block
        .lines()
        .find_map(|line| line.trim().strip_prefix("Default: "))
        .and_then(|text| text.trim_matches(['"', '\'']).parse().ok())
        .ok_or_else(|| format!("{TEMPLATE} has no default for {name}"))
}

/// Dollars for a month, all practices together, by what they are for.
#[derive(Debug, Clone, PartialEq)]
struct Bill {
    firms: f64,
    state_machine: f64,
    functions: f64,
    writes: f64,
    reads: f64,
    photos: f64,
    logs: f64,
    network: f64,
    key_requests: f64,
    calls: f64,
    /// The largest positions among the tables: what, dollars.
    largest: Vec<(String, f64)>,
}

/// A number counted in both kinds of hours, for a month.
fn monthly(counted: &Value, read: &dyn Fn(&Value) -> f64) -> f64 {
    BUSY_HOURS * read(&counted["busy"]) + NIGHT_HOURS * read(&counted["night"])
}

fn sum(map: &Value) -> f64 {
    map.as_object()
        .map_or(0.0, |map| map.values().filter_map(Value::as_f64).sum())
}

impl Bill {
    fn of(
        counted: &Value,
        firms: f64,
        minutes: f64,
        prices: &Prices,
        memory: &BTreeMap<String, f64>,
    ) -> Result<Self, String> {
        // Of an hour.
        let monthly = |counted: &Value, read: &dyn Fn(&Value) -> f64| monthly(counted, read) * 60.0 / minutes;
        let number = |value: &Value| value.as_f64().unwrap_or(0.0);
        let mut functions = 0.0;
        for (function, megabytes) in memory {
            let invocations = monthly(counted, &|hour| number(&hour["invocations"][function]));
            let seconds = monthly(counted, &|hour| {
                // A small function has a small part of a processor.
                let processor = number(&hour["processor_seconds"][function]) * MEMORY_OF_A_PROCESSOR / megabytes;
                number(&hour["seconds"][function]) + REQUEST_SECONDS * number(&hour["requests"][function]) + processor
            });
            functions += invocations * prices.of("lambda_request")?
                + seconds * megabytes / 1024.0 * prices.of("lambda_gb_second")?;
        }
        let executions = monthly(counted, &|hour| number(&hour["executions"]));
        let lasted = monthly(counted, &|hour| number(&hour["execution_seconds"]));
        let mut largest: BTreeMap<String, f64> = BTreeMap::new();
        for (kind, price, unit) in [
            ("write_units", "dynamodb_write_unit", "writes"),
            ("read_units", "dynamodb_read_unit", "reads"),
        ] {
            for hour in ["busy", "night"] {
                for name in counted[hour][kind].as_object().into_iter().flat_map(|map| map.keys()) {
                    let units = monthly(counted, &|hour| number(&hour[kind][name]));
                    largest.insert(format!("{name} ({unit})"), units * prices.of(price)?);
                }
            }
        }
        let mut largest: Vec<(String, f64)> = largest.into_iter().collect();
        largest.sort_by(|one, other| other.1.total_cmp(&one.1));
        largest.truncate(8);
        let photos = monthly(counted, &|hour| number(&hour["photos"]));
        let invocations = monthly(counted, &|hour| sum(&hour["invocations"]));
        let calls = monthly(counted, &|hour| number(&hour["calls"]));
        Ok(Self {
            firms,
            state_machine: executions * prices.of("express_execution")?
                + lasted * prices.of("express_gb")? * prices.of("express_gb_second")?,
            functions,
            writes: monthly(counted, &|hour| sum(&hour["write_units"])) * prices.of("dynamodb_write_unit")?,
            reads: monthly(counted, &|hour| sum(&hour["read_units"])) * prices.of("dynamodb_read_unit")?,
            photos: photos * (prices.of("s3_put")? + prices.of("s3_get")?),
            logs: invocations * LOG_BYTES / 1e9 * prices.of("log_gb")?,
            network: calls * BYTES_OF_A_CALL / 1e9 * prices.of("egress_gb")?,
            key_requests: photos * KEY_REQUESTS_OF_A_PHOTO * prices.of("key_request")?,
            calls,
            largest,
        })
    }

    /// On the straight line through two counts.
    fn extrapolated(fewer: &Self, more: &Self, firms: f64) -> Self {
        let on_the_line = |of: fn(&Self) -> f64| {
            let slope = (of(more) - of(fewer)) / (more.firms - fewer.firms);
            of(more) + slope * (firms - more.firms)
        };
        Self {
            firms,
            // A cycle lasts no longer than a minute, however many practices it serves.
            state_machine: more.state_machine,
            functions: on_the_line(|bill| bill.functions),
            writes: on_the_line(|bill| bill.writes),
            reads: on_the_line(|bill| bill.reads),
            photos: on_the_line(|bill| bill.photos),
            logs: on_the_line(|bill| bill.logs),
            network: on_the_line(|bill| bill.network),
            key_requests: on_the_line(|bill| bill.key_requests),
            calls: on_the_line(|bill| bill.calls),
            largest: Vec::new(),
        }
    }

    fn total(&self) -> f64 {
        self.state_machine + self.functions + self.writes + self.reads + self.photos
    }

    fn lines(&self) -> String {
        let mut lines = format!(
            "{} practices: ${:.2} a month, ${:.3} for each\n",
            self.firms,
            self.total(),
            self.total() / self.firms
        );
        for (name, dollars) in &self.largest {
            _ = writeln!(lines, "  ${dollars:.3} {name}");
        }
        lines
    }
}

fn report(bills: &[Bill], prices: &Prices, template: &str, [shard, price, sweep]: [f64; 3]) -> Result<String, String> {
    let [.., fewer, more] = bills else {
        return Err("two numbers of practices at least have to be counted".to_owned());
    };
    let extrapolated = Bill::extrapolated(fewer, more, MOST_FIRMS);
    let all: Vec<&Bill> = bills.iter().chain([&extrapolated]).collect();
    let minutes: Vec<String> = RUNS
        .iter()
        .map(|(firms, minutes)| format!("{minutes} minutes of {firms}"))
        .collect();
    let mut text = format!(
        "# What a deployment on AWS costs\n\n\
         Written by `cargo xtask aws-cost`; do not edit. Counted on a simulated clinic day of practices on {CALLS_PER_MINUTE} calls a minute\n\
         with the template's defaults ({shard} practices in a shard, sweeps of {sweep} s, calls that are worth {price} at least): each request to DynamoDB by the capacity that the emulator says it takes, each\n\
         invocation by its length. Prices: {}, {} ([prices.json](../../deploy/aws/prices.json)).\n\n\
         A month is {BUSY_HOURS:.0} hours like that from 11:00 on and {NIGHT_HOURS:.0} like that from 23:00 on, counted over {}. An invocation lasts as long as the EHR and the quota\n\
         let it wait, {:.0} ms for each request to DynamoDB, and the processor's time scaled to the function's share of a\n\
         processor, the practice EHR's work included: all of it on the high side. The models are left out.\n\
         {MOST_FIRMS:.0} practices are extrapolated on the straight line through {:.0} and {:.0}, also on the high side: all of them share the {CALLS_PER_MINUTE} calls a minute.\n\n\
         | practices | state machine | functions | writes | reads | photos | **all** | **for a practice** | the published design |\n\
         | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        prices.text("source"),
        prices.text("as_of"),
        minutes.join(", "),
        REQUEST_SECONDS * 1000.0,
        fewer.firms,
        more.firms,
    );
    let reference = prices.of("reference_firm_month")?;
    for bill in &all {
        let total = bill.total();
        _ = writeln!(
            text,
            "| {} | ${:.2} | ${:.2} | ${:.2} | ${:.2} | ${:.2} | **${total:.2}** | **${:.3}** | ${:.0} ({:.0} ×) |",
            bill.firms,
            bill.state_machine,
            bill.functions,
            bill.writes,
            bill.reads,
            bill.photos,
            total / bill.firms,
            reference * bill.firms,
            reference * bill.firms / total,
        );
    }
    beside(&mut text, &all, prices, template)?;
    text.push_str("\n## The largest positions among the tables\n");
    for bill in bills {
        _ = write!(
            text,
            "\n{} practices, {:.0} calls to the EHR a month:\n\n| function, operation, table | dollars a month |\n| --- | ---: |\n",
            bill.firms, bill.calls
        );
        for (name, dollars) in &bill.largest {
            _ = writeln!(text, "| {name} | {dollars:.2} |");
        }
    }
    Ok(text)
}

/// What is paid beside orchestration, compute and tables.
fn beside(text: &mut String, bills: &[&Bill], prices: &Prices, template: &str) -> Result<(), String> {
    let alarms = template.matches("Type: AWS::CloudWatch::Alarm").count() as f64;
    let own = metrics_of_filters(template);
    let (key, secret) = (prices.of("key_month")?, prices.of("secret_month")?);
    let (alarm, metric) = (prices.of("alarm_month")?, prices.of("metric_month")?);
    let cycles = 60.0 * (BUSY_HOURS + NIGHT_HOURS) * prices.of("schedule_invocation")?;
    let same = [
        ("the key".to_owned(), key),
        ("the secret".to_owned(), secret),
        (format!("{alarms:.0} alarms"), alarms * alarm),
        (
            format!("{own} metrics from logs, if all have values"),
            own as f64 * metric,
        ),
        ("the schedule".to_owned(), cycles),
    ];
    _ = write!(
        text,
        "\n## Beside it\n\n\
         In dollars a month. Logs: {LOG_BYTES:.0} bytes for an invocation; network: {BYTES_OF_A_CALL:.0} bytes to the EHR for each call; requests to the key: {KEY_REQUESTS_OF_A_PHOTO:.0} for a photo; all assumed.\n\n| |"
    );
    for bill in bills {
        _ = write!(text, " {} practices |", bill.firms);
    }
    text.push_str("\n| --- |");
    text.push_str(&" ---: |".repeat(bills.len()));
    let mut row = |name: &str, of: &dyn Fn(&Bill) -> f64, digits: usize| {
        _ = write!(text, "\n| {name} |");
        for bill in bills {
            _ = write!(text, " {:.digits$} |", of(bill));
        }
    };
    for (name, dollars) in &same {
        row(name, &|_| *dollars, 2);
    }
    row("requests to the key", &|bill| bill.key_requests, 2);
    row("logs", &|bill| bill.logs, 2);
    row("network", &|bill| bill.network, 2);
    let fixed: f64 = same.iter().map(|(_, dollars)| dollars).sum();
    let all = |bill: &Bill| fixed + bill.key_requests + bill.logs + bill.network;
    row("**all of this**", &all, 2);
    row("**for a practice**", &|bill| all(bill) / bill.firms, 3);
    row(
        "**with the table above**",
        &|bill| (all(bill) + bill.total()) / bill.firms,
        3,
    );
    text.push('\n');
    Ok(())
}

/// How many metrics the template makes out of logs.
fn metrics_of_filters(template: &str) -> usize {
    let names = template
        .split("Type: AWS::Logs::MetricFilter")
        .skip(1)
        .filter_map(|filter| filter.split_once("MetricName: ")?.1.lines().next());
    names.collect::<BTreeSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bill_adds_up() {
        let prices = Prices(json!({
            "express_execution": 1.0, "express_gb_second": 1.0, "express_gb": 0.5, "lambda_request": 2.0,
            "lambda_gb_second": 4.0, "dynamodb_write_unit": 3.0, "dynamodb_read_unit": 5.0, "s3_put": 7.0, "s3_get": 1.0,
            "log_gb": 0.0, "egress_gb": 0.0, "key_request": 0.0,
        }));
        let memory = BTreeMap::from([("f".to_owned(), 1024.0)]);
        let hour = json!({
            "invocations": {"f": 1}, "seconds": {"f": 10.0}, "processor_seconds": {"f": 0.0}, "requests": {"f": 0},
            "write_units": {"f PutItem T": 1.0}, "read_units": {"f GetItem T": 2.0}, "photos": 1, "executions": 1,
            "execution_seconds": 2.0, "calls": 3,
        });
        let counted = json!({ "busy": hour, "night": hour });
        let bill = Bill::of(&counted, 1.0, 60.0, &prices, &memory).unwrap();
        let of_an_hour =
            [bill.state_machine, bill.functions, bill.writes, bill.reads, bill.photos].map(|of| of / 730.0);
        for (found, expected) in of_an_hour.into_iter().zip([2.0, 42.0, 3.0, 10.0, 8.0]) {
            assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
        }
        assert_eq!(bill.largest[0].0, "f GetItem T (reads)");

        let of_half_an_hour = Bill::of(&counted, 2.0, 30.0, &prices, &memory).unwrap();
        assert!((of_half_an_hour.total() / bill.total() - 2.0).abs() < 1e-9);
        let many = Bill::extrapolated(&bill, &of_half_an_hour, 11.0);
        assert!(
            (many.functions / bill.functions - 11.0).abs() < 1e-9,
            "on the line through 1 and 2"
        );
        assert!(
            (many.state_machine / bill.state_machine - 2.0).abs() < 1e-9,
            "a cycle lasts no longer"
        );
    }

    #[test]
    fn the_template_says_what_functions_have() {
        let template = "Parameters:\n  ShardSize:\n    Type: Number\n    Default: 25\n  F:\n      Handler: a\n      MemorySize: 128\n";
        assert_eq!(
            memory_of_functions(template).unwrap(),
            BTreeMap::from([("a".to_owned(), 128.0)])
        );
        assert_eq!(parameter_default(template, "ShardSize"), Ok(25.0));
        assert!(parameter_default(template, "Other").is_err());
        assert!(memory_of_functions("MemorySize: 1").is_err());
        let filter = |name: &str| format!("    Type: AWS::Logs::MetricFilter\n      - MetricName: {name}\n");
        assert_eq!(metrics_of_filters(&[filter("a"), filter("b"), filter("a")].concat()), 2);
    }
}
