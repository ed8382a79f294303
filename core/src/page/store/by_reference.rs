//! A store by reference is a store.

use super::{FreeSpace, Pages, Phase, Prefetch, Session, StopPoint};
use crate::types::{Link, Result};
use std::ops::Range;

impl<Store: Pages> Pages for &Store {
    type Read<'a>
        = Store::Read<'a>
    where
        Self: 'a;
    type Write<'a>
        = Store::Write<'a>
    where
        Self: 'a;

    fn block_count(&self) -> Result<u32> {
        (**self).block_count()
    }

    fn read(&self, block: u32) -> Result<Self::Read<'_>> {
        (**self).read(block)
    }

    fn pages(&self, blocks: Range<u32>) -> impl Iterator<Item = (u32, Result<Self::Read<'_>>)> {
        (**self).pages(blocks)
    }

    fn begin(&self) -> Self::Write<'_> {
        (**self).begin()
    }
}

impl<Store: Prefetch> Prefetch for &Store {
    fn prefetch(&self, blocks: &[u32]) {
        (**self).prefetch(blocks);
    }

    fn announce_tuples(&self, tuples: &[Link]) {
        (**self).announce_tuples(tuples);
    }

    fn prefetch_tuples(&self, tuples: &[Link]) {
        (**self).prefetch_tuples(tuples);
    }
}

impl<Store: FreeSpace> FreeSpace for &Store {
    fn page_with_free_space(&self, bytes: usize) -> Option<u32> {
        (**self).page_with_free_space(bytes)
    }

    fn record_free_space(&self, block: u32, bytes: usize) {
        (**self).record_free_space(block, bytes);
    }

    fn lower_free_space(&self, block: u32, bytes: usize) {
        (**self).lower_free_space(block, bytes);
    }

    fn target_page(&self) -> Option<u32> {
        (**self).target_page()
    }

    fn set_target_page(&self, block: Option<u32>) {
        (**self).set_target_page(block);
    }
}

impl<Store: Session> Session for &Store {
    fn interrupt_point(&self) {
        (**self).interrupt_point();
    }

    fn stop_point(&self, point: StopPoint) {
        (**self).stop_point(point);
    }

    fn progress(&self, phase: Phase, done: u64, total: u64) {
        (**self).progress(phase, done, total);
    }

    fn link_pruned(&self) {
        (**self).link_pruned();
    }

    fn next_transaction(&self) -> u64 {
        (**self).next_transaction()
    }

    fn is_older_than_all_snapshots(&self, transaction: u64) -> bool {
        (**self).is_older_than_all_snapshots(transaction)
    }

    fn is_alone(&self) -> bool {
        (**self).is_alone()
    }

    fn affinity(&self) -> usize {
        (**self).affinity()
    }
}
