//! The data directory, and the process on its machine.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::statvfs::statvfs;
use tokio::net::UnixStream;

use crate::control::admin::SOCKET_FILE;

use super::{Findings, State};

/// Less room than this is soon used up by the event log.
const ROOM_BYTES_MIN: u64 = 1024 * 1024 * 1024;
/// Each running request needs two descriptors.
const DESCRIPTORS_MIN: u64 = 4096;

pub(super) async fn check(data_dir: &Path, findings: &mut Findings) {
    let others = open_to_others(data_dir);
    match others.as_slice() {
        [] => findings.add("data directory", State::Ok, "nobody but its owner can read it"),
        [first, ..] => {
            let detail = format!("{first} is open to others ({} in all): chmod -R go= it", others.len());
            findings.add("data directory", State::Failed, detail);
        }
    }
    if let Ok(system) = statvfs(data_dir) {
        let room = system.blocks_available() * system.fragment_size();
        let state = if room < ROOM_BYTES_MIN { State::Warning } else { State::Ok };
        findings.add("disk", state, format!("{} MiB are free for the event log", room / 1024 / 1024));
    }
    match limits(data_dir).await {
        Some(limits) => process(&limits, findings),
        None => findings.add("process", State::Skipped, "this system does not show its limits"),
    }
}

fn process(limits: &str, findings: &mut Findings) {
    if let Some(descriptors) = limit(limits, "Max open files") {
        let state = if descriptors < DESCRIPTORS_MIN { State::Warning } else { State::Ok };
        let detail =
            format!("{descriptors}, for {} requests at once; LimitNOFILE= of the unit sets it", descriptors / 2);
        findings.add("descriptors", state, detail);
    }
    match limit(limits, "Max core file size") {
        Some(0) => findings.add("core dumps", State::Ok, "off"),
        _ => findings.add("core dumps", State::Failed, "on: they would hold keys and prompts; set LimitCORE=0"),
    }
}

/// What of the data directory others than its owner may read, write or enter.
fn open_to_others(data_dir: &Path) -> Vec<String> {
    let is_open = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.mode() & 0o077 != 0);
    // One that systemd keeps is behind a link, whose mode says nothing.
    let data_dir = &fs::canonicalize(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    let inside = fs::read_dir(data_dir).into_iter().flatten().flatten().map(|entry| entry.path());
    // Behind a closed door, what stands in it is closed.
    if !is_open(data_dir) {
        return Vec::new();
    }
    inside.chain([data_dir.to_owned()]).filter(|path| is_open(path)).map(|path| path.display().to_string()).collect()
}

/// The limits of the process that listens on the admin socket (proc(5)).
async fn limits(data_dir: &Path) -> Option<String> {
    let stream = UnixStream::connect(data_dir.join(SOCKET_FILE)).await.ok()?;
    let process = stream.peer_cred().ok()?.pid()?;
    fs::read_to_string(format!("/proc/{process}/limits")).ok()
}

/// The soft limit of this name.
fn limit(limits: &str, name: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        limit => limit.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_private_directory_is_private_behind_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("data"), folder.path().join("link"));
        fs::create_dir(&path).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(open_to_others(&link), Vec::<String>::new());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        assert_eq!(open_to_others(&link), [fs::canonicalize(&path).unwrap().display().to_string()]);
    }

    #[test]
    fn limits_are_read_by_name() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max core file size        0                    0                    bytes\n\
                      Max open files            unlimited            unlimited            files\n";
        assert_eq!((limit(limits, "Max core file size"), limit(limits, "Max open files")), (Some(0), Some(u64::MAX)));
        assert_eq!(limit(limits, "Max locked memory"), None);
    }
}
