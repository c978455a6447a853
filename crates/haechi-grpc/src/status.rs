//! Problems as `google.rpc.Status`: code, message, and details for fields, reason and retry.

use bytes::Bytes;
use haechi_model::{write_bytes, write_varint};
use haechi_problem::{Problem, kinds, languages};
use tonic::{Code, Status};

/// A problem as a gRPC status. The message is English, as gRPC requires; the details hold the text in the caller's language.
pub(crate) fn status(problem: &Problem, language: &'static str) -> Status {
    let code = code(problem);
    Status::with_details(code, problem.detail.to_string(), Bytes::from(details(problem, code, language)))
}

fn code(problem: &Problem) -> Code {
    match (problem.kind, problem.kind.status) {
        (kind, _) if kind == kinds::NOT_UNIQUE => Code::AlreadyExists,
        (kind, _) if kind == kinds::UNKNOWN => Code::Unknown,
        (_, 400 | 405 | 406 | 415 | 422) => Code::InvalidArgument,
        (_, 401) => Code::Unauthenticated,
        (_, 403) => Code::PermissionDenied,
        (_, 404) => Code::NotFound,
        (_, 408) => Code::DeadlineExceeded,
        (_, 409) => Code::FailedPrecondition,
        (_, 410) => Code::OutOfRange,
        (_, 412) => Code::Aborted,
        (_, 413 | 429 | 431 | 507) => Code::ResourceExhausted,
        (_, 503) => Code::Unavailable,
        _ => Code::Internal,
    }
}

/// `google.rpc.Status` with its details, each an `Any`.
fn details(problem: &Problem, code: Code, language: &'static str) -> Vec<u8> {
    let localized = |text: &str| {
        let mut message = Vec::with_capacity(text.len() + 8);
        write_bytes(1, language.as_bytes(), &mut message);
        write_bytes(2, languages::translated(text, language).as_bytes(), &mut message);
        message
    };
    let other = language != languages::DEFAULT;
    let mut out = Vec::with_capacity(256);
    out.push(0x08);
    write_varint(u64::from((code as i32).unsigned_abs()), &mut out);
    write_bytes(2, problem.detail.as_bytes(), &mut out);
    let mut info = Vec::new();
    write_bytes(1, problem.kind.slug.as_bytes(), &mut info);
    write_bytes(2, b"haechi", &mut info);
    any("google.rpc.ErrorInfo", &info, &mut out);
    if !problem.errors.is_empty() {
        let mut request = Vec::new();
        for error in &problem.errors {
            let mut violation = Vec::new();
            write_bytes(1, error.pointer.trim_start_matches('/').replace('/', ".").as_bytes(), &mut violation);
            write_bytes(2, error.detail.as_bytes(), &mut violation);
            write_bytes(3, error.code.as_bytes(), &mut violation);
            if other {
                write_bytes(4, &localized(&error.detail), &mut violation);
            }
            write_bytes(1, &violation, &mut request);
        }
        any("google.rpc.BadRequest", &request, &mut out);
    }
    if other {
        any("google.rpc.LocalizedMessage", &localized(&problem.detail), &mut out);
    }
    if let Some(seconds) = problem.retry_after_s {
        let (mut duration, mut retry) = (vec![0x08], Vec::new());
        write_varint(seconds.into(), &mut duration);
        write_bytes(1, &duration, &mut retry);
        any("google.rpc.RetryInfo", &retry, &mut out);
    }
    out
}

fn any(name: &str, value: &[u8], out: &mut Vec<u8>) {
    let mut any = Vec::with_capacity(value.len() + 48);
    write_bytes(1, format!("type.googleapis.com/{name}").as_bytes(), &mut any);
    write_bytes(2, value, &mut any);
    write_bytes(3, &any, out);
}
