//! One configuration after the other, and what is said of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use crate::domain::{ModelPrice, NanoUsd, Timestamp, Tokens};
use crate::protocol::Dialect;
use crate::providers::Kind;

use super::*;

mod report; // all faults at once, each where it is; what a file may look like
mod values; // what may be written for a setting
mod providers; // who they are, and where their keys come from
mod models; // rules of who serves what
mod webhook; // the receiver of events
mod environment; // what holds where nothing is written
mod shipped; // the files under conf/
mod price_table; // what models cost

const CANARY: &str = "sk-canary-4f9d2c7e51b8";

/// A directory with a configuration, and an environment.
struct Bench {
    directory: TempDir,
    variables: BTreeMap<String, OsString>,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { directory: TempDir::new().unwrap(), variables: BTreeMap::new() };
        bench.with("HOME", "/home/jane").with("KEY", CANARY)
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.variables.remove(name);
        self
    }

    fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        fs::write(self.directory.path().join(name), content).unwrap();
        fs::set_permissions(self.directory.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn load(&self, file: Option<&str>) -> Result<Config, Faults> {
        self.load_with(file, Overrides::default())
    }

    fn load_with(&self, file: Option<&str>, overrides: Overrides) -> Result<Config, Faults> {
        let environment = |name: &str| self.variables.get(name).cloned();
        load(file.map(|file| self.path(file)).as_deref(), overrides, &environment)
    }

    fn read(self, text: &str) -> Result<Config, Faults> {
        self.file("kt.yaml", text).load(Some("kt.yaml"))
    }

    /// All faults of `text`, without the directory.
    fn faults(self, text: &str) -> Vec<String> {
        let bench = self.file("kt.yaml", text);
        let faults = bench.load(Some("kt.yaml")).expect_err("no faults");
        let directory = format!("{}/", bench.directory.path().display());
        let report = faults.to_string();
        assert!(!report.contains(CANARY), "a secret is echoed: {report}");
        faults.iter().map(|fault| fault.to_string().replace(&directory, "")).collect()
    }
}

fn faults(text: &str) -> Vec<String> {
    Bench::new().faults(text)
}

/// The faults of settings that follow `version: 1`, without file and line.
fn faults_of(settings: &str) -> Vec<String> {
    let place = |fault: String| fault.split_once(": ").map(|(_, rest)| rest.to_owned()).unwrap();
    faults(&format!("version: 1\n{settings}")).into_iter().map(place).collect()
}

fn read(settings: &str) -> Config {
    Bench::new().read(&format!("version: 1\n{settings}")).unwrap_or_else(|faults| panic!("{faults}"))
}

fn warnings(config: &Config) -> Vec<String> {
    config.warnings.iter().map(|warning| warning.to_string()).collect()
}
