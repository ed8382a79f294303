//! The file for vectors that find no place in memory, as the arena needs it.

use crate::types::Result;

/// A file to which one thread appends, and from which all threads read.
pub trait VectorFile {
    /// Appends bytes. It may unwind.
    fn append(&mut self, bytes: &[u8]);

    /// What the threads of a build read with. It must not be used after this file is closed.
    fn reader(&self) -> Box<dyn VectorReader>;
}

/// Reads a [`VectorFile`], by any number of threads at once.
pub trait VectorReader: Send + Sync {
    /// Reads bytes that were appended.
    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()>;
}

/// The vectors of the first nodes, which are not in memory.
pub(super) struct Spilled {
    pub(super) reader: Box<dyn VectorReader>,
    /// Their number.
    pub(super) nodes: u32,
}
