//! In `dev` pages reload themselves when the folder changes: a script that is added to each page, and a stream that it listens to.

use super::Site;
use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderValue, Response, header},
    routing::get,
};
use futures_util::stream;
use haechi_gate::{Gate, OpenStream};
use std::{
    collections::hash_map::DefaultHasher,
    convert::Infallible,
    hash::{Hash, Hasher},
    path::Path,
    sync::{Arc, PoisonError, Weak},
    time::{Duration, Instant},
};

/// Stands at the end of each page.
pub(crate) const TAG: &[u8] = b"\n<script src=\"/dev/reload.js\"></script>\n";
/// How often the folder is looked at while a page is open, and how much of the time that may take at most.
const LOOK_EVERY: Duration = Duration::from_millis(300);
const SHARE: u32 = 10;
/// The stream opens again after so long.
const RETRY: &str = "retry: 300\n\n";

const SCRIPT: &str = r#"// Added by `haechi dev` alone: reloads the page when the folder changes.
let seen = "SEEN";
function listen() {
  const changes = new EventSource("/dev/reload");
  changes.onmessage = ({ data }) => {
    if (data !== seen) location.reload();
    seen = data;
  };
  changes.onerror = () => {
    if (changes.readyState === EventSource.CLOSED) setTimeout(listen, 300);
  };
}
listen();
"#;

/// The script and the stream.
pub(crate) fn routes(site: &Arc<Site>, gate: &Gate) -> Router {
    let (site, gate) = (Arc::downgrade(site), gate.clone());
    let (scripted, asked) = (site.clone(), gate.clone());
    Router::new()
        .route(
            "/dev/reload.js",
            get(move || async move {
                let seen = state(&scripted, &asked).await.map(|(state, _)| state).unwrap_or_default();
                reply("text/javascript; charset=utf-8", Body::from(SCRIPT.replace("SEEN", &seen)))
            }),
        )
        .route("/dev/reload", get(move || async move { stream(site, gate) }))
}

fn reply(kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn stream(site: Weak<Site>, gate: Gate) -> Response<Body> {
    let told = stream::unfold((site, gate, String::new()), |(site, gate, seen)| async move {
        if seen.is_empty() {
            let (state, _) = state(&site, &gate).await?;
            return Some((Ok::<_, Infallible>(Bytes::from(format!("{RETRY}data: {state}\n\n"))), (site, gate, state)));
        }
        let mut pause = LOOK_EVERY;
        loop {
            tokio::time::sleep(pause).await;
            let (state, took) = state(&site, &gate).await?;
            if state != seen {
                return Some((Ok(Bytes::from(format!("data: {state}\n\n"))), (site, gate, state)));
            }
            pause = LOOK_EVERY.max(took * SHARE);
        }
    });
    let mut response = reply("text/event-stream", Body::from_stream(told));
    response.extensions_mut().insert(OpenStream);
    response
}

/// What the folder and its pages are now, as one word, and how long looking took. `None` when the server ends, or another one has taken over.
async fn state(site: &Weak<Site>, gate: &Gate) -> Option<(String, Duration)> {
    let site = site.upgrade().filter(|_| !gate.streams_are_closed())?;
    let revision = Arc::as_ptr(&gate.revision()).addr();
    let began = Instant::now();
    let looked = tokio::task::spawn_blocking(move || {
        let mut hasher = DefaultHasher::new();
        (revision, site.began).hash(&mut hasher);
        site.look_at_all().hash(&mut hasher);
        hasher.finish()
    });
    Some((format!("{:016x}", looked.await.ok()?), began.elapsed()))
}

impl Site {
    /// All files, as one number; pages that are open at the same time share a look.
    fn look_at_all(&self) -> u64 {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        match *looked {
            Some((at, found)) if at.elapsed() < LOOK_EVERY / 2 => found,
            _ => {
                let mut hasher = DefaultHasher::new();
                walk(&self.root, &mut hasher);
                let found = hasher.finish();
                *looked = Some((Instant::now(), found));
                found
            }
        }
    }
}

/// Names, sizes and times of all files.
fn walk(folder: &Path, hasher: &mut DefaultHasher) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        // Not through links: they are not served, and may lead in a circle.
        let Ok(meta) = entry.metadata() else { continue };
        (entry.file_name(), meta.len(), meta.modified().ok()).hash(hasher);
        if meta.is_dir() {
            walk(&entry.path(), hasher);
        }
    }
}
