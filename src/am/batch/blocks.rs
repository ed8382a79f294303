//! The temporary file in which rows wait, of all indexes of a transaction: a descriptor for all. It is made
//! of blocks, which are written once, and again when their rows have been joined or cut.

use walia_core::arena::{VectorFile, VectorReader};

use crate::error::Result;
use crate::store::file::TemporaryFile;

/// Bytes of a block. Not all are in use where very many indexes share the memory of rows that wait.
pub const BLOCK: usize = 1 << 15;

/// The file.
pub struct Blocks {
    file: TemporaryFile,
    /// How many there are.
    count: u32,
    /// Those that hold nothing any more. It has room for all.
    free: Vec<u32>,
}

impl Blocks {
    /// None yet.
    pub fn create() -> Result<Self> {
        Ok(Self { file: TemporaryFile::of_transaction()?, count: 0, free: Vec::new() })
    }

    /// Writes a block, of so many bytes at most, and returns its number.
    pub fn write(&mut self, bytes: &[u8]) -> Result<u32> {
        let new = self.count;
        let block = self.free.last().copied().unwrap_or(new);
        self.file.write_at(offset(block), bytes);
        if block == new {
            self.free.try_reserve(new as usize + 1)?;
            self.count += 1;
        } else {
            self.free.pop();
        }
        Ok(block)
    }

    /// Lets a block be written again. It takes no memory: subtransactions that are aborted do it.
    pub fn give_back(&mut self, block: u32) {
        self.free.push(block);
    }

    /// Whether no block holds anything.
    pub fn is_empty(&self) -> bool {
        self.free.len() == self.count as usize
    }

    /// Reads blocks.
    pub fn reader(&self) -> Reader {
        Reader(self.file.reader())
    }
}

/// Reads blocks of a file that outlives it.
pub struct Reader(Box<dyn VectorReader>);

impl Reader {
    /// Reads the first bytes of a block.
    pub fn read(&self, block: u32, bytes: &mut [u8]) -> std::result::Result<(), walia_core::types::Error> {
        self.0.read(offset(block), bytes)
    }
}

fn offset(block: u32) -> u64 {
    u64::from(block) * BLOCK as u64
}
