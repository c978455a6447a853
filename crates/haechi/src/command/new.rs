//! `haechi new`: a folder that runs, with a policy test that passes.

use super::{Done, Failed, Place, words::say};
use clap::Args;
use haechi_clients::{Language, client};
use std::{path::PathBuf, process::ExitCode};

#[derive(Args)]
pub(crate) struct New {
    /// The folder to make.
    folder: PathBuf,
    /// notes, clinic, team or shop; a folder of such a name gets that one.
    #[arg(long, value_parser = ["notes", "clinic", "team", "shop"])]
    template: Option<String>,
}

type Files = &'static [(&'static str, &'static str)];

macro_rules! template {
    ($root:literal: $($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!($root, $path)))),*]
    };
}

const NOTES: Files = template!["../../templates/notes/": "haechi.toml", "collections/notes.toml", "policies/notes.cedar", "policies/tests/notes.toml", "seed/users.csv", "seed/notes.csv"];
const CLINIC: Files = template!["../../templates/clinic/": "haechi.toml", "collections/patients.toml", "collections/visits.toml", "policies/clinic.cedar", "policies/tests/clinic.toml", "seed/users.csv", "seed/patients.csv"];
const SHOP: Files = template!["../../templates/shop/": "haechi.toml", "README.md", "collections/users.toml", "collections/products.toml", "collections/cart_lines.toml", "collections/orders.toml", "collections/order_lines.toml", "policies/shop.cedar", "policies/tests/shop.toml", "seed/products.csv", "web/index.html", "web/icon.svg", "web/style.css", "web/main.js", "web/catalogue.js", "web/cart.js", "web/orders.js", "web/texts.js"];
/// What pages share.
const PAGE: Files = template!["../../templates/page/": "web/base.css", "web/dom.js", "web/language.js", "web/sign-in.js"];
const TEAM: Files = template!["../../templates/team/": "haechi.toml", "README.md", "collections/users.toml", "collections/projects.toml", "collections/memberships.toml", "collections/tasks.toml", "collections/comments.toml", "policies/team.cedar", "policies/tests/team.toml", "seed/users.csv", "seed/projects.csv", "seed/memberships.csv", "seed/tasks.csv", "seed/comments.csv", "web/index.html", "web/icon.svg", "web/style.css", "web/main.js", "web/projects.js", "web/tasks.js", "web/task.js", "web/texts.js"];

impl New {
    pub(crate) fn run(&self, place: &Place) -> Done {
        drop(place.at(Some(&self.folder))?);
        let occupied = std::fs::read_dir(&self.folder).is_ok_and(|mut entries| entries.next().is_some());
        if occupied {
            return Err(Failed::Said(format!("{} is not empty; nothing was written", self.folder.display())));
        }
        let by_name = || self.folder.file_name().and_then(std::ffi::OsStr::to_str);
        let files = match self.template.as_deref().or_else(by_name) {
            Some("clinic") => CLINIC,
            Some("team") => TEAM,
            Some("shop") => SHOP,
            _ => NOTES,
        };
        let page = files.iter().any(|(path, _)| *path == "web/index.html");
        let shared = if page { PAGE } else { &[] };
        for (path, text) in files.iter().chain(shared).copied().chain([(".gitignore", ".haechi/\n")]) {
            let path = self.folder.join(path);
            let parent = path.parent().unwrap_or(&self.folder);
            let written = std::fs::create_dir_all(parent).and_then(|()| std::fs::write(&path, text));
            written.map_err(|error| format!("{} cannot be written: {}", path.display(), haechi_model::why(error.kind())))?;
        }
        if page {
            let (revision, _) = haechi::app::folder::load(&self.folder)?;
            super::generate::write(&self.folder.join("web/haechi"), &client(&revision.app, Language::TypeScript))?;
        }
        say!("  made {}; next: cd {} && haechi dev", self.folder.display(), self.folder.display());
        Ok(ExitCode::SUCCESS)
    }
}
