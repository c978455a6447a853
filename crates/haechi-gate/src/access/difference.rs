//! What differs in access between two states of a folder.

use super::{
    examples::{Examples, Pairs},
    reach::{ANYBODY, Reach, Reached, things},
};
use crate::revision::Revision;
use haechi_model::{App, Collection, CollectionId, Field, SignUp};
use haechi_policy::{About, ActionId, Audience, Principal, PrincipalKind, Written};
use std::collections::BTreeMap;

/// Roles that are tried in every combination; with more of them nothing is proven.
const MAX_ROLES: usize = 8;

/// How a condition changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// The text changed, but it is proven to allow the same.
    Same,
    /// It is proven that nobody gets a row that they did not get before.
    Narrower,
    /// It is proven that nobody loses a row.
    Wider,
    /// Neither is proven.
    Unknown,
}

/// Something that differs in access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessChange {
    /// Somebody gets farther, or less far, than before.
    Reach {
        /// Who, where, what and how far now.
        now: Reached,
        /// How far before.
        was: Reach,
    },
    /// The policies of some actions changed.
    Condition {
        /// Actions by collection.
        on: Vec<(String, Vec<String>)>,
        /// Policies that are no longer there.
        was: Vec<String>,
        /// Policies that came.
        is: Vec<String>,
        /// Whether they let in more or less.
        way: Way,
        /// Example rows on which they differ; how many people and rows were looked at.
        examples: Option<(Pairs, usize, usize)>,
    },
    /// A field has another class, or `read_<class>` and `write_<class>` now decide where they did not, or the reverse.
    Class {
        /// `collection.field`.
        field: String,
        /// The class before.
        was: String,
        /// The class now.
        is: String,
        /// Whether `read_<class>` decides before and now.
        guarded: (bool, bool),
        /// Whether `write_<class>` decides before and now.
        written_apart: (bool, bool),
    },
    /// A field that policies look at means something else.
    Meaning {
        /// `collection.field`.
        field: String,
        /// Its type in policies before.
        was: String,
        /// And now.
        is: String,
    },
    /// A group that policies may name is filled by other rows.
    Group {
        /// `collection.group`.
        group: String,
        /// How it was declared.
        was: Option<String>,
        /// How it is declared now.
        is: Option<String>,
    },
    /// A field may change otherwise, whatever policies say.
    Rules {
        /// `collection.field`.
        field: String,
        /// Its rules before; empty without any.
        was: String,
        /// And now.
        is: String,
    },
    /// Another field of a collection is set to the caller who creates a row.
    Owner {
        /// The collection.
        collection: String,
        /// The field that was set to the caller who creates a row.
        was: Option<String>,
        /// The field that is set now.
        is: Option<String>,
    },
    /// What a job does, or as whom, is declared otherwise: policies on `enqueue` stand for something else.
    Job {
        /// The job.
        job: String,
        /// How it was declared.
        was: String,
        /// How it is declared now.
        is: String,
    },
    /// A service does its own work with other roles.
    Service {
        /// The service.
        service: String,
        /// Its roles before.
        was: Vec<String>,
        /// And now.
        is: Vec<String>,
    },
    /// Other people may sign up, or may set other fields when they do.
    SignUp {
        /// Who may, before and now.
        who: (&'static str, &'static str),
        /// Fields that they may now set.
        fields: Vec<String>,
    },
}

impl AccessChange {
    /// Whether the change gives somebody more access, or may do so as far as is known.
    #[must_use]
    pub fn may_open(&self) -> bool {
        match self {
            Self::Reach { now, was } => now.reach > *was,
            Self::Condition { way, .. } => matches!(way, Way::Wider | Way::Unknown),
            Self::Class { guarded, .. } => *guarded != (false, true) && *guarded != (false, false),
            Self::Meaning { .. } | Self::Owner { .. } | Self::Group { .. } | Self::Job { .. } => true,
            Self::Service { was, is, .. } => is.iter().any(|role| !was.contains(role)),
            // New rules where there were none only take away.
            Self::Rules { was, .. } => !was.is_empty(),
            Self::SignUp { who, fields } => !fields.is_empty() || openness(who.1) > openness(who.0),
        }
    }
}

fn openness(word: &str) -> usize {
    ["closed", "invite", "open"].iter().position(|known| *known == word).unwrap_or_default()
}

/// What differs between two states; examples are rows of the new one. An empty result means that access does not differ.
#[must_use]
pub fn difference(old: &Revision, new: &Revision, examples: Option<&Examples>, now_ms: i64) -> Vec<AccessChange> {
    let mut found = reach(old, new);
    found.extend(conditions(old, new, examples, now_ms));
    for (former, collection) in in_both(old, new) {
        found.extend(fields(old, new, former, collection));
        found.extend(groups(former, collection));
        found.extend(rules(former, collection));
        let owner = |collection: &Collection| collection.owner.map(|field| collection.fields[field].name.clone());
        if owner(former) != owner(collection) {
            found.push(AccessChange::Owner { collection: collection.name.clone(), was: owner(former), is: owner(collection) });
        }
    }
    found.extend(work(&old.app, &new.app));
    let (before, after) = (&old.app.config.auth, &new.app.config.auth);
    let fields: Vec<String> = after.sign_up_fields.iter().filter(|field| !before.sign_up_fields.contains(field)).cloned().collect();
    let word = |sign_up| match sign_up {
        SignUp::Closed => "closed",
        SignUp::Invite => "invite",
        SignUp::Open => "open",
    };
    if before.sign_up != after.sign_up || before.sign_up_fields != after.sign_up_fields {
        found.push(AccessChange::SignUp { who: (word(before.sign_up), word(after.sign_up)), fields });
    }
    found
}

/// Jobs of both that are declared otherwise, and services with other roles. A new job is told by who may enqueue it.
fn work(old: &App, new: &App) -> Vec<AccessChange> {
    let mut found = Vec::new();
    for job in &new.jobs {
        let former = old.jobs.iter().find(|former| former.name == job.name && former.declared != job.declared);
        found.extend(former.map(|former| AccessChange::Job { job: job.name.clone(), was: former.declared.clone(), is: job.declared.clone() }));
    }
    for service in &new.services {
        let was = old.services.iter().find(|former| former.name == service.name).map(|former| former.roles.clone()).unwrap_or_default();
        if was != service.roles {
            found.push(AccessChange::Service { service: service.name.clone(), was, is: service.roles.clone() });
        }
    }
    found
}

/// Groups that are filled otherwise. Policies that come to name a new group are told as such.
fn groups(former: &Collection, collection: &Collection) -> Vec<AccessChange> {
    let declared = |of: &Collection, name: &str| of.group(name).map(|group| group.declared.clone());
    let mut names: Vec<&str> = former.groups.iter().chain(&collection.groups).map(|group| group.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let changed = |name: &str| {
        let (was, is) = (declared(former, name), declared(collection, name));
        (was != is).then(|| AccessChange::Group { group: format!("{}.{name}", collection.name), was, is })
    };
    names.into_iter().filter_map(changed).collect()
}

/// Fields of both whose rules differ.
fn rules(former: &Collection, collection: &Collection) -> Vec<AccessChange> {
    let changed = |field: &Field| {
        let was = former.fields[former.field(&field.name)?].rules.words();
        let is = field.rules.words();
        (was != is).then(|| AccessChange::Rules { field: format!("{}.{}", collection.name, field.name), was, is })
    };
    let checks = |of: &Collection| of.checks.iter().map(|check| check.that.as_str()).collect::<Vec<_>>().join("; ");
    let (was, is) = (checks(former), checks(collection));
    let checks = (was != is).then(|| AccessChange::Rules { field: collection.name.clone(), was, is });
    collection.fields.iter().filter_map(changed).chain(checks).collect()
}

/// Collections that are in both, with what they were.
fn in_both<'a>(old: &'a Revision, new: &'a Revision) -> impl Iterator<Item = (&'a Collection, &'a Collection)> {
    new.app.collections.iter().filter_map(|collection| old.app.collection(&collection.name).map(|former| (former, collection)))
}

fn reach(old: &Revision, new: &Revision) -> Vec<AccessChange> {
    type Reaches = BTreeMap<(String, String, String), Reach>;
    let by_name = |revision: &Revision| -> Reaches {
        revision.matrix().into_iter().map(|reached| ((reached.who, reached.collection, reached.action), reached.reach)).collect()
    };
    let (before, after) = (by_name(old), by_name(new));
    let gone = before.iter().filter(|(key, _)| !after.contains_key(*key)).map(|(key, _)| (key, Reach::None));
    let mut found = Vec::new();
    for ((who, collection, action), reach) in after.iter().map(|(key, reach)| (key, *reach)).chain(gone) {
        let was = before.get(&(who.clone(), collection.clone(), action.clone())).copied().unwrap_or(Reach::None);
        if was != reach {
            let now = Reached { who: who.clone(), collection: collection.clone(), action: action.clone(), reach };
            found.push(AccessChange::Reach { now, was });
        }
    }
    found
}

/// Policies that are no longer there, and those that came.
type Texts = (Vec<String>, Vec<String>);

/// A change that several actions share: the same policies, in the same way.
#[derive(Default)]
struct Shared {
    on: BTreeMap<String, Vec<String>>,
    pairs: Pairs,
    people: usize,
    rows: BTreeMap<String, usize>,
}

/// Policies that came and went, with what they concern.
fn conditions(old: &Revision, new: &Revision, examples: Option<&Examples>, now_ms: i64) -> Vec<AccessChange> {
    let before = under(old, &new.app);
    let mut changed: BTreeMap<(Texts, Way), Shared> = BTreeMap::new();
    for (former, collection) in in_both(old, new) {
        for action in haechi_policy::actions(&new.app) {
            let texts = |revision: &Revision, id: CollectionId| {
                let found = revision.policies.action(&action).map(|action| revision.policies.concerning(action, id)).unwrap_or_default();
                found.into_iter().map(str::to_owned).collect::<Vec<_>>()
            };
            let (was, is) = (texts(old, former.id), texts(new, collection.id));
            if was == is {
                continue;
            }
            let ids = before.as_ref().and_then(|before| before.policies.action(&action)).zip(new.policies.action(&action));
            let (mut way, mut pairs) = (Way::Unknown, None);
            if let (Some(before), Some(ids)) = (&before, ids) {
                way = proven(before, new, ids, About::Rows(collection.id), now_ms);
                pairs = examples.map(|examples| (examples.compare(before, new, ids, collection, now_ms), examples.size(collection.id)));
            }
            let shared = changed.entry((apart(&was, &is), way)).or_default();
            shared.on.entry(collection.name.clone()).or_default().push(action);
            if let Some((pairs, Some(size))) = pairs {
                shared.pairs.gained.extend(pairs.gained);
                shared.pairs.lost.extend(pairs.lost);
                shared.people = size.0;
                shared.rows.insert(collection.name.clone(), size.1);
            }
        }
    }
    things_changed(old, new, before.as_ref(), now_ms, &mut changed);
    let change = |(((was, is), way), shared): ((Texts, Way), Shared)| {
        let rows = shared.rows.values().sum();
        let examples = (rows > 0).then_some((shared.pairs, shared.people, rows));
        AccessChange::Condition { on: shared.on.into_iter().collect(), was, is, way, examples }
    };
    changed.into_iter().map(change).collect()
}

/// The policies that are in one of the states alone.
fn apart(was: &[String], is: &[String]) -> Texts {
    let only = |these: &[String], others: &[String]| these.iter().filter(|text| !others.contains(text)).cloned().collect();
    (only(was, is), only(is, was))
}

/// The same for what is no row and is in both.
fn things_changed(old: &Revision, new: &Revision, before: Option<&Revision>, now_ms: i64, changed: &mut BTreeMap<(Texts, Way), Shared>) {
    let former = things(&old.app);
    for (kind, name) in things(&new.app).into_iter().filter(|thing| former.contains(thing)) {
        for (action, named) in kind.actions().iter().enumerate() {
            let about = About::Thing(kind, name);
            let texts = |revision: &Revision| revision.policies.concerning(action, about).into_iter().map(str::to_owned).collect::<Vec<_>>();
            let (was, is) = (texts(old), texts(new));
            if was != is {
                let way = before.map_or(Way::Unknown, |before| proven(before, new, (action, action), about, now_ms));
                let shared = changed.entry((apart(&was, &is), way)).or_default();
                shared.on.entry(format!("{}/{name}", kind.type_name())).or_default().push((*named).to_owned());
            }
        }
    }
}

/// The old policies over the new model, so that both lay rows out alike; `None` when they do not fit it.
fn under(old: &Revision, new: &App) -> Option<Revision> {
    let mut app = new.clone();
    app.policies = old.app.policies.clone();
    app.roles.extend(old.app.roles.iter().filter(|role| !new.roles.contains(role)).cloned());
    let anonymous = old.app.anonymous.iter().filter_map(|(to, verb)| Some((new.collection(&old.app.collections[*to].name)?.id, verb.clone())));
    app.anonymous = anonymous.collect();
    Revision::lenient(app).ok()
}

/// Whether the condition of an action became wider or narrower, for everybody whom the policies tell apart.
fn proven(old: &Revision, new: &Revision, (old_action, action): (ActionId, ActionId), about: About<'_>, now_ms: i64) -> Way {
    let audience = old.policies.audience(old_action, about).with(new.policies.audience(action, about));
    let Some(times) = audience.times.clone().filter(|_| audience.roles.len() <= MAX_ROLES) else { return Way::Unknown };
    // Two conditions on the written fields are compared by no proof.
    let fields = |revision: &Revision, action| matches!(about, About::Rows(id) if revision.policies.looks_at_the_fields(action, id));
    if fields(old, old_action) || fields(new, action) {
        return Way::Unknown;
    }
    let (mut wider, mut narrower) = (true, true);
    for (kind, id, roles) in everybody(&audience) {
        let principal = Principal { kind, id: &id, roles: &roles, row: &[] };
        for time in times.iter().copied().chain([now_ms]) {
            let before = old.effective(&principal, old_action, about, (time, Written::Some));
            let after = new.effective(&principal, action, about, (time, Written::Some));
            wider = wider && before.proves(&after);
            narrower = narrower && after.proves(&before);
            if !wider && !narrower {
                return Way::Unknown;
            }
        }
    }
    match (wider, narrower) {
        (true, true) => Way::Same,
        (true, false) => Way::Wider,
        (false, _) => Way::Narrower,
    }
}

/// All callers whom policies treat differently: each kind of caller and each named caller, with every set of the roles.
fn everybody(audience: &Audience) -> Vec<(PrincipalKind, Box<str>, Vec<Box<str>>)> {
    let named = |kind, names: &std::collections::BTreeSet<Box<str>>| names.iter().map(|name| (kind, name.clone())).collect::<Vec<_>>();
    let mut callers = vec![(PrincipalKind::User, ANYBODY.into()), (PrincipalKind::Service, ANYBODY.into())];
    callers.extend(named(PrincipalKind::User, &audience.users));
    callers.extend(named(PrincipalKind::Service, &audience.services));
    let mut found = vec![(PrincipalKind::Anonymous, "anonymous".into(), Vec::new())];
    for (kind, id) in callers {
        for set in 0_u32..1 << audience.roles.len() {
            let roles = audience.roles.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1).map(|(_, role)| role.clone());
            found.push((kind, id.clone(), roles.collect()));
        }
    }
    found
}

fn fields(old: &Revision, new: &Revision, former: &Collection, collection: &Collection) -> Vec<AccessChange> {
    let mut found = Vec::new();
    for (at, field) in collection.fields.iter().enumerate() {
        let Some(before) = former.field(&field.name) else { continue };
        let was = &former.fields[before];
        let (old_class, class) = (&old.app.classes[was.class], &new.app.classes[field.class]);
        let name = format!("{}.{}", collection.name, field.name);
        if old_class != class {
            found.push(AccessChange::Class {
                field: name.clone(),
                was: old_class.name.clone(),
                is: class.name.clone(),
                guarded: (old_class.guarded(), class.guarded()),
                written_apart: (old_class.written_apart(), class.written_apart()),
            });
        }
        let looked_at = || !old.policies.looking_at(former.id, before).is_empty() || !new.policies.looking_at(collection.id, at).is_empty();
        let (before, after) = (meaning(&old.app, was), meaning(&new.app, field));
        if before != after && looked_at() {
            found.push(AccessChange::Meaning { field: name, was: before, is: after });
        }
    }
    found
}

/// What policies see of a field.
fn meaning(app: &App, field: &Field) -> String {
    let ty = haechi_policy::type_in_policies(app, &field.ty).unwrap_or_else(|| "not seen by policies".to_owned());
    if field.required { ty } else { format!("{ty}, or none") }
}
