//! What never changes of an index: where things lie in its tuples, how its vectors are measured, what makes
//! their codes.

use crate::code::{CodeParameters, Quantizer};
use crate::kernel::Measure;
use crate::page::format::layout::Layout;
use crate::page::format::meta::{META_BLOCK, Meta};
use crate::page::query::chain;
use crate::page::store::PageStore;
use crate::types::{Error, Result};
use std::sync::Arc;

/// What never changes of an index.
pub struct Schema {
    /// Where things lie in its tuples.
    pub layout: Layout,
    /// Its distance.
    pub measure: Measure,
    /// What makes its codes; `None` where it has none.
    pub quantizer: Option<Arc<Quantizer>>,
}

/// Who keeps quantizers: making one reads the centroid's pages and draws the rotation.
///
/// The rotation's seed is a hash of the centroid ([`seed_of`](crate::code::seed_of)), so that parameters that
/// are equal mean equal quantizers.
pub trait Quantizers {
    /// The quantizer with these parameters, which `make` makes where none is kept.
    fn get(
        &self,
        parameters: &CodeParameters,
        make: impl FnOnce() -> Result<Quantizer>,
    ) -> Result<Arc<Quantizer>>;
}

/// Keeps none.
impl Quantizers for () {
    fn get(
        &self,
        _parameters: &CodeParameters,
        make: impl FnOnce() -> Result<Quantizer>,
    ) -> Result<Arc<Quantizer>> {
        make().map(Arc::new)
    }
}

impl Schema {
    /// That of the index with this meta page.
    pub fn read(store: &impl PageStore, meta: &Meta, quantizers: &impl Quantizers) -> Result<Self> {
        let layout = meta.layout()?;
        let measure = Measure::new(layout.parameters.metric, layout.parameters.element);
        let quantizer = match meta.code_parameters()? {
            Some(parameters) => {
                let make = || Ok(Quantizer::new(parameters, &read_centroid(store, meta)?));
                Some(quantizers.get(&parameters, make)?)
            }
            None => None,
        };
        Ok(Self { layout, measure, quantizer })
    }

    /// Whether the graph has no place for this vector: its distance from anything is undefined.
    pub fn is_aside(&self, vector: &[u8]) -> bool {
        self.measure.is_undefined(vector)
    }

    /// The payload of a vector of the column's type.
    pub(in crate::page) fn encode(&self, vector: &[u8]) -> Vec<u8> {
        self.layout.payload(vector)
    }

    /// The vector of a payload.
    pub(in crate::page) fn decode(&self, payload: &[u8]) -> Vec<u8> {
        let Layout { encoding, parameters, .. } = self.layout;
        if !encoding.is_lossy() {
            return payload.to_vec();
        }
        let mut vector = Vec::new();
        encoding.decode(payload, parameters.element, &mut vector);
        vector
    }

    /// The code of a vector; empty in an index without codes.
    pub(in crate::page) fn code(&self, vector: &[u8]) -> Vec<u8> {
        self.quantizer.as_deref().map_or(Vec::new(), |quantizer| {
            let mut code = vec![0; quantizer.code_size()];
            quantizer.encode(vector, &mut code);
            code
        })
    }
}

/// The centroid of an index: zero where it has none.
pub fn read_centroid(store: &impl PageStore, meta: &Meta) -> Result<Vec<f32>> {
    let dimensions = meta.parameters()?.dimensions;
    match meta.parameter_length as usize {
        0 => Ok(vec![0.0; dimensions]),
        length if length == dimensions * size_of::<f32>() => {
            let bytes = chain::read_chain(store, meta.parameter_block, meta.parameter_length)?;
            let centroid: Vec<f32> = bytes.as_chunks().0.iter().copied().map(f32::from_le_bytes).collect();
            let corrupt =
                Error::Corrupt { block: meta.parameter_block, slot: 0, what: "centroid that is not finite" };
            if centroid.iter().all(|element| element.is_finite()) { Ok(centroid) } else { Err(corrupt) }
        }
        _ => Err(Error::Corrupt { block: META_BLOCK, slot: 0, what: "centroid of impossible length" }),
    }
}
