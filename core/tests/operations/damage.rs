//! Operations on a damaged index: each gives an answer or an error, none panics, and none runs for ever.

use crate::table::{MEMORY, NotAsked, OPTIONS, RamSorter, Table, coded, parameters, sparse};
use rand::Rng;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;
use walia_core::page::format::tuple::AsideKind;
use walia_core::page::scan::{Next, Scan, ScanOptions};
use walia_core::page::vacuum::{bulk_delete, cleanup};
use walia_core::page::{Index, MemoryStore, Meta, Page, Pages, Schema, check, statistics};
use walia_core::types::{HeapTid, Metric, Parameters, PayloadEncoding, Result};

/// Damaged pages of each kind of index.
const PAGES: usize = 60;
/// The longest that all operations on them may take, on a busy machine.
const LIMIT: Duration = Duration::from_secs(600);

/// A table whose index has levels, shared vectors, NULLs, tombstones and dead rows.
fn used(parameters: Parameters) -> Table {
    let mut table = Table::new(MemoryStore::new(), parameters);
    for row in 0..120 {
        let vector = (row % 20 > 0).then(|| table.random_vector());
        let tid = table.insert(vector).unwrap();
        if row % 30 == 5 {
            for _ in 0..30 {
                table.insert(table.rows[&tid].clone()).unwrap();
            }
        }
        if row % 3 == 0 {
            table.delete(tid);
        }
        if row == 80 {
            table.vacuum().unwrap();
        }
    }
    table
}

/// An index's schema and meta page may have been read when they were not damaged.
fn use_everything(store: &MemoryStore, schema: &Arc<Schema>, meta: Meta, query: &[u8]) {
    let new = |offset| HeapTid::new(7777, offset);
    let index = Index { store, schema: schema.clone() };
    // What failed is an error value; what matters is that this goes on.
    let _ = check(&index);
    let _ = statistics(&index);
    // Vectors of another size than the meta page says do not come as far as this.
    if index.schema.layout.parameters.is_vector_size(query.len()) {
        for ef_search in [1, 40] {
            let index = Index { store, schema: schema.clone() };
            let _ = scan(index, meta, query, ScanOptions { ef_search, ..OPTIONS });
        }
        let _ = index.insert(query, new(1), false);
        let _ = index.insert(query, new(2), true);
    }
    let _ = index.insert_aside(AsideKind::Null, new(3));
    let _ = bulk_delete(&index, MEMORY, &mut |tid| tid.offset() % 2 == 0);
    let _ = cleanup(&index, MEMORY);
    let _ = check(&index);
}

fn scan(index: Index<&MemoryStore>, meta: Meta, query: &[u8], options: ScanOptions) -> Result<()> {
    let mut scan = Scan::new(index, meta, Some(query), options, RamSorter::default(), NotAsked);
    while scan.next()? != Next::End {}
    Ok(())
}

fn damage(parameters: Parameters) {
    let mut table = used(parameters);
    let query = table.random_vector();
    let pages: Vec<Page> =
        (0..table.store.block_count().unwrap()).map(|block| *table.store.read(block).unwrap()).collect();
    for _ in 0..PAGES {
        let mut damaged = pages.clone();
        let page = table.random.random_range(0..pages.len());
        for _ in 0..table.random.random_range(1..=8) {
            // Page header, line pointers and first tuples decide most.
            let end = if table.random.random() { 300 } else { 8192 };
            damaged[page].0[table.random.random_range(8..end)] = table.random.random();
        }
        let store = MemoryStore::with_pages(damaged);
        // As a backend that opened the index before, and as one that opens it now.
        use_everything(&store, &table.index().schema, Meta::read(&table.store).unwrap(), &query);
        if let Ok(meta) = Meta::read(&store)
            && let Ok(index) = Index::with_meta(&store, &meta, &())
        {
            use_everything(&store, &index.schema, meta, &query);
        }
    }
}

#[test]
fn operations_on_damaged_pages_end() {
    let (ended, end) = channel();
    let worker = thread::spawn(move || {
        for parameters in [
            parameters(8, Metric::L2),
            parameters(1200, Metric::Cosine),
            sparse(300, Metric::L2),
            coded(40, Metric::InnerProduct, 4, PayloadEncoding::Column),
            coded(1500, Metric::L2, 1, PayloadEncoding::Column),
        ] {
            damage(parameters);
            ended.send(()).unwrap();
        }
    });
    loop {
        match end.recv_timeout(LIMIT) {
            Ok(()) => {}
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => panic!("an operation does not end"),
        }
    }
    worker.join().unwrap();
}
