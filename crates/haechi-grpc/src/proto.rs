//! The services and messages of an app, as descriptors made from the model: for requests, for reflection, and to be printed.

use haechi_data::many::{Doing, keyed};
use haechi_model::{App, Collection, CollectionId, FieldId, FieldType, MASKED_FIELDS, USERS, field_number, pascal, snake};
use prost_reflect::{DescriptorError, DescriptorPool, MessageDescriptor};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    MethodDescriptorProto, OneofDescriptorProto, ServiceDescriptorProto,
    field_descriptor_proto::{Label, Type},
};
use std::collections::HashMap;

/// The package of everything that an app declares.
pub(crate) const PACKAGE: &str = "haechi.v1";
const FILE: &str = "haechi/v1/app.proto";
const TIMESTAMP: &str = ".google.protobuf.Timestamp";
const FIELD_MASK: &str = ".google.protobuf.FieldMask";

/// A method of a collection's service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    List,
    /// Counts, sums, means and extremes, of all records or by groups.
    Aggregate,
    Create,
    Update,
    Delete,
    /// Creates the record, or changes the one with the same unique key.
    Upsert,
    /// Changes or deletes all records that a filter finds.
    Many(Doing),
    BatchGet,
    BatchCreate,
    BatchUpdate,
    BatchDelete,
    Watch,
    Act(String),
}

/// A method with its request type.
pub(crate) struct Entry {
    pub(crate) collection: CollectionId,
    pub(crate) method: Method,
    pub(crate) request: MessageDescriptor,
}

/// All services and methods.
pub(crate) struct Proto {
    /// By service and method.
    pub(crate) methods: HashMap<String, HashMap<String, Entry>>,
    pub(crate) files: FileDescriptorSet,
}

impl Proto {
    pub(crate) fn new(app: &App) -> Result<Self, DescriptorError> {
        let mut pool = DescriptorPool::global();
        pool.add_file_descriptor_proto(file(app))?;
        let mut methods: HashMap<String, HashMap<String, Entry>> = HashMap::new();
        for collection in &app.collections {
            let entries = methods_of(collection).into_iter().filter_map(|(name, method)| {
                let request = pool.get_message_by_name(&format!("{PACKAGE}.{name}Request"))?;
                Some((name, Entry { collection: collection.id, method, request }))
            });
            methods.insert(format!("{PACKAGE}.{}", plural(collection)), entries.collect());
        }
        let files = FileDescriptorSet { file: pool.file_descriptor_protos().cloned().collect() };
        Ok(Self { methods, files })
    }
}

/// Names that two parts of the model would share: collection, and what is wrong.
pub(crate) fn clashes(app: &App) -> Vec<(CollectionId, String)> {
    let mut found = Vec::new();
    let mut messages: HashMap<String, &str> = HashMap::new();
    for collection in &app.collections {
        let mut numbers: HashMap<u32, &str> = HashMap::new();
        for (at, field) in collection.fields.iter().enumerate() {
            if let Some(other) = numbers.insert(field_number(collection, at), &field.name) {
                found.push((collection.id, format!("`{}` and `{other}` would have the same number in protobuf: rename one of them", field.name)));
            }
        }
        let mut names = vec![plural(collection), collection.singular.clone()];
        for (name, method) in methods_of(collection) {
            names.extend([format!("{name}Request"), format!("{name}Response"), format!("{name}Input")]);
            if method == Method::Aggregate {
                names.extend(["Group", "Sum", "Average"].map(|part| format!("{name}{part}")));
            }
        }
        for name in names {
            if let Some(other) = messages.insert(name.clone(), &collection.name).filter(|other| *other != collection.name) {
                found.push((
                    collection.id,
                    format!("`{name}` of protobuf would be both of `{}` and of `{other}`: choose another `singular`", collection.name),
                ));
            }
        }
    }
    found
}

/// The name of a collection's service; it is changed when a message has the same name.
pub(crate) fn plural(collection: &Collection) -> String {
    let name = pascal(&collection.name);
    if name == collection.singular { format!("{name}Service") } else { name }
}

pub(crate) fn methods_of(collection: &Collection) -> Vec<(String, Method)> {
    let (one, many) = (&collection.singular, pascal(&collection.name));
    let mut methods = vec![
        (format!("Get{one}"), Method::Get),
        (format!("List{many}"), Method::List),
        (format!("Aggregate{many}"), Method::Aggregate),
        (format!("Update{one}"), Method::Update),
        (format!("BatchGet{many}"), Method::BatchGet),
        (format!("BatchUpdate{many}"), Method::BatchUpdate),
        (format!("Watch{many}"), Method::Watch),
        (format!("Change{many}"), Method::Many(Doing::Change)),
    ];
    // Only the identity feature creates and deletes people.
    if collection.id != USERS {
        methods.extend([
            (format!("Create{one}"), Method::Create),
            (format!("Delete{one}"), Method::Delete),
            (format!("BatchCreate{many}"), Method::BatchCreate),
            (format!("BatchDelete{many}"), Method::BatchDelete),
            (format!("Remove{many}"), Method::Many(Doing::Remove)),
        ]);
    }
    if keyed(collection) {
        methods.push((format!("Upsert{one}"), Method::Upsert));
    }
    methods.extend(collection.actions.iter().map(|action| (format!("{}{one}", pascal(&action.name)), Method::Act(action.name.clone()))));
    methods
}

/// Each method's path and action.
pub(crate) fn routes(app: &App) -> Vec<(&'static str, String, String)> {
    let of = |collection: &Collection| {
        let path = format!("/{PACKAGE}.{}", plural(collection));
        let name = collection.name.clone();
        methods_of(collection).into_iter().map(move |(method, what)| {
            let action = match &what {
                Method::Get | Method::BatchGet => "read",
                Method::List | Method::Aggregate => "list",
                Method::Create | Method::BatchCreate => "create",
                Method::Update | Method::BatchUpdate => "update",
                Method::Delete | Method::BatchDelete => "delete",
                Method::Upsert => "create or update",
                Method::Many(Doing::Change) => "list and update",
                Method::Many(Doing::Remove) => "list and delete",
                Method::Watch => "watch",
                Method::Act(action) => action,
            };
            ("POST", format!("{path}/{method}"), format!("{action} on {name}"))
        })
    };
    app.collections.iter().flat_map(of).collect()
}

pub(crate) fn file(app: &App) -> FileDescriptorProto {
    let mut file = FileDescriptorProto {
        name: Some(FILE.to_owned()),
        package: Some(PACKAGE.to_owned()),
        dependency: vec!["google/protobuf/timestamp.proto".to_owned(), "google/protobuf/field_mask.proto".to_owned()],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    };
    let value = |(number, name): (i32, &str)| EnumValueDescriptorProto { name: Some(name.to_owned()), number: Some(number), options: None };
    let names =
        ["CHANGE_TYPE_UNSPECIFIED", "CHANGE_TYPE_READY", "CHANGE_TYPE_CREATE", "CHANGE_TYPE_UPDATE", "CHANGE_TYPE_DELETE", "CHANGE_TYPE_RESYNC"];
    file.enum_type.push(EnumDescriptorProto {
        name: Some("ChangeType".to_owned()),
        value: (0..).zip(names).map(value).collect(),
        ..EnumDescriptorProto::default()
    });
    let empty = message("DeleteResponse", Vec::new());
    file.message_type.push(empty);
    for collection in &app.collections {
        file.message_type.push(record(collection));
        let mut service = ServiceDescriptorProto { name: Some(plural(collection)), ..ServiceDescriptorProto::default() };
        for (name, method) in methods_of(collection) {
            let (messages, output) = messages_of(collection, &name, &method);
            file.message_type.extend(messages);
            service.method.push(MethodDescriptorProto {
                input_type: Some(format!(".{PACKAGE}.{name}Request")),
                output_type: Some(format!(".{PACKAGE}.{output}")),
                server_streaming: Some(method == Method::Watch),
                name: Some(name),
                ..MethodDescriptorProto::default()
            });
        }
        file.service.push(service);
    }
    file
}

fn message(name: &str, fields: Vec<FieldDescriptorProto>) -> DescriptorProto {
    let mut message = DescriptorProto { name: Some(name.to_owned()), field: fields, ..DescriptorProto::default() };
    // The presence of a proto3 field needs its own oneof.
    for field in message.field.iter_mut().filter(|field| field.proto3_optional == Some(true)) {
        field.oneof_index = i32::try_from(message.oneof_decl.len()).ok();
        message.oneof_decl.push(OneofDescriptorProto { name: Some(format!("_{}", field.name.clone().unwrap_or_default())), options: None });
    }
    message
}

fn plain(name: &str, number: u32, ty: Type) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: i32::try_from(number).ok(),
        label: Some(Label::Optional as i32),
        r#type: Some(ty as i32),
        json_name: Some(name.to_owned()),
        ..FieldDescriptorProto::default()
    }
}

fn of_type(name: &str, number: u32, type_name: &str) -> FieldDescriptorProto {
    let ty = if type_name.ends_with("ChangeType") { Type::Enum } else { Type::Message };
    FieldDescriptorProto { type_name: Some(type_name.to_owned()), ..plain(name, number, ty) }
}

fn repeated(field: FieldDescriptorProto) -> FieldDescriptorProto {
    FieldDescriptorProto { label: Some(Label::Repeated as i32), ..field }
}

/// A stored field. All have presence, because NULL is not zero.
fn stored(collection: &Collection, at: FieldId) -> FieldDescriptorProto {
    let (name, number) = (&collection.fields[at].name, field_number(collection, at));
    let scalar = |ty: &FieldType| match ty {
        FieldType::Int { .. } | FieldType::Int64 { .. } => Type::Int64,
        FieldType::Float { .. } => Type::Double,
        FieldType::Bool => Type::Bool,
        _ => Type::String,
    };
    match &collection.fields[at].ty {
        FieldType::Datetime(_) => of_type(name, number, TIMESTAMP),
        FieldType::List { of, .. } => repeated(plain(name, number, scalar(of))),
        ty => FieldDescriptorProto { proto3_optional: Some(true), ..plain(name, number, scalar(ty)) },
    }
}

fn record(collection: &Collection) -> DescriptorProto {
    let mut fields: Vec<FieldDescriptorProto> = (0..collection.fields.len()).map(|at| stored(collection, at)).collect();
    fields.insert(Collection::FIRST_DECLARED, repeated(plain("masked_fields", MASKED_FIELDS, Type::String)));
    message(&collection.singular, fields)
}

/// The messages of a method, and its reply.
fn messages_of(collection: &Collection, name: &str, method: &Method) -> (Vec<DescriptorProto>, String) {
    let (one, many) = (&collection.singular, &collection.name);
    let row = format!(".{PACKAGE}.{one}");
    let single = snake(one);
    let request = |fields| message(&format!("{name}Request"), fields);
    let mask = |name: &str, number| of_type(name, number, FIELD_MASK);
    let text = |name: &str, number| plain(name, number, Type::String);
    let version = |number| FieldDescriptorProto { proto3_optional: Some(true), ..plain("version", number, Type::Int64) };
    let rows = || repeated(of_type(many, 1, &row));
    let of = |method: &str| repeated(of_type("requests", 1, &format!(".{PACKAGE}.{method}{one}Request")));
    let response = |fields| message(&format!("{name}Response"), fields);
    match method {
        Method::Get => (vec![request(vec![text("id", 1), mask("read_mask", 2)])], one.clone()),
        Method::List => {
            let fields = vec![
                plain("page_size", 1, Type::Int32),
                text("page_token", 2),
                text("filter", 3),
                text("order_by", 4),
                mask("read_mask", 5),
                plain("count", 6, Type::Bool),
            ];
            let page = vec![rows(), text("next_page_token", 2), plain("total_size", 3, Type::Int64), text("prev_page_token", 4)];
            (vec![request(fields), response(page)], format!("{name}Response"))
        }
        Method::Aggregate => (of_aggregate(name, &row), format!("{name}Response")),
        Method::Create => (vec![request(vec![of_type(&single, 1, &row), text("request_id", 2)])], one.clone()),
        Method::Many(doing) => {
            let mut fields = vec![text("filter", 1), text("request_id", 2)];
            if *doing == Doing::Change {
                fields.extend([of_type(&single, 3, &row), mask("update_mask", 4)]);
            }
            (vec![request(fields), response(vec![plain("count", 1, Type::Int32), repeated(text("ids", 2))])], format!("{name}Response"))
        }
        Method::Upsert => (vec![request(vec![of_type(&single, 1, &row), repeated(text("on", 2)), text("request_id", 3)])], one.clone()),
        Method::Update => {
            let fields = vec![of_type(&single, 1, &row), mask("update_mask", 2), version(3), text("request_id", 4)];
            (vec![request(fields)], one.clone())
        }
        Method::Delete => (vec![request(vec![text("id", 1), version(2), text("request_id", 3)])], "DeleteResponse".to_owned()),
        Method::BatchGet => (vec![request(vec![repeated(text("ids", 1)), mask("read_mask", 2)]), response(vec![rows()])], format!("{name}Response")),
        Method::BatchCreate => (vec![request(vec![of("Create"), text("request_id", 2)]), response(vec![rows()])], format!("{name}Response")),
        Method::BatchUpdate => (vec![request(vec![of("Update"), text("request_id", 2)]), response(vec![rows()])], format!("{name}Response")),
        Method::BatchDelete => (vec![request(vec![of("Delete"), text("request_id", 2)])], "DeleteResponse".to_owned()),
        Method::Watch => {
            let fields = vec![text("filter", 1), text("after", 2), mask("read_mask", 3)];
            let change = vec![of_type("type", 1, &format!(".{PACKAGE}.ChangeType")), text("position", 2), text("id", 3), of_type(&single, 4, &row)];
            (vec![request(fields), response(change)], format!("{name}Response"))
        }
        Method::Act(action) => {
            let declared = collection.actions.iter().find(|known| known.name == *action);
            let input: Vec<FieldDescriptorProto> =
                declared.into_iter().flat_map(|action| action.input.declared().map(|(at, _)| stored(&action.input, at))).collect();
            let fields = vec![text("id", 1), version(2), text("request_id", 3), of_type("input", 4, &format!(".{PACKAGE}.{name}Input"))];
            (vec![request(fields), message(&format!("{name}Input"), input)], one.clone())
        }
    }
}

/// The messages of an aggregate. Keys and extremes are records with the fields that were asked for.
fn of_aggregate(name: &str, row: &str) -> Vec<DescriptorProto> {
    let texts = |name: &str, number| repeated(plain(name, number, Type::String));
    let optional = |name: &str, number, ty| FieldDescriptorProto { proto3_optional: Some(true), ..plain(name, number, ty) };
    let part = |what: &str| format!(".{PACKAGE}.{name}{what}");
    let request = vec![plain("filter", 1, Type::String), texts("group_by", 2), texts("sum", 3), texts("avg", 4), texts("min", 5), texts("max", 6)];
    let group = vec![
        of_type("key", 1, row),
        plain("count", 2, Type::Int64),
        repeated(of_type("sums", 3, &part("Sum"))),
        repeated(of_type("averages", 4, &part("Average"))),
        of_type("min", 5, row),
        of_type("max", 6, row),
    ];
    vec![
        message(&format!("{name}Request"), request),
        message(&format!("{name}Response"), vec![repeated(of_type("groups", 1, &part("Group")))]),
        message(&format!("{name}Group"), group),
        message(&format!("{name}Sum"), vec![plain("field", 1, Type::String), optional("value", 2, Type::String)]),
        message(&format!("{name}Average"), vec![plain("field", 1, Type::String), optional("value", 2, Type::Double)]),
    ]
}
