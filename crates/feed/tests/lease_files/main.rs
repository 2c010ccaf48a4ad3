//! The feeds of lease files with a real store behind them: `isc-dhcpd` and `dnsmasq` with files written the way those servers write
//! them, and with the servers themselves, where they are installed; and these and `kea-memfile` with what all of them have to bear.

mod dnsmasq;
mod faults;
mod fixture;
mod imported;
mod isc;
mod kinds;
mod namespace;
mod relay;
mod relay6;
mod servers;
mod servers6;
