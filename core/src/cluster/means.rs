//! k-means: Lloyd's algorithm (IEEE Transactions on Information Theory 28, 1982) over a sample.

use crate::code::{dot, read};
use crate::kernel::Measure;
use crate::types::{ElementType, Metric, Parameters, Result};
use bytemuck::Zeroable;

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
    /// Little-endian f32, one after the other; each is near the one before.
    centres: Vec<u8>,
    /// Those of the vector that is measured.
    values: Vec<f32>,
}

impl Clusters {
    /// Vectors of a sample for so many clusters.
    pub const fn sampled(count: usize) -> usize {
        count * SAMPLED
    }

    /// So many clusters at most, of vectors that were sampled. `poll` is called again and again, and may
    /// unwind. An error where there is no memory for them.
    pub fn new(
        parameters: &Parameters,
        sample: &[Vec<u8>],
        count: usize,
        poll: &mut impl FnMut(),
    ) -> Result<Self> {
        let dimensions = parameters.dimensions;
        let mut clusters = Self {
            element: parameters.element,
            directions: matches!(parameters.metric, Metric::Cosine | Metric::InnerProduct),
            measure: Measure::new(Metric::L2, ElementType::F32),
            centres: Vec::new(),
            values: zeros(dimensions)?,
        };
        let count = count.min(sample.len() / SAMPLED).max(1);
        clusters.centres = zeros(count * dimensions * size_of::<f32>())?;
        for (number, start) in (0..clusters.centres.len()).step_by(clusters.centre_size()).enumerate() {
            if let Some(vector) = sample.get(number * sample.len() / count) {
                clusters.read(vector);
            }
            let values: &[u8] = bytemuck::cast_slice(&clusters.values);
            clusters.centres[start..start + values.len()].copy_from_slice(values);
        }
        let (mut members, mut sums) = (zeros::<u32>(count)?, zeros::<f64>(count * dimensions)?);
        for _ in 0..ROUNDS {
            members.fill(0);
            for sums in sums.chunks_exact_mut(dimensions) {
                poll();
                sums.fill(0.0);
            }
            for vector in sample {
                poll();
                let nearest = clusters.nearest(vector);
                members[nearest] += 1;
                let sums = &mut sums[nearest * dimensions..][..dimensions];
                sums.iter_mut().zip(&clusters.values).for_each(|(sum, value)| *sum += f64::from(*value));
            }
            let centres = clusters.centres.chunks_exact_mut(dimensions * size_of::<f32>());
            let sums = sums.chunks_exact(dimensions).zip(&members);
            for (centre, (sums, members)) in centres.zip(sums).filter(|(_, (_, members))| **members > 0) {
                let means = sums.iter().map(|sum| (sum / f64::from(*members)) as f32);
                let values = centre.chunks_exact_mut(size_of::<f32>());
                values.zip(means).for_each(|(value, mean)| value.copy_from_slice(&mean.to_le_bytes()));
            }
        }
        clusters.order();
        Ok(clusters)
    }

    /// How many: one at least.
    pub fn count(&self) -> usize {
        self.centres.len() / self.centre_size()
    }

    /// The cluster of a vector: elements of the column's type.
    pub fn nearest(&mut self, vector: &[u8]) -> usize {
        self.read(vector);
        let values = bytemuck::cast_slice(&self.values);
        let centres = self.centres.chunks_exact(self.centre_size());
        let distances = centres.map(|centre| self.measure.distance(values, centre));
        let nearest = (0..).zip(distances).min_by(|(_, a), (_, b)| a.total_cmp(b));
        nearest.map_or(0, |(number, _)| number)
    }

    fn read(&mut self, vector: &[u8]) {
        let values = &mut self.values;
        read(vector, self.element, values);
        let squares = if self.directions { dot(values, values) } else { 0.0 };
        if squares > 0.0 {
            // That of the smallest there is would be no f32.
            let scale = squares.sqrt().recip();
            values.iter_mut().for_each(|value| *value = (f64::from(*value) * scale) as f32);
        }
    }

    fn centre_size(&self) -> usize {
        self.values.len() * size_of::<f32>()
    }

    /// Puts after each centre the nearest that is left.
    fn order(&mut self) {
        let size = self.centre_size();
        for next in (size..self.centres.len()).step_by(size) {
            let (before, left) = self.centres.split_at_mut(next);
            let distance = |centre| self.measure.distance(&before[next - size..], centre);
            let distances = left.chunks_exact(size).map(distance);
            let nearest = (0..).zip(distances).min_by(|(_, a), (_, b)| a.total_cmp(b));
            if let Some((nearest @ 1.., _)) = nearest {
                let (first, others) = left.split_at_mut(size);
                first.swap_with_slice(&mut others[(nearest - 1) * size..][..size]);
            }
        }
    }
}

/// So many zeros, where there is memory for them.
fn zeros<Value: Zeroable + Clone>(count: usize) -> Result<Vec<Value>> {
    let mut values = Vec::new();
    values.try_reserve_exact(count)?;
    values.resize(count, Value::zeroed());
    Ok(values)
}
