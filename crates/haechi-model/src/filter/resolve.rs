//! A filter's tree to a condition: fields are looked up, values are read by their field's type.

use super::{
    FilterError, MAX_BYTES, MAX_STEPS,
    lex::lex,
    parse::{Literal, Tree, parse},
};
use crate::{
    collection::Collection,
    field::FieldType,
    name::suggest,
    operand::Operand,
    positions::{CollectionId, FieldId},
    predicate::{Comparison, LikePart, Predicate},
    sort::Order,
    value::Value,
};

/// A filter that can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    /// The condition.
    pub predicate: Predicate,
    /// Fields that it looks at.
    pub fields: Vec<FieldId>,
    /// Fields of other collections, at which it looks through references.
    pub through: Vec<(CollectionId, FieldId)>,
}

/// Most fields of an order.
const MAX_ORDER: usize = 4;

/// Reads a filter. `me` is the caller's id, for references to users.
///
/// # Errors
/// The place and what is wrong there.
pub fn read_filter(text: &str, collection: &Collection, me: Option<&str>) -> Result<Filter, FilterError> {
    resolved(text, Resolver { me, ..Resolver::of(collection) })
}

/// Reads a filter that may look through references into the rows of other collections.
///
/// # Errors
/// The place and what is wrong there.
pub fn read_filter_through(text: &str, all: &[Collection], collection: &Collection, me: Option<&str>) -> Result<Filter, FilterError> {
    resolved(text, Resolver { me, all: Some(all), ..Resolver::of(collection) })
}

fn resolved(text: &str, mut resolver: Resolver<'_>) -> Result<Filter, FilterError> {
    if text.len() > MAX_BYTES {
        return Err(FilterError { column: 1, what: format!("the filter has {} bytes; at most {MAX_BYTES} are allowed", text.len()) });
    }
    if text.trim().is_empty() {
        return Ok(Filter { predicate: Predicate::True, fields: Vec::new(), through: Vec::new() });
    }
    let tree = parse(&lex(text)?, text.chars().count() + 1)?;
    let predicate = resolver.tree(&tree)?;
    Ok(Filter { predicate, fields: resolver.fields, through: resolver.through })
}

/// Reads an order such as `status, born desc`.
///
/// # Errors
/// The place and what is wrong there.
pub fn read_order(text: &str, collection: &Collection) -> Result<Vec<Order>, FilterError> {
    let mut order: Vec<Order> = Vec::new();
    let mut column = 1;
    for part in text.split(',') {
        let place = column + part.chars().take_while(|c| c.is_whitespace()).count();
        column += part.chars().count() + 1;
        let mut words = part.split_whitespace();
        let name = words.next().unwrap_or_default();
        let field = field(collection, name, place)?;
        if !collection.fields[field].ty.comparable() {
            return Err(FilterError { column: place, what: format!("`{name}` has no order: it is a {}", collection.fields[field].ty.name()) });
        }
        let mut part = Order::new(field, false);
        let mut words: Vec<&str> = words.collect();
        if let Some(direction @ ("asc" | "desc")) = words.first().copied() {
            part = Order::new(field, direction == "desc");
            words.remove(0);
        }
        match words[..] {
            [] => {}
            ["nulls_first"] => part.nulls_after = false,
            ["nulls_last"] => part.nulls_after = true,
            _ => {
                let what = format!("write `{name}`, `{name} asc` or `{name} desc`, with `nulls_first` or `nulls_last` behind it where that matters");
                return Err(FilterError { column: place, what });
            }
        }
        if order.iter().any(|known| known.column == field) || order.len() == MAX_ORDER {
            return Err(FilterError { column: place, what: format!("name each field once, at most {MAX_ORDER}") });
        }
        order.push(part);
    }
    Ok(order)
}

/// A comparison of one field, for doors whose filters have types: the operator as a filter writes it, `None` for null.
///
/// # Errors
/// What is wrong with it.
pub fn restriction(collection: &Collection, field: FieldId, operator: &str, value: Option<&str>, me: Option<&str>) -> Result<Predicate, FilterError> {
    let mut resolver = Resolver { me, ..Resolver::of(collection) };
    // Quoted, so that nothing in it is a keyword of the language, and `me` is not the caller's id.
    let literal = Literal { text: value.unwrap_or("null").to_owned(), quoted: value.is_some_and(|text| text != "me"), column: 1 };
    // An operator of a typed filter is one of those that a filter can have.
    let operator = OPERATORS.iter().find(|known| **known == operator).copied().unwrap_or("=");
    resolver.restriction(&collection.fields[field].name, 1, operator, &[literal])
}

/// What a typed filter may ask.
const OPERATORS: &[&str] = &["=", "!=", "<", "<=", ">", ">=", ":", "contains", "starts_with"];

/// A typed filter's condition on the row that a reference names, as a condition on the row that refers to it. What stands in it is asked of
/// rows that are there: a reference to none is as if it were null.
#[must_use]
pub fn through(field: FieldId, to: CollectionId, condition: Predicate) -> Predicate {
    Predicate::reference(Operand::Column(field), to, condition)
}

fn field(collection: &Collection, name: &str, column: usize) -> Result<FieldId, FilterError> {
    collection.field(name).ok_or_else(|| {
        let near = suggest(name, collection.fields.iter().map(|field| field.name.as_str()))
            .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        FilterError { column, what: format!("`{}` has no field `{name}`{near}", collection.name) }
    })
}

pub(super) struct Resolver<'a> {
    collection: &'a Collection,
    me: Option<&'a str>,
    pub(super) fields: Vec<FieldId>,
    /// Whether a bare word may be another field of the row.
    between_fields: bool,
    /// All collections, where references may be looked through.
    all: Option<&'a [Collection]>,
    through: Vec<(CollectionId, FieldId)>,
    /// How many references were looked through.
    steps: usize,
}

impl<'a> Resolver<'a> {
    fn of(collection: &'a Collection) -> Self {
        Self { collection, me: None, fields: Vec::new(), between_fields: false, all: None, through: Vec::new(), steps: 0 }
    }

    pub(super) fn between_fields(collection: &'a Collection) -> Self {
        Self { between_fields: true, ..Self::of(collection) }
    }

    fn tree(&mut self, tree: &Tree) -> Result<Predicate, FilterError> {
        Ok(match tree {
            Tree::And(parts) => Predicate::all(parts.iter().map(|part| self.tree(part)).collect::<Result<Vec<_>, _>>()?),
            Tree::Or(parts) => Predicate::any(parts.iter().map(|part| self.tree(part)).collect::<Result<Vec<_>, _>>()?),
            Tree::Not(inner) => self.tree(inner)?.not_true(),
            Tree::Restriction { field, column, operator, values } => self.restriction(field, *column, operator, values)?,
        })
    }

    /// A comparison in the row that a reference names. What is said there is said of a row that is there; so what asks whether there is no
    /// value, or another, is the opposite of what asks whether there is one, or this.
    fn step(&mut self, (first, rest): (&str, &str), column: usize, operator: &'static str, values: &[Literal]) -> Result<Predicate, FilterError> {
        let refuse = |what: String| Err(FilterError { column, what });
        let Some(all) = self.all else { return refuse("a filter cannot look into other records here; filter by the reference's id".to_owned()) };
        let id = field(self.collection, first, column)?;
        let FieldType::Ref { to, .. } = self.collection.fields[id].ty else {
            let help = if self.collection.fields[id].ty.lists().is_some() { "; ask what a list holds by `:`" } else { "" };
            return refuse(format!("`{first}` is no reference{help}"));
        };
        if self.steps == MAX_STEPS {
            return refuse(format!("a filter looks through at most {MAX_STEPS} references"));
        }
        self.fields.push(id);
        let null = matches!(values, [one] if !one.quoted && one.text == "null");
        let (operator, negated) = match operator {
            "=" if null => ("!=", true),
            "!=" if !null => ("=", true),
            operator => (operator, false),
        };
        let mut inner = Resolver { me: self.me, all: self.all, steps: self.steps + 1, ..Resolver::of(&all[to]) };
        let said = inner.restriction(rest, column + first.chars().count() + 1, operator, values)?;
        self.through.extend(inner.fields.into_iter().map(|field| (to, field)));
        self.through.extend(inner.through);
        let reference = through(id, to, said);
        Ok(if negated { reference.not_true() } else { reference })
    }

    pub(super) fn restriction(&mut self, name: &str, column: usize, operator: &'static str, values: &[Literal]) -> Result<Predicate, FilterError> {
        if let Some(parts) = name.split_once('.') {
            return self.step(parts, column, operator, values);
        }
        let [literal, others @ ..] = values else { return Err(FilterError { column, what: "a value is missing".to_owned() }) };
        let id = field(self.collection, name, column)?;
        self.fields.push(id);
        let field = &self.collection.fields[id];
        let operand = || Operand::Column(field.shadow.unwrap_or(id));
        if !literal.quoted && literal.text == "null" {
            return match operator {
                "=" => Ok(Predicate::IsNull(operand())),
                "!=" => Ok(Predicate::NotNull(operand())),
                _ => Err(FilterError { column: literal.column, what: "null can only be compared with = and !=".to_owned() }),
            };
        }
        match operator {
            ":" => return self.has(id, literal),
            // A star is a character here.
            "contains" => return self.has(id, &Literal { quoted: literal.quoted || literal.text == "*", ..literal.clone() }),
            "starts_with" => return self.starts(id, literal),
            _ => {}
        }
        if !field.ty.comparable() {
            return Err(FilterError { column, what: format!("`{name}` cannot be compared: it is a {}; use `{name}:\"…\"`", field.ty.name()) });
        }
        if operator == "IN" {
            let value = |literal: &Literal| match literal.quoted || literal.text != "null" {
                true => Ok(field.ty.folded(self.value(&field.ty, literal)?)),
                false => Err(FilterError { column: literal.column, what: "null stands in no list; add `OR FIELD IS NULL`".to_owned() }),
            };
            let values = std::iter::once(literal).chain(others).map(value).collect::<Result<Vec<_>, _>>()?;
            return Ok(Predicate::OneOf(operand(), values));
        }
        let right = match self.other_field(id, literal)? {
            Some(other) => Operand::Column(other),
            None => Operand::Constant(field.ty.folded(self.value(&field.ty, literal)?)),
        };
        let comparison = match operator {
            "=" | "!=" => Comparison::Equal,
            "<" => Comparison::Less,
            "<=" => Comparison::LessOrEqual,
            ">" => Comparison::Greater,
            _ => Comparison::GreaterOrEqual,
        };
        if comparison != Comparison::Equal && matches!(field.ty, FieldType::Bool | FieldType::Ref { .. } | FieldType::Uuid) && id != Collection::ID {
            return Err(FilterError { column, what: format!("`{name}` can only be compared with = and !=") });
        }
        let predicate = Predicate::Compare(operand(), comparison, right);
        Ok(if operator == "!=" { predicate.not_true() } else { predicate })
    }

    /// The column of another field that a bare word names, in a check.
    fn other_field(&mut self, id: FieldId, literal: &Literal) -> Result<Option<usize>, FilterError> {
        let named = self.collection.field(&literal.text).filter(|_| self.between_fields && !literal.quoted);
        let Some(other) = named else { return Ok(None) };
        let (field, with) = (&self.collection.fields[id], &self.collection.fields[other]);
        if !alike(&field.ty, &with.ty) {
            let what = format!("`{}` is a {} and `{}` is a {}: they cannot be compared", field.name, field.ty.name(), with.name, with.ty.name());
            return Err(FilterError { column: literal.column, what });
        }
        self.fields.push(other);
        Ok(Some(with.shadow.unwrap_or(other)))
    }

    /// `field:*` there is a value; `list:x` the list holds x; `text:x` the text holds x.
    fn has(&self, id: FieldId, literal: &Literal) -> Result<Predicate, FilterError> {
        let field = &self.collection.fields[id];
        let operand = Operand::Column(field.shadow.unwrap_or(id));
        if !literal.quoted && literal.text == "*" {
            return Ok(Predicate::NotNull(operand));
        }
        match &field.ty {
            FieldType::List { of, .. } => {
                Ok(Predicate::Contains { list: operand, element: Operand::Constant(self.value(of, literal)?), expected: true })
            }
            ty if is_text(ty) => {
                let text = self.sought(ty, literal)?;
                Ok(Predicate::Like(operand, vec![LikePart::Any, LikePart::Literal(text), LikePart::Any], true))
            }
            ty => Err(FilterError { column: literal.column, what: format!("`:` looks into texts and lists; `{}` is a {}", field.name, ty.name()) }),
        }
    }

    /// The text begins with these characters.
    fn starts(&self, id: FieldId, literal: &Literal) -> Result<Predicate, FilterError> {
        let field = &self.collection.fields[id];
        if !is_text(&field.ty) {
            let what = format!("`starts_with` looks into texts; `{}` is a {}", field.name, field.ty.name());
            return Err(FilterError { column: literal.column, what });
        }
        let text = self.sought(&field.ty, literal)?;
        Ok(Predicate::Like(Operand::Column(field.shadow.unwrap_or(id)), vec![LikePart::Literal(text), LikePart::Any], true))
    }

    /// Characters that are looked for in a text, in the form that is compared.
    fn sought(&self, ty: &FieldType, literal: &Literal) -> Result<Box<str>, FilterError> {
        if literal.text.contains('\0') {
            return Err(FilterError { column: literal.column, what: "U+0000 does not stand in any text".to_owned() });
        }
        let folded = match ty {
            FieldType::Email => Value::text(literal.text.to_ascii_lowercase()),
            ty => ty.folded(Value::text(literal.text.as_str())),
        };
        Ok(folded.as_text().unwrap_or_default().into())
    }

    fn value(&self, ty: &FieldType, literal: &Literal) -> Result<Value, FilterError> {
        if let (FieldType::Ref { to: crate::USERS, .. }, "me", false, Some(me)) = (ty, literal.text.as_str(), literal.quoted, self.me) {
            return Ok(Value::text(me));
        }
        let read = match ty {
            // A filter may compare with a value that cannot be stored.
            FieldType::Text { .. } if !literal.text.contains('\0') => Ok(Value::text(literal.text.as_str())),
            FieldType::Email => Ok(Value::text(literal.text.to_ascii_lowercase().replace('\0', ""))),
            ty => ty.unbounded().read_text(&literal.text),
        };
        read.map_err(|error| FilterError { column: literal.column, what: format!("the value {}", error.detail) })
    }
}

fn is_text(ty: &FieldType) -> bool {
    matches!(ty, FieldType::Text { .. } | FieldType::Email | FieldType::Url)
}

/// Whether values of two types are stored in the same form.
fn alike(one: &FieldType, other: &FieldType) -> bool {
    match (one, other) {
        (FieldType::Int { .. } | FieldType::Int64 { .. }, FieldType::Int { .. } | FieldType::Int64 { .. }) => true,
        (FieldType::Datetime(_) | FieldType::Date(_), FieldType::Datetime(_) | FieldType::Date(_)) => true,
        (FieldType::Decimal { scale, .. }, FieldType::Decimal { scale: other, .. }) => scale == other,
        (FieldType::Text { fold, .. }, FieldType::Text { fold: other, .. }) => fold == other,
        (FieldType::Ref { to, .. }, FieldType::Ref { to: other, .. }) => to == other,
        (FieldType::Enum { .. }, FieldType::Enum { .. }) => one == other,
        (FieldType::Float { .. }, FieldType::Float { .. }) => true,
        (one, other) => one == other && one.comparable(),
    }
}
