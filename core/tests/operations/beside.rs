//! What others do while a batch is joined.

use crate::batch::{Batch, WAYS, WRONG, Way, mixed_values, random_values};
use crate::crash::filled;
use crate::interleaved::Session;
use crate::table::{MEMORY, OPTIONS, coded, parameters};
use std::cell::Cell;
use walia_core::page::Index;
use walia_core::page::scan::ScanOptions;
use walia_core::page::vacuum::{bulk_delete, connect};
use walia_core::types::{Metric, Parameters, PayloadEncoding};

/// At every step of a join a vacuum kills half of the older rows, and rows are inserted.
#[test]
fn a_vacuum_in_the_middle_of_a_join() {
    let kinds = [
        Parameters { m: 2, m0: 4, ..parameters(4, Metric::L2) },
        coded(16, Metric::L2, 2, PayloadEncoding::Column),
        coded(16, Metric::L2, 2, PayloadEncoding::Sq8),
        Parameters { m: 2, m0: 4, ..parameters(2500, Metric::L2) },
    ];
    for (parameters, way) in kinds.into_iter().flat_map(|kind| WAYS.map(|way| (kind, way))) {
        let rows = if parameters.dimensions > 1000 { 12 } else { 40 };
        let mut at = 0;
        loop {
            let mut table = filled(parameters, rows);
            let values = mixed_values(&mut table, rows);
            let mut batch = Batch::new(&mut table, way, values);
            let inserted: Vec<_> = (0..4).map(|_| (table.next_tid(), table.random_vector())).collect();
            let victims: Vec<_> = table.rows.keys().copied().step_by(2).collect();
            victims.iter().for_each(|tid| table.delete(*tid));
            let others = |step| {
                if step == at {
                    let index = table.index();
                    bulk_delete(&index, MEMORY, &mut |tid| table.dead.contains(&tid)).unwrap();
                    for (tid, vector) in &inserted {
                        index.insert(vector, *tid, false).unwrap();
                    }
                }
            };
            let session = Session::new(&table.store, others);
            batch.join(&Index::open(&session, &()).unwrap()).unwrap();
            let steps = session.steps.get();
            if steps > at {
                table.rows.extend(inserted.into_iter().map(|(tid, vector)| (tid, Some(vector))));
            }
            table.rows.append(&mut batch.rows);
            table.assert_sound(&["duplicate", "itself", "code"]);
            let query = table.random_vector();
            table.assert_complete(Some(&query), OPTIONS);
            table.vacuum().unwrap();
            connect(&table.index()).unwrap();
            table.assert_sound(&[
                "cannot be reached",
                "tombstone",
                "duplicate",
                "itself",
                "owner",
                "did not end",
            ]);
            table.assert_complete(Some(&query), OPTIONS);
            if steps <= at {
                break;
            }
            // Most steps are reads of a search: primes meet all kinds.
            at += 13;
        }
    }
}

/// Who inserts while a batch is joined to an empty index meets no node of it, nor do the few nodes that an
/// index has: in the end each finds the other.
#[test]
fn others_insert_while_an_index_is_filled() {
    for (at, before) in (0..400).step_by(57).flat_map(|at| [(at, 0), (at, 40)]) {
        let mut table = filled(parameters(6, Metric::L2), before);
        let values = random_values(&mut table, 400);
        let mut batch = Batch::new(&mut table, Way::Searching, values);
        let inserted: Vec<_> = (0..200).map(|_| (table.next_tid(), table.random_vector())).collect();
        let done = Cell::new(0);
        let others = |step| {
            if step == at {
                for (tid, vector) in &inserted {
                    table.index().insert(vector, *tid, false).unwrap();
                }
                done.set(inserted.len());
            }
        };
        let session = Session::new(&table.store, others);
        batch.join(&Index::open(&session, &()).unwrap()).unwrap();
        assert_eq!(done.get(), 200, "the join took {} steps", session.steps.get());
        table.rows.extend(inserted.into_iter().map(|(tid, vector)| (tid, Some(vector))));
        table.rows.append(&mut batch.rows);
        table.assert_sound(&WRONG);
        let recall = table.recall(10, 200, ScanOptions { ef_search: 40, ..OPTIONS });
        let unreached = connect(&table.index()).unwrap();
        println!("others at {at}, {before} before: {recall}, {unreached} relinked");
        assert!(recall > 0.99 && unreached < 6, "others at {at}: {recall}, {unreached} relinked");
    }
}
