//! Searches of many tables at once.

use super::*;

/// Tables of the same kind; the last one is empty, and the first has half of the rows.
fn tables(count: usize, rows: usize, parameters: walia_core::types::Parameters) -> Vec<Table> {
    let mut source = Table::new(MemoryStore::new(), parameters);
    let mut tables: Vec<Table> = (0..count).map(|_| Table::new(MemoryStore::new(), parameters)).collect();
    for row in 0..rows {
        let table = &mut tables[if row % 2 == 0 { 0 } else { 1 + row % (count - 2) }];
        let vector = source.random_vector();
        let value = (row % 50 != 7).then_some(vector.clone());
        table.insert(value).unwrap();
        if row % 40 == 9 {
            table.insert(Some(vector)).unwrap();
        }
    }
    for table in &mut tables[..count - 1] {
        for _ in 0..table.rows.len() / 10 {
            let row = table.any_row().unwrap();
            table.delete(row);
        }
    }
    tables
}

#[test]
fn every_row_of_many_tables_is_given_once_and_in_order() {
    for (parameters, rows) in [
        (parameters(6, Metric::L2), 1200),
        (parameters(6, Metric::Cosine), 600),
        (coded(16, Metric::InnerProduct, 2, PayloadEncoding::F16), 900),
        (coded(2100, Metric::Cosine, 1, PayloadEncoding::Column), 250),
    ] {
        let mut tables = tables(5, rows, parameters);
        // Under cosine, rows without a distance that are not NULL.
        let zero = vec![0; tables[0].random_vector().len()];
        tables[1].insert(Some(zero)).unwrap();
        let query = tables[0].random_vector();
        let tables: Vec<&Table> = tables.iter().collect();
        let passes = |table: usize, tid: HeapTid| table != 2 && third(tid);
        let of_table = |(number, table): (usize, &&Table)| -> Vec<(usize, HeapTid)> {
            table.rows.keys().map(|tid| (number, *tid)).filter(|(table, tid)| passes(*table, *tid)).collect()
        };
        let expected: BTreeSet<_> = tables.iter().enumerate().flat_map(of_table).collect();
        let measure = Measure::new(parameters.metric, parameters.element);
        // NULL is after NaN, and there is one NaN.
        let number = |distance: f64| if distance.is_nan() { f64::NAN } else { distance + 0.0 };
        let rank = |(table, tid): &(usize, HeapTid)| match tables[*table].rows[tid].as_deref() {
            Some(vector) => (false, number(measure.distance(&query, vector))),
            None => (true, f64::NAN),
        };
        for iterative in [IterativeScan::StrictOrder, IterativeScan::RelaxedOrder] {
            for (wanted, max_tuples, memory) in
                [(10, 20_000, 4 << 20), (1, 40, 4 << 20), (1000, 20_000, 9000), (100, 20_000, 4 << 20)]
            {
                let scan = ScanOptions { iterative, max_tuples, memory, ..OPTIONS };
                let options = NearestOptions { scan, wanted, ..WANTED };
                for query in [Some(query.as_slice()), None] {
                    let (given, _, stats) = search_all(&tables, query, options, usize::MAX, &passes);
                    let once: BTreeSet<_> = given.iter().copied().collect();
                    assert_eq!(once.len(), given.len(), "a row was given twice");
                    assert_eq!(once, expected, "{parameters:?}");
                    assert_eq!((stats.first_run + stats.second_run) as usize, given.len());
                    if query.is_none() {
                        continue;
                    }
                    let ranks: Vec<(bool, f64)> = given.iter().map(rank).collect();
                    let (first, second) = ranks.split_at(stats.first_run as usize);
                    let is_sorted = |run: &[(bool, f64)]| {
                        run.is_sorted_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).is_le())
                    };
                    assert!(is_sorted(second), "second run of {parameters:?} {options:?}: {second:?}");
                    let sorted = if iterative == IterativeScan::StrictOrder { first.len() } else { wanted };
                    assert!(is_sorted(&first[..sorted.min(first.len())]), "first run");
                }
            }
        }
    }
}

/// As near as the rows that a search of one table with all rows gives, whatever share of them passes, below
/// and above what a search keeps.
#[test]
fn recall_of_many_tables_is_that_of_one() {
    for parameters in [coded(32, Metric::L2, 4, PayloadEncoding::Column), parameters(6, Metric::Cosine)] {
        let mut one = Table::new(MemoryStore::new(), parameters);
        let mut many: Vec<Table> = (0..8).map(|_| Table::new(MemoryStore::new(), parameters)).collect();
        for row in 0..4000 {
            let vector = one.random_vector();
            one.insert(Some(vector.clone())).unwrap();
            many[row % 8].insert(Some(vector)).unwrap();
        }
        let queries: Vec<Vec<u8>> = (0..20).map(|_| one.random_vector()).collect();
        let many: Vec<&Table> = many.iter().collect();
        let measure = Measure::new(parameters.metric, parameters.element);
        for (share, wanted) in [(1, 10), (2, 10), (2, 200), (10, 1), (10, 60), (100, 10)] {
            let passes = |tid: HeapTid| (tid.block() * 50 + u32::from(tid.offset())).is_multiple_of(share);
            let recall = |tables: &[&Table]| {
                let mut found = 0;
                for query in &queries {
                    let mut expected: Vec<f64> =
                        tables.iter().flat_map(|table| truth(table, query, passes)).collect();
                    expected.sort_by(f64::total_cmp);
                    let options = NearestOptions { wanted, ..WANTED };
                    let (given, ..) = search_all(tables, Some(query), options, wanted, &|_, tid| passes(tid));
                    let distance = |(table, tid): &(usize, HeapTid)| {
                        measure.distance(query, tables[*table].rows[tid].as_deref().unwrap())
                    };
                    let is_found =
                        |row: &&(usize, HeapTid)| distance(row) <= expected[wanted.min(expected.len()) - 1];
                    found += given.iter().filter(is_found).count();
                }
                found as f64 / (wanted * queries.len()) as f64
            };
            let (of_one, of_many) = (recall(&[&one]), recall(&many));
            assert!(of_many >= of_one - 0.03, "{share} {wanted}: {of_many}, of one table {of_one}");
        }
    }
}

/// What is far is not walked through: tables whose rows are all further cost their first search and no more.
#[test]
fn work_goes_to_the_tables_that_are_near() {
    let parameters = parameters(6, Metric::L2);
    let mut near = Table::new(MemoryStore::new(), parameters);
    let mut far: Vec<Table> = (0..7).map(|_| Table::new(MemoryStore::new(), parameters)).collect();
    let shifted = |vector: &[u8]| {
        let elements = vector.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()) + 1000.0);
        elements.flat_map(f32::to_le_bytes).collect::<Vec<u8>>()
    };
    for _ in 0..3000 {
        let vector = near.random_vector();
        near.insert(Some(vector)).unwrap();
    }
    for table in &mut far {
        for _ in 0..300 {
            let vector = shifted(&near.random_vector());
            table.insert(Some(vector)).unwrap();
        }
    }
    let query = near.random_vector();
    let all: Vec<&Table> = [&near].into_iter().chain(&far).collect();
    let under = |tables: &[&Table], share: u16| {
        let (rows, _, stats) =
            search_all(tables, Some(&query), WANTED, 10, &|_, tid| tid.offset().is_multiple_of(share));
        assert!(rows.len() == 10 && rows.iter().all(|(table, _)| *table == 0));
        stats.search.expanded
    };
    let first = under(&all, 1) - under(&[&near], 1);
    let more = under(&all, 25) - under(&[&near], 25);
    assert!(more <= first + 20, "{first} expansions besides for all rows, {more} for few");
}

#[test]
fn a_search_of_many_tables_gives_up_as_that_of_one_does() {
    let mut tables = tables(4, 2000, parameters(6, Metric::L2));
    let query = tables[0].random_vector();
    let tables: Vec<&Table> = tables.iter().collect();
    let alternative = Some(Alternative { cost: 900.0, expansion: 1.0, test: 0.5, share: 0.1 });
    let options = NearestOptions { alternative, ..WANTED };
    let (given, gave_up, stats) = search_all(&tables, Some(&query), options, 10, &|_, _| false);
    assert!(given.is_empty() && gave_up.is_some() && stats.search.expanded < 900, "{stats:?}");
    let alternative = Some(Alternative { cost: 1e9, expansion: 1.0, test: 0.5, share: 0.001 });
    let options = NearestOptions { alternative, ..WANTED };
    // What can be reached has fewer rows than are wanted, or no distance.
    let three = |table: usize, tid: HeapTid| table == 1 && tid.block() == 1 && tid.offset() <= 3;
    assert!(search_all(&tables, Some(&query), options, 10, &three).1.is_some());
    assert!(search_all(&tables, None, options, 10, &|_, _| true).1.is_some());
    let (given, gave_up, _) = search_all(&tables, Some(&query), options, 10, &|_, tid| third(tid));
    assert!(given.len() == 10 && gave_up.is_none());
}
