//! Valid files for the fuzzer to start from, made from the pictures of the
//! project's own sample by the same code that writes them in use.

use std::io::{Cursor, Read};
use std::path::PathBuf;

use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use hebbian::network::{HeadKind, Model, NetworkSpec};
use hebbian::rules;
use hebbian_data::cache::Header;
use hebbian_data::{Dataset, Preprocess, Size, Whitening};
use hebbian_search::{GalleryInfo, GalleryWriter, Item};
use image::{DynamicImage, ImageFormat};

use crate::readers::pair;

/// A valid input of a fuzz target.
pub struct Seed {
    /// Name of the target.
    pub target: &'static str,
    /// Its own name.
    pub name: String,
    /// The input.
    pub bytes: Vec<u8>,
}

/// Pictures of the sample that seeds are made from.
const PICTURES: usize = 4;
const SIDE: usize = 28;

const NETWORK: &str = r#"name = "seed"
input = [8, 8, 3]

[[block]]
filters = 4
kernel = 3
pool = 2
norm = "batch"

[[block]]
filters = 6
kernel = "map"
norm = "relative"
"#;

/// A manifest of the first format of galleries, of which there are no more new ones.
const VERSION_1: &[u8] =
    include_bytes!("../../crates/hebbian-search/tests/data/version-1/gallery.toml");

/// A file of images that another program wrote.
const PARQUET: &[u8] =
    include_bytes!("../../crates/hebbian-data/tests/parquet/train-00000-of-00001.parquet");

/// Seeds of all targets.
///
/// # Errors
/// If the sample can't be read or a temporary file not be written.
pub fn seeds() -> Result<Vec<Seed>> {
    let (images, labels) = (sample("images-idx3", 3)?, sample("labels-idx1", 1)?);
    let data = Dataset::from_idx_bytes(&images, &labels, &["0"; 10])?;
    let mut seeds = Vec::new();
    let mut add = |target, name: &str, bytes| seeds.push(Seed { target, name: name.into(), bytes });

    add("idx", "images and labels", pair(&images, &labels));
    let mut gzipped = Vec::new();
    flate2::read::GzEncoder::new(&images[..], flate2::Compression::fast())
        .read_to_end(&mut gzipped)?;
    add("idx", "gzipped", pair(&gzipped, &labels));

    let planes = data.images().decode_at(0, Size::square(32))?;
    add("cifar", "cifar-10", [&[3], &planes[..]].concat());
    add("cifar", "cifar-100", [&[3, 77], &planes[..]].concat());
    add("labels", "with header", b"path,label\n\"a, b.jpg\",cat\n./c.png,dog\n".to_vec());
    add("labels", "numbers", b"train/1.jpg,10\r\ntrain/2.jpg,9\r\n".to_vec());

    let picture = DynamicImage::ImageRgb8(data.images().decode(1)?);
    let (alpha, deep) = (picture.to_rgba8().into(), picture.to_rgb16().into());
    let pictures = [
        ("jpeg", &picture, ImageFormat::Jpeg),
        ("png", &picture, ImageFormat::Png),
        ("png alpha", &alpha, ImageFormat::Png),
        ("png 16 bits", &deep, ImageFormat::Png),
        ("webp", &picture, ImageFormat::WebP),
        ("gif", &picture, ImageFormat::Gif),
        ("bmp", &picture, ImageFormat::Bmp),
        ("tiff", &picture, ImageFormat::Tiff),
    ];
    let mut archive = tar::Builder::new(Vec::new());
    for (name, picture, format) in pictures {
        let mut file = Cursor::new(Vec::new());
        picture.write_to(&mut file, format).with_context(|| format!("writing {name}"))?;
        let bytes = file.into_inner();
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, format!("train/a/{name}"), &bytes[..])?;
        add("image", name, bytes);
    }
    add("tar", "class folder", archive.into_inner()?);
    add("parquet", "hugging face", PARQUET.to_vec());

    let header = Header {
        size: Size::square(32),
        count: 10_000,
        fingerprint: [7; 32],
        failures_len: 2,
        failures_hash: *blake3::hash(b"[]").as_bytes(),
    };
    add("cache", "header", header.to_bytes().to_vec());

    let preset = hebbian::network::PRESETS[0].1;
    add("network", "preset", preset.as_bytes().to_vec());
    add("network", "small", NETWORK.as_bytes().to_vec());
    let folder = tempfile::tempdir()?;
    for (rule, whitening) in [("hpca", Whitening::None), ("soft-wta", Whitening::Hl21)] {
        let size = Size::square(8);
        let preprocess = Preprocess::fit(&data.images(), size, whitening, 1e-2, &mut |_, _| {})?;
        let spec = NetworkSpec::parse(NETWORK, "seed.toml".as_ref())?;
        let rule = rules::build(rule, toml::Table::new())?;
        let path = folder.path().join(rule.name());
        let mut model = Model::new(spec, rule.as_ref(), preprocess, 1)?;
        if rule.name() == "hpca" {
            let features = model.network.feature_len(model.network.depth());
            model.head = Some(HeadKind::Hidden(3).init(features, 2, 1)?);
            model.classes = vec!["a".into(), "b".into()];
        }
        model.save(&path)?;
        let read = |name| fs_err::read(path.join(name));
        let tensors = read("model.safetensors")?;
        add("model", rule.name(), pair(&read("model.toml")?, &tensors));
        add("tensors", rule.name(), tensors);
    }

    let path = folder.path().join("gallery");
    let mut writer = GalleryWriter::create(&path, GalleryInfo::new(2, "m", "seed", "L2"), false)?;
    for i in 0..=PICTURES {
        let label = (i % 2 == 0).then(|| "Bag".to_owned());
        let content = (i > 0).then(|| *blake3::hash(&[i as u8]).as_bytes());
        let location = Some("here".into());
        let item = Item { id: format!("train/{i}.jpg"), label, location, content };
        writer.push(&[item], &[i as f32, 0.5])?;
    }
    writer.build_graph(|_, _| {})?;
    writer.remove("train/0.jpg");
    let gallery = writer.finish()?;
    let read = |name| fs_err::read(path.join(name));
    add("gallery", "gallery", read("gallery.toml")?);
    add("gallery", "version 1", VERSION_1.to_vec());
    let vectors = read("segments/00000001/vectors.safetensors")?;
    add("vectors", "gallery", [&(vectors.len() as u64).to_le_bytes(), &vectors[..]].concat());
    let count = (PICTURES as u16 + 1).to_le_bytes();
    add("items", "gallery", [&count, &read("segments/00000001/items.parquet")?[..]].concat());
    let graph = read("segments/00000001/graph-00000002")?;
    add("graph", "gallery", [&count, &graph[..]].concat());
    let removed = read("segments/00000001/removed-00000003")?;
    add("removed", "gallery", [&[1, 0], &count, &removed[..]].concat());
    let npy = folder.path().join("vectors.npy");
    hebbian_search::npy::write_npy(&npy, &gallery)?;
    let npy = fs_err::read(npy)?;
    add("npy", "vectors", [&(npy.len() as u64).to_le_bytes(), &npy[..]].concat());
    Ok(seeds)
}

/// The first [`PICTURES`] records of an IDX file of the sample, as a file.
fn sample(name: &str, dims: usize) -> Result<Vec<u8>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../crates/hebb/sample/fashion-mnist")
        .join(format!("t10k-{name}-ubyte.gz"));
    let header = 4 + 4 * dims;
    let record = if dims == 3 { SIDE * SIDE } else { 1 };
    let mut bytes = vec![0; header + PICTURES * record];
    GzDecoder::new(fs_err::File::open(path)?).read_exact(&mut bytes)?;
    bytes[4..8].copy_from_slice(&(PICTURES as u32).to_be_bytes());
    Ok(bytes)
}
