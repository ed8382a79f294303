//! Records of equal size in a file, by the run to which each belongs.

use crate::arena::{VectorFile, VectorReader};
use crate::types::Result;

/// Bytes at the beginning of a block: which block of its run came before, and how many records it has.
const HEADER: usize = 8;
/// In the place of a block before the first of a run.
const NONE: u32 = u32::MAX;

/// Records on their way to a file, to which each run's go block by block.
///
/// A block leads to the one of its run that was written before: memory for one block of each run is all that
/// it takes, however many records there are.
pub struct Runs<File> {
    file: File,
    record_size: usize,
    block_size: usize,
    blocks: u32,
    runs: Vec<Block>,
}

/// The block of a run that takes records.
struct Block {
    before: u32,
    records: Vec<u8>,
}

impl<File: VectorFile> Runs<File> {
    /// So many runs, none of which has records yet, in an empty file. What is kept in memory takes about so
    /// many bytes, or what one record of each run takes.
    pub fn new(file: File, count: usize, record_size: usize, memory: usize) -> Self {
        let block_size = block_size(count, record_size, memory);
        let mut runs = Vec::new();
        runs.resize_with(count, || Block { before: NONE, records: Vec::new() });
        Self { file, record_size, block_size, blocks: 0, runs }
    }

    /// Adds a record of two parts to a run. It may unwind, as the file's writing may.
    ///
    /// # Panics
    /// If it has not the size of records, or there is no such run.
    pub fn push(&mut self, run: usize, parts: [&[u8]; 2]) -> Result<()> {
        assert_eq!(parts[0].len() + parts[1].len(), self.record_size, "a record has the size of records");
        let block = &mut self.runs[run];
        if block.records.is_empty() {
            block.records.try_reserve_exact(self.block_size)?;
            block.records.resize(HEADER, 0);
        }
        parts.into_iter().for_each(|part| block.records.extend_from_slice(part));
        if block.records.len() == self.block_size {
            self.write(run);
        }
        Ok(())
    }

    /// Writes the rest, and gives memory back. No more records are pushed.
    pub fn finish(&mut self) {
        for run in 0..self.runs.len() {
            if self.runs[run].records.len() > HEADER {
                self.write(run);
            }
            self.runs[run].records = Vec::new();
        }
    }

    /// Bytes that are taken by the run that is read.
    pub fn block_size(&self) -> usize {
        self.block_size
    }

    /// Reads a run, once all are finished: its last block first.
    pub fn run(&self, run: usize) -> Run<'_, File> {
        let (reader, next) = (self.file.reader(), self.runs[run].before);
        Run { runs: self, reader, next, block: Vec::new(), read: HEADER, end: HEADER }
    }

    /// Appends the block of a run to the file, in full size.
    fn write(&mut self, run: usize) {
        let Block { before, records } = &mut self.runs[run];
        let length = (records.len() - HEADER) as u32;
        records[..4].copy_from_slice(&before.to_le_bytes());
        records[4..HEADER].copy_from_slice(&length.to_le_bytes());
        records.resize(self.block_size, 0);
        self.file.append(records);
        records.truncate(HEADER);
        *before = self.blocks;
        self.blocks += 1;
    }
}

/// The size of a file of so many records in so many runs, when so much memory was there for them.
pub fn file_size(records: u64, count: usize, record_size: usize, memory: usize) -> u64 {
    let block_size = block_size(count, record_size, memory);
    let of_block = (block_size - HEADER) / record_size;
    // The last block of each run is half full on average.
    (records as f64 / of_block as f64 + count as f64 / 2.0) as u64 * block_size as u64
}

/// That of as many records as a run's share of the memory has room for.
fn block_size(count: usize, record_size: usize, memory: usize) -> usize {
    HEADER + ((memory / count).saturating_sub(HEADER) / record_size).max(1) * record_size
}

/// The records of a run.
pub struct Run<'r, File> {
    runs: &'r Runs<File>,
    reader: Box<dyn VectorReader>,
    /// The block that is read next.
    next: u32,
    block: Vec<u8>,
    /// Where the next record of the block begins, and where the last ends.
    read: usize,
    end: usize,
}

impl<File: VectorFile> Run<'_, File> {
    /// The next record; `None` after the last.
    pub fn advance(&mut self) -> Result<Option<&[u8]>> {
        if self.read == self.end {
            if self.next == NONE {
                return Ok(None);
            }
            let size = self.runs.block_size;
            self.block.try_reserve_exact(size - self.block.len())?;
            self.block.resize(size, 0);
            self.reader.read(u64::from(self.next) * size as u64, &mut self.block)?;
            let number = |at: usize| bytemuck::pod_read_unaligned::<u32>(&self.block[at..at + 4]);
            (self.next, self.read, self.end) = (number(0), HEADER, HEADER + number(4) as usize);
        }
        let record = self.read..self.read + self.runs.record_size;
        self.read = record.end;
        Ok(Some(&self.block[record]))
    }
}
