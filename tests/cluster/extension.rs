//! Installing and dropping the extension.

use std::fs;
use std::path::Path;

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

/// What PGXN reads: its required fields, and of each extension what the control file says.
#[test]
fn meta_data_agrees_with_the_control_files() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(sources.join(name)).unwrap();
    let meta: serde_json::Value = serde_json::from_str(&read("META.json")).unwrap();
    for field in ["name", "abstract", "maintainer", "license", "version", "meta-spec"] {
        assert!(!meta[field].is_null(), "{field}");
    }
    assert_eq!(meta["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(meta["meta-spec"]["version"], "1.0.0");
    let controls =
        fs::read_dir(sources).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let controls: Vec<String> = controls.filter(|name| name.ends_with(".control")).collect();
    let provided = meta["provides"].as_object().unwrap();
    assert_eq!(provided.len(), controls.len());
    for control in controls {
        let extension = &provided[control.strip_suffix(".control").unwrap()];
        let text = read(&control);
        let value = |key: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(" = '")?.strip_suffix('\''));
            line.unwrap_or_else(|| panic!("{control}: {key}")).to_owned()
        };
        assert_eq!(extension["version"], value("default_version").as_str(), "{control}");
        assert_eq!(extension["abstract"], value("comment").as_str(), "{control}");
        for file in ["file", "docfile"] {
            assert!(sources.join(extension[file].as_str().unwrap()).exists(), "{control}: {file}");
        }
    }
}
