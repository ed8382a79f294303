//! walia: an HNSW index for Postgres.
pgrx::pg_module_magic!();
