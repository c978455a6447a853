//! Groups: who is in which project, who looks into which folder, and what follows when that changes.

use crate::process::{done, haechi};
use haechi_testkit::{Backend, Events, Person, TestApp, fresh_folder, on_both};
use serde_json::{Value, json};

on_both!(members_reach_their_projects_alone, nobody_lets_themselves_in, streams_learn_who_was_let_in, folders_inherit, a_member_is_removed_meanwhile);

pub(crate) const FILES: &[(&str, &str)] = &[
    ("haechi.toml", "roles = [\"office\", \"guest\"]\n"),
    (
        "collections/projects.toml",
        "[fields]\nname = { type = \"text\", required = true }\n\
         [groups.members]\nthrough = \"memberships.person\"\nby = \"project\"\n\
         [groups.leads]\nthrough = \"memberships.person\"\nby = \"project\"\nwhere = \"role = 'lead'\"\n",
    ),
    (
        "collections/memberships.toml",
        "[fields]\nperson = { type = \"ref\", to = \"users\", required = true, on_delete = \"cascade\" }\n\
         project = { type = \"ref\", to = \"projects\", required = true, on_delete = \"cascade\" }\n\
         role = { type = \"enum\", values = [\"member\", \"lead\"], default = \"member\" }\n",
    ),
    (
        "collections/tasks.toml",
        "[fields]\ntitle = { type = \"text\", required = true }\nproject = { type = \"ref\", to = \"projects\", required = true }\n\
         assignee = { type = \"ref\", to = \"users\" }\ncode = { type = \"text\", write_once = true }\n\
         state = { type = \"enum\", values = [\"open\", \"doing\", \"done\"], default = \"open\", transitions = { open = [\"doing\"], doing = [\"open\", \"done\"] } }\n",
    ),
    (
        "collections/folders.toml",
        "[fields]\nname = { type = \"text\", required = true }\nparent = { type = \"ref\", to = \"folders\" }\n\
         [groups.viewers]\nthrough = \"shares.person\"\nby = \"folder\"\ninherits = \"parent\"\n",
    ),
    (
        "collections/shares.toml",
        "[fields]\nperson = { type = \"ref\", to = \"users\", required = true }\nfolder = { type = \"ref\", to = \"folders\", required = true }\n",
    ),
    ("collections/notices.toml", "[fields]\nfolder = { type = \"ref\", to = \"folders\", required = true }\n"),
    ("policies/main.cedar", POLICIES),
];

const POLICIES: &str = r#"
permit (principal is users, action == Action::"read", resource is users);
permit (principal in Role::"office", action in [Action::"list", Action::"read", Action::"create", Action::"update", Action::"delete"], resource) when { !(resource is tasks) };
permit (principal, action in [Action::"list", Action::"read"], resource is projects) when { principal in resource.members };
permit (principal, action in [Action::"list", Action::"read"], resource is memberships) when { principal in resource.project.members };
permit (principal, action in [Action::"create", Action::"update", Action::"delete"], resource is memberships) when { principal in resource.project.leads };
permit (principal, action in [Action::"list", Action::"read", Action::"watch", Action::"create"], resource is tasks) when { principal in resource.project.members };
permit (principal, action == Action::"update", resource is tasks) when { principal in resource.project.members && ["title", "state", "assignee"].containsAll(context.fields) };
permit (principal, action in [Action::"update", Action::"delete"], resource is tasks) when { principal in resource.project.leads };
// Nobody outside of the project can be given a task.
forbid (principal, action in [Action::"create", Action::"update"], resource is tasks) when { resource has assignee } unless { resource.assignee in resource.project.members };
permit (principal, action in [Action::"list", Action::"read", Action::"watch"], resource is folders) when { principal in resource.viewers };
permit (principal in Role::"guest", action in [Action::"list", Action::"read"], resource is notices);
forbid (principal in Role::"guest", action in [Action::"list", Action::"read"], resource is notices) when { principal in resource.folder.viewers };
"#;

async fn names(person: &Person, path: &str) -> Vec<String> {
    let reply = person.get(path).await.expect(200).json();
    let records = reply["records"].as_array().or(reply["items"].as_array()).unwrap_or_else(|| panic!("{reply}"));
    let name = |record: &Value| record["title"].as_str().or(record["name"].as_str()).or(record["id"].as_str()).unwrap().to_owned();
    records.iter().map(name).collect()
}

/// An office that may do everything but tasks, two projects, and who is in them.
struct Team {
    app: TestApp,
    office: Person,
    kim: Person,
    lee: Person,
    zoe: Person,
    red: String,
    blue: String,
}

impl Team {
    async fn start(backend: Backend) -> Self {
        let app = TestApp::start(backend, FILES).await;
        let office = app.person("office", &["office"]).await;
        let (kim, lee, zoe) = (app.person("kim", &[]).await, app.person("lee", &[]).await, app.person("zoe", &["guest"]).await);
        let red = office.create("projects", json!({ "name": "red" })).await;
        let blue = office.create("projects", json!({ "name": "blue" })).await;
        let team = Self { app, office, kim, lee, zoe, red, blue };
        team.join(&team.kim, &team.red, "lead").await;
        team.join(&team.lee, &team.red, "member").await;
        team.join(&team.lee, &team.blue, "lead").await;
        team
    }

    async fn join(&self, person: &Person, project: &str, role: &str) -> String {
        self.office.create("memberships", json!({ "person": person.id, "project": project, "role": role })).await
    }

    fn task(&self, title: &str, project: &str) -> Value {
        json!({ "title": title, "project": project })
    }
}

/// ABUSE-60 [V8.2.2]: every question about tasks is answered by who is in the project now.
async fn members_reach_their_projects_alone(backend: Backend) {
    let team = Team::start(backend).await;
    let (kim, lee, zoe, red, blue) = (&team.kim, &team.lee, &team.zoe, &team.red, &team.blue);
    let first = kim.create("tasks", team.task("first", red)).await;
    lee.create("tasks", team.task("second", blue)).await;
    assert_eq!(names(kim, "/api/v1/tasks").await, ["first"]);
    assert_eq!(names(lee, "/api/v1/tasks").await, ["first", "second"]);
    assert_eq!(names(zoe, "/api/v1/tasks").await, [""; 0]);
    assert_eq!(names(kim, "/api/v1/projects").await, ["red"]);
    assert_eq!(names(kim, &format!("/api/v1/tasks?filter=project%3D%22{blue}%22")).await, [""; 0]);
    let path = format!("/api/v1/tasks/{first}");
    lee.get(&path).await.expect(200);
    zoe.get(&path).await.expect(404);
    team.app.anonymous().get(&path).await.expect(401);
    // A member changes it, the lead alone deletes it, and nobody moves it where they are not.
    lee.patch(&path, json!({ "title": "renamed" })).await.expect(200);
    // They write some fields, the lead all of them; beside another field, a title is refused, too.
    lee.patch(&path, json!({ "project": red })).await.expect(403);
    lee.patch(&path, json!({ "title": "again", "project": red })).await.expect(403);
    kim.patch(&path, json!({ "title": "again", "project": red })).await.expect(200);
    assert_eq!(lee.delete(&path).await.status, 403);
    let moved = kim.patch(&path, json!({ "project": blue })).await;
    assert!([403, 404, 422].contains(&moved.status), "{}", moved.text());
    // Whom a task is given to is a question about another person's membership.
    kim.patch(&path, json!({ "assignee": zoe.id })).await.expect(403);
    kim.patch(&path, json!({ "assignee": lee.id })).await.expect(200);
    kim.delete(&path).await.expect(204);
    // The same through GraphQL: one condition, every door.
    let asked = kim.post("/graphql", json!({ "query": "{ tasks { nodes { title } } projects { nodes { name } } }" })).await.expect(200).json();
    assert_eq!(asked["data"], json!({ "tasks": { "nodes": [] }, "projects": { "nodes": [{ "name": "red" }] } }), "{asked}");
    team.app.finish().await;
}

/// ABUSE-61 [V8.3.1]: a joining row that is being written does not decide about itself, whatever it says.
async fn nobody_lets_themselves_in(backend: Backend) {
    let team = Team::start(backend).await;
    let (kim, lee, zoe, red, blue) = (&team.kim, &team.lee, &team.zoe, &team.red, &team.blue);
    let refused = |reply: &haechi_testkit::Reply| assert!([403, 404, 422].contains(&reply.status), "{} {}", reply.status, reply.text());
    for (who, project) in [(zoe, red), (kim, blue)] {
        refused(&who.post("/api/v1/memberships", json!({ "person": who.id, "project": project, "role": "lead" })).await);
        let twice = json!({ "operations": [
            { "create": "memberships", "fields": { "person": who.id, "project": project, "role": "lead" } },
            { "create": "tasks", "fields": { "title": "t", "project": project } },
        ] });
        refused(&who.post("/api/v1/batch", twice).await);
    }
    // A member does not become a lead, and a lead moves no membership to another project, nor to somebody that they do not lead.
    let own = names(lee, "/api/v1/memberships?fields=id").await;
    for id in &own {
        let reply = lee.get(&format!("/api/v1/memberships/{id}")).await.expect(200).json();
        if reply["project"] == *red.as_str() && reply["person"] == lee.id.as_str() {
            refused(&lee.patch(&format!("/api/v1/memberships/{id}"), json!({ "role": "lead" })).await);
            refused(&lee.patch(&format!("/api/v1/memberships/{id}"), json!({ "project": blue })).await);
            refused(&kim.patch(&format!("/api/v1/memberships/{id}"), json!({ "project": blue })).await);
            kim.patch(&format!("/api/v1/memberships/{id}"), json!({ "person": zoe.id })).await.expect(200);
        }
    }
    assert_eq!(names(zoe, "/api/v1/projects").await, ["red"]);
    assert_eq!(names(lee, "/api/v1/projects").await, ["blue"]);
    team.app.finish().await;
}

async fn open(person: &Person, path: &str) -> Events {
    let mut events = person.watch(path, None).await.unwrap_or_else(|reply| panic!("{} {}", reply.status, reply.text()));
    assert_eq!(events.next().await, Some(("ready".to_owned(), json!({}))));
    events
}

async fn kind(events: &mut Events) -> String {
    events.next().await.unwrap_or_else(|| panic!("the stream has ended")).0
}

/// Whom a joining row names is told to read again; nobody else is.
async fn streams_learn_who_was_let_in(backend: Backend) {
    let team = Team::start(backend).await;
    // What was written before has its position, so that no stream is told of it.
    team.app.house.gate.settle().await;
    let (mut kims, mut lees, mut zoes) =
        (open(&team.kim, "/api/v1/tasks:watch").await, open(&team.lee, "/api/v1/tasks:watch").await, open(&team.zoe, "/api/v1/tasks:watch").await);
    let task = team.kim.create("tasks", team.task("first", &team.red)).await;
    assert_eq!([kind(&mut kims).await, kind(&mut lees).await], ["create", "create"]);
    assert!(zoes.silent().await);
    let joined = team.join(&team.zoe, &team.red, "member").await;
    assert_eq!(kind(&mut zoes).await, "resync");
    team.kim.patch(&format!("/api/v1/tasks/{task}"), json!({ "title": "second" })).await.expect(200);
    for events in [&mut kims, &mut lees, &mut zoes] {
        assert_eq!(kind(events).await, "update");
    }
    // The row names somebody else from now on: both are told.
    team.office.patch(&format!("/api/v1/memberships/{joined}"), json!({ "person": team.kim.id })).await.expect(200);
    assert_eq!([kind(&mut zoes).await, kind(&mut kims).await], ["resync", "resync"]);
    team.office.delete(&format!("/api/v1/memberships/{joined}")).await.expect(204);
    assert_eq!(kind(&mut kims).await, "resync");
    team.kim.patch(&format!("/api/v1/tasks/{task}"), json!({ "title": "third" })).await.expect(200);
    assert_eq!([kind(&mut kims).await, kind(&mut lees).await], ["update", "update"]);
    assert!(zoes.silent().await && lees.silent().await);
    team.app.finish().await;
}

/// A folder's viewers look into all below it, sixteen deep; deeper, and in circles that are longer, nobody is let in and nobody is outside.
async fn folders_inherit(backend: Backend) {
    let team = Team::start(backend).await;
    let (office, kim, zoe) = (&team.office, &team.kim, &team.zoe);
    let mut line = vec![office.create("folders", json!({ "name": "f0" })).await];
    for at in 1..=18 {
        line.push(office.create("folders", json!({ "name": format!("f{at}"), "parent": line[at - 1] })).await);
    }
    for folder in [&line[0], &line[16], &line[17]] {
        office.create("notices", json!({ "folder": folder })).await;
    }
    assert_eq!(names(kim, "/api/v1/folders").await, [""; 0]);
    let mut kims = open(kim, "/api/v1/folders:watch").await;
    // A permit reaches as far as sixteen ancestors.
    let share = office.create("shares", json!({ "person": kim.id, "folder": line[0] })).await;
    assert_eq!(kind(&mut kims).await, "resync");
    assert_eq!(names(kim, "/api/v1/folders?page_size=100").await.len(), 17);
    kim.get(&format!("/api/v1/folders/{}", line[16])).await.expect(200);
    kim.get(&format!("/api/v1/folders/{}", line[17])).await.expect(404);
    // A forbid denies where it cannot say that somebody is outside.
    assert_eq!(names(zoe, "/api/v1/notices").await.len(), 2, "f17 is too deep");
    office.create("shares", json!({ "person": zoe.id, "folder": line[16] })).await;
    assert_eq!(names(zoe, "/api/v1/notices").await.len(), 1, "f16 is shared with them");
    // A stream decides the same in memory.
    office.patch(&format!("/api/v1/folders/{}", line[16]), json!({ "name": "near" })).await.expect(200);
    assert_eq!(kind(&mut kims).await, "update");
    office.patch(&format!("/api/v1/folders/{}", line[17]), json!({ "name": "far" })).await.expect(200);
    assert!(kims.silent().await);
    // The line is cut: everybody who looks into folders is told, and who is below it is outside.
    office.patch(&format!("/api/v1/folders/{}", line[8]), json!({ "parent": null })).await.expect(200);
    assert_eq!(kind(&mut kims).await, "resync");
    assert_eq!(names(kim, "/api/v1/folders?page_size=100").await.len(), 8);
    // A circle: all in it share their viewers.
    office.patch(&format!("/api/v1/folders/{}", line[0]), json!({ "parent": line[5] })).await.expect(200);
    office.delete(&format!("/api/v1/shares/{share}")).await.expect(204);
    assert_eq!(names(kim, "/api/v1/folders").await, [""; 0]);
    office.create("shares", json!({ "person": kim.id, "folder": line[3] })).await;
    assert_eq!(names(kim, "/api/v1/folders?page_size=100").await.len(), 8);
    team.app.finish().await;
}

/// Pages, and a change that was begun, are decided by who is in the group at that moment.
async fn a_member_is_removed_meanwhile(backend: Backend) {
    let team = Team::start(backend).await;
    for at in 0..30 {
        team.kim.create("tasks", team.task(&format!("t{at}"), &team.red)).await;
    }
    let ids: Vec<String> = names(&team.office, "/api/v1/memberships?fields=id").await;
    let mut of_lee = Vec::new();
    for id in ids {
        let row = team.office.get(&format!("/api/v1/memberships/{id}")).await.expect(200).json();
        if row["person"] == team.lee.id.as_str() && row["project"] == team.red.as_str() {
            of_lee.push(id);
        }
    }
    let page = team.lee.get("/api/v1/tasks?page_size=20").await.expect(200).json();
    let token = page["next_page_token"].as_str().unwrap_or_else(|| panic!("{page}")).to_owned();
    team.office.delete(&format!("/api/v1/memberships/{}", of_lee[0])).await.expect(204);
    assert_eq!(names(&team.lee, &format!("/api/v1/tasks?page_size=20&page_token={token}")).await, [""; 0]);
    assert_eq!(team.lee.post("/api/v1/tasks", team.task("late", &team.red)).await.status, 403);
    team.app.finish().await;
}

/// What a folder with groups prints: the schema, explanations, policy tests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_know_groups() {
    let root = fresh_folder(Backend::Sqlite, FILES).await;
    let schema = done(&haechi(&root, &["generate", "cedar"]));
    for part in ["entity projects__members;", "entity users in [Role, ", "projects__leads", "\"viewers\": folders__viewers,"] {
        assert!(schema.contains(part), "{part}: {schema}");
    }
    std::fs::create_dir_all(root.join("policies/tests")).unwrap();
    let tests = r#"
[people]
kim = { roles = [] }
lee = { roles = [] }
[rows.projects]
red = { name = "red" }
[rows.memberships]
one = { person = "kim", project = "red", role = "lead" }
two = { person = "lee", project = "red", role = "member" }
[rows.tasks]
task = { title = "t", project = "red" }
[rows.folders]
top = { name = "top" }
inner = { name = "inner", parent = "top" }
[rows.shares]
share = { person = "kim", folder = "top" }
[[case]]
as = "kim"
do = "delete"
on = "tasks/task"
expect = "allowed"
[[case]]
as = "lee"
do = "delete"
on = "tasks/task"
expect = "denied"
[[case]]
as = "lee"
do = "read"
on = "tasks/task"
expect = "allowed"
[[case]]
as = "kim"
do = "read"
on = "folders/inner"
expect = "allowed"
[[case]]
as = "lee"
do = "read"
on = "folders/inner"
expect = "hidden"
"#;
    std::fs::write(root.join("policies/tests/team.toml"), tests).unwrap();
    let said = done(&haechi(&root, &["test"]));
    assert!(said.contains("5 cases pass, 0 fail"), "{said}");
    done(&haechi(&root, &["migrate", "apply"]));
    done(&haechi(&root, &["user", "add", "kim@example.com"]));
    let kim: Value = serde_json::from_str(&done(&haechi(&root, &["--json", "user", "list"]))).unwrap();
    let red = "01920000-0000-7000-8000-000000000001";
    std::fs::write(root.join("p.csv"), format!("id,name\n{red},red\n")).unwrap();
    std::fs::write(root.join("m.csv"), format!("person,project,role\n{},{red},lead\n", kim["id"].as_str().unwrap())).unwrap();
    for (collection, file) in [("projects", "p.csv"), ("memberships", "m.csv")] {
        done(&haechi(&root, &["import", collection, root.join(file).to_str().unwrap()]));
    }
    let said = done(&haechi(&root, &["explain", "--as", "kim", "read", &format!("projects/{red}")]));
    assert!(said.contains("true    principal in resource.members") && said.ends_with(": yes\n"), "{said}");
    let said = done(&haechi(&root, &["explain", "--as", "kim", "list", "tasks", "--sql"]));
    assert!(said.contains("IN (SELECT t1.\"project\" FROM \"memberships\" t1 WHERE t1.\"person\" = ?"), "{said}");
    assert!(!said.contains("no index begins with"), "{said}");
    // Rows that are too deep are counted.
    let id = |at: usize| format!("01920000-0000-7000-8000-0000000f{at:04x}");
    let line = |at: usize| format!("{},f{at},{}\n", id(at), if at == 0 { String::new() } else { id(at - 1) });
    std::fs::write(root.join("f.csv"), format!("id,name,parent\n{}", (0..=17).map(line).collect::<String>())).unwrap();
    assert!(!done(&haechi(&root, &["advise"])).contains("ancestors"));
    done(&haechi(&root, &["import", "folders", root.join("f.csv").to_str().unwrap()]));
    let said = done(&haechi(&root, &["advise"]));
    assert!(said.contains("folders: 1 row has more than 16 ancestors: the group `viewers` says of nobody that they are outside"), "{said}");
    let said = done(&haechi(&root, &["routes"]));
    assert!(said.contains("/api/v1/projects"), "{said}");
}

/// Who is in a group is access: what fills it is told, and so is a rule that is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_group_is_a_changed_access() {
    let (old, new) = (fresh_folder(Backend::Sqlite, FILES).await, fresh_folder(Backend::Sqlite, FILES).await);
    let against = |root: &std::path::Path| haechi(root, &["check", "--against", old.to_str().unwrap()]);
    let text = |output: &std::process::Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let same = against(&new);
    assert!(same.status.success() && !text(&same).contains("group"), "{}", text(&same));
    let edit = |path: &str, from: &str, to: &str| {
        let path = new.join(path);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(path, text.replace(from, to)).unwrap();
    };
    edit("collections/projects.toml", "where = \"role = 'lead'\"\n", "");
    let wider = against(&new);
    let said = text(&wider);
    assert_eq!(wider.status.code(), Some(3), "somebody may gain access: {said}");
    assert!(
        said.contains(
            "the group projects.leads was filled by memberships.person by project where role = 'lead' and is filled by memberships.person by project"
        ),
        "{said}"
    );
    edit("collections/tasks.toml", "write_once = true", "write_once = false");
    let said = text(&against(&new));
    assert!(said.contains("tasks.code changed by write_once and changes by no rule"), "{said}");
}
