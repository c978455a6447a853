//! Logs: JSON lines on stderr. They never contain values of fields, bodies, queries or credentials.

use super::{telemetry::Telemetry, traces::TARGET};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, LevelFilter, filter_fn},
    fmt,
    prelude::*,
};

/// Most lines that wait for a slow reader of stderr; further lines are dropped. No request waits for one.
const WAITING: usize = 8_192;

/// Keeps logs running; dropping it writes the waiting lines.
pub struct Logs(#[expect(dead_code, reason = "it is kept for its end")] WorkerGuard);

/// Starts logging. `HAECHI_LOG` filters, e.g. `info` or `haechi::store=debug`. A program with its own subscriber keeps it.
#[must_use]
pub fn start(json: bool, telemetry: &Telemetry) -> Logs {
    let (writer, guard) = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING).finish(std::io::stderr());
    // Ignores errors of a closed stderr: reporting them would end the thread.
    let layer = fmt::layer().with_writer(writer).log_internal_errors(false);
    let layer = if json { layer.json().flatten_event(true).boxed() } else { layer.with_target(false).without_time().boxed() };
    // Only layers that there are: an empty one would have no filter, and every span would be made for nothing.
    let mut layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> = vec![layer.with_filter(chosen()).boxed()];
    if let Some(traces) = &telemetry.traces {
        let spans = filter_fn(|metadata| metadata.target() == TARGET).with_max_level_hint(LevelFilter::INFO);
        layers.push(traces.layer().with_filter(spans).boxed());
    }
    if let Some(lines) = &telemetry.lines {
        // What libraries say of sending lines would be lines to send.
        let of_ours = filter_fn(|metadata| metadata.target() == "haechi" || metadata.target().starts_with("haechi::"));
        layers.push(lines.layer().with_filter(chosen().and(of_ours)).boxed());
    }
    let _ = tracing_subscriber::registry().with(layers).try_init();
    Logs(guard)
}

/// The lines that `HAECHI_LOG` chooses. Spans are only for the collector: without one they are never made. A single filter with a
/// level refuses the libraries' traces where they would be made, not afterwards.
fn chosen() -> EnvFilter {
    let filter = EnvFilter::try_from_env("HAECHI_LOG").unwrap_or_else(|_| EnvFilter::new("warn,haechi=info"));
    match format!("{TARGET}=off").parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    }
}

#[cfg(test)]
mod tests {
    use super::Telemetry;
    use tracing_subscriber::filter::LevelFilter;

    /// A filter without a level would let the libraries make all their traces for nothing: that doubled the cost of an HTTP/2 request.
    #[test]
    fn what_libraries_trace_is_not_made() {
        let _logs = super::start(true, &Telemetry::default());
        assert!(LevelFilter::current() <= LevelFilter::INFO, "{}", LevelFilter::current());
        let span = tracing::info_span!(target: "haechi::trace", "database");
        assert!(span.is_disabled(), "without a collector no span is made");
    }
}
