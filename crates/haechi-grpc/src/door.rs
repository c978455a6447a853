//! gRPC over the common port: the library does framing, the model gives the methods; deadlines and gRPC-Web are handled here.

use crate::{
    health::{Health, Ready},
    proto::{Entry, Method, Proto},
    service::{Call, Failed, item, numbers},
    state::Door,
    status::status,
};
use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use bytes::{Buf, BufMut, Bytes};
use futures_util::{
    StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use haechi_data::{Handlers, RecordError};
use haechi_gate::{Ask, Gate, OpenStream, Refusal};
use haechi_problem::{Problem, kinds, languages};
use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::{Grpc, ServerStreamingService, UnaryService},
};
use tonic_health::pb::health_server::HealthServer;
use tonic_web::GrpcWebLayer;
use tower::{Layer, Service, ServiceExt};

/// How a door is opened.
pub struct Options {
    /// The gate.
    pub gate: Gate,
    /// Handlers of declared actions.
    pub handlers: Handlers,
    /// Whether known callers may list the services.
    pub reflection: bool,
    /// Whether this node is ready for requests.
    pub ready: Ready,
}

/// All routes of the door.
///
/// # Errors
/// When the model cannot be described; [`crate::faults`] reports why beforehand.
pub fn router(options: Options) -> Result<Router, String> {
    let revision = options.gate.revision();
    let proto = Proto::new(&revision.app).map_err(|error| error.to_string())?;
    let door = Arc::new(Door {
        numbers: revision.app.collections.iter().map(numbers).collect(),
        body_bytes: revision.app.config.limits.body_bytes,
        handlers: options.handlers,
        gate: options.gate,
    });
    let mut router = Router::new();
    for (name, methods) in proto.methods {
        let service = Methods { door: door.clone(), methods: Arc::new(methods.into_iter().map(|(name, entry)| (name, Arc::new(entry))).collect()) };
        router = router.route_service(&format!("/{name}/{{method}}"), Either(service));
    }
    router = router.route_service("/grpc.health.v1.Health/{method}", HealthServer::new(Health(options.ready)));
    if options.reflection {
        let builder = || tonic_reflection::server::Builder::configure().register_file_descriptor_set(proto.files.clone());
        let (new, old) = (builder().build_v1().map_err(|error| error.to_string())?, builder().build_v1alpha().map_err(|error| error.to_string())?);
        let reflection = Router::new()
            .route_service("/grpc.reflection.v1.ServerReflection/{method}", new)
            .route_service("/grpc.reflection.v1alpha.ServerReflection/{method}", old);
        router = router.merge(reflection.layer(middleware::from_fn(known_only)));
    }
    Ok(router)
}

/// Whether a request is gRPC or gRPC-Web.
#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// A problem from before a method was found.
#[must_use]
pub fn refusal(problem: &Problem, language: &'static str) -> Response {
    status(problem, language).into_http()
}

/// Only known callers may list the services.
async fn known_only(request: Request, next: Next) -> Response {
    let ask = request.extensions().get::<Ask>();
    if ask.is_none_or(|ask| ask.caller().is_anonymous()) {
        return refusal(&RecordError::Refused(Refusal::Unauthenticated).problem(), ask.map_or(languages::DEFAULT, Ask::language));
    }
    next.run(request).await
}

/// The methods of one service.
#[derive(Clone)]
struct Methods {
    door: Arc<Door>,
    methods: Arc<std::collections::HashMap<String, Arc<Entry>>>,
}

/// Plain gRPC, or translated from gRPC-Web.
#[derive(Clone)]
struct Either(Methods);

impl Service<Request> for Either {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let methods = self.0.clone();
        let web = request.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc-web"));
        Box::pin(async move {
            if !is_grpc(request.headers()) {
                let language = request.extensions().get::<Ask>().map_or(languages::DEFAULT, Ask::language);
                return Ok(refusal(&RecordError::MediaType.problem(), language));
            }
            if web {
                let response = GrpcWebLayer::new().layer(methods).oneshot(request).await?;
                return Ok(response.map(Body::new).into_response());
            }
            Ok(methods.answer(request.map(tonic::body::Body::new)).await.map(Body::new))
        })
    }
}

impl Service<http::Request<tonic::body::Body>> for Methods {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let methods = self.clone();
        Box::pin(async move { Ok(methods.answer(request).await) })
    }
}

impl Methods {
    async fn answer(&self, request: http::Request<tonic::body::Body>) -> http::Response<tonic::body::Body> {
        let name = request.uri().path().rsplit('/').next().unwrap_or_default();
        let Some(entry) = self.methods.get(name).cloned() else { return Status::unimplemented("There is no such method.").into_http() };
        let Some(ask) = request.extensions().get::<Ask>().cloned() else { return Status::internal("").into_http() };
        let call = Call { door: &self.door, ask: &ask, entry: &entry };
        // Refused before a byte of the body is read, as with REST.
        if let Err(Failed(problem)) = call.permitted() {
            return status(&problem, ask.language()).into_http();
        }
        let deadline = match deadline(request.headers()) {
            Ok(Some(Duration::ZERO)) => return late(ask.language()).into_http(),
            Ok(deadline) => deadline,
            Err(problem) => return status(&problem, ask.language()).into_http(),
        };
        let mut grpc = Grpc::new(Raw).max_decoding_message_size(self.door.body_bytes);
        let one = One { door: self.door.clone(), entry: entry.clone(), ask: ask.clone(), deadline };
        if entry.method != Method::Watch {
            return grpc.unary(one, request).await;
        }
        let mut response = grpc.server_streaming(one, request).await;
        response.extensions_mut().insert(OpenStream);
        response
    }
}

/// One call.
struct One {
    door: Arc<Door>,
    entry: Arc<Entry>,
    ask: Ask,
    deadline: Option<Duration>,
}

fn late(language: &'static str) -> Status {
    status(&Problem::new(kinds::TIMEOUT, "The deadline of the call has passed."), language)
}

impl UnaryService<Bytes> for One {
    type Response = Bytes;
    type Future = BoxFuture<'static, Result<tonic::Response<Bytes>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let (door, entry, ask, deadline) = (self.door.clone(), self.entry.clone(), self.ask.clone(), self.deadline);
        let language = ask.language();
        Box::pin(async move {
            let call = Call { door: &door, ask: &ask, entry: &entry };
            let work = call.answer(request.into_inner());
            let answer = match deadline {
                None => work.await,
                Some(deadline) => tokio::time::timeout(deadline, work).await.map_err(|_| late(language))?,
            };
            answer.map(|bytes| tonic::Response::new(bytes.into())).map_err(|Failed(problem)| status(&problem, language))
        })
    }
}

impl ServerStreamingService<Bytes> for One {
    type Response = Bytes;
    type ResponseStream = BoxStream<'static, Result<Bytes, Status>>;
    type Future = BoxFuture<'static, Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let (door, entry, ask, deadline) = (self.door.clone(), self.entry.clone(), self.ask.clone(), self.deadline);
        let language = ask.language();
        Box::pin(async move {
            let call = Call { door: &door, ask: &ask, entry: &entry };
            let opened = call.watch(request.into_inner()).await.map_err(|Failed(problem)| status(&problem, language))?;
            let items = stream::unfold(Some(opened), move |opened| async move {
                let mut opened = opened?;
                loop {
                    match item(&opened.next().await?) {
                        Ok(Some(message)) => return Some((Ok(message), Some(opened))),
                        Ok(None) => {}
                        Err(Failed(problem)) => return Some((Err(status(&problem, language)), None)),
                    }
                }
            });
            let items: Self::ResponseStream = match deadline {
                None => items.boxed(),
                Some(deadline) => items.take_until(tokio::time::sleep(deadline)).chain(stream::once(async move { Err(late(language)) })).boxed(),
            };
            Ok(tonic::Response::new(items))
        })
    }
}

/// `grpc-timeout`: up to eight digits and a unit.
fn deadline(headers: &HeaderMap) -> Result<Option<Duration>, Problem> {
    let malformed = || Problem::new(kinds::MALFORMED, "grpc-timeout is up to eight digits and one of H, M, S, m, u, n.");
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let text = value.to_str().map_err(|_| malformed())?;
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(malformed)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed());
    }
    let count: u64 = digits.parse().map_err(|_| malformed())?;
    Ok(Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return Err(malformed()),
    }))
}

/// Messages as bytes: what is in them is read and written by the model.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GRPC-06: any text in the header is a time or an error.
    #[test]
    fn deadlines_are_read_as_specified() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            deadline(&headers).map_err(|problem| problem.kind.status)
        };
        assert_eq!(read("100m"), Ok(Some(Duration::from_millis(100))));
        assert_eq!(read("99999999H"), Ok(Some(Duration::from_secs(99_999_999 * 3600))));
        assert_eq!(deadline(&HeaderMap::new()), Ok(None));
        for wrong in ["", "m", "1", "999999999S", "-1S", "1x", "1.5S"] {
            assert_eq!(read(wrong), Err(400), "{wrong}");
        }
    }
}
