//! The machine that a run takes place on.

use std::fs;
use std::thread;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::result::Environment;

/// Written for what the system does not tell.
const UNKNOWN: &str = "unknown";

/// Raises the soft limit of open files to the hard one, for this process and those that it starts; gives the limit that then
/// holds, `u64::MAX` if there is none.
#[must_use]
pub fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        // A system may forbid it; then fewer relays fit into a process.
        Err(_) => limit.current,
    };
    current.unwrap_or(u64::MAX)
}

/// Looks at this machine. Which server it is about, and whether it is here too, is for the caller to say.
#[must_use]
pub fn here() -> Environment {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    Environment {
        generator: env!("CARGO_PKG_VERSION").to_owned(),
        server: None,
        kernel: format!(
            "{} {}",
            line("/proc/sys/kernel/ostype"),
            line("/proc/sys/kernel/osrelease")
        ),
        cpu: cpu_model(&read("/proc/cpuinfo")).unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
        memory: memory(&read("/proc/meminfo")).unwrap_or_default(),
        open_files: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
        same_machine: false,
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn line(path: &str) -> String {
    match read(path).trim() {
        "" => UNKNOWN.to_owned(),
        text => text.to_owned(),
    }
}

/// The model in `/proc/cpuinfo`, which not every architecture names.
fn cpu_model(text: &str) -> Option<String> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == "model name")
        .map(|(_, model)| model.trim().to_owned())
        .filter(|model| !model.is_empty())
}

/// The memory in `/proc/meminfo`, in octets.
fn memory(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_tells_what_it_is() {
        let limit = raise_open_files();
        let here = here();
        assert_eq!(here.open_files, limit);
        assert!(here.kernel.starts_with("Linux "), "{}", here.kernel);
        assert!(here.cpus > 0 && here.memory > 1 << 26 && !here.cpu.is_empty());
    }

    #[test]
    fn files_of_proc_are_read() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\nflags\t: a b\n\nprocessor\t: 1\nmodel name\t: Other\n";
        assert_eq!(cpu_model(text).as_deref(), Some("Some CPU @ 2.00GHz"));
        assert_eq!(cpu_model("processor\t: 0\nBogoMIPS\t: 50.00\n"), None);
        let text = "MemTotal:       24689448 kB\nMemFree:        1 kB\n";
        assert_eq!(memory(text), Some(24_689_448 << 10));
        assert_eq!(memory("MemTotal: x kB\n"), None);
    }
}
