//! Payloads: the vectors that nodes store for exact distances, in the column's precision or a coarser one.
//!
//! A coarser payload comes with the norm of what it lost, which bounds the exact distance
//! ([`distance_bounds`]).

use crate::kernel::{Measure, widen};
use crate::types::{ElementType, Metric, PayloadEncoding};
use half::f16;
use half::slice::HalfFloatSliceExt;
use xxhash_rust::xxh3::xxh3_64;

/// Bytes of what all lossy payloads begin with: the fingerprint (u64) and the norm of what was lost (f32).
const LOSS_SIZE: usize = 12;
/// Bytes before the elements of [`PayloadEncoding::F16`]: also the power of two that they are multiplied by
/// (f32).
const F16_HEADER_SIZE: usize = LOSS_SIZE + 4;
/// Bytes before the elements of [`PayloadEncoding::Sq8`]: also the smallest element and the step (f32 each).
const SQ8_HEADER_SIZE: usize = LOSS_SIZE + 8;
/// The exponent that the largest element of a vector has in binary16: the largest there is, so that elements
/// much smaller do not lose bits, and those of a binary16 column none at all.
const F16_EXPONENT: i32 = 15;

/// What tells vectors apart, as practically no two have the same: a hash of 64 bits (XXH3) of their bytes.
pub fn fingerprint(vector: &[u8]) -> u64 {
    xxh3_64(vector)
}

impl PayloadEncoding {
    /// The fingerprint of the vector that a payload was made of.
    pub fn fingerprint(self, payload: &[u8]) -> u64 {
        match payload.first_chunk() {
            Some(bytes) if self.is_lossy() => u64::from_le_bytes(*bytes),
            _ => fingerprint(payload),
        }
    }

    /// Bytes of a payload; the most that one may have, where vectors are not of one length.
    pub const fn size(self, dimensions: usize, element: ElementType) -> usize {
        match self {
            Self::Column => element.bytes(dimensions),
            Self::F16 => F16_HEADER_SIZE + 2 * dimensions,
            Self::Sq8 => SQ8_HEADER_SIZE + dimensions,
        }
    }

    /// The payload of a vector, as [`PayloadEncoding::encode`] writes it.
    pub fn encoded(self, vector: &[u8], dimensions: usize, element: ElementType) -> Vec<u8> {
        if self == Self::Column {
            return vector.to_vec();
        }
        let mut payload = vec![0; self.size(dimensions, element)];
        self.encode(vector, element, &mut payload);
        payload
    }

    /// Writes the payload of a vector: finite little-endian elements of the column's type.
    ///
    /// Two vectors have the same payload when they are equal, and else practically never: a lossy one holds
    /// the vector's [`fingerprint`].
    pub fn encode(self, vector: &[u8], element: ElementType, payload: &mut [u8]) {
        let mut put =
            |start: usize, value: f32| payload[start..start + 4].copy_from_slice(&value.to_le_bytes());
        match self {
            Self::Column => return payload.copy_from_slice(vector),
            Self::F16 => {
                let largest =
                    elements(vector, element).fold(0.0f32, |largest, value| largest.max(value.abs()));
                let scale = power_of_two(exponent(largest) - F16_EXPONENT);
                put(LOSS_SIZE, scale);
                let per_scale = f64::from(scale).recip();
                let scaled = elements(vector, element).map(|value| (f64::from(value) * per_scale) as f32);
                put_halves(scaled, payload[F16_HEADER_SIZE..].as_chunks_mut().0);
            }
            Self::Sq8 => {
                let (least, greatest) = elements(vector, element)
                    .fold((f32::INFINITY, f32::NEG_INFINITY), |(least, greatest), value| {
                        (least.min(value), greatest.max(value))
                    });
                let step = ((f64::from(greatest) - f64::from(least)) / 255.0) as f32;
                let per_step = if step > 0.0 { f64::from(step).recip() } else { 0.0 };
                put(LOSS_SIZE, least);
                put(LOSS_SIZE + 4, step);
                for (byte, value) in payload[SQ8_HEADER_SIZE..].iter_mut().zip(elements(vector, element)) {
                    *byte = ((f64::from(value) - f64::from(least)) * per_step + 0.5) as u8;
                }
            }
        }
        let mut scratch = Vec::new();
        let decoded = self.decode(payload, element, &mut scratch);
        let lost = norm_of_difference(vector, decoded, element);
        payload[..8].copy_from_slice(&fingerprint(vector).to_le_bytes());
        payload[8..LOSS_SIZE].copy_from_slice(&lost.to_le_bytes());
    }

    /// The vector of a payload: elements of the column's type, borrowed from the payload or put into
    /// `scratch`.
    pub fn decode<'a>(self, payload: &'a [u8], element: ElementType, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        match self {
            Self::Column => return payload,
            Self::F16 => {
                let scale = float(payload, LOSS_SIZE);
                let value = |half: &[u8; 2]| widen(u16::from_le_bytes(*half)) * scale;
                put_elements(payload[F16_HEADER_SIZE..].as_chunks().0.iter().map(value), element, scratch);
            }
            Self::Sq8 => {
                let (least, step) = (float(payload, LOSS_SIZE), float(payload, LOSS_SIZE + 4));
                // Rounding must not carry the greatest element past the largest number.
                let value = |level: &u8| (least + step * f32::from(*level)).clamp(f32::MIN, f32::MAX);
                put_elements(payload[SQ8_HEADER_SIZE..].iter().map(value), element, scratch);
            }
        }
        scratch
    }

    /// The distance from a query of the column's type to the vector of a payload, and that vector's
    /// [`Measure::squared_norm`]. `scratch` may be used.
    pub fn measure(
        self,
        measure: &Measure,
        query: &[u8],
        prepared: f32,
        payload: &[u8],
        element: ElementType,
        scratch: &mut Vec<u8>,
    ) -> (f64, f32) {
        if self == Self::F16 && element == ElementType::F32 {
            let factor = float(payload, LOSS_SIZE);
            return measure.distance_from_halves(query, prepared, &payload[F16_HEADER_SIZE..], factor);
        }
        let vector = self.decode(payload, element, scratch);
        (measure.distance_from(query, prepared, vector), measure.squared_norm(vector))
    }

    /// An upper bound of the norm of what a payload lost.
    pub fn residual(self, payload: &[u8]) -> f32 {
        if self == Self::Column { 0.0 } else { float(payload, LOSS_SIZE - 4) }
    }
}

/// Replaces what `bytes` holds by elements of a type.
fn put_elements(values: impl ExactSizeIterator<Item = f32>, element: ElementType, bytes: &mut Vec<u8>) {
    bytes.resize(element.bytes(values.len()), 0);
    match element {
        ElementType::F32 => {
            for (bytes, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
                *bytes = value.to_le_bytes();
            }
        }
        ElementType::F16 => put_halves(values, bytes.as_chunks_mut().0),
        // These are kept as they are.
        ElementType::Bit | ElementType::Sparse => {}
    }
}

/// Rounds values to the nearest finite binary16, many at a time.
fn put_halves(mut values: impl Iterator<Item = f32>, halves: &mut [[u8; 2]]) {
    const CHUNK: usize = 64;
    let (mut wide, mut narrow) = ([0.0; CHUNK], [f16::ZERO; CHUNK]);
    let (least, greatest) = (f16::MIN.to_f32(), f16::MAX.to_f32());
    for halves in halves.chunks_mut(CHUNK) {
        for (wide, value) in wide.iter_mut().zip(values.by_ref().take(halves.len())) {
            *wide = value.clamp(least, greatest);
        }
        narrow.convert_from_f32_slice(&wide);
        for (bytes, half) in halves.iter_mut().zip(narrow) {
            *bytes = half.to_le_bytes();
        }
    }
}

/// The exponent of the largest power of two that is at most a positive number; that of no normal number for
/// less.
fn exponent(value: f32) -> i32 {
    (value.to_bits() >> 23) as i32 - 127
}

/// 2 to the power of an exponent that f32 can hold.
fn power_of_two(exponent: i32) -> f32 {
    f64::from_bits(((exponent + 1023) as u64) << 52) as f32
}

/// The f32 at an offset.
fn float(payload: &[u8], offset: usize) -> f32 {
    f32::from_le_bytes([0, 1, 2, 3].map(|byte| payload[offset + byte]))
}

/// The elements of a vector.
fn elements(vector: &[u8], element: ElementType) -> impl Iterator<Item = f32> {
    vector.chunks_exact(element.bytes(1)).map(|bytes| match *bytes {
        [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
        [a, b] => widen(u16::from_le_bytes([a, b])),
        _ => 0.0,
    })
}

/// An upper bound of the norm of the difference of two vectors.
fn norm_of_difference(a: &[u8], b: &[u8], element: ElementType) -> f32 {
    let squares: f64 = elements(a, element)
        .zip(elements(b, element))
        .map(|(a, b)| (f64::from(a) - f64::from(b)).powi(2))
        .sum();
    // The sum of 16,000 terms is exact to 2·10⁻¹².
    let norm = squares.sqrt() * (1.0 + 1e-11);
    let nearest = norm as f32;
    if f64::from(nearest) < norm { nearest.next_up() } else { nearest }
}

/// Bounds of the distance of a column's vector, as [`Measure`] computes it with any instruction
/// set, given the distance that it computed for the decoded payload.
///
/// Norms are those of the query and of the decoded payload, as [`Measure::squared_norm`] gives their squares.
/// `residual` bounds the norm of the difference of the two vectors; where it is 0, they are equal and so are
/// the bounds. The bounds allow for what sums in f32 lose by rounding, relative to the sum of the absolute
/// terms: at most one unit for each of the D/16 additions to a partial sum, and a few for the terms and for
/// joining the partial sums. A distance that is no number has no bounds, nor has one from a payload that lost
/// more than f32 can say.
pub fn distance_bounds(
    metric: Metric,
    dimensions: usize,
    distance: f64,
    query_norm: f64,
    payload_norm: f64,
    residual: f32,
) -> (f64, f64) {
    if residual == 0.0 {
        return (distance, distance);
    }
    if distance.is_nan() || residual == f32::INFINITY {
        return (f64::NEG_INFINITY, f64::INFINITY);
    }
    let residual = f64::from(residual);
    let rounding = (dimensions as f64 / 16.0 + 16.0) * f64::from(f32::EPSILON) / 2.0;
    // What terms lose that are below f32's normal numbers.
    let underflow = dimensions as f64 * f64::from(f32::from_bits(1));
    // Past this a sum in f32 may be infinite.
    let limit = f64::from(f32::MAX) * (1.0 - rounding);
    let (low, high) = match metric {
        Metric::L2 => {
            let exact = least_and_greatest(distance.min(limit), distance, rounding, underflow);
            let (low, high) = ((exact.0.sqrt() - residual).max(0.0), exact.1.sqrt() + residual);
            least_and_greatest(low * low, high * high, rounding, underflow)
        }
        Metric::L1 | Metric::Hamming => {
            let (low, high) = least_and_greatest(distance.min(limit), distance, rounding, underflow);
            let difference = residual * (dimensions as f64).sqrt();
            least_and_greatest((low - difference).max(0.0), high + difference, rounding, underflow)
        }
        Metric::InnerProduct => {
            // The norms are roots of sums in f32, too.
            let [query_norm, payload_norm] =
                [query_norm, payload_norm].map(|norm| norm * (1.0 + rounding) + underflow.sqrt());
            let products = query_norm * (payload_norm + residual);
            let margin = query_norm * residual + 2.0 * (rounding * products + underflow);
            if products > limit {
                (f64::NEG_INFINITY, f64::INFINITY)
            } else {
                (distance - margin, distance + margin)
            }
        }
        Metric::Jaccard => (0.0, 1.0),
        Metric::Cosine => {
            // A squared norm is rounded as the sum of products is, and there are two of which the roots
            // count.
            let rounding = 3.0 * rounding;
            let shortest = query_norm.min(payload_norm - residual);
            let longest = query_norm.max(payload_norm + residual);
            if shortest < MIN_NORM || longest * longest > limit {
                (0.0, 2.0)
            } else {
                // The vectors are turned against each other by at most the angle of this sine.
                let sine = (residual / payload_norm * (1.0 + rounding)).min(1.0);
                let low = turned(distance - rounding, -sine);
                let high = turned(distance + rounding, sine);
                ((low - rounding).max(0.0), (high + rounding).min(2.0))
            }
        }
    };
    (low.min(limit), if high > limit { f64::INFINITY } else { high })
}

/// The shortest vector whose square is far from the end of f32's range.
const MIN_NORM: f64 = 1e-15;

/// The least and the greatest value that two values of at least 0 may be after, or may have been before,
/// rounding.
fn least_and_greatest(low: f64, high: f64, rounding: f64, underflow: f64) -> (f64, f64) {
    ((low * (1.0 - rounding) - underflow).max(0.0), high * (1.0 + 2.0 * rounding) + underflow)
}

/// The cosine distance of two vectors after the angle between them has grown by one of this sine, between -90
/// and 90 degrees, but not past 0 and 180 degrees.
fn turned(distance: f64, sine: f64) -> f64 {
    let distance = distance.clamp(0.0, 2.0);
    let cosine = (1.0 - sine * sine).sqrt();
    // Of the small turn itself, without the difference of numbers near 1.
    let own = sine * sine / (1.0 + cosine);
    if sine < 0.0 && distance <= own {
        0.0
    } else if sine > 0.0 && 2.0 - distance <= own {
        2.0
    } else {
        own + distance * cosine + sine * (distance * (2.0 - distance)).sqrt()
    }
}
