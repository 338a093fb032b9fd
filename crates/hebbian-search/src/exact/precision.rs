//! The two number types that the matrix product runs in.

use std::ops::{Add, Mul, Sub};

use crate::gemm::Multiply;

/// Number type of the matrix product that finds candidates: `f32` or `f64`.
pub(crate) trait Precision:
    Copy
    + Default
    + PartialOrd
    + Add<Output = Self>
    + Mul<Output = Self>
    + Sub<Output = Self>
    + Send
    + Sync
    + Multiply
    + 'static
{
    /// 0.
    const ZERO: Self;
    /// Greater than every finite number.
    const INFINITY: Self;
    /// Unit round-off: half the spacing of the numbers just above 1.
    const UNIT: f64;
    /// The most that a product of two differences of f32 numbers loses near 0.
    const UNDERFLOW: f64;
    /// Squared distances up to this keep clear of overflow, whatever the order of summation.
    const LARGEST: f64;
    /// Below this, sums of integers are exact whatever their order.
    const EXACT_INTEGERS: f64;

    /// The same number, in this type.
    fn from_f32(value: f32) -> Self;

    /// The nearest number of this type.
    fn round(value: f64) -> Self;

    /// A number of this type not below `value`.
    fn round_up(value: f64) -> Self;

    /// The same number, in double precision.
    fn widen(self) -> f64;

    /// `self * factor + term`, rounded once.
    fn mul_add(self, factor: Self, term: Self) -> Self;
}

impl Precision for f32 {
    const ZERO: Self = 0.0;
    const INFINITY: Self = Self::INFINITY;
    const UNIT: f64 = Self::EPSILON as f64 / 2.0;
    const UNDERFLOW: f64 = Self::from_bits(1) as f64 / 2.0;
    const LARGEST: f64 = (1_u128 << 120) as f64;
    const EXACT_INTEGERS: f64 = (1_u64 << Self::MANTISSA_DIGITS) as f64;

    #[inline]
    fn from_f32(value: f32) -> Self {
        value
    }

    #[inline]
    fn round(value: f64) -> Self {
        value as Self
    }

    #[inline]
    fn round_up(value: f64) -> Self {
        (value as Self).next_up()
    }

    #[inline]
    fn widen(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        self.mul_add(factor, term)
    }
}

impl Precision for f64 {
    const ZERO: Self = 0.0;
    const INFINITY: Self = Self::INFINITY;
    const UNIT: f64 = Self::EPSILON / 2.0;
    // The square of the smallest f32 is far from the smallest f64, and that of the largest from
    // the largest.
    const UNDERFLOW: f64 = 0.0;
    const LARGEST: f64 = Self::INFINITY;
    const EXACT_INTEGERS: f64 = (1_u64 << Self::MANTISSA_DIGITS) as f64;

    #[inline]
    fn from_f32(value: f32) -> Self {
        Self::from(value)
    }

    #[inline]
    fn round(value: f64) -> Self {
        value
    }

    #[inline]
    fn round_up(value: f64) -> Self {
        value
    }

    #[inline]
    fn widen(self) -> f64 {
        self
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        self.mul_add(factor, term)
    }
}
