//! Codes that stand alone: values that say all that is needed to estimate the distance of their vector from a
//! query, under any metric. The SQL type `veccode` holds them, and btree indexes carry them.
//!
//! Codes beside links are relative to their index's centroid, and of one metric. These depend on the vector
//! alone: the rotation's seed is the number of dimensions, the centroid zero. Without a centroid the three
//! formulas of the module's page differ by factors only, so that a vector's norm and the factor of the vector
//! divided by it serve all metrics:
//!
//! ```text
//! ⟨o,q⟩ ≈ ‖o‖·f·⟨x,q⟩         f = ‖r‖²/⟨x,r⟩ for r = o/‖o‖
//! ```
//!
//! L1 has no estimate of its own, as the rotation does not keep it: a code says how far a vector is in L2,
//! and whoever ranks by L1 learns from the rows that he measures how the two go together.
//!
//! # Bytes
//! version (u8), bits (u8), dimensions (u16), norm (f32), −f (f32), packed levels; all little-endian.
//! FORMAT.md has them.

use super::estimate::factors;
use super::{CodeParameters, CodeQuery, FACTORS_SIZE, Quantizer, packed_size, rotated_dimensions};
use crate::types::{ElementType, Metric};

/// The version of the bytes; values of another one are no codes to this library.
const VERSION: u8 = 1;
/// Bytes before the norm and −f, which stand where codes beside links have their factors.
const BEFORE_FACTORS: usize = 4;
/// Bytes before the packed levels.
const HEADER: usize = BEFORE_FACTORS + FACTORS_SIZE;
/// Bytes of levels at most: a btree's tuple has no more than a third of a page, and other columns want some
/// of it.
const MAX_PACKED_SIZE: usize = 1984;

/// How such codes are made of vectors of so many dimensions and read for a metric; `bits` is 1, 2 or 4.
pub fn parameters(dimensions: usize, element: ElementType, metric: Metric, bits: u8) -> CodeParameters {
    let code_dimensions = rotated_dimensions(dimensions).min(MAX_PACKED_SIZE * 8 / usize::from(bits));
    let metric = if metric == Metric::L1 { Metric::L2 } else { metric };
    CodeParameters { dimensions, element, metric, bits, code_dimensions, seed: dimensions as u64 }
}

/// A code.
#[derive(Clone, Copy)]
pub struct StandaloneCode<'a>(&'a [u8]);

impl<'a> StandaloneCode<'a> {
    /// The code with these bytes, if they are one.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.first_chunk::<HEADER>()?;
        let code = Self(bytes);
        let is_code = header[0] == VERSION
            && matches!(code.bits(), 1 | 2 | 4)
            && code.dimensions() > 0
            && bytes.len() == HEADER + code.packed_size();
        is_code.then_some(code)
    }

    /// Bits a dimension.
    pub fn bits(self) -> u8 {
        self.0[1]
    }

    /// Dimensions of the vector.
    pub fn dimensions(self) -> usize {
        u16::from_le_bytes([self.0[2], self.0[3]]).into()
    }

    /// The vector's norm.
    pub fn norm(self) -> f32 {
        factors(&self.0[BEFORE_FACTORS..]).0
    }

    fn packed_size(self) -> usize {
        // The element's type and the metric say nothing of the size.
        let parameters = parameters(self.dimensions(), ElementType::F32, Metric::Cosine, self.bits());
        packed_size(parameters.bits, parameters.code_dimensions)
    }
}

/// The code of a vector: little-endian elements. The quantizer is one of [`parameters`] for cosine, around
/// zero.
pub fn encode(quantizer: &Quantizer, vector: &[u8]) -> Vec<u8> {
    let CodeParameters { dimensions, element, bits, .. } = *quantizer.parameters();
    let mut elements = vec![0.0; dimensions];
    super::encode::read(vector, element, &mut elements);
    let norm = super::dot(&elements, &elements).sqrt() as f32;
    let mut code = vec![0; quantizer.code_size()];
    quantizer.encode(vector, &mut code);
    let (factors, packed) = code.split_at(FACTORS_SIZE);
    let mut bytes = Vec::with_capacity(HEADER + packed.len());
    bytes.extend([VERSION, bits]);
    bytes.extend((dimensions as u16).to_le_bytes());
    bytes.extend(norm.to_le_bytes());
    bytes.extend(&factors[FACTORS_SIZE / 2..]);
    bytes.extend(packed);
    bytes
}

/// What a code says of a distance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Said {
    /// An estimate, in the unit of [`CodeQuery`] (L2: squared; L1: that of L2), and its standard deviation.
    Estimate(f32, f32),
    /// Nothing: it is to be measured.
    Unknown,
    /// That there is none: under cosine, the vector is zero.
    Undefined,
}

/// A query for such codes, which reads many at once.
pub struct StandaloneQuery {
    /// None where the query's own norm leaves no estimate.
    query: Option<CodeQuery>,
    parameters: CodeParameters,
    /// How codes begin that it estimates by.
    beginning: [u8; BEFORE_FACTORS],
    size: usize,
}

/// Norms whose squares, and their products, f32 has exactly enough.
fn is_estimable(norm: f32) -> bool {
    (1e-15..=1e15).contains(&norm)
}

impl StandaloneQuery {
    /// A query: little-endian elements. The quantizer is one of [`parameters`], around zero.
    pub fn new(quantizer: &Quantizer, vector: &[u8]) -> Self {
        let parameters = *quantizer.parameters();
        let mut elements = vec![0.0; parameters.dimensions];
        super::encode::read(vector, parameters.element, &mut elements);
        let norm = super::dot(&elements, &elements).sqrt() as f32;
        let query = is_estimable(norm).then(|| quantizer.query(vector));
        let [low, high] = (parameters.dimensions as u16).to_le_bytes();
        let size = HEADER + packed_size(parameters.bits, parameters.code_dimensions);
        let beginning = [VERSION, parameters.bits, low, high];
        Self { query, parameters, beginning, size }
    }

    /// Bytes of a code that it estimates by.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether it estimates by a code: nearly all of a column are such.
    #[inline]
    pub fn estimates_by(&self, code: &[u8]) -> bool {
        code.len() == self.size && code.starts_with(&self.beginning) && self.query.is_some()
    }

    /// What a code says.
    pub fn say(&self, code: &[u8]) -> Said {
        if self.estimates_by(code) {
            let mut said = Said::Unknown;
            self.say_all(code, |of_code| said = of_code);
            return said;
        }
        let code = StandaloneCode::parse(code);
        let code = code.filter(|code| code.dimensions() == self.parameters.dimensions);
        match code {
            Some(code) if self.query.is_some() => self.without_estimate(code.norm()),
            _ => Said::Unknown,
        }
    }

    /// Gives what codes say that it estimates by, and that lie one behind the other.
    pub fn say_all(&self, codes: &[u8], mut give: impl FnMut(Said)) {
        let Some(query) = self.query.as_ref().filter(|_| !codes.is_empty()) else { return };
        let metric = self.parameters.metric;
        let codes = codes.chunks_exact(self.size).map(|code| ((), &code[BEFORE_FACTORS..]));
        query.products(codes, |(), code, product| {
            let (norm, scale) = factors(code);
            let factors = match metric {
                Metric::L2 | Metric::L1 | Metric::Hamming => (norm * norm, 2.0 * norm * scale),
                Metric::InnerProduct => (0.0, norm * scale),
                Metric::Cosine | Metric::Jaccard => (0.0, scale),
            };
            let estimate = query.finish(factors, product);
            give(if estimate.is_finite() && is_estimable(norm) {
                Said::Estimate(estimate, query.deviation_for(factors))
            } else {
                self.without_estimate(norm)
            });
        });
    }

    /// What a code of a vector with this norm says where there is no estimate.
    fn without_estimate(&self, norm: f32) -> Said {
        let is_undefined = norm == 0.0 && self.parameters.metric == Metric::Cosine;
        if is_undefined { Said::Undefined } else { Said::Unknown }
    }
}
