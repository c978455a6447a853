//! App folders by chance.

use super::NO_LIMITS;

/// A folder by chance: collections of any types and classes that refer to each other, policies on fields of theirs.
pub(super) fn folder(seed: u64) -> Vec<(&'static str, String)> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut pick = move |of: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % of as u64).unwrap()
    };
    let types = [
        "text",
        "text\", case = \"fold",
        "email",
        "url",
        "uuid",
        "int",
        "int64",
        "decimal",
        "float",
        "bool",
        "datetime",
        "date",
        "json",
        "list\", of = \"text",
        "enum\", values = [\"open\", \"b\"], default = \"b",
        "enum\", values = [\"open\", \"b\", \"a\"], ordered = true, default = \"b",
    ];
    let classes = ["public", "internal", "internal", "billing", "pii", "secret", "clinical"];
    let mut policies = String::new();
    let collections = ["alphas", "betas", "gammas"].map(|name| {
        let mut fields = String::from(
            "[fields]\nowner_of = { type = \"ref\", to = \"users\" }\nmark = { type = \"text\", class = \"public\" }\nrank = { type = \"int\" }\n",
        );
        for at in 0..4 + pick(6) {
            fields.push_str(&format!("f{at} = {{ type = \"{}\", class = \"{}\" }}\n", types[pick(types.len())], classes[pick(classes.len())]));
        }
        fields.push_str("alpha = { type = \"ref\", to = \"alphas\", on_delete = \"set_null\" }\n");
        fields.push_str(&format!("up = {{ type = \"ref\", to = \"{}\", on_delete = \"set_null\" }}\n", ["alphas", "betas", "gammas"][pick(3)]));
        fields.push_str("watched = { type = \"list\", of = \"ref\", to = \"users\", on_delete = \"remove\" }\n");
        let (near, class) = (["alphas", "betas", "gammas"][pick(3)], classes[pick(classes.len())]);
        fields.push_str(&format!("near = {{ type = \"list\", of = \"ref\", to = \"{near}\", on_delete = \"remove\", class = \"{class}\" }}\n"));
        let member =
            if name == "alphas" { "when { principal in resource.crew }" } else { "when { resource has alpha && principal in resource.alpha.crew }" };
        let conditions = [
            "",
            member,
            "when { resource has owner_of && resource.owner_of == principal }",
            "when { resource has watched && resource.watched.contains(principal) }",
            "when { resource has up && resource.up has watched && resource.up.watched.contains(principal) }",
            "when { resource has mark && resource.mark == \"open\" }",
            "when { resource has rank && resource.rank > 8 }",
            "when { resource has up && resource.up has mark && resource.up.mark == \"shared\" }",
        ];
        for role in ["one", "two"] {
            for actions in [
                "Action::\"list\", Action::\"read\"",
                "Action::\"create\", Action::\"update\"",
                "Action::\"delete\", Action::\"write_billing\"",
                "Action::\"read_pii\"",
                "Action::\"read_secret\", Action::\"write_pii\"",
                "Action::\"read_clinical\", Action::\"write_secret\", Action::\"write_clinical\"",
            ] {
                if pick(4) > 0 {
                    policies.push_str(&format!(
                        "permit (principal is users in Role::\"{role}\", action in [{actions}], resource is {name}) {};\n",
                        conditions[pick(conditions.len())]
                    ));
                }
            }
            if pick(3) == 0 {
                policies.push_str(&format!(
                    "forbid (principal, action == Action::\"{}\", resource is {name}) when {{ resource has rank && resource.rank == 4 }};\n",
                    ["read", "update", "delete"][pick(3)]
                ));
            }
        }
        fields
    });
    let [mut alphas, betas, gammas] = collections;
    alphas.push_str("[groups.crew]\nthrough = \"betas.owner_of\"\nby = \"alpha\"\nwhere = \"mark = 'open' OR rank > 2\"\n");
    if pick(2) == 0 {
        alphas.push_str("inherits = \"alpha\"\n");
    }
    policies.push_str(
        "permit (principal is users in Role::\"one\", action in [Action::\"list\", Action::\"read\", Action::\"read_pii\"], resource is users);\n",
    );
    vec![
        (
            "haechi.toml",
            format!("roles = [\"one\", \"two\"]\n[classes]\nclinical = {{ like = \"secret\" }}\nbilling = {{ like = \"internal\" }}\n{NO_LIMITS}"),
        ),
        ("collections/alphas.toml", alphas),
        ("collections/betas.toml", betas),
        ("collections/gammas.toml", gammas),
        ("policies/main.cedar", policies),
    ]
}
