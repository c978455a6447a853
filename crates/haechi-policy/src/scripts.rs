//! Texts that mix scripts. Cedar warns about every mixture, but people write "서울 office". Only a mixture within one word can deceive.

use crate::source::{self, Statement};
use cedar_policy::ValidationWarning;
use haechi_model::Findings;
use unicode_security::{MixedScript, RestrictionLevel, RestrictionLevelDetection};

/// The annotation for an intended mixture.
const MEANT: &str = "mixed_scripts";

/// Whether a warning is about characters of different scripts.
pub(crate) fn is_about_scripts(warning: &ValidationWarning) -> bool {
    matches!(warning, ValidationWarning::MixedScriptString(_) | ValidationWarning::MixedScriptIdentifier(_))
}

/// Reports a mixture, unless it is a usual or an intended one.
pub(crate) fn judge(warning: &ValidationWarning, statement: &Statement, findings: &mut Findings) {
    if statement.policy.annotation(MEANT).is_some_and(|reason| !reason.is_empty()) {
        return;
    }
    let span = source::label(warning, statement.span());
    let text = statement.source.text.get(span.clone()).unwrap_or_default();
    let Some(word) = text.split(|c: char| !c.is_alphanumeric()).find(|word| deceives(word)) else { return };
    findings.error(
        &statement.source,
        Some(span),
        "mixed-scripts",
        format!("`{word}` mixes letters of scripts that look alike within one word"),
        format!("write the word in one script; if it is meant so, say @{MEANT}(\"the reason\") before the policy"),
    );
}

/// Whether one word mixes scripts in an unusual way. Latin may mix with Chinese, Japanese and Korean (UTS 39, *highly restrictive*).
fn deceives(word: &str) -> bool {
    !word.is_single_script() && word.detect_restriction_level() > RestrictionLevel::HighlyRestrictive
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_mix_scripts_and_look_alikes_are_told() {
        for word in ["서울", "office", "日本", "東京tower", "서울office", "大韓민국", "Москва", "3층", "カフェbar"] {
            assert!(!deceives(word), "{word}");
        }
        for word in ["аdmin", "pаypal", "Σum", "оffice"] {
            assert!(deceives(word), "{word}");
        }
    }
}
