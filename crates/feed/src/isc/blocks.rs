//! The input cut into declarations: statements up to their `;`, and blocks up to their closing brace.
//!
//! dhcpd begins each declaration on a line of its own and indents what is inside. So a line that begins with the keyword of a
//! declaration begins one, whatever is open before it: a declaration that was cut short by a crash or a full disk takes
//! nothing with it. Strings end with their line at the latest, for dhcpd escapes line ends in them.

use crate::lines::{Line, MAX_LINE};

/// The longest declaration taken, in octets. That of a client with 1,000 delegated prefixes has about 200,000.
pub(super) const MAX_DECLARATION: usize = 256 * 1024;

/// Words that begin a declaration of a lease file.
pub(super) const KEYWORDS: [&[u8]; 15] = [
    b"lease",
    b"ia-na",
    b"ia_na",
    b"ia-ta",
    b"ia_ta",
    b"ia-pd",
    b"ia_pd",
    b"authoring-byte-order",
    b"server-duid",
    b"failover",
    b"host",
    b"group",
    b"subgroup",
    b"class",
    b"subclass",
];

/// What lies in the input next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A whole declaration.
    Declaration {
        /// Line on which it begins, counted from 1.
        line: u64,
        /// Its text up to `;` or the closing brace, comments included.
        text: &'a [u8],
    },
    /// Something that is no declaration, skipped.
    Broken {
        /// Line on which it begins.
        line: u64,
        /// What was expected and what came.
        reason: String,
    },
}

/// Puts lines together to declarations.
#[derive(Default)]
pub(super) struct Blocks {
    /// The line at hand, with its line end.
    line: Vec<u8>,
    /// Its number, from 1.
    number: u64,
    /// How much of it was taken.
    at: usize,
    /// Whether it was too long to be kept.
    too_long: bool,
    text: Vec<u8>,
    open: Option<Open>,
}

/// A declaration that has begun.
struct Open {
    line: u64,
    depth: usize,
    fault: Option<String>,
}

/// What a scan of the rest of a line has found.
enum Scanned {
    Nothing,
    End,
    Stray,
}

impl Blocks {
    /// Takes the next line. To be called when [`Blocks::next_piece`] has nothing more.
    pub(super) fn take(&mut self, line: &Line<'_>) {
        self.number += 1;
        self.at = 0;
        self.line.clear();
        self.too_long = *line == Line::TooLong;
        if let Line::Whole(text) | Line::Unterminated(text) = line {
            self.line.extend_from_slice(text);
            self.line.push(b'\n');
        }
    }

    /// Begins anew behind this many lines.
    pub(super) fn begin(&mut self, lines: u64) {
        *self = Blocks {
            number: lines,
            ..Blocks::default()
        };
    }

    /// The line on which a declaration begins that has not ended yet.
    pub(super) fn unfinished(&self) -> Option<u64> {
        self.open.as_ref().map(|open| open.line)
    }

    /// The next declaration that ends in the line at hand.
    pub(super) fn next_piece(&mut self) -> Option<Piece<'_>> {
        if std::mem::take(&mut self.too_long) {
            return self.refuse_line();
        }
        if self.at == 0 && begins_declaration(&self.line) && self.open.is_some() {
            return self.cut_short();
        }
        while self.at < self.line.len() {
            if self.open.is_none() && !self.begins() {
                return None;
            }
            let found = self.scan();
            if matches!(found, Scanned::Nothing) {
                continue;
            }
            let Open { line, fault, .. } = self.open.take()?;
            let stray = || "expected a declaration, found a closing brace without one".into();
            let fault = fault.or_else(|| matches!(found, Scanned::Stray).then(stray));
            return Some(match fault {
                Some(reason) => Piece::Broken { line, reason },
                None => Piece::Declaration {
                    line,
                    text: &self.text,
                },
            });
        }
        None
    }

    fn refuse_line(&mut self) -> Option<Piece<'static>> {
        let reason = format!("expected a line of at most {MAX_LINE} octets");
        match &mut self.open {
            Some(open) => {
                open.fault.get_or_insert(reason);
                None
            }
            None => Some(Piece::Broken {
                line: self.number,
                reason,
            }),
        }
    }

    fn cut_short(&mut self) -> Option<Piece<'static>> {
        let Open { line, fault, .. } = self.open.take()?;
        let reason = fault.unwrap_or_else(|| {
            format!(
                "expected its end, found the next declaration on line {}",
                self.number
            )
        });
        Some(Piece::Broken { line, reason })
    }

    /// Passes over what may lie between declarations; whether one begins in this line.
    fn begins(&mut self) -> bool {
        while let Some(octet) = self.line.get(self.at) {
            match octet {
                b'#' => self.at = self.line.len(),
                // What is left of a declaration that was told to be broken.
                b'}' | b';' => self.at += 1,
                _ if octet.is_ascii_whitespace() => self.at += 1,
                _ => {
                    self.text.clear();
                    self.open = Some(Open {
                        line: self.number,
                        depth: 0,
                        fault: None,
                    });
                    return true;
                }
            }
        }
        false
    }

    /// Goes on in the declaration at hand, up to its end or that of the line.
    fn scan(&mut self) -> Scanned {
        let Some(open) = &mut self.open else {
            return Scanned::Nothing;
        };
        let rest = &self.line[self.at..];
        let mut found = Scanned::Nothing;
        let mut taken = 0;
        while let Some(octet) = rest.get(taken) {
            taken += 1;
            match octet {
                b'"' => taken += string_length(&rest[taken..]),
                b'#' => taken = rest.len(),
                b'{' => open.depth += 1,
                b'}' if open.depth == 0 => {
                    found = Scanned::Stray;
                    break;
                }
                b'}' => {
                    open.depth -= 1;
                    if open.depth == 0 {
                        found = Scanned::End;
                        break;
                    }
                }
                b';' if open.depth == 0 => {
                    found = Scanned::End;
                    break;
                }
                _ => {}
            }
        }
        if self.text.len() + taken > MAX_DECLARATION {
            open.fault.get_or_insert_with(|| {
                format!("expected a declaration of at most {MAX_DECLARATION} octets")
            });
        }
        if open.fault.is_none() {
            self.text.extend_from_slice(&rest[..taken]);
        }
        self.at += taken;
        found
    }
}

/// Octets of a string that has begun, up to its closing quote or the end of its line.
fn string_length(rest: &[u8]) -> usize {
    let mut escaped = false;
    for (at, octet) in rest.iter().enumerate() {
        match octet {
            b'\n' => return at,
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Whether a line begins with the keyword of a declaration.
pub(super) fn begins_declaration(line: &[u8]) -> bool {
    let length = line
        .iter()
        .position(|octet| octet.is_ascii_whitespace())
        .unwrap_or(0);
    KEYWORDS.contains(&&line[..length])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::Lines;

    /// Line and text of each declaration, or `!` and the reason; `...` for one without an end.
    fn pieces(text: &str) -> Vec<String> {
        let mut blocks = Blocks::default();
        let mut lines = Lines::new(text.as_bytes(), 1_000);
        let mut out = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            blocks.take(&line);
            while let Some(piece) = blocks.next_piece() {
                out.push(match piece {
                    Piece::Declaration { line, text } => {
                        format!("{line}:{}", String::from_utf8_lossy(text))
                    }
                    Piece::Broken { line, reason } => format!("{line}!{reason}"),
                });
            }
        }
        out.extend(blocks.unfinished().map(|line| format!("{line}...")));
        out
    }

    #[test]
    fn declarations_are_told_apart_by_braces_and_semicolons() {
        let text = "# comment {\nauthoring-byte-order little-endian;\n\nlease 192.0.2.1 {\n  uid \"}\\\"\"; # }\n  on x { y; }\n}\n\
                    failover peer \"x\" state { my state normal at never; } lease 192.0.2.2 {}\n";
        assert_eq!(
            pieces(text),
            [
                "2:authoring-byte-order little-endian;",
                "4:lease 192.0.2.1 {\n  uid \"}\\\"\"; # }\n  on x { y; }\n}",
                "8:failover peer \"x\" state { my state normal at never; }",
                "8:lease 192.0.2.2 {}",
            ]
        );
    }

    #[test]
    fn a_declaration_that_was_cut_short_ends_where_the_next_one_begins() {
        let text = "lease 192.0.2.1 {\n  starts 4 20\nlease 192.0.2.2 {\n}\nrubbish\nia-na \"x\" {\n  iaaddr";
        assert_eq!(
            pieces(text),
            [
                "1!expected its end, found the next declaration on line 3",
                "3:lease 192.0.2.2 {\n}",
                "5!expected its end, found the next declaration on line 6",
                "6...",
            ]
        );
    }

    #[test]
    fn what_is_left_of_a_declaration_is_passed_over() {
        assert_eq!(
            pieces("}\n;\nlease {}\n}\n} lease {}\nx }\nlease {}\n"),
            [
                "3:lease {}",
                "5:lease {}",
                "6!expected a declaration, found a closing brace without one",
                "7:lease {}",
            ]
        );
    }

    #[test]
    fn an_endless_declaration_takes_bounded_memory_and_the_next_one_is_whole() {
        let mut text = "lease 192.0.2.1 {\n".to_owned();
        text.push_str(&"  set x = \"y\";\n".repeat(2 * MAX_DECLARATION / 15));
        text.push_str("}\nlease 192.0.2.2 {}\n");
        let told = pieces(&text);
        assert_eq!(told[0], "1!expected a declaration of at most 262144 octets");
        assert_eq!(
            told[1..],
            [format!("{}:lease 192.0.2.2 {{}}", text.lines().count())]
        );
        let mut blocks = Blocks::default();
        for line in text.lines() {
            blocks.take(&Line::Whole(line.as_bytes()));
            let _ = blocks.next_piece();
            assert!(blocks.text.capacity() <= 2 * MAX_DECLARATION);
        }
        let line = format!("lease {{\n{}\n}}\nlease {{}}\n", "x".repeat(2 * MAX_LINE));
        let told = pieces(&line);
        assert_eq!(told[0], "1!expected a line of at most 262144 octets");
        assert_eq!(told[1..], ["4:lease {}"]);
    }
}
