//! Messages for attributes that Cedar does not find: policies do not see every field, and a record's id is the record itself.

use haechi_model::{App, suggest};

/// The message and the remedy when a list of people is asked for a caller who may be no person.
pub(crate) fn not_alike(message: &str) -> Option<(String, String)> {
    let about_callers =
        message.contains("not compatible") && message.contains("users") && (message.contains("services") || message.contains("Anonymous"));
    about_callers.then(|| {
        let what = "a caller may be a service or nobody, which is not compared with people".to_owned();
        (what, "write `principal is users` in the head; of a list of references, `principal in resource.LIST` needs no head".to_owned())
    })
}

/// The message and the remedy for Cedar's `attribute … on entity type … not found`; `None` for other messages.
pub(crate) fn not_found(app: &App, message: &str) -> Option<(String, String)> {
    let (_, rest) = message.split_once("attribute `")?;
    let (attribute, rest) = rest.split_once("` on entity type `")?;
    let (entity, rest) = rest.split_once('`')?;
    if !rest.contains("not found") {
        return None;
    }
    let Some(collection) = app.collection(entity) else {
        let help = match entity {
            "services" => "a service has a name and roles: write `principal is users` in the head, or compare principal == services::\"NAME\"",
            _ => "only people and records have fields: write `principal is users` in the head",
        };
        return Some((format!("`{entity}` has no field `{attribute}`"), help.to_owned()));
    };
    if attribute == "id" {
        let help = match entity {
            "users" => "compare the person itself: resource.owner == principal, or principal == users::\"…\"".to_owned(),
            _ => format!("compare the record itself: resource == {entity}::\"…\""),
        };
        return Some(("policies do not see `id`: a record is what its id names".to_owned(), help));
    }
    if let Some(field) = collection.field(attribute) {
        let message = format!("policies do not see `{attribute}`: it is a {}", collection.fields[field].ty.name());
        return Some((message, "compare another field; see \"What cannot be a condition\" in docs/policies.md".to_owned()));
    }
    let fields: Vec<usize> = (0..collection.fields.len()).filter(|field| crate::visible(app, collection, *field)).collect();
    let names = || fields.iter().map(|field| collection.fields[*field].name.as_str());
    let help = suggest(attribute, names())
        .map_or_else(|| format!("its fields: {}", names().collect::<Vec<_>>().join(", ")), |near| format!("did you mean `{near}`?"));
    Some((format!("`{entity}` has no field `{attribute}`"), help))
}
