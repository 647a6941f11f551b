//! A clinic to play: what happens when, from a seed.
//!
//! The shape of a clinic day, compressed: visits are lognormal with a median of 22 minutes and one in five stays open;
//! the first photo comes at a median of 11 minutes, in a burst of one to three; a few come after the visit is over. Some
//! attachments are no pictures, some photos are in a category that the practice does not want judged. The same seed and
//! options give the same script, event for event.

use std::{collections::BTreeMap, f64::consts::TAU, time::Duration};

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use crate::{
    clinic_days::{EventKind, Trace},
    picture::Condition,
    specification::{
        CategorySpec, DocumentSpec, EncounterSpec, EncounterStatus, ExpectedRoute, FirmSpec, PhotoContent, PhotoSpec,
        PractitionerSpec,
    },
};

/// What the clinic is like.
#[derive(Debug, Clone)]
pub struct ScriptOptions {
    /// How many practices.
    pub firms: usize,
    /// How many visits each of them has. The first two of each have photos, one for each route.
    pub visits_per_firm: usize,
    /// Everything happens within this time.
    pub duration: Duration,
    /// The share of the other visits that have photos.
    pub photo_share: f64,
    /// The share of visits to which a PDF is attached as well.
    pub document_share: f64,
    /// The share of visits to which a photo is attached that the practice does not want judged.
    pub ignored_share: f64,
    /// The share of photos that show clear skin.
    pub clear_share: f64,
    /// How often an attachment bumps the encounter's `lastUpdated`.
    pub touch_share: f64,
    /// Upright width of the photos in pixels.
    pub photo_width: u32,
    /// Upright height of the photos in pixels.
    pub photo_height: u32,
}

impl Default for ScriptOptions {
    fn default() -> Self {
        Self {
            firms: 2,
            visits_per_firm: 6,
            duration: Duration::from_hours(1),
            photo_share: 0.7,
            document_share: 0.3,
            ignored_share: 0.2,
            clear_share: 0.0,
            touch_share: 0.5,
            photo_width: 2_400,
            photo_height: 1_800,
        }
    }
}

impl ScriptOptions {
    /// How many seconds of a clinic pass in one of the script's: visits and photos are those of an hour, squeezed into the duration.
    pub fn pace(&self) -> f64 {
        Duration::from_hours(1).as_secs_f64() / self.duration.as_secs_f64()
    }
}

/// A clinic: its firms and what happens in them, in order of time.
#[derive(Debug, Clone)]
pub struct ClinicScript {
    /// The practices.
    pub firms: Vec<FirmSpec>,
    /// What happens, earliest first.
    pub events: Vec<ScriptEvent>,
}

/// Something that happens.
#[derive(Debug, Clone)]
pub struct ScriptEvent {
    /// When, from the script's start.
    pub at: Duration,
    /// The firm's URL prefix.
    pub firm: String,
    /// What.
    pub action: ScriptAction,
}

/// What happens.
#[derive(Debug, Clone)]
pub enum ScriptAction {
    /// A visit opens.
    Open(EncounterSpec),
    /// Something about a visit changes.
    Change {
        /// The Encounter's id.
        encounter: String,
    },
    /// A visit is over.
    Finish {
        /// The Encounter's id.
        encounter: String,
    },
    /// A photo is attached.
    AttachPhoto {
        /// The Encounter's id.
        encounter: String,
        /// The photo.
        photo: PhotoSpec,
    },
    /// A document that is no photo is attached.
    AttachDocument {
        /// The Encounter's id.
        encounter: String,
        /// The document.
        document: DocumentSpec,
    },
}

const PRACTICES: [(&str, &str); 6] = [
    ("harborview", "Harborview Dermatology (example)"),
    ("juniper", "Juniper Skin Clinic (example)"),
    ("lakeside", "Lakeside Dermatology (example)"),
    ("maple", "Maple Street Skin Care (example)"),
    ("northgate", "Northgate Dermatology (example)"),
    ("orchard", "Orchard Skin Associates (example)"),
];
const CLINICIANS: [(&str, &str); 6] = [
    ("Robin", "Example"),
    ("Sasha", "Specimen"),
    ("Terry", "Template"),
    ("Uma", "Mockford"),
    ("Val", "Placeholder"),
    ("Wren", "Demoson"),
];
const BODY_SITES: [&str; 10] = [
    "left forearm",
    "right forearm",
    "upper back",
    "lower back",
    "left shoulder",
    "right calf",
    "chest",
    "abdomen",
    "left thigh",
    "neck",
];

impl ClinicScript {
    /// The clinic that follows from the seed.
    pub fn generate(seed: u64, options: &ScriptOptions) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let firms: Vec<FirmSpec> = (0..options.firms).map(|number| firm(number, &mut random)).collect();
        let mut events = Vec::new();
        for firm in &firms {
            let mut day = Day {
                firm,
                options,
                random: &mut random,
                next_document: 139_977,
                events: &mut events,
            };
            for visit in 0..options.visits_per_firm {
                day.visit(visit);
            }
        }
        // Stable: what happens at the same time stays in the order in which it was made.
        events.sort_by_key(|event| event.at);
        Self { firms, events }
    }

    /// What a trace tells, as a script that begins at its first second: photos of this size in pixels, each of which bumps its
    /// visit's `lastUpdated` where its `u` is below `hint`.
    pub fn of_trace(trace: &Trace, seed: u64, hint: f64, photo_size: (u32, u32)) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut names = BTreeMap::new();
        let mut firms = Vec::new();
        let mut events = Vec::with_capacity(trace.events.len());
        for event in &trace.events {
            let place = *names.entry(event.firm).or_insert_with(|| {
                firms.push(firm(firms.len(), &mut random));
                firms.len() - 1
            });
            let firm: &FirmSpec = &firms[place];
            let encounter = (5_001 + event.enc).to_string();
            let action = match event.kind {
                EventKind::Open => ScriptAction::Open(EncounterSpec {
                    id: Some(encounter),
                    patient: Some((30_001 + event.pat).to_string()),
                    practitioner: firm
                        .practitioners
                        .get(event.prov as usize % firm.practitioners.len().max(1))
                        .map(|practitioner| practitioner.id.clone()),
                    status: EncounterStatus::InProgress,
                }),
                EventKind::Change => ScriptAction::Change { encounter },
                EventKind::Finish => ScriptAction::Finish { encounter },
                EventKind::Attach => {
                    let (route, conditions): (_, &[Condition]) = match event.cat.as_deref() {
                        Some("Widespread") => (ExpectedRoute::Widespread, Condition::WIDESPREAD),
                        _ => (ExpectedRoute::Solitary, Condition::SOLITARY),
                    };
                    let category = firm.category_for(route).unwrap_or_default();
                    let condition = conditions.choose(&mut random).copied();
                    let (width, height) = photo_size;
                    ScriptAction::AttachPhoto {
                        encounter,
                        photo: PhotoSpec {
                            id: event.doc.map(|document| format!("file|{document}")),
                            content: PhotoContent::Synthetic {
                                seed: random.random(),
                                condition,
                                width,
                                height,
                                orientation: 1,
                            },
                            touches_encounter: event.u.is_some_and(|u| u < hint),
                            ..PhotoSpec::synthetic(category, 0, None)
                        },
                    }
                }
            };
            events.push(ScriptEvent {
                at: Duration::from_secs_f64(event.t),
                firm: firm.prefix.clone(),
                action,
            });
        }
        Self { firms, events }
    }

    /// How many photos the practices want judged.
    pub fn expected_photos(&self) -> usize {
        let route = |firm: &str, code: &str| {
            self.firms
                .iter()
                .find(|known| known.prefix == firm)
                .and_then(|firm| firm.categories.iter().find(|category| category.code == code))
                .map_or(ExpectedRoute::Ignored, |category| category.route)
        };
        self.events
            .iter()
            .filter(|event| match &event.action {
                ScriptAction::AttachPhoto { photo, .. } => {
                    route(&event.firm, &photo.category) != ExpectedRoute::Ignored
                }
                _ => false,
            })
            .count()
    }
}

fn firm(number: usize, random: &mut ChaCha8Rng) -> FirmSpec {
    let (prefix, name) = PRACTICES[number % PRACTICES.len()];
    let round = number / PRACTICES.len();
    let prefix = if round == 0 {
        prefix.to_owned()
    } else {
        format!("{prefix}{}", round + 1)
    };
    let providers = random.random_range(2..=3);
    let first = random.random_range(0..CLINICIANS.len());
    // Each practice has its own words for the same things, as practices do.
    let (lesion, rash) = if number.is_multiple_of(2) {
        (
            ("PHOTO-LESION", "Clinical photo - lesion"),
            ("PHOTO-RASH", "Clinical photo - rash"),
        )
    } else {
        (("SPOTPIC", "Spot / mole image"), ("RASHPIC", "Rash or eruption image"))
    };
    FirmSpec {
        name: name.to_owned(),
        practitioners: (0..providers)
            .map(|index| {
                let (given, family) = CLINICIANS[(first + index) % CLINICIANS.len()];
                PractitionerSpec::new(&(201 + index).to_string(), given, family)
            })
            .collect(),
        categories: vec![
            CategorySpec::new(lesion.0, lesion.1, ExpectedRoute::Solitary),
            CategorySpec::new(rash.0, rash.1, ExpectedRoute::Widespread),
            CategorySpec::new("PHOTO-COSMETIC", "Cosmetic before/after", ExpectedRoute::Ignored),
            CategorySpec::new("PATH-REPORT", "Pathology report", ExpectedRoute::Ignored),
            CategorySpec::new("CONSENT", "Consent form", ExpectedRoute::Ignored),
        ],
        ..FirmSpec::new(&prefix)
    }
}

/// One firm's day while it is being made up. Times are shares of the script's duration until they are stored.
struct Day<'script> {
    firm: &'script FirmSpec,
    options: &'script ScriptOptions,
    random: &'script mut ChaCha8Rng,
    next_document: u64,
    events: &'script mut Vec<ScriptEvent>,
}

impl Day<'_> {
    fn visit(&mut self, number: usize) {
        let visits = self.options.visits_per_firm as f64;
        // Visits open in the first part, evenly but not to the second; the clinic's hour is squeezed into the duration.
        let opened = (number as f64 + self.random.random::<f64>()) / visits * 0.55;
        let minute = 1.0 / 60.0;
        let length = self.lognormal(22.0, 0.45) * minute;
        let stays_open = self.random.random_bool(0.2);
        let finished = opened + length;
        let encounter = (5_001 + number).to_string();
        let practitioner = self.pick_practitioner();
        self.push(
            opened,
            ScriptAction::Open(EncounterSpec {
                id: Some(encounter.clone()),
                patient: Some((30_001 + number).to_string()),
                practitioner,
                status: EncounterStatus::InProgress,
            }),
        );
        let route = self.route(number);
        let late = number >= 2 && self.random.random_bool(0.04);
        let first_photo = if late {
            finished + 2.0 * minute
        } else {
            opened + self.lognormal(11.0, 0.4) * minute
        };
        if let Some(route) = route {
            self.burst(&encounter, route, first_photo);
        }
        if self.random.random_bool(self.options.ignored_share) {
            let at = opened + self.random.random_range(1.0..8.0) * minute;
            let photo = self.photo("PHOTO-COSMETIC", None);
            self.push(at, attach(&encounter, photo));
        }
        if self.random.random_bool(self.options.document_share) {
            let at = opened + self.random.random_range(0.5..6.0) * minute;
            let (category, description) = *[
                ("PATH-REPORT", "Outside pathology report"),
                ("CONSENT", "Photography consent"),
            ]
            .choose(&mut *self.random)
            .unwrap_or(&("CONSENT", "Photography consent"));
            let document = DocumentSpec {
                id: Some(self.document_id()),
                touches_encounter: self.random.random_bool(self.options.touch_share),
                ..DocumentSpec::pdf(category, description)
            };
            self.push(
                at,
                ScriptAction::AttachDocument {
                    encounter: encounter.clone(),
                    document,
                },
            );
        }
        for _ in 0..self.random.random_range(0..=2) {
            let at = opened + self.random.random::<f64>() * length;
            self.push(
                at,
                ScriptAction::Change {
                    encounter: encounter.clone(),
                },
            );
        }
        if !stays_open {
            self.push(finished, ScriptAction::Finish { encounter });
        }
    }

    /// What is photographed at this visit: the first two visits show both routes, the others as it comes.
    fn route(&mut self, visit: usize) -> Option<ExpectedRoute> {
        match visit {
            0 => Some(ExpectedRoute::Solitary),
            1 => Some(ExpectedRoute::Widespread),
            _ if self.random.random_bool(self.options.photo_share) => Some(if self.random.random_bool(0.6) {
                ExpectedRoute::Solitary
            } else {
                ExpectedRoute::Widespread
            }),
            _ => None,
        }
    }

    /// One to three photos in a row.
    fn burst(&mut self, encounter: &str, route: ExpectedRoute, first: f64) {
        let Some(category) = self.firm.category_for(route).map(str::to_owned) else {
            return;
        };
        let conditions = match route {
            ExpectedRoute::Solitary => Condition::SOLITARY,
            _ => Condition::WIDESPREAD,
        };
        let photos = *[1, 1, 1, 2, 2, 3].choose(&mut *self.random).unwrap_or(&1);
        let condition = conditions.choose(&mut *self.random).copied();
        let mut at = first;
        for _ in 0..photos {
            let clear = self.random.random_bool(self.options.clear_share);
            let photo = self.photo(&category, if clear { None } else { condition });
            self.push(at, attach(encounter, photo));
            at += self.random.random_range(0.2..0.8) / 60.0;
        }
    }

    fn photo(&mut self, category: &str, condition: Option<Condition>) -> PhotoSpec {
        let orientation = *[1, 3, 6, 8].choose(&mut *self.random).unwrap_or(&1);
        // A camera held upright gives a picture that is higher than wide, stored lying on its side.
        let (width, height) = if matches!(orientation, 6 | 8) {
            (self.options.photo_height, self.options.photo_width)
        } else {
            (self.options.photo_width, self.options.photo_height)
        };
        let site = BODY_SITES.choose(&mut *self.random).unwrap_or(&"left forearm");
        PhotoSpec {
            id: Some(self.document_id()),
            category: category.to_owned(),
            content: PhotoContent::Synthetic {
                seed: self.random.random(),
                condition,
                width,
                height,
                orientation,
            },
            description: format!("Photo, {site}"),
            touches_encounter: self.random.random_bool(self.options.touch_share),
            fault: None,
        }
    }

    fn document_id(&mut self) -> String {
        let id = format!("file|{}", self.next_document);
        self.next_document += 1;
        id
    }

    fn pick_practitioner(&mut self) -> Option<String> {
        let practitioner = self.firm.practitioners.choose(&mut *self.random);
        practitioner.map(|practitioner| practitioner.id.clone())
    }

    /// A lognormal number with this median (Box and Muller's transform of two uniform ones).
    fn lognormal(&mut self, median: f64, sigma: f64) -> f64 {
        let first: f64 = 1.0 - self.random.random::<f64>();
        let second: f64 = self.random.random();
        let normal = (-2.0 * first.ln()).sqrt() * (TAU * second).cos();
        median * (sigma * normal).exp()
    }

    fn push(&mut self, share: f64, action: ScriptAction) {
        let duration = self.options.duration.as_millis() as f64;
        let millis = (share.clamp(0.0, 1.0) * duration) as u64;
        self.events.push(ScriptEvent {
            at: Duration::from_millis(millis),
            firm: self.firm.prefix.clone(),
            action,
        });
    }
}

fn attach(encounter: &str, photo: PhotoSpec) -> ScriptAction {
    ScriptAction::AttachPhoto {
        encounter: encounter.to_owned(),
        photo,
    }
}
