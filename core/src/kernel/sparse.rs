//! Distances between sparse vectors: elements are met in the order of their indices.
//!
//! Sums are f32, added up in that order, so that neither the order of the two vectors nor the instruction set
//! matters. Which vector's next index is the lower cannot be foreseen: there is no branch on it. Blocks of
//! indices compared with each other, and jumps ahead, were not worth their code.

use super::simd::{Kernel, Sums};
use crate::types::Metric;

/// The kernels of a query and a vector, and of two prepared vectors.
pub(super) fn kernels(metric: Metric) -> (Kernel, Kernel) {
    match metric {
        Metric::L2 => (squared_differences, squared_differences),
        Metric::InnerProduct => (products, products),
        Metric::Cosine | Metric::Jaccard => (products_and_squares, products),
        Metric::L1 | Metric::Hamming => (absolute_differences, absolute_differences),
    }
}

/// Whether bytes are a sparse vector of so many dimensions: indices ascend, and none is beyond.
pub fn is_sparse_vector(vector: &[u8], dimensions: usize) -> bool {
    let indices = split(vector).0;
    let is_below = |index: &[u8; 4]| (u32::from_le_bytes(*index) as usize) < dimensions;
    indices.iter().map(|index| u32::from_le_bytes(*index)).is_sorted_by(|a, b| a < b)
        && indices.last().is_none_or(is_below)
}

/// Indices and elements.
fn split(vector: &[u8]) -> (&[[u8; 4]], &[[u8; 4]]) {
    let words = vector.as_chunks().0;
    words.split_at(words.len() / 2)
}

/// Where two vectors are while their elements are met.
struct Meeting<'v> {
    indices: [&'v [[u8; 4]]; 2],
    elements: [&'v [[u8; 4]]; 2],
    at: [usize; 2],
}

impl<'v> Meeting<'v> {
    fn new(a: &'v [u8], b: &'v [u8]) -> Self {
        let ((indices_a, elements_a), (indices_b, elements_b)) = (split(a), split(b));
        // As many as there are indices: bounds are tested once.
        let elements = [&elements_a[..indices_a.len()], &elements_b[..indices_b.len()]];
        Self { indices: [indices_a, indices_b], elements, at: [0; 2] }
    }

    /// The next indices, as long as both vectors have one.
    #[inline(always)]
    fn next(&self) -> Option<[u32; 2]> {
        let ([a, b], [at_a, at_b]) = (self.indices, self.at);
        (at_a < a.len() && at_b < b.len()).then(|| [a[at_a], b[at_b]].map(u32::from_le_bytes))
    }

    #[inline(always)]
    fn elements(&self) -> [f32; 2] {
        [self.elements[0][self.at[0]], self.elements[1][self.at[1]]].map(f32::from_le_bytes)
    }

    /// The element of the lower of two indices: a choice between places, where one between values would
    /// become a branch.
    #[inline(always)]
    fn element_of_lower(&self, [a, b]: [u32; 2]) -> f32 {
        let places = [&self.elements[0][self.at[0]], &self.elements[1][self.at[1]]];
        f32::from_le_bytes(*if a < b { places[0] } else { places[1] })
    }

    #[inline(always)]
    fn advance(&mut self, [a, b]: [u32; 2]) {
        self.at[0] += usize::from(a <= b);
        self.at[1] += usize::from(b <= a);
    }
}

/// The sum of a term of each difference.
#[inline(always)]
fn differences(a: &[u8], b: &[u8], term: impl Fn(f32) -> f32) -> Sums {
    let (mut meeting, mut terms) = (Meeting::new(a, b), 0.0);
    while let Some(indices) = meeting.next() {
        // Common indices are rare enough to be foreseen.
        if indices[0] == indices[1] {
            let [a, b] = meeting.elements();
            terms += term(a - b);
        } else {
            terms += term(meeting.element_of_lower(indices));
        }
        meeting.advance(indices);
    }
    for (elements, at) in meeting.elements.into_iter().zip(meeting.at) {
        elements[at..].iter().for_each(|bytes| terms += term(f32::from_le_bytes(*bytes)));
    }
    Sums { terms, squares: 0.0 }
}

fn squared_differences(a: &[u8], b: &[u8]) -> Sums {
    differences(a, b, |difference| difference * difference)
}

fn absolute_differences(a: &[u8], b: &[u8]) -> Sums {
    differences(a, b, f32::abs)
}

fn products(a: &[u8], b: &[u8]) -> Sums {
    let (mut meeting, mut terms) = (Meeting::new(a, b), 0.0);
    while let Some(indices) = meeting.next() {
        if indices[0] == indices[1] {
            let [a, b] = meeting.elements();
            terms += a * b;
        }
        meeting.advance(indices);
    }
    Sums { terms, squares: 0.0 }
}

fn products_and_squares(a: &[u8], b: &[u8]) -> Sums {
    let squares = split(b).1.iter().map(|bytes| f32::from_le_bytes(*bytes).powi(2));
    Sums { squares: squares.fold(0.0, |sum, square| sum + square), ..products(a, b) }
}
