//! The verbs, and the rows on which policies let a caller do each.

use crate::ask::Ask;
use haechi_model::{CollectionId, Predicate};

/// A verb that a grant can be for. Sealed: nobody else adds one.
pub trait Verb: sealed::Sealed {
    /// Its name among the actions.
    const NAME: &'static str;
    #[doc(hidden)]
    fn rows(ask: &Ask, collection: CollectionId) -> Predicate;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! verbs {
    ($($(#[$doc:meta])* $verb:ident $name:literal |$ask:ident, $collection:ident| $rows:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub enum $verb {}
        impl sealed::Sealed for $verb {}
        impl Verb for $verb {
            const NAME: &'static str = $name;
            fn rows($ask: &Ask, $collection: CollectionId) -> Predicate {
                $rows
            }
        }
    )*};
}

/// A verb on rows implies `read`.
fn with_read(ask: &Ask, verb: usize, collection: CollectionId) -> Predicate {
    let rows = ask.bind(verb, collection);
    if rows == Predicate::False { rows } else { Predicate::all([rows, ask.readable(collection)]) }
}

verbs! {
    /// Listing rows.
    List "list" |ask, collection| with_read(ask, ask.revision.verbs.list, collection);
    /// Reading rows by id.
    Read "read" |ask, collection| ask.readable(collection);
    /// Adding a row.
    Create "create" |ask, collection| ask.bind(ask.revision.verbs.create, collection);
    /// Changing a row.
    Update "update" |ask, collection| with_read(ask, ask.revision.verbs.update, collection);
    /// Watching changes of rows.
    Watch "watch" |ask, collection| with_read(ask, ask.revision.verbs.watch, collection);
    /// Exporting rows.
    Export "export" |ask, collection| with_read(ask, ask.revision.verbs.export, collection);
    /// Deleting a row.
    Delete "delete" |ask, collection| with_read(ask, ask.revision.verbs.delete, collection);
}
