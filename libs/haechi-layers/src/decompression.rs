//! Unpacks compressed request bodies within bounds: a small body cannot become a large one unnoticed.

use crate::{
    json_depth::{JsonDepth, is_json},
    service::{refuse, whole},
};
use bytes::Bytes;
use flate2::write::{GzDecoder, ZlibDecoder};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::Body;
use std::{
    future::Future,
    io::{self, Write},
    pin::Pin,
    task::{Context, Poll},
};
use tower_service::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The limits of a compressed body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpacking {
    /// Bytes as they arrive.
    pub packed_bytes: usize,
    /// Bytes unpacked.
    pub unpacked_bytes: usize,
    /// How many times larger it may become.
    pub ratio: usize,
    /// How deep JSON may be nested, when the body is declared as JSON.
    pub json_depth: u32,
}

impl Default for Unpacking {
    fn default() -> Self {
        Self { packed_bytes: 256 << 10, unpacked_bytes: 1 << 20, ratio: 100, json_depth: 64 }
    }
}

/// Why a body was not unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnpackError {
    /// It is, or becomes, too large, or grows too much.
    TooLarge,
    /// It is not what `Content-Encoding` says, or was cut off.
    Broken,
    /// An encoding that is not unpacked here, or more than one.
    Unsupported,
    /// Its JSON is nested too deep.
    TooDeep,
}

impl UnpackError {
    /// The status for the error.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Broken | Self::TooDeep => StatusCode::BAD_REQUEST,
            Self::Unsupported => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }
}

/// Takes the unpacked bytes, up to the limit.
struct Bounded {
    out: Vec<u8>,
    most: usize,
}

impl Write for Bounded {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if self.out.len() + piece.len() > self.most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.out.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Unpacking {
    /// Unpacks a whole body; `None` when it is not packed.
    ///
    /// # Errors
    /// When it goes beyond the bounds, or is not what it says.
    pub fn unpack(&self, headers: &HeaderMap, body: &[u8]) -> Result<Option<Vec<u8>>, UnpackError> {
        let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
        let Some(encoding) = encodings.next() else { return Ok(None) };
        if encodings.next().is_some() {
            return Err(UnpackError::Unsupported);
        }
        if body.len() > self.packed_bytes {
            return Err(UnpackError::TooLarge);
        }
        let most = self.unpacked_bytes.min(body.len().saturating_mul(self.ratio));
        let sink = Bounded { out: Vec::new(), most };
        let unpacked = match encoding.to_str().map(str::to_ascii_lowercase).as_deref() {
            Ok("identity") => return Ok(None),
            Ok("gzip" | "x-gzip") => {
                let mut decoder = GzDecoder::new(sink);
                decoder.write_all(body).and_then(|()| decoder.try_finish()).and_then(|()| decoder.finish())
            }
            Ok("deflate") => {
                let mut decoder = ZlibDecoder::new(sink);
                decoder.write_all(body).and_then(|()| decoder.try_finish()).and_then(|()| decoder.finish())
            }
            _ => return Err(UnpackError::Unsupported),
        };
        match unpacked {
            Ok(sink) if is_json(headers) && JsonDepth::default().read(&sink.out) > self.json_depth => Err(UnpackError::TooDeep),
            Ok(sink) => Ok(Some(sink.out)),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Err(UnpackError::TooLarge),
            Err(_) => Err(UnpackError::Broken),
        }
    }
}

/// Unpacks gzip and deflate bodies of requests before the service sees them; the service finds a plain body.
#[derive(Clone, Copy, Debug, Default)]
pub struct DecompressionLayer {
    unpacking: Unpacking,
}

impl DecompressionLayer {
    /// With these bounds.
    #[must_use]
    pub fn new(unpacking: Unpacking) -> Self {
        Self { unpacking }
    }
}

impl<S> tower_layer::Layer<S> for DecompressionLayer {
    type Service = Decompressed<S>;

    fn layer(&self, inner: S) -> Decompressed<S> {
        Decompressed { inner, unpacking: self.unpacking }
    }
}

/// A service behind [`DecompressionLayer`].
#[derive(Clone, Debug)]
pub struct Decompressed<S> {
    inner: S,
    unpacking: Unpacking,
}

impl<S, B, R> Service<Request<B>> for Decompressed<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + From<Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    R: From<&'static str> + Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let plain = request.headers().get_all(header::CONTENT_ENCODING).iter().all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity"));
        if plain {
            return Box::pin(self.inner.call(request));
        }
        // The service that was polled as ready is the one that is called.
        let fresh = self.inner.clone();
        let (mut inner, unpacking) = (std::mem::replace(&mut self.inner, fresh), self.unpacking);
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let body = match whole(body, unpacking.packed_bytes, "the body is too large").await {
                Ok(body) => body,
                Err((status, text)) => return Ok(refuse(status, text)),
            };
            let plain = match unpacking.unpack(&parts.headers, &body) {
                Ok(plain) => plain.map_or(body, Bytes::from),
                Err(error) => return Ok(refuse(error.status(), "the body cannot be unpacked")),
            };
            parts.headers.remove(header::CONTENT_ENCODING);
            parts.headers.remove(header::TRANSFER_ENCODING);
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(plain.len()));
            inner.call(Request::from_parts(parts, B::from(plain))).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{
        Compression,
        write::{GzEncoder, ZlibEncoder},
    };

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn headers(encodings: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for encoding in encodings {
            headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        headers
    }

    /// DOS [V4.3.1 V1.5.2]: a bomb is refused when it grows, long before it is unpacked.
    #[test]
    fn a_body_grows_within_bounds() {
        let unpacking = Unpacking { packed_bytes: 10_000, unpacked_bytes: 100_000, ratio: 50, ..Unpacking::default() };
        let honest: Vec<u8> = (0..20_000u32).flat_map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[..1].to_vec()).take(5_000).collect();
        assert_eq!(unpacking.unpack(&headers(&["gzip"]), &gzip(&honest)), Ok(Some(honest.clone())));
        let mut deflate = ZlibEncoder::new(Vec::new(), Compression::fast());
        deflate.write_all(&honest).unwrap();
        assert_eq!(unpacking.unpack(&headers(&["deflate"]), &deflate.finish().unwrap()), Ok(Some(honest)));
        for (what, bomb) in [("large", vec![0; 50_000_000]), ("steep", vec![0; 60_000])] {
            assert_eq!(unpacking.unpack(&headers(&["gzip"]), &gzip(&bomb)), Err(UnpackError::TooLarge), "{what}");
        }
        assert_eq!(unpacking.unpack(&headers(&["gzip"]), &[0; 10_001]), Err(UnpackError::TooLarge));
    }

    #[test]
    fn depth_is_looked_at_when_it_is_unpacked() {
        let mut json = headers(&["gzip"]);
        json.insert(header::CONTENT_TYPE, HeaderValue::from_static("Application/JSON"));
        let nested = |depth: usize| gzip(format!("{}1{}", "[".repeat(depth), "]".repeat(depth)).as_bytes());
        assert!(Unpacking::default().unpack(&json, &nested(64)).is_ok());
        assert_eq!(Unpacking::default().unpack(&json, &nested(65)), Err(UnpackError::TooDeep));
        assert!(Unpacking::default().unpack(&headers(&["gzip"]), &nested(65)).is_ok());
    }

    #[test]
    fn what_is_not_what_it_says_is_refused() {
        let unpacking = Unpacking::default();
        let packed = gzip(b"hello hello hello");
        assert_eq!(unpacking.unpack(&headers(&[]), b"plain"), Ok(None));
        assert_eq!(unpacking.unpack(&headers(&["identity"]), b"plain"), Ok(None));
        for (encodings, body, error) in [
            (&["gzip"][..], &b"plain"[..], UnpackError::Broken),
            (&["gzip"], &packed[..packed.len() - 5], UnpackError::Broken),
            (&["br"], b"x", UnpackError::Unsupported),
            (&["gzip, gzip"], &packed, UnpackError::Unsupported),
            (&["gzip", "gzip"], &packed, UnpackError::Unsupported),
        ] {
            assert_eq!(unpacking.unpack(&headers(encodings), body), Err(error), "{encodings:?}");
        }
    }
}
