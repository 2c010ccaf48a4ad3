//! Messages of a scripted server, framed.

#![allow(dead_code)] // each test binary uses its part

use std::net::{Ipv4Addr, Ipv6Addr};

use leaseq_wire::time::{Seconds2000, UnixSeconds};
use leaseq_wire::v4::{self, Header};
use leaseq_wire::{OutBuf, frame, v6};

/// The requestor's DUID.
pub const DUID: &[u8] = &[0, 3, 0, 1, 2, 0, 0, 0, 0, 0x99];

pub fn framed(write: impl FnOnce(&mut OutBuf<'_>)) -> Vec<u8> {
    let mut octets = [0; 2000];
    let mut out = OutBuf::new(&mut octets);
    let start = frame::begin(&mut out).unwrap();
    write(&mut out);
    frame::end(&mut out, start).unwrap();
    out.as_slice().to_vec()
}

/// A DHCPv4 message.
pub fn message4(
    xid: u32,
    kind: u8,
    address: [u8; 4],
    write: impl FnOnce(&mut v4::MessageWriter<'_, '_>),
) -> Vec<u8> {
    framed(|out| {
        let header = Header {
            ciaddr: address.into(),
            ..Header::reply(xid)
        };
        let mut writer = v4::MessageWriter::start(out, &header, kind).unwrap();
        write(&mut writer);
        writer.finish();
    })
}

/// A binding of 198.51.100.x.
pub fn binding4(xid: u32, last: u8, base: u32) -> Vec<u8> {
    message4(xid, 13, [198, 51, 100, last], |writer| {
        writer.server_identifier(Ipv4Addr::LOCALHOST).unwrap();
        writer.base_time(UnixSeconds(base)).unwrap();
    })
}

/// An address 198.51.100.x that is free now.
pub fn free4(xid: u32, last: u8, base: u32) -> Vec<u8> {
    message4(xid, 11, [198, 51, 100, last], |writer| {
        writer.server_identifier(Ipv4Addr::LOCALHOST).unwrap();
        writer.base_time(UnixSeconds(base)).unwrap();
    })
}

/// A DHCPLEASEQUERYSTATUS, or another message that tells a status.
pub fn status4(xid: u32, kind: u8, code: v4::StatusCode, base: Option<u32>) -> Vec<u8> {
    message4(xid, kind, [0; 4], |writer| {
        writer.server_identifier(Ipv4Addr::LOCALHOST).unwrap();
        writer.status(code, "").unwrap();
        if let Some(base) = base {
            writer.base_time(UnixSeconds(base)).unwrap();
        }
    })
}

/// The end of a bulk query without a status.
pub fn done4(xid: u32) -> Vec<u8> {
    message4(xid, 15, [0; 4], |writer| {
        writer.server_identifier(Ipv4Addr::LOCALHOST).unwrap();
    })
}

/// A DHCPv6 message.
pub fn message6(kind: u8, xid: u32, write: impl FnOnce(&mut v6::MessageWriter<'_, '_>)) -> Vec<u8> {
    framed(|out| {
        let mut writer = v6::MessageWriter::start(out, kind, xid).unwrap();
        write(&mut writer);
        writer.finish();
    })
}

/// What a first reply has.
pub fn ids6(writer: &mut v6::MessageWriter<'_, '_>) {
    writer.server_id(&[9]).unwrap();
    writer.client_id(DUID).unwrap();
}

/// base-time, told as Unix time.
pub fn base6(writer: &mut v6::MessageWriter<'_, '_>, base: u32) {
    let base = Seconds2000::from(UnixSeconds(base));
    writer.base_time(base).unwrap();
}

/// A client with this DUID and the address 2001:db8::x, whose valid lifetime this is.
pub fn client6(writer: &mut v6::MessageWriter<'_, '_>, duid: &[u8], last: u16, valid: u32) {
    let start = writer.begin_option(v6::option_code::CLIENT_DATA).unwrap();
    writer.client_id(duid).unwrap();
    let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
    writer.iaaddr(address, valid / 2, valid).unwrap();
    writer.end_option(start).unwrap();
}

/// A first LEASEQUERY-REPLY with a status or none, and no client.
pub fn reply6(xid: u32, status: Option<v6::StatusCode>, base: Option<u32>) -> Vec<u8> {
    message6(15, xid, |writer| {
        ids6(writer);
        if let Some(status) = status {
            writer.status(status, "").unwrap();
        }
        if let Some(base) = base {
            base6(writer, base);
        }
    })
}

/// A LEASEQUERY-DATA with a client.
pub fn data6(xid: u32, last: u16, valid: u32, base: u32) -> Vec<u8> {
    message6(17, xid, |writer| {
        client6(writer, &[0, 4, last as u8], last, valid);
        base6(writer, base);
    })
}

/// A LEASEQUERY-DATA or LEASEQUERY-DONE with a status or none, and no client.
pub fn status6(xid: u32, kind: u8, status: Option<v6::StatusCode>, base: Option<u32>) -> Vec<u8> {
    message6(kind, xid, |writer| {
        if let Some(status) = status {
            writer.status(status, "").unwrap();
        }
        if let Some(base) = base {
            base6(writer, base);
        }
    })
}
