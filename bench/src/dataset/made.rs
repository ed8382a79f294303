//! Vectors that are made of their row's number, the same every time, so that ten million need no memory.
//!
//! As those of a model they lie in clusters, near a subspace of far fewer dimensions: a mixture of Gaussians
//! (sums of three uniform numbers here), seen through a random linear map, and noise.

use std::borrow::Cow;

use half::f16;

use super::{Rows, Vectors};

/// Dimensions of the mixture.
const INTRINSIC: usize = 24;
/// Gaussians of the mixture.
const CLUSTERS: usize = 1000;
/// Deviation of the noise; that of the centers, and of the mixture about them, is 1.
const NOISE: f32 = 0.1;
/// Number of the first query's row: after all that a table can have.
const FIRST_QUERY: u64 = 1 << 32;

/// What is needed to make any of so many rows.
#[derive(Clone, Debug)]
pub struct Made {
    dimensions: usize,
    rows: usize,
    is_f16: bool,
    /// Centers of the clusters, each of `INTRINSIC` elements.
    centers: Vec<f32>,
    /// The linear map: what each intrinsic dimension adds to all dimensions.
    map: Vec<f32>,
}

impl Made {
    /// Of the same dimensions, all sets begin with the same rows. Where the column is of 16 bits, they are
    /// rounded to them, so that recall tells of the index and not of the rounding.
    pub fn new(dimensions: usize, rows: usize, is_f16: bool) -> Self {
        let mut random = fastrand::Rng::with_seed(dimensions as u64);
        let mut normals = |count: usize, deviation: f32| -> Vec<f32> {
            (0..count).map(|_| normal(&mut random) * deviation).collect()
        };
        let centers = normals(CLUSTERS * INTRINSIC, 1.0);
        let map = normals(INTRINSIC * dimensions, (INTRINSIC as f32).sqrt().recip());
        Self { dimensions, rows, is_f16, centers, map }
    }

    /// Vectors of the same kind that are none of the rows.
    pub fn queries(&self, count: usize) -> Vectors {
        let elements = (FIRST_QUERY..).take(count).flat_map(|number| self.make(number)).collect();
        Vectors { dimensions: self.dimensions, elements }
    }

    fn make(&self, number: u64) -> Vec<f32> {
        let mut random = fastrand::Rng::with_seed(number);
        let cluster = random.usize(..CLUSTERS);
        let mut vector: Vec<f32> =
            (0..self.dimensions).map(|_| NOISE * 12f32.sqrt() * (random.f32() - 0.5)).collect();
        let center = &self.centers[cluster * INTRINSIC..][..INTRINSIC];
        for (center, image) in center.iter().zip(self.map.chunks_exact(self.dimensions)) {
            let place = center + normal(&mut random);
            vector.iter_mut().zip(image).for_each(|(element, image)| *element += place * image);
        }
        if self.is_f16 {
            vector.iter_mut().for_each(|element| *element = f16::from_f32(*element).to_f32());
        }
        vector
    }
}

impl Rows for Made {
    fn dimensions(&self) -> usize {
        self.dimensions
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn row(&self, row: usize) -> Cow<'_, [f32]> {
        Cow::Owned(self.make(row as u64))
    }
}

/// A number of mean 0 and deviation 1.
fn normal(random: &mut fastrand::Rng) -> f32 {
    2.0 * (random.f32() + random.f32() + random.f32() - 1.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_the_same_every_time_and_none_is_a_query() {
        let (small, large) = (Made::new(40, 500, false), Made::new(40, 1000, false));
        let queries = small.queries(30);
        assert_eq!((queries.rows(), queries.dimensions()), (30, 40));
        for row in 0..small.rows() {
            assert_eq!(small.row(row), large.row(row));
            assert_ne!(small.row(row), small.row(row + 1));
            assert!(queries.iter().all(|query| query != &*small.row(row)));
        }
        assert_eq!(large.queries(40).row(29), queries.row(29));
    }

    #[test]
    fn rows_of_16_bits_are_what_the_column_keeps() {
        let mut exact = Made::new(40, 1, false).queries(20);
        let halves = Made::new(40, 1, true).queries(20);
        assert!(exact.round_to_f16());
        assert_eq!(exact, halves);
    }

    /// What is left of a vector when all that lies in the space of `INTRINSIC` others is taken away is noise.
    #[test]
    fn vectors_lie_near_a_subspace() {
        let made = Made::new(100, 5000, false);
        let mut basis: Vec<Vec<f32>> = Vec::new();
        let mut left = Vec::new();
        for row in 0..200 {
            let mut vector = made.row(row).into_owned();
            for axis in &basis {
                let along: f32 = vector.iter().zip(axis).map(|(x, y)| x * y).sum();
                vector.iter_mut().zip(axis).for_each(|(x, y)| *x -= along * y);
            }
            let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            if basis.len() < INTRINSIC {
                basis.push(vector.iter().map(|x| x / length).collect());
            } else {
                left.push(length / (vector.len() as f32).sqrt());
            }
        }
        let mean = left.iter().sum::<f32>() / left.len() as f32;
        assert!(mean > 0.5 * NOISE && mean < 5.0 * NOISE, "{mean}");
    }
}
