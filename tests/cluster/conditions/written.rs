//! Statements as people and programs write them, executed as these do, against the same without any index:
//! every way to write an order, with all that stands around it, on indexes of every kind beside codes.

use postgres::Client;

use crate::conditions::{plan, texts};
use crate::numbers::Numbers;
use crate::server::Cluster;

#[test]
fn random_statements() {
    compare(500, 31);
}

#[test]
#[ignore = "long: make conditions"]
fn many_random_statements() {
    compare(6000, 32);
}

/// Rows with NULL, zero and equal vectors, and rows that have died; as a table, as partitions by what
/// conditions ask for, and as a table without a graph.
const TABLES: &str = "
    CREATE EXTENSION walia; SELECT setseed(0.4);
    CREATE TABLE docs (
        id int PRIMARY KEY, tenant int, status text, made timestamptz, price numeric, open bool, v vecf32(24), kind int,
        code veccode GENERATED ALWAYS AS (walia_code(v)) STORED
    );
    INSERT INTO docs SELECT i, nullif(i % 13, 12), (ARRAY['new', 'Open', 'done', 'open'])[i % 4 + 1],
        timestamptz '2026-01-01' + i * interval '2 min', nullif(i % 97, 5), i % 5 > 0,
        CASE WHEN i % 100 = 0 THEN NULL WHEN i % 100 = 1 THEN array_fill(0, ARRAY[24])::vecf32
            WHEN i % 50 = 7 THEN (SELECT array_agg(sin(i % 3 * j) + 0.5) FROM generate_series(1, 24) j)::vecf32
            ELSE (SELECT array_agg(sin(i % 7 * j) + random()) FROM generate_series(1, 24) j)::vecf32 END,
        i % 11
    FROM generate_series(1, 3000) i;
    UPDATE docs SET open = NOT open WHERE id % 9 = 0;
    DELETE FROM docs WHERE id % 10 = 9;
    CREATE TABLE plain (LIKE docs INCLUDING GENERATED);
    CREATE TABLE parts (LIKE docs INCLUDING GENERATED) PARTITION BY HASH (tenant);
    CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 3, REMAINDER 0);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES WITH (MODULUS 3, REMAINDER 1);
    CREATE TABLE parts_2 PARTITION OF parts FOR VALUES WITH (MODULUS 3, REMAINDER 2);
    INSERT INTO plain (id, tenant, status, made, price, open, v, kind)
        SELECT id, tenant, status, made, price, open, v, kind FROM docs;
    INSERT INTO parts (id, tenant, status, made, price, open, v, kind)
        SELECT id, tenant, status, made, price, open, v, kind FROM docs;
    CREATE INDEX ON docs (tenant, walia_code(v)); CREATE INDEX ON docs (tenant, made, walia_code(v));
    CREATE INDEX ON docs (status, price, walia_code(v, 1)); CREATE INDEX ON docs (lower(status), walia_code(v, 4));
    CREATE INDEX ON docs (price, walia_code(v)) WHERE open; CREATE INDEX ON docs (kind) INCLUDE (code);
    CREATE INDEX ON docs USING walia_hnsw (v vecf32_l2_ops);
    CREATE INDEX docs_angle_v_idx ON docs USING walia_hnsw (v vecf32_cosine_ops);
    CREATE INDEX ON plain (tenant, walia_code(v)); CREATE INDEX ON plain (tenant, made) INCLUDE (code);
    CREATE INDEX ON plain (status, price, walia_code(v)); CREATE INDEX ON plain (walia_code(v)) WHERE open;
    CREATE INDEX ON parts (tenant, walia_code(v)); CREATE INDEX ON parts (status, price, walia_code(v));
    CREATE INDEX ON parts USING walia_hnsw (v vecf32_cosine_ops);
    CREATE TABLE others AS SELECT i AS n, i % 13 AS t,
        (SELECT array_agg(random() * 2 + 0 * i * j) FROM generate_series(1, 24) j)::vecf32(24) AS v FROM generate_series(1, 150) i;
    CREATE FUNCTION noisy(int) RETURNS bool LANGUAGE plpgsql STABLE COST 1 AS 'BEGIN RETURN $1 % 3 > 0; END';
    CREATE ROLE reader; GRANT SELECT ON docs, parts, plain, others TO reader;
    ALTER TABLE docs ENABLE ROW LEVEL SECURITY; ALTER TABLE parts ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON docs TO reader USING (tenant = 6 OR tenant = 3);
    CREATE POLICY own ON parts TO reader USING (tenant = ANY ('{4,9}'));
    ANALYZE";

/// `{a}` and `{b}` are numbers, `{d}` the distance.
const CONDITIONS: [&str; 38] = [
    "true",
    "docs.tenant = {a}",
    "tenant IN ({a}, {b}, 3)",
    "(tenant = {a} OR tenant = {b})",
    "(tenant = {a} OR tenant = {b} OR tenant IS NULL)",
    "(tenant = {a} OR status = 'open')",
    "((tenant = {a} AND status = 'open') OR (tenant = {b} AND open))",
    "(tenant = {a} OR tenant = {b}) AND (status = 'new' OR status = 'open')",
    "tenant BETWEEN {a} AND {a} + 3",
    "tenant > {a} AND tenant < {a} + 2",
    "tenant <> ALL ('{{a},{b}}')",
    "NOT tenant = {a}",
    "tenant IS NULL",
    "tenant = NULL",
    "tenant = {a}::bigint",
    "tenant = {a}::numeric",
    "tenant = ANY ('{{a},NULL,{b}}')",
    "tenant = ANY ('{}'::int[])",
    "tenant = ANY (NULL::int[])",
    "(tenant, status) = ({a}, 'open')",
    "(tenant, made) > ({a}, '2026-01-03')",
    "tenant = {a} AND made > '2026-01-03'",
    "tenant IN ({a}, {b}) AND made BETWEEN '2026-01-02' AND '2026-01-04' AND open",
    "status = 'open' AND price < {a} * 8",
    "status IN ('new', 'done') AND price BETWEEN {a} AND {a} + 30",
    "lower(status) = 'open' AND price > {a}",
    "open AND tenant = {a}",
    "open AND price < {b}",
    "kind = {b} AND id % 2 = 0",
    "kind IN ({a}, {b})",
    "tenant = {a} AND {d} < 0.4 * {b}",
    "tenant = {a} AND 1 - {d} > 0.1 * {b} - 1",
    "tenant = {a} AND docs.v IS NOT NULL",
    "tenant = {a} AND noisy(id)",
    "tenant = {a} AND id IN (SELECT n FROM others)",
    "tenant IN (SELECT t FROM others WHERE n < {a} * 50)",
    "tenant = (SELECT t FROM others WHERE n = {b} + 1)",
    "EXISTS (SELECT FROM others o WHERE o.t = docs.tenant AND o.n < 40)",
];

/// `{t}` is the table, `{d}` the distance, `{c}` the condition, `{l}` the limit. What is given does not
/// depend on which of equally far rows come first.
const STATEMENTS: [&str; 43] = [
    "SELECT {d} FROM {t} WHERE {c} ORDER BY {d} {l}",
    "SELECT id, {d} FROM {t} WHERE {c} ORDER BY {d}, id {l}",
    "SELECT id, {d} FROM {t} WHERE {c} ORDER BY {d}, id DESC {l}",
    "SELECT 1 - {d} FROM {t} WHERE {c} ORDER BY 1 - {d} DESC {l}",
    "SELECT 1 - {d} FROM {t} WHERE {c} ORDER BY 1 - {d} DESC NULLS LAST {l}",
    "SELECT id, 1 - {d} FROM {t} WHERE {c} ORDER BY 1 - {d} DESC NULLS LAST, id {l}",
    "SELECT s FROM (SELECT *, 1 - {d} AS s FROM {t} WHERE {c}) AS x ORDER BY s DESC {l}",
    "SELECT s FROM (SELECT *, 1 - {d} AS s FROM {t} WHERE {c}) AS x WHERE s > -2 ORDER BY s DESC {l}",
    "SELECT id, s FROM (SELECT *, {d} * -1 AS s FROM {t} WHERE {c}) AS x ORDER BY s DESC NULLS LAST, id {l}",
    "SELECT {d} * -1 FROM {t} WHERE {c} ORDER BY {d} * -1 DESC {l}",
    "SELECT {d} * -1 AS similarity FROM {t} WHERE {c} AND docs.v IS NOT NULL ORDER BY similarity DESC {l}",
    // Windows.
    "SELECT d, place FROM (SELECT {d} AS d, row_number() OVER (ORDER BY {d}) AS place FROM {t} WHERE {c}) AS x ORDER BY place {l}",
    "SELECT d, place FROM (SELECT {d} AS d, row_number() OVER (ORDER BY {d}) AS place FROM {t} WHERE {c}) AS x WHERE place < 8 ORDER BY place",
    "SELECT d, place FROM (SELECT {d} AS d, rank() OVER (ORDER BY {d}) AS place FROM {t} WHERE {c}) AS x WHERE place < 8 ORDER BY place",
    "SELECT {d}, row_number() OVER (ORDER BY {d}) FROM {t} WHERE {c} ORDER BY {d} LIMIT 9",
    "SELECT {d}, row_number() OVER (ORDER BY {d}) FROM {t} WHERE {c} LIMIT 9",
    "SELECT 1 - {d}, row_number() OVER (ORDER BY 1 - {d} DESC) FROM {t} WHERE {c} ORDER BY 1 - {d} DESC LIMIT 9",
    "SELECT {d}, lag({d}) OVER (ORDER BY {d}) FROM {t} WHERE {c} ORDER BY {d} {l}",
    "SELECT {d}, count(*) OVER () FROM {t} WHERE {c} ORDER BY {d} {l}",
    "SELECT id, d FROM (SELECT id, {d} AS d, row_number() OVER (PARTITION BY tenant ORDER BY {d}, id) AS place FROM {t} WHERE {c}) AS x
        WHERE place < 3 ORDER BY d, id",
    // Ties.
    "SELECT {d} FROM {t} WHERE {c} ORDER BY {d} FETCH FIRST 6 ROWS WITH TIES",
    "SELECT 1 - {d} FROM {t} WHERE {c} ORDER BY 1 - {d} DESC NULLS LAST FETCH FIRST 6 ROWS WITH TIES",
    // Joins.
    "SELECT {d} FROM {t} JOIN others ON others.n = docs.id WHERE {c} ORDER BY {d} {l}",
    "SELECT {d} FROM {t} LEFT JOIN others ON others.t = docs.tenant AND others.n < 30 WHERE {c} ORDER BY {d} {l}",
    "SELECT 1 - {d} AS s FROM {t} JOIN others ON others.t = docs.tenant WHERE {c} ORDER BY s DESC NULLS LAST {l}",
    "SELECT docs.id, {d} FROM others JOIN {t} ON others.t = docs.tenant AND others.n = 3 WHERE {c} ORDER BY {d}, docs.id {l}",
    "SELECT {d} FROM {t} WHERE {c} AND NOT EXISTS (SELECT FROM others WHERE others.n = docs.id) ORDER BY {d} {l}",
    "SELECT a.d, b.d FROM (SELECT {d} AS d FROM {t} WHERE {c} ORDER BY {d} LIMIT 20) AS a
        JOIN (SELECT {d} AS d FROM {t} WHERE {c} ORDER BY {d} LIMIT 20) AS b ON a.d = b.d ORDER BY 1, 2",
    "SELECT g.t, x.d FROM generate_series(0, 4) AS g(t) LEFT JOIN LATERAL
        (SELECT {d} AS d FROM {t} WHERE tenant = g.t AND ({c}) ORDER BY 1 - {d} DESC NULLS LAST {l}) AS x ON true ORDER BY 1, 2",
    "SELECT o.n, (SELECT array_agg(d) FROM (SELECT docs.v <-> o.v AS d FROM {t} WHERE docs.tenant = o.t OR docs.tenant = o.t + 1
        ORDER BY docs.v <-> o.v LIMIT 3) AS y) FROM others o WHERE o.n < 12 ORDER BY 1",
    // Groups.
    "SELECT {d}, count(*) FROM {t} WHERE {c} GROUP BY 1 ORDER BY 1 {l}",
    "SELECT d, count(*) FROM (SELECT {d} AS d FROM {t} WHERE {c} ORDER BY {d} {l}) AS x GROUP BY d ORDER BY d",
    "SELECT DISTINCT {d} FROM {t} WHERE {c} ORDER BY 1 {l}",
    "SELECT DISTINCT ON ({d}) {d}, id FROM {t} WHERE {c} ORDER BY {d}, id {l}",
    "SELECT min({d}), max({d}), count(*) FROM {t} WHERE {c}",
    "SELECT min(d), max(d), count(*) FROM (SELECT {d} AS d FROM {t} WHERE {c} ORDER BY {d} {l}) AS x",
    "SELECT array_agg(d ORDER BY d) FROM (SELECT {d} AS d FROM {t} WHERE {c} ORDER BY {d} {l}) AS x",
    // Others.
    "WITH x AS MATERIALIZED (SELECT id, {d} AS d FROM {t} WHERE {c} ORDER BY {d} {l}) SELECT count(*), count(DISTINCT id) FROM x",
    "(SELECT {d} AS d FROM {t} WHERE {c} ORDER BY {d} LIMIT 5) UNION ALL (SELECT {d} FROM {t} WHERE tenant = 3 ORDER BY {d} LIMIT 5)
        ORDER BY d {l}",
    "SELECT {d} + 0 * tenant FROM {t} WHERE {c} ORDER BY {d} + 0 * tenant {l}",
    "SELECT {d} FROM {t} WHERE {c} ORDER BY {d} {l} FOR UPDATE",
    "SELECT 1 - {d} FROM {t} WHERE {c} ORDER BY 1 - {d} DESC NULLS LAST {l} FOR SHARE SKIP LOCKED",
    "SELECT near.d FROM (SELECT {d} AS d FROM {t} WHERE {c} ORDER BY {d} LIMIT 8) AS near ORDER BY near.d OFFSET 2",
];

const LIMITS: [&str; 10] = [
    "LIMIT 1",
    "LIMIT 5",
    "LIMIT 10",
    "LIMIT 10 OFFSET 15",
    "LIMIT 100",
    "LIMIT (SELECT 7)",
    "LIMIT 3 OFFSET 200",
    "LIMIT 0",
    "OFFSET 3",
    "",
];

/// Settings that make one way or another likely.
const SETTINGS: [&str; 11] = [
    "",
    "SET enable_seqscan = off; SET enable_sort = off",
    "SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off",
    "SET enable_seqscan = off; SET enable_sort = off; SET walia.code_scan = off",
    "SET cpu_operator_cost = 0.6",
    "SET cpu_operator_cost = 0.6; SET walia.code_scan = off; SET walia.ef_search = 300",
    "SET enable_seqscan = off; SET enable_sort = off; SET walia.code_scan = off; SET walia.ef_search = 300",
    "SET work_mem = '64kB'",
    "SET enable_hashjoin = off; SET enable_nestloop = off; SET enable_seqscan = off",
    "SET enable_material = off; SET enable_hashagg = off; SET enable_memoize = off; SET enable_seqscan = off",
    "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0",
];

/// Who changes rows that it reads afterwards sees its own changes.
const CHANGES: &str = "
    UPDATE docs SET tenant = (tenant + 1) % 12 WHERE id % 7 = 2;
    UPDATE parts SET tenant = (tenant + 1) % 12 WHERE id % 7 = 2;
    INSERT INTO docs (id, tenant, status, made, price, open, v, kind)
        SELECT 90000 + id, tenant, status, made, price, open, v, kind FROM docs WHERE id < 60;
    DELETE FROM docs WHERE id BETWEEN 100 AND 160;
    UPDATE docs SET v = v + array_fill(0.01, ARRAY[24])::vecf32 WHERE id BETWEEN 200 AND 240";

/// How a statement is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Plain,
    Generic,
    Custom,
    /// Read in pieces.
    Cursor,
    /// Read forwards and backwards.
    Scroll,
}

/// The rows of a statement, in a transaction.
fn execute(client: &mut Client, form: Form, statement: &str, query: &str) -> Vec<String> {
    let plain = statement.replace("$1", query);
    let declare = |client: &mut Client, scroll: &str| {
        client.batch_execute(&format!("DECLARE near {scroll} CURSOR FOR {plain}")).unwrap();
    };
    match form {
        Form::Plain => texts(client, &plain),
        Form::Generic | Form::Custom => {
            let mode = if form == Form::Generic { "generic" } else { "custom" };
            let prepare = format!(
                "SET LOCAL plan_cache_mode = force_{mode}_plan; PREPARE near (vecf32) AS {statement}"
            );
            client.batch_execute(&prepare).unwrap();
            let rows = texts(client, &format!("EXECUTE near({query})"));
            assert_eq!(texts(client, &format!("EXECUTE near({query})")), rows, "{statement}");
            client.batch_execute("DEALLOCATE near").unwrap();
            rows
        }
        Form::Cursor => {
            declare(client, "NO SCROLL");
            let mut rows = texts(client, "FETCH 1 FROM near");
            rows.extend(texts(client, "FETCH 20 FROM near"));
            rows.extend(texts(client, "FETCH ALL FROM near"));
            client.batch_execute("CLOSE near").unwrap();
            rows
        }
        Form::Scroll => {
            declare(client, "SCROLL");
            let first = texts(client, "FETCH 3 FROM near");
            let back = texts(client, "FETCH BACKWARD 2 FROM near");
            client.batch_execute("MOVE ABSOLUTE 0 FROM near").unwrap();
            let rows = texts(client, "FETCH ALL FROM near");
            let mut all_back = texts(client, "FETCH BACKWARD ALL FROM near");
            all_back.reverse();
            client.batch_execute("CLOSE near").unwrap();
            assert_eq!(all_back, rows, "{statement}");
            assert_eq!(first, rows[..first.len()], "{statement}");
            // After the last row stands the end.
            if first.len() == 3 {
                assert_eq!(back, [rows[1].clone(), rows[0].clone()], "{statement}");
            }
            rows
        }
    }
}

fn compare(statements: usize, seed: u64) {
    let cluster = Cluster::start(&["autovacuum = off"]);
    let mut client = cluster.connect();
    client.batch_execute(TABLES).unwrap();
    let mut numbers = Numbers::new(seed);
    let (mut by_codes, mut by_walks, mut missed) = (0, 0, Vec::new());
    for _ in 0..statements {
        let query: Vec<_> =
            (0..24).map(|_| format!("{:.2}", numbers.below(300) as f64 / 100.0 - 1.0)).collect();
        let query = format!("'[{}]'::vecf32", query.join(","));
        let operator = ["<->", "<#>", "<=>", "<~>", "<+>"][numbers.below(5)];
        let limit = LIMITS[numbers.below(LIMITS.len())];
        let mut statement = STATEMENTS[numbers.below(STATEMENTS.len())].to_owned();
        let condition = CONDITIONS[numbers.below(CONDITIONS.len())];
        let table = ["docs", "docs", "plain AS docs", "parts AS docs", "(SELECT * FROM docs) AS docs"]
            [numbers.below(5)];
        let distance = format!("(docs.v {operator} $1)");
        for (name, value) in [("{c}", condition), ("{l}", limit), ("{t}", table), ("{d}", &distance)] {
            statement = statement.replace(name, value);
        }
        for (name, value) in [("{a}", numbers.below(14)), ("{b}", numbers.below(14))] {
            statement = statement.replace(name, &value.to_string());
        }
        let locks = statement.contains(" FOR ");
        let forms = [Form::Plain, Form::Generic, Form::Custom, Form::Cursor, Form::Scroll];
        let form = forms[numbers.below(if locks { 4 } else { 5 })];
        let settings = SETTINGS[numbers.below(SETTINGS.len())];
        client.batch_execute("BEGIN; SET LOCAL walia.ef_search = 1000; SET LOCAL jit = off").unwrap();
        if numbers.below(5) == 0 {
            client.batch_execute(CHANGES).unwrap();
        }
        if !locks && numbers.below(3) == 0 {
            client.batch_execute("SET LOCAL ROLE reader").unwrap();
        }
        client
            .batch_execute(
                "SAVEPOINT exact; SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off",
            )
            .unwrap();
        let mut exact = execute(&mut client, Form::Plain, &statement, &query);
        client.batch_execute("ROLLBACK TO exact").unwrap();
        client.batch_execute(&settings.replace("SET ", "SET LOCAL ")).unwrap();
        let explained = plan(&mut client, &statement.replace("$1", &query));
        let mut given = execute(&mut client, form, &statement, &query);
        client.batch_execute("ROLLBACK").unwrap();
        by_codes += usize::from(explained.contains("WaliaCodeScan"));
        by_walks += usize::from(explained.contains("WaliaNearestScan"));
        // Who reads all rows of a graph may get them in two runs.
        if !statement.contains("LIMIT") {
            given.sort();
            exact.sort();
        }
        if given != exact {
            let by_graph = explained.contains("_v_idx") || form == Form::Cursor || form == Form::Scroll;
            assert!(
                by_graph && given.len() == exact.len(),
                "{form:?} {settings}: {statement} {query}\n{explained}\n{given:?}\n{exact:?}"
            );
            missed.push(format!("{form:?} {settings}: {statement} {query}\n{explained}"));
        }
    }
    println!(
        "{by_codes} by codes, {by_walks} by walks, {} walks have missed a row: {missed:#?}",
        missed.len()
    );
    assert!(
        by_codes * 5 > statements && by_walks * 50 > statements,
        "{by_codes} by codes, {by_walks} by walks"
    );
    assert!(missed.len() * 100 <= statements, "{missed:#?}");
}
