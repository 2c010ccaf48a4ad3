//! `leaseq generate`: manual pages and shell completions of the command line, for packages.

use anyhow::Context;
use clap::Command;
use leaseq_manual::{Generate, Section};

use crate::exit::Done;
use crate::logging;

/// What the command line itself does not tell.
const SECTIONS: &[Section] = &[
    Section {
        heading: "EXIT STATUS",
        terms: &[
            ("0", "Done."),
            ("1", "Failed."),
            ("2", "Bad usage, or a bad configuration."),
            ("3", "Done, but some of the input was rejected."),
        ],
    },
    Section {
        heading: "ENVIRONMENT",
        terms: &[(
            logging::FILTER_VARIABLE,
            "Which logs are written, where --log-level does not say it: a level (debug), or levels of parts of the program \
             (info,leaseq_feed=debug).",
        )],
    },
    Section {
        heading: "FILES",
        terms: &[
            (
                "/etc/leaseq/leaseq.toml",
                "Configuration of the service; its keys are explained in configuration.md.",
            ),
            (
                "/var/lib/leaseq",
                "The lease store of the service. One process has it open at a time.",
            ),
            ("/run/leaseq", "Its sockets."),
            (
                "/usr/share/doc/leaseq",
                "operations.md: how to run it. configuration.md: every key. messages.md: what each log means, by its id.",
            ),
        ],
    },
    Section {
        heading: "SIGNALS",
        terms: &[
            (
                "SIGTERM, SIGINT",
                "Running queries end with QueryTerminated, the store is closed, exit 0.",
            ),
            (
                "SIGHUP",
                "Configuration and certificates are read again; a bad file changes nothing.",
            ),
        ],
    },
];

/// Writes them.
pub fn run(command: Command, arguments: &Generate) -> anyhow::Result<Done> {
    leaseq_manual::generate(command, SECTIONS, arguments)
        .context("the manual cannot be written")?;
    Ok(Done::All)
}
