//! The generated clients, run against the real server: by Node, by Python, and by a browser behind nginx.

use crate::{live, network};
use haechi_clients::{Language, client};
use haechi_testkit::{Backend, TestApp, on_both};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::process::Command;

on_both!(a_typescript_client_does_what_it_says);

/// Longest time of one run.
const PATIENCE: Duration = Duration::from_secs(150);

/// Where the scripts are that use the clients.
fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// Writes the client of an app into a folder of it.
fn generate(app: &TestApp, language: Language) -> PathBuf {
    let folder = app.root.join("client");
    std::fs::create_dir_all(&folder).unwrap();
    for file in client(&app.house.gate.revision().app, language) {
        std::fs::write(folder.join(file.name), file.text).unwrap();
    }
    std::fs::write(folder.join("package.json"), r#"{"type":"module"}"#).unwrap();
    folder
}

async fn says_done(mut command: Command) {
    let output = tokio::time::timeout(PATIENCE, command.kill_on_drop(true).output()).await;
    let output = output.unwrap_or_else(|_| panic!("it takes too long")).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().ends_with("done"), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}

async fn a_typescript_client_does_what_it_says(backend: Backend) {
    let app = TestApp::start(backend, &live::files("[auth]\nsign_up = \"open\"")).await;
    let folder = generate(&app, Language::TypeScript);
    let (kim, ann) = (app.person("kim", &["member"]).await, app.person("ann", &["auditor"]).await);
    let server = network::run(&app, None, 2_000).await;
    let mut node = Command::new("node");
    node.arg(scripts().join("typescript.mjs")).arg(folder.join("client.js")).arg(format!("http://{}", server.address));
    node.args([kim.token.clone().unwrap(), ann.token.clone().unwrap()]);
    says_done(node).await;
    server.end().await;
    app.finish().await;
}

/// The types say what may be null, what may be missing and what may be masked, and refuse what the server would refuse.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_types_of_a_typescript_client_are_exact() {
    let mut files = template("team");
    // A collection whose types have names that the client has itself, an action, and a field that may be masked.
    files.push(("collections/pages.toml".to_owned(), PAGES.to_owned()));
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let app = TestApp::start(Backend::Sqlite, &files).await;
    let folder = generate(&app, Language::TypeScript);
    std::fs::copy(scripts().join("types.ts"), folder.join("types.ts")).unwrap();
    let options = r#"{"compilerOptions":{"strict":true,"noEmit":true,"module":"nodenext","moduleResolution":"nodenext","target":"es2022","lib":["es2022","dom"],
        "noUncheckedIndexedAccess":true,"exactOptionalPropertyTypes":true,"types":[],"skipLibCheck":false},"files":["types.ts"]}"#;
    std::fs::write(folder.join("tsconfig.json"), options).unwrap();
    let checked = Command::new("tsc").args(["-p", "."]).current_dir(&folder).output().await;
    let checked = checked.unwrap_or_else(|_| panic!("node-typescript is needed: run the tests with `cargo xtask test`"));
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    app.finish().await;
}

const PAGES: &str = r#"
[fields]
title  = { type = "text", required = true }
salary = { type = "int", class = "pii" }
born   = { type = "date", required = true, class = "secret" }
tags   = { type = "list", of = "text" }
any    = { type = "json" }
price  = { type = "decimal", precision = 9, scale = 2 }
watchers = { type = "list", of = "ref", to = "users" }

[actions.list_all]
[actions.publish]
input = { note = { type = "text", required = true } }
"#;

/// The files of a template of `haechi new`.
fn template(name: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates").join(name);
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                let path = entry.path().strip_prefix(&root).unwrap().to_string_lossy().into_owned();
                found.push((path, std::fs::read_to_string(entry.path()).unwrap()));
            }
        }
    }
    found
}
