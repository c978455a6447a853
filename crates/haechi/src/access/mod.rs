//! What differs in access between two states of a folder, as text, JSON and Markdown.

mod against;

pub use against::{Against, AgainstError};

use crate::app::rows;
use haechi_gate::{AccessChange, Clock, Pair, Pairs, Reach, Revision, SystemClock, Way, difference};
use serde_json::{Value, json};
use std::path::Path;

/// What is printed when nothing differs.
pub const NOTHING: &str = "nobody gains or loses";
/// Most pairs that are named; the others are counted.
const MAX_NAMED: usize = 3;

/// What differs, shown on the rows in `seed/` of a folder.
#[must_use]
pub fn changes(old: &Revision, new: &Revision, root: &Path) -> Vec<AccessChange> {
    difference(old, new, Some(&rows::examples(&new.app, root)), SystemClock.now_ms())
}

/// The differences, a line each; details of a line are indented. One line says that there are none.
#[must_use]
pub fn text(changes: &[AccessChange]) -> Vec<String> {
    if changes.is_empty() {
        return vec![NOTHING.to_owned()];
    }
    let mut lines = Vec::new();
    for change in changes {
        lines.push(headline(change));
        if let AccessChange::Condition { was, is, examples, .. } = change {
            lines.extend(was.iter().map(|text| format!("  was: {text}")));
            lines.extend(is.iter().map(|text| format!("  is:  {text}")));
            lines.extend(examples.iter().map(|(pairs, people, rows)| format!("  {}", shown(pairs, *people, *rows))));
        }
    }
    lines
}

/// The same for a pull request.
#[must_use]
pub fn markdown(changes: &[AccessChange]) -> String {
    let mut out = String::from("## Access\n\n");
    if changes.is_empty() {
        return out + "Nobody gains or loses.\n";
    }
    for change in changes {
        // Text of the folder is written as code, so that none of it is read as Markdown.
        out.push_str(&format!("- {}{}\n", if change.may_open() { "**" } else { "" }, escaped(&headline(change))));
        if change.may_open() {
            let end = out.len() - 1;
            out.insert_str(end, "**");
        }
        if let AccessChange::Condition { was, is, examples, .. } = change {
            let lines = was.iter().map(|text| format!("- {text}")).chain(is.iter().map(|text| format!("+ {text}")));
            out.push_str("\n  ```diff\n");
            lines.for_each(|line| out.push_str(&format!("  {}\n", line.replace("```", "` ` `"))));
            out.push_str("  ```\n");
            if let Some((pairs, people, rows)) = examples {
                out.push_str(&format!("\n  {}\n\n", escaped(&shown(pairs, *people, *rows))));
            }
        }
    }
    out
}

/// The same for programs.
#[must_use]
pub fn json(changes: &[AccessChange]) -> Value {
    changes.iter().map(one).collect()
}

fn one(change: &AccessChange) -> Value {
    let mut value = match change {
        AccessChange::Reach { now, was } => json!({
            "kind": "reach", "who": now.who, "collection": now.collection, "action": now.action,
            "was": reach_word(*was), "is": reach_word(now.reach),
        }),
        AccessChange::Condition { on, was, is, way, examples } => {
            let on: Vec<Value> = on.iter().map(|(collection, actions)| json!({ "collection": collection, "actions": actions })).collect();
            let examples = examples.as_ref().map(|(pairs, people, rows)| {
                let side = |pairs: &std::collections::BTreeSet<Pair>| -> Value {
                    let named = pairs.iter().take(100).map(|pair| json!({ "who": pair.who, "collection": pair.collection, "row": pair.row }));
                    json!({ "count": pairs.len(), "first": named.collect::<Vec<_>>() })
                };
                json!({ "people": people, "rows": rows, "gained": side(&pairs.gained), "lost": side(&pairs.lost) })
            });
            json!({ "kind": "condition", "on": on, "was": was, "is": is, "way": way_word(*way), "examples": examples })
        }
        AccessChange::Class { field, was, is, guarded, written_apart } => {
            json!({ "kind": "class", "field": field, "was": was, "is": is, "guarded_before": guarded.0, "guarded_now": guarded.1,
                "written_apart_before": written_apart.0, "written_apart_now": written_apart.1 })
        }
        AccessChange::Meaning { field, was, is } => json!({ "kind": "meaning", "field": field, "was": was, "is": is }),
        AccessChange::Group { group, was, is } => json!({ "kind": "group", "group": group, "was": was, "is": is }),
        AccessChange::Rules { field, was, is } => json!({ "kind": "rules", "field": field, "was": was, "is": is }),
        AccessChange::Owner { collection, was, is } => json!({ "kind": "owner", "collection": collection, "was": was, "is": is }),
        AccessChange::Job { job, was, is } => json!({ "kind": "job", "job": job, "was": was, "is": is }),
        AccessChange::Service { service, was, is } => json!({ "kind": "service", "service": service, "was": was, "is": is }),
        AccessChange::SignUp { who, fields } => json!({ "kind": "sign_up", "was": who.0, "is": who.1, "fields": fields }),
    };
    value["may_open"] = change.may_open().into();
    value
}

fn reach_word(reach: Reach) -> &'static str {
    match reach {
        Reach::None => "none",
        Reach::Some => "some",
        Reach::All => "all",
    }
}

fn way_word(way: Way) -> &'static str {
    match way {
        Way::Same => "same",
        Way::Narrower => "narrower",
        Way::Wider => "wider",
        Way::Unknown => "unknown",
    }
}

fn headline(change: &AccessChange) -> String {
    match change {
        AccessChange::Reach { now, was } => {
            let word = match (was, now.reach) {
                (_, Reach::None) => "loses",
                (Reach::None, Reach::Some) => "gains, on some rows,",
                (Reach::None, Reach::All) => "gains, on every row,",
                (_, Reach::All) => "now has on every row",
                (_, Reach::Some) => "now has on some rows only",
            };
            format!("{} {word} {} on {}", now.who, now.action, now.collection)
        }
        AccessChange::Condition { on, way, .. } => {
            let on: Vec<String> = on.iter().map(|(collection, actions)| format!("{} on {collection}", actions.join(", "))).collect();
            let way = match way {
                Way::Same => "written otherwise, for the same rows",
                Way::Narrower => "narrower: nobody gains",
                Way::Wider => "wider: nobody loses",
                Way::Unknown => "whether it is wider or narrower is not proven",
            };
            format!("the conditions of {} changed: {way}", on.join("; "))
        }
        AccessChange::Class { field, was, is, guarded, written_apart } => {
            let who = match (guarded.1, written_apart.1) {
                (true, _) => format!("read_{is} and write_{is} decide"),
                (false, true) => format!("those who may read a row see it, and write_{is} decides who writes it"),
                (false, false) => "those who may read a row see it, and those who may update it write it".to_owned(),
            };
            if was == is {
                format!("{field} is {is}, and that class is treated otherwise: {who}")
            } else {
                format!("{field} was {was} and is {is}: {who}")
            }
        }
        AccessChange::Meaning { field, was, is } => format!("{field}, which policies look at, was {was} and is {is}"),
        AccessChange::Group { group, was, is } => {
            let word = |declared: &Option<String>| declared.as_ref().map_or_else(|| "not declared".to_owned(), |text| format!("filled by {text}"));
            format!("the group {group} was {} and is {}", word(was), word(is))
        }
        AccessChange::Rules { field, was, is } => {
            let word = |rules: &str| if rules.is_empty() { "by no rule".to_owned() } else { format!("by {rules}") };
            format!("{field} changed {} and changes {}", word(was), word(is))
        }
        AccessChange::Owner { collection, was, is } => {
            let word = |owner: &Option<String>| owner.clone().unwrap_or_else(|| "none".to_owned());
            format!("{collection}: the field that names the maker of a new row was {} and is {}", word(was), word(is))
        }
        AccessChange::Job { job, was, is } => format!("the job {job} was `{was}` and is `{is}`"),
        AccessChange::Service { service, was, is } => {
            let word = |roles: &[String]| if roles.is_empty() { "no role".to_owned() } else { roles.join(", ") };
            format!("the service {service} does its own work with {}, and did it with {}", word(is), word(was))
        }
        AccessChange::SignUp { who, fields } => {
            let mut said = Vec::new();
            if who.0 != who.1 {
                said.push(format!("sign_up was {} and is {}", who.0, who.1));
            }
            if !fields.is_empty() {
                said.push(format!("people who sign up may set {}", fields.join(", ")));
            }
            if said.is_empty() { "people who sign up may set fewer fields".to_owned() } else { said.join("; ") }
        }
    }
}

/// `+31 -0 pairs of person and row (4 people, 120 rows in seed/): + kim on tasks/1`.
fn shown(pairs: &Pairs, people: usize, rows: usize) -> String {
    let mut out =
        format!("+{} -{} pairs of person and row, of {people} people and anonymous, and {rows} rows in seed/", pairs.gained.len(), pairs.lost.len());
    for (sign, side) in [('+', &pairs.gained), ('-', &pairs.lost)] {
        for pair in side.iter().take(MAX_NAMED) {
            out.push_str(&format!("; {sign} {} on {}/{}", pair.who, pair.collection, pair.row));
        }
    }
    out
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if "\\`*_{}[]<>#|!".contains(letter) {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELETE: &str = "permit (principal in Role::\"member\", action == Action::\"delete\", resource is tasks) when { resource has lead && resource.lead == principal };";

    fn revision(class: &str, policies: &str, reach: &str) -> Revision {
        let root = std::env::temp_dir().join(format!("haechi-access-{}-{:?}", std::process::id(), std::thread::current().id()));
        for folder in ["collections", "policies"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        let tasks = format!(
            "[fields]\ntitle = {{ type = \"text\" }}\nlead = {{ type = \"ref\", to = \"users\" }}\nsalary = {{ type = \"int\", class = \"{class}\" }}\n"
        );
        std::fs::write(root.join("haechi.toml"), format!("roles = [\"member\"]\n[anonymous]\nreach = [{reach}]\n")).unwrap();
        std::fs::write(root.join("collections/tasks.toml"), tasks).unwrap();
        std::fs::write(root.join("policies/main.cedar"), policies).unwrap();
        let app = haechi_model::App::load(&root, &[]).unwrap().0;
        std::fs::remove_dir_all(root).unwrap();
        Revision::new(app).unwrap_or_else(|error| panic!("{:?}", error.0)).0
    }

    fn told(old: &Revision, new: &Revision) -> Vec<String> {
        text(&changes(old, new, Path::new("no-such-folder")))
    }

    #[test]
    fn a_condition_that_changed_is_shown_old_and_new() {
        let (old, new) = (
            revision("internal", DELETE, ""),
            revision("internal", &DELETE.replace("resource has lead && resource.lead == principal", "resource has title"), ""),
        );
        let lines = told(&old, &new);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(lines[0], "the conditions of delete on tasks changed: whether it is wider or narrower is not proven");
        assert!(lines[1].starts_with("  was: permit") && lines[1].contains("resource.lead == principal"), "{lines:?}");
        assert!(lines[2].starts_with("  is:  permit") && lines[2].contains("resource has title"), "{lines:?}");
    }

    #[test]
    fn a_rule_that_becomes_true_is_reach() {
        let (old, new) =
            (revision("internal", DELETE, ""), revision("internal", &DELETE.replace("resource has lead && resource.lead == principal", "true"), ""));
        assert_eq!(told(&old, &new)[0], "member now has on every row delete on tasks");
    }

    #[test]
    fn a_class_that_changed_is_told() {
        let lines = told(&revision("secret", DELETE, ""), &revision("internal", DELETE, ""));
        assert_eq!(lines, ["tasks.salary was secret and is internal: those who may read a row see it, and those who may update it write it"]);
        let lines = told(&revision("internal", DELETE, ""), &revision("pii", DELETE, ""));
        assert_eq!(lines, ["tasks.salary was internal and is pii: read_pii and write_pii decide"]);
    }

    #[test]
    fn nobody_is_told_of_what_the_folder_does_not_open() {
        let open = format!("{DELETE}\npermit (principal, action == Action::\"list\", resource is tasks);");
        let lines = told(&revision("internal", DELETE, ""), &revision("internal", &open, ""));
        assert!(lines.iter().all(|line| !line.starts_with("anonymous")), "{lines:?}");
        assert!(lines.contains(&"user gains, on every row, list on tasks".to_owned()), "{lines:?}");
        let lines = told(&revision("internal", &open, ""), &revision("internal", &open, "\"tasks:list\""));
        assert_eq!(lines, ["anonymous gains, on every row, list on tasks"]);
    }

    #[test]
    fn what_is_only_written_otherwise_is_no_change() {
        let spread = format!("// a comment\n{}", DELETE.replace(" when", "\n    when"));
        assert_eq!(told(&revision("internal", DELETE, ""), &revision("internal", &spread, "")), ["nobody gains or loses"]);
    }
}
