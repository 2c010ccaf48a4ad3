//! Answers to commands, as Kea gives them: a list of one object with a result, a text, and arguments if there are any.

use serde_json::{Value, json};

/// What came of a command.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    result: u8,
    text: String,
    arguments: Option<Value>,
}

/// It was done.
const SUCCESS: u8 = 0;
/// It could not be done.
const ERROR: u8 = 1;
/// The command is not known.
const UNSUPPORTED: u8 = 2;
/// It was understood, but there was nothing to do or to tell.
pub(super) const EMPTY: u8 = 3;

impl Answer {
    pub(super) fn success(text: impl Into<String>) -> Answer {
        Answer {
            result: SUCCESS,
            text: text.into(),
            arguments: None,
        }
    }

    pub(super) fn error(text: impl Into<String>) -> Answer {
        Answer {
            result: ERROR,
            text: text.into(),
            arguments: None,
        }
    }

    pub(super) fn unsupported(command: &str) -> Answer {
        Answer {
            result: UNSUPPORTED,
            text: format!("'{command}' command not supported."),
            arguments: None,
        }
    }

    pub(super) fn empty(text: impl Into<String>) -> Answer {
        Answer {
            result: EMPTY,
            text: text.into(),
            arguments: None,
        }
    }

    pub(super) fn with(mut self, arguments: Value) -> Answer {
        self.arguments = Some(arguments);
        self
    }

    /// The body of the HTTP response.
    pub(super) fn json(&self) -> String {
        let mut answer = json!({"result": self.result, "text": self.text});
        if let Some(arguments) = &self.arguments {
            answer["arguments"] = arguments.clone();
        }
        Value::Array(vec![answer]).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_list_of_one_object() {
        let answer = Answer::success("IPv4 lease updated.");
        assert_eq!(
            answer.json(),
            r#"[{"result":0,"text":"IPv4 lease updated."}]"#
        );
        let told: Value =
            serde_json::from_str(&Answer::empty("none").with(json!({"count": 0})).json()).unwrap();
        assert_eq!(
            told,
            json!([{"result": 3, "text": "none", "arguments": {"count": 0}}])
        );
        assert!(Answer::unsupported("foo").json().contains("\"result\":2"));
    }
}
