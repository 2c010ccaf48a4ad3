//! The process and the machine it runs on, as the kernel tells them.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

/// What the process takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Process {
    /// Memory, in octets: of its own and of the log's maps.
    pub resident_octets: u64,
    /// Processor time, in seconds.
    pub cpu_seconds: f64,
    /// Unix time of its start, in seconds.
    pub start_seconds: f64,
    /// Page faults that had to wait for the disk.
    pub major_faults: u64,
    /// Threads.
    pub threads: u64,
    /// Open files, sockets among them.
    pub open_files: u64,
    /// How many it may have; none: any number.
    pub max_open_files: Option<u64>,
}

/// Room on a disk, or in memory, in octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// In all.
    pub total: u64,
    /// What can still be taken.
    pub free: u64,
}

/// Field numbers of `/proc/PID/stat` (proc(5)) less those before and of the state, which follows the name.
mod field {
    pub const MAJFLT: usize = 9;
    pub const UTIME: usize = 11;
    pub const STIME: usize = 12;
    pub const NUM_THREADS: usize = 17;
    pub const STARTTIME: usize = 19;
    pub const RSS: usize = 21;
}

/// What this process takes; none where `/proc` does not tell.
pub fn read() -> Option<Process> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The descriptor that reads the directory is among them.
    let open_files = fs::read_dir("/proc/self/fd")
        .ok()?
        .count()
        .saturating_sub(1);
    let mut process = parse(&stat)?;
    process.open_files = open_files as u64;
    process.max_open_files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    Some(process)
}

fn parse(stat: &str) -> Option<Process> {
    // The name may hold anything, a parenthesis too.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let ticks_a_second = rustix::param::clock_ticks_per_second().max(1) as f64;
    let seconds = |ticks: u64| ticks as f64 / ticks_a_second;
    Some(Process {
        resident_octets: number(field::RSS)? * rustix::param::page_size() as u64,
        cpu_seconds: seconds(number(field::UTIME)? + number(field::STIME)?),
        start_seconds: boot_seconds()? as f64 + seconds(number(field::STARTTIME)?),
        major_faults: number(field::MAJFLT)?,
        threads: number(field::NUM_THREADS)?,
        open_files: 0,
        max_open_files: None,
    })
}

/// Unix time at which the machine was started.
fn boot_seconds() -> Option<u64> {
    static BOOT: OnceLock<Option<u64>> = OnceLock::new();
    *BOOT.get_or_init(|| value_of(&fs::read_to_string("/proc/stat").ok()?, "btime"))
}

/// The memory of the machine; none where `/proc` does not tell.
pub fn memory() -> Option<Room> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    Some(Room {
        total: value_of(&text, "MemTotal:")?.saturating_mul(1_024),
        free: value_of(&text, "MemAvailable:")?.saturating_mul(1_024),
    })
}

/// The disk that a directory is on.
pub fn disk(dir: &Path) -> Option<Room> {
    let disk = rustix::fs::statvfs(dir).ok()?;
    Some(Room {
        total: disk.f_blocks.saturating_mul(disk.f_frsize),
        free: disk.f_bavail.saturating_mul(disk.f_frsize),
    })
}

/// The number in the line that begins with this word.
fn value_of(text: &str, word: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_ascii_whitespace);
    let mut line = lines.find(|line| line.clone().next() == Some(word))?;
    line.nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_told() {
        let process = read().unwrap();
        assert!(process.resident_octets > 100_000 && process.threads >= 1);
        assert!(process.start_seconds > 1e9 && process.open_files >= 3);
        let (memory, disk) = (memory().unwrap(), disk(Path::new("/")).unwrap());
        assert!(memory.free <= memory.total && disk.free <= disk.total);
        assert_eq!(super::disk(Path::new("/no/such/directory")), None);
    }

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "77 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14 15 16 21 18 1000 20 12 22";
        let process = parse(stat).unwrap();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        assert_eq!(process.cpu_seconds, 300.0 / ticks);
        assert_eq!((process.major_faults, process.threads), (9, 21));
        assert_eq!(
            process.resident_octets,
            12 * rustix::param::page_size() as u64
        );
        assert_eq!(parse("77 (short) S 1 2"), None);
    }
}
