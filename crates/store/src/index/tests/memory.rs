//! What the indexes take, all together, for each binding.

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;

const START: u32 = 1_790_000_000;

struct Sizes(Vec<(&'static str, usize)>);

impl Sizes {
    fn a_binding(&self, bindings: u32) -> f64 {
        self.0.iter().map(|(_, octets)| *octets as f64).sum::<f64>() / f64::from(bindings)
    }

    fn describe(&self, bindings: u32) -> String {
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|(name, octets)| format!("{name} {:.1}", *octets as f64 / f64::from(bindings)))
            .collect();
        parts.join(", ")
    }
}

/// A store's index for IPv4, with so many bindings to a hwaddr, client-id and remote-id, and to a relay-id.
fn ipv4(bindings: u32, to_a_client: u32, to_a_relay: u32) -> Sizes {
    let hasher = Hasher::with_seeds([11, 12, 13, 14]);
    let mut random = StdRng::seed_from_u64(1);
    let mut slots = SlotTableWriter::new();
    let mut keys = KeyIndexWriter::with_capacity(0);
    let mut clients: [PostingsWriter; 3] =
        std::array::from_fn(|_| PostingsWriter::with_capacity(0));
    let mut relays = PostingsWriter::with_capacity(0);
    let mut expiry = ExpiryQueue::new(START);
    for number in 0..bindings {
        let slot = slots.alloc().unwrap();
        slots.set_pos(slot, u64::from(number) + 1);
        keys.insert(hasher.hash(1, &[&number.to_be_bytes()]), slot);
        for (kind, postings) in clients.iter_mut().enumerate() {
            let hash = hasher.hash(kind as u8 + 2, &[&(number / to_a_client).to_be_bytes()]);
            postings.insert(hash, slot, |other| {
                other / to_a_client == number / to_a_client
            });
        }
        let hash = hasher.hash(9, &[&(number / to_a_relay).to_be_bytes()]);
        relays.insert(hash, slot, |other| {
            other / to_a_relay == number / to_a_relay
        });
        expiry.schedule(slot, START + random.random_range(0..86_400));
    }
    let [hwaddr, client_id, remote_id] = clients.map(|index| index.shared().memory());
    Sizes(vec![
        ("slots", slots.memory()),
        ("keys", keys.memory()),
        ("hwaddr", hwaddr),
        ("client-id", client_id),
        ("remote-id", remote_id),
        ("relay-id", relays.shared().memory()),
        ("expiry", expiry.memory()),
    ])
}

#[test]
fn a_typical_ipv4_binding_takes_at_most_64_octets() {
    let sizes = ipv4(1_000_000, 1, 1_000);
    assert!(
        sizes.a_binding(1_000_000) <= 64.0,
        "{}",
        sizes.describe(1_000_000)
    );
}

/// Values with a few bindings each are the dearest: too many for entries, too few to share a list's cost.
#[test]
fn no_ipv4_binding_takes_more_than_96_octets() {
    for to_a_client in [2, 6, 7, 9, 20] {
        let sizes = ipv4(100_000, to_a_client, 10);
        assert!(
            sizes.a_binding(100_000) <= 96.0,
            "{to_a_client} to a client: {}",
            sizes.describe(100_000)
        );
    }
}

/// Clients with an address each and every second one with a delegated prefix too.
#[test]
fn a_typical_ipv6_lease_takes_at_most_64_octets() {
    const CLIENTS: u32 = 250_000;
    let leases = CLIENTS * 3 / 2;
    let hasher = Hasher::with_seeds([11, 12, 13, 14]);
    let mut random = StdRng::seed_from_u64(1);
    let mut slots = SlotTableWriter::new();
    let mut keys = KeyIndexWriter::with_capacity(0);
    let mut groups = GroupsWriter::new();
    let mut duids = PostingsWriter::with_capacity(0);
    let mut remote_ids = PostingsWriter::with_capacity(0);
    let mut relay_ids = PostingsWriter::with_capacity(0);
    let mut links = PostingsWriter::with_capacity(0);
    let mut expiry = ExpiryQueue::new(START);
    for client in 0..CLIENTS {
        let (relay, link) = (client / 1_000, client / 5_000);
        let group = groups.create(link).unwrap();
        duids.insert(hasher.hash(2, &[&client.to_be_bytes()]), group, |_| true);
        remote_ids.insert(hasher.hash(3, &[&client.to_be_bytes()]), group, |_| true);
        relay_ids.insert(hasher.hash(4, &[&relay.to_be_bytes()]), group, |other| {
            other / 1_000 == relay
        });
        links.insert(hasher.hash(5, &[&link.to_be_bytes()]), group, |other| {
            other / 5_000 == link
        });
        for _ in 0..1 + client % 2 {
            let slot = slots.alloc().unwrap();
            slots.set_pos(slot, u64::from(slot) + 1);
            keys.insert(hasher.hash(1, &[&slot.to_be_bytes()]), slot);
            groups.insert(group, slot);
            expiry.schedule(slot, START + random.random_range(0..86_400));
        }
    }
    let sizes = Sizes(vec![
        ("slots", slots.memory()),
        ("keys", keys.memory()),
        ("groups", groups.memory()),
        ("duid", duids.shared().memory()),
        ("remote-id", remote_ids.shared().memory()),
        ("relay-id", relay_ids.shared().memory()),
        ("link", links.shared().memory()),
        ("expiry", expiry.memory()),
    ]);
    assert!(
        sizes.a_binding(leases) <= 64.0,
        "{}",
        sizes.describe(leases)
    );
}
