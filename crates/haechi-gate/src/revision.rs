//! One immutable state of app and policies. A request uses the same one from beginning to end.

use haechi_model::{App, CollectionId, FieldId, Findings, Predicate};
use haechi_policy::{ActionId, ClassActions, Policies, Principal, verb};
use std::sync::Arc;

/// App and policies, with what requests would otherwise compute each time.
pub struct Revision {
    /// The app.
    pub app: Arc<App>,
    /// Its policies.
    pub policies: Policies,
    /// Short hash over folder and policies; stands in every ledger entry.
    pub version: Box<str>,
    pub(crate) verbs: Verbs,
    /// Per class, its own actions.
    pub(crate) classes: Vec<ClassActions>,
}

/// Positions of the verbs among the actions.
#[derive(Clone, Copy)]
pub(crate) struct Verbs {
    pub(crate) list: ActionId,
    pub(crate) read: ActionId,
    pub(crate) create: ActionId,
    pub(crate) update: ActionId,
    pub(crate) delete: ActionId,
    pub(crate) watch: ActionId,
    pub(crate) export: ActionId,
}

/// The folder's policies cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the policies have errors")]
pub struct RevisionError(pub Findings);

impl Revision {
    /// Compiles the policies of an app.
    ///
    /// # Errors
    /// The findings, when a policy is wrong.
    pub fn new(app: App) -> Result<(Self, Findings), RevisionError> {
        let (policies, findings) = Policies::load(&app).map_err(RevisionError)?;
        Ok((Self::of(app, policies), findings))
    }

    /// Compiles policies that were written for another state of the app, to compare with: findings that are no errors there are accepted.
    pub(crate) fn lenient(app: App) -> Result<Self, RevisionError> {
        let policies = Policies::load_leniently(&app).map_err(RevisionError)?;
        Ok(Self::of(app, policies))
    }

    fn of(app: App, policies: Policies) -> Self {
        let verbs = Verbs {
            list: verb::LIST,
            read: verb::READ,
            create: verb::CREATE,
            update: verb::UPDATE,
            delete: verb::DELETE,
            watch: verb::WATCH,
            export: verb::EXPORT,
        };
        let classes = haechi_policy::class_actions(&app);
        let version = version(&app);
        Self { app: Arc::new(app), policies, version, verbs, classes }
    }

    pub(crate) fn bind(&self, principal: &Principal<'_>, action: ActionId, collection: CollectionId, now_ms: i64) -> Predicate {
        self.policies.bind(principal, action, collection, now_ms)
    }

    /// The names of fields, as policies get them in `context.fields`.
    pub(crate) fn names(&self, collection: CollectionId, fields: &[FieldId]) -> Vec<&str> {
        fields.iter().map(|field| self.app.collections[collection].fields[*field].name.as_str()).collect()
    }

    /// The collections of whose changes streams need images: those that somebody may watch, and those that fill their groups.
    pub(crate) fn watched(&self) -> Vec<bool> {
        let mut watched: Vec<bool> =
            self.app.collections.iter().map(|collection| self.policies.permits_anybody(self.verbs.watch, collection.id)).collect();
        // Streams learn from an image whom a joining row names.
        if watched.contains(&true) {
            for group in self.app.collections.iter().flat_map(|collection| &collection.groups) {
                watched[group.joining] = true;
                watched[group.of] |= group.inherits.is_some();
            }
        }
        watched
    }
}

fn version(app: &App) -> Box<str> {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    context.update(haechi_policy::schema_text(app).as_bytes());
    // The schema names groups and does not say who is in them.
    for group in app.collections.iter().flat_map(|collection| &collection.groups) {
        context.update(format!("{group:?}").as_bytes());
    }
    for policy in &app.policies {
        context.update(policy.source.path.to_string_lossy().as_bytes());
        context.update(&[0]);
        context.update(policy.source.text.as_bytes());
        context.update(&[0]);
    }
    crate::keys::hex(&context.finish().as_ref()[..6]).into()
}
