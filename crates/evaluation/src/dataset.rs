//! What a collection's table says of its photos: the truth, and which group of patients they are of.
//!
//! The columns of the ISIC archive, of the ISIC challenges (one column a class), of HAM10000 and of Fitzpatrick17k are
//! recognised by their names. A column `boxes` may have lesions as `x y width height` in fractions of the upright image, several
//! separated by `;`.

use std::collections::BTreeMap;

use skin_assist_core::domain::NormalisedBox;

use crate::csv::Table;

/// A photo and its truth.
#[derive(Debug, Clone, PartialEq)]
pub struct Photo {
    /// Its file's name, with or without an ending.
    pub image: String,
    /// The condition, in the form of a pack's label.
    pub label: String,
    /// The lesions, where the table has them.
    pub boxes: Option<Vec<NormalisedBox>>,
    /// Which groups it is of: attribute and value.
    pub groups: BTreeMap<Attribute, String>,
}

/// By what photos are grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attribute {
    /// Fitzpatrick skin type, 1 to 6.
    SkinType,
    /// Sex.
    Sex,
    /// Age, in bands of twenty years.
    AgeBand,
    /// Where on the body.
    Site,
}

impl Attribute {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::SkinType, Self::Sex, Self::AgeBand, Self::Site];

    /// For people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SkinType => "skin type",
            Self::Sex => "sex",
            Self::AgeBand => "age",
            Self::Site => "site",
        }
    }
}

/// A table without what is needed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No column names the files.
    #[error("no column names the images")]
    NoImage,
    /// No column has the truth.
    #[error("no column has the diagnosis")]
    NoLabel,
    /// A box is none.
    #[error("row {row} of the table has a box that is none")]
    Box {
        /// Which, counted from 1.
        row: usize,
    },
}

impl Error {
    /// What a person can do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NoImage => "there has to be one of image, image_id, isic_id, md5hash and filename",
            Self::NoLabel => {
                "there has to be one of label, dx, diagnosis and diagnosis_3, or a column for each class as the ISIC challenges have them"
            }
            Self::Box { .. } => "a box is `x y width height` in fractions of the image; several are separated by `;`",
        }
    }
}

const IMAGES: &[&str] = &["image", "image_id", "isic_id", "md5hash", "filename", "image_name"];
const LABELS: &[&str] = &["label", "dx", "diagnosis", "diagnosis_3", "diagnosis_2"];
const SKIN_TYPES: &[&str] = &[
    "fitzpatrick_scale",
    "fitzpatrick_skin_type",
    "fitzpatrick",
    "skin_type",
    "fitzpatrick_centaur",
];
const SEXES: &[&str] = &["sex", "gender"];
const AGES: &[&str] = &["age_approx", "age"];
const SITES: &[&str] = &[
    "anatom_site_general",
    "anatom_site_general_challenge",
    "localization",
    "site",
];

/// The classes of the ISIC challenges, each a column.
const ONE_HOT: &[&str] = &["mel", "nv", "bcc", "akiec", "ak", "bkl", "df", "vasc", "scc", "unk"];

/// What collections call the conditions that the labels of packs have longer names for.
const SYNONYMS: &[(&str, &str)] = &[
    ("mel", "melanoma"),
    ("nv", "melanocytic-nevus"),
    ("nevus", "melanocytic-nevus"),
    ("bcc", "basal-cell-carcinoma"),
    ("akiec", "actinic-keratosis"),
    ("ak", "actinic-keratosis"),
    ("bkl", "seborrheic-keratosis"),
    ("df", "dermatofibroma"),
    ("vasc", "vascular-lesion"),
    ("scc", "squamous-cell-carcinoma"),
    ("unk", "unknown"),
];

/// A condition's name in the form of a pack's label: what collections call it, or what `renamed` says.
pub fn label(text: &str, renamed: &BTreeMap<String, String>) -> String {
    let plain: String = text
        .trim()
        .to_lowercase()
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("-");
    let synonym = SYNONYMS.iter().find(|(short, _)| *short == plain);
    let name = synonym.map_or(plain, |(_, name)| (*name).to_owned());
    renamed.get(&name).cloned().unwrap_or(name)
}

/// Reads a table. Rows without a diagnosis are left out.
pub fn photos(table: &Table, renamed: &BTreeMap<String, String>) -> Result<Vec<Photo>, Error> {
    let image = table.column(IMAGES).ok_or(Error::NoImage)?;
    let named = table.column(LABELS);
    let one_hot: Vec<usize> = ONE_HOT.iter().filter_map(|name| table.column(&[name])).collect();
    if named.is_none() && one_hot.len() < 2 {
        return Err(Error::NoLabel);
    }
    let boxes = table.column(&["boxes"]);
    let attributes = [
        (Attribute::SkinType, table.column(SKIN_TYPES)),
        (Attribute::Sex, table.column(SEXES)),
        (Attribute::AgeBand, table.column(AGES)),
        (Attribute::Site, table.column(SITES)),
    ];
    let mut photos = Vec::new();
    for (index, row) in table.rows.iter().enumerate() {
        let truth = match named {
            Some(column) => row[column].as_str(),
            None => one_hot
                .iter()
                .find(|column| row[**column].trim().parse() == Ok(1.0_f32))
                .map_or("", |column| table.columns[*column].as_str()),
        };
        let label = label(truth, renamed);
        if label.is_empty() {
            continue;
        }
        let boxes = match boxes {
            Some(column) => Some(read_boxes(&row[column]).ok_or(Error::Box { row: index + 2 })?),
            None => None,
        };
        let groups = attributes
            .iter()
            .filter_map(|(attribute, column)| Some((*attribute, group(*attribute, &row[(*column)?])?)));
        photos.push(Photo {
            image: row[image].trim().to_owned(),
            label,
            boxes,
            groups: groups.collect(),
        });
    }
    Ok(photos)
}

/// The group that a value stands for; none when it says that nobody knows.
fn group(attribute: Attribute, text: &str) -> Option<String> {
    let text = text.trim().to_lowercase();
    if ["", "unknown", "na", "n/a", "nan", "none", "-1"].contains(&text.as_str()) {
        return None;
    }
    match attribute {
        Attribute::SkinType => {
            // As Roman numbers in the archive, as numbers in Fitzpatrick17k; its -1 and 0 are not known.
            const ROMAN: [&str; 6] = ["i", "ii", "iii", "iv", "v", "vi"];
            let number = ROMAN.iter().position(|roman| *roman == text).map(|index| index + 1);
            let number = number.or_else(|| text.parse::<f32>().ok().map(|number| number as usize))?;
            (1..=6).contains(&number).then(|| number.to_string())
        }
        Attribute::AgeBand => {
            let age = text.parse::<f32>().ok().filter(|age| (0.0..=130.0).contains(age))?;
            let from = (age as u32 / 20).min(4) * 20;
            Some(if from == 80 {
                "80 and over".to_owned()
            } else {
                format!("{from} to {}", from + 19)
            })
        }
        Attribute::Sex | Attribute::Site => Some(text),
    }
}

fn read_boxes(text: &str) -> Option<Vec<NormalisedBox>> {
    let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let numbers: Vec<f32> = part.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
            let [x, y, width, height] = *numbers.as_slice() else {
                return None;
            };
            let is_fraction = numbers.iter().all(|number| (0.0..=1.0).contains(number));
            (is_fraction && width > 0.0 && height > 0.0).then_some(NormalisedBox { x, y, width, height })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Photo>, Error> {
        photos(&Table::read(text).unwrap(), &BTreeMap::new())
    }

    fn groups(photo: &Photo) -> Vec<(Attribute, &str)> {
        photo
            .groups
            .iter()
            .map(|(attribute, value)| (*attribute, value.as_str()))
            .collect()
    }

    #[test]
    fn ham10000_is_recognised() {
        let photos = read(
            "lesion_id,image_id,dx,dx_type,age,sex,localization\n\
             HAM_1,ISIC_0027419,bkl,histo,80.0,male,scalp\nHAM_2,ISIC_0025030,nv,histo,,unknown,back\n",
        )
        .unwrap();
        assert_eq!(photos[0].image, "ISIC_0027419");
        assert_eq!(photos[0].label, "seborrheic-keratosis");
        assert_eq!(
            groups(&photos[0]),
            [
                (Attribute::Sex, "male"),
                (Attribute::AgeBand, "80 and over"),
                (Attribute::Site, "scalp")
            ]
        );
        assert_eq!(groups(&photos[1]), [(Attribute::Site, "back")]);
    }

    #[test]
    fn the_isic_archive_and_its_challenges_are_recognised() {
        let archive = read(
            "isic_id,age_approx,anatom_site_general,diagnosis,fitzpatrick_skin_type,sex\n\
             ISIC_1,45,anterior torso,Basal cell carcinoma,IV,female\nISIC_2,45,,,II,male\n",
        )
        .unwrap();
        assert_eq!(archive.len(), 1, "without a diagnosis it tells nothing");
        assert_eq!(archive[0].label, "basal-cell-carcinoma");
        assert_eq!(archive[0].groups[&Attribute::SkinType], "4");
        assert_eq!(archive[0].groups[&Attribute::AgeBand], "40 to 59");
        let challenge = read("image,MEL,NV,BCC\nISIC_3,0.0,1.0,0.0\nISIC_4,1,0,0\n").unwrap();
        let labels: Vec<_> = challenge.iter().map(|photo| photo.label.as_str()).collect();
        assert_eq!(labels, ["melanocytic-nevus", "melanoma"]);
    }

    #[test]
    fn fitzpatrick17k_is_recognised() {
        let photos = read(
            ",md5hash,fitzpatrick_scale,fitzpatrick_centaur,label,nine_partition_label,three_partition_label,qc,url\n\
             0,5e82a4,3,3,drug induced pigmentary changes,inflammatory,non-neoplastic,,http://a.example/\n\
             1,fa2911,-1,-1,Psoriasis,inflammatory,non-neoplastic,,http://a.example/\n",
        )
        .unwrap();
        assert_eq!(
            (photos[0].image.as_str(), photos[0].label.as_str()),
            ("5e82a4", "drug-induced-pigmentary-changes")
        );
        assert_eq!(groups(&photos[0]), [(Attribute::SkinType, "3")]);
        assert_eq!(groups(&photos[1]), []);
    }

    #[test]
    fn labels_can_be_renamed_and_boxes_are_read() {
        let renamed = BTreeMap::from([("mole".to_owned(), "melanocytic-nevus".to_owned())]);
        assert_eq!(label(" Mole ", &renamed), "melanocytic-nevus");
        let photos = read("image,label,boxes\na,nv,0.1 0.2 0.3 0.4; 0 0 1 1\nb,nv,\n").unwrap();
        let boxes = photos[0].boxes.as_ref().unwrap();
        assert_eq!((boxes.len(), boxes[0].height), (2, 0.4));
        assert_eq!(photos[1].boxes, Some(Vec::new()), "none, and that is known");
        assert_eq!(read("image,label,boxes\na,nv,1 2 3\n"), Err(Error::Box { row: 2 }));
        assert_eq!(
            read("image,label,boxes\na,nv,10 20 30 40\n"),
            Err(Error::Box { row: 2 }),
            "pixels"
        );
        assert_eq!(read("file,label\na,nv\n"), Err(Error::NoImage));
        assert_eq!(read("image,age\na,5\n"), Err(Error::NoLabel));
    }
}
