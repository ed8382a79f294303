//! A slotted page: Postgres's standard page layout, with a special area of walia's own.
//!
//! The same bytes as `bufpage.h` (header of 24 bytes, line pointers, tuples from the end), so that generic
//! WAL, checksums and pageinspect understand it. FORMAT.md is the authority. Damaged bytes give an error or
//! `None`, never a panic: reads check the line pointer that they follow, changes check all of a page's.

use crate::types::{Error, PAGE_SIZE, Result};
use bytemuck::{Pod, Zeroable};

/// Bytes of Postgres's page header.
pub const HEADER_SIZE: usize = 24;
/// Bytes of walia's special area, at the end of every page.
pub const SPECIAL_SIZE: usize = 16;
/// Bytes of a line pointer.
pub const LINE_POINTER_SIZE: usize = 4;
/// Where the special area begins.
pub const SPECIAL_OFFSET: usize = PAGE_SIZE - SPECIAL_SIZE;
/// The largest tuple that fits on an empty page.
pub const MAX_TUPLE_SIZE: usize = (SPECIAL_OFFSET - HEADER_SIZE - LINE_POINTER_SIZE) & !7;
/// The last two bytes of every walia page.
pub const PAGE_ID: u16 = 0xA11A;

/// Offsets in Postgres's page header (`PageHeaderData` of `bufpage.h`).
const LSN_END: usize = 8;
const LOWER: usize = 12;
const UPPER: usize = 14;
const SPECIAL: usize = 16;
const PAGESIZE_VERSION: usize = 18;

/// Postgres's page layout version, in the low byte of `pagesize_version`.
const LAYOUT_VERSION: u16 = 4;

/// A line pointer (`itemid.h`): 15 bits of offset, 2 of state, 15 of length.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LinePointer(pub u32);

impl LinePointer {
    /// That of an unused slot.
    const UNUSED: Self = Self(0);
    /// The state of a line pointer in use.
    const NORMAL: u32 = 1;

    const fn new(start: usize, length: usize) -> Self {
        Self(start as u32 | Self::NORMAL << 15 | (length as u32) << 17)
    }

    /// Where on its page that of a slot from 1 on lies.
    pub const fn place(slot: u16) -> usize {
        HEADER_SIZE + LINE_POINTER_SIZE * (slot as usize - 1)
    }

    /// Where the tuple begins.
    pub const fn start(self) -> usize {
        self.0 as usize & 0x7fff
    }

    /// Bytes of the tuple.
    pub const fn length(self) -> usize {
        self.0 as usize >> 17
    }

    /// Its state, as `itemid.h` numbers them.
    pub const fn state(self) -> u32 {
        self.0 >> 15 & 3
    }

    const fn is_normal(self) -> bool {
        self.state() == Self::NORMAL
    }
}

/// What a page is for. The values are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum PageKind {
    /// Block 0: parameters, entry point, vacuum cycles.
    Meta = 1,
    /// Block 1: hints, which change often.
    Hints = 2,
    /// A part of the parameter chain (centroid and the like).
    Parameter = 3,
    /// Tuples: nodes, upper links, payloads, heap TIDs.
    Data = 4,
}

/// The special area.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Special {
    /// Tuples ever put on this page; its low 16 bits are the version of the newest. Only grows, whatever the
    /// page is used for.
    pub version_counter: u32,
    /// A [`PageKind`].
    pub kind: u16,
    /// Zero.
    pub reserved: [u16; 4],
    /// [`PAGE_ID`].
    pub page_id: u16,
}

/// One page, aligned as Postgres's buffers are at least.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct Page(pub [u8; PAGE_SIZE]);

impl Page {
    /// A page of zeros, as the file system gives it after an extension.
    pub const ZERO: Self = Self([0; PAGE_SIZE]);

    /// Makes this an empty page of a kind; its version counter survives.
    pub fn initialize(&mut self, kind: PageKind) {
        let version_counter = if self.is_new() { 0 } else { self.special().version_counter };
        self.0[LSN_END..].fill(0); // The LSN stays.
        self.set_u16(LOWER, HEADER_SIZE as u16);
        self.set_u16(UPPER, SPECIAL_OFFSET as u16);
        self.set_u16(SPECIAL, SPECIAL_OFFSET as u16);
        self.set_u16(PAGESIZE_VERSION, PAGE_SIZE as u16 | LAYOUT_VERSION);
        *self.special_mut() =
            Special { version_counter, kind: kind as u16, reserved: [0; 4], page_id: PAGE_ID };
    }

    /// Whether the page was never initialized: a crash after extension leaves such pages.
    pub fn is_new(&self) -> bool {
        self.u16(UPPER) == 0
    }

    /// The page's kind, once header and special area have been checked.
    pub fn kind(&self, block: u32) -> Result<PageKind> {
        let corrupt = |what| Err(Error::Corrupt { block, slot: 0, what });
        if self.special().page_id != PAGE_ID || self.u16(SPECIAL) as usize != SPECIAL_OFFSET {
            return corrupt("page without walia's page id");
        }
        if self.u16(PAGESIZE_VERSION) != PAGE_SIZE as u16 | LAYOUT_VERSION {
            return corrupt("page of impossible size or layout version");
        }
        let (lower, upper) = (self.u16(LOWER) as usize, self.u16(UPPER) as usize);
        if lower < HEADER_SIZE || lower > upper || upper > SPECIAL_OFFSET {
            return corrupt("page header with impossible bounds");
        }
        match self.special().kind {
            1 => Ok(PageKind::Meta),
            2 => Ok(PageKind::Hints),
            3 => Ok(PageKind::Parameter),
            4 => Ok(PageKind::Data),
            _ => corrupt("page of unknown kind"),
        }
    }

    /// Number of line pointers; slots run from 1 to it. 0 for a new page.
    pub fn slot_count(&self) -> u16 {
        (self.lower().saturating_sub(HEADER_SIZE) / LINE_POINTER_SIZE) as u16
    }

    /// The tuple in a slot; `None` for an unused or impossible slot, an error for one that points out of the
    /// page.
    pub fn tuple(&self, block: u32, slot: u16) -> Result<Option<&[u8]>> {
        Ok(self.tuple_bounds(block, slot)?.map(|(start, length)| &self.0[start..start + length]))
    }

    /// As [`Page::tuple`], to be changed in place.
    pub fn tuple_mut(&mut self, block: u32, slot: u16) -> Result<Option<&mut [u8]>> {
        Ok(self.tuple_bounds(block, slot)?.map(|(start, length)| &mut self.0[start..start + length]))
    }

    /// Bytes that a new tuple may have, a multiple of 8; on a damaged page just a number.
    pub fn free_space(&self) -> usize {
        let mut used = 0;
        let mut new_pointer = LINE_POINTER_SIZE;
        for slot in 1..=self.slot_count() {
            let pointer = self.line_pointer(slot);
            used += pointer.length();
            if pointer == LinePointer::UNUSED {
                new_pointer = 0;
            }
        }
        SPECIAL_OFFSET.saturating_sub(self.lower().max(HEADER_SIZE) + new_pointer + used) & !7
    }

    /// Adds a tuple of `length` bytes (a multiple of 8), all zero, in the lowest unused slot. Returns the
    /// slot and its new version; `None` when it does not fit.
    pub fn add_tuple(&mut self, block: u32, length: usize) -> Result<Option<(u16, u16)>> {
        debug_assert!(length.is_multiple_of(8) && length > 0);
        self.check_slots(block)?;
        if length > self.free_space() {
            return Ok(None);
        }
        let count = self.slot_count();
        let slot =
            (1..=count).find(|slot| self.line_pointer(*slot) == LinePointer::UNUSED).unwrap_or(count + 1);
        let lower = self.lower().max(HEADER_SIZE + LINE_POINTER_SIZE * slot as usize);
        if lower + length > self.upper() {
            self.compact();
        }
        let start = self.upper() - length;
        self.set_u16(LOWER, lower as u16);
        self.set_u16(UPPER, start as u16);
        self.set_line_pointer(slot, LinePointer::new(start, length));
        self.0[start..start + length].fill(0);
        let special = self.special_mut();
        special.version_counter = special.version_counter.wrapping_add(1);
        Ok(Some((slot, special.version_counter as u16)))
    }

    /// Frees a slot. Its bytes are reused when the page is compacted.
    pub fn remove_tuple(&mut self, block: u32, slot: u16) -> Result<()> {
        self.check_slots(block)?;
        if (1..=self.slot_count()).contains(&slot) {
            self.set_line_pointer(slot, LinePointer::UNUSED);
        }
        // Trailing unused line pointers would only be lost space.
        let mut count = self.slot_count();
        while count > 0 && self.line_pointer(count) == LinePointer::UNUSED {
            count -= 1;
        }
        self.set_u16(LOWER, (HEADER_SIZE + LINE_POINTER_SIZE * count as usize) as u16);
        Ok(())
    }

    /// Checks what changing a page of tuples relies on: its kind, and that its tuples lie inside and do not
    /// overlap.
    pub fn check_slots(&self, block: u32) -> Result<()> {
        let corrupt = |slot, what| Err(Error::Corrupt { block, slot, what });
        if self.kind(block)? != PageKind::Data {
            return corrupt(0, "page without tuples where one with tuples was expected");
        }
        let mut taken = [false; PAGE_SIZE / 8];
        for slot in 1..=self.slot_count() {
            let Some((start, length)) = self.tuple_bounds(block, slot)? else { continue };
            let places = &mut taken[start / 8..(start + length) / 8];
            if places.contains(&true) {
                return corrupt(slot, "tuple that overlaps another");
            }
            places.fill(true);
        }
        Ok(())
    }

    /// The area of a page without slots (meta, hints, parameters), after the header.
    pub fn contents(&self) -> &[u8] {
        &self.0[HEADER_SIZE..SPECIAL_OFFSET]
    }

    /// As [`Page::contents`], to be changed: `length` bytes are kept, what follows is a hole to generic WAL.
    pub fn contents_mut(&mut self, length: usize) -> &mut [u8] {
        self.set_u16(LOWER, (HEADER_SIZE + length) as u16);
        &mut self.0[HEADER_SIZE..HEADER_SIZE + length]
    }

    /// The special area.
    pub fn special(&self) -> &Special {
        bytemuck::from_bytes(&self.0[SPECIAL_OFFSET..])
    }

    fn special_mut(&mut self) -> &mut Special {
        bytemuck::from_bytes_mut(&mut self.0[SPECIAL_OFFSET..])
    }

    /// Moves the tuples together at the end of the page, which [`Page::check_slots`] has checked. Slots keep
    /// their numbers.
    fn compact(&mut self) {
        let old = *self;
        let mut upper = SPECIAL_OFFSET;
        for slot in 1..=self.slot_count() {
            let pointer = old.line_pointer(slot);
            if pointer != LinePointer::UNUSED {
                let (start, length) = (pointer.start(), pointer.length());
                upper -= length;
                self.0[upper..upper + length].copy_from_slice(&old.0[start..start + length]);
                self.set_line_pointer(slot, LinePointer::new(upper, length));
            }
        }
        self.set_u16(UPPER, upper as u16);
    }

    /// Start and length of the tuple in a slot: inside the page, both multiples of 8.
    fn tuple_bounds(&self, block: u32, slot: u16) -> Result<Option<(usize, usize)>> {
        if slot == 0 || slot > self.slot_count() {
            return Ok(None);
        }
        let pointer = self.line_pointer(slot);
        if pointer == LinePointer::UNUSED {
            return Ok(None);
        }
        let (start, length) = (pointer.start(), pointer.length());
        let inside = start >= self.upper().max(self.lower()) && start + length <= SPECIAL_OFFSET;
        if !pointer.is_normal() || !inside || length == 0 || !(start | length).is_multiple_of(8) {
            return Err(Error::Corrupt { block, slot, what: "impossible line pointer" });
        }
        Ok(Some((start, length)))
    }

    /// The line pointer of a slot from 1 to `slot_count`.
    fn line_pointer(&self, slot: u16) -> LinePointer {
        let at = LinePointer::place(slot);
        LinePointer(bytemuck::pod_read_unaligned(&self.0[at..at + LINE_POINTER_SIZE]))
    }

    fn set_line_pointer(&mut self, slot: u16, pointer: LinePointer) {
        let at = LinePointer::place(slot);
        self.0[at..at + LINE_POINTER_SIZE].copy_from_slice(&pointer.0.to_le_bytes());
    }

    fn lower(&self) -> usize {
        (self.u16(LOWER) as usize).min(SPECIAL_OFFSET)
    }

    fn upper(&self) -> usize {
        (self.u16(UPPER) as usize).min(SPECIAL_OFFSET)
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.0[at], self.0[at + 1]])
    }

    fn set_u16(&mut self, at: usize, value: u16) {
        self.0[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
}

impl std::fmt::Debug for Page {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Page")
            .field("special", self.special())
            .field("slots", &self.slot_count())
            .finish()
    }
}
