//! The program as it is used: in a pseudo-terminal, watching a server that searches, imports, crashes and
//! refuses.

mod pty;
#[expect(dead_code, reason = "the project's whole-cluster tests use the rest of it")]
#[path = "../../../tests/cluster/server.rs"]
mod server;

use std::io::Write;
use std::process::Command;
use std::thread;

use postgres::error::SqlState;
use postgres::{Client, NoTls};

use pty::Terminal;
use server::{Cluster, wait_until};

const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (160, 50);

/// A table of 3,000 rows with an index, and roles.
fn prepare() -> Cluster {
    let cluster = Cluster::start(&["autovacuum = off"]);
    cluster
        .connect()
        .batch_execute(
            "CREATE EXTENSION walia;
             CREATE EXTENSION pg_buffercache;
             CREATE TABLE items (id int, v vecf32(16));
             INSERT INTO items SELECT i, (SELECT array_agg(sin(i * j))::real[] FROM generate_series(1, 16) AS j)
             FROM generate_series(1, 3000) AS i;
             CREATE INDEX items_v ON items USING walia_hnsw (v vecf32_l2_ops);
             ANALYZE items;
             CREATE ROLE owner LOGIN; CREATE ROLE watcher LOGIN; CREATE ROLE nobody LOGIN;
             GRANT pg_monitor TO watcher; ALTER TABLE items OWNER TO owner",
        )
        .unwrap();
    cluster
}

fn watch(cluster: &Cluster, role: &str, variables: &[(&str, &str)], size: (u16, u16)) -> Terminal {
    let connection = format!("host={} user={role} dbname=postgres", cluster.sockets().display());
    Terminal::open(&[&connection, "--interval", "0.5"], variables, size)
}

fn text(client: &mut Client, query: &str) -> String {
    client.query_one(query, &[]).unwrap_or_else(|error| panic!("{query}: {error}")).get(0)
}

#[test]
fn shows_what_the_server_does() {
    let cluster = prepare();
    let mut terminal = watch(&cluster, "watcher", &[], SMALL);
    let mut client = cluster.connect();
    client
        .query("SELECT id FROM items ORDER BY v <-> (SELECT v FROM items WHERE id = 1) LIMIT 3", &[])
        .unwrap();
    let mut import = cluster.connect();
    let mut rows = import.copy_in("COPY items FROM STDIN").unwrap();
    // Postgres inserts, and counts, a thousand at a time.
    for id in 1..=1500 {
        writeln!(rows, "{id}\t[{}{id}]", "0.5,".repeat(15)).unwrap();
    }
    rows.flush().unwrap();
    terminal.wait_like(include_str!("expected/overview.txt"));
    rows.finish().unwrap();
    terminal.wait_for("no build, vacuum or import");
    terminal.press("4");
    terminal.wait_like(include_str!("expected/searches.txt"));
    terminal.press("3");
    terminal.wait_like(include_str!("expected/indexes.txt"));
    // Its sessions keep no snapshot.
    let held = "SELECT count(*)::text FROM pg_stat_activity WHERE application_name = 'walia-top' AND now() - xact_start > interval '5 s'";
    assert_eq!(text(&mut client, held), "0");
    terminal.press("q");
    assert!(terminal.end());
    assert!(!terminal.with(vt100::Screen::alternate_screen));
    wait_until("its sessions are closed", || {
        text(&mut client, "SELECT count(*)::text FROM pg_stat_activity WHERE application_name = 'walia-top'")
            == "0"
    });
}

#[test]
fn shows_how_far_builds_and_vacuums_are() {
    let cluster = prepare();
    cluster
        .connect()
        .batch_execute(
            "CREATE FUNCTION slow(v vecf32) RETURNS vecf32 IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.001); RETURN v; END';
             -- Threads get a thousand rows at a time, and what is left is told from several.
             INSERT INTO items SELECT 3000 + i, (SELECT array_agg(sin(i * j + 0.5))::real[] FROM generate_series(1, 16) AS j)
             FROM generate_series(1, 5000) AS i;
             DELETE FROM items WHERE id % 3 = 0",
        )
        .unwrap();
    let terminal = watch(&cluster, "watcher", &[], SMALL);
    for (command, shown) in [
        (
            "CREATE INDEX ON items USING walia_hnsw ((slow(v)::vecf32(16)))",
            ["CREATE INDEX items building graph █", "% left"],
        ),
        // The first phase would be over before it is seen.
        ("SET vacuum_cost_delay = 100; SET vacuum_cost_limit = 1; VACUUM items", ["VACUUM items ", "for "]),
    ] {
        let mut client = cluster.connect();
        let cancel = client.cancel_token();
        let work = thread::spawn(move || {
            command.split("; ").try_for_each(|statement| client.batch_execute(statement))
        });
        terminal.wait(shown[0], |screen| {
            let line = screen.lines().find(|line| line.contains(shown[0]));
            line.is_some_and(|line| shown[1].split('%').all(|part| line.contains(part)))
        });
        cancel.cancel_query(NoTls).unwrap();
        let error = work.join().unwrap().unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{error}");
        terminal.wait_for("no build, vacuum or import");
    }
}

#[test]
fn the_map_says_what_the_functions_say() {
    let cluster = prepare();
    // What is cached then is not all.
    cluster.stop();
    cluster.run();
    let mut client = cluster.connect();
    client.query("SELECT count(*) FROM walia_page_map('items_v')", &[]).unwrap();
    let mut terminal = watch(&cluster, "watcher", &[], LARGE);
    terminal.press("2");
    let cached = "SELECT '% items_v % ' || CASE WHEN cached = pages THEN 100 ELSE greatest(1, least(99, round(100 * cached / pages))) END || '\\% cached%'
        FROM (SELECT count(*)::float8 AS cached, pg_relation_size('items_v') / 8192 AS pages FROM pg_buffercache
            WHERE relfilenode = pg_relation_filenode('items_v') AND relforknumber = 0) AS counted";
    // Every cell is a page here, and there is one for each.
    terminal.wait("the share that is cached", |_| {
        let screen = terminal.screen();
        screen.contains("1 page a cell")
            && cluster
                .connect()
                .query_one("SELECT $1::text LIKE $2", &[&screen, &text(&mut cluster.connect(), cached)])
                .unwrap()
                .get(0)
    });
    terminal.press("k");
    let kinds = text(
        &mut client,
        "SELECT string_agg(left(kind, 1), '' ORDER BY block) FROM walia_page_map('items_v')",
    );
    assert!(kinds.len() > 78, "{kinds}");
    terminal.wait("the kinds of pages", |screen| {
        let columns =
            screen.lines().skip(2).take(40).map(|line| line.chars().skip(1).take(78).collect::<String>());
        columns.collect::<String>().split_whitespace().collect::<String>().starts_with(&kinds)
    });
    // The first page, one in the middle, the last one.
    for keys in ["\x1b[H", "\x1b[C\x1b[B", "\x1b[F"] {
        terminal.press(keys);
        let block = match keys {
            "\x1b[H" => "0",
            "\x1b[F" => "(SELECT max(block) FROM walia_page_map('items_v'))",
            _ => "79",
        };
        let about = format!(
            "SELECT 'block ' || block || ' · ' || kind || '%' || tuples || CASE tuples WHEN 1 THEN ' tuple ' ELSE ' tuples ' END || '%'
             FROM walia_page_map('items_v') WHERE block = {block}"
        );
        let about = text(&mut client, &about);
        terminal.wait(&about, |screen| {
            let (kind, tuples) = about.split_once('%').unwrap();
            screen.lines().any(|line| {
                line.contains(kind) && line.contains(&format!(" {}", tuples.trim_end_matches('%')))
            })
        });
    }
}

#[test]
fn keeps_running() {
    let cluster = prepare();
    let mut terminal = watch(&cluster, "postgres", &[], SMALL);
    terminal.wait(" cached", |screen| screen.matches("% cached").count() == 2);
    cluster.kill9();
    terminal.wait_for("server away: ");
    cluster.run();
    terminal.wait("the server's clock", |screen| {
        !screen.contains("away") && screen.lines().next().unwrap().contains(':')
    });
    let mut client = cluster.connect();
    client.batch_execute("DROP EXTENSION walia CASCADE").unwrap();
    terminal.wait_for("This database does not have the");
    client
        .batch_execute(
            "CREATE EXTENSION walia; ALTER TABLE items ADD COLUMN w vecf32(2);
             UPDATE items SET w = ARRAY[id, 1]; CREATE INDEX items_w ON items USING walia_hnsw (w vecf32_l2_ops)",
        )
        .unwrap();
    terminal.wait("the new index", |screen| {
        screen.contains("items_w") && screen.matches("% cached").count() == 2
    });
    // Who locks the table keeps the map from being drawn anew, and nothing else.
    client.batch_execute("BEGIN; LOCK TABLE items IN ACCESS EXCLUSIVE MODE").unwrap();
    let screen = terminal.wait_for("another session has locked it");
    terminal.wait("the next second", |now| {
        now.lines().next() != screen.lines().next() && now.contains("has locked it")
    });
    client.batch_execute("COMMIT").unwrap();
    terminal.wait("the maps again", |screen| {
        screen.matches("% cached").count() == 2 && !screen.contains("has locked it")
    });
    terminal.press("\x03");
    assert!(terminal.end());
}

#[test]
fn shows_what_a_role_may_see() {
    let cluster = prepare();
    let mut terminal = watch(&cluster, "watcher", &[], SMALL);
    terminal.wait(" cached", |screen| screen.matches("% cached").count() == 2);
    terminal.press("hr");
    terminal.wait("both refused", |screen| screen.matches("permission denied for table items").count() == 2);
    let terminal = watch(&cluster, "nobody", &[], SMALL);
    terminal.wait("no maps", |screen| screen.matches("permission denied for table items").count() == 2);
    let mut client = cluster.connect();
    client
        .query("SELECT id FROM items ORDER BY v <-> (SELECT v FROM items WHERE id = 1) LIMIT 3", &[])
        .unwrap();
    // A few looks later, nothing of others' statements is known.
    let clock = |screen: &str| screen.lines().next().map(str::to_owned);
    let before = clock(&terminal.screen());
    terminal.wait("the next second", |screen| clock(screen) != before);
    let before = clock(&terminal.screen());
    let screen = terminal.wait("one more", |screen| clock(screen) != before);
    assert!(screen.contains("none seen") && !screen.contains("SELECT"), "{screen}");
    let mut terminal = watch(&cluster, "owner", &[], SMALL);
    terminal.wait(" cached", |screen| screen.matches("% cached").count() == 2);
    terminal.press("hr");
    terminal.wait("recall", |screen| {
        screen.contains("0 unreachable of 3.0k nodes") && screen.contains("recall@10 ")
    });
}

#[test]
fn needs_no_colours_and_no_terminal() {
    let cluster = prepare();
    let terminal = watch(&cluster, "watcher", &[("NO_COLOR", "1")], SMALL);
    terminal.wait(" cached", |screen| screen.matches("100% cached").count() == 2 && screen.contains("███"));
    terminal.with(|screen| {
        for place in (0..24).flat_map(|row| (0..80).map(move |column| (row, column))) {
            let cell = screen.cell(place.0, place.1).unwrap();
            assert_eq!(
                (cell.fgcolor(), cell.bgcolor()),
                (vt100::Color::Default, vt100::Color::Default),
                "{place:?}"
            );
        }
    });
    let coloured = watch(&cluster, "watcher", &[], SMALL);
    coloured.wait_for("■■■");
    let colours = coloured
        .with(|screen| [(8, 20), (8, 60)].map(|(row, column)| screen.cell(row, column).unwrap().fgcolor()));
    assert_eq!(colours, [44, 164].map(vt100::Color::Idx));
    let output = Command::new(env!("CARGO_BIN_EXE_walia-top"))
        .env_clear()
        .envs([
            ("PGHOST", cluster.sockets().to_str().unwrap()),
            ("PGUSER", "watcher"),
            ("PGDATABASE", "postgres"),
        ])
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && printed.is_ascii() && !printed.contains('\x1b'), "{printed}");
    assert!(printed.contains("items_v") && printed.matches("100% cached").count() == 2, "{printed}");
    cluster.stop();
    let output = Command::new(env!("CARGO_BIN_EXE_walia-top"))
        .env_clear()
        .arg(format!("host={} user=watcher", cluster.sockets().display()))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && said.starts_with("walia-top: could not connect to the server: "),
        "{said}"
    );
}
