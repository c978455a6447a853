//! How the gate says no: before any row is looked at, or while rows are read.

use haechi_model::{CollectionId, Failure, FieldId};

/// Why the gate says no before any row is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The caller is unknown; signing in may help.
    Unauthenticated,
    /// The caller is known and may not. Only `dev` tells the reason.
    Forbidden(Option<Box<str>>),
    /// It is refused, but the refusal cannot be recorded at the moment.
    Unrecorded,
}

/// Why rows could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// Policy says no.
    Refused(Refusal),
    /// The query uses a field that the caller may not read.
    FieldRefused(CollectionId, FieldId),
    /// The query looks further than it may.
    NotLocal,
    /// The reply would be longer than `page_bytes`, and has no place where it could end early.
    TooLong,
    /// The access log is full; nothing personal is shown until it drains.
    AccessFull,
    /// The database failed.
    Store(Failure),
}
