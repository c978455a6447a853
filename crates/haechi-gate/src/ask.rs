//! One request's question: a caller, a revision and a time, fixed when the request begins.

use crate::{
    caller::Caller,
    came::{Allowance, Came, Doing, Waiting},
    refusal::Refusal,
    revision::Revision,
    shared::Shared,
};
use haechi_model::{App, Collection, CollectionId, FieldId, Predicate, ThingKind};
use haechi_policy::{ChangeParts, Written};
use std::{
    borrow::Cow,
    sync::{Arc, atomic::Ordering},
};

/// One request's question.
#[derive(Clone)]
pub struct Ask {
    pub(crate) shared: Arc<Shared>,
    pub(crate) revision: Arc<Revision>,
    pub(crate) caller: Caller,
    pub(crate) request_id: Arc<str>,
    pub(crate) now_ms: i64,
    pub(crate) came: Option<Arc<Came>>,
    pub(crate) language: &'static str,
    /// The job's run for which it is asked.
    pub(crate) cause: Option<Box<str>>,
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

    /// The same question, counted against an allowance of the caller, or of the network that it comes from. A stream that it opens ends
    /// with the credential of the request.
    #[must_use]
    pub fn within(self, allowance: Arc<dyn Allowance>, network: std::net::IpAddr, credential: Option<&str>) -> Self {
        Self { came: Some(Came::new(allowance, network, credential.map(Into::into))), ..self }
    }

    /// The same question as part of a job's run; entries of what it changes name the run as their cause.
    #[must_use]
    pub fn because(self, run: &str) -> Self {
        Self { cause: Some(format!("job/{run}").into()), ..self }
    }

    /// A handle that tells other tasks what this request has done so far.
    #[must_use]
    pub fn doing(&self) -> Option<Doing> {
        self.came.clone().map(Doing)
    }

    /// Counts bytes that wait for the caller to read them, until the returned value is dropped; `None` when there is no room.
    #[must_use]
    pub fn waits(&self, bytes: usize) -> Option<Waiting> {
        match &self.came {
            Some(came) => came.allowance.wait(&self.caller, came.network, bytes),
            None => Some(Box::new(())),
        }
    }

    pub(crate) fn begins_change(&self) {
        if let Some(came) = &self.came {
            came.changes.store(true, Ordering::Release);
        }
    }

    /// The same question for a caller who reads this language (its tag).
    #[must_use]
    pub fn read_in(self, language: &'static str) -> Self {
        Self { language, ..self }
    }

    /// The tag of the language in which the caller reads.
    #[must_use]
    pub fn language(&self) -> &'static str {
        self.language
    }

    /// Counts the items that the request asks for beyond the one that is already counted.
    ///
    /// # Errors
    /// The seconds after which to try again.
    pub fn spend(&self, items: usize) -> Result<(), u32> {
        match (&self.came, u32::try_from(items).unwrap_or(u32::MAX)) {
            (None, _) | (_, 0) => Ok(()),
            (Some(came), items) => came.allowance.take(&self.caller, came.network, items),
        }
    }

    /// The same caller's question now, under the current policies.
    #[must_use]
    pub fn renewed(&self) -> Self {
        let came = self.came.as_ref().map(|came| Came::new(came.allowance.clone(), came.network, came.credential.clone()));
        Self { revision: self.shared.revision.load_full(), now_ms: self.shared.clock.now_ms(), came, ..self.clone() }
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

    /// The credential that the caller used.
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
        let guarded = self.revision.classes.iter().filter_map(|class| class.read);
        [verbs.watch, verbs.read].into_iter().chain(guarded).any(|action| self.revision.policies.looks_at_the_time(action, collection))
    }

    /// Records a refusal and says which it is.
    pub(crate) fn refuse(&self, action: impl Into<Cow<'static, str>>, collection: Option<CollectionId>, record: Option<&str>) -> Refusal {
        let request = record.map_or_else(|| Box::from(&*self.request_id), |record| format!("{}/{record}", self.request_id).into());
        let action = action.into();
        if self.shared.sightings.refused(self.caller.actor(), action.clone(), collection, request).is_err() {
            return Refusal::Unrecorded;
        }
        if self.caller.is_anonymous() {
            return Refusal::Unauthenticated;
        }
        let reason = self.shared.explains.then(|| self.reason(&action, collection)).flatten();
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

    /// The caller's id, when they are a person.
    #[must_use]
    pub fn person(&self) -> Option<&str> {
        (self.caller.kind() == crate::CallerKind::User).then(|| self.caller.id())
    }

    /// Callers without credentials reach only what the folder declares; policies cannot extend that.
    pub(crate) fn reachable(&self, collection: CollectionId, verb: &str) -> bool {
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

    /// The same for a request that writes these fields. Before they are known, [`Ask::bind`] says what some fields could allow.
    pub(crate) fn bind_writing(&self, action: usize, collection: CollectionId, fields: &[FieldId]) -> Predicate {
        if !self.revision.policies.looks_at_the_fields(action, collection) {
            return self.bind(action, collection);
        }
        if !self.caller.in_scope(collection, action) {
            return Predicate::False;
        }
        let names = self.revision.names(collection, fields);
        self.revision.policies.bind_writing(&self.caller.principal(), action, collection, self.now_ms, Written::These(&names))
    }

    /// The parts of the condition on a change, where a permit is asked of the row as it was.
    pub(crate) fn change_parts(&self, collection: CollectionId, fields: &[FieldId]) -> Option<ChangeParts> {
        if !self.revision.policies.hands_over(collection) {
            return None;
        }
        let names = self.revision.names(collection, fields);
        self.revision.policies.change(&self.caller.principal(), collection, self.now_ms, Written::These(&names))
    }

    /// Asks whether the caller may do this with a thing that is no row. Callers without credentials never may.
    ///
    /// # Errors
    /// The refusal, which is noted.
    pub fn may_do(&self, (kind, name): (ThingKind, &str), action: &'static str) -> Result<(), Refusal> {
        if self.might_do((kind, name), action) {
            return Ok(());
        }
        Err(self.refuse(format!("{}/{name}:{action}", kind.type_name()), None, None))
    }

    /// Whether the caller may do this with a thing that is no row. It was not asked for, so a no is no refusal.
    #[must_use]
    pub fn might_do(&self, (kind, name): (ThingKind, &str), action: &'static str) -> bool {
        !self.caller.is_anonymous()
            && self.caller.in_scope_of_thing(kind, name, action)
            && self.revision.policies.decide(&self.caller.principal(), (kind, name), action, self.now_ms)
    }

    pub(crate) fn readable(&self, collection: CollectionId) -> Predicate {
        self.bind(self.revision.verbs.read, collection)
    }
}
