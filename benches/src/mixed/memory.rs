//! Whether memory grows.

use std::time::Duration;

/// The memory at moments of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(Vec<(Duration, u64)>);

impl Samples {
    pub(super) fn take(&mut self, at: Duration, kib: u64) {
        self.0.push((at, kib));
    }

    pub(super) const fn count(&self) -> usize {
        self.0.len()
    }

    /// Those after a moment.
    pub(super) fn after(mut self, moment: Duration) -> Self {
        self.0.retain(|(at, _)| *at >= moment);
        self
    }

    pub(super) fn first(&self) -> u64 {
        self.0.first().map_or(0, |(_, kib)| *kib)
    }

    pub(super) fn last(&self) -> u64 {
        self.0.last().map_or(0, |(_, kib)| *kib)
    }

    /// KiB a minute, by the straight line that is nearest to all.
    #[expect(clippy::cast_precision_loss, reason = "a slope for people")]
    pub(super) fn slope(&self) -> f64 {
        let points = self.0.iter();
        let points = points.map(|(at, kib)| (at.as_secs_f64() / 60.0, *kib as f64));
        let count = self.0.len().max(1) as f64;
        let (x, y) = points
            .clone()
            .fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        let (x, y) = (x / count, y / count);
        let (over, under) = points.fold((0.0, 0.0), |sum, point| {
            let off = point.0 - x;
            (sum.0 + off * (point.1 - y), sum.1 + off * off)
        });
        if under > 0.0 { over / under } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_slope_and_noise_has_none() {
        let samples = |values: &[u64]| {
            let at = |index: u64| Duration::from_secs(30 * index);
            Samples((0..).map(at).zip(values.iter().copied()).collect())
        };
        assert!((samples(&[10, 20, 30, 40]).slope() - 20.0).abs() < 1e-9);
        assert!(samples(&[10, 12, 12, 10]).slope().abs() < 1e-9);
        assert!(samples(&[]).slope().abs() < 1e-9);
    }
}
