//! What happens while one of the two is down; and leases that are declined.

use std::net::Ipv4Addr;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::client::{Clients4, Clients6};
use crate::common::export;
use crate::kea::{Kea, installed};
use crate::place::Place;
use crate::stream::Stream;
use crate::{assert_equal, lease4, lease6};

/// What is leased to clients: a declined lease is nobody's.
fn leased(leases: &[Value]) -> impl Iterator<Item = &Value> {
    leases.iter().filter(|lease| lease["state"] == 0)
}

/// The addresses of leases that are not to be given to anybody.
fn declined(leases: &[Value]) -> Vec<String> {
    let declined = leases.iter().filter(|lease| lease["state"] == 1);
    let mut declined: Vec<String> = declined
        .map(|lease| lease["ip-address"].as_str().unwrap().to_owned())
        .collect();
    declined.sort();
    declined
}

fn abandoned(exported: &[Value]) -> Vec<String> {
    let abandoned = exported
        .iter()
        .filter(|lease| lease["state"] == "abandoned");
    let mut abandoned: Vec<String> = abandoned
        .map(|lease| lease["address"].as_str().unwrap().to_owned())
        .collect();
    abandoned.sort();
    abandoned
}

#[test]
fn whatever_of_the_two_is_down_the_leases_are_keas_in_the_end() {
    if !installed() {
        return;
    }
    let place = Place::new();
    let listen = Place::free_address();
    place.configure(&format!(
        "listen = \"{listen}\"\ncontrol4 = \"unix:{0}/kea4.sock\"\ncontrol6 = \"unix:{0}/kea6.sock\"\n\
         probe-interval = \"1s\"",
        place.path().display()
    ));
    let url = format!("http://{listen}/");
    let mut kea4 = Kea::start(4, place.path(), &url);
    let mut kea6 = Kea::start(6, place.path(), &url);
    let get4 = |kea: &Kea, from: u32| -> Vec<Ipv4Addr> {
        let mut clients = Clients4::new(kea);
        (from..from + 5).map(|number| clients.get(number)).collect()
    };

    // leaseq is down, then up.
    let early = get4(&kea4, 0);
    let early6 = Clients6::new(&kea6).get(0);
    let server = place.serve();
    let mut stream = Stream::start(server.ready("dhcp4-tcp"), "v4");
    for address in get4(&kea4, 10) {
        stream.wait_for(&address.to_string());
    }
    stream.end();

    // It is down again, killed. Leases end, and are given, renewed and declined meanwhile.
    server.kill();
    let mut clients4 = Clients4::new(&kea4);
    clients4.get(20);
    clients4.release(0, early[0]);
    clients4.decline(1, early[1]);
    clients4.get(2);
    let mut clients6 = Clients6::new(&kea6);
    clients6.release(0, &early6);
    clients6.get(1);
    let server = place.serve();
    let mut stream = Stream::start(server.ready("dhcp4-tcp"), "v4");

    server.wait_for_log("kea-ha-pulled");
    server.wait_for_log("kea-ha-pulled");

    // Kea is killed and started again, and says what it does from then on.
    kea4.restart();
    kea6.restart();
    server.wait_for_log("kea-ha-restarted");
    server.wait_for_log("kea-ha-restarted");
    for address in get4(&kea4, 30) {
        stream.wait_for(&address.to_string());
    }
    let clients4 = {
        let mut clients4 = Clients4::new(&kea4);
        clients4.get(40);
        clients4
    };
    clients4.decline(3, early[3]);
    assert_eq!(
        stream.wait_for_ended(&early[3].to_string())["state"],
        "abandoned"
    );
    Clients6::new(&kea6).get(2);
    stream.end();
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert!(status.success(), "{log:?}");
    // Kea goes on, and leaseq comes back for all it has missed.
    get4(&kea4, 50);
    Clients6::new(&kea6).get(3);
    let server = place.serve();
    server.wait_for_log("kea-ha-pulled");
    server.wait_for_log("kea-ha-pulled");
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert!(status.success(), "{log:?}");

    let exported = export(&place.file("store"));
    let (all4, all6) = (kea4.leases(), kea6.leases());
    assert_equal(&exported, 4, leased(&all4).map(lease4));
    assert_equal(&exported, 6, leased(&all6).map(lease6));
    assert_eq!(declined(&all4).len(), 2);
    assert_eq!(abandoned(&exported), declined(&all4));
}

#[test]
fn a_kea_that_waits_for_its_backup_gives_what_is_durable() {
    if !installed() {
        return;
    }
    let place = Place::new();
    place.configure("listen = \"127.0.0.1:0\"");
    let server = place.serve();
    let url = format!("http://{}/", server.ready("feed"));
    let waiting = json!({"wait-backup-ack": true});
    let kea4 = Kea::start_with(4, place.path(), json!({"url": url}), waiting.clone());
    let kea6 = Kea::start_with(6, place.path(), json!({"url": url}), waiting);
    let (mut clients4, mut clients6) = (Clients4::new(&kea4), Clients6::new(&kea6));
    let given4: Vec<_> = (0..5).map(|number| clients4.get(number)).collect();
    let given6: Vec<_> = (0..5).map(|number| clients6.get(number)).collect();
    // The client was answered: the lease is there, and outlives leaseq.
    server.kill();
    let exported = export(&place.file("store"));
    assert_equal(&exported, 4, kea4.leases().iter().map(lease4));
    assert_equal(&exported, 6, kea6.leases().iter().map(lease6));
    assert_eq!(kea4.leases().len(), given4.len());
    assert_eq!(kea6.leases().len(), 2 * given6.len());
}
