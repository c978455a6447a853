//! Who asks.

use haechi_model::{Actor, Row};
use haechi_policy::{Principal, PrincipalKind};
use std::sync::Arc;

/// Kinds of callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallerKind {
    /// A person.
    User,
    /// A program.
    Service,
    /// Nobody known.
    Anonymous,
}

/// Who asks. Only the authenticator makes one that is not anonymous.
#[derive(Clone, Debug)]
pub struct Caller(Arc<Facts>);

#[derive(Debug)]
struct Facts {
    kind: CallerKind,
    actor: Arc<Actor>,
    roles: Box<[Box<str>]>,
    row: Row,
}

impl Caller {
    /// Somebody without credentials.
    #[must_use]
    pub fn anonymous() -> Self {
        static ANONYMOUS: std::sync::OnceLock<Caller> = std::sync::OnceLock::new();
        ANONYMOUS.get_or_init(|| Self::new(CallerKind::Anonymous, "anonymous", Vec::new(), Row::new())).clone()
    }

    pub(crate) fn new(kind: CallerKind, id: &str, roles: Vec<Box<str>>, row: Row) -> Self {
        let name = match kind {
            CallerKind::User => "user",
            CallerKind::Service => "service",
            CallerKind::Anonymous => "anonymous",
        };
        let actor = Arc::new(Actor { kind: name, id: id.into() });
        Self(Arc::new(Facts { kind, actor, roles: roles.into(), row }))
    }

    /// What kind of caller.
    #[must_use]
    pub fn kind(&self) -> CallerKind {
        self.0.kind
    }

    /// Whether nobody is known.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.0.kind == CallerKind::Anonymous
    }

    /// Id within the kind.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.actor.id
    }

    /// Names of the roles.
    #[must_use]
    pub fn roles(&self) -> &[Box<str>] {
        &self.0.roles
    }

    pub(crate) fn actor(&self) -> &Arc<Actor> {
        &self.0.actor
    }

    pub(crate) fn principal(&self) -> Principal<'_> {
        let kind = match self.0.kind {
            CallerKind::User => PrincipalKind::User,
            CallerKind::Service => PrincipalKind::Service,
            CallerKind::Anonymous => PrincipalKind::Anonymous,
        };
        Principal { kind, id: &self.0.actor.id, roles: &self.0.roles, row: &self.0.row }
    }
}
