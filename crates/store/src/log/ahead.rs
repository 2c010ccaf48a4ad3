//! Making the next segment before it is needed, so that no append waits for it to be filled with zeros.

use std::fmt::Debug;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{Builder, JoinHandle};

use super::disk::{Disk, DiskFile};
use super::format::SegmentName;
use super::home::{Home, unfinished};
use super::map::SegmentMap;

/// A segment of durable zeros, mapped, still under its temporary name.
#[derive(Debug)]
pub(super) struct Prepared {
    pub name: SegmentName,
    pub path: PathBuf,
    pub file: Box<dyn DiskFile>,
    pub map: SegmentMap,
}

/// What makes segments.
#[derive(Clone, Debug)]
struct Maker {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    size: u64,
    populate: bool,
}

impl Maker {
    fn make(&self, id: u64) -> io::Result<Prepared> {
        let name = SegmentName { id, generation: 0 };
        let path = unfinished(&self.dir, &name.to_string());
        let file = self.disk.create(&path, self.size)?;
        let ready = file
            .sync()
            .and_then(|()| SegmentMap::new(file.file(), self.populate));
        match ready {
            Ok(map) => Ok(Prepared {
                name,
                path,
                file,
                map,
            }),
            Err(error) => {
                // Its space may be what the next attempt lacks; if it stays, opening the store removes it.
                let _ = self.disk.remove(&path);
                Err(error)
            }
        }
    }
}

/// The segment after the active one, being made or ready.
#[derive(Debug)]
pub(super) struct Ahead {
    maker: Maker,
    helper: Option<Helper>,
    ready: Option<Prepared>,
}

#[derive(Debug)]
struct Helper {
    ids: SyncSender<u64>,
    made: Receiver<io::Result<Prepared>>,
    thread: JoinHandle<()>,
    /// A request has no answer yet.
    waiting: bool,
}

impl Ahead {
    /// Starts making segment `id`, on a helper thread if the options ask for one.
    pub(super) fn start(home: &Home, id: u64) -> io::Result<Ahead> {
        let maker = Maker {
            disk: Arc::clone(&home.disk),
            dir: home.dir.clone(),
            size: home.options.segment_size,
            populate: home.options.populate,
        };
        let helper = if home.options.ahead && !home.options.read_only {
            Some(Helper::start(maker.clone())?)
        } else {
            None
        };
        let mut ahead = Ahead {
            maker,
            helper,
            ready: None,
        };
        ahead.request(id);
        Ok(ahead)
    }

    /// Asks for segment `id` to be made while others things are done.
    pub(super) fn request(&mut self, id: u64) {
        if let Some(helper) = &mut self.helper
            && !helper.waiting
        {
            helper.waiting = helper.ids.try_send(id).is_ok();
        }
    }

    /// Segment `id`, ready to be written. If making it ahead failed it is tried once more now.
    pub(super) fn take(&mut self, id: u64) -> io::Result<Prepared> {
        self.collect(true);
        match self.ready.take() {
            Some(prepared) if prepared.name.id == id => Ok(prepared),
            _ => self.maker.make(id),
        }
    }

    /// Whether the next segment is ready.
    pub(super) fn is_ready(&mut self) -> bool {
        self.collect(false);
        self.ready.is_some()
    }

    fn collect(&mut self, wait: bool) {
        let Some(helper) = self.helper.as_mut().filter(|helper| helper.waiting) else {
            return;
        };
        let answer = if wait {
            helper.made.recv().map_err(|_| TryRecvError::Disconnected)
        } else {
            helper.made.try_recv()
        };
        match answer {
            Ok(made) => {
                helper.waiting = false;
                if let Err(error) = &made {
                    tracing::warn!(id = "segment-not-ready", %error, "the next segment of the log could not be made ahead of need");
                }
                self.ready = made.ok();
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => helper.waiting = false,
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.collect(true);
        if let Some(prepared) = self.ready.take() {
            let _ = self.maker.disk.remove(&prepared.path);
        }
        if let Some(helper) = self.helper.take() {
            drop(helper.ids);
            let _ = helper.thread.join();
        }
    }
}

impl Helper {
    fn start(maker: Maker) -> io::Result<Helper> {
        // One request at most is under way, so neither side ever blocks on a full channel.
        let (ids, wanted) = sync_channel::<u64>(1);
        let (answers, made) = sync_channel(1);
        let thread = Builder::new()
            .name("leaseq-segment".to_owned())
            .spawn(move || {
                for id in wanted {
                    if answers.send(maker.make(id)).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Helper {
            ids,
            made,
            thread,
            waiting: false,
        })
    }
}
