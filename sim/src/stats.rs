//! Counters and latency histograms.

use hdrhistogram::Histogram;

use crate::time::Time;

/// Latencies with three significant digits. Unit: picoseconds inside, [`Time`] outside.
///
/// An empty one takes no room: platforms have thousands of components that never measure anything.
#[derive(Clone, Debug, Default)]
pub struct Latency(Option<Box<Histogram<u64>>>);

impl Latency {
    /// Counts one latency.
    pub fn record(&mut self, t: Time) {
        let empty = || Box::new(Histogram::new(3).expect("three digits are legal"));
        self.0.get_or_insert_with(empty).record(t.as_ps()).expect("the histogram grows as needed");
    }
    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, |counts| counts.len())
    }
    /// The value that `q` (0.0..=1.0) of all counted latencies do not exceed; zero when empty.
    pub fn quantile(&self, q: f64) -> Time {
        self.of(|counts| counts.value_at_quantile(q))
    }
    /// Arithmetic mean; zero when empty.
    pub fn mean(&self) -> Time {
        self.of(|counts| counts.mean() as u64)
    }
    /// The longest; zero when empty.
    pub fn max(&self) -> Time {
        self.of(Histogram::max)
    }

    fn of(&self, ps: impl FnOnce(&Histogram<u64>) -> u64) -> Time {
        self.0.as_deref().map_or(Time::ZERO, |counts| Time::ps(ps(counts)))
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn an_empty_one_says_zero() {
        let latency = Latency::default();
        let said = [latency.quantile(0.99), latency.mean(), latency.max()];
        assert_eq!((latency.count(), said), (0, [Time::ZERO; 3]));
    }

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
