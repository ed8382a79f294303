//! The page map of a relation: ranges of pages as cells, where one looks, and what changed since the last
//! look.

/// Looks for which a cell stays bright after it was read or written.
const BRIGHT_LOOKS: u8 = 2;

/// A range of pages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    pub first: i64,
    pub pages: i64,
    /// What a sample of the pages holds; None where none was read yet.
    pub sample: Option<Sample>,
    /// In shared buffers; None where that is not known, as of temporary relations.
    pub cached: Option<i64>,
    pub dirty: i64,
    /// The sum over the pages that are cached.
    pub usage: f64,
    pub read_looks: u8,
    pub written_looks: u8,
}

/// What pages hold, by a sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    pub kind: String,
    pub tuples: i64,
    pub tombstones: i64,
    pub free_bytes: i64,
}

impl Cell {
    pub fn cached_share(&self) -> f64 {
        self.cached.unwrap_or(0) as f64 / self.pages.max(1) as f64
    }

    pub fn is_bright(&self) -> bool {
        self.read_looks > 0 || self.written_looks > 0
    }
}

/// A part of a relation that fills the map. Cells have a power of two of pages each, so that they stay what
/// they are while the relation grows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    pub first: i64,
    /// None for all from there on.
    pub pages: Option<i64>,
}

/// Pages of a cell where so many pages have to fit so many cells.
pub fn pages_of_cell(pages: i64, cells: i64) -> i64 {
    cells_for(pages, cells.max(1)).max(1).unsigned_abs().next_power_of_two() as i64
}

/// Cells of so many pages that hold them all.
pub fn cells_for(pages: i64, cell_pages: i64) -> i64 {
    (pages + cell_pages - 1) / cell_pages
}

/// What a session asked for, and what came.
#[derive(Clone, Debug)]
pub struct Look {
    pub oid: u32,
    /// The server's clock, in seconds.
    pub at: f64,
    pub part: Part,
    pub cell_pages: i64,
    /// Of the whole relation.
    pub pages: i64,
    /// Whether pages were read, which leaves marks in shared buffers.
    pub is_sampled: bool,
    pub cells: Vec<Cell>,
}

/// The map of one relation.
#[derive(Debug, Default)]
pub struct Map {
    pub oid: u32,
    /// Where one has zoomed to, the whole relation left out, and where the cursor was.
    zoomed: Vec<(Part, usize)>,
    pub cursor: usize,
    pub cells: Vec<Cell>,
    pub cell_pages: i64,
    pub pages: i64,
    /// Pages a second by which the relation has grown between the last two looks.
    pub growth: f64,
    /// When that was, by the server's clock.
    looked: Option<f64>,
    /// Why nothing can be shown.
    pub failure: Option<String>,
    was_sampled: bool,
}

impl Map {
    /// Shows another relation, from the beginning.
    pub fn show(&mut self, oid: u32) {
        if self.oid != oid {
            *self = Self { oid, ..Self::default() };
        }
    }

    pub fn part(&self) -> Part {
        self.zoomed.last().map_or(Part { first: 0, pages: None }, |(part, _)| *part)
    }

    pub fn is_zoomed(&self) -> bool {
        !self.zoomed.is_empty()
    }

    /// The cell under the cursor.
    pub fn chosen(&self) -> Option<&Cell> {
        self.cells.get(self.cursor)
    }

    /// Goes so many cells on, and stays on the map.
    pub fn go(&mut self, cells: isize) {
        self.cursor = self.cursor.saturating_add_signed(cells).min(self.cells.len().saturating_sub(1));
    }

    /// Makes the cell under the cursor the whole map, if it has several pages.
    pub fn zoom_in(&mut self) {
        if let Some(first) = self.chosen().filter(|_| self.cell_pages > 1).map(|cell| cell.first) {
            self.zoomed.push((Part { first, pages: Some(self.cell_pages) }, self.cursor));
            (self.cells, self.cursor) = (Vec::new(), 0);
        }
    }

    /// Goes back to the part before, with the cursor where it was.
    pub fn zoom_out(&mut self) {
        if let Some((_, cursor)) = self.zoomed.pop() {
            (self.cells, self.cursor) = (Vec::new(), cursor);
        }
    }

    /// Takes why a look failed.
    pub fn fail(&mut self, oid: u32, failure: String) {
        if oid == self.oid {
            self.failure = Some(failure);
        }
    }

    /// Takes what a look has shown, unless it is of something else than what is shown now.
    pub fn take(&mut self, look: Look) {
        if (look.oid, look.part) != (self.oid, self.part()) {
            return;
        }
        let before = std::mem::replace(&mut self.cells, look.cells);
        let is_same_scale = self.cell_pages == look.cell_pages && !before.is_empty();
        for cell in &mut self.cells {
            let known =
                before.binary_search_by_key(&cell.first, |known| known.first).ok().filter(|_| is_same_scale);
            let Some(known) = known.map(|place| &before[place]) else {
                cell.written_looks = if is_same_scale { BRIGHT_LOOKS } else { 0 };
                continue;
            };
            // What a sample reads is not what others read.
            let is_read = !self.was_sampled && (cell.cached > known.cached || cell.usage > known.usage);
            let is_written = cell.dirty > known.dirty || cell.pages > known.pages;
            cell.read_looks = if is_read { BRIGHT_LOOKS } else { known.read_looks.saturating_sub(1) };
            cell.written_looks =
                if is_written { BRIGHT_LOOKS } else { known.written_looks.saturating_sub(1) };
            if cell.sample.is_none() {
                cell.sample.clone_from(&known.sample);
            }
        }
        let grown = (look.pages - self.pages).max(0) as f64;
        self.growth = match self.looked.replace(look.at) {
            Some(then) if look.at > then => grown / (look.at - then),
            _ => 0.0,
        };
        (self.cell_pages, self.pages, self.was_sampled) = (look.cell_pages, look.pages, look.is_sampled);
        self.failure = None;
        self.go(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(first: i64, pages: i64, cached: i64, dirty: i64) -> Cell {
        Cell { first, pages, cached: Some(cached), dirty, usage: cached as f64, ..Cell::default() }
    }

    fn look(part: Part, cell_pages: i64, cells: &[Cell]) -> Look {
        let pages = cells.iter().map(|cell| cell.pages).sum();
        Look { oid: 1, at: pages as f64, part, cell_pages, pages, is_sampled: false, cells: cells.to_vec() }
    }

    const WHOLE: Part = Part { first: 0, pages: None };

    fn bright(map: &Map) -> Vec<bool> {
        map.cells.iter().map(Cell::is_bright).collect()
    }

    #[test]
    fn cells_have_powers_of_two() {
        assert_eq!(pages_of_cell(0, 100), 1);
        assert_eq!(pages_of_cell(100, 100), 1);
        assert_eq!(pages_of_cell(101, 100), 2);
        assert_eq!(pages_of_cell(500, 100), 8);
        // A terabyte, and the largest relation there is.
        assert_eq!(pages_of_cell(1 << 27, 1000), 1 << 18);
        assert_eq!(pages_of_cell((1 << 32) - 1, 1), 1 << 32);
    }

    #[test]
    fn what_changed_is_bright_for_two_looks() {
        let mut map = Map::default();
        map.show(1);
        map.take(look(WHOLE, 8, &[cell(0, 8, 8, 0), cell(8, 8, 0, 0), cell(16, 3, 3, 0)]));
        assert_eq!(bright(&map), [false, false, false]);
        // One was read, one has grown, and there is a new one.
        assert_eq!(map.growth, 0.0);
        let now = [cell(0, 8, 8, 0), cell(8, 8, 1, 0), cell(16, 8, 3, 0), cell(24, 1, 1, 1)];
        map.take(look(WHOLE, 8, &now));
        assert_eq!(bright(&map), [false, true, true, true]);
        // In these tests the clock goes as the relation grows.
        assert_eq!(map.growth, 1.0);
        map.take(look(WHOLE, 8, &now));
        assert_eq!(bright(&map), [false, true, true, true]);
        map.take(look(WHOLE, 8, &now));
        assert_eq!(bright(&map), [false; 4]);
        // Of twice the size, nothing can be compared.
        map.take(look(WHOLE, 16, &[cell(0, 16, 16, 16)]));
        assert_eq!(bright(&map), [false]);
    }

    #[test]
    fn what_a_sample_reads_is_not_bright() {
        let mut map = Map::default();
        map.show(1);
        map.take(Look { is_sampled: true, ..look(WHOLE, 8, &[cell(0, 8, 0, 0), cell(8, 8, 0, 0)]) });
        map.take(look(WHOLE, 8, &[cell(0, 8, 2, 0), cell(8, 8, 2, 2)]));
        assert_eq!(bright(&map), [false, true]);
    }

    #[test]
    fn a_look_without_a_sample_keeps_what_the_last_one_told() {
        let mut map = Map::default();
        map.show(1);
        let sample = Some(Sample { kind: "nodes".into(), ..Sample::default() });
        map.take(look(WHOLE, 8, &[Cell { sample: sample.clone(), ..cell(0, 8, 0, 0) }]));
        map.take(look(WHOLE, 8, &[cell(0, 8, 0, 0), cell(8, 8, 0, 0)]));
        assert_eq!((&map.cells[0].sample, &map.cells[1].sample), (&sample, &None));
    }

    #[test]
    fn zooms_to_a_page_and_back() {
        let mut map = Map::default();
        map.show(1);
        map.take(look(WHOLE, 8, &[cell(0, 8, 0, 0), cell(8, 3, 0, 0)]));
        map.go(5);
        assert_eq!(map.cursor, 1);
        map.zoom_in();
        let part = Part { first: 8, pages: Some(8) };
        assert_eq!(map.part(), part);
        // What was on its way is of no use any more.
        map.take(look(WHOLE, 8, &[cell(0, 8, 0, 0)]));
        assert!(map.cells.is_empty());
        map.take(look(part, 1, &[cell(8, 1, 0, 0), cell(9, 1, 0, 0), cell(10, 1, 0, 0)]));
        map.go(2);
        map.zoom_in();
        assert_eq!(map.part(), part);
        map.zoom_out();
        assert_eq!((map.part(), map.cursor, map.is_zoomed()), (WHOLE, 1, false));
        map.show(2);
        assert_eq!(map.cursor, 0);
    }

    #[test]
    fn a_failure_lasts_until_a_look() {
        let mut map = Map::default();
        map.show(1);
        map.fail(2, "of another".into());
        assert_eq!(map.failure, None);
        map.fail(1, "permission denied".into());
        assert!(map.failure.is_some());
        map.take(look(WHOLE, 1, &[]));
        assert_eq!(map.failure, None);
    }
}
