//! Which rows of OWASP ASVS the tests name, and which remain: `cargo xtask trace [LOG]`.
//!
//! LOG is what `cargo xtask test` printed; with it, a row counts only when a test that names it has passed.

use crate::Outcome;
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::{Path, PathBuf},
};

/// A row of the standard that applies to us.
struct Row {
    id: String,
    level: u8,
    where_: String,
}

/// A test and the rows that it names, in its name or in the comment above it.
struct Test {
    name: String,
    place: String,
    rows: Vec<String>,
}

pub(crate) fn run(rest: &[String]) -> Outcome {
    let rows = rows("docs/security/asvs.csv")?;
    let tests = tests()?;
    let passed = match rest.first() {
        None => None,
        Some(path) => Some(passed(&std::fs::read_to_string(path).map_err(|error| format!("{path} cannot be read: {error}"))?)),
    };
    let mut named: BTreeMap<&str, Vec<&Test>> = BTreeMap::new();
    for test in &tests {
        let counts = passed.as_ref().is_none_or(|passed| passed.iter().any(|known| known.contains(&test.name)));
        for row in test.rows.iter().filter(|_| counts) {
            named.entry(row).or_default().push(test);
        }
    }
    let known: HashSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    if let Some((row, tests)) = named.iter().find(|(row, _)| !known.contains(*row)) {
        println!("note: {} names {row}, which does not apply or is no row", tests[0].place);
    }
    for row in rows.iter().filter(|row| named.contains_key(row.id.as_str())) {
        for test in &named[row.id.as_str()] {
            println!("{:<9} L{}  {}  ({})", row.id, row.level, test.name, test.place);
        }
    }
    for level in 1..=3 {
        let of: Vec<&Row> = rows.iter().filter(|row| row.level == level).collect();
        let left: Vec<&&Row> = of.iter().filter(|row| !named.contains_key(row.id.as_str())).collect();
        println!(
            "\nlevel {level}: {} of {} rows are named by a {}test; without one:",
            of.len() - left.len(),
            of.len(),
            if passed.is_some() { "passing " } else { "" }
        );
        let mut by_place: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for row in left {
            by_place.entry(&row.where_).or_default().insert(&row.id);
        }
        for (place, ids) in by_place {
            println!("  {place}: {}", ids.into_iter().collect::<Vec<_>>().join(" "));
        }
    }
    Ok(())
}

/// The rows that apply: fields may be quoted and hold commas and line ends.
fn rows(path: &str) -> Result<Vec<Row>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path} cannot be read: {error}"))?;
    let mut records = records(&text).into_iter();
    let head = records.next().unwrap_or_default();
    let column = |name: &str| head.iter().position(|known| known == name).ok_or_else(|| format!("{path} has no column {name}"));
    let (id, level, applies, place) = (column("id")?, column("level")?, column("applies")?, column("where")?);
    let row = |record: Vec<String>| {
        let applies = record.get(applies).is_some_and(|text| text != "no");
        applies
            .then(|| Some(Row { id: record.get(id)?.clone(), level: record.get(level)?.parse().ok()?, where_: record.get(place)?.clone() }))
            .flatten()
    };
    Ok(records.filter_map(row).collect())
}

fn records(text: &str) -> Vec<Vec<String>> {
    let (mut records, mut record, mut cell, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => record.push(std::mem::take(&mut cell)),
            '\n' if !quoted => {
                record.push(std::mem::take(&mut cell));
                records.push(std::mem::take(&mut record));
            }
            '\r' if !quoted => {}
            other => cell.push(other),
        }
    }
    records
}

fn tests() -> Result<Vec<Test>, String> {
    let (mut files, mut found) = (Vec::new(), Vec::new());
    for root in ["crates", "libs"] {
        collect(Path::new(root), &mut files).map_err(|error| format!("{root} cannot be read: {error}"))?;
    }
    files.sort();
    for path in files {
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        let mut rows: Vec<String> = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.starts_with("//") {
                rows.extend(ids(line));
            } else if let Some(name) = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn ")) {
                let name = name.split('(').next().unwrap_or_default().to_owned();
                if !rows.is_empty() {
                    found.push(Test { name, place: format!("{}:{}", path.display(), at + 1), rows: std::mem::take(&mut rows) });
                }
            } else if !line.starts_with('#') && !line.is_empty() {
                // Inside a body: what a comment there names belongs to the test that holds it.
                if let (false, Some(test)) = (rows.is_empty(), found.last_mut().filter(|test| test.place.starts_with(&*path.to_string_lossy()))) {
                    test.rows.append(&mut rows);
                }
                rows.clear();
            }
        }
    }
    Ok(found)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// All `V1.2.3` in the line.
fn ids(line: &str) -> Vec<String> {
    let part = |text: &str| {
        text.strip_prefix('V').is_some_and(|rest| rest.split('.').count() == 3 && rest.split('.').all(|part| part.parse::<u8>().is_ok()))
    };
    line.split(|char: char| !char.is_ascii_alphanumeric() && char != '.')
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| part(word))
        .map(str::to_owned)
        .collect()
}

/// Names of the tests that a run says have passed.
fn passed(log: &str) -> Vec<String> {
    let name = |line: &str| line.strip_prefix("test ")?.strip_suffix(" ... ok").map(str::to_owned);
    log.lines().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_tests_are_found() {
        assert_eq!(ids("/// AUTHN-20 [V7.4.2 V6.1.1]: text. V1.2 is none, V6.2.8."), ["V7.4.2", "V6.1.1", "V6.2.8"]);
        assert_eq!(records("a,\"b \"\"c\"\",\nd\",e\n"), [["a", "b \"c\",\nd", "e"]]);
        assert_eq!(passed("test a::b::sqlite ... ok\ntest c ... FAILED\n"), ["a::b::sqlite"]);
    }
}
