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
struct Browser {
    _process: Child,
    profile: PathBuf,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: String,
    number: u64,
}

impl Browser {
    async fn open(address: &str) -> Self {
        let profile = std::env::temp_dir().join(format!("haechi-browser-{}", std::process::id()));
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
        browser
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
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

    async fn evaluate(&mut self, expression: &str) -> Value {
        let found = self.call("Runtime.evaluate", json!({ "expression": expression, "returnByValue": true, "awaitPromise": true })).await;
        assert_eq!(found.get("exceptionDetails"), None, "{expression}");
        found["result"]["value"].clone()
    }

    /// Waits until an expression has a value.
    async fn until(&mut self, expression: &str, expected: &Value) {
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

    /// A picture of the page, for whoever wants to look.
    async fn picture(&mut self, name: &str) {
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

/// The printed `.proto` compiles with protoc, and a client that was generated from it works over HTTP/2.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generated_python_client_works() {
    let app = live::start(Backend::Sqlite).await;
    let kim = app.person("kim", &["member"]).await;
    let server = network::run(&app, None, 2_000).await;
    let folder = app.root.join("python");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("app.proto"), haechi_grpc::proto_file(&app.house.gate.revision().app)).unwrap();
    let which = Command::new("which").arg("grpc_python_plugin").output().await.unwrap();
    let plugin = String::from_utf8(which.stdout).unwrap().trim().to_owned();
    assert!(!plugin.is_empty(), "protobuf-compiler-grpc is needed: run the tests with `cargo xtask test`");
    let mut protoc = Command::new("protoc");
    protoc
        .current_dir(&folder)
        .args(["--python_out=.", "--grpc_python_out=."])
        .arg(format!("--plugin=protoc-gen-grpc_python={plugin}"))
        .arg("app.proto");
    let made = protoc.output().await.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", PYTHON, &server.address.to_string(), &kim.token.clone().unwrap()]).arg(&folder).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(60), python.output()).await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "done", "{}", String::from_utf8_lossy(&output.stderr));
    server.end().await;
    app.finish().await;
}
