//! Positions by which collections and their fields name each other.

/// Position of a field in [`crate::Collection::fields`]; also the position of its column.
pub type FieldId = usize;

/// Position of a collection in [`crate::App::collections`].
pub type CollectionId = usize;

/// The built-in collection of people.
pub const USERS: CollectionId = 0;
