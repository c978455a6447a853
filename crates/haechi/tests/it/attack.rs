//! What attackers send, each with its honest twin.

use crate::fixture::FILES;
use haechi_testkit::{Backend, TestApp, on_both};
use serde_json::{Value, json};

on_both!(
    inj_01_sql_stays_text,
    ac_07_mass_assignment,
    oracle_by_masked_field,
    oracle_by_reference,
    naughty_strings_round_trip,
    malformed_json_is_400,
    err_no_500_from_odd_requests,
    sess_dev_tokens_end
);

/// INJ-01, INJ-02, INJ-03 [V1.2.4]
async fn inj_01_sql_stays_text(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let nasty = "x'); DELETE FROM users;--";
    kim.create("things", json!({"text": nasty})).await;
    kim.create("things", json!({"text": "honest"})).await;
    let found = |body: Value| {
        let kim = kim.clone();
        async move { kim.post("/api/v1/things:query", body).await }
    };
    assert_eq!(found(json!({"filter": format!("text = \"{nasty}\"")})).await.expect(200).json()["items"].as_array().unwrap().len(), 1);
    assert_eq!(found(json!({"filter": "text = \"' OR 1=1--\""})).await.expect(200).json()["items"].as_array().unwrap().len(), 0);
    assert_eq!(found(json!({"text": "' OR '1'='1"})).await.expect(200).json()["items"].as_array().unwrap().len(), 0);
    for bad in [
        json!({"order_by": "text;DROP TABLE things"}),
        json!({"fields": "text,(select 1)"}),
        json!({"filter": "text = 'a' OR 1=1"}),
        json!({"filter": "1=1"}),
        json!({"expand": "text"}),
        json!({"page_size": "1;--"}),
    ] {
        let reply = found(bad.clone()).await;
        assert_eq!(reply.status, 400, "{bad}");
        assert!(!reply.text().to_lowercase().contains("select "), "{}", reply.text());
    }
    assert_eq!(kim.get("/api/v1/things").await.expect(200).json()["items"].as_array().unwrap().len(), 2);
    app.finish().await;
}

/// AC-07 [V15.3.3]
async fn ac_07_mass_assignment(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let id = kim.create("notes", json!({"title": "t"})).await;
    for (field, value) in [
        ("id", json!("01920000-0000-7000-8000-00000000ffff")),
        ("version", json!(999)),
        ("create_time", json!("2020-01-01T00:00:00Z")),
        ("roles", json!(["admin"])),
        ("_organisation", json!("x")),
        ("_fold_slug", json!("x")),
        ("owner", json!("x")),
        ("__proto__", json!({})),
    ] {
        for reply in [
            kim.post("/api/v1/notes", json!({"title": "t", field: value})).await,
            kim.patch(&format!("/api/v1/notes/{id}"), json!({field: value})).await,
        ] {
            assert_eq!((reply.status, reply.json()["errors"][0]["pointer"].as_str()), (422, Some(&*format!("/{field}"))), "{}", reply.text());
        }
    }
    assert_eq!(kim.get(&format!("/api/v1/notes/{id}")).await.json()["version"], 1);
    // Roles and the like of users are nobody's to write.
    let admin = app.person("root", &["admin"]).await;
    let reply = admin.patch(&format!("/api/v1/users/{}", kim.id), json!({"roles": ["admin"]})).await;
    assert!(matches!(reply.status, 403 | 422), "{}", reply.text());
    app.finish().await;
}

/// AC-02, AC-03 and T-oracle: a field that one may not read cannot be used.
async fn oracle_by_masked_field(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let (kim, judge, lee) = (app.person("kim", &["member"]).await, app.person("judge", &["auditor"]).await, app.person("lee", &["member"]).await);
    kim.create("notes", json!({"title": "closed", "secret": "abc", "mail": "a@b.cd"})).await;
    kim.create("notes", json!({"title": "open", "secret": "abd"})).await;
    // Conditionally readable: every filter leaves out the rows in which the field is not readable.
    for filter in ["secret = \"abc\"", "NOT secret = \"abc\"", "secret:\"ab\"", "secret = null OR title = \"closed\"", "secret < \"b\""] {
        let items = judge.post("/api/v1/notes:query", json!({"filter": filter})).await.expect(200).json();
        assert!(items["items"].as_array().unwrap().iter().all(|item| item["title"] == "open"), "{filter}: {items}");
    }
    let ordered = judge.post("/api/v1/notes:query", json!({"order_by": "secret"})).await.expect(200).json();
    assert_eq!(ordered["items"].as_array().unwrap().len(), 1);
    // Never readable: refused.
    for body in [
        json!({"filter": "mail = \"a@b.cd\""}),
        json!({"order_by": "mail"}),
        json!({"mail": "a@b.cd"}),
        json!({"filter": "title = \"x\" OR mail:\"a\""}),
    ] {
        judge.post("/api/v1/notes:query", body).await.expect(403);
    }
    lee.post("/api/v1/notes:query", json!({"filter": "secret = \"abc\""})).await.expect(403);
    // In a URL it is refused for everybody, before it is judged.
    for path in ["/api/v1/notes?mail=a@b.cd", "/api/v1/notes?filter=mail%3D%22a%40b.cd%22", "/api/v1/notes?order_by=mail"] {
        assert_eq!(kim.get(path).await.expect(400).problem(), "use-query-body");
    }
    assert_eq!(
        kim.post("/api/v1/notes:query", json!({"mail": "a@b.cd"})).await.expect(200).json()["items"].as_array().unwrap().len(),
        1,
        "the honest twin"
    );
    app.finish().await;
}

/// AC-05 [V8.4.1]: a reference to a hidden row and to a missing one look alike.
async fn oracle_by_reference(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let (kim, lee) = (app.person("kim", &["member"]).await, app.person("lee", &["member"]).await);
    let hidden = kim.create("notes", json!({"title": "kim's"})).await;
    let own = lee.create("notes", json!({"title": "lee's"})).await;
    let mut bodies = Vec::new();
    for target in [hidden.as_str(), "01920000-0000-7000-8000-00000000ffff"] {
        let reply = lee.post("/api/v1/notes", json!({"title": "t", "friend": target})).await.expect(422);
        let mut json = reply.json();
        json["request_id"] = Value::Null;
        bodies.push(json);
        lee.patch(&format!("/api/v1/notes/{own}"), json!({"friend": target})).await.expect(422);
    }
    assert_eq!(bodies[0], bodies[1]);
    lee.patch(&format!("/api/v1/notes/{own}"), json!({"friend": own})).await.expect(200);
    app.finish().await;
}

/// The big list of naughty strings, through a text field and back, byte for byte.
async fn naughty_strings_round_trip(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let mut stored = 0;
    for text in naughty_strings::BLNS {
        let reply = kim.post("/api/v1/things", json!({"text": text, "folded": text, "data": text, "tags": [text]})).await;
        if text.contains('\0') {
            assert_eq!(reply.status, 422);
            continue;
        }
        let id = reply.expect(201).json()["id"].as_str().unwrap().to_owned();
        let read = kim.get(&format!("/api/v1/things/{id}")).await.expect(200).json();
        assert_eq!(
            (read["text"].as_str(), read["folded"].as_str(), read["data"].as_str(), read["tags"][0].as_str()),
            (Some(*text), Some(*text), Some(*text), Some(*text))
        );
        stored += 1;
    }
    assert!(stored > 400);
    app.finish().await;
}

/// INJ-17 [V1.5.3], DOS-06: what RFC 8259 refuses is refused, what it accepts is accepted.
async fn malformed_json_is_400(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    let send = |body: Vec<u8>| {
        let kim = kim.clone();
        async move { kim.send("POST", "/api/v1/things", &[("content-type", "application/json")], body).await }
    };
    let in_data = |text: &str| format!("{{\"text\":\"t\",\"data\":{text}}}").into_bytes();
    for bad in [
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\":1,}",
        "{a:1}",
        "{'a':1}",
        "{\"a\" 1}",
        "{\"a\"}",
        "{\"a\":}",
        "[\"a\"",
        "[",
        "\"a",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\ud800\"",
        "\"\\udc00\\ud800\"",
        "\"\t\"",
        "\"\n\"",
        "01",
        "-01",
        "+1",
        "1.",
        ".1",
        "1e",
        "1e+",
        "0x1",
        "Infinity",
        "NaN",
        "-",
        "--1",
        "1 000",
        "tru",
        "TRUE",
        "nul",
        "{\"a\":1,\"a\":1}",
        "{\"a\":{\"b\":1,\"b\":2}}",
        "/**/1",
        "1//",
        "[1]]",
        "{}}",
        "'a'",
        "\"\\'\"",
        "[\u{feff}1]",
        "{\"a\":1 \"b\":2}",
        "[\"\"],",
        "*",
        "",
    ] {
        let reply = send(in_data(bad)).await;
        assert_eq!(reply.status, 400, "{bad:?}: {}", reply.text());
    }
    for good in [
        "[]",
        "{}",
        "\"\"",
        "0",
        "-0",
        "1e5",
        "1E+2",
        "-1.5e-3",
        "123456789012345678901234567890",
        "[[[[1]]]]",
        "\"\\u00e9\\ud83d\\ude00\\/\"",
        " [ 1 , 2 ] ",
        "true",
        "{\"\":0}",
        "{\"a\\tb\":1}",
        "\"\u{2028}\"",
        "1.7976931348623157e309",
    ] {
        let reply = send(in_data(good)).await;
        assert_eq!(reply.status, 201, "{good:?}: {}", reply.text());
    }
    for bytes in [
        b"\xef\xbb\xbf{\"text\":\"t\"}".to_vec(),
        b"{\"text\":\"\xff\"}".to_vec(),
        b"{\"text\":\"\xc0\xaf\"}".to_vec(),
        b"{\"text\":\"\xed\xa0\x80\"}".to_vec(),
        Vec::new(),
        b"{\"text\":\"t\"}{}".to_vec(),
        "[".repeat(100_000).into_bytes(),
        format!("{{\"text\":\"t\",\"data\":{}1{}}}", "[".repeat(5_000), "]".repeat(5_000)).into_bytes(),
    ] {
        assert_eq!(send(bytes).await.status, 400);
    }
    for (body, status) in [
        ("[]", 400),
        ("null", 400),
        ("\"x\"", 400),
        ("{\"text\":1}", 422),
        ("{\"text\":{\"$gt\":\"\"}}", 422),
        ("{\"text\":[\"x\"]}", 422),
        ("{\"text\":\"t\",\"flag\":\"true\"}", 422),
        ("{\"text\":\"t\",\"small\":\"1\"}", 422),
        ("{\"text\":\"t\",\"small\":9007199254740993}", 422),
        ("{\"text\":\"t\",\"ratio\":1e400}", 422),
        ("{\"text\":\"\\u0000\"}", 422),
    ] {
        assert_eq!(send(body.as_bytes().to_vec()).await.status, status, "{body}");
    }
    let large = format!("{{\"text\":\"{}\"}}", "x".repeat(2 << 20));
    assert_eq!(send(large.into_bytes()).await.status, 413);
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json;charset=latin1",
        "application/json, text/plain",
        "multipart/form-data; boundary=x",
    ] {
        assert_eq!(kim.send("POST", "/api/v1/things", &[("content-type", kind)], b"{\"text\":\"t\"}".to_vec()).await.status, 415, "{kind}");
    }
    app.finish().await;
}

/// ERR-01 [V16.5.1 V15.3.7], AC-14, AC-15: odd paths, methods and headers get a documented problem, never a 500.
async fn err_no_500_from_odd_requests(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let (kim, nobody) = (app.person("kim", &["member"]).await, app.anonymous());
    kim.create("notes", json!({"title": "t"})).await;
    let paths = [
        "/api/v1/notes/",
        "//api/v1/notes",
        "/api/v1//notes",
        "/api/v1/notes/..%2fusers",
        "/API/V1/notes",
        "/api/v1/notes;a=b",
        "/api/v1/notes/x",
        "/api/v1/notes/%00",
        "/api/v1/notes/%ff",
        "/api/v1/%6eotes/x",
        "/api/v1/notes?filter=%ff",
        "/api/v1/notes?filter=%",
        "/api/v1/notes?title=1&title=2",
        "/api/v1/notes?page_size=0",
        "/api/v1/notes?page_size=-1",
        "/api/v1/notes?page_size=99999999999",
        "/api/v1/notes?nope=1",
        "/api/v1/notes?filter=",
        "/api/v1/_log",
        "/api/v1/_migrations/1",
        "/api/v1/sqlite_schema",
        "/api/v1/notes:drop",
        "/api/v1/notes?access_token=x",
        "/.git/config",
        "/metrics",
        "/api/v1/notes?fields=",
        "/api/v1/notes?order_by=",
        "/api/v1/notes?filter=%00",
    ];
    for path in paths {
        for who in [&kim, &nobody] {
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "HEAD", "PROPFIND"] {
                let reply = who.send(method, path, &[("content-type", "application/json")], b"{}".to_vec()).await;
                assert!(reply.status < 500, "{method} {path}: {}", reply.text());
                if reply.status >= 400 && method != "HEAD" {
                    assert_eq!(reply.header("content-type"), "application/problem+json", "{method} {path}");
                    assert_eq!(reply.json()["status"], reply.status, "{method} {path}");
                }
                assert_eq!((reply.header("x-content-type-options"), reply.header("server")), ("nosniff", ""));
            }
        }
    }
    for header in [("if-match", "1"), ("if-match", "W/\"1\""), ("idempotency-key", ""), ("idempotency-key", "a b")] {
        let reply = kim.send("POST", "/api/v1/notes", &[("content-type", "application/json"), header], b"{\"title\":\"t\"}".to_vec()).await;
        assert!(matches!(reply.status, 201 | 400), "{header:?}: {}", reply.text());
    }
    app.finish().await;
}

/// Tokens of `dev` end after an hour, and every changed byte ends them.
async fn sess_dev_tokens_end(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    kim.get("/api/v1/notes").await.expect(200);
    let good = kim.token.clone().unwrap();
    for at in (0..good.len()).step_by(7) {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        let mut forged = kim.clone();
        forged.token = Some(String::from_utf8(bytes).unwrap());
        assert_eq!(forged.get("/api/v1/notes").await.status, 401, "byte {at}");
    }
    for bad in ["", "x", "haechi_dev_", "haechi_dev_a.b.c", &"x".repeat(5000)] {
        let mut forged = kim.clone();
        forged.token = Some(bad.to_owned());
        assert_eq!(forged.get("/api/v1/notes").await.status, 401, "{bad}");
    }
    app.clock.advance_ms(3_600_001);
    kim.get("/api/v1/notes").await.expect(401);
    app.finish().await;
}
