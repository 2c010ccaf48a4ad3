//! What is listened on, and how it is changed while the engine runs.
//!
//! Addresses are known by what was asked for, so that a port 0 that stays is left alone. What is new is bound before anything
//! is closed, so that a change that cannot be made changes nothing. Only an address that overlaps with one that goes (the same
//! port, one of the two on all addresses) has to wait until that one is closed.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use leaseq_session::Family;
use socket2::Socket;

use crate::config::Listeners;
use crate::error::StartError;
use crate::socket;

/// How requestors reach a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

/// An address that was asked for, and for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub family: Family,
    pub transport: Transport,
    pub address: SocketAddr,
}

impl Wanted {
    /// A socket at the address.
    fn bind(self) -> Result<Opened, StartError> {
        let socket = match self.transport {
            Transport::Tcp => socket::listen(self.address)?,
            Transport::Udp => socket::datagram(self.address)?,
        };
        let bound = socket::local_address(&socket)?;
        Ok(Opened {
            wanted: self,
            bound,
            socket,
        })
    }

    /// Whether one cannot be bound while the other is.
    fn overlaps(&self, other: &Wanted) -> bool {
        let (mine, other_ip) = (self.address.ip(), other.address.ip());
        self.transport == other.transport
            && self.address.port() == other.address.port()
            && self.address.port() != 0
            && mine.is_ipv4() == other_ip.is_ipv4()
            && (mine == other_ip || mine.is_unspecified() || other_ip.is_unspecified())
    }
}

/// A socket that was bound and that nobody serves yet.
pub(crate) struct Opened {
    pub wanted: Wanted,
    pub bound: SocketAddr,
    socket: Socket,
}

impl Opened {
    /// The socket of a transport in which connections are accepted.
    pub fn into_listener(self) -> Socket {
        self.socket
    }

    /// The socket of a transport of datagrams.
    pub fn into_datagrams(self) -> OwnedFd {
        self.socket.into()
    }
}

/// A socket that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Served {
    /// What it is known by to the thread that serves it.
    pub id: u64,
    pub wanted: Wanted,
    pub bound: SocketAddr,
    /// The core that answers its datagrams.
    pub core: Option<usize>,
}

impl Served {
    /// The address that it has, as one to be asked for: where a port was 0, the one the kernel chose.
    fn at(&self) -> Wanted {
        Wanted {
            address: self.bound,
            ..self.wanted
        }
    }
}

/// All addresses that are wanted, in order.
pub(crate) fn all(listeners: &Listeners) -> Vec<Wanted> {
    let kinds = [
        (Family::V4, Transport::Tcp, &listeners.dhcp4_tcp),
        (Family::V6, Transport::Tcp, &listeners.dhcp6_tcp),
        (Family::V4, Transport::Udp, &listeners.dhcp4_udp),
        (Family::V6, Transport::Udp, &listeners.dhcp6_udp),
    ];
    let each = |(family, transport, addresses): (Family, Transport, &Vec<SocketAddr>)| {
        let wanted = move |&address: &SocketAddr| Wanted {
            family,
            transport,
            address,
        };
        addresses.iter().map(wanted).collect::<Vec<_>>()
    };
    kinds.into_iter().flat_map(each).collect()
}

/// Where sockets are bound, by kind.
pub(crate) fn bound(served: &[Served]) -> Listeners {
    let of = |family, transport| {
        let is_of =
            move |one: &&Served| one.wanted.family == family && one.wanted.transport == transport;
        served.iter().filter(is_of).map(|one| one.bound).collect()
    };
    Listeners {
        dhcp4_tcp: of(Family::V4, Transport::Tcp),
        dhcp4_udp: of(Family::V4, Transport::Udp),
        dhcp6_tcp: of(Family::V6, Transport::Tcp),
        dhcp6_udp: of(Family::V6, Transport::Udp),
    }
}

/// A change of what is listened on: what could be bound beforehand is bound.
pub struct ListenerChange {
    pub(crate) places: Vec<Place>,
    /// Sockets that are to be closed.
    pub(crate) removed: Vec<Served>,
}

/// What is to be at a place of the list that is wanted.
pub(crate) enum Place {
    /// A socket that is served already.
    Kept(Served),
    /// A new one.
    Opened(Opened),
    /// One that can be bound only when another one is closed.
    Later(Wanted),
}

impl ListenerChange {
    /// Binds what is new.
    pub(crate) fn prepare(
        served: &[Served],
        wanted: &[Wanted],
    ) -> Result<ListenerChange, StartError> {
        let mut removed = served.to_vec();
        let mut kept = Vec::new();
        for one in wanted {
            let at = removed.iter().position(|served| served.wanted == *one);
            kept.push(at.map(|at| removed.remove(at)));
        }
        let place = |(one, kept): (&Wanted, Option<Served>)| match kept {
            Some(served) => Ok(Place::Kept(served)),
            None if removed.iter().any(|old| old.at().overlaps(one)) => Ok(Place::Later(*one)),
            None => one.bind().map(Place::Opened),
        };
        let places: Result<Vec<Place>, StartError> = wanted.iter().zip(kept).map(place).collect();
        Ok(ListenerChange {
            places: places?,
            removed,
        })
    }

    /// Binds, now that the removed ones are closed, what had to wait. Where that fails, what was removed in its favour is bound
    /// again, and the error is told.
    pub(crate) fn complete(self, failed: &mut Vec<StartError>) -> Vec<Place> {
        let ListenerChange { places, removed } = self;
        let mut lost: Vec<Wanted> = Vec::new();
        let bind = |place| match place {
            Place::Later(wanted) => match wanted.bind() {
                Ok(opened) => Some(Place::Opened(opened)),
                Err(error) => {
                    failed.push(error);
                    let overlapping = removed.iter().map(Served::at);
                    lost.extend(overlapping.filter(|old| old.overlaps(&wanted)));
                    None
                }
            },
            place => Some(place),
        };
        let mut places: Vec<Place> = places.into_iter().filter_map(bind).collect();
        lost.dedup();
        for wanted in lost {
            match wanted.bind() {
                Ok(opened) => places.push(Place::Opened(opened)),
                Err(error) => failed.push(error),
            }
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(address: &str) -> Wanted {
        Wanted {
            family: Family::V4,
            transport: Transport::Tcp,
            address: address.parse().unwrap(),
        }
    }

    #[test]
    fn overlapping_addresses_are_those_that_the_kernel_refuses() {
        let one = tcp("192.0.2.1:67");
        assert!(one.overlaps(&tcp("0.0.0.0:67")) && tcp("0.0.0.0:67").overlaps(&one));
        assert!(one.overlaps(&one));
        for other in ["192.0.2.2:67", "0.0.0.0:68", "[::]:67", "0.0.0.0:0"] {
            assert!(!one.overlaps(&tcp(other)), "{other}");
        }
        let datagrams = Wanted {
            transport: Transport::Udp,
            ..one
        };
        assert!(!one.overlaps(&datagrams));
        assert!(!tcp("127.0.0.1:0").overlaps(&tcp("127.0.0.1:0")));
    }

    #[test]
    fn what_stays_is_kept_and_what_cannot_be_bound_changes_nothing() {
        let open = |id, wanted: Wanted| {
            let opened = wanted.bind().unwrap();
            let served = Served {
                id,
                wanted,
                bound: opened.bound,
                core: None,
            };
            (opened, served)
        };
        let (first, kept) = open(1, tcp("127.0.0.1:0"));
        let (_second, gone) = open(2, tcp("127.0.0.2:0"));
        let served = [kept, gone];
        let wanted = [tcp("127.0.0.3:0"), tcp("127.0.0.1:0")];
        let change = ListenerChange::prepare(&served, &wanted).unwrap();
        assert_eq!(change.removed, [gone]);
        assert!(matches!(change.places[0], Place::Opened(_)));
        assert!(matches!(change.places[1], Place::Kept(served) if served == kept));

        let taken = Wanted {
            address: first.bound,
            ..first.wanted
        };
        let refused = ListenerChange::prepare(&[], &[taken]).err().unwrap();
        assert!(refused.to_string().contains("another server has the port"));
    }

    #[test]
    fn what_had_to_wait_and_fails_gives_the_old_one_back() {
        let opened = tcp("127.0.0.1:0").bind().unwrap();
        let old = Wanted {
            address: opened.bound,
            ..opened.wanted
        };
        let served = Served {
            id: 1,
            wanted: old,
            bound: opened.bound,
            core: None,
        };
        let all = tcp(&format!("0.0.0.0:{}", opened.bound.port()));
        let change = ListenerChange::prepare(&[served], &[all]).unwrap();
        assert!(matches!(change.places[..], [Place::Later(later)] if later == all));
        // Somebody is faster at another address of the port.
        let other = tcp(&format!("127.0.0.9:{}", opened.bound.port()));
        let in_the_way = other.bind().unwrap();
        drop(opened);
        let mut failed = Vec::new();
        let places = change.complete(&mut failed);
        assert_eq!(failed.len(), 1);
        assert!(matches!(&places[..], [Place::Opened(opened)] if opened.wanted == old));
        drop((places, in_the_way));
        let change = ListenerChange::prepare(&[served], &[all]).unwrap();
        let mut failed = Vec::new();
        let places = change.complete(&mut failed);
        assert!(failed.is_empty());
        assert!(matches!(&places[..], [Place::Opened(opened)] if opened.wanted == all));
    }
}
