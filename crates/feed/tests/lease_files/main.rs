//! The feeds `isc-dhcpd` and `dnsmasq` with a real store behind them: with files written the way those servers write them, and with
//! the servers themselves, where they are installed.

mod dnsmasq;
mod fixture;
mod isc;
mod namespace;
mod relay;
mod servers;
