//! How many TLS handshakes of a core are under way, and who waits for one to end.
//!
//! A handshake costs a core far more than a query. When many relays come back at once, those above the
//! bound wait in the order in which they came, with what they have sent left unread; each is woken when it is its turn.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The handshakes of a core.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    under_way: u32,
    /// As the settings that came last say.
    most: u32,
    /// The next number in the order of coming.
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
    /// Keys of those whose turn has come and who have not been told.
    ready: Vec<usize>,
}

#[derive(Debug)]
struct Waiting {
    key: usize,
    granted: Rc<Cell<bool>>,
}

/// A handshake's place: among those under way, or in the queue. Given up when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    handshakes: Rc<Handshakes>,
    number: u64,
    granted: Rc<Cell<bool>>,
}

impl Handshakes {
    /// A place for the connection of this key; at once while fewer than `most` handshakes are under way and none waits.
    pub(crate) fn enter(self: &Rc<Self>, key: usize, most: u32) -> Place {
        let mut state = self.state.borrow_mut();
        state.most = most.max(1);
        let number = state.next;
        state.next += 1;
        let granted = Rc::new(Cell::new(false));
        let waiting = Waiting {
            key,
            granted: Rc::clone(&granted),
        };
        state.waiting.insert(number, waiting);
        state.admit(Some(number));
        Place {
            handshakes: Rc::clone(self),
            number,
            granted,
        }
    }

    /// Calls `wake` with the key of each connection whose turn has come since the last call.
    pub(crate) fn ready(&self, wake: &mut dyn FnMut(usize)) {
        let ready = std::mem::take(&mut self.state.borrow_mut().ready);
        ready.into_iter().for_each(wake);
    }
}

impl State {
    /// Lets in whom there is room for, and wakes them but for the one that asks.
    fn admit(&mut self, asking: Option<u64>) {
        while self.under_way < self.most
            && let Some((number, waiting)) = self.waiting.pop_first()
        {
            self.under_way += 1;
            waiting.granted.set(true);
            if Some(number) != asking {
                self.ready.push(waiting.key);
            }
        }
    }
}

impl Place {
    /// Whether the handshake may go on.
    pub(crate) fn is_granted(&self) -> bool {
        self.granted.get()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.handshakes.state.borrow_mut();
        if self.granted.get() {
            state.under_way = state.under_way.saturating_sub(1);
            state.admit(None);
        } else {
            state.waiting.remove(&self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn woken(handshakes: &Handshakes) -> Vec<usize> {
        let mut keys = Vec::new();
        handshakes.ready(&mut |key| keys.push(key));
        keys
    }

    #[test]
    fn those_above_the_bound_wait_in_order_and_each_is_woken_once() {
        let handshakes = Rc::new(Handshakes::default());
        let mut places: Vec<_> = (0..5).map(|key| handshakes.enter(key, 2)).collect();
        let granted = |places: &[Place]| places.iter().filter(|place| place.is_granted()).count();
        assert_eq!((granted(&places), woken(&handshakes)), (2, vec![]));
        // One that waits gives up, then one that is under way ends.
        drop(places.remove(2));
        assert_eq!(woken(&handshakes), Vec::<usize>::new());
        drop(places.remove(0));
        assert_eq!((granted(&places), woken(&handshakes)), (2, vec![3]));
        assert_eq!(woken(&handshakes), Vec::<usize>::new());
        drop(places.remove(0));
        drop(places.remove(0));
        assert_eq!((granted(&places), woken(&handshakes)), (1, vec![4]));
        drop(places);
        assert!(handshakes.enter(9, 1).is_granted());
    }

    #[test]
    fn a_bound_that_was_lowered_is_kept_and_one_of_nothing_lets_one_through() {
        let handshakes = Rc::new(Handshakes::default());
        let first = handshakes.enter(0, 2);
        let second = handshakes.enter(1, 2);
        let third = handshakes.enter(2, 0);
        drop(first);
        assert_eq!((third.is_granted(), woken(&handshakes)), (false, vec![]));
        drop(second);
        assert_eq!((third.is_granted(), woken(&handshakes)), (true, vec![2]));
    }
}
