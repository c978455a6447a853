//! Why a policy cannot become a condition: what, which part of it, and what to write instead.

use cedar_policy::pst::Expr;
use haechi_model::{App, ThingKind};

/// A part of a policy that cannot become a condition.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) help: String,
    /// The innermost part that it is about.
    pub(crate) part: Option<Box<Expr>>,
}

impl Refusal {
    pub(crate) fn new(message: String, help: &str) -> Self {
        Self { code: "not-a-condition", message, help: help.to_owned(), part: None }
    }

    pub(crate) fn unknown_role(role: &str, known: &[String]) -> Self {
        let help = haechi_model::suggest(role, known.iter().map(String::as_str))
            .map_or_else(|| "add it to `roles` in haechi.toml".to_owned(), |near| format!("did you mean Role::\"{near}\"?"));
        Self { code: "unknown-role", message: format!("no role is named `{role}`"), help, part: None }
    }

    /// A thing that the folder does not declare: a misspelt one in a forbid would never be noticed.
    pub(crate) fn unknown_thing(app: &App, kind: ThingKind, name: &str) -> Self {
        let help = match (haechi_model::suggest(name, kind.names(app)), kind) {
            (Some(near), _) => format!("did you mean {}::\"{near}\"?", kind.type_name()),
            (None, ThingKind::Job) => "declare it in jobs/, or take it out of the policy".to_owned(),
        };
        Self { code: "unknown-thing", message: format!("no {} is named `{name}`", kind.entity().to_lowercase()), help, part: None }
    }

    pub(crate) fn unknown_field<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Self {
        let help = haechi_model::suggest(name, known).map_or_else(
            || "name a field of the collection; a renamed field has its new name here".to_owned(),
            |near| format!("did you mean \"{near}\"?"),
        );
        let message = format!("`context.fields` is compared with \"{name}\", which is no field: the policy would look like a rule and be none");
        Self { code: "unknown-field", message, help, part: None }
    }

    /// The place, unless a part of it is known already.
    pub(crate) fn at(mut self, expr: &Expr) -> Self {
        self.part.get_or_insert_with(|| Box::new(expr.clone()));
        self
    }
}

/// Refuses `what`; `instead` is the form to write.
pub(crate) fn refuse<T>(what: &str, instead: &str) -> Result<T, Refusal> {
    refuse_for(what.to_owned(), instead)
}

pub(crate) fn refuse_for<T>(what: String, instead: &str) -> Result<T, Refusal> {
    Err(Refusal::new(format!("{what} cannot be turned into a condition on rows"), instead))
}
