//! Small abuses, one after the other: each is refused or means what it says, and its honest twin goes through.

use crate::fixture::FILES;
use haechi_testkit::{Backend, TestApp, on_both, with_more};
use serde_json::json;

on_both!(text_means_itself, somebody_elses_rows_are_not_there);

/// INJ-04, INJ-06, INJ-07, INJ-13, INJ-14, INJ-18, INJ-20 [V1.1.1 V1.2.2 V1.2.9 V1.3.11 V4.2.4 V15.3.5]: wildcards, types,
/// encodings and schemes.
async fn text_means_itself(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let kim = app.person("kim", &["member"]).await;
    for text in ["100%", "100x", "a_b", "axb", "back\\slash", "star*", "starx"] {
        kim.create("things", json!({"text": text})).await;
    }
    for (filter, found) in [
        ("text = \"100%\"", 1),
        ("text = \"a_b\"", 1),
        ("text = \"back\\\\slash\"", 1),
        ("text = \"star*\"", 1),
        ("text = \"%\"", 0),
        ("text = \"_\"", 0),
    ] {
        let reply = kim.post("/api/v1/things:query", json!({ "filter": filter })).await.expect(200).json();
        assert_eq!(reply["items"].as_array().unwrap().len(), found, "{filter}");
    }
    for (name, value) in [
        ("text", json!({"$gt": ""})),
        ("text", json!(["a"])),
        ("text", json!(7)),
        ("small", json!("7")),
        ("flag", json!("true")),
        ("kind", json!("c")),
        ("kind", json!({"a": 1})),
        ("tags", json!("a")),
        ("site", json!("javascript:alert(1)")),
        ("site", json!("java\tscript:alert(1)")),
        ("site", json!("data:text/html,x")),
        ("text", json!("nul\u{0}")),
    ] {
        let mut body = json!({"text": "t"});
        body[name] = value;
        let reply = kim.post("/api/v1/things", body.clone()).await;
        assert_eq!((reply.status, &reply.json()["errors"][0]["pointer"]), (422, &json!(format!("/{name}"))), "{body}: {}", reply.text());
    }
    for body in [&b"{\"text\":\"\\ud800\"}"[..], b"{\"text\":\"\xc0\xaf\"}", b"{\"text\":\"a\",\"text\":\"b\"}"] {
        let reply = kim.send("POST", "/api/v1/things", &[("content-type", "application/json")], body.to_vec()).await;
        assert!(matches!(reply.status, 400 | 422), "{}: {}", String::from_utf8_lossy(body), reply.text());
    }
    for path in ["/api/v1/thing%2573", "/api/v1/%2574hings", "/api/v1/things/%252e%252e", "/api/v1/things?filter[text]=x", "/api/v1/things?text[]=x"]
    {
        let status = kim.get(path).await.status;
        assert!(matches!(status, 400 | 404), "{path}: {status}");
    }
    kim.get("/api/v1/%74hings").await.expect(200);
    for mail in ["a@b.cd\r\nBcc: all@x.yz", "a@b.cd%0d%0aBcc:all@x.yz", "\"a\nb\"@c.de", "a@b.cd,e@f.gh"] {
        let reply = kim.post("/api/v1/notes", json!({"title": "t", "mail": mail})).await;
        assert_eq!(reply.status, 422, "{mail:?}: {}", reply.text());
    }
    let made = kim.post("/api/v1/notes", json!({"title": "x\r\nX-Injected: 1", "mail": "a@b.cd"})).await.expect(201);
    assert_eq!(made.header("x-injected"), "");
    app.finish().await;
}

/// AC-01, AC-06, AC-12, HDR-13 [V8.2.2 V8.3.1 V15.3.6 V15.3.7]
async fn somebody_elses_rows_are_not_there(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let (kim, lee) = (app.person("kim", &["member"]).await, app.person("lee", &["member"]).await);
    let id = kim.create("notes", json!({"title": "mine"})).await;
    let path = format!("/api/v1/notes/{id}");
    let missing = "/api/v1/notes/01920000-0000-7000-8000-00000000ffff";
    for (method, body) in [("GET", ""), ("PATCH", "{\"title\":\"x\"}"), ("DELETE", "")] {
        let send = async |path: &str| {
            let reply = lee.send(method, path, &[("content-type", "application/json"), ("if-match", "\"1\"")], body.as_bytes().to_vec()).await;
            let mut problem = reply.json();
            problem["request_id"] = json!("");
            (reply.status, problem)
        };
        assert_eq!(send(&path).await, send(missing).await, "{method}");
    }
    let batch = json!({"operations": [{"delete": "notes", "id": id}]});
    assert_eq!(lee.post("/api/v1:batch", batch).await.status, 404);
    for at in 0..3 {
        kim.create("notes", json!({"title": format!("n{at}")})).await;
    }
    let page = kim.get("/api/v1/notes?page_size=2").await.expect(200).json();
    let token = page["next_page_token"].as_str().unwrap();
    assert_eq!(lee.get(&format!("/api/v1/notes?page_size=2&page_token={token}")).await.expect(400).problem(), "invalid-page-token");
    kim.get(&format!("/api/v1/notes?page_size=2&page_token={token}")).await.expect(200);
    for header in ["x-http-method-override", "x-method-override", "x-original-url", "x-rewrite-url"] {
        let value = if header.contains("url") { missing } else { "DELETE" };
        kim.send("GET", &path, &[(header, value)], Vec::new()).await.expect(200);
    }
    for odd in [format!("{path}?_method=DELETE"), format!("{path}?fields=title&fields=secret"), format!("{path}?__proto__[x]=1")] {
        kim.get(&odd).await.expect(400);
    }
    let reply = kim.post("/api/v1/notes", json!({"title": "t", "__proto__": {"rank": 5}, "constructor": {}})).await;
    assert_eq!(reply.status, 422, "{}", reply.text());
    kim.get(&path).await.expect(200);
    app.finish().await;
}

/// DOS-11, LOG-02, ERR-06 [V2.4.1 V16.4.1 V13.4.5]: addresses within one /64 count as one client; what strangers send makes
/// no new series; what is measured is not for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_make_no_room_for_themselves() {
    let files = with_more(FILES, &[("haechi.toml", "[limits]\nanonymous_per_minute = 60")]);
    let app = TestApp::start(Backend::Sqlite, &files).await;
    let series = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    // Routes and statuses are few; after the first hundred requests all of them were met.
    app.anonymous().from_address("2001:db8:0:2::1").get("/api/v1/posts").await.expect(200);
    let (mut before, mut refused) = (0, 0);
    for at in 0..200 {
        if at == 100 {
            before = series(&app.house.metrics.text(&app.house.gate.signs(), true));
        }
        let stranger = app.anonymous().from_address(&format!("2001:db8:0:1::{at:x}"));
        let path = format!("/api/v1/{}{at}/x", if at % 2 == 0 { "Notes" } else { "no" });
        let agent = format!("agent {at}");
        let reply = stranger.send("GET", &path, &[("user-agent", &agent), ("x-forwarded-for", "198.51.100.7")], Vec::new()).await;
        refused += usize::from(reply.status == 429);
    }
    assert!((135..=145).contains(&refused), "{refused} of 200 were refused");
    app.anonymous().from_address("2001:db8:0:2::1").get("/api/v1/posts").await.expect(200);
    assert_eq!(series(&app.house.metrics.text(&app.house.gate.signs(), true)), before, "what strangers send makes series");
    for path in ["/metrics", "/debug/pprof", "/api/v1/_log", "/.env", "/actuator/health"] {
        let reply = app.anonymous().from_address("192.0.2.77").get(path).await;
        assert!(matches!(reply.status, 401 | 404), "{path}: {}", reply.status);
    }
    app.finish().await;
}

/// OPS-01, ERR-04 [V13.2.3 V13.4.2]: `serve` does not start with what is not safe, and says what mends it.
#[tokio::test]
async fn what_is_not_safe_does_not_start() {
    use std::os::unix::fs::PermissionsExt;
    let root = haechi_testkit::fresh_folder(Backend::Sqlite, FILES).await;
    let toml = std::fs::read_to_string(root.join("haechi.toml")).unwrap();
    let key = root.join("key");
    std::fs::write(&key, "feedface".repeat(8)).unwrap();
    let serve = |more: &str, environment: &[(&str, &str)]| {
        std::fs::write(root.join("haechi.toml"), format!("{more}\n{toml}")).unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_haechi"));
        let output = command.arg("serve").arg(&root).envs(environment.iter().copied()).output().unwrap();
        assert!(!output.status.success(), "{more} is served");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = serve("", &[]);
    assert!(said.contains("public_url") && said.contains("haechi secret"), "{said}");
    let file = format!("master_key = {{ file = \"{}\" }}", key.display());
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(serve(&file, &[]).contains("chmod 600"));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(!serve(&file, &[]).contains("chmod 600"), "the honest twin");
    assert!(serve("master_key = { env = \"NOT_SET_ANYWHERE\" }", &[]).contains("NOT_SET_ANYWHERE"));
    assert!(serve("master_key = { env = \"SHORT\" }", &[("SHORT", "secret")]).contains("64 hex digits"));
    let said = serve("master_key = \"secret\"", &[]);
    assert!(said.contains("literal") && !said.contains("feedface"), "a literal is refused with the folder: {said}");
    let open = [("HAECHI__SERVER__LISTEN", "0.0.0.0:1"), ("HAECHI__DATABASE__URL", "postgres://db.example/x?sslmode=disable")];
    let said = serve(&file, &open);
    assert!(said.contains("there is no TLS") && said.contains("verif"), "{said}");
    std::fs::remove_dir_all(root).unwrap();
}
