//! The GraphQL door: what honest callers get, and what is refused.

use crate::fixture::FILES;
use haechi_testkit::{Backend, Person, Reply, TestApp, on_both, with_more};
use serde_json::{Value, json};

on_both!(records_are_read_and_changed, lists_have_pages, references_go_both_ways, aggregates_use_readable_fields_alone, masks_are_nulls_with_names);

pub(crate) async fn ask(person: &Person, query: &str, variables: Value) -> Reply {
    person.post("/graphql", json!({ "query": query, "variables": variables })).await
}

/// The data of an operation that must work.
pub(crate) async fn data(person: &Person, query: &str, variables: Value) -> Value {
    let reply = ask(person, query, variables).await.expect(200).json();
    assert_eq!(reply.get("errors"), None, "{reply}");
    reply["data"].clone()
}

/// The code of the first error.
pub(crate) async fn code(person: &Person, query: &str, variables: Value) -> String {
    let reply = ask(person, query, variables).await.json();
    reply["errors"][0]["extensions"]["code"].as_str().unwrap_or_else(|| panic!("no error: {reply}")).to_owned()
}

async fn records_are_read_and_changed(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let create =
        "mutation($input: NoteCreateInput!) { create_note(input: $input) { id note { id title rank author_id version } errors { pointer code } } }";
    let made = data(&kim, create, json!({ "input": { "title": "One", "rank": 3 } })).await;
    let id = made["create_note"]["id"].as_str().unwrap().to_owned();
    assert_eq!(made["create_note"]["note"], json!({ "id": id, "title": "One", "rank": 3, "author_id": kim.id, "version": 1 }));
    assert_eq!(made["create_note"]["errors"], json!([]));
    // What is wrong with the input stands in the payload, each field with its place.
    let wrong = data(&kim, create, json!({ "input": { "rank": 2000, "mail": "no" } })).await;
    assert_eq!(wrong["create_note"]["note"], Value::Null);
    let mut codes: Vec<String> = wrong["create_note"]["errors"].as_array().unwrap().iter().map(|error| error.to_string()).collect();
    codes.sort();
    let expected =
        [r#"{"pointer":"/mail","code":"not_an_email"}"#, r#"{"pointer":"/rank","code":"out_of_range"}"#, r#"{"pointer":"/title","code":"required"}"#];
    let expected: Vec<String> = expected.iter().map(|text| serde_json::from_str::<Value>(text).unwrap().to_string()).collect();
    assert_eq!(codes, expected);
    // Merging, null, and the version.
    let update = "mutation($id: ID!, $input: NoteUpdateInput!, $version: SafeInt) { update_note(id: $id, input: $input, version: $version) { note { body rank version } } }";
    let changed = data(&kim, update, json!({ "id": id, "input": { "body": "b", "rank": null } })).await;
    assert_eq!(changed["update_note"]["note"], json!({ "body": "b", "rank": null, "version": 2 }));
    assert_eq!(code(&kim, update, json!({ "id": id, "input": { "rank": 1 }, "version": 1 })).await, "version-mismatch");
    assert_eq!(code(&kim, update, json!({ "id": id, "input": { "rank": 13 } })).await, "forbidden");
    // Another's note looks like one that is not there.
    let lee = app.person("lee", &["member"]).await;
    let read = "query($id: ID!) { note(id: $id) { __typename alias: title } }";
    assert_eq!(data(&kim, read, json!({ "id": id })).await, json!({ "note": { "__typename": "Note", "alias": "One" } }));
    assert_eq!(data(&lee, read, json!({ "id": id })).await, json!({ "note": null }));
    assert_eq!(code(&lee, update, json!({ "id": id, "input": { "rank": 1 } })).await, "not-found");
    assert_eq!(code(&lee, "mutation($id: ID!) { delete_note(id: $id) { id } }", json!({ "id": id })).await, "not-found");
    let gone = data(&kim, "mutation($id: ID!) { delete_note(id: $id) { id } }", json!({ "id": id })).await;
    assert_eq!(gone, json!({ "delete_note": { "id": id } }));
    assert_eq!(data(&kim, read, json!({ "id": id })).await, json!({ "note": null }));
    // A caller who reaches nothing is refused before the body is read; a collection that policy closes is refused.
    let auditor = app.person("ann", &["auditor"]).await;
    assert_eq!(code(&auditor, "{ things { nodes { id } } }", json!({})).await, "forbidden");
    assert_eq!(code(&app.anonymous(), "{ notes { nodes { id } } }", json!({})).await, "unauthenticated");
    assert_eq!(data(&app.anonymous(), "{ posts { nodes { id } } }", json!({})).await, json!({ "posts": { "nodes": [] } }));
    app.finish().await;
}

async fn lists_have_pages(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    for rank in 0..7 {
        kim.create("notes", json!({ "title": format!("n{rank}"), "rank": rank % 3 })).await;
    }
    let query = "query($after: String) { notes(first: 3, after: $after, order_by: [{field: rank, direction: DESC}, {field: title}]) { edges { cursor node { title } } page_info { has_next_page end_cursor } } }";
    let (mut after, mut titles) = (Value::Null, Vec::new());
    loop {
        let page = data(&kim, query, json!({ "after": after })).await["notes"].clone();
        titles.extend(page["edges"].as_array().unwrap().iter().map(|edge| edge["node"]["title"].as_str().unwrap().to_owned()));
        assert_eq!(page["edges"].as_array().unwrap().last().unwrap()["cursor"], page["page_info"]["end_cursor"]);
        after = page["page_info"]["end_cursor"].clone();
        if page["page_info"]["has_next_page"] == false {
            break;
        }
    }
    assert_eq!(titles, ["n2", "n5", "n1", "n4", "n0", "n3", "n6"]);
    // A cursor is of one query and one caller.
    let lee = app.person("lee", &["member"]).await;
    assert_eq!(code(&lee, query, json!({ "after": after })).await, "invalid-page-token");
    assert_eq!(
        code(&kim, "query($after: String) { notes(first: 3, after: $after) { nodes { id } } }", json!({ "after": after })).await,
        "invalid-page-token"
    );
    // Typed filters.
    let count = async |filter: Value| {
        let found =
            data(&kim, "query($filter: NoteFilter) { notes(filter: $filter, first: 50) { nodes { id } } }", json!({ "filter": filter })).await;
        found["notes"]["nodes"].as_array().unwrap().len()
    };
    assert_eq!(count(json!({ "rank": { "eq": 1 } })).await, 2);
    assert_eq!(count(json!({ "rank": { "ge": 1, "lt": 2 } })).await, 2);
    assert_eq!(count(json!({ "rank": { "in": [0, 2] } })).await, 5);
    assert_eq!(count(json!({ "or": [{ "rank": { "eq": 1 } }, { "title": { "eq": "n0" } }] })).await, 3);
    assert_eq!(count(json!({ "not": { "title": { "has": "n" } } })).await, 0);
    assert_eq!(count(json!({ "author": { "eq": "me" }, "body": { "is_null": true } })).await, 7);
    let wrong = json!({ "filter": { "rank": { "eq": "x" } } });
    assert_eq!(code(&kim, "query($filter: NoteFilter) { notes(filter: $filter) { nodes { id } } }", wrong).await, "malformed-request");
    app.finish().await;
}

async fn references_go_both_ways(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let (kim, lee) = (app.person("kim", &["member"]).await, app.person("lee", &["member"]).await);
    let a = kim.create("notes", json!({ "title": "a" })).await;
    let b = kim.create("notes", json!({ "title": "b" })).await;
    let mut children = Vec::new();
    for at in 0..3 {
        children.push(kim.create("notes", json!({ "title": format!("a{at}"), "parent": a, "rank": at })).await);
    }
    kim.create("notes", json!({ "title": "b0", "parent": b })).await;
    lee.create("notes", json!({ "title": "theirs" })).await;
    let query = "{ notes(filter: {parent: {is_null: true}}, order_by: [{field: title}]) { nodes {
        title
        author { id }
        notes_by_parent(first: 2, order_by: [{field: rank, direction: DESC}]) { nodes { title up: parent { title parent { id } } } page_info { has_next_page } }
        last: id
    } } }";
    let found = data(&kim, query, json!({})).await;
    assert_eq!(
        found["notes"]["nodes"],
        json!([
            { "title": "a", "author": null, "notes_by_parent": { "nodes": [
                { "title": "a2", "up": { "title": "a", "parent": null } }, { "title": "a1", "up": { "title": "a", "parent": null } }
            ], "page_info": { "has_next_page": true } }, "last": a },
            { "title": "b", "author": null, "notes_by_parent": { "nodes": [{ "title": "b0", "up": { "title": "b", "parent": null } }], "page_info": { "has_next_page": false } }, "last": b },
        ])
    );
    // A page of each parent goes on where it ended.
    let page = "query($id: ID!, $after: String) { note(id: $id) { notes_by_parent(first: 2, after: $after) { nodes { id } page_info { end_cursor has_next_page } } } }";
    let first = data(&kim, page, json!({ "id": a })).await["note"]["notes_by_parent"].clone();
    let second = data(&kim, page, json!({ "id": a, "after": first["page_info"]["end_cursor"] })).await["note"]["notes_by_parent"].clone();
    let ids: Vec<&Value> = [&first, &second].iter().flat_map(|page| page["nodes"].as_array().unwrap()).map(|node| &node["id"]).collect();
    assert_eq!(ids, children.iter().collect::<Vec<_>>());
    assert_eq!(second["page_info"]["has_next_page"], false);
    app.finish().await;
}

async fn aggregates_use_readable_fields_alone(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let (kim, ann) = (app.person("kim", &["member"]).await, app.person("ann", &["auditor"]).await);
    for (text, small, large, price) in [("a", 1, "9223372036854775807", "1.50"), ("b", 5, "9223372036854775807", "2.25")] {
        kim.create("things", json!({ "text": text, "small": small, "large": large, "price": price, "ratio": 0.5 })).await;
    }
    let query = "{ things_aggregate { count min { small text price } max { small } sum { small large price ratio } average { small price } } }";
    let found = data(&kim, query, json!({})).await;
    assert_eq!(
        found["things_aggregate"],
        json!({ "count": 2, "min": { "small": 1, "text": "a", "price": "1.50" }, "max": { "small": 5 },
            "sum": { "small": "6", "large": "18446744073709551614", "price": "3.75", "ratio": 1.0 }, "average": { "small": 3.0, "price": 1.875 } })
    );
    assert_eq!(
        data(&kim, "{ things_aggregate(filter: {text: {eq: \"none\"}}) { count sum { small } } }", json!({})).await["things_aggregate"],
        json!({ "count": 0, "sum": { "small": null } })
    );
    // A field that is not yours in any record is refused; where it depends on the record, only those count in which it is.
    kim.create("notes", json!({ "title": "open", "secret": "s1", "mail": "a@example.com" })).await;
    kim.create("notes", json!({ "title": "closed", "secret": "s9" })).await;
    assert_eq!(code(&ann, "{ notes_aggregate { max { mail } } }", json!({})).await, "forbidden");
    assert_eq!(
        data(&ann, "{ notes_aggregate { count max { secret } } }", json!({})).await["notes_aggregate"],
        json!({ "count": 1, "max": { "secret": "s1" } })
    );
    assert_eq!(data(&ann, "{ notes_aggregate { count } }", json!({})).await["notes_aggregate"]["count"], 2);
    app.finish().await;
}

async fn masks_are_nulls_with_names(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let (kim, ann) = (app.person("kim", &["member"]).await, app.person("ann", &["auditor"]).await);
    let open = kim.create("notes", json!({ "title": "open", "secret": "s1", "mail": "a@example.com" })).await;
    let closed = kim.create("notes", json!({ "title": "closed", "secret": "s9" })).await;
    let query = "query($id: ID!) { note(id: $id) { title secret mail _masked } }";
    assert_eq!(data(&ann, query, json!({ "id": open })).await["note"], json!({ "title": "open", "secret": "s1", "mail": null, "_masked": ["mail"] }));
    assert_eq!(
        data(&ann, query, json!({ "id": closed })).await["note"],
        json!({ "title": "closed", "secret": null, "mail": null, "_masked": ["secret", "mail"] })
    );
    let order = "{ notes(order_by: [{field: mail}]) { nodes { id } } }";
    assert_eq!(code(&ann, order, json!({})).await, "forbidden");
    // What was shown stands in the ledger, as with REST.
    let seen = app.ledger().await.into_iter().filter(|entry| entry["action"] == "read" && entry["actor"] == ann.id.as_str()).collect::<Vec<_>>();
    assert_eq!(seen.len(), 1, "{seen:?}");
    app.finish().await;
}

/// GQL-12 [V3.5.1]: a change is sent by POST as JSON; every other request that a page of another site can send is refused.
#[tokio::test]
async fn http_is_as_specified() {
    let app = TestApp::start(Backend::Sqlite, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let get = async |query: &str, accept: &str| kim.send("GET", &format!("/graphql?query={query}"), &[("accept", accept)], Vec::new()).await;
    assert_eq!(get("%7B__typename%7D", "*/*").await.expect(200).text(), r#"{"data":{"__typename":"Query"}}"#);
    assert_eq!(
        get("%7B__typename%7D", "application/graphql-response+json").await.header("content-type"),
        "application/graphql-response+json; charset=utf-8"
    );
    get("%7B__typename%7D", "text/html").await.expect(406);
    let deletes = get("mutation%7Bdelete_note(id:1)%7Bid%7D%7D", "application/json").await.expect(405);
    assert_eq!(deletes.header("allow"), "POST");
    // Nothing personal is filtered or ordered by in a URL.
    let personal = get("%7Bnotes(order_by:%5B%7Bfield:mail%7D%5D)%7Bnodes%7Bid%7D%7D%7D", "*/*").await;
    assert_eq!(personal.json()["errors"][0]["extensions"]["code"], "use-query-body");
    let post = async |kind: &str, body: &str| kim.send("POST", "/graphql", &[("content-type", kind)], body.as_bytes().to_vec()).await;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json; charset=latin1"] {
        post(kind, r#"{"query":"{__typename}"}"#).await.expect(415);
    }
    // A document that breaks a rule: 200 for the older media type, 400 for the newer.
    assert_eq!(post("application/json", r#"{"query":"{nothing}"}"#).await.expect(200).json()["errors"][0]["extensions"]["code"], "invalid-document");
    let newer = [("content-type", "application/json"), ("accept", "application/graphql-response+json")];
    let refused = kim.send("POST", "/graphql", &newer, br#"{"query":"{nothing}"}"#.to_vec()).await.expect(400);
    assert_eq!(refused.json().get("data"), None);
    for body in [
        "",
        "{",
        "7",
        "[]",
        "{}",
        r#"{"query":7}"#,
        r#"{"query":"{a}","variables":7}"#,
        r#"{"query":"{a}","operationName":7}"#,
        r#"{"query":"{a}","query":"{b}"}"#,
    ] {
        post("application/json", body).await.expect(400);
    }
    let two = post("application/json", r#"[{"query":"{__typename}"},{"query":"{a: __typename}"}]"#).await.expect(200);
    assert_eq!(two.json(), json!([{ "data": { "__typename": "Query" } }, { "data": { "a": "Query" } }]));
    // Nothing of a list is done when one of it cannot be read.
    let note = r#"{"query":"mutation { create_note(input: {title: \"x\"}) { id } }"}"#;
    post("application/json", &format!("[{note},5]")).await.expect(400);
    assert_eq!(data(&kim, "{ notes_aggregate { count } }", json!({})).await["notes_aggregate"]["count"], 0);
    // The key is that of the change, at any place in the document.
    let keyed = [("content-type", "application/json"), ("idempotency-key", "k1")];
    let mutation = br#"{"query":"mutation { __typename create_note(input: {title: \"x\"}) { id } }"}"#;
    let first = kim.send("POST", "/graphql", &keyed, mutation.to_vec()).await.expect(200).json()["data"]["create_note"].clone();
    assert_eq!(kim.send("POST", "/graphql", &keyed, mutation.to_vec()).await.expect(200).json()["data"]["create_note"], first);
    let many = format!("[{}]", [r#"{"query":"{__typename}"}"#; 11].join(","));
    post("application/json", &many).await.expect(400);
    app.finish().await;
}

/// GQL-01 [V4.3.2]: the schema is shown to developers, and elsewhere only where the folder says so, to known callers.
#[tokio::test]
async fn introspection_is_for_developers() {
    let app = TestApp::start(Backend::Sqlite, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let query = "query($name: String!) { __schema { queryType { name } } __type(name: $name) { name fields { name } } __typename }";
    let found = data(&kim, query, json!({ "name": "Vault" })).await;
    assert_eq!(
        (&found["__schema"]["queryType"]["name"], &found["__type"]["name"], &found["__typename"]),
        (&json!("Query"), &json!("Vault"), &json!("Query"))
    );
    assert_eq!(code(&app.anonymous(), "{ __schema { queryType { name } } }", json!({})).await, "forbidden");
    let suggestion = ask(&kim, "{ note(id: 1) { titl } }", json!({})).await.json()["errors"][0]["message"].to_string();
    assert!(suggestion.contains("title"), "{suggestion}");
    let served = std::sync::Arc::new(haechi::http::routes::stack(&app.house, haechi::Mode::Serve));
    let kim = Person::at(served, &kim);
    assert_eq!(code(&kim, query, json!({ "name": "Vault" })).await, "forbidden");
    let refused = ask(&kim, "{ note(id: 1) { titl } }", json!({})).await.json()["errors"][0]["message"].to_string();
    assert!(!refused.contains("title"), "{refused}");
    assert_eq!(data(&kim, "{ __typename }", json!({})).await, json!({ "__typename": "Query" }));
    // Callers without credentials learn no name: what is there and what is not looks alike. What the folder opens to them is told.
    let nobody = Person::at(std::sync::Arc::new(haechi::http::routes::stack(&app.house, haechi::Mode::Serve)), &app.anonymous());
    let mut told = std::collections::BTreeSet::new();
    for hidden in [
        "{ vaults { nodes { id } } }",
        "{ vault(id: 1) { word } }",
        "{ nothing { id } }",
        "{ posts { nodes { titl } } notes { nodes { title } } }",
        "{ ...F } fragment F on Query { notes { nodes { titl } } }",
        "mutation { create_note(input: {}) { id } }",
        "mutation { create_nothing(input: {}) { id } }",
        "query A { posts { nodes { id } } } query B { secrets }",
        "{ __schema { types { name } } }",
    ] {
        let reply = ask(&nobody, hidden, json!({})).await;
        let mut body = reply.json();
        body["errors"][0]["extensions"].as_object_mut().unwrap().remove("request_id");
        told.insert((reply.status, body.to_string()));
    }
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told.first().unwrap().1.contains("Sign in first."), "{told:?}");
    assert!(data(&nobody, "{ posts { nodes { title } } }", json!({})).await["posts"]["nodes"].is_array());
    assert_eq!(code(&nobody, "{ posts { nodes { titl } } }", json!({})).await, "invalid-document");
    app.finish().await;
}

/// GQL-03, GQL-05 [V4.3.1 V2.4.1]: cost is known before the store is touched, and every operation counts.
#[tokio::test]
async fn operations_are_counted() {
    let files = with_more(FILES, &[("haechi.toml", "[graphql]\ncost = 1000\n[limits]\ncaller_per_minute = 60")]);
    let app = TestApp::start(Backend::Sqlite, &files).await;
    let kim = app.person("kim", &["member"]).await;
    data(&kim, "{ notes(first: 100) { nodes { id } } }", json!({})).await;
    let nested = "query($n: Int) { notes(first: $n) { nodes { notes_by_parent(first: $n) { nodes { id } } } } }";
    let refused = ask(&kim, nested, json!({ "n": 100 })).await.expect(400).json();
    assert!(refused["errors"][0]["message"].as_str().unwrap().contains("10100 records"), "{refused}");
    data(&kim, nested, json!({ "n": 10 })).await;
    // Ten root fields are ten requests.
    let ten: String = (0..10).map(|at| format!("a{at}: notes(first: 1) {{ nodes {{ id }} }} ")).collect();
    let mut sent = 0;
    while ask(&kim, &format!("{{ {ten} }}"), json!({})).await.json()["errors"][0]["extensions"]["code"] != "too-many-requests" {
        sent += 1;
        assert!(sent < 10, "sixty a minute are six times ten");
    }
    assert!((4..=6).contains(&sent), "{sent}");
    app.finish().await;
}

#[tokio::test]
async fn known_documents_are_named_by_their_hash() {
    let hash = |text: &str| {
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let by_hash = |hash: &str| json!({ "extensions": { "persistedQuery": { "version": 1, "sha256Hash": hash } } });
    let app = TestApp::start(Backend::Sqlite, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let (text, other) = ("{ notes { nodes { id } } }", "{ __typename }");
    let unknown = kim.post("/graphql", by_hash(&hash(text))).await.expect(200).json();
    assert_eq!(unknown["errors"][0]["extensions"]["code"], "persisted-query-not-found");
    let mut wrong = by_hash(&hash(text));
    wrong["query"] = json!(other);
    kim.post("/graphql", wrong.clone()).await.expect(400);
    wrong["query"] = json!(text);
    kim.post("/graphql", wrong).await.expect(200);
    assert_eq!(kim.post("/graphql", by_hash(&hash(text))).await.expect(200).json()["data"]["notes"]["nodes"], json!([]));
    app.finish().await;
    // Only what the folder holds.
    let mut files = with_more(FILES, &[("haechi.toml", "[graphql]\nonly_known = true")]);
    files.push(("graphql/notes.graphql", text.to_owned()));
    let app = TestApp::start(Backend::Sqlite, &files).await;
    let kim = app.person("kim", &["member"]).await;
    kim.post("/graphql", by_hash(&hash(text))).await.expect(200);
    assert_eq!(data(&kim, text, json!({})).await["notes"]["nodes"], json!([]));
    assert_eq!(code(&kim, other, json!({})).await, "forbidden");
    app.finish().await;
}

#[test]
fn names_that_clash_are_found_when_the_folder_is_read() {
    let load = |more: &[(&str, &str)]| {
        let root = std::env::temp_dir().join(format!("haechi-names-{}-{}", std::process::id(), more[0].0.len()));
        for (path, text) in FILES.iter().map(|(path, text)| (*path, *text)).chain(more.iter().copied()) {
            std::fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            std::fs::write(root.join(path), text).unwrap();
        }
        let found = haechi::app::folder::load(&root);
        std::fs::remove_dir_all(&root).unwrap();
        match found {
            Ok(_) => Vec::new(),
            Err(haechi::FolderError::Findings(findings)) => findings.list().iter().map(|finding| finding.message.clone()).collect(),
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(load(&[("collections/fine.toml", "[fields]\na = { type = \"text\" }\n")]), Vec::<String>::new());
    let twice = "[fields]\nnote = { type = \"ref\", to = \"notes\" }\nnote_id = { type = \"text\" }\n";
    assert_eq!(load(&[("collections/extras.toml", twice)]), ["`Extra` would have two members `note_id` in GraphQL: rename a field"]);
    for word in ["and", "or", "not"] {
        let found = load(&[("collections/extras.toml", &format!("[fields]\n{word} = {{ type = \"bool\" }}\n"))]);
        assert_eq!(found, [format!("the filter of `Extra` would have two members `{word}` in GraphQL: rename the field")]);
    }
    let ty = "[collection]\nsingular = \"NotePayload\"\n[fields]\na = { type = \"text\" }\n";
    assert!(load(&[("collections/payloads.toml", ty)])[0].contains("the type `NotePayload` of GraphQL would be both"));
    assert!(load(&[("graphql/wrong.graphql", "{ notes { nodes { nothing } } }")])[0].contains("nothing"));
}
