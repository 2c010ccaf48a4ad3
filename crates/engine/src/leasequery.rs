//! Leasequery as the protocol of a core: sessions of leaseq-session that look at a store.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;

use leaseq_session::{Admission, Admitted, Counters, Family, Mono, Settings};
use leaseq_store::Reader;

use crate::service::{Answer, Outcome, Service};

/// What the sessions of one core share.
#[allow(dead_code)]
pub(crate) struct Leasequery {
    settings: RefCell<Arc<Settings>>,
    counters: Arc<Counters>,
    admission: Arc<Admission>,
    reader: Reader,
}

impl Leasequery {
    /// For a core that counts in `counters` and reads through `reader`.
    pub fn new(
        settings: Arc<Settings>,
        counters: Arc<Counters>,
        admission: Arc<Admission>,
        reader: Reader,
    ) -> Leasequery {
        Leasequery {
            settings: RefCell::new(settings),
            counters,
            admission,
            reader,
        }
    }

    /// Takes over settings for connections to come and for datagrams.
    pub fn reload(&self, settings: Arc<Settings>) {
        self.settings.replace(settings);
    }
}

impl Service for Leasequery {
    type Pass = Admitted;
    type Session = Admitted;

    fn open(&self, pass: Admitted, _: Family, _: SocketAddr, _: Mono) -> Admitted {
        pass
    }

    fn receive(&self, _: &mut Admitted, input: &[u8], _: Mono) -> usize {
        input.len()
    }

    fn wants_input(&self, _: &Admitted) -> bool {
        true
    }

    fn peer_closed(&self, _: &mut Admitted, _: Mono) {}

    fn transmit(&self, _: &mut Admitted, _: &mut [u8], _: usize, _: Mono) -> usize {
        0
    }

    fn has_output(&self, _: &Admitted) -> bool {
        false
    }

    fn written(&self, _: &mut Admitted, _: usize, _: Mono) {}

    fn deadline(&self, _: &Admitted) -> Option<Mono> {
        None
    }

    fn tick(&self, _: &mut Admitted, _: Mono, _: usize) {}

    fn outcome(&self, _: &Admitted) -> Outcome {
        Outcome::CloseWhenWritten
    }

    fn terminate(&self, _: &mut Admitted) {}

    fn replaced(&self, _: &mut Admitted) {}

    fn answer(&self, _: Mono, batch: &mut dyn FnMut(&mut Answer<'_>)) {
        batch(&mut |_, _, _, _| None);
    }
}
