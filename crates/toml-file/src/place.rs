//! Where in a file a key is.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One step of the path to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The value of this key of a table.
    Key(String),
    /// The element of this number of an array, counted from 0.
    Index(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Step::Key(key.to_owned())
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Step::Index(index)
    }
}

/// The span of the value at a path, or of what is nearest above it that is written in the file: an absent key's section.
/// `None`: not even the first step is there, or the text is no TOML.
pub fn span_of(text: &str, path: &[Step]) -> Option<Range<usize>> {
    let file = DeTable::parse(text).ok()?;
    let (Step::Key(first), rest) = path.split_first()? else {
        return None;
    };
    let mut value = member(file.get_ref(), first)?;
    for step in rest {
        let next = match (value.get_ref(), step) {
            (DeValue::Table(table), Step::Key(key)) => member(table, key),
            (DeValue::Array(array), Step::Index(index)) => array.get(*index),
            _ => None,
        };
        let Some(next) = next else { break };
        value = next;
    }
    Some(value.span())
}

fn member<'t, 'i>(table: &'t DeTable<'i>, key: &str) -> Option<&'t Spanned<DeValue<'i>>> {
    table
        .iter()
        .find(|(name, _)| name.get_ref() == key)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a = 1\n[b]\nc = [2, 3]\n[[d]]\ne = 4\n[[d]]\nf = 5\n";

    fn found(path: &[Step]) -> Option<&'static str> {
        span_of(TEXT, path).map(|span| &TEXT[span])
    }

    #[test]
    fn values_are_found_by_their_path() {
        assert_eq!(found(&["a".into()]), Some("1"));
        assert_eq!(found(&["b".into(), "c".into(), 1.into()]), Some("3"));
        assert_eq!(found(&["d".into(), 1.into(), "f".into()]), Some("5"));
    }

    #[test]
    fn an_absent_key_is_where_its_section_is() {
        let section = span_of(TEXT, &["d".into(), 1.into(), "absent".into()]).unwrap();
        assert_eq!(section.start, TEXT.rfind("[[d]]").unwrap());
        assert_eq!(found(&["b".into(), "c".into(), 9.into()]), Some("[2, 3]"));
        assert_eq!(found(&["absent".into()]), None);
        assert_eq!(found(&[]), None);
        assert_eq!(span_of("not toml", &["a".into()]), None);
    }
}
