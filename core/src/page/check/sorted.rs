//! Heap TIDs in their order, sorted in parts that fit in memory.

use super::records::{Pool, Records};
use crate::sort::sort_unstable;
use crate::types::{HeapTid, Link, Result};
use bytemuck::{Pod, Zeroable};
use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

/// A heap TID, and the tuple that it lies in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub(super) struct HeldTid {
    pub tid: HeapTid,
    reserved: u16,
    pub at: Link,
}

pub(super) struct HeapTids<'m> {
    pool: Rc<RefCell<Pool<'m>>>,
    /// The last part, in no order.
    part: Vec<HeldTid>,
    /// Heap TIDs in every part but the last.
    part_length: usize,
    /// The parts before, each in its order; then all of them in order.
    sorted: Records<'m, HeldTid>,
}

impl<'m> HeapTids<'m> {
    /// None yet; those of a part take so many bytes.
    pub fn new(pool: &Rc<RefCell<Pool<'m>>>, bytes: usize) -> Self {
        let part_length = (bytes / size_of::<HeldTid>()).max(1);
        Self { pool: pool.clone(), part: Vec::new(), part_length, sorted: Records::new(pool) }
    }

    pub fn add(&mut self, tids: &[HeapTid], at: Link, poll: &mut impl FnMut()) -> Result<()> {
        for tid in tids {
            if self.part.len() == self.part_length {
                self.end_part(poll)?;
            }
            if self.part.len() == self.part.capacity() {
                // Not twice as much where that is more than a part.
                let more = self.part.len().clamp(128, 1 << 16).min(self.part_length - self.part.len());
                self.part.try_reserve_exact(more)?;
            }
            self.part.push(HeldTid { tid: *tid, reserved: 0, at });
        }
        Ok(())
    }

    fn end_part(&mut self, poll: &mut impl FnMut()) -> Result<()> {
        sort_unstable(&mut self.part, poll);
        for held in self.part.drain(..) {
            self.sorted.push(held)?;
        }
        Ok(())
    }

    /// Brings all into one order.
    pub fn sort(&mut self, poll: &mut impl FnMut()) -> Result<()> {
        self.end_part(poll)?;
        self.part = Vec::new();
        let length = self.sorted.len();
        if length <= self.part_length {
            return Ok(());
        }
        let mut next = BinaryHeap::new();
        next.try_reserve(length.div_ceil(self.part_length))?;
        for start in (0..length).step_by(self.part_length) {
            next.push(Reverse((self.sorted.get(start)?, start)));
        }
        let mut merged = Records::new(&self.pool);
        while let Some(Reverse((held, position))) = next.pop() {
            if merged.len().is_multiple_of(1024) {
                poll();
            }
            merged.push(held)?;
            let position = position + 1;
            if position < length && !position.is_multiple_of(self.part_length) {
                next.push(Reverse((self.sorted.get(position)?, position)));
            }
        }
        self.sorted = merged;
        Ok(())
    }

    /// How many there are, after they were sorted.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// One of them, in their order.
    pub fn get(&self, position: usize) -> Result<HeldTid> {
        self.sorted.get(position)
    }

    /// The tuple that a heap TID lies in.
    pub fn find(&self, tid: HeapTid) -> Result<Option<Link>> {
        let position = self.sorted.first_not_less(0..self.len(), &tid, |held| held.tid)?;
        if position == self.len() {
            return Ok(None);
        }
        let held = self.get(position)?;
        Ok((held.tid == tid).then_some(held.at))
    }
}
