//! An open index: a store, and what never changes of what it holds.

use crate::page::format::hints::Hints;
use crate::page::format::meta::{HINTS_BLOCK, META_BLOCK, Meta};
use crate::page::format::presence::Presence;
use crate::page::format::slotted::PageKind;
use crate::page::format::tuple::AsideKind;
use crate::page::query::schema::{Quantizers, Schema};
use crate::page::store::{PageStore, WriteUnit};
use crate::types::{Parameters, Result};
use std::sync::Arc;

/// An open index. What changes of its meta page, entry point and cycles, is read once by each operation.
pub struct Index<Store> {
    /// Its pages.
    pub store: Store,
    /// What never changes of it.
    pub schema: Arc<Schema>,
}

impl<Store: PageStore> Index<Store> {
    /// Writes the meta and hints pages of an empty index to a store without pages. Its centroid is zero.
    pub fn create(store: Store, parameters: &Parameters) -> Result<Self> {
        let meta = Meta::new(parameters);
        let mut unit = store.begin();
        for (block, kind) in [(META_BLOCK, PageKind::Meta), (HINTS_BLOCK, PageKind::Hints)] {
            let added = unit.extend()?;
            debug_assert_eq!(added, block);
            unit.edit(added).initialize(kind);
        }
        meta.write(unit.edit(META_BLOCK));
        Hints::EMPTY.write(unit.edit(HINTS_BLOCK));
        unit.commit()?;
        Self::with_meta(store, &meta, &())
    }

    /// Opens an index.
    pub fn open(store: Store, quantizers: &impl Quantizers) -> Result<Self> {
        let meta = Meta::read(&store)?;
        Self::with_meta(store, &meta, quantizers)
    }

    /// Opens an index whose meta page has been read.
    pub fn with_meta(store: Store, meta: &Meta, quantizers: &impl Quantizers) -> Result<Self> {
        let schema = Arc::new(Schema::read(&store, meta, quantizers)?);
        Ok(Self { store, schema })
    }

    /// The same index over the borrowed store.
    pub(in crate::page) fn borrowed(&self) -> Index<&Store> {
        Index { store: &self.store, schema: Arc::clone(&self.schema) }
    }
}

impl Meta {
    /// Reads and checks the meta page.
    pub fn read(store: &impl PageStore) -> Result<Self> {
        Self::of_page(&*store.read(META_BLOCK)?)
    }

    /// Whether a snapshot that was taken before the meta page was read may see a row of one of these kinds.
    pub fn may_hold(&self, store: &impl PageStore, kinds: &[AsideKind]) -> Result<bool> {
        if kinds.iter().any(|kind| self.presence(*kind) != Presence::Absent) {
            return Ok(true);
        }
        let hints = Hints::of_page(&*store.read(HINTS_BLOCK)?)?;
        Ok(kinds.iter().any(|kind| !hints.is_absent(self, *kind)))
    }
}
