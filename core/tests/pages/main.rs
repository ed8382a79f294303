//! Tests of the pages: their format, the RAM page store, writing of built graphs, and what damage does.

mod bounded;
mod damage;
mod findings;
mod fitting;
mod format;
mod graphs;
mod memory_store;
mod rows;
mod slotted_page;
mod written;
