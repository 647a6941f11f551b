//! What is kept for how long, as one table for the command line and the console; and what removes the rest.

use std::time::Duration;

use skin_assist_core::{
    domain::{EVENT_LIFE, POLL_REACH, RECONCILED_FOR, WATCH_LIFE},
    ports::{Kept, Removed, Retention, RetentionLimits, StateError},
    time::{Clock, Timestamp},
};

use crate::{
    config::{Config, StoreName},
    wiring,
};

/// A day.
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// For how many minutes photos are kept.
pub(crate) const PHOTOS_MINUTES: u64 = 10;

/// For how long one part of a removal may take: none is begun later before the time by which it has to be over.
const PART_TAKES: Duration = Duration::from_secs(120);

/// After its last change, for how many days at the earliest a visit is known that was watched; and for how many where no cursor moves.
pub(crate) const VISITS_DAYS: [u64; 2] = {
    let earliest = WATCH_LIFE.as_secs() + RECONCILED_FOR.as_secs();
    [
        earliest / DAY.as_secs(),
        (earliest + POLL_REACH.as_secs()) / DAY.as_secs(),
    ]
};

/// What is said where there are no figures.
pub(crate) const NOT_COUNTED: &str = "What there is in DynamoDB is not counted: that would be paid for by each row. What has expired there is deleted some days later.";

/// One kind of thing that is kept.
pub(crate) struct KeptRow<'a> {
    /// Of what.
    pub(crate) what: &'static str,
    /// For how long.
    pub(crate) life: String,
    /// By which key of the configuration, or that it is fixed.
    pub(crate) limit: &'static str,
    /// How much there is.
    pub(crate) figures: Option<&'a Kept>,
}

/// So many days.
pub(crate) fn days(limit: Option<Duration>) -> Option<u64> {
    limit.map(|limit| limit.as_secs() / DAY.as_secs())
}

/// What is kept, and for how long.
pub(crate) fn kept_rows<'a>(config: &Config, kept: &'a [Kept]) -> Vec<KeptRow<'a>> {
    let limits = wiring::retention(config);
    let shown = |limit| days(limit).map_or_else(|| "for ever".to_owned(), |days| format!("{days} days"));
    let photos = match config.state.store {
        StoreName::Sqlite => "photos, in memory alone",
        StoreName::Dynamodb => "photos, in memory; with functions in a bucket",
    };
    let [earliest, by_time] = VISITS_DAYS;
    let visits = match config.state.store {
        StoreName::Sqlite => format!(
            "{earliest} days, and until polls are {} days past it; {by_time} days where nobody polls",
            POLL_REACH.as_secs() / DAY.as_secs()
        ),
        StoreName::Dynamodb => format!("{by_time} days"),
    };
    let row = |what, life: String, limit, stored: &str| KeptRow {
        what,
        life,
        limit,
        figures: kept.iter().find(|kept| kept.what == stored),
    };
    let mut rows = vec![
        row(photos, format!("{PHOTOS_MINUTES} minutes"), "fixed", ""),
        row(
            "watch on a visit, after its last change",
            format!("{} hours", WATCH_LIFE.as_secs() / 3600),
            "fixed",
            "",
        ),
        row("visits, after their last change", visits, "fixed", "encounters"),
        row(
            "findings, for a second attempt",
            "24 hours".to_owned(),
            "fixed",
            "findings",
        ),
        row("results", shown(limits.results), "retention.results_days", "results"),
        row(
            "patients of retracted photos without a result",
            shown(limits.results),
            "retention.results_days",
            "",
        ),
        row(
            "which photos were found",
            "until the practice is removed".to_owned(),
            "-",
            "photos",
        ),
        row("dead letters", "until put back".to_owned(), "-", "dead letters"),
        row(
            "audit trail",
            shown(limits.audit),
            "retention.audit_days",
            "audit entries",
        ),
    ];
    if config.state.store == StoreName::Sqlite {
        let life = format!("{} days", EVENT_LIFE.as_secs() / DAY.as_secs());
        rows.push(row("events of charts, for subscribers", life, "fixed", "events"));
    }
    rows
}

/// Removes what is past its time, part by part, until nothing is left of it or `until` is near; the next one goes on.
pub(crate) async fn remove_expired(
    state: &(impl Retention + ?Sized),
    clock: &dyn Clock,
    limits: &RetentionLimits,
    until: Option<Timestamp>,
) -> Result<Removed, StateError> {
    let mut all = Removed::default();
    loop {
        let now = clock.now();
        let removed = state.remove_expired(limits, now).await?;
        all.results += removed.results;
        all.photos += removed.photos;
        all.audit_entries += removed.audit_entries;
        all.more = removed.more;
        if !all.more || until.is_some_and(|until| clock.now() + PART_TAKES > until) {
            break;
        }
    }
    if all.results + all.photos + all.audit_entries > 0 {
        tracing::info!(
            event = "retention.removed",
            results = all.results,
            photos = all.photos,
            audit_entries = all.audit_entries,
            more = all.more
        );
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use skin_assist_store::SqliteStore;

    use super::*;

    #[test]
    fn for_how_long_it_is_kept_is_said_of_all_that_is_counted() {
        let store = SqliteStore::open_in_memory().unwrap();
        let kept = futures::executor::block_on(store.kept()).unwrap();
        let config = Config::defaults().unwrap();
        let rows = kept_rows(&config, &kept);
        for counted in &kept {
            let of_it = rows.iter().filter(|row| row.figures == Some(counted)).count();
            assert_eq!(of_it, 1, "{}", counted.what);
        }
        let events = rows.iter().find(|row| row.what.starts_with("events")).unwrap();
        assert_eq!(events.life, "7 days");
        let visits = rows.iter().find(|row| row.what.starts_with("visits")).unwrap();
        assert_eq!(
            visits.life,
            "5 days, and until polls are 2 days past it; 7 days where nobody polls"
        );
    }
}
