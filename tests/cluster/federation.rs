//! Random queries over many tables whose indexes are searched as one, compared with the same queries without
//! indexes.

use std::collections::{HashMap, HashSet};

use postgres::{Client, SimpleQueryMessage};

use crate::numbers::Numbers;
use crate::server::Cluster;

#[test]
fn random_queries_give_what_a_sort_gives() {
    compare(300, 1);
}

#[test]
#[ignore = "long: make soak"]
fn soak_of_random_queries() {
    compare(2000, 2);
}

/// Partitions by hash, partitions of partitions, inheritance, and a table of its own with other columns.
const TABLES: &str = "
    CREATE EXTENSION walia;
    CREATE FUNCTION vector(seed int) RETURNS vecf32 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
        'SELECT array_agg(sin(seed * 1.7 + i * seed * 0.37) ORDER BY i)::real[]::vecf32 FROM generate_series(1, 16) AS i';
    CREATE TABLE hashed (id int, tenant int, v vecf32(16)) PARTITION BY HASH (id);
    CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 3, REMAINDER 0);
    CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 3, REMAINDER 1);
    CREATE TABLE hashed_2 PARTITION OF hashed FOR VALUES WITH (MODULUS 3, REMAINDER 2);
    CREATE TABLE listed (id int, tenant int, v vecf32(16)) PARTITION BY LIST (tenant);
    CREATE TABLE listed_0 PARTITION OF listed FOR VALUES IN (0);
    CREATE TABLE listed_1 PARTITION OF listed FOR VALUES IN (1, 2) PARTITION BY RANGE (id);
    CREATE TABLE listed_1_low PARTITION OF listed_1 FOR VALUES FROM (0) TO (500);
    CREATE TABLE listed_1_high PARTITION OF listed_1 FOR VALUES FROM (500) TO (100000);
    CREATE TABLE listed_rest PARTITION OF listed DEFAULT;
    CREATE TABLE parent (id int, tenant int, v vecf32(16));
    CREATE TABLE child () INHERITS (parent);
    CREATE TABLE other (v vecf32(16), tenant int, id int);
    CREATE TABLE probe AS SELECT i AS id, vector(-i) AS v FROM generate_series(1, 4) AS i;";

/// Tables, and the ids of their rows.
const FILLED: [(&str, usize, usize); 5] =
    [("hashed", 1, 900), ("listed", 1, 1200), ("parent", 1, 300), ("child", 301, 600), ("other", 1001, 1400)];

/// Tables with indexes: one partition of a partition has none.
const INDEXED: [&str; 7] = ["hashed", "listed_0", "listed_1_high", "listed_rest", "parent", "child", "other"];

const RELATIONS: [&str; 5] = [
    "hashed",
    "listed",
    "parent",
    "(SELECT id, tenant, v FROM parent UNION ALL SELECT id, tenant, v FROM other) AS branches",
    "(SELECT id, tenant, v FROM hashed WHERE id > 100 UNION ALL SELECT id, tenant, v FROM other) AS branches",
];

fn prepare(client: &mut Client) {
    client.batch_execute(TABLES).unwrap();
    for (table, first, last) in FILLED {
        let fill = format!(
            "INSERT INTO {table} (id, tenant, v)
             SELECT i, i % 5, CASE WHEN i % 50 > 0 THEN vector(i) END FROM generate_series({first}, {last}) AS i;
             DELETE FROM {table} WHERE id % 20 = 7"
        );
        client.batch_execute(&fill).unwrap();
    }
    for table in INDEXED {
        let create = format!(
            "CREATE INDEX ON {table} USING walia_hnsw (v vecf32_l2_ops);
             CREATE INDEX ON {table} USING walia_hnsw (v) WITH (storage = sq8)"
        );
        client.batch_execute(&create).unwrap();
    }
    client
        .batch_execute(
            "ANALYZE; SET enable_seqscan = off; SET enable_sort = off; SET jit = off;
             SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0",
        )
        .unwrap();
}

/// How a query is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Plain,
    Prepared,
    Cursor,
    Lateral,
    Correlated,
    Nested,
}

const FORMS: [Form; 6] =
    [Form::Plain, Form::Prepared, Form::Cursor, Form::Lateral, Form::Correlated, Form::Nested];

/// A query for `id` and `distance`, in order of the distance.
struct Query {
    form: Form,
    relation: &'static str,
    filter: String,
    operator: &'static str,
    vector: String,
    limit: usize,
    offset: usize,
}

impl Query {
    fn random(numbers: &mut Numbers) -> Self {
        let remainder = numbers.below(5);
        let filter = match numbers.below(8) {
            0 => format!("id % {} = 1", 2 + remainder),
            1 => format!("tenant = {remainder}"),
            2 => format!("tenant IN (0, {remainder})"),
            3 => format!("id BETWEEN {} AND {}", remainder * 100, remainder * 300),
            4 => "v IS NOT NULL".into(),
            5 => format!("tenant = {remainder} AND vector_norm(v) > 2.5 AND random() >= 0"),
            _ => "true".into(),
        };
        let (most, shift) = ([5, 40, 150][numbers.below(3)], numbers.below(90));
        Self {
            form: FORMS[numbers.below(FORMS.len())],
            relation: RELATIONS[numbers.below(RELATIONS.len())],
            filter,
            operator: ["<->", "<~>"][numbers.below(2)],
            vector: format!("vector({})", 5000 + numbers.below(1000)),
            limit: 1 + numbers.below(most),
            offset: if shift < 30 { shift } else { 0 },
        }
    }

    fn select(&self, vector: &str, limit: &str, offset: &str) -> String {
        let Self { relation, filter, operator, .. } = self;
        format!(
            "SELECT id, v {operator} {vector} AS distance FROM {relation} WHERE {filter}
             ORDER BY v {operator} {vector} LIMIT {limit} OFFSET {offset}"
        )
    }

    /// All rows that may be given, in order.
    fn everything(&self) -> String {
        self.select(&self.vector, "ALL", "0")
    }

    /// The answer, as text: id and distance by row, for each probe one after the other.
    fn rows(&self, client: &mut Client) -> Vec<Row> {
        let (limit, offset) = (self.limit.to_string(), self.offset.to_string());
        let plain = self.select(&self.vector, &limit, &offset);
        match self.form {
            Form::Plain => rows(client, &plain),
            Form::Nested => rows(client, &format!("SELECT * FROM ({plain}) AS near WHERE id > 0")),
            Form::Prepared => {
                // With the limits that are in the plan workers are possible.
                let plans = if self.limit.is_multiple_of(2) { "custom" } else { "generic" };
                let prepare = format!(
                    "PREPARE near(vecf32, int, int) AS {}; SET plan_cache_mode = force_{plans}_plan",
                    self.select("$1", "$2", "$3")
                );
                client.batch_execute(&prepare).unwrap();
                let found = rows(client, &format!("EXECUTE near({}, {limit}, {offset})", self.vector));
                client.batch_execute("DEALLOCATE near; RESET plan_cache_mode").unwrap();
                found
            }
            Form::Cursor => {
                client.batch_execute(&format!("BEGIN; DECLARE near CURSOR FOR {plain}")).unwrap();
                let mut found = rows(client, "FETCH 1 FROM near");
                found.extend(rows(client, "FETCH 7 FROM near"));
                found.extend(rows(client, "FETCH ALL FROM near"));
                client.batch_execute("COMMIT").unwrap();
                found
            }
            Form::Lateral | Form::Correlated => {
                let inner = self.select("probe.v", &limit, &offset);
                let joined =
                    format!("SELECT near.id, near.distance, probe.id FROM probe, LATERAL ({inner}) AS near");
                let nested = format!(
                    "SELECT split_part(near, ' ', 1), split_part(near, ' ', 2), probe FROM (
                         SELECT probe.id AS probe, unnest(ARRAY(
                             SELECT near.id || ' ' || coalesce(near.distance::text, '') FROM ({inner}) AS near))
                         FROM probe) AS found (probe, near)"
                );
                rows(client, if self.form == Form::Lateral { &joined } else { &nested })
            }
        }
    }

    /// The rows that the answer may be made of: of each probe, or 0 where there is none, the distance by id.
    fn candidates(&self, client: &mut Client) -> HashMap<(String, String), String> {
        let everything = match self.form {
            Form::Lateral | Form::Correlated => format!(
                "SELECT near.id, near.distance, probe.id FROM probe, LATERAL ({}) AS near",
                self.select("probe.v", "ALL", "0")
            ),
            _ => self.everything(),
        };
        rows(client, &everything).into_iter().map(|row| ((row.probe, row.id), row.distance)).collect()
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Row {
    probe: String,
    id: String,
    distance: String,
}

fn rows(client: &mut Client, query: &str) -> Vec<Row> {
    let messages = client.simple_query(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            let text = |column: usize| row.get(column).unwrap_or_default().to_owned();
            let probe = if row.len() > 2 { text(2) } else { String::new() };
            Some(Row { probe, id: text(0), distance: text(1) })
        }
        _ => None,
    };
    messages.iter().filter_map(row).collect()
}

/// Compares random queries. A search that keeps enough candidates must find exactly what a sort gives, others
/// nearly all of it; and nobody may find a row that should not be there, or one twice.
fn compare(queries: usize, seed: u64) {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    prepare(&mut client);
    let mut numbers = Numbers::new(seed);
    let (mut federated, mut parallel, mut wanted, mut found) = (0, 0, 0, 0);
    for number in 0..queries {
        let query = Query::random(&mut numbers);
        let (on, ef_search) = (numbers.below(5) > 0, [20, 800][numbers.below(2)]);
        let iterative = ["strict_order", "strict_order", "relaxed_order"][numbers.below(3)];
        let workers = [0, 1, 3][numbers.below(3)];
        let nearest = number % 4 == 3;
        let settings = format!(
            "SET walia.federated_scan = {on}; SET walia.ef_search = {ef_search}; SET walia.iterative_scan = {iterative};
             SET max_parallel_workers_per_gather = {workers}; SET walia.nearest_scan = {nearest}"
        );
        client.batch_execute(&settings).unwrap();
        let plain = query.select(&query.vector, &query.limit.to_string(), "0");
        let plan = client.simple_query(&format!("EXPLAIN {plain}")).unwrap();
        let has = |node: &str| {
            let has =
                |line: &_| matches!(line, SimpleQueryMessage::Row(row) if row.get(0).unwrap().contains(node));
            usize::from(plan.iter().any(has))
        };
        federated += has("WaliaFederatedScan") | has("WaliaNearestScan");
        parallel += has("Parallel Custom Scan (WaliaFederatedScan)");
        let given = query.rows(&mut client);

        client.batch_execute("SET enable_indexscan = off; SET max_parallel_workers_per_gather = 0").unwrap();
        let expected = query.rows(&mut client);
        let candidates = query.candidates(&mut client);
        client.batch_execute("SET enable_indexscan = on").unwrap();

        let what = || format!("query {number} ({:?}, {settings}): {plain}", query.form);
        assert_eq!(given.len(), expected.len(), "{}", what());
        let mut seen = HashSet::new();
        for Row { probe, id, distance } in &given {
            let key = (probe.clone(), id.clone());
            assert_eq!(candidates.get(&key), Some(distance), "row {id} of {}", what());
            assert!(seen.insert(key), "row {id} was given twice by {}", what());
        }
        // Rows of equal distance, such as those of NULLs, may come in any order.
        let distances = |rows: &[Row]| rows.iter().map(|row| row.distance.clone()).collect::<Vec<_>>();
        if ef_search > 100 && iterative == "strict_order" {
            assert_eq!(distances(&given), distances(&expected), "{}", what());
        }
        let best: HashSet<_> = expected.iter().map(|row| (&row.probe, &row.distance)).collect();
        wanted += expected.len();
        found += given.iter().filter(|row| best.contains(&(&row.probe, &row.distance))).count();
    }
    assert!(federated * 2 > queries, "only {federated} of {queries} queries were searched as one");
    assert!(parallel * 8 > queries, "only {parallel} of {queries} queries were searched by workers");
    assert!(found as f64 > 0.95 * wanted as f64, "{found} of {wanted} rows were found");
}
