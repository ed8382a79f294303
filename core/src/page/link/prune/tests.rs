//! Pruning by codes beside algorithm 4 over exact distances.

use super::{New, Owner, prune};
use crate::code::{CodeParameters, Quantizer};
use crate::graph::{Candidate, Neighbours};
use crate::kernel::Measure;
use crate::page::format::places::Places;
use crate::types::{ElementType, Link, Metric};
use rand::{Rng, SeedableRng, rngs::SmallRng};

const DIMENSIONS: usize = 128;
const LINKS: u16 = 24;

/// A node, the nodes that its full list leads to, and at last a new one.
struct List {
    owner: Vec<f32>,
    others: Vec<Vec<f32>>,
}

fn link(number: u16) -> Link {
    Link { block: u32::from(number), slot: 1, version: 1 }
}

fn around(rng: &mut SmallRng, centre: &[f32], spread: f32) -> Vec<f32> {
    centre.iter().map(|value| value + spread * rng.random_range(-1.0..1.0f32)).collect()
}

impl List {
    /// Near and far nodes in a few directions, as a graph of clusters has them.
    fn random(rng: &mut SmallRng) -> Self {
        let owner = around(rng, &[0.0; DIMENSIONS], 1.0);
        let centres: Vec<_> = (0..6).map(|_| around(rng, &owner, 0.7)).collect();
        let near = |_| {
            let centre = &centres[rng.random_range(0..centres.len())];
            let spread = rng.random_range(0.1..0.7);
            around(rng, centre, spread)
        };
        let others = (0..=LINKS).map(near).collect();
        Self { owner, others }
    }

    /// Vectors that have equal codes.
    fn tight(rng: &mut SmallRng, centre: &[f32]) -> Self {
        Self { owner: centre.to_vec(), others: (0..=LINKS).map(|_| around(rng, centre, 1e-5)).collect() }
    }

    /// The place that is left out by codes, [`LINKS`] being that of the new node.
    fn left_out(&self, bits: u8, owner: Link) -> u16 {
        let parameters = CodeParameters {
            dimensions: DIMENSIONS,
            element: ElementType::F32,
            metric: Metric::L2,
            bits,
            code_dimensions: DIMENSIONS,
            seed: 3,
        };
        let quantizer = Quantizer::new(parameters, &[0.0; DIMENSIONS]);
        let code = |vector: &Vec<f32>| {
            let mut code = vec![0; quantizer.code_size()];
            quantizer.encode(bytemuck::cast_slice(vector), &mut code);
            code
        };
        let mut bytes = Vec::new();
        for (number, vector) in (0..LINKS).zip(&self.others) {
            bytes.extend(bytemuck::bytes_of(&link(number)));
            bytes.extend(code(vector));
        }
        let places = Places::new(&bytes, size_of::<Link>() + quantizer.code_size(), quantizer.code_size());
        let new = &self.others[usize::from(LINKS)];
        let query = quantizer.query(bytemuck::cast_slice(&self.owner));
        let (owner, code) = (Owner { node: owner, query }, code(new));
        let changed = prune(&quantizer, places, &owner, &[New { node: link(LINKS), code: &code }]).unwrap();
        changed.first().map_or(LINKS, |(place, _)| *place)
    }

    /// The places in the order in which exact distances would leave them out.
    fn worst_first(&self) -> Vec<u16> {
        let measure = Measure::new(Metric::L2, ElementType::F32);
        let distance =
            |a: &[f32], b: &[f32]| measure.distance(bytemuck::cast_slice(a), bytemuck::cast_slice(b));
        let measured = |(place, other): (u16, &Vec<f32>)| Candidate::new(distance(&self.owner, other), place);
        let mut candidates: Vec<_> = (0..).zip(&self.others).map(measured).collect();
        candidates.sort_unstable();
        let other = |place: u16| &self.others[usize::from(place)];
        let between = |a, b| Ok(distance(other(a), other(b)));
        let chosen = Neighbours::select(&candidates, candidates.len(), between).unwrap();
        let mut places: Vec<u16> = chosen.iter().map(|candidate| candidate.node).collect();
        places.reverse();
        places
    }
}

/// Where exact distances would leave out the first of them, estimates leave out that one or one of the next.
#[test]
fn estimates_leave_out_what_exact_distances_would() {
    let mut rng = SmallRng::seed_from_u64(1);
    let lists: Vec<_> = (0..200).map(|_| List::random(&mut rng)).collect();
    for (bits, fewest) in [(1, 140), (2, 165), (4, 190)] {
        let rank = |list: &List| {
            let left_out = list.left_out(bits, link(1000));
            list.worst_first().iter().position(|place| *place == left_out).unwrap()
        };
        let ranks: Vec<_> = lists.iter().map(rank).collect();
        let among = |most| ranks.iter().filter(|rank| **rank <= most).count();
        assert!(among(2) >= fewest, "{bits}: {}, {} the same", among(2), among(0));
    }
}

/// Nothing tells such vectors apart: every list keeps others of them, and a new one finds a place in most.
#[test]
fn lists_of_equal_codes_differ() {
    let mut rng = SmallRng::seed_from_u64(2);
    for bits in [1, 2, 4] {
        for _ in 0..5 {
            let centre = around(&mut rng, &[0.5; DIMENSIONS], 1.0);
            let list = List::tight(&mut rng, &centre);
            let mut times = [0; LINKS as usize + 1];
            (0..100).for_each(|owner| times[usize::from(list.left_out(bits, link(1000 + owner)))] += 1);
            assert!(times.iter().all(|times| *times < 30), "{bits}: {times:?}");
        }
    }
}
