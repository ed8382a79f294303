//! What the catalogs say of a distance and of the indexes of tables. All names are written out, so that no
//! object of a user's takes the place of Postgres's.

use pgrx::datum::DatumWithOid;
use pgrx::spi::{Spi, SpiError};
use pgrx::{PgSqlErrorCode, pg_sys};

use super::explained::Scan;
use crate::error::{Result, SqlError};
use crate::plan::orderings::Ordering;

/// A distance that an index of some access method orders by.
pub struct Distance {
    function: pg_sys::Oid,
    /// The operator that the query has, or one that computes the same.
    pub operator: String,
    /// The operator class of walia_hnsw that has it.
    pub class: Option<String>,
}

impl Distance {
    /// That of an ordering; `None` where it is none.
    pub fn of(ordering: &Ordering) -> Result<Option<Self>> {
        let query = "SELECT o.oprname::text, pg_catalog.max(c.opcname::text) FILTER (WHERE p.prosrc OPERATOR(pg_catalog.=) 'walia_hnsw_handler') \
                     FROM pg_catalog.pg_operator o \
                     JOIN pg_catalog.pg_amop a ON a.amopopr OPERATOR(pg_catalog.=) o.oid AND a.amoppurpose OPERATOR(pg_catalog.=) 'o' \
                     JOIN pg_catalog.pg_am m ON m.oid OPERATOR(pg_catalog.=) a.amopmethod AND m.oid OPERATOR(pg_catalog.>=) 16384::oid \
                     JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) m.amhandler \
                     LEFT JOIN pg_catalog.pg_opclass c ON c.opcfamily OPERATOR(pg_catalog.=) a.amopfamily \
                     WHERE o.oprcode::oid OPERATOR(pg_catalog.=) $1 GROUP BY 1 ORDER BY 2, 1 LIMIT 1";
        let found = Spi::connect(|client| {
            let mut rows =
                client.select(query, None, &[DatumWithOid::from(ordering.function)]).map_err(spi)?;
            let Some(row) = rows.next() else { return Ok::<_, SqlError>(None) };
            let (operator, class) = (row.get::<String>(1).map_err(spi)?, row.get::<String>(2).map_err(spi)?);
            Ok(operator.map(|operator| (operator, class)))
        })?;
        Ok(found.map(|(operator, class)| {
            let operator = ordering.operator.clone().unwrap_or(operator);
            Self { function: ordering.function, operator, class }
        }))
    }
}

/// A table whose rows are ordered: no partitioned one, but its partitions.
pub struct Table {
    pub name: String,
    /// As of the last ANALYZE or VACUUM; `None` before the first.
    pub rows: Option<f64>,
    /// Those of walia_hnsw, and the btrees that carry codes.
    pub indexes: Vec<Index>,
}

impl Table {
    /// Its indexes of walia_hnsw.
    pub fn graphs(&self) -> impl Iterator<Item = &Index> {
        self.indexes.iter().filter(|index| !index.is_btree)
    }
}

/// An index of a table.
pub struct Index {
    pub oid: pg_sys::Oid,
    pub name: String,
    schema: String,
    bare_name: String,
    /// Its column or expression.
    pub key: String,
    pub class: String,
    /// The operator of its class.
    pub operator: String,
    pub is_valid: bool,
    pub predicate: Option<String>,
    /// Whether its class orders by the distance.
    pub has_distance: bool,
    /// Whether it is a btree that carries codes.
    pub is_btree: bool,
}

impl Index {
    /// Whether it is the one that is scanned.
    pub fn is(&self, scan: &Scan) -> bool {
        self.schema == scan.schema && self.bare_name == scan.index
    }
}

/// Tables and their parts, as far as they hold rows, with their indexes.
pub fn tables(roots: &[pg_sys::Oid], distance: &Distance) -> Result<Vec<Table>> {
    let query = "WITH RECURSIVE part (oid) AS ( \
                   SELECT pg_catalog.unnest($1::oid[]) UNION \
                   SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN part ON i.inhparent OPERATOR(pg_catalog.=) part.oid) \
                 SELECT t.oid::pg_catalog.regclass::text, nullif(t.reltuples::float8, -1), x.indexrelid, \
                   x.indexrelid::pg_catalog.regclass::text, n.nspname::text, c.relname::text, \
                   pg_catalog.pg_get_indexdef(x.indexrelid, 1, false), k.opcname::text, \
                   (SELECT pg_catalog.min(o.oprname::text) FROM pg_catalog.pg_amop a JOIN pg_catalog.pg_operator o ON o.oid OPERATOR(pg_catalog.=) a.amopopr \
                    WHERE a.amopfamily OPERATOR(pg_catalog.=) k.opcfamily AND a.amoppurpose OPERATOR(pg_catalog.=) 'o'), \
                   x.indisvalid AND x.indisready, pg_catalog.pg_get_expr(x.indpred, x.indrelid), \
                   EXISTS (SELECT FROM pg_catalog.pg_amop a JOIN pg_catalog.pg_operator o ON o.oid OPERATOR(pg_catalog.=) a.amopopr \
                    WHERE a.amopfamily OPERATOR(pg_catalog.=) k.opcfamily AND a.amoppurpose OPERATOR(pg_catalog.=) 'o' \
                      AND o.oprcode::oid OPERATOR(pg_catalog.=) $2), \
                   m.amname OPERATOR(pg_catalog.=) 'btree' \
                 FROM part JOIN pg_catalog.pg_class t ON t.oid OPERATOR(pg_catalog.=) part.oid AND t.relkind IN ('r', 'm', 'f') \
                 LEFT JOIN (pg_catalog.pg_index x JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) x.indexrelid \
                   JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
                   JOIN pg_catalog.pg_am m ON m.oid OPERATOR(pg_catalog.=) c.relam \
                   JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) m.amhandler \
                   JOIN pg_catalog.pg_opclass k ON k.oid OPERATOR(pg_catalog.=) x.indclass[0] \
                 ) ON x.indrelid OPERATOR(pg_catalog.=) t.oid AND (p.prosrc OPERATOR(pg_catalog.=) 'walia_hnsw_handler' \
                   OR m.amname OPERATOR(pg_catalog.=) 'btree' AND pg_catalog.strpos(pg_catalog.pg_get_indexdef(x.indexrelid), 'walia_code') OPERATOR(pg_catalog.>) 0) \
                 ORDER BY t.oid, x.indexrelid";
    let arguments = [DatumWithOid::from(roots.to_vec()), DatumWithOid::from(distance.function)];
    Spi::connect(|client| {
        let mut tables: Vec<Table> = Vec::new();
        for row in client.select(query, None, &arguments).map_err(spi)? {
            let text = |place| row.get::<String>(place).map_err(spi);
            let flag = |place| row.get::<bool>(place).map_err(spi).map(|flag| flag == Some(true));
            let name = text(1)?.unwrap_or_default();
            if tables.last().is_none_or(|table| table.name != name) {
                let rows = row.get::<f64>(2).map_err(spi)?;
                tables.push(Table { name, rows, indexes: Vec::new() });
            }
            let (Some(oid), Some(table)) = (row.get::<pg_sys::Oid>(3).map_err(spi)?, tables.last_mut())
            else {
                continue;
            };
            table.indexes.push(Index {
                oid,
                name: text(4)?.unwrap_or_default(),
                schema: text(5)?.unwrap_or_default(),
                bare_name: text(6)?.unwrap_or_default(),
                key: text(7)?.unwrap_or_default(),
                class: text(8)?.unwrap_or_default(),
                operator: text(9)?.unwrap_or_default(),
                is_valid: flag(10)?,
                predicate: text(11)?,
                has_distance: flag(12)?,
                is_btree: flag(13)?,
            });
        }
        Ok(tables)
    })
}

/// A failure of SPI itself: errors of queries are raised.
fn spi(error: SpiError) -> SqlError {
    SqlError::new(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, format!("could not read the catalogs: {error}"))
}
