//! `walia_check(regclass)`: whether an index is sound.
//!
//! Imports `open`, `store`, `error` and walia-core.

use pgrx::iter::TableIterator;
use pgrx::{name, pg_extern, pg_sys};
use walia_core::page::Index;
use walia_core::page::check::{Severity, check};

use super::open::{OpenIndex, Purpose};
use crate::error::OrRaise;
use crate::store::error::index_error;

/// A row for everything that is not as it should be.
#[pg_extern(sql = false)]
fn walia_check(
    index: pg_sys::Oid,
) -> TableIterator<
    'static,
    (name!(severity, &'static str), name!(block, i64), name!(slot, i32), name!(finding, String)),
> {
    let opened = OpenIndex::new(index, Purpose::Check).or_raise();
    // SAFETY: the index is open as long as `opened`.
    let failed = |error| unsafe { index_error(opened.relation(), error) };
    let index = Index::open(opened.store()).map_err(failed).or_raise();
    let findings = check(&index).map_err(failed).or_raise();
    TableIterator::new(findings.into_iter().map(|finding| {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        (severity, finding.block.into(), finding.slot.into(), finding.what.into_owned())
    }))
}
