//! Files of rows: all of a file or nothing of it, on both databases.

use crate::values::{Dice, TYPES, id};
use haechi::app::rows::{import_file, import_files};
use haechi_data::transfer::{Format, Options, write_footer, write_header, write_rows};
use haechi_gate::{ImportRow, Imported, Rows};
use haechi_model::{Collection, Value};
use haechi_testkit::{Backend, TestApp, on_both};

on_both!(
    rows_of_one_file_refer_in_any_order,
    bad_rows_are_named_and_nothing_is_kept,
    a_file_that_breaks_off_leaves_nothing,
    rows_of_several_files_name_each_other,
    required_references_in_a_circle_are_named,
    what_was_exported_comes_back_as_it_was,
);

const FILES: &[(&str, &str)] = &[
    ("haechi.toml", ""),
    (
        "collections/nodes.toml",
        "[fields]\ncode = { type = \"text\", required = true, unique = true }\nn = { type = \"int\" }\nnext = { type = \"ref\", to = \"nodes\" }\nkeeper = { type = \"ref\", to = \"users\" }\n",
    ),
];

async fn import(app: &TestApp, name: &str, text: &str) -> Result<usize, String> {
    let revision = app.house.gate.revision();
    let file = std::env::temp_dir().join(format!("haechi-import-{}-{:?}-{name}", std::process::id(), std::thread::current().id()));
    std::fs::write(&file, text).unwrap();
    let declared = revision.app.collection("nodes").unwrap();
    let done = import_file(&app.house, declared, &file, Options::default()).await;
    std::fs::remove_file(&file).unwrap();
    done.map(|done| done.rows.count()).map_err(|error| error.to_string().replace(&file.display().to_string(), "FILE"))
}

async fn stored(app: &TestApp) -> usize {
    let nodes = app.house.gate.revision().app.collection("nodes").unwrap().id;
    app.house.gate.stored_rows(&app.house.keys.import, nodes, "").await.unwrap().len()
}

async fn entries(app: &TestApp) -> usize {
    app.ledger().await.iter().filter(|entry| entry["action"] == "import").count()
}

async fn rows_of_one_file_refer_in_any_order(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    // Each refers to the next, and the last to the first.
    let before = entries(&app).await;
    let rows: Vec<String> = (0..1_500).map(|at| format!("{},c{at},{}", id(at), id((at + 1) % 1_500))).collect();
    assert_eq!(import(&app, "a.csv", &format!("id,code,next\n{}\n", rows.join("\n"))).await, Ok(1_500));
    assert_eq!(entries(&app).await, before + 2);
    // To a stored row, by the other formats.
    assert_eq!(import(&app, "b.json", &format!("[{{\"code\":\"x\",\"next\":\"{}\"}}]", id(3))).await, Ok(1));
    assert_eq!(import(&app, "c.jsonl", &format!("\n{{\"code\":\"y\",\"next\":\"{}\"}}\n", id(4))).await, Ok(1));
    assert_eq!(import(&app, "d.json", "[]").await, Ok(0));
    app.finish().await;
}

async fn bad_rows_are_named_and_nothing_is_kept(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    assert_eq!(import(&app, "a.csv", &format!("id,code\n{},stored\n", id(1))).await, Ok(1));
    let nowhere = id(0xdead);
    let lines = [
        "id,code,n,next,keeper".to_owned(),
        format!("{},good,1,,", id(2)),
        format!("{},bad number,x,,", id(3)),
        format!("{},good,2,,", id(4)),
        format!("{},stored,3,,", id(5)),
        format!("{},next,4,{nowhere},", id(6)),
        format!("{},keeper,5,,{nowhere}", id(7)),
        format!("{},,6,,", id(8)),
        format!("{},id,7,,", id(1)),
    ];
    let errors = import(&app, "b.csv", &lines.join("\n")).await.unwrap_err();
    for (line, what) in [
        (3, "n: "),
        (4, "code: line 2 has the same value"),
        (5, "code: another row has the same value"),
        (6, &*format!("next: refers to {nowhere}, which is not there")),
        (7, &*format!("keeper: refers to {nowhere}, which is not there")),
        (8, "code: a value is required"),
        (9, "id: another row has the same value"),
    ] {
        assert!(errors.contains(&format!("FILE:{line}: {what}")), "line {line}: {errors}");
    }
    let good: Vec<&str> = [0, 1, 4, 5, 6, 8].map(|at| lines[at].as_str()).into();
    let errors = import(&app, "c.csv", &good.join("\n")).await.unwrap_err();
    for (line, what) in [
        (3, "code: another row has the same value"),
        (4, &*format!("next: refers to {nowhere}, which is not there")),
        (5, &*format!("keeper: refers to {nowhere}, which is not there")),
        (6, "id: another row has the same value"),
    ] {
        assert!(errors.contains(&format!("FILE:{line}: {what}")), "line {line}: {errors}");
    }
    assert_eq!(stored(&app).await, 1);
    app.finish().await;
}

async fn a_file_that_breaks_off_leaves_nothing(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let nodes = app.house.gate.revision();
    let (nodes, code) = (nodes.app.collection("nodes").unwrap().id, nodes.app.collection("nodes").unwrap().field("code").unwrap());
    let before = entries(&app).await;
    fn rows<I>(rows: I, collection: usize) -> Rows<I> {
        Rows { collection, upsert: None, rows }
    }
    let row = move |line: usize| ImportRow { line, id: None, values: vec![(code, Value::text(format!("c{line}")))] };
    let broken = (1..=5_001).map(move |line| {
        if line == 5_001 { Err(vec![haechi_gate::ImportError { line, field: None, what: "broken".to_owned() }]) } else { Ok(row(line).into()) }
    });
    let errors = app.house.gate.import_from(&app.house.keys.import, vec![rows(broken, nodes)]).await.unwrap_err().remove(0);
    assert_eq!((errors.len(), errors[0].line), (1, 5_001));
    assert_eq!((stored(&app).await, entries(&app).await), (0, before));
    // A reader that panics is a file that broke off.
    let panics = (1..=2_000).map(move |line| if line == 2_000 { panic!("meant") } else { Ok(row(line).into()) });
    assert!(app.house.gate.import_from(&app.house.keys.import, vec![rows(panics, nodes)]).await.is_err());
    assert_eq!(stored(&app).await, 0);
    // The writer is free again.
    let good = (1..=2_500).map(move |line| Ok(row(line).into()));
    assert_eq!(
        app.house.gate.import_from(&app.house.keys.import, vec![rows(good, nodes)]).await,
        Ok(vec![Imported { new: 2_500, ..Imported::default() }])
    );
    app.finish().await;
}

/// Teams and people of two collections, and of `users`, that name each other.
const CIRCLE: &[(&str, &str)] = &[
    ("haechi.toml", ""),
    (
        "collections/players.toml",
        "[fields]\nname = { type = \"text\", unique = true }\nteam = { type = \"ref\", to = \"teams\", required = true }\nrival = { type = \"ref\", to = \"players\" }\n",
    ),
    (
        "collections/teams.toml",
        "[fields]\nname = { type = \"text\" }\ncaptain = { type = \"ref\", to = \"players\", unique = true }\nkeeper = { type = \"ref\", to = \"users\" }\n",
    ),
];

/// Imports files, each into the collection of its name.
async fn import_all(app: &TestApp, files: &[(&str, String)]) -> Result<Vec<usize>, String> {
    let revision = app.house.gate.revision();
    let folder = std::env::temp_dir().join(format!("haechi-files-{}-{:?}", std::process::id(), std::thread::current().id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut named = Vec::new();
    for (name, text) in files {
        let path = folder.join(format!("{name}.csv"));
        std::fs::write(&path, text).unwrap();
        named.push((revision.app.collection(name).unwrap(), path));
    }
    let done = import_files(&app.house, &named, &Options::default(), None).await;
    std::fs::remove_dir_all(&folder).unwrap();
    done.map(|done| done.iter().map(|done| done.rows.count()).collect())
        .map_err(|error| error.to_string().replace(&format!("{}/", folder.display()), ""))
}

async fn rows_of_several_files_name_each_other(backend: Backend) {
    let app = TestApp::start(backend, CIRCLE).await;
    let revision = app.house.gate.revision();
    let (teams, players) = (revision.app.collection("teams").unwrap(), revision.app.collection("players").unwrap());
    let (team, player, person) = (id, |at: usize| id(0x1_0000 + at), |at: usize| id(0x2_0000 + at));
    let table = |head: &str, rows: &dyn Fn(usize) -> String| format!("{head}\n{}\n", (0..1_200).map(rows).collect::<Vec<_>>().join("\n"));
    let of_players = table("id,name,team,rival", &|at| format!("{},p{at},{},{}", player(at), team(at / 2), player(1_199 - at)));
    let of_teams = table("id,name,captain,keeper", &|at| {
        let captain = if at < 600 { player(at * 2) } else { String::new() };
        format!("{},t{at},{captain},{}", team(at), person(at))
    });
    let of_users = table("id,email", &|at| format!("{},u{at}@example.test", person(at)));
    // Alone neither can come first; together they can, in whichever order they are named.
    assert!(import_all(&app, &[("players", of_players.clone())]).await.unwrap_err().contains("which is not there"));
    assert!(import_all(&app, &[("teams", of_teams.clone())]).await.unwrap_err().contains("which is not there"));
    let before = entries(&app).await;
    let files = [("players", of_players), ("teams", of_teams), ("users", of_users)];
    assert_eq!(import_all(&app, &files).await, Ok(vec![1_200, 1_200, 1_200]));
    assert_eq!(entries(&app).await, before + 6, "an entry for each thousand rows of each");
    let key = &app.house.keys.import;
    let stored = app.house.gate.stored_row(key, teams.id, &team(7)).await.unwrap().unwrap();
    assert_eq!(stored[teams.field("captain").unwrap()].as_text(), Some(&*player(14)));
    assert_eq!(stored[teams.field("keeper").unwrap()].as_text(), Some(&*person(7)));
    let stored = app.house.gate.stored_row(key, players.id, &player(3)).await.unwrap().unwrap();
    assert_eq!(stored[players.field("team").unwrap()].as_text(), Some(&*team(1)));

    // What is wrong is told by file, and nothing of any is kept.
    let bad_players = format!("id,name,team\n{},new,{}\n{},p5,{}\n", player(5_000), team(5_000), player(5_001), team(5_000));
    let bad_teams = format!("id,name,captain\n{},new,{}\n{},other,{}\n", team(5_000), player(5_000), team(5_001), player(9_999));
    let errors = import_all(&app, &[("teams", bad_teams), ("players", bad_players)]).await.unwrap_err();
    assert!(errors.starts_with("nothing was imported; 2 errors in 2 rows\n"), "{errors}");
    assert!(errors.contains(&format!("teams.csv:3: captain: refers to {}, which is not there", player(9_999))), "{errors}");
    assert!(errors.contains("players.csv:3: name: another row has the same value"), "{errors}");
    assert!(app.house.gate.stored_row(key, teams.id, &team(5_000)).await.unwrap().is_none());
    let twice = import_all(&app, &[("teams", "name\nx\n".to_owned()), ("teams", "name\nx\n".to_owned())]).await.unwrap_err();
    assert_eq!(twice, "teams is named twice: a collection has one file");
    app.finish().await;
}

async fn required_references_in_a_circle_are_named(backend: Backend) {
    let mut files = CIRCLE.to_vec();
    let required = CIRCLE[2].1.replace("unique = true", "required = true");
    files[2].1 = &required;
    let app = TestApp::start(backend, &files).await;
    let (of_teams, of_players) = (format!("id,captain\n{},{}\n", id(1), id(2)), format!("id,team\n{},{}\n", id(2), id(1)));
    let errors = import_all(&app, &[("teams", of_teams), ("players", of_players)]).await.unwrap_err();
    assert!(errors.contains("teams.captain, players.team are required and refer to each other in a circle"), "{errors}");
    app.finish().await;
}

/// [V1.2.10] Every type, null, default and empty text, in every format: the same ids and values, and with `exact` the same rows.
async fn what_was_exported_comes_back_as_it_was(backend: Backend) {
    let copies = [("csv", Format::Csv), ("json", Format::Json), ("jsonl", Format::JsonLines)];
    let mut files: Vec<(String, String)> = FILES.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    files.push(("collections/things.toml".to_owned(), TYPES.to_owned()));
    for (name, _) in copies {
        for kind in ["same", "exact"] {
            files.push((
                format!("collections/{kind}_{name}.toml"),
                format!("[collection]\nsingular = \"{kind}{name}\"\n{TYPES}")
                    .replace("singular = \"s", "singular = \"S")
                    .replace("singular = \"e", "singular = \"E"),
            ));
        }
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let app = TestApp::start(backend, &files).await;
    let revision = app.house.gate.revision();
    let (nodes, things) = (revision.app.collection("nodes").unwrap(), revision.app.collection("things").unwrap());
    let node =
        |at: usize| ImportRow { line: 1, id: Some(id(at).into()), values: vec![(nodes.field("code").unwrap(), Value::text(format!("n{at}")))] };
    app.house.gate.import(&app.house.keys.import, nodes.id, (0..3).map(node).collect()).await.unwrap();
    let mut dice = Dice(7);
    let mut rows = Vec::new();
    for at in 0..600 {
        let mut values =
            vec![(Collection::VERSION, Value::Int(1 + dice.below(9) as i64)), (Collection::UPDATE_TIME, Value::Int(1_700_000_000_000 + at))];
        for (field, declared) in things.declared() {
            match dice.below(4) {
                0 if !declared.required => values.push((field, Value::Null)),
                1 => {}
                _ => {
                    let json = dice.value(&declared.name);
                    let read = declared
                        .ty
                        .read(&haechi_model::parse_json(json.as_bytes()).unwrap())
                        .unwrap_or_else(|error| panic!("{}: {json}: {error}", declared.name));
                    values.push((field, read));
                }
            }
        }
        rows.push(ImportRow { line: 1, id: Some(id(at as usize).into()), values });
    }
    app.house.gate.import(&app.house.keys.import, things.id, rows).await.unwrap();
    let stored = app.house.gate.stored_rows(&app.house.keys.import, things.id, "").await.unwrap();
    assert!(stored.iter().any(|row| row[things.field("text").unwrap()].is_null()));
    for (name, format) in copies {
        let mut text = write_header(things, format);
        write_rows(things, format, &stored, true, &mut text);
        text.extend_from_slice(write_footer(format));
        let file = std::env::temp_dir().join(format!("haechi-export-{}-{backend:?}.{name}", std::process::id()));
        std::fs::write(&file, &text).unwrap();
        for exact in [false, true] {
            let copy = revision.app.collection(&format!("{}_{name}", if exact { "exact" } else { "same" })).unwrap();
            let imported = import_file(&app.house, copy, &file, Options { exact, ..Options::default() }).await;
            let imported = imported.unwrap_or_else(|error| panic!("{error}"));
            // What an import does not take it says.
            assert_eq!((imported.rows.count(), imported.left_out), (stored.len(), !exact));
            let read = app.house.gate.stored_rows(&app.house.keys.import, copy.id, "").await.unwrap();
            for (before, after) in stored.iter().zip(&read) {
                let from = if exact { 1 } else { Collection::FIRST_DECLARED };
                assert_eq!((&before[0], &before[from..]), (&after[0], &after[from..]), "{name}");
                assert!(!exact || before == after);
            }
        }
        std::fs::remove_file(&file).unwrap();
    }
    app.finish().await;
}
