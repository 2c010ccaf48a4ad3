//! The commands that Kea's HA hook sends to a backup.

use serde_json::{Map, Value};

use crate::kea::Family;
use crate::rejection::json_reason;

/// A command, and the family of the server that sent it if that is told.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    pub(super) family: Option<Family>,
    pub(super) command: Command,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Command {
    /// `lease4-update`, `lease4-add` and the same of v6: a lease as it is now.
    Update(Family, Value),
    /// `lease4-del`, `lease6-del`: a lease that was given back.
    Delete(Family, Value),
    /// `lease6-bulk-apply`: leases that were given back, and leases as they are now.
    BulkApply {
        deleted: Vec<Value>,
        leases: Vec<Value>,
    },
    /// `ha-heartbeat`: what state are you in?
    Heartbeat,
    /// `status-get`.
    Status,
    /// `version-get`.
    Version,
    /// `list-commands`.
    List,
    /// A command that concerns a server that serves clients itself; a backup has nothing to do for it.
    Notice(&'static str),
    /// Any other.
    Unknown(String),
}

/// Commands that are taken note of, and what is answered.
const NOTICES: [(&str, &str); 5] = [
    ("dhcp-disable", "a backup serves no clients"),
    ("dhcp-enable", "a backup serves no clients"),
    ("ha-maintenance-notify", "a backup is not concerned"),
    ("ha-sync-complete-notify", "a backup is not concerned"),
    ("ha-reset", "a backup has no state to be reset"),
];

/// Leases in each list of a bulk: more than fit into the packet of a client.
const MOST_LEASES: usize = 4_096;

/// All commands that are understood, in order of their names.
pub(super) const NAMES: [&str; 16] = [
    "dhcp-disable",
    "dhcp-enable",
    "ha-heartbeat",
    "ha-maintenance-notify",
    "ha-reset",
    "ha-sync-complete-notify",
    "lease4-add",
    "lease4-del",
    "lease4-update",
    "lease6-add",
    "lease6-bulk-apply",
    "lease6-del",
    "lease6-update",
    "list-commands",
    "status-get",
    "version-get",
];

/// Why a body is no command.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoCommand {
    /// It is not JSON.
    #[error("expected a command in JSON: {0}")]
    Json(String),
    /// It is, but not a command.
    #[error("{0}")]
    Malformed(String),
}

/// Reads the body of a request.
pub(super) fn parse(body: &[u8]) -> Result<Request, NoCommand> {
    let body: Value =
        serde_json::from_slice(body).map_err(|error| NoCommand::Json(json_reason(&error)))?;
    let malformed = |text: &str| NoCommand::Malformed(text.to_owned());
    let Value::Object(mut body) = body else {
        return Err(malformed("expected a command as an object"));
    };
    let Some(Value::String(name)) = body.remove("command") else {
        return Err(malformed("expected a text \"command\" in the object"));
    };
    let arguments = body.remove("arguments");
    let command = match name.as_str() {
        "lease4-update" | "lease4-add" => Command::Update(Family::V4, lease(&name, arguments)?),
        "lease6-update" | "lease6-add" => Command::Update(Family::V6, lease(&name, arguments)?),
        "lease4-del" => Command::Delete(Family::V4, lease(&name, arguments)?),
        "lease6-del" => Command::Delete(Family::V6, lease(&name, arguments)?),
        "lease6-bulk-apply" => {
            let Some(Value::Object(mut arguments)) = arguments else {
                return Err(malformed("lease6-bulk-apply: expected arguments"));
            };
            Command::BulkApply {
                deleted: list(&mut arguments, "deleted-leases")?,
                leases: list(&mut arguments, "leases")?,
            }
        }
        "ha-heartbeat" => Command::Heartbeat,
        "status-get" => Command::Status,
        "version-get" => Command::Version,
        "list-commands" => Command::List,
        other => match NOTICES.iter().find(|(name, _)| *name == other) {
            Some((_, text)) => Command::Notice(text),
            None => Command::Unknown(name),
        },
    };
    let family = match &command {
        Command::Update(family, _) | Command::Delete(family, _) => Some(*family),
        Command::BulkApply { .. } => Some(Family::V6),
        _ => service(&body),
    };
    Ok(Request { family, command })
}

fn lease(name: &str, arguments: Option<Value>) -> Result<Value, NoCommand> {
    arguments.ok_or_else(|| NoCommand::Malformed(format!("{name}: expected a lease as arguments")))
}

fn list(arguments: &mut Map<String, Value>, key: &str) -> Result<Vec<Value>, NoCommand> {
    match arguments.remove(key) {
        None => Ok(Vec::new()),
        Some(Value::Array(leases)) if leases.len() > MOST_LEASES => {
            let found = leases.len();
            Err(NoCommand::Malformed(format!(
                "{key}: expected at most {MOST_LEASES} leases, found {found}"
            )))
        }
        Some(Value::Array(leases)) => Ok(leases),
        Some(_) => Err(NoCommand::Malformed(format!(
            "{key}: expected a list of leases"
        ))),
    }
}

/// The family of the server that a command names as its `service`.
fn service(body: &Map<String, Value>) -> Option<Family> {
    let service = match body.get("service")? {
        Value::Array(services) => services.first()?.as_str()?,
        service => service.as_str()?,
    };
    match service {
        "dhcp4" => Some(Family::V4),
        "dhcp6" => Some(Family::V6),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: Value) -> Request {
        parse(body.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn commands_are_told_apart_with_their_family() {
        let lease = json!({"ip-address": "198.51.100.10"});
        for (name, family) in [("lease4-update", Family::V4), ("lease6-add", Family::V6)] {
            let request = read(json!({"command": name, "arguments": lease}));
            assert_eq!(request.family, Some(family));
            assert_eq!(request.command, Command::Update(family, lease.clone()));
        }
        let request = read(json!({"command": "lease6-del", "arguments": lease}));
        assert_eq!(request.command, Command::Delete(Family::V6, lease.clone()));
        let request =
            read(json!({"command": "lease6-bulk-apply", "arguments": {"leases": [lease]}}));
        assert_eq!(
            request.command,
            Command::BulkApply {
                deleted: vec![],
                leases: vec![lease]
            }
        );
        let request = read(json!({"command": "ha-heartbeat", "service": ["dhcp6"]}));
        assert_eq!(
            (request.family, request.command),
            (Some(Family::V6), Command::Heartbeat)
        );
        let request = read(json!({"command": "lease4-wipe"}));
        assert_eq!(
            (request.family, request.command),
            (None, Command::Unknown("lease4-wipe".into()))
        );
    }

    #[test]
    fn each_listed_command_is_understood() {
        assert!(NAMES.is_sorted());
        for name in NAMES {
            let request = read(json!({"command": name, "arguments": {}}));
            assert!(!matches!(request.command, Command::Unknown(_)), "{name}");
        }
    }

    #[test]
    fn what_is_no_command_is_told() {
        let told = |body: &str| parse(body.as_bytes()).unwrap_err().to_string();
        assert!(told("{").starts_with("expected a command in JSON: EOF"));
        assert_eq!(told("5"), "expected a command as an object");
        assert_eq!(
            told("{\"x\":1}"),
            "expected a text \"command\" in the object"
        );
        assert_eq!(
            told("{\"command\":\"lease4-del\"}"),
            "lease4-del: expected a lease as arguments"
        );
        assert_eq!(
            told("{\"command\":\"lease6-bulk-apply\",\"arguments\":{\"leases\":5}}"),
            "leases: expected a list of leases"
        );
    }
}
