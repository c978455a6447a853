//! Reads `[services.NAME]`.

use super::DeclaredService;
use crate::{
    name::{name_problem, suggest},
    section::Section,
};

/// `[services.NAME]`: the roles with which a service does work of its own. What it does with a key has the roles of the key.
pub(crate) fn read_services(top: &Section<'_>, known: &[String]) -> Vec<DeclaredService> {
    let mut found = Vec::new();
    let Some(services) = top.section("services") else { return found };
    for (name, span, item) in services.entries() {
        if let Some(problem) = name_problem(name) {
            services.error(span, "bad-name", problem, "choose another name");
            continue;
        }
        let Some(table) = item.as_table_like() else {
            services.error(span, "wrong-type", format!("the service `{name}` must be a table"), format!("write [services.{name}]"));
            continue;
        };
        let section = Section::new(services.source, table, item.span().or(span), format!("the service `{name}`"), services.findings());
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
