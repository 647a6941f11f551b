//! What a seed does: the EHR and its clinic, the processes, and what goes wrong when.

use std::{collections::HashSet, time::Duration};

use clap::ValueEnum;
use http::StatusCode;
use rand::{Rng, SeedableRng as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use skin_assist_core::{domain::GatheringWindows, polling::PolicyName};
use skin_assist_simulator::{
    CallKind, ClinicScript, ExpectedRoute, PhotoContent, PhotoFault, ScriptAction, ScriptEvent, ScriptOptions,
};

use crate::{
    process::{Trap, TrapAt},
    truth::{PhotoName, Truth},
};

/// A safeguard that is removed, to see that the simulation notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Mutation {
    /// None is.
    #[default]
    None,
    /// Writes under a lost lease are taken.
    Fence,
    /// Queries begin at the cursor and do not reach back behind it.
    Overlap,
    /// A search of several pages is not read again.
    SecondReading,
    /// A photo that is known is taken for a new one.
    Dedupe,
    /// No intent is recorded before a post.
    Intent,
    /// Findings that were paid for are not found.
    ResultKey,
    /// The cursor moves before what was read is recorded.
    CursorOrder,
    /// Several processes ask for a token at once.
    TokenSingleFlight,
    /// What is no longer current is not noted.
    Retraction,
    /// A step may last as long as its lease.
    SkewAllowance,
    /// Calls are made without a grant.
    Grants,
    /// Photos of different firms have the same key.
    FirmInKeys,
}

impl Mutation {
    /// All that remove something.
    pub const ALL: [Self; 12] = [
        Self::Fence,
        Self::Overlap,
        Self::SecondReading,
        Self::Dedupe,
        Self::Intent,
        Self::ResultKey,
        Self::CursorOrder,
        Self::TokenSingleFlight,
        Self::Retraction,
        Self::SkewAllowance,
        Self::Grants,
        Self::FirmInKeys,
    ];

    /// Its name on the command line and in tables.
    pub fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }
}

/// How long the clinic lasts, and things go wrong.
pub(crate) const CLINIC: Duration = Duration::from_secs(8 * 60);

/// How long everything may take to be settled after that.
pub(crate) const RECOVERY: Duration = Duration::from_secs(60 * 60);

/// The fewest photos of a run that ask for a draft.
const FEWEST_PHOTOS: usize = 200;

/// The fewest faults of a run.
pub(crate) const FEWEST_FAULTS: usize = 20;

const FIRMS: usize = 3;

/// How long the EHR goes through its records after an outage.
const GOES_THROUGH: Duration = Duration::from_secs(30);

/// Which EHR it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EhrKind {
    /// ModMed EMA: no search for drafts, so what is interrupted becomes uncertain.
    ModMed,
    /// FHIR R4: drafts are searched for, and all that changed can be asked for.
    Searched,
    /// FHIR R4 whose posts are repeated to ask; documents are asked for by visit.
    PostedAgain,
    /// US Core.
    UsCore,
}

/// Something that happens on purpose.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    Trap {
        process: usize,
        at: TrapAt,
    },
    Crash {
        process: usize,
    },
    Freeze {
        process: usize,
        duration: Duration,
    },
    Lose(u32),
    Double(u32),
    Delay {
        most: Duration,
        duration: Duration,
    },
    Storm {
        kind: CallKind,
        status: StatusCode,
        calls: u32,
    },
    Outage(Duration),
    RevokeTokens {
        firm: usize,
    },
    SlowDisk {
        most: Duration,
        duration: Duration,
    },
    FullDisk(Duration),
    Pause {
        firm: usize,
        duration: Duration,
    },
    Retract {
        firm: String,
        document: String,
    },
    Replace {
        firm: String,
        document: String,
    },
    /// The models of one process, or of all, hang.
    HangModels {
        process: Option<usize>,
        duration: Duration,
    },
}

/// A run as it follows from its seed.
pub(crate) struct Plan {
    pub(crate) ehr: EhrKind,
    pub(crate) policy: PolicyName,
    pub(crate) script: ClinicScript,
    /// How far each process's clock is ahead, in milliseconds.
    pub(crate) skews: Vec<i64>,
    pub(crate) windows: GatheringWindows,
    /// Photos outlive a process, as in a bucket.
    pub(crate) has_bucket: bool,
    /// Calls of the quota in a minute.
    pub(crate) calls: u32,
    pub(crate) token_life: Duration,
    pub(crate) shows_late: Duration,
    /// Each change has a delay of its own, up to that.
    pub(crate) shows_unevenly: bool,
    pub(crate) newest_first: bool,
    pub(crate) page_size: u32,
    /// When, from the beginning, and what.
    pub(crate) faults: Vec<(Duration, Fault)>,
}

/// Places where a process is made to crash or stand still in particular: the calls that matter most, each as likely as any other.
const PLACES: [&str; 20] = [
    "send",
    "receive",
    "look",
    "answered",
    "post",
    "record_encounters",
    "record_looks",
    "record_changes",
    "acquire_documents",
    "record_photo",
    "close_assessment",
    "count_look",
    "record_findings",
    "record_result",
    "acquire_results",
    "record_intent",
    "record_delivered",
    "acquire_refresh",
    "record_token",
    "take",
];

fn seconds(random: &mut ChaCha8Rng, from: u64, to: u64) -> Duration {
    Duration::from_millis(random.random_range(from * 1000..=to * 1000))
}

fn clinic(seed: u64) -> ClinicScript {
    let mut visits_per_firm = 52;
    loop {
        let options = ScriptOptions {
            firms: FIRMS,
            visits_per_firm,
            duration: CLINIC,
            photo_share: 0.8,
            document_share: 0.1,
            ignored_share: 0.05,
            ..ScriptOptions::default()
        };
        let script = ClinicScript::generate(seed, &options);
        if script.expected_photos() >= FEWEST_PHOTOS {
            return script;
        }
        visits_per_firm += 4;
    }
}

impl Plan {
    pub(crate) fn of(seed: u64, random: &mut ChaCha8Rng) -> Self {
        let mut script = clinic(seed);
        let ehrs = [
            EhrKind::ModMed,
            EhrKind::Searched,
            EhrKind::PostedAgain,
            EhrKind::UsCore,
        ];
        let ehr = *ehrs.choose(random).unwrap_or(&EhrKind::ModMed);
        let processes = random.random_range(2..=3);
        let is_skewed = random.random_bool(0.5);
        let skew = |random: &mut ChaCha8Rng| if is_skewed { random.random_range(-900..=900) } else { 0 };
        let skews: Vec<_> = (0..processes).map(|_| skew(random)).collect();
        let windows = if random.random_bool(0.4) {
            GatheringWindows {
                widespread: Duration::from_secs(45),
                ..GatheringWindows::default()
            }
        } else {
            GatheringWindows::default()
        };
        let shows_late = if random.random_bool(0.5) {
            seconds(random, 20, 120)
        } else {
            Duration::ZERO
        };
        let photos: Vec<(Duration, String, String)> = script.events.iter_mut().filter_map(filed).collect();
        let mut plan = Self {
            ehr,
            policy: if random.random_bool(0.75) {
                PolicyName::Adaptive
            } else {
                PolicyName::RoundRobin
            },
            skews,
            windows,
            has_bucket: random.random_bool(0.5),
            calls: 160,
            token_life: seconds(random, 120, 600),
            shows_late,
            shows_unevenly: false,
            newest_first: random.random_bool(0.5),
            page_size: random.random_range(10..=40),
            faults: Vec::new(),
            script,
        };
        // One in a hundred files is no picture.
        for event in &mut plan.script.events {
            if let ScriptAction::AttachPhoto { photo, .. } = &mut event.action
                && random.random_bool(0.01)
            {
                photo.fault = Some(PhotoFault::NotAnImage);
            }
        }
        for _ in 0..FEWEST_FAULTS + random.random_range(4..=12) {
            let fault = plan.fault(&photos, random);
            plan.faults.push(fault);
        }
        // From chance of its own, so that the other runs stay what they are.
        let mut apart = ChaCha8Rng::seed_from_u64(!seed);
        if apart.random_bool(0.1) {
            plan.long_outage(&mut apart);
        }
        if is_skewed && apart.random_bool(0.2) {
            let fault = plan.slow_process_hangs(&mut apart);
            plan.faults.extend(fault);
        }
        plan.shows_unevenly = apart.random_bool(0.5);
        plan.faults.sort_by_key(|(at, _)| *at);
        plan
    }

    /// The EHR is away for longer than the overlap of two polls reaches back, and when it is there again, whoever records first what came
    /// meanwhile crashes. Its answers are slow then, its pages are short, and it goes through its records once more, so that what is
    /// read in several pages moves up between them.
    fn long_outage(&mut self, random: &mut ChaCha8Rng) {
        let begins = seconds(random, 30, 120);
        let lasts = seconds(random, 240, 330);
        let is_back = begins + lasts;
        self.faults.push((begins, Fault::Outage(lasts)));
        for process in 0..self.skews.len() {
            let at = TrapAt {
                place: Some("record_encounters"),
                calls: random.random_range(0..3),
                trap: Trap::Crash,
            };
            self.faults.push((is_back, Fault::Trap { process, at }));
        }
        let slow = Fault::Delay {
            most: Duration::from_secs(2),
            duration: GOES_THROUGH,
        };
        self.faults.push((is_back, slow));
        self.page_size = random.random_range(4..=8);
        let opened = self.script.events.iter().filter_map(|event| match &event.action {
            ScriptAction::Open(visit) if event.at < is_back => Some((event.firm.clone(), visit.id.clone()?)),
            _ => None,
        });
        let opened: Vec<_> = opened.collect();
        let touched: Vec<_> = opened.choose_multiple(random, opened.len() / 2).cloned().collect();
        for (firm, encounter) in touched {
            let at = is_back + random.random_range(Duration::ZERO..GOES_THROUGH);
            let action = ScriptAction::Change { encounter };
            self.script.events.push(ScriptEvent { at, firm, action });
        }
        self.script.events.sort_by_key(|event| event.at);
    }

    /// The models of the process whose clock is farthest behind hang, so that its looks last as long as its leases while the others have
    /// nothing better to do than to wait for these to end.
    fn slow_process_hangs(&self, random: &mut ChaCha8Rng) -> Option<(Duration, Fault)> {
        let (process, _) = self.skews.iter().enumerate().min_by_key(|(_, skew)| **skew)?;
        let hangs = Fault::HangModels {
            process: Some(process),
            duration: seconds(random, 60, 120),
        };
        Some((seconds(random, 60, 240), hangs))
    }

    /// The photos whose files are no pictures.
    pub(crate) fn broken(&self) -> HashSet<PhotoName> {
        let events = self.script.events.iter();
        let broken = events.filter_map(|event| match &event.action {
            ScriptAction::AttachPhoto { photo, .. } if photo.fault.is_some() => {
                Some((event.firm.clone(), photo.id.clone()?))
            }
            _ => None,
        });
        broken.collect()
    }

    fn fault(&self, photos: &[(Duration, String, String)], random: &mut ChaCha8Rng) -> (Duration, Fault) {
        let at = Duration::from_millis(random.random_range(0..CLINIC.as_millis() as u64));
        let process = random.random_range(0..self.skews.len());
        let firm = random.random_range(0..FIRMS);
        // Longer than the longest lease, or shorter.
        let standstill = |random: &mut ChaCha8Rng| seconds(random, 10, 90);
        let fault = match random.random_range(0..32) {
            0..6 => {
                let trap = TrapAt {
                    place: random
                        .random_bool(0.9)
                        .then(|| PLACES.choose(random).copied())
                        .flatten(),
                    calls: random.random_range(0..12),
                    trap: Trap::Crash,
                };
                Fault::Trap { process, at: trap }
            }
            6..9 => {
                let trap = TrapAt {
                    place: PLACES.choose(random).copied(),
                    calls: random.random_range(0..12),
                    trap: Trap::Freeze(standstill(random)),
                };
                Fault::Trap { process, at: trap }
            }
            9..11 => Fault::Crash { process },
            11..13 => Fault::Freeze {
                process,
                duration: standstill(random),
            },
            13..15 => Fault::Lose(random.random_range(1..=4)),
            15 => Fault::Double(random.random_range(1..=6)),
            16..18 => Fault::Delay {
                most: seconds(random, 1, 25),
                duration: seconds(random, 10, 60),
            },
            18..20 => {
                let kinds = [
                    CallKind::Encounter,
                    CallKind::Document,
                    CallKind::Read,
                    CallKind::Draft,
                    CallKind::Token,
                    CallKind::Photo,
                ];
                let statuses = [
                    StatusCode::TOO_MANY_REQUESTS,
                    StatusCode::INTERNAL_SERVER_ERROR,
                    StatusCode::BAD_GATEWAY,
                    StatusCode::SERVICE_UNAVAILABLE,
                ];
                Fault::Storm {
                    kind: *kinds.choose(random).unwrap_or(&CallKind::Read),
                    status: *statuses.choose(random).unwrap_or(&StatusCode::BAD_GATEWAY),
                    calls: random.random_range(2..=8),
                }
            }
            20 => Fault::Outage(seconds(random, 5, 40)),
            21 => Fault::RevokeTokens { firm },
            22 => Fault::SlowDisk {
                most: seconds(random, 1, 8),
                // Also for longer than anybody waits for a grant that comes in time.
                duration: seconds(random, 5, 60),
            },
            23 => Fault::FullDisk(seconds(random, 5, 30)),
            24 => Fault::Pause {
                firm,
                duration: seconds(random, 90, 200),
            },
            25 => Fault::HangModels {
                process: None,
                duration: seconds(random, 1, 20),
            },
            chosen => {
                // Soon after it was filed: before, during and after its way.
                let Some((filed, firm, document)) = photos.choose(random).cloned() else {
                    return (at, Fault::Crash { process });
                };
                let at = filed + seconds(random, 1, 90);
                let fault = if chosen % 3 == 0 {
                    Fault::Replace { firm, document }
                } else {
                    Fault::Retract { firm, document }
                };
                return (at, fault);
            }
        };
        (at, fault)
    }
}

/// The photo that an event files, which gets bytes that say whose it is; none where it asks for no draft.
fn filed(event: &mut ScriptEvent) -> Option<(Duration, String, String)> {
    let ScriptAction::AttachPhoto { photo, .. } = &mut event.action else {
        return None;
    };
    let document = photo.id.clone()?;
    photo.content = PhotoContent::Bytes(Truth::bytes_of(&event.firm, &document));
    Some((event.at, event.firm.clone(), document))
}

/// Whether this route asks for a draft.
pub(crate) fn asks_for_a_draft(route: ExpectedRoute) -> bool {
    route != ExpectedRoute::Ignored
}
