//! A changed type never changes what a stored value means: it is harmless, checked, converted, or refused.

use haechi::{DataDir, House, Mode, app::folder};
use haechi_data::transfer::Options;
use haechi_gate::SystemClock;
use haechi_testkit::{Backend, TestApp, on_both};
use serde_json::{Value, json};
use std::{path::Path, sync::Arc};

on_both!(
    stored_alike_is_not_the_same,
    a_narrowed_field_counts_the_rows_that_do_not_fit,
    values_are_converted_row_by_row,
    a_converted_field_keeps_its_index,
    a_conversion_is_whole_or_not_at_all,
    a_database_from_before_takes_the_types_as_they_stand,
    what_was_kept_under_the_old_type_is_not_read_under_the_new_one,
);

const ITEMS: &str = "collections/items.toml";
const EVERYTHING: &str = "@everything(\"test\")\npermit (principal is users in Role::\"admin\", action, resource);\n";

fn files(items: &str) -> Vec<(&'static str, String)> {
    vec![
        ("haechi.toml", "roles = [\"admin\"]\n".to_owned()),
        ("policies/all.cedar", EVERYTHING.to_owned()),
        ("collections/customers.toml", "[fields]\ncode = { type = \"text\", unique = true, required = true, case = \"fold\" }\n".to_owned()),
        (ITEMS, format!("[fields]\n{items}\n")),
    ]
}

/// What a migration would do.
struct Planned {
    summary: Vec<String>,
    refusals: Vec<String>,
    misfits: Vec<String>,
    drops: Vec<String>,
    sql: Vec<String>,
    only_remembers: bool,
}

/// The folder with other fields, opened over the same database; nothing is migrated yet.
async fn changed(root: &Path, items: &str) -> (House, DataDir, Planned) {
    std::fs::write(root.join(ITEMS), format!("[fields]\n{items}\n")).unwrap();
    let data = DataDir::open(folder::default_data(root)).unwrap();
    let (revision, warnings) = folder::load(root).unwrap();
    let house = House::at(revision, warnings, &data, Mode::Dev, Arc::new(SystemClock)).await.unwrap();
    let plan = house.gate.plan(&house.keys.schema).await.unwrap();
    let misfits = house.gate.misfits(&house.keys.schema, &plan).await.unwrap();
    let (summary, sql, only_remembers) = (plan.summary(), plan.sql(), plan.only_remembers());
    assert_eq!(plan.is_empty(), summary.is_empty() && plan.refusals.is_empty());
    (house, data, Planned { summary, refusals: plan.refusals, misfits, drops: plan.drops, sql, only_remembers })
}

/// Applies what is to do; the error in words.
async fn apply(house: &House, allow_drop: bool) -> Result<(), String> {
    let plan = house.gate.plan(&house.keys.schema).await.unwrap();
    house.gate.migrate(&house.keys.schema, plan, allow_drop).await.map_err(|error| error.to_string())
}

async fn nothing_to_do(house: &House) -> bool {
    house.gate.plan(&house.keys.schema).await.unwrap().is_empty()
}

async fn import(house: &House, collection: &str, lines: &[Value]) {
    let file = std::env::temp_dir().join(format!("haechi-types-{}-{:?}.jsonl", std::process::id(), std::thread::current().id()));
    std::fs::write(&file, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let revision = house.gate.revision();
    haechi::app::rows::import_file(house, revision.app.collection(collection).unwrap(), &file, Options::default()).await.unwrap();
    std::fs::remove_file(&file).unwrap();
}

/// The database that a folder names.
pub(crate) async fn client(root: &Path) -> tokio_postgres::Client {
    let config = std::fs::read_to_string(root.join("haechi.toml")).unwrap();
    let url = config.lines().find_map(|line| line.strip_prefix("url = \"")).unwrap().trim_end_matches('"');
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// These fields of the rows, a page of them, as a client would see them.
async fn rows(house: &House, fields: &[&str]) -> Vec<Vec<Value>> {
    let revision = house.gate.revision();
    let items = revision.app.collection("items").unwrap();
    let stored = house.gate.stored_rows(&house.keys.import, items.id, "").await.unwrap();
    let value = |row: &haechi_model::Row, name: &&str| {
        let at = items.field(name).unwrap();
        let mut json = Vec::new();
        items.fields[at].ty.write(&row[at], &mut json);
        serde_json::from_slice(&json).unwrap()
    };
    stored.iter().map(|row| fields.iter().map(|name| value(row, name)).collect()).collect()
}

async fn stored_alike_is_not_the_same(backend: Backend) {
    let before = "price = { type = \"decimal\", precision = 10, scale = 2 }\nqty = { type = \"int\" }\nday = { type = \"date\" }\nword = { type = \"text\" }\n\
                  tags = { type = \"list\", of = \"text\" }\non = { type = \"bool\" }";
    let app = TestApp::start(backend, &files(before)).await;
    import(&app.house, "items", &[json!({"price": "12.50", "qty": 7, "day": "2026-11-22", "word": "open", "tags": ["1"], "on": true})]).await;
    let root = app.close().await;
    for (from, to) in [
        ("qty = { type = \"int\" }", "qty = { type = \"decimal\", precision = 10, scale = 2 }"),
        ("qty = { type = \"int\" }", "qty = { type = \"bool\" }"),
        ("qty = { type = \"int\" }", "qty = { type = \"datetime\" }"),
        ("qty = { type = \"int\" }", "qty = { type = \"text\" }"),
        ("day = { type = \"date\" }", "day = { type = \"datetime\" }"),
        ("day = { type = \"date\" }", "day = { type = \"int64\" }"),
        ("scale = 2", "scale = 1"),
        ("word = { type = \"text\" }", "word = { type = \"enum\", values = [\"open\"] }"),
        ("word = { type = \"text\" }", "word = { type = \"json\" }"),
        ("word = { type = \"text\" }", "word = { type = \"email\" }"),
        ("of = \"text\"", "of = \"int\""),
        ("on = { type = \"bool\" }", "on = { type = \"int\" }"),
    ] {
        let (house, data, plan) = changed(&root, &before.replace(from, to)).await;
        assert_eq!(plan.refusals.len(), 1, "{to}: {:?}", plan.summary);
        assert!(plan.refusals[0].contains("would become") && plan.refusals[0].contains("new field"), "{:?}", plan.refusals);
        assert_eq!(apply(&house, true).await, Err(plan.refusals[0].clone()));
        house.close().await;
        drop(data);
    }
    // These say the same: the scale grows, a larger number fits, more words are allowed.
    let wider = before.replace("scale = 2", "scale = 4").replace("qty = { type = \"int\" }", "qty = { type = \"int64\" }");
    let (house, data, plan) = changed(&root, &wider).await;
    assert_eq!((plan.refusals.len(), plan.misfits.len()), (0, 0));
    let summary = &plan.summary;
    assert!(summary.iter().any(|line| line.contains("decimal(10, 2) is now decimal(10, 4); its values are converted")), "{summary:?}");
    assert!(summary.iter().any(|line| line == "~ column items.qty: int is now int64"), "{summary:?}");
    apply(&house, false).await.unwrap();
    assert_eq!(rows(&house, &["price", "qty"]).await, [[json!("12.5000"), json!("7")]]);
    assert!(nothing_to_do(&house).await);
    house.gate.settle().await;
    assert_eq!(house.gate.verify(&house.keys.audit, &[], true).await.unwrap().findings, []);
    house.close().await;
    drop(data);
    std::fs::remove_dir_all(root).unwrap();
}

async fn a_narrowed_field_counts_the_rows_that_do_not_fit(backend: Backend) {
    let before = "label = { type = \"text\" }\nn = { type = \"int\" }\nword = { type = \"enum\", values = [\"a\", \"b\"] }";
    let app = TestApp::start(backend, &files(before)).await;
    let lines: Vec<Value> = (0..1_100)
        .map(|at| json!({"id": format!("01920000-0000-7000-8000-{at:012}"), "label": if at % 2 == 0 { "even" } else { "odd" }, "n": at, "word": if at < 5 { "b" } else { "a" }}))
        .collect();
    import(&app.house, "items", &lines).await;
    import(&app.house, "items", &[json!({"n": 1})]).await;
    let root = app.close().await;
    let id = |at: usize| format!("01920000-0000-7000-8000-{at:012}");
    for (from, to, expected) in [
        (
            "n = { type = \"int\" }",
            "n = { type = \"int\", max = 1095 }",
            format!(
                "items.n: 4 of 1101 rows do not fit: must be from -9007199254740991 to 1095 (among them {}, {}, {})",
                id(1096),
                id(1097),
                id(1098)
            ),
        ),
        ("\"a\", \"b\"", "\"a\"", format!("items.word: 5 of 1101 rows do not fit: must be one of: a (among them {}, {}, {})", id(0), id(1), id(2))),
        (
            "label = { type = \"text\" }",
            "label = { type = \"text\", max_length = 3 }",
            format!("items.label: 550 of 1101 rows do not fit: has 4 characters; at most 3 are allowed (among them {}, {}, {})", id(0), id(2), id(4)),
        ),
        (
            "label = { type = \"text\" }",
            "label = { type = \"text\", pattern = \"odd\" }",
            format!("items.label: 550 of 1101 rows do not fit: must match the pattern odd (among them {}, {}, {})", id(0), id(2), id(4)),
        ),
        (
            "label = { type = \"text\" }",
            "label = { type = \"text\", required = true }",
            "items.label: 1 of 1101 rows does not fit: must have a value (".to_owned(),
        ),
        (
            "n = { type = \"int\" }",
            "n = { type = \"int\", unique = true }",
            "items.n: 2 rows do not fit: share their value with another row (".to_owned(),
        ),
    ] {
        let (house, data, plan) = changed(&root, &before.replace(from, to)).await;
        let misfits = &plan.misfits;
        assert_eq!(misfits.len(), 1, "{to}: {misfits:?}");
        assert!(misfits[0].starts_with(&expected), "{misfits:?}");
        let refused = apply(&house, true).await.unwrap_err();
        assert!(refused.contains(&misfits[0]) && refused.starts_with("rows that exist do not fit; nothing was changed"), "{refused}");
        // Nothing was changed: there is still the same to do.
        assert!(!nothing_to_do(&house).await);
        house.close().await;
        drop(data);
    }
    // What all rows fit is taken over, and from then on it holds: the way back is a widening, forth again a check.
    let narrow = before.replace("n = { type = \"int\" }", "n = { type = \"int\", max = 2000 }");
    let (house, data, plan) = changed(&root, &narrow).await;
    assert_eq!(plan.misfits, [""; 0]);
    apply(&house, false).await.unwrap();
    house.close().await;
    drop(data);
    let (house, data, plan) = changed(&root, before).await;
    assert_eq!(plan.summary, ["~ column items.n: int from any to 2000 is now int"]);
    apply(&house, false).await.unwrap();
    import(&house, "items", &[json!({"n": 5000})]).await;
    house.close().await;
    drop(data);
    let (house, data, plan) = changed(&root, &narrow).await;
    assert_eq!(plan.misfits.len(), 1, "{:?}", plan.misfits);
    house.close().await;
    drop(data);
    std::fs::remove_dir_all(root).unwrap();
}

async fn values_are_converted_row_by_row(backend: Backend) {
    let before = "state = { type = \"text\" }\ndue = { type = \"text\" }\nqty = { type = \"text\" }\nprice = { type = \"float\" }\nopen = { type = \"text\" }\n\
                  who = { type = \"text\" }\nnick = { type = \"text\", unique = true }\nnote = { type = \"int\" }";
    let app = TestApp::start(backend, &files(before)).await;
    import(&app.house, "customers", &[json!({"id": "01920000-0000-7000-8000-0000000000c1", "code": "Straße"})]).await;
    let row = |at: usize, who: &str| json!({"id": format!("01920000-0000-7000-8000-{at:012}"), "state": "open", "due": "2026-11-22", "qty": "12", "price": 0.1, "open": "true", "who": who, "nick": format!("Nick{at}"), "note": at});
    let lines: Vec<Value> = (0..1_050).map(|at| row(at, "STRASSE")).chain([json!({"id": "01920000-0000-7000-8000-000000009999"})]).collect();
    import(&app.house, "items", &lines).await;
    let (root, clock) = (app.root.clone(), app.clock.clone());
    app.close().await;
    let after = "status = { type = \"enum\", values = [\"open\"], was = \"state\", default = \"open\", required = true }\ndue = { type = \"date\", was = \"due\" }\n\
                 qty = { type = \"int\", was = \"qty\" }\nprice = { type = \"decimal\", precision = 9, scale = 3, was = \"price\" }\nopen = { type = \"bool\", was = \"open\" }\n\
                 customer = { type = \"ref\", to = \"customers\", was = \"who\", by = \"code\" }\nnick = { type = \"text\", unique = true, case = \"fold\" }\n\
                 note = { type = \"list\", of = \"text\", was = \"note\" }";
    let (house, data, plan) = changed(&root, after).await;
    assert_eq!((plan.refusals.as_slice(), plan.misfits.as_slice(), plan.drops.as_slice()), (&[][..], &[][..], &[][..]));
    assert!(plan.sql.iter().any(|sql| sql.starts_with("-- row by row: \"items\".\"_new_customer\" = \"who\"")), "{:?}", plan.sql);
    apply(&house, false).await.unwrap();
    let fields = ["status", "due", "qty", "price", "open", "customer", "nick", "note"];
    let found = rows(&house, &fields).await;
    assert_eq!(found.len(), 1_000, "a page of them");
    for (at, row) in found.iter().enumerate() {
        let (nick, note) = (format!("Nick{at}"), json!([at.to_string()]));
        let expected = json!(["open", "2026-11-22", 12, "0.100", true, "01920000-0000-7000-8000-0000000000c1", nick, note]);
        assert_eq!(json!(row), expected);
    }
    assert!(nothing_to_do(&house).await);
    house.gate.settle().await;
    assert_eq!(house.gate.verify(&house.keys.audit, &[], true).await.unwrap().findings, []);
    house.close().await;
    drop(data);
    // Requests see the same, filters find it, and the folded form is unique; `was` may stay.
    let app = TestApp::open(root, backend, clock).await;
    let ann = app.person("ann", &["admin"]).await;
    let found = ann.get("/api/v1/items?qty=12&open=true&nick=nICK7&page_size=2").await.expect(200).json();
    assert_eq!((&found["items"][0]["nick"], found["items"].as_array().unwrap().len()), (&json!("Nick7"), 1), "{found}");
    ann.post("/api/v1/items", json!({"nick": "NICK7"})).await.expect(409);
    app.finish().await;
}

/// A unique field stays unique, and an index stays there, when values are converted.
async fn a_converted_field_keeps_its_index(backend: Backend) {
    let app = TestApp::start(backend, &files("qty = { type = \"text\", unique = true }\nname = { type = \"text\", required = true }")).await;
    import(&app.house, "items", &[json!({"qty": "12", "name": "Ada"})]).await;
    let (root, clock) = (app.root.clone(), app.clock.clone());
    app.close().await;
    let after = "qty = { type = \"int\", unique = true, was = \"qty\" }\nname = { type = \"text\", required = true, case = \"fold\", unique = true }";
    let (house, data, plan) = changed(&root, after).await;
    assert_eq!((plan.refusals.as_slice(), plan.misfits.as_slice()), (&[][..], &[][..]));
    apply(&house, false).await.unwrap();
    assert!(nothing_to_do(&house).await);
    house.close().await;
    drop(data);
    let app = TestApp::open(root, backend, clock).await;
    let ann = app.person("ann", &["admin"]).await;
    for (qty, name, status) in [(12, "Bob", 409), (13, "ADA", 409), (13, "Bob", 201), (13, "Eve", 409)] {
        assert_eq!(ann.post("/api/v1/items", json!({"qty": qty, "name": name})).await.status, status, "{qty} {name}");
    }
    app.finish().await;
}

async fn a_conversion_is_whole_or_not_at_all(backend: Backend) {
    let before = "qty = { type = \"text\" }\nwho = { type = \"text\" }\nother = { type = \"uuid\" }";
    let app = TestApp::start(backend, &files(before)).await;
    import(&app.house, "customers", &[json!({"id": "01920000-0000-7000-8000-0000000000c1", "code": "c1"})]).await;
    import(
        &app.house,
        "items",
        &[json!({"qty": "12", "who": "c1"}), json!({"qty": "twelve", "who": "c9", "other": "01920000-0000-7000-8000-0000000000c2"})],
    )
    .await;
    let root = app.close().await;
    for (to, why) in [
        ("qty = { type = \"int\", was = \"qty\" }", "items.qty: 1 of 2 rows does not fit: must be a whole number ("),
        (
            "who = { type = \"ref\", to = \"customers\", was = \"who\", by = \"code\" }",
            "items.who: 1 of 2 rows does not fit: no row of customers has that code (",
        ),
        (
            "other = { type = \"ref\", to = \"customers\", was = \"other\" }",
            "items.other: 1 of 2 rows does not fit: no row of customers has that id (",
        ),
    ] {
        let (name, _) = to.split_once(' ').unwrap();
        let fields: Vec<&str> = before.lines().map(|line| if line.starts_with(name) { to } else { line }).collect();
        let (house, data, plan) = changed(&root, &fields.join("\n")).await;
        let misfits = &plan.misfits;
        assert!(misfits.len() == 1 && misfits[0].starts_with(why), "{misfits:?}");
        assert!(apply(&house, true).await.unwrap_err().contains(why));
        house.close().await;
        drop(data);
    }
    let (house, data, plan) = changed(&root, before).await;
    assert_eq!(plan.summary, [""; 0]);
    let mut found = rows(&house, &["qty", "who"]).await;
    found.sort_by_key(|row| row[0].to_string());
    assert_eq!(found, [[json!("12"), json!("c1")], [json!("twelve"), json!("c9")]]);
    house.close().await;
    drop(data);
    std::fs::remove_dir_all(root).unwrap();
}

async fn a_database_from_before_takes_the_types_as_they_stand(backend: Backend) {
    let before = "price = { type = \"decimal\", precision = 10, scale = 2 }";
    let app = TestApp::start(backend, &files(before)).await;
    import(&app.house, "items", &[json!({"price": "12.50"})]).await;
    let root = app.close().await;
    // As it was when nothing but storage was remembered.
    let forget = |text: &str| {
        let mut tables: Value = serde_json::from_str(text).unwrap();
        for column in tables.as_array_mut().unwrap().iter_mut().flat_map(|table| table["columns"].as_array_mut().unwrap()) {
            column.as_object_mut().unwrap().retain(|key, _| !matches!(key.as_str(), "declared" | "by"));
        }
        tables.to_string()
    };
    match backend {
        Backend::Sqlite => {
            let connection = rusqlite::Connection::open(root.join(".haechi/haechi.db")).unwrap();
            let text: String = connection.query_row("SELECT tables FROM _migrations", [], |row| row.get(0)).unwrap();
            connection.execute("UPDATE _migrations SET tables = ?", [forget(&text)]).unwrap();
        }
        Backend::Postgres => {
            let client = client(&root).await;
            let text: String = client.query_one("SELECT tables FROM _migrations", &[]).await.unwrap().get(0);
            client.execute("UPDATE _migrations SET tables = $1", &[&forget(&text)]).await.unwrap();
        }
    }
    let (house, data, plan) = changed(&root, before).await;
    assert!(plan.only_remembers && plan.misfits.is_empty());
    let summary = &plan.summary;
    assert!(summary.len() == 1 && summary[0].starts_with("~ the types of "), "{summary:?}");
    apply(&house, false).await.unwrap();
    assert!(nothing_to_do(&house).await);
    house.gate.settle().await;
    let (lines, _) = house.gate.export_entries(&house.keys.audit, 0).await.unwrap();
    assert!(String::from_utf8(lines).unwrap().contains("are remembered from now on, as the folder declares them"));
    house.close().await;
    drop(data);
    let (house, data, plan) = changed(&root, &before.replace("scale = 2", "scale = 1")).await;
    assert_eq!(plan.refusals.len(), 1);
    house.close().await;
    drop(data);
    std::fs::remove_dir_all(root).unwrap();
}

async fn what_was_kept_under_the_old_type_is_not_read_under_the_new_one(backend: Backend) {
    let before = "price = { type = \"decimal\", precision = 10, scale = 2 }\nword = { type = \"text\" }";
    let app = TestApp::start(backend, &files(before)).await;
    let clock = app.clock.clone();
    let ann = app.person("ann", &["admin"]).await;
    for at in 0..5 {
        ann.create("items", json!({"price": format!("{at}.50")})).await;
    }
    let list = "/api/v1/items?page_size=2&order_by=price";
    let token = ann.get(list).await.expect(200).json()["next_page_token"].as_str().unwrap().to_owned();
    let next = format!("{list}&page_token={token}");
    ann.get(&next).await.expect(200);
    // Parameters in another order are the same question.
    ann.get(&format!("/api/v1/items?page_token={token}&order_by=price&page_size=3")).await.expect(200);
    // What was created before has its position: the stream begins after it.
    app.house.gate.settle().await;
    let mut events = ann.watch("/api/v1/items:watch", None).await.unwrap_or_else(|reply| panic!("{}", reply.text()));
    events.next().await;
    let id = ann.create("items", json!({"price": "9.50"})).await;
    events.next().await;
    let seen = events.last.clone();
    ann.patch(&format!("/api/v1/items/{id}"), json!({"word": "later"})).await.expect(200);
    drop(events);
    let user = ann;
    let root = app.close().await;
    // A column more: what was kept is read.
    std::fs::write(root.join(ITEMS), format!("[fields]\n{before}\nmore = {{ type = \"int\", default = 3 }}\n")).unwrap();
    let app = TestApp::open(root, backend, clock.clone()).await;
    let ann = haechi_testkit::Person::with_token(&app, &user);
    ann.get(&next).await.expect(200);
    let mut events = ann.watch("/api/v1/items:watch", Some(&seen)).await.unwrap_or_else(|reply| panic!("{}", reply.text()));
    events.next().await;
    let (kind, data) = events.next().await.unwrap();
    assert_eq!((kind.as_str(), &data["record"]["word"], &data["record"]["more"]), ("update", &json!("later"), &json!(3)), "{data}");
    drop(events);
    let root = app.close().await;
    // Another type: it is not.
    std::fs::write(
        root.join(ITEMS),
        format!("[fields]\n{}\n", before.replace("scale = 2", "scale = 4") + "\nmore = { type = \"int\", default = 3 }"),
    )
    .unwrap();
    let app = TestApp::open(root, backend, clock).await;
    let ann = haechi_testkit::Person::with_token(&app, &user);
    let refused = ann.get(&next).await.expect(400);
    assert_eq!(refused.problem(), "invalid-page-token");
    let gone = ann.watch("/api/v1/items:watch", Some(&seen)).await.err().unwrap();
    assert_eq!((gone.status, gone.problem().as_str()), (410, "position-gone"));
    app.finish().await;
}
