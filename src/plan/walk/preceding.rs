//! Rows without a distance: which of them an order gives before all others, as the walk cannot.

use pgrx::pg_sys;
use walia_core::page::format::tuple::AsideKind;

use crate::am::presence;
use crate::nodes::{List, NodeRef};

/// Kinds of rows that an order begins with.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Preceding {
    /// Those with NULL.
    pub nulls: bool,
    /// Those whose distance is not defined: NaN, which is greater than all numbers.
    pub undefined: bool,
}

impl Preceding {
    /// Those of the order of a path key, for a distance of an index's column.
    pub fn of(
        root: NodeRef<pg_sys::PlannerInfo>,
        relation: NodeRef<pg_sys::RelOptInfo>,
        index: NodeRef<pg_sys::IndexOptInfo>,
        column: NodeRef<pg_sys::Node>,
        key: NodeRef<pg_sys::PathKey>,
    ) -> Self {
        Self {
            nulls: key.pk_nulls_first
                && !is_declared_not_null(root, relation, column)
                && !is_tested_not_null(root, relation, column),
            undefined: !is_ascending(key) && !presence::is_never_undefined(index),
        }
    }

    /// As core calls them.
    pub fn kinds(self) -> Vec<AsideKind> {
        let kinds = [(self.nulls, AsideKind::Null), (self.undefined, AsideKind::ZeroVector)];
        kinds.into_iter().filter(|(precedes, _)| *precedes).map(|(_, kind)| kind).collect()
    }
}

/// Whether the conditions of a relation let no row pass whose column is NULL.
fn is_tested_not_null(
    root: NodeRef<pg_sys::PlannerInfo>,
    relation: NodeRef<pg_sys::RelOptInfo>,
    column: NodeRef<pg_sys::Node>,
) -> bool {
    let test = pg_sys::NullTest {
        xpr: pg_sys::Expr { type_: pg_sys::NodeTag::T_NullTest },
        arg: column.as_ptr().cast(),
        nulltesttype: pg_sys::NullTestType::IS_NOT_NULL,
        ..Default::default()
    };
    let tests: List<pg_sys::NullTest> = [Some(root.allocate(test))].into_iter().collect();
    // SAFETY: compares expressions of the planner's.
    unsafe { pg_sys::predicate_implied_by(tests.as_ptr(), relation.baserestrictinfo().as_ptr(), false) }
}

/// Whether a column of a table is NOT NULL.
fn is_declared_not_null(
    _root: NodeRef<pg_sys::PlannerInfo>,
    relation: NodeRef<pg_sys::RelOptInfo>,
    column: NodeRef<pg_sys::Node>,
) -> bool {
    let Some(column) = column.downcast::<pg_sys::Var>() else { return false };
    let number = i32::from(column.varattno);
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    // SAFETY: the planner's set of the table's columns.
    return unsafe { pg_sys::bms_is_member(number, relation.notnullattnums) };
    #[cfg(not(any(feature = "pg17", feature = "pg18")))]
    // SAFETY: the planner has locked the tables of its array; the table is open while it is looked at.
    unsafe {
        let no_lock = pg_sys::NoLock as pg_sys::LOCKMODE;
        let entry = &**_root.simple_rte_array.add(relation.relid as usize);
        let table = pg_sys::table_open(entry.relid, no_lock);
        let columns = pgrx::PgTupleDesc::from_pg_unchecked((*table).rd_att);
        let is_not_null = columns.get(number as usize - 1).is_some_and(|column| column.attnotnull);
        pg_sys::table_close(table, no_lock);
        is_not_null
    }
}

/// Whether a path key's order is that of `<`.
pub fn is_ascending(key: NodeRef<pg_sys::PathKey>) -> bool {
    #[cfg(feature = "pg18")]
    return key.pk_cmptype == pg_sys::CompareType::COMPARE_LT;
    #[cfg(not(feature = "pg18"))]
    return key.pk_strategy == pg_sys::BTLessStrategyNumber as i32;
}
