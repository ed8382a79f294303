//! The check's comparison with the table: whether every row is in the index, with its vector.

use super::Check;
use super::facts::Place;
use super::hash::Hash;
use crate::page::format::meta::META_BLOCK;
use crate::page::format::tuple::AsideKind;
use crate::page::store::{PageStore, Phase};
use crate::types::{HeapTid, Result};

/// What the index must hold of a row.
enum Expected {
    /// A vector whose payload has this hash.
    Vector(Hash),
    /// Nothing of the value.
    Aside(AsideKind),
}

impl<Store: PageStore> Check<'_, '_, Store> {
    /// Shows how many rows have been compared: to be called before the first, too.
    pub fn show_rows(&self) {
        self.index.store.progress(Phase::ComparingRows, self.rows, self.facts.heap_tids.len() as u64);
    }

    /// Compares the index with a row of its table, as CREATE INDEX would index it: the row must be in the
    /// index, where its vector is; `None` is NULL. A vector has the size that the index's parameters say.
    /// That no row is in the index twice has been checked before. A row that is nowhere in the index is a
    /// finding of the meta page.
    pub fn row(&mut self, heap_tid: HeapTid, vector: Option<&[u8]>) -> Result<()> {
        self.rows += 1;
        self.show_rows();
        let expected = match vector {
            None => Expected::Aside(AsideKind::Null),
            Some(vector) if self.index.schema.is_aside(vector) => Expected::Aside(AsideKind::ZeroVector),
            Some(vector) => Expected::Vector(Hash::of(&self.index.schema.encode(vector))),
        };
        let (block, offset) = (heap_tid.block(), heap_tid.offset());
        let Some((at, place)) = self.facts.place_of(heap_tid)? else {
            self.findings.error(META_BLOCK, 0, format!("heap TID ({block},{offset}) is not in the index"));
            return Ok(());
        };
        let agrees = match (place, expected) {
            (Some(Place::Node(node)), Expected::Vector(payload)) => self.payloads.get(node)? == payload,
            (Some(Place::Aside(found)), Expected::Aside(expected)) => found == expected,
            _ => false,
        };
        if !agrees {
            let what =
                format!("heap TID ({block},{offset}) is in the index with another value than in the table");
            self.findings.error(at.block, at.slot, what);
        }
        Ok(())
    }
}
