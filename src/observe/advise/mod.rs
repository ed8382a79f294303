//! `walia_advise(text)`: for each distance in an ORDER BY of a query, whether an index serves it, and why
//! not.
//!
//! The query is planned, by EXPLAIN and with the caller's rights, and never run.

mod catalog;
mod explained;
mod judge;
mod statement;

use super::rows::{export, row};
use crate::am::last;
use crate::error::{OrRaise, Result};
use crate::plan::orderings::{self, Ordering, Source};
use catalog::{Distance, Table};
use explained::Explained;

row! {
    /// About an ordering.
    Advice {
        ordering: String,
        relation: Option<String>,
        index: Option<String>,
        used: bool,
        reason: String,
        advice: Option<String>,
    }
}

export!("walia_advise_wrapper": call(TEXTOID) -> Advice => advise(&call.text(0).unwrap_or_default()).or_raise());

fn advise(query: &str) -> Result<Vec<Advice>> {
    let query = statement::Plannable::new(query)?;
    let (explained, orderings) = orderings::collect(|| Explained::new(&query));
    let explained = explained?;
    // Whether the index would be used if the planner thought nothing of the other ways.
    let mut forced = None;
    let mut rows = Vec::new();
    for ordering in &orderings {
        let Some(distance) = Distance::of(ordering)? else { continue };
        let tables = match &ordering.of {
            Source::Tables { tables, .. } => catalog::tables(tables, &distance)?,
            _ => Vec::new(),
        };
        let shares = |other: &Ordering| match (&other.of, &ordering.of) {
            (Source::Tables { tables: others, .. }, Source::Tables { tables, .. }) => {
                others.iter().any(|other| tables.contains(other))
            }
            _ => false,
        };
        let is_only = orderings.iter().filter(|other| shares(other)).count() == 1;
        let uses = |explained: &Explained| used(explained, ordering, &tables, is_only);
        let indexes = uses(&explained);
        if indexes.is_empty() && forced.is_none() {
            forced = Some(Explained::by_indexes(&query)?);
        }
        let case = judge::Case {
            ordering,
            distance: &distance,
            tables: &tables,
            plan: &explained,
            forced: forced.as_ref().filter(|forced| !uses(forced).is_empty()),
            disabled: explained::disabled(),
        };
        let judged =
            if indexes.is_empty() { judge::unused(&case) } else { judge::used(&case, indexes.len()) };
        let names: Vec<String> = tables.iter().map(|table| table.name.clone()).collect();
        rows.push(Advice {
            ordering: ordering.text.clone(),
            relation: (!names.is_empty()).then(|| last::names(names.into_iter())),
            used: !indexes.is_empty(),
            index: if indexes.is_empty() { judged.index } else { Some(last::names(indexes.into_iter())) },
            reason: judged.reason,
            advice: judged.advice,
        });
    }
    Ok(rows)
}

/// The indexes of an ordering's tables that a plan scans in its order. `is_only` says that no other ordering
/// of the query is of one of these tables; otherwise what the plan shows of the order tells which is meant.
fn used(explained: &Explained, ordering: &Ordering, tables: &[Table], is_only: bool) -> Vec<String> {
    let bare = |text: &str| text.replace(['(', ')'], "");
    let mut used: Vec<String> = Vec::new();
    if ordering.place > 0 {
        return used;
    }
    for table in tables {
        for scan in &explained.scans {
            let Some(index) = table.indexes.iter().find(|index| index.is(scan)) else { continue };
            let order =
                scan.order.as_deref().map(|order| bare(&order.replace(&format!("{}.", scan.alias), "")));
            let text = bare(&ordering.text.replace(&format!("{}.", scan.alias), ""));
            let is_same = || !ordering.is_descending && order.is_some_and(|order| text.contains(&order));
            if (is_only || is_same()) && !used.contains(&index.name) {
                used.push(index.name.clone());
            }
        }
    }
    used
}
