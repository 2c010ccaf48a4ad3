//! Which options a query wants of each client, decided once a query: what its ORO asks for, less what this server withholds.

/// Codes beyond this number of distinct ones above 255 are not looked for. The registry has none above 255 that a client
/// would be given.
const MAX_HIGH_CODES: usize = 32;

/// Options that the encoding of a client places itself, or that are no property of a client: never copied from its binding,
/// whoever asks for them. CLIENTID, SERVERID, IA_NA, IA_TA, IAADDR, ORO, RELAY_MSG, AUTH (it may hold a key, RFC 8415
/// §21.11), STATUS_CODE, IA_PD, IAPREFIX, the options of RFC 5007, VSS and the times of RFC 7653.
const NEVER_COPIED: [u16; 20] = [
    1, 2, 3, 4, 5, 6, 9, 11, 13, 25, 26, 44, 45, 46, 47, 48, 68, 100, 101, 102,
];

/// A set of option codes, without allocation.
#[derive(Clone, Debug, Default)]
pub(super) struct OptionSet {
    low: [u64; 4],
    high: [u16; MAX_HIGH_CODES],
    high_len: u8,
}

impl OptionSet {
    pub(super) fn insert(&mut self, code: u16) {
        match low_bit(code) {
            Some((word, bit)) => self.low[word] |= bit,
            None => {
                let used = usize::from(self.high_len);
                if used < MAX_HIGH_CODES && !self.high[..used].contains(&code) {
                    self.high[used] = code;
                    self.high_len += 1;
                }
            }
        }
    }

    fn remove(&mut self, code: u16) {
        match low_bit(code) {
            Some((word, bit)) => self.low[word] &= !bit,
            None => {
                let used = usize::from(self.high_len);
                if let Some(at) = self.high[..used].iter().position(|&held| held == code) {
                    self.high[at] = self.high[used - 1];
                    self.high_len -= 1;
                }
            }
        }
    }

    /// Removes every code of the other set.
    pub(super) fn remove_all(&mut self, other: &Self) {
        for (word, gone) in self.low.iter_mut().zip(other.low) {
            *word &= !gone;
        }
        for &code in &other.high[..usize::from(other.high_len)] {
            self.remove(code);
        }
    }

    /// Whether the code is in the set.
    #[inline]
    pub(super) fn contains(&self, code: u16) -> bool {
        match low_bit(code) {
            Some((word, bit)) => self.low[word] & bit != 0,
            None => self.high[..usize::from(self.high_len)].contains(&code),
        }
    }

    /// Appends octets that are equal for equal sets.
    fn identify(&self, octets: &mut Vec<u8>) {
        octets.extend(self.low.iter().flat_map(|word| word.to_be_bytes()));
        let mut high = self.high;
        let high = &mut high[..usize::from(self.high_len)];
        high.sort_unstable();
        octets.push(self.high_len);
        octets.extend(high.iter().flat_map(|code| code.to_be_bytes()));
    }

    /// No code is in the set.
    pub(super) fn is_empty(&self) -> bool {
        self.high_len == 0 && self.low == [0; 4]
    }
}

#[inline]
fn low_bit(code: u16) -> Option<(usize, u64)> {
    (code < 256).then(|| (usize::from(code / 64), 1 << (code % 64)))
}

/// What a query wants to be told of each client beyond what every answer holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// OPTION_LQ_RELAY_DATA (RFC 5007 §4.1.2.4: only if asked for).
    pub(super) relay_data: bool,
    /// Other options of the client, copied from its binding.
    pub(super) options: OptionSet,
}

impl Wanted {
    /// Takes the codes of the ORO in the query option and takes away what the server withholds (the "sensitive options" of
    /// RFC 5007 §4.4.2).
    pub(super) fn new(asked: impl Iterator<Item = u16>, withheld: &[u16]) -> Self {
        let mut relay_data = false;
        let mut options = OptionSet::default();
        for code in asked {
            if code == leaseq_wire::v6::option_code::LQ_RELAY_DATA {
                relay_data = true;
            } else if !NEVER_COPIED.contains(&code) {
                options.insert(code);
            }
        }
        for &code in withheld {
            options.remove(code);
        }
        relay_data &= !withheld.contains(&leaseq_wire::v6::option_code::LQ_RELAY_DATA);
        Self {
            relay_data,
            options,
        }
    }

    /// Appends octets that are equal for equal wants.
    pub(super) fn identify(&self, octets: &mut Vec<u8>) {
        octets.push(u8::from(self.relay_data));
        self.options.identify(octets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asked_less_withheld() {
        let wanted = Wanted::new([23, 24, 47, 1000, 1001, 23].into_iter(), &[24, 1001, 7]);
        assert!(wanted.relay_data);
        for (code, expected) in [
            (23, true),
            (24, false),
            (47, false),
            (1000, true),
            (1001, false),
            (7, false),
        ] {
            assert_eq!(wanted.options.contains(code), expected, "option {code}");
        }
        assert!(!Wanted::new([47].into_iter(), &[47]).relay_data);
    }

    #[test]
    fn what_the_encoding_places_itself_is_never_copied() {
        assert!(
            Wanted::new(NEVER_COPIED.into_iter(), &[])
                .options
                .is_empty()
        );
    }

    #[test]
    fn endless_requests_stay_bounded() {
        let wanted = Wanted::new(0..=u16::MAX, &[]);
        assert!(wanted.options.contains(255));
        assert!(wanted.options.contains(256));
        assert!(!wanted.options.contains(u16::MAX));
        assert!(Wanted::new(std::iter::empty(), &[]).options.is_empty());
    }
}
