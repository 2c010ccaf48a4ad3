//! Leasequery as the protocol of a core: sessions of leaseq-session that look at a store.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use leaseq_session::{
    Activity, Admission, Admitted, Connection, Counters, Family, Fate, Hub, Mono, Responder,
    Settings, Turn,
};
use leaseq_store::Reader;

use crate::service::{Answer, Outcome, Service};

/// What the sessions of one core share.
pub(crate) struct Leasequery {
    settings: RefCell<Arc<Settings>>,
    counters: Arc<Counters>,
    hub: Rc<Hub>,
    reader: Reader,
    responder: RefCell<Responder>,
}

impl Leasequery {
    /// For a core that counts in `counters` and reads through `reader`.
    pub fn new(
        settings: Arc<Settings>,
        counters: Arc<Counters>,
        admission: Arc<Admission>,
        reader: Reader,
    ) -> Leasequery {
        let responder = Responder::new(settings.clone(), counters.clone(), admission);
        Leasequery {
            settings: RefCell::new(settings),
            counters,
            hub: Hub::new(),
            reader,
            responder: RefCell::new(responder),
        }
    }

    /// Takes over settings for connections to come and for datagrams.
    pub fn reload(&self, settings: Arc<Settings>) {
        self.responder.borrow_mut().reload(settings.clone());
        self.settings.replace(settings);
    }

    /// Calls `look` with the store as it is now.
    fn turn<R>(&self, now: Mono, look: impl FnOnce(&Turn<'_>) -> R) -> R {
        // Asked before the view is taken: the base-time of a reply must not lie after a change that the view lacks.
        let server_time = self.reader.settled();
        let view = self.reader.view();
        look(&Turn {
            view: &view,
            now,
            server_time,
        })
    }
}

impl Service for Leasequery {
    type Pass = Admitted;
    type Session = Connection;

    fn open(
        &self,
        pass: Admitted,
        key: usize,
        family: Family,
        peer: SocketAddr,
        now: Mono,
    ) -> Connection {
        Connection::new(
            self.settings.borrow().clone(),
            self.counters.clone(),
            self.hub.clone(),
            key,
            family,
            pass,
            peer,
            now,
        )
    }

    fn receive(&self, session: &mut Connection, input: &[u8], now: Mono) -> usize {
        self.turn(now, |turn| session.receive(input, turn))
    }

    fn wants_input(&self, session: &Connection) -> bool {
        session.wants_input()
    }

    fn peer_closed(&self, session: &mut Connection, now: Mono) {
        session.peer_closed(now);
    }

    fn transmit(
        &self,
        session: &mut Connection,
        out: &mut [u8],
        target: usize,
        now: Mono,
    ) -> usize {
        self.turn(now, |turn| session.transmit(turn, out, target))
    }

    fn has_output(&self, session: &Connection) -> bool {
        session.has_output()
    }

    fn written(&self, session: &mut Connection, octets: usize, now: Mono) {
        session.written(octets, now);
    }

    fn deadline(&self, session: &Connection) -> Option<Mono> {
        session.deadline()
    }

    fn tick(&self, session: &mut Connection, now: Mono, unacknowledged: usize) {
        session.tick(now, unacknowledged);
    }

    fn outcome(&self, session: &Connection) -> Outcome {
        match session.fate() {
            Fate::Open => Outcome::Open,
            Fate::CloseWhenWritten(_) => Outcome::CloseWhenWritten,
            Fate::Abort(_) => Outcome::Abort,
        }
    }

    fn terminate(&self, session: &mut Connection) {
        session.terminate();
    }

    fn replaced(&self, session: &mut Connection) {
        session.replaced();
    }

    fn stream_timeout(&self, session: &Connection) -> Option<Duration> {
        session.is_stream().then(|| session.send_timeout())
    }

    fn activity(&self, session: &Connection) -> Activity {
        session.activity()
    }

    fn committed(&self, now: Mono, wake: &mut dyn FnMut(usize)) -> bool {
        self.turn(now, |turn| self.hub.committed(turn, wake))
    }

    fn is_behind(&self) -> bool {
        self.hub.is_behind()
    }

    fn ready(&self, wake: &mut dyn FnMut(usize)) {
        self.hub.ready(wake);
    }

    fn answer(&self, now: Mono, batch: &mut dyn FnMut(&mut Answer<'_>)) {
        let mut responder = self.responder.borrow_mut();
        self.turn(now, |turn| {
            batch(&mut |family, from, request, out| {
                responder
                    .answer(turn, family, from, request, out)
                    .map(|reply| (reply.octets, reply.to))
            });
        });
    }
}
