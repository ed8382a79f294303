//! Rows by cluster: k-means over a sample, and runs in a file.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::{Arc, Mutex};
use walia_core::arena::{VectorFile, VectorReader};
use walia_core::cluster::{Clusters, Runs, file_size};
use walia_core::types::{ElementType, Metric, Parameters, Result};

/// A file in RAM.
#[derive(Clone, Default)]
struct File(Arc<Mutex<Vec<u8>>>);

impl VectorFile for File {
    fn append(&mut self, bytes: &[u8]) {
        self.0.lock().unwrap().extend_from_slice(bytes);
    }

    fn reader(&self) -> Box<dyn VectorReader> {
        Box::new(self.clone())
    }
}

impl VectorReader for File {
    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        let start = offset as usize;
        bytes.copy_from_slice(&self.0.lock().unwrap()[start..start + bytes.len()]);
        Ok(())
    }
}

#[test]
fn runs_give_what_was_pushed_to_them() {
    const SIZE: usize = 14;
    let mut random = StdRng::seed_from_u64(1);
    // So little that a block has one record, and so much that none is full.
    for (count, memory) in [(1, 0), (7, 1), (7, 700), (40, 8_000), (3, 1 << 20)] {
        let file = File::default();
        let mut runs = Runs::new(file.clone(), count, SIZE, memory);
        let mut pushed = vec![Vec::new(); count];
        for number in 0..5_000_u64 {
            // The last run has none.
            let run = random.random_range(0..count.max(2) - 1);
            let (first, second) = (number.to_le_bytes(), [run as u8; SIZE - 8]);
            runs.push(run, [&first, &second]).unwrap();
            pushed[run].push([&first[..], &second].concat());
        }
        runs.finish();
        for (run, mut pushed) in pushed.into_iter().enumerate() {
            let (mut reading, mut read) = (runs.run(run), Vec::new());
            while let Some(record) = reading.advance().unwrap() {
                read.push(record.to_vec());
            }
            read.sort();
            pushed.sort();
            assert_eq!(read, pushed, "run {run} of {count}");
        }
        let (size, told) = (file.0.lock().unwrap().len() as u64, file_size(5_000, count, SIZE, memory));
        // One block of each run may be full or empty.
        let blocks = (count * runs.block_size()) as u64;
        assert!(
            size.abs_diff(told) <= blocks,
            "{size} bytes, told {told}, in blocks of {}",
            runs.block_size()
        );
    }
}

fn bytes(vector: &[f32]) -> Vec<u8> {
    bytemuck::cast_slice(vector).to_vec()
}

/// Vectors around a point on a line.
fn around(place: usize, random: &mut StdRng) -> [f32; 4] {
    std::array::from_fn(|i| if i == 0 { 10.0 * place as f32 } else { 0.0 } + random.random_range(-1.0..1.0))
}

#[test]
fn clusters_are_regions_each_beside_the_one_before() {
    const PLACES: usize = 8;
    let mut random = StdRng::seed_from_u64(2);
    let sample: Vec<Vec<u8>> =
        (0..PLACES).flat_map(|place| [place; 64]).map(|place| bytes(&around(place, &mut random))).collect();
    let parameters = Parameters::plain(4, ElementType::F32, Metric::L2, 4, 30);
    let mut polled = 0;
    let mut clusters = Clusters::new(&parameters, &sample, PLACES, &mut || polled += 1).unwrap();
    assert_eq!(clusters.count(), PLACES);
    assert!(polled >= sample.len());
    for place in 0..PLACES {
        for _ in 0..20 {
            assert_eq!(clusters.nearest(&bytes(&around(place, &mut random))), place);
        }
    }
    // Few vectors make few clusters, and none makes one.
    assert_eq!(Clusters::new(&parameters, &sample[..40], PLACES, &mut || ()).unwrap().count(), 2);
    let mut of_none = Clusters::new(&parameters, &[], PLACES, &mut || ()).unwrap();
    assert_eq!(of_none.nearest(&bytes(&[1.0; 4])), 0);
}

#[test]
fn directions_alone_count_where_they_decide() {
    let mut random = StdRng::seed_from_u64(3);
    let mut vectors = (0..400).map(|_| std::array::from_fn::<f32, 6, _>(|_| random.random_range(-1.0..1.0)));
    let vectors: Vec<_> = vectors.by_ref().collect();
    let sample: Vec<Vec<u8>> = vectors.iter().map(|vector| bytes(vector)).collect();
    for (metric, alone) in [(Metric::Cosine, true), (Metric::InnerProduct, true), (Metric::L2, false)] {
        let parameters = Parameters::plain(6, ElementType::F32, metric, 4, 30);
        let mut clusters = Clusters::new(&parameters, &sample, 16, &mut || ()).unwrap();
        let is_same = vectors.iter().all(|vector| {
            let longer = vector.map(|value| 5.0 * value);
            clusters.nearest(&bytes(vector)) == clusters.nearest(&bytes(&longer))
        });
        assert_eq!(is_same, alone, "{metric:?}");
        // Without a direction, in any of them.
        assert!(clusters.nearest(&bytes(&[0.0; 6])) < 16);
    }
}
