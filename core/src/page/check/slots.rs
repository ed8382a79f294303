//! Records of tuples, found by the slots that these lie in.

use super::records::{Pool, Records};
use crate::types::{Link, Result};
use bytemuck::Pod;
use std::cell::RefCell;
use std::rc::Rc;

/// A record that knows its tuple's slot.
pub(super) trait InSlot: Pod {
    fn slot(&self) -> u16;
}

/// Records in the order of their tuples' addresses.
pub(super) struct Slots<'m, Record> {
    pub records: Records<'m, Record>,
    /// The position of the first record of each block, or of what follows.
    first: Records<'m, u64>,
}

impl<'m, Record: InSlot> Slots<'m, Record> {
    pub fn new(pool: &Rc<RefCell<Pool<'m>>>) -> Self {
        Self { records: Records::new(pool), first: Records::new(pool) }
    }

    /// Adds the record of a tuple whose address is greater than those before.
    pub fn push(&mut self, block: u32, record: Record) -> Result<()> {
        while self.first.len() <= block as usize {
            self.first.push(self.records.len() as u64)?;
        }
        self.records.push(record)
    }

    /// The record of the slot that `link` leads to, whatever its version, and its position.
    pub fn find(&self, link: Link) -> Result<Option<(usize, Record)>> {
        let block = link.block as usize;
        if block >= self.first.len() {
            return Ok(None);
        }
        let last = block + 1 == self.first.len();
        let start = self.first.get(block)? as usize;
        let end = if last { self.records.len() } else { self.first.get(block + 1)? as usize };
        let position = self.records.first_not_less(start..end, &link.slot, Record::slot)?;
        if position == end {
            return Ok(None);
        }
        let record = self.records.get(position)?;
        Ok((record.slot() == link.slot).then_some((position, record)))
    }
}
