//! Jobs: enqueued in a change, done in a change, once; and never outside of policy.

use haechi::{Finished, Job, JobError};
use haechi_jobs::Handlers;
use haechi_testkit::{Backend, Person, TestApp, on_both};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

on_both!(
    a_job_does_what_the_folder_says,
    who_may_enqueue_and_look,
    bad_input_is_refused_and_nothing_is_enqueued,
    a_key_enqueues_once,
    failures_are_tried_again_and_then_given_up,
    keys_go_one_after_the_other,
    a_cancelled_job_changes_nothing,
    rights_are_those_of_the_run,
    handlers_finish_once,
    a_node_that_stops_gives_back,
    old_runs_are_deleted,
    work_of_a_dropped_job_waits,
    handlers_and_jobs_belong_together,
    a_blocked_job_is_cancelled_alone,
);

pub(crate) const FILES: &[(&str, &str)] = &[
    ("haechi.toml", "roles = [\"clerk\", \"reader\"]\n[services.robot]\nroles = [\"clerk\"]\n[services.blind]\nroles = []\n"),
    ("collections/users.toml", "[fields]\nteam = { type = \"text\" }\n"),
    (
        "collections/tasks.toml",
        "[fields]\ntitle = { type = \"text\", required = true }\nstate = { type = \"enum\", values = [\"open\", \"done\"], default = \"open\" }\n\
         count = { type = \"int\", max = 5, default = 0 }\nseen = { type = \"datetime\" }\nunique = { type = \"text\", unique = true }\n",
    ),
    (
        "jobs/all.toml",
        "[jobs.close]\nas = \"service:robot\"\ninput = { task = { type = \"uuid\", required = true } }\n\
         do = { update = \"tasks\", id = { from = \"/input/task\" }, data = { state = \"done\", seen = \"now\" } }\n\
         [jobs.add]\nas = \"caller\"\ninput = { title = { type = \"text\", required = true, max_length = 40000 }, count = { type = \"int\" }, unique = { type = \"text\", max_length = 40000 } }\n\
         do = { create = \"tasks\", data = { title = { from = \"/input/title\" }, count = { from = \"/input/count\" }, unique = { from = \"/input/unique\" } } }\n\
         [jobs.drop]\nas = \"caller\"\ninput = { task = { type = \"uuid\", required = true } }\ndo = { delete = \"tasks\", id = { from = \"/input/task\" } }\n\
         [jobs.blind]\nas = \"service:blind\"\ninput = { task = { type = \"uuid\", required = true } }\ndo = { delete = \"tasks\", id = { from = \"/input/task\" } }\n\
         [jobs.work]\nas = \"caller\"\ninput = { what = { type = \"text\", required = true } }\ndo = { handler = true }\nattempts = 3\ntimeout_ms = 1000\n\
         [jobs.turn]\nas = \"caller\"\ninput = { what = { type = \"text\", required = true } }\ndo = { handler = true }\nkey = \"/input/what\"\nqueue = \"turns\"\n\
         [queues.turns]\nconcurrency = 8\n",
    ),
    (
        "policies/main.cedar",
        "@everything(\"tests\") permit (principal in Role::\"clerk\", action, resource);\n\
         permit (principal in Role::\"clerk\", action == Work::Action::\"enqueue\", resource);\n\
         permit (principal in Role::\"reader\", action == Work::Action::\"read\", resource == Work::Job::\"close\");\n",
    ),
];

/// An app whose handlers do this; until they are told more, nothing.
async fn app_with(backend: Backend, handlers: Handlers) -> TestApp {
    let app = TestApp::start(backend, FILES).await;
    app.house.jobs.handle(handlers);
    app
}

pub(crate) async fn enqueue(person: &Person, job: &str, input: Value) -> String {
    person.post(&format!("/jobs/v1/{job}"), input).await.expect(202).json()["id"].as_str().unwrap().to_owned()
}

/// Waits until a run is in one of these states.
pub(crate) async fn until(person: &Person, id: &str, states: &[&str]) -> Value {
    let mut last = Value::Null;
    for _ in 0..600 {
        last = person.get(&format!("/jobs/v1/runs/{id}")).await.expect(200).json();
        if states.contains(&last["state"].as_str().unwrap()) {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{states:?} is not reached: {last}");
}

pub(crate) async fn ended(person: &Person, id: &str) -> Value {
    until(person, id, &["done", "dead", "refused", "cancelled"]).await
}

async fn titles(person: &Person) -> Vec<String> {
    let items = person.get("/api/v1/tasks?order_by=title").await.expect(200).json()["items"].clone();
    items.as_array().unwrap().iter().map(|item| item["title"].as_str().unwrap().to_owned()).collect()
}

async fn a_job_does_what_the_folder_says(backend: Backend) {
    let app = app_with(backend, Handlers::default()).await;
    let kim = app.person("kim", &["clerk"]).await;
    let task = kim.create("tasks", json!({"title": "write"})).await;
    let reply = kim.post("/jobs/v1/close", json!({"task": task})).await.expect(202);
    let run = reply.json()["id"].as_str().unwrap().to_owned();
    assert_eq!((reply.header("location"), &reply.json()["job"]), (format!("/jobs/v1/runs/{run}").as_str(), &json!("close")));
    let shown = ended(&kim, &run).await;
    assert_eq!((&shown["state"], &shown["attempt"], &shown["failed_attempts"]), (&json!("done"), &json!(1), &json!([])), "{shown}");
    let closed = kim.get(&format!("/api/v1/tasks/{task}")).await.expect(200).json();
    assert!(closed["state"] == "done" && closed["seen"].is_string(), "{closed}");

    let added = enqueue(&kim, "add", json!({"title": "more", "count": 3})).await;
    assert_eq!(ended(&kim, &added).await["state"], "done");
    assert_eq!(titles(&kim).await, ["more", "write"]);
    let dropped = enqueue(&kim, "drop", json!({"task": task})).await;
    assert_eq!(ended(&kim, &dropped).await["state"], "done");
    assert_eq!(titles(&kim).await, ["more"]);

    // The ledger says who wanted it, as whom it was done, and why.
    let ledger = app.ledger().await;
    let of = |action: &str, target: &str| {
        ledger.iter().filter(|entry| entry["action"] == action && entry["target"] == target).cloned().collect::<Vec<_>>()
    };
    let wanted = of("enqueue", &format!("_jobs/{run}"));
    assert!(wanted.len() == 1 && wanted[0]["actor"] == json!(kim.id) && wanted[0]["actor_kind"] == "user", "{wanted:?}");
    let update = of("update", &format!("tasks/{task}"));
    assert_eq!((update.len(), &update[0]["actor"], &update[0]["cause"]), (1, &json!("robot"), &json!(format!("job/{run}"))), "{update:?}");
    let delete = of("delete", &format!("tasks/{task}"));
    assert_eq!((&delete[0]["actor"], &delete[0]["cause"]), (&json!(kim.id), &json!(format!("job/{dropped}"))), "{delete:?}");
    app.finish().await;
}

async fn who_may_enqueue_and_look(backend: Backend) {
    let app = app_with(backend, Handlers::default()).await;
    let (kim, lee, ann) = (app.person("kim", &["clerk"]).await, app.person("lee", &["reader"]).await, app.person("ann", &["clerk"]).await);
    let task = kim.create("tasks", json!({"title": "write"})).await;
    assert_eq!(app.anonymous().post("/jobs/v1/close", json!({"task": task})).await.status, 401);
    assert_eq!(lee.post("/jobs/v1/close", json!({"task": task})).await.status, 403);
    assert_eq!(kim.post("/jobs/v1/clse", json!({})).await.status, 404);
    let run = enqueue(&kim, "close", json!({"task": task})).await;
    ended(&kim, &run).await;
    // Lee may read runs of this job; Ann may enqueue it, which shows her own runs alone.
    assert_eq!(lee.get(&format!("/jobs/v1/runs/{run}")).await.status, 200);
    assert_eq!(ann.get(&format!("/jobs/v1/runs/{run}")).await.status, 404);
    assert_eq!(app.anonymous().get(&format!("/jobs/v1/runs/{run}")).await.status, 401);
    assert_eq!(kim.get("/jobs/v1/runs/01920000-0000-7000-8000-000000000001").await.status, 404);
    let other = enqueue(&kim, "add", json!({"title": "x"})).await;
    ended(&kim, &other).await;
    assert_eq!(lee.get(&format!("/jobs/v1/runs/{other}")).await.status, 404);
    // It has ended.
    assert_eq!(kim.send("POST", &format!("/jobs/v1/runs/{run}:cancel"), &[], Vec::new()).await.status, 409);
    assert_eq!(lee.send("POST", &format!("/jobs/v1/runs/{run}:cancel"), &[], Vec::new()).await.status, 403);
    assert_eq!(ann.send("POST", &format!("/jobs/v1/runs/{run}:cancel"), &[], Vec::new()).await.status, 404);
    app.finish().await;
}

async fn bad_input_is_refused_and_nothing_is_enqueued(backend: Backend) {
    let app = app_with(backend, Handlers::default()).await;
    let kim = app.person("kim", &["clerk"]).await;
    for (path, body, status) in [
        ("/jobs/v1/close", json!({}), 422),
        ("/jobs/v1/close", json!({"task": "no id"}), 422),
        ("/jobs/v1/close", json!({"task": "01920000-0000-7000-8000-000000000001", "more": 1}), 422),
        ("/jobs/v1/close", json!([]), 400),
        ("/jobs/v1/add?run_at=tomorrow", json!({"title": "x"}), 400),
        ("/jobs/v1/add?when=now", json!({"title": "x"}), 400),
        ("/jobs/v1/add?run_at=2999-01-01T00:00:00Z", json!({"title": "x"}), 400),
        ("/jobs/v1/add", json!({"title": "x".repeat(40_000), "unique": "y".repeat(40_000)}), 413),
    ] {
        let reply = kim.post(path, body.clone()).await;
        assert_eq!(reply.status, status, "{path} {body}: {}", reply.text());
    }
    assert!(app.house.jobs.depths().await.unwrap().is_empty());
    app.finish().await;
}

async fn a_key_enqueues_once(backend: Backend) {
    let app = app_with(backend, Handlers::default()).await;
    let kim = app.person("kim", &["clerk"]).await;
    let send = async |key: &str, title: &str| {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        kim.send("POST", "/jobs/v1/add", &headers, json!({"title": title}).to_string().into_bytes()).await
    };
    let many = futures_util::future::join_all((0..50).map(|_| send("one", "once"))).await;
    let ids: std::collections::BTreeSet<String> = many.iter().map(|reply| reply.json()["id"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    ended(&kim, ids.first().unwrap()).await;
    assert_eq!(titles(&kim).await, ["once"]);
    assert_eq!(send("one", "other").await.status, 422);
    app.finish().await;
}

async fn failures_are_tried_again_and_then_given_up(backend: Backend) {
    let tried = Arc::new(AtomicUsize::new(0));
    let mut handlers = Handlers::default();
    let counted = tried.clone();
    handlers.add("work", move |job: Job| {
        let tried = counted.clone();
        async move {
            tried.fetch_add(1, Ordering::SeqCst);
            let what = job.input("what").and_then(|value| value.as_text().map(str::to_owned)).unwrap();
            match &*what {
                "again" => Err(JobError::again("not-yet")),
                "never" => Err(JobError::never("hopeless")),
                "panic" => panic!("as the test wants"),
                "slow" => {
                    tokio::time::sleep(Duration::from_secs(30)).await;
                    Err(JobError::never("unexpected"))
                }
                "second" if job.attempt() < 2 => Err(JobError::again("not-yet")),
                _ => {
                    let work = job.work();
                    job.finish(work, None).await
                }
            }
        }
    });
    let app = app_with(backend, handlers).await;
    let kim = app.person("kim", &["clerk"]).await;
    let never = enqueue(&kim, "work", json!({"what": "never"})).await;
    let shown = ended(&kim, &never).await;
    assert_eq!((&shown["state"], &shown["code"], &shown["attempt"]), (&json!("dead"), &json!("hopeless"), &json!(1)), "{shown}");
    for (what, code) in [("again", "not-yet"), ("panic", "panic"), ("slow", "timeout")] {
        let run = enqueue(&kim, "work", json!({"what": what})).await;
        for attempt in 1..=3 {
            let failed = |shown: &Value| shown["failed_attempts"].as_array().unwrap().len();
            let mut shown = Value::Null;
            for _ in 0..400 {
                shown = kim.renewed(&app).get(&format!("/jobs/v1/runs/{run}")).await.expect(200).json();
                if failed(&shown) == attempt && shown["state"] != "running" {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert_eq!((failed(&shown), &shown["code"]), (attempt, &json!(code)), "{shown}");
            assert_eq!(shown["state"], if attempt == 3 { "dead" } else { "waiting" }, "{shown}");
            // 15 s, then 30 s, a fifth more or less.
            app.clock.advance_ms(40_000);
        }
    }
    let second = enqueue(&kim.renewed(&app), "work", json!({"what": "second"})).await;
    while until(&kim.renewed(&app), &second, &["waiting", "running"]).await["failed_attempts"] == json!([]) {}
    app.clock.advance_ms(20_000);
    assert_eq!(ended(&kim.renewed(&app), &second).await["attempt"], 2);
    // An operator tries again.
    let operator = app.house.jobs.operator("test");
    let before = tried.load(Ordering::SeqCst);
    operator.retry(&never).await.unwrap();
    until(&kim.renewed(&app), &never, &["dead"]).await;
    for _ in 0..100 {
        if tried.load(Ordering::SeqCst) > before {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(tried.load(Ordering::SeqCst), before + 1);
    assert!(operator.retry(&second).await.is_err(), "it was done");
    app.finish().await;
}

async fn keys_go_one_after_the_other(backend: Backend) {
    let (now, most, order) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(std::sync::Mutex::new(Vec::new())));
    let mut handlers = Handlers::default();
    let (counted, high, told) = (now.clone(), most.clone(), order.clone());
    handlers.add("turn", move |job: Job| {
        let (now, most, order) = (counted.clone(), high.clone(), told.clone());
        async move {
            let key = job.input("what").and_then(|value| value.as_text().map(str::to_owned)).unwrap();
            if key == "same" {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            }
            tokio::time::sleep(Duration::from_millis(15)).await;
            if key == "same" {
                now.fetch_sub(1, Ordering::SeqCst);
                order.lock().unwrap().push(job.id().to_owned());
            }
            let work = job.work();
            job.finish(work, None).await
        }
    });
    let app = app_with(backend, handlers).await;
    let kim = app.person("kim", &["clerk"]).await;
    let mut same = Vec::new();
    for _ in 0..12 {
        same.push(enqueue(&kim, "turn", json!({"what": "same"})).await);
    }
    for at in 0..8 {
        let other = enqueue(&kim, "turn", json!({"what": format!("other {at}")})).await;
        assert_eq!(ended(&kim, &other).await["state"], "done");
    }
    for run in &same {
        assert_eq!(ended(&kim, run).await["state"], "done");
    }
    assert_eq!(most.load(Ordering::SeqCst), 1, "two with one key ran at once");
    // Where several nodes share the database, two that were enqueued at nearly the same time may change places.
    let mut order = order.lock().unwrap().clone();
    if backend == Backend::Postgres {
        order.sort();
        same.sort();
    }
    assert_eq!(order, same, "not in their order");
    app.finish().await;
}

async fn a_cancelled_job_changes_nothing(backend: Backend) {
    let begun = Arc::new(tokio::sync::Notify::new());
    let (told, go) = (begun.clone(), Arc::new(tokio::sync::Notify::new()));
    let wait = go.clone();
    let outcome = Arc::new(std::sync::Mutex::new(None));
    let seen = outcome.clone();
    let mut handlers = Handlers::default();
    handlers.add("turn", move |job: Job| {
        let (begun, go, seen) = (told.clone(), wait.clone(), seen.clone());
        async move {
            begun.notify_one();
            go.notified().await;
            let mut work = job.work();
            let values = vec![(job.ask().app().collections[1].field("title").unwrap(), "never".into())];
            job.ask().on::<haechi_gate::Create>(1)?.insert(&mut work, values)?;
            let ended = job.finish(work, None).await;
            *seen.lock().unwrap() = Some(ended.as_ref().map(|_| ()).map_err(|error| *error));
            ended
        }
    });
    let app = app_with(backend, handlers).await;
    let kim = app.person("kim", &["clerk"]).await;
    let run = enqueue(&kim, "turn", json!({"what": "x"})).await;
    let next = enqueue(&kim, "turn", json!({"what": "x"})).await;
    begun.notified().await;
    until(&kim, &next, &["blocked"]).await;
    let cancelled = kim.send("POST", &format!("/jobs/v1/runs/{run}:cancel"), &[], Vec::new()).await.expect(200).json();
    assert_eq!(cancelled["state"], "cancelled");
    go.notify_one();
    // The next with its key goes on.
    begun.notified().await;
    while outcome.lock().unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(*outcome.lock().unwrap(), Some(Err(JobError::again("lost"))));
    assert_eq!(titles(&kim).await, [""; 0]);
    let in_an_hour = haechi_model::format_datetime(app.house.gate.clock().now_ms() + 3_600_000);
    let waiting = kim.post(&format!("/jobs/v1/add?run_at={in_an_hour}"), json!({"title": "later"})).await.expect(202).json();
    let waiting = waiting["id"].as_str().unwrap();
    assert_eq!(kim.get(&format!("/jobs/v1/runs/{waiting}")).await.expect(200).json()["state"], "waiting");
    kim.send("POST", &format!("/jobs/v1/runs/{waiting}:cancel"), &[], Vec::new()).await.expect(200);
    assert_eq!(ended(&kim, waiting).await["state"], "cancelled");
    go.notify_one();
    assert_eq!(ended(&kim, &next).await["state"], "done");
    assert_eq!(titles(&kim).await, ["never"]);
    assert!(app.house.jobs.depths().await.unwrap().is_empty());
    app.finish().await;
}

async fn rights_are_those_of_the_run(backend: Backend) {
    let app = app_with(backend, Handlers::default()).await;
    let (kim, ann) = (app.person("kim", &["clerk"]).await, app.person("ann", &["clerk"]).await);
    let task = kim.create("tasks", json!({"title": "write"})).await;
    // A service without rights.
    let blind = enqueue(&kim, "blind", json!({"task": task})).await;
    let shown = ended(&kim, &blind).await;
    assert_eq!((&shown["state"], &shown["code"]), (&json!("refused"), &json!("refused")), "{shown}");
    // A person who is disabled meanwhile.
    let operator = app.house.jobs.operator("test");
    operator.pause("everything", "the test").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let run = enqueue(&ann, "drop", json!({"task": task})).await;
    app.house.identity.operator("test").set_disabled(&ann.id, true).await.unwrap();
    assert!(operator.resume("everything").await.unwrap() && !operator.resume("everything").await.unwrap());
    for _ in 0..300 {
        if operator.show(&run).await.unwrap().state == haechi_jobs::State::Refused {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(operator.show(&run).await.unwrap().state, haechi_jobs::State::Refused);
    assert_eq!(titles(&kim).await, ["write"]);
    // The same person with their rights back: an operator tries again.
    app.house.identity.operator("test").set_disabled(&ann.id, false).await.unwrap();
    operator.retry(&run).await.unwrap();
    assert_eq!(ended(&app.bearer(&app.token(&ann.id)), &run).await["state"], "done");
    assert_eq!(titles(&kim).await, [""; 0]);
    app.finish().await;
}

async fn handlers_finish_once(backend: Backend) {
    let mut handlers = Handlers::default();
    handlers.add("work", |job: Job| async move {
        job.progress(&json!({"part": 1})).await?;
        let mut work = job.work();
        let tasks = &job.ask().app().collections[1];
        let title = job.input("what").cloned().unwrap();
        let values = vec![(tasks.field("title").unwrap(), title)];
        job.ask().on::<haechi_gate::Create>(1)?.insert(&mut work, values)?;
        job.finish(work, Some(&json!({"made": 1}))).await
    });
    handlers.add("turn", |job: Job| async move {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let work = job.work();
        job.finish(work, None).await
    });
    let app = app_with(backend, handlers).await;
    let kim = app.person("kim", &["clerk"]).await;
    let run = enqueue(&kim, "work", json!({"what": "made"})).await;
    let shown = ended(&kim, &run).await;
    assert_eq!((&shown["state"], &shown["result"]), (&json!("done"), &json!({"made": 1})), "{shown}");
    let runs: Vec<String> = {
        let mut runs = Vec::new();
        for part in 0..8 {
            let many = (0..25).map(|at| enqueue(&kim, "work", json!({"what": format!("many {part} {at}")})));
            runs.extend(futures_util::future::join_all(many).await);
        }
        runs
    };
    for run in &runs {
        ended(&kim, run).await;
    }
    let total = kim.get("/api/v1/tasks?count=true&page_size=1").await.expect(200).json()["total_size"].clone();
    assert_eq!(total, 201);
    // Neither input nor result stand in the database as they are.
    if backend == Backend::Sqlite {
        let root = app.close().await;
        let bytes = std::fs::read(root.join(".haechi/haechi.db")).unwrap();
        assert!(!bytes.windows(6).any(|part| part == b"\"what\"") && !bytes.windows(7).any(|part| part == b"{\"made\""));
        let _ = std::fs::remove_dir_all(root);
    } else {
        app.finish().await;
    }
}

/// A process that ends without a word: its jobs are done by the next, once.
/// On SQLite alone: on PostgreSQL the lease must end, which `two_nodes_share_the_work` waits for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_gone_is_noticed() {
    let backend = Backend::Sqlite;
    let mut handlers = Handlers::default();
    handlers.add("work", |_: Job| std::future::pending::<Result<Finished, JobError>>());
    let app = app_with(backend, handlers).await;
    let kim = app.person("kim", &["clerk"]).await;
    let run = enqueue(&kim, "work", json!({"what": "x"})).await;
    until(&kim, &run, &["running"]).await;
    let refused = app.house.jobs.operator("test").retry(&run).await.unwrap_err();
    assert_eq!(refused, haechi_jobs::RunError::State(haechi_jobs::State::Running));
    app.house.abandon();
    let app = app.restart().await;
    let mut handlers = Handlers::default();
    handlers.add("work", |job: Job| async move {
        let work = job.work();
        job.finish(work, None).await
    });
    app.house.jobs.handle(handlers);
    let kim = Person::with_token(&app, &kim);
    // Without a handler at first, it waits for its next attempt.
    app.clock.advance_ms(60_000);
    let shown = ended(&kim.renewed(&app), &run).await;
    assert_eq!(shown["state"], "done", "{shown}");
    app.finish().await;
}

/// On SQLite alone: three leases on PostgreSQL take minutes, and the statement is the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_kills_its_worker_is_given_up() {
    let backend = Backend::Sqlite;
    let hang = || {
        let mut handlers = Handlers::default();
        handlers.add("turn", |_: Job| std::future::pending::<Result<Finished, JobError>>());
        handlers
    };
    let mut app = app_with(backend, hang()).await;
    let mut kim = app.person("kim", &["clerk"]).await;
    let (id, run) = (kim.id.clone(), enqueue(&kim, "turn", json!({"what": "x"})).await);
    for attempt in 1..=3 {
        for _ in 0..400 {
            let shown = kim.get(&format!("/jobs/v1/runs/{run}")).await.expect(200).json();
            if shown["state"] == "running" && shown["attempt"] == attempt {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        app.house.abandon();
        let root = app.close().await;
        app = TestApp::open_with(root, backend, Arc::new(haechi_gate::TestClock::new()), hang()).await;
        kim = app.bearer(&app.token(&id));
    }
    let operator = app.house.jobs.operator("test");
    for _ in 0..200 {
        if operator.show(&run).await.unwrap().state == haechi_jobs::State::Dead {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let shown = operator.show(&run).await.unwrap();
    assert_eq!((shown.state, shown.code.as_deref()), (haechi_jobs::State::Dead, Some("kills-worker")));
    app.finish().await;
}

async fn a_node_that_stops_gives_back(backend: Backend) {
    let mut handlers = Handlers::default();
    handlers.add("turn", |_: Job| std::future::pending::<Result<Finished, JobError>>());
    let app = app_with(backend, handlers).await;
    let kim = app.person("kim", &["clerk"]).await;
    let mut runs = Vec::new();
    for at in 0..20 {
        runs.push(enqueue(&kim, "turn", json!({"what": format!("{at}")})).await);
    }
    for run in &runs {
        until(&kim, run, &["running", "waiting"]).await;
    }
    for run in &runs[..8] {
        until(&kim, run, &["running"]).await;
    }
    let begun = std::time::Instant::now();
    app.house.jobs.close().await;
    assert!(begun.elapsed() < Duration::from_secs(10));
    for run in &runs {
        let shown = kim.get(&format!("/jobs/v1/runs/{run}")).await.expect(200).json();
        assert_eq!((&shown["state"], &shown["attempt"]), (&json!("waiting"), &json!(0)), "{shown}");
    }
    app.finish().await;
}

async fn old_runs_are_deleted(backend: Backend) {
    let mut handlers = Handlers::default();
    handlers.add("work", |job: Job| async move {
        if job.input("what").and_then(haechi_model::Value::as_text) == Some("fail") {
            return Err(JobError::never("hopeless"));
        }
        let work = job.work();
        job.finish(work, Some(&json!(1))).await
    });
    let app = app_with(backend, handlers).await;
    let kim = app.person("kim", &["clerk"]).await;
    let (good, bad) = (enqueue(&kim, "work", json!({"what": "x"})).await, enqueue(&kim, "work", json!({"what": "fail"})).await);
    assert_eq!(ended(&kim, &good).await["result"], 1);
    assert_eq!(ended(&kim, &bad).await["state"], "dead");
    app.clock.advance_ms(8 * 24 * 3_600_000);
    app.house.jobs.keep().await;
    let shown = kim.renewed(&app).get(&format!("/jobs/v1/runs/{good}")).await.expect(200).json();
    assert_eq!((&shown["state"], &shown["result"]), (&json!("done"), &Value::Null), "{shown}");
    assert_eq!(kim.renewed(&app).get(&format!("/jobs/v1/runs/{bad}")).await.status, 200);
    app.clock.advance_ms(23 * 24 * 3_600_000);
    app.house.jobs.keep().await;
    for run in [&good, &bad] {
        assert_eq!(kim.renewed(&app).get(&format!("/jobs/v1/runs/{run}")).await.status, 404);
    }
    app.finish().await;
}

async fn work_of_a_dropped_job_waits(backend: Backend) {
    let app = app_with(backend, Handlers::default()).await;
    let kim = app.person("kim", &["clerk"]).await;
    let id = kim.id.clone();
    app.house.jobs.operator("test").pause("job/add", "the test").await.unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    let run = enqueue(&kim, "add", json!({"title": "kept"})).await;
    let root = app.close().await;
    let whole = std::fs::read_to_string(root.join("jobs/all.toml")).unwrap();
    std::fs::write(root.join("jobs/all.toml"), whole.replace("[jobs.add]", "[jobs.added]")).unwrap();
    let app = TestApp::open(root, backend, Arc::new(haechi_gate::TestClock::new())).await;
    app.house.jobs.operator("test").resume("job/add").await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(app.house.jobs.operator("test").show(&run).await.unwrap().state, haechi_jobs::State::Waiting);
    let kim = app.bearer(&app.token(&id));
    assert_eq!(kim.post("/jobs/v1/add", json!({"title": "x"})).await.status, 404);
    let root = app.close().await;
    std::fs::write(root.join("jobs/all.toml"), whole).unwrap();
    let app = TestApp::open(root, backend, Arc::new(haechi_gate::TestClock::new())).await;
    assert_eq!(ended(&app.bearer(&app.token(&id)), &run).await["state"], "done");
    app.finish().await;
}

/// Two nodes on one database: all is done once; a node that is gone without a word loses its jobs after its lease, by the database's clock.
/// One process has an SQLite file, so this is about PostgreSQL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_share_the_work() {
    let backend = Backend::Postgres;
    let done = Arc::new(AtomicUsize::new(0));
    let counted = done.clone();
    let mut handlers = Handlers::default();
    handlers.add("work", move |job: Job| {
        let done = counted.clone();
        async move {
            let mut work = job.work();
            let title = job.input("what").cloned().unwrap();
            let tasks = &job.ask().app().collections[1];
            job.ask()
                .on::<haechi_gate::Create>(1)?
                .insert(&mut work, vec![(tasks.field("title").unwrap(), title.clone()), (tasks.field("unique").unwrap(), title)])?;
            let ended = job.finish(work, None).await;
            if ended.is_ok() {
                done.fetch_add(1, Ordering::SeqCst);
            }
            ended
        }
    });
    let app = app_with(backend, handlers.clone()).await;
    let kim = app.person("kim", &["clerk"]).await;
    let other = app.second_node().await;
    other.house.jobs.handle(handlers);
    let there = Person::at(other.stack.clone(), &kim);
    let mut runs = Vec::new();
    for at in 0..100 {
        runs.push(enqueue(if at % 2 == 0 { &kim } else { &there }, "work", json!({"what": format!("one {at:03}")})).await);
    }
    for run in &runs {
        assert_eq!(ended(&kim, run).await["state"], "done");
    }
    assert_eq!(done.load(Ordering::SeqCst), 100);
    // A handler that hangs on the other node, which then is gone.
    let mut hanging = Handlers::default();
    hanging.add("work", |_: Job| std::future::pending::<Result<Finished, JobError>>());
    other.house.jobs.handle(hanging);
    let held = enqueue(&there, "work", json!({"what": "held"})).await;
    until(&kim, &held, &["running", "done"]).await;
    other.abandon();
    let begun = std::time::Instant::now();
    let mut shown = Value::Null;
    // The lease is 30 s, and every 5 s it is looked for lost ones.
    for _ in 0..450 {
        shown = kim.renewed(&app).get(&format!("/jobs/v1/runs/{held}")).await.expect(200).json();
        if shown["state"] == "done" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(shown["state"], "done", "after {:?}: {shown}", begun.elapsed());
    assert_eq!(titles(&kim.renewed(&app)).await.iter().filter(|title| *title == "held").count(), 1);
    app.finish().await;
}

async fn handlers_and_jobs_belong_together(backend: Backend) {
    let app = app_with(backend, Handlers::default()).await;
    let said = || app.house.handled().unwrap_err().to_string();
    assert!(said().starts_with("no handler does the job turn, work: serve the folder with a program"), "{}", said());
    let mut handlers = Handlers::default();
    for name in ["turn", "work", "close"] {
        handlers.add(name, |_: Job| async { Err(JobError::never("unused")) });
    }
    app.house.jobs.handle(handlers.clone());
    assert!(said().starts_with("the folder declares no job close with handler = true"), "{}", said());
    let mut handlers = Handlers::default();
    for name in ["turn", "work"] {
        handlers.add(name, |_: Job| async { Err(JobError::never("unused")) });
    }
    app.house.jobs.handle(handlers);
    assert!(app.house.handled().is_ok());
    app.finish().await;
}

/// A run that waits for another with its key is cancelled; the key stays where it is, and the one behind goes on in its turn.
async fn a_blocked_job_is_cancelled_alone(backend: Backend) {
    let go = Arc::new(tokio::sync::Notify::new());
    let wait = go.clone();
    let mut handlers = Handlers::default();
    handlers.add("turn", move |job: Job| {
        let go = wait.clone();
        async move {
            go.notified().await;
            let work = job.work();
            job.finish(work, None).await
        }
    });
    let app = app_with(backend, handlers).await;
    let kim = app.person("kim", &["clerk"]).await;
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(enqueue(&kim, "turn", json!({"what": "x"})).await);
    }
    until(&kim, &runs[0], &["running"]).await;
    let refused = kim.post("/jobs/v1/turn?run_at=2027-01-01T00:00:00Z", json!({"what": "x"})).await;
    assert!(refused.status == 400 && refused.text().contains("jobs with a key"), "{}", refused.text());
    assert_eq!(kim.send("POST", &format!("/jobs/v1/runs/{}:cancel", runs[1]), &[], Vec::new()).await.expect(200).json()["state"], "cancelled");
    assert_eq!(until(&kim, &runs[2], &["blocked"]).await["state"], "blocked");
    go.notify_one();
    assert_eq!(ended(&kim, &runs[0]).await["state"], "done");
    go.notify_one();
    assert_eq!(ended(&kim, &runs[2]).await["state"], "done");
    assert!(app.house.jobs.depths().await.unwrap().is_empty());
    app.finish().await;
}

/// What docs/jobs.md says: a folder without jobs asks the database nothing about them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_without_jobs_asks_nothing() {
    let asked = |app: &TestApp| -> u64 {
        let tables = ["_jobs", "_job_runs", "_job_attempts", "_job_results", "_schedules", "_pauses"];
        app.house.gate.signs().usage.iter().filter(|usage| tables.contains(&usage.table.as_str())).map(|usage| usage.count).sum()
    };
    let without: Vec<_> = FILES.iter().filter(|(path, _)| !path.starts_with("jobs/") && !path.starts_with("policies/")).copied().collect();
    let app = TestApp::start(Backend::Sqlite, &without).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(asked(&app), 0);
    app.finish().await;
    // The honest twin: with jobs it is asked, and it is counted.
    let app = app_with(Backend::Sqlite, Handlers::default()).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(asked(&app) > 0);
    app.finish().await;
}
