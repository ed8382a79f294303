//! Rows that wait for one index: their heap TIDs, and their vectors one after the other, first in memory and
//! then in a temporary file.

use std::ops::Range;

use pgrx::PgSqlErrorCode;
use walia_core::arena::{VectorFile, VectorReader};
use walia_core::types::HeapTid;

use crate::error::{Result, SqlError};
use crate::store::file::{TemporaryFile, file_error};

/// Bytes that are read of a file at a time.
const READ_AT_ONCE: usize = 1 << 18;

/// Stands for the length of a vector where there is none.
const NO_VECTOR: u32 = u32::MAX;

/// The rows in the order in which they came.
#[derive(Default)]
pub struct WaitingRows {
    /// Whether a join of them has failed: the index may hold some.
    pub may_be_joined: bool,
    rows: Vec<HeapTid>,
    /// Vectors that are in memory, each after its length.
    bytes: Vec<u8>,
    /// Those that came before.
    file: Option<TemporaryFile>,
    /// Bytes in the file.
    filed: u64,
}

impl WaitingRows {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Their heap TIDs.
    pub fn heap_tids(&self) -> &[HeapTid] {
        &self.rows
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.bytes.capacity() + self.rows.capacity() * size_of::<HeapTid>()
    }

    /// Adds a row; one without a vector is in the index already.
    pub fn push(&mut self, heap_tid: HeapTid, vector: Option<&[u8]>) -> Result<()> {
        let length = vector.map_or(NO_VECTOR, |vector| vector.len() as u32);
        let vector = vector.unwrap_or_default();
        self.rows.try_reserve(1)?;
        self.bytes.try_reserve(vector.len() + size_of::<u32>())?;
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(vector);
        self.rows.push(heap_tid);
        Ok(())
    }

    /// Bytes of memory that [`Self::spill`] frees.
    pub fn spillable(&self) -> usize {
        self.bytes.len()
    }

    /// Moves vectors to the file.
    pub fn spill(&mut self) -> Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(TemporaryFile::of_transaction()?),
        };
        // Where that fails, the bytes that are in the file already are written again, over themselves.
        file.write_at(self.filed, &self.bytes);
        self.filed += self.bytes.len() as u64;
        self.bytes = Vec::new();
        Ok(())
    }

    /// The vectors, one after the other.
    pub fn vectors(&self) -> Vectors<'_> {
        let reader = self.file.as_ref().map(|file| file.reader());
        Vectors { rows: self, reader, read: 0, piece: Vec::new(), next: 0 }
    }
}

/// Gives the vectors of rows one after the other.
pub struct Vectors<'r> {
    rows: &'r WaitingRows,
    reader: Option<Box<dyn VectorReader>>,
    /// Bytes that were read of the file.
    read: u64,
    /// The last of them.
    piece: Vec<u8>,
    /// Where the next vector begins: in the piece, and then in memory.
    next: usize,
}

impl Vectors<'_> {
    /// The length of the next one, which [`Self::vector`] gives; `None` where a row has none. There are as many as rows.
    pub fn length(&mut self) -> Result<Option<usize>> {
        let length = self.take(size_of::<u32>())?;
        let length = self.bytes(length).first_chunk().map_or(NO_VECTOR, |length| u32::from_le_bytes(*length));
        Ok((length != NO_VECTOR).then_some(length as usize))
    }

    /// The next one, of this length.
    pub fn vector(&mut self, length: usize) -> Result<&[u8]> {
        let vector = self.take(length)?;
        Ok(self.bytes(vector))
    }

    fn bytes(&self, range: Range<usize>) -> &[u8] {
        if self.reader.is_some() { &self.piece[range] } else { &self.rows.bytes[range] }
    }

    /// Passes so many bytes.
    fn take(&mut self, length: usize) -> Result<Range<usize>> {
        if self.reader.is_some() && self.piece.len() - self.next < length {
            self.read_on(length)?;
        }
        let range = self.next..self.next + length;
        self.next = range.end;
        Ok(range)
    }

    /// Reads the next piece of the file, with so many bytes at least. After the last piece come those in memory:
    /// no vector is on both sides.
    fn read_on(&mut self, length: usize) -> Result<()> {
        let left = (self.rows.filed - self.read) as usize;
        self.piece.drain(..self.next);
        self.next = 0;
        let (Some(reader), 1..) = (&self.reader, left) else {
            self.reader = None;
            return Ok(());
        };
        let before = self.piece.len();
        let more = left.min(READ_AT_ONCE.max(length - before));
        self.piece.try_reserve(more)?;
        self.piece.resize(before + more, 0);
        reader.read(self.read, &mut self.piece[before..]).map_err(failed)?;
        self.read += more as u64;
        Ok(())
    }
}

fn failed(error: walia_core::types::Error) -> SqlError {
    match error {
        walia_core::types::Error::TemporaryFile { errno } => {
            file_error(errno, "could not read from a temporary file")
        }
        _ => SqlError::new(
            PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            format!("could not read rows that wait for an index: {error:?}"),
        ),
    }
}
