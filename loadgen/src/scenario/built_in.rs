//! The scenarios that the program carries with it.

/// A scenario that needs no file.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn {
    /// What it is called.
    pub name: &'static str,
    /// Its TOML.
    pub text: &'static str,
}

/// All of them.
pub const ALL: [BuiltIn; 9] = [
    of("storm", include_str!("built_in/storm.toml")),
    of("steady", include_str!("built_in/steady.toml")),
    of("following", include_str!("built_in/following.toml")),
    of("everything", include_str!("built_in/everything.toml")),
    of("mixed", include_str!("built_in/mixed.toml")),
    of("limits", include_str!("built_in/limits.toml")),
    of("timeouts", include_str!("built_in/timeouts.toml")),
    of("soak", include_str!("built_in/soak.toml")),
    of("sweep", include_str!("built_in/sweep.toml")),
];

const fn of(name: &'static str, text: &'static str) -> BuiltIn {
    BuiltIn { name, text }
}

/// The one of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static BuiltIn> {
    ALL.iter().find(|built_in| built_in.name == name)
}

/// Their names.
#[must_use]
pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|built_in| built_in.name).collect()
}
