//! Rows that wait for one index: records of a heap TID and a vector, one after the other, first in memory and
//! then in blocks of the transaction's file.

use std::ops::Range;

use pgrx::pg_sys;
use walia_core::types::{Error, HeapTid, Result};

use super::blocks::{BLOCK, Blocks, Reader};
use crate::error;

/// Where the records of a subtransaction, and of all that have begun since, begin.
struct Mark {
    subtransaction: pg_sys::SubTransactionId,
    /// Rows before.
    rows: usize,
    /// Bytes before.
    bytes: u64,
}

/// The rows in the order in which they came.
#[derive(Default)]
pub struct WaitingRows {
    /// Whether a join of them has failed: the index may hold some.
    pub may_be_joined: bool,
    rows: usize,
    /// Of subtransactions that have not ended, outermost first: their numbers ascend. What has ended belongs
    /// to the one around it.
    marks: Vec<Mark>,
    /// Blocks of those that came first, with the bytes in each.
    blocks: Vec<(u32, u32)>,
    /// Bytes in blocks. A record is either in blocks or in memory.
    filed: u64,
    /// The last ones.
    bytes: Vec<u8>,
}

/// What is before a vector: its row, and its length.
const HEADER: usize = size_of::<HeapTid>() + size_of::<u32>();

impl WaitingRows {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.bytes.capacity()
            + self.blocks.capacity() * size_of::<(u32, u32)>()
            + self.marks.capacity() * size_of::<Mark>()
    }

    /// Adds a row that this subtransaction has inserted.
    pub fn push(
        &mut self,
        heap_tid: HeapTid,
        vector: &[u8],
        subtransaction: pg_sys::SubTransactionId,
    ) -> error::Result<()> {
        self.bytes.try_reserve(HEADER + vector.len())?;
        if self.marks.last().is_none_or(|mark| mark.subtransaction != subtransaction) {
            self.marks.try_reserve(1)?;
            let bytes = self.filed + self.bytes.len() as u64;
            self.marks.push(Mark { subtransaction, rows: self.rows, bytes });
        }
        self.bytes.extend_from_slice(bytemuck::bytes_of(&heap_tid));
        self.bytes.extend_from_slice(&(vector.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(vector);
        self.rows += 1;
        Ok(())
    }

    /// A subtransaction has ended: its rows are those of the one around it.
    pub fn hand_over(&mut self, subtransaction: pg_sys::SubTransactionId, parent: pg_sys::SubTransactionId) {
        let first = self.marks.partition_point(|mark| mark.subtransaction < subtransaction);
        self.marks.truncate(first + 1);
        if let Some(mark) = self.marks.get_mut(first) {
            mark.subtransaction = parent;
            if first > 0 && self.marks[first - 1].subtransaction == parent {
                self.marks.pop();
            }
        }
    }

    /// A subtransaction is rolled back: its rows are cut, with those of all that have begun since.
    pub fn cut(&mut self, subtransaction: pg_sys::SubTransactionId, blocks: Option<&mut Blocks>) {
        let first = self.marks.partition_point(|mark| mark.subtransaction < subtransaction);
        let Some(mark) = self.marks.get(first) else { return };
        let bytes = mark.bytes;
        self.rows = mark.rows;
        self.may_be_joined &= self.rows > 0;
        self.marks.truncate(first);
        self.bytes.truncate(bytes.saturating_sub(self.filed) as usize);
        let Some(file) = blocks else { return };
        while let Some((block, used)) = self.blocks.pop_if(|(_, used)| self.filed - u64::from(*used) >= bytes)
        {
            self.filed -= u64::from(used);
            file.give_back(block);
        }
        if let Some((_, used)) = self.blocks.last_mut() {
            *used -= (self.filed - self.filed.min(bytes)) as u32;
            self.filed = self.filed.min(bytes);
        }
    }

    /// Bytes of memory that [`Self::spill`] frees.
    pub fn spillable(&self) -> usize {
        self.bytes.len()
    }

    /// Moves records to the file.
    pub fn spill(&mut self, file: &mut Blocks) -> error::Result<()> {
        let mut written = Vec::new();
        written.try_reserve_exact(self.bytes.len().div_ceil(BLOCK))?;
        self.blocks.try_reserve(self.bytes.len().div_ceil(BLOCK))?;
        // Where an ERROR ends this, somebody may catch it: the rows are in memory still.
        for bytes in self.bytes.chunks(BLOCK) {
            written.push((file.write(bytes)?, bytes.len() as u32));
        }
        self.blocks.append(&mut written);
        self.filed += self.bytes.len() as u64;
        self.bytes = Vec::new();
        Ok(())
    }

    /// Forgets all.
    pub fn clear(&mut self, file: Option<&mut Blocks>) {
        if let Some(file) = file {
            self.blocks.iter().for_each(|(block, _)| file.give_back(*block));
        }
        *self = Self::default();
    }

    /// The rows and their vectors, one after the other.
    pub fn records<'r>(&'r self, file: Option<&Blocks>) -> Records<'r> {
        Records {
            rows: self,
            reader: file.map(Blocks::reader),
            blocks: 0,
            piece: Vec::new(),
            next: 0,
            vector: 0..0,
        }
    }
}

/// Gives rows one after the other.
pub struct Records<'r> {
    rows: &'r WaitingRows,
    /// Of the file, as long as records are in blocks.
    reader: Option<Reader>,
    /// Blocks that were read.
    blocks: usize,
    /// What was read of them and not passed.
    piece: Vec<u8>,
    /// Where the next record begins: in the piece, and then in memory.
    next: usize,
    /// Where the vector of this row is.
    vector: Range<usize>,
}

impl Records<'_> {
    /// Goes to the next row; `None` after the last.
    pub fn advance(&mut self) -> Result<Option<HeapTid>> {
        let Some(header) = self.take(HEADER)? else { return Ok(None) };
        let (heap_tid, length) = self.bytes(header).split_at(size_of::<HeapTid>());
        let heap_tid = bytemuck::pod_read_unaligned(heap_tid);
        let length = length.first_chunk().map_or(0, |length| u32::from_le_bytes(*length));
        self.vector = self.take(length as usize)?.ok_or(Error::TemporaryFile { errno: 0 })?;
        Ok(Some(heap_tid))
    }

    /// The row's vector.
    pub fn vector(&self) -> &[u8] {
        self.bytes(self.vector.clone())
    }

    fn bytes(&self, range: Range<usize>) -> &[u8] {
        if self.reader.is_some() { &self.piece[range] } else { &self.rows.bytes[range] }
    }

    /// Passes so many bytes; `None` at the end.
    fn take(&mut self, length: usize) -> Result<Option<Range<usize>>> {
        while self.reader.is_some() && self.piece.len() - self.next < length {
            self.read_on()?;
        }
        let range = self.next..self.next + length;
        if self.reader.is_none() && range.end > self.rows.bytes.len() {
            return Ok(None);
        }
        self.next = range.end;
        Ok(Some(range))
    }

    /// Reads the next block. After the last come the bytes in memory: no record is on both sides.
    fn read_on(&mut self) -> Result<()> {
        let (Some(reader), Some((block, used))) = (&self.reader, self.rows.blocks.get(self.blocks)) else {
            self.reader = None;
            self.next = 0;
            return Ok(());
        };
        self.blocks += 1;
        self.piece.drain(..self.next);
        self.next = 0;
        let before = self.piece.len();
        self.piece.try_reserve(*used as usize)?;
        self.piece.resize(before + *used as usize, 0);
        reader.read(*block, &mut self.piece[before..])
    }
}
