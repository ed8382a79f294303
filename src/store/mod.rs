//! An index's pages in Postgres: shared buffers, content locks, generic WAL, the free space map.
//!
//! [`RelationStore`] implements walia-core's `PageStore`; [`bulk`] writes the pages of a build, [`mod@file`]
//! keeps vectors for it. Content locks and pins are held by Rust values that give them back, except while an
//! ERROR unwinds.

pub mod buffer;
pub mod bulk;
pub mod cached;
pub mod error;
pub mod file;
mod page_store;
mod pass;
pub mod prefetch;
mod processes;
pub mod progress;
mod recent;
mod relation;
#[cfg(debug_assertions)]
mod stop;
mod write;

use pgrx::pg_sys;
use walia_core::page::store::lock_order::Held;
use walia_core::page::{Index, Meta};
use walia_core::types::{HeapTid, PAGE_SIZE, Result};

use crate::memory;
use crate::quantizers::OfProcess;
pub use relation::{RelationStore, key_of};

const _: () = assert!(pg_sys::BLCKSZ as usize == PAGE_SIZE, "walia's pages have 8 KiB");

/// Called when the library is loaded. libc takes memory when a thread first uses a variable of its own that
/// is to be dropped, and ends the process where there is none: this is done beforehand.
pub fn define() {
    Held::assert_none(0);
    recent::define();
}

/// Opens an index.
pub fn open(store: RelationStore) -> Result<Index<RelationStore>> {
    Index::open(store, &OfProcess)
}

/// Opens an index to be scanned, from its meta page.
pub fn open_with_meta(store: RelationStore) -> Result<(Index<RelationStore>, Meta)> {
    let meta = Meta::read(&store)?;
    Ok((Index::with_meta(store, &meta, &OfProcess)?, meta))
}

/// Lets a query end here that is cancelled, or short of memory.
pub fn check_for_interrupts() {
    pgrx::check_for_interrupts!();
    memory::check();
}

/// The heap TID that Postgres means by an item pointer.
pub fn heap_tid(item: &pg_sys::ItemPointerData) -> HeapTid {
    let block = u32::from(item.ip_blkid.bi_hi) << 16 | u32::from(item.ip_blkid.bi_lo);
    HeapTid::new(block, item.ip_posid)
}

/// The item pointer for a heap TID.
pub fn item_pointer(tid: HeapTid) -> pg_sys::ItemPointerData {
    let block = tid.block();
    pg_sys::ItemPointerData {
        ip_blkid: pg_sys::BlockIdData { bi_hi: (block >> 16) as u16, bi_lo: block as u16 },
        ip_posid: tid.offset(),
    }
}
