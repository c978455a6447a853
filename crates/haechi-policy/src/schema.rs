//! The Cedar schema of an app, in the human syntax: generated, printable, never written by hand.

use crate::ActionId;
use haechi_model::{App, Class, Collection, FieldType, Group, ThingKind, VERBS};
use std::{collections::HashMap, fmt::Write};

/// All actions of an app: verbs, then `read_<class>` and `write_<class>` of the classes that have them, then what collections declare.
#[must_use]
pub fn actions(app: &App) -> Vec<String> {
    let of_classes = app.classes.iter().flat_map(Class::actions);
    VERBS.iter().map(|verb| (*verb).to_owned()).chain(of_classes).chain(app.declared_actions().into_iter().map(str::to_owned)).collect()
}

/// The positions of the verbs among [`actions`]: those of [`VERBS`].
pub mod verb {
    use super::ActionId;

    /// Finding records.
    pub const LIST: ActionId = 0;
    /// Seeing a record.
    pub const READ: ActionId = 1;
    /// Adding a record.
    pub const CREATE: ActionId = 2;
    /// Changing a record.
    pub const UPDATE: ActionId = 3;
    /// Deleting a record.
    pub const DELETE: ActionId = 4;
    /// Watching changes.
    pub const WATCH: ActionId = 5;
    /// Taking records away as a file.
    pub const EXPORT: ActionId = 6;
}

/// The positions of a class's own actions; `None` where `read` or `update` decides.
#[derive(Clone, Copy)]
pub struct ClassActions {
    /// `read_<class>`.
    pub read: Option<ActionId>,
    /// `write_<class>`.
    pub write: Option<ActionId>,
}

/// The actions of each class.
#[must_use]
pub fn class_actions(app: &App) -> Vec<ClassActions> {
    let mut next = VERBS.len()..;
    let of = |class: &Class| ClassActions {
        read: class.guarded().then(|| next.next()).flatten(),
        write: class.written_apart().then(|| next.next()).flatten(),
    };
    app.classes.iter().map(of).collect()
}

/// The actions of an app, by name and by position.
pub(crate) struct Actions {
    pub(crate) by_name: HashMap<Box<str>, ActionId>,
    names: Vec<String>,
    /// This many actions belong to every collection; the others belong to the collections that declare them.
    shared: usize,
}

impl Actions {
    pub(crate) fn of(app: &App) -> Self {
        let names = actions(app);
        let by_name = names.iter().enumerate().map(|(at, name)| (name.as_str().into(), at)).collect();
        Self { by_name, shared: names.len() - app.declared_actions().len(), names }
    }

    /// Whether an action writes fields.
    pub(crate) fn writes(&self, action: ActionId) -> bool {
        self.names.get(action).is_some_and(|name| writes(name))
    }

    /// The actions that exist on rows of a collection.
    pub(crate) fn on(&self, collection: &Collection, wanted: &[ActionId]) -> Vec<ActionId> {
        let applies = |id: &&ActionId| **id < self.shared || collection.actions.iter().any(|declared| declared.name == self.names[**id]);
        wanted.iter().filter(applies).copied().collect()
    }
}

/// The schema as text, with the namespaces of what is no row.
#[must_use]
pub fn schema_text(app: &App) -> String {
    schema_about(app, &|_| true) + &namespaces()
}

/// The entities of callers and rows.
pub(crate) fn entities(app: &App) -> String {
    let mut out = String::from("entity Role;\nentity Anonymous;\nentity services in [Role];\n");
    let groups = || app.collections.iter().flat_map(|collection| collection.groups.iter().map(move |group| group_type(collection, group)));
    groups().for_each(|group| {
        let _ = writeln!(out, "entity {group};");
    });
    let of_users = format!(" in [{}]", std::iter::once("Role".to_owned()).chain(groups()).collect::<Vec<_>>().join(", "));
    for collection in &app.collections {
        let parents = if collection.id == haechi_model::USERS { of_users.as_str() } else { "" };
        let _ = writeln!(out, "entity {}{parents} = {{", collection.name);
        for (_, field) in collection.fields.iter().enumerate().skip(1) {
            if let Some(ty) = cedar_type(app, &field.ty) {
                let _ = writeln!(out, "  \"{}\"{}: {ty},", field.name, if field.required { "" } else { "?" });
            }
        }
        for group in &collection.groups {
            let _ = writeln!(out, "  \"{}\": {},", group.name, group_type(collection, group));
        }
        out.push_str("};\n");
    }
    out
}

/// The same entities, and the same actions on rows of some collections only. A policy about one collection is judged against it alike and
/// far faster: Cedar tries each policy with every kind of caller, action and row.
pub(crate) fn schema_about(app: &App, about: &dyn Fn(&Collection) -> bool) -> String {
    let mut out = entities(app);
    let resources: Vec<&str> = app.collections.iter().filter(|collection| about(collection)).map(|collection| collection.name.as_str()).collect();
    let declared = app.declared_actions();
    let shared: Vec<String> =
        actions(app).iter().filter(|action| !declared.contains(&action.as_str())).map(|action| format!("\"{action}\"")).collect();
    let mut write = |actions: &str, resources: &[&str], fields: &str| {
        if actions.is_empty() {
            return;
        }
        if resources.is_empty() {
            let _ = writeln!(out, "action {actions};");
            return;
        }
        let _ = writeln!(
            out,
            "action {actions} appliesTo {{\n  principal: [users, services, Anonymous],\n  resource: [{}],\n  context: {{ now: datetime{fields} }},\n}};",
            resources.join(", ")
        );
    };
    let (writing, others): (Vec<String>, Vec<String>) = shared.into_iter().partition(|action| writes(action.trim_matches('"')));
    write(&others.join(", "), &resources, "");
    write(&writing.join(", "), &resources, ", fields: Set<String>");
    for action in declared {
        let on = |collection: &&Collection| collection.actions.iter().any(|found| found.name == action);
        let resources: Vec<&str> =
            app.collections.iter().filter(|collection| about(collection)).filter(on).map(|collection| collection.name.as_str()).collect();
        write(&format!("\"{action}\""), &resources, "");
    }
    out
}

/// The schema of the namespaces, to be joined to the app's.
pub(crate) fn namespaces() -> String {
    let mut out = String::new();
    for namespace in ThingKind::NAMESPACES {
        let kinds = || ThingKind::ALL.into_iter().filter(|kind| kind.namespace() == namespace);
        let _ = writeln!(out, "namespace {namespace} {{");
        kinds().for_each(|kind| {
            let _ = writeln!(out, "  entity {};", kind.entity());
        });
        let mut actions: Vec<&str> = kinds().flat_map(ThingKind::actions).copied().collect();
        actions.sort_unstable();
        actions.dedup();
        for action in actions {
            let on: Vec<&str> = kinds().filter(|kind| kind.actions().contains(&action)).map(ThingKind::entity).collect();
            let applies = format!("principal: [users, services], resource: [{}], context: {{ now: datetime }}", on.join(", "));
            let _ = writeln!(out, "  action \"{action}\" appliesTo {{ {applies} }};");
        }
        out.push_str("}\n");
    }
    out
}

/// Whether an action writes fields, whose names are in `context.fields`.
fn writes(action: &str) -> bool {
    matches!(action, "create" | "update") || action.starts_with("write_")
}

/// The entity type of a collection's groups. No name of a folder holds `__`.
pub(crate) fn group_type(collection: &Collection, group: &Group) -> String {
    format!("{}__{}", collection.name, group.name)
}

/// A field's type as policies see it; `None` when they do not.
#[must_use]
pub fn type_in_policies(app: &App, ty: &FieldType) -> Option<String> {
    cedar_type(app, ty)
}

fn cedar_type(app: &App, ty: &FieldType) -> Option<String> {
    Some(match ty {
        FieldType::Text { .. } | FieldType::Email | FieldType::Url | FieldType::Uuid | FieldType::Enum { .. } => "String".to_owned(),
        FieldType::Int { .. } | FieldType::Int64 { .. } => "Long".to_owned(),
        FieldType::Decimal { .. } if decimal_scale(ty).is_some() => "decimal".to_owned(),
        FieldType::Bool => "Bool".to_owned(),
        FieldType::Datetime(_) | FieldType::Date(_) => "datetime".to_owned(),
        FieldType::List { of, .. } => format!("Set<{}>", cedar_type(app, of)?),
        FieldType::Ref { to, .. } => app.collections[*to].name.clone(),
        FieldType::Decimal { .. } | FieldType::Float { .. } | FieldType::Json { .. } => return None,
    })
}

/// The scale of a decimal that policies see: its every value fits Cedar's four digits.
pub(crate) fn decimal_scale(ty: &FieldType) -> Option<u32> {
    match ty {
        FieldType::Decimal { precision, scale, .. } if *scale <= 4 && precision + (4 - scale) <= 18 => Some(*scale),
        _ => None,
    }
}

/// Whether policies see a field.
#[must_use]
pub fn visible(app: &App, collection: &Collection, field: usize) -> bool {
    field != Collection::ID && cedar_type(app, &collection.fields[field].ty).is_some()
}
