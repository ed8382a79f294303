//! Hints that memory will be read soon.
#![allow(unsafe_code, reason = "prefetch intrinsics")]

/// Bytes that are asked for at most: the hardware follows a longer run of lines by itself.
const MAX_BYTES: usize = 8192;
const CACHE_LINE: usize = 64;

/// Asks for the cache lines of `items`, so that they are near when they are read. Does nothing on machines
/// for which there is no such instruction here.
#[inline]
pub fn prefetch<T>(items: &[T]) {
    prefetch_range(items.as_ptr().cast(), size_of_val(items));
}

/// As [`prefetch`], for so many bytes at an address, which may be any.
#[inline]
pub fn prefetch_range(address: *const u8, bytes: usize) {
    for start in (0..bytes.min(MAX_BYTES)).step_by(CACHE_LINE) {
        prefetch_line(address.wrapping_add(start));
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn prefetch_line(line: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: SSE is part of x86-64, and a prefetch reads nothing that the program could see, whatever the
    // address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn prefetch_line(_line: *const u8) {}
