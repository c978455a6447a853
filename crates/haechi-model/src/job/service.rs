//! Reads `[services.NAME]`.

use super::DeclaredService;
use crate::{name::suggest, section::Section};

/// `[services.NAME]`: the roles with which a service does work of its own. What it does with a key has the roles of the key.
pub(crate) fn read_services(top: &Section<'_>, known: &[String]) -> Vec<DeclaredService> {
    let mut found = Vec::new();
    let Some(services) = top.section("services") else { return found };
    for (name, _, section) in services.named("the service") {
        let mut roles = Vec::new();
        for (role, span) in section.texts("roles").unwrap_or_default() {
            if known.iter().any(|known| known == role) {
                roles.push(role.to_owned());
                continue;
            }
            let help = suggest(role, known.iter().map(String::as_str))
                .map_or_else(|| "add it to `roles`".to_owned(), |near| format!("did you mean `{near}`?"));
            section.error(span, "unknown-role", format!("no role is named `{role}`"), help);
        }
        section.finish();
        found.push(DeclaredService { name: name.to_owned(), roles });
    }
    found
}
