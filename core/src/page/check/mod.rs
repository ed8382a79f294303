//! Structural check of an index: whether its bytes are what FORMAT.md says, and its graph is sound.
//!
//! Passes: all tuples are read and what is known of them is kept (`facts`), tuples that belong to nodes are
//! claimed by them (`ownership`), payloads are read (`vectors`), links are followed (`links`). Afterwards the
//! rows of the table may be compared with what was read (`rows`). What is kept, some 70 bytes a node and 16 a
//! row, lies in memory as far as it may, the rest in a temporary file (`records`); what is found lies in
//! memory in any case. Nobody may change the index meanwhile. Nothing on a page, however damaged, makes the
//! check panic or run for ever.

mod facts;
mod hash;
mod links;
mod ownership;
mod records;
mod rows;
mod slots;
mod sorted;
pub mod statistics;
mod vectors;

pub use records::{Memory, RecordFile};

use crate::page::format::meta::META_BLOCK;
use crate::page::query::index::Index;
use crate::page::store::PageStore;
use crate::types::{ElementType, Error, Link, Metric, Parameters, Result};
use std::borrow::Cow;

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It can give wrong answers.
    Error,
    /// It costs recall or space only.
    Warning,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Block number in the index.
    pub block: u32,
    /// Line pointer on the page, or 0 where the page is meant.
    pub slot: u16,
    /// What was found.
    pub what: Cow<'static, str>,
}

impl Finding {
    /// What an error of reading an index says of it, one of opening it for instance. Given back when that is
    /// nothing: the store itself failed.
    pub fn of(error: Error) -> Result<Self> {
        let (block, slot, what) = match error {
            Error::Corrupt { block, slot, what } => (block, slot, what.into()),
            Error::Version { .. } | Error::Features { .. } => (META_BLOCK, 0, error.to_string().into()),
            Error::OutOfMemory | Error::Message | Error::TemporaryFile { .. } => return Err(error),
            #[cfg(feature = "memory-store")]
            Error::Crashed => return Err(error),
        };
        Ok(Self { severity: Severity::Error, block, slot, what })
    }
}

/// Checks all pages and the graph, with as much memory as that takes; no finding means that all is well. An
/// error only where the store itself fails.
pub fn check<Store: PageStore>(index: &Index<Store>) -> Result<Vec<Finding>> {
    Check::new(index, Memory::unbounded())?.findings()
}

/// An index that has been checked, with what its rows are to be compared with.
pub struct Check<'i, 'm, Store> {
    index: &'i Index<Store>,
    facts: facts::Facts<'m>,
    /// Of each node.
    payloads: records::Records<'m, hash::Hash>,
    findings: Findings,
    /// Rows that were compared.
    rows: u64,
}

impl<'i, 'm, Store: PageStore> Check<'i, 'm, Store> {
    /// Checks all pages and the graph.
    pub fn new(index: &'i Index<Store>, memory: Memory<'m>) -> Result<Self> {
        let mut findings = Findings::default();
        let mut facts = facts::Facts::collect(index, memory, &mut findings)?;
        facts.check_ownership(index, &mut findings)?;
        facts.check_heap_tids(index, &mut findings)?;
        let payloads = vectors::check(index, &mut facts, &mut findings)?;
        links::check(index, &facts, &mut findings)?;
        Ok(Self { index, facts, payloads, findings, rows: 0 })
    }

    /// Compares the meta page with the column's dimensions, element type and metric, as the catalog knows
    /// them. False when they differ: then no row can be compared.
    pub fn column(&mut self, dimensions: usize, element: ElementType, metric: Metric) -> bool {
        let Parameters { dimensions: found, element: found_element, metric: found_metric, .. } =
            self.index.schema.layout.parameters;
        let agrees = (found, found_element, found_metric) == (dimensions, element, metric);
        if !agrees {
            let what = "meta page with other dimensions, element type or metric than the column's";
            self.findings.error(META_BLOCK, 0, what);
        }
        agrees
    }

    /// What was found.
    pub fn findings(self) -> Result<Vec<Finding>> {
        if self.findings.is_full { Err(Error::OutOfMemory) } else { Ok(self.findings.list) }
    }
}

/// What was found so far.
#[derive(Default)]
struct Findings {
    list: Vec<Finding>,
    /// Whether there was no memory for one of them.
    is_full: bool,
}

impl Findings {
    fn add(&mut self, finding: Finding) {
        match self.list.try_reserve(1) {
            Ok(()) => self.list.push(finding),
            Err(_) => self.is_full = true,
        }
    }

    fn error(&mut self, block: u32, slot: u16, what: impl Into<Cow<'static, str>>) {
        self.add(Finding { severity: Severity::Error, block, slot, what: what.into() });
    }

    fn warning(&mut self, at: Link, what: &'static str) {
        let Link { block, slot, .. } = at;
        self.add(Finding { severity: Severity::Warning, block, slot, what: what.into() });
    }

    /// Turns corruption into a finding and no value.
    fn note<T>(&mut self, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                self.add(Finding::of(error)?);
                Ok(None)
            }
        }
    }
}
