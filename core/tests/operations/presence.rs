//! The marks of rows without a distance: no row is in an index that says there is none of its kind, and a
//! vacuum that meets none says so.

use crate::interleaved::Session;
use crate::table::{MEMORY, OPTIONS, Table, Value, bytes, coded, parameters, sparse};
use walia_core::page::format::hints::Hints;
use walia_core::page::format::presence::Presence;
use walia_core::page::format::tuple::AsideKind;
use walia_core::page::vacuum::{bulk_delete, cleanup, repair};
use walia_core::page::{FreeSpace, Index, MemoryStore, Meta, Pages, WriteUnit, check};
use walia_core::types::{ElementType, Error, HeapTid, Metric, Parameters, PayloadEncoding};

use AsideKind::{Null, ZeroVector};
use Presence::{Absent, Clearing, Present, Unknown};

fn presence(table: &Table) -> [Presence; 2] {
    let meta = Meta::read(&table.store).unwrap();
    [ZeroVector, Null].map(|kind| meta.presence(kind))
}

fn may_hold(table: &Table, kind: AsideKind) -> bool {
    Meta::read(&table.store).unwrap().may_hold(&table.store, &[kind]).unwrap()
}

fn change_meta(table: &Table, change: impl FnOnce(&mut Meta)) {
    let mut meta = Meta::read(&table.store).unwrap();
    change(&mut meta);
    let mut unit = table.store.begin();
    unit.lock(0).unwrap();
    meta.write(unit.edit(0));
    unit.commit().unwrap();
}

fn vector(table: &Table, element: f32) -> Value {
    Some(bytes(vec![element; table.parameters.dimensions], table.parameters.element))
}

/// A table with some ordinary rows.
fn ordinary(parameters: Parameters) -> Table {
    let mut table = Table::new(MemoryStore::recording(), parameters);
    for _ in 0..5 {
        let vector = table.random_vector();
        table.insert(Some(vector)).unwrap();
    }
    table
}

#[test]
fn marks_follow_the_rows() {
    let mut table = ordinary(parameters(8, Metric::Cosine));
    assert_eq!(presence(&table), [Absent, Absent]);
    // More than one tuple of each.
    let nulls: Vec<_> = (0..150).map(|_| table.insert(None).unwrap()).collect();
    assert_eq!(presence(&table), [Absent, Present]);
    let zero = vector(&table, 0.0);
    let zeros: Vec<_> = (0..150).map(|_| table.insert(zero.clone()).unwrap()).collect();
    assert_eq!(presence(&table), [Present, Present]);
    table.vacuum().unwrap();
    assert_eq!(presence(&table), [Present, Present]);
    nulls.iter().for_each(|tid| table.delete(*tid));
    zeros[1..].iter().for_each(|tid| table.delete(*tid));
    assert_eq!(presence(&table), [Present, Present]);
    table.vacuum().unwrap();
    assert_eq!(presence(&table), [Present, Absent]);
    assert!(may_hold(&table, ZeroVector) && !may_hold(&table, Null));
    assert_eq!(Hints::of_page(&table.store.read(1).unwrap()).unwrap().nulls, Hints::EMPTY.nulls);
    table.delete(zeros[0]);
    table.vacuum().unwrap();
    assert_eq!(presence(&table), [Absent, Absent]);
    // A row that is filled in.
    let tid = table.insert(None).unwrap();
    assert_eq!(presence(&table), [Absent, Present]);
    table.delete(tid);
    let value = table.random_vector();
    table.insert(Some(value)).unwrap();
    table.vacuum().unwrap();
    assert_eq!(presence(&table), [Absent, Absent]);
}

/// Those of ordinary rows, and of others once the marks are known, cost nothing.
#[test]
fn ordinary_insertions_leave_the_meta_page_alone() {
    let mut table = ordinary(parameters(8, Metric::Cosine));
    table.insert(None).unwrap();
    let before = table.store.commits();
    table.insert(None).unwrap();
    assert_eq!(table.store.commits(), before + 1);
    let meta = Meta::read(&table.store).unwrap();
    table.vacuum().unwrap();
    table.vacuum().unwrap();
    assert_eq!(Meta::read(&table.store).unwrap(), meta);
}

/// Vectors whose products overflow have no distance from some others, though they are in the graph.
#[test]
fn overflowing_vectors_count() {
    let plain = |metric| Parameters { m: 2, m0: 4, ..parameters(8, metric) };
    let apart = |metric| Parameters { m: 2, m0: 4, ..parameters(2500, metric) };
    for (parameters, counts) in [
        (plain(Metric::InnerProduct), true),
        (plain(Metric::Cosine), true),
        (plain(Metric::L2), false),
        (plain(Metric::L1), false),
        (Parameters { element: ElementType::F16, ..plain(Metric::InnerProduct) }, false),
        (apart(Metric::InnerProduct), true),
        (coded(24, Metric::Cosine, 4, PayloadEncoding::F16), true),
        (sparse(24, Metric::Cosine), true),
        (sparse(24, Metric::InnerProduct), true),
        (coded(24, Metric::InnerProduct, 1, PayloadEncoding::Sq8), true),
        (coded(5000, Metric::InnerProduct, 1, PayloadEncoding::F16), true),
    ] {
        let expected = if counts { Present } else { Absent };
        // Of all levels.
        let mut table = ordinary(parameters);
        let mut huge = Vec::new();
        for number in 1..=8 {
            change_meta(&table, |meta| meta.set_presence(ZeroVector, Absent));
            let largest = if parameters.element == ElementType::F16 { 65_000.0 } else { 4e19 };
            let value = vector(&table, largest / number as f32);
            huge.push(table.insert(value).unwrap());
            assert_eq!(presence(&table)[0], expected, "{parameters:?}");
            table.assert_sound(&[]);
        }
        for tid in huge {
            table.vacuum().unwrap();
            assert_eq!(presence(&table)[0], expected, "{parameters:?}");
            table.delete(tid);
        }
        for _ in 0..2 {
            table.vacuum().unwrap();
        }
        assert_eq!(presence(&table), [Absent, Absent], "{parameters:?}");
        // An index that lacks the mark is found out.
        let value = vector(&table, if parameters.element == ElementType::F16 { 65_000.0 } else { 4e19 });
        table.insert(value).unwrap();
        change_meta(&table, |meta| meta.set_presence(ZeroVector, Absent));
        let is_found =
            check(&table.index()).unwrap().iter().any(|found| found.what.contains("without a distance"));
        assert_eq!(is_found, counts, "{parameters:?}");
    }
}

/// An index of before there were marks.
#[test]
fn a_vacuum_finds_out_what_is_unknown() {
    for (nulls, zeros) in [(0, 0), (1, 0), (0, 1), (200, 200)] {
        for delete in [false, true] {
            let mut table = ordinary(parameters(8, Metric::Cosine));
            let zero = vector(&table, 0.0);
            let values = [(None, nulls), (zero, zeros)];
            let rows: Vec<_> = values
                .into_iter()
                .flat_map(|(value, count)| vec![value; count])
                .map(|value| table.insert(value).unwrap())
                .collect();
            change_meta(&table, |meta| {
                (meta.compatible_features, meta.undefined_presence, meta.null_presence) = (0, 0, 0);
            });
            assert_eq!(presence(&table), [Unknown, Unknown]);
            assert!(may_hold(&table, Null) && may_hold(&table, ZeroVector));
            // An insertion says what it knows.
            let vector = table.random_vector();
            table.insert(Some(vector)).unwrap();
            assert_eq!(presence(&table), [Unknown, Unknown]);
            if delete {
                rows.iter().for_each(|tid| table.delete(*tid));
                table.vacuum().unwrap();
            } else {
                assert!(cleanup(&table.index(), MEMORY).unwrap().is_some());
            }
            assert_eq!(cleanup(&table.index(), MEMORY).unwrap(), None);
            let expected = [zeros, nulls].map(|count| if count > 0 && !delete { Present } else { Absent });
            assert_eq!(presence(&table), expected);
            table.assert_sound(&[]);
        }
    }
}

/// Release 0.1.0 knows no marks: the first NULL that it inserts leaves a hint.
#[test]
fn what_an_older_release_inserts_is_not_denied() {
    let mut table = ordinary(parameters(8, Metric::Cosine));
    let tid = table.insert(None).unwrap();
    change_meta(&table, |meta| meta.set_presence(Null, Absent));
    assert!(may_hold(&table, Null));
    table.assert_sound(&[]);
    table.insert(None).unwrap();
    assert!(may_hold(&table, Null));
    assert!(cleanup(&table.index(), MEMORY).unwrap().is_some());
    assert_eq!(presence(&table), [Absent, Present]);
    table
        .rows
        .keys()
        .copied()
        .filter(|row| *row >= tid)
        .collect::<Vec<_>>()
        .into_iter()
        .for_each(|tid| table.delete(tid));
    table.vacuum().unwrap();
    assert_eq!(presence(&table), [Absent, Absent]);
    assert!(!may_hold(&table, Null));
}

/// A vacuum that an error ends leaves marks that say nothing, and the next one finds out.
#[test]
fn a_vacuum_that_does_not_end() {
    let mut clearing = 0;
    for allowed in 0.. {
        let mut table = ordinary(parameters(8, Metric::Cosine));
        let null = table.insert(None).unwrap();
        let zero = vector(&table, 0.0);
        table.insert(zero).unwrap();
        table.delete(null);
        table.store.stop_after(table.store.commits() + allowed);
        let vacuumed = bulk_delete(&table.index(), MEMORY, &mut |tid| table.dead.contains(&tid));
        table.store.stop_after(u64::MAX);
        if vacuumed.is_ok() {
            assert_eq!(presence(&table), [Present, Absent]);
            break;
        }
        assert_eq!(vacuumed.unwrap_err(), Error::Crashed);
        let query = table.random_vector();
        table.assert_complete(Some(&query), OPTIONS);
        if presence(&table) == [Clearing, Clearing] {
            clearing += 1;
            assert!(may_hold(&table, Null) && may_hold(&table, ZeroVector));
            // Without a row that has died, and with one that comes meanwhile.
            let mut other = table.crashed(table.store.commits(), 0);
            other.insert(None).unwrap();
            // In the tuple that is there still, or in a new one.
            assert!([Clearing, Present].contains(&presence(&other)[1]));
            assert!(cleanup(&other.index(), MEMORY).unwrap().is_some());
            assert_eq!(presence(&other), [Present, Present]);
        }
        table.repair();
        assert_eq!(presence(&table)[0], Present);
        table.vacuum().unwrap();
        assert_eq!(presence(&table), [Present, Absent]);
    }
    assert!(clearing > 0);
}

/// The rows that the others insert, or fill in, at some moment.
fn values(table: &Table) -> [Value; 3] {
    [None, vector(table, 0.0), vector(table, 2e19)]
}

/// At every step of a vacuum, or of a repair, a row without a distance is inserted: a vector of the graph,
/// one outside of it, in a tuple that is there or is about to be removed, or in a new one.
#[test]
fn an_insertion_beside_a_vacuum() {
    for parameters in
        [parameters(3, Metric::Cosine), Parameters { m: 2, m0: 4, ..parameters(2500, Metric::Cosine) }]
    {
        for (kind, before) in (0..3).flat_map(|kind| (0..3usize).map(move |before| (kind, before))) {
            for at in 0.. {
                let mut table = ordinary(parameters);
                let value = values(&table)[kind].clone();
                // None, some that die, some of which one stays.
                let rows: Vec<_> = (0..before * 3).map(|_| table.insert(value.clone()).unwrap()).collect();
                rows.iter().skip(before.saturating_sub(1)).for_each(|tid| table.delete(*tid));
                change_meta(&table, |meta| {
                    let kind = if kind == 0 { Null } else { ZeroVector };
                    meta.set_presence(kind, if before == 0 { Unknown } else { Present });
                });
                let row = HeapTid::new(1000, 1);
                let others = |step| {
                    if step == at {
                        let index = table.index();
                        if before == 0 {
                            // On a page that the vacuum may not know of.
                            table.store.set_target_page(None);
                            let blocks = 0..table.store.block_count().unwrap();
                            blocks.for_each(|block| table.store.lower_free_space(block, 0));
                        }
                        match &value {
                            Some(vector) => index.insert(vector, row, false).unwrap(),
                            None => index.insert_aside(Null, row).unwrap(),
                        }
                        table.assert_sound(&[]);
                    }
                };
                let session = Session::new(&table.store, others);
                let index = Index::open(&session, &()).unwrap();
                if at % 2 == 0 {
                    bulk_delete(&index, MEMORY, &mut |tid| table.dead.contains(&tid)).unwrap();
                } else {
                    repair(&index, MEMORY).unwrap();
                }
                let is_inserted = session.steps.get() > at;
                table.assert_sound(&[]);
                if !is_inserted {
                    break;
                }
                let kind = if kind == 0 { Null } else { ZeroVector };
                assert!(may_hold(&table, kind), "step {at}");
                table.rows.insert(row, value);
                let query = table.random_vector();
                table.assert_complete(Some(&query), OPTIONS);
                // The next vacuum knows the same.
                table.vacuum().unwrap();
                assert!(may_hold(&table, kind));
            }
        }
    }
}

/// At every step of an insertion a vacuum looks: what is not there yet when it ends must not be denied
/// afterwards.
#[test]
fn a_vacuum_beside_an_insertion() {
    for parameters in
        [parameters(3, Metric::Cosine), Parameters { m: 2, m0: 4, ..parameters(2500, Metric::Cosine) }]
    {
        for (kind, before) in (0..3).flat_map(|kind| [0, 3].map(move |before| (kind, before))) {
            for at in 0.. {
                let mut table = ordinary(parameters);
                let value = values(&table)[kind].clone();
                let rows: Vec<_> = (0..before).map(|_| table.insert(value.clone()).unwrap()).collect();
                rows.iter().for_each(|tid| table.delete(*tid));
                let row = HeapTid::new(1000, 1);
                let others = |step| {
                    if step == at {
                        let index = table.index();
                        bulk_delete(&index, MEMORY, &mut |tid| table.dead.contains(&tid)).unwrap();
                        table.assert_sound(&[]);
                    }
                };
                let session = Session::new(&table.store, others);
                let index = Index::open(&session, &()).unwrap();
                match &value {
                    Some(vector) => index.insert(vector, row, false).unwrap(),
                    None => index.insert_aside(Null, row).unwrap(),
                }
                let is_vacuumed = session.steps.get() > at;
                assert!(may_hold(&table, if kind == 0 { Null } else { ZeroVector }), "step {at}");
                table.assert_sound(&[]);
                table.rows.insert(row, value);
                let query = table.random_vector();
                table.assert_complete(Some(&query), OPTIONS);
                if !is_vacuumed {
                    break;
                }
            }
        }
    }
}
