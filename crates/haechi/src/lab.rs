//! Builds with `--cfg haechi_unsafe_lab` can switch controls off, to measure their cost. They are never shipped: such a binary says so in
//! `dev`, refuses to serve, and contains a mark that the tests and the benchmark look for in other builds.

use std::sync::OnceLock;

/// The mark.
pub const MARK: &str = "HAECHI-UNSAFE-LAB: a build for measuring, never for serving";

/// Whether the layers are switched off: `HAECHI_LAB=layers-off`.
pub(crate) fn layers_are_off() -> bool {
    static OFF: OnceLock<bool> = OnceLock::new();
    *OFF.get_or_init(|| std::env::var("HAECHI_LAB").is_ok_and(|wanted| wanted == "layers-off"))
}
