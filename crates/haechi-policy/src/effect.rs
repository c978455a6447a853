//! Finds policies about actions that no policy decides: they would look like rules and have no effect.

use crate::{only_about, schema::Actions, source::Statement};
use cedar_policy::{ActionConstraint, PrincipalConstraint};
use haechi_model::{ANONYMOUS_VERBS, App, Collection, Finding, Findings, Severity, USERS};

/// Finds the actions that a policy names and does not decide, on any of the collections that it is about.
pub(crate) fn judge(app: &App, statement: &Statement, actions: &Actions, findings: &mut Findings) {
    let named = match statement.policy.action_constraint() {
        // It covers all actions, so it names none in particular.
        ActionConstraint::Any => return,
        ActionConstraint::Eq(uid) => vec![uid],
        ActionConstraint::In(uids) => uids,
    };
    let only = only_about(app, statement);
    let about: Vec<&Collection> = app.collections.iter().filter(|collection| only.is_none_or(|only| only == collection.id)).collect();
    let nobody = match statement.policy.principal_constraint() {
        PrincipalConstraint::Is(ty) => ty.to_string() == "Anonymous",
        PrincipalConstraint::Eq(uid) => uid.type_name().to_string() == "Anonymous",
        _ => false,
    };
    for uid in named {
        let action = uid.id().unescaped();
        if !actions.by_name.contains_key(action) {
            continue;
        }
        let why = if nobody && !ANONYMOUS_VERBS.contains(&action) {
            let help = format!("take Action::\"{action}\" out of the policy; such callers can be given {}", ANONYMOUS_VERBS.join(", "));
            Some((format!("callers without credentials never reach `{action}`, whatever policies say"), help))
        } else {
            let reasons: Option<Vec<_>> = about.iter().map(|collection| why_not(app, collection, action)).collect();
            reasons.and_then(|reasons| reasons.into_iter().next())
        };
        if let Some((message, help)) = why {
            let text = &statement.source.text[statement.span()];
            let place = text.find(&format!("Action::\"{action}\"")).map(|at| statement.start + at);
            let span = place.map_or_else(|| statement.span(), |at| at..at + action.len() + 10);
            // A class that no field uses today may be used again tomorrow: such a policy allows nothing meanwhile.
            let of_a_class = action.starts_with("read_") || action.starts_with("write_");
            let severity = if of_a_class && !nobody { Severity::Warning } else { Severity::Error };
            let source = Some(statement.source.clone());
            findings.push(Finding { severity, code: "no-effect", message, help, source, span: Some(span) });
        }
    }
}

/// Why no policy decides an action on rows of a collection, and what to do.
fn why_not(app: &App, collection: &Collection, action: &str) -> Option<(String, String)> {
    if collection.id == USERS && matches!(action, "create" | "delete") {
        let message = format!("no policy decides `{action}` on users: people sign up or are added and removed by an operator");
        return Some((message, format!("take Action::\"{action}\" out of the policy; see \"Signing up\" in docs/auth.md")));
    }
    let class = action.strip_prefix("read_").or_else(|| action.strip_prefix("write_"))?;
    let class = app.classes.iter().position(|known| known.written_apart() && known.name == class)?;
    if collection.fields.iter().any(|field| field.class == class) {
        return None;
    }
    let name = &app.classes[class].name;
    let message = format!("`{action}` has no effect on {}: none of its fields has the class `{name}`", collection.name);
    Some((message, format!("take Action::\"{action}\" out of the policy, or give a field class = \"{name}\"")))
}
