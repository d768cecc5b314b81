//! What the process was started with, apart from its command line.

use std::ffi::OsString;

/// Environment variables and the machine's name. A closure from a variable's name to its value is one, too.
pub trait Environment {
    fn variable(&self, name: &str) -> Option<OsString>;

    fn host_name(&self) -> Option<String> {
        None
    }
}

/// The environment of this process.
#[derive(Clone, Copy, Debug)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn variable(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn host_name(&self) -> Option<String> {
        std::fs::read_to_string("/etc/hostname").ok()
    }
}

impl<F: Fn(&str) -> Option<OsString>> Environment for F {
    fn variable(&self, name: &str) -> Option<OsString> {
        self(name)
    }
}

/// The value of a variable that is set to something: an empty one counts as not set.
pub(super) fn non_empty(environment: &dyn Environment, name: &str) -> Option<OsString> {
    environment.variable(name).filter(|value| !value.is_empty())
}
