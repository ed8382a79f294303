//! Why an ordering is or is not served by an index, in sentences.

use super::catalog::{Distance, Index, Table};
use super::explained::Explained;
use crate::am::last::names;
use crate::plan::orderings::{Dimensions, Ordering, Source};

/// Rows that a sequential scan ranks fast enough.
const FEW_ROWS: f64 = 10_000.0;

/// What is said.
pub struct Judged {
    /// The index that is spoken of.
    pub index: Option<String>,
    pub reason: String,
    pub advice: Option<String>,
}

impl Judged {
    fn new(reason: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { index: None, reason: reason.into(), advice: Some(advice.into()) }
    }

    fn of(self, index: &Index) -> Self {
        Self { index: Some(index.name.clone()), ..self }
    }
}

/// An ordering that no index serves.
pub struct Case<'a> {
    pub ordering: &'a Ordering,
    pub distance: &'a Distance,
    pub tables: &'a [Table],
    pub plan: &'a Explained,
    /// The plan if other ways cost very much, where that uses an index.
    pub forced: Option<&'a Explained>,
    /// A setting that keeps indexes from being used.
    pub disabled: Option<&'static str>,
}

/// What is said of an ordering that so many indexes serve.
pub fn used(case: &Case, indexes: usize) -> Judged {
    let ordering = case.ordering;
    if let Some(wrong) = wrong_dimensions(ordering) {
        return wrong;
    }
    let reason = match indexes {
        1 => "The index gives the rows in this order.".to_owned(),
        _ => format!("{indexes} indexes give the rows in this order."),
    };
    // Rows of the tables that lack one are sorted.
    if let Some(lacking) = of_indexes(case) {
        return Judged {
            index: None,
            reason: format!("{reason} {}", lacking.reason),
            advice: lacking.advice,
        };
    }
    let advice = (!ordering.has_limit)
        .then(|| "Add a LIMIT: without one the search goes on until all rows have been given.".to_owned());
    Judged { index: None, reason, advice }
}

/// Why no index serves an ordering: the first reason that there is, those in the query before those in the
/// indexes, and the cost last.
pub fn unused(case: &Case) -> Judged {
    let ordering = case.ordering;
    of_source(case)
        .or_else(|| wrong_dimensions(ordering))
        .or_else(|| of_key(case))
        .or_else(|| of_indexes(case))
        .or_else(|| of_settings(case))
        .or_else(|| of_cost(case))
        .unwrap_or_else(|| of_query(case))
}

fn of_source(case: &Case) -> Option<Judged> {
    let Some(_) = case.distance.class else {
        return Some(Judged::new(
            format!("walia_hnsw has no operator class with this operator {}.", case.distance.operator),
            "For the types of pgvector, run CREATE EXTENSION walia_pgvector.",
        ));
    };
    Some(match case.ordering.of {
        Source::Constants => Judged::new(
            "No column of a table is in the distance: it is the same for all rows.",
            "Order by the distance of a column from a vector.",
        ),
        Source::BothSides => Judged::new(
            "Both sides of the distance are columns of the same row: there is no vector to search for.",
            "Compare the column with a constant, a parameter, or a subquery that gives one vector.",
        ),
        Source::Joined => Judged::new(
            "The distance is between columns of tables that are joined: there is no one vector to search for.",
            "Search for each row of the one table in a LATERAL subquery on the other, with ORDER BY and LIMIT in it.",
        ),
        Source::Derived => Judged::new(
            "The distance is of what a subquery, a CTE or a function gives, which has no index.",
            "Order by the distance, with a LIMIT, within the subquery, where the table is.",
        ),
        Source::Tables { .. } => return None,
    })
}

fn wrong_dimensions(ordering: &Ordering) -> Option<Judged> {
    let Source::Tables { dimensions: Some(Dimensions { column, query }), .. } = ordering.of else {
        return None;
    };
    (column != query).then(|| {
        Judged::new(
            format!("The vector has {query} dimensions and the column {column}: the query would fail."),
            format!("Compare the column with a vector of {column} dimensions."),
        )
    })
}

/// What is wrong with the key of the ORDER BY.
fn of_key(case: &Case) -> Option<Judged> {
    let Case { ordering, distance, .. } = case;
    let operator = &distance.operator;
    if ordering.place > 0 {
        return Some(Judged::new(
            "The distance is not the first key of the ORDER BY, and the first one decides.",
            "Put the distance first.",
        ));
    }
    if ordering.before.is_some() && !ordering.is_linear {
        return Some(of_query(case));
    }
    if ordering.operator.is_none() {
        return Some(Judged::new(
            "The distance is computed by a function: an index serves the operator.",
            format!("Write it with the operator {operator}."),
        ));
    }
    if !ordering.is_linear {
        return Some(Judged::new(
            "The ORDER BY is an expression of the distance: an index serves the distance itself, a multiple of it, \
             and one plus or minus a constant.",
            format!("Order by the operator {operator} alone, and compute the expression in the select list."),
        ));
    }
    ordering.is_descending.then(|| {
        Judged::new(
            "It asks for the furthest rows first: an index gives the nearest first.",
            "Order by the distance without DESC, or by a similarity such as 1 minus the distance with DESC.",
        )
    })
}

/// What is wrong with the indexes of the first table that none serves.
fn of_indexes(case: &Case) -> Option<Judged> {
    let Source::Tables { column, .. } = &case.ordering.of else { return None };
    let is_on_column = |index: &Index| {
        let bare = |text: &str| text.replace(['(', ')', ' '], "");
        column.as_ref().is_none_or(|column| bare(column) == bare(&index.key))
    };
    let is_proven = |index: &Index| !case.ordering.unproven.contains(&index.oid);
    let serves =
        |index: &Index| index.has_distance && is_on_column(index) && index.is_valid && is_proven(index);
    let lacking: Vec<&Table> = case.tables.iter().filter(|table| !table.graphs().any(serves)).collect();
    let table = lacking.first()?;
    // Enough is said of one; where others have theirs, that it is one of several.
    let of_all = if lacking.len() == case.tables.len() && case.tables.len() == 1 {
        String::new()
    } else {
        format!(" Of {} tables {} lack one.", case.tables.len(), lacking.len())
    };
    let class = case.distance.class.as_deref().unwrap_or_default();
    let key = column.as_deref().unwrap_or("…");
    let key = if key.contains([':', '(', ' ']) { format!("({key})") } else { key.to_owned() };
    let create = format!("CREATE INDEX ON {} USING walia_hnsw ({key} {class})", table.name);
    let find = |is: &dyn Fn(&Index) -> bool| table.graphs().find(|index| is(index));
    let judged = if let Some(index) =
        find(&|index| index.has_distance && is_on_column(index) && !index.is_valid)
    {
        Judged::new(
            format!("Index {} is invalid: its build did not end.", index.name),
            format!("Run REINDEX INDEX {}.", index.name),
        )
        .of(index)
    } else if let Some(index) = find(&|index| index.has_distance && is_on_column(index)) {
        let predicate = index.predicate.as_deref().unwrap_or_default();
        Judged::new(
            format!("Index {} is partial, and the conditions of the query do not imply its predicate {predicate}.", index.name),
            format!("Add {predicate} to the WHERE, with constants and not parameters, or create an index of all rows: {create}."),
        )
        .of(index)
    } else if let Some(index) = find(&is_on_column) {
        Judged::new(
            format!(
                "Index {} has operator class {}, which orders by {}; the query orders by {}.",
                index.name, index.class, index.operator, case.distance.operator
            ),
            format!("Order by {}, or create an index of the other class: {create}.", index.operator),
        )
        .of(index)
    } else if let Some(index) = find(&|index| index.has_distance) {
        Judged::new(
            format!(
                "Index {} is on {}, and the query orders by the distance of {key}.",
                index.name, index.key
            ),
            format!("Write in the query what the index has, or create an index: {create}."),
        )
        .of(index)
    } else if let Some(index) = find(&|_| true) {
        Judged::new(
            format!("Index {} is on {}, of operator class {}.", index.name, index.key, index.class),
            format!("Create an index: {create}."),
        )
        .of(index)
    } else {
        Judged::new(
            format!("Table {} has no walia_hnsw index.", table.name),
            format!("Create one: {create}."),
        )
    };
    Some(Judged { reason: judged.reason + &of_all, ..judged })
}

fn of_settings(case: &Case) -> Option<Judged> {
    let setting = case.disabled?;
    Some(Judged::new(format!("The setting {setting} is off."), format!("Run RESET {setting}.")))
}

/// The planner has plans with an index, and thinks that others cost less.
fn of_cost(case: &Case) -> Option<Judged> {
    let forced = case.forced?;
    let Case { ordering, tables, .. } = case;
    // It takes no notice of a difference of 1 %.
    let about = if forced.cost <= case.plan.cost * 1.01 { "about the same cost: " } else { "a cost of " };
    let costs =
        format!("The planner expects {about}{:.2}, and {:.2} by the index.", case.plan.cost, forced.cost);
    if !ordering.has_limit {
        return Some(Judged::new(
            format!("The query has no LIMIT, so that all rows are wanted. {costs}"),
            "Add a LIMIT.",
        ));
    }
    let unknown: Vec<String> =
        tables.iter().filter(|table| table.rows.is_none()).map(|table| table.name.clone()).collect();
    if !unknown.is_empty() {
        let unknown = names(unknown.into_iter());
        return Some(Judged::new(
            format!("{costs} It knows nothing of the rows of {unknown}."),
            format!("Run ANALYZE {unknown}."),
        ));
    }
    let rows: f64 = tables.iter().filter_map(|table| table.rows).sum();
    Some(if rows < FEW_ROWS {
        Judged::new(
            format!("{costs} There are about {rows:.0} rows: sorting them is exact and fast."),
            "Nothing need be done: the index is used when there are more rows. If there are already, run ANALYZE.",
        )
    } else if ordering.is_joined {
        Judged::new(
            format!(
                "{costs} The table, of about {rows:.0} rows, is joined: how many of them it takes is not known."
            ),
            "Where the nearest rows are all that is to be joined, take them in a subquery with ORDER BY and LIMIT.",
        )
    } else if ordering.has_conditions {
        Judged::new(
            format!(
                "{costs} Few of about {rows:.0} rows are expected to meet the conditions, and are ranked all."
            ),
            "If more rows meet them than EXPLAIN ANALYZE says were expected, run ANALYZE.",
        )
    } else {
        Judged::new(
            format!("{costs} There are about {rows:.0} rows."),
            "Compare both by EXPLAIN (ANALYZE, BUFFERS), the second with enable_seqscan off. If the index is faster, lower random_page_cost.",
        )
    })
}

/// The planner has no plan with an index, though there are some.
fn of_query(case: &Case) -> Judged {
    if let Some(before) = case.ordering.before {
        return Judged::new(
            format!("Rows are ordered after {before}, which needs all of them."),
            "Take the nearest rows in a subquery with ORDER BY and LIMIT, and do the rest above it.",
        );
    }
    if case.ordering.nulls_first {
        return Judged::new(
            "Such an order begins with rows that have no distance, and the index may hold some.",
            "Leave them out, by a condition that the column IS NOT NULL, or say NULLS LAST; under cosine also bound the distance.",
        );
    }
    Judged::new(
        "The planner has no plan by which the index gives this order.",
        "Order by the distance, with a LIMIT, in a subquery on the table alone.",
    )
}
