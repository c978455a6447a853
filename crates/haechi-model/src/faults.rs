//! Provokes every finding of a folder, and names the places in the code whose findings none of these tests provoke.

mod folders;
mod jobs;

use folders::{first, folder, found, write};
use std::{
    collections::BTreeSet,
    panic::Location,
    path::{Path, PathBuf},
    sync::Mutex,
};

static SEEN: Mutex<BTreeSet<(String, u32)>> = Mutex::new(BTreeSet::new());

/// Notes where a finding was made.
pub(crate) fn seen(place: &Location<'_>) {
    let file = Path::new(place.file()).file_name().unwrap().to_string_lossy().into_owned();
    SEEN.lock().unwrap().insert((file, place.line()));
}

/// A file of a folder, the code of its first finding, and words of its message or its help.
type Fault = (&'static str, &'static str, &'static str, &'static str);

const MAIN: &[Fault] = &[
    ("haechi.toml", "[x", "not-toml", "mend the syntax"),
    ("haechi.toml", "roles = []\nroles = []", "not-toml", "stands above already"),
    ("haechi.toml", "roles = [\"a\", \"a\"]", "clash", "declared twice"),
    ("haechi.toml", "roles = [\"A\"]", "bad-name", "`A` is not a name"),
    ("haechi.toml", "roles = [1]", "wrong-type", "holds integer, not a string"),
    ("haechi.toml", "roles = 5", "wrong-type", "must be a list of strings"),
    ("haechi.toml", "[classes]\nhealth = \"pii\"", "wrong-type", "must be a table"),
    ("haechi.toml", "[classes]\nhealth = {}", "wrong-value", "needs `like`"),
    ("haechi.toml", "[classes]\nhealth = { like = \"x\" }", "wrong-value", "`like` is `x`"),
    ("haechi.toml", "[classes]\npii = { like = \"pii\" }", "clash", "built in"),
    ("haechi.toml", "[classes]\nHealth = { like = \"pii\" }", "bad-name", "not a name"),
    ("haechi.toml", "[anonymous]\nreach = [\"notes:lst\"]", "wrong-value", "names no action"),
    ("haechi.toml", "[anonymous]\nreach = [\"nots:list\"]", "unknown-collection", "did you mean `notes`?"),
    ("haechi.toml", "listn = 1", "unknown-key", "unknown key"),
    ("haechi.toml", "[server]\nmaster_key = { env = \"X\" }", "unknown-key", "before the first [section]"),
    ("haechi.toml", "[limits]\npublic_url = \"https://x.example\"", "unknown-key", "under [server]"),
    ("haechi.toml", "server = 5", "wrong-type", "write `[server]`"),
    ("haechi.toml", "[mail]\nfrom = \"x\"", "not-built", "is kept for mail, which is not built yet"),
    ("haechi.toml", "[limits]\nbody_bytes = 5", "out-of-range", "must be from 1024 to 1073741824"),
    ("haechi.toml", "[server]\nlisten = \"localhost:8081\"", "not-an-address", "127.0.0.1:8081"),
    ("haechi.toml", "[server]\nlisten = 8080", "wrong-type", "must be a string"),
    ("haechi.toml", "[server]\ntrusted_proxies = [\"proxy\"]", "not-a-network", "not a network"),
    ("haechi.toml", "[server]\ncors_origins = [\"*\"]", "not-an-origin", "there is no wildcard"),
    ("haechi.toml", "[server]\ncert_file = \"c.pem\"", "missing-key", "TLS needs both"),
    ("haechi.toml", "[server]\npublic_url = \"example.com\"", "not-an-origin", "without a path"),
    ("haechi.toml", "[database]\nurl = \"foo\"", "database-url", "not a database URL"),
    ("haechi.toml", "[database]\nurl = \"sqlite:\"", "database-url", "is empty"),
    ("haechi.toml", "[database]\nurl = \"mysql://h/d\"", "database-url", "not built yet"),
    ("haechi.toml", "[database]\nurl = \"postgres://u:p@h/d\"", "database-url", "never stands in the folder"),
    ("haechi.toml", "[site]\nfolder = \"../web\"", "wrong-value", "no folder below the app's"),
    ("haechi.toml", "[site]\nfolder = \"policies\"", "wrong-value", "never served"),
    ("haechi.toml", "[site]\nfolder = \"web\"\nfallback = \"app.js\"", "wrong-value", "ends in .html"),
    ("haechi.toml", "[site]\nfallback = \"index.html\"", "missing-key", "add folder"),
    ("haechi.toml", "[site]\ncontent_security_policy = \"img-src 'self', *\"", "content-policy", "characters that no policy has"),
    ("haechi.toml", "[site]\ncontent_security_policy = \"img-scr *\"", "content-policy", "no directive"),
    ("haechi.toml", "[site]\ncontent_security_policy = \"img-src *; img-src data:\"", "content-policy", "stands twice"),
    ("haechi.toml", "[site]\ncontent_security_policy = \"require-trusted-types-for\"", "content-policy", "trusted_types = true"),
    ("haechi.toml", "[site]\ncontent_security_policy = \"default-src *\"", "content-policy", "name other origins one by one"),
    ("haechi.toml", "[ledger]\nreads = \"some\"", "wrong-value", "choose \"classed\""),
    ("haechi.toml", "[ledger]\nwitness = [\"disk\"]", "wrong-value", "not a witness"),
    ("haechi.toml", "[auth]\nsign_up = \"yes\"", "wrong-value", "choose \"closed\""),
    ("haechi.toml", "[auth]\nadministrator = \"membr\"", "unknown-name", "which is no role"),
    ("haechi.toml", "[auth]\nsign_up_fields = [\"boss\"]", "unknown-name", "haechi add field users boss:text"),
    ("haechi.toml", "[auth]\nsign_up_fields = [\"roles\"]", "unknown-name", "Haechi sets it itself"),
    ("haechi.toml", "[telemetry]\ntraces = \"collector\"", "not-an-address", "not an address"),
    ("haechi.toml", "[telemetry]\nauthorization = { env = \"X\" }", "missing-key", "none is named"),
    ("haechi.toml", "master_key = \"00\"", "literal-secret", "as a literal"),
    ("haechi.toml", "master_key = { en = \"X\" }", "secret-reference", "one of `env` and `file`"),
    ("collections/a.txt", "", "unknown-file", "only .toml files"),
    ("collections/in.toml", "", "bad-name", "a word of Cedar"),
    ("collections/services.toml", "", "bad-name", "policies name programs"),
    ("collections/pg_x.toml", "", "bad-name", "keep names"),
    ("collections/Notes.toml", "", "bad-name", "not a name"),
    ("collections/note.toml", "[collection]\nsingular = \"Note\"", "clash", "share the singular"),
    ("collections/sub/x.toml", "", "unreadable", "is not looked into"),
    ("policies/sub/deny.cedar", "", "unreadable", "nothing in it would count"),
    ("graphql/sub/x.graphql", "", "unreadable", "move its files up"),
];

/// What stands under `[fields]` of a collection, or in its whole file where it begins with a bracket.
const FIELDS: &[(&str, &str, &str)] = &[
    ("A = { type = \"text\" }", "bad-name", "not a name"),
    ("id = { type = \"text\" }", "reserved-name", "every row has it"),
    ("x = \"text\"", "wrong-type", "must be a table, not string"),
    ("x = {}", "missing-key", "`type` is missing"),
    ("x = { type = \"file\" }", "not-built", "not built yet"),
    ("x = { type = \"txt\" }", "unknown-type", "did you mean `text`?"),
    ("x = { type = \"text\", case = \"no\" }", "wrong-value", "`case` is `no`"),
    ("x = { type = \"text\", min_length = 5, max_length = 2 }", "out-of-range", "larger than `max_length`"),
    ("x = { type = \"text\", unique = true, max_length = 5000 }", "long-index", "values of more than 2600 bytes are refused"),
    (
        "[fields]\nx = { type = \"text\", max_length = 5000 }\n[[indexes]]\nfields = [\"x\"]",
        "long-index",
        "values of more than 2600 bytes are refused",
    ),
    ("x = { type = \"text\", pattern = \"(\" }", "bad-pattern", "cannot be used"),
    ("x = { type = \"text\", required = \"yes\" }", "wrong-type", "true or false"),
    ("x = { type = \"text\", foo = 1 }", "unknown-key", "unknown key `foo`"),
    ("x = { type = \"text\", encrypted = true }", "not-built", "kept for field encryption"),
    ("x = { type = \"ref\", to = \"users\", on_delete = \"cascade-later\" }", "not-built", "waits for background jobs"),
    ("x = { type = \"text\", class = \"pi\" }", "unknown-class", "did you mean `pii`?"),
    ("x = { type = \"text\", was = \"A\" }", "bad-name", "not a name"),
    ("x = { type = \"text\", was = \"y\" }\ny = { type = \"text\" }", "clash", "still exists"),
    ("x = { type = \"text\", by = \"y\" }", "wrong-value", "beside a reference and `was`"),
    ("x = { type = \"list\", of = \"ref\" }", "missing-key", "needs `to`"),
    ("x = { type = \"list\", of = \"ref\", to = \"user\" }", "unknown-collection", "did you mean `users`?"),
    ("x = { type = \"list\", of = \"ref\", to = \"users\", on_delete = \"cascade\" }", "wrong-value", "choose \"restrict\" or \"remove\""),
    ("x = { type = \"ref\", to = \"users\", on_delete = \"remove\" }", "wrong-value", "choose \"restrict\", \"cascade\""),
    ("x = { type = \"list\", of = \"ref\", to = \"users\", max_items = 1001 }", "out-of-range", "1000"),
    ("x = { type = \"list\", of = \"ref\", to = \"users\", default = [\"a\"] }", "bad-default", "ids of rows stand in the folder"),
    ("x = { type = \"list\", of = \"ref\", to = \"users\", default = \"me\" }", "bad-default", "default = []"),
    ("x = { type = \"list\", of = \"ref\", to = \"users\", unique = true }", "not-comparable", "cannot be unique"),
    ("x = { type = \"list\", of = \"ref\", to = \"users\", was = \"y\", by = \"zz\" }", "unknown-field", "no unique field of users"),
    ("[collection]\nowner = \"x\"\n[fields]\nx = { type = \"list\", of = \"ref\", to = \"users\" }", "bad-owner", "not a reference to users"),
    ("[actions.do.input]\nx = { type = \"list\", of = \"ref\", to = \"users\" }", "wrong-type", "cannot be a reference"),
    (
        "[[checks]]\nthat = \"x:* OR y > 1\"\n[fields]\nx = { type = \"list\", of = \"ref\", to = \"users\", on_delete = \"remove\" }\ny = { type = \"int\" }",
        "unkept-check",
        "gets shorter when a row",
    ),
    ("x = { type = \"ref\", to = \"users\", was = \"y\", by = \"zz\" }", "unknown-field", "no unique field of users"),
    ("x = { type = \"int\", min = 5, max = 2 }", "out-of-range", "no value fits"),
    ("x = { type = \"float\", min = 5.0, max = 2.0 }", "out-of-range", "no value fits"),
    ("x = { type = \"float\", min = \"a\" }", "wrong-type", "must be a number"),
    ("x = { type = \"decimal\", precision = 2, scale = 4 }", "out-of-range", "larger than `precision`"),
    ("x = { type = \"list\", of = \"float\" }", "bad-item-type", "cannot hold float"),
    ("x = { type = \"list\", of = \"text\", case = \"fold\" }", "bad-item-type", "not folded"),
    ("x = { type = \"enum\" }", "bad-enum", "needs 1 to 200"),
    ("x = { type = \"enum\", values = 5 }", "wrong-type", "a list of strings"),
    ("x = { type = \"enum\", values = [\"a\", \"a\"] }", "bad-enum", "must differ"),
    ("x = { type = \"ref\" }", "missing-key", "needs `to`"),
    ("x = { type = \"ref\", to = \"user\" }", "unknown-collection", "did you mean `users`?"),
    ("x = { type = \"ref\", to = \"users\", on_delete = \"drop\" }", "wrong-value", "choose \"restrict\""),
    ("x = { type = \"ref\", to = \"users\", on_delete = \"set_null\", required = true }", "set-null-required", "required field"),
    ("x = { type = \"json\", unique = true }", "not-comparable", "cannot be unique"),
    ("x = { type = \"int\", default = \"a\" }", "bad-default", "a value of the type int"),
    ("x = { type = \"date\", default = 2020-01-01 }", "bad-default", "in quotes, or \"today\""),
    ("owner = { type = \"text\" }", "reserved-name", "a reference to users"),
    ("[collection]\nsingular = \"note\"", "bad-name", "not a type name"),
    ("[collection]\nwas = \"A\"", "bad-name", "not a name"),
    ("[collection]\nwas = \"users\"", "clash", "still exists"),
    ("[collection]\nowner = \"x\"", "bad-owner", "not a reference to users"),
    ("[collection]\norder = \"nothing\"", "bad-order", "has no field `nothing`"),
    ("[collection]\norder = \"x\"\n[fields]\nx = { type = \"int\", class = \"pii\" }", "guarded-order", "not everybody who lists may read"),
    ("[collection]\npage_size = 0", "out-of-range", "1000"),
    ("[collection]\nowner = \"id\"", "bad-owner", "a field of every row"),
    ("x = { type = \"text\", transitions = { a = [\"b\"] } }", "wrong-value", "only the words of an enum"),
    ("x = { type = \"enum\", values = [\"a\"], class = \"secret\", initial = [\"a\"] }", "guarded-transitions", "would tell its value"),
    ("x = { type = \"enum\", values = [\"draft\", \"sent\"], transitions = { draft = [\"sen\"] } }", "unknown-word", "did you mean `sent`?"),
    ("x = { type = \"enum\", values = [\"a\"], transitions = { a = \"a\" } }", "wrong-type", "must be a list of words"),
    ("x = { type = \"enum\", values = [\"a\"], initial = [] }", "wrong-value", "no row could be created"),
    ("x = { type = \"enum\", values = [\"a\", \"b\"], default = \"b\", initial = [\"a\"] }", "bad-default", "write one of a"),
    ("x = { type = \"list\", of = \"enum\", values = [\"a\"], ordered = true }", "bad-item-type", "no order of their own"),
    ("x = { type = \"text\", default = { nummer = \"{n}\" } }", "bad-default", "the default is a table"),
    ("x = { type = \"int\", default = { number = \"{n}\" } }", "bad-default", "numbers in a field of the type int"),
    ("x = { type = \"text\", default = { number = \"INV\" } }", "bad-default", "it needs `{n}`"),
    ("x = { type = \"text\", max_length = 10, default = { number = \"INV-{n:5}\" } }", "bad-default", "may have 22 characters"),
    ("[actions.do.input]\nx = { type = \"text\", default = { number = \"{n}\" } }", "bad-default", "in the body of an action"),
    ("x = { type = \"date\", min = 2026-01-01 }", "wrong-value", "`min` must be a time in quotes"),
    ("x = { type = \"datetime\", max = \"2026-01-01\" }", "wrong-value", "`max` must be an RFC 3339 time"),
    ("x = { type = \"decimal\", scale = 2, min = \"0.001\" }", "wrong-value", "at most 2 digits"),
    ("x = { type = \"decimal\", min = true }", "wrong-value", "`min` must be a decimal number in quotes"),
    ("x = { type = \"decimal\", min = 5, max = 2 }", "out-of-range", "no value fits"),
    ("x = { type = \"date\", max = \"2030-01-01\", default = \"today\" }", "wrong-value", "the time of a write may be outside"),
    ("x = { type = \"text\", on_update = \"now\" }", "wrong-value", "`on_update` is `now` on a text"),
    ("x = { type = \"datetime\", on_update = \"now\", write_once = true }", "wrong-value", "beside `write_once`"),
    ("x = { type = \"ref\", to = \"users\", on_update = \"me\", required = true }", "wrong-value", "services change rows too"),
    ("x = { type = \"ref\", to = \"users\", default = \"you\" }", "bad-default", "or \"me\""),
    ("[actions.do.input]\nx = { type = \"text\", write_once = true }", "unknown-key", "`write_once`"),
    ("[[checks]]\nmessage = \"m\"", "missing-key", "a check needs `that`"),
    ("[[checks]]\nthat = \"x >\"\n[fields]\nx = { type = \"int\" }", "bad-filter", "`that` of a check"),
    ("[[checks]]\nthat = \"x > y\"\n[fields]\nx = { type = \"int\" }\ny = { type = \"float\" }", "bad-filter", "they cannot be compared"),
    ("[[checks]]\nthat = \"x > 1\"\nmessage = \"\"\n[fields]\nx = { type = \"int\" }", "wrong-value", "1 to 200 characters"),
    ("[[checks]]\nthat = \"x > 1\"\n[[checks]]\nthat = \"x > 1\"\n[fields]\nx = { type = \"int\" }", "clash", "stands twice"),
    (
        "[[checks]]\nthat = \"x > y\"\n[fields]\nx = { type = \"int\" }\ny = { type = \"int\", class = \"pii\" }",
        "guarded-check",
        "compares `y`, whose class is `pii`",
    ),
    (
        "[[checks]]\nthat = \"x:* OR y > 1\"\n[fields]\nx = { type = \"ref\", to = \"users\", on_delete = \"set_null\" }\ny = { type = \"int\" }",
        "unkept-check",
        "becomes null when the row",
    ),
    ("[indexes]", "wrong-type", "write `[[indexes]]`"),
    ("[[indexes]]", "missing-key", "needs `fields`"),
    ("[[indexes]]\nfields = [\"titl\"]", "unknown-field", "no field is named"),
    ("[[indexes]]\nfields = [\"x\"]\n[fields]\nx = { type = \"json\" }", "not-comparable", "cannot be indexed"),
    ("[[indexes]]\nfields = [\"x\"]\nunique = true\n[fields]\nx = { type = \"int\", unique = true, required = true }", "clash", "already"),
    ("[[indexes]]\nfields = [\"x\"]\n[[indexes]]\nfields = [\"x\"]\n[fields]\nx = { type = \"int\" }", "clash", "already"),
    (
        "[[indexes]]\nfields = [\"x\", \"y\"]\nunique = true\n[fields]\nx = { type = \"int\" }\ny = { type = \"int\", required = true }",
        "unique-null",
        "rows with null",
    ),
    ("[actions.Publish]", "bad-name", "not a name"),
    ("[actions.update]", "reserved-name", "Haechi uses itself"),
    ("[actions]\npublish = 7", "wrong-type", "must be a table"),
    ("[actions.publish]\ninput = 7", "wrong-type", "[actions.publish.input]"),
    ("[actions.publish.input]\nwho = { type = \"ref\", to = \"users\" }", "wrong-type", "write type = \"uuid\""),
    ("[actions.publish.input]\nwhy = { type = \"text\", unique = true }", "unknown-key", "remove `unique`"),
];

/// The other ways in which a folder is wrong: files that are none, the environment, what is too much.
fn rare() {
    let root = folder();
    std::fs::remove_file(root.join("haechi.toml")).unwrap();
    first(&found(&root, &[]), "no haechi.toml", "no-folder", "haechi new");
    let root = folder();
    first(&found(&root.join("haechi.toml"), &[]), "a file", "no-folder", "the folder that it is in");
    for (path, text, code, words) in [
        ("policies/big.cedar", vec![b' '; (1 << 20) + 1], "unreadable", "at most 1048576"),
        ("policies/bad.cedar", vec![0xff, 0xfe], "unreadable", "not UTF-8"),
        ("policies", Vec::new(), "unreadable", "not a folder"),
    ] {
        let root = folder();
        write(&root, path, &text);
        first(&found(&root, &[]), path, code, words);
    }
    let root = folder();
    std::fs::create_dir_all(root.join("policies")).unwrap();
    std::os::unix::fs::symlink("/nowhere", root.join("policies/deny.cedar")).unwrap();
    first(&found(&root, &[]), "a dangling link", "unreadable", "a link to something that is not there");
    let root = folder();
    std::fs::create_dir_all(root.join("policies/deny.cedar")).unwrap();
    first(&found(&root, &[]), "a folder with a file's name", "unreadable", "is not looked into");
    let root = folder();
    std::fs::remove_file(root.join("haechi.toml")).unwrap();
    std::fs::create_dir_all(root.join("haechi.toml")).unwrap();
    first(&found(&root, &[]), "a folder in the place of haechi.toml", "unreadable", "it must be a file");

    // An error in an environment variable shows the variable's name, never its value.
    for (name, value, code, words) in [
        ("HAECHI__A__B__C", "1", "unknown-key", "names no key"),
        ("HAECHI__SERVER__LISTN", "x", "unknown-key", "did you mean `listen`?"),
        ("HAECHI__MASTER_KEY", "5ec4e7", "literal-secret", "goes into the variable NAME"),
        ("HAECHI__DATABASE__URL", "postgres://u:5ec4e7@h/d", "database-url", "never stands in the folder"),
    ] {
        let root = folder();
        let found = found(&root, &[(name, value)]);
        first(&found, name, code, words);
        assert!(found[0].0 == name && !found[0].2.contains("5ec4e7"), "{found:?}");
    }
    // One half in the file and one in the environment are both.
    let root = folder();
    write(&root, "haechi.toml", b"[server]\ncert_file = \"c.pem\"\n");
    assert_eq!(found(&root, &[("HAECHI__SERVER__KEY_FILE", "k.pem")]), []);

    let users = "[fields]\nboss = { type = \"ref\", to = \"users\", required = true }\n";
    for (main, words) in
        [("[auth]\nsign_up = \"open\"\n", "make it optional"), ("[auth]\nsign_up = \"open\"\nsign_up_fields = [\"boss\"]\n", "nobody is known yet")]
    {
        let root = folder();
        write(&root, "haechi.toml", main.as_bytes());
        write(&root, "collections/users.toml", users.as_bytes());
        first(&found(&root, &[]), main, "unknown-name", words);
    }
    let root = folder();
    write(&root, "collections/users.toml", b"[fields]\nboss = { type = \"ref\", to = \"users\", on_delete = \"cascade\" }\n");
    first(&found(&root, &[]), "a cascade to people", "cascade-to-people", "must not delete people");
}

fn too_much() {
    let many = |count: usize, line: &dyn Fn(usize) -> String| (0..count).map(line).collect::<String>();
    for (path, text, code) in [
        (
            "collections/notes.toml",
            format!("[fields]\nx = {{ type = \"int\" }}\n{}", many(33, &|n| format!("[[checks]]\nthat = \"x > {n}\"\n"))),
            "too-many-checks",
        ),
        ("collections/users.toml", "[fields]\nx = { type = \"text\", default = { number = \"{n}\" } }".to_owned(), "bad-default"),
        ("haechi.toml", format!("[classes]\n{}", many(21, &|n| format!("c{n} = {{ like = \"pii\" }}\n"))), "too-many-classes"),
        ("collections/notes.toml", format!("[fields]\n{}", many(57, &|n| format!("f{n} = {{ type = \"bool\" }}\n"))), "too-many-fields"),
        (
            "collections/notes.toml",
            format!(
                "[fields]\n{}{}",
                many(33, &|n| format!("f{n} = {{ type = \"int\" }}\n")),
                many(33, &|n| format!("[[indexes]]\nfields = [\"f{n}\"]\n"))
            ),
            "too-many-indexes",
        ),
        (
            "collections/notes.toml",
            format!("[actions.publish.input]\n{}", many(61, &|n| format!("f{n} = {{ type = \"bool\" }}\n"))),
            "too-many-fields",
        ),
        ("collections/notes.toml", many(54, &|n| format!("[actions.do_{n}]\n")), "too-many-actions"),
    ] {
        let root = folder();
        write(&root, path, text.as_bytes());
        first(&found(&root, &[]), code, code, "");
    }
    let root = folder();
    for n in 0..500 {
        write(&root, &format!("collections/c{n}.toml"), b"");
    }
    first(&found(&root, &[]), "501 collections", "too-many-collections", "at most 500");
}

/// Groups, in a folder of things that belong together by `joins`.
const GROUPS: &[(&str, &str, &str)] = &[
    ("[groups]\nCrew = {}", "bad-name", "`Crew` is not a name"),
    ("[groups]\nparent = {}", "clash", "is a field of things"),
    ("[groups]\ncrew = 5", "wrong-type", "must be a table"),
    ("[groups]\ncrew = {}", "missing-key", "needs `through`"),
    ("[groups]\ncrew = { through = \"joins\", by = \"thing\" }", "wrong-value", "write COLLECTION.FIELD"),
    ("[groups]\ncrew = { through = \"join.person\", by = \"thing\" }", "unknown-collection", "did you mean `joins`?"),
    ("[groups]\ncrew = { through = \"joins.persn\", by = \"thing\" }", "unknown-field", "did you mean `person`?"),
    ("[groups]\ncrew = { through = \"joins.thing\", by = \"thing\" }", "wrong-value", "`thing` of joins is no reference to users"),
    ("[groups]\ncrew = { through = \"joins.person\", by = \"person\" }", "wrong-value", "`person` of joins is no reference to things"),
    ("[groups]\ncrew = { through = \"joins.hidden\", by = \"thing\" }", "guarded-group", "whose class is `secret`"),
    ("[groups]\ncrew = { through = \"joins.person\", by = \"thing\", where = \"rank >\" }", "bad-filter", "a value is missing"),
    ("[groups]\ncrew = { through = \"joins.person\", by = \"thing\", where = \"code = 1\" }", "guarded-group", "looks at `code`"),
    ("[groups]\ncrew = { through = \"joins.person\", by = \"thing\", inherits = \"owner\" }", "wrong-value", "is no reference to things"),
    ("[groups]\ncrew = { through = \"joins.person\", by = \"thing\", whre = \"x\" }", "unknown-key", "did you mean `where`?"),
];

fn groups() {
    let joins = "[fields]\nperson = { type = \"ref\", to = \"users\" }\nthing = { type = \"ref\", to = \"things\" }\nrank = { type = \"int\" }\n\
                 hidden = { type = \"ref\", to = \"users\", class = \"secret\" }\ncode = { type = \"int\", class = \"secret\" }\n";
    let things = "[fields]\nparent = { type = \"ref\", to = \"things\" }\nowner = { type = \"ref\", to = \"users\" }\n";
    let many: String = (0..17).map(|n| format!("[groups.g{n}]\nthrough = \"joins.person\"\nby = \"thing\"\n")).collect();
    for (text, code, words) in GROUPS.iter().copied().chain([(many.as_str(), "too-many-groups", "at most 16")]) {
        let root = folder();
        write(&root, "collections/joins.toml", joins.as_bytes());
        write(&root, "collections/things.toml", format!("{things}{text}").as_bytes());
        first(&found(&root, &[]), text, code, words);
    }
    // People who belong to people: both references lead to users.
    let root = folder();
    write(&root, "collections/joins.toml", b"[fields]\nperson = { type = \"ref\", to = \"users\" }\n");
    write(&root, "collections/users.toml", b"[groups]\ncrew = { through = \"joins.person\", by = \"person\" }");
    first(&found(&root, &[]), "one reference for both", "wrong-value", "cannot say both");
}

#[test]
fn every_finding_is_provoked() {
    for (path, text, code, words) in MAIN {
        let root = folder();
        write(&root, path, text.as_bytes());
        first(&found(&root, &[]), &format!("{path}: {text}"), code, words);
    }
    for (text, code, words) in FIELDS {
        let root = folder();
        let text = if text.starts_with('[') { (*text).to_owned() } else { format!("[fields]\n{text}") };
        write(&root, "collections/things.toml", text.as_bytes());
        first(&found(&root, &[]), &text, code, words);
    }
    rare();
    groups();
    jobs::jobs();
    too_much();
    let missed = places_not_seen();
    assert!(missed.is_empty(), "findings that no folder here provokes: {missed:?}");
}

/// Places in the code that make a finding and were not met.
fn places_not_seen() -> Vec<String> {
    let seen = SEEN.lock().unwrap();
    let mut missed = Vec::new();
    let mut todo = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut places = 0;
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        // What others call, and what calls them.
        if matches!(file.as_str(), "faults.rs" | "folders.rs" | "jobs.rs" | "finding.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        for (at, line) in code.lines().enumerate() {
            let makes = line.contains(".error(") || line.contains(".warning(");
            // The section hands on what it is told.
            if !makes || line.contains("(self.source, span, code, message, help.into())") {
                continue;
            }
            places += 1;
            if !seen.contains(&(file.clone(), at as u32 + 1)) {
                missed.push(format!("{file}:{} {}", at + 1, line.trim()));
            }
        }
    }
    assert!(places > 80, "{places}");
    missed
}
