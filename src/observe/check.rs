//! `walia_check(regclass, bool)`: whether an index is sound.
//!
//! Imports `open`, `table`, `am`, `store`, `error` and walia-core.

use pgrx::iter::TableIterator;
use pgrx::{name, pg_extern, pg_sys};
use walia_core::page::{Check, Finding, Index, Severity};
use walia_core::types::Result;

use super::open::{OpenIndex, Purpose};
use super::table::{Sees, for_each_row};
use crate::am::column;
use crate::error::OrRaise;
use crate::error_context::ErrorContext;
use crate::store::RelationStore;
use crate::store::error::index_error;

/// A row for everything that is not as it should be. With `heapallindexed`, the table is read as well.
#[pg_extern(sql = false)]
fn walia_check(
    index: pg_sys::Oid,
    heapallindexed: bool,
) -> TableIterator<
    'static,
    (name!(severity, &'static str), name!(block, i64), name!(slot, i32), name!(finding, String)),
> {
    let mut context = ErrorContext::new();
    let _pushed = context.push();
    let opened = OpenIndex::new(index, Purpose::Check).or_raise();
    // SAFETY: the index is open as long as `opened`.
    let failed = |error| unsafe { index_error(opened.relation(), error) };
    if heapallindexed {
        opened.check_valid().or_raise();
    }
    let findings = match Index::open(opened.store()) {
        Ok(index) => check(&opened, &index, heapallindexed).map_err(failed).or_raise(),
        Err(error) => vec![Finding::of(error).map_err(failed).or_raise()],
    };
    TableIterator::new(findings.into_iter().map(|finding| {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        (severity, finding.block.into(), finding.slot.into(), finding.what.into_owned())
    }))
}

/// What is wrong with an index that can be opened.
fn check(opened: &OpenIndex, index: &Index<RelationStore>, heapallindexed: bool) -> Result<Vec<Finding>> {
    let mut check = Check::new(index)?;
    // SAFETY: the index is open as long as `opened`.
    let declared = unsafe { column::parameters(opened.relation()) }.or_raise();
    let comparable = check.column(declared.dimensions, declared.element, declared.metric);
    if heapallindexed && comparable {
        for_each_row(opened, &index.layout.parameters, Sees::Everything, |heap_tid, value| {
            check.row(heap_tid, value.vector().as_ref().map(|vector| vector.bytes()));
        });
    }
    Ok(check.findings())
}
