//! What an EHR gets wrong, or does in its own way, without telling anybody. Plain data that a test sets while it runs.
//!
//! A dialect is what the EHR documents; a quirk is what it does in spite of it. What ends by itself counts down here.

use std::{collections::BTreeSet, time::Duration};

use http::StatusCode;

use crate::{
    dialect::{Dialect, ReferenceForm, Totals},
    quota::CallKind,
};

/// Quirks in force. The default is none.
#[derive(Debug, Clone, Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a habit that an EHR has or does not have"
)]
pub struct Quirks {
    /// A change is seen by searches only this long after the `lastUpdated` that it carries; until then they give the
    /// record as it was before, if it was there.
    pub visibility_delay: Duration,
    /// Each change has a delay of its own, up to that one: what changed later may be seen earlier, as where several machines write or
    /// an index is filled by several workers.
    pub visibility_is_uneven: bool,
    /// Searches without `_sort` list the latest change first, so that what arrives between two pages shifts them.
    pub newest_first: bool,
    /// How results carry `meta.lastUpdated`.
    pub last_updated: LastUpdatedForm,
    /// Instants in date parameters are cut to their day and compared as days.
    pub compares_days_only: bool,
    /// How many minutes the practice's day is ahead of UTC, instead of the dialect's.
    pub day_offset_minutes: Option<i32>,
    /// What `Bundle.total` counts, instead of the dialect's.
    pub totals: Option<Totals>,
    /// Whether a full last page links to an empty one, instead of the dialect's.
    pub links_past_the_end: Option<bool>,
    /// How references are written, instead of the dialect's.
    pub references: Option<ReferenceForm>,
    /// Where `next` links lead.
    pub next_link: NextLink,
    /// How long a page of a search can be asked for.
    pub paging_session: Option<PagingSession>,
    /// Ids given from now on have a bar, a space, a percent sign, a plus sign and an umlaut in them.
    pub odd_ids: bool,
    /// Search parameters that are taken and ignored.
    pub ignored_parameters: BTreeSet<&'static str>,
    /// Replies spoilt; the first entry for a kind that has some left is used.
    pub spoilt_replies: Vec<SpoiltReply>,
    /// How the token endpoint says when a token expires.
    pub expires_in: ExpiresIn,
    /// After this many more authorised calls on the API the token of the next one is revoked.
    pub revoke_token_after: Option<u32>,
    /// What a 429 says about when to come back.
    pub retry_after: RetryAfter,
    /// Replies to authorised calls say `X-RateLimit-Limit` and `X-RateLimit-Remaining`.
    pub rate_limit_headers: bool,
    /// How many seconds the EHR's clock is ahead of the true time; negative is behind. It shows in the header `Date` and
    /// in every time the EHR writes or compares.
    pub clock_skew_seconds: i64,
    /// Replies are compressed when the request allows it. At the HTTP edge only.
    pub gzip: bool,
    /// This many accepted drafts are processed twice, as by a proxy that tries again.
    pub duplicate_posts: u32,
    /// A search for drafts finds one only this long after it was made. A conditional create knows at once.
    pub draft_visibility_delay: Duration,
    /// What refusals and spoilt replies quote, as servers quote their patients.
    pub quoted: Option<String>,
    /// The dialect that `metadata` and the discovery document state, when it is not the true one.
    pub claimed: Option<Dialect>,
}

/// How results carry `meta.lastUpdated`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LastUpdatedForm {
    /// To the millisecond.
    #[default]
    Exact,
    /// The day alone.
    Day,
    /// Not at all.
    Missing,
}

/// Where `next` links lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NextLink {
    /// To the next page.
    #[default]
    Own,
    /// To the next page, on a host that is not the EHR's.
    OtherHost,
    /// To the next page, of another firm.
    OtherFirm,
    /// From the last page to the first.
    Cyclic,
    /// To a page after the last one, where the first comes again, and on without end.
    NeverEnding,
}

impl NextLink {
    /// The host of [`NextLink::OtherHost`].
    pub const ELSEWHERE: &'static str = "https://elsewhere.example";
}

/// How long a page of a search can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PagingSession {
    /// A `next` link is good for this long.
    pub lifetime: Duration,
    /// What one that is older is refused with, such as 410 or 400.
    pub status: StatusCode,
}

/// The next replies of a kind are spoilt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoiltReply {
    /// Replies to which calls.
    pub kind: CallKind,
    /// In what way.
    pub form: Spoilt,
    /// How many are left.
    pub remaining: u32,
}

/// How a reply is spoilt. A draft is stored all the same; a read is not counted as one that gave anything, except with
/// [`Spoilt::Truncated`] and [`Spoilt::OutcomeInBundle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoilt {
    /// 200, and the body is an OperationOutcome of severity error.
    OutcomeAsBody,
    /// 200, and the Bundle has an OperationOutcome among its entries. Other replies are not spoilt by it.
    OutcomeInBundle {
        /// Of severity error, or of severity warning.
        is_error: bool,
    },
    /// 200 and a page of HTML.
    HtmlPage,
    /// 502 and a page of HTML.
    HtmlBadGateway,
    /// The first half of the body, with its full status.
    Truncated,
}

impl Spoilt {
    /// Whether nothing of the true reply is left.
    pub(crate) const fn replaces_the_body(self) -> bool {
        matches!(self, Self::OutcomeAsBody | Self::HtmlPage | Self::HtmlBadGateway)
    }
}

/// How the token endpoint says when a token expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExpiresIn {
    /// `"expires_in": 900`.
    #[default]
    Number,
    /// `"expires_in": "900"`.
    Text,
    /// Not at all.
    Absent,
}

/// What a 429 says about when to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RetryAfter {
    /// Nothing.
    #[default]
    Absent,
    /// `Retry-After: {seconds}`.
    Seconds(u64),
    /// `Retry-After:` and an HTTP date this many seconds ahead on the EHR's clock.
    Date(u64),
}

impl Quirks {
    /// The way in which the reply to this call is to be spoilt, if it is.
    pub(crate) fn take_spoilt(&mut self, kind: CallKind) -> Option<Spoilt> {
        let entry = self
            .spoilt_replies
            .iter_mut()
            .find(|entry| entry.kind == kind && entry.remaining > 0)?;
        entry.remaining -= 1;
        Some(entry.form)
    }

    /// Whether the draft just processed is to be processed again.
    pub(crate) fn take_duplicate_post(&mut self) -> bool {
        let again = self.duplicate_posts > 0;
        self.duplicate_posts = self.duplicate_posts.saturating_sub(1);
        again
    }

    /// Whether the token of this call is revoked now.
    pub(crate) fn take_revocation(&mut self) -> bool {
        match self.revoke_token_after {
            Some(0) => {
                self.revoke_token_after = None;
                true
            }
            Some(left) => {
                self.revoke_token_after = Some(left - 1);
                false
            }
            None => false,
        }
    }
}
