//! What the check keeps of bytes that are to be equal.

use bytemuck::{Pod, Zeroable};
use xxhash_rust::xxh3::xxh3_64;

/// A hash of what belongs to a node's vector, in eight bytes. All zero where that was not found, which has
/// been noted before, and for the code in an index without codes; a hash of zero is then not compared.
#[derive(Clone, Copy, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub(super) struct Hash([u8; 8]);

impl Hash {
    /// That of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(xxh3_64(bytes).to_ne_bytes())
    }

    /// Whether both are known and differ.
    pub fn differs(self, other: Self) -> bool {
        self != other && self != Self::default() && other != Self::default()
    }
}
