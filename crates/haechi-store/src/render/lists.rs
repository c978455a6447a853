//! Conditions on lists, which are stored as JSON text.

use super::{Dialect, Sql, hidden::list_of};
use haechi_model::{Elements, Operand, Relation};

impl Sql<'_> {
    pub(super) fn empty(&mut self, list: &Operand, expected: bool, table: usize, alias: usize) {
        self.push(if self.dialect == Dialect::Sqlite { "json_array_length(" } else { "jsonb_array_length((" });
        self.operand(list, table, alias);
        self.push(if self.dialect == Dialect::Sqlite { ")" } else { ")::jsonb)" });
        self.push(if expected { " = 0" } else { " > 0" });
    }

    pub(super) fn contains(&mut self, list: &Operand, element: &Operand, expected: bool, table: usize, alias: usize) {
        if !expected {
            self.push("(");
            self.operand(list, table, alias);
            self.push(" IS NOT NULL AND ");
            self.operand(element, table, alias);
            self.push(" IS NOT NULL AND NOT ");
        }
        match list_of(self.catalog, list, table) {
            Some(hidden) => self.lists(hidden, element, table, alias),
            None => {
                self.some_item(list, "j", table, alias);
                self.item("j");
                self.push(" = ");
                self.as_item(element, table, alias);
                self.push(")");
            }
        }
        self.push(if expected { "" } else { ")" });
    }

    /// Compares a list with elements. For a NULL list the result is never true.
    pub(super) fn related(&mut self, list: &Operand, relation: Relation, elements: &Elements, expected: bool, at: (usize, usize)) {
        let (table, alias) = at;
        self.push("(");
        self.operand(list, table, alias);
        self.push(" IS NOT NULL AND ");
        if let Elements::Of(other) = elements {
            self.operand(other, table, alias);
            self.push(" IS NOT NULL AND ");
        }
        // Within: no item is outside the elements.
        if (relation == Relation::Within) == expected {
            self.push("NOT ");
        }
        self.some_item(list, "j", table, alias);
        self.push("(");
        match elements {
            Elements::These(these) => {
                self.item("j");
                self.push(" IN (");
                for (at, element) in these.iter().enumerate() {
                    if at > 0 {
                        self.push(", ");
                    }
                    self.as_item(element, table, alias);
                }
                self.push(")");
            }
            Elements::Of(other) => {
                self.some_item(other, "k", table, alias);
                self.item("k");
                self.push(" = ");
                self.item("j");
                self.push(")");
            }
        }
        self.push(")");
        if relation == Relation::Within {
            self.push(" IS NOT TRUE");
        }
        self.push("))");
    }

    /// `EXISTS (SELECT 1 FROM the items WHERE `, to be closed.
    fn some_item(&mut self, list: &Operand, name: &str, table: usize, alias: usize) {
        let sqlite = self.dialect == Dialect::Sqlite;
        self.push(if sqlite { "EXISTS (SELECT 1 FROM json_each(" } else { "EXISTS (SELECT 1 FROM jsonb_array_elements((" });
        self.operand(list, table, alias);
        self.push(if sqlite { ") " } else { ")::jsonb) " });
        self.push(name);
        self.push(" WHERE ");
    }

    /// An item in the form for comparisons. PostgreSQL compares text; elsewhere true and false are stored as 1 and 0.
    fn item(&mut self, name: &str) {
        if self.dialect == Dialect::Sqlite {
            self.push(name);
            return self.push(".value");
        }
        for part in
            ["(CASE jsonb_typeof(", name, ") WHEN 'boolean' THEN (", name, "::text = 'true')::int::text ELSE ", name, " #>> '{}' END) COLLATE \"C\""]
        {
            self.push(part);
        }
    }

    /// A value in the form in which items are compared.
    fn as_item(&mut self, element: &Operand, table: usize, alias: usize) {
        if self.dialect == Dialect::Sqlite {
            return self.operand(element, table, alias);
        }
        self.push("(");
        self.operand(element, table, alias);
        self.push(")::text");
    }
}
