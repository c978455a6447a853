//! `haechi generate`: what follows from the folder.

use super::{Done, Failed, Place, print, words::say};
use clap::Subcommand;
use std::process::ExitCode;

#[derive(Subcommand)]
pub(crate) enum Generate {
    /// The OpenAPI 3.1 description.
    Openapi,
    /// The Cedar schema.
    Cedar,
    /// JSON Schemas of the folder's files.
    JsonSchema {
        /// config, collection or policy-test.
        #[arg(value_parser = ["config", "collection", "policy-test"], default_value = "collection")]
        of: String,
    },
    /// TypeScript types of the collections.
    Typescript,
    /// The GraphQL schema.
    Graphql,
    /// The services and messages of gRPC.
    Proto,
}

impl Generate {
    pub(crate) fn run(&self, place: &Place) -> Done {
        if let Self::JsonSchema { of } = self {
            let schema = match of.as_str() {
                "config" => haechi_model::config_schema(),
                "collection" => haechi_model::collection_schema(),
                _ => haechi_model::policy_test_schema(),
            };
            say!("{schema:#}");
            return Ok(ExitCode::SUCCESS);
        }
        let (revision, _) = place.load()?;
        let base = revision.app.config.server.public_url.clone().unwrap_or_default();
        match self {
            Self::Openapi => print(&haechi_data::openapi::describe(&revision.app, &base, haechi_identity::openapi::describe())),
            Self::Cedar => print(haechi_policy::schema_text(&revision.app).as_bytes()),
            Self::Typescript => print(haechi_data::openapi::typescript(&revision.app).as_bytes()),
            Self::Proto => print(haechi_grpc::proto_file(&revision.app).as_bytes()),
            Self::Graphql => print(haechi_graphql::sdl(&revision.app).map_err(Failed::Said)?.as_bytes()),
            Self::JsonSchema { .. } => {}
        }
        Ok(ExitCode::SUCCESS)
    }
}
