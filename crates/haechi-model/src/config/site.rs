//! What `[site]` says: the folder of pages, and the content security policy that they are sent with.

use super::settings::{Fault, Form};
use std::path::{Component, Path};

/// Folders of the app that are never served.
const KEPT: [&str; 6] = ["collections", "policies", "seed", "graphql", "mail", "texts"];

/// The directives of CSP level 3 that a page's policy may have. Sandboxing and reports belong to whole documents of others.
const DIRECTIVES: [&str; 22] = [
    "base-uri",
    "child-src",
    "connect-src",
    "default-src",
    "font-src",
    "form-action",
    "frame-ancestors",
    "frame-src",
    "img-src",
    "manifest-src",
    "media-src",
    "object-src",
    "report-to",
    "require-trusted-types-for",
    "script-src",
    "script-src-attr",
    "script-src-elem",
    "style-src",
    "style-src-attr",
    "style-src-elem",
    "trusted-types",
    "worker-src",
];

/// What holds where the folder's own policy does not say it.
const DEFAULTS: [(&str, &str); 5] =
    [("default-src", "'self'"), ("base-uri", "'self'"), ("form-action", "'self'"), ("frame-ancestors", "'none'"), ("object-src", "'none'")];

/// Words that let in scripts which the folder did not write.
const OPEN_WORDS: [&str; 3] = ["'unsafe-inline'", "'unsafe-eval'", "'unsafe-hashes'"];
/// Directives by which scripts, or where a page's paths lead, are chosen.
const OF_SCRIPTS: [&str; 8] =
    ["default-src", "script-src", "script-src-elem", "script-src-attr", "worker-src", "child-src", "object-src", "base-uri"];

/// Whether a source is everywhere: a word that opens, a scheme alone, or any host.
fn is_open(source: &str) -> bool {
    let source = source.to_ascii_lowercase();
    let host = source.split_once("://").map_or(source.as_str(), |(_, host)| host);
    let scheme = source.strip_suffix(':').is_some_and(|name| !name.is_empty() && !name.contains(['/', '\'']));
    OPEN_WORDS.contains(&&*source) || scheme || host == "*" || host.starts_with("*:") || host.starts_with("*/")
}

fn fault(code: &'static str, message: String, help: &str) -> Option<Fault> {
    Some(Fault { code, message, help: help.to_owned() })
}

/// Whether a path goes down from its folder, step by step, past nothing hidden.
fn goes_down(text: &str) -> bool {
    let plain = |part: Component<'_>| matches!(part, Component::Normal(name) if name.to_str().is_some_and(|name| !name.starts_with('.')));
    !text.is_empty() && !text.contains(['\\', '\0']) && !text.ends_with('/') && Path::new(text).components().all(plain)
}

pub(super) static FOLDER: Form = Form {
    words: "a folder below the app's",
    schema: Some(("pattern", r"^[^./\\][^\\]*$")),
    fault: |_, text| {
        let help = "name a folder of its own, e.g. \"web\"";
        if !goes_down(text) {
            return fault("wrong-value", format!("`{text}` is no folder below the app's"), help);
        }
        let first = text.split('/').next().unwrap_or_default();
        if KEPT.contains(&first) {
            return fault("wrong-value", format!("`{first}/` belongs to the app itself and is never served"), help);
        }
        None
    },
};

pub(super) static PAGE: Form = Form {
    words: "a file of the folder",
    schema: Some(("pattern", r"^[^./\\].*\.html$")),
    fault: |_, text| {
        if goes_down(text) && Path::new(text).extension().is_some_and(|ending| ending == "html") {
            return None;
        }
        fault("wrong-value", format!("`{text}` is no page of the folder"), "name a file of [site] folder that ends in .html, e.g. \"index.html\"")
    },
};

pub(super) static POLICY: Form = Form {
    words: "directives of CSP",
    schema: None,
    fault: |_, text| {
        let help = "write it as in the header, e.g. \"img-src 'self' data:; connect-src 'self' https://tiles.example.com\"";
        if text.len() > 2048 || !text.chars().all(|c| c == ' ' || c.is_ascii_graphic() && c != ',') {
            return fault("content-policy", "the policy is too long, or has characters that no policy has".to_owned(), help);
        }
        let mut seen: Vec<&str> = Vec::new();
        for (name, _) in directives(text) {
            if !DIRECTIVES.contains(&name) {
                return fault("content-policy", format!("`{name}` is no directive that is known here"), help);
            }
            if seen.contains(&name) {
                return fault(
                    "content-policy",
                    format!("`{name}` stands twice; browsers take the first alone"),
                    "write its sources in one directive",
                );
            }
            seen.push(name);
        }
        // With no word behind it, this asks for nothing.
        if directives(text).any(|(name, words)| name == "require-trusted-types-for" && words.trim() != "'script'") {
            return fault("content-policy", "`require-trusted-types-for` needs the word 'script'".to_owned(), "set trusted_types = true instead");
        }
        None
    },
};

fn directives(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(';').map(str::trim).filter(|part| !part.is_empty()).map(|part| part.split_once(' ').unwrap_or((part, "")))
}

/// The content security policy of the pages, as a header: what the folder says, and what holds where it says nothing.
pub(super) fn policy(own: &str, trusted_types: bool) -> String {
    let own: Vec<(&str, &str)> = directives(own).collect();
    let missing = DEFAULTS.iter().filter(|(name, _)| own.iter().all(|(own, _)| own != name));
    let typed = trusted_types && own.iter().all(|(name, _)| *name != "require-trusted-types-for");
    let typed = typed.then_some(("require-trusted-types-for", "'script'"));
    let all = missing.chain(&own).copied().chain(typed);
    all.map(|(name, sources)| format!("{name} {}", sources.trim()).trim_end().to_owned()).collect::<Vec<_>>().join("; ")
}

/// Where a policy lets in scripts of others: directive and source.
pub(super) fn opened(own: &str) -> Option<(&str, &str)> {
    let of_scripts = directives(own).filter(|(name, _)| OF_SCRIPTS.contains(name));
    of_scripts.flat_map(|(name, sources)| sources.split(' ').map(move |source| (name, source))).find(|(_, source)| is_open(source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_policy_does_not_say_stays_closed() {
        let closed = "default-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";
        assert_eq!(policy("", false), closed);
        assert_eq!(policy(" ; ", false), closed);
        assert_eq!(
            policy("img-src 'self' data: ; default-src 'none'", false),
            "base-uri 'self'; form-action 'self'; frame-ancestors 'none'; object-src 'none'; img-src 'self' data:; default-src 'none'"
        );
        assert!(policy("", true).ends_with("; require-trusted-types-for 'script'"));
    }

    #[test]
    fn a_policy_that_lets_scripts_in_is_seen() {
        for open in [
            "script-src 'self' 'unsafe-inline'",
            "script-src 'UNSAFE-INLINE'",
            "default-src *",
            "script-src-elem https:",
            "script-src HTTPS:",
            "script-src data:",
            "script-src filesystem:",
            "script-src https://*",
            "script-src *:*",
            "script-src http://*:*",
            "worker-src blob:",
            "base-uri *",
            "object-src *",
        ] {
            assert!(opened(open).is_some(), "{open}");
        }
        for closed in
            ["", "img-src *", "style-src 'unsafe-inline'", "script-src 'self' https://cdn.example.com", "script-src https://*.example.com:8443"]
        {
            assert_eq!(opened(closed), None, "{closed}");
        }
    }

    #[test]
    fn a_folder_goes_down() {
        for good in ["web", "web/dist", "한국어", "a b"] {
            assert!(goes_down(good), "{good}");
        }
        for bad in ["", ".", "..", "/web", "web/..", "../web", "web/", ".git", "web/.git", "web\\x", "./web", "a\0"] {
            assert!(!goes_down(bad), "{bad}");
        }
    }
}
