//! The source of rows: a table under a condition. For some conditions PostgreSQL gets two ways to read it.
//!
//! Decision 19 has the plans that were compared.

use super::{Dialect, Sql, groups::listed, hidden::list_of};
use crate::catalog::Catalog;
use haechi_model::{Collection, Comparison, Index, Operand, Order, Predicate, Table};
use std::fmt::Write;

/// When a page is wanted, up to so many referenced rows are looked up by index. Above, PostgreSQL hashes them.
const FEW: usize = 256;
/// The same when all rows are wanted and the index alone decides.
const FEW_FOR_ALL: usize = 20_000;

/// The row itself, which its own list of references names.
static ROW: Operand = Operand::Column(Collection::ID);

/// An OR of which every part can use an index, at least one of them through a reference.
struct Alternatives<'p> {
    /// Conditions joined with it by AND.
    beside: Vec<&'p Predicate>,
    /// The ORs.
    ors: Vec<&'p [Predicate]>,
    /// Up to so many ids are looked up by index.
    few: usize,
}

impl Sql<'_> {
    /// Whether a condition holds for more than so many rows of a table.
    pub(crate) fn more_than(&mut self, few: u32, table: usize, condition: &Predicate) {
        let _ = write!(self.text, "SELECT COUNT(*) > {few} FROM (");
        self.ids(table, condition);
        let _ = write!(self.text, " LIMIT {})", few + 1);
    }

    /// Prepares a select under a condition: how references are looked up, and the text before the SELECT.
    pub(super) fn before_select(&mut self, table: usize, filter: &Predicate, paged: bool) {
        self.probed |= names_rows(filter);
        self.by_values = !self.probed && !counted(filter).is_empty();
        let Some(found) = self.alternatives(table, filter, paged) else { return };
        let catalog = self.catalog;
        let lists = found.ors.iter().flat_map(|or| or.iter()).flat_map(conjuncts).filter(|part| looked_up(catalog, table, part).is_some());
        for (number, part) in lists.enumerate() {
            let _ = write!(self.text, "{} \"_few{number}\" AS MATERIALIZED (SELECT ARRAY(", if number == 0 { "WITH" } else { "," });
            match (part, listed(part)) {
                (Predicate::Reference { table: target, inner, .. }, _) => self.ids(*target, inner),
                (Predicate::Contains { list, element, .. }, _) => {
                    if let Some(hidden) = list_of(catalog, list, table) {
                        self.listing(hidden, element, table, 0);
                    }
                }
                (_, Some((_, group, who))) => self.ids_of_groups(group, who),
                _ => {}
            }
            let _ = write!(self.text, " LIMIT {}) AS ids)", found.few + 1);
        }
        self.push(" ");
    }

    /// ` FROM the rows WHERE the condition`, with an order and a limit where given.
    pub(super) fn rows(&mut self, table: usize, filter: &Predicate, ordered: Option<(&[Order], u64)>) {
        let Some(found) = self.alternatives(table, filter, ordered.is_some()) else {
            self.from(table);
            self.push(" WHERE ");
            self.predicate(filter, table, 0);
            return self.ordered(table, ordered);
        };
        self.push(" FROM (");
        for few in [true, false] {
            self.push(if few { "(SELECT t0.*" } else { " UNION ALL (SELECT t0.*" });
            self.from(table);
            self.push(if few { " WHERE " } else { " WHERE NOT (" });
            self.guard(table, &found);
            self.push(if few { "" } else { ")" });
            for part in &found.beside {
                self.push(" AND ");
                self.predicate(part, table, 0);
            }
            let mut number = 0;
            for or in &found.ors {
                self.push(" AND ");
                if few { self.by_index(or, table, &mut number) } else { self.joined(or, " OR ", table, 0) }
            }
            self.ordered(table, ordered);
            self.push(")");
        }
        self.push(") t0");
        self.ordered(table, ordered);
    }

    fn from(&mut self, table: usize) {
        self.push(" FROM ");
        self.name(&self.table(table).name);
        self.push(" t0");
    }

    fn ordered(&mut self, table: usize, ordered: Option<(&[Order], u64)>) {
        let Some((order, limit)) = ordered else { return };
        self.order(table, order);
        let _ = write!(self.text, " LIMIT {limit}");
    }

    /// Whether all references lead to few rows; evaluated before any row is read.
    fn guard(&mut self, table: usize, found: &Alternatives<'_>) {
        let catalog = self.catalog;
        let references = found.ors.iter().flat_map(|or| or.iter()).flat_map(conjuncts).filter(|part| looked_up(catalog, table, part).is_some());
        for number in 0..references.count() {
            let _ = write!(self.text, "{}(SELECT cardinality(ids) <= {} FROM \"_few{number}\")", if number == 0 { "" } else { " AND " }, found.few);
        }
    }

    /// An OR in which each reference must be one of a few ids.
    fn by_index(&mut self, or: &[Predicate], table: usize, number: &mut usize) {
        for (at, arm) in or.iter().enumerate() {
            self.push(if at == 0 { "((" } else { " OR (" });
            for (at, part) in conjuncts(arm).enumerate() {
                if at > 0 {
                    self.push(" AND ");
                }
                match looked_up(self.catalog, table, part) {
                    Some(from) => {
                        self.operand(from, table, 0);
                        let _ = write!(self.text, " = ANY((SELECT ids FROM \"_few{number}\")::text[])");
                        *number += 1;
                    }
                    None => self.predicate(part, table, 0),
                }
            }
            self.push(")");
        }
        self.push(")");
    }

    /// The ORs of a condition for which two ways help. SQLite uses its indexes for each part of any OR.
    fn alternatives<'p>(&self, table: usize, filter: &'p Predicate, paged: bool) -> Option<Alternatives<'p>> {
        if self.dialect == Dialect::Sqlite || self.probed {
            return None;
        }
        let mut found = Alternatives { beside: Vec::new(), ors: Vec::new(), few: FEW };
        for part in conjuncts(filter) {
            match part {
                Predicate::Any(arms) if self.worth_two_ways(table, arms) => found.ors.push(arms),
                Predicate::Reference { .. } | Predicate::Member { .. } | Predicate::Contains { .. }
                    if self.worth_two_ways(table, std::slice::from_ref(part)) =>
                {
                    found.ors.push(std::slice::from_ref(part));
                }
                part => found.beside.push(part),
            }
        }
        // Other conditions are checked row by row, and the ids with them, one after the other.
        let index_alone = found.ors.iter().flat_map(|or| or.iter()).all(|arm| !matches!(arm, Predicate::All(_)));
        if !paged && index_alone {
            found.few = FEW_FOR_ALL;
        }
        (!found.ors.is_empty()).then_some(found)
    }

    /// A condition on a column. The organisation, which is the same in all rows, stands beside it where it leads the index.
    pub(super) fn beside_organisation(&mut self, column: usize, table: usize, alias: usize, condition: impl FnOnce(&mut Self)) {
        let Some(organisation) = self.table(table).organisation_beside(column) else { return condition(self) };
        self.push("(");
        self.column(table, alias, organisation);
        self.push(" = '' AND ");
        condition(self);
        self.push(")");
    }

    fn worth_two_ways(&self, table: usize, arms: &[Predicate]) -> bool {
        let indexed = |operand: &Operand| match operand {
            Operand::Column(Collection::ID) => true,
            Operand::Column(column) => self.table(table).led_by(*column).next().is_some(),
            _ => false,
        };
        let served = |part: &Predicate| match part {
            Predicate::Compare(operand, Comparison::Equal, Operand::Constant(_)) | Predicate::OneOf(operand, _) => indexed(operand),
            part => looked_up(self.catalog, table, part).is_some_and(indexed),
        };
        // Of a reference that leads to one row the database knows how many rows it finds.
        let one = |part: &Predicate| matches!(part, Predicate::Reference { table, inner, .. } if names_one(self.table(*table), inner));
        arms.iter().all(|arm| conjuncts(arm).any(served))
            && arms.iter().flat_map(conjuncts).any(|part| looked_up(self.catalog, table, part).is_some() && !one(part))
    }
}

/// The id of a condition that a list of ids answers.
fn looked_up<'p>(catalog: &Catalog, table: usize, part: &'p Predicate) -> Option<&'p Operand> {
    match part {
        Predicate::Reference { from, .. } => Some(from),
        Predicate::Contains { list, element: Operand::Constant(_), expected: true } => list_of(catalog, list, table).map(|_| &ROW),
        part => listed(part).map(|(of, ..)| of),
    }
}

/// A reference for which SQLite must know to how many rows it leads.
pub(crate) struct Counted<'p> {
    pub(crate) table: usize,
    pub(crate) condition: &'p Predicate,
    /// Columns with an equality in the same OR: their rows are wanted as well.
    pub(crate) beside: Vec<usize>,
    pub(crate) in_or: bool,
}

/// The references of a condition, unless it names its rows.
pub(crate) fn counted(filter: &Predicate) -> Vec<Counted<'_>> {
    let mut found = Vec::new();
    if !names_rows(filter) {
        references(filter, &[], false, &mut found);
    }
    found
}

fn references<'p>(predicate: &'p Predicate, beside: &[usize], in_or: bool, found: &mut Vec<Counted<'p>>) {
    match predicate {
        Predicate::All(parts) => parts.iter().for_each(|part| references(part, beside, in_or, found)),
        Predicate::Any(parts) => {
            let equal = |part: &Predicate| match part {
                Predicate::Compare(Operand::Column(column), Comparison::Equal, Operand::Constant(_)) => Some(*column),
                _ => None,
            };
            let beside: Vec<usize> = parts.iter().filter_map(equal).collect();
            parts.iter().for_each(|part| references(part, &beside, true, found));
        }
        Predicate::NotTrue(inner) => references(inner, &[], in_or, found),
        Predicate::Reference { table, inner, .. } => found.push(Counted { table: *table, condition: inner, beside: beside.to_vec(), in_or }),
        _ => {}
    }
}

/// Whether a condition names its rows, so that only a few of them are read.
fn names_rows(filter: &Predicate) -> bool {
    conjuncts(filter).any(|part| {
        matches!(
            part,
            Predicate::Compare(Operand::Column(Collection::ID), Comparison::Equal, Operand::Constant(_))
                | Predicate::OneOf(Operand::Column(Collection::ID), _)
        )
    })
}

/// Whether a condition names a value of a unique column, so that it holds of one row at most.
pub(super) fn names_one(table: &Table, filter: &Predicate) -> bool {
    let unique = |column: usize| {
        let alone = |index: &Index| index.unique && index.columns.len() == table.lead(index) + 1;
        column == Collection::ID || table.led_by(column).any(alone)
    };
    conjuncts(filter)
        .any(|part| matches!(part, Predicate::Compare(Operand::Column(column), Comparison::Equal, Operand::Constant(_)) if unique(*column)))
}

fn conjuncts(predicate: &Predicate) -> impl Iterator<Item = &Predicate> {
    match predicate {
        Predicate::All(parts) => parts.iter(),
        other => std::slice::from_ref(other).iter(),
    }
}
