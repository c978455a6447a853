//! Files of rows: all of a file or nothing of it, on both databases.

use haechi::rows::import_file;
use haechi_data::transfer::Options;
use haechi_gate::ImportRow;
use haechi_model::Value;
use haechi_testkit::{Backend, TestApp, on_both};

on_both!(rows_of_one_file_refer_in_any_order, bad_rows_are_named_and_nothing_is_kept, a_file_that_breaks_off_leaves_nothing);

const FILES: &[(&str, &str)] = &[
    ("haechi.toml", ""),
    (
        "collections/nodes.toml",
        "[fields]\ncode = { type = \"text\", required = true, unique = true }\nn = { type = \"int\" }\nnext = { type = \"ref\", to = \"nodes\" }\nkeeper = { type = \"ref\", to = \"users\" }\n",
    ),
];

fn id(at: usize) -> String {
    format!("01920000-0000-7000-8000-{at:012x}")
}

async fn import(app: &TestApp, name: &str, text: &str) -> Result<usize, String> {
    let revision = app.house.gate.revision();
    let file = std::env::temp_dir().join(format!("haechi-import-{}-{:?}-{name}", std::process::id(), std::thread::current().id()));
    std::fs::write(&file, text).unwrap();
    let declared = revision.app.collection("nodes").unwrap();
    let done = import_file(&app.house, declared, &file, Options::default()).await;
    std::fs::remove_file(&file).unwrap();
    done.map_err(|error| error.to_string().replace(&file.display().to_string(), "FILE"))
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
