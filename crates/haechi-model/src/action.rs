//! Actions that a collection declares: `[actions.approve]`.

use crate::{
    class::Class,
    collection::DeclaredAction,
    draft::Draft,
    section::{Section, Span},
};

/// The verbs that every collection has.
pub const VERBS: &[&str] = &["list", "read", "create", "update", "delete", "watch", "export"];
/// Names after a colon in a path that are no actions of a record, and names that the ledger uses for its own entries.
const RESERVED: &[&str] = &[
    "query",
    "upsert",
    "batch",
    "import",
    "rebase",
    "migrate",
    "backup",
    "restore",
    "reload",
    "archive",
    "export",
    "sign_in",
    "sign_out",
    "end_session",
    "end_sessions",
    "change_password",
    "set_password",
    "reset_password",
    "create_key",
    "revoke_key",
    "invite",
    "setup_code",
    "explain",
    "accept_clock",
    "enqueue",
    "cancel_job",
    "retry_job",
    "job_dead",
    "pause_work",
    "resume_work",
    "list_people",
    "housekeeping",
];

/// Reads `[actions.…]` of a collection's file, by name.
pub(crate) fn read_actions(top: &Section<'_>, classes: &[Class]) -> Vec<DeclaredAction> {
    let Some(actions) = top.section("actions") else { return Vec::new() };
    let read = |(name, span, section)| read_action(&actions, (name, span), section, classes);
    let mut found: Vec<DeclaredAction> = actions.named("the action").into_iter().filter_map(read).collect();
    found.sort_by(|left, right| left.name.cmp(&right.name));
    found
}

fn read_action(actions: &Section<'_>, (name, span): (&str, Span), section: Section<'_>, classes: &[Class]) -> Option<DeclaredAction> {
    let guards = |name: &str| name.starts_with("read_") || name.starts_with("write_");
    if VERBS.contains(&name) || RESERVED.contains(&name) || guards(name) {
        actions.error(span, "reserved-name", format!("`{name}` is a name that Haechi uses itself"), "choose another name");
        return None;
    }
    let input = Draft::input(&section, (name, "the body of an action"), classes, "the handler asks for the record");
    section.finish();
    Some(DeclaredAction { name: name.to_owned(), input })
}

#[cfg(test)]
mod tests {
    use crate::App;

    fn load(actions: &str) -> Result<App, Vec<(&'static str, String)>> {
        static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("haechi-actions-{}-{number}", std::process::id()));
        std::fs::create_dir_all(root.join("collections")).unwrap();
        std::fs::write(root.join("haechi.toml"), "").unwrap();
        std::fs::write(root.join("collections/notes.toml"), format!("[fields]\ntitle = {{ type = \"text\" }}\n{actions}")).unwrap();
        let app = App::load(&root, &[]);
        std::fs::remove_dir_all(root).unwrap();
        app.map(|(app, _)| app).map_err(|findings| findings.list().iter().map(|finding| (finding.code, finding.message.clone())).collect())
    }

    #[test]
    fn actions_have_names_and_bodies() {
        let app = load("[actions.publish]\n[actions.approve]\ninput = { why = { type = \"text\", required = true } }\n").unwrap();
        let actions = &app.collections[1].actions;
        assert_eq!(actions.iter().map(|action| action.name.as_str()).collect::<Vec<_>>(), ["approve", "publish"]);
        assert_eq!(actions[0].input.declared().map(|(_, field)| field.name.as_str()).collect::<Vec<_>>(), ["why"]);
        assert_eq!(app.declared_actions(), ["approve", "publish"]);
    }

    #[test]
    fn what_cannot_be_an_action_is_refused_with_its_place() {
        for (actions, code) in [
            ("[actions.Publish]", "bad-name"),
            ("[actions.update]", "reserved-name"),
            ("[actions.query]", "reserved-name"),
            ("[actions.read_pii]", "reserved-name"),
            ("[actions.restore]", "reserved-name"),
            ("[actions.sign_in]", "reserved-name"),
            ("[actions]\npublish = 7", "wrong-type"),
            ("[actions.publish]\nhandler = \"x\"", "unknown-key"),
            ("[actions.publish]\ninput = 7", "wrong-type"),
            ("[actions.publish.input]\nwho = { type = \"ref\", to = \"users\" }", "wrong-type"),
            ("[actions.publish.input]\nwhy = { type = \"text\", unique = true }", "unknown-key"),
            ("[actions.publish.input]\nwhy = { type = \"text\", class = \"pii\" }", "unknown-key"),
            ("[actions.publish.input]\nid = { type = \"text\" }", "reserved-name"),
        ] {
            let found = load(actions).err().unwrap_or_else(|| panic!("{actions} is accepted"));
            assert_eq!(found[0].0, code, "{actions}: {found:?}");
        }
        let many: String = (0..54).map(|at| format!("[actions.do_{at}]\n")).collect();
        assert_eq!(load(&many).unwrap_err()[0].0, "too-many-actions");
        assert!(load(&many.replace("[actions.do_53]\n", "")).is_ok());
    }
}
