//! Parsing and validation: the library's rules, after bounds that keep them cheap.

use async_graphql::{
    Request, Response, ServerError, Value,
    dynamic::Schema,
    extensions::{Extension, ExtensionContext, ExtensionFactory, NextExecute},
    parser::types::{ExecutableDocument, Selection, SelectionSet},
};
use haechi_model::GraphqlConfig;
use std::{collections::HashMap, sync::Arc};

/// Keeps the library from executing: it validates, and answers introspection when asked to.
pub(crate) struct Stop;

/// Says that introspection is wanted.
struct Introspect;

impl ExtensionFactory for Stop {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self)
    }
}

#[async_graphql::async_trait::async_trait]
impl Extension for Stop {
    async fn execute(&self, ctx: &ExtensionContext<'_>, operation_name: Option<&str>, next: NextExecute<'_>) -> Response {
        match ctx.data_opt::<Introspect>() {
            Some(_) => next.run(ctx, operation_name).await,
            None => Response::new(Value::Null),
        }
    }
}

/// Why a document is not executed.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It is not well formed, or breaks a rule.
    Invalid(Vec<ServerError>),
    /// It is larger than is allowed.
    Limit(&'static str),
}

/// Deepest nesting of brackets: what the parser may recurse.
const MAX_NESTING: usize = 64;

/// Parses a text that is not too large.
pub(crate) fn parse(text: &str, limits: &GraphqlConfig) -> Result<ExecutableDocument, Refused> {
    bounded(text, limits)?;
    let document = async_graphql::parser::parse_query(text).map_err(|error| Refused::Invalid(vec![error.into()]))?;
    measured(&document, limits)?;
    Ok(document)
}

/// Counts tokens and nesting without a parser, so that nobody makes it work.
fn bounded(text: &str, limits: &GraphqlConfig) -> Result<(), Refused> {
    let (mut tokens, mut depth) = (0usize, 0usize);
    let mut bytes = text.as_bytes();
    while let Some((first, rest)) = bytes.split_first() {
        let taken = match first {
            b' ' | b'\t' | b'\r' | b'\n' | b',' => 0,
            b'#' => rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
            b'"' => {
                tokens += 1;
                string_length(rest)
            }
            b'{' | b'(' | b'[' => {
                tokens += 1;
                depth += 1;
                0
            }
            b'}' | b')' | b']' => {
                tokens += 1;
                depth = depth.saturating_sub(1);
                0
            }
            byte if byte.is_ascii_alphanumeric() || *byte == b'_' => {
                tokens += 1;
                rest.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_').unwrap_or(rest.len())
            }
            _ => {
                tokens += 1;
                0
            }
        };
        if tokens > limits.tokens {
            return Err(Refused::Limit("The document has more tokens than are allowed."));
        }
        if depth > MAX_NESTING {
            return Err(Refused::Limit("The document is nested too deeply."));
        }
        bytes = &rest[taken.min(rest.len())..];
    }
    Ok(())
}

/// Bytes of a string after its first quote, the last quote included.
fn string_length(rest: &[u8]) -> usize {
    if let Some(block) = rest.strip_prefix(b"\"\"") {
        return block.windows(3).position(|end| end == b"\"\"\"").map_or(rest.len(), |at| at + 5);
    }
    let mut at = 0;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' | b'\n' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// What a selection comes to once its fragments stand where they are spread.
#[derive(Clone, Copy, Default)]
struct Size {
    fields: usize,
    aliases: usize,
    directives: usize,
    depth: usize,
}

/// The most fields once fragments are expanded, and the most directives.
const MAX_FIELDS: usize = 2_000;
const MAX_DIRECTIVES: usize = 50;

/// Bounds what the rules would expand: each fragment is measured once, so that this itself is linear.
fn measured(document: &ExecutableDocument, limits: &GraphqlConfig) -> Result<(), Refused> {
    let mut known = HashMap::new();
    for (_, operation) in document.operations.iter() {
        let size = size(document, &operation.node.selection_set.node, &mut known, 0)?;
        let refuse = |what| Err(Refused::Limit(what));
        if size.depth > limits.depth {
            return refuse("The operation is deeper than is allowed.");
        }
        if size.aliases > limits.aliases {
            return refuse("The operation has more aliases than are allowed.");
        }
        if size.fields > MAX_FIELDS {
            return refuse("The operation has more fields than are allowed.");
        }
        if size.directives + operation.node.directives.len() > MAX_DIRECTIVES {
            return refuse("The operation has more directives than are allowed.");
        }
    }
    Ok(())
}

fn size<'a>(
    document: &'a ExecutableDocument,
    set: &'a SelectionSet,
    known: &mut HashMap<&'a str, Option<Size>>,
    depth: usize,
) -> Result<Size, Refused> {
    if depth > MAX_NESTING {
        return Err(Refused::Limit("The document is nested too deeply."));
    }
    let mut total = Size::default();
    for item in &set.items {
        let (inner, own) = match &item.node {
            Selection::Field(field) => {
                let inner = size(document, &field.node.selection_set.node, known, depth + 1)?;
                let introspection = field.node.name.node.starts_with("__");
                let own = Size { fields: 1, aliases: usize::from(field.node.alias.is_some()), directives: 0, depth: usize::from(!introspection) };
                // Introspection is deep by nature; it has its own switch, and the bound of tokens.
                (if introspection { Size { depth: 0, ..inner } } else { inner }, own)
            }
            Selection::InlineFragment(inline) => (size(document, &inline.node.selection_set.node, known, depth + 1)?, Size::default()),
            Selection::FragmentSpread(spread) => {
                let name = spread.node.fragment_name.node.as_str();
                let inner = match (known.get(name), document.fragments.get(name)) {
                    (Some(Some(size)), _) => *size,
                    // A circle, or no such fragment: the rules say so.
                    (Some(None), _) | (None, None) => Size::default(),
                    (None, Some(fragment)) => {
                        known.insert(name, None);
                        let found = size(document, &fragment.node.selection_set.node, known, depth + 1)?;
                        known.insert(name, Some(found));
                        found
                    }
                };
                (inner, Size::default())
            }
        };
        total.fields = total.fields.saturating_add(inner.fields).saturating_add(own.fields);
        total.aliases = total.aliases.saturating_add(inner.aliases).saturating_add(own.aliases);
        total.directives = total.directives.saturating_add(inner.directives).saturating_add(item.node.directives().len());
        total.depth = total.depth.max(inner.depth + own.depth);
    }
    Ok(total)
}

/// Whether the document keeps the rules of the language and of the schema.
pub(crate) async fn validate(schema: &Schema, document: &ExecutableDocument, operation: Option<&str>) -> Result<(), Refused> {
    let response = schema.execute(request(document, operation)).await;
    if response.errors.is_empty() { Ok(()) } else { Err(Refused::Invalid(response.errors)) }
}

/// What the introspection fields of an operation say.
pub(crate) async fn introspect(
    schema: &Schema,
    document: &ExecutableDocument,
    operation: Option<&str>,
    variables: async_graphql::Variables,
) -> Value {
    let request = request(document, operation).variables(variables).data(Introspect).only_introspection();
    schema.execute(request).await.data
}

fn request(document: &ExecutableDocument, operation: Option<&str>) -> Request {
    let mut request = Request::new("");
    request.set_parsed_query(document.clone());
    match operation {
        Some(name) => request.operation_name(name),
        None => request,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> &'static str {
        match parse(text, &GraphqlConfig::default()) {
            Err(Refused::Limit(what)) => what,
            Err(Refused::Invalid(_)) => "invalid",
            Ok(_) => "fine",
        }
    }

    /// GQL-03, GQL-04 [V4.3.1]: what would cost much is refused before a rule looks at it.
    #[test]
    fn documents_are_bounded_before_they_are_validated() {
        assert_eq!(refusal("{ notes { nodes { id } } }"), "fine");
        assert_eq!(refusal(&format!("{{ {} }}", "a ".repeat(10_000))), "The document has more tokens than are allowed.");
        assert_eq!(refusal(&"{a".repeat(100)), "The document is nested too deeply.");
        assert_eq!(refusal(&format!("{}{}", "{a".repeat(20), "}".repeat(20))), "The operation is deeper than is allowed.");
        let aliases: String = (0..100).map(|at| format!("a{at}: note(id: 1) {{ id }} ")).collect();
        assert_eq!(refusal(&format!("{{ {aliases} }}")), "The operation has more aliases than are allowed.");
        let directives = "@include(if: true) ".repeat(60);
        assert_eq!(refusal(&format!("{{ a {directives} }}")), "The operation has more directives than are allowed.");
        // A string is one token, whatever is in it.
        assert_eq!(refusal(&format!("{{ a(b: \"{}\") }}", "{ ".repeat(5_000))), "fine");
        assert_eq!(refusal(&format!("{{ a(b: \"\"\"{}\"\"\") }}", "{ ".repeat(5_000))), "fine");
    }

    /// GQL [V4.3.1]: fragments that spread each other do not multiply.
    #[test]
    fn fragments_are_measured_once() {
        let fragments: String = (0..30).map(|at| format!("fragment f{at} on Query {{ ...f{} ...f{} }} ", at + 1, at + 1)).collect();
        assert_eq!(refusal(&format!("{{ ...f0 }} {fragments} fragment f30 on Query {{ a }}")), "The operation has more fields than are allowed.");
        assert_eq!(refusal("{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }"), "fine");
    }
}
