//! One request's question: a caller, a revision and a time, fixed when the request begins.

use crate::{
    caller::Caller,
    gate::Inner,
    grant::{Grant, ReadError, Verb},
    ledger::access::Sighting,
    revision::Revision,
    work::{Done, Work},
};
use haechi_model::{App, Collection, CollectionId, Comparison, Failure, Mask, Operand, Predicate, Row, Select, USERS, Value};
use std::{borrow::Cow, sync::Arc};

/// Why the gate says no before any row is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody is known; signing in may help.
    Unauthenticated,
    /// The caller is known and may not. The reason is told in `dev` alone.
    Forbidden(Option<Box<str>>),
}

/// One request's question.
#[derive(Clone)]
pub struct Ask {
    pub(crate) gate: Arc<Inner>,
    pub(crate) revision: Arc<Revision>,
    pub(crate) caller: Caller,
    pub(crate) request_id: Arc<str>,
    pub(crate) now_ms: i64,
}

impl Ask {
    /// The app as it is for this request.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.revision.app
    }

    /// Who asks.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Id of the request.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Time of the request, UTC milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// The policy's answer: a grant, or a refusal that is the same for every row.
    ///
    /// # Errors
    /// When policy says no whatever the row.
    pub fn on<A: Verb>(&self, collection: CollectionId) -> Result<Grant<A>, Refusal> {
        // People are made and ended by identity alone, whatever policies say.
        let reserved = collection == USERS && matches!(A::NAME, "create" | "delete");
        let rows = if !reserved && self.reachable(collection, A::NAME) { A::rows(self, collection) } else { Predicate::False };
        if rows == Predicate::False {
            return Err(self.refuse(A::NAME, Some(collection), None));
        }
        Ok(Grant::new(self.clone(), collection, rows))
    }

    /// Starts a change that this caller makes.
    #[must_use]
    pub fn work(&self) -> Work {
        Work::new(self.clone())
    }

    /// Records a refusal and says which it is.
    pub(crate) fn refuse(&self, action: impl Into<Cow<'static, str>>, collection: Option<CollectionId>, record: Option<&str>) -> Refusal {
        let request = record.map_or_else(|| Box::from(&*self.request_id), |record| format!("{}/{record}", self.request_id).into());
        let action = action.into();
        self.gate.sightings.refused(self.caller.actor(), action.clone(), collection, request);
        if self.caller.is_anonymous() {
            return Refusal::Unauthenticated;
        }
        let reason = self.gate.explains.then(|| self.reason(&action, collection)).flatten();
        Refusal::Forbidden(reason)
    }

    /// Which policy says no, or that none says yes.
    fn reason(&self, action: &str, collection: Option<CollectionId>) -> Option<Box<str>> {
        let (id, collection) = (self.revision.policies.action(action)?, collection?);
        if !self.caller.in_scope(collection, id) {
            return Some(format!("the scopes of this key do not reach {action} on {}", self.collection(collection).name).into());
        }
        let principal = self.caller.principal();
        let outlook: Vec<_> = self.revision.policies.outlook(&principal, id, collection, self.now_ms).collect();
        let forbidding: Vec<&str> =
            outlook.iter().filter(|reason| reason.policy.forbids && reason.applies != Some(false)).map(|reason| reason.policy.id.as_str()).collect();
        let permitted = outlook.iter().any(|reason| !reason.policy.forbids && reason.applies != Some(false));
        let name = &self.collection(collection).name;
        let who = if self.caller.roles().is_empty() {
            "somebody without a role".to_owned()
        } else {
            format!(
                "{} {}",
                if self.caller.roles()[0].starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" },
                self.caller.roles().join(" and ")
            )
        };
        Some(
            if permitted && !forbidding.is_empty() {
                format!("{} forbids {who} to {action} {name}", forbidding.join(", "))
            } else {
                format!("no policy lets {who} {action} {name}")
            }
            .into(),
        )
    }

    /// Callers without credentials reach what the folder declares, whatever policies say.
    fn reachable(&self, collection: CollectionId, verb: &str) -> bool {
        !self.caller.is_anonymous() || self.app().anonymous.iter().any(|(to, reach)| *to == collection && reach == verb)
    }

    pub(crate) fn collection(&self, id: CollectionId) -> &Collection {
        &self.revision.app.collections[id]
    }

    pub(crate) fn bind(&self, action: usize, collection: CollectionId) -> Predicate {
        if !self.caller.in_scope(collection, action) {
            return Predicate::False;
        }
        self.revision.bind(&self.caller.principal(), action, collection, self.now_ms)
    }

    pub(crate) fn readable(&self, collection: CollectionId) -> Predicate {
        self.bind(self.revision.verbs.read, collection)
    }

    /// The version of a row, when it is there and a condition holds of it.
    pub(crate) async fn version_where(&self, collection: CollectionId, id: &str, rows: Predicate) -> Result<Option<i64>, Failure> {
        let one = Predicate::Compare(Operand::Column(Collection::ID), Comparison::Equal, Operand::Constant(Value::text(id)));
        let filter = Predicate::all([one, rows]);
        let select = Select { collection, outputs: Vec::new(), filter, order: Vec::new(), after: None, limit: 1, follow: Vec::new() };
        Ok(self.gate.store.select(select, false).await?.versions.first().copied())
    }

    /// How each class of a collection is masked in rows of which `rows` holds.
    pub(crate) fn masks(&self, collection: CollectionId, rows: &Predicate) -> Vec<Mask> {
        let used = self.collection(collection).guarded_classes(&self.app().classes);
        let mask = |(class, actions): (usize, &Option<(usize, usize)>)| match actions {
            Some((read, _)) if used.contains(&class) && !self.caller.is_anonymous() => match self.bind(*read, collection) {
                Predicate::False => Mask::Hidden,
                condition if rows.implies(&condition) => Mask::Shown,
                condition => Mask::When(condition),
            },
            Some(_) => Mask::Hidden,
            None => Mask::Shown,
        };
        self.revision.classes.iter().enumerate().map(mask).collect()
    }

    /// A written row as the caller may see it; `None` when he may not.
    ///
    /// # Errors
    /// When the database cannot be had or the access log is full.
    pub async fn representation(&self, done: &Done) -> Result<Option<Vec<u8>>, ReadError> {
        let collection = done.collection;
        let rows = if self.reachable(collection, "read") { self.readable(collection) } else { Predicate::False };
        let Some(row) = &done.row else { return Ok(None) };
        if rows == Predicate::False {
            return Ok(None);
        }
        let masks = self.masks(collection, &rows);
        let local = rows.is_local() && masks.iter().all(|mask| !matches!(mask, Mask::When(condition) if !condition.is_local()));
        if !local {
            let page = Grant::<crate::grant::Read>::new(self.clone(), collection, rows).get(&done.id, None, &[]).await?;
            return Ok(page.map(|page| page.bytes));
        }
        if !rows.holds(row, &NoRows) {
            return Ok(None);
        }
        let (bytes, shown) = write_row(self.collection(collection), row, &masks);
        self.sight("read", collection, &shown, std::slice::from_ref(&done.id), false)?;
        Ok(Some(bytes))
    }

    /// Leaves an access entry when a reply shows guarded fields.
    pub(crate) fn sight(
        &self,
        action: &'static str,
        collection: CollectionId,
        shown: &[usize],
        ids: &[Box<str>],
        used: bool,
    ) -> Result<(), ReadError> {
        if ids.is_empty() && !used || !self.gate.logs_read(&self.revision.app, collection, shown) {
            return Ok(());
        }
        let classes = &self.revision.app.classes;
        let fields = &self.collection(collection).fields;
        let guarded = shown.iter().filter(|field| classes[fields[**field].class].guarded()).fold(0u64, |set, field| set | 1 << field);
        let sighting = Sighting { action, collection, fields: guarded };
        self.gate.sightings.seen(self.caller.actor(), sighting, ids).map_err(|_| ReadError::AccessFull)
    }
}

/// Conditions that the row alone decides need no other rows.
pub(crate) struct NoRows;

impl haechi_model::Lookup for NoRows {
    fn row(&self, _: usize, _: &str) -> Option<Vec<Value>> {
        None
    }
}

/// Fields in the order of a reply: id, declared fields, then times and version.
pub(crate) fn reply_order(collection: &Collection) -> impl Iterator<Item = usize> {
    let declared = Collection::FIRST_DECLARED..collection.fields.len();
    std::iter::once(Collection::ID).chain(declared).chain([Collection::CREATE_TIME, Collection::UPDATE_TIME, Collection::VERSION])
}

/// A row as JSON, with the fields that it shows.
fn write_row(collection: &Collection, row: &Row, masks: &[Mask]) -> (Vec<u8>, Vec<usize>) {
    let mut out = Vec::with_capacity(512);
    let (mut shown, mut masked) = (Vec::new(), Vec::new());
    out.push(b'{');
    for field in reply_order(collection) {
        let visible = match &masks[collection.fields[field].class] {
            Mask::Shown => true,
            Mask::Hidden => false,
            Mask::When(condition) => condition.holds(row, &NoRows),
        };
        if !visible {
            masked.push(field);
            continue;
        }
        if !shown.is_empty() {
            out.push(b',');
        }
        haechi_model::write_json_text(&collection.fields[field].name, &mut out);
        out.push(b':');
        collection.fields[field].ty.write(&row[field], &mut out);
        shown.push(field);
    }
    if !masked.is_empty() {
        out.extend_from_slice(b",\"_masked\":[");
        for (at, field) in masked.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            haechi_model::write_json_text(&collection.fields[*field].name, &mut out);
        }
        out.push(b']');
    }
    out.push(b'}');
    (out, shown)
}
