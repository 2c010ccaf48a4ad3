//! What a followed server tells, as changes that are printed.

use std::io::{self, Write};

use jiff::Timestamp;
use leaseq_requestor::client::now;
use leaseq_requestor::follow::{Filling, FollowEvent, Gap, Key, Known};
use leaseq_requestor::render::{Render, TABLE_HEADER};
use leaseq_requestor::{
    ActiveEvent, Binding4, Client6, Client6Leases, Event, Lease4, Lease6, Query, Selector4,
    Selector6,
};
use leaseq_wire::time::UnixSeconds;
use leaseq_wire::v4::DhcpState;

use crate::query::arguments::Format;
use crate::query::output::{Table, print_hex};

/// Prints changes as they are told.
pub struct Changes<'w> {
    out: &'w mut dyn Write,
    format: Format,
    table: Table,
    line: String,
    known: Known,
    /// When what is told is taken note of.
    tracking: Tracking,
    /// The gap that is being filled.
    gap: Option<Gap>,
}

/// When it must be known which leases live, to put a gap's fill and the stream together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tracking {
    /// The fill does not tell what has ended: what lived before the gap must be known.
    Always,
    /// The fill tells everything: only what the stream tells meanwhile must be known.
    InGaps,
    /// There is no fill.
    Never,
}

impl<'w> Changes<'w> {
    pub fn new(out: &'w mut dyn Write, format: Format, query: &Query) -> Self {
        let tracking = match query {
            Query::V4(query) if query.selector == Selector4::All => Tracking::InGaps,
            Query::V6(query) if query.selector == Selector6::All => Tracking::Never,
            Query::V4(_) | Query::V6(_) => Tracking::Always,
        };
        let header = std::iter::once("BASE TIME").chain(TABLE_HEADER);
        Self {
            out,
            format,
            table: Table::new(header.collect()),
            line: String::new(),
            known: Known::new(),
            tracking,
            gap: None,
        }
    }

    /// Prints what an event tells of leases.
    pub fn event(&mut self, event: &FollowEvent<'_>) -> anyhow::Result<()> {
        match event {
            FollowEvent::Stream(ActiveEvent::Binding4(binding)) => {
                self.binding4(binding, false)?;
            }
            FollowEvent::Stream(ActiveEvent::Client6(client)) => self.client6(client, false)?,
            FollowEvent::Stream(ActiveEvent::Status(status)) => self.hex(status.message)?,
            FollowEvent::Fill(Event::Binding4(binding)) => self.binding4(binding, true)?,
            FollowEvent::Fill(Event::Client6(client)) => self.client6(client, true)?,
            FollowEvent::Fill(Event::Done(_)) => {}
            FollowEvent::Gap(gap) => {
                if gap.filling != Filling::Impossible {
                    self.gap = Some(*gap);
                    self.known.gap();
                }
            }
            FollowEvent::Filled(gap) => self.filled(gap)?,
        }
        Ok(())
    }

    /// Prints what has been held back.
    pub fn flush(&mut self) -> io::Result<()> {
        self.table.print(self.out)?;
        self.out.flush()
    }

    fn binding4(&mut self, binding: &Binding4<'_>, is_fill: bool) -> anyhow::Result<()> {
        self.hex(binding.message.octets())?;
        let lease = Lease4::read(&binding.message, now())?;
        match self.is_new(|| Key::v4(&lease), binding.is_active(), is_fill) {
            true => self.print(&lease, lease.as_of),
            false => Ok(()),
        }
    }

    fn client6(&mut self, client: &Client6<'_>, is_fill: bool) -> anyhow::Result<()> {
        self.hex(client.message.octets())?;
        let mut read = Client6Leases::read(&client.message, &client.client, now())?;
        let told = std::mem::take(&mut read.leases);
        for lease in told {
            if self.is_new(|| Key::v6(&read, &lease), lease.valid > 0, is_fill) {
                read.leases.push(lease);
            }
        }
        self.print(&read, read.as_of)
    }

    /// Takes note of what is told of a lease. `false`: the stream has told something newer.
    fn is_new(&mut self, key: impl FnOnce() -> Key, lives: bool, is_fill: bool) -> bool {
        let tracks = match self.tracking {
            Tracking::Always => true,
            Tracking::InGaps => self.gap.is_some(),
            Tracking::Never => false,
        };
        match (tracks, is_fill) {
            (false, _) => true,
            (true, true) => self.known.fill(key(), lives),
            (true, false) => {
                self.known.stream(key(), lives);
                true
            }
        }
    }

    /// What was known before the gap and told by nobody since has ended in it.
    fn filled(&mut self, gap: &Gap) -> anyhow::Result<()> {
        self.gap = None;
        let ended = self.known.filled(gap.filling == Filling::Sweep);
        for key in ended {
            match key {
                Key::V4 { vpn, address } => {
                    let lease = Lease4 {
                        vpn,
                        ..ended4(address, gap.until)
                    };
                    self.print(&lease, gap.until)?;
                }
                Key::V6 {
                    vpn,
                    duid,
                    address,
                    prefix_len,
                } => {
                    let lease = Lease6 {
                        address,
                        prefix_len,
                        preferred: 0,
                        valid: 0,
                    };
                    let client = Client6Leases {
                        duid,
                        leases: vec![lease],
                        as_of: gap.until,
                        last_transaction: None,
                        relays: Vec::new(),
                        vpn,
                        options: Vec::new(),
                    };
                    self.print(&client, gap.until)?;
                }
            }
        }
        if self.tracking == Tracking::InGaps {
            self.known = Known::new();
        }
        Ok(())
    }

    fn print(&mut self, lease: &impl Render, base_time: UnixSeconds) -> anyhow::Result<()> {
        match self.format {
            Format::Hex => {}
            Format::Ndjson => {
                self.line.clear();
                lease.change_ndjson(&mut self.line);
                self.out.write_all(self.line.as_bytes())?;
            }
            Format::Table => {
                let time = Timestamp::from_second(base_time.0.into())?.to_string();
                for row in lease.table_rows() {
                    let row = std::iter::once(time.clone()).chain(row).collect();
                    self.table.row(row, self.out)?;
                }
            }
        }
        Ok(())
    }

    fn hex(&mut self, message: &[u8]) -> io::Result<()> {
        match self.format {
            Format::Hex => print_hex(message, self.out),
            Format::Ndjson | Format::Table => Ok(()),
        }
    }
}

/// An address of which is known only that its lease is over.
fn ended4(address: std::net::Ipv4Addr, as_of: UnixSeconds) -> Lease4 {
    Lease4 {
        address,
        state: DhcpState::Available,
        hwaddr: None,
        client_id: None,
        as_of,
        last_transaction: None,
        in_state: None,
        lease_time: None,
        renewal: None,
        rebinding: None,
        relay_agent_info: None,
        associated: Vec::new(),
        vpn: None,
        remote: false,
        options: Vec::new(),
    }
}
