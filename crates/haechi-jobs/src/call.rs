//! A request to another service, as a job declares it. It may arrive more than once: its idempotency key is the job's run.

use crate::{
    Inner,
    effect::{BAD_INPUT, again, never},
    input::Input,
    queue::Fault,
};
use haechi_egress::{Destination, Error, Network, Reply, Request};
use haechi_model::{App, Egress, Job, Member, Value, format_datetime, write_json_text};
use http::{HeaderName, HeaderValue, header};
use std::time::UNIX_EPOCH;

/// The longest time that another service may ask to wait.
const WAIT_AT_MOST_MS: i64 = 24 * 3_600_000;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Sends the request of a job; good when the service accepts it.
pub(crate) async fn send(
    inner: &Inner,
    (app, job): (&App, &Job),
    (egress, path, members): (usize, &str, &[(String, Member)]),
    (input, run): (&Input, &str),
) -> Result<(), Fault> {
    let egress = &app.egress[egress];
    let destination = destination(egress).ok_or(never("address-not-allowed"))?;
    let url = format!("{}{path}", egress.url);
    let text = |text: &str| HeaderValue::try_from(text).map_err(|_| BAD_INPUT);
    let mut request = Request::post(&url, body(job, members, input, inner.now_ms()))
        .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .header(IDEMPOTENCY_KEY, text(run)?)
        .head_only();
    if let Some(bearer) = inner.around.bearer(egress).map_err(|()| again("no-credential"))? {
        let mut value = HeaderValue::try_from(format!("Bearer {bearer}")).map_err(|_| again("no-credential"))?;
        value.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, value);
    }
    match inner.client.get_or_init(haechi_egress::Client::new).send(&destination, request).await {
        Ok(reply) => judged(&reply, inner.now_ms()),
        Err(error) => Err(unsent(&error)),
    }
}

/// Where the requests of an egress may go.
fn destination(egress: &Egress) -> Option<Destination> {
    let url = haechi_egress::Url::parse(&egress.url).ok()?;
    if egress.networks.is_empty() {
        return Some(Destination::public(&egress.name));
    }
    let networks: Vec<Network> = egress.networks.iter().map(|text| text.parse()).collect::<Result<_, _>>().ok()?;
    Some(Destination::private(&egress.name, url.host_str()?.trim_matches(['[', ']']), url.port_or_known_default()?, &networks))
}

fn body(job: &Job, members: &[(String, Member)], input: &Input, now_ms: i64) -> Vec<u8> {
    let mut out = vec![b'{'];
    for (at, (name, member)) in members.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_json_text(name, &mut out);
        out.push(b':');
        match member {
            Member::Fixed(json) => json.write(&mut out),
            Member::Now => write_json_text(&format_datetime(now_ms), &mut out),
            Member::Input(field) => match input.iter().find(|(known, _)| known == field) {
                None | Some((_, Value::Null)) => out.extend_from_slice(b"null"),
                Some((_, value)) => job.input.fields[*field].ty.write(value, &mut out),
            },
        }
    }
    out.push(b'}');
    out
}

/// Whether a reply says that it was done, that it never will be, or that it may be later.
fn judged(reply: &Reply, now_ms: i64) -> Result<(), Fault> {
    match reply.status.as_u16() {
        200..=299 => Ok(()),
        300..=399 => Err(never("redirected")),
        // Credentials and addresses are set right by operators, and the service may come back.
        401 | 403 | 404 => Err(again("not-accepted")),
        408 | 425 | 429 | 503 => Err(Fault { wait_ms: retry_after(reply, now_ms), ..again("receiver-busy") }),
        400..=499 => Err(never("refused-by-receiver")),
        _ => Err(again("receiver-failed")),
    }
}

/// The wait that a reply asks for: seconds, or a date.
fn retry_after(reply: &Reply, now_ms: i64) -> Option<i64> {
    let text = reply.headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = text.parse::<u32>().ok().map(|seconds| i64::from(seconds) * 1000);
    let date = || httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_millis()).ok());
    let wait = seconds.or_else(|| date().map(|at| at - now_ms))?;
    (wait > 0).then(|| wait.min(WAIT_AT_MOST_MS))
}

fn unsent(error: &Error) -> Fault {
    match error {
        error if error.is_refusal() => never("address-not-allowed"),
        Error::Timeout(_) => again("timeout"),
        Error::Tls(..) => again("no-trusted-tls"),
        Error::Resolve(..) | Error::Connect(..) => again("unreachable"),
        _ => again("broken-reply"),
    }
}
