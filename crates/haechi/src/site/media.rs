//! What a file is, by its name.

use http::HeaderValue;

/// What the name of a file tells.
#[derive(Clone, Debug)]
pub(crate) struct Media {
    pub(crate) content_type: HeaderValue,
    /// Whether compressing helps.
    pub(crate) packs: bool,
    /// Whether it is a page.
    pub(crate) page: bool,
    /// Whether the name changes with the content, so that a copy is good for ever.
    pub(crate) hashed: bool,
}

/// Media types that are no text and become smaller.
const PACKS: [&str; 9] = [
    "application/javascript",
    "application/json",
    "application/manifest+json",
    "application/wasm",
    "application/xml",
    "application/xhtml+xml",
    "image/svg+xml",
    "application/vnd.ms-fontobject",
    "font/ttf",
];

impl Media {
    pub(crate) fn of(name: &str) -> Self {
        let last = name.rsplit('/').next().unwrap_or(name);
        let guessed = match last.rsplit_once('.').map(|(_, ending)| ending) {
            Some("webmanifest") => "application/manifest+json",
            // RFC 9239 knows this name alone.
            Some("js" | "mjs" | "cjs") => "text/javascript",
            _ => mime_guess::from_path(last).first_raw().unwrap_or("application/octet-stream"),
        };
        let text = guessed.starts_with("text/");
        let content_type = if text || guessed.ends_with("json") || guessed.ends_with("javascript") {
            HeaderValue::try_from(format!("{guessed}; charset=utf-8"))
        } else {
            HeaderValue::try_from(guessed)
        };
        Self {
            content_type: content_type.unwrap_or(HeaderValue::from_static("application/octet-stream")),
            packs: text || PACKS.contains(&guessed) || guessed.ends_with("+json") || guessed.ends_with("+xml"),
            page: guessed == "text/html",
            hashed: is_hashed(last),
        }
    }
}

/// Whether a name has a hash before its ending, as bundlers write it: `app.3f9a1c2b.js`, `index-BxY12Qz8.css`.
///
/// A word that looks like a hash would be kept by browsers for ever, so a name must leave no doubt: eight or more hexadecimal digits, or
/// exactly eight capital and small letters and figures, with a figure before a letter (`Photo2024` and `facade42` are words). Others are
/// asked for again, by their tag.
fn is_hashed(name: &str) -> bool {
    let Some((stem, _)) = name.split_once('.').and_then(|_| name.rsplit_once('.')) else { return false };
    // A source map stands beside its script: `app.3f9a1c2b.js.map`.
    let stem = stem.strip_suffix(".js").or_else(|| stem.strip_suffix(".css")).unwrap_or(stem);
    let Some(at) = stem.rfind(['.', '-']) else { return false };
    let part = &stem[at + 1..];
    let has = |of: fn(&char) -> bool| part.chars().any(|c| of(&c));
    let hexadecimal = part.len() >= 8 && part.chars().all(|c| c.is_ascii_digit() || matches!(c, 'a'..='f'));
    let mixed = part.len() == 8
        && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && has(char::is_ascii_uppercase)
        && has(char::is_ascii_lowercase);
    let figure_first = part.as_bytes().windows(2).any(|two| two[0].is_ascii_digit() && two[1].is_ascii_alphabetic());
    at > 0 && figure_first && (hexadecimal || mixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_hash_is_good_for_ever() {
        for hashed in ["app.3f9a1c2b.js", "index-BxY12Qz8.css", "main.min.0a1b2c3d4e5f.js", "app.3f9a1c2b.js.map", "logo-D1wrg9Tx.svg"] {
            assert!(is_hashed(hashed), "{hashed}");
        }
        for plain in [
            "app.js",
            "jquery-3.7.1.min.js",
            "bootstrap-colorpicker.js",
            "report-20240101.pdf",
            "a.deadbeef.js",
            "photo-Settings.png",
            "3f9a1c2b.js",
            "README",
            ".3f9a1c2b.js",
            "index-DiwrgTda.js",
            "x-CamelCase.js",
            "font-Roboto2014.woff2",
            "photo-Test2024.png",
            "the-facade42.png",
            "a.js.map",
        ] {
            assert!(!is_hashed(plain), "{plain}");
        }
    }

    #[test]
    fn a_name_tells_what_a_file_is() {
        let of = |name: &str| Media::of(name).content_type;
        assert_eq!(of("a/index.html"), "text/html; charset=utf-8");
        assert_eq!(of("app.mjs"), "text/javascript; charset=utf-8");
        assert_eq!(of("app.js"), "text/javascript; charset=utf-8");
        assert_eq!(of("x.css"), "text/css; charset=utf-8");
        assert_eq!(of("x.json"), "application/json; charset=utf-8");
        assert_eq!(of("x.webmanifest"), "application/manifest+json; charset=utf-8");
        assert_eq!(of("x.svg"), "image/svg+xml");
        assert_eq!(of("x.woff2"), "font/woff2");
        assert_eq!(of("x.wasm"), "application/wasm");
        assert_eq!(of("x.PNG"), "image/png");
        assert_eq!(of("x"), "application/octet-stream");
        assert_eq!(of("x.unheard-of"), "application/octet-stream");
        assert!(Media::of("x.svg").packs && Media::of("x.js").packs && !Media::of("x.png").packs && !Media::of("x.woff2").packs);
    }
}
