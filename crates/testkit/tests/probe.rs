//! The probe against the practice EHR, under virtual time: with the profile of its kind nothing is invented, and each way
//! of being different is found alone and by its name.

// In a test, a panic is the report.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use skin_assist_core::{
    domain::{Credential, CredentialState, Firm, FirmId, FirmStatus, Mode},
    phi::Secret,
    ports::{CallGrants, CallKind, Grant, QuotaKey, StateError, TokenEndpoint},
    stages::Quota,
    time::{Clock, Timestamp, VirtualClock},
};
use skin_assist_ehr::{
    ClientAuthentication, EhrClient, EhrConnection, Finding, HostPattern, Limits, NextPage, ProbeReport, Profile,
    Verdict,
};
use skin_assist_simulator::{
    AttachmentForm, Dialect, DocumentScope, EncounterSearchGranularity, EncounterSpec, ExpiresIn, FirmSpec,
    LastUpdatedForm, NextLink, Options, PageLinks, PhotoContent, PhotoSpec, PracticeEhr, Quirks, ReferenceForm,
    RetryAfter, Totals,
};
use skin_assist_testkit::PracticeTransport;

const FIRM: &str = "derm-a";

/// Grants every call, unless the EHR asked to wait.
#[derive(Default)]
struct Grants {
    taken: AtomicU32,
    until: std::sync::Mutex<Option<Timestamp>>,
}

#[async_trait]
impl CallGrants for Grants {
    async fn take(&self, _: &QuotaKey, kind: CallKind, now: Timestamp) -> Result<Grant, StateError> {
        assert_eq!(kind, CallKind::Context);
        match *self.until.lock().unwrap() {
            Some(until) if until > now => Ok(Grant::Wait(until)),
            _ => {
                self.taken.fetch_add(1, Ordering::SeqCst);
                Ok(Grant::Granted)
            }
        }
    }

    async fn hold(&self, _: &QuotaKey, until: Timestamp) -> Result<(), StateError> {
        *self.until.lock().unwrap() = Some(until);
        Ok(())
    }
}

/// What is planted, on top of a kind of EHR and its profile.
struct World {
    dialect: Dialect,
    profile: Profile,
    quirks: Quirks,
    encounters: usize,
    photos: usize,
    quota_per_minute: u32,
    photo_host: &'static str,
}

impl World {
    fn of(profile: &str) -> Self {
        let mut world = Self {
            dialect: match profile {
                "modmed-ema" => Dialect::modmed_ema(),
                "fhir-r4" => Dialect::fhir_r4(),
                _ => Dialect::uscore_r4(),
            },
            profile: Profile::shipped(profile).unwrap(),
            quirks: Quirks::default(),
            encounters: 24,
            photos: 12,
            quota_per_minute: 1_000,
            photo_host: "practice-photos.example",
        };
        if profile != "modmed-ema" {
            world.profile.urls.service = "{base}/{firm}/fhir".to_owned();
        }
        // How a token is had is not what is tried here.
        world.profile.token.client_authentication = ClientAuthentication::ClientSecretPost;
        world.profile.token.signing_algorithm = None;
        world.profile.token.discovery = false;
        world
    }

    fn ehr(name: &str, change: impl FnOnce(&mut Dialect)) -> Self {
        let mut world = Self::of(name);
        change(&mut world.dialect);
        world
    }

    fn quirk(name: &str, change: impl FnOnce(&mut Quirks)) -> Self {
        let mut world = Self::of(name);
        change(&mut world.quirks);
        world
    }

    fn probe(self) -> Probed {
        let clock = VirtualClock::new(Timestamp::parse_rfc3339("2026-01-08T15:00:00Z").unwrap());
        let ehr = PracticeEhr::new(Options {
            dialect: self.dialect,
            quota_per_minute: self.quota_per_minute,
            ..Options::default()
        });
        let known = ehr.add_firm(FirmSpec::new(FIRM)).unwrap();
        ehr.add_firm(FirmSpec::new("derm-b")).unwrap();
        ehr.set_quirks(|quirks| *quirks = self.quirks);
        let start = clock.now() - Duration::from_secs(4 * 86_400);
        for number in 0..self.encounters {
            let at = start + Duration::from_secs(number as u64 * 12_347);
            let patient = format!("p{}", number % 7);
            let spec = EncounterSpec {
                patient: Some(patient),
                ..EncounterSpec::default()
            };
            let visit = ehr.open_encounter(at, FIRM, spec).unwrap();
            if number < self.photos {
                let photo = PhotoSpec {
                    content: PhotoContent::Bytes(Bytes::from_static(b"not really a picture")),
                    ..PhotoSpec::synthetic("PHOTO-LESION", 1, None)
                };
                ehr.attach_photo(at + Duration::from_secs(60), FIRM, &visit, photo)
                    .unwrap();
            }
        }
        let connection = EhrConnection {
            profile: self.profile,
            base_url: known.api_base.parse().unwrap(),
            token_url: Some(known.token_url.parse().unwrap()),
            api_key: Secret::new(known.api_key),
            further_api_keys: BTreeMap::new(),
            photo_hosts: vec![HostPattern::parse(self.photo_host).unwrap()],
            allow_loopback_http: false,
            limits: Limits::default(),
        };
        let transport = Arc::new(PracticeTransport::new(ehr.clone(), Arc::new(clock.clone())));
        let client = EhrClient::new(connection, Arc::clone(&transport) as _, transport).unwrap();
        let firm = Firm {
            id: FirmId::new("a"),
            url_prefix: known.firm,
            status: FirmStatus::Active,
            mode: Mode::Draft,
            intended_use: None,
            categories: BTreeMap::new(),
            api_key: None,
            connected_at: clock.now(),
            photos_since: clock.now(),
        };
        let credential = Credential {
            firm: firm.id.clone(),
            client_id: known.client_id,
            client_secret: Secret::new(known.client_secret),
            key_id: None,
            token: None,
            refresh_token: None,
            state: CredentialState::Usable,
        };
        let token = clock
            .run(client.request_token(&firm, &credential, clock.now()))
            .unwrap()
            .access;
        let grants = Grants::default();
        let key = QuotaKey {
            name: "test".to_owned(),
            calls: 1_000,
            window: Duration::from_secs(60),
        };
        let quota = Quota {
            grants: &grants,
            key: &key,
            clock: &clock,
        };
        let report = clock.run(client.probe(&firm, &token, quota)).unwrap();
        assert_eq!(
            report.calls,
            grants.taken.load(Ordering::SeqCst),
            "a grant for each call"
        );
        assert!(report.calls <= 60, "{} calls", report.calls);
        let seen = ehr.report();
        assert_eq!((seen.compositions, seen.calls.draft), (0, 0), "a probe writes nothing");
        let proposed = report.proposed_profile();
        let proposed = Profile::from_toml(&proposed).unwrap_or_else(|error| panic!("{error:?}\n{proposed}"));
        let written = serde_json::to_string(&report).unwrap() + &report.proposed_profile();
        for secret in [
            "p0",
            "Testperson",
            "Sampleton",
            "file|",
            "file%7C",
            "139977",
            "5001",
            token.secret.expose(),
        ] {
            assert!(
                !written.contains(&format!("\"{secret}")) && !written.contains(&format!("/{secret}")),
                "{secret}"
            );
        }
        Probed {
            report,
            proposed,
            in_use: client.connection().profile.clone(),
        }
    }
}

struct Probed {
    report: ProbeReport,
    proposed: Profile,
    in_use: Profile,
}

impl Probed {
    fn finding(&self, code: &str) -> &Finding {
        let found = self
            .report
            .findings
            .iter()
            .find(|finding| finding.code.as_str() == code);
        found.unwrap_or_else(|| panic!("no finding {code}: {:#?}", self.report.findings))
    }

    /// These keys differ, and no others.
    fn differs(&self, keys: &[&str]) -> &Self {
        let found: Vec<_> = self
            .report
            .differences
            .iter()
            .map(|difference| difference.key)
            .collect();
        assert_eq!(found, keys, "{:#?}", self.report);
        self
    }

    fn seen(&self, code: &str, verdict: Verdict, words: &str) -> &Self {
        let finding = self.finding(code);
        assert!(
            finding.verdict == verdict && finding.seen.contains(words),
            "{finding:#?}"
        );
        self
    }
}

const ALL: [&str; 3] = ["modmed-ema", "fhir-r4", "uscore-r4"];

#[test]
fn nothing_is_invented_about_an_ehr_that_is_as_its_profile_says() {
    for name in ALL {
        let probed = World::of(name).probe();
        probed.differs(&[]);
        assert!(probed.report.fits() && probed.proposed == probed.in_use, "{name}");
        for finding in &probed.report.findings {
            println!(
                "{name} {} {:?} {} {:?}",
                finding.code.as_str(),
                finding.verdict,
                finding.seen,
                finding.evidence
            );
        }
        println!("{} calls", probed.report.calls);
    }
}
