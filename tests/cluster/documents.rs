//! Every SQL statement of README.md and docs/, run in order, as a reader would paste it into psql.
//!
//! A document is one session in a database of its own. What the Markdown says:
//!
//! - a block of `sql` succeeds; a block of `text` below it is exactly what psql prints for it;
//! - `<!-- error 22023 -->` above it: its last statement fails, with that SQLSTATE;
//! - `<!-- needs vector -->` above it: it is left out on a server that lacks this extension;
//! - `<!-- sql`, lines, `-->`: what the text takes for granted, run without being shown;
//! - a block of `sh` is for a shell, and not run;
//! - a block of `python`, and what is printed below it, is run by tests/clients/test_documents.py.
//!
//! Whatever else looks like a block fails, so that no statement is overlooked.

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::server::{Cluster, pg_config, variable};

/// What psql prints before the output of the block of this number.
const MARK: &str = "-- output of block";

/// Statements, and what they are to give.
#[derive(Debug, Default, PartialEq)]
struct Block {
    /// The line of the document on which they begin.
    line: usize,
    statements: String,
    /// The SQLSTATE with which the last of them fails.
    error: Option<String>,
    /// The extension without which they cannot run.
    needs: Option<String>,
    /// What psql prints.
    output: Option<String>,
}

/// The blocks of a document; an error names the line that is not recognised.
fn blocks(document: &str) -> Result<Vec<Block>, String> {
    let mut blocks: Vec<Block> = Vec::new();
    // The marks above the next block.
    let mut next = Block::default();
    // Whether nothing but blank lines lies between here and the end of a block of `sql`.
    let mut follows_statements = false;
    // The same of a block of `python`.
    let mut follows_python = false;
    let mut lines = document.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        let mut content = |end: &str| {
            let content: Vec<_> =
                lines.by_ref().map(|(line, _)| line).take_while(|line| *line != end).collect();
            content.join("\n") + "\n"
        };
        let wrong = |what: &str| Err(format!("line {number}: {what}: {line}"));
        match line {
            "" => continue,
            "```sql" | "<!-- sql" => {
                follows_statements = line == "```sql";
                follows_python = false;
                let statements = content(if follows_statements { "```" } else { "-->" });
                if follows_statements && !statements.trim_end().ends_with(';') {
                    return wrong("the last statement has no end");
                }
                blocks.push(Block { line: number, statements, ..std::mem::take(&mut next) });
                continue;
            }
            "```python" => {
                drop(content("```"));
                (follows_statements, follows_python) = (false, true);
                continue;
            }
            "```text" if follows_python => drop(content("```")),
            "```text" => match blocks.last_mut().filter(|_| follows_statements) {
                Some(block) => block.output = Some(content("```")),
                None => return wrong("output of no statement"),
            },
            "```sh" | "```console" => drop(content("```")),
            _ if line.starts_with("<!-- ") => {
                match line[5..].strip_suffix(" -->").and_then(|mark| mark.split_once(' ')) {
                    Some(("error", state)) => next.error = Some(state.to_owned()),
                    Some(("needs", extension)) => next.needs = Some(extension.to_owned()),
                    _ => return wrong("an unknown mark"),
                }
            }
            _ if line.contains("```") || line.contains("~~~") || line.contains("<!--") => {
                return wrong("a block of unknown kind");
            }
            _ if line.starts_with("    ") || line.starts_with('\t') => return wrong("an indented block"),
            _ if next != Block::default() => return wrong("a mark without statements"),
            _ => {}
        }
        (follows_statements, follows_python) = (false, false);
    }
    if next == Block::default() { Ok(blocks) } else { Err("a mark at the end without statements".into()) }
}

/// The input of psql for these blocks.
fn script(blocks: &[Block]) -> String {
    let mut script = String::from("\\set ON_ERROR_STOP on\n\\pset footer off\n");
    for (number, block) in blocks.iter().enumerate() {
        script += &format!("\\echo {MARK} {number}\n");
        if block.error.is_some() {
            script += &format!("\\set ON_ERROR_STOP off\n{}", block.statements);
            script += "\\echo SQLSTATE :SQLSTATE\n\\set ON_ERROR_STOP on\n";
        } else {
            script += &block.statements;
        }
    }
    script
}

/// Runs the blocks in a new database, and says what was not as the document has it.
fn run(cluster: &Cluster, database: &str, blocks: &[Block]) -> Result<(), String> {
    cluster.connect().batch_execute(&format!("CREATE DATABASE {database}")).unwrap();
    let path = PathBuf::from(variable("WALIA_TEST_OUTPUT")).join(format!("{database}.out"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let output = File::create(&path).unwrap();
    let mut input = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path.with_extension("sql"))
        .unwrap();
    input.write_all(script(blocks).as_bytes()).unwrap();
    input.rewind().unwrap();
    let status = Command::new(pg_config("bindir").join("psql"))
        .args(["--no-psqlrc", "--quiet", "--username=postgres", "--dbname", database, "--host"])
        .arg(cluster.sockets())
        .stdin(input)
        .stderr(Stdio::from(output.try_clone().unwrap()))
        .stdout(output)
        .status()
        .unwrap();
    let printed = fs::read_to_string(&path).unwrap();
    let mut outputs =
        printed.split(MARK).skip(1).map(|output| output.split_once('\n').map_or("", |(_, rest)| rest));
    for block in blocks {
        let wrong = |what: String| Err(format!("the statements on line {}: {what}", block.line));
        let Some(output) = outputs.next() else {
            return wrong(format!("not run; psql ended ({status}):\n{printed}"));
        };
        let state = output.trim_end().rsplit_once("SQLSTATE ").map(|(_, state)| state);
        match &block.error {
            Some(error) if state != Some(error) => return wrong(format!("no error {error}:\n{output}")),
            None if output.contains("ERROR: ") => return wrong(output.to_owned()),
            _ => {}
        }
        let shown = output
            .rsplit_once("SQLSTATE ")
            .filter(|_| block.error.is_some())
            .map_or(output, |(shown, _)| shown);
        if block.output.as_ref().is_some_and(|expected| plain(expected) != plain(shown)) {
            return wrong(format!("psql prints:\n{shown}"));
        }
    }
    if status.success() { Ok(()) } else { Err(format!("psql ended ({status}):\n{printed}")) }
}

/// Text without the blanks at the ends of lines, which psql prints and editors remove, and without blank
/// lines at its end.
fn plain(text: &str) -> String {
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

/// README.md and the files of docs/.
fn documents() -> Vec<PathBuf> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = fs::read_dir(sources.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut documents: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect();
    documents.push(sources.join("README.md"));
    documents.sort();
    documents
}

#[test]
fn every_statement_in_the_documents_runs() {
    let cluster = Cluster::start(&[]);
    let extensions = cluster.connect().query("SELECT name::text FROM pg_available_extensions", &[]).unwrap();
    let extensions: Vec<String> = extensions.iter().map(|row| row.get(0)).collect();
    let mut failures = Vec::new();
    let mut statements = 0;
    for document in documents() {
        let name = document.file_stem().unwrap().to_str().unwrap().to_lowercase();
        let file = document.file_name().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&document).unwrap();
        let checked = blocks(&text).and_then(|mut blocks| {
            blocks.retain(|block| match &block.needs {
                Some(extension) if !extensions.contains(extension) => {
                    println!(
                        "{file}, line {}: skipped, as extension {extension} is not installed",
                        block.line
                    );
                    false
                }
                _ => true,
            });
            statements += blocks.len();
            run(&cluster, &format!("document_{name}"), &blocks)
        });
        failures.extend(checked.err().map(|failure| format!("{file}: {failure}")));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert!(statements > 0, "no statements in {:?}", documents());
}

#[test]
fn blocks_are_recognised() {
    let document = "text\n<!-- sql\nSELECT 0;\n-->\n<!-- needs vector -->\n<!-- error 22023 -->\n```sql\nSELECT 1\n;\n```\n\n```text\n 1\n```\n```sh\nls\n```\n```python\nprint(1)\n```\n\n```text\n1\n```\n";
    let found = blocks(document).unwrap();
    let assumed = Block { line: 2, statements: "SELECT 0;\n".into(), ..Block::default() };
    let shown = Block {
        line: 7,
        statements: "SELECT 1\n;\n".into(),
        error: Some("22023".into()),
        needs: Some("vector".into()),
        output: Some(" 1\n".into()),
    };
    assert_eq!(found, [assumed, shown]);
    for unknown in [
        "    SELECT 1;\n",
        "```\nSELECT 1;\n```\n",
        "```psql\nSELECT 1;\n```\n",
        "- a list\n  ```sql\n  SELECT 1;\n  ```\n",
        "```sql\nSELECT 1;\n\ntext\n",
        "```sql\nSELECT 1\n```\n",
        "```text\n 1\n```\n",
        "```sql\nSELECT 1;\n```\ntext\n```text\n 1\n```\n",
        "<!-- eror 22023 -->\n```sql\nSELECT 1;\n```\n",
        "<!-- error 22023 -->\ntext\n```sql\nSELECT 1;\n```\n",
        "<!-- error 22023 -->\n",
        "text <!-- error 22023 -->\n",
    ] {
        assert!(blocks(unknown).is_err(), "{unknown}");
    }
}

#[test]
fn what_a_document_says_wrongly_is_seen() {
    let cluster = Cluster::start(&[]);
    for (number, (document, expected)) in [
        ("```sql\nSELECT 1/0;\nSELECT 1;\n```\n", "division by zero"),
        ("<!-- error 22012 -->\n```sql\nSELECT 1;\n```\n", "no error 22012"),
        ("<!-- error 22023 -->\n```sql\nSELECT 1/0;\n```\n", "no error 22023"),
        ("```sql\nSELECT 1 AS one;\n```\n```text\n one\n-----\n   2\n```\n", "psql prints"),
        ("```sql\nSELECT 'open;\n```\n```sql\nSELECT 2;\n```\n", "unterminated quoted string"),
    ]
    .into_iter()
    .enumerate()
    {
        let failure = run(&cluster, &format!("wrong_{number}"), &blocks(document).unwrap()).unwrap_err();
        assert!(failure.contains(expected), "{document}\n{failure}");
    }
    let right = "```sql\nSELECT 1 AS one;\n```\n\n```text\n one\n-----\n   1\n```\n<!-- error 22012 -->\n```sql\nSELECT 1/0;\n```\n```text\nERROR:  division by zero\n```\n";
    run(&cluster, "nothing_wrong", &blocks(right).unwrap()).unwrap();
}
