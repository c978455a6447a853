//! The ledger finds what was done behind its back, and says where.

use crate::fixture::FILES;
use haechi_testkit::{Backend, TestApp};
use rusqlite::Connection;
use serde_json::json;

/// A ledger with twenty changes, sealed twice.
async fn filled() -> (TestApp, Connection) {
    let app = TestApp::start(Backend::Sqlite, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    for at in 0..20 {
        kim.create("notes", json!({"title": format!("n{at}"), "secret": "hidden words"})).await;
        if at == 9 {
            app.house.gate.settle().await;
        }
    }
    app.verify().await;
    let connection = Connection::open(app.database_file()).unwrap();
    (app, connection)
}

async fn findings(app: &TestApp, rows: bool) -> Vec<(Option<i64>, String)> {
    let report = app.house.gate.verify(&app.house.keys.audit, &[], rows).await.unwrap();
    report.findings.into_iter().map(|finding| (finding.position, finding.what)).collect()
}

/// AUD-01 [V16.4.2]
#[tokio::test]
async fn every_kind_of_tampering_is_found_and_located() {
    for (what, sql, position) in [
        ("altered entry", "UPDATE _log SET entry = CAST(substr(entry, 1, 60) || 'X' || substr(entry, 62) AS BLOB) WHERE position = 7", 7),
        ("altered hash", "UPDATE _log SET hash = zeroblob(32) WHERE position = 5", 5),
        ("altered detail", "UPDATE _log SET detail = '{}' WHERE position = 6", 6),
        ("altered event", "UPDATE _log SET event = COALESCE(event, '') || ' ' WHERE position = 7", 7),
        ("altered organisation", "UPDATE _log SET organisation = 'other' WHERE position = 4", 4),
        ("altered salt", "UPDATE _log SET salt = zeroblob(32) WHERE position = 6", 6),
        ("dropped entry", "DELETE FROM _log WHERE position = 8", 8),
        ("cut off end", "DELETE FROM _log WHERE position >= 15", 15),
        (
            "moved entries",
            "UPDATE _log SET position = -1 WHERE position = 3; UPDATE _log SET position = 3 WHERE position = 4; UPDATE _log SET position = 4 WHERE position = -1",
            3,
        ),
        (
            "inserted entry",
            "UPDATE _log SET position = -position - 1 WHERE position >= 9; UPDATE _log SET position = -position WHERE position < 0; INSERT INTO _log SELECT 9, id, entry, hash, salt, detail, event, organisation FROM _log WHERE position = 2",
            9,
        ),
        ("seal altered", "UPDATE _seals SET note = replace(note, 'haechi', 'hacked') WHERE size = (SELECT max(size) FROM _seals)", 13),
    ] {
        let (app, connection) = filled().await;
        connection.execute_batch(sql).unwrap();
        let found = findings(&app, false).await;
        assert!(!found.is_empty(), "{what} is not found");
        if what != "seal altered" {
            assert_eq!(found[0].0, Some(position), "{what}: {found:?}");
        }
    }
}

/// What stands beside the entries is covered, too.
#[tokio::test]
async fn altered_times_and_migrations_are_named() {
    for (sql, words) in [
        ("UPDATE _seals SET time = time - 1 WHERE size = (SELECT max(size) FROM _seals)", "the time of the checkpoint"),
        ("UPDATE _migrations SET time = 1", "migration 1 was altered"),
        ("UPDATE _migrations SET tables = replace(tables, '10000', '9999')", "migration 1 was altered"),
        ("DELETE FROM _migrations", "migration 1 was applied and is gone"),
        (
            "INSERT INTO _migrations SELECT version + 1, time, checksum, sql, replace(tables, '10000', '9999') FROM _migrations",
            "migration 2 is stated by no entry",
        ),
    ] {
        let (app, connection) = filled().await;
        connection.execute_batch(sql).unwrap();
        let found = findings(&app, false).await;
        assert!(found.len() == 1 && found[0].1.contains(words), "{sql}: {found:?}");
    }
}

/// A migration that was interrupted before the ledger had it is named, and completed by the next run.
#[tokio::test]
async fn an_interrupted_migration_is_completed() {
    let (app, connection) = filled().await;
    // Two migrations, there and back: the tables are those of the folder.
    for (version, tables) in [(2, "replace(tables, '10000', '9999')"), (3, "tables")] {
        let insert = format!("INSERT INTO _migrations SELECT {version}, time, checksum, sql, {tables} FROM _migrations WHERE version = 1");
        connection.execute_batch(&insert).unwrap();
    }
    assert_eq!(findings(&app, true).await.len(), 2);
    drop(connection);
    let clock = app.clock.clone();
    let root = app.close().await;
    let said = |arguments: &[&str]| String::from_utf8_lossy(&crate::process::haechi(&root, arguments).stdout).into_owned();
    let plan = said(&["migrate", "plan"]);
    assert!(plan.contains("was interrupted") && !plan.contains("nothing to do"), "{plan}");
    assert_eq!(said(&["migrate", "apply"]), "completed a migration that was interrupted\n");
    assert_eq!((said(&["migrate", "plan"]), said(&["migrate", "apply"])), ("nothing to do\n".to_owned(), "nothing to do\n".to_owned()));
    TestApp::open(root, Backend::Sqlite, clock).await.finish().await;
}

/// The same of the very first one: the ledger of a database with tables is never empty.
#[tokio::test]
async fn the_first_migration_is_completed_too() {
    let root = haechi_testkit::fresh_folder(Backend::Sqlite, FILES).await;
    let run = |arguments: &[&str]| crate::process::haechi(&root, arguments);
    let said = |arguments: &[&str]| String::from_utf8_lossy(&run(arguments).stdout).into_owned();
    assert!(run(&["migrate", "apply"]).status.success());
    let connection = rusqlite::Connection::open(root.join(".haechi/haechi.db")).unwrap();
    connection.execute_batch("DELETE FROM _log; DELETE FROM _seals").unwrap();
    drop(connection);
    let verified = run(&["audit", "verify"]);
    assert!(!verified.status.success() && said(&["audit", "verify"]).contains("migration 1 is stated by no entry"), "{verified:?}");
    assert!(said(&["migrate", "plan"]).contains("was interrupted"));
    assert_eq!(said(&["migrate", "apply"]), "completed a migration that was interrupted\n");
    assert_eq!(said(&["migrate", "plan"]), "nothing to do\n");
    assert!(run(&["audit", "verify", "--rows"]).status.success(), "{}", said(&["audit", "verify", "--rows"]));
    std::fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn rows_edited_behind_the_back_are_named() {
    for (sql, words) in [
        ("UPDATE notes SET secret = 'other' WHERE title = 'n3'", "was edited"),
        ("DELETE FROM notes WHERE title = 'n4'", "was deleted"),
        (
            "INSERT INTO notes (id, create_time, update_time, version, title, author, _organisation) SELECT '01920000-0000-7000-8000-00000000ffff', 0, 0, 1, 'x', author, '' FROM notes LIMIT 1",
            "was inserted",
        ),
        ("UPDATE users SET roles = '[\"admin\"]'", "was edited"),
    ] {
        let (app, connection) = filled().await;
        connection.execute_batch(sql).unwrap();
        assert_eq!(findings(&app, false).await, [], "the log itself is whole");
        let found = findings(&app, true).await;
        assert_eq!(found.len(), 1, "{sql}: {found:?}");
        assert!(found[0].1.contains(words), "{found:?}");
    }
}

/// AUD-02: rewriting everything with the whole database in hand fails against a checkpoint kept elsewhere.
#[tokio::test]
async fn a_rewritten_past_fails_against_a_checkpoint_kept_elsewhere() {
    let (app, connection) = filled().await;
    let note = app.house.gate.checkpoint(&app.house.keys.audit).await.unwrap().unwrap();
    connection.execute_batch("DELETE FROM _seals; DELETE FROM _log WHERE position >= 10").unwrap();
    let app = app.restart().await;
    app.house.gate.settle().await;
    let report = app.house.gate.verify(&app.house.keys.audit, &[note], false).await.unwrap();
    assert!(report.findings.iter().any(|finding| finding.what.contains("kept elsewhere")), "{report:?}");
}

#[tokio::test]
async fn entries_hold_no_classed_values_and_are_small() {
    let (app, connection) = filled().await;
    let canary: i64 = connection.query_row("SELECT count(*) FROM _log WHERE instr(CAST(entry AS TEXT), 'hidden words') OR instr(detail, 'hidden words') OR instr(event, 'hidden words')", [], |row| row.get(0)).unwrap();
    assert_eq!(canary, 0);
    let largest: i64 = connection.query_row("SELECT max(length(entry)) FROM _log", [], |row| row.get(0)).unwrap();
    assert!(largest <= 400, "{largest}");
    app.finish().await;
}

#[tokio::test]
async fn erased_details_keep_every_proof() {
    let (app, connection) = filled().await;
    connection.execute_batch("UPDATE _log SET salt = NULL, detail = NULL WHERE position = 6").unwrap();
    let report = app.house.gate.verify(&app.house.keys.audit, &[], true).await.unwrap();
    // The proofs stay, the detail is missed: nothing erases yet.
    assert_eq!((report.erased, report.sealed, report.count), (1, report.entries, 1));
    assert_eq!(report.findings[0].position, Some(6));
    app.close().await;
}

/// Commands that end right after each other leave every entry with its position and seal, no matter which one had the lease.
async fn what_commands_write_is_sealed(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let root = app.close().await;
    let open = async || {
        let data = haechi::DataDir::open(haechi::app::folder::default_data(&root)).unwrap();
        let (revision, warnings) = haechi::app::folder::load(&root).unwrap();
        let house = haechi::House::with(revision, warnings, &data, haechi::Mode::Dev).await.unwrap();
        (house, data)
    };
    for number in 1..=3 {
        let (house, data) = open().await;
        house.gate.record(&house.keys.schema, "reload").await.unwrap();
        house.gate.settle().await;
        let report = house.gate.verify(&house.keys.audit, &[], true).await.unwrap();
        assert_eq!((report.waiting, report.sealed, report.count), (0, report.entries, 0), "{number}: {report:?}");
        house.close().await;
        drop(data);
    }
    std::fs::remove_dir_all(root).unwrap();
}

/// An entry that was committed long ago and has no position or no seal is a finding; one of this moment waits.
async fn what_is_not_sealed_in_time_is_named(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    kim.create("notes", json!({"title": "t"})).await;
    app.verify().await;
    app.house.abandon();
    kim.create("notes", json!({"title": "later"})).await;
    let verify = async || app.house.gate.verify(&app.house.keys.audit, &[], true).await.unwrap();
    let report = verify().await;
    assert_eq!((report.count, report.waiting), (0, i64::from(backend == Backend::Postgres)), "{:?}", report.findings);
    app.clock.advance_ms(31_000);
    let report = verify().await;
    assert_eq!(report.count, 1, "{:?}", report.findings);
    let what = if backend == Backend::Postgres { "has no position" } else { "are not sealed" };
    assert!(report.findings[0].what.contains(what), "{:?}", report.findings);
    app.house.gate.settle().await;
    assert_eq!(verify().await.count, 0);
    app.close().await;
}

/// An old entry, copied over another, is named.
#[tokio::test]
async fn an_entry_that_stands_twice_is_named() {
    let (app, connection) = filled().await;
    app.house.abandon();
    connection
        .execute_batch(
            "UPDATE _log SET (id, entry, hash, salt, detail, event) = (SELECT id, entry, hash, salt, detail, event FROM _log WHERE position = 3) \
             WHERE position = (SELECT MAX(position) FROM _log)",
        )
        .unwrap();
    let report = app.house.gate.verify(&app.house.keys.audit, &[], false).await.unwrap();
    assert!(report.findings.iter().any(|finding| finding.what.contains("stands in the ledger twice")), "{:?}", report.findings);
    app.close().await;
}

/// [V16.3.2]: a refusal can be found by its request's id, with who asked for what; an allowed request cannot.
async fn a_refusal_is_found_by_its_request(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let (kim, lee) = (app.person("kim", &["member"]).await, app.person("lee", &["auditor"]).await);
    let note = kim.create("notes", json!({"title": "t"})).await;
    let allowed = lee.get(&format!("/api/v1/notes/{note}")).await.expect(200);
    let by_policy = lee.post("/api/v1/notes", json!({"title": "mine"})).await.expect(403);
    let by_class = kim.post("/api/v1/notes", json!({"title": "t", "rank": 13})).await.expect(201);
    let by_row = kim.patch(&format!("/api/v1/notes/{}", by_class.json()["id"].as_str().unwrap()), json!({"title": "u"})).await.expect(403);
    app.house.gate.settle().await;
    let found = async |request: &str| app.house.gate.refused_request(&app.house.keys.audit, request).await.unwrap();
    let refused = found(by_policy.header("x-request-id")).await.unwrap();
    assert_eq!((refused.actor_id.as_str(), refused.action.as_str(), refused.collection.as_str()), (lee.id.as_str(), "create", "notes"));
    assert_eq!(refused.record, None);
    let refused = found(by_row.header("x-request-id")).await.unwrap();
    assert_eq!((refused.action.as_str(), refused.record.as_deref()), ("update", by_class.json()["id"].as_str()));
    for nothing in [allowed.header("x-request-id"), "", "nonsense", "0192ffff-0000-7000-8000-000000000000"] {
        assert_eq!(found(nothing).await, None, "{nothing}");
    }
    app.finish().await;
}

/// A session, a password, a key or a code that somebody put there, changed or took away is named; what mere use changes is not.
async fn edited_credentials_are_named(backend: Backend) {
    for (sql, words) in [
        ("UPDATE _keys SET roles = '[\"admin\"]'", Some("was edited")),
        ("UPDATE _keys SET expires = expires + 1", Some("was edited")),
        ("DELETE FROM _keys", Some("was deleted")),
        ("INSERT INTO _passwords VALUES ('01920000-0000-7000-8000-000000000001', 'a hash', 0)", Some("was inserted")),
        ("INSERT INTO _sessions VALUES ('x', 'u', 'n', 0, 0, 0, 0, 0, '', '')", Some("was inserted")),
        ("INSERT INTO _once VALUES ('x', 'reset', 's', 9)", Some("was inserted")),
        ("INSERT INTO _buckets VALUES ('x', 9)", None),
    ] {
        let app = TestApp::start(backend, FILES).await;
        let operator = app.house.identity.operator("test");
        let new = haechi_identity::NewKey { label: "probe".to_owned(), ..Default::default() };
        operator.create_service_key("probe", &["auditor".to_owned()], &new).await.unwrap();
        app.verify().await;
        match backend {
            Backend::Sqlite => Connection::open(app.database_file()).unwrap().execute_batch(sql).unwrap(),
            Backend::Postgres => crate::types::client(&app.root).await.batch_execute(sql).await.unwrap(),
        }
        let found = findings(&app, true).await;
        assert_eq!(found.len(), usize::from(words.is_some()), "{sql}: {found:?}");
        assert!(words.is_none_or(|words| found[0].1.contains(words)), "{sql}: {found:?}");
        app.close().await;
    }
}

/// What housekeeping deletes stands in one entry, and no entry is written where there is nothing.
async fn housekeeping_states_what_it_deletes(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let operator = app.house.identity.operator("test");
    let entries = async || app.ledger().await.iter().filter(|entry| entry["action"] == "housekeeping").count();
    for name in ["one", "two"] {
        let new = haechi_identity::NewKey {
            label: name.to_owned(),
            expires_ms: Some(haechi_gate::Clock::now_ms(&*app.clock) + 86_400_000),
            ..Default::default()
        };
        operator.create_service_key(name, &["auditor".to_owned()], &new).await.unwrap();
    }
    app.house.identity.housekeeping().await.unwrap();
    assert_eq!(entries().await, 0);
    app.clock.advance_ms(2 * 24 * 3_600_000);
    app.house.identity.housekeeping().await.unwrap();
    assert_eq!(entries().await, 1);
    app.finish().await;
}

haechi_testkit::on_both!(
    edited_credentials_are_named,
    housekeeping_states_what_it_deletes,
    a_refusal_is_found_by_its_request,
    what_commands_write_is_sealed,
    what_is_not_sealed_in_time_is_named
);

/// `explain --request` says who was refused what, and what the policies say of it.
#[tokio::test]
async fn explain_answers_for_a_refused_request() {
    let app = TestApp::start(Backend::Sqlite, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let note = kim.create("notes", json!({"title": "t", "rank": 13})).await;
    let refused = kim.patch(&format!("/api/v1/notes/{note}"), json!({"title": "u"})).await.expect(403);
    let id = refused.json()["request_id"].as_str().unwrap().to_owned();
    app.house.gate.settle().await;
    let clock = app.clock.clone();
    let root = app.close().await;
    let explain = |request: &str| {
        let output =
            std::process::Command::new(env!("CARGO_BIN_EXE_haechi")).args(["explain", "--request", request, "-C"]).arg(&root).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    let (good, text) = explain(&id);
    assert!(good && text.contains(&format!("refused update on notes/{note}")) && text.contains("forbid") && text.ends_with(": no\n"), "{text}");
    let (good, text) = explain("0192ffff-0000-7000-8000-000000000000");
    assert!(!good && text.contains("no refusal in the ledger names"), "{text}");
    // It has read rows past policies: an entry says which, and about whom.
    let app = TestApp::open(root, Backend::Sqlite, clock).await;
    let entries = app.ledger().await;
    let explained: Vec<_> = entries.iter().filter(|entry| entry["action"] == "explain").collect();
    assert_eq!(explained.len(), 1, "{entries:?}");
    assert_eq!((&explained[0]["target"], &explained[0]["detail"]["who"]), (&json!(format!("notes/{note}")), &json!(kim.id)));
    app.finish().await;
}
