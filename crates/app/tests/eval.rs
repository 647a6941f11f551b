//! `skin-assist eval` on a collection whose truth is known because it was made up.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

#[path = "support/process.rs"]
mod process;

use std::{fmt::Write as _, path::Path};

use process::Installation;
use serde_json::Value;
use skin_assist_simulator::picture::{Condition, PictureParameters, render};

/// Of each of two skin types.
const PHOTOS: usize = 24;
/// No picture of these seeds took part in the training.
const FIRST_SEED: u64 = 88_000_000;

/// Photos of single lesions with their boxes. Those of skin type 6 are said to show what they do not, so that whoever is right
/// about them is counted wrong.
fn make(folder: &Path) {
    let mut table = "image_id,dx,age,sex,localization,fitzpatrick_skin_type,boxes\n".to_owned();
    std::fs::create_dir(folder.join("images")).unwrap();
    let conditions = [Condition::Melanoma, Condition::MelanocyticNevus];
    for number in 0..2 * PHOTOS {
        let shown = conditions[number % 2];
        let skin_type = if number < PHOTOS { "II" } else { "VI" };
        let said = if number < PHOTOS { number } else { number + 1 };
        let picture = render(&PictureParameters::new(
            FIRST_SEED + number as u64,
            Some(shown),
            320,
            240,
        ));
        std::fs::write(folder.join(format!("images/P_{number}.JPG")), picture.to_jpeg(90, 1)).unwrap();
        let boxes: Vec<String> = picture
            .lesions
            .iter()
            .map(|area| format!("{} {} {} {}", area.x, area.y, area.width, area.height))
            .collect();
        let dx = ["mel", "nv"][said % 2];
        let age = 5 * (number % 18);
        _ = writeln!(
            table,
            "P_{number},{dx},{age},female,back,{skin_type},{}",
            boxes.join(";")
        );
    }
    table.push_str("P_missing,mel,50,male,back,II,\nP_0,wart,50,male,,,\n");
    std::fs::write(folder.join("truth.csv"), table).unwrap();
}

#[test]
fn a_made_up_collection_is_evaluated_as_it_was_made() {
    let installation = Installation::new();
    let folder = installation.path("collection");
    std::fs::create_dir(&folder).unwrap();
    make(&folder);
    let dataset = folder.to_str().unwrap().to_owned();
    let report = installation.path("report.html");
    let arguments = ["eval", "--dataset", &dataset, "--route", "solitary", "--json"];
    let found = installation.json(&arguments);

    assert_eq!(found["all"]["photos"], 2 * PHOTOS);
    assert_eq!(found["unknown_conditions"]["wart"], 1);
    let top_1 = |value: &str| {
        let groups = found["groups"].as_array().unwrap();
        let group = groups
            .iter()
            .find(|group| group["attribute"] == "skin-type" && group["value"] == value);
        let figures = &group.unwrap()["figures"];
        assert_eq!(figures["photos"], PHOTOS);
        figures["top_1"]["value"].as_f64().unwrap()
    };
    // The models know better than by chance what is shown, so they are wrong where the table is.
    assert!(top_1("2") >= 0.7, "{}", top_1("2"));
    assert!(top_1("6") <= 0.3, "{}", top_1("6"));
    let worst = &found["worst_group"];
    assert_eq!(
        (&worst["attribute"], &worst["value"]),
        (&"skin-type".into(), &"6".into())
    );
    assert!(worst["below_all"].as_f64().unwrap() > 0.2, "{worst}");
    let all = &found["all"]["top_1"];
    let number = |key: &str| all[key].as_f64().unwrap();
    assert!(
        number("low") < number("value") && number("value") < number("high"),
        "{all}"
    );
    let detector = &found["detector"];
    assert!(detector["lesions"].as_u64().unwrap() >= 2 * PHOTOS as u64, "{detector}");
    assert!(detector["average_precision_50"].as_f64().unwrap() > 0.5, "{detector}");

    // Ended in the midst of it: the results file is cut off, and the rest is seen again with the same outcome.
    let results = folder.join("skin-assist-eval-solitary.jsonl");
    let text = std::fs::read_to_string(&results).unwrap();
    std::fs::write(&results, &text[..text.len() / 2]).unwrap();
    assert_eq!(installation.json(&arguments), found);
    // What was seen is not looked at again: a photo that is spoilt meanwhile, at its length, changes nothing.
    let photo = folder.join("images/P_3.JPG");
    let length = std::fs::metadata(&photo).unwrap().len();
    std::fs::write(&photo, vec![0; usize::try_from(length).unwrap()]).unwrap();
    assert_eq!(installation.json(&arguments), found);
    // A file of another length is another photo.
    std::fs::write(&photo, b"words").unwrap();
    let spoilt = installation.json(&arguments);
    assert_eq!(spoilt["refused"]["photo.unsupported-format"], 1);

    let text = installation.succeed(&[&arguments[..5], &["--report", report.to_str().unwrap()]].concat());
    assert!(
        text.contains("Served worst: skin type 6") && text.contains("1 rows of the table"),
        "{text}"
    );
    let page = std::fs::read_to_string(&report).unwrap();
    assert_eq!(page.matches("<svg").count(), 2);
}

#[test]
fn a_collection_that_cannot_be_used_is_an_error_with_a_hint() {
    let installation = Installation::new();
    let folder = installation.path("collection");
    std::fs::create_dir(&folder).unwrap();
    let dataset = folder.to_str().unwrap().to_owned();
    let fails = || installation.fail(&["eval", "--dataset", &dataset, "--route", "solitary"]);
    assert!(fails().contains("there is no table"));
    let table = |text: &str| std::fs::write(folder.join("truth.csv"), text).unwrap();
    table("file,dx\na,mel\n");
    assert!(fails().contains("hint: there has to be one of image"));
    table("image,dx\na,mel\n");
    assert!(fails().contains("no photo of the table"));
    table("image,dx\na\n");
    assert!(fails().contains("row 2"));
    let error = installation.fail(&["eval", "--dataset", &dataset]);
    assert!(error.contains("--route"), "{error}");
    let json: Result<Value, _> = serde_json::from_str(&error);
    assert!(json.is_err(), "an error is for people");
}
