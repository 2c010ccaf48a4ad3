//! What the process uses: CPU time of its data threads, resident memory.

use std::fs;

use anyhow::{Context, Result};

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
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm
        .split_whitespace()
        .nth(1)
        .context("statm is short")?
        .parse()?;
    Ok(pages * 4_096)
}
