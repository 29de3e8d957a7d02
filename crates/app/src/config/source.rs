//! Where settings come from: the environment, or a map in tests.

/// Where settings come from.
pub trait Source {
    /// The value of a variable; `Err` when it is not UTF-8.
    fn value(&self, name: &str) -> Result<Option<String>, NotUtf8>;

    /// The names of all variables, those of other programs too.
    fn names(&self) -> Vec<String>;
}

/// A value that is not UTF-8.
#[derive(Debug, Clone, Copy)]
pub struct NotUtf8;

/// The process's environment.
#[derive(Debug, Clone, Copy)]
pub struct Environment;

impl Source for Environment {
    fn value(&self, name: &str) -> Result<Option<String>, NotUtf8> {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
        match std::env::var(name) {
            Ok(value) => Ok(Some(value)),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err(NotUtf8),
        }
    }

    fn names(&self) -> Vec<String> {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
        std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect()
    }
}
