//! Which connections are served: requestor rules and limits, exact for all cores together.
//!
//! A place is taken before a connection is handed to a core and given back when its [`Admitted`] is dropped, so the
//! count can neither leak nor be overrun by connections that arrive at once. It is one lock, taken twice in a
//! connection's life and never by a query.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::counters::{Counters, Refusal};
use crate::rate::Rates;
use crate::settings::{Family, OnLimit, RequestorRule, Settings};

/// Decides which connections are served, and holds what requestors share between cores.
pub struct Admission {
    places: Mutex<Places>,
    counters: Arc<Counters>,
    pub(crate) tcp_rates: Rates,
    pub(crate) udp_rates: Rates,
}

struct Places {
    settings: Arc<Settings>,
    next_id: u64,
    taken: [u32; 2],
    /// Connections of each requestor, oldest first.
    by_requestor: HashMap<(Family, IpAddr), VecDeque<ConnectionId>>,
}

/// A connection's name, never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ConnectionId {
    /// The name as a number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

/// Why a connection is not served. It is to be closed at once (RFC 6926 §8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No `[[requestor]]` names its network.
    #[error("no requestor rule contains its address")]
    NotPermitted,
    /// `limits.max-connections` of its family are open.
    #[error("the family has all the connections it may have")]
    MaxConnections,
    /// The requestor has `limits.max-connections-per-requestor` open.
    #[error("the requestor has all the connections it may have")]
    MaxConnectionsPerRequestor,
}

/// A place among the connections; given back when dropped.
pub struct Admitted {
    admission: Arc<Admission>,
    family: Family,
    requestor: IpAddr,
    id: ConnectionId,
    replaces: Option<ConnectionId>,
    rule: Arc<RequestorRule>,
}

impl Admission {
    /// With no connection open.
    pub fn new(settings: Arc<Settings>) -> Arc<Admission> {
        let places = Places {
            settings,
            next_id: 1,
            taken: [0; 2],
            by_requestor: HashMap::new(),
        };
        Arc::new(Admission {
            places: Mutex::new(places),
            counters: Arc::new(Counters::default()),
            tcp_rates: Rates::new(),
            udp_rates: Rates::new(),
        })
    }

    /// Takes over new settings for connections to come; those that are open stay.
    pub fn reload(&self, settings: Arc<Settings>) {
        self.lock().settings = settings;
    }

    /// The refusals counted here, to be summed with the counters of the cores.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Connections of a family that are open.
    pub fn open(&self, family: Family) -> u32 {
        self.lock().taken[family as usize]
    }

    /// Takes a place for a connection from `peer`.
    ///
    /// # Errors
    /// The connection is to be closed at once; counted by reason.
    pub fn admit(self: &Arc<Self>, family: Family, peer: IpAddr) -> Result<Admitted, Refused> {
        let requestor = peer.to_canonical();
        self.lock().take(family, requestor).map_or_else(
            |refused| {
                let reason = match refused {
                    Refused::NotPermitted => Refusal::NotPermitted,
                    Refused::MaxConnections => Refusal::MaxConnections,
                    Refused::MaxConnectionsPerRequestor => Refusal::MaxConnectionsPerRequestor,
                };
                self.counters.refused(family).of(reason).increment();
                Err(refused)
            },
            |(id, replaces, rule)| {
                Ok(Admitted {
                    admission: Arc::clone(self),
                    family,
                    requestor,
                    id,
                    replaces,
                    rule,
                })
            },
        )
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    fn take(
        &mut self,
        family: Family,
        requestor: IpAddr,
    ) -> Result<(ConnectionId, Option<ConnectionId>, Arc<RequestorRule>), Refused> {
        let rule = Arc::clone(
            self.settings
                .rule_for(requestor)
                .ok_or(Refused::NotPermitted)?,
        );
        let limits = &self.settings.limits;
        let own = self
            .by_requestor
            .get(&(family, requestor))
            .map_or(0, VecDeque::len);
        let refused = if limits.max_connections_per_requestor != 0
            && own >= limits.max_connections_per_requestor as usize
        {
            Some(Refused::MaxConnectionsPerRequestor)
        } else if self.taken[family as usize] >= limits.max_connections {
            Some(Refused::MaxConnections)
        } else {
            None
        };
        let replaces = match refused {
            None => None,
            Some(_) if limits.on_limit == OnLimit::ReplaceOldest && own > 0 => self
                .by_requestor
                .get_mut(&(family, requestor))
                .and_then(VecDeque::pop_front),
            Some(refused) => return Err(refused),
        };
        if replaces.is_none() {
            self.taken[family as usize] += 1;
        }
        let id = ConnectionId(self.next_id);
        self.next_id += 1;
        self.by_requestor
            .entry((family, requestor))
            .or_default()
            .push_back(id);
        Ok((id, replaces, rule))
    }

    /// Gives a place back, unless a newer connection of the requestor has it by now.
    fn give_back(&mut self, family: Family, requestor: IpAddr, id: ConnectionId) {
        let Some(own) = self.by_requestor.get_mut(&(family, requestor)) else {
            return;
        };
        let Some(at) = own.iter().position(|held| *held == id) else {
            return;
        };
        own.remove(at);
        if own.is_empty() {
            self.by_requestor.remove(&(family, requestor));
        }
        self.taken[family as usize] -= 1;
    }
}

impl Admitted {
    /// The connection's name.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// The requestor's own oldest connection, whose place this one has taken and which is to be closed.
    pub fn replaces(&self) -> Option<ConnectionId> {
        self.replaces
    }

    /// The requestor's address; an IPv4 address mapped into IPv6 is given as the IPv4 address.
    pub fn requestor(&self) -> IpAddr {
        self.requestor
    }

    /// The rule that admits the requestor.
    pub fn rule(&self) -> &Arc<RequestorRule> {
        &self.rule
    }

    pub(crate) fn admission(&self) -> &Admission {
        &self.admission
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.admission
            .lock()
            .give_back(self.family, self.requestor, self.id);
    }
}

impl fmt::Debug for Admitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admitted")
            .field("family", &self.family)
            .field("requestor", &self.requestor)
            .field("id", &self.id)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Limits;

    fn admission(limits: Limits) -> Arc<Admission> {
        let rule = RequestorRule::all("10.0.0.0/8".parse().expect("a network"));
        Admission::new(Arc::new(Settings {
            limits,
            requestors: vec![Arc::new(rule)],
            ..Settings::default()
        }))
    }

    fn peer(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn ten_connections_by_default_for_each_family() {
        let admission = admission(Limits::default());
        let held: Vec<_> = (0..10)
            .map(|n| {
                admission
                    .admit(Family::V4, peer(n))
                    .expect("within the limit")
            })
            .collect();
        assert_eq!(
            admission.admit(Family::V4, peer(99)).unwrap_err(),
            Refused::MaxConnections
        );
        assert!(
            admission.admit(Family::V6, peer(99)).is_ok(),
            "the other family has its own places"
        );
        drop(held);
        assert_eq!(admission.open(Family::V4), 0);
        assert!(admission.admit(Family::V4, peer(99)).is_ok());
        assert_eq!(
            admission
                .counters()
                .refused(Family::V4)
                .of(Refusal::MaxConnections)
                .get(),
            1
        );
    }

    #[test]
    fn a_requestor_without_a_rule_is_refused() {
        let admission = admission(Limits::default());
        let stranger = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(
            admission.admit(Family::V4, stranger).unwrap_err(),
            Refused::NotPermitted
        );
        assert_eq!(
            admission
                .counters()
                .refused(Family::V4)
                .of(Refusal::NotPermitted)
                .get(),
            1
        );
        admission.reload(Arc::new(Settings {
            requestors: vec![Arc::new(RequestorRule::all(
                "192.0.2.0/24".parse().expect("a network"),
            ))],
            ..Settings::default()
        }));
        assert!(admission.admit(Family::V4, stranger).is_ok());
        assert_eq!(
            admission.admit(Family::V4, peer(1)).unwrap_err(),
            Refused::NotPermitted
        );
    }

    #[test]
    fn a_requestor_has_a_limit_of_its_own() {
        let admission = admission(Limits {
            max_connections_per_requestor: 2,
            ..Limits::default()
        });
        let _first = admission.admit(Family::V4, peer(1)).expect("first");
        let second = admission
            .admit(Family::V4, IpAddr::from([10, 0, 0, 1].map(u8::from)))
            .expect("second");
        let mapped = IpAddr::V6(std::net::Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped());
        assert_eq!(
            admission.admit(Family::V4, mapped).unwrap_err(),
            Refused::MaxConnectionsPerRequestor
        );
        assert!(admission.admit(Family::V4, peer(2)).is_ok());
        drop(second);
        assert!(admission.admit(Family::V4, mapped).is_ok());
    }

    #[test]
    fn replace_oldest_names_the_requestor_s_own_oldest_and_keeps_the_count() {
        let admission = admission(Limits {
            max_connections: 3,
            on_limit: OnLimit::ReplaceOldest,
            ..Limits::default()
        });
        let oldest = admission.admit(Family::V4, peer(1)).expect("first");
        let younger = admission.admit(Family::V4, peer(1)).expect("second");
        let _other = admission.admit(Family::V4, peer(2)).expect("third");
        assert_eq!(
            admission.admit(Family::V4, peer(3)).unwrap_err(),
            Refused::MaxConnections,
            "it has none to give up"
        );
        let newest = admission
            .admit(Family::V4, peer(1))
            .expect("takes a place over");
        assert_eq!(newest.replaces(), Some(oldest.id()));
        assert_eq!(admission.open(Family::V4), 3);
        drop(oldest);
        assert_eq!(admission.open(Family::V4), 3, "its place has changed hands");
        assert_eq!(
            admission
                .admit(Family::V4, peer(1))
                .expect("again")
                .replaces(),
            Some(younger.id())
        );
    }

    #[test]
    fn the_limit_is_exact_under_concurrency() {
        let admission = admission(Limits {
            max_connections: 7,
            ..Limits::default()
        });
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let admission = &admission;
                scope.spawn(move || {
                    for _ in 0..2_000 {
                        let held: Vec<_> = (0..3)
                            .filter_map(|_| admission.admit(Family::V4, peer(thread)).ok())
                            .collect();
                        assert!(admission.open(Family::V4) <= 7);
                        drop(held);
                    }
                });
            }
        });
        assert_eq!(admission.open(Family::V4), 0);
    }
}
