//! Clients that are not ours: a browser that looks at the example page, and Python with a generated gRPC client.

use crate::{live, network};
use futures_util::{SinkExt, StreamExt};
use haechi_testkit::{Backend, TestApp};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

/// A browser without a window, spoken to by its own protocol; it ends with this.
pub(crate) struct Browser {
    _process: Child,
    profile: PathBuf,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: String,
    number: u64,
}

impl Browser {
    pub(crate) async fn open(address: &str) -> Self {
        let profile = std::env::temp_dir().join(format!("haechi-browser-{}-{:?}", std::process::id(), std::thread::current().id()));
        let mut process = Command::new("chromium")
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--lang=en-GB", "--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank")
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|_| panic!("chromium is needed: run the tests with `cargo xtask test`"));
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address_of_tools = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if let Some(found) = line.strip_prefix("DevTools listening on ") {
                    return found.to_owned();
                }
            }
            panic!("the browser did not start")
        };
        let tools = tokio::time::timeout(Duration::from_secs(30), address_of_tools).await.unwrap();
        // What it goes on saying is read away.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let (socket, _) = connect_async(tools).await.unwrap();
        let mut browser = Self { _process: process, profile, socket, session: String::new(), number: 0 };
        let target = browser.call("Target.createTarget", json!({ "url": address })).await["targetId"].clone();
        let attached = browser.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true })).await;
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        // Nothing can be asked of a page before it is there.
        tokio::time::sleep(Duration::from_secs(1)).await;
        browser
    }

    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Value {
        self.number += 1;
        let mut message = json!({ "id": self.number, "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.socket.send(Message::text(message.to_string())).await.unwrap();
        loop {
            let Some(Ok(Message::Text(text))) = self.socket.next().await else { continue };
            let answer: Value = serde_json::from_str(&text).unwrap();
            if answer["id"] == self.number {
                assert_eq!(answer.get("error"), None, "{method}");
                return answer["result"].clone();
            }
        }
    }

    pub(crate) async fn evaluate(&mut self, expression: &str) -> Value {
        let found = self.call("Runtime.evaluate", json!({ "expression": expression, "returnByValue": true, "awaitPromise": true })).await;
        assert_eq!(found.get("exceptionDetails"), None, "{expression}");
        found["result"]["value"].clone()
    }

    /// Waits until an expression has a value.
    pub(crate) async fn until(&mut self, expression: &str, expected: &Value) {
        let mut found = Value::Null;
        for _ in 0..100 {
            found = self.evaluate(expression).await;
            if found == *expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{expression} is {found}, not {expected}");
    }

    /// A picture of the page, for people who want to look at it.
    pub(crate) async fn picture(&mut self, name: &str) {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let taken = self.call("Page.captureScreenshot", json!({ "format": "png" })).await;
        let bytes = STANDARD.decode(taken["data"].as_str().unwrap()).unwrap();
        assert!(bytes.len() > 5_000, "the page is empty");
        std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name), bytes).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

/// Serves the example page as any server of files does.
async fn page(listener: TcpListener) {
    let page = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/live/index.html")).unwrap();
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut head = [0; 4096];
        let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut head).await;
        let start =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", page.len());
        let _ = stream.write_all(&[start.as_bytes(), &page].concat()).await;
    }
}

/// The page of `examples/live` shows what happens, as text, and says when it ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_shows_live_changes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(page(listener));
    let app = TestApp::start(Backend::Sqlite, &live::files(&format!("[server]\ncors_origins = [\"{origin}\"]\n"))).await;
    let kim = app.person("kim", &["member"]).await;
    let first = kim.create("notes", json!({ "title": "<b>first</b>", "secret": "s3cret" })).await;
    let server = network::run(&app, None, 2_000).await;
    let mut browser = Browser::open(&origin).await;
    browser.until("document.querySelector('button')?.textContent", &json!("Watch")).await;
    let fill = format!(
        "form.server.value = 'http://{}'; form.collection.value = 'notes'; form.token.value = '{}'; form.requestSubmit(); true",
        server.address,
        kim.token.clone().unwrap()
    );
    browser.evaluate(&format!("(() => {{ const form = document.getElementById('form'); {fill} }})()")).await;
    browser.until("document.getElementById('state').dataset.state", &json!("live")).await;
    let cells = |title: &str| format!("[...document.querySelectorAll('#rows td')].some((cell) => cell.textContent === '{title}')");
    browser.until(&cells("<b>first</b>"), &json!(true)).await;
    let second = kim.create("notes", json!({ "title": "second" })).await;
    browser.until(&cells("second"), &json!(true)).await;
    browser.picture("live.png").await;
    kim.patch(&format!("/api/v1/notes/{second}"), json!({ "title": "changed" })).await.expect(200);
    browser.until(&cells("changed"), &json!(true)).await;
    browser.until("document.querySelectorAll('#rows tr').length", &json!(2)).await;
    kim.delete(&format!("/api/v1/notes/{first}")).await.expect(204);
    browser.until("document.querySelectorAll('#rows tr').length", &json!(1)).await;
    assert_eq!(browser.evaluate("document.querySelectorAll('#rows b').length").await, json!(0), "what a record holds is no markup");
    assert_eq!(browser.evaluate("document.body.textContent.includes('s3cret')").await, json!(false));
    app.house.identity.operator("root").set_disabled(&kim.id, true).await.unwrap();
    browser.until("document.getElementById('state').textContent", &json!("Ended: signed_out")).await;
    drop(browser);
    serving.abort();
    server.end().await;
    app.finish().await;
}

/// What a client of gRPC-Web sends and reads in a browser: a preflight for its headers, a message in a frame, the status in the trailers'
/// frame, or in the headers of a reply without a message.
const GRPC_WEB: &str = r#"
window.ask = async (server, method, token, message) => {
  const frame = new Uint8Array(5 + message.length);
  new DataView(frame.buffer).setUint32(1, message.length);
  frame.set(message, 5);
  const reply = await fetch(`${server}/haechi.v1.Notes/${method}`, { method: "POST", body: frame, headers: {
    "content-type": "application/grpc-web+proto", "x-grpc-web": "1", "x-user-agent": "grpc-web-javascript/0.1", "grpc-timeout": "5S",
    authorization: `Bearer ${token}` } });
  const bytes = new Uint8Array(await reply.arrayBuffer());
  let [at, messages, trailers] = [0, 0, ""];
  while (at < bytes.length) {
    const length = new DataView(bytes.buffer, at + 1).getUint32(0);
    if (bytes[at] & 0x80) trailers = new TextDecoder().decode(bytes.slice(at + 5, at + 5 + length)); else messages++;
    at += 5 + length;
  }
  const status = reply.headers.get("grpc-status") ?? /grpc-status: ?(\d+)/i.exec(trailers)?.[1];
  return [messages, status, Boolean(reply.headers.get("ratelimit"))];
};
true
"#;

/// gRPC-Web from a declared origin: a browser lets the page send its headers and read the status.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_speaks_grpc_web() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(page(listener));
    let app = TestApp::start(Backend::Sqlite, &live::files(&format!("[server]\ncors_origins = [\"{origin}\"]\n"))).await;
    let kim = app.person("kim", &["member"]).await;
    let note = kim.create("notes", json!({ "title": "one" })).await;
    let server = network::run(&app, None, 2_000).await;
    let mut browser = Browser::open(&origin).await;
    browser.evaluate(GRPC_WEB).await;
    let (address, token) = (format!("http://{}", server.address), kim.token.clone().unwrap());
    let ask = |method: &str, id: &str| {
        // The field `id` is the first; a request without fields is empty.
        let message = if id.is_empty() { "[]".to_owned() } else { format!("[10, {}, ...new TextEncoder().encode('{id}')]", id.len()) };
        format!("ask('{address}', '{method}', '{token}', new Uint8Array({message}))")
    };
    assert_eq!(browser.evaluate(&ask("ListNotes", "")).await, json!([1, "0", true]));
    assert_eq!(browser.evaluate(&ask("GetNote", &note)).await, json!([1, "0", true]));
    // NOT_FOUND, in a reply without a message.
    assert_eq!(browser.evaluate(&ask("GetNote", "01920000-0000-7000-8000-0000000000ff")).await, json!([0, "5", true]));
    drop(browser);
    serving.abort();
    server.end().await;
    app.finish().await;
}

/// nginx before a server that comes and goes; it ends with this.
pub(crate) struct Nginx {
    folder: PathBuf,
    pub(crate) address: String,
    process: Option<Child>,
}

impl Nginx {
    pub(crate) fn new() -> Self {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let folder = std::env::temp_dir().join(format!("haechi-nginx-{}-{}", std::process::id(), address.replace(':', "-")));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        Self { folder, address, process: None }
    }

    /// Starts it, or starts it anew, before this server.
    pub(crate) async fn before(&mut self, upstream: &str) {
        self.stop().await;
        // What docs/running.md says of a proxy before streams.
        let configured = format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr crit;\nevents {{}}\nhttp {{ access_log off; server {{ listen {}; \
             location = /page {{ default_type text/html; return 200 '<title>page</title>'; }} location / {{ \
             proxy_pass http://{upstream}; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_buffering off; proxy_read_timeout 1h; }} }} }}\n",
            self.address
        );
        std::fs::write(self.folder.join("nginx.conf"), configured).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&self.folder).args(["-c", "nginx.conf"]).kill_on_drop(true);
        self.process = Some(command.spawn().unwrap_or_else(|_| panic!("nginx is needed: run the tests with `cargo xtask test`")));
        for _ in 0..200 {
            if TcpStream::connect(&self.address).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("nginx does not start");
    }

    pub(crate) async fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().await.unwrap();
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The script of docs/live.md goes on after the server was away behind nginx, which answers 502 meanwhile, and after nginx was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_source_goes_on_behind_nginx() {
    let document = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/live.md")).unwrap();
    let (_, script) = document.split_once("```js\nfunction open() {").unwrap();
    let script = format!("function open() {{{}", script.split("```").next().unwrap()).replace("/api/v1/patients:watch", "/api/v1/posts:watch");
    let app = TestApp::start(Backend::Sqlite, &live::files("")).await;
    let kim = app.person("kim", &["admin"]).await;
    let post = kim.create("posts", json!({ "title": "one", "published": true })).await;
    let mut nginx = Nginx::new();
    let server = network::run(&app, None, 2_000).await;
    nginx.before(&server.address.to_string()).await;
    let mut browser = Browser::open(&format!("http://{}/page", nginx.address)).await;
    let given = format!(
        "window.ready = 0; window.titles = []; window.readTheListAgain = () => window.ready++; window.show = (told) => window.titles.push((told.record ?? told).title); {script} true"
    );
    browser.evaluate(&given).await;
    browser.until("window.ready", &json!(1)).await;
    kim.patch(&format!("/api/v1/posts/{post}"), json!({ "title": "two" })).await.expect(200);
    browser.until("window.titles.at(-1)", &json!("two")).await;

    // The server goes: the stream ends, and what opens it again is answered with 502 by nginx.
    server.end().await;
    browser.until("fetch('/api/v1/posts:watch').then((reply) => reply.status)", &json!(502)).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let server = network::run(&app, None, 2_000).await;
    nginx.before(&server.address.to_string()).await;
    browser.until("window.ready >= 2", &json!(true)).await;
    kim.patch(&format!("/api/v1/posts/{post}"), json!({ "title": "three" })).await.expect(200);
    browser.until("window.titles.at(-1)", &json!("three")).await;

    // nginx goes, and comes back.
    nginx.stop().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    nginx.before(&server.address.to_string()).await;
    browser.until("window.ready >= 3", &json!(true)).await;
    kim.patch(&format!("/api/v1/posts/{post}"), json!({ "title": "four" })).await.expect(200);
    browser.until("window.titles.at(-1)", &json!("four")).await;
    drop(browser);
    server.end().await;
    app.finish().await;
}

const PYTHON: &str = r#"
import sys
sys.path.insert(0, sys.argv[3])
import grpc, app_pb2 as pb, app_pb2_grpc as stubs
from google.protobuf.field_mask_pb2 import FieldMask
auth = [("authorization", "Bearer " + sys.argv[2])]
things = stubs.ThingsStub(grpc.insecure_channel(sys.argv[1]))
stream = things.WatchThings(pb.WatchThingsRequest(filter='text != "quiet"'), metadata=auth, timeout=20)
assert next(stream).type == pb.CHANGE_TYPE_READY
made = things.CreateThing(pb.CreateThingRequest(thing=pb.Thing(text="é", small=-5, price="1.50", tags=["a"], flag=True)), metadata=auth)
assert (made.text, made.small, made.price, list(made.tags), made.flag, made.version) == ("é", -5, "1.50", ["a"], True, 1), made
assert not made.HasField("ratio") and made.HasField("flag")
change = next(stream)
assert (change.type, change.id, change.thing.text) == (pb.CHANGE_TYPE_CREATE, made.id, "é"), change
changed = things.UpdateThing(pb.UpdateThingRequest(thing=pb.Thing(id=made.id, small=0), update_mask=FieldMask(paths=["small", "price"])), metadata=auth)
assert changed.small == 0 and changed.HasField("small") and not changed.HasField("price"), changed
page = things.ListThings(pb.ListThingsRequest(page_size=1, filter="small = 0"), metadata=auth)
assert [thing.id for thing in page.things] == [made.id] and page.next_page_token == "", page
def code(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code()
assert code(lambda: things.CreateThing(pb.CreateThingRequest(thing=pb.Thing(kind="z")), metadata=auth)) == grpc.StatusCode.INVALID_ARGUMENT
assert code(lambda: things.ListThings(pb.ListThingsRequest())) == grpc.StatusCode.UNAUTHENTICATED
assert code(lambda: things.GetThing(pb.GetThingRequest(id="x"), metadata=auth)) == grpc.StatusCode.NOT_FOUND
things.DeleteThing(pb.DeleteThingRequest(id=made.id), metadata=auth)
assert [next(stream).type for _ in range(2)] == [pb.CHANGE_TYPE_UPDATE, pb.CHANGE_TYPE_DELETE]
print("done")
"#;

/// The client that protoc makes of the printed services.
pub(crate) async fn python_stubs(app: &TestApp, folder: &Path) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("app.proto"), haechi_grpc::proto_file(&app.house.gate.revision().app)).unwrap();
    let which = Command::new("which").arg("grpc_python_plugin").output().await.unwrap();
    let plugin = String::from_utf8(which.stdout).unwrap().trim().to_owned();
    assert!(!plugin.is_empty(), "protobuf-compiler-grpc is needed: run the tests with `cargo xtask test`");
    let mut protoc = Command::new("protoc");
    protoc
        .current_dir(folder)
        .args(["--python_out=.", "--grpc_python_out=."])
        .arg(format!("--plugin=protoc-gen-grpc_python={plugin}"))
        .arg("app.proto");
    let made = protoc.output().await.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    folder.to_owned()
}

/// The printed `.proto` compiles with protoc, and a client that was generated from it works over HTTP/2.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generated_python_client_works() {
    let app = live::start(Backend::Sqlite).await;
    let kim = app.person("kim", &["member"]).await;
    let server = network::run(&app, None, 2_000).await;
    let folder = python_stubs(&app, &app.root.join("python")).await;
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", PYTHON, &server.address.to_string(), &kim.token.clone().unwrap()]).arg(&folder).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(60), python.output()).await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "done", "{}", String::from_utf8_lossy(&output.stderr));
    server.end().await;
    app.finish().await;
}
