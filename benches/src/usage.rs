//! What the process uses: CPU time of its data threads, resident memory.

use std::fs;

use anyhow::{Context, Result};

/// Octets of a page.
const PAGE_OCTETS: u64 = 4_096;

/// Nanoseconds that the data threads of all engines in this process have been on a CPU.
///
/// # Errors
/// Where /proc tells no such thing.
pub fn data_threads_ns() -> Result<u64> {
    let mut total = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let path = task?.path();
        // A thread that ends meanwhile has no more to tell.
        let Ok(name) = fs::read_to_string(path.join("comm")) else {
            continue;
        };
        if name.starts_with("leaseq-data") {
            total += on_cpu_ns(&fs::read_to_string(path.join("schedstat"))?)?;
        }
    }
    Ok(total)
}

/// Nanoseconds that all threads of the process have been on a CPU.
///
/// # Errors
/// Where /proc tells no such thing.
pub fn process_ns() -> Result<u64> {
    let mut total = 0;
    for task in fs::read_dir("/proc/self/task")? {
        if let Ok(schedstat) = fs::read_to_string(task?.path().join("schedstat")) {
            total += on_cpu_ns(&schedstat)?;
        }
    }
    Ok(total)
}

/// Nanoseconds that the calling thread has been on a CPU.
///
/// # Errors
/// Where /proc tells no such thing.
pub fn own_ns() -> Result<u64> {
    on_cpu_ns(&fs::read_to_string("/proc/thread-self/schedstat")?)
}

fn on_cpu_ns(schedstat: &str) -> Result<u64> {
    Ok(schedstat
        .split_whitespace()
        .next()
        .context("schedstat is empty")?
        .parse()?)
}

/// Octets of memory that the process has resident.
///
/// # Errors
/// Where /proc tells no such thing.
pub fn resident_octets() -> Result<u64> {
    Ok(statm()?[1] * PAGE_OCTETS)
}

/// Octets of memory that the process has resident beside mapped files.
///
/// # Errors
/// Where /proc tells no such thing.
pub fn anonymous_octets() -> Result<u64> {
    let [_, resident, shared] = statm()?;
    Ok(resident.saturating_sub(shared) * PAGE_OCTETS)
}

/// Pages in all, resident, and of files.
fn statm() -> Result<[u64; 3]> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let mut pages = statm.split_whitespace().map(str::parse);
    let mut next = || -> Result<u64> { Ok(pages.next().context("statm is short")??) };
    Ok([next()?, next()?, next()?])
}
