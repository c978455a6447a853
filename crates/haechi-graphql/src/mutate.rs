//! Changes: the same actions as in REST, with errors of the input in the payload.

use crate::{
    error::{GraphqlError, Path},
    execute::Run,
    input,
    names::{Change, key_name},
    plan::{Keyed, Mutation, PayloadPart, ProblemPart, write_object},
};
use haechi_data::{
    Handlers, RecordError, actions,
    actions::Made,
    declared::{self, Target},
    many::{self, Doing, Many},
};
use haechi_gate::Wanted;
use haechi_model::{Claim, Json, pascal, write_json_text};
use haechi_problem::{FieldProblem, Problem, kinds};

/// The result of a change.
enum Done {
    Made(Made),
    Deleted(Box<str>),
    Many(Many),
}

/// Why a change was not made.
enum Failed {
    /// The input has errors, which the payload shows.
    Fields(Vec<FieldProblem>),
    Other(Problem),
}

impl From<RecordError> for Failed {
    fn from(error: RecordError) -> Self {
        Self::from(error.problem())
    }
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        let of_input = problem.kind == kinds::INVALID_FIELDS || problem.kind == kinds::NOT_UNIQUE;
        if of_input && !problem.errors.is_empty() { Self::Fields(problem.errors) } else { Self::Other(problem) }
    }
}

impl Run<'_> {
    /// Makes a change; on failure `None`, and the error is recorded.
    pub(crate) async fn change(&self, mutation: &Mutation, handlers: &Handlers, claim: Option<Claim>, path: &Path<'_>) -> Option<Vec<u8>> {
        match self.make(mutation, handlers, claim).await {
            Ok(done) => Some(self.payload(mutation, Some(&done), &[], path).await),
            Err(Failed::Fields(problems)) => {
                let told: Vec<FieldProblem> = problems.iter().map(|problem| problem.in_language(self.ask.language())).collect();
                Some(self.payload(mutation, None, &told, path).await)
            }
            Err(Failed::Other(problem)) => {
                self.fail(GraphqlError::at(path, problem));
                None
            }
        }
    }

    async fn make(&self, mutation: &Mutation, handlers: &Handlers, claim: Option<Claim>) -> Result<Done, Failed> {
        let malformed = |what: String| Failed::Other(Problem::new(kinds::MALFORMED, what));
        let at = mutation.collection;
        let body = |suffix: &str| {
            let name = format!("{}{suffix}Input", self.ask.app().collections[at].singular);
            input::typed(self.types, mutation.input.as_ref(), self.variables, &name).map_err(|what| malformed(format!("`input`: {what}")))
        };
        let empty = || Json::Object(Vec::new());
        let id = match input::argument(mutation.id.as_ref(), self.variables) {
            Some(Json::Text(id) | Json::Number(id)) => id,
            _ => "".into(),
        };
        let version = match input::argument(mutation.version.as_ref(), self.variables) {
            None | Some(Json::Null) => None,
            Some(Json::Number(digits)) => Some(digits.parse::<i64>().map_err(|_| malformed("`version` is a whole number.".to_owned()))?),
            Some(_) => return Err(malformed("`version` is a whole number.".to_owned())),
        };
        match &mutation.change {
            Change::Create => {
                let json = body("Create")?.unwrap_or_else(empty);
                Ok(Done::Made(actions::create(self.ask, at, &json, claim).await?))
            }
            Change::Update => {
                let json = body("Update")?.unwrap_or_else(empty);
                Ok(Done::Made(actions::update(self.ask, at, &id, &json, version, claim).await?))
            }
            Change::Upsert => {
                let json = body("Create")?.unwrap_or_else(empty);
                let name = key_name(&self.ask.app().collections[at]);
                let on = input::typed_list(self.types, mutation.on.as_ref(), self.variables, &name);
                let on = on.map_err(|what| malformed(format!("`on`: {what}")))?;
                Ok(Done::Made(many::upsert_data(self.ask, at, &on, &json, claim).await?))
            }
            Change::Many(doing) => {
                many::may_do(self.ask, at, *doing).map_err(RecordError::Refused)?;
                let data = if *doing == Doing::Change { Some(body("Update")?.unwrap_or_else(empty)) } else { None };
                let name = format!("{}Filter", self.ask.app().collections[at].singular);
                let filter = input::typed(self.types, mutation.filter.as_ref(), self.variables, &name).map_err(&malformed)?;
                let filter = self.condition(&self.ask.app().collections[at], filter.as_ref()).map_err(&malformed)?;
                // A filter that is left out would mean all records, and a variable that is not given leaves its comparison out.
                if filter.terms == 0 {
                    return Err(malformed("`filter` must ask for something.".to_owned()));
                }
                Ok(Done::Many(many::by_condition(self.ask, at, (*doing, filter.predicate), data.as_ref().map(|data| (data, "")), claim).await?))
            }
            Change::Act(name) => {
                let grant = declared::grant(self.ask, at, name)?;
                let json = body(&pascal(name))?;
                Ok(Done::Made(declared::act(self.ask, grant, handlers, Target { id: &id, version }, json.as_ref(), claim).await?))
            }
            Change::Delete => {
                actions::delete(self.ask, at, &id, version, claim).await?;
                Ok(Done::Deleted(id))
            }
        }
    }

    async fn payload(&self, mutation: &Mutation, done: Option<&Done>, problems: &[FieldProblem], path: &Path<'_>) -> Vec<u8> {
        let mut out = vec![b'{'];
        for (at, part) in mutation.parts.iter().enumerate() {
            match part.begin(at == 0, &mut out) {
                None => {}
                Some(PayloadPart::Id) => match done {
                    Some(Done::Made(made)) => write_json_text(&made.id, &mut out),
                    Some(Done::Deleted(id)) => write_json_text(id, &mut out),
                    Some(Done::Many(_)) | None => out.extend_from_slice(b"null"),
                },
                Some(PayloadPart::Count) => match done {
                    Some(Done::Many(many)) => out.extend_from_slice(many.ids.len().to_string().as_bytes()),
                    _ => out.extend_from_slice(b"null"),
                },
                Some(PayloadPart::Ids) => match done {
                    Some(Done::Many(many)) => {
                        let ids: Vec<String> = many.ids.iter().map(|id| format!("\"{id}\"")).collect();
                        out.extend_from_slice(format!("[{}]", ids.join(",")).as_bytes());
                    }
                    _ => out.extend_from_slice(b"null"),
                },
                Some(PayloadPart::Errors(parts)) => write_problems(parts, problems, &mut out),
                Some(PayloadPart::Record(selection)) => {
                    let wanted = Wanted { fields: Some(&selection.fields), follow: &selection.follow, shape: selection.shape.clone() };
                    let shown = match done {
                        Some(Done::Made(made)) => made.shown(self.ask, wanted).await,
                        _ => None,
                    };
                    match shown {
                        Some(page) => out.extend(Box::pin(self.only(selection, page, path)).await),
                        None => out.extend_from_slice(b"null"),
                    }
                }
            }
        }
        out.push(b'}');
        out
    }
}

fn write_problems(parts: &[Keyed<ProblemPart>], problems: &[FieldProblem], out: &mut Vec<u8>) {
    out.push(b'[');
    for (at, problem) in problems.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_object(parts, out, |part, out| {
            let text = match part {
                ProblemPart::Pointer => &problem.pointer,
                ProblemPart::Code => problem.code,
                ProblemPart::Detail => &problem.detail,
            };
            write_json_text(text, out);
        });
    }
    out.push(b']');
}
