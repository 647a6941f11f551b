//! What a command says when it fails: the problem, its causes, a hint.

use std::{
    error::Error,
    fmt::{self, Write as _},
};

/// A failed command.
#[derive(Debug)]
pub struct Failure {
    problem: String,
    hint: Option<String>,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    /// What went wrong.
    pub fn new(problem: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            hint: None,
            cause: None,
        }
    }

    /// Why.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// What a person can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The problem, its causes and the hint, on lines of their own.
    pub fn report(&self) -> String {
        let mut text = format!("error: {}", self.problem);
        let mut cause = self.cause.as_deref().map(|cause| cause as &(dyn Error + 'static));
        while let Some(error) = cause {
            _ = write!(
                text,
                "\n  because: {}",
                error.to_string().trim_end().replace('\n', "\n    ")
            );
            cause = error.source();
        }
        if let Some(hint) = &self.hint {
            _ = write!(text, "\nhint: {hint}");
        }
        text
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.problem)
    }
}

/// Turns errors into failures.
pub trait Hinted<T> {
    /// Says what went wrong.
    fn failed(self, problem: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> Hinted<T> for Result<T, E> {
    fn failed(self, problem: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(problem()).because(error))
    }
}

/// Adds a hint to a failure.
pub trait WithHint<T> {
    /// Says what a person can do about it.
    fn hint(self, hint: &str) -> Result<T, Failure>;
}

impl<T> WithHint<T> for Result<T, Failure> {
    fn hint(self, hint: &str) -> Self {
        self.map_err(|failure| failure.with_hint(hint))
    }
}
