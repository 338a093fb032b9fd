//! The evidence lower bound: its two losses, and the gradients by image and
//! code.

use hebbian_data::seed;
use rand::RngExt;
use rayon::prelude::*;

/// Numbers one task sums; fixed, so that sums do not depend on the threads.
const CHUNK: usize = 1 << 12;

/// Losses of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Losses {
    /// Mean squared error over all numbers of the images, as they are
    /// normalised for the network.
    pub reconstruction: f64,
    /// Mean over the images of the Kullback-Leibler divergence, summed over
    /// the latent vector.
    pub divergence: f64,
}

impl Losses {
    /// What is minimised: `reconstruction + beta divergence`.
    pub fn total(&self, beta: f64) -> f64 {
        self.reconstruction + beta * self.divergence
    }
}

/// `n` numbers from a standard normal distribution (Box and Muller 1958), from
/// the stream `purpose` of `seed`.
pub fn noise(n: usize, seed: u64, purpose: &str) -> Vec<f32> {
    let mut rng = seed::stream(seed, purpose);
    let mut pair = || {
        // In (0, 1], so that the logarithm is finite.
        let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * rng.random::<f64>()).sin_cos();
        [(radius * cos) as f32, (radius * sin) as f32]
    };
    let mut all: Vec<f32> = (0..n.div_ceil(2)).flat_map(|_| pair()).collect();
    all.truncate(n);
    all
}

/// Mean squared error of `image` against `x`.
pub(super) fn squared_error(image: &[f32], x: &[f32]) -> f64 {
    let parts: Vec<f64> = image
        .par_chunks(CHUNK)
        .zip(x.par_chunks(CHUNK))
        .map(|(a, b)| a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum())
        .collect();
    parts.iter().sum::<f64>() / x.len() as f64
}

/// Its gradient by `image`.
pub(super) fn squared_error_gradient(image: &[f32], x: &[f32], d: &mut [f32]) {
    let factor = 2.0 / x.len() as f32;
    let inputs = image.par_chunks(CHUNK).zip(x.par_chunks(CHUNK));
    d.par_chunks_mut(CHUNK).zip(inputs).for_each(|(d, (a, b))| {
        d.iter_mut().zip(a.iter().zip(b)).for_each(|(d, (a, b))| *d = factor * (a - b));
    });
}

/// Latent vectors (batch x latent) from codes (batch x 2 latent: mean, then
/// log-variance) and noise (batch x latent).
pub(super) fn sample(code: &[f32], noise: &[f32], latent: usize, z: &mut Vec<f32>) {
    z.clear();
    for (code, noise) in code.chunks_exact(2 * latent).zip(noise.chunks_exact(latent)) {
        let (mean, log_var) = code.split_at(latent);
        let numbers = mean.iter().zip(log_var).zip(noise);
        z.extend(numbers.map(|((mean, log_var), noise)| mean + (log_var / 2.0).exp() * noise));
    }
}

/// Mean over the batch of the divergence of `N(mean, exp(log_var))` from
/// `N(0, 1)`, summed over the latent vector: `-(1 + log_var - mean^2 -
/// exp(log_var)) / 2`.
pub(super) fn divergence(code: &[f32], latent: usize) -> f64 {
    let mut sum = 0.0;
    for code in code.chunks_exact(2 * latent) {
        let (mean, log_var) = code.split_at(latent);
        for (&mean, &log_var) in mean.iter().zip(log_var) {
            let (mean, log_var) = (f64::from(mean), f64::from(log_var));
            sum -= 0.5 * (1.0 + log_var - mean * mean - log_var.exp());
        }
    }
    sum * (2 * latent) as f64 / code.len() as f64
}

/// Gradient by the codes of the reconstruction, whose gradient by the latent
/// vectors is `d_z`, plus `beta` times the divergence.
pub(super) fn code_gradient(
    code: &[f32],
    noise: &[f32],
    d_z: &[f32],
    latent: usize,
    beta: f64,
    d_code: &mut [f32],
) {
    let weight = (beta * (2 * latent) as f64 / code.len() as f64) as f32;
    let inputs = code.chunks_exact(2 * latent).zip(noise.chunks_exact(latent));
    let inputs = inputs.zip(d_z.chunks_exact(latent));
    for (d_code, ((code, noise), d_z)) in d_code.chunks_exact_mut(2 * latent).zip(inputs) {
        for i in 0..latent {
            let (mean, log_var) = (code[i], code[latent + i]);
            let std = (log_var / 2.0).exp();
            d_code[i] = d_z[i] + weight * mean;
            d_code[latent + i] = 0.5 * (d_z[i] * noise[i] * std + weight * (log_var.exp() - 1.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_standard_normal_and_of_its_stream() {
        let all = noise(100_001, 3, "vae-noise/0");
        let n = all.len() as f64;
        let moment = |k| all.iter().map(|&x| f64::from(x).powi(k)).sum::<f64>() / n;
        assert!(moment(1).abs() < 0.02, "{}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.03, "{}", moment(2));
        assert!((moment(4) - 3.0).abs() < 0.2, "{}", moment(4));
        assert_eq!(all[..9], noise(9, 3, "vae-noise/0"));
        assert_ne!(all[..9], noise(9, 3, "vae-noise/1"));
    }

    #[test]
    fn a_standard_normal_code_diverges_by_nothing() {
        assert_eq!(divergence(&[0.0; 12], 3), 0.0);
        // One image, mean 2 and variance e.
        let want = 0.5 * (4.0 + std::f64::consts::E - 2.0);
        assert!((divergence(&[2.0, 1.0], 1) - want).abs() < 1e-12);
    }
}
