//! What can be asked of records: filters with words and through references, counts, sums, orders and pages, at each door.

use crate::grpc::Client;
use haechi_testkit::{Backend, Person, TestApp, on_both};
use serde_json::{Value, json};

on_both!(filters_have_words, filters_look_through_references, what_is_hidden_there_is_as_if_null);

pub(crate) const FILES: &[(&str, &str)] = &[
    ("haechi.toml", "roles = [\"member\", \"guest\"]\n[limits]\ncaller_per_minute = 10000000\n"),
    (
        "collections/projects.toml",
        "[fields]\nname = { type = \"text\", required = true, case = \"fold\" }\nlead = { type = \"ref\", to = \"users\" }\n\
         parent = { type = \"ref\", to = \"projects\" }\nhidden = { type = \"bool\", required = true, default = false }\n\
         budget = { type = \"int\", class = \"secret\" }\n",
    ),
    (
        "collections/tasks.toml",
        "[fields]\ntitle = { type = \"text\", required = true }\nproject = { type = \"ref\", to = \"projects\" }\nstate = { type = \"enum\", values = [\"open\", \"doing\", \"done\"], default = \"open\", ordered = true }\n\
         hours = { type = \"decimal\", precision = 8, scale = 2 }\nrank = { type = \"int\" }\ndue = { type = \"date\" }\nnote = { type = \"text\", class = \"secret\" }\n",
    ),
    ("policies/main.cedar", POLICIES),
];

const POLICIES: &str = r#"
permit (principal in Role::"member", action in [Action::"list", Action::"read", Action::"create", Action::"update", Action::"delete", Action::"read_secret", Action::"write_secret"], resource);
permit (principal in Role::"guest", action in [Action::"list", Action::"read", Action::"watch"], resource is tasks);
permit (principal in Role::"guest", action in [Action::"list", Action::"read"], resource is projects) unless { resource.hidden };
permit (principal in Role::"guest", action == Action::"read_secret", resource is projects) when { resource.name == "Red" };
permit (principal in Role::"guest", action == Action::"read_secret", resource is tasks) when { resource.title == "one" };
"#;

/// The titles of the tasks that a filter finds: the same by REST, as a word of GraphQL where it has one, and by gRPC.
async fn found(app: &TestApp, person: &Person, filter: &str) -> Vec<String> {
    let reply = person.post("/api/v1/tasks:query", json!({ "filter": filter, "order_by": "title" })).await.expect(200).json();
    let by_rest = titles(&reply["items"]);
    let listed = Client::new(app)
        .call(person, "ListTasks", json!({ "filter": filter, "order_by": "title" }))
        .await
        .unwrap_or_else(|refused| panic!("{refused:?}"));
    assert_eq!(titles(&listed["tasks"]), by_rest, "{filter}");
    by_rest
}

async fn by_graphql(person: &Person, filter: Value) -> Vec<String> {
    let query = "query($f: TaskFilter) { tasks(filter: $f, order_by: [{ field: title }]) { nodes { title } } }";
    let reply = person.post("/graphql", json!({ "query": query, "variables": { "f": filter } })).await.expect(200).json();
    assert_eq!(reply.get("errors"), None, "{reply}");
    titles(&reply["data"]["tasks"]["nodes"])
}

fn titles(records: &Value) -> Vec<String> {
    records.as_array().into_iter().flatten().map(|record| record["title"].as_str().unwrap().to_owned()).collect()
}

/// Three projects, one of them hidden from guests, and tasks of each.
struct World {
    app: TestApp,
    kim: Person,
    guest: Person,
    red: String,
    blue: String,
    dark: String,
}

async fn world(backend: Backend) -> World {
    let app = TestApp::start(backend, FILES).await;
    let (kim, guest) = (app.person("kim", &["member"]).await, app.person("guest", &["guest"]).await);
    let red = kim.create("projects", json!({ "name": "Red", "lead": kim.id, "budget": 10 })).await;
    let blue = kim.create("projects", json!({ "name": "blue", "lead": guest.id, "parent": red, "budget": 20 })).await;
    let dark = kim.create("projects", json!({ "name": "dark", "lead": guest.id, "parent": blue, "hidden": true, "budget": 10 })).await;
    for (title, project, state, hours, rank, due) in [
        ("one", Some(&red), "open", "1.50", Some(1), Some("2026-01-01")),
        ("two", Some(&blue), "doing", "2.25", Some(2), None),
        ("three", Some(&dark), "done", "3.00", None, Some("2026-03-01")),
        ("four", None, "open", "0.25", Some(2), Some("2026-02-01")),
    ] {
        let note = format!("of {title}");
        kim.create("tasks", json!({ "title": title, "project": project, "state": state, "hours": hours, "rank": rank, "due": due, "note": note }))
            .await;
    }
    World { app, kim, guest, red, blue, dark }
}

/// IN, IS NULL, contains, starts_with.
async fn filters_have_words(backend: Backend) {
    let World { app, kim, blue, red, .. } = world(backend).await;
    for (filter, expected) in [
        ("state IN (open, \"done\")", vec!["four", "one", "three"]),
        ("state NOT IN (open, done)", vec!["two"]),
        ("NOT rank IN (2)", vec!["one", "three"]),
        ("rank IN (1, 2) AND state = doing", vec!["two"]),
        ("rank IS NULL", vec!["three"]),
        ("rank IS NOT NULL due IS NULL", vec!["two"]),
        ("contains(title, \"o\")", vec!["four", "one", "two"]),
        ("starts_with(title, t)", vec!["three", "two"]),
        ("starts_with(title, \"T\")", vec![]),
        ("contains(title, \"*\") OR starts_with(title, \"%\")", vec![]),
        ("starts_with(project.name, \"R\")", vec!["one"]),
        ("starts_with(project.name, \"r\")", vec!["one"]),
        ("contains(project.name, \"LU\")", vec!["two"]),
        ("due IN (\"2026-01-01\", \"2026-03-01\")", vec!["one", "three"]),
        ("hours IN (1.5, \"0.25\")", vec!["four", "one"]),
    ] {
        assert_eq!(found(&app, &kim, filter).await, expected, "{filter}");
    }
    assert_eq!(found(&app, &kim, &format!("project IN ({red}, {blue})")).await, ["one", "two"]);
    assert_eq!(by_graphql(&kim, json!({ "title": { "starts_with": "t" } })).await, ["three", "two"]);
    for (filter, column) in [
        ("state IN open", 10),
        ("state IN (open", 15),
        ("state IN ()", 11),
        ("state IN (opn)", 11),
        ("rank IN (1, null)", 13),
        ("rank IS 5", 9),
        ("rank IS NOT", 12),
        ("contain(title, x)", 1),
        ("contains(titel, x)", 10),
        ("contains(rank, 1)", 16),
        ("starts_with(title)", 18),
        ("search(title, \"x\")", 1),
        ("state NOT open", 1),
    ] {
        let refused = kim.post("/api/v1/tasks:query", json!({ "filter": filter })).await.expect(400).json();
        assert!(refused["detail"].as_str().unwrap().contains(&format!("column {column}:")), "{filter}: {refused}");
    }
    let many = format!("rank IN ({})", (0..101).map(|at| at.to_string()).collect::<Vec<_>>().join(","));
    kim.post("/api/v1/tasks:query", json!({ "filter": many })).await.expect(400);
    app.finish().await;
}

/// A filter asks about the rows that references name, up to three steps away; what is not there is as if it were null.
async fn filters_look_through_references(backend: Backend) {
    let World { app, kim, red, .. } = world(backend).await;
    for (filter, expected) in [
        ("project.lead = me", vec!["one"]),
        ("project.lead != me", vec!["four", "three", "two"]),
        ("NOT project.lead = me", vec!["four", "three", "two"]),
        ("project.name = red", vec!["one"]),
        ("project.parent.name = RED", vec!["two"]),
        ("project.parent.parent.name = Red", vec!["three"]),
        ("project.parent = null", vec!["four", "one"]),
        ("project.parent IS NOT NULL", vec!["three", "two"]),
        ("project.parent.lead IS NULL", vec!["four", "one"]),
        ("project.budget > 10", vec!["two"]),
        ("project.budget IN (10, 11) state = done", vec!["three"]),
        ("project.hidden = false OR rank = 2", vec!["four", "one", "two"]),
        ("project.lead:*", vec!["one", "three", "two"]),
    ] {
        assert_eq!(found(&app, &kim, filter).await, expected, "{filter}");
    }
    assert_eq!(found(&app, &kim, &format!("project.parent = {red} AND project.id != null")).await, ["two"]);
    for (filter, expected) in [
        (json!({ "project_where": { "lead": { "eq": "me" } } }), vec!["one"]),
        (json!({ "project_where": { "parent_where": { "name": { "eq": "red" } } } }), vec!["two"]),
        (json!({ "project_where": { "not": { "lead": { "eq": "me" } } } }), vec!["three", "two"]),
        (json!({ "not": { "project_where": { "lead": { "eq": "me" } } } }), vec!["four", "three", "two"]),
        (json!({ "or": [{ "project_where": { "budget": { "gt": 10 } } }, { "rank": { "eq": 1 } }] }), vec!["one", "two"]),
        (json!({ "project_where": {} }), vec!["one", "three", "two"]),
    ] {
        assert_eq!(by_graphql(&kim, filter.clone()).await, expected, "{filter}");
    }
    for (filter, column) in [
        ("project.leed = me", 9),
        ("state.name = x", 1),
        ("project.parent.parent.parent.name = x", 23),
        ("project. = 1", 9),
        (".name = 1", 1),
        ("project.name < ", 16),
        ("project.parent > \"x\"", 18),
    ] {
        let refused = kim.post("/api/v1/tasks:query", json!({ "filter": filter })).await.expect(400).json();
        assert!(refused["detail"].as_str().unwrap().contains(&format!("column {column}:")), "{filter}: {refused}");
    }
    // Pages go on under the same filter.
    let first = kim.post("/api/v1/tasks:query", json!({ "filter": "project.lead:*", "page_size": 2, "order_by": "title" })).await.expect(200).json();
    let next = json!({ "filter": "project.lead:*", "page_size": 2, "order_by": "title", "page_token": first["next_page_token"] });
    let second = kim.post("/api/v1/tasks:query", next).await.expect(200).json();
    assert_eq!([titles(&first["items"]), titles(&second["items"])], [vec!["one", "three"], vec!["two"]]);
    // What is personal does not stand in a URL, there either; a stream looks at its records alone.
    assert_eq!(kim.get("/api/v1/tasks?filter=project.budget%3D10").await.expect(400).problem(), "use-query-body");
    assert_eq!(kim.get("/api/v1/tasks?filter=project.name%3DRed").await.expect(200).json()["items"][0]["title"], "one");
    let url = "/graphql?query=%7B%20tasks(filter%3A%7Bproject_where%3A%7Bbudget%3A%7Beq%3A10%7D%7D%7D)%20%7B%20nodes%20%7B%20id%20%7D%20%7D%20%7D";
    assert!(kim.get(url).await.text().contains("use-query-body"));
    let guest = app.person("zoe", &["guest"]).await;
    guest.watch("/api/v1/tasks:watch?filter=project.name%3DRed", None).await.err().unwrap().expect(400);
    app.finish().await;
}

/// ABUSE-62 [V8.2.3 V14.2.2]: a row that the caller may not read, and a field that they may not read in it, are as if there were none.
async fn what_is_hidden_there_is_as_if_null(backend: Backend) {
    let World { app, kim, guest, dark, .. } = world(backend).await;
    for (filter, expected) in [
        ("project.lead = me", vec!["two"]),
        ("project.name = dark", vec![]),
        ("project.name != dark", vec!["four", "one", "three", "two"]),
        ("project.name IS NULL", vec!["four", "three"]),
        ("project.hidden = true", vec![]),
        ("project.parent.name = blue", vec![]),
        // They may read the budget of Red alone.
        ("project.budget = 10", vec!["one"]),
        ("project.budget > 0", vec!["one"]),
        ("project.budget IS NULL", vec!["four", "three", "two"]),
        ("NOT project.budget = 10", vec!["four", "three", "two"]),
    ] {
        assert_eq!(found(&app, &guest, filter).await, expected, "{filter}");
    }
    assert_eq!(found(&app, &guest, &format!("project = {dark}")).await, ["three"], "the id itself is theirs to see");
    assert_eq!(by_graphql(&guest, json!({ "project_where": { "budget": { "ge": 0 } } })).await, ["one"]);
    // A field that is never theirs to read cannot be used; the refusal names it.
    let nobody = app.person("nobody", &[]).await;
    nobody.post("/api/v1/tasks:query", json!({ "filter": "project.budget = 1" })).await.expect(403);
    // What was used left an entry, also where nothing was found.
    app.house.gate.settle().await;
    let used = |entry: &Value| entry["actor"] == guest.id.as_str() && entry["target"] == "projects" && entry["detail"]["fields"] == json!(["budget"]);
    assert!(app.ledger().await.iter().any(used), "the use of budget is recorded");
    kim.patch(&format!("/api/v1/projects/{dark}"), json!({ "hidden": false })).await.expect(200);
    assert_eq!(found(&app, &guest, "project.name = dark").await, ["three"]);
    app.finish().await;
}
