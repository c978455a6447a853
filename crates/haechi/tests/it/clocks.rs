//! Clocks that jump: what has ended stays ended, what is issued lives as long as it says, and the ledger's times never go back.

use crate::fixture::FILES;
use haechi_testkit::{Backend, Person, TestApp, on_both, with_more};
use serde_json::{Value, json};

on_both!(
    what_was_refused_as_ended_stays_ended,
    what_is_issued_while_the_clock_is_behind_lives_as_long_as_it_says,
    a_wrong_jump_is_taken_back,
    a_clock_that_is_right_changes_nothing,
);

const GOOD: &str = "seven purple otters dance";
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

async fn start(backend: Backend) -> TestApp {
    let app = TestApp::start(backend, &with_more(FILES, &[("haechi.toml", "[auth]\nsign_up = \"open\"")])).await;
    app.anonymous().post("/auth/v1/sign-up", json!({"email": "kim@example.com", "password": GOOD})).await.expect(202);
    app
}

async fn sign_in(app: &TestApp) -> Person {
    let signed_in = app.anonymous().post("/auth/v1/sign-in", json!({"email": "kim@example.com", "password": GOOD})).await.expect(200).json();
    app.bearer(signed_in["token"].as_str().unwrap())
}

async fn key(app: &TestApp, person: &Person, days: i64) -> Person {
    let ends = haechi_model::format_datetime(app.house.gate.clock().now_ms() + days * DAY);
    let made = person.post("/auth/v1/keys", json!({"label": "k", "scopes": ["*:read"], "expire_time": ends})).await.expect(201).json();
    app.bearer(made["key"].as_str().unwrap())
}

/// Rows of sessions and keys that the ledger says were deleted because they had ended.
async fn swept(app: &TestApp) -> usize {
    let gone = |entry: &Value| {
        let stated = entry["detail"]["stated"].as_array().map_or(&[] as &[Value], Vec::as_slice);
        let ended =
            |row: &&Value| row[1].is_null() && row[0].as_str().is_some_and(|name| name.starts_with("_sessions/") || name.starts_with("_keys/"));
        if entry["action"] == "housekeeping" { stated.iter().filter(ended).count() } else { 0 }
    };
    app.ledger().await.iter().map(gone).sum()
}

/// SESS-09 [V7.3.1 V7.3.2]
async fn what_was_refused_as_ended_stays_ended(backend: Backend) {
    let app = start(backend).await;
    let session = sign_in(&app).await;
    let key = key(&app, &session, 2).await;
    app.clock.advance_ms(9 * DAY);
    for person in [&session, &key] {
        assert_eq!(person.get("/auth/v1/me").await.expect(401).problem(), "unauthenticated");
    }
    app.clock.advance_ms(-9 * DAY);
    for person in [&session, &key] {
        person.get("/auth/v1/me").await.expect(401);
    }
    // What was refused is deleted, so a node that starts with the clock of before does not know it either.
    for _ in 0..100 {
        if swept(&app).await == 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(swept(&app).await, 2);
    let app = app.restart().await;
    assert!(app.house.gate.clock().ahead_ms() > 8 * DAY, "the ledger's time counts: {} ms", app.house.gate.clock().ahead_ms());
    let token = |person: &Person| Person::with_token(&app, person);
    for person in [token(&session), token(&key)] {
        person.get("/auth/v1/me").await.expect(401);
    }
    sign_in(&app).await.get("/auth/v1/me").await.expect(200);
    app.verify().await;
    app.finish().await;
}

async fn what_is_issued_while_the_clock_is_behind_lives_as_long_as_it_says(backend: Backend) {
    let app = start(backend).await;
    app.clock.advance_ms(30 * DAY);
    sign_in(&app).await;
    app.clock.advance_ms(-30 * DAY);
    let session = sign_in(&app).await;
    let key = key(&app, &session, 2).await;
    session.get("/auth/v1/me").await.expect(200);
    // It is told, and the node stays ready.
    let ready = app.anonymous().get("/readyz").await.expect(200).text();
    assert!(ready.starts_with("ready\n") && ready.contains("the system's clock is behind"), "{ready}");
    let times: Vec<String> = app.ledger().await.iter().map(|entry| entry["time"].as_str().unwrap().to_owned()).collect();
    assert!(times.is_sorted(), "{times:?}");
    // The clock is set right again: followed from there, and the ends are those that were said.
    app.clock.advance_ms(31 * DAY);
    assert_eq!(app.anonymous().get("/readyz").await.expect(200).text(), "ready");
    key.get("/auth/v1/me").await.expect(200);
    app.clock.advance_ms(2 * DAY);
    key.get("/auth/v1/me").await.expect(401);
    app.finish().await;
}

async fn a_wrong_jump_is_taken_back(backend: Backend) {
    let app = start(backend).await;
    let before = sign_in(&app).await;
    app.clock.advance_ms(365 * DAY);
    let during = sign_in(&app).await;
    app.clock.advance_ms(-365 * DAY);
    assert!(app.house.gate.clock().ahead_ms() > 364 * DAY);
    let (was, now) = app.house.identity.operator("test").accept_clock().await.unwrap();
    assert!(was - now > 364 * DAY && app.house.gate.clock().ahead_ms() < HOUR, "{was} {now}");
    for person in [&before, &during] {
        person.get("/auth/v1/me").await.expect(401);
    }
    sign_in(&app).await.get("/auth/v1/me").await.expect(200);
    let ledger = app.ledger().await;
    let entry = ledger.iter().find(|entry| entry["action"] == "accept_clock").unwrap();
    assert_eq!(entry["detail"]["now"], haechi_model::format_datetime(now).as_str(), "{entry}");
    app.verify().await;
    // It stays so for the next start: the last entry counts.
    let app = app.restart().await;
    assert!(app.house.gate.clock().ahead_ms() < HOUR);
    app.verify().await;
    app.finish().await;
}

async fn a_clock_that_is_right_changes_nothing(backend: Backend) {
    let app = start(backend).await;
    let session = sign_in(&app).await;
    let key = key(&app, &session, 2).await;
    app.clock.advance_ms(6 * HOUR);
    for person in [&session, &key] {
        person.get("/auth/v1/me").await.expect(200);
    }
    assert!(app.house.gate.clock().ahead_ms() < 1_000, "both are read to the millisecond, one after the other");
    assert_eq!((app.anonymous().get("/readyz").await.expect(200).text().as_str(), swept(&app).await), ("ready", 0));
    app.finish().await;
}
