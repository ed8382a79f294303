//! What is asked of the server. Each query is a transaction of its own, and none of those that are asked all
//! the time locks a relation.

mod activity;
mod relations;

pub use activity::{counters, searches, tasks};
pub use relations::{health, indexes, latency_bounds, look, recall};

use postgres::error::SqlState;
use postgres::types::{ToSql, Type};
use postgres::{Client, Config, Error, NoTls, Row};

use crate::model::Server;

pub type Result<T> = std::result::Result<T, Error>;

/// Opens a session whose statements end after so many milliseconds, which waits for no lock and writes
/// nothing.
pub fn connect(config: &Config, limit_ms: u64) -> Result<Client> {
    let mut client = config.connect(NoTls)?;
    client.batch_execute(&format!(
        "SET search_path = pg_catalog; SET statement_timeout = {limit_ms}; SET lock_timeout = 1000;
         SET default_transaction_read_only = on; SET client_min_messages = error;
         SET max_parallel_workers_per_gather = 0; SET jit = off; SET idle_in_transaction_session_timeout = 10000"
    ))?;
    Ok(client)
}

/// Rows of a query that is planned anew each time, as one message each way.
fn rows(client: &mut Client, query: &str, parameters: &[(&(dyn ToSql + Sync), Type)]) -> Result<Vec<Row>> {
    client.query_typed(query, parameters)
}

/// The first row.
fn row(client: &mut Client, query: &str, parameters: &[(&(dyn ToSql + Sync), Type)]) -> Result<Row> {
    // All queries that are asked this way give a row.
    let mut rows = rows(client, query, parameters)?;
    Ok(rows.swap_remove(0))
}

/// What the server is, and whether the database has walia.
pub fn server(client: &mut Client) -> Result<Server> {
    let row = row(
        client,
        "SELECT split_part(current_setting('server_version'), ' ', 1), current_setting('server_version_num')::int4 / 10000,
            current_database()::text, current_user::text, current_setting('block_size')::int8, e.extversion,
            coalesce(quote_ident(n.nspname), ''), coalesce(to_regclass(quote_ident(n.nspname) || '.walia_stat_indexes') IS NOT NULL, false)
         FROM (VALUES (1)) one LEFT JOIN pg_extension e ON e.extname = 'walia' LEFT JOIN pg_namespace n ON n.oid = e.extnamespace",
        &[],
    )?;
    Ok(Server {
        version: row.get(0),
        major: row.get(1),
        database: row.get(2),
        role: row.get(3),
        block_size: row.get(4),
        walia: row.get(5),
        schema: row.get(6),
        has_statistics: row.get(7),
        latency_bounds: Vec::new(),
    })
}

/// The server's time of day.
pub fn clock(client: &mut Client) -> Result<String> {
    Ok(row(client, "SELECT to_char(clock_timestamp(), 'HH24:MI:SS')", &[])?.get(0))
}

/// Whether a query waited in vain for a lock of another session's.
pub fn waited(error: &Error) -> bool {
    error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
}

/// What failed, in the server's words.
pub fn said(error: &Error) -> String {
    if waited(error) {
        return "another session has locked it".into();
    }
    if let Some(error) = error.as_db_error() {
        return match error.detail() {
            Some(detail) => format!("{} ({detail})", error.message()),
            None => error.message().to_owned(),
        };
    }
    match std::error::Error::source(error) {
        Some(cause) => cause.to_string(),
        None => error.to_string(),
    }
}
