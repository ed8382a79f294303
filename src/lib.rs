//! walia: an HNSW index for Postgres.

pub mod error;
pub mod types;

pgrx::pg_module_magic!();
