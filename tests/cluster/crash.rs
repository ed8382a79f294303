//! Servers that are killed while sessions insert, update, delete, search and vacuum.
//!
//! A kill ends the WAL at some write unit: that every such prefix is a sound index is what core's tests show,
//! unit by unit (`core/tests/operations/crash.rs`). These show it of Postgres's recovery, with checksums and
//! full-page writes.

use std::env;
use std::thread;
use std::time::Duration;

use crate::numbers::Numbers;
use crate::scan::{assert_complete, assert_repairable, assert_sound};
use crate::server::Cluster;
use crate::workload;

const SESSIONS: i32 = 8;

#[test]
fn recovers_when_killed() {
    kill_again_and_again(2);
}

#[test]
#[ignore = "long: make crash"]
fn recovers_when_killed_many_times() {
    kill_again_and_again(env::var("WALIA_CRASH_ROUNDS").map_or(50, |rounds| rounds.parse().unwrap()));
}

fn kill_again_and_again(rounds: u64) {
    let settings = ["autovacuum = off", "wal_consistency_checking = 'generic'", "full_page_writes = on"];
    let cluster = Cluster::start(&settings);
    workload::prepare(&mut cluster.connect());
    let mut numbers = Numbers::new(rounds);
    for round in 0..rounds {
        thread::scope(|scope| {
            for session in 0..SESSIONS {
                let cluster = &cluster;
                // A session ends when its server does.
                scope.spawn(move || workload::work(cluster, session, round, || true).unwrap_err());
            }
            thread::sleep(Duration::from_millis(300 + numbers.below(2500) as u64));
            cluster.kill9();
        });
        cluster.run();
        assert_sound(&mut cluster.connect());
        assert_repairable(&mut cluster.connect());
        assert_complete(&mut cluster.connect(), "<->");
        workload::check_codes(&mut cluster.connect());
        workload::assert_ranked(&mut cluster.connect());
    }
}
