//! What is shown to be copied works as it stands: the folders of docs/patterns.md, and the template `team` with its walk.

use crate::process::{Dev, done, haechi};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

fn folder(name: &str) -> PathBuf {
    let root = std::env::temp_dir().join(format!("haechi-patterns-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&root);
    root
}

/// The blocks of a section, by the file that their first line names.
fn blocks(section: &str) -> BTreeMap<String, String> {
    let mut files = BTreeMap::from([("haechi.toml".to_owned(), "roles = []\n".to_owned())]);
    for block in section.split("```").skip(1).step_by(2) {
        let mut lines = block.lines().skip(1);
        let name = lines.next().unwrap().trim_start_matches(['#', '/', ' ']).to_owned();
        files.insert(name, lines.collect::<Vec<_>>().join("\n") + "\n");
    }
    files
}

#[test]
fn every_pattern_is_a_folder_that_passes() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/patterns.md")).unwrap();
    let sections: Vec<&str> = text.split("\n## ").skip(1).collect();
    assert_eq!(sections.len(), 11);
    for (at, section) in sections.iter().enumerate() {
        let root = folder(&at.to_string());
        let title = section.lines().next().unwrap();
        for (path, text) in blocks(section) {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let said = done(&haechi(&root, &["check"]));
        assert!(said.contains("0 warnings"), "{title}: {said}");
        let said = done(&haechi(&root, &["test"]));
        assert!(said.contains("cases pass, 0 fail"), "{title}: {said}");
        assert!(section.contains("- PocketBase") && section.contains("- Supabase"), "{title}");
        std::fs::remove_dir_all(root).unwrap();
    }
}

/// A request of the walk: who, method, path, body, and the answer that the line promises.
fn request(line: &str, variables: &[(String, String)]) -> (String, String, String, String, u16) {
    let (command, answer) = line.split_once("   # ").unwrap_or_else(|| panic!("{line} promises nothing"));
    let mut command = command.replace("'$", "$").replace("'\",", "\",").replace("'\"}", "\"}");
    for (name, value) in variables {
        command = command.replace(&format!("${name}"), value);
    }
    let between = |from: &str, to: &str| command.split_once(from).and_then(|(_, rest)| rest.split_once(to)).map(|(found, _)| found.to_owned());
    let body = between("-d '", "}'").or_else(|| between("-d '", "} ")).map(|body| body + "}").unwrap_or_default();
    let method = between("-X ", " ").unwrap_or_else(|| if body.is_empty() { "GET".to_owned() } else { "POST".to_owned() });
    let path = command.rsplit_once("8080").unwrap().1.trim().to_owned();
    (between("$(as ", ")").unwrap(), method, path, body, answer[..3].parse().unwrap())
}

/// The walk of the template's README, request by request.
#[test]
fn the_team_is_walked_through() {
    let root = folder("team");
    done(&std::process::Command::new(env!("CARGO_BIN_EXE_haechi")).arg("new").arg(&root).args(["--template", "team"]).output().unwrap());
    assert!(done(&haechi(&root, &["check"])).contains("0 warnings"));
    assert!(done(&haechi(&root, &["test"])).contains("cases pass, 0 fail"));
    let dev = Dev::start(&root);
    let text = std::fs::read_to_string(root.join("README.md")).unwrap();
    let shell: Vec<&str> = text.split("```sh\n").skip(1).flat_map(|block| block.split("```").next().unwrap().lines()).collect();
    let variables: Vec<(String, String)> = shell
        .iter()
        .filter_map(|line| line.split_once('=').filter(|(name, _)| name.chars().all(|letter| letter.is_ascii_uppercase())))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    assert!(variables.len() >= 3, "{variables:?}");
    let requests: Vec<&&str> = shell.iter().filter(|line| line.starts_with("curl")).collect();
    assert!(requests.len() >= 5);
    for line in requests {
        let (who, method, path, body, status) = request(line, &variables);
        let token = done(&haechi(&root, &["token", &who]));
        let (found, told) = dev.ask(&method, &path, token.trim(), &body);
        assert_eq!(found, status, "{line}\n{method} {path} {body}: {told}");
    }
    dev.end();
    std::fs::remove_dir_all(root).unwrap();
}
