use super::*;
use crate::{App, Collection, Predicate};

fn collection() -> Collection {
    let root = std::env::temp_dir().join(format!("haechi-filter-{}-{:?}", std::process::id(), std::thread::current().id()));
    std::fs::create_dir_all(root.join("collections")).unwrap();
    std::fs::write(root.join("haechi.toml"), "").unwrap();
    let fields = "[fields]\nname = { type = \"text\" }\nage = { type = \"int\" }\ntags = { type = \"list\", of = \"text\" }\ndata = { type = \"json\" }\nborn = { type = \"datetime\" }\nowned_by = { type = \"ref\", to = \"users\" }\n";
    std::fs::write(root.join("collections/things.toml"), fields).unwrap();
    let app = App::load(&root, &[]).map_err(|findings| format!("{findings:?}")).unwrap().0;
    std::fs::remove_dir_all(root).unwrap();
    app.collections[1].clone()
}

#[test]
fn or_binds_closer_than_and() {
    let collection = collection();
    let read = |text: &str| read_filter(text, &collection, None).unwrap().predicate;
    let both = read("age = 1 AND age = 2 OR age = 3");
    assert_eq!(both, read("age = 1 (age = 2 OR age = 3)"));
    assert!(matches!(both, Predicate::All(_)));
    assert_eq!(read("NOT age = 1"), read("-age = 1"));
    assert_eq!(read("age != 1"), read("NOT age = 1"));
    assert_eq!(read("  "), Predicate::True);
}

#[test]
fn every_error_has_its_column() {
    let collection = collection();
    for (text, column) in [
        ("ag = 1", 1),
        ("age = x", 7),
        ("age =", 6),
        ("(age = 1", 9),
        ("age = 1)", 8),
        ("age", 1),
        ("name = \"x", 8),
        ("age = 1 AND", 12),
        ("data = \"{}\"", 1),
        ("owned_by.name = \"x\"", 1),
        ("age = 1; DROP TABLE x", 8),
        ("tags = \"x\"", 1),
        ("born > 2024", 8),
    ] {
        assert_eq!(read_filter(text, &collection, None).map_err(|error| error.column), Err(column), "{text}");
    }
    assert!(read_filter(&"(".repeat(10_000), &collection, None).is_err());
    assert!(read_filter(&"NOT ".repeat(2_000), &collection, None).is_err());
    assert!(read_filter(&"age = 1 ".repeat(101), &collection, None).is_err());
}

#[test]
fn orders_are_read_strictly() {
    let collection = collection();
    let name = collection.field("name").unwrap();
    let order =
        |text: &str| read_order(text, &collection).unwrap().iter().map(|part| (part.column, part.descending, part.nulls_after)).collect::<Vec<_>>();
    assert_eq!(order("name desc"), [(name, true, true)]);
    assert_eq!(order("name"), [(name, false, false)]);
    assert_eq!(order("name nulls_last"), [(name, false, true)]);
    assert_eq!(order("name desc nulls_first"), [(name, true, false)]);
    for bad in [
        "",
        "name down",
        "name nulls_last desc",
        "name desc nulls",
        "name nulls_last nulls_last",
        "name,name",
        "data",
        "title;DROP TABLE notes",
        "name asc desc",
    ] {
        assert!(read_order(bad, &collection).is_err(), "{bad}");
    }
}
