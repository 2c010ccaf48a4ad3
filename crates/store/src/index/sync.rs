//! The synchronisation primitives of the indexes: `std` and `arc-swap`, or loom's under `cfg(loom)`.
//!
//! loom explores the interleavings and the stale values that the memory model allows, but only of its own types.
//! It does not know arc-swap, so there a swapped pointer is a mutex around the `Arc`: what arc-swap guarantees
//! (a load sees everything written before the store of the pointer it returns), and nothing weaker, is taken for granted.

use std::sync::Arc;

#[cfg(not(loom))]
pub(super) use std::sync::{
    Mutex,
    atomic::{AtomicU32, AtomicU64, Ordering, fence},
};

#[cfg(loom)]
pub(super) use loom::sync::{
    Mutex,
    atomic::{AtomicU32, AtomicU64, Ordering, fence},
};

/// An `Arc` that the writer replaces while readers load it.
#[cfg(not(loom))]
pub(super) struct Swap<T>(arc_swap::ArcSwap<T>);

/// What [`Swap::load`] returns: derefs to the `Arc`.
#[cfg(not(loom))]
pub(super) type Held<T> = arc_swap::Guard<Arc<T>>;

#[cfg(not(loom))]
impl<T> Swap<T> {
    pub(super) fn new(value: Arc<T>) -> Swap<T> {
        Swap(arc_swap::ArcSwap::new(value))
    }

    /// Borrows the current value for a moment, without touching its reference count as a rule.
    pub(super) fn load(&self) -> Held<T> {
        self.0.load()
    }

    pub(super) fn load_full(&self) -> Arc<T> {
        self.0.load_full()
    }

    pub(super) fn store(&self, value: Arc<T>) {
        self.0.store(value);
    }
}

/// Like [`Swap`], for a place that may be empty.
#[cfg(not(loom))]
pub(super) struct SwapOption<T>(arc_swap::ArcSwapOption<T>);

#[cfg(not(loom))]
impl<T> SwapOption<T> {
    pub(super) fn empty() -> SwapOption<T> {
        SwapOption(arc_swap::ArcSwapOption::empty())
    }

    pub(super) fn load_full(&self) -> Option<Arc<T>> {
        self.0.load_full()
    }

    pub(super) fn store(&self, value: Option<Arc<T>>) {
        self.0.store(value);
    }
}

#[cfg(loom)]
pub(super) struct Swap<T>(Mutex<Arc<T>>);

#[cfg(loom)]
pub(super) struct Held<T>(Arc<T>);

#[cfg(loom)]
impl<T> std::ops::Deref for Held<T> {
    type Target = Arc<T>;

    fn deref(&self) -> &Arc<T> {
        &self.0
    }
}

#[cfg(loom)]
impl<T> Swap<T> {
    pub(super) fn new(value: Arc<T>) -> Swap<T> {
        Swap(Mutex::new(value))
    }

    pub(super) fn load(&self) -> Held<T> {
        Held(self.load_full())
    }

    pub(super) fn load_full(&self) -> Arc<T> {
        self.0.lock().map_or_else(
            |poisoned| poisoned.into_inner().clone(),
            |guard| guard.clone(),
        )
    }

    pub(super) fn store(&self, value: Arc<T>) {
        *self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = value;
    }
}

#[cfg(loom)]
pub(super) struct SwapOption<T>(Mutex<Option<Arc<T>>>);

#[cfg(loom)]
impl<T> SwapOption<T> {
    pub(super) fn empty() -> SwapOption<T> {
        SwapOption(Mutex::new(None))
    }

    pub(super) fn load_full(&self) -> Option<Arc<T>> {
        self.0.lock().map_or_else(
            |poisoned| poisoned.into_inner().clone(),
            |guard| guard.clone(),
        )
    }

    pub(super) fn store(&self, value: Option<Arc<T>>) {
        *self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = value;
    }
}
