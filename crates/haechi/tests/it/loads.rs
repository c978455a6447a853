//! Imports that change what is there, that name rows by what is unique in them, that tell all faults of a row at once, and that run while
//! others write. On both databases.

use crate::process::{Dev, done, haechi, refused};
use haechi::app::rows::import_files;
use haechi_data::transfer::Options;
use haechi_gate::{ImportRow, Imported, ReadRow, Rows};
use haechi_model::{Collection, FieldId, Value};
use haechi_testkit::{Backend, TestApp, fresh_folder, on_both};
use serde_json::json;
use std::{
    process::Command,
    time::{Duration, Instant},
};

on_both!(
    what_is_there_is_changed_and_the_rest_is_new,
    rows_are_found_by_all_fields_of_a_key,
    rules_about_change_hold_for_imports,
    references_name_rows_by_what_is_unique,
    all_faults_of_a_row_are_told_at_once,
    many_faults_end_the_reading,
    people_who_are_imported_count_from_then_on,
    nobody_waits_long_for_an_import,
);

const FILES: &[(&str, &str)] = &[
    ("haechi.toml", ""),
    (
        "collections/projects.toml",
        "[fields]\ncode = { type = \"text\", unique = true, case = \"fold\" }\nname = { type = \"text\", required = true }\nparent = { type = \"ref\", to = \"projects\" }\n",
    ),
    (
        "collections/tasks.toml",
        r#"[fields]
code = { type = "text", required = true, unique = true }
slug = { type = "text", unique = true }
title = { type = "text", required = true }
n = { type = "int", max = 9 }
m = { type = "int" }
state = { type = "enum", values = ["open", "doing", "done"], default = "open", transitions = { open = ["doing"], doing = ["open", "done"], done = [] } }
origin = { type = "text", write_once = true }
seen = { type = "datetime", on_update = "now" }
number = { type = "int" }
project = { type = "ref", to = "projects" }
owner = { type = "ref", to = "users" }
also = { type = "list", of = "ref", to = "projects" }
after = { type = "ref", to = "tasks" }
[[indexes]]
fields = ["project", "number"]
unique = true
[[checks]]
that = "n <= m"
"#,
    ),
    (
        "policies/all.cedar",
        "permit (principal is users, action in [Action::\"list\", Action::\"read\", Action::\"create\", Action::\"update\"], resource);\n",
    ),
];

fn tasks(app: &TestApp) -> (usize, impl Fn(&str) -> FieldId + use<>) {
    let revision = app.house.gate.revision();
    (revision.app.collection("tasks").unwrap().id, move |name: &str| revision.app.collection("tasks").unwrap().field(name).unwrap())
}

/// Imports texts, each into the collection of its name.
async fn import(app: &TestApp, files: &[(&str, &str)], upsert: &[&str]) -> Result<Vec<Imported>, String> {
    let revision = app.house.gate.revision();
    let folder = std::env::temp_dir().join(format!("haechi-loads-{}-{:?}", std::process::id(), std::thread::current().id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut named = Vec::new();
    for (name, text) in files {
        let ending = if text.starts_with(['[', '{']) { "jsonl" } else { "csv" };
        let path = folder.join(format!("{name}.{ending}"));
        std::fs::write(&path, text).unwrap();
        named.push((revision.app.collection(name).unwrap(), path));
    }
    let key = (!upsert.is_empty()).then(|| upsert.iter().map(|name| named[0].0.field(name).unwrap()).collect());
    let done = import_files(&app.house, &named, &Options::default(), key).await;
    std::fs::remove_dir_all(&folder).unwrap();
    done.map(|done| done.iter().map(|done| done.rows).collect()).map_err(|error| error.to_string().replace(&format!("{}/", folder.display()), ""))
}

async fn rows(app: &TestApp, collection: &str) -> Vec<Vec<Value>> {
    let id = app.house.gate.revision().app.collection(collection).unwrap().id;
    let mut rows: Vec<_> = app.house.gate.stored_rows(&app.house.keys.import, id, "").await.unwrap().into_iter().map(|row| row.to_vec()).collect();
    rows.sort_by_key(|row| row[Collection::FIRST_DECLARED].as_text().unwrap_or_default().to_owned());
    rows
}

fn imported(new: usize, changed: usize, unchanged: usize) -> Result<Vec<Imported>, String> {
    Ok(vec![Imported { new, changed, unchanged }])
}

async fn what_is_there_is_changed_and_the_rest_is_new(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let (_, at) = tasks(&app);
    assert_eq!(import(&app, &[("projects", "code,name\nP-1,One\nP-2,Two\n")], &[]).await, imported(2, 0, 0));
    let first = "code,slug,title,project,also\na,sa,A,@code:P-1,\"[\"\"@code:P-1\"\",\"\"@code:P-2\"\"]\"\nb,sb,B,,\n";
    assert_eq!(import(&app, &[("tasks", first)], &["code"]).await, imported(2, 0, 0));
    let before = rows(&app, "tasks").await;
    // What the file does not name stays; a row that is as the file says is not written.
    assert_eq!(import(&app, &[("tasks", "code,title\na,A\nb,B!\nc,C\n")], &["code"]).await, imported(1, 1, 1));
    let after = rows(&app, "tasks").await;
    assert_eq!(after[0], before[0]);
    let (was, is) = (&before[1], &after[1]);
    assert_eq!((is[at("title")].as_text(), is[at("slug")].as_text()), (Some("B!"), Some("sb")));
    assert_eq!(
        (is[Collection::ID].as_text(), is[Collection::CREATE_TIME].as_int()),
        (was[Collection::ID].as_text(), was[Collection::CREATE_TIME].as_int())
    );
    assert_eq!(is[Collection::VERSION], Value::Int(2));
    assert!(is[at("seen")].as_int().is_some() && was[at("seen")].is_null(), "what each change sets is set");
    assert_eq!(after[2][Collection::VERSION], Value::Int(1));
    // A list of references changes in both of its places, and so does an empty cell.
    assert_eq!(import(&app, &[("tasks", "code,also,project\na,\"[\"\"@code:p-2\"\"]\",\n")], &["code"]).await, imported(0, 1, 0));
    let projects = rows(&app, "projects").await;
    let only = format!("[\"{}\"]", projects[1][0].as_text().unwrap());
    let a = &rows(&app, "tasks").await[0];
    assert_eq!((a[at("also")].as_text(), a[at("project")].is_null()), (Some(only.as_str()), true));
    // The ledger says what became of each row.
    app.house.gate.settle().await;
    let report = app.house.gate.verify(&app.house.keys.audit, &[], true).await.unwrap();
    assert_eq!(report.findings, vec![]);
    // Values that others have are refused, a value moved away in the same file included.
    let errors = import(&app, &[("tasks", "code,slug\na,sb\nb,sx\nc,sa\n")], &["code"]).await.unwrap_err();
    assert!(errors.contains("tasks.csv:2: slug: another row has the same value"), "{errors}");
    let errors = import(&app, &[("tasks", "code,title\nz,Z\nz,Y\n")], &["code"]).await.unwrap_err();
    assert!(errors.contains("tasks.csv:3: code: line 2 has the same value"), "{errors}");
    // The same row under another id is another row.
    let id = "01920000-0000-7000-8000-000000000001";
    let errors = import(&app, &[("tasks", &format!("id,code,title\n{id},a,A\n"))], &["code"]).await.unwrap_err();
    assert!(errors.contains("id: the row that has this key has another id"), "{errors}");
    // By the id itself.
    let own = a[Collection::ID].as_text().unwrap();
    assert_eq!(import(&app, &[("tasks", &format!("id,title\n{own},by id\n"))], &["id"]).await, imported(0, 1, 0));
    assert_eq!(rows(&app, "tasks").await[0][at("title")].as_text(), Some("by id"));
    // A new row needs what every new row needs; a row without its key is found by nothing.
    let errors = import(&app, &[("tasks", "{\"code\":\"a\",\"title\":null}\n{\"code\":\"new\"}\n{\"title\":\"T\"}\n")], &["code"]).await.unwrap_err();
    for told in [
        "tasks.jsonl:1: title: a value is required",
        "tasks.jsonl:2: title: a value is required",
        "tasks.jsonl:3: code: a value is required: stored rows",
    ] {
        assert!(errors.contains(told), "{told}: {errors}");
    }
    app.finish().await;
}

async fn rows_are_found_by_all_fields_of_a_key(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let (_, at) = tasks(&app);
    import(&app, &[("projects", "code,name\nP-1,One\nP-2,Two\n")], &[]).await.unwrap();
    let file = "project,number,code,title\n@code:p-1,1,a,A\n@code:P-2,1,b,B\n@code:P-1,2,c,C\n";
    assert_eq!(import(&app, &[("tasks", file)], &["number", "project"]).await, imported(3, 0, 0));
    let again = file.replace(",B\n", ",B2\n") + "@code:P-2,2,d,D\n";
    assert_eq!(import(&app, &[("tasks", &again)], &["project", "number"]).await, imported(1, 1, 2));
    assert_eq!(rows(&app, "tasks").await[1][at("title")].as_text(), Some("B2"));
    // No row of the file has a value that the database could look for.
    let errors = import(&app, &[("tasks", "project,number,code,title\n,x,e,E\n,,f,F\n")], &["project", "number"]).await.unwrap_err();
    for told in ["2: project: a value is required: stored rows", "2: number: ", "3: project: a value is required", "3: number: a value is required"] {
        assert!(errors.contains(&format!("tasks.csv:{told}")), "{told}: {errors}");
    }
    // Who is named by another unique value may be stored already, or new.
    let named = "code,title,slug,after\na,A,na,@slug:nz\nz,Z,nz,@slug:na\n";
    assert_eq!(import(&app, &[("tasks", named)], &["code"]).await, imported(1, 1, 0));
    let found = rows(&app, "tasks").await;
    let (a, z) = (&found[0], found.last().unwrap());
    assert_eq!((&a[at("after")], &z[at("after")]), (&z[Collection::ID], &a[Collection::ID]));
    // Over more than one part, by folded text.
    let many: String = (0..2_300).map(|at| format!("M-{at},Name {at}\n")).collect();
    assert_eq!(import(&app, &[("projects", &format!("code,name\n{many}"))], &["code"]).await, imported(2_300, 0, 0));
    let folded = many.to_lowercase().replace("name 7\n", "Seven\n");
    let done = import(&app, &[("projects", &format!("code,name\n{folded}"))], &["code"]).await.unwrap();
    assert_eq!((done[0].new, done[0].changed), (0, 2_300), "the code is written as the file has it");
    app.finish().await;
}

async fn rules_about_change_hold_for_imports(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let first = "code,title,state,origin,n,m\na,A,open,here,1,2\nb,B,done,,3,\n";
    assert_eq!(import(&app, &[("tasks", first)], &[]).await, imported(2, 0, 0));
    let errors = import(&app, &[("tasks", "code,state,origin,m\na,done,there,0\nb,open,x,1\n")], &["code"]).await.unwrap_err();
    for told in [
        "tasks.csv:2: state: `done` does not follow `open`",
        "tasks.csv:2: origin: is written once, and the stored row has another value",
        "tasks.csv:2: n: ",
        "tasks.csv:3: state: `open` does not follow `done`",
        "tasks.csv:3: origin: is written once",
        "tasks.csv:3: n: ",
    ] {
        assert!(errors.contains(told), "{told}: {errors}");
    }
    assert!(errors.starts_with("nothing was imported; 6 errors in 2 rows\n"), "{errors}");
    // What stays the same is no change.
    assert_eq!(import(&app, &[("tasks", "code,state,origin,m\na,doing,here,1\nb,done,,4\n")], &["code"]).await, imported(0, 2, 0));
    app.finish().await;
}

async fn references_name_rows_by_what_is_unique(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let (_, at) = tasks(&app);
    let ann = app.person("ann", &[]).await;
    // Rows of another file of the same import, of the same file before it, and stored ones.
    let projects = "code,name,parent\nP-1,One,\nP-2,Two,@code:p-1\n";
    let of_tasks = "code,title,project,owner\na,A,@code:P-2,@email:ANN@example.test\nb,B,@code:P-1,\n";
    let done = import(&app, &[("tasks", of_tasks), ("projects", projects)], &[]).await;
    assert_eq!(done, Ok(vec![Imported { new: 2, ..Imported::default() }; 2]));
    let (stored, of) = (rows(&app, "projects").await, rows(&app, "tasks").await);
    assert_eq!(of[0][at("project")], stored[1][0]);
    assert_eq!(of[1][at("project")], stored[0][0]);
    assert_eq!(of[0][at("owner")].as_text(), Some(ann.id.as_str()));
    assert_eq!(stored[1].iter().filter(|value| **value == stored[0][0]).count(), 1, "the parent");
    // What finds no row, and what can find none.
    let bad = "{\"code\":\"c\",\"title\":\"C\",\"project\":\"@code:P-9\"}\n{\"code\":\"d\",\"title\":\"D\",\"project\":\"@name:One\"}\n{\"code\":\"e\",\"title\":\"E\",\"project\":\"@code\"}\n{\"code\":\"f\",\"title\":\"F\",\"also\":[\"@code:P-1\",\"@code:P-8\"]}\n";
    let errors = import(&app, &[("tasks", bad)], &[]).await.unwrap_err();
    for told in [
        "tasks.jsonl:1: project: @code:P-9 is no row of `projects`",
        "tasks.jsonl:2: project: no row is found by `name`; unique in `projects`: code",
        "tasks.jsonl:3: project: write @FIELD:VALUE, e.g. @code:P-7; unique in `projects`: code",
        "tasks.jsonl:4: also: @code:P-8 is no row of `projects`",
    ] {
        assert!(errors.contains(told), "{told}: {errors}");
    }
    // Only for who imports: a request names ids.
    let reply = ann.post("/api/v1/tasks", json!({"code": "h", "title": "H", "project": "@code:P-1"})).await;
    assert_eq!(reply.status, 422, "{}", reply.text());
    app.finish().await;
}

async fn all_faults_of_a_row_are_told_at_once(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    assert_eq!(import(&app, &[("tasks", "code,slug,title\nstored,s,T\n")], &[]).await, imported(1, 0, 0));
    let nowhere = "01920000-0000-7000-8000-00000000dead";
    let id = "01920000-0000-7000-8000-000000000001";
    // One row with seven faults, and a good one that refers to a bad one: that is no fault.
    let file = format!(
        "id,code,slug,title,n,m,state,project,owner\n,stored,s,,x,1,lost,{nowhere},@email:nobody@example.test\n{id},c,,C,12,,,,\n,d,,D,5,4,,,\n"
    );
    let errors = import(&app, &[("tasks", &file)], &[]).await.unwrap_err();
    for told in [
        "2: code: another row has the same value".to_owned(),
        "2: slug: another row has the same value".to_owned(),
        "2: title: a value is required".to_owned(),
        "2: n: ".to_owned(),
        "2: state: ".to_owned(),
        format!("2: project: refers to {nowhere}, which is not there"),
        "2: owner: @email:nobody@example.test is no row of `users`".to_owned(),
        "3: n: ".to_owned(),
        "4: n: ".to_owned(),
    ] {
        assert!(errors.contains(&format!("tasks.csv:{told}")), "{told}: {errors}");
    }
    assert!(errors.starts_with("nothing was imported; 9 errors in 3 rows\n"), "{errors}");
    // Who refers to a row that is bad has no fault of their own.
    let circle = format!("id,code,name,parent\n{id},P-1,,\n,P-2,Two,{id}\n");
    let errors = import(&app, &[("projects", &circle)], &[]).await.unwrap_err();
    assert_eq!(errors, "nothing was imported; 1 error in 1 row\nprojects.csv:2: name: a value is required");
    assert_eq!((rows(&app, "projects").await.len(), rows(&app, "tasks").await.len()), (0, 1));
    app.finish().await;
}

/// 10⁵ faults: some hundred are told, and the rest is not read.
async fn many_faults_end_the_reading(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    for (line, column) in [("x,x,\n", "code,n,title\n"), (",same,T\n", "n,code,title\n")] {
        let errors = import(&app, &[("tasks", &format!("{column}{}", line.repeat(100_000)))], &[]).await.unwrap_err();
        assert!(errors.contains("the rest was not read"), "{}", errors.lines().last().unwrap_or_default());
        assert!(errors.lines().count() < 400, "{}", errors.lines().count());
    }
    assert_eq!(rows(&app, "tasks").await.len(), 0);
    app.finish().await;
}

/// [V7.4.2] Who is disabled, or loses a role, by an import is so from the next request on, and their streams end.
async fn people_who_are_imported_count_from_then_on(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let (ann, ben) = (app.person("ann", &[]).await, app.person("ben", &[]).await);
    for person in [&ann, &ben] {
        person.get("/api/v1/tasks").await.expect(200);
    }
    let file = format!("id,disabled\n{},true\n", ann.id);
    assert_eq!(import(&app, &[("users", &file)], &["id"]).await, imported(0, 1, 0));
    ann.get("/api/v1/tasks").await.expect(401);
    ben.get("/api/v1/tasks").await.expect(200);
    app.finish().await;
}

/// While an import holds the database for five seconds, writers are answered within two, with 201 or with 503 and when to try again; nobody
/// sees a part of it.
async fn nobody_waits_long_for_an_import(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let (collection, at) = tasks(&app);
    let ann = app.person("ann", &[]).await;
    let there = ann.post("/api/v1/tasks", json!({"code": "c7", "title": "before"})).await;
    let at_there = format!("/api/v1/tasks/{}", there.json()["id"].as_str().unwrap());
    let (code, title) = (at("code"), at("title"));
    let slow = (0..2_500).map(move |line| {
        if line % 500 == 499 {
            std::thread::sleep(Duration::from_secs(1));
        }
        let values = vec![(code, Value::text(format!("c{line}"))), (title, Value::text("imported"))];
        Ok(ReadRow::from(ImportRow { line: line + 1, id: None, values }))
    });
    let (gate, key) = (app.house.gate.clone(), &app.house.keys.import);
    let importing = gate.import_from(key, vec![Rows { collection, upsert: Some(vec![code]), rows: slow }]);
    let writing = async {
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        let (begun, mut told) = (Instant::now(), Vec::new());
        while begun.elapsed() < Duration::from_secs(3) {
            let sent = Instant::now();
            let (new, code) = (json!({"code": format!("w{}", told.len()), "title": "beside"}), json!({"title": "meanwhile"}));
            let (created, changed) = tokio::join!(ann.post("/api/v1/tasks", new), ann.patch(&at_there, code));
            assert!(sent.elapsed() < Duration::from_secs(2), "{:?}", sent.elapsed());
            for reply in [&created, &changed] {
                let good = [200, 201].contains(&reply.status) || (reply.status == 503 && !reply.header("retry-after").is_empty());
                assert!(good, "{} {}", reply.status, reply.text());
            }
            let count = ann.get("/api/v1/tasks?count=true&filter=title%20%3D%20%22imported%22").await;
            let seen = count.expect(200).json()["total_size"].as_u64().unwrap();
            assert!([0, 2_499, 2_500].contains(&seen), "{seen}");
            told.push((created.status, changed.status));
        }
        told
    };
    let (imported, told) = tokio::join!(importing, writing);
    let imported = imported.unwrap_or_else(|errors| panic!("{errors:?}"))[0];
    assert_eq!((imported.new, imported.changed), (2_499, 1));
    // SQLite has one writer; PostgreSQL holds the row that the import changes.
    assert!(told.iter().any(|(created, changed)| *changed == 503 && (backend == Backend::Postgres || *created == 503)), "{told:?}");
    // What was refused was not done, and what was answered was.
    let count = ann.get("/api/v1/tasks?count=true&filter=title%20%3D%20%22beside%22").await;
    assert_eq!(count.json()["total_size"], told.iter().filter(|(created, _)| *created == 201).count());
    let (status, after) = (ann.patch(&at_there, json!({"title": "after"})).await.status, Instant::now());
    assert!(status == 200 && after.elapsed() < Duration::from_secs(2));
    app.finish().await;
}

/// Data goes in and out of the process that serves, by paths as they were typed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_data_reach_the_running_house() {
    let root = fresh_folder(Backend::Sqlite, FILES).await;
    let work = move || {
        let dev = Dev::start(&root);
        let here = root.with_extension("files");
        std::fs::create_dir_all(&here).unwrap();
        std::fs::write(here.join("projects.csv"), "code,name\nP-1,One\nP-2,Two\n").unwrap();
        std::fs::write(here.join("bad.csv"), "code,name\nP-3,\n").unwrap();
        let typed =
            |arguments: &[&str]| Command::new(env!("CARGO_BIN_EXE_haechi")).args(arguments).arg("-C").arg(&root).current_dir(&here).output().unwrap();
        let said = done(&typed(&["import", "projects", "projects.csv"]));
        assert_eq!(said, "2 rows imported into projects\n");
        let said = done(&typed(&["import", "projects", "projects.csv", "--upsert", "code"]));
        assert_eq!(said, "2 rows imported into projects: 0 new, 0 changed, 2 as they were\n");
        refused(&typed(&["import", "projects", "projects.csv"]), "projects.csv:2: code: another row has the same value");
        refused(&typed(&["import", "projects", "bad.csv"]), "bad.csv:2: name: a value is required");
        refused(&typed(&["import", "projects", "nowhere.csv"]), "nowhere.csv cannot be read");
        refused(&typed(&["import", "projects", "projects.csv", "--upsert", "name"]), "its keys are id; code");
        refused(&typed(&["import", "projects", "projects.csv", "--upsert", "code", "--exact"]), "--exact");
        refused(&typed(&["import", "projects", "a.csv", "tasks", "b.csv", "--upsert", "code"]), "the rows of one file");
        let shown = done(&typed(&["export", "projects", "--format", "csv"]));
        assert!(shown.starts_with("id,code,name") && shown.contains(",P-2,Two,"), "{shown}");
        assert!(done(&typed(&["export", "projects", "out.csv"])).contains("2 rows exported from projects"));
        assert_eq!(std::fs::read_to_string(here.join("out.csv")).unwrap(), shown);
        refused(&typed(&["export", "projects", "out.csv"]), "is there already");
        assert_eq!(done(&typed(&["migrate", "plan"])), "nothing to do\n");
        assert!(done(&typed(&["migrate", "status"])).contains("1 applied"));
        refused(&typed(&["migrate", "apply"]), "stop it, then try again");
        dev.end();
        // What came in is there when the process is gone, and is told by the ledger.
        assert!(done(&haechi(&root, &["export", "projects"])).contains("\"P-1\""));
        assert!(done(&haechi(&root, &["audit", "verify", "--rows"])).contains("0 findings"));
        std::fs::remove_dir_all(here).unwrap();
        std::fs::remove_dir_all(root).unwrap();
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}
