//! The offsets that FORMAT.md gives, asserted when this crate is compiled.

use crate::page::format::chain::ParameterHeader;
use crate::page::format::hints::Hints;
use crate::page::format::meta::Meta;
use crate::page::format::slotted::Special;
use crate::page::format::tuple::{NodeHeader, OwnedHeader};
use crate::types::{HeapTid, Link};
use std::mem::offset_of;

macro_rules! assert_offsets {
    ($type:ty, $($field:ident: $offset:expr),+; $size:expr) => {
        const _: () = assert!($(offset_of!($type, $field) == $offset &&)+ size_of::<$type>() == $size);
    };
}

assert_offsets!(Link, block: 0, slot: 4, version: 6; 8);
assert_offsets!(Special, version_counter: 0, kind: 4, reserved: 6, page_id: 14; 16);
assert_offsets!(
    Meta,
    magic: 0, format_version: 4, compatible_features: 8, incompatible_features: 12,
    dimensions: 16, m: 18, m0: 20, ef_construction: 22,
    metric: 24, element: 25, payload_encoding: 26, code_bits: 27, code_dimensions: 28, code_length: 30,
    link_stride: 32, upper_link_stride: 34, inline_tids: 36, extension_length: 38,
    rotation_seed: 40, rotation_algorithm: 48, dimensions_high: 50, parameter_block: 52, parameter_length: 56,
    entry_generation: 60, entry_point: 64, entry_level: 72, undefined_presence: 74, null_presence: 75,
    cycle: 76, repaired_cycle: 80, reusable_cycle: 84, repaired_transaction: 88; 96
);
assert_offsets!(Hints, zero_vectors: 0, nulls: 64; 128);
assert_offsets!(ParameterHeader, first_block: 0, next_block: 4, number: 8, length: 10, reserved: 12; 16);
assert_offsets!(
    NodeHeader,
    kind: 0, flags: 1, version: 2, level: 4, tid_count: 5, extension_length: 6, cycle: 8, upper: 12, overflow: 20; 28
);
assert_offsets!(OwnedHeader, kind: 0, level: 1, version: 2, count: 4, tag: 6, owner: 8, next: 16; 24);
const _: () = assert!(size_of::<HeapTid>() == 6);
