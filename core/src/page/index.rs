//! An open index: a store with its meta page read.

use super::counters::Counters;
use super::meta::{COUNTERS_BLOCK, META_BLOCK, Meta};
use super::slotted::PageKind;
use super::store::{PageStore, WriteUnit};
use super::tuple::Layout;
use crate::kernel::Measure;
use crate::types::{Parameters, Result};

/// An index, opened for one operation.
pub struct Index<Store> {
    /// Its pages.
    pub store: Store,
    /// Its meta page as it was when the index was opened. Parameters never change; entry point and cycles do.
    pub meta: Meta,
    /// Where things lie in its tuples.
    pub layout: Layout,
    /// Its distance.
    pub measure: Measure,
}

impl<Store: PageStore> Index<Store> {
    /// Writes the meta and counters pages of an empty index to a store without pages.
    pub fn create(store: Store, parameters: &Parameters) -> Result<Self> {
        let meta = Meta::new(parameters);
        let mut unit = store.begin();
        for (block, kind) in [(META_BLOCK, PageKind::Meta), (COUNTERS_BLOCK, PageKind::Counters)] {
            let added = unit.extend()?;
            debug_assert_eq!(added, block);
            unit.edit(added).initialize(kind);
        }
        meta.write(unit.edit(META_BLOCK));
        Counters::EMPTY.write(unit.edit(COUNTERS_BLOCK));
        unit.commit()?;
        Self::with_meta(store, meta)
    }

    /// Opens an index.
    pub fn open(store: Store) -> Result<Self> {
        let meta = Meta::read(&store)?;
        Self::with_meta(store, meta)
    }

    fn with_meta(store: Store, meta: Meta) -> Result<Self> {
        let layout = Layout::new(&meta)?;
        let measure = Measure::new(layout.parameters.metric, layout.parameters.element);
        Ok(Self { store, meta, layout, measure })
    }
}
