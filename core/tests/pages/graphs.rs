//! Hand-made graphs for the tests of the pages: their links are not a search's, but every node can be
//! reached.

use walia_core::code::{CodeParameters, Quantizer};
use walia_core::graph::{BuiltGraph, EntryPoint};
use walia_core::page::{MemoryStore, write_graph};
use walia_core::types::{ElementType, HeapTid, Metric, Parameters, Result};

/// A graph whose every value follows from the numbers of its nodes.
pub struct TestGraph {
    parameters: Parameters,
    /// From a node to its nearest neighbour, by number: prime to the number of nodes.
    stride: u32,
    levels: Vec<u8>,
    rows: Vec<usize>,
    vectors: Vec<Vec<u64>>,
    quantizer: Option<Quantizer>,
    codes: Vec<Vec<u8>>,
}

/// Parameters for a test.
pub fn parameters(dimensions: usize, element: ElementType, m: u16) -> Parameters {
    let metric = if element == ElementType::Bit { Metric::Hamming } else { Metric::L2 };
    Parameters::plain(dimensions, element, metric, m, 100)
}

impl TestGraph {
    /// A graph of nodes with these levels and numbers of rows.
    pub fn new(parameters: Parameters, nodes: &[(u8, usize)]) -> Self {
        let vector = |node: usize| {
            // Mostly zeros, which keeps golden bytes small.
            let element = |i| if i < 4 || i % 500 == 0 { (i % 7) as f32 + node as f32 * 0.25 } else { 0.0 };
            let elements = (0..parameters.dimensions).map(element);
            let kept = |i: &usize| node > 0 && element(*i) != 0.0;
            let indices: Vec<usize> = (0..parameters.dimensions).filter(kept).take(node * 20).collect();
            let bit = |i: usize| u8::from(element(i) > 0.0) << (7 - i % 8);
            let mut bytes: Vec<u8> = match parameters.element {
                ElementType::F32 => elements.flat_map(f32::to_le_bytes).collect(),
                ElementType::F16 => {
                    elements.flat_map(|value| half::f16::from_f32(value).to_le_bytes()).collect()
                }
                // Of the first node nothing, of the others more and more.
                ElementType::Sparse => {
                    let elements = indices.iter().flat_map(|i| element(*i).to_le_bytes());
                    indices.iter().flat_map(|i| (*i as u32).to_le_bytes()).chain(elements).collect()
                }
                ElementType::Bit => {
                    let dimensions = parameters.dimensions;
                    let byte = |first| (first..dimensions.min(first + 8)).map(bit).sum();
                    (0..dimensions).step_by(8).map(byte).collect()
                }
            };
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            bytes.chunks_exact(8).map(bytemuck::pod_read_unaligned).collect()
        };
        let vectors: Vec<_> = (0..nodes.len()).map(vector).collect();
        // Mostly zeros too.
        let centroid: Vec<f32> = (0..parameters.dimensions).map(|i| if i < 4 { 0.5 } else { 0.0 }).collect();
        let quantizer =
            CodeParameters::new(&parameters, &centroid).map(|codes| Quantizer::new(codes, &centroid));
        let code = |vector: &Vec<u64>| {
            quantizer.as_ref().map_or(Vec::new(), |quantizer| {
                let vector = &bytemuck::cast_slice(vector)[..parameters.vector_size()];
                code_of(quantizer, &parameters, vector)
            })
        };
        Self {
            parameters,
            stride: 1,
            levels: nodes.iter().map(|node| node.0).collect(),
            rows: nodes.iter().map(|node| node.1).collect(),
            codes: vectors.iter().map(code).collect(),
            vectors,
            quantizer,
        }
    }

    /// `count` nodes, every fourth of which is of level 1, and every sixteenth of level 2; each ninth has 40
    /// rows.
    pub fn regular(parameters: Parameters, count: u32) -> Self {
        let level = |node: u32| u8::from(node % 4 == 3) + u8::from(node % 16 == 15);
        let nodes: Vec<_> =
            (0..count).map(|node| (level(node), if node % 9 == 8 { 40 } else { 1 })).collect();
        Self::new(parameters, &nodes)
    }

    /// The same graph with other links: `stride` is the new one.
    pub fn with_stride(self, stride: u32) -> Self {
        Self { stride, ..self }
    }

    /// The pages of this graph.
    pub fn store(&self) -> MemoryStore {
        let store = MemoryStore::new();
        write_graph(self, &[], &mut &store, &mut |_| ()).unwrap();
        store
    }
}

/// The code of what a vector's payload keeps of it.
fn code_of(quantizer: &Quantizer, parameters: &Parameters, vector: &[u8]) -> Vec<u8> {
    let Parameters { payload: encoding, element, dimensions, .. } = *parameters;
    let mut payload = vec![0; encoding.size(dimensions, element)];
    encoding.encode(vector, element, &mut payload);
    let mut code = vec![0; quantizer.code_size()];
    quantizer.encode(encoding.decode(&payload, element, &mut Vec::new()), &mut code);
    code
}

impl BuiltGraph for TestGraph {
    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn len(&self) -> u32 {
        self.levels.len() as u32
    }

    fn entry_point(&self) -> Option<EntryPoint<u32>> {
        let level = *self.levels.iter().max()?;
        let node = self.levels.iter().position(|other| *other == level)? as u32;
        Some(EntryPoint { node, level })
    }

    fn level(&self, node: u32) -> u8 {
        self.levels[node as usize]
    }

    /// The next nodes of the layer in a circle, as many as there are places for; one place in five stays
    /// free.
    fn links(&self, node: u32, layer: u8) -> impl Iterator<Item = u32> {
        let count = self.len();
        let others = (1..count).map(move |step| (node + step * self.stride) % count);
        let places = self.parameters.max_links(layer);
        others.filter(move |other| self.level(*other) >= layer).take(places - places / 5)
    }

    fn vector<'a>(&'a self, node: u32, _: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        Ok(&bytemuck::cast_slice(&self.vectors[node as usize])[..self.vector_size(node)])
    }

    fn vector_size(&self, node: u32) -> usize {
        let bytes = size_of_val(self.vectors[node as usize].as_slice());
        if self.parameters.element.varies() { bytes } else { self.parameters.vector_size() }
    }

    fn quantizer(&self) -> Option<&Quantizer> {
        self.quantizer.as_ref()
    }

    fn code(&self, node: u32) -> &[u8] {
        &self.codes[node as usize]
    }

    fn heap_tids(&self, node: u32) -> impl Iterator<Item = HeapTid> {
        (1..=self.rows[node as usize] as u16).map(move |offset| HeapTid::new(node, offset))
    }
}
