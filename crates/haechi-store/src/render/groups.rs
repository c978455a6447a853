//! Membership in groups. Who is asked about many rows is known, so the ids of their groups are found once, from their joining rows; about
//! a few rows each is asked by itself, from the row upwards.

use super::{Dialect, Sql};
use haechi_model::{Collection, Group, MAX_ANCESTORS, Operand, Predicate, Value};
use std::fmt::Write;

/// The id whose group it is, where one list of ids answers for all rows: the person is known.
pub(super) fn listed(predicate: &Predicate) -> Option<(&Operand, &Group, &Operand)> {
    match predicate {
        Predicate::Member { of, group, who: who @ Operand::Constant(_) } => Some((of, group, who)),
        _ => None,
    }
}

impl Sql<'_> {
    pub(super) fn member(&mut self, predicate: &Predicate, table: usize, alias: usize) {
        if let (Some((of, group, who)), false) = (listed(predicate), self.probed) {
            self.operand(of, table, alias);
            self.push(" IN (");
            self.ids_of_groups(group, who);
            return self.push(")");
        }
        let Predicate::Member { of, group, who } = predicate else { return };
        self.push("EXISTS (");
        let chain = group.inherits.map(|parent| self.ancestors(group, parent, MAX_ANCESTORS, |sql| sql.operand(of, table, alias)));
        self.aliases += 1;
        let joining = self.aliases;
        self.push("SELECT 1 FROM ");
        self.name(&self.table(group.joining).name);
        let _ = write!(self.text, " t{joining}");
        if let Some(chain) = chain {
            let _ = write!(self.text, " JOIN \"_g{chain}\" ON ");
        } else {
            self.push(" WHERE ");
        }
        self.column(group.joining, joining, group.by);
        self.push(" = ");
        match chain {
            Some(chain) => {
                let _ = write!(self.text, "\"_g{chain}\".id WHERE ");
            }
            None => {
                self.operand(of, table, alias);
                self.push(" AND ");
            }
        }
        self.column(group.joining, joining, group.who);
        self.push(" = ");
        self.operand(who, table, alias);
        self.that_count(group, joining);
        self.push(")");
    }

    /// Whether the chain of ancestors ends, or comes back to where it was, soon enough.
    pub(super) fn shallow(&mut self, of: &Operand, group: &Group, table: usize, alias: usize) {
        self.push("(");
        self.operand(of, table, alias);
        self.push(" IS NOT NULL");
        if let Some(parent) = group.inherits {
            self.push(" AND (");
            let chain = self.ancestors(group, parent, MAX_ANCESTORS + 1, |sql| sql.operand(of, table, alias));
            let _ = write!(
                self.text,
                "SELECT MAX(depth) <= {MAX_ANCESTORS} OR COUNT(DISTINCT CASE WHEN depth <= {MAX_ANCESTORS} THEN id END) <= {MAX_ANCESTORS} FROM \"_g{chain}\")"
            );
        }
        self.push(")");
    }

    /// The ids of the rows of whose group somebody is.
    pub(super) fn ids_of_groups(&mut self, group: &Group, who: &Operand) {
        self.aliases += 1;
        let joining = self.aliases;
        if group.inherits.is_some() {
            let _ = write!(self.text, "WITH RECURSIVE \"_g{joining}\"(id, depth) AS (");
        }
        self.push("SELECT ");
        self.column(group.joining, joining, group.by);
        self.push(if group.inherits.is_some() { ", 0 FROM " } else { " FROM " });
        self.name(&self.table(group.joining).name);
        let _ = write!(self.text, " t{joining} WHERE ");
        self.column(group.joining, joining, group.who);
        self.push(" = ");
        self.operand(who, group.joining, joining);
        self.that_count(group, joining);
        let Some(parent) = group.inherits else { return };
        self.aliases += 1;
        let child = self.aliases;
        let _ = write!(self.text, " UNION SELECT t{child}.\"id\", depth + 1 FROM \"_g{joining}\" JOIN ");
        self.name(&self.table(group.of).name);
        let _ = write!(self.text, " t{child} ON ");
        self.column(group.of, child, parent);
        let _ = write!(self.text, " = \"_g{joining}\".id WHERE depth < {MAX_ANCESTORS}) SELECT id FROM \"_g{joining}\"");
    }

    /// Whom joining rows put into the group of one row.
    pub(crate) fn members(&mut self, group: &Group, of: &str) {
        self.push("SELECT ");
        self.column(group.joining, 0, group.who);
        self.push(" FROM ");
        self.name(&self.table(group.joining).name);
        self.push(" t0 WHERE ");
        self.column(group.joining, 0, group.by);
        self.push(" = ");
        self.bind(&Value::text(of));
        self.push(" AND ");
        self.column(group.joining, 0, group.who);
        self.push(" IS NOT NULL");
        self.that_count(group, 0);
    }

    /// Ids of rows with too many ancestors.
    pub(crate) fn too_deep(&mut self, group: &Group, most: u32) {
        self.push("SELECT t0.\"id\" FROM ");
        self.name(&self.table(group.of).name);
        self.push(" t0 WHERE NOT ");
        self.shallow(&Operand::Column(Collection::ID), group, group.of, 0);
        let _ = write!(self.text, " LIMIT {most}");
    }

    /// `WITH` the ids of a row and its ancestors, nearest first. Returns the number in its name.
    fn ancestors(&mut self, group: &Group, parent: usize, most: usize, of: impl FnOnce(&mut Self)) -> usize {
        self.aliases += 2;
        let (chain, row) = (self.aliases - 1, self.aliases);
        let _ = write!(self.text, "WITH RECURSIVE \"_g{chain}\"(id, depth) AS (SELECT ");
        of(self);
        if self.dialect == Dialect::Postgres {
            self.push("::text COLLATE \"C\"");
        }
        self.push(", 0 UNION ALL SELECT ");
        self.column(group.of, row, parent);
        let _ = write!(self.text, ", depth + 1 FROM \"_g{chain}\" JOIN ");
        self.name(&self.table(group.of).name);
        let _ = write!(self.text, " t{row} ON ");
        self.column(group.of, row, Collection::ID);
        let _ = write!(self.text, " = \"_g{chain}\".id WHERE depth < {most} AND ");
        self.column(group.of, row, parent);
        self.push(" IS NOT NULL) ");
        chain
    }

    /// The joining rows that count.
    fn that_count(&mut self, group: &Group, joining: usize) {
        if group.filter != Predicate::True {
            self.push(" AND ");
            self.predicate(&group.filter, group.joining, joining);
        }
    }
}
