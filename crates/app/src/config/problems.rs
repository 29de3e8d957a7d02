//! Collects the errors of a configuration, so that one message lists all.

use std::fmt;

/// Everything that is wrong with the configuration. Never holds a value.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Problems(pub(super) Vec<(&'static str, String)>);

impl Problems {
    /// The names of the variables that are wrong.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|(name, _)| *name).collect()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "crm: the configuration is not usable:")?;
        for (name, problem) in &self.0 {
            writeln!(f, "  {name} {problem}")?;
        }
        writeln!(f, "`crm settings` prints every setting with its default and meaning.")
    }
}

impl std::error::Error for Problems {}
