//! Labels from a table: a CSV file of `path,label`.

use std::collections::HashMap;
use std::path::Path;

use crate::{Error, Result};

/// The longest label table that is read, in bytes.
const MAX_BYTES: u64 = 1 << 30;

/// One line of a label table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Counted from 1, as an editor shows it.
    pub number: u64,
    /// The image, relative to the data set's root, with `/`.
    pub path: String,
    /// The class.
    pub label: String,
}

/// Reads a label table; `file` names it in messages.
///
/// Two fields a line, quoted where they hold commas. A first line that names
/// its columns (`path`, `file`, `filename`, `image` or `id`, then `label`,
/// `class` or `category`) is a header and may be missing. Backslashes and a
/// leading `./` in paths are accepted.
///
/// # Errors
/// [`Error::Labels`] naming the line: not two fields, an empty field, text that
/// is not UTF-8, or a path given twice.
pub fn parse(file: &Path, bytes: &[u8]) -> Result<Vec<Line>> {
    let bad = |line, problem: String| Error::Labels { path: file.to_path_buf(), line, problem };
    // A byte order mark, which spreadsheets write, is no part of the first path.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(bytes);
    let mut lines: Vec<Line> = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut record = csv::StringRecord::new();
    let mut first = true;
    loop {
        let number = line_of(bytes, reader.position());
        let more = reader
            .read_record(&mut record)
            .map_err(|_| bad(number, "is not UTF-8 text; save the table as UTF-8".to_owned()))?;
        if !more {
            return Ok(lines);
        }
        let fields: Vec<&str> = record.iter().collect();
        let [path, label] = fields[..] else {
            let problem = format!("has {} field(s); write path,label", fields.len());
            return Err(bad(number, problem));
        };
        if std::mem::take(&mut first) && is_header(path, label) {
            continue;
        }
        let path = path.replace('\\', "/");
        let path = path.strip_prefix("./").unwrap_or(&path).to_owned();
        if path.is_empty() || label.is_empty() {
            let problem =
                "has an empty field; leave out the line of an image without a label".to_owned();
            return Err(bad(number, problem));
        }
        if let Some(&earlier) = seen.get(&path) {
            let Line { number: before, label: other, .. } = &lines[earlier];
            let problem = if other == label {
                format!("repeats {path} of line {before}; remove one of them")
            } else {
                format!("calls {path} {label:?}, but line {before} calls it {other:?}; remove one")
            };
            return Err(bad(number, problem));
        }
        seen.insert(path.clone(), lines.len());
        lines.push(Line { number, path, label: label.to_owned() });
    }
}

/// The line of the record that is read next at `position`: blank lines are skipped first.
fn line_of(bytes: &[u8], position: &csv::Position) -> u64 {
    let rest = usize::try_from(position.byte()).ok().and_then(|at| bytes.get(at..));
    let blank = rest.unwrap_or_default().iter().take_while(|byte| b"\r\n".contains(byte));
    position.line() + blank.filter(|&&byte| byte == b'\n').count() as u64
}

fn is_header(path: &str, label: &str) -> bool {
    let is = |field: &str, names: &[&str]| names.iter().any(|n| field.eq_ignore_ascii_case(n));
    is(path, &["path", "file", "filename", "image", "id"])
        && is(label, &["label", "class", "category"])
}

/// Reads the label table at `file` and finds its images among `ids`.
///
/// Returns the label of each id and the class names: in numerical order when
/// all are numbers, else in byte-wise order.
pub(crate) fn read(
    file: &Path,
    ids: impl Iterator<Item = String>,
) -> Result<(Vec<Option<u32>>, Vec<String>)> {
    let length = std::fs::metadata(file).map_err(Error::io("open", file))?.len();
    if length > MAX_BYTES {
        return Err(Error::format(file, format!("it is longer than {MAX_BYTES} bytes")));
    }
    let lines = parse(file, &std::fs::read(file).map_err(Error::io("read", file))?)?;
    let row_of: HashMap<String, usize> = ids.enumerate().map(|(row, id)| (id, row)).collect();
    let mut classes: Vec<&str> = lines.iter().map(|line| line.label.as_str()).collect();
    classes.sort_unstable();
    classes.dedup();
    if classes.iter().all(|class| class.parse::<u64>().is_ok()) {
        classes.sort_by_key(|class| class.parse::<u64>().ok());
    }
    let number: HashMap<&str, u32> = classes.iter().copied().zip(0..).collect();
    let mut labels = vec![None; row_of.len()];
    for line in &lines {
        let Some(&row) = row_of.get(&line.path) else {
            let problem = format!(
                "no image {} is there; paths are relative to the data set's folder",
                line.path
            );
            return Err(Error::Labels { path: file.to_path_buf(), line: line.number, problem });
        };
        labels[row] = number.get(line.label.as_str()).copied();
    }
    Ok((labels, classes.into_iter().map(str::to_owned).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(text: &str) -> Result<Vec<Line>> {
        parse(Path::new("labels.csv"), text.as_bytes())
    }

    fn message(text: &str) -> String {
        table(text).unwrap_err().to_string()
    }

    #[test]
    fn a_header_is_optional_and_fields_may_be_quoted() {
        let lines =
            table("Path,Label\n\"a, b.jpg\",cat\n.\\dir\\c.jpg,\"a \"\"dog\"\"\"\n").unwrap();
        let found: Vec<_> =
            lines.iter().map(|l| (l.number, l.path.as_str(), l.label.as_str())).collect();
        assert_eq!(found, [(2, "a, b.jpg", "cat"), (3, "dir/c.jpg", "a \"dog\"")]);
        assert_eq!(table("a.jpg,cat").unwrap().len(), 1);
        assert_eq!(table("\u{feff}path,label\na.jpg,cat").unwrap()[0].path, "a.jpg");
    }

    #[test]
    fn every_error_names_its_line() {
        assert!(message("a.jpg,cat\nb.jpg\n").starts_with("labels.csv: line 2: has 1 field"));
        assert!(message("a,b\n\n\nb.jpg,\n").starts_with("labels.csv: line 4: has an empty field"));
        assert!(message("a,x\nb,x\na,x\n").contains("line 3: repeats a of line 1"));
        assert!(message("a,x\n./a,y\n").contains("line 2: calls a \"y\", but line 1"));
        let latin = parse(Path::new("l.csv"), b"a,x\nb,\xe9\n").unwrap_err().to_string();
        assert!(latin.contains("line 2: is not UTF-8"), "{latin}");
    }

    #[test]
    fn unknown_paths_are_named_and_numbers_sort_as_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("labels.csv");
        let ids = || ["a", "b", "c"].into_iter().map(str::to_owned);
        fs_err::write(&file, "a,10\nc,9\n").unwrap();
        let (labels, classes) = read(&file, ids()).unwrap();
        assert_eq!(classes, ["9", "10"]);
        assert_eq!(labels, [Some(1), None, Some(0)]);
        fs_err::write(&file, "a,10\nd,9\n").unwrap();
        assert!(read(&file, ids()).unwrap_err().to_string().contains("line 2: no image d"));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(Path::new("l.csv"), &bytes);
        }

        #[test]
        fn what_is_written_is_read(rows in prop::collection::btree_map("[a-z ,\"/]{1,9}[a-z]", "[a-z,\"]{1,5}", 0..20)) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            for (path, label) in &rows {
                writer.write_record([format!("x{path}").as_str(), label]).unwrap();
            }
            let bytes = writer.into_inner().unwrap();
            let lines = parse(Path::new("l.csv"), &bytes).unwrap();
            let read: Vec<_> = lines.into_iter().map(|l| (l.path[1..].to_owned(), l.label)).collect();
            prop_assert_eq!(read, rows.into_iter().collect::<Vec<_>>());
        }
    }
}
