//! Builds in less memory than all vectors take: those of the first nodes move to a file.
//!
//! The file holds vectors in the order of their nodes. What stays in memory are the latest, among them all
//! that are not yet inserted, so that a node's own vector is never read to insert it.

use super::file::{Spilled, VectorFile};
use super::insert::Inserter;
use super::{Arena, Feeder};
use crate::graph::BuiltGraph;
use crate::types::Result;
use std::sync::Arc;

/// The share of the chunks with vectors in memory that lose them at a time: the threads of the pool wait
/// meanwhile, which many small shares would make long, and fewer large ones would leave memory unused.
pub(super) const SHARE: usize = 4;

impl Feeder<'_> {
    /// Moves some vectors from memory to `file`, the same one at each call, after all rows so far have been
    /// inserted. False when there are none to move, or none may be: without codes nothing would be left in
    /// memory to search by. False as well when the build was stopped.
    ///
    /// `poll` is called again and again with the number of nodes inserted. It may unwind, and so may `file`.
    pub fn spill(&mut self, file: &mut impl VectorFile, mut poll: impl FnMut(u32)) -> Result<bool> {
        if let Some(vectors) = self.spare.pop() {
            self.budget.release(vectors);
            return Ok(true);
        }
        let many = self.spillable().div_ceil(SHARE);
        if many == 0 || !self.wait(&mut poll)? {
            return Ok(false);
        }
        self.spare.try_reserve(many)?;
        let Self { inserter, budget, spare, pool, .. } = self;
        let Some(Inserter { arena, .. }) = Arc::get_mut(inserter) else { return Ok(false) };
        let (first, threads) = (arena.spilled_chunks(), pool.current_num_threads());
        if arena.spilled.is_none() {
            // From now on threads fetch the vectors of what a search has found.
            budget.resized(0, arena.shape.memory(&arena.parameters, threads).fetched);
        }
        let spilled = arena.spilled.get_or_insert_with(|| Spilled { reader: file.reader(), nodes: 0 });
        for chunk in arena.chunks.iter_mut().skip(first).take(many).filter_map(|chunk| chunk.get_mut()) {
            file.append(chunk.vectors(&arena.shape));
            spare.push(chunk.take_vectors());
            spilled.nodes += chunk.len() as u32;
        }
        Ok(true)
    }

    /// Whether there are vectors that could be moved to a file.
    pub fn can_spill(&self) -> bool {
        !self.spare.is_empty() || self.spillable() > 0
    }

    /// Chunks whose vectors could be moved to a file.
    fn spillable(&self) -> usize {
        let arena = &self.inserter.arena;
        if arena.quantizer.is_none() {
            return 0;
        }
        arena.shape.locate(arena.len()).0 - arena.spilled_chunks()
    }
}

impl Arena {
    fn spilled_chunks(&self) -> usize {
        self.shape.locate(self.spilled_nodes()).0
    }

    /// Nodes whose vectors are in the file: the first ones.
    pub(super) fn spilled_nodes(&self) -> u32 {
        self.spilled.as_ref().map_or(0, |spilled| spilled.nodes)
    }

    /// The vector of a node, where it is in memory.
    pub(super) fn vector_in_memory(&self, node: u32) -> Option<&[u8]> {
        let (chunk, row) = self.locate(node);
        (node >= self.spilled_nodes()).then(|| chunk.vector(row, &self.shape))
    }

    /// Reads the vector of a node from the file.
    pub(super) fn read_vector(&self, node: u32, vector: &mut [u8]) -> Result<()> {
        let offset = u64::from(node) * self.parameters.vector_size() as u64;
        self.spilled.as_ref().map_or(Ok(()), |spilled| spilled.reader.read(offset, vector))
    }

    /// The vector of a node, from wherever it is.
    pub(super) fn any_vector<'a>(&'a self, node: u32, buffer: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        if let Some(vector) = self.vector_in_memory(node) {
            return Ok(vector);
        }
        buffer.resize(self.parameters.vector_size(), 0);
        self.read_vector(node, buffer)?;
        Ok(buffer)
    }
}
