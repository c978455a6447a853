//! An app in a folder of its own, served in this process without a socket.

use crate::person::Person;
use haechi::{
    DataDir, House, Mode,
    app::folder,
    http::{routes::stack, stack::Stack},
};
use haechi_gate::{AuditReport, TestClock, dev_token};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A file in the app's folder.
    Sqlite,
    /// A database of its own on the server that `HAECHI_TEST_POSTGRES` names.
    Postgres,
}

/// An app under test.
pub struct TestApp {
    /// The open folder.
    pub house: House,
    /// What requests pass.
    pub stack: Arc<Stack>,
    /// The clock that it lives by.
    pub clock: Arc<TestClock>,
    /// Its folder.
    pub root: PathBuf,
    backend: Backend,
    data: Option<DataDir>,
}

static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// These files, with more text at the end of some of them.
///
/// # Panics
/// When a file that is to have more is not there.
pub fn with_more(files: &[(&'static str, &str)], more: &[(&str, &str)]) -> Vec<(&'static str, String)> {
    let mut files: Vec<(&'static str, String)> = files.iter().map(|(path, text)| (*path, (*text).to_owned())).collect();
    for (path, text) in more {
        let (_, file) = files.iter_mut().find(|(known, _)| known == path).unwrap_or_else(|| panic!("{path} is not there"));
        file.push('\n');
        file.push_str(text);
        file.push('\n');
    }
    files
}

/// Makes a folder with these files; `haechi.toml` names a database of its own on PostgreSQL.
pub async fn fresh_folder(backend: Backend, files: &[(&str, impl AsRef<str>)]) -> PathBuf {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let root = std::env::temp_dir().join(format!("haechi-test-{}-{number}", std::process::id()));
    let _ = std::fs::remove_dir_all(&root);
    for (path, text) in files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text.as_ref()).unwrap();
    }
    if backend == Backend::Postgres {
        let url = database(number).await;
        let path = root.join("haechi.toml");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(path, format!("{text}\n[database]\nurl = \"{url}\"\n")).unwrap();
    }
    root
}

/// A fresh database; its URL.
async fn database(number: usize) -> String {
    let url = std::env::var("HAECHI_TEST_POSTGRES").expect("HAECHI_TEST_POSTGRES is not set: run the tests with `cargo xtask test`");
    let name = format!("haechi_{}_{number}", std::process::id());
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect("the test server cannot be reached");
    let driver = tokio::spawn(connection);
    client.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await.unwrap();
    client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    drop(client);
    let _ = driver.await;
    let (server, _) = url.rsplit_once('/').unwrap();
    format!("{server}/{name}")
}

impl TestApp {
    /// Makes a folder, opens it, creates its tables.
    pub async fn start(backend: Backend, files: &[(&str, impl AsRef<str>)]) -> Self {
        let root = fresh_folder(backend, files).await;
        Self::open(root, backend, Arc::new(TestClock::new())).await
    }

    /// Opens a folder that is there, with a data directory of its own.
    pub async fn open(root: PathBuf, backend: Backend, clock: Arc<TestClock>) -> Self {
        Self::open_with(root, backend, clock, haechi_jobs::Handlers::default()).await
    }

    /// As [`TestApp::open`], with handlers of jobs from the start.
    pub async fn open_with(root: PathBuf, backend: Backend, clock: Arc<TestClock>, handlers: haechi_jobs::Handlers) -> Self {
        let data = DataDir::open(folder::default_data(&root)).unwrap();
        let (revision, warnings) = folder::load(&root).unwrap_or_else(|error| match error {
            haechi::FolderError::Findings(findings) => panic!("{}", haechi::app::report::render(&findings)),
            other => panic!("{other}"),
        });
        let house = House::at(revision, warnings, &data, Mode::Dev, clock.clone()).await.unwrap();
        let plan = house.gate.plan(&house.keys.schema).await.unwrap();
        house.gate.migrate(&house.keys.schema, plan, false).await.unwrap();
        house.jobs.handle(handlers);
        house.start();
        let stack = Arc::new(stack(&house, Mode::Dev));
        Self { house, stack, clock, root, backend, data: Some(data) }
    }

    /// Opens a folder over the database as it is, as `serve` does: nothing is migrated, and it must go on over what is there.
    pub async fn open_as_it_is(root: PathBuf, backend: Backend, clock: Arc<TestClock>) -> Self {
        let data = DataDir::open(folder::default_data(&root)).unwrap();
        let (revision, warnings) = folder::load(&root).unwrap_or_else(|error| panic!("{error}"));
        let house = House::at(revision, warnings, &data, Mode::Dev, clock.clone()).await.unwrap();
        assert_eq!(house.gate.meet().await.unwrap(), [""; 0], "it does not go on over the database");
        house.start();
        let stack = Arc::new(stack(&house, Mode::Dev));
        Self { house, stack, clock, root, backend, data: Some(data) }
    }

    /// A copy of the folder, with a data directory of its own, the same database and keys.
    #[must_use]
    pub fn copy(&self, name: &str) -> PathBuf {
        let root = self.root.with_extension(name);
        let _ = std::fs::remove_dir_all(&root);
        for folder in ["", "collections", "policies", "jobs", ".haechi"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
            for entry in std::fs::read_dir(self.root.join(folder)).into_iter().flatten().flatten().filter(|entry| entry.path().is_file()) {
                std::fs::copy(entry.path(), root.join(folder).join(entry.file_name())).unwrap();
            }
        }
        root
    }

    /// Closes it and opens it again: another process would see the same.
    pub async fn restart(mut self) -> Self {
        self.house.close().await;
        drop(self.stack);
        drop(self.data.take());
        // The writer thread ends after the last handle; SQLite's lock on the file is free then.
        Self::open(self.root, self.backend, self.clock).await
    }

    /// Closes it and says what data a migration to another state of the folder would drop.
    pub async fn plan_for(mut self, revision: haechi_gate::Revision) -> Vec<String> {
        self.house.close().await;
        drop(self.stack);
        let data = self.data.take().unwrap();
        let house = House::at(revision, haechi_model::Findings::default(), &data, Mode::Dev, self.clock.clone()).await.unwrap();
        let drops = house.gate.plan(&house.keys.schema).await.unwrap().drops;
        house.close().await;
        let _ = std::fs::remove_dir_all(&self.root);
        drops
    }

    /// A token of this moment.
    #[must_use]
    pub fn token(&self, user_id: &str) -> String {
        dev_token(&self.house.master, user_id, self.house.gate.clock().now_ms())
    }

    /// Another node of the same app: a folder and a data directory of its own, the same database and keys.
    pub async fn second_node(&self) -> Self {
        self.second_node_by(self.clock.clone()).await
    }

    /// As [`TestApp::second_node`], with a clock of its own.
    pub async fn second_node_by(&self, clock: Arc<TestClock>) -> Self {
        Self::open(self.copy("second"), self.backend, clock).await
    }

    /// Is gone without a word: nothing is written, nothing released.
    pub fn abandon(self) {
        self.house.abandon();
    }

    /// Adds a person with these roles; `fields` is the inside of a JSON object.
    pub async fn person(&self, name: &str, roles: &[&str]) -> Person {
        self.person_with(name, roles, "").await
    }

    /// As [`TestApp::person`], with profile fields as the inside of a JSON object.
    pub async fn person_with(&self, name: &str, roles: &[&str], fields: &str) -> Person {
        let revision = self.house.gate.revision();
        let users = &revision.app.collections[haechi_model::USERS];
        let more = if fields.is_empty() { String::new() } else { format!(",{fields}") };
        let line = format!("{{\"email\":\"{name}@example.test\",\"roles\":{}{more}}}", serde_json::Value::from(roles.to_vec()));
        let rows = haechi_data_rows(&line, users);
        let id = rows[0].id.clone().unwrap();
        self.house.gate.import(&self.house.keys.import, haechi_model::USERS, rows).await.unwrap();
        Person::new(self.stack.clone(), &id, Some(dev_token(&self.house.master, &id, self.house.gate.clock().now_ms())))
    }

    /// Somebody with this bearer token.
    #[must_use]
    pub fn bearer(&self, token: &str) -> Person {
        Person::new(self.stack.clone(), "", Some(token.to_owned()))
    }

    /// Somebody without credentials.
    #[must_use]
    pub fn anonymous(&self) -> Person {
        Person::new(self.stack.clone(), "", None)
    }

    /// Writes what waits, verifies ledger and rows, and expects nothing wrong.
    pub async fn verify(&self) -> AuditReport {
        self.house.gate.settle().await;
        let report = self.house.gate.verify(&self.house.keys.audit, &[], true).await.unwrap();
        assert_eq!(report.findings, [], "the ledger does not verify");
        report
    }

    /// The ledger as JSON lines.
    pub async fn ledger(&self) -> Vec<serde_json::Value> {
        self.house.gate.settle().await;
        let (mut from, mut all) = (0, Vec::new());
        loop {
            let (lines, next) = self.house.gate.export_entries(&self.house.keys.audit, from).await.unwrap();
            all.extend(String::from_utf8(lines).unwrap().lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()));
            let Some(next) = next else { return all };
            from = next;
        }
    }

    /// Closes it; its folder stays.
    pub async fn close(self) -> PathBuf {
        self.house.close().await;
        self.root
    }

    /// Verifies, closes, and removes the folder.
    pub async fn finish(self) {
        self.verify().await;
        self.house.close().await;
        drop(self.data);
        let _ = std::fs::remove_dir_all(&self.root);
    }

    /// The SQLite file.
    #[must_use]
    pub fn database_file(&self) -> PathBuf {
        Path::new(&self.root).join(".haechi/haechi.db")
    }
}

/// One row of `users` with an id of its own.
fn haechi_data_rows(line: &str, users: &haechi_model::Collection) -> Vec<haechi_gate::ImportRow> {
    let haechi_model::Json::Object(members) = haechi_model::parse_json(line.as_bytes()).unwrap() else { panic!("not an object") };
    let values = members.iter().map(|(name, json)| {
        let field = users.field(name).unwrap_or_else(|| panic!("users has no field {name}"));
        (field, users.fields[field].ty.read(json).unwrap())
    });
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    vec![haechi_gate::ImportRow {
        line: 1,
        id: Some(format!("0192{number:04x}-0000-7000-8000-{:012x}", std::process::id()).into()),
        values: values.collect(),
    }]
}

impl Person {
    /// The same person at an app that was restarted.
    #[must_use]
    pub fn with_token(app: &TestApp, person: &Self) -> Self {
        Self { stack: app.stack.clone(), ..person.clone() }
    }

    /// The same person with a token of this moment.
    #[must_use]
    pub fn renewed(&self, app: &TestApp) -> Self {
        Self { token: Some(app.token(&self.id)), ..self.clone() }
    }
}
