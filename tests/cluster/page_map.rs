//! The page map and loading an index: what is cached is what Postgres says, and looking changes nothing.

use postgres::Client;
use postgres::error::SqlState;

use crate::server::Cluster;

/// A table whose index, `items_v`, has some 1,000 pages.
fn prepare(shared_buffers: &str) -> Cluster {
    let cluster = Cluster::start(&["autovacuum = off", &format!("shared_buffers = {shared_buffers}")]);
    let mut client = cluster.connect();
    client
        .batch_execute(
            "CREATE EXTENSION walia;
             CREATE EXTENSION pg_buffercache;
             CREATE TABLE items (id bigserial, v vecf32(64));
             INSERT INTO items (v) SELECT (SELECT array_agg(random())::real[] FROM generate_series(1, 64 + 0 * i))
             FROM generate_series(1, 6000) AS i;
             CREATE INDEX items_v ON items USING walia_hnsw (v vecf32_l2_ops);
             CHECKPOINT",
        )
        .unwrap();
    cluster
}

fn restart(cluster: &Cluster) -> Client {
    cluster.stop();
    cluster.run();
    cluster.connect()
}

fn number(client: &mut Client, query: &str) -> i64 {
    client.query_one(query, &[]).unwrap_or_else(|error| panic!("{query}: {error}")).get(0)
}

/// Pages of a relation in shared buffers, as Postgres's own extension says.
fn cached(client: &mut Client, relation: &str) -> i64 {
    number(
        client,
        &format!(
            "SELECT count(*) FROM pg_buffercache WHERE relfilenode = pg_relation_filenode('{relation}')
             AND relforknumber = 0 AND reldatabase = (SELECT oid FROM pg_database WHERE datname = current_database())"
        ),
    )
}

fn pages(client: &mut Client, relation: &str) -> i64 {
    number(client, &format!("SELECT pg_relation_size('{relation}') / 8192"))
}

#[test]
fn tells_what_postgres_tells_of_buffers() {
    let cluster = prepare("64MB");
    let mut client = restart(&cluster);
    // Some pages are used, some of them several times, and some are changed.
    client
        .batch_execute(
            "SET enable_seqscan = off;
             SELECT id FROM items ORDER BY v <-> (SELECT v FROM items WHERE id = 1) LIMIT 10;
             SELECT id FROM items ORDER BY v <-> (SELECT v FROM items WHERE id = 2) LIMIT 10;
             INSERT INTO items (v) SELECT v FROM items WHERE id <= 3;
             CREATE TEMP TABLE mapped AS SELECT 'items'::regclass AS relation, * FROM walia_page_map('items')
                 UNION ALL SELECT 'items_v', * FROM walia_page_map('items_v');
             CREATE TEMP TABLE buffers AS SELECT * FROM pg_buffercache",
        )
        .unwrap();
    let known = "SELECT count(*) FROM mapped WHERE cached AND dirty AND usage_count > 0";
    assert!(number(&mut client, known) > 0);
    // What was used, by the map itself too, is used no less; what was dirty may have been written.
    for relation in ["items", "items_v"] {
        let wrong = format!(
            "SELECT count(*) FROM mapped LEFT JOIN buffers ON relblocknumber = block AND relforknumber = 0
                 AND relfilenode = pg_relation_filenode(relation)
             WHERE relation = '{relation}'::regclass AND cached AND (usagecount IS NULL OR usagecount <> usage_count
                 OR isdirty <> dirty)"
        );
        assert_eq!(number(&mut client, &wrong), 0, "{relation}");
        let all = format!("SELECT count(*) FROM mapped WHERE relation = '{relation}'::regclass");
        assert_eq!(number(&mut client, &all), pages(&mut client, relation));
    }
    assert_eq!(
        number(&mut client, "SELECT sum(tuples) FROM mapped WHERE relation = 'items'::regclass"),
        6003
    );
}

#[test]
fn looking_leaves_little_in_shared_buffers() {
    let cluster = prepare("64MB");
    for depth in [-1, 0] {
        let mut client = restart(&cluster);
        client.batch_execute(&format!("SET walia.prefetch_depth = {depth}")).unwrap();
        let all = pages(&mut client, "items_v");
        assert!(all > 700);
        let count = "SELECT count(*) FROM walia_page_map('items_v') WHERE NOT cached";
        assert_eq!(number(&mut client, count), all);
        let left = cached(&mut client, "items_v");
        assert!(left > 0 && left < all / 2, "{left} of {all} pages");
        // Of what a pass left, the ring takes the place again.
        number(&mut client, count);
        let again = cached(&mut client, "items_v");
        assert!(again < all * 3 / 4, "{again} of {all} pages");
    }
}

#[test]
fn a_summary_reads_few_pages() {
    let cluster = prepare("64MB");
    let mut client = restart(&cluster);
    let all = pages(&mut client, "items_v");
    for buckets in [1, 7, 300] {
        let sum = format!("SELECT sum(pages)::bigint FROM walia_page_map('items_v', {buckets})");
        assert_eq!(number(&mut client, &sum), all);
        let read = format!("SELECT sum(pages_read) FROM walia_page_map('items_v', {buckets})");
        assert!(number(&mut client, &read) <= 2048.min(all));
        let tuples = format!(
            "SELECT sum(tuples)::bigint BETWEEN 6000 AND 8000 FROM walia_page_map('items_v', {buckets})"
        );
        assert!(client.query_one(&tuples, &[]).unwrap().get::<_, bool>(0), "{buckets} buckets");
    }
    let cached_now = cached(&mut client, "items_v");
    assert_eq!(
        number(&mut client, "SELECT sum(cached)::bigint FROM walia_page_map('items_v', 5)"),
        cached_now
    );
}

fn prewarm(client: &mut Client, what: &str) -> [i64; 3] {
    let row = client.query_one(&format!("SELECT * FROM walia_prewarm('items_v', '{what}')"), &[]).unwrap();
    [row.get(0), row.get(1), row.get(2)]
}

#[test]
fn prewarming_loads_what_it_says() {
    let cluster = prepare("64MB");
    let mut client = restart(&cluster);
    let all = pages(&mut client, "items_v");
    let [upper, before, without_room] = prewarm(&mut client, "upper");
    assert!(upper > 0 && upper < all && before + without_room == 0, "{upper} {before} {without_room}");
    assert!(cached(&mut client, "items_v") >= upper);
    let [loaded, before, without_room] = prewarm(&mut client, "links");
    assert!(loaded > 0 && before >= upper && without_room == 0);
    let [rest, before, without_room] = prewarm(&mut client, "all");
    assert_eq!((rest + before, without_room), (all, 0));
    assert_eq!(cached(&mut client, "items_v"), all);
    assert_eq!(prewarm(&mut client, "all"), [0, all, 0]);
    // A search finds all it needs.
    client
        .batch_execute(
            "SELECT sum(vector_dims(v)) FROM items;
             SET enable_seqscan = off; SELECT id FROM items ORDER BY v <-> (SELECT v FROM items LIMIT 1) LIMIT 10",
        )
        .unwrap();
    assert_eq!(number(&mut client, "SELECT pages_prefetched FROM walia_last_scan()"), 0);
}

#[test]
fn prewarming_says_what_does_not_fit() {
    let cluster = prepare("4MB");
    let mut client = restart(&cluster);
    let all = pages(&mut client, "items_v");
    let [loaded, before, without_room] = prewarm(&mut client, "all");
    assert_eq!(loaded + before + without_room, all);
    let there = loaded + before;
    assert!(there > 512 / 2 && there <= 512 * 3 / 4, "{there} pages");
    // What is needed first is there, but for a few whose places the catalogs have taken.
    let of_upper = "SELECT count(*) FROM walia_page_map('items_v') WHERE kind IN ('meta', 'upper links')";
    let (upper, cached) =
        (number(&mut client, of_upper), number(&mut client, &format!("{of_upper} AND cached")));
    assert!(cached >= upper * 4 / 5, "{cached} of {upper} pages");
}

#[test]
fn is_for_the_owner_and_who_monitors() {
    let cluster = prepare("64MB");
    let mut client = cluster.connect();
    client
        .batch_execute(
            "CREATE ROLE keeper LOGIN; CREATE ROLE watcher LOGIN; CREATE ROLE reader LOGIN; CREATE ROLE nobody LOGIN;
             GRANT pg_monitor TO watcher; GRANT SELECT ON items TO reader; ALTER TABLE items OWNER TO keeper",
        )
        .unwrap();
    let map =
        ["items", "items_v"].map(|relation| format!("SELECT count(*) FROM walia_page_map('{relation}', 3)"));
    let whole =
        ["items", "items_v"].map(|relation| format!("SELECT count(*) FROM walia_page_map('{relation}')"));
    let load = ["SELECT pages_loaded FROM walia_prewarm('items_v')".to_owned()];
    let may = |role: &str, queries: &[String]| {
        let mut client = cluster.connect_as(role, "postgres");
        queries.iter().all(|query| match client.query_one(query, &[]) {
            Ok(_) => true,
            Err(error) => {
                let error = error.as_db_error().unwrap();
                assert_eq!(error.code(), &SqlState::INSUFFICIENT_PRIVILEGE);
                assert_eq!(error.message(), "permission denied for table items");
                false
            }
        })
    };
    for (role, looks, loads) in
        [("keeper", true, true), ("watcher", true, false), ("reader", false, true), ("nobody", false, false)]
    {
        assert_eq!(may(role, &map), looks, "{role}");
        assert_eq!(may(role, &whole), looks, "{role}");
        assert_eq!(may(role, &load), loads, "{role}");
    }
}

#[test]
fn a_standby_has_a_map_of_its_own() {
    let cluster = prepare("64MB");
    let standby = cluster.standby(&[]);
    let mut client = standby.connect();
    let all = pages(&mut client, "items_v");
    assert_eq!(number(&mut client, "SELECT count(*) FROM walia_page_map('items_v')"), all);
    let [loaded, before, _] = prewarm(&mut client, "all");
    assert_eq!(loaded + before, all);
}
