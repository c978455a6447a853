//! From the path of a URL to a file below the folder: names, one after the other, none of them hidden and none that goes up.

use percent_encoding::percent_decode_str;

/// The longest name of a file, as in most file systems.
const NAME_BYTES: usize = 255;
/// The deepest file.
const DEPTH: usize = 32;

/// A file below the folder: names with slashes between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Below {
    pub(crate) names: String,
    /// Whether the path ends with a slash, or is the root: it names a folder.
    pub(crate) folder: bool,
}

impl Below {
    /// Reads the path of a URL. `None`: no file can be meant.
    pub(crate) fn read(path: &str) -> Option<Self> {
        let whole = path.strip_prefix('/')?;
        let (path, folder) = match whole.strip_suffix('/') {
            Some(path) => (path, true),
            None => (whole, whole.is_empty()),
        };
        if path.is_empty() {
            // The root is one slash.
            return whole.is_empty().then(|| Self { names: String::new(), folder });
        }
        let mut names = String::with_capacity(path.len());
        for (at, part) in path.split('/').enumerate() {
            let name = percent_decode_str(part).decode_utf8().ok()?;
            if at >= DEPTH || !is_plain(&name) {
                return None;
            }
            if at > 0 {
                names.push('/');
            }
            names.push_str(&name);
        }
        Some(Self { names, folder })
    }
}

/// Whether a name is that of a file which may be served: not hidden, and the same in every file system.
fn is_plain(name: &str) -> bool {
    let strange = |c: char| c.is_control() || matches!(c, '/' | '\\' | ':');
    !name.is_empty() && name.len() <= NAME_BYTES && !name.starts_with('.') && !name.contains(strange)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_goes_down() {
        let read = |path: &str| Below::read(path).map(|below| (below.names, below.folder));
        for (path, names, folder) in [
            ("/", "", true),
            ("/index.html", "index.html", false),
            ("/a/b.js", "a/b.js", false),
            ("/a/", "a", true),
            ("/%ED%95%9C%EA%B5%AD/a%20b.txt", "한국/a b.txt", false),
            ("/a+b%2Bc~.js", "a+b+c~.js", false),
        ] {
            assert_eq!(read(path), Some((names.to_owned(), folder)), "{path}");
        }
    }

    /// [V5.3.2] no path leads out of the folder, or to what is hidden.
    #[test]
    fn no_path_goes_up_or_to_what_is_hidden() {
        let long = format!("/{}", "x".repeat(256));
        let deep = "/a".repeat(33);
        for path in [
            "",
            "index.html",
            "//",
            "//evil.example",
            "/a//b",
            "/..",
            "/../x",
            "/a/../b",
            "/%2e%2e/x",
            "/..%2fx",
            "/a%2fb",
            "/a%5cb",
            "/a\\b",
            "/.git/config",
            "/%2egit",
            "/a/.env",
            "/.",
            "/a/.",
            "/a%00b",
            "/a%0ab",
            "/%ff",
            "/%c0%ae%c0%ae/x",
            "/C:/x",
            "/a:b",
            "/%252e%252e/x%2f",
            &long,
            &deep,
        ] {
            assert_eq!(Below::read(path), None, "{path}");
        }
    }
}
