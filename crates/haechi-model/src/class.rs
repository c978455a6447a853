//! Classes of fields: who may see a value, and how the ledger and the log treat it.

/// Index of a class in [`crate::App::classes`].
pub type ClassId = usize;

/// How the ledger and the log treat a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sensitivity {
    /// Covered by `read` and `update`; values stand in the ledger.
    Plain,
    /// Covered by `read`; writing needs `write_<class>`; values stand in the ledger.
    Internal,
    /// Needs `read_<class>`; reading leaves an access entry; the ledger holds field names only.
    Pii,
    /// Like pii, and a value is never shown in logs or previews.
    Secret,
}

/// A class of fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// `public`, `internal`, `pii`, `secret` or a declared name.
    pub name: String,
    /// How its values are treated.
    pub sensitivity: Sensitivity,
}

impl Class {
    pub(crate) const PUBLIC: ClassId = 0;
    pub(crate) const INTERNAL: ClassId = 1;
    pub(crate) const PII: ClassId = 2;

    pub(crate) fn built_in() -> Vec<Class> {
        let class = |name: &str, sensitivity| Class { name: name.to_owned(), sensitivity };
        vec![
            class("public", Sensitivity::Plain),
            class("internal", Sensitivity::Plain),
            class("pii", Sensitivity::Pii),
            class("secret", Sensitivity::Secret),
        ]
    }

    /// Whether seeing a value needs the class's own `read_<class>`.
    #[must_use]
    pub fn guarded(&self) -> bool {
        matches!(self.sensitivity, Sensitivity::Pii | Sensitivity::Secret)
    }

    /// Whether writing a value needs the class's own `write_<class>`.
    #[must_use]
    pub fn written_apart(&self) -> bool {
        self.sensitivity != Sensitivity::Plain
    }

    /// The actions that the class has of its own.
    pub fn actions(&self) -> impl Iterator<Item = String> {
        let read = self.guarded().then(|| format!("read_{}", self.name));
        read.into_iter().chain(self.written_apart().then(|| format!("write_{}", self.name)))
    }
}
