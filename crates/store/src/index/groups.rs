//! Groups (IPv6): the client on a link, and the slots of its leases in a chain.
//!
//! A slot knows its group and the next slot of the chain. Joining is at the head: the slot's own fields first, then
//! (Release) the head, so whoever starts at a head finds a chain that is complete. Leaving is one store in the slot
//! before; the slot that left keeps pointing into the chain, so a reader that stands on it still comes to the end. Only
//! when it joins another group does its pointer lead elsewhere. So each departure is counted (Release) before the slot
//! can join again: a reader that followed a pointer stored by a later joining (Acquire) finds the count changed, and
//! starts again. The counters are shared by groups; one more departure than one's own costs a repetition and no more.
//!
//! No step of the writer leaves a chain broken, so readers never wait for a writer that was interrupted. A reader that
//! was overtaken [`RESTARTS`] times keeps the writer from removing for the moment it takes to collect the chain.

use std::io::{self, Read, Write};
use std::sync::Arc;

use smallvec::SmallVec;

use super::chunks::{Chunks, MAX_IDS};
use super::persist::{Saver, odd, read_u32, read_u32s, words};
use super::sync::{AtomicU32, Mutex, Ordering};
use super::walks::{Horizon, Retired};

const STRIPES: usize = if cfg!(loom) { 1 } else { 1024 };

/// Times that a reader starts again before it locks the writer out.
pub(super) const RESTARTS: usize = if cfg!(loom) { 1 } else { 64 };

/// Group, slot and link numbers are stored plus one; 0 is none.
const NONE: u32 = 0;

struct Member {
    group: AtomicU32,
    next: AtomicU32,
}

struct Head {
    first: AtomicU32,
    link: AtomicU32,
}

impl Member {
    fn new() -> Member {
        Member {
            group: AtomicU32::new(NONE),
            next: AtomicU32::new(NONE),
        }
    }
}

impl Head {
    fn new() -> Head {
        Head {
            first: AtomicU32::new(NONE),
            link: AtomicU32::new(NONE),
        }
    }
}

/// What readers see of the groups.
pub struct Groups {
    members: Chunks<Member>,
    heads: Chunks<Head>,
    departures: Box<[AtomicU32]>,
    removing: Mutex<()>,
    live: AtomicU32,
}

impl Groups {
    /// The slot's group, if it is in one.
    #[inline]
    #[must_use]
    pub fn group_of(&self, slot: u32) -> Option<u32> {
        self.members
            .get(slot)?
            .group
            .load(Ordering::Acquire)
            .checked_sub(1)
    }

    /// The link given to the group when it was made; none for a number that is no group.
    #[must_use]
    pub fn link(&self, group: u32) -> Option<u32> {
        self.heads
            .get(group)?
            .link
            .load(Ordering::Acquire)
            .checked_sub(1)
    }

    /// Number of groups.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.live.load(Ordering::Relaxed)
    }

    /// Puts the group's slots into `slots` (emptied before), each once, the one that joined last first. Slots that are
    /// members throughout the call are all there; one that joins or leaves meanwhile may be.
    pub fn collect(&self, group: u32, slots: &mut SmallVec<[u32; 8]>) {
        for _ in 0..=RESTARTS {
            if self.try_collect(group, slots) {
                return;
            }
        }
        let _no_departure = self
            .removing
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        // With the writer kept from removing, this cannot fail.
        self.try_collect(group, slots);
    }

    fn try_collect(&self, group: u32, slots: &mut SmallVec<[u32; 8]>) -> bool {
        slots.clear();
        let Some(head) = self.heads.get(group) else {
            return true;
        };
        let departures = self.departures(group);
        let before = departures.load(Ordering::Acquire);
        let mut at = head.first.load(Ordering::Acquire);
        while at != NONE {
            let Some(member) = self.members.get(at - 1) else {
                return true;
            };
            slots.push(at - 1);
            // Acquire: if a later joining stored this, the departure before it is seen below.
            at = member.next.load(Ordering::Acquire);
            // Checked at each step: until a departure the chain is as long as it was, so the loop ends.
            if departures.load(Ordering::Relaxed) != before {
                return false;
            }
        }
        true
    }

    fn departures(&self, group: u32) -> &AtomicU32 {
        &self.departures[group as usize % STRIPES]
    }

    /// Touches the head, so that a later [`Groups::collect`] finds it in the cache.
    #[inline]
    pub fn prefetch(&self, group: u32) {
        std::hint::black_box(
            self.heads
                .get(group)
                .map(|head| head.first.load(Ordering::Relaxed)),
        );
    }

    /// Octets taken.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.members.memory() + self.heads.memory() + STRIPES * size_of::<AtomicU32>()
    }
}

/// The writer's side of [`Groups`].
pub struct GroupsWriter {
    shared: Arc<Groups>,
    /// Groups from here on were never made.
    next: u32,
    retired: Retired,
}

impl std::ops::Deref for GroupsWriter {
    type Target = Groups;

    fn deref(&self) -> &Groups {
        &self.shared
    }
}

impl GroupsWriter {
    /// No groups.
    #[must_use]
    pub fn new() -> GroupsWriter {
        let shared = Groups {
            members: Chunks::new(),
            heads: Chunks::new(),
            departures: (0..STRIPES).map(|_| AtomicU32::new(0)).collect(),
            removing: Mutex::new(()),
            live: AtomicU32::new(0),
        };
        GroupsWriter {
            shared: Arc::new(shared),
            next: 0,
            retired: Retired::default(),
        }
    }

    /// The readers' side.
    #[must_use]
    pub fn shared(&self) -> Arc<Groups> {
        Arc::clone(&self.shared)
    }

    /// Makes a group without members; none if there are about 2^31, or the link's number is as large.
    pub fn create(&mut self, link: u32) -> Option<u32> {
        if link >= MAX_IDS {
            return None;
        }
        let group = match self.retired.take() {
            Some(group) => group,
            None if self.next < MAX_IDS => {
                self.next += 1;
                self.next - 1
            }
            None => return None,
        };
        self.shared.heads.reach(group, Head::new);
        self.shared
            .heads
            .get(group)?
            .link
            .store(link + 1, Ordering::Release);
        self.shared.live.store(self.len() + 1, Ordering::Relaxed);
        Some(group)
    }

    /// Makes a slot, which is in no group, a member.
    pub fn insert(&mut self, group: u32, slot: u32) {
        debug_assert!(
            self.link(group).is_some() && self.group_of(slot).is_none(),
            "slot {slot}, group {group}"
        );
        self.shared.members.reach(slot, Member::new);
        let (Some(head), Some(member)) =
            (self.shared.heads.get(group), self.shared.members.get(slot))
        else {
            return;
        };
        member
            .next
            .store(head.first.load(Ordering::Relaxed), Ordering::Release);
        member.group.store(group + 1, Ordering::Release);
        head.first.store(slot + 1, Ordering::Release);
    }

    /// Takes a slot out of its group. Returns the group, and whether the slot was its last one: then the group is to
    /// leave the indexes and to be freed.
    pub fn remove(&mut self, slot: u32) -> Option<(u32, bool)> {
        let group = self.group_of(slot)?;
        let (head, member) = (
            self.shared.heads.get(group)?,
            self.shared.members.get(slot)?,
        );
        let _departure = self
            .shared
            .removing
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut before = &head.first;
        loop {
            match before.load(Ordering::Relaxed) {
                NONE => return None,
                at if at == slot + 1 => break,
                at => before = &self.shared.members.get(at - 1)?.next,
            }
        }
        member.group.store(NONE, Ordering::Release);
        before.store(member.next.load(Ordering::Relaxed), Ordering::Release);
        let departures = self.shared.departures(group);
        departures.store(
            departures.load(Ordering::Relaxed).wrapping_add(1),
            Ordering::Release,
        );
        Some((group, head.first.load(Ordering::Relaxed) == NONE))
    }

    /// Gives back a group without members. It must have left every index before; its number is used again once a
    /// [`GroupsWriter::reclaim`] finds that every walk begun before has ended.
    pub fn free(&mut self, group: u32) {
        let Some(head) = self.shared.heads.get(group) else {
            return;
        };
        debug_assert!(
            head.first.load(Ordering::Relaxed) == NONE,
            "group {group} has members"
        );
        head.link.store(NONE, Ordering::Release);
        self.shared
            .live
            .store(self.len().saturating_sub(1), Ordering::Relaxed);
        self.retired.push(group);
    }

    /// Makes group numbers available whose time has come.
    pub fn reclaim(&mut self, horizon: Horizon) {
        self.retired.reclaim(horizon);
    }

    /// Whether freed groups wait for walks to end.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.retired.is_waiting()
    }

    /// Writes the groups for a checkpoint.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn save(&self, out: &mut impl Write) -> io::Result<()> {
        let mut saver = Saver::new(out);
        saver.u32(self.next)?;
        for head in self.shared.heads.iter().take(self.next as usize) {
            saver.u32(head.first.load(Ordering::Relaxed))?;
            saver.u32(head.link.load(Ordering::Relaxed))?;
        }
        let members = self.shared.members.iter().count();
        saver.u32(members as u32)?;
        for member in self.shared.members.iter() {
            saver.u32(member.group.load(Ordering::Relaxed))?;
            saver.u32(member.next.load(Ordering::Relaxed))?;
        }
        let free: Vec<u32> = self.retired.iter().collect();
        saver.u32s(free.into_iter())?;
        saver.finish()
    }

    /// Reads what [`GroupsWriter::save`] wrote.
    ///
    /// # Errors
    /// Those of `input`; `InvalidData` if no groups look like this.
    pub fn load(input: &mut impl Read) -> io::Result<GroupsWriter> {
        let groups = GroupsWriter::new();
        let next = read_u32(input)?;
        if next > MAX_IDS {
            return Err(odd("more groups than there can be"));
        }
        let mut targets = Vec::new();
        let mut number = 0;
        words(input, next as usize, |word: [u8; 8]| {
            let (first, link) = halves(word);
            groups.shared.heads.reach(number, Head::new);
            if let Some(head) = groups.shared.heads.get(number) {
                head.first.store(first, Ordering::Release);
                head.link.store(link, Ordering::Release);
            }
            targets.extend(first.checked_sub(1));
            number += 1;
            Ok(())
        })?;
        let count = read_u32(input)?;
        let mut chains = Chains::new(count, &targets)?;
        let mut slot = 0;
        words(input, count as usize, |word: [u8; 8]| {
            let (group, following) = halves(word);
            if group > next {
                return Err(odd("a slot in a group that does not exist"));
            }
            groups.shared.members.reach(slot, Member::new);
            if let Some(member) = groups.shared.members.get(slot) {
                member.group.store(group, Ordering::Release);
                member.next.store(following, Ordering::Release);
            }
            if group != NONE && following != NONE {
                chains.add(following - 1)?;
            }
            slot += 1;
            Ok(())
        })?;
        let free = read_u32s(input)?;
        if free.len() > next as usize
            || free
                .iter()
                .any(|&group| group >= next || groups.link(group).is_some())
        {
            return Err(odd("a free group that is in use or does not exist"));
        }
        let mut groups = groups;
        groups.next = next;
        groups
            .shared
            .live
            .store(next - free.len() as u32, Ordering::Relaxed);
        groups.retired = Retired::with_ready(free);
        Ok(groups)
    }
}

fn halves(word: [u8; 8]) -> (u32, u32) {
    let word = u64::from_le_bytes(word);
    (word as u32, (word >> 32) as u32)
}

/// Slots that something points to. If none is pointed to twice, no chain runs in a circle.
struct Chains {
    pointed_to: Vec<u64>,
    slots: u32,
}

impl Chains {
    fn new(slots: u32, heads: &[u32]) -> io::Result<Chains> {
        if slots > MAX_IDS + (1 << 29) {
            return Err(odd("more slots than there can be"));
        }
        let mut chains = Chains {
            pointed_to: vec![0; slots as usize / 64 + 1],
            slots,
        };
        heads.iter().try_for_each(|&slot| chains.add(slot))?;
        Ok(chains)
    }

    fn add(&mut self, slot: u32) -> io::Result<()> {
        let (word, bit) = (slot as usize / 64, 1 << (slot % 64));
        if slot >= self.slots || self.pointed_to[word] & bit != 0 {
            return Err(odd("chains that run together"));
        }
        self.pointed_to[word] |= bit;
        Ok(())
    }
}
