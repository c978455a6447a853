//! Releases while nodes serve: what goes on over a new model, what is refused, and what waits for a lock.

use crate::{
    fixture::FILES,
    postgres::{client, until, url},
    process::{done, haechi, refused},
};
use haechi_gate::MigrateError;
use haechi_testkit::{Backend, Person, TestApp};
use serde_json::json;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// A folder with another text in one of its files.
fn changed(root: &Path, file: &str, from: &str, to: &str) {
    let path = root.join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} has no {from}");
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

/// Notes with two fields more, an index, and a collection beside them.
fn next_release(root: &Path) {
    let more = "parent = {";
    changed(
        root,
        "collections/notes.toml",
        more,
        &format!("level = {{ type = \"int\", required = true, default = 3 }}\nhint = {{ type = \"text\" }}\n{more}"),
    );
    let path = root.join("collections/notes.toml");
    std::fs::write(&path, std::fs::read_to_string(&path).unwrap() + "[[indexes]]\nfields = [\"rank\"]\n").unwrap();
    std::fs::write(root.join("collections/marks.toml"), "[fields]\nword = { type = \"text\" }\n").unwrap();
}

/// Asks one node all kinds of things until it is told to end; how much was asked. Nothing fails.
fn load(who: Person, ends: Arc<AtomicBool>) -> tokio::task::JoinHandle<usize> {
    tokio::spawn(async move {
        let note = who.create("notes", json!({"title": "kept", "rank": 1})).await;
        let mut asked = 1;
        while !ends.load(Ordering::Relaxed) {
            who.get(&format!("/api/v1/notes/{note}")).await.expect(200);
            who.get("/api/v1/notes?order_by=create_time&page_size=5").await.expect(200);
            who.patch(&format!("/api/v1/notes/{note}"), json!({"rank": asked % 1000})).await.expect(200);
            let gone = who.create("notes", json!({"title": format!("n{asked}")})).await;
            who.delete(&format!("/api/v1/notes/{gone}")).await.expect(204);
            asked += 5;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        asked
    })
}

/// OPS-24: a release without downtime, forth and back, under load: no request fails, and the ledger covers what both versions wrote.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_goes_forth_and_back_under_load() {
    let old = TestApp::start(Backend::Postgres, FILES).await;
    let also_old = old.second_node().await;
    let kim = old.person("kim", &["member"]).await;
    let ends = Arc::new(AtomicBool::new(false));
    let loads = [load(kim.clone(), ends.clone()), load(Person::with_token(&also_old, &kim), ends.clone())];
    tokio::time::sleep(Duration::from_millis(300)).await;

    // First the database, by the new folder, beside the old nodes.
    let root = old.copy("new");
    next_release(&root);
    let plan = done(&haechi(&root, &["migrate", "plan"]));
    assert!(plan.contains("compatible: nodes of before go on over it"), "{plan}");
    assert!(plan.contains("CREATE INDEX CONCURRENTLY"), "{plan}");
    done(&haechi(&root, &["migrate", "apply"]));
    assert_eq!(done(&haechi(&root, &["migrate", "status"])).lines().last(), Some("2 applied"));

    // Then one node after the other. What the new one writes, the old one changes, and the other way round.
    let new = TestApp::open_as_it_is(root.clone(), Backend::Postgres, old.clock.clone()).await;
    let kim_new = Person::with_token(&new, &kim);
    until("an old node does not follow", async || old.house.gate.outdated().is_empty() && old.anonymous().get("/readyz").await.status == 200).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let by_new = kim_new.create("notes", json!({"title": "new", "level": 9, "hint": "psst"})).await;
    let by_old = kim.create("notes", json!({"title": "old"})).await;
    kim.patch(&format!("/api/v1/notes/{by_new}"), json!({"rank": 5})).await.expect(200);
    kim_new.patch(&format!("/api/v1/notes/{by_old}"), json!({"hint": "later"})).await.expect(200);
    kim.patch(&format!("/api/v1/notes/{by_old}"), json!({"rank": 6})).await.expect(200);
    let told = kim_new.get(&format!("/api/v1/notes/{by_new}")).await.expect(200).json();
    assert_eq!((&told["level"], &told["hint"], &told["rank"]), (&json!(9), &json!("psst"), &json!(5)));
    let told = kim_new.get(&format!("/api/v1/notes/{by_old}")).await.expect(200).json();
    assert_eq!((&told["level"], &told["hint"], &told["rank"]), (&json!(3), &json!("later"), &json!(6)));
    for node in [&new, &old, &also_old] {
        node.verify().await;
    }
    ends.store(true, Ordering::Relaxed);
    for load in loads {
        assert!(load.await.unwrap() > 20);
    }
    // Commands of the old version work over the newer model too, and what they make is in the ledger of both.
    done(&haechi(&old.copy("commands"), &["user", "add", "lee@example.com", "--role", "member"]));
    new.verify().await;
    // And back: a node of before starts over the newer model.
    also_old.close().await;
    let root_of_old = old.close().await;
    let old = TestApp::open_as_it_is(root_of_old, Backend::Postgres, new.clock.clone()).await;
    let kim = Person::with_token(&old, &kim);
    kim.patch(&format!("/api/v1/notes/{by_new}"), json!({"title": "renamed"})).await.expect(200);
    old.verify().await;
    new.verify().await;
    old.close().await;
    new.finish().await;
}

/// OPS-36 [V13.2.2]: a role that may not change tables serves, and cannot migrate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_only_serves_is_enough() {
    let watch = ("policies/watch.cedar", "permit (principal in Role::\"member\", action == Action::\"watch\", resource is things);");
    let app = TestApp::start(Backend::Postgres, &[FILES, &[watch]].concat()).await;
    let kim = app.person("kim", &["member"]).await;
    let url = url(&app.root);
    let (role, owner) = (format!("serves_{}", std::process::id()), client(&url).await);
    // As docs/postgres.md says.
    let grants = format!(
        "DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA public TO {role}; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}; GRANT USAGE, SELECT ON SEQUENCE \"_log_arrival\" TO {role}"
    );
    owner.batch_execute(&grants).await.unwrap();
    let root = app.copy("serving");
    let releasing = app.copy("releasing");
    for root in [&root, &releasing] {
        changed(root, "haechi.toml", "postgres://postgres@", &format!("postgres://{role}@"));
    }
    // The owner's node goes, so that the other gives positions and seals.
    let clock = app.clock.clone();
    let root_of_owner = app.close().await;
    let node = TestApp::open_as_it_is(root.clone(), Backend::Postgres, clock.clone()).await;
    let kim = Person::with_token(&node, &kim);
    let note = kim.create("notes", json!({"title": "by the other role"})).await;
    kim.patch(&format!("/api/v1/notes/{note}"), json!({"rank": 5})).await.expect(200);
    kim.get("/api/v1/notes?order_by=title").await.expect(200);
    let events = kim.watch("/api/v1/things:watch", None).await;
    assert!(events.is_ok(), "streams");
    drop(events);
    let removed = kim.create("notes", json!({"title": "gone"})).await;
    kim.delete(&format!("/api/v1/notes/{removed}")).await.expect(204);
    node.anonymous().get("/readyz").await.expect(200);
    node.house.gate.backup(&node.house.keys.backup, &root.join("copy"), "uid 0").await.unwrap();
    node.verify().await;
    next_release(&releasing);
    refused(&haechi(&releasing, &["migrate", "apply"]), "the database refused");
    node.finish().await;
    // Nothing was done by half: the owner does it.
    next_release(&root_of_owner);
    done(&haechi(&root_of_owner, &["migrate", "apply"]));
    owner.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}

/// OPS-24: what nodes that serve do not go on over is refused, with the reasons; told to, it is done, and they say that they are not ready.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nodes_do_not_survive_is_refused() {
    let app = TestApp::start(Backend::Postgres, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    kim.create("notes", json!({"title": "t", "rank": 1, "slug": "a"})).await;
    for (from, to, why) in [
        ("body   = {", "words  = { was = \"body\",", "notes.body is not there"),
        ("slug   = { type = \"text\", unique", "slug   = { type = \"text\", required = true, default = \"x\", unique", "notes.slug is required"),
        ("body   = { type = \"text\" }", "body   = { type = \"text\", max_length = 5 }", "notes.body takes less, or other values"),
        ("rank   = { type = \"int\"", "rank   = { type = \"int\", unique = true", "notes.rank"),
    ] {
        let root = app.copy("next");
        changed(&root, "collections/notes.toml", from, to);
        let said = haechi(&root, &["migrate", "plan"]);
        let plan = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
        assert!(plan.contains("needs all nodes of before stopped:") && plan.contains(why), "{plan}");
        let said = haechi(&root, &["migrate", "apply"]);
        refused(&said, "nodes are serving that do not go on over this");
        refused(&said, why);
        std::fs::remove_dir_all(root).unwrap();
    }
    // A field that goes: the new nodes first, then the database.
    let root = app.copy("next");
    changed(&root, "collections/notes.toml", "body   = { type = \"text\" }\n", "");
    let plan = haechi(&root, &["migrate", "plan"]);
    let plan = String::from_utf8_lossy(&plan.stdout).into_owned();
    assert!(plan.contains("start the new ones first, then apply it with --allow-drop"), "{plan}");
    refused(&haechi(&root, &["migrate", "apply", "--allow-drop"]), "a node: notes.body is not there");
    assert!(done(&haechi(&root, &["migrate", "apply", "--expand"])).contains("nothing to do"));
    let new = TestApp::open_as_it_is(root.clone(), Backend::Postgres, app.clock.clone()).await;
    let theirs = Person::with_token(&new, &kim);
    theirs.create("notes", json!({"title": "without"})).await;
    new.verify().await;
    // Somebody does it all the same.
    drop(new.close().await);
    done(&haechi(&root, &["migrate", "apply", "--allow-drop", "--despite-nodes"]));
    until("a node stays ready over a model that it does not know", async || app.anonymous().get("/readyz").await.status == 503).await;
    assert!(app.house.gate.outdated().iter().any(|why| why == "notes.body is not there"));
    let new = TestApp::open_as_it_is(root, Backend::Postgres, app.clock.clone()).await;
    new.verify().await;
    app.close().await;
    new.finish().await;
}

/// OPS-25: a migration beside somebody who holds the table, as `pg_dump` does, holds up no request, and is done when they let go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_lets_others_go_first() {
    let app = TestApp::start(Backend::Postgres, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let note = kim.create("notes", json!({"title": "t"})).await;
    let other = client(&url(&app.root)).await;
    other.batch_execute("BEGIN; LOCK TABLE \"notes\" IN ACCESS SHARE MODE").await.unwrap();
    let root = app.copy("next");
    next_release(&root);
    let (asked, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let apply = {
        let root = root.clone();
        tokio::task::spawn_blocking(move || haechi(&root, &["migrate", "apply"]))
    };
    let begun = std::time::Instant::now();
    let mut held = true;
    while !apply.is_finished() {
        let read = tokio::time::timeout(Duration::from_secs(5), kim.get(&format!("/api/v1/notes/{note}"))).await.unwrap();
        asked.fetch_add(1, Ordering::Relaxed);
        failed.fetch_add(usize::from(read.status != 200), Ordering::Relaxed);
        if held && begun.elapsed() > Duration::from_secs(6) {
            other.batch_execute("ROLLBACK").await.unwrap();
            held = false;
        }
        assert!(begun.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!held, "it was done although the table was held");
    done(&apply.await.unwrap());
    assert_eq!(failed.into_inner(), 0, "of {} requests", asked.into_inner());
    // What was half made is made anew.
    other.batch_execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = (SELECT oid FROM pg_class WHERE relname LIKE 'notes_%rank%' AND relkind = 'i' LIMIT 1)").await.unwrap();
    assert!(done(&haechi(&root, &["migrate", "apply"])).contains("nothing to do"));
    let valid = "SELECT bool_and(indisvalid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relname LIKE 'notes%'";
    assert!(other.query_one(valid, &[]).await.unwrap().get::<_, bool>(0));
    // What is left for afterwards may meet rows that do not fit: they are named, and it goes on when they are mended.
    let unique = app.copy("unique");
    std::fs::copy(root.join("collections/notes.toml"), unique.join("collections/notes.toml")).unwrap();
    std::fs::copy(root.join("collections/marks.toml"), unique.join("collections/marks.toml")).unwrap();
    changed(&unique, "collections/marks.toml", "word = { type = \"text\"", "word = { type = \"text\", unique = true");
    done(&haechi(&unique, &["migrate", "apply", "--despite-nodes"]));
    let index: String = other
        .query_one("SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'marks'::regclass AND NOT indisprimary", &[])
        .await
        .unwrap()
        .get(0);
    other.batch_execute(&format!("DROP INDEX {index}")).await.unwrap();
    let mark = "INSERT INTO marks (id, create_time, update_time, version, word, _organisation) VALUES ($1, 0, 0, 1, 'same', '')";
    for id in ["a", "b"] {
        other.execute(mark, &[&id]).await.unwrap();
    }
    refused(&haechi(&unique, &["migrate", "apply"]), "the tables are changed, but what remains cannot be done: ");
    other.batch_execute("DELETE FROM marks").await.unwrap();
    assert!(done(&haechi(&unique, &["migrate", "apply"])).contains("nothing to do"));
    changed(&unique, "collections/marks.toml", ", unique = true", "");
    done(&haechi(&unique, &["migrate", "apply", "--despite-nodes"]));
    let new = TestApp::open_as_it_is(root, Backend::Postgres, app.clock.clone()).await;
    let key = &new.house.keys.schema;
    assert!(matches!(new.house.gate.migrate(key, new.house.gate.plan(key).await.unwrap(), false).await, Ok(()) | Err(MigrateError::Overtaken)));
    new.verify().await;
    app.close().await;
    new.finish().await;
}
