//! A filter as an expression of Milvus.
//!
//! Every item carries tags, hashes of its label and of the folders that it is in, and a filter
//! asks for items that carry one of some. So it says exactly the same as the filter, and no text
//! is ever written into an expression. A glob with wildcards can't be said this way; then the tags
//! only narrow down what is looked at here.

use hebbian_search::{Filter, Item, Pattern};

/// Folders of an item that have tags, the outermost first; those further in have none.
const MAX_FOLDERS: usize = 100;
/// Most tags of an item.
pub(super) const MAX_TAGS: usize = MAX_FOLDERS + 1;
/// Hexadecimal digits of a tag.
pub(super) const TAG_DIGITS: usize = 32;

/// A filter as an expression.
#[derive(Debug, PartialEq)]
pub(super) struct Expression {
    /// Holds for every item that passes; empty if it holds for all.
    pub(super) text: String,
    /// Whether it holds for these alone.
    pub(super) exact: bool,
}

impl Expression {
    /// Says `filter`, or what can be said of it.
    pub(super) fn of(filter: &Filter) -> Self {
        let (mut parts, mut exact) = (Vec::new(), true);
        if !filter.labels.is_empty() {
            parts.push(any(filter.labels.iter().map(|text| label(text))));
        }
        if !filter.paths.is_empty() {
            let mut folders = Vec::new();
            for path in &filter.paths {
                let (folder, whole) = outermost(path.pattern());
                exact &= whole;
                folders.push(folder.map(tag_of_folder));
            }
            let all: Option<Vec<String>> = folders.into_iter().collect();
            if let Some(folders) = all {
                parts.push(any(folders.into_iter()));
            }
        }
        Self { text: parts.join(" and "), exact }
    }
}

/// A folder that holds all that `pattern` matches, and whether it matches all that is in it.
fn outermost(pattern: Pattern<'_>) -> (Option<&str>, bool) {
    let (folder, whole) = match pattern {
        Pattern::Folder(name) => (Some(name), true),
        Pattern::Wildcards(pattern) => {
            let literal = pattern.split(['*', '?']).next().unwrap_or_default();
            let folder = literal.rfind('/').map(|end| literal[..end].trim_end_matches('/'));
            (folder, false)
        }
    };
    // One further in may be without a tag.
    let tagged = folder.filter(|folder| folder.matches('/').count() < MAX_FOLDERS);
    (tagged, whole && tagged.is_some())
}

fn any(tags: impl Iterator<Item = String>) -> String {
    let tags: Vec<String> = tags.collect();
    format!("array_contains_any(tags, [\"{}\"])", tags.join("\",\""))
}

/// All tags of an item.
pub(super) fn tags(item: &Item) -> Vec<String> {
    let folders = folders(&item.id).map(tag_of_folder);
    folders.chain(item.label.as_deref().map(label)).collect()
}

/// What [`Pattern::Folder`] may say to match `id`, the shortest first.
fn folders(id: &str) -> impl Iterator<Item = &str> {
    let ends = id.match_indices('/').map(|(end, _)| end).chain([id.len()]);
    ends.map(|end| &id[..end]).filter(|folder| !folder.ends_with('/')).take(MAX_FOLDERS)
}

fn tag_of_folder(folder: &str) -> String {
    tag("folder", folder)
}

fn label(text: &str) -> String {
    tag("label", text)
}

fn tag(kind: &str, text: &str) -> String {
    let hash = blake3::Hasher::new()
        .update(kind.as_bytes())
        .update(b"\0")
        .update(text.as_bytes())
        .finalize();
    hash.to_hex()[..TAG_DIGITS].to_owned()
}

#[cfg(test)]
mod tests {
    use hebbian_search::Glob;
    use proptest::prelude::*;

    use super::*;

    fn filter(labels: &[&str], paths: &[&str]) -> Filter {
        Filter {
            labels: labels.iter().map(|&label| label.into()).collect(),
            paths: paths.iter().map(|&path| Glob::new(path)).collect(),
        }
    }

    /// Whether the server would find the item.
    fn found(expression: &Expression, item: &Item) -> bool {
        let tags = tags(item);
        expression.text.split(" and ").filter(|part| !part.is_empty()).all(|part| {
            part.split('"').skip(1).step_by(2).any(|tag| tags.iter().any(|own| own == tag))
        })
    }

    #[test]
    fn globs_with_wildcards_only_narrow_down() {
        assert!(Expression::of(&filter(&["a"], &["b", "c/d/"])).exact);
        let narrowed = Expression::of(&filter(&[], &["a/b*/c", "d/e?"]));
        assert!(!narrowed.exact && !narrowed.text.is_empty());
        let all = Expression::of(&filter(&[], &["a/b*", "*"]));
        assert_eq!(all, Expression { text: String::new(), exact: false });
        let deep = "a/".repeat(MAX_FOLDERS + 3);
        let item = Item { id: deep.clone() + "b", label: Some("c".into()), ..Item::default() };
        assert_eq!(tags(&item).len(), MAX_TAGS);
        assert!(!Expression::of(&filter(&[], &[&deep])).exact);
    }

    proptest! {
        #[test]
        fn expressions_say_what_filters_say(
            id in "[ab/\"]{0,8}",
            label in prop::option::of("[ab\"]?"),
            labels in prop::collection::vec("[ab\"]?", 0..3),
            paths in prop::collection::vec("[ab/\"*?]{0,5}", 0..3),
        ) {
            let item = Item { id, label, ..Item::default() };
            let filter = Filter { labels, paths: paths.into_iter().map(Glob::new).collect() };
            let expression = Expression::of(&filter);
            if expression.exact {
                prop_assert_eq!(found(&expression, &item), filter.matches(&item));
            } else {
                prop_assert!(found(&expression, &item) || !filter.matches(&item));
            }
        }
    }
}
