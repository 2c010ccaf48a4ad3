//! The server of a run: one of our own, or one that runs already.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::RunError;
use crate::data::{Inventory, Source};
use crate::scenario::{FamilyNumber, Scenario, TlsFiles};
use crate::server::{Own, Step};
use crate::work::threads::Inventories;

/// Who is asked, and what is known of it.
pub(super) struct Site {
    pub server4: Option<SocketAddr>,
    pub server6: Option<SocketAddr>,
    pub feed: Option<PathBuf>,
    /// What it holds, by family; of a target without an export nothing.
    pub sources: BTreeMap<FamilyNumber, Source>,
    pub inventories: Inventories,
    pub tls: Option<TlsFiles>,
    pub pid: Option<u32>,
    /// If it is ours.
    pub own: Option<Own>,
    /// Its bindings were changed: they are not those of the sources any more.
    pub is_changed: bool,
    /// Relays and bindings of each that it was filled with.
    filled: Option<(u32, u32)>,
}

impl Site {
    /// Starts a server of our own, or finds out about the one that is given.
    pub fn open(
        scenario: &Scenario,
        dir: &Path,
        watch: &mut dyn FnMut(Step) -> bool,
    ) -> Result<Self, RunError> {
        let families = scenario.families();
        let mut site = match scenario.target.is_given() {
            true => Self::of_target(scenario, &families),
            false => {
                let own = Own::start(scenario, &families, dir, watch)?;
                Self {
                    server4: own.server4(),
                    server6: own.server6(),
                    feed: own.feed().map(Path::to_owned),
                    sources: own.sources().clone(),
                    inventories: Inventories::new(),
                    tls: own.tls().cloned(),
                    pid: Some(own.pid()),
                    own: Some(own),
                    is_changed: false,
                    filled: Some(filled(scenario)),
                }
            }
        };
        for (family, source) in &site.sources {
            let inventory = Inventory::load((*family).into(), source)?;
            site.inventories.insert(*family, Arc::new(inventory));
        }
        Ok(site)
    }

    fn of_target(scenario: &Scenario, families: &[FamilyNumber]) -> Self {
        let target = &scenario.target;
        let export = |family: &FamilyNumber| {
            let path = target.expect.clone()?;
            Some((*family, Source::Export { path }))
        };
        Self {
            server4: target.server4,
            server6: target.server6,
            feed: target.feed.clone(),
            sources: families.iter().filter_map(export).collect(),
            inventories: Inventories::new(),
            tls: scenario.tls.clone(),
            pid: target.pid,
            own: None,
            is_changed: false,
            filled: None,
        }
    }

    /// Another scenario can be run on it: it holds what that one wants, and is configured for it as far as rates do not matter.
    pub fn suits(&self, scenario: &Scenario) -> bool {
        self.own.is_none() || (!self.is_changed && self.filled == Some(filled(scenario)))
    }

    /// Relays that it is known to have, at most; without knowledge those of the scenario's data.
    pub fn relays(&self, scenario: &Scenario) -> u32 {
        let known = self
            .inventories
            .values()
            .map(|inventory| inventory.relays());
        known.max().unwrap_or(scenario.data.relays)
    }

    /// Relays of a family.
    pub fn relays_of(&self, scenario: &Scenario, family: FamilyNumber) -> u32 {
        match self.inventories.get(&family) {
            Some(inventory) => inventory.relays(),
            None => scenario.data.relays,
        }
    }

    /// Bindings that it is known to hold, of the families of the scenario.
    pub fn bindings(&self) -> u64 {
        let known = self
            .inventories
            .values()
            .map(|inventory| u64::from(inventory.len()));
        known.sum()
    }
}

fn filled(scenario: &Scenario) -> (u32, u32) {
    (scenario.data.relays, scenario.data.bindings_per_relay)
}
