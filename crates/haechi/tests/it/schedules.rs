//! Schedules: jobs that the clock enqueues, once for each time, whatever nodes and clocks do.

use haechi_jobs::State;
use haechi_testkit::{Backend, TestApp, on_both};
use std::{sync::Arc, time::Duration};

on_both!(a_schedule_fires_once_for_each_time, missed_times_are_as_declared, a_schedule_that_is_gone_does_not_fire);

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

fn files(schedules: &str) -> Vec<(&'static str, String)> {
    let jobs = "[jobs.note]\nas = \"service:robot\"\ninput = { title = { type = \"text\", required = true }, note = { type = \"text\", required = true, default = \"by default\" } }\n\
                do = { create = \"notes\", data = { title = { from = \"/input/title\" }, note = { from = \"/input/note\" } } }\n";
    vec![
        ("haechi.toml", "roles = [\"clerk\"]\n[services.robot]\nroles = [\"clerk\"]\n".to_owned()),
        ("collections/users.toml", "[fields]\nteam = { type = \"text\" }\n".to_owned()),
        (
            "collections/notes.toml",
            "[fields]\ntitle = { type = \"text\", required = true }\nnote = { type = \"text\", required = true }\n".to_owned(),
        ),
        ("jobs/all.toml", format!("{jobs}{schedules}")),
        ("policies/main.cedar", "@everything(\"tests\") permit (principal in Role::\"clerk\", action, resource);\n".to_owned()),
    ]
}

fn schedule(name: &str, cron: &str, more: &str) -> String {
    format!("[[schedule]]\nname = \"{name}\"\ncron = \"{cron}\"\njob = \"note\"\ninput = {{ title = \"{name}\" }}\n{more}\n")
}

/// How many notes each schedule has made, when nothing is left to do.
async fn made(app: &TestApp, wanted: usize, title: &str) -> usize {
    let clerk = app.person(&format!("clerk{}", uuid::Uuid::now_v7().simple()), &["clerk"]).await;
    let mut found = 0;
    for _ in 0..200 {
        let reply = clerk.get(&format!("/api/v1/notes?count=true&page_size=1&filter=title%3D%22{title}%22")).await.expect(200).json();
        found = usize::try_from(reply["total_size"].as_u64().unwrap()).unwrap();
        if found >= wanted && app.house.jobs.depths().await.unwrap().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    found
}

async fn next_of(app: &TestApp, name: &str) -> i64 {
    let mut next = None;
    for _ in 0..200 {
        let all = app.house.jobs.operator("test").schedules().await.unwrap();
        next = all.into_iter().find(|schedule| &*schedule.name == name && schedule.begun).and_then(|schedule| schedule.next_ms);
        if next.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    next.unwrap()
}

fn now(app: &TestApp) -> i64 {
    app.house.gate.clock().now_ms()
}

/// Moves the clock to just after a time.
fn go_to(app: &TestApp, at: i64) {
    app.clock.advance_ms(at + 500 - now(app));
}

async fn a_schedule_fires_once_for_each_time(backend: Backend) {
    let app = TestApp::start(backend, &files(&schedule("hourly", "7 * * * *", "zone = \"Asia/Seoul\""))).await;
    for round in 1..=3 {
        let at = next_of(&app, "hourly").await;
        assert!(at > now(&app) && at <= now(&app) + HOUR && at / MINUTE % 60 == 7, "{at}");
        go_to(&app, at);
        assert_eq!(made(&app, round, "hourly").await, round);
    }
    // Beside its times, when an operator wants it.
    let operator = app.house.jobs.operator("test");
    let run = operator.run_schedule("hourly").await.unwrap();
    assert_eq!(made(&app, 4, "hourly").await, 4);
    assert_eq!(operator.show(&run).await.unwrap().state, State::Done);
    assert!(operator.run_schedule("hurly").await.is_err());
    // A pause; then the time that passed is made up for, once.
    operator.pause("schedule/hourly", "the test").await.unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    go_to(&app, next_of(&app, "hourly").await + 5 * HOUR);
    assert_eq!(made(&app, 5, "hourly").await, 4);
    operator.resume("schedule/hourly").await.unwrap();
    assert_eq!(made(&app, 5, "hourly").await, 5);
    let entries = app.ledger().await;
    assert_eq!(entries.iter().filter(|entry| entry["actor"] == "schedules" && entry["action"] == "enqueue").count(), 4);
    app.finish().await;
}

async fn missed_times_are_as_declared(backend: Backend) {
    let all = ["once", "skip", "all"].map(|missed| schedule(missed, "0 * * * *", &format!("missed = \"{missed}\"\noverlap = \"allow\"")));
    let app = TestApp::start(backend, &files(&all.concat())).await;
    let at = next_of(&app, "skip").await;
    next_of(&app, "once").await;
    next_of(&app, "all").await;
    go_to(&app, at + 9 * HOUR + 30 * MINUTE);
    for (name, wanted) in [("all", 10), ("once", 1), ("skip", 0)] {
        assert_eq!(made(&app, wanted, name).await, wanted, "{name}");
    }
    // On time, all of them fire.
    go_to(&app, next_of(&app, "skip").await);
    for (name, wanted) in [("all", 11), ("once", 2), ("skip", 1)] {
        assert_eq!(made(&app, wanted, name).await, wanted, "{name}");
    }
    // No more than a hundred are made up for.
    go_to(&app, next_of(&app, "all").await + 500 * HOUR);
    assert_eq!(made(&app, 111, "all").await, 111);
    app.finish().await;
}

/// One process has an SQLite file, so this is about PostgreSQL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_fire_once() {
    let backend = Backend::Postgres;
    let app = TestApp::start(backend, &files(&schedule("hourly", "0 * * * *", ""))).await;
    let other = app.second_node().await;
    for round in 1..=5 {
        go_to(&app, next_of(&app, "hourly").await);
        assert_eq!(made(&app, round, "hourly").await, round);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(made(&app, 6, "hourly").await, 5);
    other.close().await;
    app.finish().await;
}

async fn a_schedule_that_is_gone_does_not_fire(backend: Backend) {
    let both = format!("{}{}", schedule("gone", "0 * * * *", ""), schedule("stays", "0 * * * *", ""));
    let app = TestApp::start(backend, &files(&both)).await;
    next_of(&app, "gone").await;
    next_of(&app, "stays").await;
    let clock = app.clock.clone();
    let root = app.close().await;
    let jobs = std::fs::read_to_string(root.join("jobs/all.toml")).unwrap();
    let kept = jobs.split("[[schedule]]").filter(|part| !part.contains("\"gone\"")).collect::<Vec<_>>().join("[[schedule]]");
    std::fs::write(root.join("jobs/all.toml"), kept).unwrap();
    let app = TestApp::open(root, backend, Arc::clone(&clock)).await;
    go_to(&app, next_of(&app, "stays").await);
    assert_eq!(made(&app, 1, "stays").await, 1);
    assert_eq!(made(&app, 0, "gone").await, 0);
    let all = app.house.jobs.operator("test").schedules().await.unwrap();
    assert!(all.len() == 1 && all[0].last_ms.is_some(), "{all:?}");
    app.finish().await;
}
