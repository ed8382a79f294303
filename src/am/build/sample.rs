//! A sample of the vectors that are to be indexed, from some of the table's pages.

use walia_core::code::Sample;

use crate::am::table::{Extent, IndexedTable};
use crate::store::check_for_interrupts;

/// Pages that are read, spread evenly over the table.
const PAGES: u32 = 256;
/// Rows that are taken of a page: TOASTed vectors are small on it and costly to read.
const ROWS_OF_PAGE: u32 = 32;

/// Some of a table's vectors; none where the index has no codes, which is built without knowing them.
pub fn sample(table: &IndexedTable) -> Sample {
    let mut sample = Sample::new(&table.parameters);
    if table.parameters.code_bits == 0 {
        return sample;
    }
    let blocks = table.blocks();
    let ranges = blocks.min(PAGES);
    for range in 0..ranges {
        check_for_interrupts();
        let block = (u64::from(blocks) * u64::from(range) / u64::from(ranges)) as u32;
        let mut rows = 0;
        table.for_each(Extent::Block(block), |row| {
            rows += 1;
            if rows <= ROWS_OF_PAGE
                && let Some(vector) = row.vector()?
            {
                sample.add(vector.bytes());
            }
            Ok(())
        });
    }
    sample
}
