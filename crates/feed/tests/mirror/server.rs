//! A server of a few lines, which answers each connection by the next part of a script, and the mirror of it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use leaseq_feed::mirror::{self, Family};
use leaseq_feed::run::{Feed, Snapshot};
use leaseq_store::{Event4, Event6, FeedState, Options, State, Store, SyncMode, Topology, Vpn};
use leaseq_wire::frame::{self, Split};
use leaseq_wire::time::{Seconds2000, UnixSeconds};
use leaseq_wire::v4::{self, Header, message_type as type4, option_code as code4, suboption};
use leaseq_wire::v6::{self, message_type as type6, option_code as code6};
use leaseq_wire::{OutBuf, v4::StatusCode};

/// How long a test waits for what must come, before it fails.
const PATIENCE: Duration = Duration::from_secs(60);
/// Looks at what a test waits for.
const TRIES: u32 = 600;

/// A time shortly before now that does not change within a test: what the servers of a test call now.
pub fn base() -> u32 {
    static BASE: std::sync::LazyLock<u32> = std::sync::LazyLock::new(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.as_secs() as u32
    });
    *BASE
}

/// One connection of the mirror.
pub struct Connection {
    stream: TcpStream,
    octets: Vec<u8>,
}

impl Connection {
    /// Takes one request.
    pub fn request(&mut self) -> Vec<u8> {
        let mut buffer = [0; 4096];
        loop {
            if let Split::Frame { message, consumed } = frame::split(&self.octets) {
                let message = message.to_vec();
                self.octets.drain(..consumed);
                return message;
            }
            let n = self.stream.read(&mut buffer).expect("a request");
            assert!(n > 0, "a request");
            self.octets.extend(&buffer[..n]);
        }
    }

    /// Takes a DHCPv4 request of this type: its transaction id and its start time.
    pub fn request4(&mut self, kind: u8) -> (u32, Option<u32>) {
        let request = self.request();
        let message = v4::Message::parse(&request).unwrap();
        assert_eq!(message.message_type(), Some(kind));
        let since = message.option(code4::QUERY_START_TIME);
        (message.xid(), since.and_then(|value| value.to_u32()))
    }

    /// Takes a DHCPv6 request of this type.
    pub fn request6(&mut self, kind: u8) -> Request6 {
        let request = self.request();
        let message = v6::Message::parse(&request).unwrap();
        assert_eq!(message.msg_type(), kind);
        let since = message.option(code6::LQ_START_TIME).map(|value| {
            UnixSeconds::from(Seconds2000(u32::from_be_bytes(value.try_into().unwrap()))).0
        });
        Request6 {
            xid: message.xid(),
            requestor: message.option(code6::CLIENTID).unwrap().to_vec(),
            since,
            is_by_relay: message
                .option(code6::LQ_QUERY)
                .is_some_and(|query| query.first() == Some(&(v6::QueryType::ByRelayId as u8))),
        }
    }

    /// Says something; the mirror may be gone.
    pub fn say(&mut self, octets: &[u8]) {
        let _ = self.stream.write_all(octets);
    }

    /// Waits until the mirror closes.
    pub fn hold(mut self) {
        while matches!(self.stream.read(&mut [0; 512]), Ok(n) if n > 0) {}
    }
}

/// Who asks in DHCPv6, and from when on.
pub struct Request6 {
    pub xid: u32,
    pub requestor: Vec<u8>,
    pub since: Option<u32>,
    /// It is about a relay agent.
    pub is_by_relay: bool,
}

pub type Part = Box<dyn FnOnce(Connection) + Send>;

/// A part of a script.
pub fn part(part: impl FnOnce(Connection) + Send + 'static) -> Part {
    Box::new(part)
}

/// A mirror of a scripted server.
pub struct Mirror {
    _dir: tempfile::TempDir,
    pub store: Arc<Store>,
    feed: Option<Feed>,
    settings: mirror::Settings,
    changed: Receiver<()>,
    script: Receiver<Result<(), String>>,
}

impl Mirror {
    pub fn start(family: Family, script: Vec<Part>) -> Mirror {
        Mirror::start_with(family, script, |_| {})
    }

    /// Starts the server, and a mirror of it whose settings are changed by `change`.
    pub fn start_with(
        family: Family,
        script: Vec<Part>,
        change: impl FnOnce(&mut mirror::Settings),
    ) -> Mirror {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let (done, script_done) = sync_channel(script.len() + 1);
        thread::spawn(move || {
            for part in script {
                let (stream, _) = listener.accept().unwrap();
                let connection = Connection {
                    stream,
                    octets: Vec::new(),
                };
                let run = std::panic::AssertUnwindSafe(|| part(connection));
                let result = std::panic::catch_unwind(run)
                    .map_err(|panic| format!("{:?}", panic.downcast_ref::<String>()));
                let _ = done.send(result);
            }
            // Whoever connects now waits.
            let waiting: Vec<_> = listener.incoming().collect();
            drop(waiting);
        });
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            sync: SyncMode::Never,
            segment_size: 1 << 20,
            ..Options::default()
        };
        let store = Store::open(&dir.path().join("store"), options, Topology::default());
        let store = Arc::new(store.unwrap());
        let (change_seen, changed) = sync_channel(1);
        store.on_commit(move |_| {
            let _ = change_seen.try_send(());
        });
        let mut settings = mirror::Settings {
            name: "mirror".into(),
            family,
            server: address.to_string(),
            tls: None,
            interval: Duration::from_millis(50),
            retry: Duration::from_millis(50),
            data_timeout: Duration::from_secs(300),
            receive_timeout: Duration::from_secs(120),
            links: Vec::new(),
            relay_ids: Vec::new(),
        };
        change(&mut settings);
        let feed = mirror::start(&settings, Arc::clone(&store)).unwrap();
        Mirror {
            _dir: dir,
            store,
            feed: Some(feed),
            settings,
            changed,
            script: script_done,
        }
    }

    /// Ends the mirror and starts it again on the same store.
    pub fn restart(&mut self) {
        self.stop();
        self.feed = Some(mirror::start(&self.settings, Arc::clone(&self.store)).unwrap());
    }

    pub fn stop(&mut self) {
        if let Some(feed) = self.feed.take() {
            feed.stop();
        }
    }

    pub fn status(&self) -> Snapshot {
        self.feed.as_ref().unwrap().status().snapshot()
    }

    /// Whether something cannot be known of the server's leases. That clocks differ does not count: a slow test's do.
    pub fn misses_something(&self) -> bool {
        let remark = self.status().remark.unwrap_or_default();
        ["active leasequery", "asked for", "cannot tell"]
            .iter()
            .any(|limit| remark.contains(limit))
    }

    /// Waits until the next part of the script is over; it must have gone well.
    pub fn wait_for_part(&self) {
        let part = self.script.recv_timeout(PATIENCE);
        part.expect("the script does not go on").unwrap();
    }

    /// Waits until this is so.
    pub fn wait_until(&self, what: &str, is_so: impl Fn(&Mirror) -> bool) {
        for _ in 0..TRIES {
            if is_so(self) {
                return;
            }
            let _ = self.changed.recv_timeout(PATIENCE / TRIES);
        }
        panic!("never came: {what}; {:?}", self.status());
    }

    /// The binding of 198.51.100.`last`.
    pub fn lease4(&self, last: u8) -> Option<Event4> {
        let view = self.store.reader().view();
        let lease = view.binding4(&Vpn::GLOBAL, Ipv4Addr::new(198, 51, 100, last));
        lease.map(|lease| lease.to_event())
    }

    pub fn state4(&self, last: u8) -> Option<State> {
        self.lease4(last).map(|lease| lease.state)
    }

    /// The lease of 2001:db8:7::`last`.
    pub fn lease6(&self, last: u16) -> Option<Event6> {
        let view = self.store.reader().view();
        let lease = view.binding6(&Vpn::GLOBAL, address6(last), 128);
        lease.map(|lease| lease.to_event())
    }

    pub fn state6(&self, last: u16) -> Option<State> {
        self.lease6(last).map(|lease| lease.state)
    }

    /// How far the store knows the feed to have come: its base-time.
    pub fn feed_state(&self) -> FeedState {
        self.store.feeds().remove(0)
    }

    /// Whether everything up to this time, after [`base`], is known.
    pub fn has_read_up_to(&self, after: u32) -> bool {
        let feeds = self.store.feeds();
        feeds
            .first()
            .is_some_and(|feed| feed.read_up_to.seconds() == base() + after)
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.stop();
    }
}

pub fn address6(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, last)
}

/// A framed message.
fn framed(write: impl FnOnce(&mut OutBuf<'_>)) -> Vec<u8> {
    let mut octets = [0; 2000];
    let mut out = OutBuf::new(&mut octets);
    let start = frame::begin(&mut out).unwrap();
    write(&mut out);
    frame::end(&mut out, start).unwrap();
    out.as_slice().to_vec()
}

/// A DHCPv4 message at a time after [`base`], with whatever `more` adds.
pub fn message4(
    xid: u32,
    kind: u8,
    last: u8,
    after: u32,
    more: impl FnOnce(&mut v4::MessageWriter<'_, '_>),
) -> Vec<u8> {
    let mut chaddr = [0; 16];
    chaddr[..6].copy_from_slice(&[2, 0, 0x5e, 0x10, 0, last]);
    let is_leased = kind == type4::DHCPLEASEACTIVE;
    let header = Header {
        htype: u8::from(is_leased),
        hlen: if is_leased { 6 } else { 0 },
        chaddr: if is_leased { chaddr } else { [0; 16] },
        ciaddr: if last == 0 {
            Ipv4Addr::UNSPECIFIED
        } else {
            Ipv4Addr::new(198, 51, 100, last)
        },
        ..Header::reply(xid)
    };
    framed(|out| {
        let mut writer = v4::MessageWriter::start(out, &header, kind).unwrap();
        writer.server_identifier(Ipv4Addr::LOCALHOST).unwrap();
        writer.base_time(UnixSeconds(base() + after)).unwrap();
        more(&mut writer);
        writer.finish();
    })
}

/// A leased address: 600 s ago the client was heard of, 1,800 s ago the state began, 3,000 s are left.
pub fn active4(xid: u32, last: u8, after: u32) -> Vec<u8> {
    message4(xid, type4::DHCPLEASEACTIVE, last, after, |writer| {
        for (code, seconds) in [
            (code4::IP_ADDRESS_LEASE_TIME, 3_000),
            (code4::RENEWAL_TIME, 900),
            (code4::CLIENT_LAST_TRANSACTION_TIME, 600),
            (code4::START_TIME_OF_STATE, 1_800),
        ] {
            writer.option_u32(code, seconds).unwrap();
        }
        writer.client_identifier(&[1, 0xaa, last]).unwrap();
        writer
            .relay_agent_information(&[(suboption::RELAY_ID, b"bng-7")])
            .unwrap();
        writer.option(12, b"host").unwrap();
    })
}

/// An address that is not leased, in this state since the message's base-time.
pub fn free4(xid: u32, last: u8, after: u32, state: v4::DhcpState) -> Vec<u8> {
    message4(xid, type4::DHCPLEASEUNASSIGNED, last, after, |writer| {
        writer.dhcp_state(state).unwrap();
        writer.option_u32(code4::START_TIME_OF_STATE, 0).unwrap();
        if state != v4::DhcpState::Available {
            writer.client_identifier(&[1, 0xaa, last]).unwrap();
        }
    })
}

/// The end of a bulk query.
pub fn done4(xid: u32, after: u32, status: Option<StatusCode>) -> Vec<u8> {
    message4(xid, type4::DHCPLEASEQUERYDONE, 0, after, |writer| {
        if let Some(status) = status {
            writer.status(status, "").unwrap();
        }
    })
}

/// Something about an active query.
pub fn status4(xid: u32, after: u32, status: StatusCode) -> Vec<u8> {
    message4(xid, type4::DHCPLEASEQUERYSTATUS, 0, after, |writer| {
        writer.status(status, "").unwrap();
    })
}

/// Answers an active query from a time after [`base`]: it is caught up with at another, then these addresses are leased at these
/// times.
pub fn stream4(since: u32, caught_up: u32, leased: &'static [(u8, u32)]) -> Part {
    part(move |mut connection| {
        let (xid, from) = connection.request4(type4::DHCPACTIVELEASEQUERY);
        assert_eq!(from, Some(base() + since));
        connection.say(&status4(xid, caught_up, StatusCode::CatchUpComplete));
        for (last, after) in leased {
            connection.say(&active4(xid, *last, *after));
        }
        connection.hold();
    })
}

/// A DHCPv6 message at a time after [`base`], with whatever `more` adds.
pub fn message6(
    request: &Request6,
    kind: u8,
    after: u32,
    more: impl FnOnce(&mut v6::MessageWriter<'_, '_>),
) -> Vec<u8> {
    framed(|out| {
        let mut writer = v6::MessageWriter::start(out, kind, request.xid).unwrap();
        if kind == type6::LEASEQUERY_REPLY {
            writer.server_id(&[0, 3, 0, 1]).unwrap();
            writer.client_id(&request.requestor).unwrap();
        }
        let time = Seconds2000::from(UnixSeconds(base() + after));
        writer.base_time(time).unwrap();
        more(&mut writer);
        writer.finish();
    })
}

/// A client with these addresses and lifetimes left, behind a relay agent on the link 2001:db8:7::1.
pub fn client6(
    request: &Request6,
    kind: u8,
    after: u32,
    duid: u8,
    leases: &[(u16, u32)],
) -> Vec<u8> {
    message6(request, kind, after, |writer| {
        let client = writer.begin_option(code6::CLIENT_DATA).unwrap();
        writer.client_id(&[0, 3, 0, duid]).unwrap();
        writer.clt_time(600).unwrap();
        let link: Ipv6Addr = "2001:db8:7::1".parse().unwrap();
        let mut relayed = vec![12, 0];
        relayed.extend(link.octets());
        relayed.extend("fe80::1".parse::<Ipv6Addr>().unwrap().octets());
        relayed.extend([0, 53, 0, 3, 0, 3, 9]);
        writer.relay_data(link, &relayed).unwrap();
        for (last, valid) in leases {
            writer.iaaddr(address6(*last), valid / 2, *valid).unwrap();
        }
        writer.end_option(client).unwrap();
    })
}
