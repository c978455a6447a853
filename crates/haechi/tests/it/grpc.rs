//! The gRPC door: what honest callers get, and what is refused. Messages are made by reflection, as a generated client would.

use crate::{fixture::FILES, live};
use axum::{
    body::{Body, BodyDataStream},
    http::Request,
};
use futures_util::StreamExt;
use haechi_testkit::{Backend, Person, TestApp, on_both};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::{Value, json};

on_both!(records_are_read_and_changed, lists_have_pages);

/// A client that knows the services of an app.
pub(crate) struct Client(DescriptorPool);

/// A status that is not OK: its code, and what is wrong with which field.
#[derive(Debug, PartialEq)]
pub(crate) struct Refused {
    pub(crate) code: u32,
    pub(crate) reason: String,
    pub(crate) fields: Vec<(String, String)>,
}

impl Client {
    pub(crate) fn new(app: &TestApp) -> Self {
        let files = haechi_grpc::descriptors(&app.house.gate.revision().app).unwrap();
        Self(DescriptorPool::from_file_descriptor_set(files).unwrap())
    }

    pub(crate) fn has(&self, method: &str) -> bool {
        self.0.services().any(|service| service.methods().any(|known| known.name() == method))
    }

    fn method(&self, method: &str) -> (String, MessageDescriptor, MessageDescriptor) {
        for service in self.0.services() {
            if let Some(found) = service.methods().find(|known| known.name() == method) {
                return (format!("/{}/{method}", service.full_name()), found.input(), found.output());
            }
        }
        panic!("there is no method {method}")
    }

    pub(crate) async fn call(&self, person: &Person, method: &str, request: Value) -> Result<Value, Refused> {
        let (path, input, output) = self.method(method);
        let message = DynamicMessage::deserialize(input, request).unwrap().encode_to_vec();
        self.send(person, &path, &message, &[]).await.map(|bytes| json_of(&output, &bytes))
    }

    /// Opens a stream of changes, and waits until it tells that it is ready.
    pub(crate) async fn watch(&self, person: &Person, method: &str, request: Value) -> Result<Watching, Refused> {
        let (path, input, output) = self.method(method);
        let message = DynamicMessage::deserialize(input, request).unwrap().encode_to_vec();
        let request = Request::builder().method("POST").uri(path).header("content-type", "application/grpc");
        match person.stream(request, Body::from(framed(&message))).await {
            Ok(body) => {
                let mut watching = Watching { body: body.into_data_stream(), bytes: Vec::new(), output };
                assert_eq!(watching.next().await.unwrap()["type"], "CHANGE_TYPE_READY");
                Ok(watching)
            }
            Err(reply) => {
                let text = |name: &str| reply.headers.get(name).map(|value| value.to_str().unwrap());
                Err(refused(text("grpc-status").unwrap().parse().unwrap(), text("grpc-status-details-bin")))
            }
        }
    }

    /// What a refused call says, and in which language what beside it.
    pub(crate) async fn localized(&self, person: &Person, method: &str, request: Value, language: &str) -> (String, String, String) {
        use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
        let (path, input, _) = self.method(method);
        let message = DynamicMessage::deserialize(input, request).unwrap().encode_to_vec();
        let headers = [("content-type", "application/grpc"), ("te", "trailers"), ("accept-language", language)];
        let reply = person.send("POST", &path, &headers, framed(&message)).await;
        let from = if reply.headers.contains_key("grpc-status") { &reply.headers } else { &reply.trailers };
        let details = from["grpc-status-details-bin"].to_str().unwrap().trim_end_matches('=');
        let (mut said, mut beside) = (String::new(), (String::new(), String::new()));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        for (number, bytes) in parts(&STANDARD_NO_PAD.decode(details).unwrap()) {
            match number {
                2 => said = text(&bytes),
                3 => {
                    let any = parts(&bytes);
                    if text(&any[0].1).ends_with("LocalizedMessage") {
                        let localized = parts(&any[1].1);
                        beside = (text(&localized[0].1), text(&localized[1].1));
                    }
                }
                _ => {}
            }
        }
        (said, beside.0, beside.1)
    }

    async fn send(&self, person: &Person, path: &str, message: &[u8], headers: &[(&str, &str)]) -> Result<Vec<u8>, Refused> {
        let mut all = vec![("content-type", "application/grpc"), ("te", "trailers")];
        all.extend(headers);
        let reply = person.send("POST", path, &all, framed(message)).await.expect(200);
        let from = if reply.headers.contains_key("grpc-status") { &reply.headers } else { &reply.trailers };
        let text = |name: &str| from.get(name).map(|value| value.to_str().unwrap().to_owned());
        match text("grpc-status").as_deref() {
            Some("0") => Ok(reply.bytes[5..].to_vec()),
            Some(code) => Err(refused(code.parse().unwrap(), text("grpc-status-details-bin").as_deref())),
            None => panic!("no status: {reply:?}"),
        }
    }
}

/// An open stream of changes.
pub(crate) struct Watching {
    body: BodyDataStream,
    bytes: Vec<u8>,
    output: MessageDescriptor,
}

impl Watching {
    /// The next change; nothing after the end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((head, rest)) = self.bytes.split_first_chunk::<5>() {
                let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                if rest.len() >= length {
                    let change = json_of(&self.output, &rest[..length]);
                    self.bytes.drain(..5 + length);
                    return Some(change);
                }
            }
            self.bytes.extend_from_slice(&self.body.next().await?.unwrap());
        }
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut body = vec![0];
    body.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend_from_slice(message);
    body
}

fn json_of(descriptor: &MessageDescriptor, bytes: &[u8]) -> Value {
    let message = DynamicMessage::decode(descriptor.clone(), bytes).unwrap();
    let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false);
    message.serialize_with_options(serde_json::value::Serializer, &options).unwrap()
}

/// Reads `google.rpc.Status`.
fn refused(code: u32, details: Option<&str>) -> Refused {
    use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
    let mut found = Refused { code, reason: String::new(), fields: Vec::new() };
    let Some(details) = details else { return found };
    let bytes = STANDARD_NO_PAD.decode(details.trim_end_matches('=')).unwrap();
    for (number, any) in parts(&bytes) {
        if number != 3 {
            continue;
        }
        let any = parts(&any);
        let (name, value) = (String::from_utf8(any[0].1.clone()).unwrap(), parts(&any[1].1));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        match name.rsplit('.').next() {
            Some("ErrorInfo") => found.reason = text(&value[0].1),
            Some("BadRequest") => {
                for (_, violation) in value {
                    let violation = parts(&violation);
                    found.fields.push((text(&violation[0].1), text(&violation[2].1)));
                }
            }
            _ => {}
        }
    }
    found
}

/// The fields of a message that are bytes.
fn parts(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = prost::encoding::decode_varint(&mut bytes).unwrap();
        let value = prost::encoding::decode_varint(&mut bytes).unwrap();
        if key & 7 == 2 {
            let (taken, rest) = bytes.split_at(usize::try_from(value).unwrap());
            found.push((key >> 3, taken.to_vec()));
            bytes = rest;
        }
    }
    found
}

async fn records_are_read_and_changed(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let (kim, lee, client) = (app.person("kim", &["member"]).await, app.person("lee", &["member"]).await, Client::new(&app));
    let made = client.call(&kim, "CreateNote", json!({ "note": { "title": "One", "rank": 3, "mail": "A@example.com" } })).await.unwrap();
    let id = made["id"].as_str().unwrap().to_owned();
    assert_eq!(
        (&made["title"], &made["rank"], &made["mail"], &made["masked_fields"]),
        (&json!("One"), &json!(3), &json!("a@example.com"), &json!(["secret"]))
    );
    assert_eq!(made.get("body"), None, "what has no value is not there");
    assert_eq!(client.call(&kim, "GetNote", json!({ "id": id })).await, Ok(made));
    let masked = client.call(&kim, "GetNote", json!({ "id": id, "read_mask": "title,secret" })).await.unwrap();
    assert_eq!(masked, json!({ "id": id, "title": "One", "masked_fields": ["secret"] }));
    // What is wrong, field by field.
    let wrong = client.call(&kim, "CreateNote", json!({ "note": { "rank": 2000, "mail": "no" } })).await.unwrap_err();
    let mut fields = wrong.fields.clone();
    fields.sort();
    let expected =
        [("mail", "not_an_email"), ("rank", "out_of_range"), ("title", "required")].map(|(field, code)| (field.to_owned(), code.to_owned()));
    assert_eq!((wrong.code, wrong.reason.as_str(), fields), (3, "invalid-fields", expected.to_vec()));
    // A mask says what is cleared; without one, what is there is changed.
    let changed = client.call(&kim, "UpdateNote", json!({ "note": { "id": id, "body": "b" }, "update_mask": "body,rank" })).await.unwrap();
    assert_eq!((&changed["body"], changed.get("rank"), &changed["version"]), (&json!("b"), None, &json!(2)));
    let changed = client.call(&kim, "UpdateNote", json!({ "note": { "id": id, "rank": 4 } })).await.unwrap();
    assert_eq!((&changed["body"], &changed["rank"]), (&json!("b"), &json!(4)));
    let code = async |person: &Person, method: &str, request: Value| client.call(person, method, request).await.err().map(|refused| refused.code);
    assert_eq!(code(&kim, "UpdateNote", json!({ "note": { "id": id, "rank": 5 }, "version": 1 })).await, Some(10), "aborted");
    assert_eq!(code(&kim, "UpdateNote", json!({ "note": { "id": id, "rank": 13 } })).await, Some(7), "permission denied");
    assert_eq!(code(&kim, "UpdateNote", json!({ "note": { "id": id, "version": 9 } })).await, Some(3), "set by the server");
    // GRPC-02, GRPC-03: another's looks like none; nobody is let in.
    assert_eq!(code(&lee, "GetNote", json!({ "id": id })).await, Some(5));
    assert_eq!(code(&lee, "DeleteNote", json!({ "id": id })).await, Some(5));
    assert_eq!(code(&app.anonymous(), "GetNote", json!({ "id": id })).await, Some(16));
    assert_eq!(code(&app.bearer("haechi_dev_wrong"), "GetNote", json!({ "id": id })).await, Some(16));
    assert_eq!(code(&lee, "ListPosts", json!({ "filter": "title = \"x\"" })).await, None);
    // A request that was answered is answered again, and is not done twice.
    let create = json!({ "note": { "title": "Two", "slug": "two" }, "request_id": "r1" });
    let first = client.call(&kim, "CreateNote", create.clone()).await.unwrap();
    assert_eq!(client.call(&kim, "CreateNote", create).await.unwrap()["id"], first["id"]);
    assert_eq!(code(&kim, "CreateNote", json!({ "note": { "title": "Three", "slug": "TWO" } })).await, Some(6), "already exists");
    // Batches are whole.
    let both = json!({ "requests": [{ "note": { "title": "a" } }, { "note": { "title": "b", "rank": -1 } }] });
    let refused = client.call(&kim, "BatchCreateNotes", both).await.unwrap_err();
    assert_eq!(refused.fields, [("operations.1.data.rank".to_owned(), "out_of_range".to_owned())]);
    let made =
        client.call(&kim, "BatchCreateNotes", json!({ "requests": [{ "note": { "title": "a" } }, { "note": { "title": "b" } }] })).await.unwrap();
    let ids: Vec<&Value> = made["notes"].as_array().unwrap().iter().map(|note| &note["id"]).collect();
    let several = client.call(&kim, "BatchGetNotes", json!({ "ids": [ids[1], ids[0]] })).await.unwrap();
    assert_eq!(several["notes"].as_array().unwrap().iter().map(|note| &note["title"]).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(code(&lee, "BatchGetNotes", json!({ "ids": [ids[0]] })).await, Some(5));
    client.call(&kim, "BatchDeleteNotes", json!({ "requests": [{ "id": ids[0] }, { "id": ids[1] }] })).await.unwrap();
    client.call(&kim, "DeleteNote", json!({ "id": id })).await.unwrap();
    assert_eq!(code(&kim, "GetNote", json!({ "id": id })).await, Some(5));
    // Every type keeps its value.
    let thing = json!({
        "text": "é\u{7f}", "small": -5, "large": -9_223_372_036_854_775_808_i64, "price": "-12.50", "ratio": 0.1, "flag": true, "kind": "b",
        "at": "2024-02-29T14:59:59.999Z", "day": "0001-01-01", "data": "{\"a\":[1,null]}", "tags": ["a", "b\"c"], "numbers": [1, -2],
        "site": "https://example.com/", "code": "01920000-0000-7000-8000-00000000abcd"
    });
    let made = client.call(&kim, "CreateThing", json!({ "thing": thing })).await.unwrap();
    for (name, value) in thing.as_object().unwrap() {
        assert_eq!(&made[name], value, "{name}");
    }
    app.finish().await;
}

async fn lists_have_pages(backend: Backend) {
    let app = TestApp::start(backend, FILES).await;
    let (kim, client) = (app.person("kim", &["member"]).await, Client::new(&app));
    for rank in 0..7 {
        kim.create("notes", json!({ "title": format!("n{rank}"), "rank": rank % 3 })).await;
    }
    let (mut token, mut titles) = (String::new(), Vec::new());
    loop {
        let request = json!({ "page_size": 3, "order_by": "rank desc, title", "filter": "rank >= 0", "page_token": token, "read_mask": "title" });
        let page = client.call(&kim, "ListNotes", request).await.unwrap();
        titles.extend(page["notes"].as_array().unwrap().iter().map(|note| note["title"].as_str().unwrap().to_owned()));
        let Some(next) = page.get("next_page_token") else { break };
        token = next.as_str().unwrap().to_owned();
    }
    assert_eq!(titles, ["n2", "n5", "n1", "n4", "n0", "n3", "n6"]);
    let refused = client.call(&kim, "ListNotes", json!({ "filter": "rank = \"x\"" })).await.unwrap_err();
    assert_eq!((refused.code, refused.reason.as_str()), (3, "invalid-filter"));
    app.finish().await;
}

/// GRPC-04 … GRPC-09 [V4.1.4 V15.2.2]: what is not a call of this service ends as a status, never otherwise.
#[tokio::test]
async fn malformed_calls_are_refused() {
    let app = TestApp::start(Backend::Sqlite, FILES).await;
    let (kim, client) = (app.person("kim", &["member"]).await, Client::new(&app));
    let path = "/haechi.v1.Notes/GetNote";
    let code = async |message: &[u8], headers: &[(&str, &str)]| client.send(&kim, path, message, headers).await.err().map(|refused| refused.code);
    assert_eq!(code(&[0xff], &[]).await, Some(3));
    assert_eq!(code(&[0x0a, 0x02, 0xff, 0xfe], &[]).await, Some(3), "not UTF-8");
    assert_eq!(code(&[0x98, 0x06, 0x01], &[]).await, Some(3), "a field that there is not");
    assert_eq!(code(&[], &[("grpc-timeout", "0n")]).await, Some(4), "the deadline has passed");
    assert_eq!(code(&[], &[("grpc-timeout", "soon")]).await, Some(3));
    let raw = async |path: &str, kind: &str, body: Vec<u8>| kim.send("POST", path, &[("content-type", kind)], body).await;
    let status = |reply: &haechi_testkit::Reply| {
        let from = if reply.headers.contains_key("grpc-status") { &reply.headers } else { &reply.trailers };
        from.get("grpc-status").map(|value| value.to_str().unwrap().to_owned())
    };
    // 4 GiB are announced: refused before they are made room for.
    let announced = raw(path, "application/grpc", vec![0, 0xff, 0xff, 0xff, 0xff, 1]).await;
    assert_eq!(status(&announced).as_deref(), Some("11"));
    let compressed = raw(path, "application/grpc", vec![1, 0, 0, 0, 1, 1]).await;
    assert!(matches!(status(&compressed).as_deref(), Some("12" | "13")), "{compressed:?}");
    assert_eq!(status(&raw("/haechi.v1.Notes/Nothing", "application/grpc", framed(&[])).await).as_deref(), Some("12"));
    assert_eq!(status(&raw(path, "application/json", b"{}".to_vec()).await).as_deref(), Some("3"));
    // What the stack refuses is a status too.
    let guess = app.bearer("haechi_dev_guess").send("POST", path, &[("content-type", "application/grpc")], framed(&[])).await.expect(200);
    assert_eq!(status(&guess).as_deref(), Some("16"));
    // gRPC-Web: trailers are a part of the body.
    let note = kim.create("notes", json!({ "title": "web" })).await;
    let (path, input, _) = client.method("GetNote");
    let message = DynamicMessage::deserialize(input, json!({ "id": note })).unwrap().encode_to_vec();
    let web = raw(&path, "application/grpc-web+proto", framed(&message)).await.expect(200);
    assert_eq!(web.header("content-type"), "application/grpc-web+proto");
    assert!(String::from_utf8_lossy(&web.bytes).contains("grpc-status:0"), "{web:?}");
    app.finish().await;
}

/// GRPC-01: health is for anybody, services are described to known callers, where that is allowed.
#[tokio::test]
async fn health_and_reflection() {
    let app = TestApp::start(Backend::Sqlite, FILES).await;
    let (kim, client) = (app.person("kim", &["member"]).await, Client::new(&app));
    assert_eq!(client.send(&app.anonymous(), "/grpc.health.v1.Health/Check", &[], &[]).await, Ok(vec![8, 1]));
    // list_services
    let (path, question) = ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", [0x3a, 0x01, b'*']);
    let told = client.send(&kim, path, &question, &[]).await.unwrap();
    assert!(String::from_utf8_lossy(&told).contains("haechi.v1.Notes"));
    assert_eq!(client.send(&app.anonymous(), path, &question, &[]).await.unwrap_err().code, 16);
    let served = std::sync::Arc::new(haechi::http::routes::stack(&app.house, haechi::Mode::Serve));
    let kim = Person::at(served, &kim);
    kim.send("POST", path, &[("content-type", "application/grpc")], framed(&question)).await.expect(404);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_streamed() {
    let app = live::start(Backend::Sqlite).await;
    let (kim, client) = (app.person("kim", &["member"]).await, Client::new(&app));
    let (path, input, output) = client.method("WatchNotes");
    let message = DynamicMessage::deserialize(input, json!({ "filter": "rank > 1", "read_mask": "title,secret" })).unwrap().encode_to_vec();
    let writer = kim.clone();
    // The deadline ends the stream: what came until then is read at once.
    let writes = tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let id = writer.create("notes", json!({ "title": "in", "rank": 2 })).await;
        writer.patch(&format!("/api/v1/notes/{id}"), json!({ "rank": 0 })).await.expect(200);
        id
    });
    let headers = [("content-type", "application/grpc"), ("grpc-timeout", "1500m")];
    let reply = kim.send("POST", &path, &headers, framed(&message)).await.expect(200);
    let id = writes.await.unwrap();
    assert_eq!(reply.trailers["grpc-status"], "4");
    let (mut rest, mut told) = (reply.bytes.as_slice(), Vec::new());
    while let Some((head, body)) = rest.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut change = json_of(&output, &body[..length]);
        change.as_object_mut().unwrap().remove("position");
        told.push(change);
        rest = &body[length..];
    }
    assert_eq!(
        told,
        [
            json!({ "type": "CHANGE_TYPE_READY" }),
            json!({ "type": "CHANGE_TYPE_CREATE", "id": id, "note": { "id": id, "title": "in", "masked_fields": ["secret"] } }),
            json!({ "type": "CHANGE_TYPE_DELETE", "id": id }),
        ]
    );
    app.finish().await;
}
