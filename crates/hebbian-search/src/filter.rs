//! Which items may be found.

use crate::Item;

/// A pattern of ids.
///
/// `*` stands for any characters, `/` among them, and `?` for one. A pattern without either names
/// an id, or a folder with all that is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// Takes `pattern`; every text is one.
    #[must_use]
    pub fn new(pattern: impl Into<String>) -> Self {
        Self(pattern.into())
    }

    /// What it says, for stores that have a language of their own for it.
    #[must_use]
    pub fn pattern(&self) -> Pattern<'_> {
        match self.0.contains(['*', '?']) {
            true => Pattern::Wildcards(&self.0),
            false => Pattern::Folder(self.0.trim_end_matches('/')),
        }
    }

    /// Whether `id` is meant.
    #[must_use]
    pub fn matches(&self, id: &str) -> bool {
        match self.pattern() {
            Pattern::Wildcards(pattern) => matches(pattern, id),
            Pattern::Folder(name) => match id.strip_prefix(name) {
                Some(rest) => rest.is_empty() || rest.starts_with('/'),
                None => false,
            },
        }
    }
}

/// What a [`Glob`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern<'a> {
    /// An id, or what comes before a `/` in one. Does not end with `/`.
    Folder(&'a str),
    /// `*` stands for any characters, `?` for one; there is no way to mean these themselves.
    Wildcards(&'a str),
}

/// Only ever goes back to the last `*`, so that the time is at most the product of the lengths.
fn matches(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    let mut back = None;
    loop {
        match pattern.next() {
            Some('*') => {
                back = Some((pattern.clone(), text.clone()));
                continue;
            }
            Some(wanted) if text.clone().next().is_some_and(|c| wanted == '?' || wanted == c) => {
                text.next();
                continue;
            }
            None if text.as_str().is_empty() => return true,
            _ => {}
        }
        // Let the last `*` stand for one more.
        let Some((after, from)) = &mut back else { return false };
        if from.next().is_none() {
            return false;
        }
        (pattern, text) = (after.clone(), from.clone());
    }
}

/// Which items may be found: by default all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Their label is one of these; empty stands for any label or none.
    pub labels: Vec<String>,
    /// Their id matches one of these; empty stands for any.
    pub paths: Vec<Glob>,
}

impl Filter {
    /// Whether all items pass.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.paths.is_empty()
    }

    /// Whether `item` passes.
    #[must_use]
    pub fn matches(&self, item: &Item) -> bool {
        let label = || item.label.as_ref().is_some_and(|label| self.labels.contains(label));
        (self.labels.is_empty() || label())
            && (self.paths.is_empty() || self.paths.iter().any(|path| path.matches(&item.id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_described() {
        for (pattern, id, expected) in [
            ("train/a.jpg", "train/a.jpg", true),
            ("train", "train/a.jpg", true),
            ("train/", "train/b/a.jpg", true),
            ("trai", "train/a.jpg", false),
            ("train/a.jp", "train/a.jpg", false),
            ("*.jpg", "train/a.jpg", true),
            ("*/a*g", "train/a.jpg", true),
            ("*a*a*g", "train/a.jpg", true),
            ("*a*a*a*g", "train/a.jpg", false),
            ("train/?.jpg", "train/ä.jpg", true),
            ("train/??.jpg", "train/ä.jpg", false),
            ("*", "", true),
            ("**", "x", true),
            ("?", "", false),
            ("a*", "b", false),
            ("*b", "abb", true),
            ("[1]", "[1]", true),
            ("", "", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(id), expected, "{pattern:?} {id:?}");
        }
        // Would take for ever if every `*` were tried against every other.
        assert!(!Glob::new("*a".repeat(200) + "b").matches(&"a".repeat(4000)));
    }

    #[test]
    fn labels_and_paths_must_both_match() {
        let item = Item { id: "x/1".into(), label: Some("cat".into()), ..Item::default() };
        let filter = |labels: &[&str], paths: &[&str]| Filter {
            labels: labels.iter().map(|&label| label.into()).collect(),
            paths: paths.iter().map(|&path| Glob::new(path)).collect(),
        };
        assert!(filter(&[], &[]).matches(&item) && filter(&[], &[]).is_empty());
        assert!(filter(&["dog", "cat"], &["y", "x"]).matches(&item));
        assert!(!filter(&["cat"], &["y"]).matches(&item));
        assert!(!filter(&["dog"], &[]).matches(&item));
        assert!(!filter(&["cat"], &[]).matches(&Item::default()));
    }
}
