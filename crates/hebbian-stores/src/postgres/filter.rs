//! A filter as a condition in SQL.

use hebbian_search::{Filter, Pattern};
use postgres::types::ToSql;

/// A filter as a condition in SQL, with its parameters.
pub(super) struct Condition {
    sql: String,
    lists: Vec<Vec<String>>,
}

impl Condition {
    /// Writes `filter`; its parameters are numbered from `first` on.
    pub(super) fn of(filter: &Filter, first: usize) -> Self {
        let (mut parts, mut lists) = (Vec::new(), Vec::new());
        // What holds a NUL is in no text of PostgreSQL, and can't be sent either.
        let sendable = |text: &String| !text.contains('\0');
        if !filter.labels.is_empty() {
            parts.push(format!("label = ANY(${}::text[])", first + lists.len()));
            lists.push(filter.labels.iter().filter(|label| sendable(label)).cloned().collect());
        }
        if !filter.paths.is_empty() {
            parts.push(format!("id LIKE ANY(${}::text[])", first + lists.len()));
            let patterns = filter.paths.iter().flat_map(|path| like(path.pattern()));
            lists.push(patterns.filter(sendable).collect());
        }
        let sql = match parts.is_empty() {
            true => String::new(),
            false => format!("WHERE {}", parts.join(" AND ")),
        };
        Self { sql, lists }
    }

    /// `WHERE ...`, or nothing.
    pub(super) fn sql(&self) -> &str {
        &self.sql
    }

    /// All parameters of a query whose own are `before`.
    pub(super) fn after<'a>(
        &'a self,
        before: &[&'a (dyn ToSql + Sync)],
    ) -> Vec<&'a (dyn ToSql + Sync)> {
        let lists = self.lists.iter().map(|list| list as &(dyn ToSql + Sync));
        before.iter().copied().chain(lists).collect()
    }
}

/// The patterns of `LIKE` that together mean the same.
fn like(pattern: Pattern<'_>) -> Vec<String> {
    let escaped = |text: &str| {
        let mut escaped = String::with_capacity(text.len());
        for c in text.chars() {
            if matches!(c, '%' | '_' | '\\') {
                escaped.push('\\');
            }
            escaped.push(c);
        }
        escaped
    };
    match pattern {
        Pattern::Folder(name) => vec![escaped(name), escaped(name) + "/%"],
        Pattern::Wildcards(pattern) => {
            let translated = escaped(pattern).replace('*', "%").replace('?', "_");
            vec![translated]
        }
    }
}

#[cfg(test)]
mod tests {
    use hebbian_search::Glob;

    use super::*;

    #[test]
    fn filters_become_conditions() {
        let filter = Filter {
            labels: vec!["it's".into(), "a\0".into()],
            paths: vec![Glob::new("a_b/"), Glob::new("50%*.jp?g"), Glob::new("c\\*")],
        };
        let condition = Condition::of(&filter, 3);
        assert_eq!(condition.sql(), "WHERE label = ANY($3::text[]) AND id LIKE ANY($4::text[])");
        assert_eq!(condition.lists[0], ["it's"]);
        assert_eq!(condition.lists[1], ["a\\_b", "a\\_b/%", "50\\%%.jp_g", "c\\\\%"]);
        assert_eq!(condition.after(&[&1, &2]).len(), 4);
        assert_eq!(Condition::of(&Filter::default(), 1).sql(), "");
    }
}
