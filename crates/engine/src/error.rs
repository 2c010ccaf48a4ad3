//! Why an engine does not start.

use std::io;
use std::net::SocketAddr;

/// What kept an engine from starting. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address could not be bound.
    #[error("cannot listen on {transport} {address}: {source}{}", bind_hint(.source))]
    Bind {
        /// `TCP` or `UDP`.
        transport: &'static str,
        /// The address as it was configured.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel, or the profile of a container, refuses io_uring.
    #[error(
        "this process may not use io_uring ({source}): {reason}; allow the system calls io_uring_setup, \
         io_uring_enter and io_uring_register in the seccomp profile of the container or service, or set \
         kernel.io_uring_disabled to 0"
    )]
    IoUringForbidden {
        /// What was found out about the cause.
        reason: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The rings do not fit in the memory that this process may lock.
    #[error(
        "cannot lock memory for io_uring's queues ({source}): the limit of locked memory is {limit_octets} octets, \
         about {needed_octets} are needed; raise it (LimitMEMLOCK= in a systemd unit, ulimit -l)"
    )]
    LockedMemory {
        /// `RLIMIT_MEMLOCK` of this process.
        limit_octets: u64,
        /// Octets of all queues of all cores.
        needed_octets: u64,
        /// What the kernel said.
        source: io::Error,
    },
    /// A CPU that was asked for is not one this process may run on.
    #[error("cpu {cpu} is not available to this process: it may use {available:?}")]
    NoSuchCpu {
        /// The CPU that was asked for.
        cpu: usize,
        /// The CPUs that could be had.
        available: Vec<usize>,
    },
    /// The list of CPUs is empty.
    #[error(
        "the list of cores is empty: give at least one CPU, or none at all to have them chosen"
    )]
    NoCores,
    /// Some other resource could not be had.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl StartError {
    /// Names what was tried beside what the kernel said of it.
    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
        move |source| StartError::System { what, source }
    }
}

fn bind_hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            "; another server has the port: `ss -lntup` shows which, stop it or listen elsewhere"
        }
        io::ErrorKind::PermissionDenied => {
            "; a port below 1024 needs CAP_NET_BIND_SERVICE (AmbientCapabilities= in a systemd unit)"
        }
        io::ErrorKind::AddrNotAvailable => "; no interface of this machine has the address",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_to_do() {
        let forbidden = StartError::IoUringForbidden {
            reason: "a seccomp profile blocks it".into(),
            source: io::Error::from_raw_os_error(libc::EPERM),
        };
        assert!(forbidden.to_string().contains("io_uring_setup"));
        let bind = StartError::Bind {
            transport: "TCP",
            address: "127.0.0.1:67".parse().unwrap(),
            source: io::Error::from_raw_os_error(libc::EACCES),
        };
        assert!(bind.to_string().contains("CAP_NET_BIND_SERVICE"), "{bind}");
    }
}
