//! What linters demand of the descriptions, without them: every value has its bounds, every operation says what it is and how it ends.

use serde_json::Value;
use std::path::Path;

fn revision(folder: &str) -> haechi_gate::Revision {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    match haechi::app::folder::load(&root) {
        Ok((revision, _)) => revision,
        Err(haechi::FolderError::Findings(findings)) => panic!("{}", haechi::app::report::render(&findings)),
        Err(error) => panic!("{error}"),
    }
}

const FOLDERS: [&str; 2] = ["../../examples/clinic", "tests/folders/types"];

fn document(folder: &str) -> Value {
    let described = haechi_data::openapi::describe(&revision(folder).app, "https://api.example.com", haechi_identity::openapi::describe());
    serde_json::from_slice(&described).unwrap()
}

/// Each schema of the document with its place.
fn schemas<'a>(value: &'a Value, place: &str, found: &mut Vec<(String, &'a Value)>) {
    match value {
        Value::Object(members) => {
            if members.get("type").is_some_and(|ty| ty.is_string() || ty.is_array())
                && !place.ends_with("/properties")
                && !place.contains("securitySchemes")
            {
                found.push((place.to_owned(), value));
            }
            members.iter().for_each(|(key, value)| schemas(value, &format!("{place}/{key}"), found));
        }
        Value::Array(items) => items.iter().enumerate().for_each(|(at, value)| schemas(value, &format!("{place}/{at}"), found)),
        _ => {}
    }
}

fn is(schema: &Value, ty: &str) -> bool {
    match &schema["type"] {
        Value::String(found) => found == ty,
        Value::Array(found) => found.iter().any(|found| found == ty),
        _ => false,
    }
}

/// OWASP API4:2023: every string has a length and a form, every list a length, every number its bounds.
#[test]
fn every_value_has_its_bounds() {
    for folder in FOLDERS {
        let document = document(folder);
        let mut found = Vec::new();
        schemas(&document, "", &mut found);
        assert!(found.len() > 200, "{}", found.len());
        for (place, schema) in found {
            let has = |keys: &[&str]| keys.iter().any(|key| schema.get(*key).is_some());
            let closed = has(&["enum", "const"]);
            assert!(!is(schema, "string") || closed || has(&["maxLength"]) && has(&["format", "pattern"]), "{place}: {schema}");
            assert!(!is(schema, "array") || has(&["maxItems"]) && has(&["items"]), "{place}: {schema}");
            assert!(!is(schema, "integer") || has(&["minimum"]) && has(&["maximum"]) && has(&["format"]), "{place}: {schema}");
        }
    }
}

/// Every operation is described and counted, and its replies say what they carry.
#[test]
fn every_operation_says_what_it_is() {
    for folder in FOLDERS {
        let document = document(folder);
        let tags: Vec<&str> = document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
        assert!(tags.is_sorted() && document["tags"].as_array().unwrap().iter().all(|tag| tag["description"].is_string()), "{tags:?}");
        let problem = &document["components"]["responses"]["Problem"];
        assert!(problem["headers"]["Retry-After"].is_object());
        let mut ids = std::collections::BTreeSet::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let text = |key: &str| operation[key].as_str().is_some_and(|text| !text.is_empty());
                assert!(text("summary") && text("description") && text("operationId"), "{method} {path}");
                assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{method} {path}: its operationId stands twice");
                let own = operation["tags"].as_array().unwrap();
                assert!(!own.is_empty() && own.iter().all(|tag| tags.contains(&tag.as_str().unwrap())), "{method} {path}");
                for parameter in operation["parameters"].as_array().into_iter().flatten() {
                    let target = parameter["$ref"].as_str().map_or(parameter, |target| document.pointer(&target[1..]).unwrap());
                    assert!(target["description"].is_string(), "{method} {path}: {parameter}");
                }
                let replies = operation["responses"].as_object().unwrap();
                assert!(replies.contains_key("429") && replies.contains_key("401"), "{method} {path}");
                for (status, reply) in replies {
                    let reply = reply["$ref"].as_str().map_or(reply, |target| document.pointer(&target[1..]).unwrap());
                    for header in ["RateLimit", "Access-Control-Allow-Origin", "X-Request-Id"] {
                        assert!(reply["headers"][header].is_object(), "{method} {path} {status}: {header}");
                    }
                }
            }
        }
    }
}

/// Every schema is used, and every part of the description that is named is there.
#[test]
fn nothing_is_described_for_nobody() {
    for folder in FOLDERS {
        let document = document(folder);
        let text = document.to_string();
        for kind in ["schemas", "responses", "parameters", "headers"] {
            for name in document["components"][kind].as_object().unwrap().keys() {
                assert!(text.contains(&format!("\"#/components/{kind}/{name}\"")), "{folder}: nothing refers to {kind}/{name}");
            }
        }
    }
}

/// Everything in the file of protobuf has a comment, with the bounds of what is stored; everything in GraphQL's schema that is stored has them too.
#[test]
fn bounds_stand_in_every_description() {
    for folder in FOLDERS {
        let app = revision(folder).app;
        let proto = haechi_grpc::proto_file(&app);
        let mut before = "";
        for line in proto.lines() {
            let named = ["  rpc ", "service ", "message ", "enum "].iter().any(|begin| line.starts_with(begin))
                || line.starts_with("  ") && line.ends_with(';');
            assert!(!named || before.trim_start().starts_with("// "), "no comment before `{line}`");
            before = line;
        }
        let sdl = haechi_graphql::sdl(&app).unwrap();
        for text in [&proto, &sdl] {
            for collection in &app.collections {
                for (_, field) in collection.declared().filter(|(_, field)| !matches!(field.ty, haechi_model::FieldType::Ref { .. })) {
                    assert!(text.contains(&app.in_words(&field.ty)), "{}.{}: {}", collection.name, field.name, app.in_words(&field.ty));
                }
            }
        }
    }
}

/// GraphQL's schema has no type without members and none that nothing refers to, also where there is nothing to set.
#[test]
fn the_graphql_schema_is_one_that_tools_read() {
    let root = std::env::temp_dir().join(format!("haechi-sdl-{}", std::process::id()));
    let write = |path: &str, text: &str| {
        std::fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        std::fs::write(root.join(path), text).unwrap();
    };
    write("haechi.toml", "");
    let bare = haechi_graphql::sdl(&haechi::app::folder::load(&root).unwrap().0.app).unwrap();
    assert!(!bare.contains("type Mutation"), "nothing can be changed: {bare}");
    write("collections/marks.toml", "[actions.ping]\n");
    let empty = haechi_graphql::sdl(&haechi::app::folder::load(&root).unwrap().0.app).unwrap();
    assert!(empty.contains("create_mark: MarkPayload") && !empty.contains("update_mark"), "{empty}");
    std::fs::remove_dir_all(&root).unwrap();
    let folders = FOLDERS.into_iter().chain(["templates/notes"]).map(|folder| haechi_graphql::sdl(&revision(folder).app).unwrap());
    for sdl in folders.chain([bare, empty]) {
        let lines: Vec<&str> = sdl.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let Some((kind, name)) = line.strip_suffix(" {").and_then(|head| head.split_once(' ')) else { continue };
            if !matches!(kind, "type" | "input" | "enum") {
                continue;
            }
            assert!(!lines[at + 1].starts_with('}'), "{line} has no members");
            let root = matches!(name, "Query" | "Mutation" | "Subscription");
            let used = lines.iter().enumerate().any(|(other, line)| {
                other != at && line.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').any(|word| word == name)
            });
            assert!(root || used, "nothing refers to {name}");
        }
    }
}
