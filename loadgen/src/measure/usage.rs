//! What processes use of the machine: CPU, memory, open files, as `/proc` tells it.

use std::fs;
use std::time::Instant;

use crate::result::Usage;

/// Seconds that a peak of CPU lasts at least: the kernel counts in ticks of some milliseconds.
const LEAST_OF_A_PEAK: f64 = 0.1;

/// Watches over processes, all of them together: a server, or the generator's own.
#[derive(Debug)]
pub struct Sampler {
    watched: Vec<Watched>,
    /// CPU seconds that were used before.
    begin_cpu: f64,
    last_cpu: f64,
    last_at: Instant,
    /// Since when the peak is looked for, and the CPU seconds then.
    peak_since: (Instant, f64),
    usage: Usage,
}

#[derive(Debug)]
struct Watched {
    pid: u32,
    /// CPU seconds when it was last seen: what a process that has ended is counted with.
    cpu: f64,
}

/// What was used in an interval, and is in use at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// CPU seconds a second since the last reading.
    pub cpus: f64,
    /// Resident memory in octets, mapped files included.
    pub resident: u64,
    /// The same beside mapped files and shared memory.
    pub anonymous: u64,
    /// Open files.
    pub open_files: u64,
}

impl Sampler {
    /// Begins to watch; what was used before does not count.
    #[must_use]
    pub fn new(pids: &[u32]) -> Self {
        let mut sampler = Self {
            watched: pids.iter().map(|&pid| Watched { pid, cpu: 0.0 }).collect(),
            begin_cpu: 0.0,
            last_cpu: 0.0,
            last_at: Instant::now(),
            peak_since: (Instant::now(), 0.0),
            usage: Usage::default(),
        };
        let now = sampler.look();
        sampler.begin_cpu = sampler.cpu();
        sampler.last_cpu = sampler.begin_cpu;
        sampler.peak_since.1 = sampler.begin_cpu;
        sampler.usage.resident_begin = now.resident;
        sampler.note(now);
        sampler
    }

    /// Looks again. Processes that have ended use nothing any more; their CPU stays counted.
    pub fn sample(&mut self) -> Reading {
        let seconds = self.last_at.elapsed().as_secs_f64();
        self.last_at = Instant::now();
        let mut now = self.look();
        let cpu = self.cpu();
        now.cpus = match seconds > 0.0 {
            true => (cpu - self.last_cpu) / seconds,
            false => 0.0,
        };
        self.last_cpu = cpu;
        self.usage.cpu_seconds = cpu - self.begin_cpu;
        let peak_seconds = self.peak_since.0.elapsed().as_secs_f64();
        if peak_seconds >= LEAST_OF_A_PEAK {
            let cpus = (cpu - self.peak_since.1) / peak_seconds;
            self.usage.peak_cpus = self.usage.peak_cpus.max(cpus);
            self.peak_since = (Instant::now(), cpu);
        }
        self.note(now);
        now
    }

    /// What was used up to the last reading.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.usage
    }

    fn cpu(&self) -> f64 {
        self.watched.iter().map(|watched| watched.cpu).sum()
    }

    fn look(&mut self) -> Reading {
        let mut now = Reading::default();
        for watched in &mut self.watched {
            let Some(found) = Found::of(watched.pid) else {
                continue;
            };
            // Ticks are counted up; a lower figure would be another process with this number.
            watched.cpu = watched.cpu.max(found.cpu);
            now.resident += found.resident;
            now.anonymous += found.anonymous;
            now.open_files += found.open_files;
        }
        now
    }

    fn note(&mut self, now: Reading) {
        let usage = &mut self.usage;
        usage.resident_peak = usage.resident_peak.max(now.resident);
        usage.anonymous_peak = usage.anonymous_peak.max(now.anonymous);
        usage.open_files_peak = usage.open_files_peak.max(now.open_files);
    }
}

/// What `/proc` tells of a process.
struct Found {
    cpu: f64,
    resident: u64,
    anonymous: u64,
    open_files: u64,
}

impl Found {
    fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let ticks = process_ticks(&stat)?;
        // They are missing for a process that has ended, and not ours to read for one of another user.
        let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
        let (resident, shared) = pages(&statm).unwrap_or_default();
        let page = rustix::param::page_size() as u64;
        Some(Self {
            cpu: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
            resident: resident * page,
            anonymous: resident.saturating_sub(shared) * page,
            open_files: open_files(pid),
        })
    }
}

/// User and system time in ticks. The second field is the program's name, which may hold anything but ends with the last
/// parenthesis.
fn process_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

/// Resident pages, and those of them that are of files or shared.
fn pages(statm: &str) -> Option<(u64, u64)> {
    let mut fields = statm.split_ascii_whitespace().skip(1);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn open_files(pid: u32) -> u64 {
    let dir = format!("/proc/{pid}/fd");
    // Since Linux 6.2 the size of the directory is the number; counting thousands of entries each second costs.
    match fs::metadata(&dir).map(|found| found.len()) {
        Ok(0) => fs::read_dir(&dir).map_or(0, |entries| entries.count() as u64),
        Ok(number) => number,
        Err(_) => 0,
    }
}

/// Watches over the CPUs of the whole machine.
#[derive(Debug)]
pub struct Machine {
    begin: Option<CpuTicks>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CpuTicks {
    busy: u64,
    all: u64,
}

impl Machine {
    /// Begins to watch.
    #[must_use]
    pub fn new() -> Self {
        Self {
            begin: machine_now(),
        }
    }

    /// Share (0 to 1) of the CPUs' time that was used since the beginning, by whomever; 0 if the system does not tell.
    #[must_use]
    pub fn busy(&self) -> f64 {
        let (Some(begin), Some(now)) = (self.begin, machine_now()) else {
            return 0.0;
        };
        let all = now.all.saturating_sub(begin.all);
        match all {
            0 => 0.0,
            _ => now.busy.saturating_sub(begin.busy) as f64 / all as f64,
        }
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

fn machine_now() -> Option<CpuTicks> {
    machine_ticks(&fs::read_to_string("/proc/stat").ok()?)
}

/// Of the first line: user, nice, system, idle, iowait, irq, softirq, steal; what guests used is in user and nice already.
fn machine_ticks(stat: &str) -> Option<CpuTicks> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = fields
        .split_ascii_whitespace()
        .take(8)
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    let idle = ticks.get(3)? + ticks.get(4).copied().unwrap_or_default();
    let all = ticks.iter().sum::<u64>();
    Some(CpuTicks {
        busy: all - idle,
        all,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::hint::black_box;

    #[test]
    fn fields_are_found_behind_any_name() {
        let stat = "77 (a) b) c) S 1 77 77 0 -1 4194560 900 0 0 0 250 30 5 6 20 0 9 0 100 1000 20 18446744073709551615";
        assert_eq!(process_ticks(stat), Some(280));
        assert_eq!(process_ticks("77 (a) S 1"), None);
        assert_eq!(pages("5000 300 120 1 0 9 0\n"), Some((300, 120)));
        let stat = "cpu  100 1 50 800 40 3 6 0 9 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        let expected = CpuTicks {
            busy: 160,
            all: 1_000,
        };
        assert_eq!(machine_ticks(stat), Some(expected));
        assert_eq!(machine_ticks("intr 5\n"), None);
    }

    #[test]
    fn our_own_use_is_measured() {
        let pid = std::process::id();
        let machine = Machine::new();
        let mut sampler = Sampler::new(&[pid]);
        let before = sampler.usage();
        assert!(before.resident_begin > 0 && before.anonymous_peak <= before.resident_peak);
        assert_eq!(before.cpu_seconds, 0.0);
        let files: Vec<File> = (0..50).map(|_| File::open("/proc/stat").unwrap()).collect();
        let memory = vec![1_u8; 64 << 20];
        // Until three ticks have passed on this CPU, and a peak can be told.
        let mut number = 1_u64;
        let reading = loop {
            for _ in 0..1_000_000 {
                number = black_box(number.wrapping_mul(6_364_136_223_846_793_005) + 1);
            }
            let reading = sampler.sample();
            if sampler.usage().cpu_seconds >= 0.03 && sampler.usage().peak_cpus > 0.0 {
                break reading;
            }
        };
        assert!(reading.open_files >= 50 && reading.anonymous >= 32 << 20);
        let usage = sampler.usage();
        assert!(usage.peak_cpus > 0.0 && usage.resident_peak > usage.resident_begin);
        assert!(machine.busy() > 0.0);
        drop((files, black_box(memory)));
    }

    #[test]
    fn a_process_that_has_ended_stays_counted() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut sampler = Sampler::new(&[child.id()]);
        assert!(sampler.usage().resident_begin > 0);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(sampler.sample().resident, 0);
        assert!(sampler.usage().cpu_seconds >= 0.0 && sampler.usage().resident_peak > 0);
    }
}
