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

/// A value of an example, with ids of rows where the document leaves them out.
fn filled(value: &mut Value, ids: &dyn Fn(&str) -> Value, at: &str) {
    match value {
        Value::String(text) if text == "0192…" => *value = ids(at),
        Value::Object(members) => members.iter_mut().for_each(|(name, value)| filled(value, ids, name)),
        Value::Array(items) => items.iter_mut().for_each(|item| filled(item, ids, at)),
        _ => {}
    }
}

/// docs/rest.md: upserts, changes by filter and the batch do what they say, on rows of kim.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rest_writes_as_its_document_says() {
    let (app, kim) = clinic().await;
    let text = document("docs/rest.md");
    let blocks = blocks(&text);
    let mut written = 0;
    let first = async |path: &str| kim.get(path).await.expect(200).json()["items"][0].clone();
    let patient = first("/api/v1/patients?status=active&doctor=me").await;
    let appointment = first("/api/v1/appointments?status=booked").await;

    let (_, batch) = blocks.iter().find(|(_, text)| text.contains("\"operations\"")).unwrap();
    let mut batch: Value = serde_json::from_str(batch).unwrap();
    for operation in batch["operations"].as_array_mut().unwrap() {
        let collection = operation["update"].as_str().or(operation["delete"].as_str()).unwrap_or_default().to_owned();
        let ids = |at: &str| match (at, collection.as_str()) {
            ("patient", _) | ("id", "patients") => patient["id"].clone(),
            ("id", "appointments") => appointment["id"].clone(),
            place => panic!("the test knows no id for {place:?}"),
        };
        filled(operation, &ids, "");
        if operation.get("if_match").is_some() {
            operation["if_match"] = patient["version"].clone();
        }
    }
    let results = kim.post("/api/v1:batch", batch.clone()).await.expect(200).json()["results"].clone();
    assert_eq!(results.as_array().map(Vec::len), batch["operations"].as_array().map(Vec::len), "{results}");

    for line in blocks.iter().flat_map(|(_, text)| text.lines()).filter(|line| line.starts_with("curl -X POST")) {
        let words = shell_words(line);
        let path = words.iter().find_map(|word| word.strip_prefix("$API")).unwrap();
        let body = words.windows(2).find(|pair| pair[0] == "-d").map(|pair| serde_json::from_str::<Value>(&pair[1]).unwrap()).unwrap();
        // The clinic declares no action.
        if path.contains(":approve") {
            continue;
        }
        let reply = kim.post(&format!("/api/v1{path}"), body).await;
        assert!(matches!(reply.status, 200 | 201), "{path}: {reply:?}");
        assert!(reply.json()["count"].as_u64() != Some(0), "{path} found nothing");
        written += 1;
    }
    assert!(written >= 3, "{written}");
    app.finish().await;
}

/// docs/grpc.md: the methods of its table are there, and its calls are answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_answers_as_its_document_says() {
    let (app, kim) = clinic().await;
    let text = document("docs/grpc.md");
    let client = crate::grpc::Client::new(&app);
    let cells = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let methods: Vec<&str> =
        cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).filter(|name| name.contains("Patient") && !name.contains('.')).collect();
    let missing: Vec<&&str> = methods.iter().filter(|name| !client.has(name)).collect();
    // The action is an example of what a collection declares.
    assert_eq!((methods.len(), missing), (15, vec![&"ApprovePatient"]), "{methods:?}");

    let (_, python) = blocks(&text).into_iter().find(|(language, _)| language == "python").unwrap();
    assert!(python.contains("patients.ListPatients(pb.ListPatientsRequest(page_size=5, order_by=\"name\"), metadata=auth).patients"), "{python}");
    let page = client.call(&kim, "ListPatients", json!({ "page_size": 5, "order_by": "name" })).await.unwrap();
    assert_eq!(page["patients"].as_array().map(Vec::len), Some(5), "{page}");
    assert!(python.contains("patient.name, list(patient.masked_fields)") && page["patients"][0]["name"].is_string(), "{page}");
    assert!(python.contains("patients.WatchPatients(pb.WatchPatientsRequest(), metadata=auth)"), "{python}");
    let refused = client.watch(&kim, "WatchPatients", json!({})).await.map(|_| ()).unwrap_err();
    assert_eq!(refused.reason, "forbidden", "the clinic lets nobody watch patients");
    app.finish().await;
}

/// docs/jobs.md: the folder of its walk is one, its commands are answered as they say, and its schedule fires.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_walk_of_jobs() {
    let text = document("docs/jobs.md");
    let mut files: Vec<(&'static str, String)> = vec![("collections/users.toml", "[fields]\n".to_owned())];
    for (language, block) in blocks(&text).into_iter().filter(|(language, _)| language == "toml" || language == "cedar") {
        let first = block.lines().next().unwrap_or_default();
        let name = first.trim_start_matches(['#', '/', ' ']).to_owned();
        assert!(name.ends_with(&language), "a block names no file: {first}");
        match files.iter_mut().find(|(known, _)| *known == name) {
            Some((_, whole)) => whole.push_str(&block),
            None => files.push((Box::leak(name.into_boxed_str()), block)),
        }
    }
    // The egress of the reference needs a variable that is set everywhere.
    for (_, file) in &mut files {
        *file = file.replace("MAILER_TOKEN", "PATH");
    }
    let app = TestApp::start(Backend::Sqlite, &files).await;
    let kim = app.person("kim", &["member"]).await;
    let mut run = String::new();
    let commands: Vec<String> = blocks(&text).into_iter().filter(|(language, _)| language == "console").map(|(_, block)| block).collect();
    assert_eq!(commands.len(), 2);
    for block in commands {
        let (command, answer) = block.split_once('\n').unwrap();
        let words = shell_words(command.trim_start_matches("$ "));
        let path = words.iter().find_map(|word| word.strip_prefix("$APP")).unwrap().replace("$RUN", &run);
        let body = words.iter().position(|word| word == "-d").map(|at| words[at + 1].clone());
        let shown = loop {
            let reply = match &body {
                Some(body) => kim.post(&path, serde_json::from_str(body).unwrap()).await.expect(202),
                None => kim.get(&path).await.expect(200),
            };
            let shown = reply.json();
            if shown["state"].is_null() || shown["state"] == "done" {
                break shown;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        };
        let said: Value = serde_json::from_str(answer.trim()).unwrap();
        let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!((names(&shown), &shown["job"], &shown["state"]), (names(&said), &said["job"], &said["state"]), "{shown}");
        run = shown["id"].as_str().unwrap().to_owned();
    }
    let schedules = app.house.jobs.operator("test").schedules().await.unwrap();
    app.clock.advance_ms(schedules[0].next_ms.unwrap() + 1_000 - app.house.gate.clock().now_ms());
    let kim = kim.renewed(&app);
    let mut titles = String::new();
    for _ in 0..300 {
        titles = kim.get("/api/v1/tasks").await.expect(200).text();
        if titles.contains("Plan the week") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(titles.contains("Plan the week") && titles.contains("Call the dentist"), "{titles}");
    app.finish().await;
}
