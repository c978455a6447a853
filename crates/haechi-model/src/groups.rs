//! The groups of a folder: read from `[groups.NAME]`, and resolved when all collections are known.

use crate::{
    class::Class,
    collection::Collection,
    field::FieldType,
    filter::read_filter,
    finding::{Findings, Source},
    group::Group,
    name::{name_problem, suggest},
    positions::{FieldId, USERS},
    section::{Section, Span},
    table::{Index, index_name},
};
use std::{cell::RefCell, sync::Arc};
use toml_edit::Item;

/// Most groups of a collection.
const MAX_GROUPS: usize = 16;

/// A group as written.
pub(crate) struct WantedGroup {
    name: String,
    source: Arc<Source>,
    span: Span,
    through: (String, Span),
    by: (String, Span),
    filter: Option<(String, Span)>,
    inherits: Option<(String, Span)>,
}

/// Reads `[groups.…]` of a collection's file.
pub(crate) fn read_groups(groups: &Section<'_>, collection: &Collection) -> Vec<WantedGroup> {
    let entries = groups.entries();
    if entries.len() > MAX_GROUPS {
        let message = format!("{} groups are declared; at most {MAX_GROUPS} may be", entries.len());
        groups.error(None, "too-many-groups", message, "move people who belong together into one group");
    }
    entries.into_iter().filter_map(|(name, span, item)| read_group(groups, collection, name, span, item)).collect()
}

fn read_group(groups: &Section<'_>, collection: &Collection, name: &str, span: Span, item: &Item) -> Option<WantedGroup> {
    if let Some(problem) = name_problem(name) {
        groups.error(span, "bad-name", problem, "choose another name");
        return None;
    }
    if collection.field(name).is_some() {
        let message = format!("`{name}` is a field of {}, so no group can have that name", collection.name);
        groups.error(span, "clash", message, "choose another name: policies write both as resource.NAME");
        return None;
    }
    let Some(table) = item.as_table_like() else {
        let message = format!("the group `{name}` must be a table, not {}", item.type_name());
        groups.error(span, "wrong-type", message, format!("write [groups.{name}] with `through` and `by`"));
        return None;
    };
    let section = Section::new(groups.source, table, item.span().or_else(|| span.clone()), format!("the group `{name}`"), groups.findings());
    let text = |key: &'static str| section.text(key).map(|text| (text.to_owned(), section.span_of(key)));
    let found = (text("through"), text("by"), text("where"), text("inherits"));
    if let (Some(through), Some(by), filter, inherits) = found {
        section.finish();
        return Some(WantedGroup { name: name.to_owned(), source: groups.source.clone(), span, through, by, filter, inherits });
    }
    // A key of a wrong type was reported as such.
    for (key, example) in [("through", "through = \"memberships.person\""), ("by", "by = \"project\"")] {
        if table.get(key).is_none() {
            section.error(span.clone(), "missing-key", format!("the group `{name}` needs `{key}`"), format!("write e.g. {example}"));
        }
    }
    section.finish();
    None
}

/// Finds the collections and fields that groups name, and gives joining collections the indexes by which they are asked.
pub(crate) fn resolve_groups(collections: &mut [Collection], wanted: Vec<(usize, WantedGroup)>, classes: &[Class], findings: &RefCell<Findings>) {
    for (of, wanted) in wanted {
        let group = Resolver { collections, classes, wanted: &wanted, findings }.group(of);
        let Some(group) = group else { continue };
        let joining = &mut collections[group.joining];
        index(joining, group.who, group.by);
        index(joining, group.by, group.who);
        collections[of].groups.push(Arc::new(group));
    }
}

/// Widens the index of a reference, which finds the rows of one side, to the other side: the answer is in the index then.
fn index(collection: &mut Collection, first: FieldId, second: FieldId) {
    let indexes = &mut collection.table.indexes;
    if indexes.iter().any(|index| index.columns.starts_with(&[first, second])) {
        return;
    }
    let field = |at: FieldId| collection.fields[at].name.as_str();
    let of_the_reference = index_name(&collection.name, &[field(first)], "ref");
    indexes.retain(|index| index.name != of_the_reference);
    indexes.push(Index { name: index_name(&collection.name, &[field(first), field(second)], "grp"), columns: vec![first, second], unique: false });
}

struct Resolver<'a> {
    collections: &'a [Collection],
    classes: &'a [Class],
    wanted: &'a WantedGroup,
    findings: &'a RefCell<Findings>,
}

impl Resolver<'_> {
    fn group(&self, of: usize) -> Option<Group> {
        let wanted = self.wanted;
        let (through, span) = &wanted.through;
        let Some((joining, who)) = through.split_once('.') else {
            let help = "write COLLECTION.FIELD: the collection that joins people and rows, and its reference to users";
            return self.error(span, "wrong-value", format!("`{through}` names no field of a collection"), help.to_owned());
        };
        let Some(joining) = self.collections.iter().find(|collection| collection.name == joining) else {
            let names = self.collections.iter().map(|collection| collection.name.as_str());
            let help =
                suggest(joining, names).map_or_else(|| "create its file under collections/".to_owned(), |near| format!("did you mean `{near}`?"));
            return self.error(span, "unknown-collection", format!("no collection is named `{joining}`"), help);
        };
        let who = self.reference(joining, who, span, USERS)?;
        let by = self.reference(joining, &wanted.by.0, &wanted.by.1, of)?;
        if who == by {
            let message = format!("`{}` cannot say both who is in the group and whose group it is", wanted.by.0);
            return self.error(&wanted.by.1, "wrong-value", message, "name two references".to_owned());
        }
        let filter = match &wanted.filter {
            Some((text, span)) => self.filter(joining, text, span)?,
            None => crate::predicate::Predicate::True,
        };
        let inherits = match &wanted.inherits {
            Some((name, span)) => Some(self.reference(&self.collections[of], name, span, of)?),
            None => None,
        };
        let more = |word: &str, text: &Option<(String, Span)>| text.as_ref().map_or_else(String::new, |(text, _)| format!(" {word} {text}"));
        let declared = format!("{through} by {}{}{}", wanted.by.0, more("where", &wanted.filter), more("inherits", &wanted.inherits));
        Some(Group { name: wanted.name.clone(), declared, of, joining: joining.id, who, by, filter, inherits })
    }

    /// A reference to a collection, which no class guards: being in a group is something that others can find out.
    fn reference(&self, collection: &Collection, name: &str, span: &Span, to: usize) -> Option<FieldId> {
        let Some(at) = collection.field(name) else {
            let near = suggest(name, collection.declared().map(|(_, field)| field.name.as_str()));
            let help = near.map_or_else(|| format!("declare it in collections/{}.toml", collection.name), |near| format!("did you mean `{near}`?"));
            return self.error(span, "unknown-field", format!("`{}` has no field `{name}`", collection.name), help);
        };
        let target = &self.collections[to].name;
        if !matches!(collection.fields[at].ty, FieldType::Ref { to: found, .. } if found == to) {
            let message = format!("`{name}` of {} is no reference to {target}", collection.name);
            return self.error(span, "wrong-value", message, format!("name a field that is {{ type = \"ref\", to = \"{target}\" }}"));
        }
        self.unguarded(collection, at, span)?;
        Some(at)
    }

    fn filter(&self, joining: &Collection, text: &str, span: &Span) -> Option<crate::predicate::Predicate> {
        match read_filter(text, joining, None) {
            Ok(filter) => {
                for field in filter.fields {
                    self.unguarded(joining, field, span)?;
                }
                Some(filter.predicate)
            }
            Err(error) => {
                let help = "write it as a filter, e.g. where = \"role = 'lead'\"; see docs/rest.md".to_owned();
                self.error(span, "bad-filter", format!("`where` of the group `{}`: {error}", self.wanted.name), help)
            }
        }
    }

    fn unguarded(&self, collection: &Collection, field: FieldId, span: &Span) -> Option<()> {
        let field = &collection.fields[field];
        let class = &self.classes[field.class];
        if class.guarded() {
            let message = format!("the group `{}` looks at `{}`, whose class is `{}`", self.wanted.name, field.name, class.name);
            return self.error(span, "guarded-group", message, "name fields of the classes public and internal".to_owned());
        }
        Some(())
    }

    #[track_caller]
    fn error<T>(&self, span: &Span, code: &'static str, message: String, help: String) -> Option<T> {
        let span = span.clone().or_else(|| self.wanted.span.clone());
        Findings::error(&mut self.findings.borrow_mut(), &self.wanted.source, span, code, message, help);
        None
    }
}
