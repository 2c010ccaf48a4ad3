//! The bulk cores on answers made up by the test: what they tell, and which breaches of the protocol they find.

use std::net::{Ipv4Addr, Ipv6Addr};

use leaseq_requestor::{Bulk, Event, ProtocolFault, Query, Query4, Query6, Selector4, Selector6};
use leaseq_wire::v4::{self, DhcpState, Header};
use leaseq_wire::v6::{self, StatusCode};
use leaseq_wire::{Fault, OutBuf, frame};
use proptest::prelude::*;

const DUID: &[u8] = &[0, 3, 0, 1, 2, 0, 0, 0, 0, 0x99];

fn framed(write: impl FnOnce(&mut OutBuf<'_>)) -> Vec<u8> {
    let mut octets = [0; 1024];
    let mut out = OutBuf::new(&mut octets);
    let start = frame::begin(&mut out).unwrap();
    write(&mut out);
    frame::end(&mut out, start).unwrap();
    out.as_slice().to_vec()
}

#[derive(Clone, Copy)]
struct Reply4 {
    op: u8,
    xid: u32,
    kind: u8,
    address: [u8; 4],
    server: bool,
    state: Option<DhcpState>,
    associated: bool,
    status: Option<v4::StatusCode>,
}

const BINDING4: Reply4 = Reply4 {
    op: 2,
    xid: 1,
    kind: 13,
    address: [198, 51, 100, 7],
    server: true,
    state: None,
    associated: false,
    status: None,
};
const DONE4: Reply4 = Reply4 {
    kind: 15,
    address: [0; 4],
    ..BINDING4
};

fn reply4(reply: Reply4) -> Vec<u8> {
    framed(|out| {
        let header = Header {
            op: reply.op,
            ciaddr: reply.address.into(),
            ..Header::reply(reply.xid)
        };
        let mut writer = v4::MessageWriter::start(out, &header, reply.kind).unwrap();
        if reply.server {
            writer.server_identifier(Ipv4Addr::LOCALHOST).unwrap();
        }
        if let Some(state) = reply.state {
            writer.dhcp_state(state).unwrap();
        }
        if reply.associated {
            writer
                .option(v4::option_code::ASSOCIATED_IP, &[0; 4])
                .unwrap();
        }
        if let Some(status) = reply.status {
            writer.status(status, "so it is").unwrap();
        }
        writer.finish();
    })
}

fn reply6(kind: u8, xid: u32, write: impl FnOnce(&mut v6::MessageWriter<'_, '_>)) -> Vec<u8> {
    framed(|out| {
        let mut writer = v6::MessageWriter::start(out, kind, xid).unwrap();
        write(&mut writer);
        writer.finish();
    })
}

fn ids(writer: &mut v6::MessageWriter<'_, '_>) {
    writer.server_id(&[9]).unwrap();
    writer.client_id(DUID).unwrap();
}

fn client(writer: &mut v6::MessageWriter<'_, '_>) {
    let start = writer.begin_option(v6::option_code::CLIENT_DATA).unwrap();
    writer.client_id(&[5, 5]).unwrap();
    writer.iaaddr(Ipv6Addr::LOCALHOST, 10, 20).unwrap();
    writer.end_option(start).unwrap();
}

fn reply6_first(xid: u32) -> Vec<u8> {
    reply6(15, xid, |writer| {
        ids(writer);
        client(writer);
    })
}

fn bulk(family: u8, xids: &[u32]) -> Bulk {
    let query = match family {
        4 => Query::V4(Query4::new(Selector4::All)),
        _ => Query::V6(Query6::new(Selector6::RelayId(vec![1]), DUID)),
    };
    let mut bulk = Bulk::like(&query);
    xids.iter().for_each(|xid| bulk.add(*xid));
    bulk
}

/// Events in short, one word each.
fn told(bulk: &mut Bulk, octets: &[u8]) -> (Vec<String>, Option<(ProtocolFault, u64)>) {
    let mut events = Vec::new();
    let result = bulk.push(octets, &mut |event| {
        assert!(!event.octets().is_empty());
        events.push(match &event {
            Event::Binding4(binding) => format!(
                "{}:{}:{}",
                event.xid(),
                binding.address(),
                binding.is_active()
            ),
            Event::Client6(client) => format!("{}:{}", event.xid(), client.client.leases().count()),
            Event::Done(done) => {
                let failure = done
                    .failure()
                    .map_or(String::new(), |status| format!(":{status}"));
                format!("{}:done:{}{failure}", event.xid(), done.bindings)
            }
        });
    });
    (
        events,
        result.err().map(|error| (error.fault, error.offset)),
    )
}

fn fault(family: u8, frames: &[Vec<u8>]) -> ProtocolFault {
    let before: usize = frames[..frames.len() - 1].iter().map(Vec::len).sum();
    let (_, fault) = told(&mut bulk(family, &[1, 2]), &frames.concat());
    let (fault, offset) = fault.expect("a fault is found");
    assert_eq!(offset, before as u64, "{fault}");
    assert!(!fault.to_string().is_empty());
    fault
}

#[test]
fn v4_answers_of_parallel_queries_interleave() {
    let mut bulk = bulk(4, &[1, 2]);
    let free = Reply4 {
        kind: 11,
        address: [198, 51, 100, 8],
        state: Some(DhcpState::Released),
        ..BINDING4
    };
    let octets = [
        reply4(BINDING4),
        reply4(Reply4 { xid: 2, ..free }),
        reply4(Reply4 {
            server: false,
            state: Some(DhcpState::Active),
            ..BINDING4
        }),
        reply4(Reply4 {
            server: false,
            status: Some(v4::StatusCode::QueryTerminated),
            ..DONE4
        }),
        reply4(Reply4 { xid: 2, ..DONE4 }),
    ];
    let (events, fault) = told(&mut bulk, &octets.concat());
    let expected = [
        "1:198.51.100.7:true",
        "2:198.51.100.8:false",
        "1:198.51.100.7:true",
        "1:done:2:QueryTerminated: so it is",
        "2:done:1",
    ];
    assert_eq!((events, fault), (expected.map(String::from).to_vec(), None));
    assert_eq!((bulk.running(), bulk.closed()), (0, Ok(())));
}

#[test]
fn v4_breaches_are_found() {
    let after = |reply| fault(4, &[reply4(BINDING4), reply4(reply)]);
    assert_eq!(
        after(Reply4 { op: 1, ..BINDING4 }),
        ProtocolFault::NotAReply(1)
    );
    assert_eq!(
        after(Reply4 { xid: 3, ..BINDING4 }),
        ProtocolFault::UnknownXid(3)
    );
    assert_eq!(
        after(Reply4 {
            kind: 12,
            ..BINDING4
        }),
        ProtocolFault::UnexpectedType(Some(12))
    );
    assert_eq!(
        after(Reply4 {
            address: [0; 4],
            ..BINDING4
        }),
        ProtocolFault::NoAddress
    );
    assert_eq!(
        after(Reply4 {
            associated: true,
            ..BINDING4
        }),
        ProtocolFault::ForbiddenOption(92)
    );
    let contradiction = |message_type, state: DhcpState| ProtocolFault::StateContradiction {
        message_type,
        state: state as u8,
    };
    let released = Reply4 {
        state: Some(DhcpState::Released),
        ..BINDING4
    };
    assert_eq!(after(released), contradiction(13, DhcpState::Released));
    let active = Reply4 {
        kind: 11,
        state: Some(DhcpState::Active),
        ..BINDING4
    };
    assert_eq!(after(active), contradiction(11, DhcpState::Active));
    assert_eq!(
        fault(
            4,
            &[reply4(Reply4 {
                server: false,
                ..DONE4
            })]
        ),
        ProtocolFault::NoServerIdentifier
    );
    assert_eq!(
        fault(4, &[reply4(DONE4), reply4(DONE4)]),
        ProtocolFault::UnknownXid(1)
    );
    assert_eq!(
        fault(4, &[reply4(BINDING4), vec![0, 0]]),
        ProtocolFault::ZeroLength
    );
    let short = fault(4, &[vec![0, 3, 1, 1, 1]]);
    assert!(
        matches!(short, ProtocolFault::Message(error) if error.fault == Fault::TooShort { expected: 240, got: 3 })
    );
}

#[test]
fn v6_answers_end_with_done_or_with_an_empty_first_reply() {
    let mut bulk = bulk(6, &[1, 2, 3]);
    let octets = [
        reply6_first(1),
        reply6(15, 2, ids),
        reply6(17, 1, client),
        reply6(15, 3, |writer| {
            ids(writer);
            writer.status(StatusCode::NotConfigured, "").unwrap();
        }),
        reply6(17, 1, |_| {}),
        reply6(16, 1, |_| {}),
    ];
    let (events, fault) = told(&mut bulk, &octets.concat());
    let expected = [
        "1:1",
        "2:done:0",
        "1:1",
        "3:done:0:NotConfigured",
        "1:done:2",
    ];
    assert_eq!((events, fault), (expected.map(String::from).to_vec(), None));
    assert_eq!((bulk.running(), bulk.closed()), (0, Ok(())));
}

#[test]
fn v6_breaches_are_found() {
    let first = || reply6_first(1);
    assert_eq!(fault(6, &[first(), first()]), ProtocolFault::SecondReply);
    assert_eq!(
        fault(6, &[reply6(17, 1, client)]),
        ProtocolFault::BeforeReply(17)
    );
    assert_eq!(
        fault(6, &[first(), reply6(16, 2, |_| {})]),
        ProtocolFault::BeforeReply(16)
    );
    assert_eq!(
        fault(6, &[first(), reply6(7, 1, |_| {})]),
        ProtocolFault::UnexpectedType(Some(7))
    );
    assert_eq!(
        fault(6, &[first(), reply6(17, 4, client)]),
        ProtocolFault::UnknownXid(4)
    );
    assert_eq!(
        fault(6, &[first(), reply6(16, 1, |_| {}), reply6(17, 1, client)]),
        ProtocolFault::UnknownXid(1)
    );
    assert_eq!(
        fault(6, &[first(), reply6(16, 1, client)]),
        ProtocolFault::ForbiddenOption(45)
    );
    let links = |writer: &mut v6::MessageWriter<'_, '_>| {
        writer.client_links(&[Ipv6Addr::LOCALHOST]).unwrap()
    };
    assert_eq!(
        fault(6, &[first(), reply6(17, 1, links)]),
        ProtocolFault::ForbiddenOption(48)
    );
    let no_server = reply6(15, 1, |writer| writer.client_id(DUID).unwrap());
    assert_eq!(fault(6, &[no_server]), ProtocolFault::NoServerIdentifier);
    let other = reply6(15, 1, |writer| {
        writer.server_id(&[9]).unwrap();
        writer.client_id(&[1]).unwrap();
    });
    assert_eq!(fault(6, &[other]), ProtocolFault::OtherClientIdentifier);
    let broken = reply6(17, 1, |writer| {
        writer.option(45, &[0, 5, 0, 2, 1, 1]).unwrap()
    });
    assert!(
        matches!(fault(6, &[first(), broken]), ProtocolFault::Value(error) if error.code == 45)
    );
}

#[test]
fn a_connection_that_ends_too_early_is_a_breach() {
    let mut bulk = bulk(4, &[1, 2]);
    let octets = [reply4(DONE4), vec![1, 0, 9]].concat();
    let (events, fault) = told(&mut bulk, &octets);
    assert_eq!((events.len(), fault), (1, None));
    let error = bulk.closed().unwrap_err();
    assert_eq!(
        error.fault,
        ProtocolFault::Closed {
            queries: 1,
            octets: 3
        }
    );
    assert_eq!(error.offset, octets.len() as u64 - 3);
}

proptest! {
    #[test]
    fn arbitrary_octets_never_panic(
        octets in proptest::collection::vec(any::<u8>(), 0..600), cut in 0_usize..300, xid in 1_u32..3,
    ) {
        for family in [4, 6] {
            let mut core = bulk(family, &[1, 2]);
            let _ = told(&mut core, &octets);
            // Behind a valid beginning, so that more than the frame's length is looked at.
            let mut octets = octets.clone();
            let start = if family == 4 { reply4(Reply4 { xid, ..BINDING4 }) } else { reply6_first(xid) };
            let mut stream = start[..start.len() - cut.min(start.len() / 3)].to_vec();
            stream.append(&mut octets);
            let _ = told(&mut bulk(family, &[1, 2]), &stream);
        }
    }
}
