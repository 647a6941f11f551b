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
    ports::{CallGrants, CallKind, Grant, QuotaFigures, QuotaKey, StateError, TokenEndpoint},
    stages::Quota,
    time::{Clock, Timestamp, VirtualClock},
};
use skin_assist_ehr::{
    ChangeParameter, ClientAuthentication, DocumentSearch, DraftContent, DraftSearchRule, DraftTarget, EhrClient,
    EhrConnection, Finding, Granularity, HostPattern, Limits, NextPage, ProbeReport, Profile, SearchPrefix, Verdict,
};
use skin_assist_simulator::{
    AttachmentForm, DatePrefix, Dialect, DocumentScope, EncounterSearchGranularity, EncounterSpec, ExpiresIn, FirmSpec,
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

    async fn hold(&self, _: &QuotaKey, _: Timestamp, until: Timestamp) -> Result<(), StateError> {
        *self.until.lock().unwrap() = Some(until);
        Ok(())
    }

    async fn slow_down(&self, _: &QuotaKey, _: Timestamp) -> Result<(), StateError> {
        Ok(())
    }

    async fn quotas(&self) -> Result<Vec<QuotaFigures>, StateError> {
        Ok(Vec::new())
    }
}

/// What is planted, on top of a kind of EHR and its profile.
#[derive(Clone)]
struct World {
    dialect: Dialect,
    profile: Profile,
    quirks: Quirks,
    encounters: usize,
    photos: usize,
    quota_per_minute: u32,
    photo_host: &'static str,
    /// Before the probe, after the token.
    last: fn(&PracticeEhr),
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
            last: |_| {},
        };
        if profile != "modmed-ema" {
            "{base}/{firm}/fhir".clone_into(&mut world.profile.urls.service);
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

    /// Probes it, and once more with the profile that was proposed, which has to fit where it answers everything.
    fn probe(self) -> Probed {
        let mut again = self.clone();
        let probed = self.probe_once();
        let differences = &probed.report.differences;
        if !differences.is_empty() && differences.iter().all(|difference| difference.answered) {
            again.profile = probed.proposed.clone();
            again.probe_once().differs(&[]);
        }
        probed
    }

    fn probe_once(self) -> Probed {
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
        (self.last)(&ehr);
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
            in_hand: None,
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
        assert_eq!(found, keys, "{:?}", self.report.differences);
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
        probed.seen("capability.contradicted", Verdict::Well, "no call contradicts it");
    }
}

#[test]
fn an_empty_practice_gives_nothing_to_go_by() {
    for name in ALL {
        let mut world = World::of(name);
        world.encounters = 0;
        let probed = world.probe();
        probed
            .differs(&[])
            .seen("encounters.search", Verdict::NotKnown, "no encounter yet")
            .seen("documents.by-patient", Verdict::NotKnown, "no document yet")
            .seen("photos.location", Verdict::NotKnown, "no document yet")
            .seen("paging.next", Verdict::NotKnown, "no two encounters")
            .seen("patient.read", Verdict::NotKnown, "no encounter yet");
        let mut world = World::of(name);
        world.photos = 0;
        let probed = world.probe();
        probed
            .differs(&[])
            .seen("documents.page-size", Verdict::NotKnown, "5 patients were asked for")
            .seen("patient.read", Verdict::Well, "can be read");
    }
}

/// A parameter that is taken and ignored is told from one that filters.
#[test]
fn ignored_parameters() {
    let ignoring = |name: &str, parameter: &'static str| {
        World::quirk(name, |quirks| {
            quirks.ignored_parameters.insert(parameter);
        })
    };
    let probed = ignoring("fhir-r4", "_lastUpdated").probe();
    probed
        .differs(&["encounters.changed.parameter", "documents.changed"])
        .seen(
            "encounters.changed",
            Verdict::Differs,
            "ignores it and returns everything",
        )
        .seen("encounters.date", Verdict::Offered, "filters by it")
        .seen(
            "capability.contradicted",
            Verdict::Notice,
            "it lists Encounter by _lastUpdated",
        );
    assert_eq!(probed.proposed.encounters.changed.parameter, ChangeParameter::Date);
    assert_eq!(probed.proposed.documents.changed, None);

    let probed = ignoring("modmed-ema", "_lastUpdated").probe();
    probed.differs(&["encounters.changed.parameter"]);

    let probed = ignoring("fhir-r4", "encounter").probe();
    probed
        .differs(&["documents.encounters_in_list", "documents.search"])
        .seen("documents.by-encounter", Verdict::Differs, "ignores it");
    assert_eq!(probed.proposed.documents.search, DocumentSearch::Patient);

    let probed = ignoring("modmed-ema", "encounter").probe();
    probed.differs(&["documents.search"]);
    assert_eq!(probed.proposed.documents.search, DocumentSearch::Patient);

    let probed = ignoring("uscore-r4", "patient").probe();
    probed
        .differs(&["documents.search"])
        .seen("documents.by-patient", Verdict::Differs, "ignores it");
    assert_eq!(probed.proposed.documents.search, DocumentSearch::PatientAndEncounter);

    let probed = ignoring("uscore-r4", "date").probe();
    probed.differs(&["encounters.changed.parameter"]);
    assert_eq!(
        probed.proposed.encounters.changed.parameter,
        ChangeParameter::LastUpdated
    );

    let probed = ignoring("fhir-r4", "_sort").probe();
    probed
        .differs(&["encounters.sort", "documents.sort"])
        .seen("encounters.sort", Verdict::Differs, "ignores _sort");
    assert_eq!(
        (&probed.proposed.encounters.sort, &probed.proposed.documents.sort),
        (&None, &None)
    );

    let probed = ignoring("fhir-r4", "_count").probe();
    probed
        .differs(&["encounters.page_size"])
        .seen("paging.count", Verdict::Notice, "_count is ignored");
    assert_eq!(probed.proposed.encounters.page_size, 20);

    let mut world = ignoring("fhir-r4", "identifier");
    world.profile.draft.target = DraftTarget::DocumentReference;
    world.profile.draft.content = Some(DraftContent::Plain);
    let probed = world.probe();
    probed
        .differs(&["draft.search"])
        .seen("draft.search", Verdict::Differs, "ignores it");
    assert_eq!(probed.proposed.draft.search, DraftSearchRule::Unsupported);
}

/// How fine "changed since" is, with either prefix.
#[test]
fn granularity_and_prefixes() {
    for prefix in [SearchPrefix::Ge, SearchPrefix::Gt] {
        let mut world = World::quirk("fhir-r4", |quirks| quirks.compares_days_only = true);
        world.profile.encounters.changed.prefix = prefix;
        world.profile.documents.changed.as_mut().unwrap().prefix = prefix;
        let probed = world.probe();
        probed
            .differs(&["encounters.changed.granularity", "documents.changed.granularity"])
            .seen("encounters.granularity", Verdict::Differs, "cut to their day");
        assert_eq!(probed.proposed.encounters.changed.granularity, Granularity::Day);

        let mut world = World::of("fhir-r4");
        world.profile.encounters.changed.prefix = prefix;
        world.profile.documents.changed.as_mut().unwrap().prefix = prefix;
        world.probe().differs(&[]);
    }
    let day = EncounterSearchGranularity::Day;
    let probed = World::ehr("fhir-r4", |dialect| dialect.encounters.granularity = day).probe();
    probed.differs(&["encounters.changed.granularity"]).seen(
        "encounters.granularity",
        Verdict::Differs,
        "instants are refused (400)",
    );
    let fine = EncounterSearchGranularity::Instant;
    let probed = World::ehr("modmed-ema", |dialect| dialect.encounters.granularity = fine).probe();
    probed
        .differs(&[])
        .seen("encounters.granularity", Verdict::Offered, "instants are compared");

    let only = |prefix| move |dialect: &mut Dialect| dialect.encounters.prefixes = vec![DatePrefix::Equal, prefix];
    let probed = World::ehr("modmed-ema", only(DatePrefix::GreaterOrEqual)).probe();
    probed.differs(&["encounters.changed.prefix"]).seen(
        "encounters.prefix",
        Verdict::Well,
        "gt refuses it (400); ge filters by it",
    );
    assert_eq!(probed.proposed.encounters.changed.prefix, SearchPrefix::Ge);
    let probed = World::ehr("fhir-r4", only(DatePrefix::Greater)).probe();
    probed.differs(&["encounters.changed.prefix"]);
    assert_eq!(probed.proposed.encounters.changed.prefix, SearchPrefix::Gt);

    for (form, words) in [
        (LastUpdatedForm::Day, "by day"),
        (LastUpdatedForm::Missing, "not at all"),
    ] {
        for name in ALL {
            let probed = World::quirk(name, |quirks| quirks.last_updated = form).probe();
            probed
                .differs(&[])
                .seen("encounters.last-updated", Verdict::Notice, words)
                .seen("documents.last-updated", Verdict::Notice, words);
        }
    }
}

#[test]
fn pages_and_their_links() {
    for (totals, words) in [
        (Totals::PageLocal, "the count on the page"),
        (Totals::True, "counts all matches"),
        (Totals::Absent, "absent"),
    ] {
        let probed = World::quirk("fhir-r4", |quirks| quirks.totals = Some(totals)).probe();
        probed.differs(&[]).seen("paging.total", Verdict::Well, words);
    }
    for (past, words) in [(true, "links on to an empty one"), (false, "has no link")] {
        for name in ALL {
            let probed = World::quirk(name, |quirks| quirks.links_past_the_end = Some(past)).probe();
            probed.differs(&[]).seen("paging.end", Verdict::Well, words);
        }
    }
    for (links, words) in [
        (PageLinks::Cursor, "the same search, with the parameter _cursor"),
        (
            PageLinks::RootCursor,
            "another path of the service, with the parameter _cursor",
        ),
    ] {
        let probed = World::ehr("fhir-r4", |dialect| dialect.page_links = links).probe();
        probed.differs(&[]).seen("paging.next", Verdict::Well, words);
    }
    for (next, code, words) in [
        (
            NextLink::OtherHost,
            "paging.next",
            "the link is refused: the next page is on another host",
        ),
        (
            NextLink::OtherFirm,
            "paging.next",
            "the link is refused: the next page is another firm's",
        ),
        (NextLink::Cyclic, "paging.end", "to what was there before"),
        (NextLink::NeverEnding, "paging.end", "to what was there before"),
    ] {
        for name in ALL {
            let probed = World::quirk(name, |quirks| quirks.next_link = next).probe();
            probed.differs(&["paging.next"]).seen(code, Verdict::Differs, words);
            assert!(!probed.report.differences[0].answered && probed.proposed == probed.in_use);
        }
    }
    let counted = |parameter: &str| {
        let mut world = World::of("fhir-r4");
        world.profile.paging.next = NextPage::Number;
        world.profile.paging.parameter = Some(parameter.to_owned());
        world
    };
    counted("page").probe().differs(&[]);
    let probed = counted("_page").probe();
    probed
        .differs(&["paging.next"])
        .seen("paging.next", Verdict::Differs, "refuses it (400)");
    assert_eq!(probed.proposed.paging.next, NextPage::Link);
}

#[test]
fn page_sizes() {
    for (clamps, words) in [
        (true, "10 came where 200 were asked for"),
        (false, "is refused (400), 10 is taken"),
    ] {
        let probed = World::ehr("fhir-r4", |dialect| {
            dialect.encounters.max_count = 10;
            dialect.encounters.clamps_count = clamps;
        });
        let probed = probed.probe();
        probed
            .differs(&["encounters.page_size"])
            .seen("encounters.page-size", Verdict::Differs, words);
        assert_eq!(probed.proposed.encounters.page_size, 10);
    }
    let probed = World::ehr("modmed-ema", |dialect| {
        dialect.encounters.max_count = 5;
        dialect.documents.search.max_count = 1;
    });
    let probed = probed.probe();
    probed.differs(&["encounters.page_size", "documents.page_size"]);
    let sizes = (
        probed.proposed.encounters.page_size,
        probed.proposed.documents.page_size,
    );
    assert_eq!(sizes, (5, 1));
    let mut world = World::ehr("fhir-r4", |dialect| dialect.documents.search.max_count = 10);
    world.photos = 80;
    world.encounters = 80;
    let probed = world.probe();
    probed.differs(&["documents.page_size"]);
    assert_eq!(probed.proposed.documents.page_size, 10);
    let mut world = World::of("modmed-ema");
    world.encounters = 80;
    let probed = world.probe();
    probed
        .differs(&[])
        .seen("encounters.page-size", Verdict::Well, "a page of 50 came");
}

#[test]
fn documents_of_several_visits_and_what_their_entries_say() {
    let probed = World::ehr("fhir-r4", |dialect| dialect.documents.search.lists.clear()).probe();
    probed.differs(&["documents.encounters_in_list"]).seen(
        "documents.encounter-list",
        Verdict::Differs,
        "refuses it (400)",
    );
    assert_eq!(probed.proposed.documents.encounters_in_list, 0);

    let mut world = World::ehr("fhir-r4", |dialect| dialect.batch = false);
    world.profile.documents.searches_in_batch = 20;
    let probed = world.probe();
    probed
        .differs(&["documents.searches_in_batch"])
        .seen("documents.batch", Verdict::Differs, "refuses it (404)");
    let mut world = World::of("fhir-r4");
    world.profile.documents.searches_in_batch = 20;
    world
        .probe()
        .differs(&[])
        .seen("documents.batch", Verdict::Well, "answered");

    let probed = World::ehr("fhir-r4", |dialect| {
        dialect.documents.scope = DocumentScope::PatientOrEncounter;
    })
    .probe();
    probed
        .differs(&["documents.changed"])
        .seen("documents.search", Verdict::Well, "is refused (400)");

    let probed = World::ehr("fhir-r4", |dialect| dialect.documents.whole_entries = false).probe();
    probed.differs(&["documents.entries_carry_attachment"]).seen(
        "documents.content",
        Verdict::Differs,
        "carry no content",
    );
    let probed = World::ehr("modmed-ema", |dialect| dialect.documents.whole_entries = true).probe();
    probed
        .differs(&[])
        .seen("documents.content", Verdict::Offered, "carry content");

    let probed = World::ehr("fhir-r4", |dialect| {
        dialect.encounters.parameters.retain(|name| *name != "_sort");
    });
    let probed = probed.probe();
    probed
        .differs(&["encounters.sort"])
        .seen("encounters.sort", Verdict::Differs, "refuses _sort (400)");
}

#[test]
fn where_photos_are() {
    for (form, words) in [
        (
            AttachmentForm::PreSigned,
            "a URL with a query (pre-signed), on practice-photos.example",
        ),
        (
            AttachmentForm::RelativeBinary,
            "a Binary of the same service, by a relative URL",
        ),
        (
            AttachmentForm::AbsoluteBinary,
            "a Binary of the same service, by an absolute URL",
        ),
        (AttachmentForm::Inline, "in the document itself"),
    ] {
        for name in ALL {
            let probed = World::ehr(name, |dialect| dialect.attachments = form).probe();
            probed.differs(&[]).seen("photos.location", Verdict::Well, words);
        }
    }
    let mut world = World::of("modmed-ema");
    world.photo_host = "somewhere-else.example";
    let probed = world.probe();
    probed.differs(&["photos.hosts"]).seen(
        "photos.host",
        Verdict::Differs,
        "practice-photos.example is not allowed",
    );
    let host = HostPattern::parse("practice-photos.example").unwrap();
    assert_eq!(probed.proposed.photos.hosts.last(), Some(&host));
}

#[test]
fn what_every_reply_shows() {
    for (seconds, words) in [(180, " s ahead of"), (-300, " s behind")] {
        for name in ALL {
            let probed = World::quirk(name, |quirks| quirks.clock_skew_seconds = seconds).probe();
            probed.differs(&[]).seen("ehr.clock", Verdict::Notice, words);
        }
    }
    let probed = World::quirk("fhir-r4", |quirks| quirks.rate_limit_headers = true).probe();
    probed
        .differs(&[])
        .seen("ehr.quota", Verdict::Well, "x-ratelimit-limit: 1000");
    for (retry_after, words) in [
        (RetryAfter::Absent, "Retry-After: nothing"),
        (RetryAfter::Seconds(60), "Retry-After: seconds"),
        (RetryAfter::Date(60), "Retry-After: a date"),
    ] {
        let mut world = World::quirk("fhir-r4", |quirks| quirks.retry_after = retry_after);
        world.quota_per_minute = 30;
        let probed = world.probe();
        probed.differs(&[]).seen("ehr.quota", Verdict::Notice, words);
    }
    let probed = World::quirk("fhir-r4", |quirks| quirks.expires_in = ExpiresIn::Absent).probe();
    probed
        .differs(&[])
        .seen("ehr.token", Verdict::Notice, "300 s (as the profile's");
    for (form, words) in [
        (ReferenceForm::Absolute, "absolute"),
        (ReferenceForm::Relative, "relative"),
        (ReferenceForm::Versioned, "relative with a version"),
    ] {
        for name in ALL {
            let probed = World::quirk(name, |quirks| quirks.references = Some(form)).probe();
            probed.differs(&[]).seen("records.references", Verdict::Well, words);
        }
    }
    for name in ALL {
        let probed = World::quirk(name, |quirks| quirks.odd_ids = true).probe();
        probed
            .differs(&[])
            .seen("records.ids", Verdict::Well, "what is not ASCII");
        World::quirk(name, |quirks| quirks.newest_first = true)
            .probe()
            .differs(&[]);
    }
}

#[test]
fn what_is_said_and_not_so() {
    let mut claimed = Dialect::fhir_r4();
    claimed.batch = false;
    claimed.encounters.parameters.retain(|name| *name != "_lastUpdated");
    let probed = World::quirk("fhir-r4", |quirks| quirks.claimed = Some(claimed)).probe();
    probed.differs(&[]).seen(
        "capability.contradicted",
        Verdict::Notice,
        "it does not list Encounter by _lastUpdated, which works; it does not list batch, which works",
    );
    let mut world = World::quirk("fhir-r4", |quirks| quirks.claimed = Some(Dialect::fhir_r4()));
    world
        .dialect
        .documents
        .search
        .parameters
        .retain(|name| *name != "_lastUpdated");
    world.dialect.batch = false;
    let probed = world.probe();
    probed.differs(&["documents.changed"]).seen(
        "capability.contradicted",
        Verdict::Notice,
        "it lists DocumentReference by _lastUpdated, and the EHR refuses it (400); it lists batch, and the EHR refuses it (404)",
    );
    let probed = World::ehr("fhir-r4", |dialect| dialect.drafts.conditional_create = false).probe();
    probed.differs(&["draft.conditional_create"]).seen(
        "capability.conditional-create",
        Verdict::Differs,
        "has no conditional create",
    );
    assert!(!probed.proposed.draft.conditional_create);
    let notes = vec![skin_assist_simulator::DraftTarget::DocumentReference];
    let probed = World::ehr("fhir-r4", |dialect| dialect.drafts.targets = notes).probe();
    probed.differs(&["draft.search", "draft.target"]).seen(
        "draft.target",
        Verdict::Differs,
        "does not say that a Composition can be created",
    );
    let mut world = World::of("modmed-ema");
    world.profile.categories.value_set = Some("categories".to_owned());
    world.probe().differs(&["categories.value_set"]);
}

#[test]
fn an_ehr_that_is_out_of_service_and_a_token_that_is_not_taken() {
    let mut world = World::of("fhir-r4");
    world.last = |ehr| ehr.set_faults(|faults| faults.outage = true);
    world
        .probe()
        .differs(&["urls.service"])
        .seen("ehr.reachable", Verdict::Differs, "(503)");
    let mut world = World::of("modmed-ema");
    world.last = |ehr| ehr.set_quirks(|quirks| quirks.revoke_token_after = Some(1));
    world
        .probe()
        .differs(&["urls.service"])
        .seen("ehr.reachable", Verdict::Differs, "the token is not taken (401)");
    let mut world = World::of("modmed-ema");
    world.last = |ehr| ehr.set_quirks(|quirks| quirks.revoke_token_after = Some(12));
    world
        .probe()
        .differs(&[])
        .seen("paging.next", Verdict::NotKnown, "the token is not taken (401)");
    let mut world = World::of("modmed-ema");
    world.last = |ehr| {
        let mut elsewhere = ehr.endpoints();
        elsewhere.api = "https://moved.example".to_owned();
        ehr.set_endpoints(elsewhere);
    };
    world
        .probe()
        .differs(&["urls.service"])
        .seen("ehr.reachable", Verdict::Differs, "there is no such host");
}

#[test]
fn an_address_where_nothing_is() {
    let mut world = World::of("fhir-r4");
    world.profile.urls.service = "{base}/{firm}/api".to_owned();
    let probed = world.probe();
    probed.differs(&["urls.service"]).seen(
        "ehr.reachable",
        Verdict::Differs,
        "has no FHIR service at this path (404)",
    );
}
