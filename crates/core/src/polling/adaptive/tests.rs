//! The policy at work on a small EHR of its own.

use std::{collections::BTreeMap, time::Duration};

use super::*;
use crate::{
    domain::{Encounter, EncounterStatus, PatientId},
    polling::{NewPhotos, PolicyName},
    ports::DocumentSearches,
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_767_589_200_000 + seconds * 1000)
}

fn answer(now: Timestamp) -> Answer {
    Answer {
        as_of: now,
        server_time: Some(now),
        pages: 1,
    }
}

/// Visits by firm: when each opened. Each call takes no time, and `calls` of them are granted each second.
struct Clinic {
    visits: BTreeMap<(String, String), i64>,
    polls: BTreeMap<String, Vec<i64>>,
    looks: BTreeMap<(String, String), Vec<i64>>,
}

impl Clinic {
    fn of(firms: usize, visits: usize) -> Self {
        let mut clinic = Self {
            visits: BTreeMap::new(),
            polls: BTreeMap::new(),
            looks: BTreeMap::new(),
        };
        for firm in 0..firms {
            for visit in 0..visits {
                let opened = (visit * 40 + firm * 7) as i64;
                clinic
                    .visits
                    .insert((format!("f{firm}"), format!("v{firm}-{visit}")), opened);
            }
        }
        clinic
    }

    fn firms(&self) -> Vec<ServedFirm> {
        let mut firms: Vec<String> = self.visits.keys().map(|(firm, _)| firm.clone()).collect();
        firms.dedup();
        firms
            .into_iter()
            .map(|firm| ServedFirm {
                firm: FirmId::new(firm),
                quota: "q".to_owned(),
            })
            .collect()
    }

    /// Plays for `seconds` with `calls` each second, and gives what was decided, in short.
    fn play(&mut self, policy: &mut dyn PollPolicy, seconds: i64, calls: usize) -> Vec<String> {
        let mut decided = Vec::new();
        policy.observe(Observation::Firms(self.firms()), at(0));
        for second in 0..seconds {
            for _ in 0..calls {
                let now = at(second);
                let Decision::Poll(call) = policy.next(now) else { break };
                decided.push(format!("{second} {call:?}"));
                let firm = call.firm().as_str().to_owned();
                match &call {
                    PollCall::Encounters { .. } => {
                        self.polls.entry(firm.clone()).or_default().push(second);
                        let encounters = self
                            .visits
                            .iter()
                            .filter(|((of, _), opened)| *of == firm && **opened <= second);
                        let encounters = encounters.map(|((_, id), opened)| Encounter {
                            id: EncounterId::new(id.clone()),
                            patient: PatientId::new("p"),
                            practitioner: None,
                            status: EncounterStatus::Open,
                            last_updated: Some(at(*opened)),
                        });
                        let seen = Observation::EncountersSeen {
                            firm: call.firm().clone(),
                            encounters: encounters.collect(),
                            answer: answer(now),
                        };
                        policy.observe(seen, now);
                    }
                    PollCall::Documents { encounters, .. } => {
                        for encounter in encounters {
                            let key = (firm.clone(), encounter.as_str().to_owned());
                            self.looks.entry(key).or_default().push(second);
                        }
                        let looks = encounters.iter().map(|encounter| NewPhotos {
                            encounter: encounter.clone(),
                            filed_at: Vec::new(),
                        });
                        let seen = Observation::DocumentsSeen {
                            firm: call.firm().clone(),
                            looks: looks.collect(),
                            answer: answer(now),
                        };
                        policy.observe(seen, now);
                    }
                    PollCall::ChangedDocuments { .. } => panic!("there is no such search here"),
                }
                policy.observe(Observation::Ended(call), now);
            }
        }
        decided
    }
}

#[test]
fn the_same_observations_give_the_same_decisions() {
    let play = || Clinic::of(3, 20).play(&mut Adaptive::new(PolicySettings::one_by_one()), 1800, 2);
    let decided = play();
    assert!(decided.len() > 3000, "{} decisions", decided.len());
    assert_eq!(decided, play());
}

#[test]
fn no_firm_and_no_visit_is_starved() {
    let mut clinic = Clinic::of(4, 25);
    clinic.play(&mut Adaptive::new(PolicySettings::one_by_one()), 20 * 3600, 1);
    for (firm, polls) in &clinic.polls {
        let longest = polls.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(longest <= 330, "{firm} was left alone for {longest} s");
    }
    assert_eq!(clinic.looks.len(), clinic.visits.len(), "each visit is looked at");
    for (visit, looks) in &clinic.looks {
        let longest = looks.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
        let most = (model::LONGEST_UNSEEN as i64) + 600;
        assert!(longest <= most, "{visit:?} was left alone for {longest} s");
    }
}

#[test]
fn looks_go_where_photos_are_likely() {
    // One visit of ten minutes, one of two hours: the former is in the hot bins.
    let mut clinic = Clinic::of(1, 0);
    clinic.visits.insert(("f0".to_owned(), "old".to_owned()), -7200);
    clinic.visits.insert(("f0".to_owned(), "young".to_owned()), -600);
    clinic.play(&mut Adaptive::new(PolicySettings::one_by_one()), 120, 1);
    let looks = |visit: &str| {
        clinic
            .looks
            .get(&("f0".to_owned(), visit.to_owned()))
            .map_or(0, Vec::len)
    };
    assert!(
        looks("young") > 10 * looks("old").max(1),
        "{} against {}",
        looks("young"),
        looks("old")
    );
}

#[test]
fn several_visits_are_looked_at_together_where_the_ehr_can() {
    let settings = PolicySettings {
        searches: DocumentSearches {
            visits_in_one_call: 10,
            changed_since: false,
        },
        ..PolicySettings::one_by_one()
    };
    let mut clinic = Clinic::of(1, 20);
    let decided = clinic.play(&mut Adaptive::new(settings), 900, 1);
    let looks: usize = clinic.looks.values().map(Vec::len).sum();
    assert!(looks > 4 * decided.len(), "{looks} looks in {} calls", decided.len());
}

#[test]
fn at_a_faster_pace_everything_comes_sooner_and_more_densely() {
    use hazard::{Hazards, Phase};
    use visit::Prospect;

    const PACE: f64 = 200.0;
    let (usual, fast) = (Hazards::new(true, 1.0), Hazards::new(true, PACE));
    let close = |one: f64, other: f64| assert!((one - other).abs() <= 1e-9 * one.abs().max(1e-12), "{one} {other}");
    let after = Phase::After {
        photos: 1,
        finished: false,
    };
    for phase in [Phase::Open, Phase::Finished, after] {
        for age in [0.1, 0.9, 3.0, 7.0, 40.0] {
            close(fast.rate(phase, age), PACE * usual.rate(phase, PACE * age));
            close(
                fast.expected(phase, age, age + 1.0),
                usual.expected(phase, PACE * age, PACE * (age + 1.0)),
            );
            let nothing = Prospect {
                mass: 0.0,
                fresh: 0.0,
                known: 0.0,
                doubt: 0.0,
                growth: 1.0,
            };
            let wait = |hazards: &Hazards, age, price| hazards.wait((phase, age), 1.0, &nothing, 1.0, price);
            close(PACE * wait(&fast, age, 1e-3), wait(&usual, PACE * age, PACE * 1e-3));
        }
    }
    for age in [0.5, 6.0, 30.0] {
        close(PACE * fast.unseen_openings(age), usual.unseen_openings(PACE * age));
    }
}

#[test]
fn what_is_not_granted_is_decided_anew() {
    let mut policy = Adaptive::new(PolicySettings::one_by_one());
    policy.observe(Observation::Firms(Clinic::of(1, 1).firms()), at(0));
    let Decision::Poll(call) = policy.next(at(0)) else {
        panic!("a new firm is due")
    };
    policy.observe(Observation::NotGranted(call.clone(), at(5)), at(0));
    assert_eq!(policy.next(at(1)), Decision::Wait(at(5)));
    assert_eq!(policy.next(at(5)), Decision::Poll(call));
}

#[test]
fn a_resting_firm_is_left_alone_and_time_always_passes() {
    let mut policy = Adaptive::new(PolicySettings::one_by_one());
    policy.observe(Observation::Firms(Clinic::of(1, 1).firms()), at(0));
    let resting = Observation::Resting {
        firm: FirmId::new("f0"),
        until: at(60),
    };
    policy.observe(resting, at(0));
    let mut now = at(0);
    let mut asked = 0;
    while let Decision::Wait(until) = policy.next(now) {
        assert!(until > now, "a wait that has passed would be asked for again at once");
        now = until;
        asked += 1;
    }
    assert!(now >= at(60) && asked < 5000, "{now}, asked {asked} times");
}

#[test]
fn what_was_learned_survives_a_restart() {
    let mut first = Adaptive::new(PolicySettings::one_by_one());
    Clinic::of(2, 30).play(&mut first, 3600, 2);
    let learned = first.gained();
    assert!(learned.shared.contains_key("open-1") && !learned.firms.is_empty());
    assert!(
        first.gained().is_empty(),
        "what was handed over is not handed over again"
    );
    let finite = learned
        .shared
        .values()
        .flatten()
        .all(|count| count.events.is_finite() && count.exposure.is_finite());
    assert!(finite, "learned tables stay finite");

    let mut second = Adaptive::new(PolicySettings::one_by_one());
    let rate = |policy: &Adaptive| policy.model.hazards.rate(hazard::Phase::Open, 600.0);
    let before = rate(&second);
    second.observe(Observation::Learned(learned), at(4000));
    assert!(
        rate(&second) < before,
        "an hour without a photo makes photos less likely"
    );
}

#[test]
fn policies_are_known_by_their_names() {
    for policy in PolicyName::ALL {
        assert_eq!(policy.to_string().parse::<PolicyName>().ok(), Some(policy));
    }
}

#[test]
fn encounters_past_their_watch_are_looked_at_again_when_it_is_quiet() {
    let mut policy = Adaptive::new(PolicySettings::one_by_one());
    let firm = FirmId::new("f0");
    policy.observe(Observation::Firms(Clinic::of(1, 1).firms()), at(0));
    let past = WatchedEncounter {
        watch: crate::domain::EncounterWatch {
            firm: firm.clone(),
            encounter: Encounter {
                id: EncounterId::new("past"),
                patient: PatientId::new("p"),
                practitioner: None,
                status: EncounterStatus::Finished,
                last_updated: Some(at(-100_000)),
            },
            first_seen_at: at(-100_000),
            looked_at: Some(at(-50_000)),
            expires_at: at(-10_000),
        },
        photos: 0,
        latest_photo_at: None,
    };
    policy.observe(Observation::Watching(firm, vec![past]), at(0));
    let mut clinic = Clinic::of(1, 30);
    clinic.play(&mut policy, 30 * 3600, 1);
    let key = ("f0".to_owned(), "past".to_owned());
    assert!(clinic.looks.contains_key(&key), "looked at once more after its watch");
}

/// A firm changes hands while a look at one of its visits is under way, and comes back after that has ended: the visit is looked at
/// like the others.
#[test]
fn a_visit_that_was_being_looked_at_when_its_firm_was_given_up_is_looked_at_again() {
    let mut policy = Adaptive::new(PolicySettings::one_by_one());
    let mut clinic = Clinic::of(2, 3);
    clinic.play(&mut policy, 300, 1);
    let (firm, all) = (FirmId::new("f0"), clinic.firms());
    let now = at(300);
    let call = PollCall::Documents {
        firm: firm.clone(),
        encounters: vec![EncounterId::new("v0-1")],
        hold: Hold::WatchList,
        hinted: false,
    };
    let number = policy.model.firms[policy.firms[&firm] as usize].visits[&EncounterId::new("v0-1")];
    policy.model.now = seconds(now);
    assert_eq!(policy.take(Arm::Visit(number), false), call);
    policy.observe(Observation::Firms(all[1..].to_vec()), now);
    policy.observe(Observation::Ended(call), now);
    // Whatever of the firm waits in the queue is dropped there.
    for second in 300..4000 {
        if let Decision::Poll(call) = policy.next(at(second)) {
            assert_ne!(*call.firm(), firm, "it is not served");
            policy.observe(Observation::Ended(call), at(second));
        }
    }
    let watched = |id: &str| WatchedEncounter {
        watch: crate::domain::EncounterWatch {
            firm: firm.clone(),
            encounter: Encounter {
                id: EncounterId::new(id.to_owned()),
                patient: PatientId::new("p"),
                practitioner: None,
                status: EncounterStatus::Open,
                last_updated: Some(at(40)),
            },
            first_seen_at: at(40),
            looked_at: Some(at(300)),
            expires_at: at(80_000),
        },
        photos: 0,
        latest_photo_at: None,
    };
    let later = at(4000);
    policy.observe(Observation::Firms(all), later);
    let list = ["v0-0", "v0-1", "v0-2"].map(watched);
    policy.observe(Observation::Watching(firm.clone(), list.into()), later);
    let mut looked = std::collections::BTreeSet::new();
    for second in 4000..4600 {
        let Decision::Poll(call) = policy.next(at(second)) else {
            continue;
        };
        if let PollCall::Documents {
            firm: of, encounters, ..
        } = &call
        {
            if *of == firm {
                looked.extend(encounters.iter().map(|encounter| encounter.as_str().to_owned()));
            }
            let looks = encounters.iter().map(|encounter| NewPhotos {
                encounter: encounter.clone(),
                filed_at: Vec::new(),
            });
            let seen = Observation::DocumentsSeen {
                firm: of.clone(),
                looks: looks.collect(),
                answer: answer(at(second)),
            };
            policy.observe(seen, at(second));
        }
        policy.observe(Observation::Ended(call), at(second));
    }
    assert_eq!(looked.into_iter().collect::<Vec<_>>(), ["v0-0", "v0-1", "v0-2"]);
}

/// For an EHR that is asked for all that changed in a practice.
fn whole_practices() -> Adaptive {
    Adaptive::new(PolicySettings {
        searches: DocumentSearches {
            visits_in_one_call: 1,
            changed_since: true,
        },
        ..PolicySettings::one_by_one()
    })
}

fn open_visit() -> Encounter {
    Encounter {
        id: EncounterId::new("v0-0"),
        patient: PatientId::new("p"),
        practitioner: None,
        status: EncounterStatus::Open,
        last_updated: Some(at(0)),
    }
}

#[test]
fn a_look_past_a_watch_does_not_end_the_firms_own_search() {
    let mut policy = whole_practices();
    let firm = FirmId::new("f0");
    policy.observe(Observation::Firms(Clinic::of(1, 1).firms()), at(0));
    let mut whole = None;
    for second in 0..600 {
        while let Decision::Poll(call) = policy.next(at(second)) {
            match &call {
                PollCall::ChangedDocuments { .. } => {
                    assert!(whole.is_none(), "the same search is under way already");
                    whole = Some(call);
                    let past = EncounterId::new("past");
                    policy.reconciling.insert((0, past.clone()), 1e12);
                    let look = PollCall::Documents {
                        firm: firm.clone(),
                        encounters: vec![past],
                        hold: Hold::WatchList,
                        hinted: false,
                    };
                    policy.observe(Observation::Ended(look), at(second));
                }
                PollCall::Encounters { .. } => {
                    let seen = Observation::EncountersSeen {
                        firm: firm.clone(),
                        encounters: vec![open_visit()],
                        answer: answer(at(second)),
                    };
                    policy.observe(seen, at(second));
                    policy.observe(Observation::Ended(call), at(second));
                }
                PollCall::Documents { .. } => panic!("visits are not asked for one by one here"),
            }
        }
    }
    assert!(whole.is_some(), "the whole practice was never asked for");
}

/// Of visits that nobody has seen yet nothing can be expected; looks at the others would take all calls for a quarter of an hour.
#[test]
fn however_many_firms_there_are_each_is_polled_before_visits_are_looked_at() {
    let mut clinic = Clinic::of(1500, 10);
    // All of them before the beginning.
    clinic.visits.values_mut().for_each(|opened| *opened %= 1000);
    clinic.visits.values_mut().for_each(|opened| *opened -= 3600);
    clinic.play(&mut Adaptive::new(PolicySettings::one_by_one()), 100, 20);
    assert_eq!(clinic.polls.len(), 1500);
    let last = clinic.polls.values().map(|polls| polls[0]).max().unwrap();
    assert!(last <= 1500 / 20, "the last one was polled after {last} s");
}

#[test]
fn a_photo_without_a_visit_has_encounters_polled_once() {
    let mut policy = whole_practices();
    // So thrifty that encounters are polled seldom.
    policy.settings.least_price = 0.05;
    let firm = FirmId::new("f0");
    policy.observe(Observation::Firms(Clinic::of(1, 1).firms()), at(0));
    let (mut polls, mut searches) = (Vec::new(), Vec::new());
    for second in 0..600 {
        while let Decision::Poll(call) = policy.next(at(second)) {
            let seen = if matches!(call, PollCall::Encounters { .. }) {
                polls.push(second);
                Observation::EncountersSeen {
                    firm: firm.clone(),
                    encounters: vec![open_visit()],
                    answer: answer(at(second)),
                }
            } else {
                searches.push(second);
                Observation::AllDocumentsSeen {
                    firm: firm.clone(),
                    looks: Vec::new(),
                    // It is listed again and again.
                    stray: (second >= 200).then_some(at(200)),
                    answer: answer(at(second)),
                }
            };
            policy.observe(seen, at(second));
            policy.observe(Observation::Ended(call), at(second));
        }
    }
    let shown: Vec<i64> = searches.into_iter().filter(|second| *second >= 200).collect();
    assert!(shown.len() >= 10, "{shown:?}");
    assert!(polls.contains(&shown[0]), "{polls:?}, shown at {shown:?}");
    let after = polls.iter().filter(|second| **second > shown[0]).count();
    assert!(after < 4, "{polls:?}, shown at {shown:?}");
}

/// In an hour of the clinic a pause costs what photos come to; at night next to nothing.
#[test]
fn a_pause_costs_what_is_to_be_expected() {
    let mut policy = Adaptive::new(PolicySettings::one_by_one());
    let firm = FirmId::new("f");
    let served = ServedFirm {
        firm: firm.clone(),
        quota: "q".to_owned(),
    };
    policy.observe(Observation::Firms(vec![served]), at(0));
    let minute = Duration::from_secs(60);
    assert!(policy.loss_of_a_pause(minute) < 1e-3, "nobody is there");
    let visit = |number: usize| Encounter {
        id: EncounterId::new(format!("v{number}")),
        patient: PatientId::new("p"),
        practitioner: None,
        status: EncounterStatus::Open,
        last_updated: Some(at(0)),
    };
    let seen = |encounters, seconds| Observation::EncountersSeen {
        firm: firm.clone(),
        encounters,
        answer: answer(at(seconds)),
    };
    policy.observe(seen((0..10).map(visit).collect(), 1), at(1));
    let early = policy.loss_of_a_pause(minute);
    assert!(early < 0.1, "nobody files a photo as the visit begins: {early}");
    // Ten minutes into their visits; the policy sums up what it knows when it decides.
    _ = policy.next(at(600));
    let busy = policy.loss_of_a_pause(minute);
    assert!(busy > 1.0, "{busy}");
    let half = policy.loss_of_a_pause(minute / 2);
    assert!(
        (half * 4.0 - busy).abs() < 1e-9,
        "it grows with the square of the pause"
    );
    let resting = Observation::Resting {
        firm: firm.clone(),
        until: at(690),
    };
    policy.observe(resting, at(602));
    let resting = policy.loss_of_a_pause(minute);
    assert!(
        resting.abs() < f64::EPSILON,
        "who cannot be polled loses nothing: {resting}"
    );
    assert!(
        PolicyName::RoundRobin
            .build(PolicySettings::one_by_one())
            .loss_of_a_pause(minute)
            .is_infinite()
    );
}
