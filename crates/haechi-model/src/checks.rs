//! The checks of a folder: read from `[[checks]]`, and resolved when all collections are known.

use crate::{
    check::Check,
    class::Class,
    collection::{Collection, person},
    field::OnDelete,
    filter::{Truth, read_check},
    finding::{Findings, Source},
    positions::{FieldId, USERS},
    section::{Section, Span},
    table::RowCheck,
};
use std::{cell::RefCell, sync::Arc};

/// Most checks of a collection.
const MAX_CHECKS: usize = 32;
/// Most characters of a check's message.
const MAX_MESSAGE: usize = 200;

/// A check as written.
pub(crate) struct WantedCheck {
    source: Arc<Source>,
    that: (String, Span),
    message: Option<String>,
}

/// Reads `[[checks]]` of a collection's file.
pub(crate) fn read_checks(top: &Section<'_>) -> Vec<WantedCheck> {
    let sections = top.sections("checks");
    if sections.len() > MAX_CHECKS {
        let message = format!("{} checks are declared; at most {MAX_CHECKS} may be", sections.len());
        top.error(top.span_of("checks"), "too-many-checks", message, "join them with AND");
    }
    let read = |section: Section<'_>| {
        let that = section.text("that").map(|that| (that.to_owned(), section.span_of("that")));
        let message = section.text("message").map(str::to_owned);
        if that.is_none() && section.span_of("that").is_none() {
            section.error(None, "missing-key", "a check needs `that`".to_owned(), "add that = \"ends > starts\"");
        }
        if message.as_ref().is_some_and(|text| text.is_empty() || text.chars().count() > MAX_MESSAGE || text.chars().any(char::is_control)) {
            let message = format!("`message` of a check must have 1 to {MAX_MESSAGE} characters in one line");
            section.error(section.span_of("message"), "wrong-value", message, "say what is wrong in one short sentence");
        }
        let source = section.source.clone();
        section.finish();
        Some(WantedCheck { source, that: that?, message })
    };
    sections.into_iter().filter_map(read).collect()
}

/// Reads the conditions, now that all collections are known.
pub(crate) fn resolve_checks(collection: &mut Collection, wanted: Vec<WantedCheck>, classes: &[Class], findings: &RefCell<Findings>) {
    for check in wanted {
        let (that, span) = &check.that;
        let error = |code, message, help: &str| findings.borrow_mut().error(&check.source, span.clone(), code, message, help.to_owned());
        let Truth { broken, fields } = match read_check(that, collection) {
            Ok(truth) => truth,
            Err(wrong) => {
                let help = "write it as a filter over the row's own fields, e.g. that = \"ends > starts\"; see docs/model.md";
                error("bad-filter", format!("`that` of a check: {wrong}"), help);
                continue;
            }
        };
        if collection.checks.iter().any(|known| known.that == *that) {
            error("clash", format!("the check `{that}` stands twice"), "remove one of them");
        }
        // One who may write one field and not see another would learn about the other by being refused.
        let guarded = fields.iter().map(|at| &collection.fields[*at]).find(|field| classes[field.class].guarded());
        if let Some(field) = guarded.filter(|_| fields.len() > 1) {
            let message = format!("the check `{that}` compares `{}`, whose class is `{}`, with another field", field.name, classes[field.class].name);
            error("guarded-check", message, "compare such a field with fixed values only: a refusal would tell its value");
        }
        if let Some((message, help)) = unkept(collection, &fields, that) {
            error("unkept-check", message, help);
        }
        collection.table.checks.push(RowCheck { that: that.clone(), broken: Some(broken.clone()) });
        collection.checks.push(Check { that: that.clone(), message: check.message.clone(), fields, broken });
    }
}

/// Why Haechi itself could break a check, and what to do: it changes these fields without asking.
fn unkept(collection: &Collection, fields: &[FieldId], that: &str) -> Option<(String, &'static str)> {
    let own = |at: &&FieldId| collection.id == USERS && (person::EMAIL..=person::EMAIL_VERIFIED).contains(at);
    if let Some(at) = fields.iter().find(own) {
        let message = format!("the check `{that}` looks at `{}`, which Haechi sets itself", collection.fields[*at].name);
        return Some((message, "look at the folder's own fields of users"));
    }
    let on_delete = |at: &FieldId| collection.fields[*at].ty.refers().map(|(_, on_delete)| on_delete);
    let (at, becomes, help) = fields.iter().find_map(|at| match on_delete(at)? {
        OnDelete::SetNull => Some((at, "becomes null when the row that it names", "choose on_delete = \"restrict\" or \"cascade\" for it")),
        OnDelete::Remove => Some((at, "gets shorter when a row that it names", "choose on_delete = \"restrict\" for it")),
        OnDelete::Restrict | OnDelete::Cascade => None,
    })?;
    Some((format!("the check `{that}` looks at `{}`, which {becomes} is deleted", collection.fields[*at].name), help))
}
