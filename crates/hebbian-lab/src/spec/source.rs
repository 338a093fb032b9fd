//! Where a message points to: file, line, field.

use std::fmt::Display;
use std::ops::Range;
use std::path::Path;

use hebbian::error::{Error, Result};

/// The file that is read.
pub(super) struct Source<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

impl Source<'_> {
    pub(super) fn error(&self, span: Range<usize>, field: &str, problem: impl Display) -> Error {
        let line = self.text[..span.start.min(self.text.len())].matches('\n').count() + 1;
        Error::config(self.path.display().to_string(), format!("line {line}: {field} {problem}"))
    }

    pub(super) fn fail<T>(
        &self,
        span: Range<usize>,
        field: &str,
        problem: impl Display,
    ) -> Result<T> {
        Err(self.error(span, field, problem))
    }

    /// An error of another room, at its place in this file.
    pub(super) fn at(&self, span: Range<usize>, field: &str) -> impl FnOnce(Error) -> Error {
        move |error| self.error(span, field, format!("is refused: {error}"))
    }
}
