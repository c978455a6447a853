//! The order in which rows of several collections can be made, so that the targets of references exist.

use crate::{App, CollectionId, FieldId, FieldType};

/// Required references in a cycle: no collection in it can get the first row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circle(pub Vec<(CollectionId, FieldId)>);

impl Circle {
    /// The fields with their collections, in the order of the circle: `tasks.project, projects.first`.
    #[must_use]
    pub fn in_words(&self, app: &App) -> String {
        let name = |(of, field): &(CollectionId, FieldId)| {
            let collection = &app.collections[*of];
            format!("{}.{}", collection.name, collection.fields[*field].name)
        };
        self.0.iter().map(name).collect::<Vec<_>>().join(", ")
    }
}

impl App {
    /// The given collections, each after the collections that its references name, as far as such an order exists; for required references
    /// it always does.
    ///
    /// # Errors
    /// Required references form a cycle.
    pub fn in_order_of_references(&self, of: &[CollectionId]) -> Result<Vec<CollectionId>, Circle> {
        let (mut left, mut ordered) = (of.to_vec(), Vec::with_capacity(of.len()));
        while !left.is_empty() {
            let waits = |collection: CollectionId, required| self.waits_for(collection, required, &left).next().is_some();
            let awaited = |collection| left.iter().any(|other| self.waits_for(*other, false, &left).any(|(_, to)| to == collection));
            let free = left.iter().position(|collection| !waits(*collection, false));
            // In a cycle, the first is a collection that others wait for and that itself waits only for optional references.
            let first = || left.iter().position(|collection| !waits(*collection, true) && awaited(*collection));
            match free.or_else(first) {
                Some(at) => ordered.push(left.remove(at)),
                None => return Err(self.circle(&left)),
            }
        }
        Ok(ordered)
    }

    /// References of a collection, only the required ones or all, to others that are still left.
    fn waits_for(&self, from: CollectionId, required: bool, left: &[CollectionId]) -> impl Iterator<Item = (FieldId, CollectionId)> {
        self.collections[from].fields.iter().enumerate().filter_map(move |(at, field)| match field.ty {
            FieldType::Ref { to, .. } if to != from && left.contains(&to) && (field.required || !required) => Some((at, to)),
            _ => None,
        })
    }

    /// Each remaining collection waits for another one, so following them leads back to a collection already seen.
    fn circle(&self, left: &[CollectionId]) -> Circle {
        let (mut seen, mut at): (Vec<(CollectionId, FieldId)>, _) = (Vec::new(), left[0]);
        while let Some((field, to)) = self.waits_for(at, true, left).next() {
            if let Some(begin) = seen.iter().position(|(met, _)| *met == at) {
                return Circle(seen.split_off(begin));
            }
            seen.push((at, field));
            at = to;
        }
        Circle(seen)
    }
}

#[cfg(test)]
mod tests {
    use crate::App;

    fn app(name: &str, collections: &[(&str, &str)]) -> App {
        let root = std::env::temp_dir().join(format!("haechi-order-{name}-{}", std::process::id()));
        std::fs::create_dir_all(root.join("collections")).unwrap();
        std::fs::write(root.join("haechi.toml"), "").unwrap();
        for (name, fields) in collections {
            std::fs::write(root.join(format!("collections/{name}.toml")), format!("[fields]\n{fields}")).unwrap();
        }
        let app = App::load(&root, &[]).unwrap_or_else(|findings| panic!("{findings:?}")).0;
        std::fs::remove_dir_all(&root).unwrap();
        app
    }

    fn ordered(app: &App, of: &[&str]) -> Result<Vec<String>, String> {
        let of: Vec<_> = of.iter().map(|name| app.collection(name).unwrap().id).collect();
        let names = |ids: Vec<usize>| ids.into_iter().map(|id| app.collections[id].name.clone()).collect();
        app.in_order_of_references(&of).map(names).map_err(|circle| circle.in_words(app))
    }

    #[test]
    fn what_is_referred_to_comes_first() {
        let app = app(
            "first",
            &[
                ("books", "writer = { type = \"ref\", to = \"writers\", required = true }\nsequel = { type = \"ref\", to = \"books\" }\n"),
                ("loans", "book = { type = \"ref\", to = \"books\" }\n"),
                ("writers", "best = { type = \"ref\", to = \"books\" }\n"),
            ],
        );
        assert_eq!(ordered(&app, &["loans", "books"]).unwrap(), ["books", "loans"]);
        // The optional reference of a cycle waits.
        assert_eq!(ordered(&app, &["loans", "books", "writers"]).unwrap(), ["writers", "books", "loans"]);
    }

    #[test]
    fn a_circle_of_required_references_is_named() {
        let refers = |to: &str| format!("next = {{ type = \"ref\", to = \"{to}\", required = true }}\n");
        let app = app("circle", &[("apples", &refers("berries")), ("berries", &refers("cherries")), ("cherries", &refers("berries"))]);
        assert_eq!(ordered(&app, &["apples", "berries", "cherries"]).unwrap_err(), "berries.next, cherries.next");
        assert_eq!(ordered(&app, &["apples", "berries"]).unwrap(), ["berries", "apples"]);
    }
}
