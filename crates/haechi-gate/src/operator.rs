//! What operators read and note, beside policies: every reader of rows leaves an entry.

use crate::{
    gate::Gate,
    import::PART,
    system::{Import, System},
};
use futures_util::future::BoxFuture;
use haechi_model::{Collection, CollectionId, EntryDraft, EntryKind, Failure, Group, Row, USERS, person, write_json_text};
use std::{collections::HashSet, sync::Arc};

impl Gate {
    /// Stored rows of a collection in the order of their ids, for export; recorded when the first page is read.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn stored_rows<'a>(&'a self, key: &'a System<Import>, collection: CollectionId, after: &'a str) -> BoxFuture<'a, Result<Vec<Row>, Failure>> {
        Box::pin(async move {
            if after.is_empty() {
                let entry = self.shared.system_entry("export", Some(collection), String::new());
                self.shared.commit(self.shared.system_change(key, vec![entry])).await?;
            }
            self.shared.store.rows_after(collection, after, PART as u32).await
        })
    }

    /// People who may sign in, in the order of their ids, shown to `each` until it has seen enough: those who are not disabled.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn people<'a>(&'a self, _: &'a System<Import>, mut each: impl FnMut(&Row) -> bool + Send + 'a) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let mut after = String::new();
            loop {
                let rows = self.shared.store.rows_after(USERS, &after, PART as u32).await?;
                for row in rows.iter().filter(|row| row[person::DISABLED].as_int() == Some(0)) {
                    if !each(row) {
                        return Ok(());
                    }
                }
                match rows.last().and_then(|row| row[Collection::ID].as_text()) {
                    Some(last) if rows.len() >= PART => after = last.to_owned(),
                    _ => return Ok(()),
                }
            }
        })
    }

    /// Whether a collection has no rows.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn is_empty<'a>(&'a self, _: &'a System<Import>, collection: CollectionId) -> BoxFuture<'a, Result<bool, Failure>> {
        Box::pin(async move { Ok(self.shared.store.rows_after(collection, "", 1).await?.is_empty()) })
    }

    /// Records in the ledger that an operator asked for an explanation that reads rows: about whom, and which row.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn note_explanation<'a>(
        &'a self,
        key: &'a System<Import>,
        who: &'a str,
        collection: Option<CollectionId>,
        record: Option<&'a str>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let mut extra = Vec::from(&b"\"who\":"[..]);
            write_json_text(who, &mut extra);
            let entry = EntryDraft {
                kind: EntryKind::Access,
                record: record.map(Into::into),
                ..self.shared.system_entry("explain", collection, String::from_utf8_lossy(&extra).into_owned())
            };
            self.shared.commit(self.shared.system_change(key, vec![entry])).await.map(|_| ())
        })
    }

    /// One stored row, for explanations to an operator.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn stored_row<'a>(&'a self, _: &'a System<Import>, collection: CollectionId, id: &'a str) -> BoxFuture<'a, Result<Option<Row>, Failure>> {
        Box::pin(async move { self.shared.store.row(collection, id).await })
    }

    /// Whom joining rows put into the group of one row, for explanations to an operator.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub fn members<'a>(&'a self, _: &'a System<Import>, group: &'a Arc<Group>, of: &'a str) -> BoxFuture<'a, Result<HashSet<Box<str>>, Failure>> {
        self.shared.store.members(group, of)
    }
}
