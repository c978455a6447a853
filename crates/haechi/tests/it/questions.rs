//! What can be asked of records: filters with words and through references, counts, sums, orders and pages, at each door.

use crate::grpc::Client;
use haechi_testkit::{Backend, Person, TestApp, on_both};
use serde_json::{Value, json};

on_both!(
    filters_have_words,
    filters_look_through_references,
    what_is_hidden_there_is_as_if_null,
    rows_are_counted_and_summed_up,
    every_door_computes_groups,
    what_may_not_be_read_is_not_computed,
    pages_go_both_ways,
    rows_without_a_value_have_a_place,
    a_collection_has_an_order_of_its_own,
    records_are_shown_beside_each_other
);

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
         hours = { type = \"decimal\", precision = 8, scale = 2 }\nrank = { type = \"int\" }\ndue = { type = \"date\" }\nnote = { type = \"text\", class = \"secret\" }\nboss = { type = \"ref\", to = \"users\", class = \"secret\" }\n",
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

/// Counts, sums, extremes and means, of all records and by the values of fields.
async fn rows_are_counted_and_summed_up(backend: Backend) {
    let World { app, kim, red, blue, dark, .. } = world(backend).await;
    let asked = async |query: &str| kim.get(&format!("/api/v1/tasks:aggregate?{query}")).await.expect(200).json()["groups"].clone();
    assert_eq!(
        asked("sum=hours,rank&avg=rank,hours&min=due,title&max=state,rank").await,
        json!([{ "key": {}, "count": 4, "sum": { "hours": "7.00", "rank": "5" }, "avg": { "rank": 5.0 / 3.0, "hours": 1.75 },
            "min": { "due": "2026-01-01", "title": "four" }, "max": { "state": "done", "rank": 2 } }])
    );
    assert_eq!(
        asked("group_by=state&sum=hours").await,
        json!([
            { "key": { "state": "open" }, "count": 2, "sum": { "hours": "1.75" } },
            { "key": { "state": "doing" }, "count": 1, "sum": { "hours": "2.25" } },
            { "key": { "state": "done" }, "count": 1, "sum": { "hours": "3.00" } },
        ]),
        "in the order of the words"
    );
    let by_two = asked("group_by=rank,state").await;
    assert_eq!(by_two[0], json!({ "key": { "rank": null, "state": "done" }, "count": 1 }));
    assert_eq!(by_two.as_array().map(Vec::len), Some(4));
    let mut expected = vec![(json!(null), 1), (json!(red), 1), (json!(blue), 1), (json!(dark), 1)];
    expected.sort_by_key(|(project, _)| project.as_str().map(str::to_owned));
    let by_project = asked("group_by=project").await;
    let found: Vec<(Value, u64)> =
        by_project.as_array().unwrap().iter().map(|group| (group["key"]["project"].clone(), group["count"].as_u64().unwrap())).collect();
    assert_eq!(found, expected);
    let filter = json!({ "filter": "project.lead = me", "group_by": ["state"], "max": ["hours"] });
    let reply = kim.post("/api/v1/tasks:aggregate", filter).await.expect(200).json();
    assert_eq!(reply["groups"], json!([{ "key": { "state": "open" }, "count": 1, "max": { "hours": "1.50" } }]));
    // Names that differ in their case alone are one group where the field is folded.
    kim.create("projects", json!({ "name": "RED" })).await;
    let reply = kim.get("/api/v1/projects:aggregate?group_by=name").await.expect(200).json();
    let names: Vec<u64> = reply["groups"].as_array().unwrap().iter().map(|group| group["count"].as_u64().unwrap()).collect();
    assert_eq!(names, [1, 1, 2]);
    assert_eq!(asked("state=done").await, json!([{ "key": {}, "count": 1 }]));
    assert_eq!(asked("filter=rank%3E100&sum=hours&group_by=state").await, json!([]));
    assert_eq!(asked("filter=rank%3E100&sum=hours").await, json!([{ "key": {}, "count": 0, "sum": { "hours": null } }]));
    for wrong in
        ["sum=title", "sum=nothing", "avg=due", "min=project", "group_by=state,rank,due", "page_size=5", "order_by=state", "sum=", "filter=x"]
    {
        kim.get(&format!("/api/v1/tasks:aggregate?{wrong}")).await.expect(400);
    }
    assert_eq!(kim.get("/api/v1/tasks:aggregate?max=note").await.expect(400).problem(), "use-query-body");
    assert_eq!(kim.post("/api/v1/tasks:aggregate", json!({ "max": "note" })).await.expect(200).json()["groups"][0]["max"]["note"], "of two");
    // The number of a list's records, beside its page and by each door.
    let listed = kim.get("/api/v1/tasks?count=true&page_size=1&filter=rank%3E0").await.expect(200).json();
    assert_eq!((listed["total_size"].clone(), listed["items"].as_array().map(Vec::len)), (json!(3), Some(1)));
    assert_eq!(kim.get("/api/v1/tasks?count=false").await.expect(200).json().get("total_size"), None);
    kim.get("/api/v1/tasks?count=yes").await.expect(400);
    let counted = Client::new(&app).call(&kim, "ListTasks", json!({ "page_size": 1, "count": true, "filter": "rank > 0" })).await.unwrap();
    assert_eq!(counted["total_size"], 3, "{counted}");
    let query = "{ tasks(first: 1, filter: { rank: { gt: 0 } }) { total_size nodes { title } } projects(first: 2, order_by: [{ field: name }]) { nodes { name tasks_by_project(first: 1) { total_size } } } }";
    let reply = kim.post("/graphql", json!({ "query": query })).await.expect(200).json();
    assert_eq!(reply["data"]["tasks"]["total_size"], 3, "{reply}");
    let of: Vec<(&Value, &Value)> = reply["data"]["projects"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|project| (&project["name"], &project["tasks_by_project"]["total_size"]))
        .collect();
    assert_eq!(of, [(&json!("blue"), &json!(1)), (&json!("dark"), &json!(1))]);
    // More groups than a reply has.
    let file = app.root.join("many.ndjson");
    std::fs::write(&file, (0..1_001).map(|at| json!({ "title": format!("t{at}") }).to_string()).collect::<Vec<_>>().join("\n")).unwrap();
    let tasks = app.house.gate.revision().app.collection("tasks").unwrap().clone();
    haechi::app::rows::import_file(&app.house, &tasks, &file, haechi_data::transfer::Options::default()).await.unwrap();
    assert_eq!(kim.get("/api/v1/tasks:aggregate?group_by=title").await.expect(400).problem(), "too-costly");
    kim.get("/api/v1/tasks:aggregate?group_by=title&filter=rank%3E0").await.expect(200);
    app.finish().await;
}

/// GraphQL and gRPC compute what REST computes, for who may read it.
async fn every_door_computes_groups(backend: Backend) {
    let World { app, kim, guest, red, .. } = world(backend).await;
    let client = Client::new(&app);
    let graphql = async |person: &Person, query: &str| person.post("/graphql", json!({ "query": query })).await.expect(200).json();
    let reply =
        graphql(&kim, "{ tasks_aggregate { count states: groups(by: [state]) { key { state project_id } count sum { hours } max { rank } } } }")
            .await;
    assert_eq!(
        reply["data"]["tasks_aggregate"],
        json!({ "count": 4, "states": [
            { "key": { "state": "open", "project_id": null }, "count": 2, "sum": { "hours": "1.75" }, "max": { "rank": 2 } },
            { "key": { "state": "doing", "project_id": null }, "count": 1, "sum": { "hours": "2.25" }, "max": { "rank": 2 } },
            { "key": { "state": "done", "project_id": null }, "count": 1, "sum": { "hours": "3.00" }, "max": { "rank": null } },
        ] }),
        "{reply}"
    );
    let mine = "{ tasks_aggregate(filter: { project_where: { name: { eq: \"red\" } } }) { groups(by: [project, state]) { count key { project_id state } } } }";
    let reply = graphql(&kim, mine).await;
    assert_eq!(reply["data"]["tasks_aggregate"]["groups"], json!([{ "count": 1, "key": { "project_id": red, "state": "open" } }]), "{reply}");
    for wrong in ["[]", "[state, state]", "[state, rank, due]", "[note_]"] {
        let reply = kim.post("/graphql", json!({ "query": format!("{{ tasks_aggregate {{ groups(by: {wrong}) {{ count }} }} }}") })).await.json();
        assert!(reply["errors"][0].is_object() && reply["data"]["tasks_aggregate"].is_null(), "{wrong}: {reply}");
    }
    let asked = json!({ "group_by": ["state"], "sum": ["hours"], "avg": ["hours", "rank"], "min": ["due", "title"], "max": ["hours"] });
    let reply = client.call(&kim, "AggregateTasks", asked).await.unwrap();
    let groups = reply["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 3, "{reply}");
    assert_eq!((&groups[0]["key"], &groups[0]["count"]), (&json!({ "state": "open" }), &json!(2)));
    assert_eq!(groups[0]["sums"], json!([{ "field": "hours", "value": "1.75" }]));
    assert_eq!(groups[0]["averages"], json!([{ "field": "hours", "value": 0.875 }, { "field": "rank", "value": 1.5 }]));
    assert_eq!((&groups[0]["min"]["title"], &groups[0]["max"]), (&json!("four"), &json!({ "hours": "1.50" })));
    assert_eq!(groups[2]["averages"][1], json!({ "field": "rank" }), "nothing to take a mean of");
    let all = client.call(&kim, "AggregateTasks", json!({ "filter": "state = 'done'" })).await.unwrap();
    assert_eq!(all["groups"], json!([{ "key": {}, "count": 1 }]), "{all}");
    for wrong in [json!({ "sum": ["title"] }), json!({ "group_by": ["state", "rank", "due"] }), json!({ "filter": "x" })] {
        assert_eq!(client.call(&kim, "AggregateTasks", wrong).await.unwrap_err().code, 3);
    }
    // The note is theirs to read in one task, and the URL is no place for it.
    let note = "{ tasks_aggregate { groups(by: [note]) { key { note } count } } }";
    assert_eq!(graphql(&guest, note).await["data"]["tasks_aggregate"]["groups"], json!([{ "key": { "note": "of one" }, "count": 1 }]));
    let reply = client.call(&guest, "AggregateTasks", json!({ "group_by": ["note"], "max": ["note"] })).await.unwrap();
    assert_eq!(reply["groups"], json!([{ "key": { "note": "of one" }, "count": 1, "max": { "note": "of one" } }]));
    let in_url = async |query: &str| {
        let query: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
        kim.get(&format!("/graphql?query={query}")).await.text()
    };
    assert!(in_url(note).await.contains("use-query-body"));
    // … also where the condition is the same without it.
    for filter in [
        "{ or: [{ note: { eq: \"x\" } }, {}] }",
        "{ and: [{}, { not: { note: { is_null: true } } }] }",
        "{ or: [{}, { project_where: { budget: { gt: 5 } } }] }",
        "{ or: [{ title: { eq: \"one\" } }, { boss_where: { id: { is_null: false } } }] }",
    ] {
        let query = format!("{{ tasks(filter: {filter}) {{ nodes {{ title }} }} }}");
        assert!(in_url(&query).await.contains("use-query-body"), "{filter}");
        assert!(graphql(&kim, &query).await["data"]["tasks"]["nodes"].is_array(), "{filter}");
    }
    assert!(!in_url("{ tasks(filter: { or: [{ title: { eq: \"x\" } }, {}] }) { nodes { title } } }").await.contains("use-query-body"));
    let nobody = app.person("nobody", &[]).await;
    assert_eq!(client.call(&nobody, "AggregateTasks", json!({ "group_by": ["nothing"] })).await.unwrap_err().code, 7);
    app.finish().await;
}

/// ABUSE-63 [V8.2.3]: a count is of what the caller may list, and what they may not read is computed in no row.
async fn what_may_not_be_read_is_not_computed(backend: Backend) {
    let World { app, guest, .. } = world(backend).await;
    let asked = async |body: Value| guest.post("/api/v1/tasks:aggregate", body).await.expect(200).json()["groups"].clone();
    // The note is theirs to read in one task.
    assert_eq!(asked(json!({ "max": ["note"] })).await, json!([{ "key": {}, "count": 1, "max": { "note": "of one" } }]));
    assert_eq!(asked(json!({ "group_by": ["note"] })).await, json!([{ "key": { "note": "of one" }, "count": 1 }]));
    assert_eq!(asked(json!({ "filter": "note IS NULL" })).await, json!([{ "key": {}, "count": 0 }]));
    assert_eq!(asked(json!({ "filter": "project.budget > 0" })).await, json!([{ "key": {}, "count": 1 }]));
    let projects = guest.get("/api/v1/projects?count=true").await.expect(200).json();
    assert_eq!((projects["total_size"].clone(), projects["items"].as_array().map(Vec::len)), (json!(2), Some(2)));
    let nobody = app.person("nobody", &[]).await;
    nobody.get("/api/v1/tasks:aggregate").await.expect(403);
    nobody.get("/api/v1/tasks:aggregate?group_by=nothing").await.expect(403);
    app.anonymous().get("/api/v1/tasks:aggregate").await.expect(401);
    app.anonymous().post("/api/v1/tasks:aggregate", json!({})).await.expect(401);
    app.finish().await;
}

/// A walk forward and back shows the same pages; a token or cursor is good for its query and caller alone.
async fn pages_go_both_ways(backend: Backend) {
    let World { app, kim, guest, .. } = world(backend).await;
    for at in 0..7 {
        kim.create("tasks", json!({ "title": format!("more {at}"), "rank": at % 3 })).await;
    }
    for order in ["title", "title desc", "rank", "rank desc", "rank nulls_last", "rank desc nulls_first, title desc", "due, rank desc", "state"] {
        let page = async |token: &Value| {
            let body = json!({ "order_by": order, "page_size": 3, "page_token": token.as_str().unwrap_or_default() });
            kim.post("/api/v1/tasks:query", body).await.expect(200).json()
        };
        let (mut pages, mut token) = (Vec::new(), Value::Null);
        loop {
            let found = page(&token).await;
            assert_eq!(found.get("prev_page_token").is_some(), !pages.is_empty(), "the first page has none before it");
            token = found["next_page_token"].clone();
            pages.push(found);
            if token.is_null() {
                break;
            }
        }
        assert_eq!(pages.len(), 4, "{order}");
        let mut back = pages[3].clone();
        for at in (0..3).rev() {
            back = page(&back["prev_page_token"]).await;
            assert_eq!(titles(&back["items"]), titles(&pages[at]["items"]), "{order}, page {at}");
            // And forward again from there.
            let forward = page(&back["next_page_token"]).await;
            assert_eq!(titles(&forward["items"]), titles(&pages[at + 1]["items"]), "{order}, after page {at}");
        }
        assert_eq!(back.get("prev_page_token"), None, "{order}");
        // Another caller, and another query, have no use for the token.
        let token = &pages[3]["prev_page_token"];
        let body = json!({ "order_by": order, "page_size": 3, "page_token": token });
        assert_eq!(guest.post("/api/v1/tasks:query", body).await.expect(400).problem(), "invalid-page-token");
        let body = json!({ "order_by": "id", "page_size": 3, "page_token": token });
        assert_eq!(kim.post("/api/v1/tasks:query", body).await.expect(400).problem(), "invalid-page-token");
    }
    let reply = Client::new(&app).call(&kim, "ListTasks", json!({ "page_size": 3, "order_by": "title" })).await.unwrap();
    let second = json!({ "page_size": 3, "order_by": "title", "page_token": reply["next_page_token"] });
    let second = Client::new(&app).call(&kim, "ListTasks", second).await.unwrap();
    let first = json!({ "page_size": 3, "order_by": "title", "page_token": second["prev_page_token"] });
    assert_eq!(titles(&Client::new(&app).call(&kim, "ListTasks", first).await.unwrap()["tasks"]), titles(&reply["tasks"]));
    // Relay: the last page, the one before it, and what is true of each.
    let asked = async |arguments: &str| {
        let query = format!(
            "{{ tasks({arguments}, order_by: [{{ field: title }}]) {{ edges {{ cursor node {{ title }} }} page_info {{ has_next_page has_previous_page start_cursor }} }} }}"
        );
        kim.post("/graphql", json!({ "query": query })).await.expect(200).json()
    };
    let told = |reply: &Value| {
        let tasks = &reply["data"]["tasks"];
        let titles: Vec<String> = tasks["edges"]
            .as_array()
            .unwrap_or_else(|| panic!("{reply}"))
            .iter()
            .map(|edge| edge["node"]["title"].as_str().unwrap().to_owned())
            .collect();
        (
            titles,
            tasks["page_info"]["has_previous_page"].clone(),
            tasks["page_info"]["has_next_page"].clone(),
            tasks["page_info"]["start_cursor"].clone(),
        )
    };
    let (last, before, after, start) = told(&asked("last: 3").await);
    assert_eq!((last, before, after), (vec!["one".to_owned(), "three".to_owned(), "two".to_owned()], json!(true), json!(false)));
    let (middle, before, after, start) = told(&asked(&format!("last: 6, before: {start}")).await);
    assert_eq!((middle.len(), before, after), (6, json!(true), json!(true)));
    let (first, before, _, _) = told(&asked(&format!("last: 6, before: {start}")).await);
    assert_eq!((first, before), (vec!["four".to_owned(), "more 0".to_owned()], json!(false)));
    for wrong in ["first: 1, last: 1", "before: \"x\"", "last: 0", "last: 1, after: \"x\"", "last: 2, before: \"x\""] {
        assert!(asked(wrong).await.get("errors").is_some(), "{wrong}");
    }
    app.finish().await;
}

/// Null is the smallest value, unless the order says where rows without one stand.
async fn rows_without_a_value_have_a_place(backend: Backend) {
    let World { app, kim, .. } = world(backend).await;
    for (order, expected) in [
        ("due, title", ["two", "one", "four", "three"]),
        ("due nulls_last", ["one", "four", "three", "two"]),
        ("due asc nulls_last", ["one", "four", "three", "two"]),
        ("due desc", ["three", "four", "one", "two"]),
        ("due desc nulls_first", ["two", "three", "four", "one"]),
    ] {
        let reply = kim.post("/api/v1/tasks:query", json!({ "order_by": order })).await.expect(200).json();
        assert_eq!(titles(&reply["items"]), expected, "{order}");
    }
    let query = "{ tasks(order_by: [{ field: due, nulls: LAST }]) { nodes { title } } }";
    let reply = kim.post("/graphql", json!({ "query": query })).await.expect(200).json();
    assert_eq!(titles(&reply["data"]["tasks"]["nodes"]), ["one", "four", "three", "two"]);
    app.finish().await;
}

/// `order` and `page_size` of a collection hold where a request says nothing.
async fn a_collection_has_an_order_of_its_own(backend: Backend) {
    let mut files: Vec<(&str, String)> = FILES.iter().map(|(path, text)| (*path, (*text).to_owned())).collect();
    files[2].1 = format!("[collection]\norder = \"rank desc nulls_first, title\"\npage_size = 2\n{}", files[2].1);
    let app = TestApp::start(backend, &files).await;
    let kim = app.person("kim", &["member"]).await;
    for (title, rank) in [("a", Some(1)), ("b", Some(2)), ("c", None), ("d", Some(2))] {
        kim.create("tasks", json!({ "title": title, "rank": rank })).await;
    }
    let first = kim.get("/api/v1/tasks").await.expect(200).json();
    assert_eq!(titles(&first["items"]), ["c", "b"]);
    let next = kim.get(&format!("/api/v1/tasks?page_token={}", first["next_page_token"].as_str().unwrap())).await.expect(200).json();
    assert_eq!(titles(&next["items"]), ["d", "a"]);
    assert_eq!(titles(&kim.get("/api/v1/tasks?order_by=title&page_size=3").await.expect(200).json()["items"]), ["a", "b", "c"]);
    let reply = kim.post("/graphql", json!({ "query": "{ tasks { nodes { title } } }" })).await.expect(200).json();
    assert_eq!(titles(&reply["data"]["tasks"]["nodes"]), ["c", "b"]);
    assert_eq!(titles(&Client::new(&app).call(&kim, "ListTasks", json!({})).await.unwrap()["tasks"]), ["c", "b"]);
    app.finish().await;
}

/// Expansion: chosen fields, two steps, and lists of the records that refer to one; only what the caller may read, and bounded.
async fn records_are_shown_beside_each_other(backend: Backend) {
    let World { app, kim, guest, red, blue, .. } = world(backend).await;
    let asked =
        async |person: &Person, query: &str| person.get(&format!("/api/v1/tasks?order_by=title&{query}")).await.expect(200).json()["items"].clone();
    let shown = asked(&kim, "fields=title&expand=project(name,parent(name))").await;
    assert_eq!(shown[0]["_expanded"], json!({}), "four has none");
    let one = &shown[1]["_expanded"]["project"];
    assert_eq!(
        (one["name"].clone(), one["_expanded"].clone(), one.as_object().map(serde_json::Map::len)),
        (json!("Red"), json!({}), Some(4)),
        "id, name, the reference itself, and what it names"
    );
    let two = &shown[3]["_expanded"]["project"];
    assert_eq!(*two, json!({ "id": blue, "name": "blue", "parent": red, "_expanded": { "parent": { "id": red, "name": "Red" } } }));
    // Lists of what refers to a record: in the collection's order, so many, with what they refer to.
    for at in 0..3 {
        kim.create("tasks", json!({ "title": format!("more {at}"), "project": red })).await;
    }
    let projects = kim
        .get("/api/v1/projects?order_by=name&fields=name&expand=tasks_by_project(2,title),projects_by_parent(name,budget,lead(email))")
        .await
        .expect(200)
        .json();
    let of_red = &projects["items"][2]["_expanded"];
    assert_eq!(
        (titles(&of_red["tasks_by_project"]["items"]), &of_red["tasks_by_project"]["more"]),
        (vec!["one".to_owned(), "more 0".to_owned()], &json!(true))
    );
    assert_eq!(of_red["tasks_by_project"]["items"][0].as_object().map(serde_json::Map::len), Some(2), "id and title");
    let below = &of_red["projects_by_parent"];
    assert_eq!((&below["items"][0]["name"], &below["more"]), (&json!("blue"), &json!(false)));
    assert_eq!(below["items"][0]["_expanded"]["lead"]["id"], json!(guest.id));
    let of_dark = &projects["items"][1]["_expanded"]["projects_by_parent"];
    assert_eq!(*of_dark, json!({ "items": [], "more": false }));
    let one = kim.get(&format!("/api/v1/projects/{red}?expand=tasks_by_project(title,project(name))&fields=name")).await.expect(200).json();
    assert_eq!(one["_expanded"]["tasks_by_project"]["items"][0]["_expanded"]["project"]["name"], "Red");
    let body = json!({ "expand": ["project(name)"], "fields": ["title"], "order_by": "title" });
    assert_eq!(kim.post("/api/v1/tasks:query", body).await.expect(200).json()["items"][1]["_expanded"]["project"]["name"], "Red");
    // A guest sees neither the hidden project nor what is below it, and no list that they may not ask for.
    let shown = asked(&guest, "expand=project(name)&filter=title%3Dthree").await;
    assert_eq!(shown[0]["_expanded"], json!({}));
    let below = guest.get(&format!("/api/v1/projects/{blue}?expand=projects_by_parent(name),tasks_by_project(title)")).await.expect(200).json();
    assert_eq!(
        (&below["_expanded"]["projects_by_parent"]["items"], titles(&below["_expanded"]["tasks_by_project"]["items"])),
        (&json!([]), vec!["two".to_owned()])
    );
    let masked = asked(&guest, "expand=project(budget)&filter=title%3Dtwo").await;
    assert_eq!(masked[0]["_expanded"]["project"], json!({ "id": blue, "_masked": ["budget"] }));
    app.house.gate.settle().await;
    let used = |entry: &Value| entry["actor"] == kim.id.as_str() && entry["action"] == "list" && entry["detail"]["fields"] == json!(["budget"]);
    assert!(app.ledger().await.iter().any(used), "the shown budget is recorded");
    for wrong in [
        "",
        "nothing",
        "title",
        "project(",
        "project)",
        "project()",
        "project(nothing)",
        "project(5)",
        "project,project",
        "project(lead(email(x)))",
        "project(parent(parent(name)))",
        "tasks_by_project",
        "project(tasks_by_project(0,title))",
        "project(tasks_by_project(101))",
        "project(tasks_by_project(2,3))",
        "project(name)x",
        "((((",
        "project(name,,name)",
    ] {
        kim.get(&format!("/api/v1/tasks?expand={wrong}")).await.expect(400);
    }
    let long = "project(".repeat(400);
    kim.get(&format!("/api/v1/tasks?expand={long}")).await.expect(400);
    let many = kim.get("/api/v1/projects?page_size=200&expand=tasks_by_project(100)").await;
    assert_eq!(many.status, 200, "three projects with at most 100 each are within the bound");
    app.finish().await;
}
