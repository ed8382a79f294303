//! A sample of the vectors that are to be indexed, from some of the table's pages.

use walia_core::code::Sample;
use walia_core::graph::Contents;

use crate::am::table::{Extent, IndexedTable, Row};
use crate::error::Result;
use crate::store::check_for_interrupts;

/// Pages that are read, spread evenly over the table.
const PAGES: u32 = 256;
/// Rows that are taken of a page: TOASTed vectors are small on it and costly to read.
const ROWS_OF_PAGE: usize = 32;

/// What some of a table's vectors tell, and what an index of it will hold, rows without a direction taken for
/// nodes; nothing where the index has no codes, which is built without knowing them.
pub fn sample(table: &IndexedTable) -> (Sample, Contents) {
    let parameters = &table.parameters;
    let (mut sample, mut contents) = (Sample::new(parameters), Contents::default());
    if parameters.code_bits == 0 {
        return (sample, contents);
    }
    let pages = for_each_sampled(table, PAGES, |number, row| {
        if row.is_null() {
            contents.asides += 1;
            return Ok(());
        }
        contents.nodes += 1;
        if number < ROWS_OF_PAGE
            && let Some(vector) = row.vector()?
        {
            sample.add(vector.bytes());
        }
        Ok(())
    });
    contents.vector_size = parameters.vector_size();
    let scale = f64::from(table.blocks()) / f64::from(pages.max(1));
    (sample, contents.part(scale))
}

/// So many of a table's vectors, if it has as many pages, or some more or fewer.
pub fn vectors(table: &IndexedTable, count: usize) -> Vec<Vec<u8>> {
    let mut vectors = Vec::new();
    let pages = table.blocks().clamp(1, PAGES).min(count as u32);
    let rows_of_page = count.div_ceil(pages as usize);
    for_each_sampled(table, pages, |number, row| {
        if number < rows_of_page {
            vectors.extend(row.vector()?.map(|vector| vector.bytes().to_vec()));
        }
        Ok(())
    });
    vectors
}

/// Calls a function for all rows of some pages, with their number on the page. Returns how many pages there
/// were.
fn for_each_sampled(
    table: &IndexedTable,
    pages: u32,
    mut each: impl FnMut(usize, &Row) -> Result<()>,
) -> u32 {
    let blocks = table.blocks();
    let ranges = blocks.min(pages);
    for range in 0..ranges {
        check_for_interrupts();
        let block = (u64::from(blocks) * u64::from(range) / u64::from(ranges)) as u32;
        let mut number = 0;
        table.for_each(Extent::Block(block), |row| {
            number += 1;
            each(number - 1, &row)
        });
    }
    ranges
}
