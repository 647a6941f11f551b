//! `skin-assist categories`.

use std::{process::ExitCode, sync::Arc};

use serde_json::json;
use skin_assist_core::{
    domain::{CategoryCode, CategoryUse, DocumentCategory, Firm},
    ports::{AuditAction, CallKind, FirmSettings as _, StateStore},
};

use super::{Operator, chart_access::ChartAccess, known_firm, print_changed, print_json, state_failed, table::table};
use crate::{
    cli::CategoriesCommand,
    config::Config,
    failure::{Failure, Hinted as _, WithHint as _},
    wiring,
};

/// Chooses what is done with a practice's document categories.
pub(crate) async fn categories(config: &Config, command: CategoriesCommand) -> Result<ExitCode, Failure> {
    let state = wiring::state(config).await?;
    match command {
        CategoriesCommand::List { firm, json } => {
            let firm = known_firm(&*state, &firm).await?;
            let listed = from_ehr(config, &state, &firm).await?;
            let listed = listed.unwrap_or_else(|| {
                // The codes that were chosen are all that is known.
                let chosen = firm.categories.keys().map(|code| DocumentCategory {
                    code: code.clone(),
                    display: String::new(),
                });
                chosen.collect()
            });
            list(&firm, &listed, json)?;
        }
        CategoriesCommand::Set {
            firm,
            uses,
            unchecked,
            json,
        } => {
            let firm = known_firm(&*state, &firm).await?;
            let listed = if unchecked {
                None
            } else {
                from_ehr(config, &state, &firm).await?
            };
            set(&*state, &Operator::of_the_command(), &firm, &uses, listed.as_deref()).await?;
            let what = if uses.len() == 1 {
                "the category"
            } else {
                "the categories"
            };
            let changed = known_firm(&*state, firm.id.as_str()).await?;
            print_changed(json, &changed, &format!("Set {what} of `{}`.", firm.id))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The word for a use.
pub(crate) const fn word(used: CategoryUse) -> &'static str {
    match used {
        CategoryUse::Solitary => "solitary",
        CategoryUse::Widespread => "widespread",
        CategoryUse::Ignored => "ignored",
    }
}

/// The practice's value set, where its EHR has one.
pub(crate) async fn from_ehr(
    config: &Config,
    state: &Arc<dyn StateStore>,
    firm: &Firm,
) -> Result<Option<Vec<DocumentCategory>>, Failure> {
    let access = ChartAccess::open(config, state, firm).await?;
    let failed = |error| {
        ChartAccess::failure(
            format!("the categories of `{}` cannot be read from its EHR", firm.id),
            error,
        )
    };
    let request = access.ehr.categories(firm, &access.token);
    access.quota().call(CallKind::Context, request).await.map_err(failed)
}

fn list(firm: &Firm, listed: &[DocumentCategory], json: bool) -> Result<(), Failure> {
    let used = |code: &CategoryCode| firm.categories.get(code).copied().unwrap_or(CategoryUse::Ignored);
    if json {
        let categories: Vec<_> = listed
            .iter()
            .map(|category| json!({ "code": category.code, "display": category.display, "use": word(used(&category.code)) }))
            .collect();
        return print_json(&categories);
    }
    let rows: Vec<_> = listed
        .iter()
        .map(|category| {
            [
                category.code.to_string(),
                category.display.clone(),
                word(used(&category.code)).to_owned(),
            ]
        })
        .collect();
    super::print(&table(["CODE", "DISPLAY", "USE"], &rows));
    Ok(())
}

/// Chooses what is done with categories, each as `CODE=USE`; of `listed` ones where the EHR lists them.
pub(crate) async fn set(
    state: &dyn StateStore,
    operator: &Operator,
    firm: &Firm,
    uses: &[String],
    listed: Option<&[DocumentCategory]>,
) -> Result<(), Failure> {
    let mut categories = firm.categories.clone();
    for pair in uses {
        let (code, used) = pair.rsplit_once('=').unwrap_or((pair, ""));
        let used = match used {
            "solitary" => CategoryUse::Solitary,
            "widespread" => CategoryUse::Widespread,
            "ignored" => CategoryUse::Ignored,
            _ => {
                return Err(Failure::new(format!("`{pair}` says nothing about a category"))
                    .with_hint("write CODE=solitary, CODE=widespread or CODE=ignored"));
            }
        };
        let code: CategoryCode = code
            .parse()
            .failed(|| format!("`{code}` cannot be the code of a category"))
            .hint("`skin-assist categories list` shows the codes")?;
        if listed.is_some_and(|listed| listed.iter().all(|category| category.code != code)) {
            return Err(
                Failure::new(format!("the EHR lists no category `{code}` for `{}`", firm.id))
                    .with_hint("`skin-assist categories list` shows the codes; --unchecked takes any"),
            );
        }
        categories.insert(code, used);
    }
    state
        .audited(operator.entry(&firm.id, AuditAction::FirmChanged, "categories"))
        .set_categories(&firm.id, &categories)
        .await
        .map_err(state_failed)
}
