//! Binding states, and what the times of a lease mean in each.

use leaseq_store::{INFINITE, State};

use super::date::Date;
use super::token::{Fault, Token, Tokens};

/// Reads what follows `binding`: `state NAME;`.
pub(super) fn binding_state(tokens: &mut Tokens<'_>) -> Result<State, Fault> {
    match tokens.word("\"state\"")? {
        b"state" => {}
        other => return Err(tokens.expected("\"state\"", Some(Token::Word(other)))),
    }
    let name = tokens.word("a binding state")?;
    let state = match name {
        b"active" => State::Active,
        // A free address that the failover peer may give out.
        b"free" | b"backup" => State::Available,
        b"abandoned" => State::Abandoned,
        b"expired" => State::Expired,
        b"released" => State::Released,
        b"reset" => State::Reset,
        other => {
            return Err(tokens.expected(
                "a binding state (active, free, backup, abandoned, expired, released or reset)",
                Some(Token::Word(other)),
            ));
        }
    };
    tokens.end()?;
    Ok(state)
}

/// Seconds from the client's last transaction to the end of a lease that has not ended.
pub(super) fn lifetime(state: State, cltt: Option<u32>, ends: Option<Date>) -> Option<u32> {
    if state.is_end() {
        return None;
    }
    match ends? {
        Date::Never => Some(INFINITE),
        // No lifetime at all would mean that it is not told, and the longest one that there is no end.
        Date::At(end) => {
            let seconds = end.saturating_sub(u64::from(cltt?));
            Some(
                u32::try_from(seconds)
                    .unwrap_or(INFINITE)
                    .clamp(1, INFINITE - 1),
            )
        }
    }
}
