//! The examples of the documents, run on the clinic as they stand there.

use haechi_testkit::{Backend, Person, TestApp};
use serde_json::{Value, json};
use std::path::Path;

/// A document, from the repository's root.
fn document(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)).unwrap()
}

/// The code blocks of a document: their language and their text.
fn blocks(text: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        match line.trim().strip_prefix("```") {
            Some(language) => {
                open = !open;
                if open {
                    found.push((language.to_owned(), String::new()));
                }
            }
            None if open => {
                let block = &mut found.last_mut().unwrap().1;
                block.push_str(line);
                block.push('\n');
            }
            None => {}
        }
    }
    assert!(!open, "a code block has no end");
    found
}

/// The path of a `curl -G` or a plain `curl` that reads: without what it would send.
fn path(command: &str) -> Option<String> {
    let words = shell_words(command);
    if words.iter().any(|word| word == "-X" || word == ">") {
        return None;
    }
    let mut parameters = Vec::new();
    for pair in words.windows(2).filter(|pair| pair[0] == "-d" || pair[0] == "--data-urlencode") {
        let (name, value) = pair[1].split_once('=')?;
        parameters.push(format!("{name}={}", url::form_urlencoded::byte_serialize(value.as_bytes()).collect::<String>()));
    }
    let path = words.iter().find_map(|word| word.strip_prefix("$API"))?;
    Some(format!("/api/v1{path}{}{}", if parameters.is_empty() { "" } else { "?" }, parameters.join("&")))
}

/// Words as a shell takes them apart.
fn shell_words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in command.chars() {
        match (quote, c) {
            (None, ' ' | '\n') => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            (None, '"' | '\'') => quote = Some(c),
            (Some(end), c) if c == end => quote = None,
            (_, c) => word.push(c),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

/// The clinic with its seed, and kim of the examples.
async fn clinic() -> (TestApp, Person) {
    let app = TestApp::start(Backend::Sqlite, &crate::doors::clinic()).await;
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/clinic");
    haechi::app::rows::seed(&app.house, &seeds).await.unwrap();
    let people = haechi::app::people::list(&app.house).await.unwrap();
    let kim = app.bearer(&app.token(&people.iter().find(|person| person.name == "kim").unwrap().id));
    (app, kim)
}

/// docs/rest.md: what reads is answered, and shows something.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rest_reads_as_its_document_says() {
    let (app, kim) = clinic().await;
    let paths: Vec<String> = blocks(&document("docs/rest.md"))
        .iter()
        .flat_map(|(_, text)| text.lines())
        .filter(|line| line.starts_with("curl "))
        .filter_map(path)
        .collect();
    assert!(paths.len() >= 2, "{paths:?}");
    for path in &paths {
        let reply = kim.get(path).await.expect(200).json();
        let shown = reply.get("items").or(reply.get("groups")).and_then(Value::as_array).map(Vec::len);
        assert!(shown.is_some_and(|shown| shown > 0), "{path}: {reply}");
    }
    app.finish().await;
}

/// docs/graphql.md: each query is valid, and answers without an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn graphql_answers_as_its_document_says() {
    let (app, kim) = clinic().await;
    let mut asked = 0;
    for (language, text) in blocks(&document("docs/graphql.md")) {
        let body = match language.as_str() {
            "graphql" => json!({ "query": text }),
            "" => match text.find(" -d '").and_then(|at| text[at + 5..].rsplit_once('\'')) {
                Some((body, _)) => serde_json::from_str(body).unwrap(),
                None => continue,
            },
            _ => continue,
        };
        let reply = kim.post("/graphql", body.clone()).await.expect(200).json();
        assert!(reply.get("errors").is_none() && reply["data"].is_object(), "{body}: {reply}");
        asked += 1;
    }
    assert!(asked >= 2, "{asked}");
    app.finish().await;
}
