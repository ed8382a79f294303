//! Entries of a list that may be wanted, in the order in which they are measured.

use crate::types::{HeapTid, Result};
use std::cmp::Ordering;

/// How many times as many are kept when the list is read again.
pub(super) const GROWTH: usize = 8;

/// The share of the entries that are left which is sorted when those before them have been taken, and the
/// fewest: most are never taken.
const SORTED: usize = 8;
const MIN_SORTED: usize = 64;

/// Where rows without a distance stand in an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RankOrder {
    /// NULL comes first.
    pub nulls_first: bool,
    /// NaN comes before all numbers.
    pub undefined_first: bool,
}

/// Rows that a condition lets pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Radius {
    /// The distance, as SQL has it, beyond which no row passes.
    pub distance: f64,
    /// Whether rows whose distance is NaN pass.
    pub undefined: bool,
}

/// A place in the order of rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Key {
    class: Class,
    distance: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Class {
    /// Nothing is known of it.
    Unknown,
    NullFirst,
    UndefinedFirst,
    Ordinary,
    UndefinedLast,
    NullLast,
}

impl RankOrder {
    /// Of a row with this distance.
    pub(super) fn key(self, distance: Option<f64>) -> Key {
        let class = match distance {
            None if self.nulls_first => Class::NullFirst,
            None => Class::NullLast,
            Some(distance) if !distance.is_nan() => return self.ordinary(distance),
            Some(_) if self.undefined_first => Class::UndefinedFirst,
            Some(_) => Class::UndefinedLast,
        };
        Key { class, distance: 0.0 }
    }

    /// Of a distance that is a number.
    pub(super) fn ordinary(self, distance: f64) -> Key {
        Key { class: Class::Ordinary, distance }
    }
}

impl Key {
    /// Before all others.
    pub const FIRST: Self = Self { class: Class::Unknown, distance: 0.0 };

    /// Whether it is known to be outside.
    pub fn is_outside(self, radius: Radius) -> bool {
        match self.class {
            Class::Ordinary => self.distance > radius.distance,
            Class::UndefinedLast => !radius.undefined,
            Class::NullLast => true,
            Class::Unknown | Class::NullFirst | Class::UndefinedFirst => false,
        }
    }

    /// Whether it is that of a row whose distance is NaN.
    pub fn is_undefined(self) -> bool {
        matches!(self.class, Class::UndefinedFirst | Class::UndefinedLast)
    }

    /// The same with the distance multiplied.
    pub fn times(self, factor: f64) -> Self {
        Self { distance: self.distance * factor, ..self }
    }
}

impl Eq for Key {}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.class.cmp(&other.class).then(self.distance.total_cmp(&other.distance))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Where an entry stands by what its code says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// At least.
    pub key: Key,
    /// The distance as it is estimated.
    pub estimate: f32,
}

/// An entry: ordered by its key and then by its row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    /// The distance at least, rounded down.
    least: f32,
    /// The distance as it is estimated.
    pub estimate: f32,
    pub heap_tid: HeapTid,
    class: Class,
}

impl Candidate {
    fn new(Place { key: Key { class, distance }, estimate }: Place, heap_tid: HeapTid) -> Self {
        let rounded = distance as f32;
        let least = if f64::from(rounded) > distance { rounded.next_down() } else { rounded };
        Self { least, estimate, heap_tid, class }
    }

    pub fn key(self) -> Key {
        Key { class: self.class, distance: self.least.into() }
    }
}

impl Eq for Candidate {}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_distance = || self.least.total_cmp(&other.least);
        self.class.cmp(&other.class).then_with(by_distance).then_with(|| self.heap_tid.cmp(&other.heap_tid))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The first of the entries that were read.
///
/// Few of them are measured, as a rule, and few are kept: the others are read again when they are wanted.
pub(super) struct Candidates {
    /// How many are kept at most; for the time of reading, twice as many.
    capacity: usize,
    /// What that may become.
    most: usize,
    /// Those before it, and itself, were taken before.
    after: Option<Candidate>,
    /// The last that is kept, if others were not.
    end: Option<Candidate>,
    /// Beyond it nothing is kept.
    limit: Option<Key>,
    /// The first ones that are left of those that were kept, the very first one last; none only where there
    /// are none.
    sorted: Vec<Candidate>,
    /// The others that are left, in no order; while the list is read, all.
    rest: Vec<Candidate>,
    /// How many come after those that were taken before, kept or not.
    count: usize,
    /// Whether there is any without a distance, kept or not.
    has_undefined: bool,
}

impl Candidates {
    /// None. So many are kept at first, and no more than memory allows at last.
    pub fn new(capacity: usize, most: usize) -> Self {
        let (after, end, limit, sorted, rest) = Default::default();
        let capacity = capacity.min(most);
        Self { capacity, most, after, end, limit, sorted, rest, count: 0, has_undefined: false }
    }

    /// Before the list is read: again for those that come after what was kept.
    pub fn clear(&mut self) {
        self.sorted.clear();
        self.rest.clear();
        self.count = 0;
        self.limit = None;
        self.after = self.end.take();
        if self.after.is_some() {
            self.capacity = self.most.min(self.capacity * GROWTH);
        }
    }

    /// Takes note of an entry.
    #[inline]
    pub fn add(&mut self, place: Place, heap_tid: HeapTid) -> Result<()> {
        self.count += 1;
        if self.limit.is_some_and(|limit| place.key > limit) {
            self.has_undefined |= place.key.is_undefined();
            return Ok(());
        }
        self.keep(Candidate::new(place, heap_tid))
    }

    fn keep(&mut self, candidate: Candidate) -> Result<()> {
        self.has_undefined |= candidate.key().is_undefined();
        if self.after.is_some_and(|after| candidate <= after) {
            self.count -= 1;
            return Ok(());
        }
        if self.end.is_some_and(|end| candidate > end) {
            return Ok(());
        }
        if self.rest.len() >= 2 * self.capacity {
            self.keep_first();
        }
        if self.rest.len() == self.rest.capacity() {
            self.rest.try_reserve(1)?;
        }
        self.rest.push(candidate);
        Ok(())
    }

    /// Called when the list has been read.
    pub fn finish(&mut self) -> Result<()> {
        if self.end.is_some() || self.rest.len() > 2 * self.capacity {
            self.keep_first();
        }
        self.sort(0)
    }

    /// Sorts the next of those that are left, if none is sorted, and makes room for so many besides.
    fn sort(&mut self, besides: usize) -> Result<()> {
        let Self { sorted, rest, .. } = self;
        if !sorted.is_empty() {
            return Ok(());
        }
        let further = rest.len() - (rest.len() / SORTED).max(MIN_SORTED).min(rest.len());
        if further > 0 {
            rest.select_nth_unstable_by(further, |a, b| b.cmp(a));
        }
        sorted.try_reserve(rest.len() - further + besides)?;
        sorted.extend(rest.drain(further..));
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        Ok(())
    }

    fn keep_first(&mut self) {
        if self.rest.len() > self.capacity {
            let (_, end, _) = self.rest.select_nth_unstable(self.capacity - 1);
            self.end = Some(*end);
            // A candidate's distance is rounded down.
            self.limit = Some(Key { distance: end.least.next_up().into(), ..end.key() });
            self.rest.truncate(self.capacity);
        }
    }

    /// The key of the first that is left; where none is that was kept, that of the last one.
    pub fn first(&self) -> Option<Key> {
        self.sorted.last().copied().or(self.end).map(Candidate::key)
    }

    /// How many entries come after those that were taken before the list was read.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether none that was kept is left.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// Whether there are others, which were not kept.
    pub fn are_others(&self) -> bool {
        self.end.is_some()
    }

    /// Takes the first ones that are left, so many at most, in their order.
    pub fn take(&mut self, most: usize) -> Result<Vec<Candidate>> {
        let mut taken = Vec::new();
        taken.try_reserve(most.min(self.sorted.len() + self.rest.len()))?;
        while taken.len() < most
            && let Some(next) = self.sorted.pop()
        {
            taken.push(next);
            self.sort(taken.len())?;
        }
        Ok(taken)
    }

    /// Takes all that are left of those that were kept, in the order of the table.
    pub fn take_all(&mut self) -> Result<Vec<Candidate>> {
        let mut all = std::mem::take(&mut self.rest);
        all.try_reserve(self.sorted.len())?;
        all.append(&mut self.sorted);
        all.sort_unstable_by_key(|candidate| candidate.heap_tid);
        Ok(all)
    }

    /// Puts back the last ones that were taken, for which there is room.
    pub fn put_back(&mut self, candidates: &[Candidate]) {
        self.sorted.extend(candidates.iter().rev());
    }

    /// Whether the list has entries without a distance.
    pub fn has_undefined(&self) -> bool {
        self.has_undefined
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: usize = 500;

    #[test]
    fn they_are_taken_in_their_order_and_those_put_back_again() {
        for count in [0usize, 1, 15, 16, 63, 64, 65, 80, 500, 1000, 3000] {
            let mut candidates = Candidates::new(CAPACITY, CAPACITY);
            // Every third is as near as another.
            let nearness = |number: usize| (number * 7919 % count - number * 7919 % count % 3) as f64;
            for number in 0..count {
                let key = RankOrder::default().ordinary(nearness(number));
                candidates.add(Place { key, estimate: 0.0 }, HeapTid::new(number as u32, 1)).unwrap();
            }
            candidates.finish().unwrap();
            assert_eq!(candidates.are_others(), count > 2 * CAPACITY);
            let mut sorted: Vec<usize> = (0..count).collect();
            sorted.sort_by(|a, b| nearness(*a).total_cmp(&nearness(*b)).then(a.cmp(b)));
            sorted.truncate(if count > 2 * CAPACITY { CAPACITY } else { count });
            let mut found = Vec::new();
            for put_back in (0..16).cycle() {
                if candidates.is_empty() {
                    break;
                }
                let first = candidates.first();
                let taken = candidates.take(16).unwrap();
                assert_eq!(first, Some(taken[0].key()));
                let kept = taken.len() - usize::min(put_back, taken.len() - 1);
                let room = candidates.sorted.capacity();
                candidates.put_back(&taken[kept..]);
                assert_eq!(candidates.sorted.capacity(), room, "there is room for them");
                found.extend(taken[..kept].iter().map(|candidate| candidate.heap_tid.block() as usize));
                if found.len() * 2 > count {
                    let rest = candidates.take_all().unwrap();
                    assert!(rest.is_sorted_by_key(|candidate| candidate.heap_tid));
                    let mut rest = rest;
                    rest.sort();
                    found.extend(rest.iter().map(|candidate| candidate.heap_tid.block() as usize));
                }
            }
            assert_eq!(found, sorted, "{count}");
        }
    }
}
