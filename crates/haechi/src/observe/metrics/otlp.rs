//! Metrics to a collector: the text of `/metrics`, as OTLP. It is read rather than counted a second time, so both say the same.

use crate::{
    FolderError, House,
    observe::{
        collector::{Collector, header_map, resource, unusable},
        readiness::is_ready,
    },
};
use axum::http::HeaderMap;
use bytes::Bytes;
use haechi_model::TelemetryConfig;
use opentelemetry_proto::{
    tonic::{
        collector::metrics::v1::ExportMetricsServiceRequest,
        common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
        metrics::v1::{
            AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data,
            number_data_point,
        },
        resource::v1::Resource,
    },
    transform::common::tonic::ResourceAttributesWithSchema,
};
use prost::Message;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::sync::watch;
use url::Url;

const EVERY: Duration = Duration::from_secs(15);

/// Sends metrics, again and again.
pub(in crate::observe) struct Pusher {
    collector: Collector,
    url: Url,
    headers: HeaderMap,
    resource: Resource,
}

impl Pusher {
    pub(in crate::observe) fn open(config: &TelemetryConfig) -> Result<Option<Self>, FolderError> {
        let Some(address) = &config.metrics else { return Ok(None) };
        let attributes = ResourceAttributesWithSchema::from(&resource()).attributes.0;
        Ok(Some(Self {
            collector: Collector::new("metrics"),
            url: Url::parse(address).map_err(|_| unusable("metrics"))?,
            headers: header_map(config)?,
            resource: Resource { attributes, ..Resource::default() },
        }))
    }

    /// Until the houses end; the last metrics are sent then.
    #[expect(clippy::disallowed_methods, reason = "collectors compare it with their own clocks")]
    pub(in crate::observe) async fn run(self, mut houses: watch::Receiver<Arc<House>>) {
        let mut tick = tokio::time::interval(EVERY);
        let mut goes_on = true;
        while goes_on {
            goes_on = tokio::select! {
                _ = tick.tick() => true,
                goes_on = houses.changed() => goes_on.is_ok(),
            };
            let house = houses.borrow_and_update().clone();
            let ready = is_ready(&house.gate, &house.metrics).await;
            let text = house.metrics.text(&house.gate.signs(), ready);
            let request = request(&text, self.resource.clone(), nanos(house.metrics.since), nanos(SystemTime::now()));
            let _ = self.collector.post(&self.url, self.headers.clone(), Bytes::from(request.encode_to_vec())).await;
        }
    }
}

fn nanos(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

fn request(text: &str, resource: Resource, since: u64, now: u64) -> ExportMetricsServiceRequest {
    let scope = InstrumentationScope { name: "haechi".to_owned(), ..InstrumentationScope::default() };
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics: metrics(text, since, now), ..ScopeMetrics::default() }];
    let all = ResourceMetrics { resource: Some(resource), scope_metrics, ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![all] }
}

/// Reads OpenMetrics text that we wrote: families, one after the other, without time stamps and exemplars.
fn metrics(text: &str, since: u64, now: u64) -> Vec<Metric> {
    let mut all: Vec<Metric> = Vec::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            begin(&mut all, comment);
        } else if let (Some(metric), Some(sample)) = (all.last_mut(), Sample::read(line)) {
            sample.into(metric, since, now);
        }
    }
    // A family that nothing was counted in has no points, and is not sent.
    all.retain(|metric| match &metric.data {
        Some(Data::Gauge(gauge)) => !gauge.data_points.is_empty(),
        Some(Data::Sum(sum)) => !sum.data_points.is_empty(),
        Some(Data::Histogram(histogram)) => !histogram.data_points.is_empty(),
        _ => false,
    });
    all
}

/// A line that says something of a family; the first of its lines begins it.
fn begin(all: &mut Vec<Metric>, comment: &str) {
    let mut parts = comment.splitn(3, ' ');
    let (Some(what), Some(name), Some(rest)) = (parts.next(), parts.next(), parts.next()) else { return };
    if all.last().is_none_or(|metric| metric.name != name) {
        all.push(Metric { name: name.to_owned(), ..Metric::default() });
    }
    let Some(metric) = all.last_mut() else { return };
    let aggregation_temporality = AggregationTemporality::Cumulative.into();
    match (what, rest) {
        ("HELP", help) => help.trim_end_matches('.').clone_into(&mut metric.description),
        ("UNIT", "seconds") => "s".clone_into(&mut metric.unit),
        ("UNIT", "bytes") => "By".clone_into(&mut metric.unit),
        ("TYPE", "gauge") => metric.data = Some(Data::Gauge(Gauge::default())),
        ("TYPE", "counter") => metric.data = Some(Data::Sum(Sum { aggregation_temporality, is_monotonic: true, ..Sum::default() })),
        ("TYPE", "histogram") => metric.data = Some(Data::Histogram(Histogram { aggregation_temporality, ..Histogram::default() })),
        _ => {}
    }
}

struct Sample<'a> {
    name: &'a str,
    attributes: Vec<KeyValue>,
    /// The upper bound of a bucket.
    bound: Option<f64>,
    value: f64,
}

impl<'a> Sample<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').map_or((series, ""), |(name, labels)| (name, labels.trim_end_matches('}')));
        let (mut attributes, mut bound, mut rest) = (Vec::new(), None, labels);
        while let Some((key, after)) = rest.split_once("=\"") {
            let (value, after) = label(after);
            match key.trim_start_matches(',') {
                "le" => bound = Some(if value == "+Inf" { f64::INFINITY } else { value.parse().ok()? }),
                key => {
                    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value)) });
                    attributes.push(KeyValue { key: key.to_owned(), value, ..KeyValue::default() });
                }
            }
            rest = after;
        }
        Some(Self { name, attributes, bound, value: value.parse().ok()? })
    }

    fn into(self, metric: &mut Metric, since: u64, now: u64) {
        let name = metric.name.len();
        match &mut metric.data {
            Some(Data::Gauge(gauge)) => gauge.data_points.push(self.point(0, now)),
            Some(Data::Sum(sum)) => sum.data_points.push(self.point(since, now)),
            Some(Data::Histogram(histogram)) => {
                let points = &mut histogram.data_points;
                if points.last().is_none_or(|point| point.attributes != self.attributes) {
                    let (start_time_unix_nano, time_unix_nano) = (since, now);
                    let attributes = self.attributes.clone();
                    points.push(HistogramDataPoint { attributes, start_time_unix_nano, time_unix_nano, ..HistogramDataPoint::default() });
                }
                if let Some(point) = points.last_mut() {
                    self.part(self.name.get(name..).unwrap_or_default(), point);
                }
            }
            _ => {}
        }
    }

    fn point(self, start_time_unix_nano: u64, time_unix_nano: u64) -> NumberDataPoint {
        let value = Some(number_data_point::Value::AsDouble(self.value));
        NumberDataPoint { attributes: self.attributes, start_time_unix_nano, time_unix_nano, value, ..NumberDataPoint::default() }
    }

    /// Buckets are cumulative in the text and apart in OTLP.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts are whole and not negative")]
    fn part(&self, suffix: &str, point: &mut HistogramDataPoint) {
        match (suffix, self.bound) {
            ("_sum", _) => point.sum = Some(self.value),
            ("_count", _) => point.count = self.value as u64,
            ("_bucket", Some(bound)) => {
                let before: u64 = point.bucket_counts.iter().sum();
                point.bucket_counts.push((self.value as u64).saturating_sub(before));
                if bound.is_finite() {
                    point.explicit_bounds.push(bound);
                }
            }
            _ => {}
        }
    }
}

/// A label's value up to its closing quote, and what follows.
fn label(text: &str) -> (String, &str) {
    let (mut value, mut letters) = (String::new(), text.char_indices());
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, text.get(at + 1..).unwrap_or_default()),
            '\\' => match letters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, other)) => value.push(other),
                None => {}
            },
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP app_seen Things seen.\n# TYPE app_seen counter\napp_seen_total{by=\"a \\\"b\\\"\",to=\"x\"} 3\n\
        # HELP app_none Nothing yet.\n# TYPE app_none counter\n\
        # HELP app_took_seconds Time.\n# TYPE app_took_seconds histogram\n# UNIT app_took_seconds seconds\n\
        app_took_seconds_sum 2.5\napp_took_seconds_count 4\napp_took_seconds_bucket{le=\"0.5\"} 1\napp_took_seconds_bucket{le=\"1.0\"} 3\n\
        app_took_seconds_bucket{le=\"+Inf\"} 4\n# HELP app_open Open.\n# TYPE app_open gauge\napp_open -1\n# EOF\n";

    #[test]
    fn the_text_becomes_otlp() {
        let found = metrics(TEXT, 1, 2);
        let names: Vec<&str> = found.iter().map(|metric| metric.name.as_str()).collect();
        assert_eq!(names, ["app_seen", "app_took_seconds", "app_open"], "a family without points is left out");
        let Some(Data::Sum(sum)) = &found[0].data else { panic!("{found:?}") };
        assert!(sum.is_monotonic && sum.data_points[0].start_time_unix_nano == 1);
        let attributes = format!("{:?}", sum.data_points[0].attributes);
        assert!(attributes.contains("a \\\"b\\\"") && attributes.contains("\"to\""), "{attributes}");
        let Some(Data::Histogram(histogram)) = &found[1].data else { panic!("{found:?}") };
        let point = &histogram.data_points[0];
        assert_eq!((found[1].unit.as_str(), point.count, point.sum), ("s", 4, Some(2.5)));
        assert_eq!((&point.bucket_counts[..], &point.explicit_bounds[..]), (&[1, 2, 1][..], &[0.5, 1.0][..]));
        let Some(Data::Gauge(gauge)) = &found[2].data else { panic!("{found:?}") };
        assert_eq!(gauge.data_points[0].value, Some(number_data_point::Value::AsDouble(-1.0)));
    }
}
