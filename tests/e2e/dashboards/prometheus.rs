//! A Prometheus of our own for some seconds, that scrapes a gateway twice a second.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::Ask;

pub struct Prometheus {
    address: SocketAddr,
    child: Child,
    _folder: TempDir,
}

impl Prometheus {
    /// `None` where it is not installed.
    pub async fn start(metrics: SocketAddr) -> Option<Self> {
        Command::new("prometheus").arg("--version").output().ok()?;
        let folder = TempDir::new().unwrap();
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/prometheus");
        let config = format!(
            "global: {{scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}}\n\
             rule_files: [{0}/rules.yml, {0}/alerts.yml]\n\
             scrape_configs: [{{job_name: keeptrusts, static_configs: [{{targets: [\"{metrics}\"]}}]}}]\n",
            rules.display(),
        );
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut prometheus = Self { address: ([127, 0, 0, 1], 0).into(), child, _folder: folder };
        prometheus.address = listening(prometheus.child.stderr.take().unwrap());
        while Ask::new(prometheus.address, "GET", "/-/ready").send().await.status != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Some(prometheus)
    }

    /// What a query finds at this moment, or what is wrong with it.
    pub async fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let encode =
            |byte: u8| if byte.is_ascii_alphanumeric() { (byte as char).into() } else { format!("%{byte:02X}") };
        let query: String = query.bytes().map(encode).collect();
        let answer = self.ask(&format!("/api/v1/query?query={query}")).await;
        match answer["data"]["result"].as_array() {
            Some(found) => Ok(found.clone()),
            None => Err(answer["error"].to_string()),
        }
    }

    /// All rules, or all alerts that are pending or firing.
    pub async fn list(&self, what: &str) -> Value {
        self.ask(&format!("/api/v1/{what}")).await["data"].clone()
    }

    async fn ask(&self, path: &str) -> Value {
        Ask::new(self.address, "GET", path).send().await.json()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a log, to its end so that whoever writes it never waits for us, and tells the address that it names.
fn listening(log: impl Read + Send + 'static) -> SocketAddr {
    let (said, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            // Nobody listens any more once the address is known.
            let _ = said.send(line);
        }
    });
    let mut log = String::new();
    loop {
        let line = heard.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| panic!("no Prometheus:\n{log}"));
        if let Some((_, address)) = line.split_once("msg=\"Listening on\" address=") {
            return address.trim().parse().unwrap();
        }
        log.push_str(&line);
        log.push('\n');
    }
}
