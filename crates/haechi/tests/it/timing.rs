//! What somebody could learn from the time that an answer takes. Samples are compared with each other, never with a clock.

use crate::fixture::FILES;
use haechi_testkit::{Backend, TestApp, with_more};
use serde_json::json;
use std::time::{Duration, Instant};

const GOOD: &str = "seven purple otters dance";
const WRONG: &str = "eleven green boats sail away";
/// Pairs that are compared; attempts are spread over as many addresses.
const PAIRS: usize = 60;
/// When there seems to be a difference, as many pairs again are added to those there are, up to so many rounds.
const ROUNDS: usize = 3;
/// Deviations of the statistic, as it is under "no difference", from which there is one.
const LIMIT: f64 = 4.0;

/// Mann and Whitney's deviation for two samples of one size.
fn deviation(size: usize) -> f64 {
    let size = size as f64;
    ((2.0 * size + 1.0) / (12.0 * size * size)).sqrt()
}

/// How often a value of the first sample is larger than one of the second, from 0 to 1: a half when nothing tells them apart.
fn larger(first: &[Duration], second: &[Duration]) -> f64 {
    let wins: f64 = first
        .iter()
        .flat_map(|a| {
            second.iter().map(move |b| {
                if a > b {
                    1.0
                } else if a == b {
                    0.5
                } else {
                    0.0
                }
            })
        })
        .sum();
    wins / (first.len() * second.len()) as f64
}

/// AUTHN-03 [V6.3.8 V11.2.4]: Mann and Whitney's test over interleaved sign-ins of somebody and of nobody. The same test
/// must tell a sign-in from a refusal that hashes nothing: it can see a difference of one hash.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn known_and_unknown_people_take_as_long() {
    let files = with_more(FILES, &[("haechi.toml", "[auth]\nsign_up = \"open\"")]);
    let app = TestApp::start(Backend::Sqlite, &files).await;
    // What is there grows plainer with every sample; what the machine does beside does not.
    let (mut known, mut unknown, mut differences) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        sample(&app, round, &mut known, &mut unknown).await;
        differences.push((larger(&known, &unknown) - 0.5).abs() / deviation(known.len()));
        if differences[round] < LIMIT {
            break;
        }
    }
    assert!(differences.last().is_some_and(|last| *last < LIMIT), "somebody and nobody are told apart: {differences:.1?} deviations");
    app.finish().await;
}

/// Signs in as somebody and as nobody in turn.
async fn sample(app: &TestApp, round: usize, known: &mut Vec<Duration>, unknown: &mut Vec<Duration>) {
    for at in 0..PAIRS {
        let anybody = app.anonymous().from_address(&format!("10.{round}.{at}.1"));
        anybody.post("/auth/v1/sign-up", json!({"email": format!("known{at}@{round}.example.com"), "password": GOOD})).await.expect(202);
    }
    let took = async |email: String, password: &str, network: usize| {
        let anybody = app.anonymous().from_address(&format!("10.{}.{network}.1", 100 + round));
        let body = json!({"email": email, "password": password});
        let began = Instant::now();
        let reply = anybody.post("/auth/v1/sign-in", body).await;
        (began.elapsed(), reply.status)
    };
    let mut unhashed = Vec::new();
    for at in 0..PAIRS {
        let (time, status) = took(format!("known{at}@{round}.example.com"), WRONG, at).await;
        assert_eq!(status, 401);
        known.push(time);
        let (time, status) = took(format!("nobody{at}@{round}.example.com"), WRONG, at).await;
        assert_eq!(status, 401);
        unknown.push(time);
        // Planted: a refusal before the hash.
        let (time, status) = took(format!("known{at}@{round}.example.com"), &"x".repeat(2_000), at).await;
        assert_eq!(status, 422);
        unhashed.push(time);
    }
    assert!(larger(known, &unhashed) > 0.95, "the test would not see a missing hash");
}
