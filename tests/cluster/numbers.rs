//! Numbers without a pattern, the same in every run.

/// Knuth's MMIX generator.
pub struct Numbers(u64);

impl Numbers {
    /// Other numbers for another seed.
    pub fn new(seed: u64) -> Self {
        let mut numbers = Self(seed);
        // Seeds that are near to each other give first numbers that are.
        numbers.below(1);
        numbers
    }

    /// A number less than `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}
