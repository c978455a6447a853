//! The rows: NULLs, dangling references, extremes, and characters that patterns care about.

use super::generate::{Random, THING, USERS};
use haechi_model::{App, Group, Lookup, MAX_ANCESTORS, Value};
use std::{path::PathBuf, sync::Mutex};

pub(super) const NOW_MS: i64 = 1_704_067_200_000;

const FILES: &[(&str, &str)] = &[
    ("haechi.toml", "roles = [\"red\", \"blue\"]\n"),
    (
        "collections/bonds.toml",
        "[fields]\nwho = { type = \"ref\", to = \"users\" }\nthing = { type = \"ref\", to = \"things\" }\nmate = { type = \"ref\", to = \"users\" }\nkind = { type = \"text\", case = \"fold\" }\n",
    ),
    (
        "collections/users.toml",
        "[groups.mates]\nthrough = \"bonds.who\"\nby = \"mate\"\n[fields]\nnick = { type = \"text\" }\nlevel = { type = \"int64\" }\nboss = { type = \"ref\", to = \"users\" }\nmarks = { type = \"list\", of = \"text\", required = true }\nfriends = { type = \"list\", of = \"ref\", to = \"users\" }\n",
    ),
    (
        "collections/things.toml",
        r#"[fields]
flag = { type = "bool", required = true }
oflag = { type = "bool" }
n = { type = "int64", required = true }
on = { type = "int64" }
s = { type = "text", required = true }
os = { type = "text" }
keeper = { type = "ref", to = "users", required = true }
reviewer = { type = "ref", to = "users" }
parent = { type = "ref", to = "things" }
tags = { type = "list", of = "text", required = true }
otags = { type = "list", of = "text" }
at = { type = "datetime" }
price = { type = "decimal", precision = 10, scale = 2 }
nums = { type = "list", of = "int", required = true }
flags = { type = "list", of = "bool", required = true }
rate = { type = "decimal", precision = 18, scale = 4 }
watchers = { type = "list", of = "ref", to = "users", required = true }
owatchers = { type = "list", of = "ref", to = "users", on_delete = "remove" }
[groups.fans]
through = "bonds.who"
by = "thing"
[groups.chiefs]
through = "bonds.who"
by = "thing"
where = "kind = 'Chief' OR kind:\"x*y\""
[groups.kin]
through = "bonds.who"
by = "thing"
inherits = "parent"
"#,
    ),
];

pub(super) struct World {
    pub(super) root: PathBuf,
    pub(super) users: Vec<Vec<Value>>,
    pub(super) things: Vec<Vec<Value>>,
    /// Rows that put people into groups.
    pub(super) bonds: Vec<Vec<Value>>,
    pub(super) things_id: usize,
    /// Whether all references lead to rows.
    pub(super) intact: bool,
    base: Mutex<App>,
}

impl World {
    pub(super) fn new(intact: bool) -> Self {
        static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let root = std::env::temp_dir().join(format!(
            "haechi-property-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
        ));
        for (path, text) in FILES {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let app = App::load(&root, &[]).map_err(|findings| format!("{findings:?}")).unwrap().0;
        let things_id = app.collection("things").unwrap().id;
        let mut random = Random::new(42);
        let users = (0..USERS.len()).map(|at| user(&app, at, &mut random)).collect();
        let things: Vec<_> = (0..24).map(|at| thing(&app, at, intact, &mut random)).collect();
        let mut things: Vec<Vec<Value>> = things;
        let bonds = bonds(&app, &things, &mut random);
        things.extend(deep(&app, intact, &mut random));
        Self { root, users, things, bonds, things_id, intact, base: Mutex::new(app) }
    }

    /// The things that are asked about: those in the middle of the long line differ in nothing.
    pub(super) fn asked(&self) -> impl Iterator<Item = &Vec<Value>> {
        let middle = deep_id(2)..deep_id(MAX_ANCESTORS - 1);
        self.things.iter().filter(move |row| !middle.contains(&row[0].as_text().unwrap_or_default().to_owned()))
    }

    /// The app with these policies.
    pub(super) fn app(&self, policies: &str) -> App {
        let mut app = self.base.lock().unwrap().clone();
        let source = std::sync::Arc::new(haechi_model::Source { path: "policies/p.cedar".into(), text: policies.to_owned() });
        app.policies = vec![haechi_model::PolicyFile { source }];
        app
    }

    pub(super) fn person(&self, at: usize) -> (String, Vec<Value>, Vec<Box<str>>) {
        let row = self.users[at].clone();
        let roles = self.base.lock().unwrap().collections[0].field("roles").unwrap();
        let roles: Vec<String> = serde_json::from_str(row[roles].as_text().unwrap()).unwrap();
        (USERS[at].to_owned(), row, roles.into_iter().map(Into::into).collect())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

impl Lookup for World {
    fn row(&self, table: usize, id: &str) -> Option<Vec<Value>> {
        let rows = if table == self.things_id { &self.things } else { &self.users };
        rows.iter().find(|row| row[0].as_text() == Some(id)).cloned()
    }

    fn joined(&self, group: &Group, of: &str, who: &str) -> bool {
        self.bonds.iter().any(|row| group.joins(row, of, who))
    }
}

fn set(app: &App, collection: usize, row: &mut [Value], name: &str, value: Value) {
    row[app.collections[collection].field(name).unwrap()] = value;
}

fn blank(app: &App, collection: usize, id: &str) -> Vec<Value> {
    let mut row: Vec<Value> = app.collections[collection].table.columns.iter().map(|column| column.default.clone().unwrap_or(Value::Null)).collect();
    row[0] = Value::text(id);
    for (at, value) in [(1, 0), (2, 0), (3, 1)] {
        row[at] = Value::Int(value);
    }
    row
}

fn choose(random: &mut Random, values: &[Value]) -> Value {
    values[random.below(values.len() as u64) as usize].clone()
}

/// A stored list of people.
fn listed(at: &[usize]) -> Value {
    haechi_model::stored_references(&at.iter().map(|at| USERS[*at].into()).collect::<Vec<_>>())
}

fn user(app: &App, at: usize, random: &mut Random) -> Vec<Value> {
    let mut row = blank(app, 0, USERS[at]);
    set(app, 0, &mut row, "roles", Value::text(["[]", "[\"red\"]", "[\"blue\"]", "[\"red\",\"blue\"]"][at]));
    set(app, 0, &mut row, "nick", choose(random, &[Value::Null, Value::text("a"), Value::text("a*b")]));
    set(app, 0, &mut row, "level", choose(random, &[Value::Null, Value::Int(1), Value::Int(5), Value::Int(i64::MIN)]));
    set(app, 0, &mut row, "marks", Value::text(["[]", "[\"a\"]", "[\"a\",\"c\"]", "[\"b\",\"\"]"][at]));
    set(app, 0, &mut row, "friends", [Value::Null, Value::text("[]"), listed(&[0, 1]), listed(&[2])][at].clone());
    set(app, 0, &mut row, "boss", choose(random, &[Value::Null, Value::text(USERS[0]), Value::text(USERS[3])]));
    row
}

/// Who is bound to what; some rows name nobody or nothing.
fn bonds(app: &App, things: &[Vec<Value>], random: &mut Random) -> Vec<Vec<Value>> {
    let bonds = app.collection("bonds").unwrap().id;
    let people: Vec<Value> = USERS.iter().map(|id| Value::text(*id)).chain([Value::Null]).collect();
    let things: Vec<Value> = things.iter().map(|row| row[0].clone()).chain([Value::Null, Value::text(deep_id(0))]).collect();
    let kinds = ["chief", "CHIEF", "x and y", "other"].map(Value::text).into_iter().chain([Value::Null]).collect::<Vec<_>>();
    let bond = |at: usize| {
        let mut row = blank(app, bonds, &format!("01920000-0000-7000-8000-0000000b{at:04x}"));
        set(app, bonds, &mut row, "who", choose(random, &people));
        set(app, bonds, &mut row, "thing", choose(random, &things));
        set(app, bonds, &mut row, "mate", choose(random, &people));
        set(app, bonds, &mut row, "kind", choose(random, &kinds));
        let field = app.collections[bonds].field("kind").unwrap();
        let folded = row[field].as_text().map_or(Value::Null, |text| Value::text(haechi_model::fold_case(text)));
        row[app.collections[bonds].fields[field].shadow.unwrap()] = folded;
        row
    };
    (0..40).map(bond).collect()
}

fn deep_id(at: usize) -> String {
    format!("01920000-0000-7000-8000-0000000d{at:04x}")
}

/// A line of things that is longer than an inherited group looks at; only the first of them has bonds.
fn deep(app: &App, intact: bool, random: &mut Random) -> Vec<Vec<Value>> {
    let things = app.collection("things").unwrap().id;
    let below = |at: usize| {
        let mut row = thing(app, 0, intact, random);
        row[0] = Value::text(deep_id(at));
        set(app, things, &mut row, "parent", if at == 0 { Value::Null } else { Value::text(deep_id(at - 1)) });
        row
    };
    (0..MAX_ANCESTORS + 4).map(below).collect()
}

fn thing(app: &App, at: usize, intact: bool, random: &mut Random) -> Vec<Value> {
    let things = app.collection("things").unwrap().id;
    let id = |at: usize| format!("{}{at:02x}", &THING[..34]);
    let dangling = |instead: &str| Value::text(if intact { instead } else { "01920000-0000-7000-8000-00000000dead" });
    let mut row = blank(app, things, &id(0xb0 + at));
    let texts = ["", "a", "a*b", "axb", "100%", "a_b", "a?b", "[a]", "é\n", "aXb", "\\"].map(Value::text);
    let lists = ["[]", "[\"a\"]", "[\"a\",\"c\"]", "[\"b\",\"100%\"]"].map(Value::text);
    let numbers = [0, 1, 2, 5, -1, i64::MAX, i64::MIN, i64::MAX - 1].map(Value::Int);
    let with_null = |values: &[Value]| values.iter().cloned().chain([Value::Null, Value::Null]).collect::<Vec<_>>();
    let people = [USERS[0], USERS[1], USERS[2], USERS[3]].map(Value::text).into_iter().chain([dangling(USERS[2])]).collect::<Vec<_>>();
    let watched = [listed(&[]), listed(&[0]), listed(&[1, 2]), listed(&[0, 3]), listed(&[0, 1, 2, 3])];
    let parents = [Value::Null, Value::text(id(0xb1)), Value::text(id(0xb4)), dangling(&id(0xb7))];
    for (name, value) in [
        ("flag", choose(random, &[Value::Int(0), Value::Int(1)])),
        ("oflag", choose(random, &[Value::Int(0), Value::Int(1), Value::Null])),
        ("n", choose(random, &numbers)),
        ("on", choose(random, &with_null(&numbers))),
        ("s", choose(random, &texts)),
        ("os", choose(random, &with_null(&texts))),
        ("keeper", choose(random, &people)),
        ("reviewer", choose(random, &with_null(&people))),
        ("parent", choose(random, &parents)),
        ("tags", choose(random, &lists)),
        ("otags", choose(random, &with_null(&lists))),
        (
            "at",
            choose(
                random,
                &[Value::Null, Value::Int(1), Value::Int(-1), Value::Int(NOW_MS), Value::Int(-62_135_596_800_000), Value::Int(253_402_300_799_999)],
            ),
        ),
        (
            "price",
            choose(
                random,
                &[
                    Value::Null,
                    Value::Int(100),
                    Value::Int(125),
                    Value::Int(-1),
                    Value::Int(101),
                    Value::Int(9_999_999_999),
                    Value::Int(-9_999_999_999),
                ],
            ),
        ),
        ("nums", choose(random, &["[]", "[1]", "[1,5,1]", "[0,-1]", "[2,5]"].map(Value::text))),
        ("flags", choose(random, &["[]", "[true]", "[false,true]", "[false]"].map(Value::text))),
        ("watchers", choose(random, &watched)),
        ("owatchers", choose(random, &with_null(&watched))),
        (
            "rate",
            choose(
                random,
                &[Value::Null, Value::Int(10_050), Value::Int(0), Value::Int(999_999_999_999_999_999), Value::Int(-999_999_999_999_999_999)],
            ),
        ),
    ] {
        set(app, things, &mut row, name, value);
    }
    row
}
