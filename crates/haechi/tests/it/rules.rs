//! Rules about change: what is set once, and which state follows which, by every door and under every race.

use crate::{
    grpc::Client,
    process::{done, haechi},
};
use haechi_testkit::{Backend, Person, TestApp, on_both};
use serde_json::{Value, json};

on_both!(what_is_set_once_stays, states_follow_each_other, a_state_is_left_once, the_written_fields_decide, a_row_is_handed_over);

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
