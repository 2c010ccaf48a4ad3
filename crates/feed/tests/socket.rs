//! The feed socket with a real store behind it: order of answers, rejected lines, many writers, writers that misbehave.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

use leaseq_feed::lines::MAX_LINE;
use leaseq_feed::run::Status;
use leaseq_feed::socket::{Address, NdjsonListener};
use leaseq_store::{Options, Store, SyncMode, Topology, Vpn};

struct Fixture {
    dir: tempfile::TempDir,
    store: Arc<Store>,
    listener: NdjsonListener,
}

fn status() -> Arc<Status> {
    Arc::new(Status::new("leases", "ndjson", None, "a socket"))
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        sync: SyncMode::Never,
        segment_size: 1 << 20,
        ..Options::default()
    };
    let store =
        Arc::new(Store::open(&dir.path().join("store"), options, Topology::default()).unwrap());
    let address = Address::Unix(dir.path().join("feed.sock"));
    let listener = NdjsonListener::start(&address, Arc::clone(&store), status()).unwrap();
    Fixture {
        dir,
        store,
        listener,
    }
}

impl Fixture {
    fn connect(&self) -> UnixStream {
        UnixStream::connect(self.dir.path().join("feed.sock")).unwrap()
    }

    fn has(&self, address: [u8; 4]) -> bool {
        self.store
            .reader()
            .view()
            .binding4(&Vpn::GLOBAL, Ipv4Addr::from(address))
            .is_some()
    }
}

fn line(address: [u8; 4]) -> String {
    format!(
        "{{\"family\":4,\"address\":\"{}\",\"state\":\"active\",\"client_id\":\"01\"}}\n",
        Ipv4Addr::from(address)
    )
}

fn answers(stream: &mut (impl Read + ?Sized)) -> Vec<String> {
    BufReader::new(stream)
        .lines()
        .collect::<Result<_, _>>()
        .unwrap()
}

#[test]
fn lines_are_answered_in_order_once_stored_and_rejected_ones_harm_no_other() {
    let fixture = fixture();
    let mut stream = fixture.connect();
    let mut lines = [
        line([10, 0, 0, 1]),
        "rubbish\n".into(),
        "\n".into(),
        line([10, 0, 0, 2]),
    ]
    .concat();
    lines += "{\"family\":6,\"address\":\"::1\",\"state\":\"active\"}\n";
    // The last line has no end, and is a line nevertheless.
    lines += line([10, 0, 0, 3]).trim_end();
    stream.write_all(lines.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(
        answers(&mut stream)
            .into_iter()
            .filter(|answer| !matches!(answer.as_str(), "{\"ok\":3}"))
            .collect::<Vec<_>>(),
        [
            "{\"ok\":1}",
            "{\"line\":2,\"error\":\"expected a JSON object\"}",
            "{\"ok\":4}",
            "{\"line\":5,\"error\":\"an active IPv6 lease needs the DUID of its client\"}",
            "{\"ok\":6}",
        ]
    );
    for last in 1..=3 {
        assert!(fixture.has([10, 0, 0, last]));
    }
}

#[test]
fn an_acknowledged_line_is_visible() {
    let fixture = fixture();
    let stream = fixture.connect();
    let mut answers = BufReader::new(stream.try_clone().unwrap()).lines();
    for number in 1..=50 {
        (&stream)
            .write_all(line([10, 0, 1, number]).as_bytes())
            .unwrap();
        assert_eq!(
            answers.next().unwrap().unwrap(),
            format!("{{\"ok\":{number}}}")
        );
        assert!(fixture.has([10, 0, 1, number]));
    }
}

#[test]
fn many_writers_are_served_at_once() {
    let fixture = fixture();
    let writers = (0..20u8).map(|writer| {
        let mut stream = fixture.connect();
        thread::spawn(move || {
            let lines: String = (0..200u8).map(|last| line([10, 1, writer, last])).collect();
            let mut sending = stream.try_clone().unwrap();
            let sender = thread::spawn(move || {
                sending.write_all(lines.as_bytes()).unwrap();
                sending.shutdown(Shutdown::Write).unwrap();
            });
            let answers = answers(&mut stream);
            sender.join().unwrap();
            answers
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        let answers = writer.join().unwrap();
        assert_eq!(answers.last().unwrap(), "{\"ok\":200}");
        assert!(
            answers.iter().all(|answer| answer.starts_with("{\"ok\":")),
            "{answers:?}"
        );
    }
    assert!((0..20).all(|writer| fixture.has([10, 1, writer, 199])));
}

#[test]
fn a_writer_that_takes_no_answers_and_an_endless_line_hold_nobody_up() {
    let fixture = fixture();
    // Its lines are rejected with answers that it never reads, until both sides' buffers are full.
    let mut deaf = fixture.connect();
    deaf.set_write_timeout(Some(std::time::Duration::from_millis(200)))
        .unwrap();
    let rubbish = "x\n".repeat(4_096);
    let blocked = (0..10_000).any(|_| deaf.write_all(rubbish.as_bytes()).is_err());
    assert!(blocked, "the listener reads without bounds");
    let mut endless = fixture.connect();
    let text = vec![b'{'; 3 * MAX_LINE];
    endless.write_all(&text).unwrap();

    let mut stream = fixture.connect();
    stream.write_all(line([10, 2, 0, 1]).as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(answers(&mut stream), ["{\"ok\":1}"]);

    // The endless line costs its writer that line, no more.
    endless.write_all(b"\n").unwrap();
    endless.write_all(line([10, 2, 0, 2]).as_bytes()).unwrap();
    endless.shutdown(Shutdown::Write).unwrap();
    let told = answers(&mut endless);
    assert_eq!(
        told,
        [
            format!("{{\"line\":1,\"error\":\"expected a line of at most {MAX_LINE} octets\"}}"),
            "{\"ok\":2}".into()
        ]
    );
    fixture.listener.stop();
}

#[test]
fn stopping_answers_what_was_read_and_gives_the_store_back() {
    let Fixture {
        dir,
        store,
        listener,
    } = fixture();
    let mut stream = UnixStream::connect(dir.path().join("feed.sock")).unwrap();
    stream.write_all(line([10, 3, 0, 1]).as_bytes()).unwrap();
    let mut first = [0; 9];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"{\"ok\":1}\n");
    listener.stop();
    assert_eq!(answers(&mut stream), Vec::<String>::new());
    assert!(!dir.path().join("feed.sock").exists());
    let store = Arc::into_inner(store).expect("no thread of the listener has the store any more");
    store.stop().unwrap();
}

#[test]
fn tcp_works_alike_and_tells_its_port() {
    let fixture = fixture();
    let listener = NdjsonListener::start(
        &"127.0.0.1:0".parse().unwrap(),
        Arc::clone(&fixture.store),
        status(),
    )
    .unwrap();
    let Address::Tcp(address) = listener.address().clone() else {
        panic!("a TCP address")
    };
    assert_ne!(address.port(), 0);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(line([10, 4, 0, 1]).as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(answers(&mut stream), ["{\"ok\":1}"]);
}
