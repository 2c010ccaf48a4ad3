//! A program that we have started: it ends with us, and its last words are kept for the message when it fails.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// Lines of standard error that are kept.
const KEPT_LINES: usize = 20;
/// Octets of a line that are kept.
const KEPT_OCTETS: u64 = 1_000;
/// How long a program that was asked to end may take, before it is killed.
pub const END_PATIENCE: Duration = Duration::from_secs(30);
/// How long the last words of a program that has ended may take to be read.
const WORDS_PATIENCE: Duration = Duration::from_secs(2);

/// A running program. Dropped, it is ended: SIGTERM, then SIGKILL.
#[derive(Debug)]
pub struct Program {
    child: Child,
    last_words: Arc<Mutex<VecDeque<String>>>,
    /// Closed when all of standard error is read.
    words_end: Receiver<()>,
}

impl Program {
    /// Starts it, with standard input, output and error to us, in a process group of its own: a signal from the terminal is
    /// for us alone, and what is started ends when we say so.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let last_words = Arc::new(Mutex::new(VecDeque::with_capacity(KEPT_LINES)));
        let errors = child.stderr.take();
        let (until_end, words_end) = channel();
        let program = Self {
            child,
            last_words: Arc::clone(&last_words),
            words_end,
        };
        if let Some(errors) = errors {
            let listening = thread::Builder::new().name("last-words".into());
            listening.spawn(move || {
                keep_last(errors, &last_words);
                drop::<Sender<()>>(until_end);
            })?;
        }
        Ok(program)
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input, once.
    pub fn take_input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Its standard output, once.
    pub fn take_output(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// How it ended, if it has, or does within this time.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn wait(&mut self, at_most: Duration) -> io::Result<Option<ExitStatus>> {
        let until = Instant::now() + at_most;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let descriptor = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty())?;
            let timeout = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(
                &mut [PollFd::new(&descriptor, PollFlags::IN)],
                Some(&timeout),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Asks it to end.
    pub fn ask_to_end(&self) {
        // It may have ended already; its number is ours until we have waited for it.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
    }

    /// Ends it: asks, waits, kills. How it ended; `None`: it had to be killed.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn end(&mut self, patience: Duration) -> io::Result<Option<ExitStatus>> {
        drop(self.child.stdin.take());
        if let Some(status) = self.child.try_wait()? {
            return Ok(Some(status));
        }
        self.ask_to_end();
        let status = self.wait(patience)?;
        if status.is_none() {
            self.child.kill()?;
            self.child.wait()?;
        }
        Ok(status)
    }

    /// The last lines of its standard error, once it has ended; empty if it said nothing.
    #[must_use]
    pub fn last_words(&self) -> String {
        // What the program has started in its turn may hold the pipe open; then the words so far must do.
        let _ = self.words_end.recv_timeout(WORDS_PATIENCE);
        let kept = self
            .last_words
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        kept.iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = self.end(END_PATIENCE);
    }
}

fn keep_last(errors: impl Read, kept: &Mutex<VecDeque<String>>) {
    let mut errors = BufReader::new(errors);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut errors).take(KEPT_OCTETS).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT_LINES {
            kept.pop_front();
        }
        kept.push_back(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        Program::start(Command::new("sh").args(["-c", script])).unwrap()
    }

    fn wait_for_line(program: &mut Program) {
        let mut line = String::new();
        let output = program.take_output().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        assert_eq!(line, "here\n");
    }

    #[test]
    fn the_last_words_of_a_program_are_kept() {
        let mut program = shell("for n in $(seq 100); do echo line $n >&2; done; exit 7");
        let status = program.wait(END_PATIENCE).unwrap().unwrap();
        assert_eq!(status.code(), Some(7));
        let words = program.last_words();
        assert!(
            words.starts_with("line 81\n") && words.ends_with("line 100"),
            "{words}"
        );
    }

    #[test]
    fn a_program_is_asked_to_end_and_killed_if_it_does_not() {
        let mut program = shell("echo here; exec cat");
        wait_for_line(&mut program);
        assert_eq!(program.wait(Duration::ZERO).unwrap(), None);
        assert!(program.end(END_PATIENCE).unwrap().is_some());
        let mut stubborn = shell("trap '' TERM; echo here; exec tail -f /dev/null");
        wait_for_line(&mut stubborn);
        assert_eq!(stubborn.end(Duration::ZERO).unwrap(), None);
    }

    #[test]
    fn a_program_does_not_outlive_its_keeper() {
        let mut program = shell("echo here; exec tail -f /dev/null");
        wait_for_line(&mut program);
        let pid = program.pid();
        assert!(std::fs::exists(format!("/proc/{pid}")).unwrap());
        drop(program);
        assert!(!std::fs::exists(format!("/proc/{pid}")).unwrap());
    }
}
