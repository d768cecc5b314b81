//! The gateway as a process, and the commands that talk to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{ANTHROPIC_CANARY, GEMINI_CANARY, OPENAI_CANARY, eventually, kt};

/// A running `kt gateway run`.
pub struct Gateway {
    pub edge: SocketAddr,
    pub admin: SocketAddr,
    pub metrics: SocketAddr,
    child: Child,
    /// The process that has taken over, after an upgrade.
    successor: Option<u32>,
    log: Arc<Mutex<String>>,
}

impl Gateway {
    pub async fn start(config: &Path, data_dir: &Path) -> Self {
        Self::start_in(&[], config, data_dir).await
    }

    pub async fn start_in(environment: &[(&str, PathBuf)], config: &Path, data_dir: &Path) -> Self {
        Self::run(command(&["gateway", "run"], data_dir), environment, config).await
    }

    /// The same, of a program at a path of its own, which another can replace.
    pub async fn start_as(program: &Path, config: &Path, data_dir: &Path) -> Self {
        let own = command(&["gateway", "run"], data_dir);
        let mut command = Command::new(program);
        command.args(own.get_args());
        command.env_clear().envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Self::run(command, &[], config).await
    }

    /// The same, with the data directory on a disk of its own that nobody else sees: [`Gateway::root`] has it.
    pub async fn start_on_disk(mib: u32, environment: &[(&str, PathBuf)], config: &Path, data_dir: &Path) -> Self {
        let own = command(&["gateway", "run"], data_dir);
        let mount = format!("mount -t tmpfs -o size={mib}m,mode=700 none \"$KEEPTRUSTS_DATA_DIR\" && exec \"$@\"");
        let mut command = namespace();
        command.args(["sh", "-c", &mount, "sh"]).arg(own.get_program()).args(own.get_args());
        command.env_clear().envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        std::fs::create_dir(data_dir).unwrap();
        Self::run(command, environment, config).await
    }

    /// The root directory as the process sees it.
    pub fn root(&self) -> PathBuf {
        format!("/proc/{}/root", self.child.id()).into()
    }

    async fn run(mut command: Command, environment: &[(&str, PathBuf)], config: &Path) -> Self {
        let mut child = command
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .arg("--config")
            .arg(config)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        follow(child.stderr.take().unwrap(), log.clone());
        let listening = eventually(|| {
            let log = log.lock().unwrap().clone();
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the gateway ended with {status}:\n{log}");
            }
            log.lines().find(|line| line.contains("edge listens on")).map(str::to_owned)
        });
        let listening = listening.await;
        let address = |after: &str| {
            let rest = &listening[listening.find(after).unwrap() + after.len()..];
            rest.split([',', ' ']).next().unwrap().trim().parse().unwrap()
        };
        let (edge, admin, metrics) = (address("edge listens on "), address("admin API on "), address("metrics on "));
        Self { edge, admin, metrics, child, successor: None, log }
    }

    /// The process that serves.
    pub fn pid(&self) -> u32 {
        self.successor.unwrap_or(self.child.id())
    }

    pub fn was_upgraded(&self) -> bool {
        self.successor.is_some()
    }

    /// From now on `pid` is the gateway: it has taken over.
    pub fn has_successor(&mut self, pid: u32) {
        self.successor = Some(pid);
    }

    pub fn is_running(&mut self) -> bool {
        match self.successor {
            Some(pid) => is_alive(pid),
            None => self.child.try_wait().unwrap().is_none(),
        }
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The metrics' text exposition.
    pub fn scrape(&self) -> String {
        let answer = get(self.metrics, "/metrics");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    pub fn terminate(&self) {
        self.signal("TERM");
    }

    pub fn signal(&self, name: &str) {
        let signalled = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().unwrap();
        assert!(signalled.success());
    }

    /// Waits for the end of the process; how long it took, and whether it ended well.
    pub fn wait(&mut self, at_most: Duration) -> (Duration, bool) {
        let begun = Instant::now();
        loop {
            let ended = match self.successor {
                // Nobody's child: what it said last tells how it ended.
                Some(pid) => (!is_alive(pid)).then(|| self.log().trim_end().ends_with("stopped")),
                None => self.child.try_wait().unwrap().map(|status| status.success()),
            };
            if let Some(well) = ended {
                return (begun.elapsed(), well);
            }
            assert!(begun.elapsed() < at_most, "the gateway did not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn stop(&mut self) {
        self.terminate();
        let (_, well) = self.wait(Duration::from_secs(10));
        assert!(well, "the gateway did not end well:\n{}", self.log());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(pid) = self.successor.filter(|&pid| is_alive(pid)) {
            let _ = Command::new("kill").args(["-s", "KILL", &pid.to_string()]).status();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether there is such a process that has not ended.
pub fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

/// What a command printed and how it ended.
pub struct Kt(pub Output);

impl Kt {
    pub fn run(args: &[&str], data_dir: &Path) -> Self {
        Self(command(args, data_dir).output().unwrap())
    }

    pub fn succeeded(self) -> Self {
        assert!(self.0.status.success(), "{}\n{}", self.stdout(), self.stderr());
        self
    }

    pub fn code(&self) -> Option<i32> {
        self.0.status.code()
    }

    pub fn stdout(&self) -> String {
        String::from_utf8(self.0.stdout.clone()).unwrap()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8(self.0.stderr.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.0.stdout).unwrap()
    }
}

/// Runs what follows where it can mount things that nobody else sees.
pub fn namespace() -> Command {
    use std::os::unix::fs::MetadataExt;
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|myself| myself.uid() == 0);
    let mut command = Command::new("unshare");
    command.args(["--map-root-user"].iter().filter(|_| !is_root)).arg("--mount");
    command
}

/// `kt` with nothing of this process's environment that could decide anything.
pub fn command(args: &[&str], data_dir: &Path) -> Command {
    let mut command = Command::new(kt());
    command
        .args(args)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("KEEPTRUSTS_DATA_DIR", data_dir)
        .env("TEST_OPENAI_KEY", OPENAI_CANARY)
        .env("TEST_ANTHROPIC_KEY", ANTHROPIC_CANARY)
        .env("TEST_GEMINI_KEY", GEMINI_CANARY);
    command
}

fn follow(stderr: impl Read + Send + 'static, log: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    });
}

/// A GET on a connection of its own, with the head.
pub fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
