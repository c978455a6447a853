//! The paths that are Haechi's own: no file and no route of a program stands in their place.

/// First segments of paths. Rooms that are not built yet have theirs kept, so that nobody's pages must move later.
pub(crate) const RESERVED: [&str; 19] = [
    "api",
    "auth",
    "jobs",
    "hooks",
    "files",
    "flags",
    "graphql",
    "mcp",
    "oauth",
    "sign-in",
    "account",
    "console",
    "setup",
    "problems",
    "dev",
    ".well-known",
    "healthz",
    "readyz",
    "metrics",
];

/// Whether a path, with or without its first slash, is Haechi's. gRPC's services stand at the root, each under its name.
pub(crate) fn is_reserved(path: &str) -> bool {
    let path = path.strip_prefix('/').unwrap_or(path);
    let first = path.split('/').next().unwrap_or_default();
    RESERVED.contains(&first) || first == "openapi.json" || is_service(first)
}

/// Whether a first segment names a service of gRPC.
pub(crate) fn is_service(first: &str) -> bool {
    first.starts_with("haechi.v1.") || first.starts_with("grpc.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_belongs_to_haechi_by_its_first_segment() {
        for path in [
            "/api",
            "/api/v1/notes",
            "/api/",
            "/graphql",
            "/haechi.v1.Notes/ListNotes",
            "/grpc.health.v1.Health/Check",
            "/openapi.json",
            "/.well-known/x",
        ] {
            assert!(is_reserved(path), "{path}");
        }
        for path in ["/", "/apis", "/index.html", "/assets/api", "/haechi", "", "/API"] {
            assert!(!is_reserved(path), "{path}");
        }
    }
}
