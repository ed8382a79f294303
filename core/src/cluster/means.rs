//! k-means: Lloyd's algorithm (IEEE Transactions on Information Theory 28, 1982) over a sample.

use crate::code::{dot, read};
use crate::kernel::Measure;
use crate::types::{ElementType, Metric, Parameters};

/// Rounds of Lloyd's algorithm: what later ones would move is few rows.
const ROUNDS: usize = 8;
/// Vectors of the sample for each cluster: fewer make centres of chance.
const SAMPLED: usize = 16;

/// Regions of the space of vectors: what is nearest to one of some centres.
///
/// Under cosine and inner product centres are those of directions.
pub struct Clusters {
    element: ElementType,
    directions: bool,
    measure: Measure,
    /// Each is near the one before; little-endian f32.
    centres: Vec<Vec<u8>>,
    values: Vec<f32>,
}

impl Clusters {
    /// Vectors of a sample for so many clusters.
    pub const fn sampled(count: usize) -> usize {
        count * SAMPLED
    }

    /// So many clusters at most, of vectors that were sampled. `poll` is called again and again, and may
    /// unwind.
    pub fn new(parameters: &Parameters, sample: &[Vec<u8>], count: usize, poll: &mut impl FnMut()) -> Self {
        let mut clusters = Self {
            element: parameters.element,
            directions: matches!(parameters.metric, Metric::Cosine | Metric::InnerProduct),
            measure: Measure::new(Metric::L2, ElementType::F32),
            centres: Vec::new(),
            values: vec![0.0; parameters.dimensions],
        };
        let mut values = |vector: &Vec<u8>| {
            poll();
            clusters.values_of(vector).to_vec()
        };
        let sample: Vec<Vec<f32>> = sample.iter().map(&mut values).collect();
        let count = count.min(sample.len() / SAMPLED).max(1);
        let zero = vec![0.0; parameters.dimensions];
        let first = (0..count).map(|number| sample.get(number * sample.len() / count).unwrap_or(&zero));
        clusters.centres = first.map(|vector| bytemuck::cast_slice(vector).to_vec()).collect();
        for _ in 0..ROUNDS {
            let sum = |_| {
                poll();
                (0_u32, vec![0.0_f64; parameters.dimensions])
            };
            let mut sums: Vec<_> = (0..count).map(sum).collect();
            for vector in &sample {
                poll();
                let (members, sum) = &mut sums[clusters.nearest_to(bytemuck::cast_slice(vector))];
                *members += 1;
                sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += f64::from(*value));
            }
            for (centre, (members, sum)) in clusters.centres.iter_mut().zip(sums) {
                if members > 0 {
                    let mean = sum.into_iter().map(|sum| (sum / f64::from(members)) as f32);
                    *centre = mean.flat_map(f32::to_le_bytes).collect();
                }
            }
        }
        clusters.order();
        clusters
    }

    /// How many: one at least.
    pub fn count(&self) -> usize {
        self.centres.len()
    }

    /// The cluster of a vector: elements of the column's type.
    pub fn nearest(&mut self, vector: &[u8]) -> usize {
        self.values_of(vector);
        self.nearest_to(bytemuck::cast_slice(&self.values))
    }

    fn nearest_to(&self, vector: &[u8]) -> usize {
        let distances = self.centres.iter().map(|centre| self.measure.distance(vector, centre));
        let nearest = (0..).zip(distances).min_by(|(_, a), (_, b)| a.total_cmp(b));
        nearest.map_or(0, |(number, _)| number)
    }

    fn values_of(&mut self, vector: &[u8]) -> &[f32] {
        read(vector, self.element, &mut self.values);
        let squares = dot(&self.values, &self.values);
        if self.directions && squares > 0.0 {
            // That of the smallest there is would be no f32.
            let scale = squares.sqrt().recip();
            self.values.iter_mut().for_each(|value| *value = (f64::from(*value) * scale) as f32);
        }
        &self.values
    }

    /// Puts after each centre the nearest that is left.
    fn order(&mut self) {
        for next in 1..self.centres.len() {
            let (before, left) = self.centres.split_at(next);
            let distances = left.iter().map(|centre| self.measure.distance(&before[next - 1], centre));
            let nearest = (next..).zip(distances).min_by(|(_, a), (_, b)| a.total_cmp(b));
            if let Some((nearest, _)) = nearest {
                self.centres.swap(next, nearest);
            }
        }
    }
}
