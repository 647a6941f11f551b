//! The report as one HTML file that needs nothing else: no script, no font, no picture from elsewhere. Names are escaped.

use std::fmt::Write as _;

use crate::{
    evaluation::{Evaluation, Figures, SMALLEST_COMPARED},
    statistics::Interval,
};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1f2328;background:#fff}\
table{border-collapse:collapse;margin:1rem 0}th,td{padding:.25rem .7rem;border-bottom:1px solid #e4e7eb;text-align:right}\
th:first-child,td:first-child{text-align:left}tr.worst td{background:#fdecea}.note{color:#6a737d}svg{max-width:100%;height:auto}";

const SIDE: f64 = 320.0;
const EDGE: f64 = 48.0;
const INK: &str = "#0072b2";

/// Draws the report. `title` names the collection.
pub fn report(title: &str, evaluation: &Evaluation) -> String {
    let mut page = String::new();
    let title = escaped(title);
    let models = escaped(&evaluation.models.join(", "));
    _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><title>{title}</title><style>{STYLE}</style></head>\n\
         <body><h1>{title}</h1>\n<p>{models} on {} photos, route {}. Intervals are 95 % (bootstrap). A photo without an answer \
         counts as a wrong answer. Not a clinical validation by itself.</p>\n",
        evaluation.all.photos, evaluation.route
    );
    worst(&mut page, evaluation);
    page.push_str("<h2>All photos</h2>\n<table>");
    figures_head(&mut page);
    figures_row(&mut page, "all", &evaluation.all, false);
    page.push_str("</table>\n");
    classes(&mut page, evaluation);
    groups(&mut page, evaluation);
    detector(&mut page, evaluation);
    reliability(&mut page, evaluation);
    abstention(&mut page, evaluation);
    left_out(&mut page, evaluation);
    page.push_str("</body></html>\n");
    page
}

fn worst(page: &mut String, evaluation: &Evaluation) {
    _ = match &evaluation.worst_group {
        Some(worst) => writeln!(
            page,
            "<p><b>Served worst: {} {}</b>, balanced accuracy {}, {} below all photos.</p>",
            worst.attribute.as_str(),
            escaped(&worst.value),
            percent(Some(worst.balanced_accuracy)),
            percent(Some(worst.below_all))
        ),
        None => writeln!(
            page,
            "<p><b>No group can be compared</b>: the table says of none which photos it has, or none has {SMALLEST_COMPARED}.</p>"
        ),
    };
}

fn figures_head(page: &mut String) {
    page.push_str(
        "<tr><th></th><th>photos</th><th>no answer</th><th>abstained</th><th>top 1</th><th>top 3</th><th>balanced accuracy</th>\
         <th>must-not-miss sensitivity</th><th>mean AUROC</th><th>ECE</th></tr>\n",
    );
}

fn figures_row(page: &mut String, name: &str, figures: &Figures, is_worst: bool) {
    _ = writeln!(
        page,
        "<tr{}><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
        if is_worst { " class=\"worst\"" } else { "" },
        escaped(name),
        figures.photos,
        figures.unanswered,
        figures.abstained,
        interval(figures.top_1),
        percent(figures.top_3),
        interval(figures.balanced_accuracy),
        percent(figures.must_not_miss_sensitivity),
        number(figures.mean_auroc),
        number(figures.calibration_error)
    );
}

fn classes(page: &mut String, evaluation: &Evaluation) {
    page.push_str(
        "<h2>By condition</h2>\n<table><tr><th></th><th>photos</th><th>sensitivity</th><th>specificity</th><th>AUROC</th></tr>\n",
    );
    for class in &evaluation.classes {
        _ = writeln!(
            page,
            "<tr><td>{}{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escaped(&class.display),
            if class.must_not_miss {
                " (must not be missed)"
            } else {
                ""
            },
            class.photos,
            interval(class.sensitivity),
            interval(class.specificity),
            number(class.auroc)
        );
    }
    page.push_str("</table>\n");
}

fn groups(page: &mut String, evaluation: &Evaluation) {
    if evaluation.groups.is_empty() {
        return;
    }
    page.push_str("<h2>By group of patients</h2>\n<table>");
    figures_head(page);
    for group in &evaluation.groups {
        let is_worst = evaluation
            .worst_group
            .as_ref()
            .is_some_and(|worst| (worst.attribute, &worst.value) == (group.attribute, &group.value));
        let name = format!("{} {}", group.attribute.as_str(), group.value);
        figures_row(page, &name, &group.figures, is_worst);
    }
    _ = writeln!(
        page,
        "</table>\n<p class=\"note\">Groups of fewer than {SMALLEST_COMPARED} photos are not compared.</p>"
    );
}

fn detector(page: &mut String, evaluation: &Evaluation) {
    let Some(detector) = &evaluation.detector else { return };
    _ = writeln!(
        page,
        "<h2>Finding lesions</h2>\n<p>{} lesions on {} photos: average precision {} at an overlap of 0.5, mean {} at 0.50 to 0.95; \
         recall {}; {} false detections a photo.</p>",
        detector.lesions,
        detector.photos,
        number(detector.average_precision_50),
        number(detector.mean_average_precision),
        percent(detector.recall_50),
        number(detector.false_per_photo)
    );
}

/// The frame of a plot from 0 to 1 in both directions.
fn frame(page: &mut String, title: &str, across: &str, up: &str) {
    let whole = SIDE + 2.0 * EDGE;
    _ = writeln!(
        page,
        "<h2>{title}</h2>\n<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {whole} {whole}\" width=\"{whole}\" role=\"img\" \
         aria-label=\"{title}\" font-family=\"system-ui,sans-serif\" font-size=\"12\">"
    );
    for tenth in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let (x, y) = place(tenth, tenth);
        _ = writeln!(
            page,
            "<path d=\"M{EDGE} {y}H{}M{x} {EDGE}V{}\" stroke=\"#e4e7eb\" fill=\"none\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{tenth}</text><text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{tenth}</text>",
            EDGE + SIDE,
            EDGE + SIDE,
            EDGE - 6.0,
            y + 4.0,
            EDGE + SIDE + 16.0
        );
    }
    _ = writeln!(
        page,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{across}</text><text x=\"{EDGE}\" y=\"{}\">{up}</text>",
        EDGE + SIDE / 2.0,
        whole - 8.0,
        EDGE - 12.0
    );
}

fn place(across: f64, up: f64) -> (f64, f64) {
    (EDGE + across * SIDE, EDGE + (1.0 - up) * SIDE)
}

fn reliability(page: &mut String, evaluation: &Evaluation) {
    let Some(calibration) = &evaluation.calibration else {
        return;
    };
    frame(page, "Reliability", "confidence", "share that is right");
    let ((x1, y1), (x2, y2)) = (place(0.0, 0.0), place(1.0, 1.0));
    _ = writeln!(
        page,
        "<path d=\"M{x1} {y1}L{x2} {y2}\" stroke=\"#6a737d\" stroke-dasharray=\"4 4\"/>"
    );
    let most = calibration.bins.iter().map(|bin| bin.cases).max().unwrap_or(1);
    for bin in &calibration.bins {
        let (x, y) = place(bin.confidence, bin.accuracy);
        let radius = 3.0 + 9.0 * (bin.cases as f64 / most as f64).sqrt();
        _ = writeln!(
            page,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\" fill=\"{INK}\" fill-opacity=\"0.7\"><title>{} photos</title></circle>",
            bin.cases
        );
    }
    _ = writeln!(
        page,
        "</svg>\n<p class=\"note\">Expected calibration error {}. On the dashed line confidence is what it says.</p>",
        number(Some(calibration.expected_error))
    );
}

fn abstention(page: &mut String, evaluation: &Evaluation) {
    if evaluation.abstention_curve.is_empty() {
        return;
    }
    frame(
        page,
        "Abstention",
        "share of photos that are answered",
        "share of answers that are right",
    );
    let mut path = String::new();
    for (index, point) in evaluation.abstention_curve.iter().enumerate() {
        let (x, y) = place(point.coverage, point.accuracy);
        _ = write!(path, "{}{x:.1} {y:.1}", if index == 0 { "M" } else { "L" });
    }
    _ = writeln!(
        page,
        "<path d=\"{path}\" stroke=\"{INK}\" stroke-width=\"2\" fill=\"none\"/></svg>\n<p class=\"note\">From all answers, on the \
         right, to only the most confident ones.</p>"
    );
}

fn left_out(page: &mut String, evaluation: &Evaluation) {
    let list = |entries: &std::collections::BTreeMap<String, usize>| {
        let entries = entries
            .iter()
            .map(|(name, count)| format!("{} ({count})", escaped(name)));
        entries.collect::<Vec<_>>().join(", ")
    };
    if !evaluation.refused.is_empty() {
        _ = writeln!(page, "<p>Refused: {}.</p>", list(&evaluation.refused));
    }
    if !evaluation.unknown_conditions.is_empty() {
        let unknown = list(&evaluation.unknown_conditions);
        _ = writeln!(
            page,
            "<p>Left out, since the models do not know the condition: {unknown}.</p>"
        );
    }
}

/// A share as people read it, or a dash.
pub fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{:.1} %", value * 100.0))
}

/// A share with its interval.
pub fn interval(interval: Option<Interval>) -> String {
    interval.map_or_else(
        || "-".to_owned(),
        |Interval { value, low, high }| format!("{:.1} % ({:.1} to {:.1})", value * 100.0, low * 100.0, high * 100.0),
    )
}

/// A number of three places, or a dash.
pub fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use skin_assist_core::domain::{Label, NormalisedBox, Route};

    use super::*;
    use crate::{
        dataset::{Attribute, Photo},
        evaluation::{Outcome, evaluate},
    };

    #[test]
    fn the_report_is_whole_well_formed_and_needs_nothing_else() {
        let area = NormalisedBox {
            x: 0.2,
            y: 0.2,
            width: 0.4,
            height: 0.4,
        };
        let photo = Photo {
            image: "a".to_owned(),
            label: "nevus".to_owned(),
            boxes: Some(vec![area]),
            groups: BTreeMap::from([(Attribute::Site, "<script>alert(1)</script>".to_owned())]),
        };
        let outcome = Outcome::Looked {
            ranked: vec![("nevus".to_owned(), 0.7)],
            regions: vec![(area, 0.9)],
            abstention: None,
        };
        let label = Label {
            id: "nevus".to_owned(),
            display: "Nevus & Co".to_owned(),
            snomed_ct: String::new(),
            icd_10_cm: None,
            must_not_miss: true,
        };
        let seen = vec![(photo, outcome); SMALLEST_COMPARED];
        let evaluation = evaluate(Route::Solitary, vec!["pack 1".to_owned()], &[label], &seen, 1);
        let page = report("a \"collection\"", &evaluation);
        let body = page.strip_prefix("<!DOCTYPE html>\n").unwrap();
        let document = roxmltree::Document::parse(body).unwrap();
        let count = |name: &str| document.descendants().filter(|node| node.has_tag_name(name)).count();
        assert_eq!((count("script"), count("link"), count("img")), (0, 0, 0));
        let plots = document.descendants().filter(|node| node.tag_name().name() == "svg");
        assert_eq!(plots.count(), 2, "reliability and abstention");
        for text in [
            "Served worst: site &lt;script&gt;",
            "Nevus &amp; Co",
            "100.0 % (100.0 to 100.0)",
            "Finding lesions",
        ] {
            assert!(page.contains(text), "{text}");
        }
        assert!(!page.contains("url(") && !page.contains("NaN"));
        assert_eq!(
            (number(None), percent(None), interval(None)),
            ("-".into(), "-".into(), "-".into())
        );
    }
}
