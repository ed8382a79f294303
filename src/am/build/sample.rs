//! The centroid of the vectors that are to be indexed, from a sample of the table's pages.

use walia_core::code::Moments;

use crate::am::table::{Extent, IndexedTable};
use crate::store::check_for_interrupts;

/// Pages that are read, spread evenly over the table.
const PAGES: u32 = 256;
/// Rows that are taken of a page: TOASTed vectors are small on it and costly to read.
const ROWS_OF_PAGE: u32 = 32;

/// The mean of some of a table's vectors (under cosine, of their directions); empty where the index has no
/// codes, zero where the table has no vectors.
pub fn centroid(table: &IndexedTable) -> Vec<f32> {
    if table.parameters.code_bits == 0 {
        return Vec::new();
    }
    let mut moments = Moments::new(&table.parameters);
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
                moments.add(vector.bytes());
            }
            Ok(())
        });
    }
    moments.mean()
}
