//! A sample of the vectors that are to be indexed, from some of the table's pages.

use walia_core::code::Sample;
use walia_core::graph::Contents;
use walia_core::kernel::Measure;

use crate::am::table::{Extent, IndexedTable};
use crate::store::check_for_interrupts;

/// Pages that are read, spread evenly over the table.
const PAGES: u32 = 256;
/// Rows that are taken of a page: TOASTed vectors are small on it and costly to read.
const ROWS_OF_PAGE: usize = 32;

/// What some of a table's vectors tell, and what an index of it will hold; nothing where the index has no
/// codes, which is built without knowing them.
pub fn sample(table: &IndexedTable) -> (Sample, Contents) {
    let parameters = &table.parameters;
    let (mut sample, mut contents) = (Sample::new(parameters), Contents::default());
    if parameters.code_bits == 0 {
        return (sample, contents);
    }
    let measure = Measure::new(parameters.metric, parameters.element);
    let pages = for_each_sampled(table, PAGES, |row, vector| {
        match vector.filter(|vector| !measure.is_undefined(vector)) {
            Some(vector) => {
                contents.nodes += 1;
                contents.vector_size = vector.len();
                if row < ROWS_OF_PAGE {
                    sample.add(vector);
                }
            }
            None => contents.asides += 1,
        }
    });
    let scale = f64::from(table.blocks()) / f64::from(pages.max(1));
    (sample, contents.part(scale))
}

/// So many of a table's vectors, if it has as many pages, or some more or fewer.
pub fn vectors(table: &IndexedTable, count: usize) -> Vec<Vec<u8>> {
    let mut vectors = Vec::new();
    let pages = table.blocks().clamp(1, PAGES).min(count as u32);
    let rows_of_page = count.div_ceil(pages as usize);
    for_each_sampled(table, pages, |row, vector| {
        vectors.extend(vector.filter(|_| row < rows_of_page).map(<[u8]>::to_vec));
    });
    vectors
}

/// Calls a function for all rows of some pages, with their number on the page. Returns how many pages there
/// were.
fn for_each_sampled(table: &IndexedTable, pages: u32, mut each: impl FnMut(usize, Option<&[u8]>)) -> u32 {
    let blocks = table.blocks();
    let ranges = blocks.min(pages);
    for range in 0..ranges {
        check_for_interrupts();
        let block = (u64::from(blocks) * u64::from(range) / u64::from(ranges)) as u32;
        let mut rows = 0;
        table.for_each(Extent::Block(block), |row| {
            let vector = row.vector()?;
            each(rows, vector.as_ref().map(|vector| vector.bytes()));
            rows += 1;
            Ok(())
        });
    }
    ranges
}
