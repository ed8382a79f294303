//! The check with next to no memory finds what it finds with as much as it takes.

use crate::graphs::{TestGraph, parameters};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use walia_core::page::{Check, Finding, Index, Memory, MemoryStore, RecordFile, store::PageStore};
use walia_core::types::{ElementType, Error, Result};

/// A file in memory.
struct TestFile {
    bytes: RefCell<Vec<u8>>,
    reads: Rc<Cell<usize>>,
    /// Reads until one fails.
    fails_after: usize,
}

impl RecordFile for TestFile {
    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let file = self.bytes.get_mut();
        let end = offset as usize + bytes.len();
        file.resize(file.len().max(end), 0);
        file[offset as usize..end].copy_from_slice(bytes);
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        if self.reads.replace(self.reads.get() + 1) == self.fails_after {
            return Err(Error::TemporaryFile { errno: 5 });
        }
        bytes.copy_from_slice(&self.bytes.borrow()[offset as usize..][..bytes.len()]);
        Ok(())
    }
}

fn memory(bytes: usize, reads: &Rc<Cell<usize>>, fails_after: usize) -> Memory<'static> {
    let reads = reads.clone();
    let file = move || {
        let file = TestFile { bytes: RefCell::default(), reads: reads.clone(), fails_after };
        Box::new(file) as Box<dyn RecordFile>
    };
    Memory { bytes, file: Box::new(file) }
}

/// What a check finds, `finish` called before its end, whatever its memory.
pub fn findings<Store: PageStore>(
    index: &Index<Store>,
    finish: impl Fn(&mut Check<Store>),
) -> Result<Vec<Finding>> {
    let found = |memory| {
        let mut check = Check::new(index, memory)?;
        finish(&mut check);
        check.findings()
    };
    let all = found(Memory::unbounded());
    let reads = Rc::default();
    assert_eq!(found(memory(0, &reads, usize::MAX)), all);
    // Where pages are damaged, nothing may be left to be kept.
    assert!(reads.get() > 0 || all != Ok(Vec::new()), "the check has not used its file");
    all
}

/// What a check of the graph alone finds.
pub fn check<Store: PageStore>(index: &Index<Store>) -> Result<Vec<Finding>> {
    findings(index, |_| ())
}

fn graph() -> MemoryStore {
    TestGraph::regular(parameters(8, ElementType::F32, 4), 3000).store()
}

#[test]
fn a_file_that_cannot_be_read_ends_the_check() {
    let store = graph();
    let index = Index::open(&store, &()).unwrap();
    let reads = Rc::default();
    let error = Err(Error::TemporaryFile { errno: 5 });
    for fails_after in [0, 1, 10, 1000] {
        assert_eq!(Check::new(&index, memory(0, &reads, fails_after)).map(|_| ()), error);
        reads.set(0);
    }
}

#[test]
fn no_file_where_memory_suffices() {
    let store = graph();
    let index = Index::open(&store, &()).unwrap();
    let reads = Rc::default();
    Check::new(&index, memory(1 << 20, &reads, usize::MAX)).unwrap();
    assert_eq!(reads.get(), 0);
    // Some of each kind: several parts of the heap TIDs, several pages of each list.
    for bytes in [1 << 10, 16 << 10, 64 << 10] {
        let found = Check::new(&index, memory(bytes, &reads, usize::MAX)).unwrap().findings();
        assert_eq!(found, Ok(Vec::new()));
        assert!(reads.replace(0) > 0, "{bytes}");
    }
}
