//! A Postgres server for the tests: one a process, started from the installed binaries in a
//! temporary folder and gone with the process. `CONSENTD_TEST_POSTGRES_URL` names another one to
//! use instead. Without either the tests fail: the suite means both databases.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex};
use url::Url;

/// The oldest major version that consentd supports.
const OLDEST: u32 = 15;

/// An empty database of its own for one test.
pub(crate) struct Database {
    /// Where it is.
    pub(crate) url: Url,
    borrowed: Option<Url>,
}

impl Database {
    /// Creates it on the server of this process.
    pub(crate) async fn create() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = SERVER.as_ref().unwrap_or_else(|why| panic!("{why}"));
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("consentd_test_{}_{count}", std::process::id());
        run(
            &server.url,
            format!("CREATE DATABASE {name} TEMPLATE template0"),
        )
        .await;
        let mut url = server.url.clone();
        url.set_path(&name);
        Self {
            url,
            borrowed: server.process.is_none().then(|| server.url.clone()),
        }
    }
}

impl Drop for Database {
    /// Our own server goes with all its databases; another one must be left as it was.
    fn drop(&mut self) {
        let Some(server) = self.borrowed.take() else {
            return;
        };
        let sql = format!("DROP DATABASE {} WITH (FORCE)", &self.url.path()[1..]);
        let drop = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(run(&server, sql));
        });
        if drop.join().is_err() {
            eprintln!("a test database could not be dropped");
        }
    }
}

async fn run(server: &Url, sql: String) {
    let mut connection = PgConnection::connect(server.as_str()).await.unwrap();
    sqlx::query(AssertSqlSafe(sql))
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

static SERVER: LazyLock<Result<Server, String>> = LazyLock::new(Server::find_or_start);

/// Starts the server, says so, and stops it when the input ends.
const SCRIPT: &str = r#"
cd "$FOLDER" || exit
as=
if [ -n "$RUN_AS" ]; then
    as="setpriv --reuid=$(id -u "$RUN_AS") --regid=$(id -g "$RUN_AS") --clear-groups"
    chown "$RUN_AS" .
fi
start() {
    $as "$BIN/initdb" -D data -U postgres -A trust -E UTF8 --no-locale --no-sync &&
    $as "$BIN/pg_ctl" -D data -l server.log -w -t 60 -o "-k $FOLDER -c listen_addresses= \
        -c fsync=off -c full_page_writes=off -c max_connections=200 -c shared_buffers=64MB" start
}
if start >start.log 2>&1 </dev/null; then
    echo ready
    cat >/dev/null
    $as "$BIN/pg_ctl" -D data -m immediate stop >start.log 2>&1
else
    cat start.log server.log
fi
rm -rf "$FOLDER"
"#;

struct Server {
    /// Its maintenance database.
    url: Url,
    /// The shell that stops the server when the pipe to it closes, as it does however this process
    /// ends; none for a server that is not ours.
    process: Option<Mutex<(Child, ChildStdin)>>,
}

impl Server {
    fn find_or_start() -> Result<Self, String> {
        match std::env::var("CONSENTD_TEST_POSTGRES_URL") {
            Ok(url) => {
                let url = Url::parse(&url).map_err(|why| {
                    format!("CONSENTD_TEST_POSTGRES_URL is not an address: {why}")
                })?;
                Ok(Self { url, process: None })
            }
            Err(_) => Self::start(&installed()?),
        }
    }

    fn start(binaries: &Path) -> Result<Self, String> {
        let folder = tempfile::Builder::new()
            .prefix("consentd-pg-")
            .tempdir()
            .map_err(|why| format!("no temporary folder for Postgres: {why}"))?
            .keep();
        // The server refuses to run as root.
        let root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        let known = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let known = |user: &&str| {
            known
                .lines()
                .any(|line| line.starts_with(&format!("{user}:")))
        };
        let user = match ["postgres", "nobody"].into_iter().find(known) {
            _ if !root => "",
            Some(user) => user,
            None => return Err("Postgres cannot run as root: add a user postgres".to_owned()),
        };
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT])
            .env("FOLDER", &folder)
            .env("BIN", binaries)
            .env("RUN_AS", user)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|why| format!("no shell to start Postgres: {why}"))?;
        let pipe = shell.stdin.take().ok_or("no pipe to the shell")?;
        let mut told = BufReader::new(shell.stdout.take().ok_or("no pipe from the shell")?);
        let mut line = String::new();
        let mut log = String::new();
        while told.read_line(&mut line).is_ok_and(|length| length > 0) {
            if line == "ready\n" {
                let url = format!(
                    "postgres://postgres@localhost/postgres?host={}",
                    folder.display()
                );
                let url = Url::parse(&url).map_err(|why| why.to_string())?;
                return Ok(Self {
                    url,
                    process: Some(Mutex::new((shell, pipe))),
                });
            }
            log.push_str(&line);
            line.clear();
        }
        Err(format!("Postgres did not start:\n{log}"))
    }
}

/// The folder with the newest installed server.
fn installed() -> Result<PathBuf, String> {
    let packaged = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut folders: Vec<PathBuf> = packaged.map(|entry| entry.path().join("bin")).collect();
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders.extend(std::env::split_paths(&path));
    let newest = folders
        .into_iter()
        .filter(|folder| folder.join("initdb").exists() && folder.join("pg_ctl").exists())
        .filter_map(|folder| Some((version(&folder)?, folder)))
        .max();
    match newest {
        Some((version, folder)) if version >= OLDEST => Ok(folder),
        found => {
            let found = found.map_or("none".to_owned(), |(version, _)| format!("only {version}"));
            Err(format!(
                "the tests need Postgres {OLDEST} or newer, and there is {found}: install it \
                 (Debian: apt install postgresql), or name a server in CONSENTD_TEST_POSTGRES_URL"
            ))
        }
    }
}

fn version(folder: &Path) -> Option<u32> {
    let told = Command::new(folder.join("postgres"))
        .arg("--version")
        .output()
        .ok()?
        .stdout;
    let told = String::from_utf8(told).ok()?;
    let number = told.split(' ').nth(2)?;
    number
        .split(|letter: char| !letter.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}
