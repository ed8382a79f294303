//! Places on pages that are written once, counted before they are filled.

use crate::page::format::slotted::{HEADER_SIZE, LINE_POINTER_SIZE, SPECIAL_OFFSET};
use crate::types::Link;

/// The next free place on a page, counted as `Page::add_tuple` fills an empty page.
#[derive(Clone, Copy)]
pub(super) struct Space {
    block: u32,
    slots: u16,
    free: usize,
}

impl Space {
    /// All of a page that has no tuple.
    pub fn of_empty_page(block: u32) -> Self {
        Self { block, slots: 0, free: SPECIAL_OFFSET - HEADER_SIZE }
    }

    /// The first block after this page, or this one where it has no tuple.
    pub fn end(&self) -> u32 {
        self.block + u32::from(self.slots > 0)
    }

    /// Whether a tuple of `size` bytes has room.
    pub fn fits(&self, size: usize) -> bool {
        size + LINE_POINTER_SIZE <= self.free
    }

    /// The address of the next tuple; versions count from 1 as slots do.
    pub fn take(&mut self, size: usize) -> Link {
        self.slots += 1;
        self.free -= size + LINE_POINTER_SIZE;
        Link { block: self.block, slot: self.slots, version: self.slots }
    }

    /// As [`Space::take`], on the next page where this one is full.
    pub fn take_or_turn(&mut self, size: usize) -> Link {
        if !self.fits(size) {
            *self = Self::of_empty_page(self.block + 1);
        }
        self.take(size)
    }
}
