//! Every limit and timer of a connection, on virtual time: bulk and active queries, in both families.

mod connections;
mod family;
#[allow(dead_code, reason = "made for another suite; only a part is used here")]
#[path = "../v4/fixture.rs"]
mod fixture;
#[allow(dead_code, reason = "made for another suite; only a part is used here")]
#[path = "../v4/message.rs"]
mod message;
mod queries;
mod sight;
mod timers;
