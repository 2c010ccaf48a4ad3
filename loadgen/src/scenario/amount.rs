//! How many, how often, how far back: values with a form of their own.

use serde::{Deserialize, Serialize};

use super::Span;

/// A number, or a share of what there is: `100`, `"10%"`, `"all"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "written_amount::Written", into = "written_amount::Written")]
pub enum Amount {
    /// All there are.
    #[default]
    All,
    /// So many, at most all.
    Number(u32),
    /// So many of a hundred, at least one.
    Percent(f64),
}

impl Amount {
    /// How many of so many.
    #[must_use]
    pub fn of(self, all: u32) -> u32 {
        match self {
            Self::All => all,
            Self::Number(number) => number.min(all),
            Self::Percent(percent) => {
                ((f64::from(all) * percent / 100.0).round() as u32).clamp(1.min(all), all)
            }
        }
    }
}

mod written_amount {
    use serde::{Deserialize, Serialize};

    use super::Amount;

    #[derive(Serialize, Deserialize)]
    #[serde(
        untagged,
        expecting = "expected a number from 0 on, a share such as \"10%\", or \"all\""
    )]
    pub enum Written {
        Number(u32),
        Text(String),
    }

    impl TryFrom<Written> for Amount {
        type Error = String;

        fn try_from(written: Written) -> Result<Self, String> {
            match written {
                Written::Number(number) => Ok(Self::Number(number)),
                Written::Text(text) if text == "all" => Ok(Self::All),
                Written::Text(text) => text
                    .strip_suffix('%')
                    .and_then(|percent| percent.parse().ok())
                    .filter(|percent| (0.0..=100.0).contains(percent))
                    .map(Self::Percent)
                    .ok_or_else(|| {
                        format!(
                            "expected a number, a share such as \"10%\", or \"all\", found {text:?}"
                        )
                    }),
            }
        }
    }

    impl From<Amount> for Written {
        fn from(amount: Amount) -> Self {
            match amount {
                Amount::All => Self::Text("all".into()),
                Amount::Number(number) => Self::Number(number),
                Amount::Percent(percent) => Self::Text(format!("{percent}%")),
            }
        }
    }
}

/// How often: a number, or `"until-end"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "written_rounds::Written", into = "written_rounds::Written")]
pub enum Rounds {
    /// So often; each of the group's relays at least once.
    Times(u32),
    /// Until the scenario's duration is over.
    UntilEnd,
}

impl Default for Rounds {
    fn default() -> Self {
        Self::Times(1)
    }
}

mod written_rounds {
    use serde::{Deserialize, Serialize};

    use super::Rounds;

    #[derive(Serialize, Deserialize)]
    #[serde(untagged, expecting = "expected a number from 1 on, or \"until-end\"")]
    pub enum Written {
        Number(u32),
        Text(String),
    }

    impl TryFrom<Written> for Rounds {
        type Error = String;

        fn try_from(written: Written) -> Result<Self, String> {
            match written {
                Written::Number(number) if number > 0 => Ok(Self::Times(number)),
                Written::Text(text) if text == "until-end" => Ok(Self::UntilEnd),
                _ => Err("expected a number from 1 on, or \"until-end\"".into()),
            }
        }
    }

    impl From<Rounds> for Written {
        fn from(rounds: Rounds) -> Self {
            match rounds {
                Rounds::Times(number) => Self::Number(number),
                Rounds::UntilEnd => Self::Text("until-end".into()),
            }
        }
    }
}

/// How far back an active query starts: `"none"`, `"all"`, or a time such as `"15m"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum CatchUp {
    /// With what changes from now on.
    #[default]
    None,
    /// With everything that the store knows.
    All,
    /// With what changed since so long.
    Since(Span),
}

impl TryFrom<String> for CatchUp {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "none" => Ok(Self::None),
            "all" => Ok(Self::All),
            _ => text.parse().map(Self::Since).map_err(|_| {
                format!("expected \"none\", \"all\" or a time such as \"15m\", found {text:?}")
            }),
        }
    }
}

impl From<CatchUp> for String {
    fn from(catch_up: CatchUp) -> Self {
        match catch_up {
            CatchUp::None => "none".into(),
            CatchUp::All => "all".into(),
            CatchUp::Since(span) => span.to_string(),
        }
    }
}
