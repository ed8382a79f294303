//! The SQL scripts of `pg_regress/`, run by Postgres's own `pg_regress`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::server::{Cluster, pg_config, variable};

/// Runs every script of `pg_regress/sql` in lexical order in a database that has the extension.
#[test]
fn scripts_give_the_expected_output() {
    let input = Path::new(env!("CARGO_MANIFEST_DIR")).join("pg_regress");
    let mut scripts: Vec<String> = fs::read_dir(input.join("sql"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    scripts.sort();
    assert!(!scripts.is_empty(), "no scripts in {}", input.display());

    let output = PathBuf::from(variable("WALIA_TEST_OUTPUT"));
    fs::create_dir_all(&output).unwrap();
    let cluster = Cluster::start(&[]);
    let run = Command::new(pg_config("pkglibdir").join("pgxs/src/test/regress/pg_regress"))
        .arg(format!("--bindir={}", pg_config("bindir").display()))
        .arg(format!("--inputdir={}", input.display()))
        .arg(format!("--outputdir={}", output.display()))
        .arg(format!("--host={}", cluster.sockets().display()))
        .args(["--user=postgres", "--dbname=walia_regress", "--load-extension=walia"])
        .args(&scripts)
        .output()
        .unwrap();
    let differences = fs::read_to_string(output.join("regression.diffs")).unwrap_or_default();
    assert!(
        run.status.success(),
        "{}{}\n{differences}\nAfter reading the differences, `make accept` takes the new output as expected.",
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr),
    );
}
