//! A page of a table, as `bufpage.h`, `itemid.h` and `htup_details.h` lay it out.

use walia_core::page::Page;
use walia_core::page::format::slotted::{HEADER_SIZE, LINE_POINTER_SIZE, LinePointer, MAX_TUPLE_SIZE};
use walia_core::types::PAGE_SIZE;

use super::shown::Shown;

/// Where the page header says how far line pointers and tuples reach.
const LOWER: usize = 12;
const UPPER: usize = 14;
/// States of line pointers.
const NORMAL: u32 = 1;
const DEAD: u32 = 3;
/// Where a tuple's header has its `t_infomask`, and what is said there.
const INFOMASK: usize = 20;
const XMAX_LOCK_ONLY: u16 = 0x0080;
const XMIN_COMMITTED: u16 = 0x0100;
const XMIN_INVALID: u16 = 0x0200;
const XMAX_COMMITTED: u16 = 0x0400;

/// What a page of a table holds: row versions, and those that were deleted, as far as the page itself tells.
pub fn heap_page(page: &Page) -> Shown {
    let bytes = &page.0;
    let number = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let (lower, upper) = (usize::from(number(LOWER)), usize::from(number(UPPER)));
    let nothing =
        |kind, free_bytes: usize| Shown { kind, tuples: 0, tombstones: 0, free_bytes: free_bytes as u32 };
    if page.is_new() {
        return nothing("empty", MAX_TUPLE_SIZE);
    }
    if lower < HEADER_SIZE || lower > upper || upper > PAGE_SIZE {
        return nothing("damaged", 0);
    }
    let mut shown = nothing("table", (upper - lower).saturating_sub(LINE_POINTER_SIZE));
    for slot in 1..=((lower - HEADER_SIZE) / LINE_POINTER_SIZE) as u16 {
        let at = LinePointer::place(slot);
        let pointer =
            LinePointer(u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]));
        let infomask = pointer.start() + INFOMASK;
        match pointer.state() {
            NORMAL if infomask + 2 <= PAGE_SIZE && is_deleted(number(infomask)) => shown.tombstones += 1,
            NORMAL => shown.tuples += 1,
            DEAD => shown.tombstones += 1,
            _ => {}
        }
    }
    if shown.tuples + shown.tombstones == 0 {
        shown.kind = "empty";
    }
    shown
}

/// Whether a row version is known to have been deleted, or never to have been there.
fn is_deleted(infomask: u16) -> bool {
    let was_never = infomask & (XMIN_COMMITTED | XMIN_INVALID) == XMIN_INVALID;
    was_never || infomask & (XMAX_COMMITTED | XMAX_LOCK_ONLY) == XMAX_COMMITTED
}
