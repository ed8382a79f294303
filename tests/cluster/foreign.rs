//! One search over several servers: tables elsewhere through postgres_fdw, as docs/PARTITIONS.md describes
//! it.

use std::collections::HashSet;

use postgres::Client;

use crate::server::Cluster;

const ROWS: i32 = 2000;
const K: usize = 10;

/// A query's vector.
const QUERY: &str = "vector(-7)";

const VECTOR: &str = "CREATE EXTENSION walia;
    CREATE FUNCTION vector(seed int) RETURNS vecf32 LANGUAGE sql IMMUTABLE AS
        'SELECT array_agg(sin(seed * 1.7 + i * seed * 0.37) ORDER BY i)::real[]::vecf32 FROM generate_series(1, 16) AS i'";

/// A table with an index on a server of its own, which has the rows of one remainder.
fn create_remote(remainder: i32) -> Cluster {
    let cluster = Cluster::start(&[]);
    let table = format!(
        "{VECTOR};
         CREATE TABLE doc (id int, v vecf32(16));
         INSERT INTO doc SELECT i, vector(i) FROM generate_series(1, {ROWS}) AS i WHERE i % 3 = {remainder};
         CREATE INDEX ON doc USING walia_hnsw (v);
         ANALYZE doc"
    );
    cluster.connect().batch_execute(&table).unwrap();
    cluster
}

fn lines(client: &mut Client, query: &str) -> Vec<String> {
    client.query(query, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

fn ids(client: &mut Client, query: &str) -> Vec<i32> {
    client.query(query, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

#[test]
fn three_servers_answer_as_one() {
    let remotes = [create_remote(1), create_remote(2)];
    let local = Cluster::start(&[]);
    let mut client = local.connect();
    let tables = format!(
        "{VECTOR};
         CREATE EXTENSION postgres_fdw;
         CREATE TABLE doc (part int, id int, v vecf32(16)) PARTITION BY LIST (part);
         CREATE TABLE doc_0 PARTITION OF doc FOR VALUES IN (0);
         INSERT INTO doc_0 SELECT 0, i, vector(i) FROM generate_series(1, {ROWS}) AS i WHERE i % 3 = 0;
         CREATE INDEX ON doc_0 USING walia_hnsw (v);
         ANALYZE doc_0"
    );
    client.batch_execute(&tables).unwrap();
    for (number, remote) in (1..).zip(&remotes) {
        let socket = remote.sockets().display();
        let foreign = format!(
            "CREATE SERVER remote_{number} FOREIGN DATA WRAPPER postgres_fdw OPTIONS (
                 host '{socket}', dbname 'postgres', extensions 'walia', async_capable 'true', use_remote_estimate 'true');
             CREATE USER MAPPING FOR postgres SERVER remote_{number} OPTIONS (user 'postgres');
             CREATE FOREIGN TABLE remote_doc_{number} (id int, v vecf32(16))
                 SERVER remote_{number} OPTIONS (table_name 'doc')"
        );
        client.batch_execute(&foreign).unwrap();
    }
    let branch = |table: &str| {
        format!("(SELECT id, v <~> {QUERY} AS distance FROM {table} ORDER BY v <~> {QUERY} LIMIT {K})")
    };
    let branches = ["doc_0", "remote_doc_1", "remote_doc_2"].map(branch).join(" UNION ALL ");
    // Materialized, so that they are asked all at the same time rather than merged one after the other.
    let query =
        format!("WITH near AS MATERIALIZED ({branches}) SELECT id FROM near ORDER BY distance LIMIT {K}");

    let plan = lines(&mut client, &format!("EXPLAIN (VERBOSE, COSTS OFF) {query}"));
    let shipped: Vec<_> = plan.iter().filter(|line| line.contains("Remote SQL")).collect();
    assert_eq!(shipped.len(), remotes.len(), "{plan:#?}");
    for remote in shipped {
        assert!(remote.contains("<~>") && remote.contains("ORDER BY"), "{remote}");
        assert!(remote.contains(&format!("LIMIT {K}::bigint")), "{remote}");
    }
    let asynchronous = plan.iter().filter(|line| line.contains("Async Foreign Scan")).count();
    assert_eq!(asynchronous, remotes.len(), "{plan:#?}");

    let found: HashSet<_> = ids(&mut client, &query).into_iter().collect();
    let sorted =
        format!("SELECT i FROM generate_series(1, {ROWS}) AS i ORDER BY vector(i) <~> {QUERY} LIMIT {K}");
    let expected: HashSet<_> = ids(&mut client, &sorted).into_iter().collect();
    assert!(found.intersection(&expected).count() + 1 >= K, "{found:?} of {expected:?}");

    // Their own servers search by the index.
    for remote in &remotes {
        let search = format!("EXPLAIN {}", branch("doc"));
        let mut client = remote.connect();
        // So few rows are sorted as fast.
        client.batch_execute("SET enable_sort = off; SET enable_seqscan = off").unwrap();
        let plan = lines(&mut client, &search);
        assert!(plan.iter().any(|line| line.contains("Index Scan")), "{plan:#?}");
    }
    // A server that is gone is an error, and the next query works again.
    remotes[1].stop();
    assert!(client.query(&query, &[]).is_err());
    remotes[1].run();
    assert_eq!(ids(&mut client, &query).len(), K);
}
