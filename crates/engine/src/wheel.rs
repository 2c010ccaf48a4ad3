//! One timer wheel a core: deadlines of all its connections, without a timer each.
//!
//! A wheel of [`SLOTS`] slots of [`SLOT_MS`]; entries are connection keys in intrusive lists, so scheduling neither
//! allocates nor searches. A deadline beyond the horizon is filed in the last slot before it; whoever is woken early
//! looks at its own deadline and schedules itself again. That is also why a connection whose deadline moves later need
//! not tell the wheel.

use leaseq_session::Mono;

/// Milliseconds a slot covers: how late a deadline may be noticed.
const SLOT_MS: u64 = 32;
/// Slots of the wheel: a horizon of 65 seconds.
const SLOTS: usize = 2_048;
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Node {
    previous: u32,
    next: u32,
    slot: u32,
}

const UNLINKED: Node = Node {
    previous: NONE,
    next: NONE,
    slot: NONE,
};

/// Deadlines by connection key.
pub(crate) struct Wheel {
    heads: Vec<u32>,
    occupied: [u64; SLOTS / 64],
    nodes: Vec<Node>,
    /// The first tick that has not been expired yet.
    tick: u64,
}

impl Wheel {
    /// An empty wheel that begins at `now`.
    pub fn new(now: Mono) -> Wheel {
        Wheel {
            heads: vec![NONE; SLOTS],
            occupied: [0; SLOTS / 64],
            nodes: Vec::new(),
            tick: now.as_millis() / SLOT_MS,
        }
    }

    /// Files `key` to be told of at `at`, or somewhat before if that is beyond the horizon. Replaces what was filed.
    pub fn schedule(&mut self, key: usize, at: Mono) {
        self.cancel(key);
        if self.nodes.len() <= key {
            self.nodes.resize(key + 1, UNLINKED);
        }
        // A slot is expired when its whole time has passed: nobody is told too early but for the horizon.
        let tick = at
            .as_millis()
            .div_ceil(SLOT_MS)
            .clamp(self.tick, self.tick + SLOTS as u64 - 1);
        let slot = (tick % SLOTS as u64) as usize;
        let next = self.heads[slot];
        self.nodes[key] = Node {
            previous: NONE,
            next,
            slot: slot as u32,
        };
        if next != NONE {
            self.nodes[next as usize].previous = key as u32;
        }
        self.heads[slot] = key as u32;
        self.occupied[slot / 64] |= 1 << (slot % 64);
    }

    /// Forgets what was filed for `key`, if anything was.
    pub fn cancel(&mut self, key: usize) {
        let Some(node) = self
            .nodes
            .get(key)
            .copied()
            .filter(|node| node.slot != NONE)
        else {
            return;
        };
        self.nodes[key] = UNLINKED;
        if node.next != NONE {
            self.nodes[node.next as usize].previous = node.previous;
        }
        if node.previous != NONE {
            self.nodes[node.previous as usize].next = node.next;
        } else {
            self.heads[node.slot as usize] = node.next;
            if node.next == NONE {
                self.occupied[node.slot as usize / 64] &= !(1 << (node.slot % 64));
            }
        }
    }

    /// When [`Wheel::expire`] has something to tell next.
    pub fn next_due(&self) -> Option<Mono> {
        let start = (self.tick % SLOTS as u64) as usize;
        // The word with the start bit is looked at twice: its upper part first, its lower part last.
        (0..=SLOTS / 64).find_map(|turn| {
            let index = (start / 64 + turn) % (SLOTS / 64);
            let word = match turn {
                0 => self.occupied[index] & (!0 << (start % 64)),
                _ if turn == SLOTS / 64 => self.occupied[index] & !(!0 << (start % 64)),
                _ => self.occupied[index],
            };
            (word != 0).then(|| {
                let slot = index * 64 + word.trailing_zeros() as usize;
                let ahead = (slot + SLOTS - start) % SLOTS;
                Mono::from_millis((self.tick + ahead as u64) * SLOT_MS)
            })
        })
    }

    /// Takes out every key that is due at `now` and hands it to `due`.
    pub fn expire(&mut self, now: Mono, mut due: impl FnMut(usize)) {
        let end = now.as_millis() / SLOT_MS;
        let passed = (end + 1).saturating_sub(self.tick).min(SLOTS as u64);
        for _ in 0..passed {
            let slot = (self.tick % SLOTS as u64) as usize;
            // The tick moves on first, so that a key scheduled for "now" from inside `due` lands in the next slot.
            self.tick += 1;
            let mut key = std::mem::replace(&mut self.heads[slot], NONE);
            self.occupied[slot / 64] &= !(1 << (slot % 64));
            while key != NONE {
                let next = self.nodes[key as usize].next;
                self.nodes[key as usize] = UNLINKED;
                due(key as usize);
                key = next;
            }
        }
        self.tick = self.tick.max(end + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono::from_millis(ms)
    }

    fn expired(wheel: &mut Wheel, now: u64) -> Vec<usize> {
        let mut keys = Vec::new();
        wheel.expire(at(now), |key| keys.push(key));
        keys.sort_unstable();
        keys
    }

    #[test]
    fn tells_each_key_once_and_never_early() {
        let mut wheel = Wheel::new(at(1_000));
        wheel.schedule(3, at(1_100));
        wheel.schedule(9, at(1_100));
        wheel.schedule(0, at(5_000));
        assert!(expired(&mut wheel, 1_099).is_empty());
        assert_eq!(expired(&mut wheel, 1_100 + SLOT_MS), [3, 9]);
        assert!(expired(&mut wheel, 4_999).is_empty());
        assert_eq!(expired(&mut wheel, 5_000 + SLOT_MS), [0]);
        assert_eq!(wheel.next_due(), None);
    }

    #[test]
    fn next_due_is_where_something_expires() {
        for start in [0, 31, 32, 2_047 * SLOT_MS, 123_456_789] {
            for ahead in [0, 1, SLOT_MS, 63 * SLOT_MS, 64 * SLOT_MS, 60_000, 3_600_000] {
                let mut wheel = Wheel::new(at(start));
                wheel.schedule(7, at(start + ahead));
                let due = wheel.next_due().expect("something is filed");
                assert!(
                    due.as_millis() <= start + ahead + SLOT_MS,
                    "{start} {ahead} {due:?}"
                );
                assert_eq!(
                    expired(&mut wheel, due.as_millis()),
                    [7],
                    "{start} {ahead} {due:?}"
                );
            }
        }
    }

    #[test]
    fn replaces_and_cancels() {
        let mut wheel = Wheel::new(at(0));
        wheel.schedule(1, at(100));
        wheel.schedule(2, at(100));
        wheel.schedule(3, at(100));
        wheel.schedule(2, at(9_000));
        wheel.cancel(3);
        wheel.cancel(3);
        wheel.cancel(77);
        assert_eq!(expired(&mut wheel, 200), [1]);
        assert_eq!(expired(&mut wheel, 9_100), [2]);
    }

    #[test]
    fn beyond_the_horizon_is_told_early_rather_than_lost() {
        let mut wheel = Wheel::new(at(0));
        wheel.schedule(5, at(10_000_000));
        let due = wheel.next_due().unwrap();
        assert!(due.as_millis() <= SLOTS as u64 * SLOT_MS);
        assert_eq!(expired(&mut wheel, due.as_millis()), [5]);
    }

    #[test]
    fn a_long_sleep_expires_everything() {
        let mut wheel = Wheel::new(at(0));
        for key in 0..100 {
            wheel.schedule(key, at(key as u64 * 500));
        }
        assert_eq!(
            expired(&mut wheel, 100_000_000),
            (0..100).collect::<Vec<_>>()
        );
        wheel.schedule(1, at(100_000_500));
        assert_eq!(expired(&mut wheel, 100_000_600), [1]);
    }
}
