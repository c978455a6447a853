//! What must not change unseen: who reaches what in the clinic, the areas of system keys, and the API's description.

use haechi_gate::{Reach, Reached, SystemKeys};
use serde_json::Value;
use std::path::Path;

fn clinic() -> haechi_gate::Revision {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/clinic");
    match haechi::app::folder::load(&root) {
        Ok((revision, _)) => revision,
        Err(haechi::FolderError::Findings(findings)) => panic!("{}", haechi::app::report::render(&findings)),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn who_reaches_what_in_the_clinic() {
    let mut lines = String::new();
    for Reached { who, collection, action, reach } in clinic().matrix() {
        let word = match reach {
            Reach::None => continue,
            Reach::Some => "some",
            Reach::All => "all",
        };
        lines.push_str(&format!("{who:<14} {collection:<16} {action:<16} {word}\n"));
    }
    insta::assert_snapshot!(lines);
}

#[test]
fn areas_of_system_keys() {
    let areas: Vec<String> = SystemKeys::areas().into_iter().map(|(name, tables)| format!("{name}: {}", tables.join(" "))).collect();
    insta::assert_snapshot!(areas.join("\n"));
}

/// Every reference in the description resolves, and its paths are the routes that are served.
#[test]
fn the_description_is_whole() {
    let revision = clinic();
    let document: Value =
        serde_json::from_slice(&haechi_data::openapi::describe(&revision.app, "https://api.example.com", haechi_identity::openapi::describe()))
            .unwrap();
    let mut todo = vec![&document];
    let mut references = 0;
    while let Some(value) = todo.pop() {
        match value {
            Value::Object(members) => {
                if let Some(target) = members.get("$ref").and_then(Value::as_str) {
                    references += 1;
                    assert!(document.pointer(&target[1..]).is_some(), "{target} is not there");
                }
                todo.extend(members.values());
            }
            Value::Array(items) => todo.extend(items),
            _ => {}
        }
    }
    assert!(references > 100);
    for (method, path, _) in haechi_data::openapi::routes(&revision.app) {
        if path.starts_with("/api/") {
            assert!(document["paths"][&path][method.to_lowercase()].is_object(), "{method} {path} is not described");
        }
    }
    let described: usize = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(path, _)| path.starts_with("/api/"))
        .map(|(_, methods)| methods.as_object().unwrap().len())
        .sum();
    assert_eq!(described, haechi_data::openapi::routes(&revision.app).iter().filter(|(_, path, _)| path.starts_with("/api/")).count());
}

/// Every kind of problem stands in the table of docs/statuses.md, with its status.
#[test]
fn every_problem_is_documented() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/statuses.md")).unwrap();
    for (kind, _) in haechi_problem::kinds::kinds() {
        let line = page.lines().find(|line| line.contains(&format!("`{}`", kind.slug)));
        assert!(line.is_some_and(|line| line.contains(&kind.status.to_string())), "docs/statuses.md does not say {} {}", kind.status, kind.slug);
    }
}
