//! What a process and its children have used, as the kernel counts it.

use std::fs;
use std::io;
use std::time::Duration;

/// CPU time, to the nanosecond: the sum of what each thread ran.
pub fn cpu(pid: u32) -> io::Result<Duration> {
    let mut nanos = 0;
    for process in family(pid)? {
        for thread in fs::read_dir(format!("/proc/{process}/task"))?.flatten() {
            // A thread that ended meanwhile has nothing to read; none of the measured ones end under load.
            let stat = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            nanos += stat.split(' ').next().and_then(|ran| ran.parse::<u64>().ok()).unwrap_or_default();
        }
    }
    Ok(Duration::from_nanos(nanos))
}

/// Resident memory in KiB.
pub fn memory_kib(pid: u32) -> io::Result<u64> {
    let resident = |process: u32| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or_default()
    };
    Ok(family(pid)?.into_iter().map(resident).sum())
}

fn family(pid: u32) -> io::Result<Vec<u32>> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    Ok(children.split_whitespace().filter_map(|child| child.parse().ok()).chain([pid]).collect())
}
