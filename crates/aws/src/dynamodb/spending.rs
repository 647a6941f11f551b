//! What language models cost: a row for each firm and day among the firm's results, so that it goes with them. Added to by the
//! table itself, so that nothing that others add at the same time is lost.

use async_trait::async_trait;
use skin_assist_core::{
    domain::FirmId,
    ports::{Firms as _, LanguageSpending, LanguageSpent},
    time::Timestamp,
};

use super::{
    DynamoStore, Outcome,
    codec::{Attributes, number},
    schema::ASSIST_RESULTS,
    write::{Key, Write},
};

fn key(firm: &FirmId, at: Timestamp) -> Key {
    Key::new(firm.as_str(), format!("spending#{}", at.date_plus_days(0)))
}

#[async_trait]
impl LanguageSpending for DynamoStore {
    async fn language_spent(&self, firm: &FirmId, at: Timestamp) -> Outcome<LanguageSpent> {
        let Some(row) = self.get(&ASSIST_RESULTS, &key(firm, at)).await? else {
            return Ok(LanguageSpent::default());
        };
        let attributes = Attributes {
            table: ASSIST_RESULTS.name,
            row: &row,
        };
        Ok(LanguageSpent {
            assessments: attributes.number("assessments")?,
            calls: attributes.number("calls")?,
            input_tokens: attributes.number("input_tokens")?,
            output_tokens: attributes.number("output_tokens")?,
            cost_micros: attributes.number("cost_micros")?,
        })
    }

    async fn add_language_spent(&self, firm: &FirmId, at: Timestamp, spent: &LanguageSpent) -> Outcome<()> {
        if self.firm(firm).await?.is_none() {
            return Ok(());
        }
        let sums = [
            ("assessments", spent.assessments),
            ("calls", spent.calls),
            ("input_tokens", spent.input_tokens),
            ("output_tokens", spent.output_tokens),
            ("cost_micros", spent.cost_micros),
        ];
        let mut write = Write::update(&ASSIST_RESULTS, key(firm, at)).value("nothing", number(0));
        for (attribute, more) in sums {
            write = write
                .set_by(&format!(
                    "#{attribute} = if_not_exists(#{attribute}, :nothing) + :{attribute}"
                ))
                .value(attribute, number(more));
        }
        self.write(write).await.map(drop)
    }
}
