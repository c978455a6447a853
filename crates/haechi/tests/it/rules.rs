//! Rules about change: what is set once, and which state follows which, by every door and under every race.

use crate::{
    grpc::Client,
    process::{done, haechi},
};
use haechi_testkit::{Backend, Person, TestApp, on_both};
use serde_json::{Value, json};

on_both!(
    what_is_set_once_stays,
    states_follow_each_other,
    a_state_is_left_once,
    the_written_fields_decide,
    a_row_is_handed_over,
    values_keep_their_bounds,
    the_server_says_who_and_when,
    a_class_may_be_written_apart,
    rows_keep_their_checks,
    a_new_check_is_asked_of_the_rows,
    words_have_an_order,
    numbers_follow_each_other
);

const FILES: &[(&str, &str)] = &[
    ("haechi.toml", "roles = [\"member\"]\n"),
    ("collections/projects.toml", "[fields]\nname = { type = \"text\" }\n"),
    (
        "collections/invoices.toml",
        "[fields]\nproject = { type = \"ref\", to = \"projects\", required = true, write_once = true }\n\
         number = { type = \"text\", write_once = true }\nnote = { type = \"text\" }\n\
         state = { type = \"enum\", values = [\"draft\", \"sent\", \"paid\", \"void\"], default = \"draft\", required = true, \
         transitions = { draft = [\"sent\"], sent = [\"paid\", \"void\"] } }\n\
         mood = { type = \"enum\", values = [\"good\", \"bad\"], initial = [\"good\"], transitions = { good = [\"bad\"] } }\n",
    ),
    (
        "policies/main.cedar",
        "permit (principal in Role::\"member\", action in [Action::\"list\", Action::\"read\", Action::\"create\", Action::\"update\", Action::\"delete\"], resource);\n",
    ),
];

async fn start(backend: Backend) -> (TestApp, Person, String, String) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let (one, two) = (kim.create("projects", json!({ "name": "one" })).await, kim.create("projects", json!({ "name": "two" })).await);
    (app, kim, one, two)
}

fn codes(problem: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    problem["errors"].as_array().into_iter().flatten().map(|error| (text(&error["pointer"]), text(&error["code"]))).collect()
}

/// Every door refuses the change, and the same value again is none.
async fn what_is_set_once_stays(backend: Backend) {
    let (app, kim, one, two) = start(backend).await;
    let id = kim.create("invoices", json!({ "project": one, "number": "7" })).await;
    let path = format!("/api/v1/invoices/{id}");
    for (field, value) in [("project", json!(two)), ("number", json!("8")), ("number", Value::Null)] {
        let refused = kim.patch(&path, json!({ field: value, "note": "not kept" })).await.expect(422).json();
        assert_eq!(codes(&refused), [(format!("/{field}"), "write_once".to_owned())], "{refused}");
        let batch = json!({ "operations": [{ "update": "invoices", "id": id, "data": { field: value } }] });
        let refused = kim.post("/api/v1:batch", batch).await.expect(422).json();
        assert_eq!(codes(&refused), [(format!("/operations/0/data/{field}"), "write_once".to_owned())], "{refused}");
        let query = "mutation($id: ID!, $input: InvoiceUpdateInput!) { update_invoice(id: $id, input: $input) { id errors { pointer code } } }";
        let refused = kim.post("/graphql", json!({ "query": query, "variables": { "id": id, "input": { field: value } } })).await.expect(200).json();
        assert_eq!(refused["data"]["update_invoice"]["errors"][0]["code"], "write_once", "{refused}");
    }
    let client = Client::new(&app);
    let refused = client.call(&kim, "UpdateInvoice", json!({ "invoice": { "id": id, "number": "9" }, "update_mask": "number" })).await;
    assert!(format!("{refused:?}").contains("write_once"), "{refused:?}");
    kim.patch(&path, json!({ "project": one, "number": "7", "note": "kept" })).await.expect(200);
    // What was left out when it was created stays unset.
    let bare = kim.create("invoices", json!({ "project": one })).await;
    kim.patch(&format!("/api/v1/invoices/{bare}"), json!({ "number": "1" })).await.expect(422);
    kim.patch(&format!("/api/v1/invoices/{bare}"), json!({ "number": null })).await.expect(200);
    let now = kim.get(&path).await.expect(200).json();
    assert_eq!((&now["project"], &now["number"], &now["note"]), (&json!(one), &json!("7"), &json!("kept")));
    app.finish().await;
}

/// A record begins where it may begin, and goes on as the folder says; a refusal names what may follow.
async fn states_follow_each_other(backend: Backend) {
    let (app, kim, one, _) = start(backend).await;
    let refused = kim.post("/api/v1/invoices", json!({ "project": one, "state": "paid" })).await.expect(422).json();
    assert_eq!(
        (codes(&refused), &refused["errors"][0]["detail"]),
        (vec![("/state".to_owned(), "not_initial".to_owned())], &json!("a new record begins with draft"))
    );
    kim.post("/api/v1/invoices", json!({ "project": one, "mood": "bad" })).await.expect(422);
    let id = kim.create("invoices", json!({ "project": one, "state": "draft" })).await;
    let path = format!("/api/v1/invoices/{id}");
    let refused = kim.patch(&path, json!({ "state": "paid" })).await.expect(409);
    assert_eq!(refused.problem(), "not-a-transition");
    assert_eq!(refused.json()["errors"][0]["detail"], "is draft, after which sent may follow");
    let refused = kim
        .send("PATCH", &path, &[("content-type", "application/json"), ("accept-language", "ko")], json!({ "state": "void" }).to_string().into())
        .await;
    assert!(refused.expect(409).text().contains("현재 draft이며"));
    kim.patch(&path, json!({ "state": "draft" })).await.expect(200);
    kim.patch(&path, json!({ "state": "sent", "mood": "good" })).await.expect(200);
    let refused = kim.patch(&path, json!({ "state": "draft" })).await.expect(409).json();
    assert_eq!(refused["errors"][0]["detail"], "is sent, after which paid or void may follow");
    // A batch goes through states in its order, or not at all.
    let step = |state: &str| json!({ "update": "invoices", "id": id, "data": { "state": state } });
    kim.post("/api/v1:batch", json!({ "operations": [step("paid"), step("void")] })).await.expect(409);
    assert_eq!(kim.get(&path).await.json()["state"], "sent");
    kim.patch(&path, json!({ "state": "paid" })).await.expect(200);
    let refused = kim.patch(&path, json!({ "state": "void" })).await.expect(409).json();
    assert_eq!(refused["errors"][0]["detail"], "is paid, after which nothing may follow");
    // A word is not taken away, and one that is not there begins as in a new record.
    kim.patch(&path, json!({ "mood": null })).await.expect(409);
    let other = kim.create("invoices", json!({ "project": one })).await;
    let refused = kim.patch(&format!("/api/v1/invoices/{other}"), json!({ "mood": "bad" })).await.expect(409).json();
    assert_eq!(refused["errors"][0]["detail"], "begins with good");
    kim.patch(&format!("/api/v1/invoices/{other}"), json!({ "mood": "good" })).await.expect(200);
    app.finish().await;
}

/// RACE-40 [V2.3.1]: of fifty who leave a state at once, for one of two others, those who are too late are told so.
async fn a_state_is_left_once(backend: Backend) {
    let (app, kim, one, _) = start(backend).await;
    let id = kim.create("invoices", json!({ "project": one })).await;
    let path = format!("/api/v1/invoices/{id}");
    kim.patch(&path, json!({ "state": "sent" })).await.expect(200);
    let mut racing = Vec::new();
    for at in 0..50 {
        let (kim, path, state) = (kim.clone(), path.clone(), if at % 2 == 0 { "paid" } else { "void" });
        racing.push(tokio::spawn(async move {
            loop {
                let reply = kim.patch(&path, json!({ "state": state })).await;
                // Where too many wait for the row, the same is asked again.
                if reply.status != 503 && reply.status != 429 {
                    return (state, reply.status);
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }));
    }
    let mut answers = Vec::new();
    for one in racing {
        answers.push(one.await.unwrap());
    }
    let now = kim.get(&path).await.expect(200).json()["state"].as_str().unwrap().to_owned();
    for (state, status) in &answers {
        assert_eq!(*status, if *state == now { 200 } else { 409 }, "{now}: {answers:?}");
    }
    app.finish().await;
}

/// Who may change which fields, said by policies of the fields that are written.
const BY_FIELDS: &str = r#"
permit (principal in Role::"member", action in [Action::"list", Action::"read", Action::"delete"], resource);
permit (principal in Role::"member", action == Action::"create", resource is projects);
// A new invoice names its project and nothing that is decided later.
permit (principal in Role::"member", action == Action::"create", resource is invoices) when { ["project", "note"].containsAll(context.fields) };
permit (principal in Role::"member", action == Action::"update", resource is invoices) when { ["note"].containsAll(context.fields) };
permit (principal in Role::"clerk", action in [Action::"list", Action::"read", Action::"update"], resource is invoices) when { resource.state == "draft" };
// Nobody writes the state together with anything else.
forbid (principal, action == Action::"update", resource is invoices) when { context.fields.contains("state") } unless { context.fields == ["state"] };
"#;

/// ABUSE-62 [V8.2.3]: the fields that a request writes decide, at every door, also when a value stays the same.
async fn the_written_fields_decide(backend: Backend) {
    let mut files: Vec<(&str, String)> = FILES.iter().map(|(path, text)| (*path, (*text).to_owned())).collect();
    files[0].1 = "roles = [\"member\", \"clerk\"]\n".to_owned();
    files[3].1 = BY_FIELDS.to_owned();
    let app = TestApp::start(backend, &files).await;
    let (kim, ann) = (app.person("kim", &["member"]).await, app.person("ann", &["clerk"]).await);
    let one = kim.create("projects", json!({ "name": "one" })).await;
    for (body, status) in [
        (json!({ "project": one, "number": "1" }), 403),
        (json!({ "project": one, "state": "draft" }), 403),
        (json!({ "project": one, "note": "n" }), 201),
    ] {
        assert_eq!(kim.post("/api/v1/invoices", body.clone()).await.status, status, "{body}");
    }
    let id = kim.create("invoices", json!({ "project": one })).await;
    let path = format!("/api/v1/invoices/{id}");
    kim.patch(&path, json!({ "note": "a" })).await.expect(200);
    for body in [json!({ "note": "a", "number": null }), json!({ "state": "draft" }), json!({ "mood": "good" })] {
        kim.patch(&path, body.clone()).await.expect(403);
        let batch = json!({ "operations": [{ "update": "invoices", "id": id, "data": body }] });
        kim.post("/api/v1:batch", batch).await.expect(403);
        let query = "mutation($id: ID!, $input: InvoiceUpdateInput!) { update_invoice(id: $id, input: $input) { id errors { code } } }";
        let refused = kim.post("/graphql", json!({ "query": query, "variables": { "id": id, "input": body } })).await.json();
        assert!(refused.to_string().contains("orbidden"), "{refused}");
    }
    // A clerk writes any field of a draft, but the state alone.
    ann.patch(&path, json!({ "note": "b", "mood": "good" })).await.expect(200);
    ann.patch(&path, json!({ "note": "b", "state": "sent" })).await.expect(403);
    // The row as it becomes is asked, too: it would be no draft any more, and the clerk's permit is for drafts.
    ann.patch(&path, json!({ "state": "sent" })).await.expect(403);
    ann.patch(&path, json!({ "state": "draft" })).await.expect(200);
    app.finish().await;
}

/// Reach, explanations and policy tests say that it depends on the fields.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_know_written_fields() {
    let mut files: Vec<(&str, String)> = FILES.iter().map(|(path, text)| (*path, (*text).to_owned())).collect();
    files[0].1 = "roles = [\"member\", \"clerk\"]\n".to_owned();
    files[3].1 = BY_FIELDS.to_owned();
    let root = haechi_testkit::fresh_folder(Backend::Sqlite, &files).await;
    let matrix = done(&haechi(&root, &["check", "--json"]));
    assert!(matrix.contains("invoices"), "{matrix}");
    std::fs::create_dir_all(root.join("policies/tests")).unwrap();
    let case = |who: &str, with: &str, expect: &str| {
        format!("[[case]]\nas = \"{who}\"\ndo = \"update\"\non = \"invoices/one\"\nwith = {{ {with} }}\nexpect = \"{expect}\"\n")
    };
    let tests = format!(
        "[people]\nkim = {{ roles = [\"member\"] }}\nann = {{ roles = [\"clerk\"] }}\n[rows.invoices]\none = {{ state = \"draft\" }}\n{}{}{}{}",
        case("kim", "note = \"x\"", "allowed"),
        case("kim", "note = \"x\", mood = \"good\"", "denied"),
        case("ann", "mood = \"good\"", "allowed"),
        case("ann", "state = \"sent\"", "denied"),
    );
    std::fs::write(root.join("policies/tests/fields.toml"), tests).unwrap();
    let said = done(&haechi(&root, &["test"]));
    assert!(said.contains("4 cases pass, 0 fail"), "{said}");
    // A policy of reading has no written fields.
    let main = root.join("policies/main.cedar");
    let text = std::fs::read_to_string(&main).unwrap();
    std::fs::write(&main, format!("{text}permit (principal, action == Action::\"read\", resource) when {{ context.fields.isEmpty() }};\n")).unwrap();
    let refused = haechi(&root, &["check"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("fields"), "{refused:?}");
    std::fs::write(&main, text).unwrap();
    done(&haechi(&root, &["migrate", "apply"]));
    done(&haechi(&root, &["user", "add", "kim@example.com", "--role", "member"]));
    let said = done(&haechi(&root, &["explain", "--as", "kim", "update", "invoices"]));
    assert!(said.contains("depends on the row") || said.contains("the rows of which the conditions hold"), "{said}");
}

/// A lead hands the project over and does nothing else by that; who is lead renames it; what is locked stays.
const HAND_OVER: &[(&str, &str)] = &[
    ("haechi.toml", "roles = []\n"),
    (
        "collections/projects.toml",
        "[fields]\nname = { type = \"text\" }\nlead = { type = \"ref\", to = \"users\" }\nlocked = { type = \"bool\", default = false, required = true }\n",
    ),
    (
        "policies/main.cedar",
        r#"
permit (principal is users, action in [Action::"list", Action::"read", Action::"create"], resource is projects);
permit (principal is users, action == Action::"read", resource is users);
permit (principal is users, action == Action::"update", resource is projects) when { resource has lead && resource.lead == principal };
@id("hand-over") @decides("before")
permit (principal is users, action == Action::"update", resource is projects) when { resource has lead && resource.lead == principal && ["lead"].containsAll(context.fields) };
forbid (principal, action == Action::"update", resource is projects) when { resource.locked };
"#,
    ),
];

/// ABUSE-63 [V8.2.1]: a permit of the row as it was lets go of a row, once, and of nothing beside.
async fn a_row_is_handed_over(backend: Backend) {
    let app = TestApp::start(backend, HAND_OVER).await;
    let (kim, lee, ann) = (app.person("kim", &[]).await, app.person("lee", &[]).await, app.person("ann", &[]).await);
    let id = kim.create("projects", json!({ "name": "a", "lead": kim.id })).await;
    let path = format!("/api/v1/projects/{id}");
    lee.patch(&path, json!({ "lead": lee.id })).await.expect(403);
    kim.patch(&path, json!({ "lead": lee.id, "name": "b" })).await.expect(403);
    kim.patch(&path, json!({ "name": "b" })).await.expect(200);
    // Two in one batch: the second is asked of a row that is not theirs any more.
    let hand = |to: &Person| json!({ "update": "projects", "id": id, "data": { "lead": to.id } });
    kim.post("/api/v1:batch", json!({ "operations": [hand(&lee), hand(&ann)] })).await.expect(403);
    kim.patch(&path, json!({ "lead": lee.id })).await.expect(200);
    kim.patch(&path, json!({ "lead": kim.id })).await.expect(403);
    kim.patch(&path, json!({ "name": "c" })).await.expect(403);
    // The same through the other doors.
    let query = "mutation($id: ID!, $input: ProjectUpdateInput!) { update_project(id: $id, input: $input) { id errors { code } } }";
    let ask = async |person: &Person, input: Value| {
        person.post("/graphql", json!({ "query": query, "variables": { "id": id, "input": input } })).await.json()
    };
    assert!(ask(&kim, json!({ "lead": kim.id })).await.to_string().contains("orbidden"));
    assert_eq!(ask(&lee, json!({ "lead": kim.id })).await["data"]["update_project"], json!({ "id": id, "errors": [] }));
    let client = Client::new(&app);
    let handed = client.call(&kim, "UpdateProject", json!({ "project": { "id": id, "lead": lee.id }, "update_mask": "lead" })).await;
    assert!(handed.is_ok(), "{handed:?}");
    lee.patch(&path, json!({ "lead": kim.id })).await.expect(200);
    // Of two who are given it at once, one gets it.
    for _ in 0..10 {
        let before = kim.create("projects", json!({ "name": "race", "lead": kim.id })).await;
        let path = format!("/api/v1/projects/{before}");
        let (first, second) = tokio::join!(kim.patch(&path, json!({ "lead": lee.id })), kim.patch(&path, json!({ "lead": ann.id })));
        let mut statuses = [first.status, second.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 403], "{} {}", first.text(), second.text());
    }
    // Forbids hold of the row as it was, and of the row as it becomes.
    kim.patch(&path, json!({ "locked": true })).await.expect(403);
    let locked = kim.create("projects", json!({ "lead": kim.id, "locked": true })).await;
    kim.patch(&format!("/api/v1/projects/{locked}"), json!({ "lead": lee.id })).await.expect(403);
    app.finish().await;
}

/// The annotation is understood or refused, and policy tests decide by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hand_overs_are_tested_without_a_server() {
    let root = haechi_testkit::fresh_folder(Backend::Sqlite, HAND_OVER).await;
    let case = |who: &str, with: &str, expect: &str| {
        format!("[[case]]\nas = \"{who}\"\ndo = \"update\"\non = \"projects/one\"\nwith = {{ {with} }}\nexpect = \"{expect}\"\n")
    };
    std::fs::create_dir_all(root.join("policies/tests")).unwrap();
    let tests = format!(
        "[people]\nkim = {{}}\nlee = {{}}\n[rows.projects]\none = {{ lead = \"kim\" }}\n{}{}{}{}{}",
        case("kim", "lead = \"lee\"", "allowed"),
        case("kim", "lead = \"lee\", name = \"x\"", "denied"),
        case("kim", "name = \"x\"", "allowed"),
        case("kim", "locked = true", "denied"),
        case("lee", "lead = \"lee\"", "denied"),
    );
    std::fs::write(root.join("policies/tests/hand.toml"), tests).unwrap();
    let said = done(&haechi(&root, &["test"]));
    assert!(said.contains("5 cases pass, 0 fail"), "{said}");
    let main = root.join("policies/main.cedar");
    let text = std::fs::read_to_string(&main).unwrap();
    for (from, to) in [
        (
            "@decides(\"before\")\npermit (principal is users, action == Action::\"update\"",
            "@decides(\"after\")\npermit (principal is users, action == Action::\"update\"",
        ),
        ("forbid (", "@decides(\"before\") forbid ("),
        ("permit (principal is users, action == Action::\"read\"", "@decides(\"before\") permit (principal is users, action == Action::\"read\""),
    ] {
        assert!(text.contains(from), "{from}");
        std::fs::write(&main, text.replace(from, to)).unwrap();
        let refused = haechi(&root, &["check"]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("bad-annotation") && said.contains("whose head names `update` alone"), "{said}");
    }
}

/// Orders with bounds, with fields that the server sets, and with a class that `read` covers and few may write.
const ORDERS: &[(&str, &str)] = &[
    (
        "haechi.toml",
        "roles = [\"member\", \"clerk\"]\n[classes]\nbilling = { like = \"internal\" }\n\
         [anonymous]\nreach = [\"orders:create\", \"orders:read\", \"orders:update\"]\n",
    ),
    (
        "collections/orders.toml",
        "[fields]\nprice = { type = \"decimal\", precision = 8, min = \"0.01\", max = 1000 }\n\
         due = { type = \"date\", min = \"2026-01-01\", max = \"2026-12-31\" }\n\
         starts = { type = \"datetime\", min = \"2026-01-01T00:00:00Z\" }\n\
         author = { type = \"ref\", to = \"users\", default = \"me\" }\n\
         changed_by = { type = \"ref\", to = \"users\", on_update = \"me\" }\n\
         changed = { type = \"datetime\", on_update = \"now\" }\nday = { type = \"date\", on_update = \"today\" }\n\
         vat = { type = \"text\", class = \"billing\" }\nnote = { type = \"text\" }\n",
    ),
    (
        "policies/main.cedar",
        "permit (principal, action in [Action::\"list\", Action::\"read\", Action::\"create\", Action::\"update\"], resource is orders);\n\
         permit (principal is users, action == Action::\"read\", resource is users);\n\
         permit (principal in Role::\"clerk\", action == Action::\"write_billing\", resource is orders) unless { resource has note && resource.note == \"closed\" };\n",
    ),
];

/// Bounds of decimals, days and times hold at the doors, and a filter may ask beyond them.
async fn values_keep_their_bounds(backend: Backend) {
    let app = TestApp::start(backend, ORDERS).await;
    let kim = app.person("kim", &["member"]).await;
    let id = kim.create("orders", json!({ "price": "0.01", "due": "2026-12-31", "starts": "2026-01-01T00:00:00Z" })).await;
    kim.create("orders", json!({ "price": "1000", "starts": "9999-12-31T23:59:59Z" })).await;
    for (field, value, detail) in [
        ("price", "0", "must be from 0.01 to 1000.00"),
        ("price", "1000.01", "must be from 0.01 to 1000.00"),
        ("due", "2025-12-31", "must be from 2026-01-01 to 2026-12-31"),
        ("due", "2027-01-01", "must be from 2026-01-01 to 2026-12-31"),
        ("starts", "2025-12-31T23:59:59.999Z", "must be from 2026-01-01T00:00:00.000Z to any"),
    ] {
        let refused = kim.post("/api/v1/orders", json!({ field: value })).await.expect(422).json();
        assert_eq!((&refused["errors"][0]["code"], &refused["errors"][0]["detail"]), (&json!("out_of_range"), &json!(detail)), "{refused}");
        kim.patch(&format!("/api/v1/orders/{id}"), json!({ field: value })).await.expect(422);
        let query = "mutation($input: OrderCreateInput!) { create_order(input: $input) { errors { code } } }";
        let refused = kim.post("/graphql", json!({ "query": query, "variables": { "input": { field: value } } })).await.json();
        assert!(refused.to_string().contains("out_of_range"), "{refused}");
    }
    assert_eq!(kim.get("/api/v1/orders?price=5000").await.expect(200).json()["items"], json!([]));
    for (filter, count) in [("due<2027-06-01", 1), ("price>5000", 0), ("starts>%222020-01-01T00:00:00Z%22", 2)] {
        let found = kim.get(&format!("/api/v1/orders?filter={}", filter.replace('<', "%3C").replace('>', "%3E"))).await.expect(200).json();
        assert_eq!(found["items"].as_array().map(Vec::len), Some(count), "{filter}: {found}");
    }
    app.finish().await;
}

/// The server says who wrote and when; nobody else does.
async fn the_server_says_who_and_when(backend: Backend) {
    let app = TestApp::start(backend, ORDERS).await;
    let (kim, lee) = (app.person("kim", &["member"]).await, app.person("lee", &["member"]).await);
    let id = kim.create("orders", json!({ "note": "a" })).await;
    let path = format!("/api/v1/orders/{id}");
    let made = kim.get(&path).await.expect(200).json();
    assert_eq!((&made["author"], &made["changed_by"], &made["changed"]), (&json!(kim.id), &Value::Null, &Value::Null));
    for field in ["changed_by", "changed", "day"] {
        let value = if field == "changed_by" { json!(kim.id) } else { json!("2026-05-05") };
        assert_eq!(codes(&kim.patch(&path, json!({ field: value })).await.expect(422).json()), [(format!("/{field}"), "read_only".to_owned())]);
        kim.post("/api/v1/orders", json!({ field: value })).await.expect(422);
    }
    let changed = lee.patch(&path, json!({ "note": "b" })).await.expect(200).json();
    assert_eq!((&changed["author"], &changed["changed_by"], &changed["changed"]), (&json!(kim.id), &json!(lee.id), &changed["update_time"]));
    assert_eq!(changed["day"].as_str(), changed["update_time"].as_str().map(|time| &time[..10]));
    let batch = json!({ "operations": [{ "update": "orders", "id": id, "data": { "note": "c" } }, { "create": "orders", "data": {} }] });
    kim.post("/api/v1:batch", batch).await.expect(200);
    assert_eq!(kim.get(&path).await.json()["changed_by"], json!(kim.id));
    // Somebody else may be named where the rules let them; a caller without credentials is nobody.
    let other = kim.create("orders", json!({ "author": lee.id })).await;
    assert_eq!(kim.get(&format!("/api/v1/orders/{other}")).await.json()["author"], json!(lee.id));
    let nobody = app.anonymous();
    let bare = nobody.create("orders", json!({ "note": "n" })).await;
    nobody.patch(&path, json!({ "note": "d" })).await.expect(200);
    assert_eq!(kim.get(&format!("/api/v1/orders/{bare}")).await.json()["author"], Value::Null);
    assert_eq!(kim.get(&path).await.json()["changed_by"], Value::Null);
    app.finish().await;
}

/// ABUSE-64 [V8.2.3]: a class like `internal` is read with the row, and written by those whom its own action lets.
async fn a_class_may_be_written_apart(backend: Backend) {
    let app = TestApp::start(backend, ORDERS).await;
    let (kim, ann) = (app.person("kim", &["member"]).await, app.person("ann", &["clerk"]).await);
    let id = ann.create("orders", json!({ "vat": "AT1" })).await;
    let path = format!("/api/v1/orders/{id}");
    let seen = kim.get(&path).await.expect(200).json();
    assert_eq!((&seen["vat"], seen.get("_masked")), (&json!("AT1"), None), "{seen}");
    for who in [&kim, &app.anonymous()] {
        for reply in [who.patch(&path, json!({ "vat": "AT2" })).await, who.post("/api/v1/orders", json!({ "vat": "AT2" })).await] {
            let refused = reply.expect(403).json();
            assert_eq!(codes(&refused), [("/vat".to_owned(), "forbidden".to_owned())], "{refused}");
        }
        let batch = json!({ "operations": [{ "update": "orders", "id": id, "data": { "vat": "AT1" } }] });
        who.post("/api/v1:batch", batch).await.expect(403);
    }
    kim.patch(&path, json!({ "note": "n" })).await.expect(200);
    ann.patch(&path, json!({ "vat": "AT3" })).await.expect(200);
    // What one writes at once is decided of the row as it becomes, too.
    ann.patch(&path, json!({ "vat": "AT4", "note": "closed" })).await.expect(403);
    // Its value stands in the ledger as others do, and reading it leaves no entry.
    kim.patch(&path, json!({ "note": "closed" })).await.expect(200);
    ann.patch(&path, json!({ "vat": "AT5" })).await.expect(403);
    let (ledger, found) = (app.ledger().await, kim.get("/api/v1/orders?filter=vat%3D%22AT3%22").await.expect(200).json());
    assert_eq!(found["items"].as_array().map(Vec::len), Some(1));
    assert!(ledger.iter().any(|entry| entry.to_string().contains("AT3")), "the value stands in the ledger");
    app.finish().await;
}

/// Shifts that end after they start, and whose price is no higher than the list's.
const SHIFTS: &[(&str, &str)] = &[
    ("haechi.toml", "roles = []\n[auth]\nsign_up = \"open\"\nsign_up_fields = [\"age\"]\n"),
    ("collections/users.toml", "[fields]\nage = { type = \"int\" }\n[[checks]]\nthat = \"age >= 18\"\nmessage = \"must be of age\"\n"),
    (
        "collections/shifts.toml",
        "[fields]\nstarts = { type = \"datetime\" }\nends = { type = \"datetime\" }\nday = { type = \"date\" }\n\
         price = { type = \"decimal\" }\nlist_price = { type = \"decimal\" }\nmark = { type = \"text\", case = \"fold\" }\n\
         tags = { type = \"list\", of = \"text\" }\n\
         [[checks]]\nthat = \"ends > starts\"\nmessage = \"a shift ends after it starts\"\n\
         [[checks]]\nthat = \"NOT (price > list_price) AND price != 13\"\n\
         [[checks]]\nthat = \"mark = 'day' OR mark = 'night'\"\n\
         [[checks]]\nthat = \"NOT tags:secret\"\n",
    ),
    (
        "policies/main.cedar",
        "permit (principal is users, action in [Action::\"list\", Action::\"read\", Action::\"create\", Action::\"update\"], resource is shifts);\npermit (principal is users, action == Action::\"read\", resource is users);\n",
    ),
];

/// Checks hold at every door, of what a row becomes; a value that is not there breaks none.
async fn rows_keep_their_checks(backend: Backend) {
    let app = TestApp::start(backend, SHIFTS).await;
    let kim = app.person("kim", &[]).await;
    let time = |hour: u32| format!("2026-05-05T{hour:02}:00:00Z");
    let id = kim.create("shifts", json!({ "starts": time(8), "price": "5.00", "mark": "DAY" })).await;
    let path = format!("/api/v1/shifts/{id}");
    let broken = |pointer: &str, detail: &str| (vec![(pointer.to_owned(), "check".to_owned())], json!(detail));
    for (body, pointer, detail) in [
        (json!({ "ends": time(8) }), "/ends", "a shift ends after it starts"),
        (json!({ "starts": time(9), "ends": time(7) }), "/ends", "a shift ends after it starts"),
        (json!({ "list_price": "4.99" }), "/list_price", "must hold: NOT (price > list_price) AND price != 13"),
        (json!({ "price": "13" }), "/price", "must hold: NOT (price > list_price) AND price != 13"),
        (json!({ "mark": "dusk" }), "/mark", "must hold: mark = 'day' OR mark = 'night'"),
        (json!({ "tags": ["a", "secret"] }), "/tags", "must hold: NOT tags:secret"),
    ] {
        let refused = kim.patch(&path, body.clone()).await.expect(422).json();
        assert_eq!((codes(&refused), refused["errors"][0]["detail"].clone()), broken(pointer, detail), "{refused}");
        let batch = json!({ "operations": [{ "update": "shifts", "id": id, "data": body }] });
        let refused = kim.post("/api/v1:batch", batch).await.expect(422).json();
        assert_eq!(codes(&refused), [(format!("/operations/0/data{pointer}"), "check".to_owned())], "{refused}");
        let query = "mutation($id: ID!, $input: ShiftUpdateInput!) { update_shift(id: $id, input: $input) { errors { code pointer } } }";
        let refused = kim.post("/graphql", json!({ "query": query, "variables": { "id": id, "input": body } })).await.json();
        assert_eq!(refused["data"]["update_shift"]["errors"][0]["code"], "check", "{refused}");
    }
    let refused = kim.post("/api/v1/shifts", json!({ "starts": time(8), "ends": time(7) })).await.expect(422).json();
    assert_eq!((codes(&refused), refused["errors"][0]["detail"].clone()), broken("/ends", "a shift ends after it starts"));
    kim.patch(&path, json!({ "ends": time(9), "list_price": "5", "mark": "Night", "tags": ["public"] })).await.expect(200);
    // Nulls say nothing.
    kim.patch(&path, json!({ "starts": null, "list_price": null, "mark": null, "tags": null })).await.expect(200);
    kim.create("shifts", json!({})).await;
    // People who sign up, too.
    let nobody = app.anonymous();
    let sign_up = |age: u32| json!({ "email": format!("a{age}@example.com"), "password": "a long enough passphrase", "profile": { "age": age } });
    let refused = nobody.post("/auth/v1/sign-up", sign_up(17)).await.expect(422).json();
    assert_eq!((codes(&refused), refused["errors"][0]["detail"].clone()), broken("/profile/age", "must be of age"), "{refused}");
    assert!([200, 201, 202, 204].contains(&nobody.post("/auth/v1/sign-up", sign_up(18)).await.status));
    // Of two changes at once that keep the check each by itself, one is refused.
    for _ in 0..10 {
        let path = format!("/api/v1/shifts/{}", kim.create("shifts", json!({ "starts": time(5), "ends": time(15) })).await);
        let (first, second) = tokio::join!(kim.patch(&path, json!({ "starts": time(12) })), kim.patch(&path, json!({ "ends": time(11) })));
        let mut statuses = [first.status, second.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 422], "{} {}", first.text(), second.text());
    }
    let root = app.close().await;
    std::fs::write(root.join("rows.ndjson"), format!("{{\"starts\":\"{}\",\"ends\":\"{}\"}}\n", time(5), time(4))).unwrap();
    let refused = haechi(&root, &["import", "shifts", root.join("rows.ndjson").to_str().unwrap()]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("a shift ends after it starts") && said.contains('1'), "{said}");
}

/// A migration names the rows that do not keep a new check, and changes nothing.
async fn a_new_check_is_asked_of_the_rows(backend: Backend) {
    let without: Vec<(&str, String)> =
        SHIFTS.iter().map(|(path, text)| (*path, text.split("[[checks]]\nthat = \"ends").next().unwrap().to_owned())).collect();
    let app = TestApp::start(backend, &without).await;
    let kim = app.person("kim", &[]).await;
    kim.create("shifts", json!({ "starts": "2026-05-05T08:00:00Z", "ends": "2026-05-05T09:00:00Z" })).await;
    kim.create("shifts", json!({ "starts": "2026-05-05T08:00:00Z" })).await;
    let bad = kim.create("shifts", json!({ "starts": "2026-05-05T08:00:00Z", "ends": "2026-05-05T08:00:00Z", "mark": "x" })).await;
    let root = app.close().await;
    std::fs::write(root.join(SHIFTS[2].0), SHIFTS[2].1).unwrap();
    let planned = haechi(&root, &["migrate", "plan"]);
    let said = String::from_utf8_lossy(&planned.stdout).into_owned();
    assert!(!planned.status.success() && said.contains("+ check shifts: ends > starts") && said.contains(&bad), "{said}");
    let refused = haechi(&root, &["migrate", "apply", "--despite-nodes"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("shifts.ends > starts: 1 row does not fit: the check is not kept") && said.contains(&bad),
        "{said}"
    );
    // A check of a field that comes with it holds: the field has no value yet.
    let text = format!("{}later = {{ type = \"int\" }}\n[[checks]]\nthat = \"later > 5 AND ends >= starts\"\n", without[2].1);
    std::fs::write(root.join(SHIFTS[2].0), &text).unwrap();
    let done_so = done(&haechi(&root, &["migrate", "apply", "--despite-nodes"]));
    assert!(done_so.contains("check shifts: later > 5"), "{done_so}");
    assert!(done(&haechi(&root, &["migrate", "plan"])).contains("nothing to do"));
    // What a check looks at is not converted under it.
    std::fs::write(root.join(SHIFTS[2].0), text.replace("later = { type = \"int\" }", "later = { type = \"decimal\", was = \"later\" }")).unwrap();
    let refused = haechi(&root, &["migrate", "apply", "--despite-nodes"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("leave the check out"), "{refused:?}");
}

fn tickets(values: &str) -> Vec<(&'static str, String)> {
    vec![
        ("haechi.toml", "roles = []\n".to_owned()),
        (
            "collections/tickets.toml",
            format!("[fields]\nname = {{ type = \"text\" }}\nurgency = {{ type = \"enum\", required = true, {values} }}\n[[indexes]]\nfields = [\"urgency\"]\n"),
        ),
        (
            "policies/main.cedar",
            "permit (principal is users, action in [Action::\"list\", Action::\"read\", Action::\"create\", Action::\"update\", Action::\"delete\"], resource is tickets);\n".to_owned(),
        ),
    ]
}

/// An ordered enum is compared and ordered as its words stand in the folder, at every door, also after words came between them.
async fn words_have_an_order(backend: Backend) {
    let app = TestApp::start(backend, &tickets("values = [\"low\", \"normal\", \"high\"]")).await;
    let kim = app.person("kim", &[]).await;
    for word in ["normal", "low", "high", "low"] {
        kim.create("tickets", json!({ "name": word, "urgency": word })).await;
    }
    let listed = async |kim: &Person, query: &str| -> Vec<String> {
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let page = kim.get(&format!("/api/v1/tickets?page_size=2&{query}{token}")).await.expect(200).json();
            found.extend(page["items"].as_array().unwrap().iter().map(|item| item["urgency"].as_str().unwrap().to_owned()));
            match page["next_page_token"].as_str() {
                Some(next) => token = format!("&page_token={next}"),
                None => return found,
            }
        }
    };
    assert_eq!(listed(&kim, "order_by=urgency").await, ["high", "low", "low", "normal"], "by the letters, without `ordered`");
    let mut app = app;
    for (values, least) in [
        ("\"low\", \"normal\", \"high\"", "low"),
        ("\"none\", \"low\", \"medium\", \"normal\", \"high\"", "low"),
        ("\"high\", \"normal\", \"low\"", "high"),
    ] {
        let (root, clock) = (app.root.clone(), app.clock.clone());
        app.close().await;
        std::fs::write(root.join("collections/tickets.toml"), &tickets(&format!("values = [{values}], ordered = true"))[1].1).unwrap();
        app = TestApp::open(root, backend, clock).await;
        let kim = Person::with_token(&app, &kim);
        let order: &[&str] = if least == "low" { &["low", "low", "normal", "high"] } else { &["high", "normal", "low", "low"] };
        let backward: Vec<&str> = order.iter().rev().copied().collect();
        assert_eq!(listed(&kim, "order_by=urgency").await, order, "{values}");
        assert_eq!(listed(&kim, "order_by=urgency%20desc").await, backward, "{values}");
        assert_eq!(listed(&kim, "filter=urgency%3Enormal").await, &order[if least == "low" { 3.. } else { 2.. }], "{values}");
        assert_eq!(listed(&kim, "filter=urgency%3C%3Dnormal&order_by=urgency").await, &order[..if least == "low" { 3 } else { 2 }], "{values}");
        assert_eq!(listed(&kim, "urgency=low").await, ["low", "low"]);
        let query =
            "{ tickets_aggregate { count min { urgency } max { urgency } } tickets(filter: { urgency: { gt: normal } }) { nodes { urgency } } }";
        let told = kim.post("/graphql", json!({ "query": query })).await.expect(200).json();
        let extremes = if least == "low" { json!(["low", "high"]) } else { json!(["high", "low"]) };
        let found = &told["data"]["tickets_aggregate"];
        assert_eq!(json!([found["min"]["urgency"], found["max"]["urgency"]]), extremes, "{told}");
        assert_eq!(told["data"]["tickets"]["nodes"].as_array().map(Vec::len), Some(if least == "low" { 1 } else { 2 }), "{told}");
        // What is written now stands at its place.
        let id = kim.create("tickets", json!({ "urgency": "high" })).await;
        kim.patch(&format!("/api/v1/tickets/{id}"), json!({ "urgency": "normal" })).await.expect(200);
        let plain = kim.get("/api/v1/tickets?filter=urgency%3Dnormal").await.expect(200).json();
        assert_eq!(plain["items"].as_array().map(Vec::len), Some(2), "{plain}");
        kim.patch(&format!("/api/v1/tickets/{id}"), json!({ "urgency": "low" })).await.expect(200);
        kim.patch(&format!("/api/v1/tickets/{id}"), json!({ "urgency": "later" })).await.expect(422);
        let listed = listed(&kim, "order_by=urgency").await;
        assert_eq!(listed.iter().filter(|word| *word == "low").count(), 3);
        app.verify().await;
        kim.delete(&format!("/api/v1/tickets/{id}")).await.expect(204);
    }
    app.finish().await;
}

fn bills(name: &str, field: &str, more: &str) -> Vec<(&'static str, String)> {
    let file = if name == "bills" { "collections/bills.toml" } else { "collections/receipts.toml" };
    vec![
        ("haechi.toml", "roles = []\n".to_owned()),
        (
            file,
            format!(
                "{more}[fields]\n{field}\nstate = {{ type = \"enum\", values = [\"draft\", \"sent\"], default = \"draft\" }}\nnote = {{ type = \"text\", unique = true }}\n\
                 [[checks]]\nthat = \"note != 'never'\"\n"
            ),
        ),
        (
            "policies/main.cedar",
            format!(
                "permit (principal is users, action in [Action::\"list\", Action::\"read\", Action::\"delete\", Action::\"update\"], resource is {name});\n\
                 permit (principal is users, action == Action::\"create\", resource is {name}) when {{ resource has state && resource.state == \"draft\" }};\n"
            ),
        ),
    ]
}

/// RACE-41 [V2.3.1]: numbers follow each other without gaps, also when some are refused, raced by fifty, over a restart and on two nodes.
async fn numbers_follow_each_other(backend: Backend) {
    let number = "number = { type = \"text\", required = true, default = { number = \"INV-{year}-{n:4}\" } }";
    let app = TestApp::start(backend, &bills("bills", number, "")).await;
    let kim = app.person("kim", &[]).await;
    let made = async |kim: &Person, body: Value| kim.post("/api/v1/bills", body).await.expect(201).json()["number"].as_str().unwrap().to_owned();
    let first = kim.post("/api/v1/bills", json!({})).await.expect(201).json();
    let year = first["create_time"].as_str().unwrap()[..4].to_owned();
    let named = |number: u32| format!("INV-{year}-{number:04}");
    assert_eq!(first["number"], json!(named(1)));
    // What is refused takes no number: by policy, by a check, by a unique value, in a batch.
    kim.post("/api/v1/bills", json!({ "state": "sent" })).await.expect(403);
    kim.post("/api/v1/bills", json!({ "note": "never" })).await.expect(422);
    assert_eq!(made(&kim, json!({ "note": "taken" })).await, named(2));
    kim.post("/api/v1/bills", json!({ "note": "taken" })).await.expect(409);
    let create = |note: &str| json!({ "create": "bills", "data": { "note": note } });
    kim.post("/api/v1:batch", json!({ "operations": [create("a"), create("b"), create("taken")] })).await.expect(409);
    kim.post("/api/v1:batch", json!({ "operations": [create("a"), create("b")] })).await.expect(200);
    let query = "mutation { create_bill(input: { note: \"c\" }) { errors { code } bill { number } } }";
    let told = kim.post("/graphql", json!({ "query": query })).await.expect(200).json();
    assert_eq!(told["data"]["create_bill"]["bill"]["number"], json!(named(5)), "{told}");
    // Nobody else writes it.
    let path = format!("/api/v1/bills/{}", first["id"].as_str().unwrap());
    assert_eq!(codes(&kim.patch(&path, json!({ "number": "INV-1" })).await.expect(422).json()), [("/number".to_owned(), "read_only".to_owned())]);
    kim.post("/api/v1/bills", json!({ "number": "INV-1" })).await.expect(422);
    let second = if backend == Backend::Postgres { Some(app.second_node().await) } else { None };
    let other = second.as_ref().map_or_else(|| kim.clone(), |second| Person::at(second.stack.clone(), &kim));
    let mut racing = Vec::new();
    for at in 0..50 {
        let who = if at % 2 == 0 { kim.clone() } else { other.clone() };
        racing.push(tokio::spawn(async move {
            loop {
                let reply = who.post("/api/v1/bills", json!({ "note": format!("race {at}") })).await;
                if reply.status != 503 && reply.status != 429 {
                    return reply.expect(201).json()["number"].as_str().unwrap().to_owned();
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }));
    }
    let mut found = Vec::new();
    for one in racing {
        found.push(one.await.unwrap());
    }
    found.sort();
    assert_eq!(found, (6..56).map(named).collect::<Vec<_>>());
    if let Some(second) = second {
        second.close().await;
    }
    let app = app.restart().await;
    let kim = Person::with_token(&app, &kim);
    assert_eq!(made(&kim, json!({})).await, named(56));
    // Rows that are imported carry their numbers, and the series goes on behind the highest of them.
    app.verify().await;
    let (root, clock) = (app.root.clone(), app.clock.clone());
    app.close().await;
    std::fs::write(
        root.join("rows.ndjson"),
        format!("{{\"number\":\"{}\"}}\n{{\"number\":\"INV-{year}-x\"}}\n{{\"number\":\"INV-1999-0777\"}}\n", named(70)),
    )
    .unwrap();
    done(&haechi(&root, &["import", "bills", root.join("rows.ndjson").to_str().unwrap()]));
    let app = TestApp::open(root.clone(), backend, clock.clone()).await;
    let kim = Person::with_token(&app, &kim);
    let last = kim.post("/api/v1/bills", json!({})).await.expect(201).json();
    assert_eq!(last["number"], json!(named(71)));
    // A number that was given is not given again, also when its row is gone and the field has another name.
    kim.delete(&format!("/api/v1/bills/{}", last["id"].as_str().unwrap())).await.expect(204);
    app.close().await;
    std::fs::remove_file(root.join("collections/bills.toml")).unwrap();
    for (path, text) in bills(
        "receipts",
        &number.replace("number = { type = \"text\"", "no = { was = \"number\", type = \"text\""),
        "[collection]\nwas = \"bills\"\n",
    ) {
        if path != "haechi.toml" {
            std::fs::write(root.join(path), text).unwrap();
        }
    }
    let app = TestApp::open(root, backend, clock).await;
    let kim = Person::with_token(&app, &kim);
    let next = kim.post("/api/v1/receipts", json!({})).await.expect(201).json();
    assert_eq!(next["no"], json!(named(72)));
    app.finish().await;
}

/// Policies and checks that look at the number are asked when it is known.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_are_seen_by_policies_and_checks() {
    let mut files = bills("bills", "number = { type = \"text\", default = { number = \"B{n}\" } }", "");
    files[1].1.push_str("[[checks]]\nthat = \"state = 'sent' OR number:*\"\n[[checks]]\nthat = \"number != 'B3'\"\nmessage = \"unlucky\"\n");
    files[2].1.push_str("forbid (principal, action == Action::\"create\", resource is bills) when { resource has number && resource.number == \"B2\" && resource has note };\n");
    let app = TestApp::start(Backend::Sqlite, &files).await;
    let kim = app.person("kim", &[]).await;
    kim.post("/api/v1/bills", json!({ "note": "a" })).await.expect(201);
    kim.post("/api/v1/bills", json!({ "note": "b" })).await.expect(403);
    // Who may not is told so, whether the value is taken or not.
    kim.post("/api/v1/bills", json!({ "note": "a" })).await.expect(403);
    assert_eq!(kim.post("/api/v1/bills", json!({})).await.expect(201).json()["number"], "B2");
    let refused = kim.post("/api/v1/bills", json!({})).await.expect(422).json();
    assert_eq!((codes(&refused), &refused["errors"][0]["detail"]), (vec![("/number".to_owned(), "check".to_owned())], &json!("unlucky")));
    app.finish().await;
}
