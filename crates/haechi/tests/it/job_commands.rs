//! `haechi job` and `haechi schedule` beside the running server, after a `kill -9`, and after a restore.

use crate::process::{Dev, done, haechi, refused};
use std::path::{Path, PathBuf};

fn folder(name: &str) -> PathBuf {
    let root = std::env::temp_dir().join(format!("haechi-job-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&root);
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("haechi.toml", "roles = [\"clerk\"]\n[services.robot]\nroles = [\"clerk\"]\n");
    write("collections/notes.toml", "[fields]\ntitle = { type = \"text\", required = true, unique = true }\n");
    write(
        "jobs/all.toml",
        "[jobs.note]\nas = \"service:robot\"\ninput = { title = { type = \"text\", required = true } }\n\
         do = { create = \"notes\", data = { title = { from = \"/input/title\" } } }\n\
         [jobs.drop]\nas = \"caller\"\ninput = { note = { type = \"uuid\", required = true } }\ndo = { delete = \"notes\", id = { from = \"/input/note\" } }\n\
         [[schedule]]\nname = \"nightly\"\ncron = \"30 2 * * *\"\nzone = \"Asia/Seoul\"\njob = \"note\"\ninput = { title = \"nightly\" }\n",
    );
    write(
        "policies/main.cedar",
        "@everything(\"tests\") permit (principal in Role::\"clerk\", action, resource);\n\
         permit (principal in Role::\"clerk\", action == Work::Action::\"enqueue\", resource);\n",
    );
    write("seed/users.csv", "email,roles\nkim@example.test,\"[\"\"clerk\"\"]\"\n");
    root
}

fn token(root: &Path) -> String {
    done(&haechi(root, &["token", "kim"])).trim().to_owned()
}

fn enqueue(dev: &Dev, token: &str, job: &str, body: &str) -> String {
    let (status, reply) = dev.ask("POST", &format!("/jobs/v1/{job}"), token, body);
    assert_eq!(status, 202, "{reply}");
    reply["id"].as_str().unwrap().to_owned()
}

fn until(mut what: impl FnMut() -> bool) {
    for _ in 0..600 {
        if what() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("it does not happen");
}

#[test]
fn operators_see_pause_retry_and_cancel() {
    let root = folder("commands");
    let dev = Dev::start(&root);
    let token = token(&root);
    let said = |arguments: &[&str]| done(&haechi(&root, arguments));
    assert!(said(&["job", "list"]).contains("no work waits, runs or is dead"));
    assert!(said(&["schedule", "list"]).contains("30 2 * * * Asia/Seoul"));

    // One that cannot be done: its note is not there.
    let dead = enqueue(&dev, &token, "drop", "{\"note\":\"01920000-0000-7000-8000-000000000001\"}");
    until(|| said(&["job", "show", &dead]).contains(": dead"));
    let list = said(&["job", "list"]);
    assert!(list.contains("drop: 1 dead") && list.contains(&dead) && list.contains("not-found") && !list.contains("no work"), "{list}");
    let shown = said(&["job", "show", &dead]);
    assert!(shown.contains("attempt 1 from") && shown.contains("not-found") && shown.contains("enqueued by user"), "{shown}");
    assert!(said(&["job", "retry", &dead]).contains("is tried again"));
    until(|| said(&["job", "show", &dead]).matches("not-found").count() == 2);
    assert!(said(&["job", "cancel", &dead]).contains("is cancelled"));
    refused(&haechi(&root, &["job", "cancel", &dead]), "is cancelled already");
    refused(&haechi(&root, &["job", "retry", &dead]), "is cancelled already");
    refused(&haechi(&root, &["job", "show", "x"]), "no run has the id `x`");
    assert!(said(&["job", "list"]).contains("no work waits, runs or is dead"));

    assert!(said(&["job", "pause", "job/note", "--reason", "the printer burns"]).contains("job/note is paused"));
    std::thread::sleep(std::time::Duration::from_millis(200));
    let waits = enqueue(&dev, &token, "note", "{\"title\":\"one\"}");
    std::thread::sleep(std::time::Duration::from_millis(300));
    let list = said(&["job", "list", "note"]);
    assert!(list.contains("note: 1 waiting") && list.contains("job/note is paused: the printer burns") && list.contains(&waits), "{list}");
    let json: serde_json::Value = serde_json::from_str(&said(&["--json", "job", "list"])).unwrap();
    assert_eq!((&json["runs"][0]["state"], &json["counts"][0]["count"]), (&"waiting".into(), &1.into()), "{json}");
    for (what, why) in [
        ("job/nte", "no job is named `nte`; did you mean `note`?"),
        ("queue/x", "no queue is named `x`"),
        ("all", "write everything, job/NAME"),
        ("schedule/nightli", "did you mean `nightly`?"),
    ] {
        refused(&haechi(&root, &["job", "pause", what]), why);
    }
    refused(&haechi(&root, &["job", "pause", "everything", "--reason", &"x".repeat(300)]), "longer than 200 bytes");
    refused(&haechi(&root, &["job", "resume", "everything"]), "is not paused; paused: job/note");
    refused(&haechi(&root, &["job", "list", "nte"]), "did you mean `note`?");
    assert!(said(&["job", "resume", "job/note"]).contains("goes on"));
    refused(&haechi(&root, &["job", "resume", "job/note"]), "is not paused; nothing is");
    until(|| said(&["job", "show", &waits]).contains(": done"));

    let run = said(&["schedule", "run", "nightly"]);
    let run = run.split_whitespace().next().unwrap().to_owned();
    until(|| said(&["job", "show", &run]).contains(": done"));
    refused(&haechi(&root, &["schedule", "run", "nigtly"]), "did you mean `nightly`?");
    let ledger = said(&["audit", "export"]);
    for action in ["retry_job", "cancel_job", "pause_work", "resume_work", "job_dead"] {
        assert!(ledger.contains(action), "{action} stands in no entry");
    }
    dev.end();
    // It ends with an error when anything does not verify.
    said(&["audit", "verify", "--rows"]);
    let _ = std::fs::remove_dir_all(root);
}

/// A process that is killed in the middle of its work: everything is done, and nothing twice.
#[test]
fn what_a_killed_process_left_is_done_once() {
    let root = folder("killed");
    let mut runs = Vec::new();
    for round in 0..4 {
        let dev = Dev::start(&root);
        let token = token(&root);
        for at in 0..40 {
            runs.push(enqueue(&dev, &token, "note", &format!("{{\"title\":\"{round} {at}\"}}")));
        }
        std::thread::sleep(std::time::Duration::from_millis(7 * round));
        // Ended by SIGKILL.
        drop(dev);
    }
    let dev = Dev::start(&root);
    let token = token(&root);
    until(|| done(&haechi(&root, &["job", "list"])).contains("no work waits, runs or is dead"));
    for run in &runs {
        assert_eq!(dev.ask("GET", &format!("/jobs/v1/runs/{run}"), &token, "").1["state"], "done");
    }
    let (_, found) = dev.ask("GET", "/api/v1/notes?count=true&page_size=1", &token, "");
    assert_eq!(found["total_size"], 160);
    dev.end();
    done(&haechi(&root, &["audit", "verify", "--rows"]));
    let _ = std::fs::remove_dir_all(root);
}

/// Work of a restored database waits until an operator lets it go on: some of it may have been done since.
#[test]
fn restored_work_is_paused() {
    let root = folder("restored");
    let dev = Dev::start(&root);
    let kim = token(&root);
    done(&haechi(&root, &["job", "pause", "everything"]));
    std::thread::sleep(std::time::Duration::from_millis(200));
    let run = enqueue(&dev, &kim, "note", "{\"title\":\"one\"}");
    let file = root.join("backup.db");
    done(&haechi(&root, &["backup", file.to_str().unwrap()]));
    done(&haechi(&root, &["job", "resume", "everything"]));
    until(|| done(&haechi(&root, &["job", "show", &run])).contains(": done"));
    dev.end();
    for old in ["haechi.db", "haechi.db-wal", "haechi.db-shm"] {
        let _ = std::fs::remove_file(root.join(".haechi").join(old));
    }
    let said = done(&haechi(&root, &["restore", file.to_str().unwrap()]));
    assert!(said.contains("work is paused") && said.contains("haechi job resume everything"), "{said}");
    let list = done(&haechi(&root, &["job", "list"]));
    assert!(list.contains("everything is paused: restored") && list.contains(&run), "{list}");
    let dev = Dev::start(&root);
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(done(&haechi(&root, &["job", "show", &run])).contains(": waiting"));
    done(&haechi(&root, &["job", "resume", "everything"]));
    until(|| done(&haechi(&root, &["job", "show", &run])).contains(": done"));
    dev.end();
    let _ = std::fs::remove_dir_all(root);
}
