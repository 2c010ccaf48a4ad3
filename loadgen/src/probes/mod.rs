//! Finds out what a server's limits and timeouts are, and compares them with those expected.
//!
//! Here single connections are watched closely, so each test is a thread with a blocking socket of its own: what is measured
//! is the moment at which the kernel tells of an end, not that at which a busy runtime comes to it.

mod blocked;
mod connections;
mod idle;
mod innocent;
mod keepalive;
mod limits;
mod probe;
mod queries;
mod subject;
mod timeouts;
mod window;

use std::net::SocketAddr;
use std::sync::Arc;

use leaseq_requestor::tls::TlsClient;

use crate::data::Inventory;
use crate::fault::{Fault, FaultKind};
use crate::result::Finding;

pub use limits::limits;
pub use timeouts::timeouts;

/// The servers that are tested; a family without an address is not.
#[derive(Clone, Default)]
pub struct Servers {
    /// Where DHCPv4 is served.
    pub v4: Option<SocketAddr>,
    /// Where DHCPv6 is served.
    pub v6: Option<SocketAddr>,
    /// Every connection is on TLS.
    pub tls: Option<TlsClient>,
    /// What the DHCPv4 store holds, to ask for much; without it DHCPv4 is asked for everything.
    pub inventory4: Option<Arc<Inventory>>,
    /// What the DHCPv6 store holds, to ask for much; without it what needs a long answer is not tested.
    pub inventory6: Option<Arc<Inventory>>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Each thing that was expected, in the order of the scenario's keys. What could not be tested says so and holds.
    pub findings: Vec<Finding>,
    /// What does not hold, as [`FaultKind::Limit`], and what innocent relays suffered.
    pub faults: Vec<Fault>,
}

impl Outcome {
    /// Adds findings, and a fault for each that does not hold.
    fn find(&mut self, group: &str, findings: Vec<Finding>) {
        for finding in findings {
            if !finding.holds {
                self.faults.push(Fault {
                    kind: FaultKind::Limit,
                    group: group.into(),
                    relay: 0,
                    query: finding.what.clone(),
                    text: format!("expected {}, found {}", finding.expected, finding.found),
                    octets: String::new(),
                });
            }
            self.findings.push(finding);
        }
    }
}

/// Something that cannot be tested here. It holds as far as anybody knows, and says so.
fn not_tested(what: String, expected: String, why: impl Into<String>) -> Finding {
    Finding {
        what,
        expected,
        found: format!("{}: {}", Finding::NOT_TESTED, why.into()),
        holds: true,
    }
}
