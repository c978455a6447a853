//! The gRPC door: services and messages made of the model at run time, over the actions of records.
//!
//! It has no rules of its own: the actions ask policy, the same for REST and gRPC.

mod door;
mod health;
mod proto;
mod request;
mod service;
mod state;
mod status;
mod text;

pub use door::{Options, is_grpc, refusal, router};
pub use health::Ready;

use haechi_model::{App, CollectionId};

/// Why a model cannot be served by gRPC: collection and reason.
#[must_use]
pub fn faults(app: &App) -> Vec<(CollectionId, String)> {
    proto::clashes(app)
}

/// The services and messages of an app, as descriptors.
///
/// # Errors
/// When the model cannot be described.
pub fn descriptors(app: &App) -> Result<prost_types::FileDescriptorSet, String> {
    proto::Proto::new(app).map(|proto| proto.files).map_err(|error| error.to_string())
}

/// The services and messages of an app, in the language of protobuf.
#[must_use]
pub fn proto_file(app: &App) -> String {
    text::text(app)
}

/// The routes of the door, and the action of each.
#[must_use]
pub fn routes(app: &App) -> Vec<(&'static str, String, String)> {
    let mut routes = proto::routes(app);
    routes.push(("POST", "/grpc.health.v1.Health/Check".to_owned(), "anybody".to_owned()));
    let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo".to_owned();
    routes.push(("POST", reflection, "anybody with credentials, in dev or with grpc.reflection".to_owned()));
    routes
}
