//! Old parts of the ledger move to files: both parts still verify, and nobody without the master key can remove entries.

use crate::{
    fixture::FILES,
    process::{Dev, done, haechi, refused},
};
use haechi_gate::Part;
use haechi_testkit::{Backend, TestApp, fresh_folder, on_both};
use serde_json::json;

on_both!(
    a_backup_after_an_archive_is_whole,
    rows_are_verified_while_they_are_written,
    what_leaves_and_what_stays_verify,
    rows_that_change_meanwhile_stay_provable,
    deleting_is_not_archiving
);

async fn grown(backend: Backend) -> (TestApp, haechi_testkit::Person) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    for at in 0..30 {
        let id = kim.create("notes", json!({"title": format!("n{at}"), "secret": "words"})).await;
        if at % 3 == 0 {
            kim.delete(&format!("/api/v1/notes/{id}")).await.expect(204);
        }
        if at % 10 == 9 {
            app.house.gate.settle().await;
            app.clock.advance_ms(60_000);
        }
    }
    app.verify().await;
    let kim = kim.renewed(&app);
    (app, kim)
}

async fn file(app: &TestApp, part: &Part) -> Vec<u8> {
    let (mut all, mut next) = (Vec::new(), Some(part.from));
    while let Some(position) = next {
        let (lines, after) = app.house.gate.archive_lines(&app.house.keys.audit, part, position).await.unwrap();
        all.extend(lines);
        next = after;
    }
    all
}

/// AUD-01 [V16.4.2 V16.4.3]
async fn what_leaves_and_what_stays_verify(backend: Backend) {
    let (app, kim) = grown(backend).await;
    let (gate, key) = (app.house.gate.clone(), &app.house.keys.audit);
    let before = app.ledger().await;
    let (now, mut files) = (haechi_gate::Clock::now_ms(&*app.clock), Vec::new());
    assert!(gate.archivable(key, now - 3_600_000).await.unwrap().is_none(), "nothing is so old");
    for minutes in [2, 1] {
        let part = gate.archivable(key, now - minutes * 60_000 + 1).await.unwrap().unwrap();
        let bytes = file(&app, &part).await;
        let report = gate.verify_archive(bytes.as_slice(), &[]);
        assert_eq!((report.findings.count, report.from, report.size), (0, part.from, part.size), "{:?}", report.findings.findings);
        let (from, size) = (part.from, part.size);
        gate.take_out(key, part, "uid 0").await.unwrap();
        let report = app.verify().await;
        assert_eq!(report.archived, size);
        assert!(report.rows >= 20, "every row is still compared: {report:?}");
        files.push((from, size, bytes));
    }
    assert_eq!((files[0].0, files[0].1), (0, files[1].0), "the second goes on where the first ends");
    let left = app.ledger().await;
    assert!(left.len() < before.len() && left.iter().any(|entry| entry["action"] == "archive"));
    // The house goes on, also after a restart.
    kim.create("notes", json!({"title": "later"})).await;
    app.verify().await;
    let app = app.restart().await;
    app.verify().await;
    for (_, _, bytes) in &files {
        for (what, altered) in alterations(bytes) {
            let report = app.house.gate.verify_archive(altered.as_slice(), &[]);
            assert!(report.findings.count > 0, "{what} is not found");
        }
        let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
        let wiped: String = lines
            .map(|mut line| {
                if line["position"].is_i64() {
                    (line["salt"], line["detail"]) = (json!(""), json!(""));
                }
                format!("{line}\n")
            })
            .collect();
        let report = app.house.gate.verify_archive(wiped.as_bytes(), &[]);
        assert_eq!(report.findings.erased, report.size - report.from, "what was wiped is counted");
    }
    app.finish().await;
}

/// A file with one thing wrong each.
fn alterations(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let lines: Vec<serde_json::Value> = bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let join = |lines: &[serde_json::Value]| lines.iter().map(|line| format!("{line}\n")).collect::<String>().into_bytes();
    let entry = lines.iter().position(|line| line["position"].is_i64()).unwrap();
    let last = lines.iter().rposition(|line| line["note"].is_string()).unwrap();
    let with = |change: &dyn Fn(&mut Vec<serde_json::Value>)| {
        let mut lines = lines.clone();
        change(&mut lines);
        join(&lines)
    };
    vec![
        ("cut in half", bytes[..bytes.len() / 2].to_vec()),
        ("a dropped entry", with(&|lines| drop(lines.remove(entry)))),
        ("swapped entries", with(&|lines| lines.swap(entry, entry + 1))),
        ("an altered detail", with(&|lines| lines[entry]["detail"] = json!("{\"a\":1}"))),
        ("an altered entry", with(&|lines| lines[entry]["entry"] = lines[entry + 1]["entry"].clone())),
        ("a moved checkpoint", with(&|lines| lines.swap(last, last - 1))),
        ("no last checkpoint", with(&|lines| drop(lines.remove(last)))),
        ("another beginning", with(&|lines| lines[0]["from"] = json!(7))),
        ("another end", with(&|lines| lines[0]["size"] = json!(9_999))),
        ("no end", with(&|lines| drop(lines.pop()))),
        ("an entry after the end", with(&|lines| lines.push(lines[entry].clone()))),
        ("another position", with(&|lines| lines[entry + 3]["position"] = json!(1))),
        ("a position far away", with(&|lines| lines[entry]["position"] = json!(9_000_000_000_000_i64))),
        ("nothing", Vec::new()),
        ("nonsense", b"nonsense\n".to_vec()),
    ]
}

async fn rows_that_change_meanwhile_stay_provable(backend: Backend) {
    let (app, kim) = grown(backend).await;
    let (gate, key) = (app.house.gate.clone(), &app.house.keys.audit);
    let now = haechi_gate::Clock::now_ms(&*app.clock);
    let part = gate.archivable(key, now + 1).await.unwrap().unwrap();
    let ids: Vec<String> = kim.get("/api/v1/notes?page_size=100").await.json()["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["id"].as_str().unwrap().to_owned())
        .collect();
    let writing = async {
        for id in ids.iter().cycle().take(60) {
            kim.patch(&format!("/api/v1/notes/{id}"), json!({"body": "meanwhile"})).await.expect(200);
        }
        kim.delete(&format!("/api/v1/notes/{}", ids[0])).await.expect(204);
    };
    let (_, taken) = tokio::join!(writing, gate.take_out(key, part, "uid 0"));
    match taken {
        Ok(()) | Err(haechi_gate::ArchiveError::Busy) => {}
        Err(other) => panic!("{other}"),
    }
    app.finish().await;
}

/// Rows that are written while they are compared are no finding; a row that was edited is one all the same.
async fn rows_are_verified_while_they_are_written(backend: Backend) {
    let (app, kim) = grown(backend).await;
    let (gate, key) = (app.house.gate.clone(), &app.house.keys.audit);
    let page = kim.get("/api/v1/notes?page_size=100").await.json();
    let ids: Vec<String> = page["items"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    let busy = std::sync::atomic::AtomicBool::new(true);
    let writing = async {
        let mut at = 0;
        while busy.load(std::sync::atomic::Ordering::Relaxed) {
            at += 1;
            let id = kim.create("notes", json!({"title": "new"})).await;
            let change =
                ids.iter().take(8).map(|id| async { kim.patch(&format!("/api/v1/notes/{}", id.clone()), json!({"body": at.to_string()})).await });
            futures_util::future::join_all(change).await;
            kim.delete(&format!("/api/v1/notes/{id}")).await.expect(204);
        }
    };
    let verifying = async {
        for _ in 0..12 {
            let report = gate.verify(key, &[], true).await.unwrap();
            assert_eq!(report.findings, [], "rows that are written are told as wrong");
        }
        busy.store(false, std::sync::atomic::Ordering::Relaxed);
    };
    tokio::join!(writing, verifying);
    if backend == Backend::Sqlite {
        let connection = rusqlite::Connection::open(app.database_file()).unwrap();
        connection.execute("UPDATE notes SET body = 'edited' WHERE id = ?", [&ids[9]]).unwrap();
        connection.execute("DELETE FROM notes WHERE id = ?", [&ids[10]]).unwrap();
        let report = gate.verify(key, &[], true).await.unwrap();
        let found: Vec<&str> = report.findings.iter().map(|finding| finding.what.as_str()).collect();
        assert!(
            found.len() == 2 && found.iter().any(|what| what.contains("edited")) && found.iter().any(|what| what.contains("deleted")),
            "{found:?}"
        );
        app.house.close().await;
        return;
    }
    app.finish().await;
}

/// What is edited or deleted behind the ledger's back while an archive is made is found, and nothing is taken out.
#[tokio::test]
async fn nothing_is_laundered_by_an_archive() {
    for sql in ["UPDATE notes SET title = 'edited' WHERE id = ?", "DELETE FROM notes WHERE id = ?"] {
        let (app, kim) = grown(Backend::Sqlite).await;
        let (gate, key) = (app.house.gate.clone(), &app.house.keys.audit);
        let part = gate.archivable(key, haechi_gate::Clock::now_ms(&*app.clock) + 1).await.unwrap().unwrap();
        let size = part.size;
        let page = kim.get("/api/v1/notes").await.json();
        let id = page["items"][0]["id"].as_str().unwrap();
        let connection = rusqlite::Connection::open(app.database_file()).unwrap();
        connection.execute(sql, [id]).unwrap();
        let taken = gate.take_out(key, part, "uid 0").await;
        assert!(matches!(taken, Err(haechi_gate::ArchiveError::Findings(1..))), "{sql}: {taken:?}");
        let report = gate.verify(key, &[], true).await.unwrap();
        assert!(report.archived == 0 && report.count == 1, "{sql}: {report:?}");
        let left: i64 = connection.query_row("SELECT count(*) FROM _log WHERE position < ?", [size], |row| row.get(0)).unwrap();
        assert_eq!(left, size, "{sql}: entries were deleted");
        app.house.close().await;
    }
}

/// No row below an archive goes unnoticed, and positions continue after deletions.
#[tokio::test]
async fn nothing_takes_the_place_of_what_left() {
    let (app, kim) = grown(Backend::Sqlite).await;
    let (gate, key) = (app.house.gate.clone(), &app.house.keys.audit);
    let part = gate.archivable(key, haechi_gate::Clock::now_ms(&*app.clock) + 1).await.unwrap().unwrap();
    kim.create("notes", json!({"title": "meanwhile"})).await;
    gate.take_out(key, part, "uid 0").await.unwrap();
    app.verify().await;
    let connection = rusqlite::Connection::open(app.database_file()).unwrap();
    connection.execute("INSERT INTO _log SELECT 5, 'forged', entry, hash, salt, detail, event, organisation FROM _log LIMIT 1", []).unwrap();
    assert!(gate.verify(key, &[], true).await.unwrap().count > 0);
    assert!(!app.ledger().await.iter().any(|entry| entry["position"] == 5), "what is forged is exported");
    let app = app.restart().await;
    let clean = async || app.house.gate.verify(&app.house.keys.audit, &[], true).await.unwrap().count == 0;
    for _ in 0..500 {
        if clean().await {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(clean().await, "what does not belong there is not deleted when the house is opened");
    let last: i64 = connection.query_row("SELECT max(size) FROM _seals", [], |row| row.get(0)).unwrap();
    connection.execute("DELETE FROM _log", []).unwrap();
    let app = app.restart().await;
    app.person("ann", &["member"]).await.create("notes", json!({"title": "after all were deleted"})).await;
    let first: i64 = connection.query_row("SELECT min(position) FROM _log", [], |row| row.get(0)).unwrap();
    assert!(first >= last, "an entry took the place of one that was sealed");
    assert!(app.house.gate.verify(&app.house.keys.audit, &[], false).await.unwrap().count > 0, "what was deleted is missed");
    app.house.close().await;
}

/// What waited for its seal when a copy was made is not old because the copy is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_copy_of_a_busy_moment_verifies() {
    let clock = std::sync::Arc::new(haechi_gate::TestClock::new());
    clock.advance_ms(-3_600_000);
    let app = TestApp::open(fresh_folder(Backend::Sqlite, FILES).await, Backend::Sqlite, clock).await;
    app.person("kim", &["member"]).await.create("notes", json!({"title": "an hour ago"})).await;
    app.house.gate.settle().await;
    let file = app.root.join("busy.db");
    app.house.gate.backup(&app.house.keys.backup, &file, "uid 0").await.unwrap();
    // The copy as it is when entries came after its last seal.
    let copy = rusqlite::Connection::open(&file).unwrap();
    copy.execute("DELETE FROM _seals WHERE size = (SELECT max(size) FROM _seals)", []).unwrap();
    drop(copy);
    let (revision, warnings) = haechi::app::folder::load(&app.root).unwrap();
    let house = haechi::House::over_file(revision, warnings, &file, &app.root.join(".haechi")).await.unwrap();
    let report = house.gate.verify(&house.keys.audit, &[], true).await.unwrap();
    assert_eq!(report.findings.as_slice(), &[][..]);
    house.close().await;
    app.finish().await;
}

async fn a_backup_after_an_archive_is_whole(backend: Backend) {
    let (app, kim) = grown(backend).await;
    let (gate, key) = (app.house.gate.clone(), &app.house.keys.audit);
    let part = gate.archivable(key, haechi_gate::Clock::now_ms(&*app.clock) - 60_000).await.unwrap().unwrap();
    let size = part.size;
    gate.take_out(key, part, "uid 0").await.unwrap();
    kim.create("notes", json!({"title": "later"})).await;
    let file = app.root.join("copy.db");
    gate.backup(&app.house.keys.backup, &file, "uid 0").await.unwrap();
    let (revision, warnings) = haechi::app::folder::load(&app.root).unwrap();
    let copy = haechi::House::over_file(revision, warnings, &file, &app.root.join(".haechi")).await.unwrap();
    let report = copy.gate.verify(&copy.keys.audit, &[], true).await.unwrap();
    assert_eq!((report.findings.as_slice(), report.archived), (&[][..], size));
    copy.close().await;
    app.finish().await;
}

/// Deleting old entries without the archive code is found.
async fn deleting_is_not_archiving(backend: Backend) {
    let (app, _) = grown(backend).await;
    let (gate, key) = (app.house.gate.clone(), &app.house.keys.audit);
    let now = haechi_gate::Clock::now_ms(&*app.clock);
    let part = gate.archivable(key, now - 2 * 60_000 + 1).await.unwrap().unwrap();
    let size = part.size;
    if backend == Backend::Sqlite {
        let connection = rusqlite::Connection::open(app.database_file()).unwrap();
        connection.execute("DELETE FROM _log WHERE position < ?", [size]).unwrap();
        connection.execute("DELETE FROM _seals WHERE size < ?", [size]).unwrap();
        // A leaf in the place of the code: the shape alone is not enough.
        let frontier: Vec<u8> = connection.query_row("SELECT frontier FROM _seals WHERE size = ?", [size], |row| row.get(0)).unwrap();
        let tree = 4 + u32::from_be_bytes(frontier[..4].try_into().unwrap()) as usize;
        connection.execute("UPDATE _seals SET frontier = ? WHERE size = ?", (&frontier[..tree + 32], size)).unwrap();
        let report = gate.verify(key, &[], true).await.unwrap();
        assert!(report.count > 0 && report.archived == 0, "{report:?}");
        assert!(gate.archivable(key, now).await.is_err(), "what is wrong is not archived");
        app.house.close().await;
        return;
    }
    gate.take_out(key, part, "uid 0").await.unwrap();
    app.finish().await;
}

/// The command, on a running house and without one.
#[tokio::test]
async fn archive_from_the_command_line() {
    let root = fresh_folder(Backend::Sqlite, FILES).await;
    std::fs::create_dir_all(root.join("seed")).unwrap();
    std::fs::write(root.join("seed/things.csv"), "text\none\ntwo\n").unwrap();
    let witness = root.join("witness");
    let toml = std::fs::read_to_string(root.join("haechi.toml")).unwrap();
    std::fs::write(root.join("haechi.toml"), format!("{toml}\n[ledger]\nwitness = [\"file:{}\"]\n", witness.display())).unwrap();
    let dev = Dev::start(&root);
    let at = |name: &str| root.join(name).display().to_string();
    let now = || haechi_model::format_datetime(haechi_gate::Clock::now_ms(&haechi_gate::SystemClock));
    let sealed = (0..600).any(|_| {
        witness.exists() || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            false
        }
    });
    assert!(sealed, "no checkpoint reached its witness");
    refused(&haechi(&root, &["audit", "archive", "--before", "soon", &at("a")]), "`soon` is no day");
    refused(&haechi(&root, &["audit", "archive", "--before", "2001-01-01", &at("a")]), "nothing that was sealed before then");
    refused(&haechi(&root, &["audit", "archive", "--before", "2101-01-01", &at("a")]), "still to come");
    refused(&haechi(&root, &["audit", "archive", "--before", &now(), &at("none/a")]), "is not there");
    assert!(done(&haechi(&root, &["audit", "archive", "--before", &now(), &at("a")])).contains("verified"));
    refused(&haechi(&root, &["audit", "archive", "--before", &now(), &at("a")]), "is there already");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(at("a")).unwrap().permissions()) & 0o777;
    assert_eq!(mode, 0o600);
    dev.end();
    assert!(done(&haechi(&root, &["audit", "archive", "--before", &now(), &at("b")])).contains("verified"));
    assert!(done(&haechi(&root, &["audit", "verify", "--rows"])).contains(" 0 findings"));
    let kept = witness.display().to_string();
    let both = ["audit", "verify", "--rows", "--checkpoint", &kept, "--archive", &at("a"), "--archive", &at("b")];
    assert!(done(&haechi(&root, &both)).contains(" 0 findings"));
    let missing = haechi(&root, &["audit", "verify", "--checkpoint", &kept, "--archive", &at("b")]);
    let text = String::from_utf8_lossy(&missing.stdout).into_owned();
    assert!(!missing.status.success() && text.contains("are in no file that was given"), "{text}");
    let said = |arguments: &[&str]| String::from_utf8_lossy(&haechi(&root, arguments).stdout).into_owned();
    let twice = said(&["audit", "verify", "--archive", &at("a"), "--archive", &at("a"), "--archive", &at("b")]);
    assert!(twice.contains("holds entries that another file holds, too"), "{twice}");
    let first = said(&["audit", "verify", "--archive", &at("a")]);
    assert!(first.contains(" are archived; the files end at "), "{first}");
    let without = haechi(&root, &["audit", "verify", "--checkpoint", &kept]);
    assert!(!without.status.success() && String::from_utf8_lossy(&without.stdout).contains("give the files with --archive"));
    std::fs::remove_dir_all(root).unwrap();
}
