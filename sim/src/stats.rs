//! Counters and latency histograms.

use hdrhistogram::Histogram;

use crate::time::Time;

/// Latencies with three significant digits. Unit: picoseconds inside, [`Time`] outside.
#[derive(Clone, Debug)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        Self(Histogram::new(3).expect("three digits are legal"))
    }
}

impl Latency {
    /// Counts one latency.
    pub fn record(&mut self, t: Time) {
        self.0.record(t.as_ps()).expect("the histogram grows as needed");
    }
    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.0.len()
    }
    /// The value that `q` (0.0..=1.0) of all counted latencies do not exceed; zero when empty.
    pub fn quantile(&self, q: f64) -> Time {
        Time::ps(self.0.value_at_quantile(q))
    }
    /// Arithmetic mean; zero when empty.
    pub fn mean(&self) -> Time {
        Time::ps(self.0.mean() as u64)
    }
    /// The longest; zero when empty.
    pub fn max(&self) -> Time {
        Time::ps(self.0.max())
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn long_latencies_keep_three_digits() {
        let mut latency = Latency::default();
        for us in 1..=100 {
            latency.record(Time::us(us));
        }
        let near = |got: Time, want: Time| {
            let (got, want) = (got.as_ps() as f64, want.as_ps() as f64);
            assert!((got - want).abs() / want < 0.002, "{got} {want}");
        };
        near(latency.quantile(0.5), Time::us(50));
        near(latency.max(), Time::us(100));
        near(latency.mean(), Time::ns(50_500));
        assert_eq!(latency.count(), 100);
    }
}
