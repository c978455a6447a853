//! Errors in GraphQL's form: message, path, and the problem in `extensions`.

use haechi_data::RecordError;
use haechi_gate::Ask;
use haechi_model::write_json_text;
use haechi_problem::{FieldProblem, Problem, kinds};

/// A part of a path into the response.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Segment {
    Key(Box<str>),
    Index(usize),
}

/// A place in the response, from the innermost outwards.
#[derive(Clone, Copy)]
pub(crate) struct Path<'a> {
    pub(crate) parent: Option<&'a Path<'a>>,
    pub(crate) key: &'a str,
    /// Position in the list of this key.
    pub(crate) index: Option<usize>,
}

impl Path<'_> {
    fn segments(&self) -> Vec<Segment> {
        let mut segments = self.parent.map(Path::segments).unwrap_or_default();
        segments.push(Segment::Key(self.key.into()));
        segments.extend(self.index.map(Segment::Index));
        segments
    }
}

/// An error of a response.
#[derive(Clone, Debug)]
pub(crate) struct GraphqlError {
    problem: Box<Problem>,
    path: Vec<Segment>,
}

impl GraphqlError {
    /// An error at a place of the response.
    pub(crate) fn at(path: &Path<'_>, problem: Problem) -> Self {
        Self { problem: Box::new(problem), path: path.segments() }
    }

    /// An error of the whole request.
    pub(crate) fn of_request(problem: Problem) -> Self {
        Self { problem: Box::new(problem), path: Vec::new() }
    }

    /// An error for a document that breaks a rule of the language or of the schema.
    pub(crate) fn of_document(error: &async_graphql::ServerError) -> Self {
        let place = error.locations.first().map(|place| format!(" (line {}, column {})", place.line, place.column)).unwrap_or_default();
        Self::of_request(Problem::new(kinds::INVALID_DOCUMENT, format!("{}{place}", error.message)))
    }

    /// An error for an input.
    pub(crate) fn input(path: &Path<'_>, what: String) -> Self {
        Self::at(path, Problem::new(kinds::MALFORMED, what))
    }

    /// An error for an action that was not done.
    pub(crate) fn record(path: &Path<'_>, error: &RecordError) -> Self {
        Self::at(path, error.problem())
    }

    pub(crate) fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Writes a member of `errors`, in the caller's language.
    fn write(&self, base: &str, ask: &Ask, out: &mut Vec<u8>) {
        let problem = self.problem.in_language(ask.language());
        out.extend_from_slice(b"{\"message\":");
        write_json_text(&problem.detail, out);
        if !self.path.is_empty() {
            out.extend_from_slice(b",\"path\":[");
            for (at, segment) in self.path.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                match segment {
                    Segment::Key(key) => write_json_text(key, out),
                    Segment::Index(index) => out.extend_from_slice(index.to_string().as_bytes()),
                }
            }
            out.push(b']');
        }
        out.extend_from_slice(b",\"extensions\":{\"code\":");
        write_json_text(problem.kind.slug, out);
        out.extend_from_slice(format!(",\"status\":{},\"type\":", problem.kind.status).as_bytes());
        write_json_text(&format!("{base}/problems/{}", problem.kind.slug), out);
        out.extend_from_slice(b",\"request_id\":");
        write_json_text(ask.request_id(), out);
        if let Some(seconds) = problem.retry_after_s {
            out.extend_from_slice(format!(",\"retry_after\":{seconds}").as_bytes());
        }
        if !problem.errors.is_empty() {
            out.extend_from_slice(b",\"errors\":");
            write_problems(&problem.errors, out);
        }
        out.extend_from_slice(b"}}");
    }
}

/// A list of errors.
pub(crate) fn write_list(errors: &[GraphqlError], base: &str, ask: &Ask, out: &mut Vec<u8>) {
    out.push(b'[');
    for (at, error) in errors.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        error.write(base, ask, out);
    }
    out.push(b']');
}

fn write_problems(problems: &[FieldProblem], out: &mut Vec<u8>) {
    out.push(b'[');
    for (at, problem) in problems.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"pointer\":");
        write_json_text(&problem.pointer, out);
        out.extend_from_slice(b",\"code\":");
        write_json_text(problem.code, out);
        out.extend_from_slice(b",\"detail\":");
        write_json_text(&problem.detail, out);
        out.push(b'}');
    }
    out.push(b']');
}
