//! The process among others on its machine: how large it is and may become, and what it leaves behind.

use std::fs;
use std::sync::Weak;
use std::time::Duration;

use log::{info, warn};
use nix::sys::prctl::{set_dumpable, set_thp_disable};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::gateway::Pressure;

/// How often the process is measured. In between, the bodies of requests are counted as they arrive.
const MEASURED: Duration = Duration::from_millis(50);
/// The part of the machine's or the container's memory the process may take where nothing is configured: the rest is
/// for the kernel's buffers, which grow with the connections.
const SHARE_PERCENT: usize = 80;
/// Assumed where the system says nothing.
const MEMORY_ASSUMED: usize = 1024 * 1024 * 1024;
const PAGE_BYTES: usize = 4096;
/// More than the allocator keeps for later.
const LARGE_BYTES: usize = 64 * 1024 * 1024;

/// Keeps secrets out of core dumps and other processes of the same user, does without huge pages, and takes as many
/// file descriptors as the system allows: each running request needs two.
///
/// With huge pages the allocator's first touch of each 2 MiB takes all of it: an idle gateway used 2 MiB of heap and
/// held 16, and what a stream takes could not be told from the rounding.
pub fn prepare() {
    if let Err(error) = setrlimit(Resource::RLIMIT_CORE, 0, 0).and_then(|()| set_dumpable(false)) {
        warn!("core dumps cannot be switched off ({error}); they would hold keys and prompts");
    }
    if let Err(error) = set_thp_disable(true) {
        warn!("huge pages cannot be switched off ({error}); the process will look larger than it is");
    }
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        Ok((soft, hard))
    });
    match raised {
        Ok((_, most)) => info!("up to {most} file descriptors"),
        Err(error) => warn!("the limit of file descriptors cannot be raised: {error}"),
    }
}

/// How much memory the gateway takes where nothing is configured.
pub fn memory_bytes_max() -> usize {
    let there_is = [machine(), container()].into_iter().flatten().min().unwrap_or(MEMORY_ASSUMED);
    there_is / 100 * SHARE_PERCENT
}

/// Measures the process until nobody wants to know any more.
pub async fn measure(pressure: Weak<Pressure>) {
    let mut ticks = tokio::time::interval(MEASURED);
    loop {
        ticks.tick().await;
        let Some(pressure) = pressure.upgrade() else { return };
        if let Some(bytes) = resident()
            && pressure.measured(bytes)
        {
            give_back();
        }
    }
}

/// Has the allocator return what is free. It does so by itself, but only when something large is freed, and a gateway
/// that refuses everything for want of memory frees nothing.
fn give_back() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGE_BYTES)));
}

/// What is resident of the process (proc(5), `statm`).
fn resident() -> Option<usize> {
    let pages: usize = fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()?;
    Some(pages * PAGE_BYTES)
}

fn machine() -> Option<usize> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kib: usize = text.lines().next()?.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

/// The limit of the control group, as services and containers see theirs (cgroups(7), version 2).
fn container() -> Option<usize> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    ["/memory.high", "/memory.max"]
        .iter()
        .filter_map(|limit| fs::read_to_string(format!("/sys/fs/cgroup{group}{limit}")).ok()?.trim().parse().ok())
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_knows_its_size_and_its_bounds() {
        let (resident, most) = (resident().unwrap(), memory_bytes_max());
        assert!(resident > 1024 * 1024 && resident < most, "{resident} of {most}");
    }
}
