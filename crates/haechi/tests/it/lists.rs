//! Lists of references: what a row names, who may name it, what happens when it is deleted, by every door and on both databases.

use crate::{
    grpc::Client,
    process::{done, haechi},
};
use haechi_testkit::{Backend, Events, Person, TestApp, on_both};
use rusqlite::Connection;
use serde_json::{Value, json};

on_both!(
    a_list_refers_at_every_door,
    an_id_needs_read_on_its_row,
    deleting_takes_ids_out,
    what_a_list_holds_stays,
    entries_stand_in_the_order_of_what_was_done,
    policies_ask_who_is_listed,
    lists_and_deletes_race,
    lists_move_in_and_out,
    lists_are_migrated,
    verification_compares_lists,
    lists_have_one_gate
);

pub(crate) const FILES: &[(&str, &str)] = &[
    ("haechi.toml", "roles = [\"member\", \"guest\"]\n"),
    (
        "collections/labels.toml",
        "[fields]\nname = { type = \"text\", required = true, unique = true }\nhidden = { type = \"bool\", default = false }\n",
    ),
    ("collections/rooms.toml", "[fields]\nname = { type = \"text\" }\n"),
    (
        "collections/tasks.toml",
        "[fields]\ntitle = { type = \"text\", required = true }\n\
         labels = { type = \"list\", of = \"ref\", to = \"labels\", on_delete = \"remove\", default = [] }\n\
         rooms = { type = \"list\", of = \"ref\", to = \"rooms\", max_items = 3 }\n\
         watchers = { type = \"list\", of = \"ref\", to = \"users\", on_delete = \"remove\" }\n\
         blocks = { type = \"list\", of = \"ref\", to = \"tasks\", on_delete = \"remove\" }\n\
         parent = { type = \"ref\", to = \"tasks\", on_delete = \"cascade\" }\n",
    ),
    ("policies/main.cedar", POLICIES),
];

const POLICIES: &str = r#"
permit (principal in Role::"member", action in [Action::"list", Action::"read", Action::"create", Action::"update", Action::"delete"], resource) when { !(resource is labels) && !(resource is users) };
permit (principal in Role::"member", action in [Action::"list", Action::"read", Action::"create", Action::"delete"], resource is labels) unless { resource has hidden && resource.hidden };
permit (principal, action in [Action::"read", Action::"update"], resource is users) when { resource == principal };
permit (principal in Role::"guest", action in [Action::"list", Action::"read", Action::"watch"], resource is tasks) when { resource has watchers && principal in resource.watchers };
permit (principal is users in Role::"guest", action == Action::"update", resource is tasks) when { resource has watchers && resource.watchers.contains(principal) };
permit (principal in Role::"guest", action in [Action::"list", Action::"read"], resource is rooms) when { resource has name && resource.name == "open" };
"#;

async fn start(backend: Backend) -> (TestApp, Person) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    (app, kim)
}

fn codes(problem: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    problem["errors"].as_array().into_iter().flatten().map(|error| (text(&error["pointer"]), text(&error["code"]))).collect()
}

async fn titles(person: &Person, query: &str) -> Vec<String> {
    let reply = person.get(&format!("/api/v1/tasks{query}")).await.expect(200).json();
    reply["items"].as_array().unwrap().iter().map(|task| task["title"].as_str().unwrap().to_owned()).collect()
}

async fn task(person: &Person, id: &str) -> Value {
    person.get(&format!("/api/v1/tasks/{id}")).await.expect(200).json()
}

async fn sql(app: &TestApp, backend: Backend, sql: &str) {
    match backend {
        Backend::Sqlite => Connection::open(app.database_file()).unwrap().execute_batch(sql).unwrap(),
        Backend::Postgres => crate::types::client(&app.root).await.batch_execute(sql).await.unwrap(),
    }
}

/// Puts people into a list of whom its writers may read nobody.
async fn watched_by(app: &TestApp, backend: Backend, task: &str, people: &[&str]) {
    let list = json!(people.iter().collect::<std::collections::BTreeSet<_>>());
    sql(
        app,
        backend,
        &format!("UPDATE tasks SET watchers = '{list}' WHERE id = '{task}'; DELETE FROM \"_tasks__watchers\" WHERE \"row\" = '{task}'"),
    )
    .await;
    for person in people {
        sql(app, backend, &format!("INSERT INTO \"_tasks__watchers\" VALUES ('{task}', '{person}')")).await;
    }
}

/// A list is a set: REST, a batch, GraphQL and gRPC write and show the same, and each finds rows by it.
async fn a_list_refers_at_every_door(backend: Backend) {
    let (app, kim) = start(backend).await;
    let mut labels = Vec::new();
    for name in ["red", "green", "blue"] {
        labels.push(kim.create("labels", json!({ "name": name })).await);
    }
    let [red, green, blue] = &labels[..] else { panic!("three labels") };
    // In any order, in capitals, and twice: stored once each, in their order.
    let first = kim.create("tasks", json!({ "title": "first", "labels": [green, red.to_uppercase(), green], "watchers": [kim.id] })).await;
    assert_eq!(task(&kim, &first).await["labels"], json!([red, green]));
    let second = kim.create("tasks", json!({ "title": "second", "labels": [blue] })).await;
    let bare = kim.create("tasks", json!({ "title": "bare" })).await;
    assert_eq!((&task(&kim, &bare).await["labels"], &task(&kim, &bare).await["rooms"]), (&json!([]), &Value::Null));
    for (filter, expected) in [
        (format!("labels:{red}"), vec!["first"]),
        (format!("labels:\"{blue}\""), vec!["second"]),
        ("watchers:me".to_owned(), vec!["first"]),
        (format!("NOT labels:{red}"), vec!["second", "bare"]),
        (format!("labels:{red} OR labels:{blue}"), vec!["first", "second"]),
        (format!("labels:{red} OR title = \"bare\""), vec!["first", "bare"]),
        (format!("labels:{red} labels:{green} title = \"first\""), vec!["first"]),
        (format!("labels:{first}"), vec![]),
        ("watchers:*".to_owned(), vec!["first"]),
    ] {
        let query = serde_json::to_vec(&json!({ "filter": filter, "page_size": 10 })).unwrap();
        let reply = kim.send("POST", "/api/v1/tasks:query", &[("content-type", "application/json")], query).await.expect(200).json();
        let found: Vec<&str> = reply["items"].as_array().unwrap().iter().map(|task| task["title"].as_str().unwrap()).collect();
        assert_eq!(found, expected, "{filter}");
        let counted = kim.post("/graphql", json!({ "query": "{ tasks_aggregate { count } }" })).await.expect(200).json();
        assert_eq!(counted["data"]["tasks_aggregate"]["count"], 3);
    }
    // Expansion shows the records in the order of the list.
    let shown = kim.get(&format!("/api/v1/tasks/{first}?expand=labels,watchers,rooms")).await.expect(200).json();
    let names: Vec<&str> = shown["_expanded"]["labels"].as_array().unwrap().iter().map(|label| label["name"].as_str().unwrap()).collect();
    assert_eq!(
        (names, shown["_expanded"]["watchers"][0]["id"].as_str(), shown["_expanded"].get("rooms")),
        (vec!["red", "green"], Some(&*kim.id), None)
    );
    let listed = kim.get("/api/v1/tasks?expand=labels").await.expect(200).json();
    assert_eq!(
        (listed["items"][2]["_expanded"]["labels"].clone(), listed["items"][1]["_expanded"]["labels"][0]["name"].clone()),
        (json!([]), json!("blue"))
    );
    graphql(&kim, &first, (red, green, blue)).await;
    grpc(&app, &kim, &second, (red, green)).await;
    // A batch names what it makes.
    let made = kim.post(
        "/api/v1:batch",
        json!({ "operations": [
            { "create": "labels", "as": "new", "data": { "name": "new" } },
            { "create": "tasks", "as": "third", "data": { "title": "third", "labels": ["$new.id", red] } },
            { "update": "tasks", "id": bare, "data": { "labels": ["$new.id"], "blocks": ["$third.id"] } },
            { "update": "tasks", "id": bare, "data": { "labels": [red, "$new.id"] } },
        ] }),
    );
    let made = made.await.expect(200).json();
    let id = |at: usize| made["results"][at]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    assert_eq!(task(&kim, &id(1)).await["labels"], json!([red, id(0)]));
    assert_eq!((&task(&kim, &bare).await["labels"], &task(&kim, &bare).await["blocks"]), (&json!([red, id(0)]), &json!([id(1)])));
    assert_eq!(titles(&kim, &format!("?filter=labels%3A{red}")).await, ["first", "bare", "third"]);
    // Lists are written whole; null takes the list away.
    kim.patch(&format!("/api/v1/tasks/{first}"), json!({ "labels": [blue], "watchers": null })).await.expect(200);
    assert_eq!(titles(&kim, &format!("?filter=labels%3A{red}")).await, ["bare", "third"]);
    assert_eq!(titles(&kim, "?filter=watchers%3Ame").await, [""; 0]);
    // The document says what may be written.
    let document = kim.get("/openapi.json").await.expect(200).json();
    assert_eq!(document["components"]["schemas"]["TaskCreate"]["properties"]["labels"]["items"]["format"], "uuid");
    app.finish().await;
}

async fn graphql(kim: &Person, first: &str, (red, green, blue): (&String, &String, &String)) {
    let asked = async |query: &str, variables: Value| {
        let reply = kim.post("/graphql", json!({ "query": query, "variables": variables })).await.expect(200).json();
        assert_eq!(reply.get("errors"), None, "{reply}");
        reply["data"].clone()
    };
    let shown =
        asked("query($id: ID!) { task(id: $id) { labels { name } labels_ids watchers { id } rooms { name } rooms_ids } }", json!({ "id": first }))
            .await;
    assert_eq!(
        shown["task"],
        json!({ "labels": [{ "name": "red" }, { "name": "green" }], "labels_ids": [red, green], "watchers": [{ "id": kim.id }], "rooms": null, "rooms_ids": null })
    );
    let found =
        asked("query($id: ID!) { tasks(filter: { labels: { has: $id } }) { nodes { title labels { name id } } } }", json!({ "id": blue })).await;
    assert_eq!(found["tasks"]["nodes"], json!([{ "title": "second", "labels": [{ "name": "blue", "id": blue }] }]));
    let query =
        "mutation($id: ID!, $input: TaskUpdateInput!) { update_task(id: $id, input: $input) { task { labels { name } } errors { pointer code } } }";
    let changed = asked(query, json!({ "id": first, "input": { "labels": [blue, red, blue] } })).await;
    assert_eq!(changed["update_task"], json!({ "task": { "labels": [{ "name": "red" }, { "name": "blue" }] }, "errors": [] }));
    let refused = asked(query, json!({ "id": first, "input": { "labels": [first] } })).await;
    assert_eq!(refused["update_task"]["errors"][0]["code"], "unknown_reference", "{refused}");
    // What lists may lead to counts as if all were full.
    let long =
        kim.post("/graphql", json!({ "query": "{ tasks(first: 100) { nodes { labels { name } blocks { labels { name } } } } }" })).await.json();
    assert!(long["errors"][0]["message"].as_str().is_some_and(|what| what.contains("cost") || what.contains("records")), "{long}");
}

async fn grpc(app: &TestApp, kim: &Person, second: &str, (red, green): (&String, &String)) {
    let client = Client::new(app);
    let changed = client.call(kim, "UpdateTask", json!({ "task": { "id": second, "labels": [green, red] }, "update_mask": "labels" })).await;
    assert!(format!("{changed:?}").contains(&**red), "{changed:?}");
    assert_eq!(task(kim, second).await["labels"], json!([red, green]));
    let refused = client.call(kim, "UpdateTask", json!({ "task": { "id": second, "labels": [second] }, "update_mask": "labels" })).await;
    assert!(format!("{refused:?}").contains("unknown_reference"), "{refused:?}");
    let blue = kim.post("/graphql", json!({ "query": "{ labels(filter: { name: { eq: \"blue\" } }) { nodes { id } } }" })).await.json();
    kim.patch(&format!("/api/v1/tasks/{second}"), json!({ "labels": [blue["data"]["labels"]["nodes"][0]["id"]] })).await.expect(200);
}

/// ABUSE-61 [V8.2.3]: nobody names rows that they may not read; what is hidden and what is not there give the same refusal.
async fn an_id_needs_read_on_its_row(backend: Backend) {
    let (app, kim) = start(backend).await;
    let lee = app.person("lee", &["guest"]).await;
    let (open, closed) = (kim.create("rooms", json!({ "name": "open" })).await, kim.create("rooms", json!({ "name": "closed" })).await);
    let nowhere = "01920000-0000-7000-8000-00000000dead".to_owned();
    let own = kim.create("tasks", json!({ "title": "own", "rooms": [closed], "watchers": [kim.id] })).await;
    // Kim reads no person but themselves: they cannot name Lee, and Lee cannot be told from nobody.
    for id in [&lee.id, &nowhere] {
        let refused = kim.post("/api/v1/tasks", json!({ "title": "x", "watchers": [kim.id, id] })).await.expect(422).json();
        assert_eq!(codes(&refused), [("/watchers".to_owned(), "unknown_reference".to_owned())], "{refused}");
        assert_eq!(refused["errors"][0]["detail"], json!(format!("{id} names no record that you may read")));
    }
    watched_by(&app, backend, &own, &[&kim.id, &lee.id]).await;
    // A watcher writes the list whole: who stands in it already stays, whether the writer may read them or not.
    let path = format!("/api/v1/tasks/{own}");
    lee.patch(&path, json!({ "watchers": [lee.id, kim.id] })).await.expect(200);
    // What the list of rooms holds, they may leave there, too; what it does not hold needs `read`.
    lee.patch(&path, json!({ "rooms": [closed, open] })).await.expect(200);
    lee.patch(&path, json!({ "rooms": [open] })).await.expect(200);
    for id in [&closed, &nowhere] {
        let refused = lee.patch(&path, json!({ "rooms": [open, id] })).await.expect(422).json();
        assert_eq!(refused["errors"][0]["detail"], json!(format!("{id} names no record that you may read")), "{refused}");
    }
    assert_eq!(task(&kim, &own).await["rooms"], json!([open]));
    // A reference shows the id, and expansion and GraphQL only what they may read.
    kim.patch(&path, json!({ "rooms": [open, closed] })).await.expect(200);
    let shown = lee.get(&format!("{path}?expand=rooms,watchers")).await.expect(200).json();
    assert_eq!(shown["rooms"].as_array().map(Vec::len), Some(2));
    let names = |of: &str| shown["_expanded"][of].as_array().unwrap().iter().map(|row| row["id"].clone()).collect::<Vec<_>>();
    assert_eq!((names("rooms"), names("watchers")), (vec![json!(open)], vec![json!(lee.id)]));
    let asked = lee
        .post("/graphql", json!({ "query": "query($id: ID!) { task(id: $id) { rooms { name } rooms_ids } }", "variables": { "id": own } }))
        .await
        .json();
    assert_eq!(
        (&asked["data"]["task"]["rooms"], asked["data"]["task"]["rooms_ids"].as_array().map(Vec::len)),
        (&json!([{ "name": "open" }]), Some(2))
    );
    // What is wrong in the list itself names its place.
    for (wrong, code) in [
        (json!((0..4).map(|at| format!("01920000-0000-7000-8000-00000000000{at}")).collect::<Vec<_>>()), "too_many_items"),
        (json!(["x"]), "not_a_uuid"),
        (json!([null]), "null_in_list"),
        (json!(open), "wrong_type"),
        (json!([[open]]), "wrong_type"),
    ] {
        let refused = kim.patch(&path, json!({ "rooms": wrong })).await.expect(422).json();
        assert_eq!(codes(&refused), [("/rooms".to_owned(), code.to_owned())], "{refused}");
    }
    app.close().await;
}

/// What names a deleted row loses the id, with an entry for each row and a version that rises; more than 1 000 rows are refused.
async fn deleting_takes_ids_out(backend: Backend) {
    let (app, kim) = start(backend).await;
    let (red, blue) = (kim.create("labels", json!({ "name": "red" })).await, kim.create("labels", json!({ "name": "blue" })).await);
    let both = kim.create("tasks", json!({ "title": "both", "labels": [red, blue] })).await;
    let one = kim.create("tasks", json!({ "title": "one", "labels": [red] })).await;
    kim.delete(&format!("/api/v1/labels/{red}")).await.expect(204);
    assert_eq!((&task(&kim, &both).await["labels"], &task(&kim, &one).await["labels"]), (&json!([blue]), &json!([])));
    assert_eq!(task(&kim, &both).await["version"], 2);
    app.house.gate.settle().await;
    let entries = app.ledger().await;
    let caused = entries.iter().filter(|entry| entry["cause"] == "cascade" || entry["detail"]["cause"] == "cascade").count();
    assert_eq!(caused, 2, "{entries:?}");
    // A row that names itself, rows that name each other, and a whole family that names its members.
    let own = kim.create("tasks", json!({ "title": "own", "labels": [blue] })).await;
    kim.patch(&format!("/api/v1/tasks/{own}"), json!({ "blocks": [own, one] })).await.expect(200);
    kim.patch(&format!("/api/v1/tasks/{one}"), json!({ "blocks": [own] })).await.expect(200);
    let child = kim.create("tasks", json!({ "title": "child", "parent": own, "blocks": [own] })).await;
    kim.patch(&format!("/api/v1/tasks/{own}"), json!({ "blocks": [own, one, child] })).await.expect(200);
    kim.patch(&format!("/api/v1/tasks/{both}"), json!({ "blocks": [own, child, one] })).await.expect(200);
    kim.delete(&format!("/api/v1/tasks/{own}")).await.expect(204);
    assert_eq!((&task(&kim, &one).await["blocks"], &task(&kim, &both).await["blocks"]), (&json!([]), &json!([one])));
    kim.get(&format!("/api/v1/tasks/{child}")).await.expect(404);
    assert_eq!(titles(&kim, &format!("?filter=labels%3A{blue}")).await, ["both"]);
    // More rows than one delete may change: nothing is done.
    let file = app.root.join("many.ndjson");
    let lines: Vec<String> = (0..1_001).map(|at| json!({ "title": format!("t{at}"), "labels": [blue] }).to_string()).collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    let tasks = app.house.gate.revision().app.collection("tasks").unwrap().clone();
    haechi::app::rows::import_file(&app.house, &tasks, &file, haechi_data::transfer::Options::default()).await.unwrap();
    assert_eq!(kim.delete(&format!("/api/v1/labels/{blue}")).await.expect(409).problem(), "too-many-children");
    assert_eq!(task(&kim, &both).await["labels"], json!([blue]));
    app.finish().await;
}

/// ABUSE-64 [V16.4.2]: what a delete takes with it stands in the ledger behind the operations before it, so the last entry about a row says
/// how the row is.
async fn entries_stand_in_the_order_of_what_was_done(backend: Backend) {
    let (app, kim) = start(backend).await;
    let red = kim.create("labels", json!({ "name": "red" })).await;
    let task_id = kim.create("tasks", json!({ "title": "t" })).await;
    let batch = json!({ "operations": [
        { "update": "tasks", "id": task_id, "data": { "labels": [red], "title": "u" } },
        { "delete": "labels", "id": red },
        { "update": "tasks", "id": task_id, "data": { "title": "v" } },
        { "create": "tasks", "as": "p", "data": { "title": "parent" } },
        { "create": "tasks", "as": "c", "data": { "title": "child", "parent": "$p.id", "blocks": ["$p.id"] } },
        { "update": "tasks", "id": task_id, "data": { "blocks": ["$c.id", "$p.id"] } },
        { "delete": "tasks", "id": "$p.id" },
    ] });
    kim.post("/api/v1:batch", batch).await.expect(200);
    assert_eq!((&task(&kim, &task_id).await["labels"], &task(&kim, &task_id).await["blocks"]), (&json!([]), &json!([])));
    app.verify().await;
    let of = |entry: &Value| entry["target"] == format!("tasks/{task_id}").as_str() && entry["action"] == "update";
    let causes: Vec<bool> = app
        .ledger()
        .await
        .iter()
        .filter(|entry| of(entry))
        .map(|entry| entry["cause"] == "cascade" || entry["detail"]["cause"] == "cascade")
        .collect();
    assert_eq!(causes, [false, true, false, false, true]);
    app.finish().await;
}

/// `restrict` keeps a row that a list names, and says by which field.
async fn what_a_list_holds_stays(backend: Backend) {
    let (app, kim) = start(backend).await;
    let room = kim.create("rooms", json!({ "name": "open" })).await;
    let task = kim.create("tasks", json!({ "title": "in", "rooms": [room] })).await;
    let refused = kim.delete(&format!("/api/v1/rooms/{room}")).await.expect(409).json();
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("by tasks.rooms")), "{refused}");
    // In one batch it is let go, and then deleted.
    let batch = json!({ "operations": [{ "update": "tasks", "id": task, "data": { "rooms": [] } }, { "delete": "rooms", "id": room }] });
    kim.post("/api/v1:batch", batch).await.expect(200);
    let room = kim.create("rooms", json!({ "name": "open" })).await;
    kim.patch(&format!("/api/v1/tasks/{task}"), json!({ "rooms": [room] })).await.expect(200);
    kim.delete(&format!("/api/v1/tasks/{task}")).await.expect(204);
    kim.delete(&format!("/api/v1/rooms/{room}")).await.expect(204);
    app.finish().await;
}

/// [V8.2.2]: `contains(principal)` decides every question, also of streams, and follows each change.
async fn policies_ask_who_is_listed(backend: Backend) {
    let (app, kim) = start(backend).await;
    let lee = app.person("lee", &["guest"]).await;
    let mine = kim.create("tasks", json!({ "title": "mine" })).await;
    kim.create("tasks", json!({ "title": "nobody's", "watchers": [] })).await;
    watched_by(&app, backend, &mine, &[&lee.id]).await;
    assert_eq!(titles(&lee, "").await, ["mine"]);
    assert_eq!(titles(&lee, "?filter=watchers%3Ame").await, ["mine"]);
    let path = format!("/api/v1/tasks/{mine}");
    lee.get(&path).await.expect(200);
    app.house.gate.settle().await;
    let mut events: Events = lee.watch("/api/v1/tasks:watch", None).await.unwrap_or_else(|reply| panic!("{}", reply.text()));
    assert_eq!(events.next().await, Some(("ready".to_owned(), json!({}))));
    kim.patch(&path, json!({ "title": "still" })).await.expect(200);
    assert_eq!(events.next().await.unwrap().0, "update");
    // They take themselves out: the row as it becomes is nobody's, so that is refused; somebody else may do it.
    assert_eq!(lee.patch(&path, json!({ "watchers": [] })).await.status, 403);
    kim.patch(&path, json!({ "watchers": [kim.id] })).await.expect(200);
    assert_eq!(events.next().await.unwrap().0, "delete");
    lee.get(&path).await.expect(404);
    assert_eq!(titles(&lee, "").await, [""; 0]);
    app.close().await;
}

/// A row is named and deleted at the same moment: it is in the list and there, or in neither.
async fn lists_and_deletes_race(backend: Backend) {
    let (app, kim) = start(backend).await;
    let task_id = kim.create("tasks", json!({ "title": "raced" })).await;
    let path = format!("/api/v1/tasks/{task_id}");
    for round in 0..20 {
        let (a, b) =
            (kim.create("labels", json!({ "name": format!("a{round}") })).await, kim.create("labels", json!({ "name": format!("b{round}") })).await);
        let deleted = format!("/api/v1/labels/{a}");
        let (named, gone, other) = tokio::join!(
            kim.patch(&path, json!({ "labels": [b, a] })),
            kim.delete(&deleted),
            kim.post("/api/v1/tasks", json!({ "title": "x", "labels": [a] }))
        );
        assert!([200, 422, 409].contains(&named.status) && [204, 409].contains(&gone.status), "{} {}", named.text(), gone.text());
        assert!([201, 422, 409].contains(&other.status), "{}", other.text());
        let there = kim.get(&deleted).await.status == 200;
        assert_eq!(there, gone.status != 204);
        let held = kim.get(&format!("/api/v1/tasks?filter=labels%3A{a}")).await.expect(200).json()["items"].as_array().map(Vec::len);
        assert!(there || held == Some(0), "round {round}: a list names what is gone");
    }
    app.finish().await;
}

/// Import checks each id and names the line; export gives back what import takes.
async fn lists_move_in_and_out(backend: Backend) {
    let (app, kim) = start(backend).await;
    let red = kim.create("labels", json!({ "name": "red" })).await;
    let first = "01920000-0000-7000-8000-000000000001";
    let later = "01920000-0000-7000-8000-000000000002";
    let root = app.close().await;
    let rows = root.join("rows.ndjson");
    let import = |lines: &[Value]| {
        std::fs::write(&rows, lines.iter().map(Value::to_string).collect::<Vec<_>>().join("\n")).unwrap();
        haechi(&root, &["import", "tasks", rows.to_str().unwrap()])
    };
    let nowhere = "01920000-0000-7000-8000-00000000dead";
    let refused = import(&[json!({ "title": "fine", "labels": [red] }), json!({ "title": "bad", "labels": [red, nowhere] })]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains(&format!("refers to {nowhere}, which is not there")) && said.contains('2'), "{said}");
    // A row may name one that comes later in the file, and itself.
    done(&import(&[
        json!({ "id": first, "title": "first", "labels": [red, red], "blocks": [later, first] }),
        json!({ "id": later, "title": "later", "blocks": [] }),
    ]));
    let exported = done(&haechi(&root, &["export", "tasks"]));
    let lines: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["blocks"], &lines[0]["labels"]), (&json!([first, later]), &json!([red])));
    done(&haechi(&root, &["audit", "verify", "--rows"]));
    let csv = done(&haechi(&root, &["export", "tasks", "--format", "csv"]));
    assert!(csv.contains(later), "{csv}");
    let app = TestApp::open_as_it_is(root, backend, std::sync::Arc::default()).await;
    let kim = Person::with_token(&app, &kim.renewed(&app));
    assert_eq!(titles(&kim, &format!("?filter=blocks%3A{later}")).await, ["first"]);
    kim.delete(&format!("/api/v1/tasks/{later}")).await.expect(204);
    app.finish().await;
}

/// Names become references, a field and a collection get other names, and a list goes: the hidden table follows.
async fn lists_are_migrated(backend: Backend) {
    let with = |labels: &str| -> Vec<(&str, String)> {
        let tasks = format!("[fields]\ntitle = {{ type = \"text\" }}\n{labels}\n");
        FILES.iter().map(|(path, text)| (*path, if *path == "collections/tasks.toml" { tasks.clone() } else { (*text).to_owned() })).collect()
    };
    let mut files = with("tags = { type = \"list\", of = \"text\" }\nfriend = { type = \"ref\", to = \"labels\" }");
    files.retain(|(path, _)| *path != "policies/main.cedar");
    files.push(("policies/main.cedar", "permit (principal in Role::\"member\", action in [Action::\"list\", Action::\"read\", Action::\"create\", Action::\"update\", Action::\"delete\"], resource);\n".to_owned()));
    let app = TestApp::start(backend, &files).await;
    let kim = app.person("kim", &["member"]).await;
    let (red, blue) = (kim.create("labels", json!({ "name": "red" })).await, kim.create("labels", json!({ "name": "blue" })).await);
    let first = kim.create("tasks", json!({ "title": "first", "tags": ["blue", "red", "blue"], "friend": red })).await;
    let bad = kim.create("tasks", json!({ "title": "bad", "tags": ["red", "pink"] })).await;
    let root = app.close().await;
    let path = root.join("collections/tasks.toml");
    let write = |labels: &str| std::fs::write(&path, &with(labels).iter().find(|(path, _)| *path == "collections/tasks.toml").unwrap().1).unwrap();
    let apply = || haechi(&root, &["migrate", "apply", "--despite-nodes"]);
    let labels = "labels = { type = \"list\", of = \"ref\", to = \"labels\", on_delete = \"remove\", was = \"tags\", by = \"name\" }";
    let friends = "friends = { type = \"list\", of = \"ref\", to = \"labels\", was = \"friend\" }";
    write(&format!("{labels}\n{friends}"));
    let refused = apply();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("no row of labels has that name") && said.contains(&bad), "{said}");
    let open = async |kim: &Person| {
        let app = TestApp::open_as_it_is(root.clone(), backend, std::sync::Arc::default()).await;
        let kim = Person::with_token(&app, &kim.renewed(&app));
        (app, kim)
    };
    // The row is mended under the old folder; then names become references.
    write("tags = { type = \"list\", of = \"text\" }\nfriend = { type = \"ref\", to = \"labels\" }");
    let (app, kim) = open(&kim).await;
    kim.patch(&format!("/api/v1/tasks/{bad}"), json!({ "tags": ["red"] })).await.expect(200);
    app.close().await;
    write(&format!("{labels}\n{friends}"));
    let said = done(&apply());
    assert!(said.contains("is now list of at most 100: ref to labels; its values are converted") && !said.contains("_tasks"), "{said}");
    assert!(done(&haechi(&root, &["migrate", "plan"])).contains("nothing to do"));
    let (app, kim) = open(&kim).await;
    let now = task(&kim, &first).await;
    assert_eq!((&now["labels"], &now["friends"]), (&json!([red, blue]), &json!([red])));
    assert_eq!(titles(&kim, &format!("?filter=labels%3A{red}")).await, ["first", "bad"]);
    app.verify().await;
    app.close().await;
    // Another name for the field and for the collection, in two steps and then in one.
    write(&format!("{}\n{friends}", labels.replace("labels = {", "marks = {").replace("\"tags\", by = \"name\"", "\"labels\"")));
    done(&apply());
    std::fs::rename(&path, root.join("collections/jobs.toml")).unwrap();
    let text = std::fs::read_to_string(root.join("collections/jobs.toml")).unwrap();
    std::fs::write(
        root.join("collections/jobs.toml"),
        format!("[collection]\nwas = \"tasks\"\n{}", text.replace("marks = {", "signs = {").replace("was = \"labels\"", "was = \"marks\"")),
    )
    .unwrap();
    let said = done(&apply());
    assert!(said.contains("collection tasks is now jobs") && said.contains("column jobs.marks is now signs") && !said.contains("_jobs"), "{said}");
    let (app, kim) = open(&kim).await;
    let found = kim.get(&format!("/api/v1/jobs?filter=signs%3A{red}")).await.expect(200).json();
    assert_eq!(found["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(kim.delete(&format!("/api/v1/labels/{red}")).await.expect(409).problem(), "referenced", "by friends");
    kim.delete(&format!("/api/v1/labels/{blue}")).await.expect(204);
    assert_eq!(kim.get(&format!("/api/v1/jobs/{first}")).await.expect(200).json()["signs"], json!([red]));
    app.verify().await;
    app.close().await;
    // The lists go, and what they named may go, too.
    std::fs::write(root.join("collections/jobs.toml"), "[fields]\ntitle = { type = \"text\" }\n").unwrap();
    let refused = apply();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("column jobs.signs and its values") && !said.contains("_jobs"), "{said}");
    done(&haechi(&root, &["migrate", "apply", "--despite-nodes", "--allow-drop"]));
    let (app, kim) = open(&kim).await;
    kim.delete(&format!("/api/v1/labels/{red}")).await.expect(204);
    app.verify().await;
    app.close().await;
    // Collections that refer to each other go in one migration.
    std::fs::write(root.join("collections/jobs.toml"), "[fields]\ntitle = { type = \"text\" }\nlabels = { type = \"list\", of = \"ref\", to = \"labels\" }\nlabel = { type = \"ref\", to = \"labels\" }\n").unwrap();
    done(&apply());
    std::fs::remove_file(root.join("collections/jobs.toml")).unwrap();
    std::fs::remove_file(root.join("collections/labels.toml")).unwrap();
    done(&haechi(&root, &["migrate", "apply", "--despite-nodes", "--allow-drop"]));
    let (app, _) = open(&kim).await;
    app.finish().await;
}

/// A reference that somebody put into one of the two places alone is named.
async fn verification_compares_lists(backend: Backend) {
    let (app, kim) = start(backend).await;
    let (red, blue) = (kim.create("labels", json!({ "name": "red" })).await, kim.create("labels", json!({ "name": "blue" })).await);
    let held = kim.create("tasks", json!({ "title": "held", "labels": [red] })).await;
    kim.create("tasks", json!({ "title": "other", "labels": [red, blue] })).await;
    app.verify().await;
    for (edit, back) in [
        (
            format!("INSERT INTO \"_tasks__labels\" VALUES ('{held}', '{blue}')"),
            format!("DELETE FROM \"_tasks__labels\" WHERE \"row\" = '{held}' AND \"target\" = '{blue}'"),
        ),
        (format!("DELETE FROM \"_tasks__labels\" WHERE \"row\" = '{held}'"), format!("INSERT INTO \"_tasks__labels\" VALUES ('{held}', '{red}')")),
    ] {
        sql(&app, backend, &edit).await;
        let report = app.house.gate.verify(&app.house.keys.audit, &[], true).await.unwrap();
        let found: Vec<String> = report.findings.into_iter().map(|finding| finding.what).collect();
        assert_eq!(found, [format!("tasks/{held}: the references that the database keeps for `labels` are not those of its list")]);
        sql(&app, backend, &back).await;
        app.verify().await;
    }
    app.finish().await;
}

/// T-door: each door says the same about lists.
async fn lists_have_one_gate(backend: Backend) {
    let mut files: Vec<(&str, String)> = FILES.iter().map(|(path, text)| (*path, (*text).to_owned())).collect();
    files[0].1.push_str(crate::doors::NO_LIMITS);
    let app = TestApp::start(backend, &files).await;
    let found = crate::doors::differences(&app).await;
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.iter().take(10).cloned().collect::<Vec<_>>().join("\n"));
    app.finish().await;
}
