//! Classes of fields: who may see a value, and how the ledger and the log treat it.

/// Index of a class in [`crate::App::classes`].
pub type ClassId = usize;

/// How the ledger and the log treat a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sensitivity {
    /// Covered by `read` and `update`; values stand in the ledger.
    Plain,
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

    /// Whether the class has its own actions, `read_<class>` and `write_<class>`.
    #[must_use]
    pub fn guarded(&self) -> bool {
        self.sensitivity != Sensitivity::Plain
    }
}
