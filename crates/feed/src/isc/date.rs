//! Dates of a lease file: `W Y/M/D H:M:S` in UTC, `epoch N`, or `never`.

use super::token::{Fault, Token, Tokens, parse};

/// A point in time, or none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Date {
    /// Unix seconds; after 1970.
    At(u64),
    /// A lease that does not end.
    Never,
}

impl Date {
    /// Unix seconds as the store has them, if that is a point in time before 2106.
    pub(super) fn seconds(self) -> Option<u32> {
        match self {
            Date::At(seconds) => u32::try_from(seconds).ok(),
            Date::Never => None,
        }
    }
}

/// Reads a date and the `;` behind it.
pub(super) fn date(tokens: &mut Tokens<'_>) -> Result<Date, Fault> {
    const EXPECTED: &str = "a date (\"4 2026/11/19 10:33:11\", \"epoch 1795343685\" or \"never\")";
    let date = match tokens.word(EXPECTED)? {
        b"never" => Date::Never,
        b"epoch" => Date::At(tokens.parse(EXPECTED)?),
        weekday if parse::<u8>(weekday).is_some() => {
            let (day, time) = (tokens.word(EXPECTED)?, tokens.word(EXPECTED)?);
            let seconds = civil(day, time)
                .ok_or_else(|| tokens.expected(EXPECTED, Some(Token::Word(time))))?;
            Date::At(seconds)
        }
        other => return Err(tokens.expected(EXPECTED, Some(Token::Word(other)))),
    };
    tokens.end()?;
    Ok(date)
}

/// Unix seconds of a day `Y/M/D` and a time `H:M:S`.
fn civil(day: &[u8], time: &[u8]) -> Option<u64> {
    let [year, month, day] = three(day, b'/')?;
    let [hour, minute, second] = three(time, b':')?;
    let in_range = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !in_range {
        return None;
    }
    // Days since March 1st of the year 0: the leap day is the last one of such a year.
    let (year, month) = if month < 3 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let since_1970 = days.checked_sub(719_468)?;
    Some(since_1970 * 86_400 + hour * 3_600 + minute * 60 + second)
}

fn three(text: &[u8], separator: u8) -> Option<[u64; 3]> {
    let mut parts = text.split(|octet| *octet == separator);
    let numbers = [
        parse(parts.next()?)?,
        parse(parts.next()?)?,
        parse(parts.next()?)?,
    ];
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Date, Fault> {
        date(&mut Tokens::new(text.as_bytes()))
    }

    #[test]
    fn each_spelling_is_read() {
        assert_eq!(read("0 2026/11/22 10:33:11;"), Ok(Date::At(1_795_343_591)));
        assert_eq!(read("4 1970/01/01 00:00:00;"), Ok(Date::At(0)));
        assert_eq!(read("2 2024/2/29 23:59:59;"), Ok(Date::At(1_709_251_199)));
        assert_eq!(read("5 2024/03/01 00:00:00;"), Ok(Date::At(1_709_251_200)));
        assert_eq!(read("4 2100/02/28 00:00:00;"), Ok(Date::At(4_107_456_000)));
        assert_eq!(
            read("epoch 1795343685; # Sun Nov 22 10:34:45 2026"),
            Ok(Date::At(1_795_343_685))
        );
        assert_eq!(read("never;"), Ok(Date::Never));
    }

    #[test]
    fn what_is_no_date_is_told() {
        for text in [
            "",
            ";",
            "soon;",
            "4 2026/11/19;",
            "4 2026/13/19 00:00:00;",
            "4 2026/00/19 00:00:00;",
            "4 1969/12/31 23:59:59;",
            "4 2026/11/19 24:00:00;",
            "4 2026/11/19/1 00:00:00;",
            "epoch x;",
            "epoch 99999999999999999999;",
            "never",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
