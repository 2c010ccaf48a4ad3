//! Against servers of a few lines.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

use leaseq_wire::frame::{self, Split};
use leaseq_wire::time::UnixSeconds;
use leaseq_wire::v4::{self, Header, StatusCode, message_type, option_code, suboption};
use leaseq_wire::{OutBuf, v6};
use serde_json::Value;

use crate::common::{leaseq, stderr, stdout};

/// Takes one request of a connection.
fn request(stream: &mut TcpStream) -> Vec<u8> {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        if let Split::Frame { message, .. } = frame::split(&request) {
            return message.to_vec();
        }
        let n = stream.read(&mut buffer).unwrap();
        assert!(n > 0, "a request");
        request.extend(&buffer[..n]);
    }
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

const BASE: u32 = 1_790_000_000;

fn message4(xid: u32, kind: u8, last: u8, base: u32, status: Option<StatusCode>) -> Vec<u8> {
    let address = if last == 0 {
        Ipv4Addr::UNSPECIFIED
    } else {
        Ipv4Addr::new(198, 51, 100, last)
    };
    let mut chaddr = [0; 16];
    chaddr[..6].copy_from_slice(&[2, 0, 0x5e, 0x10, 0, last]);
    let header = Header {
        htype: 1,
        hlen: 6,
        chaddr,
        ciaddr: address,
        ..Header::reply(xid)
    };
    framed(|out| {
        let mut writer = v4::MessageWriter::start(out, &header, kind).unwrap();
        writer.server_identifier(Ipv4Addr::LOCALHOST).unwrap();
        writer.base_time(UnixSeconds(BASE + base)).unwrap();
        if let Some(status) = status {
            writer.status(status, "").unwrap();
        } else if kind == ACTIVE {
            writer
                .option_u32(option_code::IP_ADDRESS_LEASE_TIME, 3000)
                .unwrap();
            writer
                .option_u32(option_code::CLIENT_LAST_TRANSACTION_TIME, 600)
                .unwrap();
            writer
                .relay_agent_information(&[(suboption::RELAY_ID, b"bng-7")])
                .unwrap();
        }
        writer.finish();
    })
}

const ACTIVE: u8 = message_type::DHCPLEASEACTIVE;
const FREE: u8 = message_type::DHCPLEASEUNASSIGNED;
const STATUS: u8 = message_type::DHCPLEASEQUERYSTATUS;

/// A stream that tells three addresses, misses something, and has it asked for on a second connection.
fn gap_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let xid = v4::Message::parse(&request(&mut stream)).unwrap().xid();
        let status = |code, base| message4(xid, STATUS, 0, base, Some(code));
        let told = [
            message4(xid, ACTIVE, 1, 10, None),
            message4(xid, ACTIVE, 2, 10, None),
            message4(xid, ACTIVE, 3, 10, None),
            status(StatusCode::DataMissing, 20),
            message4(xid, FREE, 2, 21, None),
        ];
        stream.write_all(&told.concat()).unwrap();
        let (mut fill, _) = listener.accept().unwrap();
        let bulk = v4::Message::parse(&request(&mut fill)).unwrap().xid();
        let told = [
            // Older than what the stream has told.
            message4(bulk, ACTIVE, 2, 20, None),
            message4(bulk, ACTIVE, 4, 20, None),
            message4(bulk, ACTIVE, 1, 20, None),
            message4(bulk, message_type::DHCPLEASEQUERYDONE, 0, 20, None),
        ];
        fill.write_all(&told.concat()).unwrap();
        // Until both are closed.
        let _ = fill.read(&mut [0; 100]);
        let _ = stream.read(&mut [0; 100]);
    });
    address
}

#[test]
fn what_a_gap_leaves_out_is_told_as_ended() {
    let address = gap_server().to_string();
    let arguments = [
        "watch",
        &address,
        "v4",
        "--since",
        "1789999000",
        "--relay-id",
        "09",
        "--until-caught-up",
    ];
    let output = leaseq(&arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let told: Vec<Value> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let told: Vec<_> = told
        .iter()
        .map(|line| {
            let base_time = line["base_time"].as_u64().unwrap() - u64::from(BASE);
            (
                line["address"].as_str().unwrap(),
                line["ended"] == true,
                base_time,
            )
        })
        .collect();
    let address = |last| format!("198.51.100.{last}");
    let expected = [
        (1, false, 10),
        (2, false, 10),
        (3, false, 10),
        (2, true, 21),
        (4, false, 20),
        (1, false, 20),
        (3, true, 20),
    ];
    let expected = expected.map(|(last, ended, base)| (address(last), ended, base));
    let expected: Vec<_> = expected
        .iter()
        .map(|(address, ended, base)| (address.as_str(), *ended, *base))
        .collect();
    assert_eq!(told, expected);
    for text in [
        "changes are missing: asking for them in bulk",
        "what was missing has been told",
    ] {
        assert!(stderr(&output).contains(text), "{}", stderr(&output));
    }
}

/// Serves one connection with what `answer` gives for its request.
fn server(answer: impl FnOnce(&[u8]) -> Vec<u8> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let request = request(&mut stream);
        stream.write_all(&answer(&request)).unwrap();
        let _ = stream.read(&mut [0; 100]);
    });
    address.to_string()
}

fn two_changes(request: &[u8]) -> Vec<u8> {
    let xid = v4::Message::parse(request).unwrap().xid();
    let caught_up = message4(xid, STATUS, 0, 7, Some(StatusCode::CatchUpComplete));
    let told = [
        message4(xid, ACTIVE, 23, 5, None),
        message4(xid, FREE, 24, 6, None),
        caught_up,
    ];
    told.concat()
}

fn watch(server: &str, rest: &[&str]) -> (Option<i32>, String) {
    let output = leaseq(
        &[
            &[
                "watch",
                server,
                "v4",
                "--since",
                "1789999000",
                "--until-caught-up",
            ],
            rest,
        ]
        .concat(),
    )
    .output()
    .unwrap();
    (output.status.code(), stdout(&output))
}

#[test]
fn a_table_has_the_base_time_and_a_row_for_each_address() {
    let (status, table) = watch(&server(two_changes), &["--format", "table"]);
    assert_eq!(status, Some(0));
    insta::assert_snapshot!(table, @r"
    BASE TIME             ADDRESS        STATE      CLIENT             LEFT  LAST SEEN  REMOTE-ID  RELAY-ID  VPN
    2026-09-21T14:13:25Z  198.51.100.23  active     02:00:5e:10:00:17  50m   10m ago               bng-7
    2026-09-21T14:13:26Z  198.51.100.24  available  02:00:5e:10:00:18
    ");
}

#[test]
fn ndjson_has_a_line_for_each_change() {
    let (status, lines) = watch(&server(two_changes), &[]);
    assert_eq!(status, Some(0));
    insta::assert_snapshot!(lines, @r#"
    {"family":4,"address":"198.51.100.23","state":"active","hwaddr":"01:02:00:5e:10:00:17","cltt":1789999405,"valid_lifetime":3600,"relay_agent_info":"0c05626e672d37","base_time":1790000005,"ended":false}
    {"family":4,"address":"198.51.100.24","state":"available","hwaddr":"01:02:00:5e:10:00:18","base_time":1790000006,"ended":true}
    "#);
}

#[test]
fn hex_has_a_line_for_each_message_statuses_included() {
    let (status, lines) = watch(&server(two_changes), &["--format", "hex"]);
    let lines: Vec<_> = lines.lines().collect();
    assert_eq!((status, lines.len()), (Some(0), 3));
    assert!(
        lines
            .iter()
            .all(|line| line.starts_with("0201") && line.ends_with("ff")),
        "{lines:?}"
    );
}

#[test]
fn a_refusal_ends_with_1_and_so_does_a_past_that_cannot_be_told() {
    let refused = server(|request| {
        let xid = v4::Message::parse(request).unwrap().xid();
        message4(xid, STATUS, 0, 5, Some(StatusCode::NotAllowed))
    });
    let output = leaseq(&["watch", &refused, "v4"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = "leaseq: the server ended the query: NotAllowed\n";
    assert!(stderr(&output).ends_with(told), "{}", stderr(&output));

    let missing = server(|request| {
        let request = v6::Message::parse(request).unwrap();
        framed(|out| {
            let kind = v6::message_type::LEASEQUERY_REPLY;
            let mut writer = v6::MessageWriter::start(out, kind, request.xid()).unwrap();
            writer.server_id(&[9]).unwrap();
            writer
                .client_id(request.option(v6::option_code::CLIENTID).unwrap())
                .unwrap();
            writer.status(v6::StatusCode::DataMissing, "").unwrap();
            writer.base_time(UnixSeconds(BASE).into()).unwrap();
            writer.finish();
        })
    });
    let arguments = [
        "watch",
        &missing,
        "v6",
        "--since",
        "1789999000",
        "--until-caught-up",
    ];
    let output = leaseq(&arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = "leaseq: the server cannot tell everything since 1789999000\n";
    assert!(stderr(&output).ends_with(told), "{}", stderr(&output));
}
