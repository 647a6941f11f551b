//! What language models cost, by firm and day.

use async_trait::async_trait;
use rusqlite::params;
use skin_assist_core::{
    domain::FirmId,
    ports::{LanguageSpending, LanguageSpent},
    time::Timestamp,
};

use crate::{
    Outcome, SqliteStore,
    codec::{Columns, whole},
    execute, first,
};

#[async_trait]
impl LanguageSpending for SqliteStore {
    async fn language_spent(&self, firm: &FirmId, at: Timestamp) -> Outcome<LanguageSpent> {
        self.read(|state| {
            let spent = first(
                state,
                "SELECT * FROM language_spending WHERE firm = ?1 AND day = ?2",
                params![firm.as_str(), at.date_plus_days(0)],
                |row| {
                    let columns = Columns {
                        table: "language_spending",
                        row,
                    };
                    Ok(LanguageSpent {
                        assessments: columns.count("assessments")?,
                        calls: columns.count("calls")?,
                        input_tokens: columns.count("input_tokens")?,
                        output_tokens: columns.count("output_tokens")?,
                        cost_micros: columns.count("cost_micros")?,
                    })
                },
            )?;
            Ok(spent.unwrap_or_default())
        })
    }

    async fn add_language_spent(&self, firm: &FirmId, at: Timestamp, spent: &LanguageSpent) -> Outcome<()> {
        self.write(|state| {
            execute(
                state,
                "INSERT INTO language_spending
                     (firm, day, assessments, calls, input_tokens, output_tokens, cost_micros)
                 SELECT firm, ?2, ?3, ?4, ?5, ?6, ?7 FROM firms WHERE firm = ?1
                 ON CONFLICT (firm, day) DO UPDATE SET
                     assessments = assessments + excluded.assessments, calls = calls + excluded.calls,
                     input_tokens = input_tokens + excluded.input_tokens,
                     output_tokens = output_tokens + excluded.output_tokens,
                     cost_micros = cost_micros + excluded.cost_micros",
                params![
                    firm.as_str(),
                    at.date_plus_days(0),
                    whole(spent.assessments),
                    whole(spent.calls),
                    whole(spent.input_tokens),
                    whole(spent.output_tokens),
                    whole(spent.cost_micros)
                ],
            )
            .map(drop)
        })
    }
}
