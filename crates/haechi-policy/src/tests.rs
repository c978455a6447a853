use super::*;
use haechi_model::{Alone, Comparison, Operand, Value};

pub(crate) fn app(files: &[(&str, &str)]) -> App {
    static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let root =
        std::env::temp_dir().join(format!("haechi-policy-{}-{}", std::process::id(), NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed)));
    for (path, text) in files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let app = App::load(&root, &[]).map_err(|findings| format!("{findings:?}")).unwrap().0;
    std::fs::remove_dir_all(root).unwrap();
    app
}

const PATIENTS: &str = r#"
[fields]
name = { type = "text", required = true, class = "pii" }
rank = { type = "int" }
doctor = { type = "ref", to = "users", required = true }
second = { type = "ref", to = "users" }
tags = { type = "list", of = "text", required = true }
seen = { type = "datetime", required = true }
price = { type = "decimal", precision = 9, scale = 2, required = true }
rate = { type = "decimal", precision = 9, scale = 4, required = true }
"#;

fn clinic(policies: &str) -> App {
    app(&[("haechi.toml", "roles = [\"doctor\", \"nurse\"]"), ("collections/patients.toml", PATIENTS), ("policies/main.cedar", policies)])
}

fn codes(policies: &str) -> Vec<(&'static str, Option<(usize, usize)>)> {
    match Policies::load(&clinic(policies)) {
        Ok(_) => Vec::new(),
        Err(findings) => findings.list().iter().map(|finding| (finding.code, finding.line_column())).collect(),
    }
}

#[test]
fn an_owner_policy_becomes_a_condition_on_the_column() {
    let app =
        clinic("permit (principal, action in [Action::\"list\", Action::\"read\"], resource is patients) when { resource.doctor == principal };");
    let (policies, _) = Policies::load(&app).map_err(|f| format!("{f:#?}")).unwrap();
    let kim = Principal { kind: PrincipalKind::User, id: "k", roles: &[], row: &[] };
    let patients = app.collection("patients").unwrap();
    let read = policies.action("read").unwrap();
    let expected = Predicate::Compare(Operand::Column(patients.field("doctor").unwrap()), Comparison::Equal, Operand::Constant(Value::text("k")));
    assert_eq!(policies.bind(&kim, read, patients.id, 0), expected);
    assert_eq!(policies.bind(&kim, policies.action("read_pii").unwrap(), patients.id, 0), Predicate::False);
    let nobody = Principal { kind: PrincipalKind::Anonymous, id: "anonymous", roles: &[], row: &[] };
    assert_eq!(policies.bind(&nobody, read, patients.id, 0), Predicate::False);
}

#[test]
fn a_forbid_that_errors_denies() {
    let app = clinic(
        "permit (principal, action == Action::\"read\", resource is patients);
         forbid (principal, action == Action::\"read\", resource is patients) when { resource has rank && resource.rank + 1 > 5 };",
    );
    let (policies, _) = Policies::load(&app).map_err(|f| format!("{f:#?}")).unwrap();
    let kim = Principal { kind: PrincipalKind::User, id: "k", roles: &[], row: &[] };
    let patients = app.collection("patients").unwrap();
    let bound = policies.bind(&kim, policies.action("read").unwrap(), patients.id, 0);
    let mut row = vec![Value::Null; patients.table.columns.len()];
    let rank = patients.field("rank").unwrap();
    for (value, allowed) in [(Value::Null, true), (Value::Int(1), true), (Value::Int(9), false), (Value::Int(i64::MAX), false)] {
        row[rank] = value.clone();
        assert_eq!(bound.holds(&row, &Alone), allowed, "{value:?}");
    }
}

#[test]
fn findings_have_their_place() {
    let misspelt = codes("permit (principal, action == Action::\"read\", resource is patients)\nwhen { resource.docter == principal };");
    assert_eq!(misspelt.first().map(|(code, place)| (*code, *place)), Some(("policy-invalid", Some((2, 8)))));
    assert_eq!(codes("permit (principal, action, resource is patients);")[0].0, "bare-action");
    assert_eq!(codes("permit (principal in Role::\"docter\", action == Action::\"read\", resource is patients);")[0].0, "unknown-role");
    assert_eq!(codes("permit (principal, action == Action::\"read\" resource);")[0].0, "policy-syntax");
    assert_eq!(
        codes("permit (principal, action == Action::\"read\", resource is patients) when { resource has rank && resource.rank * 2 > 4 };")[0].0,
        "not-a-condition"
    );
    assert_eq!(codes("permit (principal, action == Action::\"read\", resource is patients) when { resource.rank > 4 };")[0].0, "policy-invalid");
    assert!(codes("@everything(\"operators repair data\")\npermit (principal in Role::\"doctor\", action, resource);").is_empty());
}

/// A policy on reading patients; its condition begins at line 2, column 8.
fn when(condition: &str) -> String {
    format!("permit (principal is users, action == Action::\"read\", resource is patients)\nwhen {{ {condition} }};")
}

/// Where and why a condition is refused.
fn refused(condition: &str) -> (&'static str, String, Option<(usize, usize)>) {
    let Err(findings) = Policies::load(&clinic(&when(condition))) else { panic!("{condition} loads") };
    let first = &findings.list()[0];
    let source = first.source.as_ref().unwrap();
    (first.code, source.text[first.span.clone().unwrap()].to_owned(), first.line_column())
}

#[test]
fn what_cannot_be_a_condition_is_refused_at_its_part() {
    for (condition, part, column) in [
        ("resource has rank && (resource.rank * 2 > 4 || resource.rank == 1)", "resource.rank * 2", 30),
        (
            "resource.tags.contains(\"a\") && -(if resource has rank then resource.rank else 1) > 0",
            "-(if resource has rank then resource.rank else 1)",
            39,
        ),
        ("resource has rank && 5 - resource.rank > 0", "5 - resource.rank", 29),
        ("resource has rank && resource.rank + resource.rank > 0", "resource.rank + resource.rank", 29),
        ("resource.seen.toDate() < context.now", "resource.seen.toDate()", 8),
        ("context.now.durationSince(resource.seen) > duration(\"1d\")", "context.now.durationSince(resource.seen)", 8),
        ("resource.price.lessThan(resource.rate)", "resource.price.lessThan(resource.rate)", 8),
        ("[resource.price].contains(resource.rate)", "[resource.price].contains(resource.rate)", 8),
        ("[[\"a\"]].contains(resource.tags)", "[[\"a\"]].contains(resource.tags)", 8),
        ("[resource.tags].contains([\"a\"])", "[resource.tags]", 8),
        ("action == Action::\"read\"", "action", 8),
    ] {
        assert_eq!(refused(condition), ("not-a-condition", part.to_owned(), Some((2, column))), "{condition}");
    }
}

/// A policy on the written fields names fields that are there: after a rename it would say nothing, and nobody would be told.
#[test]
fn written_fields_are_fields() {
    let policy = |condition: &str| format!("permit (principal, action == Action::\"update\", resource is patients) when {{ {condition} }};");
    for condition in [
        "context.fields.contains(\"rankk\")",
        "[\"rank\", \"rankk\"].containsAll(context.fields)",
        "!context.fields.containsAny([\"rankk\"])",
        "context.fields == [\"rankk\"]",
        "resource has rank && (if resource.rank > 1 then context.fields.contains(\"rankk\") else true)",
    ] {
        let Err(findings) = Policies::load(&clinic(&policy(condition))) else { panic!("{condition} loads") };
        let first = &findings.list()[0];
        assert_eq!((first.code, &*first.help), ("unknown-field", "did you mean \"rank\"?"), "{condition}: {first:?}");
    }
    for condition in ["context.fields.contains(\"rank\")", "[\"rank\", \"tags\"].containsAll(context.fields)", "context.fields.isEmpty()"] {
        assert!(Policies::load(&clinic(&policy(condition))).is_ok(), "{condition}");
    }
}

/// A set of people is asked for a caller who may be none: the remedy is said, not Cedar's types.
#[test]
fn a_caller_who_may_be_no_person_is_told_apart() {
    let policy =
        |head: &str| format!("permit ({head}, action == Action::\"read\", resource is patients) when {{ [resource.doctor].contains(principal) }};");
    let Err(findings) = Policies::load(&clinic(&policy("principal"))) else { panic!("it loads") };
    let first = &findings.list()[0];
    assert_eq!((first.code, first.help.contains("write `principal is users` in the head")), ("policy-invalid", true), "{first:?}");
    assert!(Policies::load(&clinic(&policy("principal is users"))).is_ok());
}

#[test]
fn a_role_that_is_not_declared_is_refused_wherever_it_stands() {
    for condition in [
        "principal in Role::\"docter\"",
        "resource.doctor in Role::\"docter\"",
        "principal in [Role::\"nurse\", Role::\"docter\"]",
        "resource.doctor is users in Role::\"docter\"",
        "!(resource has second && resource.second in Role::\"docter\")",
    ] {
        let (code, part, _) = refused(condition);
        assert_eq!((code, part.as_str()), ("unknown-role", "Role::\"docter\""), "{condition}");
        assert!(codes(&when(&condition.replace("docter", "doctor"))).is_empty(), "{condition}");
    }
    let head = "forbid (principal in Role::\"docter\", action == Action::\"read\", resource is patients);";
    assert_eq!(codes(head), [("unknown-role", Some((1, 22)))]);
}

/// The forms that were once silently denied. The property test checks their results; this test checks that they are decided.
#[test]
fn set_literals_with_values_of_rows_are_conditions() {
    let kim = Principal { kind: PrincipalKind::User, id: "k", roles: &[], row: &[] };
    for condition in [
        "[\"a\", resource.name].containsAny([\"a\"])",
        "[\"a\", resource.name].containsAll([\"a\"])",
        "!([resource.name].isEmpty())",
        "[\"a\", \"b\"].containsAny([resource.name])",
        "[resource.doctor].containsAny([principal])",
        "[\"a\", \"b\"].containsAll(resource.tags)",
        "resource.tags.containsAny(resource.tags)",
        "resource.tags == [\"a\"]",
        "(if resource has second then resource.second else principal) == principal",
    ] {
        let app = clinic(&when(condition));
        let (policies, _) = Policies::load(&app).map_err(|f| format!("{condition}: {f:#?}")).unwrap();
        let bound = policies.bind(&kim, policies.action("read").unwrap(), app.collection("patients").unwrap().id, 0);
        assert_ne!(bound, Predicate::False, "{condition}");
    }
}

#[test]
fn long_chains_load_however_they_are_nested() {
    let alternative = |n: usize| format!("(resource has rank && resource.rank + {n} == 7)");
    let flat = (0..300).map(alternative).collect::<Vec<_>>().join(" || ");
    assert!(codes(&when(&flat)).is_empty());
    let nested = (0..20).map(|outer| format!("({})", (0..10).map(|n| alternative(outer * 10 + n)).collect::<Vec<_>>().join(" || ")));
    assert!(codes(&when(&nested.collect::<Vec<_>>().join(" || "))).is_empty());
    let mixed = (0..60).fold("resource.price == resource.price".to_owned(), |inner, n| {
        if n % 2 == 0 { format!("({inner} && {})", alternative(n)) } else { format!("({inner} || {})", alternative(n)) }
    });
    let Err(findings) = Policies::load(&clinic(&when(&mixed))) else { panic!("a mixture that grows too large loads") };
    let finding = &findings.list()[0];
    assert!(finding.message.contains("most of them by `") && finding.help.contains("contains"), "{finding:?}");
}

/// What nobody means to write is refused, and takes nobody's process with it.
#[test]
fn monstrous_policies_are_refused() {
    let deep = |open: &str, close: &str, times: usize| format!("{}true{}", open.repeat(times), close.repeat(times));
    assert!(codes(&when(&deep("(", ")", 30_000))).is_empty());
    for condition in [
        deep("[", "]", 1_000),
        "resource.doctor".to_owned() + &".doctor".repeat(1_000),
        vec!["resource.price == resource.price"; 5_000].join(" && "),
        vec!["resource has rank"; 600].join(" || "),
    ] {
        assert!(!codes(&when(&condition)).is_empty());
    }
}

#[test]
fn texts_of_two_scripts_can_be_said() {
    let named = |text: &str| when(&format!("resource.tags.contains(\"{text}\")"));
    for text in ["서울 office", "日本 JP", "Москва office", "서울office"] {
        assert!(codes(&named(text)).is_empty(), "{text}");
    }
    assert_eq!(codes(&named("аdmin")), [("mixed-scripts", Some((2, 31)))]);
    assert!(codes(&format!("@mixed_scripts(\"the name of a product\")\n{}", named("аdmin"))).is_empty());
    assert_eq!(codes(&format!("@mixed_scripts(\"\")\n{}", named("аdmin")))[0].0, "mixed-scripts");
}

#[test]
fn what_no_policy_decides_is_refused() {
    let no_effect = |text: &str| {
        let found = codes(text);
        assert_eq!(found.iter().map(|(code, _)| *code).collect::<Vec<_>>(), ["no-effect"], "{text}");
        found[0].1
    };
    for verb in ["create", "delete"] {
        assert_eq!(no_effect(&format!("permit (principal in Role::\"doctor\", action == Action::\"{verb}\", resource is users);")), Some((1, 48)));
    }
    no_effect("forbid (principal, action in [Action::\"update\", Action::\"delete\"], resource is users);");
    let class = "permit (principal in Role::\"doctor\", action == Action::\"read_secret\", resource is patients);";
    let (_, warned) = Policies::load(&clinic(class)).map_err(|found| format!("{found:#?}")).unwrap();
    assert_eq!(warned.list().iter().map(|found| (found.code, found.severity)).collect::<Vec<_>>(), [("no-effect", Severity::Warning)]);
    no_effect("permit (principal is Anonymous, action == Action::\"read_pii\", resource is patients);");
    // The valid counterparts: an action that is decided somewhere is accepted.
    let fine = [
        "permit (principal in Role::\"doctor\", action == Action::\"export\", resource is patients);",
        "permit (principal in Role::\"doctor\", action in [Action::\"update\", Action::\"read_pii\"], resource is users);",
        "permit (principal in Role::\"doctor\", action in [Action::\"create\", Action::\"delete\"], resource);",
        "permit (principal in Role::\"doctor\", action in [Action::\"read_pii\", Action::\"write_pii\"], resource is patients);",
        "permit (principal is Anonymous, action in [Action::\"list\", Action::\"watch\"], resource is patients);",
        "@everything(\"the owner of the system\") permit (principal in Role::\"doctor\", action, resource is users);",
    ];
    for text in fine {
        assert_eq!(codes(text), [], "{text}");
    }
}

#[test]
fn every_part_is_told_with_its_truth() {
    let text = "@id(\"own\") permit (principal in Role::\"nurse\", action == Action::\"read\", resource is patients) when {
        resource has second && resource.second == principal && (resource.rank > 3 || resource.tags.contains(\"open\")) };
        @id(\"doctors\") permit (principal in Role::\"doctor\", action == Action::\"read\", resource is patients);";
    let app = clinic(&text.replace("resource.rank > 3", "resource has rank && resource.rank > 3"));
    let policies = Policies::load(&app).map_err(|found| format!("{found:#?}")).unwrap().0;
    let patients = app.collection("patients").unwrap();
    let roles = ["nurse".into()];
    let mut me = vec![Value::Null; app.collections[haechi_model::USERS].table.columns.len()];
    me[0] = Value::text("ann");
    let principal = Principal { kind: PrincipalKind::User, id: "ann", roles: &roles, row: &me };
    let mut row = vec![Value::Null; patients.table.columns.len()];
    let mut set = |field: &str, value: Value| row[patients.field(field).unwrap()] = value;
    set("second", Value::text("bob"));
    set("tags", Value::text("[]"));
    let action = policies.action("read").unwrap();
    let told = |row: Option<&[Value]>| -> Vec<String> {
        let target = row.map(|row| Target { row, rows: &Alone });
        let mut lines = Vec::new();
        for account in policies.accounts(&app, &principal, (action, About::Rows(patients.id)), 0, target) {
            lines.push(format!("{} {:?} {:?}", account.policy.id, account.lacks, account.applies));
            for part in account.parts {
                let values: Vec<String> = part.values.iter().map(|seen| format!("{}={}", seen.of, seen.value.as_deref().unwrap_or("*"))).collect();
                lines.push(format!("{} {} {:?} {:?} {}", part.depth, part.text, part.verdict, part.wanted, values.join(" ")));
            }
        }
        lines
    };
    assert_eq!(
        told(Some(&row)),
        [
            "own None False",
            "0 principal in Role::\"nurse\" True None ",
            "0 resource has second True None ",
            "0 resource.second == principal False Some(true) resource.second=users::\"bob\" principal=users::\"ann\"",
            "0 any of Skipped None ",
            "1 all of Skipped None ",
            "2 resource has rank Skipped None ",
            "2 resource.rank > 3 Skipped None ",
            "1 resource.tags.contains(\"open\") Skipped None ",
            "doctors Some(\"doctor\") True",
            "0 principal in Role::\"doctor\" True None ",
        ]
    );
    assert_eq!(told(None)[3], "0 resource.second == principal Depends Some(true) principal=users::\"ann\"");
    // A guarded field is evaluated and not shown.
    let app = clinic("permit (principal, action == Action::\"read\", resource is patients) when { resource.name == \"ada\" };");
    let policies = Policies::load(&app).unwrap().0;
    row[patients.field("name").unwrap()] = Value::text("eve");
    let accounts = policies.accounts(&app, &principal, (action, About::Rows(patients.id)), 0, Some(Target { row: &row, rows: &Alone }));
    assert_eq!(accounts[0].parts[0].values, [Seen { of: "resource.name".to_owned(), value: None }]);
    assert_eq!((accounts[0].applies, accounts[0].parts[0].wanted), (Verdict::False, Some(true)));
}

#[test]
fn actions_stand_where_they_are_looked_for() {
    let app = clinic("");
    let actions = actions(&app);
    let verbs = [verb::LIST, verb::READ, verb::CREATE, verb::UPDATE, verb::DELETE, verb::WATCH];
    assert_eq!(verbs.map(|at| actions[at].as_str()), ["list", "read", "create", "update", "delete", "watch"]);
    let guarded: Vec<[&str; 3]> = app
        .classes
        .iter()
        .zip(class_actions(&app))
        .filter_map(|(class, at)| Some([class.name.as_str(), actions[at.read?].as_str(), actions[at.write?].as_str()]))
        .collect();
    assert_eq!(guarded, [["pii", "read_pii", "write_pii"], ["secret", "read_secret", "write_secret"]]);
}
