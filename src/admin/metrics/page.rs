//! Series, written by the library.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet,
};

use super::family::Family;
use crate::telemetry::meter::{BOUNDS_US, Histogram};

/// Where a scrape is written.
pub(super) struct Page<'a, 'e>(pub(super) &'a mut DescriptorEncoder<'e>);

/// The values of a family's labels, in their order.
type Values<'a, const N: usize> = [&'a str; N];

impl Page<'_, '_> {
    pub(super) fn counters<'v, const N: usize>(
        &mut self,
        family: &Family,
        series: impl IntoIterator<Item = (Values<'v, N>, u64)>,
    ) -> fmt::Result {
        let mut encoder = self.begin(family)?;
        series.into_iter().try_for_each(|(values, count)| {
            let labels = labels(family, values);
            encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)
        })
    }

    pub(super) fn gauges<'v, const N: usize, V: EncodeGaugeValue>(
        &mut self,
        family: &Family,
        series: impl IntoIterator<Item = (Values<'v, N>, V)>,
    ) -> fmt::Result {
        let mut encoder = self.begin(family)?;
        series.into_iter().try_for_each(|(values, value)| {
            let labels = labels(family, values);
            encoder.encode_family(&labels)?.encode_gauge(&value)
        })
    }

    pub(super) fn histograms<'v, const N: usize>(
        &mut self,
        family: &Family,
        series: impl IntoIterator<Item = (Values<'v, N>, &'v Histogram)>,
    ) -> fmt::Result {
        let mut encoder = self.begin(family)?;
        series.into_iter().try_for_each(|(values, histogram)| {
            let labels = labels(family, values);
            let bounds = BOUNDS_US.iter().map(|us| seconds(*us)).chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(histogram.counts).collect();
            let (sum, count) = (seconds(histogram.sum_us), histogram.count());
            let mut encoder = encoder.encode_family(&labels)?;
            encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
        })
    }

    pub(super) fn counter(
        &mut self,
        family: &Family,
        count: impl EncodeCounterValue,
    ) -> fmt::Result {
        self.begin(family)?.encode_counter::<NoLabelSet, _, u64>(&count, None)
    }

    pub(super) fn gauge(&mut self, family: &Family, value: impl EncodeGaugeValue) -> fmt::Result {
        self.begin(family)?.encode_gauge(&value)
    }

    pub(super) fn info<const N: usize>(
        &mut self,
        family: &Family,
        values: Values<'_, N>,
    ) -> fmt::Result {
        self.begin(family)?.encode_info(&labels(family, values))
    }

    fn begin(&mut self, family: &Family) -> Result<MetricEncoder<'_>, fmt::Error> {
        let (name, unit) = (family.name(), family.unit());
        self.0.encode_descriptor(name, family.help, unit, family.metric_type())
    }
}

fn labels<'v, const N: usize>(
    family: &Family,
    values: Values<'v, N>,
) -> [(&'static str, &'v str); N] {
    debug_assert_eq!(family.labels.len(), N, "{}", family.name());
    std::array::from_fn(|index| {
        (family.labels.get(index).copied().unwrap_or("label"), values[index])
    })
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}
