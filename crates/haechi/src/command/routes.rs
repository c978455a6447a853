//! `haechi routes`: what is served.

use super::{Done, Place, words::say};
use clap::Args;
use std::{path::PathBuf, process::ExitCode};

#[derive(Args)]
pub(crate) struct Routes {
    /// The app folder.
    folder: Option<PathBuf>,
}

impl Routes {
    pub(crate) fn run(&self, place: &Place) -> Done {
        let (revision, _) = place.at(self.folder.as_ref())?.load()?;
        let auth = haechi_identity::routes().into_iter().map(|(method, path, who)| (method, path.to_owned(), who.to_owned()));
        let graphql = haechi_graphql::routes().into_iter().map(|(method, path, who)| (method, path.to_owned(), who.to_owned()));
        let others = auth.chain(graphql).chain(haechi_grpc::routes(&revision.app));
        for (method, path, action) in haechi_data::openapi::routes(&revision.app).into_iter().chain(others) {
            if place.json {
                say!("{}", serde_json::json!({ "method": method, "path": path, "action": action }))
            } else {
                say!("{method:<7} {path:<48} {action}")
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
