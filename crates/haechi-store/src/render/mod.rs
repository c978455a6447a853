//! Statements and conditions to SQL text. Values are always bound, identifiers come only from the catalog.

mod groups;
pub(crate) mod hidden;
mod lists;
mod source;
mod steps;

use crate::catalog::Catalog;
use haechi_model::{
    Aggregate, AggregateFunction, Collection, Comparison, LikePart, Mask, Operand, Order, Output, PerParent, Predicate, Select, Storage, Table, Value,
};
pub(crate) use source::counted;
use std::{borrow::Cow, fmt::Write};

/// Which SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

/// SQL text and its bound values, in order.
pub(crate) struct Sql<'a> {
    pub(crate) text: String,
    pub(crate) values: Vec<Value>,
    dialect: Dialect,
    catalog: &'a Catalog,
    aliases: usize,
    /// Whether references are looked up row by row, because only few rows are read.
    pub(crate) probed: bool,
    /// Conditions of references that lead to many rows: these are looked up row by row.
    pub(crate) many: Vec<Predicate>,
    /// Whether the best plan depends on the values: on how many rows refer to a row.
    pub(crate) by_values: bool,
}

/// The position of each part in a select's row.
#[derive(Clone)]
pub(crate) struct Layout {
    /// Position of each order column; `id` is 0 and `version` 1.
    pub(crate) order: Vec<usize>,
    /// Per output, the position of its flag, for outputs that only some rows show.
    pub(crate) flags: Vec<Option<usize>>,
    /// Per output, its position; `None` when hidden.
    pub(crate) cells: Vec<Option<usize>>,
    /// Position of each followed reference.
    pub(crate) follow: Vec<usize>,
    /// For pages of parents: position of the column that refers.
    pub(crate) parent: Option<usize>,
}

impl<'a> Sql<'a> {
    pub(crate) fn new(dialect: Dialect, catalog: &'a Catalog) -> Self {
        Self {
            text: String::with_capacity(512),
            values: Vec::with_capacity(8),
            dialect,
            catalog,
            aliases: 0,
            probed: false,
            many: Vec::new(),
            by_values: false,
        }
    }

    pub(crate) fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// A quoted identifier.
    pub(crate) fn name(&mut self, name: &str) {
        self.text.push('"');
        self.text.push_str(name);
        self.text.push('"');
    }

    /// A bound value, with its type where the database would guess.
    pub(crate) fn bind(&mut self, value: &Value) {
        if value.is_null() {
            return self.push("NULL");
        }
        self.values.push(value.clone());
        if self.dialect == Dialect::Sqlite {
            return self.text.push('?');
        }
        let ty = match value {
            Value::Int(_) => "bigint",
            Value::Real(_) => "float8",
            _ => "text",
        };
        let _ = write!(self.text, "${}::{ty}", self.values.len());
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub(crate) fn table_name(&self, table: usize) -> &'a str {
        &self.table(table).name
    }

    pub(crate) fn column_name(&self, table: usize, column: usize) -> &'a str {
        &self.table(table).columns[column].name
    }

    fn table(&self, table: usize) -> &'a Table {
        &self.catalog.tables[table]
    }

    fn column(&mut self, table: usize, alias: usize, column: usize) {
        let _ = write!(self.text, "t{alias}.");
        let name = &self.table(table).columns[column].name;
        self.name(name);
    }

    /// The whole select, with the layout of its rows. Each column is read once, even if it is used several times.
    pub(crate) fn select(&mut self, select: &Select) -> Layout {
        let filter = self.filter_of(select);
        // Parents of one page have few children.
        self.probed = select.per.is_some();
        self.before_select(select.collection, &filter, true);
        self.push("SELECT ");
        let mut read: Vec<usize> = Vec::with_capacity(16);
        for column in [Collection::ID, Collection::VERSION] {
            self.read_once(select.collection, column, &mut read);
        }
        let order = select.order.iter().map(|part| self.read_once(select.collection, part.column, &mut read)).collect();
        let shown = |output: &Output| output.mask != Mask::Hidden;
        let cells = select.outputs.iter().map(|output| shown(output).then(|| self.read_once(select.collection, output.field, &mut read))).collect();
        let follow = select.follow.iter().map(|field| self.read_once(select.collection, *field, &mut read)).collect();
        let parent = select.per.as_ref().map(|per| self.read_once(select.collection, per.column, &mut read));
        let mut next = read.len();
        let mut flags: Vec<Option<usize>> = Vec::with_capacity(select.outputs.len());
        for (at, output) in select.outputs.iter().enumerate() {
            let Mask::When(condition) = &output.mask else {
                flags.push(None);
                continue;
            };
            if let Some(twin) = select.outputs[..at].iter().position(|other| other.mask == output.mask) {
                flags.push(flags[twin]);
                continue;
            }
            self.push(", CASE WHEN ");
            // For the rows of one page.
            let probed = std::mem::replace(&mut self.probed, true);
            self.predicate(condition, select.collection, 0);
            self.probed = probed;
            self.push(" THEN 1 ELSE 0 END");
            if self.dialect == Dialect::Postgres {
                self.push("::bigint");
            }
            flags.push(Some(next));
            next += 1;
        }
        match &select.per {
            None => self.rows(select.collection, &filter, Some((&select.order, u64::from(select.limit) + 1))),
            Some(per) => self.tail_per_parent(select, &filter, per),
        }
        Layout { order, flags, cells, follow, parent }
    }

    /// The position of a column among the read columns; adds it when it is new.
    fn read_once(&mut self, table: usize, column: usize, read: &mut Vec<usize>) -> usize {
        if let Some(at) = read.iter().position(|known| *known == column) {
            return at;
        }
        if !read.is_empty() {
            self.push(", ");
        }
        self.column(table, 0, column);
        read.push(column);
        read.len() - 1
    }

    /// The filter, the place after which the page begins, and the parents, as one condition.
    fn filter_of<'s>(&self, select: &'s Select) -> Cow<'s, Predicate> {
        let after = select.after.as_ref().map(|after| self.keyset(select.collection, &select.order, after));
        let per = select.per.as_ref().map(|per| {
            let ids = per.ids.iter().map(|id| Value::Text(id.clone())).collect();
            Predicate::OneOf(Operand::Column(per.column), ids)
        });
        if after.is_none() && per.is_none() {
            return Cow::Borrowed(&select.filter);
        }
        Cow::Owned(Predicate::all(std::iter::once(select.filter.clone()).chain(after).chain(per)))
    }

    fn order(&mut self, table: usize, order: &[Order]) {
        for (at, part) in order.iter().enumerate() {
            self.push(if at == 0 { " ORDER BY " } else { ", " });
            self.column(table, 0, part.column);
            let nullable = self.table(table).columns[part.column].nullable;
            if part.descending {
                self.push(" DESC");
            }
            // For SQLite null is the smallest value, for PostgreSQL the largest.
            if nullable && (self.dialect == Dialect::Postgres || part.nulls_after != part.descending) {
                self.push(if part.nulls_after { " NULLS LAST" } else { " NULLS FIRST" });
            }
        }
    }

    /// The rows of each parent, numbered by a subquery; the outer query keeps the first ones. Both call the rows `t0`, so that columns and
    /// masks are written as in any other query.
    fn tail_per_parent(&mut self, select: &Select, filter: &Predicate, per: &PerParent) {
        self.push(" FROM (SELECT t0.*, ROW_NUMBER() OVER (PARTITION BY ");
        self.column(select.collection, 0, per.column);
        self.order(select.collection, &select.order);
        self.push(") AS \"_number\"");
        self.rows(select.collection, filter, None);
        let _ = write!(self.text, ") t0 WHERE t0.\"_number\" <= {} ORDER BY ", u64::from(select.limit) + 1);
        self.column(select.collection, 0, per.column);
        self.push(", t0.\"_number\"");
    }

    /// The results of an aggregate: a column for each part, two for a sum.
    pub(crate) fn aggregate(&mut self, aggregate: &Aggregate) {
        let real = |column: usize| self.catalog.tables[aggregate.collection].columns[column].storage == Storage::Real;
        let reals: Vec<bool> = aggregate.parts.iter().map(|(_, column)| column.is_some_and(real)).collect();
        let cast = |ty: &'static str| if self.dialect == Dialect::Postgres { ty } else { "" };
        let (bigint, float) = (cast("::bigint"), cast("::float8"));
        self.before_select(aggregate.collection, &aggregate.filter, false);
        self.push("SELECT ");
        for (at, ((function, column), real)) in aggregate.parts.iter().zip(reals).enumerate() {
            if at > 0 {
                self.push(", ");
            }
            let Some(column) = *column else {
                self.push("COUNT(*)");
                self.push(bigint);
                continue;
            };
            let (before, after, cast) = match function {
                AggregateFunction::Count => ("COUNT(", ")", bigint),
                AggregateFunction::Min => ("MIN(", ")", ""),
                AggregateFunction::Max => ("MAX(", ")", ""),
                AggregateFunction::Average => ("AVG(", ")", float),
                AggregateFunction::Sum if real => ("SUM(", ")", float),
                // In two parts, neither of which overflows.
                AggregateFunction::Sum => ("SUM(", " / 1000000000)", bigint),
            };
            self.push(before);
            self.column(aggregate.collection, 0, column);
            self.push(after);
            self.push(cast);
            if *function == AggregateFunction::Sum && !real {
                self.push(", SUM(");
                self.column(aggregate.collection, 0, column);
                self.push(" % 1000000000)");
                self.push(bigint);
            }
        }
        self.rows(aggregate.collection, &aggregate.filter, None);
        if aggregate.group_by.is_empty() {
            return;
        }
        for (at, column) in aggregate.group_by.iter().enumerate() {
            self.push(if at == 0 { " GROUP BY " } else { ", " });
            self.column(aggregate.collection, 0, *column);
        }
        let order: Vec<Order> = aggregate.group_by.iter().map(|column| Order::new(*column, false)).collect();
        self.order(aggregate.collection, &order);
        let _ = write!(self.text, " LIMIT {}", aggregate.limit);
    }

    /// Rows after a place in an order.
    fn keyset(&self, table: usize, order: &[Order], after: &[Value]) -> Predicate {
        let mut whole = Predicate::False;
        for (part, value) in order.iter().zip(after).rev() {
            let column = || Operand::Column(part.column);
            let nullable = self.table(table).columns[part.column].nullable;
            let compare = |comparison| Predicate::Compare(column(), comparison, Operand::Constant(value.clone()));
            let (above, from) = match part.descending {
                false => (Comparison::Greater, Comparison::GreaterOrEqual),
                true => (Comparison::Less, Comparison::LessOrEqual),
            };
            let (beyond, same, bound) = match (value.is_null(), part.nulls_after) {
                (true, false) => (Predicate::NotNull(column()), Predicate::IsNull(column()), Predicate::True),
                (true, true) => (Predicate::False, Predicate::IsNull(column()), Predicate::True),
                (false, true) if nullable => {
                    (Predicate::any([compare(above), Predicate::IsNull(column())]), compare(Comparison::Equal), Predicate::True)
                }
                (false, _) => (compare(above), compare(Comparison::Equal), compare(from)),
            };
            // The bound is implied; with it the index starts at the place instead of at the beginning.
            let tail = Predicate::all([same, whole]);
            whole = if tail == Predicate::False { beyond } else { Predicate::all([bound, Predicate::any([beyond, tail])]) };
        }
        whole
    }

    /// A condition over the row `t{alias}`.
    pub(crate) fn predicate(&mut self, predicate: &Predicate, table: usize, alias: usize) {
        match predicate {
            Predicate::True => self.push(if self.dialect == Dialect::Sqlite { "1" } else { "TRUE" }),
            Predicate::False => self.push(if self.dialect == Dialect::Sqlite { "0" } else { "FALSE" }),
            Predicate::All(parts) => self.joined(parts, " AND ", table, alias),
            Predicate::Any(parts) => self.joined(parts, " OR ", table, alias),
            // It is never NULL, and PostgreSQL can use it for a join.
            Predicate::NotTrue(inner) if self.dialect == Dialect::Postgres && matches!(**inner, Predicate::Reference { .. }) => {
                let probed = std::mem::replace(&mut self.probed, true);
                self.push("NOT ");
                self.predicate(inner, table, alias);
                self.probed = probed;
            }
            Predicate::NotTrue(inner) => {
                self.push("(");
                self.predicate(inner, table, alias);
                self.push(") IS NOT TRUE");
            }
            Predicate::Compare(Operand::Column(column), Comparison::Equal, Operand::Constant(value)) => {
                self.beside_organisation(*column, table, alias, |sql| {
                    sql.column(table, alias, *column);
                    sql.push(" = ");
                    sql.bind(value);
                });
            }
            Predicate::Compare(left, comparison, right) => {
                self.operand(left, table, alias);
                self.push(match comparison {
                    Comparison::Equal => " = ",
                    Comparison::NotEqual => " <> ",
                    Comparison::Less => " < ",
                    Comparison::LessOrEqual => " <= ",
                    Comparison::Greater => " > ",
                    Comparison::GreaterOrEqual => " >= ",
                });
                self.operand(right, table, alias);
            }
            Predicate::OneOf(operand @ Operand::Column(column), values) => {
                self.beside_organisation(*column, table, alias, |sql| sql.listed(operand, " IN (", values, table, alias));
            }
            Predicate::OneOf(operand, values) => self.listed(operand, " IN (", values, table, alias),
            Predicate::NoneOf(operand, values) => self.listed(operand, " NOT IN (", values, table, alias),
            Predicate::IsNull(operand) => {
                self.operand(operand, table, alias);
                self.push(" IS NULL");
            }
            Predicate::NotNull(operand) => {
                self.operand(operand, table, alias);
                self.push(" IS NOT NULL");
            }
            Predicate::Like(operand, parts, expected) => self.like(operand, parts, *expected, table, alias),
            Predicate::Reference { from, table: target, inner } => self.reference(from, *target, inner, table, alias),
            Predicate::Member { .. } => self.member(predicate, table, alias),
            Predicate::Shallow { of, group } => self.shallow(of, group, table, alias),
            Predicate::Contains { list, element, expected } => self.contains(list, element, *expected, table, alias),
            Predicate::Empty(list, expected) => self.empty(list, *expected, table, alias),
            Predicate::Related { list, relation, elements, expected } => self.related(list, *relation, elements, *expected, (table, alias)),
        }
    }

    fn joined(&mut self, parts: &[Predicate], between: &str, table: usize, alias: usize) {
        self.push("(");
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                self.push(between);
            }
            self.predicate(part, table, alias);
        }
        self.push(")");
    }

    fn listed(&mut self, operand: &Operand, word: &str, values: &[Value], table: usize, alias: usize) {
        self.operand(operand, table, alias);
        self.push(word);
        for (at, value) in values.iter().enumerate() {
            if at > 0 {
                self.push(", ");
            }
            self.bind(value);
        }
        self.push(")");
    }

    /// `fk IN (SELECT …)`: hashed where many rows are read. Where few are read, each row looks up its own target.
    fn reference(&mut self, from: &Operand, target: usize, inner: &Predicate, table: usize, alias: usize) {
        let many = self.many.contains(inner);
        if !self.probed && !many {
            self.operand(from, table, alias);
            // PostgreSQL takes a list of unknown length for ten rows, and one row for what it is.
            let one = self.dialect == Dialect::Postgres && source::names_one(self.table(target), inner);
            self.push(if one { " = (" } else { " IN (" });
            self.ids(target, inner);
            return self.push(")");
        }
        self.aliases += 1;
        let other = self.aliases;
        self.push("EXISTS (SELECT 1 FROM ");
        self.name(&self.table(target).name);
        let _ = write!(self.text, " t{other} WHERE t{other}.\"id\" = ");
        self.operand(from, table, alias);
        self.push(" AND ");
        let probed = std::mem::replace(&mut self.probed, true);
        self.predicate(inner, target, other);
        self.probed = probed;
        // Without the limit SQLite makes it a join, and may begin with the larger table.
        self.push(if many { " LIMIT 1)" } else { ")" });
    }

    /// The ids of the rows for which a condition holds.
    fn ids(&mut self, table: usize, condition: &Predicate) {
        self.aliases += 1;
        let alias = self.aliases;
        let _ = write!(self.text, "SELECT t{alias}.\"id\" FROM ");
        self.name(&self.table(table).name);
        let _ = write!(self.text, " t{alias} WHERE ");
        self.predicate(condition, table, alias);
    }

    fn like(&mut self, operand: &Operand, parts: &[LikePart], expected: bool, table: usize, alias: usize) {
        let mut pattern = String::new();
        for part in parts {
            match (part, self.dialect) {
                (LikePart::Any, Dialect::Sqlite) => pattern.push('*'),
                (LikePart::Any, Dialect::Postgres) => pattern.push('%'),
                (LikePart::Literal(text), Dialect::Sqlite) => {
                    for c in text.chars() {
                        if matches!(c, '*' | '?' | '[') {
                            pattern.extend(['[', c, ']']);
                        } else {
                            pattern.push(c);
                        }
                    }
                }
                (LikePart::Literal(text), Dialect::Postgres) => {
                    for c in text.chars() {
                        if matches!(c, '%' | '_' | '\\') {
                            pattern.push('\\');
                        }
                        pattern.push(c);
                    }
                }
            }
        }
        self.operand(operand, table, alias);
        self.push(match (self.dialect, expected) {
            (Dialect::Sqlite, true) => " GLOB ",
            (Dialect::Sqlite, false) => " NOT GLOB ",
            (Dialect::Postgres, true) => " LIKE ",
            (Dialect::Postgres, false) => " NOT LIKE ",
        });
        self.bind(&Value::text(pattern));
    }

    pub(super) fn operand(&mut self, operand: &Operand, table: usize, alias: usize) {
        match operand {
            Operand::Column(column) => self.column(table, alias, *column),
            Operand::Constant(value) => self.bind(value),
            Operand::Follow { from, table: target, then } => {
                self.aliases += 1;
                let inner = self.aliases;
                self.push("(SELECT ");
                self.operand(then, *target, inner);
                self.push(" FROM ");
                self.name(&self.table(*target).name);
                let _ = write!(self.text, " t{inner} WHERE t{inner}.\"id\" = ");
                self.operand(from, table, alias);
                self.push(")");
            }
            Operand::Plus(inner, add) => {
                self.push("(CASE WHEN ");
                self.operand(inner, table, alias);
                if *add >= 0 {
                    self.push(" <= ");
                    self.bind(&Value::Int(i64::MAX - add));
                } else {
                    self.push(" >= ");
                    self.bind(&Value::Int(i64::MIN - add));
                }
                self.push(" THEN ");
                self.operand(inner, table, alias);
                self.push(" + ");
                self.bind(&Value::Int(*add));
                self.push(" END)");
            }
            Operand::Choose(arms) => {
                self.push("(CASE");
                for (condition, operand) in arms {
                    self.push(" WHEN ");
                    self.predicate(condition, table, alias);
                    self.push(" THEN ");
                    self.operand(operand, table, alias);
                }
                self.push(" END)");
            }
        }
    }
}
