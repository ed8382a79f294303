//! Entries of a list that are read together.

use crate::code::standalone::{Said, StandaloneQuery};
use crate::types::{HeapTid, Result};

use super::candidate::Place;

/// Entries that a batch has room for.
const ROOM: usize = 64;

/// Entries whose codes are read together.
pub struct Batch {
    /// Estimates; none where the query is NULL.
    query: Option<StandaloneQuery>,
    /// Codes that the query estimates by, one behind the other.
    codes: Vec<u8>,
    /// The rows of these codes.
    rows: Vec<HeapTid>,
    /// Where they are, for the time of `drain`.
    places: Vec<Place>,
    /// Rows of other codes, or of none, and what these say.
    others: Vec<(HeapTid, Option<Said>)>,
}

impl Batch {
    pub(super) fn new(query: Option<StandaloneQuery>) -> Self {
        let codes = Vec::with_capacity(query.as_ref().map_or(0, |query| ROOM * query.size()));
        let (places, rows) = (Vec::with_capacity(ROOM), Vec::with_capacity(ROOM));
        Self { query, codes, rows, places, others: Vec::with_capacity(ROOM) }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len() + self.others.len()
    }

    /// How many more entries there is room for.
    #[inline]
    pub fn room(&self) -> usize {
        ROOM - self.len()
    }

    /// The rows whose codes are estimated by.
    pub fn estimated_rows(&self) -> impl Iterator<Item = HeapTid> {
        self.rows.iter().copied()
    }

    /// Adds an entry, for which there is room: a row, and its code, unless that is NULL.
    pub fn add(&mut self, heap_tid: HeapTid, code: Option<&[u8]>) {
        if code.is_none_or(|code| !self.add_estimated(heap_tid, code)) {
            let said = self.query.as_ref().and_then(|query| Some(query.say(code?)));
            self.others.push((heap_tid, said));
        }
    }

    /// Adds an entry, for which there is room, if its code is one that is estimated by, as nearly all are.
    /// This takes no memory, and does not fail.
    #[inline]
    pub fn add_estimated(&mut self, heap_tid: HeapTid, code: &[u8]) -> bool {
        let is_estimated = self.query.as_ref().is_some_and(|query| query.estimates_by(code));
        if is_estimated {
            self.rows.push(heap_tid);
            self.codes.extend_from_slice(code);
        }
        is_estimated
    }

    /// Takes all entries out: gives each row with the place that it has by what its code says, if any.
    pub(super) fn drain(
        &mut self,
        place: impl Fn(Option<Said>) -> Place,
        mut give: impl FnMut(HeapTid, Place) -> Result<()>,
    ) -> Result<()> {
        let Self { query, codes, rows, places, others } = self;
        if let Some(query) = query {
            query.say_all(codes, |said| places.push(place(Some(said))));
        }
        codes.clear();
        rows.drain(..).zip(places.drain(..)).try_for_each(|(heap_tid, place)| give(heap_tid, place))?;
        others.drain(..).try_for_each(|(heap_tid, said)| give(heap_tid, place(said)))
    }
}
