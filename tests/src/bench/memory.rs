//! Memory of the kernel's maps.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context as _, Result};

/// Ids of all maps there are.
pub(super) fn maps() -> Result<BTreeSet<u32>> {
    let mut ids = BTreeSet::new();
    for info in aya::maps::loaded_maps() {
        ids.insert(info.context("list the maps")?.id());
    }
    Ok(ids)
}

/// Bytes the kernel has locked for the maps that are not among these.
pub(super) fn locked_besides(known: &BTreeSet<u32>) -> Result<u64> {
    let mut sum = 0;
    for info in aya::maps::loaded_maps() {
        let info = info.context("list the maps")?;
        if known.contains(&info.id()) {
            continue;
        }
        let file = info.fd().context("open a map")?;
        let path = format!("/proc/self/fdinfo/{}", file.as_fd().as_raw_fd());
        let text = fs::read_to_string(&path)?;
        let memlock = text.lines().find_map(|line| line.strip_prefix("memlock:"));
        let bytes: u64 = memlock.context("no memlock")?.trim().parse()?;
        sum += bytes;
    }
    Ok(sum)
}

/// MiB of a process that are in memory.
pub(super) fn resident(process: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: f64 = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .context("no VmRSS")?
        .trim()
        .parse()?;
    Ok(kib / 1024.0)
}
