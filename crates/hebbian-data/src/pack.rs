//! A data set written as tar shards, as WebDataset reads them: files that are read from start to
//! end, however many images there are.

use std::io::{BufWriter, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use crate::beside::Beside;
use crate::source::CLASSES_FILE;
use crate::{Dataset, Error, Result, Skipped, seed};

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Packed {
    /// The name of all shards together, to be opened by [`Dataset::open`].
    pub pattern: PathBuf,
    /// How many there are.
    pub shards: usize,
    /// Images in them.
    pub images: usize,
    /// Images that could not be read.
    pub skipped: Vec<Skipped>,
}

/// Writes the images of `data`, as they are stored and in an order drawn from `seed`, into shards
/// of `each` in a new folder; beside each `NUMBER.jpg` (or what it is) with a label a `NUMBER.cls`,
/// and the names of the classes in `classes.txt`. `progress` is told images done and in all.
///
/// The folder is written beside and renamed.
///
/// # Errors
/// [`Error::Exists`]; [`Error::Format`] when a class's name has several lines;
/// [`Error::Empty`] when no image can be read; [`Error::Io`].
pub fn pack(
    data: &Dataset,
    folder: &Path,
    each: NonZeroUsize,
    seed: u64,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Packed> {
    if folder.exists() {
        return Err(Error::Exists { path: folder.to_path_buf() });
    }
    if let Some(name) = data.classes().iter().find(|name| name.contains(['\n', '\r'])) {
        let problem = format!("the class {name:?} has several lines, which {CLASSES_FILE} can't");
        return Err(Error::format(data.path(), problem));
    }
    let parent = folder.parent().filter(|path| !path.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let beside = Beside::new(parent, ".pack-")?;
    let files = beside.path();

    let images = data.images();
    let order = seed::shuffled(data.len(), seed, "pack");
    let mut order = order.into_iter().enumerate().peekable();
    let (mut shards, mut written, mut skipped) = (0, 0, Vec::new());
    while order.peek().is_some() {
        let path = files.join(format!("{shards:06}.tar"));
        let write = Error::io("write", &path);
        let file = std::fs::File::create(&path).map_err(Error::io("create", &path))?;
        let mut archive = tar::Builder::new(BufWriter::new(file));
        let mut inside = 0;
        for (number, row) in order.by_ref() {
            progress(number + 1, data.len());
            let content = match images.encoded(row) {
                Ok(content) => content,
                Err(Error::Unreadable { id, reason }) => {
                    skipped.push(Skipped { row, id, reason });
                    continue;
                }
                Err(error) => return Err(error),
            };
            let Ok(format) = image::guess_format(&content) else {
                let reason = "it is no image of a known format".to_owned();
                skipped.push(Skipped { row, id: images.id(row), reason });
                continue;
            };
            let kind = format.extensions_str().first().copied().unwrap_or("img");
            entry(&mut archive, &format!("{number:08}.{kind}"), &content)
                .map_err(Error::io("write", &path))?;
            if let Some(label) = data.label(row) {
                entry(&mut archive, &format!("{number:08}.cls"), label.to_string().as_bytes())
                    .map_err(Error::io("write", &path))?;
            }
            inside += 1;
            if inside == each.get() {
                break;
            }
        }
        let finish = || archive.into_inner()?.into_inner()?.sync_all();
        finish().map_err(write)?;
        if inside == 0 {
            // The last images could not be read.
            std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            break;
        }
        written += inside;
        shards += 1;
    }
    if written == 0 {
        return Err(Error::Empty { path: data.path().to_path_buf() });
    }
    if !data.classes().is_empty() {
        let names: String = data.classes().iter().map(|name| format!("{name}\n")).collect();
        let path = files.join(CLASSES_FILE);
        std::fs::write(&path, names).map_err(Error::io("write", &path))?;
    }
    beside.rename(folder)?;
    let pattern = match shards {
        1 => folder.join("000000.tar"),
        _ => folder.join(format!("{{000000..{:06}}}.tar", shards - 1)),
    };
    Ok(Packed { pattern, shards, images: written, skipped })
}

/// Adds a file to an archive.
fn entry(
    archive: &mut tar::Builder<impl Write>,
    name: &str,
    content: &[u8],
) -> std::io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, name, content)
}
