//! Rules about how a field's value may change. They hold for every writer.

/// What a change sets by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUpdate {
    /// The time of the change, or its day.
    Now,
    /// The caller; null when they are no person.
    Me,
}

/// The rules of a field.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// Set when the row is created, and never changed.
    pub write_once: bool,
    /// What each change sets the field to. Such a field is written by nobody else.
    pub on_update: Option<OnUpdate>,
    /// The words of an enum that a new row may have.
    pub initial: Option<Vec<String>>,
    /// The words that may follow each word of an enum.
    pub transitions: Option<Vec<(String, Vec<String>)>>,
}

impl Rules {
    /// Whether a new row may have this word.
    #[must_use]
    pub fn begins_with(&self, word: &str) -> bool {
        self.initial.as_ref().is_none_or(|initial| initial.iter().any(|known| known == word))
    }

    /// The rules in one line; empty without any.
    #[must_use]
    pub fn words(&self) -> String {
        let once = self.write_once.then(|| "write_once".to_owned());
        let set = self.on_update.map(|set| format!("on_update {}", if set == OnUpdate::Now { "now" } else { "me" }));
        let initial = self.initial.as_ref().map(|words| format!("initial {}", words.join(", ")));
        let follows =
            |(from, next): &(String, Vec<String>)| format!("{from} -> {}", if next.is_empty() { "nothing".to_owned() } else { next.join(", ") });
        let transitions = self.transitions.as_ref().map(|all| format!("transitions {}", all.iter().map(follows).collect::<Vec<_>>().join("; ")));
        once.into_iter().chain(set).chain(initial).chain(transitions).collect::<Vec<_>>().join("; ")
    }

    /// The words that may follow a word.
    #[must_use]
    pub fn after(&self, word: &str) -> &[String] {
        let of = |transitions: &'_ [(String, Vec<String>)]| transitions.iter().position(|(from, _)| from == word);
        self.transitions.as_ref().and_then(|all| Some(all[of(all)?].1.as_slice())).unwrap_or_default()
    }

    /// The words after which a word may come.
    pub fn before(&self, word: &str) -> impl Iterator<Item = &str> {
        let all = self.transitions.as_deref().unwrap_or_default();
        all.iter().filter(move |(_, next)| next.iter().any(|known| known == word)).map(|(from, _)| from.as_str())
    }
}
