//! What the system is told of memory: where pages should be huge, and which are not needed any more.
//!
//! Where it is not Linux it is told nothing, and where it does not follow the advice all is as it was.
#![allow(unsafe_code, reason = "madvise")]

/// Asks for huge pages in new memory.
pub(super) fn want_huge_pages(start: *mut u8, size: usize) {
    #[cfg(target_os = "linux")]
    advise(start, size, libc::MADV_HUGEPAGE);
    #[cfg(not(target_os = "linux"))]
    let _ = (start, size);
}

/// Frees memory whose pages the system gets back at once. malloc would keep those behind which something lies
/// for pieces as small, and slabs take other pages.
pub(super) fn free<T>(mut items: Vec<T>) {
    items.clear();
    let memory = items.spare_capacity_mut();
    #[cfg(target_os = "linux")]
    advise(memory.as_mut_ptr().cast(), size_of_val(memory), libc::MADV_DONTNEED);
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}

/// Gives advice about the pages that lie wholly within memory of ours that holds nothing.
#[cfg(target_os = "linux")]
fn advise(start: *mut u8, size: usize, advice: i32) {
    // SAFETY: asks for a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    let from = start.addr().next_multiple_of(page);
    let end = (start.addr() + size) / page * page;
    if from < end {
        // SAFETY: whole pages of private memory in which nothing is kept.
        unsafe { libc::madvise(start.with_addr(from).cast(), end - from, advice) };
    }
}
