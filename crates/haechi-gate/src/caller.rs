//! Who asks, and how they proved it.

use haechi_model::{Actor, App, CollectionId, Row, ThingKind, VERBS};
use haechi_policy::{ActionId, Principal, PrincipalKind};
use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hash},
    net::IpAddr,
    sync::{Arc, LazyLock},
};

/// Kinds of callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallerKind {
    /// A person.
    User,
    /// A program.
    Service,
    /// An unknown caller.
    Anonymous,
}

/// What a caller proved itself with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Nothing.
    None,
    /// A developer's token.
    Developer,
    /// A session.
    Session {
        /// SHA-256 of its token: the id in the table of sessions.
        hash: Box<str>,
        /// The id that its owner sees.
        name: Box<str>,
        /// When a password or another factor was last shown, UTC milliseconds.
        auth_time_ms: i64,
        /// Whether it came in a cookie, so that a browser adds it to requests by itself.
        cookie: bool,
    },
    /// An API key.
    Key {
        /// The id that its owner sees.
        name: Box<str>,
    },
}

/// How somebody signed in, for a caller that is being made.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// What the credential is.
    pub credential: Credential,
    /// What it is limited to; everything when `None`.
    pub scope: Option<Scope>,
}

/// The actions that a credential is limited to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// By collection, a bit per action.
    rows: Box<[u64]>,
    /// Things that are no rows, with the action on each.
    things: Box<[(ThingKind, Box<str>, &'static str)]>,
}

/// A scope that is none of the app's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownScope(pub String);

impl Scope {
    /// From `COLLECTION:ACTION`, where either may be `*`, and `Work::Job/NAME:ACTION`, where the name may be `*`.
    ///
    /// # Errors
    /// The first text that names nothing of the app.
    pub fn parse<'a>(app: &App, texts: impl IntoIterator<Item = &'a str>) -> Result<Self, UnknownScope> {
        let actions = haechi_policy::actions(app);
        let mut bits = vec![0u64; app.collections.len()];
        let mut things = Vec::new();
        for text in texts {
            let unknown = || UnknownScope(text.to_owned());
            let (collection, action) = text.rsplit_once(':').ok_or_else(unknown)?;
            let mut met = false;
            if let Some((kind, name)) = ThingKind::parse(collection) {
                let action = kind.actions().iter().find(|known| **known == action).ok_or_else(unknown)?;
                for known in kind.names(app).into_iter().filter(|known| name == "*" || *known == name) {
                    things.push((kind, known.into(), *action));
                    met = true;
                }
            }
            for (at, _) in app.collections.iter().enumerate().filter(|(_, known)| collection == "*" || known.name == collection) {
                // A star covers verbs only: actions of classes and declared actions must be named.
                let meant = |known: &&str| action == *known || action == "*" && VERBS.contains(known);
                for (bit, _) in actions.iter().map(String::as_str).enumerate().filter(|(_, known)| meant(known)) {
                    bits[at] |= 1 << bit;
                    met = true;
                }
            }
            if !met {
                return Err(unknown());
            }
        }
        Ok(Self { rows: bits.into(), things: things.into() })
    }

    /// Parses a stored scope. Names that the app no longer has are ignored.
    #[must_use]
    pub fn stored(app: &App, texts: &[String]) -> Self {
        let known = texts.iter().map(String::as_str).filter(|text| Self::parse(app, [*text]).is_ok());
        Self::parse(app, known).unwrap_or_default()
    }

    pub(crate) fn allows(&self, collection: CollectionId, action: ActionId) -> bool {
        self.rows.get(collection).is_some_and(|bits| bits >> action & 1 == 1)
    }

    pub(crate) fn allows_thing(&self, kind: ThingKind, name: &str, action: &str) -> bool {
        self.things.iter().any(|(of, known, does)| *of == kind && **known == *name && *does == action)
    }
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
    credential: Credential,
    scope: Option<Scope>,
    /// The caller's number for turns at the database.
    turn: u64,
}

/// The number by which the store tells callers apart. It is keyed with a secret of this process, so nobody can choose theirs.
fn turn_of(who: impl Hash) -> u64 {
    static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    HASHER.hash_one(who)
}

impl Caller {
    /// A caller without credentials.
    #[must_use]
    pub fn anonymous() -> Self {
        static ANONYMOUS: std::sync::OnceLock<Caller> = std::sync::OnceLock::new();
        let nothing = SignedIn { credential: Credential::None, scope: None };
        ANONYMOUS.get_or_init(|| Self::new(CallerKind::Anonymous, "anonymous", Vec::new(), Row::new(), nothing)).clone()
    }

    pub(crate) fn new(kind: CallerKind, id: &str, roles: Vec<Box<str>>, row: Row, signed_in: SignedIn) -> Self {
        let name = match kind {
            CallerKind::User => "user",
            CallerKind::Service => "service",
            CallerKind::Anonymous => "anonymous",
        };
        let actor = Arc::new(Actor { kind: name, id: id.into() });
        let turn = turn_of((name, id));
        Self(Arc::new(Facts { kind, actor, roles: roles.into(), row, credential: signed_in.credential, scope: signed_in.scope, turn }))
    }

    /// The number for turns at the database: one for each caller; one for each network for callers without credentials.
    pub(crate) fn turn(&self, network: Option<IpAddr>) -> u64 {
        match (self.0.kind, network) {
            (CallerKind::Anonymous, Some(network)) => turn_of(network),
            _ => self.0.turn,
        }
    }

    /// What kind of caller.
    #[must_use]
    pub fn kind(&self) -> CallerKind {
        self.0.kind
    }

    /// Whether the caller is unknown.
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

    /// The credential that the caller used.
    #[must_use]
    pub fn credential(&self) -> &Credential {
        &self.0.credential
    }

    /// A person's stored row; empty for others.
    #[must_use]
    pub fn row(&self) -> &Row {
        &self.0.row
    }

    /// As an actor of the ledger.
    #[must_use]
    pub fn actor(&self) -> &Arc<Actor> {
        &self.0.actor
    }

    /// Whether both are the same person or service with the same roles, facts and scope, so that it may still do what the other could.
    #[must_use]
    pub fn is_still(&self, other: &Self) -> bool {
        let (mine, theirs) = (&self.0, &other.0);
        mine.kind == theirs.kind && mine.actor == theirs.actor && mine.roles == theirs.roles && mine.row == theirs.row && mine.scope == theirs.scope
    }

    /// Whether the credential's scope covers this action; policies decide as well.
    pub(crate) fn in_scope(&self, collection: CollectionId, action: ActionId) -> bool {
        self.0.scope.as_ref().is_none_or(|scope| scope.allows(collection, action))
    }

    pub(crate) fn in_scope_of_thing(&self, kind: ThingKind, name: &str, action: &str) -> bool {
        self.0.scope.as_ref().is_none_or(|scope| scope.allows_thing(kind, name, action))
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
