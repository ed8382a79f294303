//! The check's comparison of an index with the rows of its table.

use crate::bounded;
use walia_core::page::format::tuple::AsideKind;
use walia_core::page::{Finding, Index, MemoryStore, Severity};
use walia_core::types::{ElementType, HeapTid, Metric, Parameters, PayloadEncoding};

type Row = (HeapTid, Option<Vec<u8>>);

const DIMENSIONS: usize = 40;

fn tid(number: u16) -> HeapTid {
    HeapTid::new(number.into(), 1)
}

fn vector(number: u16) -> Vec<u8> {
    let element = |i| f32::from(number) + i as f32 * 0.1;
    (0..DIMENSIONS).flat_map(|i| element(i).to_le_bytes()).collect()
}

/// Rows with vectors of their own, 50 rows that share one, and rows outside of the graph: NULLs and zero
/// vectors.
fn rows() -> Vec<Row> {
    (1..200)
        .map(|number| {
            let value = match number % 20 {
                0 => None,
                1 => Some(vec![0; DIMENSIONS * 4]),
                2..=6 => Some(vector(5)),
                _ => Some(vector(number)),
            };
            (tid(number), value)
        })
        .collect()
}

fn index(payload: PayloadEncoding) -> Index<MemoryStore> {
    let parameters =
        Parameters { payload, ..Parameters::plain(DIMENSIONS, ElementType::F32, Metric::Cosine, 4, 40) };
    let index = Index::create(MemoryStore::new(), &parameters).unwrap();
    for (tid, vector) in rows() {
        match vector {
            None => index.insert_aside(AsideKind::Null, tid).unwrap(),
            Some(vector) => index.insert(&vector, tid, false).unwrap(),
        }
    }
    index
}

fn findings(index: &Index<MemoryStore>, rows: &[Row]) -> Vec<Finding> {
    bounded::findings(index, |check| {
        for (tid, vector) in rows {
            check.row(*tid, vector.as_deref()).unwrap();
        }
    })
    .unwrap()
}

#[test]
fn rows_are_where_their_vectors_are() {
    for payload in [PayloadEncoding::Column, PayloadEncoding::F16, PayloadEncoding::Sq8] {
        let index = index(payload);
        let mut rows = rows();
        assert_eq!(findings(&index, &rows), [], "{payload:?}");

        let changes = [
            (9, Some(vector(10))),
            (9, None),
            (2, Some(vector(9))),
            (20, Some(vector(20))),
            (20, Some(vec![0; DIMENSIONS * 4])),
            (21, None),
        ];
        for (number, value) in changes {
            let position = rows.iter().position(|row| row.0 == tid(number)).unwrap();
            let right = std::mem::replace(&mut rows[position].1, value);
            let what = format!("heap TID ({number},1) is in the index with another value than in the table");
            assert_found_alone(&findings(&index, &rows), &what);
            rows[position].1 = right;
        }
        let position = rows.iter().position(|row| row.0 == tid(9)).unwrap();
        // Less than a lossy payload can tell, but for its fingerprint.
        rows[position].1.as_mut().unwrap()[0] ^= 1;
        assert_eq!(findings(&index, &rows).len(), 1, "{payload:?}");
    }
}

#[test]
fn missing_rows_are_found() {
    let index = index(PayloadEncoding::Column);
    let missing = [(tid(500), Some(vector(9)))];
    let found = findings(&index, &missing);
    assert_found_alone(&found, "heap TID (500,1) is not in the index");
    assert_eq!((found[0].block, found[0].slot), (0, 0));
}

fn assert_found_alone(findings: &[Finding], what: &str) {
    let [finding] = findings else { panic!("{what:?} was expected alone: {findings:?}") };
    assert_eq!((finding.severity, finding.what.as_ref()), (Severity::Error, what));
}
