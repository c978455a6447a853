//! What somebody could learn from the time that an answer takes. Samples are compared with each other, never with a clock.

use crate::fixture::FILES;
use haechi_gate::ImportRow;
use haechi_model::{Json, parse_json};
use haechi_testkit::{Backend, TestApp, on_both, with_more};
use serde_json::json;
use std::time::{Duration, Instant};

on_both!(right_and_wrong_guesses_take_as_long);

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

/// A text that begins with a guess.
fn hidden(guess: &str) -> String {
    format!("{guess} {}", "ab".repeat(250))
}

/// Notes that hide a text from the administrator and show it in another field: a guess is right at once, or wrong after all of it.
async fn hide(app: &TestApp, owner: &str) {
    let revision = app.house.gate.revision();
    let notes = revision.app.collection("notes").unwrap();
    let text = hidden(RIGHT);
    let row = |at: usize| {
        let row = json!({ "title": "closed", "body": text, "secret": text, "author": owner });
        let Json::Object(members) = parse_json(row.to_string().as_bytes()).unwrap() else { panic!("no object") };
        let value = |(name, json): &(Box<str>, Json)| {
            let field = notes.field(name).unwrap();
            (field, notes.fields[field].ty.read(json).unwrap())
        };
        ImportRow { line: at + 1, id: None, values: members.iter().map(value).collect() }
    };
    let rows = (0..HIDDEN).map(row).collect();
    app.house.gate.import(&app.house.keys.import, notes.id, rows).await.unwrap_or_else(|errors| panic!("{errors:?}"));
}

/// What decides is in another record: a database looks there last, unless it must not.
const BY_PARENT: &str = r#"
permit (principal in Role::"admin", action in [Action::"list", Action::"read"], resource is notes);
permit (principal in Role::"admin", action == Action::"read_secret", resource is notes) when { resource has parent && resource.parent.title == "open" };
"#;
const INDEXED: &str = "[[indexes]]\nfields = [\"secret\"]\n[[indexes]]\nfields = [\"body\"]";
const RIGHT: &str = "abababababababababababababababababababc";
/// It differs in its last letter: a search goes through all of the text, and far into it at each place.
const WRONG_GUESS: &str = "abababababababababababababababababababd";
const HIDDEN: usize = 3_000;

/// T-oracle, by time [V14.2.2]: a guess at what somebody may not read takes as long when it is right as when it is wrong. The
/// same test must tell the two apart in a field that they may read.
async fn right_and_wrong_guesses_take_as_long(backend: Backend) {
    let limits = "[limits]\ncaller_per_minute = 1000000";
    let app = TestApp::start(
        backend,
        &with_more(FILES, &[("haechi.toml", limits), ("policies/main.cedar", BY_PARENT), ("collections/notes.toml", INDEXED)]),
    )
    .await;
    let (kim, ann) = (app.person("kim", &["member"]).await, app.person("ann", &["admin"]).await);
    hide(&app, &kim.id).await;
    // There is one that opens others: the database cannot tell before it looks.
    kim.create("notes", json!({ "title": "open" })).await;
    let took = async |field: &str, operator: &str, guess: &str, found: usize| {
        // The filter has a second field that its index does not hold, so every row that is found must be fetched.
        let query = format!("{{ notes_aggregate(filter: {{{field}: {{{operator}: \"{guess}\"}}, rank: {{is_null: true}}}}) {{ count }} }}");
        let began = Instant::now();
        let reply = ann.post("/graphql", json!({ "query": query })).await;
        let time = began.elapsed();
        assert_eq!(reply.json()["data"]["notes_aggregate"]["count"], found, "{}", reply.text());
        time
    };
    // Searched, and found by the index.
    for (operator, right_guess, wrong_guess) in [("has", RIGHT.to_owned(), WRONG_GUESS.to_owned()), ("eq", hidden(RIGHT), hidden(WRONG_GUESS))] {
        let (mut right, mut wrong, mut differences) = (Vec::new(), Vec::new(), Vec::new());
        let (mut shown_right, mut shown_wrong, mut seen) = (Vec::new(), Vec::new(), 0.0);
        for round in 0..ROUNDS {
            for _ in 0..PAIRS {
                shown_right.push(took("body", operator, &right_guess, HIDDEN).await);
                shown_wrong.push(took("body", operator, &wrong_guess, 0).await);
            }
            seen = (larger(&shown_wrong, &shown_right) - 0.5).abs() / deviation(shown_right.len());
            for at in 0..PAIRS {
                // Each goes first as often as the other: what went before is felt.
                let first = at % 2 == 0;
                let one = took("secret", operator, if first { &right_guess } else { &wrong_guess }, 0).await;
                let other = took("secret", operator, if first { &wrong_guess } else { &right_guess }, 0).await;
                right.push(if first { one } else { other });
                wrong.push(if first { other } else { one });
            }
            differences.push((larger(&right, &wrong) - 0.5).abs() / deviation(right.len()));
            if differences[round] < LIMIT && seen > LIMIT {
                break;
            }
        }
        assert!(seen > LIMIT, "{operator}: the test would not see that a field is used: {seen:.1} deviations");
        assert!(
            differences.last().is_some_and(|last| *last < LIMIT),
            "{operator}: right and wrong guesses are told apart: {differences:.1?} deviations"
        );
    }
    app.finish().await;
}
