//! Logs: JSON lines on stderr. Values of fields, bodies, queries and credentials are never given to them.

use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// Starts logging. `HAECHI_LOG` filters, e.g. `info` or `haechi::store=debug`.
pub fn start(json: bool) {
    let filter = EnvFilter::try_from_env("HAECHI_LOG").unwrap_or_else(|_| EnvFilter::new("warn,haechi=info"));
    let registry = tracing_subscriber::registry().with(filter);
    let result = if json {
        registry.with(fmt::layer().json().with_writer(std::io::stderr).flatten_event(true)).try_init()
    } else {
        registry.with(fmt::layer().with_writer(std::io::stderr).with_target(false).without_time()).try_init()
    };
    drop(result);
}
