//! Servers that are killed while sessions insert, update, delete and vacuum.

use std::env;
use std::thread;
use std::time::Duration;

use crate::scan::{assert_complete, assert_sound};
use crate::server::Cluster;

const WRITERS: i32 = 3;

#[test]
fn recovers_when_killed() {
    kill_again_and_again(2);
}

#[test]
#[ignore = "long: make crash"]
fn recovers_when_killed_many_times() {
    kill_again_and_again(env::var("WALIA_CRASH_ROUNDS").map_or(10, |rounds| rounds.parse().unwrap()));
}

fn kill_again_and_again(rounds: u32) {
    let cluster = Cluster::start(&["autovacuum = off", "wal_consistency_checking = 'generic'"]);
    cluster
        .connect()
        .batch_execute(
            "CREATE EXTENSION walia;
             CREATE TABLE items (id bigserial PRIMARY KEY, v vecf32(8));
             CREATE INDEX ON items USING walia_hnsw (v vecf32_l2_ops)",
        )
        .unwrap();
    let vector = "(SELECT array_agg(random()) FROM generate_series(1, 8 + i * 0))";
    let write = format!(
        "INSERT INTO items (v) SELECT {vector} FROM generate_series(1, 20) i;
         UPDATE items SET v = v WHERE id % 97 = pg_backend_pid() % 97 AND id % {WRITERS} = $number;
         DELETE FROM items WHERE id % 89 = pg_backend_pid() % 89 AND id % {WRITERS} = $number"
    );
    for round in 0..rounds {
        thread::scope(|scope| {
            for number in 0..WRITERS {
                let (mut client, write) = (cluster.connect(), write.replace("$number", &number.to_string()));
                scope.spawn(move || while client.batch_execute(&write).is_ok() {});
            }
            let mut client = cluster.connect();
            scope.spawn(move || while client.batch_execute("VACUUM items").is_ok() {});
            // Every round ends at another point of the writers' work.
            thread::sleep(Duration::from_millis(1500 + u64::from(round % 10) * 130));
            cluster.kill9();
        });
        cluster.run();
        assert_complete(&mut cluster.connect(), "<->");
        assert_sound(&mut cluster.connect());
    }
    cluster.connect().batch_execute("VACUUM items").unwrap();
    assert_complete(&mut cluster.connect(), "<->");
    assert_sound(&mut cluster.connect());
}
