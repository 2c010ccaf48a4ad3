//! Hooks: what is called after each commit.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::view::Published;

/// What is called after each commit.
pub(crate) type Hook = Arc<dyn Fn(Published) + Send + Sync>;

/// The hooks of a store. The thread that writes takes no lock to call them, so one may be added or removed at any time, by a
/// hook too.
#[derive(Default)]
pub(crate) struct Hooks {
    registered: ArcSwap<Vec<(u64, Hook)>>,
    next: AtomicU64,
}

impl Hooks {
    /// Registers a hook; gives its number.
    pub(crate) fn add(&self, hook: Hook) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.registered.rcu(|hooks| {
            let mut more = Vec::clone(hooks);
            more.push((number, Arc::clone(&hook)));
            more
        });
        number
    }

    fn remove(&self, number: u64) {
        self.registered.rcu(|hooks| {
            let mut fewer = Vec::clone(hooks);
            fewer.retain(|(other, _)| *other != number);
            fewer
        });
    }

    /// Calls each hook.
    pub(crate) fn call(&self, published: Published) {
        for (_, hook) in self.registered.load_full().iter() {
            hook(published);
        }
    }
}

/// A registered commit hook; dropping it takes the hook back. A call that has begun by then may still be under way on the
/// store's thread; no other one follows.
#[must_use = "the hook is taken back when this is dropped"]
pub struct CommitHook {
    hooks: Arc<Hooks>,
    number: u64,
}

impl CommitHook {
    pub(crate) fn new(hooks: &Arc<Hooks>, hook: Hook) -> CommitHook {
        CommitHook {
            number: hooks.add(hook),
            hooks: Arc::clone(hooks),
        }
    }
}

impl Drop for CommitHook {
    fn drop(&mut self) {
        self.hooks.remove(self.number);
    }
}

impl fmt::Debug for CommitHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommitHook")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}
