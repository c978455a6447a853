//! Things that are no rows and still have policies: jobs. They stand in namespaces of their own, outside the app's actions.

use crate::app::App;

/// A kind of thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ThingKind {
    /// A job of `jobs/`.
    Job,
}

impl ThingKind {
    /// All kinds, by their position.
    pub const ALL: [Self; 1] = [Self::Job];
    /// The namespaces of all kinds.
    pub const NAMESPACES: [&str; 1] = ["Work"];
    /// Namespaces that come with a later version.
    pub const LATER: [&str; 2] = ["Auth", "Console"];

    /// Its namespace.
    #[must_use]
    pub fn namespace(self) -> &'static str {
        match self {
            Self::Job => "Work",
        }
    }

    /// Its type in policies, within the namespace.
    #[must_use]
    pub fn entity(self) -> &'static str {
        match self {
            Self::Job => "Job",
        }
    }

    /// Its type in policies.
    #[must_use]
    pub fn type_name(self) -> String {
        format!("{}::{}", self.namespace(), self.entity())
    }

    /// What can be done with it.
    #[must_use]
    pub fn actions(self) -> &'static [&'static str] {
        match self {
            Self::Job => &["enqueue", "read", "cancel"],
        }
    }

    /// The position of an action among [`ThingKind::actions`].
    #[must_use]
    pub fn action(self, name: &str) -> Option<usize> {
        self.actions().iter().position(|known| *known == name)
    }

    /// The names of the things of an app.
    #[must_use]
    pub fn names(self, app: &App) -> Vec<&str> {
        match self {
            Self::Job => app.jobs.iter().map(|job| job.name.as_str()).collect(),
        }
    }

    /// Kind and name of a thing that is written as `Work::Job/NAME`. The name need not be declared.
    #[must_use]
    pub fn parse(text: &str) -> Option<(Self, &str)> {
        let (ty, name) = text.split_once('/')?;
        Self::ALL.into_iter().find(|kind| kind.type_name() == ty).map(|kind| (kind, name))
    }
}
