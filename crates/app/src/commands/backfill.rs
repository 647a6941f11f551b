//! `skin-assist firm add --backfill`: photos from before the connection, with what they cost shown first.
//!
//! The rule of the first connection is "from now on", so that connecting is never a surprise bill.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use serde::Serialize;
use skin_assist_core::{
    domain::{AccessToken, Credential, CredentialState, Cursor, Firm, NewCredential, WATCH_LIFE},
    ports::{CallKind, ChartReader as _, EncounterQuery, StateStore, TokenEndpoint},
    stages::{MOST_ENCOUNTER_PAGES, Quota},
    time::{Clock as _, Timestamp},
};

use super::chart_access::ChartAccess;
use crate::{
    clock::SystemClock,
    config::Config,
    failure::{Failure, Hinted as _},
    wiring,
};

/// How far a backfill may reach back: what a practice could still have a use for.
const LONGEST: Duration = Duration::from_secs(31 * 24 * 3600);

/// How far back photos are taken: a number of days or hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backfill(pub(crate) Duration);

/// The text is no time to go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write days or hours, such as 2d or 36h, and at most 31d")]
pub(crate) struct NoBackfill;

impl FromStr for Backfill {
    type Err = NoBackfill;

    fn from_str(text: &str) -> Result<Self, NoBackfill> {
        let (number, unit) = match text.strip_suffix('d') {
            Some(days) => (days, 24),
            None => (text.strip_suffix('h').ok_or(NoBackfill)?, 1),
        };
        let number: u32 = number.parse().map_err(|_| NoBackfill)?;
        let back = Duration::from_secs(u64::from(number) * unit * 3600);
        if back.is_zero() || back > LONGEST {
            return Err(NoBackfill);
        }
        Ok(Self(back))
    }
}

/// What a backfill costs, in calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    visits: usize,
    pages: usize,
    visits_in_one_call: usize,
}

impl Cost {
    /// Calls to list the visits: several pages are read twice, lest a visit be missed that moved from one to another.
    fn to_list(self) -> usize {
        if self.pages > 1 { 2 * self.pages } else { self.pages }
    }

    /// Calls to look at the documents of each visit once.
    fn to_look(self) -> usize {
        self.visits.div_ceil(self.visits_in_one_call)
    }

    /// Both; photos come on top.
    fn calls(self) -> usize {
        self.to_list() + self.to_look()
    }
}

/// Asks the EHR how many visits a firm's first poll will bring: what that costs. Read-only; nothing is stored but the calls that
/// were made.
pub(crate) async fn cost(
    config: &Config,
    state: &dyn StateStore,
    firm: &Firm,
    credential: &NewCredential,
) -> Result<BackfillCost, Failure> {
    let ehr = wiring::ehr(config)?;
    let key = wiring::quotas(config)?.of(firm);
    let quota = Quota {
        grants: state,
        key: &key,
        clock: &SystemClock,
        in_hand: None,
    };
    let endpoint = wiring::token_endpoint(config, Arc::clone(&ehr)).await;
    let token = token(&*endpoint, firm, credential).await?;
    let query = EncounterQuery {
        changed_since: Cursor(firm.photos_since - WATCH_LIFE).query_from(),
    };
    let mut cost = Cost {
        visits: 0,
        pages: 0,
        visits_in_one_call: ehr.document_searches().visits_in_one_call,
    };
    let mut page = None;
    loop {
        let request = ehr.encounters(firm, &token, &query, page.as_ref());
        let reply = quota
            .call(CallKind::Context, request)
            .await
            .map_err(|error| ChartAccess::failure(format!("the visits of `{}` cannot be counted", firm.id), error))?;
        cost.pages += 1;
        let recent = reply
            .items
            .iter()
            .filter(|visit| visit.last_updated.is_none_or(|at| at >= query.changed_since));
        cost.visits += recent.count();
        page = reply.next;
        if page.is_none() {
            break;
        }
        if cost.pages == MOST_ENCOUNTER_PAGES {
            return Err(
                Failure::new("the backfill has more visits than one poll reads").with_hint("reach back less far")
            );
        }
    }
    let window_seconds = key.window.as_secs();
    Ok(BackfillCost {
        changed_since: query.changed_since,
        visits: cost.visits,
        calls_to_list: cost.to_list(),
        calls_to_look: cost.to_look(),
        quota_calls: key.calls,
        quota_window_seconds: window_seconds,
        minutes: cost.calls() as f64 * key.window.as_secs_f64() / f64::from(key.calls) / 60.0,
    })
}

/// What a backfill costs before a photo is read.
#[derive(Debug, Serialize)]
pub(crate) struct BackfillCost {
    changed_since: Timestamp,
    visits: usize,
    /// Calls to list the visits.
    calls_to_list: usize,
    /// Calls to look at the documents of each of them once.
    calls_to_look: usize,
    quota_calls: u32,
    quota_window_seconds: u64,
    /// Of the whole quota, which the other practices share.
    minutes: f64,
}

impl fmt::Display for BackfillCost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            changed_since,
            visits,
            calls_to_list,
            calls_to_look,
            quota_calls,
            quota_window_seconds,
            minutes,
        } = self;
        write!(
            formatter,
            "The backfill brings {visits} visits that changed since {changed_since}.\n  \
               {calls_to_list:>6} calls to list them\n  \
               {calls_to_look:>6} calls to look at their documents once\n  \
             and for each photo in a chosen category a read, at most two for context, and in draft mode a draft.\n\
             At {quota_calls} calls in {quota_window_seconds} s, that is {minutes:.1} minutes of the whole quota, which the other practices share."
        )
    }
}

/// A token for a firm that is not stored yet.
async fn token(endpoint: &dyn TokenEndpoint, firm: &Firm, credential: &NewCredential) -> Result<AccessToken, Failure> {
    let credential = Credential {
        firm: firm.id.clone(),
        client_id: credential.client_id.clone(),
        client_secret: credential.client_secret.clone(),
        key_id: credential.key_id.clone(),
        token: None,
        refresh_token: None,
        state: CredentialState::Usable,
    };
    let issued = endpoint.request_token(firm, &credential, SystemClock.now()).await;
    issued
        .map(|issued| issued.access)
        .failed(|| format!("there is no token for `{}`", firm.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_go_back_is_days_or_hours() {
        assert_eq!("2d".parse(), Ok(Backfill(Duration::from_secs(48 * 3600))));
        assert_eq!("36h".parse(), Ok(Backfill(Duration::from_secs(36 * 3600))));
        for wrong in ["", "d", "0d", "-1d", "2", "2w", "32d", "1.5d", "99999999999d"] {
            assert_eq!(wrong.parse::<Backfill>(), Err(NoBackfill), "{wrong}");
        }
    }

    #[test]
    fn calls_are_pages_and_looks() {
        let cost = Cost {
            visits: 41,
            pages: 3,
            visits_in_one_call: 20,
        };
        assert_eq!(cost.calls(), 9, "three pages, twice, and three looks");
        assert_eq!(Cost { pages: 1, ..cost }.calls(), 4);
    }
}
