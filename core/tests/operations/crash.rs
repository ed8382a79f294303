//! A crash after any commit: what was committed reopens without an error, gives all rows, and is cleaned by a
//! vacuum.

use crate::table::{OPTIONS, Table, bytes, coded, parameters, sparse};
use walia_core::page::scan::ScanOptions;
use walia_core::page::{MemoryStore, Pages, statistics};
use walia_core::types::{Metric, Parameters, PayloadEncoding, Result};

/// Does `operation`, then looks at every state that a crash during it could have left.
pub fn crash_during(table: &mut Table, operation: impl FnOnce(&mut Table) -> Result<()>) {
    let before = table.store.commits();
    let survivors = (table.rows.clone(), table.dead.clone());
    operation(table).unwrap();
    // What the operation inserted may be there or not, what it deleted may be gone.
    let rows = std::mem::take(&mut table.rows);
    let dead = std::mem::take(&mut table.dead);
    table.rows = survivors.0;
    table.dead = survivors.1;
    table.rows.retain(|tid, _| rows.contains_key(tid));
    table.dead.extend(rows.keys().filter(|tid| !table.rows.contains_key(tid)));
    table.dead.extend(&dead);
    for commits in before..=table.store.commits() {
        assert_recovers(table.crashed(commits, commits as u32 % 2));
        table.crashed(commits, 0).repair();
    }
    table.rows = rows;
    table.dead = dead;
}

fn assert_recovers(mut table: Table) {
    table.assert_sound(&["code"]);
    let query = table.random_vector();
    table.assert_complete(Some(&query), OPTIONS);
    table.insert(Some(query.clone())).unwrap();
    table.assert_complete(Some(&query), ScanOptions { ef_search: 1, ..OPTIONS });
    // The second vacuum also frees what belonged to tombstones that the first one made.
    table.vacuum().unwrap();
    table.vacuum().unwrap();
    table.assert_sound(&["did not end", "owner", "tombstone", "stale"]);
    table.assert_complete(Some(&query), OPTIONS);
    assert_eq!(statistics(&table.index()).unwrap().pending_nodes, 0);
}

pub fn filled(parameters: Parameters, rows: usize) -> Table {
    let mut table = Table::new(MemoryStore::recording(), parameters);
    for _ in 0..rows {
        let vector = table.random_vector();
        table.insert(Some(vector)).unwrap();
    }
    table
}

fn crash_during_inserts(parameters: Parameters, rows: usize, inserts: usize) {
    let mut table = filled(parameters, rows);
    for _ in 0..inserts {
        let vector = table.random_vector();
        crash_during(&mut table, |table| table.insert(Some(vector)).map(drop));
    }
}

#[test]
fn the_first_rows() {
    crash_during_inserts(parameters(8, Metric::L2), 0, 12);
}

#[test]
fn inserts() {
    // One node in two is of a level above 0, so that all kinds of nodes are met.
    let m = Parameters { m: 2, m0: 4, ..parameters(8, Metric::Cosine) };
    crash_during_inserts(m, 60, 12);
}

#[test]
fn inserts_with_payloads_apart() {
    crash_during_inserts(Parameters { m: 2, m0: 4, ..parameters(5000, Metric::L2) }, 12, 5);
    crash_during_inserts(Parameters { m: 2, m0: 4, ..sparse(500, Metric::Cosine) }, 12, 5);
}

#[test]
fn inserts_with_codes() {
    let inline = coded(24, Metric::Cosine, 4, PayloadEncoding::F16);
    crash_during_inserts(Parameters { m: 2, m0: 4, ..inline }, 60, 12);
    let apart = coded(5000, Metric::L2, 1, PayloadEncoding::F16);
    crash_during_inserts(Parameters { m: 2, m0: 4, ..apart }, 12, 5);
}

#[test]
fn rows_that_share_a_vector() {
    let mut table = filled(parameters(8, Metric::L2), 20);
    let vector = table.random_vector();
    for _ in 0..45 {
        crash_during(&mut table, |table| table.insert(Some(vector.clone())).map(drop));
    }
    let tid = *table.rows.last_key_value().unwrap().0;
    crash_during(&mut table, |table| table.update(tid).map(drop));
    // The chain is emptied from within.
    let shared = table.rows.iter().filter(|(_, row)| row.as_ref() == Some(&vector));
    let shared: Vec<_> = shared.map(|(tid, _)| *tid).collect();
    shared[3..43].iter().for_each(|tid| table.delete(*tid));
    crash_during(&mut table, Table::vacuum);
}

#[test]
fn rows_outside_of_the_graph() {
    let mut table = filled(parameters(8, Metric::Cosine), 5);
    for row in 0..6 {
        let zero = bytes([0.0; 8], table.parameters.element);
        let value = if row % 2 == 0 { None } else { Some(zero) };
        crash_during(&mut table, |table| table.insert(value).map(drop));
    }
    let rows: Vec<_> = table.rows.keys().copied().collect();
    rows[4..].iter().for_each(|tid| table.delete(*tid));
    crash_during(&mut table, Table::vacuum);
}

#[test]
fn vacuums() {
    let mut table = filled(Parameters { m: 2, m0: 4, ..parameters(8, Metric::L2) }, 40);
    for _ in 0..2 {
        for _ in 0..15 {
            let tid = table.any_row().unwrap();
            table.delete(tid);
        }
        crash_during(&mut table, Table::vacuum);
    }
    let rows: Vec<_> = table.rows.keys().copied().collect();
    rows.iter().for_each(|tid| table.delete(*tid));
    crash_during(&mut table, Table::vacuum);
}

#[test]
fn vacuums_with_payloads_apart() {
    let mut table = filled(Parameters { m: 2, m0: 4, ..parameters(5000, Metric::L2) }, 10);
    for _ in 0..4 {
        let tid = table.any_row().unwrap();
        table.delete(tid);
    }
    crash_during(&mut table, Table::vacuum);
}

#[test]
fn an_error_in_the_middle_leaves_the_rest_usable() {
    let mut table = filled(parameters(8, Metric::L2), 30);
    for allowed in 0..20 {
        table.store.stop_after(table.store.commits() + allowed);
        let vector = table.random_vector();
        _ = table.insert(Some(vector));
        table.store.stop_after(u64::MAX);
    }
    assert!(table.store.block_count().unwrap() > 2);
    let query = table.random_vector();
    table.assert_complete(Some(&query), OPTIONS);
    table.assert_sound(&[]);
}
