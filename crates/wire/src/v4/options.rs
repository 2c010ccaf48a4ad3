//! Options of a DHCPv4 message: fragments as they lie there, and values put together (RFC 3396).
//!
//! An option longer than 255 octets is sent as several options of the same code; whoever reads it concatenates them in
//! their order (RFC 3396 §7). With option 52 the options go on in the fields `file` and then `sname`. A value is therefore
//! a list of fragments that is only walked, never copied, unless the caller asks for it.

use std::net::Ipv4Addr;

use super::option_code::{END, PAD};
use crate::{Fault, ParseError};

/// The areas of a message that hold options, each without its END: the options field, `file`, `sname`.
pub(super) type Areas<'a> = [&'a [u8]; 3];

/// One option as it lies in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// The option's code.
    pub code: u8,
    /// Its octets: all of the option, or the part of it that fits here.
    pub value: &'a [u8],
}

/// Walks an area up to its END, checks that nothing overruns, and calls `each` for every option. Returns the area
/// without END and what follows it. `base` is the area's offset in the message.
pub(super) fn check_area<'a>(
    area: &'a [u8],
    base: usize,
    each: &mut dyn FnMut(Fragment<'a>),
) -> Result<&'a [u8], ParseError> {
    let mut at = 0;
    while let Some(&code) = area.get(at) {
        match code {
            END => break,
            PAD => at += 1,
            _ => {
                let Some(&length) = area.get(at + 1) else {
                    return Err(ParseError::new(Fault::OptionHeader, base + at));
                };
                let rest = &area[at + 2..];
                let Some(value) = rest.get(..usize::from(length)) else {
                    let fault = Fault::Overrun {
                        code: code.into(),
                        length: length.into(),
                        left: rest.len(),
                    };
                    return Err(ParseError::new(fault, base + at));
                };
                each(Fragment { code, value });
                at += 2 + value.len();
            }
        }
    }
    Ok(&area[..at.min(area.len())])
}

/// Options in the order in which they lie in the message, each fragment for itself.
#[derive(Clone, Debug)]
pub struct Fragments<'a> {
    area: &'a [u8],
    later: [&'a [u8]; 2],
}

impl<'a> Fragments<'a> {
    pub(super) fn new(areas: Areas<'a>) -> Self {
        Self {
            area: areas[0],
            later: [areas[1], areas[2]],
        }
    }
}

impl<'a> Iterator for Fragments<'a> {
    type Item = Fragment<'a>;

    fn next(&mut self) -> Option<Fragment<'a>> {
        loop {
            match *self.area {
                [] if self.later.iter().all(|area| area.is_empty()) => return None,
                [] => {
                    self.area = self.later[0];
                    self.later = [self.later[1], &[]];
                }
                [PAD, ref rest @ ..] => self.area = rest,
                [code, length, ref rest @ ..]
                    if code != END && rest.len() >= usize::from(length) =>
                {
                    let (value, rest) = rest.split_at(length.into());
                    self.area = rest;
                    return Some(Fragment { code, value });
                }
                // The areas were checked, so this ends only what is not an area of a message.
                _ => self.area = &[],
            }
        }
    }
}

/// All options of a message, each code once, at the place where it first appears.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    areas: Areas<'a>,
    fragments: Fragments<'a>,
    seen: [u64; 4],
}

impl<'a> Options<'a> {
    pub(super) fn new(areas: Areas<'a>) -> Self {
        Self {
            areas,
            fragments: Fragments::new(areas),
            seen: [0; 4],
        }
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = (u8, OptionValue<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let code = self.fragments.next()?.code;
            let (word, bit) = (usize::from(code >> 6), 1_u64 << (code & 63));
            if self.seen[word] & bit == 0 {
                self.seen[word] |= bit;
                return Some((code, OptionValue::find(self.areas, code)?));
            }
        }
    }
}

/// The value of an option: its fragments, in order.
#[derive(Clone, Debug)]
pub struct OptionValue<'a> {
    code: u8,
    len: usize,
    first: &'a [u8],
    /// What follows the first fragment; exhausted for nearly every option.
    rest: Fragments<'a>,
}

impl<'a> OptionValue<'a> {
    pub(super) fn find(areas: Areas<'a>, code: u8) -> Option<Self> {
        let mut fragments = Fragments::new(areas);
        let first = fragments.find(|fragment| fragment.code == code)?.value;
        let more: usize = fragments
            .clone()
            .filter(|fragment| fragment.code == code)
            .map(|f| f.value.len())
            .sum();
        let rest = if more == 0 {
            Fragments::new([&[]; 3])
        } else {
            fragments
        };
        Some(Self {
            code,
            len: first.len() + more,
            first,
            rest,
        })
    }

    /// Octets of the whole value.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The value has no octets.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The fragments of the value, in order.
    pub fn fragments(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let code = self.code;
        let rest = self
            .rest
            .clone()
            .filter(move |fragment| fragment.code == code);
        std::iter::once(self.first).chain(rest.map(|fragment| fragment.value))
    }

    /// The octets of the value, one by one.
    #[must_use]
    pub fn bytes(&self) -> OptionBytes<'a> {
        OptionBytes {
            code: self.code,
            fragment: self.first,
            rest: self.rest.clone(),
        }
    }

    /// The value in one piece, if it lies in one fragment (or all others are empty).
    #[must_use]
    pub fn as_slice(&self) -> Option<&'a [u8]> {
        (self.first.len() == self.len).then_some(self.first)
    }

    /// Copies the value to the beginning of a buffer. `None` if it does not fit.
    pub fn copy_to<'b>(&self, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        let target = buffer.get_mut(..self.len)?;
        let mut at = 0;
        for fragment in self.fragments() {
            target[at..at + fragment.len()].copy_from_slice(fragment);
            at += fragment.len();
        }
        Some(target)
    }

    /// The value in one piece: as it lies in the message if it does, else copied to the buffer. `None` if it does not fit
    /// there. For a buffer that lives as long as the message does; the usual way to read an option 82 of any length.
    pub fn contiguous(&self, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
        match self.as_slice() {
            Some(slice) => Some(slice),
            None => self.copy_to(buffer),
        }
    }

    /// The value, if it is one octet.
    #[must_use]
    pub fn to_u8(&self) -> Option<u8> {
        self.to_array::<1>().map(|[octet]| octet)
    }

    /// The value, if it is four octets, as a number.
    #[must_use]
    pub fn to_u32(&self) -> Option<u32> {
        self.to_array().map(u32::from_be_bytes)
    }

    /// The value, if it is four octets, as an address.
    #[must_use]
    pub fn to_ipv4(&self) -> Option<Ipv4Addr> {
        self.to_array::<4>().map(Ipv4Addr::from)
    }

    /// The value, if it is exactly `N` octets.
    #[must_use]
    pub fn to_array<const N: usize>(&self) -> Option<[u8; N]> {
        let mut octets = [0; N];
        (self.len == N).then_some(())?;
        self.copy_to(&mut octets)?;
        Some(octets)
    }

    /// One of the octets is this one: for the parameter request list.
    #[must_use]
    pub fn contains(&self, octet: u8) -> bool {
        self.fragments().any(|fragment| fragment.contains(&octet))
    }
}

impl PartialEq<[u8]> for OptionValue<'_> {
    fn eq(&self, other: &[u8]) -> bool {
        self.len == other.len() && self.bytes().eq(other.iter().copied())
    }
}

impl PartialEq<&[u8]> for OptionValue<'_> {
    fn eq(&self, other: &&[u8]) -> bool {
        *self == **other
    }
}

impl PartialEq for OptionValue<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.bytes().eq(other.bytes())
    }
}

/// The octets of a value, across its fragments.
#[derive(Clone, Debug)]
pub struct OptionBytes<'a> {
    code: u8,
    fragment: &'a [u8],
    rest: Fragments<'a>,
}

impl Iterator for OptionBytes<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        while self.fragment.is_empty() {
            let code = self.code;
            self.fragment = self.rest.find(|fragment| fragment.code == code)?.value;
        }
        let (&octet, rest) = self.fragment.split_first()?;
        self.fragment = rest;
        Some(octet)
    }
}
