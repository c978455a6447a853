//! The descriptors as protobuf text, with descriptions and the bounds of each field as comments.

use crate::proto::{Method, PACKAGE, file, methods_of, plural};
use haechi_data::many::Doing;
use haechi_model::{App, Collection, Field};
use prost_types::{
    DescriptorProto, FieldDescriptorProto,
    field_descriptor_proto::{Label, Type},
};
use std::collections::HashMap;

/// The file in the language of protobuf.
pub(crate) fn text(app: &App) -> String {
    let file = file(app);
    let mut out = format!("// The collections of this service. Made by `haechi generate proto`.\nsyntax = \"proto3\";\n\npackage {PACKAGE};\n\n");
    for import in &file.dependency {
        out.push_str(&format!("import \"{import}\";\n"));
    }
    for (service, collection) in file.service.iter().zip(&app.collections) {
        out.push_str(&format!("\n// The records of {}.\nservice {} {{\n", collection.name, plural(collection)));
        let told: HashMap<String, String> = methods_of(collection).into_iter().map(|(name, method)| (name, of_method(&method, collection))).collect();
        for method in &service.method {
            let stream = if method.server_streaming() { "stream " } else { "" };
            let (input, output) = (short(method.input_type()), short(method.output_type()));
            out.push_str(&format!("  // {}\n  rpc {}({input}) returns ({stream}{output});\n", told[method.name()], method.name()));
        }
        out.push_str("}\n");
    }
    for found in &file.enum_type {
        out.push_str(&format!("\n// What happened to a record.\nenum {} {{\n", found.name()));
        for value in &found.value {
            out.push_str(&format!("  // {}\n  {} = {};\n", of_value(value.name()), value.name(), value.number()));
        }
        out.push_str("}\n");
    }
    let messages = Messages::of(app);
    for message in &file.message_type {
        out.push_str(&format!("\n// {}\nmessage {} {{\n", messages.told(message), message.name()));
        for field in &message.field {
            out.push_str(&format!("  // {}\n{}", messages.of_field(message, field), line(field)));
        }
        out.push_str("}\n");
    }
    out
}

fn of_method(method: &Method, collection: &Collection) -> String {
    let name = &collection.name;
    match method {
        Method::Get => format!("Reads a record of {name}. Fields that are not yours to read are left out and named in masked_fields."),
        Method::List => format!("Finds records of {name}, a page at a time."),
        Method::Aggregate => format!("Counts records of {name}, and computes over their fields: over all that you may list, or by groups."),
        Method::Create => format!("Adds a record of {name}."),
        Method::Update => format!("Changes fields of a record of {name}."),
        Method::Delete => format!("Deletes a record of {name}, and what goes with it."),
        Method::Many(Doing::Change) => format!("Changes all records of {name} that a filter finds, at most 1000, or none of them."),
        Method::Many(Doing::Remove) => format!("Deletes all records of {name} that a filter finds, at most 1000, or none of them."),
        Method::Upsert => format!("Changes the record of {name} with the same unique key, or creates it."),
        Method::BatchGet => format!("Reads up to 100 records of {name}: all of them or none."),
        Method::BatchCreate => format!("Adds up to 100 records of {name}: all of them or none."),
        Method::BatchUpdate => format!("Changes up to 100 records of {name}: all of them or none."),
        Method::BatchDelete => format!("Deletes up to 100 records of {name}: all of them or none."),
        Method::Watch => format!("Streams the changes of the records of {name} that you may watch."),
        Method::Act(action) => format!("Does `{action}` on a record of {name}."),
    }
}

fn of_value(name: &str) -> &'static str {
    match name.rsplit('_').next().unwrap_or_default() {
        "READY" => "Changes are told from here on.",
        "CREATE" => "A record was added, or has come into sight.",
        "UPDATE" => "A record was changed.",
        "DELETE" => "A record is gone, or is no longer yours to see.",
        "RESYNC" => "Read the list again.",
        _ => "Never sent.",
    }
}

/// The messages of aggregates, by the end of their names.
const OF_AGGREGATES: [(&str, &str); 3] = [
    ("Group", "Records with the same values."),
    ("Sum", "A sum; without a value when there is nothing to add."),
    ("Average", "A mean; without a value when there is nothing to take it of."),
];

/// A field of one of them.
fn of_aggregate(field: &str) -> Option<&'static str> {
    Some(match field {
        "key" => "The values that they share: only the fields of group_by are set.",
        "count" => "How many records they are.",
        "min" | "max" => "Only the fields that were asked for are set.",
        "field" => "The name of the field.",
        "value" => "Exact digits for a sum, and a number for a mean.",
        _ => return None,
    })
}

/// What the messages are about.
struct Messages<'a> {
    app: &'a App,
    records: HashMap<&'a str, &'a Collection>,
    inputs: HashMap<String, &'a Collection>,
    methods: HashMap<String, String>,
}

impl<'a> Messages<'a> {
    fn of(app: &'a App) -> Self {
        let (mut inputs, mut methods) = (HashMap::new(), HashMap::new());
        for collection in &app.collections {
            for (name, method) in methods_of(collection) {
                if let Method::Act(action) = &method
                    && let Some(declared) = collection.actions.iter().find(|declared| declared.name == *action)
                {
                    inputs.insert(format!("{name}Input"), &declared.input);
                }
                methods.insert(name, collection.name.clone());
            }
        }
        let records = app.collections.iter().map(|collection| (collection.singular.as_str(), collection)).collect();
        Self { app, records, inputs, methods }
    }

    fn told(&self, message: &DescriptorProto) -> String {
        let name = message.name();
        if let Some(collection) = self.records.get(name) {
            return format!("A record of {}.", collection.name);
        }
        let of = |suffix: &str| name.strip_suffix(suffix).map(str::to_owned);
        if let Some(method) = of("Request") {
            return format!("What {method} takes.");
        }
        for (part, told) in OF_AGGREGATES {
            if of(part).is_some_and(|method| self.methods.contains_key(&method)) {
                return told.to_owned();
            }
        }
        match (of("Response"), of("Input")) {
            (Some(method), _) if self.methods.contains_key(&method) => format!("What {method} answers with."),
            (_, Some(method)) => format!("The fields that {method} takes."),
            _ => "Nothing more than that it was done.".to_owned(),
        }
    }

    fn of_field(&self, message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
        let name = field.name();
        let declared = self.records.get(message.name()).copied().or_else(|| self.inputs.get(message.name()).copied());
        if let Some(found) = declared.and_then(|collection| Some(&collection.fields[collection.field(name)?])) {
            return self.bounds(found);
        }
        if let Some(told) = of_aggregate(name).filter(|_| OF_AGGREGATES.iter().any(|(part, _)| message.name().ends_with(part))) {
            return told.to_owned();
        }
        match name {
            "group_by" => "At most 2 fields whose values make groups; one group when it is empty.",
            "sum" | "avg" => "Numbers that are added, or whose mean is taken; at most 16 fields.",
            "min" | "max" => "Fields whose smallest or largest value is wanted; at most 16.",
            "groups" => "At most 1000, in the order of their keys.",
            "sums" | "averages" => "In the order in which they were asked for.",
            "masked_fields" => "Names of the fields that are not yours to read.",
            "id" => "The record's id.",
            "ids" => "Ids of at most 100 records.",
            "requests" => "At most 100.",
            "read_mask" => "The fields that are wanted; all when it is left out.",
            "on" => "The fields of a unique key, each of them.",
            "update_mask" => "The fields that change; those that are set when it is left out.",
            "page_size" => "Most records of the page; 20 when it is left out, and never more than limits.page_size.",
            "page_token" => "Where the page before ended; good for 24 hours.",
            "count" => "Whether `total_size` is wanted.",
            "total_size" => "The records of all pages, when that was asked.",
            "prev_page_token" => "Where the page before begins; empty on the first one.",
            "next_page_token" => "Where the next page begins; empty on the last one.",
            "filter" => "A filter (AIP-160), of at most 8 192 bytes.",
            "order_by" => "At most 4 fields with asc or desc, separated by commas.",
            "version" => "Only when the record has this version.",
            "request_id" => "The idempotency key, of 1 to 255 visible ASCII characters: the change happens at most once in 24 hours.",
            "after" => "The position after which to go on.",
            "position" => "Where to go on after a break.",
            "type" => "What happened.",
            "input" => "The fields of the action.",
            _ => "The record, or the records.",
        }
        .to_owned()
    }

    /// The type of a field with its bounds, and who may read it.
    fn bounds(&self, field: &Field) -> String {
        let words = self.app.in_words(&field.ty).replace(['\n', '\r'], " ");
        let class = &self.app.classes[field.class].name;
        let required = if field.required { "" } else { "; may be absent" };
        let own = if field.read_only { "; set by the server" } else { "" };
        format!("{words}{required}{own}; class {class}")
    }
}

fn line(field: &FieldDescriptorProto) -> String {
    let label = match (field.label(), field.proto3_optional()) {
        (Label::Repeated, _) => "repeated ",
        (_, true) => "optional ",
        _ => "",
    };
    let ty = match field.r#type() {
        Type::Int64 => "int64",
        Type::Int32 => "int32",
        Type::Double => "double",
        Type::Bool => "bool",
        Type::String => "string",
        _ => short(field.type_name()),
    };
    format!("  {label}{ty} {} = {};\n", field.name(), field.number())
}

/// A type's name without this package's.
fn short(name: &str) -> &str {
    let name = name.trim_start_matches('.');
    name.strip_prefix(PACKAGE).and_then(|rest| rest.strip_prefix('.')).unwrap_or(name)
}
