//! Everything that happens to every request, in order.

use crate::{
    app::{house::House, house::Mode},
    http::{
        compress,
        credential::{Proved, WITHOUT_SESSION, credential, from_another_site, not_good},
        edge::{self, FromWire},
        origins::cors,
        rates::{self, Rates},
        replies::{self, Places, Reader, Wire},
        shares::Shares,
    },
    observe::{metrics::Metrics, requests, traces},
    site::Site,
};
use axum::{
    Router,
    body::{Body, HttpBody},
    http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, request::Parts},
};
use futures_util::FutureExt;
use haechi_gate::{Caller, Credential, Doing, Gate, Known, OpenStream};
use haechi_identity::{AuthError, ClientAddress, Identity};
use haechi_layers::{
    BodyFault, BodyLimits, ContentSecurityPolicy, Cors, Decision, LimitedBody, Peer, Proxies, RateLimit, SecurityHeaders, Verdict, made_here,
};
use haechi_model::Config;
use haechi_problem::{Problem, kinds, languages};
use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt;
use tracing::{Instrument, Span};

/// The longest URL that is served.
const MAX_URL_BYTES: usize = 8 * 1024;
/// The part of the requests in work that unknown callers may have: a flood of those leaves room for known callers.
const ANONYMOUS_PART: (usize, usize) = (3, 4);
/// The part of those that pages may have: slow readers of files leave room for signing in.
const PAGES_PART: usize = 2;
/// One caller or network may have one in so many of the requests in work, but at least a few.
const SHARE: usize = 8;
const MIN_SHARE: usize = 8;

/// The stack around the routes.
pub struct Stack {
    routes: Router,
    gate: Gate,
    identity: Identity,
    /// The origin of problem types and of our own pages.
    base: Arc<str>,
    /// Places for requests in work: of all callers, and of unknown callers.
    slots: Arc<Semaphore>,
    anonymous_slots: Arc<Semaphore>,
    /// Of the places of unknown callers, those for pages.
    page_slots: Arc<Semaphore>,
    /// Requests in work of one caller, or of one network without credentials.
    shares: Arc<Shares>,
    timeout: Duration,
    bodies: BodyLimits,
    proxies: Proxies,
    cors: Cors,
    headers: SecurityHeaders,
    /// The rate limits of known callers, and of networks without credentials.
    rates: Arc<Rates>,
    /// Pages and files, and first segments of paths where they give way to routes of the program.
    site: Option<Arc<Site>>,
    own: Vec<Box<str>>,
    /// Whether requests leave spans.
    traced: bool,
    /// Whether they leave lines in the log.
    logged: bool,
    /// Whether only names of this host are served: while developing.
    loopback_only: bool,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// How a request arrived.
struct Arrival<'a> {
    peer: Peer,
    id: &'a Arc<str>,
    language: &'static str,
    wire: Option<Arc<Wire>>,
}

fn preferred(accept: &HeaderValue) -> &'static str {
    languages::preferred(accept.to_str().unwrap_or_default())
}

/// Lets routes name the spans of their requests, and tell the reply where it comes from.
fn named(routes: Router, traced: bool) -> Router {
    let routes = if traced { routes.route_layer(axum::middleware::from_fn(traces::name_route)) } else { routes };
    routes.route_layer(requests::TellRoute)
}

impl Stack {
    /// Around the routes of a house.
    #[must_use]
    pub fn new(routes: Router, house: &House, (base, mode): (Arc<str>, Mode), config: &Config, rates: Arc<Rates>) -> Self {
        let limits = &config.limits;
        let anonymous = (limits.concurrency * ANONYMOUS_PART.0 / ANONYMOUS_PART.1).max(1);
        let over_tls = base.starts_with("https:") || config.server.tls().is_some();
        let traced = config.telemetry.traces.is_some();
        Self {
            routes: named(routes, traced),
            traced,
            logged: config.log.requests,
            loopback_only: mode == Mode::Dev,
            gate: house.gate.clone(),
            identity: house.identity.clone(),
            slots: Arc::new(Semaphore::new(limits.concurrency)),
            anonymous_slots: Arc::new(Semaphore::new(anonymous)),
            page_slots: Arc::new(Semaphore::new((anonymous / PAGES_PART).max(1))),
            shares: Shares::new((limits.concurrency / SHARE).max(MIN_SHARE)),
            timeout: Duration::from_millis(limits.request_ms),
            // Each route has its own limits of a body's size and depth.
            bodies: BodyLimits { bytes: u64::MAX, arrival_ms: limits.body_ms, json_depth: u32::MAX },
            // The folder was checked, so all networks parse.
            proxies: Proxies::parse(config.server.trusted_proxies.iter().map(String::as_str)).unwrap_or_default(),
            cors: cors(config.server.cors_origins.iter().map(String::as_str)),
            headers: SecurityHeaders::new(ContentSecurityPolicy::api(), over_tls),
            rates,
            metrics: house.metrics.clone(),
            base,
            site: None,
            own: Vec::new(),
        }
    }

    /// With pages and files.
    #[must_use]
    pub(crate) fn with_site(self, site: Option<Arc<Site>>) -> Self {
        Self { site, ..self }
    }

    /// The paths of these routes are the program's own: no file stands in their place.
    #[must_use]
    pub(crate) fn giving_way_to(self, paths: &[String]) -> Self {
        let first = |path: &String| path.trim_start_matches('/').split('/').next().unwrap_or_default().into();
        Self { own: paths.iter().map(first).collect(), ..self }
    }

    /// The same stack around these and other routes.
    #[must_use]
    pub fn with_routes(self, more: Router) -> Self {
        let more = if more.has_routes() { named(more, self.traced) } else { more };
        Self { routes: self.routes.merge(more), ..self }
    }

    /// Whether an address is a declared proxy's.
    pub(crate) fn trusts(&self, address: std::net::IpAddr) -> bool {
        self.proxies.trusts(address)
    }

    /// Serves one request.
    pub async fn handle(&self, request: Request<Body>, peer: Peer) -> Response<Body> {
        #[cfg(haechi_unsafe_lab)]
        if crate::lab::layers_are_off() {
            return self.bare(request).await;
        }
        let began = Instant::now();
        let _in_work = self.metrics.begin();
        let compressed = compress::wanted(request.headers());
        let language = request.headers().get(header::ACCEPT_LANGUAGE).map_or(languages::DEFAULT, preferred);
        // 1. Id: ours, never the client's.
        let id: Arc<str> = (&*uuid::Uuid::now_v7().simple().encode_lower(&mut [0; 32])).into();
        // 2. Pages of other origins: open for those that the folder names.
        let verdict = self.cors.judge(request.method(), request.headers());
        let wire = request.extensions().get::<FromWire>().map(|wire| wire.0.clone());
        let mut places = Places::default();
        let method = requests::known(request.method());
        let mut response = if matches!(verdict, Verdict::Preflight(_)) {
            self.preflight(&request, peer).unwrap_or_else(|problem| problem.response(&self.base, &id))
        } else {
            let span =
                if self.traced { traces::of_request(request.method(), request.headers(), &id, self.proxies.trusts(peer.0)) } else { Span::none() };
            let grpc = haechi_grpc::is_grpc(request.headers());
            let work = self.admitted(request, Arrival { peer, id: &id, language, wire: wire.clone() }, &mut places);
            let answered = if span.is_disabled() { work.await } else { Box::pin(work.instrument(span.clone())).await };
            let refused = |problem: Problem| {
                if !grpc {
                    return problem.response(&self.base, &id);
                }
                self.metrics.problem(problem.kind);
                haechi_grpc::refusal(&problem, language)
            };
            let response = answered.unwrap_or_else(refused);
            traces::answered(&span, response.status().as_u16());
            compress::reply(self.told_in(language, response, &id), compressed).await
        };
        // 9. Headers.
        let headers = response.headers_mut();
        self.cors.mark(&verdict, headers);
        self.headers.apply(headers, None);
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert("x-request-id", id);
        }
        let told = requests::Told { method, route: requests::route_of(&mut response), status: response.status().as_u16(), took: began.elapsed() };
        self.metrics.answered(&told);
        if self.logged {
            told.log(places.who.as_ref(), &id);
        }
        if response.extensions().get::<OpenStream>().is_some() {
            // Open streams are counted as streams.
            places = Places { counted: places.counted, ..Places::default() };
        }
        // 10. The request keeps its place until its reply was sent.
        replies::sent_with(response, places, wire)
    }

    /// Translates a problem in a reply to the requested language.
    fn told_in(&self, language: &'static str, mut response: Response<Body>, id: &str) -> Response<Body> {
        let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
        self.metrics.problem(problem.kind);
        response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept-Language"));
        if language != languages::DEFAULT {
            *response.body_mut() = Body::from(problem.in_language(language).to_json(&self.base, id));
            // The route has told the length of the English text.
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
        response.headers_mut().insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(language));
        response
    }

    /// A preflight runs nothing, but it counts for its network.
    fn preflight(&self, request: &Request<Body>, peer: Peer) -> Result<Response<Body>, Problem> {
        self.edge(request)?;
        self.counted(&self.rates.networks, self.client(request, peer)?.network())?;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok(response)
    }

    fn edge(&self, request: &Request<Body>) -> Result<(), Problem> {
        // A program that calls the stack itself names no place.
        if request.extensions().get::<FromWire>().is_some() { edge::check(request, self.loopback_only) } else { Ok(()) }
    }

    /// The client's address, only if it is not that of the connection: behind declared proxies.
    fn client(&self, request: &Request<Body>, peer: Peer) -> Result<ClientAddress, Problem> {
        let client = self.proxies.client(peer.0, request.headers());
        Ok(ClientAddress(client.map_err(|_| Problem::new(kinds::MALFORMED, "X-Forwarded-For cannot be read."))?))
    }

    async fn admitted(&self, mut request: Request<Body>, came: Arrival<'_>, places: &mut Places) -> Result<Response<Body>, Problem> {
        let Arrival { peer, id, language, wire } = came;
        // 3. Concurrency and size: refused at once rather than queued without end.
        places.slot = Some(self.slots.clone().try_acquire_owned().map_err(|_| self.busy())?);
        self.edge(&request)?;
        if request.uri().path_and_query().is_some_and(|path| path.as_str().len() > MAX_URL_BYTES) {
            return Err(Problem::new(kinds::MALFORMED, "The URL is too long."));
        }
        // 4. Address.
        let client = self.client(&request, peer)?;
        if let Some(site) = self.site.as_ref().filter(|site| self.is_page(site, &request)) {
            let (parts, _) = request.into_parts();
            return Box::pin(self.page(site, &parts, client.network(), wire, places)).await;
        }
        // 5. Caller, and 6. their rate.
        let proved = credential(request.headers());
        let known = match &proved {
            Ok(proved) => self.caller(request.method(), request.uri().path(), request.headers(), *proved).await,
            Err(problem) => Err(problem.clone()),
        };
        let caller = match known {
            Ok(caller) => caller,
            Err(problem) => {
                // A guess at credentials counts like a request without any.
                if problem.kind == kinds::UNAUTHENTICATED {
                    self.metrics.refused_credential();
                }
                self.counted(&self.rates.networks, client.network())?;
                return Err(problem);
            }
        };
        places.who = self.logged.then(|| caller.clone());
        let (limit, decision) = if caller.is_anonymous() {
            let network = client.network();
            places.share = Some(self.shares.take(network).ok_or_else(|| self.busy())?);
            let decision = self.counted(&self.rates.networks, network)?;
            places.anonymous = Some(self.anonymous_slot()?);
            (&self.rates.networks, decision)
        } else {
            places.share = Some(self.shares.take(caller.id()).ok_or_else(|| self.busy())?);
            (&self.rates.callers, self.counted(&self.rates.callers, caller.id())?)
        };
        let reader = self.rates.reader(&caller, client.network(), wire);
        if !self.rates.unread.has_room(&reader, 0) {
            return Err(self.unread());
        }
        if request.headers().contains_key(header::UPGRADE) && !self.may_connect(&caller, request.headers()) {
            return Err(Problem::new(kinds::FORBIDDEN, "A connection is opened from this site, or from an origin that the folder names."));
        }
        // The credential goes with every request: only the routes know which replies go on after they have begun.
        let proved = if caller.is_anonymous() { None } else { proved.ok().and_then(|(token, _)| token) };
        let ask = self.gate.ask(&caller, id).within(self.rates.clone(), client.network(), proved).read_in(language);
        let (doing, safe) = (ask.doing(), request.method().is_safe());
        request.extensions_mut().insert(ask);
        request.extensions_mut().insert(client);
        let mut response = self.with_body(request, id).await?;
        // Where the length of a reply is unknown, the length of its rows is used.
        let bytes = replies::bytes_of(&response).unwrap_or_else(|| doing.as_ref().map_or(0, Doing::shown));
        if replies::is_counted(bytes) || replies::bytes_of(&response).is_none() {
            let changed = !safe && doing.as_ref().is_none_or(Doing::begun);
            places.counted = Some(self.counted_reply(reader, bytes, changed)?);
        }
        limit.mark(decision, response.headers_mut());
        Ok(response)
    }

    fn is_page(&self, site: &Site, request: &Request<Body>) -> bool {
        let path = request.uri().path();
        let first = || path.trim_start_matches('/').split('/').next().unwrap_or_default();
        site.takes(request.method(), path) && (self.own.is_empty() || !self.own.iter().any(|own| **own == *first()))
    }

    /// Pages and files are for everybody: no credential is looked at, and they have a rate of their own.
    async fn page(
        &self,
        site: &Arc<Site>,
        request: &Parts,
        network: std::net::IpAddr,
        wire: Option<Arc<Wire>>,
        places: &mut Places,
    ) -> Result<Response<Body>, Problem> {
        places.share = Some(self.shares.take(network).ok_or_else(|| self.busy())?);
        self.counted(&self.rates.site, network)?;
        places.page = Some(self.page_slots.clone().try_acquire_owned().map_err(|_| self.busy())?);
        places.anonymous = Some(self.anonymous_slot()?);
        let reader = self.rates.unread.reader(network, wire);
        if !self.rates.unread.has_room(&reader, 0) {
            return Err(self.unread());
        }
        let late = |_| Problem::new(kinds::TIMEOUT, "The file could not be read in time.");
        let mut response = tokio::time::timeout(self.timeout, site.answer(request)).await.map_err(late)??;
        response.extensions_mut().insert(requests::FromSite);
        let bytes = replies::bytes_of(&response);
        if bytes.is_none_or(replies::is_counted) {
            places.counted = Some(self.counted_reply(reader, bytes.unwrap_or_default(), false)?);
        }
        Ok(response)
    }

    /// Other replies may have filled the room meanwhile. A change that was made is still reported.
    fn counted_reply(&self, reader: Reader, bytes: usize, changed: bool) -> Result<replies::Counted, Problem> {
        if !changed && !self.rates.unread.has_room(&reader, bytes) {
            return Err(self.unread());
        }
        Ok(self.rates.unread.count(reader, bytes))
    }

    fn unread(&self) -> Problem {
        self.metrics.shed();
        Problem::new(kinds::BUSY, "Replies wait to be read: read those first.").retry_after(1)
    }

    /// The routes and the caller, without any layer.
    #[cfg(haechi_unsafe_lab)]
    async fn bare(&self, mut request: Request<Body>) -> Response<Body> {
        let id: Arc<str> = "lab".into();
        let known = match credential(request.headers()) {
            Ok(proved) => self.caller(request.method(), request.uri().path(), request.headers(), proved).await,
            Err(problem) => Err(problem),
        };
        let caller = match known {
            Ok(caller) => caller,
            Err(problem) => return problem.response(&self.base, &id),
        };
        let ask = self.gate.ask(&caller, &id);
        request.extensions_mut().insert(ask);
        match self.routes.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    /// A body has a time limit: without all of it nothing was done.
    async fn with_body(&self, request: Request<Body>, id: &str) -> Result<Response<Body>, Problem> {
        if request.body().is_end_stream() {
            return self.routed(request, id).await;
        }
        let (parts, body) = request.into_parts();
        let (body, watch) = LimitedBody::new(body, self.bodies, false);
        let response = self.routed(Request::from_parts(parts, Body::new(body)), id).await;
        match watch.fault() {
            // A route of the program may have worked with the part that had come.
            Some(BodyFault::TooSlow) if response.as_ref().is_ok_and(|response| response.status().is_success()) => response,
            Some(BodyFault::TooSlow) => Err(Problem::new(kinds::TIMEOUT, "The body came too slowly. Nothing was done.")),
            _ => response,
        }
    }

    /// 7. Time and 8. panics: a failed request does not affect others.
    async fn routed(&self, request: Request<Body>, id: &str) -> Result<Response<Body>, Problem> {
        let safe = request.method().is_safe();
        // Behind these doors only the gate makes changes, and it knows whether one has begun.
        let by_gate = request.uri().path().starts_with("/api/v1") || request.uri().path() == "/graphql" || haechi_grpc::is_grpc(request.headers());
        let doing = if safe || !by_gate { None } else { request.extensions().get::<haechi_gate::Ask>().and_then(haechi_gate::Ask::doing) };
        let work = AssertUnwindSafe(self.routes.clone().oneshot(request)).catch_unwind();
        match tokio::time::timeout(self.timeout, work).await {
            Ok(Ok(Ok(response))) => Ok(response),
            Ok(Ok(Err(never))) => match never {},
            Ok(Err(_)) => {
                tracing::error!(target: "haechi::http", request_id = %id, "a handler panicked");
                Err(Problem::new(kinds::INTERNAL, "Nothing was done."))
            }
            Err(_) if !safe && doing.is_none_or(|doing| doing.begun()) => Err(Problem::new(kinds::UNKNOWN, "The reply took too long.")),
            Err(_) => Err(Problem::new(kinds::TIMEOUT, "The reply took too long.")),
        }
    }

    fn busy(&self) -> Problem {
        self.metrics.shed();
        Problem::new(kinds::BUSY, "Too many requests are in work.").retry_after(1)
    }

    fn anonymous_slot(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.anonymous_slots.clone().try_acquire_owned().map_err(|_| self.busy())
    }

    fn counted(&self, limit: &RateLimit, key: impl std::hash::Hash) -> Result<Decision, Problem> {
        let decision = limit.take(key);
        if decision.allowed {
            return Ok(decision);
        }
        self.metrics.limited();
        let seconds = rates::seconds(decision);
        Err(Problem::new(kinds::TOO_MANY_REQUESTS, "Send fewer requests a minute.").retry_after(seconds))
    }

    /// The caller: by one bearer token, or by one session cookie of our own page.
    async fn caller(&self, method: &Method, path: &str, headers: &HeaderMap, (token, in_cookie): Proved<'_>) -> Result<Caller, Problem> {
        let Some(token) = token else { return Ok(Caller::anonymous()) };
        let verified = match self.identity.known(token) {
            Known::Caller(caller) => Ok(caller),
            Known::Unknown(pending) => {
                // During the look-up the caller counts as unknown: guesses do not take the room of known callers.
                let _slot = self.anonymous_slot()?;
                Box::pin(self.identity.verify(token, pending)).await
            }
        };
        let caller = match verified.and_then(|caller| if Identity::in_place(&caller, in_cookie) { Ok(caller) } else { Err(AuthError::Invalid) }) {
            Ok(caller) => caller,
            // A browser with an ended session can still sign in, sign out and use a code.
            Err(AuthError::Invalid) if in_cookie && WITHOUT_SESSION.contains(&path) => return Ok(Caller::anonymous()),
            Err(AuthError::Invalid) => return Err(not_good()),
            Err(AuthError::Unavailable) => return Err(Problem::new(kinds::UNAVAILABLE, "The credential cannot be checked.").retry_after(2)),
        };
        // Another site's page could embed pictures or send requests with its visitor's cookie. A navigation reaches pages, never the API.
        if in_cookie && from_another_site(headers, path) {
            return Err(Problem::new(kinds::FORBIDDEN, "A request of another site's page does not bring a cookie."));
        }
        // A browser sends a cookie by itself, so a change needs proof that our own page sent it.
        let proven = || made_here(headers, &self.own_origin(headers)) && self.identity.proven(&caller, headers);
        if in_cookie && !method.is_safe() && !proven() {
            return Err(Problem::new(kinds::FORBIDDEN, "A request with a cookie must come from this site and carry X-CSRF-Token."));
        }
        Ok(caller)
    }

    /// Another site's page could open a connection with its visitor's cookie (RFC 6455 §10.2).
    fn may_connect(&self, caller: &Caller, headers: &HeaderMap) -> bool {
        let in_cookie = matches!(caller.credential(), Credential::Session { cookie: true, .. });
        let open = matches!(self.cors.judge(&Method::GET, headers), Verdict::SameOrigin | Verdict::Open(_));
        made_here(headers, &self.own_origin(headers)) || open && !in_cookie
    }

    /// The origin of our own pages: the folder's setting, otherwise the host of the request.
    fn own_origin(&self, headers: &HeaderMap) -> String {
        if !self.base.is_empty() {
            return self.base.to_string();
        }
        format!("http://{}", headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default())
    }
}
