//! Parsing and validation: the library's rules, after bounds that keep them cheap.

use crate::usage::Usage;
use async_graphql::{
    Request, Response, ServerError, Value,
    dynamic::Schema,
    extensions::{Extension, ExtensionContext, ExtensionFactory, NextExecute},
    parser::types::{ExecutableDocument, Selection, SelectionSet},
};
use haechi_model::GraphqlConfig;
use std::{collections::HashMap, sync::Arc};

/// Stops the library from executing: it only validates, and answers introspection.
pub(crate) struct Stop;

/// Marks a request for introspection.
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
    /// It is malformed, or breaks a rule.
    Invalid(Vec<ServerError>),
    /// It exceeds a limit.
    Limit(&'static str),
}

/// Deepest nesting of brackets: a bound for the parser's recursion.
const MAX_NESTING: usize = 64;

/// Parses a text within the limits; returns the number of its fields once fragments are expanded.
pub(crate) fn parse(text: &str, limits: &GraphqlConfig) -> Result<(ExecutableDocument, usize), Refused> {
    bounded(text, limits)?;
    let document = async_graphql::parser::parse_query(text).map_err(|error| Refused::Invalid(vec![error.into()]))?;
    let fields = measured(&document, limits)?;
    Ok((document, fields))
}

/// Counts tokens and nesting without the parser, so that the parser gets no costly input.
fn bounded(text: &str, limits: &GraphqlConfig) -> Result<(), Refused> {
    let (mut tokens, mut depth) = (0usize, 0usize);
    let mut bytes = text.as_bytes();
    while let Some((first, rest)) = bytes.split_first() {
        let taken = match first {
            b' ' | b'\t' | b'\r' | b'\n' | b',' => 0,
            b'#' => rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len()),
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

/// Bytes of a string after its first quote, including the last quote; handles escapes like the grammar.
fn string_length(rest: &[u8]) -> usize {
    let mut at = 0;
    if rest.starts_with(b"\"\"") {
        at = 2;
        while at < rest.len() {
            match &rest[at..] {
                [b'\\', b'"', b'"', b'"', ..] => at += 4,
                [b'"', b'"', b'"', ..] => return at + 3,
                _ => at += 1,
            }
        }
        return rest.len();
    }
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' | b'\n' | b'\r' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The size of a selection once its fragments are expanded.
#[derive(Clone, Copy, Default)]
struct Size {
    fields: usize,
    aliases: usize,
    directives: usize,
    depth: usize,
    /// How deep lists of introspection are nested: each level multiplies the answer.
    lists: usize,
}

/// The most fields of a document once fragments are expanded, the most directives, and the most operations.
const MAX_FIELDS: usize = 2_000;
const MAX_DIRECTIVES: usize = 50;
const MAX_OPERATIONS: usize = 20;
/// Deepest nesting of introspection lists.
const MAX_LISTS: usize = 2;
const LISTS: [&str; 4] = ["fields", "inputFields", "interfaces", "possibleTypes"];

/// Bounds what the rules would expand. Each fragment is measured once, so this takes linear time.
fn measured(document: &ExecutableDocument, limits: &GraphqlConfig) -> Result<usize, Refused> {
    let (mut known, mut fields) = (HashMap::new(), 0usize);
    let refuse = |what| Err(Refused::Limit(what));
    if document.operations.iter().count() > MAX_OPERATIONS {
        return refuse("The document has more operations than are allowed.");
    }
    for (_, operation) in document.operations.iter() {
        let size = size(document, &operation.node.selection_set.node, &mut known, 0)?;
        fields = fields.saturating_add(size.fields);
        if size.depth > limits.depth {
            return refuse("The operation is deeper than is allowed.");
        }
        if size.aliases > limits.aliases {
            return refuse("The operation has more aliases than are allowed.");
        }
        if fields > MAX_FIELDS {
            return refuse("The document has more fields than are allowed.");
        }
        if size.lists > MAX_LISTS {
            return refuse("The schema is asked for in circles.");
        }
        if size.directives + operation.node.directives.len() > MAX_DIRECTIVES {
            return refuse("The operation has more directives than are allowed.");
        }
    }
    Ok(fields)
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
                let lists = usize::from(LISTS.contains(&field.node.name.node.as_str()));
                let own =
                    Size { fields: 1, aliases: usize::from(field.node.alias.is_some()), directives: 0, depth: usize::from(!introspection), lists };
                // Introspection is deep by nature; its own switch and the bound of tokens limit it.
                (if introspection { Size { depth: 0, ..inner } } else { Size { lists: inner.lists, ..inner } }, own)
            }
            Selection::InlineFragment(inline) => (size(document, &inline.node.selection_set.node, known, depth + 1)?, Size::default()),
            Selection::FragmentSpread(spread) => {
                let name = spread.node.fragment_name.node.as_str();
                let inner = match (known.get(name), document.fragments.get(name)) {
                    (Some(Some(size)), _) => *size,
                    // A cycle, or a missing fragment: the rules report it.
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
        total.lists = total.lists.max(inner.lists + own.lists);
    }
    Ok(total)
}

/// The rules of the language over a schema.
pub(crate) struct Rules {
    schema: Schema,
    usage: Usage,
}

impl Rules {
    pub(crate) fn of(schema: Schema) -> Self {
        Self { usage: Usage::of(&schema), schema }
    }
}

/// Whether the document follows the rules of the language and of the schema.
pub(crate) async fn validate(rules: &Rules, document: &ExecutableDocument, operation: Option<&str>) -> Result<(), Refused> {
    let mut errors = rules.schema.execute(request(document, operation)).await.errors;
    if errors.is_empty() {
        // The library compares only sibling fields, and misses some conflicts below them.
        errors = crate::merge::conflicts(document);
        errors.extend(rules.usage.faults(document));
    }
    if errors.is_empty() { Ok(()) } else { Err(Refused::Invalid(errors)) }
}

/// The answers to the introspection fields of an operation.
pub(crate) async fn introspect(rules: &Rules, document: &ExecutableDocument, operation: Option<&str>, variables: async_graphql::Variables) -> Value {
    let request = request(document, operation).variables(variables).data(Introspect).only_introspection();
    rules.schema.execute(request).await.data
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
        // A string is one token, with any content.
        assert_eq!(refusal(&format!("{{ a(b: \"{}\") }}", "{ ".repeat(5_000))), "fine");
        assert_eq!(refusal(&format!("{{ a(b: \"\"\"{}\"\"\") }}", "{ ".repeat(5_000))), "fine");
    }

    /// GQL-02 [V4.3.1]: comments and strings end where the parser ends them: nothing hides behind them.
    #[test]
    fn nothing_hides_from_the_bounds() {
        let deep = |before: &str, after: &str| format!("{before}{{ a(b: {}{}) }}{after}", "[".repeat(200), "]".repeat(200));
        assert_eq!(refusal(&deep("#\r", "")), "The document is nested too deeply.");
        assert_eq!(refusal(&deep("# x\r\n", "")), "The document is nested too deeply.");
        let block = |text: &str| format!("{{ a(b: \"\"\"{text}\"\"\", c: {}{}) }}", "[".repeat(200), "]".repeat(200));
        for text in ["x\\\"\"\"y", "\\\"\"\"", "x", ""] {
            assert_eq!(refusal(&block(text)), "The document is nested too deeply.", "{text}");
        }
        assert_eq!(refusal(&format!("{{ a(b: \"\\\"\", c: {}{}) }}", "[".repeat(200), "]".repeat(200))), "The document is nested too deeply.");
    }

    /// GQL-01 [V4.3.1]: what the schema says of itself in circles multiplies.
    #[test]
    fn introspection_does_not_go_in_circles() {
        let circle = "{ __type(name: \"Note\") { fields { type { fields { type { fields { name } } } } } } }";
        assert_eq!(refusal(circle), "The schema is asked for in circles.");
        assert_eq!(refusal("{ __schema { types { fields { args { type { ofType { ofType { name } } } } } inputFields { name } } } }"), "fine");
        let spread = "{ __type(name: \"Note\") { ...f } } fragment f on __Type { fields { type { ...g } } } fragment g on __Type { fields { type { ...h } } } fragment h on __Type { fields { name } }";
        assert_eq!(refusal(spread), "The schema is asked for in circles.");
        let many: String = (0..30).map(|at| format!("query q{at} {{ a }} ")).collect();
        assert_eq!(refusal(&many), "The document has more operations than are allowed.");
    }

    /// GQL [V4.3.1]: fragments that spread each other do not multiply.
    #[test]
    fn fragments_are_measured_once() {
        let fragments: String = (0..30).map(|at| format!("fragment f{at} on Query {{ ...f{} ...f{} }} ", at + 1, at + 1)).collect();
        assert_eq!(refusal(&format!("{{ ...f0 }} {fragments} fragment f30 on Query {{ a }}")), "The document has more fields than are allowed.");
        assert_eq!(refusal("{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }"), "fine");
    }
}
