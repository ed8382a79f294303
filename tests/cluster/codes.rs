//! Btrees that carry codes: the same rows as without an index, from every kind of condition, table and order.

use crate::conditions::{assert_exact, compare, plan, prepare, rows, set_index};
use crate::server::Cluster;
use postgres::Client;

/// Codes beside the columns of conditions, for all tables.
fn add_codes(client: &mut Client) {
    client
        .batch_execute(
            "CREATE INDEX ON items (tenant, walia_code(v));
             CREATE INDEX ON items (price, name, walia_code(v, 4));
             CREATE INDEX ON items (id, walia_code(v, 1));
             CREATE INDEX ON parts (tenant, walia_code(v));
             CREATE INDEX ON family (tenant, walia_code(v));
             CREATE INDEX ON child (tenant, flag, walia_code(v))",
        )
        .unwrap();
}

#[test]
fn random_statements() {
    compare(300, 21, &["WaliaNearestScan", "WaliaCodeScan"], add_codes);
}

#[test]
fn random_statements_without_a_graph() {
    compare(300, 22, &["WaliaCodeScan"], |client| {
        add_codes(client);
        client
            .batch_execute(
                "DROP INDEX items_v; SET walia.nearest_scan = off; SET walia.federated_scan = off;
                 ALTER TABLE items ALTER tenant SET STATISTICS 1000; ANALYZE items",
            )
            .unwrap();
    });
}

#[test]
#[ignore = "long: make conditions"]
fn many_random_statements() {
    compare(3000, 23, &["WaliaNearestScan", "WaliaCodeScan"], add_codes);
}
