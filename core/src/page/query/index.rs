//! An open index: a store with its meta page read.

use crate::code::{CodeParameters, Quantizer};
use crate::kernel::Measure;
use crate::page::format::hints::Counters;
use crate::page::format::layout::Layout;
use crate::page::format::meta::{COUNTERS_BLOCK, META_BLOCK, Meta};
use crate::page::format::slotted::PageKind;
use crate::page::query::chain;
use crate::page::store::{PageStore, WriteUnit};
use crate::types::{Error, Parameters, Result};
use hashbrown::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

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
    /// What makes its codes; `None` where it has none.
    pub quantizer: Option<Arc<Quantizer>>,
}

impl<Store: PageStore> Index<Store> {
    /// Writes the meta and counters pages of an empty index to a store without pages. Its centroid is zero.
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
        let layout = meta.layout()?;
        let measure = Measure::new(layout.parameters.metric, layout.parameters.element);
        let quantizer = quantizer(&store, &meta)?;
        Ok(Self { store, meta, layout, measure, quantizer })
    }
}

impl Meta {
    /// Reads and checks the meta page.
    pub fn read(store: &impl PageStore) -> Result<Self> {
        Self::of_page(&*store.read(META_BLOCK)?)
    }
}

impl<Store> Index<Store> {
    /// What was read when this index was opened, with another store.
    pub fn with_store<Other>(&self, store: Other) -> Index<Other> {
        let quantizer = self.quantizer.clone();
        Index { store, meta: self.meta, layout: self.layout, measure: self.measure, quantizer }
    }
}

/// Dimensions of all quantizers together that are kept by [`quantizer`], some 12 bytes each: as many indexes as are searched as
/// one have theirs at hand.
const CACHED_DIMENSIONS: usize = 1 << 20;

/// The quantizers used last. Making one reads the centroid's pages and draws the rotation.
static CACHE: LazyLock<Mutex<Cache>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Cache {
    /// Each with the number of its last use.
    quantizers: HashMap<CodeParameters, (Arc<Quantizer>, u64)>,
    uses: u64,
    dimensions: usize,
}

impl Cache {
    fn find(&mut self, parameters: &CodeParameters) -> Option<Arc<Quantizer>> {
        self.uses += 1;
        let (found, last) = self.quantizers.get_mut(parameters)?;
        *last = self.uses;
        Some(Arc::clone(found))
    }

    /// Adds one, and forgets those that were not used for the longest time where they are too many.
    fn keep(&mut self, quantizer: &Arc<Quantizer>) {
        let parameters = *quantizer.parameters();
        if self.quantizers.insert(parameters, (Arc::clone(quantizer), self.uses)).is_none() {
            self.dimensions += parameters.dimensions;
        }
        while self.dimensions > CACHED_DIMENSIONS {
            let oldest = self.quantizers.iter().min_by_key(|(_, (_, last))| *last).map(|(oldest, _)| *oldest);
            let Some(oldest) = oldest else { break };
            self.quantizers.remove(&oldest);
            self.dimensions -= oldest.dimensions;
        }
    }
}

/// The quantizer of an index with this meta page; `None` for one without codes.
///
/// The rotation's seed is a hash of the centroid ([`seed_of`](crate::code::seed_of)), so that parameters that are equal mean
/// equal quantizers.
fn quantizer(store: &impl PageStore, meta: &Meta) -> Result<Option<Arc<Quantizer>>> {
    let Some(parameters) = meta.code_parameters()? else { return Ok(None) };
    let cache = || CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = cache().find(&parameters) {
        return Ok(Some(found));
    }
    let made = Arc::new(Quantizer::new(parameters, &read_centroid(store, meta)?));
    cache().keep(&made);
    Ok(Some(made))
}

/// The centroid of an index: zero where it has none.
pub fn read_centroid(store: &impl PageStore, meta: &Meta) -> Result<Vec<f32>> {
    let size = usize::from(meta.dimensions) * size_of::<f32>();
    match meta.parameter_length as usize {
        0 => Ok(vec![0.0; meta.dimensions.into()]),
        length if length == size => {
            let bytes = chain::read_chain(store, meta.parameter_block, meta.parameter_length)?;
            let centroid: Vec<f32> = bytes.as_chunks().0.iter().copied().map(f32::from_le_bytes).collect();
            let corrupt =
                Error::Corrupt { block: meta.parameter_block, slot: 0, what: "centroid that is not finite" };
            if centroid.iter().all(|element| element.is_finite()) { Ok(centroid) } else { Err(corrupt) }
        }
        _ => Err(Error::Corrupt { block: META_BLOCK, slot: 0, what: "centroid of impossible length" }),
    }
}
