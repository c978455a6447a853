//! People sign up, sign in, sign out, change passwords and make keys; attackers do not.

use crate::fixture::FILES;
use haechi_testkit::{Backend, Person, TestApp, on_both, with_more};
use serde_json::{Value, json};

on_both!(
    somebody_signs_up_and_in_and_out,
    a_session_ends,
    a_password_change_ends_everything_older,
    a_reset_code_works_once,
    the_first_administrator_is_made_once,
    fifty_sign_up_with_one_address,
    invitations_are_for_one_address,
    keys_reach_as_far_as_they_say,
    services_have_roles_of_their_own,
    a_browser_has_a_cookie,
    wrong_passwords_look_like_unknown_people,
    nobody_locks_somebody_else_out,
    the_oldest_session_makes_room,
    bad_bodies_are_told,
    codes_are_no_credentials,
    profiles_are_filled_in_as_the_folder_says,
    a_request_that_began_before_a_password_change_makes_no_key,
    a_clock_that_was_ahead_locks_nobody_out,
    zero_characters_and_controls_are_refused,
);

const GOOD: &str = "seven purple otters dance";
const OTHER: &str = "eleven green boats sail away";

/// The fixture with open sign-up.
fn files(auth: &str) -> Vec<(&'static str, String)> {
    with_more(FILES, &[("haechi.toml", &format!("[auth]\n{auth}"))])
}

fn none() -> haechi_model::Json {
    haechi_model::Json::Object(Vec::new())
}

async fn start(backend: Backend, auth: &str) -> TestApp {
    TestApp::start(backend, &files(auth)).await
}

async fn sign_up(app: &TestApp, email: &str, password: &str) {
    app.anonymous().post("/auth/v1/sign-up", json!({"email": email, "password": password})).await.expect(202);
}

async fn sign_in(app: &TestApp, email: &str, password: &str) -> Value {
    app.anonymous().post("/auth/v1/sign-in", json!({"email": email, "password": password})).await.expect(200).json()
}

fn with(app: &TestApp, token: &Value) -> Person {
    app.bearer(token.as_str().unwrap())
}

/// [V7.2.1 V7.2.2]: a session is a random token that the server looks up.
async fn somebody_signs_up_and_in_and_out(backend: Backend) {
    let app = start(backend, "sign_up = \"open\"").await;
    sign_up(&app, "Kim@Example.com", GOOD).await;
    let session = sign_in(&app, "kim@example.COM", GOOD).await;
    assert!(session["token"].as_str().unwrap().starts_with("haechi_s_"));
    let kim = with(&app, &session["token"]);
    let me = kim.get("/auth/v1/me").await.expect(200).json();
    assert_eq!((me["kind"].as_str(), me["email"].as_str(), &me["roles"]), (Some("user"), Some("kim@example.com"), &json!([])));
    kim.post("/auth/v1/sign-out", json!({})).await.expect(204);
    for _ in 0..2 {
        assert_eq!(kim.get("/auth/v1/me").await.expect(401).problem(), "unauthenticated");
    }
    // The answer for an address that is taken is the same, and changes nothing.
    sign_up(&app, "kim@example.com", OTHER).await;
    app.anonymous().post("/auth/v1/sign-in", json!({"email": "kim@example.com", "password": OTHER})).await.expect(401);
    sign_in(&app, "kim@example.com", GOOD).await;
    // V6.2.8: one byte less is another password.
    app.anonymous().post("/auth/v1/sign-in", json!({"email": "kim@example.com", "password": &GOOD[1..]})).await.expect(401);
    // SESS-03 [V7.2.3 V11.5.1]: the database holds no token.
    app.house.gate.settle().await;
    let ledger = serde_json::to_string(&app.ledger().await).unwrap();
    assert!(!ledger.contains("haechi_s_") && !ledger.contains(GOOD) && !ledger.contains("argon2"));
    assert!(ledger.contains("\"sign_in\"") && ledger.contains("\"sign_out\""));
    app.finish().await;
    let closed = start(backend, "").await;
    closed.anonymous().post("/auth/v1/sign-up", json!({"email": "a@example.com", "password": GOOD})).await.expect(403);
    closed.finish().await;
}

/// SESS-02 [V7.3.1 V7.3.2 V7.4.1]: by idleness, by age, by its owner, by an operator, across a restart.
async fn a_session_ends(backend: Backend) {
    let app = start(backend, "sign_up = \"open\"\nsession_idle_minutes = 30\nsession_minutes = 120").await;
    sign_up(&app, "kim@example.com", GOOD).await;
    let idle = with(&app, &sign_in(&app, "kim@example.com", GOOD).await["token"]);
    let used = with(&app, &sign_in(&app, "kim@example.com", GOOD).await["token"]);
    for _ in 0..5 {
        app.clock.advance_ms(20 * 60_000);
        used.get("/auth/v1/me").await.expect(200);
        // What was seen is written behind the reply.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    idle.get("/auth/v1/me").await.expect(401);
    app.clock.advance_ms(25 * 60_000);
    used.get("/auth/v1/me").await.expect(401);
    let first = sign_in(&app, "kim@example.com", GOOD).await;
    let second = with(&app, &sign_in(&app, "kim@example.com", GOOD).await["token"]);
    let first_person = with(&app, &first["token"]);
    let listed = second.get("/auth/v1/sessions").await.expect(200).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    assert_eq!(listed["items"].as_array().unwrap().iter().filter(|item| item["current"] == true).count(), 1);
    // The id is no credential.
    app.bearer(first["session"].as_str().unwrap()).get("/auth/v1/me").await.expect(401);
    first_person.get("/auth/v1/me").await.expect(200);
    second.delete(&format!("/auth/v1/sessions/{}", first["session"].as_str().unwrap())).await.expect(204);
    first_person.get("/auth/v1/me").await.expect(401);
    second.delete(&format!("/auth/v1/sessions/{}", first["session"].as_str().unwrap())).await.expect(404);
    let third = with(&app, &sign_in(&app, "kim@example.com", GOOD).await["token"]);
    second.delete("/auth/v1/sessions").await.expect(204);
    third.get("/auth/v1/me").await.expect(401);
    second.get("/auth/v1/me").await.expect(200);
    let person = app.house.identity.operator("test").find_person("kim@example.com").await.unwrap();
    app.house.identity.operator("test").end_sessions(&person.id).await.unwrap();
    second.get("/auth/v1/me").await.expect(401);
    let lasting = sign_in(&app, "kim@example.com", GOOD).await;
    let app = app.restart().await;
    with(&app, &lasting["token"]).get("/auth/v1/me").await.expect(200);
    // AUTHN-20 [V7.4.2]: disabled means out at once, and an entry says so.
    app.house.identity.operator("test").set_disabled(&person.id, true).await.unwrap();
    with(&app, &lasting["token"]).get("/auth/v1/me").await.expect(401);
    app.anonymous().post("/auth/v1/sign-in", json!({"email": "kim@example.com", "password": GOOD})).await.expect(401);
    app.house.identity.operator("test").set_disabled(&person.id, false).await.unwrap();
    sign_in(&app, "kim@example.com", GOOD).await;
    app.finish().await;
}

/// SESS-08 [V6.2.2 V6.2.3 V7.4.3 V7.2.4]
async fn a_password_change_ends_everything_older(backend: Backend) {
    let app = start(backend, "sign_up = \"open\"").await;
    sign_up(&app, "kim@example.com", GOOD).await;
    let thief = with(&app, &sign_in(&app, "kim@example.com", GOOD).await["token"]);
    let kim = with(&app, &sign_in(&app, "kim@example.com", GOOD).await["token"]);
    let key = thief.post("/auth/v1/keys", json!({"label": "k", "scopes": ["notes:read"]})).await.expect(201).json();
    let path = "/auth/v1/password";
    kim.post(path, json!({"current_password": OTHER, "new_password": OTHER})).await.expect(422);
    kim.post(path, json!({"current_password": GOOD, "new_password": "short"})).await.expect(422);
    kim.post(path, json!({"current_password": GOOD, "new_password": GOOD})).await.expect(422);
    let fresh = kim.post(path, json!({"current_password": GOOD, "new_password": OTHER})).await.expect(200).json();
    for old in [&thief, &kim, &app.bearer(key["key"].as_str().unwrap())] {
        old.get("/auth/v1/me").await.expect(401);
    }
    with(&app, &fresh["token"]).get("/auth/v1/me").await.expect(200);
    app.anonymous().post("/auth/v1/sign-in", json!({"email": "kim@example.com", "password": GOOD})).await.expect(401);
    sign_in(&app, "kim@example.com", OTHER).await;
    app.anonymous().post(path, json!({"current_password": OTHER, "new_password": GOOD})).await.expect(401);
    app.finish().await;
}

/// V6.4.1: single use under a race of 50, and never after a change or its time.
/// [V6.4.3 V6.5.1 V6.6.3]: once, for a day, not by guessing.
async fn a_reset_code_works_once(backend: Backend) {
    let app = start(backend, "").await;
    let (person, code) = app.house.identity.operator("test").add_person("kim@example.com", &["member".to_owned()], &none()).await.unwrap();
    let anybody = app.anonymous();
    let body = json!({"code": code, "new_password": GOOD});
    let mut won = 0;
    // Within what one address may try.
    for _ in 0..2 {
        let tries = futures_util::future::join_all((0..10).map(|_| anybody.post("/auth/v1/password", body.clone()))).await;
        for reply in tries {
            assert!(matches!(reply.status, 204 | 400), "{}", reply.text());
            won += usize::from(reply.status == 204);
        }
    }
    assert_eq!(won, 1);
    anybody.post("/auth/v1/password", body.clone()).await.expect(429);
    let kim = with(&app, &sign_in(&app, "kim@example.com", GOOD).await["token"]);
    assert_eq!(kim.get("/auth/v1/me").await.expect(200).json()["roles"], json!(["member"]));
    let old = app.house.identity.operator("test").reset(&person.id).await.unwrap();
    kim.get("/auth/v1/me").await.expect(401);
    anybody.post("/auth/v1/sign-in", json!({"email": "kim@example.com", "password": GOOD})).await.expect(401);
    let new = app.house.identity.operator("test").reset(&person.id).await.unwrap();
    app.clock.advance_ms(3_600_000);
    assert_eq!(anybody.post("/auth/v1/password", json!({"code": old, "new_password": GOOD})).await.expect(400).problem(), "invalid-code");
    app.clock.advance_ms(24 * 3_600_000);
    anybody.post("/auth/v1/password", json!({"code": new, "new_password": GOOD})).await.expect(400);
    app.finish().await;
}

/// AUTHN-17 [V6.3.2]: no account is there before, and fifty who race for the first make one.
async fn the_first_administrator_is_made_once(backend: Backend) {
    let app = start(backend, "").await;
    for (name, password) in [("admin@example.com", "admin"), ("root@localhost.test", "root"), ("haechi@example.com", "haechi")] {
        app.anonymous().post("/auth/v1/sign-in", json!({"email": name, "password": password})).await.expect(401);
    }
    app.anonymous().post("/auth/v1/setup", json!({"code": "haechi_once_guess", "email": "a@example.com", "password": GOOD})).await.expect(400);
    app.house.identity.operator("test").setup_code().await.unwrap().unwrap();
    let code = app.house.identity.operator("test").setup_code().await.unwrap().unwrap();
    let claim = |at: usize| {
        let (anybody, code) = (app.anonymous(), code.clone());
        async move { anybody.post("/auth/v1/setup", json!({"code": code, "email": format!("a{at}@example.com"), "password": GOOD})).await }
    };
    let replies = futures_util::future::join_all((0..15).map(claim)).await;
    let won: Vec<usize> = replies.iter().enumerate().filter(|(_, reply)| reply.status == 201).map(|(at, _)| at).collect();
    assert_eq!(won.len(), 1, "{:?}", replies.iter().map(|reply| reply.status).collect::<Vec<_>>());
    let session = sign_in(&app, &format!("a{}@example.com", won[0]), GOOD).await;
    assert_eq!(with(&app, &session["token"]).get("/auth/v1/me").await.expect(200).json()["roles"], json!(["admin"]));
    assert_eq!(app.house.identity.operator("test").setup_code().await.unwrap(), None);
    app.finish().await;
    // A code that was printed is of no use once there is somebody.
    let app = start(backend, "").await;
    let code = app.house.identity.operator("test").setup_code().await.unwrap().unwrap();
    app.house.identity.operator("test").add_person("kim@example.com", &[], &none()).await.unwrap();
    app.anonymous().post("/auth/v1/setup", json!({"code": code, "email": "a@example.com", "password": GOOD})).await.expect(400);
    app.finish().await;
}

async fn fifty_sign_up_with_one_address(backend: Backend) {
    let app = start(backend, "sign_up = \"open\"").await;
    let race = |at: usize| {
        let anybody = app.anonymous().from_address(&format!("10.0.0.{at}"));
        async move { anybody.post("/auth/v1/sign-up", json!({"email": "kim@example.com", "password": format!("{GOOD} number {at}")})).await }
    };
    for reply in futures_util::future::join_all((0..50).map(race)).await {
        assert!(matches!(reply.status, 202 | 503), "{}", reply.text());
    }
    assert_eq!(app.house.identity.operator("test").people().await.unwrap().len(), 1);
    // AUTHN-19: case and width of an address are no way to a second account.
    for twin in ["KIM@EXAMPLE.COM", "Kim@Example.Com"] {
        sign_up(&app, twin, GOOD).await;
    }
    assert_eq!(app.house.identity.operator("test").people().await.unwrap().len(), 1);
    app.finish().await;
}

async fn invitations_are_for_one_address(backend: Backend) {
    let app = start(backend, "sign_up = \"invite\"").await;
    let invitation = app.house.identity.operator("test").invite("kim@example.com").await.unwrap();
    let ask = async |email: &str, invitation: &str| {
        app.anonymous().post("/auth/v1/sign-up", json!({"email": email, "password": GOOD, "invitation": invitation})).await.status
    };
    assert_eq!(ask("lee@example.com", &invitation).await, 400);
    assert_eq!(ask("kim@example.com", "haechi_once_guess").await, 400);
    app.anonymous().post("/auth/v1/sign-up", json!({"email": "kim@example.com", "password": GOOD})).await.expect(422);
    assert_eq!(ask("Kim@example.com", &invitation).await, 202);
    assert_eq!(ask("kim@example.com", &invitation).await, 400);
    sign_in(&app, "kim@example.com", GOOD).await;
    assert!(app.house.identity.operator("test").invite("kim@example.com").await.is_err());
    app.finish().await;
}

/// OAU-style scopes on keys [V8.2.1 V13.2.2]: a key never reaches farther than its owner, nor than its scopes.
async fn keys_reach_as_far_as_they_say(backend: Backend) {
    let app = start(backend, "sign_up = \"open\"").await;
    sign_up(&app, "kim@example.com", GOOD).await;
    let person = app.house.identity.operator("test").find_person("kim@example.com").await.unwrap();
    app.house.identity.operator("test").set_roles(&person.id, &["member".to_owned()]).await.unwrap();
    let kim = with(&app, &sign_in(&app, "kim@example.com", GOOD).await["token"]);
    let note = kim.create("notes", json!({"title": "t", "mail": "a@example.com"})).await;
    let made = kim.post("/auth/v1/keys", json!({"label": "reader", "scopes": ["notes:read", "notes:list"]})).await.expect(201).json();
    let key = app.bearer(made["key"].as_str().unwrap());
    let read = key.get(&format!("/api/v1/notes/{note}")).await.expect(200).json();
    assert!(read["_masked"].as_array().unwrap().contains(&json!("mail")), "a key without read_pii shows a personal field: {read}");
    key.post("/api/v1/notes", json!({"title": "u"})).await.expect(403);
    key.patch(&format!("/api/v1/notes/{note}"), json!({"title": "u"})).await.expect(403);
    key.get("/api/v1/things").await.expect(403);
    // A key makes no keys, changes no password and ends no sessions.
    key.post("/auth/v1/keys", json!({"label": "more", "scopes": ["*:*"]})).await.expect(403);
    key.post("/auth/v1/password", json!({"current_password": GOOD, "new_password": OTHER})).await.expect(403);
    key.get("/auth/v1/sessions").await.expect(403);
    let wide = kim.post("/auth/v1/keys", json!({"label": "wide", "scopes": ["*:*"]})).await.expect(201).json();
    let wide = app.bearer(wide["key"].as_str().unwrap());
    wide.patch(&format!("/api/v1/notes/{note}"), json!({"title": "u"})).await.expect(200);
    wide.get("/api/v1/users").await.expect(403);
    for bad in [json!({"label": "x", "scopes": []}), json!({"label": "x", "scopes": ["nothing:read"]}), json!({"label": "", "scopes": ["*:read"]})] {
        kim.post("/auth/v1/keys", bad).await.expect(422);
    }
    for time in ["2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "soon"] {
        kim.post("/auth/v1/keys", json!({"label": "x", "scopes": ["*:read"], "expire_time": time})).await.expect(422);
    }
    let listed = kim.get("/auth/v1/keys").await.expect(200).text();
    assert!(!listed.contains(made["key"].as_str().unwrap()) && listed.contains("reader"));
    kim.delete(&format!("/auth/v1/keys/{}", made["id"].as_str().unwrap())).await.expect(204);
    key.get(&format!("/api/v1/notes/{note}")).await.expect(401);
    // AUTHN-13 [V7.5.1]: an old sign-in makes no keys.
    app.clock.advance_ms(11 * 60_000);
    assert_eq!(kim.post("/auth/v1/keys", json!({"label": "late", "scopes": ["*:read"]})).await.expect(401).problem(), "fresh-sign-in-needed");
    app.clock.advance_ms(100 * 24 * 3_600_000);
    wide.get("/auth/v1/me").await.expect(401);
    app.finish().await;
}

async fn services_have_roles_of_their_own(backend: Backend) {
    let app = start(backend, "").await;
    let new = haechi_identity::NewKey { label: "nightly".to_owned(), ..Default::default() };
    let identity = &app.house.identity.operator("test");
    let (key, shown) = identity.create_service_key("reports", &["auditor".to_owned()], &new).await.unwrap();
    let service = app.bearer(&key);
    let me = service.get("/auth/v1/me").await.expect(200).json();
    assert_eq!((me["kind"].as_str(), me["id"].as_str()), (Some("service"), Some("reports")));
    service.get("/api/v1/notes").await.expect(200);
    service.post("/api/v1/notes", json!({"title": "t"})).await.expect(403);
    service.get("/auth/v1/sessions").await.expect(403);
    identity.revoke_key(&shown.name).await.unwrap();
    service.get("/api/v1/notes").await.expect(401);
    assert!(identity.create_service_key("reports", &["emperor".to_owned()], &new).await.is_err());
    assert!(identity.create_service_key("../etc", &[], &new).await.is_err());
    app.finish().await;
}

/// SESS-01, SESS-05, SESS-07, CSRF [V3.3.1 V3.3.2 V3.3.3 V3.3.4 V3.5.1 V7.2.4]
async fn a_browser_has_a_cookie(backend: Backend) {
    let app = start(backend, "sign_up = \"open\"\n[server]\npublic_url = \"https://app.example.com\"").await;
    sign_up(&app, "kim@example.com", GOOD).await;
    let body = json!({"email": "kim@example.com", "password": GOOD, "cookie": true}).to_string();
    let planted = ("cookie", "__Host-haechi_session=haechi_s_planted");
    let reply =
        app.anonymous().send("POST", "/auth/v1/sign-in", &[("content-type", "application/json"), planted], body.into_bytes()).await.expect(200);
    assert!(reply.json()["token"].is_null() && reply.json()["device"].is_null());
    let cookies: Vec<&str> = reply.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(cookies.len(), 2);
    for cookie in &cookies {
        for part in ["__Host-", "; Path=/;", "; Secure", "; HttpOnly", "; SameSite=Lax"] {
            assert!(cookie.contains(part), "{cookie} lacks {part}");
        }
        assert!(!cookie.to_lowercase().contains("domain") && cookie.len() < 4096);
    }
    let cookie = cookies[0].split(';').next().unwrap().to_owned();
    let token = reply.json()["csrf_token"].as_str().unwrap().to_owned();
    let browser = app.anonymous();
    browser.send("GET", "/auth/v1/me", &[("cookie", &cookie)], Vec::new()).await.expect(200);
    app.anonymous().send("GET", "/auth/v1/me", &[planted], Vec::new()).await.expect(401);
    // A browser's session is none for a bearer, and cookies hold nothing but sessions.
    app.bearer(cookie.split_once('=').unwrap().1).get("/auth/v1/me").await.expect(401);
    let plain = sign_in(&app, "kim@example.com", GOOD).await;
    let wrong_place = format!("__Host-haechi_session={}", plain["token"].as_str().unwrap());
    browser.send("GET", "/auth/v1/me", &[("cookie", &wrong_place)], Vec::new()).await.expect(401);
    // SESS-07: twice, broken, too much.
    let twice = format!("{cookie}; {cookie}");
    let many = format!("{cookie}; {}", "a=b; ".repeat(3000));
    for broken in [&twice, &many] {
        browser.send("GET", "/auth/v1/me", &[("cookie", broken)], Vec::new()).await.expect(400);
    }
    let change = async |headers: &[(&str, &str)]| {
        let headers: Vec<(&str, &str)> = [("cookie", cookie.as_str())].into_iter().chain(headers.iter().copied()).collect();
        browser.send("DELETE", "/auth/v1/sessions", &headers, Vec::new()).await.status
    };
    let (origin, site, csrf) = (("origin", "https://app.example.com"), ("sec-fetch-site", "same-origin"), ("x-csrf-token", token.as_str()));
    for forged in [
        &[][..],
        &[origin],
        &[csrf],
        &[("origin", "https://evil.example.com"), csrf],
        &[("origin", "null"), csrf],
        &[("sec-fetch-site", "cross-site"), csrf],
        &[("sec-fetch-site", "same-site"), origin, csrf],
        &[("referer", "https://app.example.com.evil.test/"), csrf],
        &[origin, ("x-csrf-token", "0000")],
    ] {
        assert_eq!(change(forged).await, 403, "{forged:?}");
    }
    for honest in [&[origin, site, csrf][..], &[origin, csrf], &[("referer", "https://app.example.com/page"), csrf]] {
        assert_eq!(change(honest).await, 204, "{honest:?}");
    }
    // A page of another site embeds pictures and sends requests with its visitor's cookie: the cookie is ignored then. It is also ignored
    // when such a page sends the browser to the API. Our own page is reached.
    let read = async |path: &str, headers: &[(&str, &str)]| {
        let headers: Vec<(&str, &str)> = [("cookie", cookie.as_str())].into_iter().chain(headers.iter().copied()).collect();
        browser.send("GET", path, &headers, Vec::new()).await.status
    };
    let cross = ("sec-fetch-site", "cross-site");
    for mode in ["no-cors", "cors", "websocket", "navigate"] {
        assert_eq!(read("/auth/v1/me", &[cross, ("sec-fetch-mode", mode)]).await, 403, "{mode}");
    }
    assert_eq!(read("/problems/forbidden", &[cross, ("sec-fetch-mode", "no-cors")]).await, 403);
    assert_eq!(read("/problems/forbidden", &[cross, ("sec-fetch-mode", "navigate")]).await, 200);
    assert_eq!(read("/auth/v1/me", &[site, ("sec-fetch-mode", "cors")]).await, 200);
    assert_eq!(app.anonymous().send("GET", "/problems/forbidden", &[cross], Vec::new()).await.status, 200, "without a cookie");
    // SESS-10 [V14.3.1]
    let out = browser.send("POST", "/auth/v1/sign-out", &[("cookie", &cookie), origin, csrf], Vec::new()).await.expect(204);
    assert!(out.header("set-cookie").contains("Max-Age=0") && out.header("clear-site-data").contains("storage"));
    browser.send("GET", "/auth/v1/me", &[("cookie", &cookie)], Vec::new()).await.expect(401);
    app.finish().await;
}

/// AUTHN-03 [V6.3.8]: status, body and headers; the time is compared in `timing`.
async fn wrong_passwords_look_like_unknown_people(backend: Backend) {
    let app = start(backend, "sign_up = \"open\"").await;
    sign_up(&app, "kim@example.com", GOOD).await;
    sign_up(&app, "out@example.com", GOOD).await;
    app.house.identity.operator("test").add_person("nopassword@example.com", &[], &none()).await.unwrap();
    let out = app.house.identity.operator("test").find_person("out@example.com").await.unwrap();
    app.house.identity.operator("test").set_disabled(&out.id, true).await.unwrap();
    let mut seen = Vec::new();
    for (email, password) in [
        ("kim@example.com", OTHER),
        ("nobody@example.com", OTHER),
        ("out@example.com", GOOD),
        ("out@example.com", OTHER),
        ("nopassword@example.com", OTHER),
        ("not an address", OTHER),
        ("", OTHER),
    ] {
        let reply = app.anonymous().post("/auth/v1/sign-in", json!({"email": email, "password": password})).await.expect(401);
        let mut body = reply.json();
        body["request_id"] = Value::Null;
        let mut names: Vec<String> = reply
            .headers
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "x-request-id" | "ratelimit"))
            .map(|(name, value)| format!("{name}: {value:?}"))
            .collect();
        names.sort();
        seen.push((body, names));
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:#?}");
    app.finish().await;
}

/// AUTHN-01, AUTHN-02 [V6.1.1 V6.3.1]
async fn nobody_locks_somebody_else_out(backend: Backend) {
    let app = start(backend, "sign_up = \"open\"").await;
    app.clock.stand_still();
    sign_up(&app, "kim@example.com", GOOD).await;
    let device = sign_in(&app, "kim@example.com", GOOD).await["device"].as_str().unwrap().to_owned();
    let attempt = async |address: &str, email: &str, password: &str, device: Option<&str>| {
        let mut body = json!({"email": email, "password": password});
        if let Some(device) = device {
            body["device"] = device.into();
        }
        app.anonymous().from_address(address).post("/auth/v1/sign-in", body).await
    };
    // One address at one account: ten, then it waits.
    let mut statuses = Vec::new();
    for _ in 0..15 {
        statuses.push(attempt("10.1.1.1", "kim@example.com", OTHER, None).await.status);
    }
    assert_eq!((statuses[..10].iter().all(|status| *status == 401), &statuses[10..]), (true, &[429; 5][..]), "{statuses:?}");
    let refused = attempt("10.1.1.1", "kim@example.com", GOOD, None).await.expect(429);
    assert!(refused.header("retry-after").parse::<u32>().unwrap() > 0);
    // Many addresses at one account: what strangers may try is bounded, too.
    let mut tried = 0;
    for network in 0..30 {
        for _ in 0..5 {
            tried += usize::from(attempt(&format!("10.2.{network}.1"), "kim@example.com", OTHER, None).await.status == 401);
        }
    }
    assert!(tried <= 100, "{tried} guesses were computed");
    attempt("10.3.3.3", "kim@example.com", GOOD, None).await.expect(429);
    // The honest person, on a device that they have used before, even from the attacker's address.
    attempt("10.1.1.1", "kim@example.com", GOOD, Some(&device)).await.expect(200);
    // Somebody else's device, or an invented one, helps nobody.
    sign_up(&app, "eve@example.com", GOOD).await;
    let eves = attempt("10.4.4.4", "eve@example.com", GOOD, None).await.expect(200).json()["device"].as_str().unwrap().to_owned();
    for forged in [eves.as_str(), "haechi_d_00.00", ""] {
        attempt("10.5.5.5", "kim@example.com", GOOD, Some(forged)).await.expect(429);
    }
    // One address at many accounts.
    let mut tried = 0;
    for at in 0..100 {
        tried += usize::from(attempt("10.6.6.6", &format!("p{at}@example.com"), OTHER, None).await.status == 401);
    }
    assert!((25..=40).contains(&tried), "{tried}");
    // It passes by itself.
    app.clock.advance_ms(61 * 60_000);
    attempt("10.1.1.1", "kim@example.com", GOOD, None).await.expect(200);
    app.finish().await;
}

/// SESS-09 [V7.1.2]
async fn the_oldest_session_makes_room(backend: Backend) {
    let app = start(backend, "sign_up = \"open\"\nsessions = 3").await;
    sign_up(&app, "kim@example.com", GOOD).await;
    let mut people = Vec::new();
    for _ in 0..5 {
        people.push(with(&app, &sign_in(&app, "kim@example.com", GOOD).await["token"]));
        app.clock.advance_ms(1000);
    }
    let mut statuses = Vec::new();
    for person in &people {
        statuses.push(person.get("/auth/v1/me").await.status);
    }
    assert_eq!(statuses, [401, 401, 200, 200, 200]);
    app.finish().await;
}

/// [V2.2.1 V6.2.1]: by an allow list of members, with lengths.
async fn bad_bodies_are_told(backend: Backend) {
    let app = start(backend, "sign_up = \"open\"").await;
    let anybody = app.anonymous();
    let reply = anybody.post("/auth/v1/sign-up", json!({"email": "nonsense", "password": GOOD})).await.expect(422).json();
    assert_eq!(reply["errors"][0]["pointer"], "/email");
    for (password, code) in
        [("short", "too_short"), ("passwordpassword", "common"), ("kim@example.com.", "guessable"), (&"x".repeat(2000), "too_long")]
    {
        let reply = anybody.post("/auth/v1/sign-up", json!({"email": "kim@example.com", "password": password})).await.expect(422).json();
        assert_eq!((reply["errors"][0]["pointer"].as_str(), reply["errors"][0]["code"].as_str()), (Some("/password"), Some(code)));
    }
    let reply = anybody.post("/auth/v1/sign-in", json!({"emial": "x", "password": 7})).await.expect(422).json();
    assert_eq!(reply["errors"].as_array().unwrap().len(), 3, "{reply}");
    // AUTHN-06: refused before anything is hashed.
    let large = json!({"email": "a@example.com", "password": "x".repeat(1 << 20)}).to_string();
    anybody.send("POST", "/auth/v1/sign-in", &[("content-type", "application/json")], large.into_bytes()).await.expect(413);
    anybody.send("POST", "/auth/v1/sign-in", &[], b"email=a&password=b".to_vec()).await.expect(415);
    anybody.send("POST", "/auth/v1/sign-in", &[("content-type", "application/json")], b"[]".to_vec()).await.expect(400);
    // SESS-06 [V14.2.1]
    anybody.post("/auth/v1/sign-in?password=x", json!({"email": "a@example.com", "password": GOOD})).await.expect(400);
    anybody.get("/auth/v1/me?access_token=haechi_s_x").await.expect(400);
    anybody.get("/auth/v1/me").await.expect(401);
    anybody.get("/auth/v1/sign-in").await.expect(405);
    // People cannot give themselves roles.
    for field in ["roles", "disabled", "email_verified", "id", "team"] {
        let body = json!({"email": "eve@example.com", "password": GOOD, "profile": {field: "x"}});
        assert_eq!(anybody.post("/auth/v1/sign-up", body).await.expect(422).json()["errors"][0]["pointer"], format!("/profile/{field}"));
    }
    app.finish().await;
}

async fn codes_are_no_credentials(backend: Backend) {
    let app = start(backend, "sign_up = \"open\"").await;
    let (_, code) = app.house.identity.operator("test").add_person("kim@example.com", &[], &none()).await.unwrap();
    for token in [code.as_str(), "haechi_s_", "haechi_k_", "haechi_s_AAAA", "x"] {
        app.bearer(token).get("/auth/v1/me").await.expect(401);
    }
    // A code for one purpose is none for another.
    app.anonymous().post("/auth/v1/setup", json!({"code": code, "email": "a@example.com", "password": GOOD})).await.expect(400);
    app.finish().await;
}

/// The folder's own fields of `users`: required ones are asked for, no matter who adds the person; nothing half made stays.
async fn profiles_are_filled_in_as_the_folder_says(backend: Backend) {
    let users = "[fields]\nname = { type = \"text\", required = true }\nlocale = { type = \"text\", required = true, default = \"en\" }\nnick = { type = \"text\", unique = true }\nboss = { type = \"ref\", to = \"users\" }\n";
    let mut all = files("sign_up = \"open\"\nsign_up_fields = [\"name\", \"locale\", \"nick\"]");
    all.iter_mut().filter(|(path, _)| *path == "collections/users.toml").for_each(|(_, text)| users.clone_into(text));
    let app = TestApp::start(backend, &all).await;
    let identity = &app.house.identity.operator("test");
    let sign_up = async |email: &str, profile: Value| {
        app.anonymous().post("/auth/v1/sign-up", json!({"email": email, "password": GOOD, "profile": profile})).await
    };
    for (profile, pointer) in
        [(json!({}), "/profile/name"), (json!({"name": null}), "/profile/name"), (json!({"name": "K", "boss": "x"}), "/profile/boss")]
    {
        assert_eq!(sign_up("kim@example.com", profile).await.expect(422).json()["errors"][0]["pointer"], pointer);
    }
    sign_up("kim@example.com", json!({"name": "Kim", "locale": null, "nick": "k"})).await.expect(202);
    sign_up("lee@example.com", json!({"name": "Lee", "nick": "k"})).await.expect(409);
    assert!(identity.find_person("lee@example.com").await.is_err());
    let parse = |text: &str| haechi_model::parse_json(text.as_bytes()).unwrap();
    assert!(identity.add_person("ann@example.com", &[], &none()).await.is_err());
    let nobody = "{\"name\":\"Ann\",\"boss\":\"01920000-0000-7000-8000-000000000000\"}";
    assert!(identity.add_person("ann@example.com", &[], &parse(nobody)).await.is_err());
    identity.add_person("ann@example.com", &[], &parse("{\"name\":\"Ann\"}")).await.unwrap();
    app.finish().await;
}

/// AUTHN-20, SESS-02 [V7.4.1 V7.4.2]: what one node revokes is dead on the other a second later, without a word between
/// them, also when their clocks are five minutes apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_hears_of_a_revocation_within_a_second() {
    let first = start(Backend::Postgres, "sign_up = \"open\"").await;
    let ahead = std::sync::Arc::new(haechi_gate::TestClock::new());
    ahead.advance_ms(5 * 60_000);
    let second = first.second_node_by(ahead.clone()).await;
    sign_up(&first, "kim@example.com", GOOD).await;
    let here = sign_in(&first, "kim@example.com", GOOD).await["token"].clone();
    let there = sign_in(&second, "kim@example.com", GOOD).await["token"].clone();
    for token in [&here, &there] {
        for app in [&first, &second] {
            with(app, token).get("/auth/v1/me").await.expect(200);
        }
    }
    with(&first, &here).post("/auth/v1/sign-out", json!({})).await.expect(204);
    with(&first, &here).get("/auth/v1/me").await.expect(401);
    ahead.advance_ms(1_000);
    with(&second, &here).get("/auth/v1/me").await.expect(401);
    // Everything of a person, by an operator at the other node.
    with(&first, &there).get("/auth/v1/me").await.expect(200);
    let operator = second.house.identity.operator("test");
    let person = operator.find_person("kim@example.com").await.unwrap();
    operator.set_disabled(&person.id, true).await.unwrap();
    with(&second, &there).get("/auth/v1/me").await.expect(401);
    // This node's clock is behind the ledger's time: its time goes on as time passes, no matter what the clock is set to.
    tokio::time::sleep(std::time::Duration::from_millis(1_050)).await;
    with(&first, &there).get("/auth/v1/me").await.expect(401);
    second.house.close().await;
    first.finish().await;
}

/// AUTHN-01, DOS-16 [V6.3.1]: ten thousand sign-ins over a thousand accounts from fifty networks; few are computed, and people who
/// have signed in before comes in meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spray_is_bounded_and_honest_people_get_in() {
    let app = start(Backend::Sqlite, "sign_up = \"open\"\n[limits]\nanonymous_per_minute = 1_000_000").await;
    sign_up(&app, "kim@example.com", GOOD).await;
    let device = sign_in(&app, "kim@example.com", GOOD).await["device"].as_str().unwrap().to_owned();
    let (mut computed, mut refused, mut busy) = (0, 0, 0);
    for round in 0..200 {
        let attempts = (0..50).map(|network| {
            let anybody = app.anonymous().from_address(&format!("10.7.{network}.1"));
            let account = (round * 50 + network) % 1000;
            async move { anybody.post("/auth/v1/sign-in", json!({"email": format!("p{account}@example.com"), "password": OTHER})).await.status }
        });
        for status in futures_util::future::join_all(attempts).await {
            match status {
                401 => computed += 1,
                429 => refused += 1,
                503 => busy += 1,
                other => panic!("{other}"),
            }
        }
        if round % 50 == 25 {
            let body = json!({"email": "kim@example.com", "password": GOOD, "device": device});
            app.anonymous().from_address("10.7.1.1").post("/auth/v1/sign-in", body).await.expect(200);
        }
    }
    // Thirty at once from each network, and those that come back while it runs.
    assert!(computed <= 50 * 40 && refused >= 5_000, "{computed} computed, {refused} refused, {busy} turned away");
    app.finish().await;
}

/// SESS-08, AUTHN-13 [V7.4.3]: a thief's request that waits with its last byte finds its session ended.
async fn a_request_that_began_before_a_password_change_makes_no_key(backend: Backend) {
    let app = start(backend, "sign_up = \"open\"").await;
    sign_up(&app, "kim@example.com", GOOD).await;
    for end in ["password", "disable"] {
        let password = if end == "password" { GOOD } else { OTHER };
        let thief = sign_in(&app, "kim@example.com", password).await["token"].as_str().unwrap().to_owned();
        let (send, last) = tokio::sync::oneshot::channel::<()>();
        let body = json!({"label": "k", "scopes": ["*:*"]}).to_string();
        let parts = futures_util::stream::once(async move {
            let _ = last.await;
            Ok::<_, std::convert::Infallible>(body)
        });
        let request = axum::http::Request::post("/auth/v1/keys")
            .header("authorization", format!("Bearer {thief}"))
            .header("content-type", "application/json")
            .body(axum::body::Body::from_stream(parts))
            .unwrap();
        let stack = app.stack.clone();
        let waiting = tokio::spawn(async move { stack.handle(request, haechi_layers::Peer("203.0.113.9".parse().unwrap())).await.status().as_u16() });
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        if end == "password" {
            let kim = with(&app, &sign_in(&app, "kim@example.com", GOOD).await["token"]);
            kim.post("/auth/v1/password", json!({"current_password": GOOD, "new_password": OTHER})).await.expect(200);
        } else {
            let person = app.house.identity.operator("test").find_person("kim@example.com").await.unwrap();
            app.house.identity.operator("test").set_disabled(&person.id, true).await.unwrap();
        }
        send.send(()).unwrap();
        assert_eq!(waiting.await.unwrap(), 401, "{end}");
        assert_eq!(app.house.identity.operator("test").keys().await.unwrap().len(), 0);
    }
    app.finish().await;
}

async fn a_clock_that_was_ahead_locks_nobody_out(backend: Backend) {
    let app = start(backend, "sign_up = \"open\"").await;
    sign_up(&app, "kim@example.com", GOOD).await;
    let year = 365 * 24 * 3_600_000;
    app.clock.advance_ms(year);
    app.anonymous().post("/auth/v1/sign-in", json!({"email": "kim@example.com", "password": OTHER})).await.expect(401);
    app.clock.advance_ms(-year);
    sign_in(&app, "kim@example.com", GOOD).await;
    app.finish().await;
}

/// INJ, LOG-01 [V1.3.3 V16.4.1]
async fn zero_characters_and_controls_are_refused(backend: Backend) {
    let app = start(backend, "sign_up = \"open\"").await;
    sign_up(&app, "kim@example.com", "with\u{0}a zero inside it").await;
    app.anonymous().post("/auth/v1/sign-in", json!({"email": "kim@example.com", "password": "with"})).await.expect(401);
    let kim = with(&app, &sign_in(&app, "kim@example.com", "with\u{0}a zero inside it").await["token"]);
    for label in ["a\u{0}b", "a\u{1b}[2Kb", "a\nb"] {
        kim.post("/auth/v1/keys", json!({"label": label, "scopes": ["*:read"]})).await.expect(422);
    }
    kim.post("/auth/v1/keys", json!({"label": "fine", "scopes": ["a\u{0}:read"]})).await.expect(422);
    for path in ["/auth/v1/sessions/%00", "/auth/v1/keys/%00", "/auth/v1/keys/%FF"] {
        assert_eq!(kim.delete(path).await.expect(404).problem(), "not-found");
    }
    app.anonymous().post("/auth/v1/sign-in", json!({"email": "a\u{0}@example.com", "password": GOOD})).await.expect(422);
    app.finish().await;
}
