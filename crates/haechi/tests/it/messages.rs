//! What commands say when something is wrong: each message is provoked here, and the table of all of them is held against what was said.

use serde_json::Value;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const MAIN: &str = "roles = [\"member\"]\n";
const NOTES: &str = "[fields]\ntitle = { type = \"text\", required = true }\nrank = { type = \"int\" }\ndone = { type = \"bool\" }\nparent = { type = \"ref\", to = \"notes\" }\n";
const POLICY: &str =
    "permit (principal in Role::\"member\", action in [Action::\"list\", Action::\"read\", Action::\"create\"], resource is notes);\n";
const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Messages that are provoked by another test, or need what no test can bring about, by a part of their text.
const ELSEWHERE: &[(&str, &str)] = &[
    ("[[indexes]] fields = [", "advise.rs"),
    ("`read` goes through all rows for", "advise.rs"),
    ("rows each; [log] slow_ms = 100", "advise.rs"),
    ("writes pay for it: remove it if", "advise.rs"),
    ("rows: autovacuum does not keep up", "advise.rs"),
    ("with 1 000 rows or more (", "advise.rs"),
    ("statistics since", "advise.rs"),
    ("more than 16 ancestors: the group `", "groups.rs"),
    ("says of nobody that they are outside", "groups.rs"),
    ("nodes are serving that do not go on", "releases.rs: it takes PostgreSQL and a node"),
    ("the tables are changed, but what remains cannot be done", "releases.rs: it takes PostgreSQL"),
    ("stayed locked by somebody else for a minute", "it takes a minute; that it is waited is shown in releases.rs"),
    ("the keys cannot be derived", "the cryptography library would have to fail"),
    ("was sealed under another master key: put", "always told with the key's place: house.rs"),
    ("the ledger cannot be read: ", "the database would have to end while a command works"),
    ("the ledger cannot be written", "the database would have to end while a command works"),
    ("the database does not say how it answers", "the database would have to end while a command works"),
    ("the row cannot be read: ", "the database would have to end while a command works"),
    ("the rows cannot be read: ", "the database would have to end while a command works"),
    ("the people cannot be read: ", "the database would have to end while a command works"),
    ("the database cannot be read: ", "the database would have to end while a command works"),
    (" cannot be read: ", "told with the place by each that is provoked below; the rest as above"),
    ("takes every path, and [site] serves pages", "site.rs"),
    ("is below the folder that [site] serves", "site.rs"),
    ("the backup could not be made: ", "backup.rs"),
    ("could not be put in its place", "a disk would have to fail between two calls"),
    ("could not be made safe", "a disk would have to fail between two calls"),
    ("there is a database already", "backup.rs"),
    ("the file is no backup", "told as `is no backup of this app` before"),
    ("the backup could not be restored", "a disk would have to fail"),
    ("the database could not do it", "the database would have to fail"),
    ("the reason is longer than 200 bytes", "job_commands.rs"),
    ("is not paused;", "job_commands.rs"),
    ("cannot be paused: write everything", "job_commands.rs"),
    ("is about rows;", "work.rs"),
    ("enqueue the job", "work.rs"),
    ("and no schedule does: permit", "work.rs"),
    ("`; see `haechi job list`", "job_commands.rs"),
    ("is running; it is tried again by itself", "a run of the binary is under way for a moment only; jobs.rs provokes the error"),
    ("no handler does the job", "jobs.rs"),
    ("with handler = true: declare it in jobs/", "jobs.rs: it takes a program of one's own"),
    ("or remove the job", "jobs.rs"),
    ("rows that exist do not fit", "types.rs"),
    ("another process has migrated the database meanwhile", "types.rs"),
    ("the database was changed by somebody else", "schema.rs"),
    ("what the database remembers of its last migration", "schema.rs"),
    ("was altered in the database after it was applied", "schema.rs"),
    ("the database is not as the folder describes it", "below, by `migrated`"),
    ("of its repository has more than", "below"),
    (" files in this folder: compare with a folder instead", "5 000 files in a commit"),
    ("is no plain file: compare with a folder instead", "access.rs"),
    ("is no folder, and to read a commit", "access.rs"),
    ("is neither a folder nor a commit", "access.rs"),
    ("holds no haechi.toml in this folder", "access.rs"),
    ("has errors: mend them there", "access.rs"),
    ("files cannot be made: ", "the folder for temporary files would have to be closed"),
    ("is for a service; a person has the roles", "access.rs"),
    ("no role is named `", "access.rs"),
    ("no key has the id `", "access.rs"),
    ("services are named as services::", "access.rs"),
    ("write each case under [[case]]", "access.rs"),
    ("it must be allowed, denied or hidden", "access.rs"),
    ("`with` must be a table, e.g. with", "access.rs"),
    ("`hidden` must be a list of fields", "access.rs"),
    ("`, which is no field of ", "access.rs"),
    ("this command does not work on a house that is open", "the command line refuses it first"),
    ("the running process ended before it had answered", "crash.rs would have to end it between two lines"),
    ("nothing that was sealed before then is in the database", "archive.rs"),
    ("the file does not verify: ", "a disk would have to change what was written"),
    ("the file does not hold what it should", "a disk would have to change what was written"),
    ("no file can be made in ", "archive.rs"),
    ("does not verify: ", "backup.rs"),
    ("development listens on loopback only", "embed.rs"),
    ("cannot be a route of one's own", "embed.rs"),
    ("the folder declares no action ", "embed.rs"),
    ("Sign in first.", "identity.rs"),
    ("the folder has errors", "the findings are shown in its place"),
    ("the certificate and the key do not belong together", "network.rs"),
    ("the header cannot be read", "csv takes any bytes that are lines"),
    ("an item has more than ", "16 MiB in one item"),
    ("the line has more than ", "16 MiB in one line"),
    ("the file cannot be read: ", "a disk would have to fail while it is read"),
    ("the data directory ", "its other forms are below"),
    ("cannot be written: ", "tests run as a user who may write everywhere"),
    (" cannot be made: ", "below"),
    ("the database URL cannot be read", "below"),
    ("; did you mean `", "below"),
    ("holds entries that another file holds, too", "archive.rs"),
    ("are in no file that was given", "archive.rs"),
    ("are archived; the files end at", "archive.rs"),
    ("give the files with --archive", "archive.rs"),
    ("does not go on where the file before it ends", "two ledgers whose parts have the same lengths"),
    ("looks at an address, and nobody proves", "access.rs"),
    ("<- would have to be", "access.rs"),
    (": declare it under [actions] of its collection", "embed.rs"),
    ("the commit", "access.rs"),
    (": reading and writing", "a line that moves on a terminal"),
    ("`fields` is not a table", "the folder is refused first"),
    ("`roles` is not a list", "the folder is refused first"),
];

struct Shop {
    root: PathBuf,
    said: String,
}

impl Shop {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("haechi-messages-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&root));
        let shop = Self { root, said: String::new() };
        shop.write("haechi.toml", MAIN);
        shop.write("collections/notes.toml", NOTES);
        shop.write("policies/main.cedar", POLICY);
        shop
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn path(&self, path: &str) -> String {
        self.root.join(path).display().to_string()
    }

    fn run(&mut self, arguments: &[&str], environment: &[(&str, &str)]) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haechi"));
        if arguments.first() != Some(&"-C") {
            command.arg("-C").arg(&self.root);
        }
        command.args(arguments).envs(environment.iter().copied()).stdin(Stdio::null()).current_dir(&self.root);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        self.said.push_str(&text);
        (output.status.success(), text)
    }

    /// A command fails and says this, without anything of the inside.
    fn refuses(&mut self, arguments: &[&str], words: &str) {
        self.refuses_with(arguments, &[], words);
    }

    fn refuses_with(&mut self, arguments: &[&str], environment: &[(&str, &str)], words: &str) {
        let (good, text) = self.run(arguments, environment);
        assert!(!good && text.contains(words), "{arguments:?} says: {text}");
        for inside in ["_new_", "step: ", "code=\"", "Error(", "Os {", "entity not found", "(os error", "panicked", "Broken", "Unavailable"] {
            // A plan shows the SQL that it would run.
            let sql = inside == "_new_" && arguments.contains(&"plan");
            assert!(sql || !text.contains(inside), "{arguments:?} says `{inside}`: {text}");
        }
    }

    fn does(&mut self, arguments: &[&str]) -> String {
        let (good, text) = self.run(arguments, &[]);
        assert!(good, "{arguments:?} says: {text}");
        text
    }
}

/// Editing, looking and making folders.
fn folders(shop: &mut Shop) {
    shop.refuses(&["add", "collection", "../x"], "`../x` is not a name");
    shop.refuses(&["add", "collection", "a/b"], "is not a name");
    shop.refuses(&["add", "collection", "notes"], "is there already");
    shop.refuses(&["add", "collection", "tasks", "title"], "write NAME:TYPE");
    shop.refuses(&["add", "collection", "tasks", "a:ref:users:z"], "more than three parts");
    shop.refuses(&["add", "collection", "tasks", "a:text:b"], "only a reference has a third part");
    shop.refuses(&["add", "collection", "tasks", "a:ref"], "write NAME:ref:COLLECTION");
    shop.refuses(&["add", "field", "nots", "a:text"], "no collection is named `nots`");
    shop.refuses(&["add", "field", "notes", "title:text"], "has a field `title` already");
    shop.refuses(&["add", "role", "member"], "the role `member` is there already");
    assert!(!shop.root.join("collections/tasks.toml").exists(), "nothing was written");
    shop.does(&["add", "field", "users", "nick:text"]);
    let (_, text) = shop.run(&["-C", "nowhere", "add", "role", "x"], &[]);
    assert!(text.contains("no haechi.toml") && !shop.root.join("nowhere").exists(), "{text}");
    shop.refuses(&["check", "elsewhere"], "two folders are named");
    shop.refuses(&["migrate", "rollback"], "a migration is not taken back");
    shop.refuses(&["token", "kim"], "no people yet");
    shop.refuses(&["explain", "--as", "anonymous", "read", "notes"], "there are no tables yet in");
    for command in [&["user", "list"] as &[&str], &["key", "list"], &["audit", "verify"], &["backup", "b.db"]] {
        shop.refuses(command, "run `haechi migrate apply -C ");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_haechi")).arg("new").arg(&shop.root).output().unwrap();
    shop.said.push_str(&String::from_utf8_lossy(&output.stderr));
    let inside = Command::new(env!("CARGO_BIN_EXE_haechi")).arg("new").arg(shop.root.join("haechi.toml/x")).output().unwrap();
    let text = String::from_utf8_lossy(&inside.stderr).into_owned();
    assert!(text.contains("cannot be written: a part of its path is a file"), "{text}");
    shop.said.push_str(&text);
}

/// Cases of policies that cannot be read.
fn cases(shop: &mut Shop) {
    let good = "[people.kim]\nroles = [\"member\"]\n[rows.notes.one]\ntitle = \"t\"\n[[case]]\nas = \"kim\"\ndo = \"read\"\non = \"notes/one\"\nexpect = \"allowed\"\n";
    shop.refuses(&["test"], "nothing was tested");
    for (from, to, words) in [
        (good, "x", "mend" as &str),
        ("[people.kim]\nroles = [\"member\"]\n", "people = 5\n", "[people] must be a table"),
        ("[people.kim]\nroles = [\"member\"]\n", "people.kim = 5\n", "kim must be a table"),
        ("[rows.notes.one]\ntitle = \"t\"\n", "[rows]\nnotes = 5\n", "[rows.notes] must be a table"),
        ("[rows.notes.one]\ntitle = \"t\"\n", "[rows.notes]\none = 5\n", "one must be a table"),
        ("[rows.notes.one]\ntitle = \"t\"\n", "rows = 5\n", "[rows] must be a table"),
        ("[rows.notes.one]\n", "[rows.users.kim]\n[rows.notes.one]\n", "`kim` stands twice"),
        ("[rows.notes.one]", "[rows.nots.one]", "no collection is named `nots`"),
        ("[people.kim]\n", "other = 5\n[people.kim]\n", "unknown key `other`"),
        ("title = \"t\"", "titel = \"t\"", "has no field `titel`"),
        ("title = \"t\"", "title = 5", "`title`"),
        ("title = \"t\"", "title = 2020-01-01", "a value of this kind cannot stand here"),
        ("roles = [\"member\"]", "roles = [\"membr\"]", "did you mean `member`?"),
        ("expect = ", "foo = 1\nexpect = ", "unknown key `foo` in a case"),
        ("as = \"kim\"\n", "", "the case needs `as`"),
        ("on = \"notes/one\"", "on = \"nots/one\"", "no collection is named `nots`"),
        ("on = \"notes/one\"", "on = \"notes/two\"", "no row of notes is named `two`"),
        ("as = \"kim\"", "as = \"zoe\"", "nobody is named `zoe`"),
        ("do = \"read\"", "do = \"red\"", "no action is named `red`"),
        ("expect = \"allowed\"", "expect = \"denied\"", "expected denied, found allowed"),
        ("expect = ", "with = { title = \"x\" }\nexpect = ", "`with` beside a row is for `update`"),
        ("on = \"notes/one\"", "on = \"notes\"\nhidden = [\"title\"]", "`hidden` needs a row"),
        ("expect = \"allowed\"", "expect = \"allowed\"\nhidden = [\"title\"]", "expected hidden fields"),
    ] {
        let text = good.replace(from, to);
        let text = if words == "mend" { "[x".to_owned() } else { text };
        // A key of the top stands before every table.
        let text = match to.strip_prefix("rows = 5") {
            Some(_) => format!("rows = 5\n{}", good.replace(from, "")),
            None => text,
        };
        shop.write("policies/tests/main.toml", &text);
        let (passed, said) = shop.run(&["test"], &[]);
        assert!(!passed && (words == "mend" || said.contains(words)), "{text}\n{said}");
    }
    std::fs::remove_dir_all(shop.root.join("policies/tests")).unwrap();
}

/// Commands on data: people, keys, files of rows, the ledger.
fn data(shop: &mut Shop) {
    shop.does(&["migrate", "apply"]);
    let (_, said) = shop.run(&["user", "delete", "kim@example.com"], &[]);
    assert!(said.contains("people cannot be deleted yet; `haechi user disable kim@example.com`") && !said.contains("reset"), "{said}");
    shop.refuses(&["user", "add", "kim@example.com", "--set", "nick"], "write NAME=VALUE, not `nick`");
    shop.refuses(&["user", "add", "kim@example.com", "--set", "nic=1"], "fields of users are given with --set");
    shop.refuses(&["user", "add", "kim"], "email: must be an address");
    shop.does(&["user", "add", "kim@example.com", "--role", "member"]);
    shop.refuses(&["user", "add", "kim@example.com"], "Somebody has this address");
    shop.does(&["user", "invite", "lee@example.com"]);
    shop.does(&["user", "reset", "kim@example.com"]);
    shop.refuses(&["user", "disable", "zoe@example.com"], "nobody has the address or id `zoe@example.com`");
    shop.refuses(&["key", "create", "robot", "--expires", "tomorrow"], "is no time; write it as");
    shop.refuses(&["key", "revoke", "k"], "no key has the id `k`");
    shop.refuses(&["explain", "--as", "kim", "red", "notes"], "no action is named `red`; actions: ");
    shop.refuses(&["explain", "--as", "kim", "read", "note"], "did you mean `notes`?");
    shop.refuses(&["explain", "--as", "kim", "read", "notes/01920000-0000-7000-8000-000000000001"], "is not there");
    let job = "[jobs.drop]\nas = \"caller\"\ninput = { note = { type = \"uuid\", required = true } }\ndo = { delete = \"notes\", id = { from = \"/input/note\" } }\n";
    shop.write("jobs/all.toml", job);
    shop.refuses(&["explain", "--sql", "--as", "anonymous", "enqueue", "Work::Job/drop"], "what is no row is decided in memory");
    shop.refuses(&["explain", "--as", "anonymous", "run", "Work::Job/drop"], "no action of Work::Job is named `run`");
    std::fs::remove_file(shop.path("jobs/all.toml")).unwrap();
    shop.refuses(&["explain", "--request", "01920000-0000-7000-8000-000000000001"], "no refusal in the ledger names");
    shop.refuses(&["audit", "archive", "--before", "soon", "a.bin"], "is no day and no time");
    shop.refuses(&["audit", "archive", "--before", "2999-01-01", "a.bin"], "is still to come");
    shop.write("there.bin", "x");
    let there = shop.path("there.bin");
    shop.refuses(&["audit", "archive", "--before", "2020-01-01", &there], "is there already; name another file");
    shop.refuses(&["backup", &there], "is there already; name another file");
    shop.refuses(&["export", "notes", &there], "is there already; name another file");
    let link = shop.path("link.csv");
    std::os::unix::fs::symlink(shop.path("target.csv"), &link).unwrap();
    for command in [&["export", "notes", &link] as &[&str], &["backup", &link], &["audit", "archive", "--before", "2020-01-01", &link]] {
        shop.refuses(command, "is there already; name another file");
    }
    let file = shop.path("fresh.csv");
    shop.does(&["export", "notes", &file]);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "V8: personal columns are their owner's");
    assert!(shop.does(&["clock", "accept"]).contains("the system's clock is not behind: nothing was changed"));
    shop.refuses(&["backup", "nofolder/b.db"], "the folder nofolder is not there");
    shop.refuses(&["audit", "verify", "--checkpoint", "nofile"], "nofile cannot be read: it is not there");
    shop.refuses(&["audit", "verify", "--archive", "nofile"], "nofile cannot be read: it is not there");
    shop.refuses(&["restore", "nofile"], "nofile is no file");
    shop.refuses(&["restore", &there], "is no backup of this app");
    rows(shop);
    shop.does(&["user", "list", "--json"]).lines().for_each(|line| drop(serde_json::from_str::<Value>(line).unwrap()));
    shop.does(&["migrate", "status", "--json"]).lines().for_each(|line| drop(serde_json::from_str::<Value>(line).unwrap()));
}

fn rows(shop: &mut Shop) {
    shop.refuses(&["export", "nots"], "did you mean `notes`?");
    shop.refuses(&["export", "notes", "nofolder/x.csv"], "the folder nofolder is not there");
    shop.refuses(&["import", "notes", "x.txt"], "the name must end in .csv, .json or .jsonl");
    shop.refuses(&["import", "notes", "x.csv"], "x.csv cannot be read: it is not there");
    shop.refuses(&["import", "notes", "x.csv", "users"], "`users` is one too many: write COLLECTION FILE COLLECTION FILE");
    shop.refuses(&["import", "notes", "x.csv", "users", "y.csv", "--map", "a=title"], "--map is for the columns of one file");
    shop.refuses(&["import", "notes", "x.csv", "users", "y.csv", "--upsert", "id"], "--upsert is for the rows of one file");
    shop.refuses(&["import", "notes", "x.csv", "--upsert", "title"], "--upsert title is no unique key of notes");
    shop.refuses(&["import", "notes", "x.csv", "--map", "title"], "write COLUMN=FIELD");
    shop.refuses(&["import", "notes", "x.csv", "--map", "a=title", "--map", "a=rank"], "names the column `a` twice");
    shop.refuses(&["import", "notes", "x.csv", "--true", "x", "--false", "x"], "cannot stand for true and for false");
    shop.refuses(&["import", "notes", "x.csv", "--zone", "Mars"], "is no time zone");
    for (name, text, more, words) in [
        ("a.csv", "title,titel\n", &[] as &[&str], "`titel` is no field of `notes`; did you mean `title`?"),
        ("a.csv", "title,title\n", &[], "two columns fill one field; the second is `title`"),
        ("a.csv", "title\nx\n", &["--map", "b=rank"], "no column is named `b`"),
        ("a.csv", "title,rank\nx\n", &[], "does not have as many cells as the header"),
        ("a.csv", "title,rank\nx,y\n", &[], "1 error in 1 row"),
        ("a.jsonl", "[]\n", &[], "must be an object"),
        ("a.json", "[\"x\\", &[], "the file ends within a text"),
        ("a.json", "[{", &[], "the file ends within an item"),
        ("a.json", "[{\"title\":\"x\",\"zz\":1,\"yy\":2}]", &[], "`yy` is no field of `notes`"),
    ] {
        shop.write(name, text);
        let path = shop.path(name);
        let arguments: Vec<&str> = ["import", "notes", &path].into_iter().chain(more.iter().copied()).collect();
        shop.refuses(&arguments, words);
    }
    // More errors than are shown are said to be more.
    let many: String = (0..300).map(|n| format!("t{n},x\n")).collect();
    shop.write("many.csv", format!("title,rank\n{many}"));
    let path = shop.path("many.csv");
    shop.refuses(&["import", "notes", &path], "there may be more rows that are wrong");
    shop.write("good.csv", "title\nx\n");
    let path = shop.path("good.csv");
    shop.does(&["import", "notes", &path]);
    shop.refuses(&["import", "notes", &path, "notes", &path], "notes is named twice: a collection has one file");
    shop.write("one.csv", "email\none@example.test\n");
    shop.write("none.csv", "title\n");
    let said = shop.does(&["import", "notes", &shop.path("none.csv"), "users", &shop.path("one.csv"), "--json"]);
    let counts = |new: usize| format!(r#"{{"imported":{new},"new":{new},"changed":0,"unchanged":0,"left_out":false}}"#);
    assert_eq!(said.trim(), format!(r#"{{"notes":{},"users":{}}}"#, counts(0), counts(1)));
    let said = shop.does(&["import", "users", &shop.path("one.csv"), "--upsert", "email"]);
    assert!(said.contains("1 row imported into users: 0 new, 0 changed, 1 as they were"), "{said}");
    shop.refuses(&["import", "notes", &path, "--exact"], "--exact needs an empty collection, and notes has rows");
}

/// A migration says in its plan what it would meet, and names no column of its own making.
fn migrations(shop: &mut Shop) {
    let notes = |more: &str| format!("{NOTES}{more}");
    shop.write("collections/notes.toml", notes("must = { type = \"text\", required = true }\n"));
    shop.refuses(&["migrate", "plan"], "does not fit: notes.must: 1 row does not fit: there is no value for this new field");
    shop.refuses(&["migrate", "apply"], "notes.must: 1 row does not fit: there is no value for this new field");
    shop.refuses(&["user", "list"], "the database is not as the folder describes it");
    shop.write("good.csv", "title\ny\n");
    shop.write("collections/notes.toml", notes(""));
    let path = shop.path("good.csv");
    shop.does(&["import", "notes", &path]);
    shop.write("collections/notes.toml", notes("only = { type = \"int\", unique = true, default = 5 }\n"));
    shop.refuses(&["migrate", "plan"], "would share the default of this new unique field");
    shop.write("collections/notes.toml", NOTES.replace("rank =", "place ="));
    shop.refuses(&["migrate", "apply"], "where a name is new, write was = \"OLD NAME\" beside it");
    shop.write("collections/notes.toml", notes("place = { type = \"int\", was = \"zzz\" }\n"));
    let said = shop.does(&["migrate", "plan"]);
    assert!(said.contains("+ column notes.place (its was = \"zzz\" names nothing that is there)"), "{said}");
    shop.write("collections/notes.toml", notes(""));
    assert!(shop.does(&["migrate", "plan"]).contains("nothing to do"));
    let backup = shop.path("kept.db");
    shop.does(&["backup", &backup]);
    shop.refuses(&["--data", "fresh", "restore", &backup], "put the master key that the backup was made with at fresh/master.key first");
    shop.write("collections/notes.toml", notes("more = { type = \"int\" }\n"));
    shop.refuses(&["restore", &backup], "was made with another model");
    shop.write("collections/notes.toml", notes(""));
}

/// Keys and databases that cannot be used.
fn keys_and_databases(shop: &mut Shop) {
    let key = shop.root.join(".haechi/master.key");
    let former = std::fs::read_to_string(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    shop.refuses(&["user", "list"], "master.key is gone, and ");
    assert!(!key.exists(), "no other key was made");
    std::fs::write(&key, "x").unwrap();
    shop.refuses(&["user", "list"], "must be 64 hex digits: put back the one that the data was made with");
    std::fs::write(&key, KEY).unwrap();
    shop.refuses(&["audit", "verify"], "was sealed under another master key than the one in ");
    std::fs::remove_file(&key).unwrap();
    std::fs::create_dir(&key).unwrap();
    shop.refuses(&["audit", "verify"], "master.key cannot be read or written: it is a folder");
    std::fs::remove_dir(&key).unwrap();
    std::fs::write(&key, former).unwrap();
    Command::new("chmod").arg("600").arg(&key).status().unwrap();

    let url = |url: &'static str| [("HAECHI__DATABASE__URL", "{ env = \"DBU\" }"), ("DBU", url)];
    for (text, words) in [
        ("foo", "the database URL cannot be read"),
        ("mysql://h/d", "must start with sqlite: or postgres://"),
        ("postgres://h.example/d?sslmode=disable", "must be verify-full, or disable"),
        ("postgres://h/d?sslrootcert=x", "not as sslrootcert in the URL"),
        ("postgres://h/d?host=x", "not as a parameter"),
        ("postgres://h:1,i:2/d?target_session_attrs=any", "must be read-write: a standby takes no changes"),
        ("postgres://u:hunter2@127.0.0.1/d?foo=bar", "its URL cannot be used"),
        ("postgres://u:hunter2@127.0.0.1:1/d", "cannot be opened: error connecting to server: nothing listens there"),
        ("sqlite:sub/x.db", "is not there"),
        ("sqlite:../there.bin", "it is no SQLite database"),
        ("sqlite:../policies", "it is a folder, not a file"),
    ] {
        shop.refuses_with(&["user", "list"], &url(text), words);
        assert!(!shop.said.contains("hunter2"), "a password was said");
    }
    let missing = [("HAECHI__DATABASE__CA_FILE", "/nowhere.pem"), ("HAECHI__DATABASE__URL", "{ env = \"DBU\" }"), ("DBU", "postgres://h.example/d")];
    shop.refuses_with(&["user", "list"], &missing, "ca_file /nowhere.pem: it is not there");
    if let Ok(server) = std::env::var("HAECHI_TEST_POSTGRES") {
        let there = server.rsplit_once('/').map_or(server.clone(), |(server, _)| format!("{server}/nodb"));
        let environment = [("HAECHI__DATABASE__URL", "{ env = \"DBU\" }"), ("DBU", there.as_str())];
        shop.refuses_with(&["user", "list"], &environment, "database \"nodb\" does not exist");
    }
    shop.refuses_with(&["user", "list"], &[("HAECHI__MASTER_KEY", "{ env = \"NO_SUCH\" }")], "which is not set");
    shop.refuses_with(&["user", "list"], &[("HAECHI__MASTER_KEY", "{ file = \"/nowhere\" }")], "which cannot be read");
    shop.write("open.key", KEY);
    let open = format!("{{ file = \"{}\" }}", shop.path("open.key"));
    Command::new("chmod").args(["666", &shop.path("open.key")]).status().unwrap();
    shop.refuses_with(&["user", "list"], &[("HAECHI__MASTER_KEY", &open)], "may be read by others; run `chmod 600");
    // A secret in a wrong place is never shown.
    let (good, said) = shop.run(&["check"], &[("HAECHI__MASTER_KEY", KEY)]);
    assert!(!good && said.contains("HAECHI__MASTER_KEY") && !said.contains(&KEY[..16]), "{said}");
    shop.write("haechi.toml", format!("{MAIN}master_key = \"{KEY}\"\nroles2 = 1\n"));
    let (good, said) = shop.run(&["check"], &[]);
    assert!(!good && said.contains("literal-secret") && said.contains("roles2") && !said.contains(&KEY[..16]), "{said}");
    shop.write("haechi.toml", MAIN);
    std::fs::rename(shop.root.join(".haechi"), shop.root.join("kept")).unwrap();
    shop.write(".haechi", "x");
    shop.refuses(&["user", "list"], "cannot be used: it is a file, not a folder");
    std::fs::remove_file(shop.root.join(".haechi")).unwrap();
    std::fs::rename(shop.root.join("kept"), shop.root.join(".haechi")).unwrap();
}

/// A TLS key that others may read is told, and used all the same; one that they may not read is not mentioned.
fn open_key(shop: &mut Shop, good: &str) {
    use std::os::unix::fs::PermissionsExt;
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    shop.write("cert.pem", made.cert.pem());
    shop.write("key.pem", made.signing_key.serialize_pem());
    let (cert, key) = (shop.path("cert.pem"), shop.path("key.pem"));
    shop.write("haechi.toml", good.replace("[ledger]", &format!("cert_file = \"{cert}\"\nkey_file = \"{key}\"\n[ledger]")));
    for (mode, told) in [(0o644, true), (0o600, false)] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let (checked, said) = shop.run(&["check", "--production"], &[]);
        assert!(checked && said.contains("may be read by others than its owner: run `chmod 600") == told, "{mode:o}: {said}");
    }
}

/// `check --production` is green only where `serve` starts.
fn production(shop: &mut Shop) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = free.local_addr().unwrap().to_string();
    let key = shop.path(".haechi/master.key");
    let good = format!(
        "{MAIN}master_key = {{ file = \"{key}\" }}\n[server]\npublic_url = \"https://x.example\"\nlisten = \"127.0.0.1:0\"\nops_listen = \"127.0.0.1:0\"\n[ledger]\nwitness = [\"file:w\"]\n"
    );
    shop.write("haechi.toml", &good);
    let said = shop.does(&["check", "--production"]);
    assert!(said.contains("0 refusals"), "{said}");
    let busy = good.replace("ops_listen = \"127.0.0.1:0\"", &format!("ops_listen = \"{taken}\""));
    let twice = good.replace("127.0.0.1:0", "127.0.0.1:18397");
    for (main, words) in [
        (good.replace("public_url = \"https://x.example\"\n", ""), "no public_url: add"),
        (good.replace("listen = \"127.0.0.1:0\"\nops", "listen = \"0.0.0.0:0\"\nops"), "listen is not loopback and there is no TLS"),
        (good.replace("[ledger]", "cert_file = \"no.pem\"\nkey_file = \"no.pem\"\n[ledger]"), "no.pem cannot be opened: it is not there"),
        (good.replace("[ledger]", &format!("cert_file = \"{key}\"\nkey_file = \"{key}\"\n[ledger]")), "is no PEM file of"),
        (good.replace(&format!("master_key = {{ file = \"{key}\" }}\n"), ""), "no master key: set master_key"),
        (good.clone() + "[telemetry]\ntraces = \"http://c.example/v1/traces\"\nauthorization = { env = \"PATH\" }\n", "would go in plain text"),
        (busy, "cannot be listened on: another process listens there"),
        (twice, "ops_listen under [server]: 127.0.0.1:18397 cannot be listened on"),
    ] {
        shop.write("haechi.toml", &main);
        shop.refuses(&["check", "--production"], words);
        let (served, said) = shop.run(&["serve"], &[]);
        assert!(!served, "serve starts where check refuses ({words}): {said}");
    }
    open_key(shop, &good);
    shop.write("haechi.toml", &good);
    shop.refuses(&["--data", "haechi.toml/x", "check", "--production"], "cannot be made: ");
    shop.write("collections/notes.toml", format!("{NOTES}more = {{ type = \"int\" }}\n"));
    shop.refuses(&["check", "--production"], "the database is not as the folder describes it: run `haechi migrate apply`");
    shop.refuses(&["serve"], "run `haechi migrate apply`");
    shop.write("collections/notes.toml", format!("{NOTES}[actions.publish]\n"));
    shop.refuses(&["check", "--production"], "no handler does notes:publish");
    shop.does(&["check", "--production", "--embedded"]);
    shop.refuses(&["serve"], "no handler does notes:publish");
    shop.write("collections/notes.toml", NOTES);
    shop.write("policies/main.cedar", "permit (principal, action in [Action::\"read\", Action::\"write_pii\"], resource);");
    shop.refuses(&["check", "--production"], "or add \"notes:read\" to reach");
    shop.refuses(&["check"], ", but [anonymous] reach does not declare it");
    assert!(shop.said.contains("which they never reach: say in the policy who may"), "write_pii");
    shop.write("policies/main.cedar", "permit (principal is users, action == Action::\"update\", resource is notes);\npermit (principal is users, action == Action::\"read_pii\", resource is users);");
    shop.write("haechi.toml", "[server]\npublic_url = \"https://x.example\"\n");
    shop.does(&["check"]);
    shop.write("collections/loose.toml", "");
    shop.does(&["check"]);
    std::fs::remove_file(shop.root.join("collections/loose.toml")).unwrap();
    dev(shop);
}

/// `dev` looks at its address first, and holds the data directory.
fn dev(shop: &mut Shop) {
    shop.write("haechi.toml", MAIN);
    shop.write("policies/main.cedar", POLICY);
    shop.refuses(&["dev", "--listen", "foo"], "`foo` is no address with a port");
    shop.refuses(&["dev", "--listen", "0.0.0.0:8080"], "dev listens on loopback only");
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap().to_string();
    shop.refuses(&["dev", "--listen", &taken], "cannot be listened on: another process listens there; name another one");
    let running = crate::process::Dev::start(&shop.root);
    shop.refuses(&["migrate", "apply"], "probably `haechi dev` or `haechi serve`: stop it");
    shop.write(
        "haechi.toml",
        format!("{MAIN}master_key = {{ file = \"{}\" }}\n[server]\npublic_url = \"https://x.example\"\n", shop.path(".haechi/master.key")),
    );
    shop.run(&["check", "--production"], &[]);
    assert!(shop.said.contains("not tried: ") && shop.said.contains("is in use, probably by `serve` itself"), "{}", shop.said);
    shop.write("haechi.toml", MAIN);
    shop.refuses(&["token", "zoe"], "nobody is named `zoe`; people: ");
    shop.write("client/client.js", "// mine");
    let out = shop.path("client");
    shop.refuses(&["generate", "typescript", "--out", &out], "was not made by this command, so it is not replaced");
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1, "nothing else was written");
    shop.does(&["generate", "python", "--out", &out]);
    shop.does(&["generate", "python", "--out", &out]);
    shop.refuses(&["generate", "rust"], "clients for Rust and Go are not built yet");
    shop.refuses(&["generate", "go"], "clients for Rust and Go are not built yet");
    let file = shop.path("haechi.toml");
    shop.refuses(&["generate", "python", "--out", &format!("{file}/x")], "");
    running.end();
}

#[test]
fn every_message_is_provoked() {
    let mut shop = Shop::new("all");
    folders(&mut shop);
    cases(&mut shop);
    data(&mut shop);
    migrations(&mut shop);
    keys_and_databases(&mut shop);
    production(&mut shop);
    let missing: Vec<String> = messages()
        .into_iter()
        .filter(|(_, _, part)| !shop.said.contains(part.as_str()))
        .filter(|(_, _, part)| !ELSEWHERE.iter().any(|(known, _)| part.contains(known) || known.contains(part.as_str())))
        .map(|(file, line, part)| format!("{file}:{line} {part}"))
        .collect();
    assert!(missing.is_empty(), "messages that nothing here provokes:\n{}", missing.join("\n"));
}

/// The table of all messages: where each stands, and the longest part of it that is always the same.
fn messages() -> BTreeSet<(String, usize, String)> {
    let markers = ["Failed::Said(", "format!(", "#[error(", "Err(", "fault(", "refused(", "ok_or(", ".push(", "Secret("];
    let mut found = BTreeSet::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<PathBuf> = std::fs::read_dir(source.join("src/command")).unwrap().map(|entry| entry.unwrap().path()).collect();
    for file in ["app/folder", "app/house", "app/embed", "app/obstacles", "app/database", "http/tls", "app/trial", "app/rows", "access/against"] {
        files.push(source.join(format!("src/{file}.rs")));
    }
    for file in [
        "haechi-gate/src/gate.rs",
        "haechi-store/src/migrate/mod.rs",
        "haechi-store/src/backup/mod.rs",
        "haechi-data/src/transfer/read.rs",
        "haechi-data/src/transfer/json_list.rs",
    ] {
        files.push(source.parent().unwrap().join(file));
    }
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        for (at, _) in code.match_indices('"') {
            let before = code[..at].trim_end();
            if !markers.iter().any(|marker| before.ends_with(marker)) {
                continue;
            }
            let Some(literal) = literal(&code[at + 1..]) else { continue };
            let longest = pieces(&literal).into_iter().max_by_key(String::len).unwrap_or_default();
            let longest = longest.trim().to_owned();
            if longest.len() >= 10 && longest.contains(' ') {
                found.insert((name.clone(), code[..at].matches('\n').count() + 1, longest));
            }
        }
    }
    assert!(found.len() > 120, "{}", found.len());
    found
}

/// A literal's text, up to its end.
fn literal(code: &str) -> Option<String> {
    let mut out = String::new();
    let mut letters = code.chars();
    loop {
        match letters.next()? {
            '"' => return Some(out),
            '\\' => match letters.next()? {
                'n' => out.push('\n'),
                other => out.push(other),
            },
            letter => out.push(letter),
        }
    }
}

/// The parts between what is filled in.
fn pieces(text: &str) -> Vec<String> {
    let text = text.replace("{{", "\u{1}").replace("}}", "\u{2}");
    let mut found = vec![String::new()];
    let mut inside = false;
    for letter in text.chars() {
        match letter {
            '{' => inside = true,
            '}' => {
                inside = false;
                found.push(String::new());
            }
            '\n' => found.push(String::new()),
            _ if inside => {}
            '\u{1}' => found.last_mut().unwrap().push('{'),
            '\u{2}' => found.last_mut().unwrap().push('}'),
            letter => found.last_mut().unwrap().push(letter),
        }
    }
    found
}
