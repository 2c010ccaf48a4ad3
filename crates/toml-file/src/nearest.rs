//! What somebody may have meant.

/// How alike two names must be for one to be offered in place of the other (Jaro-Winkler).
const LEAST_LIKENESS: f64 = 0.75;

/// The known name that is most like an unknown one, if any is like it at all.
pub fn nearest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|name| (strsim::jaro_winkler(unknown, name), *name))
        .filter(|(likeness, _)| *likeness >= LEAST_LIKENESS)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_alike_is_offered() {
        let known = ["relays", "rounds", "rate"];
        assert_eq!(nearest("relay", &known), Some("relays"));
        assert_eq!(nearest("rat", &known), Some("rate"));
        assert_eq!(nearest("frobnicate", &known), None);
        assert_eq!(nearest("rate", &[]), None);
    }
}
