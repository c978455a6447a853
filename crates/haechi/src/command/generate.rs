//! `haechi generate`: what follows from the folder.

use super::{Done, Failed, Place, print, words::say};
use clap::{Args, Subcommand};
use haechi_clients::{File, Language, MARK};
use haechi_model::why;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

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
    /// A typed client for browsers and Node: client.js and client.d.ts.
    Typescript(Out),
    /// A typed client for Python, over httpx: haechi_client.py.
    Python(Out),
    #[command(hide = true)]
    Rust,
    #[command(hide = true)]
    Go,
    /// The GraphQL schema.
    Graphql,
    /// The services and messages of gRPC.
    Proto,
}

#[derive(Args)]
pub(crate) struct Out {
    /// The folder that the client is written into; it is made when it is not there.
    #[arg(long, short, default_value = "client", value_name = "FOLDER")]
    out: PathBuf,
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
        if let Self::Rust | Self::Go = self {
            let what = "clients for Rust and Go are not built yet: there are `generate typescript` and `generate python`; other languages can be made from `generate openapi` or `generate proto`";
            return Err(Failed::Said(what.to_owned()));
        }
        let (revision, _) = place.load()?;
        let client = |language, out: &Out| -> Result<(), Failed> {
            for path in write(&out.out, &haechi_clients::client(&revision.app, language))? {
                say!("  wrote {}", path.display());
            }
            Ok(())
        };
        let base = revision.app.config.server.public_url.clone().unwrap_or_default();
        match self {
            Self::Openapi => print(&haechi_data::openapi::describe(&revision.app, &base, haechi_identity::openapi::describe())),
            Self::Cedar => print(haechi_policy::schema_text(&revision.app).as_bytes()),
            Self::Typescript(out) => client(Language::TypeScript, out)?,
            Self::Python(out) => client(Language::Python, out)?,
            Self::Proto => print(haechi_grpc::proto_file(&revision.app).as_bytes()),
            Self::Graphql => print(haechi_graphql::sdl(&revision.app).map_err(Failed::Said)?.as_bytes()),
            Self::JsonSchema { .. } | Self::Rust | Self::Go => {}
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes a client. A file of its name that was not made here is not replaced, and then nothing is written.
pub(super) fn write(folder: &Path, files: &[File]) -> Result<Vec<PathBuf>, Failed> {
    for file in files {
        let path = folder.join(file.name);
        let others = match std::fs::read(&path) {
            Ok(found) => !found.split(|byte| *byte == b'\n').next().is_some_and(|first| String::from_utf8_lossy(first).contains(MARK)),
            Err(error) => error.kind() != std::io::ErrorKind::NotFound,
        };
        if others {
            return Err(Failed::Said(format!(
                "{} was not made by this command, so it is not replaced; name another folder with --out",
                path.display()
            )));
        }
    }
    let mut written_files = Vec::new();
    std::fs::create_dir_all(folder).map_err(|error| format!("the folder {} cannot be made: {}", folder.display(), why(error.kind())))?;
    for file in files {
        let (path, part) = (folder.join(file.name), folder.join(format!(".{}.part", file.name)));
        let written = std::fs::write(&part, &file.text).and_then(|()| std::fs::rename(&part, &path));
        if let Err(error) = written {
            let _ = std::fs::remove_file(&part);
            return Err(Failed::Said(format!("{} cannot be written: {}", path.display(), why(error.kind()))));
        }
        written_files.push(path);
    }
    Ok(written_files)
}
