//! What an operator, or whoever fills in a template for one, may write.

use std::ffi::OsString;

use crate::config;

/// Stands in the variable `KEY` of the environment, and nowhere else.
const SECRET: &str = "sk-canary-4f9d2c7e51b8";

/// Whatever is written is loaded, or refused with reasons, and neither way shows a secret.
pub fn configuration(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // Files are the operating system's; what stands in them is not the target's to say.
    if text.contains("file") || text.contains("credential") || text.contains("cert") {
        return;
    }
    let environment = |name: &str| match name {
        "KEY" => Some(OsString::from(SECRET)),
        "HOME" => Some("/home/jane".into()),
        _ => None,
    };
    let config = match config::load_written(text, &environment) {
        Ok(config) => config,
        Err(faults) => {
            let faults = faults.to_string();
            assert!(!faults.is_empty() && !faults.contains(SECRET), "{faults}");
            return;
        }
    };
    assert!(!config.show().contains(SECRET), "{}", config.show());
}
