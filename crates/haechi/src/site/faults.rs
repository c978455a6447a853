//! What of a site cannot be served, found when the folder is read.

use crate::http::reserved::RESERVED;
use haechi_model::{App, Findings, Source};
use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

/// Reports a folder or a page that is not there, and files in Haechi's place. Files are not listed: there may be a hundred thousand.
pub(crate) fn faults(app: &App, findings: &mut Findings) {
    let Some(folder) = &app.config.site.folder else { return };
    let root = app.root.join(folder);
    let main = Arc::new(Source { path: PathBuf::from("haechi.toml"), text: String::new() });
    let mut error = |source: &Arc<Source>, message: String, help: &str| findings.error(source, None, "site", message, help.to_owned());
    if !root.is_dir() {
        error(&main, format!("[site] names the folder `{folder}`, and there is none"), "make it, and put an index.html into it");
        return;
    }
    if let Some(page) = app.config.site.fallback.as_ref().filter(|page| !root.join(page).is_file()) {
        error(&main, format!("[site] fallback is `{page}`, and {folder}/ has no such file"), "name a page of the folder, or remove the key");
    }
    let services = haechi_grpc::routes(app).into_iter().filter_map(|(_, path, _)| Some(path.split('/').nth(1)?.to_owned()));
    let reserved: BTreeSet<String> = RESERVED.iter().map(|name| (*name).to_owned()).chain(["openapi.json".to_owned()]).chain(services).collect();
    for name in reserved.into_iter().filter(|name| root.join(name).symlink_metadata().is_ok()) {
        let source = Arc::new(Source { path: PathBuf::from(folder).join(&name), text: String::new() });
        error(&source, format!("/{name} is Haechi's own path, so this would never be served"), "give it another name");
    }
}
