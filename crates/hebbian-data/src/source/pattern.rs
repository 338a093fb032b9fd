//! Names of several files in one: `train-{000..150}.tar`, `{train,extra}.parquet`.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The most files that one pattern may name.
const MAX_FILES: usize = 1 << 20;

/// The paths that `pattern` stands for, in order, as bash expands braces: a
/// range of numbers, padded with zeros to the wider of its ends if one of them
/// begins with a zero, or a list; several in one pattern multiply. `None` for a
/// path without braces, or one that exists as it is written.
///
/// # Errors
/// [`Error::Pattern`] when a brace is neither, is not closed, or the paths are
/// too many.
pub fn expand(pattern: &Path) -> Result<Option<Vec<PathBuf>>> {
    let Some(text) = pattern.to_str().filter(|text| text.contains('{')) else { return Ok(None) };
    if pattern.exists() {
        return Ok(None);
    }
    let bad = |problem: String| Error::Pattern { pattern: text.to_owned(), problem };
    let mut paths = vec![String::new()];
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (inside, after) =
            after.split_once('}').ok_or_else(|| bad("has a { without its }".to_owned()))?;
        if inside.contains('{') {
            return Err(bad("has braces in braces, which are not understood".to_owned()));
        }
        let alternatives = alternatives(inside).map_err(bad)?;
        if paths.len().saturating_mul(alternatives.len()) > MAX_FILES {
            return Err(bad(format!("names more than {MAX_FILES} files")));
        }
        let each = |path: &String| {
            let longer = |end: &String| format!("{path}{before}{end}");
            alternatives.iter().map(longer).collect::<Vec<_>>()
        };
        paths = paths.iter().flat_map(each).collect();
        rest = after;
    }
    Ok(Some(paths.into_iter().map(|path| PathBuf::from(path + rest)).collect()))
}

/// What stands between a pair of braces, as the texts it may be.
fn alternatives(inside: &str) -> std::result::Result<Vec<String>, String> {
    let Some((first, last)) = inside.split_once("..") else {
        if !inside.contains(',') {
            let must = "write a range such as {000..150} or a list such as {a,b}";
            return Err(format!("has {{{inside}}}, which names nothing; {must}"));
        }
        return Ok(inside.split(',').map(str::to_owned).collect());
    };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u64>().ok()).flatten().ok_or_else(|| {
            format!("has {{{inside}}}, whose {text:?} is no whole number; write {{000..150}}")
        })
    };
    let (from, to) = (number(first)?, number(last)?);
    let padded = [first, last].iter().any(|text| text.len() > 1 && text.starts_with('0'));
    let width = if padded { first.len().max(last.len()) } else { 0 };
    if from.abs_diff(to) >= MAX_FILES as u64 {
        return Err(format!("has {{{inside}}}, which names more than {MAX_FILES} files"));
    }
    let text = |number: u64| format!("{number:0width$}");
    Ok(if from <= to {
        (from..=to).map(text).collect()
    } else {
        (to..=from).rev().map(text).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(pattern: &str) -> Vec<String> {
        let paths = expand(Path::new(pattern)).unwrap().unwrap();
        paths.into_iter().map(|path| path.to_str().unwrap().to_owned()).collect()
    }

    fn message(pattern: &str) -> String {
        expand(Path::new(pattern)).unwrap_err().to_string()
    }

    /// What bash 5.2 prints for `echo PATTERN`.
    #[test]
    fn braces_expand_as_in_bash() {
        assert_eq!(names("s/{8..11}.tar"), ["s/8.tar", "s/9.tar", "s/10.tar", "s/11.tar"]);
        assert_eq!(names("{098..101}"), ["098", "099", "100", "101"]);
        assert_eq!(names("{1..03}"), ["01", "02", "03"]);
        assert_eq!(names("{2..0}"), ["2", "1", "0"]);
        assert_eq!(names("{a,b}-{0..1}.x"), ["a-0.x", "a-1.x", "b-0.x", "b-1.x"]);
        assert_eq!(names("{000..150}.tar").len(), 151);
        assert!(expand(Path::new("train.tar")).unwrap().is_none());
    }

    #[test]
    fn a_file_of_that_name_is_that_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("{0..1}.tar");
        assert_eq!(expand(&path).unwrap().unwrap().len(), 2);
        fs_err::write(&path, "").unwrap();
        assert!(expand(&path).unwrap().is_none());
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        assert!(message("{0..x}.tar").contains("\"x\" is no whole number"));
        assert!(message("{0..9.tar").contains("without its }"));
        assert!(message("{0}.tar").contains("names nothing"));
        assert!(message("{a,{b,c}}.tar").contains("braces in braces"));
        assert!(message("{0..99999999999}").contains("more than 1048576 files"));
        assert!(message("{0..999}{0..999}{0..999}").contains("more than 1048576 files"));
    }

    proptest! {
        #[test]
        fn nothing_panics(pattern in "[{}.,0-9a]{0,24}") {
            let _ = expand(Path::new(&pattern));
        }
    }
}
