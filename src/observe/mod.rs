//! SQL functions that tell about an index, or mend it.

mod advise;
mod check;
mod estimate;
mod info;
mod last_scan;
mod open;
mod page_map;
mod prewarm;
mod progress;
mod recall;
mod repair;
mod rows;
mod stat_indexes;
mod storage;
mod table;
