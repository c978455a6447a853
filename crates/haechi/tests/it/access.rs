//! Access told truly: what differs between two folders, and why somebody may or may not.

use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

const HAECHI: &str = "roles = [\"member\", \"lead\"]\n[anonymous]\nreach = []\n";
const TASKS: &str = "[fields]\ntitle = { type = \"text\", required = true }\nstate = { type = \"enum\", required = true, values = [\"open\", \"done\"], default = \"open\" }\n\
                     lead = { type = \"ref\", to = \"users\" }\nsalary = { type = \"int\", class = \"secret\" }\n";
const POLICIES: &str = "@id(\"members-read\") permit (principal in Role::\"member\", action in [Action::\"list\", Action::\"read\"], resource is tasks);\n\
                        @id(\"leads-delete\") permit (principal in Role::\"member\", action == Action::\"delete\", resource is tasks)\n\
                        when { resource has lead && resource.lead == principal };\n\
                        @id(\"chiefs-update\") permit (principal in Role::\"lead\", action == Action::\"update\", resource is tasks);\n";
const KIM: &str = "01920000-0000-7000-8000-000000000001";
const LEE: &str = "01920000-0000-7000-8000-000000000002";

pub(crate) fn folder(name: &str) -> PathBuf {
    let root = empty(name);
    write(&root, "haechi.toml", HAECHI);
    write(&root, "collections/tasks.toml", TASKS);
    write(&root, "policies/main.cedar", POLICIES);
    write(
        &root,
        "seed/users.csv",
        &format!("id,email,roles\n{KIM},kim@example.com,\"[\"\"member\"\"]\"\n{LEE},lee@example.com,\"[\"\"member\"\"]\"\n"),
    );
    let rows: String = (0..10)
        .map(|n| format!("01920001-0000-7000-8000-00000000000{n},t{n},{},{}\n", ["open", "done"][n % 2], if n < 3 { KIM } else { LEE }))
        .collect();
    write(&root, "seed/tasks.csv", &format!("id,title,state,lead\n{rows}"));
    root
}

fn empty(name: &str) -> PathBuf {
    let root = std::env::temp_dir().join(format!("haechi-access-{name}-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&root));
    std::fs::create_dir_all(&root).unwrap();
    root
}

pub(crate) fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

pub(crate) fn change(root: &Path, path: &str, from: &str, to: &str) {
    let text = std::fs::read_to_string(root.join(path)).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(root.join(path), text.replace(from, to)).unwrap();
}

pub(crate) fn haechi(root: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haechi"));
    command.arg("-C").arg(root);
    command
}

pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// What `check --against` prints, and its exit code.
pub(crate) fn against(root: &Path, state: &str, more: &[&str]) -> (i32, String) {
    let output = haechi(root).args(["check", "--against", state]).args(more).output().unwrap();
    (output.status.code().unwrap(), text(&output))
}

fn git(root: &Path, arguments: &[&str]) {
    let who = ["-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "init.defaultBranch=main"];
    let output = Command::new("git").arg("-C").arg(root).args(who).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

/// Each change of access is told for what it is; what is proven to open nothing ends with 0.
#[test]
fn each_change_is_told_for_what_it_is() {
    let root = folder("told");
    git(&root, &["init", "-q"]);
    git(&root, &["add", "."]);
    git(&root, &["commit", "-q", "-m", "one"]);
    assert_eq!(against(&root, "HEAD", &[]), (0, "compared with the commit HEAD:\n  nobody gains or loses\n".to_owned()));

    // From the lead to any task that has a title: neither way is proven, the rows of seed/ show it.
    let back = |root: &Path| git(root, &["checkout", "-q", "--", "."]);
    change(&root, "policies/main.cedar", "resource has lead && resource.lead == principal", "resource.title like \"t*\"");
    let (code, said) = against(&root, "HEAD", &[]);
    assert!(code == 3 && said.contains("the conditions of delete on tasks changed: whether it is wider or narrower is not proven"), "{said}");
    assert!(
        said.contains("was: @id(\"leads-delete\")") && said.contains("resource.lead == principal") && said.contains("is:  @id(\"leads-delete\")")
    );
    assert!(
        said.contains(&format!("+10 -0 pairs of person and row, of 2 people and anonymous, and 10 rows in seed/; + {KIM} on tasks/0192")),
        "{said}"
    );
    assert!(!said.contains("t1") && !said.contains("kim@"), "values are never named: {said}");
    back(&root);

    change(&root, "policies/main.cedar", "resource.lead == principal }", "resource.lead == principal || resource.state == \"done\" }");
    let (code, said) = against(&root, "HEAD", &[]);
    assert!(code == 3 && said.contains("delete on tasks changed: wider: nobody loses") && said.contains("+5 -0 pairs"), "{said}");
    back(&root);

    change(&root, "policies/main.cedar", "resource.lead == principal }", "resource.lead == principal && resource.state == \"done\" }");
    let (code, said) = against(&root, "HEAD", &[]);
    assert!(code == 0 && said.contains("delete on tasks changed: narrower: nobody gains") && said.contains("+0 -5 pairs"), "{said}");
    back(&root);

    change(&root, "policies/main.cedar", "resource.lead == principal", "principal == resource.lead");
    let (code, said) = against(&root, "HEAD", &[]);
    assert!(code == 0 && said.contains("delete on tasks changed: written otherwise, for the same rows") && said.contains("+0 -0 pairs"), "{said}");
    back(&root);

    change(&root, "policies/main.cedar", "when { resource has lead && resource.lead == principal }", "when { true }");
    let (code, said) = against(&root, "HEAD", &[]);
    assert!(code == 3 && said.contains("member now has on every row delete on tasks"), "{said}");
    back(&root);

    change(&root, "collections/tasks.toml", "class = \"secret\"", "class = \"internal\"");
    let (code, said) = against(&root, "HEAD", &[]);
    assert!(code == 3 && said.contains("tasks.salary was secret and is internal: those who may read a row see it"), "{said}");
    back(&root);

    change(&root, "haechi.toml", "[anonymous]", "[auth]\nsign_up = \"open\"\n[anonymous]");
    let (code, said) = against(&root, "HEAD", &[]);
    assert!(code == 3 && said.contains("sign_up was closed and is open"), "{said}");
    back(&root);

    // A person who is named by a policy is no role, and is told all the same.
    change(
        &root,
        "policies/main.cedar",
        "@id(\"chiefs",
        &format!("permit (principal == users::\"{LEE}\", action == Action::\"update\", resource is tasks);\n@id(\"chiefs"),
    );
    let (code, said) = against(&root, "HEAD", &[]);
    assert!(code == 3 && said.contains(&format!("users::\"{LEE}\" gains, on every row, update on tasks")), "{said}");
}

/// The three forms say the same; a state that is not there is told as such, and leaves nothing behind.
#[test]
fn a_state_is_a_folder_or_a_commit() {
    let (root, other) = (folder("one"), folder("other"));
    change(&root, "policies/main.cedar", "resource.lead == principal }", "resource.lead == principal || resource.title == \"*x*\" }");
    let other = other.display().to_string();
    let (code, said) = against(&root, &other, &["--format", "json"]);
    let value: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &value["may_open"], &value["changes"][0]["way"]), (3, &json!(true), &json!("wider")), "{said}");
    assert_eq!(value["changes"][0]["on"], json!([{ "collection": "tasks", "actions": ["delete"] }]));
    assert_eq!(against(&root, &other, &["--json"]).1, said);
    let (code, said) = against(&root, &other, &["--format", "markdown"]);
    assert!(
        code == 3
            && said.starts_with("## Access\n\n- **the conditions of delete on tasks changed: wider")
            && said.contains("  + @id(\"leads-delete\")")
    );
    let same = folder("same").display().to_string();
    assert_eq!(against(Path::new(&other), &same, &["--format", "markdown"]), (0, "## Access\n\nNobody gains or loses.\n".to_owned()));

    // Not a repository; no such commit; an option in a commit's place; a folder without an app.
    for state in ["HEAD", "--upload-pack=x", "HEAD:../.."] {
        let output = haechi(&root).arg("check").arg(format!("--against={state}")).output().unwrap();
        assert!(!output.status.success() && text(&output).contains("is neither a folder nor a commit"), "{}", text(&output));
    }
    let empty = empty("empty");
    let (code, said) = against(&root, &empty.display().to_string(), &[]);
    assert!(code == 1 && said.contains("holds no haechi.toml"), "{said}");
    write(Path::new(&other), "policies/main.cedar", "permit (");
    let (code, said) = against(&root, &other, &[]);
    assert!(code == 1 && said.contains("has errors: mend them there") && said.contains("policy-syntax"), "{said}");
    let output = haechi(&root).args(["check", "--against", "HEAD"]).env("PATH", "/nonexistent").output().unwrap();
    assert!(text(&output).contains("the program git must be on the path"), "{}", text(&output));
}

/// Why somebody may not, part by part, for people, for services, for keys and for nobody.
#[tokio::test]
async fn explain_says_why() {
    let root = folder("why");
    assert!(haechi(&root).args(["migrate", "apply"]).output().unwrap().status.success());
    for collection in ["users", "tasks"] {
        let file = root.join(format!("seed/{collection}.csv"));
        let output = haechi(&root).args(["import", collection]).arg(file).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
    }
    let explain = |arguments: &[&str]| {
        let output = haechi(&root).arg("explain").args(arguments).output().unwrap();
        (output.status.success(), text(&output))
    };
    let task = "tasks/01920001-0000-7000-8000-000000000005";
    let (good, said) = explain(&["--as", "kim", "delete", task]);
    assert!(good && said.ends_with(&format!("kim may delete on {task}: no\n")), "{said}");
    assert!(said.contains("permit leads-delete (policies/main.cedar:2): does not apply"), "{said}");
    assert!(said.contains("true    principal in Role::\"member\"") && said.contains("true    resource has lead"), "{said}");
    let part =
        format!("false   resource.lead == principal   [resource.lead is users::\"{LEE}\", principal is users::\"{KIM}\"]   <- would have to be true");
    assert!(said.contains(&part), "{said}");
    let (_, said) = explain(&["--as", "lee", "delete", task]);
    assert!(said.ends_with(": yes\n") && !said.contains("would have to be"), "{said}");
    // Permits for roles that they lack, and that no other permits it.
    let (_, said) = explain(&["--as", "kim", "update", task]);
    assert!(
        said.contains("permit chiefs-update (policies/main.cedar:4): is for the role lead, which they do not have; with it, it applies"),
        "{said}"
    );
    assert!(said.contains("no policy permits it to kim") && said.ends_with(": no\n"), "{said}");
    // A verb on rows implies `read`: a role that may update and not read gets nowhere.
    let (_, said) = explain(&["--as", "services::\"robot\"", "--role", "lead", "update", task]);
    assert!(said.contains("permit chiefs-update (policies/main.cedar:4): applies") && said.contains("update is of rows that may be read"), "{said}");
    assert!(said.ends_with(&format!("services::\"robot\" may update on {task}: no\n")), "{said}");
    let (_, said) = explain(&["--as", "services::\"robot\"", "--role", "member", "read", "tasks"]);
    assert!(said.ends_with("services::\"robot\" may read on tasks: every row\n"), "{said}");
    let (_, said) = explain(&["--as", "anonymous", "read", task]);
    assert!(said.contains("[anonymous] reach in haechi.toml does not hold \"tasks:read\"") && said.ends_with(": no\n"), "{said}");
    // A key's scopes come before policies.
    let made = haechi(&root).args(["--json", "key", "create", "robot", "--role", "member", "--scope", "tasks:list"]).output().unwrap();
    let key: Value = serde_json::from_slice(&made.stdout).unwrap();
    let (_, said) = explain(&["--key", key["id"].as_str().unwrap(), "read", task]);
    assert!(said.contains("the key's scopes do not hold tasks:read") && said.ends_with(": no\n"), "{said}");
    // How rows are found, and what is missing for that. Nothing is said of a statement that there is not.
    let (_, said) = explain(&["--as", "kim", "delete", "tasks", "--sql"]);
    assert!(said.contains("\nstatement\n  SELECT ") && said.contains("t0.\"lead\" = ?") && said.contains("\nplan\n  "), "{said}");
    assert!(!said.contains("no index begins with"), "a reference has an index: {said}");
    let (_, said) = explain(&["--as", "kim", "update", "tasks", "--sql"]);
    assert!(said.ends_with("there is no statement: no row is asked for\n"), "{said}");
    let (_, said) = explain(&["--as", "kim", "create", "tasks", "--sql"]);
    assert!(said.ends_with("there is no statement: no row is asked for\n"), "{said}");
    // The same for programs.
    let (_, said) = explain(&["--json", "--as", "kim", "delete", task]);
    let value: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&value["allowed"], &value["policies"][0]["verdict"]), (&json!("no"), &json!("false")));
    let part = &value["policies"][0]["parts"][2];
    assert_eq!((&part["text"], &part["would_have_to_be"]), (&json!("resource.lead == principal"), &json!(true)), "{said}");
    let (_, said) = explain(&["--as", "kim", "delete", "tasks"]);
    assert!(said.contains("depends on the row") && said.ends_with("kim may delete on tasks: the rows of which the conditions hold\n"), "{said}");
    for (arguments, why) in [
        (&["--as", "zoe", "read", "tasks"] as &[&str], "nobody is named `zoe`"),
        (&["--as", "kim", "red", "tasks"], "no action is named `red`"),
        (&["--as", "kim", "read", "task"], "did you mean `tasks`?"),
        (&["--as", "kim", "--role", "lead", "read", "tasks"], "--role is for a service"),
        (&["--as", "services::x", "--role", "led", "read", "tasks"], "no role is named `led`"),
        (&["--key", "k1", "read", "tasks"], "no key has the id `k1`"),
        (&["--as", "kim", "read", "tasks/01920001-0000-7000-8000-0000000000ff"], "is not there"),
    ] {
        let (good, said) = explain(arguments);
        assert!(!good && said.contains(why), "{arguments:?}: {said}");
    }
}

/// What `check` says of a policy that looks at an address, and of one that names a row's id.
#[test]
fn holes_are_named() {
    let root = folder("holes");
    write(
        &root,
        "policies/main.cedar",
        "@id(\"staff\") permit (principal is users, action == Action::\"read\", resource is tasks) when { principal has email && principal.email like \"*@example.com\" };",
    );
    let said = text(&haechi(&root).arg("check").output().unwrap());
    assert!(said.contains("lint: staff (policies/main.cedar:1) looks at an address, and nobody proves"), "{said}");
    write(&root, "policies/main.cedar", "permit (principal is users, action == Action::\"read\", resource is tasks) when { principal.id == \"x\" };");
    let output = haechi(&root).arg("check").output().unwrap();
    assert!(
        !output.status.success() && text(&output).contains("compare the person itself") && !text(&output).contains("did you mean"),
        "{}",
        text(&output)
    );
}

/// `test` never says that all is well when nothing was tested.
#[test]
fn cases_that_test_nothing_fail() {
    let root = folder("cases");
    let run = |text_of_case: &str, more: &[&str]| {
        write(&root, "policies/tests/main.toml", &format!("[people.kim]\nroles = [\"member\"]\n[rows.tasks.one]\ntitle = \"t\"\n{text_of_case}"));
        let output = haechi(&root).arg("test").args(more).output().unwrap();
        (output.status.success(), text(&output))
    };
    let good = "[[case]]\nas = \"kim\"\ndo = \"read\"\non = \"tasks/one\"\nexpect = \"allowed\"\n";
    assert_eq!(run(good, &[]), (true, "1 case pass, 0 fail\n".to_owned()));
    assert!(!run("", &[]).0);
    for (bad, why) in [
        (good.replace("[[case]]", "[case]"), "write each case under [[case]]"),
        (good.replace("\"allowed\"", "\"allow\""), "it must be allowed, denied or hidden"),
        (good.replace("expect", "with = 5\nexpect"), "`with` must be a table"),
        (good.replace("expect", "hidden = \"salary\"\nexpect"), "`hidden` must be a list"),
        (good.replace("expect", "hidden = [\"salry\"]\nexpect"), "no field of tasks"),
        (format!("[people.lee]\nroles = [\"membr\"]\n{good}"), "did you mean `member`?"),
    ] {
        let (passed, said) = run(&bad, &[]);
        assert!(!passed && said.contains(why), "{bad}: {said}");
    }
    let (passed, said) = run(&good.replace("allowed", "denied"), &["--json"]);
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!passed && lines[0]["passed"] == json!(false) && lines[1] == json!({ "passed": 0, "failed": 1 }), "{said}");
}
