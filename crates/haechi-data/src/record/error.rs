//! Every way in which an action on records fails, and the one place where each becomes a problem.

use haechi_gate::{ReadError, Refusal, WorkError, WriteError};
use haechi_model::filter::FilterError;
use haechi_model::{App, Collection, CollectionId, Failure, FieldError, JsonError};
use haechi_problem::{FieldProblem, Problem, kinds as kind, pointer};
use thiserror::Error;

/// Why an action was not done.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The body is not JSON.
    #[error("the body is not JSON")]
    Json(#[from] JsonError),
    /// The body is not an object, or an operation of a batch is not well formed.
    #[error("the request does not have the right shape")]
    Shape(&'static str),
    /// A parameter of the query.
    #[error("a parameter is wrong")]
    Parameter {
        /// Its name.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
    /// The filter.
    #[error("the filter is wrong")]
    Filter(#[source] FilterError),
    /// The order.
    #[error("the order is wrong")]
    Order(#[source] FilterError),
    /// A personal field in a URL.
    #[error("a classed field stands in a URL")]
    UseQueryBody(String),
    /// The page token.
    #[error("the page token is not valid here")]
    PageToken,
    /// Fields of a body.
    #[error("fields are not valid")]
    Fields(Vec<FieldProblem>),
    /// The collection or record does not exist, or is hidden from the caller.
    #[error("not found")]
    NotFound,
    /// A POST to a record does not name an action.
    #[error("no action is named")]
    NoAction,
    /// The steps that a declared action takes on other records were not done.
    #[error("an operation beside the action's own was not done")]
    Beside,
    /// Policy says no.
    #[error("refused")]
    Refused(Refusal),
    /// A field that the caller may not read is used.
    #[error("a field may not be used")]
    FieldRefused(String),
    /// `If-Match` is malformed.
    #[error("If-Match is malformed")]
    IfMatch,
    /// `Idempotency-Key` is malformed.
    #[error("Idempotency-Key is malformed")]
    IdempotencyKey,
    /// The body is not declared as JSON.
    #[error("the media type is not JSON")]
    MediaType,
    /// The body is too large.
    #[error("the body is too large")]
    TooLarge,
    /// The body ended before it was whole, or came too slowly.
    #[error("the body did not arrive")]
    Body,
    /// A change was not made.
    #[error("the change was not made")]
    Write {
        /// JSON Pointer to the operation's data.
        base: String,
        /// Name of the field, for failures that concern one.
        fields: Vec<String>,
        /// Words that the field may have instead.
        words: Vec<String>,
        /// Why.
        error: WriteError,
    },
    /// The database could not be read.
    #[error("the database could not be read")]
    Store(Failure),
    /// The reply would be too long.
    #[error("the reply would be too long")]
    TooLong,
    /// The access log is full.
    #[error("the access log is full")]
    AccessFull,
    /// The position of a stream was not issued by this service.
    #[error("the position is not one of ours")]
    Position,
    /// A filter finds more records than one change may have; how many.
    #[error("the filter finds too many records")]
    TooManyFound(i64),
    /// Another part of the same change took the record away.
    #[error("another part of the change takes the record away")]
    TakenAway,
    /// One of several records cannot be changed.
    #[error("one of the records cannot be changed")]
    One {
        /// Its id.
        id: Box<str>,
        /// Where the filter that found it stands.
        at: String,
        /// Why.
        error: Box<RecordError>,
    },
    /// The values make more groups than a reply has.
    #[error("there are too many groups")]
    TooManyGroups,
    /// Changes since the position are no longer kept.
    #[error("the position is too old")]
    PositionGone,
    /// There are too many streams.
    #[error("there are too many streams")]
    TooManyStreams,
    /// The request asks for more items than the caller's rate allows; the seconds after which to try again.
    #[error("too much was asked for")]
    Spent(u32),
}

impl RecordError {
    pub(crate) fn read(error: ReadError, app: &App, asked: CollectionId) -> Self {
        match error {
            ReadError::Refused(refusal) => Self::Refused(refusal),
            ReadError::FieldRefused(of, field) => {
                let collection = &app.collections[of];
                let name = &collection.fields[field].name;
                Self::FieldRefused(if of == asked { name.clone() } else { format!("{}.{name}", collection.name) })
            }
            ReadError::NotLocal => Self::Shape("The filter of a stream looks at the record itself only."),
            ReadError::TooLong => Self::TooLong,
            ReadError::AccessFull => Self::AccessFull,
            ReadError::Store(failure) => Self::Store(failure),
        }
    }

    pub(crate) fn write(error: WorkError, base: String, collection: &Collection) -> Self {
        let fields = match &error.error {
            WriteError::NotUnique(fields) => fields.iter().map(|field| collection.fields[*field].name.clone()).collect(),
            WriteError::Reference(field)
            | WriteError::Listed { field, .. }
            | WriteError::FieldForbidden(field)
            | WriteError::Required(field)
            | WriteError::WriteOnce(field)
            | WriteError::NotInitial(field)
            | WriteError::Check { field, .. }
            | WriteError::NotATransition { field, .. } => {
                vec![collection.fields[*field].name.clone()]
            }
            _ => Vec::new(),
        };
        let words = match &error.error {
            WriteError::NotInitial(field) => collection.fields[*field].rules.initial.clone().unwrap_or_default(),
            WriteError::Check { check, .. } => vec![collection.checks[*check].words()],
            WriteError::NotATransition { field, from: Some(from) } => collection.fields[*field].rules.after(from).to_vec(),
            WriteError::NotATransition { field, from: None } => collection.fields[*field].rules.initial.clone().unwrap_or_default(),
            _ => Vec::new(),
        };
        Self::Write { base, fields, words, error: error.error }
    }

    /// The problem that the client gets.
    #[must_use]
    pub fn problem(&self) -> Problem {
        match self {
            Self::Json(error) => Problem::new(kind::MALFORMED, format!("The body is not JSON: {error}.")),
            Self::Shape(what) => Problem::new(kind::MALFORMED, *what),
            Self::Parameter { name, what } => Problem::new(kind::MALFORMED, format!("The parameter `{name}` {what}.")),
            Self::Filter(error) => Problem::new(kind::INVALID_FILTER, format!("The filter is wrong at {error}.")),
            Self::Order(error) => Problem::new(kind::INVALID_FILTER, format!("The order is wrong at {error}.")),
            Self::UseQueryBody(field) => Problem::new(
                kind::USE_QUERY_BODY,
                format!("`{field}` is personal: URLs end up in logs and histories. Send the query as a body to `:query`."),
            ),
            Self::PageToken => Problem::new(kind::INVALID_PAGE_TOKEN, "Start again from the first page."),
            Self::NoAction => Problem::new(kind::METHOD_NOT_ALLOWED, "Name an action of the collection: POST /{id}:ACTION."),
            Self::Beside => Problem::new(kind::CONFLICT, "What the action does with other records cannot be done as they are. Nothing was done."),
            Self::Fields(errors) => {
                let count = errors.len();
                let detail = if count == 1 { "1 field is not valid.".to_owned() } else { format!("{count} fields are not valid.") };
                Problem::new(kind::INVALID_FIELDS, detail).with_errors(errors.clone())
            }
            Self::NotFound => Problem::new(kind::NOT_FOUND, "There is no such thing, or it is not yours to see."),
            Self::Refused(Refusal::Unauthenticated) => Problem::new(kind::UNAUTHENTICATED, "Send a bearer token."),
            Self::Refused(Refusal::Forbidden(None)) => Problem::new(kind::FORBIDDEN, "No policy allows this."),
            Self::Refused(Refusal::Forbidden(Some(reason))) => Problem::new(kind::FORBIDDEN, reason.to_string()),
            Self::AccessFull | Self::Refused(Refusal::Unrecorded) => {
                Problem::new(kind::BUSY, "What would be shown cannot be recorded at the moment.").retry_after(1)
            }
            Self::FieldRefused(field) => Problem::new(kind::FORBIDDEN, format!("`{field}` is not yours to read, so a query cannot use it.")),
            Self::IfMatch => Problem::new(kind::MALFORMED, "If-Match must be one strong ETag such as \"3\"."),
            Self::IdempotencyKey => Problem::new(kind::MALFORMED, "Idempotency-Key must be 1 to 255 visible ASCII characters."),
            Self::MediaType => Problem::new(kind::UNSUPPORTED_MEDIA_TYPE, "Send Content-Type: application/json."),
            Self::TooLarge => Problem::new(kind::TOO_LARGE, "The body has more bytes than are allowed."),
            Self::Body => Problem::new(kind::MALFORMED, "The body did not arrive whole."),
            Self::Write { base, fields, words, error } => write_problem(base, fields, words, error),
            Self::Store(failure) => store_problem(failure),
            Self::Position => Problem::new(kind::MALFORMED, "The position is not one that a stream of this service has given."),
            Self::TooManyFound(count) => Problem::new(
                kind::MALFORMED,
                format!("The filter finds {count} records; one change has at most 1 000. Nothing was done: narrow the filter."),
            ),
            Self::One { id, at, error } => {
                let mut problem = error.problem();
                let detail = format!("the record {id} is the reason");
                problem.errors.push(FieldProblem { pointer: at.clone(), code: "record", detail });
                problem
            }
            Self::TakenAway => Problem::new(kind::CONFLICT, "Another part of the change takes this record away. Nothing was done."),
            Self::TooManyGroups => Problem::new(kind::TOO_COSTLY, "There are more than 1 000 groups: narrow the filter, or group by another field."),
            Self::PositionGone => Problem::new(kind::POSITION_GONE, "What happened since then is no longer kept: read the list again."),
            Self::TooManyStreams => Problem::new(kind::TOO_MANY_REQUESTS, "Too many streams are open: close some.").retry_after(10),
            Self::Spent(seconds) => {
                Problem::new(kind::TOO_MANY_REQUESTS, "Each operation counts as a request: send fewer a minute.").retry_after(*seconds)
            }
            Self::TooLong => Problem::new(
                kind::REPLY_TOO_LARGE,
                "The reply would be longer than limits.page_bytes, or name more than 5 000 others: ask for fewer records, for fewer fields, or without what they refer to.",
            ),
        }
    }
}

fn write_problem(base: &str, fields: &[String], words: &[String], error: &WriteError) -> Problem {
    let at =
        |code, detail: &str| fields.iter().map(|field| FieldProblem { pointer: pointer(base, field), code, detail: detail.to_owned() }).collect();
    let whole = |problem: Problem, code, detail: &str| {
        let place = FieldProblem { pointer: base.to_owned(), code, detail: detail.to_owned() };
        if base.is_empty() { problem } else { problem.with_errors(vec![place]) }
    };
    match error {
        WriteError::NotFound => {
            whole(Problem::new(kind::NOT_FOUND, "There is no such record, or it is not yours to see."), "not_found", "no such record")
        }
        WriteError::Forbidden => whole(Problem::new(kind::FORBIDDEN, "No policy allows this."), "forbidden", "no policy allows this"),
        WriteError::FieldForbidden(_) => {
            Problem::new(kind::FORBIDDEN, "No policy allows you to write these fields.").with_errors(at("forbidden", "is not yours to write"))
        }
        WriteError::VersionMismatch => {
            whole(Problem::new(kind::VERSION_MISMATCH, "The record was changed since you read it."), "version_mismatch", "has another version")
        }
        WriteError::NotUnique(_) => {
            Problem::new(kind::NOT_UNIQUE, "Another record has the same value.").with_errors(at("not_unique", "another record has this value"))
        }
        WriteError::Reference(_) => {
            Problem::new(kind::INVALID_FIELDS, "1 field is not valid.").with_errors(at("unknown_reference", "names no record that you may read"))
        }
        WriteError::Listed { id, .. } => Problem::new(kind::INVALID_FIELDS, "1 field is not valid.")
            .with_errors(at("unknown_reference", &format!("{id} names no record that you may read"))),
        WriteError::Required(_) => Problem::new(kind::INVALID_FIELDS, "1 field is not valid.").with_errors(at("required", "a value is required")),
        WriteError::WriteOnce(_) => Problem::new(kind::INVALID_FIELDS, "1 field is not valid.")
            .with_errors(at("write_once", "is set when the record is created, and never changed")),
        WriteError::NotInitial(_) => Problem::new(kind::INVALID_FIELDS, "1 field is not valid.")
            .with_errors(at("not_initial", &format!("a new record begins with {}", one_of(words)))),
        WriteError::Check { .. } => Problem::new(kind::INVALID_FIELDS, "1 field is not valid.")
            .with_errors(at("check", words.first().map_or("does not keep a check", String::as_str))),
        WriteError::NotATransition { from, .. } => {
            let detail = match (from, words) {
                (None, _) => format!("begins with {}", one_of(words)),
                (Some(from), []) => format!("is {from}, after which nothing may follow"),
                (Some(from), words) => format!("is {from}, after which {} may follow", one_of(words)),
            };
            Problem::new(kind::NOT_A_TRANSITION, "The record is in another state.").with_errors(at("not_a_transition", &detail))
        }
        WriteError::Referenced(by) => {
            let detail = match by.is_empty() {
                true => "Other records still refer to this one.".to_owned(),
                false => format!("Other records still refer to this one, by {}.", by.join(", ")),
            };
            whole(Problem::new(kind::REFERENCED, detail), "referenced", "other records refer to it")
        }
        WriteError::TooManyChildren => whole(
            Problem::new(kind::TOO_MANY_CHILDREN, "More than 1 000 records refer to this one."),
            "too_many_children",
            "too many records refer to it",
        ),
        // What was found is looked for again; this is met when that was to no end.
        WriteError::Moved => Problem::new(kind::CONTENDED, "Nothing was done. Try again.").retry_after(1),
        WriteError::KeyReused => Problem::new(kind::KEY_REUSED, "The key was used with another method, path or body."),
        WriteError::Beside(_) => Problem::new(kind::CONFLICT, "What belongs to this change is done already. Nothing was done."),
        WriteError::Store(failure) => store_problem(failure),
    }
}

fn one_of(words: &[String]) -> String {
    match words {
        [] => "any word".to_owned(),
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        words => words.join(""),
    }
}

fn store_problem(failure: &Failure) -> Problem {
    match failure {
        Failure::Costly => Problem::new(
            kind::TOO_COSTLY,
            "It needs more work than a request may cause: narrow the filter, order by an indexed field, or ask the people who run the service for an index.",
        ),
        Failure::Busy => Problem::new(kind::BUSY, "Nothing was done. Try again.").retry_after(1),
        Failure::Contended => Problem::new(kind::CONTENDED, "Nothing was done. Try again.").retry_after(1),
        Failure::Unavailable => Problem::new(kind::UNAVAILABLE, "Nothing was done. Try again.").retry_after(2),
        Failure::Full => Problem::new(kind::FULL, "Nothing was done."),
        Failure::Unknown => Problem::new(kind::UNKNOWN, "Send it again with the same Idempotency-Key, or read the record."),
        Failure::Dangling { .. } | Failure::Referenced { .. } | Failure::NotUnique { .. } => {
            Problem::new(kind::CONFLICT, "The change conflicts with another one. Nothing was done.")
        }
        Failure::Missed(_) | Failure::KeyReused | Failure::Broken => Problem::new(kind::INTERNAL, "Nothing was done."),
    }
}

/// A field's error at its place.
pub(crate) fn field_problem(base: &str, field: &str, error: FieldError) -> FieldProblem {
    FieldProblem { pointer: pointer(base, field), code: error.code, detail: error.detail }
}
