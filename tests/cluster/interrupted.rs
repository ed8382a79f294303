//! Builds that end before their time, whatever way they go and in each phase: the error is clear, nothing is
//! left behind, and the table is as it was.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use postgres::error::SqlState;
use postgres::{Client, Error};

use crate::scan::assert_sound;
use crate::server::{Cluster, run, variable, wait_until};
use crate::stop_points::{LOCK, Stopper};

const ROWS: u32 = 5000;
/// Vectors of 4 MB. The key is a function that waits, at a row and in a phase, for the lock of the stop
/// points.
const TABLE: &str = "
    CREATE EXTENSION walia;
    CREATE FUNCTION held(id int, v vecf32) RETURNS vecf32 LANGUAGE plpgsql IMMUTABLE AS $$
    BEGIN
        IF id::text = current_setting('test.row', true) THEN
            PERFORM pg_stat_clear_snapshot();
            IF EXISTS (SELECT FROM pg_stat_progress_create_index
                       WHERE pid = pg_backend_pid() AND phase = current_setting('test.phase')) THEN
                PERFORM pg_advisory_lock(LOCK), pg_advisory_unlock(LOCK);
            END IF;
        END IF;
        RETURN v;
    END $$;
    SELECT setseed(0.5);
    CREATE TABLE items (id int, v vecf32(200));
    INSERT INTO items SELECT i, (SELECT array_agg(sin((i % 100) * j) + random()) FROM generate_series(1, 200) AS j)::vecf32
        FROM generate_series(1, ROWS) AS i;
    ANALYZE items";
const BUILD: &str =
    "CREATE INDEX items_v ON items USING walia_hnsw ((held(id, v)::vecf32(200)) vecf32_l2_ops)
    WITH (m = 8, ef_construction = 20)";

const THREADS: &str = "SET walia.build_threads = 2";

/// The ways of a build, and the maintenance_work_mem that leads to each.
const IN_MEMORY: &str = "64MB";
const ON_DISK: &str = "2MB";
const IN_BATCHES: &str = "1MB";
/// As much, of an index without codes: its rows are not sorted, and become graphs as they are read.
const WITHOUT_CODES: &str = "1024kB";

/// Of an index, in so much memory.
fn build(memory: &str) -> String {
    let options = if memory == WITHOUT_CODES { "(quantization = none, " } else { "(" };
    BUILD.replace("WITH (", &format!("WITH {options}"))
}

/// Where a build is held.
#[derive(Debug)]
enum At {
    Row(u32),
    Point(&'static str),
}

/// Each way in each of its phases.
const MOMENTS: [(&str, &str, At); 12] = [
    (IN_MEMORY, "initializing", At::Row(1)),
    (IN_MEMORY, "building graph", At::Row(ROWS / 2)),
    (IN_MEMORY, "writing pages", At::Point("build page written")),
    (ON_DISK, "building graph", At::Row(ROWS - 10)),
    (ON_DISK, "writing pages", At::Point("build page written")),
    (IN_BATCHES, "sorting rows by cluster", At::Row(ROWS / 5)),
    (IN_BATCHES, "sorting rows by cluster", At::Row(ROWS - 10)),
    (IN_BATCHES, "writing pages", At::Point("build page written")),
    (WITHOUT_CODES, "building graph", At::Row(ROWS / 5)),
    // Of the last graph.
    (WITHOUT_CODES, "building graph", At::Row(ROWS - 10)),
    (IN_BATCHES, "joining graph", At::Point("batch page written")),
    (IN_BATCHES, "joining graph", At::Point("batch page linked")),
];

#[derive(Clone, Copy, Debug)]
enum End {
    Cancelled,
    TimedOut,
    Terminated,
    Killed,
}

const ENDS: [End; 4] = [End::Cancelled, End::TimedOut, End::Terminated, End::Killed];

/// A server with the table, and what its builds are compared with.
struct Builds {
    cluster: Cluster,
    /// How long the slowest way takes.
    time: Duration,
    /// Bytes of the index.
    size: u64,
}

impl Builds {
    fn new() -> Self {
        let cluster = Cluster::start(&["autovacuum = off", "max_wal_size = 4GB"]);
        let mut builds = Self { cluster, time: Duration::ZERO, size: 0 };
        let mut client = builds.cluster.connect();
        client.batch_execute(&TABLE.replace("LOCK", LOCK).replace("ROWS", &ROWS.to_string())).unwrap();
        for (memory, said) in [
            (IN_MEMORY, None),
            (ON_DISK, Some("vectors no longer fit")),
            (IN_BATCHES, Some("hnsw graph no longer fits")),
        ] {
            let (mut client, notices) = builds.cluster.connect_with_notices();
            let begin = Instant::now();
            client
                .batch_execute(&format!("{THREADS}; SET maintenance_work_mem = '{memory}'; {BUILD}"))
                .unwrap();
            builds.time = builds.time.max(begin.elapsed());
            let notices = notices.lock().unwrap();
            let is_said = notices.last().zip(said).is_some_and(|(last, said)| last.starts_with(said));
            assert!(is_said || said.is_none() && notices.is_empty(), "{memory}: {notices:?}");
            let size = client.query_one("SELECT pg_relation_size('items_v')", &[]).unwrap();
            builds.size = size.get::<_, i64>(0) as u64;
            assert_sound(&mut client);
            client.batch_execute("DROP INDEX items_v").unwrap();
        }
        builds
    }

    /// A session whose builds have so much memory.
    fn session(&self, memory: &str) -> Session {
        let mut client = self.cluster.connect();
        let settings = "LOAD 'walia'; SET client_min_messages = warning";
        client
            .batch_execute(&format!("{settings}; {THREADS}; SET maintenance_work_mem = '{memory}'"))
            .unwrap();
        let process = client.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
        Session { client, process, resident: resident(process), files: relation_files(&self.cluster) }
    }

    /// Fails where a build that has ended has left something, or cannot be done now. The session is none any
    /// more where the server has ended it.
    fn assert_nothing_left(&self, session: Session, is_alive: bool, what: &str) {
        let Session { mut client, process, resident: before, files } = session;
        wait_until(&format!("no temporary file is left: {what}"), || {
            temporary_files(&self.cluster.data().join("base")).is_empty()
        });
        if is_alive {
            let left: Vec<_> = relation_files(&self.cluster).difference(&files).cloned().collect();
            assert!(left.is_empty(), "{what}: {left:?}");
            let folder = |name: &str| fs::read_dir(format!("/proc/{process}/{name}")).unwrap();
            assert_eq!(folder("task").count(), 1, "threads: {what}");
            let open = folder("fd").filter_map(|link| fs::read_link(link.ok()?.path()).ok());
            let open: Vec<PathBuf> =
                open.filter(|path| path.to_string_lossy().contains("pgsql_tmp")).collect();
            assert!(open.is_empty(), "{what}: {open:?}");
            // Beside the graph's memory there is what Postgres has learnt of its catalogs.
            let more = resident(process).saturating_sub(before);
            assert!(more < 3 << 20, "{what}: {more} bytes are kept");
        } else {
            client = self.cluster.connect();
        }
        client
            .batch_execute(&format!(
                "SET statement_timeout = 0; SET temp_file_limit = -1; SET walia.stop_points = ''; {BUILD}"
            ))
            .unwrap();
        assert_sound(&mut client);
        client.batch_execute("DROP INDEX items_v").unwrap();
    }

    /// Ends a build at a moment.
    fn end(&self, (memory, phase, at): &(&str, &str, At), end: End) {
        let what = format!("{memory}, {phase}, {at:?}, {end:?}");
        let (mut session, statement) = (self.session(memory), build(memory));
        let phase = format!("building index: {phase}");
        let hold = match at {
            At::Row(row) => format!("SET test.row = {row}; SET test.phase = '{phase}'"),
            At::Point(point) => format!("SET walia.stop_points = '{point}'"),
        };
        session.client.batch_execute(&hold).unwrap();
        let timeout = if matches!(end, End::TimedOut) {
            4 * self.time + Duration::from_secs(3)
        } else {
            Duration::ZERO
        };
        let timeout = format!("SET statement_timeout = {}", timeout.as_millis());
        session.client.batch_execute(&timeout).unwrap();
        let log = self.cluster.log().len();
        let (mut session, error) = thread::scope(|scope| {
            let mut stopper = Stopper::new(&self.cluster);
            let process = session.process;
            let build = scope.spawn(move || {
                let error = session.client.batch_execute(&statement).expect_err("the build was ended");
                (session, error)
            });
            stopper.wait_for(1, &what);
            let mut other = self.cluster.connect();
            let shown = "SELECT phase FROM pg_stat_progress_create_index";
            assert_eq!(other.query_one(shown, &[]).unwrap().get::<_, &str>(0), phase, "{what}");
            let function = match end {
                End::Cancelled => Some("pg_cancel_backend"),
                End::Terminated => Some("pg_terminate_backend"),
                End::TimedOut | End::Killed => None,
            };
            if let Some(function) = function {
                other.execute(&format!("SELECT {function}({process})"), &[]).unwrap();
            } else if matches!(end, End::Killed) {
                run(Command::new("sh").args(["-c", &format!("kill -9 {process}")]));
            }
            build.join().unwrap()
        });
        let said = |code: &SqlState, message: &str| {
            let error = error.as_db_error().unwrap_or_else(|| panic!("{what}: {error:?}"));
            assert_eq!((error.code(), error.message()), (code, message), "{what}");
        };
        match end {
            End::Cancelled => said(&SqlState::QUERY_CANCELED, "canceling statement due to user request"),
            End::TimedOut => said(&SqlState::QUERY_CANCELED, "canceling statement due to statement timeout"),
            End::Terminated => {
                let log = self.cluster.log().split_off(log);
                assert!(
                    log.contains("FATAL:  terminating connection due to administrator command"),
                    "{what}: {log}"
                );
                assert!(!log.contains("terminated by signal"), "{what}: {log}");
            }
            End::Killed => {
                wait_until("the server begins anew", || {
                    self.cluster.log()[log..].contains("database system is ready to accept connections")
                });
            }
        }
        // Postgres leaves files of relations behind that were made when the server died.
        let is_alive = matches!(end, End::Cancelled | End::TimedOut);
        if is_alive {
            session.client.batch_execute("RESET test.row").unwrap();
        }
        self.assert_nothing_left(session, is_alive, &what);
    }
}

struct Session {
    client: Client,
    process: i32,
    /// Before the build: bytes of memory of its own, and the files of relations.
    resident: u64,
    files: BTreeSet<PathBuf>,
}

/// Bytes of a process that are in memory and nobody else's.
fn resident(process: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Files below a directory for which something holds.
fn files(directory: &Path, holds: &dyn Fn(&Path) -> bool) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    entries
        .flat_map(|path| if path.is_dir() { files(&path, holds) } else { BTreeSet::from([path]) })
        .filter(|path| holds(path))
        .collect()
}

fn temporary_files(directory: &Path) -> BTreeSet<PathBuf> {
    files(directory, &|path| path.to_string_lossy().contains("pgsql_tmp"))
}

/// The main forks of relations. Until the next checkpoint an empty file keeps the number of one that is gone.
fn relation_files(cluster: &Cluster) -> BTreeSet<PathBuf> {
    let is_number =
        |path: &Path| path.file_name().unwrap().to_string_lossy().bytes().all(|c| c.is_ascii_digit());
    files(&cluster.data().join("base"), &|path| {
        is_number(path) && path.metadata().is_ok_and(|file| file.len() > 0)
    })
}

/// Each moment once, and each end.
#[test]
fn leave_nothing() {
    let builds = Builds::new();
    for (moment, end) in MOMENTS.iter().zip(ENDS.iter().cycle()) {
        builds.end(moment, *end);
    }
}

mod crash {
    use super::*;

    #[test]
    #[ignore = "long: make crash"]
    fn leaves_nothing_at_any_moment() {
        let builds = Builds::new();
        for moment in &MOMENTS {
            for end in ENDS {
                builds.end(moment, end);
            }
        }
    }
}

fn assert_error(error: &Error, code: &SqlState, message: &str, what: &str) {
    let error = error.as_db_error().unwrap_or_else(|| panic!("{what}: {error:?}"));
    assert_eq!(error.code(), code, "{what}: {error:?}");
    assert!(error.message().contains(message), "{what}: {error:?}");
}

#[test]
fn by_temporary_files_that_are_refused() {
    let builds = Builds::new();
    // When the first vectors move, and when others follow.
    for (memory, limit) in [(ON_DISK, 512), (ON_DISK, 2048), (IN_BATCHES, 256), (IN_BATCHES, 1024)] {
        let (what, mut session) = (format!("{memory}, {limit} kB"), builds.session(memory));
        session.client.batch_execute(&format!("SET temp_file_limit = {limit}")).unwrap();
        let error = session.client.batch_execute(BUILD).unwrap_err();
        let message = format!("temporary file size exceeds temp_file_limit ({limit}kB)");
        let plain = error.as_db_error().unwrap().message().replace('"', "");
        assert_eq!((error.code(), plain), (Some(&SqlState::CONFIGURATION_LIMIT_EXCEEDED), message), "{what}");
        builds.assert_nothing_left(session, true, &what);
    }
}

/// The threads find a file that is shorter than it was written, as on a disk that is broken.
#[test]
fn by_threads_that_cannot_read() {
    let builds = Builds::new();
    let mut session = builds.session(ON_DISK);
    let hold = format!("SET test.row = {}; SET test.phase = 'building index: building graph'", ROWS - 1000);
    session.client.batch_execute(&hold).unwrap();
    let (mut session, error) = thread::scope(|scope| {
        let mut stopper = Stopper::new(&builds.cluster);
        let build = scope.spawn(move || {
            let error = session.client.batch_execute(BUILD).expect_err("vectors are missing");
            (session, error)
        });
        stopper.wait_for(1, "a row is read");
        let files = temporary_files(&builds.cluster.data().join("base"));
        assert_eq!(files.len(), 1, "{files:?}");
        File::options().write(true).open(files.first().unwrap()).unwrap().set_len(0).unwrap();
        stopper.release();
        build.join().unwrap()
    });
    assert_error(
        &error,
        &SqlState::IO_ERROR,
        "could not read from a temporary file: it is too short",
        "a short file",
    );
    session.client.batch_execute("RESET test.row").unwrap();
    builds.assert_nothing_left(session, true, "a short file");
}

/// A file system of so many bytes at most, as a tablespace; `None` where none may be mounted.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(cluster: &Cluster) -> Option<Self> {
        let disk = Self(cluster.sockets().join("disk"));
        let user = variable("WALIA_TEST_USER");
        let (uid, gid) = user.split_once(':')?;
        fs::create_dir(&disk.0).unwrap();
        disk.mounted(&format!("mode=700,uid={uid},gid={gid}")).then_some(disk)
    }

    fn mounted(&self, options: &str) -> bool {
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(&self.0).output();
        mount.is_ok_and(|done| done.status.success())
    }

    fn resize(&self, bytes: u64) {
        assert!(self.mounted(&format!("remount,size={}k", bytes >> 10)));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(&self.0).output().ok();
    }
}

#[test]
fn by_disks_that_are_full() {
    let builds = Builds::new();
    let Some(disk) = SmallDisk::mount(&builds.cluster) else {
        println!("skipped: no file system can be mounted");
        return;
    };
    let place = format!("CREATE TABLESPACE small LOCATION '{}'", disk.0.display());
    builds.cluster.connect().batch_execute(&place).unwrap();
    // The space that its temporary files have, or the index, as a share of what that takes.
    for (memory, setting, share) in [
        (ON_DISK, "temp_tablespaces", 0.1),
        (IN_BATCHES, "temp_tablespaces", 0.1),
        (IN_MEMORY, "default_tablespace", 0.5),
        (ON_DISK, "default_tablespace", 0.5),
        (IN_BATCHES, "default_tablespace", 0.1),
        (IN_BATCHES, "default_tablespace", 0.9),
    ] {
        let (what, mut session) = (format!("{memory}, {setting}, {share}"), builds.session(memory));
        session.client.batch_execute(&format!("SET {setting} = small")).unwrap();
        disk.resize((builds.size as f64 * share) as u64);
        let error = session.client.batch_execute(BUILD).expect_err(&what);
        disk.resize(256 << 20);
        assert_eq!(error.code(), Some(&SqlState::DISK_FULL), "{what}: {error:?}");
        wait_until(&format!("no temporary file is left: {what}"), || temporary_files(&disk.0).is_empty());
        builds.assert_nothing_left(session, true, &what);
        let left = files(&disk.0, &|path| path.metadata().is_ok_and(|file| file.len() > 0));
        assert!(left.is_empty(), "{what}: {left:?}");
    }
    let mut client = builds.cluster.connect();
    for command in ["CHECKPOINT", "DROP TABLESPACE small"] {
        client.batch_execute(command).unwrap();
    }
}
