//! What an error leads to: the one place that decides on trying again.

use std::time::Duration;

use crate::{domain::Stage, ports::Class, time::Timestamp};

/// What to do with an item after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Try again then.
    Retry {
        /// When.
        at: Timestamp,
        /// Renew the token before.
        renew_token: bool,
    },
    /// Give up: a dead letter.
    Bury,
    /// Somebody else has it.
    Stop,
}

/// How often a step is tried before its item is given up; an attempt is counted when its lease is granted. Steps that depend on the EHR have patience for
/// an outage of most of a day; the models are ours.
pub const fn most_attempts(stage: Stage) -> u32 {
    match stage {
        Stage::Infer => 8,
        Stage::DiscoverFirms
        | Stage::RefreshCredentials
        | Stage::PollEncounters
        | Stage::PollDocuments
        | Stage::DownloadPhoto
        | Stage::WriteBack => 200,
    }
}

/// The wait before the attempt after `attempt`: 1 s doubled each time, at most 5 minutes.
pub fn backoff(attempt: u32) -> Duration {
    Duration::from_secs(1 << attempt.saturating_sub(1).min(9)).min(Duration::from_secs(300))
}

/// What an error of `class` leads to at the `attempt`-th try.
pub fn verdict(class: Class, stage: Stage, attempt: u32, now: Timestamp) -> Verdict {
    if matches!(class, Class::LeaseLost) {
        return Verdict::Stop;
    }
    if attempt >= most_attempts(stage) {
        return Verdict::Bury;
    }
    match class {
        Class::LeaseLost => Verdict::Stop,
        Class::Permanent => Verdict::Bury,
        Class::Transient(not_before) => {
            let wait = backoff(attempt).max(not_before.unwrap_or_default());
            Verdict::Retry {
                at: now + wait,
                renew_token: false,
            }
        }
        Class::Unauthorized => Verdict::Retry {
            at: now + backoff(attempt),
            renew_token: true,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        let now = Timestamp::from_millis(0);
        let transient = Class::Transient(None);
        let at = |attempt| verdict(transient, Stage::DownloadPhoto, attempt, now);
        assert_eq!(
            at(1),
            Verdict::Retry {
                at: now + Duration::from_secs(1),
                renew_token: false
            }
        );
        assert_eq!(
            at(4),
            Verdict::Retry {
                at: now + Duration::from_secs(8),
                renew_token: false
            }
        );
        assert_eq!(
            at(150),
            Verdict::Retry {
                at: now + Duration::from_secs(300),
                renew_token: false
            }
        );
        assert_eq!(at(200), Verdict::Bury);
        assert_eq!(verdict(transient, Stage::Infer, 8, now), Verdict::Bury);
    }

    #[test]
    fn retry_after_is_kept_and_permanent_is_final() {
        let now = Timestamp::from_millis(0);
        let minute = Duration::from_secs(60);
        let told = verdict(Class::Transient(Some(minute)), Stage::WriteBack, 1, now);
        assert_eq!(
            told,
            Verdict::Retry {
                at: now + minute,
                renew_token: false
            }
        );
        assert_eq!(verdict(Class::Permanent, Stage::WriteBack, 1, now), Verdict::Bury);
        assert_eq!(verdict(Class::LeaseLost, Stage::WriteBack, 999, now), Verdict::Stop);
    }
}
