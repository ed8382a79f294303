//! What a query orders by, as the planner sees it: for `walia_advise`, which has a query planned and is told
//! here of each distance in an ORDER BY of it or of its subqueries.

use std::cell::RefCell;
use std::ffi::CStr;

use pgrx::pg_sys;

use super::distance::Linear;
use crate::am::{class, order};
use crate::nodes::{self, List, NodeRef};
use crate::types::RawVector;

thread_local! {
    /// What has been found, while somebody asks.
    static FOUND: RefCell<Option<Vec<Ordering>>> = const { RefCell::new(None) };
}

/// A key of an ORDER BY that has a distance.
#[derive(Clone, Debug)]
pub struct Ordering {
    /// As SQL.
    pub text: String,
    /// Keys before it.
    pub place: usize,
    /// Whether the furthest come first.
    pub is_descending: bool,
    /// Whether rows without a value come first.
    pub nulls_first: bool,
    /// Whether the key is the distance, or a multiple of it and a constant.
    pub is_linear: bool,
    /// Whether the query wants so many rows at most.
    pub has_limit: bool,
    /// Whether the rows of a table have conditions.
    pub has_conditions: bool,
    /// Whether there are other tables.
    pub is_joined: bool,
    /// What puts rows in another order, or needs all of them, before they are ordered.
    pub before: Option<&'static str>,
    /// The function that computes the distance.
    pub function: pg_sys::Oid,
    /// The operator that it is written as, if it is.
    pub operator: Option<String>,
    /// What the distance is computed from.
    pub of: Source,
    /// Partial indexes whose predicates the conditions do not imply.
    pub unproven: Vec<pg_sys::Oid>,
}

/// What the distance is computed from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// No column.
    Constants,
    /// Columns of tables that are joined.
    Joined,
    /// Columns on both sides, of one table.
    BothSides,
    /// What a subquery, a function or another query part gives.
    Derived,
    /// A column, or an expression of one, of a table or of those whose rows are appended.
    Tables {
        /// As the query names them: perhaps partitioned ones.
        tables: Vec<pg_sys::Oid>,
        /// As SQL without the table's name; `None` where each table has its own.
        column: Option<String>,
        /// `None` where one of both is not known.
        dimensions: Option<Dimensions>,
    },
}

/// Those of a column, and of the constant that it is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dimensions {
    /// Of the column.
    pub column: usize,
    /// Of the constant.
    pub query: usize,
}

/// What is found while something is done.
pub fn collect<R>(work: impl FnOnce() -> R) -> (R, Vec<Ordering>) {
    /// Ends the collection, also where an ERROR unwinds.
    struct Collection;
    impl Drop for Collection {
        fn drop(&mut self) {
            FOUND.set(None);
        }
    }
    let _collection = Collection;
    FOUND.set(Some(Vec::new()));
    let done = work();
    (done, FOUND.take().unwrap_or_default())
}

/// Called for each query, or subquery, with an ORDER BY when its rows are about to be ordered.
pub fn look(root: NodeRef<pg_sys::PlannerInfo>) {
    if FOUND.with_borrow(Option::is_none) {
        return;
    }
    let query = root.parse();
    // SAFETY: the clauses are those of a query's ORDER BY.
    let clauses = unsafe { List::<pg_sys::SortGroupClause>::new(query.sortClause) };
    let found: Vec<Ordering> =
        clauses.iter().enumerate().filter_map(|(place, clause)| ordering(root, place, clause)).collect();
    FOUND.with_borrow_mut(|all| all.iter_mut().for_each(|all| all.extend(found.iter().cloned())));
}

fn ordering(
    root: NodeRef<pg_sys::PlannerInfo>,
    place: usize,
    clause: NodeRef<pg_sys::SortGroupClause>,
) -> Option<Ordering> {
    // SAFETY: the clause names one of the query's targets, and an operator.
    let (expression, operator) = unsafe {
        let targets = root.processed_tlist().as_ptr();
        let expression =
            NodeRef::<pg_sys::Node>::new(pg_sys::get_sortgroupclause_expr(clause.as_ptr(), targets));
        (expression, name(pg_sys::get_opname(clause.sortop)))
    };
    let distance = Distance::find(expression)?;
    let linear = Linear::of(expression, &|operator| operator.upcast() == distance.node);
    let is_greater = operator == ">";
    let query = root.parse();
    let nulls = match (is_greater, clause.nulls_first) {
        (true, false) => " NULLS LAST",
        (false, true) => " NULLS FIRST",
        _ => "",
    };
    let deparse = Deparse::new(root);
    let text = deparse.text(expression).unwrap_or_else(|| distance.text(&deparse));
    let text = without_parentheses(&text);
    let before = [
        (
            query.hasAggs || !query.groupClause.is_null() || !query.groupingSets.is_null(),
            "GROUP BY or an aggregate",
        ),
        (!query.distinctClause.is_null(), "DISTINCT"),
        (query.hasWindowFuncs, "a window function"),
        (!query.setOperations.is_null(), "UNION, INTERSECT or EXCEPT"),
    ];
    Some(Ordering {
        text: format!("{text}{}{nulls}", if is_greater { " DESC" } else { "" }),
        place,
        is_descending: is_greater != linear.is_some_and(|linear| linear.scale < 0.0),
        nulls_first: clause.nulls_first,
        is_linear: linear.is_some(),
        has_limit: order::has_limit(query),
        has_conditions: relations(root).any(|relation| !relation.baserestrictinfo().is_empty()),
        is_joined: relations(root)
            .filter(|relation| relation.reloptkind == pg_sys::RelOptKind::RELOPT_BASEREL)
            .nth(1)
            .is_some(),
        before: before.into_iter().find_map(|(is_so, what)| is_so.then_some(what)),
        function: distance.function,
        operator: distance.operator_name(),
        of: distance.source(root, &deparse),
        unproven: unproven(root),
    })
}

/// SQL without the parentheses around all of it.
fn without_parentheses(text: &str) -> &str {
    let Some(inner) = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')) else { return text };
    let mut depth = 0;
    let is_closed = inner.chars().any(|character| {
        depth += i32::from(character == '(') - i32::from(character == ')');
        depth < 0
    });
    if is_closed { text } else { inner }
}

/// The tables of a query, and the parts of them.
fn relations<'p>(
    root: NodeRef<'p, pg_sys::PlannerInfo>,
) -> impl Iterator<Item = NodeRef<'p, pg_sys::RelOptInfo>> {
    // SAFETY: the array has as many places as it says, null where there is no table.
    (1..root.simple_rel_array_size as usize)
        .filter_map(move |place| unsafe { NodeRef::or_null(*root.simple_rel_array.add(place)) })
}

fn unproven(root: NodeRef<pg_sys::PlannerInfo>) -> Vec<pg_sys::Oid> {
    let indexes = relations(root).flat_map(|relation| relation.indexlist().iter().collect::<Vec<_>>());
    indexes.filter(|index| !index.indpred.is_null() && !index.predOK).map(|index| index.indexoid).collect()
}

/// A function of two vectors within an expression.
struct Distance<'p> {
    node: NodeRef<'p, pg_sys::Node>,
    function: pg_sys::Oid,
    operator: pg_sys::Oid,
    args: List<'p, pg_sys::Node>,
}

impl<'p> Distance<'p> {
    /// The outermost in an expression of what may be one: who asks knows of what type vectors are.
    fn find(expression: NodeRef<'p, pg_sys::Node>) -> Option<Self> {
        let mut found = None;
        nodes::any(expression, &mut |node| {
            let of = |result: pg_sys::Oid, function, operator, args: List<'p, pg_sys::Node>| {
                let is_distance =
                    result == pg_sys::FLOAT8OID && args.len() == 2 && args.iter().all(|arg| !is_number(arg));
                is_distance.then_some(Self { node, function, operator, args })
            };
            found = if let Some(call) = node.downcast::<pg_sys::OpExpr>() {
                of(call.opresulttype, call.opfuncid, call.opno, call.args())
            } else if let Some(call) = node.downcast::<pg_sys::FuncExpr>() {
                of(call.funcresulttype, call.funcid, pg_sys::InvalidOid, call.args())
            } else {
                None
            };
            found.is_some()
        });
        found
    }

    /// As SQL, where the whole expression cannot be shown.
    fn text(&self, deparse: &Deparse) -> String {
        let mut sides = self.args.iter().map(|side| deparse.text(side).unwrap_or_else(|| "…".to_owned()));
        let (left, right) = (sides.next().unwrap_or_default(), sides.next().unwrap_or_default());
        match self.operator_name() {
            Some(operator) => format!("{left} {operator} {right}"),
            // SAFETY: the catalog has the function.
            None => format!("{}({left}, {right})", unsafe { name(pg_sys::get_func_name(self.function)) }),
        }
    }

    /// The operator that it is written as, if it is.
    fn operator_name(&self) -> Option<String> {
        // SAFETY: the catalog has the operator.
        (self.operator != pg_sys::InvalidOid).then(|| unsafe { name(pg_sys::get_opname(self.operator)) })
    }

    fn source(&self, root: NodeRef<pg_sys::PlannerInfo>, deparse: &Deparse) -> Source {
        let sides: Vec<(NodeRef<pg_sys::Node>, Vec<u32>)> =
            self.args.iter().map(|side| (side, tables_of(root, side))).collect();
        let [(left, of_left), (right, of_right)] = sides.as_slice() else { return Source::Constants };
        let (column, table, query) = match (of_left.as_slice(), of_right.as_slice()) {
            ([], []) => return Source::Constants,
            ([table], []) => (*left, *table, *right),
            ([], [table]) => (*right, *table, *left),
            ([one], [other]) if one == other => return Source::BothSides,
            _ => return Source::Joined,
        };
        // SAFETY: the query has an entry for each relation that its columns are of.
        let entry = unsafe { &**root.simple_rte_array.add(table as usize) };
        let children = root.append_rel_list();
        let (tables, column_text) = match entry.rtekind {
            pg_sys::RTEKind::RTE_RELATION => (vec![entry.relid], deparse.column(column)),
            // The branches of a UNION ALL, which have names of their own for it.
            pg_sys::RTEKind::RTE_SUBQUERY if entry.inh => {
                let of_table = children.iter().filter(|child| child.parent_relid == table);
                // SAFETY: as above.
                let relid = |child: NodeRef<pg_sys::AppendRelInfo>| unsafe {
                    (**root.simple_rte_array.add(child.child_relid as usize)).relid
                };
                (of_table.map(relid).filter(|relid| *relid != pg_sys::InvalidOid).collect(), None)
            }
            _ => return Source::Derived,
        };
        if tables.is_empty() {
            return Source::Derived;
        }
        Source::Tables { tables, column: column_text, dimensions: self.dimensions(column, query) }
    }

    /// The dimensions of a column that has a number of them, and of a constant.
    fn dimensions(&self, column: NodeRef<pg_sys::Node>, query: NodeRef<pg_sys::Node>) -> Option<Dimensions> {
        let constant = query.downcast::<pg_sys::Const>().filter(|constant| !constant.constisnull)?;
        // SAFETY: the operator and the column are those of a query; a constant beside a column of a type that
        // is measured so is a vector of this type.
        unsafe {
            let (_, element) = class::measure_of_operator(self.operator)?;
            let declared = usize::try_from(pg_sys::exprTypmod(column.as_ptr())).ok()?;
            let vector = RawVector::from_datum(constant.constvalue, element);
            Some(Dimensions { column: declared, query: vector.dimensions() })
        }
    }
}

/// Whether an expression is of a type that is no vector's.
fn is_number(node: NodeRef<pg_sys::Node>) -> bool {
    // SAFETY: an expression.
    let type_oid = unsafe { pg_sys::exprType(node.as_ptr()) };
    type_oid.to_u32() < pg_sys::FirstNormalObjectId
        && ![pg_sys::BITOID, pg_sys::VARBITOID].contains(&type_oid)
}

/// The numbers of the relations whose columns an expression has.
fn tables_of(root: NodeRef<pg_sys::PlannerInfo>, expression: NodeRef<pg_sys::Node>) -> Vec<u32> {
    let mut tables = Vec::new();
    // SAFETY: an expression of the query; a set's members are given one after the other, from -1 on.
    unsafe {
        let members = pg_sys::pull_varnos(root.as_ptr(), expression.as_ptr());
        let mut member = pg_sys::bms_next_member(members, -1);
        while member >= 0 {
            tables.push(member as u32);
            member = pg_sys::bms_next_member(members, member);
        }
    }
    // Outer joins are among them, from version 16 on.
    tables.retain(|table| {
        // SAFETY: the array has a place for each number of the query's relations.
        let entry = unsafe { &**root.simple_rte_array.add(*table as usize) };
        entry.rtekind != pg_sys::RTEKind::RTE_JOIN
    });
    tables
}

/// Expressions as SQL.
struct Deparse {
    context: *mut pg_sys::List,
    has_many: bool,
}

impl Deparse {
    fn new(root: NodeRef<pg_sys::PlannerInfo>) -> Self {
        // SAFETY: of a statement, only its tables are needed to name columns.
        unsafe {
            let tables = root.parse().rtable;
            let count = (*tables).length;
            let names = pg_sys::select_rtable_names_for_explain(
                tables,
                pg_sys::bms_add_range(std::ptr::null_mut(), 1, count),
            );
            let mut statement = pg_sys::PlannedStmt { rtable: tables, ..std::mem::zeroed() };
            statement.type_ = pg_sys::NodeTag::T_PlannedStmt;
            let context = pg_sys::deparse_context_for_plan_tree(&mut statement, names);
            Self { context, has_many: count > 1 }
        }
    }

    /// An expression; `None` where it has what can be shown beside a plan alone.
    fn text(&self, expression: NodeRef<pg_sys::Node>) -> Option<String> {
        self.show(expression, self.has_many)
    }

    /// An expression of a table's columns, without the table's name.
    fn column(&self, expression: NodeRef<pg_sys::Node>) -> Option<String> {
        self.show(expression, false)
    }

    fn show(&self, expression: NodeRef<pg_sys::Node>, prefix: bool) -> Option<String> {
        use pg_sys::NodeTag::{T_AlternativeSubPlan, T_PlaceHolderVar, T_SubPlan};
        let is_special = nodes::any(expression, &mut |node| {
            [T_SubPlan, T_AlternativeSubPlan, T_PlaceHolderVar].contains(&node.type_)
                || node
                    .downcast::<pg_sys::Param>()
                    .is_some_and(|param| param.paramkind == pg_sys::ParamKind::PARAM_EXEC)
        });
        // SAFETY: the columns are those of the tables of the context.
        (!is_special).then(|| unsafe {
            name(pg_sys::deparse_expression(expression.as_ptr(), self.context, prefix, false))
        })
    }
}

/// A C string of Postgres's; nothing where it is null.
///
/// # Safety
/// `text` is null or a C string.
unsafe fn name(text: *mut std::ffi::c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: by the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
