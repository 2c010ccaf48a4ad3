//! A client of a few lines.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// An answer.
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header, as it came.
    pub head: String,
    /// What follows it.
    pub body: String,
}

impl Answer {
    /// The value of a field of the header.
    pub fn field(&self, name: &str) -> &str {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map_or_else(|| panic!("no {name} in {}", self.head), |(_, value)| value)
    }
}

/// Asks for a path, and accepts this type.
pub fn get_as(address: SocketAddr, path: &str, accept: &str) -> Answer {
    let mut stream = TcpStream::connect(address).expect("the admin HTTP");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: leaseq\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("a reader");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a header");
    let status = head.split_whitespace().nth(1).expect("a status");
    Answer {
        status: status.parse().expect("a number"),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// Asks for a path.
pub fn get(address: SocketAddr, path: &str) -> Answer {
    get_as(address, path, "*/*")
}
