//! From bytes to the numbers a network reads: normalisation and whitening.

mod moments;
mod patches;

use std::borrow::Cow;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Batch, Error, Images, Result, Size, batches, resize};
use moments::Moments;
pub use patches::PATCH;

/// The most elements a vector to whiten may have: its matrix has their square.
pub const MAX_DIM: usize = 8192;
/// Images a batch while fitting.
const FIT_BATCH: usize = 512;

/// Which of the published definitions of ZCA whitening. With the covariance
/// U S U^T both multiply by U (S + smoothing)^(-1/2) U^T.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Whitening {
    /// Normalisation alone.
    #[default]
    #[serde(rename = "none")]
    None,
    /// On pixels in 0 to 1, less the mean of each pixel of each channel, over
    /// whole images; covariance over (images - 1). HebbianPCA tag `hebbpca` and
    /// HebbianLearning e0d17e5.
    #[serde(rename = "hl-21")]
    Hl21,
    /// On pixels normalised by channel, with no further mean subtracted, over
    /// 32x32 patches each by itself; covariance over (images - 1). Images whose
    /// sides are no multiples of 32 are scaled up to the next ones before (210
    /// to 224) and back after. HebbianLearning 019d1a0, tag `fasthebb` and later.
    #[serde(rename = "hl-22")]
    Fh,
}

/// A fitted preprocessing.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocess {
    /// Of the images that go in.
    pub size: Size,
    /// Of each channel over the images fitted to, pixels in 0 to 1.
    pub mean: [f32; 3],
    /// Of each channel over the images fitted to, pixels in 0 to 1.
    pub std: [f32; 3],
    /// Whitening, if any.
    pub whitening: Option<Zca>,
}

/// A fitted whitening.
#[derive(Clone, Debug, PartialEq)]
pub struct Zca {
    /// Which definition; not [`Whitening::None`].
    pub kind: Whitening,
    /// Added to the eigenvalues of the covariance.
    pub smoothing: f64,
    /// dim: what is subtracted first ([`Whitening::Hl21`] alone, else empty).
    pub mean: Vec<f32>,
    /// dim x dim, symmetric.
    pub matrix: Vec<f32>,
}

/// The part of a [`Preprocess`] for a configuration file; the rest are tensors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parts {
    /// Of the images that go in.
    pub size: Size,
    /// Of each channel.
    pub mean: [f32; 3],
    /// Of each channel.
    pub std: [f32; 3],
    /// Which whitening.
    pub whitening: Whitening,
    /// Of the whitening.
    pub smoothing: f64,
}

/// A tensor's name, shape and elements, last dimension fastest.
pub type Tensor = (String, Vec<usize>, Vec<f32>);

const MATRIX: &str = "whitening.matrix";
const MEAN: &str = "whitening.mean";

impl Preprocess {
    /// Fits to all of `images` in one pass, in the same way for any number of threads.
    ///
    /// mean and std are those of each channel over all pixels, as published:
    /// std = sqrt(E\[x^2\] - E\[x\]^2). The published smoothing is 0.01. Images that
    /// can't be read are left out. `progress` is told images done and in all.
    ///
    /// # Errors
    /// [`Error::BadSize`] when the whitening can't take the size,
    /// [`Error::Parameter`] when the smoothing is not above 0 or fewer than two
    /// images can be read, and whatever reading the images brings.
    pub fn fit(
        images: &Images,
        size: Size,
        whitening: Whitening,
        smoothing: f64,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self> {
        let dim = dim(size.check()?, whitening)?;
        if whitening != Whitening::None && !(smoothing > 0.0 && smoothing.is_finite()) {
            let must = "it must be a number above 0".to_owned();
            return Err(Error::Parameter {
                name: "preprocess.smoothing",
                value: smoothing.to_string(),
                must,
            });
        }
        let mut moments = Moments::new(dim);
        let mut done = 0;
        for batch in batches(images, (0..images.len()).collect(), FIT_BATCH, size) {
            let batch = batch?;
            moments.add(&vectors(&batch.pixels, size, whitening)?, batch.rows.len());
            done += batch.rows.len();
            progress(done, images.len());
        }
        if done < 2 {
            return Err(Error::Parameter {
                name: "images to fit to",
                value: done.to_string(),
                must: "at least 2 that can be read are needed".to_owned(),
            });
        }
        let (mean, std) = moments.channels();
        let whitening = match whitening {
            Whitening::None => None,
            kind => Some(moments.zca(kind, smoothing)?),
        };
        Ok(Self { size, mean: mean.map(|m| m as f32), std: std.map(|s| s as f32), whitening })
    }

    /// Turns a batch into a network's input.
    ///
    /// # Shapes
    /// `out` becomes rows x height x width x 3 (NHWC).
    ///
    /// # Errors
    /// [`Error::BadSize`] when the batch has another size than was fitted, or
    /// its pixels do not match its rows.
    pub fn apply(&self, batch: &Batch, out: &mut Vec<f32>) -> Result<()> {
        let bytes = self.size.bytes();
        if batch.size != self.size || batch.pixels.len() != batch.rows.len() * bytes {
            let problem = format!("the preprocessing was fitted to {}; decode at that", self.size);
            return Err(Error::BadSize { size: batch.size, problem });
        }
        out.clear();
        out.resize(batch.pixels.len(), 0.0);
        if out.is_empty() {
            return Ok(());
        }
        let Some(zca) = &self.whitening else {
            self.normalise(&batch.pixels, out);
            return Ok(());
        };
        let dim = zca.dim();
        let pixels = vectors(&batch.pixels, self.size, zca.kind)?;
        let mut input = vec![0.0; pixels.len()];
        out.resize(pixels.len(), 0.0);
        match zca.kind {
            Whitening::Hl21 => {
                let less_mean = |(out, &pixel, &mean): (&mut f32, &u8, &f32)| {
                    *out = f32::from(pixel) / 255.0 - mean;
                };
                let rows = input.par_chunks_mut(dim).zip(pixels.par_chunks(dim));
                rows.for_each(|(out, row)| {
                    let each = out.iter_mut().zip(row).zip(&zca.mean);
                    each.map(|((o, p), m)| (o, p, m)).for_each(less_mean);
                });
            }
            _ => self.normalise(&pixels, &mut input),
        }
        hebbian_eigen::multiply(&input, &zca.matrix, dim, out);
        if zca.kind == Whitening::Fh {
            let whole = patches::whole(self.size);
            patches::join(out, whole);
            if whole != self.size {
                *out = resize::scale(out, whole, self.size)?;
            }
        }
        Ok(())
    }

    fn normalise(&self, pixels: &[u8], out: &mut [f32]) {
        let normalise = |(out, pixels): (&mut [f32], &[u8])| {
            for (out, pixel) in out.chunks_exact_mut(3).zip(pixels.chunks_exact(3)) {
                for c in 0..3 {
                    out[c] = (f32::from(pixel[c]) / 255.0 - self.mean[c]) / self.std[c];
                }
            }
        };
        // In pieces of whole pixels.
        let chunk = 3 << 10;
        out.par_chunks_mut(chunk).zip(pixels.par_chunks(chunk)).for_each(normalise);
    }

    /// What to store of it: settings for a configuration file, and tensors.
    pub fn to_parts(&self) -> (Parts, Vec<Tensor>) {
        let zca = self.whitening.as_ref();
        let parts = Parts {
            size: self.size,
            mean: self.mean,
            std: self.std,
            whitening: zca.map_or(Whitening::None, |zca| zca.kind),
            smoothing: zca.map_or(0.0, |zca| zca.smoothing),
        };
        let mut tensors = Vec::new();
        if let Some(zca) = zca {
            let dim = zca.dim();
            tensors.push((MATRIX.to_owned(), vec![dim, dim], zca.matrix.clone()));
            if zca.kind == Whitening::Hl21 {
                tensors.push((MEAN.to_owned(), vec![dim], zca.mean.clone()));
            }
        }
        (parts, tensors)
    }

    /// The reverse of [`Preprocess::to_parts`], for parts from anywhere;
    /// tensors of other names are left alone.
    ///
    /// # Errors
    /// [`Error::Preprocess`] when a tensor is missing, has another shape than
    /// its settings ask for, or a number is not finite; [`Error::BadSize`].
    pub fn from_parts(parts: &Parts, tensors: &[Tensor]) -> Result<Self> {
        let &Parts { size, mean, std, whitening, smoothing } = parts;
        let dim = dim(size.check()?, whitening)?;
        let bad = |problem: String| Error::Preprocess { problem };
        if !mean.iter().all(|m| m.is_finite()) || !std.iter().all(|s| s.is_finite() && *s > 0.0) {
            return Err(bad("mean or std is not a number, or std is not above 0".to_owned()));
        }
        let tensor = |name: &str, shape: &[usize]| {
            let (_, found, elements) = tensors
                .iter()
                .find(|(n, _, _)| n == name)
                .ok_or_else(|| bad(format!("{name} is missing")))?;
            if found != shape || elements.len() != shape.iter().product::<usize>() {
                return Err(bad(format!("{name} has shape {found:?}, {shape:?} is due")));
            }
            if !elements.iter().all(|x| x.is_finite()) {
                return Err(bad(format!("{name} holds a number that is not finite")));
            }
            Ok(elements.clone())
        };
        let whitening = match whitening {
            Whitening::None => None,
            kind => {
                let hl21 = kind == Whitening::Hl21;
                let mean = if hl21 { tensor(MEAN, &[dim])? } else { Vec::new() };
                Some(Zca { kind, smoothing, mean, matrix: tensor(MATRIX, &[dim, dim])? })
            }
        };
        Ok(Self { size, mean, std, whitening })
    }
}

impl Zca {
    /// Elements of one whitened vector.
    pub fn dim(&self) -> usize {
        self.matrix.len().isqrt()
    }
}

/// Elements of one vector of the statistics: a channel's pixel, an image or a patch.
fn dim(size: Size, whitening: Whitening) -> Result<usize> {
    let bad = |problem: String| Err(Error::BadSize { size, problem });
    match whitening {
        Whitening::None => Ok(3),
        Whitening::Hl21 if size.bytes() <= MAX_DIM => Ok(size.bytes()),
        Whitening::Hl21 => bad(format!(
            "hl-21 whitens whole images of at most {MAX_DIM} numbers (52x52); use hl-22"
        )),
        Whitening::Fh if patches::is_one(size) => Ok(size.bytes()),
        Whitening::Fh => Ok(PATCH * PATCH * 3),
    }
}

/// The pixels of a batch, one vector of the statistics after the other.
fn vectors(pixels: &[u8], size: Size, whitening: Whitening) -> Result<Cow<'_, [u8]>> {
    if whitening != Whitening::Fh {
        return Ok(Cow::Borrowed(pixels));
    }
    let whole = patches::whole(size);
    if whole == size {
        return Ok(patches::split(pixels, size));
    }
    let scaled = resize::scale(pixels, size, whole)?;
    Ok(Cow::Owned(patches::split(&scaled, whole).into_owned()))
}
