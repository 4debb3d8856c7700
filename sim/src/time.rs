//! Simulated time in integer picoseconds, and clocks that count it in cycles.

use std::fmt;
use std::ops::{Add, AddAssign, Div, Mul, Rem, Sub};

/// A point in, or a span of, simulated time. Unit: picoseconds. Covers 213 days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The start of the simulation; also the empty span.
    pub const ZERO: Self = Self(0);
    /// Later than every event.
    pub const MAX: Self = Self(u64::MAX);

    /// `n` picoseconds.
    pub const fn ps(n: u64) -> Self {
        Self(n)
    }
    /// `n` nanoseconds.
    pub const fn ns(n: u64) -> Self {
        Self(n * 1_000)
    }
    /// `n` microseconds.
    pub const fn us(n: u64) -> Self {
        Self(n * 1_000_000)
    }
    /// `n` milliseconds.
    pub const fn ms(n: u64) -> Self {
        Self(n * 1_000_000_000)
    }
    /// The value in picoseconds.
    pub const fn as_ps(self) -> u64 {
        self.0
    }
    /// The value in nanoseconds, with a fraction.
    pub fn as_ns_f64(self) -> f64 {
        self.0 as f64 / 1e3
    }
    /// The value in seconds, with a fraction.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e12
    }
    /// `self - other`, or zero when `other` is later.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
    /// `self + other`, or [`Time::MAX`].
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Add for Time {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}
impl AddAssign for Time {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}
impl Sub for Time {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}
impl Mul<u64> for Time {
    type Output = Self;
    fn mul(self, n: u64) -> Self {
        Self(self.0 * n)
    }
}
impl Div<u64> for Time {
    type Output = Self;
    fn div(self, n: u64) -> Self {
        Self(self.0 / n)
    }
}
impl Rem for Time {
    type Output = Self;
    fn rem(self, other: Self) -> Self {
        Self(self.0 % other.0)
    }
}

/// Prints with the largest unit that keeps at least one whole digit: `1.234 us`.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = match self.0 {
            0 => return f.pad("0 ns"),
            1..1_000 => return f.pad(&format!("{} ps", self.0)),
            1_000..1_000_000 => (self.0 as f64 / 1e3, "ns"),
            1_000_000..1_000_000_000 => (self.0 as f64 / 1e6, "us"),
            1_000_000_000..1_000_000_000_000 => (self.0 as f64 / 1e9, "ms"),
            _ => (self.0 as f64 / 1e12, "s"),
        };
        f.pad(&format!("{value:.3} {unit}"))
    }
}

/// A clock domain: edges at whole multiples of its period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    period: Time,
}

impl Clock {
    /// A clock with the given period. Panics on a period of zero.
    pub const fn from_period(period: Time) -> Self {
        assert!(period.0 > 0, "a clock needs a period");
        Self { period }
    }
    /// A clock of `n` MHz; the period is rounded down to whole picoseconds. `n` in 1..=1_000_000.
    pub const fn mhz(n: u64) -> Self {
        assert!(n > 0 && n <= 1_000_000, "clock frequency out of range");
        Self { period: Time(1_000_000 / n) }
    }
    /// Length of one cycle.
    pub const fn period(self) -> Time {
        self.period
    }
    /// `n` cycles.
    pub const fn cycles(self, n: u64) -> Time {
        Time(self.period.0 * n)
    }
    /// The first edge at or after `t`.
    pub const fn edge(self, t: Time) -> Time {
        Time(t.0.div_ceil(self.period.0) * self.period.0)
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn prints_with_a_fitting_unit() {
        for (t, want) in [
            (Time::ZERO, "0 ns"),
            (Time::ps(999), "999 ps"),
            (Time::ps(1_500), "1.500 ns"),
            (Time::us(35), "35.000 us"),
            (Time::ms(1200), "1.200 s"),
        ] {
            assert_eq!(t.to_string(), want);
        }
    }

    #[test]
    fn clock_edges() {
        let clock = Clock::mhz(1000);
        for (t, want) in [(0, 0), (1, 1000), (1000, 1000), (1001, 2000)] {
            assert_eq!(clock.edge(Time::ps(t)), Time::ps(want));
        }
        assert_eq!(Clock::mhz(3000).cycles(3), Time::ps(999));
    }
}
