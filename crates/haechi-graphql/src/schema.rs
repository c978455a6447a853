//! The schema in the library's form, for validation, introspection and printing. Its resolvers never run.

use crate::names::{
    Change, Input, InputRef, Query, Types, enum_name, enum_values, group_member, id_member, key_name, referring_name, scalar, settable,
};
use async_graphql::dynamic::{
    Enum, Field, FieldFuture, InputObject, InputValue, Object, Scalar, Schema, SchemaBuilder, SchemaError, Subscription, SubscriptionField,
    SubscriptionFieldFuture, TypeRef,
};
use haechi_data::{
    aggregate::{extreme, summable},
    many::Doing,
};
use haechi_model::{App, Collection, FieldId, FieldType, USERS, pascal, snake};
use std::collections::BTreeMap;

/// The schema of an app; an error may suggest similar names.
pub(crate) fn schema(app: &App, types: &Types, open: bool) -> Result<Schema, SchemaError> {
    let changing = (!types.mutations.is_empty()).then_some("Mutation");
    let builder = Schema::build("Query", changing, Some("Subscription"));
    let used = types.used_inputs(app);
    let mut builder = scalars(builder).extension(crate::check::Stop);
    if !open {
        builder = builder.disable_suggestions();
    }
    for (name, input) in types.inputs.iter().filter(|(name, _)| used.contains(name.as_str())).collect::<BTreeMap<_, _>>() {
        builder = match input {
            Input::Enum(words) => builder.register(Enum::new(name).items(words.iter().map(String::as_str))),
            Input::Object(members) => builder.register(input_object(app, name, members.iter().map(|(member, ty)| (member.as_str(), input_ref(ty))))),
            Input::Scalar(_) | Input::Custom => builder,
        };
    }
    builder = common(builder, changing.is_some());
    for collection in &app.collections {
        builder = builder.register(record(app, collection));
        builder = lists(builder, collection);
        builder = aggregates(builder, collection);
        builder = changes(builder, collection);
    }
    let query = types.queries.iter().fold(Object::new("Query"), |object, (name, query)| object.field(query_field(app, name, *query)));
    let mutation = types
        .mutations
        .iter()
        .fold(Object::new("Mutation"), |object, (name, (at, change))| object.field(mutation_field(&app.collections[*at], name, change)));
    let mut subscription = Subscription::new("Subscription");
    for (name, at) in &types.subscriptions {
        let singular = &app.collections[*at].singular;
        let field = SubscriptionField::new(name, TypeRef::named_nn(format!("{singular}Change")), |_| {
            SubscriptionFieldFuture::new(async { Ok(futures_util::stream::empty::<async_graphql::Result<async_graphql::Value>>()) })
        });
        let field = field.description("Changes of records, as they are made: docs/live.md.");
        subscription = subscription.field(
            field
                .argument(InputValue::new("filter", TypeRef::named(format!("{singular}Filter"))))
                .argument(InputValue::new("after", TypeRef::named("String")).description("The position after which to go on.")),
        );
    }
    let builder = if changing.is_some() { builder.register(mutation) } else { builder };
    builder.register(query).register(subscription).finish()
}

fn scalars(builder: SchemaBuilder) -> SchemaBuilder {
    let scalar = |name: &str, what: &str| Scalar::new(name).description(what);
    builder
        .register(scalar("SafeInt", "A whole number that every JSON reader keeps exactly: from -(2^53 - 1) to 2^53 - 1."))
        .register(scalar("Int64", "A whole number of 64 bits, written as a string."))
        .register(scalar("Decimal", "A decimal number, written as a string such as \"12.50\"."))
        .register(scalar("DateTime", "A time in UTC, RFC 3339, to the millisecond."))
        .register(scalar("Date", "A day such as \"2026-02-28\"."))
        .register(scalar("JSON", "Any JSON."))
}

fn common(builder: SchemaBuilder, changing: bool) -> SchemaBuilder {
    let page = Object::new("PageInfo")
        .description("Where a page begins and ends, and whether there are more.")
        .field(plain("has_next_page", TypeRef::named_nn("Boolean")))
        .field(
            plain("has_previous_page", TypeRef::named_nn("Boolean"))
                .description("Whether there are records before the page; read forward, whether it began after a cursor."),
        )
        .field(plain("start_cursor", TypeRef::named("String")))
        .field(plain("end_cursor", TypeRef::named("String")));
    let problem = Object::new("FieldProblem")
        .description("What is wrong with a field of an input.")
        .field(plain("pointer", TypeRef::named_nn("String")).description("JSON Pointer into the input."))
        .field(plain("code", TypeRef::named_nn("String")))
        .field(plain("detail", TypeRef::named_nn("String")));
    let change = Enum::new("ChangeType").description("What happened to a record.").items(["READY", "CREATE", "UPDATE", "DELETE", "RESYNC"]);
    let builder = builder.register(page).register(change);
    if changing { builder.register(problem) } else { builder }
}

fn plain(name: impl Into<String>, ty: TypeRef) -> Field {
    Field::new(name, ty, |_| FieldFuture::new(async { Ok(None::<async_graphql::Value>) }))
}

fn input_ref(ty: &InputRef) -> TypeRef {
    match (ty.list, ty.required) {
        (false, false) => TypeRef::named(&ty.name),
        (false, true) => TypeRef::named_nn(&ty.name),
        (true, _) => TypeRef::named_nn_list(&ty.name),
    }
}

/// The type of a stored field. Hidden fields are null, so only plain fields can be non-null.
fn output_type(app: &App, collection: &Collection, field: FieldId) -> TypeRef {
    let declared = &collection.fields[field];
    let sure = declared.required && !app.classes[declared.class].guarded();
    let (name, list) = match &declared.ty {
        FieldType::List { of, .. } => (scalar(of).to_owned(), true),
        ty if enum_values(ty).is_some() => (enum_name(collection, field), false),
        ty => (scalar(ty).to_owned(), false),
    };
    match (list, sure) {
        (false, false) => TypeRef::named(name),
        (false, true) => TypeRef::named_nn(name),
        (true, false) => TypeRef::named_nn_list(name),
        (true, true) => TypeRef::named_nn_list_nn(name),
    }
}

fn record(app: &App, collection: &Collection) -> Object {
    let mut object = Object::new(&collection.singular).description(format!("A record of {}.", collection.name));
    for (at, field) in collection.fields.iter().enumerate() {
        let class = &app.classes[field.class];
        let mut member = match (id_member(field), field.ty.refers()) {
            (Some(ids), Some((to, _))) => {
                let target = &app.collections[to].singular;
                object = object.field(plain(ids, output_type(app, collection, at)));
                match field.ty.lists() {
                    Some(_) => plain(&field.name, TypeRef::named_nn_list(target)).description("Without the records that are not yours to read."),
                    None => plain(&field.name, TypeRef::named(target)).description("Null, too, when the record is not yours to read."),
                }
            }
            _ => plain(&field.name, output_type(app, collection, at)),
        };
        let words = app.in_words(&field.ty);
        if class.guarded() {
            member = member.description(format!("{words}. Class `{}`: null and named in `_masked` when it is not yours to read.", class.name));
        } else if field.ty.refers().is_none() {
            member = member.description(words);
        }
        object = object.field(member);
    }
    for (referring, field) in app.referrers(collection.id) {
        let name = referring_name(referring, field);
        object = object.field(paged(plain(name, TypeRef::named(format!("{}Connection", referring.singular))), referring));
    }
    object.field(plain("_masked", TypeRef::named_nn_list_nn("String")).description("Names of the selected fields that are not yours to read."))
}

/// The arguments of a list.
fn paged(field: Field, collection: &Collection) -> Field {
    let singular = &collection.singular;
    field
        .argument(InputValue::new("filter", TypeRef::named(format!("{singular}Filter"))))
        .argument(InputValue::new("order_by", TypeRef::named_nn_list(format!("{singular}Order"))))
        .argument(InputValue::new("first", TypeRef::named("Int")).description("Records of the page; 20 when left out."))
        .argument(InputValue::new("after", TypeRef::named("String")).description("A cursor of the same list."))
        .argument(InputValue::new("last", TypeRef::named("Int")).description("Records of the page before `before`, or of the last page."))
        .argument(InputValue::new("before", TypeRef::named("String")).description("A cursor of the same list."))
}

/// An input; stored fields are described with their type and its bounds.
fn input_object<'a>(app: &App, name: &str, members: impl Iterator<Item = (&'a str, TypeRef)>) -> InputObject {
    let of =
        |collection: &&Collection| name == format!("{}CreateInput", collection.singular) || name == format!("{}UpdateInput", collection.singular);
    let collection = app.collections.iter().find(of);
    let action = || {
        let declared = app.collections.iter().flat_map(|collection| collection.actions.iter().map(move |action| (collection, action)));
        declared
            .filter(|(collection, action)| name == format!("{}{}Input", collection.singular, pascal(&action.name)))
            .map(|(_, action)| &action.input)
            .next()
    };
    let stored = collection.or_else(action);
    let object = match (collection, name.strip_suffix("Filter"), name.strip_suffix("Order")) {
        (Some(collection), ..) => InputObject::new(name).description(format!("Fields of a record of {}.", collection.name)),
        (_, Some(_), _) => InputObject::new(name).description("Conditions that must all hold."),
        (_, _, Some(_)) => InputObject::new(name).description("A field, and its direction."),
        _ => InputObject::new(name),
    };
    members.fold(object, |object, (member, ty)| {
        let field = stored.and_then(|collection| Some(&collection.fields[collection.field(member)?]));
        let value = InputValue::new(member, ty);
        object.field(match field {
            Some(field) => value.description(app.in_words(&field.ty)),
            None => value,
        })
    })
}

fn lists(builder: SchemaBuilder, collection: &Collection) -> SchemaBuilder {
    let singular = &collection.singular;
    let edge = Object::new(format!("{singular}Edge"))
        .description("A record and its place in the list.")
        .field(plain("cursor", TypeRef::named_nn("String")))
        .field(plain("node", TypeRef::named_nn(singular)));
    let connection = Object::new(format!("{singular}Connection"))
        .description(format!("A page of records of {}, at most `limits.page_size`.", collection.name))
        .field(plain("edges", TypeRef::named_nn_list_nn(format!("{singular}Edge"))))
        .field(plain("nodes", TypeRef::named_nn_list_nn(singular)))
        .field(plain("page_info", TypeRef::named_nn("PageInfo")))
        .field(plain("total_size", TypeRef::named_nn("SafeInt")).description("The records of all pages."));
    builder.register(edge).register(connection)
}

/// The scalar of a sum.
pub(crate) fn sum_type(ty: &FieldType) -> &'static str {
    match ty {
        FieldType::Float { .. } => "Float",
        FieldType::Decimal { .. } => "Decimal",
        _ => "Int64",
    }
}

fn aggregates(builder: SchemaBuilder, collection: &Collection) -> SchemaBuilder {
    let singular = &collection.singular;
    let fields = |object: Object, wanted: fn(&FieldType) -> bool, ty: fn(&FieldType) -> &'static str| {
        collection
            .fields
            .iter()
            .filter(|field| wanted(&field.ty))
            .fold(object, |object, field| object.field(plain(&field.name, TypeRef::named(ty(&field.ty)))))
    };
    let of = |suffix: &str| format!("{singular}{suffix}");
    let computed = |object: Object| {
        object
            .field(plain("count", TypeRef::named_nn("SafeInt")))
            .field(plain("min", TypeRef::named(of("Minimum"))))
            .field(plain("max", TypeRef::named(of("Maximum"))))
            .field(plain("sum", TypeRef::named(of("Sum"))))
            .field(plain("average", TypeRef::named(of("Average"))))
    };
    let by = InputValue::new("by", TypeRef::named_nn_list_nn(of("OrderField"))).description("One or two fields.");
    let groups = plain("groups", TypeRef::named_nn_list_nn(of("AggregateGroup"))).argument(by);
    let whole = computed(Object::new(of("Aggregate")))
        .description("Computed over the records that are yours to list. A field that is not yours to read cannot be used.")
        .field(groups.description("The same for each value of the fields, in the order of these values; at most 1 000 groups."));
    let group = Object::new(of("AggregateGroup"))
        .description("Records with the same values.")
        .field(plain("key", TypeRef::named_nn(of("AggregateGroupKey"))));
    let member = |at: usize, field: &haechi_model::Field| {
        let ty = if enum_values(&field.ty).is_some() { enum_name(collection, at) } else { scalar(&field.ty).to_owned() };
        plain(group_member(field), TypeRef::named(ty))
    };
    let grouped = collection.fields.iter().enumerate().filter(|(_, field)| field.ty.comparable());
    let key = grouped.fold(Object::new(of("AggregateGroupKey")), |key, (at, field)| key.field(member(at, field)));
    let key = key.description("The values that the records of a group share. Null where a field is not among `by`, or has no value.");
    builder
        .register(whole)
        .register(computed(group))
        .register(key)
        .register(fields(Object::new(of("Minimum")), extreme, scalar))
        .register(fields(Object::new(of("Maximum")), extreme, scalar))
        .register(fields(Object::new(of("Sum")), summable, sum_type))
        .register(fields(Object::new(of("Average")), summable, |_| "Float"))
}

fn changes(builder: SchemaBuilder, collection: &Collection) -> SchemaBuilder {
    let singular = &collection.singular;
    let problems = || plain("errors", TypeRef::named_nn_list_nn("FieldProblem")).description("What is wrong with the input; nothing was done then.");
    let payload = Object::new(format!("{singular}Payload"))
        .description("What became of a change.")
        .field(plain("id", TypeRef::named("ID")))
        .field(plain(snake(singular), TypeRef::named(singular)).description("The record, when it is yours to read."))
        .field(problems());
    let deleted = Object::new(format!("{singular}DeletePayload"))
        .description("What became of a delete.")
        .field(plain("id", TypeRef::named("ID")))
        .field(problems());
    let many = Object::new(format!("{singular}ManyPayload"))
        .description("What became of a change by filter.")
        .field(plain("count", TypeRef::named("Int")).description("How many records were changed."))
        .field(plain("ids", TypeRef::named_nn_list("ID")))
        .field(problems());
    let change = Object::new(format!("{singular}Change"))
        .description(format!("A change of a record of {}.", collection.name))
        .field(plain("type", TypeRef::named_nn("ChangeType")))
        .field(plain("position", TypeRef::named_nn("String")).description("Where to go on after a break."))
        .field(plain("id", TypeRef::named("ID")))
        .field(plain("record", TypeRef::named(singular)).description("Null when the record is gone, or no longer yours to read."));
    // Only the identity feature creates and deletes people.
    let builder = if collection.id == USERS { builder } else { builder.register(deleted) };
    let changed = settable(collection) || collection.id != USERS || !collection.actions.is_empty();
    let builder = if changed { builder.register(payload) } else { builder };
    let builder = if settable(collection) || collection.id != USERS { builder.register(many) } else { builder };
    builder.register(change)
}

fn id() -> InputValue {
    InputValue::new("id", TypeRef::named_nn("ID"))
}

fn query_field(app: &App, name: &str, query: Query) -> Field {
    match query {
        Query::One(at) => plain(name, TypeRef::named(&app.collections[at].singular)).argument(id()),
        Query::List(at) => {
            let collection = &app.collections[at];
            paged(plain(name, TypeRef::named(format!("{}Connection", collection.singular))), collection)
        }
        Query::Aggregate(at) => {
            let singular = &app.collections[at].singular;
            let filter = InputValue::new("filter", TypeRef::named(format!("{singular}Filter")));
            plain(name, TypeRef::named(format!("{singular}Aggregate"))).argument(filter)
        }
    }
}

fn mutation_field(collection: &Collection, name: &str, change: &Change) -> Field {
    let singular = &collection.singular;
    let payload = plain(name, TypeRef::named(format!("{singular}Payload")));
    let version = || InputValue::new("version", TypeRef::named("SafeInt")).description("Only when the record has this version.");
    let input = |suffix: &str| InputValue::new("input", TypeRef::named_nn(format!("{singular}{suffix}Input")));
    match change {
        Change::Create if settable(collection) => payload.argument(input("Create")),
        Change::Create => payload,
        Change::Many(doing) => {
            let filter = InputValue::new("filter", TypeRef::named_nn(format!("{singular}Filter")));
            let many = plain(name, TypeRef::named(format!("{singular}ManyPayload"))).argument(filter);
            match doing {
                Doing::Change => {
                    many.argument(input("Update")).description("Changes all records that the filter finds, at most 1 000, or none of them.")
                }
                Doing::Remove => many.description("Deletes all records that the filter finds, at most 1 000, or none of them."),
            }
        }
        Change::Upsert => {
            let on = InputValue::new("on", TypeRef::named_nn_list_nn(key_name(collection))).description("The fields of a unique key, each of them.");
            payload.argument(on).argument(input("Create")).description("Changes the record with this key, or creates it.")
        }
        Change::Delete => plain(name, TypeRef::named(format!("{singular}DeletePayload"))).argument(id()).argument(version()),
        Change::Act(action) => {
            let payload = payload.argument(id()).argument(version());
            let takes = collection.actions.iter().any(|known| known.name == *action && known.input.declared().next().is_some());
            let input = InputValue::new("input", TypeRef::named(format!("{singular}{}Input", pascal(action))));
            if takes { payload.argument(input) } else { payload }
        }
        Change::Update => {
            let payload = payload.argument(id()).argument(version()).argument(input("Update"));
            if collection.id == USERS { payload.description("People are added and ended by identity.") } else { payload }
        }
    }
}
