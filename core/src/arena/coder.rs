//! Vectors as others see them once they are on pages, and their codes.

use super::Arena;
use crate::code::Quantizer;
use crate::types::Parameters;

/// Makes the codes of vectors: those of what their payloads will hold.
pub(super) struct Coder {
    payload: Vec<u8>,
    decoded: Vec<u8>,
    code: Vec<u8>,
}

impl Coder {
    pub(super) fn new(arena: &Arena) -> Self {
        let Parameters { dimensions, element, payload, .. } = arena.parameters;
        Self {
            payload: vec![0; payload.size(dimensions, element)],
            decoded: Vec::new(),
            code: vec![0; arena.quantizer.as_ref().map_or(0, Quantizer::code_size)],
        }
    }

    /// The code of a vector, which may be as others see it already; empty in a graph without codes.
    pub(super) fn code(&mut self, arena: &Arena, vector: &[u8], is_stored: bool) -> &[u8] {
        if let Some(quantizer) = &arena.quantizer {
            let Self { payload, decoded, code } = self;
            let vector = if is_stored { vector } else { stored(arena, vector, payload, decoded) };
            quantizer.encode(vector, code);
        }
        &self.code
    }

    /// A vector as others see it.
    pub(super) fn stored<'v>(&'v mut self, arena: &Arena, vector: &'v [u8]) -> &'v [u8] {
        stored(arena, vector, &mut self.payload, &mut self.decoded)
    }
}

/// A vector as others see it, made in these buffers.
fn stored<'v>(arena: &Arena, vector: &'v [u8], payload: &'v mut [u8], decoded: &'v mut Vec<u8>) -> &'v [u8] {
    let Parameters { element, payload: encoding, .. } = arena.parameters;
    if !encoding.is_lossy() {
        return vector;
    }
    encoding.encode(vector, element, payload);
    encoding.decode(payload, element, decoded)
}
