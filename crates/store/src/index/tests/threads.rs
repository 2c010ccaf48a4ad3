//! A writer that changes things at random, and readers that walk all the while: what stayed put is met, once.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use smallvec::SmallVec;

use super::*;

const ADDRESSES: u32 = 3_000;
/// Every third address keeps its selector's value and its slot.
const STAYS: u32 = 3;
const CHANGES: usize = 150_000;
const LOG: usize = 8 * CHANGES;

/// Records by position: address and value, as a log would have them.
struct Records(Box<[AtomicU64]>);

impl Records {
    fn at(&self, position: u64) -> Option<(u32, u32)> {
        if position == 0 {
            return None;
        }
        let record = self.0[position as usize].load(Ordering::Relaxed);
        Some(((record >> 32) as u32, record as u32))
    }
}

/// Few values have many addresses, and many have few.
fn value_of(random: &mut StdRng) -> u32 {
    let most = if random.random_bool(0.5) { 3 } else { 900 };
    random.random_range(0..most)
}

fn first_value(address: u32) -> u32 {
    if address.is_multiple_of(2) {
        address % 3
    } else {
        address % 900
    }
}

struct Store {
    records: Records,
    hasher: Hasher,
    positions: std::sync::Arc<SlotTable>,
    keys: std::sync::Arc<KeyIndex>,
    values: std::sync::Arc<Postings>,
    walks: Walks,
}

impl Store {
    fn key(&self, address: u32) -> u64 {
        self.hasher.hash(1, &[&address.to_be_bytes()])
    }

    fn value(&self, value: u32) -> u64 {
        // Some values share their hash, as some will among many millions.
        self.hasher.hash(2, &[&(value / 2 * 2).to_be_bytes()])
    }

    fn slot_of(&self, address: u32) -> Option<u32> {
        self.keys.find(self.key(address), |slot| {
            self.records
                .at(self.positions.pos(slot))
                .is_some_and(|(found, _)| found == address)
        })
    }
}

struct Writer<'s> {
    store: &'s Store,
    slots: SlotTableWriter,
    keys: KeyIndexWriter,
    values: PostingsWriter,
    walks: WalksWriter,
    next_position: usize,
}

impl Writer<'_> {
    fn append(&mut self, slot: u32, address: u32, value: u32) {
        let position = self.next_position;
        self.next_position += 1;
        self.store.records.0[position].store(
            u64::from(address) << 32 | u64::from(value),
            Ordering::Relaxed,
        );
        self.slots.set_pos(slot, position as u64);
    }

    /// A binding's new record, the binding made or its value changed if need be.
    fn put(&mut self, address: u32, value: u32) {
        let store = self.store;
        let known = store.slot_of(address);
        let slot = known.unwrap_or_else(|| self.slots.alloc().unwrap());
        let before = store
            .records
            .at(self.slots.pos(slot))
            .map(|(_, value)| value);
        self.append(slot, address, value);
        if known.is_none() {
            self.keys.insert(store.key(address), slot);
        }
        if before.is_none_or(|before| store.value(before) != store.value(value)) {
            let slots = &self.slots;
            self.values.insert(store.value(value), slot, |other| {
                store
                    .records
                    .at(slots.pos(other))
                    .is_some_and(|(_, found)| store.value(found) == store.value(value))
            });
            if let Some(before) = before {
                assert!(self.values.remove(store.value(before), slot));
            }
        }
    }

    fn delete(&mut self, address: u32) {
        let Some(slot) = self.store.slot_of(address) else {
            return;
        };
        let (_, value) = self.store.records.at(self.slots.pos(slot)).unwrap();
        assert!(self.values.remove(self.store.value(value), slot));
        assert!(self.keys.remove(self.store.key(address), slot));
        self.slots.free(slot);
    }
}

fn read(store: &Store, done: &AtomicBool, seed: u64) -> usize {
    let mut random = StdRng::seed_from_u64(seed);
    let mut walked = 0;
    while !done.load(Ordering::Acquire) || walked < 50 {
        let value = value_of(&mut random);
        let _walk = store.walks.begin();
        let found = store.values.find(store.value(value));
        let mut met = BTreeSet::new();
        for place in 0..found.len() {
            let Some(slot) = found.get(place) else {
                continue;
            };
            let Some((address, recorded)) = store.records.at(store.positions.pos(slot)) else {
                continue;
            };
            if recorded == value {
                assert!(
                    met.insert(address),
                    "address {address} twice under value {value}"
                );
            }
            if place % 64 == 63 {
                thread::yield_now();
            }
        }
        for address in (0..ADDRESSES).step_by(STAYS as usize) {
            if first_value(address) == value {
                assert!(
                    met.contains(&address),
                    "address {address} was missed under value {value}: {met:?}"
                );
                assert!(
                    store.slot_of(address).is_some(),
                    "the key of address {address} was missed"
                );
            }
        }
        walked += 1;
    }
    walked
}

#[test]
fn walks_beside_a_writer_meet_what_stays_and_nothing_twice() {
    let (slots, keys, values) = (
        SlotTableWriter::new(),
        KeyIndexWriter::with_capacity(0),
        PostingsWriter::with_capacity(0),
    );
    let walks = WalksWriter::new();
    let store = Store {
        records: Records((0..LOG).map(|_| AtomicU64::new(0)).collect()),
        hasher: Hasher::with_seeds([1, 2, 3, 4]),
        positions: slots.shared(),
        keys: keys.shared(),
        values: values.shared(),
        walks: walks.shared(),
    };
    let mut writer = Writer {
        store: &store,
        slots,
        keys,
        values,
        walks,
        next_position: 1,
    };
    for address in 0..ADDRESSES {
        writer.put(address, first_value(address));
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|seed| {
                scope.spawn({
                    let (store, done) = (&store, &done);
                    move || read(store, done, seed)
                })
            })
            .collect();
        let mut random = StdRng::seed_from_u64(99);
        for change in 0..CHANGES {
            let address = random.random_range(0..ADDRESSES);
            if address.is_multiple_of(STAYS) {
                writer.put(address, first_value(address));
            } else {
                match random.random_range(0..8) {
                    0 => writer.delete(address),
                    1 => {
                        // Gone and back at once, with another slot.
                        writer.delete(address);
                        writer.put(address, first_value(address));
                    }
                    2..5 => writer.put(address, first_value(address)),
                    _ => writer.put(address, value_of(&mut random)),
                }
            }
            if change % 50 == 0 {
                let horizon = writer.walks.advance();
                writer.slots.reclaim(horizon);
            }
        }
        done.store(true, Ordering::Release);
        for reader in readers {
            assert!(reader.join().unwrap() >= 50);
        }
    });
    assert!(
        writer.slots.high() < 50 * ADDRESSES,
        "slots were reused: {} made",
        writer.slots.high()
    );
}

#[test]
fn groups_beside_a_writer_keep_the_members_that_stay() {
    const GROUPS: u32 = 8;
    const MEMBERS: u32 = 64;
    let mut writer = GroupsWriter::new();
    for link in 0..GROUPS {
        assert_eq!(writer.create(link), Some(link));
    }
    for slot in 0..MEMBERS {
        writer.insert(slot % GROUPS, slot);
    }
    let (groups, done) = (writer.shared(), AtomicBool::new(false));
    let stays = |slot: u32| (slot / GROUPS).is_multiple_of(2);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..3_u32)
            .map(|at| {
                scope.spawn({
                    let (groups, done) = (&groups, &done);
                    move || {
                        let (mut slots, mut rounds): (SmallVec<[u32; 8]>, u32) =
                            (SmallVec::new(), 0);
                        while !done.load(Ordering::Acquire) || rounds < 50 {
                            let group = (at + rounds) % GROUPS;
                            groups.collect(group, &mut slots);
                            let met: BTreeSet<u32> = slots.iter().copied().collect();
                            assert_eq!(met.len(), slots.len(), "a slot twice: {slots:?}");
                            let missed: Vec<u32> = (0..MEMBERS)
                                .filter(|&slot| {
                                    slot % GROUPS == group && stays(slot) && !met.contains(&slot)
                                })
                                .collect();
                            assert!(
                                missed.is_empty(),
                                "group {group}: {missed:?} missed, met {slots:?}"
                            );
                            rounds += 1;
                        }
                    }
                })
            })
            .collect();
        let mut random = StdRng::seed_from_u64(5);
        for _ in 0..400_000 {
            let slot = random.random_range(0..MEMBERS);
            if !stays(slot) {
                if writer.group_of(slot).is_some() {
                    writer.remove(slot);
                }
                // Often to the very group that it left, or to an empty end of a chain.
                if random.random_bool(0.9) {
                    writer.insert(random.random_range(0..GROUPS), slot);
                }
            }
        }
        done.store(true, Ordering::Release);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}
