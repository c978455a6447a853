//! Passwords that attackers try first. The list is in the binary; no outside service is asked.

use std::{collections::HashSet, sync::OnceLock};

/// One a line, lower case.
const LIST: &str = include_str!("guessable.txt");
/// Characters that a password needs beside words about the person.
const MIN_BEYOND: usize = 8;
/// Different characters that a password needs.
const MIN_DIFFERENT: usize = 5;

fn list() -> &'static HashSet<&'static str> {
    static SET: OnceLock<HashSet<&'static str>> = OnceLock::new();
    SET.get_or_init(|| LIST.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect())
}

/// The list's entries of several words with nothing between them.
fn joined() -> &'static HashSet<String> {
    static SET: OnceLock<HashSet<String>> = OnceLock::new();
    let join = |line: &&str| line.chars().filter(|char| char.is_alphanumeric()).collect::<String>();
    SET.get_or_init(|| {
        list().iter().filter(|line| line.chars().any(|char| !char.is_alphanumeric())).map(join).filter(|line| line.len() >= 8).collect()
    })
}

/// Whether it is on the list, as it is, doubled, or with digits and signs around it.
pub(super) fn is_common(password: &str) -> bool {
    let folded = password.to_lowercase();
    let listed = |text: &str| list().contains(text);
    let bare = folded.trim_matches(|char: char| !char.is_alphabetic());
    let plain: String = folded.chars().filter(|char| char.is_alphanumeric()).collect();
    listed(&folded) || listed(bare) || listed(&plain) || joined().contains(&plain) || parts_listed(&plain)
}

/// Whether it consists of common words only: `passwordpassword`, `iloveyou123456`.
fn parts_listed(text: &str) -> bool {
    if text.is_empty() {
        return false;
    }
    let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let mut reached = vec![(false, 0usize); places.len()];
    reached[0] = (true, 0);
    for from in 0..places.len() {
        if !reached[from].0 {
            continue;
        }
        for to in from + 3..places.len() {
            if list().contains(&text[places[from]..places[to]]) {
                let parts = reached[from].1 + 1;
                if !reached[to].0 || parts < reached[to].1 {
                    reached[to] = (true, parts);
                }
            }
        }
    }
    // Three or more words are a phrase, which is what people should choose.
    reached.last().is_some_and(|(met, parts)| *met && *parts <= 2)
}

/// Whether it repeats a short piece, counts, or has hardly any different characters.
pub(super) fn is_monotonous(password: &str) -> bool {
    let chars: Vec<char> = password.to_lowercase().chars().collect();
    let different: HashSet<&char> = chars.iter().collect();
    let steps = |by: i64| chars.windows(2).filter(|pair| i64::from(pair[1] as u32) - i64::from(pair[0] as u32) == by).count() * 4 >= chars.len() * 3;
    let repeats = (1..=chars.len() / 3).any(|length| chars.chunks(length).all(|part| chars.starts_with(part)));
    different.len() < MIN_DIFFERENT || steps(1) || steps(-1) || repeats
}

/// Whether little is left after words about the person or the service are taken out.
pub(super) fn says_little_beyond(password: &str, about: &[&str]) -> bool {
    let mut left = password.to_lowercase();
    let mut words: Vec<String> = about.iter().map(|word| word.to_lowercase()).filter(|word| word.chars().count() >= 4).collect();
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    let before = left.len();
    for word in words {
        left = left.replace(&word, "");
    }
    left.len() < before && left.chars().filter(|char| char.is_alphanumeric()).count() < MIN_BEYOND
}

#[cfg(test)]
mod tests {
    use super::*;

    /// AUTHN-04 [V6.2.4 V6.2.12]: at least the 3 000 commonest that are long enough are refused.
    #[test]
    fn the_commonest_are_refused() {
        let long: Vec<&str> = list().iter().copied().filter(|word| word.chars().count() >= super::super::MIN_CHARS).collect();
        assert!(long.len() >= 3000, "only {} are long enough", long.len());
        for word in long {
            assert!(is_common(word) && is_common(&word.to_uppercase()), "{word}");
        }
        // Listed phrases are refused also without spaces, with signs, or in capitals; listed words also with spaces between.
        for refused in [
            "passwordpassword",
            "PasswordPassword1",
            "iloveyou12345678",
            "qwertyuiop123456",
            "correcthorsebatterystaple",
            "correct horse battery staple",
            "Correct-Horse-Battery-Staple!",
            "frequencymodulation",
        ] {
            assert!(is_common(refused) || is_monotonous(refused), "{refused}");
        }
    }

    /// [V6.2.5]: any composition; words, signs and scripts alike.
    #[test]
    fn phrases_are_accepted() {
        for good in [
            "proper pony charger nail",
            "vierzig blaue Zwiebeln",
            "나는 매일 아침 커피를 두 잔 마신다",
            "k3#vP!x9Lq@z7Rw2",
            "🦦🌊!?🪵🧱&%🎈🎹)(🧭🗝=+🪁🥝",
            "tuesday window marble otter",
        ] {
            assert!(!is_common(good) && !is_monotonous(good) && !says_little_beyond(good, &["kim@example.com", "kim", "haechi"]), "{good}");
        }
    }

    /// [V6.2.11]: words about the person and the service are no secret.
    #[test]
    fn patterns_and_context_are_refused() {
        for poor in ["aaaaaaaaaaaaaaaa", "abcabcabcabcabcabc", "abcdefghijklmnopqr", "1234567890123456", "zyxwvutsrqponmlk"] {
            assert!(is_monotonous(poor), "{poor}");
        }
        assert!(says_little_beyond("kim.lee@example.com1", &["kim.lee@example.com"]));
        assert!(says_little_beyond("haechihaechi2026!", &["haechi"]));
        assert!(!says_little_beyond("haechi guards my garden", &["haechi"]));
    }
}
