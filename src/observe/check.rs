//! `walia_check(regclass, bool)`: whether an index is sound.

use pgrx::pg_sys;
use walia_core::page::{Check, Finding, Index, Memory, RecordFile, Severity};
use walia_core::types::Result;

use super::open::{OpenIndex, Purpose};
use super::rows::{export, row};
use super::table::for_each_row;
use crate::am::table::Extent;
use crate::am::vacuum::memory;
use crate::error::OrRaise;
use crate::store::file::TemporaryFile;
use crate::store::{self, RelationStore, progress};

row! {
    /// Something that is not as it should be.
    Found {
        severity: &'static str,
        block: i64,
        slot: i32,
        finding: String,
    }
}

export!("walia_check_wrapper": call(REGCLASSOID, BOOLOID) -> Found => walia_check(call.oid(0), call.boolean(1)));

/// Everything that is not as it should be. With `heapallindexed`, the table is read as well.
fn walia_check(index: pg_sys::Oid, heapallindexed: bool) -> impl Iterator<Item = Found> {
    let opened = OpenIndex::new(index, Purpose::Check).or_raise();
    let _shown = progress::Shown::begin(progress::Command::Check, index);
    let failed = |error| opened.error(error);
    if heapallindexed {
        opened.check_valid().or_raise();
    }
    let findings = match store::open(opened.store()) {
        Ok(index) => check(&opened, &index, heapallindexed).map_err(failed).or_raise(),
        Err(error) => vec![Finding::of(error).map_err(failed).or_raise()],
    };
    findings.into_iter().map(|finding| Found {
        severity: match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        block: finding.block.into(),
        slot: finding.slot.into(),
        finding: finding.what.into_owned(),
    })
}

/// What is wrong with an index that can be opened.
fn check(opened: &OpenIndex, index: &Index<RelationStore>, heapallindexed: bool) -> Result<Vec<Finding>> {
    let file = || Box::new(TemporaryFile::create().or_raise()) as Box<dyn RecordFile>;
    let mut check = Check::new(index, Memory { bytes: memory(), file: Box::new(file) })?;
    let declared = opened.declared_parameters().or_raise();
    let comparable = check.column(declared.dimensions, declared.element, declared.metric);
    if heapallindexed && comparable {
        check.show_rows();
        // Rows that only others still see are not in an index that was built beside them.
        for_each_row(opened, &index.schema.layout.parameters, Extent::Snapshot, |row| {
            let vector = row.vector()?;
            check
                .row(row.heap_tid, vector.as_ref().map(|vector| vector.bytes()))
                .map_err(|error| opened.error(error))
        });
    }
    check.findings()
}
