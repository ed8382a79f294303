//! The second run of a scan, sorted by Postgres: within work_mem, and in temporary files past it.

use std::ptr;

use pgrx::pg_sys;
use walia_core::page::scan::{Hit, HitClass, RunSorter};
use walia_core::types::HeapTid;

/// Bytes of a hit as it is sorted, after the varlena header.
const ENCODED: usize = 1 + 8 + 4 + 2 + 4;

/// A sort of hits by class, then least distance, then heap TID: encoded as `bytea`, whose order is that of
/// its bytes.
///
/// It must begin in the memory context of its scan, and is to be ended with [`Sorter::end`]; dropping it does
/// nothing, because the context and the transaction free its memory and its temporary files if the scan is
/// given up.
pub struct Sorter {
    state: *mut pg_sys::Tuplesortstate,
}

impl Default for Sorter {
    /// A sort that has not begun.
    fn default() -> Self {
        Self { state: ptr::null_mut() }
    }
}

impl Sorter {
    /// Frees its memory and its files.
    pub fn end(&mut self) {
        if !self.state.is_null() {
            // SAFETY: begun by `add` and not ended since.
            unsafe { pg_sys::tuplesort_end(self.state) };
            self.state = ptr::null_mut();
        }
    }

    /// The sort, begun if need be.
    fn begun(&mut self) -> *mut pg_sys::Tuplesortstate {
        #[cfg(feature = "pg14")]
        let options = false;
        #[cfg(not(feature = "pg14"))]
        let options = pg_sys::TUPLESORT_NONE as i32;
        let (less, collation) = (pg_sys::Oid::from_u32(BYTEA_LESS), pg_sys::InvalidOid);
        if self.state.is_null() {
            // SAFETY: a sort by a built-in operator, without coordination of workers.
            self.state = unsafe {
                let (memory, alone) = (pg_sys::work_mem, ptr::null_mut());
                pg_sys::tuplesort_begin_datum(
                    pg_sys::BYTEAOID,
                    less,
                    collation,
                    false,
                    memory,
                    alone,
                    options,
                )
            };
        }
        self.state
    }
}

/// Operator `bytea < bytea` in pg_operator.dat: OIDs of built-in objects never change.
const BYTEA_LESS: u32 = 1957;

impl RunSorter for Sorter {
    fn add(&mut self, class: HitClass, hit: Hit) {
        let state = self.begun();
        let mut value = Encoded::new(class, hit);
        // SAFETY: the sort copies the value, which is a varlena.
        unsafe { pg_sys::tuplesort_putdatum(state, pg_sys::Datum::from(&raw mut value), false) }
    }

    fn sort(&mut self) {
        let state = self.begun();
        // SAFETY: begun, and not sorted before.
        unsafe { pg_sys::tuplesort_performsort(state) }
    }

    fn next(&mut self) -> Option<Hit> {
        let (mut value, mut is_null, abbreviated) = (pg_sys::Datum::from(0), false, ptr::null_mut());
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        // SAFETY: sorted; a copy is what these versions give.
        let found =
            unsafe { pg_sys::tuplesort_getdatum(self.state, true, &mut value, &mut is_null, abbreviated) };
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        // SAFETY: sorted; a copy is asked for.
        let found = unsafe {
            pg_sys::tuplesort_getdatum(self.state, true, true, &mut value, &mut is_null, abbreviated)
        };
        found.then(|| {
            let encoded = value.cast_mut_ptr::<Encoded>();
            // SAFETY: the value is this function's own copy of what `add` gave.
            unsafe {
                let hit = (*encoded).hit();
                pg_sys::pfree(encoded.cast());
                hit
            }
        })
    }
}

/// A hit as a `bytea`.
#[repr(C, align(4))]
struct Encoded {
    header: [u8; pg_sys::VARHDRSZ],
    bytes: [u8; ENCODED],
}

impl Encoded {
    fn new(class: HitClass, hit: Hit) -> Self {
        let mut value = Self { header: [0; pg_sys::VARHDRSZ], bytes: [0; ENCODED] };
        // SAFETY: the value begins with a four-byte header.
        unsafe { pgrx::set_varsize_4b((&raw mut value).cast(), (pg_sys::VARHDRSZ + ENCODED) as i32) };
        value.bytes[0] = class as u8;
        value.bytes[1..9].copy_from_slice(&ordered_bits(hit.distance).to_be_bytes());
        value.bytes[9..13].copy_from_slice(&hit.heap_tid.block().to_be_bytes());
        value.bytes[13..15].copy_from_slice(&hit.heap_tid.offset().to_be_bytes());
        value.bytes[15..].copy_from_slice(&hit.uncertainty.to_be_bytes());
        value
    }

    fn hit(&self) -> Hit {
        let [_, d0, d1, d2, d3, d4, d5, d6, d7, b0, b1, b2, b3, o0, o1, u0, u1, u2, u3] = self.bytes;
        let distance = from_ordered_bits(u64::from_be_bytes([d0, d1, d2, d3, d4, d5, d6, d7]));
        let block = u32::from_be_bytes([b0, b1, b2, b3]);
        let heap_tid = HeapTid::new(block, u16::from_be_bytes([o0, o1]));
        Hit { heap_tid, distance, uncertainty: f32::from_be_bytes([u0, u1, u2, u3]) }
    }
}

/// Bits that order as the floats do in their total order: NaN is last.
fn ordered_bits(value: f64) -> u64 {
    let bits = value.to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

fn from_ordered_bits(bits: u64) -> f64 {
    f64::from_bits(if bits >> 63 == 1 { bits & !(1 << 63) } else { !bits })
}
