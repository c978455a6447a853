//! `pattern` of a text field: ECMA-262 meaning, linear time only, always the whole value.

use regex::Regex;

/// The largest compiled pattern.
const MAX_COMPILED_BYTES: usize = 1 << 18;

/// A compiled pattern that matches whole values.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

impl Pattern {
    /// Compiles a pattern; the error says what is not supported.
    pub(crate) fn compile(text: &str) -> Result<Self, String> {
        let translated = translate(text)?;
        let regex = regex::RegexBuilder::new(&format!(r"\A(?:{translated})\z"))
            .size_limit(MAX_COMPILED_BYTES)
            .build()
            .map_err(|error| error.to_string().lines().last().unwrap_or("not a pattern").trim_start_matches("error: ").to_owned())?;
        Ok(Self { text: text.to_owned(), regex })
    }

    /// Whether the whole value matches.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        self.regex.is_match(value)
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// ECMA-262's `\d \w \s .` are not Rust's; everything else that both know means the same.
fn translate(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len() + 16);
    let mut in_class = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                let escaped = chars.next().ok_or("the pattern ends with `\\`")?;
                match (escaped, in_class) {
                    ('d', true) => out.push_str("0-9"),
                    ('d', false) => out.push_str("[0-9]"),
                    ('D', false) => out.push_str("[^0-9]"),
                    ('w', true) => out.push_str("0-9A-Za-z_"),
                    ('w', false) => out.push_str("[0-9A-Za-z_]"),
                    ('W', false) => out.push_str("[^0-9A-Za-z_]"),
                    ('s', true) => out.push_str(r"\t\n\x0b\x0c\r \u{a0}\u{feff}\u{2028}\u{2029}\p{Zs}"),
                    ('s', false) => out.push_str(r"[\t\n\x0b\x0c\r \u{a0}\u{feff}\u{2028}\u{2029}\p{Zs}]"),
                    ('S', false) => out.push_str(r"[^\t\n\x0b\x0c\r \u{a0}\u{feff}\u{2028}\u{2029}\p{Zs}]"),
                    ('D' | 'W' | 'S', true) => return Err(format!("`\\{escaped}` inside [] is not supported: write the characters out")),
                    ('1'..='9' | 'k', _) => return Err("back-references are not supported: they cannot be matched in linear time".to_owned()),
                    ('b' | 'B', false) => out.push_str(if escaped == 'b' { r"(?-u:\b)" } else { r"(?-u:\B)" }),
                    ('/', _) => out.push('/'),
                    ('u', _) if chars.peek() != Some(&'{') => out.push_str("\\u"),
                    ('A' | 'z' | 'Z' | 'Q' | 'E' | 'a' | 'h', _) => return Err(format!("`\\{escaped}` has no meaning in ECMA-262")),
                    _ => {
                        out.push('\\');
                        out.push(escaped);
                    }
                }
            }
            '[' if in_class => out.push_str("\\["),
            '[' => {
                in_class = true;
                out.push('[');
                if chars.peek() == Some(&'^') {
                    chars.next();
                    out.push('^');
                }
            }
            ']' => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            '.' if !in_class => out.push_str(r"[^\n\r\u{2028}\u{2029}]"),
            '(' if !in_class && chars.peek() == Some(&'?') => {
                let mut ahead = chars.clone();
                ahead.next();
                match (ahead.next(), ahead.next()) {
                    (Some(':'), _) => out.push('('),
                    (Some('<'), Some(next)) if next != '=' && next != '!' => out.push('('),
                    _ => return Err("look-around and inline flags are not supported: they cannot be matched in linear time".to_owned()),
                }
            }
            _ => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_whole_values_in_ecma_meaning() {
        let ssn = Pattern::compile(r"\d{3}-\d{2}-\d{4}").unwrap();
        assert!(ssn.matches("123-45-6789"));
        for bad in ["x123-45-6789", "123-45-6789\n", "١٢٣-45-6789"] {
            assert!(!ssn.matches(bad), "{bad}");
        }
        assert!(Pattern::compile("a|b").unwrap().matches("b"));
        assert!(!Pattern::compile("a|b").unwrap().matches("ab"));
        assert!(!Pattern::compile(".").unwrap().matches("\u{2028}"));
        assert!(Pattern::compile(r"[\w-]+").unwrap().matches("a-b_9"));
    }

    #[test]
    fn refuses_what_is_not_linear() {
        for bad in [r"(a)\1", "(?=a)b", "(?<!a)b", "(?i)a", r"a\", "(", "a{1000}{1000}{1000}"] {
            assert!(Pattern::compile(bad).is_err(), "{bad}");
        }
    }
}
