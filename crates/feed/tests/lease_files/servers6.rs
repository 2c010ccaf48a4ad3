//! The feeds beside running servers that lease IPv6 addresses and prefixes.

use std::net::Ipv6Addr;

use leaseq_feed::{Settings, dnsmasq, isc};
use leaseq_store::{Event6, LeaseKind, State};

use crate::fixture::{Fixture, now};
use crate::namespace::{Server, enter, ip};
use crate::relay6::{Leased6, Relay6, duid};
use crate::servers::dhcpd_in_namespace;

const DHCPD_CONF: &str = "default-lease-time 600;\npreferred-lifetime 400;\nauthoritative;\n\
                          subnet6 2001:db8:7::/64 { range6 2001:db8:7::10 2001:db8:7::ff; prefix6 2001:db8:7100:: 2001:db8:71ff:: /56; }\n";

fn address(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn relay() -> Relay6 {
    Relay6::new(
        address("2001:db8:7::2"),
        address("2001:db8:7::2"),
        address("2001:db8:7::1"),
    )
}

fn until_state6(fixture: &Fixture, address: Ipv6Addr, state: State) -> Event6 {
    let stored = || fixture.lease6(&address.to_string());
    fixture.until(&format!("{address} is {state:?}"), || {
        stored().is_some_and(|lease| lease.state == state)
    });
    stored().unwrap()
}

/// The lease is that of the client, for what was given to it.
fn is_of(stored: &Event6, client: u8, kind: LeaseKind) {
    let prefix_len = if kind == LeaseKind::Pd { 56 } else { 128 };
    assert_eq!((stored.kind, stored.prefix_len), (kind, prefix_len));
    assert_eq!(stored.duid.as_deref(), Some(&duid(client)[..]));
    assert_eq!(stored.iaid, Some(client.into()));
    assert!(u64::from(stored.cltt.unwrap()) <= now());
}

#[test]
fn leases_of_a_running_dhcpd_6_arrive() {
    if !enter(
        "servers6::leases_of_a_running_dhcpd_6_arrive",
        &[("dhcpd", "isc-dhcp-server")],
    ) {
        return;
    }
    let fixture = Fixture::new();
    fixture.append("");
    let feed = fixture.start(&Settings::IscDhcpd(isc::Settings {
        name: "dhcpd".into(),
        path: fixture.path(),
    }));
    let dir = fixture.path().parent().unwrap().to_owned();
    let start = || -> Server {
        let addresses = ["2001:db8:7::1/64", "2001:db8:7::2/64"];
        dhcpd_in_namespace(&dir, "-6", DHCPD_CONF, addresses)
    };
    let server = start();
    let agent = relay();
    let leased: Vec<Leased6> = (1..=20)
        .map(|client| agent.lease(client, client % 2 == 0))
        .collect();
    for (client, lease) in (1..).zip(&leased) {
        let stored = until_state6(&fixture, lease.address, State::Active);
        is_of(&stored, client, LeaseKind::Na);
        assert_eq!(stored.preferred_lifetime, Some(400));
        assert_eq!(stored.valid_lifetime, Some(600));
        if let Some(prefix) = lease.prefix {
            is_of(
                &until_state6(&fixture, prefix, State::Active),
                client,
                LeaseKind::Pd,
            );
        }
    }
    for lease in &leased[..6] {
        agent.release(lease);
        until_state6(&fixture, lease.address, State::Released);
        if let Some(prefix) = lease.prefix {
            until_state6(&fixture, prefix, State::Released);
        }
    }
    // Started again, dhcpd puts a new file in the place of the old one.
    drop(agent);
    ip("link del relay");
    drop(server);
    let server = start();
    let last = relay().lease(21, true);
    is_of(
        &until_state6(&fixture, last.prefix.unwrap(), State::Active),
        21,
        LeaseKind::Pd,
    );
    for (client, lease) in (7..).zip(&leased[6..]) {
        let stored = until_state6(&fixture, lease.address, State::Active);
        is_of(&stored, client, LeaseKind::Na);
    }
    let told = feed.status().snapshot();
    assert_eq!((told.rejected, told.troubles), (0, 0));
    feed.stop();
    drop(server);
}

#[test]
fn leases_of_a_running_dnsmasq_6_arrive() {
    if !enter(
        "servers6::leases_of_a_running_dnsmasq_6_arrive",
        &[("dnsmasq", "dnsmasq-base")],
    ) {
        return;
    }
    ip("addr add 2001:db8:7::1/64 dev lo");
    ip("addr add 2001:db8:7::2/64 dev lo");
    let fixture = Fixture::new();
    let feed = fixture.start(&Settings::Dnsmasq(dnsmasq::Settings {
        name: "dnsmasq".into(),
        path: fixture.path(),
    }));
    let arguments = [
        "--conf-file=/dev/null",
        "--no-daemon",
        "--port=0",
        "--user=root",
        "--pid-file=",
        "--interface=lo",
        "--bind-interfaces",
        "--dhcp-leasefile=leases",
        "--dhcp-duid=2495,01:23:45:67",
        "--dhcp-range=2001:db8:7::10,2001:db8:7::ff,64,600",
    ];
    let server = Server::start("dnsmasq", &arguments, fixture.path().parent().unwrap());
    server.until_says("DHCPv6, IP range");
    let agent = relay();
    let leased: Vec<Leased6> = (1..=20).map(|client| agent.lease(client, false)).collect();
    for (client, lease) in (1..).zip(&leased) {
        let stored = until_state6(&fixture, lease.address, State::Active);
        is_of(&stored, client, LeaseKind::Na);
        assert!((1..=600).contains(&stored.valid_lifetime.unwrap()));
    }
    for lease in &leased[..5] {
        agent.release(lease);
        until_state6(&fixture, lease.address, State::Released);
    }
    fixture.until_follows(&feed);
    let text = std::fs::read(fixture.path()).unwrap();
    let (file, rejected) = dnsmasq::parse(&text, 0);
    assert_eq!((file.len(), rejected), (15, Vec::new()));
    assert_eq!(fixture.changes(), 25);
    assert_eq!(feed.status().snapshot().rejected, 0);
    feed.stop();
}
