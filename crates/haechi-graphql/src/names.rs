//! The meaning of the schema's names: each type's members, each root field, each input. Built once from the model.

use haechi_data::many::{Doing, keyed, keys};
use haechi_model::{App, Collection, CollectionId, FieldId, FieldType, pascal, snake};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A member of a record's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Member {
    /// A stored field; for a reference, the id in it.
    Field(FieldId),
    /// The record that a reference names.
    Referred(FieldId),
    /// The records that refer to this one, through one of their fields.
    Referring(CollectionId, FieldId),
    /// The names of masked fields.
    Masked,
}

/// A root field of queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Query {
    One(CollectionId),
    List(CollectionId),
    Aggregate(CollectionId),
}

/// The effect of a root field of mutations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Create,
    Update,
    Delete,
    /// Creates the record, or changes the one with the same unique key.
    Upsert,
    /// Changes or deletes all records that a filter finds.
    Many(Doing),
    /// A declared action.
    Act(String),
}

/// The kind of an input type.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Input {
    /// One of the built-in scalars.
    Scalar(&'static str),
    /// A scalar that the field itself parses.
    Custom,
    /// One of these values.
    Enum(Vec<String>),
    /// An object with these members: name, type, whether it is required.
    Object(Vec<(String, InputRef)>),
}

/// The type of an input's member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InputRef {
    pub(crate) name: String,
    pub(crate) list: bool,
    pub(crate) required: bool,
}

impl InputRef {
    pub(crate) fn of(name: &str) -> Self {
        Self { name: name.to_owned(), list: false, required: false }
    }

    pub(crate) fn required(self) -> Self {
        Self { required: true, ..self }
    }

    pub(crate) fn list(self) -> Self {
        Self { list: true, ..self }
    }
}

/// The end of the name of a filter's member that asks about the record which a reference names.
pub(crate) const WHERE: &str = "_where";
/// Operators for values that have an order.
const ORDERED: &[&str] = &["eq", "ne", "lt", "le", "gt", "ge", "in", "is_null"];
/// The matching operators of REST, for single comparisons.
pub(crate) const COMPARISONS: [(&str, &str); 8] =
    [("eq", "="), ("ne", "!="), ("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">="), ("has", ":"), ("starts_with", "starts_with")];

/// All names.
#[derive(Default)]
pub(crate) struct Types {
    pub(crate) members: Vec<HashMap<String, Member>>,
    pub(crate) queries: BTreeMap<String, Query>,
    pub(crate) mutations: BTreeMap<String, (CollectionId, Change)>,
    pub(crate) subscriptions: BTreeMap<String, CollectionId>,
    pub(crate) inputs: HashMap<String, Input>,
    /// Names that two parts of the schema would share: collection, and what is wrong.
    pub(crate) clashes: Vec<(CollectionId, String)>,
    taken: HashMap<String, String>,
}

/// Types that are in every schema.
const BUILT_IN: [&str; 19] = [
    "Query",
    "Mutation",
    "Subscription",
    "String",
    "Int",
    "Float",
    "Boolean",
    "ID",
    "SafeInt",
    "Int64",
    "Decimal",
    "DateTime",
    "Date",
    "JSON",
    "PageInfo",
    "FieldProblem",
    "OrderDirection",
    "ChangeType",
    "NullFilter",
];

impl Types {
    pub(crate) fn new(app: &App) -> Self {
        let mut types = Self::default();
        for name in BUILT_IN {
            types.taken.insert(name.to_owned(), "GraphQL itself".to_owned());
        }
        types.scalars();
        for collection in &app.collections {
            types.members(app, collection);
            types.roots(collection);
            types.inputs(app, collection);
        }
        types
    }

    fn scalars(&mut self) {
        for name in ["String", "Int", "Float", "Boolean", "ID"] {
            self.inputs.insert(name.to_owned(), Input::Scalar(name));
        }
        for name in ["SafeInt", "Int64", "Decimal", "DateTime", "Date", "JSON"] {
            self.inputs.insert(name.to_owned(), Input::Custom);
        }
        self.inputs.insert("OrderDirection".to_owned(), Input::Enum(vec!["ASC".to_owned(), "DESC".to_owned()]));
        self.inputs.insert("OrderNulls".to_owned(), Input::Enum(vec!["FIRST".to_owned(), "LAST".to_owned()]));
        for (name, operators) in [
            ("String", &["eq", "ne", "lt", "le", "gt", "ge", "has", "starts_with", "in", "is_null"][..]),
            ("Boolean", &["eq", "ne", "in", "is_null"]),
            ("Null", &["is_null"]),
        ] {
            self.filter_of(name, operators);
        }
        for name in ["ID", "Float", "SafeInt", "Int64", "Decimal", "DateTime", "Date"] {
            self.filter_of(name, ORDERED);
        }
        for item in ["String", "SafeInt", "Boolean", "ID"] {
            let members = vec![("has".to_owned(), InputRef::of(item)), ("is_null".to_owned(), InputRef::of("Boolean"))];
            self.inputs.insert(format!("{item}ListFilter"), Input::Object(members));
            self.taken.insert(format!("{item}ListFilter"), "GraphQL itself".to_owned());
        }
    }

    fn filter_of(&mut self, scalar: &str, operators: &[&str]) {
        let member = |operator: &&str| {
            let ty = match *operator {
                "in" => InputRef::of(scalar).list(),
                "is_null" => InputRef::of("Boolean"),
                _ => InputRef::of(scalar),
            };
            ((*operator).to_owned(), ty)
        };
        let name = format!("{scalar}Filter");
        self.inputs.insert(name.clone(), Input::Object(operators.iter().map(member).collect()));
        self.taken.entry(name).or_insert_with(|| "GraphQL itself".to_owned());
    }

    fn members(&mut self, app: &App, collection: &Collection) {
        let mut members: HashMap<String, Member> = HashMap::new();
        let mut clashes = Vec::new();
        let mut add = |name: String, member: Member| {
            if members.insert(name.clone(), member).is_some() {
                clashes.push(format!("`{}` would have two members `{name}` in GraphQL: rename a field", collection.singular));
            }
        };
        for (at, field) in collection.fields.iter().enumerate() {
            match id_member(field) {
                Some(ids) => {
                    add(field.name.clone(), Member::Referred(at));
                    add(ids, Member::Field(at));
                }
                None => add(field.name.clone(), Member::Field(at)),
            }
        }
        for (referring, field) in app.referrers(collection.id) {
            add(referring_name(referring, field), Member::Referring(referring.id, field));
        }
        add("_masked".to_owned(), Member::Masked);
        self.members.push(members);
        self.clashes.extend(clashes.into_iter().map(|what| (collection.id, what)));
    }

    fn roots(&mut self, collection: &Collection) {
        let (id, single) = (collection.id, snake(&collection.singular));
        let one = if single == collection.name { format!("{single}_by_id") } else { single.clone() };
        let mut clashes: Vec<String> = Vec::new();
        let queries =
            [(one, Query::One(id)), (collection.name.clone(), Query::List(id)), (format!("{}_aggregate", collection.name), Query::Aggregate(id))];
        clashes.extend(queries.into_iter().filter_map(|(name, query)| added(&mut self.queries, name, query)));
        clashes.extend(added(&mut self.subscriptions, collection.name.clone(), id));
        let mut changes = Vec::new();
        // Without fields to set there is no update: GraphQL does not allow an input without members.
        if settable(collection) {
            changes.push((format!("update_{single}"), Change::Update));
            changes.push((format!("change_{}", collection.name), Change::Many(Doing::Change)));
        }
        // Only the identity feature creates and deletes people.
        if id != haechi_model::USERS {
            changes.push((format!("create_{single}"), Change::Create));
            changes.push((format!("delete_{single}"), Change::Delete));
            changes.push((format!("remove_{}", collection.name), Change::Many(Doing::Remove)));
        }
        if keyed(collection) {
            changes.push((format!("upsert_{single}"), Change::Upsert));
        }
        changes.extend(collection.actions.iter().map(|action| (format!("{}_{single}", action.name), Change::Act(action.name.clone()))));
        clashes.extend(changes.into_iter().filter_map(|(name, change)| added(&mut self.mutations, name, (id, change))));
        let what = |name: String| format!("two root fields would be named `{name}` in GraphQL: choose another `singular` for `{}`", collection.name);
        self.clashes.extend(clashes.into_iter().map(|name| (id, what(name))));
    }

    /// Fields whose names join the conditions of a filter.
    fn joins(&mut self, collection: &Collection) {
        for field in collection.fields.iter().filter(|field| matches!(field.name.as_str(), "and" | "or" | "not")) {
            let what = format!("the filter of `{}` would have two members `{}` in GraphQL: rename the field", collection.singular, field.name);
            self.clashes.push((collection.id, what));
        }
    }

    fn inputs(&mut self, app: &App, collection: &Collection) {
        let singular = &collection.singular;
        let derived = [
            "",
            "Connection",
            "Edge",
            "Aggregate",
            "AggregateGroup",
            "AggregateGroupKey",
            "Minimum",
            "Maximum",
            "Sum",
            "Average",
            "Payload",
            "DeletePayload",
            "ManyPayload",
            "Change",
        ];
        for suffix in derived {
            self.take(collection, format!("{singular}{suffix}"));
        }
        for (at, field) in collection.fields.iter().enumerate() {
            if let Some(values) = enum_values(&field.ty) {
                let name = enum_name(collection, at);
                self.take(collection, name.clone());
                self.take(collection, format!("{name}Filter"));
                self.inputs.insert(name.clone(), Input::Enum(values.to_vec()));
                self.filter_of(&name, ORDERED);
            }
        }
        let writable = || collection.fields.iter().enumerate().filter(|(_, field)| !field.read_only);
        let plain = |(at, field): (FieldId, &haechi_model::Field)| (field.name.clone(), input_type(collection, at));
        if id_is_free(collection) {
            self.object(collection, "Create", writable().map(plain).collect());
        }
        self.object(collection, "Update", writable().map(plain).collect());
        let combined = InputRef::of(&format!("{singular}Filter"));
        self.joins(collection);
        let mut filter = vec![("and".to_owned(), combined.clone().list()), ("or".to_owned(), combined.clone().list()), ("not".to_owned(), combined)];
        filter.extend(collection.fields.iter().enumerate().map(|(at, field)| (field.name.clone(), InputRef::of(&filter_type(collection, at)))));
        for field in &collection.fields {
            let FieldType::Ref { to, .. } = field.ty else { continue };
            let name = format!("{}{WHERE}", field.name);
            if filter.iter().any(|(known, _)| *known == name) {
                let what = format!("the filter of `{singular}` would have two members `{name}` in GraphQL: rename a field");
                self.clashes.push((collection.id, what));
            }
            filter.push((name, InputRef::of(&format!("{}Filter", app.collections[to].singular))));
        }
        self.object(collection, "Filter", filter);
        let sortable = collection.fields.iter().filter(|field| field.ty.comparable()).map(|field| field.name.clone());
        self.take(collection, format!("{singular}OrderField"));
        self.inputs.insert(format!("{singular}OrderField"), Input::Enum(sortable.collect()));
        let order = vec![
            ("field".to_owned(), InputRef::of(&format!("{singular}OrderField")).required()),
            ("direction".to_owned(), InputRef::of("OrderDirection")),
            ("nulls".to_owned(), InputRef::of("OrderNulls")),
        ];
        self.object(collection, "Order", order);
        if keyed(collection) {
            let of_keys: BTreeSet<FieldId> = keys(collection).flatten().collect();
            let name = key_name(collection);
            self.take(collection, name.clone());
            self.inputs.insert(name, Input::Enum(of_keys.into_iter().map(|at| collection.fields[at].name.clone()).collect()));
        }
        for action in &collection.actions {
            let name = pascal(&action.name);
            let members = action.input.declared().map(|(at, field)| (field.name.clone(), input_type(&action.input, at))).collect();
            self.object(collection, &name, members);
        }
    }

    fn object(&mut self, collection: &Collection, suffix: &str, members: Vec<(String, InputRef)>) {
        let name = format!("{}{suffix}Input", collection.singular);
        let name = if matches!(suffix, "Filter" | "Order") { format!("{}{suffix}", collection.singular) } else { name };
        self.take(collection, name.clone());
        if !members.is_empty() {
            self.inputs.insert(name, Input::Object(members));
        }
    }

    /// The inputs that root fields use, directly or through other inputs; the schema contains no others.
    pub(crate) fn used_inputs(&self, app: &App) -> BTreeSet<&str> {
        let mut todo: Vec<String> = Vec::new();
        for collection in &app.collections {
            todo.extend(["Filter", "Order", "CreateInput", "UpdateInput", "KeyField"].map(|suffix| format!("{}{suffix}", collection.singular)));
            todo.extend(collection.actions.iter().map(|action| format!("{}{}Input", collection.singular, pascal(&action.name))));
            // Enums appear in records, too.
            todo.extend(
                (0..collection.fields.len()).filter(|at| enum_values(&collection.fields[*at].ty).is_some()).map(|at| enum_name(collection, at)),
            );
        }
        let mut used = BTreeSet::new();
        while let Some(name) = todo.pop() {
            let Some((known, input)) = self.inputs.get_key_value(&name) else { continue };
            if used.insert(known.as_str())
                && let Input::Object(members) = input
            {
                todo.extend(members.iter().map(|(_, ty)| ty.name.clone()));
            }
        }
        used
    }

    fn take(&mut self, collection: &Collection, name: String) {
        if let Some(owner) = self.taken.insert(name.clone(), collection.name.clone()) {
            let what = format!("the type `{name}` of GraphQL would be both that of `{}` and of {owner}: choose another `singular`", collection.name);
            self.clashes.push((collection.id, what));
        }
    }
}

/// Whether a caller can set a field of a collection.
pub(crate) fn settable(collection: &Collection) -> bool {
    collection.fields.iter().any(|field| !field.read_only)
}

/// Whether callers may add rows: only the identity feature creates people.
fn id_is_free(collection: &Collection) -> bool {
    collection.id != haechi_model::USERS
}

/// Adds a root field; returns its name when the name is taken.
fn added<T>(roots: &mut BTreeMap<String, T>, name: String, root: T) -> Option<String> {
    roots.insert(name.clone(), root).map(|_| name)
}

/// The name of the list of records that refer to another, through one of their fields.
pub(crate) fn referring_name(referring: &Collection, field: FieldId) -> String {
    format!("{}_by_{}", referring.name, referring.fields[field].name)
}

/// The name of the enum of the fields of unique keys.
pub(crate) fn key_name(collection: &Collection) -> String {
    format!("{}KeyField", collection.singular)
}

/// The values of an enum, when all of them are valid GraphQL names.
pub(crate) fn enum_values(ty: &FieldType) -> Option<&[String]> {
    let FieldType::Enum { values, .. } = ty else { return None };
    let name = |value: &String| {
        !value.starts_with("__")
            && !value.starts_with(|c: char| c.is_ascii_digit())
            && !matches!(value.as_str(), "true" | "false" | "null")
            && value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    values.iter().all(name).then_some(values)
}

/// The name of the member with the id of a reference, or the ids of a list of them.
pub(crate) fn id_member(field: &haechi_model::Field) -> Option<String> {
    field.ty.refers()?;
    Some(format!("{}_{}", field.name, if field.ty.lists().is_some() { "ids" } else { "id" }))
}

/// The name of a field in the key of a group: as it is in records.
pub(crate) fn group_member(field: &haechi_model::Field) -> String {
    id_member(field).unwrap_or_else(|| field.name.clone())
}

/// The field of a member of a group's key.
pub(crate) fn of_group(collection: &Collection, member: &str) -> Option<FieldId> {
    collection.fields.iter().position(|field| field.ty.comparable() && group_member(field) == member)
}

pub(crate) fn enum_name(collection: &Collection, field: FieldId) -> String {
    format!("{}{}", collection.singular, pascal(&collection.fields[field].name))
}

/// The scalar of a type that is neither list nor enum.
pub(crate) fn scalar(ty: &FieldType) -> &'static str {
    match ty {
        FieldType::Text { .. } | FieldType::Email | FieldType::Url | FieldType::Enum { .. } | FieldType::List { .. } => "String",
        FieldType::Uuid | FieldType::Ref { .. } => "ID",
        FieldType::Int { .. } => "SafeInt",
        FieldType::Int64 { .. } => "Int64",
        FieldType::Decimal { .. } => "Decimal",
        FieldType::Float { .. } => "Float",
        FieldType::Bool => "Boolean",
        FieldType::Datetime(_) => "DateTime",
        FieldType::Date(_) => "Date",
        FieldType::Json { .. } => "JSON",
    }
}

/// The type of a field in a body: nothing is required here, because the field's own errors report what is missing.
fn input_type(collection: &Collection, field: FieldId) -> InputRef {
    match &collection.fields[field].ty {
        FieldType::List { of, .. } => InputRef::of(scalar(of)).list(),
        ty if collection.table.columns.is_empty() || enum_values(ty).is_none() => InputRef::of(scalar(ty)),
        _ => InputRef::of(&enum_name(collection, field)),
    }
}

fn filter_type(collection: &Collection, field: FieldId) -> String {
    match &collection.fields[field].ty {
        FieldType::List { of, .. } => format!("{}ListFilter", scalar(of)),
        FieldType::Json { .. } => "NullFilter".to_owned(),
        ty if enum_values(ty).is_some() => format!("{}Filter", enum_name(collection, field)),
        ty => format!("{}Filter", scalar(ty)),
    }
}
