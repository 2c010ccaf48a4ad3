//! A core's io_uring: its start, and the operations that connections wait for.
//!
//! tokio-uring submits when the thread parks and cannot cancel, and dropping one of its futures does not stop the
//! operation. So the operations here own everything the kernel may touch (socket and buffer), and whoever waits for one
//! waits until it ends; `shutdown` on the socket is what makes it end early.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use io_uring::{cqueue, opcode, squeue, types};
use tokio_uring::{InFlightOneshot, OneshotOutputTransform, Runtime, UnsubmittedOneshot};

use crate::config::EngineConfig;
use crate::error::StartError;
use crate::pool::Chunk;

/// What an operation keeps alive until the kernel is done with it.
pub(crate) struct Held<B> {
    _socket: Option<Rc<OwnedFd>>,
    buffer: B,
}

/// Turns a completion into the kernel's count or error, beside the buffer.
pub(crate) struct Count<B>(std::marker::PhantomData<B>);

impl<B> OneshotOutputTransform for Count<B> {
    type Output = (io::Result<usize>, B);
    type StoredData = Held<B>;

    fn transform_oneshot_output(self, held: Held<B>, completion: cqueue::Entry) -> Self::Output {
        let result = usize::try_from(completion.result())
            .map_err(|_| io::Error::from_raw_os_error(-completion.result()));
        (result, held.buffer)
    }
}

/// An operation under way. It is submitted when the thread parks next.
pub(crate) type Pending<B> = InFlightOneshot<Held<B>, Count<B>>;

fn submit<B>(socket: Option<Rc<OwnedFd>>, buffer: B, entry: squeue::Entry) -> Pending<B> {
    UnsubmittedOneshot::new(
        Held {
            _socket: socket,
            buffer,
        },
        Count(std::marker::PhantomData),
        entry,
    )
    .submit()
}

fn fd(socket: &Rc<OwnedFd>) -> types::Fd {
    types::Fd(socket.as_raw_fd())
}

/// Sends the octets of `chunk` from `from` on, or some first part of them.
pub(crate) fn send(socket: &Rc<OwnedFd>, chunk: Chunk, from: usize) -> Pending<Chunk> {
    // No MSG_WAITALL: a peer that reads slowly is to be seen making progress.
    let octets = chunk.as_ref().get(from..).unwrap_or_default();
    let entry = opcode::Send::new(fd(socket), octets.as_ptr(), octets.len() as u32)
        .flags(libc::MSG_NOSIGNAL)
        .build();
    submit(Some(socket.clone()), chunk, entry)
}

/// Waits until there is something to read.
pub(crate) fn readable(socket: &Rc<OwnedFd>) -> Pending<()> {
    submit(
        Some(socket.clone()),
        (),
        opcode::PollAdd::new(fd(socket), libc::POLLIN as u32).build(),
    )
}

/// Ends a turn without waiting for a socket: completes once everybody else's requests were submitted too.
pub(crate) fn turn() -> Pending<()> {
    submit(None, (), opcode::Nop::new().build())
}

/// Makes the runtime of the current thread.
pub(crate) fn runtime(config: &EngineConfig, cores: usize) -> Result<Runtime, StartError> {
    let mut ring = tokio_uring::uring_builder();
    ring.setup_cqsize(config.completion_entries);
    Runtime::new(
        tokio_uring::builder()
            .entries(config.ring_entries)
            .uring_builder(&ring),
    )
    .map_err(|source| explain(source, config, cores))
}

/// Octets of the queues of one ring: 64 for a submission and its index, 16 for a completion.
fn ring_octets(config: &EngineConfig) -> u64 {
    u64::from(config.ring_entries) * 68 + u64::from(config.completion_entries) * 16
}

fn explain(source: io::Error, config: &EngineConfig, cores: usize) -> StartError {
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => {
            let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
            let reason =
                forbidden_reason(source.raw_os_error(), disabled.as_deref().map(str::trim));
            StartError::IoUringForbidden { reason, source }
        }
        Some(libc::ENOMEM) => {
            let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock);
            StartError::LockedMemory {
                limit_octets: limit.current.unwrap_or(u64::MAX),
                needed_octets: ring_octets(config) * cores as u64,
                source,
            }
        }
        _ => StartError::System {
            what: "set up io_uring",
            source,
        },
    }
}

fn forbidden_reason(error: Option<i32>, disabled: Option<&str>) -> String {
    match (disabled, error) {
        (Some("2"), _) => "kernel.io_uring_disabled is 2, so nobody may".into(),
        (Some("1"), _) => "kernel.io_uring_disabled is 1, so only CAP_SYS_ADMIN and kernel.io_uring_group may".into(),
        (_, Some(libc::ENOSYS)) => {
            "the kernel has none (5.11 or newer is needed), or a seccomp profile hides it, as container runtimes' do".into()
        }
        _ => "a seccomp profile blocks it, as the default ones of container runtimes do".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Pool;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn names_what_forbids_io_uring() {
        assert!(forbidden_reason(Some(libc::EPERM), Some("2")).contains("io_uring_disabled is 2"));
        assert!(forbidden_reason(Some(libc::EPERM), Some("0")).contains("seccomp"));
        assert!(forbidden_reason(Some(libc::ENOSYS), None).contains("5.11"));
    }

    #[test]
    fn moves_octets_and_ends_with_shutdown() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let socket = Rc::new(OwnedFd::from(ours.try_clone().unwrap()));
        let runtime = runtime(&EngineConfig::default(), 1).unwrap();
        theirs.write_all(b"question").unwrap();
        runtime.block_on(async {
            let (polled, ()) = readable(&socket).await;
            assert!(polled.unwrap() & libc::POLLIN as usize != 0);
            let mut question = [0; 8];
            (&ours).read_exact(&mut question).unwrap();
            assert_eq!(&question, b"question");
            let chunk = Pool::new(1, 1, std::sync::Arc::default())
                .chunk(9, |out, _| b"an answer".as_slice().read(out).unwrap())
                .unwrap();
            assert_eq!(send(&socket, chunk, 3).await.0.unwrap(), 6);
            turn().await.0.unwrap();
            let pending = readable(&socket);
            ours.shutdown(std::net::Shutdown::Both).unwrap();
            pending.await.0.expect("shutdown ends the wait");
        });
        let mut answer = [0; 6];
        theirs.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"answer");
    }
}
