//! A sample of the vectors that are to be indexed, from some of the table's pages.

use walia_core::code::Sample;

use crate::am::table::{Extent, IndexedTable};
use crate::store::check_for_interrupts;

/// Pages that are read, spread evenly over the table.
const PAGES: u32 = 256;
/// Rows that are taken of a page: TOASTed vectors are small on it and costly to read.
const ROWS_OF_PAGE: usize = 32;

/// What some of a table's vectors tell; nothing where the index has no codes, which is built without knowing
/// them.
pub fn sample(table: &IndexedTable) -> Sample {
    let mut sample = Sample::new(&table.parameters);
    if table.parameters.code_bits > 0 {
        for_each_sampled(table, ROWS_OF_PAGE, |vector| sample.add(vector));
    }
    sample
}

/// So many of a table's vectors, if it has as many pages, or some more or fewer.
pub fn vectors(table: &IndexedTable, count: usize) -> Vec<Vec<u8>> {
    let mut vectors = Vec::new();
    let rows_of_page = count.div_ceil(table.blocks().clamp(1, PAGES) as usize);
    for_each_sampled(table, rows_of_page, |vector| vectors.push(vector.to_vec()));
    vectors
}

fn for_each_sampled(table: &IndexedTable, rows_of_page: usize, mut each: impl FnMut(&[u8])) {
    let blocks = table.blocks();
    let ranges = blocks.min(PAGES);
    for range in 0..ranges {
        check_for_interrupts();
        let block = (u64::from(blocks) * u64::from(range) / u64::from(ranges)) as u32;
        let mut rows = 0;
        table.for_each(Extent::Block(block), |row| {
            rows += 1;
            if rows <= rows_of_page
                && let Some(vector) = row.vector()?
            {
                each(vector.bytes());
            }
            Ok(())
        });
    }
}
