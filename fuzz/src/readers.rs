//! One function a kind of file. Each goes as far into what was read as the
//! program would, and says whether the bytes were accepted.

use std::io::Cursor;
use std::path::Path;
use std::sync::Once;

use hebbian::network::{Model, NetworkSpec, Tensors};
use hebbian_data::cache::{HEADER_BYTES, Header};
use hebbian_data::source::{cifar, idx as idx_file, tar as tar_file};
use hebbian_data::{Dataset, Size, decode, labels as label_table, resize};
use hebbian_search::gallery::{
    MAX_HEADER_BYTES, Manifest, TensorLayout, parse_foreign_items, parse_items, parse_removed,
};
use hebbian_search::npy::{MAX_NPY_HEADER_BYTES, NpyLayout};
use hebbian_search::{Graph, Matrix};

const FILE: &str = "fuzzed";

/// The two files of a pair that travels as one input: `left`, its length
/// before it in four bytes, then `right`.
pub fn pair(left: &[u8], right: &[u8]) -> Vec<u8> {
    [&(left.len() as u32).to_le_bytes(), left, right].concat()
}

fn unpair(bytes: &[u8]) -> (&[u8], &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return (bytes, &[]) };
    rest.split_at(rest.len().min(u32::from_le_bytes(*length) as usize))
}

/// IDX, plain or gzipped: a [`pair`] of images and labels, and all pixels.
pub fn idx(bytes: &[u8]) -> bool {
    let _ = idx_file::read(Path::new(FILE), bytes);
    let (images, labels) = unpair(bytes);
    let classes: Vec<String> = (0..10).map(|class| class.to_string()).collect();
    let classes: Vec<&str> = classes.iter().map(String::as_str).collect();
    let Ok(data) = Dataset::from_idx_bytes(images, labels, &classes) else { return false };
    let images = data.images();
    (0..images.len().min(4)).all(|i| images.decode(i).is_ok())
}

/// CIFAR records, of either variant.
pub fn cifar(bytes: &[u8]) -> bool {
    let path = Path::new(FILE);
    let ten = cifar::labels(path, bytes, cifar::Variant::Cifar10, 10);
    ten.is_ok() | cifar::labels(path, bytes, cifar::Variant::Cifar100, 100).is_ok()
}

/// The index of a tar archive, whose entries must lie inside it.
pub fn tar(bytes: &[u8]) -> bool {
    let len = bytes.len() as u64;
    let Ok(entries) = tar_file::index(Path::new(FILE), Cursor::new(bytes), len) else {
        return false;
    };
    for entry in entries {
        assert!(entry.offset.checked_add(entry.len).is_some_and(|end| end <= len), "{entry:?}");
        let parts = Path::new(&entry.path).components();
        assert!(parts.into_iter().all(|p| matches!(p, std::path::Component::Normal(_))));
    }
    true
}

/// A Parquet file of images: its labels, and the first images.
pub fn parquet(bytes: &[u8]) -> bool {
    be_quiet();
    let Ok(file) = tempfile::Builder::new().suffix(".parquet").tempfile() else { return false };
    if fs_err::write(file.path(), bytes).is_err() {
        return false;
    }
    let Ok(data) = Dataset::open(file.path()) else { return false };
    let images = data.images();
    (0..images.len().min(8)).filter(|&i| images.decode(i).is_ok()).count() > 0
}

/// Readers catch panics of the Parquet library, which the fuzzer's own hook
/// would end the process for.
fn be_quiet() {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));
}

/// A table of labels.
pub fn labels(bytes: &[u8]) -> bool {
    label_table::parse(Path::new(FILE), bytes).is_ok()
}

/// An image of any format, decoded, then scaled and cropped.
pub fn image(bytes: &[u8]) -> bool {
    let _ = decode::header(bytes);
    let Ok(image) = decode::decode(bytes) else { return false };
    resize::cover(image, Size::square(32)).is_ok_and(|pixels| pixels.len() == 32 * 32 * 3)
}

/// The header of a file of decoded pixels; also with its checksum put right,
/// which random bytes would never hit.
pub fn cache(bytes: &[u8]) -> bool {
    let _ = Header::parse(bytes);
    let Some(fields) = bytes.get(..HEADER_BYTES - 16) else { return false };
    let sealed = [fields, &blake3::hash(fields).as_bytes()[..16]].concat();
    let Some(header) = Header::parse(&sealed) else { return false };
    assert_eq!(Header::parse(&header.to_bytes()), Some(header));
    true
}

/// A network file.
pub fn network(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    NetworkSpec::parse(text, Path::new(FILE)).is_ok()
}

/// A model folder: a [`pair`] of `model.toml` and `model.safetensors`.
pub fn model(bytes: &[u8]) -> bool {
    let (text, tensors) = unpair(bytes);
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let (toml, safetensors) = (Path::new("model.toml"), Path::new("model.safetensors"));
    Model::from_files(toml, text, safetensors, tensors).is_ok()
}

/// A safetensors file, which must come out as it went in.
pub fn tensors(bytes: &[u8]) -> bool {
    let Ok(tensors) = Tensors::from_bytes(Path::new(FILE), bytes) else { return false };
    let again = tensors.to_bytes().and_then(|bytes| Tensors::from_bytes(Path::new(FILE), &bytes));
    again.is_ok_and(|again| again == tensors)
}

/// A `gallery.toml` of either version; also with its checksum put right, which
/// random bytes would never hit.
pub fn gallery(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let path = Path::new(FILE);
    let accepted = Manifest::parse(text, path).is_ok();
    let sealed = toml::from_str::<Manifest>(text).ok().and_then(|mut m| m.to_toml().ok());
    accepted | sealed.is_some_and(|text| Manifest::parse(&text, path).is_ok())
}

/// The header of a `vectors.safetensors`: the length of the whole file in
/// eight bytes, then how it begins.
pub fn vectors(bytes: &[u8]) -> bool {
    let Some((length, start)) = bytes.split_first_chunk::<8>() else { return false };
    let start = &start[..start.len().min(MAX_HEADER_BYTES)];
    TensorLayout::parse(start, u64::from_le_bytes(*length), Path::new(FILE)).is_ok()
}

/// An `items.parquet`: the number of items due in two bytes, then the file; as
/// a gallery's own, and as one from elsewhere.
pub fn items(bytes: &[u8]) -> bool {
    be_quiet();
    let Some((count, content)) = bytes.split_first_chunk::<2>() else { return false };
    let count = usize::from(u16::from_le_bytes(*count));
    let foreign = parse_foreign_items(content.to_vec(), count, Path::new(FILE));
    assert!(foreign.map_or(true, |items| items.len() == count));
    match parse_items(content.to_vec(), count, Path::new(FILE)) {
        Ok(items) => items.len() == count,
        Err(_) => false,
    }
}

/// A file of removed rows: their number and that of the segment's vectors in
/// two bytes each, then the file.
pub fn removed(bytes: &[u8]) -> bool {
    let Some(([a, b, c, d], content)) = bytes.split_first_chunk::<4>() else { return false };
    let (count, len) = (u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]));
    let found = parse_removed(content, count.into(), len.into(), Path::new(FILE));
    found.is_ok_and(|rows| {
        rows.len() == usize::from(count) && rows.iter().all(|&row| row < u32::from(len))
    })
}

/// The graph of a segment: the number of vectors in two bytes, then the file;
/// and a search by it.
pub fn graph(bytes: &[u8]) -> bool {
    let Some((len, content)) = bytes.split_first_chunk::<2>() else { return false };
    let len = usize::from(u16::from_le_bytes(*len));
    let Ok(graph) = Graph::parse(content, len, Path::new(FILE)) else { return false };
    let Ok(vectors) = Matrix::new(1, (0..len).map(|i| i as f32).collect()) else { return false };
    graph.search(&vectors, &[0.5], 3, 8, |row| row % 2 == 0).is_ok_and(|hits| hits.len() <= 3)
}

/// The header of a `.npy` file: the length of the whole file in eight bytes,
/// then how it begins.
pub fn npy(bytes: &[u8]) -> bool {
    let Some((length, start)) = bytes.split_first_chunk::<8>() else { return false };
    let start = &start[..start.len().min(MAX_NPY_HEADER_BYTES)];
    NpyLayout::parse(start, u64::from_le_bytes(*length), Path::new(FILE)).is_ok()
}
