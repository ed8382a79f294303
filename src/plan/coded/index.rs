//! Btrees that carry the code of an order's column, and the scans of them that a query's conditions allow.

use std::ptr::fn_addr_eq;

use pgrx::pg_sys;
use walia_core::types::{ElementType, Metric};

#[cfg(not(feature = "pg18"))]
use super::disjunction::Rewritten;
use crate::am::class;
use crate::nodes::{List, NodeRef};
use crate::plan::distance::Linear;
use crate::plan::goal::is_known;
use crate::types::CODE_BITS;
use crate::types::functions::{CFunction, vecf16, vecf32};

/// A distance that the query orders by.
#[derive(Clone, Copy)]
pub struct Order<'p> {
    /// What follows the distance.
    pub linear: Linear<'p>,
    /// What of the table the distance is of.
    column: NodeRef<'p, pg_sys::Node>,
    /// What from, computed when the query is run.
    pub query: NodeRef<'p, pg_sys::Node>,
    pub metric: Metric,
    pub element: ElementType,
}

impl<'p> Order<'p> {
    /// The distance that gives the order of an expression.
    pub fn of(root: NodeRef<'p, pg_sys::PlannerInfo>, expression: NodeRef<'p, pg_sys::Node>) -> Option<Self> {
        let side = |operator: NodeRef<'p, pg_sys::OpExpr>| {
            let sides = [operator.args().get(0)?, operator.args().get(1)?];
            (0..2).find(|side| is_known(root, sides[1 - side]) && !is_known(root, sides[*side]))
        };
        // SAFETY: the planner has found the operator in the query.
        let measure =
            |operator: NodeRef<pg_sys::OpExpr>| unsafe { class::measure_of_operator(operator.opno) };
        let is_distance =
            |operator: NodeRef<'p, pg_sys::OpExpr>| side(operator).is_some() && measure(operator).is_some();
        let linear = Linear::of(expression, &is_distance)?;
        let side = side(linear.distance)?;
        let (metric, element) = measure(linear.distance)?;
        let [column, query] = [side, 1 - side].map(|side| linear.distance.args().get(side));
        Some(Self { linear, column: column?, query: query?, metric, element })
    }
}

impl Order<'_> {
    /// Dimensions of the vectors, where their type says.
    pub fn dimensions(&self) -> Option<f64> {
        // SAFETY: looks at an expression of the planner's.
        let modifier = unsafe { pg_sys::exprTypmod(self.column.as_ptr()) };
        (modifier > 0).then_some(modifier.into())
    }
}

/// The C function behind one of Postgres's, where that is written in C or built in.
fn c_function(function: pg_sys::Oid) -> Option<CFunction> {
    let mut found = pg_sys::FmgrInfo::default();
    // SAFETY: looks a function up, which the planner has found in the query.
    unsafe { pg_sys::fmgr_info(function, &mut found) };
    found.fn_addr
}

/// A btree that carries codes.
#[derive(Clone, Copy)]
pub struct Coded<'p> {
    pub index: NodeRef<'p, pg_sys::IndexOptInfo>,
    /// The number of the column that has them, from 1.
    pub column: usize,
    /// Bits of a code a dimension.
    pub bits: u8,
}

impl<'p> Coded<'p> {
    /// Whether an index of a table carries codes for an order.
    pub fn find(
        root: NodeRef<'p, pg_sys::PlannerInfo>,
        index: NodeRef<'p, pg_sys::IndexOptInfo>,
        order: &Order,
    ) -> Option<Self> {
        let is_btree = index.relam == pg_sys::BTREE_AM_OID
            && (index.predOK || index.indpred.is_null())
            && !index.hypothetical;
        if !is_btree {
            return None;
        }
        let mut expressions = index.indexprs().iter();
        for number in 0..index.ncolumns as usize {
            // SAFETY: an index has as many numbers of columns as it says.
            let of_table = unsafe { *index.indexkeys.add(number) };
            let expression = match of_table {
                0 => expressions.next(),
                column => generated(root, index.rel(), column),
            };
            let bits = expression.and_then(|expression| bits_of_code(expression, order.column));
            if let Some(bits) = bits {
                return Some(Self { index, column: number + 1, bits });
            }
        }
        None
    }

    /// The scan by which the planner itself would read the entries of the relation's conditions.
    pub fn scan(
        &self,
        root: NodeRef<'p, pg_sys::PlannerInfo>,
        relation: NodeRef<'p, pg_sys::RelOptInfo>,
    ) -> Option<NodeRef<'p, pg_sys::IndexPath>> {
        let index = self.index;
        #[cfg(not(feature = "pg18"))]
        let (rewritten, index) = Rewritten::of(root, index);
        let indexes: List<_> = [Some(index)].into_iter().collect();
        let paths = paths_of(root, relation, indexes);
        let scan = |path: NodeRef<'p, pg_sys::Path>| {
            let scan = path.downcast::<pg_sys::IndexPath>().or_else(|| {
                let bitmap = path.downcast::<pg_sys::BitmapHeapPath>()?;
                bitmap.bitmapqual().downcast::<pg_sys::IndexPath>()
            });
            scan.filter(|scan| !scan.indexclauses.is_null() || !self.index.indpred.is_null())
        };
        let least = |one: &NodeRef<pg_sys::IndexPath>, other: &NodeRef<pg_sys::IndexPath>| {
            one.indexselectivity.total_cmp(&other.indexselectivity)
        };
        let scan = paths.iter().filter_map(scan).min_by(least)?;
        #[cfg(not(feature = "pg18"))]
        rewritten.put_back(scan);
        let mut scan =
            pg_sys::IndexPath { indexscandir: pg_sys::ScanDirection::ForwardScanDirection, ..*scan };
        scan.path.pathtype = pg_sys::NodeTag::T_IndexScan;
        scan.path.pathkeys = std::ptr::null_mut();
        scan.path.parallel_aware = false;
        Some(root.allocate(scan))
    }
}

/// The paths that the planner makes for a relation with these indexes, and no others, from its own
/// conditions. It has no other function that finds the conditions of an index.
fn paths_of<'p>(
    root: NodeRef<'p, pg_sys::PlannerInfo>,
    relation: NodeRef<'p, pg_sys::RelOptInfo>,
    indexes: List<'p, pg_sys::IndexOptInfo>,
) -> List<'p, pg_sys::Path> {
    let kept = *relation;
    let changed = pg_sys::RelOptInfo {
        pathlist: std::ptr::null_mut(),
        partial_pathlist: std::ptr::null_mut(),
        consider_parallel: false,
        joininfo: std::ptr::null_mut(),
        has_eclass_joins: false,
        indexlist: indexes.as_ptr(),
        ..kept
    };
    // SAFETY: the planner lets hooks change a relation; all is as it was but for what the planner remembers
    // of parameters, of which paths without joins have none. An error ends the planning.
    unsafe {
        *relation.as_ptr() = changed;
        pg_sys::create_index_paths(root.as_ptr(), relation.as_ptr());
        let found = List::new((*relation.as_ptr()).pathlist);
        *relation.as_ptr() = kept;
        found
    }
}

/// The expression of a generated column of a table, as the query has its columns.
fn generated<'p>(
    root: NodeRef<'p, pg_sys::PlannerInfo>,
    relation: NodeRef<pg_sys::RelOptInfo>,
    column: i32,
) -> Option<NodeRef<'p, pg_sys::Node>> {
    let no_lock = pg_sys::NoLock as pg_sys::LOCKMODE;
    // SAFETY: the planner has locked the tables of its array, which has one for each relation; the table is
    // open while it is looked at. The text is one of Postgres's, of an expression whose only columns are the
    // table's, numbered 1.
    unsafe {
        let entry = &**root.simple_rte_array.add(relation.relid as usize);
        let table = pg_sys::table_open(entry.relid, no_lock);
        let columns = pgrx::PgTupleDesc::from_pg_unchecked((*table).rd_att);
        let attribute = columns.get(usize::try_from(column - 1).ok()?);
        let is_code = attribute
            .is_some_and(|attribute| attribute.attgenerated != 0 && is_code_type(attribute.atttypid));
        let expression = is_code.then(|| {
            let default = pg_sys::build_column_default(table, column);
            pg_sys::ChangeVarNodes(default, 1, relation.relid as i32, 0);
            NodeRef::or_null(pg_sys::eval_const_expressions(root.as_ptr(), default))
        });
        pg_sys::table_close(table, no_lock);
        expression.flatten()
    }
}

/// Whether a type may be that of codes: no type of Postgres's own.
fn is_code_type(of: pg_sys::Oid) -> bool {
    of.to_u32() >= pg_sys::FirstNormalObjectId
}

/// The bits of the codes that an expression makes of a column.
fn bits_of_code(expression: NodeRef<pg_sys::Node>, column: NodeRef<pg_sys::Node>) -> Option<u8> {
    let call = expression.downcast::<pg_sys::FuncExpr>()?;
    let (argument, bits) = (call.args().get(0)?, call.args().get(1)?.downcast::<pg_sys::Const>()?);
    let function = c_function(call.funcid)?;
    let makes_codes = [vecf32::code as CFunction, vecf16::code as CFunction]
        .into_iter()
        .any(|makes_codes| fn_addr_eq(makes_codes, function));
    // SAFETY: compares expressions.
    let is_of_column = unsafe {
        let [argument, column] = [argument, column].map(|node| without_relabelling(node).as_ptr().cast());
        pg_sys::equal(argument, column)
    };
    let bits = bits.constvalue.value() as i32;
    (makes_codes && is_of_column && CODE_BITS.contains(&bits)).then_some(bits as u8)
}

/// What an expression gives under the name of another type: pgvector's types have the bytes of walia's.
fn without_relabelling(mut expression: NodeRef<pg_sys::Node>) -> NodeRef<pg_sys::Node> {
    while let Some(relabelling) = expression.downcast::<pg_sys::RelabelType>() {
        expression = relabelling.arg().as_node();
    }
    expression
}
