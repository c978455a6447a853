//! Rows stated anew: their digests go into the ledger again, in parts.

use crate::{gate::Gate, import::PART, system::System};
use haechi_model::{Collection, Comparison, EntryDraft, Failure, Operand, Predicate, Row, Step};
use std::fmt::Write;

impl Gate {
    /// Writes new digests of all rows of altered collections to the ledger, because a migration changes their canonical form.
    pub(crate) async fn rebase<A: crate::Area>(&self, key: &System<A>, altered: &[String]) -> Result<(), Failure> {
        let revision = self.revision();
        for declared in revision.app.collections.iter().filter(|collection| altered.contains(&collection.name)) {
            let mut after = String::new();
            loop {
                let rows = self.shared.store.rows_after(declared.id, &after, PART as u32).await?;
                let Some(last) = rows.last() else { break };
                after = last[Collection::ID].as_text().unwrap_or_default().to_owned();
                match self.state_rows_anew(key, declared, &rows).await {
                    // While others write, one row at a time.
                    Err(Failure::Missed(_)) => {
                        for row in rows {
                            self.state_row_anew(key, declared, row).await?;
                        }
                    }
                    stated => stated?,
                }
            }
        }
        Ok(())
    }

    /// Writes digests of rows to the ledger, where the rows are still as they were read.
    async fn state_rows_anew<A: crate::Area>(&self, key: &System<A>, declared: &Collection, rows: &[Row]) -> Result<(), Failure> {
        let mut change = self.shared.system_change(key, vec![self.part_entry("rebase", declared, rows.iter())]);
        // Other nodes may write meanwhile.
        if self.shared.store.is_shared() {
            change.steps = rows.iter().map(|row| unchanged(declared, row)).collect();
        }
        self.shared.commit(change).await.map(|_| ())
    }

    async fn state_row_anew<A: crate::Area>(&self, key: &System<A>, declared: &Collection, row: Row) -> Result<(), Failure> {
        let mut row = row;
        loop {
            match self.state_rows_anew(key, declared, std::slice::from_ref(&row)).await {
                Err(Failure::Missed(_)) => {}
                stated => return stated,
            }
            // It was changed or deleted meanwhile.
            match self.shared.store.row(declared.id, row[Collection::ID].as_text().unwrap_or_default()).await? {
                Some(now) => row = now,
                None => return Ok(()),
            }
        }
    }

    /// One entry per part, with the digest of every row.
    pub(crate) fn part_entry<'r>(&self, action: &str, declared: &Collection, rows: impl ExactSizeIterator<Item = &'r Row>) -> EntryDraft {
        let mut extra = format!("\"count\":{},\"rows\":[", rows.len());
        for (at, row) in rows.enumerate() {
            let _ = write!(extra, "{}[\"{}\",\"", if at > 0 { "," } else { "" }, row[0].as_text().unwrap_or_default());
            for byte in self.shared.journal.row_digest(declared, row) {
                let _ = write!(extra, "{byte:02x}");
            }
            extra.push_str("\"]");
        }
        extra.push(']');
        self.shared.system_entry(action, Some(declared.id), extra)
    }
}

/// Holds a row while it is as it was read.
fn unchanged(declared: &Collection, row: &Row) -> Step {
    let version = Predicate::Compare(Operand::Column(Collection::VERSION), Comparison::Equal, Operand::Constant(row[Collection::VERSION].clone()));
    let id = row[Collection::ID].as_text().unwrap_or_default().into();
    Step::Lock { table: declared.id, id, filter: version, version: None, miss: 0 }
}
