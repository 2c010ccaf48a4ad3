//! Taking over a changed configuration of ranges and links while the store is open.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Writer;
use crate::apply::Indexes;
use crate::checkpoint;
use crate::error::CommitError;
use crate::places::Places;
use crate::queue::TopologyDone;
use crate::store::{TopologyChange, TopologyChangeError};
use crate::topology::Topology;

/// Slots that are given their places between two batches: what each takes is about a microsecond.
const SLOTS_IN_A_TURN: u32 = 4_096;

/// A change under way, and those that wait for it.
#[derive(Default)]
pub(super) struct State {
    running: Option<Change>,
    waiting: VecDeque<(Topology, TopologyDone)>,
}

struct Change {
    topology: Topology,
    what: TopologyChange,
    done: TopologyDone,
}

impl Writer {
    /// Begins to give all bindings their places by another topology, or does so after the change that is under way.
    pub(super) fn change_topology(&mut self, topology: Topology, done: TopologyDone) {
        let state = &mut self.topology_change;
        state.waiting.push_back((topology, done));
        if state.running.is_none() {
            self.begin_topology();
        }
    }

    /// Whether there is more to do for a change.
    pub(super) fn is_changing_topology(&self) -> bool {
        self.topology_change.running.is_some()
    }

    /// Begins the next change that waits; one that is refused, or changes nothing, is done with at once.
    fn begin_topology(&mut self) {
        while let Some((topology, done)) = self.topology_change.waiting.pop_front() {
            match self.try_begin_topology(&topology) {
                Ok(what) => {
                    self.topology_change.running = Some(Change {
                        topology,
                        what,
                        done,
                    });
                    return;
                }
                Err(error) => done(Err(error)),
            }
        }
    }

    fn try_begin_topology(
        &mut self,
        topology: &Topology,
    ) -> Result<TopologyChange, TopologyChangeError> {
        topology.check()?;
        self.commit()?;
        let what = TopologyChange {
            ranges: topology.ranges4 != self.topology.ranges4,
            links: topology.links6 != self.topology.links6,
        };
        self.indexes.begin_anew(
            what.ranges.then_some(&*topology.ranges4),
            what.links.then_some(&*topology.links6),
        )?;
        Ok(what)
    }

    /// Gives some slots their places. After the last one, what was published before stays as it is for those who look at it.
    pub(super) fn go_on_changing_topology(&mut self) {
        let Some(change) = self.topology_change.running.take() else {
            return;
        };
        match self.indexes.go_on_anew(&self.view, SLOTS_IN_A_TURN) {
            Ok(false) => {
                self.topology_change.running = Some(change);
                return;
            }
            Ok(true) => {
                self.install_topology(change.topology);
                (change.done)(Ok(change.what));
            }
            Err(error) => {
                self.indexes.anew = None;
                (change.done)(Err(error));
            }
        }
        self.begin_topology();
    }

    fn install_topology(&mut self, topology: Topology) {
        let old = self.indexes.install_anew();
        for at in 0..self.indexes.range_vpns.len() {
            let vpn = self.indexes.range_vpns[at].clone();
            self.note_vpn(vpn.as_ref());
        }
        self.topology = topology;
        self.fingerprint = self.fingerprint_now();
        let places = Places::of(&self.indexes);
        let old = (old, self.shared.places.swap(Arc::new(places)));
        self.refresh_counts();
        // Where there is no thread for it, they are freed here.
        let _ = std::thread::Builder::new()
            .name("leaseq-free".to_owned())
            .spawn(move || drop(old));
    }

    /// The store stops: changes that are not done are not made.
    pub(super) fn end_topology_changes(&mut self) {
        self.indexes.anew = None;
        let State { running, waiting } = std::mem::take(&mut self.topology_change);
        let running = running.map(|change| change.done);
        let waiting = waiting.into_iter().map(|(_, done)| done);
        running
            .into_iter()
            .chain(waiting)
            .for_each(|done| done(Err(CommitError::Stopped.into())));
    }

    /// What a checkpoint of the indexes as they are is good for: the next start with this topology, if that would number the
    /// VPNs of the ranges as they are numbered now; otherwise nothing.
    fn fingerprint_now(&self) -> u64 {
        let fingerprint = checkpoint::fingerprint(&self.indexes.hasher, &self.topology);
        let numbered = Indexes::vpns_of(&self.topology.ranges4, Vec::new());
        if numbered == self.indexes.range_vpns {
            fingerprint
        } else {
            !fingerprint
        }
    }

    /// Takes over how long ends are kept and leases are held, in seconds.
    pub(super) fn change_times(&mut self, history: u32, grace: u32) {
        self.indexes.history = history;
        self.shared.grace.store(grace, Relaxed);
    }
}
