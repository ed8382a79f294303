//! Codes of vectors. The module's page has the formulas and the bytes.

use super::rotation::Rotation;
use super::{CodeParameters, CodeQuery, FACTORS_SIZE, Levels, code_size, dot, sum};
use crate::kernel::{InstructionSet, Instructions, IntegerSimd, Operation, widen};
use crate::types::{ElementType, Metric};

/// Makes the codes of one index, and queries for them.
pub struct Quantizer {
    pub(super) parameters: CodeParameters,
    pub(super) rotation: Rotation,
    /// L2: the centroid. Otherwise its direction, or zeros where it has none.
    centre: Vec<f32>,
    centroid: Vec<f32>,
    pub(super) instructions: Instructions,
}

/// What a vector is split into; the rest is in the caller's buffer.
pub(super) struct Split {
    /// The coefficient of the centroid's direction; 0 under L2.
    pub(super) along: f64,
    /// Squared norm of the rest.
    pub(super) squares: f64,
}

impl Quantizer {
    /// A quantizer for vectors around `centroid`: of `dimensions` elements, in the space of the vectors
    /// (under cosine, of the normalized vectors), all zero where there are no vectors yet.
    ///
    /// # Panics
    /// Where the parameters are not [valid](CodeParameters::is_valid), which is for the caller to check.
    pub fn new(parameters: CodeParameters, centroid: &[f32]) -> Self {
        Self::with_instructions(parameters, centroid, Instructions::in_use())
    }

    /// As [`Quantizer::new`], with an instruction set; `None` where this machine does not have it. Neither
    /// codes nor estimates depend on it.
    pub fn with_instruction_set(
        parameters: CodeParameters,
        centroid: &[f32],
        set: InstructionSet,
    ) -> Option<Self> {
        let instructions = Instructions::with_instruction_set(set)?;
        Some(Self::with_instructions(parameters, centroid, instructions))
    }

    fn with_instructions(parameters: CodeParameters, centroid: &[f32], instructions: Instructions) -> Self {
        assert!(
            parameters.is_valid() && centroid.len() == parameters.dimensions,
            "no codes of {parameters:?}"
        );
        let norm = match parameters.metric {
            Metric::L2 | Metric::L1 | Metric::Hamming => 1.0,
            Metric::InnerProduct | Metric::Cosine | Metric::Jaccard => dot(centroid, centroid).sqrt(),
        };
        let divided = |element: &f32| if norm > 0.0 { (f64::from(*element) / norm) as f32 } else { 0.0 };
        let centre = centroid.iter().map(divided).collect();
        let rotation = Rotation::new(parameters.dimensions, parameters.seed);
        Self { parameters, rotation, centre, centroid: centroid.to_vec(), instructions }
    }

    /// What the codes are made with.
    pub fn parameters(&self) -> &CodeParameters {
        &self.parameters
    }

    /// The centroid that it was made with.
    pub fn centroid(&self) -> &[f32] {
        &self.centroid
    }

    /// Bytes of a code.
    pub fn code_size(&self) -> usize {
        code_size(self.parameters.bits, self.parameters.code_dimensions)
    }

    /// Writes the code of a vector: little-endian elements of the column's type, into
    /// [`Quantizer::code_size`] bytes.
    ///
    /// Every vector has a code with finite factors. One too large for f32 to square is estimated as very far
    /// under L2; the zero vector under cosine, as orthogonal to every query.
    pub fn encode(&self, vector: &[u8], code: &mut [u8]) {
        // Not kept for the thread: libc ends the process where it has no memory to note that a thread keeps
        // something.
        let mut values = vec![0.0; self.rotation.dimensions()];
        self.instructions.run(Encode { quantizer: self, vector, values: &mut values, code });
    }

    /// The query of the vector that a code stands for: unbiased as well, with the error of two codes.
    pub fn query_of_code(&self, code: &[u8]) -> CodeQuery {
        CodeQuery::of_code(self, code)
    }

    /// Prepares a query: little-endian elements of the column's type.
    pub fn query(&self, vector: &[u8]) -> CodeQuery {
        CodeQuery::new(self, vector)
    }

    /// Reads a vector, splits it as the module's page says, and leaves the rotated rest in `values`.
    #[inline(always)]
    pub(super) fn split_and_rotate(&self, vector: &[u8], values: &mut [f32]) -> Split {
        let (elements, padding) = values.split_at_mut(self.parameters.dimensions);
        padding.fill(0.0);
        read(vector, self.parameters.element, elements);
        if self.parameters.metric == Metric::Cosine {
            let norm = dot(elements, elements).sqrt();
            let scale = if norm > 0.0 { norm.recip() } else { 0.0 };
            for element in elements.iter_mut() {
                *element = (f64::from(*element) * scale) as f32;
            }
        }
        let (along, factor) = match self.parameters.metric {
            Metric::L2 | Metric::L1 | Metric::Hamming => (0.0, 1.0),
            Metric::InnerProduct | Metric::Cosine | Metric::Jaccard => {
                let along = dot(elements, &self.centre);
                (along, along as f32)
            }
        };
        for (element, centre) in elements.iter_mut().zip(&self.centre) {
            *element -= factor * centre;
        }
        let squares = dot(elements, elements);
        self.rotation.rotate(values);
        Split { along, squares }
    }
}

/// Reads little-endian elements.
#[inline(always)]
pub(crate) fn read(vector: &[u8], element: ElementType, values: &mut [f32]) {
    match element {
        ElementType::F32 => {
            for (value, bytes) in values.iter_mut().zip(vector.as_chunks().0) {
                *value = f32::from_le_bytes(*bytes);
            }
        }
        ElementType::F16 => {
            for (value, bytes) in values.iter_mut().zip(vector.as_chunks().0) {
                *value = widen(u16::from_le_bytes(*bytes));
            }
        }
        ElementType::Bit => {
            for (values, byte) in values.chunks_mut(8).zip(vector) {
                for (value, place) in values.iter_mut().zip((0..8).rev()) {
                    *value = f32::from(byte >> place & 1);
                }
            }
        }
        // They have no codes.
        ElementType::Sparse => {}
    }
}

/// 1.5·2²³: f32 values of this size are integers, so that adding it rounds a small value to the nearest one
/// (ties to even), whose two's complement is then in the low bits.
pub(super) const TO_INTEGER: f32 = 12_582_912.0;

/// [`Quantizer::encode`], compiled for an instruction set.
struct Encode<'a> {
    quantizer: &'a Quantizer,
    vector: &'a [u8],
    values: &'a mut [f32],
    code: &'a mut [u8],
}

impl Operation for Encode<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: IntegerSimd>(self, _: S) {
        let Self { quantizer, vector, values, code } = self;
        let CodeParameters { bits, code_dimensions, metric, .. } = quantizer.parameters;
        let Split { along, squares } = quantizer.split_and_rotate(vector, values);
        let rest = &values[..code_dimensions];

        let max_level = ((1 << bits) - 1) as f32;
        let half = max_level / 2.0;
        let step = Levels::of(bits).step * (squares / values.len() as f64).sqrt();
        let per_step = step.recip() as f32;
        // A value that is no number becomes 0.
        let level = |value: f32| (value * per_step + half).max(0.0).min(max_level) + TO_INTEGER;
        let product = sum(rest.len(), |i| f64::from(level(rest[i]) - TO_INTEGER - half) * f64::from(rest[i]));

        let factor = (squares / product) as f32;
        let (add, scale) = match metric {
            Metric::L2 | Metric::L1 | Metric::Hamming => (squares, -2.0 * factor),
            Metric::InnerProduct | Metric::Cosine | Metric::Jaccard => (-along, -factor),
        };
        let add = if add.is_nan() { f32::MAX } else { (add as f32).clamp(f32::MIN, f32::MAX) };
        let scale = if scale.is_finite() && product > 0.0 { scale } else { 0.0 };
        let (add_bytes, rest_of_code) = code.split_at_mut(FACTORS_SIZE / 2);
        let (scale_bytes, packed) = rest_of_code.split_at_mut(FACTORS_SIZE / 2);
        add_bytes.copy_from_slice(&add.to_le_bytes());
        scale_bytes.copy_from_slice(&scale.to_le_bytes());
        packed.fill(0);
        for (plane, values) in rest.chunks(packed.len()).enumerate() {
            let shift = plane as u32 * u32::from(bits);
            for (byte, value) in packed.iter_mut().zip(values) {
                *byte |= (level(*value).to_bits() as u8) << shift;
            }
        }
    }
}
