//! What all threads of a process need before relays begin, and whether it is all there.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use leaseq_requestor::Family;
use leaseq_requestor::tls::{TlsClient, TlsConfigError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;

use crate::changes::schedule::Schedule;
use crate::data::{DataError, Inventory, Source};
use crate::fault::family_name;
use crate::net::source::SourceNetwork;
use crate::relay::context::requestor_duid;
use crate::scenario::{Behaviour, By, FamilyNumber, Group, Scenario};
use crate::work::board::Board;
use crate::work::plan::Plan;

/// Why relays cannot be run.
#[derive(Debug, Error)]
pub enum WorkError {
    /// The board of the run.
    #[error("cannot open the run's board {path}")]
    Board {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What the server holds.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A group's family has no server.
    #[error("group {group}: there is no server for DHCP{family}")]
    NoServer {
        /// Name of the group.
        group: String,
        /// `v4` or `v6`.
        family: &'static str,
    },
    /// A group asks what cannot be asked.
    #[error("group {group}: there is no {kind} query by {by:?} in DHCP{family}")]
    NoQuery {
        /// Name of the group.
        group: String,
        /// `bulk` or `active`.
        kind: &'static str,
        /// What it is by.
        by: By,
        /// `v4` or `v6`.
        family: &'static str,
    },
    /// A group uses TLS and there is nothing to show.
    #[error("group {0}: TLS needs an authority, a certificate and a key")]
    NoTls(String),
    /// A group's source network.
    #[error("group {group}: source: {problem}")]
    Source {
        /// Name of the group.
        group: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file of TLS.
    #[error("cannot read {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsConfigError),
    /// A thread or its ring.
    #[error("cannot {what}")]
    System {
        /// What failed.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A relay's task panicked.
    #[error("a thread of relays failed: {0}")]
    Failed(String),
}

/// What relays of a family ask about and are told.
#[derive(Clone)]
pub(crate) struct Side {
    pub(crate) inventory: Arc<Inventory>,
    /// The server holds this.
    pub(crate) is_known: bool,
    pub(crate) schedule: Option<Arc<Schedule>>,
}

/// Inventories that are loaded already, by family.
pub type Inventories = BTreeMap<FamilyNumber, Arc<Inventory>>;

/// What all threads of a process use.
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) board: Arc<Board>,
    pub(crate) sides: BTreeMap<FamilyNumber, Side>,
    pub(crate) tls: Option<TlsClient>,
    pub(crate) groups: Vec<GroupPlan>,
}

/// A group as all threads of all processes agree on it.
pub(crate) struct GroupPlan {
    pub(crate) server: SocketAddr,
    pub(crate) source: Option<SourceNetwork>,
    pub(crate) relays: u32,
    pub(crate) at_once: u32,
    /// Places of the groups before.
    pub(crate) before: u32,
}

impl Shared {
    /// Loads what a plan needs, but for the inventories that the caller has already.
    pub(super) fn new(plan: &Plan, loaded: &Inventories) -> Result<Self, WorkError> {
        raise_open_files()?;
        let board = Board::open(&plan.board).map_err(|source| WorkError::Board {
            path: plan.board.clone(),
            source,
        })?;
        let mut sides = BTreeMap::new();
        let mut groups = Vec::new();
        let mut before = 0_u32;
        for group in &plan.scenario.group {
            let side = match sides.get(&group.family) {
                Some(side) => side,
                None => {
                    let side = load(plan, group.family, loaded)?;
                    sides.entry(group.family).or_insert(side)
                }
            };
            can_ask(group, &side.inventory)?;
            let server = match group.family {
                FamilyNumber::V4 => plan.server4,
                FamilyNumber::V6 => plan.server6,
            };
            let source = group.source.as_deref().map(str::parse).transpose();
            let relays = group.relays.of(side.inventory.relays());
            let at_once = group.at_once.of(relays);
            groups.push(GroupPlan {
                server: server.ok_or_else(|| WorkError::NoServer {
                    group: group.name.clone(),
                    family: family_name(group.family.into()),
                })?,
                source: source.map_err(|problem| WorkError::Source {
                    group: group.name.clone(),
                    problem,
                })?,
                relays,
                at_once,
                before,
            });
            before = before.saturating_add(at_once);
        }
        let uses_tls = plan.scenario.group.iter().find(|group| group.tls);
        let tls = match (uses_tls, &plan.tls) {
            (None, _) => None,
            (Some(group), None) => return Err(WorkError::NoTls(group.name.clone())),
            (Some(_), Some(files)) => Some(TlsClient::new(
                &read(&files.ca)?,
                &read(&files.certificate)?,
                &read(&files.key)?,
                &files.server_name,
            )?),
        };
        Ok(Self {
            plan: plan.clone(),
            board: Arc::new(board),
            sides,
            tls,
            groups,
        })
    }
}

/// Which bindings of a family change, if any do. Everybody in a run comes to the same ones.
#[must_use]
pub fn schedule(scenario: &Scenario, inventory: &Inventory) -> Option<Schedule> {
    let changes = scenario.changes.as_ref()?;
    let total = inventory.changeable();
    if total == 0 {
        return None;
    }
    let rows = changes.bindings.map_or(total, |rows| rows.min(total));
    Some(Schedule::new(
        rows,
        total,
        changes.release_percent,
        scenario.seed,
    ))
}

/// A polite group's queries over TCP can be asked; otherwise its relays would do nothing else than fail, again and again.
fn can_ask(group: &Group, inventory: &Inventory) -> Result<(), WorkError> {
    let (is_bulk, is_active) = match group.behaviour {
        Behaviour::Recover | Behaviour::Parallel => (true, false),
        Behaviour::Follow => (false, true),
        Behaviour::RecoverThenFollow => (true, true),
        _ => (false, false),
    };
    let by = group.by.unwrap_or(By::RelayId);
    let missing = |kind| WorkError::NoQuery {
        group: group.name.clone(),
        kind,
        by,
        family: family_name(inventory.family()),
    };
    let query = inventory.query(by, 0, &requestor_duid(0));
    let asked = query.as_ref();
    if is_bulk && asked.is_none_or(|query| query.bulk_request(1).is_err()) {
        return Err(missing("bulk"));
    }
    if is_active && asked.is_none_or(|query| query.active_request(1, None).is_err()) {
        return Err(missing("active"));
    }
    Ok(())
}

fn load(plan: &Plan, family: FamilyNumber, loaded: &Inventories) -> Result<Side, WorkError> {
    let source = plan.sources.get(&family);
    let inventory = match (loaded.get(&family), source) {
        (Some(inventory), _) => inventory.clone(),
        (None, Some(source)) => Arc::new(Inventory::load(family.into(), source)?),
        // Nothing is known of what the server holds: relays still need names to ask by.
        (None, None) => {
            let data = &plan.scenario.data;
            let source = Source::MadeUp {
                relays: data.relays,
                bindings_per_relay: data.bindings_per_relay,
                cltt: 0,
                valid: u32::MAX,
            };
            Arc::new(Inventory::load(Family::from(family), &source)?)
        }
    };
    let schedule = schedule(&plan.scenario, &inventory);
    Ok(Side {
        inventory,
        is_known: source.is_some(),
        schedule: schedule.map(Arc::new),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, WorkError> {
    std::fs::read(path).map_err(|source| WorkError::File {
        path: path.into(),
        source,
    })
}

/// Raises the soft limit of open files to the hard one: each relay needs a socket.
fn raise_open_files() -> Result<(), WorkError> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).map_err(|error| WorkError::System {
        what: "raise the limit of open files",
        source: error.into(),
    })
}
