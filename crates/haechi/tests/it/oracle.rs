//! T-oracle: two houses that differ in secrets alone give an attacker the same answers to every request, through every door.
//!
//! The attacker may list the notes, and read only the secret of the open one. Every answer is compared as a whole, errors and counts
//! included; a bit that differs is a bit that the attacker has learnt.

use crate::{fixture::FILES, grpc::Client};
use haechi_gate::ImportRow;
use haechi_model::Json;
use haechi_testkit::{Backend, Person, TestApp, on_both, with_more};
use serde_json::{Value, json};
use std::sync::Arc;

on_both!(secrets_that_differ_look_the_same, memberships_of_others_look_the_same, lists_of_others_look_the_same);

const POLICY: &str = r#"
permit (principal in Role::"auditor", action == Action::"watch", resource is notes);
permit (principal in Role::"auditor", action == Action::"create", resource is notes);
"#;

/// The secrets of the two houses: they differ in order, in length, in being there and in every letter.
const SECRETS: [[Option<&str>; 4]; 2] = [[Some("aaa"), Some("mmm"), Some("zzz"), None], [Some("zzzzzzzzzzzzzzzzzz"), None, Some("aaa"), Some("a1")]];

struct House {
    app: TestApp,
    attacker: Person,
    client: Client,
}

async fn house(backend: Backend, secrets: [Option<&str>; 4], clock: Arc<haechi_gate::TestClock>) -> House {
    let limits = ("haechi.toml", "[limits]\ncaller_per_minute = 10000000\nanonymous_per_minute = 10000000\n");
    let files = with_more(FILES, &[("policies/main.cedar", POLICY), limits]);
    let root = haechi_testkit::fresh_folder(backend, &files).await;
    let app = TestApp::open(root, backend, clock).await;
    let attacker = app.person("mallory", &["auditor"]).await;
    let owner = app.person("kim", &["member"]).await;
    let revision = app.house.gate.revision();
    let notes = revision.app.collection("notes").unwrap();
    for (at, secret) in secrets.iter().enumerate() {
        let id = format!("0192bbbb-0000-7000-8000-{at:012x}");
        let parent = (at > 0).then_some("0192bbbb-0000-7000-8000-000000000000");
        let title = if at == 3 { "open" } else { "closed" };
        // The attacker may read the open note's secret: it is the same in both houses.
        let secret = if at == 3 { Some("known") } else { *secret };
        let row = json!({ "title": title, "rank": at, "secret": secret, "mail": secret.map(|secret| format!("{secret}@example.test")), "author": owner.id, "parent": parent });
        let Json::Object(members) = haechi_model::parse_json(row.to_string().as_bytes()).unwrap() else { panic!("no object") };
        let values = members.iter().map(|(name, json)| {
            let field = notes.field(name).unwrap();
            (field, notes.fields[field].ty.read(json).unwrap())
        });
        let rows = vec![ImportRow { line: 1, id: Some(id.into()), values: values.collect() }];
        app.house.gate.import(&app.house.keys.import, notes.id, rows).await.unwrap_or_else(|errors| panic!("{errors:?}"));
    }
    let client = Client::new(&app);
    House { app, attacker, client }
}

/// What is new in every answer of any house: ids of requests, times, tokens.
fn plain(text: &str) -> String {
    let mut json: Value = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
    scrub(&mut json);
    json.to_string()
}

fn scrub(json: &mut Value) {
    match json {
        Value::Object(members) => {
            for (name, value) in members.iter_mut() {
                match (name.as_str(), &value) {
                    ("request_id" | "create_time" | "update_time" | "author" | "author_id", _) => *value = Value::Null,
                    // A token's length is all that it tells a client that cannot open it.
                    ("next_page_token" | "prev_page_token" | "end_cursor" | "start_cursor" | "cursor" | "position", Value::String(token)) => {
                        *value = json!(token.len())
                    }
                    _ => scrub(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(scrub),
        _ => {}
    }
}

/// Everything that the attacker asks; one line for each answer.
async fn transcript(house: &House) -> Vec<String> {
    let (me, mut lines) = (&house.attacker, Vec::new());
    let guesses = ["aaa", "mmm", "zzz", "a1", "aaa@example.test", "", "known"];
    for field in ["secret", "mail"] {
        for guess in guesses {
            for operator in ["=", "!=", "<", ">=", ":"] {
                let filter = format!("{field}{operator}\"{guess}\"");
                for filter in [filter.clone(), format!("NOT {filter}"), format!("rank < 2 OR {filter}"), format!("rank < 3 AND NOT {filter}")] {
                    rest(me, json!({ "filter": filter }), &mut lines).await;
                    grpc(house, "ListNotes", json!({ "filter": filter }), &mut lines).await;
                }
            }
            for operator in ["eq", "ne", "lt", "ge", "has"] {
                let filter = json!({ field: { operator: guess } });
                for filter in [filter.clone(), json!({ "not": filter }), json!({ "or": [{ "rank": { "lt": 2 } }, filter] })] {
                    graphql(me, json!({ "filter": filter }), &mut lines).await;
                }
            }
        }
        for guess in guesses {
            let words =
                [format!("{field} IN (x, \"{guess}\")"), format!("contains({field}, \"{guess}\")"), format!("starts_with({field}, \"{guess}\")")];
            for filter in words.iter().cloned().chain([format!("{field} NOT IN (\"{guess}\")"), format!("parent.{field} >= \"{guess}\"")]) {
                for filter in [filter.clone(), format!("NOT {filter}"), format!("rank < 2 OR {filter}")] {
                    rest(me, json!({ "filter": filter, "count": true }), &mut lines).await;
                    grpc(house, "ListNotes", json!({ "filter": filter, "count": true }), &mut lines).await;
                    summed(me, json!({ "filter": filter, "group_by": ["title"], "min": ["rank"] }), &mut lines).await;
                }
            }
            for filter in [json!({ "parent_where": { field: { "ge": guess } } }), json!({ field: { "in": [guess] } })] {
                for filter in [filter.clone(), json!({ "not": filter })] {
                    graphql(me, json!({ "filter": filter }), &mut lines).await;
                }
            }
        }
        for filter in [format!("{field} = null"), format!("{field}:*"), format!("{field} IS NOT NULL"), format!("parent.{field} IS NULL")] {
            rest(me, json!({ "filter": filter, "count": true }), &mut lines).await;
            summed(me, json!({ "filter": filter }), &mut lines).await;
        }
        for computed in [json!({ "group_by": [field] }), json!({ "min": [field] }), json!({ "max": field, "group_by": ["title", "rank"] })] {
            summed(me, computed, &mut lines).await;
        }
        graphql(me, json!({ "filter": { field: { "is_null": true } } }), &mut lines).await;
        for direction in ["", " desc", " nulls_last", " desc nulls_first"] {
            rest(me, json!({ "order_by": format!("{field}{direction}"), "page_size": 1 }), &mut lines).await;
            grpc(house, "ListNotes", json!({ "order_by": format!("{field}{direction}"), "page_size": 1 }), &mut lines).await;
            let order = json!([{ "field": field, "direction": if direction.contains("desc") { "DESC" } else { "ASC" } }]);
            graphql(me, json!({ "order": order }), &mut lines).await;
        }
    }
    others(house, &mut lines).await;
    lines
}

async fn summed(me: &Person, body: Value, lines: &mut Vec<String>) {
    let reply = me.post("/api/v1/notes:aggregate", body.clone()).await;
    lines.push(format!(":aggregate {body} → {} {}", reply.status, plain(&reply.text())));
}

async fn rest(me: &Person, body: Value, lines: &mut Vec<String>) {
    let reply = me.post("/api/v1/notes:query", body.clone()).await;
    lines.push(format!("{body} → {} {}", reply.status, plain(&reply.text())));
}

async fn grpc(house: &House, method: &str, request: Value, lines: &mut Vec<String>) {
    let mut answer = match house.client.call(&house.attacker, method, request.clone()).await {
        Ok(message) => message,
        Err(refused) => json!(format!("{refused:?}")),
    };
    scrub(&mut answer);
    lines.push(format!("{method} {request} → {answer}"));
}

/// A list with everything around it: aggregates, cursors, references, back-references.
async fn graphql(me: &Person, variables: Value, lines: &mut Vec<String>) {
    let query = "query($filter: NoteFilter, $order: [NoteOrder!]) {
        notes(filter: $filter, order_by: $order, first: 2) {
            edges { cursor node { id title secret mail _masked parent { id secret } notes_by_parent(filter: $filter, order_by: $order, first: 1) { nodes { id secret } page_info { has_next_page end_cursor } } } }
            page_info { has_next_page end_cursor }
            total_size
        }
        backward: notes(filter: $filter, order_by: $order, last: 1) { nodes { id } page_info { has_previous_page } }
        notes_aggregate(filter: $filter) { count max { rank } }
    }";
    let reply = me.post("/graphql", json!({ "query": query, "variables": variables })).await;
    lines.push(format!("graphql {variables} → {} {}", reply.status, plain(&reply.text())));
}

async fn others(house: &House, lines: &mut Vec<String>) {
    let me = &house.attacker;
    let keep =
        |what: &str, reply: haechi_testkit::Reply| format!("{what} → {} {:?} {}", reply.status, reply.headers.get("etag"), plain(&reply.text()));
    let expansions = ["?expand=parent(secret,mail)", "?expand=notes_by_parent(2,secret),parent(parent(mail))", "?count=true&page_size=1"];
    let plain_ones =
        ["", "?expand=parent", "?fields=secret", "?fields=id,mail&page_size=1", "?secret=aaa", "?order_by=secret", "?filter=secret%3D%22aaa%22"];
    for path in plain_ones.into_iter().chain(expansions) {
        lines.push(keep(path, me.get(&format!("/api/v1/notes{path}")).await));
    }
    for at in 0..4 {
        let id = format!("0192bbbb-0000-7000-8000-{at:012x}");
        lines.push(keep("get", me.get(&format!("/api/v1/notes/{id}?expand=parent")).await));
        grpc(house, "GetNote", json!({ "id": id }), lines).await;
        grpc(house, "BatchGetNotes", json!({ "ids": [id], "read_mask": "secret,mail" }), lines).await;
    }
    for asked in [
        json!({ "group_by": ["secret"], "max": ["mail"] }),
        json!({ "group_by": ["title", "mail"] }),
        json!({ "filter": "secret >= \"m\" OR parent.mail >= \"m\"", "group_by": ["rank"], "min": ["secret"] }),
    ] {
        grpc(house, "AggregateNotes", asked, lines).await;
    }
    let by_groups = [
        "groups(by: [secret]) { key { secret } count }",
        "groups(by: [mail, title]) { key { mail title } count max { secret } }",
        "groups(by: [rank]) { key { rank } count min { mail } }",
    ];
    for aggregate in ["min { secret }", "max { secret mail }", "min { mail }", "count"].into_iter().chain(by_groups) {
        let reply = me.post("/graphql", json!({ "query": format!("{{ notes_aggregate {{ {aggregate} }} }}") })).await;
        lines.push(keep(aggregate, reply));
    }
    for filter in ["secret%3D%22aaa%22", "title%3D%22closed%22"] {
        match me.watch(&format!("/api/v1/notes:watch?filter={filter}"), None).await {
            Ok(_) => lines.push(format!("watch {filter} → opened")),
            Err(reply) => lines.push(keep(filter, reply)),
        }
    }
    for filter in ["secret >= \"m\"", "parent.mail >= \"m\"", "title = closed"] {
        lines.push(keep("change", me.post("/api/v1/notes:change", json!({ "filter": filter, "data": { "rank": 7 } })).await));
        lines.push(keep("remove", me.post("/api/v1/notes:remove", json!({ "filter": filter })).await));
        for operation in [json!({ "change": "notes", "filter": filter, "data": { "rank": 8 } }), json!({ "remove": "notes", "filter": filter })] {
            lines.push(keep("batch", me.post("/api/v1:batch", json!({ "operations": [operation] })).await));
        }
    }
    // What a write says, and what a stream tells of somebody else's.
    let mut stream = watch_by_secret(me).await;
    for secret in SECRETS.iter().flatten().flatten() {
        let body = json!({ "title": "x", "secret": secret });
        lines.push(keep("create", me.post("/api/v1/notes", body).await));
    }
    let owner = house.app.person("lee", &["member"]).await;
    let hidden = owner.create("notes", json!({ "title": "closed", "secret": SECRETS[0][0] })).await;
    let shown = owner.create("notes", json!({ "title": "open", "secret": "aaa" })).await;
    owner.patch(&format!("/api/v1/notes/{hidden}"), json!({ "rank": 5 })).await.expect(200);
    owner.delete(&format!("/api/v1/notes/{shown}")).await.expect(204);
    if let Some(stream) = &mut stream {
        // The stream tells nothing about rows that the attacker may not read: the next event is the open note.
        let (kind, data) = stream.next().await.unwrap();
        let right = kind == "create" && data["id"] == shown.as_str();
        // An id exists in this house only: any other event makes the houses differ.
        lines.push(if right { "told of the open one".to_owned() } else { format!("told of {}", data["id"]) });
        lines.push(stream.next().await.unwrap().0);
    }
}

/// A stream that filters by the secret: it tells only of rows in which the attacker may read the secret.
async fn watch_by_secret(me: &Person) -> Option<haechi_testkit::Events> {
    let body = json!({ "filter": "secret >= \"a\"" }).to_string().into_bytes();
    let mut events = me.watch_by("/api/v1/notes:watch", body).await.ok()?;
    events.next().await;
    Some(events)
}

/// In which answers the two houses differ.
async fn learnt(backend: Backend) -> Vec<String> {
    let clock = Arc::new(haechi_gate::TestClock::new());
    let first = house(backend, SECRETS[0], clock.clone()).await;
    let second = house(backend, SECRETS[1], clock).await;
    let (one, other) = (transcript(&first).await, transcript(&second).await);
    assert_eq!(one.len(), other.len());
    let found = one.iter().zip(&other).filter(|(one, other)| one != other).map(|(one, other)| format!("{one}\n  {other}"));
    let found = found.collect();
    first.app.finish().await;
    second.app.finish().await;
    found
}

/// T-oracle [V8.2.3 V14.2.2]
async fn secrets_that_differ_look_the_same(backend: Backend) {
    let found = learnt(backend).await;
    assert!(found.is_empty(), "{} answers differ:\n{}", found.len(), found.iter().take(5).cloned().collect::<Vec<_>>().join("\n"));
}

/// Projects whose people see the tasks; everybody sees their own memberships alone.
const TEAM: &[(&str, &str)] = &[
    ("haechi.toml", "roles = []\n[limits]\ncaller_per_minute = 10000000\n"),
    (
        "collections/projects.toml",
        "[fields]\nname = { type = \"text\" }\nparent = { type = \"ref\", to = \"projects\" }\n\
         [groups.people]\nthrough = \"memberships.person\"\nby = \"project\"\ninherits = \"parent\"\n\
         [groups.leads]\nthrough = \"memberships.person\"\nby = \"project\"\nwhere = \"role = 'lead'\"\n",
    ),
    (
        "collections/memberships.toml",
        "[fields]\nproject = { type = \"ref\", to = \"projects\", required = true }\nperson = { type = \"ref\", to = \"users\", required = true }\n\
         role = { type = \"enum\", values = [\"member\", \"lead\"], required = true, default = \"member\", ordered = true }\n\
         [[indexes]]\nfields = [\"project\", \"person\"]\nunique = true\n",
    ),
    (
        "collections/tasks.toml",
        "[fields]\nproject = { type = \"ref\", to = \"projects\", required = true }\ntitle = { type = \"text\" }\nassignee = { type = \"ref\", to = \"users\" }\n",
    ),
    (
        "policies/main.cedar",
        r#"
permit (principal is users, action in [Action::"list", Action::"read", Action::"watch"], resource is projects) when { principal in resource.people };
permit (principal is users, action in [Action::"list", Action::"read", Action::"watch"], resource is tasks) when { principal in resource.project.people };
permit (principal is users, action in [Action::"create", Action::"update"], resource is tasks) when { principal in resource.project.people };
forbid (principal, action in [Action::"create", Action::"update"], resource is tasks) when { resource has assignee } unless { resource.assignee == principal };
permit (principal is users, action == Action::"delete", resource is tasks) when { principal in resource.project.leads };
permit (principal is users, action in [Action::"list", Action::"read"], resource is memberships) when { resource.person == principal };
permit (principal is users, action in [Action::"create", Action::"update", Action::"delete"], resource is memberships) when { principal in resource.project.leads };
"#,
    ),
];

/// Who else is where: project, person, role. The attacker is a member of the first project in both houses, and in no other.
const OTHERS: [&[(usize, usize, &str)]; 2] =
    [&[(0, 1, "lead"), (1, 1, "member"), (2, 2, "lead")], &[(1, 2, "lead"), (0, 2, "member"), (2, 1, "member"), (1, 1, "lead")]];

fn id(kind: usize, at: usize) -> String {
    format!("0192cccc-0000-7000-8000-{kind:04x}{at:08x}")
}

/// Puts a row into a house, past all policies.
async fn put(app: &TestApp, collection: &str, id: String, row: Value) {
    let revision = app.house.gate.revision();
    let declared = revision.app.collection(collection).unwrap();
    let Json::Object(members) = haechi_model::parse_json(row.to_string().as_bytes()).unwrap() else { panic!("no object") };
    let value = |(name, json): &(Box<str>, Json)| {
        let field = declared.field(name).unwrap();
        (field, declared.fields[field].ty.read(json).unwrap())
    };
    let rows = vec![ImportRow { line: 1, id: Some(id.into()), values: members.iter().map(value).collect() }];
    app.house.gate.import(&app.house.keys.import, declared.id, rows).await.unwrap_or_else(|errors| panic!("{errors:?}"));
}

/// Everything that a member of one project asks about all of them.
async fn asked_of_a_team(backend: Backend, others: &[(usize, usize, &str)], clock: Arc<haechi_gate::TestClock>) -> Vec<String> {
    let root = haechi_testkit::fresh_folder(backend, TEAM).await;
    let app = TestApp::open(root, backend, clock).await;
    let people = [app.person("mallory", &[]).await, app.person("kim", &[]).await, app.person("lee", &[]).await];
    let put = async |collection: &str, id: String, row: Value| put(&app, collection, id, row).await;
    for at in 0..3 {
        // The third is below the second.
        let parent = (at == 2).then(|| id(1, 1));
        put("projects", id(1, at), json!({ "name": format!("p{at}"), "parent": parent })).await;
        put("tasks", id(3, at), json!({ "project": id(1, at), "title": format!("t{at}") })).await;
    }
    put("memberships", id(2, 0), json!({ "project": id(1, 0), "person": people[0].id })).await;
    for (at, (project, person, role)) in others.iter().enumerate() {
        put("memberships", id(2, at + 1), json!({ "project": id(1, *project), "person": people[*person].id, "role": role })).await;
    }
    let (me, mut lines) = (&people[0], Vec::new());
    let mut keep = |what: String, reply: haechi_testkit::Reply| {
        let told = people.iter().enumerate().fold(plain(&reply.text()), |text, (at, person)| text.replace(&person.id, &format!("person {at}")));
        // What a house has made itself has an id of its own.
        let own = |word: &str| word.len() == 36 && word.matches('-').count() == 4 && !word.starts_with("0192cccc");
        let told = told.split('"').map(|word| if own(word) { "an id" } else { word }).collect::<Vec<_>>().join("\"");
        lines.push(format!("{what} → {} {told}", reply.status));
    };
    let mut filters = vec![String::new(), "role = \"lead\"".to_owned(), "role > member".to_owned()];
    filters.extend((0..3).map(|at| format!("project = \"{}\"", id(1, at))));
    for (at, person) in people.iter().enumerate() {
        let body = json!({ "filter": format!("person = \"{}\"", person.id) });
        keep(format!("memberships of {at}"), me.post("/api/v1/memberships:query", body).await);
        let body = json!({ "project": id(1, 1), "person": person.id });
        keep(format!("put {at} into the second"), me.post("/api/v1/memberships", body).await);
        let body = json!({ "project": id(1, 0), "person": person.id });
        keep(format!("put {at} into the first"), me.post("/api/v1/memberships", body).await);
        let body = json!({ "project": id(1, 0), "title": "x", "assignee": person.id });
        keep(format!("give {at} a task"), me.post("/api/v1/tasks", body).await);
    }
    for filter in &filters {
        for collection in ["memberships", "projects", "tasks"] {
            for order in ["id", "create_time desc"] {
                let body = json!({ "filter": filter, "order_by": order, "page_size": 1 });
                keep(format!("{collection} {body}"), me.post(&format!("/api/v1/{collection}:query"), body).await);
            }
        }
    }
    for at in 0..5 {
        for (kind, collection) in [(1, "projects"), (2, "memberships"), (3, "tasks")] {
            let path = format!("/api/v1/{collection}/{}", id(kind, at));
            keep(format!("get {path}"), me.get(&path).await);
            keep(format!("patch {path}"), me.patch(&path, json!({ "title": "y" })).await);
            keep(format!("move {path}"), me.patch(&path, json!({ "project": id(1, 1) })).await);
            keep(format!("delete {path}"), me.delete(&path).await);
        }
    }
    for filter in ["project.name >= \"p1\"", "project.parent.name = p1", "NOT project.name = p1", "project.parent IS NULL", "assignee.id != null"] {
        let body = json!({ "filter": filter, "count": true, "expand": "project(name,parent(name))" });
        keep(format!("tasks {filter}"), me.post("/api/v1/tasks:query", body).await);
        keep(format!("summed {filter}"), me.post("/api/v1/tasks:aggregate", json!({ "filter": filter, "group_by": ["project"] })).await);
    }
    for person in &people {
        let filter = format!("person = \"{}\" OR project.name = p1", person.id);
        keep("counted".to_owned(), me.post("/api/v1/memberships:aggregate", json!({ "filter": filter, "group_by": ["role", "project"] })).await);
        let body = json!({ "on": ["project", "person"], "data": { "project": id(1, 0), "person": person.id, "role": "lead" } });
        keep("upsert".to_owned(), me.post("/api/v1/memberships:upsert", body).await);
    }
    for expand in ["memberships_by_project", "memberships_by_project(5,role,person(email)),tasks_by_project(title)", "projects_by_parent(name)"] {
        keep(format!("expand {expand}"), me.get(&format!("/api/v1/projects?count=true&expand={expand}")).await);
    }
    let query = "{ projects { nodes { id name memberships_by_project { nodes { id role } } tasks_by_project { nodes { id } } } } memberships_aggregate { count max { role } groups(by: [project, person]) { key { project_id person_id } count } } tasks_aggregate { count groups(by: [project]) { key { project_id } count } } }";
    keep("graphql".to_owned(), me.post("/graphql", json!({ "query": query })).await);
    app.finish().await;
    lines
}

/// T-oracle [V8.2.2]: two houses that differ in who else is in which project, and in what role, look the same to a member of one project.
async fn memberships_of_others_look_the_same(backend: Backend) {
    let clock = Arc::new(haechi_gate::TestClock::new());
    let (one, other) = (asked_of_a_team(backend, OTHERS[0], clock.clone()).await, asked_of_a_team(backend, OTHERS[1], clock.clone()).await);
    // The comparison sees a house in which the attacker is in one project more.
    assert_ne!(asked_of_a_team(backend, &[(1, 0, "member")], clock).await, one);
    assert_eq!(one.len(), other.len());
    let found: Vec<String> = one.iter().zip(&other).filter(|(one, other)| one != other).map(|(one, other)| format!("{one}\n  {other}")).collect();
    assert!(found.is_empty(), "{} answers differ:\n{}", found.len(), found.iter().take(5).cloned().collect::<Vec<_>>().join("\n"));
}

/// Tasks with lists that a reader may and may not see, of labels that they may and may not read.
const LISTS: &[(&str, &str)] = &[
    ("haechi.toml", "roles = []\n[limits]\ncaller_per_minute = 10000000\n"),
    ("collections/labels.toml", "[fields]\nname = { type = \"text\" }\nhidden = { type = \"bool\", required = true, default = false }\n"),
    (
        "collections/tasks.toml",
        "[fields]\ntitle = { type = \"text\" }\nhidden = { type = \"bool\", required = true, default = false }\n\
         labels = { type = \"list\", of = \"ref\", to = \"labels\", on_delete = \"remove\" }\n\
         inner = { type = \"list\", of = \"ref\", to = \"labels\", on_delete = \"remove\", class = \"secret\" }\n",
    ),
    (
        "policies/main.cedar",
        r#"
permit (principal is users, action in [Action::"list", Action::"read", Action::"create", Action::"update", Action::"write_secret"], resource is tasks) unless { resource.hidden };
permit (principal is users, action in [Action::"list", Action::"read", Action::"delete"], resource is labels) unless { resource.hidden };
"#,
    ),
];

/// By house: the inner labels of the two tasks that the attacker reads, the labels of the hidden task, and whether the last label is there.
type Inner = ([&'static [usize]; 2], &'static [usize], bool);
const INNER: [Inner; 2] = [([&[0, 2], &[]], &[0, 3], true), ([&[1, 3], &[0]], &[1], false)];

/// Everything that a reader asks about lists. Labels 0 and 1 are theirs to read, 2, 3 and 4 are not; 4 is in one house alone.
async fn asked_of_lists(backend: Backend, (inner, of_hidden, last): Inner, clock: Arc<haechi_gate::TestClock>) -> Vec<String> {
    let app = TestApp::open(haechi_testkit::fresh_folder(backend, LISTS).await, backend, clock).await;
    let me = app.person("mallory", &[]).await;
    for at in 0..if last { 5 } else { 4 } {
        put(&app, "labels", id(1, at), json!({ "name": format!("l{at}"), "hidden": at > 1 })).await;
    }
    let ids = |of: &[usize]| of.iter().map(|at| id(1, *at)).collect::<Vec<_>>();
    for (at, inner) in inner.iter().enumerate() {
        put(&app, "tasks", id(2, at), json!({ "title": format!("t{at}"), "labels": ids(&[0, 2]), "inner": ids(inner) })).await;
    }
    put(&app, "tasks", id(2, 2), json!({ "title": "hidden", "hidden": true, "labels": ids(of_hidden), "inner": ids(of_hidden) })).await;
    let mut lines = Vec::new();
    let mut keep = |what: String, reply: haechi_testkit::Reply| {
        let own = |word: &str| word.len() == 36 && word.matches('-').count() == 4 && !word.starts_with("0192cccc");
        let told = plain(&reply.text()).split('"').map(|word| if own(word) { "an id" } else { word }).collect::<Vec<_>>().join("\"");
        lines.push(format!("{what} → {} {told}", reply.status));
    };
    for at in 0..5 {
        for field in ["labels", "inner"] {
            for filter in
                [format!("{field}:\"{}\"", id(1, at)), format!("NOT {field}:\"{}\"", id(1, at)), format!("hidden = false OR {field}:{}", id(1, at))]
            {
                keep(filter.clone(), me.post("/api/v1/tasks:query", json!({ "filter": filter, "page_size": 1 })).await);
            }
            let query = "query($f: TaskFilter) { tasks(filter: $f) { nodes { id labels { id name } inner { id } inner_ids _masked } } tasks_aggregate(filter: $f) { count } }";
            for filter in [json!({ field: { "has": id(1, at) } }), json!({ "not": { field: { "has": id(1, at) } } })] {
                keep(format!("graphql {filter}"), me.post("/graphql", json!({ "query": query, "variables": { "f": filter } })).await);
            }
            // What is written into a list that they see, and into one that they do not see.
            for task in 0..3 {
                for more in [vec![at], vec![0, at], vec![0, 2, at], vec![2, at]] {
                    let body = json!({ field: ids(&more) });
                    let batch = json!({ "operations": [{ "update": "tasks", "id": id(2, task), "data": body }, { "update": "tasks", "id": id(2, task), "if_match": 77, "data": {} }] });
                    // The second operation fails, so that nothing is ever changed.
                    keep(format!("write {task} {body}"), me.post("/api/v1:batch", batch).await);
                }
            }
            keep(format!("create with {field} {at}"), me.post("/api/v1/tasks", json!({ field: ids(&[at]), "hidden": true })).await);
        }
        for expand in ["labels", "inner", "labels,inner"] {
            keep(format!("expand {expand} {at}"), me.get(&format!("/api/v1/tasks/{}?expand={expand}", id(2, at))).await);
        }
        keep(format!("label {at}"), me.get(&format!("/api/v1/labels/{}", id(1, at))).await);
    }
    for path in ["?expand=labels,inner", "?fields=inner", "?filter=inner%3A%2A", "?filter=labels%3A%2A"] {
        keep(path.to_owned(), me.get(&format!("/api/v1/tasks{path}")).await);
    }
    for at in 0..5 {
        keep(format!("delete {at}"), me.delete(&format!("/api/v1/labels/{}", id(1, at))).await);
    }
    keep("after".to_owned(), me.get("/api/v1/tasks?expand=labels&fields=labels,title").await);
    app.finish().await;
    lines
}

/// T-oracle [V8.2.3]: two houses that differ in lists and labels which the attacker may not see look the same to them.
async fn lists_of_others_look_the_same(backend: Backend) {
    let clock = Arc::new(haechi_gate::TestClock::new());
    let (one, other) = (asked_of_lists(backend, INNER[0], clock.clone()).await, asked_of_lists(backend, INNER[1], clock.clone()).await);
    assert_eq!(one.len(), other.len());
    assert!(one.iter().any(|line| line.contains("unknown_reference")) && one.iter().any(|line| line.contains("\"l0\"")), "questions are answered");
    let found: Vec<String> = one.iter().zip(&other).filter(|(one, other)| one != other).map(|(one, other)| format!("{one}\n  {other}")).collect();
    assert!(found.is_empty(), "{} answers differ:\n{}", found.len(), found.iter().take(5).cloned().collect::<Vec<_>>().join("\n"));
}

/// Each planted hole is found by one of the comparisons: `cargo xtask holes`.
#[cfg(haechi_unsafe_lab)]
#[tokio::test]
async fn planted_holes_are_found() {
    use haechi_gate::lab::{Hole, plant};
    let by_doors = async || {
        let app = TestApp::start(
            Backend::Sqlite,
            &with_more(FILES, &[("haechi.toml", "[limits]\ncaller_per_minute = 10000000\nanonymous_per_minute = 10000000\n")]),
        )
        .await;
        crate::doors::differences(&app).await.len()
    };
    let by_secrets = async || learnt(Backend::Sqlite).await.len();
    for hole in [Hole::UnguardedMessages, Hole::UnmaskedObjects, Hole::UnseenObjects] {
        plant(hole);
        assert!(by_doors().await > 0, "{hole:?} is not found");
    }
    for hole in [Hole::UnreadableIsUsed, Hole::UnguardedStreams] {
        plant(hole);
        assert!(by_secrets().await > 0, "{hole:?} is not found");
    }
    // Both kinds of streams are asked: one looks for secret values, the other for rows that the attacker may not read.
    assert!(crate::doors::live::fixture_differences().await > 0, "{:?} is not found by following", Hole::UnguardedStreams);
    plant(Hole::Nothing);
    assert_eq!((by_doors().await, by_secrets().await, crate::doors::live::fixture_differences().await), (0, 0, 0));
}
