//! Which streams are narrowed to what: how those are found that a record may concern.

use std::collections::HashMap;

use ahash::RandomState;
use leaseq_store::{Record, View};
use smallvec::SmallVec;

use crate::active::Scope;
use crate::settings::Family;
use crate::{v4, v6};

/// Streams by the hash of their scope. What is found may be another scope's: the teller decides.
pub(super) struct Index {
    hasher: RandomState,
    members: HashMap<u64, SmallVec<[usize; 2]>, RandomState>,
    /// Streams that are narrowed to something, of each family.
    narrowed: [usize; 2],
}

/// Under what a stream is in an [`Index`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    scope: u64,
    narrowed: Option<Family>,
}

impl Index {
    pub(super) fn new(hasher: RandomState) -> Index {
        Index {
            members: HashMap::with_hasher(hasher.clone()),
            hasher,
            narrowed: [0; 2],
        }
    }

    /// The key of a scope.
    pub(super) fn key(&self, scope: Scope<'_>) -> Key {
        Key {
            narrowed: scope.is_narrow().then(|| scope.family()),
            scope: self.hasher.hash_one(scope),
        }
    }

    pub(super) fn insert(&mut self, key: Key, member: usize) {
        if let Some(family) = key.narrowed {
            self.narrowed[family as usize] += 1;
        }
        self.members.entry(key.scope).or_default().push(member);
    }

    /// Takes a member out, which is there once.
    pub(super) fn remove(&mut self, key: Key, member: usize) {
        let Some(found) = self.members.get_mut(&key.scope) else {
            return;
        };
        let before = found.len();
        found.retain(|other| *other != member);
        let removed = found.len() < before;
        if found.is_empty() {
            self.members.remove(&key.scope);
        }
        if let Some(family) = key.narrowed.filter(|_| removed) {
            self.narrowed[family as usize] -= 1;
        }
    }

    /// Calls `found` with each member that a record may concern, with some more than once. Gives how many scopes were looked
    /// for.
    pub(super) fn find(
        &self,
        view: &View,
        family: Family,
        record: &Record<'_>,
        found: &mut dyn FnMut(usize),
    ) -> usize {
        if self.members.is_empty() {
            return 0;
        }
        let mut scopes = 0;
        let mut look = |scope: Scope<'_>| {
            scopes += 1;
            let members = self.members.get(&self.hasher.hash_one(scope));
            members.into_iter().flatten().copied().for_each(&mut *found);
        };
        match family {
            Family::V4 => look(Scope::V4),
            Family::V6 => look(Scope::V6),
        }
        if self.narrowed[family as usize] > 0 {
            match family {
                Family::V4 => v4::scopes(view, record, &mut look),
                Family::V6 => v6::scopes(view, record, &mut look),
            }
        }
        scopes
    }
}
