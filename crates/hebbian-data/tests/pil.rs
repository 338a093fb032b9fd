//! Decoding and scaling beside PIL's. `pil/make.py` made the files and says how.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use hebbian_data::{Dataset, Size};
use image::RgbImage;

#[cfg(feature = "turbojpeg")]
const JPEG: [&str; 5] = ["grey", "444", "422", "420", "420-progressive"];

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pil").join(name)
}

fn pil(name: &str) -> RgbImage {
    image::load_from_memory(&fs_err::read(file(name)).unwrap()).unwrap().into_rgb8()
}

fn ours(name: &str, side: usize) -> Vec<u8> {
    Dataset::open(&file(name)).unwrap().images().decode_at(0, Size::square(side)).unwrap()
}

/// Largest and mean difference.
fn apart(ours: &[u8], pil: &RgbImage) -> (u8, f64) {
    assert_eq!(ours.len(), pil.as_raw().len());
    let differences = || ours.iter().zip(pil.as_raw()).map(|(a, b)| a.abs_diff(*b));
    let sum: f64 = differences().map(f64::from).sum();
    (differences().max().unwrap(), sum / ours.len() as f64)
}

#[test]
fn scaling_is_that_of_pil_within_a_level() {
    for side in [20, 32, 64, 210] {
        let (largest, mean) = apart(&ours("scene.png", side), &pil(&format!("scene.{side}.png")));
        println!("scene.png at {side}: {largest}, mean {mean:.3}");
        assert!(largest <= 1, "at {side}: {largest}");
    }
}

/// The decoder in Rust rounds its cosine transform (grey), the change of colours (4:4:4) and the
/// interpolation of halved ones (the others) otherwise than libjpeg-turbo; in the last column it
/// interpolates into the padding of the last block. See decision 16.
#[test]
#[cfg(not(feature = "turbojpeg"))]
fn decoding_is_near_that_of_pil() {
    for (name, within, edge) in
        [("grey", 1, 1), ("444", 2, 2), ("422", 3, 9), ("420", 3, 9), ("420-progressive", 3, 9)]
    {
        let jpeg = Dataset::open(&file(&format!("{name}.jpg"))).unwrap();
        let (ours, pil) = (jpeg.images().decode(0).unwrap(), pil(&format!("{name}.decoded.png")));
        let (largest, mean) = apart(ours.as_raw(), &pil);
        println!("{name}.jpg: {largest}, mean {mean:.3}");
        assert!(largest <= edge && mean < 0.4, "{name}: {largest}, mean {mean}");
        let inner = |image: &RgbImage| {
            image::imageops::crop_imm(image, 0, 0, image.width() - 1, image.height()).to_image()
        };
        let (largest, _) = apart(inner(&ours).as_raw(), &inner(&pil));
        assert!(largest <= within, "{name}: {largest}");
    }
}

#[test]
#[cfg(feature = "turbojpeg")]
fn decoding_is_that_of_pil() {
    for name in JPEG {
        let image =
            Dataset::open(&file(&format!("{name}.jpg"))).unwrap().images().decode(0).unwrap();
        let largest = apart(image.as_raw(), &pil(&format!("{name}.decoded.png"))).0;
        assert_eq!(largest, 0, "{name}");
    }
}

#[test]
#[cfg(feature = "turbojpeg")]
fn reduced_decoding_and_scaling_are_those_of_pil_within_a_level() {
    for name in JPEG {
        for side in [20, 32, 64] {
            let pil = pil(&format!("{name}.{side}.png"));
            let (largest, mean) = apart(&ours(&format!("{name}.jpg"), side), &pil);
            println!("{name}.jpg at {side}: {largest}, mean {mean:.3}");
            assert!(largest <= 1, "{name} at {side}: {largest}");
        }
    }
}
