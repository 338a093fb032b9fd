//! A folder of image files, with class folders or without.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::layout::Layout;
use super::{Opened, Part, Source, SourceKind, Stored};
use crate::{Error, Result};

/// The longest file that is read as one image.
pub(super) const MAX_FILE: u64 = 1 << 30;

struct Files {
    kind: SourceKind,
    root: PathBuf,
    /// Relative to the root.
    paths: Vec<PathBuf>,
}

pub(super) fn open(root: &Path, part: Part) -> Result<Opened> {
    let mut found = walk(root)?;
    // Byte-wise over the whole path, whatever order the file system lists in.
    found.sort_unstable_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()).then_with(|| a.1.cmp(&b.1)));
    let ids: Vec<&str> = found.iter().map(|(id, _)| id.as_str()).collect();
    if ids.is_empty() {
        return Err(Error::Empty { path: root.to_path_buf() });
    }
    let layout = Layout::read(&ids);
    let rows = layout.rows(part).ok_or_else(|| Error::NoPart { path: root.to_path_buf(), part })?;
    let kind =
        if layout.classes.is_empty() { SourceKind::Folder } else { SourceKind::ClassFolders };
    let labels = rows.iter().map(|&row| layout.labels[row]).collect();
    let paths = rows.iter().map(|&row| found[row].1.clone()).collect();
    let source = Arc::new(Files { kind, root: root.to_path_buf(), paths });
    Ok(Opened { source, labels, classes: layout.classes })
}

/// One image file, as a folder that holds nothing else.
pub(super) fn single(path: &Path) -> Opened {
    let root = path.parent().unwrap_or(Path::new("")).to_path_buf();
    let paths = path.file_name().map(PathBuf::from).into_iter().collect();
    let source = Arc::new(Files { kind: SourceKind::Folder, root, paths });
    Opened { source, labels: vec![None], classes: Vec::new() }
}

/// Every image file below `root`: its id and its path relative to `root`.
fn walk(root: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(root).follow_links(true) {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(root).to_path_buf();
            Error::io("list", &path)(error.into())
        })?;
        if !entry.file_type().is_file() {
            continue;
        }
        let path = entry.path().strip_prefix(root).unwrap_or(entry.path());
        let id = id(path);
        if super::is_image(&id, || first_bytes(entry.path()))? {
            found.push((id, path.to_path_buf()));
        }
    }
    Ok(found)
}

fn first_bytes(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read;
    let mut first = Vec::with_capacity(32);
    let file = std::fs::File::open(path).map_err(Error::io("open", path))?;
    file.take(32).read_to_end(&mut first).map_err(Error::io("read", path))?;
    Ok(first)
}

fn id(path: &Path) -> String {
    let components: Vec<Cow<'_, str>> =
        path.components().map(|c| c.as_os_str().to_string_lossy()).collect();
    components.join("/")
}

impl Source for Files {
    fn kind(&self) -> SourceKind {
        self.kind
    }

    fn len(&self) -> usize {
        self.paths.len()
    }

    fn id(&self, index: usize) -> Cow<'_, str> {
        self.paths.get(index).map(|path| id(path)).unwrap_or_default().into()
    }

    fn read(&self, index: usize) -> Result<Stored<'_>> {
        let path = self
            .paths
            .get(index)
            .ok_or(Error::RowOutOfRange { row: index, len: self.paths.len() })?;
        let path = self.root.join(path);
        let file = super::read_at::ReadAt::open(&path)?;
        if file.len() > MAX_FILE {
            let reason = format!("the file is longer than {MAX_FILE} bytes");
            return Err(Error::Unreadable { id: self.id(index).into_owned(), reason });
        }
        match file.read(0, file.len()) {
            Ok(bytes) => Ok(Stored::Encoded(bytes.into())),
            // One image, of which the others know nothing.
            Err(Error::Lost { problem: reason, .. }) => {
                Err(Error::Unreadable { id: self.id(index).into_owned(), reason })
            }
            Err(error) => Err(error),
        }
    }

    fn fingerprint(&self) -> Result<blake3::Hash> {
        let mut hasher = super::fingerprint_of(self.kind);
        for path in &self.paths {
            hasher.update(id(path).as_bytes());
            super::add_metadata(&mut hasher, &self.root.join(path))?;
        }
        Ok(hasher.finalize())
    }
}
