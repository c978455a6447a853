//! GraphQL subscriptions over a real WebSocket.

use crate::{live, network};
use futures_util::{SinkExt, StreamExt};
use haechi_testkit::{Backend, TestApp};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest, handshake::client::Response},
};

pub(crate) struct Client(WebSocketStream<TcpStream>);

/// Opens a connection with these headers; the response of the handshake when it is refused.
pub(crate) async fn connect(address: std::net::SocketAddr, headers: &[(&'static str, &str)]) -> Result<Client, Response> {
    let mut request = format!("ws://{address}/graphql").into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    match client_async(request, TcpStream::connect(address).await.unwrap()).await {
        Ok((socket, _)) => Ok(Client(socket)),
        Err(Error::Http(response)) => Err(*response),
        Err(other) => panic!("{other}"),
    }
}

pub(crate) const PROTOCOL: (&str, &str) = ("sec-websocket-protocol", "graphql-transport-ws");

impl Client {
    pub(crate) async fn say(&mut self, json: Value) {
        self.0.send(Message::text(json.to_string())).await.unwrap();
    }

    /// The next message, or the code with which the connection was closed.
    pub(crate) async fn hear(&mut self) -> Result<Value, u16> {
        loop {
            match tokio::time::timeout(Duration::from_secs(10), self.0.next()).await.unwrap() {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(Some(frame)))) => return Err(frame.code.into()),
                Some(Ok(Message::Close(None)) | Err(_)) | None => return Err(0),
                Some(Ok(_)) => {}
            }
        }
    }

    pub(crate) async fn begin(&mut self, token: Option<&str>) -> Result<Value, u16> {
        let payload = token.map(|token| json!({ "Authorization": format!("Bearer {token}") }));
        self.say(json!({ "type": "connection_init", "payload": payload })).await;
        self.hear().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_tell_and_end() {
    let app = live::start(Backend::Sqlite).await;
    let kim = app.person("kim", &["member"]).await;
    let server = network::run(&app, None, 2_000).await;
    let mut client = connect(server.address, &[PROTOCOL]).await.unwrap();
    assert_eq!(client.begin(kim.token.as_deref()).await, Ok(json!({ "type": "connection_ack" })));
    client.say(json!({ "type": "ping" })).await;
    assert_eq!(client.hear().await, Ok(json!({ "type": "pong" })));
    // An operation that is no subscription.
    client.say(json!({ "type": "subscribe", "id": "q", "payload": { "query": "{ notes { nodes { id } } }" } })).await;
    assert_eq!(client.hear().await, Ok(json!({ "type": "next", "id": "q", "payload": { "data": { "notes": { "nodes": [] } } } })));
    assert_eq!(client.hear().await, Ok(json!({ "type": "complete", "id": "q" })));
    client.say(json!({ "type": "subscribe", "id": "bad", "payload": { "query": "subscription { nothing { type } }" } })).await;
    assert_eq!(client.hear().await.unwrap()["type"], "error");
    let query = "subscription($after: String) { notes(filter: {title: {ne: \"hidden\"}}, after: $after) { type position id record { title secret parent { title } _masked } } }";
    client.say(json!({ "type": "subscribe", "id": "s", "payload": { "query": query } })).await;
    let ready = client.hear().await.unwrap()["payload"]["data"]["notes"].clone();
    assert_eq!((&ready["type"], &ready["record"]), (&json!("READY"), &Value::Null));
    let parent = kim.create("notes", json!({ "title": "parent" })).await;
    kim.create("notes", json!({ "title": "hidden" })).await;
    let child = kim.create("notes", json!({ "title": "child", "parent": parent, "secret": "s" })).await;
    assert_eq!(client.hear().await.unwrap()["payload"]["data"]["notes"]["id"], json!(parent));
    let told = client.hear().await.unwrap()["payload"]["data"]["notes"].clone();
    let expected = json!({ "title": "child", "secret": null, "parent": { "title": "parent" }, "_masked": ["secret"] });
    assert_eq!((&told["type"], &told["id"], &told["record"]), (&json!("CREATE"), &json!(child), &expected));
    kim.delete(&format!("/api/v1/notes/{child}")).await.expect(204);
    let told = client.hear().await.unwrap()["payload"]["data"]["notes"].clone();
    assert_eq!((&told["type"], &told["id"], &told["record"]), (&json!("DELETE"), &json!(child), &Value::Null));
    // Completed by the other end, and taken up again after a position.
    client.say(json!({ "type": "complete", "id": "s" })).await;
    client.say(json!({ "type": "subscribe", "id": "t", "payload": { "query": query, "variables": { "after": ready["position"] } } })).await;
    let mut kinds = Vec::new();
    for _ in 0..3 {
        let message = client.hear().await.unwrap();
        assert_eq!(message["id"], "t");
        kinds.push(message["payload"]["data"]["notes"]["type"].as_str().unwrap().to_owned());
    }
    assert_eq!(kinds, ["READY", "CREATE", "DELETE"]);
    // Who is disabled is told no more.
    app.house.identity.operator("root").set_disabled(&kim.id, true).await.unwrap();
    assert_eq!(client.hear().await, Err(4403));
    server.end().await;
    app.finish().await;
}

/// V4.4.2 V4.4.3, GQL [V4.4.2 V4.4.3]: a connection needs a credential, and a page of another site cannot open one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_refused() {
    let app: TestApp = live::start(Backend::Sqlite).await;
    let kim = app.person("kim", &["member"]).await;
    let server = network::run(&app, None, 2_000).await;
    let bearer = format!("Bearer {}", kim.token.clone().unwrap());
    let status = async |headers: &[(&'static str, &str)]| connect(server.address, headers).await.err().map(|response| response.status().as_u16());
    assert_eq!(status(&[]).await, Some(400), "without the protocol");
    assert_eq!(status(&[("sec-websocket-protocol", "graphql-ws")]).await, Some(400));
    assert_eq!(status(&[PROTOCOL, ("authorization", &bearer)]).await, None);
    assert_eq!(status(&[PROTOCOL, ("authorization", "Bearer haechi_dev_x")]).await, Some(401));
    assert_eq!(status(&[PROTOCOL, ("authorization", &bearer), ("origin", "https://evil.example")]).await, Some(403));
    assert_eq!(status(&[PROTOCOL, ("origin", "https://evil.example")]).await, Some(403));
    let own = format!("http://{}", server.address);
    assert_eq!(status(&[PROTOCOL, ("origin", &own)]).await, None);
    let open = async || connect(server.address, &[PROTOCOL]).await.unwrap();
    assert_eq!(open().await.begin(Some("haechi_dev_wrong")).await, Err(4403));
    let mut early = open().await;
    early.say(json!({ "type": "subscribe", "id": "1", "payload": { "query": "{ __typename }" } })).await;
    assert_eq!(early.hear().await, Err(4401));
    let mut twice = open().await;
    twice.begin(kim.token.as_deref()).await.unwrap();
    assert_eq!(twice.begin(kim.token.as_deref()).await, Err(4429));
    for wrong in ["7", "{}", "{\"type\":\"unknown\"}", "{\"type\":\"subscribe\",\"id\":\"\",\"payload\":{}}", "not json"] {
        let mut client = open().await;
        client.begin(kim.token.as_deref()).await.unwrap();
        client.0.send(Message::text(wrong)).await.unwrap();
        assert_eq!(client.hear().await, Err(4400), "{wrong}");
    }
    // An id that is used again is another operation: what it had before does not end it, and it ends with the connection.
    let mut again = open().await;
    again.begin(kim.token.as_deref()).await.unwrap();
    for _ in 0..20 {
        again.say(json!({ "type": "subscribe", "id": "x", "payload": { "query": "{ __typename }" } })).await;
        again.say(json!({ "type": "complete", "id": "x" })).await;
        again.say(json!({ "type": "subscribe", "id": "x", "payload": { "query": "subscription { notes { type } }" } })).await;
        again.say(json!({ "type": "complete", "id": "x" })).await;
    }
    drop(again);
    // The cost of what is shown of each change counts, too.
    let mut costly = open().await;
    costly.begin(kim.token.as_deref()).await.unwrap();
    let nested = "subscription { notes { record { notes_by_parent(first: 100) { nodes { notes_by_parent(first: 100) { nodes { id } } } } } } }";
    costly.say(json!({ "type": "subscribe", "id": "1", "payload": { "query": nested } })).await;
    assert!(costly.hear().await.unwrap()["payload"][0]["message"].as_str().unwrap().contains("records"));
    let mut doubled = open().await;
    doubled.begin(kim.token.as_deref()).await.unwrap();
    let subscribe = json!({ "type": "subscribe", "id": "1", "payload": { "query": "subscription { notes { type } }" } });
    doubled.say(subscribe.clone()).await;
    doubled.hear().await.unwrap();
    doubled.say(subscribe).await;
    assert_eq!(doubled.hear().await, Err(4409));
    // The end of the server is told.
    let mut last = open().await;
    last.begin(kim.token.as_deref()).await.unwrap();
    last.say(json!({ "type": "subscribe", "id": "1", "payload": { "query": "subscription { notes { type } }" } })).await;
    last.hear().await.unwrap();
    app.house.gate.close_streams();
    assert_eq!(last.hear().await.unwrap()["type"], "error");
    drop(last);
    server.end().await;
    app.finish().await;
}

/// GQL-05 [V2.4.1]: an operation counts once over a connection that goes on, as by a request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_of_a_connection_are_counted_once() {
    let app = TestApp::start(Backend::Sqlite, &live::files("[limits]\ncaller_per_minute = 60")).await;
    let kim = app.person("kim", &["member"]).await;
    let server = network::run(&app, None, 2_000).await;
    let mut client = connect(server.address, &[PROTOCOL]).await.unwrap();
    client.begin(kim.token.as_deref()).await.unwrap();
    let ten: String = (0..10).map(|at| format!("a{at}: notes(first: 1) {{ nodes {{ id }} }} ")).collect();
    let mut sent = 0;
    loop {
        client.say(json!({ "type": "subscribe", "id": "q", "payload": { "query": format!("{{ {ten} }}") } })).await;
        let said = client.hear().await.unwrap();
        if said["type"] == "error" {
            assert_eq!(said["payload"][0]["extensions"]["code"], "too-many-requests");
            break;
        }
        assert_eq!(client.hear().await.unwrap()["type"], "complete");
        sent += 1;
        assert!(sent < 10, "sixty a minute are six times ten");
    }
    assert!((5..=6).contains(&sent), "{sent}");
    server.end().await;
    app.finish().await;
}

/// CSRF [V3.5.1]: a connection that came with a cookie reads; it changes something when its page shows the token that it was given.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cookie_alone_changes_nothing() {
    const PASSWORD: &str = "seven purple otters dance";
    let app = TestApp::start(Backend::Sqlite, &live::files("[auth]\nsign_up = \"open\"\n")).await;
    let server = network::run(&app, None, 2_000).await;
    let body = json!({"email": "kim@example.com", "password": PASSWORD});
    app.anonymous().post("/auth/v1/sign-up", body).await.expect(202);
    let person = app.house.identity.operator("test").find_person("kim@example.com").await.unwrap();
    app.house.identity.operator("test").set_roles(&person.id, &["member".to_owned()]).await.unwrap();
    let body = json!({"email": "kim@example.com", "password": PASSWORD, "cookie": true}).to_string();
    let reply = app.anonymous().send("POST", "/auth/v1/sign-in", &[("content-type", "application/json")], body.into_bytes()).await.expect(200);
    let cookie = reply.header("set-cookie").split(';').next().unwrap().to_owned();
    let token = reply.json()["csrf_token"].as_str().unwrap().to_owned();
    let own = format!("http://{}", server.address);
    let query = |text: &str| json!({ "type": "subscribe", "id": "1", "payload": { "query": text } });
    for (shown, may) in [(json!({}), false), (json!({ "X-CSRF-Token": "0000" }), false), (json!({ "X-CSRF-Token": token }), true)] {
        let mut client = connect(server.address, &[PROTOCOL, ("cookie", &cookie), ("origin", &own)]).await.unwrap();
        client.say(json!({ "type": "connection_init", "payload": shown })).await;
        assert_eq!(client.hear().await.unwrap()["type"], "connection_ack");
        client.say(query("{ notes { nodes { id } } }")).await;
        assert!(client.hear().await.unwrap()["payload"]["data"]["notes"]["nodes"].is_array(), "reading needs no token");
        assert_eq!(client.hear().await.unwrap()["type"], "complete");
        client.say(query("mutation { create_note(input: {title: \"t\"}) { id errors { code } } }")).await;
        let said = client.hear().await.unwrap();
        assert_eq!(said["payload"]["data"]["create_note"]["id"].is_string(), may, "{said}");
        assert_eq!(said["type"] == "error", !may, "{said}");
    }
    server.end().await;
    app.finish().await;
}
