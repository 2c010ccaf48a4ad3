//! Datagrams by the batch: recvmmsg and sendmmsg over memory that is taken once.
//!
//! `unsafe` lives here because the kernel is handed arrays of pointers. Every array is owned by the batch and never
//! grows after it was made, and all pointers are written anew from those arrays before each call.
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

/// Datagrams a system call moves.
pub const BATCH: usize = 64;
/// The longest request that is read; longer ones are cut by the kernel and dropped here.
pub(crate) const REQUEST_OCTETS: usize = 8_192;
/// Room for one packet-info control message of either family.
const CONTROL_OCTETS: usize = 64;

/// The address of this machine that a request was sent to, so that its answer comes from there.
#[derive(Clone, Copy)]
pub enum Local {
    /// The socket is bound to one address, or the kernel did not say.
    Bound,
    /// One of its IPv4 addresses.
    V4(libc::in_pktinfo),
    /// One of its IPv6 addresses.
    V6(libc::in6_pktinfo),
}

/// Control data, aligned as its headers must be.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_OCTETS]);

/// What both directions hand to the kernel.
struct Headers {
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<libc::iovec>,
    names: Vec<libc::sockaddr_storage>,
    control: Vec<Control>,
}

impl Headers {
    fn new() -> Headers {
        // SAFETY: all four are plain C structures for which zeros are a valid value.
        let (header, vector, name) = unsafe { (zeroed(), zeroed(), zeroed()) };
        Headers {
            headers: vec![header; BATCH],
            vectors: vec![vector; BATCH],
            names: vec![name; BATCH],
            control: vec![Control([0; CONTROL_OCTETS]); BATCH],
        }
    }

    /// Points header `at` to its own name and control memory and to `octets`.
    fn point(
        &mut self,
        at: usize,
        octets: *mut u8,
        length: usize,
        name_length: usize,
        control_length: usize,
    ) {
        self.vectors[at] = libc::iovec {
            iov_base: octets.cast(),
            iov_len: length,
        };
        let header = &mut self.headers[at].msg_hdr;
        header.msg_name = (&raw mut self.names[at]).cast();
        header.msg_namelen = name_length as libc::socklen_t;
        header.msg_iov = &raw mut self.vectors[at];
        header.msg_iovlen = 1;
        header.msg_control = if control_length == 0 {
            std::ptr::null_mut()
        } else {
            (&raw mut self.control[at]).cast()
        };
        header.msg_controllen = control_length as _;
        header.msg_flags = 0;
    }
}

/// Requests read in one call.
pub struct Inbox {
    kernel: Headers,
    octets: Vec<u8>,
    received: usize,
}

impl Default for Inbox {
    fn default() -> Inbox {
        Inbox {
            kernel: Headers::new(),
            octets: vec![0; BATCH * REQUEST_OCTETS],
            received: 0,
        }
    }
}

impl Inbox {
    /// Reads what is there, up to [`BATCH`] datagrams, without waiting, and says how many.
    pub fn receive(&mut self, socket: impl AsFd) -> io::Result<usize> {
        self.received = 0;
        for (at, octets) in self.octets.chunks_exact_mut(REQUEST_OCTETS).enumerate() {
            self.kernel.point(
                at,
                octets.as_mut_ptr(),
                REQUEST_OCTETS,
                size_of::<libc::sockaddr_storage>(),
                CONTROL_OCTETS,
            );
        }
        // SAFETY: BATCH headers, each pointing to memory of the stated size in arrays that this call borrows mutably.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                self.kernel.headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        self.received = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        Ok(self.received)
    }

    /// Request `at` of those received: its sender, the address it was sent to, its octets. `None` if it was too long.
    pub fn request(&self, at: usize) -> Option<(SocketAddr, Local, &[u8])> {
        if at >= self.received {
            return None;
        }
        let header = &self.kernel.headers[at];
        if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            return None;
        }
        let start = at * REQUEST_OCTETS;
        let octets = self
            .octets
            .get(start..start + (header.msg_len as usize).min(REQUEST_OCTETS))?;
        Some((
            address_of(&self.kernel.names[at])?,
            local_of(&header.msg_hdr),
            octets,
        ))
    }
}

/// Answers to be sent in one call.
pub struct Outbox {
    kernel: Headers,
    octets: Vec<u8>,
    used: usize,
    items: usize,
    starts: [(usize, usize); BATCH],
}

impl Default for Outbox {
    fn default() -> Outbox {
        Outbox {
            kernel: Headers::new(),
            octets: vec![0; 4 * Outbox::ANSWER_OCTETS],
            used: 0,
            items: 0,
            starts: [(0, 0); BATCH],
        }
    }
}

impl Outbox {
    /// The longest answer a datagram can hold.
    pub const ANSWER_OCTETS: usize = 65_507;

    /// Whether it must be sent before there is room for another answer.
    pub fn is_full(&self) -> bool {
        self.items == BATCH || self.octets.len() - self.used < Outbox::ANSWER_OCTETS
    }

    /// Room for an answer: [`Outbox::ANSWER_OCTETS`], less only if it is full.
    pub fn room(&mut self) -> &mut [u8] {
        let end = self.octets.len().min(self.used + Outbox::ANSWER_OCTETS);
        &mut self.octets[self.used..end]
    }

    /// Adds the first `length` octets of [`Outbox::room`] as an answer.
    pub fn push(&mut self, length: usize, to: SocketAddr, from: Local) {
        let length = length.min(self.octets.len() - self.used);
        let at = self.items;
        if at == BATCH {
            return;
        }
        let name_length = write_address(&mut self.kernel.names[at], to);
        let control_length = write_local(&mut self.kernel.control[at], from);
        self.kernel.point(
            at,
            std::ptr::null_mut(),
            length,
            name_length,
            control_length,
        );
        self.starts[at] = (self.used, length);
        self.used += length;
        self.items += 1;
    }

    /// Sends all answers without waiting and forgets them; returns how many the kernel did not take.
    pub fn send(&mut self, socket: impl AsFd) -> usize {
        let base = self.octets.as_mut_ptr();
        for (at, &(start, length)) in self.starts[..self.items].iter().enumerate() {
            // SAFETY: `push` keeps start + length within the octets.
            let octets = unsafe { base.add(start) };
            self.kernel.vectors[at] = libc::iovec {
                iov_base: octets.cast(),
                iov_len: length,
            };
        }
        let (mut sent, mut lost) = (0, 0);
        while sent < self.items {
            // SAFETY: `items` headers, pointed by `push` and above to memory in arrays that this call borrows mutably.
            let count = unsafe {
                libc::sendmmsg(
                    socket.as_fd().as_raw_fd(),
                    self.kernel.headers[sent..].as_mut_ptr(),
                    (self.items - sent) as libc::c_uint,
                    (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
                )
            };
            match usize::try_from(count) {
                Ok(count) if count > 0 => sent += count,
                // Full send buffer: the rest would fail as well. Otherwise one peer cannot be reached: skip it.
                _ if io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock => {
                    lost += self.items - sent;
                    break;
                }
                _ => {
                    sent += 1;
                    lost += 1;
                }
            }
        }
        self.items = 0;
        self.used = 0;
        lost
    }
}

/// Asks the kernel to say for each datagram which address of this machine it was sent to.
pub(crate) fn ask_for_local_address(socket: impl AsFd, ipv6: bool) -> io::Result<()> {
    let (level, option) = if ipv6 {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
    } else {
        (libc::IPPROTO_IP, libc::IP_PKTINFO)
    };
    let on: libc::c_int = 1;
    // SAFETY: the option takes an int, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn address_of(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let storage: *const libc::sockaddr_storage = name;
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: a sockaddr_storage is larger than, and aligned for, the address of the family it names.
            let v4 = unsafe { &*storage.cast::<libc::sockaddr_in>() };
            let address = v4.sin_addr.s_addr.to_ne_bytes().into();
            Some(SocketAddrV4::new(address, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*storage.cast::<libc::sockaddr_in6>() };
            let address = v6.sin6_addr.s6_addr.into();
            Some(
                SocketAddrV6::new(
                    address,
                    u16::from_be(v6.sin6_port),
                    v6.sin6_flowinfo,
                    v6.sin6_scope_id,
                )
                .into(),
            )
        }
        _ => None,
    }
}

fn write_address(name: &mut libc::sockaddr_storage, address: SocketAddr) -> usize {
    let storage: *mut libc::sockaddr_storage = name;
    match address {
        SocketAddr::V4(address) => {
            // SAFETY: as in `address_of`; zeros are a valid sockaddr_in.
            let v4 = unsafe { &mut *storage.cast::<libc::sockaddr_in>() };
            v4.sin_family = libc::AF_INET as libc::sa_family_t;
            v4.sin_port = address.port().to_be();
            v4.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(address) => {
            // SAFETY: as above.
            let v6 = unsafe { &mut *storage.cast::<libc::sockaddr_in6>() };
            v6.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            v6.sin6_port = address.port().to_be();
            v6.sin6_addr.s6_addr = address.ip().octets();
            v6.sin6_flowinfo = address.flowinfo();
            v6.sin6_scope_id = address.scope_id();
            size_of::<libc::sockaddr_in6>()
        }
    }
}

fn local_of(header: &libc::msghdr) -> Local {
    // SAFETY: the kernel filled the control memory of this header and set its length; the macros walk it within that.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while let Some(control) = message.as_ref() {
            match (control.cmsg_level, control.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let mut local: libc::in_pktinfo = libc::CMSG_DATA(message)
                        .cast::<libc::in_pktinfo>()
                        .read_unaligned();
                    // Where to send is the routing table's business, only the source address is wanted.
                    local.ipi_ifindex = 0;
                    return Local::V4(local);
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let mut local = libc::CMSG_DATA(message)
                        .cast::<libc::in6_pktinfo>()
                        .read_unaligned();
                    if local.ipi6_addr.s6_addr[..2] != [0xfe, 0x80] {
                        local.ipi6_ifindex = 0;
                    }
                    return Local::V6(local);
                }
                _ => message = libc::CMSG_NXTHDR(header, message),
            }
        }
    }
    Local::Bound
}

/// Writes the control message that chooses the source address; returns its length, 0 for none.
fn write_local(memory: &mut Control, local: Local) -> usize {
    match local {
        Local::Bound => 0,
        Local::V4(local) => write_control(memory, libc::IPPROTO_IP, libc::IP_PKTINFO, local),
        Local::V6(local) => write_control(memory, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, local),
    }
}

fn write_control<T: Copy>(
    memory: &mut Control,
    level: libc::c_int,
    kind: libc::c_int,
    value: T,
) -> usize {
    const { assert!(size_of::<libc::cmsghdr>() + size_of::<T>() <= CONTROL_OCTETS) };
    let header: *mut Control = memory;
    let header: *mut libc::cmsghdr = header.cast();
    // SAFETY: the memory is aligned for a header, and the assertion above leaves room for it and the value.
    unsafe {
        (*header).cmsg_level = level;
        (*header).cmsg_type = kind;
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<T>() as libc::c_uint) as _;
        libc::CMSG_DATA(header).cast::<T>().write_unaligned(value);
        libc::CMSG_SPACE(size_of::<T>() as libc::c_uint) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::time::Duration;

    /// Waits until a datagram is there, then reads the batch.
    fn receive(inbox: &mut Inbox, socket: &UdpSocket) -> usize {
        socket
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        socket.peek_from(&mut [0; 1]).expect("a datagram comes");
        inbox.receive(socket).unwrap()
    }

    fn echoed(server: &str, client: &str) {
        let server = UdpSocket::bind(server).unwrap();
        let client = UdpSocket::bind(client).unwrap();
        ask_for_local_address(&server, server.local_addr().unwrap().is_ipv6()).unwrap();
        let target = SocketAddr::new(
            client.local_addr().unwrap().ip(),
            server.local_addr().unwrap().port(),
        );
        let (mut inbox, mut outbox) = (Inbox::default(), Outbox::default());
        for number in 0..100_u8 {
            client.send_to(&[number; 300], target).unwrap();
        }
        let mut answered = 0;
        while answered < 100 {
            let count = receive(&mut inbox, &server);
            assert!(count <= BATCH);
            for at in 0..count {
                let (from, local, octets) = inbox.request(at).unwrap();
                assert_eq!(from, client.local_addr().unwrap());
                assert!(
                    !matches!(local, Local::Bound),
                    "the kernel says where it was sent to"
                );
                outbox.room()[..octets.len()].copy_from_slice(octets);
                outbox.push(octets.len(), from, local);
            }
            assert!(inbox.request(count).is_none());
            assert_eq!(outbox.send(&server), 0);
            answered += count;
        }
        client
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        for number in 0..100_u8 {
            let mut answer = [0; 400];
            let (length, from) = client.recv_from(&mut answer).unwrap();
            assert_eq!((&answer[..length], from), (&[number; 300][..], target));
        }
    }

    #[test]
    fn echoes_in_batches_from_the_address_asked() {
        echoed("0.0.0.0:0", "127.0.0.1:0");
        echoed("[::]:0", "[::1]:0");
    }

    #[test]
    fn a_request_that_was_cut_is_dropped() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client
            .send_to(&[1; REQUEST_OCTETS + 1], server.local_addr().unwrap())
            .unwrap();
        client
            .send_to(&[2; REQUEST_OCTETS], server.local_addr().unwrap())
            .unwrap();
        let mut inbox = Inbox::default();
        assert_eq!(receive(&mut inbox, &server), 2);
        assert!(inbox.request(0).is_none());
        assert_eq!(inbox.request(1).unwrap().2, [2; REQUEST_OCTETS]);
    }

    #[test]
    fn full_after_a_batch_and_an_unreachable_peer_costs_only_itself() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut outbox = Outbox::default();
        // An IPv6 destination on an IPv4 socket is an error of that one datagram.
        outbox.push(1, "[::1]:9".parse().unwrap(), Local::Bound);
        for _ in 1..BATCH {
            assert!(!outbox.is_full());
            outbox.push(10, client.local_addr().unwrap(), Local::Bound);
        }
        assert!(outbox.is_full());
        assert_eq!(outbox.send(&server), 1);
        assert!(!outbox.is_full());
        client
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        assert_eq!(client.recv(&mut [0; 100]).unwrap(), 10);
    }

    #[test]
    fn long_answers_fill_it_too() {
        let mut outbox = Outbox::default();
        let mut pushed = 0;
        while !outbox.is_full() {
            assert!(outbox.room().len() >= Outbox::ANSWER_OCTETS);
            outbox.push(
                Outbox::ANSWER_OCTETS,
                "127.0.0.1:9".parse().unwrap(),
                Local::Bound,
            );
            pushed += 1;
        }
        assert_eq!(pushed, 4);
    }
}
