//! Values that the command line puts into a scenario: `KEY=VALUE` with a dotted key.
//!
//! An element of an array is named by its number, counted from 0, or by its `name`: `group.recovering.at-once=10%`.

use leaseq_toml_file::{Step, instead};
use toml::{Table, Value};

/// One value of the command line.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// The option as it was given, for errors: `--set duration=5s`.
    pub option: String,
    /// Dotted key of what it sets.
    pub key: String,
    /// What it is set to.
    pub value: Value,
}

impl Override {
    /// The value of an option that stands for a key of its own.
    pub fn of_option(option: &str, key: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        let told = match &value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Self {
            option: format!("{option} {told}"),
            key: key.to_owned(),
            value,
        }
    }

    /// Reads `KEY=VALUE`; a value that is not TOML is text.
    ///
    /// # Errors
    /// Without a key or `=`, in words.
    pub fn read(text: &str) -> Result<Self, String> {
        let (key, value) = text
            .split_once('=')
            .map(|(key, value)| (key.trim(), value.trim()))
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| {
                format!("expected KEY=VALUE, such as data.relays=500, found {text:?}")
            })?;
        let value = toml::from_str::<Table>(&format!("value = {value}"))
            .ok()
            .filter(|table| table.len() == 1)
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| Value::String(value.to_owned()));
        Ok(Self {
            option: format!("--set {text}"),
            key: key.to_owned(),
            value,
        })
    }

    /// Puts the value into a scenario's table, and says where it is now. Sections on the way are made; elements of arrays are
    /// not.
    ///
    /// # Errors
    /// If there is no such place, in words.
    pub fn apply(&self, scenario: &mut Table) -> Result<Vec<Step>, String> {
        let keys: Vec<&str> = self.key.split('.').collect();
        let Some((last, above)) = keys.split_last() else {
            return Err("expected a key".to_owned());
        };
        if keys.iter().any(|key| key.is_empty()) {
            return Err(format!(
                "expected a key such as data.relays, found {:?}",
                self.key
            ));
        }
        let mut path = Vec::with_capacity(keys.len());
        let mut at = Place::Table(scenario);
        for (depth, key) in above.iter().enumerate() {
            let (step, value) = at.step(key, &keys[..depth])?;
            path.push(step);
            at = match value {
                Value::Table(table) => Place::Table(table),
                Value::Array(array) => Place::Array(array),
                _ => {
                    let above = keys[..=depth].join(".");
                    return Err(format!("`{above}` is a value, and has no `{last}`"));
                }
            };
        }
        match at {
            Place::Table(table) => {
                table.insert((*last).to_owned(), self.value.clone());
                path.push(Step::Key((*last).to_owned()));
            }
            Place::Array(_) => {
                let (step, value) = at.step(last, above)?;
                *value = self.value.clone();
                path.push(step);
            }
        }
        Ok(path)
    }
}

/// Where a key is looked up.
enum Place<'t> {
    Table(&'t mut Table),
    Array(&'t mut Vec<Value>),
}

impl<'t> Place<'t> {
    fn step(self, key: &str, above: &[&str]) -> Result<(Step, &'t mut Value), String> {
        match self {
            Self::Table(table) => {
                // These are arrays: a section in their place would be told in words that nobody understands.
                if above.is_empty() && key == "group" && !table.contains_key(key) {
                    return Err("the scenario has no groups".to_owned());
                }
                let value = table
                    .entry(key)
                    .or_insert_with(|| Value::Table(Table::new()));
                Ok((Step::Key(key.to_owned()), value))
            }
            Self::Array(array) => {
                let index = element(array, key, above)?;
                let count = array.len();
                let value = array.get_mut(index).ok_or_else(|| {
                    let above = above.join(".");
                    format!("`{above}` has {count} elements, counted from 0; found {index}")
                })?;
                Ok((Step::Index(index), value))
            }
        }
    }
}

fn element(array: &[Value], key: &str, above: &[&str]) -> Result<usize, String> {
    if let Ok(index) = key.parse() {
        return Ok(index);
    }
    let name = |value: &Value| value.get("name")?.as_str().map(str::to_owned);
    let names: Vec<String> = array.iter().filter_map(name).collect();
    array
        .iter()
        .position(|value| name(value).as_deref() == Some(key))
        .ok_or_else(|| {
            let known: Vec<&str> = names.iter().map(String::as_str).collect();
            let what = format!("`{}` has no element `{key}`", above.join("."));
            instead(what, key, &known)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> Result<(Vec<Step>, String), String> {
        let mut table =
            "[data]\nrelays = 1\n[[group]]\nname = \"one\"\n[[group]]\nname = \"two\"\n"
                .parse()
                .unwrap();
        let path = Override::read(text)?.apply(&mut table)?;
        Ok((path, table.to_string()))
    }

    #[test]
    fn values_are_toml_or_text() {
        for (text, value) in [
            ("a=5", Value::Integer(5)),
            ("a=1_000", Value::Integer(1_000)),
            ("a = 2.5", Value::Float(2.5)),
            ("a=true", Value::Boolean(true)),
            ("a=[1, 2]", Value::Array(vec![1.into(), 2.into()])),
            ("a=\"5\"", "5".into()),
            ("a=10%", "10%".into()),
            ("a=5s", "5s".into()),
            ("a=127.0.0.1:67", "127.0.0.1:67".into()),
            ("a=b=c", "b=c".into()),
            ("a=", "".into()),
            ("a=1\nb=2", "1\nb=2".into()),
        ] {
            assert_eq!(Override::read(text).unwrap().value, value, "{text}");
        }
        assert!(
            Override::read("a")
                .unwrap_err()
                .starts_with("expected KEY=VALUE")
        );
        assert!(Override::read("=5").is_err());
    }

    #[test]
    fn keys_lead_into_sections_and_elements() {
        let (path, text) = set("data.relays=7").unwrap();
        assert_eq!(path, ["data".into(), "relays".into()]);
        assert!(text.contains("relays = 7"), "{text}");
        let (path, text) = set("group.two.at-once=10%").unwrap();
        assert_eq!(path, ["group".into(), 1.into(), "at-once".into()]);
        assert!(
            text.contains("name = \"two\"\nat-once = \"10%\"")
                || text.contains("at-once = \"10%\"\nname = \"two\""),
            "{text}"
        );
        assert_eq!(
            set("group.0.name=x").unwrap().0,
            ["group".into(), 0.into(), "name".into()]
        );
        let (_, text) = set("server.config.limits.max-connections=7").unwrap();
        assert!(
            text.contains("[server.config.limits]\nmax-connections = 7"),
            "{text}"
        );
    }

    #[test]
    fn a_place_that_is_not_there_is_told() {
        for (text, told) in [
            (
                "group.twoo.rate=5",
                "`group` has no element `twoo`; did you mean `two`?",
            ),
            (
                "group.x.rate=5",
                "`group` has no element `x`; known are one, two",
            ),
            (
                "group.2.rate=5",
                "`group` has 2 elements, counted from 0; found 2",
            ),
            (
                "data.relays.x=5",
                "`data.relays` is a value, and has no `x`",
            ),
            (
                "data..x=5",
                "expected a key such as data.relays, found \"data..x\"",
            ),
        ] {
            assert_eq!(set(text).unwrap_err(), told);
        }
    }
}
