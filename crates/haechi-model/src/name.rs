//! Names of collections, fields, roles and classes, and the nearest known name for a misspelt one.

/// The longest name of a collection, field, role or class.
pub(crate) const MAX_NAME_LENGTH: usize = 48;

/// Names of fields that cannot be declared, and why.
const RESERVED_FIELDS: &[(&str, &str)] = &[
    ("id", "every row has it"),
    ("create_time", "every row has it"),
    ("update_time", "every row has it"),
    ("version", "every row has it"),
    ("organisation", "it is kept for the organisation that a row belongs to"),
    ("deleted", "it is kept for rows that are deleted and not yet gone"),
];
/// Cedar's own words.
const RESERVED_BY_CEDAR: &[&str] = &["true", "false", "if", "then", "else", "in", "is", "like", "has", "principal", "action", "resource", "context"];

/// Why a name cannot be used.
#[must_use]
pub fn name_problem(name: &str) -> Option<String> {
    let shape = name.bytes().enumerate().all(|(at, byte)| match byte {
        b'a'..=b'z' => true,
        b'0'..=b'9' | b'_' => at > 0,
        _ => false,
    });
    if name.is_empty() || !shape {
        return Some(format!("`{name}` is not a name: write a lower-case letter, then letters, digits or `_`"));
    }
    if name.len() > MAX_NAME_LENGTH {
        return Some(format!("`{name}` is longer than {MAX_NAME_LENGTH} characters"));
    }
    if name.contains("__") {
        return Some(format!("`{name}` holds `__`, which is reserved"));
    }
    None
}

/// Why no field can have this name.
pub(crate) fn reserved_field(name: &str) -> Option<&'static str> {
    RESERVED_FIELDS.iter().find(|(reserved, _)| *reserved == name).map(|(_, why)| *why)
}

/// Why no collection can have this name.
pub(crate) fn reserved_collection(name: &str) -> Option<&'static str> {
    if RESERVED_BY_CEDAR.contains(&name) {
        return Some("it is a word of Cedar, so no policy could name the collection");
    }
    if name == "services" {
        return Some("policies name programs with it");
    }
    (name.starts_with("sqlite_") || name.starts_with("pg_")).then_some("databases keep names that begin so for themselves")
}

/// The known name nearest to a misspelt one, if one is near enough.
#[must_use]
pub fn suggest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known.into_iter().map(|name| (distance(wrong, name), name)).filter(|(distance, name)| *distance <= 1 + name.len() / 4).min().map(|(_, name)| name)
}

fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let cost = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

/// `BlogPost` to `blog_post`: a type's name as one of a field.
#[must_use]
pub fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for (at, c) in name.char_indices() {
        if c.is_ascii_uppercase() && at > 0 && !out.ends_with('_') {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// `blog_post` to `BlogPost`: a name of the folder as one of a type.
#[must_use]
pub fn pascal(name: &str) -> String {
    let part = |part: &str| part.chars().take(1).flat_map(char::to_uppercase).chain(part.chars().skip(1)).collect::<String>();
    name.split('_').map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_the_nearest_name_only_when_near() {
        assert_eq!(suggest("requird", ["required", "class"]), Some("required"));
        assert_eq!(suggest("zzz", ["required", "class"]), None);
    }

    #[test]
    fn names_have_a_shape() {
        assert!(name_problem("patients").is_none());
        for bad in ["", "Patients", "1st", "_x", "a-b", "a__b", &"a".repeat(49)] {
            assert!(name_problem(bad).is_some(), "{bad}");
        }
    }
}
