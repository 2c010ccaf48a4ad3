//! What a commit sets off on a core: one wake, however many commits come before the core has looked, then turns of the
//! service until it has seen everything.

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::core::Core;
use crate::ring;
use crate::service::Service;

/// Whether a core has been told of commits that it has not looked at.
#[derive(Debug, Default)]
pub(crate) struct CommitFlag(AtomicBool);

impl CommitFlag {
    /// After a commit was published: whether the core has to be told, because it has not been told since it last looked.
    pub fn raise(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// Before the core looks. A commit that is published too late for this look raises the flag anew.
    fn lower(&self) {
        // An exchange, not a store: what is read after it must not be older than what the flag stood for.
        self.0.swap(false, Ordering::AcqRel);
    }
}

/// Looks at commits whenever the core is told of some, for as long as it runs: one call of the service a turn.
pub(crate) async fn run<S: Service>(core: Rc<Core<S>>) {
    loop {
        core.told_of_commits.notified().await;
        core.commits.lower();
        // Each call is bounded, and so is their number: by what the log holds.
        while core
            .service
            .committed(core.now(), &mut |key| core.links.wake(key))
        {
            end_turn().await;
        }
        // Whoever was woken has its turn before commits are looked at again: under load several go out at once.
        end_turn().await;
    }
}

async fn end_turn() {
    // A request that does nothing cannot fail in a way that matters.
    let _ = ring::turn().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_told_once_until_it_looks() {
        let flag = CommitFlag::default();
        assert!(flag.raise());
        assert!(!flag.raise());
        flag.lower();
        assert!(flag.raise(), "a commit after the look is told");
    }
}
