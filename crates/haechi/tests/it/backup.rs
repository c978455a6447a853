//! Backups are made while requests go on, verified, restored to empty places only, also from one database to the other.

use crate::{
    fixture::FILES,
    process::{Dev, done, haechi, refused},
};
use haechi_testkit::{Backend, fresh_folder};
use std::{
    io::Write,
    path::{Path, PathBuf},
};

const GOOD: &str = "seven purple otters dance";

/// A folder of its own with the keys of another.
async fn beside(backend: Backend, other: &Path) -> PathBuf {
    let root = fresh_folder(backend, FILES).await;
    std::fs::create_dir_all(root.join(".haechi")).unwrap();
    std::fs::copy(other.join(".haechi/master.key"), root.join(".haechi/master.key")).unwrap();
    root
}

fn titles(dev: &Dev, token: &str) -> usize {
    let (status, reply) = dev.ask("GET", "/api/v1/notes?page_size=200", token, "");
    assert_eq!(status, 200, "{reply}");
    reply["items"].as_array().unwrap().len()
}

/// [V16.4.3 V7.4.3]: the way there and back, for this pair of databases.
async fn there_and_back(from: Backend, to: Backend) {
    let root = fresh_folder(from, FILES).await;
    let target = tokio::task::spawn_blocking(move || {
        let dev = Dev::start(&root);
        let code = done(&haechi(&root, &["user", "add", "kim@example.com", "--role", "member", "--json"]));
        let code: serde_json::Value = serde_json::from_str(&code).unwrap();
        let body = serde_json::json!({"code": code["code"], "new_password": GOOD}).to_string();
        assert_eq!(dev.ask("POST", "/auth/v1/password", "", &body).0, 204);
        let sign_in = serde_json::json!({"email": "kim@example.com", "password": GOOD}).to_string();
        let session = dev.ask("POST", "/auth/v1/sign-in", "", &sign_in).1["token"].as_str().unwrap().to_owned();
        for at in 0..30 {
            let parent = serde_json::json!({"title": format!("n{at}"), "rank": at + 100, "secret": "hidden"}).to_string();
            let (status, note) = dev.ask("POST", "/api/v1/notes", &session, &parent);
            assert_eq!(status, 201, "{note}");
            // Rows that refer to themselves, so that the order of copying does not matter.
            let path = format!("/api/v1/notes/{}", note["id"].as_str().unwrap());
            assert_eq!(dev.ask("PATCH", &path, &session, &serde_json::json!({"friend": note["id"]}).to_string()).0, 200);
        }
        let file = root.join("backup.db");
        let text = done(&haechi(&root, &["backup", file.to_str().unwrap()]));
        assert!(text.contains("verified"), "{text}");
        refused(&haechi(&root, &["backup", file.to_str().unwrap()]), "is there already");
        dev.ask("POST", "/api/v1/notes", &session, "{\"title\":\"after the backup\"}");
        assert_eq!(titles(&dev, &session), 31);
        refused(&haechi(&root, &["restore", file.to_str().unwrap()]), "another process uses");
        dev.end();
        refused(&haechi(&root, &["restore", file.to_str().unwrap()]), "empty place only");
        (root, file, session, sign_in)
    });
    let (root, file, session, sign_in) = target.await.unwrap();
    let restored = beside(to, &root).await;
    tokio::task::spawn_blocking(move || {
        // Half of it, and one with a row that was edited: refused before anything is done.
        let bytes = std::fs::read(&file).unwrap();
        let bad = root.join("bad.db");
        std::fs::write(&bad, &bytes[..bytes.len() / 2]).unwrap();
        assert!(!haechi(&restored, &["restore", bad.to_str().unwrap()]).status.success());
        std::fs::write(&bad, &bytes).unwrap();
        rusqlite::Connection::open(&bad).unwrap().execute("UPDATE notes SET rank = 999 WHERE rank = 107", []).unwrap();
        refused(&haechi(&restored, &["restore", bad.to_str().unwrap()]), "does not verify");
        // What was left behind by another file would be played into this one.
        if to == Backend::Sqlite {
            std::fs::write(restored.join(".haechi/haechi.db-wal"), b"old").unwrap();
            refused(&haechi(&restored, &["restore", file.to_str().unwrap()]), "empty place only");
            std::fs::remove_file(restored.join(".haechi/haechi.db-wal")).unwrap();
        }
        done(&haechi(&restored, &["restore", file.to_str().unwrap()]));
        let left: Vec<String> = std::fs::read_dir(&root).unwrap().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        assert!(!left.iter().any(|name| name.contains("part") || name.contains("verify")), "{left:?}");
        assert!(done(&haechi(&restored, &["audit", "verify", "--rows"])).contains(" 0 findings"));
        let dev = Dev::start(&restored);
        // What was issued has ended; who knows the password comes in.
        assert_eq!(dev.ask("GET", "/auth/v1/me", &session, "").0, 401);
        let (status, fresh) = dev.ask("POST", "/auth/v1/sign-in", "", &sign_in);
        assert_eq!(status, 200, "{fresh}");
        let fresh = fresh["token"].as_str().unwrap();
        assert_eq!(titles(&dev, fresh), 30);
        assert_eq!(dev.ask("POST", "/api/v1/notes", fresh, "{\"title\":\"goes on\"}").0, 201);
        dev.end();
        assert!(done(&haechi(&restored, &["audit", "verify", "--rows"])).contains(" 0 findings"));
        for root in [root, restored] {
            std::fs::remove_dir_all(root).unwrap();
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_sqlite_to_sqlite() {
    there_and_back(Backend::Sqlite, Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_postgres_to_postgres() {
    there_and_back(Backend::Postgres, Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_sqlite_to_postgres() {
    there_and_back(Backend::Sqlite, Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_postgres_to_sqlite() {
    there_and_back(Backend::Postgres, Backend::Sqlite).await;
}

/// Only its owner may use the control socket; what an operator does is in the ledger under their name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_reach_the_running_house() {
    let root = fresh_folder(Backend::Sqlite, FILES).await;
    let work = move || {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let dev = Dev::start(&root);
        let socket = std::fs::metadata(root.join(".haechi/control.sock")).unwrap();
        assert_eq!(socket.permissions().mode() & 0o777, 0o600);
        // So are the database and all that lies beside it.
        let names: Vec<String> = std::fs::read_dir(root.join(".haechi")).unwrap().map(|entry| entry.unwrap()).fold(Vec::new(), |mut names, entry| {
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.path());
            names.push(entry.file_name().into_string().unwrap());
            names
        });
        assert!(["haechi.db", "haechi.db-wal", "master.key", "people.json"].iter().all(|name| names.iter().any(|found| found == name)), "{names:?}");
        done(&haechi(&root, &["user", "add", "kim@example.com", "--role", "member"]));
        refused(&haechi(&root, &["user", "add", "kim@example.com"]), "Somebody has this address");
        refused(&haechi(&root, &["user", "role", "kim@example.com", "emperor"]), "no role is named");
        refused(&haechi(&root, &["user", "disable", "nobody@example.com"]), "nobody has the address");
        let key = done(&haechi(&root, &["key", "create", "reports", "--role", "auditor"]));
        let key = key.lines().find(|line| line.starts_with("haechi_k_")).unwrap();
        assert_eq!(dev.ask("GET", "/api/v1/notes", key, "").0, 200);
        let id = done(&haechi(&root, &["key", "list"])).split_whitespace().next().unwrap().to_owned();
        done(&haechi(&root, &["key", "revoke", &id]));
        assert_eq!(dev.ask("GET", "/api/v1/notes", key, "").0, 401);
        let ledger = done(&haechi(&root, &["audit", "export"]));
        assert!(ledger.contains(&format!("\"actor\":\"uid {}\"", socket.uid())), "{ledger}");
        // Nonsense on the socket ends nothing.
        let mut stream = std::os::unix::net::UnixStream::connect(root.join(".haechi/control.sock")).unwrap();
        stream.write_all(b"nonsense\n").unwrap();
        assert!(done(&haechi(&root, &["user", "list"])).contains("kim@example.com"));
        dev.end();
        std::fs::remove_dir_all(root).unwrap();
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}

/// A text that was there before it was indexed is longer than an index of PostgreSQL holds: it is kept, restored there, and nothing is strange.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_text_goes_from_sqlite_to_postgres() {
    let root = fresh_folder(Backend::Sqlite, FILES).await;
    // The key is made.
    done(&haechi(&root, &["migrate", "apply"]));
    let restored = beside(Backend::Postgres, &root).await;
    let work = move || {
        let codes = |unique: &str| format!("[fields]\ncode = {{ type = \"text\"{unique} }}\n");
        std::fs::write(root.join("collections/codes.toml"), codes("")).unwrap();
        done(&haechi(&root, &["migrate", "apply"]));
        let long: String = (0..280).map(|_| haechi_gate::random_hex::<16>()).collect();
        std::fs::write(root.join("codes.jsonl"), format!("{{\"code\":\"{long}\"}}\n{{\"code\":\"short\"}}\n")).unwrap();
        done(&haechi(&root, &["import", "codes", root.join("codes.jsonl").to_str().unwrap()]));
        for folder in [&root, &restored] {
            std::fs::write(folder.join("collections/codes.toml"), codes(", unique = true")).unwrap();
        }
        done(&haechi(&root, &["migrate", "apply"]));
        let file = root.join("long.db");
        done(&haechi(&root, &["backup", file.to_str().unwrap()]));
        done(&haechi(&restored, &["restore", file.to_str().unwrap()]));
        assert!(done(&haechi(&restored, &["audit", "verify", "--rows"])).contains(" 0 findings"));
        assert!(done(&haechi(&restored, &["export", "codes"])).contains(&long));
        // What is unique stays unique among what the index is over.
        std::fs::write(root.join("more.jsonl"), "{\"code\":\"short\"}\n").unwrap();
        refused(&haechi(&restored, &["import", "codes", root.join("more.jsonl").to_str().unwrap()]), "another row has the same value");
        assert!(done(&haechi(&restored, &["migrate", "plan"])).contains("nothing to do"));
        for root in [root, restored] {
            let _ = std::fs::remove_dir_all(root);
        }
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}
