//! Walks that are foreseen to cost more than their alternative: they look around the query first.

use super::{WANTED, search, truth, within};
use crate::table::{OPTIONS, Table, coded, parameters};
use std::collections::BTreeSet;
use walia_core::page::MemoryStore;
use walia_core::page::scan::{Alternative, NearestOptions, Reason, ScanOptions};
use walia_core::types::{HeapTid, Metric, PayloadEncoding};

/// Where few rows pass, ranking them all is foreseen to cost less; a short look tells whether they are those
/// around the query.
#[test]
fn it_looks_around_the_query_first() {
    let mut table = Table::new(MemoryStore::new(), parameters(6, Metric::L2));
    for _ in 0..6000 {
        let vector = table.random_vector();
        table.insert(Some(vector)).unwrap();
    }
    let alternative = Some(Alternative { cost: 1000.0, expansion: 1.0, test: 0.5, share: 0.01 });
    let options = NearestOptions { alternative, ..WANTED };
    for _ in 0..10 {
        let query = table.random_vector();
        // Every second of the nearest rows.
        let around: BTreeSet<_> = search(&table, Some(&query), WANTED, 120, |_| true).0.into_iter().collect();
        let near = |tid: HeapTid| around.contains(&tid) && tid.offset().is_multiple_of(2);
        let (given, gave_up, stats) = search(&table, Some(&query), options, 10, near);
        let (whole, ..) = search(&table, Some(&query), WANTED, 10, near);
        assert!(gave_up.is_none(), "{stats:?}");
        assert!(given.iter().filter(|row| whole.contains(row)).count() >= 9, "{given:?}, {whole:?}");
        // As many rows, none of them near.
        let elsewhere = |tid: HeapTid| !around.contains(&tid) && tid.offset().is_multiple_of(50);
        let (_, gave_up, stats) = search(&table, Some(&query), options, 10, elsewhere);
        let (.., plain) = search(&table, Some(&query), WANTED, 10, |_| true);
        assert_eq!(gave_up, Some(Reason::Dear));
        assert!(2 * stats.search.expanded < plain.search.expanded, "{stats:?}, {plain:?}");
        assert!(stats.tested_rows <= 24, "{stats:?}");
    }
}

/// A walk that began with a look finds as much as one that did not.
#[test]
fn a_look_costs_no_recall() {
    for parameters in [coded(32, Metric::L2, 4, PayloadEncoding::Column), parameters(12, Metric::L2)] {
        let mut table = Table::new(MemoryStore::new(), parameters);
        for _ in 0..4000 {
            let vector = table.random_vector();
            table.insert(Some(vector)).unwrap();
        }
        let queries: Vec<Vec<u8>> = (0..150).map(|_| table.random_vector()).collect();
        let recall = |alternative: Option<Alternative>| {
            let mut found = 0;
            for query in &queries {
                let scan = ScanOptions { ef_search: 64, ..OPTIONS };
                let options = NearestOptions { scan, alternative, ..WANTED };
                let (given, gave_up, stats) = search(&table, Some(query), options, 10, |_| true);
                assert!(gave_up.is_none(), "{stats:?}");
                let nearest = truth(&table, query, |_| true);
                found += within(&table, query, &given, nearest[9]);
            }
            found as f64 / (10 * queries.len()) as f64
        };
        let plain = recall(None);
        let looked = recall(Some(Alternative { cost: 600.0, expansion: 1.0, test: 0.5, share: 0.1 }));
        println!("recall {looked} after a look, else {plain}");
        assert!(looked >= plain - 0.01, "recall {looked} after a look, else {plain}");
    }
}
