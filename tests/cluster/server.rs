//! A private Postgres cluster for one test, its standby, and the ways to end it.
//!
//! Imports nothing of the other files. Commands run as the account that `WALIA_TEST_USER` names (`uid:gid`),
//! since Postgres refuses to run as root; without it they run directly.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use postgres::{Client, NoTls};

/// Settings of every cluster. What a killed server has written survives in the kernel, so that nothing need
/// be synced.
const SETTINGS: &str = "\
listen_addresses = ''
fsync = off
shared_buffers = 64MB
max_connections = 40
log_line_prefix = '%m [%p] '
";

/// A running server and its data. Dropping it stops the server and removes the files, except when the test
/// failed.
pub struct Cluster {
    home: PathBuf,
    sockets: PathBuf,
}

impl Cluster {
    /// Starts a new cluster with walia installed but not created. `settings` are lines of `postgresql.conf`.
    pub fn start(settings: &[&str]) -> Self {
        static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
        let template = TEMPLATE.get_or_init(|| {
            let template = test_directory().join(format!("{}-template", std::process::id()));
            run(program("initdb").arg("--pgdata").arg(&template).args([
                "--username=postgres",
                "--auth=trust",
                "--no-locale",
                "--encoding=UTF8",
                "--data-checksums",
                "--no-sync",
            ]));
            template
        });
        let cluster = Self::prepare();
        run(as_user("cp").arg("-a").arg(template).arg(cluster.data()));
        cluster.configure(SETTINGS);
        for setting in settings {
            cluster.configure(setting);
        }
        cluster.run();
        cluster
    }

    /// A streaming standby of this cluster, running and able to answer queries, with further lines of
    /// `postgresql.conf`.
    pub fn standby(&self, settings: &[&str]) -> Self {
        let standby = Self::prepare();
        run(program("pg_basebackup")
            .arg("--pgdata")
            .arg(standby.data())
            .args([
                "--username=postgres",
                "--write-recovery-conf",
                // The primary keeps the WAL that the standby has not received.
                "--create-slot",
                "--slot=standby",
                "--checkpoint=fast",
                "--no-sync",
                "--host",
            ])
            .arg(&self.sockets));
        for setting in settings {
            standby.configure(setting);
        }
        standby.run();
        standby
    }

    /// Waits until a standby has replayed all that this cluster has written so far.
    pub fn wait_for_replay(&self, standby: &Cluster) {
        let position: String =
            self.connect().query_one("SELECT pg_current_wal_flush_lsn()::text", &[]).unwrap().get(0);
        let mut client = standby.connect();
        wait_until("the standby has replayed", || {
            let query = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'::pg_lsn");
            client.query_one(&query, &[]).unwrap().get(0)
        });
    }

    /// Makes a standby a primary.
    pub fn promote(&self) {
        run(&mut self.pg_ctl("promote"));
    }

    /// A connection as the superuser `postgres` to the database `postgres`.
    pub fn connect(&self) -> Client {
        self.connect_as("postgres", "postgres")
    }

    /// A connection as a role to a database.
    pub fn connect_as(&self, role: &str, database: &str) -> Client {
        postgres::Config::new()
            .host_path(&self.sockets)
            .user(role)
            .dbname(database)
            .connect(NoTls)
            .unwrap_or_else(|error| panic!("{role} cannot connect to {database}: {error}"))
    }

    /// As [`Cluster::connect`], for a session whose notices are kept: of each the message, and a line with
    /// its detail.
    pub fn connect_with_notices(&self) -> (Client, Arc<Mutex<Vec<String>>>) {
        let notices = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&notices);
        let client = postgres::Config::new()
            .host_path(&self.sockets)
            .user("postgres")
            .dbname("postgres")
            .notice_callback(move |notice| {
                let detail = notice.detail().map(|detail| format!("\n{detail}")).unwrap_or_default();
                kept.lock().unwrap().push(notice.message().to_owned() + &detail);
            })
            .connect(NoTls)
            .unwrap();
        (client, notices)
    }

    /// Ends the server and all of its processes with signal 9, as a crash would.
    pub fn kill9(&self) {
        let postmaster = self.postmaster().expect("the server runs");
        let signal = |name: &str, processes: &str| {
            Command::new("sh").args(["-c", &format!("kill -{name} {processes} 2>&1")]).output().unwrap();
        };
        // A postmaster that saw its children die would start new ones before it dies itself.
        signal("STOP", &postmaster);
        let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap();
        let processes: Vec<&str> = children.split_whitespace().chain([postmaster.as_str()]).collect();
        // A child may end by itself in between, which makes `kill` complain.
        signal("KILL", &processes.join(" "));
        wait_until("the killed server's processes are gone", || {
            processes.iter().all(|process| {
                // A zombie that its parent has not yet asked after holds nothing any more.
                fs::read_to_string(format!("/proc/{process}/stat")).map_or(true, |stat| stat.contains(") Z "))
            })
        });
        // But its number in the lock files looks like that of a running server.
        for lock in [self.data().join("postmaster.pid"), self.sockets.join(".s.PGSQL.5432.lock")] {
            fs::remove_file(lock).unwrap();
        }
    }

    /// Starts the server again after [`Cluster::kill9`] or [`Cluster::stop`], and waits until it has
    /// recovered.
    pub fn run(&self) {
        self.run_with(&[]);
    }

    /// As [`Cluster::run`], with variables added to the server's environment.
    pub fn run_with(&self, variables: &[(&str, &str)]) {
        let options = format!("-c unix_socket_directories={}", self.sockets.display());
        let mut start = self.pg_ctl("start");
        start.envs(variables.iter().copied());
        start.arg("--log").arg(self.log_file()).args(["--timeout=300", "--options", &options]);
        let output = start.output().expect("pg_ctl runs");
        assert!(output.status.success(), "the server did not start; its log:\n{}", self.log());
    }

    /// Stops the server in order.
    pub fn stop(&self) {
        run(self.pg_ctl("stop").arg("--mode=fast"));
    }

    /// Makes this the next transaction number of a cluster that was stopped in order.
    pub fn set_next_transaction(&self, number: u32) {
        let option = format!("--next-transaction-id={number}");
        run(program("pg_resetwal").arg(option).arg("--pgdata").arg(self.data()));
        // The file that says what came of a million transactions, this one among them.
        let status = self.data().join(format!("pg_xact/{:04X}", number >> 20));
        run(as_user("truncate").arg("--size=262144").arg(status));
    }

    /// What the server has logged since the cluster was made.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    /// The directory of the server's socket, which clients take for a host.
    pub fn sockets(&self) -> &Path {
        &self.sockets
    }

    /// Directories for a cluster that has no data yet.
    fn prepare() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let home = test_directory().join(&name);
        // Not in the home directory, as the path of a socket may have 107 bytes at most.
        let sockets = PathBuf::from(format!("/tmp/walia-test-{name}"));
        run(as_user("mkdir").arg("--mode=700").args([&home, &sockets]));
        Self { home, sockets }
    }

    /// Appends lines to `postgresql.conf`.
    pub fn configure(&self, settings: &str) {
        let path = self.data().join("postgresql.conf");
        let configured = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{configured}\n{settings}\n")).unwrap();
    }

    fn log_file(&self) -> PathBuf {
        self.home.join("log")
    }

    fn pg_ctl(&self, action: &str) -> Command {
        let mut command = program("pg_ctl");
        command.args([action, "--wait", "--silent", "--pgdata"]).arg(self.data());
        command
    }

    /// The process that its lock file names, if that exists.
    pub fn postmaster(&self) -> Option<String> {
        let lock = fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        lock.lines().next().map(str::to_owned)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.postmaster().is_some() {
            // It fails if the test has killed the server: there is nothing to stop then.
            self.pg_ctl("stop").arg("--mode=immediate").output().ok();
        }
        fs::remove_dir_all(&self.sockets).ok();
        if thread::panicking() {
            eprintln!("the cluster's files are kept in {}", self.home.display());
        } else {
            fs::remove_dir_all(&self.home).ok();
        }
    }
}

/// What pg_config answers to `--what`, as a path.
pub fn pg_config(what: &str) -> PathBuf {
    let output = run(Command::new(variable("WALIA_TEST_PG_CONFIG")).arg(format!("--{what}")));
    PathBuf::from(output.trim_end())
}

/// The value of a variable that `make test` sets.
pub fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: these tests run through `make test`"))
}

/// Runs a command to its end and gives what it printed; a failure fails the test and shows why.
pub fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out.into_owned()
}

/// Runs a program of the server to its end as the server's account; see [`run`].
pub fn run_as_server_user(name: &str, arguments: &[&str]) -> String {
    run(program(name).args(arguments))
}

/// Asks again and again until it is so; fails the test after a minute.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Where clusters keep their data.
fn test_directory() -> PathBuf {
    PathBuf::from(variable("WALIA_TEST_DIRECTORY"))
}

/// A command that runs as the server's account.
pub fn as_user(program: impl AsRef<OsStr>) -> Command {
    let user = variable("WALIA_TEST_USER");
    let mut command = match user.split_once(':') {
        None => Command::new(program),
        Some((uid, gid)) => {
            let mut command = Command::new("setpriv");
            command
                .arg(format!("--reuid={uid}"))
                .arg(format!("--regid={gid}"))
                .args(["--clear-groups", "--"]);
            command.arg(program);
            command
        }
    };
    // With backtraces the messages of the server would differ from those that scripts expect.
    command.current_dir("/").env_remove("RUST_BACKTRACE");
    command
}

/// A program of the server that runs as the server's account.
fn program(name: &str) -> Command {
    as_user(pg_config("bindir").join(name))
}
