//! What of a site cannot be served, found when the folder is read.

use super::disk::{self, Found};
use crate::http::reserved::RESERVED;
use haechi_model::{App, DatabaseUrl, Findings, SecretRef, Source, Witness};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Reports a folder or a page that is not there, files in Haechi's place, and secrets that everybody would be served. Files are not listed:
/// there may be a hundred thousand.
pub(crate) fn faults(app: &App, findings: &mut Findings) {
    let Some(folder) = &app.config.site.folder else { return };
    let root = app.root.join(folder);
    let main = Arc::new(Source { path: PathBuf::from("haechi.toml"), text: String::new() });
    let mut error = |source: &Arc<Source>, message: String, help: &str| findings.error(source, None, "site", message, help.to_owned());
    if !root.is_dir() {
        error(&main, format!("[site] names the folder `{folder}`, and there is none"), "make it, and put an index.html into it");
        return;
    }
    let served = |page: &String| matches!(disk::find(&root, page), Ok(Found::File(_)));
    if let Some(page) = app.config.site.fallback.as_ref().filter(|page| !served(page)) {
        error(
            &main,
            format!("[site] fallback is `{page}`, and {folder}/ has no such file (links are not followed)"),
            "name a page of the folder, or remove the key",
        );
    }
    for (what, file) in private(app).into_iter().filter(|(_, file)| is_inside(file, &root)) {
        error(&main, format!("{what} is {}, which everybody would be served", file.display()), "keep it outside of the folder of [site]");
    }
    let services = haechi_grpc::routes(app).into_iter().filter_map(|(_, path, _)| Some(path.split('/').nth(1)?.to_owned()));
    let reserved: BTreeSet<String> = RESERVED.iter().map(|name| (*name).to_owned()).chain(["openapi.json".to_owned()]).chain(services).collect();
    for name in reserved.into_iter().filter(|name| root.join(name).symlink_metadata().is_ok()) {
        let source = Arc::new(Source { path: PathBuf::from(folder).join(&name), text: String::new() });
        error(&source, format!("/{name} is Haechi's own path, so this would never be served"), "give it another name");
    }
}

/// Files of the configuration that nobody else may read.
fn private(app: &App) -> Vec<(&'static str, PathBuf)> {
    let config = &app.config;
    let mut found: Vec<(&'static str, PathBuf)> = Vec::new();
    found.extend(config.server.key_file.clone().map(|file| ("server.key_file", file)));
    if let Some(SecretRef::File(file)) = &config.master_key {
        found.push(("master_key", file.clone()));
    }
    if let DatabaseUrl::Secret(SecretRef::File(file)) = &config.database.url {
        found.push(("database.url", file.clone()));
    }
    if let DatabaseUrl::Sqlite(file) = &config.database.url
        && file.is_absolute()
    {
        found.push(("database.url", file.clone()));
    }
    let bearers = app.egress.iter().filter_map(|egress| if let Some(SecretRef::File(file)) = &egress.bearer { Some(file.clone()) } else { None });
    found.extend(bearers.map(|file| ("egress.bearer", file)));
    found.extend(
        config
            .ledger
            .witness
            .iter()
            .filter_map(|witness| if let Witness::File(file) = witness { Some(("ledger.witness", file.clone())) } else { None }),
    );
    found
}

/// Whether a path, there or not there yet, is that of a folder or below it.
pub(crate) fn is_inside(path: &Path, folder: &Path) -> bool {
    let Ok(folder) = folder.canonicalize() else { return false };
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // Of what is not there yet, the folder that is.
    let there = path.ancestors().find_map(|part| part.canonicalize().ok());
    there.is_some_and(|there| there.starts_with(&folder))
}
