//! Variables and arguments: checked against their types, and converted for the actions.

use crate::names::{COMPARISONS, Input, InputRef, Types, WHERE};
use async_graphql::parser::types::{BaseType, Type, VariableDefinition};
use async_graphql_value::{ConstValue, Name, Value};
use haechi_model::filter;
use haechi_model::{Class, Collection, Field, FieldId, FieldType, Json, Predicate};
use std::collections::HashMap;

/// Values of variables. A missing variable is absent, which is not the same as null.
pub(crate) type Variables = HashMap<String, Json>;

/// What is wrong with an input.
pub(crate) type Wrong = String;

/// The variables of a request, checked and with their defaults.
pub(crate) fn variables(types: &Types, definitions: &[VariableDefinition], given: Option<&Json>) -> Result<Variables, Wrong> {
    let members: &[(Box<str>, Json)] = match given {
        None | Some(Json::Null) => &[],
        Some(Json::Object(members)) => members,
        Some(_) => return Err("`variables` must be an object.".to_owned()),
    };
    let mut found = Variables::with_capacity(definitions.len());
    for definition in definitions {
        let name = definition.name.node.as_str();
        let ty = &definition.var_type.node;
        let value = match members.iter().find(|(known, _)| **known == *name) {
            Some((_, json)) => Some(json.clone()),
            None => definition.default_value.as_ref().map(|value| const_json(&value.node)),
        };
        match value {
            Some(json) => {
                let json = coerce(types, json, ty).map_err(|what| format!("Variable `${name}`: {what}"))?;
                found.insert(name.to_owned(), json);
            }
            None if !ty.nullable => return Err(format!("Variable `${name}`: a value is required.")),
            None => {}
        }
    }
    Ok(found)
}

fn coerce(types: &Types, json: Json, ty: &Type) -> Result<Json, Wrong> {
    if json == Json::Null {
        return if ty.nullable { Ok(json) } else { Err("a value is required.".to_owned()) };
    }
    match (&ty.base, json) {
        (BaseType::List(inner), Json::List(items)) => {
            Ok(Json::List(items.into_iter().map(|item| coerce(types, item, inner)).collect::<Result<_, _>>()?))
        }
        (BaseType::List(inner), json) => Ok(Json::List(vec![coerce(types, json, inner)?])),
        (BaseType::Named(name), json) => named(types, json, name),
    }
}

fn named(types: &Types, json: Json, name: &str) -> Result<Json, Wrong> {
    let wrong = |json: &Json| Err(format!("must be of type {name}, not {}.", json.kind()));
    match types.inputs.get(name) {
        Some(Input::Scalar(scalar)) => match (*scalar, &json) {
            ("ID", Json::Number(digits)) if digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') => Ok(Json::Text(digits.clone())),
            ("Int", Json::Number(digits)) if digits.parse::<i32>().is_ok() => Ok(json),
            ("Float", Json::Number(_)) | ("Boolean", Json::Bool(_)) | ("String" | "ID", Json::Text(_)) => Ok(json),
            _ => wrong(&json),
        },
        Some(Input::Custom) => Ok(json),
        Some(Input::Enum(words)) => match &json {
            Json::Text(word) if words.iter().any(|known| **known == **word) => Ok(json),
            _ => Err(format!("must be one of the values of {name}.")),
        },
        Some(Input::Object(members)) => match json {
            Json::Object(given) => object(types, given, members, name),
            json => wrong(&json),
        },
        None => Err(format!("there is no input type {name}.")),
    }
}

fn object(types: &Types, given: Vec<(Box<str>, Json)>, members: &[(String, InputRef)], name: &str) -> Result<Json, Wrong> {
    let mut out = Vec::with_capacity(given.len());
    for (key, json) in given {
        let Some((_, ty)) = members.iter().find(|(known, _)| **known == *key) else {
            return Err(format!("{name} has no member `{key}`."));
        };
        let json = member(types, json, ty).map_err(|what| format!("`{key}` {what}"))?;
        out.push((key, json));
    }
    match members.iter().find(|(member, ty)| ty.required && !out.iter().any(|(known, _)| **known == **member)) {
        Some((missing, _)) => Err(format!("`{missing}` is required.")),
        None => Ok(Json::Object(out)),
    }
}

fn member(types: &Types, json: Json, ty: &InputRef) -> Result<Json, Wrong> {
    match json {
        Json::Null if ty.required => Err("is required.".to_owned()),
        Json::Null => Ok(Json::Null),
        Json::List(items) if ty.list => {
            let item = |item: Json| if item == Json::Null { Err("must not hold null.".to_owned()) } else { named(types, item, &ty.name) };
            Ok(Json::List(items.into_iter().map(item).collect::<Result<_, _>>()?))
        }
        json if ty.list => Ok(Json::List(vec![named(types, json, &ty.name)?])),
        json => named(types, json, &ty.name),
    }
}

/// An argument as JSON; `None` when it is left out, or is a variable that is left out.
pub(crate) fn argument(value: Option<&Value>, variables: &Variables) -> Option<Json> {
    match value? {
        Value::Variable(name) => variables.get(name.as_str()).cloned(),
        Value::Null => Some(Json::Null),
        Value::Number(number) => Some(Json::number(&number.to_string())),
        Value::String(text) => Some(Json::Text(text.as_str().into())),
        Value::Boolean(flag) => Some(Json::Bool(*flag)),
        Value::Enum(word) => Some(Json::Text(word.as_str().into())),
        Value::Binary(_) => None,
        Value::List(items) => Some(Json::List(items.iter().map(|item| argument(Some(item), variables).unwrap_or(Json::Null)).collect())),
        Value::Object(members) => {
            let member = |(name, value): (&Name, &Value)| Some((name.as_str().into(), argument(Some(value), variables)?));
            Some(Json::Object(members.iter().filter_map(member).collect()))
        }
    }
}

/// An argument of a named type. It also checks what the library's rules do not.
pub(crate) fn typed(types: &Types, value: Option<&Value>, variables: &Variables, name: &str) -> Result<Option<Json>, Wrong> {
    match argument(value, variables) {
        None | Some(Json::Null) => Ok(None),
        Some(json) => self::named(types, json, name).map(Some),
    }
}

/// A list of a named type.
pub(crate) fn typed_list(types: &Types, value: Option<&Value>, variables: &Variables, name: &str) -> Result<Vec<Json>, Wrong> {
    match argument(value, variables) {
        None | Some(Json::Null) => Ok(Vec::new()),
        Some(json) => match member(types, json, &InputRef::of(name).list())? {
            Json::List(items) => Ok(items),
            _ => Ok(Vec::new()),
        },
    }
}

/// Variables in the library's form, for introspection.
pub(crate) fn known(variables: &Variables) -> async_graphql::Variables {
    let scalar = |json: &Json| match json {
        Json::Text(text) => Some(ConstValue::String(text.to_string())),
        Json::Bool(flag) => Some(ConstValue::Boolean(*flag)),
        _ => None,
    };
    let mut known = async_graphql::Variables::default();
    known.extend(variables.iter().filter_map(|(name, json)| Some((Name::new(name), scalar(json)?))));
    known
}

fn const_json(value: &ConstValue) -> Json {
    argument(Some(&value.clone().into_value()), &Variables::new()).unwrap_or(Json::Null)
}

/// Most comparisons of a filter, and its deepest nesting: the same as in REST.
const MAX_TERMS: usize = 100;
const MAX_DEPTH: usize = 32;

/// A typed filter as a condition.
pub(crate) struct Filters<'a> {
    pub(crate) all: &'a [Collection],
    pub(crate) collection: &'a Collection,
    pub(crate) me: Option<&'a str>,
    pub(crate) terms: usize,
    /// How many references were looked through.
    pub(crate) steps: usize,
    pub(crate) classes: &'a [Class],
    /// The first field of a guarded class that it names, also where the condition is the same without it.
    pub(crate) personal: Option<&'a Field>,
}

impl<'a> Filters<'a> {
    pub(crate) fn condition(&mut self, json: &Json, depth: usize) -> Result<Predicate, Wrong> {
        let Json::Object(members) = json else { return Err("a filter is an object.".to_owned()) };
        if depth > MAX_DEPTH {
            return Err("the filter is nested too deeply.".to_owned());
        }
        let mut parts = Vec::with_capacity(members.len());
        for (name, json) in members {
            parts.push(match (&**name, json) {
                (_, Json::Null) => continue,
                ("and", Json::List(items)) => Predicate::all(self.each(items, depth)?),
                ("or", Json::List(items)) => Predicate::any(self.each(items, depth)?),
                ("not", json) => self.condition(json, depth + 1)?.not_true(),
                (name, json) if self.collection.field(name).is_none() && name.ends_with(WHERE) => self.step(name, json, depth)?,
                (name, Json::Object(operators)) => {
                    let field = self.collection.field(name).ok_or_else(|| format!("there is no field `{name}`."))?;
                    let declared = &self.collection.fields[field];
                    if self.classes[declared.class].guarded() {
                        self.personal = self.personal.or(Some(declared));
                    }
                    // An empty filter would match everything.
                    if operators.is_empty() {
                        return Err(format!("`{name}` is compared with nothing: name an operator, or leave it out."));
                    }
                    Predicate::all(operators.iter().map(|(operator, json)| self.comparison(field, operator, json)).collect::<Result<Vec<_>, _>>()?)
                }
                (name, _) => return Err(format!("`{name}` is not well formed.")),
            });
        }
        Ok(Predicate::all(parts))
    }

    /// A condition on the record that a reference names, which the caller may read.
    fn step(&mut self, name: &str, json: &Json, depth: usize) -> Result<Predicate, Wrong> {
        let field = self.collection.field(name.strip_suffix(WHERE).unwrap_or_default());
        let Some((field, FieldType::Ref { to, .. })) = field.map(|field| (field, &self.collection.fields[field].ty)) else {
            return Err(format!("there is no field `{name}`."));
        };
        let looked_through = &self.collection.fields[field];
        if self.classes[looked_through.class].guarded() {
            self.personal = self.personal.or(Some(looked_through));
        }
        if self.steps == filter::MAX_STEPS {
            return Err(format!("a filter looks through at most {} references.", filter::MAX_STEPS));
        }
        let mut inner = Filters { collection: &self.all[*to], steps: self.steps + 1, ..*self };
        let condition = inner.condition(json, depth + 1)?;
        (self.terms, self.personal) = (inner.terms, inner.personal);
        Ok(filter::through(field, *to, condition))
    }

    fn each(&mut self, items: &[Json], depth: usize) -> Result<Vec<Predicate>, Wrong> {
        items.iter().map(|item| self.condition(item, depth + 1)).collect()
    }

    fn comparison(&mut self, field: FieldId, operator: &str, json: &Json) -> Result<Predicate, Wrong> {
        match (operator, json) {
            ("is_null", Json::Bool(flag)) => self.compare(field, if *flag { "=" } else { "!=" }, None),
            ("is_null", _) => Err("`is_null` is true or false.".to_owned()),
            ("in", Json::List(items)) => {
                let each: Result<Vec<_>, _> = items.iter().map(|item| self.compare(field, "=", Some(item))).collect();
                Ok(Predicate::any(each?))
            }
            // As in REST, equal to null means that there is no value.
            ("eq" | "ne", Json::Null) => self.compare(field, if operator == "eq" { "=" } else { "!=" }, None),
            (_, Json::Null) => Err(format!("`{operator}` needs a value.")),
            (operator, json) => {
                let known = COMPARISONS.iter().find(|(name, _)| *name == operator).map_or("=", |(_, operator)| operator);
                self.compare(field, known, Some(json))
            }
        }
    }

    fn compare(&mut self, field: FieldId, operator: &str, json: Option<&Json>) -> Result<Predicate, Wrong> {
        self.terms += 1;
        if self.terms > MAX_TERMS {
            return Err("the filter has too many comparisons.".to_owned());
        }
        let text = match json {
            None => None,
            Some(Json::Text(text)) => Some(text.to_string()),
            Some(Json::Number(digits)) => Some(digits.to_string()),
            Some(Json::Bool(flag)) => Some(flag.to_string()),
            Some(_) => return Err(format!("`{}` is compared with one value.", self.collection.fields[field].name)),
        };
        filter::restriction(self.collection, field, operator, text.as_deref(), self.me)
            .map_err(|error| format!("`{}`: {}.", self.collection.fields[field].name, error.what))
    }
}
