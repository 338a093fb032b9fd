//! Means and their Student-t intervals.

use std::f64::consts::PI;
use std::fmt;

/// What n runs say together.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The values.
    pub values: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// Half-width of the 95% confidence interval of the mean, by Student's t;
    /// none of a single value.
    pub half_width: Option<f64>,
}

impl Sample {
    /// Of at least one value; none of nothing.
    pub fn new(values: Vec<f64>) -> Option<Self> {
        let n = values.len();
        if n == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        let half_width = standard_deviation(&values)
            .map(|s| t_quantile(0.975, (n - 1) as f64) * s / (n as f64).sqrt());
        Some(Self { values, mean, half_width })
    }

    /// How many values there are.
    pub fn n(&self) -> usize {
        self.values.len()
    }
}

impl fmt::Display for Sample {
    /// `36.11 ± 0.42`: the mean, and half of its interval where it is known; by
    /// `{:+}` with the mean's sign.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match f.sign_plus() {
            true => write!(f, "{:+.2}", self.mean)?,
            false => write!(f, "{:.2}", self.mean)?,
        }
        self.half_width.map_or(Ok(()), |half_width| write!(f, " ± {half_width:.2}"))
    }
}

/// Which of some means are the highest as they are printed: what reads the same is
/// the same. None where all are, or some are of more runs than others.
pub fn highest(samples: &[Option<&Sample>]) -> Vec<bool> {
    let shown = |sample: &Sample| (100.0 * sample.mean).round();
    let known = || samples.iter().flatten();
    let highest = known().map(|sample| shown(sample)).fold(f64::NEG_INFINITY, f64::max);
    let even = known().all(|sample| known().next().is_some_and(|first| first.n() == sample.n()));
    let compared = even && known().any(|sample| shown(sample) < highest);
    samples.iter().map(|s| compared && s.is_some_and(|s| shown(s) == highest)).collect()
}

/// Sample standard deviation (over n - 1); none of fewer than two values.
pub fn standard_deviation(values: &[f64]) -> Option<f64> {
    let n = values.len();
    if n < 2 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n as f64;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    Some((squares / (n - 1) as f64).sqrt())
}

/// The `p`-quantile (0.5 to below 1) of Student's t with `freedom` degrees of
/// freedom, to about twelve digits.
///
/// From the distribution function `1 - I(v / (v + t^2); v / 2, 1 / 2) / 2`,
/// by bisection.
pub fn t_quantile(p: f64, freedom: f64) -> f64 {
    debug_assert!((0.5..1.0).contains(&p) && freedom > 0.0);
    let below = |t: f64| {
        let x = freedom / (freedom + t * t);
        1.0 - 0.5 * incomplete_beta(freedom / 2.0, 0.5, x)
    };
    let (mut low, mut high) = (0.0, 1.0);
    while below(high) < p && high < 1e12 {
        high *= 2.0;
    }
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if below(middle) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// The regularised incomplete beta function `I(x; a, b)` for x from 0 to 1, by
/// its continued fraction (DLMF 8.17.22), which converges fast below
/// `(a + 1) / (a + b + 2)`; above, by its symmetry.
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    let front = a * x.ln() + b * (1.0 - x).ln() + ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b);
    // Lentz's method: the fraction as a product of ratios of its convergents.
    let tiny = 1e-300;
    let away = |value: f64| if value.abs() < tiny { tiny } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for m in 1..500 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let before = fraction;
        for term in [even, odd] {
            d = 1.0 / away(1.0 + term * d);
            c = away(1.0 + term / c);
            fraction *= c * d;
        }
        if (fraction - before).abs() <= 1e-15 * fraction.abs() {
            break;
        }
    }
    front.exp() * fraction / a
}

/// Logarithm of the gamma function above 0: Stirling's series (DLMF 5.11.1),
/// after moving the argument up to where six terms suffice.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 12.0 {
        shift -= x.ln();
        x += 1.0;
    }
    let inverse = 1.0 / (x * x);
    let terms =
        [1.0 / 12.0, -1.0 / 360.0, 1.0 / 1260.0, -1.0 / 1680.0, 1.0 / 1188.0, -691.0 / 360_360.0];
    let series = terms.iter().rev().fold(0.0, |sum, term| sum * inverse + term) / x;
    shift + (x - 0.5) * x.ln() - x + 0.5 * (2.0 * PI).ln() + series
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        // Two-sided 95%: NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2.
        let table = [
            (1.0, 12.706),
            (2.0, 4.303),
            (3.0, 3.182),
            (4.0, 2.776),
            (5.0, 2.571),
            (9.0, 2.262),
            (10.0, 2.228),
            (19.0, 2.093),
            (30.0, 2.042),
            (60.0, 2.000),
            (100.0, 1.984),
        ];
        for (freedom, t) in table {
            assert!((t_quantile(0.975, freedom) - t).abs() < 6e-4, "{freedom}");
        }
        for (p, t) in [(0.90, 1.533), (0.95, 2.132), (0.99, 3.747), (0.995, 4.604)] {
            assert!((t_quantile(p, 4.0) - t).abs() < 6e-4, "{p}");
        }
        // Closed forms: with one degree tan(pi (p - 1/2)), with two
        // (2p - 1) sqrt(2 / (4 p (1 - p))); in the limit the normal's.
        let (one, two) = ((PI * 0.475).tan(), 0.95 * (2.0 / (4.0 * 0.975 * 0.025f64)).sqrt());
        assert!((t_quantile(0.975, 1.0) - one).abs() < 1e-9);
        assert!((t_quantile(0.975, 2.0) - two).abs() < 1e-9);
        assert!((t_quantile(0.975, 1e7) - 1.959_963_984_540_054).abs() < 1e-6);
    }

    #[test]
    fn the_gamma_function_of_halves_and_whole_numbers() {
        let mut factorial = 1.0f64;
        for n in 1..20 {
            assert!((ln_gamma(f64::from(n)) - factorial.ln()).abs() < 1e-12, "{n}");
            factorial *= f64::from(n);
        }
        assert!((ln_gamma(0.5) - PI.sqrt().ln()).abs() < 1e-12);
    }

    #[test]
    fn five_runs_by_hand() {
        // Mean 3, deviation sqrt(2.5), 2.776 sqrt(2.5) / sqrt(5) = 1.963.
        let sample = Sample::new(vec![1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        assert_eq!((sample.mean, sample.n()), (3.0, 5));
        assert!((sample.half_width.unwrap() - 1.9633).abs() < 1e-3);
        assert_eq!(Sample::new(vec![7.0]).unwrap().half_width, None);
        assert_eq!(Sample::new(vec![2.0, 2.0]).unwrap().half_width, Some(0.0));
        assert!(Sample::new(vec![]).is_none());
    }

    proptest! {
        /// The distribution function at the quantile, by Simpson's rule over the density.
        #[test]
        fn quantiles_part_the_area(p in 0.55..0.995f64, freedom in 2u32..40) {
            let v = f64::from(freedom);
            let t = t_quantile(p, v);
            let density = |x: f64| {
                let ln = ln_gamma((v + 1.0) / 2.0) - ln_gamma(v / 2.0) - 0.5 * (v * PI).ln();
                (ln - (v + 1.0) / 2.0 * (x * x / v).ln_1p()).exp()
            };
            let (steps, h) = (2000, t / 2000.0);
            let weight = |i: i32| if i == 0 || i == steps { 1.0 } else if i % 2 == 1 { 4.0 } else { 2.0 };
            let area: f64 = (0..=steps).map(|i| weight(i) * density(h * f64::from(i))).sum();
            prop_assert!((0.5 + area * h / 3.0 - p).abs() < 1e-8);
        }

        /// Another unit, another origin: the same interval.
        #[test]
        fn intervals_scale_and_shift(
            values in prop::collection::vec(-100.0..100.0f64, 2..12),
            factor in 0.1..10.0f64, shift in -50.0..50.0f64,
        ) {
            let before = Sample::new(values.clone()).unwrap();
            let after = Sample::new(values.iter().map(|v| factor * v + shift).collect()).unwrap();
            prop_assert!((after.mean - (factor * before.mean + shift)).abs() < 1e-9);
            let (a, b) = (before.half_width.unwrap(), after.half_width.unwrap());
            prop_assert!((factor * a - b).abs() <= 1e-9 * (1.0 + b));
        }
    }

    #[test]
    fn the_interval_holds_the_mean_in_95_of_100_cases() {
        use hebbian_data::seed;
        use rand::RngExt;
        let mut rng = seed::stream(0, "coverage");
        // Sums of twelve uniform numbers are normal enough, with mean 0.
        let mut normal = || (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
        let trials = 20_000;
        let held = (0..trials).filter(|_| {
            let sample = Sample::new((0..5).map(|_| normal()).collect()).unwrap();
            sample.mean.abs() <= sample.half_width.unwrap()
        });
        let share = held.count() as f64 / f64::from(trials);
        assert!((share - 0.95).abs() < 0.006, "{share}");
    }
}
