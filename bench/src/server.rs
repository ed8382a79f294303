//! One session with the server: tables, indexes, queries and their plans.

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use half::f16;
use postgres::binary_copy::BinaryCopyInWriter;
use postgres::types::{IsNull, Json, ToSql, Type, private::BytesMut, to_sql_checked};
use postgres::{Client, Config, NoTls, Statement};
use serde::Deserialize;

use crate::dataset::Rows;
use crate::processes::Processes;
use crate::system::System;

/// A vector as a parameter: the binary form of walia's and pgvector's types is the same.
#[derive(Debug)]
pub struct Parameter<'a>(pub &'a [f32]);

impl ToSql for Parameter<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(&i16::try_from(self.0.len())?.to_be_bytes());
        out.extend_from_slice(&[0; 2]);
        let half = matches!(ty.name(), "vecf16" | "halfvec");
        for element in self.0 {
            if half {
                out.extend_from_slice(&f16::from_f32(*element).to_be_bytes());
            } else {
                out.extend_from_slice(&element.to_be_bytes());
            }
        }
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.name(), "vecf32" | "vecf16" | "vector" | "halfvec")
    }

    to_sql_checked!();
}

/// What a build took and left.
#[derive(Debug)]
pub struct Build {
    /// Wall-clock seconds of CREATE INDEX.
    pub seconds: f64,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// What the server had to say meanwhile.
    pub notices: Vec<String>,
}

/// How much a build may use.
#[derive(Clone, Copy, Debug)]
pub struct BuildLimits {
    /// Threads, the leader's among them.
    pub threads: usize,
    /// maintenance_work_mem.
    pub kilobytes: u64,
}

/// What one execution cost.
#[derive(Clone, Copy, Debug)]
pub struct Execution {
    /// "Execution Time" of EXPLAIN ANALYZE: the executor's start, run and end.
    pub ms: f64,
    /// Pages accessed.
    pub buffers: u64,
    /// Those of them that were not in shared buffers.
    pub buffers_read: u64,
}

/// A connection, its settings made for measuring.
pub struct Session {
    client: Client,
    notices: Arc<Mutex<Vec<String>>>,
}

impl Session {
    /// Connects. Sequential scans, sorts, parallel queries and JIT are off: the index is what is measured.
    pub fn open(mut config: Config) -> Result<Self> {
        let notices = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&notices);
        config.application_name("walia-bench").notice_callback(move |notice| {
            sink.lock().expect("no holder of the lock panics").push(notice.to_string());
        });
        let mut client = config.connect(NoTls).context("could not connect to the server")?;
        client.batch_execute(
            "SET enable_seqscan = off; SET enable_sort = off; SET max_parallel_workers_per_gather = 0; SET jit = off",
        )?;
        Ok(Self { client, notices })
    }

    /// Makes an empty schema for the tables; refuses while another run works in it.
    pub fn create_schema(&mut self) -> Result<()> {
        let free: bool =
            self.client.query_one("SELECT pg_try_advisory_lock(hashtext('walia_bench'))", &[])?.get(0);
        ensure!(free, "another run of walia-bench is using this database");
        self.execute("DROP SCHEMA IF EXISTS walia_bench CASCADE; CREATE SCHEMA walia_bench")
    }

    /// Drops it with everything in it.
    pub fn drop_schema(&mut self) -> Result<()> {
        self.execute("DROP SCHEMA walia_bench CASCADE")
    }

    /// Installs an extension where it is not; gives its version.
    pub fn create_extension(&mut self, extension: &str) -> Result<String> {
        self.execute(&format!("CREATE EXTENSION IF NOT EXISTS {extension}"))
            .with_context(|| format!("could not install the extension \"{extension}\""))?;
        self.text("SELECT extversion FROM pg_extension WHERE extname = $1", &[&extension])
    }

    /// A server setting, as SHOW gives it.
    pub fn setting(&mut self, name: &str) -> Result<String> {
        self.text("SELECT current_setting($1)", &[&name])
    }

    /// Creates and fills the table of a system; gives the seconds that binary COPY took.
    pub fn load(&mut self, system: &System, base: &impl Rows, threads: usize) -> Result<f64> {
        let (table, column_type) = (system.table(), system.column_type);
        let columns = format!("(id integer, vec {column_type}({}))", base.dimensions());
        let with = format!("WITH (parallel_workers = {})", threads - 1);
        if system.partitions > 1 {
            self.execute(&format!("CREATE TABLE {table} {columns} PARTITION BY HASH (id)"))?;
            for remainder in 0..system.partitions {
                self.execute(&format!(
                    "CREATE TABLE {table}_{remainder} PARTITION OF {table} \
                     FOR VALUES WITH (MODULUS {}, REMAINDER {remainder}) {with}",
                    system.partitions
                ))?;
            }
        } else {
            self.execute(&format!("CREATE TABLE {table} {columns} {with}"))?;
        }
        let columns = self.client.prepare(&format!("SELECT id, vec FROM {table}"))?;
        let types: Vec<Type> = columns.columns().iter().map(|column| column.type_().clone()).collect();
        let started = Instant::now();
        let copy = self.client.copy_in(&format!("COPY {table} FROM STDIN WITH (FORMAT binary)"))?;
        let mut copy = BinaryCopyInWriter::new(copy, &types);
        for row in 0..base.rows() {
            copy.write(&[&i32::try_from(row)?, &Parameter(&base.row(row))])?;
        }
        copy.finish()?;
        let seconds = started.elapsed().as_secs_f64();
        self.execute(&format!("VACUUM ANALYZE {table}"))?;
        Ok(seconds)
    }

    /// Builds the index of a system anew. A checkpoint goes before, so that nobody pays for another's dirty
    /// pages.
    pub fn build(
        &mut self,
        system: &System,
        m: u32,
        ef_construction: u32,
        limits: BuildLimits,
    ) -> Result<Build> {
        let (index, table) = (system.index(), system.table());
        self.execute(&format!(
            "DROP INDEX IF EXISTS walia_bench.{index}; SET maintenance_work_mem = {}; \
             SET max_parallel_maintenance_workers = {}; CHECKPOINT",
            limits.kilobytes,
            limits.threads - 1
        ))?;
        self.notices().clear();
        let started = Instant::now();
        self.execute(&format!(
            "CREATE INDEX {index} ON {table} USING {} (vec {}) WITH (m = {m}, ef_construction = {ef_construction})",
            system.access_method,
            system.operator_class()
        ))?;
        let seconds = started.elapsed().as_secs_f64();
        let notices = std::mem::take(&mut *self.notices());
        Ok(Build { seconds, index_bytes: self.index_bytes(system)?, notices })
    }

    /// Bytes of the index of a system, with those of partitions.
    pub fn index_bytes(&mut self, system: &System) -> Result<u64> {
        let index = format!("walia_bench.{}", system.index());
        let row = self.client.query_one(
            "SELECT coalesce(sum(pg_relation_size(relid)), pg_relation_size($1::text::regclass))::int8
             FROM pg_partition_tree($1::text::regclass)",
            &[&index],
        )?;
        Ok(row.get::<_, i64>(0).try_into()?)
    }

    /// Sets a system's ef_search.
    pub fn set_ef_search(&mut self, system: &System, ef_search: u32) -> Result<()> {
        self.execute(&format!("SET {} = {ef_search}", system.ef_search))
    }

    /// Prepares a statement.
    pub fn prepare(&mut self, sql: &str) -> Result<Statement> {
        self.client.prepare(sql).with_context(|| format!("could not prepare \"{sql}\""))
    }

    /// The ids that the query under test returns.
    pub fn nearest(&mut self, query: &Statement, vector: &[f32]) -> Result<Vec<usize>> {
        let rows = self.client.query(query, &[&Parameter(vector)])?;
        rows.iter().map(|row| Ok(usize::try_from(row.get::<_, i32>(0))?)).collect()
    }

    /// Executes an EXPLAIN of the query under test. Fails where the plan does not scan the system's index.
    pub fn explain(&mut self, system: &System, explain: &Statement, vector: &[f32]) -> Result<Execution> {
        let row = self.client.query_one(explain, &[&Parameter(vector)])?;
        let Json([explained]): Json<[Explained; 1]> = row.get(0);
        ensure!(
            explained.plan.scans(&system.index()),
            "the planner did not take the index \"{}\": {:?}",
            system.index(),
            explained.plan
        );
        let Plan { hit, read, .. } = explained.plan;
        Ok(Execution { ms: explained.execution_ms, buffers: hit + read, buffers_read: read })
    }

    /// Executes statements without parameters or results.
    pub fn execute(&mut self, sql: &str) -> Result<()> {
        self.client.batch_execute(sql).with_context(|| format!("could not execute \"{sql}\""))
    }

    /// The server's processes.
    pub fn processes(&mut self) -> Result<Processes> {
        let backend: i32 = self.client.query_one("SELECT pg_backend_pid()", &[])?.get(0);
        Processes::of_backend(backend.try_into()?)
    }

    /// The client itself, for what only one stage needs.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    fn text(&mut self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<String> {
        Ok(self.client.query_one(sql, parameters)?.get(0))
    }

    fn notices(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.notices.lock().expect("no holder of the lock panics")
    }
}

/// The part of `EXPLAIN (FORMAT JSON)` that is looked at.
#[derive(Debug, Deserialize)]
struct Explained {
    #[serde(rename = "Plan")]
    plan: Plan,
    #[serde(rename = "Execution Time")]
    execution_ms: f64,
}

#[derive(Debug, Deserialize)]
struct Plan {
    #[serde(rename = "Node Type")]
    node: String,
    #[serde(rename = "Index Name")]
    index: Option<String>,
    /// How a nearest scan has found its rows.
    #[serde(rename = "Search Method")]
    method: Option<String>,
    #[serde(rename = "Shared Hit Blocks")]
    hit: u64,
    #[serde(rename = "Shared Read Blocks")]
    read: u64,
    #[serde(rename = "Plans", default)]
    children: Vec<Plan>,
}

impl Plan {
    /// Whether the plan is an ordered scan of this index, or of those of partitions, and nothing else but the
    /// limit.
    fn scans(&self, index: &str) -> bool {
        match (self.node.as_str(), self.children.as_slice()) {
            ("Index Scan", []) => self.index.as_deref() == Some(index),
            ("Limit", [child]) => child.scans(index),
            // A nearest scan, whose last child it would have turned to.
            ("Custom Scan", [scan, _]) if self.method.is_some() => {
                self.method.as_deref() == Some("walk") && scan.scans(index)
            }
            // Of partitions, whose indexes have names of their own.
            ("Custom Scan" | "Merge Append", [_, ..]) => {
                self.children.iter().all(|child| child.node == "Index Scan")
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_scan_of_the_index_counts() {
        let plan =
            |json: &str| serde_json::from_str::<[Explained; 1]>(json).unwrap()[0].plan.scans("walia_index");
        let explained = |child: &str| {
            plan(&format!(
                r#"[{{"Plan": {{"Node Type": "Limit", "Shared Hit Blocks": 9, "Shared Read Blocks": 1, "Plans": [{{
                    "Shared Hit Blocks": 9, "Shared Read Blocks": 1, {child} }}]}}, "Execution Time": 0.5}}]"#
            ))
        };
        assert!(explained(r#""Node Type": "Index Scan", "Index Name": "walia_index""#));
        assert!(!explained(r#""Node Type": "Index Scan", "Index Name": "other_index""#));
        let partitions = |node: &str| {
            let child = format!(
                r#"{{"Shared Hit Blocks": 1, "Shared Read Blocks": 0, "Node Type": "{node}", "Index Name": "part"}}"#
            );
            explained(&format!(r#""Node Type": "Custom Scan", "Plans": [{child}, {child}]"#))
        };
        assert!(partitions("Index Scan"));
        assert!(!partitions("Sort"));
        assert!(!explained(r#""Node Type": "Sort""#));
        let nearest = |method: &str, index: &str| {
            let child = |node: &str| {
                format!(
                    r#"{{"Shared Hit Blocks": 1, "Shared Read Blocks": 0, "Node Type": "{node}", "Index Name": "{index}"}}"#
                )
            };
            let children = [child("Index Scan"), child("Sort")].join(", ");
            explained(&format!(
                r#""Node Type": "Custom Scan", "Search Method": "{method}", "Plans": [{children}]"#
            ))
        };
        assert!(nearest("walk", "walia_index"));
        assert!(!nearest("walk", "other_index"));
        assert!(!nearest("exact, as the walk would have cost more", "walia_index"));
    }

    #[test]
    fn a_parameter_is_written_as_the_types_read_it() {
        let mut out = BytesMut::new();
        let of = |name: &str| Type::new(name.into(), 0, postgres::types::Kind::Simple, "public".into());
        Parameter(&[1.0, -2.0]).to_sql(&of("vecf32"), &mut out).unwrap();
        assert_eq!(&out[..], [0, 2, 0, 0, 0x3f, 0x80, 0, 0, 0xc0, 0, 0, 0]);
        out.clear();
        Parameter(&[1.0, -2.0]).to_sql(&of("halfvec"), &mut out).unwrap();
        assert_eq!(&out[..], [0, 2, 0, 0, 0x3c, 0, 0xc0, 0]);
        assert!(!Parameter::accepts(&Type::TEXT));
    }
}
