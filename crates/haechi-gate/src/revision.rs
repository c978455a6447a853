//! One immutable state of app and policies. A request ends on the one it began with.

use haechi_model::{App, CollectionId, Findings, Predicate};
use haechi_policy::{ActionId, Policies, Principal};
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
    /// Per class, the actions that read and write it; `None` for plain classes.
    pub(crate) classes: Vec<Option<(ActionId, ActionId)>>,
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
}

/// How far somebody gets with an action on a collection, as far as policies alone say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// No row.
    None,
    /// Rows of which a condition holds.
    Some,
    /// Every row.
    All,
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
        let verb = |name: &str| policies.action(name).unwrap_or_default();
        let verbs = Verbs {
            list: verb("list"),
            read: verb("read"),
            create: verb("create"),
            update: verb("update"),
            delete: verb("delete"),
            watch: verb("watch"),
        };
        let classes = app
            .classes
            .iter()
            .map(|class| class.guarded().then(|| (verb(&format!("read_{}", class.name)), verb(&format!("write_{}", class.name)))))
            .collect();
        let version = version(&app);
        Ok((Self { app: Arc::new(app), policies, version, verbs, classes }, findings))
    }

    pub(crate) fn bind(&self, principal: &Principal<'_>, action: ActionId, collection: CollectionId, now_ms: i64) -> Predicate {
        self.policies.bind(principal, action, collection, now_ms)
    }

    /// The collections that somebody may watch.
    pub(crate) fn watched(&self) -> Vec<bool> {
        self.app.collections.iter().map(|collection| self.policies.permits_anybody(self.verbs.watch, collection.id)).collect()
    }

    /// Who gets how far: each role (and `anonymous`, and `user` without a role), collection and action.
    #[must_use]
    pub fn matrix(&self) -> Vec<(String, String, String, Reach)> {
        let nil = "00000000-0000-0000-0000-000000000000";
        let mut found = Vec::new();
        for who in ["anonymous", "user"].into_iter().chain(self.app.roles.iter().map(String::as_str)) {
            let roles: Vec<Box<str>> = if matches!(who, "anonymous" | "user") { Vec::new() } else { vec![who.into()] };
            let principal = match who {
                "anonymous" => Principal { kind: haechi_policy::PrincipalKind::Anonymous, id: "anonymous", roles: &[], row: &[] },
                _ => Principal { kind: haechi_policy::PrincipalKind::User, id: nil, roles: &roles, row: &[] },
            };
            for collection in &self.app.collections {
                for (id, action) in haechi_policy::actions(&self.app).into_iter().enumerate() {
                    // Who is not known reaches what the folder declares and no more, whatever policies say.
                    let declared = who != "anonymous" || self.app.anonymous.iter().any(|(to, verb)| *to == collection.id && *verb == action);
                    let reach = match self.bind(&principal, id, collection.id, 0) {
                        _ if !declared => Reach::None,
                        Predicate::False => Reach::None,
                        Predicate::True => Reach::All,
                        _ => Reach::Some,
                    };
                    found.push((who.to_owned(), collection.name.clone(), action, reach));
                }
            }
        }
        found
    }

    /// What callers without credentials reach by policy although the folder does not declare it: collection and verb.
    #[must_use]
    pub fn undeclared_reach(&self) -> Vec<(String, String)> {
        let nobody = Principal { kind: haechi_policy::PrincipalKind::Anonymous, id: "anonymous", roles: &[], row: &[] };
        let mut found = Vec::new();
        for collection in &self.app.collections {
            for action in haechi_policy::actions(&self.app) {
                let Some(id) = self.policies.action(&action) else { continue };
                let declared = self.app.anonymous.iter().any(|(to, verb)| *to == collection.id && *verb == action);
                if !declared && self.bind(&nobody, id, collection.id, 0) != Predicate::False {
                    found.push((collection.name.clone(), action));
                }
            }
        }
        found
    }
}

fn version(app: &App) -> Box<str> {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    context.update(haechi_policy::schema_text(app).as_bytes());
    for policy in &app.policies {
        context.update(policy.source.path.to_string_lossy().as_bytes());
        context.update(&[0]);
        context.update(policy.source.text.as_bytes());
        context.update(&[0]);
    }
    crate::keys::hex(&context.finish().as_ref()[..6]).into()
}
