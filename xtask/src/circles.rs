//! Cycles of files within a crate that import each other: a file in a cycle cannot be read without all others. Known cycles are listed; the
//! list only gets shorter.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Cycles that stay for now, and why.
const KNOWN: &[(&str, &str)] = &[(
    "haechi-model: group list lookup operand predicate",
    "a condition is of operands, and an operand may choose by a condition; lists are both, and a group says by a condition which rows count",
)];

/// A file's place among the modules of its crate.
type Module = Vec<String>;
/// The files that each imports.
type Imports = BTreeMap<Module, BTreeSet<Module>>;

/// The paths that the text of `use` names, without what is written in braces.
fn paths(text: &str) -> Vec<Vec<String>> {
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (mut found, mut rest) = (Vec::new(), vec![(String::new(), text)]);
    while let Some((before, text)) = rest.pop() {
        let Some((head, inner)) = text.split_once('{') else {
            let whole = format!("{before}{text}");
            let path = whole.split(" as ").next().unwrap_or_default();
            found.push(path.split("::").map(|part| part.trim().to_owned()).collect());
            continue;
        };
        let before = format!("{before}{}", head.trim());
        let (mut depth, mut part) = (0, String::new());
        for letter in inner.chars() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                _ => {}
            }
            if letter == ',' && depth == 0 {
                rest.push((before.clone(), std::mem::take(&mut part).trim().to_owned()));
            } else {
                part.push(letter);
            }
        }
        if !part.trim().is_empty() {
            rest.push((before, part.trim().to_owned()));
        }
    }
    found
}

/// What a file imports and what it hands on, without its tests.
fn uses(text: &str) -> (Vec<Vec<String>>, Vec<Vec<String>>) {
    let text = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
    let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let code = code.join("\n");
    let (mut imports, mut hands_on) = (Vec::new(), Vec::new());
    for (at, _) in code.match_indices("use ") {
        let before = code[..at].rsplit('\n').next().unwrap_or_default().trim();
        if !(before.is_empty() || before == "pub" || before.starts_with("pub(") && before.ends_with(')')) {
            continue;
        }
        let Some(statement) = code[at + 4..].split(';').next() else { continue };
        if before.is_empty() { imports.extend(paths(statement)) } else { hands_on.extend(paths(statement)) }
    }
    // Paths that stand in the code itself.
    for (at, _) in code.match_indices("crate::") {
        let path: String = code[at..].chars().take_while(|letter| letter.is_alphanumeric() || matches!(letter, '_' | ':')).collect();
        imports.push(path.split("::").map(str::to_owned).collect());
    }
    (imports, hands_on)
}

/// All files of a crate, by module.
fn files(folder: &Path, module: &Module, found: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let below = |name: &str| module.iter().cloned().chain([name.to_owned()]).collect::<Module>();
        if path.is_dir() {
            files(&path, &below(&name), found);
        } else if let Some(stem) = name.strip_suffix(".rs").filter(|stem| !["main", "tests"].contains(stem)) {
            let text = fs::read_to_string(&path).unwrap_or_default();
            found.insert(if ["mod", "lib"].contains(&stem) { module.clone() } else { below(stem) }, text);
        }
    }
}

/// The file that a path from a module leads to, through what others hand on.
fn target(from: &[String], path: &[String], handed: &BTreeMap<Module, Vec<Vec<String>>>, depth: usize) -> Option<Module> {
    let (mut at, mut path) = (from.to_vec(), path);
    match path.first().map(String::as_str)? {
        "crate" => (at, path) = (Vec::new(), &path[1..]),
        "self" => path = &path[1..],
        "super" => {
            while path.first().is_some_and(|part| part == "super") {
                at.pop();
                path = &path[1..];
            }
        }
        child => {
            at.push(child.to_owned());
            if !handed.contains_key(&at) {
                return None;
            }
            path = &path[1..];
        }
    }
    while let Some(next) = path.first() {
        at.push(next.clone());
        if !handed.contains_key(&at) {
            at.pop();
            break;
        }
        path = &path[1..];
    }
    let known = handed.get(&at)?;
    if let Some(name) = path.first()
        && depth < 6
        && let Some(from) = known.iter().find(|handed| handed.last() == Some(name))
        && let Some(found) = target(&at, from, handed, depth + 1)
    {
        return Some(found);
    }
    Some(at)
}

fn imports(source: &Path) -> Imports {
    let mut texts = BTreeMap::new();
    files(source, &Vec::new(), &mut texts);
    let used: BTreeMap<&Module, _> = texts.iter().map(|(module, text)| (module, uses(text))).collect();
    let handed = used.iter().map(|(module, (_, handed))| ((*module).clone(), handed.clone())).collect();
    let of = |(module, (imported, _)): (&&Module, &(Vec<Vec<String>>, _))| {
        let found = imported.iter().filter_map(|path| target(module, path, &handed, 0)).filter(|found| found != *module);
        ((*module).clone(), found.collect())
    };
    used.iter().map(of).collect()
}

/// Everything that can be reached from a file.
fn reached(from: &Module, imports: &Imports) -> BTreeSet<Module> {
    let (mut todo, mut found) = (vec![from], BTreeSet::new());
    while let Some(module) = todo.pop() {
        for next in imports.get(module).into_iter().flatten() {
            if found.insert(next.clone()) {
                todo.push(next);
            }
        }
    }
    found
}

/// The circles of a crate, each as its name and its files.
pub(crate) fn circles(name: &str, source: &Path) -> BTreeSet<String> {
    let imports = imports(source);
    let reach: BTreeMap<&Module, BTreeSet<Module>> = imports.keys().map(|module| (module, reached(module, &imports))).collect();
    let mut found = BTreeSet::new();
    for (module, reached) in reach.iter().filter(|(module, reached)| reached.contains(**module)) {
        let circle: Vec<String> =
            reached.iter().filter(|other| reach.get(other).is_some_and(|back| back.contains(*module))).map(|module| module.join("/")).collect();
        found.insert(format!("{name}: {}", circle.join(" ")));
    }
    found
}

/// The crates of the workspace with their sources.
pub(crate) fn crates() -> Vec<(String, std::path::PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let below = |folder: &str| {
        let entries = fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
        entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path().join("src"))).collect::<Vec<_>>()
    };
    let mut found = [below("crates"), below("libs"), vec![("xtask".to_owned(), root.join("xtask/src"))]].concat();
    found.sort();
    found
}

/// Prints the circles that there are.
pub(crate) fn run() -> crate::Outcome {
    let found: BTreeSet<String> = crates().iter().flat_map(|(name, source)| circles(name, source)).collect();
    for circle in &found {
        let why = KNOWN.iter().find(|(known, _)| known == circle).map_or("not in the list", |(_, why)| why);
        println!("{circle}\n  {why}");
    }
    match found.iter().find(|circle| KNOWN.iter().all(|(known, _)| known != circle)) {
        Some(circle) => Err(format!("a new circle of files: {circle}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_import_each_other_in_no_new_circle() {
        let found: BTreeSet<String> = crates().iter().flat_map(|(name, source)| circles(name, source)).collect();
        let known: BTreeSet<String> = KNOWN.iter().map(|(circle, _)| (*circle).to_owned()).collect();
        assert_eq!(found, known, "circles that are there, and circles of the list");
    }

    #[test]
    fn a_circle_is_found_through_what_is_handed_on() {
        let folder = std::env::temp_dir().join(format!("haechi-circles-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("lib.rs", "mod a;\nmod b;\nmod c;\npub use a::{One, Two};\n");
        write("a.rs", "use crate::{b::{self, Other as Renamed}, std_like};\npub struct One;\n");
        write("b/mod.rs", "pub use inner::Other;\nmod inner;\n");
        write("b/inner.rs", "use std::fmt;\nfn f(_: crate::Two) {}\n");
        write("c.rs", "use super::a::One;\n#[cfg(test)]\nmod tests {\n    use crate::b;\n}\n");
        assert_eq!(circles("x", &folder), BTreeSet::from(["x: a b/inner".to_owned()]));
        fs::remove_dir_all(&folder).unwrap();
    }
}
