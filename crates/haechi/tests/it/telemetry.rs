//! Spans to a collector, and what happens when the collector or the reader of the log is gone.

use crate::{fixture::FILES, process::Dev};
use haechi_testkit::{Backend, fresh_folder, with_more};
use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    metrics::v1::metric::Data,
    trace::v1::{Span, span::SpanKind},
};
use prost::Message;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const WORD: &str = "a-word-that-nobody-logs";

/// A collector that takes batches: head and body of each.
fn collector() -> (String, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let (send, batches) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                    break;
                }
                let lower = line.to_lowercase();
                if let Some(value) = lower.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                head.push_str(&lower);
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
            if send.send((head, body)).is_err() {
                return;
            }
        }
    });
    (address, batches)
}

async fn folder(more: &str) -> PathBuf {
    let files = with_more(FILES, &[("haechi.toml", more)]);
    let root = fresh_folder(Backend::Sqlite, &files).await;
    std::fs::create_dir_all(root.join("seed")).unwrap();
    std::fs::write(root.join("seed/users.csv"), "id,email,roles\n01930000-0000-7000-8000-000000000001,kim@example.test,\"[\"\"member\"\"]\"\n")
        .unwrap();
    root
}

fn token(root: &Path) -> String {
    let output = crate::process::haechi(root, &["token", "kim"]);
    crate::process::done(&output).trim().to_owned()
}

/// The spans of the batches so far, until one fits.
fn spans(batches: &Receiver<(String, Vec<u8>)>, all: &mut Vec<Span>, until: impl Fn(&Span) -> bool) -> String {
    let mut heads = String::new();
    while !all.iter().any(&until) {
        let (head, body) = batches.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(!body.windows(WORD.len()).any(|part| part == WORD.as_bytes()), "a value stands in a span");
        heads.push_str(&head);
        let batch = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
        all.extend(batch.resource_spans.into_iter().flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans));
    }
    heads
}

fn text(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == key).and_then(|attribute| attribute.value.clone()?.value);
    found.map_or_else(String::new, |value| format!("{value:?}"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn with_trace(dev: &Dev, path: &str, token: &str, flags: &str) -> String {
    let mut stream = std::net::TcpStream::connect(&dev.address).unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\ntraceparent: 00-{TRACE}-00f067aa0ba902b7-{flags}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let id = reply.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap();
    id.to_owned()
}

/// LOG [V16.2.1 V16.2.5]: a request is one trace, continued from our own proxy, without any value in it.
#[tokio::test]
async fn requests_leave_spans() {
    let (address, batches) = collector();
    let key = ("COLLECTOR_KEY", "Bearer collectors-own");
    let more =
        format!("[server]\ntrusted_proxies = [\"127.0.0.1\"]\n[telemetry]\ntraces = \"{address}\"\nauthorization = {{ env = \"COLLECTOR_KEY\" }}");
    let root = folder(&more).await;
    let dev = Dev::start_with(&root, &[key], Stdio::null());
    let token = token(&root);
    let (status, note) = dev.ask("POST", "/api/v1/notes", &token, &format!("{{\"title\":\"{WORD}\",\"secret\":\"{WORD}\"}}"));
    assert_eq!(status, 201);
    let path = format!("/api/v1/notes/{}?fields=title", note["id"].as_str().unwrap());
    let unsampled = with_trace(&dev, &path, &token, "00");
    let request = with_trace(&dev, &path, &token, "01");
    let mut all = Vec::new();
    let ours = |span: &Span| text(span, "haechi.request_id").contains(&request);
    let heads = spans(&batches, &mut all, ours);
    assert!(heads.contains("authorization: bearer collectors-own"), "{heads}");
    let server = all.iter().find(|span| ours(span)).unwrap();
    assert_eq!((server.name.as_str(), server.kind()), ("GET /api/v1/{collection}/{id}", SpanKind::Server));
    assert_eq!((hex(&server.trace_id), hex(&server.parent_span_id)), (TRACE.to_owned(), "00f067aa0ba902b7".to_owned()));
    assert!(text(server, "http.response.status_code").contains("200") && text(server, "http.route").contains("/api/v1/{collection}/{id}"));
    let child = all.iter().find(|span| span.parent_span_id == server.span_id).unwrap();
    assert_eq!((child.name.as_str(), child.kind(), &child.trace_id), ("get", SpanKind::Client, &server.trace_id));
    assert!(text(child, "db.system.name").contains("sqlite") && text(child, "db.collection.name").contains("notes"));
    assert!(!all.iter().any(|span| text(span, "haechi.request_id").contains(&unsampled)), "our proxy has decided that nobody traces it");
    let all_text = format!("{all:?}");
    assert!(!all_text.contains(&token) && !all_text.contains(note["id"].as_str().unwrap()), "a credential or an id stands in a span");
    dev.end();
    std::fs::remove_dir_all(root).unwrap();
}

/// A stranger can neither join their trace to ours nor decide whether we trace.
#[tokio::test]
async fn a_strangers_trace_context_decides_nothing() {
    let (address, batches) = collector();
    let root = folder(&format!("[telemetry]\ntraces = \"{address}\"")).await;
    let dev = Dev::start(&root);
    let token = token(&root);
    let request = with_trace(&dev, "/api/v1/notes", &token, "00");
    let mut all = Vec::new();
    let ours = |span: &Span| text(span, "haechi.request_id").contains(&request);
    spans(&batches, &mut all, ours);
    let server = all.iter().find(|span| ours(span)).unwrap();
    assert_ne!(hex(&server.trace_id), TRACE);
    assert_eq!((server.parent_span_id.len(), hex(&server.links[0].trace_id)), (0, TRACE.to_owned()), "it is linked to");
    dev.end();
    std::fs::remove_dir_all(root).unwrap();
}

/// Bad days [V16.5.3]: a collector that is gone, and one that never answers, cost nobody anything.
#[tokio::test]
async fn without_a_collector_requests_go_on() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = { TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
    for address in [gone, silent.local_addr().unwrap()] {
        let root = folder(&format!("[telemetry]\ntraces = \"http://{address}/v1/traces\"")).await;
        let mut dev = Dev::start_with(&root, &[], Stdio::piped());
        let token = token(&root);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(4) {
            assert_eq!(dev.ask("GET", "/api/v1/notes", &token, "").0, 200);
            thread::sleep(Duration::from_millis(20));
        }
        let mut log = dev.log().unwrap();
        let ended = Instant::now();
        dev.end();
        assert!(ended.elapsed() < Duration::from_secs(20), "it does not end");
        let mut text = String::new();
        log.read_to_string(&mut text).unwrap();
        assert!(text.matches("collector does not take spans").count() <= 1, "{text}");
        std::fs::remove_dir_all(root).unwrap();
    }
}

/// Bad days [V16.5.3]: the reader of the log is gone, or reads no more.
#[tokio::test]
async fn without_a_reader_of_the_log_requests_go_on() {
    for gone in [true, false] {
        let root = folder("").await;
        let mut dev = Dev::start_with(&root, &[("HAECHI_LOG", "trace")], Stdio::piped());
        let held = dev.log().filter(|_| !gone);
        let token = token(&root);
        for _ in 0..400 {
            assert_eq!(dev.ask("GET", "/api/v1/notes", &token, "").0, 200);
        }
        drop(held);
        dev.end();
        std::fs::remove_dir_all(root).unwrap();
    }
}

/// LOG [V16.2.1 V16.2.5]: metrics and log lines reach a collector, say what `/metrics` and standard error say, and hold no value.
#[tokio::test]
async fn metrics_and_lines_reach_a_collector() {
    let (address, batches) = collector();
    let host = address.trim_end_matches("/v1/traces");
    let more = format!(
        "[log]\nrequests = true\n[telemetry]\nmetrics = \"{host}/v1/metrics\"\nlogs = \"{host}/v1/logs\"\nauthorization = {{ env = \"COLLECTOR_KEY\" }}"
    );
    let root = folder(&more).await;
    let dev = Dev::start_with(&root, &[("COLLECTOR_KEY", "Bearer collectors-own"), ("OTEL_RESOURCE_ATTRIBUTES", "node=one")], Stdio::null());
    let token = token(&root);
    for _ in 0..3 {
        assert_eq!(dev.ask("POST", "/api/v1/notes", &token, &format!("{{\"title\":\"{WORD}\",\"secret\":\"{WORD}\"}}")).0, 201);
    }
    dev.end();
    let (mut metrics, mut lines, mut heads) = (Vec::new(), Vec::new(), String::new());
    while let Ok((head, body)) = batches.recv_timeout(Duration::from_millis(500)) {
        for word in [WORD, &token] {
            assert!(!body.windows(word.len()).any(|part| part == word.as_bytes()), "a value or a credential was sent");
        }
        if head.contains("/v1/metrics") {
            let request = ExportMetricsServiceRequest::decode(body.as_slice()).unwrap();
            metrics = request.resource_metrics.into_iter().collect();
        } else {
            lines.extend(ExportLogsServiceRequest::decode(body.as_slice()).unwrap().resource_logs);
        }
        heads.push_str(&head);
    }
    assert_eq!(heads.matches("post ").count(), heads.matches("authorization: bearer collectors-own").count(), "{heads}");
    let resource = format!("{:?} {:?}", metrics[0].resource, lines[0].resource);
    assert_eq!((resource.matches("\"haechi\"").count(), resource.matches("\"node\"").count()), (2, 2), "{resource}");
    // The last batch is sent at the end: it has all that was counted.
    let all: Vec<_> = metrics.iter().flat_map(|resource| &resource.scope_metrics).flat_map(|scope| &scope.metrics).collect();
    let created = all.iter().find(|metric| metric.name == "haechi_db_client_operations").unwrap_or_else(|| panic!("{all:?}"));
    let point = format!("{created:?}");
    assert!(point.contains("\"notes\"") && point.contains("AsDouble(3.0)") && point.contains("is_monotonic: true"), "{point}");
    let taken = all.iter().find(|metric| metric.name == "haechi_http_request_duration_seconds").unwrap();
    let Some(Data::Histogram(taken)) = taken.data.as_ref().filter(|_| taken.unit == "s") else { panic!("{taken:?}") };
    let point = &taken.data_points[0];
    // Three of ours, and what the test asked while it waited for the start.
    assert!(point.count >= 3 && point.bucket_counts.iter().sum::<u64>() == point.count, "{point:?}");
    let texts: Vec<String> =
        lines.iter().flat_map(|resource| &resource.scope_logs).flat_map(|scope| &scope.log_records).map(|line| format!("{line:?}")).collect();
    let requests = texts.iter().filter(|line| line.contains("/api/v1/{collection}") && line.contains("IntValue(201)")).count();
    assert_eq!(requests, 3, "{texts:#?}");
    std::fs::remove_dir_all(root).unwrap();
}
