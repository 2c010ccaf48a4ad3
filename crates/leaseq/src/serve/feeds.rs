//! The feeds of a server: started with it, changed by a reload, ended before it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use leaseq_feed::run::{Feed, Status, retire_others};
use leaseq_feed::{Settings, StartError, socket};
use leaseq_store::Store;

/// The feeds that run.
pub struct Feeds {
    store: Arc<Store>,
    running: Mutex<Vec<(Settings, Feed)>>,
}

impl Feeds {
    /// Starts all feeds. Leases of feeds that are no longer configured end by the clock from now on.
    pub fn start(settings: &[Settings], store: Arc<Store>) -> Result<Feeds, StartError> {
        let feeds = Feeds {
            store,
            running: Mutex::default(),
        };
        feeds.retire(settings);
        for settings in settings {
            feeds.start_one(settings)?;
        }
        Ok(feeds)
    }

    /// Ends feeds that are no longer configured, or otherwise, and starts those that are new. Tells why one cannot be started;
    /// the others go on.
    pub fn reload(&self, settings: &[Settings]) -> Vec<String> {
        let mut failed = Vec::new();
        let (kept, ended): (Vec<_>, Vec<_>) = std::mem::take(&mut *self.lock())
            .into_iter()
            .partition(|(running, _)| settings.contains(running));
        *self.lock() = kept;
        for (_, feed) in ended {
            tracing::info!(
                id = "feed-ended",
                feed = feed.status().name(),
                "a feed is ended"
            );
            feed.stop();
        }
        self.retire(settings);
        for settings in settings {
            if self.lock().iter().any(|(running, _)| running == settings) {
                continue;
            }
            if let Err(error) = self.start_one(settings) {
                let error = anyhow::Error::new(error);
                tracing::error!(id = "feed-not-started", "{error:#}");
                failed.push(format!("{error:#}"));
            }
        }
        failed
    }

    /// What each feed tells about itself, in the order they were started.
    pub fn statuses(&self) -> Vec<Arc<Status>> {
        self.lock()
            .iter()
            .map(|(_, feed)| Arc::clone(feed.status()))
            .collect()
    }

    /// Where feeds listen.
    pub fn listens(&self) -> Vec<socket::Address> {
        self.lock()
            .iter()
            .filter_map(|(_, feed)| feed.listens().cloned())
            .collect()
    }

    /// Ends all feeds, and waits until they have ended.
    pub fn stop(&self) {
        let running = std::mem::take(&mut *self.lock());
        running.into_iter().for_each(|(_, feed)| feed.stop());
    }

    fn start_one(&self, settings: &Settings) -> Result<(), StartError> {
        let feed = settings.start(Arc::clone(&self.store))?;
        self.lock().push((settings.clone(), feed));
        Ok(())
    }

    fn retire(&self, settings: &[Settings]) {
        let names: Vec<&str> = settings.iter().map(Settings::name).collect();
        match retire_others(&self.store, &names) {
            Ok(retired) => {
                for name in retired {
                    tracing::info!(
                        id = "feed-retired",
                        feed = name,
                        "this feed is no longer configured: its leases end by the clock"
                    );
                }
            }
            Err(error) => {
                tracing::error!(id = "feed-not-retired", %error, "feeds that are no longer configured cannot be given up")
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Settings, Feed)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
