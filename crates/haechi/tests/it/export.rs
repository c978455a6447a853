//! Files of all rows: `:export`.

use axum::{body::Body, http::Request};
use haechi_gate::ImportRow;
use haechi_model::{Collection, Value as Stored};
use haechi_testkit::{Backend, Person, TestApp, on_both};
use http_body_util::BodyExt;
use serde_json::{Value, json};

on_both!(
    a_file_holds_what_its_reader_may_export_and_read,
    questions_of_an_export_are_checked,
    an_export_is_read_in_parts,
    an_export_ends_with_its_caller,
    an_export_ends_with_its_policy,
    a_caller_has_two_exports_at_a_time
);

const FILES: &[(&str, &str)] = &[
    ("haechi.toml", "roles = [\"clerk\", \"guest\", \"lister\"]\n[limits]\ncaller_per_minute = 10000000\n"),
    (
        "collections/items.toml",
        "[fields]\ntitle = { type = \"text\" }\nprice = { type = \"decimal\" }\nrank = { type = \"int\" }\ntags = { type = \"list\", of = \"text\" }\n\
         data = { type = \"json\" }\nday = { type = \"date\" }\nopen = { type = \"bool\", required = true, default = true }\n\
         secret = { type = \"text\", class = \"pii\" }\n",
    ),
    ("policies/main.cedar", POLICY),
];

const POLICY: &str = r#"
permit (principal in Role::"clerk", action in [Action::"list", Action::"read", Action::"export", Action::"create", Action::"read_pii", Action::"write_pii"], resource is items);
permit (principal in Role::"guest", action in [Action::"list", Action::"read"], resource is items);
permit (principal in Role::"guest", action == Action::"export", resource is items) when { resource.open };
permit (principal in Role::"guest", action == Action::"read_pii", resource is items) when { resource has rank && resource.rank == 1 };
permit (principal in Role::"lister", action in [Action::"list", Action::"read"], resource is items);
permit (principal in Role::"lister", action == Action::"export", resource is items) when { resource has rank && resource.rank == 77 };
"#;

struct World {
    app: TestApp,
    clerk: Person,
    guest: Person,
}

async fn world(backend: Backend) -> World {
    let app = TestApp::start(backend, FILES).await;
    let (clerk, guest) = (app.person("kim", &["clerk"]).await, app.person("lee", &["guest"]).await);
    for item in [
        json!({ "title": "=1+1", "price": "1.50", "rank": 1, "tags": ["a", "b,c"], "data": { "x": "y" }, "day": "2026-01-01", "secret": "one" }),
        json!({ "title": "a \"b\", c", "rank": 2, "secret": "two" }),
        json!({ "title": "shut", "rank": 3, "open": false, "secret": "three" }),
    ] {
        clerk.create("items", item).await;
    }
    World { app, clerk, guest }
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Rows past all policies, with ids in order.
async fn fill(app: &TestApp, many: usize, title: &str) {
    let revision = app.house.gate.revision();
    let items = revision.app.collection("items").unwrap();
    let field = |name: &str| items.field(name).unwrap();
    let row = |at: usize| ImportRow {
        line: at,
        id: Some(format!("0192eeee-0000-7000-8000-{at:012x}").into()),
        values: vec![(field("title"), Stored::text(format!("{title}{at}"))), (field("open"), Stored::Int(1))],
    };
    let rows = (0..many).map(row).collect();
    app.house.gate.import(&app.house.keys.import, items.id, rows).await.unwrap_or_else(|errors| panic!("{errors:?}"));
}

/// [V8.2.2 V8.2.3 V1.2.10]
async fn a_file_holds_what_its_reader_may_export_and_read(backend: Backend) {
    let World { app, clerk, guest } = world(backend).await;
    let reply = clerk.get("/api/v1/items:export?fields=title,price,tags,data,day,open,secret&format=csv").await.expect(200);
    assert_eq!(reply.header("content-type"), "text/csv; charset=utf-8; header=present");
    assert_eq!(reply.header("content-disposition"), "attachment; filename=\"items.csv\"");
    let text = reply.text();
    let cells: Vec<&str> = text.split("\r\n").map(|line| line.split_once(',').map_or(line, |(_, rest)| rest)).collect();
    assert_eq!(
        cells,
        [
            "title,price,tags,data,day,open,secret,_masked",
            "\"\"\"=1+1\"\"\",1.50,\"[\"\"a\"\",\"\"b,c\"\"]\",\"{\"\"x\"\":\"\"y\"\"}\",2026-01-01,true,one,",
            "\"a \"\"b\"\", c\",,,,,true,two,",
            "shut,,,,,false,three,",
            ""
        ]
    );
    // What a guest may export is less than what they may list, and masks are those of a list.
    let reply = guest.get("/api/v1/items:export").await.expect(200);
    assert_eq!(reply.header("content-type"), "application/jsonl");
    let items = lines(&reply.text());
    let listed = guest.get("/api/v1/items").await.expect(200).json()["items"].as_array().unwrap().clone();
    assert_eq!((items.len(), listed.len()), (2, 3));
    assert_eq!(items, listed[..2]);
    assert_eq!((&items[0]["secret"], &items[1]["_masked"]), (&json!("one"), &json!(["secret"])));
    let csv = guest.get("/api/v1/items:export?format=csv&fields=rank,secret").await.expect(200).text();
    let ends: Vec<&str> = csv.lines().skip(1).map(|line| line.split_once(',').unwrap().1).collect();
    assert_eq!(ends, ["1,one,", "2,,secret"]);
    // Without the permit on any of the rows that there are, the file is empty; without a permit at all it is refused.
    let lister = app.person("li", &["lister"]).await;
    assert_eq!(lister.get("/api/v1/items:export").await.expect(200).text(), "");
    let nobody = app.person("no", &[]).await;
    assert_eq!(nobody.get("/api/v1/items:export").await.expect(403).problem(), "forbidden");
    assert_eq!(nobody.post("/api/v1/items:export", json!({})).await.expect(403).problem(), "forbidden");
    app.anonymous().get("/api/v1/items:export").await.expect(401);
    // Each has left an entry, also the one that found nothing.
    let ledger = app.ledger().await;
    let begun = |person: &Person| {
        let of = |entry: &&Value| entry["actor"] == person.id.as_str() && entry["action"] == "export" && entry["detail"]["format"].is_string();
        ledger.iter().filter(of).map(|entry| entry["detail"]["format"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (begun(&clerk), begun(&guest), begun(&lister)),
        (vec!["csv".to_owned()], vec!["jsonl".to_owned(), "csv".to_owned()], vec!["jsonl".to_owned()])
    );
    let seen = ledger
        .iter()
        .any(|entry| entry["actor"] == guest.id.as_str() && entry["action"] == "export" && entry["detail"]["fields"] == json!(["secret"]));
    assert!(seen, "the personal field that was shown is named: {ledger:#?}");
    app.finish().await;
}

async fn questions_of_an_export_are_checked(backend: Backend) {
    let World { app, clerk, guest } = world(backend).await;
    let found = async |person: &Person, body: Value| lines(&person.post("/api/v1/items:export", body).await.expect(200).text()).len();
    assert_eq!(found(&clerk, json!({ "filter": "secret = two OR rank = 3" })).await, 2);
    assert_eq!(found(&guest, json!({ "filter": "secret = two" })).await, 0);
    assert_eq!(found(&guest, json!({ "filter": "secret = one", "fields": ["title"], "format": "jsonl" })).await, 1);
    assert_eq!(lines(&clerk.get("/api/v1/items:export?open=false").await.expect(200).text()).len(), 1);
    assert_eq!(clerk.get("/api/v1/items:export?filter=secret%3Dtwo").await.expect(400).problem(), "use-query-body");
    for wrong in [
        "format=xml",
        "format=json",
        "order_by=rank",
        "page_size=5",
        "page_token=x",
        "expand=x",
        "count=true",
        "fields=nothing",
        "nothing=1",
        "filter=x%3D",
    ] {
        clerk.get(&format!("/api/v1/items:export?{wrong}")).await.expect(400);
    }
    clerk.get("/api/v1/nothing:export").await.expect(404);
    assert!(app.ledger().await.iter().all(|entry| entry["action"] != "export" || entry["target"] != "nothing"));
    app.finish().await;
}

async fn an_export_is_read_in_parts(backend: Backend) {
    let World { app, clerk, .. } = world(backend).await;
    fill(&app, 2_500, "t").await;
    let items = lines(&clerk.get("/api/v1/items:export").await.expect(200).text());
    let ids: Vec<&str> = items.iter().map(|item| item["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 2_503);
    assert!(ids.is_sorted_by(|one, other| one < other), "in order, and none of them twice");
    let filtered = lines(&clerk.post("/api/v1/items:export", json!({ "filter": "starts_with(title, \"t1\")" })).await.expect(200).text());
    assert_eq!(filtered.len(), 1 + 10 + 100 + 1_000);
    // Parts that end early by their bytes lose nothing.
    fill_long(&app).await;
    let items = lines(&clerk.get("/api/v1/items:export?fields=title").await.expect(200).text());
    assert_eq!(items.len(), 2_503 + 900);
    app.finish().await;
}

/// More than `page_bytes` in less than a part.
async fn fill_long(app: &TestApp) {
    let revision = app.house.gate.revision();
    let items = revision.app.collection("items").unwrap();
    let row = |at: usize| ImportRow {
        line: at,
        id: Some(format!("0192ffff-0000-7000-8000-{at:012x}").into()),
        values: vec![
            (items.field("title").unwrap(), Stored::text("x".repeat(9_000))),
            (items.field("open").unwrap(), Stored::Int(1)),
            (Collection::VERSION, Stored::Int(1)),
        ],
    };
    let rows = (0..900).map(row).collect();
    app.house.gate.import(&app.house.keys.import, items.id, rows).await.unwrap_or_else(|errors| panic!("{errors:?}"));
}

/// Reads the first part, does something, and reads on: the rows, or `None` where the file ends without an end.
async fn read_on(person: &Person, between: impl AsyncFnOnce()) -> Option<usize> {
    let request = Request::builder().method("GET").uri("/api/v1/items:export?fields=title");
    let mut body: Body = person.stream(request, Body::empty()).await.unwrap_or_else(|reply| panic!("{}", reply.text()));
    let mut text = Vec::new();
    text.extend_from_slice(body.frame().await.unwrap().unwrap().data_ref().unwrap());
    between().await;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => text.extend_from_slice(frame.data_ref().unwrap()),
            Err(_) => return None,
        }
    }
    Some(lines(&String::from_utf8(text).unwrap()).len())
}

/// [V7.4.2]: who is disabled gets no further part; the honest twin gets all of them.
async fn an_export_ends_with_its_caller(backend: Backend) {
    let World { app, clerk, .. } = world(backend).await;
    fill(&app, 4_000, "t").await;
    assert_eq!(read_on(&clerk, async || {}).await, Some(4_003));
    let other = app.person("lo", &["clerk"]).await;
    // Somebody else's end is not theirs.
    assert_eq!(read_on(&clerk, async || end(&app, &other).await).await, Some(4_003));
    assert_eq!(read_on(&clerk, async || end(&app, &clerk).await).await, None);
    app.finish().await;
}

async fn end(app: &TestApp, person: &Person) {
    app.house.identity.operator("root").set_disabled(&person.id, true).await.unwrap();
}

/// Who may not export any more gets no further part.
async fn an_export_ends_with_its_policy(backend: Backend) {
    let World { app, clerk, .. } = world(backend).await;
    fill(&app, 4_000, "t").await;
    let without = POLICY.replacen("Action::\"export\", ", "", 1);
    let path = app.root.join("policies/main.cedar");
    assert_eq!(read_on(&clerk, async || reload(&app, &path, &format!("{POLICY}\n// the same\n")).await).await, Some(4_003));
    assert_eq!(read_on(&clerk, async || reload(&app, &path, &without).await).await, None);
    app.finish().await;
}

async fn reload(app: &TestApp, path: &std::path::Path, text: &str) {
    std::fs::write(path, text).unwrap();
    let loaded = haechi_model::App::load(&app.root, &[]).unwrap_or_else(|found| panic!("{found:?}")).0;
    let revision = haechi_gate::Revision::new(loaded).map_err(|error| error.0).unwrap().0;
    app.house.gate.replace(revision);
}

/// Who reads slowly keeps nobody else from theirs; an export that ends makes room.
async fn a_caller_has_two_exports_at_a_time(backend: Backend) {
    let World { app, clerk, guest } = world(backend).await;
    let open = async |person: &Person| {
        let request = Request::builder().method("GET").uri("/api/v1/items:export");
        person.stream(request, Body::empty()).await.map_err(|reply| reply.status)
    };
    let (first, second) = (open(&clerk).await.unwrap(), open(&clerk).await.unwrap());
    assert_eq!(open(&clerk).await.unwrap_err(), 429);
    let _theirs = open(&guest).await.unwrap();
    drop(first);
    let third = open(&clerk).await.unwrap();
    assert_eq!(open(&clerk).await.unwrap_err(), 429);
    // Read to its end, it is none any more.
    second.collect().await.unwrap();
    let _fourth = open(&clerk).await.unwrap();
    drop(third);
    app.finish().await;
}
