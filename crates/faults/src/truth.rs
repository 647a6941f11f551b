//! What really happened: witnessed between the engines and their ports, and compared with what must hold at each step.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use bytes::Bytes;
use skin_assist_core::{
    domain::{DocumentId, DocumentWatch, FirmId, PhotoDigest, ReferenceCode},
    lease::Fence,
    phi::Phi,
    time::Timestamp,
};
use skin_assist_testkit::conformance::mutations::Name;

/// A photo: whose, and its document.
pub(crate) type PhotoName = (String, String);

/// More of what went wrong than this tells nobody more.
const MOST_VIOLATIONS: usize = 20;

/// A look of the models that goes on.
#[derive(Debug, Clone, Copy)]
struct Look {
    number: u64,
    process: u64,
    /// How often the process had stood still when it began.
    freezes: u64,
    /// The assessment that it is for is no more: one of its photos was retracted since.
    opened_again: bool,
}

/// What became of a photo at the models.
#[derive(Debug, Default)]
struct Inference {
    running: Vec<Look>,
    /// Looks that gave an answer.
    answered: u64,
    /// Answers that a crash or a fault took from us before they were recorded.
    excused: u64,
    /// By which processes there are answers that are not recorded yet.
    /// The process, and how often it had stood still when it began to look.
    unrecorded: Vec<(u64, u64)>,
    recorded: bool,
}

/// The truth about a run.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// What did not hold: the invariant, and what happened.
    pub(crate) violations: Vec<(&'static str, String)>,
    /// How many of the faults that were planned happened.
    pub(crate) happened: usize,
    /// How often each kind of fault happened, by the calls and requests that it met.
    pub(crate) faults: BTreeMap<&'static str, u64>,
    /// How often each safeguard was needed.
    pub(crate) safeguards: BTreeMap<&'static str, u64>,
    /// The fence of the last lease on each item.
    fences: HashMap<Name, Fence>,
    /// Who recorded the intent to post a draft last, and under which fence.
    intents: HashMap<(FirmId, ReferenceCode), (u64, Fence, Name)>,
    /// Photos that are named by an intent.
    pub(crate) intended: HashSet<PhotoName>,
    /// Documents of which the store was told that they are no longer current.
    pub(crate) known_retracted: HashSet<PhotoName>,
    /// The photos of each closed assessment.
    closed: Vec<Vec<PhotoName>>,
    /// Documents that were recorded as found.
    pub(crate) found: HashSet<PhotoName>,
    /// Encounters that were recorded.
    pub(crate) encounters: HashSet<PhotoName>,
    /// Which photo findings are of, by their key.
    keys: HashMap<String, PhotoName>,
    /// The photos as they were filed.
    pub(crate) photos: HashMap<PhotoName, PhotoDigest>,
    inferences: HashMap<PhotoName, Inference>,
    looks: u64,
    /// Whose tokens these are.
    tokens: HashMap<String, FirmId>,
    /// Who asks for a token of a firm: the process, and how often it had stood still.
    asking: HashMap<FirmId, Vec<(u64, u64)>>,
    /// When the calls on the EHR arrived that were in the last minute.
    arrivals: VecDeque<Timestamp>,
    pub(crate) most_calls: usize,
    pub(crate) calls: u64,
    /// Firms that are paused, and since when.
    pub(crate) paused: HashMap<String, Timestamp>,
}

impl Truth {
    pub(crate) fn violated(&mut self, invariant: &'static str, what: impl Into<String>) {
        if self.violations.len() < MOST_VIOLATIONS {
            self.violations.push((invariant, what.into()));
        }
    }

    pub(crate) fn fault(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
    }

    pub(crate) fn safeguard(&mut self, kind: &'static str) {
        self.safeguards_by(kind, 1);
    }

    pub(crate) fn safeguards_by(&mut self, kind: &'static str, times: usize) {
        if times > 0 {
            *self.safeguards.entry(kind).or_default() += times as u64;
        }
    }

    // ---- leases ----------------------------------------------------------------------------------------------------

    pub(crate) fn granted(&mut self, item: Name, fence: Fence) {
        // Who stood still between the grant and this moment may have lost it to another one meanwhile.
        let latest = self.fences.entry(item).or_default();
        *latest = fence.max(*latest);
    }

    /// Whoever held a lease on it has lost it, without another having got one.
    pub(crate) fn taken(&mut self, item: Name) {
        let fence = self.fences.entry(item).or_default();
        *fence = Fence(fence.0 + 1);
    }

    pub(crate) fn latest(&self, item: &Name) -> Option<Fence> {
        self.fences.get(item).copied()
    }

    /// A write under a lease was taken.
    pub(crate) fn written(&mut self, method: &'static str, item: &Name, fence: Fence) {
        if self.latest(item).is_some_and(|latest| fence < latest) {
            self.violated(
                "no write after a lost lease",
                format!("{method} of {item:?} was taken under an older fence"),
            );
        }
    }

    // ---- documents -------------------------------------------------------------------------------------------------

    /// A photo was recorded as found; the key of its findings.
    pub(crate) fn recorded(&mut self, watch: &DocumentWatch, key: Option<String>) {
        let name = (watch.firm.to_string(), watch.document.to_string());
        if let Some(key) = key {
            self.keys.entry(key).or_insert_with(|| name.clone());
        }
        self.found.insert(name);
    }

    pub(crate) fn is_found(&self, watch: &DocumentWatch) -> bool {
        self.found
            .contains(&(watch.firm.to_string(), watch.document.to_string()))
    }

    // ---- drafts ----------------------------------------------------------------------------------------------------

    pub(crate) fn intends(
        &mut self,
        process: u64,
        draft: (FirmId, ReferenceCode),
        fence: Fence,
        item: Name,
        documents: &[PhotoName],
    ) {
        for document in documents {
            if self.known_retracted.contains(document) {
                self.violated(
                    "what is retracted is not delivered",
                    format!("a draft of {document:?} was begun after its retraction was known"),
                );
            }
            self.intended.insert(document.clone());
        }
        self.intents.insert(draft, (process, fence, item));
    }

    pub(crate) fn posts(&mut self, process: u64, draft: &(FirmId, ReferenceCode)) {
        let stands = self
            .intents
            .get(draft)
            .is_some_and(|(by, fence, item)| *by == process && self.latest(item) == Some(*fence));
        if !stands {
            self.violated(
                "no write after a lost lease",
                format!("{} of {} was posted without the lease on it", draft.1.as_str(), draft.0),
            );
        }
    }

    // ---- the models ------------------------------------------------------------------------------------------------

    /// A look begins; who of the processes `is_well` is told by their number and how often they had stood still.
    pub(crate) fn look_begins(
        &mut self,
        photo: &PhotoName,
        process: u64,
        freezes: u64,
        is_well: impl Fn(u64, u64) -> bool,
    ) -> u64 {
        self.looks += 1;
        let look = Look {
            number: self.looks,
            process,
            freezes,
            opened_again: false,
        };
        let inference = self.inferences.entry(photo.clone()).or_default();
        // One who stood still where it was about to look had begun before.
        let in_time = is_well(process, freezes);
        let others = || inference.running.iter();
        let twice = in_time && others().any(|other| !other.opened_again && is_well(other.process, other.freezes));
        let recorded = in_time && inference.recorded;
        inference.running.push(look);
        if twice {
            self.violated(
                "no inference is paid twice",
                format!("two looks at {photo:?} at the same time"),
            );
        }
        if recorded {
            self.violated(
                "no inference is paid twice",
                format!("a look at {photo:?} after its findings were recorded"),
            );
        }
        self.looks
    }

    pub(crate) fn look_ends(&mut self, photo: &PhotoName, number: u64) {
        if let Some(inference) = self.inferences.get_mut(photo) {
            inference.running.retain(|look| look.number != number);
        }
    }

    /// Before it ends.
    pub(crate) fn look_answered(
        &mut self,
        photo: &PhotoName,
        number: u64,
        process: u64,
        freezes: u64,
        is_well: impl Fn(u64, u64) -> bool,
    ) {
        let inference = self.inferences.entry(photo.clone()).or_default();
        inference.answered += 1;
        let mut running = inference.running.iter();
        let opened_again = running.any(|look| look.number == number && look.opened_again);
        let counts = is_well(process, freezes) && !opened_again;
        if !counts {
            // It stood still while it looked, and the lease went to another meanwhile; or the photo is judged without one that was
            // retracted.
            inference.excused += 1;
        }
        // One who has an answer and stands still will find its lease lost.
        let stuck = inference
            .unrecorded
            .iter()
            .filter(|(process, freezes)| !is_well(*process, *freezes));
        let excused = inference.excused + stuck.count() as u64;
        if counts {
            inference.unrecorded.push((process, freezes));
        }
        if inference.answered > 1 + excused {
            let answered = inference.answered;
            self.violated(
                "no inference is paid twice",
                format!("{answered} answers about {photo:?}, {excused} of them taken by a crash or a fault"),
            );
        }
    }

    /// What a look showed was recorded, or could not be.
    pub(crate) fn findings_recorded(&mut self, key: &str, process: u64, is_done: bool) {
        let Some(inference) = self.keys.get(key).and_then(|photo| self.inferences.get_mut(photo)) else {
            return;
        };
        inference.recorded |= is_done;
        if let Some(at) = inference.unrecorded.iter().position(|(by, _)| *by == process) {
            inference.unrecorded.swap_remove(at);
            inference.excused += u64::from(!is_done);
        }
    }

    pub(crate) fn crashed(&mut self, process: u64) {
        let mut lost = 0;
        for inference in self.inferences.values_mut() {
            let before = inference.unrecorded.len();
            inference.unrecorded.retain(|(by, _)| *by != process);
            inference.excused += (before - inference.unrecorded.len()) as u64;
            lost += before - inference.unrecorded.len();
        }
        if lost > 0 {
            self.fault("crash between the models' answer and its commit");
        }
    }

    /// Photos are judged together.
    pub(crate) fn closes(&mut self, photos: Vec<PhotoName>) {
        self.closed.push(photos);
    }

    /// A retraction was recorded: those that were judged with the photo are judged without it, also where a look is under way.
    pub(crate) fn retracts(&mut self, photo: &PhotoName) {
        for closed in self.closed.iter().filter(|closed| closed.contains(photo)) {
            for other in closed {
                if let Some(inference) = self.inferences.get_mut(other) {
                    inference.running.iter_mut().for_each(|look| look.opened_again = true);
                }
            }
        }
    }

    pub(crate) fn looks(&self) -> u64 {
        self.looks
    }

    /// The photo whose bytes these are.
    pub(crate) fn name_in(photo: &Phi<Bytes>) -> Option<PhotoName> {
        let text = photo.expose().strip_prefix(&[0xff, 0xd8][..])?;
        let (firm, document) = std::str::from_utf8(text).ok()?.split_once('/')?;
        Some((firm.to_owned(), document.to_owned()))
    }

    /// The bytes of a photo: a JPEG as far as the scripted models look, and its name.
    pub(crate) fn bytes_of(firm: &str, document: &str) -> Bytes {
        let mut bytes = vec![0xff, 0xd8];
        bytes.extend(format!("{firm}/{document}").bytes());
        Bytes::from(bytes)
    }

    // ---- firms -----------------------------------------------------------------------------------------------------

    /// A result names photos of these bytes.
    pub(crate) fn judged(&mut self, firm: &FirmId, document: &DocumentId, digest: &PhotoDigest) {
        let name = (firm.to_string(), document.to_string());
        if self.photos.get(&name).is_some_and(|filed| filed != digest) {
            self.violated(
                "no cross-firm read",
                format!("the result of {name:?} was made from another photo"),
            );
        }
    }

    /// A firm got a token. Whether it had one before.
    pub(crate) fn token_issued(&mut self, token: &str, firm: &FirmId) -> bool {
        let had_one = self.tokens.values().any(|of| of == firm);
        self.tokens.insert(token.to_owned(), firm.clone());
        had_one
    }

    pub(crate) fn called_with(&mut self, token: &str, firm: &FirmId) {
        if self.tokens.get(token).is_some_and(|of| of != firm) {
            self.violated(
                "no cross-firm read",
                format!("a call of {firm} with another firm's token"),
            );
        }
    }

    pub(crate) fn asks_for_token(
        &mut self,
        firm: &FirmId,
        process: u64,
        freezes: u64,
        is_well: impl Fn(u64, u64) -> bool,
    ) {
        let asking = self.asking.entry(firm.clone()).or_default();
        let twice = asking.iter().any(|(process, freezes)| is_well(*process, *freezes));
        asking.push((process, freezes));
        if twice {
            self.violated(
                "a token is asked for by one process at a time",
                format!("two at once for {firm}"),
            );
        }
    }

    pub(crate) fn asked_for_token(&mut self, firm: &FirmId, process: u64) {
        let asking = self.asking.entry(firm.clone()).or_default();
        if let Some(at) = asking.iter().position(|(by, _)| *by == process) {
            asking.swap_remove(at);
        }
    }

    // ---- the EHR's own count ---------------------------------------------------------------------------------------

    /// A call on the EHR arrives; at most `most` may in any 60 seconds.
    pub(crate) fn call_arrives(&mut self, firm: Option<&str>, now: Timestamp, most: usize) {
        const MINUTE: std::time::Duration = std::time::Duration::from_secs(60);
        const LONGEST_STANDSTILL: std::time::Duration = std::time::Duration::from_secs(90);
        self.calls += 1;
        while self.arrivals.front().is_some_and(|at| now.since(*at) >= MINUTE) {
            self.arrivals.pop_front();
        }
        self.arrivals.push_back(now);
        self.most_calls = self.most_calls.max(self.arrivals.len());
        if self.arrivals.len() > most {
            let calls = self.arrivals.len();
            self.violated(
                "the quota is never exceeded",
                format!("{calls} calls in 60 s, {most} are allowed"),
            );
        }
        if let Some((firm, since)) = firm.and_then(|firm| self.paused.get_key_value(firm))
            // What was begun before the pause is finished, by a process that stood still meanwhile, too.
            && now.since(*since) > MINUTE + LONGEST_STANDSTILL
        {
            let (firm, after) = (firm.clone(), now.since(*since).as_secs());
            let said = format!("{firm} was called {after} s after it was paused");
            self.violated("a paused firm is left alone", said);
        }
    }
}
