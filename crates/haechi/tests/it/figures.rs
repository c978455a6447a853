//! Figures that stand in a document and in the code are the same.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The value of a constant that is written as numbers, products and shifts.
fn constant(code: &str, name: &str) -> i64 {
    let at = code.find(&format!("const {name}:")).unwrap_or_else(|| panic!("no constant {name}"));
    let (_, value) = code[at..].split_once(" = ").unwrap();
    let value = value.split(';').next().unwrap();
    let value = value
        .strip_prefix("Duration::from_secs(")
        .or(value.strip_prefix("Duration::from_millis("))
        .map_or(value, |inner| inner.trim_end_matches(')'));
    let factor = |text: &str| -> i64 {
        let text = text.trim().replace('_', "");
        text.parse().unwrap_or_else(|_| constant(code, text.trim()))
    };
    match value.split_once("<<") {
        Some((base, shift)) => factor(base) << factor(shift),
        None => value
            .split('*')
            .map(|text| if text.trim().chars().all(|c| c.is_ascii_uppercase() || c == '_') { constant(code, text.trim()) } else { factor(text) })
            .product(),
    }
}

/// `10 080`.
fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

const DAY: i64 = 24 * 3_600_000;

#[test]
fn documents_say_what_the_code_does() {
    // Document, a sentence with its figure left out, file of the code, constant, and what one of the figure is in the code's unit.
    let figures = [
        ("auth.md", "A person has at most {} keys that are alive", "haechi-identity/src/key/actions.rs", "MAX_KEYS", 1),
        ("auth.md", "Without `expire_time` a key lives for {} days", "haechi-identity/src/key/actions.rs", "DEFAULT_LIFE", DAY),
        ("auth.md", "between one minute and {} days from now", "haechi-identity/src/key/actions.rs", "MAX_LIFE", DAY),
        ("auth.md", "Bodies are JSON objects of at most {} KiB", "haechi-identity/src/body.rs", "MAX_BYTES", 1024),
        ("rest.md", "rows of a page: {} by default", "haechi-data/src/record/query.rs", "DEFAULT_PAGE", 1),
        ("rest.md", "`group_by` | at most {} fields", "haechi-data/src/record/aggregate.rs", "MAX_GROUP_BY", 1),
        ("graphql.md", "in the order of their values, at most {} of them", "haechi-data/src/record/aggregate.rs", "MAX_GROUPS", 1),
        ("rest.md", "all of them together at most {} rows", "haechi-data/src/record/many.rs", "MAX_ROWS", 1),
        ("rest.md", "at most {} fields, each once", "haechi-model/src/filter/resolve.rs", "MAX_ORDER", 1),
        ("rest.md", "and is good for {} hours", "haechi-data/src/record/page_token.rs", "TOKEN_MS", 3_600_000),
        ("rest.md", "`Idempotency-Key: …` (1 to {} visible ASCII characters)", "haechi-data/src/record/http.rs", "MAX_KEY", 1),
        ("commands.md", "a change waits {} milliseconds at most", "haechi-store/src/load.rs", "PATIENCE", 1),
        ("live.md", "more than {} changes were waiting to be read", "haechi-gate/src/live/hub.rs", "QUEUE", 1),
        ("graphql.md", "operations of one document | {} |", "haechi-graphql/src/check.rs", "MAX_OPERATIONS", 1),
        ("graphql.md", "brackets within brackets of the document | {} |", "haechi-graphql/src/check.rs", "MAX_NESTING", 1),
        ("graphql.md", "levels of a filter | {} |", "haechi-graphql/src/input.rs", "MAX_DEPTH", 1),
        ("graphql.md", "subscriptions of one socket | {} |", "haechi-graphql/src/socket.rs", "MAX_OPERATIONS", 1),
        ("model.md", "A collection has at most {} fields, the four of every row included", "haechi-model/src/draft.rs", "MAX_FIELDS", 1),
        ("model.md", "At most {} per collection. A reference gets an index", "haechi-model/src/draft.rs", "MAX_INDEXES", 1),
        ("model.md", "An app has at most {} classes", "haechi-model/src/app.rs", "MAX_CLASSES", 1),
        ("model.md", "An app has at most {} actions in all", "haechi-model/src/app.rs", "MAX_ACTIONS", 1),
        ("model.md", "at most {} characters; no `__`", "haechi-model/src/name.rs", "MAX_NAME_LENGTH", 1),
        ("ledger.md", "`import`, one entry per {} rows", "haechi-gate/src/import/mod.rs", "PART", 1),
        ("ledger.md", "the ids of the first {} requests", "haechi-gate/src/ledger/access.rs", "MAX_REQUESTS", 1),
        ("ledger.md", "are stated anew in entries `rebase`, {} at a time", "haechi-gate/src/ledger/archive.rs", "ROWS", 1),
        ("ledger.md", "cut to {} bytes", "haechi-gate/src/ledger/journal.rs", "ROW_DIGEST_BYTES", 1),
        ("commands.md", "after some {} the rest is not read", "haechi-gate/src/import/row.rs", "MAX_ERRORS", 1),
        ("policies.md", "at most {} steps in all", "haechi-policy/src/lib.rs", "MAX_LEVEL", 1),
        ("policies.md", "the first {} people", "haechi-gate/src/access/examples.rs", "MAX_PEOPLE", 1),
        ("policies.md", "people and the first {} rows of a collection", "haechi-gate/src/access/examples.rs", "MAX_ROWS", 1),
    ];
    let words = ["zero", "one", "two", "three", "four", "five"];
    for (document, sentence, file, name, unit) in figures {
        let value = constant(&read(&format!("crates/{file}")), name) / unit;
        let word = usize::try_from(value).ok().and_then(|value| words.get(value));
        let text = read(&format!("docs/{document}"));
        let said = text.contains(&sentence.replace("{}", &grouped(value))) || word.is_some_and(|word| text.contains(&sentence.replace("{}", word)));
        assert!(said, "docs/{document} does not say \"{}\" as {name} in {file}", sentence.replace("{}", &grouped(value)));
    }
}

/// The counters of attempts, in the table of docs/auth.md and in docs/threat-model.md.
#[test]
fn attempts_are_as_documented() {
    let (code, table, model) = (read("crates/haechi-identity/src/throttle.rs"), read("docs/auth.md"), read("docs/threat-model.md"));
    let mut met = 0;
    for line in code.lines().filter_map(|line| line.split_once(": Rate = Rate { name: \"")) {
        let (name, rest) = line.1.split_once('"').unwrap();
        let number =
            |key: &str| rest.split_once(key).unwrap().1.split([',', ' ', '*']).find(|part| !part.is_empty()).unwrap().parse::<i64>().unwrap();
        let (attempts, minutes) = (number("attempts:"), number("per_ms:"));
        let every = minutes * 60 / attempts;
        let shown = if name == "address" { "network" } else { name };
        let row = table.lines().find(|row| row.starts_with(&format!("| {shown} |"))).unwrap_or_else(|| panic!("no row {shown}"));
        assert!(row.ends_with(&format!("| {attempts} | {every} s | {} |", every + 1)), "{name}: {attempts}, one in {every} s; {row}");
        let sentence = match name {
            "pair" => format!("From one network {attempts} attempts, then one in {every} seconds; from all networks together"),
            "account" => format!("from all networks together {attempts}, then one in {every} seconds"),
            "address" => format!("**Guessing across accounts.** From one network {attempts} attempts, then one in {every} seconds."),
            _ => String::new(),
        };
        assert!(model.contains(&sentence), "docs/threat-model.md: {sentence}");
        met += 1;
    }
    assert_eq!(met, 7);
}

/// The tables of docs/configuration.md are those that the settings declare; HAECHI_WRITE_DOCS=1 writes them.
#[test]
fn the_configuration_reference_is_as_declared() {
    let text = read("docs/configuration.md");
    let mut written = text.clone();
    let mut met = 0;
    for (section, rows) in haechi_model::Config::reference() {
        let (_, part) = text.split_once(&format!("## `[{section}]`")).unwrap_or_else(|| panic!("no section [{section}]"));
        let part = part.split("\n## ").next().unwrap();
        let table = part.lines().filter(|line| line.starts_with('|')).collect::<Vec<_>>().join("\n");
        let head = "| key | meaning | values | default |\n|---|---|---|---|".to_owned();
        let declared: Vec<String> = std::iter::once(head).chain(rows.iter().map(|row| format!("| {} |", row.join(" | ")))).collect();
        written = written.replace(&table, &declared.join("\n"));
        met += rows.len();
    }
    if std::env::var_os("HAECHI_WRITE_DOCS").is_some() {
        std::fs::write(root().join("docs/configuration.md"), &written).unwrap();
        return;
    }
    let differs = written.lines().zip(text.lines()).find(|(declared, found)| declared != found);
    assert!(written == text, "docs/configuration.md is not as declared: {differs:?}; HAECHI_WRITE_DOCS=1 writes it");
    assert!(met > 40, "{met}");
}
