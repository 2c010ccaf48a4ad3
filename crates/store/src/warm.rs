//! Asking for what will be needed: keys, slots, records and lists of many events at once, so that the thread that writes
//! waits for memory once for all of them and not once for each.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::apply::{Indexes, Value4};
use crate::event::Event;
use crate::keys::Keys;
use crate::log::{Pos, Segments};
use crate::record::Record;
use crate::shared::range_vpn;
use crate::vpn::VpnRef;

/// Events or records that are asked for together.
pub(crate) const TOGETHER: usize = 32;

/// Where a key's slot is found.
#[derive(Clone, Copy)]
pub(crate) enum Home {
    Range(u32, Ipv4Addr),
    Hash(u64),
}

impl Indexes {
    /// Where the slot of an IPv4 binding is found.
    pub(crate) fn home4(&self, vpn: VpnRef<'_>, address: Ipv4Addr) -> Home {
        match range_vpn(&self.range_vpns, vpn) {
            Some(number) if self.ranges.contains(number, address) => Home::Range(number, address),
            _ => Home::Hash(self.hasher.key4(vpn.vss(), address)),
        }
    }

    /// Where the slot of an IPv6 lease is found.
    pub(crate) fn home6(&self, vpn: VpnRef<'_>, address: Ipv6Addr, prefix_len: u8) -> Home {
        Home::Hash(self.hasher.key6(vpn.vss(), address, prefix_len))
    }

    fn home(&self, event: &Event) -> Option<Home> {
        match event {
            Event::V4(event) => Some(self.home4(event.vpn.as_ref(), event.address)),
            Event::V6(event) => {
                Some(self.home6(event.vpn.as_ref(), event.address, event.prefix_len))
            }
            Event::Feed(_) => None,
        }
    }

    /// Asks for what is stored of the keys of some events.
    pub(crate) fn warm_events(&self, log: &Segments, events: &[Event]) {
        let mut homes = [None; TOGETHER];
        for (home, event) in homes.iter_mut().zip(events) {
            *home = self.home(event);
        }
        self.warm_homes(log, &homes);
    }

    fn warm_homes(&self, log: &Segments, homes: &[Option<Home>]) {
        for home in homes.iter().flatten() {
            match *home {
                Home::Range(vpn, address) => self.ranges.prefetch(vpn, address),
                Home::Hash(hash) => self.keys.prefetch(hash),
            }
        }
        let mut slots = [None; TOGETHER];
        for (slot, home) in slots.iter_mut().zip(homes) {
            *slot = home.and_then(|home| match home {
                Home::Range(vpn, address) => self.ranges.slot_of(vpn, address),
                // Nearly always the one; the record will tell.
                Home::Hash(hash) => self.keys.find(hash, |_| true),
            });
            if let Some(slot) = *slot {
                self.slots.prefetch(slot);
            }
        }
        for slot in slots.into_iter().flatten() {
            log.prefetch(Pos::from_raw(self.slots.pos(slot)));
        }
    }

    /// Asks for what is stored of the keys of some records, and for the lists that they belong to.
    pub(crate) fn warm_records(&self, log: &Segments, records: &[Record<'_>]) {
        let mut homes = [None; TOGETHER];
        for (home, record) in homes.iter_mut().zip(records) {
            *home = match record {
                Record::Bind4(bind) => Some(self.home4(bind.vpn(), bind.address())),
                Record::Bind6(lease) => {
                    Some(self.home6(lease.vpn(), lease.address(), lease.prefix_len()))
                }
                _ => None,
            };
        }
        self.warm_homes(log, &homes);
        records.iter().for_each(|record| self.warm_lists(record));
    }

    /// Asks for the places of a record's values in the lists.
    pub(crate) fn warm_lists(&self, record: &Record<'_>) {
        match record {
            Record::Bind4(bind) => {
                for value in Value4::ALL {
                    if let Some(octets) = value.of(bind) {
                        self.postings4(value)
                            .prefetch(value.hash(&self.hasher, bind, octets));
                    }
                }
            }
            Record::Bind6(lease) => {
                self.duid.prefetch(self.hasher.duid(lease.duid()));
                for hop in lease.hops() {
                    if let Some(id) = hop.remote_id {
                        self.remote_id6.prefetch(self.hasher.remote_id6(id));
                    }
                    if let Some(id) = hop.relay_id {
                        self.relay_id6.prefetch(self.hasher.relay_id6(id));
                    }
                }
            }
            _ => {}
        }
    }
}
