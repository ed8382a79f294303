//! The random rotation before coding: four rounds of random signs, a fast Hadamard transform and a Kac step.
//!
//! It costs O(D log D) and keeps D, whatever it is. The rotation of a seed is part of the on-disk format, as
//! [`ROTATION_ALGORITHM`]. With D the dimensions, rounded up to an even number by a zero, and p the largest
//! power of two that is at most D, a round k is:
//!
//! 1. the sign of each `xᵢ` changes where bit `k·D + i` of the sign bits is set;
//! 2. the first p elements (the last p when k is odd) go through the Hadamard transform, divided by √p;
//! 3. where p < D, each pair `(xᵢ, xᵢ₊D⸝₂)` becomes its sum and its difference, divided by √2.
//!
//! Sign bits are the outputs of splitmix64 (Steele, Lea & Flood, 2014) from the seed, each from its lowest
//! bit on. All divisions of a round are made with its signs, by one factor an element.

/// The number of this rotation on the meta page.
pub const ROTATION_ALGORITHM: u16 = 1;

const ROUNDS: usize = 4;
/// Elements that a transform takes through its first stages at once.
const BLOCK: usize = 16;

/// Dimensions of a rotated vector: even.
pub const fn rotated_dimensions(dimensions: usize) -> usize {
    dimensions.next_multiple_of(2)
}

/// The rotation of a seed.
pub(super) struct Rotation {
    /// Dimensions of a rotated vector.
    dimensions: usize,
    /// Of each round, the signs and divisions of all elements.
    factors: Vec<f32>,
}

impl Rotation {
    pub(super) fn new(dimensions: usize, seed: u64) -> Self {
        let dimensions = rotated_dimensions(dimensions);
        let window = largest_power_of_two(dimensions);
        let mut words = splitmix64(seed);
        let mut word = 0;
        let factors = (0..ROUNDS * dimensions).map(|bit| {
            if bit.is_multiple_of(64) {
                word = words();
            }
            let sign = if word >> (bit % 64) & 1 == 1 { -1.0 } else { 1.0 };
            let (round, element) = (bit / dimensions, bit % dimensions);
            let kac: f64 = if window < dimensions { 0.5 } else { 1.0 };
            let transform =
                if window_of(round, dimensions).contains(&element) { (window as f64).recip() } else { 1.0 };
            (sign * (kac * transform).sqrt()) as f32
        });
        Self { dimensions, factors: factors.collect() }
    }

    /// Dimensions of a rotated vector.
    pub(super) fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Rotates a vector of [`Rotation::dimensions`].
    #[inline(always)]
    pub(super) fn rotate(&self, values: &mut [f32]) {
        for (round, factors) in self.factors.chunks_exact(self.dimensions).enumerate() {
            for (value, factor) in values.iter_mut().zip(factors) {
                *value *= factor;
            }
            let window = window_of(round, self.dimensions);
            let whole = window.len() == self.dimensions;
            hadamard(&mut values[window]);
            if !whole {
                let (low, high) = values.split_at_mut(self.dimensions / 2);
                butterflies(low, high);
            }
        }
    }
}

/// The largest power of two that is at most a positive number.
const fn largest_power_of_two(number: usize) -> usize {
    1 << number.ilog2()
}

/// The elements that the transform of a round takes.
fn window_of(round: usize, dimensions: usize) -> std::ops::Range<usize> {
    let window = largest_power_of_two(dimensions);
    if round.is_multiple_of(2) { 0..window } else { dimensions - window..dimensions }
}

/// The outputs of splitmix64 from a seed.
fn splitmix64(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }
}

/// The Hadamard transform of a power of two of values, not divided.
#[inline(always)]
fn hadamard(values: &mut [f32]) {
    let (blocks, rest) = values.as_chunks_mut::<BLOCK>();
    for block in blocks {
        stage::<1>(block);
        stage::<2>(block);
        stage::<4>(block);
        stage::<8>(block);
    }
    // Either all values are in blocks, or they are too few for one.
    let mut width = if rest.is_empty() { BLOCK } else { 1 };
    while width < values.len() {
        for pair in values.chunks_exact_mut(2 * width) {
            let (low, high) = pair.split_at_mut(width);
            butterflies(low, high);
        }
        width *= 2;
    }
}

/// One stage of the transform inside a block: the same sums and differences as [`butterflies`], as whole
/// registers.
#[inline(always)]
fn stage<const WIDTH: usize>(block: &mut [f32; BLOCK]) {
    let old = *block;
    for (i, value) in block.iter_mut().enumerate() {
        let other = old[i ^ WIDTH];
        *value = if i & WIDTH == 0 { old[i] + other } else { other - old[i] };
    }
}

/// Pairs become their sum and their difference.
#[inline(always)]
fn butterflies(low: &mut [f32], high: &mut [f32]) {
    for (low, high) in low.iter_mut().zip(high) {
        (*low, *high) = (*low + *high, *low - *high);
    }
}
