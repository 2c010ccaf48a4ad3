//! The words of a declaration.

/// A word, a string or a mark of dhcpd's configuration language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// Anything without spaces, quotes and marks in it: keywords, numbers, addresses, hex with colons.
    Word(&'a [u8]),
    /// What lies between two quotes, escapes as they were written.
    Quoted(&'a [u8]),
    /// `{`
    Open,
    /// `}`
    Close,
    /// `;`
    End,
    /// `,`
    Comma,
}

/// What is wrong with a declaration, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Line, counted from that of the declaration's first word: 0.
    pub(super) line: u64,
    /// What was expected and what came.
    pub(super) reason: String,
}

/// Reads a declaration word by word.
#[derive(Debug)]
pub(super) struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
    line: u64,
}

impl<'a> Tokens<'a> {
    /// The words of `text`.
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            at: 0,
            line: 0,
        }
    }

    /// A fault at the word that was read last.
    pub(super) fn fault(&self, reason: impl Into<String>) -> Fault {
        Fault {
            line: self.line,
            reason: reason.into(),
        }
    }

    /// A fault at the word that was read last: `expected` did not come.
    pub(super) fn expected(&self, expected: &str, found: Option<Token<'_>>) -> Fault {
        let show = |text: &[u8]| String::from_utf8_lossy(&text[..text.len().min(60)]).into_owned();
        let found = match found {
            Some(Token::Word(word)) => show(word),
            Some(Token::Quoted(text)) => format!("\"{}\"", show(text)),
            Some(Token::Open) => "{".into(),
            Some(Token::Close) => "}".into(),
            Some(Token::End) => ";".into(),
            Some(Token::Comma) => ",".into(),
            None => return self.fault(format!("expected {expected}, found nothing more")),
        };
        self.fault(format!("expected {expected}, found {found:?}"))
    }

    /// The next token, or `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Token<'a>>, Fault> {
        loop {
            let Some(octet) = self.text.get(self.at) else {
                return Ok(None);
            };
            self.at += 1;
            let mark = match octet {
                b'\n' => {
                    self.line += 1;
                    continue;
                }
                b'#' => {
                    self.at += self.length(|octet| octet == b'\n');
                    continue;
                }
                b'{' => Token::Open,
                b'}' => Token::Close,
                b';' => Token::End,
                b',' => Token::Comma,
                b'"' => return self.quoted().map(Some),
                _ if octet.is_ascii_whitespace() => continue,
                _ => {
                    let from = self.at - 1;
                    self.at += self.length(|octet| {
                        octet.is_ascii_whitespace()
                            || matches!(octet, b'{' | b'}' | b';' | b',' | b'"' | b'#')
                    });
                    Token::Word(&self.text[from..self.at])
                }
            };
            return Ok(Some(mark));
        }
    }

    fn length(&self, ends: impl Fn(u8) -> bool) -> usize {
        let rest = &self.text[self.at..];
        rest.iter()
            .position(|octet| ends(*octet))
            .unwrap_or(rest.len())
    }

    fn quoted(&mut self) -> Result<Token<'a>, Fault> {
        let from = self.at;
        loop {
            match self.text.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Token::Quoted(&self.text[from..self.at - 1]));
                }
                None | Some(b'\n') => {
                    return Err(self.fault("expected a closing quote before the end of the line"));
                }
                Some(b'\\')
                    if self
                        .text
                        .get(self.at + 1)
                        .is_some_and(|next| *next != b'\n') =>
                {
                    self.at += 2;
                }
                Some(_) => self.at += 1,
            }
        }
    }

    /// The next word.
    pub(super) fn word(&mut self, expected: &str) -> Result<&'a [u8], Fault> {
        match self.next()? {
            Some(Token::Word(word)) => Ok(word),
            other => Err(self.expected(expected, other)),
        }
    }

    /// The next word, read as a number or an address.
    pub(super) fn parse<T: std::str::FromStr>(&mut self, expected: &str) -> Result<T, Fault> {
        let word = self.word(expected)?;
        parse(word).ok_or_else(|| self.expected(expected, Some(Token::Word(word))))
    }

    /// The mark that has to come next.
    pub(super) fn mark(&mut self, mark: Token<'static>, expected: &str) -> Result<(), Fault> {
        match self.next()? {
            Some(found) if found == mark => Ok(()),
            other => Err(self.expected(expected, other)),
        }
    }

    /// The `;` that has to come next.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        self.mark(Token::End, "\";\"")
    }

    /// Octets as a string, or in hex with colons.
    pub(super) fn octets(&mut self, expected: &str) -> Result<Vec<u8>, Fault> {
        let mut out = Vec::new();
        match self.next()? {
            Some(Token::Quoted(text)) => unescape(text, &mut out),
            Some(Token::Word(word)) => {
                crate::hex::decode_colons(word, |octet| out.push(octet))
                    .map_err(|_| self.expected(expected, Some(Token::Word(word))))?;
            }
            other => return Err(self.expected(expected, other)),
        }
        Ok(out)
    }

    /// Passes over the rest of a statement: up to its `;`, or to the end of its block.
    pub(super) fn skip(&mut self) -> Result<(), Fault> {
        let mut depth = 0_usize;
        loop {
            match self.next()? {
                Some(Token::End) if depth == 0 => return Ok(()),
                Some(Token::Open) => depth += 1,
                Some(Token::Close) => {
                    depth = depth
                        .checked_sub(1)
                        .ok_or_else(|| self.expected("\";\"", Some(Token::Close)))?;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                Some(_) => {}
                None => return Err(self.expected("\";\"", None)),
            }
        }
    }
}

/// A number or an address.
pub(super) fn parse<T: std::str::FromStr>(word: &[u8]) -> Option<T> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// Appends what a string says: `\ooo` is an octet in octal, `\xhh` one in hex, `\n`, `\r`, `\t` and `\b` are as in C, and any other
/// character after a backslash is itself.
fn unescape(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len());
    let mut at = 0;
    while let Some(octet) = text.get(at) {
        at += 1;
        if *octet != b'\\' {
            out.push(*octet);
            continue;
        }
        let Some(next) = text.get(at) else { return };
        at += 1;
        match next {
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'b' => out.push(8),
            b'x' => {
                let (value, digits) = number(&text[at..], 16, 2);
                out.push(value);
                at += digits;
            }
            b'0'..=b'7' => {
                let (value, digits) = number(&text[at - 1..], 8, 3);
                out.push(value);
                at += digits - 1;
            }
            other => out.push(*other),
        }
    }
}

/// The octet that up to `most` digits tell, and how many they are. What is more than an octet loses its high bits, as in dhcpd.
fn number(text: &[u8], radix: u32, most: usize) -> (u8, usize) {
    let mut value = 0_u32;
    let mut digits = 0;
    for octet in text.iter().take(most) {
        let Some(digit) = char::from(*octet).to_digit(radix) else {
            break;
        };
        value = value * radix + digit;
        digits += 1;
    }
    (value as u8, digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<Token<'_>> {
        let mut tokens = Tokens::new(text.as_bytes());
        std::iter::from_fn(|| tokens.next().unwrap()).collect()
    }

    #[test]
    fn words_strings_and_marks_are_told_apart() {
        assert_eq!(
            all("set a=\"b \\\" c\"; # x\n 0:4:ff,{}"),
            [
                Token::Word(b"set"),
                Token::Word(b"a="),
                Token::Quoted(b"b \\\" c"),
                Token::End,
                Token::Word(b"0:4:ff"),
                Token::Comma,
                Token::Open,
                Token::Close,
            ]
        );
    }

    #[test]
    fn octets_are_strings_with_escapes_or_hex_with_colons() {
        let octets = |text: &str| Tokens::new(text.as_bytes()).octets("octets").unwrap();
        assert_eq!(
            octets("\"\\001\\\"\\\\\\377a\\018\\x4fz\\n\""),
            b"\x01\"\\\xffa\x018\x4fz\n"
        );
        assert_eq!(octets("0:4:72:FF"), [0, 4, 0x72, 0xff]);
        assert_eq!(octets("\"\""), b"");
    }

    #[test]
    fn faults_are_told_with_their_line() {
        let mut tokens = Tokens::new(b"lease\n\n \"open\n");
        tokens.word("a keyword").unwrap();
        let fault = tokens.next().unwrap_err();
        assert_eq!(fault.line, 2);
        let mut tokens = Tokens::new(b"x\n}");
        assert_eq!(tokens.skip().unwrap_err().line, 1);
        assert_eq!(
            Tokens::new(b";").word("a state").unwrap_err().reason,
            "expected a state, found \";\""
        );
    }
}
