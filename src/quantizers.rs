//! The quantizers of indexes that this process has used last.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use walia_core::code::{CodeParameters, Quantizer};
use walia_core::page::Quantizers;
use walia_core::types::Result;

/// Dimensions of all quantizers together that are kept, some 12 bytes each: as many indexes as are searched
/// as one have theirs at hand.
const CACHED_DIMENSIONS: usize = 1 << 20;

/// The quantizers used last.
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

/// Keeps quantizers for this process.
pub struct OfProcess;

impl Quantizers for OfProcess {
    fn get(
        &self,
        parameters: &CodeParameters,
        make: impl FnOnce() -> Result<Quantizer>,
    ) -> Result<Arc<Quantizer>> {
        let cache = || CACHE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = cache().find(parameters) {
            return Ok(found);
        }
        let made = Arc::new(make()?);
        cache().keep(&made);
        Ok(made)
    }
}
