//! The schema that lives in the database: what somebody changed beside the migrations is named, and nothing is served over it.

use crate::process::haechi;
use haechi::{DataDir, House, Mode, app::folder};
use haechi_testkit::{Backend, TestApp, on_both};
use std::path::Path;

on_both!(what_acts_on_a_table_is_named, what_stands_beside_is_told_and_allowed, serve_makes_the_tables_of_an_empty_database);

const FILES: &[(&str, &str)] = &[
    ("haechi.toml", "roles = [\"admin\"]\n"),
    (
        "collections/notes.toml",
        "[fields]\ntitle = { type = \"text\", unique = true }\nparent = { type = \"ref\", to = \"notes\" }\n[[indexes]]\nfields = [\"title\"]\n",
    ),
];

/// Runs SQL in the database of a folder, as somebody with tools of their own would.
async fn by_hand(root: &Path, backend: Backend, sql: &str) {
    match backend {
        Backend::Sqlite => {
            let connection = rusqlite::Connection::open(root.join(".haechi/haechi.db")).unwrap();
            connection.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
        Backend::Postgres => {
            let client = crate::types::client(root).await;
            client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
    }
}

async fn strange(root: &Path) -> (Vec<String>, Vec<String>, Vec<String>) {
    let data = DataDir::open(folder::default_data(root)).unwrap();
    let (revision, warnings) = folder::load(root).unwrap();
    let house = House::with(revision, warnings, &data, Mode::Dev).await.unwrap();
    let strange = house.gate.strange(&house.keys.schema).await.unwrap();
    let report = house.gate.verify(&house.keys.audit, &[], false).await.unwrap();
    house.close().await;
    (strange.wrong, strange.beside, report.findings.into_iter().map(|finding| finding.what).collect())
}

/// A folder whose tables are made, and that `serve` would serve.
async fn made(backend: Backend) -> std::path::PathBuf {
    let app = TestApp::start(backend, FILES).await;
    app.close().await
}

/// What `serve` says when it does not start.
fn serve(root: &Path) -> String {
    let (config, key) = (root.join("haechi.toml"), std::fs::read_to_string(root.join(".haechi/master.key")).unwrap());
    let toml = std::fs::read_to_string(&config).unwrap();
    let server = "[server]\nlisten = \"127.0.0.1:0\"\nops_listen = \"127.0.0.1:0\"\npublic_url = \"http://127.0.0.1:8080\"\n";
    std::fs::write(&config, format!("master_key = {{ env = \"TEST_MASTER_KEY\" }}\n{toml}\n{server}")).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_haechi"));
    let output = command.arg("serve").arg(root).env("TEST_MASTER_KEY", key).output().unwrap();
    std::fs::write(&config, toml).unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn what_acts_on_a_table_is_named(backend: Backend) {
    let both = [
        ("ALTER TABLE notes ADD COLUMN extra TEXT", "ALTER TABLE notes DROP COLUMN extra", "the column extra was added"),
        (
            "DROP INDEX notes__title__key",
            "CREATE UNIQUE INDEX notes__title__key ON notes (_organisation, title)",
            "the unique index notes__title__key over (_organisation, title) is gone",
        ),
        ("CREATE UNIQUE INDEX mine ON notes (parent)", "DROP INDEX mine", "the unique index mine over (parent) was added"),
        (
            "DROP INDEX notes__title__key; CREATE INDEX notes__title__key ON notes (_organisation, title)",
            "DROP INDEX notes__title__key; CREATE UNIQUE INDEX notes__title__key ON notes (_organisation, title)",
            "the index notes__title__key was changed",
        ),
        (
            "ALTER TABLE _seals RENAME TO hidden; CREATE VIEW _seals AS SELECT * FROM hidden",
            "DROP VIEW _seals; ALTER TABLE hidden RENAME TO _seals",
            "table _seals: a view stands in its place",
        ),
        ("ALTER TABLE _images RENAME TO hidden", "ALTER TABLE hidden RENAME TO _images", "table _images: it is gone"),
    ];
    let sqlite = [
        (
            "CREATE TRIGGER copies AFTER INSERT ON _log BEGIN DELETE FROM notes; END",
            "DROP TRIGGER copies",
            "table _log: the trigger copies was added",
        ),
        (
            "CREATE UNIQUE INDEX some ON notes (title) WHERE title > 'm'",
            "DROP INDEX some",
            "the unique index some over (title of some rows) was added",
        ),
    ];
    let postgres = [
        (
            "CREATE FUNCTION copies() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER copies BEFORE INSERT ON _log FOR EACH ROW EXECUTE FUNCTION copies()",
            "DROP TRIGGER copies ON _log; DROP FUNCTION copies()",
            "table _log: the trigger copies was added",
        ),
        ("CREATE RULE gone AS ON DELETE TO notes DO INSTEAD NOTHING", "DROP RULE gone ON notes", "the rewrite rule gone was added"),
        ("ALTER TABLE notes ENABLE ROW LEVEL SECURITY", "ALTER TABLE notes DISABLE ROW LEVEL SECURITY", "row-level security is on"),
        ("CREATE POLICY p ON notes USING (false)", "DROP POLICY p ON notes", "the row-level policy p was added"),
        ("ALTER TABLE notes ADD CONSTRAINT c CHECK (title <> 'x')", "ALTER TABLE notes DROP CONSTRAINT c", "the constraint c (CHECK"),
        (
            "ALTER TABLE notes DROP CONSTRAINT notes_parent_fkey",
            "ALTER TABLE notes ADD CONSTRAINT notes_parent_fkey FOREIGN KEY (parent) REFERENCES notes (id) ON DELETE RESTRICT",
            "the foreign key parent to notes is gone",
        ),
        ("ALTER TABLE notes DISABLE TRIGGER ALL", "ALTER TABLE notes ENABLE TRIGGER ALL", "the checks of a foreign key are switched off"),
        (
            "ALTER TABLE notes ALTER COLUMN title SET DEFAULT 'x'",
            "ALTER TABLE notes ALTER COLUMN title DROP DEFAULT",
            "the column title is text collate c with the default 'x'::text",
        ),
        (
            "ALTER TABLE notes ALTER COLUMN version DROP NOT NULL",
            "ALTER TABLE notes ALTER COLUMN version SET NOT NULL",
            "the column version is bigint, and was made as bigint NOT NULL",
        ),
        ("CREATE TABLE child () INHERITS (notes)", "DROP TABLE child", "it inherits, or is inherited from"),
        ("ALTER TABLE _images SET UNLOGGED", "ALTER TABLE _images SET LOGGED", "it is not logged"),
    ];
    let root = made(backend).await;
    let mut cases = both.to_vec();
    cases.extend(if backend == Backend::Sqlite { sqlite.to_vec() } else { postgres.to_vec() });
    for (sql, undo, words) in cases {
        by_hand(&root, backend, sql).await;
        if sql.contains("_seals") {
            // The house itself opens over it: what is named is looked at by the commands.
            let plan = haechi(&root, &["migrate", "plan"]);
            let text = String::from_utf8_lossy(&plan.stdout).into_owned() + &String::from_utf8_lossy(&plan.stderr);
            assert!(!plan.status.success() && text.contains(words) && !text.contains("nothing to do"), "{sql}: {text}");
        } else {
            let (wrong, _, findings) = strange(&root).await;
            assert!(wrong.len() == 1 && wrong[0].contains(words), "{sql}: {wrong:?}");
            assert!(findings.iter().any(|what| what.contains(words)), "{sql}: {findings:?}");
        }
        if sql.contains("TRIGGER copies") {
            let plan = haechi(&root, &["migrate", "plan"]);
            let text = String::from_utf8_lossy(&plan.stdout);
            assert!(!plan.status.success() && text.contains(words) && !text.contains("nothing to do"), "{text}");
            let apply = haechi(&root, &["migrate", "apply"]);
            assert!(!apply.status.success() && !String::from_utf8_lossy(&apply.stdout).contains("nothing to do"), "{apply:?}");
            assert!(serve(&root).contains(words));
        }
        by_hand(&root, backend, undo).await;
        let (wrong, ..) = strange(&root).await;
        assert_eq!(wrong, [""; 0], "{undo}");
    }
    std::fs::remove_dir_all(root).unwrap();
}

async fn what_stands_beside_is_told_and_allowed(backend: Backend) {
    let root = made(backend).await;
    by_hand(
        &root,
        backend,
        "CREATE TABLE other (id INTEGER); CREATE VIEW titles AS SELECT title FROM notes; CREATE INDEX mine ON notes (parent, title)",
    )
    .await;
    let (wrong, beside, findings) = strange(&root).await;
    assert_eq!((wrong, findings), (Vec::new(), Vec::new()));
    assert_eq!(
        beside,
        [
            "table notes: the index mine over (parent, title) was added",
            "the table other is none of this app's",
            "the view titles is none of this app's"
        ]
    );
    let plan = haechi(&root, &["migrate", "plan"]);
    let text = String::from_utf8_lossy(&plan.stdout);
    assert!(plan.status.success() && text.ends_with("nothing to do\n") && text.contains("beside: the view titles"), "{text}");
    std::fs::remove_dir_all(root).unwrap();
}

/// There is nothing to lose; two that begin at once make them once.
async fn serve_makes_the_tables_of_an_empty_database(backend: Backend) {
    let root = haechi_testkit::fresh_folder(backend, FILES).await;
    let data = DataDir::open(folder::default_data(&root)).unwrap();
    let open = async || {
        let (revision, warnings) = folder::load(&root).unwrap();
        House::with(revision, warnings, &data, Mode::Dev).await.unwrap()
    };
    let (one, other) = (open().await, open().await);
    let (first, second) = tokio::join!(one.gate.make(&one.keys.schema), other.gate.make(&other.keys.schema));
    assert!(first.unwrap() ^ second.unwrap(), "one of them makes the tables");
    assert!(!one.gate.make(&one.keys.schema).await.unwrap());
    assert!(one.gate.plan(&one.keys.schema).await.unwrap().is_empty());
    one.gate.settle().await;
    assert_eq!(one.gate.verify(&one.keys.audit, &[], true).await.unwrap().findings, []);
    one.close().await;
    other.close().await;
    drop(data);
    std::fs::remove_dir_all(root).unwrap();
}

/// A step that concerns no field is still one: what is done is said, and "nothing to do" only where there is nothing.
#[tokio::test]
async fn what_concerns_no_field_is_not_nothing() {
    let root = made(Backend::Sqlite).await;
    let connection = rusqlite::Connection::open(root.join(".haechi/haechi.db")).unwrap();
    let text: String = connection.query_row("SELECT tables FROM _migrations", [], |row| row.get(0)).unwrap();
    // As it was before there were images.
    let mut tables: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    tables.retain(|table| table["name"] != "_images");
    connection.execute("UPDATE _migrations SET tables = ?", [serde_json::to_string(&tables).unwrap()]).unwrap();
    connection.execute_batch("DROP TABLE _images").unwrap();
    drop(connection);
    let plan = haechi(&root, &["migrate", "plan"]);
    assert!(String::from_utf8_lossy(&plan.stdout).starts_with("~ what Haechi keeps beside the collections"), "{plan:?}");
    let said = |output: std::process::Output| String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned();
    assert_eq!(said(haechi(&root, &["migrate", "apply"])), "applied");
    assert_eq!(said(haechi(&root, &["migrate", "apply"])), "nothing to do");
    std::fs::remove_dir_all(root).unwrap();
}
