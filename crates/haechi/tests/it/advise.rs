//! `haechi advise`: advice is given when there is a reason, and what was looked at is said.

use crate::process::{done, haechi};
use haechi_testkit::{Backend, fresh_folder, on_both};
use serde_json::Value;
use std::{
    fmt::Write as _,
    path::Path,
    time::{Duration, Instant},
};

on_both!(advice_is_given_for_a_reason);

const FILES: &[(&str, &str)] = &[
    ("haechi.toml", "roles = [\"member\", \"guest\"]\n"),
    (
        "collections/tasks.toml",
        "[fields]\ntitle = { type = \"text\", required = true }\nstate = { type = \"text\", required = true }\nrank = { type = \"int\" }\n\
         [[indexes]]\nfields = [\"rank\"]\n",
    ),
    (
        "policies/main.cedar",
        "@id(\"open-ones\")\npermit (principal in Role::\"member\", action == Action::\"read\", resource is tasks) when { resource.state == \"open\" };\n\
         @id(\"ranked\")\npermit (principal in Role::\"guest\", action == Action::\"read\", resource is tasks) when { resource has rank && resource.rank == 7 };\n",
    ),
];

fn advice(root: &Path) -> Value {
    serde_json::from_str(&done(&haechi(root, &["--json", "advise"]))).unwrap()
}

fn kinds(advice: &Value) -> Vec<&str> {
    advice["advice"].as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap()).collect()
}

/// OPS-43: a policy without an index is named with its role and its column; on PostgreSQL the server's statistics have their say.
async fn advice_is_given_for_a_reason(backend: Backend) {
    let root = fresh_folder(backend, FILES).await;
    done(&haechi(&root, &["migrate", "apply"]));
    done(&haechi(&root, &["user", "add", "kim@example.com", "--role", "member"]));
    done(&haechi(&root, &["user", "add", "lee@example.com", "--role", "guest"]));
    let said = done(&haechi(&root, &["advise"]));
    assert!(said.starts_with("no advice\nno collection has 1 000 rows, so none was looked at\n"), "{said}");

    let mut rows = String::from("title,state,rank\n");
    (0..3_000).for_each(|at| writeln!(rows, "t{at},{},{}", if at % 50 == 0 { "open" } else { "done" }, at % 100).unwrap());
    std::fs::write(root.join("tasks.csv"), rows).unwrap();
    done(&haechi(&root, &["import", "tasks", root.join("tasks.csv").to_str().unwrap()]));
    // The server reports what its sessions did a little later.
    let begun = Instant::now();
    let mut found = advice(&root);
    while kinds(&found).is_empty() && begun.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(200));
        found = advice(&root);
    }
    let scans: Vec<&Value> = found["advice"].as_array().unwrap().iter().filter(|one| one["kind"] == "policy_scans").collect();
    assert_eq!(scans.len(), 1, "the guest's policy has an index: {found}");
    assert_eq!(
        *scans[0],
        serde_json::json!({"collection": "tasks", "kind": "policy_scans", "roles": ["member"], "policies": ["open-ones"], "lacks": ["state"]})
    );
    assert_eq!((&found["looked_at"], found["statistics"].as_bool()), (&serde_json::json!(["tasks"]), Some(backend == Backend::Postgres)));
    let said = done(&haechi(&root, &["advise"]));
    assert!(said.contains("add [[indexes]] fields = [\"state\"] to collections/tasks.toml") && !said.contains("no advice"), "{said}");
    assert!(said.contains("looked at 1 collection with 1 000 rows or more (tasks), for 3 kinds of callers"), "{said}");
    if backend == Backend::Postgres {
        statistics(&root).await;
    } else {
        assert!(said.ends_with("SQLite keeps no statistics of reads: the plans of its queries alone were looked at\n"), "{said}");
    }
    // With the index there is nothing left to say of the policy.
    let toml = root.join("collections/tasks.toml");
    let with_index = std::fs::read_to_string(&toml).unwrap() + "[[indexes]]\nfields = [\"state\"]\n";
    std::fs::write(&toml, with_index).unwrap();
    let refused = haechi(&root, &["advise"]);
    assert!(!refused.status.success(), "the folder is not what the database has");
    done(&haechi(&root, &["migrate", "apply"]));
    let found = advice(&root);
    assert!(!kinds(&found).contains(&"policy_scans"), "{found}");
}

/// Reads row by row, old versions of rows and an index that nobody uses, after they happened.
async fn statistics(root: &Path) {
    let other = crate::postgres::client(&crate::postgres::url(root)).await;
    other.batch_execute("ALTER TABLE tasks SET (autovacuum_enabled = false); SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_indexonlyscan = off").await.unwrap();
    for _ in 0..110 {
        other.query("SELECT count(*) FROM tasks WHERE title = 'x'", &[]).await.unwrap();
    }
    // A transaction that stays open keeps old versions from being pruned.
    let long = crate::postgres::client(&crate::postgres::url(root)).await;
    long.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM tasks LIMIT 1").await.unwrap();
    for _ in 0..2 {
        other.batch_execute("UPDATE tasks SET version = version").await.unwrap();
    }
    drop((other, long));
    crate::postgres::until("the server's statistics advise", async || {
        let found = advice(root);
        let kinds = kinds(&found);
        ["read_row_by_row", "unused_index", "dead_rows"].iter().all(|kind| kinds.contains(kind))
    })
    .await;
    let said = done(&haechi(root, &["advise"]));
    for part in ["tasks: read row by row 1", "no read has used the index over rank (", "old versions of rows beside 3000 rows", "\nstatistics since "]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
}
