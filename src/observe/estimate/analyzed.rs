//! The key and the predicate of an index that is not there, as Postgres understands their text.

use std::ffi::{CStr, CString};
use std::ptr;

use pgrx::{PgSqlErrorCode, pg_sys};

use crate::am::column::Column;
use crate::error::{Result, SqlError};

/// A query that gives the key of an index for the rows that its predicate lets pass, as Postgres understands
/// it.
pub struct Analyzed {
    /// Of the key.
    pub column: Column,
    /// An expression.
    pub key: *mut pg_sys::Node,
    /// Null where there is none.
    pub predicate: *mut pg_sys::Node,
}

impl Analyzed {
    /// Of its text.
    /// Its only table is to be this one.
    pub fn new(query: &str, table: pg_sys::Oid) -> Result<Self> {
        let text = CString::new(query).map_err(|_| invalid("the definition of the index has a zero byte"))?;
        // SAFETY: prepares a statement, which is not run; what it is made of is copied into the caller's
        // memory.
        let (query, column) = unsafe {
            let context = pg_sys::CurrentMemoryContext;
            pg_sys::SPI_connect();
            let plan = pg_sys::SPI_prepare(text.as_ptr(), 0, ptr::null_mut());
            let found = if plan.is_null() { None } else { Self::only_query(plan, table, context) };
            pg_sys::SPI_finish();
            found.ok_or_else(|| invalid("an index has one key and one predicate"))?
        };
        // SAFETY: a query of its own, that `only_query` has copied.
        let (key, predicate) = unsafe {
            let entry = pg_sys::list_nth((*query).targetList, 0).cast::<pg_sys::TargetEntry>();
            ((*entry).expr.cast::<pg_sys::Node>(), (*(*query).jointree).quals)
        };
        for (expression, what) in [(key, "expression"), (predicate, "predicate")] {
            // SAFETY: an expression, or null.
            if unsafe { pg_sys::contain_mutable_functions(expression) } {
                // Postgres's own words.
                let code = PgSqlErrorCode::ERRCODE_INVALID_OBJECT_DEFINITION;
                let message = format!("functions in index {what} must be marked IMMUTABLE");
                return Err(SqlError::new(code, message));
            }
            if names_system_column(expression) {
                let code = PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED;
                return Err(SqlError::new(code, "index creation on system columns is not supported"));
            }
        }
        Ok(Self { column, key, predicate })
    }

    /// The query of a statement and the type of its column, where it is no more than a key and a predicate.
    ///
    /// # Safety
    /// `plan` is a prepared statement; connected to SPI.
    unsafe fn only_query(
        plan: pg_sys::SPIPlanPtr,
        table: pg_sys::Oid,
        context: pg_sys::MemoryContext,
    ) -> Option<(*mut pg_sys::Query, Column)> {
        let length = |list: *mut pg_sys::List| {
            // SAFETY: a list of Postgres's, or null.
            unsafe { list.as_ref() }.map_or(0, |list| list.length)
        };
        // SAFETY: by the caller's promise.
        let (source, query) = unsafe {
            let sources = pg_sys::SPI_plan_get_plan_sources(plan);
            if length(sources) != 1 {
                return None;
            }
            let source = pg_sys::list_nth(sources, 0).cast::<pg_sys::CachedPlanSource>();
            if length((*source).query_list) != 1 {
                return None;
            }
            (&*source, &*pg_sys::list_nth((*source).query_list, 0).cast::<pg_sys::Query>())
        };
        let plain = query.commandType == pg_sys::CmdType::CMD_SELECT
            && length(query.rtable) == 1
            && length(query.targetList) == 1
            && query.utilityStmt.is_null()
            && !(query.hasAggs || query.hasWindowFuncs || query.hasTargetSRFs || query.hasSubLinks)
            && !(query.hasModifyingCTE || query.hasForUpdate || query.hasDistinctOn)
            && [query.cteList, query.groupClause, query.groupingSets, query.distinctClause, query.sortClause]
                .into_iter()
                .all(|list| list.is_null())
            && [query.havingQual, query.limitOffset, query.limitCount, query.setOperations]
                .into_iter()
                .all(|node| node.is_null());
        if !plain {
            return None;
        }
        // Text that leaves its place, as by a comment that ends in the next, may name another table.
        // SAFETY: a query of one table has its entry, and its FROM.
        let is_of_table = unsafe {
            let entry = &*pg_sys::list_nth(query.rtable, 0).cast::<pg_sys::RangeTblEntry>();
            let from = (*query.jointree).fromlist;
            entry.rtekind == pg_sys::RTEKind::RTE_RELATION
                && entry.relid == table
                && entry.tablesample.is_null()
                && length(from) == 1
                && (*pg_sys::list_nth(from, 0).cast::<pg_sys::Node>()).type_ == pg_sys::NodeTag::T_RangeTblRef
        };
        if !is_of_table {
            return None;
        }
        // SAFETY: a query that gives one column describes it.
        unsafe {
            let descriptor = pgrx::PgTupleDesc::from_pg_unchecked(source.resultDesc);
            let column = descriptor.get(0)?;
            let column = Column { type_oid: column.atttypid, type_modifier: column.atttypmod };
            let copied = pgrx::PgMemoryContexts::For(context)
                .switch_to(|_| pg_sys::copyObjectImpl(ptr::from_ref(query).cast()));
            Some((copied.cast(), column))
        }
    }

    /// One of its expressions as text that means the same to who looks names up otherwise.
    pub fn text(&self, expression: *mut pg_sys::Node, name: &str, table: pg_sys::Oid) -> Option<String> {
        if expression.is_null() {
            return None;
        }
        let name = CString::new(name).ok()?;
        // SAFETY: an expression over the columns of this table alone.
        unsafe {
            let context = pg_sys::deparse_context_for(name.as_ptr(), table);
            let text = pg_sys::deparse_expression(expression, context, false, false);
            Some(CStr::from_ptr(text).to_string_lossy().into_owned())
        }
    }
}

/// Whether an expression over the only table of a query names a system column.
fn names_system_column(expression: *mut pg_sys::Node) -> bool {
    let mut columns = ptr::null_mut();
    // SAFETY: an expression, or null; the set is of this memory context.
    unsafe {
        pg_sys::pull_varattnos(expression, 1, &mut columns);
        // The least member is that of the least number; a whole row has 0.
        let least = pg_sys::bms_next_member(columns, -1);
        least >= 0 && least + pg_sys::FirstLowInvalidHeapAttributeNumber < 0
    }
}

/// An ERROR of an argument.
pub(super) fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> SqlError {
    SqlError::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message)
}
