//! OpenAPI.

use haechi_model::App;

/// The description as JSON.
#[must_use]
pub fn describe(_: &App, _: &str) -> Vec<u8> {
    b"{}".to_vec()
}
