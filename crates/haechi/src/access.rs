//! What differs in access between two states of a folder, in words: who reaches how far, by which conditions, and which class a field has.

use haechi_gate::{Reach, Revision};
use std::collections::BTreeMap;

/// The differences, a line each. One line says so when there are none.
#[must_use]
pub fn changes(old: &Revision, new: &Revision) -> Vec<String> {
    let mut lines = reach(old, new);
    lines.extend(conditions(old, new));
    lines.extend(classes(old, new));
    if lines.is_empty() {
        lines.push("nobody gains or loses".to_owned());
    }
    lines
}

fn reach(old: &Revision, new: &Revision) -> Vec<String> {
    let before: BTreeMap<(String, String, String), Reach> =
        old.matrix().into_iter().map(|(who, collection, action, reach)| ((who, collection, action), reach)).collect();
    let mut lines = Vec::new();
    for (who, collection, action, reach) in new.matrix() {
        let former = before.get(&(who.clone(), collection.clone(), action.clone())).copied().unwrap_or(Reach::None);
        let word = match (former, reach) {
            (former, reach) if former == reach => continue,
            (_, Reach::None) => "loses",
            (Reach::None, Reach::Some) => "gains, on some rows,",
            (Reach::None, Reach::All) => "gains, on every row,",
            (_, Reach::All) => "now has on every row",
            (_, Reach::Some) => "now has on some rows only",
        };
        lines.push(format!("{who} {word} {action} on {collection}"));
    }
    lines
}

/// Policies that are no longer there, and those that came.
type Difference = (Vec<String>, Vec<String>);

/// Policies that came and went, with what they concern. Whether the new ones let in more or fewer is not worked out.
fn conditions(old: &Revision, new: &Revision) -> Vec<String> {
    // The same policy often concerns several actions: it is shown once.
    let mut changed: BTreeMap<Difference, Vec<(String, String)>> = BTreeMap::new();
    for collection in &new.app.collections {
        let Some(former) = old.app.collection(&collection.name) else { continue };
        for action in haechi_policy::actions(&new.app) {
            let texts = |revision: &Revision, id: usize| {
                let found = revision.policies.action(&action).map(|action| revision.policies.concerning(action, id)).unwrap_or_default();
                found.into_iter().map(str::to_owned).collect::<Vec<_>>()
            };
            let (was, is) = (texts(old, former.id), texts(new, collection.id));
            if was != is {
                let only = |these: &[String], others: &[String]| these.iter().filter(|text| !others.contains(text)).cloned().collect::<Vec<_>>();
                changed.entry((only(&was, &is), only(&is, &was))).or_default().push((action.clone(), collection.name.clone()));
            }
        }
    }
    let mut lines = Vec::new();
    for ((was, is), concerned) in changed {
        let mut of: BTreeMap<String, Vec<String>> = BTreeMap::new();
        concerned.into_iter().for_each(|(action, collection)| of.entry(collection).or_default().push(action));
        let concerned: Vec<String> = of.into_iter().map(|(collection, actions)| format!("{} on {collection}", actions.join(", "))).collect();
        lines.push(format!("the conditions of {} changed", concerned.join("; ")));
        lines.extend(was.into_iter().map(|text| format!("  was: {text}")));
        lines.extend(is.into_iter().map(|text| format!("  is:  {text}")));
    }
    lines
}

fn classes(old: &Revision, new: &Revision) -> Vec<String> {
    let mut lines = Vec::new();
    for collection in &new.app.collections {
        let Some(former) = old.app.collection(&collection.name) else { continue };
        for field in &collection.fields {
            let Some(before) = former.field(&field.name).map(|at| &former.fields[at]) else { continue };
            let (was, is) = (&old.app.classes[before.class], &new.app.classes[field.class]);
            if was.name != is.name {
                let who =
                    if is.guarded() { format!("read_{} and write_{} decide", is.name, is.name) } else { "who may read a row sees it".to_owned() };
                lines.push(format!("{}.{} was {} and is {}: {who}", collection.name, field.name, was.name, is.name));
            }
        }
    }
    lines
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

    #[test]
    fn a_condition_that_changed_is_shown_old_and_new() {
        let (old, new) = (
            revision("internal", DELETE, ""),
            revision("internal", &DELETE.replace("resource has lead && resource.lead == principal", "resource has title"), ""),
        );
        let lines = changes(&old, &new);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(lines[0], "the conditions of delete on tasks changed");
        assert!(lines[1].starts_with("  was: permit") && lines[1].contains("resource.lead == principal"), "{lines:?}");
        assert!(lines[2].starts_with("  is:  permit") && lines[2].contains("resource has title"), "{lines:?}");
    }

    #[test]
    fn a_rule_that_becomes_true_is_reach() {
        let (old, new) =
            (revision("internal", DELETE, ""), revision("internal", &DELETE.replace("resource has lead && resource.lead == principal", "true"), ""));
        assert_eq!(changes(&old, &new)[0], "member now has on every row delete on tasks");
    }

    #[test]
    fn a_class_that_changed_is_told() {
        let lines = changes(&revision("secret", DELETE, ""), &revision("internal", DELETE, ""));
        assert_eq!(lines, ["tasks.salary was secret and is internal: who may read a row sees it"]);
        let lines = changes(&revision("internal", DELETE, ""), &revision("pii", DELETE, ""));
        assert_eq!(lines, ["tasks.salary was internal and is pii: read_pii and write_pii decide"]);
    }

    #[test]
    fn nobody_is_told_of_what_the_folder_does_not_open() {
        let open = format!("{DELETE}\npermit (principal, action == Action::\"list\", resource is tasks);");
        let lines = changes(&revision("internal", DELETE, ""), &revision("internal", &open, ""));
        assert!(lines.iter().all(|line| !line.starts_with("anonymous")) && lines[0] == "user gains, on every row, list on tasks", "{lines:?}");
        let lines = changes(&revision("internal", &open, ""), &revision("internal", &open, "\"tasks:list\""));
        assert_eq!(lines, ["anonymous gains, on every row, list on tasks"]);
    }

    #[test]
    fn what_is_only_written_otherwise_is_no_change() {
        let spread = format!("// a comment\n{}", DELETE.replace(" when", "\n    when"));
        assert_eq!(changes(&revision("internal", DELETE, ""), &revision("internal", &spread, "")), ["nobody gains or loses"]);
    }
}
