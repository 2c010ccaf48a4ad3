//! Who tells of a binding that somebody else has told of: another feed, or an import.
//!
//! Of two feeds that claim one binding the better record counts (RFC 6926 §7.6). Better is the one with the later last
//! transaction of the client; the start of the state stands in where a record has none. Where that decides nothing, a record that
//! its source has first-hand is better than one that it has from another server. The section leaves the rest open: then the later
//! start of the state counts, then a binding that lives, and at last the one that is stored.
//!
//! What was imported is of no feed, so it ends by the clock. The first feed that tells of such a binding takes it over, even if it
//! says nothing new: from then on the binding lives as long as its server says. The other way round an import may improve a
//! binding of a feed that is followed, by a better record, but not take it away: it stays the feed's. A feed that mirrors another
//! server takes nothing over, and does not take such an improvement back, with an older record than one that is known first-hand.

use std::cmp::Ordering;

use crate::event::State;
use crate::feeds::Feeds;
use crate::record::{Bind4, Bind6};

/// How who tells of a binding stands to who told of it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rivalry {
    /// It is an import where no feed is followed.
    None,
    /// It is the same feed.
    Own,
    /// A feed, where none has told before.
    Adopter,
    /// A feed; the binding's is not followed any more, or not yet.
    Heir,
    /// An import; the binding's feed is followed.
    Guest,
    /// Both feeds are followed.
    Rivals,
}

impl Rivalry {
    pub(super) fn between(feeds: &Feeds, event: u16, stored: u16) -> Rivalry {
        match (event, stored, feeds.live(stored)) {
            (0, 0, _) => Rivalry::None,
            _ if event == stored => Rivalry::Own,
            (_, 0, _) => Rivalry::Adopter,
            (0, _, Some(_)) => Rivalry::Guest,
            (0, _, None) => Rivalry::None,
            (_, _, Some(_)) => Rivalry::Rivals,
            (_, _, None) => Rivalry::Heir,
        }
    }

    /// Whose the binding is if the event's record is stored.
    pub(super) fn owner(self, event: u16, stored: u16) -> u16 {
        match self {
            Rivalry::Guest => stored,
            _ => event,
        }
    }

    /// By whose word a lease of the event is over that may have run out. What had run out by the clock before a feed told of it
    /// does not come to life by being told again; `is_renewed`: it was used since.
    pub(super) fn judge(self, event: u16, stored: u16, state: State, is_renewed: bool) -> u16 {
        match (self, state) {
            (Rivalry::Adopter, State::Expired) if !is_renewed => 0,
            _ => self.owner(event, stored),
        }
    }

    /// Whether the event's feed gets a binding of which both say the same: what is of no feed, unless it has ended; and one that
    /// is followed, from one that is not.
    pub(super) fn takes_over(self, feeds: &Feeds, event: u16, state: State) -> bool {
        match self {
            Rivalry::Adopter => !state.is_end(),
            Rivalry::Heir => feeds.live(event).is_some(),
            Rivalry::None | Rivalry::Own | Rivalry::Guest | Rivalry::Rivals => false,
        }
    }

    /// Whether what the event says counts.
    pub(super) fn admits(self, event: Claim, stored: Claim) -> bool {
        match (self, event.compare(stored)) {
            (Rivalry::None, _) | (_, Ordering::Greater) => true,
            (Rivalry::Own | Rivalry::Adopter, _) => !event.is_older_hearsay(stored),
            (Rivalry::Heir, Ordering::Equal) => true,
            (_, Ordering::Equal | Ordering::Less) => false,
        }
    }
}

/// What decides which of two records is better.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    cltt: Option<u32>,
    state_since: u32,
    is_remote: bool,
    lives: bool,
}

impl Claim {
    pub(super) fn of4(bind: &Bind4<'_>) -> Claim {
        Claim {
            cltt: bind.cltt(),
            state_since: bind.state_since(),
            is_remote: bind.is_remote(),
            lives: bind.state() == State::Active,
        }
    }

    pub(super) fn of6(bind: &Bind6<'_>) -> Claim {
        Claim {
            cltt: bind.cltt(),
            state_since: bind.state_since(),
            is_remote: bind.is_remote(),
            lives: bind.state() == State::Active,
        }
    }

    /// Whether it is from another server, and older than what is known first-hand.
    fn is_older_hearsay(self, other: Claim) -> bool {
        self.is_remote && !other.is_remote && self.compare_times(other) == Ordering::Less
    }

    /// Greater: better than the other.
    fn compare(self, other: Claim) -> Ordering {
        self.compare_times(other)
            .then(other.is_remote.cmp(&self.is_remote))
            .then(self.state_since.cmp(&other.state_since))
            .then(self.lives.cmp(&other.lives))
    }

    /// Greater: later.
    fn compare_times(self, other: Claim) -> Ordering {
        let (ours, theirs) = match (self.cltt, other.cltt) {
            (None, None) => (self.state_since, other.state_since),
            (ours, theirs) => (
                ours.unwrap_or(self.state_since),
                theirs.unwrap_or(other.state_since),
            ),
        };
        ours.cmp(&theirs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIM: Claim = Claim {
        cltt: Some(1_000),
        state_since: 500,
        is_remote: false,
        lives: true,
    };

    fn assert_better(better: Claim, worse: Claim) {
        assert_eq!(
            better.compare(worse),
            Ordering::Greater,
            "{better:?} {worse:?}"
        );
        assert_eq!(
            worse.compare(better),
            Ordering::Less,
            "{better:?} {worse:?}"
        );
    }

    #[test]
    fn the_later_transaction_is_better_whatever_the_state_s_start() {
        let expired = Claim {
            cltt: Some(999),
            state_since: 2_000,
            lives: false,
            ..CLAIM
        };
        assert_better(CLAIM, expired);
        let remote = Claim {
            cltt: Some(1_001),
            is_remote: true,
            ..CLAIM
        };
        assert_better(remote, CLAIM);
    }

    #[test]
    fn the_start_of_the_state_stands_in_for_a_missing_transaction() {
        let unknown = |state_since| Claim {
            cltt: None,
            state_since,
            ..CLAIM
        };
        assert_better(CLAIM, unknown(999));
        assert_better(unknown(1_001), CLAIM);
        assert_better(unknown(2), unknown(1));
    }

    #[test]
    fn what_is_undecided_goes_to_the_local_record_then_to_the_later_state() {
        let remote = Claim {
            is_remote: true,
            state_since: 900,
            ..CLAIM
        };
        assert_better(CLAIM, remote);
        let later = Claim {
            state_since: 501,
            lives: false,
            ..CLAIM
        };
        assert_better(later, CLAIM);
        let over = Claim {
            lives: false,
            ..CLAIM
        };
        assert_better(CLAIM, over);
        assert!(!Rivalry::Rivals.admits(CLAIM, CLAIM));
        assert!(Rivalry::Heir.admits(CLAIM, CLAIM));
        assert!(!Rivalry::Heir.admits(over, CLAIM));
        assert!(!Rivalry::Guest.admits(CLAIM, CLAIM));
        assert!(Rivalry::Guest.admits(CLAIM, over));
        assert!(Rivalry::None.admits(over, CLAIM));
        assert!(Rivalry::Adopter.admits(over, CLAIM));
        assert!(Rivalry::Own.admits(over, CLAIM));
    }

    #[test]
    fn what_another_server_told_earlier_takes_no_first_hand_record_away() {
        let at = |cltt, is_remote| Claim {
            cltt: Some(cltt),
            is_remote,
            ..CLAIM
        };
        for rivalry in [Rivalry::Adopter, Rivalry::Own] {
            assert!(!rivalry.admits(at(999, true), at(1_000, false)));
            assert!(rivalry.admits(at(1_000, true), at(1_000, false)));
            assert!(rivalry.admits(at(999, true), at(1_000, true)));
            assert!(rivalry.admits(at(999, false), at(1_000, false)));
        }
    }
}
