//! Installing and dropping the extension.

use crate::server::Cluster;

#[test]
fn creates_and_drops_without_a_trace() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect();
    let catalog = |client: &mut postgres::Client| -> Vec<i64> {
        let counts = "SELECT (SELECT count(*) FROM pg_type), (SELECT count(*) FROM pg_proc), \
                      (SELECT count(*) FROM pg_operator), (SELECT count(*) FROM pg_cast), \
                      (SELECT count(*) FROM pg_am), (SELECT count(*) FROM pg_opclass), (SELECT count(*) FROM pg_depend)";
        let row = client.query_one(counts, &[]).unwrap();
        (0..row.len()).map(|column| row.get(column)).collect()
    };
    let before = catalog(&mut client);
    client.batch_execute("CREATE EXTENSION walia").unwrap();
    assert_ne!(catalog(&mut client), before);
    client.batch_execute("DROP EXTENSION walia").unwrap();
    assert_eq!(catalog(&mut client), before);
    client.batch_execute("CREATE EXTENSION walia").unwrap();
}

#[test]
fn is_trusted() {
    let cluster = Cluster::start(&[]);
    cluster
        .connect()
        .batch_execute(
            "CREATE ROLE owner LOGIN; CREATE ROLE stranger LOGIN; GRANT CREATE ON DATABASE postgres TO owner",
        )
        .unwrap();
    let refused =
        cluster.connect_as("stranger", "postgres").batch_execute("CREATE EXTENSION walia").unwrap_err();
    assert_eq!(refused.code(), Some(&postgres::error::SqlState::INSUFFICIENT_PRIVILEGE));
    cluster.connect_as("owner", "postgres").batch_execute("CREATE EXTENSION walia").unwrap();
}

#[test]
fn loads_into_a_backend() {
    let cluster = Cluster::start(&[]);
    cluster.connect().batch_execute("LOAD 'walia'").unwrap();
}
