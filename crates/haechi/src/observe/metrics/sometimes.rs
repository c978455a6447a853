//! A gauge that is absent until it has a value: zero would be wrong.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
    registry::{Registry, Unit},
};
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// The value, shared with the registry.
#[derive(Clone, Debug, Default)]
pub(super) struct Sometimes(Arc<Mutex<Option<f64>>>);

impl Sometimes {
    pub(super) fn register(registry: &mut Registry, name: &'static str, help: &'static str, unit: Unit) -> Self {
        let gauge = Self::default();
        registry.register_collector(Box::new(Told { gauge: gauge.clone(), name, help, unit }));
        gauge
    }

    pub(super) fn set(&self, value: f64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }
}

#[derive(Debug)]
struct Told {
    gauge: Sometimes,
    name: &'static str,
    help: &'static str,
    unit: Unit,
}

impl Collector for Told {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let value = *self.gauge.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(value) = value else { return Ok(()) };
        let gauge = ConstGauge::new(value);
        gauge.encode(encoder.encode_descriptor(self.name, self.help, Some(&self.unit), MetricType::Gauge)?)
    }
}
