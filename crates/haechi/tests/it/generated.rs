//! The generated clients, run against the real server: by Node, by Python, and by a browser behind nginx.

use crate::{clients::Nginx, live, network};
use haechi_clients::{Language, client};
use haechi_testkit::{Backend, TestApp, on_both};
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

on_both!(a_typescript_client_does_what_it_says, a_python_client_does_what_it_says);

/// Longest time of one run.
const PATIENCE: Duration = Duration::from_secs(150);

/// Where the scripts are that use the clients.
pub(crate) fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// Writes the client of an app into a folder of it.
pub(crate) fn generate(app: &TestApp, language: Language) -> PathBuf {
    let folder = app.root.join("client");
    std::fs::create_dir_all(&folder).unwrap();
    for file in client(&app.house.gate.revision().app, language) {
        std::fs::write(folder.join(file.name), file.text).unwrap();
    }
    std::fs::write(folder.join("package.json"), r#"{"type":"module"}"#).unwrap();
    folder
}

/// Runs a script to its `done`; where it says `cut`, nginx is restarted.
async fn says_done(mut command: Command, nginx: &mut Nginx, upstream: &str) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let told = async {
        while let Ok(Some(line)) = lines.next_line().await {
            match line.as_str() {
                "cut" => {
                    nginx.stop().await;
                    tokio::time::sleep(Duration::from_millis(700)).await;
                    nginx.before(upstream).await;
                }
                "done" => return true,
                other => eprintln!("{other}"),
            }
        }
        false
    };
    let done = tokio::time::timeout(PATIENCE, told).await.unwrap_or(false);
    if !done {
        let _ = child.start_kill();
    }
    let output = child.wait_with_output().await.unwrap();
    assert!(done && output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

async fn a_python_client_does_what_it_says(backend: Backend) {
    let app = TestApp::start(backend, &live::files("[auth]\nsign_up = \"open\"")).await;
    let folder = generate(&app, Language::Python);
    let (kim, ann) = (app.person("kim", &["member"]).await, app.person("ann", &["auditor"]).await);
    let server = network::run(&app, None, 2_000).await;
    let (mut nginx, upstream) = (Nginx::new(), server.address.to_string());
    nginx.before(&upstream).await;
    let mut python = Command::new("/usr/bin/python3");
    python.arg(scripts().join("python.py")).arg(folder).arg(format!("http://{upstream}")).arg(format!("http://{}", nginx.address));
    python.args([kim.token.clone().unwrap(), ann.token.clone().unwrap()]);
    says_done(python, &mut nginx, &upstream).await;
    server.end().await;
    app.finish().await;
}

async fn a_typescript_client_does_what_it_says(backend: Backend) {
    let app = TestApp::start(backend, &live::files("[auth]\nsign_up = \"open\"")).await;
    let folder = generate(&app, Language::TypeScript);
    let (kim, ann) = (app.person("kim", &["member"]).await, app.person("ann", &["auditor"]).await);
    let server = network::run(&app, None, 2_000).await;
    let (mut nginx, upstream) = (Nginx::new(), server.address.to_string());
    nginx.before(&upstream).await;
    let mut node = Command::new("node");
    node.arg(scripts().join("typescript.mjs")).arg(folder.join("client.js"));
    node.arg(format!("http://{upstream}")).arg(format!("http://{}", nginx.address));
    node.args([kim.token.clone().unwrap(), ann.token.clone().unwrap()]);
    says_done(node, &mut nginx, &upstream).await;
    server.end().await;
    app.finish().await;
}

/// The types say what may be null, what may be missing and what may be masked, and refuse what the server would refuse.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_types_of_a_typescript_client_are_exact() {
    let mut files = template("team");
    // A collection whose types have names that the client has itself, an action, and a field that may be masked.
    files.push(("collections/pages.toml".to_owned(), PAGES.to_owned()));
    // Names that would be those of parts of another type, and words of Python.
    files.push((
        "collections/page_parts.toml".to_owned(),
        "[fields]\nclass = { type = \"text\" }\nfrom = { type = \"ref\", to = \"pages\" }\n[actions.return]\n".to_owned(),
    ));
    files.push(("collections/page_creates.toml".to_owned(), "[fields]\nx = { type = \"text\" }\n".to_owned()));
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let app = TestApp::start(Backend::Sqlite, &files).await;
    let folder = generate(&app, Language::TypeScript);
    std::fs::copy(scripts().join("types.ts"), folder.join("types.ts")).unwrap();
    let options = r#"{"compilerOptions":{"strict":true,"noEmit":true,"module":"nodenext","moduleResolution":"nodenext","target":"es2022","lib":["es2022","dom"],
        "noUncheckedIndexedAccess":true,"exactOptionalPropertyTypes":true,"types":[],"skipLibCheck":false},"files":["types.ts"]}"#;
    std::fs::write(folder.join("tsconfig.json"), options).unwrap();
    let python = generate(&app, Language::Python);
    let imported = Command::new("/usr/bin/python3").args(["-c", "import haechi_client"]).current_dir(&python).output().await.unwrap();
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
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

/// The files that `haechi new` makes of a template.
pub(crate) fn template(name: &str) -> Vec<(String, String)> {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let root = std::env::temp_dir().join(format!("haechi-template-{}-{number}", std::process::id()));
    let _ = std::fs::remove_dir_all(&root);
    let made = std::process::Command::new(env!("CARGO_BIN_EXE_haechi")).args(["new", "--template", name]).arg(&root).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
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
    std::fs::remove_dir_all(root).unwrap();
    found
}
