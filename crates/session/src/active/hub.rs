//! What the active streams of one core share: the reader of the log's tail.

use std::rc::Rc;

use crate::connection::Turn;

/// The reader of the log's tail for all active streams of one core, and who is to be woken. One a core.
#[derive(Debug, Default)]
pub struct Hub {}

impl Hub {
    /// A hub without streams.
    pub fn new() -> Rc<Hub> {
        Rc::default()
    }

    /// Looks at what was committed since the last call, a bounded amount of it, and calls `wake` with the key of each
    /// connection that has something to do now. Gives whether there is more to look at: in another turn.
    pub fn committed(&self, turn: &Turn<'_>, wake: &mut dyn FnMut(usize)) -> bool {
        let _ = (turn, wake);
        false
    }

    /// Calls `wake` with the key of each connection that something else has made ready since the last call.
    pub fn ready(&self, wake: &mut dyn FnMut(usize)) {
        let _ = wake;
    }
}
