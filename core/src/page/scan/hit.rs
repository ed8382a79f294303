//! Rows that a scan gives, and what it asks of its caller: a sort, and the table's own vectors.

use crate::types::HeapTid;

/// A row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Where it is in the heap.
    pub heap_tid: HeapTid,
    /// Its distance as the index ranks it (L2: squared), or the least that it can be; NaN where there is
    /// none.
    pub distance: f64,
    /// How much greater it can be: 0, unless payloads are less precise than the column.
    pub uncertainty: f32,
}

/// What a scan gives when it is asked for a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Next {
    /// A row.
    Row(Hit),
    /// No row of this round is left: a [`Federation`](super::Federation) searches for the next one.
    RoundEnd,
    /// No row is left.
    End,
}

/// The parts of the second run, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum HitClass {
    /// A vector of the graph.
    Vector = 0,
    /// A zero vector under cosine.
    ZeroVector = 1,
    /// NULL.
    Null = 2,
}

/// Sorts the second run by class, least distance (NaN last) and heap TID: in RAM, or spilling to disk.
pub trait RunSorter {
    /// Adds a row.
    fn add(&mut self, class: HitClass, hit: Hit);
    /// Called once, after the last row was added.
    fn sort(&mut self);
    /// The next row; its distance is NaN unless it is of [`HitClass::Vector`].
    fn next(&mut self) -> Option<Hit>;
}

/// The indexed table, as a scan needs it.
pub trait ColumnVectors {
    /// Says that these rows of the table are read next, in this order, and no longer those of which it was
    /// said before.
    fn prefetch(&mut self, rows: &[HeapTid]);

    /// For an index whose payloads are less precise than the column: the query's distance from the vector of
    /// a row, as the index ranks it; `None` for a row that the scan's snapshot does not see. Called without
    /// any page of the index.
    fn distance(&mut self, heap_tid: HeapTid) -> Option<f64>;
}

/// The indexed table and the conditions of a query, as a search for the nearest rows that pass needs them.
pub trait TestedTable: ColumnVectors {
    /// What a test makes of a row that passes: what the caller wants to be given.
    type Row;

    /// How many pages are asked for at a time; 0 where none are.
    fn depth(&self) -> usize;

    /// Reads a row; `None` where the snapshot does not see it or it does not pass. Called without any page of
    /// the index.
    fn test(&mut self, heap_tid: HeapTid) -> Option<Self::Row>;

    /// The query's distance from the vector of a row, as the index ranks it.
    fn distance_of(&mut self, row: &Self::Row) -> f64;
}
