//! A leaky bucket per key (GCRA), in memory of a fixed size for any number of keys.

use crate::service::{Finish, Guard, Guarded, refuse};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hash},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

/// Buckets that share one place; when all are taken, the emptiest makes room.
const WAYS: usize = 8;
const LOCKS: usize = 64;

/// How much is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests that may come at once.
    pub burst: u32,
    /// Time over which as many come back, milliseconds.
    pub per_ms: u64,
}

/// The decision about one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may pass.
    pub allowed: bool,
    /// Requests that may still come at once.
    pub remaining: u32,
    /// Until another one may come, or until the bucket is empty again; milliseconds.
    pub reset_ms: u64,
}

#[derive(Clone, Copy, Default)]
struct Bucket {
    key: u64,
    /// When it is empty, microseconds on the limiter's clock.
    empty_at: u64,
}

/// The limiter. Keys are hashed with a secret of the process, so nobody can aim at a place.
pub struct RateLimit {
    rate: Rate,
    hasher: RandomState,
    locks: Vec<Mutex<Vec<[Bucket; WAYS]>>>,
    policy: HeaderValue,
    started: Instant,
}

impl RateLimit {
    /// With room for about so many keys at once, 16 bytes each.
    #[must_use]
    pub fn new(rate: Rate, keys: usize) -> Self {
        let sets = keys.div_ceil(WAYS * LOCKS).max(1);
        let locks = (0..LOCKS).map(|_| Mutex::new(vec![[Bucket::default(); WAYS]; sets])).collect();
        let started = Instant::now();
        let policy = format!("\"default\";q={};w={}", rate.burst, rate.per_ms.div_ceil(1000));
        let policy = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static(""));
        Self { rate, hasher: RandomState::new(), locks, policy, started }
    }

    /// Counts one request of a key now.
    pub fn take(&self, key: impl Hash) -> Decision {
        let now = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.count(key, 1, now)
    }

    /// Counts several requests of a key now: all of them, or none when there is no room for all.
    pub fn take_many(&self, key: impl Hash, requests: u32) -> Decision {
        let now = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.count(key, requests, now)
    }

    /// Counts one request of a key at a time, milliseconds on a clock that never goes back.
    pub fn take_at(&self, key: impl Hash, now_ms: u64) -> Decision {
        self.count(key, 1, now_ms.saturating_mul(1000))
    }

    fn count(&self, key: impl Hash, requests: u32, now: u64) -> Decision {
        let hash = self.hasher.hash_one(key).max(1);
        let mut sets = self.locks[(hash % LOCKS as u64) as usize].lock().unwrap_or_else(PoisonError::into_inner);
        let at = ((hash / LOCKS as u64) % sets.len() as u64) as usize;
        let set = &mut sets[at];
        let known = set.iter().position(|bucket| bucket.key == hash);
        // The key with the emptiest bucket loses its place, which costs it little; the busiest keys stay.
        let place = known.or_else(|| (0..WAYS).min_by_key(|at| set[*at].empty_at)).unwrap_or_default();
        let bucket = &mut set[place];
        if known.is_none() {
            *bucket = Bucket { key: hash, empty_at: 0 };
        }
        let cost = (self.rate.per_ms * 1000 / u64::from(self.rate.burst.max(1))).max(1);
        let (one, full) = (cost, cost * u64::from(self.rate.burst));
        let cost = one.saturating_mul(requests.into());
        let level = bucket.empty_at.saturating_sub(now);
        if level.saturating_add(cost) > full {
            return Decision { allowed: false, remaining: 0, reset_ms: (level.saturating_add(cost) - full).div_ceil(1000) };
        }
        bucket.empty_at = now + level + cost;
        let remaining = u32::try_from((full - level - cost) / one).unwrap_or(u32::MAX);
        Decision { allowed: true, remaining, reset_ms: (level + cost).div_ceil(1000) }
    }

    /// Adds the decision to a reply (draft-ietf-httpapi-ratelimit-headers): quota and window, remaining requests, time to reset.
    pub fn mark(&self, decision: Decision, headers: &mut HeaderMap) {
        let seconds = |ms: u64| ms.div_ceil(1000);
        headers.insert("ratelimit-policy", self.policy.clone());
        // On every reply: written without the machinery of formatting.
        let mut text = Vec::with_capacity(40);
        text.extend_from_slice(b"\"default\";r=");
        write_decimal(u64::from(decision.remaining), &mut text);
        text.extend_from_slice(b";t=");
        write_decimal(seconds(decision.reset_ms), &mut text);
        if let Ok(value) = HeaderValue::from_bytes(&text) {
            headers.insert("ratelimit", value);
        }
        if !decision.allowed {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds(decision.reset_ms).max(1)));
        }
    }
}

fn write_decimal(number: u64, out: &mut Vec<u8>) {
    let (mut digits, mut at, mut left) = ([0; 20], 20, number);
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Finds the key of a request.
type KeyOf<B> = dyn Fn(&Request<B>) -> Option<String> + Send + Sync;

/// Answers 429 to requests that come too fast.
pub struct RateLimitLayer<B> {
    limit: Arc<RateLimit>,
    key: Arc<KeyOf<B>>,
}

impl<B> RateLimitLayer<B> {
    /// `key` names the sender of a request; `None` is not counted.
    pub fn new(limit: RateLimit, key: impl Fn(&Request<B>) -> Option<String> + Send + Sync + 'static) -> Self {
        Self { limit: Arc::new(limit), key: Arc::new(key) }
    }
}

impl<B> Clone for RateLimitLayer<B> {
    fn clone(&self) -> Self {
        Self { limit: self.limit.clone(), key: self.key.clone() }
    }
}

impl<S, B> tower_layer::Layer<S> for RateLimitLayer<B> {
    type Service = Guarded<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Guarded::new(inner, self.clone())
    }
}

impl<B, R: From<&'static str>> Guard<B, R> for RateLimitLayer<B> {
    fn begin(&self, request: &mut Request<B>) -> Result<Finish<R>, Response<R>> {
        let Some(key) = (self.key)(request) else { return Ok(Box::new(|_| ())) };
        let limit = self.limit.clone();
        let decision = limit.take(key);
        if decision.allowed {
            return Ok(Box::new(move |response| limit.mark(decision, response.headers_mut())));
        }
        let mut response = refuse(StatusCode::TOO_MANY_REQUESTS, "too many requests");
        limit.mark(decision, response.headers_mut());
        Err(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let limit = RateLimit::new(Rate { burst: 5, per_ms: 1000 }, 1000);
        let burst: Vec<bool> = (0..7).map(|_| limit.take_at("kim", 10).allowed).collect();
        assert_eq!(burst, [true, true, true, true, true, false, false]);
        let refused = limit.take_at("kim", 10);
        assert_eq!((refused.remaining, refused.reset_ms), (0, 200));
        assert!(limit.take_at("kim", 210).allowed && !limit.take_at("kim", 210).allowed);
        assert!(limit.take_at("lee", 210).allowed);
        // A second later everything is as at first.
        assert_eq!((0..7).filter(|_| limit.take_at("kim", 5000).allowed).count(), 5);
    }

    /// DOS-12: a million keys neither grow the memory nor reset the bucket of a flooder.
    #[test]
    fn a_million_keys_change_nothing() {
        let limit = RateLimit::new(Rate { burst: 10, per_ms: 60_000 }, 10_000);
        for _ in 0..10 {
            assert!(limit.take_at("flood", 5).allowed);
        }
        for key in 0..1_000_000u32 {
            limit.take_at(key, 5);
        }
        assert!(!limit.take_at("flood", 5).allowed, "other keys pushed out the one that asks most");
        let buckets: usize = limit.locks.iter().map(|lock| lock.lock().unwrap().len() * WAYS).sum();
        assert!(buckets <= 10_000 + LOCKS * WAYS);
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 7, 10, 60_000, u64::MAX] {
            let mut out = Vec::new();
            write_decimal(number, &mut out);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }

    #[test]
    fn replies_say_what_remains() {
        let limit = RateLimit::new(Rate { burst: 2, per_ms: 60_000 }, 10);
        let mut headers = HeaderMap::new();
        limit.mark(limit.take_at("kim", 0), &mut headers);
        assert_eq!(
            (&headers["ratelimit-policy"], &headers["ratelimit"]),
            (&HeaderValue::from_static("\"default\";q=2;w=60"), &HeaderValue::from_static("\"default\";r=1;t=30"))
        );
        limit.take_at("kim", 0);
        limit.mark(limit.take_at("kim", 0), &mut headers);
        assert_eq!(headers["retry-after"], "30");
    }
}
