//! The language of problems. Code writes problems in English; the English text is the key in the tables of other languages.

mod ko;

use crate::{FieldProblem, Kind, Problem};
use std::{borrow::Cow, collections::HashMap, sync::LazyLock};

/// The language for clients that accept none of ours.
pub const DEFAULT: &str = "en";

/// How deep a message may stand in another.
const MAX_DEPTH: usize = 3;

/// A language: its tag, and its messages by their English text.
struct Language {
    tag: &'static str,
    whole: HashMap<&'static str, &'static str>,
    /// Messages with placeholders: the English parts around them, most specific first.
    patterns: Vec<(Vec<&'static str>, &'static str)>,
}

static OTHERS: LazyLock<[Language; 1]> = LazyLock::new(|| [Language::new("ko", ko::MESSAGES)]);

/// The tag of the language to answer in, by `Accept-Language` (RFC 9110 §12.5.4): the best of ours that is named.
#[must_use]
pub fn preferred(accept: &str) -> &'static str {
    let mut best = (DEFAULT, 0.0);
    for range in accept.split(',') {
        let (tag, quality) = match range.split_once(';') {
            None => (range, 1.0),
            Some((tag, rest)) => (tag, rest.trim().strip_prefix("q=").and_then(|text| text.parse::<f32>().ok()).unwrap_or(0.0)),
        };
        // Lookup (RFC 4647 §3.4): the region does not matter.
        let primary = tag.trim().split('-').next().unwrap_or_default();
        let known = std::iter::once(DEFAULT).chain(OTHERS.iter().map(|language| language.tag)).find(|known| primary.eq_ignore_ascii_case(known));
        if let Some(known) = known
            && quality > best.1
        {
            best = (known, quality);
        }
    }
    best.0
}

/// A message in a language; the English text when there is no translation.
#[must_use]
pub fn translated<'a>(text: &'a str, tag: &str) -> Cow<'a, str> {
    other(tag).and_then(|language| language.say(text, 0)).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// A language other than English.
fn other(tag: &str) -> Option<&'static Language> {
    OTHERS.iter().find(|language| language.tag == tag)
}

impl Problem {
    /// The same problem, told in a language.
    #[must_use]
    pub fn in_language(&self, tag: &str) -> Cow<'_, Self> {
        let Some(language) = other(tag) else { return Cow::Borrowed(self) };
        Cow::Owned(Self {
            kind: Kind { title: language.whole.get(self.kind.title).copied().unwrap_or(self.kind.title), ..self.kind },
            detail: translated(&self.detail, tag).into_owned().into(),
            errors: self.errors.iter().map(|error| error.in_language(tag)).collect(),
            retry_after_s: self.retry_after_s,
        })
    }
}

impl FieldProblem {
    /// The same, told in a language.
    #[must_use]
    pub fn in_language(&self, tag: &str) -> Self {
        Self { detail: translated(&self.detail, tag).into_owned(), ..self.clone() }
    }
}

impl Language {
    fn new(tag: &'static str, messages: &'static [(&'static str, &'static str)]) -> Self {
        let (with, whole): (Vec<_>, Vec<_>) = messages.iter().copied().partition(|(english, _)| english.contains("{}"));
        let mut patterns: Vec<(Vec<&str>, &str)> = with.into_iter().map(|(english, other)| (english.split("{}").collect(), other)).collect();
        let told = |parts: &[&str]| parts.iter().map(|part| part.len()).sum::<usize>();
        patterns.sort_by_key(|(parts, _)| std::cmp::Reverse(told(parts)));
        Self { tag, whole: whole.into_iter().collect(), patterns }
    }

    fn say(&self, text: &str, depth: usize) -> Option<String> {
        if let Some(found) = self.whole.get(text) {
            return Some((*found).to_owned());
        }
        if depth == MAX_DEPTH {
            return None;
        }
        self.patterns.iter().find_map(|(parts, other)| {
            let found = stands_in(text, parts)?;
            let found: Vec<Cow<'_, str>> =
                found.into_iter().map(|inner| self.say(inner, depth + 1).map_or(Cow::Borrowed(inner), Cow::Owned)).collect();
            Some(filled(other, &found))
        })
    }
}

/// A message with its placeholders filled: `{0}` is the first.
fn filled(message: &str, found: &[Cow<'_, str>]) -> String {
    let mut said = String::with_capacity(message.len() + 32);
    let mut left = message;
    while let Some((before, after)) = left.split_once('{') {
        said.push_str(before);
        let place = after.split_once('}').and_then(|(number, rest)| Some((found.get(number.parse::<usize>().ok()?)?, rest)));
        match place {
            Some((text, rest)) => {
                said.push_str(text);
                left = rest;
            }
            None => {
                said.push('{');
                left = after;
            }
        }
    }
    said.push_str(left);
    said
}

/// The texts in the placeholders of a message.
fn stands_in<'a>(text: &'a str, parts: &[&str]) -> Option<Vec<&'a str>> {
    let (first, rest) = parts.split_first()?;
    let mut left = text.strip_prefix(first)?;
    let mut found = Vec::with_capacity(rest.len());
    for (at, part) in rest.iter().enumerate() {
        let last = at + 1 == rest.len();
        let end = if last { left.len().checked_sub(part.len()).filter(|_| left.ends_with(part))? } else { left.find(part)? };
        found.push(&left[..end]);
        left = &left[end + part.len()..];
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::{OTHERS, preferred, translated};
    use crate::kinds::kinds;

    #[test]
    fn the_best_language_is_taken() {
        for (accept, expected) in [
            ("", "en"),
            ("ko", "ko"),
            ("ko-KR,ko;q=0.9,en;q=0.8", "ko"),
            ("en-US,en;q=0.9,ko;q=0.8", "en"),
            ("de, KO;q=0.5", "ko"),
            ("ko;q=0", "en"),
            ("fr", "en"),
            ("*", "en"),
            ("ko;q=x", "en"),
            (",;=q", "en"),
        ] {
            assert_eq!(preferred(accept), expected, "{accept}");
        }
    }

    #[test]
    fn messages_stand_in_messages() {
        assert_eq!(translated("item 3 must be a whole number", "ko"), "3번째 항목: 정수여야 합니다");
        assert_eq!(translated("must be from 1 to 9", "ko"), "1 이상 9 이하여야 합니다");
        assert_eq!(translated("must be one of: {0}, {1}", "ko"), "다음 중 하나여야 합니다: {0}, {1}");
        assert_eq!(translated("something else", "ko"), "something else");
        assert_eq!(translated("must be a whole number", "en"), "must be a whole number");
    }

    /// Every kind has its title and its help in every language, and nothing that stands in a message is lost.
    #[test]
    fn languages_are_whole() {
        for language in OTHERS.iter() {
            for (kind, help) in kinds() {
                assert!(language.whole.contains_key(kind.title) && language.whole.contains_key(help), "{}: {}", language.tag, kind.slug);
            }
            for (parts, other) in &language.patterns {
                for at in 0..parts.len() - 1 {
                    assert!(other.contains(&format!("{{{at}}}")), "{other}");
                }
            }
        }
    }
}
