//! One request's question: a caller, a revision and a time, fixed when the request begins.

use crate::{
    caller::Caller,
    came::{Allowance, Came, Doing, Waiting},
    gate::Inner,
    grant::{Grant, ReadError, Verb, Wanted},
    ledger::access::Sighting,
    revision::Revision,
    slow::SlowRead,
    work::{Done, Work},
};
use haechi_model::{
    App, Collection, CollectionId, Comparison, Failure, FieldId, Lookup, Mask, Operand, Output, Predicate, Row, RowForm, RowPage, Select, Shape,
    USERS, Value, Written,
};
use haechi_store::Reads;
use std::{
    borrow::Cow,
    sync::{Arc, atomic::Ordering},
};

/// Why the gate says no before any row is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody is known; signing in may help.
    Unauthenticated,
    /// The caller is known and may not. The reason is told in `dev` alone.
    Forbidden(Option<Box<str>>),
    /// It is refused, and that cannot be recorded at the moment.
    Unrecorded,
}

/// One request's question.
#[derive(Clone)]
pub struct Ask {
    pub(crate) gate: Arc<Inner>,
    pub(crate) revision: Arc<Revision>,
    pub(crate) caller: Caller,
    pub(crate) request_id: Arc<str>,
    pub(crate) now_ms: i64,
    pub(crate) came: Option<Arc<Came>>,
    pub(crate) language: &'static str,
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

    /// The same question, counted against an allowance of the caller's, or of the network that it comes from. What it opens
    /// ends with the credential that it came by.
    #[must_use]
    pub fn within(self, allowance: Arc<dyn Allowance>, network: std::net::IpAddr, credential: Option<&str>) -> Self {
        Self { came: Some(Came::new(allowance, network, credential.map(Into::into))), ..self }
    }

    /// To look at from outside what this request does.
    #[must_use]
    pub fn doing(&self) -> Option<Doing> {
        self.came.clone().map(Doing)
    }

    /// Counts bytes that wait for the caller to read them, until what is returned is dropped; nothing without room for them.
    #[must_use]
    pub fn waits(&self, bytes: usize) -> Option<Waiting> {
        match &self.came {
            Some(came) => came.allowance.wait(&self.caller, came.network, bytes),
            None => Some(Box::new(())),
        }
    }

    /// How the database is read for it.
    pub(crate) fn reads(&self, scan: bool, action: &'static str, collection: CollectionId) -> Reads {
        let caller = self.caller.turn(self.came.as_ref().map(|came| came.network));
        Reads { caller, scan, request_id: Some(self.request_id.clone()), purpose: SlowRead::purpose(self, action, collection) }
    }

    pub(crate) fn begins_change(&self) {
        if let Some(came) = &self.came {
            came.changes.store(true, Ordering::Release);
        }
    }

    /// The same question of somebody who reads this language (its tag).
    #[must_use]
    pub fn read_in(self, language: &'static str) -> Self {
        Self { language, ..self }
    }

    /// The tag of the language in which the caller reads.
    #[must_use]
    pub fn language(&self) -> &'static str {
        self.language
    }

    /// Counts what the request asks for beyond the one thing that it has been counted for.
    ///
    /// # Errors
    /// The seconds after which to try again.
    pub fn spend(&self, items: usize) -> Result<(), u32> {
        match (&self.came, u32::try_from(items).unwrap_or(u32::MAX)) {
            (None, _) | (_, 0) => Ok(()),
            (Some(came), items) => came.allowance.take(&self.caller, came.network, items),
        }
    }

    /// The same caller's question at this moment, under the policies of now.
    #[must_use]
    pub fn renewed(&self) -> Self {
        let came = self.came.as_ref().map(|came| Came::new(came.allowance.clone(), came.network, came.credential.clone()));
        Self { revision: self.gate.revision.load_full(), now_ms: self.gate.clock.now_ms(), came, ..self.clone() }
    }

    /// How many more bytes of rows the reply may hold. One row always has room.
    pub(crate) fn room(&self) -> usize {
        let shown = self.came.as_ref().map_or(0, |came| came.shown.load(Ordering::Relaxed));
        self.revision.app.config.limits.page_bytes.saturating_sub(shown)
    }

    /// Counts bytes of rows that the reply holds; `false` when they are more than it may hold.
    #[must_use]
    pub fn shows(&self, bytes: usize) -> bool {
        let before = self.came.as_ref().map_or(0, |came| came.shown.fetch_add(bytes, Ordering::Relaxed));
        before.saturating_add(bytes) <= self.revision.app.config.limits.page_bytes
    }

    /// The question of another caller on the same connection, by this credential.
    #[must_use]
    pub fn of(&self, caller: &Caller, credential: &str) -> Self {
        let came = self.came.as_ref().map(|came| Came::new(came.allowance.clone(), came.network, Some(credential.into())));
        Self { caller: caller.clone(), came, ..self.renewed() }
    }

    /// What the caller proved himself with.
    #[must_use]
    pub fn credential(&self) -> Option<&Arc<str>> {
        self.came.as_ref()?.credential.as_ref()
    }

    /// The network that it comes from; this host when there is none.
    #[must_use]
    pub fn network(&self) -> std::net::IpAddr {
        self.came.as_ref().map_or(std::net::Ipv4Addr::LOCALHOST.into(), |came| came.network)
    }

    /// Whether what the caller may watch of a collection depends on the time.
    pub(crate) fn depends_on_time(&self, collection: CollectionId) -> bool {
        let verbs = &self.revision.verbs;
        let guarded = self.revision.classes.iter().flatten().map(|(read, _)| *read);
        [verbs.watch, verbs.read].into_iter().chain(guarded).any(|action| self.revision.policies.looks_at_the_time(action, collection))
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
        if self.gate.sightings.refused(self.caller.actor(), action.clone(), collection, request).is_err() {
            return Refusal::Unrecorded;
        }
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
        let select = Select::new(collection, filter, 1);
        Ok(self.gate.store.select(select, self.reads(false, "read", collection)).await?.versions.first().copied())
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

    /// The rows that a query is about, and the guarded fields that it uses in them: those of its filter, and the others that it
    /// names.
    pub(crate) fn usable(
        &self,
        (collection, rows, action): (CollectionId, &Predicate, &'static str),
        filter: Predicate,
        names: impl Fn(FieldId) -> bool,
    ) -> Result<(Predicate, Vec<FieldId>), ReadError> {
        #[cfg(haechi_unsafe_lab)]
        if crate::lab::planted(crate::lab::Hole::UnreadableIsUsed) {
            return Ok((Predicate::all([rows.clone(), filter]), Vec::new()));
        }
        let mut masks: Option<Vec<Mask>> = None;
        let (mut parts, mut guards, mut found) = (vec![rows.clone()], Vec::new(), Vec::new());
        for (at, field) in self.collection(collection).fields.iter().enumerate() {
            let columns = [at, field.shadow.unwrap_or(at)];
            if self.revision.classes[field.class].is_none() || !(names(at) || filter.reads_any(&columns)) {
                continue;
            }
            found.push(at);
            match &masks.get_or_insert_with(|| self.masks(collection, rows))[field.class] {
                Mask::Shown => {}
                Mask::Hidden => {
                    self.refuse(action, Some(collection), None);
                    return Err(ReadError::FieldRefused(at));
                }
                Mask::When(condition) => {
                    parts.push(condition.clone());
                    guards.push((columns, condition.clone()));
                }
            }
        }
        // Where it is not his to read it is not even looked at: whatever the database does first, and however long it takes.
        let seen = |column: usize| match guards.iter().find(|(columns, _)| columns.contains(&column)) {
            Some((_, condition)) => Operand::Choose(vec![(condition.clone(), Operand::Column(column))]),
            None => Operand::Column(column),
        };
        parts.push(if guards.is_empty() { filter } else { filter.with_columns(&seen) });
        Ok((Predicate::all(parts), found))
    }

    /// Fields with their masks; all in the order of a reply when none are named.
    pub(crate) fn outputs(&self, collection: CollectionId, masks: &[Mask], fields: Option<&[FieldId]>) -> Vec<Output> {
        let collection = self.collection(collection);
        let output = |field: FieldId| Output { field, mask: masks[collection.fields[field].class].clone() };
        match fields {
            None => reply_order(collection).map(output).collect(),
            Some(fields) => fields.iter().copied().map(output).collect(),
        }
    }

    /// A written row as the caller may see it; `None` when he may not.
    ///
    /// # Errors
    /// When the database cannot be reached or the access log is full.
    pub async fn representation(&self, done: &Done, wanted: Wanted<'_>) -> Result<Option<RowPage>, ReadError> {
        let collection = done.collection;
        let rows = if self.reachable(collection, "read") { self.readable(collection) } else { Predicate::False };
        let Some(row) = &done.row else { return Ok(None) };
        // What was written is told by its id alone where the reply is long already.
        if rows == Predicate::False || self.room() == 0 {
            return Ok(None);
        }
        let masks = self.masks(collection, &rows);
        let local = rows.is_local() && masks.iter().all(|mask| !matches!(mask, Mask::When(condition) if !condition.is_local()));
        if !local {
            return Grant::<crate::grant::Read>::new(self.clone(), collection, rows).get(&done.id, wanted).await;
        }
        if !rows.holds(row, &NoRows) {
            return Ok(None);
        }
        let fields = wanted.fields.map(|fields| with_followed(fields, wanted.follow));
        let outputs = self.outputs(collection, &masks, fields.as_deref());
        let view = View { collection: self.collection(collection), outputs: &outputs, shape: &wanted.shape };
        let (page, shown) = view.page(row, wanted.follow, &NoRows);
        self.sight("read", collection, &shown, std::slice::from_ref(&done.id), false)?;
        let _ = self.shows(page.bytes.len());
        Ok(Some(page))
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

/// A row in memory, as outputs and a shape show it.
pub(crate) struct View<'a> {
    pub(crate) collection: &'a Collection,
    pub(crate) outputs: &'a [Output],
    pub(crate) shape: &'a Shape,
}

impl View<'_> {
    /// The row as a page of its own, and the fields that it shows.
    pub(crate) fn page(&self, row: &Row, follow: &[FieldId], rows: &dyn Lookup) -> (RowPage, Vec<FieldId>) {
        let mut written = Written::default();
        let shows = |output: &Output| match &output.mask {
            Mask::Shown => true,
            Mask::Hidden => false,
            Mask::When(condition) => condition.holds(row, rows),
        };
        let cell = |output: usize| shows(&self.outputs[output]).then_some(self.outputs[output].field);
        RowForm::new(self.collection, self.outputs, self.shape).write(row.as_slice(), cell, &mut written);
        // What is expanded is shown, also where the shape leaves the id itself out.
        for (at, output) in self.outputs.iter().enumerate().filter(|(_, output)| follow.contains(&output.field)) {
            if shows(output) && !row[output.field].is_null() {
                written.shown |= 1 << at;
            }
        }
        let shown = self.outputs.iter().enumerate().filter(|(at, _)| written.shown >> at & 1 == 1).map(|(_, output)| output.field).collect();
        let followed = |field: &FieldId| {
            let output = self.outputs.iter().find(|output| output.field == *field).filter(|output| shows(output))?;
            row[output.field].as_text().map(Into::into)
        };
        let page = RowPage {
            ends: vec![written.bytes.len()],
            bytes: written.bytes,
            ids: row[Collection::ID].as_text().map(Into::into).into_iter().collect(),
            versions: row[Collection::VERSION].as_int().into_iter().collect(),
            followed: vec![follow.iter().map(followed).collect()],
            holes: written.holes,
            shown: written.shown,
            ..RowPage::default()
        };
        (page, shown)
    }
}

/// What is expanded is shown.
pub(crate) fn with_followed(fields: &[FieldId], follow: &[FieldId]) -> Vec<FieldId> {
    fields.iter().chain(follow.iter().filter(|field| !fields.contains(field))).copied().collect()
}

/// Conditions that the row alone decides need no other rows.
pub(crate) struct NoRows;

impl Lookup for NoRows {
    fn row(&self, _: usize, _: &str) -> Option<Vec<Value>> {
        None
    }
}

/// Fields in the order of a reply: id, declared fields, then times and version.
pub fn reply_order(collection: &Collection) -> impl Iterator<Item = usize> {
    let declared = Collection::FIRST_DECLARED..collection.fields.len();
    std::iter::once(Collection::ID).chain(declared).chain([Collection::CREATE_TIME, Collection::UPDATE_TIME, Collection::VERSION])
}
