//! Files of rows: all of a file or nothing of it, on both databases.

use crate::values::{Dice, TYPES, id};
use haechi::rows::import_file;
use haechi_data::transfer::{Format, Options, write_footer, write_header, write_rows};
use haechi_gate::ImportRow;
use haechi_model::{Collection, Value};
use haechi_testkit::{Backend, TestApp, on_both};

on_both!(
    rows_of_one_file_refer_in_any_order,
    bad_rows_are_named_and_nothing_is_kept,
    a_file_that_breaks_off_leaves_nothing,
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
    done.map(|done| done.count).map_err(|error| error.to_string().replace(&file.display().to_string(), "FILE"))
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
        // What needs the database is told when the file itself was good.
        let told = errors.contains(&format!("FILE:{line}: {what}"));
        assert!(told || [5, 6, 7, 9].contains(&line), "line {line}: {errors}");
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
    let row = move |line: usize| ImportRow { line, id: None, values: vec![(code, Value::text(format!("c{line}")))] };
    let broken = (1..=5_001).map(move |line| {
        if line == 5_001 { Err(vec![haechi_gate::ImportError { line, field: None, what: "broken".to_owned() }]) } else { Ok(row(line)) }
    });
    let errors = app.house.gate.import_from(&app.house.keys.import, nodes, broken).await.unwrap_err();
    assert_eq!((errors.len(), errors[0].line), (1, 5_001));
    assert_eq!((stored(&app).await, entries(&app).await), (0, before));
    // A reader that panics is a file that broke off.
    let panics = (1..=2_000).map(move |line| if line == 2_000 { panic!("meant") } else { Ok(row(line)) });
    assert!(app.house.gate.import_from(&app.house.keys.import, nodes, panics).await.is_err());
    assert_eq!(stored(&app).await, 0);
    // The writer is free again.
    assert_eq!(app.house.gate.import_from(&app.house.keys.import, nodes, (1..=2_500).map(move |line| Ok(row(line)))).await, Ok(2_500));
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
            assert_eq!((imported.count, imported.left_out), (stored.len(), !exact));
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
