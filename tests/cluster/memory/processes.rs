//! Processes that begin with little memory.

use super::*;

/// The library is loaded, by a statement that needs it, or not; where it was not, the next statement loads
/// it.
#[test]
fn loading() {
    const STATEMENT: &str = "SELECT '[1,2]'::vecf32 <-> '[1,4]', current_setting('walia.heal')";
    let cluster = Cluster::start(&[]);
    cluster.connect().batch_execute("CREATE EXTENSION walia").unwrap();
    let mut failures = 0;
    for allowance in (0..).map(|step| step * (128 << 10)) {
        let mut client = cluster.connect();
        let process: i32 = client.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
        limit(process, Some(allowance));
        let result = rows(&mut client, STATEMENT);
        limit(process, None);
        assert_no_crash(&cluster, &format!("loading with {allowance} bytes"));
        let Err(error) = result else { break };
        // The loader has its own words.
        let of_loader =
            error.as_db_error().is_some_and(|error| error.message().contains("could not load library"));
        assert!(of_loader || is_out_of_memory(&error), "loading with {allowance} bytes: {error:?}");
        assert_eq!(rows(&mut client, STATEMENT).unwrap(), ["2"], "after {allowance} bytes");
        failures += 1;
    }
    assert!(failures > 10, "{failures} failures");
}

/// The processes of a parallel scan and of a parallel aggregate have as little memory as the postmaster that
/// starts them.
#[test]
fn parallel_workers() {
    let cluster = Cluster::start(&["autovacuum = off"]);
    let mut client = cluster.connect();
    client.batch_execute(TABLES).unwrap();
    let postmaster: i32 = cluster.postmaster().unwrap().parse().unwrap();
    let scan = format!("SELECT id FROM parts ORDER BY v <-> {NEAR} LIMIT 40");
    for (query, node) in [
        (scan.as_str(), "Parallel Custom Scan"),
        ("SELECT md5(avg(v)::text) FROM items", "Partial Aggregate"),
    ] {
        client
            .batch_execute(&format!(
                "{SETTINGS} SET max_parallel_workers_per_gather = 3; SET parallel_setup_cost = 0;
                 SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET walia.ef_search = 2000;
                 RESET enable_seqscan"
            ))
            .unwrap();
        let plan = rows(&mut client, &format!("EXPLAIN {query}")).unwrap().join("\n");
        assert!(plan.contains(node), "{plan}");
        let expected = rows(&mut client, query).unwrap();
        let (mut failures, mut successes) = (0, 0);
        for allowance in allowances(1 << 20) {
            limit(postmaster, Some(allowance));
            let result = rows(&mut client, query);
            limit(postmaster, None);
            assert_no_crash(&cluster, &format!("{query} with {allowance} bytes for workers"));
            match result {
                Ok(found) => {
                    // Without workers the leader does all of it.
                    assert_eq!(found.len(), expected.len());
                    successes += 1;
                }
                // A worker that could not even start says so in its own words.
                Err(_) => failures += 1,
            }
            assert_eq!(rows(&mut client, query).unwrap().len(), expected.len());
            if allowance > 512 << 20 {
                break;
            }
        }
        println!("{failures} failures, {successes} successes: {query}");
        assert!(failures > 0 && successes > 0, "{failures} failures, {successes} successes: {query}");
        wait_until("no worker is left", || {
            let workers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'parallel worker'";
            client.query_one(workers, &[]).unwrap().get::<_, i64>(0) == 0
        });
    }
}
