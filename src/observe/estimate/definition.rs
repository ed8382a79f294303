//! The index that a build is estimated for: one that is there, or one that a table could have.

use std::ffi::CString;
use std::ptr;

use pgrx::datum::DatumWithOid;
use pgrx::{PgSqlErrorCode, Spi, pg_sys};
use walia_core::page::{Wishes, fit};
use walia_core::types::Parameters;

use super::analyzed::{Analyzed, invalid};
use crate::am::column::{Column, declared_wishes, type_name};
use crate::am::options::Options;
use crate::am::{class, column};
use crate::error::{Result, SqlError};
use crate::observe::open::{may_maintain, no_relation, owns};
use crate::observe::table::AsOwner;

/// An index, as text that its table's owner can compute.
pub struct Definition {
    heap: pg_sys::Relation,
    /// What is wished for of the index.
    pub wishes: Wishes,
    /// Its parameters, as far as they do not depend on its vectors.
    pub parameters: Parameters,
    /// The type of its column.
    pub type_oid: pg_sys::Oid,
    /// What is indexed, in parentheses or a name.
    pub key: String,
    /// Which rows.
    pub predicate: String,
}

/// A table that holds rows: the index's own, or a partition of it.
pub struct Leaf {
    /// With its schema.
    pub name: String,
    /// Its blocks.
    pub pages: u32,
    /// Rows that it is thought to have, as the planner thinks; `None` where nobody has counted.
    pub rows: Option<f64>,
}

/// What the catalogs say of the relation that was asked for.
struct Relation {
    name: String,
    /// The table: itself, or that of an index.
    table: pg_sys::Oid,
    is_index: bool,
    is_table: bool,
    is_ours: bool,
    is_of_another_session: bool,
}

impl Definition {
    /// Of the arguments of `walia_build_estimate`.
    pub fn new(
        relation: pg_sys::Oid,
        key: Option<String>,
        operator_class: Option<String>,
        options: Option<pg_sys::Datum>,
        predicate: Option<String>,
    ) -> Result<Self> {
        let found = Relation::find(relation)?;
        let wrong = |code, message: String| Err(SqlError::new(code, message));
        if !(found.is_table || found.is_index && found.is_ours) {
            let code = PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE;
            return wrong(
                code,
                format!("\"{}\" is not a table, materialized view, or walia_hnsw index", found.name),
            );
        }
        // What is computed is computed as the owner: whoever may only maintain a table gives no expressions.
        // SAFETY: in a transaction.
        let may = unsafe {
            let user = pg_sys::GetUserId();
            if found.is_index { may_maintain(found.table, user) } else { owns(found.table, user) }
        };
        if !may {
            let code = PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE;
            let (kind, name) = if found.is_index { ("index", &found.name) } else { ("table", &found.name) };
            return wrong(code, format!("must be owner of {kind} {name}"));
        }
        if found.is_of_another_session {
            let code = PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED;
            return wrong(code, "cannot access temporary tables of other sessions".into());
        }
        // SAFETY: the table was found; an ERROR's cleanup closes it.
        let heap = unsafe { pg_sys::table_open(found.table, pg_sys::AccessShareLock as pg_sys::LOCKMODE) };
        let opened = Opened(heap);
        let definition = if found.is_index {
            if key.is_some() || operator_class.is_some() || options.is_some() || predicate.is_some() {
                let code = PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE;
                return wrong(code, format!("\"{}\" is an index, which has its own definition", found.name))
                    .map_err(|error| {
                        error.hint("Ask for the table to estimate an index with another definition.")
                    });
            }
            Self::of_index(relation, heap)
        } else {
            Self::of_table(&found, heap, key, operator_class, options, predicate)
        };
        if definition.is_ok() {
            std::mem::forget(opened);
        }
        definition
    }

    fn of_parts(
        heap: pg_sys::Relation,
        wishes: Wishes,
        type_oid: pg_sys::Oid,
        key: String,
        predicate: Option<String>,
    ) -> Self {
        let predicate = predicate.unwrap_or_else(|| "true".into());
        Self { heap, wishes, parameters: fit(wishes), type_oid, key, predicate }
    }

    fn of_index(index: pg_sys::Oid, heap: pg_sys::Relation) -> Result<Self> {
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        // SAFETY: an index of this access method, by the catalogs; closed before its lock is given back.
        let (wishes, type_oid) = unsafe {
            let opened = pg_sys::index_open(index, lock);
            let wishes = column::wishes(opened);
            let columns = pgrx::PgTupleDesc::from_pg_unchecked((*opened).rd_att);
            let type_oid = columns.get(0).map_or(pg_sys::InvalidOid, |column| column.atttypid);
            pg_sys::index_close(opened, pg_sys::NoLock as pg_sys::LOCKMODE);
            (wishes?, type_oid)
        };
        let _owner = AsOwner::new(heap);
        let query = "SELECT pg_catalog.pg_get_indexdef(indexrelid, 1, false), \
                     pg_catalog.pg_get_expr(indpred, indrelid) \
                     FROM pg_catalog.pg_index WHERE indexrelid OPERATOR(pg_catalog.=) $1";
        let (key, predicate) =
            Spi::get_two_with_args::<String, String>(query, &[DatumWithOid::from(index)]).map_err(spi)?;
        let key = key.unwrap_or_default();
        Ok(Self::of_parts(heap, wishes, type_oid, key, predicate))
    }

    fn of_table(
        found: &Relation,
        heap: pg_sys::Relation,
        key: Option<String>,
        operator_class: Option<String>,
        options: Option<pg_sys::Datum>,
        predicate: Option<String>,
    ) -> Result<Self> {
        let key = match key {
            Some(key) => column_named(found.table, &key)?.unwrap_or(format!("({key}\n)")),
            None => only_column(found)?,
        };
        let predicate = predicate.map_or("true".into(), |predicate| format!("({predicate}\n)"));
        let table = qualified_name(found.table)?;
        let analyzed =
            Analyzed::new(&format!("SELECT {key} FROM ONLY {table} WHERE {predicate}"), found.table)?;
        // SAFETY: in a transaction; the type is that of a column of a query.
        let class = unsafe { operator_class_of(analyzed.column, operator_class)? };
        // SAFETY: as above.
        let wishes = unsafe {
            class::check_type(class, analyzed.column.type_oid)?;
            declared_wishes(analyzed.column, &Options::of_array(options), class::measure(class))?
        };
        // From here on names are looked up as the owner's code looks them up.
        let _owner = AsOwner::new(heap);
        let text = |expression| analyzed.text(expression, &found.name, found.table);
        let (key, predicate) = (text(analyzed.key), text(analyzed.predicate));
        let key = format!("({})", key.unwrap_or_default());
        let type_oid = analyzed.column.type_oid;
        Ok(Self::of_parts(heap, wishes, type_oid, key, predicate))
    }

    /// The table.
    pub fn heap(&self) -> pg_sys::Relation {
        self.heap
    }

    /// The tables that hold its rows.
    pub fn leaves(&self) -> Result<Vec<Leaf>> {
        let query = "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), c.reltuples::float8, c.relpages::float8, \
                     pg_catalog.pg_relation_size(c.oid) OPERATOR(pg_catalog./) \
                     pg_catalog.current_setting('block_size')::int8 \
                     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
                     WHERE c.relkind IN ('r', 'm') AND (c.oid OPERATOR(pg_catalog.=) $1 OR c.oid IN ( \
                     SELECT relid FROM pg_catalog.pg_partition_tree($1::regclass) WHERE isleaf AND $2))";
        // SAFETY: the table is open.
        let (table, is_partitioned) = unsafe {
            let kind = (*(*self.heap).rd_rel).relkind as u8;
            ((*self.heap).rd_id, kind == pg_sys::RELKIND_PARTITIONED_TABLE)
        };
        let arguments = [DatumWithOid::from(table), DatumWithOid::from(is_partitioned)];
        Spi::connect(|client| {
            let rows = client.select(query, None, &arguments).map_err(spi)?;
            rows.map(|row| {
                let number = |place| row.get::<f64>(place).map_err(spi).map(|number| number.unwrap_or(0.0));
                let (counted, counted_pages) = (number(2)?, number(3)?);
                let pages = row.get::<i64>(4).map_err(spi)?.unwrap_or(0) as u32;
                let rows = (counted >= 0.0 && counted_pages > 0.0)
                    .then(|| counted / counted_pages * f64::from(pages));
                Ok(Leaf { name: row.get::<String>(1).map_err(spi)?.unwrap_or_default(), pages, rows })
            })
            .collect()
        })
    }
}

impl Drop for Definition {
    fn drop(&mut self) {
        drop(Opened(self.heap));
    }
}

/// Closes a table, whose lock stays until the transaction ends.
struct Opened(pg_sys::Relation);

impl Drop for Opened {
    fn drop(&mut self) {
        // An ERROR's cleanup closes relations.
        if !std::thread::panicking() {
            // SAFETY: opened by `Definition::new`, and closed once.
            unsafe { pg_sys::relation_close(self.0, pg_sys::NoLock as pg_sys::LOCKMODE) };
        }
    }
}

impl Relation {
    fn find(relation: pg_sys::Oid) -> Result<Self> {
        let query = "SELECT c.relname::text, coalesce(i.indrelid, c.oid), c.relkind IN ('i', 'I'), \
                     c.relkind IN ('r', 'm', 'p'), p.prosrc OPERATOR(pg_catalog.=) 'walia_hnsw_handler', \
                     pg_catalog.pg_is_other_temp_schema(c.relnamespace) \
                     FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_index i ON i.indexrelid OPERATOR(pg_catalog.=) c.oid \
                     LEFT JOIN pg_catalog.pg_am a ON a.oid OPERATOR(pg_catalog.=) c.relam \
                     LEFT JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) a.amhandler \
                     WHERE c.oid OPERATOR(pg_catalog.=) $1";
        Spi::connect(|client| {
            let mut rows = client.select(query, None, &[DatumWithOid::from(relation)]).map_err(spi)?;
            let Some(row) = rows.next() else { return Err(no_relation(relation)) };
            let flag = |place| row.get::<bool>(place).map_err(spi).map(|flag| flag == Some(true));
            Ok(Self {
                name: row.get::<String>(1).map_err(spi)?.unwrap_or_default(),
                table: row.get::<pg_sys::Oid>(2).map_err(spi)?.unwrap_or(relation),
                is_index: flag(3)?,
                is_table: flag(4)?,
                is_ours: flag(5)?,
                is_of_another_session: flag(6)?,
            })
        })
    }
}

/// The name of a column as SQL has it; `None` where no column is called so.
fn column_named(table: pg_sys::Oid, name: &str) -> Result<Option<String>> {
    let query = "SELECT pg_catalog.max(pg_catalog.quote_ident(attname)) FROM pg_catalog.pg_attribute \
                 WHERE attrelid OPERATOR(pg_catalog.=) $1 AND attname OPERATOR(pg_catalog.=) $2 \
                 AND attnum OPERATOR(pg_catalog.>) 0 AND NOT attisdropped";
    let arguments = [DatumWithOid::from(table), DatumWithOid::from(name)];
    Spi::get_one_with_args::<String>(query, &arguments).map_err(spi)
}

/// The only column of a table that walia_hnsw has a default operator class for.
fn only_column(found: &Relation) -> Result<String> {
    let query = "SELECT pg_catalog.count(*), pg_catalog.max(pg_catalog.quote_ident(attname)) FROM pg_catalog.pg_attribute a \
                 JOIN pg_catalog.pg_opclass o ON o.opcintype OPERATOR(pg_catalog.=) a.atttypid AND o.opcdefault \
                 JOIN pg_catalog.pg_am m ON m.oid OPERATOR(pg_catalog.=) o.opcmethod AND m.amname OPERATOR(pg_catalog.=) 'walia_hnsw' \
                 WHERE attrelid OPERATOR(pg_catalog.=) $1 AND attnum OPERATOR(pg_catalog.>) 0 AND NOT attisdropped";
    let arguments = [DatumWithOid::from(found.table)];
    match Spi::get_two_with_args::<i64, String>(query, &arguments).map_err(spi)? {
        (Some(1), Some(column)) => Ok(column),
        (count, _) => {
            let count = count.unwrap_or(0);
            let message = format!("table \"{}\" has {count} columns that walia_hnsw could index", found.name);
            Err(invalid(message).hint("Name the column, or an expression, in the argument \"key\"."))
        }
    }
}

fn qualified_name(table: pg_sys::Oid) -> Result<String> {
    let query = "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c \
                 JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
                 WHERE c.oid OPERATOR(pg_catalog.=) $1";
    let name = Spi::get_one_with_args::<String>(query, &[DatumWithOid::from(table)]).map_err(spi)?;
    Ok(name.unwrap_or_default())
}

/// The operator class that CREATE INDEX would take.
///
/// # Safety
/// Called in a transaction; the type exists.
unsafe fn operator_class_of(column: Column, name: Option<String>) -> Result<pg_sys::Oid> {
    let method = c"walia_hnsw";
    let name =
        name.map(CString::new).transpose().map_err(|_| invalid("the operator class has a zero byte"))?;
    let names = match &name {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        // SAFETY: by the caller's promise; Postgres copies what it keeps of the name.
        Some(name) => unsafe { pg_sys::stringToQualifiedNameList(name.as_ptr()) },
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        // SAFETY: as above.
        Some(name) => unsafe { pg_sys::stringToQualifiedNameList(name.as_ptr(), ptr::null_mut()) },
        None => ptr::null_mut(),
    };
    // SAFETY: by the caller's promise.
    let (access_method, type_oid, has_default) = unsafe {
        let access_method = pg_sys::get_index_am_oid(method.as_ptr(), false);
        let type_oid = pg_sys::getBaseType(column.type_oid);
        let default = pg_sys::GetDefaultOpClass(type_oid, access_method);
        (access_method, type_oid, default != pg_sys::InvalidOid)
    };
    if name.is_none() && !has_default {
        let code = PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT;
        // SAFETY: by the caller's promise.
        let type_name = unsafe { type_name(type_oid) };
        let message =
            format!("data type {type_name} has no default operator class for access method \"walia_hnsw\"");
        return Err(SqlError::new(code, message).hint(
            "Name the column or expression in the argument \"key\" and its class in \"operator_class\".",
        ));
    }
    // SAFETY: by the caller's promise. Postgres raises an ERROR where there is no such class.
    Ok(unsafe { pg_sys::ResolveOpClass(names, type_oid, method.as_ptr(), access_method) })
}

/// A failure of SPI itself: errors of queries are raised.
fn spi(error: pgrx::spi::SpiError) -> SqlError {
    SqlError::new(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, format!("could not read the catalogs: {error}"))
}
