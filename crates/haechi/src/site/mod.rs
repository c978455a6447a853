//! A place for pages: the files of `[site] folder`, at `/`.
//!
//! Files are for everybody, so no credential is looked at: a browser whose session has ended still gets the page on which one signs in.
//! `path.rs` reads the URL, `disk.rs` opens the file, `memory.rs` keeps small ones, `range.rs` answers who has the file already or wants
//! a part. `reload.rs` works in `dev` alone.

pub(crate) mod disk;
mod faults;
mod media;
mod memory;
mod path;
mod range;
pub(crate) mod reload;

pub(crate) use faults::{faults, is_inside};

use crate::{app::house::Mode, http::compress, http::reserved::is_reserved};
use axum::body::Body;
use bytes::Bytes;
use disk::{Found, Opened};
use haechi_model::App;
use haechi_problem::{Problem, kinds};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request::Parts};
use media::Media;
use memory::{Kept, Memory, SMALL_BYTES};
use path::Below;
use range::Part;
use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// How long a kept file is sent without asking the disk whether it changed. `dev` always asks.
const FRESH_MS: u64 = 1000;
const WARN_EVERY_MS: u64 = 60_000;
/// Bytes of a large file that are read at once.
const PIECE_BYTES: usize = 128 * 1024;
/// The page of a folder.
const INDEX: &str = "index.html";

/// A copy that is good as long as its name is the same.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// A copy that is kept, and asked about each time.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");

/// The folder of pages.
pub struct Site {
    root: PathBuf,
    fallback: Option<String>,
    policy: HeaderValue,
    memory: Memory,
    began: Instant,
    /// When the log was last told of a file that cannot be read.
    warned_ms: AtomicU64,
    /// What the folder was when a page last asked, and when: in `dev`.
    looked: Mutex<Option<(Instant, u64)>>,
    /// Pages reload themselves when the folder changes: in `dev`.
    reloads: bool,
}

/// What a request finds.
enum Answer {
    Small(Arc<Kept>),
    Large(Opened),
    Folder,
    Nothing,
}

fn missing() -> Problem {
    Problem::new(kinds::NOT_FOUND, "There is no such page or file.")
}

impl Site {
    /// The site of an app, if it has one.
    #[must_use]
    pub fn of(app: &App, mode: Mode) -> Option<Arc<Self>> {
        let config = &app.config.site;
        let folder = config.folder.as_ref()?;
        Some(Arc::new(Self {
            root: app.root.join(folder),
            fallback: config.fallback.clone(),
            policy: HeaderValue::try_from(config.policy()).unwrap_or(HeaderValue::from_static("default-src 'none'")),
            memory: Memory::default(),
            began: Instant::now(),
            warned_ms: AtomicU64::new(0),
            looked: Mutex::default(),
            reloads: mode == Mode::Dev,
        }))
    }

    /// Whether a request is for a page or a file: all that is not Haechi's own.
    pub(crate) fn takes(&self, method: &Method, path: &str) -> bool {
        (method == Method::GET || method == Method::HEAD) && !is_reserved(path)
    }

    /// Answers a request that it takes.
    pub(crate) async fn answer(self: &Arc<Self>, request: &Parts) -> Result<Response<Body>, Problem> {
        let (headers, head) = (&request.headers, request.method == Method::HEAD);
        // The check for Haechi's own paths is made again on what the path is once it was decoded.
        let Some(below) = Below::read(request.uri.path()).filter(|below| !is_reserved(&below.names)) else { return Err(missing()) };
        let index = if below.names.is_empty() { INDEX.to_owned() } else { format!("{}/{INDEX}", below.names) };
        let names = if below.folder { &index } else { &below.names };
        match self.find(names).await? {
            Answer::Small(file) => self.small(&file, headers, head).await,
            Answer::Large(file) => self.large(file, &Media::of(names), headers, head),
            Answer::Folder if !below.folder && self.is_file(&index).await? => {
                // Links of the page are below its folder.
                let query = request.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
                let to = HeaderValue::try_from(format!("{}/{query}", request.uri.path())).map_err(|_| missing())?;
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
                response.headers_mut().insert(header::LOCATION, to);
                Ok(response)
            }
            Answer::Folder | Answer::Nothing => self.fall_back(headers, head).await,
        }
    }

    /// The fallback page, for browsers that go to a page: a script or a picture that is not there is still 404.
    async fn fall_back(self: &Arc<Self>, headers: &HeaderMap, head: bool) -> Result<Response<Body>, Problem> {
        let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).any(|value| value.contains("text/html"));
        let Some(page) = self.fallback.as_ref().filter(|_| accepts) else { return Err(missing()) };
        let mut response = match self.find(page).await? {
            Answer::Small(file) => self.small(&file, headers, head).await,
            Answer::Large(file) => self.large(file, &Media::of(page), headers, head),
            Answer::Folder | Answer::Nothing => Err(missing()),
        }?;
        // Its name may have a hash, but the path that was asked for has none.
        response.headers_mut().insert(header::CACHE_CONTROL, ASK_AGAIN);
        Ok(response)
    }

    async fn is_file(self: &Arc<Self>, names: &str) -> Result<bool, Problem> {
        Ok(matches!(self.find(names).await?, Answer::Small(_) | Answer::Large(_)))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Looks a file up: in memory, and on the disk when it is not there or the disk was not asked for a while.
    async fn find(self: &Arc<Self>, names: &str) -> Result<Answer, Problem> {
        let fresh = if self.reloads { 0 } else { FRESH_MS };
        let kept = self.memory.find(names);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.is_fresh(self.now_ms(), fresh)) {
            return Ok(Answer::Small(kept.clone()));
        }
        let (site, owned) = (self.clone(), names.to_owned());
        let looked = tokio::task::spawn_blocking(move || site.look(&owned, kept)).await;
        match looked {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                self.warn(error.kind());
                if error.kind() == io::ErrorKind::PermissionDenied {
                    return Ok(Answer::Nothing);
                }
                Err(Problem::new(kinds::UNAVAILABLE, "The file cannot be read at the moment.").retry_after(2))
            }
            Err(_) => Err(Problem::new(kinds::INTERNAL, "Nothing was done.")),
        }
    }

    /// Once a minute, and without the path: that is a stranger's text.
    fn warn(&self, kind: io::ErrorKind) {
        let now = self.now_ms().max(1);
        let before = self.warned_ms.load(Ordering::Relaxed);
        if (before == 0 || now - before.min(now) >= WARN_EVERY_MS)
            && self.warned_ms.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            tracing::warn!(target: "haechi", folder = %self.root.display(), why = haechi_model::why(kind), "a file of the site cannot be read");
        }
    }

    /// Asks the disk.
    fn look(&self, names: &str, kept: Option<Arc<Kept>>) -> io::Result<Answer> {
        let now = self.now_ms();
        let mut opened = match disk::find(&self.root, names)? {
            Found::File(opened) => opened,
            other => {
                if kept.is_some() {
                    self.memory.forget(names);
                }
                return Ok(if matches!(other, Found::Folder) { Answer::Folder } else { Answer::Nothing });
            }
        };
        if let Some(kept) = kept.filter(|kept| kept.stamp == opened.stamp) {
            kept.checked(now);
            return Ok(Answer::Small(kept));
        }
        if opened.stamp.bytes > SMALL_BYTES {
            self.memory.forget(names);
            return Ok(Answer::Large(opened));
        }
        // A file that is being written is read from the disk as long as that goes on.
        let Some(mut bytes) = opened.read()?.filter(|_| opened.is_same()) else { return Ok(Answer::Large(opened)) };
        let media = Media::of(names);
        if media.page && self.reloads {
            bytes.extend_from_slice(reload::TAG);
        }
        let file = Arc::new(Kept::new(opened.stamp, media, bytes, now));
        self.memory.keep(names, file.clone());
        Ok(Answer::Small(file))
    }

    async fn small(self: &Arc<Self>, file: &Arc<Kept>, headers: &HeaderMap, head: bool) -> Result<Response<Body>, Problem> {
        let packed = file.media.packs && !headers.contains_key(header::RANGE) && compress::accepts_gzip(headers);
        if packed && file.packed().is_none() {
            let (site, file) = (self.clone(), file.clone());
            // The first one who wants it waits for it.
            let _ = tokio::task::spawn_blocking(move || site.memory.pack(&file)).await;
        }
        let packed = if packed { file.packed().flatten() } else { None };
        let (bytes, tag) = packed.map_or((&file.plain, &file.tag), |(bytes, tag)| (bytes, tag));
        let mut response = self.begin(&file.media, tag);
        if packed.is_some() {
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if range::is_known(headers, tag) {
            return Ok(unchanged(response));
        }
        let body = match Part::read(headers, head, bytes.len() as u64, tag) {
            Part::Whole => bytes.clone(),
            Part::Beyond => return Ok(beyond(response, bytes.len() as u64)),
            Part::Of(from, count) => {
                part(&mut response, (from, count), bytes.len() as u64);
                let from = usize::try_from(from).unwrap_or_default();
                bytes.slice(from..from + usize::try_from(count).unwrap_or_default())
            }
        };
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        *response.body_mut() = if head { Body::empty() } else { Body::from(body) };
        Ok(response)
    }

    fn large(&self, file: Opened, media: &Media, headers: &HeaderMap, head: bool) -> Result<Response<Body>, Problem> {
        let stamp = file.stamp;
        let tag = HeaderValue::try_from(stamp.tag()).map_err(|_| missing())?;
        let mut response = self.begin(media, &tag);
        if range::is_known(headers, &tag) {
            return Ok(unchanged(response));
        }
        let (from, count) = match Part::read(headers, head, stamp.bytes, &tag) {
            Part::Whole => (0, stamp.bytes),
            Part::Beyond => return Ok(beyond(response, stamp.bytes)),
            Part::Of(from, count) => {
                part(&mut response, (from, count), stamp.bytes);
                (from, count)
            }
        };
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(count));
        *response.body_mut() = if head { Body::empty() } else { streamed(file, from, count) };
        Ok(response)
    }

    /// The headers that every reply with a file has.
    fn begin(&self, media: &Media, tag: &HeaderValue) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.reserve(16);
        headers.insert(header::CONTENT_TYPE, media.content_type.clone());
        headers.insert(header::ETAG, tag.clone());
        headers.insert(header::CACHE_CONTROL, if media.hashed { FOR_EVER } else { ASK_AGAIN });
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        // Of every file: a picture in SVG can hold scripts, too.
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        if media.packs {
            headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        }
        response
    }
}

fn unchanged(mut response: Response<Body>) -> Response<Body> {
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    for gone in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::ACCEPT_RANGES] {
        response.headers_mut().remove(gone);
    }
    response
}

fn beyond(mut response: Response<Body>, bytes: u64) -> Response<Body> {
    *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
    response.headers_mut().remove(header::CONTENT_TYPE);
    if let Ok(all) = HeaderValue::try_from(format!("bytes */{bytes}")) {
        response.headers_mut().insert(header::CONTENT_RANGE, all);
    }
    response
}

fn part(response: &mut Response<Body>, (from, count): (u64, u64), bytes: u64) {
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    if let Ok(range) = HeaderValue::try_from(format!("bytes {from}-{}/{bytes}", from + count - 1)) {
        response.headers_mut().insert(header::CONTENT_RANGE, range);
    }
}

/// A part of a large file, piece by piece. When the file changes meanwhile, the reply breaks off: nobody takes a mixture for a file.
fn streamed(file: Opened, from: u64, count: u64) -> Body {
    let changed = || io::Error::new(io::ErrorKind::UnexpectedEof, "the file changed");
    Body::from_stream(futures_util::stream::try_unfold((Arc::new(file), from, count), move |(file, at, left)| async move {
        if left == 0 {
            return Ok::<_, io::Error>(None);
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let reading = file.clone();
        let read = tokio::task::spawn_blocking(move || {
            let bytes = reading.part(at, most)?;
            let last = bytes.len() as u64 == left;
            if bytes.is_empty() || last && !reading.is_same() { Err(changed()) } else { Ok(bytes) }
        });
        let bytes = read.await.map_err(io::Error::other)??;
        let read = bytes.len() as u64;
        Ok(Some((Bytes::from(bytes), (file, at + read, left - read))))
    }))
}
