//! The feeds beside running servers: dhcpd and dnsmasq of the distribution, which lease addresses to clients behind a relay agent.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use leaseq_feed::{Settings, dnsmasq, isc};
use leaseq_store::{Event, Event4, State};

use crate::fixture::{Fixture, now};
use crate::namespace::{Server, enter, ip};
use crate::relay::{Relay, hwaddr, remote_id};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const RELAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

const DHCPD_CONF: &str = "default-lease-time 600;\nauthoritative;\nping-check false;\nstash-agent-options true;\n\
                          subnet 192.0.2.0 netmask 255.255.255.0 { range 192.0.2.10 192.0.2.100; }\n";

fn dhcpd(dir: &Path) -> Server {
    dhcpd_in_namespace(dir, "-4", DHCPD_CONF, ["192.0.2.1/24", "192.0.2.2/24"])
}

/// dhcpd in a namespace of its own, at the other end of a pair of interfaces; it hears only what comes in from outside. The
/// addresses are its own and that of the relay agent.
pub fn dhcpd_in_namespace(dir: &Path, family: &str, config: &str, addresses: [&str; 2]) -> Server {
    let [server, relay] = addresses;
    fs::write(dir.join("dhcpd.conf"), config).unwrap();
    // Addresses of IPv6 are good at once if nobody asks whether they are another's already.
    let no_questions =
        "for conf in all default; do echo 0 >/proc/sys/net/ipv6/conf/$conf/accept_dad; done";
    let script = format!(
        "{no_questions}; echo made; read go; ip link set lo up; ip addr add {server} dev server; ip link set server up; \
         PATH=$PATH:/usr/sbin; exec dhcpd {family} -f -d --no-pid -cf dhcpd.conf -lf leases server"
    );
    for conf in ["all", "default"] {
        fs::write(format!("/proc/sys/net/ipv6/conf/{conf}/accept_dad"), "0").unwrap();
    }
    let mut running = Server::start("unshare", &["--net", "sh", "-c", &script], dir);
    running.until_says("made");
    ip("link add relay type veth peer name server");
    ip(&format!("link set server netns {}", running.id()));
    ip(&format!("addr add {relay} dev relay"));
    ip("link set relay up");
    running.go_on();
    running.until_says("Server starting service");
    running
}

/// The last declaration of each address in dhcpd's file.
fn file_of_dhcpd(path: &Path) -> HashMap<Ipv4Addr, Event4> {
    let leases = isc::open(path, 0).unwrap();
    let of_v4 = |item| match item {
        Ok(Event::V4(event)) => (event.address, event),
        other => panic!("{other:?}"),
    };
    leases.map(of_v4).collect()
}

#[test]
fn leases_of_a_running_dhcpd_arrive() {
    if !enter(
        "servers::leases_of_a_running_dhcpd_arrive",
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
    let server = dhcpd(fixture.path().parent().unwrap());
    let mut relay = Relay::new(RELAY, SERVER);
    let leased: Vec<_> = (1..=20).map(|client| relay.lease(client)).collect();
    for (client, lease) in (1..).zip(&leased) {
        let stored = fixture.until_state(lease.address.octets(), State::Active);
        assert_eq!(stored.hwaddr.unwrap().octets[..], hwaddr(client));
        assert_eq!(stored.client_id.unwrap()[1..], hwaddr(client));
        assert_eq!(stored.relay_agent_info, Some(remote_id(client)));
        assert_eq!(stored.lease_time, Some(600));
    }
    for lease in &leased[..5] {
        relay.release(*lease);
        fixture.until_state(lease.address.octets(), State::Available);
    }
    let before = fixture.changes();
    // Started again, dhcpd puts a new file in the place of the old one.
    drop(relay);
    ip("link del relay");
    drop(server);
    let server = dhcpd(fixture.path().parent().unwrap());
    let mut relay = Relay::new(RELAY, SERVER);
    let last = relay.lease(21);
    fixture.until_state(last.address.octets(), State::Active);
    let file = file_of_dhcpd(&fixture.path());
    assert_eq!(
        file.len(),
        20 + usize::from(!leased.iter().any(|lease| lease.address == last.address))
    );
    for (address, told) in file {
        let stored = fixture.lease4(address.octets()).unwrap();
        assert_eq!(
            (stored.state, stored.cltt, stored.hwaddr),
            (told.state, told.cltt, told.hwaddr),
            "{address}"
        );
    }
    assert_eq!(fixture.changes(), before + 1);
    let told = feed.status().snapshot();
    assert_eq!((told.rejected, told.troubles, told.remark), (0, 0, None));
    feed.stop();
    drop(server);
}

#[test]
fn leases_of_a_running_dnsmasq_arrive() {
    if !enter(
        "servers::leases_of_a_running_dnsmasq_arrive",
        &[("dnsmasq", "dnsmasq-base")],
    ) {
        return;
    }
    ip("addr add 192.0.2.1/24 dev lo");
    ip("addr add 192.0.2.2/24 dev lo");
    let fixture = Fixture::new();
    let feed = fixture.start(&Settings::Dnsmasq(dnsmasq::Settings {
        name: "dnsmasq".into(),
        path: fixture.path(),
    }));
    let arguments = [
        "--conf-file=/dev/null",
        "--no-daemon",
        "--port=0",
        "--no-ping",
        "--user=root",
        "--pid-file=",
        "--interface=lo",
        "--bind-interfaces",
        "--dhcp-authoritative",
        "--dhcp-leasefile=leases",
        "--dhcp-range=192.0.2.10,192.0.2.100,600",
    ];
    let server = Server::start("dnsmasq", &arguments, fixture.path().parent().unwrap());
    server.until_says("DHCP, IP range");
    let mut relay = Relay::new(RELAY, SERVER);
    let leased: Vec<_> = (1..=20).map(|client| relay.lease(client)).collect();
    for (client, lease) in (1..).zip(&leased) {
        let stored = fixture.until_state(lease.address.octets(), State::Active);
        assert_eq!(stored.hwaddr.unwrap().octets[..], hwaddr(client));
        assert_eq!(stored.client_id.unwrap()[1..], hwaddr(client));
        assert!((1..=600).contains(&stored.lease_time.unwrap()));
        assert!(u64::from(stored.cltt.unwrap()) <= now());
    }
    for lease in &leased[..5] {
        relay.release(*lease);
        fixture.until_state(lease.address.octets(), State::Released);
    }
    fixture.until_follows(&feed);
    let text = fs::read(fixture.path()).unwrap();
    let (file, rejected) = dnsmasq::parse(&text, 0);
    assert_eq!((file.len(), rejected), (15, Vec::new()));
    for lease in &leased[5..] {
        let is_it = |told: &dnsmasq::Lease| matches!(&told.event, Event::V4(event) if IpAddr::from(event.address) == lease.address);
        let told = file.iter().find(|told| is_it(told)).unwrap();
        let stored = fixture.lease4(lease.address.octets()).unwrap();
        let end = u64::from(stored.cltt.unwrap()) + u64::from(stored.lease_time.unwrap());
        assert_eq!((stored.state, Some(end)), (State::Active, told.expires));
    }
    assert_eq!(fixture.changes(), 25);
    assert_eq!(feed.status().snapshot().rejected, 0);
    feed.stop();
}
