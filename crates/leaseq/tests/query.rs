//! `leaseq query` against servers of a few lines that live in the test.

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::Output;
use std::thread;

use common::{leaseq, stderr, stdout};
use leaseq_wire::frame::{self, Split};
use leaseq_wire::time::UnixSeconds;
use leaseq_wire::v4::{self, Header, StatusCode, message_type, option_code, suboption};
use leaseq_wire::{OutBuf, v6};

/// Serves one connection: one request, and whatever `answer` writes for it.
fn tcp_server(answer: impl FnOnce(&[u8], &mut OutBuf<'_>) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            if let Split::Frame { message, .. } = frame::split(&request) {
                let mut octets = [0; 8192];
                let mut out = OutBuf::new(&mut octets);
                answer(message, &mut out);
                stream.write_all(out.as_slice()).unwrap();
                // The client closes when it has what it wants.
                let _ = stream.read(&mut buffer);
                return;
            }
            let n = stream.read(&mut buffer).unwrap();
            request.extend(&buffer[..n]);
        }
    });
    address
}

fn reply4(
    out: &mut OutBuf<'_>,
    xid: u32,
    kind: u8,
    address: [u8; 4],
    write: impl FnOnce(&mut v4::MessageWriter<'_, '_>),
) {
    let mut chaddr = [0; 16];
    chaddr[..6].copy_from_slice(&[2, 0, 0x5e, 0x10, 0, address[3]]);
    let header = Header {
        htype: 1,
        hlen: 6,
        chaddr,
        ciaddr: address.into(),
        ..Header::reply(xid)
    };
    let mut writer = v4::MessageWriter::start(out, &header, kind).unwrap();
    writer.server_identifier(Ipv4Addr::LOCALHOST).unwrap();
    write(&mut writer);
    writer.finish();
}

/// Two addresses, one leased and one free.
fn two_addresses(request: &[u8], out: &mut OutBuf<'_>) {
    let xid = v4::Message::parse(request).unwrap().xid();
    let start = frame::begin(out).unwrap();
    reply4(
        out,
        xid,
        message_type::DHCPLEASEACTIVE,
        [198, 51, 100, 23],
        |writer| {
            writer.base_time(UnixSeconds(1_790_000_000)).unwrap();
            writer
                .option_u32(option_code::IP_ADDRESS_LEASE_TIME, 3000)
                .unwrap();
            writer
                .option_u32(option_code::CLIENT_LAST_TRANSACTION_TIME, 600)
                .unwrap();
            writer
                .relay_agent_information(&[(suboption::REMOTE_ID, b"rmt-7")])
                .unwrap();
        },
    );
    frame::end(out, start).unwrap();
    let start = frame::begin(out).unwrap();
    reply4(
        out,
        xid,
        message_type::DHCPLEASEUNASSIGNED,
        [198, 51, 100, 24],
        |_| {},
    );
    frame::end(out, start).unwrap();
    done(out, xid, None);
}

fn done(out: &mut OutBuf<'_>, xid: u32, status: Option<(StatusCode, &str)>) {
    let start = frame::begin(out).unwrap();
    reply4(
        out,
        xid,
        message_type::DHCPLEASEQUERYDONE,
        [0; 4],
        |writer| {
            if let Some((code, text)) = status {
                writer.status(code, text).unwrap();
            }
        },
    );
    frame::end(out, start).unwrap();
}

fn query(server: SocketAddr, rest: &[&str]) -> Output {
    let server = server.to_string();
    leaseq(&[&["query", &server], rest].concat())
        .output()
        .expect("the binary")
}

#[test]
fn a_table_has_a_row_for_each_address() {
    let output = query(tcp_server(two_addresses), &["v4", "--all"]);
    assert_eq!(
        (output.status.code(), stderr(&output).as_str()),
        (Some(0), "")
    );
    insta::assert_snapshot!(stdout(&output), @r"
    ADDRESS        STATE      CLIENT             LEFT  LAST SEEN  REMOTE-ID  RELAY-ID  VPN
    198.51.100.23  active     02:00:5e:10:00:17  50m   10m ago    rmt-7
    198.51.100.24  available  02:00:5e:10:00:18
    ");
}

#[test]
fn ndjson_has_a_line_for_each_address() {
    let output = query(
        tcp_server(two_addresses),
        &["v4", "--relay-id", "0x0003", "--format", "ndjson"],
    );
    assert_eq!(output.status.code(), Some(0));
    insta::assert_snapshot!(stdout(&output), @r#"
    {"family":4,"address":"198.51.100.23","state":"active","hwaddr":"01:02:00:5e:10:00:17","cltt":1789999400,"valid_lifetime":3600,"relay_agent_info":"0205726d742d37"}
    {"family":4,"address":"198.51.100.24","state":"available","hwaddr":"01:02:00:5e:10:00:18"}
    "#);
}

#[test]
fn hex_has_a_line_for_each_message() {
    let output = query(
        tcp_server(two_addresses),
        &["v4", "--client-id", "text:x", "--format", "hex"],
    );
    let lines: Vec<String> = stdout(&output).lines().map(String::from).collect();
    assert_eq!(lines.len(), 3);
    assert!(
        lines
            .iter()
            .all(|line| line.starts_with("0201") && line.ends_with("ff")),
        "{lines:?}"
    );
}

#[test]
fn a_refusal_is_told_and_ends_with_1() {
    let server = tcp_server(|request, out| {
        let xid = v4::Message::parse(request).unwrap().xid();
        done(out, xid, Some((StatusCode::NotAllowed, "not for you")));
    });
    let output = query(server, &["v4", "--all"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stderr(&output),
        "leaseq: the server ended the query: NotAllowed: not for you\n"
    );
    assert_eq!(stdout(&output), "");
}

#[test]
fn a_server_that_breaks_the_protocol_is_told() {
    let output = query(
        tcp_server(|_, out| done(out, 0, None)),
        &["v6", "--duid", "01"],
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("broke the protocol: "),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_v6_client_has_a_row_for_each_lease() {
    let server = tcp_server(|request, out| {
        let request = v6::Message::parse(request).unwrap();
        let start = frame::begin(out).unwrap();
        let mut writer =
            v6::MessageWriter::start(out, v6::message_type::LEASEQUERY_REPLY, request.xid())
                .unwrap();
        writer.server_id(&[9]).unwrap();
        writer
            .client_id(request.option(v6::option_code::CLIENTID).unwrap())
            .unwrap();
        let client = writer.begin_option(v6::option_code::CLIENT_DATA).unwrap();
        writer.client_id(&[0, 3, 0, 1, 2]).unwrap();
        writer
            .iaaddr("2001:db8:7::23".parse().unwrap(), 1200, 3000)
            .unwrap();
        writer
            .iaprefix("2001:db8:7100::".parse().unwrap(), 56, u32::MAX, u32::MAX)
            .unwrap();
        writer.clt_time(5).unwrap();
        writer.end_option(client).unwrap();
        writer.finish();
        frame::end(out, start).unwrap();
        let start = frame::begin(out).unwrap();
        v6::MessageWriter::start(out, v6::message_type::LEASEQUERY_DONE, request.xid())
            .unwrap()
            .finish();
        frame::end(out, start).unwrap();
    });
    let output = query(server, &["v6", "--link", "2001:db8:7::1"]);
    assert_eq!(
        (output.status.code(), stderr(&output).as_str()),
        (Some(0), "")
    );
    insta::assert_snapshot!(stdout(&output), @r"
    ADDRESS             STATE   CLIENT      LEFT      LAST SEEN  REMOTE-ID  RELAY-ID  VPN
    2001:db8:7::23      active  0003000102  50m       5s ago
    2001:db8:7100::/56  active  0003000102  infinite  5s ago
    ");
}

#[test]
fn udp_tells_the_clients_other_addresses() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 1500];
        let (len, from) = socket.recv_from(&mut buffer).unwrap();
        let request = v4::Message::parse(&buffer[..len]).unwrap();
        assert_eq!(request.giaddr(), Ipv4Addr::LOCALHOST);
        let mut octets = [0; 1500];
        let mut out = OutBuf::new(&mut octets);
        let kind = message_type::DHCPLEASEACTIVE;
        reply4(
            &mut out,
            request.xid(),
            kind,
            request.ciaddr().octets(),
            |writer| {
                writer
                    .option(
                        option_code::ASSOCIATED_IP,
                        &[198, 51, 100, 7, 198, 51, 100, 8],
                    )
                    .unwrap();
            },
        );
        socket.send_to(out.as_slice(), from).unwrap();
    });
    let output = query(address, &["v4", "--ip", "198.51.100.7"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        stderr(&output),
        "leaseq: the client also has 198.51.100.8\n"
    );
    assert!(
        stdout(&output).contains("198.51.100.7  active"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn bad_usage_ends_with_2_and_no_server_with_1() {
    let nowhere: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let output = query(nowhere, &["v4", "--duid", "01"]);
    assert_eq!(
        (output.status.code(), stderr(&output).as_str()),
        (Some(2), "leaseq: --duid has no meaning in v4\n")
    );
    assert_eq!(query(nowhere, &["v4"]).status.code(), Some(2));
    assert_eq!(
        query(nowhere, &["v4", "--all", "--hwaddr", "01"])
            .status
            .code(),
        Some(2)
    );
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let output = query(free, &["v4", "--all"]);
    assert_eq!(output.status.code(), Some(1));
    let told = format!("leaseq: cannot connect to {free}: Connection refused");
    assert!(stderr(&output).starts_with(&told), "{}", stderr(&output));
}
