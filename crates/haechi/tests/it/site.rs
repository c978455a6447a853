//! A place for pages: what is served, what never is, and files that change meanwhile.

use crate::{fixture::FILES, network};
use haechi::{Mode, http::routes::stack};
use haechi_testkit::{Backend, Person, TestApp, with_more};
use serde_json::json;
use std::{
    io::{Read, Seek, Write},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const SITE: &str = "[site]\nfolder = \"web\"\nfallback = \"index.html\"\n";
const HTML: &[(&str, &str)] = &[("accept", "text/html,application/xhtml+xml,*/*;q=0.8")];

fn folder(more: &str) -> Vec<(&'static str, String)> {
    let mut files = with_more(FILES, &[("haechi.toml", &format!("{SITE}{more}"))]);
    files.extend([
        ("web/index.html", "<!doctype html><title>home</title>".to_owned()),
        ("web/docs/index.html", "<!doctype html><title>docs</title>".to_owned()),
        ("web/app.js", "export const answer = 42;\n".repeat(100)),
        ("web/assets/app.3f9a1c2b.js", "export {};".to_owned()),
        ("web/한국어 글.txt", "안녕하세요".to_owned()),
        ("web/.env", "SECRET=1".to_owned()),
        ("web/.git/config", "[core]".to_owned()),
    ]);
    files
}

/// As `serve` does it, by somebody without a credential.
fn visitor(app: &TestApp) -> Person {
    Person::at(Arc::new(stack(&app.house, Mode::Serve)), &app.anonymous())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_served_with_what_browsers_need() {
    let app = TestApp::start(Backend::Sqlite, &folder("")).await;
    let visitor = visitor(&app);
    let get = async |path: &str, headers: &[(&str, &str)]| visitor.send("GET", path, headers, Vec::new()).await;
    let home = get("/", HTML).await.expect(200);
    assert_eq!(home.text(), "<!doctype html><title>home</title>", "`serve` adds nothing");
    assert_eq!(home.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(
        home.header("content-security-policy"),
        "default-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    );
    assert_eq!((home.header("x-content-type-options"), home.header("cache-control")), ("nosniff", "no-cache"));
    assert_eq!(get("/index.html", &[]).await.header("etag"), home.header("etag"));
    // Who has it already gets nothing.
    let tag = home.header("etag").to_owned();
    let known = get("/", &[("if-none-match", &tag)]).await.expect(304);
    assert!(known.text().is_empty() && known.header("etag") == tag && known.header("cache-control") == "no-cache");
    // A name with a hash is kept for good, its content told by its name.
    assert_eq!(get("/assets/app.3f9a1c2b.js", &[]).await.expect(200).header("cache-control"), "public, max-age=31536000, immutable");
    // Compressed for those who take it; each form has its tag.
    let plain = get("/app.js", &[]).await.expect(200);
    let packed = get("/app.js", &[("accept-encoding", "gzip, br"), ("cookie", "a=b")]).await.expect(200);
    assert_eq!((packed.header("content-encoding"), plain.header("content-encoding")), ("gzip", ""));
    assert!(packed.bytes.len() < 200 && plain.bytes.len() == 2600 && packed.header("etag") != plain.header("etag"));
    assert_eq!((plain.header("vary"), packed.header("vary")), ("accept-encoding", "accept-encoding"));
    let packed_tag = packed.header("etag").to_owned();
    get("/app.js", &[("accept-encoding", "gzip"), ("if-none-match", &packed_tag)]).await.expect(304);
    get("/app.js", &[("if-none-match", &packed_tag)]).await.expect(200);
    // HEAD, and parts.
    let head = visitor.send("HEAD", "/app.js", &[], Vec::new()).await.expect(200);
    assert!(head.bytes.is_empty() && head.header("content-length") == "2600");
    visitor.send("HEAD", "/app.js", &[("range", "bytes=0-4")], Vec::new()).await.expect(200);
    let part = get("/app.js", &[("range", "bytes=7-11"), ("accept-encoding", "gzip")]).await.expect(206);
    assert_eq!((part.text().as_str(), part.header("content-range")), ("const", "bytes 7-11/2600"));
    assert_eq!(get("/app.js", &[("range", "bytes=2600-")]).await.expect(416).header("content-range"), "bytes */2600");
    assert_eq!(get("/%ED%95%9C%EA%B5%AD%EC%96%B4%20%EA%B8%80.txt", &[]).await.expect(200).text(), "안녕하세요");
    // A folder's page stands below its slash; the query goes along.
    assert_eq!(get("/docs?a=%2F%2Fb", HTML).await.expect(308).header("location"), "/docs/?a=%2F%2Fb");
    assert!(get("/docs/", HTML).await.expect(200).text().contains("docs"));
    // Nothing but reading.
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        visitor.send(method, "/app.js", &[], Vec::new()).await.expect(404);
    }
    // A browser whose session has ended still gets the page on which one signs in, and its API says 401.
    let ended = [("cookie", "__Host-haechi_session=haechi_s_0000000000000000000000000000000000000000000")];
    get("/", &ended).await.expect(200);
    get("/projects/7", &[HTML[0], ended[0]]).await.expect(200);
    get("/api/v1/posts", &ended).await.expect(401);
    assert!(app.house.metrics.text(&app.house.gate.signs(), true).contains("route=\"site\""));
    app.finish().await;
}

/// [V5.3.2 V13.4.1 V13.4.7] only files below the folder that are not hidden, by whatever way they are asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_outside_of_the_folder_is_served() {
    let app = TestApp::start(Backend::Sqlite, &folder("")).await;
    let web = app.root.join("web");
    std::fs::create_dir_all(app.root.join("outside")).unwrap();
    std::fs::write(app.root.join("outside/secret.txt"), "secret").unwrap();
    std::os::unix::fs::symlink(app.root.join("outside/secret.txt"), web.join("link.txt")).unwrap();
    std::os::unix::fs::symlink(app.root.join("outside"), web.join("linked")).unwrap();
    std::os::unix::fs::symlink("link.txt", web.join("twice.txt")).unwrap();
    std::os::unix::fs::symlink("app.js", web.join("within.js")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(web.join("pipe.txt")).status().unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(web.join("socket.txt")).unwrap();
    let visitor = visitor(&app);
    for path in [
        "/link.txt",
        "/linked/secret.txt",
        "/linked/",
        "/linked",
        "/twice.txt",
        "/within.js",
        "/pipe.txt",
        "/socket.txt",
        "/../haechi.toml",
        "/..%2fhaechi.toml",
        "/%2e%2e/haechi.toml",
        "/docs/../../haechi.toml",
        "/..%5chaechi.toml",
        "/docs/..%2f..%2fhaechi.toml",
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/docs/.%2e/.env",
        "/app.js/x",
        "/app.js/",
        "//app.js",
        "/app.js%00",
        "/nothing.js",
        "/%ff.js",
        "/docs%2findex.html",
        "/haechi.toml",
        "/policies/main.cedar",
        "/.haechi/haechi.db",
    ] {
        let reply = visitor.send("GET", path, &[("accept", "*/*")], Vec::new()).await;
        assert_eq!(reply.status, 404, "{path}: {}", reply.text());
        assert!(!reply.text().contains("secret") && !reply.text().contains("roles"), "{path}");
        // The page for unknown paths is no way around it either.
        let page = visitor.send("GET", path, HTML, Vec::new()).await;
        assert!(page.status == 404 || page.text().contains("<title>home"), "{path}: {}", page.text());
    }
    // Its honest twin: the folder itself may be a link, which deploys switch.
    std::fs::rename(&web, app.root.join("release-1")).unwrap();
    std::os::unix::fs::symlink("release-1", &web).unwrap();
    visitor.send("GET", "/docs/", HTML, Vec::new()).await.expect(200);
    app.finish().await;
}

/// Haechi's own paths are never answered with a page, and no file takes their place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haechis_own_paths_win() {
    let app = TestApp::start(Backend::Sqlite, &folder("")).await;
    let visitor = visitor(&app);
    for path in ["/anything", "/projects/7/tasks", "/index", "/apis"] {
        assert!(visitor.send("GET", path, HTML, Vec::new()).await.expect(200).text().contains("home"), "{path}");
        visitor.send("GET", path, &[("accept", "*/*")], Vec::new()).await.expect(404);
    }
    let mut routes: Vec<String> = haechi_data::openapi::routes(&app.house.gate.revision().app).into_iter().map(|(_, path, _)| path).collect();
    routes.extend(haechi_identity::routes().into_iter().map(|(_, path, _)| path.to_owned()));
    routes.extend(haechi_grpc::routes(&app.house.gate.revision().app).into_iter().map(|(_, path, _)| path));
    routes.extend(["/graphql", "/setup", "/setup/page.js", "/healthz", "/readyz", "/openapi.json", "/problems/x", "/metrics"].map(str::to_owned));
    routes
        .extend(["/jobs/v1/x", "/hooks/v1/x", "/files/x", "/sign-in", "/account", "/console", "/dev/x", "/.well-known/x", "/mcp"].map(str::to_owned));
    for route in routes {
        for path in [route.clone(), format!("{route}/nothing"), format!("/%{:02x}{}", route.as_bytes()[1], &route[2..])] {
            let reply = visitor.send("GET", &path.replace(['{', '}'], ""), HTML, Vec::new()).await;
            assert!(!reply.text().contains("<title>home"), "{path} is answered with a page");
        }
    }
    let root = app.close().await;
    for (name, is_folder) in [("api", true), ("openapi.json", false), ("haechi.v1.Notes", true), (".well-known", true), ("console", false)] {
        let at = root.join("web").join(name);
        if is_folder {
            std::fs::create_dir(&at).unwrap()
        } else {
            std::fs::write(&at, "x").unwrap()
        }
        let checked = crate::process::haechi(&root, &["check"]);
        let said = String::from_utf8_lossy(&checked.stderr);
        assert!(!checked.status.success() && said.contains(&format!("/{name} is Haechi's own path")), "{said}");
        if is_folder { std::fs::remove_dir(&at).unwrap() } else { std::fs::remove_file(&at).unwrap() }
    }
    assert!(crate::process::haechi(&root, &["check"]).status.success());
    // What nobody else may read does not stand among the pages, and a page that is a link would never be served.
    let toml = std::fs::read_to_string(root.join("haechi.toml")).unwrap();
    std::fs::write(root.join("haechi.toml"), format!("master_key = {{ file = \"{}\" }}\n{toml}", root.join("web/keys/master").display())).unwrap();
    let said = crate::process::haechi(&root, &["check"]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("which everybody would be served"));
    std::fs::write(root.join("haechi.toml"), &toml).unwrap();
    let mut dev = std::process::Command::new(env!("CARGO_BIN_EXE_haechi"));
    let said = dev.args(["dev", "--listen", "127.0.0.1:0", "--data"]).arg(root.join("web/data")).arg(&root).output().unwrap();
    assert!(!said.status.success() && String::from_utf8_lossy(&said.stderr).contains("below the folder that [site] serves"), "{said:?}");
    std::fs::remove_dir_all(root.join("web/data")).unwrap();
    std::fs::rename(root.join("web/index.html"), root.join("web/home.html")).unwrap();
    std::os::unix::fs::symlink("home.html", root.join("web/index.html")).unwrap();
    assert!(String::from_utf8_lossy(&crate::process::haechi(&root, &["check"]).stderr).contains("links are not followed"));
    std::fs::remove_file(root.join("web/index.html")).unwrap();
    let said = crate::process::haechi(&root, &["check"]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("fallback is `index.html`, and web/ has no such file"));
    std::fs::remove_dir_all(root.join("web")).unwrap();
    let said = crate::process::haechi(&root, &["check"]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("names the folder `web`, and there is none"));
    std::fs::remove_dir_all(root).unwrap();
}

/// Files that change while they are served, and one of two gigabytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_may_change_and_be_large() {
    let app = TestApp::start(Backend::Sqlite, &folder("")).await;
    let web = app.root.join("web");
    let served = Arc::new(stack(&app.house, Mode::Serve));
    let visitor = Person::at(served.clone(), &app.anonymous());
    let get = async |path: &str| visitor.send("GET", path, &[], Vec::new()).await;
    let before = get("/app.js").await.expect(200);
    std::fs::write(web.join("app.js"), "changed").unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let after = get("/app.js").await.expect(200);
    assert_eq!(after.text(), "changed");
    assert_ne!(after.header("etag"), before.header("etag"));
    std::fs::remove_file(web.join("app.js")).unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    get("/app.js").await.expect(404);
    std::fs::write(web.join("app.js"), "again").unwrap();
    assert_eq!(get("/app.js").await.expect(200).text(), "again", "what was missing is not remembered");

    // Another content of the same length and the same declared time, in the same place, is another file.
    let at = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for (name, bytes) in [("same.js", 20), ("same.bin", 2 << 20)] {
        let write = |byte: u8| {
            std::fs::write(web.join(name), vec![byte; bytes]).unwrap();
            std::fs::File::options().write(true).open(web.join(name)).unwrap().set_modified(at).unwrap();
        };
        write(b'a');
        let first = get(&format!("/{name}")).await.expect(200);
        write(b'b');
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let tag = first.header("etag").to_owned();
        let known = visitor.send("GET", &format!("/{name}"), &[("if-none-match", &tag)], Vec::new()).await.expect(200);
        assert!(known.bytes.starts_with(b"b") && known.header("etag") != tag, "{name}");
        let part = visitor.send("GET", &format!("/{name}"), &[("range", "bytes=0-1"), ("if-range", &tag)], Vec::new()).await;
        assert_eq!(part.status, 200, "{name}: a part of another file is no part");
    }
    // A large page is a page, also as that of its folder, and a folder's name tells nothing of it.
    std::fs::create_dir_all(web.join("app.3f9a1c2b.js")).unwrap();
    std::fs::write(web.join("app.3f9a1c2b.js/index.html"), format!("<title>large</title>{}", " ".repeat(2 << 20))).unwrap();
    let large = get("/app.3f9a1c2b.js/").await.expect(200);
    assert_eq!((large.header("content-type"), large.header("cache-control")), ("text/html; charset=utf-8", "no-cache"));

    // Two gigabytes, of which the disk holds almost nothing.
    let mut film = std::fs::File::create(web.join("film.mp4")).unwrap();
    film.set_len(2 << 30).unwrap();
    film.seek(std::io::SeekFrom::Start((2 << 30) - 3)).unwrap();
    film.write_all(b"end").unwrap();
    let head = visitor.send("HEAD", "/film.mp4", &[], Vec::new()).await.expect(200);
    assert_eq!(head.header("content-length"), "2147483648");
    let tag = head.header("etag").to_owned();
    let end = visitor.send("GET", "/film.mp4", &[("range", "bytes=-3"), ("if-range", &tag)], Vec::new()).await.expect(206);
    assert_eq!((end.text().as_str(), end.header("content-range")), ("end", "bytes 2147483645-2147483647/2147483648"));
    visitor.send("GET", "/film.mp4", &[("if-none-match", &tag)], Vec::new()).await.expect(304);

    // One that is written over in the middle of its way breaks off: nobody takes a mixture for the file.
    let server = network::run_stack(served, None, 2_000).await;
    std::fs::write(web.join("long.bin"), vec![b'a'; 40 << 20]).unwrap();
    let ask = async |change: bool| {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET /long.bin HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut first = vec![0; 1 << 16];
        stream.read_exact(&mut first).await.unwrap();
        if change {
            let mut long = std::fs::OpenOptions::new().write(true).open(web.join("long.bin")).unwrap();
            long.seek(std::io::SeekFrom::Start(30 << 20)).unwrap();
            long.write_all(&vec![b'b'; 10 << 20]).unwrap();
        }
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        let head = String::from_utf8_lossy(&first).split("\r\n\r\n").next().unwrap().len() + 4;
        assert!(String::from_utf8_lossy(&first).contains("content-length: 41943040"));
        first.len() - head + rest.len()
    };
    assert_eq!(ask(false).await, 40 << 20);
    assert!(ask(true).await < 40 << 20);
    server.end().await;
    app.finish().await;
}

/// A fallback page with a hash in its name is asked for again: the path that was asked for has none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fallback_is_never_kept_for_good() {
    let mut files = folder("");
    files[0].1 = files[0].1.replace("fallback = \"index.html\"", "fallback = \"index.3f9a1c2b.html\"");
    files.push(("web/index.3f9a1c2b.html", "<title>app</title>".to_owned()));
    let app = TestApp::start(Backend::Sqlite, &files).await;
    let visitor = visitor(&app);
    assert_eq!(visitor.send("GET", "/somewhere", HTML, Vec::new()).await.expect(200).header("cache-control"), "no-cache");
    assert!(visitor.send("GET", "/index.3f9a1c2b.html", HTML, Vec::new()).await.expect(200).header("cache-control").contains("immutable"));
    app.finish().await;
}

/// Pages have a rate of their own: those who load many do not lose the API, and a flood of them is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_have_a_rate_of_their_own() {
    let app = TestApp::start(Backend::Sqlite, &folder("[limits]\nsite_per_minute = 5\nanonymous_per_minute = 5\n")).await;
    let visitor = visitor(&app);
    for _ in 0..5 {
        visitor.get("/").await.expect(200);
    }
    let refused = visitor.get("/").await.expect(429);
    assert!(refused.header("retry-after").parse::<u32>().is_ok());
    for _ in 0..5 {
        visitor.get("/api/v1/posts").await.expect(200);
    }
    visitor.get("/api/v1/posts").await.expect(429);
    app.finish().await;
}

/// The policy of the folder reaches the pages, and one that lets in scripts of others is warned of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_says_what_its_pages_may_load() {
    let own = "content_security_policy = \"img-src 'self' data:; script-src 'self' 'unsafe-inline'\"\ntrusted_types = true\n";
    let app = TestApp::start(Backend::Sqlite, &folder(own)).await;
    let policy = visitor(&app).get("/").await.expect(200).header("content-security-policy").to_owned();
    assert!(
        policy.contains("img-src 'self' data:") && policy.contains("frame-ancestors 'none'") && policy.contains("require-trusted-types-for 'script'")
    );
    assert!(app.house.warnings.list().iter().any(|warning| warning.code == "content-policy"));
    app.finish().await;
}

/// In `dev`, an open page is told when one of its files or the folder changes; elsewhere there is no such stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_reloads_itself_in_dev_alone() {
    let app = TestApp::start(Backend::Sqlite, &folder("")).await;
    let nobody = app.anonymous();
    assert!(nobody.get("/").await.expect(200).text().contains("<script src=\"/dev/reload.js\">"));
    let script = nobody.get("/dev/reload.js").await.expect(200);
    assert_eq!(script.header("content-type"), "text/javascript; charset=utf-8");
    let server = network::run(&app, None, 2_000).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /dev/reload HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut told = async |what: &str| {
        let mut text = String::new();
        let mut bytes = [0; 4096];
        while !text.contains("data: ") {
            let count = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut bytes)).await.expect(what).unwrap();
            assert!(count > 0, "{what}: the stream has ended");
            text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        text.split("data: ").nth(1).unwrap().lines().next().unwrap().to_owned()
    };
    let first = told("the first state").await;
    assert!(script.text().contains(&first), "the script knows the state that it was loaded in");
    std::fs::write(app.root.join("web/docs/new.html"), "<p>new").unwrap();
    let second = told("a new file").await;
    app.house.gate.replace(haechi::app::folder::load(&app.root).unwrap().0);
    let third = told("new policies").await;
    assert!(first != second && second != third);
    let visitor = visitor(&app);
    visitor.get("/dev/reload").await.expect(404);
    visitor.get("/dev/reload.js").await.expect(404);
    app.house.gate.close_streams();
    server.end().await;
    app.finish().await;
}

/// A program's own routes win over files, and a route for every path cannot stand beside pages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_of_a_program_win_over_files() {
    use axum::routing::get;
    let app = TestApp::start(Backend::Sqlite, &folder("")).await;
    let root = app.close().await;
    std::fs::write(root.join("web/hello"), "a file").unwrap();
    let everything = haechi::Haechi::open(&root).unwrap().development().public_route("/{any}", get(async || "any")).unwrap();
    assert!(matches!(everything.serve().await, Err(haechi::ServeError::BesideSite(_))));
    let address = format!("127.0.0.1:{}", std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
    let toml = std::fs::read_to_string(root.join("haechi.toml")).unwrap();
    std::fs::write(root.join("haechi.toml"), format!("{toml}\n[server]\nlisten = \"{address}\"\n")).unwrap();
    let own = haechi::Haechi::open(&root).unwrap().development().public_route("/hello", get(async || "the program")).unwrap();
    let served = tokio::spawn(own.serve());
    let ask = |path: &'static str| {
        let address = address.clone();
        tokio::task::spawn_blocking(move || {
            let mut stream = std::net::TcpStream::connect(address).ok()?;
            stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).ok()?;
            let mut reply = String::new();
            stream.read_to_string(&mut reply).ok()?;
            Some(reply)
        })
    };
    for _ in 0..500 {
        if ask("/healthz").await.unwrap().is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(ask("/hello").await.unwrap().unwrap().ends_with("the program"));
    assert!(ask("/docs/").await.unwrap().unwrap().contains("<title>docs"));
    served.abort();
    std::fs::remove_dir_all(root).unwrap();
}

/// Somebody who signs in on a page needs no other origin: the cookie's proof is that of the page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_and_the_api_are_one_origin() {
    let app = TestApp::start(Backend::Sqlite, &folder("[auth]\nsign_up = \"open\"\n")).await;
    let nobody = app.anonymous();
    let account = json!({"email": "kim@example.com", "password": "seven purple otters dance"});
    nobody.post("/auth/v1/sign-up", account.clone()).await.expect(202);
    let mut with_cookie = account;
    with_cookie["cookie"] = json!(true);
    let signed_in = nobody.post("/auth/v1/sign-in", with_cookie).await.expect(200);
    let cookie = signed_in.header("set-cookie").split(';').next().unwrap().to_owned();
    // A navigation from another site brings the cookie, and gets the page all the same.
    let crossing = [("cookie", cookie.as_str()), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), HTML[0]];
    nobody.send("GET", "/", &crossing, Vec::new()).await.expect(200);
    app.finish().await;
}
