//! The built program as processes of their own, and a look at their port.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// How often something that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// The program with these arguments.
pub(crate) fn consentd(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_consentd"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub(crate) fn output(arguments: &[&str]) -> Output {
    consentd(arguments).output().unwrap()
}

/// What a text of the program is, for a message.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A process that is killed at the end of its test at the latest.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts the command; what it prints is appended to `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> Self {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        let child = command
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self {
            child,
            log: log.to_owned(),
        }
    }

    /// What it has printed.
    pub(crate) fn printed(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Fails the test when the process has ended.
    pub(crate) fn assert_alive(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("it ended by itself: {status}\n{}", self.printed());
        }
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.assert_alive();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends the signal and gives the status the process ends with; fails the test after `limit`.
    pub(crate) fn end(mut self, signal: &str, limit: Duration) -> ExitStatus {
        self.assert_alive();
        let asked = Command::new("kill")
            .arg(signal)
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
        assert!(asked.success(), "{signal} was sent");
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                begun.elapsed() < limit,
                "still there {limit:?} after {signal}\n{}",
                self.printed()
            );
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A port that is free now.
pub(crate) fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// The whole answer to a GET, or nothing while nobody listens.
pub(crate) fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(text(&answer))
}

/// Looks until `seen` gives something; fails the test after `limit` with what was seen last.
pub(crate) fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut seen: impl FnMut() -> Result<T, String>,
) -> T {
    let begun = Instant::now();
    loop {
        match seen() {
            Ok(found) => return found,
            Err(last) => assert!(begun.elapsed() < limit, "{what}: not in {limit:?}: {last}"),
        }
        std::thread::sleep(LOOK);
    }
}

/// Waits until `/readyz` answers 200.
pub(crate) fn wait_ready(process: &mut Process, address: &str, limit: Duration) {
    wait_for("/readyz is 200", limit, || {
        process.assert_alive();
        match get(address, "/readyz") {
            Some(answer) if answer.starts_with("HTTP/1.1 200") => Ok(()),
            other => Err(other.unwrap_or_else(|| "nobody listens".to_owned())),
        }
    });
}
