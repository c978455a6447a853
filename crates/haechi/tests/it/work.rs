//! Work outside a request: policies about jobs.

use crate::access::{against, change, folder, haechi, text, write};
use std::path::Path;

const JOBS: &str = "[jobs.remind]\nas = \"service:billing\"\ninput = { task = { type = \"uuid\", required = true } }\n\
                    do = { update = \"tasks\", id = { from = \"/input/task\" }, data = { state = \"done\" } }\n\
                    [jobs.close_day]\nas = \"service:billing\"\ndo = { create = \"tasks\", data = { title = \"closed\" } }\n";
const WORK: &str = "@id(\"leads-remind\") permit (principal in Role::\"lead\", action == Work::Action::\"enqueue\", resource == Work::Job::\"remind\");\n\
                    @id(\"all\") @everything(\"repairs\") permit (principal in Role::\"lead\", action, resource);\n";

fn with_jobs(name: &str) -> std::path::PathBuf {
    let root = folder(name);
    change(&root, "haechi.toml", "[anonymous]", "[services.billing]\nroles = [\"lead\"]\n[anonymous]");
    write(&root, "jobs/all.toml", JOBS);
    write(&root, "policies/work.cedar", WORK);
    root
}

fn run(root: &Path, arguments: &[&str]) -> (bool, String) {
    let output = haechi(root).args(arguments).output().unwrap();
    (output.status.success(), text(&output))
}

/// The reach table, policy tests and `explain` show jobs; `@everything` does not reach them.
#[test]
fn policies_about_jobs_are_shown_and_explained() {
    let root = with_jobs("jobs-shown");
    let (good, said) = run(&root, &["check"]);
    assert!(good, "{said}");
    let of = |job: &str| said.split(&format!("Work::Job/{job}\n")).nth(1).unwrap().split("\nWork::").next().unwrap().to_owned();
    assert!(of("remind").contains("lead             enqueue*") && of("remind").contains("member           nothing"), "{said}");
    assert!(of("close_day").contains("lead             nothing"), "{said}");
    assert!(said.contains("lint: no policy lets anybody enqueue the job close_day") && !said.contains("enqueue the job remind"), "{said}");
    let (_, said) = run(&root, &["--json", "check"]);
    assert!(said.contains(r#""who":"lead","collection":"Work::Job/remind","action":"enqueue","reach":"all""#), "{said}");
    let (_, said) = run(&root, &["generate", "cedar"]);
    assert!(said.contains("namespace Work {\n  entity Job;\n") && said.contains("action \"enqueue\" appliesTo"), "{said}");

    let case = |who: &str, action: &str, on: &str, expect: &str| {
        format!("[[case]]\nas = \"{who}\"\ndo = \"{action}\"\non = \"{on}\"\nexpect = \"{expect}\"\n")
    };
    let people = "[people.kim]\nroles = [\"lead\"]\n[people.lee]\nroles = [\"member\"]\n";
    let tests = [
        case("kim", "enqueue", "Work::Job/remind", "allowed"),
        case("kim", "enqueue", "Work::Job/close_day", "denied"),
        case("kim", "read", "Work::Job/remind", "denied"),
        case("lee", "enqueue", "Work::Job/remind", "denied"),
        case("anonymous", "enqueue", "Work::Job/remind", "denied"),
    ];
    write(&root, "policies/tests/work.toml", &format!("{people}{}", tests.concat()));
    let (good, said) = run(&root, &["test"]);
    assert!(good && said.contains("5 cases pass, 0 fail"), "{said}");
    for (wrong, words) in [
        (case("lee", "enqueue", "Work::Job/remind", "allowed"), "lee enqueue Work::Job/remind: expected allowed, found denied"),
        (case("kim", "enqueue", "Work::Job/remnd", "allowed"), "no job is named `remnd`"),
        (case("kim", "enqueue", "Work::Job/remind", "allowed") + "hidden = [\"title\"]\n", "`hidden` is about rows; Work::Job/remind is none"),
        (case("kim", "run", "Work::Job/remind", "allowed"), "no action of Work::Job is named `run`; actions: enqueue, read, cancel"),
    ] {
        write(&root, "policies/tests/work.toml", &format!("{people}{wrong}"));
        let (good, said) = run(&root, &["test"]);
        assert!(!good && said.contains(words), "{said}");
    }
    std::fs::remove_file(root.join("policies/tests/work.toml")).unwrap();

    assert!(run(&root, &["migrate", "apply"]).0);
    let (good, said) = run(&root, &["import", "users", root.join("seed/users.csv").to_str().unwrap()]);
    assert!(good, "{said}");
    let (good, said) = run(&root, &["explain", "--as", "kim", "enqueue", "Work::Job/remind"]);
    assert!(good && said.ends_with("kim may enqueue on Work::Job/remind: no\n"), "{said}");
    assert!(said.contains("permit leads-remind (policies/work.cedar:1): is for the role lead") && !said.contains("permit all"), "{said}");
    let (_, said) = run(&root, &["explain", "--as", "services::\"billing\"", "--role", "lead", "enqueue", "Work::Job/remind"]);
    assert!(said.ends_with(": yes\n"), "{said}");
    let (_, said) = run(&root, &["explain", "--as", "anonymous", "enqueue", "Work::Job/remind"]);
    assert!(said.contains("callers without credentials reach nothing that is no row") && said.ends_with(": no\n"), "{said}");
    let (good, said) = run(&root, &["explain", "--as", "kim", "run", "Work::Job/remind"]);
    assert!(!good && said.contains("actions: enqueue, read, cancel"), "{said}");
    let (good, said) = run(&root, &["explain", "--as", "kim", "enqueue", "Work::Job/remnd"]);
    assert!(!good && said.contains("no job is named `remnd`"), "{said}");
    // Each explanation reads a person past policies, and leaves an entry.
    let (_, said) = run(&root, &["audit", "export"]);
    assert!(said.matches("Work::Job/remind").count() >= 3, "{said}");

    // A key is limited to what its scopes name; a star is for jobs only when it says so.
    let key = |scope: &str| run(&root, &["--json", "key", "create", "robot", "--role", "lead", "--scope", scope]);
    for (scope, answer) in [("tasks:list", "no"), ("*:*", "no"), ("Work::Job/remind:enqueue", "yes"), ("Work::Job/*:enqueue", "yes")] {
        let (good, made) = key(scope);
        assert!(good, "{scope}: {made}");
        let made: serde_json::Value = serde_json::from_str(&made).unwrap();
        let (_, said) = run(&root, &["explain", "--key", made["id"].as_str().unwrap(), "enqueue", "Work::Job/remind"]);
        assert!(said.ends_with(&format!(": {answer}\n")), "{scope}: {said}");
        assert_eq!(said.contains("the key's scopes do not hold Work::Job/remind:enqueue"), answer == "no", "{scope}: {said}");
    }
    for scope in ["Work::Job/remnd:enqueue", "Work::Job/remind:run", "Work::Job/remind:*", "Work::Topic/x:enqueue"] {
        assert!(!key(scope).0, "{scope} is accepted");
    }
    std::fs::remove_dir_all(root).unwrap();
}

/// What changes about jobs is told as a change of access.
#[test]
fn changes_of_work_are_changes_of_access() {
    let old = with_jobs("jobs-old");
    let root = with_jobs("jobs-new");
    let state = old.to_str().unwrap();
    assert_eq!(against(&root, state, &[]).0, 0);
    let told = |path: &str, from: &str, to: &str, code: i32, words: &str| {
        change(&root, path, from, to);
        let (found, said) = against(&root, state, &[]);
        change(&root, path, to, from);
        assert!(found == code && said.contains(words), "{to}: {found} {said}");
    };
    let lead = "permit (principal in Role::\"lead\", action == Work::Action::\"enqueue\", resource == Work::Job::\"remind\")";
    told("policies/work.cedar", lead, &lead.replace("lead", "member"), 3, "member gains, on every row, enqueue on Work::Job/remind");
    told(
        "policies/work.cedar",
        lead,
        &lead.replace("== Work::Job::\"remind\"", "is Work::Job"),
        3,
        "lead gains, on every row, enqueue on Work::Job/close_day",
    );
    let closed = format!("{lead} when {{ context.now > datetime(\"2020-01-01\") }}");
    told("policies/work.cedar", lead, &closed, 0, "the conditions of enqueue on Work::Job/remind changed: narrower: nobody gains");
    told("jobs/all.toml", "state = \"done\"", "state = \"open\"", 3, "the job remind was `");
    told(
        "haechi.toml",
        "[services.billing]\nroles = [\"lead\"]",
        "[services.billing]\nroles = [\"lead\", \"member\"]",
        3,
        "the service billing does its own work with lead, member",
    );
    told(
        "haechi.toml",
        "[services.billing]\nroles = [\"lead\"]",
        "[services.billing]\nroles = []",
        0,
        "the service billing does its own work with no role",
    );
    for root in [root, old] {
        std::fs::remove_dir_all(root).unwrap();
    }
}
