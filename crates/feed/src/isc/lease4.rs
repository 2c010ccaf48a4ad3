//! `lease A { .. }`: the state of an IPv4 address.

use std::net::Ipv4Addr;

use leaseq_store::{Event4, HwAddr, State, Vpn};
use smallvec::SmallVec;

use super::date::{Date, date};
use super::state::{binding_state, lifetime};
use super::token::{Fault, Token, Tokens, parse};
use crate::hex;

const OPTION_HOST_NAME: u8 = 12;
const OPTION_VENDOR_CLASS: u8 = 60;
/// dhcpd keeps the client's vendor class in this variable of the lease, for its own leasequery replies (`dhcpd.leases(5)`).
const VENDOR_CLASS_VARIABLE: &[u8] = b"vendor-class-identifier";
/// Sub-options of option 82 that dhcpd knows by name; the others it writes as `unknown-N`.
const AGENT_OPTIONS: [(&[u8], u8, Form); 5] = [
    (b"circuit-id", 1, Form::Octets),
    (b"remote-id", 2, Form::Octets),
    (b"agent-id", 3, Form::Address),
    (b"DOCSIS-device-class", 4, Form::Number),
    (b"link-selection", 5, Form::Address),
];
/// Hardware types that dhcpd knows by name; the others it writes as `unknown-N`.
const HARDWARE_TYPES: [(&[u8], u8); 4] = [
    (b"ethernet", 1),
    (b"token-ring", 6),
    (b"fddi", 8),
    (b"infiniband", 32),
];

/// How the value of a sub-option is written.
#[derive(Clone, Copy)]
enum Form {
    Octets,
    Address,
    Number,
}

/// What a declaration has said so far.
#[derive(Default)]
struct Said {
    state: Option<State>,
    starts: Option<Date>,
    ends: Option<Date>,
    cltt: Option<Date>,
    hwaddr: Option<HwAddr>,
    client_id: Option<Vec<u8>>,
    relay_agent_info: Vec<u8>,
    host_name: Option<Vec<u8>>,
    vendor_class: Option<Vec<u8>>,
}

/// The event of a declaration, its keyword taken already.
pub(super) fn lease(tokens: &mut Tokens<'_>, feed: u16) -> Result<Event4, Fault> {
    let address: Ipv4Addr = tokens.parse("an IPv4 address")?;
    tokens.mark(Token::Open, "\"{\"")?;
    let mut said = Said::default();
    let mut after_on = false;
    loop {
        match said.statement(tokens, &mut after_on) {
            Ok(true) => {}
            Ok(false) => return Ok(said.event(address, feed)),
            // dhcpd writes quotes in the statements of `on` without escaping them, and writes `on` last.
            Err(_) if after_on => return Ok(said.event(address, feed)),
            Err(fault) => return Err(fault),
        }
    }
}

impl Said {
    /// Reads a statement; whether there was one.
    fn statement(&mut self, tokens: &mut Tokens<'_>, after_on: &mut bool) -> Result<bool, Fault> {
        let keyword = match tokens.next()? {
            Some(Token::Close) => return Ok(false),
            Some(Token::Word(keyword)) => keyword,
            other => return Err(tokens.expected("a statement or \"}\"", other)),
        };
        match keyword {
            b"starts" => self.starts = Some(date(tokens)?),
            b"ends" => self.ends = Some(date(tokens)?),
            b"cltt" => self.cltt = Some(date(tokens)?),
            b"binding" => self.state = Some(binding_state(tokens)?),
            b"hardware" => self.hwaddr = Some(hardware(tokens)?),
            b"uid" => {
                self.client_id = Some(tokens.octets("a client identifier")?);
                tokens.end()?;
            }
            b"client-hostname" => {
                self.host_name = Some(tokens.octets("a host name in quotes")?);
                tokens.end()?;
            }
            b"option" => self.option(tokens)?,
            b"set" => self.variable(tokens)?,
            _ => {
                *after_on |= keyword == b"on";
                tokens.skip()?;
            }
        }
        Ok(true)
    }

    /// `option agent.NAME VALUE;`, in the order in which the relay agent had sent them.
    fn option(&mut self, tokens: &mut Tokens<'_>) -> Result<(), Fault> {
        let option = tokens.word("the name of an option")?;
        let Some(name) = option.strip_prefix(b"agent.") else {
            return tokens.skip();
        };
        let known = AGENT_OPTIONS.iter().find(|(known, ..)| *known == name);
        let (code, form) = match known {
            Some((_, code, form)) => (*code, *form),
            None => match name.strip_prefix(b"unknown-").and_then(parse) {
                Some(code) => (code, Form::Octets),
                None => return tokens.skip(),
            },
        };
        let value = match form {
            Form::Octets => tokens.octets("a string, or hex with colons")?,
            Form::Address => tokens
                .parse::<Ipv4Addr>("an IPv4 address")?
                .octets()
                .to_vec(),
            Form::Number => tokens.parse::<u32>("a number")?.to_be_bytes().to_vec(),
        };
        let length = u8::try_from(value.len()).map_err(|_| {
            tokens.fault(format!(
                "expected a relay agent's option of at most 255 octets, found {}",
                value.len()
            ))
        })?;
        self.relay_agent_info.extend_from_slice(&[code, length]);
        self.relay_agent_info.extend_from_slice(&value);
        tokens.end()
    }

    /// `set NAME = VALUE;`
    fn variable(&mut self, tokens: &mut Tokens<'_>) -> Result<(), Fault> {
        if tokens.word("the name of a variable")? != VENDOR_CLASS_VARIABLE {
            return tokens.skip();
        }
        match tokens.word("\"=\"")? {
            b"=" => {}
            other => return Err(tokens.expected("\"=\"", Some(Token::Word(other)))),
        }
        self.vendor_class = Some(tokens.octets("a string")?);
        tokens.end()
    }

    fn event(self, address: Ipv4Addr, feed: u16) -> Event4 {
        // Without a state it is a lease of an old dhcpd: in use until it ends.
        let state = self.state.unwrap_or(State::Active);
        let cltt = self.cltt.or(self.starts).and_then(Date::seconds);
        let options = [
            (OPTION_HOST_NAME, self.host_name),
            (OPTION_VENDOR_CLASS, self.vendor_class),
        ];
        let options: Vec<(u8, Vec<u8>)> = options
            .into_iter()
            .filter_map(|(code, value)| Some((code, value.filter(|value| !value.is_empty())?)))
            .collect();
        Event4 {
            vpn: Vpn::GLOBAL,
            address,
            state,
            hwaddr: self.hwaddr.filter(|hwaddr| !hwaddr.octets.is_empty()),
            client_id: self.client_id.filter(|id| !id.is_empty()),
            cltt,
            // A lease that has ended did so at its end, to which dhcpd sets the time of a release too.
            state_since: self.ends.filter(|_| state.is_end()).and_then(Date::seconds),
            lease_time: lifetime(state, cltt, self.ends),
            t1: None,
            t2: None,
            relay_agent_info: (!self.relay_agent_info.is_empty()).then_some(self.relay_agent_info),
            options: (!options.is_empty()).then_some(options),
            remote: false,
            feed,
        }
    }
}

/// `hardware TYPE ADDRESS;`
fn hardware(tokens: &mut Tokens<'_>) -> Result<HwAddr, Fault> {
    let name = tokens.word("a hardware type")?;
    let known = HARDWARE_TYPES.iter().find(|(known, _)| *known == name);
    let htype = known
        .map(|(_, htype)| *htype)
        .or_else(|| name.strip_prefix(b"unknown-").and_then(parse))
        .ok_or_else(|| tokens.expected("a hardware type", Some(Token::Word(name))))?;
    let mut octets = SmallVec::new();
    match tokens.next()? {
        // An address of no octets is written as nothing.
        Some(Token::End) => return Ok(HwAddr { htype, octets }),
        Some(Token::Word(word)) => hex::decode_colons(word, |octet| octets.push(octet))
            .map_err(|error| tokens.fault(format!("hardware address: {error}")))?,
        other => return Err(tokens.expected("a hardware address", other)),
    }
    tokens.end()?;
    Ok(HwAddr { htype, octets })
}
